/*
 * Chunks, each twice as large as the one before, of which a reset keeps the newest: after a few
 * messages it holds the largest there is.
 */

#include "profile/pprof_arena_private.h"

#include <stdint.h>
#include <stdlib.h>

struct pprof_chunk {
	struct pprof_chunk *next;
	size_t capacity;
	size_t used;
	_Alignas(16) uint8_t bytes[];
};

static void *pprof_arena_alloc(void *owner, size_t count)
{
	struct pprof_arena *arena = owner;
	struct pprof_chunk *chunk = arena->chunks;

	if (count > SIZE_MAX / 4)
		return NULL;
	count = (count + 15) & ~(size_t)15;
	if (!chunk || chunk->capacity - chunk->used < count) {
		size_t capacity = chunk ? chunk->capacity * 2 : 65536;
		while (capacity < count)
			capacity *= 2;
		chunk = malloc(sizeof(*chunk) + capacity);
		if (!chunk)
			return NULL;
		chunk->next = arena->chunks;
		chunk->capacity = capacity;
		chunk->used = 0;
		arena->chunks = chunk;
	}
	void *at = chunk->bytes + chunk->used;
	chunk->used += count;
	return at;
}

static void pprof_arena_free_one(void *owner, void *at)
{
	/* All at once, by the next reset. */
}

void pprof_arena_init(struct pprof_arena *arena)
{
	arena->allocator = (ProtobufCAllocator){
		.alloc = pprof_arena_alloc, .free = pprof_arena_free_one, .allocator_data = arena
	};
	arena->chunks = NULL;
}

void pprof_arena_reset(struct pprof_arena *arena)
{
	struct pprof_chunk *kept = arena->chunks;

	if (!kept)
		return;
	for (struct pprof_chunk *chunk = kept->next; chunk;) {
		struct pprof_chunk *next = chunk->next;
		free(chunk);
		chunk = next;
	}
	kept->next = NULL;
	kept->used = 0;
}

void pprof_arena_fini(struct pprof_arena *arena)
{
	pprof_arena_reset(arena);
	free(arena->chunks);
}
