/*
 * Sealing one window:
 *
 *	note      from here on appends say what they put into the window (late)
 *	collect   its batches are read and taken apart into items: what one series had in one
 *interval; in the gate for a few megabytes at a time write     items in the order (tenant, service,
 *type, series, stream, time); per unit a block of sums, one of members, chunks of detail; put in
 *pieces, without a sync, under the next generation's keys, where nobody looks commit    one synced
 *write: the window's record, which makes the blocks count, and the deletion of the batches that are
 *in them
 *
 * A kill before the commit leaves blocks that nothing names: the next seal of the window has the
 * same generation and removes them first. The log is one, so the synced commit is on the disk only
 * together with the blocks that were written before it. What came late, and what cannot be read,
 * is spared by the deletion and stays open.
 *
 * Memory is bounded by seal_rows_max: where the window has more rows, they are taken in rounds of
 *as many units as fit, and the batches are read once more for each round; a unit that is larger
 *than that alone is cut into parts between series.
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "storage/detail_chunk.h"
#include "storage/sealed.h"
#include "storage/stack_set.h"
#include "storage/store_private.h"
#include "storage/sum_block.h"
#include "storage/sum_groups.h"

#define SEAL_STRETCH_BYTES    (4u << 20)
#define SEAL_PIECE_BYTES      (1u << 20) /* of blocks in one write: what an append may wait for */
#define SEAL_WATCHERS_MAX     (32u << 10)
#define SEAL_REPORTS_MAX      (32u << 10) /* of a chunk */
#define SEAL_LOSSES_MAX       (32u << 10)
#define SEAL_UNIT_MEMBERS_MAX (64u << 10)
#define SEAL_ATTEMPTS         3
#define SEAL_UNSEALABLE_MAX   1024

struct seal_interval {
	struct key_batch key;
	uint64_t duration_ns;
	uint32_t index; /* in the order of keys */
};

/* A series of one tenant. */
struct seal_member {
	uint32_t id; /* in order of being met */
	uint32_t tenant;
	uint32_t service;
	uint32_t type;
	uint32_t series;
	uint32_t instance;
	uint32_t unit;
	uint64_t rows;
	struct sum_group_key group;
};

struct seal_unit {
	uint32_t members_first; /* in the order of members */
	uint32_t members_end;
	uint64_t rows;
	uint32_t chunks;
};

/* What one series had in one interval. */
struct seal_item {
	uint32_t member;   /* its id; later its place in the order of members */
	uint32_t interval; /* index in the order of keys; later its rank in that of streams */
	uint64_t rows_first;
	uint32_t rows_count;
	uint32_t losses_count;
	uint64_t losses_first;
	uint64_t coverage_ns;
	bool has_coverage;
};

struct seal_loss {
	uint32_t interval;
	struct sum_loss loss;
};

/* One chunk of detail as it grows. Intervals are ranks until it is written. */
struct seal_chunk {
	struct buf ranks; /* u32, of all reports and losses */
	struct buf intervals;
	struct buf reports;
	struct buf losses;
	struct buf places; /* u32 */
	struct buf values; /* u64 */
	uint32_t number;
};

struct seal {
	struct store *store;
	struct key_window key;
	uint32_t reopens;

	/* Of the window. */
	struct buf intervals; /* struct seal_interval, by key */
	struct buf ranked;    /* the same, by (stream, start, seq) */
	struct buf ranks;     /* u32: index -> rank */
	struct buf corrupt;   /* struct key_batch */
	struct buf nobodys;   /* struct seal_loss */
	struct id_map *member_ids;
	struct buf members; /* struct seal_member, by id, then in order */
	struct buf places;  /* u32: id -> place in that order */
	struct buf units;   /* struct seal_unit */
	struct buf tenants; /* u32: tenants of the store, in order of the units */
	struct sum_labels labels;
	uint32_t nodes_count;

	/* Of a round: items of units [units_first, units_end), or of all while there are none yet.
	 */
	bool is_first;
	bool is_counting; /* rows are more than fit: only counted */
	uint32_t units_first;
	uint32_t units_end;
	uint32_t next_interval;
	struct buf items;
	struct buf nodes;  /* u32: node, later its place in the dictionary of the unit */
	struct buf values; /* u64 */
	struct buf losses; /* struct sum_loss */

	struct batch *batch;
	struct buf scratch;
	struct column_scratch columns;
	struct seal_chunk chunk;
	struct buf block;
	struct kv_batch *piece;
};

#define ARRAY(type, buf)       ((type *)(void *)(buf).bytes)
#define ARRAY_COUNT(type, buf) ((buf).count / sizeof(type))

static void seal_chunk_fini(struct seal_chunk *chunk)
{
	buf_fini(&chunk->ranks);
	buf_fini(&chunk->intervals);
	buf_fini(&chunk->reports);
	buf_fini(&chunk->losses);
	buf_fini(&chunk->places);
	buf_fini(&chunk->values);
}

static void seal_fini(struct seal *seal)
{
	buf_fini(&seal->intervals);
	buf_fini(&seal->ranked);
	buf_fini(&seal->ranks);
	buf_fini(&seal->corrupt);
	buf_fini(&seal->nobodys);
	id_map_free(seal->member_ids);
	buf_fini(&seal->members);
	buf_fini(&seal->places);
	buf_fini(&seal->units);
	buf_fini(&seal->tenants);
	buf_fini(&seal->items);
	buf_fini(&seal->nodes);
	buf_fini(&seal->values);
	buf_fini(&seal->losses);
	batch_free(seal->batch);
	buf_fini(&seal->scratch);
	column_scratch_fini(&seal->columns);
	seal_chunk_fini(&seal->chunk);
	buf_fini(&seal->block);
	kv_batch_free(seal->piece);
}

static int seal_compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* Sorts and leaves each once. */
static uint32_t seal_unique_u32(uint32_t *values, size_t count)
{
	uint32_t kept = 0;
	if (count > 1)
		qsort(values, count, sizeof(*values), seal_compare_u32);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || values[i] != values[i - 1])
			values[kept++] = values[i];
	return kept;
}

/* ---- what comes meanwhile ---- */

void store_note_late(struct store *store, struct key_batch key)
{
	if (!store->late.is_active || key.start_ns < store->late.from_ns ||
	        key.start_ns >= store->late.to_ns)
		return;
	if (store->late.count == store->late.capacity) {
		uint32_t capacity = store->late.capacity ? store->late.capacity * 2 : 64;
		struct key_batch *keys = realloc(store->late.keys, capacity * sizeof(*keys));
		if (!keys) {
			store->late.is_incomplete = true;
			return;
		}
		store->late.keys = keys;
		store->late.capacity = capacity;
	}
	store->late.keys[store->late.count++] = key;
}

static void seal_begin(struct seal *seal)
{
	struct store *store = seal->store;
	pthread_mutex_lock(&store->writer);
	store->late.is_active = true;
	store->late.is_incomplete = false;
	store->late.from_ns = seal->key.from_ns;
	store->late.to_ns = seal->key.to_ns;
	store->late.count = 0;
	seal->reopens = store->reopens;
	pthread_mutex_unlock(&store->writer);
}

static void seal_end(struct seal *seal)
{
	pthread_mutex_lock(&seal->store->writer);
	seal->store->late.is_active = false;
	pthread_mutex_unlock(&seal->store->writer);
}

/* Under writer. What was read is not what is there any more when kv was opened again. */
static bool seal_may_write(const struct seal *seal)
{
	return !seal->store->is_broken && seal->store->reopens == seal->reopens &&
	       !seal->store->late.is_incomplete;
}

/* ---- collecting ---- */

static uint32_t seal_find_member(const struct seal *seal, uint32_t tenant, uint32_t series)
{
	uint32_t key[2] = { tenant, series };
	return id_map_find(seal->member_ids, hash128_bytes(key, sizeof(key)));
}

