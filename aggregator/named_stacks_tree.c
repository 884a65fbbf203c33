/*
 * A tree: one pass over the blocks that were touched, from the last node to the first, in which
 * every node is added to its caller. Those that may be among the greatest are noted as they come by
 * (`chosen` from the end on, so that they are in order); what is greater than so many that were
 * seen is known at any time, and nothing that is less is looked at again:
 *
 *	noted        [ n7 n5 n4 n1 n0 ]    from the last place to the first
 *	kept         [ 0b1011  0b0010 ]    by block: which of its nodes stay
 *	kept_before  [ 0       3      ]    and how many do in the blocks before: a node's number is
 *	                                   that and the bits before its own
 *
 * A caller is at least as great as what it calls, and comes before it: it stays if that does. What
 * is missing below a node is what it comes to, without itself and without what stays below it. How
 * many next below it are missing is counted likewise where nodes are laid out; those behind are
 * gone through once more.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/named_stacks_private.h"
#include "core/auto.h"
#include "core/fetch.h"

#define BUCKETS (64 * 16)

/* As many are noted as stay and are alike, and half of that again, before they are sifted. */
#define NOTED_SHARE 3

/* ---- adding up ---- */

/* A node that may stay, for one side. */
struct tree_node {
	uint32_t place;
	uint32_t callees; /* of those that are laid out: what comes to anything next below it */
	uint64_t self;
	uint64_t total;
};

/* What the pass finds. */
struct tree_sums {
	struct named_stacks *stacks;
	uint32_t sides;
	uint32_t nodes_max;
	uint32_t counts[BUCKETS]; /* nodes by value, from `floor_bucket` on */
	uint32_t floor_bucket;
	uint32_t above; /* of all counts from there on */
	uint64_t floor; /* what is less does not stay */
	uint32_t count;
	uint32_t count_of[ANSWER_SIDES_MAX]; /* with a value on that side */
	/* Of all nodes: what a reader of the kept ones could not add up. */
	uint64_t truncated[ANSWER_SIDES_MAX], unknown[ANSWER_SIDES_MAX];
	struct tree_node *noted[ANSWER_SIDES_MAX];
	uint32_t noted_count;
	uint32_t noted_max; /* there is room for the root, and for one that is not noted, beside */
};

static void tree_sums_fini(struct tree_sums *sums)
{
	for (uint32_t side = 0; side < ANSWER_SIDES_MAX; side++)
		free(sums->noted[side]);
}

static int tree_sums_init(struct tree_sums *sums)
{
	uint64_t noted_max = sums->stacks->nodes_count;
	if (sums->nodes_max > 0 && (uint64_t)NOTED_SHARE * sums->nodes_max < noted_max)
		noted_max = (uint64_t)NOTED_SHARE * sums->nodes_max;
	sums->noted_max = (uint32_t)noted_max;
	sums->floor = 1;
	sums->floor_bucket = 1;
	for (uint32_t side = 0; side < sums->sides; side++) {
		sums->noted[side] = malloc((noted_max + 2) * sizeof(*sums->noted[side]));
		if (!sums->noted[side])
			return -ENOMEM;
	}
	return 0;
}

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

static uint64_t tree_sums_value(const struct tree_sums *sums, uint32_t noted)
{
	uint64_t value = sums->noted[0][noted].total;
	return sums->sides > 1 ? value_of_both(value, sums->noted[1][noted].total) : value;
}

/*
 * What is noted and does not stay goes: what is below the floor; and of what is in its bucket, of
 * which the first in order of places stay, all but the latest so many. Half of the room is free
 * then.
 */
static void tree_sums_sift(struct tree_sums *sums)
{
	uint32_t alike = 0;
	uint32_t count = 0;
	for (uint32_t i = 0; i < sums->noted_count; i++)
		alike += value_bucket(tree_sums_value(sums, i)) == sums->floor_bucket;
	for (uint32_t i = 0; i < sums->noted_count; i++) {
		uint32_t bucket = value_bucket(tree_sums_value(sums, i));
		bool is_alike = bucket == sums->floor_bucket;
		bool stays = is_alike ? alike <= sums->nodes_max : bucket > sums->floor_bucket;
		alike -= is_alike;
		for (uint32_t side = 0; side < sums->sides && stays; side++)
			sums->noted[side][count] = sums->noted[side][i];
		count += stays;
	}
	sums->noted_count = count;
}

