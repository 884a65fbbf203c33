/*
 * What a roll writes: per (class, tenant, service, type) the members and the sums of all its
 * windows, and who was watching, as runs.
 *
 * Members are who had what: per (series, stream) the coverage, per (series, stream, reason) the
 * losses. They add up like sums, and are as many as there were series, however long the window.
 *
 * Watchers of a sealed window are its intervals. Those of one stream that follow each other with
 * no more between them than a gap that counts join into a run here: start, end, and in the place of
 * the sequence number how many intervals it is of. What was missing, from when to when somebody
 * watched and how many intervals there were is thereby as exact as before; where one interval ended
 * and the next began is not known any more. Losses that are nobody's are added up per stream.
 *
 * Memory: sums are added up a few at a time until they speak of roll_stacks_max stacks; a unit
 * that needs more becomes several, each of some of its windows. Watchers are merged from one chunk
 * per window.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "storage/store_roll_private.h"

#define ROLL_REPORTS_MAX  (64u << 10) /* of a chunk of members */
#define ROLL_WATCHERS_MAX (32u << 10) /* of a chunk of watchers */

static int roll_put(struct roll *roll, struct kv_bytes key, const struct buf *block)
{
	if (block->failed)
		return -ENOMEM;
	roll->put_bytes += key.count + block->count;
	int r = kv_files_put(roll->files, key, store_bytes(block));
	if (r < 0) {
		pthread_mutex_lock(&roll->store->writer);
		store_note_failure(roll->store, "rolling windows up");
		pthread_mutex_unlock(&roll->store->writer);
	}
	return r;
}

static int roll_put_chunk(
        struct roll *roll, struct kv_bytes key, const struct detail_contents *contents)
{
	if (contents->intervals_count > DETAIL_INTERVALS_MAX ||
	        contents->reports_count > DETAIL_REPORTS_MAX ||
	        contents->losses_count > DETAIL_LOSSES_MAX)
		return -E2BIG;
	buf_reset(&roll->block);
	int r = detail_chunk_encode(contents, key, COLUMN_FAST, &roll->columns, &roll->block);
	return r < 0 ? r : roll_put(roll, key, &roll->block);
}

/* ---- members ---- */

/* What one stream saw of one series. */
struct roll_member {
	uint32_t series;
	uint32_t stream;
	bool has_coverage;
	uint64_t coverage_ns;
};

struct roll_loss {
	uint32_t series;
	uint32_t stream;
	uint32_t reason;
	uint64_t count;
};

struct roll_members {
	struct buf members; /* struct roll_member */
	struct buf losses;  /* struct roll_loss */
	/* Of a chunk. */
	struct buf streams; /* u32 */
	struct buf intervals;
	struct buf reports;
	struct buf chunk_losses;
};

static void roll_members_fini(struct roll_members *members)
{
	buf_fini(&members->members);
	buf_fini(&members->losses);
	buf_fini(&members->streams);
	buf_fini(&members->intervals);
	buf_fini(&members->reports);
	buf_fini(&members->chunk_losses);
}

static int roll_compare_members(const void *a, const void *b)
{
	const struct roll_member *x = a;
	const struct roll_member *y = b;
	if (x->series != y->series)
		return x->series < y->series ? -1 : 1;
	return x->stream < y->stream ? -1 : x->stream > y->stream;
}

static int roll_compare_losses(const void *a, const void *b)
{
	const struct roll_loss *x = a;
	const struct roll_loss *y = b;
	if (x->series != y->series)
		return x->series < y->series ? -1 : 1;
	if (x->stream != y->stream)
		return x->stream < y->stream ? -1 : 1;
	return x->reason < y->reason ? -1 : x->reason > y->reason;
}

