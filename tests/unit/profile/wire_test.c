/*
 * Messages arrive as they were put, or are refused: cut, flipped, prolonged, too new, too big. A
 * session's dictionary follows over many pushes. Version 1 is fixed byte by byte in tests/golden.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/compress.h"
#include "core/hash.h"
#include "profile/wire.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/golden_hex.h"
#include "tests/unit/profile/random_profile.h"

#define GOLDEN "tests/golden/wire_v1.hex"

static struct wire_text text(const char *words)
{
	return (struct wire_text){ .bytes = words, .count = (uint32_t)strlen(words) };
}

static void check_text(struct wire_text actual, const char *expected)
{
	assert_int_equal(actual.count, strlen(expected));
	assert_memory_equal(actual.bytes, expected, actual.count);
}

/* The messages of tests/golden/wire_v1.hex, described. */
static const struct wire_uuid example_uuid = {
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
};

static void put_hello(struct buf *payload)
{
	struct wire_hello hello = {
		.version_min = 1,
		.version_max = 1,
		.features = 0,
		.role = WIRE_ROLE_AGENT,
		.uuid = example_uuid,
		.epoch = 0x1122334455667788,
		.host = text("web-1"),
		.program = text("profleet-agent 0.1.0"),
		.tenant = text(""),
	};
	wire_put_hello(&hello, payload);
}

static int get_hello(struct reader *payload)
{
	struct wire_hello hello;
	int r = wire_get_hello(payload, &hello);
	if (r < 0)
		return r;
	assert_int_equal(hello.version_min, 1);
	assert_int_equal(hello.version_max, 1);
	assert_int_equal(hello.features, 0);
	assert_int_equal(hello.role, WIRE_ROLE_AGENT);
	assert_memory_equal(&hello.uuid, &example_uuid, sizeof(example_uuid));
	assert_int_equal(hello.epoch, 0x1122334455667788);
	check_text(hello.host, "web-1");
	check_text(hello.program, "profleet-agent 0.1.0");
	check_text(hello.tenant, "");
	return 0;
}

static void put_hello_reply(struct buf *payload)
{
	struct wire_hello_reply reply = {
		.version = 1,
		.features = 0,
		.session = 0x8877665544332211,
		.shards = 256,
		.map_version = 3,
		.push_bytes_max = 8 << 20,
		.nodes_max = 1 << 20,
		.unix_ns = UINT64_C(1700000000000000000),
		.program = text("profleet-aggregator 0.1.0"),
	};
	wire_put_hello_reply(&reply, payload);
}

static int get_hello_reply(struct reader *payload)
{
	struct wire_hello_reply reply;
	int r = wire_get_hello_reply(payload, &reply);
	if (r < 0)
		return r;
	assert_int_equal(reply.version, 1);
	assert_int_equal(reply.features, 0);
	assert_int_equal(reply.session, 0x8877665544332211);
	assert_int_equal(reply.shards, 256);
	assert_int_equal(reply.map_version, 3);
	assert_int_equal(reply.push_bytes_max, 8 << 20);
	assert_int_equal(reply.nodes_max, 1 << 20);
	assert_int_equal(reply.unix_ns, UINT64_C(1700000000000000000));
	check_text(reply.program, "profleet-aggregator 0.1.0");
	return 0;
}

/* One managed function, sampled 5 times; and a section that only says what was lost. */
static void put_push(struct buf *payload)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	AUTO(batch) lost = batch_new(dict);
	uint32_t cpu, count, name, frame, node, series;
	CHECK_OK(dict_cstring(dict, "cpu", &cpu));
	CHECK_OK(dict_cstring(dict, "count", &count));
	CHECK_OK(dict_cstring(dict, "main", &name));
	CHECK_OK(dict_frame(
	        dict, &(struct frame){ .kind = FRAME_MANAGED, .function = name }, &frame));
	CHECK_OK(dict_node(dict, DICT_NODE_ROOT, frame, &node));
	struct series described = { .type = cpu, .unit = count, .period = 1 };
	CHECK_OK(dict_series(dict, &described, NULL, 0, &series));
	batch->start_ns = 1000;
	batch->duration_ns = 200;
	CHECK_OK(batch_add_row(batch, series, node, 5));
	CHECK_OK(batch_add_coverage(batch, series, 200));
	CHECK_OK(batch_add_loss(lost, SERIES_NONE, LOSS_SPOOL_FULL, 6));

	struct wire_push push = {
		.session = 0x8877665544332211,
		.request = 1,
		.state = { 49000, 11, 5, 0, 0, 2000000, 4 << 20, { 0, 1, 2, 0, 0, 0, 0, 0, 3 } },
		.sections_count = 2,
	};
	struct wire_section sections[2] = {
		{ .shard = 7, .uuid = example_uuid, .epoch = 0x1122334455667788, .seq = 1 },
		{ .shard = 255, .uuid = example_uuid, .epoch = 0x1122334455667788, .seq = 300 },
	};
	wire_put_push(&push, dict, (struct dict_mark){ 0 }, payload);
	wire_put_section(&sections[0], batch, payload);
	wire_put_section(&sections[1], lost, payload);
}

