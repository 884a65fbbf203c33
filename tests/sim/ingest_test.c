/*
 * The receiving half as a whole, over real messages and a real store, under a clock that only moves
 * when told: sessions, statuses, and what happens to senders that are confused, hostile, or from
 * the future.
 */

#include "aggregator/ingest.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/refusal.h"
#include "tests/lib/test.h"

#define UNIX_NS (UINT64_C(1800000000) * NS_PER_S)
#define CALL_MS 20000

struct bench {
	struct test_dir dir;
	struct clock_virtual clock;
	struct store *store;
	struct ingest *ingest;
	struct net_server *server;
	struct net_client *client;
	bool failed;
};

static void bench_on_request(
        void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	struct bench *bench = owner;
	if (ingest_submit(bench->ingest, request, bytes, count) < 0)
		refusal_reply(request, WIRE_BUSY, 1, "full");
}

static void bench_on_failure(void *owner)
{
	((struct bench *)owner)->failed = true;
}

static void bench_open(struct bench *bench)
{
	char error[256] = "";
	*bench = (struct bench){ .dir = test_dir_new() };
	clock_virtual_init(&bench->clock, UNIX_NS);
	CHECK_OK(store_open(
	        (struct store_options){
	                .path = bench->dir.path,
	                .limits = dict_limits_default,
	                .block_cache_bytes = 8u << 20,
	                .symbols_cache_bytes = 8u << 20,
	        },
	        &bench->store, error, sizeof(error)));
	CHECK_OK(ingest_new(
	        (struct ingest_options){
	                .store = bench->store,
	                .clock = &bench->clock.clock,
	                .program = "profleet-aggregator test",
	                .queue_bytes = 32u << 20,
	                .session_memory = 64u << 20,
	                .session_nodes = 65536,
	                .push_bytes = 1u << 20,
	                .shards = 1,
	                .on_failure = bench_on_failure,
	                .owner = bench,
	        },
	        &bench->ingest));
	CHECK_OK(net_server_open(
	        (struct net_server_options){
	                .listen = "tcp://127.0.0.1:0",
	                .on_request = bench_on_request,
	                .owner = bench,
	        },
	        &bench->server));
	CHECK_OK(net_client_open(net_server_address(bench->server), &bench->client));
}

static void bench_close(struct bench *bench)
{
	net_client_free(bench->client);
	net_server_close(bench->server);
	ingest_stop(bench->ingest);
	net_server_free(bench->server, CALL_MS);
	ingest_free(bench->ingest);
	store_free(bench->store);
	test_dir_remove(&bench->dir);
}

/* One request and its reply; the opened reply's bytes live in `unpacked`. */
static struct wire_message bench_call(
        struct bench *bench, enum wire_kind kind, const struct buf *payload, struct buf *unpacked)
{
	AUTO_BUF sealed = { 0 };
	wire_seal(kind, payload, &sealed);
	assert_true(!sealed.failed);

	autofree uint8_t *reply = NULL;
	size_t count = 0;
	CHECK_OK(net_call(bench->client, sealed.bytes, sealed.count, CALL_MS, &reply, &count));
	struct wire_message message;
	buf_reset(unpacked);
	CHECK_OK(wire_open(reply, count, unpacked, &message));
	return message;
}

/* A sender: its dictionary, and what the other end knows of it. */
struct sender {
	struct bench *bench;
	uint64_t session;
	uint64_t request;
	struct dict *dict;
	struct dict_mark known;
	uint32_t role;
	uint16_t shard; /* of its sections */
};

static void sender_hello(
        struct sender *sender, uint16_t version_min, uint16_t version_max, uint32_t expected)
{
	struct wire_hello hello = {
		.version_min = version_min,
		.version_max = version_max,
		.role = sender->role,
		.uuid = { { 7 } },
		.epoch = 9,
		.host = { "host", 4 },
		.program = { "test", 4 },
	};
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	wire_put_hello(&hello, &payload);
	struct wire_message message = bench_call(sender->bench, WIRE_HELLO, &payload, &unpacked);

