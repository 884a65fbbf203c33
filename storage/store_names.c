/*
 * Which dictionaries are in memory: the newest always, older ones from when somebody needs one
 * until the room is needed for another.
 *
 *	on the disk   deltas, and a record that says how many things they are
 *	in memory     the dict, and the index of its labels, which is made of it
 *
 * An old generation changes only by what a collapse or a move adds, which have it in memory. So
 * whoever needs it reads it by himself, without a lock but the gate, and whoever is first puts it
 * up for all. It is put away with the gate locked, when nobody has pinned it: a pointer into it is
 * good for the visit to the gate that got it, or as long as the generation is pinned.
 *
 * names_memory_max bounds what questions have in memory: a question gets room by putting away what
 * was not used for longest, or is refused. Upkeep (seals of what is old, rollups, the inventory)
 * goes through generations one after the other, and takes what it needs: its next turn, or the next
 * question, puts away what is too much.
 */

#include <errno.h>
#include <string.h>

#include "storage/dict_deltas.h"
#include "storage/store_private.h"

#define NAMES_STRETCH_BYTES (4u << 20) /* of deltas in one visit to the gate */

/* About what each thing takes, while arrays double. */
#define NAMES_STRING_BYTES 110
#define NAMES_MODULE_BYTES 110
#define NAMES_FRAME_BYTES  140
#define NAMES_NODE_BYTES   24
#define NAMES_SERIES_BYTES 320
#define NAMES_LEAST_BYTES  (16u << 10)

static uint64_t names_estimate(const struct dict_mark *mark)
{
	return NAMES_LEAST_BYTES + (uint64_t)mark->strings * NAMES_STRING_BYTES +
	       (uint64_t)mark->modules * NAMES_MODULE_BYTES +
	       (uint64_t)mark->frames * NAMES_FRAME_BYTES +
	       (uint64_t)mark->nodes * NAMES_NODE_BYTES +
	       (uint64_t)mark->series * NAMES_SERIES_BYTES;
}

/* ---- reading ---- */

struct names_reading {
	struct store *store;
	struct generation *generation;
	struct dict *dict;
	struct dict_packer *packer;
	uint64_t chunks_count;
	uint64_t chunks_wanted;
};

static int names_note_damage(struct names_reading *reading, int result)
{
	uint8_t key[KEYS_DICT_BYTES];
	keys_put_dict((struct key_dict){ reading->generation->id, reading->chunks_count }, key);
	store_note_unreadable(
	        reading->store, KV_DICT, (struct kv_bytes){ key, sizeof(key) }, result);
	return result;
}

/* In the gate. The next deltas, as many as one visit should read. */
static int names_read_some(struct names_reading *reading)
{
	struct dict_deltas deltas;
	uint64_t bytes = 0;
	uint64_t some = 0;
	int r = dict_deltas_init(&deltas, reading->store->kv,
	        (struct key_dict){ reading->generation->id, reading->chunks_count });
	while (r >= 0 && bytes < NAMES_STRETCH_BYTES &&
	        reading->chunks_count < reading->chunks_wanted) {
		r = dict_deltas_next(&deltas, reading->packer, reading->dict, &some);
		if (r == 0)
			r = -EBADMSG; /* it is missing */
		if (r < 0)
			break;
		reading->chunks_count++;
		bytes += some;
	}
	dict_deltas_fini(&deltas);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT)
		return names_note_damage(reading, r);
	return r < 0 ? r : 0;
}

static int names_read(struct names_reading *reading)
{
	struct generation *generation = reading->generation;
	int r = 0;
	while (r == 0 && reading->chunks_count < reading->chunks_wanted) {
		gate_enter(&reading->store->gate);
		r = names_read_some(reading);
		gate_leave(&reading->store->gate);
	}
	struct dict_mark mark = dict_mark(reading->dict);
	struct dict_mark kept = dict_mark_of_generation(generation);
	if (r == 0 && memcmp(&mark, &kept, sizeof(mark)) != 0)
		r = names_note_damage(reading, -EBADMSG);
	return r;
}

