/*
 * Entries are by build-id in an id_map and never removed, so their index is stable. Open tables are
 * additionally in a list from the most to the least recently used, linked by index.
 *
 * Tables are loaded by the caller outside the mutex: opening one can take a second.
 */

#include "storage/symbols_cache.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/id_map.h"

#define SYMBOLS_CACHE_ENTRIES_MAX (4u << 20)

struct symbols_entry {
	bool has_table;
	bool is_unreadable;
	bool is_forgotten;
	struct symbols *symbols; /* NULL: not open */
	uint32_t newer;          /* in the list of open ones; ID_NONE at its ends */
	uint32_t older;
};

struct symbols_cache {
	pthread_mutex_t mutex;
	uint64_t bytes_max;
	uint64_t bytes;
	struct id_map *ids;
	struct symbols_entry *entries;
	uint32_t entries_capacity;
	uint32_t newest;
	uint32_t oldest;

	struct symbols **aside;
	uint32_t aside_count;
	uint32_t aside_capacity;
	_Atomic bool needs_sweep;
};

struct symbols_cache *symbols_cache_new(uint64_t bytes_max)
{
	struct symbols_cache *cache = calloc(1, sizeof(*cache));
	if (!cache)
		return NULL;
	pthread_mutex_init(&cache->mutex, NULL);
	cache->bytes_max = bytes_max;
	cache->newest = ID_NONE;
	cache->oldest = ID_NONE;
	cache->ids = id_map_new(SYMBOLS_CACHE_ENTRIES_MAX);
	if (!cache->ids) {
		symbols_cache_free(cache);
		return NULL;
	}
	return cache;
}

void symbols_cache_free(struct symbols_cache *cache)
{
	if (!cache)
		return;
	symbols_cache_sweep(cache);
	for (uint32_t i = 0; cache->ids && i < id_map_count(cache->ids); i++)
		symbols_free(cache->entries[i].symbols);
	id_map_free(cache->ids);
	free(cache->entries);
	free(cache->aside);
	pthread_mutex_destroy(&cache->mutex);
	free(cache);
}

static uint32_t symbols_cache_id(const struct symbols_cache *cache, const char *build_id)
{
	return id_map_find(cache->ids, hash128_bytes(build_id, strlen(build_id)));
}

int symbols_cache_has(struct symbols_cache *cache, const char *build_id)
{
	pthread_mutex_lock(&cache->mutex);
	uint32_t id = symbols_cache_id(cache, build_id);
	int has = id == ID_NONE || cache->entries[id].is_forgotten ? -1
	                                                           : cache->entries[id].has_table;
	pthread_mutex_unlock(&cache->mutex);
	return has;
}

static void symbols_cache_unlink(struct symbols_cache *cache, uint32_t id)
{
	struct symbols_entry *entry = &cache->entries[id];
	if (entry->newer == ID_NONE)
		cache->newest = entry->older;
	else
		cache->entries[entry->newer].older = entry->older;
	if (entry->older == ID_NONE)
		cache->oldest = entry->newer;
	else
		cache->entries[entry->older].newer = entry->newer;
}

static void symbols_cache_link(struct symbols_cache *cache, uint32_t id)
{
	struct symbols_entry *entry = &cache->entries[id];
	entry->newer = ID_NONE;
	entry->older = cache->newest;
	if (cache->newest != ID_NONE)
		cache->entries[cache->newest].newer = id;
	else
		cache->oldest = id;
	cache->newest = id;
}

/* Room to set one more table aside, taken before it is needed. */
static int symbols_cache_reserve_aside(struct symbols_cache *cache)
{
	if (cache->aside_count < cache->aside_capacity)
		return 0;
	uint32_t capacity = cache->aside_capacity ? cache->aside_capacity * 2 : 16;
	struct symbols **aside = realloc(cache->aside, capacity * sizeof(struct symbols *));
	if (!aside)
		return -ENOMEM;
	cache->aside = aside;
	cache->aside_capacity = capacity;
	return 0;
}

static int symbols_cache_set_aside(struct symbols_cache *cache, uint32_t id)
{
	struct symbols_entry *entry = &cache->entries[id];
	int r = symbols_cache_reserve_aside(cache);
	if (r < 0)
		return r;
	symbols_cache_unlink(cache, id);
	cache->bytes -= symbols_memory(entry->symbols);
	cache->aside[cache->aside_count++] = TAKE(entry->symbols);
	cache->needs_sweep = true;
	return 0;
}

