/*
 * Each column holds what is left after what a reader can guess: a stream's next interval begins
 * where its last one ended and has the next seq, a series is watched as long as the interval took,
 * the next stack is the next one, a value is 1. So most columns are a constant, and only the
 * stacks and the odd value cost anything.
 *
 * A reader undoes it in the same order and checks each number against what the directory says,
 * so that whatever bytes it is given, it returns contents that a writer could have been given.
 */

#include "storage/detail_chunk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "profile/batch.h"
#include "storage/block_head.h"

static uint64_t zigzag(uint64_t difference)
{
	return difference << 1 ^ (difference >> 63 ? UINT64_MAX : 0);
}

static uint64_t zagzig(uint64_t value)
{
	return value >> 1 ^ (0 - (value & 1));
}

static bool interval_is_before(const struct detail_interval *a, const struct detail_interval *b)
{
	if (a->stream != b->stream)
		return a->stream < b->stream;
	return a->start_ns != b->start_ns ? a->start_ns < b->start_ns : a->seq < b->seq;
}

static bool report_is_before(const struct detail_report *a, const struct detail_report *b)
{
	return a->series != b->series ? a->series < b->series : a->interval < b->interval;
}

static bool loss_is_before(const struct detail_loss *a, const struct detail_loss *b)
{
	if (a->series != b->series)
		return a->series < b->series;
	return a->interval != b->interval ? a->interval < b->interval : a->reason < b->reason;
}

/* ---- writing ---- */

struct detail_writer {
	const struct detail_contents *contents;
	enum column_effort effort;
	struct column_scratch *scratch;
	uint32_t *narrow; /* room for the longest column */
	uint64_t *wide;
	struct buf *to;
};

static void detail_put_narrow(struct detail_writer *writer, uint32_t count)
{
	column_put_u32(writer->narrow, count, writer->effort, writer->scratch, writer->to);
}

static void detail_put_wide(struct detail_writer *writer, uint32_t count)
{
	column_put_u64(writer->wide, count, writer->effort, writer->scratch, writer->to);
}

static void detail_check_intervals(const struct detail_contents *contents)
{
	for (uint32_t i = 0; i < contents->intervals_count; i++) {
		const struct detail_interval *interval = &contents->intervals[i];
		assert(interval->duration_ns <= UINT64_MAX - interval->start_ns);
		assert(i == 0 || interval_is_before(interval - 1, interval));
	}
}

static int detail_put_directory(const struct detail_contents *contents, struct buf *to)
{
	uint64_t first_ns = contents->intervals_count ? UINT64_MAX : 0;
	uint64_t last_ns = 0;
	uint64_t samples = 0;
	uint64_t lost = 0;
	uint32_t series_first = 0;
	uint32_t series_last = 0;

	detail_check_intervals(contents);
	for (uint32_t i = 0; i < contents->intervals_count; i++) {
		const struct detail_interval *interval = &contents->intervals[i];
		uint64_t end_ns = interval->start_ns + interval->duration_ns;
		first_ns = interval->start_ns < first_ns ? interval->start_ns : first_ns;
		last_ns = end_ns > last_ns ? end_ns : last_ns;
	}
	for (uint32_t i = 0; i < contents->rows_count; i++)
		if (__builtin_add_overflow(samples, contents->values[i], &samples))
			return -EOVERFLOW;
	for (uint32_t i = 0; i < contents->losses_count; i++)
		if (__builtin_add_overflow(lost, contents->losses[i].count, &lost))
			return -EOVERFLOW;
	if (contents->reports_count) {
		series_first = contents->reports[0].series;
		series_last = contents->reports[contents->reports_count - 1].series;
	}

	buf_put_varint(to, contents->dictionary_count);
	buf_put_u64(to, contents->dictionary_hash);
	buf_put_varint(to, contents->intervals_count);
	buf_put_varint(to, contents->reports_count);
	buf_put_varint(to, contents->rows_count);
	buf_put_varint(to, contents->losses_count);
	buf_put_varint(to, first_ns);
	buf_put_varint(to, last_ns - first_ns);
	buf_put_varint(to, series_first);
	buf_put_varint(to, series_last - series_first);
	buf_put_varint(to, samples);
	buf_put_varint(to, lost);
	return 0;
}

