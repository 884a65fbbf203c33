/*
 * Each case has a dict with one series of its own, so that what is tested is the very evaluation
 * that the aggregator does.
 *
 * The policies and holds of a file are handed to their own readers as JSON text: there is one
 * reader for each, wherever the text stands.
 */

#include "profile/retention_cases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/options.h"
#include "profile/retention_private.h"

/* 2026-01-01: where a file does not say what now is. */
#define CASES_NOW_NS (UINT64_C(1767225600) * NS_PER_S)

struct retention_case {
	const char *name; /* of the file's tree */
	const char *type;
	const char *tenant;
	char *series_text;
	struct dict *dict;
	uint32_t series;
	uint64_t age_ns;
	const char *expect;
	const char *policy; /* NULL: any */
	const char *hold;   /* NULL: any */
	bool has_keep[RETENTION_TIERS];
	struct retention_tiers keep;
};

struct retention_cases {
	struct config *config;
	const char *policies_file;
	struct retention_set *set;
	struct retention_holds *holds;
	struct retention_limits limits;
	uint64_t now_ns;
	struct retention_case *cases;
	uint32_t count;
};

void retention_cases_free(struct retention_cases *cases)
{
	if (!cases)
		return;
	for (uint32_t i = 0; i < cases->count; i++) {
		dict_free(cases->cases[i].dict);
		free(cases->cases[i].series_text);
	}
	free(cases->cases);
	retention_limits_fini(&cases->limits);
	retention_set_free(cases->set);
	retention_holds_free(cases->holds);
	config_free(cases->config);
	free(cases);
}

/* Text of a key, however long the file may be. */
static int cases_text(const struct retention_reading *reading, const struct config_node *map,
        const char *key, const char **ret_text)
{
	return retention_read_text(reading, map, key, SIZE_MAX, ret_text);
}

/* A tree as JSON, for the reader of its noun. Deep enough for every policy (config's own bound). */
static void cases_put_json(const struct config_node *node, struct json_writer *json)
{
	switch (config_node_kind(node)) {
	case CONFIG_NULL:
		json_write_null(json);
		return;
	case CONFIG_SCALAR:
		json_text(json, config_node_text(node));
		return;
	case CONFIG_LIST:
		json_array_begin(json);
		for (uint32_t i = 0; i < config_node_count(node); i++)
			cases_put_json(config_node_item(node, i), json);
		json_array_end(json);
		return;
	case CONFIG_MAP:
		json_object_begin(json);
		for (uint32_t i = 0; i < config_node_count(node); i++) {
			json_key(json, config_node_key(node, i));
			cases_put_json(config_node_item(node, i), json);
		}
		json_object_end(json);
		return;
	}
}

/* {"KEY": node} with as many line breaks before it as make its errors name the right line. */
static void cases_put_part(const char *key, const struct config_node *node, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	for (uint32_t line = 1; line < config_node_line(node); line++)
		buf_put_u8(to, '\n');
	json_object_begin(&json);
	json_key(&json, key);
	cases_put_json(node, &json);
	json_object_end(&json);
}

static int cases_read_policies(const struct retention_reading *reading,
        const struct config_node *root, struct retention_cases *cases)
{
	const struct config_node *policies = config_node_find(root, "policies");
	int r = cases_text(reading, root, "policies_file", &cases->policies_file);
	if (r < 0)
		return r;
	if (!policies == !cases->policies_file)
		return retention_refuse(reading, policies ? policies : root, NULL,
		        policies ? "policies and policies_file: write one of them"
		                 : "no policies: write policies_file: FILE, or policies: and a "
		                   "list");
	if (!policies)
		return 0;
	AUTO_BUF text = { 0 };
	cases_put_part("policies", policies, &text);
	return text.failed ? -ENOMEM
	                   : retention_parse(reading->file, (const char *)text.bytes, text.count,
	                             &cases->set, reading->error, reading->error_bytes);
}

