#pragma once

/*
 * What the forms of a batch's columns share: batch.c has the plain one, batch_coded.c that
 * of the store, batch_packed.c the one it had before.
 */

#include "profile/batch.h"

/* Only settled rows of known things can be encoded; anything else is a mistake of the caller. */
void batch_assert_settled(const struct batch *batch);

/* Where the run of rows of one series that begins at `first` ends. */
uint32_t batch_run_end(const struct batch *batch, uint32_t first);

/* Coverage and losses, whose counts the reader's batch has already. */
void batch_encode_rest(const struct batch *batch, struct buf *to);
void batch_decode_rest(struct batch *batch, struct reader *from);

/* The next of ascending ids, each written as its distance from the one before plus one. */
uint32_t batch_decode_ascending(struct reader *from, uint64_t *next, uint32_t count);

/* Memory for exactly the counts in the batch, instead of the arrays it has. */
int batch_take_memory(struct batch *batch);
