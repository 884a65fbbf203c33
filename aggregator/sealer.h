#pragma once

/*
 * sealer makes windows compact some time after they ended, and rolls them up to hours and days: a
 * small thread that asks the store for it again and again, beside ingest and queries; then it has
 * names forgotten that no data is left of. More often it has sums made of what is open, for
 * questions about the last minutes, and memory given back that was freed. What it does is in
 * storage/store.h; a failure is logged once and tried again at the next turn.
 */

#include <stdint.h>

#include "core/auto.h"
#include "core/clock.h"
#include "storage/store.h"

struct sealer;

struct sealer_options {
	struct store *store;
	struct clock *clock;
	uint64_t grace_ns;      /* after the end of a window, for what is on its way */
	uint64_t roll_grace_ns; /* after the end of an hour and of a day */
	uint32_t every_ms;
	uint32_t heads_every_ms; /* sums of what is open; 0: only with the rest */
	uint64_t idle_bytes_max; /* of freed memory, at the end of each of these */
};

/* -ENOMEM, -EAGAIN (no thread). */
int sealer_new(struct sealer_options options, struct sealer **ret_sealer);

/* Asks for a turn without waiting for its time, and waits until it has ended. */
void sealer_turn_now(struct sealer *sealer);

struct sealer_state {
	uint64_t seal_failures; /* turns in which it failed; likewise the others */
	uint64_t roll_failures;
	uint64_t collect_failures;
	int error; /* 0, or the errno of the last turn: the first step that failed */
};

struct sealer_state sealer_state(struct sealer *sealer);

/* Waits for a window that is being sealed. */
void sealer_free(struct sealer *sealer);
DEFINE_AUTO(sealer);
