/*
 * Collecting what nothing speaks of any more, once the data is gone:
 *
 *	generations   that are not the newest and that no window and no open batch is of: their
 *	              deltas, their record, and the symbols of files that no other generation knows
 *	streams       whose last append was of a generation that is gone, and is longer ago than
 *	              what an agent may still send
 *	agents        of which no stream is left, when they were not heard of for as long
 *
 * Each in writes of its own that can be killed at any moment: what was not forgotten is found by
 * the next turn. Appends go to the newest generation only, and `sealing` keeps seals, rollups and
 * deletions away, so nothing that was found unused comes into use meanwhile.
 */

#include <errno.h>
#include <string.h>

#include "core/hash.h"
#include "storage/store_private.h"

#define COLLECT_STRETCH_BYTES (4u << 20)
#define COLLECT_AGENTS_EACH   1024

/* Is a window of any level of it? In the gate. */
static bool collect_has_window(struct store *store, uint32_t generation)
{
	for (uint32_t level = 0; level < WINDOW_LEVELS; level++) {
		const struct window_list *list = store_windows(store, level);
		for (uint32_t i = 0; i < list->count; i++)
			if (list->entries[i].dictionary == generation)
				return true;
	}
	return false;
}

/* The range that open batches of it start in, as exactly as the disk says. One visit to the gate.
 */
static int collect_read_open(struct store *store, uint32_t generation, struct key_batch *at,
        struct open_range *range, bool *ret_is_done)
{
	uint8_t from[KEYS_BATCH_BYTES];
	uint64_t bytes = 0;
	keys_put_batch(*at, from);
	AUTO(kv_iterator) it = kv_iterator_new(store->kv, KV_BATCH,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key_bytes = kv_iterator_key(it);
		struct kv_bytes value = kv_iterator_value(it);
		struct key_batch key;
		struct record_batch record;
		if (keys_get_batch(key_bytes.bytes, key_bytes.count, &key) < 0)
			continue;
		/* One that cannot be read speaks of nothing. */
		if (record_get_batch(key_bytes, value, &record) == 0 &&
		        record.generation == generation) {
			range->first_ns = key.start_ns < range->first_ns ? key.start_ns
			                                                 : range->first_ns;
			range->last_ns = key.start_ns;
		}
		bytes += key_bytes.count + value.count;
		if (bytes >= COLLECT_STRETCH_BYTES) {
			*at = key_batch_next(key);
			return 0;
		}
	}
	*ret_is_done = true;
	return kv_iterator_result(it);
}

static int collect_find_open(struct store *store, uint32_t generation, struct open_range *ret_range)
{
	struct open_range range = { .first_ns = UINT64_MAX };
	struct key_batch at = { 0 };
	bool is_done = false;
	int r = 0;
	while (r == 0 && !is_done) {
		gate_enter(&store->gate);
		r = collect_read_open(store, generation, &at, &range, &is_done);
		gate_leave(&store->gate);
	}
	if (r == 0)
		*ret_range = range;
	return r;
}

/* May it be dropped? Under sealing; the generation is pinned. */
static int collect_is_unused(
        struct store *store, struct generation *generation, bool *ret_is_unused)
{
	uint32_t id = generation->id;
	struct open_range range;
	gate_enter(&store->gate);
	bool has_window = collect_has_window(store, id);
	pthread_mutex_lock(&store->stats);
	range = generation->open;
	pthread_mutex_unlock(&store->stats);
	gate_leave(&store->gate);
	*ret_is_unused = false;
	if (has_window)
		return 0;
	/* Batches of it become fewer only by seals and deletions. */
	if (range.first_ns <= range.last_ns && generation->looked_at == store->batches_taken)
		return 0;
	int r = collect_find_open(store, id, &range);
	if (r < 0)
		return r;
	generation->looked_at = store->batches_taken;
	pthread_mutex_lock(&store->stats);
	generation->open = range;
	pthread_mutex_unlock(&store->stats);
	*ret_is_unused = range.first_ns > range.last_ns;
	return 0;
}

/* Build-ids that symbols are there of, each with a zero behind it. In the gate. */
static int collect_list_symbols(struct store *store, struct buf *build_ids)
{
	AUTO(kv_iterator) it = store_symbol_heads(store);
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		enum keys_symbols_part part;
		char build_id[KEYS_BUILD_ID_BYTES_MAX + 1];
		if (keys_get_symbols(key.bytes, key.count, &part, build_id) == 0)
			buf_put(build_ids, build_id, strlen(build_id) + 1);
	}
	return build_ids->failed ? -ENOMEM : kv_iterator_result(it);
}

/* Leaves those that the dict has not. */
static void collect_keep_unknown(const struct dict *dict, struct buf *build_ids)
{
	char *all = (char *)build_ids->bytes;
	size_t kept = 0;
	for (size_t at = 0, next; at < build_ids->count; at = next) {
		size_t count = strlen(all + at);
		next = at + count + 1;
		if (dict_find_string(dict, all + at, count) != ID_NONE)
			continue;
		memmove(all + kept, all + at, count + 1);
		kept += count + 1;
	}
	build_ids->count = kept;
}

