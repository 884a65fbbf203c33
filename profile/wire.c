/*
 * An envelope is
 *
 *	magic[4] version u16 0 u16 checksum u64 | kind u16 flags u16 packed u32 unpacked u32 payload
 *	                                        \____________ what the checksum covers ____________/
 *
 * so that whatever a later version changes, magic and version are where they were. Payloads have
 * their fields in a fixed order; those that open a session or carry samples end their header with
 * an extension area, which is how fields come later without a new version.
 *
 * Each get reads into a local struct and hands it over at the end, when the reader has not failed.
 */

#include "profile/wire.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "core/auto.h"
#include "core/compress.h"
#include "core/hash.h"
#include "profile/symbols.h"

#define WIRE_MAGIC          "PFLT"
#define WIRE_CHECKSUM_AT    8
#define WIRE_CHECKED_AT     16
#define WIRE_ENVELOPE_BYTES 28
#define WIRE_FLAG_LZ4       1

/* How many extensions one header may have, and how many reasons of loss we read. */
#define WIRE_EXTENSIONS_MAX 64
#define WIRE_REASONS_MAX    256

static const char *const wire_status_names[] = {
	[WIRE_OK] = "ok",
	[WIRE_DUP] = "dup",
	[WIRE_BUSY] = "busy",
	[WIRE_NOT_OWNER] = "not_owner",
	[WIRE_REJECT] = "reject",
	[WIRE_TOO_NEW] = "too_new",
	[WIRE_RESET] = "reset",
	[WIRE_MALFORMED] = "malformed",
	[WIRE_NOT_FOUND] = "not_found",
	[WIRE_INVALID] = "invalid",
	[WIRE_FAILED] = "failed",
	[WIRE_TOO_BIG] = "too_big",
	[WIRE_DENIED] = "denied",
	[WIRE_STOPPED] = "stopped",
};

static_assert(COUNT_OF(wire_status_names) == WIRE_STOPPED + 1, "every status has a name");

const char *wire_status_name(uint32_t status)
{
	return status < COUNT_OF(wire_status_names) ? wire_status_names[status] : "unknown";
}

/* Writes over what is there: for lengths and checksums that are known only afterwards. */
static void wire_patch(struct buf *to, size_t at, uint64_t value, unsigned int width)
{
	if (to->failed)
		return;
	for (unsigned int i = 0; i < width; i++)
		to->bytes[at + i] = (uint8_t)(value >> (8 * i));
}

/* The payload packed, if that makes it smaller, else as it is. Returns the flags. */
static uint16_t wire_put_payload(const struct buf *payload, struct buf *to)
{
	size_t before = to->count;
	if (payload->count > 0 &&
	        compress_append(COMPRESS_LZ4, payload->bytes, payload->count, to) == 0 &&
	        to->count - before < payload->count)
		return WIRE_FLAG_LZ4;
	to->count = before;
	buf_put(to, payload->bytes, payload->count);
	return 0;
}

void wire_seal(enum wire_kind kind, const struct buf *payload, struct buf *to)
{
	size_t start = to->count;
	if (payload->failed || payload->count > WIRE_UNPACKED_BYTES_MAX)
		to->failed = true;

	buf_put(to, WIRE_MAGIC, 4);
	buf_put_u16(to, WIRE_VERSION);
	buf_put_u16(to, 0);
	buf_put_u64(to, 0);
	buf_put_u16(to, (uint16_t)kind);
	buf_put_u16(to, 0);
	buf_put_u32(to, 0);
	buf_put_u32(to, (uint32_t)payload->count);
	if (to->failed)
		return;

	size_t payload_at = to->count;
	uint16_t flags = wire_put_payload(payload, to);
	if (to->count - start > WIRE_MESSAGE_BYTES_MAX)
		to->failed = true;
	if (to->failed)
		return;
	wire_patch(to, start + 18, flags, 2);
	wire_patch(to, start + 20, to->count - payload_at, 4);

	size_t checked = start + WIRE_CHECKED_AT;
	uint64_t checksum = hash64_bytes(to->bytes + checked, to->count - checked);
	wire_patch(to, start + WIRE_CHECKSUM_AT, checksum, 8);
}

