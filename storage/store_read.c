/*
 * What readers hold and look up: the gate, the dict, which series a selector means. Walking,
 * scanning and summing are in store_walk.c, store_scan.c and store_sum*.c.
 */

#include <errno.h>

#include "storage/store_private.h"

void store_read_lock(struct store *store)
{
	gate_enter(&store->gate);
}

void store_read_unlock(struct store *store)
{
	if (!gate_leave(&store->gate) || !symbols_cache_needs_sweep(store->symbols))
		return;
	/* Borrowed tables are given back; when others are still reading, the next one sweeps. */
	if (gate_try_lock(&store->gate)) {
		symbols_cache_sweep(store->symbols);
		gate_unlock(&store->gate);
	}
}

void store_read_error(struct store *store, char *ret_text, size_t text_bytes)
{
	kv_error(store->kv, ret_text, text_bytes);
}

struct dict *store_dict(struct store *store)
{
	return store->newest->dict;
}

void store_match_free(struct store_match *match)
{
	if (!match)
		return;
	for (uint32_t i = 0; i < match->parts_count; i++) {
		store_unpin_generation(match->store, match->parts[i].pinned);
		free((uint32_t *)match->parts[i].series);
	}
	free(match->parts);
	free(match);
}

const struct store_match_part *store_match_find(
        const struct store_match *match, const struct dict *dict)
{
	for (uint32_t i = 0; i < match->parts_count; i++)
		if (match->parts[i].dict == dict)
			return &match->parts[i];
	return NULL;
}

/* May anything in the range be of this generation? In the gate. */
static bool store_is_touched(
        struct store *store, const struct generation *generation, uint64_t from_ns, uint64_t to_ns)
{
	pthread_mutex_lock(&store->stats);
	struct open_range open = generation->open;
	pthread_mutex_unlock(&store->stats);
	if (open.first_ns < to_ns && open.last_ns >= from_ns)
		return true;
	for (uint32_t level = 0; level < WINDOW_LEVELS; level++) {
		const struct window_list *list = store_windows(store, level);
		for (uint32_t i = 0; i < list->count; i++) {
			const struct window_entry *entry = &list->entries[i];
			if (entry->dictionary == generation->id && entry->key.from_ns < to_ns &&
			        entry->key.to_ns > from_ns)
				return true;
		}
	}
	return false;
}

/* In the gate: the generations that the range is in stay from now on. */
static void store_match_pin(struct store_match *match, uint64_t from_ns, uint64_t to_ns)
{
	struct store *store = match->store;
	for (uint32_t i = 0; i < store->generations_count; i++) {
		struct generation *generation = store->generations[i];
		if (!store_is_touched(store, generation, from_ns, to_ns))
			continue;
		store_pin_generation(store, generation);
		match->parts[match->parts_count++] = (struct store_match_part){
			.generation = generation->id,
			.pinned = generation,
		};
	}
}

/* In the gate. */
static int store_match_find_part(
        struct store_match *match, struct store_match_part *part, const struct selector *selector)
{
	struct generation *generation = part->pinned;
	uint32_t *series;
	part->dict = generation->dict;
	part->first = match->series_count;
	int r = label_index_find(generation->index, generation->dict, selector,
	        generation->series_published, &series, &part->series_count);
	if (r < 0)
		return r;
	part->series = series;
	if (__builtin_add_overflow(match->series_count, part->series_count, &match->series_count))
		return -E2BIG;
	return 0;
}

int store_find_series(struct store *store, const struct selector *selector, uint64_t from_ns,
        uint64_t to_ns, struct store_match **ret_match)
{
	AUTO(store_match) match = calloc(1, sizeof(*match));
	if (!match)
		return -ENOMEM;
	match->store = store;
	store_read_lock(store);
	match->parts = calloc(store->generations_count, sizeof(*match->parts));
	int r = match->parts ? 0 : -ENOMEM;
	if (r == 0)
		store_match_pin(match, from_ns, to_ns);
	store_read_unlock(store);
	/* Before the gate is entered for good, so that appends do not wait for the reading. */
	for (uint32_t i = 0; i < match->parts_count && r == 0; i++)
		r = store_load_pinned(store, match->parts[i].pinned);
	store_read_lock(store);
	for (uint32_t i = 0; i < match->parts_count && r == 0; i++)
		r = store_match_find_part(match, &match->parts[i], selector);
	store_read_unlock(store);
	if (r == 0)
		*ret_match = TAKE(match);
	return r;
}
