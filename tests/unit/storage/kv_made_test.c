/* Names that differ, files that go, and a list that ends. */

#include "storage/kv_made.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/auto.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"

static void files_have_names_of_their_own_and_are_removed_by_them(void **state)
{
	TEST_DIR(dir);
	struct kv_made made = { 0 };
	const char *name;
	(void)state;
	for (uint64_t number = 1; number <= 20; number++) {
		CHECK_OK(kv_made_add(&made, dir.path, number, &name));
		assert_int_equal(access(name, F_OK), -1);
		assert_true(
		        strncmp(strrchr(name, '/') + 1, KV_MADE_FIRST, strlen(KV_MADE_FIRST)) == 0);
		test_file_write(name, "x", 1);
	}
	assert_int_equal(made.count, 20);
	kv_made_remove(&made);
	for (size_t i = 0; i < made.count; i++)
		assert_int_equal(access(made.names[i], F_OK), -1);
	kv_made_fini(&made);
	assert_int_equal(made.count, 0);
}

static void a_list_ends_and_what_has_no_memory_is_not_on_it(void **state)
{
	struct kv_made made = { 0 };
	const char *name = "untouched";
	int r = 0;
	(void)state;
	for (uint32_t nth = 0; nth < 2; nth++) {
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		assert_int_equal(kv_made_add(&made, "/folder", 1, &name), -ENOMEM);
		assert_true(fault_disarm());
		assert_int_equal(made.count, 0);
		assert_string_equal(name, "untouched");
		kv_made_fini(&made);
	}
	uint64_t number = 0;
	while (r == 0)
		r = kv_made_add(&made, "/folder", UINT64_MAX - number++, &name);
	assert_int_equal(r, -E2BIG);
	assert_int_equal(made.count, 4096);
	assert_string_equal(made.names[0], "/folder/" KV_MADE_FIRST "18446744073709551615");
	kv_made_fini(&made);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_have_names_of_their_own_and_are_removed_by_them),
		cmocka_unit_test(a_list_ends_and_what_has_no_memory_is_not_on_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