/* Replaces what is in `unpacked`. */
static int wire_unpack(const uint8_t *bytes, size_t count, uint16_t flags, size_t unpacked_count,
        struct buf *unpacked)
{
	buf_reset(unpacked);
	if (flags & WIRE_FLAG_LZ4)
		return compress_unpack(COMPRESS_LZ4, bytes, count, unpacked_count,
		        WIRE_UNPACKED_BYTES_MAX, unpacked);
	if (unpacked_count != count)
		return -EBADMSG;
	buf_put(unpacked, bytes, count);
	return unpacked->failed ? -ENOMEM : 0;
}

int wire_open(
        const uint8_t *bytes, size_t count, struct buf *unpacked, struct wire_message *ret_message)
{
	struct reader from = reader_of(bytes, count);
	const uint8_t *magic = reader_bytes(&from, 4);
	uint16_t version = reader_u16(&from);
	if (from.failed || memcmp(magic, WIRE_MAGIC, 4) != 0 || version == 0)
		return -EPROTO;
	if (version > WIRE_VERSION)
		return -EPROTONOSUPPORT;
	if (count > WIRE_MESSAGE_BYTES_MAX)
		return -E2BIG;

	uint16_t zero = reader_u16(&from);
	uint64_t checksum = reader_u64(&from);
	if (from.failed || zero != 0 ||
	        checksum != hash64_bytes(bytes + WIRE_CHECKED_AT, count - WIRE_CHECKED_AT))
		return -EPROTO;

	uint16_t kind = reader_u16(&from);
	uint16_t flags = reader_u16(&from);
	uint32_t packed_count = reader_u32(&from);
	uint32_t unpacked_count = reader_u32(&from);
	const uint8_t *payload = reader_bytes(&from, packed_count);
	if (from.failed || reader_left(&from) > 0)
		return -EPROTO;
	/* The sender meant it: checksummed, of our version, and yet not ours to understand. */
	if (kind < WIRE_HELLO || kind > WIRE_ADMIN_REPLY || (flags & ~WIRE_FLAG_LZ4))
		return -EPROTONOSUPPORT;
	if (unpacked_count > WIRE_UNPACKED_BYTES_MAX ||
	        (unpacked->limit && unpacked_count > unpacked->limit))
		return -E2BIG;

	int r = wire_unpack(payload, packed_count, flags, unpacked_count, unpacked);
	if (r < 0)
		return r == -EBADMSG ? -EPROTO : r;
	*ret_message = (struct wire_message){
		.kind = kind,
		.payload = reader_of(unpacked->bytes, unpacked->count),
	};
	return 0;
}

uint16_t wire_peek_kind(const uint8_t *bytes, size_t count)
{
	struct reader from = reader_of(bytes, count);
	const uint8_t *magic = reader_bytes(&from, 4);
	if (!magic || memcmp(magic, WIRE_MAGIC, 4) != 0)
		return 0;
	(void)reader_bytes(&from, WIRE_CHECKED_AT - 4);
	return reader_u16(&from);
}

/* A text too long, or with a zero byte in it, is cut: better than a message refused for it. */
static void wire_put_text(struct buf *to, struct wire_text text)
{
	uint32_t count = text.count < WIRE_TEXT_BYTES_MAX ? text.count : WIRE_TEXT_BYTES_MAX;
	buf_put_string(to, text.bytes, count > 0 ? strnlen(text.bytes, count) : 0);
}

/* Texts become C strings sooner or later, so a zero byte inside would hide what follows it. */
static struct wire_text wire_get_text(struct reader *from)
{
	size_t count;
	const char *bytes = reader_string(from, WIRE_TEXT_BYTES_MAX, &count);
	if (count > 0 && memchr(bytes, '\0', count)) {
		reader_fail(from);
		count = 0;
	}
	return (struct wire_text){ .bytes = count ? bytes : "", .count = (uint32_t)count };
}

static uint32_t wire_get_u32(struct reader *from)
{
	return (uint32_t)reader_varint_max(from, UINT32_MAX);
}

