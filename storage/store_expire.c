/*
 * Hiding is one synced write: the run. Readers see it through sealed_open(), which leaves out what
 * is hidden, so nothing else changes.
 *
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
 *
 * Whole windows lie in files of their own and go without being read. Those of one class likewise.
 * What shares a file with others is merged out of it (kv_reclaim), a window at a time, so that no
 * more than the files of that window are written.
 */

#include "storage/store_expire.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "storage/store_expire_private.h"

#define ERASE_WINDOWS 64 /* in one write, and without letting a seal in between */

/* ---- loading ---- */

static int expire_load_run(
        struct store *store, struct kv_bytes key, struct kv_bytes value, struct expiry *to)
{
	AUTO_EXPIRY_RUN run = { 0 };
	uint64_t id;
	int r = expiry_get_key(key.bytes, key.count, &id);
	r = r < 0 ? r : expiry_get_run(key, value, &run);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT) {
		/* What it hid is to be seen again: nothing is lost by that. */
		store->corrupt++;
		store_note_unreadable(store, KV_EXPIRY, key, r);
		return 0;
	}
	run.run.id = r < 0 ? 0 : id;
	r = r < 0 ? r : expiry_reserve(to, run.items_count);
	if (r == 0)
		expiry_add(to, &run);
	return r;
}

static int expire_load_runs(struct store *store, struct expiry *to)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_EXPIRY, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		int r = expire_load_run(store, kv_iterator_key(it), kv_iterator_value(it), to);
		if (r < 0)
			return r;
	}
	return kv_iterator_result(it);
}

/* On failure runs stay as they were: nothing is to be seen again until the next attempt. */
int store_load_expiry(struct store *store)
{
	struct expiry loaded = { 0 };
	int r = expire_load_runs(store, &loaded);
	if (r == 0) {
		struct expiry old = store->expiry;
		store->expiry = loaded;
		loaded = old;
	}
	expiry_fini(&loaded);
	return r;
}

/* ---- names, records, ranges ---- */

struct store_window_name expire_name(struct key_window key)
{
	return (struct store_window_name){
		.level = key_window_level(key),
		.number = key.generation & KEYS_GENERATION_MAX,
		.from_ns = key.from_ns,
		.to_ns = key.to_ns,
	};
}

int expire_key(struct store_window_name name, struct key_window *ret_key)
{
	if (name.level >= WINDOW_LEVELS || name.number > KEYS_GENERATION_MAX ||
	        name.from_ns >= name.to_ns)
		return -EINVAL;
	*ret_key = (struct key_window){
		.from_ns = name.from_ns,
		.to_ns = name.to_ns,
		.generation = name.level << KEYS_LEVEL_SHIFT | name.number,
	};
	return 0;
}

uint32_t expire_parts_there(const struct window *window, uint32_t unit)
{
	const struct window_unit *of = &window->units[unit];
	if (of->is_gone)
		return 0;
	return STORE_PART_SUMS | (window->level == 0 && of->chunks > 0 ? STORE_PART_DETAIL : 0);
}

static void expire_block_bounds(struct key_window window, uint32_t first, uint32_t end,
        uint8_t from[KEYS_BLOCK_BYTES], uint8_t to[KEYS_BLOCK_BYTES])
{
	keys_put_block((struct key_block){ .window = window, .unit = first }, from);
	keys_put_block((struct key_block){ .window = window, .unit = end }, to);
}

static int expire_measure_family(struct store *store, enum kv_family family, struct key_window key,
        uint32_t unit, uint64_t *ret_bytes)
{
	uint8_t from[KEYS_BLOCK_BYTES];
	uint8_t to[KEYS_BLOCK_BYTES];
	uint64_t bytes = 0;
	expire_block_bounds(key, unit, unit + 1, from, to);
	AUTO(kv_iterator) it = kv_iterator_new(store->kv, family,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ to, sizeof(to) });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it))
		bytes += kv_iterator_key(it).count + kv_iterator_value(it).count;
	*ret_bytes = bytes;
	return kv_iterator_result(it);
}

