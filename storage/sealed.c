/*
 * A block that is missing is as bad as one that is damaged: the window says that it is there.
 * Besides what the blocks' own readers check, ids are checked against the store: series, streams
 * and nodes that do not exist are never looked up.
 */

#include "storage/sealed.h"

#include <errno.h>

int sealed_init(struct sealed *sealed, struct store *store)
{
	*sealed = (struct sealed){ .store = store };
	sealed->watchers_memory = detail_memory_new();
	sealed->members_memory = detail_memory_new();
	sealed->detail_memory = detail_memory_new();
	sealed->sums_memory = sum_memory_new();
	if (sealed->watchers_memory && sealed->members_memory && sealed->detail_memory &&
	        sealed->sums_memory)
		return 0;
	return -ENOMEM;
}

void sealed_fini(struct sealed *sealed)
{
	store_repin(sealed->store, &sealed->pinned, NULL);
	window_fini(&sealed->window);
	buf_fini(&sealed->watchers_bytes);
	buf_fini(&sealed->members_bytes);
	buf_fini(&sealed->sums_bytes);
	buf_fini(&sealed->values_bytes);
	buf_fini(&sealed->detail_bytes);
	detail_memory_free(sealed->watchers_memory);
	detail_memory_free(sealed->members_memory);
	detail_memory_free(sealed->detail_memory);
	sum_memory_free(sealed->sums_memory);
	buf_fini(&sealed->nodes);
}

bool sealed_is_corrupt(const struct sealed *sealed, int result)
{
	return sealed->failed == 0 && (result == -EBADMSG || result == -EPROTONOSUPPORT);
}

static int sealed_get(
        struct sealed *sealed, enum kv_family family, struct kv_bytes key, struct buf *to)
{
	struct store *store = sealed->store;
	int reason = -EBADMSG;
	buf_reset(to);
	if (sealed->segment) {
		int r = head_segment_get(sealed->segment, key, to);
		return r == -ENOENT ? -EBADMSG : r;
	}
	sealed->is_passed_over = false;
	sealed->is_doubted = false;
	sealed->is_noted = false;
	if (sealed->passes_over && quarantine_count(store->quarantine) > 0) {
		enum quarantine_verdict verdict = quarantine_meet(store->quarantine,
		        (struct quarantine_key){ family, key }, clock_unix_ns(store->clock),
		        &reason);
		sealed->is_doubted = verdict == QUARANTINE_LOOK_AGAIN;
		sealed->is_passed_over = verdict == QUARANTINE_PASS_OVER;
	}
	if (sealed->is_passed_over) {
		sealed->is_noted = true;
		return reason;
	}
	int r = kv_get(sealed->store->kv, family, key, to);
	if (r == -ENOENT || r == -EBADMSG)
		return -EBADMSG; /* missing, or in a file with a wrong checksum: this block only */
	if (r < 0)
		sealed->failed = r;
	return r;
}

/*
 * Ends the opening of a block, which says the same to whoever reads it: one that failed here needs
 * no reading again. Whoever sees what is hidden meets blocks that are half erased, and says
 * nothing.
 */
static int sealed_opened(
        struct sealed *sealed, enum kv_family family, struct kv_bytes key, int result)
{
	struct store *store = sealed->store;
	struct quarantine_key what = { family, key };
	if (sealed->segment)
		return result;
	if (result == 0 && sealed->is_doubted)
		quarantine_lift(store->quarantine, what);
	if (!sealed_is_corrupt(sealed, result) || sealed->is_passed_over || sealed->sees_hidden)
		return result;
	quarantine_note(store->quarantine, what, result, true, clock_unix_ns(store->clock));
	sealed->is_noted = true;
	return result;
}

