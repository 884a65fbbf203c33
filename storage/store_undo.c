/*
 * Undoing removes a run, so that what is left of what it hid is seen again. Rollups that were made
 * meanwhile lack it: those that can be made again are removed in the same write, the others stay
 * and are counted as missing.
 *
 * Undoing some of a run parts its items in two: those that come back, of which all of this is done,
 * and those of which the run is written again. A window that is hidden as a whole becomes its units
 * where only some of them come back. Whether a rollup can be made again is asked of the whole run:
 * what it hides was hidden when the rollup was made, so that the rollup has none of it to lose.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/store_expire_private.h"
#include "storage/store_expire_ranges_private.h"

struct undoing {
	struct store *store;
	struct expiry_run run;                 /* a copy */
	const struct store_undo_options *some; /* NULL: all of it */
	struct buf wanted;                     /* struct expiry_item, ascending: of some */
	struct buf back_items;                 /* likewise: what comes back; all of the run's */
	struct buf left_items;                 /* likewise: what stays hidden */
	struct store_expired left;
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

/* Items [first, end) of one window, in the gate. */
typedef int (*undoing_visit)(
        struct undoing *undoing, const struct expiry_item *first, const struct expiry_item *end);

/* Window by window, so that others come in between. */
static int undoing_each_window(
        struct undoing *undoing, const struct expiry_item *items, size_t count, undoing_visit visit)
{
	int r = 0;
	for (size_t first = 0, end; first < count && r == 0; first = end) {
		for (end = first + 1; end < count; end++)
			if (key_window_compare(items[end].window, items[first].window) != 0)
				break;
		gate_enter(&undoing->store->gate);
		r = visit(undoing, items + first, items + end);
		gate_leave(&undoing->store->gate);
	}
	return r;
}

/* ---- some of it ---- */

static int undoing_want(struct undoing *undoing)
{
	const struct store_undo_options *some = undoing->some;
	for (uint32_t i = 0; i < some->count; i++) {
		struct expiry_item item = { .unit = some->items[i].unit, .parts = STORE_PART_ALL };
		int r = expire_key(some->items[i].window, &item.window);
		if (r < 0)
			return r;
		buf_put(&undoing->wanted, &item, sizeof(item));
	}
	if (undoing->wanted.failed)
		return -ENOMEM;
	if (some->count > 1)
		qsort(undoing->wanted.bytes, some->count, sizeof(struct expiry_item),
		        expire_compare_items);
	return 0;
}

static bool undoing_is_wanted(
        const struct undoing *undoing, struct key_window window, uint32_t unit)
{
	struct expiry_item item = { .window = window, .unit = unit };
	size_t count = ARRAY_COUNT(struct expiry_item, undoing->wanted);
	return count > 0 &&
	       bsearch(&item, undoing->wanted.bytes, count, sizeof(item), expire_compare_items);
}

static void undoing_put(struct undoing *undoing, const struct expiry_item *item, bool comes_back)
{
	buf_put(comes_back ? &undoing->back_items : &undoing->left_items, item, sizeof(*item));
}

/* A window that is hidden as a whole, and of which single units are wanted. */
static void undoing_split_window(struct undoing *undoing, const struct expiry_item *whole)
{
	const struct window *window = &undoing->sealed.window;
	uint32_t left = 0;
	for (uint32_t i = 0; i < window->units_count; i++)
		left += expire_parts_there(window, i) &&
		        !undoing_is_wanted(undoing, whole->window, i);
	if (left == 0) {
		undoing_put(undoing, whole, true);
		return;
	}
	for (uint32_t i = 0; i < window->units_count; i++) {
		struct expiry_item item = { whole->window, i, STORE_PART_ALL };
		if (expire_parts_there(window, i))
			undoing_put(undoing, &item, undoing_is_wanted(undoing, whole->window, i));
	}
}

