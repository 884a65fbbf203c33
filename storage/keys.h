#pragma once

/*
 * keys are the names under which the store keeps things in kv. Integers in them are big-endian, so
 * that the order of bytes is the order of numbers. docs/formats/store.md has all of them.
 *
 *	batch     start_ns u64 | stream u32 | seq u64     time first: a range is one scan
 *	dict      generation u24 | ordinal u40            deltas, in the order they were made
 *	stream    stream u32                              who it is and which seqs were kept
 *	counters  tenant                                  text
 *	agent     uuid 16 bytes | tenant
 *	window    from_ns u64 | to_ns u64 | level u8, number u24       what a seal or a roll made
 *	sums, detail   window | unit u32 | part u8 | chunk u32             its blocks
 *	symbols   'h' or 'b' | build-id         head (is there a table?) and body apart, so that all
 *	                                        heads can be read without the bodies
 *	meta      text "format"
 *
 * Decoders take bytes from the disk: a key that is none is refused with -EBADMSG.
 */

#include <stddef.h>
#include <stdint.h>

#include "profile/wire.h"

#define KEYS_BATCH_BYTES  20
#define KEYS_DICT_BYTES   8
#define KEYS_STREAM_BYTES 4

#define KEYS_TENANT_BYTES_MAX   63
#define KEYS_BUILD_ID_BYTES_MAX 255
#define KEYS_AGENT_BYTES_MAX    (16 + KEYS_TENANT_BYTES_MAX)
#define KEYS_SYMBOLS_BYTES_MAX  (1 + KEYS_BUILD_ID_BYTES_MAX)

#define KEYS_META_FORMAT     "format"
#define KEYS_META_GENERATION "generation" /* and its number, u32 */

#define KEYS_GENERATION_BYTES (sizeof(KEYS_META_GENERATION) - 1 + 4)
#define KEYS_GENERATION_MAX   ((1u << 24) - 1)
/* Numbers from here on are of generations that old windows moved to: none of them grows. */
#define KEYS_GENERATION_COMPACT (1u << 23)
#define KEYS_DICT_ORDINAL_MAX   ((UINT64_C(1) << 40) - 1)

/* A sealed window, and a block of one: windows first, so that forgetting one is a range. */
#define KEYS_WINDOW_BYTES 20
#define KEYS_BLOCK_BYTES  (KEYS_WINDOW_BYTES + 4 + 1 + 4)

/* The level of a window is the top byte of its generation: 0 for what is made of batches. */
#define KEYS_LEVEL_SHIFT 24

#define KEYS_UNIT_NONE UINT32_MAX /* of blocks that are of the whole window */

enum keys_symbols_part { KEYS_SYMBOLS_BODY = 'b', KEYS_SYMBOLS_HEAD = 'h' };

struct key_batch {
	uint64_t start_ns;
	uint32_t stream;
	uint64_t seq;
};

void keys_put_batch(struct key_batch key, uint8_t ret_bytes[KEYS_BATCH_BYTES]);
int keys_get_batch(const void *bytes, size_t count, struct key_batch *ret_key);

/* In the order of the keys. */
int key_batch_compare(struct key_batch a, struct key_batch b);
/* The least key behind this one. */
struct key_batch key_batch_next(struct key_batch key);

/* The first possible key of a start: bounds of a range. */
#define KEYS_TIME_BYTES 8
void keys_put_time(uint64_t start_ns, uint8_t ret_bytes[KEYS_TIME_BYTES]);

struct key_window {
	uint64_t from_ns;
	uint64_t to_ns;
	uint32_t generation; /* level, and a number: 0, and one more for what came late */
};

static inline uint32_t key_window_level(struct key_window key)
{
	return key.generation >> KEYS_LEVEL_SHIFT;
}

/* Which block of a unit it is; watchers are of the whole window. */
enum keys_block_part {
	KEYS_BLOCK_DETAIL = 'd',
	KEYS_BLOCK_MEMBERS = 'm',
	KEYS_BLOCK_SUMS = 's',
	KEYS_BLOCK_VALUES = 'v', /* of the groups of the sums, right behind these */
	KEYS_BLOCK_WATCHERS = 'w',
};

struct key_block {
	struct key_window window;
	uint32_t unit;
	enum keys_block_part part;
	uint32_t chunk;
};

void keys_put_window(struct key_window key, uint8_t ret_bytes[KEYS_WINDOW_BYTES]);
/* -EBADMSG also for a window that ends before it begins. */
int keys_get_window(const void *bytes, size_t count, struct key_window *ret_key);
/* In the order of the keys. */
int key_window_compare(struct key_window a, struct key_window b);
void keys_put_block(struct key_block key, uint8_t ret_bytes[KEYS_BLOCK_BYTES]);
/* -EBADMSG also for a part that there is not. */
int keys_get_block(const void *bytes, size_t count, struct key_block *ret_key);

/* A delta of a generation of the dictionary: its first `ordinal` deltas are those before it. */
struct key_dict {
	uint32_t generation; /* up to KEYS_GENERATION_MAX */
	uint64_t ordinal;    /* up to KEYS_DICT_ORDINAL_MAX */
};

void keys_put_dict(struct key_dict key, uint8_t ret_bytes[KEYS_DICT_BYTES]);
int keys_get_dict(const void *bytes, size_t count, struct key_dict *ret_key);

void keys_put_generation(uint32_t generation, uint8_t ret_bytes[KEYS_GENERATION_BYTES]);
int keys_get_generation(const void *bytes, size_t count, uint32_t *ret_generation);

void keys_put_stream(uint32_t stream, uint8_t ret_bytes[KEYS_STREAM_BYTES]);
int keys_get_stream(const void *bytes, size_t count, uint32_t *ret_stream);

/* The next two return how many bytes they wrote; the texts fit, by the caller's check. */
size_t keys_put_agent(
        const struct wire_uuid *uuid, const char *tenant, uint8_t ret_bytes[KEYS_AGENT_BYTES_MAX]);
int keys_get_agent(const void *bytes, size_t count, struct wire_uuid *ret_uuid,
        char ret_tenant[KEYS_TENANT_BYTES_MAX + 1]);

size_t keys_put_symbols(enum keys_symbols_part part, const char *build_id,
        uint8_t ret_bytes[KEYS_SYMBOLS_BYTES_MAX]);
int keys_get_symbols(const void *bytes, size_t count, enum keys_symbols_part *ret_part,
        char ret_build_id[KEYS_BUILD_ID_BYTES_MAX + 1]);

/* A tenant's key is its text. -EBADMSG: too long, or with a zero byte. */
int keys_get_tenant(const void *bytes, size_t count, char ret_tenant[KEYS_TENANT_BYTES_MAX + 1]);
