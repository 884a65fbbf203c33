/*
 * Three plain arrays that only grow at their end and are put in order by batch_settle(). Rows are
 * sorted by radix over only those bytes of (series, node) in which the keys of this batch differ:
 * an agent's batch needs four or five passes over memory that fits the cache.
 */

#include "profile/batch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "profile/batch_private.h"

#define BATCH_FIRST_CAPACITY 64

/* A varint of 32 and of 64 bits. */
#define BATCH_ID_BYTES_MAX    5
#define BATCH_VALUE_BYTES_MAX 10

/* So many rows are encoded at once, so that no more than some KB are asked for in vain. */
#define BATCH_PART_ROWS 256

/* Fewer rows than this are sorted faster without counting bytes. */
#define BATCH_RADIX_ROWS_MIN 512

struct batch *batch_new(struct dict *dict)
{
	struct batch *batch = calloc(1, sizeof(*batch));
	if (batch)
		batch->dict = dict;
	return batch;
}

void batch_free(struct batch *batch)
{
	if (!batch)
		return;
	free(batch->rows);
	free(batch->coverage);
	free(batch->losses);
	free(batch);
}

void batch_reset(struct batch *batch)
{
	batch->start_ns = 0;
	batch->duration_ns = 0;
	batch->rows_count = 0;
	batch->coverage_count = 0;
	batch->losses_count = 0;
}

/* The array with room for one more, or NULL and the old one is still good. */
static void *batch_grow(void *array, uint32_t count, uint32_t *capacity, size_t each)
{
	if (count < *capacity)
		return array;

	uint64_t wanted = *capacity ? 2 * (uint64_t)*capacity : BATCH_FIRST_CAPACITY;
	if (wanted > UINT32_MAX)
		return NULL;
	void *grown = realloc(array, wanted * each);
	if (grown)
		*capacity = (uint32_t)wanted;
	return grown;
}

static uint64_t row_key(const struct row *row)
{
	return (uint64_t)row->series << 32 | row->node;
}

static uint64_t loss_key(const struct loss *loss)
{
	return (uint64_t)loss->series << 32 | loss->reason;
}

static int row_compare(const void *a, const void *b)
{
	uint64_t x = row_key(a);
	uint64_t y = row_key(b);
	return x < y ? -1 : x > y;
}

static int coverage_compare(const void *a, const void *b)
{
	uint32_t x = ((const struct coverage *)a)->series;
	uint32_t y = ((const struct coverage *)b)->series;
	return x < y ? -1 : x > y;
}

static int loss_compare(const void *a, const void *b)
{
	uint64_t x = loss_key(a);
	uint64_t y = loss_key(b);
	return x < y ? -1 : x > y;
}

/* Stable counting sort by one byte of the key. */
static void rows_sort_byte(
        const struct row *rows, uint32_t count, unsigned int shift, struct row *sorted)
{
	uint32_t places[256] = { 0 };
	for (uint32_t i = 0; i < count; i++)
		places[(row_key(&rows[i]) >> shift) & 0xff]++;

	uint32_t place = 0;
	for (unsigned int byte = 0; byte < 256; byte++) {
		uint32_t n = places[byte];
		places[byte] = place;
		place += n;
	}
	for (uint32_t i = 0; i < count; i++)
		sorted[places[(row_key(&rows[i]) >> shift) & 0xff]++] = rows[i];
}

static void rows_sort(struct row *rows, uint32_t count)
{
	autofree struct row *other = NULL;
	if (count >= BATCH_RADIX_ROWS_MIN)
		other = malloc(count * sizeof(*other));
	if (!other) {
		/* Few rows, or no memory for a second array: slower, as right. */
		qsort(rows, count, sizeof(*rows), row_compare);
		return;
	}

	uint64_t differ = 0;
	for (uint32_t i = 1; i < count; i++)
		differ |= row_key(&rows[i]) ^ row_key(&rows[0]);

	struct row *from = rows;
	struct row *to = other;
	for (unsigned int shift = 0; shift < 64; shift += 8) {
		if (!((differ >> shift) & 0xff))
			continue;
		rows_sort_byte(from, count, shift, to);
		struct row *swap = from;
		from = to;
		to = swap;
	}
	if (from != rows)
		memcpy(rows, from, count * sizeof(*rows));
}