static int get_push(struct reader *payload)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	struct wire_push push;
	struct wire_section section;
	struct reader delta;
	int r = wire_get_push(payload, &push, &delta);
	if (r < 0)
		return r;
	assert_int_equal(push.session, 0x8877665544332211);
	assert_int_equal(push.request, 1);
	assert_int_equal(push.state.hz_milli, 49000);
	assert_int_equal(push.state.samples_taken, 11);
	assert_int_equal(push.state.samples_sent, 5);
	assert_int_equal(push.state.cpu_ns, 2000000);
	assert_int_equal(push.state.rss_bytes, 4 << 20);
	assert_int_equal(push.state.lost[LOSS_PERF_LOST], 2);
	assert_int_equal(push.state.lost[LOSS_LATE], 3);
	assert_int_equal(push.sections_count, 2);
	CHECK_OK(dict_decode(dict, &delta));
	assert_int_equal(reader_left(&delta), 0);

	CHECK_OK(wire_get_section(payload, &section));
	assert_int_equal(section.shard, 7);
	assert_int_equal(section.seq, 1);
	assert_int_equal(section.epoch, 0x1122334455667788);
	assert_memory_equal(&section.uuid, &example_uuid, sizeof(example_uuid));
	CHECK_OK(batch_decode(batch, &section.batch));
	assert_int_equal(reader_left(&section.batch), 0);
	assert_int_equal(batch_samples(batch), 5);
	assert_string_equal(dict_text(dict, dict_get_frame(dict, 0).function), "main");

	batch_reset(batch);
	CHECK_OK(wire_get_section(payload, &section));
	assert_int_equal(section.shard, 255);
	assert_int_equal(section.seq, 300);
	CHECK_OK(batch_decode(batch, &section.batch));
	assert_int_equal(batch_lost(batch), 6);
	assert_int_equal(reader_left(payload), 0);
	CHECK(wire_get_section(payload, &section) == -EBADMSG);
	return 0;
}

static void put_push_reply(struct buf *payload)
{
	struct wire_section_status sections[] = {
		{ .shard = 7, .seq = 1, .status = WIRE_OK },
		{ .shard = 255,
		        .seq = 300,
		        .status = WIRE_BUSY,
		        .retry_ms = 250,
		        .reason = text("full") },
	};
	struct wire_push_reply reply = {
		.status = WIRE_OK,
		.sections_count = 2,
		.sections = sections,
		.wanted_count = 1,
		.wanted = { text("1f2e") },
	};
	wire_put_push_reply(&reply, payload);
}

static int get_push_reply(struct reader *payload)
{
	static struct wire_section_status sections[WIRE_SECTIONS_MAX];
	struct wire_push_reply reply = { .sections = sections };
	int r = wire_get_push_reply(payload, &reply);
	if (r < 0)
		return r;
	assert_int_equal(reply.status, WIRE_OK);
	assert_int_equal(reply.retry_ms, 0);
	check_text(reply.reason, "");
	assert_int_equal(reply.sections_count, 2);
	assert_ptr_equal(reply.sections, sections);
	assert_int_equal(sections[0].shard, 7);
	assert_int_equal(sections[0].seq, 1);
	assert_int_equal(sections[0].status, WIRE_OK);
	assert_int_equal(sections[1].shard, 255);
	assert_int_equal(sections[1].seq, 300);
	assert_int_equal(sections[1].status, WIRE_BUSY);
	assert_int_equal(sections[1].retry_ms, 250);
	check_text(sections[1].reason, "full");
	assert_int_equal(reply.wanted_count, 1);
	check_text(reply.wanted[0], "1f2e");
	return 0;
}

static void put_symbols(struct buf *payload)
{
	struct wire_symbols symbols = {
		.build_id = text("1f2e"),
		.part = 1,
		.parts = 3,
		.total_bytes = 1000,
		.bytes = (const uint8_t *)"abc",
		.count = 3,
	};
	wire_put_symbols(&symbols, payload);
}

static int get_symbols(struct reader *payload)
{
	struct wire_symbols symbols;
	int r = wire_get_symbols(payload, &symbols);
	if (r < 0)
		return r;
	check_text(symbols.build_id, "1f2e");
	assert_int_equal(symbols.part, 1);
	assert_int_equal(symbols.parts, 3);
	assert_int_equal(symbols.total_bytes, 1000);
	assert_int_equal(symbols.count, 3);
	assert_memory_equal(symbols.bytes, "abc", 3);
	return 0;
}

static void put_status(struct buf *payload)
{
	struct wire_status_reply status = {
		.status = WIRE_RESET,
		.retry_ms = 0,
		.text = text("session is unknown"),
	};
	wire_put_status(&status, payload);
}

static int get_status(struct reader *payload)
{
	struct wire_status_reply status;
	int r = wire_get_status(payload, &status);
	if (r < 0)
		return r;
	assert_int_equal(status.status, WIRE_RESET);
	assert_int_equal(status.retry_ms, 0);
	check_text(status.text, "session is unknown");
	return 0;
}

static void put_query(struct buf *payload)
{
	struct wire_query query = {
		.question = WIRE_ASK_PROFILE,
		.level = 1,
		.group = WIRE_GROUP_INSTANCE,
		.sides_count = 2,
		.sides = { { text("cpu{version=\"1\"}"), 1000, 2000 },
		        { text("cpu"), 2000, 3000 } },
		.label = text(""),
	};
	wire_put_query(&query, payload);
}

