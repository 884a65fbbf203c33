/*
 * A column of ids for each noun of `from`, filled when first asked for. What is new to `to` is
 * added with the hash that it has already, so that nothing is hashed twice; nodes, which have none,
 * go down from the nearest ancestor that was carried over.
 */

#include "profile/dict.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/fetch.h"
#include "profile/dict_private.h"

/* Of a column of nodes: is on its way over, see dict_remap_nodes(). No dict has so many. */
#define REMAP_UNDER_WAY (ID_NONE - 1)

/* So many stacks go over together: what one of them brings is still near when it is looked at. */
#define REMAP_STACKS_AT_ONCE 64
#define REMAP_FRAMES_AT_ONCE 64

/* Of a chain so many nodes are fetched before it is walked, and with one of them the others of its
 * line of memory. */
#define REMAP_CHAIN_FETCHED 32
#define REMAP_NODES_A_LINE  8

/* How many nodes ahead of its use a place is asked of memory, and what is there. */
#define REMAP_SEEK_FAR  64
#define REMAP_SEEK_NEAR 32
/* So many are looked for, and the next as long as one of REMAP_SEEK_FOUND was there. */
#define REMAP_SEEK_AT_ONCE 1024
#define REMAP_SEEK_FOUND   4

/* The ids of one noun: ids[id in from] = id in to, or ID_NONE. */
struct dict_remap_ids {
	uint32_t *ids;
	uint32_t capacity;
};

struct dict_remap {
	const struct dict *from;
	struct dict *to;
	uint64_t to_serial;
	uint64_t from_truncations;
	uint64_t to_truncations;
	struct dict_remap_ids strings;
	struct dict_remap_ids modules;
	struct dict_remap_ids frames;
	struct dict_remap_ids nodes;
	struct dict_remap_ids series;
	uint32_t *path; /* nodes from the one asked for towards the root that `to` lacks */
	uint32_t path_capacity;
	/* Of `from`: so many were looked for in `to`, whether they were there or not. */
	uint32_t frames_sought;
	uint32_t nodes_sought;
	uint32_t *steps; /* nodes that go over together, each behind its parent */
	uint32_t steps_count, steps_capacity;
};

struct dict_remap *dict_remap_new(const struct dict *from, struct dict *to)
{
	assert(from != to);

	struct dict_remap *remap = calloc(1, sizeof(*remap));
	if (!remap)
		return NULL;
	remap->from = from;
	remap->from_truncations = from->truncations;
	if (to)
		dict_remap_aim(remap, to);
	return remap;
}

void dict_remap_free(struct dict_remap *remap)
{
	if (!remap)
		return;
	free(remap->strings.ids);
	free(remap->modules.ids);
	free(remap->frames.ids);
	free(remap->nodes.ids);
	free(remap->series.ids);
	free(remap->path);
	free(remap->steps);
	free(remap);
}

/* Forgets the translations to `first` and above. */
static void dict_remap_forget(struct dict_remap_ids *column, uint32_t first)
{
	for (uint32_t i = 0; i < column->capacity; i++) {
		if (column->ids[i] >= first)
			column->ids[i] = ID_NONE;
	}
}

static void dict_remap_forget_from(struct dict_remap *remap, struct dict_mark to)
{
	dict_remap_forget(&remap->strings, to.strings);
	dict_remap_forget(&remap->modules, to.modules);
	dict_remap_forget(&remap->frames, to.frames);
	dict_remap_forget(&remap->nodes, to.nodes);
	dict_remap_forget(&remap->series, to.series);
	if (to.nodes == 0) {
		remap->frames_sought = 0;
		remap->nodes_sought = 0;
	}
	remap->from_truncations = remap->from->truncations;
	remap->to_truncations = remap->to->truncations;
}

