/*
 * The bytes of a folder with two generations of the dictionary (docs/formats/store.md), fixed in
 * tests/golden/store_v3_generations.txt: a window that is sealed in each of them, a batch of each
 * that is open, and counters of what was refused. Nobody writes this format any more: the values of
 * groups are in its sums.
 */

#include "tests/golden/store_golden.h"

#define GOLDEN "tests/golden/store_v3_generations.txt"

static void these_bytes_are_read_as_the_store_they_were(void **state)
{
	TEST_DIR(dir);
	restore(GOLDEN, dir.path);
	check_generations_store(dir.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(these_bytes_are_read_as_the_store_they_were),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