static int get_query(struct reader *payload)
{
	struct wire_query query;
	int r = wire_get_query(payload, &query);
	if (r < 0)
		return r;
	assert_int_equal(query.question, WIRE_ASK_PROFILE);
	assert_int_equal(query.level, 1);
	assert_int_equal(query.group, WIRE_GROUP_INSTANCE);
	assert_int_equal(query.sides_count, 2);
	check_text(query.sides[0].selector, "cpu{version=\"1\"}");
	assert_int_equal(query.sides[0].from_ns, 1000);
	assert_int_equal(query.sides[0].to_ns, 2000);
	check_text(query.sides[1].selector, "cpu");
	assert_int_equal(query.sides[1].to_ns, 3000);
	check_text(query.label, "");
	return 0;
}

static void put_fetch(struct buf *payload)
{
	wire_put_fetch(&(struct wire_fetch){ .query = 0xabcdef, .offset = 1 << 20 }, payload);
}

static int get_fetch(struct reader *payload)
{
	struct wire_fetch fetch;
	int r = wire_get_fetch(payload, &fetch);
	if (r < 0)
		return r;
	assert_int_equal(fetch.query, 0xabcdef);
	assert_int_equal(fetch.offset, 1 << 20);
	return 0;
}

static void put_page(struct buf *payload)
{
	struct wire_page page = {
		.query = 0xabcdef,
		.total_bytes = 1048580,
		.offset = 1 << 20,
		.bytes = (const uint8_t *)"last",
		.count = 4,
	};
	wire_put_page(&page, payload);
}

static int get_page(struct reader *payload)
{
	struct wire_page page;
	int r = wire_get_page(payload, &page);
	if (r < 0)
		return r;
	assert_int_equal(page.query, 0xabcdef);
	assert_int_equal(page.total_bytes, 1048580);
	assert_int_equal(page.offset, 1 << 20);
	assert_int_equal(page.count, 4);
	assert_memory_equal(page.bytes, "last", 4);
	return 0;
}

static void put_admin(struct buf *payload)
{
	struct wire_admin admin = {
		.method = text("retention.list"),
		.actor = text("me@here"),
		.request = text("r1"),
		.body = "{}",
		.body_count = 2,
	};
	wire_put_admin(&admin, payload);
}

static int get_admin(struct reader *payload)
{
	struct wire_admin admin;
	int r = wire_get_admin(payload, &admin);
	if (r < 0)
		return r;
	check_text(admin.method, "retention.list");
	check_text(admin.actor, "me@here");
	check_text(admin.request, "r1");
	assert_int_equal(admin.body_count, 2);
	assert_memory_equal(admin.body, "{}", 2);
	return 0;
}

static void put_admin_reply(struct buf *payload)
{
	wire_put_admin_reply(
	        &(struct wire_admin_reply){ .body = "{\"policies\":[]}", .body_count = 15 },
	        payload);
}

static int get_admin_reply(struct reader *payload)
{
	struct wire_admin_reply reply;
	int r = wire_get_admin_reply(payload, &reply);
	if (r < 0)
		return r;
	assert_int_equal(reply.body_count, 15);
	assert_memory_equal(reply.body, "{\"policies\":[]}", 15);
	return 0;
}

static const struct {
	enum wire_kind kind;
	const char *name;
	void (*put)(struct buf *payload);
	int (*get)(struct reader *payload); /* checks that it is what put described */
} messages[] = {
	{ WIRE_HELLO, "hello", put_hello, get_hello },
	{ WIRE_HELLO_REPLY, "hello_reply", put_hello_reply, get_hello_reply },
	{ WIRE_PUSH, "push", put_push, get_push },
	{ WIRE_PUSH_REPLY, "push_reply", put_push_reply, get_push_reply },
	{ WIRE_SYMBOLS, "symbols", put_symbols, get_symbols },
	{ WIRE_STATUS, "status", put_status, get_status },
	{ WIRE_QUERY, "query", put_query, get_query },
	{ WIRE_FETCH, "fetch", put_fetch, get_fetch },
	{ WIRE_PAGE, "page", put_page, get_page },
	{ WIRE_ADMIN, "admin", put_admin, get_admin },
	{ WIRE_ADMIN_REPLY, "admin_reply", put_admin_reply, get_admin_reply },
};

static_assert(COUNT_OF(messages) == WIRE_ADMIN_REPLY, "every kind of message is tested");

static void every_message_is_byte_for_byte_version_1(void **state)
{
	for (size_t i = 0; i < COUNT_OF(messages); i++) {
		AUTO_BUF payload = { 0 };
		messages[i].put(&payload);
		golden_hex_check(GOLDEN, messages[i].name, &payload);

		AUTO_BUF golden = { 0 };
		golden_hex_read(GOLDEN, messages[i].name, &golden);
		struct reader from = reader_of(golden.bytes, golden.count);
		CHECK_OK(messages[i].get(&from));
	}
}

