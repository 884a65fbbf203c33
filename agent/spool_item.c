/*
 * Items: the array of them with its sums, and the batches in them.
 */

#include "agent/spool_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void spool_item_free(struct spool_item *item)
{
	if (!item)
		return;
	free(item->bytes);
	free(item);
}

void spool_count_in(struct spool *spool, const struct spool_item *item)
{
	spool->state.entries++;
	spool->state.bytes += item->count;
	spool->state.memory_bytes += item->in_file ? 0 : item->count;
	spool->state.memory_samples += item->in_file ? 0 : item->samples;
	spool->state.samples += item->samples;
	spool->state.lost += item->lost;
}

void spool_count_out(struct spool *spool, const struct spool_item *item)
{
	spool->state.entries--;
	spool->state.bytes -= item->count;
	spool->state.memory_bytes -= item->in_file ? 0 : item->count;
	spool->state.memory_samples -= item->in_file ? 0 : item->samples;
	spool->state.samples -= item->samples;
	spool->state.lost -= item->lost;
}

int spool_reserve(struct spool *spool, uint32_t more)
{
	if (spool->capacity - spool->count >= more)
		return 0;

	uint32_t capacity = spool->capacity ? spool->capacity : 64;
	while (capacity - spool->count < more)
		capacity *= 2;
	struct spool_item **items = reallocarray(
	        spool->items, capacity, sizeof(struct spool_item *));
	if (!items)
		return -ENOMEM;
	spool->items = items;
	spool->capacity = capacity;
	return 0;
}

/* There is room: spool_reserve(). */
void spool_insert(struct spool *spool, uint32_t index, struct spool_item *item)
{
	assert(spool->count < spool->capacity);

	memmove(spool->items + index + 1, spool->items + index,
	        (spool->count - index) * sizeof(struct spool_item *));
	spool->items[index] = item;
	spool->count++;
	spool_count_in(spool, item);
}

/* The item is the caller's now. */
struct spool_item *spool_remove(struct spool *spool, uint32_t index)
{
	struct spool_item *item = spool->items[index];

	spool_count_out(spool, item);
	spool->count--;
	memmove(spool->items + index, spool->items + index + 1,
	        (spool->count - index) * sizeof(struct spool_item *));
	return item;
}

bool spool_find(const struct spool *spool, uint64_t handle, uint32_t *ret_index)
{
	for (uint32_t i = 0; i < spool->count; i++) {
		if (spool->items[i]->handle == handle) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

bool spool_are_of_one_shard(const struct spool_item *a, const struct spool_item *b)
{
	return a->name.shards == b->name.shards && a->name.shard == b->name.shard &&
	       !memcmp(&a->uuid, &b->uuid, sizeof(a->uuid));
}

void spool_batch_fini(struct spool_batch *decoded)
{
	batch_free(decoded->batch);
	dict_free(decoded->dict);
}

int spool_batch_init(struct spool_batch *decoded)
{
	decoded->dict = dict_new(dict_limits_default);
	decoded->batch = decoded->dict ? batch_new(decoded->dict) : NULL;
	return decoded->batch ? 0 : -ENOMEM;
}

int spool_batch_decode(struct spool_batch *decoded, const uint8_t *bytes, size_t count)
{
	struct reader reader = reader_of(bytes, count);
	int result = spool_batch_init(decoded);

	return result < 0 ? result : batch_decode_whole(decoded->batch, &reader);
}

int spool_item_new(struct spool *spool, const struct batch *batch, const struct buf *encoded,
        struct spool_item **ret_item)
{
	AUTO(spool_item) item = calloc(1, sizeof(*item));
	AUTO_BUF own = { 0 };

	if (!item)
		return -ENOMEM;
	if (!encoded) {
		batch_encode_whole(batch, &own);
		encoded = &own;
	}
	if (encoded->failed)
		return -ENOMEM;
	item->bytes = malloc(encoded->count ? encoded->count : 1);
	if (!item->bytes)
		return -ENOMEM;
	memcpy(item->bytes, encoded->bytes, encoded->count);
	item->count = encoded->count;
	item->handle = spool->handle_next++;
	item->uuid = spool->options.uuid;
	item->samples = batch_samples(batch);
	item->lost = batch_lost(batch);
	item->start_ns = batch->start_ns;
	item->duration_ns = batch->duration_ns;
	item->name.samples = item->samples + item->lost;
	item->name.shards = spool->shards;
	*ret_item = TAKE(item);
	return 0;
}

/* Only what was lost in the batch, of nobody's series, and `count` more for a reason. */
static int spool_losses_of(
        const struct batch *from, enum loss_reason reason, uint64_t count, struct batch *to)
{
	int result = batch_add_loss(to, SERIES_NONE, reason, count);

	for (uint32_t i = 0; result == 0 && from && i < from->losses_count; i++)
		result = batch_add_loss(
		        to, SERIES_NONE, from->losses[i].reason, from->losses[i].count);
	return result == 0 ? batch_settle(to) : result;
}

int spool_item_losses(struct spool *spool, struct spool_item *item, enum loss_reason reason,
        struct spool_item **ret_item)
{
	AUTO_SPOOL_BATCH from = { 0 };
	AUTO_SPOOL_BATCH to = { 0 };
	uint64_t count = item->samples;
	int result = spool_load(spool, item);

	if (result == 0)
		result = spool_batch_decode(&from, item->bytes, item->count);
	if (result == -ENOMEM)
		return result;
	if (result < 0) {
		reason = LOSS_MALFORMED;
		count = item->name.samples;
	}
	const struct batch *known = result < 0 ? NULL : from.batch;
	result = spool_batch_init(&to);
	if (result < 0)
		return result;
	to.batch->start_ns = item->start_ns;
	to.batch->duration_ns = item->duration_ns;
	result = spool_losses_of(known, reason, count, to.batch);
	if (result < 0)
		return result;
	if (reason == LOSS_MALFORMED)
		spool->state.broken_samples += count;
	if (reason == LOSS_SPOOL_FULL)
		spool->state.dropped_samples += count;
	return spool_item_new(spool, to.batch, NULL, ret_item);
}
