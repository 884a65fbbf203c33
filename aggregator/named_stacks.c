/*
 * By node of the dict of functions there are:
 *
 *	flags   [ . o . o o ]    outermost of its name on its stack
 *	self    [ 0 7 0 3 0 ]    by side: what ends here; zero between questions
 *	total   [ 0 9 0 3 0 ]            and with everything below
 *	blocks  [ 3 0 ]          which runs of 64 nodes have anything, a bit for each side
 *
 * A function that is on a stack twice counts once: only the node next to the root adds to it. That
 * depends on what counts as one name, so it is noted for readable and for canonical names.
 *
 * The parent of a node has the smaller number, so a pass from the last block to the first sees
 *every node after all that it is a caller of.
 */

#include "aggregator/named_stacks.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/id_map.h"
#include "profile/names.h"

#define GENERATIONS_MAX 64
#define BLOCK_BITS      6
#define BLOCK_NODES     (1u << BLOCK_BITS)
#define BUCKETS         (64 * 16)

/* Nodes of a trie of functions: more than a fleet has in years, and a bound all the same. */
static const struct dict_limits named_stacks_limits = {
	.strings = 1u << 28,
	.modules = 1u << 24,
	.frames = 1u << 28,
	.nodes = 1u << 30,
	.series = 1,
	.string_bytes = UINT64_C(1) << 36,
};

enum join { JOIN_READABLE, JOIN_CANONICAL, JOINS };

enum node_flag {
	NODE_OUTERMOST = 1, /* << join */
};

struct generation {
	struct naming *naming; /* NULL: a free place */
	const struct dict *dict;
	uint32_t number;
	uint64_t used_at;
};

enum frame_flag {
	FRAME_IS_REWRITTEN = 1, /* has another canonical name */
	FRAME_IS_UNKNOWN = 2,
	FRAME_IS_TRUNCATION = 4,
	FRAME_IS_MET = 8, /* in the question at hand, where canonical names are counted */
};

/* By name, for one side: what is seldom needed stands apart from what every node adds to. */
struct name_flats {
	uint64_t flat;
	uint64_t flat_unknown; /* of frames without a name */
	uint64_t flat_truncated;
	uint64_t cum_truncated;
};

struct named_stacks {
	pthread_mutex_t lock; /* of all but what follows news_lock */
	uint64_t memory_max;
	struct dict *dict;
	struct generation generations[GENERATIONS_MAX];
	uint64_t uses;
	struct names *names[JOINS];
	/* By frame of the dict of functions. */
	uint32_t *frame_names[JOINS];
	uint8_t *frame_flags;
	uint32_t frames_count, frames_capacity;
	uint8_t *flags;
	uint64_t *self[ANSWER_SIDES_MAX];
	uint64_t *total[ANSWER_SIDES_MAX];
	uint8_t *blocks;
	uint32_t nodes_count, nodes_capacity;
	/* By name and side; zero between questions. */
	uint64_t *cums[ANSWER_SIDES_MAX];
	struct name_flats *flats[ANSWER_SIDES_MAX];
	uint32_t names_capacity;

	pthread_mutex_t news_lock;
	struct id_map *build_ids; /* that were looked up: only their symbols are news */
	bool has_news;
	struct named_stacks_state state;
};

static void named_stacks_drop(struct named_stacks *stacks)
{
	for (uint32_t i = 0; i < GENERATIONS_MAX; i++) {
		naming_free(stacks->generations[i].naming);
		stacks->generations[i] = (struct generation){ 0 };
	}
	for (int i = 0; i < JOINS; i++) {
		names_free(stacks->names[i]);
		free(stacks->frame_names[i]);
		stacks->names[i] = NULL;
		stacks->frame_names[i] = NULL;
	}
	for (int side = 0; side < ANSWER_SIDES_MAX; side++) {
		free(stacks->self[side]);
		free(stacks->total[side]);
		free(stacks->cums[side]);
		free(stacks->flats[side]);
		stacks->self[side] = stacks->total[side] = stacks->cums[side] = NULL;
		stacks->flats[side] = NULL;
	}
	free(stacks->frame_flags);
	free(stacks->flags);
	free(stacks->blocks);
	dict_free(stacks->dict);
	stacks->frame_flags = NULL;
	stacks->flags = NULL;
	stacks->blocks = NULL;
	stacks->dict = NULL;
	stacks->frames_count = stacks->frames_capacity = 0;
	stacks->nodes_count = stacks->nodes_capacity = 0;
	stacks->names_capacity = 0;
}

struct named_stacks *named_stacks_new(uint64_t memory_max)
{
	AUTO(named_stacks) stacks = calloc(1, sizeof(*stacks));
	if (!stacks)
		return NULL;
	(void)pthread_mutex_init(&stacks->lock, NULL);
	(void)pthread_mutex_init(&stacks->news_lock, NULL);
	stacks->memory_max = memory_max;
	stacks->build_ids = id_map_new(UINT32_MAX - 1);
	if (!stacks->build_ids)
		return NULL;
	return TAKE(stacks);
}

