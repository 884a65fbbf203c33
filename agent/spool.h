#pragma once

/*
 * spool keeps the batches that no aggregator has made durable yet: in memory, and in files when it
 * has a folder. It never forgets a sample without counting it.
 *
 * A batch enters without a number. When it is first sent it gets the next seq of its (epoch,
 * shard), and from then on neither its content nor its id may change, because the aggregator may
 * have it already although the reply was lost. Only batches that were never sent are merged or
 * dropped.
 *
 * When a bound is reached, two neighbours of a shard that were never sent are merged: those whose
 * joint interval is the shortest, the oldest such (half the time resolution, same totals). When
 * nothing can be merged any more the oldest is reduced to its losses, and its samples are losses
 * too (LOSS_SPOOL_FULL): a small entry like any other, that travels and survives like any other.
 *
 * In a folder each entry is a file, synced and renamed into place (docs/formats/spool.md); the name
 * holds the id once it has one. After a restart entries keep their old epoch and seq. A file that
 * cannot be read is set aside as *.broken, logged, and its samples (known from the name) counted as
 * LOSS_MALFORMED. While the disk refuses to be written, entries stay in memory within their own
 * bound.
 *
 * One thread owns a spool.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/batch.h"
#include "profile/wire.h"

struct spool;

#define SPOOL_ENTRY_BYTES_MAX (1u << 20)
#define SPOOL_ENTRIES_MAX     4096

struct spool_options {
	const char *path;   /* NULL: memory only. Made if its parent exists. Text is copied */
	uint64_t bytes_max; /* of all entries, encoded; losses alone may stand a little above */
	uint64_t memory_bytes_max; /* of entries that could not be written to the folder; 0:
	                              bytes_max */
	uint32_t entry_bytes_max;  /* larger batches are split by rows, larger merges not made; 0: 1
	                              MiB */
	uint32_t entries_max;      /* 0: 4096 */
	struct wire_uuid uuid;     /* of the agent */
	uint64_t epoch;            /* of this start: new every time, never 0 */
	const char *tenant;        /* with the label service it decides the shard; NULL: "" */
};

/* With a message: -EBUSY (another agent has the folder), -EACCES, -ENOTDIR, ...; -ENOMEM. */
int spool_open(struct spool_options options, struct spool **ret_spool, char *ret_error,
        size_t error_bytes);

/* Entries that a full disk has kept in memory get a last chance to be written. */
void spool_free(struct spool *spool);
DEFINE_AUTO(spool);

/*
 * What the aggregator wants: how many virtual shards there are (1 until told), and entries of at
 * most so many bytes. What was never sent is divided again. -ENOMEM: not all of it was; ask again.
 */
int spool_fit(struct spool *spool, uint32_t shards, uint64_t entry_bytes_max);

/*
 * Takes a settled batch, in encoded form and divided by shard. -ENOMEM: nothing was kept; the
 * samples and losses are the caller's to count.
 */
int spool_add(struct spool *spool, const struct batch *batch);

/* The same for batch_encode_whole(). -EBADMSG when it is not one. */
int spool_add_encoded(struct spool *spool, const uint8_t *bytes, size_t count);

/* Samples that were lost elsewhere: by reason, of nobody's series. -ENOMEM. */
int spool_add_losses(struct spool *spool, uint64_t start_ns, uint64_t duration_ns,
        const uint64_t lost[LOSS_REASON_MAX + 1]);

struct spool_entry {
	uint64_t handle;
	struct wire_uuid uuid;
	uint64_t epoch;
	uint64_t seq;
	uint16_t shard;
	uint64_t samples;
	uint64_t lost;
	const uint8_t
	        *bytes; /* batch_encode_whole(), borrowed until the next spool_ call but state */
	size_t count;
};

/*
 * The oldest entries, at most `count` and about `bytes_max` (one at least), each numbered (and the
 * number made durable in the folder) before it is given out. A shard of which something was sent
 * and is not done yet gets only that, so that little is frozen while an aggregator is away. Returns
 * how many, or negative errno: the folder refused the numbers, try again later.
 */
int spool_take(
        struct spool *spool, struct spool_entry *ret_entries, uint32_t count, uint64_t bytes_max);

/* Durable elsewhere (OK, DUP): gone. */
void spool_done(struct spool *spool, uint64_t handle);

/* Refused for ever: its samples become losses with that reason, which travel as a new entry. */
void spool_reject(struct spool *spool, uint64_t handle, enum loss_reason reason);

struct spool_state {
	uint64_t entries;
	uint64_t bytes;
	uint64_t memory_bytes; /* of those bytes: not in a file */
	uint64_t samples;
	uint64_t memory_samples;  /* of those samples: not in a file */
	uint64_t lost;            /* counted in entries that wait */
	uint64_t merged;          /* how many merges were needed */
	uint64_t dropped_samples; /* became LOSS_SPOOL_FULL since the start */
	uint64_t broken_samples;  /* became LOSS_MALFORMED since the start */
};

struct spool_state spool_state(const struct spool *spool);