static struct wire_uuid wire_get_uuid(struct reader *from)
{
	struct wire_uuid uuid = { 0 };
	const uint8_t *bytes = reader_bytes(from, sizeof(uuid.bytes));
	if (bytes)
		memcpy(uuid.bytes, bytes, sizeof(uuid.bytes));
	return uuid;
}

/*
 * Fields that came later: an id, whether a reader that does not know it must refuse the message,
 * and the bytes. A writer of none of them writes what the first readers know.
 */
#define WIRE_PUSH_IS_LAST 1

#define WIRE_QUERY_BY        1 /* texts */
#define WIRE_QUERY_NODES_MAX 2 /* varint, and one of WIRE_FIRST_ */
#define WIRE_QUERY_STEP      3 /* u64, and a text: the function */
#define WIRE_QUERY_CANONICAL 4 /* nothing */
#define WIRE_QUERY_TICKET    5 /* u64 */
#define WIRE_FIRST_CUM       1
#define WIRE_FIRST_CHANGE    2

static void wire_put_extension(
        struct buf *to, uint64_t id, bool must_understand, const struct buf *value)
{
	buf_put_varint(to, 2 * id + must_understand);
	buf_put_varint(to, value->count);
	buf_put(to, value->bytes, value->count);
	to->failed = to->failed || value->failed;
}

/* Takes one that the message knows; false: it does not. A value that is none fails its reader. */
typedef bool (*wire_take_extension)(void *message, uint64_t id, struct reader *value);

/* Those that are not known are skipped, or refused where they must be understood. */
static int wire_get_extensions(struct reader *from, wire_take_extension take, void *message)
{
	uint64_t count = reader_varint_max(from, WIRE_EXTENSIONS_MAX);
	bool must_understand = false;
	for (uint64_t i = 0; i < count && !from->failed; i++) {
		uint64_t id = reader_varint(from);
		uint64_t length = reader_varint_max(from, reader_left(from));
		const uint8_t *bytes = reader_bytes(from, (size_t)length);
		struct reader value = reader_of(bytes, from->failed ? 0 : (size_t)length);
		if (!from->failed && take && take(message, id / 2, &value)) {
			if (value.failed || reader_left(&value) > 0)
				reader_fail(from);
			continue;
		}
		must_understand |= id & 1;
	}
	if (from->failed)
		return -EBADMSG;
	return must_understand ? -EPROTONOSUPPORT : 0;
}

/* Nothing may follow the last field. */
static int wire_get_end(const struct reader *from)
{
	return from->failed || reader_left(from) > 0 ? -EBADMSG : 0;
}

/* A block's length stands before it in four bytes, because it is known only when it is written. */
static size_t wire_begin_block(struct buf *to)
{
	buf_put_u32(to, 0);
	return to->count;
}

static void wire_end_block(struct buf *to, size_t start)
{
	if (!to->failed && to->count - start > UINT32_MAX)
		to->failed = true;
	wire_patch(to, start - 4, to->count - start, 4);
}

static struct reader wire_get_block(struct reader *from)
{
	uint32_t count = reader_u32(from);
	const uint8_t *bytes = reader_bytes(from, count);
	return bytes ? reader_of(bytes, count) : (struct reader){ .failed = true };
}

void wire_put_hello(const struct wire_hello *hello, struct buf *payload)
{
	buf_put_u16(payload, hello->version_min);
	buf_put_u16(payload, hello->version_max);
	buf_put_u64(payload, hello->features);
	buf_put_varint(payload, hello->role);
	buf_put(payload, hello->uuid.bytes, sizeof(hello->uuid.bytes));
	buf_put_u64(payload, hello->epoch);
	wire_put_text(payload, hello->host);
	wire_put_text(payload, hello->program);
	wire_put_text(payload, hello->tenant);
	buf_put_varint(payload, 0); /* no extensions */
}

