/*
 * Bytes as an envelope: once as they are, and once with lengths and checksum put right, so that the
 * fuzzer reaches the decoders behind them. Every message that is accepted must be accepted again
 * when it is put by us.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/hash.h"
#include "profile/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static struct wire_section_status section_statuses[WIRE_SECTIONS_MAX];

/* A page may be the answer to how far a question is. */
static void try_progress(const struct wire_page *page)
{
	AUTO_BUF again = { 0 };
	struct wire_progress progress, back;
	struct reader from = reader_of(page->bytes, page->count);
	if (wire_get_progress(&from, &progress) < 0)
		return;
	wire_put_progress(progress, &again);
	from = reader_of(again.bytes, again.count);
	int r = again.failed ? -1 : wire_get_progress(&from, &back);
	assert(again.failed ||
	        (r == 0 && back.done_ns == progress.done_ns && back.total_ns == progress.total_ns));
}

static void try_push(struct reader *payload, struct buf *again)
{
	struct dict_limits limits = { 1000, 1000, 1000, 1000, 1000, 100000 };
	AUTO(dict) dict = dict_new(limits);
	struct wire_push push;
	struct reader delta;

	if (wire_get_push(payload, &push, &delta) < 0 || dict_decode(dict, &delta) < 0)
		return;
	wire_put_push(&push, dict, (struct dict_mark){ 0 }, again);
	for (uint32_t i = 0; i < push.sections_count; i++) {
		AUTO(batch) batch = batch_new(dict);
		struct wire_section section;
		int r = wire_get_section(payload, &section);
		/* The header was only accepted with whole sections behind it. */
		assert(r == 0);
		(void)batch_decode(batch, &section.batch); /* Refused, it is empty, and put so. */
		wire_put_section(&section, batch, again);
	}
	assert(reader_left(payload) == 0);
}

/* Decodes by kind and, when that went well, puts it again. */
static void try_payload(uint16_t kind, struct reader *payload, struct buf *again)
{
	struct wire_hello hello;
	struct wire_hello_reply hello_reply;
	struct wire_push_reply push_reply = { .sections = section_statuses };
	struct wire_symbols symbols;
	struct wire_status_reply status;
	struct wire_query query;
	struct wire_fetch fetch;
	struct wire_page page;
	struct wire_admin admin;
	struct wire_admin_reply admin_reply;

	switch (kind) {
	case WIRE_HELLO:
		if (wire_get_hello(payload, &hello) == 0)
			wire_put_hello(&hello, again);
		break;
	case WIRE_HELLO_REPLY:
		if (wire_get_hello_reply(payload, &hello_reply) == 0)
			wire_put_hello_reply(&hello_reply, again);
		break;
	case WIRE_PUSH:
		try_push(payload, again);
		break;
	case WIRE_PUSH_REPLY:
		if (wire_get_push_reply(payload, &push_reply) == 0)
			wire_put_push_reply(&push_reply, again);
		break;
	case WIRE_SYMBOLS:
		if (wire_get_symbols(payload, &symbols) == 0)
			wire_put_symbols(&symbols, again);
		break;
	case WIRE_STATUS:
		if (wire_get_status(payload, &status) == 0)
			wire_put_status(&status, again);
		break;
	case WIRE_QUERY:
		if (wire_get_query(payload, &query) == 0)
			wire_put_query(&query, again);
		break;
	case WIRE_FETCH:
		if (wire_get_fetch(payload, &fetch) == 0)
			wire_put_fetch(&fetch, again);
		break;
	case WIRE_PAGE:
		if (wire_get_page(payload, &page) == 0) {
			wire_put_page(&page, again);
			try_progress(&page);
		}
		break;
	case WIRE_ADMIN:
		if (wire_get_admin(payload, &admin) == 0)
			wire_put_admin(&admin, again);
		break;
	case WIRE_ADMIN_REPLY:
		if (wire_get_admin_reply(payload, &admin_reply) == 0)
			wire_put_admin_reply(&admin_reply, again);
		break;
	default:
		assert(!"wire_open() let an unknown kind through");
	}
}

static void try_envelope(const uint8_t *bytes, size_t count)
{
	AUTO_BUF unpacked = { 0 };
	AUTO_BUF again = { 0 };
	AUTO_BUF thrice = { 0 };
	struct wire_message message;

	if (wire_open(bytes, count, &unpacked, &message) < 0)
		return;
	assert(wire_peek_kind(bytes, count) == message.kind);
	try_payload(message.kind, &message.payload, &again);
	if (again.count == 0)
		return;

	AUTO_BUF envelope = { 0 };
	wire_seal(message.kind, &again, &envelope);
	assert(!envelope.failed);
	int r = wire_open(envelope.bytes, envelope.count, &unpacked, &message);
	assert(r == 0);
	try_payload(message.kind, &message.payload, &thrice);
	assert(thrice.count == again.count);
	assert(memcmp(thrice.bytes, again.bytes, again.count) == 0);
}

static void put_u32(uint8_t *at, uint32_t value)
{
	for (unsigned int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	try_envelope(bytes, count);
	if (count < 28)
		return 0;

	autofree uint8_t *repaired = malloc(count);
	memcpy(repaired, bytes, count);
	static const uint8_t opening[8] = { 'P', 'F', 'L', 'T', 1 };
	memcpy(repaired, opening, sizeof(opening));
	put_u32(repaired + 20, (uint32_t)(count - 28));
	if (!(repaired[18] & 1))
		put_u32(repaired + 24, (uint32_t)(count - 28));
	uint64_t checksum = hash64_bytes(repaired + 16, count - 16);
	put_u32(repaired + 8, (uint32_t)checksum);
	put_u32(repaired + 12, (uint32_t)(checksum >> 32));
	try_envelope(repaired, count);
	return 0;
}