/* The address alone does not tell: a new dict may lie where one that was freed lay. */
void dict_remap_aim(struct dict_remap *remap, struct dict *to)
{
	assert(remap->from != to);
	if (remap->to == to && remap->to_serial == to->serial)
		return;
	remap->to = to;
	remap->to_serial = to->serial;
	dict_remap_forget_from(remap, (struct dict_mark){ 0 });
}

void dict_remap_truncate(struct dict_remap *remap, struct dict_mark to)
{
	/* After more than the one truncation that is told, older ids may have been given anew. */
	if (remap->from_truncations != remap->from->truncations ||
	        remap->to->truncations - remap->to_truncations > 1)
		to = (struct dict_mark){ 0 };
	dict_remap_forget_from(remap, to);
}

/* The translation, or ID_NONE. Whoever forgot to tell of a truncation only pays for it. */
static uint32_t dict_remap_find(
        struct dict_remap *remap, const struct dict_remap_ids *column, uint32_t id)
{
	if (__builtin_expect(remap->from_truncations != remap->from->truncations ||
	                             remap->to_truncations != remap->to->truncations,
	            0))
		dict_remap_forget_from(remap, (struct dict_mark){ 0 });
	return id < column->capacity ? column->ids[id] : ID_NONE;
}

/* Room for the first so many ids. */
static int dict_remap_reserve(struct dict_remap_ids *column, uint64_t count)
{
	uint32_t before = column->capacity;
	if (count <= before)
		return 0;
	uint32_t *ids = dict_grow(column->ids, &column->capacity, count, sizeof(*ids));
	if (!ids)
		return -ENOMEM;
	memset(ids + before, 0xff, (column->capacity - before) * sizeof(*ids));
	column->ids = ids;
	return 0;
}

static int dict_remap_keep(
        struct dict_remap_ids *column, uint32_t id, uint32_t translated, uint32_t *ret_id)
{
	int r = dict_remap_reserve(column, (uint64_t)id + 1);
	if (r < 0)
		return r;
	column->ids[id] = translated;
	*ret_id = translated;
	return 0;
}

int dict_remap_string(struct dict_remap *remap, uint32_t id, uint32_t *ret_id)
{
	uint32_t translated = dict_remap_find(remap, &remap->strings, id);
	if (translated != ID_NONE) {
		*ret_id = translated;
		return 0;
	}
	if (id >= remap->from->count.strings)
		return -EINVAL;

	struct string_entry entry = remap->from->strings[id];
	int r = dict_string_add(remap->to, id_map_hash(remap->from->string_ids, id),
	        remap->from->bytes + entry.offset, entry.count, &translated);
	return r < 0 ? r : dict_remap_keep(&remap->strings, id, translated, ret_id);
}

static int dict_remap_module(struct dict_remap *remap, uint32_t id, uint32_t *ret_id)
{
	uint32_t translated = dict_remap_find(remap, &remap->modules, id);
	if (translated != ID_NONE) {
		*ret_id = translated;
		return 0;
	}

	struct hash128 hash = id_map_hash(remap->from->module_ids, id);
	translated = id_map_find(remap->to->module_ids, hash);
	if (translated == ID_NONE) {
		struct module module = remap->from->modules[id];
		int r = dict_remap_string(remap, module.name, &module.name);
		r = r < 0 ? r : dict_remap_string(remap, module.build_id, &module.build_id);
		r = r < 0 ? r : dict_module_add(remap->to, hash, module, &translated);
		if (r < 0)
			return r;
	}
	return dict_remap_keep(&remap->modules, id, translated, ret_id);
}

