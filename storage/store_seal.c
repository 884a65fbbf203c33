/*
 * Sealing one window:
 *
 *	note      from here on appends say what they put into the window (late)
 *	collect   its batches are read and taken apart into items: what one series had in one
 *	          interval; in the gate for a few megabytes at a time
 *	write     items in the order (tenant, service, type, series, stream, time); per unit a block
 *	          of members, one of sums, chunks of detail; into files beside the database, under
 *	          the next generation's keys
 *	take in   the files become part of the database: synced, where nobody looks
 *	commit    one synced write: the window's record, which makes the blocks count, and the
 *	          deletion of the batches that are in them
 *
 * A kill before the commit leaves files, or blocks that nothing names: the next open removes the
 * former, the next seal of the window, which has the same generation, the latter. What came late,
 * and what cannot be read, is spared by the deletion and stays open.
 *
 * The space of the batches comes back with the next flush: they are in the log and in memory, and
 * what was deleted there is not written to a file. A flush is begun when the log has grown.
 *
 * A window's ids are of one generation of the dictionary: the one that its first batch is of. The
 * batches of others are spared as well, and sealed at once as the window's next generation.
 *
 * Memory is bounded by seal_rows_max: where the window has more rows, they are taken in rounds of
 * as many units as fit, and the batches are read once more for each round; a unit that is larger
 * than that alone is cut into parts between series.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "storage/sealed.h"
#include "storage/store_seal_private.h"

#define SEAL_ATTEMPTS       3
#define SEAL_UNSEALABLE_MAX 1024
#define SEAL_LOG_BYTES      (16u << 20)  /* a log that is worth a flush */
#define SEAL_MUCH_BYTES     (128u << 10) /* of batches that came late */
#define SEAL_BATCHES_BYTES  (64u << 10)  /* of batches in files that is worth a merge */
/* Where some are open: each merge flushes these, and writes them once more. */
#define SEAL_BATCHES_OPEN_BYTES (4u << 20)
/*
 * Each seal deletes a range of batches, all of them from the beginning of time, and whoever begins
 * to read batches sorts those that are in memory: a thousand are ten milliseconds.
 */
#define SEAL_DELETIONS_MAX 64

static void seal_chunk_fini(struct seal_chunk *chunk)
{
	buf_fini(&chunk->ranks);
	buf_fini(&chunk->intervals);
	buf_fini(&chunk->reports);
	buf_fini(&chunk->losses);
	buf_fini(&chunk->places);
	buf_fini(&chunk->values);
}

void seal_fini(struct seal *seal)
{
	buf_fini(&seal->intervals);
	buf_fini(&seal->ranked);
	buf_fini(&seal->ranks);
	buf_fini(&seal->corrupt);
	buf_fini(&seal->nobodys);
	id_map_free(seal->member_ids);
	buf_fini(&seal->members);
	buf_fini(&seal->places);
	buf_fini(&seal->units);
	buf_fini(&seal->tenants);
	buf_fini(&seal->items);
	buf_fini(&seal->nodes);
	buf_fini(&seal->values);
	buf_fini(&seal->large);
	buf_fini(&seal->losses);
	batch_free(seal->batch);
	store_repin(seal->store, &seal->pinned, NULL);
	buf_fini(&seal->scratch);
	column_scratch_fini(&seal->columns);
	seal_chunk_fini(&seal->chunk);
	buf_fini(&seal->block);
	buf_fini(&seal->group_values);
	kv_files_free(seal->sums);
	kv_files_free(seal->detail);
}

int seal_init(struct seal *seal)
{
	seal->member_ids = id_map_new(UINT32_MAX - 1);
	if (seal->rows_max == 0)
		seal->rows_max = seal->store->options.seal_rows_max;
	if (seal->segment)
		return seal->member_ids ? 0 : -ENOMEM;
	seal->sums = kv_files_new(seal->store->kv, KV_SUMS);
	seal->detail = kv_files_new(seal->store->kv, KV_DETAIL);
	return seal->member_ids && seal->sums && seal->detail ? 0 : -ENOMEM;
}

/* ---- what comes meanwhile ---- */

