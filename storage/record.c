/*
 * Writers and readers of each kind lie next to each other, in the order of record.h. A reader reads
 * everything, then checks once: reader's error is sticky and its zeroes are harmless.
 */

#include "storage/record.h"

#include <errno.h>
#include <string.h>

#include "core/compress.h"
#include "core/hash.h"
#include "storage/keys.h"

#define RECORD_CHECKSUM_BYTES 8

/* Columns shorter than this hardly get smaller by packing. */
#define RECORD_PACK_BYTES_MIN 64

/* Fewer rows stay in their plain form. */
#define RECORD_CODE_ROWS_MIN  32
#define RECORD_TEXT_BYTES_MIN 64
/*
 * Fewer nodes stay in their plain form: a small dictionary foretells little. In one that has so
 * many, the additions of a single file or report, which may be few, take a third in packed form.
 */
#define RECORD_PACK_NODES_MIN       64
#define RECORD_PACK_NODES_MIN_LARGE 8
#define RECORD_LARGE_NODES          4096
/* What a packer may go over before it writes a delta: so much, or so many times the delta. */
#define RECORD_UNSEEN_NODES_MAX 1000000
#define RECORD_UNSEEN_RATIO_MAX 16

enum record_batch_flags { RECORD_PACKED = 1, RECORD_LOSS_OF_NONE = 2, RECORD_GENERATION = 4 };

#define RECORD_BATCH_FLAGS (RECORD_PACKED | RECORD_LOSS_OF_NONE | RECORD_GENERATION)

static uint64_t record_checksum(struct kv_bytes key, const uint8_t *bytes, size_t count)
{
	return hash64_bytes(bytes, count) ^ hash64_bytes(key.bytes, key.count);
}

void record_begin(struct buf *to)
{
	record_begin_version(RECORD_VERSION, to);
}

void record_begin_version(uint8_t version, struct buf *to)
{
	buf_put_u64(to, 0); /* the checksum, in record_seal() */
	buf_put_u8(to, version);
}

void record_seal(struct buf *record, struct kv_bytes key)
{
	if (record->failed)
		return;
	uint64_t checksum = record_checksum(
	        key, record->bytes + RECORD_CHECKSUM_BYTES, record->count - RECORD_CHECKSUM_BYTES);
	for (int i = 0; i < RECORD_CHECKSUM_BYTES; i++)
		record->bytes[i] = (uint8_t)(checksum >> (8 * i));
}

int record_open(struct kv_bytes key, struct kv_bytes value, struct reader *ret_payload)
{
	uint8_t version;
	return record_open_version(key, value, RECORD_VERSION, &version, ret_payload);
}

int record_open_version(struct kv_bytes key, struct kv_bytes value, uint8_t version_max,
        uint8_t *ret_version, struct reader *ret_payload)
{
	struct reader reader = reader_of(value.bytes, value.count);
	uint64_t checksum = reader_u64(&reader);
	const uint8_t *covered = reader.at;
	uint8_t version = reader_u8(&reader);
	if (reader.failed ||
	        checksum != record_checksum(key, covered, value.count - RECORD_CHECKSUM_BYTES))
		return -EBADMSG;
	if (version > version_max)
		return -EPROTONOSUPPORT;
	if (version == 0)
		return -EBADMSG;
	*ret_version = version;
	*ret_payload = reader;
	return 0;
}

/* A payload is read to its end, or it is not what we think it is. */
static int record_finish(const struct reader *reader)
{
	return reader->failed || reader_left(reader) > 0 ? -EBADMSG : 0;
}

/* The next series that occurs in any of the three columns at or after the places reached. */
struct record_places {
	uint32_t row, coverage, loss;
};

static uint32_t record_next_series(const struct batch *batch, struct record_places *places)
{
	uint32_t series = SERIES_NONE;
	if (places->row < batch->rows_count)
		series = batch->rows[places->row].series;
	if (places->coverage < batch->coverage_count &&
	        batch->coverage[places->coverage].series < series)
		series = batch->coverage[places->coverage].series;
	if (places->loss < batch->losses_count && batch->losses[places->loss].series < series)
		series = batch->losses[places->loss].series;

	while (places->row < batch->rows_count && batch->rows[places->row].series == series)
		places->row++;
	while (places->coverage < batch->coverage_count &&
	        batch->coverage[places->coverage].series == series)
		places->coverage++;
	while (places->loss < batch->losses_count && batch->losses[places->loss].series == series)
		places->loss++;
	return series;
}

