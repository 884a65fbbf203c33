/*
 * Moving: the hours and days that are left of an old generation of the dictionary are written again
 * over a compact one that has only the strings, frames, stacks and series that they speak of. When
 * the last of them has moved nothing speaks of the old one, and store_collect() drops it.
 *
 *	generation 3          day 15  day 16 ... day 21      stacks of a week, by address
 *	      moves to
 *	generation 2^23 + 7   day 15  day 16 ... day 21      what seven days of sums use of them
 *
 * A generation is due when its windows of level 0 are gone; again when its hours are, and when all
 * of its days are collapsed; and when of what moved half is gone. What moved once is moved again
 * into the next number, and at most two of one origin are there at a time.
 *
 * One window in each turn, as one made anew from itself (store_roll.c): a kill leaves it moved or
 * not moved, and what the dictionary got for it is found and used by the next attempt. An hour
 * keeps its day: the day's record names its sources, and is written with the hour.
 *
 * A question that has looked up its series in the old generation would not know the window in the
 * new one. So windows do not move while anybody holds the old one; the next turn tries again.
 *
 * Memory: the compact dictionary, and a number for each stack, frame and string of the old one.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/store_roll_private.h"

#define MOVE_GATE_STEPS  1024        /* ids in one visit to the gate */
#define MOVE_WRITE_STEPS (64u << 10) /* for one write */

struct roll_move {
	struct roll *roll;
	struct generation *from; /* pinned */
	struct generation *to;   /* pinned */
	struct dict_remap *remap;
	const uint32_t *nodes; /* of the remap, while sums are added up */
	uint32_t nodes_count;
};

void roll_move_free(struct roll_move *move)
{
	if (!move)
		return;
	dict_remap_free(move->remap);
	store_unpin_generation(move->roll->store, move->from);
	store_unpin_generation(move->roll->store, move->to);
	free(move);
}

/* ---- what is due ---- */

/* What is left of a generation. */
struct move_left {
	uint32_t windows[WINDOW_LEVELS];
	uint32_t collapsed;
	uint64_t rows;
};

static int move_compare_generations(const void *id, const void *generation)
{
	uint32_t x = *(const uint32_t *)id;
	uint32_t y = (*(struct generation *const *)generation)->id;
	return x < y ? -1 : x > y;
}

/* By place of the list of generations. In the gate. */
static void move_count_left(struct store *store, struct move_left *left)
{
	for (uint32_t level = 0; level < WINDOW_LEVELS; level++) {
		const struct window_list *list = store_windows(store, level);
		for (uint32_t i = 0; i < list->count; i++) {
			const struct window_entry *entry = &list->entries[i];
			struct generation *const *of = bsearch(&entry->dictionary,
			        store->generations, store->generations_count,
			        sizeof(struct generation *), move_compare_generations);
			if (!of)
				continue;
			struct move_left *to = &left[of - store->generations];
			to->windows[level]++;
			to->collapsed += entry->is_collapsed;
			if (__builtin_add_overflow(to->rows, entry->rows, &to->rows))
				to->rows = UINT64_MAX;
		}
	}
}

static enum generation_stage move_stage(const struct move_left *left)
{
	if (left->windows[0] > 0 || left->windows[1] + left->windows[2] == 0)
		return GENERATION_AS_APPENDED;
	if (left->windows[1] > 0)
		return GENERATION_HOURS;
	return left->collapsed == left->windows[2] ? GENERATION_DAYS_COLLAPSED : GENERATION_DAYS;
}

/* The place of another one of the same origin, or ID_NONE. In the gate. */
static uint32_t move_find_other(const struct store *store, uint32_t place)
{
	uint32_t root = generation_root(store->generations[place]);
	for (uint32_t i = store->generations_count; i > 0; i--)
		if (i - 1 != place && generation_root(store->generations[i - 1]) == root)
			return i - 1;
	return ID_NONE;
}

/* Is there less of it than its dictionary was made for? */
static bool move_is_due(
        struct store *store, uint32_t place, const struct move_left *left, uint32_t other)
{
	const struct generation *generation = store->generations[place];
	enum generation_stage stage = move_stage(left);
	if (generation == store->newest || stage == GENERATION_AS_APPENDED)
		return false;
	/* What windows move to at this moment is not complete. */
	if (other != ID_NONE && store->generations[other]->id < generation->id)
		return false;
	if (other != ID_NONE || stage > generation->stage)
		return true;
	return generation_is_compact(generation) && left->rows < generation->rows / 2;
}

