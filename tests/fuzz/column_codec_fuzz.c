/*
 * Bytes as a column. The first two say how many values and the third how large they may be; both
 * paths must agree, and what is accepted must come back from our own writer.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "storage/column_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#define VALUES_MAX 2048

static void check_comes_back(const uint32_t *values, uint32_t count, uint32_t max,
        enum column_effort effort, struct column_scratch *scratch)
{
	AUTO_BUF bytes = { 0 };
	uint32_t back[VALUES_MAX];
	column_put_u32(values, count, effort, scratch, &bytes);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	struct column column = column_open(&from, count);
	assert(!from.failed && reader_left(&from) == 0);
	int r = column_get_u32(&column, max, back, scratch);
	assert(r == 0);
	assert(memcmp(back, values, count * sizeof(*values)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_COLUMN_SCRATCH scratch = { 0 };
	static uint32_t best[VALUES_MAX], plain[VALUES_MAX];
	struct reader from = reader_of(bytes, count);
	uint32_t values_count = reader_u16(&from) % (VALUES_MAX + 1);
	uint32_t bits = reader_u8(&from) % 33;
	uint32_t max = bits == 32 ? UINT32_MAX : (1u << bits) - 1;
	struct column column = column_open(&from, values_count);
	if (from.failed)
		return 0;

	column_use_path(COLUMN_PATH_PLAIN);
	int r = column_get_u32(&column, max, plain, &scratch);
	column_use_path(COLUMN_PATH_BEST);
	int r_best = column_get_u32(&column, max, best, &scratch);
	assert(r == r_best);
	if (r < 0)
		return 0;
	assert(memcmp(best, plain, values_count * sizeof(*best)) == 0);
	for (uint32_t i = 0; i < values_count; i++)
		assert(best[i] <= max);
	check_comes_back(best, values_count, max, COLUMN_FAST, &scratch);
	check_comes_back(best, values_count, max, COLUMN_SMALL, &scratch);
	check_comes_back(best, values_count, max, COLUMN_ZEROES, &scratch);
	return 0;
}
