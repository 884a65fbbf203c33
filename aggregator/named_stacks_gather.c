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
#include "core/fetch.h"

/* What waits at depth 0 is of no caller; behind the deepest nothing ever does. */
#define BELOW_COUNT (NODE_DEPTH_MAX + 2)

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
	if (r == 0 && !gathered->below) {
		gathered->below = calloc(BELOW_COUNT, sizeof(*gathered->below));
		r = gathered->below ? 0 : -ENOMEM;
	}
	return r;
}

/* For a side that nobody asked for so far all of it is new. */
int named_stacks_reserve_side(struct named_stacks *stacks, uint32_t side)
{
	struct gathered *gathered = &stacks->gathered[side];
	return gathered->below || stacks->nodes_capacity == 0
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
	int r = grow_zeroed((void **)&stacks->traits, before, capacity, sizeof(*stacks->traits));
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
		if (stacks->gathered[side].below)
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
	if (r == 0)
		r = grow_zeroed(
		        (void **)&stacks->name_puts, before, capacity, sizeof(*stacks->name_puts));
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
		free(gathered->below);
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
	free(stacks->traits);
	free(stacks->kept);
	free(stacks->kept_before);
	free(stacks->names_met);
	free(stacks->name_puts);
	stacks->frame_flags = NULL;
	stacks->frames_met = NULL;
	stacks->place_of = NULL;
	stacks->nodes = NULL;
	stacks->traits = NULL;
	stacks->kept = NULL;
	stacks->kept_before = NULL;
	stacks->names_met = NULL;
	stacks->name_puts = NULL;
	stacks->frames_count = stacks->frames_capacity = 0;
	stacks->nodes_count = stacks->nodes_capacity = 0;
	stacks->laid_count = stacks->laid_of = 0;
	stacks->names_capacity = 0;
}

size_t named_stacks_gathered_memory(const struct named_stacks *stacks)
{
	size_t each_block = sizeof(*stacks->kept) + sizeof(*stacks->kept_before);
	size_t each_node = sizeof(*stacks->traits) + sizeof(*stacks->nodes) +
	                   sizeof(*stacks->place_of);
	size_t each_frame = JOINS * sizeof(uint32_t) + 2 +
	                    ANSWER_SIDES_MAX * sizeof(struct frame_sums);
	size_t each_name = 1 + sizeof(*stacks->name_puts) +
	                   ANSWER_SIDES_MAX * (sizeof(uint64_t) + sizeof(struct name_flats));
	size_t sides = 0;
	/* What was named a moment ago will have room soon: whoever asks may have too little. */
	size_t nodes = stacks->dict ? dict_mark(stacks->dict).nodes : 0;
	nodes = nodes > stacks->nodes_capacity ? nodes : stacks->nodes_capacity;
	for (int side = 0; side < ANSWER_SIDES_MAX; side++) {
		if (!stacks->gathered[side].below)
			continue;
		each_node += 2 * sizeof(uint64_t);
		each_block++;
		sides++;
	}
	return sides * BELOW_COUNT * sizeof(struct below) + nodes * each_node +
	       nodes / BLOCK_NODES * each_block + stacks->frames_capacity * each_frame +
	       stacks->names_capacity * each_name;
}

/* ---- what is known of frames and nodes ---- */

