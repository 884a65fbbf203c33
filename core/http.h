#pragma once

/*
 * http serves health, metrics and small pages on one port: the one door to libmicrohttpd.
 *
 * Handlers run on one thread of the server, get the whole request body (bounded) and give a whole
 * answer. Loopback by default; there is no authentication.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

struct http_server;

struct http_answer {
	uint32_t status;          /* 200 */
	const char *content_type; /* static text */
	struct buf body;
};

struct http_route {
	const char *method; /* "GET" */
	const char *path;   /* "/metrics": exact */
	void (*handle)(void *owner, const uint8_t *body, size_t count, struct http_answer *answer);
};

/* HOST:PORT, an IPv6 host in brackets. Whether the host is found is not asked. */
bool http_address_is_valid(const char *address);

/* `routes` ends with a zeroed entry and outlives the server. -EADDRINUSE, -EINVAL, -ENOMEM, -EIO.
 */
int http_server_open(const char *address /* "127.0.0.1:7471", port 0 picks one */,
        const struct http_route *routes, void *owner, struct http_server **ret_server);
const char *http_server_address(const struct http_server *server); /* "127.0.0.1:41233" */
void http_server_free(struct http_server *server);