static void detail_put_intervals(struct detail_writer *writer)
{
	const struct detail_interval *intervals = writer->contents->intervals;
	uint32_t count = writer->contents->intervals_count;
	uint64_t first_ns = UINT64_MAX;

	for (uint32_t i = 0; i < count; i++) {
		writer->narrow[i] = intervals[i].stream - (i ? intervals[i - 1].stream : 0);
		if (intervals[i].start_ns < first_ns)
			first_ns = intervals[i].start_ns;
	}
	detail_put_narrow(writer, count);

	for (uint32_t i = 0; i < count; i++) {
		bool is_next = i > 0 && intervals[i - 1].stream == intervals[i].stream;
		uint64_t expected = is_next ? intervals[i - 1].seq + 1 : 0;
		writer->wide[i] = zigzag(intervals[i].seq - expected);
	}
	detail_put_wide(writer, count);

	for (uint32_t i = 0; i < count; i++) {
		bool is_next = i > 0 && intervals[i - 1].stream == intervals[i].stream;
		uint64_t expected = is_next ? intervals[i - 1].start_ns +
		                                      intervals[i - 1].duration_ns
		                            : first_ns;
		writer->wide[i] = zigzag(intervals[i].start_ns - expected);
	}
	detail_put_wide(writer, count);

	for (uint32_t i = 0; i < count; i++)
		writer->wide[i] = intervals[i].duration_ns;
	detail_put_wide(writer, count);
}

static void detail_check_report(
        const struct detail_contents *contents, uint32_t index, uint32_t rows_first)
{
	const struct detail_report *report = &contents->reports[index];
	assert(index == 0 || report_is_before(report - 1, report));
	assert(report->interval < contents->intervals_count);
	assert(report->rows_first == rows_first);
	assert(report->has_coverage || report->coverage_ns == 0);
}

static void detail_check_reports(const struct detail_contents *contents)
{
	uint32_t rows = 0;
	for (uint32_t i = 0; i < contents->reports_count; i++) {
		detail_check_report(contents, i, rows);
		rows += contents->reports[i].rows_count;
	}
	assert(rows == contents->rows_count);
}

static void detail_put_reports(struct detail_writer *writer)
{
	const struct detail_report *reports = writer->contents->reports;
	uint32_t count = writer->contents->reports_count;

	detail_check_reports(writer->contents);
	for (uint32_t i = 0; i < count; i++)
		writer->narrow[i] = i ? reports[i].series - reports[i - 1].series : 0;
	detail_put_narrow(writer, count);

	for (uint32_t i = 0; i < count; i++) {
		bool is_next = i > 0 && reports[i - 1].series == reports[i].series;
		uint32_t expected = is_next ? reports[i - 1].interval + 1 : 0;
		writer->narrow[i] = reports[i].interval - expected;
	}
	detail_put_narrow(writer, count);

	for (uint32_t i = 0; i < count; i++)
		writer->narrow[i] = reports[i].rows_count;
	detail_put_narrow(writer, count);

	for (uint32_t i = 0; i < count; i++)
		writer->narrow[i] = reports[i].has_coverage;
	detail_put_narrow(writer, count);

	for (uint32_t i = 0; i < count; i++) {
		uint64_t expected = writer->contents->intervals[reports[i].interval].duration_ns;
		writer->wide[i] = reports[i].has_coverage
		                          ? zigzag(expected - reports[i].coverage_ns)
		                          : 0;
	}
	detail_put_wide(writer, count);
}

