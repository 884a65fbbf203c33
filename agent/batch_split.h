#pragma once

/*
 * batch_split divides a batch by the shard of its series, and by size, so that each part can be one
 * section of a PUSH. The parts together are the batch: every row, coverage and loss in exactly one.
 *
 * Losses of nobody's series go where a service without a name would.
 */

#include <stdint.h>

#include "core/buf.h"
#include "profile/batch.h"

struct batch_split_options {
	const char *tenant;
	uint32_t shards;    /* 1: divided by size only */
	uint32_t bytes_max; /* of a part, encoded whole; a single row may need more */
};

/*
 * Calls `each` with every part that holds anything, in both forms, borrowed for the call. Its
 * negative result ends the walk and is returned. -ENOMEM.
 */
int batch_split(const struct batch *batch, struct batch_split_options options,
        int (*each)(
                void *owner, uint16_t shard, const struct batch *part, const struct buf *encoded),
        void *owner);
