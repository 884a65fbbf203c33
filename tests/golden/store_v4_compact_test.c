/*
 * The bytes of a folder in which a day has moved to a compact generation of the dictionary
 * (docs/formats/store.md), fixed in tests/golden/store_v4_compact.txt: the day, its generation, and
 * the newest one with a batch that is open. PROFLEET_GOLDEN=write writes the file anew, which is
 * right only together with a new version number.
 */

#include "tests/golden/store_golden.h"

#define GOLDEN "tests/golden/store_v4_compact.txt"
#define DAY_S  UINT64_C(86400)

/* All windows of a level go. */
static void drop(struct store *store, uint32_t level, uint64_t length_s)
{
	struct store_run run = { .id = 1 + level };
	struct store_expire_item item = { { level, 0, 0, length_s * SECOND }, STORE_UNIT_NONE,
		STORE_PART_ALL };
	struct store_expired expired;
	CHECK_OK(store_hide(store, &run, &item, 1, &expired));
	assert_int_equal(expired.missing, 0);
	CHECK_OK(store_erase(store, run.id, NULL, &expired));
}

static void fill_store(const char *path)
{
	struct filling filling;
	filling_init(&filling, path);
	filling.options.fold_below[1] =
	        3; /* cart's "wait" is in main then, and in no name that moves */
	filling_open(&filling);
	struct source *source = &filling.source;
	struct store *store = filling.store;
	append(source, store, 9, 0);
	clock_virtual_advance(&filling.clock, 8 * DAY_S * SECOND);
	append(source, store, 10, DAY_S);
	CHECK_OK(store_seal(store, 600 * SECOND));
	CHECK_OK(store_roll(store, DAY_S * SECOND));
	drop(store, 0, 600);
	drop(store, 1, 3600);
	CHECK_OK(store_roll(store, DAY_S * SECOND));
	CHECK_OK(store_collect(store));
	filling_end(&filling);
}

static void check_store(const char *path)
{
	AUTO(store) store = store_fixture_open(path);
	struct store_size size;
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.generations, 2);
	assert_int_equal(size.generations_compact, 1);
	assert_int_equal(size.rollups, 1);
	assert_int_equal(store_fixture_total(store, "cpu{service=\"cart\"}", 0, DAY_S * SECOND),
	        (9 + 2) * UINT64_C(20408163));
	assert_int_equal(store_fixture_total(store, "cpu{service=\"shop\"}", 0, UINT64_MAX),
	        2 * 5 * UINT64_C(20408163));
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