int dict_remap_frame(struct dict_remap *remap, uint32_t id, uint32_t *ret_id)
{
	uint32_t translated = dict_remap_find(remap, &remap->frames, id);
	if (translated != ID_NONE) {
		*ret_id = translated;
		return 0;
	}
	if (id >= remap->from->count.frames)
		return -EINVAL;

	struct hash128 hash = id_map_hash(remap->from->frame_ids, id);
	translated = id_map_find(remap->to->frame_ids, hash);
	if (translated == ID_NONE) {
		struct frame frame = frame_table_get(&remap->from->frames, id);
		int r = dict_remap_module(remap, frame.module, &frame.module);
		r = r < 0 ? r : dict_remap_string(remap, frame.function, &frame.function);
		r = r < 0 ? r : dict_remap_string(remap, frame.system_name, &frame.system_name);
		r = r < 0 ? r : dict_remap_string(remap, frame.file, &frame.file);
		r = r < 0 ? r : dict_frame_add(remap->to, hash, frame, &translated);
		if (r < 0)
			return r;
	}
	return dict_remap_keep(&remap->frames, id, translated, ret_id);
}

/* A frame, what it is called and where that stands are asked for so many before they are needed. */
#define FRAME_FAR  24
#define FRAME_NEAR 12
#define FRAME_NEXT 6

int dict_remap_frames(struct dict_remap *remap, const uint32_t *ids, uint32_t count)
{
	const struct dict *from = remap->from;
	const struct hash128 *hashes = id_map_hashes(from->frame_ids);
	const struct hash128 *strings = id_map_hashes(from->string_ids);
	for (uint32_t i = 0; i < count; i++)
		if (ids[i] >= from->count.frames)
			return -EINVAL;
	int r = dict_remap_reserve(&remap->frames, from->count.frames);
	if (r == 0)
		r = dict_remap_reserve(&remap->strings, from->count.strings);
	for (uint32_t i = 0; i < count && r == 0; i++) {
		uint32_t far = ids[count - i > FRAME_FAR ? i + FRAME_FAR : i];
		uint32_t near = ids[count - i > FRAME_NEAR ? i + FRAME_NEAR : i];
		uint32_t next = ids[count - i > FRAME_NEXT ? i + FRAME_NEXT : i];
		uint32_t id;
		fetch(&from->frames.all[far]);
		fetch(&hashes[far]);
		uint32_t function = frame_table_get(&from->frames, near).function;
		fetch(&from->strings[function]);
		fetch(&strings[function]);
		function = frame_table_get(&from->frames, next).function;
		fetch(from->bytes + from->strings[function].offset);
		r = dict_remap_frame(remap, ids[i], &id);
	}
	return r;
}

/* The nearest ancestor, or the node itself, that was carried over; the way there is left in
 * remap->path. */
static int dict_remap_walk(
        struct dict_remap *remap, uint32_t id, uint32_t *ret_known, uint32_t *ret_path_count)
{
	uint32_t path_count = 0;
	uint32_t known = DICT_NODE_ROOT;
	for (; id != DICT_NODE_ROOT; id = remap->from->nodes.all[id].parent) {
		uint32_t found = dict_remap_find(remap, &remap->nodes, id);
		if (found != ID_NONE) {
			known = found;
			break;
		}
		uint32_t *path = dict_grow(remap->path, &remap->path_capacity,
		        (uint64_t)path_count + 1, sizeof(*path));
		if (!path)
			return -ENOMEM;
		remap->path = path;
		path[path_count++] = id;
	}
	*ret_known = known;
	*ret_path_count = path_count;
	return 0;
}

int dict_remap_ancestor(
        struct dict_remap *remap, uint32_t id, uint32_t *ret_id, bool *ret_is_itself)
{
	uint32_t known, path_count;
	if (id >= remap->from->count.nodes)
		return -EINVAL;
	int r = dict_remap_walk(remap, id, &known, &path_count);
	while (r == 0 && path_count > 0) {
		uint32_t step = remap->path[path_count - 1];
		struct node node = { .parent = known };
		uint32_t found;
		node.frame = id_map_find(remap->to->frame_ids,
		        id_map_hash(remap->from->frame_ids, remap->from->nodes.all[step].frame));
		/* With no room to add, what is new is refused. */
		if (node.frame == ID_NONE ||
		        dict_nodes_add(&remap->to->nodes, node, 0, &found) == -ENOSPC)
			break;
		r = dict_remap_keep(&remap->nodes, step, found, &known);
		path_count--;
	}
	if (r < 0)
		return r;
	*ret_id = known;
	*ret_is_itself = path_count == 0;
	return 0;
}

