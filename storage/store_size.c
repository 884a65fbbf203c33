/*
 * How large the store is, on the disk and in memory, and what it counted of itself.
 */

#include "storage/store_private.h"

static void store_size_generation(const struct generation *generation, struct store_size *size)
{
	if (generation->dict) {
		size->bytes_memory += dict_memory(generation->dict) +
		                      label_index_memory(generation->index);
		size->generations_loaded++;
	}
	size->generations++;
	size->generations_compact += generation_is_compact(generation);
	struct dict_mark mark = dict_mark_of_generation(generation);
	size->dict.strings += mark.strings;
	size->dict.modules += mark.modules;
	size->dict.frames += mark.frames;
	size->dict.nodes += mark.nodes;
	size->nodes += mark.nodes;
	size->dict.series += mark.series;
}

void store_size_head_sums(const struct store *store, struct store_size *size)
{
	size->head_sums_memory = store->head_sums.memory;
	size->head_sums_rows = store->head_sums.rows;
	size->head_sums_built = store->head_sums.built;
	size->head_sums_dropped = store->head_sums.dropped;
	size->head_sums_refused = store->head_sums.refused;
	size->head_sums_used = store->head_sums.used;
}

int store_size(struct store *store, struct store_size *ret_size)
{
	struct store_size size = { 0 };
	gate_enter(&store->gate);
	size.bytes_disk = kv_disk_bytes(store->kv);
	size.bytes_memory = kv_memory_bytes(store->kv) + symbols_cache_memory(store->symbols) +
	                    store->streams_capacity * (sizeof(*store->streams) + 96);
	for (uint32_t i = 0; i < store->generations_count; i++)
		store_size_generation(store->generations[i], &size);
	size.streams = store->streams_count - store->streams_gone;
	size.windows = store->windows.count;
	size.rollups = (uint64_t)store->rollups[0].count + store->rollups[1].count;
	for (uint32_t i = 0; i < store->rollups[1].count; i++)
		size.collapsed += store->rollups[1].entries[i].is_collapsed;
	store_read_unlock(store);

	pthread_mutex_lock(&store->stats);
	size.first_ns = store->first_ns;
	size.last_ns = store->last_ns;
	pthread_mutex_unlock(&store->stats);
	size.windows_unsealable = store_unsealable_count(store);
	size.windows_unrollable = store_unrollable_count(store);
	size.names_memory = store->names_memory;
	size.names_loaded = store->names_loaded;
	size.names_put_away = store->names_put_away;
	size.windows_moved = store->moved;
	size.windows_unmovable = store->unmovable;
	store_size_head_sums(store, &size);
	size.corrupt = store->corrupt;
	size.unreadable = quarantine_count(store->quarantine);
	size.unreadable_overflow = quarantine_overflow(store->quarantine);
	*ret_size = size;
	return 0;
}