int wire_get_hello(struct reader *payload, struct wire_hello *ret_hello)
{
	struct wire_hello hello;
	hello.version_min = reader_u16(payload);
	hello.version_max = reader_u16(payload);
	hello.features = reader_u64(payload);
	hello.role = wire_get_u32(payload);
	hello.uuid = wire_get_uuid(payload);
	hello.epoch = reader_u64(payload);
	hello.host = wire_get_text(payload);
	hello.program = wire_get_text(payload);
	hello.tenant = wire_get_text(payload);
	int r = wire_get_extensions(payload, NULL, NULL);
	r = r < 0 ? r : wire_get_end(payload);
	if (r < 0)
		return r;
	*ret_hello = hello;
	return 0;
}

void wire_put_hello_reply(const struct wire_hello_reply *reply, struct buf *payload)
{
	assert(reply->session != 0 && reply->shards > 0 && reply->shards <= WIRE_SHARDS_MAX);

	buf_put_u16(payload, reply->version);
	buf_put_u64(payload, reply->features);
	buf_put_u64(payload, reply->session);
	buf_put_varint(payload, reply->shards);
	buf_put_varint(payload, reply->map_version);
	buf_put_varint(payload, reply->push_bytes_max);
	buf_put_varint(payload, reply->nodes_max);
	buf_put_u64(payload, reply->unix_ns);
	wire_put_text(payload, reply->program);
	buf_put_varint(payload, 0); /* no extensions */
}

int wire_get_hello_reply(struct reader *payload, struct wire_hello_reply *ret_reply)
{
	struct wire_hello_reply reply;
	reply.version = reader_u16(payload);
	reply.features = reader_u64(payload);
	reply.session = reader_u64(payload);
	reply.shards = (uint32_t)reader_varint_max(payload, WIRE_SHARDS_MAX);
	reply.map_version = reader_varint(payload);
	reply.push_bytes_max = wire_get_u32(payload);
	reply.nodes_max = wire_get_u32(payload);
	reply.unix_ns = reader_u64(payload);
	reply.program = wire_get_text(payload);
	int r = wire_get_extensions(payload, NULL, NULL);
	r = r < 0 ? r : wire_get_end(payload);
	if (r == 0 && (reply.session == 0 || reply.shards == 0))
		r = -EBADMSG;
	if (r < 0)
		return r;
	*ret_reply = reply;
	return 0;
}

static void wire_put_agent_state(const struct wire_agent_state *state, struct buf *payload)
{
	buf_put_varint(payload, state->hz_milli);
	buf_put_varint(payload, state->samples_taken);
	buf_put_varint(payload, state->samples_sent);
	buf_put_varint(payload, state->spool_samples);
	buf_put_varint(payload, state->spool_bytes);
	buf_put_varint(payload, state->cpu_ns);
	buf_put_varint(payload, state->rss_bytes);
	buf_put_varint(payload, COUNT_OF(state->lost));
	for (size_t i = 0; i < COUNT_OF(state->lost); i++)
		buf_put_varint(payload, state->lost[i]);
}

/* A newer agent's reasons, which we have no name for, are counted under 0. */
static struct wire_agent_state wire_get_agent_state(struct reader *payload)
{
	struct wire_agent_state state = { 0 };
	state.hz_milli = reader_varint(payload);
	state.samples_taken = reader_varint(payload);
	state.samples_sent = reader_varint(payload);
	state.spool_samples = reader_varint(payload);
	state.spool_bytes = reader_varint(payload);
	state.cpu_ns = reader_varint(payload);
	state.rss_bytes = reader_varint(payload);
	uint64_t reasons = reader_varint_max(payload, WIRE_REASONS_MAX);
	for (uint64_t i = 0; i < reasons; i++) {
		uint64_t *sum = &state.lost[i < COUNT_OF(state.lost) ? i : 0];
		if (__builtin_add_overflow(*sum, reader_varint(payload), sum))
			*sum = UINT64_MAX;
	}
	return state;
}

void wire_put_push(const struct wire_push *push, const struct dict *dict, struct dict_mark known,
        struct buf *payload)
{
	assert(push->sections_count <= WIRE_SECTIONS_MAX);

