/*
 * Policies, holds and cases from anywhere: what is accepted is written in its canonical form, which
 * reads back to the same, and every policy is asked about a series.
 */

#include <assert.h>
#include <string.h>

#include "profile/retention.h"
#include "profile/retention_cases.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static uint32_t a_series(struct dict *dict)
{
	struct series series = { .period = 1 };
	struct label label;
	uint32_t id = 0;
	int r = dict_cstring(dict, "cpu", &series.type);
	r = r < 0 ? r : dict_cstring(dict, "service", &label.name);
	r = r < 0 ? r : dict_cstring(dict, "cart", &label.value);
	r = r < 0 ? r : dict_series(dict, &series, &label, 1, &id);
	assert(r == 0);
	return id;
}

static void policies(const char *text, size_t count)
{
	AUTO(retention_set) set = NULL;
	AUTO(retention_set) again = NULL;
	AUTO_BUF json_text = { 0 };
	char error[1024], digest[RETENTION_DIGEST_BYTES], digest_again[RETENTION_DIGEST_BYTES];
	if (retention_parse("fuzz", text, count, &set, error, sizeof(error)) < 0)
		return;
	struct json_writer json = json_writer_of(&json_text, false);
	retention_put_json(set, &json);
	assert(!json_text.failed);
	int r = retention_parse("again", (const char *)json_text.bytes, json_text.count, &again,
	        error, sizeof(error));
	assert(r == 0);
	r = retention_digest(set, digest);
	assert(r == 0);
	r = retention_digest(again, digest_again);
	assert(r == 0 && strcmp(digest, digest_again) == 0);

	AUTO(dict) dict = dict_new(dict_limits_default);
	assert(dict);
	struct retention_subject subject = { "acme", dict, a_series(dict) };
	struct retention_outcome outcome = retention_evaluate(set, &retention_limits_none, subject);
	for (uint32_t i = 0; i < set->count; i++) {
		AUTO_BUF why = { 0 };
		retention_put_reason(set, i, subject, &outcome,
		        retention_explain(set, i, subject, &outcome), &why);
		assert(why.count > 0);
	}
	for (int tier = 1; tier < RETENTION_TIERS; tier++)
		assert(outcome.keep.keep_ns[tier] >= outcome.keep.keep_ns[tier - 1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	const char *text = count ? (const char *)bytes : "";
	AUTO(retention_holds) holds = NULL;
	AUTO(retention_cases) cases = NULL;
	char error[1024];
	policies(text, count);
	(void)retention_holds_parse("fuzz", text, count, &holds, error, sizeof(error));
	if (retention_cases_parse("fuzz", text, count, &cases, error, sizeof(error)) < 0)
		return 0;
	for (uint32_t i = 0; i < retention_cases_count(cases); i++) {
		struct retention_case_result result;
		int r = retention_cases_run(cases, i, &result);
		assert(r == 0 && result.passed == !*result.why);
	}
	return 0;
}
