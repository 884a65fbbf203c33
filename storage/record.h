#pragma once

/*
 * record is the form of every value the store keeps in kv: a checksum, a version, and a payload
 * per kind. docs/formats/store.md has the bytes.
 *
 *	u64 checksum | u8 version | payload          checksum = xxh3(version, payload) xor xxh3(key)
 *
 * The key is part of the checksum, so that a value which ends up under another key is as wrong as
 * one with a flipped bit. Readers take bytes from the disk: -EBADMSG when the checksum or anything
 * behind it is wrong, -EPROTONOSUPPORT when the version is newer than we are. Nothing is asserted.
 *
 * Writers append to a buf and finish with record_seal(); the buf's sticky error is the caller's to
 * check.
 */

#include <stdint.h>

#include "core/buf.h"
#include "core/reader.h"
#include "profile/batch.h"
#include "profile/dict_packer.h"
#include "storage/kv.h"
#include "storage/seq_set.h"
#include "storage/store.h"

#define RECORD_VERSION 1
/* Of counters that have what the first version had no place for. */
#define RECORD_VERSION_COUNTERS 2
/* Of generations of the dictionary that old windows moved to. */
#define RECORD_VERSION_COMPACT 2
/* Of batches whose columns are in the packed form, and in the coded one that took its place. */
#define RECORD_VERSION_BATCH_PACKED 2
#define RECORD_VERSION_BATCH        3

/* Of deltas of the dict that are packed, which those of more than a few nodes are; and of those
 * whose text is a value of its own, in a family of its own, under the same key and version. */
#define RECORD_VERSION_DICT_PACKED 2
#define RECORD_VERSION_DICT        3

/* What one batch may take unpacked, and how many rows: more is refused before it is written. */
#define RECORD_BATCH_BYTES_MAX (256u << 20)
#define RECORD_BATCH_ROWS_MAX  (8u << 20)

/* Begins a record in an empty buf, and computes its checksum when the payload is complete. */
void record_begin(struct buf *to);
void record_begin_version(uint8_t version, struct buf *to);
void record_seal(struct buf *record, struct kv_bytes key);

/* Checks checksum and version; *ret_payload is what lies behind them. */
int record_open(struct kv_bytes key, struct kv_bytes value, struct reader *ret_payload);
/* Of kinds that have had more versions than one. */
int record_open_version(struct kv_bytes key, struct kv_bytes value, uint8_t version_max,
        uint8_t *ret_version, struct reader *ret_payload);

/*
 * A batch, opened but not unpacked: what a reader needs to see whether it is of interest. The
 * directory names every series that has a row, coverage or a loss in it.
 */
struct record_batch {
	uint64_t duration_ns;
	uint32_t generation; /* of the dict that its ids are of */
	uint32_t series_count;
	bool has_loss_of_none; /* losses of SERIES_NONE */
	bool is_packed;        /* plain columns, under LZ4 */
	bool has_packed_form;  /* columns in the packed form */
	bool has_coded_form;   /* columns in the coded form */
	struct reader series;  /* ascending: the first, then each as a distance of at least 1 */
	uint32_t unpacked_bytes;
	struct reader columns;
};

/* Has it so many rows that it is kept in the coded form, which not every reader knows? */
bool record_batch_is_coded(const struct batch *batch);

/* Settled, with ids of that generation of the store's dict. `scratch` is any buf. */
void record_put_batch(const struct batch *batch, uint32_t generation, struct kv_bytes key,
        struct buf *scratch, struct buf *to);
int record_get_batch(struct kv_bytes key, struct kv_bytes value, struct record_batch *ret_record);

/*
 * Columns into an empty batch over the generation's dict. Start and duration must agree with the
 * key and the head. -EBADMSG, -ENOMEM.
 */
int record_unpack_batch(const struct record_batch *record, uint64_t start_ns, struct buf *scratch,
        struct batch *batch);

/*
 * Is what was added to the dict since `from` so much that it is packed, which not every reader
 * knows? Not where the packer would have to go over too much for it first.
 */
bool record_dict_is_packed(
        const struct dict_packer *packer, const struct dict *dict, struct dict_mark from);
/*
 * What a group added to the dict since `from`. A packer is for one dict as long as that grows.
 * `text` stays empty where the text is not apart. Both bufs are empty before.
 */
void record_put_dict(struct dict_packer *packer, const struct dict *dict, struct dict_mark from,
        struct kv_bytes key, struct buf *text, struct buf *to);
/* Belongs a text to this delta? Not checked: record_get_dict() refuses what was not. */
bool record_dict_has_text(struct kv_bytes value);
/*
 * Appends to a dict that stands where the writer's stood. `text` is the value of the text, of no
 * bytes where there is none. -EBADMSG, -ENOSPC (its limits), -ENOMEM.
 */
int record_get_dict(struct kv_bytes key, struct kv_bytes value, struct kv_bytes text,
        struct dict_packer *packer, struct dict *dict);
/* Is it what was written as the text of a delta? As record_open(). */
int record_check_dict_text(struct kv_bytes key, struct kv_bytes value);

/*
 * A generation of the dict. One that no longer grows says how far it got, and one that windows
 * moved to (which its number says) whose they were.
 */
struct record_generation {
	uint64_t began_ns; /* unix */
	bool is_closed;
	struct dict_mark mark;
	uint64_t chunks_count; /* deltas */
	uint32_t origin;       /* the generation that they were appended to */
	uint8_t stage;         /* what was left of it then: enum generation_stage */
	uint64_t rows;         /* of the windows that moved */
};

void record_put_generation(
        const struct record_generation *generation, struct kv_bytes key, struct buf *to);
int record_get_generation(
        struct kv_bytes key, struct kv_bytes value, struct record_generation *ret_generation);

struct record_stream {
	struct wire_uuid uuid;
	uint64_t epoch;
	uint16_t shard;
	char tenant[64];
	uint64_t used_ns; /* unix, of the last append */
};

void record_put_stream(const struct record_stream *stream, const struct seq_set *seqs,
        struct kv_bytes key, struct buf *to);
/* `seqs` is empty before. */
int record_get_stream(struct kv_bytes key, struct kv_bytes value, struct record_stream *ret_stream,
        struct seq_set *seqs);

void record_put_counters(
        const struct store_counters *counters, struct kv_bytes key, struct buf *to);
int record_get_counters(
        struct kv_bytes key, struct kv_bytes value, struct store_counters *ret_counters);

/* uuid and tenant are of the key. */
void record_put_agent(const struct store_agent *agent, struct kv_bytes key, struct buf *to);
int record_get_agent(struct kv_bytes key, struct kv_bytes value, struct store_agent *ret_agent);

/* How long the body is; 0: known to have no table. */
void record_put_symbols_head(uint64_t body_bytes, struct kv_bytes key, struct buf *to);
int record_get_symbols_head(struct kv_bytes key, struct kv_bytes value, uint64_t *ret_body_bytes);
/* The table as it came (docs/formats/symbols.md). */
void record_put_symbols_body(struct kv_bytes body, struct kv_bytes key, struct buf *to);
int record_get_symbols_body(struct kv_bytes key, struct kv_bytes value, struct kv_bytes *ret_body);

/* The format of the whole folder: what wrote it, and the oldest reader that understands it. */
struct record_format {
	uint32_t version;
	uint32_t version_min;
};

void record_put_format(struct record_format format, struct kv_bytes key, struct buf *to);
int record_get_format(struct kv_bytes key, struct kv_bytes value, struct record_format *ret_format);