static void detail_put_losses(struct detail_writer *writer)
{
	const struct detail_loss *losses = writer->contents->losses;
	uint32_t count = writer->contents->losses_count;

	for (uint32_t i = 0; i < count; i++) {
		assert(i == 0 || loss_is_before(&losses[i - 1], &losses[i]));
		assert(losses[i].interval < writer->contents->intervals_count);
		assert(losses[i].count > 0);
		writer->narrow[i] = losses[i].series;
	}
	detail_put_narrow(writer, count);
	for (uint32_t i = 0; i < count; i++)
		writer->narrow[i] = losses[i].interval;
	detail_put_narrow(writer, count);
	for (uint32_t i = 0; i < count; i++)
		writer->narrow[i] = losses[i].reason;
	detail_put_narrow(writer, count);
	for (uint32_t i = 0; i < count; i++)
		writer->wide[i] = losses[i].count - 1;
	detail_put_wide(writer, count);
}

static void detail_put_rows(struct detail_writer *writer)
{
	const struct detail_contents *contents = writer->contents;
	for (uint32_t report = 0, row = 0; report < contents->reports_count; report++) {
		uint32_t next = 0;
		for (uint32_t i = 0; i < contents->reports[report].rows_count; i++, row++) {
			uint32_t place = contents->places[row];
			assert(place >= next && place < contents->dictionary_count);
			writer->narrow[row] = place - next;
			next = place + 1;
		}
	}
	detail_put_narrow(writer, contents->rows_count);

	for (uint32_t row = 0; row < contents->rows_count; row++) {
		assert(contents->values[row] > 0);
		writer->wide[row] = contents->values[row] - 1;
	}
	/* Hardly any is above 1: zstd takes a fifth off, and is read as fast as the rest. */
	column_put_u64(
	        writer->wide, contents->rows_count, COLUMN_SMALL, writer->scratch, writer->to);
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

int detail_chunk_encode(const struct detail_contents *contents, struct kv_bytes key,
        enum column_effort effort, struct column_scratch *scratch, struct buf *to)
{
	assert(contents->dictionary_count <= SUMS_DICTIONARY_MAX);
	assert(contents->intervals_count <= DETAIL_INTERVALS_MAX);
	assert(contents->reports_count <= DETAIL_REPORTS_MAX);
	assert(contents->rows_count <= DETAIL_ROWS_MAX);
	assert(contents->losses_count <= DETAIL_LOSSES_MAX);

	uint32_t longest = max_u32(contents->rows_count, contents->losses_count);
	longest = max_u32(longest, max_u32(contents->intervals_count, contents->reports_count));
	autofree uint32_t *narrow = malloc(((size_t)longest + 1) * sizeof(*narrow));
	autofree uint64_t *wide = malloc(((size_t)longest + 1) * sizeof(*wide));
	if (!narrow || !wide)
		return -ENOMEM;

	struct detail_writer writer = { contents, effort, scratch, narrow, wide, to };
	block_head_begin(BLOCK_MAGIC_DETAIL, BLOCK_VERSION_DETAIL, to);
	int r = detail_put_directory(contents, to);
	if (r < 0)
		return r;
	detail_put_intervals(&writer);
	detail_put_reports(&writer);
	detail_put_losses(&writer);
	detail_put_rows(&writer);
	block_head_seal(to, key);
	return to->failed ? -ENOMEM : 0;
}

/* ---- opening ---- */

static void detail_open_columns(struct detail_chunk *chunk, struct reader *from)
{
	chunk->interval.stream = column_open(from, chunk->intervals_count);
	chunk->interval.seq = column_open_wide(from, chunk->intervals_count);
	chunk->interval.start = column_open_wide(from, chunk->intervals_count);
	chunk->interval.duration = column_open_wide(from, chunk->intervals_count);
	chunk->report.series = column_open(from, chunk->reports_count);
	chunk->report.interval = column_open(from, chunk->reports_count);
	chunk->report.rows = column_open(from, chunk->reports_count);
	chunk->report.has_coverage = column_open(from, chunk->reports_count);
	chunk->report.coverage = column_open_wide(from, chunk->reports_count);
	chunk->loss.series = column_open(from, chunk->losses_count);
	chunk->loss.interval = column_open(from, chunk->losses_count);
	chunk->loss.reason = column_open(from, chunk->losses_count);
	chunk->loss.count = column_open_wide(from, chunk->losses_count);
	chunk->row.place = column_open(from, chunk->rows_count);
	chunk->row.value = column_open_wide(from, chunk->rows_count);
}

int detail_chunk_open(struct kv_bytes key, struct kv_bytes value, struct detail_chunk *ret_chunk)
{
	struct reader from;
	uint8_t version;
	struct detail_chunk chunk = { 0 };
	int r = block_head_open(
	        BLOCK_MAGIC_DETAIL, BLOCK_VERSION_DETAIL, key, value, &version, &from);
	if (r < 0)
		return r;

	chunk.dictionary_count = (uint32_t)reader_varint_max(&from, SUMS_DICTIONARY_MAX);
	chunk.dictionary_hash = reader_u64(&from);
	chunk.intervals_count = (uint32_t)reader_varint_max(&from, DETAIL_INTERVALS_MAX);
	chunk.reports_count = (uint32_t)reader_varint_max(&from, DETAIL_REPORTS_MAX);
	chunk.rows_count = (uint32_t)reader_varint_max(&from, DETAIL_ROWS_MAX);
	chunk.losses_count = (uint32_t)reader_varint_max(&from, DETAIL_LOSSES_MAX);
	chunk.first_ns = reader_varint(&from);
	chunk.last_ns = chunk.first_ns + reader_varint_max(&from, UINT64_MAX - chunk.first_ns);
	chunk.series_first = (uint32_t)reader_varint_max(&from, UINT32_MAX);
	chunk.series_last = chunk.series_first +
	                    (uint32_t)reader_varint_max(&from, UINT32_MAX - chunk.series_first);
	chunk.samples = reader_varint(&from);
	chunk.lost = reader_varint(&from);
	/* Reports belong to intervals, and rows to reports. */
	if ((chunk.reports_count > 0 || chunk.losses_count > 0) && chunk.intervals_count == 0)
		reader_fail(&from);
	if (chunk.rows_count > 0 && (chunk.reports_count == 0 || chunk.dictionary_count == 0))
		reader_fail(&from);
	detail_open_columns(&chunk, &from);
	if (from.failed || reader_left(&from) > 0)
		return -EBADMSG;
	*ret_chunk = chunk;
	return 0;
}

/* ---- reading ---- */

struct detail_memory {
	struct column_scratch scratch;
	struct buf intervals;
	struct buf reports;
	struct buf losses;
	struct buf places;
	struct buf values;
	struct buf wide;
	bool has_rows;     /* of the chunk whose heads were got last: they are decoded */
	struct buf placed; /* u8 by report: its places are sums of their distances */
	struct buf narrow_columns;
	struct buf wide_columns;
};

struct detail_memory *detail_memory_new(void)
{
	return calloc(1, sizeof(struct detail_memory));
}

void detail_memory_free(struct detail_memory *memory)
{
	if (!memory)
		return;
	column_scratch_fini(&memory->scratch);
	buf_fini(&memory->intervals);
	buf_fini(&memory->reports);
	buf_fini(&memory->losses);
	buf_fini(&memory->places);
	buf_fini(&memory->values);
	buf_fini(&memory->wide);
	buf_fini(&memory->placed);
	buf_fini(&memory->narrow_columns);
	buf_fini(&memory->wide_columns);
	free(memory);
}

/* An array in a buf, which keeps its memory for the next chunk. */
static void *detail_room(struct buf *buf, size_t count, size_t bytes_each)
{
	buf_reset(buf);
	return buf_reserve(buf, count * bytes_each);
}

/* Columns of the same count, side by side: memory, a pointer per column. */
static int detail_columns_room(struct detail_memory *memory, uint32_t count, uint32_t **narrow,
        uint32_t narrow_count, uint64_t **wide, uint32_t wide_count)
{
	uint32_t *narrow_at = detail_room(
	        &memory->narrow_columns, (size_t)count * narrow_count, sizeof(uint32_t));
	uint64_t *wide_at = detail_room(
	        &memory->wide_columns, (size_t)count * wide_count, sizeof(uint64_t));
	if (!narrow_at || !wide_at)
		return -ENOMEM;
	for (uint32_t i = 0; i < narrow_count; i++)
		narrow[i] = narrow_at + (size_t)i * count;
	for (uint32_t i = 0; i < wide_count; i++)
		wide[i] = wide_at + (size_t)i * count;
	return 0;
}

static int detail_get_intervals(
        const struct detail_chunk *chunk, struct detail_memory *memory, struct detail_interval *to)
{
	uint32_t count = chunk->intervals_count;
	struct column_scratch *scratch = &memory->scratch;
	uint32_t *stream;
	uint64_t *wide[3];
	int r = detail_columns_room(memory, count, &stream, 1, wide, 3);
	r = r < 0 ? r : column_get_u32(&chunk->interval.stream, UINT32_MAX, stream, scratch);
	r = r < 0 ? r : column_get_u64(&chunk->interval.seq, UINT64_MAX, wide[0], scratch);
	r = r < 0 ? r : column_get_u64(&chunk->interval.start, UINT64_MAX, wide[1], scratch);
	r = r < 0 ? r : column_get_u64(&chunk->interval.duration, UINT64_MAX, wide[2], scratch);
	if (r < 0)
		return r;

	for (uint32_t i = 0; i < count; i++) {
		const struct detail_interval *before = i ? &to[i - 1] : NULL;
		bool is_next = before && stream[i] == 0;
		uint64_t seq = is_next ? before->seq + 1 : 0;
		uint64_t start_ns = is_next ? before->start_ns + before->duration_ns
		                            : chunk->first_ns;
		uint64_t end_ns;
		if (__builtin_add_overflow(before ? before->stream : 0, stream[i], &to[i].stream))
			return -EBADMSG;
		to[i].seq = seq + zagzig(wide[0][i]);
		to[i].start_ns = start_ns + zagzig(wide[1][i]);
		to[i].duration_ns = wide[2][i];
		if (__builtin_add_overflow(to[i].start_ns, to[i].duration_ns, &end_ns) ||
		        to[i].start_ns < chunk->first_ns || end_ns > chunk->last_ns ||
		        (before && !interval_is_before(before, &to[i])))
			return -EBADMSG;
	}
	return 0;
}

static int detail_get_reports(const struct detail_chunk *chunk, struct detail_memory *memory,
        const struct detail_interval *intervals, struct detail_report *to)
{
	uint32_t count = chunk->reports_count;
	struct column_scratch *scratch = &memory->scratch;
	uint32_t *narrow[4];
	uint64_t *coverage;
	int r = detail_columns_room(memory, count, narrow, 4, &coverage, 1);
	r = r < 0 ? r : column_get_u32(&chunk->report.series, UINT32_MAX, narrow[0], scratch);
	r = r < 0 ? r : column_get_u32(&chunk->report.interval, UINT32_MAX, narrow[1], scratch);
	r = r < 0 ? r : column_get_u32(&chunk->report.rows, DETAIL_ROWS_MAX, narrow[2], scratch);
	r = r < 0 ? r : column_get_u32(&chunk->report.has_coverage, 1, narrow[3], scratch);
	r = r < 0 ? r : column_get_u64(&chunk->report.coverage, UINT64_MAX, coverage, scratch);
	if (r < 0)
		return r;

	uint32_t rows = 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct detail_report *before = i ? &to[i - 1] : NULL;
		bool is_next = before && narrow[0][i] == 0;
		uint64_t series = (before ? before->series : chunk->series_first) +
		                  (uint64_t)narrow[0][i];
		uint64_t interval = (is_next ? before->interval + 1 : 0) + (uint64_t)narrow[1][i];
		if (series > chunk->series_last || interval >= chunk->intervals_count ||
		        narrow[2][i] > chunk->rows_count - rows)
			return -EBADMSG;
		to[i] = (struct detail_report){
			.series = (uint32_t)series,
			.interval = (uint32_t)interval,
			.rows_first = rows,
			.rows_count = narrow[2][i],
			.has_coverage = narrow[3][i],
		};
		rows += narrow[2][i];
		if (to[i].has_coverage)
			to[i].coverage_ns = intervals[interval].duration_ns - zagzig(coverage[i]);
		else if (coverage[i] != 0)
			return -EBADMSG;
	}
	return rows == chunk->rows_count ? 0 : -EBADMSG;
}

