#pragma once

/* What reading one sum block (sum_block.c) and adding up several (sum_merge.c) share. */

#include "storage/sum_block.h"

struct sum_memory {
	struct column_scratch scratch;
	struct buf groups;
	bool has_values;
	struct buf values; /* a struct column_wide per group, of the values that were opened */
	struct buf narrow_facts;
	struct buf wide_facts;
	struct buf instances;
	struct buf losses;
	struct buf narrow;
	struct buf wide;
	struct buf order;
};

/* Values, checked to add up to `samples`: in *ret_narrow, or in *ret_wide if one is past 32 bits.
 */
int sum_get_values(struct sum_memory *memory, const struct column_wide *column, uint64_t samples,
        const uint32_t **ret_narrow, const uint64_t **ret_wide);
