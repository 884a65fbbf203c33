/*
 * The inventory: what there is, window by window in the order of their keys, level by level. The
 * gate is left between windows, and the next one is looked for behind the last, so that the list
 * may change meanwhile. A window's record says what its units weigh; members are read where series
 * are asked for.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/id_map.h"
#include "storage/store_expire_private.h"
#include "storage/sum_groups.h"

#define INVENTORY_STRETCH_BYTES (4u << 20)
#define INVENTORY_OPEN_MAX      (1u << 20) /* (window, tenant, service, type) of open batches */

struct inventory {
	struct store *store;
	struct store_inventory_options options;
	store_visit_unit visit;
	void *owner;
	struct sealed sealed;
	struct sealed finer; /* what a rollup was made of */
	struct buf untold;   /* bool for each unit: finer windows do not tell of it */
	struct buf series;   /* u32 */
	struct expire_pass pass;
};

static int inventory_compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* Sorts and leaves each once. */
static void inventory_settle_series(struct inventory *inventory)
{
	uint32_t *series = ARRAY(uint32_t, inventory->series);
	size_t count = ARRAY_COUNT(uint32_t, inventory->series);
	size_t kept = 0;
	if (count > 1)
		qsort(series, count, sizeof(*series), inventory_compare_u32);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || series[i] != series[i - 1])
			series[kept++] = series[i];
	inventory->series.count = kept * sizeof(*series);
}

/* The series of a unit, from its members. */
static int inventory_list_series(struct inventory *inventory, uint32_t unit)
{
	buf_reset(&inventory->series);
	for (uint32_t chunk = 0; chunk < sealed_members_count(&inventory->sealed, unit); chunk++) {
		struct detail_chunk members;
		struct detail_heads heads;
		int r = sealed_get_members(&inventory->sealed, unit, chunk, &members, &heads);
		if (r < 0)
			return r;
		for (uint32_t i = 0; i < members.reports_count; i++)
			buf_put(&inventory->series, &heads.reports[i].series,
			        sizeof(heads.reports[i].series));
		for (uint32_t i = 0; i < members.losses_count; i++)
			buf_put(&inventory->series, &heads.losses[i].series,
			        sizeof(heads.losses[i].series));
	}
	if (inventory->series.failed)
		return -ENOMEM;
	inventory_settle_series(inventory);
	return 0;
}

static const char *inventory_string(const struct dict *dict, uint32_t id)
{
	size_t count;
	return dict && id < dict_mark(dict).strings ? dict_get_string(dict, id, &count) : "";
}

/* What does not differ from unit to unit. */
static struct store_inventory_unit inventory_begin(
        struct inventory *inventory, const struct window_entry *entry)
{
	struct store *store = inventory->store;
	return (struct store_inventory_unit){
		.window = expire_name(entry->key),
		.unit = STORE_UNIT_NONE,
		.tenant = "",
		.service = "",
		.type = "",
		.batches = entry->batches,
		.first_ns = entry->first_ns,
		.last_ns = entry->last_ns,
		.is_rolled_up = expire_is_rolled_up(store, entry->key),
		.dict = sealed_dict(&inventory->sealed),
		.dict_generation = entry->dictionary,
	};
}