static int roll_compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* One chunk of members of an input, which is in the gate. */
static void roll_take_members(
        struct roll_members *to, const struct detail_chunk *chunk, const struct detail_heads *heads)
{
	for (uint32_t i = 0; i < chunk->reports_count; i++) {
		const struct detail_report *report = &heads->reports[i];
		struct roll_member member = {
			.series = report->series,
			.stream = heads->intervals[report->interval].stream,
			.has_coverage = report->has_coverage,
			.coverage_ns = report->coverage_ns,
		};
		buf_put(&to->members, &member, sizeof(member));
	}
	for (uint32_t i = 0; i < chunk->losses_count; i++) {
		const struct detail_loss *from = &heads->losses[i];
		struct roll_loss loss = { from->series, heads->intervals[from->interval].stream,
			from->reason, from->count };
		buf_put(&to->losses, &loss, sizeof(loss));
	}
}

static int roll_read_members(
        struct roll *roll, const struct roll_part *parts, uint32_t count, struct roll_members *to)
{
	int r = 0;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		struct roll_input *input = &roll->inputs[parts[i].input];
		struct sealed *sealed = &input->sealed;
		uint32_t chunks = sealed_members_count(sealed, parts[i].unit);
		for (uint32_t j = 0; j < chunks && r == 0; j++) {
			struct detail_chunk chunk;
			struct detail_heads heads;
			gate_enter(&roll->store->gate);
			r = sealed_get_members(sealed, parts[i].unit, j, &chunk, &heads);
			gate_leave(&roll->store->gate);
			if (r < 0)
				return roll_blame(roll, input, r);
			roll_take_members(to, &chunk, &heads);
		}
	}
	return r == 0 && (to->members.failed || to->losses.failed) ? -ENOMEM : r;
}

/* Series become those of the compact generation. */
static int roll_move_members(struct roll *roll, struct roll_members *members)
{
	struct roll_member *all = ARRAY(struct roll_member, members->members);
	struct roll_loss *losses = ARRAY(struct roll_loss, members->losses);
	size_t count = ARRAY_COUNT(struct roll_member, members->members);
	size_t losses_count = ARRAY_COUNT(struct roll_loss, members->losses);
	AUTO_BUF series = { 0 };
	if (!roll->move)
		return 0;
	for (size_t i = 0; i < count; i++)
		buf_put(&series, &all[i].series, sizeof(all[i].series));
	for (size_t i = 0; i < losses_count; i++)
		buf_put(&series, &losses[i].series, sizeof(losses[i].series));
	const uint32_t *ids = ARRAY(uint32_t, series);
	int r = series.failed ? -ENOMEM
	                      : roll_move_series(
	                                roll->move, ARRAY(uint32_t, series), count + losses_count);
	for (size_t i = 0; i < count && r == 0; i++)
		all[i].series = ids[i];
	for (size_t i = 0; i < losses_count && r == 0; i++)
		losses[i].series = ids[count + i];
	return r;
}

/* Service and type likewise. */
static int roll_move_unit(struct roll *roll, struct window_unit *unit)
{
	uint32_t names[] = { unit->service, unit->type };
	int r = roll->move ? roll_move_strings(roll->move, names, COUNT_OF(names)) : 0;
	if (r == 0) {
		unit->service = names[0];
		unit->type = names[1];
	}
	return r;
}

/* Sorted, and those of the same series and stream as one. */
static int roll_add_up_members(struct roll_members *members)
{
	struct roll_member *all = ARRAY(struct roll_member, members->members);
	size_t count = ARRAY_COUNT(struct roll_member, members->members);
	size_t kept = 0;
	if (count > 1)
		qsort(all, count, sizeof(*all), roll_compare_members);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || roll_compare_members(&all[kept - 1], &all[i]) != 0) {
			all[kept++] = all[i];
			continue;
		}
		struct roll_member *to = &all[kept - 1];
		to->has_coverage |= all[i].has_coverage;
		if (__builtin_add_overflow(to->coverage_ns, all[i].coverage_ns, &to->coverage_ns))
			return -EOVERFLOW;
	}
	members->members.count = kept * sizeof(*all);
	return 0;
}