void store_note_late(struct store *store, struct key_batch key)
{
	if (!store->late.is_active || key.start_ns < store->late.from_ns ||
	        key.start_ns >= store->late.to_ns)
		return;
	if (store->late.count == store->late.capacity) {
		uint32_t capacity = store->late.capacity ? store->late.capacity * 2 : 64;
		struct key_batch *keys = realloc(store->late.keys, capacity * sizeof(*keys));
		if (!keys) {
			store->late.is_incomplete = true;
			return;
		}
		store->late.keys = keys;
		store->late.capacity = capacity;
	}
	store->late.keys[store->late.count++] = key;
}

static void seal_begin(struct seal *seal)
{
	struct store *store = seal->store;
	pthread_mutex_lock(&store->writer);
	store->late.is_active = true;
	store->late.is_incomplete = false;
	store->late.from_ns = seal->key.from_ns;
	store->late.to_ns = seal->key.to_ns;
	store->late.count = 0;
	seal->reopens = store->reopens;
	pthread_mutex_unlock(&store->writer);
}

static void seal_end(struct seal *seal)
{
	pthread_mutex_lock(&seal->store->writer);
	seal->store->late.is_active = false;
	pthread_mutex_unlock(&seal->store->writer);
}

bool seal_may_write(const struct seal *seal)
{
	return !seal->store->is_broken && seal->store->reopens == seal->reopens &&
	       !seal->store->late.is_incomplete;
}
/* ---- the commit ---- */

static int seal_compare_keys(const void *a, const void *b)
{
	return key_batch_compare(*(const struct key_batch *)a, *(const struct key_batch *)b);
}

static int seal_compare_key_to_interval(const void *key, const void *interval)
{
	return key_batch_compare(
	        *(const struct key_batch *)key, ((const struct seal_interval *)interval)->key);
}

/*
 * Deletes the batches of [from_ns, end of the window) but those in `spared`, which is sorted. There
 * is nothing between two spared ones unless a sealed batch is.
 */
static void seal_delete_batches(struct seal *seal, struct kv_batch *write, uint64_t from_ns,
        const struct key_batch *spared, size_t spared_count)
{
	uint8_t from_bytes[KEYS_BATCH_BYTES];
	uint8_t to_bytes[KEYS_BATCH_BYTES];
	struct key_batch from = { .start_ns = from_ns };
	struct key_batch end = { .start_ns = seal->key.to_ns };
	const struct seal_interval *intervals = ARRAY(struct seal_interval, seal->intervals);
	size_t count = ARRAY_COUNT(struct seal_interval, seal->intervals);
	size_t next = 0;
	for (size_t i = 0; i <= spared_count; i++) {
		struct key_batch to = i < spared_count ? spared[i] : end;
		size_t first = next;
		while (next < count && key_batch_compare(intervals[next].key, to) < 0)
			next++;
		if (next > first) {
			keys_put_batch(from, from_bytes);
			keys_put_batch(to, to_bytes);
			kv_delete_range(seal->store->kv, write, KV_BATCH,
			        (struct kv_bytes){ from_bytes, sizeof(from_bytes) },
			        (struct kv_bytes){ to_bytes, sizeof(to_bytes) });
		}
		from = key_batch_next(to);
	}
}

/*
 * Where the deletion may begin: at the beginning of time when nothing is open before the window. A
 * file holds batches of several windows, and goes only when a deletion covers all of it. Under
 * writer.
 */
static int seal_delete_from(const struct seal *seal, uint64_t *ret_from_ns)
{
	uint8_t to[KEYS_TIME_BYTES];
	keys_put_time(seal->key.from_ns, to);
	AUTO(kv_iterator) it = kv_iterator_new(seal->store->kv, KV_BATCH, (struct kv_bytes){ 0 },
	        (struct kv_bytes){ to, sizeof(to) });
	if (!it)
		return -ENOMEM;
	*ret_from_ns = kv_iterator_is_valid(it) ? seal->key.from_ns : 0;
	return kv_iterator_result(it);
}