void named_stacks_free(struct named_stacks *stacks)
{
	if (!stacks)
		return;
	named_stacks_drop(stacks);
	id_map_free(stacks->build_ids);
	(void)pthread_mutex_destroy(&stacks->news_lock);
	(void)pthread_mutex_destroy(&stacks->lock);
	free(stacks);
}

void named_stacks_symbols(struct named_stacks *stacks, const char *build_id)
{
	struct hash128 hash = hash128_bytes(build_id, strlen(build_id));
	(void)pthread_mutex_lock(&stacks->news_lock);
	if (id_map_find(stacks->build_ids, hash) != ID_NONE)
		stacks->has_news = true;
	(void)pthread_mutex_unlock(&stacks->news_lock);
}

void named_stacks_set_memory_max(struct named_stacks *stacks, uint64_t memory_max)
{
	(void)pthread_mutex_lock(&stacks->lock);
	stacks->memory_max = memory_max;
	(void)pthread_mutex_unlock(&stacks->lock);
}

size_t named_stacks_memory(const struct named_stacks *stacks)
{
	if (!stacks->dict)
		return sizeof(*stacks);
	size_t memory = sizeof(*stacks) + dict_memory(stacks->dict);
	for (uint32_t i = 0; i < GENERATIONS_MAX; i++)
		if (stacks->generations[i].naming)
			memory += naming_memory(stacks->generations[i].naming);
	for (int i = 0; i < JOINS; i++)
		if (stacks->names[i])
			memory += names_memory(stacks->names[i]);
	uint64_t each_node = sizeof(*stacks->flags);
	for (int side = 0; side < ANSWER_SIDES_MAX; side++)
		if (stacks->self[side])
			each_node += 2 * sizeof(uint64_t);
	return memory + stacks->nodes_capacity * each_node +
	       stacks->frames_capacity * (JOINS * sizeof(uint32_t) + 1) +
	       stacks->names_capacity * (sizeof(uint64_t) + sizeof(struct name_flats)) *
	               ANSWER_SIDES_MAX;
}

void named_stacks_enter(struct named_stacks *stacks)
{
	(void)pthread_mutex_lock(&stacks->lock);
	(void)pthread_mutex_lock(&stacks->news_lock);
	bool has_news = stacks->has_news;
	stacks->has_news = false;
	stacks->state.renamed += has_news;
	(void)pthread_mutex_unlock(&stacks->news_lock);
	for (uint32_t i = 0; i < GENERATIONS_MAX && has_news; i++)
		if (stacks->generations[i].naming)
			naming_forget(stacks->generations[i].naming);
}

void named_stacks_leave(struct named_stacks *stacks)
{
	size_t memory = named_stacks_memory(stacks);
	uint32_t nodes = stacks->dict ? dict_mark(stacks->dict).nodes : 0;
	bool is_too_big = memory > stacks->memory_max;
	if (is_too_big)
		named_stacks_drop(stacks);
	(void)pthread_mutex_lock(&stacks->news_lock);
	stacks->state.memory = is_too_big ? 0 : memory;
	stacks->state.stacks = is_too_big ? 0 : nodes;
	stacks->state.dropped += is_too_big;
	if (is_too_big)
		id_map_reset(stacks->build_ids);
	(void)pthread_mutex_unlock(&stacks->news_lock);
	(void)pthread_mutex_unlock(&stacks->lock);
}

struct named_stacks_state named_stacks_state(struct named_stacks *stacks)
{
	(void)pthread_mutex_lock(&stacks->news_lock);
	struct named_stacks_state state = stacks->state;
	(void)pthread_mutex_unlock(&stacks->news_lock);
	return state;
}

/* Stands between the caller's source and the naming, to note whose symbols were asked for. */
struct noting_source {
	struct naming_source source;
	struct naming_source *from;
	struct named_stacks *stacks;
};

static const struct symbols *noting_source_find(struct naming_source *source, const char *build_id)
{
	struct noting_source *noting = (struct noting_source *)source;
	uint32_t id;
	bool added;
	(void)pthread_mutex_lock(&noting->stacks->news_lock);
	/* Noted before it is looked up: symbols that come in between are news. */
	int r = id_map_intern(
	        noting->stacks->build_ids, hash128_bytes(build_id, strlen(build_id)), &id, &added);
	if (r < 0)
		noting->stacks->has_news = true; /* The next question names again. */
	(void)pthread_mutex_unlock(&noting->stacks->news_lock);
	return noting->from ? noting->from->find(noting->from, build_id) : NULL;
}