static int inventory_unit(
        struct inventory *inventory, struct store_inventory_unit *told, uint32_t number)
{
	const struct sealed *sealed = &inventory->sealed;
	const struct window_unit *unit = &sealed->window.units[number];
	told->unit = number;
	told->class = unit->class;
	told->tenant = sealed->window.tenants[unit->tenant];
	told->service = inventory_string(told->dict, unit->service);
	told->type = inventory_string(told->dict, unit->type);
	told->rows = unit->rows;
	told->parts = expire_parts_there(&sealed->window, number);
	told->hidden = told->parts & expiry_parts(&inventory->store->expiry, sealed->key, number);
	told->bytes_detail = unit->bytes_detail;
	told->bytes_sums = unit->bytes_sums;
	told->series = NULL;
	told->series_count = 0;
	told->is_corrupt = false;
	if (inventory->options.sums_alone && ((told->parts & ~told->hidden) != STORE_PART_SUMS ||
	                                             !ARRAY(bool, inventory->untold)[number]))
		return 0;
	if (inventory->options.hidden_alone && !told->hidden)
		return 0;
	enum store_inventory_need need = inventory->options.wants_series ? STORE_NEED_SERIES
	                                                                 : STORE_NEED_UNIT;
	if (inventory->options.need)
		need = inventory->options.need(inventory->owner, told);
	if (need == STORE_NEED_NOTHING)
		return 0;
	if (need == STORE_NEED_SERIES) {
		int r = inventory_list_series(inventory, number);
		told->is_corrupt = sealed_is_corrupt(sealed, r);
		if (r < 0 && !told->is_corrupt)
			return r;
		told->series = r < 0 ? NULL : ARRAY(uint32_t, inventory->series);
		told->series_count = r < 0 ? 0 : (uint32_t)ARRAY_COUNT(uint32_t, inventory->series);
	}
	int r = inventory->visit(inventory->owner, told);
	told->bytes_window = 0;
	return r;
}

/* Which units of the window that was opened nothing finer tells of: all of one of level 0. */
static int inventory_mark_untold(struct inventory *inventory, const struct window_entry *entry)
{
	const struct store_inventory_options *options = &inventory->options;
	const struct window *window = &inventory->sealed.window;
	bool is_rollup = key_window_level(entry->key) > 0;
	buf_reset(&inventory->untold);
	for (uint32_t i = 0; i < window->units_count; i++)
		buf_put(&inventory->untold, &(bool){ !is_rollup }, sizeof(bool));
	if (inventory->untold.failed)
		return -ENOMEM;
	return is_rollup ? expire_mark_untold(inventory->store, &inventory->finer, entry, window,
	                           options->from_ns, options->to_ns ? options->to_ns : UINT64_MAX,
	                           ARRAY(bool, inventory->untold))
	                 : 0;
}

/* In the gate. */
static int inventory_window(struct inventory *inventory, const struct window_entry *entry)
{
	struct store *store = inventory->store;
	struct sealed *sealed = &inventory->sealed;
	int r = sealed_open(sealed, entry);
	r = r < 0 ? r : sealed_load_dict(sealed);
	bool is_corrupt = sealed_is_corrupt(sealed, r);
	if (r < 0 && !is_corrupt)
		return r;
	uint64_t record_bytes = KEYS_WINDOW_BYTES + sealed->detail_bytes.count;
	r = is_corrupt ? 0 : expire_measure(store, entry->key, &sealed->window);
	if (r == 0 && !is_corrupt && inventory->options.sums_alone)
		r = inventory_mark_untold(inventory, entry);
	struct store_inventory_unit told = inventory_begin(inventory, entry);
	told.bytes_window = record_bytes + (is_corrupt ? 0 : sealed->window.bytes_watchers);
	told.is_corrupt = is_corrupt;
	uint32_t count = is_corrupt ? 0 : sealed->window.units_count;
	for (uint32_t i = 0; i < count && r == 0; i++)
		if (!sealed->window.units[i].is_gone)
			r = inventory_unit(inventory, &told, i);
	if (r == 0 && count == 0) {
		told.parts = STORE_PART_SUMS;
		told.hidden = expiry_has_window(&store->expiry, entry->key) ? STORE_PART_SUMS : 0;
		r = inventory->visit(inventory->owner, &told);
	}
	return r;
}

/* The first window of the list behind `key`, or the first of all. */
static const struct window_entry *inventory_next(
        const struct window_list *list, const struct key_window *key)
{
	uint32_t first = 0;
	uint32_t end = list->count;
	while (key && first < end) {
		uint32_t middle = first + (end - first) / 2;
		if (key_window_compare(list->entries[middle].key, *key) <= 0)
			first = middle + 1;
		else
			end = middle;
	}
	return first < list->count ? &list->entries[first] : NULL;
}

