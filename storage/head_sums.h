#pragma once

/*
 * head_sums keeps in memory what a seal would write of windows that are still open: members, sums,
 * values and watchers, by the code that seals (store_head.c), without detail. So a question about
 * the last minutes adds up sums, and decodes only what came since they were made.
 *
 * A window's open batches are those of its segments, and those that are listed as fresh: each is in
 * exactly one of them. That holds from the moment on at which the window was added, since whoever
 * appends says so (head_sums_note()), and whoever takes away an open batch drops the window first.
 * So nothing has to be looked for when a question reads: blocks of the segments, and the fresh
 * batches by their keys.
 *
 * Windows and segments are changed under the writer with the gate locked, and read in the gate or
 * under the writer. What is fresh is noted under the writer alone, while others read in the gate: a
 * mutex of its own guards it. Nothing of this is on disk.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "storage/keys.h"
#include "storage/kv.h"

#define HEAD_WINDOWS_MAX  64
#define HEAD_SEGMENTS_MAX 16
#define HEAD_FRESH_MAX    (64u << 10)

/* The blocks of a set of batches, of one generation of the dictionary. */
struct head_segment {
	struct key_window key;     /* as blocks have it: the number is of no window of the store */
	struct key_batch *batches; /* ascending */
	uint32_t batches_count;
	uint64_t batches_bytes; /* of their records */
	uint64_t rows;
	struct buf record; /* struct window, as a seal writes it */
	struct buf blocks; /* struct head_block, ascending by key */
	struct buf bytes;  /* of all blocks */
};

/* NULL when out of memory. */
struct head_segment *head_segment_new(void);
void head_segment_free(struct head_segment *segment);
DEFINE_AUTO(head_segment);
/* Keys of KEYS_BLOCK_BYTES ascend. -ENOBUFS: past memory_max. -ENOMEM. */
int head_segment_put(struct head_segment *segment, struct kv_bytes key, struct kv_bytes value,
        uint64_t memory_max);
/* Appends the value to `to`. -ENOENT. */
int head_segment_get(const struct head_segment *segment, struct kv_bytes key, struct buf *to);
/* Gives back what it has too much. */
void head_segment_trim(struct head_segment *segment);
uint64_t head_segment_memory(const struct head_segment *segment);

struct head_window {
	uint64_t from_ns, to_ns;
	uint64_t stamp; /* no other window had it */
	struct head_segment *segments[HEAD_SEGMENTS_MAX];
	uint32_t segments_count; /* 0: questions read its batches */
	/* Under writer, for who makes segments. */
	bool is_scanned;       /* no: its batches are not known, but those that are fresh */
	uint64_t bytes_before; /* so much must be fresh before the next attempt */
	uint64_t bytes_seen;   /* fresh_bytes when it was last looked at */
	/* Under the mutex. */
	bool is_incomplete; /* what is fresh could not be noted: to be dropped */
	struct key_batch *fresh;
	uint32_t fresh_count;
	uint32_t fresh_capacity;
	uint64_t fresh_bytes; /* of the records that came since the last segment was begun */
};

struct head_sums {
	pthread_mutex_t mutex;
	struct head_window *windows[HEAD_WINDOWS_MAX]; /* ascending */
	uint32_t windows_count;
	uint64_t stamps;
	uint32_t number; /* of the next segment */
	/* For metrics. */
	_Atomic uint64_t memory;
	_Atomic uint64_t rows;    /* that segments have */
	_Atomic uint64_t built;   /* segments */
	_Atomic uint64_t dropped; /* windows, also those that were sealed */
	_Atomic uint64_t refused; /* segments for which there was no memory */
	_Atomic uint64_t used;    /* windows, by questions */
};

void head_sums_init(struct head_sums *heads);
void head_sums_fini(struct head_sums *heads);

/* NULL: it is not there. */
struct head_window *head_sums_find(const struct head_sums *heads, uint64_t from_ns);
/* The first one with segments that ends behind from_ns and begins before to_ns, or NULL. */
const struct head_window *head_sums_next(
        const struct head_sums *heads, uint64_t from_ns, uint64_t to_ns);
/*
 * From now on what comes into it is noted. Where there are too many the oldest is dropped, unless
 * this one would be. NULL: that, or out of memory.
 */
struct head_window *head_sums_add(struct head_sums *heads, uint64_t from_ns, uint64_t to_ns);
/* Every window that overlaps [from_ns, to_ns). */
void head_sums_drop(struct head_sums *heads, uint64_t from_ns, uint64_t to_ns);

/*
 * A group was written: each of its batches, between begin and end, so that readers see all of it.
 * Under the writer.
 */
void head_sums_begin_notes(struct head_sums *heads);
void head_sums_end_notes(struct head_sums *heads);
void head_sums_note(struct head_sums *heads, struct key_batch key, uint64_t bytes);
/* What is fresh, into `to`: struct key_batch in any order. false: that is not known. */
bool head_sums_get_fresh(struct head_sums *heads, const struct head_window *window, struct buf *to);

/*
 * The segments that `absorbs` says go, and are freed; the new one is taken, unless it is empty.
 * false: there is no room for it.
 */
bool head_sums_replace(struct head_sums *heads, struct head_window *window,
        const bool absorbs[HEAD_SEGMENTS_MAX], struct head_segment *segment);
/* Instead of what was fresh: struct key_batch, which are taken. So many bytes are not any more. */
void head_sums_set_fresh(struct head_sums *heads, struct head_window *window, struct buf *fresh,
        uint64_t bytes_looked_at);
