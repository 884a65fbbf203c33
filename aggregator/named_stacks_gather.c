/*
 * The dict of functions grows with what is named, and so do the arrays beside it. Gathering is one
 * addition for each row; what a question leaves is cleared in the blocks that it touched, so that a
 * small question about a large fleet stays small.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/named_stacks_private.h"

/* New nodes that are worth laying out all: so many, and a part of those that are. */
#define LAY_OUT_FROM  64
#define LAY_OUT_SHARE 4

/* ---- room ---- */

/* An array with room for `capacity`, what is new zeroed. */
static int grow_zeroed(void **array, uint32_t before, uint32_t capacity, size_t each)
{
	char *grown = reallocarray(*array, capacity, each);
	if (!grown)
		return -ENOMEM;
	memset(grown + before * each, 0, (capacity - before) * each);
	*array = grown;
	return 0;
}

static uint32_t grown_capacity(uint32_t capacity, uint32_t needed)
{
	uint64_t grown = (uint64_t)capacity + capacity / 2;
	if (grown < needed)
		grown = needed;
	grown = (grown + BLOCK_NODES - 1) / BLOCK_NODES * BLOCK_NODES;
	return grown > UINT32_MAX - BLOCK_NODES ? UINT32_MAX / BLOCK_NODES * BLOCK_NODES
	                                        : (uint32_t)grown;
}

static int gathered_grow(struct gathered *gathered, uint32_t before, uint32_t capacity)
{
	uint32_t blocks = before / BLOCK_NODES;
	int r = grow_zeroed((void **)&gathered->self, before, capacity, sizeof(uint64_t));
	if (r == 0)
		r = grow_zeroed((void **)&gathered->total, before, capacity, sizeof(uint64_t));
	if (r == 0)
		r = grow_zeroed((void **)&gathered->touched, blocks, capacity / BLOCK_NODES, 1);
	return r;
}

/* For a side that nobody asked for so far all of it is new. */
int named_stacks_reserve_side(struct named_stacks *stacks, uint32_t side)
{
	struct gathered *gathered = &stacks->gathered[side];
	return gathered->touched || stacks->nodes_capacity == 0
	               ? 0
	               : gathered_grow(gathered, 0, stacks->nodes_capacity);
}

static int named_stacks_reserve(struct named_stacks *stacks, uint32_t nodes)
{
	uint32_t before = stacks->nodes_capacity;
	if (nodes <= before)
		return 0;
	uint32_t capacity = grown_capacity(before, nodes);
	uint32_t blocks = before / BLOCK_NODES;
	int r = grow_zeroed((void **)&stacks->flags, before, capacity, sizeof(*stacks->flags));
	if (r == 0)
		r = grow_zeroed((void **)&stacks->nodes, before, capacity, sizeof(*stacks->nodes));
	if (r == 0)
		r = grow_zeroed(
		        (void **)&stacks->place_of, before, capacity, sizeof(*stacks->place_of));
	if (r == 0)
		r = grow_zeroed((void **)&stacks->kept, blocks, capacity / BLOCK_NODES,
		        sizeof(*stacks->kept));
	if (r == 0)
		r = grow_zeroed((void **)&stacks->kept_before, blocks, capacity / BLOCK_NODES,
		        sizeof(*stacks->kept_before));
	for (int side = 0; side < ANSWER_SIDES_MAX && r == 0; side++)
		if (stacks->gathered[side].touched)
			r = gathered_grow(&stacks->gathered[side], before, capacity);
	if (r == 0)
		stacks->nodes_capacity = capacity;
	return r;
}

static int named_stacks_reserve_frames(struct named_stacks *stacks, uint32_t count)
{
	uint32_t before = stacks->frames_capacity;
	if (count <= before)
		return 0;
	uint32_t capacity = grown_capacity(before, count);
	int r = grow_zeroed((void **)&stacks->frame_flags, before, capacity, sizeof(uint8_t));
	if (r == 0)
		r = grow_zeroed(
		        (void **)&stacks->frames_met, before / 64, capacity / 64, sizeof(uint64_t));
	for (int side = 0; side < ANSWER_SIDES_MAX && r == 0; side++)
		r = grow_zeroed((void **)&stacks->gathered[side].frames, before, capacity,
		        sizeof(struct frame_sums));
	for (int join = 0; join < JOINS && r == 0; join++)
		r = grow_zeroed(
		        (void **)&stacks->frame_names[join], before, capacity, sizeof(uint32_t));
	if (r == 0)
		stacks->frames_capacity = capacity;
	return r;
}