static int seal_intern_member(
        struct seal *seal, uint32_t tenant, uint32_t series, uint32_t *ret_member)
{
	uint32_t key[2] = { tenant, series };
	bool is_added;
	int r = id_map_intern(
	        seal->member_ids, hash128_bytes(key, sizeof(key)), ret_member, &is_added);
	if (r < 0 || !is_added)
		return r;
	const struct dict *dict = seal->store->dict;
	struct seal_member member = {
		.id = *ret_member,
		.tenant = tenant,
		.service = sum_labels_service(&seal->labels, dict, series),
		.type = dict_get_series(dict, series)->type,
		.series = series,
		.instance = sum_labels_instance(&seal->labels, dict, series),
		.group = sum_labels_group(&seal->labels, dict, series),
	};
	buf_put(&seal->members, &member, sizeof(member));
	return seal->members.failed ? -ENOMEM : 0;
}

/* Is the member's unit of this round? */
static bool seal_is_wanted(const struct seal *seal, uint32_t member)
{
	if (seal->is_first)
		return true;
	uint32_t place = ARRAY(uint32_t, seal->places)[member];
	uint32_t unit = ARRAY(struct seal_member, seal->members)[place].unit;
	return unit >= seal->units_first && unit < seal->units_end;
}

/* Where the three columns of a batch stand: at the same series, the least there is left. */
struct seal_at {
	uint32_t row, coverage, loss;
};

static uint32_t seal_next_series(const struct batch *batch, const struct seal_at *at)
{
	uint32_t series = SERIES_NONE;
	if (at->row < batch->rows_count)
		series = batch->rows[at->row].series;
	if (at->coverage < batch->coverage_count && batch->coverage[at->coverage].series < series)
		series = batch->coverage[at->coverage].series;
	if (at->loss < batch->losses_count && batch->losses[at->loss].series < series)
		series = batch->losses[at->loss].series;
	return series;
}

static void seal_put_rows(struct seal *seal, const struct row *rows, uint32_t count)
{
	uint32_t *nodes = (void *)buf_reserve(&seal->nodes, count * sizeof(*nodes));
	uint64_t *values = (void *)buf_reserve(&seal->values, count * sizeof(*values));
	if (!nodes || !values)
		return;
	for (uint32_t i = 0; i < count; i++) {
		nodes[i] = rows[i].node;
		values[i] = rows[i].value;
	}
	seal->nodes.count += count * sizeof(*nodes);
	seal->values.count += count * sizeof(*values);
}

/* Takes one series' part of the batch, and moves behind it. */
static int seal_put_item(struct seal *seal, const struct batch *batch, uint32_t tenant,
        uint32_t series, uint32_t interval, struct seal_at *at)
{
	struct seal_at from = *at;
	struct seal_item item = { .interval = interval };
	while (at->row < batch->rows_count && batch->rows[at->row].series == series)
		at->row++;
	while (at->coverage < batch->coverage_count &&
	        batch->coverage[at->coverage].series == series)
		item.coverage_ns = batch->coverage[at->coverage++].ns;
	while (at->loss < batch->losses_count && batch->losses[at->loss].series == series)
		at->loss++;

	if (seal->is_first) {
		int r = seal_intern_member(seal, tenant, series, &item.member);
		if (r < 0)
			return r;
		ARRAY(struct seal_member, seal->members)[item.member].rows += at->row - from.row;
	} else {
		item.member = seal_find_member(seal, tenant, series);
	}
	if (seal->is_counting || item.member == ID_NONE || !seal_is_wanted(seal, item.member))
		return 0;

	item.has_coverage = at->coverage > from.coverage;
	item.rows_count = at->row - from.row;
	item.rows_first = ARRAY_COUNT(uint32_t, seal->nodes);
	item.losses_count = at->loss - from.loss;
	item.losses_first = ARRAY_COUNT(struct sum_loss, seal->losses);
	seal_put_rows(seal, batch->rows + from.row, item.rows_count);
	for (uint32_t i = from.loss; i < at->loss; i++) {
		struct sum_loss loss = { batch->losses[i].reason, batch->losses[i].count };
		buf_put(&seal->losses, &loss, sizeof(loss));
	}
	buf_put(&seal->items, &item, sizeof(item));
	bool has_failed = seal->nodes.failed || seal->values.failed || seal->losses.failed ||
	                  seal->items.failed;
	return has_failed ? -ENOMEM : 0;
}

static int seal_put_batch(
        struct seal *seal, const struct batch *batch, uint32_t tenant, uint32_t interval)
{
	struct seal_at at = { 0 };
	for (;;) {
		uint32_t series = seal_next_series(batch, &at);
		if (series == SERIES_NONE)
			break;
		int r = seal_put_item(seal, batch, tenant, series, interval, &at);
		if (r < 0)
			return r;
	}
	for (; seal->is_first && at.loss < batch->losses_count; at.loss++) {
		struct seal_loss loss = {
			.interval = interval,
			.loss = { batch->losses[at.loss].reason, batch->losses[at.loss].count },
		};
		buf_put(&seal->nobodys, &loss, sizeof(loss));
	}
	/* Items cost as much as a few rows. */
	if (seal->is_first && !seal->is_counting &&
	        ARRAY_COUNT(uint32_t, seal->nodes) +
	                        4 * ARRAY_COUNT(struct seal_item, seal->items) >
	                seal->store->options.seal_rows_max) {
		seal->is_counting = true;
		buf_fini(&seal->items);
		buf_fini(&seal->nodes);
		buf_fini(&seal->values);
		buf_fini(&seal->losses);
	}
	return seal->nobodys.failed ? -ENOMEM : 0;
}

/* Which interval a batch is that was seen in the first round, or ID_NONE: it came later. */
static uint32_t seal_find_interval(struct seal *seal, struct key_batch key)
{
	const struct seal_interval *intervals = ARRAY(struct seal_interval, seal->intervals);
	size_t count = ARRAY_COUNT(struct seal_interval, seal->intervals);
	while (seal->next_interval < count &&
	        key_batch_compare(intervals[seal->next_interval].key, key) < 0)
		seal->next_interval++;
	if (seal->next_interval == count ||
	        key_batch_compare(intervals[seal->next_interval].key, key) != 0)
		return ID_NONE;
	return seal->next_interval;
}

static bool seal_record_is_wanted(
        const struct seal *seal, uint32_t tenant, const struct record_batch *record)
{
	struct reader reader = record->series;
	uint64_t series = 0;
	if (seal->is_first)
		return true;
	for (uint32_t i = 0; i < record->series_count; i++) {
		series += reader_varint(&reader);
		uint32_t member = seal_find_member(seal, tenant, (uint32_t)series);
		if (member != ID_NONE && seal_is_wanted(seal, member))
			return true;
	}
	return false;
}

static int seal_collect_record(struct seal *seal, struct kv_bytes key_bytes, struct kv_bytes value)
{
	struct key_batch key;
	struct record_batch record;
	uint64_t end_ns;
	int r = keys_get_batch(key_bytes.bytes, key_bytes.count, &key);
	if (r < 0)
		return 0; /* nothing that the range of deletions is made of; readers count it */
	r = record_get_batch(key_bytes, value, &record);
	if (r == 0 && (key.stream >= seal->store->streams_count ||
	                      __builtin_add_overflow(key.start_ns, record.duration_ns, &end_ns)))
		r = -EBADMSG;
	uint32_t interval = (uint32_t)ARRAY_COUNT(struct seal_interval, seal->intervals);
	uint32_t tenant = r == 0 ? seal->store->streams[key.stream].tenant : 0;
	if (r == 0 && !seal->is_first)
		interval = seal_find_interval(seal, key);
	if (r == 0 && (interval == ID_NONE || !seal_record_is_wanted(seal, tenant, &record)))
		return 0;

	batch_reset(seal->batch);
	r = r < 0 ? r : record_unpack_batch(&record, key.start_ns, &seal->scratch, seal->batch);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT) {
		/* It stays where it is, for readers to count. */
		if (seal->is_first)
			buf_put(&seal->corrupt, &key, sizeof(key));
		return seal->corrupt.failed ? -ENOMEM : 0;
	}
	if (r < 0)
		return r;
	if (seal->is_first) {
		struct seal_interval new = { key, record.duration_ns, interval };
		buf_put(&seal->intervals, &new, sizeof(new));
		if (seal->intervals.failed)
			return -ENOMEM;
	}
	return seal_put_batch(seal, seal->batch, tenant, interval);
}