	if (expected != WIRE_OK) {
		struct wire_status_reply status;
		assert_true(message.kind == WIRE_STATUS);
		CHECK_OK(wire_get_status(&message.payload, &status));
		assert_true(status.status == expected && status.text.count > 0);
		return;
	}
	struct wire_hello_reply reply;
	assert_true(message.kind == WIRE_HELLO_REPLY);
	CHECK_OK(wire_get_hello_reply(&message.payload, &reply));
	assert_true(
	        reply.session != 0 && reply.version == WIRE_VERSION && reply.unix_ns == UNIX_NS);
	sender->session = reply.session;
	sender->request = 0;
	sender->known = (struct dict_mark){ 0 };
}

static struct sender sender_open(struct bench *bench, uint32_t role)
{
	struct sender sender = {
		.bench = bench, .dict = dict_new(dict_limits_default), .role = role
	};
	assert_true(sender.dict);
	/* A session starts from a fresh dict's mark. */
	AUTO(dict) fresh = dict_new(dict_limits_default);
	sender_hello(&sender, 1, 1, WIRE_OK);
	sender.known = dict_mark(fresh);
	return sender;
}

static struct batch *sender_batch(
        struct sender *sender, const char *leaf, uint64_t value, uint64_t start_ns)
{
	struct frame frame = { .kind = FRAME_MANAGED };
	struct series series = { .period = 10 };
	struct label label;
	uint32_t frame_id, node, series_id;
	CHECK_OK(dict_cstring(sender->dict, leaf, &frame.function));
	CHECK_OK(dict_frame(sender->dict, &frame, &frame_id));
	CHECK_OK(dict_node(sender->dict, DICT_NODE_ROOT, frame_id, &node));
	CHECK_OK(dict_cstring(sender->dict, "cpu", &series.type));
	CHECK_OK(dict_cstring(sender->dict, "nanoseconds", &series.unit));
	CHECK_OK(dict_cstring(sender->dict, "service", &label.name));
	CHECK_OK(dict_cstring(sender->dict, "cart", &label.value));
	CHECK_OK(dict_series(sender->dict, &series, &label, 1, &series_id));

	struct batch *batch = batch_new(sender->dict);
	assert_true(batch);
	batch->start_ns = start_ns;
	batch->duration_ns = NS_PER_S;
	CHECK_OK(batch_add_row(batch, series_id, node, value));
	CHECK_OK(batch_settle(batch));
	return batch;
}

static void sender_put(
        struct sender *sender, const struct batch *batch, uint64_t seq, struct buf *payload)
{
	struct wire_push push = {
		.session = sender->session,
		.request = sender->request + 1,
		.sections_count = batch ? 1 : 0,
	};
	wire_put_push(&push, sender->dict, sender->known, payload);
	struct wire_section section = {
		.shard = sender->shard, .uuid = { { 7 } }, .epoch = 9, .seq = seq
	};
	if (batch)
		wire_put_section(&section, batch, payload);
}

/* Status of the whole, and of the one section. */
struct outcome {
	uint32_t status;
	uint32_t section;
};

static struct outcome sender_send(struct sender *sender, const struct buf *payload)
{
	AUTO_BUF unpacked = { 0 };
	struct wire_message message = bench_call(sender->bench, WIRE_PUSH, payload, &unpacked);
	struct outcome outcome = { .section = UINT32_MAX };
	if (message.kind == WIRE_STATUS) {
		struct wire_status_reply status;
		CHECK_OK(wire_get_status(&message.payload, &status));
		outcome.status = status.status;
		return outcome;
	}
	assert_true(message.kind == WIRE_PUSH_REPLY);
	struct wire_section_status sections[WIRE_SECTIONS_MAX];
	struct wire_push_reply reply = { .sections = sections };
	CHECK_OK(wire_get_push_reply(&message.payload, &reply));
	outcome.status = reply.status;
	if (reply.sections_count > 0)
		outcome.section = reply.sections[0].status;
	return outcome;
}

