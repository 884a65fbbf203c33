/*
 * A row walks its stack once from leaf to root. stamps[name] remembers the last row that met a
 * function, so that the second meeting on one stack is seen without clearing anything between rows.
 */

#include "query/functions.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct functions {
	struct names *names;
	struct function *items;
	uint32_t count;
	uint32_t capacity;
	uint32_t *index_of_name; /* ID_NONE: not met yet */
	uint64_t *stamps;        /* by name: number of the row that counted it last */
	uint32_t names_capacity;
	uint64_t stamp;
	uint32_t left_out;
	uint64_t total[2];
};

struct functions *functions_new(struct names *names)
{
	struct functions *functions = calloc(1, sizeof(*functions));
	if (functions)
		functions->names = names;
	return functions;
}

void functions_free(struct functions *functions)
{
	if (!functions)
		return;
	free(functions->items);
	free(functions->index_of_name);
	free(functions->stamps);
	free(functions);
}

/* Room for every name there is. */
static int functions_reserve(struct functions *functions)
{
	uint32_t count = names_count(functions->names);
	if (count <= functions->names_capacity)
		return 0;

	uint32_t *index_of_name = reallocarray(
	        functions->index_of_name, count, sizeof(*index_of_name));
	if (!index_of_name)
		return -ENOMEM;
	functions->index_of_name = index_of_name;
	uint64_t *stamps = reallocarray(functions->stamps, count, sizeof(*stamps));
	if (!stamps)
		return -ENOMEM;
	functions->stamps = stamps;
	for (uint32_t i = functions->names_capacity; i < count; i++) {
		index_of_name[i] = ID_NONE;
		stamps[i] = 0;
	}
	functions->names_capacity = count;
	return 0;
}

static struct function *functions_find(struct functions *functions, uint32_t name)
{
	uint32_t index = functions->index_of_name[name];
	if (index != ID_NONE)
		return &functions->items[index];

	if (functions->count == functions->capacity) {
		uint32_t capacity = functions->capacity ? 2 * functions->capacity : 1024;
		struct function *items = reallocarray(functions->items, capacity, sizeof(*items));
		if (!items)
			return NULL;
		functions->items = items;
		functions->capacity = capacity;
	}
	functions->index_of_name[name] = functions->count;
	functions->items[functions->count] = (struct function){ .name = name };
	return &functions->items[functions->count++];
}

static int functions_add_row(struct functions *functions, uint32_t side, const struct dict *dict,
        const uint32_t *name_of_frame, uint32_t leaf, uint64_t value)
{
	functions->stamp++;
	/* A part is never more than the total, so only the total can overflow. */
	if (__builtin_add_overflow(functions->total[side], value, &functions->total[side]))
		return -EOVERFLOW;

	for (uint32_t node = leaf; node != DICT_NODE_ROOT;) {
		struct node step = dict_get_node(dict, node);
		uint32_t name = name_of_frame[step.frame];
		if (functions->stamps[name] != functions->stamp) {
			struct function *function = functions_find(functions, name);
			if (!function)
				return -ENOMEM;
			functions->stamps[name] = functions->stamp;
			function->cum[side] += value;
			if (node == leaf)
				function->flat[side] += value;
		}
		node = step.parent;
	}
	return 0;
}

int functions_add(
        struct functions *functions, uint32_t side, const struct batch *batch, const bool *chosen)
{
	assert(side < 2);

	const struct dict *dict = batch->dict;
	autofree uint32_t *name_of_frame = NULL;
	int result = names_of_dict(functions->names, dict, &name_of_frame);
	if (result == 0)
		result = functions_reserve(functions);

	for (uint32_t i = 0; i < batch->rows_count && result == 0; i++) {
		const struct row *row = &batch->rows[i];
		if (chosen && !chosen[row->series])
			continue;
		uint64_t value;
		if (__builtin_mul_overflow(
		            row->value, dict_get_series(dict, row->series)->period, &value))
			return -EOVERFLOW;
		result = functions_add_row(functions, side, dict, name_of_frame, row->node, value);
	}
	return result;
}

