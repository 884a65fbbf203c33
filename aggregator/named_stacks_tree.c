/*
 * A tree: two passes over the blocks that were touched. From the last node to the first every node
 * is added to its caller, and counted by its value; from that is known how great a node must be to
 * stay. From the first to the last those that stay go into the answer, and others to what is
 * missing below their callers:
 *
 *	kept         [ 0b1011  0b0010 ]    by block: which of its nodes stay
 *	kept_before  [ 0       3      ]    and how many do in the blocks before: a node's number is
 *	                                   that and the bits before its own
 *
 * A caller is at least as great as what it calls, and comes before it: it stays if that does.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/named_stacks_private.h"
#include "core/auto.h"

#define BUCKETS (64 * 16)

/* ---- adding up ---- */

/* What the first pass finds. */
struct tree_sums {
	uint32_t counts[BUCKETS]; /* nodes by value */
	uint32_t count;
	uint32_t count_of[ANSWER_SIDES_MAX]; /* with a value on that side */
	/* Of all nodes: what a reader of the kept ones could not add up. */
	uint64_t truncated[ANSWER_SIDES_MAX], unknown[ANSWER_SIDES_MAX];
};

/* Values in order, sixteen buckets to each power of two. */
static uint32_t value_bucket(uint64_t value)
{
	if (value < 16)
		return (uint32_t)value;
	uint32_t bits = 63 - (uint32_t)__builtin_clzll(value);
	return (bits - 3) * 16 + (uint32_t)(value >> (bits - 4) & 15);
}

/* The least value of a bucket. */
static uint64_t bucket_value(uint32_t bucket)
{
	if (bucket < 32)
		return bucket;
	return (UINT64_C(16) + bucket % 16) << (bucket / 16 - 1);
}

/* Of both sides; what passes 64 bits is great enough. */
static inline uint64_t value_of_both(uint64_t a, uint64_t b)
{
	uint64_t value;
	return __builtin_add_overflow(a, b, &value) ? UINT64_MAX : value;
}

static void tree_sums_flaws(
        struct named_stacks *stacks, uint32_t sides, uint32_t node, struct tree_sums *sums)
{
	uint8_t flags = stacks->flags[node];
	bool is_at_root = stacks->nodes[node].parent == DICT_NODE_ROOT;
	for (uint32_t side = 0; side < sides; side++) {
		if (flags & NODE_IS_UNKNOWN)
			sums->unknown[side] += stacks->gathered[side].self[node];
		if (flags & NODE_IS_TRUNCATION && is_at_root)
			sums->truncated[side] += stacks->gathered[side].total[node];
	}
}

/* `sides` is known where this is made part of its callers: most questions have one. */
static inline __attribute__((always_inline)) void tree_sums_block(struct named_stacks *stacks,
        const struct node *nodes, uint32_t block, uint32_t sides, struct tree_sums *sums)
{
	const uint8_t *flags = stacks->flags;
	struct carry one = carry_of(&stacks->gathered[0]);
	struct carry two = carry_of(&stacks->gathered[sides - 1]);
	uint32_t first = block * BLOCK_NODES;
	uint32_t end = first + BLOCK_NODES;
	end = end < stacks->nodes_count ? end : stacks->nodes_count;
	for (uint32_t node = end; node-- > (first ? first : 1);) {
		uint32_t parent = nodes[node].parent;
		carry_prefetch(one, nodes, node);
		uint64_t value = carry_node(one, node, parent);
		if (sides > 1) {
			carry_prefetch(two, nodes, node);
			uint64_t other = carry_node(two, node, parent);
			sums->count_of[0] += value != 0;
			sums->count_of[1] += other != 0;
			value = value_of_both(value, other);
		}
		if (value == 0)
			continue;
		sums->counts[value_bucket(value)]++;
		if (flags[node] & (NODE_IS_UNKNOWN | NODE_IS_TRUNCATION))
			tree_sums_flaws(stacks, sides, node, sums);
	}
}

/* The root has no caller, and is what everything comes to. */
static void tree_sums_root(struct named_stacks *stacks, uint32_t sides, struct tree_sums *sums)
{
	uint64_t value = 0;
	for (uint32_t side = 0; side < sides; side++) {
		struct gathered *gathered = &stacks->gathered[side];
		gathered->total[DICT_NODE_ROOT] += gathered->self[DICT_NODE_ROOT];
		sums->count_of[side] += gathered->total[DICT_NODE_ROOT] != 0;
		value = value_of_both(value, gathered->total[DICT_NODE_ROOT]);
	}
	sums->counts[value_bucket(value)] += value != 0;
}

static void tree_sums_make(struct named_stacks *stacks, uint32_t sides, struct tree_sums *sums)
{
	const struct node *nodes = stacks->nodes;
	for (uint32_t block = named_stacks_blocks(stacks); block-- > 0;) {
		if (sides == 1 && stacks->gathered[0].touched[block])
			tree_sums_block(stacks, nodes, block, 1, sums);
		if (sides == 2 &&
		        (stacks->gathered[0].touched[block] | stacks->gathered[1].touched[block]))
			tree_sums_block(stacks, nodes, block, 2, sums);
	}
	tree_sums_root(stacks, sides, sums);
	for (uint32_t i = 0; i < BUCKETS; i++)
		sums->count += sums->counts[i];
	if (sides == 1)
		sums->count_of[0] = sums->count;
}