/* Sums of equal neighbours that do not fit 64 bits stay apart, so nothing is lost by the refusal.
 */
static int rows_settle(struct row *rows, uint32_t *count)
{
	bool is_sorted = true;
	bool is_strict = true;
	for (uint32_t i = 1; i < *count; i++) {
		uint64_t before = row_key(&rows[i - 1]);
		uint64_t key = row_key(&rows[i]);
		is_sorted = is_sorted && before <= key;
		is_strict = is_strict && before < key;
	}
	if (is_strict)
		return 0;
	if (!is_sorted)
		rows_sort(rows, *count);

	int r = 0;
	uint32_t last = 0;
	for (uint32_t i = 1; i < *count; i++) {
		uint64_t sum;
		bool is_equal = row_key(&rows[i]) == row_key(&rows[last]);
		if (is_equal && !__builtin_add_overflow(rows[last].value, rows[i].value, &sum)) {
			rows[last].value = sum;
			continue;
		}
		r = is_equal ? -EOVERFLOW : r;
		rows[++last] = rows[i];
	}
	*count = last + 1;
	return r;
}

static int coverage_settle(struct coverage *coverage, uint32_t *count)
{
	if (*count < 2)
		return 0;
	qsort(coverage, *count, sizeof(*coverage), coverage_compare);

	int r = 0;
	uint32_t last = 0;
	for (uint32_t i = 1; i < *count; i++) {
		uint64_t sum;
		bool is_equal = coverage[i].series == coverage[last].series;
		if (is_equal && !__builtin_add_overflow(coverage[last].ns, coverage[i].ns, &sum)) {
			coverage[last].ns = sum;
			continue;
		}
		r = is_equal ? -EOVERFLOW : r;
		coverage[++last] = coverage[i];
	}
	*count = last + 1;
	return r;
}

static int losses_settle(struct loss *losses, uint32_t *count)
{
	if (*count < 2)
		return 0;
	qsort(losses, *count, sizeof(*losses), loss_compare);

	int r = 0;
	uint32_t last = 0;
	for (uint32_t i = 1; i < *count; i++) {
		uint64_t sum;
		bool is_equal = loss_key(&losses[i]) == loss_key(&losses[last]);
		if (is_equal &&
		        !__builtin_add_overflow(losses[last].count, losses[i].count, &sum)) {
			losses[last].count = sum;
			continue;
		}
		r = is_equal ? -EOVERFLOW : r;
		losses[++last] = losses[i];
	}
	*count = last + 1;
	return r;
}

int batch_settle(struct batch *batch)
{
	int rows = rows_settle(batch->rows, &batch->rows_count);
	int coverage = coverage_settle(batch->coverage, &batch->coverage_count);
	int losses = losses_settle(batch->losses, &batch->losses_count);
	return rows < 0 ? rows : coverage < 0 ? coverage : losses;
}

