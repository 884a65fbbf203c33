#pragma once

/*
 * answer_timeline answers how much there was in each step of a range, of all stacks or of those
 * that one function is on: JSON text (docs/formats/json.md).
 *
 * Each step is answered by whatever windows would answer it alone. Where the finer windows are
 * gone, steps are as long as what is left is wide, and say so.
 */

#include "aggregator/answer_build.h"
#include "aggregator/named_stacks.h"
#include "core/buf.h"

#define ANSWER_TIMELINE_STEPS_MAX 4096

/* WIRE_ASK_TIMELINE. Errors as of answer_build(), with text. */
int answer_timeline(struct store *store, struct named_stacks *stacks,
        const struct wire_query *query, const struct answer_build_options *options, struct buf *to,
        char *ret_error, size_t error_bytes);
