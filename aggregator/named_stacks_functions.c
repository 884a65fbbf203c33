/*
 * Functions: one pass, from the last node to the first, adds every node to its caller and to its
 * frame, a side after the other in each block of nodes; then frames are added to their names. A
 * function that is on a stack twice counts once: only the node next to the root adds to it. That
 * depends on what counts as one name, so it is noted for readable and for canonical names.
 *
 * Which names were met is a set of bits: a question about one service looks at its functions only,
 * and not at those of a fleet.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/named_stacks_private.h"
#include "core/auto.h"
#include "core/fetch.h"

/* ---- the pass ---- */

struct functions_pass {
	struct named_stacks *stacks;
	enum join join;
	uint32_t sides;
	uint64_t root[ANSWER_SIDES_MAX];
	uint64_t truncated[ANSWER_SIDES_MAX], unknown[ANSWER_SIDES_MAX];
};

/* Frames lie anywhere: they are asked for so many nodes before they are needed. */
#define FRAMES_AHEAD 24

/* One side, in variables of the pass, as struct carry. */
struct functions_side {
	struct carry carry;
	struct frame_sums *frames;
	uint64_t *met;
	uint64_t truncated; /* there is one place for a truncation: next to the root */
};

static inline void functions_add_frame(struct frame_sums *frames, uint64_t *met, uint32_t frame,
        uint64_t value, uint64_t self, bool is_outermost)
{
	struct frame_sums *sums = &frames[frame];
	if ((sums->cum | sums->self) == 0)
		met[frame / 64] |= UINT64_C(1) << frame % 64;
	sums->cum += is_outermost ? value : 0;
	sums->self += self;
}

/* Nodes that are not laid out, from the last on: each to its caller. Leaves zeroes behind. */
static void functions_pass_behind(
        const struct functions_pass *pass, struct functions_side *side, struct block_parts parts)
{
	const struct named_stacks *stacks = pass->stacks;
	for (uint32_t node = parts.end; node-- > parts.behind;) {
		struct node at = stacks->nodes[node];
		uint16_t traits = stacks->traits[node];
		uint64_t value = carry_node(side->carry, node, at.parent);
		if (value == 0)
			continue;
		functions_add_frame(side->frames, side->met, at.frame, value,
		        side->carry.self[node], traits & NODE_OUTERMOST << pass->join);
		if (traits & NODE_IS_TRUNCATION && at.parent == DICT_NODE_ROOT)
			side->truncated += value;
		side->carry.total[node] = 0;
		side->carry.self[node] = 0;
	}
}

/* Nodes that are, likewise. */
static void functions_pass_laid(const struct functions_pass *pass, struct functions_side *side,
        struct block_parts parts, const uint64_t *totals)
{
	const struct node *nodes = pass->stacks->nodes;
	const uint16_t *all_traits = pass->stacks->traits;
	struct carry carry = side->carry;
	struct frame_sums *frames = side->frames;
	uint64_t *met = side->met;
	uint32_t outermost = (uint32_t)NODE_OUTERMOST << pass->join;
	for (uint32_t node = parts.laid; node-- > parts.first;) {
		uint32_t ahead = nodes[node > FRAMES_AHEAD ? node - FRAMES_AHEAD : 0].frame;
		uint32_t traits = all_traits[node];
		uint64_t callees;
		fetch_to_write(&frames[ahead]);
		uint64_t value = carry_laid(carry, node, traits >> NODE_DEPTH_SHIFT,
		        totals[node % BLOCK_NODES], &callees);
		if (value > 0)
			functions_add_frame(frames, met, nodes[node].frame, value, carry.self[node],
			        traits & outermost);
		if (traits & NODE_IS_TRUNCATION && nodes[node].parent == DICT_NODE_ROOT)
			side->truncated += value;
	}
}

