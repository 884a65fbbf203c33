#pragma once

/*
 * shipper brings finished batches to the aggregator, exactly once, on a thread of its own.
 *
 *	collector --shipper_add()--> inbox --> spool (memory, disk) --> session --> aggregator
 *
 * shipper_add() never waits for the network or the disk: it encodes the batch into a bounded inbox.
 * What finds no room there is counted as lost (LOSS_SPOOL_FULL), like everything else that is given
 * up on the way; those losses travel in a batch of their own. The thread keeps retrying with a
 * jittered, growing delay for as long as it takes.
 *
 * The thread also answers the aggregator's wish for symbols: it opens the file by its build-id,
 * has the jailed symbolizer read it, and uploads the table in parts.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/spool.h"
#include "core/auto.h"
#include "core/clock.h"
#include "profile/batch.h"
#include "profile/wire.h"

/* How bytes reach the aggregator: net_call() but for tests. Errors as of net_call(). */
struct shipper_transport {
	int (*call)(struct shipper_transport *transport, const uint8_t *bytes, size_t count,
	        uint32_t timeout_ms, uint8_t **ret_bytes, size_t *ret_count);
};

/* What the shipper asks of the rest of the agent. Called on the shipper's threads. */
struct shipper_callbacks {
	void *owner;
	/*
	 * Fills in what the agent knows of itself before every push: hz_milli, samples_taken,
	 * cpu_ns, rss_bytes and its own lost[]. The shipper adds samples_sent, spool_* and what it
	 * lost itself.
	 */
	void (*state)(void *owner, struct wire_agent_state *state);
	/*
	 * A readable regular file with that build-id, which the shipper closes; or -ENOENT. The
	 * vdso need not be known here.
	 */
	int (*open_build_id)(void *owner, const char *build_id);
};

struct shipper_options {
	const char *address; /* tcp://127.0.0.1:7470 */
	const char *host;
	const char *program;             /* "profleet-agent 0.1.0" */
	const char *tenant;              /* "" is the default */
	struct wire_uuid uuid;           /* agent/identity.h */
	uint64_t epoch;                  /* of this start, never 0 */
	const char *spool_path;          /* NULL: memory only */
	uint64_t spool_bytes_max;        /* on disk, or in memory when there is no folder */
	uint64_t spool_memory_bytes_max; /* 0: as many; what may stay in memory when the disk
	                                    refuses */
	struct shipper_callbacks callbacks;
	struct clock *clock;                 /* NULL: clock_real() */
	struct shipper_transport *transport; /* NULL: net_call() to address; else borrowed */
	uint64_t seed;                       /* of the jitter; 0: from the machine */
};

struct shipper;

/*
 * Opens the spool and starts the thread; all text is copied. -EINVAL for an address or -E... of the
 * spool's folder, each with a message.
 */
int shipper_new(struct shipper_options options, struct shipper **ret_shipper, char *ret_error,
        size_t error_bytes);

/*
 * Takes a copy of the batch, which is settled by this. Any thread, one at a time per batch.
 * Whatever goes wrong is counted as loss, so there is nothing for the caller to do.
 */
void shipper_add(struct shipper *shipper, struct batch *batch);

/*
 * Refuses new batches, tries to deliver everything until `timeout_ns` from now, and ends the
 * thread. What could not be delivered stays in the spool's folder, or is lost with the memory.
 * Returns how many samples were left undelivered in memory.
 */
uint64_t shipper_stop(struct shipper *shipper, uint64_t timeout_ns);

/* After shipper_stop(), or instead of it where nothing need be delivered. */
void shipper_free(struct shipper *shipper);
DEFINE_AUTO(shipper);

struct shipper_state {
	struct spool_state spool; /* with what is still in the inbox */
	/* taken by this agent + inherited = sent + spool.samples + lost, whenever nothing moves. */
	uint64_t samples_sent; /* made durable by the aggregator, of this epoch or older ones */
	uint64_t samples_inherited;         /* that the folder held at the start */
	uint64_t lost[LOSS_REASON_MAX + 1]; /* given up on the way since the start, by reason */
	uint64_t pushes;
	uint64_t resets;         /* sessions that had to be opened again */
	uint64_t failures;       /* calls without a usable reply */
	uint64_t bytes_sent;     /* packed */
	uint64_t symbols_sent;   /* files */
	int64_t clock_offset_ns; /* the aggregator's clock minus ours, at the last HELLO */
	bool connected;          /* the last call had a reply */
};

/* Any thread. */
struct shipper_state shipper_state(struct shipper *shipper);
