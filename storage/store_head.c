/*
 * Making sums of what is open, by the code that seals:
 *
 *	begin     appends to the window are noted from here on
 *	collect   its batches, or those that no segment has and those of segments that are small
 *	          beside them: in the gate for a few hundred kilobytes at a time
 *	write     members, sums, values and watchers into a segment in memory
 *	publish   in the gate: the segment takes the place of those that are in it, and what came
 *	          meanwhile, or could not be used, is what is fresh
 *
 * When: as soon as what is fresh weighs head_sums_min and half of what the segments have, or when
 * nothing came since the last turn. Segments that weigh at most twice as much go into the new one.
 * So a window that grows is read about three times in all, has few segments, and when it does not
 * grow any more little of it is decoded by questions.
 *
 * Whatever fails leaves the window as it was, which only costs questions time; it is tried again
 * when twice as much is fresh.
 */

#include <errno.h>
#include <string.h>

#include "storage/store_seal_private.h"

#define HEAD_ROWS_MAX (1u << 20) /* in memory, of the batches that are collected */

struct head_build {
	struct store *store;
	struct key_window key; /* of the next segment */
	uint64_t stamp;
	uint32_t reopens;
	uint64_t bytes; /* fresh when it began */
	bool absorbs[HEAD_SEGMENTS_MAX];
	bool is_listed;  /* only those keys: else whatever there is */
	struct buf keys; /* struct key_batch */
	struct head_segment *segment;
};

/* ---- which ---- */

static uint64_t head_window_bytes(const struct head_window *window)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < window->segments_count; i++)
		bytes += window->segments[i]->batches_bytes;
	return bytes;
}

/* Under writer, as fresh_bytes is changed by whoever has it. */
static bool head_is_due(const struct store *store, struct head_window *window)
{
	uint64_t bytes = window->fresh_bytes;
	uint64_t least = store->options.head_sums_min;
	bool is_idle = bytes == window->bytes_seen;
	window->bytes_seen = bytes;
	if (window->bytes_before > least)
		least = window->bytes_before;
	if (!window->is_scanned)
		return bytes >= window->bytes_before;
	return bytes >= least && (is_idle || bytes >= head_window_bytes(window) / 2);
}

/* A window with much that is open, and not known yet. Under writer, the gate locked. */
static void head_add(struct store *store, const struct head_size *size)
{
	uint64_t to_ns;
	if (size->bytes >= store->options.head_sums_min &&
	        !head_sums_find(&store->head_sums, size->from_ns) &&
	        !__builtin_add_overflow(size->from_ns, store->options.window_ns, &to_ns))
		(void)head_sums_add(&store->head_sums, size->from_ns, to_ns);
}

/* Those whose turn it is, the newest first. */
static uint32_t head_list_due(struct store *store, uint64_t ret_due[HEAD_WINDOWS_MAX])
{
	struct head_sums *heads = &store->head_sums;
	uint32_t count = 0;
	pthread_mutex_lock(&store->writer);
	gate_lock(&store->gate);
	for (uint32_t i = heads->windows_count; i-- > 0;)
		if (heads->windows[i]->is_incomplete)
			head_sums_drop(heads, heads->windows[i]->from_ns, heads->windows[i]->to_ns);
	for (uint32_t i = 0; i < store->heads.count; i++)
		head_add(store, &store->heads.sizes[i]);
	for (uint32_t i = heads->windows_count; i-- > 0;)
		if (head_is_due(store, heads->windows[i]))
			ret_due[count++] = heads->windows[i]->from_ns;
	gate_unlock(&store->gate);
	pthread_mutex_unlock(&store->writer);
	return count;
}

/* ---- begin ---- */

static int head_compare_keys(const void *a, const void *b)
{
	return key_batch_compare(*(const struct key_batch *)a, *(const struct key_batch *)b);
}

static void head_sort_keys(struct buf *keys)
{
	size_t count = ARRAY_COUNT(struct key_batch, *keys);
	if (count > 1)
		qsort(keys->bytes, count, sizeof(struct key_batch), head_compare_keys);
}

/* Which segments go into the new one: small ones, or all where there can be no more. */
static int head_choose(struct head_build *build, const struct head_window *window)
{
	for (uint32_t i = 0; i < window->segments_count; i++) {
		const struct head_segment *segment = window->segments[i];
		build->absorbs[i] = window->segments_count == HEAD_SEGMENTS_MAX ||
		                    segment->batches_bytes / 2 <= build->bytes;
		if (build->absorbs[i])
			buf_put(&build->keys, segment->batches,
			        segment->batches_count * sizeof(*segment->batches));
	}
	return build->keys.failed ? -ENOMEM : 0;
}

/* -ENOENT: it is not there any more. Under writer. */
static int head_begin_locked(struct head_build *build)
{
	struct store *store = build->store;
	const struct head_window *window = head_sums_find(&store->head_sums, build->key.from_ns);
	if (!window || store->is_broken)
		return -ENOENT;
	build->key.to_ns = window->to_ns;
	build->stamp = window->stamp;
	build->reopens = store->reopens;
	build->bytes = window->fresh_bytes;
	build->is_listed = window->is_scanned;
	if (!build->is_listed)
		return 0;
	if (!head_sums_get_fresh(&store->head_sums, window, &build->keys))
		return -ENOMEM;
	return head_choose(build, window);
}

