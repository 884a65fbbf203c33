/*
 * Deleting a range. Open batches are a range of keys. Sealed windows inside the range go with their
 * blocks; one that the range cuts is opened again: what is to stay of it becomes batches, as they
 * were, and the next seal makes a window of them. All in one synced write, so that after a kill
 * the range is there or gone.
 *
 * What is to stay is held in memory, packed, for at most two windows.
 *
 * Rollups inside the range go likewise. One that the range cuts is dropped when what stays of it is
 * there in finer windows: the next roll makes it anew. Otherwise nobody can say what is to stay,
 * and the deletion is refused; likewise when it cuts a window whose detail is gone.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "storage/sealed.h"
#include "storage/store_private.h"

static const enum kv_family forget_families[] = { KV_BATCH, KV_WINDOW, KV_SUMS, KV_DETAIL,
	KV_SUMS_HOUR, KV_SUMS_DAY };

struct forget {
	struct store *store;
	uint64_t from_ns;
	uint64_t to_ns;
	struct kv_batch *write;
	struct buf windows; /* struct window_entry: those that go */
	uint64_t batches;
	uint32_t dictionary; /* generation of the window that is opened again */
	uint64_t refused_ns; /* the length of a window that cannot be cut */
	struct buf scratch;
	struct buf value;
};

static void forget_fini(struct forget *forget)
{
	kv_batch_free(forget->write);
	buf_fini(&forget->windows);
	buf_fini(&forget->scratch);
	buf_fini(&forget->value);
}

