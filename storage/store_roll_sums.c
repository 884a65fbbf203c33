/*
 * Sums of the units that are rolled up: loaded a few at a time and added up, addresses made those
 * of their functions, and rarely seen stacks folded.
 */

#include <assert.h>
#include <errno.h>

#include "storage/store_roll_private.h"

void roll_sums_fini(struct roll_sums *sums)
{
	for (uint32_t i = 0; i < ROLL_SOURCES_MAX; i++) {
		buf_fini(&sums->bytes[i]);
		buf_fini(&sums->values[i]);
	}
	buf_fini(&sums->sum);
	buf_fini(&sums->sum_values);
}

void roll_sums_reset(struct roll_sums *sums)
{
	buf_reset(&sums->sum);
	buf_reset(&sums->sum_values);
	sums->stacks = 0;
}

/* What is in one is in the other, and the other way round. */
static void roll_sums_swap(struct buf *a, struct buf *b)
{
	struct buf kept = *a;
	*a = *b;
	*b = kept;
}

/* In the gate. */
static int roll_sums_read(struct sealed *sealed, uint32_t unit, struct sum_block *ret_block)
{
	const struct sum_group *groups;
	buf_reset(&sealed->values_bytes);
	int r = sealed_get_sums(sealed, unit, ret_block);
	r = r < 0 ? r : sum_block_get_groups(ret_block, sealed->sums_memory, &groups);
	return r < 0 ? r : sealed_get_values(sealed, unit, ret_block);
}

int roll_sums_load(struct roll *roll, const struct roll_part *part, struct roll_sums *sums)
{
	struct roll_input *input = &roll->inputs[part->input];
	struct sealed *sealed = &input->sealed;
	gate_enter(&roll->store->gate);
	int r = roll_sums_read(sealed, part->unit, &sums->blocks[sums->count]);
	gate_leave(&roll->store->gate);
	if (r < 0)
		return roll_blame(roll, input, r);
	/* The block borrows its bytes: they are kept, and the reader gets others. */
	struct key_block values = { sealed->key, part->unit, KEYS_BLOCK_VALUES, 0 };
	keys_put_block(values, sums->values_keys[sums->count]);
	roll_sums_swap(&sealed->sums_bytes, &sums->bytes[sums->count]);
	roll_sums_swap(&sealed->values_bytes, &sums->values[sums->count]);
	sums->stacks += sums->blocks[sums->count++].dictionary_count;
	return 0;
}

/* What stacks become. */
struct roll_mapping {
	uint32_t (*map)(void *owner, uint32_t node);
	void *owner;
	bool is_silent;
	struct roll_move *move; /* then groups and instances become those of another dict as well */
};

/* All that is loaded, and the sum so far, into one. */
static int roll_sums_merge(struct roll *roll, struct sum_keys keys, struct roll_mapping mapping,
        struct roll_sums *sums)
{
	struct sum_source sources[ROLL_SOURCES_MAX + 1] = { 0 };
	uint32_t count = 0;
	if (sums->sum.count > 0)
		sources[count++] = (struct sum_source){
			.block = &sums->sum_block,
			.values_key = keys.values,
			.values = store_bytes(&sums->sum_values),
		};
	for (uint32_t i = 0; i < sums->count; i++)
		sources[count++] = (struct sum_source){
			.block = &sums->blocks[i],
			.values_key = { sums->values_keys[i], KEYS_BLOCK_BYTES },
			.values = store_bytes(&sums->values[i]),
		};
	struct sum_merge_options options = {
		.nodes_count = roll->nodes_count,
		.effort = COLUMN_FAST,
		.fold = mapping.map,
		.is_fold_silent = mapping.is_silent,
		.regroup = mapping.move ? roll_move_group : NULL,
		.instance = mapping.move ? roll_move_string : NULL,
		.owner = mapping.owner,
	};
	buf_reset(&roll->block);
	buf_reset(&roll->group_values);
	int r = sum_merge(sources, count, options, keys, &roll->block, &roll->group_values);
	if (r < 0)
		return r;
	roll_sums_swap(&roll->block, &sums->sum);
	roll_sums_swap(&roll->group_values, &sums->sum_values);
	sums->count = 0;
	r = sum_block_open(keys.block, store_bytes(&sums->sum), &sums->sum_block);
	assert(r == 0);
	sums->stacks = sums->sum_block.dictionary_count;
	return 0;
}

