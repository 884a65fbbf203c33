#pragma once

/*
 * What every test in C includes: cmocka with the headers it needs, one check for anything, and a
 * folder that disappears with the test.
 *
 *	static void full_table_refuses_only_new_stacks(void **state) { ... CHECK(...); ... }
 *
 *	int main(void)
 *	{
 *		const struct CMUnitTest tests[] = { cmocka_unit_test(full_table_...), };
 *		return cmocka_run_group_tests(tests, NULL, NULL);
 *	}
 *
 * A whole program that cannot run here says why on stderr and returns TEST_SKIPPED from main().
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The exit code by which ctest counts a test as skipped. */
#define TEST_SKIPPED 77

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Fails the test and shows the expression. cmocka's assert_* show values: prefer them for those. */
#define CHECK(condition) ((condition) ? (void)0 : test_check_failed(#condition, __FILE__, __LINE__))
/* Known not to return, so that an analyzer believes what was checked. */
_Noreturn void test_check_failed(const char *condition, const char *file, int line);

/* Fails the test unless `call` returned 0, and shows the errno it returned by name. */
#define CHECK_OK(call) test_check_ok((call), #call, __FILE__, __LINE__)
void test_check_ok(int result, const char *call, const char *file, int line);

/*
 * A fresh empty folder below $TMPDIR or /tmp, or below a given one. Aborts when none can be made.
 *
 * Where a test fails before it removes its folder the end of its process does, unless PROFLEET_KEEP
 * is set. The folder of a process that is killed goes when a test that is run an hour later makes
 * its own.
 */
struct test_dir {
	char path[256];
};
struct test_dir test_dir_new(void);
struct test_dir test_dir_new_below(const char *parent);
void test_dir_remove(struct test_dir *dir);
#define TEST_DIR(name)                                                                             \
	__attribute__((cleanup(test_dir_remove))) struct test_dir name = test_dir_new()

/*
 * The content of a file below the repository root, which is where tests run: heap memory with a 0
 * behind it, freed by the caller. Fails the test when the file cannot be read.
 */
char *test_file_read(const char *path, size_t *ret_bytes);

/* Writes all of it, or fails the test. */
void test_file_write(const char *path, const void *bytes, size_t bytes_count);