static bool move_is_movable(struct store *store, const struct window_entry *entry)
{
	return !entry->is_corrupt && !roll_is_skipped(store, entry->key) &&
	       !expiry_touches(&store->expiry, entry->key);
}

/* Any window of the generation: days first, so that an hour is written with a day that stays. */
static const struct window_entry *move_find_window(struct store *store, uint32_t generation)
{
	for (uint32_t level = WINDOW_LEVELS - 1; level > 0; level--) {
		const struct window_list *list = store_windows(store, level);
		for (uint32_t i = 0; i < list->count; i++)
			if (list->entries[i].dictionary == generation &&
			        move_is_movable(store, &list->entries[i]))
				return &list->entries[i];
	}
	return NULL;
}

static bool move_choose_of(struct store *store, uint32_t place, const struct move_left *left,
        struct roll_choice *choice)
{
	uint32_t other = move_find_other(store, place);
	if (!move_is_due(store, place, left, other))
		return false;
	const struct generation *generation = store->generations[place];
	const struct window_entry *entry = move_find_window(store, generation->id);
	if (!entry)
		return false;
	struct key_window key = entry->key;
	uint32_t level = key_window_level(key);
	struct key_window free_key = {
		key.from_ns,
		key.to_ns,
		store_next_generation(store, level, key.from_ns, key.to_ns),
	};
	*choice = (struct roll_choice){
		.level = level,
		.from_ns = key.from_ns,
		.to_ns = key.to_ns,
		.dictionary = generation->id,
		.generation = expiry_free_number(&store->expiry, free_key),
		.replaced = 1,
		.is_collapsed = entry->is_collapsed,
		.is_moved = true,
		.target = other == ID_NONE ? ID_NONE : store->generations[other]->id,
		.stage = move_stage(left),
	};
	buf_put(&choice->keys, &key, sizeof(key));
	return true;
}

int roll_choose_moved(struct store *store, struct roll_choice *choice, bool *ret_is_found)
{
	autofree struct move_left *left = calloc(store->generations_count, sizeof(*left));
	if (!left)
		return -ENOMEM;
	*ret_is_found = false;
	move_count_left(store, left);
	for (uint32_t i = 0; i < store->generations_count && !*ret_is_found; i++)
		*ret_is_found = move_choose_of(store, i, &left[i], choice);
	return choice->keys.failed ? -ENOMEM : 0;
}

/* ---- beginning ---- */

static bool move_is_pinned(struct store *store, const struct generation *generation, uint32_t ours)
{
	pthread_mutex_lock(&store->pinning);
	bool is_pinned = generation->pins > ours;
	pthread_mutex_unlock(&store->pinning);
	return is_pinned;
}

int roll_move_new(struct roll *roll, const struct roll_choice *choice, struct roll_move **ret_move)
{
	struct store *store = roll->store;
	struct generation *from = store_generation(store, choice->dictionary);
	struct generation *to = choice->target == ID_NONE ? NULL
	                                                  : store_generation(store, choice->target);
	if (!from || (!to && choice->target != ID_NONE))
		return -EAGAIN; /* opening again found them dropped */
	if (move_is_pinned(store, from, 0)) {
		store->unmovable++;
		return -EBUSY;
	}
	int r = to ? 0 : store_begin_compact(store, from, choice->stage, &to);
	if (r < 0)
		return r;
	struct roll_move *move = calloc(1, sizeof(*move));
	if (!move)
		return -ENOMEM;
	*move = (struct roll_move){ .roll = roll, .from = from, .to = to };
	store_pin_generation(store, from);
	store_pin_generation(store, to);
	gate_enter(&store->gate);
	r = store_load_names(store, from);
	r = r < 0 ? r : store_load_names(store, to);
	gate_leave(&store->gate);
	if (r == 0)
		move->remap = dict_remap_new(from->dict, to->dict);
	if (r < 0 || !move->remap) {
		roll_move_free(move);
		/* Damaged: what was chosen is left as it is. */
		return r == -EBADMSG || r == -EPROTONOSUPPORT ? -EOVERFLOW : -ENOMEM;
	}
	*ret_move = move;
	return 0;
}

uint32_t roll_move_dictionary(const struct roll_move *move)
{
	return move->to->id;
}

/* ---- carrying over ---- */

typedef int (*move_carry_one)(struct dict_remap *remap, uint32_t id, uint32_t *ret_id);

