/* Sums as a vector, as a table, and as both give the same rows, in order, within their bound. */

#include "storage/sums.h"

#include <errno.h>

#include "core/rng.h"
#include "tests/lib/test.h"

#define GROUPS 3
#define NODES  500

static const uint32_t groups[GROUPS] = { 7, 70, 700 };

static struct sums *fill(uint32_t nodes_count, uint64_t memory_max)
{
	struct sums *sums = sums_new(groups, GROUPS, nodes_count, memory_max);
	struct rng rng;
	assert_non_null(sums);
	rng_init(&rng, 1);
	for (int i = 0; i < 4000; i++) {
		uint32_t group = (uint32_t)rng_below(&rng, GROUPS);
		uint32_t node = (uint32_t)rng_below(&rng, NODES);
		CHECK_OK(sums_add(sums, group, node, rng_below(&rng, 100)));
	}
	return sums;
}

static void vector_and_table_agree(void **state)
{
	static const uint32_t nodes_counts[] = {
		0,         /* all in the table */
		NODES,     /* all in the vector */
		NODES / 2, /* the upper half came into being later */
	};
	uint64_t expected[GROUPS][NODES] = { { 0 } };
	struct rng rng;

	rng_init(&rng, 1);
	for (int i = 0; i < 4000; i++) {
		uint32_t group = (uint32_t)rng_below(&rng, GROUPS);
		uint32_t node = (uint32_t)rng_below(&rng, NODES);
		expected[group][node] += rng_below(&rng, 100);
	}
	for (size_t i = 0; i < COUNT_OF(nodes_counts); i++) {
		AUTO(sums) sums = fill(nodes_counts[i], 1 << 20);
		struct store_sum_row *rows;
		uint32_t count;
		uint32_t at = 0;
		CHECK_OK(sums_take_rows(sums, &rows, &count));
		for (uint32_t group = 0; group < GROUPS; group++) {
			for (uint32_t node = 0; node < NODES; node++) {
				if (!expected[group][node])
					continue;
				CHECK(at < count && rows[at].group == groups[group] &&
				        rows[at].node == node &&
				        rows[at].value == expected[group][node]);
				at++;
			}
		}
		assert_int_equal(at, count);
		free(rows);
	}
}

/* Every third node or so, ascending, with a value that may be 0; added up in `expected` too. */
static uint32_t draw_dictionary(
        struct rng *rng, uint32_t *nodes, uint64_t *values, uint64_t factor, uint64_t *expected)
{
	uint32_t count = 0;
	for (uint32_t node = 0; node < NODES; node++) {
		if (rng_below(rng, 3) > 0)
			continue;
		nodes[count] = node;
		values[count] = rng_below(rng, 4);
		expected[node] += values[count++] * factor;
	}
	return count;
}

/* Whole dictionaries of one group, alone, many, beside single nodes, and in an order of their own.
 */
static void dictionaries_add_up(void **state)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct rng rng;
		uint64_t expected[NODES] = { 0 };
		uint32_t nodes[NODES], order[NODES], count, at = 0;
		uint64_t values[NODES];
		struct store_sum_row *rows;
		rng_init(&rng, seed);
		AUTO(sums) sums = sums_new(
		        groups, 1, (uint32_t)rng_below(&rng, 2 * NODES), 1 << 20);
		for (uint64_t i = rng_below(&rng, 6); i > 0; i--) {
			uint64_t factor = 1 + rng_below(&rng, 3);
			count = draw_dictionary(&rng, nodes, values, factor, expected);
			for (uint32_t place = 0; place < count; place++)
				order[place] = place;
			CHECK_OK(sums_add_all(sums, 0, nodes, rng_below(&rng, 4) ? NULL : order,
			        values, count, factor));
		}
		for (uint64_t i = rng_below(&rng, 3); i > 0; i--) {
			uint32_t node = (uint32_t)rng_below(&rng, NODES);
			CHECK_OK(sums_add(sums, 0, node, 5));
			expected[node] += 5;
		}
		CHECK_OK(sums_take_rows(sums, &rows, &count));
		for (uint32_t node = 0; node < NODES; node++) {
			if (!expected[node])
				continue;
			CHECK(at < count && rows[at].group == groups[0] && rows[at].node == node &&
			        rows[at].value == expected[node]);
			at++;
		}
		assert_int_equal(at, count);
		free(rows);
	}
}

static void dictionaries_past_64_bits_are_refused(void **state)
{
	static const uint32_t nodes[] = { 3, 4 };
	static const uint64_t values[] = { UINT64_MAX, 1 };
	struct store_sum_row *rows;
	uint32_t count;
	AUTO(sums) sums = sums_new(groups, 1, NODES, 1 << 20);
	CHECK_OK(sums_add_all(sums, 0, nodes, NULL, values, 2, 1));
	CHECK_OK(sums_add_all(sums, 0, nodes, NULL, values, 1, 1));
	CHECK(sums_take_rows(sums, &rows, &count) == -EOVERFLOW);
	AUTO(sums) times = sums_new(groups, 1, NODES, 1 << 20);
	CHECK(sums_add_all(times, 0, nodes, NULL, values, 2, 2) == -EOVERFLOW);
}

static void a_sum_past_64_bits_is_refused(void **state)
{
	static const uint32_t nodes_counts[] = { 0, NODES };
	for (size_t i = 0; i < COUNT_OF(nodes_counts); i++) {
		AUTO(sums) sums = sums_new(groups, GROUPS, nodes_counts[i], 1 << 20);
		CHECK_OK(sums_add(sums, 0, 3, UINT64_MAX));
		CHECK(sums_add(sums, 0, 3, 1) == -EOVERFLOW);
		CHECK_OK(sums_add(sums, 1, 3, UINT64_MAX));
	}
}

static void memory_stays_within_the_bound(void **state)
{
	uint64_t memory_max = 100000;
	AUTO(sums) sums = sums_new(groups, GROUPS, 1 << 20, memory_max);
	struct store_sum_row *rows;
	uint32_t count;
	int r = 0;

	for (uint32_t node = 0; node < 100000 && r == 0; node++) {
		r = sums_add(sums, 0, node, 1);
		CHECK(sums_memory(sums) <= memory_max);
	}
	assert_int_equal(r, -E2BIG);
	/* The rows count as well. */
	AUTO(sums) full = sums_new(groups, 1, NODES, 2 * NODES * sizeof(uint64_t));
	for (uint32_t node = 0; node < NODES; node++)
		CHECK_OK(sums_add(full, 0, node, 1));
	CHECK(sums_take_rows(full, &rows, &count) == -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vector_and_table_agree),
		cmocka_unit_test(dictionaries_add_up),
		cmocka_unit_test(dictionaries_past_64_bits_are_refused),
		cmocka_unit_test(a_sum_past_64_bits_is_refused),
		cmocka_unit_test(memory_stays_within_the_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
