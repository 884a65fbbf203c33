#pragma once

/*
 * Sides of a question, summed in one pass over the store, say what a sum of each of them alone
 * says: rows, how long was watched, and all of the completeness, damage included.
 */

#include <stdint.h>
#include <stdlib.h>

#include "storage/store.h"
#include "tests/lib/test.h"

/* Rows and completeness. */
static inline void store_sums_equal(const struct store_sum *a, const struct store_sum *b)
{
	assert_memory_equal(&a->completeness, &b->completeness, sizeof(a->completeness));
	assert_int_equal(a->parts_count, b->parts_count);
	for (uint32_t i = 0; i < a->parts_count; i++) {
		assert_int_equal(a->parts[i].rows_count, b->parts[i].rows_count);
		if (a->parts[i].rows_count > 0)
			assert_memory_equal(a->parts[i].rows, b->parts[i].rows,
			        a->parts[i].rows_count * sizeof(*a->parts[i].rows));
	}
}

static inline void store_sides_equal(
        const struct store_match *match, const struct store_sum *a, const struct store_sum *b)
{
	store_sums_equal(a, b);
	for (uint32_t i = 0; i < match->series_count; i++)
		assert_int_equal(a->coverage_ns[i], b->coverage_ns[i]);
}

/* Together they have the memory of all. The caller ends the sums. */
static inline void store_sides_sum(struct store *store,
        const struct store_sum_options sides[STORE_SUM_SIDES_MAX],
        struct store_sum ret_sums[STORE_SUM_SIDES_MAX])
{
	struct store_sum_options options[STORE_SUM_SIDES_MAX];
	uint64_t memory_max = 0;
	uint64_t read_ns = 0;
	uint64_t expected_ns = 0;
	for (uint32_t i = 0; i < STORE_SUM_SIDES_MAX; i++) {
		options[i] = sides[i];
		options[i].read_ns = &read_ns;
		memory_max += sides[i].memory_max;
		expected_ns += sides[i].from_ns < sides[i].to_ns ? sides[i].to_ns - sides[i].from_ns
		                                                 : 0;
	}
	options[0].memory_max = memory_max;
	CHECK_OK(store_sum_sides(store, options, STORE_SUM_SIDES_MAX, ret_sums));
	assert_int_equal(read_ns, expected_ns);
}

static inline void store_sides_check(
        struct store *store, const struct store_sum_options sides[STORE_SUM_SIDES_MAX])
{
	struct store_sum sums[STORE_SUM_SIDES_MAX];
	store_sides_sum(store, sides, sums);
	for (uint32_t i = 0; i < STORE_SUM_SIDES_MAX; i++) {
		struct store_sum alone;
		CHECK_OK(store_sum(store, &sides[i], &alone));
		store_sides_equal(sides[i].match, &alone, &sums[i]);
		store_sum_fini(&alone);
		store_sum_fini(&sums[i]);
	}
}
