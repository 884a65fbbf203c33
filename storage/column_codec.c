/*
 * Choosing and opening. A column's bytes are its packing alone; this file puts the head before it
 * and looks for the smallest packing. What each packing looks like is in column_pfor.c,
 * column_sparse.c and column_svb.c.
 */

#include "storage/column_codec_private.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "core/compress.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* A slower reading must save at least a tenth of the bytes. */
#define COLUMN_WORTH(bytes, than) ((bytes) < (than) - (than) / 10)

/* zstd on fewer bytes costs more than it gives. */
#define COLUMN_ZSTD_BYTES_MIN 64

static _Atomic bool column_is_plain;

void column_use_path(enum column_path path)
{
	column_is_plain = path == COLUMN_PATH_PLAIN;
}

bool column_path_is_avx2(void)
{
#ifdef __x86_64__
	return !column_is_plain && __builtin_cpu_supports("avx2");
#else
	return false;
#endif
}

bool column_path_is_ssse3(void)
{
#ifdef __x86_64__
	return !column_is_plain && __builtin_cpu_supports("ssse3");
#else
	return false;
#endif
}

void column_scratch_fini(struct column_scratch *scratch)
{
	buf_fini(&scratch->packed);
	buf_fini(&scratch->other);
	buf_fini(&scratch->sections);
	buf_fini(&scratch->low);
	buf_fini(&scratch->high);
}

/* ---- writing ---- */

static void column_put(
        enum column_codec codec, const void *bytes, size_t bytes_count, struct buf *to)
{
	buf_put_u8(to, (uint8_t)codec);
	buf_put_varint(to, bytes_count);
	buf_put(to, bytes, bytes_count);
}

static bool column_is_constant(const uint32_t *values, uint32_t count)
{
	return memcmp(values, values + 1, (count - 1) * sizeof(*values)) == 0;
}

/* In scratch->other: `packed` under zstd with its size before it. */
static void column_zstd(const struct buf *packed, struct column_scratch *scratch)
{
	buf_reset(&scratch->other);
	buf_put_varint(&scratch->other, packed->count);
	if (compress_append(COMPRESS_ZSTD_FAST, packed->bytes, packed->count, &scratch->other) < 0)
		scratch->other.failed = true;
}

/* Takes the place of `*best_bytes` bytes at the end of `to` when it is worth it. */
static void column_try_zstd(enum column_codec codec, const struct buf *packed, size_t start,
        struct column_scratch *scratch, struct buf *to)
{
	if (packed->failed || to->failed) {
		to->failed = true;
		return;
	}
	if (packed->count < COLUMN_ZSTD_BYTES_MIN)
		return;
	column_zstd(packed, scratch);
	if (scratch->other.failed) {
		to->failed = true;
		return;
	}
	if (!COLUMN_WORTH(scratch->other.count, to->count - start))
		return;
	to->count = start;
	column_put(codec, scratch->other.bytes, scratch->other.count, to);
}

static void column_put_sparse(
        const uint32_t *values, uint32_t count, struct column_scratch *scratch, struct buf *to)
{
	buf_reset(&scratch->sections);
	sparse_put(values, count, &scratch->packed, &scratch->other, &scratch->sections);
	if (scratch->sections.count < (size_t)count * 4)
		column_put(COLUMN_SPARSE, scratch->sections.bytes, scratch->sections.count, to);
	else
		column_put(COLUMN_RAW, values, (size_t)count * 4, to);
	to->failed |= scratch->sections.failed;
}

void column_put_u32(const uint32_t *values, uint32_t count, enum column_effort effort,
        struct column_scratch *scratch, struct buf *to)
{
	assert(count <= COLUMN_COUNT_MAX);
	if (count == 0)
		return;

	struct buf *packed = &scratch->packed;
	buf_reset(packed);
	if (column_is_constant(values, count)) {
		buf_put_varint(packed, values[0]);
		column_put(COLUMN_CONSTANT, packed->bytes, packed->count, to);
		to->failed |= packed->failed;
		return;
	}
	if (effort == COLUMN_ZEROES && count >= PFOR_VALUES) {
		column_put_sparse(values, count, scratch, to);
		return;
	}

	size_t start = to->count;
	size_t svb = svb_bytes(values, count);
	pfor_put(values, count, false, packed);
	if (packed->failed) {
		to->failed = true;
		return;
	}
	size_t raw = (size_t)count * 4;
	size_t best = packed->count;
	bool is_svb = COLUMN_WORTH(svb, best);
	if (is_svb)
		best = svb;
	if (raw <= best) {
		column_put(COLUMN_RAW, values, raw, to);
	} else if (!is_svb) {
		column_put(COLUMN_PFOR, packed->bytes, packed->count, to);
	} else {
		buf_reset(packed);
		svb_put(values, count, packed);
		column_put(COLUMN_SVB, packed->bytes, packed->count, to);
	}
	if (effort != COLUMN_SMALL || to->failed || packed->failed) {
		to->failed |= packed->failed;
		return;
	}

