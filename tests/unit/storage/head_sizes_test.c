/* Which windows have grown too large, and that counting never needs more room. */

#include "storage/head_sizes.h"

#include "tests/lib/test.h"

static void add(struct head_sizes *heads, uint64_t from_ns, uint64_t bytes)
{
	head_sizes_add(heads, (struct head_size){ from_ns, bytes, 1 });
}

static void a_window_is_taken_when_it_has_grown_to_the_size(void **state)
{
	struct head_sizes heads = { 0 };
	struct head_size size;
	add(&heads, 0, 60);
	add(&heads, 600, 99);
	assert_false(head_sizes_take(&heads, 100, &size));
	add(&heads, 0, 40);
	assert_true(head_sizes_take(&heads, 100, &size));
	assert_int_equal(size.from_ns, 0);
	assert_int_equal(size.bytes, 100);
	assert_int_equal(size.batches, 2);
	assert_int_equal(head_sizes_get(&heads, 0).batches, 0);
	assert_int_equal(head_sizes_get(&heads, 600).bytes, 99);
	assert_false(head_sizes_take(&heads, 100, &size));

	add(&heads, 600, 1);
	head_sizes_clear(&heads, 600);
	head_sizes_clear(&heads, 1200);
	assert_int_equal(heads.count, 0);
}

static void among_too_many_windows_the_largest_are_counted(void **state)
{
	struct head_sizes heads = { 0 };
	struct head_size size;
	add(&heads, UINT64_MAX, UINT64_MAX - 1);
	for (uint64_t i = 0; i < 10 * HEAD_SIZES_MAX; i++)
		add(&heads, i, 1);
	assert_int_equal(heads.count, HEAD_SIZES_MAX);
	add(&heads, UINT64_MAX, 2);
	assert_true(head_sizes_take(&heads, 2, &size));
	assert_int_equal(size.from_ns, UINT64_MAX);
	assert_int_equal(size.bytes, UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_is_taken_when_it_has_grown_to_the_size),
		cmocka_unit_test(among_too_many_windows_the_largest_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