static int cases_read_holds(const struct retention_reading *reading, const struct config_node *root,
        struct retention_cases *cases)
{
	const struct config_node *holds = config_node_find(root, "holds");
	if (!holds)
		return 0;
	AUTO_BUF text = { 0 };
	cases_put_part("holds", holds, &text);
	return text.failed
	               ? -ENOMEM
	               : retention_holds_parse(reading->file, (const char *)text.bytes, text.count,
	                         &cases->holds, reading->error, reading->error_bytes);
}

static int cases_read_head(const struct retention_reading *reading, const struct config_node *root,
        struct retention_cases *cases)
{
	const char *now = NULL, *floor = NULL, *ceiling = NULL;
	char error[256] = "";
	int r = cases_text(reading, root, "now", &now);
	if (r == 0)
		r = cases_text(reading, root, "floor", &floor);
	if (r == 0)
		r = cases_text(reading, root, "ceiling", &ceiling);
	if (r < 0)
		return r;
	if (now && option_parse_time(now, CASES_NOW_NS, &cases->now_ns) < 0)
		return retention_refuse(reading, config_node_find(root, "now"), "now",
		        "\"%s\" is no time; write 2026-01-01T00:00:00Z", now);
	r = retention_limits_parse(floor, ceiling, &cases->limits, error, sizeof(error));
	if (r == -EINVAL)
		return retention_refuse(reading,
		        config_node_find(
		                root, strncmp(error, "floor", 5) == 0 ? "floor" : "ceiling"),
		        NULL, "%s", error);
	return r;
}

/* The one series of a case. */
static int case_intern(const struct retention_reading *reading, const struct config_node *labels,
        struct retention_case *one)
{
	struct label pairs[DICT_LABELS_MAX];
	struct series series = { .period = 1 };
	AUTO_BUF text = { 0 };
	uint32_t count = labels ? config_node_count(labels) : 0;
	if (count > DICT_LABELS_MAX)
		return retention_refuse(reading, labels, "labels", "more than %d", DICT_LABELS_MAX);
	one->dict = dict_new(dict_limits_default);
	if (!one->dict)
		return -ENOMEM;

	int r = dict_cstring(one->dict, one->type, &series.type);
	buf_printf(&text, "%s{", one->type);
	if (*one->tenant)
		buf_printf(&text, SELECTOR_TENANT "=\"%s\"%s", one->tenant, count ? "," : "");
	for (uint32_t i = 0; i < count && r == 0; i++) {
		const char *name = config_node_key(labels, i);
		const char *value = config_node_text(config_node_item(labels, i));
		if (!value)
			return retention_refuse(reading, config_node_item(labels, i), name,
			        "a label's value is plain text");
		/* A label of that name can be matched by no selector of a policy. */
		if (strcmp(name, SELECTOR_TENANT) == 0)
			return retention_refuse(reading, config_node_item(labels, i), name,
			        "is no label of policies; write tenant: beside labels");
		r = dict_cstring(one->dict, name, &pairs[i].name);
		if (r == 0)
			r = dict_cstring(one->dict, value, &pairs[i].value);
		buf_printf(&text, "%s%s=\"%s\"", i ? "," : "", name, value);
	}
	buf_put(&text, "}", 2); /* its zero too */
	if (r == 0)
		r = dict_series(one->dict, &series, pairs, count, &one->series);
	if (r == -EINVAL)
		return retention_refuse(reading, labels, "labels", "not the labels of a series");
	size_t bytes;
	one->series_text = (char *)buf_take(&text, &bytes);
	return r == 0 && !one->series_text ? -ENOMEM : r;
}

static int case_read_keep(const struct retention_reading *reading, const struct config_node *map,
        struct retention_case *one)
{
	static const char *const known[] = { "detail", "10m", "1h", "1d", NULL };
	const struct config_node *keep = config_node_find(map, "keep");
	if (!keep)
		return 0;
	if (config_node_kind(keep) != CONFIG_MAP)
		return retention_refuse(reading, keep, "keep", "write a mapping: { detail: 7d }");
	int r = retention_refuse_unknown(reading, keep, known);
	for (int tier = 0; tier < RETENTION_TIERS && r == 0; tier++) {
		const char *text = NULL;
		r = cases_text(reading, keep, known[tier], &text);
		if (r < 0 || !text)
			continue;
		one->has_keep[tier] = true;
		if (retention_parse_keep(text, &one->keep.keep_ns[tier]) < 0)
			r = retention_refuse(reading, config_node_find(keep, known[tier]),
			        known[tier], "\"%s\" is no duration; write 7d or forever", text);
	}
	return r;
}

