#pragma once

/*
 * symbols_cache knows which build-ids have symbol tables, and keeps the last used ones open.
 *
 * Open tables are bounded by bytes, least recently used out first. A table that is put out while
 * somebody may still read it is set aside and freed by symbols_cache_sweep(), which the owner calls
 * when no reader is left. So the bound may be passed by what the readers of one moment have asked
 * for.
 *
 * Knowing costs about 100 bytes per build-id. Safe from any thread, except that a sweep needs to be
 * sure that nobody holds a table.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/symbols.h"

struct symbols_cache;

struct symbols_cache *symbols_cache_new(uint64_t bytes_max);
void symbols_cache_free(struct symbols_cache *cache);
DEFINE_AUTO(symbols_cache);

/* -1 nobody said, 0 known to have no table, 1 there is one. */
int symbols_cache_has(struct symbols_cache *cache, const char *build_id);

/* What a put or the disk says; an open table of before is set aside. -ENOMEM. */
int symbols_cache_set(struct symbols_cache *cache, const char *build_id, bool has_table);

/* Nobody says anything of it any more; an open table is set aside when there is memory. */
void symbols_cache_forget(struct symbols_cache *cache, const char *build_id);

/*
 * The open table, or NULL; then *ret_load says whether there is one to be loaded and handed to
 * symbols_cache_add(), which takes it and returns the one to use (another thread may have been
 * faster). NULL for `symbols`: it cannot be read, do not ask again.
 */
struct symbols *symbols_cache_find(
        struct symbols_cache *cache, const char *build_id, bool *ret_load);
struct symbols *symbols_cache_add(
        struct symbols_cache *cache, const char *build_id, struct symbols *symbols);

/* Is anything set aside? Frees it. */
bool symbols_cache_needs_sweep(struct symbols_cache *cache);
void symbols_cache_sweep(struct symbols_cache *cache);

uint64_t symbols_cache_memory(struct symbols_cache *cache);