static int named_stacks_start(struct named_stacks *stacks)
{
	if (!stacks->dict)
		stacks->dict = dict_new(named_stacks_limits);
	for (int i = 0; i < JOINS; i++) {
		if (stacks->names[i])
			continue;
		stacks->names[i] = names_new();
		if (stacks->names[i] && i == JOIN_CANONICAL)
			names_use_canon(stacks->names[i]);
	}
	return stacks->dict && stacks->names[JOIN_READABLE] && stacks->names[JOIN_CANONICAL]
	               ? 0
	               : -ENOMEM;
}

/* The generation's naming; the longest unused one makes room. */
static struct naming *named_stacks_naming(
        struct named_stacks *stacks, uint32_t number, const struct dict *dict)
{
	struct generation *place = &stacks->generations[0];
	for (uint32_t i = 0; i < GENERATIONS_MAX; i++) {
		struct generation *at = &stacks->generations[i];
		if (at->naming && at->number == number && at->dict == dict) {
			at->used_at = ++stacks->uses;
			return at->naming;
		}
		if (place->naming && (!at->naming || at->used_at < place->used_at))
			place = at;
	}
	struct naming *naming = naming_new(dict, stacks->dict, NAMING_FUNCTION);
	if (!naming)
		return NULL;
	naming_free(place->naming);
	*place = (struct generation){ naming, dict, number, ++stacks->uses };
	return naming;
}

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

/* Values of a side are only there once somebody asked for that side. */
static int named_stacks_reserve(struct named_stacks *stacks, uint32_t nodes, uint32_t side)
{
	uint32_t before = stacks->nodes_capacity;
	uint32_t capacity = nodes > before ? grown_capacity(before, nodes) : before;
	int r = 0;
	if (capacity > before) {
		r = grow_zeroed((void **)&stacks->flags, before, capacity, sizeof(*stacks->flags));
		if (r == 0)
			r = grow_zeroed((void **)&stacks->blocks, before / BLOCK_NODES,
			        capacity / BLOCK_NODES, sizeof(*stacks->blocks));
	}
	for (uint32_t i = 0; i < ANSWER_SIDES_MAX && r == 0; i++) {
		bool is_there = stacks->self[i] && stacks->total[i];
		if ((!is_there && i != side) || (is_there && capacity == before))
			continue;
		uint32_t had = is_there ? before : 0;
		r = grow_zeroed((void **)&stacks->self[i], had, capacity, sizeof(uint64_t));
		if (r == 0)
			r = grow_zeroed(
			        (void **)&stacks->total[i], had, capacity, sizeof(uint64_t));
	}
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
	for (int join = 0; join < JOINS && r == 0; join++)
		r = grow_zeroed(
		        (void **)&stacks->frame_names[join], before, capacity, sizeof(uint32_t));
	if (r == 0)
		stacks->frames_capacity = capacity;
	return r;
}

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
		node = dict_get_node(stacks->dict, node.parent);
		if (names[node.frame] == name)
			return false;
	}
	return true;
}

static uint8_t node_flags_of(const struct named_stacks *stacks, struct node node)
{
	uint8_t flags = 0;
	for (int join = 0; join < JOINS; join++)
		if (node_is_outermost(stacks, node, (enum join)join))
			flags |= (uint8_t)(NODE_OUTERMOST << join);
	return flags;
}

/* Catches up with what naming has added to the dict of functions. */
static int named_stacks_follow(struct named_stacks *stacks, uint32_t side)
{
	uint32_t count = dict_mark(stacks->dict).nodes;
	int r = named_stacks_follow_frames(stacks);
	if (r == 0)
		r = named_stacks_reserve(stacks, count, side);
	if (r < 0)
		return r;
	if (stacks->nodes_count == 0)
		stacks->nodes_count = 1; /* The root has no frame and no flags. */
	for (; stacks->nodes_count < count; stacks->nodes_count++)
		stacks->flags[stacks->nodes_count] = node_flags_of(
		        stacks, dict_get_node(stacks->dict, stacks->nodes_count));
	return 0;
}

/* Names all stacks of the rows, which for most of them was done before. */
static int named_stacks_name(struct named_stacks *stacks, struct naming *naming,
        struct naming_source *source, struct named_stacks_rows rows)
{
	struct noting_source noting = {
		.source = { .find = noting_source_find }, .from = source, .stacks = stacks
	};
	uint32_t count, named, made = 0;
	const uint32_t *known = naming_known(naming, &count);
	for (uint32_t i = 0; i < rows.count; i++) {
		uint32_t node = rows.rows[i].node;
		if (node < count && known[node] != ID_NONE)
			continue;
		int r = 0;
		if (++made % NAMING_ROWS_EACH == 0 && source && source->pause)
			r = source->pause(source);
		if (r == 0)
			r = naming_stack(naming, &noting.source, node, &named);
		if (r < 0)
			return r;
		known = naming_known(naming, &count);
	}
	return 0;
}

