#pragma once

/*
 * answer_build turns a question into an answer: find the series, sum the range by stack, carry the
 * stacks over from the store's dictionary, name them, and say how complete it all is.
 */

#include <stdbool.h>

#include "profile/answer.h"
#include "profile/wire.h"
#include "storage/store.h"

struct answer_build_options {
	uint64_t memory_max;
	const bool *cancelled;
	uint64_t *read_ns; /* of struct store_sum_options, over all sides */
};

/*
 * -EINVAL: a selector that cannot be parsed. -E2BIG: past memory_max. -ECANCELED. -ENOMEM.
 * -EOVERFLOW. -EBADMSG, -EIO: the store. In each case *ret_error says what and what to do.
 */
int answer_build(struct store *store, const struct wire_query *query,
        const struct answer_build_options *options, struct answer **ret_answer, char *ret_error,
        size_t error_bytes);
