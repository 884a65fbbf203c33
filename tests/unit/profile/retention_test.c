/*
 * Policies: what is accepted and what is said to what is not; which policy wins for a series, tier
 * by tier, and why the others lose; clamps and holds. The properties at the end are checked over
 * policies that a seed makes.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/rng.h"
#include "profile/retention.h"

#define DAY_NS (86400 * NS_PER_S)

static struct retention_set *parse(const char *text)
{
	struct retention_set *set = NULL;
	char error[512] = "";
	int r = retention_parse("p.yaml", text, strlen(text), &set, error, sizeof(error));
	if (r < 0)
		print_message("%s\n", error);
	CHECK_OK(r);
	return set;
}

/* "cart" and "1.8" of type cpu; "" leaves a label out. */
static uint32_t series(struct dict *dict, const char *service, const char *version)
{
	struct label labels[2];
	struct series of = { .period = 1 };
	uint32_t id;
	CHECK_OK(dict_cstring(dict, "cpu", &of.type));
	CHECK_OK(dict_cstring(dict, "service", &labels[0].name));
	CHECK_OK(dict_cstring(dict, service, &labels[0].value));
	CHECK_OK(dict_cstring(dict, "version", &labels[1].name));
	CHECK_OK(dict_cstring(dict, version, &labels[1].value));
	CHECK_OK(dict_series(dict, &of, labels, 2, &id));
	return id;
}

#define ONE(selector, rest) "name: a\nselector: '" selector "'\n" rest

