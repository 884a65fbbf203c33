#pragma once

/*
 * Steps of a range, made in one pass over it, say what a sum of each of them alone says: values by
 * group, how long was watched, the resolution, and of the values what is on stacks that are marked.
 */

#include <stdint.h>
#include <stdlib.h>

#include "core/rng.h"
#include "storage/store.h"
#include "tests/lib/test.h"

#define STORE_STEPS_MAX 12

static inline int store_steps_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* Up to so many steps of random lengths, some at round minutes; returns how many. */
static inline uint32_t store_steps_cut(
        struct rng *rng, uint64_t from_ns, uint64_t to_ns, uint64_t bounds_ns[STORE_STEPS_MAX + 1])
{
	const uint64_t minute_ns = UINT64_C(60000000000);
	uint64_t span_ns = to_ns - from_ns < 90 * minute_ns ? to_ns - from_ns : 90 * minute_ns;
	uint32_t wanted = 1 + (uint32_t)rng_below(rng, STORE_STEPS_MAX);
	uint32_t count = 0;
	bounds_ns[0] = from_ns;
	for (uint32_t i = 1; i < wanted; i++) {
		uint64_t at_ns = from_ns + rng_below(rng, span_ns);
		bounds_ns[i] = rng_below(rng, 2) ? at_ns : at_ns - at_ns % minute_ns;
	}
	qsort(bounds_ns + 1, wanted - 1, sizeof(*bounds_ns), store_steps_compare);
	for (uint32_t i = 1; i < wanted; i++)
		if (bounds_ns[i] > bounds_ns[count])
			bounds_ns[++count] = bounds_ns[i];
	bounds_ns[count + 1] = to_ns;
	return count + 1;
}

/* Every third stack is marked, every third is not; the others nobody has asked for. */
static inline enum store_mark store_steps_mark(uint32_t node)
{
	return (enum store_mark)(node % 3);
}

/* The caller frees the bytes of each part. */
static inline struct store_marks *store_steps_marks(const struct store_match *match)
{
	struct store_marks *marks = calloc(match->parts_count + 1, sizeof(*marks));
	assert_non_null(marks);
	for (uint32_t i = 0; i < match->parts_count; i++) {
		/* Those of the last nodes are as if they had come since. */
		uint32_t count = dict_mark(match->parts[i].dict).nodes / 2;
		uint8_t *by_node = calloc(count + 1, 1);
		assert_non_null(by_node);
		for (uint32_t node = 0; node < count; node++)
			by_node[node] = (uint8_t)store_steps_mark(node);
		marks[i] = (struct store_marks){ by_node, count };
	}
	return marks;
}

/* What a sum of one step says, and what is unknown of it. */
static inline void store_steps_expect(const struct store_sum_options *options,
        const struct store_marks *marks, const struct store_sum *sum,
        struct store_step_value *values, uint64_t *unknown)
{
	for (uint32_t part = 0; part < sum->parts_count; part++)
		for (uint32_t i = 0; i < sum->parts[part].rows_count; i++) {
			const struct store_sum_row *row = &sum->parts[part].rows[i];
			enum store_mark mark = row->node < marks[part].count
			                               ? store_steps_mark(row->node)
			                               : STORE_MARK_UNKNOWN;
			values[row->group].value += row->value;
			values[row->group].marked += mark == STORE_MARK_YES ? row->value : 0;
			*unknown += mark == STORE_MARK_UNKNOWN ? row->value : 0;
		}
	for (uint32_t i = 0; i < options->match->series_count; i++)
		values[options->groups[i]].coverage_ns += sum->coverage_ns[i];
}

static inline void store_steps_check_one(struct store *store,
        const struct store_steps_options *options, const struct store_steps *steps, uint32_t step)
{
	struct store_sum_options alone = options->sum;
	struct store_sum sum;
	uint64_t unknown = 0;
	size_t bytes = options->groups_count * sizeof(struct store_step_value);
	autofree struct store_step_value *values = calloc(1, bytes + 1);
	assert_non_null(values);
	alone.from_ns = options->bounds_ns[step];
	alone.to_ns = options->bounds_ns[step + 1];
	CHECK_OK(store_sum(store, &alone, &sum));
	store_steps_expect(&alone, options->marks, &sum, values, &unknown);
	assert_memory_equal(&steps->values[(size_t)step * options->groups_count], values, bytes);
	assert_int_equal(steps->resolution_ns[step], sum.completeness.resolution_coarsest_ns);
	for (uint32_t i = 0; i < steps->unknown_count; i++) {
		const struct store_step_row *row = &steps->unknown[i];
		const struct store_marks *of = &options->marks[row->part];
		CHECK(row->node >= of->count || of->by_node[row->node] == STORE_MARK_UNKNOWN);
		unknown -= row->step == step ? row->value : 0;
	}
	assert_int_equal(unknown, 0);
	store_sum_fini(&sum);
}

static inline void store_steps_check(
        struct store *store, struct rng *rng, struct store_sum_options sum)
{
	uint64_t bounds_ns[STORE_STEPS_MAX + 1];
	struct store_steps steps;
	struct store_steps_options options = { .sum = sum, .bounds_ns = bounds_ns };
	options.sum.memory_max = 64 << 20;
	options.steps_count = store_steps_cut(rng, sum.from_ns, sum.to_ns, bounds_ns);
	for (uint32_t i = 0; i < sum.match->series_count; i++)
		if (sum.groups[i] >= options.groups_count)
			options.groups_count = sum.groups[i] + 1;
	struct store_marks *marks = store_steps_marks(sum.match);
	options.marks = marks;
	options.unknown_max = UINT32_MAX;
	CHECK_OK(store_sum_steps(store, &options, &steps));
	if (steps.unknown_count > 0) {
		struct store_steps none;
		options.unknown_max = steps.unknown_count - 1;
		CHECK(store_sum_steps(store, &options, &none) == -EAGAIN);
	}
	for (uint32_t i = 0; i < options.steps_count; i++)
		store_steps_check_one(store, &options, &steps, i);
	store_steps_fini(&steps);
	for (uint32_t i = 0; i < sum.match->parts_count; i++)
		free((void *)marks[i].by_node);
	free(marks);
}
