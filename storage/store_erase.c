/*
 * Erasing goes over the items of a run, some windows at a time:
 *
 *	decide    of each window: does anything of it stay?
 *	commit    one synced write: records without the units, or no record; the list likewise
 *	reclaim   the blocks, which nothing names any more, by their range of keys
 *
 * and removes the run at the end. A kill leaves the run, so all of it is done again: what is gone
 * already needs no commit, and reclaiming what is not there is a look at one key per range. The run
 * also keeps its windows' keys from being given anew (expiry_free_number), so nothing else can be
 * in the ranges.
 */

#include <errno.h>
#include <stdlib.h>

#include "storage/store_expire_private.h"
#include "storage/store_expire_ranges_private.h"

#define ERASE_WINDOWS 64 /* in one write, and without letting a seal in between */

struct erasing {
	struct store *store;
	uint64_t run_id;
	const bool *cancelled;
	uint32_t at; /* items before it are done */
	struct sealed sealed;
	struct kv_batch *write;
	struct buf removed; /* struct key_window, not in the order of levels */
	struct buf ranges;  /* struct expire_range */
	struct buf shrunk;  /* struct window_entry: key and rows that are left */
	struct store_expired expired;
};

static bool erasing_is_cancelled(const struct erasing *erasing)
{
	return erasing->cancelled && __atomic_load_n(erasing->cancelled, __ATOMIC_RELAXED);
}

/* Nothing of the window is named any more: it goes, or has gone and may have left blocks. */
static void erasing_remove_window(struct erasing *erasing, struct key_window key)
{
	buf_put(&erasing->removed, &key, sizeof(key));
	if (!window_list_get(store_windows(erasing->store, key_window_level(key)), key))
		return;
	expire_delete_record(erasing->store, erasing->write, key);
	erasing->expired.windows[key_window_level(key)]++;
}

static bool erasing_has_detail(const struct window *window, uint32_t unit)
{
	return expire_parts_there(window, unit) & STORE_PART_DETAIL;
}

/* The range of what is gone around the unit: units of a class lie together, and go together. */
static void erasing_put_ranges(struct erasing *erasing, struct key_window key, uint32_t unit)
{
	const struct window *window = &erasing->sealed.window;
	uint32_t first = unit;
	uint32_t end = unit + 1;
	while (first > 0 && !erasing_has_detail(window, first - 1))
		first--;
	while (end < window->units_count && !erasing_has_detail(window, end))
		end++;
	if (window->level == 0)
		expire_put_units(&erasing->ranges, KV_DETAIL, key, first, end);
	if (!window->units[unit].is_gone)
		return;
	for (first = unit; first > 0 && window->units[first - 1].is_gone; first--)
		continue;
	for (end = unit + 1; end < window->units_count && window->units[end].is_gone; end++)
		continue;
	expire_put_units(&erasing->ranges, store_sums_family(key), key, first, end);
}

static void erasing_take_unit(struct erasing *erasing, const struct expiry_item *item)
{
	struct window *window = &erasing->sealed.window;
	uint32_t there = expire_parts_there(window, item->unit);
	struct window_unit *unit = &window->units[item->unit];
	if (there & item->parts)
		expire_count(window, item->unit, there & item->parts, &erasing->expired);
	unit->bytes_detail = 0;
	if (window->level == 0)
		unit->chunks = 0;
	if (item->parts & STORE_PART_SUMS) {
		/* A rollup that is hidden may be seen again. */
		unit->is_void |= !unit->is_gone &&
		                 !store_is_rolled_up(erasing->store, item->window);
		unit->is_gone = true;
		unit->bytes_sums = 0;
	}
}

/* The items [first, end) are units of one window, which can be read. */
static int erasing_take_units(
        struct erasing *erasing, const struct expiry_item *first, const struct expiry_item *end)
{
	struct window *window = &erasing->sealed.window;
	struct key_window key = first->window;
	bool is_left = false;
	for (const struct expiry_item *item = first; item < end; item++)
		if (item->unit < window->units_count)
			erasing_take_unit(erasing, item);
	for (uint32_t i = 0; i < window->units_count; i++)
		is_left |= !window->units[i].is_gone;
	if (!is_left) {
		erasing_remove_window(erasing, key);
		return 0;
	}
	for (const struct expiry_item *item = first; item < end; item++)
		if (item->unit < window->units_count)
			erasing_put_ranges(erasing, key, item->unit);
	struct window_entry left = { .key = key, .rows = window_rows(window) };
	buf_put(&erasing->shrunk, &left, sizeof(left));
	return expire_put_record(erasing->store, erasing->write, key, window);
}