/* Every node of the path is kept, so that the next stack pays only for what it does not share. */
int dict_remap_node(struct dict_remap *remap, uint32_t id, uint32_t *ret_id)
{
	uint32_t node = dict_remap_find(remap, &remap->nodes, id);
	if (node != ID_NONE) {
		*ret_id = node;
		return 0;
	}
	if (id >= remap->from->count.nodes)
		return -EINVAL;

	uint32_t path_count;
	int r = dict_remap_walk(remap, id, &node, &path_count);
	while (r == 0 && path_count > 0) {
		uint32_t step = remap->path[--path_count];
		uint32_t frame, translated = 0;
		r = dict_remap_frame(remap, remap->from->nodes.all[step].frame, &frame);
		if (r == 0)
			r = dict_node_add(remap->to,
			        (struct node){ .parent = node, .frame = frame }, &translated);
		r = r < 0 ? r : dict_remap_keep(&remap->nodes, step, translated, &node);
	}
	if (r == 0)
		*ret_id = node;
	return r;
}

/* ---- many nodes together ---- */

/*
 * The ways of some nodes, from what was carried over before (or is part of an earlier way) to each:
 *
 *	steps  [ a b c | d e | f ]    nodes of `from`, each behind its parent
 *	ends   [ 3, 5, 6 ]            of each way
 */
struct remap_ways {
	uint32_t ends[REMAP_STACKS_AT_ONCE];
	uint32_t count;
};

static int remap_add_way(struct dict_remap *remap, struct remap_ways *ways, uint32_t id)
{
	const struct node *all = remap->from->nodes.all;
	uint32_t *known = remap->nodes.ids;
	uint32_t first = remap->steps_count;
	uint32_t count = first;
	for (; known[id] == ID_NONE; id = all[id].parent) {
		if (count == remap->steps_capacity) {
			uint32_t *steps = dict_grow(remap->steps, &remap->steps_capacity,
			        (uint64_t)count + 1, sizeof(*steps));
			if (!steps)
				return -ENOMEM;
			remap->steps = steps;
		}
		/* Which frame that is in `to` is asked next, of all ways one after the other. */
		fetch(&remap->frames.ids[all[id].frame]);
		known[id] = REMAP_UNDER_WAY;
		remap->steps[count++] = id;
		remap->steps_count = count;
	}
	if (count > first)
		ways->ends[ways->count++] = count;
	while (first + 1 < count) {
		uint32_t step = remap->steps[--count];
		remap->steps[count] = remap->steps[first];
		remap->steps[first++] = step;
	}
	return 0;
}

/*
 * A way mostly is a part of a chain, and ends below a node that is anywhere in memory; whether that
 * is known decides how the loop goes on. So all of it is asked for before the first is walked: also
 * the lines between both ends of a chain, as one that has ten nodes is gone before the machine sees
 * that they are gone through in order. In a longer one it does.
 */
static void remap_fetch_stacks(const struct dict_remap *remap, const uint32_t *ids, uint32_t count)
{
	const struct dict_nodes *nodes = &remap->from->nodes;
	const uint32_t *known = remap->nodes.ids;
	uint32_t firsts[REMAP_STACKS_AT_ONCE];
	for (uint32_t i = 0; i < count; i++) {
		fetch(&nodes->all[ids[i]]);
		fetch(&known[ids[i]]);
		fetch(&nodes->chains[ids[i] / DICT_CHAINS_NODES]);
	}
	for (uint32_t i = 0; i < count; i++) {
		firsts[i] = dict_nodes_first(nodes, ids[i]);
		uint32_t until = ids[i] - firsts[i] < REMAP_CHAIN_FETCHED
		                         ? ids[i]
		                         : firsts[i] + REMAP_CHAIN_FETCHED;
		for (uint32_t id = firsts[i]; id <= until; id += REMAP_NODES_A_LINE)
			fetch(&nodes->all[id]);
		fetch(&known[firsts[i]]);
	}
	for (uint32_t i = 0; i < count; i++)
		fetch(&known[nodes->all[firsts[i]].parent]);
}

