#pragma once

/*
 * An aggregator in memory for the tests of delivery and shipper: sessions, watermarks and sums as
 * the real one has them, and bad weather on request. It fails the test when a sender breaks the
 * protocol: a number that does not follow, equal ids with different content, something sent twice
 * that was confirmed.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/shipper.h"
#include "core/hash.h"
#include "core/rng.h"
#include "profile/symbols.h"
#include "tests/unit/agent/batches.h"

#define FAKE_SECTIONS_MAX 8192
#define FAKE_SYMBOLS_MAX  16

struct fake_section {
	struct wire_uuid uuid;
	uint64_t epoch;
	uint64_t seq;
	uint16_t shard;
	uint64_t hash; /* of its content in words that do not depend on the session */
	bool rejected;
};

struct fake_symbols {
	char build_id[80];
	struct buf table;
	uint32_t parts;
};

struct fake_aggregator {
	struct shipper_transport transport; /* first: a transport is one of these */
	struct rng rng;

	/* Weather, each in percent of the calls or sections. */
	uint32_t drop_request;
	uint32_t drop_reply;
	uint32_t restart; /* sessions are forgotten, sums are not */
	uint32_t busy_message;
	uint32_t busy_section;
	uint32_t not_owner;
	uint32_t reject_section;
	uint32_t garbage;
	/* What the next message gets, once, in place of an answer; 0: nothing special. */
	uint32_t status_once;
	uint32_t retry_once_ms;
	bool malformed_for_ever; /* pushes with sections get MALFORMED */

	uint32_t shards;
	uint32_t push_bytes_max;
	uint32_t nodes_max;
	const char *wanted; /* asked for with every push */

	uint64_t session;
	uint64_t request;
	struct dict *dict;

	struct fake_section sections[FAKE_SECTIONS_MAX];
	uint32_t sections_count;
	uint64_t samples;
	uint64_t lost;
	uint64_t lost_by[LOSS_REASON_MAX + 1];
	uint64_t cart;
	uint64_t rejected_samples;
	uint64_t duplicates;
	uint64_t hellos;
	uint64_t pushes;
	uint64_t greatest_payload;
	struct wire_agent_state state;
	struct fake_symbols symbols[FAKE_SYMBOLS_MAX];
	uint32_t symbols_count;
	uint32_t symbols_busy; /* so many parts are answered BUSY first */
};

static inline bool fake_chance(struct fake_aggregator *fake, uint32_t percent)
{
	return percent > 0 && rng_below(&fake->rng, 100) < percent;
}

static inline void fake_forget_session(struct fake_aggregator *fake)
{
	dict_free(fake->dict);
	fake->dict = NULL;
	fake->session = 0;
}

static inline void fake_seal(
        enum wire_kind kind, const struct buf *payload, uint8_t **ret_bytes, size_t *ret_count)
{
	AUTO_BUF message = { 0 };

	wire_seal(kind, payload, &message);
	assert_false(message.failed);
	*ret_bytes = buf_take(&message, ret_count);
}

static inline void fake_status(
        uint32_t status, uint32_t retry_ms, uint8_t **ret_bytes, size_t *ret_count)
{
	AUTO_BUF payload = { 0 };
	struct wire_status_reply reply = { .status = status, .retry_ms = retry_ms };

	wire_put_status(&reply, &payload);
	fake_seal(WIRE_STATUS, &payload, ret_bytes, ret_count);
}

static inline void fake_hello(struct fake_aggregator *fake, struct reader *payload,
        uint8_t **ret_bytes, size_t *ret_count)
{
	struct wire_hello hello;
	AUTO_BUF out = { 0 };
	struct dict_limits limits = dict_limits_default;

	CHECK_OK(wire_get_hello(payload, &hello));
	assert_int_equal(hello.role, WIRE_ROLE_AGENT);
	assert_true(hello.epoch != 0);
	fake_forget_session(fake);
	limits.nodes = fake->nodes_max;
	fake->dict = dict_new(limits);
	fake->session = 1 + rng_u64(&fake->rng) / 2;
	fake->request = 0;
	fake->hellos++;
	struct wire_hello_reply reply = {
		.version = WIRE_VERSION,
		.session = fake->session,
		.shards = fake->shards,
		.push_bytes_max = fake->push_bytes_max,
		.nodes_max = fake->nodes_max,
		.unix_ns = 1700000000 * NS_PER_S,
	};
	wire_put_hello_reply(&reply, &out);
	fake_seal(WIRE_HELLO_REPLY, &out, ret_bytes, ret_count);
}