static int erasing_take_window(
        struct erasing *erasing, const struct expiry_item *first, const struct expiry_item *end)
{
	struct store *store = erasing->store;
	struct key_window key = first->window;
	const struct window_entry *entry = window_list_get(
	        store_windows(store, key_window_level(key)), key);
	bool is_whole = first->unit == KEYS_UNIT_NONE;
	int r = entry ? sealed_open(&erasing->sealed, entry) : 0;
	if (entry && sealed_is_corrupt(&erasing->sealed, r) && !is_whole)
		return 0; /* units cannot be told apart any more: what is left is left */
	if (r < 0 && !sealed_is_corrupt(&erasing->sealed, r))
		return r;
	if (!entry || r < 0) {
		erasing_remove_window(erasing, key);
		return 0;
	}
	struct window *window = &erasing->sealed.window;
	r = expire_measure(store, key, window);
	if (r < 0 || !is_whole)
		return r < 0 ? r : erasing_take_units(erasing, first, end);
	for (uint32_t i = 0; i < window->units_count; i++)
		if (expire_parts_there(window, i))
			expire_count(window, i, expire_parts_there(window, i), &erasing->expired);
	erasing_remove_window(erasing, key);
	return 0;
}

/* Under writer. Records, then what the lists say. */
static int erasing_commit(struct erasing *erasing)
{
	struct store *store = erasing->store;
	const struct key_window *removed = ARRAY(struct key_window, erasing->removed);
	size_t count = ARRAY_COUNT(struct key_window, erasing->removed);
	int r = store_put_format(store, erasing->write, STORE_FORMAT_LEVELS);
	gate_lock(&store->gate);
	r = r < 0 ? r : store_write(store, erasing->write, KV_SYNC, "erasing what expired");
	for (size_t i = 0; i < count && r == 0; i++)
		store_remove_window(store, removed[i]);
	const struct window_entry *shrunk = ARRAY(struct window_entry, erasing->shrunk);
	for (size_t i = 0; i < ARRAY_COUNT(struct window_entry, erasing->shrunk) && r == 0; i++)
		window_list_set_rows(store_windows(store, key_window_level(shrunk[i].key)),
		        shrunk[i].key, shrunk[i].rows);
	if (r == 0)
		store_note_format(store, STORE_FORMAT_LEVELS);
	gate_unlock(&store->gate);
	return r < 0 ? r : store_load_ends(store);
}

/* The windows that were removed become ranges, level by level. */
static void erasing_put_removed(struct erasing *erasing)
{
	struct key_window *keys = ARRAY(struct key_window, erasing->removed);
	size_t count = ARRAY_COUNT(struct key_window, erasing->removed);
	if (count > 1)
		qsort(keys, count, sizeof(*keys), expire_compare_windows);
	for (size_t first = 0, end; first < count; first = end) {
		uint32_t level = key_window_level(keys[first]);
		for (end = first + 1; end < count && key_window_level(keys[end]) == level; end++)
			continue;
		expire_put_windows(&erasing->ranges, store_windows(erasing->store, level),
		        keys + first, (uint32_t)(end - first));
	}
}

/* Reads the next windows of the run and says in `write` what becomes of them. In the gate. */
static int erasing_take_windows(struct erasing *erasing, const struct expiry_run *run)
{
	int r = 0;
	for (uint32_t windows = 0;
	        erasing->at < run->items_count && windows < ERASE_WINDOWS && r == 0; windows++) {
		uint32_t end = erasing->at + 1;
		while (end < run->items_count && key_window_compare(run->items[end].window,
		                                         run->items[erasing->at].window) == 0)
			end++;
		r = erasing_take_window(erasing, run->items + erasing->at, run->items + end);
		erasing->at = end;
	}
	bool has_failed = erasing->removed.failed || erasing->ranges.failed ||
	                  erasing->shrunk.failed;
	return r == 0 && has_failed ? -ENOMEM : r;
}

