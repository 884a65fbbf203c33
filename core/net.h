#pragma once

/*
 * net is the one door to nng: requests with one reply each, over tcp:// (and inproc:// in tests).
 *
 * Rules of nng 1.5.2 that hold here from the first day (each has a test): a receive limit on every
 * listener and dialer, no resend by nng, no ipc://, own jittered dialling, no cancelled aios while
 * running, sockets closed only at the end.
 *
 * A server calls on_request from nng's threads, several at a time: it must not block, and each
 * request is answered exactly once, now or later and from any thread, with net_reply(). The bytes
 * of a request are there until then. A client call blocks its thread; several threads may call at
 * once, NET_CALLS_OPEN_MAX of them at the same time, the others wait their turn.
 *
 * nng starts threads at the first open: fork children before.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/auto.h"

#define NET_MESSAGE_BYTES_MAX (4u << 20)
#define NET_ADDRESS_BYTES_MAX 128
#define NET_REQUESTS_OPEN_MAX 256   /* of one server: further ones wait in TCP */
#define NET_CALLS_OPEN_MAX    64    /* of one client */
#define NET_REPLY_MS_MAX      30000 /* a peer that does not read its reply for so long is cut off */

struct net_server;
struct net_request; /* one unanswered request */
struct net_client;

struct net_server_options {
	const char *listen;    /* tcp://127.0.0.1:7470; port 0 picks a free one */
	uint32_t requests_max; /* 0: NET_REQUESTS_OPEN_MAX */
	uint32_t reply_ms_max; /* 0: NET_REPLY_MS_MAX */
	void (*on_request)(
	        void *owner, struct net_request *request, const uint8_t *bytes, size_t count);
	void *owner;
};

/* -EADDRINUSE, -EADDRNOTAVAIL, -EACCES (port), -EINVAL (address), -ENOMEM, -EIO. */
int net_server_open(struct net_server_options options, struct net_server **ret_server);

/* The address that was really bound, with its port. */
const char *net_server_address(const struct net_server *server);

/*
 * Takes no new requests. Those open are still to be answered; those that come now get no answer,
 * and their clients an -ECONNRESET by net_server_free().
 */
void net_server_close(struct net_server *server);

/*
 * Waits until every open request was answered or `timeout_ms` is over, then frees. What is still
 * open then must not be answered any more. Not from on_request.
 */
void net_server_free(struct net_server *server, uint32_t timeout_ms);

/*
 * Copies the bytes. The request is gone after. A peer that left is not an error.
 * -EMSGSIZE: longer than NET_MESSAGE_BYTES_MAX; nothing was sent and the request is still open.
 */
int net_reply(struct net_request *request, const uint8_t *bytes, size_t count);

/* Who asks, for logs: "127.0.0.1:40312", or "unknown" once it left. Borrowed from the request. */
const char *net_request_peer(const struct net_request *request);

/*
 * Whether nobody waits for the reply any more: the connection that the request came by has ended,
 * or net_request_cancel() was called. To be polled atomically, by whoever works long for a reply.
 * The request must still be answered; its reply then goes nowhere. A connection that ends in the
 * very moment in which the request is delivered may pass unseen. Borrowed from the request.
 */
const bool *net_request_cancelled(const struct net_request *request);

/* From any thread, while the request is open. */
void net_request_cancel(struct net_request *request);

/* Never blocks; the first call dials. -EINVAL for an address that is not tcp:// or inproc://. */
int net_client_open(const char *address, struct net_client **ret_client);

/* No call may be under way. */
void net_client_free(struct net_client *client);
DEFINE_AUTO(net_client);

/*
 * Sends a request and waits for its reply, which the caller frees. A lost connection is dialled
 * again by itself, with jitter, in about a second. Two calls in a row that time out without any
 * reply between them also end the connection: a dead network looks like that.
 * -ECONNREFUSED: nobody there (after trying until the timeout). -ECONNRESET: the peer went away and
 * may or may not have read the request. -ETIMEDOUT: likewise. -EMSGSIZE. -ENOMEM.
 */
int net_call(struct net_client *client, const uint8_t *bytes, size_t count, uint32_t timeout_ms,
        uint8_t **ret_bytes, size_t *ret_count);

/*
 * Are these words an address that net understands? tcp://HOST:PORT with a name, an IPv4 or [IPv6]
 * address, or inproc://NAME. For option checks.
 */
bool net_address_is_valid(const char *address);
