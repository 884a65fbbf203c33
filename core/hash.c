/* The one door to xxHash: its XXH3 of 64 and 128 bits, without a seed. */

#include "core/hash.h"

#include <xxhash.h>

struct hash128 hash128_bytes(const void *bytes, size_t count)
{
	XXH128_hash_t hash = XXH3_128bits(bytes, count);
	return (struct hash128){ .low = hash.low64, .high = hash.high64 };
}

uint64_t hash64_bytes(const void *bytes, size_t count)
{
	return XXH3_64bits(bytes, count);
}
