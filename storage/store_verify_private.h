#pragma once

/*
 * What the files of store_verify share: what is known of the folder (dictionary, streams,
 * tenants) while windows are compared with it, and how findings are made.
 */

#include "core/id_map.h"
#include "storage/detail_chunk.h"
#include "storage/expiry.h"
#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/record.h"
#include "storage/seq_set.h"
#include "storage/store_verify.h"
#include "storage/sum_block.h"
#include "storage/sum_groups.h"
#include "storage/window.h"

struct verify_stream {
	struct record_stream who;
	uint32_t tenant;     /* index of verify->tenants */
	struct seq_set seqs; /* as on disk */
	struct seq_set met;  /* of batches that were read */
	bool is_known;       /* its record could be read */
};

struct verify_tenant {
	char name[KEYS_TENANT_BYTES_MAX + 1];
	bool has_counters;
	bool is_unsure; /* its counters are there and cannot be read */
	struct store_counters counters;
	uint64_t batches; /* kept */
	uint64_t rows;
};

/* A generation of the dictionary. */
struct verify_dict {
	uint32_t generation;
	struct dict *dict;
	uint64_t chunks_count;
	bool is_whole;
};

struct verify {
	const struct store_verify_options *options;
	struct store_verify_summary summary;
	struct kv *kv;

	struct verify_dict *dicts;
	struct dict_packer *packer; /* of the dict that is being read */
	uint32_t packer_generation;
	uint32_t dicts_count;
	uint32_t dicts_capacity;
	/* Of the generation that is turned to: borrowed. */
	uint32_t generation;
	struct dict *dict;
	bool is_dict_whole;
	struct sum_labels labels;
	struct verify_stream *streams;
	uint32_t streams_count;
	uint32_t streams_capacity;
	bool are_streams_whole;
	struct expiry erasing; /* runs of which a part may be erased already */
	struct verify_tenant *tenants;
	uint32_t tenants_count;
	uint32_t tenants_capacity;

	/* Of one window or batch at a time. */
	struct detail_memory *memory;
	struct sum_memory *sums_memory;
	struct batch *batch;
	struct buf value;
	struct buf scratch;
};

/* Where a finding is. */
struct verify_place {
	const char *family;
	char key[STORE_FINDING_KEY_BYTES];
};

/* Tell of something; negative when the one who is told wants to stop. */
int verify_damage(struct verify *verify, const struct verify_place *place, const char *missing,
        const char *format, ...) __attribute__((format(printf, 4, 5)));
int verify_garbage(struct verify *verify, const struct verify_place *place, const char *reason);

/* What a decoder's code means, in words. */
const char *verify_reason(int result);
/* Is it something that is wrong with the bytes, not with this process? */
bool verify_is_damage(int result);

/* Adds to place->key; text of the disk comes out harmless. */
void verify_put(struct verify_place *place, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
void verify_put_text(struct verify_place *place, const char *bytes, size_t count);
void verify_put_time(struct verify_place *place, uint64_t unix_ns);

/* Counts a record, and says how far it is. -ECANCELED. */
int verify_count(struct verify *verify, const char *family, struct kv_bytes key, size_t bytes);

/*
 * Goes over a family: what cannot be read of its files is told of and passed over.
 *
 *	while ((r = verify_scan_next(&scan, &key, &value)) > 0)
 */
struct verify_scan {
	struct verify *verify;
	const char *family;
	struct kv_iterator *iterator;
	bool is_begun;
	struct buf last; /* the key that was read last */
};

int verify_scan_init(
        struct verify_scan *scan, struct verify *verify, enum kv_family of, const char *family);
void verify_scan_fini(struct verify_scan *scan);
/* 1 with a key and its value, borrowed; 0 at the end; negative. */
int verify_scan_next(
        struct verify_scan *scan, struct kv_bytes *ret_key, struct kv_bytes *ret_value);

/* A batch that is kept, open or sealed: its stream, its watermark, that it is not kept twice. */
int verify_kept(struct verify *verify, const struct verify_place *place, struct key_batch key);

/* What is read next has ids of this generation of the dictionary. -EBADMSG: there is none. */
int verify_turn_to(struct verify *verify, uint32_t generation);

/* All windows and their blocks. */
int verify_windows(struct verify *verify);

/* The audit log and the documents of administration. */
int verify_admin(struct verify *verify);
