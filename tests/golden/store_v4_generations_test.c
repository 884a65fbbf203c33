/*
 * The bytes of a folder with two generations of the dictionary (docs/formats/store.md), fixed in
 * tests/golden/store_v4_generations.txt: a window that is sealed in each of them, a batch of each
 * that is open, and counters of what was refused. PROFLEET_GOLDEN=write writes the file anew, which
 * is right only together with a new version number.
 */

#include "tests/golden/store_golden.h"

#define GOLDEN "tests/golden/store_v4_generations.txt"

static void fill_store(const char *path)
{
	struct filling filling;
	filling_init(&filling, path);
	filling_open(&filling);
	struct source *source = &filling.source;
	struct store *store = filling.store;
	append(source, store, 1, 600);
	clock_virtual_advance(&filling.clock, 8 * 86400 * SECOND);
	append(source, store, 2, 610);
	CHECK_OK(store_seal(store, 1200 * SECOND));
	append(source, store, 3, 1200);

	struct store_append late = source_section(source, 4);
	late.refuse_late = true;
	CHECK_OK(store_append(store, &late, 1));
	assert_int_equal(late.ret_status, WIRE_REJECT);
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
	check_generations_store(dir.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_store_writes_these_bytes),
		cmocka_unit_test(these_bytes_are_read_as_the_store_they_were),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
