/*
 * Scanning and summing. A walk goes through a range in the order of the batches' keys: inside the
 * gate for one stretch, out for a moment, in again behind the last key. A stretch is a few
 * megabytes of open batches, or a span: sealed windows that overlap, with what is open in them.
 * What is sealed while a walk is out of the gate has the same keys as before, so nothing is read
 * twice; what was acknowledged before the walk began is read; of what arrives meanwhile, some.
 *
 * A sum takes the sums of a window that it wants as a whole, where their groups tell apart what it
 * wants told apart; otherwise detail. Whatever says who was there and how long (members, watchers)
 * is kept apart from the rows, and exact in both cases.
 *
 * Each record is checked (checksum over key and value, then ids against the dict) before
 * a number of it is used. One that fails is left out and counted.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/hash.h"
#include "storage/sealed.h"
#include "storage/store_private.h"
#include "storage/sum_groups.h"
#include "storage/sums.h"

#define STORE_STRETCH_BYTES (4u << 20)
#define STORE_GAP_NS_MIN    (50 * NS_PER_MS) /* what an agent's timer may be late */
#define SCAN_SLICE_ROWS     (1u << 20)       /* of sealed windows in memory */

#define ARRAY(type, buf)       ((type *)(void *)(buf).bytes)
#define ARRAY_COUNT(type, buf) ((buf).count / sizeof(type))

void store_read_lock(struct store *store)
{
	gate_enter(&store->gate);
}

void store_read_unlock(struct store *store)
{
	if (!gate_leave(&store->gate) || !symbols_cache_needs_sweep(store->symbols))
		return;
	/* Borrowed tables are given back; when others are still reading, the next one sweeps. */
	if (gate_try_lock(&store->gate)) {
		symbols_cache_sweep(store->symbols);
		gate_unlock(&store->gate);
	}
}

void store_read_error(struct store *store, char *ret_text, size_t text_bytes)
{
	kv_error(store->kv, ret_text, text_bytes);
}

struct dict *store_dict(struct store *store)
{
	return store->dict;
}

int store_find_series(struct store *store, const struct selector *selector, uint32_t **ret_series,
        uint32_t *ret_count)
{
	store_read_lock(store);
	int r = label_index_find(store->index, store->dict, selector, store->series_published,
	        ret_series, ret_count);
	store_read_unlock(store);
	return r;
}

/* ---- walking a range ---- */

struct walk {
	struct store *store;
	uint64_t from_ns;
	uint64_t to_ns;
	const bool *cancelled;
	/* Each record that opened; -EBADMSG makes it a corrupt one, other than 0 ends the walk. */
	int (*visit)(void *owner, struct key_batch key, const struct record_batch *record);
	/* Reads a span from walk->at on, and moves it. */
	int (*visit_span)(void *owner, struct walk *walk, const struct window_span *span);
	void *owner;
	struct key_batch at; /* what is before it was read */
	struct sealed sealed;
	uint64_t corrupt;
};

static bool walk_is_cancelled(const struct walk *walk)
{
	return walk->cancelled && __atomic_load_n(walk->cancelled, __ATOMIC_RELAXED);
}

static void walk_count_corrupt(struct walk *walk)
{
	walk->corrupt++;
	walk->store->corrupt++;
}

static int walk_record(struct walk *walk, struct kv_bytes key_bytes, struct kv_bytes value)
{
	struct key_batch key;
	struct record_batch record;
	int r = keys_get_batch(key_bytes.bytes, key_bytes.count, &key);
	r = r < 0 ? r : record_get_batch(key_bytes, value, &record);
	uint64_t end_ns;
	if (r == 0 && (key.stream >= walk->store->streams_count ||
	                      __builtin_add_overflow(key.start_ns, record.duration_ns, &end_ns)))
		r = -EBADMSG;
	r = r < 0 ? r : walk->visit(walk->owner, key, &record);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT) {
		walk_count_corrupt(walk);
		r = 0;
	}
	return r;
}

static struct kv_iterator *walk_iterator(const struct walk *walk, uint64_t to_ns)
{
	uint8_t from[KEYS_BATCH_BYTES];
	uint8_t to[KEYS_TIME_BYTES];
	keys_put_batch(walk->at, from);
	keys_put_time(to_ns, to);
	return kv_iterator_new(walk->store->kv, KV_BATCH, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
}

/* Open batches from walk->at on to to_ns, or as many as one stretch has. Inside the gate. */
static int walk_batches(struct walk *walk, uint64_t to_ns, bool may_break)
{
	AUTO(kv_iterator) it = walk_iterator(walk, to_ns);
	if (!it)
		return -ENOMEM;

	uint64_t bytes = 0;
	int r = 0;
	for (; r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct kv_bytes value = kv_iterator_value(it);
		struct key_batch read;
		if (walk_is_cancelled(walk))
			return -ECANCELED;
		r = walk_record(walk, key, value);
		bytes += key.count + value.count;
		/* There is no point in a break when the caller keeps the gate to himself. */
		if (may_break && bytes >= STORE_STRETCH_BYTES &&
		        keys_get_batch(key.bytes, key.count, &read) == 0) {
			walk->at = key_batch_next(read);
			return r;
		}
	}
	if (may_break)
		walk->at = (struct key_batch){ .start_ns = to_ns };
	return r ? r : kv_iterator_result(it);
}

/* Inside the gate. */
static int walk_stretch(struct walk *walk)
{
	bool may_break = gate_is_outermost(&walk->store->gate);
	struct window_span span;
	uint64_t to_ns = walk->to_ns;
	bool has_span = window_list_span(&walk->store->windows, walk->at.start_ns, to_ns, &span);
	if (has_span && walk->at.start_ns >= span.from_ns) {
		if (walk_is_cancelled(walk))
			return -ECANCELED;
		return walk->visit_span(walk->owner, walk, &span);
	}
	if (has_span)
		to_ns = span.from_ns;
	if (may_break)
		return walk_batches(walk, to_ns, true);
	int r = walk_batches(walk, to_ns, false);
	walk->at = (struct key_batch){ .start_ns = to_ns };
	return r;
}

static int walk_run(struct walk *walk)
{
	int r = sealed_init(&walk->sealed, walk->store);
	walk->at = (struct key_batch){ .start_ns = walk->from_ns };
	while (r == 0 && walk->at.start_ns < walk->to_ns) {
		store_read_lock(walk->store);
		r = walk_stretch(walk);
		store_read_unlock(walk->store);
	}
	sealed_fini(&walk->sealed);
	return r;
}

/* Of what walk->at and to_ns bound. */
static bool walk_has(const struct walk *walk, struct key_batch key)
{
	return key_batch_compare(walk->at, key) <= 0 && key.start_ns < walk->to_ns;
}

static struct key_batch interval_key(const struct detail_interval *interval)
{
	return (struct key_batch){ interval->start_ns, interval->stream, interval->seq };
}

/* 0 when the block is only to be left out: it is counted. */
static int walk_forgive(struct walk *walk, int result)
{
	if (!sealed_is_corrupt(&walk->sealed, result))
		return result;
	walk_count_corrupt(walk);
	return 0;
}

/* ---- which series are asked for ---- */

/* place[series] is its index in the array that was asked for, plus one. */
struct places {
	uint32_t *place;
	uint32_t count;
};

static int places_init(struct places *places, const uint32_t *series, uint32_t series_count)
{
	for (uint32_t i = 1; i < series_count; i++)
		if (series[i - 1] >= series[i])
			return -EINVAL;
	places->count = series_count ? series[series_count - 1] + 1 : 0;
	places->place = calloc((size_t)places->count + 1, sizeof(*places->place));
	if (!places->place)
		return -ENOMEM;
	for (uint32_t i = 0; i < series_count; i++)
		places->place[series[i]] = i + 1;
	return 0;
}

/* The index, or ID_NONE. */
static inline uint32_t places_find(const struct places *places, uint32_t series)
{
	return series < places->count ? places->place[series] - 1 : ID_NONE;
}

/* Does the record's directory name any of them? */
static bool places_meet(const struct places *places, const struct record_batch *record)
{
	struct reader reader = record->series;
	uint64_t series = 0;
	for (uint32_t i = 0; i < record->series_count; i++) {
		series += reader_varint(&reader);
		if (series >= places->count)
			return false;
		if (places->place[series])
			return true;
	}
	return false;
}

/* Is any of them in [first, last]? `series` is what the places were made of. */
static bool series_meet(
        const uint32_t *series, uint32_t series_count, uint32_t first, uint32_t last)
{
	uint32_t low = 0;
	uint32_t high = series_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (series[middle] < first)
			low = middle + 1;
		else
			high = middle;
	}
	return low < series_count && series[low] <= last;
}