static void envelopes_are_byte_for_byte_version_1(void **state)
{
	AUTO_BUF payload = { 0 };
	AUTO_BUF envelope = { 0 };
	put_fetch(&payload);
	wire_seal(WIRE_FETCH, &payload, &envelope);
	golden_hex_check(GOLDEN, "envelope", &envelope);
	golden_hex_check("docs/formats/wire.md", "example", &envelope);

	/* Packed bytes may differ between releases of LZ4, so this one is only read. */
	AUTO_BUF packed = { 0 };
	AUTO_BUF unpacked = { 0 };
	struct wire_message message;
	golden_hex_read(GOLDEN, "envelope_lz4", &packed);
	CHECK_OK(wire_open(packed.bytes, packed.count, &unpacked, &message));
	assert_int_equal(message.kind, WIRE_STATUS);
	struct wire_status_reply status;
	CHECK_OK(wire_get_status(&message.payload, &status));
	assert_int_equal(status.status, WIRE_FAILED);
	assert_int_equal(status.text.count, 100);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(status.text.bytes[i], 'a');
}

static void messages_cut_or_prolonged_anywhere_are_refused(void **state)
{
	for (size_t i = 0; i < COUNT_OF(messages); i++) {
		AUTO_BUF payload = { 0 };
		messages[i].put(&payload);
		for (size_t count = 0; count < payload.count; count++) {
			autofree uint8_t *cut = malloc(count + 1);
			memcpy(cut, payload.bytes, count);
			struct reader from = reader_of(cut, count);
			if (messages[i].get(&from) != -EBADMSG)
				fail_msg("%s cut to %zu bytes", messages[i].name, count);
		}
		buf_put_u8(&payload, 0);
		struct reader from = reader_of(payload.bytes, payload.count);
		if (messages[i].get(&from) != -EBADMSG)
			fail_msg("%s with a byte behind it", messages[i].name);
	}
}

/* Where the extension area of a message begins: the count of version 1 is 0, and here nothing else
 * is. */
static size_t extensions_at(enum wire_kind kind, const struct buf *payload)
{
	if (kind != WIRE_PUSH)
		return payload->count - 1;
	struct reader from = reader_of(payload->bytes, payload->count);
	struct wire_push push;
	struct reader delta;
	CHECK_OK(wire_get_push(&from, &push, &delta));
	return (size_t)(delta.at - payload->bytes) - 5;
}

static void fields_of_the_future_are_skipped_or_refused_as_they_ask(void **state)
{
	static const struct {
		uint8_t bytes[16];
		size_t count;
		int result;
	} cases[] = {
		{ { 1, 7 << 1, 3, 'x', 'y', 'z' }, 6, 0 },
		{ { 1, 7 << 1 | 1, 3, 'x', 'y', 'z' }, 6, -EPROTONOSUPPORT },
		{ { 2, 7 << 1, 0, 9 << 1, 1, 'x' }, 6, 0 },
		{ { 2, 7 << 1, 0, 9 << 1 | 1, 1, 'x' }, 6, -EPROTONOSUPPORT },
		{ { 1, 7 << 1, 0xff, 0xff, 0xff, 0xff, 0x0f }, 7, -EBADMSG },
		{ { 65 }, 1, -EBADMSG },
	};
	static const enum wire_kind kinds[] = { WIRE_HELLO, WIRE_HELLO_REPLY, WIRE_PUSH,
		WIRE_QUERY };

	for (size_t k = 0; k < COUNT_OF(kinds); k++) {
		for (size_t i = 0; i < COUNT_OF(cases); i++) {
			AUTO_BUF payload = { 0 };
			AUTO_BUF extended = { 0 };
			messages[kinds[k] - 1].put(&payload);
			size_t at = extensions_at(kinds[k], &payload);
			buf_put(&extended, payload.bytes, at);
			buf_put(&extended, cases[i].bytes, cases[i].count);
			buf_put(&extended, payload.bytes + at + 1, payload.count - at - 1);
			struct reader from = reader_of(extended.bytes, extended.count);
			int r = messages[kinds[k] - 1].get(&from);
			if (r != cases[i].result)
				fail_msg("%s, case %zu: %d", messages[kinds[k] - 1].name, i, r);
		}
	}
}

static void a_question_brings_back_what_was_added_later(void **state)
{
	struct wire_query query = {
		.question = WIRE_ASK_TIMELINE,
		.level = 1,
		.group = WIRE_GROUP_LABELS,
		.sides_count = 1,
		.sides = { { .selector = text("cpu"), .from_ns = 1, .to_ns = 2 } },
		.by = { text("region"), text("version") },
		.by_count = 2,
		.nodes_max = 300,
		.by_cum = true,
		.step_ns = 60000000000,
		.function = text("main"),
		.is_canonical = true,
	};
	struct wire_query back;
	AUTO_BUF payload = { 0 };
	wire_put_query(&query, &payload);
	struct reader from = reader_of(payload.bytes, payload.count);
	CHECK_OK(wire_get_query(&from, &back));
	assert_int_equal(back.by_count, 2);
	check_text(back.by[0], "region");
	check_text(back.by[1], "version");
	check_text(back.function, "main");
	assert_int_equal(back.nodes_max, 300);
	assert_int_equal(back.step_ns, query.step_ns);
	CHECK(back.by_cum && !back.by_change && back.is_canonical);

	/* More labels than there may be, and a byte behind a value. */
	payload.bytes[payload.count - 1] = 1;
	from = reader_of(payload.bytes, payload.count);
	CHECK(wire_get_query(&from, &back) == -EBADMSG);
}