static struct outcome sender_push(
        struct sender *sender, const char *leaf, uint64_t value, uint64_t start_ns, uint64_t seq)
{
	AUTO(batch) batch = sender_batch(sender, leaf, value, start_ns);
	AUTO_BUF payload = { 0 };
	sender_put(sender, batch, seq, &payload);
	struct outcome outcome = sender_send(sender, &payload);
	if (outcome.status == WIRE_OK) {
		sender->request++;
		sender->known = dict_mark(sender->dict);
	}
	return outcome;
}

struct kept {
	uint64_t samples;
	uint64_t first_start_ns;
	uint32_t batches;
};

static int kept_visit(void *owner, const struct store_stream *stream, const struct batch *batch)
{
	(void)stream;
	struct kept *kept = owner;
	if (kept->batches++ == 0)
		kept->first_start_ns = batch->start_ns;
	kept->samples += batch_samples(batch);
	return 0;
}

static struct kept bench_kept(struct bench *bench)
{
	struct kept kept = { 0 };
	char error[128];
	AUTO(selector) selector = NULL;
	CHECK_OK(selector_parse("cpu", &selector, error, sizeof(error)));
	AUTO(store_match) match = NULL;
	store_read_lock(bench->store);
	CHECK_OK(store_find_series(bench->store, selector, 0, UINT64_MAX, &match));
	CHECK_OK(store_scan(bench->store, 0, UINT64_MAX, match, kept_visit, &kept));
	store_read_unlock(bench->store);
	return kept;
}

static void a_section_counts_once_however_often_it_comes(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench);
	struct sender sender = sender_open(&bench, WIRE_ROLE_AGENT);

	assert_true(sender_push(&sender, "f", 5, UNIX_NS, 1).section == WIRE_OK);
	assert_true(sender_push(&sender, "f", 5, UNIX_NS, 1).section == WIRE_DUP);
	assert_true(sender_push(&sender, "g", 7, UNIX_NS, 2).section == WIRE_OK);

	/* The same again in a new session, as after a lost reply. */
	struct sender again = sender_open(&bench, WIRE_ROLE_AGENT);
	assert_true(sender_push(&again, "g", 7, UNIX_NS, 2).section == WIRE_DUP);
	assert_true(sender_push(&again, "h", 1, UNIX_NS, 3).section == WIRE_OK);

	assert_true(bench_kept(&bench).samples == 13);
	struct ingest_state counted = ingest_state(bench.ingest);
	assert_true(
	        counted.sections_ok == 3 && counted.sections_duplicate == 2 && counted.rows == 3);
	assert_true(!bench.failed);
	dict_free(sender.dict);
	dict_free(again.dict);
	bench_close(&bench);
}

static void a_confused_sender_is_told_to_start_again(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench);
	struct sender sender = sender_open(&bench, WIRE_ROLE_AGENT);

	struct sender stranger = sender;
	stranger.session ^= 1;
	assert_true(sender_push(&stranger, "f", 5, UNIX_NS, 1).status == WIRE_RESET);

	struct sender skipped = sender;
	skipped.request += 1;
	assert_true(sender_push(&skipped, "f", 5, UNIX_NS, 1).status == WIRE_RESET);

	/* The session itself is unharmed by both. */
	assert_true(sender_push(&sender, "f", 5, UNIX_NS, 1).section == WIRE_OK);
	assert_true(bench_kept(&bench).samples == 5);
	assert_true(ingest_state(bench.ingest).resets == 2);
	dict_free(sender.dict);
	bench_close(&bench);
}