/* ---- scanning ---- */

struct scan {
	struct store *store;
	bool is_limited;
	const uint32_t *series;
	uint32_t series_count;
	struct places places;
	struct batch *batch;
	struct buf scratch;
	store_visit visit;
	void *owner;

	/* A slice of a span: batches [at, ...) in order, and what blocks say of the sealed ones. */
	struct buf entries;  /* struct scan_entry */
	struct buf rows;     /* struct scan_row */
	struct buf coverage; /* struct scan_coverage */
	struct buf losses;   /* struct scan_loss */
	struct buf order;    /* u32: rows by entry */
	/* Of store_scan_sealed(): damage is not forgiven, and this is told instead of visit. */
	store_visit_sealed visit_sealed;
};

struct scan_entry {
	struct key_batch key;
	uint64_t duration_ns;
	bool is_sealed;
};

struct scan_row {
	uint32_t entry;
	struct row row;
};

struct scan_coverage {
	uint32_t entry;
	struct coverage coverage;
};

struct scan_loss {
	uint32_t entry;
	struct loss loss;
};

static void scan_limit(const struct scan *scan, struct batch *batch)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < batch->rows_count; i++)
		if (places_find(&scan->places, batch->rows[i].series) != ID_NONE)
			batch->rows[kept++] = batch->rows[i];
	batch->rows_count = kept;

	kept = 0;
	for (uint32_t i = 0; i < batch->coverage_count; i++)
		if (places_find(&scan->places, batch->coverage[i].series) != ID_NONE)
			batch->coverage[kept++] = batch->coverage[i];
	batch->coverage_count = kept;

	kept = 0;
	for (uint32_t i = 0; i < batch->losses_count; i++)
		if (batch->losses[i].series == SERIES_NONE ||
		        places_find(&scan->places, batch->losses[i].series) != ID_NONE)
			batch->losses[kept++] = batch->losses[i];
	batch->losses_count = kept;
}

/* What a visitor returns ends the scan whatever it is: it must not be taken for a bad record. */
#define SCAN_STOPPED 1

struct scan_visit {
	struct scan scan;
	int result;
};

/* Tells of scan->batch. */
static int scan_tell(struct scan_visit *visit, struct key_batch key)
{
	struct scan *scan = &visit->scan;
	if (scan->visit_sealed) {
		visit->result = scan->visit_sealed(scan->owner, key, scan->batch);
		return visit->result ? SCAN_STOPPED : 0;
	}
	const struct record_stream *who = &scan->store->streams[key.stream].who;
	struct store_stream stream = {
		.uuid = who->uuid,
		.epoch = who->epoch,
		.shard = who->shard,
		.seq = key.seq,
		.tenant = who->tenant,
	};
	visit->result = scan->visit(scan->owner, &stream, scan->batch);
	return visit->result ? SCAN_STOPPED : 0;
}

static int scan_record(void *owner, struct key_batch key, const struct record_batch *record)
{
	struct scan_visit *visit = owner;
	struct scan *scan = &visit->scan;

	batch_reset(scan->batch);
	if (scan->is_limited && !record->has_loss_of_none && !places_meet(&scan->places, record)) {
		scan->batch->start_ns = key.start_ns;
		scan->batch->duration_ns = record->duration_ns;
	} else {
		int r = record_unpack_batch(record, key.start_ns, &scan->scratch, scan->batch);
		if (r < 0)
			return r;
		if (scan->is_limited)
			scan_limit(scan, scan->batch);
	}
	return scan_tell(visit, key);
}

static int scan_entry_compare(const void *a, const void *b)
{
	return key_batch_compare(
	        ((const struct scan_entry *)a)->key, ((const struct scan_entry *)b)->key);
}

/* The entry of the slice with this key, or ID_NONE. */
static uint32_t scan_find_entry(const struct scan *scan, struct key_batch key)
{
	const struct scan_entry *entries = ARRAY(struct scan_entry, scan->entries);
	struct scan_entry wanted = { .key = key };
	const struct scan_entry *found = bsearch(&wanted, entries,
	        ARRAY_COUNT(struct scan_entry, scan->entries), sizeof(*entries),
	        scan_entry_compare);
	return found && found->is_sealed ? (uint32_t)(found - entries) : ID_NONE;
}

static bool scan_wants(const struct scan *scan, uint32_t series)
{
	return !scan->is_limited || places_find(&scan->places, series) != ID_NONE;
}

/*
 * 0: leave the block out. A window is read once per slice; what is wrong with it is counted with
 * the first one.
 */
static int scan_forgive(struct scan *scan, struct walk *walk, int result)
{
	if (!sealed_is_corrupt(&walk->sealed, result) || scan->visit_sealed)
		return result;
	struct key_batch first = { .start_ns = walk->sealed.key.from_ns };
	if (walk->at.start_ns == walk->from_ns || key_batch_compare(walk->at, first) <= 0)
		walk_count_corrupt(walk);
	return 0;
}

/* What a window has from walk->at on. */
static int scan_list_window(
        struct scan *scan, struct walk *walk, const struct window_entry *window, uint64_t *rows)
{
	struct sealed *sealed = &walk->sealed;
	int r = sealed_open(sealed, window);
	if (r < 0)
		return scan_forgive(scan, walk, r);
	for (uint32_t unit = 0; unit < sealed->window.units_count; unit++)
		*rows += sealed->window.units[unit].rows;
	for (uint32_t i = 0; r == 0 && i < sealed->window.watchers_chunks; i++) {
		struct detail_chunk chunk;
		struct detail_heads heads;
		r = sealed_get_watchers(sealed, i, &chunk, &heads);
		if (r < 0) {
			r = scan_forgive(scan, walk, r);
			continue;
		}
		for (uint32_t j = 0; j < chunk.intervals_count; j++) {
			struct scan_entry entry = {
				.key = interval_key(&heads.intervals[j]),
				.duration_ns = heads.intervals[j].duration_ns,
				.is_sealed = true,
			};
			if (walk_has(walk, entry.key))
				buf_put(&scan->entries, &entry, sizeof(entry));
		}
	}
	return r;
}

static int scan_list_open(struct scan *scan, const struct walk *walk, uint64_t to_ns)
{
	AUTO(kv_iterator) it = walk_iterator(walk, to_ns);
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct scan_entry entry = { 0 };
		if (keys_get_batch(key.bytes, key.count, &entry.key) == 0)
			buf_put(&scan->entries, &entry, sizeof(entry));
	}
	return kv_iterator_result(it);
}

static void scan_put_loss(struct scan *scan, uint32_t entry, const struct detail_loss *from)
{
	struct scan_loss loss = { entry, { from->series, from->reason, from->count } };
	buf_put(&scan->losses, &loss, sizeof(loss));
}

/* The rows, coverage and losses of one chunk that are of the slice. */
static int scan_take_chunk(struct scan *scan, struct sealed *sealed,
        const struct detail_chunk *chunk, const struct detail_heads *heads)
{
	struct detail_rows rows = { 0 };
	const uint32_t *nodes = sealed_nodes(sealed);
	bool has_rows = false;
	for (uint32_t i = 0; i < chunk->reports_count; i++) {
		const struct detail_report *report = &heads->reports[i];
		uint32_t entry = scan_find_entry(
		        scan, interval_key(&heads->intervals[report->interval]));
		if (entry == ID_NONE || !scan_wants(scan, report->series))
			continue;
		if (report->rows_count > 0 && !has_rows) {
			int r = detail_chunk_get_rows(chunk, sealed->detail_memory, &rows);
			if (r < 0)
				return r;
			has_rows = true;
		}
		for (uint32_t j = 0; j < report->rows_count; j++) {
			uint32_t at = report->rows_first + j;
			struct scan_row row = { entry, { report->series, nodes[rows.places[at]],
				                               detail_rows_value(&rows, at) } };
			buf_put(&scan->rows, &row, sizeof(row));
		}
		struct scan_coverage coverage = { entry, { report->series, report->coverage_ns } };
		if (report->has_coverage)
			buf_put(&scan->coverage, &coverage, sizeof(coverage));
	}
	for (uint32_t i = 0; i < chunk->losses_count; i++) {
		const struct detail_loss *loss = &heads->losses[i];
		uint32_t entry = scan_find_entry(
		        scan, interval_key(&heads->intervals[loss->interval]));
		if (entry != ID_NONE && scan_wants(scan, loss->series))
			scan_put_loss(scan, entry, loss);
	}
	return 0;
}