static void a_wrong_policy_is_refused_by_name_key_and_line(void **state)
{
	static const struct {
		const char *text;
		const char *said;
	} cases[] = {
		{ "", "p.yaml:1: policy: the file is empty" },
		{ "policies: 3", "\"policies:\" is no list" },
		{ "polices: []", "expected \"policies:\"" },
		{ "policies:\n- 7", "p.yaml:2: policy: is no mapping" },
		{ "policies:\n- selector: cpu\n", "name: is missing" },
		{ "name: a b\nselector: cpu", "\"a b\" is none" },
		{ "name: a\nselectr: cpu\n", "p.yaml:2: policy \"a\": selectr: no such key; did "
		                             "you mean selector?" },
		{ "name: a\ntiers: {detail: 7d}\n", "selector: is missing; write {}" },
		{ ONE("cpu{", "tiers: {detail: 7d}"), "p.yaml:2: policy \"a\": selector: at 4" },
		{ ONE("cpu{a=\"1\",a=\"2\"}", "tiers: {}"), "contradict each other" },
		{ ONE("cpu{a=\"x\",a!~\"x|y\"}", "tiers: {}"), "contradict each other" },
		{ ONE("cpu{a=\"\",a!=\"\"}", "tiers: {}"), "contradict each other" },
		{ ONE("{a!~\".*\"}", "tiers: {}"), "refuses every value" },
		{ ONE("cpu", "type: wall\ntiers: {}"), "nothing can match" },
		{ ONE("{}", "type: 'a b'\ntiers: {}"), "is no bare name" },
		{ ONE("cpu", ""), "tiers: is missing" },
		{ ONE("cpu", "tiers: 7d"), "tiers: write a mapping" },
		{ ONE("cpu", "tiers: {detail: 7}"), "p.yaml:3: policy \"a\": detail: \"7\" is no "
		                                    "duration" },
		{ ONE("cpu", "tiers: {detial: 7d}"), "did you mean detail?" },
		{ ONE("cpu", "tiers: {detail: 7d, 10m: 6d}"),
		        "10m (6d) is shorter than detail (7d)" },
		{ ONE("cpu", "tiers: {10m: 6d}"), "10m (6d) is shorter than detail (forever)" },
		{ ONE("cpu", "tiers: {detail: 7d, 10m: 7d, 1h: 7d, 1d: 0}"),
		        "1d (0s) is shorter than 1h (7d)" },
		{ ONE("cpu", "priority: -1\ntiers: {}"), "priority: \"-1\" is no whole number" },
		{ ONE("cpu", "priority: 1000001\ntiers: {}"), "from 0 to 1000000" },
		{ ONE("cpu", "reason: [x]\ntiers: {}"), "reason: write plain text here" },
		{ "policies:\n- {name: a, selector: cpu, tiers: {}}\n"
		  "- {name: a, selector: cpu, tiers: {}}\n",
		        "two policies are called so" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct retention_set *set = NULL;
		char error[512] = "";
		assert_int_equal(retention_parse("p.yaml", cases[i].text, strlen(cases[i].text),
		                         &set, error, sizeof(error)),
		        -EINVAL);
		assert_null(set);
		if (!strstr(error, cases[i].said))
			fail_msg("said \"%s\", not \"%s\"", error, cases[i].said);
	}
}

static void the_canonical_form_reads_back_to_itself(void **state)
{
	AUTO(retention_set) set = parse("policies:\n"
	                                "- name: zebra\n"
	                                "  selector: '{ service=\"a\\\"<b\" }'\n"
	                                "  type: cpu\n"
	                                "  tiers: {detail: 36h, 10m: 7d}\n"
	                                "  reason: \"two\\nlines & <more>\"\n"
	                                "- name: ant\n"
	                                "  selector: '{}'\n"
	                                "  priority: 3\n"
	                                "  tiers: {detail: 0, 10m: 0, 1h: 0, 1d: 0}\n"
	                                "  created_by: me@here\n");
	AUTO_BUF text = { 0 };
	struct json_writer json = json_writer_of(&text, false);
	retention_put_json(set, &json);
	buf_put_u8(&text, 0);
	assert_string_equal((const char *)text.bytes,
	        "{\"policies\":[{\"name\":\"ant\",\"selector\":\"{}\",\"priority\":3,"
	        "\"tiers\":{\"detail\":\"0s\",\"10m\":\"0s\",\"1h\":\"0s\",\"1d\":\"0s\"},"
	        "\"created_by\":\"me@here\"},"
	        "{\"name\":\"zebra\",\"selector\":\"cpu{service=\\\"a\\\\\\\"\\u003cb\\\"}\","
	        "\"priority\":0,\"tiers\":{\"detail\":\"1d12h\",\"10m\":\"7d\","
	        "\"1h\":\"forever\",\"1d\":\"forever\"},"
	        "\"reason\":\"two\\nlines \\u0026 \\u003cmore\\u003e\"}]}");

	AUTO(retention_set) again = parse((const char *)text.bytes);
	char digest[RETENTION_DIGEST_BYTES], digest_again[RETENTION_DIGEST_BYTES];
	CHECK_OK(retention_digest(set, digest));
	CHECK_OK(retention_digest(again, digest_again));
	assert_string_equal(digest, digest_again);
	assert_string_equal(again->policies[1].reason, "two\nlines & <more>");
}

static void sets_are_merged_and_reduced_by_name(void **state)
{
	AUTO(retention_set) base = parse("policies:\n- {name: a, selector: cpu, tiers: {}}\n"
	                                 "- {name: b, selector: cpu, tiers: {}}\n");
	AUTO(retention_set) over = parse("{name: b, selector: wall, tiers: {detail: 1d}}");
	AUTO(retention_set) merged = NULL;
	AUTO(retention_set) reduced = NULL;
	CHECK_OK(retention_merge(base, over, &merged));
	assert_int_equal(merged->count, 2);
	assert_string_equal(retention_find(merged, "b")->selector_text, "wall");
	CHECK_OK(retention_remove(merged, "a", &reduced));
	assert_int_equal(reduced->count, 1);
	struct retention_set *none = NULL;
	assert_int_equal(retention_remove(reduced, "a", &none), -ENOENT);
	CHECK_OK(retention_sign(reduced, "me@here", 7));
	assert_string_equal(reduced->policies[0].created_by, "me@here");
	assert_int_equal(reduced->policies[0].created_ns, 7);
}

/* One line a case: policies, the series, what each tier becomes, whose detail it is. */
static void the_highest_priority_and_among_equals_the_longest_wins(void **state)
{
	static const char policies[] =
	        "policies:\n"
	        "- {name: all, selector: '{}', priority: 0, tiers: {detail: 1d, 10m: 2d, 1h: 3d, "
	        "1d: 4d}}\n"
	        "- {name: cart, selector: '{service=\"cart\"}', priority: 5, tiers: {detail: 7d, "
	        "10m: 7d, 1h: 8d, 1d: 90d}}\n"
	        "- {name: new, selector: '{version=~\"2.*\"}', priority: 5, tiers: {detail: 3d, "
	        "10m: 30d, 1h: 30d, 1d: 60d}}\n"
	        "- {name: none, selector: '{service=\"tmp\"}', priority: 9, tiers: {detail: 0, "
	        "10m: 0, 1h: 0, 1d: 0}}\n";
	static const struct {
		const char *service, *version;
		uint32_t days[RETENTION_TIERS];
		const char *winner;                 /* of detail */
		enum retention_verdict verdicts[4]; /* all, cart, new, none */
	} cases[] = {
		{ "web", "1.0", { 1, 2, 3, 4 }, "all",
		        { RETENTION_WINS, RETENTION_NO_MATCH, RETENTION_NO_MATCH,
		                RETENTION_NO_MATCH } },
		{ "cart", "1.0", { 7, 7, 8, 90 }, "cart",
		        { RETENTION_LOWER, RETENTION_WINS, RETENTION_NO_MATCH,
		                RETENTION_NO_MATCH } },
		{ "cart", "2.0", { 7, 30, 30, 90 }, "cart",
		        { RETENTION_LOWER, RETENTION_WINS_SOME, RETENTION_WINS_SOME,
		                RETENTION_NO_MATCH } },
		{ "web", "2.0", { 3, 30, 30, 60 }, "new",
		        { RETENTION_LOWER, RETENTION_NO_MATCH, RETENTION_WINS,
		                RETENTION_NO_MATCH } },
		{ "tmp", "2.0", { 0, 0, 0, 0 }, "none",
		        { RETENTION_LOWER, RETENTION_NO_MATCH, RETENTION_LOWER, RETENTION_WINS } },
		{ "", "", { 1, 2, 3, 4 }, "all",
		        { RETENTION_WINS, RETENTION_NO_MATCH, RETENTION_NO_MATCH,
		                RETENTION_NO_MATCH } },
	};
	AUTO(retention_set) set = parse(policies);
	AUTO(dict) dict = dict_new(dict_limits_default);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint32_t id = series(dict, cases[i].service, cases[i].version);
		struct retention_subject subject = { "", dict, id };
		struct retention_outcome outcome = retention_evaluate(
		        set, &retention_limits_none, subject);
		print_message("%s %s\n", cases[i].service, cases[i].version);
		for (int tier = 0; tier < RETENTION_TIERS; tier++)
			assert_int_equal(outcome.keep.keep_ns[tier], cases[i].days[tier] * DAY_NS);
		assert_string_equal(
		        set->policies[outcome.policies[RETENTION_DETAIL]].name, cases[i].winner);
		for (uint32_t policy = 0; policy < set->count; policy++) {
			struct retention_reason reason = retention_explain(
			        set, policy, subject, &outcome);
			AUTO_BUF text = { 0 };
			assert_int_equal(reason.verdict, cases[i].verdicts[policy]);
			retention_put_reason(set, policy, subject, &outcome, reason, &text);
			assert_true(text.count > 5);
		}
	}
}