static int roll_add_up_losses(struct roll_members *members)
{
	struct roll_loss *all = ARRAY(struct roll_loss, members->losses);
	size_t count = ARRAY_COUNT(struct roll_loss, members->losses);
	size_t kept = 0;
	if (count > 1)
		qsort(all, count, sizeof(*all), roll_compare_losses);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || roll_compare_losses(&all[kept - 1], &all[i]) != 0)
			all[kept++] = all[i];
		else if (__builtin_add_overflow(
		                 all[kept - 1].count, all[i].count, &all[kept - 1].count))
			return -EOVERFLOW;
	}
	members->losses.count = kept * sizeof(*all);
	return 0;
}

/* The streams of a chunk, ascending, as intervals without time. */
static int roll_list_streams(struct roll *roll, struct roll_members *members,
        const struct roll_member *of, size_t count, const struct roll_loss *losses,
        size_t losses_count)
{
	buf_reset(&members->streams);
	buf_reset(&members->intervals);
	for (size_t i = 0; i < count; i++)
		buf_put(&members->streams, &of[i].stream, sizeof(of[i].stream));
	for (size_t i = 0; i < losses_count; i++)
		buf_put(&members->streams, &losses[i].stream, sizeof(losses[i].stream));
	if (members->streams.failed)
		return -ENOMEM;
	uint32_t *streams = ARRAY(uint32_t, members->streams);
	size_t all = ARRAY_COUNT(uint32_t, members->streams);
	size_t kept = 0;
	if (all > 1)
		qsort(streams, all, sizeof(*streams), roll_compare_u32);
	for (size_t i = 0; i < all; i++) {
		if (i > 0 && streams[i] == streams[kept - 1])
			continue;
		struct detail_interval interval = {
			.stream = streams[i],
			.start_ns = roll->key.from_ns,
		};
		streams[kept++] = streams[i];
		buf_put(&members->intervals, &interval, sizeof(interval));
	}
	members->streams.count = kept * sizeof(*streams);
	return members->intervals.failed ? -ENOMEM : 0;
}

static uint32_t roll_find_stream(const struct roll_members *members, uint32_t stream)
{
	const uint32_t *streams = ARRAY(uint32_t, members->streams);
	const uint32_t *at = bsearch(&stream, streams, ARRAY_COUNT(uint32_t, members->streams),
	        sizeof(*streams), roll_compare_u32);
	return (uint32_t)(at - streams);
}

static int roll_write_members_chunk(struct roll *roll, struct roll_members *members,
        struct kv_bytes key, const struct roll_member *of, size_t count,
        const struct roll_loss *losses, size_t losses_count)
{
	int r = roll_list_streams(roll, members, of, count, losses, losses_count);
	if (r < 0)
		return r;
	buf_reset(&members->reports);
	buf_reset(&members->chunk_losses);
	for (size_t i = 0; i < count; i++) {
		struct detail_report report = {
			.series = of[i].series,
			.interval = roll_find_stream(members, of[i].stream),
			.has_coverage = of[i].has_coverage,
			.coverage_ns = of[i].coverage_ns,
		};
		buf_put(&members->reports, &report, sizeof(report));
	}
	for (size_t i = 0; i < losses_count; i++) {
		struct detail_loss loss = { losses[i].series,
			roll_find_stream(members, losses[i].stream), losses[i].reason,
			losses[i].count };
		buf_put(&members->chunk_losses, &loss, sizeof(loss));
	}
	if (members->reports.failed || members->chunk_losses.failed)
		return -ENOMEM;
	struct detail_contents contents = {
		.intervals = ARRAY(struct detail_interval, members->intervals),
		.intervals_count = (uint32_t)ARRAY_COUNT(
		        struct detail_interval, members->intervals),
		.reports = ARRAY(struct detail_report, members->reports),
		.reports_count = (uint32_t)ARRAY_COUNT(struct detail_report, members->reports),
		.losses = ARRAY(struct detail_loss, members->chunk_losses),
		.losses_count = (uint32_t)ARRAY_COUNT(struct detail_loss, members->chunk_losses),
	};
	return roll_put_chunk(roll, key, &contents);
}

