#pragma once

/*
 * spool keeps the batches that no aggregator has made durable yet: in memory, and in files when it
 * has a folder. It never forgets a sample without counting it.
 *
 * A batch enters without a number. When it is first sent it gets the next seq of its (epoch, shard),
 * and from then on neither its content nor its id may change, because the aggregator may have it
 * already although the reply was lost. Only batches that were never sent are merged or dropped.
 *
 * When the bound is reached the two oldest unsent batches of a shard are merged (half the time
 * resolution, same totals); when nothing can be merged any more the oldest unsent is dropped and
 * its samples are added to the losses of the next batch (LOSS_SPOOL_FULL).
 *
 * In a folder each entry is a file, written to a temporary name, synced and renamed; the name holds
 * the id once it has one. After a restart entries keep their old epoch and seq. A file that cannot be
 * read is set aside as *.broken, logged, and its samples (known from the name) counted as lost.
 *
 * One thread owns a spool.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/batch.h"

struct spool;

struct spool_options {
	const char *path; /* NULL: memory only */
	uint64_t bytes_max; /* encoded */
	uint64_t epoch; /* of this start */
};

int spool_open(struct spool_options options, struct spool **ret_spool, char *ret_error, size_t error_bytes);
void spool_free(struct spool *spool);
DEFINE_AUTO(spool);

/* Takes a copy in encoded form. Samples dropped to make room are added to *ret_dropped. -ENOMEM. */
int spool_add(struct spool *spool, uint16_t shard, const struct batch *batch, uint64_t *ret_dropped);

struct spool_entry {
	uint64_t handle;
	uint64_t epoch;
	uint64_t seq;
	uint16_t shard;
	uint64_t samples;
	const uint8_t *bytes; /* batch_encode_whole(), borrowed until the entry is done */
	size_t count;
};

/*
 * The oldest entries, at most `count` and about `bytes_max`, each numbered (and the number made durable
 * in the folder) before it is given out. Returns how many, or negative errno.
 */
int spool_take(struct spool *spool, struct spool_entry *ret_entries, uint32_t count, uint64_t bytes_max);

/* Durable elsewhere (OK, DUP): gone. */
void spool_done(struct spool *spool, uint64_t handle);

/* Refused for ever: gone, and its samples are the caller's to count. */
void spool_reject(struct spool *spool, uint64_t handle);

struct spool_state {
	uint64_t entries;
	uint64_t bytes;
	uint64_t samples;
	uint64_t merged; /* how many merges were needed */
	uint64_t dropped_samples;
};

struct spool_state spool_state(const struct spool *spool);