static int scan_take_detail(struct scan *scan, struct walk *walk, uint32_t unit, uint32_t number,
        const struct sum_block *block, struct key_batch last)
{
	struct detail_chunk chunk;
	struct detail_heads heads;
	int r = sealed_open_detail(&walk->sealed, unit, number, block, &chunk);
	if (r < 0)
		return r;
	if (chunk.first_ns > last.start_ns || chunk.last_ns < walk->at.start_ns)
		return 0;
	if (scan->is_limited && chunk.losses_count == 0 &&
	        !series_meet(
	                scan->series, scan->series_count, chunk.series_first, chunk.series_last))
		return 0;
	r = sealed_get_detail_heads(&walk->sealed, &chunk, &heads);
	return r < 0 ? r : scan_take_chunk(scan, &walk->sealed, &chunk, &heads);
}

static int scan_take_unit(
        struct scan *scan, struct walk *walk, uint32_t unit, struct key_batch last)
{
	struct sum_block block;
	int r = sealed_get_sums(&walk->sealed, unit, &block);
	if (r < 0)
		return scan_forgive(scan, walk, r);
	for (uint32_t i = 0; r == 0 && i < walk->sealed.window.units[unit].chunks; i++)
		r = scan_forgive(scan, walk, scan_take_detail(scan, walk, unit, i, &block, last));
	return r;
}

/* Everything of a window that is of the slice, whose last key is `last`. */
static int scan_take_window(struct scan *scan, struct walk *walk, const struct window_entry *window,
        struct key_batch last)
{
	struct sealed *sealed = &walk->sealed;
	int r = sealed_open(sealed, window);
	if (r < 0)
		return sealed_is_corrupt(sealed, r) && !scan->visit_sealed ? 0 : r;
	for (uint32_t i = 0; r == 0 && i < sealed->window.watchers_chunks; i++) {
		struct detail_chunk chunk;
		struct detail_heads heads;
		r = sealed_get_watchers(sealed, i, &chunk, &heads);
		if (r < 0) {
			/* It was counted when the window was listed. */
			r = sealed_is_corrupt(sealed, r) && !scan->visit_sealed ? 0 : r;
			continue;
		}
		for (uint32_t j = 0; j < chunk.losses_count; j++) {
			uint32_t entry = scan_find_entry(
			        scan, interval_key(&heads.intervals[heads.losses[j].interval]));
			if (entry != ID_NONE)
				scan_put_loss(scan, entry, &heads.losses[j]);
		}
	}
	for (uint32_t unit = 0; r == 0 && unit < sealed->window.units_count; unit++) {
		if (walk_is_cancelled(walk))
			return -ECANCELED;
		r = scan_take_unit(scan, walk, unit, last);
	}
	return r;
}

/* Rows by entry: places in scan->rows, and where each entry's begin. */
static int scan_order_rows(struct scan *scan, uint32_t **ret_first)
{
	size_t entries = ARRAY_COUNT(struct scan_entry, scan->entries);
	size_t count = ARRAY_COUNT(struct scan_row, scan->rows);
	const struct scan_row *rows = ARRAY(struct scan_row, scan->rows);
	uint32_t *first = calloc(entries + 2, sizeof(*first));
	buf_reset(&scan->order);
	uint32_t *order = (void *)buf_reserve(&scan->order, (count + 1) * sizeof(*order));
	if (!first || !order || count > UINT32_MAX) {
		free(first);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++)
		first[rows[i].entry + 2]++;
	for (size_t i = 2; i < entries + 2; i++)
		first[i] += first[i - 1];
	for (size_t i = 0; i < count; i++)
		order[first[rows[i].entry + 1]++] = (uint32_t)i;
	*ret_first = first;
	return 0;
}

static int scan_compare_coverage(const void *a, const void *b)
{
	uint32_t x = ((const struct scan_coverage *)a)->entry;
	uint32_t y = ((const struct scan_coverage *)b)->entry;
	return x < y ? -1 : x > y;
}

static int scan_compare_losses(const void *a, const void *b)
{
	uint32_t x = ((const struct scan_loss *)a)->entry;
	uint32_t y = ((const struct scan_loss *)b)->entry;
	return x < y ? -1 : x > y;
}

/* Where the coverage and losses of the entries are that were not told yet. */
struct scan_at {
	size_t coverage;
	size_t loss;
};

/* The batch of a sealed entry, as it went in. */
static int scan_build(struct scan *scan, uint32_t index, const uint32_t *first, struct scan_at *at)
{
	const struct scan_entry *entry = &ARRAY(struct scan_entry, scan->entries)[index];
	const struct scan_row *rows = ARRAY(struct scan_row, scan->rows);
	const uint32_t *order = ARRAY(uint32_t, scan->order);
	const struct scan_coverage *coverage = ARRAY(struct scan_coverage, scan->coverage);
	const struct scan_loss *losses = ARRAY(struct scan_loss, scan->losses);
	int r = 0;
	batch_reset(scan->batch);
	scan->batch->start_ns = entry->key.start_ns;
	scan->batch->duration_ns = entry->duration_ns;
	for (uint32_t i = first[index]; i < first[index + 1] && r == 0; i++) {
		const struct row *row = &rows[order[i]].row;
		r = batch_add_row(scan->batch, row->series, row->node, row->value);
	}
	for (; at->coverage < ARRAY_COUNT(struct scan_coverage, scan->coverage) &&
	        coverage[at->coverage].entry == index && r == 0;
	        at->coverage++)
		r = batch_add_coverage(scan->batch, coverage[at->coverage].coverage.series,
		        coverage[at->coverage].coverage.ns);
	for (; at->loss < ARRAY_COUNT(struct scan_loss, scan->losses) &&
	        losses[at->loss].entry == index && r == 0;
	        at->loss++)
		r = batch_add_loss(scan->batch, losses[at->loss].loss.series,
		        losses[at->loss].loss.reason, losses[at->loss].loss.count);
	return r < 0 ? r : batch_settle(scan->batch);
}

/* Tells of all entries of the slice, open ones from the disk. */
static int scan_tell_slice(struct scan_visit *visit, struct walk *walk, uint64_t to_ns)
{
	struct scan *scan = &visit->scan;
	const struct scan_entry *entries = ARRAY(struct scan_entry, scan->entries);
	uint32_t count = (uint32_t)ARRAY_COUNT(struct scan_entry, scan->entries);
	struct scan_at at = { 0 };
	autofree uint32_t *first = NULL;
	int r = scan_order_rows(scan, &first);
	if (r < 0)
		return r;
	if (scan->coverage.count)
		qsort(scan->coverage.bytes, ARRAY_COUNT(struct scan_coverage, scan->coverage),
		        sizeof(struct scan_coverage), scan_compare_coverage);
	if (scan->losses.count)
		qsort(scan->losses.bytes, ARRAY_COUNT(struct scan_loss, scan->losses),
		        sizeof(struct scan_loss), scan_compare_losses);

	AUTO(kv_iterator) it = scan->visit_sealed ? NULL : walk_iterator(walk, to_ns);
	if (!it && !scan->visit_sealed)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		if (entries[i].is_sealed) {
			r = scan_build(scan, i, first, &at);
			r = r < 0 ? r : scan_tell(visit, entries[i].key);
			continue;
		}
		/* Keys that are none were not listed. */
		for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
			struct kv_bytes bytes = kv_iterator_key(it);
			struct key_batch key;
			if (keys_get_batch(bytes.bytes, bytes.count, &key) == 0 &&
			        key_batch_compare(key, entries[i].key) == 0)
				break;
		}
		if (kv_iterator_is_valid(it))
			r = walk_record(walk, kv_iterator_key(it), kv_iterator_value(it));
		else
			r = kv_iterator_result(it);
	}
	return r;
}

