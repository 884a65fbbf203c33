#pragma once

/*
 * loss names every way a sample can fail to become a row. The numbers are on the wire and on disk:
 * they are never reused. A sample that is a row with a truncated stack is not a loss.
 *
 * One number is no loss, but travels and is kept with them, as it has to be told wherever its rows
 * are: LOSS_FOLDED.
 */

#include <stdbool.h>
#include <stdint.h>

enum loss_reason {
	LOSS_RING_FULL = 1,    /* the kernel's ring buffer had no room */
	LOSS_PERF_LOST = 2,    /* PERF_RECORD_LOST of a plain perf ring */
	LOSS_AGENT_MEMORY = 3, /* a table of the agent was full */
	LOSS_SPOOL_FULL = 4,   /* the spool was full and could not be merged further */
	LOSS_REJECTED = 5,     /* the aggregator refused the section */
	LOSS_THROTTLED = 6,    /* the kernel throttled the sampler */
	LOSS_MALFORMED = 7,    /* a record that made no sense */
	LOSS_LATE = 8,         /* the section belonged to a closed epoch */
};

/* "ring_full", or NULL when nobody has given the number a name yet. */
const char *loss_reason_name(uint32_t reason);

/* The greatest number that has a name. */
#define LOSS_REASON_MAX 8

/*
 * Not lost: samples of a series that are rows at a caller of their stack, because their service
 * brought too many new stacks. In no sum of what was lost.
 */
#define LOSS_FOLDED 9

/* Is a sample of this reason, of a series or (false) of nobody, no row at all? */
bool loss_is_lost(uint32_t reason, bool has_series);
