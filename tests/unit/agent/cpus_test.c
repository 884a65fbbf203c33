/* Lists of CPUs as the kernel writes them, and everything that is none. */

#include "tests/lib/test.h"

#include <errno.h>
#include <string.h>

#include "agent/cpus.h"

static void lists_of_ranges_are_sets(void **state)
{
	static const struct {
		const char *text;
		uint32_t count;
		uint32_t has[3];
		uint32_t lacks;
	} cases[] = {
		{ "0\n", 1, { 0, 0, 0 }, 1 },
		{ "0-3\n", 4, { 0, 2, 3 }, 4 },
		{ "0-1,8,10-11\n", 5, { 1, 8, 11 }, 9 },
		{ "63-64", 2, { 63, 64, 64 }, 65 },
		{ "8191", 1, { 8191, 8191, 8191 }, 8190 },
		{ "1,1,0-1", 2, { 0, 1, 1 }, 2 },
	};

	for (size_t at = 0; at < COUNT_OF(cases); at++) {
		struct cpus cpus;
		CHECK_OK(cpus_parse(cases[at].text, strlen(cases[at].text), &cpus));
		assert_int_equal(cpus.count, cases[at].count);
		for (size_t has = 0; has < COUNT_OF(cases[at].has); has++)
			assert_true(cpus_has(&cpus, cases[at].has[has]));
		assert_false(cpus_has(&cpus, cases[at].lacks));
	}
}

static void an_empty_list_is_an_empty_set(void **state)
{
	struct cpus cpus;

	CHECK_OK(cpus_parse("\n", 1, &cpus));
	assert_int_equal(cpus.count, 0);
	assert_false(cpus_has(&cpus, UINT32_MAX));
}

static void what_is_no_list_is_refused_and_leaves_the_set_alone(void **state)
{
	static const char *const cases[] = { "x", "1-", "-1", "3-1", "1,", ",1", "1,,2", "8192",
		"99999999999999999999", "1 2", "0-8192", "0x1" };
	struct cpus cpus = { .count = 7 };

	for (size_t at = 0; at < COUNT_OF(cases); at++)
		assert_int_equal(cpus_parse(cases[at], strlen(cases[at]), &cpus), -EBADMSG);
	assert_int_equal(cpus.count, 7);
}

static void a_file_that_is_not_there_says_so(void **state)
{
	struct cpus cpus;

	assert_int_equal(cpus_read("/nonexistent/online", &cpus), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_of_ranges_are_sets),
		cmocka_unit_test(an_empty_list_is_an_empty_set),
		cmocka_unit_test(what_is_no_list_is_refused_and_leaves_the_set_alone),
		cmocka_unit_test(a_file_that_is_not_there_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
