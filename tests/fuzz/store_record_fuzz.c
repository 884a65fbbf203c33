/*
 * Every record decoder on any payload. The first byte says which, the rest is the payload; the
 * checksum is made right here, since nothing gets past a wrong one (and that is tried as well).
 * What is accepted must survive being written and read again.
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "storage/expiry.h"
#include "storage/keys.h"
#include "storage/record.h"
#include "storage/window.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#define START_NS 1000

static const struct kv_bytes key = { "key", 3 };

/* A dict with a few of everything, for batches to refer to. */
static struct dict *make_dict(void)
{
	static const struct dict_limits limits = { .strings = 1000,
		.modules = 100,
		.frames = 1000,
		.nodes = 1000,
		.series = 100,
		.string_bytes = 100000 };
	struct dict *dict = dict_new(limits);
	uint32_t string, id, frame;
	if (!dict || dict_cstring(dict, "work", &string) < 0)
		abort();
	struct frame work = { .kind = FRAME_MANAGED, .function = string };
	if (dict_frame(dict, &work, &frame) < 0)
		abort();
	for (uint32_t node = DICT_NODE_ROOT, i = 0; i < 8; i++)
		if (dict_node(dict, node, frame, &node) < 0)
			abort();
	for (uint64_t period = 1; period <= 8; period++) {
		struct series series = { .type = string, .period = period };
		if (dict_series(dict, &series, NULL, 0, &id) < 0)
			abort();
	}
	return dict;
}

/* Two chains more, so that what is packed has some to speak of. */
static void add_chains(struct dict *dict)
{
	uint32_t frame, node;
	if (dict_frame(dict, &(struct frame){ .kind = FRAME_KERNEL }, &frame) < 0)
		abort();
	for (uint32_t parent = 2; parent <= 4; parent += 2)
		if (dict_node(dict, parent, frame, &node) < 0 ||
		        dict_node(dict, node, frame, &node) < 0)
			abort();
}

static struct kv_bytes value_of(const struct buf *buf)
{
	return (struct kv_bytes){ buf->bytes, buf->count };
}

static void try_batch(struct kv_bytes value)
{
	AUTO(dict) dict = make_dict();
	add_chains(dict);
	AUTO(batch) batch = batch_new(dict);
	AUTO(batch) batch_again = batch_new(dict);
	AUTO_BUF scratch = { 0 };
	AUTO_BUF again = { 0 };
	struct record_batch record;
	if (record_get_batch(key, value, &record) < 0 ||
	        record_unpack_batch(&record, START_NS, &scratch, batch) < 0)
		return;
	record_put_batch(batch, record.generation, key, &scratch, &again);
	assert(!again.failed);
	int r = record_get_batch(key, value_of(&again), &record);
	assert(r == 0);
	r = record_unpack_batch(&record, START_NS, &scratch, batch_again);
	assert(r == 0 && batch_again->rows_count == batch->rows_count);
	assert(batch_samples(batch_again) == batch_samples(batch));
	assert(batch_lost(batch_again) == batch_lost(batch));
}

static void try_dict(struct kv_bytes value, struct kv_bytes text)
{
	AUTO(dict) dict = make_dict();
	AUTO(dict_packer) packer = dict_packer_new();
	struct dict_mark before = dict_mark(dict);
	assert(packer);
	if (record_get_dict(key, value, text, packer, dict) < 0) {
		struct dict_mark after = dict_mark(dict);
		assert(memcmp(&before, &after, sizeof(before)) == 0);
	}
}

/* A text, behind its length, and what it is of. */
static void try_dict_with_text(const uint8_t *bytes, size_t count)
{
	AUTO_BUF sealed = { 0 };
	AUTO_BUF sealed_text = { 0 };
	struct reader from = reader_of(bytes, count);
	size_t text_count = reader_count(&from, 1);
	const uint8_t *text = reader_bytes(&from, text_count);
	if (!text)
		return;
	record_begin_version(RECORD_VERSION_DICT, &sealed_text);
	buf_put(&sealed_text, text, text_count);
	record_seal(&sealed_text, key);
	record_begin_version(RECORD_VERSION_DICT, &sealed);
	buf_put(&sealed, from.at, reader_left(&from));
	record_seal(&sealed, key);
	if (sealed.failed || sealed_text.failed)
		return;
	assert(record_dict_has_text(value_of(&sealed)));
	assert(record_check_dict_text(key, value_of(&sealed_text)) == 0);
	try_dict(value_of(&sealed), value_of(&sealed_text));
	try_dict(value_of(&sealed), (struct kv_bytes){ 0 });
}

