/*
 * Shards first: one pass over the batch per shard that occurs, which are few on a host. A part that
 * is too large is halved by rows until it is not; most batches are one part, which is only encoded.
 */

#include "agent/batch_split.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/wire.h"

struct batch_split {
	struct batch_split_options options;
	int (*each)(
	        void *owner, uint16_t shard, const struct batch *part, const struct buf *encoded);
	void *owner;
};

/* Which rows, and whether the rest of the batch goes with them. */
struct batch_slice {
	uint32_t from;
	uint32_t to;
	bool with_rest;
};

static int batch_split_copy(const struct batch *from, struct batch_slice slice, struct batch *to)
{
	struct batch part = *from;

	part.rows += slice.from;
	part.rows_count = slice.to - slice.from;
	if (!slice.with_rest) {
		part.coverage_count = 0;
		part.losses_count = 0;
	}
	return batch_merge(to, &part);
}

static int batch_split_by_size(
        const struct batch_split *split, uint16_t shard, const struct batch *batch)
{
	AUTO_BUF encoded = { 0 };
	uint32_t middle = batch->rows_count / 2;
	const struct batch_slice halves[] = { { 0, middle, true },
		{ middle, batch->rows_count, false } };
	int result = 0;

	batch_encode_whole(batch, &encoded);
	if (encoded.failed)
		return -ENOMEM;
	if (encoded.count <= split->options.bytes_max || middle == 0)
		return split->each(split->owner, shard, batch, &encoded);

	buf_fini(&encoded);
	for (size_t i = 0; result == 0 && i < COUNT_OF(halves); i++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) half = dict ? batch_new(dict) : NULL;

		if (!half)
			return -ENOMEM;
		result = batch_split_copy(batch, halves[i], half);
		if (result == 0)
			result = batch_split_by_size(split, shard, half);
	}
	return result;
}

/* The shard of each series of the dict, then that of no series: count + 1 of them. */
static uint16_t *batch_split_shards(
        const struct batch *batch, const struct batch_split_options *options)
{
	uint32_t count = dict_mark(batch->dict).series;
	uint32_t name = dict_find_string(batch->dict, "service", strlen("service"));
	uint16_t *shards = calloc((size_t)count + 1, sizeof(*shards));

	if (!shards)
		return NULL;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t value = name == ID_NONE ? 0 : dict_label_value(batch->dict, i, name);

		shards[i] = wire_shard(
		        options->tenant, dict_text(batch->dict, value), options->shards);
	}
	shards[count] = wire_shard(options->tenant, "", options->shards);
	return shards;
}

/* What of the batch belongs to one shard: a batch of its own arrays, with ids of the same dict. */
static int batch_split_select(
        const struct batch *from, const uint16_t *shards, uint16_t shard, struct batch *to)
{
	uint32_t nobody = dict_mark(from->dict).series;
	int result = 0;

	to->start_ns = from->start_ns;
	to->duration_ns = from->duration_ns;
	for (uint32_t i = 0; result == 0 && i < from->rows_count; i++) {
		const struct row *row = &from->rows[i];

		if (shards[row->series] == shard)
			result = batch_add_row(to, row->series, row->node, row->value);
	}
	for (uint32_t i = 0; result == 0 && i < from->coverage_count; i++) {
		const struct coverage *coverage = &from->coverage[i];

		if (shards[coverage->series] == shard)
			result = batch_add_coverage(to, coverage->series, coverage->ns);
	}
	for (uint32_t i = 0; result == 0 && i < from->losses_count; i++) {
		const struct loss *loss = &from->losses[i];

		if (shards[loss->series == SERIES_NONE ? nobody : loss->series] == shard)
			result = batch_add_loss(to, loss->series, loss->reason, loss->count);
	}
	return result;
}

static int batch_split_one_shard(const struct batch_split *split, const struct batch *batch,
        const uint16_t *shards, uint16_t shard)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) part = dict ? batch_new(dict) : NULL;
	AUTO(batch) selected = batch_new(batch->dict);
	int result;

	if (!part || !selected)
		return -ENOMEM;
	result = batch_split_select(batch, shards, shard, selected);
	if (result < 0)
		return result;
	if (selected->rows_count + selected->coverage_count + selected->losses_count == 0)
		return 0;

	/* Through a merge, so that the part's dict holds only what its rows speak of. */
	result = batch_merge(part, selected);
	return result < 0 ? result : batch_split_by_size(split, shard, part);
}

int batch_split(const struct batch *batch, struct batch_split_options options,
        int (*each)(
                void *owner, uint16_t shard, const struct batch *part, const struct buf *encoded),
        void *owner)
{
	struct batch_split split = { .options = options, .each = each, .owner = owner };
	uint32_t count = dict_mark(batch->dict).series;
	uint8_t done[WIRE_SHARDS_MAX / 8] = { 0 };
	int result = 0;

	if (options.shards == 1)
		return batch_split_by_size(&split, 0, batch);

	autofree uint16_t *shards = batch_split_shards(batch, &options);
	if (!shards)
		return -ENOMEM;
	for (uint32_t i = 0; result == 0 && i <= count; i++) {
		uint16_t shard = shards[i];

		if (done[shard / 8] & 1u << shard % 8)
			continue;
		done[shard / 8] |= (uint8_t)(1u << shard % 8);
		result = batch_split_one_shard(&split, batch, shards, shard);
	}
	return result;
}