static int detail_get_losses(
        const struct detail_chunk *chunk, struct detail_memory *memory, struct detail_loss *to)
{
	uint32_t count = chunk->losses_count;
	struct column_scratch *scratch = &memory->scratch;
	uint32_t intervals_last = chunk->intervals_count - 1; /* there is one, if there is a loss */
	uint32_t *narrow[3];
	uint64_t *losses;
	int r = detail_columns_room(memory, count, narrow, 3, &losses, 1);
	r = r < 0 ? r : column_get_u32(&chunk->loss.series, UINT32_MAX, narrow[0], scratch);
	r = r < 0 ? r : column_get_u32(&chunk->loss.interval, intervals_last, narrow[1], scratch);
	r = r < 0 ? r : column_get_u32(&chunk->loss.reason, UINT32_MAX, narrow[2], scratch);
	r = r < 0 ? r : column_get_u64(&chunk->loss.count, UINT64_MAX - 1, losses, scratch);
	if (r < 0)
		return r;

	uint64_t lost = 0;
	for (uint32_t i = 0; i < count; i++) {
		to[i] = (struct detail_loss){ .series = narrow[0][i],
			.interval = narrow[1][i],
			.reason = narrow[2][i],
			.count = losses[i] + 1 };
		if ((i > 0 && !loss_is_before(&to[i - 1], &to[i])) ||
		        __builtin_add_overflow(lost, to[i].count, &lost))
			return -EBADMSG;
	}
	return lost == chunk->lost ? 0 : -EBADMSG;
}