static void try_stream(struct kv_bytes value)
{
	struct record_stream stream, stream_again;
	struct seq_set seqs = { 0 };
	struct seq_set seqs_again = { 0 };
	AUTO_BUF again = { 0 };
	if (record_get_stream(key, value, &stream, &seqs) == 0) {
		record_put_stream(&stream, &seqs, key, &again);
		int r = record_get_stream(key, value_of(&again), &stream_again, &seqs_again);
		assert(r == 0 && seqs.ranges_count == seqs_again.ranges_count);
		assert(stream.epoch == stream_again.epoch &&
		        strcmp(stream.tenant, stream_again.tenant) == 0);
	}
	seq_set_fini(&seqs);
	seq_set_fini(&seqs_again);
}

static void try_counters(struct kv_bytes value)
{
	struct store_counters counters, counters_again;
	AUTO_BUF again = { 0 };
	if (record_get_counters(key, value, &counters) < 0)
		return;
	record_put_counters(&counters, key, &again);
	int r = record_get_counters(key, value_of(&again), &counters_again);
	assert(r == 0 && memcmp(&counters, &counters_again, sizeof(counters)) == 0);
}

static void try_agent(struct kv_bytes value)
{
	struct store_agent agent, agent_again;
	AUTO_BUF again = { 0 };
	if (record_get_agent(key, value, &agent) < 0)
		return;
	record_put_agent(&agent, key, &again);
	int r = record_get_agent(key, value_of(&again), &agent_again);
	assert(r == 0 && strcmp(agent.host, agent_again.host) == 0);
	assert(memcmp(&agent.state, &agent_again.state, sizeof(agent.state)) == 0);
}

/* The number in the key says that it is one that old windows moved to. */
static void try_compact(const uint8_t *payload, size_t count)
{
	uint8_t bytes[KEYS_GENERATION_BYTES];
	struct kv_bytes of = { bytes, sizeof(bytes) };
	struct record_generation generation, again_generation;
	AUTO_BUF again = { 0 };
	AUTO_BUF sealed = { 0 };
	keys_put_generation(KEYS_GENERATION_COMPACT + 1, bytes);
	record_begin_version(RECORD_VERSION_COMPACT, &sealed);
	buf_put(&sealed, payload, count);
	record_seal(&sealed, of);
	if (sealed.failed || record_get_generation(of, value_of(&sealed), &generation) < 0)
		return;
	assert(generation.is_closed);
	record_put_generation(&generation, of, &again);
	int r = record_get_generation(of, value_of(&again), &again_generation);
	assert(r == 0 && generation.origin == again_generation.origin &&
	        generation.stage == again_generation.stage &&
	        generation.rows == again_generation.rows);
}

static void try_small(struct kv_bytes value)
{
	uint64_t body_bytes;
	struct kv_bytes body;
	struct record_format format;
	struct record_generation generation, generation_again;
	AUTO_BUF again = { 0 };
	(void)record_get_symbols_head(key, value, &body_bytes);
	(void)record_get_format(key, value, &format);
	if (record_get_generation(key, value, &generation) == 0) {
		record_put_generation(&generation, key, &again);
		assert(record_get_generation(key, value_of(&again), &generation_again) == 0);
		assert(generation.began_ns == generation_again.began_ns &&
		        memcmp(&generation.mark, &generation_again.mark, sizeof(generation.mark)) ==
		                0);
	}
	if (record_get_symbols_body(key, value, &body) == 0)
		assert(body.count + 9 == value.count); /* checksum and version lie before it */
}