static void a_loser_is_told_which_label_does_not_match(void **state)
{
	AUTO(retention_set) set = parse(
	        "policies:\n- {name: a, selector: 'cpu{service=\"cart\",version=~\"2.*\"}', "
	        "tiers: {}}\n- {name: b, selector: wall, tiers: {}}\n");
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint32_t id = series(dict, "cart", "1.8");
	struct retention_subject subject = { "", dict, id };
	struct retention_outcome outcome = retention_evaluate(set, &retention_limits_none, subject);
	AUTO_BUF text = { 0 };
	retention_put_reason(
	        set, 0, subject, &outcome, retention_explain(set, 0, subject, &outcome), &text);
	buf_put_u8(&text, ' ');
	retention_put_reason(
	        set, 1, subject, &outcome, retention_explain(set, 1, subject, &outcome), &text);
	buf_put_u8(&text, 0);
	assert_string_equal((const char *)text.bytes, "does not match: version is \"1.8\", not "
	                                              "=~\"2.*\" does not match: the type is cpu, "
	                                              "not wall");
	assert_int_equal(outcome.keep.keep_ns[RETENTION_DETAIL], RETENTION_FOREVER);
	assert_int_equal(outcome.policies[RETENTION_DETAIL], RETENTION_NO_POLICY);
}

