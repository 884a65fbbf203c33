/* Chains are numbered in the order in which they begin, so they are counted (dict_private.h). */

#include "profile/batch_chains.h"

#include "core/fetch.h"

static inline uint32_t batch_chain(const struct dict_nodes *nodes, uint32_t node)
{
	const struct dict_chains *chains = &nodes->chains[node / DICT_CHAINS_NODES];
	uint64_t firsts = chains->firsts &
	                  UINT64_MAX >> (DICT_CHAINS_NODES - 1 - node % DICT_CHAINS_NODES);
	return chains->before + (uint32_t)__builtin_popcountll(firsts) - 1;
}

/* Where the tables say it is anywhere in memory: asked for together, then looked at. */
void batch_find_chains(
        const struct dict_nodes *nodes, const struct row *rows, uint32_t count, uint32_t *chains)
{
	for (uint32_t i = 0; i < count; i++)
		fetch(&nodes->chains[rows[i].node / DICT_CHAINS_NODES]);
	for (uint32_t i = 0; i < count; i++) {
		chains[i] = batch_chain(nodes, rows[i].node);
		fetch(&nodes->firsts[chains[i]]);
	}
}

bool batch_get_place(const struct dict_nodes *nodes, uint32_t chain, bool is_newest,
        struct bits_reader *from, uint32_t *ret_node)
{
	uint32_t count = batch_chain_nodes(nodes, chain);
	uint32_t places = count - !is_newest;
	if (places == 0)
		return false;
	uint64_t place = bits_get(
	        from, is_newest ? BATCH_PLACE_BITS_NEWEST : batch_place_width(count));
	if (place >= places)
		return false;
	*ret_node = nodes->firsts[chain] + (uint32_t)place;
	return true;
}

void batch_encode_runs(const struct batch *batch, struct buf *to)
{
	uint32_t series_next = 0;
	for (uint32_t i = 0, end; i < batch->rows_count; i = end) {
		end = batch_run_end(batch, i);
		buf_put_varint(to, batch->rows[i].series - series_next);
		buf_put_varint(to, end - i - 1);
		series_next = batch->rows[i].series + 1;
	}
}

void batch_decode_runs(struct batch *batch, struct reader *from)
{
	struct dict_mark mark = dict_mark(batch->dict);
	uint64_t series_next = 0;
	uint32_t done = 0;
	while (done < batch->rows_count && !from->failed) {
		uint32_t left = batch->rows_count - done;
		uint32_t series = batch_decode_ascending(from, &series_next, mark.series);
		uint32_t count = (uint32_t)reader_varint_max(from, left - 1) + 1;
		for (uint32_t i = 0; i < count; i++)
			batch->rows[done++].series = series;
	}
}