static void a_question_may_have_a_ticket_and_its_progress_an_end(void **state)
{
	struct wire_query query = { .question = WIRE_ASK_PROGRESS, .ticket = 0x1122334455667788 };
	struct wire_query back;
	AUTO_BUF payload = { 0 };
	wire_put_query(&query, &payload);
	golden_hex_check(GOLDEN, "query of progress", &payload);
	struct reader from = reader_of(payload.bytes, payload.count);
	CHECK_OK(wire_get_query(&from, &back));
	CHECK(back.ticket == query.ticket && back.question == WIRE_ASK_PROGRESS);

	struct wire_progress progress;
	buf_reset(&payload);
	wire_put_progress((struct wire_progress){ 300, 1000 }, &payload);
	golden_hex_check(GOLDEN, "progress", &payload);
	from = reader_of(payload.bytes, payload.count);
	CHECK_OK(wire_get_progress(&from, &progress));
	CHECK(progress.done_ns == 300 && progress.total_ns == 1000);
	for (size_t count = 0; count < payload.count; count++) {
		from = reader_of(payload.bytes, count);
		CHECK(wire_get_progress(&from, &progress) == -EBADMSG);
	}
	from = reader_of((const uint8_t *)"\3\2", 2); /* more than there is */
	CHECK(wire_get_progress(&from, &progress) == -EBADMSG);
}

static void the_last_push_of_a_session_says_so(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	for (int last = 0; last < 2; last++) {
		AUTO_BUF payload = { 0 };
		struct wire_push push = { .session = 1, .request = 2, .is_last = last };
		struct wire_push back = { .is_last = !last };
		struct reader delta;
		wire_put_push(&push, dict, dict_mark(dict), &payload);
		struct reader from = reader_of(payload.bytes, payload.count);
		CHECK_OK(wire_get_push(&from, &back, &delta));
		assert_int_equal(back.is_last, last);
	}
}

static void a_refused_message_leaves_the_result_untouched(void **state)
{
	struct wire_fetch fetch = { 1, 2 };
	struct wire_status_reply status = { .status = 77 };
	struct wire_push_reply reply = { .status = 78 };
	struct reader empty = reader_of("", 0);
	CHECK(wire_get_fetch(&empty, &fetch) == -EBADMSG);
	assert_int_equal(fetch.query, 1);
	CHECK(wire_get_status(&empty, &status) == -EBADMSG);
	assert_int_equal(status.status, 77);
	CHECK(wire_get_push_reply(&empty, &reply) == -EBADMSG);
	assert_int_equal(reply.status, 78);
}

static void impossible_fields_are_refused(void **state)
{
	AUTO_BUF payload = { 0 };
	struct wire_hello_reply reply;
	struct wire_symbols symbols;
	struct wire_page page;
	struct wire_status_reply status;

	/* A session of 0, and no shards: version, features, session, shards, and the rest. */
	static const uint8_t replies[][32] = {
		{ 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 },
		{ 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(replies); i++) {
		struct reader from = reader_of(replies[i], 32);
		CHECK(wire_get_hello_reply(&from, &reply) == -EBADMSG);
	}

	static const uint8_t parts[][8] = {
		{ 1, 'a', 2, 2, 0, 0 }, /* part 2 of 2, counted from 0 */
		{ 1, 'a', 0, 0, 0, 0 }, /* of no parts */
		{ 0, 0, 1, 0, 0, 0 },   /* of no file */
		{ 1, 'a', 0, 1, 0, 1 }, /* longer than the whole */
	};
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		struct reader from = reader_of(parts[i], i == 2 ? 5 : i == 3 ? 7 : 6);
		CHECK(wire_get_symbols(&from, &symbols) == -EBADMSG);
	}
	struct reader from = reader_of(((uint8_t[]){ 1, 'a', 0, 1, 0, 0 }), 6);
	CHECK_OK(wire_get_symbols(&from, &symbols));
	assert_int_equal(symbols.count, 0);

	/* A page that reaches past the end of the answer. */
	static const uint8_t past[] = { 1, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 'a', 'b' };
	from = reader_of(past, sizeof(past));
	CHECK(wire_get_page(&from, &page) == -EBADMSG);

	/* A zero byte inside a text. */
	static const uint8_t zero[] = { 1, 0, 3, 'a', 0, 'b' };
	from = reader_of(zero, sizeof(zero));
	CHECK(wire_get_status(&from, &status) == -EBADMSG);

	/* Words for a human are cut where they would be refused. */
	autofree char *words = malloc(WIRE_TEXT_BYTES_MAX + 100);
	memset(words, 'w', WIRE_TEXT_BYTES_MAX + 100);
	status.text = (struct wire_text){ words, WIRE_TEXT_BYTES_MAX + 100 };
	wire_put_status(&status, &payload);
	from = reader_of(payload.bytes, payload.count);
	CHECK_OK(wire_get_status(&from, &status));
	assert_int_equal(status.text.count, WIRE_TEXT_BYTES_MAX);

	buf_reset(&payload);
	status.text = (struct wire_text){ "half\0a text", 11 };
	wire_put_status(&status, &payload);
	from = reader_of(payload.bytes, payload.count);
	CHECK_OK(wire_get_status(&from, &status));
	check_text(status.text, "half");
}