/* One visit to the gate. Leaves in `at` where to go on. */
static int seal_collect_stretch(struct seal *seal, struct key_batch *at, bool *ret_is_done)
{
	uint8_t from[KEYS_BATCH_BYTES];
	uint8_t to[KEYS_TIME_BYTES];
	uint64_t bytes = 0;
	int r = 0;
	keys_put_batch(*at, from);
	keys_put_time(seal->key.to_ns, to);
	AUTO(kv_iterator) it = kv_iterator_new(seal->store->kv, KV_BATCH,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ to, sizeof(to) });
	if (!it)
		return -ENOMEM;
	seal->labels = sum_labels_find(seal->store->dict);
	for (; r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct kv_bytes value = kv_iterator_value(it);
		struct key_batch of;
		r = seal_collect_record(seal, key, value);
		bytes += key.count + value.count;
		if (r == 0 && bytes >= SEAL_STRETCH_BYTES &&
		        keys_get_batch(key.bytes, key.count, &of) == 0) {
			*at = key_batch_next(of);
			return 0;
		}
	}
	*ret_is_done = true;
	return r < 0 ? r : kv_iterator_result(it);
}

static int seal_collect(struct seal *seal)
{
	struct key_batch at = { .start_ns = seal->key.from_ns };
	bool is_done = false;
	int r = 0;
	buf_reset(&seal->items);
	buf_reset(&seal->nodes);
	buf_reset(&seal->values);
	buf_reset(&seal->losses);
	seal->next_interval = 0;
	while (r == 0 && !is_done) {
		gate_enter(&seal->store->gate);
		r = seal_collect_stretch(seal, &at, &is_done);
		seal->nodes_count = dict_mark(seal->store->dict).nodes;
		gate_leave(&seal->store->gate);
	}
	return r;
}

/* ---- the order of things ---- */

static int seal_compare_ranked(const void *a, const void *b)
{
	const struct key_batch *x = &((const struct seal_interval *)a)->key;
	const struct key_batch *y = &((const struct seal_interval *)b)->key;
	if (x->stream != y->stream)
		return x->stream < y->stream ? -1 : 1;
	return key_batch_compare(*x, *y);
}

static int seal_compare_members(const void *a, const void *b)
{
	const struct seal_member *x = a;
	const struct seal_member *y = b;
	if (x->tenant != y->tenant)
		return x->tenant < y->tenant ? -1 : 1;
	if (x->service != y->service)
		return x->service < y->service ? -1 : 1;
	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	return x->series < y->series ? -1 : x->series > y->series;
}

static int seal_compare_items(const void *a, const void *b)
{
	const struct seal_item *x = a;
	const struct seal_item *y = b;
	if (x->member != y->member)
		return x->member < y->member ? -1 : 1;
	return x->interval < y->interval ? -1 : x->interval > y->interval;
}

static int seal_rank_intervals(struct seal *seal)
{
	size_t count = ARRAY_COUNT(struct seal_interval, seal->intervals);
	buf_put(&seal->ranked, seal->intervals.bytes, seal->intervals.count);
	uint32_t *ranks = (void *)buf_reserve(&seal->ranks, count * sizeof(*ranks));
	if (seal->ranked.failed || !ranks)
		return -ENOMEM;
	struct seal_interval *ranked = ARRAY(struct seal_interval, seal->ranked);
	qsort(ranked, count, sizeof(*ranked), seal_compare_ranked);
	for (size_t i = 0; i < count; i++)
		ranks[ranked[i].index] = (uint32_t)i;
	seal->ranks.count = count * sizeof(*ranks);
	return 0;
}

/* Members in order, and which unit each belongs to. */
static int seal_make_units(struct seal *seal)
{
	struct seal_member *members = ARRAY(struct seal_member, seal->members);
	size_t count = ARRAY_COUNT(struct seal_member, seal->members);
	uint32_t *places = (void *)buf_reserve(&seal->places, (count + 1) * sizeof(*places));
	if (!places)
		return -ENOMEM;
	seal->places.count = count * sizeof(*places);
	if (count > 1)
		qsort(members, count, sizeof(*members), seal_compare_members);

	struct seal_unit unit = { 0 };
	for (size_t i = 0; i < count; i++) {
		struct seal_member *member = &members[i];
		places[member->id] = (uint32_t)i;
		bool is_new = i > 0 && (members[i - 1].tenant != member->tenant ||
		                               members[i - 1].service != member->service ||
		                               members[i - 1].type != member->type);
		if (i > unit.members_first &&
		        (i - unit.members_first >= SEAL_UNIT_MEMBERS_MAX ||
		                unit.rows + member->rows > seal->store->options.seal_rows_max))
			is_new = true;
		if (is_new) {
			unit.members_end = (uint32_t)i;
			buf_put(&seal->units, &unit, sizeof(unit));
			unit = (struct seal_unit){ .members_first = (uint32_t)i };
		}
		if (i == 0 || members[i - 1].tenant != member->tenant)
			buf_put(&seal->tenants, &member->tenant, sizeof(member->tenant));
		unit.rows += member->rows;
		member->unit = (uint32_t)ARRAY_COUNT(struct seal_unit, seal->units);
	}
	unit.members_end = (uint32_t)count;
	if (count > 0)
		buf_put(&seal->units, &unit, sizeof(unit));
	return seal->units.failed || seal->tenants.failed ? -ENOMEM : 0;
}

static void seal_sort_items(struct seal *seal)
{
	struct seal_item *items = ARRAY(struct seal_item, seal->items);
	size_t count = ARRAY_COUNT(struct seal_item, seal->items);
	const uint32_t *places = ARRAY(uint32_t, seal->places);
	const uint32_t *ranks = ARRAY(uint32_t, seal->ranks);
	for (size_t i = 0; i < count; i++) {
		items[i].member = places[items[i].member];
		items[i].interval = ranks[items[i].interval];
	}
	if (count > 1)
		qsort(items, count, sizeof(*items), seal_compare_items);
}

/* ---- putting blocks ---- */

/* -EAGAIN: the store was opened again meanwhile, and everything has to be read anew. */
static int seal_write_piece(struct seal *seal)
{
	int r = -EAGAIN;
	pthread_mutex_lock(&seal->store->writer);
	if (seal_may_write(seal))
		r = store_write(seal->store, seal->piece, KV_UNSYNCED, "sealing a window");
	pthread_mutex_unlock(&seal->store->writer);
	kv_batch_reset(seal->piece);
	return r;
}

static struct kv_bytes seal_key(const struct seal *seal, uint32_t unit, enum keys_block_part part,
        uint32_t chunk, uint8_t bytes[KEYS_BLOCK_BYTES])
{
	struct key_block key = {
		.window = seal->key,
		.unit = unit,
		.part = part,
		.chunk = chunk,
	};
	keys_put_block(key, bytes);
	return (struct kv_bytes){ bytes, KEYS_BLOCK_BYTES };
}

/* Puts seal->block. */
static int seal_put_block(struct seal *seal, enum kv_family family, struct kv_bytes key)
{
	if (seal->block.failed)
		return -ENOMEM;
	gate_enter(&seal->store->gate); /* the writer may open kv again */
	kv_put(seal->store->kv, seal->piece, family, key, store_bytes(&seal->block));
	gate_leave(&seal->store->gate);
	return kv_batch_bytes(seal->piece) >= SEAL_PIECE_BYTES ? seal_write_piece(seal) : 0;
}

static void seal_window_bounds(
        struct key_window key, uint8_t from[KEYS_BLOCK_BYTES], uint8_t to[KEYS_BLOCK_BYTES + 1])
{
	struct key_block first = { .window = key };
	struct key_block last = { key, UINT32_MAX, (enum keys_block_part)UINT8_MAX, UINT32_MAX };
	keys_put_block(first, from);
	keys_put_block(last, to);
	to[KEYS_BLOCK_BYTES] = 0;
}

