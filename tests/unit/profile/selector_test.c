/*
 * What a selector accepts, what it says to what it refuses, and what it matches. Tables: a line is
 * a selector a user could type.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "profile/selector.h"
#include "tests/lib/test.h"

static void a_selector_prints_in_its_normal_form(void **state)
{
	static const struct {
		const char *text;
		const char *printed;
	} cases[] = {
		{ "cpu", "cpu" },
		{ " cpu ", "cpu" },
		{ "cpu{}", "cpu" },
		{ "{}", "{}" },
		{ "{ }", "{}" },
		{ "cpu{service=\"cart\"}", "cpu{service=\"cart\"}" },
		{ "cpu { service = \"cart\" , version !~ \"1.*\" , }",
		        "cpu{service=\"cart\",version!~\"1.*\"}" },
		{ "{a=\"1\",b!=\"2\",c=~\"3\",d!~\"4\"}", "{a=\"1\",b!=\"2\",c=~\"3\",d!~\"4\"}" },
		{ "cpu{service='it\"s'}", "cpu{service=\"it\\\"s\"}" },
		{ "cpu{version=~`1\\.9.*`}", "cpu{version=~\"1\\\\.9.*\"}" },
		{ "cpu{a=\"\\x41\\u00e4\\U0001f600\\101\"}", "cpu{a=\"Aä😀A\"}" },
		{ "cpu{a=\"\\xff\"}", "cpu{a=\"\\377\"}" },
		{ "cpu{a=\"\\a\\b\\f\\n\\r\\t\\v\\\\\"}",
		        "cpu{a=\"\\x07\\x08\\x0c\\n\\x0d\\t\\x0b\\\\\"}" },
		{ "cpu{\"sample.thread id\"=\"7\"}", "cpu{\"sample.thread id\"=\"7\"}" },
		{ "cpu{\"service\"=\"cart\"}", "cpu{service=\"cart\"}" },
		{ "cpu{sample.key=\"x\"}", "cpu{sample.key=\"x\"}" },
		{ "{\"alloc-space\",service=\"cart\"}", "{\"alloc-space\",service=\"cart\"}" },
		{ "{\"cpu\"}", "cpu" },
		{ "cpu{a=\"1\",a!=\"2\"}", "cpu{a=\"1\",a!=\"2\"}" },
		{ "cpu{a=\"x\ty\"}", "cpu{a=\"x\\ty\"}" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(selector) selector = NULL;
		AUTO(selector) again = NULL;
		AUTO_BUF printed = { 0 };
		AUTO_BUF printed_again = { 0 };
		char error[256];

		print_message("%s\n", cases[i].text);
		CHECK_OK(selector_parse(cases[i].text, &selector, error, sizeof(error)));
		selector_print(selector, &printed);
		buf_put_u8(&printed, 0);
		assert_string_equal((char *)printed.bytes, cases[i].printed);

		CHECK_OK(selector_parse((char *)printed.bytes, &again, error, sizeof(error)));
		selector_print(again, &printed_again);
		buf_put_u8(&printed_again, 0);
		assert_string_equal((char *)printed_again.bytes, cases[i].printed);
	}
}

static const struct mistake {
	const char *text;
	const char *error;
} mistakes[] = {
	{ "", "at 0: expected a profile type such as cpu, or { that begins the matchers" },
	{ "\"cpu\"", "at 0: expected a profile type such as cpu, or { that begins the "
	             "matchers" },
	{ "cpu service", "at 4: expected { that begins the matchers, or nothing, after the type" },
	{ "cpu{a=\"1\"} x", "at 11: expected nothing behind the }" },
	{ "cpu{", "at 4: expected a label name such as service, or } that ends the "
	          "selector" },
	{ "cpu{,}", "at 4: expected a label name such as service, or } that ends the "
	            "selector" },
	{ "cpu{a=\"1\",,}", "at 10: expected a label name such as service, or } that ends "
	                    "the selector" },
	{ "cpu{service}", "at 11: expected one of = != =~ !~ after \"service\"" },
	{ "cpu{  service \"cart\"}", "at 14: expected one of = != =~ !~ after \"service\"" },
	{ "cpu{service==\"cart\"}", "at 11: expected one of = != =~ !~ after \"service\"" },
	{ "cpu{service!\"cart\"}", "at 11: expected one of = != =~ !~ after \"service\"" },
	{ "cpu{service=cart}", "at 12: expected a value in quotes after \"service=\"" },
	{ "cpu{service=~}", "at 13: expected a value in quotes after \"service=~\"" },
	{ "cpu{service=\"cart}", "at 12: a value is not ended; expected a closing \"" },
	{ "cpu{service='cart\"}", "at 12: a value is not ended; expected a closing '" },
	{ "cpu{\"service", "at 4: a name is not ended; expected a closing \"" },
	{ "cpu{a=\"1\" b=\"2\"}", "at 10: expected , or } after a matcher" },
	{ "cpu{a=\"1\"", "at 9: expected , or } after a matcher" },
	{ "cpu{a=\"x\ny\"}", "at 8: a line break inside quotes; write \\n" },
	{ "cpu{a=~\"1\\.9\"}", "at 9: unknown escape in quotes; write \\\\ for one backslash (a "
	                       "pattern's \\. is \"\\\\.\", or `\\.` in backticks)" },
	{ "cpu{a=\"\\x4\"}", "at 7: broken escape; they are \\ooo \\xHH \\uHHHH \\UHHHHHHHH" },
	{ "cpu{a=\"\\ud800\"}", "at 7: broken escape; they are \\ooo \\xHH \\uHHHH \\UHHHHHHHH" },
	{ "cpu{a=\"\\777\"}", "at 7: broken escape; they are \\ooo \\xHH \\uHHHH \\UHHHHHHHH" },
	{ "cpu{a=\"\\x00\"}", "at 7: a zero byte cannot be asked for" },
	{ "cpu{\"\"=\"a\"}", "at 4: a label has a name" },
	{ "{\"\"}", "at 1: a type has a name" },
	{ "cpu{\"wall\"}", "at 4: the type is named twice" },
	{ "{__name__=\"cpu\"}", "at 1: __name__ is no label here; write the type before the {" },
	{ "cpu{a=~\"(\"}", "at 7: pattern of \"a\", character 1: expected ) that ends the group" },
	{ "cpu{a=~\")\"}",
	        "at 7: pattern of \"a\", character 0: ) without its (; write \\) for the "
	        "character" },
	{ "cpu{a=~\"[a\"}", "at 7: pattern of \"a\", character 2: expected ] that ends the class" },
	{ "cpu{a=~\"[z-a]\"}",
	        "at 7: pattern of \"a\", character 4: this range ends before it begins" },
	{ "cpu{a=~\"[[:bogus:]]\"}",
	        "at 7: pattern of \"a\", character 3: unknown class name; known are "
	        "[:digit:] [:word:] "
	        "[:space:] [:alpha:] [:alnum:] [:upper:] [:lower:] [:punct:] [:xdigit:]" },
	{ "cpu{a=~\"[ä]\"}", "at 7: pattern of \"a\", character 1: only ASCII inside [...]; write "
	                     "(a|b) for other characters" },
	{ "cpu{a=~\"*\"}", "at 7: pattern of \"a\", character 0: nothing to repeat; write \\* for "
	                   "the character" },
	{ "cpu{a=~\"a|+\"}",
	        "at 7: pattern of \"a\", character 2: nothing to repeat; write \\+ for "
	        "the character" },
	{ "cpu{a=~\"a**\"}", "at 7: pattern of \"a\", character 2: a repeat of a repeat; put the "
	                     "inner one into (...)" },
	{ "cpu{a=~\"a{2}{3}\"}",
	        "at 7: pattern of \"a\", character 4: a repeat of a repeat; put the "
	        "inner one into (...)" },
	{ "cpu{a=~\"a{3,2}\"}", "at 7: pattern of \"a\", character 1: {3,2} has its ends the wrong "
	                        "way round" },
	{ "cpu{a=~\"a{1001}\"}", "at 7: pattern of \"a\", character 1: more than 1000 repeats" },
	{ "cpu{a=~\"((a{100}){100}){100}\"}", "at 7: pattern of \"a\", character 14: the "
	                                      "repeats unfold to more than 4096 parts" },
	{ "cpu{a=~`\\bword`}", "at 7: pattern of \"a\", character 1: \\b is not "
	                       "understood; known are \\d \\w \\s "
	                       "\\D \\W \\S \\n \\t \\xHH and escaped punctuation" },
	{ "cpu{a=~`(a)\\1`}", "at 7: pattern of \"a\", character 4: \\1 is not understood; "
	                      "known are \\d \\w \\s "
	                      "\\D \\W \\S \\n \\t \\xHH and escaped punctuation" },
	{ "cpu{a=~`(?=a)`}", "at 7: pattern of \"a\", character 1: of the (?...) forms "
	                     "only (?:...), (?P<name>...) "
	                     "and, as the first thing, (?i) are understood" },
	{ "cpu{a=~`(?<!a)`}", "at 7: pattern of \"a\", character 1: of the (?...) forms "
	                      "only (?:...), (?P<name>...) "
	                      "and, as the first thing, (?i) are understood" },
	{ "cpu{a=~`a\\`}",
	        "at 7: pattern of \"a\", character 2: a backslash at the end; write \\\\ "
	        "for a backslash" },
};

static void a_mistake_is_told_with_its_place_and_its_remedy(void **state)
{
	for (size_t i = 0; i < COUNT_OF(mistakes); i++) {
		AUTO(selector) selector = NULL;
		char error[512];

		print_message("%s\n", mistakes[i].text);
		assert_int_equal(
		        selector_parse(mistakes[i].text, &selector, error, sizeof(error)), -EINVAL);
		assert_null(selector);
		assert_string_equal(error, mistakes[i].error);
	}
}

static void a_short_error_buffer_is_cut_not_overrun(void **state)
{
	AUTO(selector) selector = NULL;
	char error[8];

	assert_int_equal(selector_parse("cpu{a", &selector, error, sizeof(error)), -EINVAL);
	assert_string_equal(error, "at 5: e");
	assert_int_equal(selector_parse("cpu{a", &selector, NULL, 0), -EINVAL);
}

static void limits_are_refused_by_number(void **state)
{
	AUTO(selector) selector = NULL;
	AUTO_BUF text = { 0 };
	char error[256];

	buf_printf(&text, "cpu{");
	for (int i = 0; i < SELECTOR_MATCHERS_MAX; i++)
		buf_printf(&text, "l%d=\"\",", i);
	size_t full = text.count;
	buf_printf(&text, "}");
	buf_put_u8(&text, 0);
	CHECK_OK(selector_parse((char *)text.bytes, &selector, error, sizeof(error)));
	assert_int_equal(selector_matchers_count(selector), SELECTOR_MATCHERS_MAX);
	assert_string_equal(selector_matcher_name(selector, 31), "l31");

	AUTO(selector) more = NULL;
	text.count = full;
	buf_printf(&text, "one_more=\"\"}");
	buf_put_u8(&text, 0);
	assert_int_equal(selector_parse((char *)text.bytes, &more, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "more than 32 matchers"));

	char *longest = malloc(SELECTOR_BYTES_MAX + 2);
	assert_non_null(longest);
	memset(longest, 'a', SELECTOR_BYTES_MAX + 1);
	longest[SELECTOR_BYTES_MAX + 1] = 0;
	assert_int_equal(selector_parse(longest, &more, error, sizeof(error)), -EINVAL);
	assert_string_equal(
	        error, "at 4096: longer than 4096 bytes; ask with fewer or shorter matchers");
	longest[SELECTOR_BYTES_MAX] = 0;
	CHECK_OK(selector_parse(longest, &more, error, sizeof(error)));
	free(longest);

	/* Groups inside each other: 64 are fine, one more is not. */
	for (int depth = 64; depth <= 65; depth++) {
		AUTO(selector) nested = NULL;
		buf_reset(&text);
		buf_printf(&text, "{a=~\"%.*s%.*s\"}", depth,
		        "(((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((", depth,
		        ")))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))");
		buf_put_u8(&text, 0);
		assert_int_equal(selector_parse((char *)text.bytes, &nested, error, sizeof(error)),
		        depth == 64 ? 0 : -EINVAL);
	}
	assert_non_null(strstr(error, "more than 64 groups inside each other"));
}

