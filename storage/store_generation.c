/*
 * Generations of the dictionary: finding, loading, beginning and holding them.
 *
 *	meta   generation 0 closed | generation 1 closed | generation 2 grows
 *	dict   (0, 0) (0, 1) ...   | (1, 0) (1, 1) ...   | (2, 0) ...
 *
 * A generation begins with one synced write that also closes the one before it, so at every moment
 * exactly one grows. A folder without any record of one has generation 0 alone, as all folders did
 * before there were others; its record is written with the first that follows, or by
 * store_collect(), so that its age is known after a restart.
 *
 * A reader that keeps ids beyond one visit to the gate pins their generation: a dropped one leaves
 * the list at once, and memory with its last pin.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "storage/dict_deltas.h"
#include "storage/store_private.h"

static const struct open_range open_range_none = { .first_ns = UINT64_MAX };
static const struct open_range open_range_all = { .last_ns = UINT64_MAX };

static void generation_free(struct generation *generation)
{
	if (!generation)
		return;
	label_index_free(generation->index);
	dict_packer_free(generation->packer);
	dict_free(generation->dict);
	free(generation);
}

static int store_reserve_generation(struct store *store)
{
	if (store->generations_count < store->generations_capacity)
		return 0;
	uint32_t capacity = store->generations_count ? store->generations_count * 2 : 4;
	struct generation **generations = realloc(
	        store->generations, capacity * sizeof(struct generation *));
	if (!generations)
		return -ENOMEM;
	store->generations = generations;
	store->generations_capacity = capacity;
	return 0;
}

/* The last one that is not compact: their numbers are behind all others. */
static void store_find_newest(struct store *store)
{
	store->newest = NULL;
	for (uint32_t i = store->generations_count; i > 0 && !store->newest; i--)
		if (!generation_is_compact(store->generations[i - 1]))
			store->newest = store->generations[i - 1];
}

/* Into the list, which is in order of the numbers. With the gate locked. */
static void store_insert_generation(struct store *store, struct generation *generation)
{
	uint32_t at = store->generations_count++;
	for (; at > 0 && store->generations[at - 1]->id > generation->id; at--)
		store->generations[at] = store->generations[at - 1];
	store->generations[at] = generation;
	store_find_newest(store);
}

/* Empty, or without its names, into the list. With the gate locked. */
static int store_add_generation(struct store *store, uint32_t id, uint64_t began_ns, bool has_names,
        struct generation **ret_generation)
{
	int r = store_reserve_generation(store);
	if (r < 0)
		return r;
	struct generation *generation = calloc(1, sizeof(*generation));
	if (!generation)
		return -ENOMEM;
	generation->id = id;
	generation->began_ns = began_ns;
	if (has_names) {
		generation->index = label_index_new();
		generation->dict = dict_new(store->options.limits);
	}
	if (has_names && (!generation->dict || !generation->index)) {
		generation_free(generation);
		return -ENOMEM;
	}
	if (has_names)
		generation->kept = dict_mark(generation->dict);
	store_insert_generation(store, generation);
	*ret_generation = generation;
	return 0;
}

struct generation *store_generation(const struct store *store, uint32_t id)
{
	uint32_t first = 0;
	uint32_t end = store->generations_count;
	while (first < end) {
		uint32_t middle = first + (end - first) / 2;
		if (store->generations[middle]->id < id)
			first = middle + 1;
		else
			end = middle;
	}
	if (first == store->generations_count || store->generations[first]->id != id)
		return NULL;
	return store->generations[first];
}

void store_pin_generation(struct store *store, struct generation *generation)
{
	pthread_mutex_lock(&store->pinning);
	generation->pins++;
	pthread_mutex_unlock(&store->pinning);
}

void store_unpin_generation(struct store *store, struct generation *generation)
{
	pthread_mutex_lock(&store->pinning);
	bool is_last = --generation->pins == 0 && generation->is_dropped;
	pthread_mutex_unlock(&store->pinning);
	if (is_last)
		generation_free(generation);
}

void store_remove_generation(struct store *store, struct generation *generation)
{
	uint32_t at = 0;
	while (store->generations[at] != generation)
		at++;
	store->generations_count--;
	memmove(&store->generations[at], &store->generations[at + 1],
	        (store->generations_count - at) * sizeof(struct generation *));
	store_find_newest(store);
	pthread_mutex_lock(&store->pinning);
	generation->is_dropped = true;
	bool is_last = generation->pins == 0;
	pthread_mutex_unlock(&store->pinning);
	store->names_memory -= generation->memory;
	generation->memory = 0;
	if (is_last)
		generation_free(generation);
}

