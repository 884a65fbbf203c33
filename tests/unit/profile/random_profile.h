#pragma once

/*
 * Random but repeatable content for property tests: a seed fills a dict and a batch with every kind
 * of frame, shared prefixes of stacks, equal keys and large numbers. The same seed with another
 * `order` makes the same content under another numbering. Failing tests print the seed.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile/batch.h"
#include "tests/lib/test.h"

/* splitmix64, from its public description: good enough here, and the same for ever. */
struct random {
	uint64_t state;
};

static inline uint64_t random_u64(struct random *random)
{
	uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline uint32_t random_below(struct random *random, uint32_t bound)
{
	return (uint32_t)(random_u64(random) % bound);
}

/* Mostly small, sometimes of any size. */
static inline uint64_t random_number(struct random *random)
{
	return random_u64(random) >> random_below(random, 64);
}

static inline uint32_t random_string(struct dict *dict, const char *what, uint32_t number)
{
	char text[64];
	uint32_t id;
	snprintf(text, sizeof(text), "%s-%u", what, number);
	CHECK_OK(dict_cstring(dict, text, &id));
	return id;
}

/* Frame `number` of a seed: the same content whatever the dict holds already. */
static inline uint32_t random_frame(struct dict *dict, uint64_t seed, uint32_t number)
{
	struct random random = { seed ^ (uint64_t)number << 32 };
	struct frame frame = { .kind = (uint8_t)(1 + random_below(&random, 4)) };
	struct module module = { 0 };
	uint32_t id;

	if (frame.kind == FRAME_NATIVE || frame.kind == FRAME_KERNEL) {
		uint32_t which = random_below(&random, 7);
		module.name = random_string(dict, "module", which);
		module.build_id = random_string(dict, "build-id", which);
		module.flags = which % 3;
		module.start = which == 6 ? UINT64_C(0x7f0000000000) : 0;
		frame.address = random_number(&random);
	}
	CHECK_OK(dict_module(dict, &module, &frame.module));
	if (frame.kind != FRAME_NATIVE)
		frame.function = random_string(dict, "function", random_below(&random, 200));
	if (frame.kind == FRAME_MANAGED) {
		frame.file = random_string(dict, "file", random_below(&random, 9));
		frame.line = (int64_t)random_number(&random);
		frame.flags = (uint8_t)random_below(&random, 4);
		if (random_below(&random, 4) == 0) {
			frame.system_name = random_string(dict, "system", random_below(&random, 9));
			frame.column = -(int64_t)random_below(&random, 100);
			frame.start_line = (int64_t)random_below(&random, 1000);
		}
	}
	CHECK_OK(dict_frame(dict, &frame, &id));
	return id;
}

static inline uint32_t random_series(struct dict *dict, uint64_t seed, uint32_t number)
{
	struct random random = { seed ^ (uint64_t)number << 40 };
	struct series series = { .period = 1 + random_number(&random) % 1000000 };
	struct label labels[DICT_LABELS_MAX];
	uint32_t labels_count = random_below(&random, 12);
	uint32_t id;

	series.type = random_string(dict, "type", number % 3);
	series.unit = random_string(dict, "unit", number % 2);
	for (uint32_t i = 0; i < labels_count; i++) {
		labels[i].name = random_string(dict, "label", (i * 7 + number) % 12);
		labels[i].value = random_string(dict, "value", random_below(&random, 40));
	}
	CHECK_OK(dict_series(dict, &series, labels, labels_count, &id));
	return id;
}

/* Stack `number` of a seed: few distinct prefixes, so that the trie branches. */
static inline uint32_t random_stack(struct dict *dict, uint64_t seed, uint32_t number)
{
	struct random random = { seed + number * UINT64_C(7919) };
	uint32_t frames[64];
	uint32_t depth = random_below(&random, 40);
	uint32_t node;

	for (uint32_t i = 0; i < depth; i++) {
		uint32_t level = depth - 1 - i; /* from the root */
		frames[i] = random_frame(
		        dict, seed, level * 4 + random_below(&random, level < 8 ? 1 + level : 4));
	}
	CHECK_OK(dict_stack(dict, frames, depth, &node));
	return node;
}

/* `rows` rows (fewer once settled), added in an order that only `order` decides. Settled. */
static inline void random_batch(struct batch *batch, uint64_t seed, uint64_t order, uint32_t rows)
{
	struct random shuffle = { order };
	uint32_t *numbers = calloc(rows + 1, sizeof(*numbers));

	CHECK(numbers);
	for (uint32_t i = 0; i < rows; i++) {
		uint32_t place = random_below(&shuffle, i + 1);
		numbers[i] = numbers[place];
		numbers[place] = i;
	}
	batch->start_ns = UINT64_C(1700000000000000000) + seed % 1000000;
	batch->duration_ns = UINT64_C(10000000000);
	for (uint32_t i = 0; i < rows; i++) {
		struct random random = { seed ^ (uint64_t)numbers[i] << 20 };
		uint32_t stack = random_stack(
		        batch->dict, seed, random_below(&random, 1 + rows / 2));
		uint32_t series = random_series(batch->dict, seed, random_below(&random, 5));
		CHECK_OK(batch_add_row(batch, series, stack, 1 + random_number(&random) % 100000));
		if (random_below(&random, 8) == 0)
			CHECK_OK(batch_add_coverage(batch, series, random_number(&random) >> 20));
		if (random_below(&random, 8) == 0)
			CHECK_OK(batch_add_loss(batch, numbers[i] % 2 ? series : SERIES_NONE,
			        1 + random_below(&random, 20), 1 + random_below(&random, 100)));
	}
	free(numbers);
	CHECK_OK(batch_settle(batch));
}

/* What a batch says, without ids: comparable between dicts. */
struct random_fact {
	struct hash128 series;
	struct hash128 node;
	uint64_t kind; /* 1 row, 2 coverage, 3 loss */
	uint64_t value;
};

static inline int random_fact_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct random_fact));
}