static void losses_of_a_newer_agent_are_counted_without_a_name(void **state)
{
	AUTO_BUF header = { 0 };
	buf_put_u64(&header, 1);    /* session */
	buf_put_varint(&header, 1); /* request */
	for (int i = 0; i < 7; i++)
		buf_put_varint(&header, 0);
	buf_put_varint(&header, LOSS_REASON_MAX + 3);
	for (uint64_t i = 0; i < LOSS_REASON_MAX + 3; i++)
		buf_put_varint(&header, i + 1);
	buf_put_varint(&header, 0); /* sections */
	buf_put_varint(&header, 0); /* extensions */
	buf_put_u32(&header, 0);    /* delta */

	struct reader from = reader_of(header.bytes, header.count);
	struct wire_push push;
	struct reader delta;
	CHECK_OK(wire_get_push(&from, &push, &delta));
	assert_int_equal(push.state.lost[1], 2);
	assert_int_equal(push.state.lost[LOSS_REASON_MAX], LOSS_REASON_MAX + 1);
	assert_int_equal(push.state.lost[0], 1 + LOSS_REASON_MAX + 2 + LOSS_REASON_MAX + 3);
}

static void an_envelope_brings_its_payload_packed_or_not(void **state)
{
	static const size_t counts[] = { 0, 1, 27, 100, 65536, 3 << 20 };

	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		for (int is_random = 0; is_random < 2; is_random++) {
			AUTO_BUF payload = { 0 };
			AUTO_BUF envelope = { 0 };
			AUTO_BUF unpacked = { 0 };
			struct random random = { i };
			struct wire_message message;
			for (size_t n = 0; n < counts[i]; n++)
				buf_put_u8(
				        &payload, is_random ? (uint8_t)random_u64(&random) : 'a');

			buf_put(&unpacked, "left from before", 16);
			wire_seal(WIRE_PAGE, &payload, &envelope);
			CHECK(!envelope.failed);
			CHECK(envelope.count <= payload.count + 28);
			if (!is_random && counts[i] >= 100)
				CHECK(envelope.count < payload.count);
			assert_int_equal(wire_peek_kind(envelope.bytes, envelope.count), WIRE_PAGE);
			CHECK_OK(wire_open(envelope.bytes, envelope.count, &unpacked, &message));
			assert_int_equal(message.kind, WIRE_PAGE);
			assert_int_equal(reader_left(&message.payload), counts[i]);
			if (counts[i] > 0)
				assert_memory_equal(message.payload.at, payload.bytes, counts[i]);
		}
	}
}

static void an_envelope_with_any_bit_flipped_or_byte_missing_is_refused(void **state)
{
	for (size_t i = 0; i < COUNT_OF(messages); i++) {
		AUTO_BUF payload = { 0 };
		AUTO_BUF envelope = { 0 };
		AUTO_BUF unpacked = { 0 };
		struct wire_message message;
		messages[i].put(&payload);
		wire_seal(messages[i].kind, &payload, &envelope);
		CHECK_OK(wire_open(envelope.bytes, envelope.count, &unpacked, &message));
		CHECK_OK(messages[i].get(&message.payload));

		for (size_t bit = 0; bit < envelope.count * 8; bit++) {
			envelope.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			int r = wire_open(envelope.bytes, envelope.count, &unpacked, &message);
			bool is_version = bit / 8 == 4 || bit / 8 == 5;
			if (r != -EPROTO && !(is_version && r == -EPROTONOSUPPORT))
				fail_msg("%s, bit %zu: %d", messages[i].name, bit, r);
			envelope.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t count = 0; count < envelope.count; count++) {
			autofree uint8_t *cut = malloc(count + 1);
			memcpy(cut, envelope.bytes, count);
			CHECK(wire_open(cut, count, &unpacked, &message) == -EPROTO);
		}
		buf_put_u8(&envelope, 0);
		CHECK(wire_open(envelope.bytes, envelope.count, &unpacked, &message) == -EPROTO);
	}
}

/* An envelope with any fields and a right checksum, as a peer of another mind would make it. */
static void put_envelope(struct buf *to, uint16_t kind, uint16_t flags, uint32_t unpacked_count,
        const void *payload, size_t count)
{
	buf_reset(to);
	buf_put(to, "PFLT", 4);
	buf_put_u16(to, 1);
	buf_put_u16(to, 0);
	AUTO_BUF checked = { 0 };
	buf_put_u16(&checked, kind);
	buf_put_u16(&checked, flags);
	buf_put_u32(&checked, (uint32_t)count);
	buf_put_u32(&checked, unpacked_count);
	buf_put(&checked, payload, count);
	buf_put_u64(to, hash64_bytes(checked.bytes, checked.count));
	buf_put(to, checked.bytes, checked.count);
}