static void a_malformed_push_costs_its_session_and_nothing_else(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench);
	struct sender sender = sender_open(&bench, WIRE_ROLE_AGENT);
	struct sender honest = sender_open(&bench, WIRE_ROLE_AGENT);

	AUTO(batch) batch = sender_batch(&sender, "f", 5, UNIX_NS);
	AUTO_BUF payload = { 0 };
	sender_put(&sender, batch, 1, &payload);
	for (size_t cut = 1; cut < payload.count; cut += 7) {
		AUTO_BUF broken = { 0 };
		buf_put(&broken, payload.bytes, payload.count - cut);
		uint32_t status = sender_send(&sender, &broken).status;
		assert_true(status == WIRE_MALFORMED || status == WIRE_RESET);
	}
	assert_true(bench_kept(&bench).batches == 0);
	assert_true(ingest_state(bench.ingest).malformed > 0);

	assert_true(sender_push(&honest, "f", 3, UNIX_NS, 1).section == WIRE_OK);
	assert_true(bench_kept(&bench).samples == 3);
	dict_free(sender.dict);
	dict_free(honest.dict);
	bench_close(&bench);
}

static void senders_of_other_times_are_told_what_to_update(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench);
	struct sender sender = { .bench = &bench, .role = WIRE_ROLE_AGENT };
	sender_hello(&sender, 2, 3, WIRE_TOO_NEW);
	sender_hello(&sender, 0, 0, WIRE_INVALID);
	sender_hello(&sender, 1, 7, WIRE_OK);
	bench_close(&bench);
}

static void a_section_of_a_foreign_shard_is_sent_elsewhere(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench);
	struct sender sender = sender_open(&bench, WIRE_ROLE_AGENT);
	sender.shard = 1; /* this aggregator has one shard, number 0 */
	struct outcome outcome = sender_push(&sender, "f", 5, UNIX_NS, 1);
	assert_int_equal(outcome.status, WIRE_OK);
	assert_int_equal(outcome.section, WIRE_NOT_OWNER);
	assert_int_equal(bench_kept(&bench).batches, 0);

	/* The session goes on, and the same number in our own shard is another section. */
	sender.shard = 0;
	assert_int_equal(sender_push(&sender, "f", 5, UNIX_NS, 1).section, WIRE_OK);
	assert_int_equal(bench_kept(&bench).samples, 5);
	dict_free(sender.dict);
	bench_close(&bench);
}

static void an_interval_from_the_future_is_kept_under_our_time(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench);
	struct sender sender = sender_open(&bench, WIRE_ROLE_AGENT);
	assert_true(sender_push(&sender, "f", 5, UNIX_NS + 3600 * NS_PER_S, 1).section == WIRE_OK);
	struct kept kept = bench_kept(&bench);
	assert_true(kept.samples == 5 && kept.first_start_ns == UNIX_NS - NS_PER_S);
	assert_true(ingest_state(bench.ingest).clock_clamped == 1);

	/* An importer says when its file is from: that is believed. */
	struct sender importer = sender_open(&bench, WIRE_ROLE_IMPORT);
	assert_true(
	        sender_push(&importer, "g", 2, UNIX_NS + 3600 * NS_PER_S, 9).section == WIRE_OK);
	assert_true(bench_kept(&bench).samples == 7);
	assert_true(ingest_state(bench.ingest).clock_clamped == 1);
	dict_free(sender.dict);
	dict_free(importer.dict);
	bench_close(&bench);
}

