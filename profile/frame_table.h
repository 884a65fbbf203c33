#pragma once

/*
 * frame_table keeps the frames of a dict in less than half of what struct frame takes.
 *
 * A store has hundreds of thousands of frames, each session some ten thousand that stand in the
 * store as well, and nearly all have an address below 2^48, a line within a file of sane length and
 * no name but one. Those fit into three words; one that does not is kept as it came, beside them.
 *
 * Frames are put in the order of their ids and taken back from the end. The owner counts them.
 * Reading does not change a table.
 */

#include "profile/dict.h"

struct packed_frame {
	uint64_t address : 48; /* of a wide one: its place among these */
	uint64_t column : 14;
	uint64_t is_wide : 1;
	uint64_t has_system_name : 1; /* and it is the function */
	uint32_t function;
	uint32_t file;
	uint64_t module : 20;
	uint64_t line : 24;
	uint64_t below_start : 16; /* lines; FRAME_NO_START_LINE */
	uint64_t kind : 2;         /* less FRAME_NATIVE */
	uint64_t flags : 2;
};

#define FRAME_NO_START_LINE 0xffff

struct frame_table {
	struct packed_frame *all;
	struct frame *wide;
	uint32_t capacity;
	uint32_t wide_count, wide_capacity;
};

void frame_table_fini(struct frame_table *table);

/* The next one, behind `id` others, which is of a kind that there is. -ENOMEM. */
int frame_table_put(struct frame_table *table, uint32_t id, const struct frame *frame);
struct frame frame_table_get(const struct frame_table *table, uint32_t id);

/* Of `before` only the first `count` are left. */
void frame_table_truncate(struct frame_table *table, uint32_t before, uint32_t count);

size_t frame_table_memory(const struct frame_table *table);
