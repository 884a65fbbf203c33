/*
 * Giving back the space of blocks that nothing names any more, by their range of keys. Whole
 * windows lie in files of their own and go without being read. Those of one class likewise. What
 * shares a file with others is merged out of it (kv_reclaim), a window at a time, so that no more
 * than the files of that window are written.
 */

#include "storage/store_expire_ranges_private.h"

#include <errno.h>
#include <string.h>

static void expire_block_bounds(struct key_window window, uint32_t first, uint32_t end,
        uint8_t from[KEYS_BLOCK_BYTES], uint8_t to[KEYS_BLOCK_BYTES])
{
	keys_put_block((struct key_block){ .window = window, .unit = first }, from);
	keys_put_block((struct key_block){ .window = window, .unit = end }, to);
}

static bool expire_range_is(const struct expire_range *a, const struct expire_range *b)
{
	return a->family == b->family && a->from_count == b->from_count &&
	       a->to_count == b->to_count &&
	       memcmp(a->from_bytes, b->from_bytes, a->from_count) == 0 &&
	       memcmp(a->to_bytes, b->to_bytes, a->to_count) == 0;
}

void expire_put_units(struct buf *ranges, enum kv_family family, struct key_window window,
        uint32_t first, uint32_t end)
{
	struct expire_range range = { .family = family };
	size_t count = ARRAY_COUNT(struct expire_range, *ranges);
	expire_block_bounds(window, first, end, range.from_bytes, range.to_bytes);
	range.from_count = sizeof(range.from_bytes);
	range.to_count = sizeof(range.to_bytes);
	/* Units that go together ask for the same range, of two families by turns. */
	for (size_t i = count > 2 ? count - 2 : 0; i < count; i++)
		if (expire_range_is(&ARRAY(struct expire_range, *ranges)[i], &range))
			return;
	buf_put(ranges, &range, sizeof(range));
}

static void expire_put_stretch(
        struct buf *ranges, struct key_window first, struct key_window last, enum kv_family family)
{
	struct expire_range range = { .family = family };
	keys_put_window(first, range.from_bytes);
	range.from_count = KEYS_WINDOW_BYTES;
	/* Behind all blocks of the last one. */
	struct key_block end = { last, UINT32_MAX, (enum keys_block_part)UINT8_MAX, UINT32_MAX };
	keys_put_block(end, range.to_bytes);
	range.to_count = sizeof(range.to_bytes);
	buf_put(ranges, &range, sizeof(range));
}

/* Is there a window between these two? */
static bool expire_is_between(
        const struct window_list *list, struct key_window a, struct key_window b)
{
	uint32_t first = 0;
	uint32_t end = list->count;
	while (first < end) {
		uint32_t middle = first + (end - first) / 2;
		if (key_window_compare(list->entries[middle].key, a) <= 0)
			first = middle + 1;
		else
			end = middle;
	}
	return first < list->count && key_window_compare(list->entries[first].key, b) < 0;
}

void expire_put_windows(struct buf *ranges, const struct window_list *list,
        const struct key_window *keys, uint32_t count)
{
	for (uint32_t i = 0, first = 0; i < count; i++) {
		if (i + 1 < count && !expire_is_between(list, keys[i], keys[i + 1]))
			continue;
		expire_put_stretch(ranges, keys[first], keys[i], store_sums_family(keys[i]));
		if (key_window_level(keys[i]) == 0)
			expire_put_stretch(ranges, keys[first], keys[i], KV_DETAIL);
		first = i + 1;
	}
}

void expire_put_apart(struct store *store, struct buf *ranges, const struct buf *windows)
{
	const struct key_window *keys = ARRAY(struct key_window, *windows);
	gate_enter(&store->gate);
	for (size_t i = 0; i < ARRAY_COUNT(struct key_window, *windows); i++)
		expire_put_windows(
		        ranges, store_windows(store, key_window_level(keys[i])), &keys[i], 1);
	gate_leave(&store->gate);
}

int expire_reclaim(struct store *store, const struct buf *ranges)
{
	const struct expire_range *range = ARRAY(struct expire_range, *ranges);
	int r = ranges->failed ? -ENOMEM : 0;
	for (size_t i = 0; i < ARRAY_COUNT(struct expire_range, *ranges) && r == 0; i++) {
		pthread_mutex_lock(&store->reclaiming);
		r = kv_reclaim(store->kv, range[i].family,
		        (struct kv_bytes){ range[i].from_bytes, range[i].from_count },
		        (struct kv_bytes){ range[i].to_bytes, range[i].to_count });
		pthread_mutex_unlock(&store->reclaiming);
	}
	if (r < 0) {
		pthread_mutex_lock(&store->writer);
		/* A merge may have failed in the middle. */
		store_write_failed(store, "giving back space");
		pthread_mutex_unlock(&store->writer);
	}
	return r;
}