int roll_sums_add_up(struct roll *roll, struct sum_keys keys, struct roll_sums *sums)
{
	return roll_sums_merge(roll, keys, (struct roll_mapping){ 0 }, sums);
}

/* Of a unit that is complete: stacks that differ by addresses in the same functions become one. */
static int roll_sums_collapse(struct roll *roll, struct sum_keys keys, struct roll_sums *sums)
{
	uint32_t count = sums->sum_block.dictionary_count;
	AUTO(sum_memory) memory = sum_memory_new();
	autofree uint32_t *nodes = malloc(((size_t)count + 1) * sizeof(*nodes));
	AUTO(roll_collapse) collapse = NULL;
	if (!roll->is_collapsed || count == 0)
		return 0;
	int r = memory && nodes ? 0 : -ENOMEM;
	r = r < 0 ? r : sum_block_get_dictionary(&sums->sum_block, memory, nodes);
	r = r < 0 ? r : roll_collapse_new(roll, nodes, count, &collapse);
	if (r == -E2BIG && !roll->is_only_to_collapse) {
		roll->is_collapsed = false; /* it is as it would be without */
		return 0;
	}
	if (r < 0 || !collapse)
		return r;
	struct roll_mapping mapping = {
		.map = roll_collapse_node,
		.owner = collapse,
		.is_silent = true,
	};
	return roll_sums_merge(roll, keys, mapping, sums);
}

/* Of a unit that is complete: rarely seen stacks to their ancestors. */
static int roll_sums_fold(struct roll *roll, struct sum_keys keys, struct roll_sums *sums)
{
	uint64_t below = roll->store->options.fold_below[key_window_level(roll->key) - 1];
	uint32_t count = sums->sum_block.dictionary_count;
	AUTO(sum_memory) memory = sum_memory_new();
	AUTO(stack_sums) totals = stack_sums_new(count);
	autofree uint32_t *nodes = malloc(((size_t)count + 1) * sizeof(*nodes));
	AUTO(roll_fold) fold = NULL;
	const uint64_t *values;
	if (below <= 1 || count == 0)
		return 0;
	int r = memory && totals && nodes ? 0 : -ENOMEM;
	r = r < 0 ? r : sum_block_get_dictionary(&sums->sum_block, memory, nodes);
	r = r < 0 ? r : sum_block_add_total(&sums->sum_block, memory, totals);
	r = r < 0 ? r : stack_sums_get(totals, &values);
	r = r < 0 ? r : roll_fold_new(roll, nodes, values, count, below, &fold);
	struct roll_mapping mapping = { .map = roll_fold_node, .owner = fold };
	return r < 0 ? r : roll_sums_merge(roll, keys, mapping, sums);
}

/* All ids become those of the compact generation. */
static int roll_sums_move(struct roll *roll, struct sum_keys keys, struct roll_sums *sums)
{
	struct roll_mapping mapping = {
		.map = roll_move_node,
		.owner = roll->move,
		.is_silent = true,
		.move = roll->move,
	};
	int r = roll_move_sums(roll->move, &sums->sum_block);
	return r < 0 ? r : roll_sums_merge(roll, keys, mapping, sums);
}

int roll_sums_finish(struct roll *roll, struct sum_keys keys, struct roll_sums *sums)
{
	if (roll->move)
		return roll_sums_move(roll, keys, sums);
	int r = roll_sums_collapse(roll, keys, sums);
	return r < 0 ? r : roll_sums_fold(roll, keys, sums);
}