/* A batch of a window that is opened again. In the gate. */
static int forget_visit(void *owner, struct key_batch of, const struct batch *batch)
{
	struct forget *forget = owner;
	uint8_t key_bytes[KEYS_BATCH_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	if (of.start_ns >= forget->from_ns && of.start_ns < forget->to_ns) {
		forget->batches++;
		return 0;
	}
	keys_put_batch(of, key_bytes);
	buf_reset(&forget->value);
	record_put_batch(batch, forget->dictionary, key, &forget->scratch, &forget->value);
	if (forget->value.failed)
		return -ENOMEM;
	kv_put(forget->store->kv, forget->write, KV_BATCH, key, store_bytes(&forget->value));
	int r = store_put_format_of(forget->store, batch, forget->write);
	if (r < 0)
		return r;
	/* It will be open again: questions must look into its generation. */
	pthread_mutex_lock(&forget->store->stats);
	generation_note_open(store_generation(forget->store, forget->dictionary), of.start_ns);
	pthread_mutex_unlock(&forget->store->stats);
	return 0;
}

/*
 * What is hidden goes with a window that is cut, for good. What has lost its detail cannot become
 * batches again: -ENODATA.
 */
static int forget_check_detail(struct forget *forget, const struct window_entry *window)
{
	AUTO_SEALED sealed;
	int r = sealed_init(&sealed, forget->store);
	gate_enter(&forget->store->gate);
	r = r < 0 ? r : sealed_open(&sealed, window);
	for (uint32_t i = 0; r == 0 && i < sealed.window.units_count; i++) {
		const struct window_unit *unit = &sealed.window.units[i];
		if (!unit->is_gone && unit->chunks == 0)
			r = -ENODATA; /* without rows there would be coverage and losses */
	}
	gate_leave(&forget->store->gate);
	return r;
}

static bool forget_overlaps(const struct forget *forget, const struct key_window *key)
{
	return key->from_ns < forget->to_ns && key->to_ns > forget->from_ns;
}

static bool forget_has(const struct forget *forget, const struct key_window *key)
{
	return key->from_ns >= forget->from_ns && key->to_ns <= forget->to_ns;
}

static int forget_refuse(struct forget *forget, const struct key_window *key)
{
	uint64_t length_ns = key->to_ns - key->from_ns;
	if (length_ns > forget->refused_ns)
		forget->refused_ns = length_ns;
	return -ENODATA;
}

/* Has a window all of its units, with detail where they have it? */
static int forget_is_complete(
        struct forget *forget, const struct window_entry *window, bool *ret_is_complete)
{
	AUTO_SEALED sealed;
	int r = sealed_init(&sealed, forget->store);
	*ret_is_complete = false;
	if (r < 0)
		return r;
	gate_enter(&forget->store->gate);
	r = sealed_open(&sealed, window);
	gate_leave(&forget->store->gate);
	if (sealed_is_corrupt(&sealed, r))
		return 0;
	*ret_is_complete = r == 0;
	for (uint32_t i = 0; r == 0 && i < sealed.window.units_count; i++)
		if (sealed.window.units[i].is_gone || sealed.window.units[i].chunks == 0)
			*ret_is_complete = false;
	return r;
}

/* Is there a finer window which stays and has what the rollup has of `source`? */
static int forget_is_kept(struct forget *forget, const struct window_entry *rollup,
        struct key_window source, bool *ret_is_kept)
{
	struct store *store = forget->store;
	const struct window_entry *entry = window_list_get(&store->windows, source);
	*ret_is_kept = forget_has(forget, &source); /* it is to go */
	if (*ret_is_kept)
		return 0;
	if (entry) {
		int r = forget_is_complete(forget, entry, ret_is_kept);
		if (r < 0 || *ret_is_kept)
			return r;
	}
	for (uint32_t level = 1; level < key_window_level(rollup->key); level++) {
		const struct window_list *list = store_windows(store, level);
		for (uint32_t i = 0; i < list->count && !*ret_is_kept; i++) {
			const struct window_entry *finer = &list->entries[i];
			if (forget_overlaps(forget, &finer->key) ||
			        !window_entry_has(rollup, finer->key) ||
			        !window_entry_has(finer, source))
				continue;
			int r = forget_is_complete(forget, finer, ret_is_kept);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* A rollup that overlaps the range. */
static int forget_rollup(struct forget *forget, const struct window_entry *rollup)
{
	bool is_kept = !rollup->is_corrupt;
	int r = 0;
	if (forget_has(forget, &rollup->key))
		return 0;
	for (uint32_t i = 0; i < rollup->sources_count && r == 0 && is_kept; i++)
		if (key_window_level(rollup->sources[i]) == 0)
			r = forget_is_kept(forget, rollup, rollup->sources[i], &is_kept);
	return r < 0 ? r : is_kept ? 0 : forget_refuse(forget, &rollup->key);
}

static int forget_window(struct forget *forget, const struct window_entry *window)
{
	if (key_window_level(window->key) > 0)
		return forget_rollup(forget, window);
	if (forget_has(forget, &window->key)) {
		forget->batches += window->batches;
		return 0;
	}
	int r = forget_check_detail(forget, window);
	if (r == -ENODATA)
		return forget_refuse(forget, &window->key);
	forget->dictionary = window->dictionary;
	return r < 0 ? r : store_scan_sealed(forget->store, window, forget_visit, forget);
}

/* Which windows go. The lists do not change meanwhile: the caller has `sealing`. */
static int forget_list_windows(struct forget *forget)
{
	struct store *store = forget->store;
	gate_enter(&store->gate);
	for (uint32_t level = 0; level < WINDOW_LEVELS; level++) {
		const struct window_list *list = store_windows(store, level);
		for (uint32_t i = 0; i < list->count; i++) {
			const struct window_entry *window = &list->entries[i];
			if (forget_overlaps(forget, &window->key))
				buf_put(&forget->windows, window, sizeof(*window));
		}
	}
	gate_leave(&store->gate);
	return forget->windows.failed ? -ENOMEM : 0;
}

/* Batches of rollups that go of which nothing finer is there to count them by. */
static void forget_count_rolled(struct forget *forget)
{
	struct store *store = forget->store;
	const struct window_entry *windows = ARRAY(struct window_entry, forget->windows);
	size_t count = ARRAY_COUNT(struct window_entry, forget->windows);
	for (size_t i = 0; i < count; i++) {
		const struct window_entry *rollup = &windows[i];
		bool is_counted = key_window_level(rollup->key) == 0 || rollup->is_corrupt;
		for (uint32_t j = 0; j < rollup->sources_count && !is_counted; j++) {
			struct key_window source = rollup->sources[j];
			is_counted = window_list_get(
			        store_windows(store, key_window_level(source)), source);
		}
		if (!is_counted)
			forget->batches += rollup->batches;
	}
}

/* Under writer. */
static int forget_count_open(struct forget *forget, struct kv_bytes from, struct kv_bytes to)
{
	AUTO(kv_iterator) it = kv_iterator_new(forget->store->kv, KV_BATCH, from, to);
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it))
		forget->batches++;
	return kv_iterator_result(it);
}

static void forget_put_window(struct forget *forget, const struct window_entry *window)
{
	struct kv *kv = forget->store->kv;
	struct key_block last = { window->key, UINT32_MAX, (enum keys_block_part)UINT8_MAX,
		UINT32_MAX };
	uint8_t from_bytes[KEYS_WINDOW_BYTES];
	uint8_t to_bytes[KEYS_BLOCK_BYTES + 1];
	struct kv_bytes from = { from_bytes, sizeof(from_bytes) };
	struct kv_bytes to = { to_bytes, sizeof(to_bytes) };
	keys_put_window(window->key, from_bytes);
	keys_put_block(last, to_bytes);
	to_bytes[KEYS_BLOCK_BYTES] = 0;
	kv_delete_range(kv, forget->write, KV_WINDOW, from, to);
	kv_delete_range(kv, forget->write, store_sums_family(window->key), from, to);
	kv_delete_range(kv, forget->write, KV_DETAIL, from, to);
}

/*
 * What stays of a window that was cut is open again. It was noted while it was read, but the store
 * may have been opened anew since, before any of it was on the disk.
 */
static void forget_note_open(struct forget *forget, const struct window_entry *window)
{
	struct generation *generation = store_generation(forget->store, window->dictionary);
	if (!generation ||
	        (window->key.from_ns >= forget->from_ns && window->key.to_ns <= forget->to_ns))
		return;
	pthread_mutex_lock(&forget->store->stats);
	generation_note_open(generation, window->first_ns);
	generation_note_open(generation, window->last_ns);
	pthread_mutex_unlock(&forget->store->stats);
}

/* Under writer. */
static int forget_commit(struct forget *forget)
{
	struct store *store = forget->store;
	const struct window_entry *windows = (const void *)forget->windows.bytes;
	size_t windows_count = forget->windows.count / sizeof(*windows);
	uint8_t from_bytes[KEYS_TIME_BYTES];
	uint8_t to_bytes[KEYS_TIME_BYTES];
	struct kv_bytes from = { from_bytes, sizeof(from_bytes) };
	struct kv_bytes to = { to_bytes, sizeof(to_bytes) };
	keys_put_time(forget->from_ns, from_bytes);
	keys_put_time(forget->to_ns, to_bytes);

	int r = forget_count_open(forget, from, to);
	if (r < 0 || (forget->batches == 0 && windows_count == 0))
		return r;
	/* Windows that begin in the range are gone or opened again: nothing of theirs stays. */
	for (size_t i = 0; i < COUNT_OF(forget_families); i++)
		kv_delete_range(store->kv, forget->write, forget_families[i], from, to);
	for (size_t i = 0; i < windows_count; i++)
		if (windows[i].key.from_ns < forget->from_ns)
			forget_put_window(forget, &windows[i]);

	store_note_deleted(store);
	gate_lock(&store->gate);
	head_sums_drop(&store->head_sums, 0, UINT64_MAX); /* what was cut is open again */
	r = store_write(store, forget->write, KV_SYNC, "deleting a range");
	for (size_t i = 0; i < windows_count && r == 0; i++) {
		forget_note_open(forget, &windows[i]);
		store_remove_window(store, windows[i].key);
	}
	if (r == 0)
		quarantine_lift_range(store->quarantine, KV_BATCH, from, to);
	gate_unlock(&store->gate);
	/*
	 * Whole files go at once. They may hold older deletions of keys that live on in files which
	 * stay, but the one just written covers those as well, and is not in a file yet.
	 */
	for (size_t i = 0; i < COUNT_OF(forget_families) && r == 0; i++)
		r = kv_delete_files(store->kv, forget_families[i], from, to);
	return r < 0 ? r : store_load_ends(store);
}

static int forget_run(struct forget *forget)
{
	struct store *store = forget->store;
	const struct window_entry *windows;
	forget->write = kv_batch_new();
	int r = forget->write ? forget_list_windows(forget) : -ENOMEM;
	windows = (const void *)forget->windows.bytes;
	for (size_t i = 0; i < forget->windows.count / sizeof(*windows) && r == 0; i++)
		r = forget_window(forget, &windows[i]);
	if (r == 0)
		forget_count_rolled(forget);

	pthread_mutex_lock(&store->writer);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT)
		store_set_error(store,
		        "the range cuts a sealed window of which something is damaged: choose a "
		        "range that does not cut it (multiples of %" PRIu64 " s do not)",
		        store->options.window_ns / NS_PER_S);
	if (r == -ENODATA)
		store_set_error(store,
		        "the range cuts a window of %" PRIu64
		        " s of which nothing finer is left: choose a range of multiples of that",
		        forget->refused_ns / NS_PER_S);
	r = r < 0 ? r : store_make_writable(store);
	r = r < 0 ? r : forget_commit(forget);
	pthread_mutex_unlock(&store->writer);
	return r;
}

int store_delete_range(struct store *store, uint64_t from_ns, uint64_t to_ns, uint64_t *ret_batches)
{
	struct forget forget = { .store = store, .from_ns = from_ns, .to_ns = to_ns };
	if (from_ns >= to_ns) {
		*ret_batches = 0;
		return 0;
	}
	turn_lock_enter(&store->sealing);
	int r = forget_run(&forget);
	if (r == 0 && forget.batches > 0)
		store_settle_batches(store, to_ns);
	turn_lock_leave(&store->sealing);
	if (r == 0)
		*ret_batches = forget.batches;
	forget_fini(&forget);
	return r;
}