	buf_put_u64(payload, push->session);
	buf_put_varint(payload, push->request);
	wire_put_agent_state(&push->state, payload);
	buf_put_varint(payload, push->sections_count);
	buf_put_varint(payload, push->is_last);
	if (push->is_last)
		wire_put_extension(payload, WIRE_PUSH_IS_LAST, false, &(struct buf){ 0 });

	size_t delta = wire_begin_block(payload);
	dict_encode(dict, known, payload);
	wire_end_block(payload, delta);
}

void wire_put_section(
        const struct wire_section *section, const struct batch *batch, struct buf *payload)
{
	assert(section->seq > 0 && section->shard < WIRE_SHARDS_MAX);

	buf_put_varint(payload, section->shard);
	buf_put(payload, section->uuid.bytes, sizeof(section->uuid.bytes));
	buf_put_u64(payload, section->epoch);
	buf_put_varint(payload, section->seq);

	size_t columns = wire_begin_block(payload);
	batch_encode(batch, payload);
	wire_end_block(payload, columns);
}

static struct wire_section wire_read_section(struct reader *payload)
{
	struct wire_section section;
	section.shard = (uint16_t)reader_varint_max(payload, WIRE_SHARDS_MAX - 1);
	section.uuid = wire_get_uuid(payload);
	section.epoch = reader_u64(payload);
	section.seq = reader_varint(payload);
	section.batch = wire_get_block(payload);
	if (section.seq == 0)
		reader_fail(payload);
	return section;
}

static bool wire_take_push_extension(void *message, uint64_t id, struct reader *value)
{
	(void)value;
	if (id == WIRE_PUSH_IS_LAST)
		((struct wire_push *)message)->is_last = true;
	return id == WIRE_PUSH_IS_LAST;
}

int wire_get_push(struct reader *payload, struct wire_push *ret_push, struct reader *ret_delta)
{
	struct wire_push push = { 0 };
	push.session = reader_u64(payload);
	push.request = reader_varint(payload);
	push.state = wire_get_agent_state(payload);
	push.sections_count = (uint32_t)reader_varint_max(payload, WIRE_SECTIONS_MAX);
	int r = wire_get_extensions(payload, wire_take_push_extension, &push);
	if (r < 0)
		return r;
	struct reader delta = wire_get_block(payload);

	/* All sections are walked over once, so that a broken push is refused before any of it is
	 * kept. */
	struct reader sections = *payload;
	for (uint32_t i = 0; i < push.sections_count && !sections.failed; i++)
		(void)wire_read_section(&sections);
	r = wire_get_end(&sections);
	if (r < 0)
		return r;
	*ret_push = push;
	*ret_delta = delta;
	return 0;
}

int wire_get_section(struct reader *payload, struct wire_section *ret_section)
{
	struct wire_section section = wire_read_section(payload);
	if (payload->failed)
		return -EBADMSG;
	*ret_section = section;
	return 0;
}

void wire_put_push_reply(const struct wire_push_reply *reply, struct buf *payload)
{
	assert(reply->sections_count <= WIRE_SECTIONS_MAX);
	assert(reply->wanted_count <= WIRE_WANTED_MAX);

	buf_put_varint(payload, reply->status);
	buf_put_varint(payload, reply->retry_ms);
	wire_put_text(payload, reply->reason);
	buf_put_varint(payload, reply->sections_count);
	for (uint32_t i = 0; i < reply->sections_count; i++) {
		const struct wire_section_status *section = &reply->sections[i];
		buf_put_varint(payload, section->shard);
		buf_put_varint(payload, section->seq);
		buf_put_varint(payload, section->status);
		buf_put_varint(payload, section->retry_ms);
		wire_put_text(payload, section->reason);
	}
	buf_put_varint(payload, reply->wanted_count);
	for (uint32_t i = 0; i < reply->wanted_count; i++)
		wire_put_text(payload, reply->wanted[i]);
}

