/*
 * A short array without order: it is gone through once for each window of a group.
 */

#include "storage/head_sizes.h"

static uint32_t head_sizes_find(const struct head_sizes *heads, uint64_t from_ns)
{
	uint32_t at = 0;
	while (at < heads->count && heads->sizes[at].from_ns != from_ns)
		at++;
	return at;
}

static uint32_t head_sizes_smallest(const struct head_sizes *heads)
{
	uint32_t smallest = 0;
	for (uint32_t i = 1; i < heads->count; i++)
		if (heads->sizes[i].bytes < heads->sizes[smallest].bytes)
			smallest = i;
	return smallest;
}

void head_sizes_add(struct head_sizes *heads, struct head_size size)
{
	uint32_t at = head_sizes_find(heads, size.from_ns);
	if (at == heads->count) {
		if (heads->count < HEAD_SIZES_MAX)
			heads->count++;
		else
			at = head_sizes_smallest(heads);
		heads->sizes[at] = (struct head_size){ .from_ns = size.from_ns };
	}
	struct head_size *head = &heads->sizes[at];
	head->batches += size.batches;
	if (__builtin_add_overflow(head->bytes, size.bytes, &head->bytes))
		head->bytes = UINT64_MAX;
}

struct head_size head_sizes_get(const struct head_sizes *heads, uint64_t from_ns)
{
	uint32_t at = head_sizes_find(heads, from_ns);
	return at < heads->count ? heads->sizes[at] : (struct head_size){ .from_ns = from_ns };
}

static void head_sizes_remove(struct head_sizes *heads, uint32_t at)
{
	heads->sizes[at] = heads->sizes[--heads->count];
}

bool head_sizes_take(struct head_sizes *heads, uint64_t bytes, struct head_size *ret_size)
{
	for (uint32_t i = 0; i < heads->count; i++) {
		if (heads->sizes[i].bytes < bytes)
			continue;
		*ret_size = heads->sizes[i];
		head_sizes_remove(heads, i);
		return true;
	}
	return false;
}

void head_sizes_clear(struct head_sizes *heads, uint64_t from_ns)
{
	uint32_t at = head_sizes_find(heads, from_ns);
	if (at < heads->count)
		head_sizes_remove(heads, at);
}