int detail_chunk_get_heads(const struct detail_chunk *chunk, struct detail_memory *memory,
        struct detail_heads *ret_heads)
{
	struct detail_interval *intervals = detail_room(
	        &memory->intervals, chunk->intervals_count, sizeof(*intervals));
	struct detail_report *reports = detail_room(
	        &memory->reports, chunk->reports_count, sizeof(*reports));
	struct detail_loss *losses = detail_room(
	        &memory->losses, chunk->losses_count, sizeof(*losses));
	memory->has_rows = false;
	if (!intervals || !reports || !losses)
		return -ENOMEM;
	int r = detail_get_intervals(chunk, memory, intervals);
	r = r < 0 ? r : detail_get_reports(chunk, memory, intervals, reports);
	r = r < 0 ? r : detail_get_losses(chunk, memory, losses);
	if (r < 0)
		return r;
	*ret_heads = (struct detail_heads){ intervals, reports, losses };
	return 0;
}

/* Distances and values as they lie, and the sum of the values checked. */
/* No report has its places so far. */
static int detail_clear_placed(const struct detail_chunk *chunk, struct detail_memory *memory)
{
	uint8_t *placed = detail_room(&memory->placed, chunk->reports_count, 1);
	if (!placed)
		return -ENOMEM;
	memset(placed, 0, chunk->reports_count);
	return 0;
}

