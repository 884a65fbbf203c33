/*
 * nng as we use it, over loopback: first what it is for, then what a hostile or broken peer does to
 * it. Peers that do not speak as nng would are plain sockets; a server that is killed is a process
 * of this same program.
 */

#include "core/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/test.h"

#define CALL_MS 20000 /* never waited for when all is well */

/* ---- servers ---- */

static void echo(void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	CHECK_OK(net_reply(request, bytes, count));
}

static struct net_server *open_server(const char *address,
        void (*on_request)(void *, struct net_request *, const uint8_t *, size_t), void *owner)
{
	struct net_server *server = NULL;
	CHECK_OK(net_server_open(
	        (struct net_server_options){
	                .listen = address, .on_request = on_request, .owner = owner },
	        &server));
	return server;
}

static struct net_client *open_client(const char *address)
{
	struct net_client *client = NULL;
	CHECK_OK(net_client_open(address, &client));
	return client;
}

static void check_echo(struct net_client *client, const char *words)
{
	uint8_t *reply = NULL;
	size_t count = 0;
	CHECK_OK(net_call(client, (const uint8_t *)words, strlen(words), CALL_MS, &reply, &count));
	assert_int_equal(count, strlen(words));
	assert_memory_equal(reply, words, count);
	free(reply);
}

/* ---- peers that are plain sockets ---- */

