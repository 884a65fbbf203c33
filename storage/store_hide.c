/*
 * Hiding is one synced write: the run, with the units that were seen before and are not seen after.
 * What is asked for is first held against what there is, a window at a time in the gate; nothing
 * else of the store changes.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/store_expire_private.h"

struct hiding {
	struct store *store;
	struct sealed sealed;
	bool takes_hidden; /* by other runs */
	struct buf wanted; /* struct expiry_item, as asked for, ascending */
	struct buf items;  /* struct expiry_item: what is to be hidden */
	struct store_expired expired;
};

static int hiding_take_items(
        struct hiding *hiding, const struct store_expire_item *items, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct expiry_item item = { .unit = items[i].unit };
		bool has_sums = items[i].parts & STORE_PART_SUMS;
		item.parts = has_sums ? STORE_PART_ALL : STORE_PART_DETAIL;
		int r = expire_key(items[i].window, &item.window);
		if (r < 0 || items[i].parts == 0 || items[i].parts > STORE_PART_ALL)
			return -EINVAL;
		buf_put(&hiding->wanted, &item, sizeof(item));
	}
	if (hiding->wanted.failed)
		return -ENOMEM;
	if (count > 1)
		qsort(hiding->wanted.bytes, count, sizeof(struct expiry_item),
		        expire_compare_items);
	return 0;
}

/*
 * The units of one window that is there and can be read. Units of all items are few per window, so
 * they are looked for one by one.
 */
static void hiding_put_units(struct hiding *hiding, struct key_window key,
        const struct expiry_item *wanted, const struct expiry_item *end)
{
	const struct window *window = &hiding->sealed.window;
	size_t before = hiding->items.count;
	uint32_t visible = 0; /* units of which anything is seen, also afterwards */
	bool is_all = true;   /* this run hides all there is */
	for (uint32_t i = 0; i < window->units_count; i++) {
		uint32_t there = expire_parts_there(window, i);
		uint32_t seen = there & ~expiry_parts(&hiding->store->expiry, key, i);
		uint32_t hidden = (hiding->takes_hidden ? there : seen) &
		                  expire_wants(wanted, end, i);
		if (seen & ~hidden)
			visible++;
		if (hidden != there)
			is_all = false;
		if (!hidden)
			continue;
		struct expiry_item item = { key, i, STORE_PART_DETAIL };
		if (hidden & STORE_PART_SUMS)
			item.parts = STORE_PART_ALL;
		expire_count(window, i, hidden, &hiding->expired);
		buf_put(&hiding->items, &item, sizeof(item));
	}
	bool is_empty = window->units_count == 0 &&
	                !expiry_has_window(&hiding->store->expiry, key) &&
	                expire_wants(wanted, end, KEYS_UNIT_NONE) == STORE_PART_ALL;
	if (hiding->items.count > before ? is_all : is_empty) {
		struct expiry_item item = { key, KEYS_UNIT_NONE, STORE_PART_ALL };
		hiding->items.count = before;
		buf_put(&hiding->items, &item, sizeof(item));
	}
	if (hiding->items.count == before)
		hiding->expired.missing += (uint64_t)(end - wanted);
	else if (visible == 0)
		hiding->expired.windows[window->level]++;
}

static int hiding_put_window(
        struct hiding *hiding, const struct expiry_item *wanted, const struct expiry_item *end)
{
	struct store *store = hiding->store;
	struct key_window key = wanted->window;
	struct window_list *list = store_windows(store, key_window_level(key));
	const struct window_entry *entry = window_list_get(list, key);
	int r = entry ? sealed_open(&hiding->sealed, entry) : -ENOENT;
	bool is_corrupt = entry && sealed_is_corrupt(&hiding->sealed, r);
	if (r == 0) {
		r = expire_measure(store, key, &hiding->sealed.window);
		if (r == 0)
			hiding_put_units(hiding, key, wanted, end);
		return r;
	}
	if (is_corrupt && expire_wants(wanted, end, KEYS_UNIT_NONE) == STORE_PART_ALL &&
	        !expiry_has_window(&store->expiry, key)) {
		/* Nobody can read it, and it can be forgotten all the same. */
		struct expiry_item item = { key, KEYS_UNIT_NONE, STORE_PART_ALL };
		buf_put(&hiding->items, &item, sizeof(item));
		hiding->expired.windows[key_window_level(key)]++;
		return 0;
	}
	if (r != -ENOENT && !is_corrupt)
		return r;
	hiding->expired.missing += (uint64_t)(end - wanted);
	return 0;
}

