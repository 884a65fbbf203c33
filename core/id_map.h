#pragma once

/*
 * id_map finds the small id that stands for a 128-bit content hash.
 *
 * Ids count up from 0 in the order of insertion, so the caller keeps the things themselves in
 * plain arrays indexed by id. Nothing is removed alone; reset empties the whole.
 *
 * One thread owns a map. Memory: 24 bytes per entry plus 4 to 8 per slot.
 */

#include <stdint.h>

#include "core/auto.h"
#include "core/hash.h"

#define ID_NONE UINT32_MAX

struct id_map;

/* `limit` is the greatest number of entries (< UINT32_MAX). NULL when out of memory. */
struct id_map *id_map_new(uint32_t limit);
void id_map_free(struct id_map *map);
DEFINE_AUTO(id_map);

/* The id, or ID_NONE. */
uint32_t id_map_find(const struct id_map *map, struct hash128 hash);

/*
 * The ids of so many, or ID_NONE. Where each lies is anywhere in memory: all are under way at once,
 * so that many take a fraction of the time that one after the other takes.
 */
void id_map_find_all(
        const struct id_map *map, const struct hash128 *hashes, uint32_t count, uint32_t *ret_ids);

/* Will soon be looked for. */
void id_map_fetch(const struct id_map *map, struct hash128 hash);

/*
 * Finds or adds. 0 with the id; *ret_added says which.
 * -ENOSPC: the limit is reached and the hash is new. -ENOMEM.
 */
int id_map_intern(struct id_map *map, struct hash128 hash, uint32_t *ret_id, bool *ret_added);

/* The hash of an id < count. */
struct hash128 id_map_hash(const struct id_map *map, uint32_t id);
/* All of them by id, until the next one is added. */
const struct hash128 *id_map_hashes(const struct id_map *map);

uint32_t id_map_count(const struct id_map *map);
void id_map_reset(struct id_map *map);

/* How many bytes of memory it holds. */
size_t id_map_memory(const struct id_map *map);

/* Takes back the newest entries until `count` are left: an insertion that could not be completed.
 */
void id_map_truncate(struct id_map *map, uint32_t count);