void store_free_generations(struct store *store)
{
	for (uint32_t i = 0; i < store->generations_count; i++)
		generation_free(store->generations[i]);
	free(store->generations);
}

/* What it takes counts from the moment that it is not the newest. */
static void store_count_names(struct store *store, struct generation *generation)
{
	pthread_mutex_lock(&store->pinning);
	if (generation->dict) {
		store->names_memory -= generation->memory;
		generation->memory = dict_memory(generation->dict) +
		                     label_index_memory(generation->index);
		if (generation->packer)
			generation->memory += dict_packer_memory(generation->packer);
		store->names_memory += generation->memory;
	}
	pthread_mutex_unlock(&store->pinning);
}

/* ---- loading ---- */

/* What the disk says of one generation. */
struct found {
	uint32_t id;
	struct record_generation record;
};

static int store_refuse_generation(struct store *store, uint32_t id, int result)
{
	store_set_error(store, "%s: generation %" PRIu32 " of the dictionary: %s", store->path, id,
	        result == -EPROTONOSUPPORT ? "written by a newer profleet" : "missing or damaged");
	return result;
}

/* All records of generations, ascending. */
static int store_find_generations(struct store *store, struct buf *found)
{
	static const char after[] = KEYS_META_GENERATION "\xff\xff\xff\xff\xff";
	AUTO(kv_iterator) it = kv_iterator_new(store->kv, KV_META,
	        (struct kv_bytes){ KEYS_META_GENERATION, sizeof(KEYS_META_GENERATION) - 1 },
	        (struct kv_bytes){ after, sizeof(after) - 1 });
	if (!it)
		return -ENOMEM;
	bool is_closed = true;
	uint32_t id = 0;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct found one;
		int r = keys_get_generation(key.bytes, key.count, &one.id);
		id = r == 0 ? one.id : id;
		r = r < 0 ? r : record_get_generation(key, kv_iterator_value(it), &one.record);
		/* All but the last one are closed; the reader saw that those behind it are. */
		bool is_compact = id >= KEYS_GENERATION_COMPACT;
		if (r == 0 && !is_closed && !is_compact)
			r = -EBADMSG;
		if (r < 0)
			return store_refuse_generation(store, id, r);
		if (!is_compact)
			is_closed = one.record.is_closed;
		buf_put(found, &one, sizeof(one));
	}
	if (found->failed)
		return -ENOMEM;
	int r = kv_iterator_result(it);
	if (r == 0 && found->count > 0 && is_closed)
		return store_refuse_generation(store, id + 1, -EBADMSG);
	return r;
}

static const char *store_delta_problem(int result)
{
	switch (result) {
	case -ENOSPC:
		return "past the limits of this configuration: raise them";
	case -ENOMEM:
		return "out of memory";
	case -EPROTONOSUPPORT:
		return "written by a newer profleet";
	default:
		return "missing or damaged";
	}
}

/* Under writer, or at open. */
static int generation_need_packer(struct generation *generation)
{
	if (!generation->packer)
		generation->packer = dict_packer_new();
	return generation->packer ? 0 : -ENOMEM;
}

/* The deltas that are not in memory yet. */
static int store_load_deltas(struct store *store, struct generation *generation)
{
	struct dict_deltas deltas;
	uint64_t bytes;
	int r = dict_deltas_init(
	        &deltas, store->kv, (struct key_dict){ generation->id, generation->chunks_count });
	if (generation_need_packer(generation) < 0)
		r = -ENOMEM;
	while (r >= 0) {
		r = dict_deltas_next(&deltas, generation->packer, generation->dict, &bytes);
		if (r <= 0)
			break;
		generation->chunks_count++;
	}
	dict_deltas_fini(&deltas);
	if (r < 0)
		store_set_error(store,
		        "%s: dictionary delta %" PRIu64 " of generation %" PRIu32 ": %s",
		        store->path, generation->chunks_count, generation->id,
		        store_delta_problem(r));
	else
		generation->kept = dict_mark(generation->dict);
	return r;
}

/* A closed generation is what its record says. */
static int store_check_generation(struct store *store, const struct generation *generation,
        const struct record_generation *record)
{
	if (!record->is_closed)
		return 0;
	if (record->chunks_count == generation->chunks_count &&
	        memcmp(&record->mark, &generation->kept, sizeof(record->mark)) == 0)
		return 0;
	return store_refuse_generation(store, generation->id, -EBADMSG);
}

