#pragma once

/*
 * result_cache keeps finished answers until their readers fetched them page by page. Bounded in
 * bytes; the longest unused goes first, and its reader is told to ask again. Safe from any thread.
 */

#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"

#define RESULT_CACHE_ENTRIES_MAX 64

struct result_cache;

struct result_cache *result_cache_new(uint64_t bytes_max);
void result_cache_free(struct result_cache *cache);
DEFINE_AUTO(result_cache);

/* Takes the bytes (the buf is empty after) and gives an id, never 0. -E2BIG: larger than the bound.
 */
int result_cache_add(struct result_cache *cache, struct buf *bytes, uint64_t *ret_id);

/*
 * Appends [offset, offset + count_max) to `to`, less at the end. The whole is dropped once its last
 * byte was read. -ENOENT: unknown, or dropped. -EINVAL: offset past the end.
 */
int result_cache_read(struct result_cache *cache, uint64_t id, uint64_t offset, uint32_t count_max,
        struct buf *to, uint64_t *ret_total);

void result_cache_set_bytes_max(struct result_cache *cache, uint64_t bytes_max);

struct result_cache_state {
	uint64_t results;
	uint64_t bytes;
	uint64_t dropped; /* before they were read to the end */
};

struct result_cache_state result_cache_state(struct result_cache *cache);