int named_stacks_add(struct named_stacks *stacks, struct naming_source *source, uint32_t side,
        struct named_stacks_rows rows)
{
	assert(side < ANSWER_SIDES_MAX);

	int r = named_stacks_start(stacks);
	if (r < 0)
		return r;
	struct naming *naming = named_stacks_naming(stacks, rows.generation, rows.dict);
	if (!naming)
		return -ENOMEM;
	r = named_stacks_name(stacks, naming, source, rows);
	if (r == 0)
		r = named_stacks_follow(stacks, side);
	if (r < 0)
		return r;

	uint32_t count;
	const uint32_t *known = naming_known(naming, &count);
	uint64_t *self = stacks->self[side], *total = stacks->total[side];
	for (uint32_t i = 0; i < rows.count; i++) {
		uint32_t node = known[rows.rows[i].node];
		self[node] += rows.rows[i].value;
		total[node] += rows.rows[i].value;
		stacks->blocks[node >> BLOCK_BITS] |= (uint8_t)(1 << side);
	}
	return 0;
}

void named_stacks_clear(struct named_stacks *stacks)
{
	for (uint32_t i = 0; i < stacks->nodes_capacity / BLOCK_NODES; i++) {
		if (!stacks->blocks[i])
			continue;
		stacks->blocks[i] = 0;
		for (int side = 0; side < ANSWER_SIDES_MAX; side++) {
			size_t first = (size_t)i * BLOCK_NODES;
			if (!stacks->self[side] || !stacks->total[side])
				continue;
			memset(stacks->self[side] + first, 0, BLOCK_NODES * sizeof(uint64_t));
			memset(stacks->total[side] + first, 0, BLOCK_NODES * sizeof(uint64_t));
		}
	}
	for (int side = 0; side < ANSWER_SIDES_MAX && stacks->names_capacity; side++) {
		memset(stacks->cums[side], 0, stacks->names_capacity * sizeof(uint64_t));
		memset(stacks->flats[side], 0, stacks->names_capacity * sizeof(struct name_flats));
	}
}

/*
 * One pass from the last node with a value to the first. `visit` sees a node with everything below
 * it added up, and the root at the end.
 */
typedef void (*node_visit)(struct named_stacks *stacks, void *owner, uint32_t node);

struct named_stacks_sides {
	uint32_t first, end;
};

static void named_stacks_pass(
        struct named_stacks *stacks, struct named_stacks_sides sides, node_visit visit, void *owner)
{
	const struct node *nodes = dict_get_nodes(stacks->dict);
	for (uint32_t block = stacks->nodes_capacity / BLOCK_NODES; block-- > 0;) {
		if (!stacks->blocks[block])
			continue;
		for (uint32_t i = BLOCK_NODES; i-- > 0;) {
			uint32_t node = block * BLOCK_NODES + i;
			if (node >= stacks->nodes_count)
				continue;
			uint32_t parent = node == DICT_NODE_ROOT ? 0 : nodes[node].parent;
			bool is_met = false;
			for (uint32_t side = sides.first; side < sides.end; side++) {
				uint64_t value = stacks->total[side][node];
				is_met |= value > 0;
				if (node != DICT_NODE_ROOT)
					stacks->total[side][parent] += value;
			}
			if (!is_met)
				continue;
			stacks->blocks[parent >> BLOCK_BITS] |= 1;
			visit(stacks, owner, node);
		}
	}
}

struct functions_visit {
	uint32_t side;
	enum join join;
	uint64_t root;
	uint64_t truncated, unknown;
};

/* What ends in a function. */
static void functions_visit_self(
        struct named_stacks *stacks, struct functions_visit *visit, uint32_t frame, uint64_t self)
{
	uint8_t flags = stacks->frame_flags[frame];
	struct name_flats *flats =
	        &stacks->flats[visit->side][stacks->frame_names[visit->join][frame]];
	if (flags & FRAME_IS_TRUNCATION)
		flats->flat_truncated += self;
	else if (flags & FRAME_IS_UNKNOWN)
		flats->flat_unknown += self;
	else
		flats->flat += self;
	visit->unknown += flags & FRAME_IS_UNKNOWN ? self : 0;
}

/* A truncation is the frame of a stack that says so, and there is one place for it: at the root. */
static void functions_visit_truncation(struct named_stacks *stacks, struct functions_visit *visit,
        struct node at, uint32_t node, uint64_t total)
{
	uint32_t name = stacks->frame_names[visit->join][at.frame];
	if (stacks->flags[node] & (NODE_OUTERMOST << visit->join))
		stacks->flats[visit->side][name].cum_truncated += total;
	if (at.parent == DICT_NODE_ROOT)
		visit->truncated += total;
}

/*
 * The pass over one side, which is what a question about functions waits for: as
 * named_stacks_pass(), but it leaves zeroes behind.
 */
