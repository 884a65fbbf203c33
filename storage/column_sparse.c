/*
 * For values most of which are 0. A section of them is the places of those that are not, then the
 * places among these of those that are more than 1, then by how much more than 2; distances and
 * excess are Rice codes, which for what is spread by chance are within a few hundredths of the
 * entropy. Where a section has too many values for that, it is packed as in column_pfor.c.
 */

#include "storage/column_codec_private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define SECTION SPARSE_SECTION

/* ---- bits ---- */

struct bit_writer {
	uint64_t word;
	uint32_t bits; /* below 32 */
	uint8_t *at;
};

static void bits_put(struct bit_writer *to, uint32_t value, uint32_t width)
{
	to->word |= (uint64_t)value << to->bits;
	to->bits += width;
	if (to->bits < 32)
		return;
	uint32_t low = (uint32_t)to->word;
	memcpy(to->at, &low, 4);
	to->at += 4;
	to->word >>= 32;
	to->bits -= 32;
}

static void bits_flush(struct bit_writer *to)
{
	for (; to->bits > 0; to->bits = to->bits > 8 ? to->bits - 8 : 0) {
		*to->at++ = (uint8_t)to->word;
		to->word >>= 8;
	}
}

static void rice_put(struct bit_writer *to, uint32_t value, uint32_t shift)
{
	uint32_t high = value >> shift;
	if (high >= SPARSE_ESCAPE) {
		bits_put(to, (1u << SPARSE_ESCAPE) - 1, SPARSE_ESCAPE);
		bits_put(to, value, 32);
		return;
	}
	bits_put(to, (1u << high) - 1, high + 1);
	bits_put(to, value & ((1u << shift) - 1), shift);
}

/*
 * Some of the bits from `at` on are in a word, lowest first, so that most numbers need no access to
 * memory: each begins where the one before it ends.
 */
struct bit_reader {
	const uint8_t *bytes;
	size_t bytes_count;
	uint64_t at;   /* bits */
	uint64_t word; /* zeroes behind its bits */
	uint32_t left; /* bits in the word */
};

#define BITS_FILLED 57 /* at least, whatever bit of a byte it begins with */

/* Zeroes behind the end. */
static inline uint64_t bits_peek(const struct bit_reader *from)
{
	uint64_t word = 0;
	size_t at = (size_t)(from->at / 8);
	if (at + 8 <= from->bytes_count)
		memcpy(&word, from->bytes + at, 8);
	else if (at < from->bytes_count)
		memcpy(&word, from->bytes + at, from->bytes_count - at);
	return word >> from->at % 8;
}

static inline uint32_t bits_get(struct bit_reader *from, uint32_t width)
{
	uint64_t word = bits_peek(from);
	from->at += width;
	from->word = 0;
	from->left = 0;
	return (uint32_t)(word & ((UINT64_C(1) << width) - 1));
}

static inline void bits_skip(struct bit_reader *from, uint32_t count)
{
	from->at += count;
	from->word >>= count;
	from->left -= count;
}

static_assert(SPARSE_ESCAPE + 32 <= BITS_FILLED, "a number with an escape is in one word");
static_assert(SPARSE_ESCAPE + (1 << SPARSE_SHIFT_BITS) - 1 <= BITS_FILLED, "and so is any other");

/* The word ends within the number, or it is an escape. */
static inline uint32_t rice_get_filled(struct bit_reader *from, uint32_t shift)
{
	from->word = bits_peek(from);
	from->left = BITS_FILLED;
	uint64_t word = from->word;
	uint32_t high = (uint32_t)__builtin_ctzll(~word | UINT64_C(1) << SPARSE_ESCAPE);
	if (high == SPARSE_ESCAPE) {
		bits_skip(from, SPARSE_ESCAPE + 32);
		return (uint32_t)(word >> SPARSE_ESCAPE);
	}
	bits_skip(from, high + 1 + shift);
	return high << shift | (uint32_t)(word >> (high + 1) & ((1u << shift) - 1));
}

static inline __attribute__((always_inline)) uint32_t rice_get(
        struct bit_reader *from, uint32_t shift)
{
	uint64_t word = from->word;
	uint32_t high = (uint32_t)__builtin_ctzll(~word | UINT64_C(1) << SPARSE_ESCAPE);
	if (__builtin_expect(high + 1 + shift > from->left || high == SPARSE_ESCAPE, 0))
		return rice_get_filled(from, shift);
	bits_skip(from, high + 1 + shift);
	return high << shift | (uint32_t)(word >> (high + 1) & ((1u << shift) - 1));
}

/* ---- writing ---- */

/* What is not 0 of a section. */
struct sparse {
	uint32_t count;
	uint16_t places[SECTION];
	uint32_t values[SECTION];
};

/* The shift that suits numbers of this sum. */
static uint32_t sparse_shift(uint64_t sum, uint32_t count)
{
	uint64_t mean = count ? sum / count : 0;
	uint32_t shift = mean ? 63 - (uint32_t)__builtin_clzll(mean) : 0;
	return shift < SPARSE_SHIFT_MAX ? shift : SPARSE_SHIFT_MAX;
}

static void sparse_list(const uint32_t *values, uint32_t count, struct sparse *to)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < count; i++) {
		to->places[at] = (uint16_t)i;
		to->values[at] = values[i];
		at += values[i] != 0;
	}
	to->count = at;
}

