/*
 * Whether a window is in a rollup that is seen, whether a rollup may go because it can be made
 * again from what it was made of, and what of it finer windows tell as well.
 */

#include "storage/store_expire_private.h"

#include <stdlib.h>
#include <string.h>

bool expire_is_rolled_up(struct store *store, struct key_window key)
{
	uint32_t level = key_window_level(key) + 1;
	struct window_span span;
	if (level >= WINDOW_LEVELS)
		return false;
	const struct window_list *list = store_windows(store, level);
	if (!window_list_span(list, key.from_ns, key.to_ns, &span))
		return false;
	for (uint32_t i = 0; i < span.count; i++) {
		const struct window_entry *entry = &list->entries[span.first + i];
		if (window_entry_has(entry, key) && !expiry_has_window(&store->expiry, entry->key))
			return true;
	}
	return false;
}

/* Does this run hide the window as a whole? */
static bool expire_run_has_window(const struct expiry_run *run, struct key_window window)
{
	struct expiry_item item = { .window = window, .unit = KEYS_UNIT_NONE };
	return run && run->items_count > 0 &&
	       bsearch(&item, run->items, run->items_count, sizeof(item), expire_compare_items);
}

/* Does this run hide the sums of the unit? No other does then. */
static bool expire_run_has_sums(
        const struct expiry_run *run, struct key_window window, uint32_t unit)
{
	struct expiry_item wanted = { .window = window, .unit = unit };
	const struct expiry_item *item = NULL;
	if (run && run->items_count > 0)
		item = bsearch(&wanted, run->items, run->items_count, sizeof(wanted),
		        expire_compare_items);
	return (item && item->parts & STORE_PART_SUMS) || expire_run_has_window(run, window);
}

/*
 * Is this unit of the rollup of what a unit of a source is of? Parting may have changed classes
 * meanwhile. A rollup that has moved to another dictionary calls services by other numbers: then it
 * may be.
 */
static bool expire_is_alike(const struct window *rollup, uint32_t number,
        const struct window *source, const struct window_unit *unit)
{
	const struct window_unit *of = &rollup->units[number];
	return rollup->dictionary != source->dictionary ||
	       (of->service == unit->service && of->type == unit->type &&
	               strcmp(rollup->tenants[of->tenant], source->tenants[unit->tenant]) == 0);
}

/* Has the rollup anything of what the unit is of? */
static bool expire_has_alike(
        const struct window *rollup, const struct window *source, const struct window_unit *unit)
{
	if (rollup->dictionary != source->dictionary)
		return true;
	for (uint32_t i = 0; i < rollup->units_count; i++)
		if (!rollup->units[i].is_gone && expire_is_alike(rollup, i, source, unit))
			return true;
	return false;
}

/* Are all units of a source there that the rollup may have something of? In the gate. */
static int expire_is_source_whole(struct store *store, struct sealed *sealed,
        struct key_window source, const struct window *rollup, const struct expiry_run *but,
        bool *ret_is_whole)
{
	const struct window_entry *entry = window_list_get(
	        store_windows(store, key_window_level(source)), source);
	*ret_is_whole = entry && (!expiry_has_window(&store->expiry, source) ||
	                                 expire_run_has_window(but, source));
	int r = *ret_is_whole ? sealed_open(sealed, entry) : 0;
	for (uint32_t i = 0; r == 0 && *ret_is_whole && i < sealed->window.units_count; i++) {
		const struct window_unit *unit = &sealed->window.units[i];
		bool is_hidden = expiry_parts(&store->expiry, source, i) & STORE_PART_SUMS &&
		                 !expire_run_has_sums(but, source, i);
		if (unit->is_gone ? !unit->is_void : is_hidden)
			*ret_is_whole = !expire_has_alike(rollup, &sealed->window, unit);
	}
	if (!sealed_is_corrupt(sealed, r))
		return r;
	*ret_is_whole = false;
	return 0;
}

static int expire_are_sources_whole(struct store *store, struct sealed of[2],
        const struct window_entry *rollup, const struct expiry_run *but, bool *ret_can)
{
	int r = sealed_open(&of[0], rollup);
	*ret_can = key_window_level(rollup->key) > 0;
	for (uint32_t i = 0; r == 0 && *ret_can && i < rollup->sources_count; i++)
		if (key_window_level(rollup->sources[i]) + 1 == key_window_level(rollup->key))
			r = expire_is_source_whole(
			        store, &of[1], rollup->sources[i], &of[0].window, but, ret_can);
	if (!sealed_is_corrupt(&of[0], r))
		return r;
	*ret_can = false;
	return 0;
}

int expire_can_make_again(struct store *store, const struct window_entry *rollup,
        const struct expiry_run *but, bool *ret_can)
{
	struct sealed of[2]; /* the rollup and a source of it */
	int r = sealed_init(&of[0], store);
	int initialized = sealed_init(&of[1], store);
	of[0].sees_hidden = true;
	of[1].sees_hidden = true;
	r = r < 0 ? r : initialized;
	r = r < 0 ? r : expire_are_sources_whole(store, of, rollup, but, ret_can);
	sealed_fini(&of[0]);
	sealed_fini(&of[1]);
	return r;
}

/* Marks the units that a source does not tell of, although it was made of them. In the gate. */
static int expire_mark_source(struct store *store, struct sealed *sealed, struct key_window source,
        const struct window *rollup, bool *marks)
{
	const struct window_entry *entry = window_list_get(
	        store_windows(store, key_window_level(source)), source);
	bool is_there = entry && !expiry_has_window(&store->expiry, source);
	int r = is_there ? sealed_open(sealed, entry) : 0;
	if (sealed_is_corrupt(sealed, r))
		is_there = false;
	else if (r < 0)
		return r;
	for (uint32_t i = 0; !is_there && i < rollup->units_count; i++)
		marks[i] = true;
	for (uint32_t i = 0; is_there && i < sealed->window.units_count; i++) {
		const struct window_unit *unit = &sealed->window.units[i];
		if (!unit->is_gone || unit->is_void)
			continue;
		for (uint32_t j = 0; j < rollup->units_count; j++)
			marks[j] |= expire_is_alike(rollup, j, &sealed->window, unit);
	}
	return 0;
}

int expire_mark_untold(struct store *store, struct sealed *sealed,
        const struct window_entry *rollup, const struct window *window, uint64_t from_ns,
        uint64_t to_ns, bool *marks)
{
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < rollup->sources_count; i++) {
		struct key_window source = rollup->sources[i];
		if (key_window_level(source) + 1 == key_window_level(rollup->key) &&
		        source.from_ns < to_ns && source.to_ns > from_ns)
			r = expire_mark_source(store, sealed, source, window, marks);
	}
	return r;
}