/* Removes what an earlier attempt at this generation left. */
static int seal_sweep(struct seal *seal)
{
	static const enum kv_family families[] = { KV_SUMS, KV_DETAIL };
	uint8_t from_bytes[KEYS_BLOCK_BYTES];
	uint8_t to_bytes[KEYS_BLOCK_BYTES + 1];
	struct kv_bytes from = { from_bytes, sizeof(from_bytes) };
	struct kv_bytes to = { to_bytes, sizeof(to_bytes) };
	bool has_any = false;
	seal_window_bounds(seal->key, from_bytes, to_bytes);
	kv_batch_reset(seal->piece);
	for (size_t i = 0; i < COUNT_OF(families); i++) {
		gate_enter(&seal->store->gate);
		struct kv_iterator *it = kv_iterator_new(seal->store->kv, families[i], from, to);
		bool is_there = it && kv_iterator_is_valid(it);
		int r = it ? kv_iterator_result(it) : -ENOMEM;
		kv_iterator_free(it);
		if (is_there)
			kv_delete_range(seal->store->kv, seal->piece, families[i], from, to);
		gate_leave(&seal->store->gate);
		if (r < 0)
			return r;
		has_any |= is_there;
	}
	return has_any ? seal_write_piece(seal) : 0;
}

/* ---- detail ---- */

static void seal_chunk_begin(struct seal_chunk *chunk)
{
	buf_reset(&chunk->ranks);
	buf_reset(&chunk->intervals);
	buf_reset(&chunk->reports);
	buf_reset(&chunk->losses);
	buf_reset(&chunk->places);
	buf_reset(&chunk->values);
}

static bool seal_chunk_has_failed(const struct seal_chunk *chunk)
{
	return chunk->ranks.failed || chunk->intervals.failed || chunk->reports.failed ||
	       chunk->losses.failed || chunk->places.failed || chunk->values.failed;
}

/* Ranks become the intervals that the chunk has, and places among them. */
static void seal_chunk_place_intervals(struct seal_chunk *chunk, const struct seal_interval *ranked)
{
	uint32_t *ranks = ARRAY(uint32_t, chunk->ranks);
	uint32_t count = seal_unique_u32(ranks, ARRAY_COUNT(uint32_t, chunk->ranks));
	struct detail_report *reports = ARRAY(struct detail_report, chunk->reports);
	struct detail_loss *losses = ARRAY(struct detail_loss, chunk->losses);
	for (uint32_t i = 0; i < count; i++) {
		const struct seal_interval *from = &ranked[ranks[i]];
		struct detail_interval interval = {
			.stream = from->key.stream,
			.seq = from->key.seq,
			.start_ns = from->key.start_ns,
			.duration_ns = from->duration_ns,
		};
		buf_put(&chunk->intervals, &interval, sizeof(interval));
	}
	for (size_t i = 0; i < ARRAY_COUNT(struct detail_report, chunk->reports); i++) {
		const uint32_t *at = bsearch(
		        &reports[i].interval, ranks, count, sizeof(*ranks), seal_compare_u32);
		reports[i].interval = (uint32_t)(at - ranks);
	}
	for (size_t i = 0; i < ARRAY_COUNT(struct detail_loss, chunk->losses); i++) {
		const uint32_t *at = bsearch(
		        &losses[i].interval, ranks, count, sizeof(*ranks), seal_compare_u32);
		losses[i].interval = (uint32_t)(at - ranks);
	}
}

static int seal_encode_chunk(
        struct seal *seal, struct kv_bytes key, uint32_t dictionary_count, uint64_t dictionary_hash)
{
	struct seal_chunk *chunk = &seal->chunk;
	struct detail_contents contents = {
		.dictionary_count = dictionary_count,
		.dictionary_hash = dictionary_hash,
		.intervals = ARRAY(struct detail_interval, chunk->intervals),
		.intervals_count = (uint32_t)ARRAY_COUNT(struct detail_interval, chunk->intervals),
		.reports = ARRAY(struct detail_report, chunk->reports),
		.reports_count = (uint32_t)ARRAY_COUNT(struct detail_report, chunk->reports),
		.places = ARRAY(uint32_t, chunk->places),
		.values = ARRAY(uint64_t, chunk->values),
		.rows_count = (uint32_t)ARRAY_COUNT(uint32_t, chunk->places),
		.losses = ARRAY(struct detail_loss, chunk->losses),
		.losses_count = (uint32_t)ARRAY_COUNT(struct detail_loss, chunk->losses),
	};
	if (seal_chunk_has_failed(chunk))
		return -ENOMEM;
	if (contents.intervals_count > DETAIL_INTERVALS_MAX ||
	        contents.reports_count > DETAIL_REPORTS_MAX ||
	        contents.losses_count > DETAIL_LOSSES_MAX)
		return -E2BIG;
	buf_reset(&seal->block);
	return detail_chunk_encode(&contents, key, COLUMN_FAST, &seal->columns, &seal->block);
}

/* What is known of the unit that is being written. */
struct seal_work {
	struct seal *seal;
	uint32_t number;
	struct seal_unit *unit;
	struct seal_item *items;
	size_t items_count;
	uint32_t *dictionary;
	uint32_t dictionary_count;
	uint64_t dictionary_hash;
};

static int seal_chunk_write(struct seal_work *work)
{
	struct seal *seal = work->seal;
	struct seal_chunk *chunk = &seal->chunk;
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	if (seal_chunk_has_failed(chunk))
		return -ENOMEM;
	if (chunk->ranks.count == 0)
		return 0;
	struct kv_bytes key = seal_key(
	        seal, work->number, KEYS_BLOCK_DETAIL, chunk->number, key_bytes);
	seal_chunk_place_intervals(chunk, ARRAY(struct seal_interval, seal->ranked));
	int r = seal_encode_chunk(seal, key, work->dictionary_count, work->dictionary_hash);
	r = r < 0 ? r : seal_put_block(seal, KV_DETAIL, key);
	seal_chunk_begin(chunk);
	chunk->number++;
	return r;
}

static size_t seal_chunk_room(const struct seal_chunk *chunk)
{
	size_t rows = ARRAY_COUNT(uint32_t, chunk->places);
	return rows < DETAIL_ROWS_AIM ? DETAIL_ROWS_AIM - rows : 0;
}

static int seal_chunk_put_rows(
        struct seal_work *work, const struct seal_item *item, uint32_t series)
{
	struct seal_chunk *chunk = &work->seal->chunk;
	const uint32_t *places = ARRAY(uint32_t, work->seal->nodes) + item->rows_first;
	const uint64_t *values = ARRAY(uint64_t, work->seal->values) + item->rows_first;
	uint32_t at = 0;
	do {
		uint32_t left = item->rows_count - at;
		size_t room = seal_chunk_room(chunk);
		uint32_t count = left < room ? left : (uint32_t)room;
		struct detail_report report = {
			.series = series,
			.interval = item->interval,
			.rows_first = (uint32_t)ARRAY_COUNT(uint32_t, chunk->places),
			.rows_count = count,
			.has_coverage = at == 0 && item->has_coverage,
			.coverage_ns = at == 0 ? item->coverage_ns : 0,
		};
		buf_put(&chunk->reports, &report, sizeof(report));
		buf_put(&chunk->ranks, &item->interval, sizeof(item->interval));
		if (count > 0) {
			buf_put(&chunk->places, places + at, count * sizeof(*places));
			buf_put(&chunk->values, values + at, count * sizeof(*values));
		}
		at += count;
		if (seal_chunk_room(chunk) == 0 ||
		        ARRAY_COUNT(struct detail_report, chunk->reports) >= SEAL_REPORTS_MAX) {
			int r = seal_chunk_write(work);
			if (r < 0)
				return r;
		}
	} while (at < item->rows_count);
	return 0;
}

