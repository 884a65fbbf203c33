#pragma once

/*
 * symbol_upload answers an aggregator that lacks the symbols of a file: opens it, has the
 * symbolizer read it, and sends the table in parts. It has a thread of its own, because a large
 * file on a cold disk takes seconds in which batches should travel.
 *
 * A file that has no symbols, or that the symbolizer could not bear, is answered by an empty table,
 * which ends the asking; a file that is not here is not answered, because another agent may have
 * it. What was dealt with is not done again for a minute, however often it is asked for. The queue
 * is bounded: an aggregator asks again for what did not fit.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/shipper.h"
#include "core/auto.h"
#include "core/clock.h"

struct symbol_upload;

struct symbol_upload_options {
	struct shipper_callbacks callbacks;  /* open_build_id, on this thread */
	struct shipper_transport *transport; /* borrowed */
	struct clock *clock;
};

/* -ENOMEM, -EAGAIN. */
int symbol_upload_new(struct symbol_upload_options options, struct symbol_upload **ret_upload);

/* Any thread. Text of an aggregator: anything that is no build-id is ignored. */
void symbol_upload_want(struct symbol_upload *upload, const char *build_id, size_t count);

/* Waits until the queue is empty or the deadline (monotonic) is over, then ends the thread. */
void symbol_upload_stop(struct symbol_upload *upload, uint64_t deadline_ns);

void symbol_upload_free(struct symbol_upload *upload);
DEFINE_AUTO(symbol_upload);

struct symbol_upload_state {
	uint64_t files;    /* answered with a table */
	uint64_t empty;    /* answered that there is none */
	uint64_t missing;  /* not here */
	uint64_t failures; /* calls without a usable reply */
	uint64_t bytes;
};

/* Any thread. */
struct symbol_upload_state symbol_upload_state(struct symbol_upload *upload);
