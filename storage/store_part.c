/*
 * Parting the units of a sealed window by class:
 *
 *	look      members say which series a unit has, the classifier of which class they are
 *	take      the detail of a unit of several classes is taken apart into items, as a seal does
 *	          with batches: what one series had in one interval
 *	write     a seal's own work: per class a unit, under numbers behind all there are
 *	commit    one synced write: the record with the new units, and without the old ones
 *	reclaim   the blocks of the old ones
 *
 * Watchers, other units and the window's key stay what they are, so whatever refers to them
 * (runs, rollups) goes on as before. Blocks of a killed attempt are behind the last unit, where the
 * next one removes them.
 *
 * Memory: the rows of one unit, which are at most seal_rows_max.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "storage/store_expire_private.h"
#include "storage/store_expire_ranges_private.h"
#include "storage/store_seal_private.h"

#define PART_ATTEMPTS 3

struct parting {
	struct store *store;
	struct sealed *sealed;
	store_classify classify;
	void *owner;
	uint32_t reopens;
	struct buf ranges; /* struct expire_range: of the units that were parted */
	struct store_resealed resealed;
};

/* ---- taking a unit apart ---- */

struct part_taking {
	struct seal seal;
	struct id_map *interval_ids;
	uint32_t tenant;  /* of the store */
	size_t last_item; /* index of the last item with rows, plus one */
	uint32_t last_loss_series;
	uint32_t last_loss_interval;
	bool has_last_loss;
};

static int part_intern_interval(
        struct part_taking *taking, const struct detail_interval *interval, uint32_t *ret_interval)
{
	uint64_t words[] = { interval->stream, interval->start_ns, interval->seq };
	bool is_added;
	int r = id_map_intern(
	        taking->interval_ids, hash128_bytes(words, sizeof(words)), ret_interval, &is_added);
	if (r < 0 || !is_added)
		return r;
	struct seal_interval new = {
		.key = { interval->start_ns, interval->stream, interval->seq },
		.duration_ns = interval->duration_ns,
		.index = *ret_interval,
	};
	buf_put(&taking->seal.intervals, &new, sizeof(new));
	return taking->seal.intervals.failed ? -ENOMEM : 0;
}

static void part_put_rows(struct seal *seal, const struct sealed *sealed,
        const struct detail_report *report, const struct detail_rows *rows)
{
	const uint32_t *dictionary = sealed_nodes(sealed);
	for (uint32_t i = 0; rows->places && i < report->rows_count; i++) {
		uint32_t node = dictionary[rows->places[report->rows_first + i]];
		uint64_t value = detail_rows_value(rows, report->rows_first + i);
		buf_put(&seal->nodes, &node, sizeof(node));
		buf_put_u8(&seal->values, seal_note_value(seal, value));
	}
}

/* A report; one that was cut between two chunks becomes one item again. */
static int part_put_report(struct part_taking *taking, const struct sealed *sealed,
        const struct detail_report *report, uint32_t interval, const struct detail_rows *rows)
{
	struct seal *seal = &taking->seal;
	struct seal_item item = {
		.interval = interval,
		.rows_first = ARRAY_COUNT(uint32_t, seal->nodes),
		.large_first = ARRAY_COUNT(uint64_t, seal->large),
		.rows_count = report->rows_count,
		.has_coverage = report->has_coverage,
		.coverage_ns = report->coverage_ns,
	};
	int r = seal_intern_member(seal, taking->tenant, report->series, &item.member);
	if (r < 0)
		return r;
	ARRAY(struct seal_member, seal->members)[item.member].rows += report->rows_count;
	part_put_rows(seal, sealed, report, rows);
	struct seal_item *last = taking->last_item ? &ARRAY(struct seal_item,
	                                                     seal->items)[taking->last_item - 1]
	                                           : NULL;
	if (last && last->member == item.member && last->interval == interval) {
		last->rows_count += item.rows_count;
		last->has_coverage |= item.has_coverage;
		last->coverage_ns += item.coverage_ns;
	} else {
		buf_put(&seal->items, &item, sizeof(item));
		taking->last_item = ARRAY_COUNT(struct seal_item, seal->items);
	}
	return seal->items.failed || seal->nodes.failed || seal->values.failed || seal->large.failed
	               ? -ENOMEM
	               : 0;
}