/* The same for the same content, whatever the session's ids. */
static inline uint64_t fake_content_hash(const struct batch *batch)
{
	uint64_t sum = batch->start_ns * 31 + batch->duration_ns;

	for (uint32_t i = 0; i < batch->rows_count; i++) {
		struct {
			struct hash128 series;
			struct hash128 node;
			uint64_t value;
		} row = { dict_series_hash(batch->dict, batch->rows[i].series),
			dict_node_hash(batch->dict, batch->rows[i].node), batch->rows[i].value };

		sum += hash64_bytes(&row, sizeof(row));
	}
	for (uint32_t i = 0; i < batch->losses_count; i++)
		sum += batch->losses[i].reason * 1000003 + batch->losses[i].count;
	return sum;
}

static inline struct fake_section *fake_find(
        struct fake_aggregator *fake, const struct fake_section *section)
{
	for (uint32_t i = 0; i < fake->sections_count; i++) {
		struct fake_section *known = &fake->sections[i];

		if (known->epoch == section->epoch && known->seq == section->seq &&
		        known->shard == section->shard &&
		        !memcmp(&known->uuid, &section->uuid, sizeof(known->uuid)))
			return known;
	}
	return NULL;
}

static inline uint32_t fake_append(
        struct fake_aggregator *fake, const struct wire_section *section, const struct batch *batch)
{
	struct fake_section entry = {
		.uuid = section->uuid,
		.epoch = section->epoch,
		.seq = section->seq,
		.shard = section->shard,
		.hash = fake_content_hash(batch),
	};
	struct fake_section *known = fake_find(fake, &entry);
	uint32_t name = dict_find_string(batch->dict, "service", 7);

	if (known) {
		/* Equal ids mean equal content, whatever became of the reply. */
		assert_int_equal(known->hash, entry.hash);
		fake->duplicates++;
		return known->rejected ? WIRE_REJECT : WIRE_DUP;
	}
	assert_true(fake->sections_count < FAKE_SECTIONS_MAX);
	if (fake_chance(fake, fake->reject_section)) {
		entry.rejected = true;
		fake->sections[fake->sections_count++] = entry;
		fake->rejected_samples += batch_samples(batch);
		return WIRE_REJECT;
	}
	fake->sections[fake->sections_count++] = entry;
	fake->samples += batch_samples(batch);
	fake->lost += batch_lost(batch);
	for (uint32_t i = 0; i < batch->losses_count; i++)
		fake->lost_by[batch->losses[i].reason] += batch->losses[i].count;
	for (uint32_t i = 0; i < batch->rows_count && name != ID_NONE; i++) {
		uint32_t value = dict_label_value(batch->dict, batch->rows[i].series, name);

		fake->cart += strcmp(dict_text(batch->dict, value), "cart") ? 0
		                                                            : batch->rows[i].value;
	}
	return WIRE_OK;
}

static inline void fake_push(struct fake_aggregator *fake, struct reader *payload,
        uint8_t **ret_bytes, size_t *ret_count)
{
	struct wire_push push;
	struct reader delta;
	AUTO_BUF out = { 0 };
	struct wire_push_reply reply = { 0 };

	CHECK_OK(wire_get_push(payload, &push, &delta));
	if (!fake->session || push.session != fake->session || push.request != fake->request + 1) {
		fake_status(WIRE_RESET, 0, ret_bytes, ret_count);
		return;
	}
	if (fake->malformed_for_ever && push.sections_count > 0) {
		fake_forget_session(fake);
		fake_status(WIRE_MALFORMED, 0, ret_bytes, ret_count);
		return;
	}
	CHECK_OK(dict_decode(fake->dict, &delta));
	assert_int_equal(reader_left(&delta), 0);
	fake->request++;
	fake->pushes++;
	fake->state = push.state;
	autofree struct wire_section_status *statuses = calloc(
	        push.sections_count + 1, sizeof(*statuses));
	assert_non_null(statuses);
	for (uint32_t i = 0; i < push.sections_count; i++) {
		struct wire_section section;
		AUTO(batch) batch = batch_new(fake->dict);

		CHECK_OK(wire_get_section(payload, &section));
		CHECK_OK(batch_decode(batch, &section.batch));
		assert_true(section.shard < fake->shards || section.seq > 0);
		statuses[i] = (struct wire_section_status){ .shard = section.shard,
			.seq = section.seq };
		if (fake_chance(fake, fake->busy_section)) {
			statuses[i].status = WIRE_BUSY;
			statuses[i].retry_ms = 700;
		} else if (fake_chance(fake, fake->not_owner)) {
			statuses[i].status = WIRE_NOT_OWNER;
		} else {
			statuses[i].status = fake_append(fake, &section, batch);
		}
	}
	assert_int_equal(reader_left(payload), 0);
	reply.sections = statuses;
	reply.sections_count = push.sections_count;
	if (fake->wanted) {
		reply.wanted[0] = (struct wire_text){ .bytes = fake->wanted,
			.count = (uint32_t)strlen(fake->wanted) };
		reply.wanted_count = 1;
	}
	wire_put_push_reply(&reply, &out);
	fake_seal(WIRE_PUSH_REPLY, &out, ret_bytes, ret_count);
}