static void functions_pass_block(struct functions_pass *pass, uint32_t block, uint32_t index)
{
	struct named_stacks *stacks = pass->stacks;
	struct gathered *gathered = &stacks->gathered[index];
	struct block_parts parts = block_parts_of(stacks, block);
	struct functions_side side = {
		.carry = carry_of(gathered), .frames = gathered->frames, .met = stacks->frames_met
	};
	functions_pass_behind(pass, &side, parts);
	functions_pass_laid(pass, &side, parts, carry_totals(side.carry, block));
	carry_end_laid(side.carry, stacks->nodes, block, parts);
	gathered->touched[block] = 0;
	pass->truncated[index] += side.truncated;
}

static void functions_pass_blocks(struct functions_pass *pass)
{
	const struct gathered *gathered = pass->stacks->gathered;
	for (uint32_t block = named_stacks_blocks(pass->stacks); block-- > 0;) {
		for (uint32_t side = 0; side < pass->sides; side++)
			if (gathered[side].touched[block])
				functions_pass_block(pass, block, side);
	}
	for (uint32_t side = 0; side < pass->sides; side++) {
		uint64_t callees;
		(void)carry_root(carry_of(&gathered[side]), &pass->root[side], &callees);
	}
}

/*
 * What a frame comes to, to its name. Frames without a name, and those that only say that a stack
 * was cut off, share it with others, and yet are told apart.
 */
static void functions_pass_frame(struct functions_pass *pass, uint32_t frame, uint32_t side)
{
	struct named_stacks *stacks = pass->stacks;
	struct gathered *to = &stacks->gathered[side];
	struct frame_sums sums = to->frames[frame];
	uint32_t name = stacks->frame_names[pass->join][frame];
	struct name_flats *flats = &to->flats[name];
	uint8_t flags = stacks->frame_flags[frame];
	if (sums.cum)
		named_stacks_meet(stacks, name);
	if (flags & FRAME_IS_TRUNCATION) {
		flats->cum_truncated += sums.cum;
		flats->flat_truncated += sums.self;
	} else {
		to->cums[name] += sums.cum;
		*(flags & FRAME_IS_UNKNOWN ? &flats->flat_unknown : &flats->flat) += sums.self;
	}
	pass->unknown[side] += flags & FRAME_IS_UNKNOWN ? sums.self : 0;
	to->frames[frame] = (struct frame_sums){ 0 };
}

static void functions_pass_frames(struct functions_pass *pass)
{
	struct named_stacks *stacks = pass->stacks;
	for (uint32_t word = 0; word < stacks->frames_capacity / 64; word++) {
		for (uint64_t bits = stacks->frames_met[word]; bits; bits &= bits - 1) {
			uint32_t frame = word * 64 + (uint32_t)__builtin_ctzll(bits);
			for (uint32_t side = 0; side < pass->sides; side++)
				functions_pass_frame(pass, frame, side);
			if (pass->join == JOIN_CANONICAL &&
			        stacks->frame_flags[frame] & FRAME_IS_REWRITTEN)
				stacks->frame_flags[frame] |= FRAME_IS_MET;
		}
		stacks->frames_met[word] = 0;
	}
}

/* ---- names into an answer ---- */

/* A stack of one frame for a function. Only a frame of FRAME_MANAGED says the name. */
static int put_function(const struct names *names, uint32_t name, enum frame_kind kind,
        struct dict *to, uint32_t *ret)
{
	struct frame frame = { .kind = (uint8_t)kind };
	struct module module = { 0 };
	const char *function = names_function(names, name);
	const char *file = names_module(names, name);
	size_t count = strlen(function);
	int r = 0;
	if (kind == FRAME_MANAGED)
		r = dict_string(to, function,
		        count < DICT_STRING_BYTES_MAX ? count : DICT_STRING_BYTES_MAX,
		        &frame.function);
	if (r == 0 && *file && kind != FRAME_TRUNCATED) {
		r = dict_cstring(to, file, &module.name);
		if (r == 0)
			r = dict_module(to, &module, &frame.module);
	}
	uint32_t id = 0;
	if (r == 0)
		r = dict_frame(to, &frame, &id);
	return r < 0 ? r : dict_node(to, DICT_NODE_ROOT, id, ret);
}

