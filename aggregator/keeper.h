#pragma once

/*
 * keeper makes the store forget by policy: a thread beside the sealer that, turn by turn, evaluates
 * the policies over what there is, hides what has expired, and erases what was hidden long enough.
 * It owns policies, holds and their documents; administration (aggregator/admin.h) asks it.
 *
 * What stops it: too much at once (a fifth of the bytes, or half of a tenant's), or a clock that
 * jumped by more than an hour. Then nothing is hidden until somebody confirms. A policy that was
 * made shorter comes into force after a grace; after an undo nothing is hidden for that long.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/json.h"
#include "profile/retention.h"
#include "storage/store.h"

struct keeper;

struct keeper_options {
	struct store *store;
	struct clock *clock;
	const char *data; /* the folder, for the room of its file system */
	struct retention_limits limits;
	uint64_t every_ns; /* between turns */
	uint64_t grace_ns; /* until a shortened policy is in force */
	uint64_t delay_ns; /* between hiding and erasing */
};

/* Reads the documents. On failure ret_error says why: a policy that cannot be read must not be
 * taken for none. -ENOMEM, -EBADMSG, -EINVAL. */
int keeper_new(struct keeper_options options, struct keeper **ret_keeper, char *ret_error,
        size_t error_bytes);
/* Starts the thread. -errno. */
int keeper_start(struct keeper *keeper);
void keeper_free(
        struct keeper *keeper); /* waits for a turn that is under way, which is cut short */
DEFINE_AUTO(keeper);

#define KEEPER_PENDING_MAX 16
#define KEEPER_ERROR_BYTES 512

/* How it stood at the end of the last turn or change: for metrics, health and status, which wait
 * for no turn. */
struct keeper_state {
	uint64_t policies;
	uint64_t last_success_ns; /* unix; 0: never */
	uint64_t overdue_bytes;   /* expired, and not hidden or not erased in time */
	uint64_t hold_bytes;
	uint64_t hidden_bytes;
	bool is_stopped; /* safety stop */
	bool is_late;    /* not enforced within its interval */

	uint64_t last_turn_ns;
	char last_error[KEEPER_ERROR_BYTES];
	char stop[KEEPER_ERROR_BYTES]; /* why; "": nothing stops */
	uint64_t stop_since_ns;
	uint64_t paused_until_ns;
	uint64_t pending_until_ns[KEEPER_PENDING_MAX]; /* of changes in their grace */
	uint32_t pending_count;
};

struct keeper_state keeper_state(struct keeper *keeper);

typedef void (*keeper_visit_bytes)(void *owner, const char *policy, uint64_t bytes);

/* Bytes that each policy deleted since the store was made: told one by one. */
void keeper_deleted(struct keeper *keeper, keeper_visit_bytes visit, void *owner);
/* overdue_bytes by policy. */
void keeper_overdue(struct keeper *keeper, keeper_visit_bytes visit, void *owner);