static void record_put_directory(const struct batch *batch, struct buf *to)
{
	uint32_t count = 0;
	struct record_places places = { 0 };
	while (record_next_series(batch, &places) != SERIES_NONE)
		count++;
	buf_put_varint(to, count);

	places = (struct record_places){ 0 };
	uint32_t before = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t series = record_next_series(batch, &places);
		buf_put_varint(to, series - before);
		before = series;
	}
}

static void record_put_columns(const struct batch *batch, struct buf *scratch, struct buf *to)
{
	bool is_packed = scratch->count >= RECORD_PACK_BYTES_MIN;
	record_put_directory(batch, to);
	buf_put_varint(to, scratch->count);
	if (!is_packed)
		buf_put(to, scratch->bytes, scratch->count);
	else if (compress_append(COMPRESS_LZ4, scratch->bytes, scratch->count, to) < 0)
		to->failed = true;
}

bool record_batch_is_coded(const struct batch *batch)
{
	return batch->rows_count >= RECORD_CODE_ROWS_MIN;
}

void record_put_batch(const struct batch *batch, uint32_t generation, struct kv_bytes key,
        struct buf *scratch, struct buf *to)
{
	/* SERIES_NONE sorts last. */
	bool has_loss_of_none = batch->losses_count > 0 &&
	                        batch->losses[batch->losses_count - 1].series == SERIES_NONE;
	bool is_coded = record_batch_is_coded(batch);
	buf_reset(scratch);
	if (!is_coded)
		batch_encode(batch, scratch);
	if (scratch->failed) {
		to->failed = true;
		return;
	}
	bool is_packed = scratch->count >= RECORD_PACK_BYTES_MIN;

	record_begin_version(is_coded ? RECORD_VERSION_BATCH : RECORD_VERSION, to);
	buf_put_u8(to, (is_packed ? RECORD_PACKED : 0) |
	                       (has_loss_of_none ? RECORD_LOSS_OF_NONE : 0) |
	                       (generation ? RECORD_GENERATION : 0));
	if (generation)
		buf_put_varint(to, generation);
	buf_put_varint(to, batch->duration_ns);
	if (is_coded) {
		record_put_directory(batch, to);
		batch_encode_coded(batch, scratch, to);
	} else {
		record_put_columns(batch, scratch, to);
	}
	record_seal(to, key);
}

int record_get_batch(struct kv_bytes key, struct kv_bytes value, struct record_batch *ret_record)
{
	struct reader reader;
	uint8_t version;
	int r = record_open_version(key, value, RECORD_VERSION_BATCH, &version, &reader);
	if (r < 0)
		return r;

	uint8_t flags = reader_u8(&reader);
	uint32_t generation = 0;
	if (flags & RECORD_GENERATION) {
		generation = (uint32_t)reader_varint_max(&reader, KEYS_GENERATION_MAX);
		if (generation == 0)
			return -EBADMSG;
	}
	struct record_batch record = {
		.generation = generation,
		.duration_ns = reader_varint(&reader),
		.has_loss_of_none = flags & RECORD_LOSS_OF_NONE,
		.is_packed = flags & RECORD_PACKED,
		.has_packed_form = version == RECORD_VERSION_BATCH_PACKED,
		.has_coded_form = version == RECORD_VERSION_BATCH,
	};
	size_t count = reader_count(&reader, 1);
	if (count >= SERIES_NONE)
		return -EBADMSG;
	record.series_count = (uint32_t)count;
	record.series = reader;
	uint64_t series = 0;
	for (size_t i = 0; i < count && !reader.failed; i++) {
		uint64_t distance = reader_varint_max(&reader, SERIES_NONE - 1 - series);
		if (i > 0 && distance == 0)
			reader_fail(&reader);
		series += distance;
	}
	record.series.end = reader.at;
	bool is_plain = version == RECORD_VERSION;
	if (is_plain)
		record.unpacked_bytes = (uint32_t)reader_varint_max(
		        &reader, RECORD_BATCH_BYTES_MAX);
	record.columns = reader;
	if (reader.failed || (flags & ~RECORD_BATCH_FLAGS) || (!is_plain && record.is_packed))
		return -EBADMSG;
	if (is_plain && !record.is_packed && reader_left(&reader) != record.unpacked_bytes)
		return -EBADMSG;
	*ret_record = record;
	return 0;
}

