#pragma once

/*
 * reader walks bytes that nobody vouches for.
 *
 * Every read is bounded and the error is sticky: after the first read past the end, an overlong
 * varint or a refused count, `failed` is set, every later read returns zero, and the decoder
 * checks once. It never allocates: reader_count() exists so that a decoder refuses a count that
 * the remaining bytes cannot hold before it takes memory for it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader {
	const uint8_t *at;
	const uint8_t *end;
	bool failed;
};

static inline struct reader reader_of(const void *bytes, size_t count)
{
	const uint8_t *at = (const uint8_t *)bytes;
	return (struct reader){ .at = at, .end = count ? at + count : at };
}

static inline size_t reader_left(const struct reader *reader)
{
	return reader->failed ? 0 : (size_t)(reader->end - reader->at);
}

uint8_t reader_u8(struct reader *reader);
uint16_t reader_u16(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
uint64_t reader_u64(struct reader *reader);
uint64_t reader_varint_any(struct reader *reader);
int64_t reader_zigzag(struct reader *reader);

/* Most varints are one byte. */
static inline uint64_t reader_varint(struct reader *reader)
{
	if (reader->at < reader->end && *reader->at < 0x80 && !reader->failed)
		return *reader->at++;
	return reader_varint_any(reader);
}

/* A varint that must be <= max. */
uint64_t reader_varint_max(struct reader *reader, uint64_t max);

/* A varint count of things that take at least `bytes_each` (> 0) bytes each in what is left. */
size_t reader_count(struct reader *reader, size_t bytes_each);

/* Borrows `count` bytes, or NULL. */
const uint8_t *reader_bytes(struct reader *reader, size_t count);

/* varint length <= max, then the bytes, borrowed and not zero-terminated. */
const char *reader_string(struct reader *reader, size_t max, size_t *ret_count);

void reader_fail(struct reader *reader);