static int seal_chunk_put_losses(
        struct seal_work *work, const struct seal_item *item, uint32_t series)
{
	struct seal_chunk *chunk = &work->seal->chunk;
	const struct sum_loss *losses = ARRAY(struct sum_loss, work->seal->losses);
	for (uint32_t i = 0; i < item->losses_count; i++) {
		const struct sum_loss *from = &losses[item->losses_first + i];
		struct detail_loss loss = { series, item->interval, from->reason, from->count };
		buf_put(&chunk->losses, &loss, sizeof(loss));
		buf_put(&chunk->ranks, &item->interval, sizeof(item->interval));
		if (ARRAY_COUNT(struct detail_loss, chunk->losses) >= SEAL_LOSSES_MAX) {
			int r = seal_chunk_write(work);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int seal_write_detail(struct seal_work *work)
{
	const struct seal_member *members = ARRAY(struct seal_member, work->seal->members);
	struct seal_chunk *chunk = &work->seal->chunk;
	int r = 0;
	seal_chunk_begin(chunk);
	chunk->number = 0;
	for (size_t i = 0; i < work->items_count && r == 0; i++) {
		const struct seal_item *item = &work->items[i];
		uint32_t series = members[item->member].series;
		if (item->rows_count > 0 || item->has_coverage)
			r = seal_chunk_put_rows(work, item, series);
		r = r < 0 ? r : seal_chunk_put_losses(work, item, series);
	}
	r = r < 0 ? r : seal_chunk_write(work);
	work->unit->chunks = chunk->number;
	return r;
}

/* ---- members ---- */

static int seal_compare_losses(const void *a, const void *b)
{
	const struct sum_loss *x = a;
	const struct sum_loss *y = b;
	return x->reason < y->reason ? -1 : x->reason > y->reason;
}

/* Adds up equal reasons. -EOVERFLOW. */
static int seal_add_up_losses(struct sum_loss *losses, size_t count, uint32_t *ret_count)
{
	uint32_t kept = 0;
	if (count > 1)
		qsort(losses, count, sizeof(*losses), seal_compare_losses);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || losses[kept - 1].reason != losses[i].reason)
			losses[kept++] = losses[i];
		else if (__builtin_add_overflow(
		                 losses[kept - 1].count, losses[i].count, &losses[kept - 1].count))
			return -EOVERFLOW;
	}
	*ret_count = kept;
	return 0;
}

/* The items [first, end) are one series seen by one stream. */
static int seal_put_member(
        struct seal_work *work, size_t first, size_t end, uint32_t series, uint32_t stream)
{
	struct seal_chunk *chunk = &work->seal->chunk;
	struct detail_report report = { .series = series, .interval = stream };
	bool has_report = false;
	AUTO_BUF all = { 0 };
	for (size_t i = first; i < end; i++) {
		const struct seal_item *item = &work->items[i];
		has_report |= item->rows_count > 0 || item->has_coverage;
		report.has_coverage |= item->has_coverage;
		if (__builtin_add_overflow(
		            report.coverage_ns, item->coverage_ns, &report.coverage_ns))
			return -EOVERFLOW;
		if (item->losses_count)
			buf_put(&all,
			        ARRAY(struct sum_loss, work->seal->losses) + item->losses_first,
			        item->losses_count * sizeof(struct sum_loss));
	}
	if (all.failed)
		return -ENOMEM;
	uint32_t count;
	struct sum_loss *losses = ARRAY(struct sum_loss, all);
	int r = seal_add_up_losses(losses, ARRAY_COUNT(struct sum_loss, all), &count);
	if (r < 0)
		return r;
	if (has_report)
		buf_put(&chunk->reports, &report, sizeof(report));
	for (uint32_t i = 0; i < count; i++) {
		struct detail_loss loss = { series, stream, losses[i].reason, losses[i].count };
		buf_put(&chunk->losses, &loss, sizeof(loss));
	}
	return 0;
}

/* The streams of all items, as intervals without time, and in ranks as numbers. */
static int seal_put_member_streams(struct seal_work *work)
{
	struct seal_chunk *chunk = &work->seal->chunk;
	const struct seal_interval *ranked = ARRAY(struct seal_interval, work->seal->ranked);
	for (size_t i = 0; i < work->items_count; i++) {
		uint32_t stream = ranked[work->items[i].interval].key.stream;
		buf_put(&chunk->ranks, &stream, sizeof(stream));
	}
	if (chunk->ranks.failed)
		return -ENOMEM;
	uint32_t *streams = ARRAY(uint32_t, chunk->ranks);
	uint32_t count = seal_unique_u32(streams, work->items_count);
	chunk->ranks.count = count * sizeof(*streams);
	for (uint32_t i = 0; i < count; i++) {
		struct detail_interval interval = {
			.stream = streams[i],
			.start_ns = work->seal->key.from_ns,
		};
		buf_put(&chunk->intervals, &interval, sizeof(interval));
	}
	return 0;
}

static int seal_write_members(struct seal_work *work)
{
	struct seal *seal = work->seal;
	struct seal_chunk *chunk = &seal->chunk;
	const struct seal_member *members = ARRAY(struct seal_member, seal->members);
	const struct seal_interval *ranked = ARRAY(struct seal_interval, seal->ranked);
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes key = seal_key(seal, work->number, KEYS_BLOCK_MEMBERS, 0, key_bytes);

	seal_chunk_begin(chunk);
	int r = seal_put_member_streams(work);
	for (size_t first = 0, end; first < work->items_count && r == 0; first = end) {
		const struct seal_item *item = &work->items[first];
		uint32_t stream = ranked[item->interval].key.stream;
		for (end = first + 1; end < work->items_count; end++)
			if (work->items[end].member != item->member ||
			        ranked[work->items[end].interval].key.stream != stream)
				break;
		const uint32_t *streams = ARRAY(uint32_t, chunk->ranks);
		const uint32_t *at = bsearch(&stream, streams, ARRAY_COUNT(uint32_t, chunk->ranks),
		        sizeof(*streams), seal_compare_u32);
		r = seal_put_member(
		        work, first, end, members[item->member].series, (uint32_t)(at - streams));
	}
	r = r < 0 ? r : seal_encode_chunk(seal, key, 0, 0);
	return r < 0 ? r : seal_put_block(seal, KV_SUMS, key);
}

/* ---- sums ---- */

static int seal_compare_groups(const void *a, const void *b)
{
	return sum_group_key_compare(a, b);
}

/* Nodes become places of the unit's dictionary. */
static int seal_make_dictionary(struct seal_work *work, struct buf *dictionary)
{
	struct seal *seal = work->seal;
	uint32_t *nodes = ARRAY(uint32_t, seal->nodes);
	AUTO(stack_set) set = stack_set_new(seal->nodes_count);
	if (!set)
		return -ENOMEM;
	for (size_t i = 0; i < work->items_count; i++)
		for (uint32_t j = 0; j < work->items[i].rows_count; j++)
			stack_set_add(set, nodes[work->items[i].rows_first + j]);
	work->dictionary_count = stack_set_rank(set);
	if (work->dictionary_count > SUMS_DICTIONARY_MAX)
		return -E2BIG;
	work->dictionary = (void *)buf_reserve(
	        dictionary, ((size_t)work->dictionary_count + 1) * sizeof(uint32_t));
	if (!work->dictionary)
		return -ENOMEM;
	stack_set_list(set, work->dictionary);
	work->dictionary_hash = sum_dictionary_hash(
	        (struct sum_dictionary){ work->dictionary, work->dictionary_count });
	for (size_t i = 0; i < work->items_count; i++) {
		uint32_t *of = nodes + work->items[i].rows_first;
		for (uint32_t j = 0; j < work->items[i].rows_count; j++)
			of[j] = stack_set_place(set, of[j]);
	}
	return 0;
}

static int seal_add_rows(const struct seal_work *work, const struct seal_item *item, uint64_t *to)
{
	const uint32_t *places = ARRAY(uint32_t, work->seal->nodes) + item->rows_first;
	const uint64_t *values = ARRAY(uint64_t, work->seal->values) + item->rows_first;
	bool is_overflown = false;
	for (uint32_t i = 0; i < item->rows_count; i++)
		is_overflown |= __builtin_add_overflow(to[places[i]], values[i], &to[places[i]]);
	return is_overflown ? -EOVERFLOW : 0;
}

/* One group: its members' rows in `values`, and its facts. */
static int seal_put_group(struct seal_work *work, const struct sum_group_key *key, uint64_t *values,
        struct sum_writer *writer)
{
	const struct seal_member *members = ARRAY(struct seal_member, work->seal->members);
	struct sum_group group = { .key = *key };
	AUTO_BUF losses = { 0 };
	AUTO_BUF instances = { 0 };
	int r = 0;
	memset(values, 0, work->dictionary_count * sizeof(*values));
	for (size_t i = 0; i < work->items_count && r == 0; i++) {
		const struct seal_item *item = &work->items[i];
		const struct seal_member *member = &members[item->member];
		if (sum_group_key_compare(&member->group, key) != 0)
			continue;
		r = seal_add_rows(work, item, values);
		if (__builtin_add_overflow(
		            group.coverage_ns, item->coverage_ns, &group.coverage_ns))
			r = -EOVERFLOW;
		if (item->losses_count)
			buf_put(&losses,
			        ARRAY(struct sum_loss, work->seal->losses) + item->losses_first,
			        item->losses_count * sizeof(struct sum_loss));
		if (member->instance)
			buf_put(&instances, &member->instance, sizeof(member->instance));
	}
	if (losses.failed || instances.failed)
		r = -ENOMEM;
	r = r < 0 ? r
	          : seal_add_up_losses(ARRAY(struct sum_loss, losses),
	                    ARRAY_COUNT(struct sum_loss, losses), &group.losses_count);
	if (r < 0)
		return r;
	group.losses = ARRAY(struct sum_loss, losses);
	group.instances_count = seal_unique_u32(
	        ARRAY(uint32_t, instances), ARRAY_COUNT(uint32_t, instances));
	group.instances = ARRAY(uint32_t, instances);
	return sum_writer_put(writer, &group, values);
}

static int seal_put_groups(struct seal_work *work, uint64_t *values, struct sum_writer *writer)
{
	const struct seal_member *members = ARRAY(struct seal_member, work->seal->members);
	uint32_t count = work->unit->members_end - work->unit->members_first;
	autofree struct sum_group_key *keys = malloc((size_t)count * sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		keys[i] = members[work->unit->members_first + i].group;
	qsort(keys, count, sizeof(*keys), seal_compare_groups);
	int r = 0;
	uint32_t groups = 0;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		if (i > 0 && sum_group_key_compare(&keys[i - 1], &keys[i]) == 0)
			continue;
		r = groups++ < SUMS_GROUPS_MAX ? seal_put_group(work, &keys[i], values, writer)
		                               : -E2BIG;
	}
	return r;
}

static int seal_write_sums(struct seal_work *work)
{
	struct seal *seal = work->seal;
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes key = seal_key(seal, work->number, KEYS_BLOCK_SUMS, 0, key_bytes);
	size_t count = (size_t)work->dictionary_count + 1;
	autofree uint64_t *totals = calloc(count, sizeof(*totals));
	autofree uint64_t *values = calloc(count, sizeof(*values));
	int r = totals && values ? 0 : -ENOMEM;
	for (size_t i = 0; i < work->items_count && r == 0; i++)
		r = seal_add_rows(work, &work->items[i], totals);
	if (r < 0)
		return r;

	AUTO(sum_writer) writer = sum_writer_new((struct sum_writer_options){
	        .from_ns = seal->key.from_ns,
	        .to_ns = seal->key.to_ns,
	        .dictionary = { work->dictionary, work->dictionary_count },
	        .totals = totals,
	        .effort = COLUMN_FAST,
	});
	if (!writer)
		return -ENOMEM;
	r = seal_put_groups(work, values, writer);
	buf_reset(&seal->block);
	r = r < 0 ? r : sum_writer_finish(writer, key, &seal->block);
	return r < 0 ? r : seal_put_block(seal, KV_SUMS, key);
}

/* ---- a round ---- */

static int seal_write_unit(struct seal *seal, uint32_t number, size_t *at)
{
	struct seal_unit *unit = &ARRAY(struct seal_unit, seal->units)[number];
	struct seal_item *items = ARRAY(struct seal_item, seal->items);
	size_t count = ARRAY_COUNT(struct seal_item, seal->items);
	size_t first = *at;
	while (*at < count && items[*at].member < unit->members_end)
		(*at)++;

	AUTO_BUF dictionary = { 0 };
	struct seal_work work = {
		.seal = seal,
		.number = number,
		.unit = unit,
		.items = items + first,
		.items_count = *at - first,
	};
	assert(work.items_count > 0);
	int r = seal_make_dictionary(&work, &dictionary);
	r = r < 0 ? r : seal_write_sums(&work);
	r = r < 0 ? r : seal_write_members(&work);
	return r < 0 ? r : seal_write_detail(&work);
}

static int seal_write_round(struct seal *seal)
{
	size_t at = 0;
	int r = 0;
	seal_sort_items(seal);
	for (uint32_t i = seal->units_first; i < seal->units_end && r == 0; i++)
		r = seal_write_unit(seal, i, &at);
	return r;
}

static int seal_write_rounds(struct seal *seal)
{
	const struct seal_unit *units = ARRAY(struct seal_unit, seal->units);
	uint32_t count = (uint32_t)ARRAY_COUNT(struct seal_unit, seal->units);
	int r = 0;
	if (!seal->is_counting) {
		seal->units_end = count;
		return seal_write_round(seal);
	}
	seal->is_first = false;
	seal->is_counting = false;
	while (seal->units_end < count && r == 0) {
		uint64_t rows = 0;
		seal->units_first = seal->units_end;
		do {
			rows += units[seal->units_end++].rows;
		} while (seal->units_end < count &&
		         rows + units[seal->units_end].rows <= seal->store->options.seal_rows_max);
		r = seal_collect(seal);
		r = r < 0 ? r : seal_write_round(seal);
	}
	return r;
}

/* ---- who was watching ---- */

static int seal_compare_nobodys(const void *a, const void *b)
{
	const struct seal_loss *x = a;
	const struct seal_loss *y = b;
	if (x->interval != y->interval)
		return x->interval < y->interval ? -1 : 1;
	return seal_compare_losses(&x->loss, &y->loss);
}

static int seal_write_watchers(struct seal *seal, uint32_t *ret_chunks)
{
	const struct seal_interval *ranked = ARRAY(struct seal_interval, seal->ranked);
	const uint32_t *ranks = ARRAY(uint32_t, seal->ranks);
	struct seal_loss *nobodys = ARRAY(struct seal_loss, seal->nobodys);
	size_t count = ARRAY_COUNT(struct seal_interval, seal->ranked);
	size_t losses_count = ARRAY_COUNT(struct seal_loss, seal->nobodys);
	uint32_t chunks = 0;
	size_t loss = 0;
	int r = 0;

	for (size_t i = 0; i < losses_count; i++)
		nobodys[i].interval = ranks[nobodys[i].interval];
	if (losses_count > 1)
		qsort(nobodys, losses_count, sizeof(*nobodys), seal_compare_nobodys);
	for (uint32_t first = 0; first < count && r == 0; first += SEAL_WATCHERS_MAX) {
		uint32_t end = count - first > SEAL_WATCHERS_MAX ? first + SEAL_WATCHERS_MAX
		                                                 : (uint32_t)count;
		uint8_t key_bytes[KEYS_BLOCK_BYTES];
		struct kv_bytes key = seal_key(
		        seal, KEYS_UNIT_NONE, KEYS_BLOCK_WATCHERS, chunks++, key_bytes);
		seal_chunk_begin(&seal->chunk);
		for (uint32_t i = first; i < end; i++)
			buf_put(&seal->chunk.ranks, &i, sizeof(i));
		for (; loss < losses_count && nobodys[loss].interval < end; loss++) {
			struct detail_loss nobodys_loss = { SERIES_NONE, nobodys[loss].interval,
				nobodys[loss].loss.reason, nobodys[loss].loss.count };
			buf_put(&seal->chunk.losses, &nobodys_loss, sizeof(nobodys_loss));
		}
		if (seal_chunk_has_failed(&seal->chunk))
			return -ENOMEM;
		seal_chunk_place_intervals(&seal->chunk, ranked);
		r = seal_encode_chunk(seal, key, 0, 0);
		r = r < 0 ? r : seal_put_block(seal, KV_SUMS, key);
	}
	*ret_chunks = chunks;
	return r;
}

/* ---- the commit ---- */

static int seal_compare_keys(const void *a, const void *b)
{
	return key_batch_compare(*(const struct key_batch *)a, *(const struct key_batch *)b);
}

static int seal_compare_key_to_interval(const void *key, const void *interval)
{
	return key_batch_compare(
	        *(const struct key_batch *)key, ((const struct seal_interval *)interval)->key);
}

/* Deletes the batches of [from_ns, end of the window) but those in `spared`, which is sorted. */
static void seal_delete_batches(struct seal *seal, struct kv_batch *write, uint64_t from_ns,
        const struct key_batch *spared, size_t spared_count)
{
	uint8_t from_bytes[KEYS_BATCH_BYTES];
	uint8_t to_bytes[KEYS_BATCH_BYTES];
	struct key_batch from = { .start_ns = from_ns };
	struct key_batch end = { .start_ns = seal->key.to_ns };
	for (size_t i = 0; i <= spared_count; i++) {
		struct key_batch to = i < spared_count ? spared[i] : end;
		if (key_batch_compare(from, to) < 0) {
			keys_put_batch(from, from_bytes);
			keys_put_batch(to, to_bytes);
			kv_delete_range(seal->store->kv, write, KV_BATCH,
			        (struct kv_bytes){ from_bytes, sizeof(from_bytes) },
			        (struct kv_bytes){ to_bytes, sizeof(to_bytes) });
		}
		from = key_batch_next(to);
	}
}

/*
 * Where the deletion may begin: at the beginning of time when nothing is open before the window. A
 * file holds batches of several windows, and goes only when a deletion covers all of it. Under
 * writer.
 */
static int seal_delete_from(const struct seal *seal, uint64_t *ret_from_ns)
{
	uint8_t to[KEYS_TIME_BYTES];
	keys_put_time(seal->key.from_ns, to);
	AUTO(kv_iterator) it = kv_iterator_new(seal->store->kv, KV_BATCH, (struct kv_bytes){ 0 },
	        (struct kv_bytes){ to, sizeof(to) });
	if (!it)
		return -ENOMEM;
	*ret_from_ns = kv_iterator_is_valid(it) ? seal->key.from_ns : 0;
	return kv_iterator_result(it);
}

/* What is to stay: what could not be read, and what came too late to be. Under writer. */
static int seal_list_spared(struct seal *seal, struct buf *spared)
{
	const struct store *store = seal->store;
	const struct seal_interval *intervals = ARRAY(struct seal_interval, seal->intervals);
	size_t count = ARRAY_COUNT(struct seal_interval, seal->intervals);
	buf_put(spared, seal->corrupt.bytes, seal->corrupt.count);
	for (uint32_t i = 0; i < store->late.count; i++)
		if (!bsearch(&store->late.keys[i], intervals, count, sizeof(*intervals),
		            seal_compare_key_to_interval))
			buf_put(spared, &store->late.keys[i], sizeof(store->late.keys[i]));
	if (spared->failed)
		return -ENOMEM;
	size_t spared_count = ARRAY_COUNT(struct key_batch, *spared);
	if (spared_count > 1)
		qsort(spared->bytes, spared_count, sizeof(struct key_batch), seal_compare_keys);
	return 0;
}

static int seal_put_window(struct seal *seal, const struct window *window, struct kv_batch *write)
{
	uint8_t key_bytes[KEYS_WINDOW_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	keys_put_window(seal->key, key_bytes);
	buf_reset(&seal->block);
	window_put(window, seal->key, key, &seal->block);
	if (seal->block.failed)
		return -ENOMEM;
	kv_put(seal->store->kv, write, KV_WINDOW, key, store_bytes(&seal->block));
	return 0;
}

/* Under writer. Readers see the batches, or the window: they are kept out for the write. */
static int seal_commit(struct seal *seal, const struct window *window)
{
	struct store *store = seal->store;
	AUTO(kv_batch) write = kv_batch_new();
	AUTO_BUF spared = { 0 };
	if (!write)
		return -ENOMEM;
	uint64_t from_ns = seal->key.from_ns;
	int r = seal_may_write(seal) ? seal_list_spared(seal, &spared) : -EAGAIN;
	r = r < 0 ? r : seal_delete_from(seal, &from_ns);
	r = r < 0 ? r : seal_put_window(seal, window, write);
	if (r == 0 && store->format_version_min < STORE_FORMAT_SEALED)
		r = store_put_format(store, write, STORE_FORMAT_SEALED);
	if (r < 0)
		return r;
	size_t spared_count = ARRAY_COUNT(struct key_batch, spared);
	seal_delete_batches(seal, write, from_ns, ARRAY(struct key_batch, spared), spared_count);

	gate_lock(&store->gate);
	r = window_list_reserve(&store->windows);
	r = r < 0 ? r : store_write(store, write, KV_SYNC, "sealing a window");
	if (r == 0) {
		store->format_version_min = STORE_FORMAT_SEALED;
		window_list_add(&store->windows, (struct window_entry){
		                                         .key = seal->key,
		                                         .first_ns = window->first_ns,
		                                         .last_ns = window->last_ns,
		                                         .batches = window->batches,
		                                         .sealed_ns = window->sealed_ns,
		                                 });
	}
	gate_unlock(&store->gate);
	if (r == 0 && spared_count == 0) {
		uint8_t from[KEYS_TIME_BYTES];
		uint8_t to[KEYS_TIME_BYTES];
		keys_put_time(from_ns, from);
		keys_put_time(seal->key.to_ns, to);
		/* Only for the space: compaction gives it back as well. */
		(void)kv_delete_files(store->kv, KV_BATCH, (struct kv_bytes){ from, sizeof(from) },
		        (struct kv_bytes){ to, sizeof(to) });
	}
	return r;
}

/* The window's record, from what was written. */
static int seal_describe(struct seal *seal, struct window *window)
{
	const struct seal_interval *intervals = ARRAY(struct seal_interval, seal->intervals);
	const struct seal_member *members = ARRAY(struct seal_member, seal->members);
	const struct seal_unit *units = ARRAY(struct seal_unit, seal->units);
	const uint32_t *tenants = ARRAY(uint32_t, seal->tenants);
	size_t count = ARRAY_COUNT(struct seal_interval, seal->intervals);
	window->first_ns = intervals[0].key.start_ns;
	window->last_ns = intervals[count - 1].key.start_ns;
	window->batches = count;
	window->sealed_ns = clock_unix_ns(seal->store->clock);
	window->tenants_count = (uint32_t)ARRAY_COUNT(uint32_t, seal->tenants);
	window->units_count = (uint32_t)ARRAY_COUNT(struct seal_unit, seal->units);
	window->tenants = calloc((size_t)window->tenants_count + 1, sizeof(*window->tenants));
	window->units = calloc((size_t)window->units_count + 1, sizeof(*window->units));
	if (!window->tenants || !window->units)
		return -ENOMEM;
	if (window->units_count > WINDOW_UNITS_MAX)
		return -E2BIG;

	gate_enter(&seal->store->gate);
	for (uint32_t i = 0; i < window->tenants_count; i++)
		snprintf(window->tenants[i], sizeof(window->tenants[i]), "%s",
		        seal->store->tenants[tenants[i]].name);
	gate_leave(&seal->store->gate);
	for (uint32_t i = 0, tenant = 0; i < window->units_count; i++) {
		const struct seal_member *member = &members[units[i].members_first];
		while (tenants[tenant] != member->tenant)
			tenant++;
		window->units[i] = (struct window_unit){
			.tenant = tenant,
			.service = member->service,
			.type = member->type,
			.chunks = units[i].chunks,
			.rows = units[i].rows,
		};
	}
	return 0;
}

static int seal_run(struct seal *seal)
{
	AUTO_WINDOW window = { 0 };
	int r = seal_sweep(seal);
	seal->is_first = true;
	r = r < 0 ? r : seal_collect(seal);
	if (r < 0 || seal->intervals.count == 0)
		return r;
	r = seal_rank_intervals(seal);
	r = r < 0 ? r : seal_make_units(seal);
	r = r < 0 ? r : seal_write_rounds(seal);
	r = r < 0 ? r : seal_write_watchers(seal, &window.watchers_chunks);
	r = r < 0 ? r : seal_write_piece(seal);
	r = r < 0 ? r : seal_describe(seal, &window);
	if (r < 0)
		return r;
	pthread_mutex_lock(&seal->store->writer);
	r = seal_commit(seal, &window);
	pthread_mutex_unlock(&seal->store->writer);
	return r;
}

/* ---- which windows ---- */

static int seal_window(struct store *store, struct key_window key)
{
	struct seal seal = { .store = store, .key = key };
	seal.member_ids = id_map_new(UINT32_MAX - 1);
	seal.batch = batch_new(store->dict);
	seal.piece = kv_batch_new();
	int r = seal.member_ids && seal.batch && seal.piece ? 0 : -ENOMEM;
	if (r == 0) {
		seal_begin(&seal);
		r = seal_run(&seal);
		if (r == -EOVERFLOW || r == -E2BIG)
			(void)seal_sweep(&seal); /* or by the next process that tries */
		seal_end(&seal);
	}
	seal_fini(&seal);
	return r;
}

static bool seal_is_unsealable(const struct store *store, uint64_t from_ns)
{
	for (uint32_t i = 0; i < store->unsealable_count; i++)
		if (store->unsealable[i] == from_ns)
			return true;
	return false;
}

/* So that it is not tried again and again; the next start tries once more. */
static int seal_note_unsealable(struct store *store, uint64_t from_ns)
{
	if (!store->unsealable)
		store->unsealable = calloc(SEAL_UNSEALABLE_MAX, sizeof(*store->unsealable));
	if (!store->unsealable)
		return -ENOMEM;
	uint32_t at = store->unsealable_count % SEAL_UNSEALABLE_MAX;
	if (store->unsealable_count < SEAL_UNSEALABLE_MAX)
		store->unsealable_count++;
	store->unsealable[at] = from_ns;
	return 0;
}

/* What came late waits until it is worth a generation. */
static bool seal_must_wait(const struct store *store, struct key_window key)
{
	uint64_t now_ns = clock_unix_ns(store->clock);
	for (uint32_t i = 0; key.generation > 0 && i < store->windows.count; i++) {
		const struct window_entry *entry = &store->windows.entries[i];
		if (entry->key.from_ns == key.from_ns && entry->key.to_ns == key.to_ns &&
		        entry->key.generation == key.generation - 1)
			return now_ns < entry->sealed_ns ||
			       now_ns - entry->sealed_ns < store->options.late_ns;
	}
	return false;
}

/* The next window that has batches. false: none that ends in time. */
static int seal_find_window(struct store *store, uint64_t after_ns, uint64_t until_ns,
        struct key_window *ret_key, bool *ret_must_wait, bool *ret_is_found)
{
	uint8_t from[KEYS_TIME_BYTES];
	uint8_t to[KEYS_TIME_BYTES];
	struct key_batch first;
	uint64_t window_ns = store->options.window_ns;
	*ret_is_found = false;
	keys_put_time(after_ns, from);
	keys_put_time(until_ns, to);

	gate_enter(&store->gate);
	struct kv_iterator *it = kv_iterator_new(store->kv, KV_BATCH,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ to, sizeof(to) });
	int r = it ? 0 : -ENOMEM;
	for (; it && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		if (keys_get_batch(key.bytes, key.count, &first) == 0) {
			*ret_is_found = true;
			break;
		}
	}
	r = r < 0 ? r : kv_iterator_result(it);
	kv_iterator_free(it);
	if (r == 0 && *ret_is_found) {
		struct key_window key = { .from_ns = first.start_ns - first.start_ns % window_ns };
		*ret_is_found = !__builtin_add_overflow(key.from_ns, window_ns, &key.to_ns) &&
		                key.to_ns <= until_ns;
		key.generation = window_list_generation(&store->windows, key.from_ns, key.to_ns);
		*ret_must_wait = seal_must_wait(store, key);
		*ret_key = key;
	}
	gate_leave(&store->gate);
	return r;
}

static int seal_make_writable(struct store *store)
{
	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	pthread_mutex_unlock(&store->writer);
	return r;
}

int store_seal(struct store *store, uint64_t until_ns)
{
	struct key_window key = { 0 };
	bool must_wait = false;
	bool is_found = false;

	pthread_mutex_lock(&store->sealing);
	int r = seal_make_writable(store);
	for (;;) {
		r = r < 0 ? r
		          : seal_find_window(
		                    store, key.to_ns, until_ns, &key, &must_wait, &is_found);
		if (r < 0 || !is_found)
			break;
		if (must_wait || seal_is_unsealable(store, key.from_ns))
			continue;
		r = -EAGAIN;
		for (int attempt = 0; attempt < SEAL_ATTEMPTS && r == -EAGAIN; attempt++) {
			r = seal_make_writable(store);
			r = r < 0 ? r : seal_window(store, key);
		}
		if (r == -EOVERFLOW || r == -E2BIG)
			r = seal_note_unsealable(store, key.from_ns);
	}
	pthread_mutex_unlock(&store->sealing);
	return r;
}

/* ---- what is sealed ---- */

static int seal_load_windows(struct store *store, struct window_list *list)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_WINDOW, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		AUTO_WINDOW window = { 0 };
		struct window_entry entry = { 0 };
		if (keys_get_window(key.bytes, key.count, &entry.key) < 0) {
			store->corrupt++; /* nobody can say when it was */
			continue;
		}
		int r = window_get(key, kv_iterator_value(it), entry.key, &window);
		if (r == -ENOMEM || window_list_reserve(list) < 0)
			return -ENOMEM;
		entry.is_corrupt = r < 0;
		entry.first_ns = r < 0 ? entry.key.from_ns : window.first_ns;
		entry.last_ns = r < 0 ? entry.key.from_ns : window.last_ns;
		entry.batches = window.batches;
		entry.sealed_ns = window.sealed_ns;
		window_list_add(list, entry);
	}
	return kv_iterator_result(it);
}