int expire_measure(struct store *store, struct key_window key, struct window *window)
{
	int r = 0;
	if (window->has_sizes)
		return 0;
	for (uint32_t i = 0; i < window->units_count && r == 0; i++) {
		struct window_unit *unit = &window->units[i];
		r = expire_measure_family(store, store_sums_family(key), key, i, &unit->bytes_sums);
		if (r == 0 && window->level == 0)
			r = expire_measure_family(store, KV_DETAIL, key, i, &unit->bytes_detail);
	}
	window->has_sizes = true;
	return r;
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

int expire_put_record(struct store *store, struct kv_batch *write, struct key_window key,
        const struct window *window)
{
	uint8_t key_bytes[KEYS_WINDOW_BYTES];
	struct kv_bytes at = { key_bytes, sizeof(key_bytes) };
	AUTO_BUF value = { 0 };
	keys_put_window(key, key_bytes);
	window_put(window, key, at, &value);
	if (value.failed)
		return -ENOMEM;
	kv_put(store->kv, write, KV_WINDOW, at, store_bytes(&value));
	return 0;
}

static void expire_delete_key(
        struct store *store, struct kv_batch *write, enum kv_family family, struct kv_bytes key)
{
	uint8_t after[KEYS_WINDOW_BYTES + 1] = { 0 };
	assert(key.count <= KEYS_WINDOW_BYTES);
	memcpy(after, key.bytes, key.count);
	kv_delete_range(store->kv, write, family, key, (struct kv_bytes){ after, key.count + 1 });
}

void expire_delete_record(struct store *store, struct kv_batch *write, struct key_window key)
{
	uint8_t key_bytes[KEYS_WINDOW_BYTES];
	keys_put_window(key, key_bytes);
	expire_delete_key(
	        store, write, KV_WINDOW, (struct kv_bytes){ key_bytes, sizeof(key_bytes) });
}

static int expire_put_run(struct store *store, struct kv_batch *write, const struct expiry_run *run)
{
	uint8_t key_bytes[EXPIRY_KEY_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	AUTO_BUF value = { 0 };
	expiry_put_key(run->run.id, key_bytes);
	expiry_put_run(run, key, &value);
	if (value.failed)
		return -ENOMEM;
	kv_put(store->kv, write, KV_EXPIRY, key, store_bytes(&value));
	return 0;
}

static void expire_delete_run(struct store *store, struct kv_batch *write, uint64_t run_id)
{
	uint8_t key_bytes[EXPIRY_KEY_BYTES];
	expiry_put_key(run_id, key_bytes);
	expire_delete_key(
	        store, write, KV_EXPIRY, (struct kv_bytes){ key_bytes, sizeof(key_bytes) });
}

bool expire_is_rolled_up(struct store *store, struct key_window key)
{
	uint32_t level = key_window_level(key) + 1;
	struct window_span span;
	if (level >= WINDOW_LEVELS)
		return false;
	const struct window_list *list = store_windows(store, level);
	if (!window_list_span(list, key.from_ns, key.to_ns, &span))
		return false;
	for (uint32_t i = 0; i < span.count; i++) {
		const struct window_entry *entry = &list->entries[span.first + i];
		if (window_entry_has(entry, key) && !expiry_has_window(&store->expiry, entry->key))
			return true;
	}
	return false;
}

static int expire_compare_items(const void *a, const void *b)
{
	return expiry_item_compare(a, b);
}

/* Does this run hide the window as a whole? */
static bool expire_run_has_window(const struct expiry_run *run, struct key_window window)
{
	struct expiry_item item = { .window = window, .unit = KEYS_UNIT_NONE };
	return run && run->items_count > 0 &&
	       bsearch(&item, run->items, run->items_count, sizeof(item), expire_compare_items);
}

/* Does this run hide the sums of the unit? No other does then. */
static bool expire_run_has_sums(
        const struct expiry_run *run, struct key_window window, uint32_t unit)
{
	struct expiry_item wanted = { .window = window, .unit = unit };
	const struct expiry_item *item = NULL;
	if (run && run->items_count > 0)
		item = bsearch(&wanted, run->items, run->items_count, sizeof(wanted),
		        expire_compare_items);
	return (item && item->parts & STORE_PART_SUMS) || expire_run_has_window(run, window);
}

/*
 * Has the rollup anything of what the unit is of? Parting may have changed classes meanwhile. One
 * that has moved to another dictionary calls services by other numbers: then it may have.
 */
static bool expire_has_alike(
        const struct window *rollup, const struct window *source, const struct window_unit *unit)
{
	if (rollup->dictionary != source->dictionary)
		return true;
	for (uint32_t i = 0; i < rollup->units_count; i++) {
		const struct window_unit *of = &rollup->units[i];
		if (!of->is_gone && of->service == unit->service && of->type == unit->type &&
		        strcmp(rollup->tenants[of->tenant], source->tenants[unit->tenant]) == 0)
			return true;
	}
	return false;
}

/* Are all units of a source there that the rollup may have something of? In the gate. */
static int expire_is_source_whole(struct store *store, struct sealed *sealed,
        struct key_window source, const struct window *rollup, const struct expiry_run *but,
        bool *ret_is_whole)
{
	const struct window_entry *entry = window_list_get(
	        store_windows(store, key_window_level(source)), source);
	*ret_is_whole = entry && (!expiry_has_window(&store->expiry, source) ||
	                                 expire_run_has_window(but, source));
	int r = *ret_is_whole ? sealed_open(sealed, entry) : 0;
	for (uint32_t i = 0; r == 0 && *ret_is_whole && i < sealed->window.units_count; i++) {
		const struct window_unit *unit = &sealed->window.units[i];
		bool is_hidden = expiry_parts(&store->expiry, source, i) & STORE_PART_SUMS &&
		                 !expire_run_has_sums(but, source, i);
		if (unit->is_gone ? !unit->is_void : is_hidden)
			*ret_is_whole = !expire_has_alike(rollup, &sealed->window, unit);
	}
	if (!sealed_is_corrupt(sealed, r))
		return r;
	*ret_is_whole = false;
	return 0;
}

static int expire_are_sources_whole(struct store *store, struct sealed of[2],
        const struct window_entry *rollup, const struct expiry_run *but, bool *ret_can)
{
	int r = sealed_open(&of[0], rollup);
	*ret_can = key_window_level(rollup->key) > 0;
	for (uint32_t i = 0; r == 0 && *ret_can && i < rollup->sources_count; i++)
		if (key_window_level(rollup->sources[i]) + 1 == key_window_level(rollup->key))
			r = expire_is_source_whole(
			        store, &of[1], rollup->sources[i], &of[0].window, but, ret_can);
	if (!sealed_is_corrupt(&of[0], r))
		return r;
	*ret_can = false;
	return 0;
}

int expire_can_make_again(struct store *store, const struct window_entry *rollup,
        const struct expiry_run *but, bool *ret_can)
{
	struct sealed of[2]; /* the rollup and a source of it */
	int r = sealed_init(&of[0], store);
	int initialized = sealed_init(&of[1], store);
	of[0].sees_hidden = true;
	of[1].sees_hidden = true;
	r = r < 0 ? r : initialized;
	r = r < 0 ? r : expire_are_sources_whole(store, of, rollup, but, ret_can);
	sealed_fini(&of[0]);
	sealed_fini(&of[1]);
	return r;
}

/* ---- hiding ---- */

struct hiding {
	struct store *store;
	struct sealed sealed;
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

/* What the items [wanted, end), all of one window, want of one of its units. */
static uint32_t hiding_wants(
        const struct expiry_item *wanted, const struct expiry_item *end, uint32_t unit)
{
	uint32_t parts = 0;
	for (const struct expiry_item *item = wanted; item < end; item++)
		if (item->unit == unit || item->unit == KEYS_UNIT_NONE)
			parts |= item->parts;
	return parts;
}

static void expire_count(
        const struct window *window, uint32_t unit, uint32_t parts, struct store_expired *expired)
{
	const struct window_unit *of = &window->units[unit];
	expired->units[window->level]++;
	if (parts & STORE_PART_DETAIL) {
		expired->rows += window->level == 0 ? of->rows : 0;
		expired->bytes_detail += of->bytes_detail;
	}
	if (parts & STORE_PART_SUMS)
		expired->bytes_sums += of->bytes_sums;
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
		uint32_t hidden = seen & hiding_wants(wanted, end, i);
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
	                hiding_wants(wanted, end, KEYS_UNIT_NONE) == STORE_PART_ALL;
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
	if (is_corrupt && hiding_wants(wanted, end, KEYS_UNIT_NONE) == STORE_PART_ALL &&
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
        const struct store_expire_item *items, uint32_t count, struct store_expired *ret_expired)
{
	struct hiding hiding = { .store = store };
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
	pthread_mutex_lock(&store->sealing);
	int r = expire_hide(store, run, items, count, ret_expired);
	pthread_mutex_unlock(&store->sealing);
	return r;
}

/* ---- erasing ---- */

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

static int erasing_compare_keys(const void *a, const void *b)
{
	const struct key_window *x = a;
	const struct key_window *y = b;
	if (key_window_level(*x) != key_window_level(*y))
		return key_window_level(*x) < key_window_level(*y) ? -1 : 1;
	return key_window_compare(*x, *y);
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
		qsort(keys, count, sizeof(*keys), erasing_compare_keys);
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
	return expire_reclaim(store, &erasing->ranges);
}

/* Under writer: says on the disk that some of it may be gone. */
static int erasing_begin(struct store *store, struct expiry_run *run)
{
	AUTO(kv_batch) write = kv_batch_new();
	bool was_erasing = run->is_erasing;
	int r = write ? 0 : -ENOMEM;
	run->is_erasing = true;
	r = r < 0 ? r : expire_put_run(store, write, run);
	r = r < 0 ? r : store_write(store, write, KV_SYNC, "erasing what expired");
	if (r < 0)
		run->is_erasing = was_erasing;
	return r;
}

/* Under writer. */
static int expire_remove_run(struct store *store, struct kv_batch *write, uint64_t run_id)
{
	expire_delete_run(store, write, run_id);
	gate_lock(&store->gate);
	int r = store_write(store, write, KV_SYNC, "ending what was hidden");
	if (r == 0)
		expiry_remove(&store->expiry, run_id);
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
		pthread_mutex_lock(&store->sealing);
		r = erasing_step(&erasing, &is_done);
		pthread_mutex_unlock(&store->sealing);
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

/* ---- undoing ---- */

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
		uint32_t hid = hiding_wants(first, end, i);
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
		qsort(keys, count, sizeof(*keys), erasing_compare_keys);
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
	pthread_mutex_lock(&store->sealing);
	r = r < 0 ? r : undoing_run(&undoing, run_id);
	pthread_mutex_unlock(&store->sealing);
	if (r == 0)
		*ret_back = undoing.back;
	sealed_fini(&undoing.sealed);
	expiry_run_fini(&undoing.run);
	buf_fini(&undoing.rollups);
	return r;
}

int store_runs(struct store *store, int (*visit)(void *owner, const struct store_run_state *state),
        void *owner)
{
	int r = 0;
	gate_enter(&store->gate);
	for (uint32_t i = 0; i < store->expiry.runs_count && r == 0; i++) {
		const struct expiry_run *run = &store->expiry.runs[i];
		struct store_run_state state = { run->run, run->is_erasing, run->hidden };
		r = visit(owner, &state);
	}
	store_read_unlock(store);
	return r;
}

/* ---- classes ---- */

void store_set_has_expired(struct store *store, store_has_expired has_expired, void *owner)
{
	gate_lock(&store->gate);
	store->has_expired = has_expired;
	store->has_expired_owner = owner;
	gate_unlock(&store->gate);
}

void store_set_classify(struct store *store, store_classify classify, void *owner)
{
	pthread_mutex_lock(&store->sealing);
	store->classify = classify;
	store->classify_owner = owner;
	pthread_mutex_unlock(&store->sealing);
}
