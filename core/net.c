/*
 * Server: requests_max contexts of one REP socket, each going round for ever:
 *
 *	RECEIVING --message--> OPEN --net_reply()--> SENDING --sent--> RECEIVING
 *
 * An aio belongs to each context and nng calls net_request_step() at the end of each arrow but
 * net_reply()'s. While all contexts are open or sending nothing is read, and TCP holds the rest
 * back.
 *
 * Client: one REQ socket, a pool of contexts, one per call under way, and a keeper thread that
 * dials. nng would dial by itself, but its back-off is wrong half of the time (a negative random
 * number, so an immediate retry) and knows no time limit. So the keeper makes a dialer of its own
 * for each attempt, waits for the outcome, and closes it some time after its connection was lost:
 *
 *	        +--------- failed, or lost: wait with jitter, close the dialer <--------+
 *	        v                                                                      |
 *	create a dialer --> start it in a thread, for 5 s at most --> connected -------+
 *
 * Starting blocks for as long as TCP tries to connect, which can be minutes; closing the dialer
 * from here is what ends it, and that is why an attempt has a thread of its own.
 */

#include "core/net.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#include "core/clock.h"
#include "core/rng.h"

/* What travels beside the bytes: the ids of request and hops, four bytes each, eight at most. */
#define NET_HEADER_BYTES_MAX  64
#define NET_RECEIVE_BYTES_MAX ((size_t)NET_MESSAGE_BYTES_MAX + NET_HEADER_BYTES_MAX)

#define NET_DIAL_MS_MAX           5000
#define NET_DIAL_WAIT_MS_MIN      100
#define NET_DIAL_WAIT_MS_MAX      1000
#define NET_REDIAL_MS             (3600 * 1000)
#define NET_TIMEOUTS_IN_A_ROW_MAX 2
#define NET_PEER_BYTES_MAX        64

#define NET_TCP    "tcp://"
#define NET_INPROC "inproc://"

static int net_errno(int nng_error)
{
	switch (nng_error) {
	case 0:
		return 0;
	case NNG_ENOMEM:
	case NNG_ENOFILES:
		return -ENOMEM;
	case NNG_EADDRINUSE:
		return -EADDRINUSE;
	case NNG_EADDRINVAL:
	case NNG_EINVAL:
	case NNG_ENOTSUP:
		return -EINVAL;
	case NNG_ETIMEDOUT:
		return -ETIMEDOUT;
	case NNG_EMSGSIZE:
		return -EMSGSIZE;
	case NNG_ECONNREFUSED:
	case NNG_EUNREACHABLE:
		return -ECONNREFUSED;
	case NNG_ECONNRESET:
	case NNG_ECONNABORTED:
	case NNG_ECONNSHUT:
	case NNG_ECLOSED:
	case NNG_ECANCELED:
		return -ECONNRESET;
	case NNG_EPERM:
		return -EACCES;
	default:
		return -EIO;
	}
}

static bool net_is_inproc(const char *address)
{
	return strncmp(address, NET_INPROC, strlen(NET_INPROC)) == 0;
}

/* nng would also take a path, a user and a source address ("a;b"); nobody here means those. */
static bool net_host_is_valid(const char *host, size_t length)
{
	char words[INET6_ADDRSTRLEN + 2];
	struct in6_addr address;
	if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
		snprintf(words, sizeof(words), "%.*s", (int)(length - 2), host + 1);
		return length - 2 < INET6_ADDRSTRLEN && inet_pton(AF_INET6, words, &address) == 1;
	}
	for (size_t i = 0; i < length; i++) {
		if (!isalnum((unsigned char)host[i]) && !strchr(".-_", host[i]))
			return false;
	}
	return length > 0;
}

bool net_address_is_valid(const char *address)
{
	if (strlen(address) >= NET_ADDRESS_BYTES_MAX)
		return false;
	if (net_is_inproc(address))
		return address[strlen(NET_INPROC)] != 0;
	if (strncmp(address, NET_TCP, strlen(NET_TCP)) != 0)
		return false;

	const char *host = address + strlen(NET_TCP);
	const char *colon = strrchr(host, ':');
	if (!colon || !net_host_is_valid(host, (size_t)(colon - host)))
		return false;

	uint32_t port = 0;
	const char *digit = colon + 1;
	for (; isdigit((unsigned char)*digit) && port <= UINT16_MAX; digit++)
		port = port * 10 + (uint32_t)(*digit - '0');
	return digit > colon + 1 && !*digit && port <= UINT16_MAX;
}