static void functions_pass(struct named_stacks *stacks, struct functions_visit *visit)
{
	const struct node *nodes = dict_get_nodes(stacks->dict);
	const uint32_t *names = stacks->frame_names[visit->join];
	uint64_t *self = stacks->self[visit->side], *total = stacks->total[visit->side];
	uint64_t *cums = stacks->cums[visit->side];
	uint8_t bit = (uint8_t)(1 << visit->side);
	uint8_t outermost = (uint8_t)(NODE_OUTERMOST << visit->join);
	for (uint32_t block = stacks->nodes_capacity / BLOCK_NODES; block-- > 0;) {
		if (!(stacks->blocks[block] & bit))
			continue;
		uint32_t first = block * BLOCK_NODES;
		uint32_t end = first + BLOCK_NODES;
		end = end < stacks->nodes_count ? end : stacks->nodes_count;
		for (uint32_t node = end; node-- > (first ? first : 1);) {
			uint64_t value = total[node];
			if (value == 0)
				continue;
			struct node at = nodes[node];
			uint8_t flags = stacks->frame_flags[at.frame];
			total[node] = 0;
			total[at.parent] += value;
			stacks->blocks[at.parent >> BLOCK_BITS] |= bit;
			stacks->frame_flags[at.frame] = flags | FRAME_IS_MET;
			if (flags & FRAME_IS_TRUNCATION)
				functions_visit_truncation(stacks, visit, at, node, value);
			else if (stacks->flags[node] & outermost)
				cums[names[at.frame]] += value;
			if (self[node]) {
				functions_visit_self(stacks, visit, at.frame, self[node]);
				self[node] = 0;
			}
		}
		stacks->blocks[block] &= (uint8_t)~bit;
	}
	visit->root = self[DICT_NODE_ROOT];
	self[DICT_NODE_ROOT] = total[DICT_NODE_ROOT] = 0;
}

static int named_stacks_reserve_names(struct named_stacks *stacks, enum join join)
{
	uint32_t count = names_count(stacks->names[join]);
	uint32_t before = stacks->names_capacity;
	if (count <= before)
		return 0;
	uint32_t capacity = grown_capacity(before, count);
	int r = 0;
	for (int side = 0; side < ANSWER_SIDES_MAX && r == 0; side++) {
		r = grow_zeroed((void **)&stacks->cums[side], before, capacity, sizeof(uint64_t));
		if (r == 0)
			r = grow_zeroed((void **)&stacks->flats[side], before, capacity,
			        sizeof(struct name_flats));
	}
	if (r == 0)
		stacks->names_capacity = capacity;
	return r;
}

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

/*
 * Rows of one name. Frames without a name share it with functions that are really called
 * "[unknown]", and yet the reader must be able to tell them apart.
 */
static int put_name(const struct named_stacks *stacks, const struct names *names, uint32_t name,
        const struct named_stacks_target *target, uint32_t side)
{
	struct answer_side *to = &target->answer->sides[side];
	const struct name_flats *flats = &stacks->flats[side][name];
	uint64_t cum = stacks->cums[side][name];
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
		r = put_function(names, name, forms[i].kind, target->answer->dict, &node);
		if (r == 0)
			r = batch_add_row(to->batch, target->series, node, forms[i].flat);
		if (r == 0)
			r = batch_add_row(
			        to->parts[ANSWER_CUM], target->series, node, forms[i].cum);
	}
	return r;
}

static int put_parts(struct answer *answer, uint32_t parts)
{
	int r = 0;
	for (uint32_t side = 0; side < answer->sides_count; side++)
		for (int part = 0; part < ANSWER_PARTS && r == 0; part++)
			if ((parts & 1u << part) && !answer->sides[side].parts[part])
				r = answer_add_part(answer, side, (enum answer_part)part);
	return r;
}

/* One of ANSWER_FLAWS. */
static int put_flaw(const struct named_stacks_target *target, uint32_t side, enum frame_kind kind,
        uint64_t value)
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

/* A function with what it is ranked by. */
struct ranked {
	uint32_t name;
	double change; /* or 0, where values decide */
	unsigned __int128 value[2];
};

static uint64_t name_flat(const struct named_stacks *stacks, uint32_t side, uint32_t name)
{
	const struct name_flats *flats = &stacks->flats[side][name];
	return flats->flat + flats->flat_unknown + flats->flat_truncated;
}

static uint64_t name_cum(const struct named_stacks *stacks, uint32_t side, uint32_t name)
{
	return stacks->cums[side][name] + stacks->flats[side][name].cum_truncated;
}

