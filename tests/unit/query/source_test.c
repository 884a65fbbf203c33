/* Which words are files and which are selectors, and which type of several is meant. */

#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/naming.h"
#include "query/source.h"

static void words_are_told_apart(void **state)
{
	static const struct {
		const char *word;
		bool is_file;
	} cases[] = {
		{ "cpu", false },
		{ "cpu{service=\"cart\"}", false },
		{ "{path=\"/usr/bin/x.folded\"}", false },
		{ "-", true },
		{ "stacks.folded", true },
		{ "profile.pb.gz", true },
		{ "./anything", true },
		{ "/tmp/x", true },
		{ "net_tx", false },
		{ "my.type", false },
		{ "cpu.pprof", true },
		{ "", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(source_is_file(cases[i].word), cases[i].is_file);
}

static struct source_request request_of(const char *a, const char *b, const char *type)
{
	return (struct source_request){
		.words = { a, b },
		.sides_count = b ? 2 : 1,
		.type = type,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
	};
}

static void a_folded_file_is_of_the_type_that_is_said(void **state)
{
	TEST_DIR(dir);
	char path[300];
	snprintf(path, sizeof(path), "%s/x.folded", dir.path);
	test_file_write(path, "main;f 5\nmain 2\n", 16);

	static const struct {
		const char *type;
		const char *found_type, *found_unit;
		bool is_cpu;
	} cases[] = {
		{ NULL, "value", "count", false },
		{ "cpu", "cpu", "nanoseconds", true },
		{ "offcpu", "offcpu", "nanoseconds", false },
		{ "pagefault", "pagefault", "count", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(source) source = NULL;
		struct shared_args shared = { 0 };
		struct source_request request = request_of(path, path, cases[i].type);
		assert_int_equal(source_load(&shared, &request, &source), 0);
		assert_string_equal(source->type, cases[i].found_type);
		assert_string_equal(source->unit, cases[i].found_unit);
		assert_int_equal(source->is_cpu, cases[i].is_cpu);
		assert_int_equal(source->sides[0].value, 7);
		assert_int_equal(source->sides[1].value, 7);
		assert_int_equal(source->sides[0].completeness.samples, 2);
	}
}

static void what_is_wrong_has_an_exit_code(void **state)
{
	TEST_DIR(dir);
	char broken[300], missing[300];
	snprintf(broken, sizeof(broken), "%s/broken.folded", dir.path);
	snprintf(missing, sizeof(missing), "%s/missing.folded", dir.path);
	test_file_write(broken, "main;f -5\n", 10);

	const struct {
		const char *word;
		const char *type;
		int code;
	} cases[] = {
		{ broken, NULL, EXIT_CODE_FAILED },
		{ missing, NULL, EXIT_CODE_FAILED },
		{ "cpu{", NULL, EXIT_CODE_USAGE },
		{ "cpu{a=b}", NULL, EXIT_CODE_USAGE },
		{ "cpu{}", "offcpu", EXIT_CODE_USAGE },
		{ dir.path, NULL, EXIT_CODE_USAGE },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(source) source = NULL;
		struct shared_args shared = { 0 };
		struct source_request request = request_of(cases[i].word, NULL, cases[i].type);
		assert_int_equal(source_load(&shared, &request, &source), cases[i].code);
		assert_null(source);
	}
}

static void a_file_without_stacks_is_an_answer_of_nothing(void **state)
{
	TEST_DIR(dir);
	char path[300];
	snprintf(path, sizeof(path), "%s/empty.folded", dir.path);
	test_file_write(path, "", 0);
	AUTO(source) source = NULL;
	struct shared_args shared = { 0 };
	struct source_request request = request_of(path, NULL, NULL);
	assert_int_equal(source_load(&shared, &request, &source), 0);
	assert_int_equal(source->sides[0].value, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_told_apart),
		cmocka_unit_test(a_folded_file_is_of_the_type_that_is_said),
		cmocka_unit_test(what_is_wrong_has_an_exit_code),
		cmocka_unit_test(a_file_without_stacks_is_an_answer_of_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