/* Settles before growing; grows when that did not free at least half. */
static int batch_make_room(struct batch *batch)
{
	if (batch->rows_capacity > BATCH_FIRST_CAPACITY) {
		int r = rows_settle(batch->rows, &batch->rows_count);
		if (r < 0)
			return r;
		if (batch->rows_count <= batch->rows_capacity / 2)
			return 0;
	}
	struct row *rows = batch_grow(
	        batch->rows, batch->rows_capacity, &batch->rows_capacity, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	batch->rows = rows;
	return 0;
}

int batch_reserve_rows(struct batch *batch, uint32_t count)
{
	uint64_t wanted = (uint64_t)batch->rows_count + count;
	if (wanted <= batch->rows_capacity)
		return 0;
	if (wanted > UINT32_MAX)
		return -ENOMEM;
	struct row *rows = realloc(batch->rows, wanted * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	batch->rows = rows;
	batch->rows_capacity = (uint32_t)wanted;
	return 0;
}

int batch_add_row(struct batch *batch, uint32_t series, uint32_t node, uint64_t value)
{
	if (value == 0)
		return 0;
	if (batch->rows_count == batch->rows_capacity) {
		int r = batch_make_room(batch);
		if (r < 0)
			return r;
	}
	batch->rows[batch->rows_count++] =
	        (struct row){ .series = series, .node = node, .value = value };
	return 0;
}

/* Leaves the sum as it was when it would not fit. */
static int add_exact(uint64_t *sum, uint64_t value)
{
	uint64_t added;
	if (__builtin_add_overflow(*sum, value, &added))
		return -EOVERFLOW;
	*sum = added;
	return 0;
}

/* Series come in runs: the last entry is most often the one to add to. */
int batch_add_coverage(struct batch *batch, uint32_t series, uint64_t ns)
{
	if (batch->coverage_count > 0) {
		struct coverage *last = &batch->coverage[batch->coverage_count - 1];
		if (last->series == series)
			return add_exact(&last->ns, ns);
	}

	struct coverage *coverage = batch_grow(batch->coverage, batch->coverage_count,
	        &batch->coverage_capacity, sizeof(*coverage));
	if (!coverage)
		return -ENOMEM;
	batch->coverage = coverage;
	batch->coverage[batch->coverage_count++] = (struct coverage){ .series = series, .ns = ns };
	return 0;
}

int batch_add_loss(struct batch *batch, uint32_t series, uint32_t reason, uint64_t count)
{
	if (count == 0)
		return 0;
	if (batch->losses_count > 0) {
		struct loss *last = &batch->losses[batch->losses_count - 1];
		if (last->series == series && last->reason == reason)
			return add_exact(&last->count, count);
	}

	struct loss *losses = batch_grow(
	        batch->losses, batch->losses_count, &batch->losses_capacity, sizeof(*losses));
	if (!losses)
		return -ENOMEM;
	batch->losses = losses;
	batch->losses[batch->losses_count++] =
	        (struct loss){ .series = series, .reason = reason, .count = count };
	return 0;
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
	uint64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* The span of both intervals, where 0 and 0 is none. */
static void batch_merge_interval(struct batch *to, const struct batch *from)
{
	if (from->start_ns == 0 && from->duration_ns == 0)
		return;
	if (to->start_ns == 0 && to->duration_ns == 0) {
		to->start_ns = from->start_ns;
		to->duration_ns = from->duration_ns;
		return;
	}

	uint64_t to_end = add_saturating(to->start_ns, to->duration_ns);
	uint64_t from_end = add_saturating(from->start_ns, from->duration_ns);
	uint64_t end = to_end > from_end ? to_end : from_end;
	to->start_ns = to->start_ns < from->start_ns ? to->start_ns : from->start_ns;
	to->duration_ns = end - to->start_ns;
}

static int batch_merge_remapped(
        struct batch *to, const struct batch *from, struct dict_remap *remap)
{
	int r = 0;
	uint32_t series, node;
	for (uint32_t i = 0; r == 0 && i < from->rows_count; i++) {
		r = dict_remap_series(remap, from->rows[i].series, &series);
		r = r < 0 ? r : dict_remap_node(remap, from->rows[i].node, &node);
		r = r < 0 ? r : batch_add_row(to, series, node, from->rows[i].value);
	}
	for (uint32_t i = 0; r == 0 && i < from->coverage_count; i++) {
		r = dict_remap_series(remap, from->coverage[i].series, &series);
		r = r < 0 ? r : batch_add_coverage(to, series, from->coverage[i].ns);
	}
	for (uint32_t i = 0; r == 0 && i < from->losses_count; i++) {
		const struct loss *loss = &from->losses[i];
		series = SERIES_NONE;
		if (loss->series != SERIES_NONE)
			r = dict_remap_series(remap, loss->series, &series);
		r = r < 0 ? r : batch_add_loss(to, series, loss->reason, loss->count);
	}
	return r;
}

static int batch_merge_same_dict(struct batch *to, const struct batch *from)
{
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < from->rows_count; i++)
		r = batch_add_row(
		        to, from->rows[i].series, from->rows[i].node, from->rows[i].value);
	for (uint32_t i = 0; r == 0 && i < from->coverage_count; i++)
		r = batch_add_coverage(to, from->coverage[i].series, from->coverage[i].ns);
	for (uint32_t i = 0; r == 0 && i < from->losses_count; i++)
		r = batch_add_loss(
		        to, from->losses[i].series, from->losses[i].reason, from->losses[i].count);
	return r;
}

int batch_merge(struct batch *to, const struct batch *from)
{
	assert(to != from);

	int r;
	if (to->dict == from->dict) {
		r = batch_merge_same_dict(to, from);
	} else {
		AUTO(dict_remap) remap = dict_remap_new(from->dict, to->dict);
		r = remap ? batch_merge_remapped(to, from, remap) : -ENOMEM;
	}
	if (r < 0)
		return r;
	batch_merge_interval(to, from);
	return batch_settle(to);
}

uint64_t batch_samples(const struct batch *batch)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < batch->rows_count; i++)
		sum = add_saturating(sum, batch->rows[i].value);
	return sum;
}

