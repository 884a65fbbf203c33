/*
 * shipper: threads, the inbox, symbols and the end, against an aggregator in memory; and once over
 * the real network. What delivery decides is in delivery_test.
 */

#include "agent/shipper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "agent/build_id.h"
#include "agent/symbolizer.h"
#include "core/log.h"
#include "core/net.h"
#include "tests/unit/agent/fake_aggregator.h"

/* The fake behind a lock, because a shipper has two threads; and a gate that holds calls back. */
struct shared_fake {
	struct shipper_transport transport;
	struct fake_aggregator *fake;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool closed; /* calls wait until it is open */
	uint64_t calls;
};

static int shared_call(struct shipper_transport *transport, const uint8_t *bytes, size_t count,
        uint32_t timeout_ms, uint8_t **ret_bytes, size_t *ret_count)
{
	struct shared_fake *shared = (struct shared_fake *)transport;

	pthread_mutex_lock(&shared->lock);
	shared->calls++;
	pthread_cond_broadcast(&shared->changed);
	while (shared->closed)
		pthread_cond_wait(&shared->changed, &shared->lock);
	int result = shared->fake->transport.call(
	        &shared->fake->transport, bytes, count, timeout_ms, ret_bytes, ret_count);
	pthread_cond_broadcast(&shared->changed);
	pthread_mutex_unlock(&shared->lock);
	return result;
}

static void shared_init(struct shared_fake *shared)
{
	memset(shared, 0, sizeof(*shared));
	shared->transport.call = shared_call;
	shared->fake = malloc(sizeof(*shared->fake));
	assert_non_null(shared->fake);
	fake_init(shared->fake, 1);
	pthread_mutex_init(&shared->lock, NULL);
	pthread_cond_init(&shared->changed, NULL);
}

static void shared_fini(struct shared_fake *shared)
{
	fake_fini(shared->fake);
	free(shared->fake);
	pthread_cond_destroy(&shared->changed);
	pthread_mutex_destroy(&shared->lock);
}

#define AUTO_SHARED __attribute__((cleanup(shared_fini))) struct shared_fake

static void shared_set_closed(struct shared_fake *shared, bool closed)
{
	pthread_mutex_lock(&shared->lock);
	shared->closed = closed;
	pthread_cond_broadcast(&shared->changed);
	pthread_mutex_unlock(&shared->lock);
}

static void shared_wait_for_calls(struct shared_fake *shared, uint64_t calls)
{
	pthread_mutex_lock(&shared->lock);
	while (shared->calls < calls)
		pthread_cond_wait(&shared->changed, &shared->lock);
	pthread_mutex_unlock(&shared->lock);
}