/* What is to stay: what could not be read, and what came too late to be. Under writer. */
static int seal_list_spared(struct seal *seal, struct buf *spared)
{
	const struct store *store = seal->store;
	const struct seal_interval *intervals = ARRAY(struct seal_interval, seal->intervals);
	size_t count = ARRAY_COUNT(struct seal_interval, seal->intervals);
	buf_put(spared, seal->corrupt.bytes, seal->corrupt.count);
	for (uint32_t i = 0; i < store->late.count; i++)
		if (!bsearch(&store->late.keys[i], intervals, count, sizeof(*intervals),
		            seal_compare_key_to_interval))
			buf_put(spared, &store->late.keys[i], sizeof(store->late.keys[i]));
	if (spared->failed)
		return -ENOMEM;
	size_t spared_count = ARRAY_COUNT(struct key_batch, *spared);
	if (spared_count > 1)
		qsort(spared->bytes, spared_count, sizeof(struct key_batch), seal_compare_keys);
	return 0;
}

int store_put_window(struct store *store, struct key_window key, const struct window *window,
        struct buf *scratch, struct kv_batch *write)
{
	uint8_t bytes[KEYS_WINDOW_BYTES];
	struct kv_bytes at = { bytes, sizeof(bytes) };
	keys_put_window(key, bytes);
	buf_reset(scratch);
	window_put(window, key, at, scratch);
	if (scratch->failed)
		return -ENOMEM;
	kv_put(store->kv, write, KV_WINDOW, at, store_bytes(scratch));
	return 0;
}

/* Under writer. Readers see the batches, or the window: they are kept out for the write. */
static int seal_commit(struct seal *seal, struct window *window)
{
	struct store *store = seal->store;
	AUTO(kv_batch) write = kv_batch_new();
	AUTO_BUF spared = { 0 };
	if (!write)
		return -ENOMEM;
	uint64_t from_ns = seal->key.from_ns;
	int r = seal_may_write(seal) ? seal_list_spared(seal, &spared) : -EAGAIN;
	r = r < 0 ? r : seal_delete_from(seal, &from_ns);
	r = r < 0 ? r : store_put_window(seal->store, seal->key, window, &seal->block, write);
	r = r < 0 ? r : store_put_format(store, write, STORE_FORMAT_VALUES);
	if (r < 0)
		return r;
	size_t spared_count = ARRAY_COUNT(struct key_batch, spared);
	seal_delete_batches(seal, write, from_ns, ARRAY(struct key_batch, spared), spared_count);

	store->batches_taken++;
	gate_lock(&store->gate);
	r = window_list_reserve(&store->windows);
	r = r < 0 ? r : store_write(store, write, KV_SYNC, "sealing a window");
	if (r == 0) {
		store_note_format(store, STORE_FORMAT_VALUES);
		struct window_entry entry = { .key = seal->key };
		window_describe(window, &entry);
		window_list_add(&store->windows, entry);
		head_sizes_clear(&store->heads, seal->key.from_ns);
		head_sums_drop(&store->head_sums, seal->key.from_ns, seal->key.to_ns);
	}
	gate_unlock(&store->gate);
	if (r == 0 && (++store->deletions_in_memory >= SEAL_DELETIONS_MAX ||
	                      kv_log_bytes(store->kv) >= SEAL_LOG_BYTES)) {
		kv_flush_begin(store->kv);
		store->deletions_in_memory = 0;
	}
	if (r == 0 && spared_count == 0) {
		uint8_t from[KEYS_TIME_BYTES];
		uint8_t to[KEYS_TIME_BYTES];
		keys_put_time(from_ns, from);
		keys_put_time(seal->key.to_ns, to);
		/* Only for the space: compaction gives it back as well. */
		(void)kv_delete_files(store->kv, KV_BATCH, (struct kv_bytes){ from, sizeof(from) },
		        (struct kv_bytes){ to, sizeof(to) });
	}
	return r;
}