void sealed_note_unreadable(struct sealed *sealed)
{
	const struct key_block *tried = &sealed->tried;
	uint8_t bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes key = { bytes, sizeof(bytes) };
	if (sealed->is_noted || sealed->segment)
		return;
	sealed->is_noted = true;
	if (tried->part == 0) {
		keys_put_window(tried->window, bytes);
		key.count = KEYS_WINDOW_BYTES;
		store_note_unreadable(sealed->store, KV_WINDOW, key, -EBADMSG);
		return;
	}
	keys_put_block(*tried, bytes);
	store_note_unreadable(sealed->store,
	        tried->part == KEYS_BLOCK_DETAIL ? KV_DETAIL : store_sums_family(tried->window),
	        key, -EBADMSG);
}

/* What is hidden is not there. */
static void sealed_hide(struct sealed *sealed)
{
	const struct expiry *expiry = &sealed->store->expiry;
	for (uint32_t i = 0; expiry->items_count > 0 && i < sealed->window.units_count; i++) {
		struct window_unit *unit = &sealed->window.units[i];
		uint32_t parts = expiry_parts(expiry, sealed->key, i);
		unit->is_gone |= (parts & STORE_PART_SUMS) != 0;
		if (parts & STORE_PART_DETAIL && sealed->window.level == 0)
			unit->chunks = 0;
	}
	if (expiry_has_window(expiry, sealed->key))
		sealed->window.watchers_chunks = 0;
}

/* Buffers only grow: the most that a kind of block took so far is what it takes. */
static int sealed_reserve(struct sealed *sealed, enum sealed_kind kind, uint64_t bytes)
{
	uint64_t all = 0;
	if (bytes > sealed->memory[kind])
		sealed->memory[kind] = bytes;
	for (int i = 0; i < SEALED_BLOCKS; i++)
		all += sealed->memory[i];
	if (sealed->memory_max == 0 || all <= sealed->memory_max)
		return 0;
	sealed->failed = -E2BIG;
	return -E2BIG;
}

/* Of a chunk: its bytes, and what is decoded. */
static uint64_t sealed_chunk_bytes(const struct detail_chunk *chunk, size_t bytes)
{
	return bytes + (uint64_t)chunk->intervals_count * sizeof(struct detail_interval) +
	       (uint64_t)chunk->reports_count * sizeof(struct detail_report) +
	       (uint64_t)chunk->losses_count * sizeof(struct detail_loss) +
	       (uint64_t)chunk->rows_count * (sizeof(uint32_t) + sizeof(uint64_t));
}

/* Of a block of sums: its bytes, nodes, their order, and the values of a group and their sum. */
static uint64_t sealed_sums_bytes(const struct sum_block *block, size_t bytes)
{
	return bytes + (uint64_t)block->dictionary_count * (2 * sizeof(uint32_t) + 3 * 8) +
	       (uint64_t)block->groups_count * 2 * sizeof(struct sum_group) +
	       (uint64_t)block->instances_count * sizeof(uint32_t) +
	       (uint64_t)block->losses_count * sizeof(struct sum_loss);
}

static void sealed_turn_to(struct sealed *sealed, struct key_window key,
        const struct head_segment *segment, uint8_t ret_key[KEYS_WINDOW_BYTES])
{
	window_fini(&sealed->window);
	sealed->key = key;
	sealed->segment = segment;
	sealed->tried = (struct key_block){ .window = key, .unit = KEYS_UNIT_NONE };
	sealed->generation = NULL;
	sealed->watchers.is_held = false;
	sealed->members.is_held = false;
	sealed->detail.is_held = false;
	sealed->sums.is_held = false;
	keys_put_window(key, ret_key);
}

/* The window's record. */
static int sealed_take_window(struct sealed *sealed, struct kv_bytes key, struct kv_bytes value)
{
	int r = window_get(key, value, sealed->key, &sealed->window);
	if (r == -ENOMEM)
		sealed->failed = r;
	if (r < 0)
		return r;
	sealed->generation = store_generation(sealed->store, sealed->window.dictionary);
	return sealed->generation ? 0 : -EBADMSG;
}