/* Asked of windows, and of open batches by theirs. */
static bool inventory_is_in_range(
        const struct inventory *inventory, uint64_t from_ns, uint64_t to_ns)
{
	const struct store_inventory_options *options = &inventory->options;
	if (options->from_ns == 0 && options->to_ns == 0)
		return true;
	return from_ns < options->to_ns && to_ns > options->from_ns;
}

/* In the gate. */
static bool inventory_wants(const struct inventory *inventory, const struct key_window *key)
{
	return inventory_is_in_range(inventory, key->from_ns, key->to_ns) &&
	       (!inventory->options.hidden_alone ||
	               expiry_touches(&inventory->store->expiry, *key));
}

static int inventory_level(struct inventory *inventory, uint32_t level)
{
	struct store *store = inventory->store;
	struct key_window at;
	bool has_at = false;
	bool is_done = false;
	int r = 0;
	while (r == 0 && !is_done) {
		store_read_lock(store);
		const struct window_entry *entry = inventory_next(
		        store_windows(store, level), has_at ? &at : NULL);
		is_done = !entry;
		if (entry) {
			at = entry->key;
			has_at = true;
			if (inventory_wants(inventory, &at))
				r = inventory_window(inventory, entry);
		}
		store_read_unlock(store);
		if (!is_done)
			expire_pass_step(&inventory->pass);
		(void)store_make_names_room(store, 0);
	}
	return r;
}

/* ---- open batches ---- */

struct open_unit {
	uint64_t from_ns;
	uint64_t to_ns;
	uint32_t tenant;
	uint32_t generation;
	uint32_t service;
	uint32_t type;
	uint64_t rows;
	uint64_t batches;
	uint64_t first_ns;
	uint64_t last_ns;
	uint64_t bytes;
};

struct opening {
	struct inventory *inventory;
	struct id_map *ids;
	struct buf units;    /* struct open_unit */
	struct batch *batch; /* over the dict of this generation */
	uint32_t generation;
	struct buf scratch;
	struct sum_labels labels;
};

static int opening_find(struct opening *opening, const struct open_unit *wanted, uint32_t *ret_unit)
{
	uint64_t words[] = { wanted->from_ns, (uint64_t)wanted->tenant << 32 | wanted->generation,
		(uint64_t)wanted->service << 32 | wanted->type };
	bool is_added;
	int r = id_map_intern(
	        opening->ids, hash128_bytes(words, sizeof(words)), ret_unit, &is_added);
	if (r == 0 && is_added)
		buf_put(&opening->units, wanted, sizeof(*wanted));
	return r == -ENOSPC ? -E2BIG : opening->units.failed ? -ENOMEM : r;
}

/* Each unit of the batch gets its share of the bytes, the first what is left of dividing. */
static int opening_put_batch(
        struct opening *opening, struct key_batch key, uint64_t bytes, const struct dict *dict)
{
	struct store *store = opening->inventory->store;
	const struct batch *batch = opening->batch;
	uint64_t window_ns = store->options.window_ns;
	uint64_t left = bytes;
	for (uint32_t first = 0, end; first < batch->rows_count || left > 0; first = end) {
		struct open_unit wanted = {
			.from_ns = key.start_ns - key.start_ns % window_ns,
			.tenant = store->streams[key.stream].tenant,
			.generation = opening->generation,
			.first_ns = key.start_ns,
			.last_ns = key.start_ns,
		};
		if (__builtin_add_overflow(wanted.from_ns, window_ns, &wanted.to_ns))
			wanted.to_ns = UINT64_MAX;
		for (end = first; end < batch->rows_count &&
		                  batch->rows[end].series == batch->rows[first].series;)
			end++;
		if (end > first) {
			uint32_t series = batch->rows[first].series;
			wanted.service = sum_labels_service(&opening->labels, dict, series);
			wanted.type = dict_get_series(dict, series)->type;
		}
		uint64_t share = end < batch->rows_count ? bytes * (end - first) / batch->rows_count
		                                         : left;
		uint32_t number;
		int r = opening_find(opening, &wanted, &number);
		if (r < 0)
			return r;
		struct open_unit *unit = &ARRAY(struct open_unit, opening->units)[number];
		unit->rows += end - first;
		unit->bytes += share;
		unit->batches += first == 0;
		unit->first_ns = key.start_ns < unit->first_ns ? key.start_ns : unit->first_ns;
		unit->last_ns = key.start_ns > unit->last_ns ? key.start_ns : unit->last_ns;
		left -= share;
		if (end >= batch->rows_count)
			break;
	}
	return 0;
}