/* ---- which nodes stay ---- */

/* All past `all_past`, and of those from `some_from` on the first `room`; the root always. */
struct tree_cut {
	uint64_t some_from;
	uint64_t all_past;
	uint32_t room;
};

static struct tree_cut tree_cut_at(const struct tree_sums *sums, uint32_t nodes_max)
{
	struct tree_cut cut = { .some_from = 1, .all_past = 0 };
	uint32_t bucket = BUCKETS;
	if (nodes_max == 0 || sums->count <= nodes_max)
		return cut;
	cut.room = nodes_max;
	while (bucket > 0 && sums->counts[bucket - 1] <= cut.room)
		cut.room -= sums->counts[--bucket];
	/* Past 64 bits this is the greatest number, which nothing is past. */
	cut.all_past = bucket_value(bucket) - 1;
	cut.some_from = bucket > 0 ? bucket_value(bucket - 1) : 1;
	return cut;
}

/* ---- into the answer ---- */

/* What is missing below a node that stayed. */
struct tree_missing {
	uint64_t value;
	uint32_t children;
};

struct tree_put {
	struct named_stacks *stacks;
	const struct named_stacks_target *target;
	const struct node *nodes;
	struct dict_remap *remap;
	struct tree_cut cut;
	uint32_t sides;
	bool is_cut;
	uint32_t kept_max;
	uint32_t kept;
	uint32_t kept_of[ANSWER_SIDES_MAX];             /* with a value on that side */
	uint32_t *places;                               /* by number: the node in the answer */
	struct tree_missing *missing[ANSWER_SIDES_MAX]; /* by number; NULL: nothing is cut */
};

static void tree_put_fini(struct tree_put *put)
{
	dict_remap_free(put->remap);
	free(put->places);
	for (uint32_t side = 0; side < ANSWER_SIDES_MAX; side++)
		free(put->missing[side]);
}

static int tree_put_init(struct tree_put *put, const struct tree_sums *sums, uint32_t nodes_max)
{
	put->is_cut = nodes_max > 0 && sums->count > nodes_max;
	put->cut = tree_cut_at(sums, nodes_max);
	put->kept_max = put->is_cut ? nodes_max + 1 : sums->count;
	put->nodes = put->stacks->nodes;
	put->remap = dict_remap_new(put->stacks->dict, put->target->answer->dict);
	put->places = calloc(put->kept_max + UINT64_C(1), sizeof(*put->places));
	bool failed = !put->remap || !put->places;
	for (uint32_t side = 0; side < put->sides && put->is_cut; side++) {
		put->missing[side] = calloc(
		        put->kept_max + UINT64_C(1), sizeof(*put->missing[side]));
		failed |= !put->missing[side];
	}
	return failed ? -ENOMEM : 0;
}

static bool tree_put_has(const struct tree_put *put, uint32_t node)
{
	return put->stacks->kept[node >> BLOCK_BITS] >> node % BLOCK_NODES & 1;
}

/* Of a node that stays, by number. */
static uint32_t tree_put_number(const struct tree_put *put, uint32_t node)
{
	uint64_t before = (UINT64_C(1) << node % BLOCK_NODES) - 1;
	uint32_t block = node >> BLOCK_BITS;
	return put->stacks->kept_before[block] +
	       (uint32_t)__builtin_popcountll(put->stacks->kept[block] & before);
}

static int tree_put_place(struct tree_put *put, uint32_t node, uint32_t *ret_place)
{
	struct node at = put->nodes[node];
	uint32_t frame;
	if (node == DICT_NODE_ROOT) {
		*ret_place = DICT_NODE_ROOT;
		return 0;
	}
	int r = dict_remap_frame(put->remap, at.frame, &frame);
	return r < 0 ? r
	             : dict_node(put->target->answer->dict,
	                       put->places[tree_put_number(put, at.parent)], frame, ret_place);
}

static int tree_put_kept(struct tree_put *put, uint32_t node)
{
	uint32_t place = 0;
	int r = tree_put_place(put, node, &place);
	for (uint32_t side = 0; side < put->sides && r == 0; side++) {
		const struct gathered *gathered = &put->stacks->gathered[side];
		put->kept_of[side] += gathered->total[node] != 0;
		r = batch_add_row(put->target->answer->sides[side].batch, put->target->series,
		        place, gathered->self[node]);
	}
	put->places[put->kept++] = place;
	put->stacks->kept[node >> BLOCK_BITS] |= UINT64_C(1) << node % BLOCK_NODES;
	return r;
}

