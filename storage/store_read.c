/*
 * What readers hold and look up: the gate, the dict, which series a selector means. Walking,
 * scanning and summing are in store_walk.c, store_scan.c, store_sum.c and store_sum_sealed.c.
 */

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
	return store->dict;
}

int store_find_series(struct store *store, const struct selector *selector, uint32_t **ret_series,
        uint32_t *ret_count)
{
	store_read_lock(store);
	int r = label_index_find(store->index, store->dict, selector, store->series_published,
	        ret_series, ret_count);
	store_read_unlock(store);
	return r;
}