/* What its record says; the names are read when somebody needs them. */
static void store_take_record(struct generation *generation, const struct record_generation *record)
{
	generation->is_closed = record->is_closed;
	generation->origin = record->origin;
	generation->stage = record->stage;
	generation->rows = record->rows;
	if (!generation->dict) {
		generation->kept = record->mark;
		generation->chunks_count = record->chunks_count;
	}
	generation->series_published = generation->kept.series;
}

static int store_load_generation(struct store *store, const struct found *found)
{
	struct generation *generation = store_generation(store, found->id);
	int r = 0;
	if (!generation) {
		/* Ids only grow: what is not known yet is behind what is. */
		if (store->newest && found->id < store->newest->id &&
		        found->id < KEYS_GENERATION_COMPACT)
			return store_refuse_generation(store, found->id, -EBADMSG);
		r = store_add_generation(store, found->id, found->record.began_ns,
		        !found->record.is_closed, &generation);
	}
	if (r < 0)
		return r;
	if (generation->dict) {
		r = store_load_deltas(store, generation);
		r = r < 0 ? r : store_check_generation(store, generation, &found->record);
		r = r < 0 ? r : label_index_extend(generation->index, generation->dict);
	}
	if (r == 0)
		store_take_record(generation, &found->record);
	return r;
}

/* No delta is of a generation that there is not. */
static int store_check_strays(struct store *store)
{
	uint8_t from_bytes[KEYS_DICT_BYTES] = { 0 };
	uint8_t to_bytes[KEYS_DICT_BYTES];
	uint32_t next = 0; /* the first generation that was not looked at */
	for (uint32_t i = 0; i <= store->generations_count; i++) {
		bool is_end = i == store->generations_count;
		uint32_t id = is_end ? 0 : store->generations[i]->id;
		struct kv_bytes from = { from_bytes, sizeof(from_bytes) };
		struct kv_bytes to = { to_bytes, is_end ? 0 : sizeof(to_bytes) };
		if (next > KEYS_GENERATION_MAX)
			break;
		keys_put_dict((struct key_dict){ next, 0 }, from_bytes);
		keys_put_dict((struct key_dict){ id, 0 }, to_bytes);
		AUTO(kv_iterator) it = kv_iterator_new(store->kv, KV_DICT, from, to);
		if (!it)
			return -ENOMEM;
		if (kv_iterator_is_valid(it))
			return store_refuse_generation(store, next, -EBADMSG);
		int r = kv_iterator_result(it);
		if (r < 0)
			return r;
		next = id + 1;
	}
	return 0;
}

/* Those of memory that are not on the disk: their dropping was written after all. */
static void store_forget_missing(struct store *store, const struct found *found, size_t count)
{
	for (uint32_t i = store->generations_count; i > 0; i--) {
		struct generation *generation = store->generations[i - 1];
		bool is_there = false;
		for (size_t j = 0; j < count; j++)
			is_there |= found[j].id == generation->id;
		if (!is_there)
			store_remove_generation(store, generation);
	}
}

int store_load_generations(struct store *store)
{
	AUTO_BUF bytes = { 0 };
	struct found zero = { .record = { .began_ns = clock_unix_ns(store->clock) } };
	int r = store_find_generations(store, &bytes);
	const struct found *found = (const void *)bytes.bytes;
	size_t count = bytes.count / sizeof(*found);
	store->has_generation_record = count > 0;
	if (count == 0) {
		found = &zero;
		count = 1;
	}
	for (size_t i = 0; i < count && r == 0; i++)
		r = store_load_generation(store, &found[i]);
	r = r < 0 ? r : store_check_strays(store);
	if (r == 0)
		store_forget_missing(store, found, count);
	return r;
}

void generation_note_open(struct generation *generation, uint64_t start_ns)
{
	if (start_ns < generation->open.first_ns)
		generation->open.first_ns = start_ns;
	if (start_ns > generation->open.last_ns)
		generation->open.last_ns = start_ns;
}

/* The time that open batches of each are in, so that questions find them. Under stats. */
static int store_find_open_ranges(struct store *store)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_BATCH, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key_bytes = kv_iterator_key(it);
		struct key_batch key;
		struct record_batch record;
		if (keys_get_batch(key_bytes.bytes, key_bytes.count, &key) < 0 ||
		        record_get_batch(key_bytes, kv_iterator_value(it), &record) < 0)
			continue; /* readers count it */
		struct generation *generation = store_generation(store, record.generation);
		if (generation)
			generation_note_open(generation, key.start_ns);
	}
	return kv_iterator_result(it);
}