/* Whatever is on a stack has a cum. */
static bool name_is_met(const struct named_stacks *stacks, uint32_t name)
{
	return name_cum(stacks, 0, name) || name_cum(stacks, 1, name);
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
	for (uint32_t name = 0; name < names_count(names); name++) {
		if (!name_is_met(stacks, name))
			continue;
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
	for (uint32_t name = 0; name < names_count(names); name++)
		met += name_is_met(stacks, name);
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

static int put_side(const struct named_stacks *stacks, const struct names *names,
        const bool *is_kept, const struct named_stacks_target *target, uint32_t side)
{
	struct answer_side *to = &target->answer->sides[side];
	uint64_t missing = 0, missing_value = 0;
	int r = 0;
	for (uint32_t name = 0; name < names_count(names) && r == 0; name++) {
		if (!name_is_met(stacks, name))
			continue;
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
	int r = named_stacks_start(stacks);
	if (r == 0)
		r = named_stacks_reserve_names(stacks, join);
	if (r == 0)
		r = put_parts(target.answer, 1u << ANSWER_CUM | 1u << ANSWER_FLAWS);
	for (uint32_t side = 0; side < target.answer->sides_count && r == 0; side++) {
		struct functions_visit visit = { .side = side, .join = join };
		if (!stacks->self[side])
			continue;
		functions_pass(stacks, &visit);
		r = batch_add_row(target.answer->sides[side].batch, target.series, DICT_NODE_ROOT,
		        visit.root);
		if (r == 0)
			r = put_flaw(&target, side, FRAME_TRUNCATED, visit.truncated);
		if (r == 0)
			r = put_flaw(&target, side, FRAME_NATIVE, visit.unknown);
	}

	autofree bool *is_kept = NULL;
	const struct names *names = stacks->names[join];
	if (r == 0)
		r = rank(stacks, names, ranking, &is_kept);
	if (r == 0 && is_kept)
		r = put_parts(target.answer,
		        1u << ANSWER_CUT | 1u << ANSWER_CUT_NODES | 1u << ANSWER_CUT_CHILDREN);
	for (uint32_t side = 0; side < target.answer->sides_count && r == 0; side++)
		r = put_side(stacks, names, is_kept, &target, side);
	named_stacks_clear(stacks);
	return r;
}

uint64_t named_stacks_rewritten(struct named_stacks *stacks)
{
	const uint8_t both = FRAME_IS_REWRITTEN | FRAME_IS_MET;
	uint64_t count = 0;
	for (uint32_t i = 0; i < stacks->frames_count; i++) {
		count += (stacks->frame_flags[i] & both) == both;
		stacks->frame_flags[i] &= (uint8_t)~FRAME_IS_MET;
	}
	return count;
}

/* The nodes that have a value, the last first. */
struct tree_visit {
	uint32_t *nodes;
	uint32_t count, capacity;
	bool failed;
};

static void tree_visit_node(struct named_stacks *stacks, void *owner, uint32_t node)
{
	(void)stacks;
	struct tree_visit *visit = owner;
	if (visit->count == visit->capacity) {
		uint32_t capacity = grown_capacity(visit->capacity, visit->count + 1);
		uint32_t *nodes = reallocarray(visit->nodes, capacity, sizeof(*nodes));
		if (!nodes) {
			visit->failed = true;
			return;
		}
		visit->nodes = nodes;
		visit->capacity = capacity;
	}
	visit->nodes[visit->count++] = node;
}

/* Of both sides; what passes 64 bits is great enough. */
static uint64_t node_value(const struct named_stacks *stacks, uint32_t sides, uint32_t node)
{
	uint64_t value = stacks->total[0] ? stacks->total[0][node] : 0;
	if (sides > 1 && stacks->total[1] &&
	        __builtin_add_overflow(value, stacks->total[1][node], &value))
		return UINT64_MAX;
	return value;
}

/* Values in order, sixteen buckets to each power of two. */
static uint32_t value_bucket(uint64_t value)
{
	if (value < 16)
		return (uint32_t)value;
	uint32_t bits = 63 - (uint32_t)__builtin_clzll(value);
	return (bits - 3) * 16 + (uint32_t)(value >> (bits - 4) & 15);
}

/* Which nodes stay: all of the buckets above `bucket`, and of this one the first `room`. */
struct tree_cut {
	uint32_t bucket;
	uint32_t room;
};

static struct tree_cut tree_cut_at(const struct named_stacks *stacks, uint32_t sides,
        const struct tree_visit *visit, uint32_t nodes_max)
{
	uint32_t counts[BUCKETS] = { 0 };
	for (uint32_t i = 0; i < visit->count; i++)
		counts[value_bucket(node_value(stacks, sides, visit->nodes[i]))]++;
	struct tree_cut cut = { .bucket = BUCKETS, .room = nodes_max };
	while (cut.bucket > 0 && counts[cut.bucket - 1] <= cut.room)
		cut.room -= counts[--cut.bucket];
	if (cut.bucket > 0)
		cut.bucket--;
	return cut;
}

/* What is missing below a node that stayed. */
struct tree_missing {
	uint64_t value;
	uint32_t children;
};

/* One tree on its way into an answer: the nodes that stay get a place there. */
struct tree_put {
	struct named_stacks *stacks;
	struct named_stacks_target target;
	uint32_t sides;
	struct dict_remap *remap;
	const struct node *nodes;
	uint8_t *frame_flags; /* by frame: what tree_put_note() looks for */
	uint32_t *kept_as;    /* by node: its number among those that stay plus one, or 0 */
	uint32_t *places;     /* by number: the node in the answer */
	uint32_t kept;
	struct tree_missing *missing[ANSWER_SIDES_MAX]; /* by number; NULL: nothing is cut */
	uint64_t missing_nodes[ANSWER_SIDES_MAX];
	/* Of all nodes: what a reader of the kept ones could not add up. */
	uint64_t truncated[ANSWER_SIDES_MAX], unknown[ANSWER_SIDES_MAX];
};

static void tree_put_fini(struct tree_put *put)
{
	dict_remap_free(put->remap);
	free(put->frame_flags);
	free(put->kept_as);
	free(put->places);
	for (uint32_t side = 0; side < ANSWER_SIDES_MAX; side++)
		free(put->missing[side]);
}

/* Frames in their order, since nodes refer to them in any: few of them are worth a look. */
static int tree_put_flags(struct tree_put *put)
{
	const struct dict *dict = put->stacks->dict;
	uint32_t count = dict_mark(dict).frames;
	put->frame_flags = malloc(count + UINT64_C(1));
	for (uint32_t i = 0; put->frame_flags && i < count; i++) {
		const struct frame *frame = dict_get_frame(dict, i);
		put->frame_flags[i] =
		        (uint8_t)((naming_is_unknown(frame) ? FRAME_IS_UNKNOWN : 0) |
		                  (frame->kind == FRAME_TRUNCATED ? FRAME_IS_TRUNCATION : 0));
	}
	return put->frame_flags ? 0 : -ENOMEM;
}

static int tree_put_init(struct tree_put *put, uint32_t kept_max, bool is_cut)
{
	put->nodes = dict_get_nodes(put->stacks->dict);
	put->remap = dict_remap_new(put->stacks->dict, put->target.answer->dict);
	put->kept_as = calloc(put->stacks->nodes_count + UINT64_C(1), sizeof(*put->kept_as));
	put->places = calloc(kept_max + UINT64_C(1), sizeof(*put->places));
	bool failed = !put->remap || !put->kept_as || !put->places;
	for (uint32_t side = 0; side < put->sides && is_cut; side++) {
		put->missing[side] = calloc(kept_max + UINT64_C(1), sizeof(*put->missing[side]));
		failed |= !put->missing[side];
	}
	return failed ? -ENOMEM : tree_put_flags(put);
}

static int tree_put_kept(struct tree_put *put, uint32_t node)
{
	uint32_t place = DICT_NODE_ROOT;
	int r = 0;
	if (node != DICT_NODE_ROOT) {
		struct node at = put->nodes[node];
		uint32_t frame;
		r = dict_remap_frame(put->remap, at.frame, &frame);
		if (r == 0)
			r = dict_node(put->target.answer->dict,
			        put->places[put->kept_as[at.parent] - 1], frame, &place);
	}
	for (uint32_t side = 0; side < put->sides && r == 0; side++)
		r = batch_add_row(put->target.answer->sides[side].batch, put->target.series, place,
		        put->stacks->self[side][node]);
	put->places[put->kept++] = place;
	put->kept_as[node] = put->kept;
	return r;
}

/* Said at the caller, if that has stayed; else it is in what is said of the caller's. */
static void tree_put_missing(struct tree_put *put, uint32_t node)
{
	uint32_t caller = put->kept_as[put->nodes[node].parent];
	for (uint32_t side = 0; side < put->sides; side++) {
		uint64_t total = put->stacks->total[side][node];
		if (total == 0)
			continue;
		put->missing_nodes[side]++;
		if (caller == 0)
			continue;
		put->missing[side][caller - 1].value += total;
		put->missing[side][caller - 1].children++;
	}
}

static void tree_put_note(struct tree_put *put, uint32_t node)
{
	if (node == DICT_NODE_ROOT)
		return;
	struct node at = put->nodes[node];
	uint8_t flags = put->frame_flags[at.frame];
	if (flags == 0)
		return;
	bool is_truncation = flags & FRAME_IS_TRUNCATION && at.parent == DICT_NODE_ROOT;
	for (uint32_t side = 0; side < put->sides; side++) {
		if (is_truncation)
			put->truncated[side] += put->stacks->total[side][node];
		if (flags & FRAME_IS_UNKNOWN)
			put->unknown[side] += put->stacks->self[side][node];
	}
}

static int tree_put_parts(struct tree_put *put, uint32_t side)
{
	struct answer_side *to = &put->target.answer->sides[side];
	uint32_t series = put->target.series;
	int r = put_parts(put->target.answer, (1u << ANSWER_PARTS) - 1 - (1u << ANSWER_CUM));
	for (uint32_t i = 0; i < put->kept && r == 0; i++) {
		const struct tree_missing *missing = &put->missing[side][i];
		r = batch_add_row(to->parts[ANSWER_CUT], series, put->places[i], missing->value);
		if (r == 0)
			r = batch_add_row(to->parts[ANSWER_CUT_CHILDREN], series, put->places[i],
			        missing->children);
	}
	if (r == 0)
		r = batch_add_row(to->parts[ANSWER_CUT_NODES], series, DICT_NODE_ROOT,
		        put->missing_nodes[side]);
	if (r == 0)
		r = put_flaw(&put->target, side, FRAME_TRUNCATED, put->truncated[side]);
	if (r == 0)
		r = put_flaw(&put->target, side, FRAME_NATIVE, put->unknown[side]);
	return r;
}

/* From the first node to the last, so that callers have their places before what they call. */
static int tree_put_nodes(struct tree_put *put, const struct tree_visit *visit, uint32_t nodes_max)
{
	bool is_cut = nodes_max > 0 && visit->count > nodes_max;
	int r = tree_put_init(put, is_cut ? nodes_max + 1 : visit->count, is_cut);
	struct tree_cut cut = { 0 };
	if (is_cut)
		cut = tree_cut_at(put->stacks, put->sides, visit, nodes_max);
	for (uint32_t i = visit->count; i-- > 0 && r == 0;) {
		uint32_t node = visit->nodes[i];
		bool stays = !is_cut || node == DICT_NODE_ROOT;
		tree_put_note(put, node);
		if (!stays) {
			uint32_t bucket = value_bucket(node_value(put->stacks, put->sides, node));
			stays = bucket > cut.bucket || (bucket == cut.bucket && cut.room > 0);
			cut.room -= stays && bucket == cut.bucket;
		}
		if (stays)
			r = tree_put_kept(put, node);
		else
			tree_put_missing(put, node);
	}
	for (uint32_t side = 0; side < put->sides && is_cut && r == 0; side++)
		r = tree_put_parts(put, side);
	return r;
}

int named_stacks_tree(
        struct named_stacks *stacks, struct named_stacks_target target, uint32_t nodes_max)
{
	struct tree_visit visit = { 0 };
	struct tree_put put = {
		.stacks = stacks, .target = target, .sides = target.answer->sides_count
	};
	if (!stacks->dict)
		return 0;
	struct named_stacks_sides sides = { 0, put.sides };
	for (uint32_t side = 0; side < put.sides; side++) {
		int r = named_stacks_reserve(stacks, stacks->nodes_count, side);
		if (r < 0)
			return r;
	}
	named_stacks_pass(stacks, sides, tree_visit_node, &visit);

	int r = visit.failed ? -ENOMEM : tree_put_nodes(&put, &visit, nodes_max);
	named_stacks_clear(stacks);
	tree_put_fini(&put);
	free(visit.nodes);
	return r;
}

struct value_visit {
	const bool *is_wanted; /* by frame */
	uint64_t all;
	uint64_t wanted;
};

static void value_visit_node(struct named_stacks *stacks, void *owner, uint32_t node)
{
	struct value_visit *visit = owner;
	uint64_t total = stacks->total[0][node];
	if (node == DICT_NODE_ROOT) {
		visit->all = total;
		return;
	}
	struct node at = dict_get_node(stacks->dict, node);
	if (!visit->is_wanted[at.frame])
		return;
	/* Once for each stack: by the one next to the root. */
	while (at.parent != DICT_NODE_ROOT) {
		at = dict_get_node(stacks->dict, at.parent);
		if (visit->is_wanted[at.frame])
			return;
	}
	visit->wanted += total;
}

int named_stacks_value_of(
        struct named_stacks *stacks, const char *function, struct named_stacks_value *ret_value)
{
	*ret_value = (struct named_stacks_value){ 0 };
	if (!stacks->dict || !stacks->self[0])
		return 0;
	autofree bool *is_wanted = calloc(stacks->frames_count + UINT64_C(1), sizeof(*is_wanted));
	if (!is_wanted)
		return -ENOMEM;
	const struct names *names = stacks->names[JOIN_READABLE];
	for (uint32_t i = 0; i < stacks->frames_count; i++)
		is_wanted[i] = strcmp(names_function(names, stacks->frame_names[JOIN_READABLE][i]),
		                       function) == 0;

	struct value_visit visit = { .is_wanted = is_wanted };
	struct named_stacks_sides only = { 0, 1 };
	named_stacks_pass(stacks, only, value_visit_node, &visit);
	named_stacks_clear(stacks);
	*ret_value = (struct named_stacks_value){ visit.all, visit.wanted };
	return 0;
}