/* The places of a report, where they were not asked for before. */
static int detail_place_report(
        const struct detail_chunk *chunk, struct detail_memory *memory, uint32_t report)
{
	const struct detail_report *of =
	        (const struct detail_report *)(const void *)memory->reports.bytes + report;
	uint32_t *places = (uint32_t *)(void *)memory->places.bytes;
	if (memory->placed.bytes[report])
		return 0;
	int r = column_places(places + of->rows_first, of->rows_count, chunk->dictionary_count);
	memory->placed.bytes[report] = r == 0;
	return r;
}

static int detail_decode_columns(const struct detail_chunk *chunk, struct detail_memory *memory)
{
	uint32_t count = chunk->rows_count;
	bool is_wide = !column_is_narrow(&chunk->row.value);
	uint32_t place_max = chunk->dictionary_count ? chunk->dictionary_count - 1 : 0;
	uint32_t *places = detail_room(&memory->places, count, sizeof(*places));
	uint32_t *less_one = NULL;
	uint64_t *wide = NULL;
	uint64_t samples = 0;
	if (is_wide)
		wide = detail_room(&memory->wide, count, sizeof(*wide));
	else
		less_one = detail_room(&memory->values, count, sizeof(*less_one));
	if (!places || (!wide && !less_one))
		return -ENOMEM;

	int r = column_get_u32(&chunk->row.place, place_max, places, &memory->scratch);
	if (r == 0 && is_wide) {
		r = column_get_u64(&chunk->row.value, UINT64_MAX - 1, wide, &memory->scratch);
		for (uint32_t i = 0; r == 0 && i < count; i++) {
			wide[i]++;
			r = __builtin_add_overflow(samples, wide[i], &samples) ? -EBADMSG : 0;
		}
	} else if (r == 0) {
		r = column_get_u32(&chunk->row.value.low, UINT32_MAX, less_one, &memory->scratch);
		samples = r == 0 ? column_sum(less_one, count) + count : 0;
	}
	if (r == 0 && samples != chunk->samples)
		r = -EBADMSG;
	return r < 0 ? r : detail_clear_placed(chunk, memory);
}