/*
 * A slice of some windows and, unless only they are asked for, of what is open in their time: as
 * many batches as hold about SCAN_SLICE_ROWS. Moves walk->at behind it.
 */
static int scan_slice(struct scan_visit *visit, struct walk *walk,
        const struct window_entry *windows, uint32_t windows_count, uint64_t to_ns)
{
	struct scan *scan = &visit->scan;
	uint64_t rows = 0;
	int r = 0;
	buf_reset(&scan->entries);
	buf_reset(&scan->rows);
	buf_reset(&scan->coverage);
	buf_reset(&scan->losses);
	for (uint32_t i = 0; i < windows_count && r == 0; i++)
		r = scan_list_window(scan, walk, &windows[i], &rows);
	if (r == 0 && !scan->visit_sealed)
		r = scan_list_open(scan, walk, to_ns);
	if (r == 0 && scan->entries.failed)
		r = -ENOMEM;
	if (r < 0)
		return r;

	struct scan_entry *entries = ARRAY(struct scan_entry, scan->entries);
	size_t count = ARRAY_COUNT(struct scan_entry, scan->entries);
	size_t slices = (size_t)(rows / SCAN_SLICE_ROWS) + 1;
	size_t in_slice = count / slices + 1;
	struct key_batch end = { .start_ns = to_ns };
	if (count > 1)
		qsort(entries, count, sizeof(*entries), scan_entry_compare);
	if (in_slice < count) {
		end = key_batch_next(entries[in_slice - 1].key);
		scan->entries.count = in_slice * sizeof(*entries);
		count = in_slice;
	}
	for (uint32_t i = 0; i < windows_count && r == 0 && count > 0; i++)
		r = scan_take_window(scan, walk, &windows[i], entries[count - 1].key);
	if (r == 0 && (scan->rows.failed || scan->coverage.failed || scan->losses.failed))
		r = -ENOMEM;
	r = r < 0 ? r : scan_tell_slice(visit, walk, to_ns);
	walk->at = end;
	return r;
}

static int scan_span(void *owner, struct walk *walk, const struct window_span *span)
{
	uint64_t to_ns = span->to_ns < walk->to_ns ? span->to_ns : walk->to_ns;
	return scan_slice(
	        owner, walk, &walk->store->windows.entries[span->first], span->count, to_ns);
}

static void scan_fini(struct scan *scan)
{
	batch_free(scan->batch);
	buf_fini(&scan->scratch);
	free(scan->places.place);
	buf_fini(&scan->entries);
	buf_fini(&scan->rows);
	buf_fini(&scan->coverage);
	buf_fini(&scan->losses);
	buf_fini(&scan->order);
}

int store_scan(struct store *store, uint64_t from_ns, uint64_t to_ns, const uint32_t *series,
        uint32_t series_count, store_visit visit, void *owner)
{
	struct scan_visit scan = {
		.scan = { .store = store,
		        .is_limited = series,
		        .series = series,
		        .series_count = series_count,
		        .visit = visit,
		        .owner = owner },
	};
	struct walk walk = {
		.store = store,
		.from_ns = from_ns,
		.to_ns = to_ns,
		.visit = scan_record,
		.visit_span = scan_span,
		.owner = &scan,
	};

	int r = series ? places_init(&scan.scan.places, series, series_count) : 0;
	scan.scan.batch = batch_new(store->dict);
	if (r == 0 && !scan.scan.batch)
		r = -ENOMEM;
	r = r < 0 ? r : walk_run(&walk);
	scan_fini(&scan.scan);
	return r == SCAN_STOPPED ? scan.result : r;
}

int store_scan_sealed(struct store *store, const struct window_entry *window,
        store_visit_sealed visit, void *owner)
{
	struct scan_visit scan = {
		.scan = { .store = store, .visit_sealed = visit, .owner = owner },
	};
	struct walk walk = {
		.store = store,
		.from_ns = window->key.from_ns,
		.to_ns = window->key.to_ns,
		.at = { .start_ns = window->key.from_ns },
		.owner = &scan,
	};
	int r = sealed_init(&walk.sealed, store);
	scan.scan.batch = batch_new(store->dict);
	if (!scan.scan.batch)
		r = -ENOMEM;
	while (r == 0 && walk.at.start_ns < walk.to_ns) {
		store_read_lock(store);
		r = scan_slice(&scan, &walk, window, 1, walk.to_ns);
		store_read_unlock(store);
	}
	sealed_fini(&walk.sealed);
	scan_fini(&scan.scan);
	return r == SCAN_STOPPED ? scan.result : r;
}

/* ---- summing ---- */

/* One who watches: all streams of a uuid and tenant. */
struct observer {
	bool is_matched;
	bool is_seen;
	uint64_t intervals;
	uint64_t covered_until_ns;
	uint64_t missing_ns;
	uint64_t first_ns;
	uint64_t last_ns;
	uint64_t lost[LOSS_REASON_MAX + 1]; /* nobody's */
};

/* What is known of one of the series asked for. */
struct summed_series {
	uint64_t period;
	uint32_t group;    /* index into the distinct groups */
	uint32_t instance; /* string id of the label's value, 0 for none */
	bool is_recorded;
	bool is_met;
	uint64_t coverage_ns;
};

struct summing {
	struct store *store;
	const struct store_sum_options *options;
	struct places places;
	struct summed_series *series;
	uint32_t *groups; /* distinct, ascending */
	uint32_t groups_count;
	struct sums *sums;

	struct id_map *observer_ids;
	struct observer *observers;
	uint32_t observers_capacity;
	uint32_t *observer_of; /* by stream: its observer plus one */
	uint32_t observer_of_count;

	struct batch *batch;
	struct buf scratch;
	struct completeness completeness;

	/* For what is sealed. */
	uint64_t *units; /* service and type of the series asked for: ascending, distinct */
	uint32_t units_count;
	bool is_pending; /* intervals go to `pending` */
	struct buf pending;
	struct stack_sums *stacks;
	struct buf keys;   /* struct sum_group_key */
	uint32_t *keys_of; /* by series: its key plus one */
	uint32_t keys_of_count;
};

static void summing_fini(struct summing *summing)
{
	free(summing->places.place);
	free(summing->series);
	free(summing->groups);
	sums_free(summing->sums);
	id_map_free(summing->observer_ids);
	free(summing->observers);
	free(summing->observer_of);
	batch_free(summing->batch);
	buf_fini(&summing->scratch);
	free(summing->units);
	buf_fini(&summing->pending);
	stack_sums_free(summing->stacks);
	buf_fini(&summing->keys);
	free(summing->keys_of);
}

/* Adds, or says that the sum is past 64 bits. */
static int sum_add(uint64_t *sum, uint64_t value)
{
	return __builtin_add_overflow(*sum, value, sum) ? -EOVERFLOW : 0;
}