/* One more is noted, of that value in all. */
static inline void tree_sums_count(struct tree_sums *sums, uint64_t value)
{
	sums->noted_count++;
	sums->counts[value_bucket(value)]++;
	sums->above++;
	if (sums->nodes_max == 0)
		return;
	/* So many are greater than all of the floor's bucket. */
	while (sums->above - sums->counts[sums->floor_bucket] > sums->nodes_max) {
		sums->above -= sums->counts[sums->floor_bucket++];
		sums->floor = bucket_value(sums->floor_bucket);
	}
}

/*
 * Where what is looked at is noted for a side, should it stay. There is room; written where it is
 * to lie, as a copy would have to wait for what it copies.
 */
static inline struct tree_node *tree_sums_next(struct tree_sums *sums, uint32_t side)
{
	return &sums->noted[side][sums->noted_count];
}

static void tree_sums_flaws(struct tree_sums *sums, uint16_t traits, uint32_t place)
{
	bool is_at_root = sums->stacks->nodes[place].parent == DICT_NODE_ROOT;
	for (uint32_t side = 0; side < sums->sides; side++) {
		const struct tree_node *node = tree_sums_next(sums, side);
		if (traits & NODE_IS_UNKNOWN)
			sums->unknown[side] += node->self;
		if (traits & NODE_IS_TRUNCATION && is_at_root)
			sums->truncated[side] += node->total;
	}
}

/* Nodes from `first` to before `end`, from the last on: laid out, or none of them. */
static inline __attribute__((always_inline)) void tree_sums_nodes(struct tree_sums *sums,
        const struct carry carries[ANSWER_SIDES_MAX],
        const uint64_t *const totals[ANSWER_SIDES_MAX], uint32_t first, uint32_t end, bool are_laid,
        uint32_t sides)
{
	const struct node *nodes = sums->stacks->nodes;
	const uint16_t *traits = sums->stacks->traits;
	uint32_t count = 0;
	for (uint32_t place = end; place-- > first;) {
		uint64_t value = 0;
		for (uint32_t i = 0; i < sides; i++) {
			struct tree_node *node = tree_sums_next(sums, i);
			uint64_t callees = 0;
			node->place = place;
			node->self = carries[i].self[place];
			if (are_laid)
				node->total = carry_laid(carries[i], place,
				        traits[place] >> NODE_DEPTH_SHIFT,
				        totals[i][place % BLOCK_NODES], &callees);
			else
				node->total = carry_node(carries[i], place, nodes[place].parent);
			if (!are_laid)
				carry_prefetch(carries[i], nodes, place);
			node->callees = (uint32_t)callees;
			value = i > 0 ? value_of_both(value, node->total) : node->total;
			if (sides > 1)
				sums->count_of[i] += node->total != 0;
		}
		if (value == 0)
			continue;
		count++;
		if (traits[place] & (NODE_IS_UNKNOWN | NODE_IS_TRUNCATION))
			tree_sums_flaws(sums, traits[place], place);
		if (value < sums->floor)
			continue;
		tree_sums_count(sums, value);
		if (sums->noted_count == sums->noted_max)
			tree_sums_sift(sums);
	}
	sums->count += count;
}

/*
 * `sides` is known where this is made part of its caller: most questions have one. Leaves zeroes
 * behind where nodes are laid out.
 */