/* Said at the caller, if that has stayed; else it is in what is said of the caller's. */
static inline void tree_put_missing(struct tree_put *put, uint32_t node, uint32_t sides)
{
	uint32_t parent = put->nodes[node].parent;
	if (!tree_put_has(put, parent))
		return;
	uint32_t number = tree_put_number(put, parent);
	for (uint32_t side = 0; side < sides; side++) {
		uint64_t total = put->stacks->gathered[side].total[node];
		put->missing[side][number].value += total;
		put->missing[side][number].children += total != 0;
	}
}

static inline bool tree_put_stays(struct tree_put *put, uint32_t node, uint64_t value)
{
	if (value > put->cut.all_past || node == DICT_NODE_ROOT)
		return true;
	if (value < put->cut.some_from || put->cut.room == 0)
		return false;
	put->cut.room--;
	return true;
}

/* As tree_sums_block(), in the other direction: leaves zeroes behind. */
static inline __attribute__((always_inline)) int tree_put_block(
        struct tree_put *put, uint32_t block, uint32_t sides)
{
	struct named_stacks *stacks = put->stacks;
	const uint64_t *total = stacks->gathered[0].total;
	const uint64_t *other = sides > 1 ? stacks->gathered[1].total : NULL;
	uint32_t first = block * BLOCK_NODES;
	int r = 0;
	assert(total && (sides == 1 || other));
	stacks->kept[block] = 0;
	stacks->kept_before[block] = put->kept;
	for (uint32_t node = first; node < first + BLOCK_NODES && r == 0; node++) {
		uint64_t value = sides > 1 ? value_of_both(total[node], other[node]) : total[node];
		if (value == 0)
			continue;
		if (tree_put_stays(put, node, value))
			r = tree_put_kept(put, node);
		else
			tree_put_missing(put, node, sides);
	}
	for (uint32_t side = 0; side < sides; side++)
		named_stacks_clear_block(&stacks->gathered[side], block);
	return r;
}

static int tree_put_nodes(struct tree_put *put)
{
	const struct gathered *gathered = put->stacks->gathered;
	uint32_t blocks = named_stacks_blocks(put->stacks);
	int r = 0;
	for (uint32_t block = 0; block < blocks && r == 0; block++) {
		if (put->sides == 1 && gathered[0].touched[block])
			r = tree_put_block(put, block, 1);
		if (put->sides == 2 && (gathered[0].touched[block] | gathered[1].touched[block]))
			r = tree_put_block(put, block, 2);
	}
	return r;
}

static int tree_put_parts(struct tree_put *put, const struct tree_sums *sums, uint32_t side)
{
	struct answer_side *to = &put->target->answer->sides[side];
	uint32_t series = put->target->series;
	int r = 0;
	for (uint32_t i = 0; i < put->kept && r == 0; i++) {
		const struct tree_missing *missing = &put->missing[side][i];
		r = batch_add_row(to->parts[ANSWER_CUT], series, put->places[i], missing->value);
		if (r == 0)
			r = batch_add_row(to->parts[ANSWER_CUT_CHILDREN], series, put->places[i],
			        missing->children);
	}
	if (r == 0)
		r = batch_add_row(to->parts[ANSWER_CUT_NODES], series, DICT_NODE_ROOT,
		        sums->count_of[side] - put->kept_of[side]);
	if (r == 0)
		r = named_stacks_put_flaw(
		        put->target, side, FRAME_TRUNCATED, sums->truncated[side]);
	if (r == 0)
		r = named_stacks_put_flaw(put->target, side, FRAME_NATIVE, sums->unknown[side]);
	return r;
}

/* All that is to come has room at once. */
static int tree_put_reserve(struct tree_put *put)
{
	int r = dict_reserve_nodes(put->target->answer->dict, put->kept_max);
	for (uint32_t side = 0; side < put->sides && r == 0; side++)
		r = batch_reserve_rows(put->target->answer->sides[side].batch, put->kept_max);
	return r;
}

static int tree_put_all(struct tree_put *put, const struct tree_sums *sums, uint32_t nodes_max)
{
	int r = tree_put_init(put, sums, nodes_max);
	if (r == 0)
		r = tree_put_reserve(put);
	if (r == 0)
		r = tree_put_nodes(put);
	if (r == 0 && put->is_cut)
		r = named_stacks_put_parts(
		        put->target->answer, (1u << ANSWER_PARTS) - 1 - (1u << ANSWER_CUM));
	for (uint32_t side = 0; side < put->sides && put->is_cut && r == 0; side++)
		r = tree_put_parts(put, sums, side);
	return r;
}

int named_stacks_tree(
        struct named_stacks *stacks, struct named_stacks_target target, uint32_t nodes_max)
{
	struct tree_sums sums = { 0 };
	struct tree_put put = {
		.stacks = stacks, .target = &target, .sides = target.answer->sides_count
	};
	if (!stacks->dict || stacks->nodes_count == 0)
		return 0;
	for (uint32_t side = 0; side < put.sides; side++) {
		int r = named_stacks_reserve_side(stacks, side);
		if (r < 0)
			return r;
	}
	tree_sums_make(stacks, put.sides, &sums);
	int r = tree_put_all(&put, &sums, nodes_max);
	named_stacks_clear(stacks);
	tree_put_fini(&put);
	return r;
}
