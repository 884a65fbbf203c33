/* A few dozen entries in an array under one lock. Ids are random, so that nobody reads another's.
 */

#include "aggregator/result_cache.h"

#include <errno.h>
#include <pthread.h>

#include "core/rng.h"

struct result {
	uint64_t id; /* 0 is a free place */
	uint64_t used_at;
	struct buf bytes;
};

struct result_cache {
	pthread_mutex_t lock;
	struct result results[RESULT_CACHE_ENTRIES_MAX];
	uint64_t uses;
	uint64_t bytes_max;
	struct result_cache_state state;
};

struct result_cache *result_cache_new(uint64_t bytes_max)
{
	struct result_cache *cache = calloc(1, sizeof(*cache));
	if (!cache)
		return NULL;
	(void)pthread_mutex_init(&cache->lock, NULL);
	cache->bytes_max = bytes_max;
	return cache;
}

void result_cache_free(struct result_cache *cache)
{
	if (!cache)
		return;
	for (uint32_t i = 0; i < RESULT_CACHE_ENTRIES_MAX; i++)
		buf_fini(&cache->results[i].bytes);
	(void)pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static void result_cache_drop(struct result_cache *cache, struct result *result)
{
	cache->state.bytes -= result->bytes.count;
	cache->state.results--;
	buf_fini(&result->bytes);
	*result = (struct result){ 0 };
}

/* The longest unused result; with `free_too`, a free place counts as unused for ever. */
static struct result *result_cache_oldest(struct result_cache *cache, bool free_too)
{
	struct result *oldest = NULL;
	for (uint32_t i = 0; i < RESULT_CACHE_ENTRIES_MAX; i++) {
		struct result *result = &cache->results[i];
		if (!free_too && result->id == 0)
			continue;
		if (!oldest || result->used_at < oldest->used_at)
			oldest = result;
	}
	return oldest;
}

static struct result *result_cache_make_room(struct result_cache *cache, uint64_t bytes)
{
	while (cache->state.results > 0 &&
	        (cache->state.bytes + bytes > cache->bytes_max ||
	                cache->state.results == RESULT_CACHE_ENTRIES_MAX)) {
		result_cache_drop(cache, result_cache_oldest(cache, false));
		cache->state.dropped++;
	}
	return result_cache_oldest(cache, true);
}

int result_cache_add(struct result_cache *cache, struct buf *bytes, uint64_t *ret_id)
{
	uint64_t id = 0;
	while (id == 0) {
		int r = rng_os_bytes(&id, sizeof(id));
		if (r < 0)
			return r;
	}

	(void)pthread_mutex_lock(&cache->lock);
	int r = bytes->count > cache->bytes_max ? -E2BIG : 0;
	if (r == 0) {
		struct result *result = result_cache_make_room(cache, bytes->count);
		*result = (struct result){ .id = id, .used_at = ++cache->uses, .bytes = *bytes };
		*bytes = (struct buf){ 0 };
		cache->state.bytes += result->bytes.count;
		cache->state.results++;
		*ret_id = id;
	}
	(void)pthread_mutex_unlock(&cache->lock);
	return r;
}

static int result_cache_read_locked(struct result_cache *cache, uint64_t id, uint64_t offset,
        uint32_t count_max, struct buf *to, uint64_t *ret_total)
{
	for (uint32_t i = 0; i < RESULT_CACHE_ENTRIES_MAX; i++) {
		struct result *result = &cache->results[i];
		if (result->id == 0 || result->id != id)
			continue;
		if (offset >= result->bytes.count)
			return -EINVAL;
		uint64_t left = result->bytes.count - offset;
		size_t count = left < count_max ? (size_t)left : count_max;
		buf_put(to, result->bytes.bytes + offset, count);
		if (to->failed)
			return -ENOMEM;
		*ret_total = result->bytes.count;
		result->used_at = ++cache->uses;
		if (count == left)
			result_cache_drop(cache, result);
		return 0;
	}
	return -ENOENT;
}

int result_cache_read(struct result_cache *cache, uint64_t id, uint64_t offset, uint32_t count_max,
        struct buf *to, uint64_t *ret_total)
{
	(void)pthread_mutex_lock(&cache->lock);
	int r = result_cache_read_locked(cache, id, offset, count_max, to, ret_total);
	(void)pthread_mutex_unlock(&cache->lock);
	return r;
}

void result_cache_set_bytes_max(struct result_cache *cache, uint64_t bytes_max)
{
	(void)pthread_mutex_lock(&cache->lock);
	cache->bytes_max = bytes_max;
	(void)pthread_mutex_unlock(&cache->lock);
}

struct result_cache_state result_cache_state(struct result_cache *cache)
{
	(void)pthread_mutex_lock(&cache->lock);
	struct result_cache_state state = cache->state;
	(void)pthread_mutex_unlock(&cache->lock);
	return state;
}
