#pragma once

/*
 * Writes the packed form of a batch's columns, which stores of formats 4 and 5 hold and nobody
 * writes any more: word by word as docs/formats/batch.md says it, so that its reader is held to
 * that page.
 */

#include <stdlib.h>

#include "core/bits.h"
#include "core/compress.h"
#include "profile/batch.h"
#include "tests/lib/test.h"

struct packed_writer {
	const struct batch *batch;
	uint32_t *chains;  /* of each node */
	uint32_t *lengths; /* of each chain */
	uint32_t chains_count;
	struct bits_writer bits;
};

/* A node begins a chain if it is the root or its parent is not the one before. */
static inline void packed_number_chains(struct packed_writer *writer)
{
	const struct dict *dict = writer->batch->dict;
	uint32_t nodes = dict_mark(dict).nodes;
	writer->chains = calloc(nodes, sizeof(*writer->chains));
	writer->lengths = calloc(nodes, sizeof(*writer->lengths));
	CHECK(writer->chains && writer->lengths);
	for (uint32_t node = 0; node < nodes; node++) {
		writer->chains_count += node == 0 || dict_get_node(dict, node).parent != node - 1;
		writer->chains[node] = writer->chains_count - 1;
		writer->lengths[writer->chains[node]]++;
	}
}

static inline uint32_t packed_place(const struct packed_writer *writer, uint32_t node)
{
	uint32_t place = 0;
	while (place < node && writer->chains[node - place - 1] == writer->chains[node])
		place++;
	return place;
}

/* The bits of a row; its symbol. */
static inline uint8_t packed_row(struct packed_writer *writer, uint32_t i)
{
	const struct row *row = &writer->batch->rows[i];
	uint32_t chain = writer->chains[row->node];
	uint32_t place = packed_place(writer, row->node);
	bool is_first = i == 0 || row[-1].series != row->series;
	uint32_t distance = chain - (is_first ? 0 : writer->chains[row[-1].node]);
	unsigned int symbol = bits_width(distance);
	bits_put_below_top(&writer->bits, distance);
	if (chain + 1 == writer->chains_count) {
		symbol |= 128;
		bits_put(&writer->bits, place, 32);
	} else if (place + 1 < writer->lengths[chain]) {
		symbol |= 128;
		bits_put(&writer->bits, place, bits_width(writer->lengths[chain] - 2));
	}
	if (row->value > 1) {
		symbol |= 64;
		bits_put_number(&writer->bits, row->value - 1);
	}
	return (uint8_t)symbol;
}

/* What is smaller: a zstd frame, or the symbols. */
static inline void packed_put_symbols(const uint8_t *symbols, uint32_t count, struct buf *to)
{
	AUTO_BUF frame = { 0 };
	CHECK_OK(compress_append(COMPRESS_ZSTD_FAST, symbols, count, &frame));
	if (frame.count < count) {
		buf_put_varint(to, frame.count);
		buf_put(to, frame.bytes, frame.count);
	} else {
		buf_put_varint(to, 0);
		buf_put(to, symbols, count);
	}
}

static inline void packed_put_runs(const struct batch *batch, struct buf *to)
{
	uint32_t series_next = 0;
	for (uint32_t first = 0, end; first < batch->rows_count; first = end) {
		uint32_t series = batch->rows[first].series;
		for (end = first; end < batch->rows_count && batch->rows[end].series == series;)
			end++;
		buf_put_varint(to, series - series_next);
		buf_put_varint(to, end - first - 1);
		series_next = series + 1;
	}
}

static inline void packed_put_rest(const struct batch *batch, struct buf *to)
{
	uint32_t series_next = 0;
	uint64_t ns = batch->duration_ns;
	for (uint32_t i = 0; i < batch->coverage_count; i++) {
		const struct coverage *coverage = &batch->coverage[i];
		buf_put_varint(to, coverage->series - series_next);
		buf_put_zigzag(to, (int64_t)(coverage->ns - ns));
		series_next = coverage->series + 1;
		ns = coverage->ns;
	}
	for (uint32_t i = 0; i < batch->losses_count; i++) {
		const struct loss *loss = &batch->losses[i];
		buf_put_varint(to, loss->series == SERIES_NONE ? 0 : loss->series + 1);
		buf_put_varint(to, loss->reason);
		buf_put_varint(to, loss->count);
	}
}

static inline void packed_write(const struct batch *batch, struct buf *scratch, struct buf *to)
{
	struct packed_writer writer = { .batch = batch };
	uint32_t count = batch->rows_count;
	uint8_t *room = calloc(count + 1, 4 + 4 + BITS_NUMBER_BYTES_MAX + BITS_ROOM);
	uint8_t *symbols = calloc(count + 1, 1);
	CHECK(room && symbols);
	packed_number_chains(&writer);
	writer.bits = (struct bits_writer){ .at = room };
	for (uint32_t i = 0; i < count; i++)
		symbols[i] = packed_row(&writer, i);
	bits_end(&writer.bits);

	(void)scratch;
	buf_put_varint(to, count);
	buf_put_varint(to, batch->coverage_count);
	buf_put_varint(to, batch->losses_count);
	buf_put_varint(to, writer.chains_count);
	packed_put_symbols(symbols, count, to);
	packed_put_runs(batch, to);
	packed_put_rest(batch, to);
	buf_put(to, room, (size_t)(writer.bits.at - room));
	free(room);
	free(symbols);
	free(writer.chains);
	free(writer.lengths);
}