static int opening_begin_batch(struct opening *opening, uint32_t id)
{
	struct generation *generation;
	int r = store_use_generation(opening->inventory->store, id, &generation);
	if (r < 0)
		return r == -ENOENT ? -EBADMSG : r;
	if (!opening->batch || opening->generation != id) {
		batch_free(opening->batch);
		opening->batch = batch_new(generation->dict);
		if (!opening->batch)
			return -ENOMEM;
		opening->generation = id;
		opening->labels = sum_labels_find(generation->dict);
	}
	batch_reset(opening->batch);
	return 0;
}

static int opening_record(struct opening *opening, struct kv_bytes key_bytes, struct kv_bytes value)
{
	struct store *store = opening->inventory->store;
	struct key_batch key;
	struct record_batch record;
	int r = keys_get_batch(key_bytes.bytes, key_bytes.count, &key);
	r = r < 0 ? r : record_get_batch(key_bytes, value, &record);
	if (r == 0 && key.stream >= store->streams_count)
		r = -EBADMSG;
	r = r < 0 ? r : opening_begin_batch(opening, record.generation);
	r = r < 0 ? r
	          : record_unpack_batch(&record, key.start_ns, &opening->scratch, opening->batch);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT)
		return 0; /* readers count it */
	return r < 0 ? r
	             : opening_put_batch(
	                       opening, key, key_bytes.count + value.count, opening->batch->dict);
}