static void an_envelope_that_lies_is_refused_by_what_it_claims(void **state)
{
	AUTO_BUF envelope = { 0 };
	AUTO_BUF lz4 = { 0 };
	AUTO_BUF zeroes = { 0 };
	memset(buf_reserve(&zeroes, 1 << 20), 0, 1 << 20);
	zeroes.count = 1 << 20;
	CHECK_OK(compress_append(COMPRESS_LZ4, zeroes.bytes, zeroes.count, &lz4));
	const struct {
		const char *what;
		uint16_t kind;
		uint16_t flags;
		uint32_t unpacked_count;
		const void *payload;
		size_t count;
		int result;
	} cases[] = {
		{ "plain", WIRE_FETCH, 0, 3, "abc", 3, 0 },
		{ "plain, another length", WIRE_FETCH, 0, 4, "abc", 3, -EPROTO },
		{ "packed", WIRE_FETCH, 1, 1 << 20, lz4.bytes, lz4.count, 0 },
		{ "packed, one byte more", WIRE_FETCH, 1, (1 << 20) + 1, lz4.bytes, lz4.count,
		        -EPROTO },
		{ "packed, one byte less", WIRE_FETCH, 1, (1 << 20) - 1, lz4.bytes, lz4.count,
		        -EPROTO },
		{ "packed, 4 GiB", WIRE_FETCH, 1, UINT32_MAX, lz4.bytes, lz4.count, -E2BIG },
		{ "packed, just past the limit", WIRE_FETCH, 1, WIRE_UNPACKED_BYTES_MAX + 1,
		        lz4.bytes, lz4.count, -E2BIG },
		{ "no LZ4 at all", WIRE_FETCH, 1, 100, "\xff\xff\xff", 3, -EPROTO },
		{ "a kind of the future", WIRE_ADMIN_REPLY + 1, 0, 3, "abc", 3, -EPROTONOSUPPORT },
		{ "no kind", 0, 0, 3, "abc", 3, -EPROTONOSUPPORT },
		{ "a flag of the future", WIRE_FETCH, 2, 3, "abc", 3, -EPROTONOSUPPORT },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF unpacked = { 0 };
		struct wire_message message;
		put_envelope(&envelope, cases[i].kind, cases[i].flags, cases[i].unpacked_count,
		        cases[i].payload, cases[i].count);
		int r = wire_open(envelope.bytes, envelope.count, &unpacked, &message);
		if (r != cases[i].result)
			fail_msg("%s: %d, not %d", cases[i].what, r, cases[i].result);
		if (r == -E2BIG)
			assert_int_equal(unpacked.capacity, 0);
	}
}

static void a_newer_version_is_told_apart_whatever_follows_it(void **state)
{
	AUTO_BUF unpacked = { 0 };
	struct wire_message message;
	CHECK(wire_open((const uint8_t *)"PFLT\x02\x00", 6, &unpacked, &message) ==
	        -EPROTONOSUPPORT);
	CHECK(wire_open((const uint8_t *)"PFLT\xff\xffxyz", 9, &unpacked, &message) ==
	        -EPROTONOSUPPORT);
	CHECK(wire_open((const uint8_t *)"PFLT\x00\x00xyz", 9, &unpacked, &message) == -EPROTO);
	CHECK(wire_open((const uint8_t *)"GET / HTTP/1.1\r\n\r\n", 18, &unpacked, &message) ==
	        -EPROTO);
	CHECK(wire_open(NULL, 0, &unpacked, &message) == -EPROTO);
	assert_int_equal(wire_peek_kind((const uint8_t *)"GET / HTTP/1.1\r\n\r\n", 18), 0);
	assert_int_equal(wire_peek_kind(NULL, 0), 0);
}

static void what_is_too_big_is_not_sealed(void **state)
{
	AUTO_BUF payload = { 0 };
	AUTO_BUF envelope = { 0 };
	struct random random = { 1 };

	/* Packs to little, but nobody would unpack it. */
	memset(buf_reserve(&payload, WIRE_UNPACKED_BYTES_MAX + 1), 0, WIRE_UNPACKED_BYTES_MAX + 1);
	payload.count = WIRE_UNPACKED_BYTES_MAX + 1;
	wire_seal(WIRE_PAGE, &payload, &envelope);
	CHECK(envelope.failed);
	buf_reset(&envelope);
	payload.count--;
	wire_seal(WIRE_PAGE, &payload, &envelope);
	CHECK(!envelope.failed);

	/* Does not pack, and nobody would receive it. */
	payload.count = WIRE_MESSAGE_BYTES_MAX;
	for (size_t i = 0; i < payload.count; i += 8) {
		uint64_t noise = random_u64(&random);
		memcpy(payload.bytes + i, &noise, 8);
	}
	buf_reset(&envelope);
	wire_seal(WIRE_PAGE, &payload, &envelope);
	CHECK(envelope.failed);
	buf_reset(&envelope);
	payload.count -= 28;
	wire_seal(WIRE_PAGE, &payload, &envelope);
	CHECK(!envelope.failed);
	assert_int_equal(envelope.count, WIRE_MESSAGE_BYTES_MAX);

	AUTO_BUF unpacked = { 0 };
	struct wire_message message;
	CHECK_OK(wire_open(envelope.bytes, envelope.count, &unpacked, &message));
	buf_put_u8(&envelope, 0);
	CHECK(wire_open(envelope.bytes, envelope.count, &unpacked, &message) == -E2BIG);

	/* A payload that could not be put is not sent as a shorter one. */
	payload.failed = true;
	buf_reset(&envelope);
	wire_seal(WIRE_PAGE, &payload, &envelope);
	CHECK(envelope.failed);
}

static void running_out_of_memory_is_told(void **state)
{
	AUTO_BUF payload = { 0 };
	put_push(&payload);
	uint32_t failures = 0;
	for (;; failures++) {
		AUTO_BUF envelope = { 0 };
		AUTO_BUF unpacked = { 0 };
		struct wire_message message;
		fault_arm(FAULT_ALLOC, failures, ENOMEM);
		wire_seal(WIRE_PUSH, &payload, &envelope);
		int r = envelope.failed
		                ? -ENOMEM
		                : wire_open(envelope.bytes, envelope.count, &unpacked, &message);
		if (!fault_disarm())
			break;
		CHECK(r == -ENOMEM);
	}
	CHECK(failures >= 2);
}

