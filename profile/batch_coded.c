/*
 * The coded form of a batch's columns (docs/formats/batch.md).
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
 * What a row needs is split in two. What can be foretold goes through a range coder, with chances
 * that learn (row_model): how many bits the distance from the chain before has, whether a value
 * follows and whether a place. The bits themselves cannot be foretold, so they are written as they
 * are, in a run of their own.
 *
 * Both go over the rows twice: chains and values first, then places. To know about a place is to
 * look at the chain in a table that is in no cache, and the second time all chains are known, so
 * that they can be asked for together.
 */

#include <assert.h>
#include <errno.h>

#include "core/fetch.h"
#include "profile/batch_chains.h"
#include "profile/row_model.h"

/* The most bits of a row, in whole bytes. */
#define CODING_ROW_BYTES_MAX (4 + 4 + BITS_NUMBER_BYTES_MAX)
#define DECODING_ROWS_AHEAD  16

/* ---- writing ---- */

struct coding {
	const struct dict_nodes *nodes;
	uint32_t chains_count;
	const struct batch *batch;
	uint32_t *chains; /* of the rows */
	struct range_writer range;
	struct bits_writer bits;
	struct row_model model;
};

static bool coding_is_first(const struct batch *batch, uint32_t i)
{
	return i == 0 || batch->rows[i].series != batch->rows[i - 1].series;
}

static void coding_chains(struct coding *coding)
{
	const struct batch *batch = coding->batch;
	struct range_writer range = coding->range; /* in registers */
	uint32_t chain_before = 0;
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		uint32_t left = batch->rows_count - i;
		if (i % BATCH_CHAINS_AT_ONCE == 0)
			batch_find_chains(coding->nodes, row,
			        left < BATCH_CHAINS_AT_ONCE ? left : BATCH_CHAINS_AT_ONCE,
			        &coding->chains[i]);
		if (coding_is_first(batch, i)) {
			row_model_begin_run(&coding->model);
			chain_before = 0;
		}
		uint32_t distance = coding->chains[i] - chain_before;
		bool has_value = row->value > 1;
		row_width_put(&coding->model, &range, chain_before, bits_width(distance));
		bits_put_below_top(&coding->bits, distance);
		chain_before = coding->chains[i];
		row_chance_put(row_model_value(&coding->model, bits_width(chain_before)), &range,
		        has_value);
		if (has_value)
			bits_put_number(&coding->bits, row->value - 1);
		coding->model.has_value = has_value;
	}
	coding->range = range;
}

/*
 * Where in its chain the row is, from `node_min` on, if that is not the one node that a reader
 * knows.
 */
static inline void coding_place(struct coding *coding, struct range_writer *range, uint32_t node,
        uint32_t node_min, uint32_t chain)
{
	const uint32_t *firsts = coding->nodes->firsts;
	if (chain + 1 == coding->chains_count) {
		bits_put(&coding->bits, node - firsts[chain], BATCH_PLACE_BITS_NEWEST);
		coding->model.has_place = true;
		return;
	}
	if (node_min < firsts[chain])
		node_min = firsts[chain];
	uint32_t count = firsts[chain + 1] - node_min;
	bool has_place = count > 1 && node + 1 != firsts[chain + 1];
	if (count > 1)
		row_chance_put(row_model_place(&coding->model, bits_width(chain), count), range,
		        has_place);
	if (has_place)
		bits_put_below(&coding->bits, node - node_min, count - 1);
	coding->model.has_place = has_place;
}

static void coding_places(struct coding *coding)
{
	const struct batch *batch = coding->batch;
	struct range_writer range = coding->range;
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		bool is_first = coding_is_first(batch, i);
		if (is_first)
			row_model_begin_run(&coding->model);
		coding_place(coding, &range, batch->rows[i].node,
		        is_first ? 0 : batch->rows[i - 1].node + 1, coding->chains[i]);
	}
	coding->range = range;
}

/* What is foretold into `coded`, the rest into `bits`. */
static void coding_rows(const struct batch *batch, struct buf *coded, struct buf *bits)
{
	AUTO_BUF chains = { 0 };
	struct coding coding;
	uint8_t *room = buf_reserve(
	        bits, (size_t)batch->rows_count * CODING_ROW_BYTES_MAX + BITS_ROOM);
	coding.chains = (uint32_t *)(void *)buf_reserve(
	        &chains, ((size_t)batch->rows_count + 1) * sizeof(*coding.chains));
	if (!room || !coding.chains) {
		bits->failed = true;
		return;
	}
	coding.nodes = &batch->dict->nodes;
	coding.chains_count = dict_nodes_chains(coding.nodes);
	coding.batch = batch;
	coding.range = range_writer_of(coded);
	coding.bits = (struct bits_writer){ .at = room };
	row_model_init(&coding.model);
	coding_chains(&coding);
	coding_places(&coding);
	range_end(&coding.range);
	bits_end(&coding.bits);
	bits->count += (size_t)(coding.bits.at - room);
}

void batch_encode_coded(const struct batch *batch, struct buf *scratch, struct buf *to)
{
	AUTO_BUF bits = { 0 };
	batch_assert_settled(batch);
	buf_reset(scratch);
	coding_rows(batch, scratch, &bits);

	buf_put_varint(to, batch->rows_count);
	buf_put_varint(to, batch->coverage_count);
	buf_put_varint(to, batch->losses_count);
	buf_put_varint(to, dict_nodes_chains(&batch->dict->nodes));
	buf_put_varint(to, scratch->count);
	buf_put(to, scratch->bytes, scratch->count);
	batch_encode_runs(batch, to);
	batch_encode_rest(batch, to);
	buf_put(to, bits.bytes, bits.count);
	to->failed |= scratch->failed || bits.failed;
}

