/* Files of cases: what is wrong with one is said by place, and each case is judged as it should. */

#include "tests/lib/test.h"

#include <errno.h>
#include <string.h>

#include "profile/retention_cases.h"

#define POLICY                                                                                     \
	"policies:\n- {name: p, selector: '{service=\"cart\"}', tiers: {detail: 7d, 10m: 30d, "    \
	"1h: 60d, 1d: 90d}}\n"

static void a_wrong_file_of_cases_is_refused_by_place(void **state)
{
	static const struct {
		const char *text;
		const char *said;
	} cases[] = {
		{ "", "c.yaml:1: expected policies_file: and cases:" },
		{ "cases: [{age: 1d, expect: gone}]", "no policies" },
		{ POLICY "policies_file: x\ncases: []", "write one of them" },
		{ POLICY "cases: []", "no cases" },
		{ POLICY "case: []", "did you mean cases" },
		{ POLICY "cases:\n- {expect: gone}", "c.yaml:4: case: age: is missing" },
		{ POLICY "cases:\n- {name: n, age: x, expect: gone}", "case \"n\": age: \"x\" is" },
		{ POLICY "cases:\n- {age: 1d, expect: 5m}", "the finest tier that is left" },
		{ POLICY "cases:\n- {age: 1d, expect: 1d, labels: [a]}", "write a mapping" },
		{ POLICY "cases:\n- {age: 1d, expect: 1d, keep: {x: 1d}}", "x: no such key" },
		{ POLICY "now: never\ncases:\n- {age: 1d, expect: 1d}", "now: \"never\"" },
		{ POLICY "floor: 3x\ncases:\n- {age: 1d, expect: 1d}", "floor:" },
		{ "policies:\n\n\n- {name: p, selector: x y, tiers: {}}\ncases: []",
		        "policy \"p\": selector:" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct retention_cases *parsed = NULL;
		char error[512] = "";
		assert_int_equal(retention_cases_parse("c.yaml", cases[i].text,
		                         strlen(cases[i].text), &parsed, error, sizeof(error)),
		        -EINVAL);
		assert_null(parsed);
		if (!strstr(error, cases[i].said))
			fail_msg("said \"%s\", not \"%s\"", error, cases[i].said);
	}
}

static void cases_are_judged(void **state)
{
	static const char text[] = POLICY
	        "now: 2026-01-01T00:00:00Z\nceiling: 80d\n"
	        "holds:\n- {id: h, selector: '{version=\"9\"}', from_ns: 0}\n"
	        "cases:\n"
	        "- {labels: {service: cart}, age: 6d, expect: detail, policy: p, hold: "
	        "none}\n"
	        "- {labels: {service: cart}, age: 7d, expect: 10m}\n"
	        "- {labels: {service: cart}, age: 31d, expect: 1h}\n"
	        "- {labels: {service: cart}, age: 70d, expect: 1d, keep: {1d: 80d}}\n"
	        "- {labels: {service: cart}, age: 80d, expect: gone}\n"
	        "- {labels: {service: cart, version: 9}, age: 900d, expect: detail, hold: "
	        "h}\n"
	        "- {labels: {service: web}, age: 79d, expect: detail, policy: none}\n"
	        "- {labels: {service: cart}, age: 7d, expect: detail}\n"
	        "- {labels: {service: cart}, age: 1d, expect: detail, policy: q}\n"
	        "- {labels: {service: cart}, age: 1d, expect: detail, hold: h}\n"
	        "- {labels: {service: cart}, age: 1d, expect: detail, keep: {1h: 1d}}\n";
	static const char *const whys[] = { "", "", "", "", "", "", "", "10m is left, not detail",
		"policy p decides, not q", "hold none protects it, not h",
		"1h is kept for 60d, not 1d" };
	AUTO(retention_cases) cases = NULL;
	char error[512] = "";
	int r = retention_cases_parse("c.yaml", text, strlen(text), &cases, error, sizeof(error));
	if (r < 0)
		fail_msg("%s", error);
	assert_int_equal(retention_cases_count(cases), COUNT_OF(whys));
	for (uint32_t i = 0; i < COUNT_OF(whys); i++) {
		struct retention_case_result result;
		CHECK_OK(retention_cases_run(cases, i, &result));
		assert_string_equal(result.why, whys[i]);
		assert_int_equal(result.passed, !*whys[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrong_file_of_cases_is_refused_by_place),
		cmocka_unit_test(cases_are_judged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
