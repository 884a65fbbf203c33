/*
 * The bytes of a folder whose sums have the values of groups apart (docs/formats/store.md), fixed
 * in tests/golden/store_v4.txt: a window of two services, one of them with two instances, its
 * second generation of what came late, and one batch that is open. PROFLEET_GOLDEN=write writes the
 * file anew, which is right only together with a new version number.
 */

#include "tests/golden/store_golden.h"

#define GOLDEN "tests/golden/store_v4.txt"

static void fill_store(const char *path)
{
	struct filling filling;
	filling_init(&filling, path);
	filling_open(&filling);
	struct source *source = &filling.source;
	struct store *store = filling.store;
	append(source, store, 1, 600);
	append(source, store, 2, 610);
	source_begin(source, 630 * SECOND, 10 * SECOND);
	CHECK_OK(batch_add_row(source->batch, source_series(source, "cart", "c", 20408163),
	        source_stack(source, "work"), 6));
	assert_int_equal(source_append(source, store, 5), WIRE_OK);
	CHECK_OK(store_seal(store, 1200 * SECOND));
	append(source, store, 3, 605);
	CHECK_OK(store_seal(store, 1200 * SECOND));
	append(source, store, 4, 1200);
	struct store_run run = { .id = 7, .hidden_ns = 1, .erase_ns = 2, .note = "plan 1" };
	struct store_expire_item item = { { 0, 0, 600 * SECOND, 1200 * SECOND }, 1,
		STORE_PART_ALL };
	struct store_expired expired;
	CHECK_OK(store_hide(store, &run, &item, 1, &expired));
	assert_int_equal(expired.units[0], 1);
	filling_end(&filling);
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
	check_hiding_store(dir.path, 1);
	AUTO(store) store = store_fixture_open(dir.path);
	assert_int_equal(store_fixture_total(store, "cpu{instance=\"c\"}", 0, UINT64_MAX),
	        6 * UINT64_C(20408163));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_store_writes_these_bytes),
		cmocka_unit_test(these_bytes_are_read_as_the_store_they_were),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