int record_unpack_batch(const struct record_batch *record, uint64_t start_ns, struct buf *scratch,
        struct batch *batch)
{
	struct reader columns = record->columns;
	if (record->has_packed_form || record->has_coded_form) {
		batch->start_ns = start_ns;
		batch->duration_ns = record->duration_ns;
		int r = record->has_coded_form
		                ? batch_decode_coded(batch, RECORD_BATCH_ROWS_MAX, &columns)
		                : batch_decode_packed(
		                          batch, RECORD_BATCH_ROWS_MAX, scratch, &columns);
		if (r < 0)
			batch_reset(batch);
		return r;
	}
	if (record->is_packed) {
		buf_reset(scratch);
		int r = compress_unpack(COMPRESS_LZ4, columns.at, reader_left(&columns),
		        record->unpacked_bytes, RECORD_BATCH_BYTES_MAX, scratch);
		if (r < 0)
			return r == -E2BIG ? -EBADMSG : r;
		columns = reader_of(scratch->bytes, scratch->count);
	}
	int r = batch_decode(batch, &columns);
	if (r == 0 && (reader_left(&columns) > 0 || batch->start_ns != start_ns ||
	                      batch->duration_ns != record->duration_ns)) {
		batch_reset(batch);
		r = -EBADMSG;
	}
	return r;
}

bool record_dict_is_packed(
        const struct dict_packer *packer, const struct dict *dict, struct dict_mark from)
{
	uint64_t added = dict_mark(dict).nodes - from.nodes;
	uint64_t unseen = dict_packer_unseen(packer, from);
	uint32_t added_min = from.nodes < RECORD_LARGE_NODES ? RECORD_PACK_NODES_MIN
	                                                     : RECORD_PACK_NODES_MIN_LARGE;
	return added >= added_min &&
	       (unseen <= RECORD_UNSEEN_NODES_MAX || unseen / RECORD_UNSEEN_RATIO_MAX <= added);
}

/* Text of a few bytes would take more under a key of its own. */
static bool record_dict_text_is_apart(const struct dict *dict, struct dict_mark from)
{
	return dict_text_bytes(dict, from) >= RECORD_TEXT_BYTES_MIN;
}

void record_put_dict(struct dict_packer *packer, const struct dict *dict, struct dict_mark from,
        struct kv_bytes key, struct buf *text, struct buf *to)
{
	if (!record_dict_is_packed(packer, dict, from)) {
		dict_packer_forget(packer, from);
		record_begin(to);
		dict_encode(dict, from, to);
	} else if (record_dict_text_is_apart(dict, from)) {
		record_begin_version(RECORD_VERSION_DICT, text);
		record_begin_version(RECORD_VERSION_DICT, to);
		dict_encode_packed(packer, dict, from, text, to);
		record_seal(text, key);
		to->failed |= text->failed;
	} else {
		record_begin_version(RECORD_VERSION_DICT_PACKED, to);
		dict_encode_packed(packer, dict, from, to, to);
	}
	record_seal(to, key);
}

bool record_dict_has_text(struct kv_bytes value)
{
	const uint8_t *bytes = value.bytes;
	return value.count > RECORD_CHECKSUM_BYTES &&
	       bytes[RECORD_CHECKSUM_BYTES] == RECORD_VERSION_DICT;
}

static int record_open_dict_text(
        struct kv_bytes key, struct kv_bytes value, struct reader *ret_payload)
{
	uint8_t version = 0;
	int r = record_open_version(key, value, RECORD_VERSION_DICT, &version, ret_payload);
	return r == 0 && version != RECORD_VERSION_DICT ? -EBADMSG : r;
}

int record_check_dict_text(struct kv_bytes key, struct kv_bytes value)
{
	struct reader payload;
	return record_open_dict_text(key, value, &payload);
}

