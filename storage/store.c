/*
 * Opening, loading, and opening again.
 *
 * After a failed write RocksDB takes no more until it is opened again. The failed group may or may
 * not be in its log, and comes back when it is; so after opening again the tail of the dict, the
 * streams and the counters are read anew from the disk, and a section that was kept after all is a
 * DUP when it is sent again (store_append.c).
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "storage/store_private.h"

#define STORE_MEMTABLES_BYTES   (64u << 20)
#define STORE_BLOCK_CACHE_BYTES (64u << 20) /* when the options say 0 */
#define STORE_FOLDER_MODE       0750
#define STORE_WINDOW_NS         (600 * NS_PER_S)
#define STORE_SEAL_ROWS_MAX     (8u << 20)
#define STORE_HEAD_BYTES_MAX    (UINT64_C(256) << 20)
#define STORE_HEAD_SUMS_BYTES   (UINT64_C(64) << 20)
#define STORE_HEAD_SUMS_MIN     (UINT64_C(256) << 10)
#define STORE_STRETCH_BYTES     (UINT64_C(4) << 20)
#define STORE_GENERATION_NS     (7 * 86400 * NS_PER_S)
#define STORE_GENERATION_NODES  (32u << 20)
#define STORE_SERVICE_STACKS    (1u << 20)
#define STORE_LATE_MAX_NS       (3 * 86400 * NS_PER_S)
#define STORE_ROLL_STACKS_MAX   (4u << 20)
#define STORE_HOUR_NS           (3600 * NS_PER_S)
#define STORE_DAY_NS            (24 * STORE_HOUR_NS)

void store_set_error(struct store *store, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(store->error, sizeof(store->error), format, arguments);
	va_end(arguments);
}

const char *store_error(const struct store *store)
{
	return store->error;
}

/* ---- loading ---- */

/* Of open batches from the ends of their family, of sealed ones from their windows. */
int store_load_ends(struct store *store)
{
	struct key_batch first = { 0 }, last = { 0 };
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_BATCH, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	bool has_batches = kv_iterator_is_valid(it);
	if (has_batches) {
		struct kv_bytes key = kv_iterator_key(it);
		has_batches = keys_get_batch(key.bytes, key.count, &first) == 0;
		kv_iterator_last(it);
	}
	if (has_batches && kv_iterator_is_valid(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		has_batches = keys_get_batch(key.bytes, key.count, &last) == 0;
	}
	int r = kv_iterator_result(it);
	if (r < 0)
		return r;

	uint64_t first_ns = has_batches ? first.start_ns : 0;
	uint64_t last_ns = has_batches ? last.start_ns : 0;
	for (uint32_t level = 0; level < WINDOW_LEVELS; level++) {
		const struct window_list *list = store_windows(store, level);
		for (uint32_t i = 0; i < list->count; i++) {
			const struct window_entry *entry = &list->entries[i];
			first_ns = has_batches && first_ns < entry->first_ns ? first_ns
			                                                     : entry->first_ns;
			last_ns = has_batches && last_ns > entry->last_ns ? last_ns
			                                                  : entry->last_ns;
			has_batches = true;
		}
	}
	pthread_mutex_lock(&store->stats);
	store->has_batches = has_batches;
	store->first_ns = first_ns;
	store->last_ns = last_ns;
	pthread_mutex_unlock(&store->stats);
	return 0;
}

/*
 * Everything that is in memory, from the disk; what is there of the dict stays. At open, and with
 * the gate locked after kv was opened again. On failure store_error() says what cannot be read.
 */
static int store_load(struct store *store)
{
	store_set_error(store, "%s", "");
	int r = store_load_generations(store);
	r = r < 0 ? r : store_load_streams(store);
	r = r < 0 ? r : store_load_counters(store);
	r = r < 0 ? r : store_load_expiry(store);
	r = r < 0 ? r : store_load_windows(store);
	r = r < 0 ? r : store_load_ends(store);
	r = r < 0 ? r : store_load_open_ranges(store);
	r = r < 0 ? r : store_load_symbols(store);
	if (r < 0 && !store->error[0])
		kv_error(store->kv, store->error, sizeof(store->error));
	return r;
}

/* ---- opening ---- */

/* A folder that was just made must be findable after a power loss, as what is in it. */
static void store_sync_parent(const char *path)
{
	char parent[4096];
	snprintf(parent, sizeof(parent), "%s/..", path);
	autoclose int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		(void)fsync(fd); /* Best effort: the folder is usable either way. */
}

/* The folder is there, is one, and is ours to use. */
static int store_prepare_folder(const char *path, char *ret_error, size_t error_bytes)
{
	if (!path || !path[0]) {
		snprintf(ret_error, error_bytes, "no data folder was named: say --data DIR");
		return -EINVAL;
	}
	if (mkdir(path, STORE_FOLDER_MODE) == 0) {
		store_sync_parent(path);
	} else if (errno != EEXIST) {
		int r = -errno;
		snprintf(ret_error, error_bytes, "%s: cannot be made: %s%s", path, strerror(-r),
		        r == -ENOENT    ? ": make its parent folder first"
		        : r == -EACCES  ? ": make it as a user who may, and give it to this one"
		        : r == -ENOTDIR ? ": something above it is a file"
		                        : "");
		return r;
	}

	struct stat status;
	if (stat(path, &status) < 0) {
		int r = -errno;
		snprintf(ret_error, error_bytes, "%s: cannot be looked at: %s", path, strerror(-r));
		return r;
	}
	if (!S_ISDIR(status.st_mode)) {
		snprintf(ret_error, error_bytes,
		        "%s: is a file, and data goes into a folder: name another", path);
		return -ENOTDIR;
	}
	if (faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) < 0) {
		int r = -errno;
		snprintf(ret_error, error_bytes,
		        "%s: cannot be read and written by user %u: %s: %s, or name another", path,
		        geteuid(), strerror(-r),
		        r == -EROFS ? "mount it for writing" : "change its owner");
		return r;
	}
	return 0;
}

