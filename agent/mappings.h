#pragma once

/*
 * mappings is the code in one process's memory: which file lies where. Forked processes share it
 * until one of them changes it.
 *
 * Nobody tells of munmap. A mapping that overlaps an older one replaces that part of it; one that
 * was only unmapped stays until something else takes its place, which does no harm, because no
 * sample has an address where nothing is mapped.
 *
 * One thread owns all of them.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/symbol_files.h"

#define MAPPINGS_MAX 16384 /* of one process; further ones are refused */

struct mappings;

struct mapping {
	uint64_t start;
	uint64_t end;
	uint64_t offset;          /* in the file, of start */
	struct symbol_file *file; /* a use is held; NULL: anonymous, code made at run time */
};

/* Empty, with one user. NULL: out of memory. */
struct mappings *mappings_new(void);
struct mappings *mappings_use(struct mappings *mappings);
void mappings_free(struct mappings *mappings); /* one user less */
DEFINE_AUTO(mappings);

/*
 * Puts a mapping in, over whatever was there; takes over the use of its file, also on failure.
 * *mappings is replaced by a copy when others share it. -ENOSPC, -ENOMEM.
 */
int mappings_add(struct mappings **mappings, struct mapping mapping);

/* The mapping that holds the address, or NULL. Borrowed until the next add. */
const struct mapping *mappings_find(const struct mappings *mappings, uint64_t address);

uint32_t mappings_count(const struct mappings *mappings);

/* Different for any two states of any mappings: a key for what was derived from them. */
uint64_t mappings_version(const struct mappings *mappings);

/*
 * Whether a path as the kernel tells it is a file whose content names code. Anonymous memory,
 * stacks, heaps and shared memory without a build-id are not.
 */
bool mappings_path_is_file(const char *path, bool has_build_id);
