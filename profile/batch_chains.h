#pragma once

/*
 * batch_chains is what the packed form of a batch's columns and the coded one share
 * (docs/formats/batch.md): the chain of a node, where in its chain a row is, and the runs of rows.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/bits.h"
#include "profile/batch_private.h"
#include "profile/dict_private.h"

#define BATCH_CHAINS_AT_ONCE 64
/* A place in the newest chain, whose end is not known. */
#define BATCH_PLACE_BITS_NEWEST 32

/* Of so many rows; at most BATCH_CHAINS_AT_ONCE. */
void batch_find_chains(
        const struct dict_nodes *nodes, const struct row *rows, uint32_t count, uint32_t *chains);

/* How many bits a place before the last one of so many nodes has. */
static inline unsigned int batch_place_width(uint32_t nodes)
{
	return bits_width(nodes - 2);
}

/* The nodes of a chain; of the newest as many as it has by now. */
static inline uint32_t batch_chain_nodes(const struct dict_nodes *nodes, uint32_t chain)
{
	uint32_t end = chain + 1 < dict_nodes_chains(nodes) ? nodes->firsts[chain + 1]
	                                                    : nodes->count;
	return end - nodes->firsts[chain];
}

/* The place of a row that is not the last of its chain, or may be, as the chain is the newest. */
bool batch_get_place(const struct dict_nodes *nodes, uint32_t chain, bool is_newest,
        struct bits_reader *from, uint32_t *ret_node);

/* The series of the rows, in runs of one; when reading, of as many rows as the batch has. */
void batch_encode_runs(const struct batch *batch, struct buf *to);
void batch_decode_runs(struct batch *batch, struct reader *from);
