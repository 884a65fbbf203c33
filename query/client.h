#pragma once

/*
 * client asks an aggregator: QUERY, and FETCH for the pages that follow. No session is needed, so a
 * question that failed can be put again. Every failure becomes an exit code and one line on stderr.
 *
 * import, which does need sessions, speaks through client_call().
 */

#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "profile/wire.h"
#include "query/command.h"

/* An answer of more pages than this is no answer. */
#define CLIENT_ANSWER_BYTES_MAX (2ull << 30)

struct client;
struct net_client;

/* 0, or an exit code after complaining. */
int client_open(const struct shared_args *shared, struct client **ret_client);
void client_free(struct client *client);
DEFINE_AUTO(client);

const char *client_address(const struct client *client);

/* The whole answer appended to `answer`. 0, or an exit code after complaining. */
int client_ask(struct client *client, const struct wire_query *query, struct buf *answer);

/*
 * One request and its reply, opened. `unpacked` holds what the reply borrows from. `timeout_ms` 0
 * is that of the options. Negative errno as net_call() and wire_open(); nothing is printed.
 */
int client_call(struct client *client, enum wire_kind kind, const struct buf *payload,
        uint32_t timeout_ms, struct buf *unpacked, struct wire_message *ret_reply);

/*
 * The same on a connection of its own, in so much time at the most: for who asks how far that is
 * which the client waits for.
 */
int client_call_beside(struct net_client *net, enum wire_kind kind, const struct buf *payload,
        uint32_t timeout_ms, struct buf *unpacked, struct wire_message *ret_reply);

/* What a failed client_call() means to the user: complains, returns the exit code. */
int client_explain(const struct client *client, int result);

/* The same for a refusal by WIRE_STATUS. */
int client_explain_status(const struct client *client, const struct wire_status_reply *status);