int wire_get_push_reply(struct reader *payload, struct wire_push_reply *ret_reply)
{
	struct wire_push_reply reply = { .sections = ret_reply->sections };
	reply.status = wire_get_u32(payload);
	reply.retry_ms = wire_get_u32(payload);
	reply.reason = wire_get_text(payload);
	reply.sections_count = (uint32_t)reader_varint_max(payload, WIRE_SECTIONS_MAX);
	for (uint32_t i = 0; i < reply.sections_count && !payload->failed; i++) {
		struct wire_section_status *section = &reply.sections[i];
		section->shard = (uint16_t)reader_varint_max(payload, WIRE_SHARDS_MAX - 1);
		section->seq = reader_varint(payload);
		section->status = wire_get_u32(payload);
		section->retry_ms = wire_get_u32(payload);
		section->reason = wire_get_text(payload);
	}
	reply.wanted_count = (uint32_t)reader_varint_max(payload, WIRE_WANTED_MAX);
	for (uint32_t i = 0; i < reply.wanted_count; i++)
		reply.wanted[i] = wire_get_text(payload);
	int r = wire_get_end(payload);
	if (r < 0)
		return r;
	*ret_reply = reply;
	return 0;
}

void wire_put_symbols(const struct wire_symbols *symbols, struct buf *payload)
{
	assert(symbols->part < symbols->parts && symbols->count <= symbols->total_bytes);

	wire_put_text(payload, symbols->build_id);
	buf_put_varint(payload, symbols->part);
	buf_put_varint(payload, symbols->parts);
	buf_put_varint(payload, symbols->total_bytes);
	buf_put_varint(payload, symbols->count);
	buf_put(payload, symbols->bytes, symbols->count);
}

int wire_get_symbols(struct reader *payload, struct wire_symbols *ret_symbols)
{
	struct wire_symbols symbols;
	symbols.build_id = wire_get_text(payload);
	symbols.part = wire_get_u32(payload);
	symbols.parts = wire_get_u32(payload);
	symbols.total_bytes = reader_varint_max(payload, SYMBOLS_BYTES_MAX);
	symbols.count = wire_get_u32(payload);
	symbols.bytes = reader_bytes(payload, symbols.count);
	int r = wire_get_end(payload);
	if (r == 0 && (symbols.part >= symbols.parts || symbols.count > symbols.total_bytes ||
	                      symbols.build_id.count == 0))
		r = -EBADMSG;
	if (r < 0)
		return r;
	*ret_symbols = symbols;
	return 0;
}

void wire_put_status(const struct wire_status_reply *status, struct buf *payload)
{
	buf_put_varint(payload, status->status);
	buf_put_varint(payload, status->retry_ms);
	wire_put_text(payload, status->text);
}

int wire_get_status(struct reader *payload, struct wire_status_reply *ret_status)
{
	struct wire_status_reply status;
	status.status = wire_get_u32(payload);
	status.retry_ms = wire_get_u32(payload);
	status.text = wire_get_text(payload);
	int r = wire_get_end(payload);
	if (r < 0)
		return r;
	*ret_status = status;
	return 0;
}

static uint32_t wire_query_extensions(const struct wire_query *query)
{
	return (query->by_count > 0) + (query->nodes_max > 0) + (query->step_ns > 0) +
	       query->is_canonical + (query->ticket > 0);
}

/* A bound on the tree may be overlooked: then more comes than was asked for. So may a ticket. */
static void wire_put_query_extensions(const struct wire_query *query, struct buf *payload)
{
	AUTO_BUF value = { 0 };
	buf_put_varint(payload, wire_query_extensions(query));
	if (query->by_count > 0) {
		buf_put_varint(&value, query->by_count);
		for (uint32_t i = 0; i < query->by_count; i++)
			wire_put_text(&value, query->by[i]);
		wire_put_extension(payload, WIRE_QUERY_BY, true, &value);
	}
	if (query->nodes_max > 0) {
		buf_reset(&value);
		buf_put_varint(&value, query->nodes_max);
		buf_put_varint(&value,
		        query->by_cum * WIRE_FIRST_CUM + query->by_change * WIRE_FIRST_CHANGE);
		wire_put_extension(payload, WIRE_QUERY_NODES_MAX, false, &value);
	}
	if (query->step_ns > 0) {
		buf_reset(&value);
		buf_put_u64(&value, query->step_ns);
		wire_put_text(&value, query->function);
		wire_put_extension(payload, WIRE_QUERY_STEP, true, &value);
	}
	buf_reset(&value);
	if (query->is_canonical)
		wire_put_extension(payload, WIRE_QUERY_CANONICAL, true, &value);
	if (query->ticket > 0) {
		buf_put_u64(&value, query->ticket);
		wire_put_extension(payload, WIRE_QUERY_TICKET, false, &value);
	}
}

