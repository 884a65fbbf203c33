#pragma once

/*
 * What the files share that sum what is sealed: store_sum_unit.c has the way through a unit,
 * store_sum_groups.c says whether sums can answer, store_sum_detail.c reads rows, and
 * store_sum_sealed.c has what both come to.
 */

#include <stdbool.h>
#include <stdint.h>

#include "storage/store_sum_private.h"

/* What is asked for of one group of a block of sums. */
enum {
	CHOICE_UNKNOWN = -2,
	CHOICE_NOTHING = -1
}; /* else the number of a group that is asked for */

/* All of the block is one group of the question, and of one period. */
bool summing_is_total(const struct sum_block *block, const int64_t *choices, uint32_t *ret_group);
/* The choices of a block's groups, from all members of its unit. *ret_fits false: one holds series
 * of several. */
int summing_choose_all(struct summing *summing, struct sealed *sealed, uint32_t unit,
        const struct sum_block *block, const struct sum_group *groups, int64_t *choices,
        bool *ret_fits);
/* Do the sums of the unit tell apart what is to be told apart? Is any of it wanted at all? */
int summing_fits_unit(struct summing *summing, struct sealed *sealed, uint32_t unit, bool *ret_fits,
        bool *ret_wants);

/* Zeroes over a dictionary of so many, into summing->stacks. NULL when out of memory. */
struct stack_sums *summing_stacks(struct summing *summing, uint32_t count);
/* What is in summing->stacks, of one period, to a group; `samples` is what it adds up to. */
int summing_add_stacks(struct summing *summing, uint32_t group, uint64_t period,
        const uint32_t *nodes, const uint32_t *order, uint64_t samples);

/* Who was watching, how long, and what was lost: of the reports and losses that are wanted. */
int summing_add_heads(struct summing *summing, const struct walk *walk, bool is_whole,
        const struct detail_chunk *chunk, const struct detail_heads *heads);
bool summing_wants_heads(struct summing *summing, const struct detail_chunk *chunk,
        const struct detail_heads *heads);
/* Likewise, of all members of a unit. */
int summing_add_members(struct summing *summing, struct walk *walk, uint32_t unit);

/* Nothing that is left of the window says how much of it is wanted. */
void summing_note_collapsed(struct summing *summing, struct key_window key);
void summing_miss(struct summing *summing, const struct key_window *window);

/* Detail of one unit, added up over its dictionary as long as group and period stay the same. */
struct detailing {
	struct summing *summing;
	struct walk *walk;
	const struct sum_block *block;
	const struct summed_series *of; /* any series of that group and period; NULL: nothing yet */
	struct buf wanted;              /* u8 per report */
};

int detailing_chunk(struct detailing *detailing, uint32_t unit, uint32_t number);
/* What was added up so far goes to the sums. */
int detailing_flush(struct detailing *detailing);
