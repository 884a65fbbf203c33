#pragma once

/*
 * range_code writes decisions in as many bits as they were unlikely: a range coder over bits whose
 * probabilities learn.
 *
 * The state is an interval of 32 bits, which each decision narrows to its part of it. A chance is
 * 16 bits wide and moves a 32nd of the way to what came. Numbers of which nothing is known are
 * written in their bits (range_put_bits), and what is one of several in one step (range_put_part).
 *
 * Writer and reader must go through the same chances in the same order. Reading is of bytes that
 * nobody vouches for: any bytes are decisions of some kind. What is past the end is zeroes, and
 * more of these than a writer may have left out sets `failed`, to be checked once.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/reader.h"

#define RANGE_CHANCE_BITS 16
#define RANGE_CHANCE_EVEN (1u << (RANGE_CHANCE_BITS - 1))
#define RANGE_LEARN_SHIFT 5
#define RANGE_BITS_MAX    16 /* at once */
#define RANGE_PARTS_BITS  15
/* How many bytes a writer may leave out, as they are zeroes. */
#define RANGE_TAIL_BYTES    4
#define RANGE_BYTES_AT_ONCE 4

/* How likely a 0 is, of 65536. Never 0 nor all of it. */
typedef uint16_t range_chance;

static inline void range_learn(range_chance *chance, unsigned int bit)
{
	if (bit)
		*chance -= *chance >> RANGE_LEARN_SHIFT;
	else
		*chance += ((1u << RANGE_CHANCE_BITS) - *chance) >> RANGE_LEARN_SHIFT;
}

/*
 * Bytes go to `at`, up to `limit`; they are the buffer's at the end, or when it has to grow. Where
 * it cannot, they go nowhere.
 */
struct range_writer {
	struct buf *to;
	uint8_t *at, *limit;
	size_t first; /* of its bytes in the buf: no carry goes before */
	uint32_t low;
	uint32_t range;
};

static inline struct range_writer range_writer_of(struct buf *to)
{
	return (struct range_writer){ .to = to, .first = to->count, .range = UINT32_MAX };
}

/*
 * The rare parts take a writer or reader and give it back, so that a loop has it in registers.
 */
struct range_writer range_with_room(struct range_writer writer);
/* One more to the number that the bytes so far are. */
void range_carry(struct range_writer writer);
/* A writer is not used again. */
void range_end(struct range_writer *writer);

static inline void range_advance(struct range_writer *writer, uint32_t by)
{
	writer->low += by;
	if (writer->low < by)
		range_carry(*writer);
}

/* How many bits of the window are settled: whole bytes, while the range is below 2^24. */
static inline unsigned int range_settled(uint32_t range)
{
	return (unsigned int)__builtin_clz(range) & 24;
}

/* Without a branch on how many bytes it is, which nobody can foretell. */
static inline void range_write_out(struct range_writer *writer)
{
	unsigned int count = range_settled(writer->range);
	if (writer->limit - writer->at < RANGE_BYTES_AT_ONCE)
		*writer = range_with_room(*writer);
	for (unsigned int i = 0; i < RANGE_BYTES_AT_ONCE; i++)
		writer->at[i] = (uint8_t)(writer->low >> (24 - 8 * i));
	writer->at += count / 8;
	writer->low <<= count;
	writer->range <<= count;
}

static inline void range_put(struct range_writer *writer, range_chance chance, unsigned int bit)
{
	uint32_t bound = (writer->range >> RANGE_CHANCE_BITS) * chance;
	if (bit) {
		range_advance(writer, bound);
		writer->range -= bound;
	} else {
		writer->range = bound;
	}
	range_write_out(writer);
}

/* `value` has no bit above `count`, which is at most RANGE_BITS_MAX. */
static inline void range_put_bits(struct range_writer *writer, uint32_t value, unsigned int count)
{
	writer->range >>= count;
	range_advance(writer, value * writer->range);
	range_write_out(writer);
}

/*
 * One of several: the part of the interval that begins at `begin` of 2^RANGE_PARTS_BITS and is so
 * wide, which is not 0.
 */
static inline void range_put_part(struct range_writer *writer, uint32_t begin, uint32_t width)
{
	writer->range >>= RANGE_PARTS_BITS;
	range_advance(writer, begin * writer->range);
	writer->range *= width;
	range_write_out(writer);
}