void wire_put_query(const struct wire_query *query, struct buf *payload)
{
	assert(query->sides_count <= COUNT_OF(query->sides) && query->by_count <= WIRE_BY_MAX);

	buf_put_varint(payload, query->question);
	buf_put_varint(payload, query->level);
	buf_put_varint(payload, query->group);
	wire_put_text(payload, query->label);
	buf_put_varint(payload, query->sides_count);
	for (uint32_t i = 0; i < query->sides_count; i++) {
		wire_put_text(payload, query->sides[i].selector);
		buf_put_u64(payload, query->sides[i].from_ns);
		buf_put_u64(payload, query->sides[i].to_ns);
	}
	wire_put_query_extensions(query, payload);
}

static bool wire_take_query_extension(void *message, uint64_t id, struct reader *value)
{
	struct wire_query *query = message;
	uint64_t first;
	switch (id) {
	case WIRE_QUERY_BY:
		query->by_count = (uint32_t)reader_varint_max(value, WIRE_BY_MAX);
		for (uint32_t i = 0; i < query->by_count; i++)
			query->by[i] = wire_get_text(value);
		return true;
	case WIRE_QUERY_NODES_MAX:
		query->nodes_max = wire_get_u32(value);
		first = reader_varint_max(value, WIRE_FIRST_CUM | WIRE_FIRST_CHANGE);
		query->by_cum = first & WIRE_FIRST_CUM;
		query->by_change = first & WIRE_FIRST_CHANGE;
		return true;
	case WIRE_QUERY_STEP:
		query->step_ns = reader_u64(value);
		query->function = wire_get_text(value);
		return true;
	case WIRE_QUERY_CANONICAL:
		query->is_canonical = true;
		return true;
	case WIRE_QUERY_TICKET:
		query->ticket = reader_u64(value);
		return true;
	default:
		return false;
	}
}

int wire_get_query(struct reader *payload, struct wire_query *ret_query)
{
	struct wire_query query = { 0 };
	query.question = wire_get_u32(payload);
	query.level = wire_get_u32(payload);
	query.group = wire_get_u32(payload);
	query.label = wire_get_text(payload);
	query.sides_count = (uint32_t)reader_varint_max(payload, COUNT_OF(query.sides));
	for (uint32_t i = 0; i < query.sides_count; i++) {
		query.sides[i].selector = wire_get_text(payload);
		query.sides[i].from_ns = reader_u64(payload);
		query.sides[i].to_ns = reader_u64(payload);
	}
	int r = wire_get_extensions(payload, wire_take_query_extension, &query);
	r = r < 0 ? r : wire_get_end(payload);
	if (r < 0)
		return r;
	*ret_query = query;
	return 0;
}

void wire_put_fetch(const struct wire_fetch *fetch, struct buf *payload)
{
	buf_put_u64(payload, fetch->query);
	buf_put_varint(payload, fetch->offset);
}

int wire_get_fetch(struct reader *payload, struct wire_fetch *ret_fetch)
{
	struct wire_fetch fetch;
	fetch.query = reader_u64(payload);
	fetch.offset = reader_varint(payload);
	int r = wire_get_end(payload);
	if (r < 0)
		return r;
	*ret_fetch = fetch;
	return 0;
}

void wire_put_progress(struct wire_progress progress, struct buf *payload)
{
	assert(progress.done_ns <= progress.total_ns);
	buf_put_varint(payload, progress.done_ns);
	buf_put_varint(payload, progress.total_ns);
}