static inline __attribute__((always_inline)) void tree_sums_block(
        struct tree_sums *sums, uint32_t block, uint32_t sides)
{
	const struct named_stacks *stacks = sums->stacks;
	struct block_parts parts = block_parts_of(stacks, block);
	const uint64_t *totals[ANSWER_SIDES_MAX] = { NULL };
	struct carry carries[ANSWER_SIDES_MAX];
	for (uint32_t i = 0; i < sides; i++)
		carries[i] = carry_of(&stacks->gathered[i]);
	tree_sums_nodes(sums, carries, totals, parts.behind, parts.end, false, sides);
	for (uint32_t i = 0; i < sides; i++)
		totals[i] = carry_totals(carries[i], block);
	tree_sums_nodes(sums, carries, totals, parts.first, parts.laid, true, sides);
	for (uint32_t i = 0; i < sides; i++) {
		carry_end_laid(carries[i], stacks->nodes, block, parts);
		if (parts.behind == parts.end)
			carries[i].touched[block] = 0;
	}
}

/* The root has no caller, and is what everything comes to. It is noted last, and always. */
static void tree_sums_root(struct tree_sums *sums)
{
	uint64_t value = 0;
	for (uint32_t side = 0; side < sums->sides; side++) {
		struct tree_node *node = tree_sums_next(sums, side);
		uint64_t callees;
		node->place = DICT_NODE_ROOT;
		node->total = carry_root(
		        carry_of(&sums->stacks->gathered[side]), &node->self, &callees);
		node->callees = (uint32_t)callees;
		sums->count_of[side] += node->total != 0;
		value = value_of_both(value, node->total);
	}
	sums->count += value != 0;
	tree_sums_count(sums, value);
	sums->counts[0] = 0; /* an empty one is no node */
}

static void tree_sums_make(struct tree_sums *sums)
{
	const struct gathered *gathered = sums->stacks->gathered;
	for (uint32_t block = named_stacks_blocks(sums->stacks); block-- > 0;) {
		if (sums->sides == 1 && gathered[0].touched[block])
			tree_sums_block(sums, block, 1);
		if (sums->sides == 2 && (gathered[0].touched[block] | gathered[1].touched[block]))
			tree_sums_block(sums, block, 2);
	}
	tree_sums_root(sums);
	if (sums->sides == 1)
		sums->count_of[0] = sums->count;
}

/* ---- which nodes stay ---- */

/* All past `all_past`, and of those from `some_from` on the first `room`; the root always. */
struct tree_cut {
	uint64_t some_from;
	uint64_t all_past;
	uint32_t room;
};

static struct tree_cut tree_cut_at(const struct tree_sums *sums, bool is_cut)
{
	struct tree_cut cut = { .some_from = 1, .all_past = 0 };
	uint32_t bucket = BUCKETS;
	if (!is_cut)
		return cut;
	cut.room = sums->nodes_max;
	while (bucket > sums->floor_bucket && sums->counts[bucket - 1] <= cut.room)
		cut.room -= sums->counts[--bucket];
	/* Past 64 bits this is the greatest number, which nothing is past. */
	cut.all_past = bucket_value(bucket) - 1;
	cut.some_from = bucket_value(bucket - 1);
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
	const struct tree_sums *sums;
	const struct named_stacks_target *target;
	struct dict_remap *remap;
	struct tree_cut cut;
	uint32_t sides;
	bool is_cut;
	uint32_t kept_max;
	uint32_t kept;
	uint32_t kept_of[ANSWER_SIDES_MAX];             /* with a value on that side */
	uint32_t *noted;                                /* by number: where it is noted */
	uint32_t *frames;                               /* of all but the root */
	uint32_t *places;                               /* by number: the node in the answer */
	struct tree_missing *missing[ANSWER_SIDES_MAX]; /* by number; NULL: nothing is cut */
};

static const struct tree_node *tree_put_node(
        const struct tree_put *put, uint32_t side, uint32_t number)
{
	return &put->sums->noted[side][put->noted[number]];
}

static uint32_t tree_put_place(const struct tree_put *put, uint32_t number)
{
	return tree_put_node(put, 0, number)->place;
}