int named_stacks_reserve_names(struct named_stacks *stacks, enum join join)
{
	uint32_t count = names_count(stacks->names[join]);
	uint32_t before = stacks->names_capacity;
	if (count <= before)
		return 0;
	uint32_t capacity = grown_capacity(before, count);
	int r = grow_zeroed(
	        (void **)&stacks->names_met, before / 64, capacity / 64, sizeof(uint64_t));
	for (int side = 0; side < ANSWER_SIDES_MAX && r == 0; side++) {
		struct gathered *gathered = &stacks->gathered[side];
		r = grow_zeroed((void **)&gathered->cums, before, capacity, sizeof(uint64_t));
		if (r == 0)
			r = grow_zeroed((void **)&gathered->flats, before, capacity,
			        sizeof(struct name_flats));
	}
	if (r == 0)
		stacks->names_capacity = capacity;
	return r;
}

void named_stacks_drop_gathered(struct named_stacks *stacks)
{
	for (int side = 0; side < ANSWER_SIDES_MAX; side++) {
		struct gathered *gathered = &stacks->gathered[side];
		free(gathered->self);
		free(gathered->total);
		free(gathered->touched);
		free(gathered->frames);
		free(gathered->cums);
		free(gathered->flats);
		*gathered = (struct gathered){ 0 };
	}
	for (int join = 0; join < JOINS; join++) {
		free(stacks->frame_names[join]);
		stacks->frame_names[join] = NULL;
	}
	free(stacks->frame_flags);
	free(stacks->frames_met);
	free(stacks->place_of);
	free(stacks->nodes);
	free(stacks->flags);
	free(stacks->kept);
	free(stacks->kept_before);
	free(stacks->names_met);
	stacks->frame_flags = NULL;
	stacks->frames_met = NULL;
	stacks->place_of = NULL;
	stacks->nodes = NULL;
	stacks->flags = NULL;
	stacks->kept = NULL;
	stacks->kept_before = NULL;
	stacks->names_met = NULL;
	stacks->frames_count = stacks->frames_capacity = 0;
	stacks->nodes_count = stacks->nodes_capacity = stacks->laid_count = 0;
	stacks->names_capacity = 0;
}

size_t named_stacks_gathered_memory(const struct named_stacks *stacks)
{
	size_t each_block = sizeof(*stacks->kept) + sizeof(*stacks->kept_before);
	size_t each_node = sizeof(*stacks->flags) + sizeof(*stacks->nodes) +
	                   sizeof(*stacks->place_of);
	size_t each_frame = JOINS * sizeof(uint32_t) + 2 +
	                    ANSWER_SIDES_MAX * sizeof(struct frame_sums);
	size_t each_name = 1 + ANSWER_SIDES_MAX * (sizeof(uint64_t) + sizeof(struct name_flats));
	for (int side = 0; side < ANSWER_SIDES_MAX; side++) {
		if (!stacks->gathered[side].touched)
			continue;
		each_node += 2 * sizeof(uint64_t);
		each_block++;
	}
	return stacks->nodes_capacity * each_node +
	       stacks->nodes_capacity / BLOCK_NODES * each_block +
	       stacks->frames_capacity * each_frame + stacks->names_capacity * each_name;
}

/* ---- what is known of frames and nodes ---- */

static int named_stacks_follow_frames(struct named_stacks *stacks)
{
	uint32_t count = dict_mark(stacks->dict).frames;
	int r = named_stacks_reserve_frames(stacks, count);
	for (; r == 0 && stacks->frames_count < count; stacks->frames_count++) {
		uint32_t frame = stacks->frames_count;
		const struct frame *its = dict_get_frame(stacks->dict, frame);
		uint64_t rewritten = names_rewritten(stacks->names[JOIN_CANONICAL]);
		for (int join = 0; join < JOINS && r == 0; join++)
			r = names_of_frame(stacks->names[join], stacks->dict, frame,
			        &stacks->frame_names[join][frame]);
		if (r < 0)
			return r;
		bool is_rewritten = names_rewritten(stacks->names[JOIN_CANONICAL]) > rewritten;
		stacks->frame_flags[frame] =
		        (uint8_t)((is_rewritten ? FRAME_IS_REWRITTEN : 0) |
		                  (naming_is_unknown(its) ? FRAME_IS_UNKNOWN : 0) |
		                  (its->kind == FRAME_TRUNCATED ? FRAME_IS_TRUNCATION : 0));
	}
	return r;
}

