#pragma once

/*
 * seq_set is the watermark of a stream: which of its seqs were kept, so that none is kept twice.
 *
 * An agent numbers its sections 1, 2, 3, ... and sends them more or less in order, so nearly always
 * the set is one range. Gaps stay where a section was refused or given up; they are kept as
 * explicit ranges, however far ahead a seq is, so nothing has to be refused for having come early.
 *
 * Bounded: past SEQ_SET_RANGES_MAX ranges the lowest is forgotten and everything up to its end is
 * SEQ_UNSURE: then only the rows themselves can tell whether that seq is there.
 */

#include <stdint.h>

#include "core/buf.h"
#include "core/reader.h"

#define SEQ_SET_RANGES_MAX 256

struct seq_range {
	uint64_t first;
	uint64_t last;
};

/* Zeroed is empty. */
struct seq_set {
	uint64_t floor;           /* up to here what is in no range is unsure */
	struct seq_range *ranges; /* ascending, with a gap between any two */
	uint32_t ranges_count;
	uint32_t ranges_capacity;
};

enum seq_state { SEQ_NEW, SEQ_KEPT, SEQ_UNSURE };

void seq_set_fini(struct seq_set *set);
enum seq_state seq_set_state(const struct seq_set *set, uint64_t seq);

/* seq > 0. -ENOMEM: the set is as before. */
int seq_set_add(struct seq_set *set, uint64_t seq);
int seq_set_copy(struct seq_set *to, const struct seq_set *from);

/* varint floor, varint count, then per range varint first - end of the one before, varint last -
 * first. */
void seq_set_put(const struct seq_set *set, struct buf *to);
/* Into an empty set. -EBADMSG, -ENOMEM. */
int seq_set_get(struct seq_set *set, struct reader *from);