static void tree_put_fini(struct tree_put *put)
{
	for (uint32_t i = 0; i < put->kept; i++)
		put->stacks->kept[tree_put_place(put, i) >> BLOCK_BITS] = 0;
	dict_remap_free(put->remap);
	free(put->noted);
	free(put->frames);
	free(put->places);
	for (uint32_t side = 0; side < ANSWER_SIDES_MAX; side++)
		free(put->missing[side]);
}

static int tree_put_init(struct tree_put *put)
{
	const struct tree_sums *sums = put->sums;
	put->is_cut = sums->nodes_max > 0 && sums->count > sums->nodes_max;
	put->cut = tree_cut_at(sums, put->is_cut);
	put->kept_max = (put->is_cut ? sums->nodes_max : sums->count) + 1;
	put->remap = dict_remap_new(put->stacks->dict, put->target->answer->dict);
	put->noted = calloc(put->kept_max, sizeof(*put->noted));
	put->frames = calloc(put->kept_max, sizeof(*put->frames));
	put->places = calloc(put->kept_max, sizeof(*put->places));
	bool failed = !put->remap || !put->noted || !put->frames || !put->places;
	for (uint32_t side = 0; side < put->sides && put->is_cut; side++) {
		put->missing[side] = calloc(put->kept_max, sizeof(*put->missing[side]));
		failed |= !put->missing[side];
	}
	return failed ? -ENOMEM : 0;
}

static bool tree_put_has(const struct tree_put *put, uint32_t place)
{
	return put->stacks->kept[place >> BLOCK_BITS] >> place % BLOCK_NODES & 1;
}

/* Of a node that stays, by number. */
static uint32_t tree_put_number(const struct tree_put *put, uint32_t place)
{
	uint64_t before = (UINT64_C(1) << place % BLOCK_NODES) - 1;
	uint32_t block = place >> BLOCK_BITS;
	return put->stacks->kept_before[block] +
	       (uint32_t)__builtin_popcountll(put->stacks->kept[block] & before);
}

static bool tree_put_stays(struct tree_put *put, uint32_t noted)
{
	uint64_t value = tree_sums_value(put->sums, noted);
	bool is_root = put->sums->noted[0][noted].place == DICT_NODE_ROOT;
	if (value > put->cut.all_past)
		return true;
	if (value < put->cut.some_from || put->cut.room == 0)
		return is_root;
	put->cut.room--;
	return true;
}

/* Nodes that stay are far from each other: they are asked for so many before they are needed. */
#define CHOOSE_AHEAD 24

/* Which of what was noted stays, in order of places. */
static void tree_put_choose(struct tree_put *put)
{
	struct named_stacks *stacks = put->stacks;
	assert(stacks->nodes);
	for (uint32_t noted = put->sums->noted_count; noted-- > 0;) {
		uint32_t ahead = noted > CHOOSE_AHEAD ? noted - CHOOSE_AHEAD : 0;
		fetch(&stacks->nodes[put->sums->noted[0][ahead].place]);
		uint32_t place = put->sums->noted[0][noted].place;
		uint32_t block = place >> BLOCK_BITS;
		if (!tree_put_stays(put, noted))
			continue;
		assert(put->kept < put->kept_max);
		if (stacks->kept[block] == 0)
			stacks->kept_before[block] = put->kept;
		stacks->kept[block] |= UINT64_C(1) << place % BLOCK_NODES;
		if (place != DICT_NODE_ROOT)
			put->frames[put->kept - 1] = stacks->nodes[place].frame;
		put->noted[put->kept++] = noted;
	}
}

/* What stays is not missing below its caller. */
static void tree_put_found(struct tree_put *put, uint32_t number, uint32_t side)
{
	const struct tree_node *node = tree_put_node(put, side, number);
	bool is_laid = node->place < put->stacks->laid_count;
	put->missing[side][number] = (struct tree_missing){ node->total - node->self,
		node->callees };
	if (node->place == DICT_NODE_ROOT)
		return;
	uint32_t caller = tree_put_number(put, put->stacks->nodes[node->place].parent);
	put->missing[side][caller].value -= node->total;
	put->missing[side][caller].children -= is_laid && node->total != 0;
}

