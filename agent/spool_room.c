/*
 * What gives way when the spool is full: neighbours of one shard are merged, those that are closest
 * in time first, and when nothing can be merged any more the oldest samples become losses, counted.
 * What was sent is not touched, since an aggregator may have it.
 */

#include "agent/spool_private.h"

#include <errno.h>

static bool spool_is_over_memory(const struct spool *spool)
{
	return spool->folder >= 0 && spool->state.memory_bytes > spool->options.memory_bytes_max;
}

static bool spool_is_over(const struct spool *spool)
{
	return spool->state.bytes > spool->options.bytes_max ||
	       spool->count > spool->options.entries_max || spool_is_over_memory(spool);
}

/* May it be merged or dropped, and would that help? */
static bool spool_is_spare(const struct spool *spool, const struct spool_item *item)
{
	return !item->name.sent && (!spool_is_over_memory(spool) || !item->in_file);
}

static uint64_t spool_joint_ns(const struct spool_item *a, const struct spool_item *b)
{
	uint64_t start = a->start_ns < b->start_ns ? a->start_ns : b->start_ns;
	uint64_t end_a = a->start_ns + a->duration_ns;
	uint64_t end_b = b->start_ns + b->duration_ns;

	return (end_a > end_b ? end_a : end_b) - start;
}

/* The next entry of the same shard, or false. */
static bool spool_next_of_shard(const struct spool *spool, uint32_t index, uint32_t *ret_next)
{
	for (uint32_t i = index + 1; i < spool->count; i++) {
		if (spool_are_of_one_shard(spool->items[index], spool->items[i])) {
			*ret_next = i;
			return true;
		}
	}
	return false;
}

static bool spool_find_pair(const struct spool *spool, uint32_t *ret_first, uint32_t *ret_second)
{
	uint64_t best_ns = UINT64_MAX;
	bool found = false;

	for (uint32_t i = 0; i < spool->count; i++) {
		const struct spool_item *item = spool->items[i];
		uint32_t next;

		if (item->alone || !spool_is_spare(spool, item) ||
		        !spool_next_of_shard(spool, i, &next))
			continue;
		if (!spool_is_spare(spool, spool->items[next]))
			continue;
		uint64_t joint_ns = spool_joint_ns(item, spool->items[next]);
		if (joint_ns < best_ns) {
			best_ns = joint_ns;
			*ret_first = i;
			*ret_second = next;
			found = true;
		}
	}
	return found;
}

static int spool_merge_batches(struct spool *spool, struct spool_item *a, struct spool_item *b,
        struct spool_item **ret_merged)
{
	AUTO_SPOOL_BATCH to = { 0 };
	AUTO_SPOOL_BATCH from = { 0 };
	int result = spool_load(spool, a);

	if (result == 0)
		result = spool_load(spool, b);
	if (result == 0)
		result = spool_batch_decode(&to, a->bytes, a->count);
	if (result == 0)
		result = spool_batch_decode(&from, b->bytes, b->count);
	if (result == 0)
		result = batch_merge(to.batch, from.batch);
	if (result == 0)
		result = spool_item_new(spool, to.batch, NULL, ret_merged);
	return result;
}

/* Puts the merged entry in the place of both. Negative: both are as before. */
static int spool_merge(struct spool *spool, uint32_t first, uint32_t second)
{
	struct spool_item *a = spool->items[first];
	struct spool_item *b = spool->items[second];
	AUTO(spool_item) merged = NULL;
	int result = spool_merge_batches(spool, a, b, &merged);

	if (result == 0 && (merged->count > spool->options.entry_bytes_max ||
	                           merged->count >= a->count + b->count))
		result = -E2BIG;
	if (result == 0) {
		merged->uuid = a->uuid;
		merged->name.first = a->name.first;
		merged->name.last = b->name.last;
		merged->name.shards = a->name.shards;
		merged->name.shard = a->name.shard;
		/* Files must not give way to memory; what is in memory anyway loses nothing. */
		if (spool_write(spool, merged, "") < 0 && (a->in_file || b->in_file))
			result = -EIO;
	}
	if (result != 0) {
		spool_unload(a);
		spool_unload(b);
		return result;
	}

	/* One that stays is covered by the new range, and so a leftover after a restart. */
	(void)spool_unlink(spool, a);
	(void)spool_unlink(spool, b);
	spool_item_free(spool_remove(spool, second));
	spool_item_free(spool_remove(spool, first));
	spool_unload(merged);
	spool_insert(spool, first, TAKE(merged));
	spool->state.merged++;
	/* What stands before it in its shard has a new neighbour. */
	for (uint32_t i = first; i-- > 0;) {
		if (spool_are_of_one_shard(spool->items[i], spool->items[first])) {
			spool->items[i]->alone = false;
			break;
		}
	}
	return 0;
}

/* The samples of an entry become losses in its place. */
static int spool_reduce(struct spool *spool, uint32_t index, enum loss_reason reason)
{
	struct spool_item *item = spool->items[index];
	AUTO(spool_item) losses = NULL;
	int result = spool_item_losses(spool, item, reason, &losses);

	if (result < 0)
		return result;
	losses->uuid = item->uuid;
	losses->name = item->name;
	if (spool_write(spool, losses, "") < 0)
		(void)spool_unlink(spool, item);
	spool_unload(losses);
	spool_item_free(spool_remove(spool, index));
	spool_insert(spool, index, TAKE(losses));
	return 0;
}

static bool spool_drop_oldest(struct spool *spool)
{
	for (uint32_t i = 0; i < spool->count; i++) {
		if (!spool_is_spare(spool, spool->items[i]) || spool->items[i]->samples == 0)
			continue;
		if (spool_reduce(spool, i, LOSS_SPOOL_FULL) < 0)
			return false;
		/* Losses of one shard add up to next to nothing, so they need not stand alone. */
		for (uint32_t j = i; j-- > 0;) {
			if (!spool_are_of_one_shard(spool->items[i], spool->items[j]))
				continue;
			if (spool_is_spare(spool, spool->items[j]) && spool->items[j]->samples == 0)
				(void)spool_merge(spool, j, i);
			break;
		}
		return true;
	}
	return false;
}

void spool_make_room(struct spool *spool)
{
	uint32_t first;
	uint32_t second;

	while (spool_is_over(spool)) {
		if (spool_find_pair(spool, &first, &second)) {
			if (spool_merge(spool, first, second) < 0)
				spool->items[first]->alone = true;
		} else if (!spool_drop_oldest(spool)) {
			break; /* What is left was sent, or is losses alone. */
		}
	}
}
