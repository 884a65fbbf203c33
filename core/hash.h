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

struct hash128 {
	uint64_t low;
	uint64_t high;
};

struct hash128 hash128_bytes(const void *bytes, size_t count);
uint64_t hash64_bytes(const void *bytes, size_t count);

static inline bool hash128_equal(struct hash128 a, struct hash128 b)
{
	return a.low == b.low && a.high == b.high;
}
