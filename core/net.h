#pragma once

/*
 * net is the one door to nng: requests with one reply each, over tcp:// (and inproc:// in tests).
 *
 * Rules of nng 1.5.2 that hold here from the first day (each has a test): a receive limit on every
 * listener and dialer, no resend by nng, no ipc://, own jittered dialling, no cancelled aios while
 * running, sockets closed only at the end.
 *
 * A server calls on_request from nng's threads: it must not block, and each request is answered
 * exactly once, later and from any thread, with net_reply(). A client call blocks its thread;
 * several threads may call at once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/auto.h"

#define NET_MESSAGE_BYTES_MAX   (4u << 20)
#define NET_ADDRESS_BYTES_MAX   128
#define NET_REQUESTS_OPEN_MAX   256 /* of one server: further ones wait in TCP */

struct net_server;
struct net_request; /* one unanswered request */
struct net_client;

struct net_server_options {
	const char *listen; /* tcp://127.0.0.1:7470; port 0 picks a free one */
	uint32_t requests_max; /* 0: NET_REQUESTS_OPEN_MAX */
	void (*on_request)(void *owner, struct net_request *request, const uint8_t *bytes, size_t count);
	void *owner;
};

/* -EADDRINUSE, -EADDRNOTAVAIL, -EINVAL (address), -ENOMEM, -EIO. */
int net_server_open(struct net_server_options options, struct net_server **ret_server);

/* The address that was really bound, with its port. */
const char *net_server_address(const struct net_server *server);

/* Takes no new requests. Those open are still to be answered. */
void net_server_close(struct net_server *server);

/* Waits until every open request was answered or `timeout_ms` is over, then frees. */
void net_server_free(struct net_server *server, uint32_t timeout_ms);

/* Copies the bytes. The request is gone after. A peer that left is not an error. */
void net_reply(struct net_request *request, const uint8_t *bytes, size_t count);

/* Who asks, for logs: "127.0.0.1:40312". Borrowed from the request. */
const char *net_request_peer(const struct net_request *request);

/* Never blocks; the first call dials. -EINVAL for an address that is not tcp:// or inproc://. */
int net_client_open(const char *address, struct net_client **ret_client);
void net_client_free(struct net_client *client);
DEFINE_AUTO(net_client);

/*
 * Sends a request and waits for its reply, which the caller frees.
 * -ECONNREFUSED: nobody there (after trying until the timeout). -ECONNRESET: the peer went away and
 * may or may not have read the request. -ETIMEDOUT: likewise. -EMSGSIZE. -ENOMEM.
 */
int net_call(struct net_client *client, const uint8_t *bytes, size_t count, uint32_t timeout_ms,
	uint8_t **ret_bytes, size_t *ret_count);

/* Are these words an address that net understands? For option checks. */
bool net_address_is_valid(const char *address);
