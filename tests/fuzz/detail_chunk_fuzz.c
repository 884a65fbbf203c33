/*
 * Bytes as a detail chunk, under a right checksum, since no fuzzer finds that. What is accepted
 * must be contents that can be written again, which asserts their order, and must come back; the
 * two ways of adding up must agree.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "storage/block_head.h"
#include "storage/detail_chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static const struct kv_bytes key = { "fuzz", 4 };

/* What a query over it would have to hold. */
#define DICTIONARY_MAX (1u << 16)

static void check_sums(const struct detail_chunk *chunk, struct detail_memory *memory,
        const struct detail_rows *rows)
{
	AUTO(stack_sums) one = stack_sums_new(chunk->dictionary_count);
	AUTO(stack_sums) other = stack_sums_new(chunk->dictionary_count);
	const uint64_t *one_values, *other_values;
	assert(one && other);
	for (uint32_t i = 0; i < chunk->rows_count; i++) {
		int r = stack_sums_add(one, rows->places[i], detail_rows_value(rows, i));
		assert(r == 0);
	}
	int r = detail_chunk_sum(chunk, memory, NULL, other);
	assert(r == 0);
	r = stack_sums_get(one, &one_values);
	assert(r == 0);
	r = stack_sums_get(other, &other_values);
	assert(r == 0);
	assert(memcmp(one_values, other_values, chunk->dictionary_count * sizeof(uint64_t)) == 0);
}

static void check_comes_back(const struct detail_chunk *chunk, const struct detail_heads *heads,
        const struct detail_rows *rows)
{
	autofree uint64_t *values = calloc((size_t)chunk->rows_count + 1, sizeof(*values));
	for (uint32_t i = 0; i < chunk->rows_count; i++)
		values[i] = detail_rows_value(rows, i);
	const struct detail_contents contents = {
		.dictionary_count = chunk->dictionary_count,
		.dictionary_hash = chunk->dictionary_hash,
		.intervals = heads->intervals,
		.intervals_count = chunk->intervals_count,
		.reports = heads->reports,
		.reports_count = chunk->reports_count,
		.places = rows->places,
		.values = values,
		.rows_count = chunk->rows_count,
		.losses = heads->losses,
		.losses_count = chunk->losses_count,
	};
	AUTO_COLUMN_SCRATCH scratch = { 0 };
	AUTO_BUF encoded = { 0 };
	AUTO(detail_memory) memory = detail_memory_new();
	struct detail_chunk back;
	struct detail_heads back_heads;
	struct detail_rows back_rows;
	int r = detail_chunk_encode(&contents, key, COLUMN_SMALL, &scratch, &encoded);
	assert(r == 0);
	struct kv_bytes value = { encoded.bytes, encoded.count };
	r = detail_chunk_open(key, value, &back);
	assert(r == 0);
	r = detail_chunk_get_heads(&back, memory, &back_heads);
	assert(r == 0);
	r = detail_chunk_get_rows(&back, memory, &back_rows);
	assert(r == 0);
	assert(memcmp(back_rows.places, rows->places, chunk->rows_count * sizeof(uint32_t)) == 0);
	assert(back.samples == chunk->samples && back.lost == chunk->lost);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF sealed = { 0 };
	AUTO(detail_memory) memory = detail_memory_new();
	struct detail_chunk chunk;
	struct detail_heads heads;
	struct detail_rows rows;
	buf_put(&sealed, bytes, count);
	if (count >= BLOCK_CHECKSUM_BYTES)
		block_head_seal(&sealed, key);

	struct kv_bytes value = { sealed.bytes, sealed.count };
	if (detail_chunk_open(key, value, &chunk) < 0 || chunk.dictionary_count > DICTIONARY_MAX ||
	        detail_chunk_get_heads(&chunk, memory, &heads) < 0 ||
	        detail_chunk_get_rows(&chunk, memory, &rows) < 0)
		return 0;
	check_comes_back(&chunk, &heads, &rows);
	check_sums(&chunk, memory, &rows);
	return 0;
}
