#pragma once

/*
 * pprof_arena is the memory of one message that protobuf-c unpacked: the next one reuses it. What
 * was unpacked is good until the reset.
 */

#include <protobuf-c/protobuf-c.h>

struct pprof_chunk;

struct pprof_arena {
	ProtobufCAllocator allocator;
	struct pprof_chunk *chunks; /* newest, which is the largest, first */
};

void pprof_arena_init(struct pprof_arena *arena);
void pprof_arena_fini(struct pprof_arena *arena);
/* All that was allocated is gone; the memory is kept. */
void pprof_arena_reset(struct pprof_arena *arena);
