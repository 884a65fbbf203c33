/*
 * Collapsing to functions: stacks that differ only by addresses within the same functions become
 * one stack, whose addresses are where the functions begin.
 *
 *	list      the dictionary's stacks and all their callers, and the frames of these that have
 *	          an address and a build-id
 *	resolve   where the function of each such frame begins, by the symbols that are there
 *	grow      from callers to callees: what a node becomes, added to the generation where it is
 *	          not there yet; some thousand new nodes in one synced write
 *
 * The generation may be one that appends have left behind: its record says how much there is of it,
 * and is written with what is added. What a kill leaves is names that nothing speaks of, which the
 * next attempt finds and uses.
 *
 * A table has the functions of the file as it was linked, so what was inlined becomes the function
 * that it was inlined into. A frame without a symbol stays as it is. Naming the begin of a function
 * gives the function, so readers know nothing of all this.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "profile/naming.h"
#include "storage/stack_set.h"
#include "storage/store_roll_private.h"

#define COLLAPSE_GATE_STEPS  4096        /* in one visit to the gate */
#define COLLAPSE_WRITE_STEPS (64u << 10) /* nodes gone through for one write */

/* A frame with an address that may have a function. */
struct collapse_frame {
	uint32_t frame;
	uint32_t module;
	uint32_t to; /* itself, or ID_NONE: the frame of `address` */
	uint64_t address;
};

struct roll_collapse {
	struct stack_set *nodes_set; /* the dictionary's and their callers, without the root */
	uint32_t *nodes;             /* of the set, ascending */
	uint32_t *to;                /* by place */
	uint32_t nodes_count;
	struct stack_set *frames_set;
	struct collapse_frame *frames; /* by place, but while they are resolved */
	uint32_t frames_count;
};

void roll_collapse_free(struct roll_collapse *collapse)
{
	if (!collapse)
		return;
	stack_set_free(collapse->nodes_set);
	free(collapse->nodes);
	free(collapse->to);
	stack_set_free(collapse->frames_set);
	free(collapse->frames);
	free(collapse);
}

/* In the gate. Its windows are there, and the caller has `sealing`: nobody drops it. */
static struct generation *collapse_generation(const struct roll *roll)
{
	struct generation *generation = store_generation(roll->store, roll->dictionary);
	assert(generation);
	return generation;
}

/* ---- what there is ---- */

static bool collapse_is_wanted(const struct dict *dict, const struct frame *frame)
{
	return frame->kind == FRAME_NATIVE && frame->function == 0 &&
	       dict_get_module(dict, frame->module)->build_id != 0;
}

/* The stack and its callers, up to one that is listed. */
static void collapse_list_stack(
        struct roll_collapse *collapse, const struct dict *dict, uint32_t node)
{
	while (node != DICT_NODE_ROOT && !stack_set_has(collapse->nodes_set, node)) {
		struct node at = dict_get_node(dict, node);
		struct frame frame = dict_get_frame(dict, at.frame);
		stack_set_add(collapse->nodes_set, node);
		if (collapse_is_wanted(dict, &frame))
			stack_set_add(collapse->frames_set, at.frame);
		node = at.parent;
	}
}

static int collapse_make_sets(struct roll *roll, struct roll_collapse *collapse)
{
	gate_enter(&roll->store->gate);
	struct dict_mark mark = dict_mark(collapse_generation(roll)->dict);
	gate_leave(&roll->store->gate);
	collapse->nodes_set = stack_set_new(mark.nodes);
	collapse->frames_set = stack_set_new(mark.frames);
	return collapse->nodes_set && collapse->frames_set ? 0 : -ENOMEM;
}

static int collapse_list(
        struct roll *roll, struct roll_collapse *collapse, const uint32_t *nodes, uint32_t count)
{
	int r = collapse_make_sets(roll, collapse);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < count;) {
		gate_enter(&roll->store->gate);
		const struct dict *dict = collapse_generation(roll)->dict;
		for (int steps = 0; steps < COLLAPSE_GATE_STEPS && i < count; steps++)
			collapse_list_stack(collapse, dict, nodes[i++]);
		gate_leave(&roll->store->gate);
	}
	collapse->nodes_count = stack_set_rank(collapse->nodes_set);
	collapse->frames_count = stack_set_rank(collapse->frames_set);
	collapse->nodes = calloc((size_t)collapse->nodes_count + 1, sizeof(*collapse->nodes));
	collapse->to = calloc((size_t)collapse->nodes_count + 1, sizeof(*collapse->to));
	collapse->frames = calloc((size_t)collapse->frames_count + 1, sizeof(*collapse->frames));
	if (!collapse->nodes || !collapse->to || !collapse->frames)
		return -ENOMEM;
	stack_set_list(collapse->nodes_set, collapse->nodes);
	return 0;
}