static bool node_is_outermost(const struct named_stacks *stacks, struct node node, enum join join)
{
	const uint32_t *names = stacks->frame_names[join];
	uint32_t name = names[node.frame];
	while (node.parent != DICT_NODE_ROOT) {
		node = stacks->nodes[node.parent];
		if (names[node.frame] == name)
			return false;
	}
	return true;
}

static uint8_t node_flags_of(const struct named_stacks *stacks, struct node node)
{
	uint8_t of_frame = stacks->frame_flags[node.frame];
	uint8_t flags = 0;
	for (int join = 0; join < JOINS; join++)
		if (node_is_outermost(stacks, node, (enum join)join))
			flags |= (uint8_t)(NODE_OUTERMOST << join);
	if (of_frame & FRAME_IS_UNKNOWN)
		flags |= NODE_IS_UNKNOWN;
	if (of_frame & FRAME_IS_TRUNCATION)
		flags |= NODE_IS_TRUNCATION;
	if (of_frame & FRAME_IS_REWRITTEN)
		flags |= NODE_IS_REWRITTEN;
	return flags;
}

static int named_stacks_follow(struct named_stacks *stacks)
{
	uint32_t count = dict_mark(stacks->dict).nodes;
	int r = named_stacks_follow_frames(stacks);
	if (r == 0)
		r = named_stacks_reserve(stacks, count);
	if (r < 0)
		return r;
	if (stacks->nodes_count == 0)
		stacks->nodes_count = 1; /* The root has no frame and no flags. */
	for (; stacks->nodes_count < count; stacks->nodes_count++) {
		uint32_t place = stacks->nodes_count;
		struct node node = dict_get_node(stacks->dict, place);
		node.parent = stacks->place_of[node.parent];
		stacks->place_of[place] = place;
		stacks->nodes[place] = node;
		stacks->flags[place] = node_flags_of(stacks, node);
	}
	return 0;
}

int named_stacks_prepare(struct named_stacks *stacks, struct naming_source *source,
        struct named_stacks_rows rows, struct naming **ret_naming)
{
	int r = named_stacks_start(stacks);
	if (r < 0)
		return r;
	struct naming *naming = named_stacks_naming(stacks, rows.generation, rows.dict);
	if (!naming)
		return -ENOMEM;
	r = named_stacks_name(stacks, naming, source, rows);
	if (r == 0)
		r = named_stacks_follow(stacks);
	if (r == 0)
		*ret_naming = naming;
	return r;
}

/* ---- laying out ---- */

/* In nodes of the dict, but for the arrays that take the place of those by place. */
struct layout {
	uint32_t *last_child; /* 0: none */
	uint32_t *before;     /* the child before it, or 0 */
	uint32_t *place_of;
	struct node *nodes;
	uint8_t *flags;
};

static void layout_fini(struct layout *layout)
{
	free(layout->last_child);
	free(layout->before);
	free(layout->place_of);
	free(layout->nodes);
	free(layout->flags);
}

static bool layout_init(struct layout *layout, uint32_t count, uint32_t capacity)
{
	layout->last_child = calloc(count, sizeof(*layout->last_child));
	layout->before = calloc(count, sizeof(*layout->before));
	layout->place_of = calloc(capacity, sizeof(*layout->place_of));
	layout->nodes = calloc(capacity, sizeof(*layout->nodes));
	layout->flags = calloc(capacity, sizeof(*layout->flags));
	return layout->last_child && layout->before && layout->place_of && layout->nodes &&
	       layout->flags;
}

/*
 * Places from the last to the first, each node behind all that is below it: going down to the last
 * child as long as there is one that has no place yet, then placing the node.
 */
static void layout_place(struct layout *layout, const struct node *nodes, uint32_t count)
{
	for (uint32_t node = 1; node < count; node++) {
		layout->before[node] = layout->last_child[nodes[node].parent];
		layout->last_child[nodes[node].parent] = node;
	}
	uint32_t at = DICT_NODE_ROOT;
	for (uint32_t place = count; place > 1;) {
		if (layout->last_child[at]) {
			at = layout->last_child[at];
			continue;
		}
		uint32_t parent = nodes[at].parent;
		layout->place_of[at] = --place;
		layout->last_child[parent] = layout->before[at];
		at = parent;
	}
	layout->place_of[DICT_NODE_ROOT] = DICT_NODE_ROOT;
}

