/* Up to seven bits wait in `held` for a whole byte; with 56 more they fit its 64. */

#include "core/bits.h"

#include <assert.h>

#define BITS_HALF 32

/* The width of the width in zeroes and a one, then the width below its top, then the number. */
void bits_put_number(struct bits_writer *writer, uint64_t value)
{
	assert(value > 0);
	unsigned int below = (unsigned int)__builtin_clzll(value) ^ 63;
	unsigned int width = below + 1;
	unsigned int zeroes = 31 - (unsigned int)__builtin_clz(width | 1);
	bits_put(writer, UINT64_C(1) << zeroes, zeroes + 1);
	bits_put_below_top(writer, width);
	unsigned int low = below < BITS_HALF ? below : BITS_HALF;
	value ^= UINT64_C(1) << (below & 63);
	bits_put(writer, value & ((UINT64_C(1) << low) - 1), low);
	if (below > low)
		bits_put(writer, value >> low, below - low);
}

void bits_end(struct bits_writer *writer)
{
	if (writer->count > 0)
		*writer->at++ = (uint8_t)writer->held;
	writer->count = 0;
}

void bits_fill_last(struct bits_reader *reader)
{
	for (; reader->count < BITS_AT_ONCE_MAX && reader->at < reader->end; reader->count += 8)
		reader->held |= (uint64_t)*reader->at++ << reader->count;
}

uint64_t bits_get_number(struct bits_reader *reader)
{
	unsigned int zeroes = 0;
	while (zeroes < 7 && !reader->failed && bits_get(reader, 1) == 0)
		zeroes++;
	/* A number has at most 64 bits, and 64 has 7. */
	uint32_t width = zeroes < 7 ? bits_get_below_top(reader, zeroes + 1) : 65;
	if (reader->failed || width > 64) {
		reader->failed = true;
		return 0;
	}
	unsigned int below = width - 1;
	unsigned int low = below < BITS_HALF ? below : BITS_HALF;
	uint64_t value = bits_get(reader, low);
	value |= bits_get(reader, below - low) << low;
	return UINT64_C(1) << below | value;
}

bool bits_is_at_end(const struct bits_reader *reader)
{
	return !reader->failed && reader->at == reader->end && reader->count < 8 &&
	       reader->held == 0;
}