static int collapse_list_frames(struct roll *roll, struct roll_collapse *collapse)
{
	autofree uint32_t *ids = calloc((size_t)collapse->frames_count + 1, sizeof(*ids));
	if (!ids)
		return -ENOMEM;
	stack_set_list(collapse->frames_set, ids);
	for (uint32_t i = 0; i < collapse->frames_count;) {
		gate_enter(&roll->store->gate);
		const struct dict *dict = collapse_generation(roll)->dict;
		for (int steps = 0; steps < COLLAPSE_GATE_STEPS && i < collapse->frames_count;
		        steps++, i++)
			collapse->frames[i] = (struct collapse_frame){
				.frame = ids[i],
				.module = dict_get_frame(dict, ids[i]).module,
				.to = ids[i],
			};
		gate_leave(&roll->store->gate);
	}
	return 0;
}

/* ---- where functions begin ---- */

static int collapse_compare_modules(const void *a, const void *b)
{
	const struct collapse_frame *x = a;
	const struct collapse_frame *y = b;
	if (x->module != y->module)
		return x->module < y->module ? -1 : 1;
	return x->frame < y->frame ? -1 : x->frame > y->frame;
}

static int collapse_compare_frames(const void *a, const void *b)
{
	const struct collapse_frame *x = a;
	const struct collapse_frame *y = b;
	return x->frame < y->frame ? -1 : x->frame > y->frame;
}

/* true: it becomes another frame. */
static bool collapse_resolve_frame(
        const struct dict *dict, const struct symbols *symbols, struct collapse_frame *of)
{
	const struct module *module = dict_get_module(dict, of->module);
	uint64_t address = dict_get_frame(dict, of->frame).address;
	uint64_t offset = naming_file_offset(module, address);
	uint64_t start;
	if (!symbols_find(symbols, offset, &start) || start == offset)
		return false;
	/* A mapping may begin within a function: then there is no address for its begin. */
	if (offset - start > address)
		return false;
	of->address = address - (offset - start);
	if (naming_file_offset(module, of->address) != start)
		return false;
	of->to = ID_NONE;
	return true;
}

/* -E2BIG: the table is there, but cannot be had now. */
static int collapse_find_symbols(
        struct roll *roll, const char *build_id, const struct symbols **ret_symbols)
{
	bool is_there = false;
	const struct symbols *symbols = store_symbols_find(roll->store, build_id);
	if (!symbols)
		(void)symbols_cache_find(roll->store->symbols, build_id, &is_there);
	*ret_symbols = symbols;
	return is_there ? -E2BIG : 0;
}

/* Frames of one module lie together, so that each table is asked for once in a visit. */
static int collapse_resolve_some(
        struct roll *roll, struct collapse_frame *frames, uint32_t count, bool *ret_changes)
{
	const struct dict *dict = collapse_generation(roll)->dict;
	const struct symbols *symbols = NULL;
	int r = 0;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		if (i == 0 || frames[i].module != frames[i - 1].module) {
			uint32_t build_id = dict_get_module(dict, frames[i].module)->build_id;
			r = collapse_find_symbols(roll, dict_text(dict, build_id), &symbols);
		}
		if (r == 0 && symbols)
			*ret_changes |= collapse_resolve_frame(dict, symbols, &frames[i]);
	}
	return r;
}

static int collapse_resolve(struct roll *roll, struct roll_collapse *collapse, bool *ret_changes)
{
	struct collapse_frame *frames = collapse->frames;
	uint32_t count = collapse->frames_count;
	int r = 0;
	*ret_changes = false;
	if (count > 1)
		qsort(frames, count, sizeof(*frames), collapse_compare_modules);
	for (uint32_t i = 0, some; i < count && r == 0; i += some) {
		some = count - i > COLLAPSE_GATE_STEPS ? COLLAPSE_GATE_STEPS : count - i;
		store_read_lock(roll->store);
		r = collapse_resolve_some(roll, frames + i, some, ret_changes);
		store_read_unlock(roll->store);
	}
	if (count > 1)
		qsort(frames, count, sizeof(*frames), collapse_compare_frames);
	return r;
}

