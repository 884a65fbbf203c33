#pragma once

/*
 * push_session sends a batch to an aggregator so that it is kept exactly once: HELLO as an importer
 * with a uuid of its own, sections cut by push_plan, the same section under the same id again after
 * any failure, until the aggregator says OK or DUP for each.
 *
 * Several threads may send by one session at once: what they bring while a PUSH is under way goes
 * out together with the next one, over one dictionary.
 */

#include <stdint.h>

#include "core/auto.h"
#include "profile/batch.h"
#include "query/client.h"

struct push_session;

/* Complains and returns an exit code; 0 with the session, which has the client for itself. */
int push_session_open(struct client *client, struct push_session **ret_session);
void push_session_free(struct push_session *session);
DEFINE_AUTO(push_session);

struct push_progress {
	void (*report)(void *owner, uint64_t sections_done, uint64_t sections_count);
	void *owner;
};

/*
 * 0 once the aggregator has all of it, or an exit code after complaining: what of `name` was kept
 * until then stays, and is said. `progress` may be called from another sender's thread.
 */
int push_session_send(struct push_session *session, const char *name, const struct batch *batch,
        struct push_progress progress);