static int symbols_cache_set_locked(
        struct symbols_cache *cache, const char *build_id, bool has_table)
{
	uint32_t count = id_map_count(cache->ids);
	if (count == cache->entries_capacity) {
		uint32_t capacity = count ? count * 2 : 64;
		struct symbols_entry *entries = realloc(
		        cache->entries, capacity * sizeof(*entries));
		if (!entries)
			return -ENOMEM;
		cache->entries = entries;
		cache->entries_capacity = capacity;
	}

	uint32_t id;
	bool added;
	int r = id_map_intern(cache->ids, hash128_bytes(build_id, strlen(build_id)), &id, &added);
	if (r < 0)
		return r;
	if (added)
		cache->entries[id] = (struct symbols_entry){ 0 };
	if (cache->entries[id].symbols)
		r = symbols_cache_set_aside(cache, id);
	if (r < 0)
		return r;
	cache->entries[id].has_table = has_table;
	cache->entries[id].is_unreadable = false;
	cache->entries[id].is_forgotten = false;
	return 0;
}

int symbols_cache_set(struct symbols_cache *cache, const char *build_id, bool has_table)
{
	pthread_mutex_lock(&cache->mutex);
	int r = symbols_cache_set_locked(cache, build_id, has_table);
	pthread_mutex_unlock(&cache->mutex);
	return r;
}

void symbols_cache_forget(struct symbols_cache *cache, const char *build_id)
{
	pthread_mutex_lock(&cache->mutex);
	uint32_t id = symbols_cache_id(cache, build_id);
	if (id != ID_NONE) {
		/* One that stays open is the last to be used, and goes when room is needed. */
		if (cache->entries[id].symbols)
			(void)symbols_cache_set_aside(cache, id);
		cache->entries[id].has_table = false;
		cache->entries[id].is_forgotten = true;
	}
	pthread_mutex_unlock(&cache->mutex);
}

struct symbols *symbols_cache_find(
        struct symbols_cache *cache, const char *build_id, bool *ret_load)
{
	struct symbols *symbols = NULL;
	bool load = false;

	pthread_mutex_lock(&cache->mutex);
	uint32_t id = symbols_cache_id(cache, build_id);
	if (id != ID_NONE) {
		struct symbols_entry *entry = &cache->entries[id];
		symbols = entry->symbols;
		load = !symbols && entry->has_table && !entry->is_unreadable;
		if (symbols) {
			symbols_cache_unlink(cache, id);
			symbols_cache_link(cache, id);
		}
	}
	pthread_mutex_unlock(&cache->mutex);
	*ret_load = load;
	return symbols;
}

struct symbols *symbols_cache_add(
        struct symbols_cache *cache, const char *build_id, struct symbols *symbols)
{
	pthread_mutex_lock(&cache->mutex);
	uint32_t id = symbols_cache_id(cache, build_id);
	assert(id != ID_NONE);
	struct symbols_entry *entry = &cache->entries[id];
	if (!symbols) {
		entry->is_unreadable = true;
	} else if (entry->symbols) {
		symbols_free(symbols);
	} else {
		entry->symbols = symbols;
		cache->bytes += symbols_memory(symbols);
		symbols_cache_link(cache, id);
		/* The newest stays, however big; without memory to set aside, the bound waits. */
		while (cache->bytes > cache->bytes_max && cache->oldest != cache->newest)
			if (symbols_cache_set_aside(cache, cache->oldest) < 0)
				break;
	}
	symbols = entry->symbols;
	pthread_mutex_unlock(&cache->mutex);
	return symbols;
}

bool symbols_cache_needs_sweep(struct symbols_cache *cache)
{
	return cache->needs_sweep;
}

void symbols_cache_sweep(struct symbols_cache *cache)
{
	pthread_mutex_lock(&cache->mutex);
	while (cache->aside_count > 0)
		symbols_free(cache->aside[--cache->aside_count]);
	cache->needs_sweep = false;
	pthread_mutex_unlock(&cache->mutex);
}

uint64_t symbols_cache_memory(struct symbols_cache *cache)
{
	pthread_mutex_lock(&cache->mutex);
	uint64_t bytes = cache->bytes + cache->entries_capacity * (sizeof(*cache->entries) + 32);
	for (uint32_t i = 0; i < cache->aside_count; i++)
		bytes += symbols_memory(cache->aside[i]);
	pthread_mutex_unlock(&cache->mutex);
	return bytes;
}