static uint16_t port_of(const char *address)
{
	return (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

static void limit_waiting(int fd)
{
	struct timeval limit = { .tv_sec = 20 };
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
}

static int raw_connect(const char *address)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port_of(address)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	limit_waiting(fd);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static int raw_listen(char address[static 64])
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	limit_waiting(fd);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
	snprintf(address, 64, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
	return fd;
}

static void raw_read(int fd, void *bytes, size_t count)
{
	assert_int_equal(recv(fd, bytes, count, MSG_WAITALL), count);
}

static void raw_write(int fd, const void *bytes, size_t count)
{
	assert_int_equal(send(fd, bytes, count, MSG_NOSIGNAL), count);
}

static void raw_write_length(int fd, uint64_t length)
{
	uint8_t bytes[8];
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(length >> (56 - 8 * i));
	raw_write(fd, bytes, sizeof(bytes));
}

/* The eight bytes with which both sides open: 0x30 is REQ, 0x31 is REP. */
static void raw_shake_hands(int fd, uint8_t ours, uint8_t theirs)
{
	uint8_t answer[8];
	raw_write(fd, (uint8_t[]){ 0, 'S', 'P', 0, 0, ours, 0, 0 }, 8);
	raw_read(fd, answer, sizeof(answer));
	assert_memory_equal(answer, ((uint8_t[]){ 0, 'S', 'P', 0, 0, theirs, 0, 0 }), 8);
}

static void raw_check_dropped(int fd)
{
	uint8_t byte;
	ssize_t n = recv(fd, &byte, 1, 0);
	CHECK(n == 0 || (n < 0 && errno == ECONNRESET));
}

/* ---- what it is for ---- */

static void reply_is_what_the_server_answered(void **state)
{
	struct net_server *server = open_server("tcp://127.0.0.1:0", echo, NULL);
	struct net_client *client = open_client(net_server_address(server));
	check_echo(client, "hello");
	check_echo(client, "");
	check_echo(client, "and again");
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

static void port_0_tells_the_port_that_was_bound(void **state)
{
	static const char *const addresses[] = { "tcp://127.0.0.1:0", "tcp://[::1]:0",
		"tcp://localhost:0" };
	for (size_t i = 0; i < COUNT_OF(addresses); i++) {
		struct net_server *server = NULL;
		int r = net_server_open(
		        (struct net_server_options){ .listen = addresses[i], .on_request = echo },
		        &server);
		if (r < 0 && strchr(addresses[i], '[')) {
			print_message("no IPv6 on this machine: %s not tried\n", addresses[i]);
			continue;
		}
		CHECK_OK(r);
		CHECK(port_of(net_server_address(server)) != 0);
		assert_memory_equal(
		        net_server_address(server), addresses[i], strlen(addresses[i]) - 1);
		struct net_client *client = open_client(net_server_address(server));
		check_echo(client, addresses[i]);
		net_client_free(client);
		net_server_free(server, CALL_MS);
	}
}

static void inproc_works_as_tcp_does(void **state)
{
	struct net_server *server = open_server("inproc://net-test", echo, NULL);
	struct net_client *client = open_client("inproc://net-test");
	check_echo(client, "inside");
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

static void client_may_come_before_the_server(void **state)
{
	struct net_client *client = open_client("inproc://net-test-late");
	struct net_server *server = open_server("inproc://net-test-late", echo, NULL);
	check_echo(client, "late");
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

struct caller {
	struct net_client *client;
	uint32_t number;
};

static void *call_many_times(void *argument)
{
	struct caller *caller = argument;
	for (uint32_t i = 0; i < 20; i++) {
		char words[64];
		snprintf(words, sizeof(words), "caller %u call %u", caller->number, i);
		check_echo(caller->client, words);
	}
	return NULL;
}

static void callers_get_their_own_replies(void **state)
{
	struct net_server *server = open_server("tcp://127.0.0.1:0", echo, NULL);
	struct net_client *client = open_client(net_server_address(server));
	struct caller callers[NET_CALLS_OPEN_MAX + 6]; /* some have to wait for their turn */
	pthread_t threads[COUNT_OF(callers)];

	for (uint32_t i = 0; i < COUNT_OF(callers); i++) {
		callers[i] = (struct caller){ client, i };
		assert_int_equal(
		        pthread_create(&threads[i], NULL, call_many_times, &callers[i]), 0);
	}
	for (uint32_t i = 0; i < COUNT_OF(callers); i++)
		pthread_join(threads[i], NULL);
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

/* Keeps requests until `wanted` are there, then answers them from another thread, last first. */
struct keeper {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct net_request *requests[4];
	uint8_t first_bytes[4];
	uint32_t count;
};

static void keep(void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	struct keeper *keeper = owner;
	pthread_mutex_lock(&keeper->lock);
	assert_in_range(keeper->count, 0, 3);
	keeper->first_bytes[keeper->count] = count ? bytes[0] : 0;
	keeper->requests[keeper->count++] = request;
	pthread_cond_broadcast(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
}

static void keeper_wait(struct keeper *keeper, uint32_t wanted)
{
	pthread_mutex_lock(&keeper->lock);
	while (keeper->count < wanted)
		pthread_cond_wait(&keeper->changed, &keeper->lock);
	pthread_mutex_unlock(&keeper->lock);
}

#define KEEPER_INIT                                                                                \
	{                                                                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER             \
	}

struct single_call {
	struct net_client *client;
	uint8_t byte;
	uint32_t timeout_ms;
	int result;
	uint8_t *reply;
	size_t reply_count;
};

static void *run_single_call(void *argument)
{
	struct single_call *call = argument;
	call->result = net_call(
	        call->client, &call->byte, 1, call->timeout_ms, &call->reply, &call->reply_count);
	return NULL;
}

static void deferred_replies_may_come_in_any_order(void **state)
{
	struct keeper keeper = KEEPER_INIT;
	struct net_server *server = open_server("tcp://127.0.0.1:0", keep, &keeper);
	struct net_client *client = open_client(net_server_address(server));
	struct single_call calls[4];
	pthread_t threads[4];

	for (uint8_t i = 0; i < 4; i++) {
		calls[i] = (struct single_call){ client, .byte = 'a' + i, .timeout_ms = CALL_MS };
		assert_int_equal(pthread_create(&threads[i], NULL, run_single_call, &calls[i]), 0);
	}
	keeper_wait(&keeper, 4);
	for (int i = 3; i >= 0; i--) {
		CHECK(strncmp(net_request_peer(keeper.requests[i]), "127.0.0.1:", 10) == 0);
		CHECK_OK(net_reply(keeper.requests[i], &keeper.first_bytes[i], 1));
	}
	for (uint8_t i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		CHECK_OK(calls[i].result);
		assert_int_equal(calls[i].reply_count, 1);
		assert_int_equal(calls[i].reply[0], 'a' + i);
		free(calls[i].reply);
	}
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

static void server_frees_only_after_open_requests_were_answered(void **state)
{
	struct keeper keeper = KEEPER_INIT;
	struct net_server *server = open_server("tcp://127.0.0.1:0", keep, &keeper);
	int fd = raw_connect(net_server_address(server));
	uint8_t reply[8 + 4 + 4];

	raw_shake_hands(fd, 0x30, 0x31);
	raw_write_length(fd, 5);
	raw_write(fd, "\x80\0\0\1x", 5);
	keeper_wait(&keeper, 1);
	net_server_close(server);
	CHECK_OK(net_reply(keeper.requests[0], (const uint8_t *)"last", 4));
	net_server_free(server, CALL_MS);

	raw_read(fd, reply, sizeof(reply));
	assert_memory_equal(reply, "\0\0\0\0\0\0\0\x08\x80\0\0\1last", sizeof(reply));
	raw_check_dropped(fd);
	close(fd);
}

static bool is_cancelled(const struct net_request *request)
{
	return __atomic_load_n(net_request_cancelled(request), __ATOMIC_RELAXED);
}

static void request_whose_peer_left_is_marked_and_no_other(void **state)
{
	struct keeper keeper = KEEPER_INIT;
	struct net_server *server = open_server("tcp://127.0.0.1:0", keep, &keeper);
	int fds[2];

	for (uint32_t i = 0; i < 2; i++) {
		fds[i] = raw_connect(net_server_address(server));
		raw_shake_hands(fds[i], 0x30, 0x31);
		raw_write_length(fds[i], 5);
		raw_write(fds[i], "\x80\0\0\1x", 5);
		keeper_wait(&keeper, i + 1);
	}
	CHECK(!is_cancelled(keeper.requests[0]) && !is_cancelled(keeper.requests[1]));
	close(fds[0]);
	while (!is_cancelled(keeper.requests[0]))
		sched_yield();
	CHECK(!is_cancelled(keeper.requests[1]));
	net_request_cancel(keeper.requests[1]);
	CHECK(is_cancelled(keeper.requests[1]));

	/* Both are still to be answered; who is there gets the reply. */
	uint8_t reply[8 + 4 + 4];
	CHECK_OK(net_reply(keeper.requests[0], (const uint8_t *)"none", 4));
	CHECK_OK(net_reply(keeper.requests[1], (const uint8_t *)"last", 4));
	raw_read(fds[1], reply, sizeof(reply));
	assert_memory_equal(reply, "\0\0\0\0\0\0\0\x08\x80\0\0\1last", sizeof(reply));

	close(fds[1]);
	net_server_free(server, CALL_MS);
}

static void mark_is_gone_with_the_request(void **state)
{
	struct keeper keeper = KEEPER_INIT;
	struct net_server *server = NULL;
	CHECK_OK(net_server_open(
	        (struct net_server_options){ .listen = "tcp://127.0.0.1:0",
	                .requests_max = 1, /* so that the second is where the first was */
	                .on_request = keep,
	                .owner = &keeper },
	        &server));
	for (uint32_t i = 0; i < 2; i++) {
		int fd = raw_connect(net_server_address(server));
		raw_shake_hands(fd, 0x30, 0x31);
		raw_write_length(fd, 5);
		raw_write(fd, "\x80\0\0\1x", 5);
		keeper_wait(&keeper, i + 1);
		CHECK(!is_cancelled(keeper.requests[i]));
		close(fd);
		while (!is_cancelled(keeper.requests[i]))
			sched_yield();
		CHECK_OK(net_reply(keeper.requests[i], (const uint8_t *)"none", 4));
	}
	CHECK(keeper.requests[0] == keeper.requests[1]);
	net_server_free(server, CALL_MS);
}

static void closed_server_takes_no_new_request(void **state)
{
	struct keeper keeper = KEEPER_INIT;
	struct net_server *server = open_server("tcp://127.0.0.1:0", keep, &keeper);
	struct net_client *client = open_client(net_server_address(server));
	struct single_call call = { client, .byte = 'x', .timeout_ms = 50 };

	net_server_close(server);
	run_single_call(&call);
	CHECK(call.result < 0);
	assert_int_equal(keeper.count, 0);
	net_server_free(server, CALL_MS);
	net_client_free(client);
}

/* ---- limits ---- */

static void longest_message_passes_and_a_longer_one_is_refused(void **state)
{
	struct net_server *server = open_server("tcp://127.0.0.1:0", echo, NULL);
	struct net_client *client = open_client(net_server_address(server));
	uint8_t *bytes = calloc(1, NET_MESSAGE_BYTES_MAX + 1);
	uint8_t *reply = NULL;
	size_t count = 0;
	assert_non_null(bytes);
	bytes[NET_MESSAGE_BYTES_MAX - 1] = 42;

	CHECK_OK(net_call(client, bytes, NET_MESSAGE_BYTES_MAX, CALL_MS, &reply, &count));
	assert_int_equal(count, NET_MESSAGE_BYTES_MAX);
	assert_memory_equal(reply, bytes, count);
	free(reply);

	assert_int_equal(
	        net_call(client, bytes, NET_MESSAGE_BYTES_MAX + 1, CALL_MS, &reply, &count),
	        -EMSGSIZE);
	free(bytes);
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

static void answer_too_much_first(
        void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	uint8_t *too_much = calloc(1, NET_MESSAGE_BYTES_MAX + 1);
	assert_int_equal(net_reply(request, too_much, NET_MESSAGE_BYTES_MAX + 1), -EMSGSIZE);
	CHECK_OK(net_reply(request, bytes, count));
	free(too_much);
}

static void too_long_a_reply_leaves_the_request_open(void **state)
{
	struct net_server *server = open_server("tcp://127.0.0.1:0", answer_too_much_first, NULL);
	struct net_client *client = open_client(net_server_address(server));
	check_echo(client, "short");
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

static void hostile_lengths_end_only_their_own_connection(void **state)
{
	static const uint64_t lengths[] = { UINT64_C(0xFFFFFFFFFFFFFFF0), UINT64_MAX,
		UINT64_C(1) << 63, UINT32_MAX, NET_MESSAGE_BYTES_MAX + 65, 0, 3 };
	struct net_server *server = open_server("tcp://127.0.0.1:0", echo, NULL);
	struct net_client *client = open_client(net_server_address(server));

	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		int fd = raw_connect(net_server_address(server));
		raw_shake_hands(fd, 0x30, 0x31);
		raw_write_length(fd, lengths[i]);
		if (lengths[i] == 3)
			raw_write(fd, "abc", 3); /* no room for a request's id */
		raw_check_dropped(fd);
		close(fd);
		check_echo(client, "still there");
	}
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

static void hostile_reply_length_is_an_error_of_the_call(void **state)
{
	char address[64];
	int listener = raw_listen(address);
	struct net_client *client = open_client(address);
	struct single_call call = { client, .byte = 'x', .timeout_ms = CALL_MS };
	pthread_t thread;
	uint8_t request[8 + 4 + 1];

	assert_int_equal(pthread_create(&thread, NULL, run_single_call, &call), 0);
	int fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0);
	limit_waiting(fd);
	raw_shake_hands(fd, 0x31, 0x30);
	raw_read(fd, request, sizeof(request));
	raw_write_length(fd, UINT64_C(0xFFFFFFFFFFFFFFF0));
	raw_check_dropped(fd);
	pthread_join(thread, NULL);
	assert_int_equal(call.result, -ECONNRESET);
	close(fd);
	close(listener);
	net_client_free(client);
}

/* ---- peers that come and go ---- */

static void peers_that_leave_at_once_do_no_harm(void **state)
{
	struct net_server *server = open_server("tcp://127.0.0.1:0", echo, NULL);
	for (int i = 0; i < 50; i++) {
		int fd = raw_connect(net_server_address(server));
		struct linger reset = { .l_onoff = 1 };
		if (i % 3 == 1)
			raw_write(fd, "\0SP", 3);
		if (i % 3 == 2)
			raw_write(fd, "GET / HTTP/1.1\r\n\r\n", 18);
		if (i % 2 == 1)
			CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
		close(fd);
	}
	struct net_client *client = open_client(net_server_address(server));
	check_echo(client, "still there");
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

static void reply_to_a_peer_that_left_is_no_error(void **state)
{
	struct keeper keeper = KEEPER_INIT;
	struct net_server *server = open_server("tcp://127.0.0.1:0", keep, &keeper);
	int fd = raw_connect(net_server_address(server));
	raw_shake_hands(fd, 0x30, 0x31);
	raw_write_length(fd, 5);
	raw_write(fd, "\x80\0\0\1x", 5);
	keeper_wait(&keeper, 1);
	close(fd);
	CHECK_OK(net_reply(keeper.requests[0], (const uint8_t *)"x", 1));
	net_server_free(server, CALL_MS);
}

static void answer_a_megabyte_to_an_empty_request(
        void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	static const uint8_t megabyte[1 << 20];
	if (count > 0)
		CHECK_OK(net_reply(request, bytes, count));
	else
		CHECK_OK(net_reply(request, megabyte, sizeof(megabyte)));
}

/*
 * Where the limit of a reply is as short as here, a machine under load cuts off the honest as well:
 * they come back and ask again.
 */
static void check_echo_at_last(struct net_client *client)
{
	uint8_t *reply = NULL;
	size_t count = 0;
	int r;
	do
		r = net_call(client, (const uint8_t *)"x", 1, CALL_MS, &reply, &count);
	while (r == -ECONNRESET);
	CHECK_OK(r);
	assert_int_equal(count, 1);
	free(reply);
}

static void peer_that_reads_no_replies_is_cut_off_and_others_are_served(void **state)
{
	struct net_server *server = NULL;
	CHECK_OK(net_server_open((struct net_server_options){ .listen = "tcp://127.0.0.1:0",
	                                 .requests_max = 4,
	                                 .reply_ms_max = 100,
	                                 .on_request = answer_a_megabyte_to_an_empty_request },
	        &server));
	struct net_client *client = open_client(net_server_address(server));
	int fd = raw_connect(net_server_address(server));
	raw_shake_hands(fd, 0x30, 0x31);

	/* Far more than all buffers of the kernel hold: every context of the server gets stuck. */
	for (int i = 0; i < 100; i++) {
		uint8_t request[12] = { [7] = 4, [8] = 0x80, [11] = (uint8_t)i };
		if (send(fd, request, sizeof(request), MSG_NOSIGNAL) < 0)
			break; /* cut off already */
	}
	for (int i = 0; i < 10; i++)
		check_echo_at_last(client);

	/* Requests of it are still unread when it is cut off, and so its end comes as a reset. */
	struct pollfd end = { .fd = fd, .events = POLLRDHUP };
	assert_int_equal(poll(&end, 1, CALL_MS), 1);
	check_echo_at_last(client);
	close(fd);
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

static void nobody_there_is_connection_refused(void **state)
{
	char address[64];
	close(raw_listen(address)); /* a port that was free a moment ago */
	struct net_client *client = open_client(address);
	struct single_call call = { client, .byte = 'x', .timeout_ms = 150 };
	run_single_call(&call);
	assert_int_equal(call.result, -ECONNREFUSED);
	net_client_free(client);
}

static void silent_peer_is_a_timeout_and_after_two_a_new_connection(void **state)
{
	char address[64];
	int listener = raw_listen(address);
	struct net_client *client = open_client(address);
	struct single_call call = { client, .byte = 'x', .timeout_ms = 1000 };
	pthread_t thread;
	uint8_t request[8 + 4 + 1];

	assert_int_equal(pthread_create(&thread, NULL, run_single_call, &call), 0);
	int fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0);
	limit_waiting(fd);
	raw_shake_hands(fd, 0x31, 0x30);
	raw_read(fd, request, sizeof(request));
	pthread_join(thread, NULL);
	assert_int_equal(call.result, -ETIMEDOUT);

	call.timeout_ms = 10;
	run_single_call(&call);
	assert_int_equal(call.result, -ETIMEDOUT);
	while (recv(fd, request, sizeof(request), 0) > 0) {
	}
	close(fd);

	/* The next one comes by itself. */
	fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0);
	close(fd);
	close(listener);
	net_client_free(client);
}

static void server_that_ends_is_an_error_and_its_successor_serves(void **state)
{
	struct keeper keeper = KEEPER_INIT;
	struct net_server *server = open_server("tcp://127.0.0.1:0", keep, &keeper);
	char address[NET_ADDRESS_BYTES_MAX];
	snprintf(address, sizeof(address), "%s", net_server_address(server));
	struct net_client *client = open_client(address);
	struct single_call call = { client, .byte = 'x', .timeout_ms = CALL_MS };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, run_single_call, &call), 0);
	keeper_wait(&keeper, 1);
	net_server_free(server, 0);
	pthread_join(thread, NULL);
	assert_int_equal(call.result, -ECONNRESET);

	server = open_server(address, echo, NULL);
	check_echo(client, "successor");
	net_client_free(client);
	net_server_free(server, CALL_MS);
}

/* This program as a server of its own: says its address on fd 1, reads a request, never answers. */
static const char *own_path;

static void say_received(void *owner, struct net_request *request, const uint8_t *b, size_t count)
{
	if (count > 0 && b[0] == 'k')
		(void)!write(STDOUT_FILENO, "received\n", 9);
	else
		(void)net_reply(request, b, count);
}

static int serve(const char *address)
{
	struct net_server *server;
	if (net_server_open(
	            (struct net_server_options){ .listen = address, .on_request = say_received },
	            &server) < 0)
		return 1;
	dprintf(STDOUT_FILENO, "%s\n", net_server_address(server));
	pause();
	return 0;
}

struct process {
	pid_t pid;
	FILE *said;
	char address[NET_ADDRESS_BYTES_MAX];
};

static void process_start(struct process *process, const char *address)
{
	int ends[2];
	char *argv[] = { (char *)own_path, (char *)"serve", (char *)address, NULL };
	posix_spawn_file_actions_t actions;

	CHECK(pipe2(ends, O_CLOEXEC) == 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	assert_int_equal(posix_spawn(&process->pid, own_path, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	process->said = fdopen(ends[0], "r");
	assert_non_null(process->said);
	assert_non_null(fgets(process->address, sizeof(process->address), process->said));
	process->address[strcspn(process->address, "\n")] = 0;
}

static void process_kill(struct process *process)
{
	int status;
	CHECK(kill(process->pid, SIGKILL) == 0);
	CHECK(waitpid(process->pid, &status, 0) == process->pid);
	fclose(process->said);
}

static void killed_server_is_an_error_of_every_call_and_its_successor_serves(void **state)
{
	struct process process;
	char line[32];
	process_start(&process, "tcp://127.0.0.1:0");
	struct net_client *client = open_client(process.address);
	check_echo(client, "first");

	for (int round = 0; round < 5; round++) {
		struct single_call calls[8];
		pthread_t threads[8];
		for (int i = 0; i < 8; i++) {
			calls[i] = (struct single_call){ client, .byte = 'k',
				.timeout_ms = CALL_MS };
			assert_int_equal(
			        pthread_create(&threads[i], NULL, run_single_call, &calls[i]), 0);
		}
		for (int i = 0; i < 8; i++)
			assert_non_null(fgets(line, sizeof(line), process.said));
		process_kill(&process);
		for (int i = 0; i < 8; i++) {
			pthread_join(threads[i], NULL);
			assert_int_equal(calls[i].result, -ECONNRESET);
		}
		char address[NET_ADDRESS_BYTES_MAX];
		snprintf(address, sizeof(address), "%s", process.address);
		process_start(&process, address);
		check_echo(client, "successor");
	}
	process_kill(&process);
	net_client_free(client);
}

/* ---- refusals ---- */

static void address_in_use_is_told(void **state)
{
	struct net_server *server = open_server("tcp://127.0.0.1:0", echo, NULL);
	struct net_server *second = NULL;
	struct net_server_options options = { .listen = net_server_address(server),
		.on_request = echo };
	assert_int_equal(net_server_open(options, &second), -EADDRINUSE);
	assert_null(second);
	net_server_free(server, 0);
}

static void address_of_another_machine_is_told(void **state)
{
	struct net_server *server = NULL;
	struct net_server_options options = { .listen = "tcp://192.0.2.1:0", .on_request = echo };
	assert_int_equal(net_server_open(options, &server), -EADDRNOTAVAIL);
}

static void addresses_are_checked_before_use(void **state)
{
	static const struct {
		const char *address;
		bool valid;
	} cases[] = {
		{ "tcp://127.0.0.1:7470", true },
		{ "tcp://127.0.0.1:0", true },
		{ "tcp://[::1]:7470", true },
		{ "tcp://[::]:65535", true },
		{ "tcp://aggregator-0.example.org:7470", true },
		{ "inproc://x", true },
		{ "inproc://", false },
		{ "127.0.0.1:7470", false },
		{ "tcp://127.0.0.1", false },
		{ "tcp://127.0.0.1:", false },
		{ "tcp://127.0.0.1:65536", false },
		{ "tcp://127.0.0.1:99999999999999999999", false },
		{ "tcp://127.0.0.1:74x", false },
		{ "tcp://:7470", false },
		{ "tcp://[::1:7470", false },
		{ "tcp://[fe80::1%eth0]:1", false },
		{ "tcp://::1:7470", false },
		{ "tcp://a;b:7470", false },
		{ "tcp://a/b:7470", false },
		{ "tcp://a b:1", false },
		{ "ipc:///tmp/x", false },
		{ "ws://127.0.0.1:80", false },
		{ "", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct net_client *client = NULL;
		print_message("%s\n", cases[i].address);
		assert_int_equal(net_address_is_valid(cases[i].address), cases[i].valid);
		assert_int_equal(
		        net_client_open(cases[i].address, &client), cases[i].valid ? 0 : -EINVAL);
		net_client_free(client);
	}
}

int main(int argc, char **argv)
{
	own_path = argv[0];
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reply_is_what_the_server_answered),
		cmocka_unit_test(port_0_tells_the_port_that_was_bound),
		cmocka_unit_test(inproc_works_as_tcp_does),
		cmocka_unit_test(client_may_come_before_the_server),
		cmocka_unit_test(callers_get_their_own_replies),
		cmocka_unit_test(deferred_replies_may_come_in_any_order),
		cmocka_unit_test(server_frees_only_after_open_requests_were_answered),
		cmocka_unit_test(request_whose_peer_left_is_marked_and_no_other),
		cmocka_unit_test(mark_is_gone_with_the_request),
		cmocka_unit_test(closed_server_takes_no_new_request),
		cmocka_unit_test(longest_message_passes_and_a_longer_one_is_refused),
		cmocka_unit_test(too_long_a_reply_leaves_the_request_open),
		cmocka_unit_test(hostile_lengths_end_only_their_own_connection),
		cmocka_unit_test(hostile_reply_length_is_an_error_of_the_call),
		cmocka_unit_test(peers_that_leave_at_once_do_no_harm),
		cmocka_unit_test(reply_to_a_peer_that_left_is_no_error),
		cmocka_unit_test(peer_that_reads_no_replies_is_cut_off_and_others_are_served),
		cmocka_unit_test(nobody_there_is_connection_refused),
		cmocka_unit_test(silent_peer_is_a_timeout_and_after_two_a_new_connection),
		cmocka_unit_test(server_that_ends_is_an_error_and_its_successor_serves),
		cmocka_unit_test(killed_server_is_an_error_of_every_call_and_its_successor_serves),
		cmocka_unit_test(address_in_use_is_told),
		cmocka_unit_test(address_of_another_machine_is_told),
		cmocka_unit_test(addresses_are_checked_before_use),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