	buf_reset(packed);
	pfor_put(values, count, true, packed);
	column_try_zstd(COLUMN_PFOR_ZSTD, packed, start, scratch, to);
	buf_reset(packed);
	svb_put(values, count, packed);
	column_try_zstd(COLUMN_SVB_ZSTD, packed, start, scratch, to);
}

void column_put_u64(const uint64_t *values, uint32_t count, enum column_effort effort,
        struct column_scratch *scratch, struct buf *to)
{
	assert(count <= COLUMN_COUNT_MAX);
	if (count == 0)
		return;
	buf_reset(&scratch->low);
	buf_reset(&scratch->high);
	uint32_t *low = (uint32_t *)(void *)buf_reserve(&scratch->low, (size_t)count * 4);
	uint32_t *high = (uint32_t *)(void *)buf_reserve(&scratch->high, (size_t)count * 4);
	if (!low || !high) {
		to->failed = true;
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		low[i] = (uint32_t)values[i];
		high[i] = (uint32_t)(values[i] >> 32);
	}
	column_put_u32(low, count, effort, scratch, to);
	column_put_u32(high, count, effort, scratch, to);
}

/* ---- reading ---- */

struct column column_open(struct reader *from, uint32_t count)
{
	struct column column = { .count = count };
	if (count == 0)
		return column;
	uint8_t codec = reader_u8(from);
	uint64_t bytes_count = reader_varint(from);
	if (codec >= COLUMN_CODECS || count > COLUMN_COUNT_MAX || bytes_count > reader_left(from)) {
		reader_fail(from);
		return column;
	}
	column.codec = codec;
	column.bytes_count = (size_t)bytes_count;
	column.bytes = reader_bytes(from, column.bytes_count);
	return column;
}

struct column_wide column_open_wide(struct reader *from, uint32_t count)
{
	struct column_wide column = { .low = column_open(from, count) };
	column.high = column_open(from, count);
	return column;
}

/* The one value of a constant column. */
static int column_constant(const struct column *column, uint32_t max, uint32_t *ret_value)
{
	struct reader reader = reader_of(column->bytes, column->bytes_count);
	uint64_t value = reader_varint_max(&reader, max);
	if (reader.failed || reader_left(&reader) > 0)
		return -EBADMSG;
	*ret_value = (uint32_t)value;
	return 0;
}

static int column_fill(const struct column *column, uint32_t max, uint32_t *to)
{
	uint32_t value;
	int r = column_constant(column, max, &value);
	for (uint32_t i = 0; r == 0 && i < column->count; i++)
		to[i] = value;
	return r;
}

static int column_get_raw(const struct column *column, uint32_t max, uint32_t *to)
{
	if (column->bytes_count != (size_t)column->count * 4)
		return -EBADMSG;
	memcpy(to, column->bytes, column->bytes_count);
	bool is_bad = false;
	for (uint32_t i = 0; i < column->count; i++)
		is_bad |= to[i] > max;
	return is_bad ? -EBADMSG : 0;
}

static size_t column_packed_bytes_max(enum column_codec codec, uint32_t count)
{
	if (codec == COLUMN_SVB_ZSTD)
		return (count + 3) / 4 + (size_t)count * 4;
	return (size_t)(count + PFOR_VALUES - 1) / PFOR_VALUES * PFOR_BLOCK_BYTES_MAX;
}

static int column_unzstd(const struct column *column, struct buf *to)
{
	struct reader reader = reader_of(column->bytes, column->bytes_count);
	uint64_t unpacked = reader_varint(&reader);
	size_t unpacked_max = column_packed_bytes_max(column->codec, column->count);
	if (reader.failed || unpacked > unpacked_max)
		return -EBADMSG;
	buf_reset(to);
	return compress_unpack(COMPRESS_ZSTD_FAST, reader.at, reader_left(&reader),
	        (size_t)unpacked, unpacked_max, to);
}

int column_get_u32(
        const struct column *column, uint32_t max, uint32_t *to, struct column_scratch *scratch)
{
	if (column->count == 0)
		return 0;
	if (!column->bytes) /* its reader has failed */
		return -EBADMSG;
	switch (column->codec) {
	case COLUMN_CONSTANT:
		return column_fill(column, max, to);
	case COLUMN_PFOR:
		return pfor_get(column->bytes, column->bytes_count, max, to, column->count);
	case COLUMN_SVB:
		return svb_get(column->bytes, column->bytes_count, max, to, column->count);
	case COLUMN_RAW:
		return column_get_raw(column, max, to);
	case COLUMN_SPARSE:
		return sparse_get(column->bytes, column->bytes_count, max, to, column->count);
	case COLUMN_PFOR_ZSTD:
	case COLUMN_SVB_ZSTD:
		break;
	default:
		return -EBADMSG;
	}

	int r = column_unzstd(column, &scratch->packed);
	if (r < 0)
		return r;
	const struct buf *packed = &scratch->packed;
	return column->codec == COLUMN_PFOR_ZSTD
	               ? pfor_get(packed->bytes, packed->count, max, to, column->count)
	               : svb_get(packed->bytes, packed->count, max, to, column->count);
}