static int store_open_kv(struct store *store, char *ret_error, size_t error_bytes)
{
	char reason[STORE_ERROR_BYTES] = "";
	struct kv_options options = {
		.path = store->path,
		.block_cache_bytes = store->options.block_cache_bytes,
		.memtables_bytes = store->options.write_buffers_bytes
		                           ? store->options.write_buffers_bytes
		                           : STORE_MEMTABLES_BYTES,
	};
	int r = kv_open(options, &store->kv, reason, sizeof(reason));
	if (r == -EBUSY)
		snprintf(ret_error, error_bytes,
		        "%s: is in use by another process: stop that one, or name another folder",
		        store->path);
	else if (r == -EBADMSG)
		snprintf(ret_error, error_bytes,
		        "%s: is damaged: restore a backup, or move it away and begin anew (%s)",
		        store->path, reason);
	else if (r == -ENOSPC)
		snprintf(ret_error, error_bytes, "%s: no room on its file system: free some (%s)",
		        store->path, reason);
	else if (r == -EACCES)
		snprintf(ret_error, error_bytes,
		        "%s: holds files that user %u may not use: change their owner (%s)",
		        store->path, geteuid(), reason);
	else if (r < 0)
		snprintf(ret_error, error_bytes, "%s: cannot be opened (%s)", store->path, reason);
	return r;
}

static struct store *store_new(struct store_options options)
{
	struct store *store = calloc(1, sizeof(*store));
	if (!store)
		return NULL;
	store->options = options;
	if (store->options.limits.nodes == 0)
		store->options.limits = dict_limits_default;
	if (store->options.block_cache_bytes == 0)
		store->options.block_cache_bytes = STORE_BLOCK_CACHE_BYTES;
	if (store->options.window_ns == 0)
		store->options.window_ns = STORE_WINDOW_NS;
	if (store->options.seal_rows_max == 0)
		store->options.seal_rows_max = STORE_SEAL_ROWS_MAX;
	if (store->options.head_bytes_max == 0)
		store->options.head_bytes_max = STORE_HEAD_BYTES_MAX;
	if (store->options.head_sums_bytes_max == 0)
		store->options.head_sums_bytes_max = STORE_HEAD_SUMS_BYTES;
	if (store->options.stretch_bytes == 0)
		store->options.stretch_bytes = STORE_STRETCH_BYTES;
	if (store->options.head_sums_min == 0)
		store->options.head_sums_min = STORE_HEAD_SUMS_MIN;
	if (store->options.generation_ns == 0)
		store->options.generation_ns = STORE_GENERATION_NS;
	if (store->options.generation_nodes == 0)
		store->options.generation_nodes = STORE_GENERATION_NODES;
	if (store->options.roll_stacks_max == 0)
		store->options.roll_stacks_max = STORE_ROLL_STACKS_MAX;
	if (store->options.roll_ns[0] == 0)
		store->options.roll_ns[0] = STORE_HOUR_NS;
	if (store->options.roll_ns[1] == 0)
		store->options.roll_ns[1] = STORE_DAY_NS;
	if (store->options.service_stacks_max == 0)
		store->options.service_stacks_max = STORE_SERVICE_STACKS;
	if (store->options.late_max_ns == 0)
		store->options.late_max_ns = STORE_LATE_MAX_NS;
	store->clock = options.clock ? options.clock : clock_real();
	turn_lock_init(&store->sealing);
	pthread_mutex_init(&store->writer, NULL);
	pthread_mutex_init(&store->reclaiming, NULL);
	pthread_mutex_init(&store->stats, NULL);
	pthread_mutex_init(&store->pinning, NULL);
	head_sums_init(&store->head_sums);
	gate_init(&store->gate);

	store->path = strdup(options.path);
	store->options.path = store->path;
	store->stream_ids = id_map_new(STORE_STREAMS_MAX);
	store->symbols = symbols_cache_new(options.symbols_cache_bytes);
	store->services = service_stacks_new();
	store->quarantine = quarantine_new(QUARANTINE_RECORDS_MAX);
	if (store->path && store->stream_ids && store->symbols && store->services &&
	        store->quarantine)
		return store;
	store_free(store);
	return NULL;
}