/*
 * Those whose symbols go with a generation: that no other one has. Generations are read one after
 * the other. Under sealing, so that none but the newest gets any; that one is asked once more.
 */
static int collect_find_symbols(struct store *store, uint32_t but, struct buf *build_ids)
{
	gate_enter(&store->gate);
	int r = collect_list_symbols(store, build_ids);
	gate_leave(&store->gate);
	for (uint32_t i = 0; r == 0 && build_ids->count > 0; i++) {
		gate_enter(&store->gate);
		bool is_end = i >= store->generations_count;
		struct generation *generation = is_end ? NULL : store->generations[i];
		if (generation && generation->id != but) {
			r = store_load_names(store, generation);
			if (r == 0)
				collect_keep_unknown(generation->dict, build_ids);
		}
		gate_leave(&store->gate);
		(void)store_make_names_room(store, 0);
		if (is_end)
			break;
	}
	return r;
}

static void collect_delete_symbols(
        struct store *store, struct kv_batch *write, const char *build_id)
{
	static const enum keys_symbols_part parts[] = { KEYS_SYMBOLS_HEAD, KEYS_SYMBOLS_BODY };
	uint8_t from[KEYS_SYMBOLS_BYTES_MAX + 1];
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		size_t count = keys_put_symbols(parts[i], build_id, from);
		from[count] = 0;
		kv_delete_range(store->kv, write, KV_SYMBOLS, (struct kv_bytes){ from, count },
		        (struct kv_bytes){ from, count + 1 });
	}
}