static int record_decode_dict(struct kv_bytes key, struct kv_bytes text, uint8_t version,
        struct dict_packer *packer, struct dict *dict, struct reader *from)
{
	struct reader text_from;
	if (version == RECORD_VERSION)
		return dict_decode(dict, from);
	if (version == RECORD_VERSION_DICT_PACKED)
		return dict_decode_packed(packer, dict, from, from);
	int r = record_open_dict_text(key, text, &text_from);
	return r < 0 ? r : dict_decode_packed(packer, dict, &text_from, from);
}

int record_get_dict(struct kv_bytes key, struct kv_bytes value, struct kv_bytes text,
        struct dict_packer *packer, struct dict *dict)
{
	struct reader reader;
	uint8_t version = 0;
	struct dict_mark before = dict_mark(dict);
	int r = record_open_version(key, value, RECORD_VERSION_DICT, &version, &reader);
	if (r < 0)
		return r;
	dict_packer_forget(packer, before);
	r = record_decode_dict(key, text, version, packer, dict, &reader);
	if (r == 0 && reader_left(&reader) > 0) {
		dict_truncate(dict, before);
		r = -EBADMSG;
	}
	return r;
}

static bool generation_record_is_compact(struct kv_bytes key)
{
	uint32_t id;
	return keys_get_generation(key.bytes, key.count, &id) == 0 && id >= KEYS_GENERATION_COMPACT;
}

void record_put_generation(
        const struct record_generation *generation, struct kv_bytes key, struct buf *to)
{
	bool is_compact = generation_record_is_compact(key);
	record_begin_version(is_compact ? RECORD_VERSION_COMPACT : RECORD_VERSION, to);
	buf_put_varint(to, generation->began_ns);
	buf_put_u8(to, generation->is_closed);
	if (generation->is_closed) {
		buf_put_varint(to, generation->chunks_count);
		buf_put_varint(to, generation->mark.strings);
		buf_put_varint(to, generation->mark.modules);
		buf_put_varint(to, generation->mark.frames);
		buf_put_varint(to, generation->mark.nodes);
		buf_put_varint(to, generation->mark.series);
	}
	if (is_compact) {
		buf_put_varint(to, generation->origin);
		buf_put_u8(to, generation->stage);
		buf_put_varint(to, generation->rows);
	}
	record_seal(to, key);
}

int record_get_generation(
        struct kv_bytes key, struct kv_bytes value, struct record_generation *ret_generation)
{
	struct reader reader;
	struct record_generation generation = { 0 };
	uint8_t version = 0;
	int r = record_open_version(key, value, RECORD_VERSION_COMPACT, &version, &reader);
	if (r < 0)
		return r;
	/* The number says which it is; a record has one form. */
	if ((version == RECORD_VERSION_COMPACT) != generation_record_is_compact(key))
		return -EBADMSG;
	generation.began_ns = reader_varint(&reader);
	uint8_t is_closed = reader_u8(&reader);
	if (is_closed) {
		generation.chunks_count = reader_varint_max(&reader, KEYS_DICT_ORDINAL_MAX);
		generation.mark.strings = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
		generation.mark.modules = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
		generation.mark.frames = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
		generation.mark.nodes = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
		generation.mark.series = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
	}
	if (version == RECORD_VERSION_COMPACT) {
		generation.origin = (uint32_t)reader_varint_max(&reader, KEYS_GENERATION_MAX);
		generation.stage = reader_u8(&reader);
		generation.rows = reader_varint(&reader);
		if (!is_closed)
			return -EBADMSG;
	}
	if (is_closed > 1)
		return -EBADMSG;
	generation.is_closed = is_closed;
	r = record_finish(&reader);
	if (r == 0)
		*ret_generation = generation;
	return r;
}

/* Text that is bounded and holds no zero byte, ended by one. */
static void record_get_text(struct reader *reader, char *ret_text, size_t text_bytes)
{
	size_t count = 0;
	const char *text = reader_string(reader, text_bytes - 1, &count);
	if (!text || (count && memchr(text, 0, count))) {
		reader_fail(reader);
		count = 0;
	}
	if (count)
		memcpy(ret_text, text, count);
	ret_text[count] = 0;
}