static int head_begin(struct head_build *build)
{
	pthread_mutex_lock(&build->store->writer);
	int r = head_begin_locked(build);
	pthread_mutex_unlock(&build->store->writer);
	head_sort_keys(&build->keys);
	return r;
}

/* ---- the segment ---- */

static int head_put_record(struct seal *seal, const struct window *window)
{
	uint8_t key_bytes[KEYS_WINDOW_BYTES];
	keys_put_window(seal->key, key_bytes);
	window_put(window, seal->key, (struct kv_bytes){ key_bytes, sizeof(key_bytes) },
	        &seal->segment->record);
	return seal->segment->record.failed ? -ENOMEM : 0;
}

static int head_list_batches(const struct seal *seal, struct head_segment *segment)
{
	const struct seal_interval *intervals = ARRAY(struct seal_interval, seal->intervals);
	const struct seal_unit *units = ARRAY(struct seal_unit, seal->units);
	size_t count = ARRAY_COUNT(struct seal_interval, seal->intervals);
	segment->batches = malloc(count * sizeof(*segment->batches));
	if (!segment->batches)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		segment->batches[i] = intervals[i].key;
	for (size_t i = 0; i < ARRAY_COUNT(struct seal_unit, seal->units); i++)
		segment->rows += units[i].rows;
	segment->batches_count = (uint32_t)count;
	segment->batches_bytes = seal->bytes_batches;
	return 0;
}

static int head_write(struct seal *seal)
{
	AUTO_WINDOW window = { 0 };
	seal->segment->key = seal->key;
	int r = seal_rank_intervals(seal);
	r = r < 0 ? r : seal_make_units(seal);
	r = r < 0 ? r : seal_write_rounds(seal);
	r = r < 0 ? r : seal_write_watchers(seal, &window.watchers_chunks);
	r = r < 0 ? r : seal_describe(seal, &window);
	r = r < 0 ? r : head_put_record(seal, &window);
	r = r < 0 ? r : head_list_batches(seal, seal->segment);
	if (r == 0)
		head_segment_trim(seal->segment);
	return r;
}

/* ---- publish ---- */

/* Both ascending: is the key one of those? */
static bool head_has_key(
        const struct key_batch *keys, size_t count, size_t *at, const struct key_batch *key)
{
	while (*at < count && key_batch_compare(keys[*at], *key) < 0)
		++*at;
	return *at < count && key_batch_compare(keys[*at], *key) == 0;
}

/* What came by now, and what could not be used, less what the segment has: each once. */
static int head_list_fresh(struct head_build *build, const struct head_window *window,
        const struct buf *unusable, struct buf *fresh)
{
	if (!head_sums_get_fresh(&build->store->head_sums, window, fresh))
		return -ENOMEM;
	if (unusable->count > 0)
		buf_put(fresh, unusable->bytes, unusable->count);
	if (fresh->failed)
		return -ENOMEM;
	head_sort_keys(fresh);
	struct key_batch *keys = ARRAY(struct key_batch, *fresh);
	size_t count = ARRAY_COUNT(struct key_batch, *fresh);
	const struct head_segment *segment = build->segment;
	size_t kept = 0;
	size_t at = 0;
	for (size_t i = 0; i < count; i++) {
		if (head_has_key(segment->batches, segment->batches_count, &at, &keys[i]) ||
		        (kept > 0 && key_batch_compare(keys[kept - 1], keys[i]) == 0))
			continue;
		keys[kept++] = keys[i];
	}
	fresh->count = kept * sizeof(*keys);
	return 0;
}

/* The window, unless another or none is in its place by now. Under writer. */
static struct head_window *head_find(const struct head_build *build)
{
	struct store *store = build->store;
	struct head_window *window = head_sums_find(&store->head_sums, build->key.from_ns);
	bool is_same = window && window->stamp == build->stamp && !store->is_broken &&
	               store->reopens == build->reopens;
	return is_same ? window : NULL;
}

static int head_publish(struct head_build *build, const struct buf *unusable)
{
	struct store *store = build->store;
	AUTO_BUF fresh = { 0 };
	pthread_mutex_lock(&store->writer);
	struct head_window *window = head_find(build);
	int r = window ? head_list_fresh(build, window, unusable, &fresh) : -ENOENT;
	if (r == 0) {
		gate_lock(&store->gate);
		window->is_scanned = true;
		window->bytes_before = 0;
		head_sums_set_fresh(&store->head_sums, window, &fresh, build->bytes);
		if (head_sums_replace(&store->head_sums, window, build->absorbs, build->segment))
			build->segment = NULL;
		else
			head_sums_drop(&store->head_sums, window->from_ns, window->to_ns);
		gate_unlock(&store->gate);
	}
	pthread_mutex_unlock(&store->writer);
	return r;
}

