/* A model that has seen nothing: every chance is even, and all parts are as wide. */

#include "profile/row_model.h"

/* The least width of a part is 1. */
#define END(part, place)                                                                           \
	((place) > (part) ? (1u << RANGE_PARTS_BITS) - (ROW_PARTS - (place)) : (place))
#define ENDS(part)                                                                                 \
	{                                                                                          \
		{                                                                                  \
			END(part, 0), END(part, 1), END(part, 2), END(part, 3), END(part, 4),      \
			        END(part, 5), END(part, 6), END(part, 7), END(part, 8),            \
			        END(part, 9), END(part, 10), END(part, 11), END(part, 12),         \
			        END(part, 13), END(part, 14), END(part, 15)                        \
		}                                                                                  \
	}

const struct row_parts_ends row_parts_ends[ROW_PARTS] = { ENDS(0), ENDS(1), ENDS(2), ENDS(3),
	ENDS(4), ENDS(5), ENDS(6), ENDS(7), ENDS(8), ENDS(9), ENDS(10), ENDS(11), ENDS(12),
	ENDS(13), ENDS(14), ENDS(15) };

static void row_parts_init(struct row_parts *parts)
{
	for (unsigned int i = 0; i < ROW_PARTS; i++)
		parts->begins[i] = (uint16_t)((i << RANGE_PARTS_BITS) / ROW_PARTS);
	parts->end = 1u << RANGE_PARTS_BITS;
	parts->seen = 0;
}

static void row_chances_init(struct row_chance *chances, size_t count)
{
	for (size_t i = 0; i < count; i++)
		chances[i] = (struct row_chance){ .chance = RANGE_CHANCE_EVEN };
}

void row_model_init(struct row_model *model)
{
	row_parts_init(&model->far);
	for (unsigned int i = 0; i < ROW_KINDS; i++)
		model->widths[i][0] = model->widths[i][1] = model->far;
	row_chances_init(
	        &model->places[0][0][0], sizeof(model->places) / sizeof(struct row_chance));
	row_chances_init(&model->values[0][0], sizeof(model->values) / sizeof(struct row_chance));
	row_model_begin_run(model);
}