static int remap_find_ways(
        struct dict_remap *remap, const uint32_t *ids, uint32_t count, struct remap_ways *ways)
{
	int r = 0;
	remap->steps_count = 0;
	remap_fetch_stacks(remap, ids, count);
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = remap_add_way(remap, ways, ids[i]);
	return r;
}

/* ---- what came is looked for, adding nothing, while most of it is there ---- */

static int remap_seek_frames(struct dict_remap *remap)
{
	uint32_t count = remap->from->count.frames;
	uint32_t found = REMAP_SEEK_AT_ONCE;
	int r = dict_remap_reserve(&remap->frames, count);
	if (r < 0)
		return r;
	for (uint32_t at = remap->frames_sought;
	        at < count && found >= REMAP_SEEK_AT_ONCE / REMAP_SEEK_FOUND;
	        at += REMAP_SEEK_AT_ONCE) {
		uint32_t sought = count - at < REMAP_SEEK_AT_ONCE ? count - at : REMAP_SEEK_AT_ONCE;
		uint32_t *ids = remap->frames.ids + at;
		id_map_find_all(remap->to->frame_ids, id_map_hashes(remap->from->frame_ids) + at,
		        sought, ids);
		found = 0;
		for (uint32_t i = 0; i < sought; i++)
			found += ids[i] != ID_NONE;
	}
	remap->frames_sought = count;
	return 0;
}

/* What the node would be in `to`. false: `to` lacks its parent or its frame, or it is not known. */
static inline bool remap_node_there(
        const struct dict_remap *remap, uint32_t id, struct node *ret_there)
{
	struct node node = remap->from->nodes.all[id];
	ret_there->parent = remap->nodes.ids[node.parent];
	ret_there->frame = remap->frames.ids[node.frame];
	return ret_there->parent != ID_NONE && ret_there->frame != ID_NONE;
}

/* A node is looked for where its parent was found; both are asked of memory before. */
static int remap_seek_nodes(struct dict_remap *remap)
{
	const struct dict_nodes *nodes = &remap->to->nodes;
	uint32_t first = remap->nodes_sought ? remap->nodes_sought : DICT_NODE_ROOT + 1;
	uint32_t count = remap->from->count.nodes;
	uint32_t until = first + REMAP_SEEK_AT_ONCE;
	uint32_t found = 0;
	struct node node;
	int r = dict_remap_reserve(&remap->nodes, count);
	if (r < 0)
		return r;
	remap->nodes.ids[DICT_NODE_ROOT] = DICT_NODE_ROOT;
	for (uint32_t id = first; id < count; id++) {
		if (id == until) {
			if (found < REMAP_SEEK_AT_ONCE / REMAP_SEEK_FOUND)
				break;
			until += REMAP_SEEK_AT_ONCE;
			found = 0;
		}
		if (count - id > REMAP_SEEK_FAR &&
		        remap_node_there(remap, id + REMAP_SEEK_FAR, &node))
			dict_nodes_fetch(nodes, node);
		if (count - id > REMAP_SEEK_NEAR &&
		        remap_node_there(remap, id + REMAP_SEEK_NEAR, &node))
			dict_nodes_fetch_found(nodes, node);
		if (remap->nodes.ids[id] == ID_NONE && remap_node_there(remap, id, &node))
			remap->nodes.ids[id] = dict_nodes_find(nodes, node);
		found += remap->nodes.ids[id] != ID_NONE;
	}
	remap->nodes_sought = count;
	return 0;
}

