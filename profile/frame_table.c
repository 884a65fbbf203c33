/*
 * A frame is packed by guess and unpacked to see whether it is still the same: what fits is said
 * once, by the widths of the fields.
 */

#include "profile/frame_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "profile/dict_private.h"

static_assert(sizeof(struct packed_frame) == 24, "a store has hundreds of thousands of these");

void frame_table_fini(struct frame_table *table)
{
	free(table->all);
	free(table->wide);
}

static struct packed_frame frame_pack(const struct frame *frame)
{
	struct packed_frame packed = {
		.address = frame->address,
		.column = (uint64_t)frame->column,
		.has_system_name = frame->system_name != 0,
		.function = frame->function,
		.file = frame->file,
		.module = frame->module,
		.line = (uint64_t)frame->line,
		.below_start = FRAME_NO_START_LINE,
		.kind = (uint64_t)(frame->kind - FRAME_NATIVE),
		.flags = frame->flags,
	};
	/* Of a line that is too long for this the difference does not matter. */
	if (frame->start_line != 0)
		packed.below_start = (uint64_t)frame->line - (uint64_t)frame->start_line;
	return packed;
}

static struct frame frame_unpack(struct packed_frame packed)
{
	struct frame frame = {
		.kind = (uint8_t)(packed.kind + FRAME_NATIVE),
		.flags = (uint8_t)packed.flags,
		.module = (uint32_t)packed.module,
		.function = packed.function,
		.system_name = packed.has_system_name ? packed.function : 0,
		.file = packed.file,
		.address = packed.address,
		.line = (int64_t)packed.line,
		.column = (int64_t)packed.column,
	};
	if (packed.below_start != FRAME_NO_START_LINE)
		frame.start_line = frame.line - (int64_t)packed.below_start;
	return frame;
}

static bool frame_equal(const struct frame *a, const struct frame *b)
{
	return a->kind == b->kind && a->flags == b->flags && a->module == b->module &&
	       a->function == b->function && a->system_name == b->system_name &&
	       a->file == b->file && a->address == b->address && a->line == b->line &&
	       a->column == b->column && a->start_line == b->start_line;
}

static int frame_table_put_wide(
        struct frame_table *table, const struct frame *frame, struct packed_frame *ret_packed)
{
	struct frame *wide = dict_grow(
	        table->wide, &table->wide_capacity, (uint64_t)table->wide_count + 1, sizeof(*wide));
	if (!wide)
		return -ENOMEM;
	table->wide = wide;
	wide[table->wide_count] = *frame;
	*ret_packed = (struct packed_frame){ .is_wide = 1, .address = table->wide_count++ };
	return 0;
}

int frame_table_put(struct frame_table *table, uint32_t id, const struct frame *frame)
{
	assert(frame->kind >= FRAME_NATIVE && frame->kind <= FRAME_TRUNCATED);
	struct packed_frame *all = dict_grow(
	        table->all, &table->capacity, (uint64_t)id + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	table->all = all;

	struct packed_frame packed = frame_pack(frame);
	struct frame unpacked = frame_unpack(packed);
	int r = frame_equal(&unpacked, frame) ? 0 : frame_table_put_wide(table, frame, &packed);
	if (r == 0)
		all[id] = packed;
	return r;
}

struct frame frame_table_get(const struct frame_table *table, uint32_t id)
{
	struct packed_frame packed = table->all[id];
	return packed.is_wide ? table->wide[packed.address] : frame_unpack(packed);
}

void frame_table_truncate(struct frame_table *table, uint32_t before, uint32_t count)
{
	/* Wide ones are in order too: the last of them that goes is the first of them. */
	for (uint32_t id = before; id > count; id--)
		if (table->all[id - 1].is_wide)
			table->wide_count = (uint32_t)table->all[id - 1].address;
}

size_t frame_table_memory(const struct frame_table *table)
{
	return table->capacity * sizeof(*table->all) + table->wide_capacity * sizeof(*table->wide);
}
