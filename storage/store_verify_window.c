/*
 * Sealed windows and rollups: for each window its record, then its watchers, its units
 * (store_verify_unit.c) and its blocks (store_verify_blocks.c). No window may be in two rollups of
 * a level, no batch open and sealed, no series in two units: it would be counted twice.
 *
 * What a run that began to erase speaks of is passed over.
 */

#include "storage/store_verify_window_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VERIFY_BLOCK_FAMILIES 4 /* sums of three levels, and detail */

/* That a window was added up from another. */
struct verify_source {
	struct key_window key;
	uint32_t level; /* of the rollup */
};

int verify_compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

int verify_compare_intervals(const void *a, const void *b)
{
	const struct detail_interval *x = a;
	const struct detail_interval *y = b;
	if (x->stream != y->stream)
		return x->stream < y->stream ? -1 : 1;
	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

void verify_sort(struct buf *buf, size_t each, int (*compare)(const void *a, const void *b))
{
	if (buf->count > each)
		qsort(buf->bytes, buf->count / each, each, compare);
}

/* Where the blocks of the window are that are not detail. */
enum kv_family verify_sums_family(const struct verify_window *window)
{
	static const enum kv_family families[WINDOW_LEVELS] = { KV_SUMS, KV_SUMS_HOUR,
		KV_SUMS_DAY };
	uint32_t level = key_window_level(window->key);
	return families[level < WINDOW_LEVELS ? level : 0];
}

const char *verify_sums_name(const struct verify_window *window)
{
	static const char *const names[WINDOW_LEVELS] = { "sums", "sums_hour", "sums_day" };
	uint32_t level = key_window_level(window->key);
	return names[level < WINDOW_LEVELS ? level : 0];
}

bool verify_is_rollup(const struct verify_window *window)
{
	return key_window_level(window->key) > 0;
}

int verify_get_block(struct verify_window *window, enum kv_family family, uint32_t unit,
        enum keys_block_part part, uint32_t chunk, uint8_t key_bytes[KEYS_BLOCK_BYTES],
        struct buf *to)
{
	struct key_block key = {
		.window = window->key,
		.unit = unit,
		.part = part,
		.chunk = chunk,
	};
	keys_put_block(key, key_bytes);
	buf_reset(to);
	return kv_get(
	        window->verify->kv, family, (struct kv_bytes){ key_bytes, KEYS_BLOCK_BYTES }, to);
}

int verify_get_chunk(struct verify_window *window, enum kv_family family, uint32_t unit,
        enum keys_block_part part, uint32_t number, struct buf *bytes, struct detail_memory *memory,
        struct detail_chunk *ret_chunk, struct detail_heads *ret_heads)
{
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	int r = verify_get_block(window, family, unit, part, number, key_bytes, bytes);
	struct kv_bytes value = { bytes->bytes, bytes->count };
	r = r < 0 ? r : detail_chunk_open(key, value, ret_chunk);
	return r < 0 ? r : detail_chunk_get_heads(ret_chunk, memory, ret_heads);
}

void verify_put_window(struct verify_place *place, struct key_window key)
{
	verify_put_time(place, key.from_ns);
	verify_put(place, " to ");
	verify_put_time(place, key.to_ns);
	if (key.generation)
		verify_put(place, " generation %" PRIu32, key.generation);
}

/* ---- watchers ---- */

static int verify_watchers_chunk(struct verify_window *window, uint32_t number)
{
	struct detail_chunk chunk;
	struct detail_heads heads;
	struct verify_place place = window->place;
	verify_put(&place, ": watchers chunk %" PRIu32, number);
	int r = verify_get_chunk(window, verify_sums_family(window), KEYS_UNIT_NONE,
	        KEYS_BLOCK_WATCHERS, number, &window->verify->value, window->verify->memory, &chunk,
	        &heads);
	if (verify_is_damage(r)) {
		window->has_watchers = false;
		place.family = verify_sums_name(window);
		return verify_damage(window->verify, &place,
		        "who was watching: intervals, gaps, losses that are nobody's", "%s",
		        verify_reason(r));
	}
	if (r == 0 && chunk.intervals_count)
		buf_put(&window->intervals, heads.intervals,
		        chunk.intervals_count * sizeof(*heads.intervals));
	return r < 0 ? r : window->intervals.failed ? -ENOMEM : 0;
}

/* Is it open as well? */
static int verify_sealed_batch(struct verify_window *window, const struct detail_interval *interval)
{
	struct verify *verify = window->verify;
	uint8_t key_bytes[KEYS_BATCH_BYTES];
	struct key_batch key = { interval->start_ns, interval->stream, interval->seq };
	keys_put_batch(key, key_bytes);
	buf_reset(&verify->value);
	int r = kv_get(verify->kv, KV_BATCH, (struct kv_bytes){ key_bytes, sizeof(key_bytes) },
	        &verify->value);
	if (r == 0)
		r = verify_damage(verify, &window->place, "nothing: a batch is counted twice",
		        "seq %" PRIu64 " of stream %" PRIu32 " is open and sealed", key.seq,
		        key.stream);
	else if (r == -ENOENT || r == -EIO || r == -EBADMSG)
		r = 0; /* what cannot be read was told of with the batches */
	return r < 0 ? r : verify_kept(verify, &window->place, key);
}

static int verify_watchers(struct verify_window *window)
{
	const struct window *record = &window->record;
	uint64_t first_ns = UINT64_MAX;
	uint64_t last_ns = 0;
	int r = 0;
	window->has_watchers = true;
	for (uint32_t i = 0; i < record->watchers_chunks && r == 0; i++)
		r = verify_watchers_chunk(window, i);
	verify_sort(&window->intervals, sizeof(struct detail_interval), verify_compare_intervals);
	const struct detail_interval *intervals = ARRAY(struct detail_interval, window->intervals);
	size_t count = ARRAY_COUNT(struct detail_interval, window->intervals);
	/* A rollup's are runs of intervals, whose batches were looked at with its sources. */
	if (verify_is_rollup(window))
		return r;
	for (size_t i = 0; i < count && r == 0; i++) {
		first_ns = intervals[i].start_ns < first_ns ? intervals[i].start_ns : first_ns;
		last_ns = intervals[i].start_ns > last_ns ? intervals[i].start_ns : last_ns;
		r = verify_sealed_batch(window, &intervals[i]);
	}
	if (r < 0 || !window->has_watchers)
		return r;
	if (count != record->batches)
		return verify_damage(window->verify, &window->place,
		        "the count of batches is wrong",
		        "its record says %" PRIu64 " batches, its watchers %zu", record->batches,
		        count);
	if (first_ns != record->first_ns || last_ns != record->last_ns)
		return verify_damage(window->verify, &window->place, "",
		        "its record says another time of the first or last batch than its "
		        "watchers");
	return 0;
}

/* ---- one window ---- */

/* No (tenant, series) in two units: it would be counted twice. */
static int verify_owners(struct verify_window *window, const struct buf *per_unit)
{
	const uint64_t *owned = ARRAY(uint64_t, *per_unit);
	size_t count = ARRAY_COUNT(uint64_t, *per_unit);
	for (size_t i = 1; i < count; i++)
		if (owned[i] == owned[i - 1])
			return verify_damage(window->verify, &window->place,
			        "nothing: a series is counted twice",
			        "series %" PRIu32 " is in two units", (uint32_t)owned[i]);
	return 0;
}

/* What one unit owns, each once, behind what the others do. */
static void verify_settle_owned(struct buf *owned, size_t before)
{
	uint64_t *first = (uint64_t *)(void *)(owned->bytes + before);
	size_t count = (owned->count - before) / sizeof(*first);
	size_t kept = 0;
	if (count > 1)
		qsort(first, count, sizeof(*first), verify_compare_u64);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || first[i] != first[i - 1])
			first[kept++] = first[i];
	owned->count = before + kept * sizeof(*first);
}