static bool undoing_wants_any(const struct undoing *undoing, struct key_window window)
{
	const struct expiry_item *wanted = ARRAY(struct expiry_item, undoing->wanted);
	struct expiry_item least = { .window = window };
	size_t first = 0;
	size_t end = ARRAY_COUNT(struct expiry_item, undoing->wanted);
	size_t count = end;
	while (first < end) {
		size_t middle = first + (end - first) / 2;
		if (expiry_item_compare(&wanted[middle], &least) < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return first < count && key_window_compare(wanted[first].window, window) == 0;
}

/* Which of these come back? What cannot be read stays as it is, unless the whole is wanted. */
static int undoing_part_window(
        struct undoing *undoing, const struct expiry_item *first, const struct expiry_item *end)
{
	struct store *store = undoing->store;
	struct key_window key = first->window;
	bool wants_all = undoing_is_wanted(undoing, key, KEYS_UNIT_NONE);
	bool is_split = first->unit == KEYS_UNIT_NONE && !wants_all &&
	                undoing_wants_any(undoing, key);
	const struct window_entry *entry = window_list_get(
	        store_windows(store, key_window_level(key)), key);
	int r = is_split && entry ? sealed_open(&undoing->sealed, entry) : 0;
	if (is_split && entry && r == 0) {
		undoing_split_window(undoing, first);
	} else if (r == 0 || sealed_is_corrupt(&undoing->sealed, r)) {
		r = 0;
		for (const struct expiry_item *item = first; item < end; item++)
			undoing_put(undoing, item,
			        wants_all || undoing_is_wanted(undoing, key, item->unit));
	}
	bool has_failed = undoing->back_items.failed || undoing->left_items.failed;
	return r == 0 && has_failed ? -ENOMEM : r;
}

/* What a run that goes on hides: sums of what is there, as store_hide() made them. */
static int undoing_count_left(
        struct undoing *undoing, const struct expiry_item *first, const struct expiry_item *end)
{
	struct store *store = undoing->store;
	struct key_window key = first->window;
	const struct window *window = &undoing->sealed.window;
	const struct window_entry *entry = window_list_get(
	        store_windows(store, key_window_level(key)), key);
	int r = entry ? sealed_open(&undoing->sealed, entry) : -ENOENT;
	if (r == -ENOENT || (entry && sealed_is_corrupt(&undoing->sealed, r)))
		return 0;
	r = r < 0 ? r : expire_measure(store, key, &undoing->sealed.window);
	if (r < 0)
		return r;
	bool is_seen = undoing_wants_any(undoing, key);
	for (uint32_t i = 0; i < window->units_count; i++) {
		uint32_t there = expire_parts_there(window, i);
		uint32_t hidden = there & expire_wants(first, end, i);
		if (hidden)
			expire_count(window, i, hidden, &undoing->left);
		is_seen |= there & ~expiry_parts(&store->expiry, key, i);
	}
	undoing->left.windows[window->level] += !is_seen;
	return 0;
}

/* Into back_items and left_items. */
static int undoing_part_run(struct undoing *undoing)
{
	const struct expiry_run *run = &undoing->run;
	if (!undoing->some) {
		buf_put(&undoing->back_items, run->items, run->items_count * sizeof(*run->items));
		return undoing->back_items.failed ? -ENOMEM : 0;
	}
	int r = undoing_want(undoing);
	r = r < 0 ? r
	          : undoing_each_window(undoing, run->items, run->items_count, undoing_part_window);
	return r < 0 ? r
	             : undoing_each_window(undoing, ARRAY(struct expiry_item, undoing->left_items),
	                       ARRAY_COUNT(struct expiry_item, undoing->left_items),
	                       undoing_count_left);
}

/* ---- committing ---- */

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

/* Under writer: writes `write`, synced, and with it what the run hides from now on. */
static int undoing_put_rest(struct undoing *undoing, struct kv_batch *write)
{
	struct store *store = undoing->store;
	AUTO_EXPIRY_RUN rest = { .run = undoing->run.run,
		.is_erasing = undoing->run.is_erasing,
		.hidden = undoing->left };
	rest.items_count = (uint32_t)ARRAY_COUNT(struct expiry_item, undoing->left_items);
	rest.items = malloc(undoing->left_items.count);
	if (!rest.items)
		return -ENOMEM;
	memcpy(rest.items, undoing->left_items.bytes, undoing->left_items.count);
	int r = rest.items_count > STORE_RUN_ITEMS_MAX ? -E2BIG
	                                               : expire_put_run(store, write, &rest);
	if (r < 0)
		return r;
	gate_lock(&store->gate);
	r = expiry_reserve(&store->expiry, rest.items_count);
	r = r < 0 ? r : store_write(store, write, KV_SYNC, "bringing back what was hidden");
	if (r == 0) {
		expiry_remove(&store->expiry, rest.run.id);
		expiry_add(&store->expiry, &rest);
	}
	gate_unlock(&store->gate);
	return r;
}

/* Under writer. */
static int undoing_commit(struct undoing *undoing)
{
	struct store *store = undoing->store;
	AUTO(kv_batch) write = kv_batch_new();
	size_t count = undoing_settle_rollups(undoing);
	const struct key_window *keys = ARRAY(struct key_window, undoing->rollups);
	int r = write ? store_make_writable(store) : -ENOMEM;
	for (size_t i = 0; i < count && r == 0; i++)
		expire_delete_record(store, write, keys[i]);
	if (r == 0)
		r = undoing->left_items.count > 0
		            ? undoing_put_rest(undoing, write)
		            : expire_remove_run(store, write, undoing->run.run.id);
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
	r = r < 0 ? r : undoing_part_run(undoing);
	r = r < 0 ? r
	          : undoing_each_window(undoing, ARRAY(struct expiry_item, undoing->back_items),
	                    ARRAY_COUNT(struct expiry_item, undoing->back_items),
	                    undoing_take_window);
	bool has_none = undoing->some && undoing->back_items.count == 0;
	if (r < 0 || has_none || (undoing->some && undoing->some->is_dry_run))
		return r;
	pthread_mutex_lock(&store->writer);
	r = undoing_commit(undoing);
	pthread_mutex_unlock(&store->writer);
	store_note_erased(store);
	expire_put_apart(store, &ranges, &undoing->rollups);
	return r < 0 ? r : expire_reclaim(store, &ranges);
}

static int undoing_do(struct undoing *undoing, uint64_t run_id)
{
	struct store *store = undoing->store;
	int r = sealed_init(&undoing->sealed, store);
	undoing->sealed.sees_hidden = true;
	turn_lock_enter(&store->sealing);
	r = r < 0 ? r : undoing_run(undoing, run_id);
	turn_lock_leave(&store->sealing);
	sealed_fini(&undoing->sealed);
	expiry_run_fini(&undoing->run);
	buf_fini(&undoing->wanted);
	buf_fini(&undoing->back_items);
	buf_fini(&undoing->left_items);
	buf_fini(&undoing->rollups);
	return r;
}

int store_undo(struct store *store, uint64_t run_id, struct store_expired *ret_back)
{
	struct undoing undoing = { .store = store };
	int r = undoing_do(&undoing, run_id);
	if (r == 0)
		*ret_back = undoing.back;
	return r;
}

int store_undo_some(struct store *store, uint64_t run_id, struct store_undo_options options,
        struct store_expired *ret_back, struct store_expired *ret_left)
{
	struct undoing undoing = { .store = store, .some = &options };
	int r = undoing_do(&undoing, run_id);
	if (r == 0) {
		*ret_back = undoing.back;
		*ret_left = undoing.left;
	}
	return r;
}

int store_run_items(struct store *store, uint64_t run_id,
        int (*visit)(void *owner, const struct store_expire_item *item), void *owner)
{
	gate_enter(&store->gate);
	const struct expiry_run *run = expiry_find(&store->expiry, run_id);
	int r = run ? 0 : -ENOENT;
	for (uint32_t i = 0; run && i < run->items_count && r == 0; i++) {
		const struct expiry_item *item = &run->items[i];
		struct store_expire_item told = { expire_name(item->window), item->unit,
			item->parts };
		r = visit(owner, &told);
	}
	store_read_unlock(store);
	return r;
}