int wire_get_progress(struct reader *payload, struct wire_progress *ret_progress)
{
	struct wire_progress progress;
	progress.done_ns = reader_varint(payload);
	progress.total_ns = reader_varint(payload);
	int r = wire_get_end(payload);
	if (r == 0 && progress.done_ns > progress.total_ns)
		r = -EBADMSG;
	if (r < 0)
		return r;
	*ret_progress = progress;
	return 0;
}

void wire_put_page(const struct wire_page *page, struct buf *payload)
{
	assert(page->offset <= page->total_bytes &&
	        page->count <= page->total_bytes - page->offset);

	buf_put_u64(payload, page->query);
	buf_put_varint(payload, page->total_bytes);
	buf_put_varint(payload, page->offset);
	buf_put_varint(payload, page->count);
	buf_put(payload, page->bytes, page->count);
}

int wire_get_page(struct reader *payload, struct wire_page *ret_page)
{
	struct wire_page page;
	page.query = reader_u64(payload);
	page.total_bytes = reader_varint(payload);
	page.offset = reader_varint_max(payload, page.total_bytes);
	page.count = wire_get_u32(payload);
	page.bytes = reader_bytes(payload, page.count);
	int r = wire_get_end(payload);
	if (r == 0 && page.count > page.total_bytes - page.offset)
		r = -EBADMSG;
	if (r < 0)
		return r;
	*ret_page = page;
	return 0;
}

void wire_put_admin(const struct wire_admin *admin, struct buf *payload)
{
	assert(admin->method.count <= WIRE_ADMIN_METHOD_BYTES_MAX);
	assert(admin->body_count <= WIRE_ADMIN_BODY_BYTES_MAX);

	wire_put_text(payload, admin->method);
	wire_put_text(payload, admin->actor);
	wire_put_text(payload, admin->request);
	buf_put_varint(payload, 0); /* no extensions */
	buf_put_string(payload, admin->body, admin->body_count);
}

int wire_get_admin(struct reader *payload, struct wire_admin *ret_admin)
{
	struct wire_admin admin;
	size_t count = 0;
	admin.method = wire_get_text(payload);
	admin.actor = wire_get_text(payload);
	admin.request = wire_get_text(payload);
	int r = wire_get_extensions(payload, NULL, NULL);
	const char *body = reader_string(payload, WIRE_ADMIN_BODY_BYTES_MAX, &count);
	admin.body = count ? body : "";
	admin.body_count = (uint32_t)count;
	r = r < 0 ? r : wire_get_end(payload);
	if (r == 0 && (admin.method.count == 0 || admin.method.count > WIRE_ADMIN_METHOD_BYTES_MAX))
		r = -EBADMSG;
	if (r < 0)
		return r;
	*ret_admin = admin;
	return 0;
}

void wire_put_admin_reply(const struct wire_admin_reply *reply, struct buf *payload)
{
	assert(reply->body_count <= WIRE_ADMIN_REPLY_BYTES_MAX);

	buf_put_varint(payload, 0); /* no extensions */
	buf_put_string(payload, reply->body, reply->body_count);
}

int wire_get_admin_reply(struct reader *payload, struct wire_admin_reply *ret_reply)
{
	struct wire_admin_reply reply;
	size_t count = 0;
	int r = wire_get_extensions(payload, NULL, NULL);
	const char *body = reader_string(payload, WIRE_ADMIN_REPLY_BYTES_MAX, &count);
	reply.body = count ? body : "";
	reply.body_count = (uint32_t)count;
	r = r < 0 ? r : wire_get_end(payload);
	if (r < 0)
		return r;
	*ret_reply = reply;
	return 0;
}

uint16_t wire_shard(const char *tenant, const char *service, uint32_t shards)
{
	assert(shards > 0 && shards <= WIRE_SHARDS_MAX);

	/* Two hashes of fixed width need no separator, and no memory for the texts end to end. */
	uint64_t words[2] = {
		htole64(hash64_bytes(tenant, strlen(tenant))),
		htole64(hash64_bytes(service, strlen(service))),
	};
	return (uint16_t)(hash64_bytes(words, sizeof(words)) % shards);
}
