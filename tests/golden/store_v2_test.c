/*
 * The bytes of a folder with sealed windows (docs/formats/store.md), fixed in
 * tests/golden/store_v2.txt: a window of two services, its second generation of what came late, and
 * one batch that is open. Nobody writes this format any more: its windows do not say how large
 * their units are.
 */

#include "tests/golden/store_golden.h"

#define GOLDEN "tests/golden/store_v2.txt"

static void these_bytes_are_read_as_the_store_they_were(void **state)
{
	TEST_DIR(dir);
	restore(GOLDEN, dir.path);
	AUTO(store) store = store_fixture_open(dir.path);
	check_sealed_store(store, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(these_bytes_are_read_as_the_store_they_were),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
