/*
 * Several threads send by one session to an aggregator of a few lines, which forgets the session,
 * is busy with single sections, and counts the rows of every (epoch, shard, seq) once, as a real
 * one does: whatever it does, each value arrives exactly once, and the dictionary is not sent anew.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/auto.h"
#include "core/clock.h"
#include "core/net.h"
#include "query/client.h"
#include "query/push_session.h"

#define THREADS      8
#define FILES_EACH   6
#define ROWS_EACH    20
#define SECTIONS_MAX 4096

struct server {
	pthread_mutex_t lock;
	struct net_server *net;
	struct dict *dict; /* of the session; NULL when there is none */
	uint64_t session;
	uint64_t request;
	uint32_t pushes;
	uint32_t hellos;
	uint32_t goodbyes;
	uint32_t forget_every; /* pushes; 0 never */
	uint32_t busy_every;   /* sections; 0 never */
	uint32_t sections;
	uint64_t reject_value; /* of the first row of a section that is never acceptable; 0: none */
	uint64_t seen[SECTIONS_MAX]; /* seqs that were kept, as their shard is one */
	uint32_t seen_count;
	uint64_t value;
	uint64_t nodes_met; /* that came in deltas */
};

static void reply(struct net_request *request, enum wire_kind kind, const struct buf *payload)
{
	AUTO_BUF sealed = { 0 };
	wire_seal(kind, payload, &sealed);
	net_reply(request, sealed.bytes, sealed.count);
}

static void reply_status(struct net_request *request, uint32_t status)
{
	AUTO_BUF payload = { 0 };
	struct wire_status_reply as = { .status = status, .retry_ms = 1, .text = { "why", 3 } };
	wire_put_status(&as, &payload);
	reply(request, WIRE_STATUS, &payload);
}

static void serve_hello(struct server *server, struct net_request *request)
{
	AUTO_BUF payload = { 0 };
	dict_free(server->dict);
	server->dict = dict_new(dict_limits_default);
	server->session++;
	server->request = 1;
	server->hellos++;
	struct wire_hello_reply as = {
		.version = WIRE_VERSION,
		.session = server->session,
		.shards = 1,
		.push_bytes_max = 1u << 20,
		.nodes_max = 1u << 16,
	};
	wire_put_hello_reply(&as, &payload);
	reply(request, WIRE_HELLO_REPLY, &payload);
}

static bool server_has(const struct server *server, uint64_t seq)
{
	for (uint32_t i = 0; i < server->seen_count; i++)
		if (server->seen[i] == seq)
			return true;
	return false;
}

static uint32_t serve_section(
        struct server *server, const struct wire_section *section, const struct batch *batch)
{
	if (server->busy_every && ++server->sections % server->busy_every == 0)
		return WIRE_BUSY;
	if (server->reject_value && batch->rows[0].value == server->reject_value)
		return WIRE_REJECT;
	if (server_has(server, section->seq))
		return WIRE_DUP;
	server->seen[server->seen_count++] = section->seq;
	for (uint32_t i = 0; i < batch->rows_count; i++)
		server->value += batch->rows[i].value;
	return WIRE_OK;
}

static void serve_push(struct server *server, struct net_request *request, struct reader *payload)
{
	struct wire_push push;
	struct reader delta;
	static struct wire_section_status statuses[WIRE_SECTIONS_MAX];
	struct wire_push_reply as = { .sections = statuses };
	AUTO_BUF to = { 0 };

	int r = wire_get_push(payload, &push, &delta);
	if (r < 0 || !server->dict || push.session != server->session ||
	        push.request != server->request) {
		reply_status(request, r < 0 ? WIRE_MALFORMED : WIRE_RESET);
		return;
	}
	server->request++;
	uint32_t nodes = dict_mark(server->dict).nodes;
	if (dict_decode(server->dict, &delta) < 0) {
		reply_status(request, WIRE_MALFORMED);
		return;
	}
	server->nodes_met += dict_mark(server->dict).nodes - nodes;
	for (uint32_t i = 0; i < push.sections_count; i++) {
		struct wire_section section;
		AUTO(batch) batch = batch_new(server->dict);
		r = wire_get_section(payload, &section);
		if (r < 0 || batch_decode(batch, &section.batch) < 0) {
			reply_status(request, WIRE_MALFORMED);
			return;
		}
		statuses[i] = (struct wire_section_status){
			.seq = section.seq,
			.status = serve_section(server, &section, batch),
		};
	}
	server->goodbyes += push.is_last;
	server->pushes += push.sections_count > 0;
	as.sections_count = push.sections_count;
	wire_put_push_reply(&as, &to);
	if (server->forget_every && server->pushes % server->forget_every == 0) {
		/* It has kept everything, and nobody ever hears of it. */
		dict_free(server->dict);
		server->dict = NULL;
		reply_status(request, WIRE_RESET);
		return;
	}
	reply(request, WIRE_PUSH_REPLY, &to);
}

static void serve(void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	struct server *server = owner;
	AUTO_BUF unpacked = { 0 };
	struct wire_message message;
	(void)pthread_mutex_lock(&server->lock);
	if (wire_open(bytes, count, &unpacked, &message) < 0)
		reply_status(request, WIRE_MALFORMED);
	else if (message.kind == WIRE_HELLO)
		serve_hello(server, request);
	else if (message.kind == WIRE_PUSH)
		serve_push(server, request, &message.payload);
	else
		reply_status(request, WIRE_NOT_FOUND); /* the client's first knock */
	(void)pthread_mutex_unlock(&server->lock);
}

