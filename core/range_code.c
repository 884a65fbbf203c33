/*
 * The rare parts of the range coder.
 *
 * A carry goes straight into the bytes that are written already: they are all in memory, and it
 * seldom goes further than one. The number that the bytes are is less than one, and the interval
 * lies in it, so no carry goes past the first byte.
 */

#include "core/range_code.h"

#include <assert.h>

#define RANGE_ROOM_BYTES 512

static void range_give_bytes(struct range_writer writer)
{
	if (!writer.to->failed && writer.at)
		writer.to->count = (size_t)(writer.at - writer.to->bytes);
}

struct range_writer range_with_room(struct range_writer writer)
{
	static _Thread_local uint8_t nowhere[RANGE_BYTES_AT_ONCE];
	range_give_bytes(writer);
	writer.at = buf_reserve(writer.to, RANGE_ROOM_BYTES);
	writer.limit = writer.at ? writer.at + RANGE_ROOM_BYTES : nowhere + sizeof(nowhere);
	if (!writer.at)
		writer.at = nowhere;
	return writer;
}

void range_carry(struct range_writer writer)
{
	const struct buf *to = writer.to;
	if (to->failed)
		return;
	uint8_t *at = writer.at;
	do {
		assert(at > to->bytes + writer.first);
		at--;
		(*at)++;
	} while (*at == 0);
}

/*
 * The state is in locals, so that it is in registers, and neither which way a step goes nor how
 * many bytes are settled is a branch: what is left is how long one narrowing takes after another.
 */
void range_put_steps(struct range_writer *writer, const struct range_step *steps, uint32_t count)
{
	uint8_t *at = writer->at;
	const uint8_t *limit = writer->limit;
	uint32_t low = writer->low;
	uint32_t range = writer->range;
	for (const struct range_step *step = steps; step < steps + count; step++) {
		uint32_t part = range >> step->shift;
		uint32_t before = part * step->begin;
		range = (range & (uint32_t)(int32_t)step->keeps) - part * (uint32_t)step->change;
		low += before;
		if (low < before || limit - at < RANGE_BYTES_AT_ONCE) {
			writer->at = at;
			if (low < before)
				range_carry(*writer);
			if (limit - at < RANGE_BYTES_AT_ONCE)
				*writer = range_with_room(*writer);
			at = writer->at;
			limit = writer->limit;
		}
		/* As range_settled(), but sooner: no step narrows it by more than 16 bits. */
		unsigned int settled = ((range < 1u << 24) + (range < 1u << 16)) * 8u;
		for (unsigned int i = 0; i < RANGE_BYTES_AT_ONCE; i++)
			at[i] = (uint8_t)(low >> (24 - 8 * i));
		at += settled / 8;
		low <<= settled;
		range <<= settled;
	}
	writer->at = at;
	writer->low = low;
	writer->range = range;
}

/* Any number in the interval will do: the one with most zeroes at its end, which are left out. */
void range_end(struct range_writer *writer)
{
	uint64_t low = writer->low;
	uint64_t end = low + writer->range;
	unsigned int kept = 0;
	uint64_t number = 0;
	for (; kept <= 32; kept += 8) {
		uint64_t unit = UINT64_C(1) << (32 - kept);
		number = (low + unit - 1) & ~(unit - 1);
		if (number < end)
			break;
	}
	if (number >> 32)
		range_carry(*writer);
	range_give_bytes(*writer);
	for (unsigned int i = 0; i < kept; i += 8)
		buf_put_u8(writer->to, (uint8_t)(number >> (24 - i)));
}

struct range_reader range_reader_of(const struct reader *from)
{
	struct range_reader reader = { .at = from->at, .end = from->end, .range = UINT32_MAX };
	for (unsigned int i = 0; i < sizeof(reader.code); i++)
		reader.code = reader.code << 8 | range_next_byte(&reader);
	/* The interval has no such place. */
	reader.failed |= from->failed || reader.code == UINT32_MAX;
	return reader;
}

struct range_reader range_read_last(struct range_reader reader, unsigned int count)
{
	for (; count > 0; count -= 8)
		reader.code = reader.code << 8 | range_next_byte(&reader);
	return reader;
}

bool range_is_at_end(const struct range_reader *reader)
{
	return !reader->failed && reader->at == reader->end;
}
