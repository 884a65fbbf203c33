/*
 * Scanning: every batch of a range as it went in. What is sealed is put together again, a slice of
 * a span at a time, and told of among what is open in the order of the keys.
 */

#include <errno.h>
#include <string.h>

#include "storage/store_walk_private.h"

#define SCAN_SLICE_ROWS (1u << 20) /* of sealed windows in memory */

struct scan {
	struct store *store;
	const struct store_match *match; /* NULL: not limited */
	struct places *parts;            /* of the match */
	struct places places;            /* borrowed: of what is being read */
	struct batch *batch;
	uint32_t batch_generation;
	struct generation *pinned; /* of the batch */
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
	uint32_t generation; /* of what is sealed */
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

/* What is read next is of this generation. */
static void scan_turn_to(struct scan *scan, const struct generation *generation)
{
	scan->places = (struct places){ 0 };
	for (uint32_t i = 0; scan->match && i < scan->match->parts_count; i++)
		if (scan->match->parts[i].generation == generation->id)
			scan->places = scan->parts[i];
}

/* An empty batch over its dict. */
static int scan_begin_batch(struct scan *scan, struct generation *generation)
{
	if (scan->batch && scan->batch_generation == generation->id) {
		batch_reset(scan->batch);
		return 0;
	}
	batch_free(scan->batch);
	scan->batch = batch_new(generation->dict);
	scan->batch_generation = generation->id;
	store_repin(scan->store, &scan->pinned, generation);
	return scan->batch ? 0 : -ENOMEM;
}

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

static int scan_record(void *owner, struct key_batch key, const struct record_batch *record,
        struct generation *generation)
{
	struct scan_visit *visit = owner;
	struct scan *scan = &visit->scan;

	int r = scan_begin_batch(scan, generation);
	if (r < 0)
		return r;
	scan_turn_to(scan, generation);
	if (scan->match && !record->has_loss_of_none && !places_meet(&scan->places, record)) {
		scan->batch->start_ns = key.start_ns;
		scan->batch->duration_ns = record->duration_ns;
	} else {
		r = record_unpack_batch(record, key.start_ns, &scan->scratch, scan->batch);
		if (r < 0)
			return r;
		if (scan->match)
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
	return !scan->match || places_find(&scan->places, series) != ID_NONE;
}

/*
 * 0: leave the block out. A window is read once per slice; what is wrong with it is counted with
 * the first one.
 */
static int scan_forgive(struct scan *scan, struct walk *walk, int result)
{
	if (!sealed_is_corrupt(walk->sealed, result) || scan->visit_sealed)
		return result;
	struct key_batch first = { .start_ns = walk->sealed->key.from_ns };
	if (walk->at.start_ns == walk->from_ns || key_batch_compare(walk->at, first) <= 0)
		walk_count_corrupt(walk);
	return 0;
}

/* What a window has from walk->at on. */
static int scan_list_window(
        struct scan *scan, struct walk *walk, const struct window_entry *window, uint64_t *rows)
{
	struct sealed *sealed = walk->sealed;
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
				.generation = sealed->window.dictionary,
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
	int r = sealed_open_detail(walk->sealed, unit, number, block, &chunk);
	if (r < 0)
		return r;
	if (chunk.first_ns > last.start_ns || chunk.last_ns < walk->at.start_ns)
		return 0;
	if (scan->match && chunk.losses_count == 0 &&
	        !places_meet_range(&scan->places, chunk.series_first, chunk.series_last))
		return 0;
	r = sealed_get_detail_heads(walk->sealed, &chunk, &heads);
	return r < 0 ? r : scan_take_chunk(scan, walk->sealed, &chunk, &heads);
}

static int scan_take_unit(
        struct scan *scan, struct walk *walk, uint32_t unit, struct key_batch last)
{
	struct sum_block block;
	int r = sealed_get_sums(walk->sealed, unit, &block);
	if (r < 0)
		return scan_forgive(scan, walk, r);
	for (uint32_t i = 0; r == 0 && i < walk->sealed->window.units[unit].chunks; i++)
		r = scan_forgive(scan, walk, scan_take_detail(scan, walk, unit, i, &block, last));
	return r;
}

/* Everything of a window that is of the slice, whose last key is `last`. */
static int scan_take_window(struct scan *scan, struct walk *walk, const struct window_entry *window,
        struct key_batch last)
{
	struct sealed *sealed = walk->sealed;
	int r = sealed_open(sealed, window);
	if (r < 0)
		return sealed_is_corrupt(sealed, r) && !scan->visit_sealed ? 0 : r;
	scan_turn_to(scan, sealed->generation);
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
		if (!sealed->window.units[unit].is_gone)
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
	/* It was there when the window was opened, a moment ago in the same visit to the gate. */
	struct generation *generation;
	int r = store_use_generation(scan->store, entry->generation, &generation);
	r = r < 0 ? (r == -ENOENT ? -EBADMSG : r) : scan_begin_batch(scan, generation);
	if (r < 0)
		return r;
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
	store_repin(scan->store, &scan->pinned, NULL);
	buf_fini(&scan->scratch);
	for (uint32_t i = 0; scan->parts && i < scan->match->parts_count; i++)
		free(scan->parts[i].place);
	free(scan->parts);
	buf_fini(&scan->entries);
	buf_fini(&scan->rows);
	buf_fini(&scan->coverage);
	buf_fini(&scan->losses);
	buf_fini(&scan->order);
}

static int scan_init(struct scan *scan)
{
	const struct store_match *match = scan->match;
	if (!match)
		return 0;
	scan->parts = calloc((size_t)match->parts_count + 1, sizeof(*scan->parts));
	int r = scan->parts ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < match->parts_count && r == 0; i++)
		r = places_init(&scan->parts[i], &match->parts[i]);
	return r;
}

int store_scan_noting(struct store *store, uint64_t from_ns, uint64_t to_ns,
        const struct store_match *match, store_visit visit, void *owner,
        struct completeness *missing)
{
	struct scan_visit scan = {
		.scan = { .store = store, .match = match, .visit = visit, .owner = owner },
	};
	struct walk walk = {
		.store = store,
		.from_ns = from_ns,
		.to_ns = to_ns,
		.visit = scan_record,
		.visit_span = scan_span,
		.owner = &scan,
	};

	int r = scan_init(&scan.scan);
	r = r < 0 ? r : walk_run(&walk);
	scan_fini(&scan.scan);
	missing->corrupt = walk.corrupt;
	missing->corrupt_replaced = walk.replaced;
	missing->unreadable_count = walk.unreadable_count;
	memcpy(missing->unreadable, walk.unreadable, sizeof(walk.unreadable));
	return r == SCAN_STOPPED ? scan.result : r;
}

int store_scan(struct store *store, uint64_t from_ns, uint64_t to_ns,
        const struct store_match *match, store_visit visit, void *owner)
{
	struct completeness missing = { 0 };
	return store_scan_noting(store, from_ns, to_ns, match, visit, owner, &missing);
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
	struct sealed sealed;
	int r = sealed_init(&sealed, store);
	walk.sealed = &sealed;
	while (r == 0 && walk.at.start_ns < walk.to_ns) {
		store_read_lock(store);
		r = scan_slice(&scan, &walk, window, 1, walk.to_ns);
		store_read_unlock(store);
	}
	sealed_fini(&sealed);
	scan_fini(&scan.scan);
	return r == SCAN_STOPPED ? scan.result : r;
}
