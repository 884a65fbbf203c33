/*
 * Two arrays:
 *
 *	hashes  [ h0 h1 h2 ... ]        the hash of each id, in order of insertion
 *	slots   [ . 2 . . 1 . 3 . ]     hash -> id + 1, linear probing; 0 is empty
 *
 * Slots are at most half full and double when they would be more.
 *
 * Hashes come from whoever sends us names, and anybody can compute them: enough of them that end in
 * the same bits would make one long run of the table. So both halves are multiplied with odd
 * numbers that each map draws for itself, and the slot is the top of the sum. Ids do not depend on
 * it.
 */

#include "core/id_map.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/fetch.h"
#include "core/rng.h"

#define ID_MAP_SLOTS_FIRST_BITS   6
#define ID_MAP_SLOTS_FIRST        (1u << ID_MAP_SLOTS_FIRST_BITS)
#define ID_MAP_SLOW_CAPACITY      (64u << 10)
#define ID_MAP_FETCH_FAR          24
#define ID_MAP_FETCH_NEAR         12
#define ID_MAP_SECRET_WITHOUT_RNG UINT64_C(0x9e3779b97f4a7c15)

struct id_map {
	struct hash128 *hashes;
	uint32_t *slots;
	uint32_t count;
	uint32_t capacity;
	uint64_t slots_mask;
	unsigned int slots_shift; /* 64 less the bits of slots_mask */
	uint64_t secrets[2];      /* odd, for the two halves of a hash */
	uint32_t limit;
};

struct id_map *id_map_new(uint32_t limit)
{
	assert(limit < UINT32_MAX);

	AUTO(id_map) map = calloc(1, sizeof(*map));
	if (!map)
		return NULL;
	map->limit = limit;
	map->slots_mask = ID_MAP_SLOTS_FIRST - 1;
	map->slots_shift = 64 - ID_MAP_SLOTS_FIRST_BITS;
	/* Without random bytes of the machine there is no secret; everything else still works. */
	map->secrets[0] = ID_MAP_SECRET_WITHOUT_RNG;
	(void)rng_os_bytes(map->secrets, sizeof(map->secrets));
	map->secrets[0] |= 1;
	map->secrets[1] |= 1;
	map->slots = calloc(ID_MAP_SLOTS_FIRST, sizeof(*map->slots));
	if (!map->slots)
		return NULL;
	return TAKE(map);
}

void id_map_free(struct id_map *map)
{
	if (!map)
		return;
	free(map->hashes);
	free(map->slots);
	free(map);
}

/* Where its run begins. */
static inline uint64_t id_map_place(const struct id_map *map, struct hash128 hash)
{
	uint64_t mixed = hash.low * map->secrets[0] + hash.high * map->secrets[1];
	return mixed >> map->slots_shift;
}

/* The slot that holds the hash, or the empty one where it belongs. */
static uint32_t *id_map_slot(const struct id_map *map, struct hash128 hash)
{
	for (uint64_t i = id_map_place(map, hash);; i++) {
		uint32_t *slot = &map->slots[i & map->slots_mask];
		if (*slot == 0 || hash128_equal(map->hashes[*slot - 1], hash))
			return slot;
	}
}

uint32_t id_map_find(const struct id_map *map, struct hash128 hash)
{
	return *id_map_slot(map, hash) - 1; /* 0 - 1 is ID_NONE */
}

void id_map_fetch(const struct id_map *map, struct hash128 hash)
{
	fetch(&map->slots[id_map_place(map, hash)]);
}

/* The slot of one that is further on, and the hash that the slot of a nearer one says. */
void id_map_find_all(
        const struct id_map *map, const struct hash128 *hashes, uint32_t count, uint32_t *ret_ids)
{
	for (uint32_t i = 0; i < count; i++) {
		if (i + ID_MAP_FETCH_FAR < count)
			id_map_fetch(map, hashes[i + ID_MAP_FETCH_FAR]);
		if (i + ID_MAP_FETCH_NEAR < count) {
			uint64_t place = id_map_place(map, hashes[i + ID_MAP_FETCH_NEAR]);
			uint32_t slot = map->slots[place];
			if (slot != 0)
				fetch(&map->hashes[slot - 1]);
		}
		ret_ids[i] = id_map_find(map, hashes[i]);
	}
}

static int id_map_grow_hashes(struct id_map *map)
{
	uint32_t capacity = map->capacity ? map->capacity * 2 : ID_MAP_SLOTS_FIRST / 2;
	if (map->capacity > UINT32_MAX / 2)
		return -ENOSPC;
	/* Large ones move by pages, and what they have too much counts. */
	if (map->capacity >= ID_MAP_SLOW_CAPACITY)
		capacity = map->capacity + map->capacity / 4;
	struct hash128 *hashes = realloc(map->hashes, capacity * sizeof(*hashes));
	if (!hashes)
		return -ENOMEM;
	map->hashes = hashes;
	map->capacity = capacity;
	return 0;
}

static int id_map_grow_slots(struct id_map *map)
{
	uint64_t slots_count = (map->slots_mask + 1) * 2;
	uint32_t *slots = calloc(slots_count, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(map->slots);
	map->slots = slots;
	map->slots_mask = slots_count - 1;
	map->slots_shift--;
	for (uint32_t id = 0; id < map->count; id++)
		*id_map_slot(map, map->hashes[id]) = id + 1;
	return 0;
}

int id_map_intern(struct id_map *map, struct hash128 hash, uint32_t *ret_id, bool *ret_added)
{
	uint32_t *slot = id_map_slot(map, hash);
	if (*slot != 0) {
		*ret_id = *slot - 1;
		*ret_added = false;
		return 0;
	}

	if (map->count >= map->limit)
		return -ENOSPC;
	int r = map->count == map->capacity ? id_map_grow_hashes(map) : 0;
	if (r == 0 && ((uint64_t)map->count + 1) * 2 > map->slots_mask + 1) {
		r = id_map_grow_slots(map);
		slot = id_map_slot(map, hash);
	}
	if (r < 0)
		return r;

	map->hashes[map->count] = hash;
	*slot = map->count + 1;
	*ret_id = map->count++;
	*ret_added = true;
	return 0;
}

struct hash128 id_map_hash(const struct id_map *map, uint32_t id)
{
	assert(id < map->count);
	return map->hashes[id];
}

const struct hash128 *id_map_hashes(const struct id_map *map)
{
	return map->hashes;
}

uint32_t id_map_count(const struct id_map *map)
{
	return map->count;
}

size_t id_map_memory(const struct id_map *map)
{
	return sizeof(*map) + map->capacity * sizeof(*map->hashes) +
	       (map->slots_mask + 1) * sizeof(*map->slots);
}

void id_map_reset(struct id_map *map)
{
	memset(map->slots, 0, (map->slots_mask + 1) * sizeof(*map->slots));
	map->count = 0;
}

/*
 * The newest entry was put into the first empty slot of its run, and everything inserted before
 * it already had its place: emptying the slots in reverse order of insertion leaves every run
 * as it was, unless the table grew in between, and then it was rebuilt in order of insertion too.
 */
void id_map_truncate(struct id_map *map, uint32_t count)
{
	assert(count <= map->count);
	while (map->count > count) {
		*id_map_slot(map, map->hashes[map->count - 1]) = 0;
		map->count--;
	}
}
