/*
 * Bit-packing with patches. Eight lanes are one vector of 256 bits, so a row of the block is one
 * vector, and unpacking is a shift and a mask per row; with the width known to the compiler the
 * shifts are constants. The vectors are the compiler's own type: compiled for AVX2 they are one
 * register, for plain SSE2 two, with the same bytes.
 *
 * Values are checked by block: when the largest number of `width` bits is within the caller's
 * bound, no packed value need be looked at.
 */

#include "storage/column_codec_private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words of a block are read as they lie"
#endif

#define INLINE static inline __attribute__((always_inline))

#ifdef __clang__
#define UNROLL_ROWS _Pragma("clang loop unroll(full)")
#else
#define UNROLL_ROWS _Pragma("GCC unroll 32")
#endif

#define ROWS (PFOR_VALUES / PFOR_LANES)

/* One row: eight values, wherever they lie. */
typedef uint32_t lanes __attribute__((vector_size(32), aligned(1), may_alias));

static uint32_t pfor_words_bytes(uint32_t rows, uint32_t width)
{
	return (rows * width + 31) / 32 * PFOR_LANES * 4;
}

static uint32_t pfor_mask(uint32_t width)
{
	return width == 32 ? UINT32_MAX : (1u << width) - 1;
}

/* ---- unpacking ---- */

INLINE void pfor_unpack_row(
        const uint8_t *words, uint32_t row, uint32_t width, uint32_t base, uint32_t *to)
{
	const lanes *in = (const lanes *)words;
	lanes *out = (lanes *)to;
	uint32_t word = row * width / 32;
	uint32_t shift = row * width % 32;
	lanes value = in[word] >> shift;
	if (shift + width > 32)
		value |= in[word + 1] << (32 - shift);
	out[row] = (value & pfor_mask(width)) + base;
}

/* With a width the compiler knows, so that every row has its shifts as constants. */
INLINE void pfor_unpack_rows(const uint8_t *words, uint32_t width, uint32_t base, uint32_t *to)
{
	UNROLL_ROWS
	for (uint32_t row = 0; row < ROWS; row++)
		pfor_unpack_row(words, row, width, base, to);
}

#define WIDTH_CASE(number)                                                                         \
	case number:                                                                               \
		pfor_unpack_rows(words, number, base, to);                                         \
		break;

INLINE void pfor_unpack_block(const uint8_t *words, uint32_t width, uint32_t base, uint32_t *to)
{
	switch (width) {
		WIDTH_CASE(1)
		WIDTH_CASE(2)
		WIDTH_CASE(3)
		WIDTH_CASE(4)
		WIDTH_CASE(5)
		WIDTH_CASE(6)
		WIDTH_CASE(7)
		WIDTH_CASE(8)
		WIDTH_CASE(9)
		WIDTH_CASE(10)
		WIDTH_CASE(11)
		WIDTH_CASE(12)
		WIDTH_CASE(13)
		WIDTH_CASE(14)
		WIDTH_CASE(15)
		WIDTH_CASE(16)
	default:
		for (uint32_t row = 0; row < ROWS; row++)
			pfor_unpack_row(words, row, width, base, to);
	}
}

/* The last block of a column: whole rows into a place of our own, then what there is of them. */
static void pfor_unpack_tail(
        const uint8_t *words, uint32_t width, uint32_t base, uint32_t count, uint32_t *to)
{
	uint32_t rows[PFOR_VALUES];
	for (uint32_t row = 0; row * PFOR_LANES < count; row++)
		pfor_unpack_row(words, row, width, base, rows);
	memcpy(to, rows, count * sizeof(*to));
}

struct pfor_head {
	uint32_t width;
	uint32_t base;
	uint32_t exceptions;
	uint32_t high_width;
	const uint8_t *words;
	const uint8_t *positions;
	const uint8_t *highs;
};

/* Where the parts of a block lie, all of them before `end`. Returns what is behind it, or NULL. */
INLINE const uint8_t *pfor_head_get(
        const uint8_t *at, const uint8_t *end, uint32_t count, struct pfor_head *head)
{
	if (end - at < 2)
		return NULL;
	head->width = at[0] & ~PFOR_HAS_BASE;
	head->exceptions = at[1];
	head->base = 0;
	head->high_width = 0;
	if (head->width > 32)
		return NULL;

	uint32_t words_bytes = pfor_words_bytes((count + PFOR_LANES - 1) / PFOR_LANES, head->width);
	size_t bytes = words_bytes;
	bool has_base = at[0] & PFOR_HAS_BASE;
	at += 2;
	if (has_base) {
		if (end - at < 4)
			return NULL;
		memcpy(&head->base, at, 4);
		at += 4;
	}
	if (head->exceptions) {
		if (end - at < 1)
			return NULL;
		head->high_width = *at++;
		if (head->high_width > 32)
			return NULL;
		bytes += head->exceptions + (head->exceptions * head->high_width + 7) / 8;
	}
	if ((size_t)(end - at) < bytes)
		return NULL;
	head->words = at;
	head->positions = at + words_bytes;
	head->highs = head->positions + head->exceptions;
	return at + bytes;
}