/* As put_function(), of a frame that says its name: groups have most of their functions in common.
 */
static int put_managed(struct named_stacks *stacks, const struct names *names, uint32_t name,
        struct dict *to, uint32_t *ret)
{
	struct name_put *put = &stacks->name_puts[name];
	if (put->answer != stacks->answer_number) {
		int r = put_function(names, name, FRAME_MANAGED, to, &put->node);
		if (r < 0)
			return r;
		put->answer = stacks->answer_number;
	}
	*ret = put->node;
	return 0;
}

/*
 * Rows of one name. Frames without a name share it with functions that are really called
 * "[unknown]", and yet the reader must be able to tell them apart.
 */
static int put_name(struct named_stacks *stacks, const struct names *names, uint32_t name,
        const struct named_stacks_target *target, uint32_t side)
{
	struct answer_side *to = &target->answer->sides[side];
	const struct name_flats *flats = &stacks->gathered[side].flats[name];
	uint64_t cum = stacks->gathered[side].cums[name];
	bool is_unknown = names_is_unknown(names, name);
	const struct {
		enum frame_kind kind;
		uint64_t flat, cum;
	} forms[] = {
		{ FRAME_NATIVE, flats->flat_unknown, is_unknown ? cum : 0 },
		{ FRAME_TRUNCATED, flats->flat_truncated, flats->cum_truncated },
		{ FRAME_MANAGED, flats->flat, is_unknown ? 0 : cum },
	};
	int r = 0;
	for (size_t i = 0; i < COUNT_OF(forms) && r == 0; i++) {
		uint32_t node;
		if (forms[i].flat == 0 && forms[i].cum == 0)
			continue;
		if (forms[i].kind == FRAME_MANAGED)
			r = put_managed(stacks, names, name, target->answer->dict, &node);
		else
			r = put_function(names, name, forms[i].kind, target->answer->dict, &node);
		if (r == 0)
			r = batch_add_row(to->batch, target->series, node, forms[i].flat);
		if (r == 0)
			r = batch_add_row(
			        to->parts[ANSWER_CUM], target->series, node, forms[i].cum);
	}
	return r;
}

int named_stacks_put_parts(struct answer *answer, uint32_t parts)
{
	int r = 0;
	for (uint32_t side = 0; side < answer->sides_count; side++)
		for (int part = 0; part < ANSWER_PARTS && r == 0; part++)
			if ((parts & 1u << part) && !answer->sides[side].parts[part])
				r = answer_add_part(answer, side, (enum answer_part)part);
	return r;
}

int named_stacks_put_flaw(const struct named_stacks_target *target, uint32_t side,
        enum frame_kind kind, uint64_t value)
{
	struct frame frame = { .kind = (uint8_t)kind };
	uint32_t id = 0, node = 0;
	if (value == 0)
		return 0;
	int r = dict_frame(target->answer->dict, &frame, &id);
	if (r == 0)
		r = dict_node(target->answer->dict, DICT_NODE_ROOT, id, &node);
	return r < 0 ? r
	             : batch_add_row(target->answer->sides[side].parts[ANSWER_FLAWS],
	                       target->series, node, value);
}

/* What is of no function. */
static int functions_put_sums(
        const struct functions_pass *pass, const struct named_stacks_target *target)
{
	int r = 0;
	for (uint32_t side = 0; side < pass->sides && r == 0; side++) {
		r = batch_add_row(target->answer->sides[side].batch, target->series, DICT_NODE_ROOT,
		        pass->root[side]);
		if (r == 0)
			r = named_stacks_put_flaw(
			        target, side, FRAME_TRUNCATED, pass->truncated[side]);
		if (r == 0)
			r = named_stacks_put_flaw(target, side, FRAME_NATIVE, pass->unknown[side]);
	}
	return r;
}