/* Under sealing. */
static int erasing_stretch(struct erasing *erasing)
{
	struct store *store = erasing->store;
	kv_batch_reset(erasing->write);
	buf_reset(&erasing->removed);
	buf_reset(&erasing->ranges);
	buf_reset(&erasing->shrunk);

	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	pthread_mutex_unlock(&store->writer);
	gate_enter(&store->gate);
	/* Whoever opens kv again reads the runs anew: they are looked at in the gate only. */
	const struct expiry_run *run = expiry_find(&store->expiry, erasing->run_id);
	if (r == 0)
		r = run ? erasing_take_windows(erasing, run) : -ENOENT;
	gate_leave(&store->gate);
	if (r < 0)
		return r;
	pthread_mutex_lock(&store->writer);
	r = erasing_commit(erasing);
	pthread_mutex_unlock(&store->writer);
	if (r < 0)
		return r;
	gate_enter(&store->gate);
	erasing_put_removed(erasing);
	gate_leave(&store->gate);
	store_note_erased(store);
	return expire_reclaim(store, &erasing->ranges);
}

/* Under writer: says on the disk that some of it may be gone. Readers of runs are in the gate. */
static int erasing_begin(struct store *store, struct expiry_run *run)
{
	AUTO(kv_batch) write = kv_batch_new();
	struct expiry_run begun = *run;
	int r = write ? 0 : -ENOMEM;
	begun.is_erasing = true;
	r = r < 0 ? r : expire_put_run(store, write, &begun);
	gate_lock(&store->gate);
	r = r < 0 ? r : store_write(store, write, KV_SYNC, "erasing what expired");
	if (r == 0)
		run->is_erasing = true;
	gate_unlock(&store->gate);
	return r;
}

/* Under sealing. Is there such a run, and is there anything left to do of it? */
static int erasing_look(struct erasing *erasing, bool *ret_has_begun, bool *ret_has_items)
{
	struct store *store = erasing->store;
	gate_enter(&store->gate);
	const struct expiry_run *run = expiry_find(&store->expiry, erasing->run_id);
	int r = run ? 0 : -ENOENT;
	if (run) {
		*ret_has_begun = run->is_erasing;
		*ret_has_items = erasing->at < run->items_count;
	}
	gate_leave(&store->gate);
	return r;
}

/* Under sealing: the next windows, or the end. */
static int erasing_step(struct erasing *erasing, bool *ret_is_done)
{
	struct store *store = erasing->store;
	bool has_begun = false;
	bool has_items = false;
	int r = erasing_look(erasing, &has_begun, &has_items);
	if (r == 0 && !has_begun) {
		pthread_mutex_lock(&store->writer);
		r = store_make_writable(store);
		struct expiry_run *run = expiry_find(&store->expiry, erasing->run_id);
		if (r == 0)
			r = run ? erasing_begin(store, run) : -ENOENT;
		pthread_mutex_unlock(&store->writer);
	}
	if (r < 0)
		return r;
	if (has_items)
		return erasing_stretch(erasing);
	kv_batch_reset(erasing->write);
	pthread_mutex_lock(&store->writer);
	r = store_make_writable(store);
	r = r < 0 ? r : expire_remove_run(store, erasing->write, erasing->run_id);
	pthread_mutex_unlock(&store->writer);
	*ret_is_done = r == 0;
	return r;
}

int store_erase(struct store *store, uint64_t run_id, const bool *cancelled,
        struct store_expired *ret_expired)
{
	struct erasing erasing = { .store = store, .run_id = run_id, .cancelled = cancelled };
	bool is_done = false;
	int r = sealed_init(&erasing.sealed, store);
	erasing.sealed.sees_hidden = true;
	erasing.write = kv_batch_new();
	if (r == 0 && !erasing.write)
		r = -ENOMEM;
	while (r == 0 && !is_done) {
		if (erasing_is_cancelled(&erasing)) {
			r = -ECANCELED;
			break;
		}
		turn_lock_enter(&store->sealing);
		r = erasing_step(&erasing, &is_done);
		turn_lock_leave(&store->sealing);
	}
	if (r == 0)
		*ret_expired = erasing.expired;
	sealed_fini(&erasing.sealed);
	kv_batch_free(erasing.write);
	buf_fini(&erasing.removed);
	buf_fini(&erasing.ranges);
	buf_fini(&erasing.shrunk);
	return r;
}