static const struct matcher_case {
	const char *matcher;
	const char *value;
	bool accepts;
} matcher_cases[] = {
	{ "=\"cart\"", "cart", true },
	{ "=\"cart\"", "carts", false },
	{ "=\"\"", "", true },
	{ "!=\"cart\"", "cart", false },
	{ "!=\"cart\"", "", true },
	/* Anchored at both ends. */
	{ "=~\"art\"", "cart", false },
	{ "=~\"car\"", "cart", false },
	{ "=~\"cart\"", "cart", true },
	{ "=~\"a|b\"", "a", true },
	{ "=~\"a|b\"", "b", true },
	{ "=~\"a|b\"", "ab", false },
	{ "=~\"\"", "", true },
	{ "=~\"\"", "x", false },
	{ "=~\".*\"", "", true },
	{ "=~\".+\"", "", false },
	{ "!~\".+\"", "", true },
	{ "!~\"a.*\"", "abc", false },
	{ "=~\".*\"", "two\nlines", true },
	{ "=~`1\\.9.*`", "1.9.2", true },
	{ "=~`1\\.9.*`", "1x9.2", false },
	{ "=~\"1\\\\.9.*\"", "1.9.2", true },
	/* Shorthands. */
	{ "=~`\\d+`", "0123456789", true },
	{ "=~`\\d+`", "12a", false },
	{ "=~`\\D+`", "ab-ä", true },
	{ "=~`\\D+`", "a1", false },
	{ "=~`\\w+`", "aZ_09", true },
	{ "=~`\\w+`", "a-b", false },
	{ "=~`a\\sb`", "a b", true },
	{ "=~`a\\Sb`", "a b", false },
	{ "=~`a\\tb`", "a\tb", true },
	{ "=~`a\\x41b`", "aAb", true },
	{ "=~`(?:ab)+c`", "ababc", true },
	{ "=~`(?P<x>ab)c`", "abc", true },
	{ "=~`(?<x>ab)c`", "abc", true },
	{ "=~`(?i)Cart`", "cART", true },
	{ "=~`(?i)[a-c]+`", "aBC", true },
	{ "=~`(?i)[^a-c]+`", "xB", false },
	/* Lazy means nothing between anchors, but a+? must not become (a+)?. */
	{ "=~`a+?b`", "b", false },
	{ "=~`a+?b`", "aab", true },
	{ "=~`a*?b`", "b", true },
	{ "=~`a??b`", "ab", true },
	{ "=~`a{2,3}?b`", "aab", true },
	{ "=~`a{2,3}?b`", "b", false },
	{ "=~`(a|)b`", "b", true },
	{ "=~`()`", "", true },
	/* Counts, and braces that are none. */
	{ "=~`a{2}`", "aa", true },
	{ "=~`a{2}`", "aaa", false },
	{ "=~`a{2,}`", "aaaa", true },
	{ "=~`a{0,1}`", "", true },
	{ "=~`a{,2}`", "a{,2}", true },
	{ "=~`a{x}`", "a{x}", true },
	{ "=~`{a}`", "{a}", true },
	{ "=~`a]b}`", "a]b}", true },
	/* Escaped punctuation, also where POSIX or glibc would read more into it. */
	{ "=~`a\\-b\\/c`", "a-b/c", true },
	{ "=~`\\<a\\>`", "<a>", true },
	{ "=~\"a\\\\`b\"", "a`b", true },
	{ "=~`a\\'b`", "a'b", true },
	{ "=~`\\[\\]\\{\\}\\(\\)\\*\\+\\?\\^\\$\\|\\\\`", "[]{}()*+?^$|\\", true },
	/* Classes, whose members are special to POSIX brackets. */
	{ "=~`[]a]+`", "]a", true },
	{ "=~`[^]a]`", "]", false },
	{ "=~`[\\]\\[]+`", "[]", true },
	{ "=~`[\\^]`", "^", true },
	{ "=~`[\\^\\-]+`", "^-", true },
	{ "=~`[\\^\\-]`", "a", false },
	{ "=~`[\\^\\[]+`", "^[", true },
	{ "=~`[\\^\\-\\[\\]]+`", "^-[]", true },
	{ "=~`[^\\^\\-]`", "-", false },
	{ "=~`[^\\^]`", "^", false },
	{ "=~`[a-]+`", "a-", true },
	{ "=~`[-a]+`", "a-", true },
	{ "=~`[a-c-e]+`", "abc-e", true },
	{ "=~`[\\d.]+`", "1.9", true },
	{ "=~`[^\\d.]+`", "1.9", false },
	{ "=~`[\\w-]+`", "pod-7_x", true },
	{ "=~`[\\D\\d]`", "7", true },
	{ "=~`[[:alpha:]_]+`", "a_B", true },
	{ "=~`[[:^digit:]]+`", "1", false },
	{ "=~`[.*+?]+`", "*.?+", true },
	{ "=~`[\\\\]`", "\\", true },
	{ "=~`[[.]+`", "[.", true },
	{ "=~`[[=:]+`", "[=:", true },
	/* UTF-8: literals are whole characters, also under a repeat. */
	{ "=~`ä+b`", "ääb", true },
	{ "=~`.*ä.*`", "käse", true },
	{ "=~`(ä|ö)`", "ö", true },
	/* Anchors of the user's own. */
	{ "=~`^cart$`", "cart", true },
	{ "=~`a^b`", "a^b", false },
};

