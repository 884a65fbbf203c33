#pragma once

/*
 * hash gives content its identity: XXH3, 128 bits where ids meet across machines (two of 10^9
 * stacks share a 64-bit id with odds of 2.7 %), 64 bits for checksums and tables of one process.
 *
 * Not cryptographic. Stable across releases and machines: wire and storage depend on it.
 * Source of the algorithm: xxHash, https://github.com/Cyan4973/xxHash, specification 0.8.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/auto.h"

struct hash128 {
	uint64_t low;
	uint64_t high;
};

struct hash128 hash128_bytes(const void *bytes, size_t count);
uint64_t hash64_bytes(const void *bytes, size_t count);

/* hash64_bytes() of what comes in pieces: a file. NULL when out of memory. */
struct hash64_stream;

struct hash64_stream *hash64_stream_new(void);
void hash64_stream_free(struct hash64_stream *stream);
DEFINE_AUTO(hash64_stream);
void hash64_stream_put(struct hash64_stream *stream, const void *bytes, size_t count);
/* Of all that was put so far. */
uint64_t hash64_stream_value(const struct hash64_stream *stream);
/* Begins anew. */
void hash64_stream_reset(struct hash64_stream *stream);

static inline bool hash128_equal(struct hash128 a, struct hash128 b)
{
	return a.low == b.low && a.high == b.high;
}