static inline struct random_fact *random_facts(const struct batch *batch, size_t *ret_count)
{
	size_t count = (size_t)batch->rows_count + batch->coverage_count + batch->losses_count;
	struct random_fact *facts = calloc(count + 1, sizeof(*facts));
	struct random_fact *fact = facts;

	CHECK(facts);
	for (uint32_t i = 0; i < batch->rows_count; i++)
		*fact++ = (struct random_fact){
			.series = dict_series_hash(batch->dict, batch->rows[i].series),
			.node = dict_node_hash(batch->dict, batch->rows[i].node),
			.kind = 1,
			.value = batch->rows[i].value,
		};
	for (uint32_t i = 0; i < batch->coverage_count; i++)
		*fact++ = (struct random_fact){
			.series = dict_series_hash(batch->dict, batch->coverage[i].series),
			.kind = 2,
			.value = batch->coverage[i].ns,
		};
	for (uint32_t i = 0; i < batch->losses_count; i++) {
		const struct loss *loss = &batch->losses[i];
		*fact++ = (struct random_fact){
			.series = loss->series == SERIES_NONE
			                  ? (struct hash128){ 0 }
			                  : dict_series_hash(batch->dict, loss->series),
			.node = { .low = loss->reason },
			.kind = 3,
			.value = loss->count,
		};
	}
	qsort(facts, count, sizeof(*facts), random_fact_compare);
	*ret_count = count;
	return facts;
}

/* The same rows, coverage, losses and interval, under whatever ids. */
static inline bool random_batches_equal(const struct batch *a, const struct batch *b)
{
	size_t a_count, b_count;
	struct random_fact *a_facts = random_facts(a, &a_count);
	struct random_fact *b_facts = random_facts(b, &b_count);
	bool is_equal = a->start_ns == b->start_ns && a->duration_ns == b->duration_ns &&
	                a_count == b_count &&
	                memcmp(a_facts, b_facts, a_count * sizeof(*a_facts)) == 0;
	free(a_facts);
	free(b_facts);
	return is_equal;
}