/* Stacks are the same in every file; values are 1, 2, ... times `factor`. */
static struct batch *file_new(struct dict *dict, uint64_t factor)
{
	struct series series = { .period = 1 };
	uint32_t id;
	struct batch *batch = batch_new(dict);
	CHECK_OK(dict_cstring(dict, "cpu", &series.type));
	CHECK_OK(dict_cstring(dict, "count", &series.unit));
	CHECK_OK(dict_series(dict, &series, NULL, 0, &id));
	for (uint64_t i = 0; i < ROWS_EACH; i++) {
		char name[32];
		struct frame frame = { .kind = FRAME_MANAGED };
		uint32_t frame_id, node;
		snprintf(name, sizeof(name), "function%llu", (unsigned long long)i);
		CHECK_OK(dict_cstring(dict, name, &frame.function));
		CHECK_OK(dict_frame(dict, &frame, &frame_id));
		CHECK_OK(dict_node(dict, DICT_NODE_ROOT, frame_id, &node));
		CHECK_OK(batch_add_row(batch, id, node, (i + 1) * factor));
	}
	CHECK_OK(batch_settle(batch));
	return batch;
}

struct sender {
	struct push_session *session;
	uint64_t factor;
	int codes[FILES_EACH];
	pthread_t thread;
};

static void *send_files(void *opaque)
{
	struct sender *sender = opaque;
	for (int i = 0; i < FILES_EACH; i++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = file_new(dict, sender->factor);
		sender->codes[i] = push_session_send(
		        sender->session, "a file", batch, (struct push_progress){ 0 });
	}
	return NULL;
}

static void server_open(struct server *server)
{
	CHECK_OK(pthread_mutex_init(&server->lock, NULL));
	CHECK_OK(net_server_open(
	        (struct net_server_options){
	                .listen = "tcp://127.0.0.1:0", .on_request = serve, .owner = server },
	        &server->net));
}

/* Sends with eight threads at once and closes everything. */
static void run(struct server *server, struct sender *senders)
{
	server_open(server);
	char address[NET_ADDRESS_BYTES_MAX];
	snprintf(address, sizeof(address), "%s", net_server_address(server->net));
	struct shared_args shared = { .server = address, .timeout_ns = 10 * NS_PER_S };
	struct client *client;
	struct push_session *session;
	assert_int_equal(client_open(&shared, &client), 0);
	assert_int_equal(push_session_open(client, &session), 0);
	for (uint64_t i = 0; i < THREADS; i++) {
		senders[i].session = session;
		senders[i].factor = i + 1;
		CHECK_OK(pthread_create(&senders[i].thread, NULL, send_files, &senders[i]));
	}
	for (int i = 0; i < THREADS; i++)
		CHECK_OK(pthread_join(senders[i].thread, NULL));
	push_session_free(session);
	client_free(client);
	net_server_close(server->net);
	net_server_free(server->net, 1000);
	dict_free(server->dict);
	(void)pthread_mutex_destroy(&server->lock);
}

/* 1 + ... + 20 for each file, times 1 + ... + 8 for the threads. */
#define VALUE_ALL (UINT64_C(210) * FILES_EACH * 36)

static void threads_share_one_dictionary(void **state)
{
	(void)state;
	static struct server server;
	struct sender senders[THREADS] = { 0 };
	run(&server, senders);
	assert_int_equal(server.value, VALUE_ALL);
	assert_int_equal(server.hellos, 1);
	assert_int_equal(server.nodes_met, ROWS_EACH);
	assert_int_equal(server.seen_count, THREADS * FILES_EACH);
	assert_int_equal(server.goodbyes, 1);
}

static void nothing_is_lost_or_doubled_whatever_happens(void **state)
{
	(void)state;
	static struct server server;
	struct sender senders[THREADS] = { 0 };
	memset(&server, 0, sizeof(server));
	server.forget_every = 7;
	server.busy_every = 11;
	run(&server, senders);
	assert_int_equal(server.value, VALUE_ALL);
	assert_int_equal(server.seen_count, THREADS * FILES_EACH);
	CHECK(server.hellos > 1);
	for (int i = 0; i < THREADS; i++)
		for (int file = 0; file < FILES_EACH; file++)
			assert_int_equal(senders[i].codes[file], 0);
}

static void a_file_that_is_refused_takes_no_other_with_it(void **state)
{
	(void)state;
	static struct server server;
	struct sender senders[THREADS] = { 0 };
	memset(&server, 0, sizeof(server));
	server.reject_value = 3; /* the third thread's files begin with it */
	run(&server, senders);
	assert_int_equal(server.value, VALUE_ALL - UINT64_C(210) * FILES_EACH * 3);
	for (int i = 0; i < THREADS; i++)
		for (int file = 0; file < FILES_EACH; file++)
			assert_int_equal(senders[i].codes[file] != 0, i == 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_share_one_dictionary),
		cmocka_unit_test(nothing_is_lost_or_doubled_whatever_happens),
		cmocka_unit_test(a_file_that_is_refused_takes_no_other_with_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