/* Chunks are cut between series; what is lost of a series is in the chunk that has it. */
static int roll_write_members(
        struct roll *roll, uint32_t unit, struct roll_members *members, uint32_t *ret_chunks)
{
	const struct roll_member *all = ARRAY(struct roll_member, members->members);
	const struct roll_loss *losses = ARRAY(struct roll_loss, members->losses);
	size_t count = ARRAY_COUNT(struct roll_member, members->members);
	size_t losses_count = ARRAY_COUNT(struct roll_loss, members->losses);
	size_t at = 0;
	size_t loss = 0;
	uint32_t chunks = 0;
	int r = 0;
	do {
		size_t end = count - at > ROLL_REPORTS_MAX ? at + ROLL_REPORTS_MAX : count;
		while (end < count && all[end].series == all[end - 1].series)
			end++;
		size_t losses_end = loss;
		while (losses_end < losses_count &&
		        (end == count || losses[losses_end].series <= all[end - 1].series))
			losses_end++;
		uint8_t key_bytes[KEYS_BLOCK_BYTES];
		struct kv_bytes key = store_block_key(
		        roll->key, unit, KEYS_BLOCK_MEMBERS, chunks++, key_bytes);
		r = roll_write_members_chunk(
		        roll, members, key, all + at, end - at, losses + loss, losses_end - loss);
		at = end;
		loss = losses_end;
	} while (r == 0 && at < count);
	*ret_chunks = chunks;
	return r;
}

/* ---- units ---- */

/* The keys of a unit's sums, and their bytes. */
struct roll_keys {
	struct sum_keys of;
	uint8_t block[KEYS_BLOCK_BYTES];
	uint8_t values[KEYS_BLOCK_BYTES];
};

static void roll_keys_of(const struct roll *roll, uint32_t unit, struct roll_keys *keys)
{
	keys->of = (struct sum_keys){
		store_block_key(roll->key, unit, KEYS_BLOCK_SUMS, 0, keys->block),
		store_block_key(roll->key, unit, KEYS_BLOCK_VALUES, 0, keys->values),
	};
}

/* The parts are of one unit, whose sums are added up. */
static int roll_write_unit(
        struct roll *roll, const struct roll_part *parts, uint32_t count, struct roll_sums *sums)
{
	uint32_t number = (uint32_t)ARRAY_COUNT(struct window_unit, roll->units);
	struct window_unit unit = {
		.class = parts[0].class,
		.tenant = parts[0].tenant,
		.service = parts[0].service,
		.type = parts[0].type,
	};
	struct roll_members members = { 0 };
	uint64_t bytes_before = roll->put_bytes;
	struct roll_keys keys;
	roll_keys_of(roll, number, &keys);
	int r = roll_read_members(roll, parts, count, &members);
	r = r < 0 ? r : roll_move_members(roll, &members);
	r = r < 0 ? r : roll_move_unit(roll, &unit);
	r = r < 0 ? r : roll_add_up_members(&members);
	r = r < 0 ? r : roll_add_up_losses(&members);
	r = r < 0 ? r : roll_write_members(roll, number, &members, &unit.chunks);
	r = r < 0 ? r : roll_put(roll, keys.of.block, &sums->sum);
	if (r == 0 && sums->sum_values.count > 0)
		r = roll_put(roll, keys.of.values, &sums->sum_values);
	roll_members_fini(&members);
	for (uint32_t i = 0; i < count && r == 0; i++) {
		const struct sealed *sealed = &roll->inputs[parts[i].input].sealed;
		if (__builtin_add_overflow(
		            unit.rows, sealed->window.units[parts[i].unit].rows, &unit.rows))
			r = -EOVERFLOW;
	}
	unit.bytes_sums = roll->put_bytes - bytes_before;
	buf_put(&roll->units, &unit, sizeof(unit));
	roll_sums_reset(sums);
	return r == 0 && roll->units.failed ? -ENOMEM : r;
}