uint64_t batch_lost(const struct batch *batch)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < batch->losses_count; i++)
		if (loss_is_lost(batch->losses[i].reason, batch->losses[i].series != SERIES_NONE))
			sum = add_saturating(sum, batch->losses[i].count);
	return sum;
}

uint32_t batch_run_end(const struct batch *batch, uint32_t first)
{
	uint32_t end = first + 1;
	while (end < batch->rows_count && batch->rows[end].series == batch->rows[first].series)
		end++;
	return end;
}

static inline uint8_t *batch_put_varint(uint8_t *at, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*at++ = (uint8_t)(value | 0x80);
	*at++ = (uint8_t)value;
	return at;
}

/* One part of a run's column of nodes, or of values: room is asked for once for all of it. */
static void batch_encode_nodes(
        const struct row *rows, uint32_t count, uint32_t node_next, struct buf *to)
{
	uint8_t *first = buf_reserve(to, (size_t)count * BATCH_ID_BYTES_MAX);
	uint8_t *at = first;
	for (uint32_t i = 0; first && i < count; i++) {
		at = batch_put_varint(at, rows[i].node - node_next);
		node_next = rows[i].node + 1;
	}
	to->count += (size_t)(at - first);
}

static void batch_encode_values(const struct row *rows, uint32_t count, struct buf *to)
{
	uint8_t *first = buf_reserve(to, (size_t)count * BATCH_VALUE_BYTES_MAX);
	uint8_t *at = first;
	for (uint32_t i = 0; first && i < count; i++)
		at = batch_put_varint(at, rows[i].value - 1);
	to->count += (size_t)(at - first);
}

static uint32_t batch_part(uint32_t first, uint32_t count)
{
	return count - first < BATCH_PART_ROWS ? count - first : BATCH_PART_ROWS;
}

/* One run: its nodes as a column, then its values as a column. Neighbours compress each other. */
static void batch_encode_run(const struct row *rows, uint32_t count, struct buf *to)
{
	for (uint32_t i = 0; i < count; i += BATCH_PART_ROWS)
		batch_encode_nodes(
		        rows + i, batch_part(i, count), i ? rows[i - 1].node + 1 : 0, to);
	for (uint32_t i = 0; i < count; i += BATCH_PART_ROWS)
		batch_encode_values(rows + i, batch_part(i, count), to);
}