int store_load_open_ranges(struct store *store)
{
	int r = 0;
	pthread_mutex_lock(&store->stats);
	for (uint32_t i = 0; i < store->generations_count; i++)
		store->generations[i]->open = open_range_none;
	if (store->generations_count > 1)
		r = store_find_open_ranges(store);
	for (uint32_t i = 0; i < store->generations_count; i++)
		if (r < 0 || store->generations_count == 1)
			store->generations[i]->open = open_range_all;
	pthread_mutex_unlock(&store->stats);
	return r;
}

/* ---- beginning one ---- */

int store_put_generation(
        struct store *store, struct kv_batch *write, const struct generation *generation)
{
	uint8_t key_bytes[KEYS_GENERATION_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	struct record_generation record = {
		.began_ns = generation->began_ns,
		.is_closed = generation->is_closed,
		.mark = generation->kept,
		.chunks_count = generation->chunks_count,
		.origin = generation->origin,
		.stage = (uint8_t)generation->stage,
		.rows = generation->rows,
	};
	AUTO_BUF value = { 0 };
	keys_put_generation(generation->id, key_bytes);
	record_put_generation(&record, key, &value);
	if (value.failed)
		return -ENOMEM;
	kv_put(store->kv, write, KV_META, key, store_bytes(&value));
	return 0;
}

int store_keep_generation(struct store *store)
{
	AUTO(kv_batch) write = kv_batch_new();
	if (store->has_generation_record || store->newest->chunks_count == 0)
		return 0;
	int r = write ? store_put_generation(store, write, store->newest) : -ENOMEM;
	r = r < 0 ? r : store_write(store, write, KV_SYNC, "keeping the age of the dictionary");
	if (r == 0)
		store->has_generation_record = true;
	return r;
}

/* What the last delta needs, 0: nothing. */
static uint32_t store_format_of_additions(const struct generation *generation)
{
	if (generation->has_text)
		return STORE_FORMAT_DICT_TEXT;
	return generation->is_packed ? STORE_FORMAT_DICT : 0;
}

int store_put_additions(struct store *store, struct generation *generation, uint64_t ordinal,
        struct dict_mark kept, struct kv_batch *write)
{
	uint8_t key_bytes[KEYS_DICT_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	AUTO_BUF value = { 0 };
	AUTO_BUF text = { 0 };
	if (generation_need_packer(generation) < 0)
		return -ENOMEM;
	generation->is_packed = record_dict_is_packed(generation->packer, generation->dict, kept);
	keys_put_dict((struct key_dict){ generation->id, ordinal }, key_bytes);
	record_put_dict(generation->packer, generation->dict, kept, key, &text, &value);
	if (value.failed)
		return -ENOMEM;
	generation->has_text = text.count > 0;
	kv_put(store->kv, write, KV_DICT, key, store_bytes(&value));
	if (generation->has_text)
		kv_put(store->kv, write, KV_DICT_TEXT, key, store_bytes(&text));
	uint32_t format = store_format_of_additions(generation);
	return format ? store_put_format(store, write, format) : 0;
}

void store_note_additions(struct store *store, const struct generation *generation)
{
	store_note_format(store, store_format_of_additions(generation));
}

static int store_write_additions(struct store *store, struct generation *generation,
        struct dict_mark from, const char *doing)
{
	AUTO(kv_batch) write = kv_batch_new();
	int r = write ? store_put_additions(
	                        store, generation, generation->chunks_count - 1, from, write)
	              : -ENOMEM;
	/* Of one that is closed the record says how much there is. */
	if (r == 0 && generation->is_closed)
		r = store_put_generation(store, write, generation);
	r = r < 0 ? r : store_write(store, write, KV_SYNC, doing);
	if (r == 0)
		store_note_additions(store, generation);
	return r;
}

int store_keep_additions(struct store *store, struct generation *generation, const char *doing)
{
	struct dict_mark before = generation->kept;
	struct dict_mark mark = dict_mark(generation->dict);
	if (memcmp(&mark, &before, sizeof(mark)) == 0)
		return 0;
	generation->kept = mark;
	generation->chunks_count++;
	int r = store_write_additions(store, generation, before, doing);
	if (r < 0) {
		generation->kept = before;
		generation->chunks_count--;
		gate_lock(&store->gate);
		dict_truncate(generation->dict, before);
		gate_unlock(&store->gate);
	}
	return r;
}

/* Closes `before` and names `next`. */
static int store_write_generation(
        struct store *store, struct generation *before, const struct generation *next)
{
	AUTO(kv_batch) write = kv_batch_new();
	int r = write ? 0 : -ENOMEM;
	before->is_closed = true;
	r = r < 0 ? r : store_put_generation(store, write, before);
	r = r < 0 ? r : store_put_generation(store, write, next);
	r = r < 0 ? r : store_put_format(store, write, STORE_FORMAT_LEVELS);
	r = r < 0 ? r : store_write(store, write, KV_SYNC, "beginning a dictionary");
	if (r < 0) {
		before->is_closed = false;
		return r;
	}
	store_note_format(store, STORE_FORMAT_LEVELS);
	store->has_generation_record = true;
	dict_packer_free(before->packer);
	before->packer = NULL;
	store_count_names(store, before);
	return 0;
}

int store_begin_generation(struct store *store)
{
	struct generation *before = store->newest;
	struct generation *next = NULL;
	if (before->id + 1 == KEYS_GENERATION_COMPACT)
		return -ENOSPC;
	gate_lock(&store->gate);
	/* None begins before the one before it did, whatever the clock says: see store_streams.c.
	 */
	uint64_t began_ns = clock_unix_ns(store->clock);
	if (began_ns <= before->began_ns)
		began_ns = before->began_ns + 1;
	int r = store_add_generation(store, before->id + 1, began_ns, true, &next);
	if (r == 0) {
		next->open = open_range_none;
		r = store_write_generation(store, before, next);
		if (r < 0) {
			store_remove_generation(store, next);
		}
	}
	gate_unlock(&store->gate);
	if (r == -ENOMEM)
		store_set_error(store, "beginning a dictionary: out of memory");
	return r;
}

int store_renew_dict(struct store *store)
{
	struct generation *newest = store->newest;
	uint64_t now_ns = clock_unix_ns(store->clock);
	bool is_old = now_ns > newest->began_ns &&
	              now_ns - newest->began_ns >= store->options.generation_ns;
	bool is_large = newest->kept.nodes >= store->options.generation_nodes;
	if (!is_old && !is_large)
		return 0;
	if (newest->chunks_count == 0) {
		newest->began_ns = now_ns; /* nothing is in it: it begins now */
		return 0;
	}
	return store_begin_generation(store);
}

/* A number that this process has not seen yet: what is kept by number is of one generation. */
static uint32_t store_next_compact(struct store *store)
{
	const struct generation *last = store->generations[store->generations_count - 1];
	if (last->id >= store->compact_next)
		store->compact_next = last->id + 1;
	if (store->compact_next < KEYS_GENERATION_COMPACT)
		store->compact_next = KEYS_GENERATION_COMPACT;
	return store->compact_next;
}

int store_begin_compact(struct store *store, const struct generation *origin,
        enum generation_stage stage, struct generation **ret_generation)
{
	uint32_t id = store_next_compact(store);
	struct generation *next = NULL;
	AUTO(kv_batch) write = kv_batch_new();
	if (!write)
		return -ENOMEM;
	if (id >= KEYS_GENERATION_MAX)
		return -ENOSPC;
	gate_lock(&store->gate);
	/* Streams are forgotten by when the generation began whose data they are in. */
	int r = store_add_generation(store, id, origin->began_ns, true, &next);
	if (r == 0) {
		next->is_closed = true;
		next->origin = generation_root(origin);
		next->stage = stage;
		next->open = open_range_none;
		r = store_put_generation(store, write, next);
		r = r < 0 ? r : store_put_format(store, write, STORE_FORMAT_VALUES);
		r = r < 0 ? r : store_write(store, write, KV_SYNC, "beginning a dictionary");
		if (r < 0)
			store_remove_generation(store, next);
	}
	gate_unlock(&store->gate);
	if (r < 0)
		return r;
	store_note_format(store, STORE_FORMAT_VALUES);
	store->compact_next = id + 1;
	*ret_generation = next;
	return 0;
}

int store_publish_series(struct store *store, struct generation *generation)
{
	gate_lock(&store->gate);
	int r = label_index_extend(generation->index, generation->dict);
	if (r == 0)
		generation->series_published = generation->kept.series;
	gate_unlock(&store->gate);
	store_count_names(store, generation);
	return r;
}