static int named_stacks_follow_frames(struct named_stacks *stacks)
{
	uint32_t count = dict_mark(stacks->dict).frames;
	int r = named_stacks_reserve_frames(stacks, count);
	for (; r == 0 && stacks->frames_count < count; stacks->frames_count++) {
		uint32_t frame = stacks->frames_count;
		struct frame its = dict_get_frame(stacks->dict, frame);
		uint64_t rewritten = names_rewritten(stacks->names[JOIN_CANONICAL]);
		for (int join = 0; join < JOINS && r == 0; join++)
			r = names_of_frame(stacks->names[join], stacks->dict, frame,
			        &stacks->frame_names[join][frame]);
		if (r < 0)
			return r;
		bool is_rewritten = names_rewritten(stacks->names[JOIN_CANONICAL]) > rewritten;
		stacks->frame_flags[frame] =
		        (uint8_t)((is_rewritten ? FRAME_IS_REWRITTEN : 0) |
		                  (naming_is_unknown(&its) ? FRAME_IS_UNKNOWN : 0) |
		                  (its.kind == FRAME_TRUNCATED ? FRAME_IS_TRUNCATION : 0));
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

/* But for the depth, which only what is laid out has. */
static uint16_t node_traits_of(const struct named_stacks *stacks, struct node node)
{
	uint8_t of_frame = stacks->frame_flags[node.frame];
	uint16_t traits = 0;
	for (int join = 0; join < JOINS; join++)
		if (node_is_outermost(stacks, node, (enum join)join))
			traits |= (uint16_t)(NODE_OUTERMOST << join);
	if (of_frame & FRAME_IS_UNKNOWN)
		traits |= NODE_IS_UNKNOWN;
	if (of_frame & FRAME_IS_TRUNCATION)
		traits |= NODE_IS_TRUNCATION;
	return traits;
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
		stacks->nodes_count = 1; /* The root has no frame and no traits. */
	for (; stacks->nodes_count < count; stacks->nodes_count++) {
		uint32_t place = stacks->nodes_count;
		struct node node = dict_get_node(stacks->dict, place);
		node.parent = stacks->place_of[node.parent];
		stacks->place_of[place] = place;
		stacks->nodes[place] = node;
		stacks->traits[place] = node_traits_of(stacks, node);
	}
	return 0;
}

/* The names of the generation that the rows are of. */
static int named_stacks_names_of(struct named_stacks *stacks, const struct named_stacks_rows *rows,
        struct generation_names **ret_names)
{
	int r = named_stacks_start(stacks);
	if (r < 0)
		return r;
	struct generation_names *names = named_stacks_generation(
	        stacks, rows->generation, rows->dict);
	if (!names)
		return -ENOMEM;
	*ret_names = names;
	return 0;
}

int named_stacks_prepare(struct named_stacks *stacks, struct naming_source *source,
        struct named_stacks_rows rows, struct generation_names **ret_names)
{
	struct generation_names *names;
	int r = named_stacks_names_of(stacks, &rows, &names);
	if (r < 0)
		return r;
	r = named_stacks_name(stacks, names->naming, source, rows);
	if (r == 0)
		r = named_stacks_follow(stacks);
	if (r == 0)
		*ret_names = names;
	return r;
}

/* ---- gathering ---- */

/* Where the stacks of the rows are, which have names. -ENOMEM. */
static int generation_names_place(struct generation_names *names, const uint32_t *place_of,
        const struct named_stacks_rows *rows)
{
	uint32_t known_count;
	const uint32_t *known = naming_known(names->naming, &known_count);
	if (known_count > names->places_count) {
		uint32_t *places = reallocarray(names->places, known_count, sizeof(*places));
		if (!places)
			return -ENOMEM;
		memset(places + names->places_count, 0xff,
		        (known_count - names->places_count) * sizeof(*places));
		names->places = places;
		names->places_count = known_count;
	}
	for (uint32_t i = 0; i < rows->count; i++) {
		uint32_t node = named_stacks_rows_node(rows, i);
		names->places[node] = place_of[known[node]];
	}
	return 0;
}

/* Rows are in the order of the store's nodes, and places lie anywhere. */
#define GATHER_AHEAD 16

/* How many: up to the first row whose stack has no place yet. */
static inline __attribute__((always_inline)) uint32_t gather_rows_of(struct gathered *gathered,
        const struct generation_names *names, const struct named_stacks_rows rows)
{
	const uint32_t *places = names->places;
	uint32_t count = names->places_count;
	uint64_t *self = gathered->self;
	uint8_t *touched = gathered->touched;
	for (uint32_t i = 0; i < rows.count; i++) {
		uint32_t next = i + GATHER_AHEAD;
		uint32_t ahead = next < rows.count ? named_stacks_rows_node(&rows, next) : 0;
		if (ahead < count && places[ahead] != ID_NONE)
			fetch_to_write(&self[places[ahead]]);
		uint32_t node = named_stacks_rows_node(&rows, i);
		uint32_t place = node < count ? places[node] : ID_NONE;
		if (place == ID_NONE)
			return i;
		self[place] += rows.rows ? rows.rows[i].value : rows.values[i];
		touched[place >> BLOCK_BITS] = TOUCHED_SELF;
	}
	return rows.count;
}

static uint32_t gather_rows(struct gathered *gathered, const struct generation_names *names,
        const struct named_stacks_rows *rows)
{
	struct named_stacks_rows run = *rows;
	run.rows = NULL;
	return rows->rows ? gather_rows_of(gathered, names, *rows)
	                  : gather_rows_of(gathered, names, run);
}

int named_stacks_add(struct named_stacks *stacks, struct naming_source *source, uint32_t side,
        struct named_stacks_rows rows)
{
	assert(side < ANSWER_SIDES_MAX);

	struct gathered *gathered = &stacks->gathered[side];
	struct generation_names *names;
	int r = named_stacks_names_of(stacks, &rows, &names);
	if (r < 0)
		return r;
	r = named_stacks_reserve_side(stacks, side);
	if (r < 0)
		return r;
	/* All of them have places, if no stack is new; what has none is named together. */
	uint32_t done = gather_rows(gathered, names, &rows);
	if (done == rows.count)
		return 0;
	if (rows.rows) {
		rows.rows += done;
	} else {
		rows.nodes += done;
		rows.values += done;
	}
	rows.count -= done;
	r = named_stacks_prepare(stacks, source, rows, &names);
	if (r == 0)
		r = generation_names_place(names, stacks->place_of, &rows);
	if (r == 0)
		r = named_stacks_reserve_side(stacks, side);
	if (r < 0)
		return r;
	done = gather_rows(gathered, names, &rows);
	assert(done == rows.count);
	return 0;
}

void named_stacks_clear(struct named_stacks *stacks)
{
	uint32_t blocks = named_stacks_blocks(stacks);
	for (int side = 0; side < ANSWER_SIDES_MAX; side++)
		for (uint32_t block = 0; block < blocks && stacks->gathered[side].below; block++)
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
