/*
 * StreamVByte: two bits per value say how many bytes it has, 0, 1, 2 or 4; the bits of all values
 * come first, so that a reader knows where four values lie from one byte and places them by one
 * shuffle. Source of the idea: Lemire, Kurz, Rupp, "Stream VByte: Faster Byte-Oriented Integer
 * Compression", 2017.
 *
 * The shuffles for the 256 possible bytes are made once, at the first use of a process.
 */

#include "storage/column_codec_private.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#ifdef __x86_64__
#include <tmmintrin.h>
#endif

static const uint8_t svb_lengths[4] = { 0, 1, 2, 4 };

static uint32_t svb_code(uint32_t value)
{
	return (value > 0) + (value > 0xff) + (value > 0xffff);
}

size_t svb_bytes(const uint32_t *values, uint32_t count)
{
	size_t bytes = (count + 3) / 4;
	for (uint32_t i = 0; i < count; i++)
		bytes += (size_t)(values[i] > 0) + (values[i] > 0xff) + 2 * (values[i] > 0xffff);
	return bytes;
}

void svb_put(const uint32_t *values, uint32_t count, struct buf *to)
{
	size_t codes_bytes = (count + 3) / 4;
	uint8_t *codes = buf_reserve(to, codes_bytes + (size_t)count * 4);
	if (!codes)
		return;
	memset(codes, 0, codes_bytes);

	uint8_t *at = codes + codes_bytes;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t code = svb_code(values[i]);
		codes[i / 4] |= (uint8_t)(code << i % 4 * 2);
		memcpy(at, &values[i], 4); /* there is room for four each */
		at += svb_lengths[code];
	}
	to->count += (size_t)(at - codes);
}

/* From value `i` on, one at a time. */
static int svb_get_plain(const uint8_t *codes, const uint8_t *at, const uint8_t *end, uint32_t i,
        uint32_t count, uint32_t max, uint32_t *to)
{
	bool is_bad = false;
	for (; i < count; i++) {
		uint32_t length = svb_lengths[codes[i / 4] >> i % 4 * 2 & 3];
		uint32_t value = 0;
		if ((size_t)(end - at) < length)
			return -EBADMSG;
		memcpy(&value, at, length);
		at += length;
		is_bad |= value > max;
		to[i] = value;
	}
	return is_bad || at != end ? -EBADMSG : 0;
}

#ifdef __x86_64__

static uint8_t svb_shuffles[256][16];
static uint8_t svb_sums[256];
static pthread_once_t svb_tables_once = PTHREAD_ONCE_INIT;

static void svb_make_tables(void)
{
	for (uint32_t codes = 0; codes < 256; codes++) {
		uint8_t from = 0;
		for (uint32_t i = 0; i < 4; i++) {
			uint8_t length = svb_lengths[codes >> i * 2 & 3];
			for (uint32_t byte = 0; byte < 4; byte++)
				svb_shuffles[codes][i * 4 + byte] = byte < length
				                                            ? (uint8_t)(from + byte)
				                                            : 0x80;
			from += length;
		}
		svb_sums[codes] = from;
	}
}

__attribute__((target("ssse3"))) static int svb_get_ssse3(const uint8_t *codes, const uint8_t *at,
        const uint8_t *end, uint32_t count, uint32_t max, uint32_t *to)
{
	pthread_once(&svb_tables_once, svb_make_tables);

	/* Unsigned numbers compare as signed ones with the top bit turned over. */
	const __m128i top = _mm_set1_epi32(INT32_MIN);
	const __m128i most = _mm_set1_epi32((int32_t)(max ^ (uint32_t)INT32_MIN));
	__m128i bad = _mm_setzero_si128();
	uint32_t i = 0;
	for (; i + 4 <= count && end - at >= 16; i += 4) {
		uint32_t code = codes[i / 4];
		__m128i bytes = _mm_loadu_si128((const void *)at);
		__m128i shuffle = _mm_loadu_si128((const void *)svb_shuffles[code]);
		__m128i values = _mm_shuffle_epi8(bytes, shuffle);
		bad = _mm_or_si128(bad, _mm_cmpgt_epi32(_mm_xor_si128(values, top), most));
		_mm_storeu_si128((void *)(to + i), values);
		at += svb_sums[code];
	}
	if (_mm_movemask_epi8(bad))
		return -EBADMSG;
	return svb_get_plain(codes, at, end, i, count, max, to);
}

#endif

int svb_get(const uint8_t *bytes, size_t bytes_count, uint32_t max, uint32_t *to, uint32_t count)
{
	size_t codes_bytes = (count + 3) / 4;
	if (bytes_count < codes_bytes)
		return -EBADMSG;
	const uint8_t *end = bytes + bytes_count;
#ifdef __x86_64__
	if (column_path_is_ssse3())
		return svb_get_ssse3(bytes, bytes + codes_bytes, end, count, max, to);
#endif
	return svb_get_plain(bytes, bytes + codes_bytes, end, 0, count, max, to);
}