static struct timespec net_deadline(uint32_t timeout_ms)
{
	struct timespec at;
	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += timeout_ms / 1000;
	at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

/* Its deadlines are monotonic. */
static int net_condition_init(pthread_cond_t *changed)
{
	pthread_condattr_t attributes;
	if (pthread_condattr_init(&attributes) != 0)
		return -ENOMEM;
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	int r = pthread_cond_init(changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	return -r;
}

static int net_lock_init(pthread_mutex_t *lock, pthread_cond_t *changed)
{
	int r = net_condition_init(changed);
	return r == 0 ? -pthread_mutex_init(lock, NULL) : r;
}

static void net_lock_fini(pthread_mutex_t *lock, pthread_cond_t *changed)
{
	(void)pthread_cond_destroy(changed);
	(void)pthread_mutex_destroy(lock);
}

/* ---- the end of a socket ---- */

/*
 * nng 1.5.2 can wait in nng_close() for ever, for a connection that ended at the same moment
 * (upstream issue 1543). Nothing of ours depends on its return but the memory, so it is asked on a
 * thread of its own and given up after a while: the socket and whoever it may still call stay until
 * the process ends, which is when sockets are closed.
 */
#define NET_CLOSE_MS 3000

struct net_closing {
	nng_socket socket;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool is_done;
	bool is_given_up; /* then the thread frees this, if it ever comes back */
};

static void net_closing_free(struct net_closing *closing)
{
	if (!closing)
		return;
	net_lock_fini(&closing->lock, &closing->changed);
	free(closing);
}

static void *net_closing_run(void *argument)
{
	struct net_closing *closing = argument;
	(void)nng_close(closing->socket); /* -ECLOSED at most: it is closed then. */
	pthread_mutex_lock(&closing->lock);
	closing->is_done = true;
	bool is_mine = closing->is_given_up;
	pthread_cond_broadcast(&closing->changed);
	pthread_mutex_unlock(&closing->lock);
	if (is_mine)
		net_closing_free(closing);
	return NULL;
}

/* Whether the socket is closed; false: it and all that its callbacks touch must be left alone. */
static bool net_close_socket(nng_socket socket)
{
	struct net_closing *closing = calloc(1, sizeof(*closing));
	pthread_t thread;
	if (!closing)
		return false;
	closing->socket = socket;
	if (net_lock_init(&closing->lock, &closing->changed) < 0) {
		free(closing);
		return false;
	}
	if (pthread_create(&thread, NULL, net_closing_run, closing) != 0) {
		net_closing_free(closing);
		return false;
	}
	(void)pthread_detach(thread);

	struct timespec deadline = net_deadline(NET_CLOSE_MS);
	int r = 0;
	pthread_mutex_lock(&closing->lock);
	while (!closing->is_done && r == 0)
		r = pthread_cond_timedwait(&closing->changed, &closing->lock, &deadline);
	bool is_done = closing->is_done;
	closing->is_given_up = !is_done;
	pthread_mutex_unlock(&closing->lock);
	if (is_done)
		net_closing_free(closing);
	return is_done;
}

/* What could not be closed, so that it is still somebody's. */
static void *net_left_alone[64];

static void net_leave_alone(void *what)
{
	static _Atomic uint32_t count;
	net_left_alone[count++ % COUNT_OF(net_left_alone)] = what;
}

/* ---- server ---- */

enum net_request_state { NET_RECEIVING, NET_OPEN, NET_SENDING };

struct net_request {
	struct net_server *server;
	nng_ctx context;
	nng_aio *aio;
	enum net_request_state state;
	uint64_t sending_since_ns; /* 0: is not sending. Under the server's lock. */
	nng_msg *message;          /* while open */
	nng_pipe pipe;             /* whom to answer; set under the server's lock */
	bool cancelled;            /* atomic */
	char peer[NET_PEER_BYTES_MAX];
};

struct net_server {
	struct net_server_options options;
	nng_socket socket;
	bool has_socket;
	nng_listener listener;
	char address[NET_ADDRESS_BYTES_MAX];
	pthread_mutex_t lock; /* over what follows */
	pthread_cond_t changed;
	pthread_cond_t watch;  /* ends the watchman's sleep */
	uint32_t open_count;   /* delivered and not yet sent back */
	uint32_t inside_count; /* threads that are asking nng for something */
	bool closed;
	bool ending; /* for the watchman */
	pthread_t watchman;
	bool watchman_runs;
	struct net_request requests[]; /* options.requests_max */
};

/*
 * Whether nng may be asked for something: not once the server is closing, unless it is to send a
 * reply. nng 1.5.2 lets a socket go while a context of it is still being asked, so the end of the
 * server waits for everybody who is between this and net_server_leave().
 */
static bool net_server_enter(struct net_server *server, bool replies)
{
	pthread_mutex_lock(&server->lock);
	bool enters = replies || !server->closed;
	server->inside_count += enters;
	pthread_mutex_unlock(&server->lock);
	return enters;
}

static void net_server_leave(struct net_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->inside_count--;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

/* Waits for the next request, if any more are wanted. */
static void net_request_receive(struct net_request *request)
{
	if (!net_server_enter(request->server, false))
		return;
	request->state = NET_RECEIVING;
	nng_ctx_recv(request->context, request->aio);
	net_server_leave(request->server);
}

/* Takes the request for delivery, unless the server wants none any more. */
static bool net_server_admit(
        struct net_server *server, struct net_request *request, nng_msg *message)
{
	pthread_mutex_lock(&server->lock);
	bool admitted = !server->closed;
	server->open_count += admitted;
	request->pipe = nng_msg_get_pipe(message);
	__atomic_store_n(&request->cancelled, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&server->lock);
	return admitted;
}

/* The request has been answered. */
static void net_request_release(struct net_request *request)
{
	struct net_server *server = request->server;
	pthread_mutex_lock(&server->lock);
	server->open_count--;
	request->sending_since_ns = 0;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

static void net_request_received(struct net_request *request)
{
	struct net_server *server = request->server;
	nng_msg *message = nng_aio_get_msg(request->aio);

	if (nng_msg_len(message) > NET_MESSAGE_BYTES_MAX) {
		/* inproc:// has no limit of its own. */
		(void)nng_pipe_close(nng_msg_get_pipe(message));
		nng_msg_free(message);
		net_request_receive(request);
		return;
	}
	if (!net_server_admit(server, request, message)) {
		nng_msg_free(message);
		return;
	}
	request->state = NET_OPEN;
	request->message = message;
	request->peer[0] = 0;
	/* Last: another thread may have answered before this returns. */
	server->options.on_request(
	        server->options.owner, request, nng_msg_body(message), nng_msg_len(message));
}

/* nng is done with a receive or a send of this context. */
static void net_request_step(void *argument)
{
	struct net_request *request = argument;
	int result = nng_aio_result(request->aio);

	if (request->state == NET_SENDING) {
		if (result != 0) {
			nng_msg_free(nng_aio_get_msg(request->aio));
			nng_aio_set_msg(request->aio, NULL);
		}
		net_request_release(request);
		if (result != NNG_ECLOSED)
			net_request_receive(request);
	} else if (result == 0) {
		net_request_received(request);
	} else if (result != NNG_ECLOSED && result != NNG_ECANCELED) {
		net_request_receive(request);
	}
}

int net_reply(struct net_request *request, const uint8_t *bytes, size_t count)
{
	assert(request->state == NET_OPEN);
	if (count > NET_MESSAGE_BYTES_MAX)
		return -EMSGSIZE;

	/* The request's own memory carries the reply when there is no other: cut to nothing, it
	 * tells the peer at least that something went wrong. */
	nng_msg *reply = request->message;
	request->message = NULL;
	nng_msg *fresh;
	if (nng_msg_alloc(&fresh, count) == 0) {
		if (count > 0)
			memcpy(nng_msg_body(fresh), bytes, count);
		nng_msg_free(reply);
		reply = fresh;
	} else {
		nng_msg_clear(reply);
	}

	struct net_server *server = request->server;
	request->state = NET_SENDING;
	nng_aio_set_msg(request->aio, reply);
	pthread_mutex_lock(&server->lock);
	request->sending_since_ns = clock_monotonic_ns(clock_real());
	pthread_mutex_unlock(&server->lock);
	(void)net_server_enter(server, true);
	nng_ctx_send(request->context, request->aio);
	net_server_leave(server);
	return 0;
}

/*
 * A peer that does not read its replies would hold contexts until none is left. A timeout of the
 * aio would cancel the sending, which nng 1.5.2 does not do without leaks (its issue 1713); so the
 * connection is closed, which ends all that is being sent through it in good order.
 */
static void *net_server_watch(void *argument)
{
	struct net_server *server = argument;
	uint64_t limit_ns = server->options.reply_ms_max * NS_PER_MS;

	pthread_mutex_lock(&server->lock);
	while (!server->ending) {
		struct timespec until = net_deadline(server->options.reply_ms_max / 2 + 1);
		(void)pthread_cond_timedwait(&server->watch, &server->lock, &until);
		uint64_t now_ns = clock_monotonic_ns(clock_real());
		for (uint32_t i = 0; i < server->options.requests_max && !server->ending; i++) {
			struct net_request *request = &server->requests[i];
			if (request->sending_since_ns == 0 ||
			        now_ns - request->sending_since_ns < limit_ns)
				continue;
			nng_pipe pipe = request->pipe;
			pthread_mutex_unlock(&server->lock);
			(void)nng_pipe_close(pipe);
			pthread_mutex_lock(&server->lock);
		}
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

static const char *net_format_peer(const nng_sockaddr *from, char text[static NET_PEER_BYTES_MAX])
{
	char host[INET6_ADDRSTRLEN] = "";
	if (from->s_family == NNG_AF_INET) {
		(void)inet_ntop(AF_INET, &from->s_in.sa_addr, host, sizeof(host));
		snprintf(text, NET_PEER_BYTES_MAX, "%s:%u", host, ntohs(from->s_in.sa_port));
	} else if (from->s_family == NNG_AF_INET6) {
		(void)inet_ntop(AF_INET6, from->s_in6.sa_addr, host, sizeof(host));
		snprintf(text, NET_PEER_BYTES_MAX, "[%s]:%u", host, ntohs(from->s_in6.sa_port));
	} else {
		snprintf(text, NET_PEER_BYTES_MAX, "inproc");
	}
	return text;
}

const char *net_request_peer(const struct net_request *request)
{
	/* Asked for by few, so it is found out when it is asked for. */
	struct net_request *writable = (struct net_request *)request;
	nng_sockaddr from;
	if (writable->peer[0])
		return writable->peer;
	if (nng_pipe_get_addr(request->pipe, NNG_OPT_REMADDR, &from) != 0)
		return "unknown";
	return net_format_peer(&from, writable->peer);
}

const bool *net_request_cancelled(const struct net_request *request)
{
	return &request->cancelled;
}

void net_request_cancel(struct net_request *request)
{
	__atomic_store_n(&request->cancelled, true, __ATOMIC_RELAXED);
}

/*
 * On nng's thread: a connection is gone. What came by it and is still worked at need not be; what
 * was answered long ago is marked too, which its next delivery takes back.
 */
static void net_server_on_pipe(nng_pipe pipe, nng_pipe_ev event, void *argument)
{
	struct net_server *server = argument;
	(void)event; /* NNG_PIPE_EV_REM_POST is all that was asked for. */
	pthread_mutex_lock(&server->lock);
	for (uint32_t i = 0; i < server->options.requests_max; i++)
		if (server->requests[i].pipe.id == pipe.id)
			net_request_cancel(&server->requests[i]);
	pthread_mutex_unlock(&server->lock);
}

/* The limit goes on before the endpoint starts: not one byte may be read without it. */
static int net_server_listen(struct net_server *server)
{
	const char *address = server->options.listen;
	int r = nng_listener_create(&server->listener, server->socket, address);
	if (r == 0 && !net_is_inproc(address))
		r = nng_listener_set_size(
		        server->listener, NNG_OPT_RECVMAXSZ, NET_RECEIVE_BYTES_MAX);
	if (r == 0 && !net_is_inproc(address))
		r = nng_listener_set_bool(server->listener, NNG_OPT_TCP_NODELAY, true);
	if (r == 0 && !net_is_inproc(address))
		r = nng_listener_set_bool(server->listener, NNG_OPT_TCP_KEEPALIVE, true);
	if (r == 0)
		r = nng_listener_start(server->listener, 0);
	if (r == NNG_EADDRINVAL) /* the words were right, so the machine has no such address */
		return -EADDRNOTAVAIL;
	if (r != 0)
		return net_errno(r);

	size_t limit = NET_RECEIVE_BYTES_MAX;
	if (!net_is_inproc(address))
		(void)nng_listener_get_size(server->listener, NNG_OPT_RECVMAXSZ, &limit);
	assert(limit == NET_RECEIVE_BYTES_MAX);

	/* The address as it was given, but with the port that was really bound. */
	int port = 0;
	const char *colon = strrchr(address, ':');
	if (!net_is_inproc(address) &&
	        nng_listener_get_int(server->listener, NNG_OPT_TCP_BOUND_PORT, &port) == 0)
		snprintf(server->address, sizeof(server->address), "%.*s:%d",
		        (int)(colon - address), address, port);
	else
		snprintf(server->address, sizeof(server->address), "%s", address);
	return 0;
}

static int net_server_start_requests(struct net_server *server)
{
	for (uint32_t i = 0; i < server->options.requests_max; i++) {
		struct net_request *request = &server->requests[i];
		request->server = server;
		int r = nng_aio_alloc(&request->aio, net_request_step, request);
		if (r == 0)
			r = nng_ctx_open(&request->context, server->socket);
		if (r != 0)
			return net_errno(r);
	}
	for (uint32_t i = 0; i < server->options.requests_max; i++)
		net_request_receive(&server->requests[i]);
	return 0;
}

int net_server_open(struct net_server_options options, struct net_server **ret_server)
{
	assert(options.on_request);
	if (!net_address_is_valid(options.listen))
		return -EINVAL;
	if (options.requests_max == 0)
		options.requests_max = NET_REQUESTS_OPEN_MAX;
	if (options.reply_ms_max == 0)
		options.reply_ms_max = NET_REPLY_MS_MAX;

	struct net_server *server = calloc(
	        1, sizeof(*server) + options.requests_max * sizeof(server->requests[0]));
	if (!server)
		return -ENOMEM;
	server->options = options;
	if (net_lock_init(&server->lock, &server->changed) < 0) {
		free(server);
		return -ENOMEM;
	}
	if (net_condition_init(&server->watch) < 0) {
		net_lock_fini(&server->lock, &server->changed);
		free(server);
		return -ENOMEM;
	}

	int r = net_errno(nng_rep0_open(&server->socket));
	server->has_socket = r == 0;
	if (r == 0)
		r = net_errno(nng_socket_set_size(
		        server->socket, NNG_OPT_RECVMAXSZ, NET_RECEIVE_BYTES_MAX));
	if (r == 0)
		r = net_errno(nng_pipe_notify(
		        server->socket, NNG_PIPE_EV_REM_POST, net_server_on_pipe, server));
	if (r == 0) {
		r = -pthread_create(&server->watchman, NULL, net_server_watch, server);
		server->watchman_runs = r == 0;
	}
	if (r == 0)
		r = net_server_start_requests(server);
	if (r == 0)
		r = net_server_listen(server);
	if (r < 0) {
		net_server_free(server, 0);
		return r;
	}
	server->options.listen = NULL; /* was borrowed */
	*ret_server = server;
	return 0;
}

const char *net_server_address(const struct net_server *server)
{
	return server->address;
}

/*
 * The listener stays: nng closes its connections with it, and the open requests still have to go
 * back through them.
 */
void net_server_close(struct net_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->closed = true;
	pthread_mutex_unlock(&server->lock);
}

void net_server_free(struct net_server *server, uint32_t timeout_ms)
{
	if (!server)
		return;
	struct timespec deadline = net_deadline(timeout_ms);
	int r = 0;

	pthread_mutex_lock(&server->lock);
	server->closed = true;
	while (server->open_count > 0 && r == 0)
		r = pthread_cond_timedwait(&server->changed, &server->lock, &deadline);
	while (server->inside_count > 0)
		pthread_cond_wait(&server->changed, &server->lock);
	server->ending = true;
	pthread_cond_broadcast(&server->watch);
	pthread_mutex_unlock(&server->lock);

	if (server->watchman_runs)
		(void)pthread_join(server->watchman, NULL);
	if (server->has_socket && !net_close_socket(server->socket)) {
		net_leave_alone(server);
		return;
	}
	for (uint32_t i = 0; i < server->options.requests_max; i++) {
		nng_aio_free(server->requests[i].aio); /* waits for its callback */
		nng_msg_free(server->requests[i].message);
	}
	(void)pthread_cond_destroy(&server->watch);
	net_lock_fini(&server->lock, &server->changed);
	free(server);
}

/* ---- client ---- */

/* What one call under way needs of nng; kept for the next one. */
struct net_slot {
	struct net_slot *next;
	nng_ctx context;
	nng_aio *send;
	nng_aio *receive;
	struct timespec deadline;
};

struct net_client {
	char address[NET_ADDRESS_BYTES_MAX];
	nng_socket socket;
	pthread_mutex_t lock; /* over what follows */
	pthread_cond_t changed;
	pthread_t keeper;
	bool keeper_runs;
	bool closing;
	uint32_t dialer_id; /* of the attempt or connection that counts; 0: none */
	nng_pipe pipe;      /* id 0: not connected */
	uint32_t timeouts_in_a_row;
	struct net_slot *idle;
	uint32_t slots_count;
};

/* One attempt to connect, in a thread of its own. */
struct net_attempt {
	struct net_client *client;
	nng_dialer dialer;
	bool done; /* under the client's lock */
};

/* nng tells when a connection comes, before it is used, and when it is gone. */
static void net_client_on_pipe(nng_pipe pipe, nng_pipe_ev event, void *argument)
{
	struct net_client *client = argument;
	int dialer_id = nng_dialer_id(nng_pipe_dialer(pipe));
	bool rejected = false;

	pthread_mutex_lock(&client->lock);
	if (event == NNG_PIPE_EV_ADD_PRE) {
		/* A dialer that is about to be closed may have been quick once more. */
		rejected = client->dialer_id == 0 || dialer_id != (int)client->dialer_id;
		if (!rejected) {
			client->pipe = pipe;
			client->timeouts_in_a_row = 0;
		}
	} else if (client->pipe.id == pipe.id) {
		client->pipe.id = 0;
	}
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
	if (rejected)
		(void)nng_pipe_close(pipe);
}

static int net_dialer_create(struct net_client *client, nng_dialer *ret_dialer)
{
	bool inproc = net_is_inproc(client->address);
	nng_dialer dialer;
	int r = nng_dialer_create(&dialer, client->socket, client->address);
	if (r != 0)
		return net_errno(r);
	if (!inproc)
		r = nng_dialer_set_size(dialer, NNG_OPT_RECVMAXSZ, NET_RECEIVE_BYTES_MAX);
	if (r == 0 && !inproc)
		r = nng_dialer_set_bool(dialer, NNG_OPT_TCP_NODELAY, true);
	if (r == 0 && !inproc)
		r = nng_dialer_set_bool(dialer, NNG_OPT_TCP_KEEPALIVE, true);
	/* When nng dials by itself after all, then seldom. */
	if (r == 0)
		r = nng_dialer_set_ms(dialer, NNG_OPT_RECONNMINT, NET_REDIAL_MS);
	if (r == 0)
		r = nng_dialer_set_ms(dialer, NNG_OPT_RECONNMAXT, NET_REDIAL_MS);
	if (r != 0) {
		(void)nng_dialer_close(dialer);
		return net_errno(r);
	}
	*ret_dialer = dialer;
	return 0;
}

static void *net_attempt_run(void *argument)
{
	struct net_attempt *attempt = argument;
	(void)nng_dialer_start(attempt->dialer, 0); /* what counts is whether a pipe came */

	pthread_mutex_lock(&attempt->client->lock);
	attempt->done = true;
	pthread_cond_broadcast(&attempt->client->changed);
	pthread_mutex_unlock(&attempt->client->lock);
	return NULL;
}

/* The connection or attempt of this dialer counts no longer. Called without the lock. */
static void net_dialer_end(struct net_client *client, nng_dialer dialer)
{
	pthread_mutex_lock(&client->lock);
	client->dialer_id = 0;
	client->pipe.id = 0;
	pthread_mutex_unlock(&client->lock);
	(void)nng_dialer_close(dialer);
}

/*
 * Half of it is certain, so that nothing spins; half is chance, so that a fleet does not come back
 * in one moment. Called with the lock; ends early when the client closes or is connected.
 */
static void net_client_wait(struct net_client *client, struct rng *rng, uint32_t wait_ms)
{
	struct timespec until = net_deadline(
	        wait_ms / 2 + (uint32_t)rng_below(rng, wait_ms / 2 + 1));
	int r = 0;
	while (!client->closing && client->pipe.id == 0 && r == 0)
		r = pthread_cond_timedwait(&client->changed, &client->lock, &until);
}

/*
 * Dials once and returns some time after the connection, if there was one, was lost. Was there one?
 *
 * The lost dialer is left alone for that time: nng may just be dialling with it again, and a dialer
 * that is closed while it shakes hands leaves its connection behind in nng 1.5.2. After a moment it
 * is connected again, which is as good, or rests for most of an hour.
 */
static bool net_client_connect(struct net_client *client, struct rng *rng)
{
	struct net_attempt attempt = { .client = client };
	struct timespec deadline = net_deadline(NET_DIAL_MS_MAX);
	pthread_t thread;
	if (net_dialer_create(client, &attempt.dialer) < 0)
		return false;

	pthread_mutex_lock(&client->lock);
	client->dialer_id = (uint32_t)nng_dialer_id(attempt.dialer);
	pthread_mutex_unlock(&client->lock);
	if (pthread_create(&thread, NULL, net_attempt_run, &attempt) != 0) {
		net_dialer_end(client, attempt.dialer);
		return false;
	}

	int r = 0;
	pthread_mutex_lock(&client->lock);
	while (!attempt.done && !client->closing && r == 0)
		r = pthread_cond_timedwait(&client->changed, &client->lock, &deadline);
	bool connected = client->pipe.id != 0;
	while (attempt.done && client->pipe.id != 0 && !client->closing) {
		pthread_cond_wait(&client->changed, &client->lock);
		net_client_wait(client, rng, NET_DIAL_WAIT_MS_MIN);
	}
	pthread_mutex_unlock(&client->lock);

	net_dialer_end(client, attempt.dialer); /* which also ends a start that is under way */
	(void)pthread_join(thread, NULL);
	return connected;
}

static void *net_client_keep(void *argument)
{
	struct net_client *client = argument;
	uint32_t wait_ms = NET_DIAL_WAIT_MS_MIN;
	struct rng rng;
	uint64_t seed = 0;
	if (rng_os_bytes(&seed, sizeof(seed)) < 0)
		seed = clock_monotonic_ns(clock_real()) ^ (uintptr_t)client;
	rng_init(&rng, seed);

	pthread_mutex_lock(&client->lock);
	while (!client->closing) {
		pthread_mutex_unlock(&client->lock);
		bool was_connected = net_client_connect(client, &rng);
		pthread_mutex_lock(&client->lock);
		if (was_connected) {
			wait_ms = NET_DIAL_WAIT_MS_MIN; /* and it has waited already */
			continue;
		}
		net_client_wait(client, &rng, wait_ms);
		wait_ms = wait_ms * 2 < NET_DIAL_WAIT_MS_MAX ? wait_ms * 2 : NET_DIAL_WAIT_MS_MAX;
	}
	pthread_mutex_unlock(&client->lock);
	return NULL;
}

int net_client_open(const char *address, struct net_client **ret_client)
{
	if (!net_address_is_valid(address))
		return -EINVAL;
	struct net_client *client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	snprintf(client->address, sizeof(client->address), "%s", address);
	if (net_lock_init(&client->lock, &client->changed) < 0) {
		free(client);
		return -ENOMEM;
	}

	int r = nng_req0_open(&client->socket);
	if (r != 0) {
		net_lock_fini(&client->lock, &client->changed);
		free(client);
		return net_errno(r);
	}
	r = nng_socket_set_size(client->socket, NNG_OPT_RECVMAXSZ, NET_RECEIVE_BYTES_MAX);
	if (r == 0)
		r = nng_socket_set_ms(
		        client->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
	if (r == 0)
		r = nng_pipe_notify(
		        client->socket, NNG_PIPE_EV_ADD_PRE, net_client_on_pipe, client);
	if (r == 0)
		r = nng_pipe_notify(
		        client->socket, NNG_PIPE_EV_REM_POST, net_client_on_pipe, client);
	if (r != 0) {
		net_client_free(client);
		return net_errno(r);
	}
	*ret_client = client;
	return 0;
}

static void net_slot_free(struct net_slot *slot)
{
	if (!slot)
		return;
	nng_aio_free(slot->send);
	nng_aio_free(slot->receive);
	free(slot);
}
DEFINE_AUTO(net_slot);

void net_client_free(struct net_client *client)
{
	if (!client)
		return;
	pthread_mutex_lock(&client->lock);
	client->closing = true;
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
	if (client->keeper_runs)
		(void)pthread_join(client->keeper, NULL);

	if (!net_close_socket(client->socket)) { /* with its contexts */
		net_leave_alone(client);
		return;
	}
	while (client->idle) {
		struct net_slot *slot = client->idle;
		client->idle = slot->next;
		net_slot_free(slot);
	}
	net_lock_fini(&client->lock, &client->changed);
	free(client);
}

static nng_duration net_left_ms(const struct timespec *deadline)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	int64_t left_ms = (int64_t)(deadline->tv_sec - now.tv_sec) * 1000 +
	                  (deadline->tv_nsec - now.tv_nsec) / 1000000;
	/* nng takes 0 for "do not wait at all" and minds what happens then. */
	return left_ms < 1 ? 1 : left_ms > INT32_MAX ? INT32_MAX : (nng_duration)left_ms;
}

/*
 * On nng's thread, the moment a request is on its way: a reply that is there before somebody wants
 * it is forgotten by nng 1.5.2 when the connection ends, so the wait for it begins here and not in
 * the caller's thread. (It must not begin before: nng asserts that when the sending is cancelled.)
 */
static void net_slot_sent(void *argument)
{
	struct net_slot *slot = argument;
	if (nng_aio_result(slot->send) != 0)
		return;
	nng_aio_set_timeout(slot->receive, net_left_ms(&slot->deadline));
	nng_ctx_recv(slot->context, slot->receive);
}

static int net_slot_new(struct net_client *client, struct net_slot **ret_slot)
{
	AUTO(net_slot) slot = calloc(1, sizeof(*slot));
	if (!slot || nng_aio_alloc(&slot->send, net_slot_sent, slot) != 0 ||
	        nng_aio_alloc(&slot->receive, NULL, NULL) != 0 ||
	        nng_ctx_open(&slot->context, client->socket) != 0)
		return -ENOMEM;

	/* The context inherits this from the socket, and it is said again where it matters. */
	(void)nng_ctx_set_ms(slot->context, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
	*ret_slot = TAKE(slot);
	return 0;
}

/* Starts the keeper with the first call, and gives out a slot once one is free. */
static int net_slot_take(
        struct net_client *client, const struct timespec *deadline, struct net_slot **ret_slot)
{
	int r = 0;
	pthread_mutex_lock(&client->lock);
	if (!client->keeper_runs) {
		r = -pthread_create(&client->keeper, NULL, net_client_keep, client);
		client->keeper_runs = r == 0;
		r = r < 0 ? -ENOMEM : 0;
	}
	while (r == 0 && !client->idle && client->slots_count == NET_CALLS_OPEN_MAX)
		r = -pthread_cond_timedwait(&client->changed, &client->lock, deadline);

	if (r == 0 && client->idle) {
		*ret_slot = client->idle;
		client->idle = client->idle->next;
	} else if (r == 0) {
		r = net_slot_new(client, ret_slot);
		client->slots_count += r == 0;
	} else if (r == -ETIMEDOUT && client->pipe.id == 0) {
		r = -ECONNREFUSED;
	}
	pthread_mutex_unlock(&client->lock);
	return r;
}

static void net_slot_give_back(struct net_client *client, struct net_slot *slot)
{
	pthread_mutex_lock(&client->lock);
	slot->next = client->idle;
	client->idle = slot;
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
}

/* Every end of a call tells something about the connection. */
static int net_client_judge(struct net_client *client, int result)
{
	nng_pipe silent = { 0 };
	pthread_mutex_lock(&client->lock);
	client->timeouts_in_a_row = result == -ETIMEDOUT ? client->timeouts_in_a_row + 1 : 0;
	if (client->timeouts_in_a_row >= NET_TIMEOUTS_IN_A_ROW_MAX) {
		client->timeouts_in_a_row = 0;
		silent = client->pipe;
	}
	pthread_mutex_unlock(&client->lock);
	if (silent.id != 0)
		(void)nng_pipe_close(silent);
	return result;
}

static bool net_client_is_connected(struct net_client *client)
{
	pthread_mutex_lock(&client->lock);
	bool connected = client->pipe.id != 0;
	pthread_mutex_unlock(&client->lock);
	return connected;
}

/* The message is nng's once it is sent, and freed otherwise. */
static int net_slot_send(struct net_client *client, struct net_slot *slot, nng_msg *message)
{
	nng_aio_set_msg(slot->send, message);
	nng_aio_set_timeout(slot->send, net_left_ms(&slot->deadline));
	nng_ctx_send(slot->context, slot->send);
	nng_aio_wait(slot->send);
	int r = net_errno(nng_aio_result(slot->send));
	if (r < 0)
		nng_msg_free(nng_aio_get_msg(slot->send));
	/* It has waited for a connection, or for one that takes nothing. */
	if (r == -ETIMEDOUT && !net_client_is_connected(client))
		return -ECONNREFUSED;
	return r;
}

static int net_slot_receive(struct net_slot *slot, uint8_t **ret_bytes, size_t *ret_count)
{
	nng_aio_wait(slot->receive);
	int r = net_errno(nng_aio_result(slot->receive));
	if (r < 0)
		return r;

	nng_msg *message = nng_aio_get_msg(slot->receive);
	size_t count = nng_msg_len(message);
	uint8_t *bytes = malloc(count ? count : 1);
	if (bytes) {
		if (count > 0)
			memcpy(bytes, nng_msg_body(message), count);
		*ret_bytes = bytes;
		*ret_count = count;
	}
	nng_msg_free(message);
	return bytes ? 0 : -ENOMEM;
}

int net_call(struct net_client *client, const uint8_t *bytes, size_t count, uint32_t timeout_ms,
        uint8_t **ret_bytes, size_t *ret_count)
{
	if (count > NET_MESSAGE_BYTES_MAX)
		return -EMSGSIZE;
	struct timespec deadline = net_deadline(timeout_ms);
	struct net_slot *slot = NULL;
	nng_msg *message;

	if (nng_msg_alloc(&message, count) != 0)
		return -ENOMEM;
	if (count > 0)
		memcpy(nng_msg_body(message), bytes, count);

	int r = net_slot_take(client, &deadline, &slot);
	if (r < 0) {
		nng_msg_free(message);
		return r;
	}
	assert(slot);
	slot->deadline = deadline;
	r = net_slot_send(client, slot, message);
	if (r == 0)
		r = net_slot_receive(slot, ret_bytes, ret_count);
	net_slot_give_back(client, slot);
	return net_client_judge(client, r);
}