static void layout_fill(
        struct layout *layout, const struct named_stacks *stacks, const struct node *nodes)
{
	for (uint32_t node = 0; node < stacks->nodes_count; node++) {
		uint32_t place = layout->place_of[node];
		layout->nodes[place] = (struct node){
			.parent = layout->place_of[nodes[node].parent], .frame = nodes[node].frame
		};
		layout->flags[place] = stacks->flags[stacks->place_of[node]];
	}
}

/* Is it time, and is there room for both layouts? */
static bool layout_is_due(const struct named_stacks *stacks)
{
	uint32_t added = stacks->nodes_count - stacks->laid_count;
	size_t each = 2 * sizeof(uint32_t) + sizeof(uint32_t) + sizeof(struct node) + 1;
	return added > LAY_OUT_FROM + stacks->laid_count / LAY_OUT_SHARE &&
	       named_stacks_memory(stacks) + each * stacks->nodes_capacity <= stacks->memory_max;
}

void named_stacks_lay_out(struct named_stacks *stacks)
{
	uint32_t count = stacks->nodes_count;
	__attribute__((cleanup(layout_fini))) struct layout layout = { 0 };
	if (!layout_is_due(stacks) || !layout_init(&layout, count, stacks->nodes_capacity))
		return;
	const struct node *nodes = dict_get_nodes(stacks->dict);
	layout_place(&layout, nodes, count);
	layout_fill(&layout, stacks, nodes);
	uint32_t *place_of = stacks->place_of;
	struct node *before = stacks->nodes;
	uint8_t *flags = stacks->flags;
	stacks->place_of = layout.place_of;
	stacks->nodes = layout.nodes;
	stacks->flags = layout.flags;
	stacks->laid_count = count;
	layout.place_of = place_of;
	layout.nodes = before;
	layout.flags = flags;
}

/* ---- gathering ---- */

/* Rows are in the order of the store's nodes, and places lie anywhere. */
#define GATHER_AHEAD 16

int named_stacks_add(struct named_stacks *stacks, struct naming_source *source, uint32_t side,
        struct named_stacks_rows rows)
{
	assert(side < ANSWER_SIDES_MAX);

	struct naming *naming = NULL;
	int r = named_stacks_prepare(stacks, source, rows, &naming);
	if (r == 0)
		r = named_stacks_reserve_side(stacks, side);
	if (r < 0)
		return r;

	uint32_t count;
	const uint32_t *known = naming_known(naming, &count);
	const uint32_t *place_of = stacks->place_of;
	uint64_t *self = stacks->gathered[side].self;
	uint8_t *touched = stacks->gathered[side].touched;
	for (uint32_t i = 0; i < rows.count; i++) {
		if (i + GATHER_AHEAD < rows.count)
			__builtin_prefetch(&place_of[known[rows.rows[i + GATHER_AHEAD].node]]);
		if (i + GATHER_AHEAD / 2 < rows.count)
			__builtin_prefetch(
			        &self[place_of[known[rows.rows[i + GATHER_AHEAD / 2].node]]], 1);
		uint32_t place = place_of[known[rows.rows[i].node]];
		self[place] += rows.rows[i].value;
		touched[place >> BLOCK_BITS] = 1;
	}
	return 0;
}

void named_stacks_clear(struct named_stacks *stacks)
{
	uint32_t blocks = named_stacks_blocks(stacks);
	for (int side = 0; side < ANSWER_SIDES_MAX; side++)
		for (uint32_t block = 0; block < blocks && stacks->gathered[side].touched; block++)
			if (stacks->gathered[side].touched[block])
				named_stacks_clear_block(&stacks->gathered[side], block);
	for (uint32_t name = named_stacks_next_met(stacks, 0); name != ID_NONE;
	        name = named_stacks_next_met(stacks, name + 1))
		for (int side = 0; side < ANSWER_SIDES_MAX; side++) {
			stacks->gathered[side].cums[name] = 0;
			stacks->gathered[side].flats[name] = (struct name_flats){ 0 };
		}
	if (stacks->names_met)
		memset(stacks->names_met, 0, stacks->names_capacity / 8);
}