int seal_describe(struct seal *seal, struct window *window)
{
	const struct seal_interval *intervals = ARRAY(struct seal_interval, seal->intervals);
	const struct seal_member *members = ARRAY(struct seal_member, seal->members);
	const struct seal_unit *units = ARRAY(struct seal_unit, seal->units);
	const uint32_t *tenants = ARRAY(uint32_t, seal->tenants);
	size_t count = ARRAY_COUNT(struct seal_interval, seal->intervals);
	window->first_ns = intervals[0].key.start_ns;
	window->last_ns = intervals[count - 1].key.start_ns;
	window->batches = count;
	window->dictionary = seal->dictionary;
	window->sealed_ns = clock_unix_ns(seal->store->clock);
	window->has_sizes = true;
	window->bytes_watchers = seal->bytes_watchers;
	window->tenants_count = (uint32_t)ARRAY_COUNT(uint32_t, seal->tenants);
	window->units_count = (uint32_t)ARRAY_COUNT(struct seal_unit, seal->units);
	window->tenants = calloc((size_t)window->tenants_count + 1, sizeof(*window->tenants));
	window->units = calloc((size_t)window->units_count + 1, sizeof(*window->units));
	if (!window->tenants || !window->units)
		return -ENOMEM;
	if (window->units_count > WINDOW_UNITS_MAX)
		return -E2BIG;

	gate_enter(&seal->store->gate);
	for (uint32_t i = 0; i < window->tenants_count; i++)
		snprintf(window->tenants[i], sizeof(window->tenants[i]), "%s",
		        seal->store->tenants[tenants[i]].name);
	gate_leave(&seal->store->gate);
	for (uint32_t i = 0; i < window->units_count; i++) {
		const struct seal_member *member = &members[units[i].members_first];
		uint32_t tenant = 0;
		while (tenants[tenant] != member->tenant)
			tenant++;
		window->units[i] = (struct window_unit){
			.tenant = tenant,
			.service = member->service,
			.type = member->type,
			.chunks = units[i].chunks,
			.rows = units[i].rows,
			.class = member->class,
			.bytes_detail = units[i].bytes_detail,
			.bytes_sums = units[i].bytes_sums,
		};
	}
	return 0;
}

static int seal_run(struct seal *seal)
{
	AUTO_WINDOW window = { 0 };
	int r = seal_sweep(seal);
	seal->is_first = true;
	r = r < 0 ? r : seal_collect(seal);
	if (r < 0 || seal->intervals.count == 0)
		return r;
	r = seal_rank_intervals(seal);
	r = r < 0 ? r : seal_make_units(seal);
	r = r < 0 ? r : seal_write_rounds(seal);
	r = r < 0 ? r : seal_write_watchers(seal, &window.watchers_chunks);
	r = r < 0 ? r : seal_describe(seal, &window);
	r = r < 0 ? r : seal_take_blocks(seal);
	if (r < 0)
		return r;
	pthread_mutex_lock(&seal->store->writer);
	r = seal_commit(seal, &window);
	pthread_mutex_unlock(&seal->store->writer);
	return r;
}

/* ---- which windows ---- */

static int seal_window(struct store *store, struct key_window key, bool *ret_has_others)
{
	struct seal seal = {
		.store = store,
		.key = key,
		.classifies_as_store = true,
	};
	int r = seal_init(&seal);
	if (r == 0) {
		seal_begin(&seal);
		r = seal_run(&seal);
		seal_end(&seal);
	}
	*ret_has_others = seal.has_others && seal.intervals.count > 0;
	seal_fini(&seal);
	return r;
}

static bool seal_is_unsealable(const struct store *store, uint64_t from_ns)
{
	for (uint32_t i = 0; i < store->unsealable_count; i++)
		if (store->unsealable[i] == from_ns)
			return true;
	return false;
}

static void seal_set_unsealable(struct store *store, uint32_t count)
{
	__atomic_store_n(&store->unsealable_count, count, __ATOMIC_RELAXED);
}

uint64_t store_unsealable_count(const struct store *store)
{
	return __atomic_load_n(&store->unsealable_count, __ATOMIC_RELAXED);
}

void store_note_deleted(struct store *store)
{
	store->batches_taken++;
	/* What made a window unsealable may be gone. */
	seal_set_unsealable(store, 0);
}

/* So that it is not tried again and again; the next start, or deletion, tries once more. */
static int seal_note_unsealable(struct store *store, uint64_t from_ns)
{
	if (!store->unsealable)
		store->unsealable = calloc(SEAL_UNSEALABLE_MAX, sizeof(*store->unsealable));
	if (!store->unsealable)
		return -ENOMEM;
	uint32_t at = store->unsealable_count % SEAL_UNSEALABLE_MAX;
	store->unsealable[at] = from_ns;
	if (store->unsealable_count < SEAL_UNSEALABLE_MAX)
		seal_set_unsealable(store, store->unsealable_count + 1);
	return 0;
}