static void batch_assert_rows(const struct batch *batch, struct dict_mark mark)
{
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		assert(row->series < mark.series && row->node < mark.nodes && row->value > 0);
		assert(i == 0 || row_key(row - 1) < row_key(row));
	}
}

static void batch_assert_coverage(const struct batch *batch, struct dict_mark mark)
{
	for (uint32_t i = 0; i < batch->coverage_count; i++) {
		const struct coverage *coverage = &batch->coverage[i];
		assert(coverage->series < mark.series);
		assert(i == 0 || coverage[-1].series < coverage->series);
	}
}

static void batch_assert_losses(const struct batch *batch, struct dict_mark mark)
{
	for (uint32_t i = 0; i < batch->losses_count; i++) {
		const struct loss *loss = &batch->losses[i];
		assert(loss->series < mark.series || loss->series == SERIES_NONE);
		assert(i == 0 || loss_key(loss - 1) < loss_key(loss));
	}
}

void batch_assert_settled(const struct batch *batch)
{
	struct dict_mark mark = dict_mark(batch->dict);
	batch_assert_rows(batch, mark);
	batch_assert_coverage(batch, mark);
	batch_assert_losses(batch, mark);
}

void batch_encode_rest(const struct batch *batch, struct buf *to)
{
	uint32_t series_next = 0;
	uint64_t ns = batch->duration_ns;
	for (uint32_t i = 0; i < batch->coverage_count; i++) {
		buf_put_varint(to, batch->coverage[i].series - series_next);
		buf_put_zigzag(to, (int64_t)(batch->coverage[i].ns - ns));
		series_next = batch->coverage[i].series + 1;
		ns = batch->coverage[i].ns;
	}

	/* SERIES_NONE + 1 is 0. */
	for (uint32_t i = 0; i < batch->losses_count; i++) {
		buf_put_varint(to, (uint32_t)(batch->losses[i].series + 1));
		buf_put_varint(to, batch->losses[i].reason);
		buf_put_varint(to, batch->losses[i].count);
	}
}

void batch_encode(const struct batch *batch, struct buf *to)
{
	batch_assert_settled(batch);

	buf_put_varint(to, batch->start_ns);
	buf_put_varint(to, batch->duration_ns);
	buf_put_varint(to, batch->rows_count);
	buf_put_varint(to, batch->coverage_count);
	buf_put_varint(to, batch->losses_count);

	uint32_t series_next = 0;
	for (uint32_t i = 0, end; i < batch->rows_count; i = end) {
		end = batch_run_end(batch, i);
		buf_put_varint(to, batch->rows[i].series - series_next);
		buf_put_varint(to, end - i - 1);
		batch_encode_run(batch->rows + i, end - i, to);
		series_next = batch->rows[i].series + 1;
	}

	batch_encode_rest(batch, to);
}

uint32_t batch_decode_ascending(struct reader *from, uint64_t *next, uint32_t count)
{
	uint64_t distance = reader_varint(from);
	if (*next >= count || distance >= count - *next) {
		reader_fail(from);
		return 0;
	}
	uint32_t id = (uint32_t)(*next + distance);
	*next = (uint64_t)id + 1;
	return id;
}

static void batch_decode_rows(struct batch *batch, struct dict_mark mark, struct reader *from)
{
	uint64_t series_next = 0;
	uint32_t done = 0;
	while (done < batch->rows_count && !from->failed) {
		uint32_t series = batch_decode_ascending(from, &series_next, mark.series);
		uint32_t count = (uint32_t)reader_varint_max(from, batch->rows_count - done - 1) +
		                 1;
		struct row *run = batch->rows + done;
		uint64_t node_next = 0;
		for (uint32_t i = 0; i < count && !from->failed; i++) {
			run[i].series = series;
			run[i].node = batch_decode_ascending(from, &node_next, mark.nodes);
		}
		for (uint32_t i = 0; i < count && !from->failed; i++)
			run[i].value = reader_varint_max(from, UINT64_MAX - 1) + 1;
		done += count;
	}
}