static inline void fake_take_symbols(struct fake_aggregator *fake, struct reader *payload,
        uint8_t **ret_bytes, size_t *ret_count)
{
	struct wire_symbols part;

	CHECK_OK(wire_get_symbols(payload, &part));
	if (fake->symbols_busy > 0) {
		fake->symbols_busy--;
		fake_status(WIRE_BUSY, 1, ret_bytes, ret_count);
		return;
	}
	if (part.part == 0) {
		assert_true(fake->symbols_count < FAKE_SYMBOLS_MAX);
		snprintf(fake->symbols[fake->symbols_count++].build_id, 80, "%.*s",
		        (int)part.build_id.count, part.build_id.bytes);
	}
	struct fake_symbols *symbols = &fake->symbols[fake->symbols_count - 1];
	assert_int_equal(symbols->parts, part.part);
	assert_true(part.count <= 1 << 20);
	symbols->parts++;
	buf_put(&symbols->table, part.bytes, part.count);
	if (part.part + 1 == part.parts)
		assert_int_equal(symbols->table.count, part.total_bytes);
	fake_status(WIRE_OK, 0, ret_bytes, ret_count);
}

static inline void fake_answer(struct fake_aggregator *fake, const uint8_t *bytes, size_t count,
        uint8_t **ret_bytes, size_t *ret_count)
{
	AUTO_BUF unpacked = { 0 };
	struct wire_message message;

	CHECK_OK(wire_open(bytes, count, &unpacked, &message));
	assert_true(count <= WIRE_MESSAGE_BYTES_MAX);
	if (message.kind == WIRE_PUSH && reader_left(&message.payload) > fake->greatest_payload)
		fake->greatest_payload = reader_left(&message.payload);
	if (fake->status_once) {
		fake_status(fake->status_once, fake->retry_once_ms, ret_bytes, ret_count);
		fake->status_once = 0;
		fake_forget_session(fake);
	} else if (fake_chance(fake, fake->busy_message)) {
		fake_status(WIRE_BUSY, 300, ret_bytes, ret_count);
	} else if (message.kind == WIRE_HELLO) {
		fake_hello(fake, &message.payload, ret_bytes, ret_count);
	} else if (message.kind == WIRE_PUSH) {
		fake_push(fake, &message.payload, ret_bytes, ret_count);
	} else if (message.kind == WIRE_SYMBOLS) {
		fake_take_symbols(fake, &message.payload, ret_bytes, ret_count);
	} else {
		fail_msg("a message of kind %u", message.kind);
	}
}

static inline int fake_call(struct shipper_transport *transport, const uint8_t *bytes, size_t count,
        uint32_t timeout_ms, uint8_t **ret_bytes, size_t *ret_count)
{
	struct fake_aggregator *fake = (struct fake_aggregator *)transport;

	assert_true(timeout_ms > 0);
	if (fake_chance(fake, fake->restart))
		fake_forget_session(fake);
	if (fake_chance(fake, fake->drop_request))
		return -ECONNREFUSED;
	uint8_t *reply;
	size_t reply_count;
	fake_answer(fake, bytes, count, &reply, &reply_count);
	if (fake_chance(fake, fake->drop_reply)) {
		free(reply);
		return -ETIMEDOUT;
	}
	if (fake_chance(fake, fake->garbage))
		reply[rng_below(&fake->rng, reply_count)] ^= 0x55;
	*ret_bytes = reply;
	*ret_count = reply_count;
	return 0;
}

static inline void fake_init(struct fake_aggregator *fake, uint64_t seed)
{
	memset(fake, 0, sizeof(*fake));
	fake->transport.call = fake_call;
	fake->shards = 1;
	fake->push_bytes_max = 4 << 20;
	fake->nodes_max = 100000;
	rng_init(&fake->rng, seed);
}

static inline void fake_fini(struct fake_aggregator *fake)
{
	dict_free(fake->dict);
	for (uint32_t i = 0; i < fake->symbols_count; i++)
		buf_fini(&fake->symbols[i].table);
}