static void record_get_uuid(struct reader *reader, struct wire_uuid *ret_uuid)
{
	const uint8_t *bytes = reader_bytes(reader, sizeof(ret_uuid->bytes));
	if (bytes)
		memcpy(ret_uuid->bytes, bytes, sizeof(ret_uuid->bytes));
}

void record_put_stream(const struct record_stream *stream, const struct seq_set *seqs,
        struct kv_bytes key, struct buf *to)
{
	record_begin(to);
	buf_put(to, stream->uuid.bytes, sizeof(stream->uuid.bytes));
	buf_put_u64(to, stream->epoch);
	buf_put_varint(to, stream->shard);
	buf_put_string(to, stream->tenant, strlen(stream->tenant));
	buf_put_varint(to, stream->used_ns);
	seq_set_put(seqs, to);
	record_seal(to, key);
}

int record_get_stream(struct kv_bytes key, struct kv_bytes value, struct record_stream *ret_stream,
        struct seq_set *seqs)
{
	struct reader reader;
	struct record_stream stream = { 0 };
	int r = record_open(key, value, &reader);
	if (r < 0)
		return r;
	record_get_uuid(&reader, &stream.uuid);
	stream.epoch = reader_u64(&reader);
	stream.shard = (uint16_t)reader_varint_max(&reader, UINT16_MAX);
	record_get_text(&reader, stream.tenant, sizeof(stream.tenant));
	stream.used_ns = reader_varint(&reader);
	r = reader.failed ? -EBADMSG : seq_set_get(seqs, &reader);
	r = r < 0 ? r : record_finish(&reader);
	if (r < 0)
		seq_set_fini(seqs);
	else
		*ret_stream = stream;
	return r;
}

/* A count, then so many: a reader that knows fewer reasons keeps the rest under 0. */
static void record_put_lost(const uint64_t lost[LOSS_REASON_MAX + 1], struct buf *to)
{
	buf_put_varint(to, LOSS_REASON_MAX + 1);
	for (int i = 0; i <= LOSS_REASON_MAX; i++)
		buf_put_varint(to, lost[i]);
}

static void record_get_lost(struct reader *reader, uint64_t ret_lost[LOSS_REASON_MAX + 1])
{
	size_t count = reader_count(reader, 1);
	for (size_t i = 0; i < count && !reader->failed; i++) {
		uint64_t value = reader_varint(reader);
		size_t reason = i <= LOSS_REASON_MAX ? i : 0;
		if (__builtin_add_overflow(ret_lost[reason], value, &ret_lost[reason]))
			reader_fail(reader);
	}
}

void record_put_counters(const struct store_counters *counters, struct kv_bytes key, struct buf *to)
{
	bool is_plain = counters->batches_late == 0 && counters->samples_folded == 0;
	record_begin_version(is_plain ? RECORD_VERSION : RECORD_VERSION_COUNTERS, to);
	buf_put_varint(to, counters->batches);
	buf_put_varint(to, counters->batches_duplicate);
	buf_put_varint(to, counters->rows);
	buf_put_varint(to, counters->samples);
	record_put_lost(counters->lost, to);
	if (!is_plain) {
		buf_put_varint(to, counters->batches_late);
		buf_put_varint(to, counters->samples_folded);
	}
	record_seal(to, key);
}

int record_get_counters(
        struct kv_bytes key, struct kv_bytes value, struct store_counters *ret_counters)
{
	struct reader reader;
	struct store_counters counters = { 0 };
	uint8_t version;
	int r = record_open_version(key, value, RECORD_VERSION_COUNTERS, &version, &reader);
	if (r < 0)
		return r;
	counters.batches = reader_varint(&reader);
	counters.batches_duplicate = reader_varint(&reader);
	counters.rows = reader_varint(&reader);
	counters.samples = reader_varint(&reader);
	record_get_lost(&reader, counters.lost);
	if (version == RECORD_VERSION_COUNTERS) {
		counters.batches_late = reader_varint(&reader);
		counters.samples_folded = reader_varint(&reader);
		/* A record has one form. */
		if (counters.batches_late == 0 && counters.samples_folded == 0)
			reader_fail(&reader);
	}
	r = record_finish(&reader);
	if (r == 0)
		*ret_counters = counters;
	return r;
}