/* The parts are of one (tenant, service, type). */
static int roll_write_parts(
        struct roll *roll, const struct roll_part *parts, uint32_t count, struct roll_sums *sums)
{
	uint64_t stacks_max = roll->store->options.roll_stacks_max;
	uint32_t first = 0;
	int r = 0;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		uint32_t number = (uint32_t)ARRAY_COUNT(struct window_unit, roll->units);
		struct roll_keys keys;
		bool is_last = i + 1 == count;
		roll_keys_of(roll, number, &keys);
		r = roll_sums_load(roll, &parts[i], sums);
		if (r < 0 ||
		        (!is_last && sums->stacks < stacks_max && sums->count < ROLL_SOURCES_MAX))
			continue;
		r = roll_sums_add_up(roll, keys.of, sums);
		if (r == 0 && (is_last || sums->stacks > stacks_max / 2)) {
			r = roll_sums_finish(roll, keys.of, sums);
			r = r < 0 ? r : roll_write_unit(roll, parts + first, i + 1 - first, sums);
			first = i + 1;
		}
	}
	return r;
}

static bool roll_is_same_unit(const struct roll_part *a, const struct roll_part *b)
{
	return a->class == b->class && a->tenant == b->tenant && a->service == b->service &&
	       a->type == b->type;
}

static int roll_write_units(struct roll *roll)
{
	const struct roll_part *parts = ARRAY(struct roll_part, roll->parts);
	uint32_t count = (uint32_t)ARRAY_COUNT(struct roll_part, roll->parts);
	struct roll_sums sums = { 0 };
	int r = 0;
	for (uint32_t first = 0, end; first < count && r == 0; first = end) {
		for (end = first + 1; end < count; end++)
			if (!roll_is_same_unit(&parts[first], &parts[end]))
				break;
		r = roll_write_parts(roll, parts + first, end - first, &sums);
	}
	roll_sums_fini(&sums);
	return r;
}

/* ---- who was watching ---- */

/* Where the reading of one input's watchers stands. */
struct roll_cursor {
	struct roll_input *input;
	uint32_t chunk;    /* the next one */
	uint32_t interval; /* of the chunk that is open */
	uint32_t loss;
	bool is_done;
	struct detail_chunk opened;
	struct detail_heads heads;
};

/* Intervals of one stream that follow each other. */
struct roll_run {
	struct detail_interval interval; /* seq: how many it is of */
	bool is_there;
};

struct roll_watchers {
	struct roll *roll;
	struct roll_cursor *cursors;
	struct roll_run run;
	struct buf lost;      /* struct sum_loss, nobody's, of the run's stream */
	struct buf intervals; /* of the chunk that grows */
	struct buf losses;
};

static void roll_watchers_fini(struct roll_watchers *watchers)
{
	free(watchers->cursors);
	buf_fini(&watchers->lost);
	buf_fini(&watchers->intervals);
	buf_fini(&watchers->losses);
}

/* Opens chunks until there is an interval, or none left. */
static int roll_cursor_settle(struct roll *roll, struct roll_cursor *cursor)
{
	struct sealed *sealed = &cursor->input->sealed;
	while (!cursor->is_done && cursor->interval == cursor->opened.intervals_count) {
		if (cursor->chunk == sealed->window.watchers_chunks) {
			cursor->is_done = true;
			break;
		}
		gate_enter(&roll->store->gate);
		int r = sealed_get_watchers(
		        sealed, cursor->chunk++, &cursor->opened, &cursor->heads);
		gate_leave(&roll->store->gate);
		if (r < 0)
			return roll_blame(roll, cursor->input, r);
		cursor->interval = 0;
		cursor->loss = 0;
	}
	return 0;
}