static void collect_put_generation(
        struct store *store, const struct generation *generation, struct kv_batch *write)
{
	uint8_t record[KEYS_GENERATION_BYTES + 1] = { 0 };
	uint8_t from[KEYS_DICT_BYTES];
	uint8_t to[KEYS_DICT_BYTES];
	keys_put_generation(generation->id, record);
	kv_delete_range(store->kv, write, KV_META,
	        (struct kv_bytes){ record, KEYS_GENERATION_BYTES },
	        (struct kv_bytes){ record, KEYS_GENERATION_BYTES + 1 });
	keys_put_dict((struct key_dict){ generation->id, 0 }, from);
	keys_put_dict((struct key_dict){ generation->id + 1, 0 }, to); /* it is not the newest */
	kv_delete_range(store->kv, write, KV_DICT, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
	kv_delete_range(store->kv, write, KV_DICT_TEXT, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
}

/* Files that hold nothing else go at once; compaction does the rest. */
static void collect_give_back(struct store *store, uint32_t id)
{
	uint8_t from[KEYS_DICT_BYTES];
	uint8_t to[KEYS_DICT_BYTES];
	keys_put_dict((struct key_dict){ id, 0 }, from);
	keys_put_dict((struct key_dict){ id + 1, 0 }, to);
	(void)kv_delete_files(store->kv, KV_DICT, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
	(void)kv_delete_files(store->kv, KV_DICT_TEXT, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
}

/* Under sealing and writer. */
static int collect_drop(struct store *store, uint32_t id, struct buf *gone)
{
	struct generation *generation = store_generation(store, id);
	AUTO(kv_batch) write = kv_batch_new();
	if (!write)
		return -ENOMEM;
	if (!generation)
		return 0; /* opening again found it dropped */
	collect_keep_unknown(store->newest->dict, gone);
	for (size_t at = 0; at < gone->count; at += strlen((const char *)gone->bytes + at) + 1)
		collect_delete_symbols(store, write, (const char *)gone->bytes + at);
	collect_put_generation(store, generation, write);
	gate_lock(&store->gate);
	int r = store_write(store, write, KV_SYNC, "dropping a dictionary");
	if (r == 0)
		store_remove_generation(store, generation);
	gate_unlock(&store->gate);
	if (r == 0)
		collect_give_back(store, id);
	for (size_t at = 0; r == 0 && at < gone->count;
	        at += strlen((const char *)gone->bytes + at) + 1)
		symbols_cache_forget(store->symbols, (const char *)gone->bytes + at);
	return r;
}

static int collect_generations(struct store *store)
{
	/* The list is changed by nobody else: `sealing` is held, and a new one comes at its end. */
	uint32_t at = 0;
	int r = 0;
	while (r == 0) {
		bool is_unused = false;
		gate_enter(&store->gate);
		bool is_end = at >= store->generations_count;
		struct generation *generation = store->generations[is_end ? 0 : at];
		bool is_newest = generation == store->newest;
		uint32_t id = generation->id;
		store_pin_generation(store, generation);
		gate_leave(&store->gate);
		if (!is_end && !is_newest)
			r = collect_is_unused(store, generation, &is_unused);
		store_unpin_generation(store, generation);
		if (is_end)
			break;
		if (r < 0 || !is_unused) {
			at++;
			continue;
		}
		AUTO_BUF gone = { 0 };
		r = collect_find_symbols(store, id, &gone);
		pthread_mutex_lock(&store->writer);
		r = r < 0 ? r : store_make_writable(store);
		r = r < 0 ? r : collect_drop(store, id, &gone);
		pthread_mutex_unlock(&store->writer);
	}
	return r;
}

/* ---- streams and agents ---- */

/* Is anything left of generation 0, there or where its windows moved to? */
static bool collect_has_first(const struct store *store)
{
	for (uint32_t i = 0; i < store->generations_count; i++)
		if (generation_root(store->generations[i]) == 0)
			return true;
	return false;
}

/* What was appended before this moment is gone, and cannot come again. 0: nothing. */
static uint64_t collect_over_ns(const struct store *store)
{
	uint64_t now_ns = clock_unix_ns(store->clock);
	uint64_t over_ns = now_ns > store->options.late_max_ns ? now_ns - store->options.late_max_ns
	                                                       : 0;
	for (uint32_t i = 0; i < store->generations_count; i++) {
		const struct generation *generation = store->generations[i];
		if (generation->began_ns < over_ns)
			over_ns = generation->began_ns;
	}
	/* When the first one began nobody knows for certain. */
	return collect_has_first(store) ? 0 : over_ns;
}

static struct hash128 collect_agent_hash(const struct wire_uuid *uuid, const char *tenant)
{
	uint8_t key[KEYS_AGENT_BYTES_MAX];
	size_t count = keys_put_agent(uuid, tenant, key);
	return hash128_bytes(key, count);
}

/* Whoever has a stream. Under writer. */
static int collect_list_observers(const struct store *store, struct id_map *observers)
{
	uint32_t id;
	bool is_added;
	int r = 0;
	for (uint32_t i = 0; i < store->streams_count && r == 0; i++) {
		const struct record_stream *who = &store->streams[i].who;
		if (!store->streams[i].is_gone)
			r = id_map_intern(observers, collect_agent_hash(&who->uuid, who->tenant),
			        &id, &is_added);
	}
	return r;
}

static int collect_put_agents(struct store *store, uint64_t before_ns,
        const struct id_map *observers, struct kv_batch *write, uint32_t *ret_count)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_AGENT, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	*ret_count = 0;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct wire_uuid uuid;
		struct store_agent agent;
		char tenant[KEYS_TENANT_BYTES_MAX + 1];
		uint8_t to[KEYS_AGENT_BYTES_MAX + 1] = { 0 };
		if (keys_get_agent(key.bytes, key.count, &uuid, tenant) < 0 ||
		        record_get_agent(key, kv_iterator_value(it), &agent) < 0 ||
		        agent.last_seen_ns >= before_ns ||
		        id_map_find(observers, collect_agent_hash(&uuid, tenant)) != ID_NONE)
			continue;
		memcpy(to, key.bytes, key.count);
		kv_delete_range(store->kv, write, KV_AGENT, (struct kv_bytes){ to, key.count },
		        (struct kv_bytes){ to, key.count + 1 });
		if (++*ret_count == COLLECT_AGENTS_EACH)
			break; /* the next turn goes on */
	}
	return kv_iterator_result(it);
}

static int collect_agents(struct store *store, uint64_t before_ns)
{
	AUTO(id_map) observers = id_map_new(STORE_STREAMS_MAX);
	AUTO(kv_batch) write = kv_batch_new();
	uint32_t count;
	int r = observers && write ? collect_list_observers(store, observers) : -ENOMEM;
	r = r < 0 ? r : collect_put_agents(store, before_ns, observers, write, &count);
	if (r < 0 || count == 0)
		return r;
	return store_write(store, write, KV_UNSYNCED, "forgetting agents");
}

/* Under writer. */
static int collect_streams(struct store *store)
{
	uint64_t over_ns = collect_over_ns(store);
	uint32_t count = 0;
	if (over_ns == 0)
		return 0;
	int r = store_forget_streams(store, over_ns, &count);
	/* Agents without data are looked for when something went, not in every turn. */
	if (r == 0 && (count > 0 || store->agents_over_ns != over_ns)) {
		r = collect_agents(store, over_ns);
		store->agents_over_ns = r == 0 && count == 0 ? over_ns : 0;
	}
	return r;
}

int store_collect(struct store *store)
{
	turn_lock_enter(&store->sealing);
	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	r = r < 0 ? r : store_keep_generation(store);
	pthread_mutex_unlock(&store->writer);

	r = r < 0 ? r : collect_generations(store);

	pthread_mutex_lock(&store->writer);
	r = r < 0 ? r : store_make_writable(store);
	r = r < 0 ? r : collect_streams(store);
	pthread_mutex_unlock(&store->writer);
	turn_lock_leave(&store->sealing);
	(void)store_make_names_room(store, 0);
	return r;
}