static void try_run(struct kv_bytes value)
{
	AUTO_EXPIRY_RUN run = { 0 };
	AUTO_EXPIRY_RUN run_again = { 0 };
	AUTO_BUF again = { 0 };
	struct expiry expiry = { 0 };
	if (expiry_get_run(key, value, &run) < 0)
		return;
	expiry_put_run(&run, key, &again);
	assert(!again.failed);
	int r = expiry_get_run(key, value_of(&again), &run_again);
	assert(r == 0 && run.items_count == run_again.items_count);
	assert(memcmp(&run.hidden, &run_again.hidden, sizeof(run.hidden)) == 0);
	for (uint32_t i = 0; i < run.items_count; i++)
		assert(expiry_item_compare(&run.items[i], &run_again.items[i]) == 0);
	if (expiry_reserve(&expiry, run.items_count) == 0) {
		run.run.id = 1;
		expiry_add(&expiry, &run);
		for (uint32_t i = 0; i < run_again.items_count; i++)
			assert(expiry_parts(&expiry, run_again.items[i].window,
			               run_again.items[i].unit) != 0);
		expiry_remove(&expiry, 1);
	}
	expiry_fini(&expiry);
}

static void try_window(const uint8_t *payload, size_t count, uint8_t version)
{
	struct key_window of = { 600, 1200, 0 };
	if (version == WINDOW_VERSION_LEVELS && count > 0) /* the key says the level as well */
		of.generation = (uint32_t)(payload[0] & 3) << KEYS_LEVEL_SHIFT;
	AUTO_BUF sealed = { 0 };
	AUTO_BUF again = { 0 };
	AUTO_WINDOW window = { 0 };
	AUTO_WINDOW window_again = { 0 };
	record_begin_version(version, &sealed);
	buf_put(&sealed, payload, count);
	record_seal(&sealed, key);
	if (sealed.failed || window_get(key, value_of(&sealed), of, &window) < 0)
		return;
	window_put(&window, of, key, &again);
	assert(!again.failed);
	int r = window_get(key, value_of(&again), of, &window_again);
	assert(r == 0 && window.units_count == window_again.units_count);
	assert(window.level == window_again.level &&
	        window.is_collapsed == window_again.is_collapsed &&
	        window.sources_count == window_again.sources_count);
	for (uint32_t i = 0; i < window.units_count; i++)
		assert(window.units[i].is_gone == window_again.units[i].is_gone &&
		        window.units[i].bytes_sums == window_again.units[i].bytes_sums);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF sealed = { 0 };
	struct reader payload;
	struct kv_bytes raw = { bytes, count };
	/* A fuzzer that sees what is compared can find a checksum that is right. */
	int r = record_open(key, raw, &payload);
	assert(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
	if (count == 0)
		return 0;

	record_begin_version(bytes[0] == 'C'   ? RECORD_VERSION_COUNTERS
	                     : bytes[0] == 'B' ? RECORD_VERSION_BATCH_PACKED
	                     : bytes[0] == 'Z' ? RECORD_VERSION_BATCH
	                                       : RECORD_VERSION,
	        &sealed);
	buf_put(&sealed, bytes + 1, count - 1);
	record_seal(&sealed, key);
	if (sealed.failed)
		return 0;
	struct kv_bytes value = value_of(&sealed);
	switch (bytes[0]) {
	case 'b':
	case 'B':
	case 'Z':
		try_batch(value);
		break;
	case 'd':
		try_dict(value, (struct kv_bytes){ 0 });
		break;
	case 'D':
		try_dict_with_text(bytes + 1, count - 1);
		break;
	case 's':
		try_stream(value);
		break;
	case 'c':
	case 'C':
		try_counters(value);
		break;
	case 'a':
		try_agent(value);
		break;
	case 'e':
		try_run(value);
		break;
	case 'g':
		try_compact(bytes + 1, count - 1);
		break;
	case 'w':
	case 'W':
		try_window(bytes + 1, count - 1,
		        bytes[0] == 'w' ? WINDOW_VERSION_PLAIN : WINDOW_VERSION_LEVELS);
		break;
	default:
		try_small(value);
	}
	return 0;
}