/* A window that has batches. */
struct seal_due {
	struct key_window key;
	uint64_t sealed_batches; /* that it had before */
	bool is_late;            /* the last of it was sealed after its end, and not long ago */
};

/* What came late waits until it is worth a generation; what came before the end is not late. */
static void seal_look_back(const struct store *store, struct seal_due *due)
{
	uint64_t now_ns = clock_unix_ns(store->clock);
	for (uint32_t i = 0; due->key.generation > 0 && i < store->windows.count; i++) {
		const struct window_entry *entry = &store->windows.entries[i];
		if (entry->key.from_ns != due->key.from_ns || entry->key.to_ns != due->key.to_ns)
			continue;
		due->sealed_batches += entry->batches;
		if (entry->key.generation == due->key.generation - 1)
			due->is_late = entry->sealed_ns >= due->key.to_ns &&
			               (now_ns < entry->sealed_ns ||
			                       now_ns - entry->sealed_ns < store->options.late_ns);
	}
}

/* At least a third of it all need not wait: a window has few generations however it comes. */
static bool seal_must_wait(struct store *store, const struct seal_due *due)
{
	if (!due->is_late)
		return false;
	pthread_mutex_lock(&store->writer);
	struct head_size head = head_sizes_get(&store->heads, due->key.from_ns);
	pthread_mutex_unlock(&store->writer);
	return head.bytes < SEAL_MUCH_BYTES || head.batches < due->sealed_batches / 2;
}

/* What a window becomes that begins there. false: its end is past all time. */
static bool seal_key_of(const struct store *store, uint64_t from_ns, struct key_window *ret_key)
{
	struct key_window key = { .from_ns = from_ns };
	if (__builtin_add_overflow(from_ns, store->options.window_ns, &key.to_ns))
		return false;
	key.generation = store_next_generation(store, 0, key.from_ns, key.to_ns);
	key.generation = expiry_free_number(&store->expiry, key);
	*ret_key = key;
	return true;
}

/* The next window that has batches. false: none that ends in time. */
static int seal_find_window(struct store *store, uint64_t after_ns, uint64_t until_ns,
        struct seal_due *ret_due, bool *ret_is_found)
{
	uint8_t from[KEYS_TIME_BYTES];
	uint8_t to[KEYS_TIME_BYTES];
	struct key_batch first;
	uint64_t window_ns = store->options.window_ns;
	*ret_is_found = false;
	keys_put_time(after_ns, from);
	keys_put_time(until_ns, to);

	gate_enter(&store->gate);
	struct kv_iterator *it = kv_iterator_new(store->kv, KV_BATCH,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ to, sizeof(to) });
	int r = it ? 0 : -ENOMEM;
	for (; it && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		if (keys_get_batch(key.bytes, key.count, &first) == 0) {
			*ret_is_found = true;
			break;
		}
	}
	r = r < 0 ? r : kv_iterator_result(it);
	kv_iterator_free(it);
	if (r == 0 && *ret_is_found) {
		uint64_t from_ns = first.start_ns - first.start_ns % window_ns;
		struct seal_due due = { 0 };
		*ret_is_found = seal_key_of(store, from_ns, &due.key) && due.key.to_ns <= until_ns;
		seal_look_back(store, &due);
		*ret_due = due;
	}
	gate_leave(&store->gate);
	return r;
}

static int seal_make_writable(struct store *store)
{
	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	pthread_mutex_unlock(&store->writer);
	return r;
}

/* Seals what there is of a window, of each generation of the dictionary that its batches are of. */
static int seal_window_wholly(struct store *store, struct key_window key)
{
	bool has_others = false;
	do {
		int r = -EAGAIN;
		for (int attempt = 0; attempt < SEAL_ATTEMPTS && r == -EAGAIN; attempt++) {
			r = seal_make_writable(store);
			r = r < 0 ? r : seal_window(store, key, &has_others);
		}
		if (r < 0)
			return r;
		key.generation++;
		gate_enter(&store->gate);
		key.generation = expiry_free_number(&store->expiry, key);
		gate_leave(&store->gate);
	} while (has_others);
	return 0;
}

