#pragma once

/*
 * What the files share that check one window: the window as it is read, and how its blocks are
 * found. verify_windows() goes over all of them; verify_unit() reads a unit (store_verify_unit.c);
 * verify_blocks are the families side by side (store_verify_blocks.c).
 */

#include "storage/store_verify_private.h"

/* One window as it is read. */
struct verify_window {
	struct verify *verify;
	struct key_window key;
	struct window record;
	struct verify_place place; /* of the window: units add to it */
	struct buf intervals;      /* struct detail_interval, by (stream, start, seq) */
	bool has_watchers;         /* all of them could be read */
	struct buf sources;        /* struct verify_source, of all windows */
	struct buf owned;          /* u64: tenant and series, of all units */
	struct buf values_apart;   /* u8 by unit: the values of its groups are a block, or may be */

	/* Of the unit that is being read. */
	uint32_t number;
	struct verify_place unit;
	struct detail_memory *members_memory;
	struct buf members_bytes;
	struct buf sums_bytes;
	struct buf values_bytes;
	struct sum_block sums;
	const struct sum_group *groups;
	struct buf facts;     /* struct verify_fact, sorted */
	struct buf sums_of;   /* struct verify_group, by group */
	struct buf instances; /* u64: group and instance */
	struct buf places;    /* u64: rows of detail by place */
	bool has_detail;      /* all of it could be read */
	uint64_t rows;
};

/* For buf of struct detail_interval and of u64. */
int verify_compare_intervals(const void *a, const void *b);
int verify_compare_u64(const void *a, const void *b);
void verify_sort(struct buf *buf, size_t each, int (*compare)(const void *a, const void *b));

/* Where the blocks of the window are that are not detail, and what that family is called. */
enum kv_family verify_sums_family(const struct verify_window *window);
const char *verify_sums_name(const struct verify_window *window);

bool verify_is_rollup(const struct verify_window *window);

/* Adds which window it is to a place. */
void verify_put_window(struct verify_place *place, struct key_window key);

/*
 * A block of the window, into `to`; `key_bytes` becomes its key. -ENOENT, or what kv and the
 * decoders say: verify_is_damage() tells which of these are the disk's.
 */
int verify_get_block(struct verify_window *window, enum kv_family family, uint32_t unit,
        enum keys_block_part part, uint32_t chunk, uint8_t key_bytes[KEYS_BLOCK_BYTES],
        struct buf *to);
/* The same of a chunk, with its heads: the chunk borrows from `bytes`, the heads from `memory`. */
int verify_get_chunk(struct verify_window *window, enum kv_family family, uint32_t unit,
        enum keys_block_part part, uint32_t number, struct buf *bytes, struct detail_memory *memory,
        struct detail_chunk *ret_chunk, struct detail_heads *ret_heads);

/*
 * Checks one unit of the window, and adds to window->owned which series it has. What is wrong is
 * told of; negative when the check itself cannot go on.
 */
int verify_unit(struct verify_window *window, uint32_t number);

/* A family of blocks, one ahead. */
struct verify_blocks {
	struct verify_scan scan;
	const char *family;
	int is_valid; /* as verify_scan_next() said */
	struct kv_bytes key;
	struct kv_bytes value;
};

int verify_blocks_init(
        struct verify_blocks *blocks, struct verify *verify, enum kv_family of, const char *family);
void verify_blocks_fini(struct verify_blocks *blocks);
/* Passes blocks up to the window's key, or to the end of all where it is empty: no record names
 * them. */
int verify_blocks_before(struct verify_blocks *blocks, struct kv_bytes window);
/* Passes the blocks of the window. Those that its record does not name are told of, where it
 * could be read. */
int verify_blocks_of(struct verify_blocks *blocks, const struct verify_window *window, bool is_read,
        struct kv_bytes window_key);