static int case_read_expect(const struct retention_reading *reading, const struct config_node *map,
        struct retention_case *one)
{
	const char *age = NULL;
	int r = cases_text(reading, map, "age", &age);
	if (r == 0)
		r = cases_text(reading, map, "expect", &one->expect);
	if (r < 0)
		return r;
	if (!age || option_parse_duration(age, &one->age_ns) < 0)
		return retention_refuse(reading, age ? config_node_find(map, "age") : map, "age",
		        age ? "\"%s\" is no duration; write 8d" : "is missing; write age: 8d", age);
	bool is_known = one->expect && strcmp(one->expect, "gone") == 0;
	for (int tier = 0; one->expect && tier < RETENTION_TIERS; tier++)
		is_known |= strcmp(one->expect, retention_tier_name(tier)) == 0;
	if (!is_known)
		return retention_refuse(reading,
		        one->expect ? config_node_find(map, "expect") : map, "expect",
		        "write the finest tier that is left: detail, 10m, 1h, 1d, or gone");
	return 0;
}

static int case_read(struct retention_reading *reading, const struct config_node *map,
        struct retention_case *one)
{
	static const char *const known[] = { "name", "labels", "type", "tenant", "age", "expect",
		"policy", "hold", "keep", NULL };
	reading->noun = "case";
	reading->name = NULL;
	if (config_node_kind(map) != CONFIG_MAP)
		return retention_refuse(
		        reading, map, NULL, "a case is a mapping with age and expect");
	one->name = "";
	one->type = "cpu";
	one->tenant = "";
	int r = cases_text(reading, map, "name", &one->name);
	reading->name = *one->name ? one->name : NULL;
	if (r == 0)
		r = retention_refuse_unknown(reading, map, known);
	if (r == 0)
		r = cases_text(reading, map, "type", &one->type);
	if (r == 0)
		r = cases_text(reading, map, "tenant", &one->tenant);
	if (r == 0)
		r = cases_text(reading, map, "policy", &one->policy);
	if (r == 0)
		r = cases_text(reading, map, "hold", &one->hold);
	if (r == 0)
		r = case_read_expect(reading, map, one);
	if (r == 0)
		r = case_read_keep(reading, map, one);
	if (r < 0)
		return r;
	const struct config_node *labels = config_node_find(map, "labels");
	if (labels && config_node_kind(labels) != CONFIG_MAP)
		return retention_refuse(
		        reading, labels, "labels", "write a mapping: { service: cart }");
	return case_intern(reading, labels, one);
}

static int cases_read_list(struct retention_reading *reading, const struct config_node *root,
        struct retention_cases *cases)
{
	const struct config_node *list = config_node_find(root, "cases");
	if (!list || config_node_kind(list) != CONFIG_LIST || config_node_count(list) == 0)
		return retention_refuse(reading, list ? list : root, NULL,
		        "no cases: write cases: and a list of them");
	uint32_t count = config_node_count(list);
	if (count > RETENTION_CASES_MAX)
		return retention_refuse(
		        reading, list, NULL, "more than %d cases", RETENTION_CASES_MAX);
	cases->cases = calloc(count, sizeof(*cases->cases));
	if (!cases->cases)
		return -ENOMEM;
	int r = 0;
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = case_read(reading, config_node_item(list, i), &cases->cases[cases->count++]);
	return r;
}

