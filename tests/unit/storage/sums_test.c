/* Sums as a vector, as a table, and as both give the same rows, in order, within their bound. */

#include "storage/sums.h"

#include <errno.h>

#include "core/rng.h"
#include "tests/lib/test.h"

#define GROUPS 3
#define NODES  500
#define LARGE  4000

static const uint32_t groups[GROUPS] = { 7, 70, 700 };

static struct sums *fill(uint32_t nodes_count, struct sums_bound *bound)
{
	struct sums *sums = sums_new(groups, GROUPS, nodes_count, bound);
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
		struct sums_bound bound = { .memory_max = 1 << 20 };
		AUTO(sums) sums = fill(nodes_counts[i], &bound);
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

/* Rows and runs of one group, added up. */
static void take_any(struct sums *sums, struct sums_bound *bound, uint64_t *ret_values)
{
	struct store_sum_part part = { 0 };
	CHECK_OK(sums_take_runs(sums, &part));
	assert_int_equal(bound->memory, store_sum_part_bytes(&part));
	for (uint32_t i = 0; i < part.rows_count; i++) {
		assert_int_equal(part.rows[i].group, groups[0]);
		ret_values[part.rows[i].node] += part.rows[i].value;
	}
	assert_true(part.runs_count == 0 || part.runs_group == groups[0]);
	for (uint32_t i = 0; i < part.runs_count; i++) {
		assert_true(part.runs[i].count > 0);
		for (uint32_t j = 0; j < part.runs[i].count; j++) {
			assert_true(part.runs[i].values[j] > 0);
			ret_values[part.runs[i].nodes[j]] += part.runs[i].values[j];
		}
	}
	store_sum_part_fini(&part);
	bound->memory = 0;
}

/* Rows of one series: any order, some twice. */
static void add_series(struct rng *rng, struct sums *sums, uint64_t *expected)
{
	struct row rows[NODES / 4] = { 0 };
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		rows[i].node = (uint32_t)rng_below(rng, NODES);
		rows[i].value = rng_below(rng, 3);
		expected[rows[i].node] += 2 * rows[i].value;
	}
	CHECK_OK(sums_add_rows(sums, 0, rows, COUNT_OF(rows), 2));
}

/*
 * Whole dictionaries of one group, alone, many, beside single nodes and rows of series, and in an
 * order of their own; taken sorted, or as they came.
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
		struct sums_bound bound = { .memory_max = 1 << 20 };
		AUTO(sums) sums = sums_new(groups, 1, (uint32_t)rng_below(&rng, 2 * NODES), &bound);
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
		for (uint64_t i = rng_below(&rng, 3); i > 0; i--)
			add_series(&rng, sums, expected);
		if (seed % 2) {
			uint64_t values_of[NODES] = { 0 };
			take_any(sums, &bound, values_of);
			assert_memory_equal(values_of, expected, sizeof(expected));
			continue;
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

/* As where a side came to more than was foretold: what is past the bound gets nothing more. */
static void a_bound_that_is_passed_already_has_no_room(void **state)
{
	struct store_sum_row *rows;
	uint32_t count;
	struct sums_bound bound = { .memory_max = 1 << 20, .memory = (1 << 20) + 1 };
	(void)state;
	AUTO(sums) sums = sums_new(groups, 1, NODES, &bound);
	assert_non_null(sums);
	assert_int_equal(sums_add(sums, 0, 3, 1), -E2BIG);
	assert_int_equal(sums_take_rows(sums, &rows, &count), -E2BIG);
	assert_int_equal(bound.memory, (1 << 20) + 1);
}

static void dictionaries_past_64_bits_are_refused(void **state)
{
	static const uint32_t nodes[] = { 3, 4 };
	static const uint64_t values[] = { UINT64_MAX, 1 };
	struct store_sum_row *rows;
	uint32_t count;
	struct sums_bound bound = { .memory_max = 1 << 20 };
	AUTO(sums) sums = sums_new(groups, 1, NODES, &bound);
	CHECK_OK(sums_add_all(sums, 0, nodes, NULL, values, 2, 1));
	CHECK_OK(sums_add_all(sums, 0, nodes, NULL, values, 1, 1));
	CHECK(sums_take_rows(sums, &rows, &count) == -EOVERFLOW);
	AUTO(sums) times = sums_new(groups, 1, NODES, &bound);
	CHECK(sums_add_all(times, 0, nodes, NULL, values, 2, 2) == -EOVERFLOW);
}