/* ---- reading ---- */

struct decoding {
	const struct dict_nodes *nodes;
	uint32_t chains_count; /* when it was written */
	struct range_reader range;
	struct bits_reader bits;
	struct row_model model;
};

/* The chains of a run, for now where their nodes will be, and values. */
static bool decoding_chains(struct decoding *decoding, uint32_t count, struct row *rows)
{
	struct range_reader range = decoding->range; /* in registers */
	uint64_t chain = 0;
	bool is_right = true;
	row_model_begin_run(&decoding->model);
	for (uint32_t i = 0; i < count && is_right; i++) {
		unsigned int width = row_width_get(&decoding->model, &range, (uint32_t)chain);
		if (width < ROW_WIDTHS)
			chain += bits_get_below_top(&decoding->bits, width);
		if (width >= ROW_WIDTHS || chain >= decoding->chains_count) {
			is_right = false;
			break;
		}
		bool has_value = row_chance_get(
		        row_model_value(&decoding->model, bits_width(chain)), &range);
		rows[i].node = (uint32_t)chain;
		rows[i].value = 1;
		if (has_value)
			rows[i].value += bits_get_number(&decoding->bits);
		is_right = rows[i].value > 0; /* not past 64 bits */
		decoding->model.has_value = has_value;
	}
	decoding->range = range;
	return is_right;
}

static inline bool decoding_place(struct decoding *decoding, struct range_reader *range,
        uint32_t chain, uint32_t node_min, uint32_t *ret_node)
{
	const struct dict_nodes *nodes = decoding->nodes;
	uint32_t first = nodes->firsts[chain];
	if (chain + 1 == decoding->chains_count) {
		decoding->model.has_place = true;
		return batch_get_place(nodes, chain, true, &decoding->bits, ret_node) &&
		       *ret_node >= node_min;
	}
	uint32_t end = first + batch_chain_nodes(nodes, chain);
	if (node_min < first)
		node_min = first;
	if (node_min >= end)
		return false; /* the row before was of its last node */
	uint32_t count = end - node_min;
	bool has_place = count > 1 &&
	                 row_chance_get(row_model_place(&decoding->model, bits_width(chain), count),
	                         range);
	*ret_node = has_place ? node_min + (uint32_t)bits_get_below(&decoding->bits, count - 1)
	                      : end - 1;
	decoding->model.has_place = has_place;
	return true;
}

/* The nodes of a run, where their chains are. They ascend, each is looked for behind the one
 * before.
 */
static bool decoding_places(struct decoding *decoding, uint32_t count, struct row *rows)
{
	const uint32_t *firsts = decoding->nodes->firsts;
	struct range_reader range = decoding->range;
	uint32_t node_min = 0;
	bool is_right = true;
	row_model_begin_run(&decoding->model);
	for (uint32_t i = 0; i < count && i < DECODING_ROWS_AHEAD; i++)
		fetch(&firsts[rows[i].node]);
	for (uint32_t i = 0; i < count && is_right; i++) {
		if (i + DECODING_ROWS_AHEAD < count)
			fetch(&firsts[rows[i + DECODING_ROWS_AHEAD].node]);
		is_right = decoding_place(decoding, &range, rows[i].node, node_min, &rows[i].node);
		node_min = rows[i].node + 1;
	}
	decoding->range = range;
	return is_right;
}

/* What is left in `from` are the bits. */
static int decoding_rows(struct decoding *decoding, struct batch *batch, struct reader *from)
{
	bool is_right = !from->failed;
	decoding->bits = bits_reader_of(from->at, reader_left(from));
	from->at = from->end;
	row_model_init(&decoding->model);
	for (uint32_t i = 0, end; i < batch->rows_count && is_right; i = end) {
		end = batch_run_end(batch, i);
		is_right = decoding_chains(decoding, end - i, batch->rows + i);
	}
	for (uint32_t i = 0, end; i < batch->rows_count && is_right; i = end) {
		end = batch_run_end(batch, i);
		is_right = decoding_places(decoding, end - i, batch->rows + i);
	}
	return is_right && range_is_at_end(&decoding->range) && bits_is_at_end(&decoding->bits)
	               ? 0
	               : -EBADMSG;
}

int batch_decode_coded(struct batch *batch, uint32_t rows_max, struct reader *from)
{
	assert(batch->rows_count == 0 && batch->coverage_count == 0 && batch->losses_count == 0);

	struct decoding decoding; /* the model is begun last, and is large */
	decoding.nodes = &batch->dict->nodes;
	uint64_t rows = reader_varint_max(from, rows_max);
	uint64_t coverage = reader_varint_max(from, UINT32_MAX / 2);
	uint64_t losses = reader_varint_max(from, UINT32_MAX / 2);
	decoding.chains_count = (uint32_t)reader_varint_max(
	        from, dict_nodes_chains(decoding.nodes));
	size_t count = reader_count(from, 1);
	struct reader coded = reader_of(from->at, count);
	(void)reader_bytes(from, count);
	if (from->failed || decoding.chains_count == 0 ||
	        2 * coverage + 3 * losses > reader_left(from))
		return -EBADMSG;
	decoding.range = range_reader_of(&coded);

	batch->rows_count = (uint32_t)rows;
	batch->coverage_count = (uint32_t)coverage;
	batch->losses_count = (uint32_t)losses;
	int r = batch_take_memory(batch);
	if (r == 0) {
		batch_decode_runs(batch, from);
		batch_decode_rest(batch, from);
		r = decoding_rows(&decoding, batch, from);
	}
	if (r < 0)
		batch_reset(batch);
	return r;
}