int retention_cases_parse(const char *file, const char *text, size_t count,
        struct retention_cases **ret_cases, char *ret_error, size_t error_bytes)
{
	static const char *const known[] = { "policies", "policies_file", "now", "floor", "ceiling",
		"holds", "cases", NULL };
	struct retention_reading reading = { .file = file,
		.help = "retention test",
		.error = ret_error,
		.error_bytes = error_bytes };
	AUTO(retention_cases) cases = calloc(1, sizeof(*cases));
	if (!cases)
		return -ENOMEM;
	cases->limits = retention_limits_none;
	cases->now_ns = CASES_NOW_NS;
	int r = config_parse(file, text, count, &cases->config, ret_error, error_bytes);
	if (r < 0)
		return r;
	const struct config_node *root = config_root(cases->config);
	if (!root || config_node_kind(root) != CONFIG_MAP)
		return retention_refuse(&reading, root, NULL, "expected policies_file: and cases:");
	r = retention_refuse_unknown(&reading, root, known);
	if (r == 0)
		r = cases_read_head(&reading, root, cases);
	if (r == 0)
		r = cases_read_policies(&reading, root, cases);
	if (r == 0)
		r = cases_read_holds(&reading, root, cases);
	if (r == 0)
		r = cases_read_list(&reading, root, cases);
	if (r < 0)
		return r;
	*ret_cases = TAKE(cases);
	return 0;
}

const char *retention_cases_policies_file(const struct retention_cases *cases)
{
	return cases->policies_file;
}

void retention_cases_set(struct retention_cases *cases, struct retention_set *set)
{
	retention_set_free(cases->set);
	cases->set = set;
}

uint32_t retention_cases_count(const struct retention_cases *cases)
{
	return cases->count;
}

/* Compares what was asked for beside the tier; the first difference is the one that is said. */
static void case_check(const struct retention_case *one, const struct retention_outcome *outcome,
        const char *hold, struct retention_case_result *result)
{
	if (strcmp(result->got, one->expect) != 0)
		snprintf(result->why, sizeof(result->why), "%s is left, not %s", result->got,
		        one->expect);
	else if (one->policy && strcmp(one->policy, result->policy) != 0)
		snprintf(result->why, sizeof(result->why), "policy %s decides, not %s",
		        result->policy, one->policy);
	else if (one->hold && strcmp(one->hold, hold) != 0)
		snprintf(result->why, sizeof(result->why), "hold %s protects it, not %s", hold,
		        one->hold);
	for (int tier = 0; tier < RETENTION_TIERS && !*result->why; tier++) {
		if (!one->has_keep[tier] || one->keep.keep_ns[tier] == outcome->keep.keep_ns[tier])
			continue;
		AUTO_BUF text = { 0 };
		buf_printf(&text, "%s is kept for ", retention_tier_name(tier));
		retention_put_keep(&text, outcome->keep.keep_ns[tier]);
		buf_printf(&text, ", not ");
		retention_put_keep(&text, one->keep.keep_ns[tier]);
		snprintf(result->why, sizeof(result->why), "%.*s", (int)text.count,
		        text.failed ? "" : (const char *)text.bytes);
	}
	result->passed = !*result->why;
}

int retention_cases_run(const struct retention_cases *cases, uint32_t index,
        struct retention_case_result *ret_result)
{
	const struct retention_case *one = &cases->cases[index];
	struct retention_subject subject = { one->tenant, one->dict, one->series };
	struct retention_outcome outcome = retention_evaluate(cases->set, &cases->limits, subject);
	uint64_t to_ns = cases->now_ns > one->age_ns ? cases->now_ns - one->age_ns : 0;
	const struct retention_hold *hold = retention_held_by(
	        cases->holds, subject, to_ns > 0 ? to_ns - 1 : 0, to_ns, cases->now_ns);

	struct retention_case_result result = {
		.name = one->name,
		.series = one->series_text,
		.age_ns = one->age_ns,
		.expected = one->expect,
		.got = "gone",
		.policy = "none",
	};
	for (int tier = RETENTION_TIERS - 1; tier >= 0; tier--)
		if (hold || retention_expires_ns(&outcome, tier, to_ns) > cases->now_ns)
			result.got = retention_tier_name(tier);
	uint32_t policy = outcome.policies[RETENTION_DETAIL];
	if (policy != RETENTION_NO_POLICY)
		result.policy = cases->set->policies[policy].name;
	case_check(one, &outcome, hold ? hold->id : "none", &result);
	*ret_result = result;
	return 0;
}