void record_put_agent(const struct store_agent *agent, struct kv_bytes key, struct buf *to)
{
	const struct wire_agent_state *state = &agent->state;

	record_begin(to);
	buf_put_u64(to, agent->epoch);
	buf_put_string(to, agent->host, strnlen(agent->host, sizeof(agent->host) - 1));
	buf_put_string(to, agent->program, strnlen(agent->program, sizeof(agent->program) - 1));
	buf_put_varint(to, agent->role);
	buf_put_varint(to, agent->first_seen_ns);
	buf_put_varint(to, agent->last_seen_ns);
	buf_put_varint(to, agent->last_interval_end_ns);
	buf_put_varint(to, state->hz_milli);
	buf_put_varint(to, state->samples_taken);
	buf_put_varint(to, state->samples_sent);
	buf_put_varint(to, state->spool_samples);
	buf_put_varint(to, state->spool_bytes);
	buf_put_varint(to, state->cpu_ns);
	buf_put_varint(to, state->rss_bytes);
	record_put_lost(state->lost, to);
	record_seal(to, key);
}

int record_get_agent(struct kv_bytes key, struct kv_bytes value, struct store_agent *ret_agent)
{
	struct reader reader;
	struct store_agent agent = { 0 };
	struct wire_agent_state *state = &agent.state;
	int r = record_open(key, value, &reader);
	if (r < 0)
		return r;
	agent.epoch = reader_u64(&reader);
	record_get_text(&reader, agent.host, sizeof(agent.host));
	record_get_text(&reader, agent.program, sizeof(agent.program));
	agent.role = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
	agent.first_seen_ns = reader_varint(&reader);
	agent.last_seen_ns = reader_varint(&reader);
	agent.last_interval_end_ns = reader_varint(&reader);
	state->hz_milli = reader_varint(&reader);
	state->samples_taken = reader_varint(&reader);
	state->samples_sent = reader_varint(&reader);
	state->spool_samples = reader_varint(&reader);
	state->spool_bytes = reader_varint(&reader);
	state->cpu_ns = reader_varint(&reader);
	state->rss_bytes = reader_varint(&reader);
	record_get_lost(&reader, state->lost);
	r = record_finish(&reader);
	if (r == 0)
		*ret_agent = agent;
	return r;
}

void record_put_symbols_head(uint64_t body_bytes, struct kv_bytes key, struct buf *to)
{
	record_begin(to);
	buf_put_varint(to, body_bytes);
	record_seal(to, key);
}

int record_get_symbols_head(struct kv_bytes key, struct kv_bytes value, uint64_t *ret_body_bytes)
{
	struct reader reader;
	int r = record_open(key, value, &reader);
	if (r < 0)
		return r;
	uint64_t body_bytes = reader_varint(&reader);
	r = record_finish(&reader);
	if (r == 0)
		*ret_body_bytes = body_bytes;
	return r;
}

void record_put_symbols_body(struct kv_bytes body, struct kv_bytes key, struct buf *to)
{
	record_begin(to);
	buf_put(to, body.bytes, body.count);
	record_seal(to, key);
}

int record_get_symbols_body(struct kv_bytes key, struct kv_bytes value, struct kv_bytes *ret_body)
{
	struct reader reader;
	int r = record_open(key, value, &reader);
	if (r == 0)
		*ret_body = (struct kv_bytes){ reader.at, reader_left(&reader) };
	return r;
}

void record_put_format(struct record_format format, struct kv_bytes key, struct buf *to)
{
	record_begin(to);
	buf_put_u32(to, format.version);
	buf_put_u32(to, format.version_min);
	record_seal(to, key);
}

int record_get_format(struct kv_bytes key, struct kv_bytes value, struct record_format *ret_format)
{
	struct reader reader;
	int r = record_open(key, value, &reader);
	if (r < 0)
		return r;
	struct record_format format = {
		.version = reader_u32(&reader),
		.version_min = reader_u32(&reader),
	};
	/* A newer version may say more behind these. */
	if (reader.failed)
		return -EBADMSG;
	*ret_format = format;
	return 0;
}