/* A stretch of windows in the gate. */
static int hiding_put_windows(struct hiding *hiding)
{
	const struct expiry_item *wanted = ARRAY(struct expiry_item, hiding->wanted);
	size_t count = ARRAY_COUNT(struct expiry_item, hiding->wanted);
	int r = 0;
	for (size_t first = 0, end; first < count && r == 0; first = end) {
		for (end = first + 1; end < count; end++)
			if (key_window_compare(wanted[end].window, wanted[first].window) != 0)
				break;
		gate_enter(&hiding->store->gate);
		r = hiding_put_window(hiding, wanted + first, wanted + end);
		gate_leave(&hiding->store->gate);
	}
	return r == 0 && hiding->items.failed ? -ENOMEM : r;
}

/* Under writer. Takes the run. */
static int hiding_commit(struct store *store, struct expiry_run *run)
{
	AUTO(kv_batch) write = kv_batch_new();
	int r = write ? store_make_writable(store) : -ENOMEM;
	/* A write that failed may turn out to be there when kv is opened again. */
	if (r == 0 && expiry_find(&store->expiry, run->run.id))
		r = -EEXIST;
	r = r < 0 ? r : expire_put_run(store, write, run);
	/* A reader that does not know of runs would show what they hide. */
	r = r < 0 ? r : store_put_format(store, write, STORE_FORMAT_LEVELS);
	if (r < 0)
		return r;
	gate_lock(&store->gate);
	r = expiry_reserve(&store->expiry, run->items_count);
	r = r < 0 ? r : store_write(store, write, KV_SYNC, "hiding what expired");
	if (r == 0) {
		store_note_format(store, STORE_FORMAT_LEVELS);
		expiry_add(&store->expiry, run);
	}
	gate_unlock(&store->gate);
	return r;
}

static int hiding_run(struct hiding *hiding, const struct store_run *run)
{
	struct store *store = hiding->store;
	int r = hiding_put_windows(hiding);
	if (r < 0 || hiding->items.count == 0)
		return r;
	AUTO_EXPIRY_RUN new = { .run = *run, .hidden = hiding->expired };
	new.items_count = (uint32_t)ARRAY_COUNT(struct expiry_item, hiding->items);
	if (new.items_count > STORE_RUN_ITEMS_MAX)
		return -E2BIG;
	new.items = malloc(hiding->items.count);
	if (!new.items)
		return -ENOMEM;
	memcpy(new.items, hiding->items.bytes, hiding->items.count);
	pthread_mutex_lock(&store->writer);
	r = hiding_commit(store, &new);
	pthread_mutex_unlock(&store->writer);
	return r;
}

int expire_hide(struct store *store, const struct store_run *run,
        const struct store_expire_item *items, uint32_t count, bool takes_hidden,
        struct store_expired *ret_expired)
{
	struct hiding hiding = { .store = store, .takes_hidden = takes_hidden };
	if (run->id == 0 || strnlen(run->note, sizeof(run->note)) > STORE_RUN_NOTE_MAX)
		return -EINVAL;
	gate_enter(&store->gate);
	bool is_known = expiry_find(&store->expiry, run->id);
	bool is_full = store->expiry.runs_count >= STORE_RUNS_MAX;
	gate_leave(&store->gate);
	if (is_known)
		return -EEXIST;
	if (is_full || count > STORE_RUN_ITEMS_MAX)
		return -E2BIG;
	int r = sealed_init(&hiding.sealed, store);
	hiding.sealed.sees_hidden = true;
	r = r < 0 ? r : hiding_take_items(&hiding, items, count);
	r = r < 0 ? r : hiding_run(&hiding, run);
	if (r == 0)
		*ret_expired = hiding.expired;
	sealed_fini(&hiding.sealed);
	buf_fini(&hiding.wanted);
	buf_fini(&hiding.items);
	return r;
}

int store_hide(struct store *store, const struct store_run *run,
        const struct store_expire_item *items, uint32_t count, struct store_expired *ret_expired)
{
	turn_lock_enter(&store->sealing);
	int r = expire_hide(store, run, items, count, false, ret_expired);
	turn_lock_leave(&store->sealing);
	return r;
}