static void limits_of_the_server_clamp_and_keep_the_tiers_in_order(void **state)
{
	AUTO(retention_set) set = parse(
	        "{name: a, selector: '{}', tiers: {detail: 1d, 10m: 2d, 1h: 3d, 1d: forever}}");
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint32_t id = series(dict, "cart", "1");
	struct retention_limits limits = retention_limits_none;
	char error[256];
	CHECK_OK(retention_parse_tiers("10m=5d", &limits.general.floor, error, sizeof(error)));
	CHECK_OK(retention_parse_tiers("400d", &limits.general.ceiling, error, sizeof(error)));
	struct retention_outcome outcome = retention_evaluate(
	        set, &limits, (struct retention_subject){ "", dict, id });
	static const uint32_t days[] = { 1, 5, 5, 400 };
	static const enum retention_clamp clamps[] = { RETENTION_AS_SAID, RETENTION_RAISED,
		RETENTION_RAISED, RETENTION_LOWERED };
	for (int tier = 0; tier < RETENTION_TIERS; tier++) {
		assert_int_equal(outcome.keep.keep_ns[tier], days[tier] * DAY_NS);
		assert_int_equal(outcome.clamps[tier], clamps[tier]);
	}
	assert_int_equal(
	        retention_parse_tiers("2h=5d", &limits.general.floor, error, sizeof(error)),
	        -EINVAL);
	assert_int_equal(
	        retention_parse_tiers("detail=x", &limits.general.floor, error, sizeof(error)),
	        -EINVAL);
	assert_non_null(strstr(error, "detail=7d"));
}

/* Tenants are no labels, and a label of that name is not one. */
static void a_matcher_of_tenant_is_about_the_tenant(void **state)
{
	AUTO(retention_set) set = parse(
	        "policies:\n"
	        "- {name: all, selector: '{}', tiers: {detail: 9d}}\n"
	        "- {name: acme, selector: '{tenant=\"acme\"}', priority: 5, "
	        "tiers: {detail: 3d}}\n"
	        "- {name: cart, selector: '{tenant=~\"a.*\",service=\"cart\"}', "
	        "priority: 7, tiers: {detail: 2d}}\n");
	AUTO(dict) dict = dict_new(dict_limits_default);
	static const struct {
		const char *tenant, *service, *winner;
	} cases[] = {
		{ "", "cart", "all" },
		{ "acme", "web", "acme" },
		{ "acme", "cart", "cart" },
		{ "aber", "cart", "cart" },
		{ "aber", "web", "all" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct retention_subject subject = { cases[i].tenant, dict,
			series(dict, cases[i].service, "1") };
		struct retention_outcome outcome = retention_evaluate(
		        set, &retention_limits_none, subject);
		assert_string_equal(
		        set->policies[outcome.policies[RETENTION_DETAIL]].name, cases[i].winner);
	}
	struct retention_subject none = { "", dict, series(dict, "cart", "1") };
	struct retention_outcome outcome = retention_evaluate(set, &retention_limits_none, none);
	AUTO_BUF text = { 0 };
	retention_put_reason(
	        set, 0, none, &outcome, retention_explain(set, 0, none, &outcome), &text);
	buf_put_u8(&text, 0);
	assert_string_equal(
	        (const char *)text.bytes, "does not match: tenant is \"\", not =\"acme\"");
}

static void limits_of_a_tenant_begin_with_those_of_all(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(retention_set) set = parse(
	        "{name: a, selector: '{}', tiers: {detail: 1d, 10m: 1d, 1h: "
	        "1d, 1d: 400d}}");
	struct retention_limits limits = { 0 };
	char error[256] = "";
	CHECK_OK(retention_limits_parse(
	        "acme: detail=5d ; 10m=2d", "beta:30d;1d=300d;", &limits, error, sizeof(error)));
	static const struct {
		const char *tenant;
		uint32_t days[RETENTION_TIERS];
	} cases[] = {
		{ "", { 1, 2, 2, 300 } },
		{ "acme", { 5, 5, 5, 300 } },
		{ "beta", { 1, 2, 2, 30 } },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct retention_subject subject = { cases[i].tenant, dict,
			series(dict, "s", "1") };
		struct retention_outcome outcome = retention_evaluate(set, &limits, subject);
		for (int tier = 0; tier < RETENTION_TIERS; tier++)
			assert_int_equal(outcome.keep.keep_ns[tier], cases[i].days[tier] * DAY_NS);
	}
	retention_limits_fini(&limits);
	static const char *const wrong[] = { "2h=5d", "acme: 2h=5d", ": 5d", "acme detail=1d" };
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		assert_int_equal(
		        retention_limits_parse(NULL, wrong[i], &limits, error, sizeof(error)),
		        -EINVAL);
		assert_memory_equal(error, "ceiling: ", 9);
	}
}