/* One visit to the gate. */
static int opening_stretch(struct opening *opening, struct key_batch *at, bool *ret_is_done)
{
	struct store *store = opening->inventory->store;
	uint8_t from[KEYS_BATCH_BYTES];
	uint64_t bytes = 0;
	int r = 0;
	keys_put_batch(*at, from);
	AUTO(kv_iterator) it = kv_iterator_new(store->kv, KV_BATCH,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	/* The gate was left: names may have come, or the dict of the last batch have gone. */
	batch_free(opening->batch);
	opening->batch = NULL;
	for (; r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct key_batch of;
		r = opening_record(opening, key, kv_iterator_value(it));
		bytes += key.count + kv_iterator_value(it).count;
		if (r == 0 && bytes >= INVENTORY_STRETCH_BYTES &&
		        keys_get_batch(key.bytes, key.count, &of) == 0) {
			*at = key_batch_next(of);
			return 0;
		}
	}
	*ret_is_done = true;
	return r < 0 ? r : kv_iterator_result(it);
}

static int opening_tell(struct opening *opening)
{
	struct inventory *inventory = opening->inventory;
	const struct open_unit *units = ARRAY(struct open_unit, opening->units);
	int r = 0;
	for (size_t i = 0; i < ARRAY_COUNT(struct open_unit, opening->units) && r == 0; i++) {
		const struct open_unit *unit = &units[i];
		if (!inventory_is_in_range(inventory, unit->from_ns, unit->to_ns))
			continue;
		store_read_lock(inventory->store);
		struct generation *generation = NULL;
		(void)store_use_generation(inventory->store, unit->generation, &generation);
		const struct dict *dict = generation ? generation->dict : NULL;
		struct store_inventory_unit told = {
			.window = { 0, 0, unit->from_ns, unit->to_ns },
			.unit = STORE_UNIT_NONE,
			.is_open = true,
			.tenant = inventory->store->tenants[unit->tenant].name,
			.service = inventory_string(dict, unit->service),
			.type = inventory_string(dict, unit->type),
			.rows = unit->rows,
			.batches = unit->batches,
			.first_ns = unit->first_ns,
			.last_ns = unit->last_ns,
			.parts = STORE_PART_DETAIL,
			.bytes_detail = unit->bytes,
			.dict = dict,
			.dict_generation = unit->generation,
		};
		r = inventory->visit(inventory->owner, &told);
		store_read_unlock(inventory->store);
	}
	return r;
}

static int inventory_open(struct inventory *inventory)
{
	struct opening opening = { .inventory = inventory };
	struct key_batch at = { 0 };
	bool is_done = false;
	opening.ids = id_map_new(INVENTORY_OPEN_MAX);
	int r = opening.ids ? 0 : -ENOMEM;
	while (r == 0 && !is_done) {
		store_read_lock(inventory->store);
		r = opening_stretch(&opening, &at, &is_done);
		store_read_unlock(inventory->store);
	}
	r = r < 0 ? r : opening_tell(&opening);
	id_map_free(opening.ids);
	buf_fini(&opening.units);
	batch_free(opening.batch);
	buf_fini(&opening.scratch);
	return r;
}

int store_inventory(struct store *store, struct store_inventory_options options,
        store_visit_unit visit, void *owner)
{
	struct inventory inventory = {
		.store = store, .options = options, .visit = visit, .owner = owner
	};
	int r = sealed_init(&inventory.sealed, store);
	int initialized = sealed_init(&inventory.finer, store);
	inventory.sealed.sees_hidden = true;
	r = r < 0 ? r : initialized;
	inventory.pass = expire_pass_begin(store, options.pass);
	for (uint32_t level = 0; level < WINDOW_LEVELS && r == 0; level++)
		r = inventory_level(&inventory, level);
	if (r == 0 && options.wants_open)
		r = inventory_open(&inventory);
	sealed_fini(&inventory.sealed);
	sealed_fini(&inventory.finer);
	buf_fini(&inventory.untold);
	buf_fini(&inventory.series);
	return r;
}

/* ---- totals ---- */

static int inventory_add_unit(void *owner, const struct store_inventory_unit *unit)
{
	struct store_inventory_bytes *bytes = owner;
	bytes->detail += unit->bytes_detail;
	bytes->sums[unit->window.level] += unit->bytes_sums;
	bytes->windows += unit->bytes_window;
	if (unit->hidden & STORE_PART_DETAIL)
		bytes->hidden += unit->bytes_detail;
	if (unit->hidden & STORE_PART_SUMS)
		bytes->hidden += unit->bytes_sums;
	return 0;
}

int store_inventory_totals(struct store *store, struct store_inventory_bytes *ret_bytes)
{
	static const enum kv_family rest[] = { KV_META, KV_STREAM, KV_COUNTERS, KV_AGENT,
		KV_EXPIRY };
	struct store_inventory_bytes bytes = { 0 };
	int r = store_inventory(
	        store, (struct store_inventory_options){ 0 }, inventory_add_unit, &bytes);
	if (r < 0)
		return r;
	store_read_lock(store);
	bytes.open = kv_family_bytes(store->kv, KV_BATCH);
	bytes.dict = kv_family_bytes(store->kv, KV_DICT) + kv_family_bytes(store->kv, KV_DICT_TEXT);
	bytes.symbols = kv_family_bytes(store->kv, KV_SYMBOLS);
	for (size_t i = 0; i < COUNT_OF(rest); i++)
		bytes.rest += kv_family_bytes(store->kv, rest[i]);
	bytes.disk = kv_disk_bytes(store->kv);
	store_read_unlock(store);
	*ret_bytes = bytes;
	return 0;
}