/* False: a position outside the block, or a value past max. */
INLINE bool pfor_patch(const struct pfor_head *head, const uint8_t *end, uint32_t count,
        uint32_t max, uint32_t *to)
{
	uint8_t own[PFOR_EXCEPTIONS_MAX * 4 + 8];
	const uint8_t *highs = head->highs;
	size_t bytes = (head->exceptions * head->high_width + 7) / 8;
	if ((size_t)(end - highs) < bytes + 8) {
		/* Eight bytes are read at a time: not behind the end. */
		memcpy(own, highs, bytes);
		memset(own + bytes, 0, 8);
		highs = own;
	}

	uint32_t mask = pfor_mask(head->high_width);
	bool is_bad = false;
	for (uint32_t i = 0, bit = 0; i < head->exceptions; i++, bit += head->high_width) {
		uint64_t high;
		memcpy(&high, highs + bit / 8, 8);
		high = (high >> bit % 8 & mask) + 1;
		uint32_t position = head->positions[i];
		if (position >= count)
			return false;
		uint64_t value = to[position] + (high << head->width);
		is_bad |= value > max;
		to[position] = (uint32_t)value;
	}
	return !is_bad;
}

/* Before patching, which only makes values larger. */
static bool pfor_block_is_within(
        const struct pfor_head *head, const uint32_t *values, uint32_t count, uint32_t max)
{
	/* With a base a sum may have wrapped: then it is smaller than the base. */
	bool is_bad = false;
	for (uint32_t i = 0; i < count; i++)
		is_bad |= values[i] > max || values[i] < head->base;
	return !is_bad;
}

INLINE int pfor_get_blocks(
        const uint8_t *at, const uint8_t *end, uint32_t max, uint32_t *to, uint32_t count)
{
	while (count > 0) {
		uint32_t block = count < PFOR_VALUES ? count : PFOR_VALUES;
		struct pfor_head head;
		at = pfor_head_get(at, end, block, &head);
		if (!at)
			return -EBADMSG;

		if (head.width == 0) {
			for (uint32_t i = 0; i < block; i++)
				to[i] = head.base;
		} else if (block == PFOR_VALUES) {
			pfor_unpack_block(head.words, head.width, head.base, to);
		} else {
			pfor_unpack_tail(head.words, head.width, head.base, block, to);
		}
		if ((uint64_t)head.base + pfor_mask(head.width) > max &&
		        !pfor_block_is_within(&head, to, block, max))
			return -EBADMSG;
		if (head.exceptions && !pfor_patch(&head, end, block, max, to))
			return -EBADMSG;
		to += block;
		count -= block;
	}
	return at == end ? 0 : -EBADMSG;
}