bool column_is_narrow(const struct column_wide *column)
{
	uint32_t value;
	return column->high.count == 0 || (column->high.codec == COLUMN_CONSTANT &&
	                                          column_constant(&column->high, 0, &value) == 0);
}

int column_get_u64(const struct column_wide *column, uint64_t max, uint64_t *to,
        struct column_scratch *scratch)
{
	uint32_t count = column->low.count;
	if (count == 0)
		return 0;
	buf_reset(&scratch->low);
	buf_reset(&scratch->high);
	uint32_t *low = (uint32_t *)(void *)buf_reserve(&scratch->low, (size_t)count * 4);
	if (!low)
		return -ENOMEM;
	int r = column_get_u32(&column->low, UINT32_MAX, low, scratch);
	if (r < 0)
		return r;

	bool is_bad = false;
	if (column_is_narrow(column)) {
		for (uint32_t i = 0; i < count; i++) {
			is_bad |= low[i] > max;
			to[i] = low[i];
		}
		return is_bad ? -EBADMSG : 0;
	}
	uint32_t *high = (uint32_t *)(void *)buf_reserve(&scratch->high, (size_t)count * 4);
	if (!high)
		return -ENOMEM;
	r = column_get_u32(&column->high, UINT32_MAX, high, scratch);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < count; i++) {
		to[i] = (uint64_t)high[i] << 32 | low[i];
		is_bad |= to[i] > max;
	}
	return is_bad ? -EBADMSG : 0;
}

/* ---- sums ---- */

#ifdef __x86_64__
/*
 * Eight at a time; *place is the last one so far. A distance and a place that is good are below
 * 2^24, so the next eight stay below 2^32; the largest place ever met says whether all were good.
 */
__attribute__((target("avx2"))) static uint32_t column_places_avx2(
        uint32_t *distances, uint32_t count, uint32_t *place, uint32_t *ret_largest)
{
	const __m256i one = _mm256_set1_epi32(1);
	const __m256i last = _mm256_set1_epi32(7);
	__m256i carry = _mm256_set1_epi32((int32_t)*place);
	__m256i largest = _mm256_setzero_si256();
	uint32_t i = 0;
	for (; i + 8 <= count; i += 8) {
		__m256i x = _mm256_loadu_si256((const void *)(distances + i));
		x = _mm256_add_epi32(x, one);
		x = _mm256_add_epi32(x, _mm256_slli_si256(x, 4));
		x = _mm256_add_epi32(x, _mm256_slli_si256(x, 8));
		__m256i low = _mm256_shuffle_epi32(x, 0xff);
		x = _mm256_add_epi32(x, _mm256_permute2x128_si256(low, low, 0x08));
		x = _mm256_add_epi32(x, carry);
		carry = _mm256_permutevar8x32_epi32(x, last);
		largest = _mm256_max_epu32(largest, carry);
		_mm256_storeu_si256((void *)(distances + i), x);
	}
	*place = (uint32_t)_mm256_extract_epi32(carry, 0);
	*ret_largest = (uint32_t)_mm256_extract_epi32(largest, 0);
	return i;
}
#endif

int column_places(uint32_t *distances, uint32_t count, uint32_t limit)
{
	assert(limit <= COLUMN_COUNT_MAX);
	uint32_t before = UINT32_MAX; /* one before the first place; wraps to it */
	uint32_t i = 0;
#ifdef __x86_64__
	uint32_t largest = 0;
	if (count >= 16 && column_path_is_avx2()) {
		i = column_places_avx2(distances, count, &before, &largest);
		if (largest >= limit)
			return -EBADMSG;
	}
#endif
	uint32_t first = before + 1;
	uint64_t place = first;
	for (; i < count; i++) {
		place += distances[i];
		distances[i] = (uint32_t)place;
		place++;
	}
	return count > 0 && place > limit ? -EBADMSG : 0;
}

int column_ids(uint32_t *distances, uint32_t count)
{
	uint64_t next = 0;
	for (uint32_t i = 0; i < count; i++) {
		next += distances[i];
		distances[i] = (uint32_t)next;
		next++;
	}
	return next > (uint64_t)UINT32_MAX + 1 ? -EBADMSG : 0;
}

uint64_t column_sum(const uint32_t *values, uint32_t count)
{
	uint64_t sums[4] = { 0 };
	uint32_t i = 0;
	for (; i + 4 <= count; i += 4) {
		sums[0] += values[i];
		sums[1] += values[i + 1];
		sums[2] += values[i + 2];
		sums[3] += values[i + 3];
	}
	for (; i < count; i++)
		sums[0] += values[i];
	return sums[0] + sums[1] + sums[2] + sums[3];
}