/* ---- what is new ---- */

static int collapse_frame_to(
        struct roll_collapse *collapse, struct dict *dict, uint32_t frame, uint32_t *ret_frame)
{
	*ret_frame = frame;
	if (!stack_set_has(collapse->frames_set, frame))
		return 0;
	struct collapse_frame *of = &collapse->frames[stack_set_place(collapse->frames_set, frame)];
	if (of->to == ID_NONE) {
		struct frame start = {
			.kind = FRAME_NATIVE,
			.module = of->module,
			.address = of->address,
		};
		int r = dict_frame(dict, &start, &of->to);
		if (r < 0)
			return r;
	}
	*ret_frame = of->to;
	return 0;
}

/* The node at this place, whose callers have had their turn. Gate locked. */
static int collapse_node(struct roll_collapse *collapse, struct dict *dict, uint32_t place)
{
	uint32_t node = collapse->nodes[place];
	struct node at = dict_get_node(dict, node);
	uint32_t parent = at.parent;
	uint32_t frame;
	if (parent != DICT_NODE_ROOT)
		parent = collapse->to[stack_set_place(collapse->nodes_set, parent)];
	int r = collapse_frame_to(collapse, dict, at.frame, &frame);
	collapse->to[place] = node;
	if (r == 0 && (parent != at.parent || frame != at.frame))
		r = dict_node(dict, parent, frame, &collapse->to[place]);
	return r == -ENOSPC ? -E2BIG : r; /* the dict, not the disk */
}

/* Under writer. The places [*at, end). */
static int collapse_add(struct roll *roll, struct roll_collapse *collapse,
        struct generation *generation, uint32_t *at, uint32_t end)
{
	int r = 0;
	while (*at < end && r == 0) {
		gate_lock(&roll->store->gate);
		for (int i = 0; i < COLLAPSE_GATE_STEPS && *at < end && r == 0; i++)
			r = collapse_node(collapse, generation->dict, (*at)++);
		if (r < 0)
			dict_truncate(generation->dict, generation->kept);
		gate_unlock(&roll->store->gate);
	}
	return r;
}

/* Under writer. One write, if anything is new. */
static int collapse_grow_some(
        struct roll *roll, struct roll_collapse *collapse, uint32_t *at, uint32_t *ret_nodes_count)
{
	struct store *store = roll->store;
	/* What was added before may not be there after opening again. */
	if (store->is_broken || store->reopens != roll->reopens)
		return -EAGAIN;
	struct generation *generation = collapse_generation(roll);
	uint32_t end = collapse->nodes_count - *at > COLLAPSE_WRITE_STEPS
	                       ? *at + COLLAPSE_WRITE_STEPS
	                       : collapse->nodes_count;
	int r = collapse_add(roll, collapse, generation, at, end);
	r = r < 0 ? r : store_keep_additions(store, generation, "collapsing stacks");
	if (r == 0)
		*ret_nodes_count = dict_mark(generation->dict).nodes;
	return r;
}

static int collapse_grow(struct roll *roll, struct roll_collapse *collapse)
{
	int r = 0;
	for (uint32_t at = 0; at < collapse->nodes_count && r == 0;) {
		pthread_mutex_lock(&roll->store->writer);
		r = collapse_grow_some(roll, collapse, &at, &roll->nodes_count);
		pthread_mutex_unlock(&roll->store->writer);
	}
	return r;
}

int roll_collapse_new(struct roll *roll, const uint32_t *nodes, uint32_t count,
        struct roll_collapse **ret_collapse)
{
	AUTO(roll_collapse) collapse = calloc(1, sizeof(*collapse));
	int r = collapse ? collapse_list(roll, collapse, nodes, count) : -ENOMEM;
	bool changes = false;
	r = r < 0 ? r : collapse_list_frames(roll, collapse);
	r = r < 0 ? r : collapse_resolve(roll, collapse, &changes);
	if (r == 0 && !changes)
		*ret_collapse = NULL;
	if (r < 0 || !changes)
		return r;
	r = collapse_grow(roll, collapse);
	if (r == 0)
		*ret_collapse = TAKE(collapse);
	return r;
}

uint32_t roll_collapse_node(void *owner, uint32_t node)
{
	const struct roll_collapse *collapse = owner;
	if (node == DICT_NODE_ROOT)
		return node;
	return collapse->to[stack_set_place(collapse->nodes_set, node)];
}
