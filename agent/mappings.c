/*
 * A sorted array without overlaps. Processes have tens of mappings with code, so inserting by
 * memmove is cheaper than any tree. To put in [S,E): what ends inside is cut, what lies inside
 * goes, and what reaches over both ends is split:
 *
 *	before   [----A----)   [--B--)  [-------C------)
 *	add            [S===================E)
 *	after    [--A--)[S===================E)[---C---)
 */

#include "agent/mappings.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct mappings {
	struct mapping *items;
	uint32_t count;
	uint32_t capacity;
	uint32_t users;
	uint64_t version;
};

/* Never 0 and never repeated, so that a cache keyed by it needs no invalidation. */
static uint64_t mappings_next_version(void)
{
	static uint64_t version = 0;

	return __atomic_add_fetch(&version, 1, __ATOMIC_RELAXED);
}

struct mappings *mappings_new(void)
{
	struct mappings *mappings = calloc(1, sizeof(*mappings));

	if (!mappings)
		return NULL;
	mappings->users = 1;
	mappings->version = mappings_next_version();
	return mappings;
}

struct mappings *mappings_use(struct mappings *mappings)
{
	mappings->users++;
	return mappings;
}

static void mapping_drop(struct mapping *mapping)
{
	if (mapping->file)
		symbol_file_unuse(mapping->file);
}

void mappings_free(struct mappings *mappings)
{
	if (!mappings || --mappings->users > 0)
		return;
	for (uint32_t at = 0; at < mappings->count; at++)
		mapping_drop(&mappings->items[at]);
	free(mappings->items);
	free(mappings);
}

/* The first mapping that ends above the address. */
static uint32_t mappings_lower(const struct mappings *mappings, uint64_t address)
{
	uint32_t low = 0;
	uint32_t high = mappings->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (mappings->items[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

const struct mapping *mappings_find(const struct mappings *mappings, uint64_t address)
{
	uint32_t at = mappings_lower(mappings, address);

	if (at == mappings->count || mappings->items[at].start > address)
		return NULL;
	return &mappings->items[at];
}

static struct mappings *mappings_copy(const struct mappings *from)
{
	AUTO(mappings) copy = mappings_new();

	if (!copy)
		return NULL;
	copy->items = malloc((from->count + 8) * sizeof(*copy->items));
	if (!copy->items)
		return NULL;
	copy->capacity = from->count + 8;
	copy->count = from->count;
	if (from->count > 0)
		memcpy(copy->items, from->items, from->count * sizeof(*copy->items));
	for (uint32_t at = 0; at < copy->count; at++) {
		if (copy->items[at].file)
			symbol_file_use(copy->items[at].file);
	}
	return TAKE(copy);
}

/* Room for two more: an add may split one and put one in. */
static int mappings_reserve(struct mappings *mappings)
{
	if (mappings->count + 2 <= mappings->capacity)
		return 0;
	if (mappings->count + 2 > MAPPINGS_MAX)
		return -ENOSPC;
	uint32_t capacity = mappings->capacity ? 2 * mappings->capacity : 16;
	struct mapping *items = realloc(mappings->items, capacity * sizeof(*items));
	if (!items)
		return -ENOMEM;
	mappings->items = items;
	mappings->capacity = capacity;
	return 0;
}

static void mappings_insert(struct mappings *mappings, uint32_t at, struct mapping mapping)
{
	assert(mappings->count < mappings->capacity);
	memmove(mappings->items + at + 1, mappings->items + at,
	        (mappings->count - at) * sizeof(*mappings->items));
	mappings->items[at] = mapping;
	mappings->count++;
}

static void mappings_remove(struct mappings *mappings, uint32_t at)
{
	mapping_drop(&mappings->items[at]);
	mappings->count--;
	memmove(mappings->items + at, mappings->items + at + 1,
	        (mappings->count - at) * sizeof(*mappings->items));
}

/* Makes [start, end) empty and returns where a mapping of it belongs. */
static uint32_t mappings_clear(struct mappings *mappings, uint64_t start, uint64_t end)
{
	uint32_t at = mappings_lower(mappings, start);

	if (at < mappings->count && mappings->items[at].start < start) {
		struct mapping *below = &mappings->items[at];
		if (below->end > end) {
			struct mapping above = *below;
			above.offset += end - above.start;
			above.start = end;
			if (above.file)
				symbol_file_use(above.file);
			mappings_insert(mappings, at + 1, above);
		}
		mappings->items[at].end = start;
		at++;
	}
	while (at < mappings->count && mappings->items[at].end <= end)
		mappings_remove(mappings, at);
	if (at < mappings->count && mappings->items[at].start < end) {
		struct mapping *above = &mappings->items[at];
		above->offset += end - above->start;
		above->start = end;
	}
	return at;
}

int mappings_add(struct mappings **mappings, struct mapping mapping)
{
	assert(mapping.start < mapping.end);

	if ((*mappings)->users > 1) {
		struct mappings *copy = mappings_copy(*mappings);
		if (!copy) {
			mapping_drop(&mapping);
			return -ENOMEM;
		}
		mappings_free(*mappings);
		*mappings = copy;
	}
	int result = mappings_reserve(*mappings);
	if (result < 0) {
		mapping_drop(&mapping);
		return result;
	}
	uint32_t at = mappings_clear(*mappings, mapping.start, mapping.end);
	mappings_insert(*mappings, at, mapping);
	(*mappings)->version = mappings_next_version();
	return 0;
}

uint32_t mappings_count(const struct mappings *mappings)
{
	return mappings->count;
}

uint64_t mappings_version(const struct mappings *mappings)
{
	return mappings->version;
}

bool mappings_path_is_file(const char *path, bool has_build_id)
{
	static const char *const memory[] = { "/dev/zero", "/SYSV", "/memfd:", "/dev/shm/", "/i915",
		"/anon_hugepage" };

	if (strcmp(path, "[vdso]") == 0)
		return true;
	if (path[0] != '/' || path[1] == '/')
		return false;
	if (has_build_id)
		return true;
	for (uint32_t at = 0; at < COUNT_OF(memory); at++) {
		if (strncmp(path, memory[at], strlen(memory[at])) == 0)
			return false;
	}
	return true;
}