static int summing_compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int summing_compare_units(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static int summing_init_groups(struct summing *summing)
{
	const struct store_sum_options *options = summing->options;
	uint32_t count = options->series_count;
	summing->groups = malloc(((size_t)count + 1) * sizeof(*summing->groups));
	if (!summing->groups)
		return -ENOMEM;
	if (count)
		memcpy(summing->groups, options->groups, count * sizeof(*summing->groups));
	qsort(summing->groups, count, sizeof(*summing->groups), summing_compare_ids);
	for (uint32_t i = 0; i < count; i++)
		if (i == 0 || summing->groups[i] != summing->groups[summing->groups_count - 1])
			summing->groups[summing->groups_count++] = summing->groups[i];
	return 0;
}

/* What the dict says of each series, so that the walk need not ask it per row. In the gate. */
static int summing_init_series(struct summing *summing)
{
	const struct store_sum_options *options = summing->options;
	const struct dict *dict = summing->store->dict;
	uint32_t instance = dict_find_string(dict, "instance", 8);
	uint32_t recorded = dict_find_string(dict, "recorded", 8);
	uint32_t yes = dict_find_string(dict, "true", 4);
	uint32_t known = dict_mark(dict).series;
	struct sum_labels labels = sum_labels_find(dict);

	for (uint32_t i = 0; i < options->series_count; i++) {
		uint32_t id = options->series[i];
		struct summed_series *series = &summing->series[i];
		if (id >= known)
			return -EINVAL;
		const uint32_t *group = bsearch(&options->groups[i], summing->groups,
		        summing->groups_count, sizeof(*summing->groups), summing_compare_ids);
		series->group = (uint32_t)(group - summing->groups);
		series->period = dict_get_series(dict, id)->period;
		if (instance != ID_NONE)
			series->instance = dict_label_value(dict, id, instance);
		if (recorded != ID_NONE && yes != ID_NONE)
			series->is_recorded = dict_label_value(dict, id, recorded) == yes;
		summing->units[i] = (uint64_t)sum_labels_service(&labels, dict, id) << 32 |
		                    dict_get_series(dict, id)->type;
	}

	qsort(summing->units, options->series_count, sizeof(*summing->units),
	        summing_compare_units);
	for (uint32_t i = 0; i < options->series_count; i++)
		if (i == 0 || summing->units[i] != summing->units[summing->units_count - 1])
			summing->units[summing->units_count++] = summing->units[i];
	return 0;
}

static int summing_init(struct summing *summing)
{
	const struct store_sum_options *options = summing->options;
	struct store *store = summing->store;
	int r = places_init(&summing->places, options->series, options->series_count);
	r = r < 0 ? r : summing_init_groups(summing);
	if (r < 0)
		return r;
	summing->series = calloc((size_t)options->series_count + 1, sizeof(*summing->series));
	summing->observer_ids = id_map_new(UINT32_MAX - 1);
	summing->batch = batch_new(store->dict);
	summing->units = malloc(((size_t)options->series_count + 1) * sizeof(*summing->units));
	if (!summing->series || !summing->observer_ids || !summing->batch || !summing->units)
		return -ENOMEM;

	store_read_lock(store);
	uint32_t nodes_count = dict_mark(store->dict).nodes;
	r = summing_init_series(summing);
	store_read_unlock(store);
	if (r < 0)
		return r;

	uint64_t fixed = options->series_count * (sizeof(*summing->series) + 16) +
	                 (uint64_t)summing->places.count * sizeof(*summing->places.place);
	if (fixed > options->memory_max)
		return -E2BIG;
	summing->sums = sums_new(
	        summing->groups, summing->groups_count, nodes_count, options->memory_max - fixed);
	return summing->sums ? 0 : -ENOMEM;
}

/* Which observer a stream belongs to, made when he is new. */
static int summing_observer(
        struct summing *summing, uint32_t stream, struct observer **ret_observer)
{
	if (stream >= summing->observer_of_count) {
		uint32_t count = summing->store->streams_count;
		uint32_t *grown = realloc(summing->observer_of, count * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + summing->observer_of_count, 0,
		        (count - summing->observer_of_count) * sizeof(*grown));
		summing->observer_of = grown;
		summing->observer_of_count = count;
	}
	if (summing->observer_of[stream]) {
		*ret_observer = &summing->observers[summing->observer_of[stream] - 1];
		return 0;
	}

	const struct record_stream *who = &summing->store->streams[stream].who;
	uint8_t key[KEYS_AGENT_BYTES_MAX];
	size_t key_count = keys_put_agent(&who->uuid, who->tenant, key);
	uint32_t count = id_map_count(summing->observer_ids);
	if (count == summing->observers_capacity) {
		uint32_t capacity = count ? count * 2 : 16;
		struct observer *observers = realloc(
		        summing->observers, capacity * sizeof(*observers));
		if (!observers)
			return -ENOMEM;
		summing->observers = observers;
		summing->observers_capacity = capacity;
	}
	uint32_t id;
	bool added;
	int r = id_map_intern(summing->observer_ids, hash128_bytes(key, key_count), &id, &added);
	if (r < 0)
		return r;
	if (added)
		summing->observers[id] = (struct observer){ 0 };
	summing->observer_of[stream] = id + 1;
	*ret_observer = &summing->observers[id];
	return 0;
}

/* Batches of one observer come in order of their start, several of the same start included. */
static void observer_see(struct observer *observer, uint64_t start_ns, uint64_t duration_ns)
{
	uint64_t end_ns = start_ns + duration_ns; /* walk_record() saw that it fits */
	observer->intervals++;
	if (!observer->is_seen) {
		observer->is_seen = true;
		observer->first_ns = start_ns;
		observer->covered_until_ns = start_ns;
	}
	if (start_ns > observer->covered_until_ns &&
	        start_ns - observer->covered_until_ns > STORE_GAP_NS_MIN)
		observer->missing_ns += start_ns - observer->covered_until_ns;
	if (end_ns > observer->covered_until_ns)
		observer->covered_until_ns = end_ns;
	if (end_ns > observer->last_ns)
		observer->last_ns = end_ns;
}

static void summing_meet(struct summing *summing, struct summed_series *series)
{
	struct completeness *to = &summing->completeness;
	if (series->is_met)
		return;
	series->is_met = true;
	to->series++;
	to->has_recorded |= series->is_recorded;
	if (to->period_min == 0 || series->period < to->period_min)
		to->period_min = series->period;
	if (series->period > to->period_max)
		to->period_max = series->period;
}

static int summing_add_rows(struct summing *summing, bool *is_matched)
{
	const struct batch *batch = summing->batch;
	uint32_t id = SERIES_NONE;
	struct summed_series *series = NULL;
	uint64_t value = 0;
	uint64_t samples = 0;

	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		uint64_t in_unit;
		if (row->series != id) {
			id = row->series;
			uint32_t place = places_find(&summing->places, id);
			series = place == ID_NONE ? NULL : &summing->series[place];
			if (series) {
				summing_meet(summing, series);
				*is_matched = true;
			}
		}
		if (!series)
			continue;
		if (__builtin_mul_overflow(row->value, series->period, &in_unit) ||
		        __builtin_add_overflow(value, in_unit, &value) ||
		        __builtin_add_overflow(samples, row->value, &samples))
			return -EOVERFLOW;
		int r = sums_add(summing->sums, series->group, row->node, in_unit);
		if (r < 0)
			return r;
	}
	int r = sum_add(&summing->completeness.value, value);
	return r < 0 ? r : sum_add(&summing->completeness.samples, samples);
}

static int summing_add_coverage(struct summing *summing, bool *is_matched)
{
	const struct batch *batch = summing->batch;
	int r = 0;
	for (uint32_t i = 0; i < batch->coverage_count && r == 0; i++) {
		uint32_t place = places_find(&summing->places, batch->coverage[i].series);
		if (place == ID_NONE)
			continue;
		struct summed_series *series = &summing->series[place];
		summing_meet(summing, series);
		*is_matched = true;
		r = sum_add(&series->coverage_ns, batch->coverage[i].ns);
		r = r < 0 ? r : sum_add(&summing->completeness.coverage_ns, batch->coverage[i].ns);
	}
	return r;
}

static int summing_add_losses(struct summing *summing, struct observer *observer, bool *is_matched)
{
	const struct batch *batch = summing->batch;
	int r = 0;
	for (uint32_t i = 0; i < batch->losses_count && r == 0; i++) {
		const struct loss *loss = &batch->losses[i];
		uint32_t reason = loss->reason <= LOSS_REASON_MAX ? loss->reason : 0;
		if (loss->series == SERIES_NONE) {
			r = sum_add(&observer->lost[reason], loss->count);
		} else if (places_find(&summing->places, loss->series) != ID_NONE) {
			*is_matched = true;
			r = sum_add(&summing->completeness.lost[reason], loss->count);
		}
	}
	return r;
}

/* An interval of a span, kept until all of them are known: they are seen in order. */
struct pending {
	uint64_t start_ns;
	uint64_t duration_ns;
	uint32_t observer;
};

static int pending_compare(const void *a, const void *b)
{
	uint64_t x = ((const struct pending *)a)->start_ns;
	uint64_t y = ((const struct pending *)b)->start_ns;
	return x < y ? -1 : x > y;
}