static void a_symbol_table_is_kept_only_when_it_can_be_read(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench);

	AUTO(symbols_builder) builder = symbols_builder_new();
	AUTO_BUF table = { 0 };
	CHECK_OK(symbols_builder_add(builder, 0x100, 0x20, "work", 4));
	CHECK_OK(symbols_builder_finish(builder, &table));

	const struct {
		const char *build_id;
		const uint8_t *bytes;
		size_t count;
		uint32_t status;
		int has;
	} cases[] = {
		{ "aa11", table.bytes, table.count, WIRE_OK, 1 },
		{ "bb22", table.bytes, table.count - 1, WIRE_REJECT, -1 },
		{ "cc33", NULL, 0, WIRE_OK, 0 }, /* nothing to be had: do not ask again */
		{ "dd\n4", table.bytes, table.count, WIRE_MALFORMED, -1 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct wire_symbols symbols = {
			.build_id = { cases[i].build_id, (uint32_t)strlen(cases[i].build_id) },
			.parts = 1,
			.total_bytes = cases[i].count,
			.bytes = cases[i].bytes,
			.count = (uint32_t)cases[i].count,
		};
		AUTO_BUF payload = { 0 };
		AUTO_BUF unpacked = { 0 };
		wire_put_symbols(&symbols, &payload);
		struct wire_message message = bench_call(&bench, WIRE_SYMBOLS, &payload, &unpacked);
		struct wire_status_reply reply;
		assert_true(message.kind == WIRE_STATUS);
		CHECK_OK(wire_get_status(&message.payload, &reply));
		assert_true(reply.status == cases[i].status);
		assert_true(store_symbols_has(bench.store, cases[i].build_id) == cases[i].has);
	}
	bench_close(&bench);
}

/* Many rows for few bytes: nodes and series in all combinations, values of one. */
static struct batch *sender_grid(struct sender *sender, uint32_t nodes, uint32_t series)
{
	struct batch *batch = batch_new(sender->dict);
	assert_true(batch);
	uint32_t type, unit, name, node = DICT_NODE_ROOT;
	CHECK_OK(dict_cstring(sender->dict, "cpu", &type));
	CHECK_OK(dict_cstring(sender->dict, "count", &unit));
	CHECK_OK(dict_cstring(sender->dict, "n", &name));
	for (uint32_t i = 0; i < nodes; i++) {
		struct frame frame = { .kind = FRAME_MANAGED, .line = i + 1 };
		uint32_t id;
		CHECK_OK(dict_frame(sender->dict, &frame, &id));
		CHECK_OK(dict_node(sender->dict, DICT_NODE_ROOT, id, &node));
	}
	for (uint32_t i = 0; i < series; i++) {
		struct label label = { .name = name };
		struct series of = { .type = type, .unit = unit, .period = 1 };
		char text[16];
		uint32_t id;
		snprintf(text, sizeof(text), "%u", i + 1);
		CHECK_OK(dict_cstring(sender->dict, text, &label.value));
		CHECK_OK(dict_series(sender->dict, &of, &label, 1, &id));
		for (uint32_t j = 0; j < nodes; j++)
			CHECK_OK(batch_add_row(batch, id, node - j, 1));
	}
	CHECK_OK(batch_settle(batch));
	batch->start_ns = UNIX_NS;
	batch->duration_ns = NS_PER_S;
	return batch;
}

static void a_message_that_would_unpack_to_too_much_is_refused(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench);
	struct sender sender = sender_open(&bench, WIRE_ROLE_AGENT);

	/* 30 MiB of zeroes are 120 KiB on the wire: legal for an envelope, and a bomb for us. */
	AUTO_BUF bomb = { 0 };
	assert_true(buf_reserve(&bomb, 30u << 20));
	memset(bomb.bytes, 0, 30u << 20);
	bomb.count = 30u << 20;
	assert_int_equal(sender_send(&sender, &bomb).status, WIRE_MALFORMED);
	assert_int_equal(ingest_state(bench.ingest).malformed, 1);

	/* Nothing of it was kept, and the session knows nothing of it. */
	assert_int_equal(sender_push(&sender, "f", 5, UNIX_NS, 1).section, WIRE_OK);
	dict_free(sender.dict);
	bench_close(&bench);
}

struct bomber {
	struct bench *bench;
	pthread_t thread;
	uint32_t seed;
	uint64_t rows;
};

