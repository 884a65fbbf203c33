/*
 * Windows are a short array that is gone through: one for each window of a group of appends, and
 * for each stretch of a question.
 */

#include "storage/head_sums.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct head_block {
	uint8_t key[KEYS_BLOCK_BYTES];
	uint32_t count;
	uint64_t first;
};

/* ---- segments ---- */

struct head_segment *head_segment_new(void)
{
	return calloc(1, sizeof(struct head_segment));
}

void head_segment_free(struct head_segment *segment)
{
	if (!segment)
		return;
	free(segment->batches);
	buf_fini(&segment->record);
	buf_fini(&segment->blocks);
	buf_fini(&segment->bytes);
	free(segment);
}

uint64_t head_segment_memory(const struct head_segment *segment)
{
	return sizeof(*segment) + segment->batches_count * sizeof(*segment->batches) +
	       segment->record.capacity + segment->blocks.capacity + segment->bytes.capacity;
}

int head_segment_put(struct head_segment *segment, struct kv_bytes key, struct kv_bytes value,
        uint64_t memory_max)
{
	struct head_block block = {
		.count = (uint32_t)value.count,
		.first = segment->bytes.count,
	};
	assert(key.count == sizeof(block.key) && value.count <= UINT32_MAX);
	memcpy(block.key, key.bytes, sizeof(block.key));
	if (segment->bytes.count + value.count + segment->blocks.count + sizeof(block) > memory_max)
		return -ENOBUFS;
	buf_put(&segment->blocks, &block, sizeof(block));
	buf_put(&segment->bytes, value.bytes, value.count);
	return segment->blocks.failed || segment->bytes.failed ? -ENOMEM : 0;
}

static void head_trim(struct buf *buf)
{
	uint8_t *bytes = buf->count > 0 ? realloc(buf->bytes, buf->count) : NULL;
	if (!bytes)
		return;
	buf->bytes = bytes;
	buf->capacity = buf->count;
}

void head_segment_trim(struct head_segment *segment)
{
	head_trim(&segment->record);
	head_trim(&segment->blocks);
	head_trim(&segment->bytes);
}

static int head_block_compare(const void *key, const void *block)
{
	return memcmp(key, ((const struct head_block *)block)->key, KEYS_BLOCK_BYTES);
}

int head_segment_get(const struct head_segment *segment, struct kv_bytes key, struct buf *to)
{
	size_t count = segment->blocks.count / sizeof(struct head_block);
	const struct head_block *block = NULL;
	if (key.count == KEYS_BLOCK_BYTES && count > 0)
		block = bsearch(key.bytes, segment->blocks.bytes, count, sizeof(*block),
		        head_block_compare);
	if (!block)
		return -ENOENT;
	buf_put(to, segment->bytes.bytes + block->first, block->count);
	return to->failed ? -ENOMEM : 0;
}

/* ---- windows ---- */

void head_sums_init(struct head_sums *heads)
{
	pthread_mutex_init(&heads->mutex, NULL);
}

static uint64_t head_window_memory(const struct head_window *window)
{
	return sizeof(*window) + window->fresh_capacity * sizeof(*window->fresh);
}

static void head_sums_count(struct head_sums *heads, const struct head_segment *segment)
{
	heads->memory += head_segment_memory(segment);
	heads->rows += segment->rows;
}

static void head_sums_uncount(struct head_sums *heads, const struct head_segment *segment)
{
	heads->memory -= head_segment_memory(segment);
	heads->rows -= segment->rows;
}

static void head_sums_remove(struct head_sums *heads, uint32_t at)
{
	struct head_window *window = heads->windows[at];
	for (uint32_t i = 0; i < window->segments_count; i++) {
		head_sums_uncount(heads, window->segments[i]);
		head_segment_free(window->segments[i]);
	}
	heads->memory -= head_window_memory(window);
	heads->dropped += window->segments_count > 0;
	free(window->fresh);
	free(window);
	heads->windows_count--;
	for (uint32_t i = at; i < heads->windows_count; i++)
		heads->windows[i] = heads->windows[i + 1];
}

void head_sums_fini(struct head_sums *heads)
{
	while (heads->windows_count > 0)
		head_sums_remove(heads, heads->windows_count - 1);
	pthread_mutex_destroy(&heads->mutex);
}

/* The first one that does not begin before it. */
static uint32_t head_sums_place(const struct head_sums *heads, uint64_t from_ns)
{
	uint32_t at = 0;
	while (at < heads->windows_count && heads->windows[at]->from_ns < from_ns)
		at++;
	return at;
}

struct head_window *head_sums_find(const struct head_sums *heads, uint64_t from_ns)
{
	uint32_t at = head_sums_place(heads, from_ns);
	bool is_there = at < heads->windows_count && heads->windows[at]->from_ns == from_ns;
	return is_there ? heads->windows[at] : NULL;
}