/* Erased, or being erased: some of its blocks may be there and others not. */
static bool verify_is_erased(const struct verify_window *window, uint32_t unit)
{
	return window->record.units[unit].is_gone ||
	       expiry_parts(&window->verify->erasing, window->key, unit) != 0;
}

static int verify_units(struct verify_window *window)
{
	/* What cannot be read may have had values. */
	buf_reset(&window->values_apart);
	for (uint32_t i = 0; i < window->record.units_count; i++)
		buf_put_u8(&window->values_apart, true);
	int r = window->values_apart.failed ? -ENOMEM : 0;
	for (uint32_t i = 0; i < window->record.units_count && r == 0; i++) {
		size_t before = window->owned.count;
		if (verify_is_erased(window, i))
			continue;
		r = verify_unit(window, i);
		if (window->owned.count > before)
			verify_settle_owned(&window->owned, before);
		uint32_t tenant = UINT32_MAX;
		for (uint32_t j = 0; j < window->verify->tenants_count; j++)
			if (strcmp(window->verify->tenants[j].name,
			            window->record.tenants[window->record.units[i].tenant]) == 0)
				tenant = j;
		/* Rollups have the same rows once more. */
		if (tenant != UINT32_MAX && !verify_is_rollup(window))
			window->verify->tenants[tenant].rows += window->rows;
	}
	verify_sort(&window->owned, sizeof(uint64_t), verify_compare_u64);
	/* Parts of a unit may differ from window to window, and so overlap in a rollup. */
	return r < 0 || verify_is_rollup(window) ? r : verify_owners(window, &window->owned);
}

static int verify_compare_sources(const void *a, const void *b)
{
	const struct verify_source *x = a;
	const struct verify_source *y = b;
	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return key_window_compare(x->key, y->key);
}

static int verify_put_sources(struct verify_window *window)
{
	for (uint32_t i = 0; i < window->record.sources_count; i++) {
		struct verify_source source = { window->record.sources[i],
			key_window_level(window->key) };
		buf_put(&window->sources, &source, sizeof(source));
	}
	return window->sources.failed ? -ENOMEM : 0;
}