/* Losses of one series in one interval follow each other: they are one item. */
static int part_put_loss(
        struct part_taking *taking, const struct detail_loss *loss, uint32_t interval)
{
	struct seal *seal = &taking->seal;
	struct sum_loss of = { loss->reason, loss->count };
	struct seal_item item = {
		.interval = interval,
		.losses_first = ARRAY_COUNT(struct sum_loss, seal->losses),
		.losses_count = 1,
	};
	bool is_same = taking->has_last_loss && taking->last_loss_series == loss->series &&
	               taking->last_loss_interval == interval;
	int r = seal_intern_member(seal, taking->tenant, loss->series, &item.member);
	if (r < 0)
		return r;
	buf_put(&seal->losses, &of, sizeof(of));
	if (is_same)
		ARRAY(struct seal_item, seal->items)
	[ARRAY_COUNT(struct seal_item, seal->items) - 1].losses_count++;
	else buf_put(&seal->items, &item, sizeof(item));
	taking->has_last_loss = true;
	taking->last_loss_series = loss->series;
	taking->last_loss_interval = interval;
	return seal->items.failed || seal->losses.failed ? -ENOMEM : 0;
}

static int part_take_chunk(struct parting *parting, struct part_taking *taking, uint32_t unit,
        uint32_t number, const struct sum_block *block)
{
	struct sealed *sealed = parting->sealed;
	struct detail_chunk chunk;
	struct detail_heads heads;
	struct detail_rows rows = { 0 };
	AUTO_BUF intervals = { 0 };
	int r = sealed_open_detail(sealed, unit, number, block, &chunk);
	r = r < 0 ? r : sealed_get_detail_heads(sealed, &chunk, &heads);
	if (r == 0 && chunk.rows_count > 0)
		r = detail_chunk_get_rows(&chunk, sealed->detail_memory, &rows);
	if (r < 0)
		return r;
	uint32_t *places = (void *)buf_reserve(
	        &intervals, ((size_t)chunk.intervals_count + 1) * sizeof(*places));
	if (!places)
		return -ENOMEM;
	for (uint32_t i = 0; i < chunk.intervals_count && r == 0; i++)
		r = part_intern_interval(taking, &heads.intervals[i], &places[i]);
	for (uint32_t i = 0; i < chunk.reports_count && r == 0; i++)
		r = part_put_report(taking, sealed, &heads.reports[i],
		        places[heads.reports[i].interval], &rows);
	taking->has_last_loss = false;
	for (uint32_t i = 0; i < chunk.losses_count && r == 0; i++)
		if (heads.losses[i].series != SERIES_NONE)
			r = part_put_loss(
			        taking, &heads.losses[i], places[heads.losses[i].interval]);
	return r;
}

/* In the gate. */
static int part_find_tenant(const struct store *store, const char *name, uint32_t *ret_tenant)
{
	for (uint32_t i = 0; i < store->tenants_count; i++) {
		if (strcmp(store->tenants[i].name, name) == 0) {
			*ret_tenant = i;
			return 0;
		}
	}
	return -EBADMSG;
}

/* A chunk at a time in the gate: the window cannot change, the caller has `sealing`. */
static int part_take_unit(struct parting *parting, struct part_taking *taking, uint32_t unit)
{
	struct store *store = parting->store;
	struct sealed *sealed = parting->sealed;
	const struct window *window = &sealed->window;
	struct seal *seal = &taking->seal;
	struct sum_block block;
	gate_enter(&store->gate);
	const struct dict *dict = sealed_dict(sealed);
	seal->labels = sum_labels_find(dict);
	seal->nodes_count = dict_mark(dict).nodes;
	int r = part_find_tenant(
	        store, window->tenants[window->units[unit].tenant], &taking->tenant);
	r = r < 0 ? r : sealed_get_sums(sealed, unit, &block);
	gate_leave(&store->gate);
	for (uint32_t i = 0; i < window->units[unit].chunks && r == 0; i++) {
		gate_enter(&store->gate);
		r = part_take_chunk(parting, taking, unit, i, &block);
		gate_leave(&store->gate);
	}
	return r;
}

/* ---- writing what it becomes ---- */