int sealed_open_segment(struct sealed *sealed, const struct head_segment *segment)
{
	uint8_t key_bytes[KEYS_WINDOW_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	sealed_turn_to(sealed, segment->key, segment, key_bytes);
	return sealed_take_window(sealed, key, store_bytes(&segment->record));
}

int sealed_open(struct sealed *sealed, const struct window_entry *entry)
{
	uint8_t key_bytes[KEYS_WINDOW_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	sealed_turn_to(sealed, entry->key, NULL, key_bytes);
	int r = sealed_get(sealed, KV_WINDOW, key, &sealed->detail_bytes);
	if (r < 0)
		return sealed_opened(sealed, KV_WINDOW, key, r);
	r = sealed_take_window(sealed, key, store_bytes(&sealed->detail_bytes));
	r = sealed_opened(sealed, KV_WINDOW, key, r);
	if (r == 0 && !sealed->sees_hidden)
		sealed_hide(sealed);
	return r;
}

int sealed_load_dict(struct sealed *sealed)
{
	int r = store_load_names(sealed->store, sealed->generation);
	if (r == 0)
		store_repin(sealed->store, &sealed->pinned, sealed->generation);
	return r;
}

static struct key_block sealed_key(
        struct sealed *sealed, uint32_t unit, enum keys_block_part part, uint32_t chunk)
{
	sealed->tried = (struct key_block){
		.window = sealed->key,
		.unit = unit,
		.part = part,
		.chunk = chunk,
	};
	return sealed->tried;
}

/* Is it in memory, so that it need not be read? Only what is good is held. */
static bool sealed_holds(struct sealed *sealed, bool is_held, struct key_block held)
{
	const struct key_block *wanted = &sealed->tried;
	if (!sealed->holds || !is_held || held.part != wanted->part || held.unit != wanted->unit ||
	        held.chunk != wanted->chunk)
		return false;
	sealed->is_passed_over = false;
	sealed->is_doubted = false;
	sealed->is_noted = false;
	return true;
}

/* Every stream, series and node place of the heads is one that there is. */
static int sealed_check_heads(const struct sealed *sealed, const struct detail_chunk *chunk,
        const struct detail_heads *heads)
{
	uint32_t series_count = dict_mark_of_generation(sealed->generation).series;
	for (uint32_t i = 0; i < chunk->intervals_count; i++)
		if (!store_has_stream(sealed->store, heads->intervals[i].stream))
			return -EBADMSG;
	for (uint32_t i = 0; i < chunk->reports_count; i++)
		if (heads->reports[i].series >= series_count)
			return -EBADMSG;
	for (uint32_t i = 0; i < chunk->losses_count; i++)
		if (heads->losses[i].series >= series_count &&
		        heads->losses[i].series != SERIES_NONE)
			return -EBADMSG;
	return 0;
}

static int sealed_read_chunk(struct sealed *sealed, struct key_block key, struct buf *bytes,
        struct detail_memory *memory, struct sealed_chunk *to)
{
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes at = { key_bytes, sizeof(key_bytes) };
	keys_put_block(key, key_bytes);
	enum kv_family family = store_sums_family(sealed->key);
	int r = sealed_get(sealed, family, at, bytes);
	r = r < 0 ? r
	          : detail_chunk_open(
	                    at, (struct kv_bytes){ bytes->bytes, bytes->count }, &to->chunk);
	r = sealed_opened(sealed, family, at, r);
	enum sealed_kind kind = key.part == KEYS_BLOCK_WATCHERS ? SEALED_WATCHERS : SEALED_MEMBERS;
	r = r < 0 ? r : sealed_reserve(sealed, kind, sealed_chunk_bytes(&to->chunk, bytes->count));
	r = r < 0 ? r : detail_chunk_get_heads(&to->chunk, memory, &to->heads);
	return r < 0 ? r : sealed_check_heads(sealed, &to->chunk, &to->heads);
}

static int sealed_get_chunk(struct sealed *sealed, struct key_block key, struct buf *bytes,
        struct detail_memory *memory, struct sealed_chunk *held, struct detail_chunk *ret_chunk,
        struct detail_heads *ret_heads)
{
	if (!sealed_holds(sealed, held->is_held, held->key)) {
		held->is_held = false;
		held->key = key;
		int r = sealed_read_chunk(sealed, key, bytes, memory, held);
		if (r < 0)
			return r;
		held->is_held = true;
	}
	*ret_chunk = held->chunk;
	*ret_heads = held->heads;
	return 0;
}

int sealed_get_watchers(struct sealed *sealed, uint32_t chunk, struct detail_chunk *ret_chunk,
        struct detail_heads *ret_heads)
{
	struct key_block key = sealed_key(sealed, KEYS_UNIT_NONE, KEYS_BLOCK_WATCHERS, chunk);
	return sealed_get_chunk(sealed, key, &sealed->watchers_bytes, sealed->watchers_memory,
	        &sealed->watchers, ret_chunk, ret_heads);
}

uint32_t sealed_members_count(const struct sealed *sealed, uint32_t unit)
{
	return key_window_level(sealed->key) > 0 ? sealed->window.units[unit].chunks : 1;
}

int sealed_get_members(struct sealed *sealed, uint32_t unit, uint32_t chunk,
        struct detail_chunk *ret_chunk, struct detail_heads *ret_heads)
{
	struct key_block key = sealed_key(sealed, unit, KEYS_BLOCK_MEMBERS, chunk);
	return sealed_get_chunk(sealed, key, &sealed->members_bytes, sealed->members_memory,
	        &sealed->members, ret_chunk, ret_heads);
}

bool sealed_has_detail(const struct sealed *sealed, uint32_t unit)
{
	return key_window_level(sealed->key) == 0 && sealed->window.units[unit].chunks > 0;
}

static int sealed_get_nodes(struct sealed *sealed, const struct sum_block *block)
{
	uint32_t count = block->dictionary_count;
	buf_reset(&sealed->nodes);
	uint32_t *nodes = (uint32_t *)(void *)buf_reserve(
	        &sealed->nodes, ((size_t)count + 1) * sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	int r = sum_block_get_dictionary(block, sealed->sums_memory, nodes);
	if (r < 0)
		return r;
	/* Ascending: the last one says it for all. */
	if (count > 0 && nodes[count - 1] >= dict_mark_of_generation(sealed->generation).nodes)
		return -EBADMSG;
	/* Detail is believed because it names this dictionary. */
	struct sum_dictionary dictionary = { nodes, count };
	return sum_dictionary_hash(dictionary) == block->dictionary_hash ? 0 : -EBADMSG;
}

static int sealed_read_sums(
        struct sealed *sealed, struct key_block key, struct sum_block *ret_block)
{
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes at = { key_bytes, sizeof(key_bytes) };
	keys_put_block(key, key_bytes);
	enum kv_family family = store_sums_family(sealed->key);
	int r = sealed_get(sealed, family, at, &sealed->sums_bytes);
	struct kv_bytes value = { sealed->sums_bytes.bytes, sealed->sums_bytes.count };
	r = r < 0 ? r : sum_block_open(at, value, ret_block);
	r = sealed_opened(sealed, family, at, r);
	r = r < 0 ? r
	          : sealed_reserve(sealed, SEALED_SUMS, sealed_sums_bytes(ret_block, value.count));
	return r < 0 ? r : sealed_get_nodes(sealed, ret_block);
}

int sealed_get_sums(struct sealed *sealed, uint32_t unit, struct sum_block *ret_block)
{
	struct sealed_sums *held = &sealed->sums;
	struct key_block key = sealed_key(sealed, unit, KEYS_BLOCK_SUMS, 0);
	if (!sealed_holds(sealed, held->is_held, held->key)) {
		*held = (struct sealed_sums){ .key = key };
		int r = sealed_read_sums(sealed, key, &held->block);
		if (r < 0)
			return r;
		held->is_held = true;
	}
	*ret_block = held->block;
	return 0;
}

int sealed_get_groups(
        struct sealed *sealed, const struct sum_block *block, const struct sum_group **ret_groups)
{
	struct sealed_sums *held = &sealed->sums;
	if (!sealed->holds || !held->groups) {
		held->has_values = false;
		held->groups = NULL;
		int r = sum_block_get_groups(block, sealed->sums_memory, &held->groups);
		if (r < 0)
			return r;
	}
	*ret_groups = held->groups;
	return 0;
}

int sealed_get_order(
        struct sealed *sealed, const struct sum_block *block, const uint32_t **ret_order)
{
	struct sealed_sums *held = &sealed->sums;
	if (!sealed->holds || !held->order) {
		held->order = NULL;
		int r = sum_block_get_order(block, sealed->sums_memory, &held->order);
		if (r < 0)
			return r;
	}
	*ret_order = held->order;
	return 0;
}

static int sealed_read_values(
        struct sealed *sealed, struct key_block key, const struct sum_block *block)
{
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes at = { key_bytes, sizeof(key_bytes) };
	enum kv_family family = store_sums_family(sealed->key);
	keys_put_block(key, key_bytes);
	int r = sealed_get(sealed, family, at, &sealed->values_bytes);
	struct kv_bytes value = { sealed->values_bytes.bytes, sealed->values_bytes.count };
	r = r < 0 ? r : sum_block_open_values(block, sealed->sums_memory, at, value);
	r = sealed_opened(sealed, family, at, r);
	return r < 0 ? r : sealed_reserve(sealed, SEALED_VALUES, value.count);
}

int sealed_get_values(struct sealed *sealed, uint32_t unit, const struct sum_block *block)
{
	struct sealed_sums *held = &sealed->sums;
	if (!block->has_values_apart)
		return 0;
	struct key_block key = sealed_key(sealed, unit, KEYS_BLOCK_VALUES, 0);
	if (sealed_holds(sealed, held->is_held && held->has_values, key))
		return 0;
	held->has_values = false;
	int r = sealed_read_values(sealed, key, block);
	held->has_values = r == 0;
	return r;
}

static int sealed_read_detail(struct sealed *sealed, struct key_block key,
        const struct sum_block *block, struct detail_chunk *ret_chunk)
{
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes at = { key_bytes, sizeof(key_bytes) };
	keys_put_block(key, key_bytes);
	int r = sealed_get(sealed, KV_DETAIL, at, &sealed->detail_bytes);
	struct kv_bytes value = { sealed->detail_bytes.bytes, sealed->detail_bytes.count };
	r = r < 0 ? r : detail_chunk_open(at, value, ret_chunk);
	if (r == 0 && (ret_chunk->dictionary_count != block->dictionary_count ||
	                      ret_chunk->dictionary_hash != block->dictionary_hash))
		r = -EBADMSG;
	r = sealed_opened(sealed, KV_DETAIL, at, r);
	return r < 0 ? r
	             : sealed_reserve(
	                       sealed, SEALED_DETAIL, sealed_chunk_bytes(ret_chunk, value.count));
}

int sealed_open_detail(struct sealed *sealed, uint32_t unit, uint32_t chunk,
        const struct sum_block *block, struct detail_chunk *ret_chunk)
{
	struct sealed_chunk *held = &sealed->detail;
	struct key_block key = sealed_key(sealed, unit, KEYS_BLOCK_DETAIL, chunk);
	if (!sealed_holds(sealed, held->is_held, held->key)) {
		*held = (struct sealed_chunk){ .key = key };
		int r = sealed_read_detail(sealed, key, block, &held->chunk);
		if (r < 0)
			return r;
		held->is_held = true;
	}
	*ret_chunk = held->chunk;
	return 0;
}

/* Heads that are held were decoded and checked. */
int sealed_get_detail_heads(
        struct sealed *sealed, const struct detail_chunk *chunk, struct detail_heads *ret_heads)
{
	struct sealed_chunk *held = &sealed->detail;
	if (!sealed->holds || !held->has_heads) {
		held->has_heads = false;
		int r = detail_chunk_get_heads(chunk, sealed->detail_memory, &held->heads);
		r = r < 0 ? r : sealed_check_heads(sealed, chunk, &held->heads);
		if (r < 0)
			return r;
		held->has_heads = true;
	}
	*ret_heads = held->heads;
	return 0;
}
