/*
 * query_pool when nobody waits for the answer any more: what waits is not begun, what runs ends and
 * is not kept, and the thread is free for the next. One thread; the question about the status is
 * the one whose answer a test can hold back.
 */

#include "aggregator/query_pool.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/buf.h"
#include "profile/wire.h"
#include "tests/lib/test.h"

#define CALL_MS       20000 /* never waited for when all is well */
#define REQUESTS_MAX  8
#define LONG_ANSWER   (3u << 20) /* more than a page */
#define RESULT_MEMORY (64u << 20)

struct desk {
	struct query_pool *pool;
	struct net_server *server;
	pthread_mutex_t lock; /* over what follows */
	pthread_cond_t changed;
	bool is_held;     /* answers are */
	uint32_t begun;   /* questions */
	uint32_t arrived; /* requests */
	struct net_request *requests[REQUESTS_MAX];
};

static void desk_on_request(
        void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	struct desk *desk = owner;
	pthread_mutex_lock(&desk->lock);
	CHECK(desk->arrived < REQUESTS_MAX);
	desk->requests[desk->arrived] = request;
	CHECK_OK(query_pool_submit(desk->pool, request, bytes, count));
	desk->arrived++;
	pthread_cond_broadcast(&desk->changed);
	pthread_mutex_unlock(&desk->lock);
}

static void desk_on_status(void *owner, struct buf *to)
{
	static const char zeros[LONG_ANSWER];
	struct desk *desk = owner;
	pthread_mutex_lock(&desk->lock);
	desk->begun++;
	pthread_cond_broadcast(&desk->changed);
	while (desk->is_held)
		pthread_cond_wait(&desk->changed, &desk->lock);
	pthread_mutex_unlock(&desk->lock);
	buf_put(to, zeros, sizeof(zeros));
}

static void desk_wait(struct desk *desk, const uint32_t *number, uint32_t at_least)
{
	pthread_mutex_lock(&desk->lock);
	while (*number < at_least)
		pthread_cond_wait(&desk->changed, &desk->lock);
	pthread_mutex_unlock(&desk->lock);
}

static void desk_hold(struct desk *desk, bool held)
{
	pthread_mutex_lock(&desk->lock);
	desk->is_held = held;
	pthread_cond_broadcast(&desk->changed);
	pthread_mutex_unlock(&desk->lock);
}

static void desk_open(struct desk *desk)
{
	*desk = (struct desk){ .lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER };
	CHECK_OK(query_pool_new(
	        (struct query_pool_options){
	                .clock = clock_real(),
	                .threads = 1,
	                .query_memory = RESULT_MEMORY,
	                .result_memory = RESULT_MEMORY,
	                .name_memory = 1u << 20,
	                .status = desk_on_status,
	                .owner = desk,
	        },
	        &desk->pool));
	CHECK_OK(net_server_open(
	        (struct net_server_options){
	                .listen = "tcp://127.0.0.1:0",
	                .on_request = desk_on_request,
	                .owner = desk,
	        },
	        &desk->server));
}

static void desk_close(struct desk *desk)
{
	net_server_close(desk->server);
	query_pool_stop(desk->pool);
	net_server_free(desk->server, CALL_MS);
	query_pool_free(desk->pool);
}

static void put_question(struct buf *sealed)
{
	AUTO_BUF payload = { 0 };
	wire_put_query(&(struct wire_query){ .question = WIRE_ASK_STATUS }, &payload);
	wire_seal(WIRE_QUERY, &payload, sealed);
	CHECK(!sealed->failed);
}

/* A client with its one question under way. */
struct asker {
	struct net_client *client;
	pthread_t thread;
	enum wire_kind kind; /* of the reply */
};

static void *asker_run(void *argument)
{
	struct asker *asker = argument;
	AUTO_BUF sealed = { 0 };
	AUTO_BUF unpacked = { .limit = NET_MESSAGE_BYTES_MAX };
	autofree uint8_t *reply = NULL;
	size_t count = 0;
	struct wire_message message;
	put_question(&sealed);
	if (net_call(asker->client, sealed.bytes, sealed.count, CALL_MS, &reply, &count) == 0 &&
	        wire_open(reply, count, &unpacked, &message) == 0)
		asker->kind = message.kind;
	return NULL;
}

static void asker_ask(struct asker *asker, struct desk *desk)
{
	*asker = (struct asker){ 0 };
	CHECK_OK(net_client_open(net_server_address(desk->server), &asker->client));
	CHECK_OK(pthread_create(&asker->thread, NULL, asker_run, asker));
}

static void asker_end(struct asker *asker)
{
	CHECK_OK(pthread_join(asker->thread, NULL));
	net_client_free(asker->client);
}

/* A client that can leave in the middle of its question: the socket of one. */
static int leaver_ask(struct desk *desk)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(
		        strrchr(net_server_address(desk->server), ':') + 1, NULL, 10)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);

	/* The eight bytes of a REQ, the length of the message, the id of the request. */
	AUTO_BUF sealed = { 0 };
	AUTO_BUF sent = { 0 };
	put_question(&sealed);
	buf_put(&sent,
	        "\0SP\0\0\x30\0\0"
	        "\0\0\0\0\0\0",
	        14);
	uint8_t length[2] = { (uint8_t)((sealed.count + 4) >> 8), (uint8_t)(sealed.count + 4) };
	buf_put(&sent, length, sizeof(length));
	buf_put(&sent, "\x80\0\0\1", 4);
	buf_put(&sent, sealed.bytes, sealed.count);
	CHECK(!sent.failed);
	assert_int_equal(send(fd, sent.bytes, sent.count, MSG_NOSIGNAL), sent.count);
	return fd;
}