/* The cursor whose interval is next in order of (stream, start), or NULL. */
static struct roll_cursor *roll_watchers_next(struct roll_watchers *watchers)
{
	struct roll_cursor *next = NULL;
	const struct detail_interval *least = NULL;
	for (uint32_t i = 0; i < watchers->roll->inputs_count; i++) {
		struct roll_cursor *cursor = &watchers->cursors[i];
		if (cursor->is_done)
			continue;
		const struct detail_interval *at = &cursor->heads.intervals[cursor->interval];
		if (!least || at->stream < least->stream ||
		        (at->stream == least->stream && at->start_ns < least->start_ns)) {
			least = at;
			next = cursor;
		}
	}
	return next;
}

static int roll_watchers_write(struct roll_watchers *watchers)
{
	struct roll *roll = watchers->roll;
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct detail_contents contents = {
		.intervals = ARRAY(struct detail_interval, watchers->intervals),
		.intervals_count = (uint32_t)ARRAY_COUNT(
		        struct detail_interval, watchers->intervals),
		.losses = ARRAY(struct detail_loss, watchers->losses),
		.losses_count = (uint32_t)ARRAY_COUNT(struct detail_loss, watchers->losses),
	};
	if (watchers->intervals.failed || watchers->losses.failed)
		return -ENOMEM;
	if (contents.intervals_count == 0)
		return 0;
	struct kv_bytes key = store_block_key(
	        roll->key, KEYS_UNIT_NONE, KEYS_BLOCK_WATCHERS, roll->watchers_chunks++, key_bytes);
	int r = roll_put_chunk(roll, key, &contents);
	buf_reset(&watchers->intervals);
	buf_reset(&watchers->losses);
	return r;
}

static int roll_compare_reasons(const void *a, const void *b)
{
	const struct sum_loss *x = a;
	const struct sum_loss *y = b;
	return x->reason < y->reason ? -1 : x->reason > y->reason;
}

/* What the stream's intervals lost that is nobody's: to the run that is its last. */
static int roll_watchers_put_lost(struct roll_watchers *watchers)
{
	struct sum_loss *lost = ARRAY(struct sum_loss, watchers->lost);
	size_t count = ARRAY_COUNT(struct sum_loss, watchers->lost);
	struct detail_loss loss = {
		.series = SERIES_NONE,
		.interval = (uint32_t)ARRAY_COUNT(struct detail_interval, watchers->intervals) - 1,
	};
	if (watchers->lost.failed)
		return -ENOMEM;
	if (count > 1)
		qsort(lost, count, sizeof(*lost), roll_compare_reasons);
	for (size_t i = 0; i < count; i++) {
		loss.reason = lost[i].reason;
		if (__builtin_add_overflow(loss.count, lost[i].count, &loss.count))
			return -EOVERFLOW;
		if (i + 1 < count && lost[i + 1].reason == lost[i].reason)
			continue;
		buf_put(&watchers->losses, &loss, sizeof(loss));
		loss.count = 0;
	}
	buf_reset(&watchers->lost);
	return 0;
}

static int roll_watchers_end_run(struct roll_watchers *watchers, bool is_last_of_stream)
{
	int r = 0;
	if (!watchers->run.is_there)
		return 0;
	buf_put(&watchers->intervals, &watchers->run.interval, sizeof(struct detail_interval));
	watchers->run.is_there = false;
	if (is_last_of_stream)
		r = roll_watchers_put_lost(watchers);
	if (r == 0 && ARRAY_COUNT(struct detail_interval, watchers->intervals) >= ROLL_WATCHERS_MAX)
		r = roll_watchers_write(watchers);
	return r;
}

