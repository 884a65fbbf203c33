/*
 * The bytes of a folder whose windows say how large their units are (docs/formats/store.md), fixed
 * in tests/golden/store_v3.txt: a window of two services, its second generation of what came late,
 * and one batch that is open. PROFLEET_GOLDEN=write writes the file anew, which is right only
 * together with a new version number.
 */

#include "core/clock.h"
#include "storage/store_expire.h"
#include "tests/golden/store_golden.h"

#define GOLDEN "tests/golden/store_v3.txt"

static void fill_store(const char *path)
{
	struct clock_virtual clock;
	struct store_options options = store_fixture_options(path);
	options.clock = &clock.clock;
	clock_virtual_init(&clock, 1700000000 * SECOND);
	struct store *store = store_fixture_open_with(options);
	struct source source = source_new(store, 1);
	source.stream.tenant = "acme";
	append(&source, store, 1, 600);
	append(&source, store, 2, 610);
	CHECK_OK(store_seal(store, 1200 * SECOND));
	append(&source, store, 3, 605);
	CHECK_OK(store_seal(store, 1200 * SECOND));
	append(&source, store, 4, 1200);
	struct store_run run = { .id = 7, .hidden_ns = 1, .erase_ns = 2, .note = "plan 1" };
	struct store_expire_item item = { { 0, 0, 600 * SECOND, 1200 * SECOND }, 1,
		STORE_PART_ALL };
	struct store_expired expired;
	CHECK_OK(store_hide(store, &run, &item, 1, &expired));
	assert_int_equal(expired.units[0], 1);
	source_free(&source);
	store_free(store);
}

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
	/* Two of four batches are in the window whose second unit is hidden, until it is undone. */
	assert_int_equal(store_fixture_value(store, "cpu{service=\"shop\"}", 0, UINT64_MAX),
	        2 * 5 * UINT64_C(20408163));
	struct store_expired back;
	CHECK_OK(store_undo(store, 7, &back));
	assert_int_equal(back.units[0], 1);
	assert_int_equal(store_fixture_value(store, "cpu{service=\"shop\"}", 0, UINT64_MAX),
	        4 * 5 * UINT64_C(20408163));
}

static void a_store_writes_these_bytes(void **state)
{
	TEST_DIR(dir);
	fill_store(dir.path);
	check_dump(dir.path, GOLDEN);
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
		cmocka_unit_test(a_store_writes_these_bytes),
		cmocka_unit_test(these_bytes_are_read_as_the_store_they_were),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