static void check_matcher(const struct matcher_case *of)
{
	AUTO(selector) selector = NULL;
	AUTO_BUF text = { 0 };
	char error[512] = "";

	buf_printf(&text, "{a%s}", of->matcher);
	buf_put_u8(&text, 0);
	print_message("%s on \"%s\"\n", (char *)text.bytes, of->value);
	if (selector_parse((char *)text.bytes, &selector, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(selector_matcher_accepts(selector, 0, of->value), of->accepts);
}

static void a_matcher_accepts_what_promql_would(void **state)
{
	for (size_t i = 0; i < COUNT_OF(matcher_cases); i++)
		check_matcher(&matcher_cases[i]);
}

static void backticks_know_no_escape(void **state)
{
	AUTO(selector) selector = NULL;
	char error[512] = "";
	assert_int_equal(selector_parse("{a=~`a\\`b`}", &selector, error, sizeof(error)), -EINVAL);
}

static void the_worst_patterns_allowed_are_compiled_and_run_in_bounds(void **state)
{
	static const char *const patterns[] = {
		"(x*){1000}y",
		"(x?){1000}y",
		"(a|b|c|d|e){400}",
		"(x+x+)+y",
		"(a|aa)+b",
		"((a{10}){10}){20}",
		".*a.{100}b",
		"(.*)*(.*)*c",
	};
	static char value[4097];

	memset(value, 'x', sizeof(value) - 1);
	for (size_t i = 0; i < COUNT_OF(patterns); i++) {
		AUTO(selector) selector = NULL;
		AUTO_BUF text = { 0 };
		char error[256];

		buf_printf(&text, "{a=~\"%s\"}", patterns[i]);
		buf_put_u8(&text, 0);
		CHECK_OK(selector_parse((char *)text.bytes, &selector, error, sizeof(error)));
		assert_false(selector_matcher_accepts(selector, 0, value));
	}
}

static uint32_t series_of(struct dict *dict, const char *type, const char *const *labels)
{
	struct series series = { .period = 1 };
	struct label pairs[8];
	uint32_t count = 0;
	uint32_t id;

	CHECK_OK(dict_cstring(dict, type, &series.type));
	CHECK_OK(dict_cstring(dict, "nanoseconds", &series.unit));
	for (; labels[0]; labels += 2) {
		CHECK_OK(dict_cstring(dict, labels[0], &pairs[count].name));
		CHECK_OK(dict_cstring(dict, labels[1], &pairs[count].value));
		count++;
	}
	CHECK_OK(dict_series(dict, &series, pairs, count, &id));
	return id;
}

static void a_series_matches_by_type_and_by_every_matcher(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	const char *const labels[] = { "service", "cart", "version", "1.9.2", NULL };
	uint32_t series = series_of(dict, "cpu", labels);
	static const struct {
		const char *text;
		bool matches;
	} cases[] = {
		{ "cpu", true },
		{ "offcpu", false },
		{ "{}", true },
		{ "cpu{service=\"cart\"}", true },
		{ "offcpu{service=\"cart\"}", false },
		{ "{service=\"cart\",version=~\"1.9.*\"}", true },
		{ "{service=\"cart\",version=~\"1.8.*\"}", false },
		{ "{service!=\"cart\"}", false },
		/* A label nobody ever had, and one that only this series lacks, are empty. */
		{ "{nobody=\"\"}", true },
		{ "{nobody!=\"\"}", false },
		{ "{nobody=~\".*\"}", true },
		{ "{nobody!~\".+\"}", true },
		{ "{region=\"\"}", true },
		{ "{region=\"eu\"}", false },
		{ "{region!=\"eu\"}", true },
	};
	const char *const other[] = { "region", "eu", NULL };

	(void)series_of(dict, "cpu", other);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(selector) selector = NULL;
		char error[256];

		print_message("%s\n", cases[i].text);
		CHECK_OK(selector_parse(cases[i].text, &selector, error, sizeof(error)));
		assert_int_equal(selector_matches(selector, dict, series), cases[i].matches);
	}
}

/* What all series of a tenant, type and service have in common decides, or does not. */
static void many_series_are_judged_at_once(void **state)
{
	static const struct {
		const char *text;
		const char *tenant;
		enum selector_answer answer;
	} cases[] = {
		{ "{}", "acme", SELECTOR_ALL },
		{ "cpu", "acme", SELECTOR_ALL },
		{ "alloc", "acme", SELECTOR_NONE },
		{ "cpu{service=\"cart\"}", "acme", SELECTOR_ALL },
		{ "cpu{service=~\"c.*\",service!=\"cat\"}", "acme", SELECTOR_ALL },
		{ "{service!~\"c.*\"}", "acme", SELECTOR_NONE },
		{ "{service=\"\"}", "acme", SELECTOR_NONE },
		{ "{tenant=\"acme\"}", "acme", SELECTOR_ALL },
		{ "{tenant=\"other\",version=\"1\"}", "acme", SELECTOR_NONE },
		{ "{tenant=\"acme\"}", NULL, SELECTOR_NONE }, /* no label has that value */
		{ "{tenant=~\".*\"}", NULL, SELECTOR_DEPENDS },
		{ "{service=\"cart\",version=\"1\"}", "acme", SELECTOR_DEPENDS },
		{ "{version=\"1\",service=\"web\"}", "acme", SELECTOR_NONE },
		{ "{version=\"2\"}", "acme", SELECTOR_NONE },
		{ "{version!=\"2\"}", "acme", SELECTOR_DEPENDS },
		{ "{version=\"\"}", "acme", SELECTOR_DEPENDS },
	};
	AUTO(dict) dict = dict_new(dict_limits_default);
	char error[256];
	uint32_t id;
	CHECK_OK(dict_cstring(dict, "1", &id));
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(selector) selector = NULL;
		struct selector_known known = { cases[i].tenant, "cpu", "cart", dict };
		print_message("%s\n", cases[i].text);
		CHECK_OK(selector_parse(cases[i].text, &selector, error, sizeof(error)));
		assert_int_equal(selector_judge(selector, known), cases[i].answer);
		known.dict = NULL;
		if (cases[i].answer != SELECTOR_NONE)
			assert_int_equal(selector_judge(selector, known), cases[i].answer);
	}
}