static struct shipper *open_shipper(struct shipper_transport *transport, const char *address,
        const char *path, struct shipper_callbacks callbacks)
{
	struct shipper_options options = {
		.address = address,
		.host = "web-1",
		.program = "test",
		.tenant = "acme",
		.uuid = { { 7 } },
		.epoch = 1000,
		.spool_path = path,
		.spool_bytes_max = 32 << 20,
		.callbacks = callbacks,
		.transport = transport,
		.seed = 1,
	};
	struct shipper *shipper = NULL;
	char error[256] = "";

	if (shipper_new(options, &shipper, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	return shipper;
}

static uint64_t add(struct shipper *shipper, uint64_t interval, uint64_t count, uint64_t lost)
{
	AUTO_BATCH made = made_simple(interval, "cart", count, lost);

	shipper_add(shipper, made.batch);
	return count;
}

static void what_was_added_is_there_after_a_stop(void **state)
{
	AUTO_SHARED shared;
	shared_init(&shared);
	AUTO(shipper) shipper = open_shipper(
	        &shared.transport, "tcp://fake", NULL, (struct shipper_callbacks){ 0 });
	uint64_t added = 0;

	for (uint64_t i = 0; i < 50; i++)
		added += add(shipper, i, i + 1, 1);
	assert_int_equal(shipper_stop(shipper, 60 * NS_PER_S), 0);
	assert_int_equal(shared.fake->samples, added);
	assert_int_equal(shared.fake->lost, 50);
	struct shipper_state now = shipper_state(shipper);
	assert_int_equal(now.samples_sent, added);
	assert_int_equal(now.spool.samples, 0);
}

static void an_unreachable_aggregator_does_not_hold_up_the_caller(void **state)
{
	AUTO_SHARED shared;
	shared_init(&shared);
	shared.closed = true;
	AUTO(shipper) shipper = open_shipper(
	        &shared.transport, "tcp://fake", NULL, (struct shipper_callbacks){ 0 });
	uint64_t added = 0;

	/* The thread hangs in its first call, so nothing leaves the inbox. */
	shared_wait_for_calls(&shared, 1);
	for (uint64_t i = 0; i < 200; i++)
		added += add(shipper, i, 10, 0);
	struct shipper_state full = shipper_state(shipper);
	assert_int_equal(full.spool.samples + full.lost[LOSS_SPOOL_FULL], added);
	assert_true(full.lost[LOSS_SPOOL_FULL] > 0);
	assert_true(full.spool.samples > 0);

	shared_set_closed(&shared, false);
	assert_int_equal(shipper_stop(shipper, 60 * NS_PER_S), 0);
	struct shipper_state now = shipper_state(shipper);
	assert_int_equal(now.samples_sent, full.spool.samples);
	assert_int_equal(now.lost[LOSS_SPOOL_FULL], full.lost[LOSS_SPOOL_FULL]);
	assert_int_equal(shared.fake->samples, full.spool.samples);
	assert_int_equal(shared.fake->lost_by[LOSS_SPOOL_FULL], full.lost[LOSS_SPOOL_FULL]);
}

static void a_stop_without_an_aggregator_ends_at_its_deadline(void **state)
{
	AUTO_SHARED shared;
	shared_init(&shared);
	shared.fake->drop_request = 100;
	AUTO(shipper) shipper = open_shipper(
	        &shared.transport, "tcp://fake", NULL, (struct shipper_callbacks){ 0 });

	add(shipper, 1, 10, 0);
	assert_int_equal(shipper_stop(shipper, 50 * NS_PER_MS), 10);
	assert_int_equal(shipper_state(shipper).spool.samples, 10);
	/* After the end everything is a loss, and counted. */
	add(shipper, 2, 7, 0);
	assert_int_equal(shipper_state(shipper).lost[LOSS_SPOOL_FULL], 7);
}

static void a_folder_makes_the_end_quick_and_keeps_what_waits(void **state)
{
	TEST_DIR(dir);
	AUTO_SHARED shared;
	shared_init(&shared);
	shared.fake->drop_request = 100;
	struct shipper *shipper = open_shipper(
	        &shared.transport, "tcp://fake", dir.path, (struct shipper_callbacks){ 0 });

	add(shipper, 1, 10, 0);
	/* Long enough to fail the test by its time limit if it were waited for. */
	assert_int_equal(shipper_stop(shipper, 3600 * NS_PER_S), 0);
	shipper_free(shipper);

	shared.fake->drop_request = 0;
	shipper = open_shipper(
	        &shared.transport, "tcp://fake", dir.path, (struct shipper_callbacks){ 0 });
	assert_int_equal(shipper_state(shipper).samples_inherited, 10);
	assert_int_equal(shipper_stop(shipper, 60 * NS_PER_S), 0);
	shipper_free(shipper);
	assert_int_equal(shared.fake->samples, 10);
}

static void an_address_that_is_none_is_refused(void **state)
{
	struct shipper_options options = {
		.address = "ftp://x", .epoch = 1, .spool_bytes_max = 1000
	};
	struct shipper *shipper = NULL;
	char error[256] = "";

	assert_int_equal(shipper_new(options, &shipper, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "ftp://x"));
	assert_null(shipper);
}

static int open_self(void *owner, const char *build_id)
{
	if (!strcmp(build_id, "missing"))
		return -ENOENT;
	if (!strcmp(build_id, "text"))
		return open("CMakeLists.txt", O_RDONLY | O_CLOEXEC);
	return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

/* Asks for one file's symbols with every push, and ends. */
static void ask_for(struct shared_fake *shared, const char *build_id, uint64_t pushes)
{
	struct shipper_callbacks callbacks = { .open_build_id = open_self };

	shared->fake->wanted = build_id;
	AUTO(shipper) shipper = open_shipper(&shared->transport, "tcp://fake", NULL, callbacks);
	for (uint64_t i = 0; i < pushes; i++) {
		add(shipper, i, 1, 0);
		/* HELLO is the first call; each batch alone is one more at least. */
		shared_wait_for_calls(shared, i + 2);
	}
	assert_int_equal(shipper_stop(shipper, 120 * NS_PER_S), 0);
}

static void symbols_are_uploaded_when_asked_for(void **state)
{
	AUTO_SHARED shared;
	shared_init(&shared);
	AUTO(symbols) symbols = NULL;

	shared.fake->symbols_busy = 2;
	ask_for(&shared, "self", 1);
	assert_int_equal(shared.fake->symbols_count, 1);
	assert_string_equal(shared.fake->symbols[0].build_id, "self");
	CHECK_OK(symbols_open(shared.fake->symbols[0].table.bytes,
	        shared.fake->symbols[0].table.count, &symbols));
	assert_true(symbols_count(symbols) > 100);
}

static void what_was_answered_is_not_answered_again_at_once(void **state)
{
	AUTO_SHARED shared;
	shared_init(&shared);

	ask_for(&shared, "self", 5);
	assert_int_equal(shared.fake->symbols_count, 1);
}

static void the_vdso_needs_no_file(void **state)
{
	AUTO_SHARED shared;
	shared_init(&shared);
	char build_id[BUILD_ID_TEXT_MAX];
	const void *image;
	size_t bytes;

	CHECK_OK(build_id_of_vdso(build_id, &image, &bytes));
	ask_for(&shared, build_id, 1);
	assert_int_equal(shared.fake->symbols_count, 1);
	assert_true(shared.fake->symbols[0].table.count > 0);
}

static void a_file_without_symbols_is_answered_by_an_empty_table(void **state)
{
	AUTO_SHARED shared;
	shared_init(&shared);

	ask_for(&shared, "text", 1);
	assert_int_equal(shared.fake->symbols_count, 1);
	assert_int_equal(shared.fake->symbols[0].table.count, 0);
}

static void a_file_that_is_not_here_is_not_answered(void **state)
{
	AUTO_SHARED shared;
	shared_init(&shared);

	ask_for(&shared, "missing", 1);
	assert_int_equal(shared.fake->symbols_count, 0);
}

/* ---- over nng ---- */

static void answer_request(
        void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	struct shared_fake *shared = owner;
	uint8_t *reply = NULL;
	size_t reply_count = 0;

	pthread_mutex_lock(&shared->lock);
	fake_answer(shared->fake, bytes, count, &reply, &reply_count);
	pthread_mutex_unlock(&shared->lock);
	net_reply(request, reply, reply_count);
	free(reply);
}

static void over_the_network_it_is_the_same(void **state)
{
	AUTO_SHARED shared;
	shared_init(&shared);
	struct net_server *server = NULL;
	struct net_server_options options = {
		.listen = "tcp://127.0.0.1:0",
		.on_request = answer_request,
		.owner = &shared,
	};
	uint64_t added = 0;

	CHECK_OK(net_server_open(options, &server));
	struct shipper *shipper = open_shipper(
	        NULL, net_server_address(server), NULL, (struct shipper_callbacks){ 0 });
	for (uint64_t i = 0; i < 10; i++)
		added += add(shipper, i, 10, 0);
	assert_int_equal(shipper_stop(shipper, 60 * NS_PER_S), 0);
	assert_int_equal(shared.fake->samples, added);
	shipper_free(shipper);
	net_server_close(server);
	net_server_free(server, 10000);
}

static int stop_symbolizer(void **state)
{
	symbolizer_stop();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_added_is_there_after_a_stop),
		cmocka_unit_test(an_unreachable_aggregator_does_not_hold_up_the_caller),
		cmocka_unit_test(a_stop_without_an_aggregator_ends_at_its_deadline),
		cmocka_unit_test(a_folder_makes_the_end_quick_and_keeps_what_waits),
		cmocka_unit_test(an_address_that_is_none_is_refused),
		cmocka_unit_test(symbols_are_uploaded_when_asked_for),
		cmocka_unit_test(what_was_answered_is_not_answered_again_at_once),
		cmocka_unit_test(the_vdso_needs_no_file),
		cmocka_unit_test(a_file_without_symbols_is_answered_by_an_empty_table),
		cmocka_unit_test(a_file_that_is_not_here_is_not_answered),
		cmocka_unit_test(over_the_network_it_is_the_same),
	};
	log_setup("shipper-test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (symbolizer_start() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, stop_symbolizer);
}