/* The way of a session: each push carries what is new, and both ends stay the same. */
static void a_session_of_random_pushes_arrives_whole(void **state)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		AUTO(dict) sender = dict_new(dict_limits_default);
		AUTO(dict) receiver = dict_new(dict_limits_default);
		struct dict_mark known = { 0 };

		for (uint64_t request = 1; request <= 4; request++) {
			enum { SECTIONS = 3 };
			struct batch *batches[SECTIONS];
			AUTO_BUF payload = { 0 };
			AUTO_BUF envelope = { 0 };
			AUTO_BUF unpacked = { 0 };
			struct wire_push push = {
				.session = seed, .request = request, .sections_count = SECTIONS
			};
			for (uint32_t i = 0; i < SECTIONS; i++) {
				batches[i] = batch_new(sender);
				random_batch(batches[i], seed + i, request, 20 * (uint32_t)request);
			}
			wire_put_push(&push, sender, known, &payload);
			for (uint32_t i = 0; i < SECTIONS; i++) {
				struct wire_section section = {
					.shard = (uint16_t)i, .epoch = seed, .seq = request
				};
				wire_put_section(&section, batches[i], &payload);
			}
			wire_seal(WIRE_PUSH, &payload, &envelope);
			CHECK(!envelope.failed);
			known = dict_mark(sender);

			struct wire_message message;
			struct reader delta;
			CHECK_OK(wire_open(envelope.bytes, envelope.count, &unpacked, &message));
			CHECK_OK(wire_get_push(&message.payload, &push, &delta));
			assert_int_equal(push.request, request);
			CHECK_OK(dict_decode(receiver, &delta));
			assert_int_equal(reader_left(&delta), 0);
			for (uint32_t i = 0; i < SECTIONS; i++) {
				struct wire_section section;
				AUTO(batch) arrived = batch_new(receiver);
				CHECK_OK(wire_get_section(&message.payload, &section));
				assert_int_equal(section.shard, i);
				CHECK_OK(batch_decode(arrived, &section.batch));
				assert_int_equal(reader_left(&section.batch), 0);
				CHECK(random_batches_equal(batches[i], arrived));
				batch_free(batches[i]);
			}
		}
	}
}

static void every_status_has_a_name(void **state)
{
	static const char *const names[] = { "ok", "dup", "busy", "not_owner", "reject", "too_new",
		"reset", "malformed", "not_found", "invalid", "failed", "too_big", "denied",
		"stopped", "unknown" };
	for (uint32_t i = 0; i < COUNT_OF(names); i++)
		assert_string_equal(wire_status_name(i), names[i]);
	assert_string_equal(wire_status_name(UINT32_MAX), "unknown");
}

static void a_shard_is_the_same_everywhere_and_all_are_used(void **state)
{
	static const struct {
		const char *tenant, *service;
		uint32_t shards;
		uint16_t shard;
	} cases[] = {
		{ "", "cart", 256, 80 },
		{ "", "checkout", 256, 179 },
		{ "acme", "cart", 256, 180 },
		{ "cart", "", 256, 230 },
		{ "", "cart", 1, 0 },
		{ "", "cart", 4096, 3408 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(wire_shard(cases[i].tenant, cases[i].service, cases[i].shards),
		        cases[i].shard);

	uint32_t used[16] = { 0 };
	for (uint32_t i = 0; i < 1600; i++) {
		char service[16];
		snprintf(service, sizeof(service), "service-%u", i);
		used[wire_shard("", service, 16)]++;
	}
	for (size_t i = 0; i < COUNT_OF(used); i++)
		CHECK(used[i] > 50 && used[i] < 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_is_byte_for_byte_version_1),
		cmocka_unit_test(envelopes_are_byte_for_byte_version_1),
		cmocka_unit_test(messages_cut_or_prolonged_anywhere_are_refused),
		cmocka_unit_test(fields_of_the_future_are_skipped_or_refused_as_they_ask),
		cmocka_unit_test(a_question_brings_back_what_was_added_later),
		cmocka_unit_test(a_question_may_have_a_ticket_and_its_progress_an_end),
		cmocka_unit_test(the_last_push_of_a_session_says_so),
		cmocka_unit_test(a_refused_message_leaves_the_result_untouched),
		cmocka_unit_test(impossible_fields_are_refused),
		cmocka_unit_test(losses_of_a_newer_agent_are_counted_without_a_name),
		cmocka_unit_test(an_envelope_brings_its_payload_packed_or_not),
		cmocka_unit_test(an_envelope_with_any_bit_flipped_or_byte_missing_is_refused),
		cmocka_unit_test(an_envelope_that_lies_is_refused_by_what_it_claims),
		cmocka_unit_test(a_newer_version_is_told_apart_whatever_follows_it),
		cmocka_unit_test(what_is_too_big_is_not_sealed),
		cmocka_unit_test(running_out_of_memory_is_told),
		cmocka_unit_test(a_session_of_random_pushes_arrives_whole),
		cmocka_unit_test(every_status_has_a_name),
		cmocka_unit_test(a_shard_is_the_same_everywhere_and_all_are_used),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
