/*
 * heap: what was freed between pieces that are in use goes back, unless it is little. Built without
 * sanitizers, whose malloc() is another.
 */

#include "aggregator/heap.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/test.h"

#define PIECES      256
#define PIECE_BYTES (64u << 10)

/* Pages within the freed pieces that are in memory. */
static uint32_t resident_pages(const uintptr_t *freed)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uint32_t count = 0;
	for (uint32_t i = 0; i < PIECES / 2; i++) {
		/* The ends hold the library's own words. */
		uintptr_t from = (freed[i] + 2 * page) & ~(page - 1);
		uintptr_t to = (freed[i] + PIECE_BYTES - page) & ~(page - 1);
		unsigned char is_in[PIECE_BYTES / 4096];
		assert_int_equal(mincore((void *)from, to - from, is_in), 0);
		for (uintptr_t at = 0; at < (to - from) / page; at++)
			count += is_in[at] & 1;
	}
	return count;
}

static void what_lies_free_between_others_is_given_back(void **state)
{
	static uint8_t *pieces[PIECES];
	uintptr_t freed[PIECES / 2];
	heap_begin();
	heap_set_idle(1 << 20);
	for (uint32_t i = 0; i < PIECES; i++) {
		pieces[i] = malloc(PIECE_BYTES);
		assert_non_null(pieces[i]);
		memset(pieces[i], 1, PIECE_BYTES);
	}
	for (uint32_t i = 0; i < PIECES; i += 2) {
		freed[i / 2] = (uintptr_t)pieces[i];
		free(pieces[i]);
	}
	uint32_t before = resident_pages(freed);
	heap_give_back(UINT64_C(1) << 40);
	assert_int_equal(resident_pages(freed), before);
	assert_true(before > 0);
	heap_give_back(1 << 20);
	assert_int_equal(resident_pages(freed), 0);
	for (uint32_t i = 1; i < PIECES; i += 2) {
		assert_int_equal(pieces[i][PIECE_BYTES - 1], 1);
		free(pieces[i]);
	}
}

/* At the end of a heap what is free goes back by itself, but for a heap's part of what may stay. */
static void what_stays_is_shared_by_the_heaps(void **state)
{
	static void *pieces[PIECES];
	const size_t idle_bytes_max = PIECES * PIECE_BYTES * 3 / 2;
	(void)state;
	heap_begin();
	heap_set_idle(idle_bytes_max);
	for (uint32_t i = 0; i < PIECES; i++)
		pieces[i] = malloc(PIECE_BYTES);
	for (uint32_t i = PIECES; i-- > 0;)
		free(pieces[i]);
	/* All of them would be less than what may stay, and are more than half of it. */
	assert_true(mallinfo2().keepcost <= idle_bytes_max / 2);
	heap_set_idle(2 * idle_bytes_max);
	for (uint32_t i = 0; i < PIECES; i++)
		pieces[i] = malloc(PIECE_BYTES);
	for (uint32_t i = PIECES; i-- > 0;)
		free(pieces[i]);
	assert_true(mallinfo2().keepcost > idle_bytes_max / 2);
	heap_give_back(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_stays_is_shared_by_the_heaps),
		cmocka_unit_test(what_lies_free_between_others_is_given_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
