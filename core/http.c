/*
 * libmicrohttpd with one polling thread of its own. A request is taken whole, under limits for one
 * body, for all bodies together, for connections and for their silence, before its handler runs.
 */

#include "core/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "core/auto.h"

#define HTTP_BODY_BYTES_MAX     (UINT64_C(32) << 20)
#define HTTP_BODIES_BYTES_MAX   (UINT64_C(128) << 20) /* of all requests under way */
#define HTTP_CONNECTIONS_MAX    64
#define HTTP_SILENCE_S_MAX      30
#define HTTP_LISTEN_QUEUE       64
#define HTTP_ADDRESS_BYTES_MAX  128
#define HTTP_CONTENT_TYPE_PLAIN "text/plain; charset=utf-8"

struct http_server {
	struct MHD_Daemon *daemon;
	const struct http_route *routes;
	void *owner;
	uint64_t bodies_bytes;
	char address[HTTP_ADDRESS_BYTES_MAX];
};

/* One request while it is being received. */
struct http_exchange {
	struct http_server *server;
	const struct http_route *route;
	struct buf body;
	uint64_t skipped_bytes; /* beyond the limit, thrown away so that an answer can be given */
};

static enum MHD_Result http_send(struct MHD_Connection *connection, uint32_t status,
        const char *content_type, struct buf *body, const char *allow)
{
	size_t count = 0;
	uint8_t *bytes = buf_take(body, &count);
	if (!bytes)
		return MHD_NO; /* closes the connection */
	struct MHD_Response *response = MHD_create_response_from_buffer(
	        count, bytes, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(bytes);
		return MHD_NO;
	}
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	(void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (allow)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
	enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result http_refuse(
        struct MHD_Connection *connection, uint32_t status, const char *words, const char *allow)
{
	AUTO_BUF body = { 0 };
	buf_printf(&body, "%" PRIu32 " %s\n", status, words);
	return http_send(connection, status, HTTP_CONTENT_TYPE_PLAIN, &body, allow);
}

static bool http_method_fits(const char *method, const struct http_route *route)
{
	/* libmicrohttpd leaves the body of a HEAD answer away by itself. */
	return strcmp(method, route->method) == 0 ||
	       (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* The route; without one, the methods that the path would take, for 405. */
static const struct http_route *http_find_route(const struct http_server *server,
        const char *method, const char *path, char *ret_allow, size_t allow_bytes)
{
	size_t count = 0;
	ret_allow[0] = 0;
	for (const struct http_route *route = server->routes; route->path; route++) {
		if (strcmp(route->path, path) != 0)
			continue;
		if (http_method_fits(method, route))
			return route;
		if (count < allow_bytes)
			count += (size_t)snprintf(ret_allow + count, allow_bytes - count, "%s%s",
			        count ? ", " : "", route->method);
	}
	return NULL;
}

/*
 * There is no authentication, so a page from elsewhere must not be able to make a browser on this
 * host write here: browsers name that page's origin, and it is not us.
 */
static bool http_is_from_elsewhere(struct MHD_Connection *connection)
{
	const char *origin = MHD_lookup_connection_value(
	        connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);
	const char *host = MHD_lookup_connection_value(
	        connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	if (!origin)
		return false;
	const char *authority = strstr(origin, "://");
	return !authority || !host || strcmp(authority + strlen("://"), host) != 0;
}

static uint64_t http_content_length(struct MHD_Connection *connection)
{
	const char *length = MHD_lookup_connection_value(
	        connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	return length ? strtoull(length, NULL, 10) : 0;
}

/* The headers are here, the body is not: what can be refused now costs nothing. */
static enum MHD_Result http_begin(struct http_server *server, struct MHD_Connection *connection,
        const char *path, const char *method, void **ret_exchange)
{
	char allow[64];
	const struct http_route *route = http_find_route(
	        server, method, path, allow, sizeof(allow));
	uint64_t length = http_content_length(connection);

	if (!route && !*allow)
		return http_refuse(connection, MHD_HTTP_NOT_FOUND, "there is nothing here", NULL);
	if (!route)
		return http_refuse(
		        connection, MHD_HTTP_METHOD_NOT_ALLOWED, "not by this method", allow);
	if (http_is_from_elsewhere(connection))
		return http_refuse(connection, MHD_HTTP_FORBIDDEN,
		        "requests of pages from another origin are not taken", NULL);
	if (length > HTTP_BODY_BYTES_MAX)
		return http_refuse(
		        connection, MHD_HTTP_CONTENT_TOO_LARGE, "a body has at most 32 MiB", NULL);
	if (length > HTTP_BODIES_BYTES_MAX - server->bodies_bytes)
		return http_refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
		        "too much at once; try again", NULL);

	struct http_exchange *exchange = calloc(1, sizeof(*exchange));
	if (!exchange)
		return MHD_NO;
	exchange->server = server;
	exchange->route = route;
	exchange->body.limit = HTTP_BODY_BYTES_MAX;
	*ret_exchange = exchange;
	return MHD_YES;
}

static enum MHD_Result http_take(struct http_exchange *exchange, const char *bytes, size_t count)
{
	struct http_server *server = exchange->server;
	if (!exchange->body.failed && count > HTTP_BODIES_BYTES_MAX - server->bodies_bytes)
		return MHD_NO;
	size_t before = exchange->body.count;
	buf_put(&exchange->body, bytes, count);
	server->bodies_bytes += exchange->body.count - before;
	if (exchange->body.failed)
		exchange->skipped_bytes += count;
	return exchange->skipped_bytes > HTTP_BODY_BYTES_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result http_answer(
        struct http_exchange *exchange, struct MHD_Connection *connection)
{
	struct http_answer answer = {
		.status = MHD_HTTP_OK,
		.content_type = HTTP_CONTENT_TYPE_PLAIN,
	};
	if (exchange->body.failed)
		return http_refuse(
		        connection, MHD_HTTP_CONTENT_TOO_LARGE, "a body has at most 32 MiB", NULL);

	exchange->route->handle(
	        exchange->server->owner, exchange->body.bytes, exchange->body.count, &answer);
	enum MHD_Result result = answer.body.failed
	                                 ? http_refuse(connection, MHD_HTTP_INTERNAL_SERVER_ERROR,
	                                           "out of memory", NULL)
	                                 : http_send(connection, answer.status, answer.content_type,
	                                           &answer.body, NULL);
	buf_fini(&answer.body);
	return result;
}

/* Called with the headers, with each part of the body, and once more at its end. */
static enum MHD_Result http_on_request(void *argument, struct MHD_Connection *connection,
        const char *path, const char *method, const char *version, const char *bytes, size_t *count,
        void **exchange)
{
	if (!*exchange)
		return http_begin(argument, connection, path, method, exchange);
	if (*count == 0)
		return http_answer(*exchange, connection);
	enum MHD_Result result = http_take(*exchange, bytes, *count);
	*count = 0;
	return result;
}

static void http_on_completed(void *argument, struct MHD_Connection *connection, void **exchange,
        enum MHD_RequestTerminationCode how)
{
	struct http_exchange *ended = *exchange;
	if (!ended)
		return;
	ended->server->bodies_bytes -= ended->body.count;
	buf_fini(&ended->body);
	free(ended);
	*exchange = NULL;
}

static void http_on_words(void *argument, const char *format, va_list arguments)
{
	/* About peers that broke off or were refused; each of them would be a line. */
}

/* "127.0.0.1:7471", "[::1]:0", "localhost:80" into a name and a port. */
static int http_split_address(
        const char *address, char host[static HTTP_ADDRESS_BYTES_MAX], char port[static 8])
{
	const char *colon = strrchr(address, ':');
	size_t host_length = colon ? (size_t)(colon - address) : 0;
	if (host_length == 0 || host_length >= HTTP_ADDRESS_BYTES_MAX || strlen(colon + 1) > 5 ||
	        !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	        strtoul(colon + 1, NULL, 10) > UINT16_MAX)
		return -EINVAL;

	bool bracketed = address[0] == '[' && colon[-1] == ']';
	if (!bracketed && memchr(address, ':', host_length))
		return -EINVAL; /* which colon? */
	snprintf(host, HTTP_ADDRESS_BYTES_MAX, "%.*s",
	        (int)(bracketed ? host_length - 2 : host_length), address + bracketed);
	snprintf(port, 8, "%s", colon + 1);
	return 0;
}

bool http_address_is_valid(const char *address)
{
	char host[HTTP_ADDRESS_BYTES_MAX], port[8];
	return http_split_address(address, host, port) == 0;
}

static int http_listen(const char *address, int *ret_fd)
{
	char host[HTTP_ADDRESS_BYTES_MAX], port[8];
	struct addrinfo *found = NULL;
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	};
	int r = http_split_address(address, host, port);
	if (r < 0)
		return r;
	r = getaddrinfo(host, port, &hints, &found);
	if (r != 0)
		return r == EAI_MEMORY ? -ENOMEM : -EINVAL;

	int yes = 1;
	autoclose int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = fd < 0 ? -errno : 0;
	if (r == 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (r == 0 && bind(fd, found->ai_addr, found->ai_addrlen) < 0)
		r = -errno;
	freeaddrinfo(found);
	if (r == 0 && listen(fd, HTTP_LISTEN_QUEUE) < 0)
		r = -errno;
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void http_name_address(struct http_server *server, int fd)
{
	struct sockaddr_storage at = { 0 };
	socklen_t length = sizeof(at);
	char host[INET6_ADDRSTRLEN] = "";

	int r = getsockname(fd, (struct sockaddr *)&at, &length);
	assert(r == 0);
	if (at.ss_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, &at, sizeof(in6));
		(void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
		snprintf(server->address, sizeof(server->address), "[%s]:%u", host,
		        ntohs(in6.sin6_port));
	} else {
		struct sockaddr_in in;
		memcpy(&in, &at, sizeof(in));
		(void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
		snprintf(server->address, sizeof(server->address), "%s:%u", host,
		        ntohs(in.sin_port));
	}
}

int http_server_open(const char *address, const struct http_route *routes, void *owner,
        struct http_server **ret_server)
{
	int fd = -1;
	autofree struct http_server *server = calloc(1, sizeof(*server));
	if (!server)
		return -ENOMEM;
	server->routes = routes;
	server->owner = owner;
	int r = http_listen(address, &fd);
	if (r < 0)
		return r;
	http_name_address(server, fd);

	/* The socket is the daemon's from here on, also when it does not start. */
	server->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0,
	        NULL, NULL, http_on_request, server,
	        /* first, so that nothing is said before */
	        MHD_OPTION_EXTERNAL_LOGGER, http_on_words, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
	        MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT,
	        (unsigned int)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
	        (unsigned int)HTTP_SILENCE_S_MAX, MHD_OPTION_END);
	if (!server->daemon)
		return -EIO;
	*ret_server = TAKE(server);
	return 0;
}

const char *http_server_address(const struct http_server *server)
{
	return server->address;
}

void http_server_free(struct http_server *server)
{
	if (!server)
		return;
	MHD_stop_daemon(server->daemon);
	free(server);
}
