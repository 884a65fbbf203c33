#pragma once

/*
 * answer_sum is the first half of every answer about profiles: which series the selector of a side
 * means, what each is grouped under, and the sums of the range by (group, stack), still in the
 * store's own ids.
 */

#include "aggregator/answer_build.h"
#include "profile/selector.h"

/* What a matched series' rows are kept under, and how that is called. */
struct answer_groups {
	struct dict *dict;   /* that the series of groups are of; borrowed */
	uint32_t *of_series; /* for each matched series its group's number: a series of `dict` */
	uint32_t count;
};

struct answer_sum {
	struct selector *selector;
	struct store_match *match;
	struct answer_groups groups;
	struct store_sum sum;
	bool takes_runs; /* said before: as struct store_sum_options has it */
};

void answer_sum_fini(struct answer_sum *work);

/* -EINVAL with text, -ENOMEM. */
int answer_sum_selector(const struct wire_text *text, struct selector **ret_selector,
        char *ret_error, size_t error_bytes);

/* The first half of answer_sum_take(): series and groups, no sums. */
int answer_sum_match(struct store *store, const struct wire_query *query,
        const struct wire_query_side *side, struct dict *dict, struct answer_sum *work);

/*
 * All sides of the question, in one pass over the store: `works` zeroed (but for takes_runs), one
 * for each, and the dict that the groups of each are of. Groups get numbers in order of their
 * series there, which may hold those of another side. Values are in units: a series of a group has
 * period 1, except where nothing is grouped. Errors with text where a selector is at fault.
 */
int answer_sum_take(struct store *store, const struct wire_query *query,
        const struct answer_build_options *options, struct dict *const *dicts,
        struct answer_sum *works, char *ret_error, size_t error_bytes);

size_t answer_sum_bytes(const struct answer_sum *work);

/*
 * Between stretches of rows: the writer, who may be waiting for the gate, is let in before the
 * question goes on, unless it was cancelled or has grown past what one question may use.
 */
int answer_pause(struct store *store, const struct answer_build_options *options, size_t memory);

/* What can only be said once frames have names, of rows of whole stacks. -ENOMEM. */
int answer_note_flaws(const struct batch *batch, struct completeness *completeness);

const char *answer_failure_text(int r);