int dict_remap_seek(struct dict_remap *remap)
{
	(void)dict_remap_find(remap, &remap->nodes, 0); /* forgets what is no longer so */
	if (remap->nodes_sought == remap->from->count.nodes)
		return 0;
	int r = remap_seek_frames(remap);
	return r < 0 ? r : remap_seek_nodes(remap);
}

/* ---- what is not there goes over ---- */

/* Looks for these of `from`, and adds what is not there, in their order. */
static int remap_carry_frames(struct dict_remap *remap, const uint32_t *ids, uint32_t count)
{
	const struct hash128 *all = id_map_hashes(remap->from->frame_ids);
	struct hash128 hashes[REMAP_FRAMES_AT_ONCE];
	uint32_t found[REMAP_FRAMES_AT_ONCE];
	uint32_t missing[REMAP_FRAMES_AT_ONCE];
	uint32_t missing_count = 0;
	for (uint32_t i = 0; i < count; i++)
		hashes[i] = all[ids[i]];
	id_map_find_all(remap->to->frame_ids, hashes, count, found);
	for (uint32_t i = 0; i < count; i++) {
		remap->frames.ids[ids[i]] = found[i];
		if (found[i] == ID_NONE)
			missing[missing_count++] = ids[i];
	}
	return dict_remap_frames(remap, missing, missing_count);
}

static int remap_carry_frames_of_steps(struct dict_remap *remap)
{
	const struct node *all = remap->from->nodes.all;
	uint32_t ids[REMAP_FRAMES_AT_ONCE];
	uint32_t count = 0;
	int r = 0;
	for (uint32_t i = 0; i < remap->steps_count && r == 0; i++) {
		uint32_t frame = all[remap->steps[i]].frame;
		if (remap->frames.ids[frame] != ID_NONE)
			continue;
		fetch(&id_map_hashes(remap->from->frame_ids)[frame]);
		ids[count++] = frame;
		if (count < REMAP_FRAMES_AT_ONCE)
			continue;
		r = remap_carry_frames(remap, ids, count);
		count = 0;
	}
	return r < 0 ? r : remap_carry_frames(remap, ids, count);
}

/* What the first step of a way would be in `to`. false: its parent is under way itself. */
static inline bool remap_way_begins(const struct dict_remap *remap, const struct remap_ways *ways,
        uint32_t way, struct node *ret_there)
{
	uint32_t first = way > 0 ? ways->ends[way - 1] : 0;
	struct node node = remap->from->nodes.all[remap->steps[first]];
	ret_there->parent = remap->nodes.ids[node.parent];
	ret_there->frame = remap->frames.ids[node.frame];
	return ret_there->parent < REMAP_UNDER_WAY;
}

/* Where each begins in `to` is anywhere in memory: the place, then what is there. */
static void remap_fetch_ways(const struct dict_remap *remap, const struct remap_ways *ways)
{
	const struct dict_nodes *nodes = &remap->to->nodes;
	struct node begins[REMAP_STACKS_AT_ONCE];
	uint32_t count = 0;
	for (uint32_t way = 0; way < ways->count; way++) {
		if (!remap_way_begins(remap, ways, way, &begins[count]))
			continue;
		dict_nodes_fetch(nodes, begins[count++]);
	}
	for (uint32_t i = 0; i < count; i++)
		dict_nodes_fetch_found(nodes, begins[i]);
}

