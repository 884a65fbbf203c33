#pragma once

/*
 * bits packs numbers into as many bits as they have: what is left of a column when the part of it
 * that repeats was taken out and packed otherwise.
 *
 * Lowest bit first, the last byte is filled with zeroes. A number may be written by its *width*,
 * the count of bits from its highest one down (0 has none), which the reader knows from elsewhere;
 * then its highest bit is not written. Or by itself (bits_put_number), for numbers of any size.
 *
 * Writing goes into memory that the caller has reserved. Reading is of bytes that nobody vouches
 * for: past the end it yields zeroes and sets `failed`, to be checked once.
 */

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BITS_AT_ONCE_MAX 56

static inline unsigned int bits_width(uint64_t value)
{
	return value ? 64u - (unsigned int)__builtin_clzll(value) : 0;
}

struct bits_writer {
	uint8_t *at; /* with room for 8 bytes behind what a put may add */
	uint64_t held;
	unsigned int count; /* of bits that are held, less than 8 between calls */
};

/* The most that one bits_put_number() takes, and one bits_put(). */
#define BITS_NUMBER_BYTES_MAX 10
#define BITS_ROOM             8 /* behind the last */

static inline void bits_store(struct bits_writer *writer)
{
	uint64_t bytes = htole64(writer->held);
	memcpy(writer->at, &bytes, sizeof(bytes));
	writer->at += writer->count / 8;
	writer->held >>= writer->count & ~7u;
	writer->count %= 8;
}

/* `value` has no bit above `count`, which is at most BITS_AT_ONCE_MAX. */
static inline void bits_put(struct bits_writer *writer, uint64_t value, unsigned int count)
{
	writer->held |= value << writer->count;
	writer->count += count;
	bits_store(writer);
}

/* All but the highest bit of a number of at most 32 bits. */
static inline void bits_put_below_top(struct bits_writer *writer, uint32_t value)
{
	unsigned int width = bits_width(value);
	if (width > 1)
		bits_put(writer, value ^ UINT64_C(1) << (width - 1), width - 1);
}

/*
 * A number below a limit of at most 2^32, in as few bits as that needs or one less. Nothing if the
 * limit is 1.
 */
static inline void bits_put_below(struct bits_writer *writer, uint64_t value, uint64_t limit)
{
	unsigned int count = bits_width(limit) - 1;
	uint64_t short_ones = (UINT64_C(2) << count) - limit;
	if (value < short_ones) {
		bits_put(writer, value, count);
		return;
	}
	value += short_ones;
	bits_put(writer, value >> 1, count);
	bits_put(writer, value & 1, 1);
}

/* A number of at least 1: its width (Elias gamma), then the bits below the highest. */
void bits_put_number(struct bits_writer *writer, uint64_t value);
/* The rest; a writer is not used again. */
void bits_end(struct bits_writer *writer);

struct bits_reader {
	const uint8_t *at;
	const uint8_t *end;
	uint64_t held;
	unsigned int count;
	bool failed;
};

static inline struct bits_reader bits_reader_of(const uint8_t *bytes, size_t count)
{
	return (struct bits_reader){ .at = bytes, .end = count ? bytes + count : bytes };
}

/* At least BITS_AT_ONCE_MAX bits are held then, if there are so many. */
void bits_fill_last(struct bits_reader *reader);

static inline void bits_fill(struct bits_reader *reader)
{
	uint64_t bytes;
	if (reader->end - reader->at < (ptrdiff_t)sizeof(bytes)) {
		bits_fill_last(reader);
		return;
	}
	memcpy(&bytes, reader->at, sizeof(bytes));
	unsigned int room = (63 - reader->count) / 8;
	reader->held |= le64toh(bytes) << reader->count;
	reader->at += room;
	reader->count += room * 8;
	/* What did not fit as a whole byte comes again. */
	reader->held &= (UINT64_C(1) << reader->count) - 1;
}

/* At most BITS_AT_ONCE_MAX. */
static inline uint64_t bits_get(struct bits_reader *reader, unsigned int count)
{
	if (reader->count < count)
		bits_fill(reader);
	if (reader->count < count) {
		reader->failed = true;
		return 0;
	}
	uint64_t value = reader->held & ((UINT64_C(1) << count) - 1);
	reader->held >>= count;
	reader->count -= count;
	return value;
}

/* `width` is at most 32. */
static inline uint32_t bits_get_below_top(struct bits_reader *reader, unsigned int width)
{
	if (width == 0)
		return 0;
	return (uint32_t)(UINT64_C(1) << (width - 1) | bits_get(reader, width - 1));
}

/* Below the limit, which is at least 1. */
static inline uint64_t bits_get_below(struct bits_reader *reader, uint64_t limit)
{
	unsigned int count = bits_width(limit) - 1;
	uint64_t short_ones = (UINT64_C(2) << count) - limit;
	uint64_t value = bits_get(reader, count);
	if (value < short_ones)
		return value;
	return (value << 1 | bits_get(reader, 1)) - short_ones;
}

/* At least 1, unless it failed. */
uint64_t bits_get_number(struct bits_reader *reader);
/* Everything was read: what is left is the filling of the last byte. */
bool bits_is_at_end(const struct bits_reader *reader);
