/*
 * Undoing removes a run, so that what is left of what it hid is seen again. Rollups that were made
 * meanwhile lack it: those that can be made again are removed in the same write, the others stay
 * and are counted as missing.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/store_expire_private.h"
#include "storage/store_expire_ranges_private.h"

struct undoing {
	struct store *store;
	struct expiry_run run; /* a copy */
	struct sealed sealed;
	struct buf rollups; /* struct key_window: to be made anew */
	struct store_expired back;
};

/* Rollups that were made of the window while a part of it was hidden lack that part. */
static int undoing_list_rollups(struct undoing *undoing, struct key_window key)
{
	struct store *store = undoing->store;
	int r = 0;
	for (uint32_t level = key_window_level(key) + 1; level < WINDOW_LEVELS; level++) {
		const struct window_list *list = store_windows(store, level);
		struct window_span span;
		if (!window_list_span(list, key.from_ns, key.to_ns, &span))
			continue;
		for (uint32_t i = 0; i < span.count && r == 0; i++) {
			const struct window_entry *rollup = &list->entries[span.first + i];
			bool can = false;
			if (rollup->sealed_ns < undoing->run.run.hidden_ns ||
			        !window_entry_has(rollup, key))
				continue;
			r = expire_can_make_again(store, rollup, &undoing->run, &can);
			if (can)
				buf_put(&undoing->rollups, &rollup->key, sizeof(rollup->key));
			else
				undoing->back.missing++;
		}
	}
	return r;
}

static int undoing_take_window(
        struct undoing *undoing, const struct expiry_item *first, const struct expiry_item *end)
{
	struct store *store = undoing->store;
	struct key_window key = first->window;
	const struct window_entry *entry = window_list_get(
	        store_windows(store, key_window_level(key)), key);
	int r = entry ? sealed_open(&undoing->sealed, entry) : -ENOENT;
	struct window *window = &undoing->sealed.window;
	if (r == -ENOENT || (entry && sealed_is_corrupt(&undoing->sealed, r))) {
		undoing->back.missing += (uint64_t)(end - first);
		return 0;
	}
	r = r < 0 ? r : expire_measure(store, key, window);
	if (r < 0)
		return r;
	uint64_t units = undoing->back.units[window->level];
	for (uint32_t i = 0; i < window->units_count; i++) {
		uint32_t hid = expire_wants(first, end, i);
		uint32_t back = hid & expire_parts_there(window, i);
		if (back)
			expire_count(window, i, back, &undoing->back);
		else if (hid && first->unit != KEYS_UNIT_NONE)
			undoing->back.missing++;
	}
	if (undoing->back.units[window->level] > units || window->units_count == 0)
		undoing->back.windows[window->level]++;
	r = undoing_list_rollups(undoing, key);
	return undoing->rollups.failed ? -ENOMEM : r;
}

static int undoing_take_windows(struct undoing *undoing)
{
	const struct expiry_run *run = &undoing->run;
	int r = 0;
	for (uint32_t first = 0, end; first < run->items_count && r == 0; first = end) {
		for (end = first + 1; end < run->items_count; end++)
			if (key_window_compare(run->items[end].window, run->items[first].window) !=
			        0)
				break;
		gate_enter(&undoing->store->gate);
		r = undoing_take_window(undoing, run->items + first, run->items + end);
		gate_leave(&undoing->store->gate);
	}
	return r;
}

/* Each once. */
static size_t undoing_settle_rollups(struct undoing *undoing)
{
	struct key_window *keys = ARRAY(struct key_window, undoing->rollups);
	size_t count = ARRAY_COUNT(struct key_window, undoing->rollups);
	size_t kept = 0;
	if (count > 1)
		qsort(keys, count, sizeof(*keys), expire_compare_windows);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || key_window_compare(keys[kept - 1], keys[i]) != 0)
			keys[kept++] = keys[i];
	undoing->rollups.count = kept * sizeof(*keys);
	return kept;
}

/* Under writer. */
static int undoing_commit(struct undoing *undoing, uint64_t run_id)
{
	struct store *store = undoing->store;
	AUTO(kv_batch) write = kv_batch_new();
	size_t count = undoing_settle_rollups(undoing);
	const struct key_window *keys = ARRAY(struct key_window, undoing->rollups);
	int r = write ? store_make_writable(store) : -ENOMEM;
	for (size_t i = 0; i < count && r == 0; i++)
		expire_delete_record(store, write, keys[i]);
	r = r < 0 ? r : expire_remove_run(store, write, run_id);
	if (r < 0)
		return r;
	gate_lock(&store->gate);
	for (size_t i = 0; i < count; i++)
		store_remove_window(store, keys[i]);
	gate_unlock(&store->gate);
	return store_load_ends(store);
}

/* Whoever opens kv again reads the runs anew, so this one is copied. In the gate. */
static int undoing_copy_run(struct undoing *undoing, uint64_t run_id)
{
	const struct expiry_run *run = expiry_find(&undoing->store->expiry, run_id);
	if (!run)
		return -ENOENT;
	struct expiry_item *items = malloc(((size_t)run->items_count + 1) * sizeof(*items));
	if (!items)
		return -ENOMEM;
	memcpy(items, run->items, run->items_count * sizeof(*items));
	undoing->run = *run;
	undoing->run.items = items;
	return 0;
}

static int undoing_run(struct undoing *undoing, uint64_t run_id)
{
	struct store *store = undoing->store;
	AUTO_BUF ranges = { 0 };
	gate_enter(&store->gate);
	int r = undoing_copy_run(undoing, run_id);
	gate_leave(&store->gate);
	r = r < 0 ? r : undoing_take_windows(undoing);
	if (r < 0)
		return r;
	pthread_mutex_lock(&store->writer);
	r = undoing_commit(undoing, run_id);
	pthread_mutex_unlock(&store->writer);
	expire_put_apart(store, &ranges, &undoing->rollups);
	return r < 0 ? r : expire_reclaim(store, &ranges);
}

int store_undo(struct store *store, uint64_t run_id, struct store_expired *ret_back)
{
	struct undoing undoing = { .store = store };
	int r = sealed_init(&undoing.sealed, store);
	undoing.sealed.sees_hidden = true;
	turn_lock_enter(&store->sealing);
	r = r < 0 ? r : undoing_run(&undoing, run_id);
	turn_lock_leave(&store->sealing);
	if (r == 0)
		*ret_back = undoing.back;
	sealed_fini(&undoing.sealed);
	expiry_run_fini(&undoing.run);
	buf_fini(&undoing.rollups);
	return r;
}