/* What is below one that is new is new: nobody looks for it. */
static int remap_carry_steps(struct dict_remap *remap, const struct remap_ways *ways)
{
	struct dict_nodes *nodes = &remap->to->nodes;
	const struct node *all = remap->from->nodes.all;
	uint32_t limit = remap->to->limits.nodes;
	uint32_t first_new = nodes->count;
	uint32_t step = 0;
	int r = 0;
	remap_fetch_ways(remap, ways);
	for (uint32_t way = 0; way < ways->count && r == 0; way++) {
		uint32_t there = remap->nodes.ids[all[remap->steps[step]].parent];
		for (; step < ways->ends[way] && r == 0; step++) {
			uint32_t id = remap->steps[step];
			struct node node = { .parent = there,
				.frame = remap->frames.ids[all[id].frame] };
			r = there < first_new ? dict_nodes_add(nodes, node, limit, &there)
			                      : dict_nodes_add_new(nodes, node, limit, &there);
			if (r == 0)
				remap->nodes.ids[id] = there;
		}
	}
	remap->to->count.nodes = nodes->count;
	return r;
}

static int remap_carry_nodes(struct dict_remap *remap, const uint32_t *ids, uint32_t count)
{
	struct remap_ways ways = { .count = 0 };
	int r = remap_find_ways(remap, ids, count, &ways);
	r = r < 0 ? r : remap_carry_frames_of_steps(remap);
	r = r < 0 ? r : remap_carry_steps(remap, &ways);
	for (uint32_t i = 0; i < remap->steps_count && r < 0; i++) {
		uint32_t *to = &remap->nodes.ids[remap->steps[i]];
		if (*to == REMAP_UNDER_WAY)
			*to = ID_NONE;
	}
	return r;
}

int dict_remap_nodes(struct dict_remap *remap, const uint32_t *ids, uint32_t count)
{
	struct dict_mark from = remap->from->count;
	(void)dict_remap_find(remap, &remap->nodes, 0); /* forgets what is no longer so */
	for (uint32_t i = 0; i < count; i++) {
		if (ids[i] >= from.nodes)
			return -EINVAL;
	}
	int r = dict_remap_reserve(&remap->nodes, from.nodes);
	r = r < 0 ? r : dict_remap_reserve(&remap->frames, from.frames);
	if (r == 0)
		remap->nodes.ids[DICT_NODE_ROOT] = DICT_NODE_ROOT;
	while (r == 0 && count > 0) {
		uint32_t part = count < REMAP_STACKS_AT_ONCE ? count : REMAP_STACKS_AT_ONCE;
		r = remap_carry_nodes(remap, ids, part);
		ids += part;
		count -= part;
	}
	return r;
}

const uint32_t *dict_remap_known_nodes(struct dict_remap *remap, uint32_t *ret_count)
{
	(void)dict_remap_find(remap, &remap->nodes, 0); /* forgets what is no longer so */
	*ret_count = remap->nodes.capacity;
	return remap->nodes.ids;
}

int dict_remap_series(struct dict_remap *remap, uint32_t id, uint32_t *ret_id)
{
	uint32_t translated = dict_remap_find(remap, &remap->series, id);
	if (translated != ID_NONE) {
		*ret_id = translated;
		return 0;
	}
	if (id >= remap->from->count.series)
		return -EINVAL;

	struct hash128 hash = id_map_hash(remap->from->series_ids, id);
	translated = id_map_find(remap->to->series_ids, hash);
	if (translated == ID_NONE) {
		struct series series = remap->from->series[id];
		const struct label *before = dict_get_labels(remap->from, id);
		struct label labels[DICT_LABELS_MAX];
		int r = dict_remap_string(remap, series.type, &series.type);
		r = r < 0 ? r : dict_remap_string(remap, series.unit, &series.unit);
		/* Sorted by the bytes of the name there, so sorted here. */
		for (uint32_t i = 0; r == 0 && i < series.labels_count; i++) {
			r = dict_remap_string(remap, before[i].name, &labels[i].name);
			r = r < 0 ? r : dict_remap_string(remap, before[i].value, &labels[i].value);
		}
		r = r < 0 ? r
		          : dict_series_add(remap->to, hash, series, labels, series.labels_count,
		                    &translated);
		if (r < 0)
			return r;
	}
	return dict_remap_keep(&remap->series, id, translated, ret_id);
}