static int part_add_units(struct parting *parting, const struct seal *seal, uint32_t parted)
{
	struct window *window = &parting->sealed->window;
	const struct seal_member *members = ARRAY(struct seal_member, seal->members);
	const struct seal_unit *made = ARRAY(struct seal_unit, seal->units);
	uint32_t count = (uint32_t)ARRAY_COUNT(struct seal_unit, seal->units);
	if (count > WINDOW_UNITS_MAX - window->units_count)
		return -E2BIG;
	struct window_unit *units = realloc(
	        window->units, ((size_t)window->units_count + count + 1) * sizeof(*units));
	if (!units)
		return -ENOMEM;
	window->units = units;
	for (uint32_t i = 0; i < count; i++) {
		const struct seal_member *member = &members[made[i].members_first];
		units[window->units_count + i] = (struct window_unit){
			.tenant = units[parted].tenant,
			.service = member->service,
			.type = member->type,
			.chunks = made[i].chunks,
			.rows = made[i].rows,
			.class = member->class,
			.bytes_detail = made[i].bytes_detail,
			.bytes_sums = made[i].bytes_sums,
		};
	}
	window->units_count += count;
	struct window_unit *old = &units[parted];
	old->is_gone = true;
	old->is_void = true;
	old->chunks = 0;
	old->bytes_detail = 0;
	old->bytes_sums = 0;
	parting->resealed.units_parted++;
	parting->resealed.units_made += count;
	expire_put_units(&parting->ranges, KV_SUMS, seal->key, parted, parted + 1);
	expire_put_units(&parting->ranges, KV_DETAIL, seal->key, parted, parted + 1);
	return 0;
}

static int part_write_unit(struct parting *parting, struct part_taking *taking, uint32_t unit)
{
	struct seal *seal = &taking->seal;
	int r = part_take_unit(parting, taking, unit);
	r = r < 0 ? r : seal_rank_intervals(seal);
	r = r < 0 ? r : seal_make_units(seal);
	r = r < 0 ? r : seal_write_rounds(seal);
	r = r < 0 ? r : seal_take_blocks(seal);
	return r < 0 ? r : part_add_units(parting, seal, unit);
}

/* -EBADMSG: something of it cannot be read. */
static int part_unit(struct parting *parting, uint32_t unit)
{
	struct part_taking taking = {
		.seal = {
		        .store = parting->store,
		        .key = parting->sealed->key,
		        .reopens = parting->reopens,
		        .has_dictionary = true,
		        .dictionary = parting->sealed->window.dictionary,
		        .is_first = true,
		        .classify = parting->classify,
		        .classify_owner = parting->owner,
		        .unit_base = parting->sealed->window.units_count,
		},
	};
	taking.interval_ids = id_map_new(UINT32_MAX - 1);
	int r = seal_init(&taking.seal);
	if (r == 0 && !taking.interval_ids)
		r = -ENOMEM;
	r = r < 0 ? r : part_write_unit(parting, &taking, unit);
	seal_fini(&taking.seal);
	id_map_free(taking.interval_ids);
	return r;
}

/* ---- which units ---- */

static uint32_t part_class(const struct parting *parting, uint32_t unit, uint32_t series)
{
	const struct window *window = &parting->sealed->window;
	uint32_t class = parting->classify(parting->owner,
	        window->tenants[window->units[unit].tenant], sealed_dict(parting->sealed), series);
	return class < STORE_CLASS_COUNT_MAX ? class : STORE_CLASS_COUNT_MAX - 1;
}

/* Has the unit series of several classes? In the gate. */
static int part_is_mixed(const struct parting *parting, uint32_t unit, bool *ret_is_mixed)
{
	struct detail_chunk members;
	struct detail_heads heads;
	uint32_t first = 0;
	bool has_first = false;
	int r = sealed_get_members(parting->sealed, unit, 0, &members, &heads);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < members.reports_count + members.losses_count; i++) {
		uint32_t series = i < members.reports_count
		                          ? heads.reports[i].series
		                          : heads.losses[i - members.reports_count].series;
		uint32_t class = part_class(parting, unit, series);
		*ret_is_mixed |= has_first && class != first;
		first = class;
		has_first = true;
	}
	return 0;
}

static int part_look_at_unit(struct parting *parting, uint32_t unit)
{
	const struct sealed *sealed = parting->sealed;
	struct store *store = parting->store;
	bool is_mixed = false;
	if (sealed->window.units[unit].is_gone)
		return 0;
	gate_enter(&store->gate);
	int r = part_is_mixed(parting, unit, &is_mixed);
	bool is_corrupt = sealed_is_corrupt(sealed, r);
	bool is_hidden = expiry_parts(&store->expiry, sealed->key, unit);
	gate_leave(&store->gate);
	bool has_detail = expire_parts_there(&sealed->window, unit) & STORE_PART_DETAIL;
	if (is_corrupt || (r == 0 && is_mixed && (is_hidden || !has_detail))) {
		parting->resealed.units_kept++;
		return 0;
	}
	if (r < 0 || !is_mixed)
		return r;
	r = part_unit(parting, unit);
	if (sealed_is_corrupt(sealed, r)) {
		parting->resealed.units_kept++;
		return 0;
	}
	return r;
}

