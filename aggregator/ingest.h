#pragma once

/*
 * ingest is the one thread that appends to the store: it opens sessions, decodes pushes, appends
 * what many senders sent as one synced group, and only then answers them. It also takes symbol
 * tables.
 *
 * Requests wait in a bounded queue; ingest_submit() says -EBUSY when that is full and the caller
 * answers BUSY. While the disk is full everything is answered BUSY and nothing is lost: senders
 * keep what was not acknowledged.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/clock.h"
#include "core/net.h"
#include "profile/wire.h"
#include "storage/store.h"

/* Requests of one group commit, and their bytes decoded: a group that holds more is committed
 * early. */
#define INGEST_GROUP_MAX       64
#define INGEST_GROUP_BYTES_MAX (64u << 20)

struct ingest;

struct ingest_options {
	struct store *store;
	struct clock *clock;
	const char *program; /* "profleet-aggregator 0.1.0" */
	uint64_t queue_bytes;
	uint64_t session_memory;
	uint32_t session_nodes;
	uint32_t push_bytes;
	uint32_t shards;
	/* The disk can no longer be trusted to sync: the owner must stop the process. */
	void (*on_failure)(void *owner);
	/* A table of symbols was kept; may be NULL. */
	void (*on_symbols)(void *owner, const char *build_id);
	void *owner;
};

/* Starts the thread. -ENOMEM, -errno. */
int ingest_new(struct ingest_options options, struct ingest **ret_ingest);
void ingest_close(struct ingest *ingest); /* takes no more */
void ingest_stop(struct ingest *ingest);  /* answers what was taken, then waits for the thread */
void ingest_free(struct ingest *ingest);
DEFINE_AUTO(ingest);

/* -EBUSY, -ENOMEM: still the caller's to answer. */
int ingest_submit(
        struct ingest *ingest, struct net_request *request, const uint8_t *bytes, size_t count);

/* What SIGHUP may change. */
void ingest_set_bounds(struct ingest *ingest, uint64_t queue_bytes, uint64_t session_memory);

struct ingest_state {
	uint64_t requests;      /* HELLO, PUSH and SYMBOLS answered */
	uint64_t groups;        /* synced writes */
	uint64_t groups_failed; /* of them: nothing was kept, and senders try again */
	uint64_t sections_ok;
	uint64_t sections_duplicate;
	uint64_t sections_rejected;
	uint64_t sections_busy;
	uint64_t malformed; /* messages that made no sense */
	uint64_t too_new;
	uint64_t resets; /* pushes of unknown sessions */
	uint64_t rows;
	uint64_t symbol_tables;
	uint64_t symbols_refused;
	uint64_t clock_clamped; /* intervals from the future, stamped with our time */
	uint64_t commit_ns;     /* spent in synced writes */
	uint64_t queue_bytes;
	uint64_t queue_refused;
	uint64_t sessions;
	uint64_t session_memory;
	uint64_t sessions_dropped;
	int store_error; /* 0, or the errno of the last append: -ENOSPC is a full disk */
};

struct ingest_state ingest_state(struct ingest *ingest);
