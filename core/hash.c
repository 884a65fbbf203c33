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

struct hash64_stream {
	XXH3_state_t *state;
};

struct hash64_stream *hash64_stream_new(void)
{
	AUTO(hash64_stream) stream = calloc(1, sizeof(*stream));
	if (!stream)
		return NULL;
	stream->state = XXH3_createState();
	if (!stream->state)
		return NULL;
	hash64_stream_reset(stream);
	return TAKE(stream);
}

void hash64_stream_free(struct hash64_stream *stream)
{
	if (!stream)
		return;
	(void)XXH3_freeState(stream->state);
	free(stream);
}

void hash64_stream_put(struct hash64_stream *stream, const void *bytes, size_t count)
{
	/* Fails only without a state or without bytes. */
	(void)XXH3_64bits_update(stream->state, bytes, count);
}

uint64_t hash64_stream_value(const struct hash64_stream *stream)
{
	return XXH3_64bits_digest(stream->state);
}

void hash64_stream_reset(struct hash64_stream *stream)
{
	(void)XXH3_64bits_reset(stream->state);
}