static void batch_decode_coverage(struct batch *batch, struct dict_mark mark, struct reader *from)
{
	uint64_t series_next = 0;
	uint64_t ns = batch->duration_ns;
	for (uint32_t i = 0; i < batch->coverage_count && !from->failed; i++) {
		batch->coverage[i].series = batch_decode_ascending(from, &series_next, mark.series);
		ns += (uint64_t)reader_zigzag(from);
		batch->coverage[i].ns = ns;
	}
}

static void batch_decode_losses(struct batch *batch, struct dict_mark mark, struct reader *from)
{
	for (uint32_t i = 0; i < batch->losses_count && !from->failed; i++) {
		struct loss *loss = &batch->losses[i];
		loss->series = (uint32_t)reader_varint_max(from, mark.series) - 1;
		loss->reason = (uint32_t)reader_varint_max(from, UINT32_MAX);
		loss->count = reader_varint(from);
		if (loss->count == 0 || (i > 0 && loss_key(loss - 1) >= loss_key(loss)))
			reader_fail(from);
	}
}

void batch_decode_rest(struct batch *batch, struct reader *from)
{
	struct dict_mark mark = dict_mark(batch->dict);
	batch_decode_coverage(batch, mark, from);
	batch_decode_losses(batch, mark, from);
}

int batch_take_memory(struct batch *batch)
{
	free(batch->rows);
	free(batch->coverage);
	free(batch->losses);
	batch->rows_capacity = batch->rows_count;
	batch->coverage_capacity = batch->coverage_count;
	batch->losses_capacity = batch->losses_count;
	batch->rows = calloc(batch->rows_count + 1, sizeof(*batch->rows));
	batch->coverage = calloc(batch->coverage_count + 1, sizeof(*batch->coverage));
	batch->losses = calloc(batch->losses_count + 1, sizeof(*batch->losses));
	if (batch->rows && batch->coverage && batch->losses)
		return 0;
	batch->rows_capacity = 0;
	batch->coverage_capacity = 0;
	batch->losses_capacity = 0;
	return -ENOMEM;
}

int batch_decode(struct batch *batch, struct reader *from)
{
	assert(batch->rows_count == 0 && batch->coverage_count == 0 && batch->losses_count == 0);

	struct dict_mark mark = dict_mark(batch->dict);
	uint64_t start_ns = reader_varint(from);
	uint64_t duration_ns = reader_varint_max(from, UINT64_MAX - start_ns);
	uint64_t rows = reader_varint_max(from, UINT32_MAX / 2);
	uint64_t coverage = reader_varint_max(from, UINT32_MAX / 2);
	uint64_t losses = reader_varint_max(from, UINT32_MAX / 2);
	/* The least that so many can take: refused before memory is taken for them. */
	if (from->failed || 2 * rows + 2 * coverage + 3 * losses > reader_left(from))
		return -EBADMSG;

	batch->start_ns = start_ns;
	batch->duration_ns = duration_ns;
	batch->rows_count = (uint32_t)rows;
	batch->coverage_count = (uint32_t)coverage;
	batch->losses_count = (uint32_t)losses;
	int r = batch_take_memory(batch);
	if (r == 0) {
		batch_decode_rows(batch, mark, from);
		batch_decode_rest(batch, from);
		r = from->failed ? -EBADMSG : 0;
	}
	if (r < 0)
		batch_reset(batch);
	return r;
}

void batch_encode_whole(const struct batch *batch, struct buf *to)
{
	dict_encode(batch->dict, (struct dict_mark){ 0 }, to);
	batch_encode(batch, to);
}

int batch_decode_whole(struct batch *batch, struct reader *from)
{
	int r = dict_decode(batch->dict, from);
	if (r < 0)
		return r;
	r = batch_decode(batch, from);
	if (r == 0 && reader_left(from) > 0)
		r = -EBADMSG;
	if (r < 0) {
		batch_reset(batch);
		dict_reset(batch->dict);
	}
	return r;
}
