/*
 * The bytes of a folder with sealed windows (docs/formats/store.md), fixed in
 * tests/golden/store_v2.txt: a window of two services, its second generation of what came late, and
 * one batch that is open. Nobody writes this format any more: its windows do not say how large
 * their units are.
 */

#include "tests/golden/store_golden.h"

#define GOLDEN "tests/golden/store_v2.txt"

static void check_store(const char *path)
{
	AUTO(store) store = store_fixture_open(path);
	struct store_size size;
	struct store_sum sum = store_fixture_sum(store, "cpu{service=\"cart\"}", 0, UINT64_MAX);
	assert_int_equal(sum.parts[0].rows_count, 2);
	assert_int_equal(sum.completeness.samples, 1 + 2 + 3 + 4 + 4 * 2);
	assert_int_equal(sum.completeness.intervals, 4);
	assert_int_equal(sum.completeness.coverage_ns, 4 * 9 * SECOND);
	assert_int_equal(sum.completeness.lost[LOSS_RING_FULL], 8);
	assert_int_equal(sum.completeness.lost[LOSS_PERF_LOST], 4);
	assert_int_equal(sum.completeness.corrupt, 0);
	store_sum_fini(&sum);
	assert_int_equal(store_fixture_value(store, "cpu", 605 * SECOND, 610 * SECOND),
	        10 * UINT64_C(20408163));
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.windows, 2);
}

static void these_bytes_are_read_as_the_store_they_were(void **state)
{
	TEST_DIR(dir);
	restore(GOLDEN, dir.path);
	check_store(dir.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(these_bytes_are_read_as_the_store_they_were),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