static int summing_record(void *owner, struct key_batch key, const struct record_batch *record)
{
	struct summing *summing = owner;
	bool is_met = places_meet(&summing->places, record);
	bool is_matched = false;

	batch_reset(summing->batch);
	if (is_met || record->has_loss_of_none) {
		int r = record_unpack_batch(
		        record, key.start_ns, &summing->scratch, summing->batch);
		if (r < 0)
			return r;
	}
	/* From here on the record is good, and whatever goes wrong is not its fault. */
	struct observer *observer;
	int r = summing_observer(summing, key.stream, &observer);
	if (r < 0)
		return r;
	if (summing->is_pending) {
		struct pending pending = { key.start_ns, record->duration_ns,
			(uint32_t)(observer - summing->observers) };
		buf_put(&summing->pending, &pending, sizeof(pending));
		if (summing->pending.failed)
			return -ENOMEM;
	} else {
		observer_see(observer, key.start_ns, record->duration_ns);
	}
	r = summing_add_losses(summing, observer, &is_matched);
	if (r == 0 && is_met) {
		r = summing_add_rows(summing, &is_matched);
		r = r < 0 ? r : summing_add_coverage(summing, &is_matched);
	}
	observer->is_matched |= is_matched;
	return r;
}

/* ---- summing what is sealed ---- */

static void summing_see_pending(struct summing *summing)
{
	struct pending *pending = ARRAY(struct pending, summing->pending);
	size_t count = ARRAY_COUNT(struct pending, summing->pending);
	bool is_sorted = true;
	for (size_t i = 1; i < count && is_sorted; i++)
		is_sorted = pending[i - 1].start_ns <= pending[i].start_ns;
	if (!is_sorted)
		qsort(pending, count, sizeof(*pending), pending_compare);
	for (size_t i = 0; i < count; i++)
		observer_see(&summing->observers[pending[i].observer], pending[i].start_ns,
		        pending[i].duration_ns);
	buf_reset(&summing->pending);
}

/* The group of sums that a series is in, remembered. */
static int summing_group_key(
        struct summing *summing, uint32_t series, const struct sum_group_key **ret_key)
{
	const struct dict *dict = summing->store->dict;
	if (series >= summing->keys_of_count) {
		uint32_t count = dict_mark(dict).series;
		uint32_t *grown = realloc(summing->keys_of, count * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + summing->keys_of_count, 0,
		        (count - summing->keys_of_count) * sizeof(*grown));
		summing->keys_of = grown;
		summing->keys_of_count = count;
	}
	if (summing->keys_of[series] == 0) {
		struct sum_labels labels = sum_labels_find(dict);
		struct sum_group_key key = sum_labels_group(&labels, dict, series);
		buf_put(&summing->keys, &key, sizeof(key));
		if (summing->keys.failed)
			return -ENOMEM;
		summing->keys_of[series] = (uint32_t)ARRAY_COUNT(
		        struct sum_group_key, summing->keys);
	}
	*ret_key = &ARRAY(struct sum_group_key, summing->keys)[summing->keys_of[series] - 1];
	return 0;
}

static struct summed_series *summing_find(struct summing *summing, uint32_t series)
{
	uint32_t place = places_find(&summing->places, series);
	return place == ID_NONE ? NULL : &summing->series[place];
}

/* Zeroes over a dictionary. */
static struct stack_sums *summing_stacks(struct summing *summing, uint32_t count)
{
	if (summing->stacks && stack_sums_count(summing->stacks) == count) {
		stack_sums_reset(summing->stacks);
	} else {
		stack_sums_free(summing->stacks);
		summing->stacks = stack_sums_new(count);
	}
	return summing->stacks;
}

/* What is in summing->stacks, of one period, to a group; `samples` is what it adds up to. */
static int summing_add_stacks(struct summing *summing, uint32_t group, uint64_t period,
        const uint32_t *nodes, const uint32_t *order, uint64_t samples)
{
	const uint64_t *values;
	uint64_t value = 0;
	int r = stack_sums_get(summing->stacks, &values);
	r = r < 0 ? r
	          : sums_add_all(summing->sums, group, nodes, order, values,
	                    stack_sums_count(summing->stacks), period);
	if (r == 0 && __builtin_mul_overflow(samples, period, &value))
		r = -EOVERFLOW;
	r = r < 0 ? r : sum_add(&summing->completeness.value, value);
	return r < 0 ? r : sum_add(&summing->completeness.samples, samples);
}

/* What is asked for of one group of a block of sums. */
enum {
	CHOICE_UNKNOWN = -2,
	CHOICE_NOTHING = -1
}; /* else the number of a group that is asked for */

static int summing_compare_group(const void *key, const void *group)
{
	return sum_group_key_compare(key, &((const struct sum_group *)group)->key);
}

/*
 * Which group asked for each group of the block belongs to. *ret_fits false: one holds series of
 * several.
 */
static int summing_choose(struct summing *summing, const struct sum_block *block,
        const struct sum_group *groups, const struct detail_chunk *members,
        const struct detail_heads *heads, int64_t *choices, bool *ret_fits)
{
	*ret_fits = true;
	for (uint32_t i = 0; i < block->groups_count; i++)
		choices[i] = CHOICE_UNKNOWN;
	for (uint32_t i = 0; i < members->reports_count; i++) {
		uint32_t id = heads->reports[i].series;
		const struct summed_series *series = summing_find(summing, id);
		const struct sum_group_key *key;
		int r = summing_group_key(summing, id, &key);
		if (r < 0)
			return r;
		const struct sum_group *group = bsearch(
		        key, groups, block->groups_count, sizeof(*groups), summing_compare_group);
		if (!group)
			return -EBADMSG;
		int64_t choice = series ? (int64_t)series->group : CHOICE_NOTHING;
		int64_t *to = &choices[group - groups];
		if (*to != CHOICE_UNKNOWN && *to != choice)
			*ret_fits = false;
		*to = choice;
	}
	return 0;
}

/* All of the block is one group of the question, and of one period. */
static bool summing_is_total(
        const struct sum_block *block, const int64_t *choices, uint32_t *ret_group)
{
	int64_t only = CHOICE_UNKNOWN;
	for (uint32_t i = 0; i < block->groups_count; i++) {
		if (choices[i] == CHOICE_UNKNOWN)
			continue;
		if (only != CHOICE_UNKNOWN && choices[i] != only)
			return false;
		only = choices[i];
	}
	*ret_group = (uint32_t)only;
	return only >= 0 && block->period > 0;
}

static int summing_add_groups(struct summing *summing, struct sealed *sealed,
        const struct sum_block *block, const struct sum_group *groups, int64_t *choices)
{
	const uint32_t *order;
	int r = sum_block_get_order(block, sealed->sums_memory, &order);
	for (uint32_t i = 0; i < block->groups_count && r == 0; i++) {
		int64_t choice = choices[i];
		uint64_t samples = 0;
		if (choice < 0)
			continue;
		struct stack_sums *stacks = summing_stacks(summing, block->dictionary_count);
		if (!stacks)
			return -ENOMEM;
		for (uint32_t j = i; j < block->groups_count && r == 0; j++) {
			if (choices[j] != choice || groups[j].key.period != groups[i].key.period)
				continue;
			choices[j] = CHOICE_NOTHING;
			r = sum_block_add_group(block, sealed->sums_memory, j, stacks);
			r = r < 0 ? r : sum_add(&samples, groups[j].samples);
		}
		r = r < 0 ? r
		          : summing_add_stacks(summing, (uint32_t)choice, groups[i].key.period,
		                    sealed_nodes(sealed), order, samples);
	}
	return r;
}

/*
 * The rows of a unit from its sums. *ret_fits false: nothing was added, detail has to be asked.
 * When something is wrong after a part was added, nothing can be left out any more: that ends it.
 */
static int summing_add_sums(struct summing *summing, struct sealed *sealed,
        const struct sum_block *block, const struct detail_chunk *members,
        const struct detail_heads *heads, bool *ret_fits)
{
	const struct sum_group *groups;
	uint32_t group;
	autofree int64_t *choices = malloc(((size_t)block->groups_count + 1) * sizeof(*choices));
	if (!choices)
		return -ENOMEM;
	int r = sum_block_get_groups(block, sealed->sums_memory, &groups);
	r = r < 0 ? r : summing_choose(summing, block, groups, members, heads, choices, ret_fits);
	if (r < 0 || !*ret_fits)
		return r;
	if (!summing_is_total(block, choices, &group)) {
		r = summing_add_groups(summing, sealed, block, groups, choices);
		if (r == -EBADMSG)
			sealed->failed = r;
		return r;
	}
	struct stack_sums *stacks = summing_stacks(summing, block->dictionary_count);
	if (!stacks)
		return -ENOMEM;
	r = sum_block_add_total(block, sealed->sums_memory, stacks);
	return r < 0 ? r
	             : summing_add_stacks(summing, group, block->period, sealed_nodes(sealed), NULL,
	                       block->samples);
}