const struct head_window *head_sums_next(
        const struct head_sums *heads, uint64_t from_ns, uint64_t to_ns)
{
	for (uint32_t i = 0; i < heads->windows_count; i++) {
		const struct head_window *window = heads->windows[i];
		if (window->segments_count > 0 && window->to_ns > from_ns &&
		        window->from_ns < to_ns)
			return window;
	}
	return NULL;
}

struct head_window *head_sums_add(struct head_sums *heads, uint64_t from_ns, uint64_t to_ns)
{
	bool is_full = heads->windows_count == HEAD_WINDOWS_MAX;
	if (is_full && heads->windows[0]->from_ns > from_ns)
		return NULL;
	struct head_window *window = calloc(1, sizeof(*window));
	if (!window)
		return NULL;
	if (is_full)
		head_sums_remove(heads, 0);
	window->from_ns = from_ns;
	window->to_ns = to_ns;
	window->stamp = ++heads->stamps;
	uint32_t at = head_sums_place(heads, from_ns);
	for (uint32_t i = heads->windows_count++; i > at; i--)
		heads->windows[i] = heads->windows[i - 1];
	heads->windows[at] = window;
	heads->memory += head_window_memory(window);
	return window;
}

void head_sums_drop(struct head_sums *heads, uint64_t from_ns, uint64_t to_ns)
{
	for (uint32_t i = heads->windows_count; i-- > 0;)
		if (heads->windows[i]->to_ns > from_ns && heads->windows[i]->from_ns < to_ns)
			head_sums_remove(heads, i);
}

/* ---- what is fresh ---- */

static bool head_window_reserve(struct head_sums *heads, struct head_window *window)
{
	if (window->fresh_count < window->fresh_capacity)
		return true;
	uint32_t capacity = window->fresh_capacity ? window->fresh_capacity * 2 : 64;
	struct key_batch *fresh = realloc(window->fresh, capacity * sizeof(*fresh));
	if (!fresh)
		return false;
	heads->memory += (capacity - window->fresh_capacity) * sizeof(*fresh);
	window->fresh = fresh;
	window->fresh_capacity = capacity;
	return true;
}

void head_sums_begin_notes(struct head_sums *heads)
{
	pthread_mutex_lock(&heads->mutex);
}

void head_sums_end_notes(struct head_sums *heads)
{
	pthread_mutex_unlock(&heads->mutex);
}

void head_sums_note(struct head_sums *heads, struct key_batch key, uint64_t bytes)
{
	for (uint32_t i = 0; i < heads->windows_count; i++) {
		struct head_window *window = heads->windows[i];
		if (key.start_ns < window->from_ns || key.start_ns >= window->to_ns)
			continue;
		if (window->fresh_count >= HEAD_FRESH_MAX || !head_window_reserve(heads, window))
			window->is_incomplete = true;
		else
			window->fresh[window->fresh_count++] = key;
		window->fresh_bytes += bytes;
	}
}

bool head_sums_get_fresh(struct head_sums *heads, const struct head_window *window, struct buf *to)
{
	pthread_mutex_lock(&heads->mutex);
	if (window->fresh_count > 0)
		buf_put(to, window->fresh, window->fresh_count * sizeof(*window->fresh));
	bool is_known = !window->is_incomplete;
	pthread_mutex_unlock(&heads->mutex);
	return is_known && !to->failed;
}

bool head_sums_replace(struct head_sums *heads, struct head_window *window,
        const bool absorbs[HEAD_SEGMENTS_MAX], struct head_segment *segment)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < window->segments_count; i++) {
		struct head_segment *old = window->segments[i];
		if (!absorbs[i]) {
			window->segments[kept++] = old;
			continue;
		}
		head_sums_uncount(heads, old);
		head_segment_free(old);
	}
	window->segments_count = kept;
	if (!segment || segment->batches_count == 0) {
		head_segment_free(segment);
		return true;
	}
	if (kept == HEAD_SEGMENTS_MAX)
		return false;
	window->segments[window->segments_count++] = segment;
	head_sums_count(heads, segment);
	heads->built++;
	return true;
}

void head_sums_set_fresh(struct head_sums *heads, struct head_window *window, struct buf *fresh,
        uint64_t bytes_looked_at)
{
	uint32_t capacity = (uint32_t)(fresh->capacity / sizeof(*window->fresh));
	pthread_mutex_lock(&heads->mutex);
	heads->memory += capacity * sizeof(*window->fresh);
	heads->memory -= window->fresh_capacity * sizeof(*window->fresh);
	free(window->fresh);
	window->fresh = (struct key_batch *)(void *)fresh->bytes;
	window->fresh_count = (uint32_t)(fresh->count / sizeof(*window->fresh));
	window->fresh_capacity = capacity;
	window->fresh_bytes -= bytes_looked_at;
	pthread_mutex_unlock(&heads->mutex);
	*fresh = (struct buf){ 0 };
}