/* With window->record: false when it cannot be read. */
static int verify_window_record(
        struct verify_window *window, struct kv_bytes key, struct kv_bytes value, bool *ret_is_read)
{
	window->place = (struct verify_place){ .family = "window" };
	verify_put_window(&window->place, window->key);
	buf_reset(&window->intervals);
	buf_reset(&window->owned);
	window_fini(&window->record);
	int r = window_get(key, value, window->key, &window->record);
	r = r < 0 ? r : verify_turn_to(window->verify, window->record.dictionary);
	*ret_is_read = r == 0 && !expiry_has_window(&window->verify->erasing, window->key);
	window->verify->summary.windows++;
	if (verify_is_damage(r))
		return verify_damage(window->verify, &window->place,
		        "everything that was sealed of this window", "%s", verify_reason(r));
	if (r < 0 || !*ret_is_read)
		return r;
	r = verify_put_sources(window);
	r = r < 0 ? r : verify_watchers(window);
	return r < 0 ? r : verify_units(window);
}

/* No window is in two rollups of a level: it would be counted twice. */
static int verify_sources(struct verify_window *window)
{
	struct verify_source *sources = ARRAY(struct verify_source, window->sources);
	size_t count = ARRAY_COUNT(struct verify_source, window->sources);
	int r = 0;
	verify_sort(&window->sources, sizeof(*sources), verify_compare_sources);
	for (size_t i = 1; i < count && r == 0; i++) {
		struct verify_place place = { .family = "window" };
		if (verify_compare_sources(&sources[i - 1], &sources[i]) != 0)
			continue;
		verify_put_window(&place, sources[i].key);
		r = verify_damage(window->verify, &place, "nothing: it is counted twice",
		        "it is in two rollups of level %" PRIu32, sources[i].level);
	}
	return r;
}

static int verify_window(struct verify_window *window, struct verify_blocks *blocks,
        struct kv_bytes key, struct kv_bytes value)
{
	uint8_t window_bytes[KEYS_WINDOW_BYTES];
	struct kv_bytes window_key = { window_bytes, sizeof(window_bytes) };
	bool is_read;
	if (keys_get_window(key.bytes, key.count, &window->key) < 0) {
		struct verify_place place = { .family = "window" };
		verify_put(&place, "a key of %zu bytes", key.count);
		return verify_damage(window->verify, &place, "what was sealed under it",
		        "no key that this family has");
	}
	keys_put_window(window->key, window_bytes);
	int r = 0;
	for (size_t i = 0; i < VERIFY_BLOCK_FAMILIES && r == 0; i++)
		r = verify_blocks_before(&blocks[i], window_key);
	r = r < 0 ? r : verify_window_record(window, key, value, &is_read);
	for (size_t i = 0; i < VERIFY_BLOCK_FAMILIES && r == 0; i++)
		r = verify_blocks_of(&blocks[i], window, is_read, window_key);
	return r;
}

static void verify_window_fini(struct verify_window *window)
{
	window_fini(&window->record);
	detail_memory_free(window->members_memory);
	buf_fini(&window->intervals);
	buf_fini(&window->owned);
	buf_fini(&window->sources);
	buf_fini(&window->members_bytes);
	buf_fini(&window->sums_bytes);
	buf_fini(&window->values_bytes);
	buf_fini(&window->values_apart);
	buf_fini(&window->facts);
	buf_fini(&window->sums_of);
	buf_fini(&window->instances);
	buf_fini(&window->places);
}

int verify_windows(struct verify *verify)
{
	struct verify_window window = { .verify = verify, .members_memory = detail_memory_new() };
	static const struct {
		enum kv_family family;
		const char *name;
	} families[VERIFY_BLOCK_FAMILIES] = {
		{ KV_SUMS, "sums" },
		{ KV_SUMS_HOUR, "sums_hour" },
		{ KV_SUMS_DAY, "sums_day" },
		{ KV_DETAIL, "detail" },
	};
	struct verify_blocks blocks[VERIFY_BLOCK_FAMILIES] = { 0 };
	struct verify_scan scan = { 0 };
	struct kv_bytes key = { 0 }, value = { 0 };
	int r = window.members_memory ? 0 : -ENOMEM;
	r = r < 0 ? r : verify_scan_init(&scan, verify, KV_WINDOW, "window");
	for (size_t i = 0; i < COUNT_OF(families) && r == 0; i++)
		r = verify_blocks_init(&blocks[i], verify, families[i].family, families[i].name);
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0)
		r = verify_window(&window, blocks, key, value);
	for (size_t i = 0; i < COUNT_OF(blocks) && r >= 0; i++)
		r = verify_blocks_before(&blocks[i], (struct kv_bytes){ 0 });
	r = r < 0 ? r : verify_sources(&window);
	verify_scan_fini(&scan);
	for (size_t i = 0; i < COUNT_OF(blocks); i++)
		verify_blocks_fini(&blocks[i]);
	verify_window_fini(&window);
	return r;
}