static int pfor_get_plain(
        const uint8_t *at, const uint8_t *end, uint32_t max, uint32_t *to, uint32_t count)
{
	return pfor_get_blocks(at, end, max, to, count);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static int pfor_get_avx2(
        const uint8_t *at, const uint8_t *end, uint32_t max, uint32_t *to, uint32_t count)
{
	return pfor_get_blocks(at, end, max, to, count);
}
#endif

int pfor_get(const uint8_t *bytes, size_t bytes_count, uint32_t max, uint32_t *to, uint32_t count)
{
#ifdef __x86_64__
	if (column_path_is_avx2())
		return pfor_get_avx2(bytes, bytes + bytes_count, max, to, count);
#endif
	return pfor_get_plain(bytes, bytes + bytes_count, max, to, count);
}

/* ---- packing ---- */

/* 0 of 0, without a branch on that. */
static inline uint32_t bits_of(uint32_t value)
{
	return 63 - (uint32_t)__builtin_clzll((uint64_t)value << 1 | 1);
}

struct pfor_choice {
	uint32_t width;
	uint32_t exceptions;
	uint32_t high_width;
	uint32_t base;
	uint32_t cost;
};

/* The cheapest width for these values, of which `most` is the largest, over this base. */
static struct pfor_choice pfor_choose(
        const uint32_t *values, uint32_t count, uint32_t base, uint32_t most, bool is_for_zstd)
{
	/* Two tables, so that equal neighbours do not wait for each other. */
	uint32_t with_bits[2][33] = { 0 };
	for (uint32_t i = 0; i < count; i++)
		with_bits[i % 2][bits_of(values[i] - base)]++;

	uint32_t rows = (count + PFOR_LANES - 1) / PFOR_LANES;
	uint32_t bits_max = 32;
	while (bits_max > 0 && with_bits[0][bits_max] + with_bits[1][bits_max] == 0)
		bits_max--;

	most -= base;
	struct pfor_choice best = { .width = bits_max,
		.base = base,
		.cost = pfor_words_bytes(rows, bits_max) + (base ? 4 : 0) };
	uint32_t exceptions = 0;
	for (uint32_t width = bits_max; width-- > 0;) {
		exceptions += with_bits[0][width + 1] + with_bits[1][width + 1];
		if (exceptions > PFOR_EXCEPTIONS_MAX)
			break;
		uint32_t high_width = bits_of((most >> width) - 1);
		uint32_t patches = 1 + exceptions + (exceptions * high_width + 7) / 8;
		if (is_for_zstd)
			patches += patches / 2;
		uint32_t cost = pfor_words_bytes(rows, width) + patches + (base ? 4 : 0);
		if (cost < best.cost)
			best = (struct pfor_choice){ width, exceptions, high_width, base, cost };
	}
	return best;
}

INLINE void pfor_pack_rows(const uint32_t *values, uint32_t rows, uint32_t width, uint8_t *words)
{
	const lanes *in = (const lanes *)values;
	lanes *out = (lanes *)words;
	uint32_t mask = pfor_mask(width);
	lanes word = { 0 };
	uint32_t filled = 0;

	for (uint32_t row = 0; row < rows; row++) {
		lanes value = in[row] & mask;
		word |= value << filled;
		filled += width;
		if (filled >= 32) {
			*out++ = word;
			filled -= 32;
			word = (lanes){ 0 };
			if (filled)
				word = value >> (width - filled);
		}
	}
	if (filled)
		*out = word;
}

static void pfor_put_patches(const uint32_t *values, uint32_t count,
        const struct pfor_choice *choice, uint8_t *positions)
{
	uint8_t *highs = positions + choice->exceptions;
	uint8_t found[PFOR_VALUES];
	uint32_t found_count = 0;
	uint32_t filled = 0;
	uint64_t word = 0;
	/* Which they are nobody can foretell, so there is no branch on it. */
	for (uint32_t i = 0; i < count; i++) {
		found[found_count] = (uint8_t)i;
		found_count += values[i] > pfor_mask(choice->width);
	}
	memcpy(positions, found, found_count);
	for (uint32_t i = 0; i < found_count; i++) {
		uint32_t value = values[found[i]];
		word |= (uint64_t)((value >> choice->width) - 1) << filled;
		for (filled += choice->high_width; filled >= 8; filled -= 8) {
			*highs++ = (uint8_t)word;
			word >>= 8;
		}
	}
	if (filled)
		*highs = (uint8_t)word;
}

static void pfor_put_block(const uint32_t *values, uint32_t count, bool is_for_zstd, struct buf *to)
{
	uint32_t base = UINT32_MAX;
	uint32_t most = 0;
	for (uint32_t i = 0; i < count; i++) {
		base = values[i] < base ? values[i] : base;
		most = values[i] > most ? values[i] : most;
	}
	struct pfor_choice choice = pfor_choose(values, count, 0, most, is_for_zstd);
	if (base > 0) {
		struct pfor_choice based = pfor_choose(values, count, base, most, is_for_zstd);
		if (based.cost < choice.cost)
			choice = based;
	}

	uint8_t *at = buf_reserve(to, PFOR_BLOCK_BYTES_MAX);
	if (!at)
		return;
	uint8_t *first = at;
	*at++ = (uint8_t)(choice.width | (choice.base ? PFOR_HAS_BASE : 0));
	*at++ = (uint8_t)choice.exceptions;
	if (choice.base) {
		memcpy(at, &choice.base, 4);
		at += 4;
	}
	if (choice.exceptions)
		*at++ = (uint8_t)choice.high_width;

	uint32_t over[PFOR_VALUES];
	uint32_t rows = (count + PFOR_LANES - 1) / PFOR_LANES;
	for (uint32_t i = 0; i < count; i++)
		over[i] = values[i] - choice.base;
	memset(over + count, 0, (PFOR_VALUES - count) * sizeof(*over));
	if (choice.width > 0)
		pfor_pack_rows(over, rows, choice.width, at);
	at += pfor_words_bytes(rows, choice.width);
	if (choice.exceptions) {
		pfor_put_patches(over, count, &choice, at);
		at += choice.exceptions + (choice.exceptions * choice.high_width + 7) / 8;
	}
	to->count += (size_t)(at - first);
}

void pfor_put(const uint32_t *values, uint32_t count, bool is_for_zstd, struct buf *to)
{
	while (count > 0) {
		uint32_t block = count < PFOR_VALUES ? count : PFOR_VALUES;
		pfor_put_block(values, block, is_for_zstd, to);
		values += block;
		count -= block;
	}
}