static void a_hold_covers_its_series_its_time_and_until_it_ends(void **state)
{
	AUTO(retention_holds) holds = retention_holds_new();
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint32_t cart = series(dict, "cart", "1"), web = series(dict, "web", "1");
	struct retention_hold hold = { .id = "incident-7",
		.from_ns = 100,
		.to_ns = 200,
		.until_ns = 1000,
		.reason = (char[]){ "lawyers" } };
	char error[256];
	CHECK_OK(retention_hold_add(holds, &hold, "{service=\"cart\"}", error, sizeof(error)));
	assert_int_equal(retention_hold_add(holds, &hold, "{}", error, sizeof(error)), -EEXIST);
	static const struct {
		bool is_cart;
		uint64_t from_ns, to_ns, now_ns;
		bool is_held;
	} cases[] = {
		{ true, 100, 200, 500, true },
		{ true, 0, 101, 500, true },
		{ true, 199, 300, 500, true },
		{ true, 0, 100, 500, false },
		{ true, 200, 300, 500, false },
		{ true, 100, 200, 999, true },
		{ true, 100, 200, 1000, false },
		{ false, 100, 200, 500, false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct retention_hold *by = retention_held_by(holds,
		        (struct retention_subject){ "", dict, cases[i].is_cart ? cart : web },
		        cases[i].from_ns, cases[i].to_ns, cases[i].now_ns);
		assert_true(!by == !cases[i].is_held);
	}

	AUTO_BUF text = { 0 };
	struct json_writer json = json_writer_of(&text, false);
	AUTO(retention_holds) again = NULL;
	retention_holds_put_json(holds, &json);
	CHECK_OK(retention_holds_parse(
	        "holds", (const char *)text.bytes, text.count, &again, error, sizeof(error)));
	assert_int_equal(again->count, 1);
	assert_string_equal(again->holds[0].reason, "lawyers");
	assert_int_equal(again->holds[0].until_ns, 1000);
	CHECK_OK(retention_hold_remove(again, "incident-7"));
	assert_int_equal(retention_hold_remove(again, "incident-7"), -ENOENT);
}

static void durations_end_at_forever(void **state)
{
	struct retention_outcome outcome = { .keep = { { RETENTION_FOREVER, DAY_NS, 0, 5 } } };
	assert_int_equal(retention_expires_ns(&outcome, RETENTION_DETAIL, 0), RETENTION_FOREVER);
	assert_int_equal(retention_expires_ns(&outcome, RETENTION_DETAIL, 9), RETENTION_FOREVER);
	assert_int_equal(retention_expires_ns(&outcome, RETENTION_10M, 9), DAY_NS + 9);
	assert_int_equal(retention_expires_ns(&outcome, RETENTION_1H, 9), 9);
	assert_int_equal(
	        retention_expires_ns(&outcome, RETENTION_1D, UINT64_MAX - 2), RETENTION_FOREVER);
}

/* ---- properties ---- */

#define SEEDS 200

/* A few policies over three services and two priorities, with tiers in order. */
static struct retention_set *policies_of(struct rng *rng)
{
	static const char *const selectors[] = { "{}", "{service=\"a\"}", "{service=~\"a|b\"}",
		"{service!=\"c\"}", "{version=\"1\"}", "cpu" };
	AUTO_BUF text = { 0 };
	uint32_t count = 1 + (uint32_t)rng_below(rng, 5);
	buf_printf(&text, "policies:\n");
	for (uint32_t i = 0; i < count; i++) {
		uint64_t days = rng_below(rng, 5);
		buf_printf(&text, "- {name: p%u, selector: '%s', priority: %u, tiers: {", i,
		        selectors[rng_below(rng, COUNT_OF(selectors))],
		        (unsigned)rng_below(rng, 2));
		for (int tier = 0; tier < RETENTION_TIERS; tier++, days += rng_below(rng, 9))
			buf_printf(&text, "%s%s: %lud", tier ? ", " : "", retention_tier_name(tier),
			        (unsigned long)days);
		buf_printf(&text, "}}\n");
	}
	buf_put_u8(&text, 0);
	return parse((const char *)text.bytes);
}

static bool policy_matches(
        const struct retention_set *set, uint32_t index, const struct dict *dict, uint32_t series)
{
	return selector_matches(set->policies[index].selector, dict, series);
}

/* The longest among those that match at the highest priority; forever when none does. */
static uint64_t longest_of_highest(
        const struct retention_set *set, int tier, const struct dict *dict, uint32_t series)
{
	uint32_t highest = 0;
	uint64_t longest = 0;
	bool matched = false;
	for (uint32_t p = 0; p < set->count; p++) {
		if (!policy_matches(set, p, dict, series))
			continue;
		matched = true;
		if (set->policies[p].priority > highest)
			highest = set->policies[p].priority;
	}
	for (uint32_t p = 0; p < set->count; p++)
		if (set->policies[p].priority == highest && policy_matches(set, p, dict, series) &&
		        set->policies[p].tiers.keep_ns[tier] > longest)
			longest = set->policies[p].tiers.keep_ns[tier];
	return matched ? longest : RETENTION_FOREVER;
}

static void whatever_the_policies_are_the_precedence_holds(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint32_t all[] = { series(dict, "a", "1"), series(dict, "b", "2"), series(dict, "c", "1"),
		series(dict, "d", "") };
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct rng rng;
		rng_init(&rng, seed);
		AUTO(retention_set) set = policies_of(&rng);
		for (size_t i = 0; i < COUNT_OF(all); i++) {
			struct retention_outcome outcome = retention_evaluate(set,
			        &retention_limits_none,
			        (struct retention_subject){ "", dict, all[i] });
			for (int tier = 0; tier < RETENTION_TIERS; tier++) {
				if (outcome.keep.keep_ns[tier] !=
				        longest_of_highest(set, tier, dict, all[i]))
					fail_msg("seed %lu, series %zu, tier %d",
					        (unsigned long)seed, i, tier);
				if (tier > 0)
					assert_true(outcome.keep.keep_ns[tier] >=
					            outcome.keep.keep_ns[tier - 1]);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrong_policy_is_refused_by_name_key_and_line),
		cmocka_unit_test(the_canonical_form_reads_back_to_itself),
		cmocka_unit_test(sets_are_merged_and_reduced_by_name),
		cmocka_unit_test(the_highest_priority_and_among_equals_the_longest_wins),
		cmocka_unit_test(a_loser_is_told_which_label_does_not_match),
		cmocka_unit_test(limits_of_the_server_clamp_and_keep_the_tiers_in_order),
		cmocka_unit_test(a_matcher_of_tenant_is_about_the_tenant),
		cmocka_unit_test(limits_of_a_tenant_begin_with_those_of_all),
		cmocka_unit_test(a_hold_covers_its_series_its_time_and_until_it_ends),
		cmocka_unit_test(durations_end_at_forever),
		cmocka_unit_test(whatever_the_policies_are_the_precedence_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
