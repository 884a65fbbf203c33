#pragma once

/*
 * row_model is what the coded form of a batch's columns (batch_coded.c) expects of the next row:
 * how many bits its distance has, whether its value is above 1, whether it lies inside its chain.
 * Chances learn from row to row, so writer and reader go through the same rows in the same order,
 * each with a model of its own that began anew with the batch.
 *
 * What is told apart, and no more, as each kind has to be learned in some hundred rows:
 *
 *	widths   by about where among all chains the one before is: stacks that came early are hot
 *	         and lie close; and whether it was the neighbour of the one before it
 *	places   by the width of the chain's number, whether 2, 3 or more nodes are left of it, and
 *	         whether the row before was inside its chain
 *	values   by the width of the chain's number, and whether the row before had more than 1
 *
 * A width is one of sixteen in one step, as a row has to be read in some nanoseconds: where each of
 * them begins are sixteen numbers in two vectors, which all move towards what came.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/bits.h"
#include "core/range_code.h"

#define ROW_WIDTHS      33 /* of a number of at most 32 bits */
#define ROW_NODES_KINDS 3
/* How fast a chance learns, in the end; at first twice as fast for each row. */
#define ROW_LEARN_SHIFT 4

#define ROW_PARTS      16
#define ROW_PARTS_LAST (ROW_PARTS - 1)
#define ROW_LANES      8 /* of a vector */
/* How fast parts learn: by 2 of 2^shift at first, and slower when they were seen so often. */
#define ROW_PARTS_SHIFT_FIRST 2
#define ROW_PARTS_SEEN_3      2
#define ROW_PARTS_SEEN_4      6
#define ROW_PARTS_SEEN_LAST   20
#define ROW_PARTS_SHIFT_LAST  6
/* Behind the last of the widths that are one step, another. */
#define ROW_FAR_BITS 2

/* Chains whose numbers have less than ROW_KIND_WIDTH bits are of one kind by four widths. */
#define ROW_KIND_WIDTH 13
#define ROW_KINDS      ((ROW_KIND_WIDTH - 1 + 3) / 4 + 1 + (ROW_WIDTHS - ROW_KIND_WIDTH) * 4)

struct row_chance {
	range_chance chance;
	uint16_t seen; /* up to ROW_LEARN_SHIFT */
};

typedef int16_t row_lanes __attribute__((vector_size(2 * ROW_LANES)));

/* Sixteen parts of 2^RANGE_PARTS_BITS, none of them empty. */
struct row_parts {
	_Alignas(row_lanes) uint16_t begins[ROW_PARTS];
	uint16_t end;  /* of the last, always all */
	uint16_t seen; /* up to ROW_PARTS_SEEN_LAST */
};

struct row_model {
	struct row_parts widths[ROW_KINDS][2];
	struct row_parts far;
	struct row_chance places[ROW_WIDTHS][ROW_NODES_KINDS][2];
	struct row_chance values[ROW_WIDTHS][2];
	bool has_place, has_value, is_near; /* the row before */
};

void row_model_init(struct row_model *model);

/* A run of another series: no row is before. */
static inline void row_model_begin_run(struct row_model *model)
{
	model->has_place = false;
	model->has_value = false;
	model->is_near = false;
}

/* By the three highest bits of its number, where it has many. */
static inline struct row_parts *row_model_width(struct row_model *model, uint32_t chain)
{
	unsigned int width = bits_width(chain);
	unsigned int kind = (width + 3) / 4;
	if (width >= ROW_KIND_WIDTH)
		kind = (ROW_KIND_WIDTH - 1 + 3) / 4 + 1 + (width - ROW_KIND_WIDTH) * 4 +
		       (chain >> (width - 3) & 3);
	return &model->widths[kind][model->is_near];
}

static inline struct row_chance *row_model_place(
        struct row_model *model, unsigned int chain_width, uint32_t nodes)
{
	uint32_t kind = nodes < ROW_NODES_KINDS + 1 ? nodes - 2 : ROW_NODES_KINDS - 1;
	return &model->places[chain_width][kind][model->has_place];
}

static inline struct row_chance *row_model_value(struct row_model *model, unsigned int chain_width)
{
	return &model->values[chain_width][model->has_value];
}

static inline void row_chance_learn(struct row_chance *chance, unsigned int bit)
{
	unsigned int shift = chance->seen + (chance->seen < ROW_LEARN_SHIFT);
	chance->seen = (uint16_t)shift;
	if (bit)
		chance->chance -= chance->chance >> shift;
	else
		chance->chance += ((1u << RANGE_CHANCE_BITS) - chance->chance) >> shift;
}

