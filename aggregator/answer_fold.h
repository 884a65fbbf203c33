#pragma once

/*
 * answer_fold answers what needs functions or a tree cut to size, and not every stack: the sums of
 * the range are folded by what named_stacks remembers, so that nothing is named anew and little is
 * sent. What it says is what a reader of the whole answer would come to.
 */

#include "aggregator/answer_build.h"
#include "aggregator/named_stacks.h"
#include "core/buf.h"

/* WIRE_ASK_FUNCTIONS and WIRE_ASK_TREE. Errors as of answer_build(), with text. */
int answer_fold(struct store *store, struct named_stacks *stacks, const struct wire_query *query,
        const struct answer_build_options *options, struct answer **ret_answer, char *ret_error,
        size_t error_bytes);