int store_open(
        struct store_options options, struct store **ret_store, char *ret_error, size_t error_bytes)
{
	int r = store_prepare_folder(options.path, ret_error, error_bytes);
	if (r < 0)
		return r;

	AUTO(store) store = store_new(options);
	if (!store) {
		snprintf(ret_error, error_bytes, "%s: out of memory", options.path);
		return -ENOMEM;
	}
	r = store_open_kv(store, ret_error, error_bytes);
	if (r < 0)
		return r;
	r = store_check_format(store);
	r = r < 0 ? r : store_load(store);
	if (r < 0) {
		snprintf(ret_error, error_bytes, "%s",
		        store->error[0] ? store->error : strerror(-r));
		return r;
	}
	*ret_store = TAKE(store);
	return 0;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	if (store->kv) {
		/* Only so that the next open is quick: what was acknowledged is in the log. */
		if (!store->is_broken)
			(void)kv_flush(store->kv);
		kv_free(store->kv);
	}
	symbols_cache_free(store->symbols);
	quarantine_free(store->quarantine);
	store_free_streams(store);
	service_stacks_free(store->services);
	head_sums_fini(&store->head_sums);
	free(store->tenants);
	store_free_generations(store);
	for (uint32_t level = 0; level < WINDOW_LEVELS; level++)
		window_list_fini(store_windows(store, level));
	expiry_fini(&store->expiry);
	free(store->late.keys);
	free(store->unsealable);
	free(store->unrollable);
	free(store->path);
	gate_fini(&store->gate);
	turn_lock_fini(&store->sealing);
	pthread_mutex_destroy(&store->pinning);
	pthread_mutex_destroy(&store->stats);
	pthread_mutex_destroy(&store->reclaiming);
	pthread_mutex_destroy(&store->writer);
	free(store);
}

/* ---- writing ---- */

void store_note_failure(struct store *store, const char *doing)
{
	char reason[STORE_ERROR_BYTES - 64];
	kv_error(store->kv, reason, sizeof(reason));
	store_set_error(store, "%s: %s", doing, reason);
}

void store_write_failed(struct store *store, const char *doing)
{
	store_note_failure(store, doing);
	store->is_broken = true;
}

int store_write(struct store *store, struct kv_batch *batch, enum kv_durability durability,
        const char *doing)
{
	int r = kv_write(store->kv, batch, durability);
	if (r < 0)
		store_write_failed(store, doing);
	return r;
}

void store_take_back(struct store *store, uint32_t slots_count)
{
	struct generation *newest = store->newest;
	label_index_truncate(newest->index, newest->dict, newest->kept.series);
	dict_truncate(newest->dict, newest->kept);
	store_streams_truncate(store, slots_count);
}

int store_make_writable(struct store *store)
{
	if (!store->is_broken && !kv_is_hurt(store->kv))
		return 0;
	store->is_broken = true;

	uint64_t needed = kv_reopen_bytes(store->kv);
	uint64_t available = kv_free_bytes(store->kv);
	if (available < needed) {
		store_set_error(store,
		        "%s: the disk is full: free at least %" PRIu64 " MiB (%" PRIu64
		        " MiB are), then it goes on by itself",
		        store->path, (needed >> 20) + 1, available >> 20);
		return -ENOSPC;
	}

	pthread_mutex_lock(&store->reclaiming);
	gate_lock(&store->gate);
	store_take_back(store, id_map_count(store->stream_ids));
	store->reopens++;
	head_sums_drop(&store->head_sums, 0, UINT64_MAX);
	quarantine_clear(store->quarantine); /* files may be others: all is to be looked at again */
	int r = kv_reopen(store->kv);
	if (r < 0)
		kv_error(store->kv, store->error, sizeof(store->error));
	else
		r = store_load(store);
	gate_unlock(&store->gate);
	pthread_mutex_unlock(&store->reclaiming);
	if (r == 0)
		store->is_broken = false;
	return r;
}

int store_flush(struct store *store)
{
	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	if (r == 0) {
		r = kv_flush(store->kv);
		if (r < 0) {
			kv_error(store->kv, store->error, sizeof(store->error));
			store->is_broken = true;
		}
	}
	pthread_mutex_unlock(&store->writer);
	return r;
}

/* ---- what cannot be read ---- */

void store_note_unreadable(
        struct store *store, enum kv_family family, struct kv_bytes key, int reason)
{
	quarantine_note(store->quarantine, (struct quarantine_key){ family, key }, reason, false,
	        clock_unix_ns(store->clock));
}

uint64_t store_unreadable_count(const struct store *store)
{
	return quarantine_count(store->quarantine);
}

uint32_t store_take_unreadable(
        struct store *store, struct quarantine_record *ret_records, uint32_t count)
{
	return quarantine_take(store->quarantine, clock_unix_ns(store->clock), ret_records, count);
}