/* ---- which functions stay ---- */

/* A function with what it is ranked by. */
struct ranked {
	uint32_t name;
	double change; /* or 0, where values decide */
	unsigned __int128 value[2];
};

static uint64_t name_flat(const struct named_stacks *stacks, uint32_t side, uint32_t name)
{
	const struct name_flats *flats = &stacks->gathered[side].flats[name];
	return flats->flat + flats->flat_unknown + flats->flat_truncated;
}

static uint64_t name_cum(const struct named_stacks *stacks, uint32_t side, uint32_t name)
{
	return stacks->gathered[side].cums[name] + stacks->gathered[side].flats[name].cum_truncated;
}

static double ranked_change(
        const struct named_stacks *stacks, uint32_t name, bool by_cum, const uint64_t *whole)
{
	double share[2];
	for (uint32_t side = 0; side < 2; side++) {
		uint64_t value = by_cum ? name_cum(stacks, side, name)
		                        : name_flat(stacks, side, name);
		share[side] = whole[side] ? (double)value / (double)whole[side] : 0;
	}
	return __builtin_fabs(share[1] - share[0]);
}

static struct ranked ranked_of(const struct named_stacks *stacks, uint32_t name,
        const struct named_stacks_ranking *ranking, const uint64_t *whole)
{
	struct ranked ranked = { .name = name };
	if (ranking->by_change)
		ranked.change = ranked_change(stacks, name, ranking->by_cum, whole);
	bool cum_first = ranking->by_cum && !ranking->by_change;
	for (uint32_t side = 0; side < ANSWER_SIDES_MAX; side++) {
		ranked.value[cum_first] += name_flat(stacks, side, name);
		ranked.value[!cum_first] += name_cum(stacks, side, name);
	}
	return ranked;
}

/* As the functions of query/functions.h are sorted: positive when `a` comes after `b`. */
static int ranked_compare(const struct names *names, const struct ranked *a, const struct ranked *b)
{
	if (a->change != b->change)
		return a->change > b->change ? -1 : 1;
	for (int i = 0; i < 2; i++)
		if (a->value[i] != b->value[i])
			return a->value[i] > b->value[i] ? -1 : 1;
	return names_compare(names, a->name, b->name);
}

/* A heap whose first is the last of those that stay. */
static void ranked_sink(const struct names *names, struct ranked *heap, uint32_t count, uint32_t at)
{
	for (;;) {
		uint32_t last = at;
		for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
			if (ranked_compare(names, &heap[child], &heap[last]) > 0)
				last = child;
		if (last == at)
			return;
		struct ranked moved = heap[at];
		heap[at] = heap[last];
		heap[last] = moved;
		at = last;
	}
}