/* ---- without memory ---- */

/* Nothing is known of it any more, until there is twice as much. Under writer, the gate locked. */
static void head_give_up(struct store *store, struct head_window *window)
{
	bool absorbs[HEAD_SEGMENTS_MAX];
	memset(absorbs, true, sizeof(absorbs));
	(void)head_sums_replace(&store->head_sums, window, absorbs, NULL);
	window->is_scanned = false;
	window->bytes_before = window->fresh_bytes +
	                       head_sizes_get(&store->heads, window->from_ns).bytes;
}

/* The oldest window before this one gives way. false: there is none that has any memory. */
static bool head_make_room(struct head_build *build)
{
	struct store *store = build->store;
	bool has_room = false;
	pthread_mutex_lock(&store->writer);
	gate_lock(&store->gate);
	const struct head_window *oldest = head_sums_next(&store->head_sums, 0, build->key.from_ns);
	if (oldest) {
		head_give_up(store, head_sums_find(&store->head_sums, oldest->from_ns));
		has_room = true;
	}
	gate_unlock(&store->gate);
	pthread_mutex_unlock(&store->writer);
	return has_room;
}

/* It stays as it is, until there is twice as much. */
static void head_refuse(struct head_build *build)
{
	struct store *store = build->store;
	pthread_mutex_lock(&store->writer);
	gate_lock(&store->gate);
	struct head_window *window = head_find(build);
	if (window && !window->is_scanned)
		head_give_up(store, window);
	else if (window)
		window->bytes_before = 2 * build->bytes;
	store->head_sums.refused++;
	gate_unlock(&store->gate);
	pthread_mutex_unlock(&store->writer);
}

/* ---- a window ---- */

static uint64_t head_memory_left(const struct store *store)
{
	uint64_t taken = store->head_sums.memory;
	uint64_t most = store->options.head_sums_bytes_max;
	return taken < most ? most - taken : 0;
}

/* One segment. *ret_has_others: `unusable` has batches of other generations, and it is not empty.
 */
static int head_make_segment(struct head_build *build, struct buf *unusable, bool *ret_has_others)
{
	struct store *store = build->store;
	uint64_t rows_max = store->options.seal_rows_max;
	build->key.generation = store->head_sums.number++ & ((1u << KEYS_LEVEL_SHIFT) - 1);
	build->segment = head_segment_new();
	if (!build->segment)
		return -ENOMEM;
	struct seal seal = {
		.store = store,
		.key = build->key,
		.rows_max = rows_max < HEAD_ROWS_MAX ? rows_max : HEAD_ROWS_MAX,
		.segment = build->segment,
		.memory_max = head_memory_left(store),
		.is_listed = build->is_listed,
		.listed = ARRAY(struct key_batch, build->keys),
		.listed_count = ARRAY_COUNT(struct key_batch, build->keys),
		.is_first = true,
	};
	int r = seal_init(&seal);
	r = r < 0 ? r : seal_collect(&seal);
	if (r == 0 && seal.intervals.count > 0)
		r = head_write(&seal);
	*ret_has_others = seal.has_others && seal.intervals.count > 0;
	buf_put(unusable, seal.corrupt.bytes, seal.corrupt.count);
	seal_fini(&seal);
	return r == 0 && unusable->failed ? -ENOMEM : r;
}

/* A segment for each generation of the dictionary that its batches are of. */
static int head_make_segments(struct head_build *build)
{
	bool has_others = false;
	int r = head_begin(build);
	do {
		AUTO_BUF unusable = { 0 };
		r = r < 0 ? r : head_make_segment(build, &unusable, &has_others);
		r = r < 0 ? r : head_publish(build, &unusable);
		head_segment_free(build->segment);
		build->segment = NULL;
		if (r < 0)
			break;
		/* What is left is fresh: the next one is of the first of it that can be read. */
		buf_fini(&build->keys);
		build->keys = unusable;
		unusable = (struct buf){ 0 };
		build->is_listed = true;
		build->bytes = 0;
		memset(build->absorbs, false, sizeof(build->absorbs));
	} while (has_others);
	return r;
}

static void head_build(struct store *store, uint64_t from_ns)
{
	int r;
	do {
		struct head_build build = { .store = store, .key = { .from_ns = from_ns } };
		r = head_make_segments(&build);
		if (r == -ENOBUFS && head_make_room(&build))
			r = -EAGAIN;
		else if (r < 0 && r != -ENOENT)
			head_refuse(&build);
		buf_fini(&build.keys);
	} while (r == -EAGAIN);
}

void store_sum_heads(struct store *store)
{
	uint64_t due[HEAD_WINDOWS_MAX];
	turn_lock_enter(&store->sealing);
	uint32_t count = head_list_due(store, due);
	for (uint32_t i = 0; i < count; i++) {
		head_build(store, due[i]);
		turn_lock_pass(&store->sealing);
	}
	turn_lock_leave(&store->sealing);
}
