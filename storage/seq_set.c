/*
 * A sorted array of ranges. The newest seq nearly always extends the last range, so additions look
 * from the end.
 */

#include "storage/seq_set.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEQ_SET_RANGES_FIRST 4

void seq_set_fini(struct seq_set *set)
{
	free(set->ranges);
	*set = (struct seq_set){ 0 };
}

/* How many ranges begin at or below the seq. */
static uint32_t seq_set_below(const struct seq_set *set, uint64_t seq)
{
	uint32_t count = set->ranges_count;
	while (count > 0 && set->ranges[count - 1].first > seq)
		count--;
	return count;
}

enum seq_state seq_set_state(const struct seq_set *set, uint64_t seq)
{
	uint32_t below = seq_set_below(set, seq);
	if (below > 0 && seq <= set->ranges[below - 1].last)
		return SEQ_KEPT;
	return seq <= set->floor ? SEQ_UNSURE : SEQ_NEW;
}

static int seq_set_reserve(struct seq_set *set, uint32_t count)
{
	if (count <= set->ranges_capacity)
		return 0;
	uint32_t capacity = set->ranges_capacity ? set->ranges_capacity * 2 : SEQ_SET_RANGES_FIRST;
	if (capacity < count)
		capacity = count;
	struct seq_range *ranges = realloc(set->ranges, capacity * sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	set->ranges = ranges;
	set->ranges_capacity = capacity;
	return 0;
}

static void seq_set_remove(struct seq_set *set, uint32_t index)
{
	memmove(set->ranges + index, set->ranges + index + 1,
	        (set->ranges_count - index - 1) * sizeof(*set->ranges));
	set->ranges_count--;
}

/* A range of its own, before that which is there. */
static int seq_set_insert(struct seq_set *set, uint32_t index, uint64_t seq)
{
	int r = seq_set_reserve(set, set->ranges_count + 1);
	if (r < 0)
		return r;
	assert(set->ranges);
	memmove(set->ranges + index + 1, set->ranges + index,
	        (set->ranges_count - index) * sizeof(*set->ranges));
	set->ranges[index] = (struct seq_range){ .first = seq, .last = seq };
	set->ranges_count++;
	return 0;
}

int seq_set_add(struct seq_set *set, uint64_t seq)
{
	assert(seq > 0);

	uint32_t below = seq_set_below(set, seq);
	struct seq_range *before = below > 0 ? &set->ranges[below - 1] : NULL;
	struct seq_range *after = below < set->ranges_count ? &set->ranges[below] : NULL;

	if (before && seq <= before->last)
		return 0;
	/* after->first > seq >= 1, and before->last < seq: neither sum can wrap. */
	bool joins_before = before && before->last + 1 == seq;
	bool joins_after = after && after->first - 1 == seq;
	if (joins_before && joins_after) {
		before->last = after->last;
		seq_set_remove(set, below);
	} else if (joins_before) {
		before->last = seq;
	} else if (joins_after) {
		after->first = seq;
	} else {
		int r = seq_set_insert(set, below, seq);
		if (r < 0)
			return r;
	}

	if (set->ranges_count > SEQ_SET_RANGES_MAX) {
		if (set->ranges[0].last > set->floor)
			set->floor = set->ranges[0].last;
		seq_set_remove(set, 0);
	}
	return 0;
}

int seq_set_copy(struct seq_set *to, const struct seq_set *from)
{
	int r = seq_set_reserve(to, from->ranges_count);
	if (r < 0)
		return r;
	to->floor = from->floor;
	to->ranges_count = from->ranges_count;
	if (from->ranges_count)
		memcpy(to->ranges, from->ranges, from->ranges_count * sizeof(*to->ranges));
	return 0;
}

void seq_set_put(const struct seq_set *set, struct buf *to)
{
	uint64_t end = 0;
	buf_put_varint(to, set->floor);
	buf_put_varint(to, set->ranges_count);
	for (uint32_t i = 0; i < set->ranges_count; i++) {
		buf_put_varint(to, set->ranges[i].first - end);
		buf_put_varint(to, set->ranges[i].last - set->ranges[i].first);
		end = set->ranges[i].last;
	}
}

int seq_set_get(struct seq_set *set, struct reader *from)
{
	assert(set->ranges_count == 0);

	uint64_t floor = reader_varint(from);
	uint64_t count = reader_varint_max(from, SEQ_SET_RANGES_MAX);
	if (from->failed)
		return -EBADMSG;
	int r = seq_set_reserve(set, (uint32_t)count);
	if (r < 0)
		return r;

	uint64_t end = 0;
	for (uint64_t i = 0; i < count; i++) {
		/* Between two ranges is a gap, so the second begins at least 2 further. */
		uint64_t ahead = reader_varint(from);
		uint64_t length = reader_varint(from);
		uint64_t first, last;
		if (from->failed || ahead < (i ? 2 : 1) ||
		        __builtin_add_overflow(end, ahead, &first) ||
		        __builtin_add_overflow(first, length, &last))
			return -EBADMSG;
		set->ranges[i] = (struct seq_range){ .first = first, .last = last };
		end = last;
	}
	set->ranges_count = (uint32_t)count;
	set->floor = floor;
	return 0;
}