/* One column of an aggregator's sums. Nothing is on a stack that is empty: it has no function. */
static int functions_add_column(struct functions *functions, uint32_t side,
        const struct batch *batch, const bool *chosen, const uint32_t *name_of_frame, bool is_cum)
{
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		if (chosen && !chosen[row->series])
			continue;
		if (!is_cum && __builtin_add_overflow(
		                       functions->total[side], row->value, &functions->total[side]))
			return -EOVERFLOW;
		if (row->node == DICT_NODE_ROOT)
			continue;
		uint32_t frame = dict_get_node(batch->dict, row->node).frame;
		struct function *function = functions_find(functions, name_of_frame[frame]);
		if (!function)
			return -ENOMEM;
		uint64_t *to = is_cum ? &function->cum[side] : &function->flat[side];
		if (__builtin_add_overflow(*to, row->value, to))
			return -EOVERFLOW;
	}
	return 0;
}

int functions_add_sums(struct functions *functions, uint32_t side, const struct batch *flat,
        const struct batch *cum, const bool *chosen)
{
	assert(side < 2);

	autofree uint32_t *name_of_frame = NULL;
	int result = names_of_readable(functions->names, flat->dict, &name_of_frame);
	if (result == 0)
		result = functions_reserve(functions);
	if (result == 0)
		result = functions_add_column(functions, side, flat, chosen, name_of_frame, false);
	if (result == 0)
		result = functions_add_column(functions, side, cum, chosen, name_of_frame, true);
	return result;
}

double functions_change(const struct function *function, struct functions_scale scale)
{
	const uint64_t *value = scale.by_cum ? function->cum : function->flat;
	double share[2] = { 0, 0 };
	for (int i = 0; i < 2; i++)
		if (scale.whole[i])
			share[i] = (double)value[i] / (double)scale.whole[i];
	return share[1] - share[0];
}

struct functions_sorting {
	const struct names *names;
	enum functions_order order;
	struct functions_scale scale;
};

/* Sums of two sides may pass 64 bits. */
static int functions_compare_sums(const uint64_t a[2], const uint64_t b[2])
{
	unsigned __int128 sum_a = (unsigned __int128)a[0] + a[1];
	unsigned __int128 sum_b = (unsigned __int128)b[0] + b[1];
	return (sum_a < sum_b) - (sum_a > sum_b);
}

static int functions_compare(const void *left, const void *right, void *opaque)
{
	const struct function *a = left, *b = right;
	const struct functions_sorting *sorting = opaque;
	int result = 0;

	if (sorting->order == FUNCTIONS_BY_CHANGE) {
		double change_a = __builtin_fabs(functions_change(a, sorting->scale));
		double change_b = __builtin_fabs(functions_change(b, sorting->scale));
		result = (change_a < change_b) - (change_a > change_b);
	}
	if (result == 0 && sorting->order == FUNCTIONS_BY_CUM)
		result = functions_compare_sums(a->cum, b->cum);
	if (result == 0)
		result = functions_compare_sums(a->flat, b->flat);
	if (result == 0)
		result = functions_compare_sums(a->cum, b->cum);
	return result ? result : names_compare(sorting->names, a->name, b->name);
}

void functions_sort(
        struct functions *functions, enum functions_order order, struct functions_scale scale)
{
	struct functions_sorting sorting = { functions->names, order, scale };
	if (functions->count > 1)
		qsort_r(functions->items, functions->count, sizeof(*functions->items),
		        functions_compare, &sorting);
	/* Positions have changed; a later functions_add() must still find its items. */
	for (uint32_t i = 0; i < functions->count; i++)
		functions->index_of_name[functions->items[i].name] = i;
}

void functions_leave_out(struct functions *functions, uint32_t count)
{
	functions->left_out = count;
}

uint32_t functions_count_all(const struct functions *functions)
{
	return functions->count + functions->left_out;
}

uint32_t functions_count(const struct functions *functions)
{
	return functions->count;
}

const struct function *functions_get(const struct functions *functions, uint32_t index)
{
	assert(index < functions->count);
	return &functions->items[index];
}

uint64_t functions_total(const struct functions *functions, uint32_t side)
{
	return functions->total[side];
}