/* Once for a chunk, however many ask for its rows. Places are distances: detail_place_report(). */
static int detail_get_columns(const struct detail_chunk *chunk, struct detail_memory *memory,
        struct detail_rows *ret_rows)
{
	bool is_wide = !column_is_narrow(&chunk->row.value);
	int r = memory->has_rows ? 0 : detail_decode_columns(chunk, memory);
	if (r < 0)
		return r;
	memory->has_rows = true;
	*ret_rows = (struct detail_rows){
		.places = (const void *)memory->places.bytes,
		.less_one = is_wide ? NULL : (const void *)memory->values.bytes,
		.wide = is_wide ? (const void *)memory->wide.bytes : NULL,
	};
	return 0;
}

int detail_chunk_get_rows(const struct detail_chunk *chunk, struct detail_memory *memory,
        struct detail_rows *ret_rows)
{
	struct detail_rows rows;
	int r = detail_get_columns(chunk, memory, &rows);
	for (uint32_t i = 0; r == 0 && i < chunk->reports_count; i++)
		r = detail_place_report(chunk, memory, i);
	if (r == 0)
		*ret_rows = rows;
	return r;
}

static void detail_add_narrow(
        const uint32_t *places, const uint32_t *less_one, uint32_t count, uint32_t *sums)
{
	for (uint32_t i = 0; i < count; i++)
		sums[places[i]] += less_one[i] + 1;
}

static int detail_add_wide(const uint32_t *places, const uint32_t *less_one, const uint64_t *wide,
        uint32_t count, struct stack_sums *sums)
{
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < count; i++)
		r = stack_sums_add(sums, places[i], wide ? wide[i] : (uint64_t)less_one[i] + 1);
	return r;
}

int detail_chunk_sum(const struct detail_chunk *chunk, struct detail_memory *memory,
        const uint8_t *wanted, struct stack_sums *sums)
{
	const struct detail_report *reports = (const void *)memory->reports.bytes;
	struct detail_rows rows;
	if (stack_sums_count(sums) != chunk->dictionary_count)
		return -EBADMSG;
	int r = detail_get_columns(chunk, memory, &rows);
	if (r < 0)
		return r;

	assert(rows.less_one || rows.wide);
	const uint32_t *less_one = rows.less_one;
	const uint64_t *wide = rows.wide;
	bool is_narrow = less_one && chunk->samples <= UINT32_MAX;
	uint32_t *narrow = is_narrow ? stack_sums_narrow(sums, chunk->samples) : NULL;
	for (uint32_t i = 0; r == 0 && i < chunk->reports_count; i++) {
		uint32_t first = reports[i].rows_first;
		uint32_t count = reports[i].rows_count;
		if (wanted && !wanted[i])
			continue;
		r = detail_place_report(chunk, memory, i);
		if (r == 0 && narrow)
			detail_add_narrow(rows.places + first, less_one + first, count, narrow);
		else if (r == 0)
			r = detail_add_wide(rows.places + first, less_one ? less_one + first : NULL,
			        wide ? wide + first : NULL, count, sums);
	}
	return r;
}