/* Joins the run, or ends it and begins one. */
static int roll_watchers_see(
        struct roll_watchers *watchers, struct detail_interval interval, uint64_t intervals)
{
	struct detail_interval *run = &watchers->run.interval;
	uint64_t end_ns = interval.start_ns + interval.duration_ns;
	if (watchers->run.is_there && run->stream == interval.stream &&
	        !store_is_gap(run->start_ns + run->duration_ns, interval.start_ns)) {
		if (end_ns > run->start_ns + run->duration_ns)
			run->duration_ns = end_ns - run->start_ns;
		return __builtin_add_overflow(run->seq, intervals, &run->seq) ? -EOVERFLOW : 0;
	}
	int r = roll_watchers_end_run(watchers, run->stream != interval.stream);
	*run = interval;
	run->seq = intervals;
	watchers->run.is_there = true;
	return r;
}

static int roll_watchers_take(struct roll_watchers *watchers, struct roll_cursor *cursor)
{
	struct detail_interval interval = cursor->heads.intervals[cursor->interval];
	bool is_run = key_window_level(cursor->input->key) > 0;
	if (is_run && interval.seq == 0)
		return roll_blame(watchers->roll, cursor->input, -EBADMSG);
	int r = roll_watchers_see(watchers, interval, is_run ? interval.seq : 1);
	for (; cursor->loss < cursor->opened.losses_count; cursor->loss++) {
		const struct detail_loss *loss = &cursor->heads.losses[cursor->loss];
		struct sum_loss lost = { loss->reason, loss->count };
		if (loss->interval != cursor->interval)
			break;
		buf_put(&watchers->lost, &lost, sizeof(lost));
	}
	cursor->interval++;
	return r < 0 ? r : roll_cursor_settle(watchers->roll, cursor);
}

static int roll_write_watchers(struct roll *roll)
{
	struct roll_watchers watchers = { .roll = roll };
	watchers.cursors = calloc((size_t)roll->inputs_count + 1, sizeof(*watchers.cursors));
	int r = watchers.cursors ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < roll->inputs_count && r == 0; i++) {
		watchers.cursors[i].input = &roll->inputs[i];
		r = roll_cursor_settle(roll, &watchers.cursors[i]);
	}
	while (r == 0) {
		struct roll_cursor *next = roll_watchers_next(&watchers);
		if (!next)
			break;
		r = roll_watchers_take(&watchers, next);
	}
	r = r < 0 ? r : roll_watchers_end_run(&watchers, true);
	r = r < 0 ? r : roll_watchers_write(&watchers);
	roll_watchers_fini(&watchers);
	return r;
}

/*
 * A window that is made anew of itself still says what of it is gone, so that whoever wants that
 * looks for what is finer, or is told that it is missing.
 */
static int roll_write_gone(struct roll *roll)
{
	const struct sealed *sealed = &roll->inputs[0].sealed;
	int r = 0;
	for (uint32_t i = 0; roll->is_made_anew && i < sealed->window.units_count && r == 0; i++) {
		const struct window_unit *of = &sealed->window.units[i];
		struct window_unit unit = {
			.service = of->service,
			.type = of->type,
			.class = of->class,
			.is_gone = true,
		};
		if (!of->is_gone || of->is_void)
			continue;
		r = roll_tenant(roll, sealed->window.tenants[of->tenant], &unit.tenant);
		r = r < 0 ? r : roll_move_unit(roll, &unit);
		buf_put(&roll->units, &unit, sizeof(unit));
	}
	return r == 0 && roll->units.failed ? -ENOMEM : r;
}

int roll_write(struct roll *roll)
{
	int r = roll_write_units(roll);
	r = r < 0 ? r : roll_write_gone(roll);
	uint64_t bytes_before = roll->put_bytes;
	r = r < 0 ? r : roll_write_watchers(roll);
	roll->bytes_watchers = roll->put_bytes - bytes_before;
	return r;
}
