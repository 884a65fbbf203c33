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

/* For metrics and health. */
struct keeper_state {
	uint64_t policies;
	uint64_t last_success_ns; /* unix; 0: never */
	uint64_t overdue_bytes;   /* expired, and not hidden or not erased in time */
	uint64_t hold_bytes;
	uint64_t hidden_bytes;
	bool is_stopped; /* safety stop */
	bool is_late;    /* not enforced within its interval */
};

struct keeper_state keeper_state(struct keeper *keeper);

/* Bytes that each policy deleted since the store was made: told one by one. */
void keeper_deleted(struct keeper *keeper,
        void (*visit)(void *owner, const char *policy, uint64_t bytes), void *owner);