/* It is for all from now on, unless somebody was faster. */
static void names_publish(struct store *store, struct generation *generation, struct dict **dict,
        struct label_index **index)
{
	pthread_mutex_lock(&store->pinning);
	if (!generation->dict) {
		generation->memory = dict_memory(*dict) + label_index_memory(*index);
		store->names_memory += generation->memory;
		generation->index = *index;
		generation->dict = *dict; /* last: who sees it sees all */
		*index = NULL;
		*dict = NULL;
		store->names_loaded++;
	}
	pthread_mutex_unlock(&store->pinning);
}

int store_load_names(struct store *store, struct generation *generation)
{
	generation->used_at = ++store->names_uses;
	if (generation->dict)
		return 0;
	AUTO(dict) dict = dict_new(store->options.limits);
	AUTO(label_index) index = label_index_new();
	AUTO(dict_packer) packer = dict_packer_new();
	struct names_reading reading = {
		.store = store,
		.generation = generation,
		.dict = dict,
		.packer = packer,
		.chunks_wanted = generation->chunks_count,
	};
	if (!dict || !index || !packer)
		return -ENOMEM;
	int r = names_read(&reading);
	if (generation->dict)
		return 0; /* somebody was faster, and may have added to it since */
	r = r < 0 ? r : label_index_extend(index, dict);
	if (r == 0)
		names_publish(store, generation, &dict, &index);
	return r;
}

int store_use_generation(struct store *store, uint32_t id, struct generation **ret_generation)
{
	struct generation *generation = store_generation(store, id);
	int r = generation ? store_load_names(store, generation) : -ENOENT;
	if (r == 0)
		*ret_generation = generation;
	return r;
}

/* ---- putting away ---- */

/* The one that was not used for longest; NULL: all are needed. With the gate locked. */
static struct generation *names_find_unused(struct store *store)
{
	struct generation *found = NULL;
	for (uint32_t i = 0; i < store->generations_count; i++) {
		struct generation *generation = store->generations[i];
		if (generation == store->newest || !generation->dict || generation->pins > 0)
			continue;
		if (!found || generation->used_at < found->used_at)
			found = generation;
	}
	return found;
}

static bool names_put_away_one(struct store *store)
{
	struct dict *dict = NULL;
	struct label_index *index = NULL;
	struct dict_packer *packer = NULL;
	gate_lock(&store->gate);
	pthread_mutex_lock(&store->pinning);
	struct generation *generation = names_find_unused(store);
	if (generation) {
		dict = generation->dict;
		index = generation->index;
		packer = generation->packer;
		generation->dict = NULL;
		generation->index = NULL;
		generation->packer = NULL;
		store->names_memory -= generation->memory;
		generation->memory = 0;
		store->names_put_away++;
	}
	pthread_mutex_unlock(&store->pinning);
	gate_unlock(&store->gate);
	label_index_free(index);
	dict_packer_free(packer);
	dict_free(dict);
	return generation != NULL;
}

bool store_make_names_room(struct store *store, uint64_t bytes)
{
	uint64_t max = store->options.names_memory_max;
	if (max == 0)
		return true;
	/* Whoever is in the gate would wait for himself. */
	bool may_put_away = !gate_is_inside(&store->gate);
	while (store->names_memory + bytes > max)
		if (!may_put_away || !names_put_away_one(store))
			return false;
	return true;
}

int store_load_pinned(struct store *store, struct generation *generation)
{
	/* Of one that is in memory the dict may grow meanwhile, and is not looked at. */
	if (!generation->dict && generation != store->newest &&
	        !store_make_names_room(store, names_estimate(&generation->kept)))
		return -ENOBUFS;
	return store_load_names(store, generation);
}

void store_repin(struct store *store, struct generation **pinned, struct generation *generation)
{
	struct generation *before = *pinned;
	if (generation)
		store_pin_generation(store, generation);
	*pinned = generation;
	if (before)
		store_unpin_generation(store, before);
}
