#pragma once

/*
 * query_pool answers questions on threads of its own, so that a long one never delays an
 * acknowledgement, and keeps finished answers until they were fetched page by page.
 *
 * A question whose client has left is not begun, and not gone on with.
 *
 * Bounded: questions that wait, memory of one question, memory of kept answers (the longest unused
 * goes first). A client that comes too late is told to ask again.
 */

#include <stdint.h>

#include "core/auto.h"
#include "core/clock.h"
#include "core/net.h"
#include "storage/store.h"

struct query_pool;
struct buf;

struct query_pool_options {
	struct store *store;
	struct clock *clock;
	uint32_t threads;
	uint64_t query_memory;
	uint64_t result_memory;
	uint64_t name_memory; /* of what stacks are called, kept between questions */
	/* Writes {"status":...} about the whole process. */
	void (*status)(void *owner, struct buf *to);
	void *owner;
};

/* Starts the threads. -ENOMEM, -EAGAIN. */
int query_pool_new(struct query_pool_options options, struct query_pool **ret_pool);
void query_pool_stop(struct query_pool *pool); /* cancels what is there, waits for the threads */
void query_pool_free(struct query_pool *pool);
DEFINE_AUTO(query_pool);

/*
 * -EBUSY, -ENOMEM: still the caller's to answer. How far another question is, is answered at once:
 * all threads may be busy with such.
 */
int query_pool_submit(
        struct query_pool *pool, struct net_request *request, const uint8_t *bytes, size_t count);

/* From any thread, for questions that come after. */
void query_pool_set_bounds(struct query_pool *pool, uint64_t query_memory, uint64_t result_memory);

void query_pool_set_name_memory(struct query_pool *pool, uint64_t name_memory);

/* Symbols of a file came: what was named without them is named anew. From any thread. */
void query_pool_symbols(struct query_pool *pool, const char *build_id);

struct query_pool_state {
	uint64_t answered;
	uint64_t refused;   /* questions that could not be asked or answered */
	uint64_t cancelled; /* nobody waited for the answer any more */
	uint64_t query_ns;  /* spent */
	uint64_t results;
	uint64_t result_bytes;
	uint64_t results_dropped; /* before they were fetched whole */
	uint64_t name_bytes;      /* of what stacks are called */
	uint64_t name_stacks;     /* nodes of it */
	uint64_t names_dropped;   /* times it had grown too large */
	uint64_t names_renewed;   /* times that symbols came for it */
	uint64_t running;
	uint64_t waiting;
};

struct query_pool_state query_pool_state(struct query_pool *pool);