static inline void row_chance_put(
        struct row_chance *chance, struct range_writer *to, unsigned int bit)
{
	range_put(to, chance->chance, bit);
	row_chance_learn(chance, bit);
}

static inline unsigned int row_chance_get(struct row_chance *chance, struct range_reader *from)
{
	unsigned int bit = range_get(from, chance->chance);
	row_chance_learn(chance, bit);
	return bit;
}

/* Where parts begin when all but `part` have the least, by `part`. */
extern const struct row_parts_ends {
	_Alignas(row_lanes) uint16_t begins[ROW_PARTS];
} row_parts_ends[ROW_PARTS];

static inline void row_parts_learn(struct row_parts *parts, unsigned int part)
{
	row_lanes low, high, low_end, high_end;
	memcpy(&low, parts->begins, sizeof(low));
	memcpy(&high, parts->begins + ROW_LANES, sizeof(high));
	memcpy(&low_end, row_parts_ends[part].begins, sizeof(low));
	memcpy(&high_end, row_parts_ends[part].begins + ROW_LANES, sizeof(high));
	if (parts->seen == ROW_PARTS_SEEN_LAST) {
		low += (low_end - low) >> ROW_PARTS_SHIFT_LAST;
		high += (high_end - high) >> ROW_PARTS_SHIFT_LAST;
	} else {
		int shift = ROW_PARTS_SHIFT_FIRST + (parts->seen >= ROW_PARTS_SEEN_3) +
		            (parts->seen >= ROW_PARTS_SEEN_4);
		low += (low_end - low) >> shift;
		high += (high_end - high) >> shift;
		parts->seen++;
	}
	memcpy(parts->begins, &low, sizeof(low));
	memcpy(parts->begins + ROW_LANES, &high, sizeof(high));
}

/* The part that has the point: how many begin at it or before, less one. */
static inline unsigned int row_parts_find(const struct row_parts *parts, uint32_t point)
{
	row_lanes low, high;
	uint64_t counts[2];
	memcpy(&low, parts->begins, sizeof(low));
	memcpy(&high, parts->begins + ROW_LANES, sizeof(high));
	row_lanes before = -((low <= (int16_t)point) + (high <= (int16_t)point));
	memcpy(counts, &before, sizeof(counts));
	return (unsigned int)(((counts[0] + counts[1]) * UINT64_C(0x0001000100010001)) >> 48) - 1;
}

static inline unsigned int row_parts_end(const struct row_parts *parts, unsigned int part)
{
	return part < ROW_PARTS_LAST ? parts->begins[part + 1] : parts->end;
}

static inline void row_parts_put(
        struct row_parts *parts, struct range_writer *to, unsigned int part)
{
	uint32_t begin = parts->begins[part];
	range_put_part(to, begin, row_parts_end(parts, part) - begin);
	row_parts_learn(parts, part);
}

static inline unsigned int row_parts_get(struct row_parts *parts, struct range_reader *from)
{
	unsigned int part = row_parts_find(parts, range_get_point(from));
	uint32_t begin = parts->begins[part];
	range_take_part(from, begin, row_parts_end(parts, part) - begin);
	row_parts_learn(parts, part);
	return part;
}

/* The width of the distance from that chain. */
static inline void row_width_put(
        struct row_model *model, struct range_writer *to, uint32_t chain, unsigned int width)
{
	unsigned int part = width < ROW_PARTS_LAST ? width : ROW_PARTS_LAST;
	row_parts_put(row_model_width(model, chain), to, part);
	model->is_near = width == 1;
	if (part < ROW_PARTS_LAST)
		return;
	width -= ROW_PARTS_LAST;
	part = width < ROW_PARTS_LAST ? width : ROW_PARTS_LAST;
	row_parts_put(&model->far, to, part);
	if (part == ROW_PARTS_LAST)
		range_put_bits(to, width - ROW_PARTS_LAST, ROW_FAR_BITS);
}

/* Less than ROW_WIDTHS, or one more, which no writer writes. */
static inline unsigned int row_width_get(
        struct row_model *model, struct range_reader *from, uint32_t chain)
{
	unsigned int width = row_parts_get(row_model_width(model, chain), from);
	model->is_near = width == 1;
	if (width < ROW_PARTS_LAST)
		return width;
	width = row_parts_get(&model->far, from);
	if (width == ROW_PARTS_LAST)
		width += range_get_bits(from, ROW_FAR_BITS);
	return ROW_PARTS_LAST + width;
}