/* Returns once the server knows. */
static void leaver_leave(int fd, const struct net_request *request)
{
	close(fd);
	while (!__atomic_load_n(net_request_cancelled(request), __ATOMIC_RELAXED))
		sched_yield();
}

static void question_that_waits_is_never_begun_once_its_client_left(void **state)
{
	(void)state;
	struct desk desk;
	struct asker first, third;
	desk_open(&desk);
	desk_hold(&desk, true);
	asker_ask(&first, &desk);
	desk_wait(&desk, &desk.begun, 1);
	int second = leaver_ask(&desk);
	desk_wait(&desk, &desk.arrived, 2);
	struct query_pool_state held = query_pool_state(desk.pool);
	assert_int_equal(held.running, 1);
	assert_int_equal(held.waiting, 1);
	leaver_leave(second, desk.requests[1]);

	desk_hold(&desk, false);
	asker_end(&first);
	assert_int_equal(first.kind, WIRE_PAGE);
	asker_ask(&third, &desk);
	asker_end(&third);
	assert_int_equal(third.kind, WIRE_PAGE);

	struct query_pool_state ended = query_pool_state(desk.pool);
	assert_int_equal(desk.begun, 2);
	assert_int_equal(ended.cancelled, 1);
	assert_int_equal(ended.answered, 2);
	assert_int_equal(ended.refused, 0);
	assert_int_equal(ended.running, 0);
	desk_close(&desk);
}

static void answer_that_nobody_waits_for_is_not_kept(void **state)
{
	(void)state;
	struct desk desk;
	struct asker second;
	desk_open(&desk);
	desk_hold(&desk, true);
	int first = leaver_ask(&desk);
	desk_wait(&desk, &desk.begun, 1);
	leaver_leave(first, desk.requests[0]);

	desk_hold(&desk, false);
	asker_ask(&second, &desk);
	asker_end(&second);
	assert_int_equal(second.kind, WIRE_PAGE);

	struct query_pool_state ended = query_pool_state(desk.pool);
	assert_int_equal(ended.cancelled, 1);
	assert_int_equal(ended.answered, 1);
	assert_int_equal(ended.results, 1); /* of the second alone */
	desk_close(&desk);
}

static struct wire_progress ask_progress(struct desk *desk, uint64_t ticket)
{
	AUTO_BUF payload = { 0 };
	AUTO_BUF sealed = { 0 };
	AUTO_BUF unpacked = { .limit = NET_MESSAGE_BYTES_MAX };
	AUTO(net_client) client = NULL;
	autofree uint8_t *reply = NULL;
	size_t count = 0;
	struct wire_message message;
	struct wire_page page;
	struct wire_progress progress;
	wire_put_query(
	        &(struct wire_query){ .question = WIRE_ASK_PROGRESS, .ticket = ticket }, &payload);
	wire_seal(WIRE_QUERY, &payload, &sealed);
	CHECK_OK(net_client_open(net_server_address(desk->server), &client));
	CHECK_OK(net_call(client, sealed.bytes, sealed.count, CALL_MS, &reply, &count));
	CHECK_OK(wire_open(reply, count, &unpacked, &message));
	assert_int_equal(message.kind, WIRE_PAGE);
	CHECK_OK(wire_get_page(&message.payload, &page));
	struct reader from = reader_of(page.bytes, page.count);
	CHECK_OK(wire_get_progress(&from, &progress));
	return progress;
}

static void how_far_it_is_is_told_while_all_threads_are_busy(void **state)
{
	(void)state;
	struct desk desk;
	struct asker first;
	desk_open(&desk);
	desk_hold(&desk, true);
	asker_ask(&first, &desk);
	desk_wait(&desk, &desk.begun, 1);
	/* Nothing is known of tickets that are nobody's, and of questions that have none. */
	for (uint64_t ticket = 0; ticket < 3; ticket++) {
		struct wire_progress progress = ask_progress(&desk, ticket);
		CHECK(progress.done_ns == 0 && progress.total_ns == 0);
	}
	assert_int_equal(query_pool_state(desk.pool).running, 1);
	desk_hold(&desk, false);
	asker_end(&first);
	assert_int_equal(first.kind, WIRE_PAGE);
	desk_close(&desk);
}

static void *stop_pool(void *pool)
{
	query_pool_stop(pool);
	return NULL;
}

static void end_of_the_pool_cancels_what_runs(void **state)
{
	(void)state;
	struct desk desk;
	struct asker first;
	pthread_t stopper;
	desk_open(&desk);
	desk_hold(&desk, true);
	asker_ask(&first, &desk);
	desk_wait(&desk, &desk.begun, 1);
	CHECK_OK(pthread_create(&stopper, NULL, stop_pool, desk.pool));
	while (!__atomic_load_n(net_request_cancelled(desk.requests[0]), __ATOMIC_RELAXED))
		sched_yield();
	desk_hold(&desk, false);
	CHECK_OK(pthread_join(stopper, NULL));
	asker_end(&first);
	assert_int_equal(first.kind, WIRE_STATUS);
	assert_int_equal(query_pool_state(desk.pool).cancelled, 1);
	desk_close(&desk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(question_that_waits_is_never_begun_once_its_client_left),
		cmocka_unit_test(answer_that_nobody_waits_for_is_not_kept),
		cmocka_unit_test(how_far_it_is_is_told_while_all_threads_are_busy),
		cmocka_unit_test(end_of_the_pool_cancels_what_runs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