static int tree_put_kept(struct tree_put *put, uint32_t number)
{
	uint32_t place = tree_put_place(put, number);
	struct node at = put->stacks->nodes[place];
	uint32_t frame = 0;
	int r = 0;
	put->places[number] = DICT_NODE_ROOT;
	if (place != DICT_NODE_ROOT) {
		r = dict_remap_frame(put->remap, at.frame, &frame);
		r = r < 0 ? r
		          : dict_node(put->target->answer->dict,
		                    put->places[tree_put_number(put, at.parent)], frame,
		                    &put->places[number]);
	}
	for (uint32_t side = 0; side < put->sides && r == 0; side++) {
		const struct tree_node *node = tree_put_node(put, side, number);
		put->kept_of[side] += node->total != 0;
		r = batch_add_row(put->target->answer->sides[side].batch, put->target->series,
		        put->places[number], node->self);
		if (put->is_cut)
			tree_put_found(put, number, side);
	}
	return r;
}

static int tree_put_nodes(struct tree_put *put)
{
	int r = put->kept > 0 ? dict_remap_frames(put->remap, put->frames, put->kept - 1) : 0;
	for (uint32_t number = 0; number < put->kept && r == 0; number++)
		r = tree_put_kept(put, number);
	return r;
}

/* Of those that are not laid out nobody has counted how many are missing. */
static void tree_put_missing_behind(struct tree_put *put)
{
	const struct named_stacks *stacks = put->stacks;
	for (uint32_t place = stacks->laid_count > 0 ? stacks->laid_count : 1;
	        place < stacks->nodes_count; place++) {
		uint32_t block = place >> BLOCK_BITS;
		bool is_touched = false;
		for (uint32_t side = 0; side < put->sides; side++)
			is_touched |= stacks->gathered[side].touched[block];
		if (!is_touched) {
			place |= BLOCK_NODES - 1;
			continue;
		}
		uint32_t parent = stacks->nodes[place].parent;
		if (tree_put_has(put, place) || !tree_put_has(put, parent))
			continue;
		for (uint32_t side = 0; side < put->sides; side++)
			put->missing[side][tree_put_number(put, parent)].children +=
			        stacks->gathered[side].total[place] != 0;
	}
}

static int tree_put_parts(struct tree_put *put, uint32_t side)
{
	const struct tree_sums *sums = put->sums;
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

static int tree_put_all(struct tree_put *put)
{
	int r = tree_put_init(put);
	if (r == 0)
		r = tree_put_reserve(put);
	if (r < 0)
		return r;
	tree_put_choose(put);
	r = tree_put_nodes(put);
	if (r == 0 && put->is_cut) {
		tree_put_missing_behind(put);
		r = named_stacks_put_parts(
		        put->target->answer, (1u << ANSWER_PARTS) - 1 - (1u << ANSWER_CUM));
	}
	for (uint32_t side = 0; side < put->sides && put->is_cut && r == 0; side++)
		r = tree_put_parts(put, side);
	return r;
}

int named_stacks_tree(
        struct named_stacks *stacks, struct named_stacks_target target, uint32_t nodes_max)
{
	uint32_t sides = target.answer->sides_count;
	assert(sides > 0 && sides <= ANSWER_SIDES_MAX);
	if (!stacks->dict || stacks->nodes_count == 0)
		return 0;
	for (uint32_t side = 0; side < sides; side++) {
		int r = named_stacks_reserve_side(stacks, side);
		if (r < 0)
			return r;
	}
	struct tree_sums sums = { .stacks = stacks, .sides = sides, .nodes_max = nodes_max };
	struct tree_put put = {
		.stacks = stacks, .sums = &sums, .target = &target, .sides = sides
	};
	int r = tree_sums_init(&sums);
	if (r == 0) {
		tree_sums_make(&sums);
		r = tree_put_all(&put);
		tree_put_fini(&put);
	}
	named_stacks_clear(stacks);
	tree_sums_fini(&sums);
	return r;
}
