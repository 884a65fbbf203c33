/*
 * Where nodes of the dict of functions lie: each behind its caller and before what is beside it,
 * in the order in which they were first named. Nodes that are deeper than there are bits for lie
 * behind all others, each behind its caller as well.
 */

#include <stdlib.h>
#include <string.h>

#include "aggregator/named_stacks_private.h"

/* New nodes that are worth laying out all: so many, and a part of those that are. */
#define LAY_OUT_FROM  64
#define LAY_OUT_SHARE 4

/* In nodes of the dict, but for the arrays that take the place of those by place. */
struct layout {
	uint32_t *last_child; /* 0: none */
	uint32_t *before;     /* the child before it, or 0 */
	uint16_t *depths;     /* NODE_DEPTH_MAX + 1: too deep */
	uint32_t *place_of;
	struct node *nodes;
	uint16_t *traits;
	uint32_t laid_count;
};

static void layout_fini(struct layout *layout)
{
	free(layout->last_child);
	free(layout->before);
	free(layout->depths);
	free(layout->place_of);
	free(layout->nodes);
	free(layout->traits);
}

static bool layout_init(struct layout *layout, uint32_t count, uint32_t capacity)
{
	layout->last_child = calloc(count, sizeof(*layout->last_child));
	layout->before = calloc(count, sizeof(*layout->before));
	layout->depths = calloc(count, sizeof(*layout->depths));
	layout->place_of = calloc(capacity, sizeof(*layout->place_of));
	layout->nodes = calloc(capacity, sizeof(*layout->nodes));
	layout->traits = calloc(capacity, sizeof(*layout->traits));
	return layout->last_child && layout->before && layout->depths && layout->place_of &&
	       layout->nodes && layout->traits;
}

/* Who is whose child; what is too deep gets its place here, and is nobody's. */
static void layout_join(struct layout *layout, const struct node *nodes, uint32_t count)
{
	uint32_t deep = 0;
	for (uint32_t node = 1; node < count; node++) {
		uint32_t depth = layout->depths[nodes[node].parent] + UINT32_C(1);
		bool is_deep = depth > NODE_DEPTH_MAX;
		layout->depths[node] = (uint16_t)(is_deep ? NODE_DEPTH_MAX + 1 : depth);
		deep += is_deep;
		if (is_deep)
			continue;
		layout->before[node] = layout->last_child[nodes[node].parent];
		layout->last_child[nodes[node].parent] = node;
	}
	layout->laid_count = count - deep;
	for (uint32_t node = count, place = count; deep > 0; deep--) {
		while (layout->depths[--node] <= NODE_DEPTH_MAX)
			;
		layout->place_of[node] = --place;
	}
}

/*
 * Places from the last to the first, each node behind all that is below it: going down to the last
 * child as long as there is one that has no place yet, then placing the node.
 */
static void layout_place(struct layout *layout, const struct node *nodes)
{
	uint32_t at = DICT_NODE_ROOT;
	for (uint32_t place = layout->laid_count; place > 1;) {
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
	const uint16_t no_depth = (1u << NODE_DEPTH_SHIFT) - 1;
	for (uint32_t node = 0; node < stacks->nodes_count; node++) {
		uint32_t place = layout->place_of[node];
		uint32_t depth = place < layout->laid_count ? layout->depths[node] : 0;
		layout->nodes[place] = (struct node){
			.parent = layout->place_of[nodes[node].parent], .frame = nodes[node].frame
		};
		layout->traits[place] = (uint16_t)((stacks->traits[stacks->place_of[node]] &
		                                           no_depth) |
		                                   depth << NODE_DEPTH_SHIFT);
	}
}

/* Is it time, and is there room for both layouts? */
static bool layout_is_due(const struct named_stacks *stacks)
{
	uint32_t added = stacks->nodes_count - stacks->laid_of;
	size_t each = 3 * sizeof(uint32_t) + sizeof(struct node) + 2 * sizeof(uint16_t);
	return added > LAY_OUT_FROM + stacks->laid_of / LAY_OUT_SHARE &&
	       named_stacks_memory(stacks) + each * stacks->nodes_capacity <= stacks->memory_max;
}

/* Where the stacks of generations are, that were at other places. */
static void generation_names_move(struct generation_names *names, const uint32_t *place_of)
{
	uint32_t known_count;
	const uint32_t *known = naming_known(names->naming, &known_count);
	for (uint32_t node = 0; node < names->places_count; node++)
		if (names->places[node] != ID_NONE)
			names->places[node] = place_of[known[node]];
}

void named_stacks_lay_out(struct named_stacks *stacks)
{
	uint32_t count = stacks->nodes_count;
	__attribute__((cleanup(layout_fini))) struct layout layout = { 0 };
	if (!layout_is_due(stacks) || !layout_init(&layout, count, stacks->nodes_capacity))
		return;
	const struct node *nodes = dict_get_nodes(stacks->dict);
	layout_join(&layout, nodes, count);
	layout_place(&layout, nodes);
	layout_fill(&layout, stacks, nodes);
	uint32_t *place_of = stacks->place_of;
	struct node *before = stacks->nodes;
	uint16_t *traits = stacks->traits;
	stacks->place_of = layout.place_of;
	stacks->nodes = layout.nodes;
	stacks->traits = layout.traits;
	stacks->laid_count = layout.laid_count;
	stacks->laid_of = count;
	for (uint32_t i = 0; i < GENERATIONS_MAX; i++)
		if (stacks->generations[i].naming)
			generation_names_move(&stacks->generations[i], stacks->place_of);
	layout.place_of = place_of;
	layout.nodes = before;
	layout.traits = traits;
}
