#pragma once

/*
 * sums adds values by (group, node) within a bound of memory, which several may share: what one
 * does not need is there for the others.
 *
 * Where all groups times all nodes fit into half of the bound, and others leave room for them, sums
 * are a plain vector that is added into: a question that touches many stacks is bound by that.
 * Otherwise, and for nodes that came into being after the question began, they are in a hash table.
 */

#include <stdint.h>

#include "core/auto.h"
#include "storage/store.h"

/* Of all that share it: what they have, rows that were taken included. One thread's. */
struct sums_bound {
	uint64_t memory_max;
	uint64_t memory;
	uint64_t runs_rows;
};

struct sums;

/* `groups` ascending and distinct; it and the bound are borrowed. NULL when out of memory. */
struct sums *sums_new(const uint32_t *groups, uint32_t groups_count, uint32_t nodes_count,
        struct sums_bound *bound);
void sums_free(struct sums *sums);
DEFINE_AUTO(sums);

/* `group` is an index into groups. -EOVERFLOW: past 64 bits. -E2BIG: past the bound. -ENOMEM. */
int sums_add(struct sums *sums, uint32_t group, uint32_t node, uint64_t value);

/*
 * Adds the rows of one series, each value times factor. Errors as sums_add(); then a part was
 * added.
 */
int sums_add_rows(
        struct sums *sums, uint32_t group, const struct row *rows, uint32_t count, uint64_t factor);

/*
 * Adds values[i] times factor under the node of place i: nodes[order[i]], or nodes[i] where there
 * is no order; then nodes are ascending and distinct. Errors as sums_add(); then a part was added.
 */
int sums_add_all(struct sums *sums, uint32_t group, const uint32_t *nodes, const uint32_t *order,
        const uint64_t *values, uint32_t count, uint64_t factor);

/*
 * Once: sorted by (group, node), zeroes left out; the caller frees. Then nothing else is left of
 * the sums. -E2BIG, -ENOMEM, -EOVERFLOW.
 */
int sums_take_rows(struct sums *sums, struct store_sum_row **ret_rows, uint32_t *ret_rows_count);

/*
 * Likewise, but as they were read where there is one group: runs, and rows of what is in none. The
 * caller frees by store_sum_part_fini(). -E2BIG, -ENOMEM.
 */
int sums_take_runs(struct sums *sums, struct store_sum_part *ret_part);

/* What they would take at once if they had to: the vector, where it is not there yet. */
uint64_t sums_memory_next(const struct sums *sums);