/* Under writer. The ids [*at, end) become those of the compact one; on failure none is added. */
static int move_add(
        struct roll_move *move, move_carry_one carry, uint32_t *ids, size_t end, size_t *at)
{
	struct store *store = move->roll->store;
	int r = 0;
	while (*at < end && r == 0) {
		gate_lock(&store->gate);
		for (int i = 0; i < MOVE_GATE_STEPS && *at < end && r == 0; i++, ++*at)
			r = carry(move->remap, ids[*at], &ids[*at]);
		if (r < 0)
			dict_truncate(move->to->dict, move->to->kept);
		gate_unlock(&store->gate);
	}
	if (r == -EINVAL)
		return -EBADMSG;          /* a window that speaks of what there is not */
	return r == -ENOSPC ? -E2BIG : r; /* the dict, not the disk */
}

/* Under writer. One write, if anything is new. */
static int move_carry_some(
        struct roll_move *move, move_carry_one carry, uint32_t *ids, size_t count, size_t *at)
{
	struct store *store = move->roll->store;
	size_t end = count - *at > MOVE_WRITE_STEPS ? *at + MOVE_WRITE_STEPS : count;
	/* What was added before may not be there after opening again. */
	if (store->is_broken || store->reopens != move->roll->reopens)
		return -EAGAIN;
	int r = move_add(move, carry, ids, end, at);
	r = r < 0 ? r : store_keep_additions(store, move->to, "moving windows");
	return r < 0 ? r : store_publish_series(store, move->to);
}

static int move_carry(struct roll_move *move, move_carry_one carry, uint32_t *ids, size_t count)
{
	struct store *store = move->roll->store;
	int r = 0;
	for (size_t at = 0; at < count && r == 0;) {
		pthread_mutex_lock(&store->writer);
		r = move_carry_some(move, carry, ids, count, &at);
		pthread_mutex_unlock(&store->writer);
	}
	return r < 0 ? roll_blame(move->roll, &move->roll->inputs[0], r) : 0;
}

int roll_move_series(struct roll_move *move, uint32_t *ids, size_t count)
{
	return move_carry(move, dict_remap_series, ids, count);
}

int roll_move_strings(struct roll_move *move, uint32_t *ids, size_t count)
{
	return move_carry(move, dict_remap_string, ids, count);
}

static int move_compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* Every string that the groups speak of, once: instances are in many groups. */
static int move_list_strings(
        const struct sum_block *block, struct sum_memory *memory, struct buf *strings)
{
	const struct sum_group *groups;
	int r = sum_block_get_groups(block, memory, &groups);
	for (uint32_t i = 0; i < block->groups_count && r == 0; i++) {
		const struct sum_group *group = &groups[i];
		buf_put(strings, &group->key.version, sizeof(group->key.version));
		buf_put(strings, &group->key.region, sizeof(group->key.region));
		if (group->instances_count)
			buf_put(strings, group->instances,
			        group->instances_count * sizeof(*group->instances));
	}
	if (r < 0 || strings->failed)
		return r < 0 ? r : -ENOMEM;
	uint32_t *ids = ARRAY(uint32_t, *strings);
	size_t count = ARRAY_COUNT(uint32_t, *strings);
	size_t kept = 0;
	if (count > 1)
		qsort(ids, count, sizeof(*ids), move_compare_ids);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || ids[i] != ids[kept - 1])
			ids[kept++] = ids[i];
	strings->count = kept * sizeof(*ids);
	return 0;
}

int roll_move_sums(struct roll_move *move, const struct sum_block *block)
{
	AUTO(sum_memory) memory = sum_memory_new();
	AUTO_BUF strings = { 0 };
	uint32_t count = block->dictionary_count;
	autofree uint32_t *nodes = malloc(((size_t)count + 1) * sizeof(*nodes));
	if (!memory || !nodes)
		return -ENOMEM;
	int r = sum_block_get_dictionary(block, memory, nodes);
	r = r < 0 ? r : move_list_strings(block, memory, &strings);
	r = r < 0 ? r : move_carry(move, dict_remap_node, nodes, count);
	r = r < 0 ? r
	          : roll_move_strings(
	                    move, ARRAY(uint32_t, strings), ARRAY_COUNT(uint32_t, strings));
	if (r < 0)
		return r;
	move->nodes = dict_remap_known_nodes(move->remap, &move->nodes_count);
	uint32_t nodes_count = dict_mark(move->to->dict).nodes;
	if (move->roll->nodes_count < nodes_count)
		move->roll->nodes_count = nodes_count;
	return 0;
}

/* ---- for sum_merge(): all of it was carried over ---- */

uint32_t roll_move_node(void *owner, uint32_t node)
{
	const struct roll_move *move = owner;
	if (node == DICT_NODE_ROOT)
		return node;
	assert(node < move->nodes_count && move->nodes[node] != ID_NONE);
	return move->nodes[node];
}

