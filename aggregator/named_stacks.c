/*
 * The names: for each generation of the store's dictionary a naming of its stacks into one dict of
 * functions, and for each of its frames what that is called. named_stacks_private.h has the rest.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/named_stacks_private.h"
#include "core/auto.h"

/* Nodes of a trie of functions: more than a fleet has in years, and a bound all the same. */
static const struct dict_limits named_stacks_limits = {
	.strings = 1u << 28,
	.modules = 1u << 24,
	.frames = 1u << 28,
	.nodes = 1u << 30,
	.series = 1,
	.string_bytes = UINT64_C(1) << 36,
};

static void generation_names_fini(struct generation_names *names)
{
	naming_free(names->naming);
	free(names->places);
	*names = (struct generation_names){ 0 };
}

/* Symbols came: all of it is named anew. */
static void generation_names_forget(struct generation_names *names)
{
	naming_forget(names->naming);
	if (names->places_count > 0)
		memset(names->places, 0xff, names->places_count * sizeof(*names->places));
}

static void named_stacks_drop(struct named_stacks *stacks)
{
	for (uint32_t i = 0; i < GENERATIONS_MAX; i++)
		generation_names_fini(&stacks->generations[i]);
	for (int i = 0; i < JOINS; i++) {
		names_free(stacks->names[i]);
		stacks->names[i] = NULL;
	}
	named_stacks_drop_gathered(stacks);
	dict_free(stacks->dict);
	stacks->dict = NULL;
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
			memory += naming_memory(stacks->generations[i].naming) +
			          stacks->generations[i].places_count * sizeof(uint32_t);
	for (int i = 0; i < JOINS; i++)
		if (stacks->names[i])
			memory += names_memory(stacks->names[i]);
	return memory + named_stacks_gathered_memory(stacks);
}

void named_stacks_enter(struct named_stacks *stacks)
{
	(void)pthread_mutex_lock(&stacks->lock);
	stacks->answer_number++;
	(void)pthread_mutex_lock(&stacks->news_lock);
	bool has_news = stacks->has_news;
	stacks->has_news = false;
	stacks->state.renamed += has_news;
	(void)pthread_mutex_unlock(&stacks->news_lock);
	for (uint32_t i = 0; i < GENERATIONS_MAX && has_news; i++)
		if (stacks->generations[i].naming)
			generation_names_forget(&stacks->generations[i]);
}

void named_stacks_leave(struct named_stacks *stacks)
{
	named_stacks_lay_out(stacks);
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

int named_stacks_start(struct named_stacks *stacks)
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

struct generation_names *named_stacks_generation(
        struct named_stacks *stacks, uint32_t number, const struct dict *dict)
{
	struct generation_names *place = &stacks->generations[0];
	for (uint32_t i = 0; i < GENERATIONS_MAX; i++) {
		struct generation_names *at = &stacks->generations[i];
		if (at->naming && at->number == number && at->dict == dict) {
			at->used_at = ++stacks->uses;
			return at;
		}
		if (place->naming && (!at->naming || at->used_at < place->used_at))
			place = at;
	}
	struct naming *naming = naming_new(dict, stacks->dict, NAMING_FUNCTION);
	if (!naming)
		return NULL;
	generation_names_fini(place);
	*place = (struct generation_names){
		.naming = naming, .dict = dict, .number = number, .used_at = ++stacks->uses
	};
	return place;
}

int named_stacks_name(struct named_stacks *stacks, struct naming *naming,
        struct naming_source *source, struct named_stacks_rows rows)
{
	struct noting_source noting = {
		.source = { .find = noting_source_find }, .from = source, .stacks = stacks
	};
	uint32_t count, named, made = 0;
	const uint32_t *known = naming_known(naming, &count);
	for (uint32_t i = 0; i < rows.count; i++) {
		uint32_t node = named_stacks_rows_node(&rows, i);
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