/*
 * A decision that was made and is written later. Whoever makes them waits for memory and goes this
 * way and that, and each narrowing of the interval waits for the one before: noting many and then
 * writing them in one loop, which has no branch that depends on them, takes half of the time.
 *
 * A step cuts the interval in parts of a 2^shift each, and goes over `begin` of them. What it is
 * then is `change` parts less than it was where `keeps` is all ones, and where it is zero minus
 * `change` parts: so both a 1, which leaves the rest, and a 0, which leaves the beginning, are one
 * multiplication and one subtraction.
 */
struct range_step {
	int32_t change;
	uint16_t begin;
	uint8_t shift;
	int8_t keeps;
};

/* What range_put() would write, and range_put_bits(). */
static inline struct range_step range_step_of(range_chance chance, unsigned int bit)
{
	return (struct range_step){
		.change = bit ? chance : -(int32_t)chance,
		.begin = bit ? chance : 0,
		.shift = RANGE_CHANCE_BITS,
		.keeps = bit ? -1 : 0,
	};
}

/* `value` and `count` as range_put_bits() has them. */
static inline struct range_step range_step_of_bits(uint32_t value, unsigned int count)
{
	return (struct range_step){
		.change = -1,
		.begin = (uint16_t)value,
		.shift = (uint8_t)count,
	};
}

/* Writes them in their order: the same bytes as one range_put() after the other. */
void range_put_steps(struct range_writer *writer, const struct range_step *steps, uint32_t count);

struct range_reader {
	const uint8_t *at;
	const uint8_t *end;
	uint32_t code; /* less than the range */
	uint32_t range;
	uint32_t beyond; /* bytes that were past the end */
	bool failed;
};

static inline uint32_t range_next_byte(struct range_reader *reader)
{
	if (reader->at < reader->end)
		return *reader->at++;
	if (++reader->beyond > RANGE_TAIL_BYTES)
		reader->failed = true;
	return 0;
}

/* All that is left of the bytes. */
struct range_reader range_reader_of(const struct reader *from);
/* Everything was read. */
bool range_is_at_end(const struct range_reader *reader);

/* Near the end, where there are not so many bytes. */
struct range_reader range_read_last(struct range_reader reader, unsigned int count);

static inline void range_read_in(struct range_reader *reader)
{
	unsigned int count = range_settled(reader->range);
	const uint8_t *at = reader->at;
	if (reader->end - at < RANGE_BYTES_AT_ONCE) {
		*reader = range_read_last(*reader, count);
	} else {
		uint32_t next = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
		                (uint32_t)at[2] << 8 | at[3];
		reader->code = (uint32_t)((((uint64_t)reader->code << 32 | next) << count) >> 32);
		reader->at += count / 8;
	}
	reader->range <<= count;
}

static inline unsigned int range_get(struct range_reader *reader, range_chance chance)
{
	uint32_t bound = (reader->range >> RANGE_CHANCE_BITS) * chance;
	unsigned int bit = reader->code >= bound;
	if (bit) {
		reader->code -= bound;
		reader->range -= bound;
	} else {
		reader->range = bound;
	}
	range_read_in(reader);
	return bit;
}

/* What no writer can have written, as the interval is not cut evenly, fails the reader. */
static inline uint32_t range_get_bits(struct range_reader *reader, unsigned int count)
{
	reader->range >>= count;
	uint32_t value = reader->code / reader->range;
	if (value >> count) {
		reader->failed = true;
		value = 0;
		reader->code = 0;
	}
	reader->code -= value * reader->range;
	range_read_in(reader);
	return value;
}

/*
 * Where in the interval it is, of 2^RANGE_PARTS_BITS, to be followed by range_take_part() with the
 * part that has it.
 */
static inline uint32_t range_get_point(struct range_reader *reader)
{
	reader->range >>= RANGE_PARTS_BITS;
	uint32_t point = reader->code / reader->range;
	if (point >> RANGE_PARTS_BITS) {
		reader->failed = true;
		point = 0;
		reader->code = 0;
	}
	return point;
}

static inline void range_take_part(struct range_reader *reader, uint32_t begin, uint32_t width)
{
	reader->code -= begin * reader->range;
	reader->range *= width;
	range_read_in(reader);
}