void store_settle_batches(struct store *store, uint64_t until_ns)
{
	uint8_t from[KEYS_TIME_BYTES];
	uint8_t to[KEYS_TIME_BYTES];
	keys_put_time(0, from);
	keys_put_time(until_ns, to);
	pthread_mutex_lock(&store->reclaiming);
	/* Only for the space: what fails here shows with the next write. */
	if (kv_files_disk_bytes(store->kv, KV_BATCH) >= SEAL_BATCHES_BYTES)
		(void)kv_settle(store->kv, KV_BATCH, (struct kv_bytes){ from, sizeof(from) },
		        (struct kv_bytes){ to, sizeof(to) });
	pthread_mutex_unlock(&store->reclaiming);
}

int store_settle(struct store *store)
{
	uint8_t from[KEYS_TIME_BYTES];
	uint8_t to[KEYS_TIME_BYTES];
	keys_put_time(0, from);
	keys_put_time(UINT64_MAX, to);
	int r = store_flush(store);
	if (r < 0)
		return r;
	pthread_mutex_lock(&store->reclaiming);
	r = kv_settle(store->kv, KV_BATCH, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
	pthread_mutex_unlock(&store->reclaiming);
	return r;
}

static bool seal_has_open(struct store *store)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_BATCH, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	return it && kv_iterator_is_valid(it);
}

/* After a seal: files that have none but sealed batches go at once, others when they are many. */
static void seal_settle(struct store *store, uint64_t until_ns)
{
	if (kv_files_disk_bytes(store->kv, KV_BATCH) >= SEAL_BATCHES_OPEN_BYTES ||
	        !seal_has_open(store))
		store_settle_batches(store, until_ns);
}

/* Between two windows: whoever waits to hide or erase something goes first. */
static int seal_let_others(struct store *store)
{
	turn_lock_pass(&store->sealing);
	return seal_make_writable(store);
}

static bool seal_take_large(struct store *store, struct head_size *ret_head)
{
	pthread_mutex_lock(&store->writer);
	bool is_found = head_sizes_take(&store->heads, store->options.head_bytes_max, ret_head);
	pthread_mutex_unlock(&store->writer);
	return is_found;
}

/* Windows that have grown too large to wait for their end. */
static int seal_large_windows(struct store *store)
{
	struct head_size head;
	struct key_window key = { 0 };
	int r = 0;
	while (r == 0 && seal_take_large(store, &head)) {
		gate_enter(&store->gate);
		bool is_possible = seal_key_of(store, head.from_ns, &key);
		gate_leave(&store->gate);
		if (!is_possible || seal_is_unsealable(store, head.from_ns))
			continue;
		r = seal_window_wholly(store, key);
		if (r == -EOVERFLOW || r == -E2BIG)
			r = seal_note_unsealable(store, head.from_ns);
		if (r == 0) {
			r = seal_let_others(store);
			continue;
		}
		pthread_mutex_lock(&store->writer);
		head_sizes_add(&store->heads, head);
		pthread_mutex_unlock(&store->writer);
	}
	return r;
}

int store_seal(struct store *store, uint64_t until_ns)
{
	struct seal_due due = { 0 };
	bool is_found = false;
	bool has_sealed = false;

	turn_lock_enter(&store->sealing);
	int r = seal_make_writable(store);
	for (;;) {
		r = r < 0 ? r : seal_find_window(store, due.key.to_ns, until_ns, &due, &is_found);
		if (r < 0 || !is_found)
			break;
		if (seal_must_wait(store, &due) || seal_is_unsealable(store, due.key.from_ns))
			continue;
		r = seal_window_wholly(store, due.key);
		has_sealed |= r == 0;
		if (r == -EOVERFLOW || r == -E2BIG)
			r = seal_note_unsealable(store, due.key.from_ns);
		r = r < 0 ? r : seal_let_others(store);
	}
	r = r < 0 ? r : seal_large_windows(store);
	if (r == 0 && has_sealed)
		seal_settle(store, until_ns);
	turn_lock_leave(&store->sealing);
	return r;
}

/* ---- what is sealed ---- */