static void *bomber_run(void *argument)
{
	struct bomber *bomber = argument;
	struct sender sender = sender_open(bomber->bench, WIRE_ROLE_AGENT);
	AUTO(batch) batch = sender_grid(&sender, 20000, 100);
	AUTO_BUF payload = { 0 };
	sender_put(&sender, batch, bomber->seed, &payload);
	assert_int_equal(sender_send(&sender, &payload).section, WIRE_OK);
	bomber->rows = batch->rows_count;
	dict_free(sender.dict);
	return NULL;
}

/*
 * Each of these is 4 MiB unpacked, a few dozen KiB packed, and 32 MiB of rows when decoded: all at
 * once they would be one group. Decoded memory is bounded, so the group is committed in parts, and
 * everything counts once.
 */
static void a_group_is_committed_early_when_it_holds_much(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench);
	struct bomber bombers[4] = { 0 };
	uint64_t rows = 0;
	for (size_t i = 0; i < COUNT_OF(bombers); i++) {
		bombers[i].bench = &bench;
		bombers[i].seed = (uint32_t)i + 1;
		assert_int_equal(
		        pthread_create(&bombers[i].thread, NULL, bomber_run, &bombers[i]), 0);
	}
	for (size_t i = 0; i < COUNT_OF(bombers); i++) {
		(void)pthread_join(bombers[i].thread, NULL);
		rows += bombers[i].rows;
	}
	assert_int_equal(rows, 4 * 20000 * 100);
	assert_int_equal(ingest_state(bench.ingest).rows, rows);
	assert_int_equal(bench_kept(&bench).samples, rows);
	assert_true(ingest_state(bench.ingest).groups >= 2);
	bench_close(&bench);
}

/* A sender that brings ever new names is told to start again; its session stays within bounds. */
static void a_session_full_of_names_is_started_again(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench);
	struct sender sender = sender_open(&bench, WIRE_ROLE_AGENT);
	char name[4096];
	uint32_t pushes = 0;
	struct outcome outcome = { 0 };
	for (uint32_t i = 0; outcome.status == WIRE_OK && i < 200; i++) {
		for (uint32_t j = 0; j < 200; j++) {
			uint32_t id;
			memset(name, 'a' + (int)(j % 26), sizeof(name));
			snprintf(name, 32, "%u-%u", i, j);
			name[strlen(name)] = '-';
			CHECK_OK(dict_string(sender.dict, name, sizeof(name), &id));
		}
		outcome = sender_push(&sender, "f", 1, UNIX_NS, i + 1);
		pushes += outcome.status == WIRE_OK;
	}
	/* 65536 nodes, 256 bytes each: 16 MiB of names, 800 KiB with each push. */
	assert_int_equal(outcome.status, WIRE_RESET);
	assert_true(pushes == 20);
	assert_true(ingest_state(bench.ingest).session_memory < 64u << 20);

	struct sender again = sender_open(&bench, WIRE_ROLE_AGENT);
	assert_int_equal(sender_push(&again, "f", 1, UNIX_NS, pushes + 1).section, WIRE_OK);
	assert_int_equal(bench_kept(&bench).samples, pushes + 1);
	dict_free(sender.dict);
	dict_free(again.dict);
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_section_counts_once_however_often_it_comes),
		cmocka_unit_test(a_confused_sender_is_told_to_start_again),
		cmocka_unit_test(a_malformed_push_costs_its_session_and_nothing_else),
		cmocka_unit_test(senders_of_other_times_are_told_what_to_update),
		cmocka_unit_test(a_section_of_a_foreign_shard_is_sent_elsewhere),
		cmocka_unit_test(an_interval_from_the_future_is_kept_under_our_time),
		cmocka_unit_test(a_symbol_table_is_kept_only_when_it_can_be_read),
		cmocka_unit_test(a_message_that_would_unpack_to_too_much_is_refused),
		cmocka_unit_test(a_group_is_committed_early_when_it_holds_much),
		cmocka_unit_test(a_session_full_of_names_is_started_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