static int summing_match_stream(struct summing *summing, uint32_t stream)
{
	struct observer *observer;
	int r = summing_observer(summing, stream, &observer);
	if (r == 0)
		observer->is_matched = true;
	return r;
}

/* Who was watching, how long, and what was lost: of the reports and losses that are wanted. */
static int summing_add_heads(struct summing *summing, const struct walk *walk, bool is_whole,
        const struct detail_chunk *chunk, const struct detail_heads *heads)
{
	int r = 0;
	for (uint32_t i = 0; i < chunk->reports_count && r == 0; i++) {
		const struct detail_report *report = &heads->reports[i];
		const struct detail_interval *interval = &heads->intervals[report->interval];
		struct summed_series *series = summing_find(summing, report->series);
		if (!series || (!is_whole && !walk_has(walk, interval_key(interval))))
			continue;
		summing_meet(summing, series);
		r = summing_match_stream(summing, interval->stream);
		r = r < 0 ? r : sum_add(&series->coverage_ns, report->coverage_ns);
		r = r < 0 ? r : sum_add(&summing->completeness.coverage_ns, report->coverage_ns);
	}
	for (uint32_t i = 0; i < chunk->losses_count && r == 0; i++) {
		const struct detail_loss *loss = &heads->losses[i];
		const struct detail_interval *interval = &heads->intervals[loss->interval];
		uint32_t reason = loss->reason <= LOSS_REASON_MAX ? loss->reason : 0;
		if (!summing_find(summing, loss->series) ||
		        (!is_whole && !walk_has(walk, interval_key(interval))))
			continue;
		r = summing_match_stream(summing, interval->stream);
		r = r < 0 ? r : sum_add(&summing->completeness.lost[reason], loss->count);
	}
	return r;
}

static bool summing_wants_heads(
        struct summing *summing, const struct detail_chunk *chunk, const struct detail_heads *heads)
{
	for (uint32_t i = 0; i < chunk->reports_count; i++)
		if (summing_find(summing, heads->reports[i].series))
			return true;
	for (uint32_t i = 0; i < chunk->losses_count; i++)
		if (summing_find(summing, heads->losses[i].series))
			return true;
	return false;
}

/* Detail of one unit, added up over its dictionary as long as group and period stay the same. */
struct detailing {
	struct summing *summing;
	struct walk *walk;
	const struct sum_block *block;
	const struct summed_series *of; /* any series of that group and period; NULL: nothing yet */
	struct buf wanted;              /* u8 per report */
};

static int detailing_flush(struct detailing *detailing)
{
	const struct summed_series *of = detailing->of;
	struct summing *summing = detailing->summing;
	uint64_t samples = 0;
	const uint64_t *values;
	detailing->of = NULL;
	int r = of ? stack_sums_get(summing->stacks, &values) : 0;
	if (!of || r < 0)
		return r;
	for (uint32_t i = 0; i < stack_sums_count(summing->stacks) && r == 0; i++)
		r = sum_add(&samples, values[i]);
	return r < 0 ? r
	             : summing_add_stacks(summing, of->group, of->period,
	                       sealed_nodes(&detailing->walk->sealed), NULL, samples);
}

/* Rows of several groups or periods, one by one. */
static int detailing_add_mixed(struct detailing *detailing, const struct detail_chunk *chunk,
        const struct detail_heads *heads)
{
	struct summing *summing = detailing->summing;
	struct sealed *sealed = &detailing->walk->sealed;
	const uint8_t *wanted = detailing->wanted.bytes;
	const uint32_t *nodes = sealed_nodes(sealed);
	struct detail_rows rows;
	int r = detail_chunk_get_rows(chunk, sealed->detail_memory, &rows);
	for (uint32_t i = 0; i < chunk->reports_count && r == 0; i++) {
		const struct detail_report *report = &heads->reports[i];
		if (!wanted[i])
			continue;
		const struct summed_series *series = summing_find(summing, report->series);
		for (uint32_t j = 0; j < report->rows_count && r == 0; j++) {
			uint32_t at = report->rows_first + j;
			uint64_t value = detail_rows_value(&rows, at);
			uint64_t in_unit;
			if (__builtin_mul_overflow(value, series->period, &in_unit))
				return -EOVERFLOW;
			r = sums_add(summing->sums, series->group, nodes[rows.places[at]], in_unit);
			r = r < 0 ? r : sum_add(&summing->completeness.value, in_unit);
			r = r < 0 ? r : sum_add(&summing->completeness.samples, value);
		}
	}
	return r;
}

/* Rows of one group and period. */
static int detailing_add_alike(struct detailing *detailing, const struct detail_chunk *chunk,
        const struct summed_series *of, bool is_all)
{
	struct summing *summing = detailing->summing;
	struct sealed *sealed = &detailing->walk->sealed;
	int r = 0;
	if (detailing->of &&
	        (detailing->of->group != of->group || detailing->of->period != of->period))
		r = detailing_flush(detailing);
	if (r == 0 && !detailing->of && !summing_stacks(summing, chunk->dictionary_count))
		r = -ENOMEM;
	if (r < 0)
		return r;
	detailing->of = of;
	r = detail_chunk_sum(chunk, sealed->detail_memory, is_all ? NULL : detailing->wanted.bytes,
	        summing->stacks);
	if (r == -EBADMSG)
		sealed->failed = r; /* a part may be in the sums already */
	return r;
}

static int detailing_add_chunk(struct detailing *detailing, const struct detail_chunk *chunk,
        const struct detail_heads *heads)
{
	struct summing *summing = detailing->summing;
	const struct summed_series *of = NULL;
	bool is_all = true;
	bool is_mixed = false;
	buf_reset(&detailing->wanted);
	for (uint32_t i = 0; i < chunk->reports_count; i++) {
		const struct detail_report *report = &heads->reports[i];
		const struct summed_series *series = summing_find(summing, report->series);
		bool is_wanted = series && report->rows_count > 0 &&
		                 walk_has(detailing->walk,
		                         interval_key(&heads->intervals[report->interval]));
		buf_put_u8(&detailing->wanted, is_wanted);
		is_all &= is_wanted || report->rows_count == 0;
		if (!is_wanted)
			continue;
		is_mixed |= of && (of->group != series->group || of->period != series->period);
		of = series;
	}
	if (detailing->wanted.failed)
		return -ENOMEM;
	if (!of)
		return 0;
	return is_mixed ? detailing_add_mixed(detailing, chunk, heads)
	                : detailing_add_alike(detailing, chunk, of, is_all);
}

static int detailing_chunk(struct detailing *detailing, uint32_t unit, uint32_t number)
{
	struct summing *summing = detailing->summing;
	struct walk *walk = detailing->walk;
	struct detail_chunk chunk;
	struct detail_heads heads;
	int r = sealed_open_detail(&walk->sealed, unit, number, detailing->block, &chunk);
	if (r < 0)
		return r;
	if (chunk.first_ns >= walk->to_ns || chunk.last_ns < walk->at.start_ns)
		return 0;
	if (chunk.losses_count == 0 &&
	        !series_meet(summing->options->series, summing->options->series_count,
	                chunk.series_first, chunk.series_last))
		return 0;
	r = sealed_get_detail_heads(&walk->sealed, &chunk, &heads);
	if (r < 0 || !summing_wants_heads(summing, &chunk, &heads))
		return r;
	r = detailing_add_chunk(detailing, &chunk, &heads);
	return r < 0 ? r : summing_add_heads(summing, walk, false, &chunk, &heads);
}

static int summing_add_detail(
        struct summing *summing, struct walk *walk, uint32_t unit, const struct sum_block *block)
{
	struct detailing detailing = { .summing = summing, .walk = walk, .block = block };
	int r = 0;
	for (uint32_t i = 0; i < walk->sealed.window.units[unit].chunks && r == 0; i++) {
		r = walk_is_cancelled(walk) ? -ECANCELED : detailing_chunk(&detailing, unit, i);
		r = walk_forgive(walk, r);
	}
	r = r < 0 ? r : detailing_flush(&detailing);
	buf_fini(&detailing.wanted);
	return r;
}