static void a_sum_past_64_bits_is_refused(void **state)
{
	static const uint32_t nodes_counts[] = { 0, NODES };
	for (size_t i = 0; i < COUNT_OF(nodes_counts); i++) {
		struct sums_bound bound = { .memory_max = 1 << 20 };
		AUTO(sums) sums = sums_new(groups, GROUPS, nodes_counts[i], &bound);
		CHECK_OK(sums_add(sums, 0, 3, UINT64_MAX));
		CHECK(sums_add(sums, 0, 3, 1) == -EOVERFLOW);
		CHECK_OK(sums_add(sums, 1, 3, UINT64_MAX));
	}
}

static void memory_stays_within_the_bound(void **state)
{
	struct sums_bound bound = { .memory_max = 100000 };
	AUTO(sums) sums = sums_new(groups, GROUPS, 1 << 20, &bound);
	struct store_sum_row *rows;
	uint32_t count;
	int r = 0;

	for (uint32_t node = 0; node < 100000 && r == 0; node++) {
		r = sums_add(sums, 0, node, 1);
		CHECK(bound.memory > 0 && bound.memory <= bound.memory_max);
	}
	assert_int_equal(r, -E2BIG);
	/* The rows count as well. */
	struct sums_bound narrow = { .memory_max = 2 * NODES * sizeof(uint64_t) };
	AUTO(sums) full = sums_new(groups, 1, NODES, &narrow);
	for (uint32_t node = 0; node < NODES; node++)
		CHECK_OK(sums_add(full, 0, node, 1));
	CHECK(sums_take_rows(full, &rows, &count) == -E2BIG);
}

/* How many nodes two sums come to have of which one gets many more than the other. -E2BIG, or 0. */
static int add_lopsided(struct sums_bound *bound, uint32_t nodes_count, uint32_t large)
{
	AUTO(sums) one = sums_new(groups, GROUPS, nodes_count, bound);
	AUTO(sums) other = sums_new(groups, GROUPS, nodes_count, bound);
	struct store_sum_row *rows[2] = { NULL, NULL };
	uint32_t counts[2];
	int r = 0;
	for (uint32_t node = 0; node < large && r == 0; node++)
		r = sums_add(one, 0, node, 1);
	for (uint32_t node = 0; node < 10 && r == 0; node++)
		r = sums_add(other, 1, node, 1);
	CHECK(bound->memory <= bound->memory_max);
	r = r < 0 ? r : sums_take_rows(other, &rows[1], &counts[1]);
	r = r < 0 ? r : sums_take_rows(one, &rows[0], &counts[0]);
	if (r == 0) {
		assert_int_equal(counts[0], large);
		assert_int_equal(counts[1], 10);
		assert_int_equal(bound->memory, (counts[0] + counts[1]) * sizeof(**rows));
	}
	free(rows[0]);
	free(rows[1]);
	return r;
}

/*
 * As a vector, beside which the other has no room for one, and as a table: within less than twice
 * what the large one needs alone, and not within less than that.
 */
static void what_one_does_not_need_is_there_for_the_other(void **state)
{
	static const struct {
		uint32_t nodes_count;
		uint64_t enough, bare;
	} cases[] = {
		{ LARGE, 2 * GROUPS * LARGE * 8, GROUPS * LARGE * 8 },
		{ 0, 216000, 190000 }, /* 8192 places of 16 bytes, and half of them before */
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct sums_bound enough = { .memory_max = cases[i].enough };
		struct sums_bound bare = { .memory_max = cases[i].bare };
		assert_int_equal(add_lopsided(&enough, cases[i].nodes_count, LARGE), 0);
		assert_int_equal(add_lopsided(&bare, cases[i].nodes_count, LARGE), -E2BIG);
		assert_int_equal(bare.memory, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vector_and_table_agree),
		cmocka_unit_test(dictionaries_add_up),
		cmocka_unit_test(a_bound_that_is_passed_already_has_no_room),
		cmocka_unit_test(dictionaries_past_64_bits_are_refused),
		cmocka_unit_test(a_sum_past_64_bits_is_refused),
		cmocka_unit_test(memory_stays_within_the_bound),
		cmocka_unit_test(what_one_does_not_need_is_there_for_the_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