/* Marks the `limit` first of all names that were met, of which there are more. */
static int rank_names(const struct named_stacks *stacks, const struct names *names,
        const struct named_stacks_ranking *ranking, const uint64_t *whole, bool *is_kept)
{
	uint32_t limit = ranking->limit, count = 0;
	autofree struct ranked *heap = calloc(limit, sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	for (uint32_t name = named_stacks_next_met(stacks, 0); name != ID_NONE;
	        name = named_stacks_next_met(stacks, name + 1)) {
		struct ranked ranked = ranked_of(stacks, name, ranking, whole);
		if (count < limit) {
			heap[count++] = ranked;
			for (uint32_t at = limit / 2; count == limit && at-- > 0;)
				ranked_sink(names, heap, count, at);
		} else if (ranked_compare(names, &ranked, &heap[0]) < 0) {
			heap[0] = ranked;
			ranked_sink(names, heap, count, 0);
		}
	}
	for (uint32_t i = 0; i < count; i++)
		is_kept[heap[i].name] = true;
	return 0;
}

/* NULL in *ret_kept: all of them. */
static int rank(const struct named_stacks *stacks, const struct names *names,
        const struct named_stacks_ranking *ranking, bool **ret_kept)
{
	uint32_t met = 0;
	for (uint32_t i = 0; i < stacks->names_capacity / 64; i++)
		met += (uint32_t)__builtin_popcountll(stacks->names_met[i]);
	if (ranking->limit == 0 || met <= ranking->limit)
		return 0;
	autofree bool *is_kept = calloc(names_count(names), sizeof(*is_kept));
	if (!is_kept)
		return -ENOMEM;
	int r = rank_names(stacks, names, ranking, ranking->whole, is_kept);
	/* Which of the two the reader goes by depends on more than is known here. */
	if (r == 0 && ranking->by_change && ranking->watched[0] && ranking->watched[1])
		r = rank_names(stacks, names, ranking, ranking->watched, is_kept);
	if (r == 0)
		*ret_kept = TAKE(is_kept);
	return r;
}

static int put_side(struct named_stacks *stacks, const struct names *names, const bool *is_kept,
        const struct named_stacks_target *target, uint32_t side)
{
	struct answer_side *to = &target->answer->sides[side];
	uint64_t missing = 0, missing_value = 0;
	int r = 0;
	for (uint32_t name = named_stacks_next_met(stacks, 0); name != ID_NONE && r == 0;
	        name = named_stacks_next_met(stacks, name + 1)) {
		if (!is_kept || is_kept[name]) {
			r = put_name(stacks, names, name, target, side);
		} else {
			missing++;
			missing_value += name_flat(stacks, side, name);
		}
	}
	if (r == 0 && is_kept)
		r = batch_add_row(
		        to->parts[ANSWER_CUT], target->series, DICT_NODE_ROOT, missing_value);
	if (r == 0 && is_kept)
		r = batch_add_row(
		        to->parts[ANSWER_CUT_NODES], target->series, DICT_NODE_ROOT, missing);
	return r;
}

int named_stacks_functions(struct named_stacks *stacks, struct named_stacks_target target,
        const struct named_stacks_ranking *ranking)
{
	enum join join = ranking->is_canonical ? JOIN_CANONICAL : JOIN_READABLE;
	struct functions_pass pass = {
		.stacks = stacks, .join = join, .sides = target.answer->sides_count
	};
	int r = named_stacks_start(stacks);
	if (r == 0)
		r = named_stacks_reserve_names(stacks, join);
	if (r == 0)
		r = named_stacks_put_parts(target.answer, 1u << ANSWER_CUM | 1u << ANSWER_FLAWS);
	for (uint32_t side = 0; side < pass.sides && r == 0; side++)
		r = named_stacks_reserve_side(stacks, side);
	if (r == 0 && stacks->nodes_count > 0) {
		functions_pass_blocks(&pass);
		functions_pass_frames(&pass);
		r = functions_put_sums(&pass, &target);
	}

	autofree bool *is_kept = NULL;
	const struct names *names = stacks->names[join];
	if (r == 0)
		r = rank(stacks, names, ranking, &is_kept);
	if (r == 0 && is_kept)
		r = named_stacks_put_parts(target.answer,
		        1u << ANSWER_CUT | 1u << ANSWER_CUT_NODES | 1u << ANSWER_CUT_CHILDREN);
	for (uint32_t side = 0; side < target.answer->sides_count && r == 0; side++)
		r = put_side(stacks, names, is_kept, &target, side);
	named_stacks_clear(stacks);
	return r;
}

uint64_t named_stacks_rewritten(struct named_stacks *stacks)
{
	uint64_t count = 0;
	for (uint32_t i = 0; i < stacks->frames_count; i++) {
		count += (stacks->frame_flags[i] & FRAME_IS_MET) != 0;
		stacks->frame_flags[i] &= (uint8_t)~FRAME_IS_MET;
	}
	return count;
}