uint32_t store_next_generation(
        const struct store *store, uint32_t level, uint64_t from_ns, uint64_t to_ns)
{
	uint32_t next = window_list_generation(
	        store_windows_const(store, level), level, from_ns, to_ns);
	for (uint32_t above = level + 1; above < WINDOW_LEVELS; above++) {
		const struct window_list *list = store_windows_const(store, above);
		uint64_t earliest = from_ns > list->longest_ns ? from_ns - list->longest_ns : 0;
		for (uint32_t i = window_list_behind(list, earliest);
		        i < list->count && list->entries[i].key.from_ns < to_ns; i++) {
			const struct window_entry *entry = &list->entries[i];
			for (uint32_t j = 0; j < entry->sources_count; j++) {
				struct key_window source = entry->sources[j];
				if (source.from_ns == from_ns && source.to_ns == to_ns &&
				        key_window_level(source) == level &&
				        source.generation >= next)
					next = source.generation + 1;
			}
		}
	}
	return next;
}

static int seal_load_window(
        struct store *store, struct kv_bytes key, struct kv_bytes value, struct window_list *lists)
{
	AUTO_WINDOW window = { 0 };
	struct window_entry entry = { 0 };
	if (keys_get_window(key.bytes, key.count, &entry.key) < 0 ||
	        key_window_level(entry.key) >= WINDOW_LEVELS) {
		store->corrupt++; /* nobody can say when it was, or what */
		store_note_unreadable(store, KV_WINDOW, key, -EBADMSG);
		return 0;
	}
	struct window_list *list = &lists[key_window_level(entry.key)];
	int r = window_get(key, value, entry.key, &window);
	if (r == -ENOMEM || window_list_reserve(list) < 0)
		return -ENOMEM;
	window_describe(r < 0 ? NULL : &window, &entry);
	window_list_add(list, entry);
	return 0;
}

static int seal_load_windows(struct store *store, struct window_list *lists)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_WINDOW, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		int r = seal_load_window(store, kv_iterator_key(it), kv_iterator_value(it), lists);
		if (r < 0)
			return r;
	}
	return kv_iterator_result(it);
}

/* On failure the lists stay as they were: readers go on by them until the next attempt. */
int store_load_windows(struct store *store)
{
	struct window_list lists[WINDOW_LEVELS] = { 0 };
	int r = seal_load_windows(store, lists);
	for (uint32_t level = 0; level < WINDOW_LEVELS; level++) {
		if (r == 0) {
			struct window_list *list = store_windows(store, level);
			struct window_list old = *list;
			*list = lists[level];
			lists[level] = old;
		}
		window_list_fini(&lists[level]);
	}
	return r;
}

/* Does one window have it? What cannot be read may have: then it must not be kept twice. */
static int seal_window_has(struct sealed *sealed, const struct window_entry *entry,
        struct key_batch key, bool *ret_has)
{
	int r = sealed_open(sealed, entry);
	for (uint32_t chunk = 0; r == 0 && chunk < sealed->window.watchers_chunks; chunk++) {
		struct detail_chunk opened;
		struct detail_heads heads;
		r = sealed_get_watchers(sealed, chunk, &opened, &heads);
		for (uint32_t i = 0; r == 0 && i < opened.intervals_count; i++)
			*ret_has |= heads.intervals[i].stream == key.stream &&
			            heads.intervals[i].seq == key.seq &&
			            heads.intervals[i].start_ns == key.start_ns;
	}
	if (sealed_is_corrupt(sealed, r)) {
		*ret_has = true;
		r = 0;
	}
	return r;
}

int store_is_sealed(struct store *store, struct key_batch key, bool *ret_is_sealed)
{
	struct window_span span;
	bool has = false;
	*ret_is_sealed = false;
	if (!window_list_span(&store->windows, key.start_ns, key.start_ns + 1, &span))
		return 0;
	AUTO_SEALED sealed;
	int r = sealed_init(&sealed, store);
	sealed.sees_hidden = true; /* what is hidden was kept */
	for (uint32_t i = 0; r == 0 && i < span.count && !has; i++) {
		const struct window_entry *entry = &store->windows.entries[span.first + i];
		if (entry->key.from_ns <= key.start_ns && key.start_ns < entry->key.to_ns)
			r = seal_window_has(&sealed, entry, key, &has);
	}
	*ret_is_sealed = has;
	return r;
}