/* On failure the list stays as it was: readers go on by it until the next attempt. */
int store_load_windows(struct store *store)
{
	struct window_list list = { 0 };
	int r = seal_load_windows(store, &list);
	if (r < 0) {
		window_list_fini(&list);
		return r;
	}
	window_list_fini(&store->windows);
	store->windows = list;
	return 0;
}

/* Does one window have it? What cannot be read may have: then it must not be kept twice. */
static int seal_window_has(struct sealed *sealed, const struct window_entry *entry,
        struct key_batch key, bool *ret_has)
{
	int r = sealed_open(sealed, entry);
	for (uint32_t chunk = 0; r == 0 && chunk < sealed->window.watchers_chunks; chunk++) {
		struct detail_chunk opened;
		struct detail_heads heads;
		r = sealed_get_watchers(sealed, chunk, &opened, &heads);
		for (uint32_t i = 0; r == 0 && i < opened.intervals_count; i++)
			*ret_has |= heads.intervals[i].stream == key.stream &&
			            heads.intervals[i].seq == key.seq &&
			            heads.intervals[i].start_ns == key.start_ns;
	}
	if (sealed_is_corrupt(sealed, r)) {
		*ret_has = true;
		r = 0;
	}
	return r;
}

int store_is_sealed(struct store *store, struct key_batch key, bool *ret_is_sealed)
{
	struct window_span span;
	bool has = false;
	*ret_is_sealed = false;
	if (!window_list_span(&store->windows, key.start_ns, key.start_ns + 1, &span))
		return 0;
	AUTO_SEALED sealed;
	int r = sealed_init(&sealed, store);
	for (uint32_t i = 0; r == 0 && i < span.count && !has; i++) {
		const struct window_entry *entry = &store->windows.entries[span.first + i];
		if (entry->key.from_ns <= key.start_ns && key.start_ns < entry->key.to_ns)
			r = seal_window_has(&sealed, entry, key, &has);
	}
	*ret_is_sealed = has;
	return r;
}
