#pragma once

/*
 * sealer makes windows compact some time after they ended: a small thread that asks the store for
 * it again and again, beside ingest and queries. What it does is in storage/store.h; a failure is
 * logged once and tried again at the next turn.
 */

#include <stdint.h>

#include "core/auto.h"
#include "core/clock.h"
#include "storage/store.h"

struct sealer;

struct sealer_options {
	struct store *store;
	struct clock *clock;
	uint64_t grace_ns; /* after the end of a window, for what is on its way */
	uint32_t every_ms;
};

/* -ENOMEM, -EAGAIN (no thread). */
int sealer_new(struct sealer_options options, struct sealer **ret_sealer);

/* Waits for a window that is being sealed. */
void sealer_free(struct sealer *sealer);
DEFINE_AUTO(sealer);