static void parts_can_be_asked_for(void **state)
{
	AUTO(selector) selector = NULL;
	AUTO(selector) any = NULL;
	char error[256];

	CHECK_OK(selector_parse("cpu{a!~\"x\"}", &selector, error, sizeof(error)));
	assert_string_equal(selector_type(selector), "cpu");
	assert_int_equal(selector_matchers_count(selector), 1);
	assert_string_equal(selector_matcher_name(selector, 0), "a");
	assert_string_equal(selector_matcher_value(selector, 0), "x");
	assert_int_equal(selector_matcher_op(selector, 0), MATCHER_NOT_REGEX);

	CHECK_OK(selector_parse("{}", &any, error, sizeof(error)));
	assert_null(selector_type(any));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_selector_prints_in_its_normal_form),
		cmocka_unit_test(a_mistake_is_told_with_its_place_and_its_remedy),
		cmocka_unit_test(a_short_error_buffer_is_cut_not_overrun),
		cmocka_unit_test(limits_are_refused_by_number),
		cmocka_unit_test(a_matcher_accepts_what_promql_would),
		cmocka_unit_test(backticks_know_no_escape),
		cmocka_unit_test(the_worst_patterns_allowed_are_compiled_and_run_in_bounds),
		cmocka_unit_test(a_series_matches_by_type_and_by_every_matcher),
		cmocka_unit_test(many_series_are_judged_at_once),
		cmocka_unit_test(parts_can_be_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
