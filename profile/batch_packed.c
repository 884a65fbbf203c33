/*
 * The packed form of a batch's columns (docs/formats/batch.md): what stores of formats 4 and 5
 * hold. The coded form (batch_coded.c) took its place; this one is only read.
 *
 * Nodes are numbered along every path that was ever seen, and most rows are of the end of one. So a
 * row names its *chain*, a run of nodes each of which follows its parent, of which there are a
 * tenth as many, and says where in it only when that is not the end:
 *
 *	nodes   [ 0 1 2 3 | 4 5 | 6 7 8 ]     chains 0, 1, 2; their ends 3, 5, 8
 *	rows      node 3, 5, 7      ->       chain +0 end, +1 end, +1 at 1
 *
 * The newest chain may grow after it was written about, so there the place is always said.
 *
 * What a row needs is split in two. A *symbol*, one byte: how many bits the distance from the chain
 * before has, whether a place follows and whether a value. Symbols repeat, and zstd makes about
 * half of them. Behind them the bits themselves, which nothing makes smaller.
 */

#include <assert.h>
#include <errno.h>

#include "core/compress.h"
#include "profile/batch_chains.h"

enum {
	SYMBOL_WIDTH = 63,
	SYMBOL_VALUE = 64,  /* more than 1 */
	SYMBOL_PLACE = 128, /* not at the end of its chain */
};

struct unpacking {
	const struct dict_nodes *nodes;
	uint32_t chains_count; /* when it was written */
	struct bits_reader bits;
	bool failed;
};

static inline void unpacking_row(
        struct unpacking *unpacking, uint8_t symbol, uint32_t *chain, struct row *row)
{
	unsigned int width = symbol & SYMBOL_WIDTH;
	if (width > 32) {
		unpacking->failed = true;
		return;
	}
	uint64_t number = (uint64_t)*chain + bits_get_below_top(&unpacking->bits, width);
	/* The newest chain has no end that both sides know. */
	if (number + !(symbol & SYMBOL_PLACE) >= unpacking->chains_count) {
		unpacking->failed = true;
		return;
	}
	*chain = (uint32_t)number;
	if (!(symbol & SYMBOL_PLACE))
		row->node = unpacking->nodes->firsts[number + 1] - 1;
	else if (!batch_get_place(unpacking->nodes, *chain, number + 1 == unpacking->chains_count,
	                 &unpacking->bits, &row->node))
		unpacking->failed = true;
	row->value = 1;
	if (symbol & SYMBOL_VALUE) {
		uint64_t more = bits_get_number(&unpacking->bits);
		unpacking->failed |= more == UINT64_MAX;
		row->value = more + 1;
	}
}

static void unpacking_run(
        struct unpacking *unpacking, const uint8_t *symbols, uint32_t count, struct row *rows)
{
	uint32_t chain = 0;
	for (uint32_t i = 0; i < count && !unpacking->failed; i++) {
		unpacking_row(unpacking, symbols[i], &chain, &rows[i]);
		unpacking->failed |= i > 0 && rows[i].node <= rows[i - 1].node;
	}
}

/* As many symbols as there are rows, in `scratch`. */
static int unpacking_get_symbols(struct reader *from, uint32_t count, struct buf *scratch)
{
	size_t packed = (size_t)reader_varint_max(from, count);
	const uint8_t *bytes = reader_bytes(from, packed ? packed : count);
	if (!bytes && (count > 0 || from->failed))
		return -EBADMSG;
	buf_reset(scratch);
	if (packed)
		return compress_unpack(COMPRESS_ZSTD_FAST, bytes, packed, count, count, scratch);
	buf_put(scratch, bytes, count);
	return scratch->failed ? -ENOMEM : 0;
}

static int unpacking_rows(struct unpacking *unpacking, struct batch *batch, const uint8_t *symbols,
        struct reader *from)
{
	if (from->failed)
		return -EBADMSG;
	unpacking->bits = bits_reader_of(from->at, reader_left(from));
	from->at = from->end;
	for (uint32_t i = 0, end; i < batch->rows_count && !unpacking->failed; i = end) {
		end = batch_run_end(batch, i);
		unpacking_run(unpacking, symbols + i, end - i, batch->rows + i);
	}
	return unpacking->failed || !bits_is_at_end(&unpacking->bits) ? -EBADMSG : 0;
}

int batch_decode_packed(
        struct batch *batch, uint32_t rows_max, struct buf *scratch, struct reader *from)
{
	assert(batch->rows_count == 0 && batch->coverage_count == 0 && batch->losses_count == 0);

	struct unpacking unpacking = { .nodes = &batch->dict->nodes };
	uint64_t rows = reader_varint_max(from, rows_max);
	uint64_t coverage = reader_varint_max(from, UINT32_MAX / 2);
	uint64_t losses = reader_varint_max(from, UINT32_MAX / 2);
	unpacking.chains_count = (uint32_t)reader_varint_max(
	        from, dict_nodes_chains(unpacking.nodes));
	if (from->failed || unpacking.chains_count == 0 ||
	        2 * coverage + 3 * losses > reader_left(from))
		return -EBADMSG;

	/* A symbol for each row, before memory is taken for so many. */
	int r = unpacking_get_symbols(from, (uint32_t)rows, scratch);
	if (r < 0)
		return r == -E2BIG ? -EBADMSG : r;
	batch->rows_count = (uint32_t)rows;
	batch->coverage_count = (uint32_t)coverage;
	batch->losses_count = (uint32_t)losses;
	r = batch_take_memory(batch);
	if (r == 0) {
		batch_decode_runs(batch, from);
		batch_decode_rest(batch, from);
		r = unpacking_rows(&unpacking, batch, scratch->bytes, from);
	}
	if (r < 0)
		batch_reset(batch);
	return r;
}