/* Under writer. */
static int part_commit(struct parting *parting)
{
	struct store *store = parting->store;
	const struct sealed *sealed = parting->sealed;
	AUTO(kv_batch) write = kv_batch_new();
	int r = write ? 0 : -ENOMEM;
	if (r == 0 && (store->is_broken || store->reopens != parting->reopens))
		r = -EAGAIN;
	r = r < 0 ? r : expire_put_record(store, write, sealed->key, &sealed->window);
	r = r < 0 ? r : store_put_format(store, write, STORE_FORMAT_VALUES);
	if (r < 0)
		return r;
	gate_lock(&store->gate);
	r = store_write(store, write, KV_SYNC, "parting a window");
	if (r == 0)
		store_note_format(store, STORE_FORMAT_VALUES);
	gate_unlock(&store->gate);
	return r;
}

/* What a killed attempt left behind the last unit. */
static int part_sweep(struct parting *parting)
{
	AUTO_BUF ranges = { 0 };
	const struct sealed *sealed = parting->sealed;
	expire_put_units(&ranges, KV_SUMS, sealed->key, sealed->window.units_count, KEYS_UNIT_NONE);
	expire_put_units(
	        &ranges, KV_DETAIL, sealed->key, sealed->window.units_count, KEYS_UNIT_NONE);
	return expire_reclaim(parting->store, &ranges);
}

static int part_begin(struct parting *parting)
{
	struct store *store = parting->store;
	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	store->late.is_incomplete = false;
	parting->reopens = store->reopens;
	pthread_mutex_unlock(&store->writer);
	gate_enter(&store->gate);
	r = r < 0 ? r : expire_measure(store, parting->sealed->key, &parting->sealed->window);
	gate_leave(&store->gate);
	return r;
}

int expire_part(struct store *store, struct sealed *sealed, store_classify classify, void *owner,
        struct store_resealed *ret_resealed)
{
	struct parting parting = {
		.store = store, .sealed = sealed, .classify = classify, .owner = owner
	};
	uint32_t count = sealed->window.units_count;
	int r = part_begin(&parting);
	r = r < 0 ? r : part_sweep(&parting);
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = part_look_at_unit(&parting, i);
	if (r == 0 && parting.resealed.units_parted > 0) {
		pthread_mutex_lock(&store->writer);
		r = part_commit(&parting);
		pthread_mutex_unlock(&store->writer);
		r = r < 0 ? r : expire_reclaim(store, &parting.ranges);
	}
	if (r == 0)
		*ret_resealed = parting.resealed;
	buf_fini(&parting.ranges);
	return r;
}

static int part_window(struct store *store, struct sealed *sealed, struct key_window key,
        store_classify classify, void *owner, struct store_resealed *ret_resealed)
{
	gate_enter(&store->gate);
	const struct window_entry *entry = window_list_get(&store->windows, key);
	int r = entry ? sealed_open(sealed, entry) : -ENOENT;
	r = r < 0 ? r : sealed_load_dict(sealed);
	gate_leave(&store->gate);
	return r < 0 ? r : expire_part(store, sealed, classify, owner, ret_resealed);
}

int store_reseal(struct store *store, struct store_window_name window, store_classify classify,
        void *owner, struct store_resealed *ret_resealed)
{
	struct key_window key;
	AUTO_SEALED sealed;
	int r = window.level > 0 ? -EINVAL : expire_key(window, &key);
	int initialized = sealed_init(&sealed, store);
	sealed.sees_hidden = true;
	r = r < 0 ? r : initialized;
	if (r < 0)
		return r;
	turn_lock_enter(&store->sealing);
	r = -EAGAIN;
	for (int attempt = 0; attempt < PART_ATTEMPTS && r == -EAGAIN; attempt++)
		r = part_window(store, &sealed, key, classify, owner, ret_resealed);
	turn_lock_leave(&store->sealing);
	return r;
}