uint32_t roll_move_string(void *owner, uint32_t string)
{
	struct roll_move *move = owner;
	uint32_t to = 0;
	int r = dict_remap_string(move->remap, string, &to);
	assert(r == 0);
	return to;
}

struct sum_group_key roll_move_group(void *owner, struct sum_group_key key)
{
	key.version = roll_move_string(owner, key.version);
	key.region = roll_move_string(owner, key.region);
	return key;
}

/* ---- the commit ---- */

/* Is the day with this key made of the hour? */
static bool move_is_owner(const struct window_entry *entry, struct key_window hour)
{
	return !entry->is_corrupt && window_entry_has(entry, hour);
}

static void move_rename(
        struct key_window *sources, uint32_t count, struct key_window from, struct key_window to)
{
	for (uint32_t i = 0; i < count; i++)
		if (key_window_compare(sources[i], from) == 0)
			sources[i] = to;
	/* Only the number is another: its place is not far. */
	for (uint32_t i = 1; i < count; i++)
		for (uint32_t j = i; j > 0 && key_window_compare(sources[j - 1], sources[j]) > 0;
		        j--) {
			struct key_window kept = sources[j];
			sources[j] = sources[j - 1];
			sources[j - 1] = kept;
		}
}

/* The record of a day, which names the hour by its new number. */
static int move_put_owner(
        struct roll *roll, const struct window_entry *entry, struct kv_batch *write)
{
	struct store *store = roll->store;
	uint8_t key_bytes[KEYS_WINDOW_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	AUTO_WINDOW window = { 0 };
	AUTO_BUF value = { 0 };
	keys_put_window(entry->key, key_bytes);
	int r = kv_get(store->kv, KV_WINDOW, key, &value);
	r = r < 0 ? r : window_get(key, store_bytes(&value), entry->key, &window);
	if (r == -ENOENT || r == -EBADMSG || r == -EPROTONOSUPPORT)
		return -E2BIG; /* without the day's record the hour stays where it is */
	if (r < 0)
		return r;
	move_rename(window.sources, window.sources_count, roll->inputs[0].key, roll->key);
	buf_reset(&value);
	window_put(&window, entry->key, key, &value);
	if (value.failed)
		return -ENOMEM;
	kv_put(store->kv, write, KV_WINDOW, key, store_bytes(&value));
	return 0;
}

/* Days that an hour at this place may be in: (*ret_first, end). */
static uint32_t move_first_owner(const struct window_list *list, struct key_window hour)
{
	uint64_t earliest = hour.from_ns > list->longest_ns ? hour.from_ns - list->longest_ns : 0;
	return window_list_behind(list, earliest);
}

int roll_move_put(struct roll_move *move, const struct window *window, struct kv_batch *write)
{
	struct roll *roll = move->roll;
	struct store *store = roll->store;
	struct key_window hour = roll->inputs[0].key;
	int r = 0;
	for (uint32_t level = key_window_level(hour) + 1; level < WINDOW_LEVELS; level++) {
		const struct window_list *list = store_windows(store, level);
		for (uint32_t i = move_first_owner(list, hour);
		        r == 0 && i < list->count && list->entries[i].key.from_ns <= hour.from_ns;
		        i++)
			if (move_is_owner(&list->entries[i], hour))
				r = move_put_owner(roll, &list->entries[i], write);
	}
	uint64_t before = move->to->rows;
	if (__builtin_add_overflow(before, window_rows(window), &move->to->rows))
		move->to->rows = UINT64_MAX;
	r = r < 0 ? r : store_put_generation(store, write, move->to);
	if (r < 0)
		move->to->rows = before;
	return r;
}

bool roll_move_may_commit(struct roll_move *move)
{
	struct store *store = move->roll->store;
	/* The roll pins it as well. */
	if (!move_is_pinned(store, move->from, 2))
		return true;
	store->unmovable++;
	return false;
}

void roll_move_done(struct roll_move *move)
{
	struct roll *roll = move->roll;
	struct key_window hour = roll->inputs[0].key;
	for (uint32_t level = key_window_level(hour) + 1; level < WINDOW_LEVELS; level++) {
		struct window_list *list = store_windows(roll->store, level);
		for (uint32_t i = move_first_owner(list, hour);
		        i < list->count && list->entries[i].key.from_ns <= hour.from_ns; i++)
			if (move_is_owner(&list->entries[i], hour))
				move_rename(list->entries[i].sources,
				        list->entries[i].sources_count, hour, roll->key);
	}
	roll->store->moved++;
}