/* A unit of a window that is wanted as a whole. */
static int summing_whole_unit(struct summing *summing, struct walk *walk, uint32_t unit)
{
	struct sealed *sealed = &walk->sealed;
	struct detail_chunk members;
	struct detail_heads heads;
	struct sum_block block;
	bool fits = false;
	int r = sealed_get_members(sealed, unit, &members, &heads);
	bool has_members = r == 0;
	if (r < 0 && !sealed_is_corrupt(sealed, r))
		return r;
	if (has_members && !summing_wants_heads(summing, &members, &heads))
		return 0;
	if (!has_members)
		walk_count_corrupt(walk); /* detail says the same, at more cost */
	r = sealed_get_sums(sealed, unit, &block);
	if (r == 0 && has_members)
		r = summing_add_sums(summing, sealed, &block, &members, &heads, &fits);
	if (r == 0 && fits)
		r = summing_add_heads(summing, walk, true, &members, &heads);
	else if (r == 0)
		r = summing_add_detail(summing, walk, unit, &block);
	return walk_forgive(walk, r);
}

static int summing_cut_unit(struct summing *summing, struct walk *walk, uint32_t unit)
{
	struct sum_block block;
	int r = sealed_get_sums(&walk->sealed, unit, &block);
	r = r < 0 ? r : summing_add_detail(summing, walk, unit, &block);
	return walk_forgive(walk, r);
}

static int summing_watchers(struct summing *summing, struct walk *walk, uint32_t number)
{
	struct detail_chunk chunk;
	struct detail_heads heads;
	struct observer *observer;
	int r = sealed_get_watchers(&walk->sealed, number, &chunk, &heads);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < chunk.intervals_count && r == 0; i++) {
		const struct detail_interval *interval = &heads.intervals[i];
		if (!walk_has(walk, interval_key(interval)))
			continue;
		r = summing_observer(summing, interval->stream, &observer);
		if (r < 0)
			break;
		struct pending pending = { interval->start_ns, interval->duration_ns,
			(uint32_t)(observer - summing->observers) };
		buf_put(&summing->pending, &pending, sizeof(pending));
	}
	for (uint32_t i = 0; i < chunk.losses_count && r == 0; i++) {
		const struct detail_loss *loss = &heads.losses[i];
		const struct detail_interval *interval = &heads.intervals[loss->interval];
		uint32_t reason = loss->reason <= LOSS_REASON_MAX ? loss->reason : 0;
		if (loss->series != SERIES_NONE || !walk_has(walk, interval_key(interval)))
			continue;
		r = summing_observer(summing, interval->stream, &observer);
		r = r < 0 ? r : sum_add(&observer->lost[reason], loss->count);
	}
	return r == 0 && summing->pending.failed ? -ENOMEM : r;
}

/* Has any series that is asked for this service and type? */
static bool summing_wants_unit(const struct summing *summing, const struct window_unit *unit)
{
	uint64_t key = (uint64_t)unit->service << 32 | unit->type;
	return bsearch(
	        &key, summing->units, summing->units_count, sizeof(key), summing_compare_units);
}

static int summing_window(
        struct summing *summing, struct walk *walk, const struct window_entry *window)
{
	struct sealed *sealed = &walk->sealed;
	struct key_batch first = { .start_ns = window->key.from_ns };
	bool is_whole = key_batch_compare(walk->at, first) <= 0 && window->key.to_ns <= walk->to_ns;
	int r = sealed_open(sealed, window);
	if (r < 0)
		return walk_forgive(walk, r);
	for (uint32_t i = 0; i < sealed->window.watchers_chunks && r == 0; i++)
		r = walk_forgive(walk, summing_watchers(summing, walk, i));
	for (uint32_t i = 0; i < sealed->window.units_count && r == 0; i++) {
		if (!summing_wants_unit(summing, &sealed->window.units[i]))
			continue;
		if (walk_is_cancelled(walk))
			return -ECANCELED;
		r = is_whole ? summing_whole_unit(summing, walk, i)
		             : summing_cut_unit(summing, walk, i);
	}
	return r;
}

static int summing_span(void *owner, struct walk *walk, const struct window_span *span)
{
	struct summing *summing = owner;
	uint64_t to_ns = span->to_ns < walk->to_ns ? span->to_ns : walk->to_ns;
	summing->is_pending = true;
	int r = walk_batches(walk, to_ns, false);
	for (uint32_t i = 0; i < span->count && r == 0; i++) {
		const struct window_entry *window = &walk->store->windows.entries[span->first + i];
		if (window->key.to_ns > walk->at.start_ns && window->key.from_ns < walk->to_ns)
			r = summing_window(summing, walk, window);
	}
	if (r == 0)
		summing_see_pending(summing);
	summing->is_pending = false;
	walk->at = (struct key_batch){ .start_ns = to_ns };
	return r;
}

static int summing_finish_observers(struct summing *summing)
{
	struct completeness *to = &summing->completeness;
	uint32_t count = id_map_count(summing->observer_ids);
	int r = 0;
	assert(count == 0 || summing->observers);
	for (uint32_t i = 0; i < count && r == 0; i++) {
		const struct observer *observer = &summing->observers[i];
		if (!observer->is_matched)
			continue;
		to->observers++;
		to->intervals += observer->intervals;
		r = sum_add(&to->missing_ns, observer->missing_ns);
		for (int j = 0; j <= LOSS_REASON_MAX && r == 0; j++)
			r = sum_add(&to->lost[j], observer->lost[j]);
		if (to->observers == 1 || observer->first_ns < to->first_ns)
			to->first_ns = observer->first_ns;
		if (observer->last_ns > to->last_ns)
			to->last_ns = observer->last_ns;
	}
	return r;
}

/* Distinct values of the label instance, of series that were met. */
static int summing_count_instances(struct summing *summing)
{
	uint32_t count = 0;
	uint32_t series_count = summing->options->series_count;
	autofree uint32_t *instances = malloc(((size_t)series_count + 1) * sizeof(*instances));
	if (!instances)
		return -ENOMEM;
	for (uint32_t i = 0; i < series_count; i++)
		if (summing->series[i].is_met && summing->series[i].instance)
			instances[count++] = summing->series[i].instance;
	qsort(instances, count, sizeof(*instances), summing_compare_ids);
	for (uint32_t i = 0; i < count; i++)
		summing->completeness.instances += i == 0 || instances[i] != instances[i - 1];
	return 0;
}

static int summing_take_coverage(struct summing *summing, struct store_sum *sum)
{
	uint32_t series_count = summing->options->series_count;
	sum->coverage = calloc((size_t)series_count + 1, sizeof(*sum->coverage));
	if (!sum->coverage)
		return -ENOMEM;
	for (uint32_t i = 0; i < series_count; i++)
		if (summing->series[i].coverage_ns)
			sum->coverage[sum->coverage_count++] = (struct coverage){
				.series = summing->options->series[i],
				.ns = summing->series[i].coverage_ns,
			};
	return 0;
}

int store_sum(
        struct store *store, const struct store_sum_options *options, struct store_sum *ret_sum)
{
	struct summing summing = { .store = store, .options = options };
	struct store_sum sum = { 0 };
	struct walk walk = {
		.store = store,
		.from_ns = options->from_ns,
		.to_ns = options->to_ns,
		.cancelled = options->cancelled,
		.visit = summing_record,
		.visit_span = summing_span,
		.owner = &summing,
	};

	int r = summing_init(&summing);
	r = r < 0 ? r : walk_run(&walk);
	r = r < 0 ? r : summing_finish_observers(&summing);
	r = r < 0 ? r : summing_count_instances(&summing);
	r = r < 0 ? r : summing_take_coverage(&summing, &sum);
	r = r < 0 ? r : sums_take_rows(summing.sums, &sum.rows, &sum.rows_count);
	if (r == 0) {
		summing.completeness.corrupt = walk.corrupt;
		sum.completeness = summing.completeness;
		*ret_sum = sum;
	} else {
		store_sum_fini(&sum);
	}
	summing_fini(&summing);
	return r;
}

void store_sum_fini(struct store_sum *sum)
{
	free(sum->rows);
	free(sum->coverage);
	*sum = (struct store_sum){ 0 };
}