/* The excess of those of more than 1. */
static void sparse_put_more(const struct sparse *from, struct bit_writer *to)
{
	uint32_t count = 0;
	uint32_t last = 0;
	uint64_t excess = 0;
	for (uint32_t i = 0; i < from->count; i++) {
		if (from->values[i] == 1)
			continue;
		count++;
		last = i;
		excess += from->values[i] - 2;
	}
	bits_put(to, count, SPARSE_COUNT_BITS);
	if (count == 0)
		return;
	uint32_t place_shift = sparse_shift(last + 1 - count, count);
	uint32_t excess_shift = sparse_shift(excess, count);
	bits_put(to, place_shift, SPARSE_SHIFT_BITS);
	bits_put(to, excess_shift, SPARSE_SHIFT_BITS);
	for (uint32_t i = 0, next = 0; i < from->count; i++) {
		if (from->values[i] == 1)
			continue;
		rice_put(to, i - next, place_shift);
		rice_put(to, from->values[i] - 2, excess_shift);
		next = i + 1;
	}
}

/* What a section can take at most: three numbers for each value, and its head. */
#define SPARSE_BYTES_MAX ((size_t)SECTION * 3 * (SPARSE_ESCAPE + 32) / 8 + 64)

static size_t sparse_put_section(const struct sparse *from, uint8_t *bytes)
{
	struct bit_writer to = { .at = bytes };
	bits_put(&to, from->count, SPARSE_COUNT_BITS);
	if (from->count > 0) {
		uint32_t last = from->places[from->count - 1];
		uint32_t shift = sparse_shift(last + 1 - from->count, from->count);
		uint32_t next = 0;
		bits_put(&to, shift, SPARSE_SHIFT_BITS);
		for (uint32_t i = 0; i < from->count; i++) {
			rice_put(&to, from->places[i] - next, shift);
			next = from->places[i] + 1u;
		}
		sparse_put_more(from, &to);
	}
	bits_flush(&to);
	return (size_t)(to.at - bytes);
}

void sparse_put(const uint32_t *values, uint32_t count, struct buf *packed, struct buf *bits,
        struct buf *to)
{
	struct sparse list;
	buf_reset(bits);
	uint8_t *bytes = buf_reserve(bits, SPARSE_BYTES_MAX);
	if (!bytes) {
		to->failed = true;
		return;
	}
	for (uint32_t first = 0; first < count; first += SECTION) {
		uint32_t section = count - first < SECTION ? count - first : SECTION;
		sparse_list(values + first, section, &list);
		size_t sparse = sparse_put_section(&list, bytes);
		/* Few values never pack better. */
		bool is_packed = false;
		if (list.count > section / 8) {
			buf_reset(packed);
			pfor_put(values + first, section, false, packed);
			to->failed |= packed->failed;
			is_packed = packed->count < sparse;
		}
		size_t best = is_packed ? packed->count : sparse;
		buf_put_varint(to, (uint64_t)best << 1 | is_packed);
		buf_put(to, is_packed ? packed->bytes : bytes, best);
	}
}

/* ---- reading ---- */

/* False: more than fits the section, or a value past max. */
static inline __attribute__((always_inline)) bool sparse_get_more(struct bit_reader *from,
        const uint16_t *places, uint32_t places_count, uint32_t max, uint32_t *to)
{
	uint32_t count = bits_get(from, SPARSE_COUNT_BITS);
	if (count > places_count)
		return false;
	if (count == 0)
		return true;
	uint32_t place_shift = bits_get(from, SPARSE_SHIFT_BITS);
	uint32_t excess_shift = bits_get(from, SPARSE_SHIFT_BITS);
	bool is_bad = false;
	uint64_t next = 0;
	for (uint32_t i = 0; i < count; i++) {
		next += rice_get(from, place_shift);
		uint64_t value = UINT64_C(2) + rice_get(from, excess_shift);
		if (next >= places_count)
			return false;
		is_bad |= value > max;
		to[places[next]] = (uint32_t)value;
		next++;
	}
	return !is_bad;
}

static int sparse_get_section(
        const uint8_t *bytes, size_t bytes_count, uint32_t max, uint32_t *to, uint32_t count)
{
	struct bit_reader from = { .bytes = bytes, .bytes_count = bytes_count };
	uint16_t places[SECTION];
	memset(to, 0, count * sizeof(*to));
	uint32_t places_count = bits_get(&from, SPARSE_COUNT_BITS);
	if (places_count > count || (places_count > 0 && max == 0))
		return -EBADMSG;
	if (places_count > 0) {
		uint32_t shift = bits_get(&from, SPARSE_SHIFT_BITS);
		uint64_t next = 0;
		for (uint32_t i = 0; i < places_count; i++) {
			next += rice_get(&from, shift);
			if (next >= count)
				return -EBADMSG;
			places[i] = (uint16_t)next;
			to[next++] = 1;
		}
		if (!sparse_get_more(&from, places, places_count, max, to))
			return -EBADMSG;
	}
	return (from.at + 7) / 8 == bytes_count ? 0 : -EBADMSG;
}

int sparse_get(const uint8_t *bytes, size_t bytes_count, uint32_t max, uint32_t *to, uint32_t count)
{
	struct reader from = reader_of(bytes, bytes_count);
	int r = 0;
	for (uint32_t first = 0; first < count && r == 0; first += SECTION) {
		uint32_t section = count - first < SECTION ? count - first : SECTION;
		uint64_t head = reader_varint(&from);
		if (from.failed || head >> 1 > reader_left(&from))
			return -EBADMSG;
		size_t section_bytes = (size_t)(head >> 1);
		const uint8_t *at = reader_bytes(&from, section_bytes);
		r = head & 1 ? pfor_get(at, section_bytes, max, to + first, section)
		             : sparse_get_section(at, section_bytes, max, to + first, section);
	}
	return r < 0 ? r : reader_left(&from) > 0 ? -EBADMSG : 0;
}
