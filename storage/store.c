/*
 * Opening, loading, appending. How a group goes its way:
 *
 *	gate locked     each section: seq seen before? DUP. Else its ids become ids of the store's
 *	                dict, which grows by what is new; its stream and counters get a staged copy
 *	gate open       columns packed; dict delta, batches, streams, counters into one synced write
 *	done            staged copies become the truth, new series are published
 *	or failed       gate locked: dict, index, streams, remaps go back to where they were
 *
 * After a failed write RocksDB takes no more until it is opened again. The failed group may or may
 * not be in its log, and comes back when it is; so after opening again the tail of the dict, the
 * streams and the counters are read anew from the disk, and a section that was kept after all is a
 * DUP when it is sent again.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/hash.h"
#include "storage/store_private.h"
#include "storage/sum_groups.h"

#define STORE_FORMAT_VERSION    STORE_FORMAT_NEWEST
#define STORE_MEMTABLES_BYTES   (64u << 20)
#define STORE_BLOCK_CACHE_BYTES (64u << 20) /* when the options say 0 */
#define STORE_FOLDER_MODE       0750
#define STORE_WINDOW_NS         (600 * NS_PER_S)
#define STORE_SEAL_ROWS_MAX     (4u << 20)
#define STORE_HEAD_BYTES_MAX    (UINT64_C(256) << 20)
#define STORE_HEAD_SUMS_BYTES   (UINT64_C(64) << 20)
#define STORE_HEAD_SUMS_MIN     (UINT64_C(256) << 10)
#define STORE_GENERATION_NS     (7 * 86400 * NS_PER_S)
#define STORE_GENERATION_NODES  (32u << 20)
#define STORE_ROWS_AHEAD        16
#define STORE_SERVICE_STACKS    (1u << 20)
#define STORE_LATE_MAX_NS       (3 * 86400 * NS_PER_S)
#define STORE_WORN_PART         4 /* of a limit: a dict that is full gives way from there on */
#define STORE_ROLL_STACKS_MAX   (4u << 20)
#define STORE_HOUR_NS           (3600 * NS_PER_S)
#define STORE_DAY_NS            (24 * STORE_HOUR_NS)

static const struct kv_bytes store_format_key = { KEYS_META_FORMAT, sizeof(KEYS_META_FORMAT) - 1 };

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

/* ---- tenants ---- */

int store_tenant(struct store *store, const char *name, uint32_t *ret_tenant)
{
	for (uint32_t i = 0; i < store->tenants_count; i++) {
		if (strcmp(store->tenants[i].name, name) == 0) {
			*ret_tenant = i;
			return 0;
		}
	}

	if (store->tenants_count == store->tenants_capacity) {
		uint32_t capacity = store->tenants_capacity ? store->tenants_capacity * 2 : 4;
		/* Readers of counters look at the array. */
		pthread_mutex_lock(&store->stats);
		struct tenant *tenants = realloc(store->tenants, capacity * sizeof(*tenants));
		if (tenants)
			store->tenants = tenants;
		pthread_mutex_unlock(&store->stats);
		if (!tenants)
			return -ENOMEM;
		store->tenants_capacity = capacity;
	}
	struct tenant *tenant = &store->tenants[store->tenants_count];
	*tenant = (struct tenant){ 0 };
	snprintf(tenant->name, sizeof(tenant->name), "%s", name);
	pthread_mutex_lock(&store->stats);
	*ret_tenant = store->tenants_count++;
	pthread_mutex_unlock(&store->stats);
	return 0;
}

/* ---- loading ---- */

static int store_load_counters(struct store *store)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_COUNTERS, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		char name[KEYS_TENANT_BYTES_MAX + 1] = "";
		uint32_t tenant;
		struct store_counters counters;
		int r = keys_get_tenant(key.bytes, key.count, name);
		r = r < 0 ? r : record_get_counters(key, kv_iterator_value(it), &counters);
		if (r < 0)
			store_set_error(
			        store, "%s: counters of tenant \"%s\": damaged", store->path, name);
		r = r < 0 ? r : store_tenant(store, name, &tenant);
		if (r < 0)
			return r;
		pthread_mutex_lock(&store->stats);
		store->tenants[tenant].counters = counters;
		pthread_mutex_unlock(&store->stats);
	}
	return kv_iterator_result(it);
}

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

int store_put_format(struct store *store, struct kv_batch *write, uint32_t version)
{
	AUTO_BUF value = { 0 };
	struct record_format format = { .version = version, .version_min = version };
	if (store->format_version_min >= version)
		return 0;
	record_put_format(format, store_format_key, &value);
	if (value.failed)
		return -ENOMEM;
	kv_put(store->kv, write, KV_META, store_format_key, store_bytes(&value));
	return 0;
}

int store_put_format_of(struct store *store, const struct batch *batch, struct kv_batch *write)
{
	return record_batch_is_packed(batch) ? store_put_format(store, write, STORE_FORMAT_VALUES)
	                                     : 0;
}

void store_note_format(struct store *store, uint32_t version)
{
	if (store->format_version_min < version)
		store->format_version_min = version;
}

static int store_write_format(struct store *store)
{
	AUTO(kv_batch) batch = kv_batch_new();
	int r = batch ? store_put_format(store, batch, STORE_FORMAT_OPEN) : -ENOMEM;
	r = r < 0 ? r : store_write(store, batch, KV_SYNC, "beginning a store");
	if (r == 0)
		store_note_format(store, STORE_FORMAT_OPEN);
	return r;
}

static bool store_is_empty(struct store *store)
{
	for (int family = 0; family < KV_FAMILIES; family++) {
		AUTO(kv_iterator) it = kv_iterator_new(store->kv, (enum kv_family)family,
		        (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
		if (!it || kv_iterator_is_valid(it) || kv_iterator_result(it) < 0)
			return false;
	}
	return true;
}

/* The folder is of a format that we can read, or new: then it becomes one. */
static int store_check_format(struct store *store)
{
	AUTO_BUF value = { 0 };
	struct record_format format;
	int r = kv_get(store->kv, KV_META, store_format_key, &value);
	if (r == -ENOENT) {
		if (store_is_empty(store))
			return store_write_format(store);
		store_set_error(store,
		        "%s: holds a database that is not a profleet store: name another folder",
		        store->path);
		return -EBADMSG;
	}
	r = r < 0 ? r : record_get_format(store_format_key, store_bytes(&value), &format);
	if (r == 0 && format.version_min > STORE_FORMAT_VERSION) {
		store_set_error(store,
		        "%s: was written by a newer profleet (format %" PRIu32
		        ", readable from %" PRIu32
		        " on; this one reads up to %d): install the newer one",
		        store->path, format.version, format.version_min, STORE_FORMAT_VERSION);
		return -EPROTONOSUPPORT;
	}
	if (r == -EPROTONOSUPPORT)
		store_set_error(store, "%s: was written by a newer profleet: install that one",
		        store->path);
	else if (r < 0)
		store_set_error(store,
		        "%s: the format record is damaged: restore a backup, or name another "
		        "folder",
		        store->path);
	else
		store->format_version_min = format.version_min;
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

/* Forgets what is in memory and not on disk. With the gate locked. */
static void store_take_back(struct store *store, uint32_t slots_count)
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

/* What becomes of one section of the group. */
struct section {
	struct batch *batch; /* over the store's dict; NULL unless it is to be kept */
	uint32_t stream;
	uint64_t seq;
	uint64_t bytes; /* of its record */
};

struct group {
	struct store_append *appends;
	struct section *sections;
	uint32_t count;
	uint32_t slots_before;
	bool may_renew;        /* a full dict is a reason to begin another */
	bool is_full;          /* and it was */
	bool is_worth_syncing; /* holds more than counted duplicates */
	bool is_worth_writing;
};

/* Does it say of each series no more to be folded than there is? Both ascend by series. */
static bool store_is_folded_right(const struct batch *batch)
{
	uint32_t at = 0;
	uint32_t before = 0;
	for (uint32_t i = 0; i < batch->losses_count; i++) {
		const struct loss *loss = &batch->losses[i];
		uint64_t samples = 0;
		if (loss_is_lost(loss->reason, loss->series != SERIES_NONE))
			continue;
		if (loss->series < before)
			return false;
		before = loss->series + 1;
		while (at < batch->rows_count && batch->rows[at].series < loss->series)
			at++;
		for (; at < batch->rows_count && batch->rows[at].series == loss->series; at++)
			samples += batch->rows[at].value; /* was seen to fit */
		if (loss->count > samples)
			return false;
	}
	return true;
}

/* Why a section can never be kept, or NULL. */
static const char *store_refusal(const struct store_append *append)
{
	const struct batch *batch = append->batch;
	struct dict_mark mark = dict_mark(batch->dict);
	uint64_t end, samples = 0, value = 0;

	if (append->stream.seq == 0)
		return "sections are numbered from 1";
	if (append->stream.tenant &&
	        strnlen(append->stream.tenant, KEYS_TENANT_BYTES_MAX + 1) > KEYS_TENANT_BYTES_MAX)
		return "the name of the tenant is longer than 63 bytes";
	if (__builtin_add_overflow(batch->start_ns, batch->duration_ns, &end) || end == UINT64_MAX)
		return "the interval lies beyond the end of time";
	if (batch->rows_count > RECORD_BATCH_ROWS_MAX)
		return "more than 8 million rows in one interval";

	uint32_t series = SERIES_NONE;
	uint64_t period = 0;
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		uint64_t in_unit;
		if (row->series >= mark.series || row->node >= mark.nodes)
			return "a row refers to what its dictionary lacks";
		if (row->series != series) {
			series = row->series;
			period = dict_get_series(batch->dict, series)->period;
		}
		if (__builtin_mul_overflow(row->value, period, &in_unit) ||
		        __builtin_add_overflow(value, in_unit, &value) ||
		        __builtin_add_overflow(samples, row->value, &samples))
			return "its values add up to more than 64 bits hold";
	}
	if (!store_is_folded_right(batch))
		return "it says more samples to be folded than there are";
	return NULL;
}

static uint64_t store_add(uint64_t a, uint64_t b)
{
	uint64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* One section on its way from its own dict to the newest generation. */
struct translation {
	struct store *store;
	const char *tenant;
	struct dict_remap *remap;
	struct sum_labels labels;
};

/*
 * The node of a row; a stack past the cap of its service becomes its deepest known ancestor, which
 * the batch tells of its series.
 */
static int store_translate_node(struct translation *translation, const struct row *row,
        uint32_t series, uint32_t *new_stacks, struct batch *to, uint32_t *ret_node)
{
	const struct dict *dict = translation->store->newest->dict;
	uint32_t nodes_before = dict_mark(dict).nodes;
	bool is_itself = true;
	assert(new_stacks);
	if (*new_stacks >= translation->store->options.service_stacks_max) {
		int r = dict_remap_ancestor(translation->remap, row->node, ret_node, &is_itself);
		if (r < 0)
			return r;
		if (!is_itself)
			return batch_add_loss(to, series, LOSS_FOLDED, row->value);
	}
	int r = dict_remap_node(translation->remap, row->node, ret_node);
	*new_stacks += r == 0 && dict_mark(dict).nodes > nodes_before;
	return r;
}

/* The series in the store's dict, and the count of new stacks of its service. */
static int store_translate_series(struct translation *translation, uint32_t from,
        uint32_t *ret_series, uint32_t **ret_new_stacks)
{
	struct store *store = translation->store;
	const struct dict *dict = store->newest->dict;
	int r = dict_remap_series(translation->remap, from, ret_series);
	if (r < 0)
		return r;
	if (translation->labels.service == ID_NONE)
		translation->labels = sum_labels_find(dict);
	return service_stacks_get(store->services,
	        clock_unix_ns(store->clock) / store->options.window_ns, store->newest->id,
	        translation->tenant, sum_labels_service(&translation->labels, dict, *ret_series),
	        ret_new_stacks);
}

/*
 * Nearly every node was met before, and where it lies in the session's column is anywhere: the ones
 * to come are fetched meanwhile.
 */
static int store_translate_rows(
        struct translation *translation, const struct batch *from, struct batch *to)
{
	uint32_t series_from = SERIES_NONE;
	uint32_t series = SERIES_NONE;
	uint32_t *new_stacks = NULL;
	uint32_t known_count;
	const uint32_t *known = dict_remap_known_nodes(translation->remap, &known_count);
	int r = batch_reserve_rows(to, from->rows_count);
	for (uint32_t i = 0; i < from->rows_count && r == 0; i++) {
		const struct row *row = &from->rows[i];
		uint32_t ahead = i + STORE_ROWS_AHEAD < from->rows_count
		                         ? row[STORE_ROWS_AHEAD].node
		                         : row->node;
		if (ahead < known_count)
			__builtin_prefetch(&known[ahead]);
		uint32_t node = row->node < known_count ? known[row->node] : ID_NONE;
		if (row->series != series_from) {
			series_from = row->series;
			r = store_translate_series(translation, series_from, &series, &new_stacks);
		}
		if (r == 0 && node == ID_NONE) {
			r = store_translate_node(translation, row, series, new_stacks, to, &node);
			known = dict_remap_known_nodes(translation->remap, &known_count);
		}
		r = r < 0 ? r : batch_add_row(to, series, node, row->value);
	}
	return r;
}

static int store_translate(
        struct translation *translation, const struct batch *from, struct batch *to)
{
	struct dict_remap *remap = translation->remap;
	uint32_t series;
	to->start_ns = from->start_ns;
	to->duration_ns = from->duration_ns;
	int r = store_translate_rows(translation, from, to);
	for (uint32_t i = 0; i < from->coverage_count && r == 0; i++) {
		r = dict_remap_series(remap, from->coverage[i].series, &series);
		r = r < 0 ? r : batch_add_coverage(to, series, from->coverage[i].ns);
	}
	for (uint32_t i = 0; i < from->losses_count && r == 0; i++) {
		const struct loss *loss = &from->losses[i];
		series = SERIES_NONE;
		if (loss->series != SERIES_NONE)
			r = dict_remap_series(remap, loss->series, &series);
		r = r < 0 ? r : batch_add_loss(to, series, loss->reason, loss->count);
	}
	return r;
}

/* The counters that the group will write. */
static struct store_counters *store_stage_counters(struct store *store, uint32_t tenant)
{
	struct tenant *to = &store->tenants[tenant];
	if (!to->is_staged) {
		to->staged = to->counters;
		to->is_staged = true;
	}
	return &to->staged;
}

static int store_stage_seq(struct store *store, uint32_t id, uint64_t seq)
{
	struct stream *stream = &store->streams[id];
	if (!stream->is_staged) {
		int r = seq_set_copy(&stream->staged, &stream->seqs);
		if (r < 0)
			return r;
		stream->is_staged = true;
	}
	return seq_set_add(&stream->staged, seq);
}

/*
 * The stream is so full of gaps that its set no longer knows: then the rows do, whose key is made
 * of what a section that is sent again has in common with the first.
 */
static int store_is_kept(struct store *store, const struct group *group, uint32_t index,
        uint32_t stream, bool *ret_is_kept)
{
	const struct store_append *append = &group->appends[index];
	for (uint32_t i = 0; i < index; i++) {
		const struct section *section = &group->sections[i];
		if (section->batch && section->stream == stream &&
		        section->seq == append->stream.seq) {
			*ret_is_kept = true;
			return 0;
		}
	}

	uint8_t key[KEYS_BATCH_BYTES];
	AUTO_BUF value = { 0 };
	struct key_batch of = { append->batch->start_ns, stream, append->stream.seq };
	keys_put_batch(of, key);
	int r = kv_get(store->kv, KV_BATCH, (struct kv_bytes){ key, sizeof(key) }, &value);
	if (r == 0)
		*ret_is_kept = true;
	else if (r == -ENOENT)
		r = store_is_sealed(store, of, ret_is_kept);
	if (r < 0)
		kv_error(store->kv, store->error, sizeof(store->error));
	return r;
}

/* Is this seq of this stream kept already? `stream` ID_NONE: nothing of it is. */
static int store_is_duplicate(struct store *store, const struct group *group, uint32_t index,
        uint32_t stream, bool *ret_is_duplicate)
{
	*ret_is_duplicate = false;
	if (stream == ID_NONE)
		return 0;
	const struct stream *of = &store->streams[stream];
	const struct seq_set *seqs = of->is_staged ? &of->staged : &of->seqs;
	switch (seq_set_state(seqs, group->appends[index].stream.seq)) {
	case SEQ_NEW:
		return 0;
	case SEQ_KEPT:
		*ret_is_duplicate = true;
		return 0;
	case SEQ_UNSURE:
		break;
	}
	return store_is_kept(store, group, index, stream, ret_is_duplicate);
}

/* What came, and of what it is kept as (which says what was folded) the losses. */
static void store_count_batch(
        struct store_counters *counters, const struct batch *batch, const struct batch *kept)
{
	counters->batches++;
	counters->rows = store_add(counters->rows, batch->rows_count);
	counters->samples = store_add(counters->samples, batch_samples(batch));
	for (uint32_t i = 0; i < kept->losses_count; i++) {
		const struct loss *loss = &kept->losses[i];
		bool is_lost = loss_is_lost(loss->reason, loss->series != SERIES_NONE);
		uint32_t reason = loss->reason <= LOSS_REASON_MAX ? loss->reason : 0;
		uint64_t *count = is_lost ? &counters->lost[reason] : &counters->samples_folded;
		*count = store_add(*count, loss->count);
	}
}

static void store_answer(struct store_append *append, uint32_t status, const char *reason)
{
	append->ret_status = status;
	append->ret_reason = reason;
}

static bool store_is_late(const struct store *store, const struct batch *batch)
{
	uint64_t now_ns = clock_unix_ns(store->clock);
	uint64_t end_ns = batch->start_ns + batch->duration_ns;
	return end_ns < now_ns && now_ns - end_ns > store->options.late_max_ns;
}

/* Would what it says be forgotten as soon as it is sealed? */
static bool store_is_expired(
        const struct store *store, const char *tenant, const struct batch *batch)
{
	uint64_t window_ns = store->options.window_ns;
	uint64_t to_ns = batch->start_ns - batch->start_ns % window_ns;
	if (!store->has_expired || __builtin_add_overflow(to_ns, window_ns, &to_ns) ||
	        to_ns > clock_unix_ns(store->clock))
		return false;
	return store->has_expired(store->has_expired_owner, tenant, batch, to_ns);
}

/* Why a section is not taken for its age, or NULL. */
static const char *store_refusal_of_age(
        const struct store *store, const struct store_append *append, const char *tenant)
{
	if (append->refuse_late && store_is_late(store, append->batch))
		return "it is older than what the aggregator still takes (late-max)";
	if (store_is_expired(store, tenant, append->batch))
		return "it is older than the policies of retention keep it";
	return NULL;
}

/* Decides one section and takes it into memory. With the gate locked. Negative: the group fails. */
static int store_take_section(struct store *store, struct group *group, uint32_t index)
{
	struct store_append *append = &group->appends[index];
	struct section *section = &group->sections[index];
	struct record_stream who = {
		.uuid = append->stream.uuid,
		.epoch = append->stream.epoch,
		.shard = append->stream.shard,
		.used_ns = clock_unix_ns(store->clock),
	};

	const char *refusal = store_refusal(append);
	if (refusal) {
		store_answer(append, WIRE_REJECT, refusal);
		return 0;
	}
	snprintf(who.tenant, sizeof(who.tenant), "%s",
	        append->stream.tenant ? append->stream.tenant : "");

	uint32_t stream = store_find_stream(store, &who);
	bool is_duplicate;
	int r = store_is_duplicate(store, group, index, stream, &is_duplicate);
	if (r < 0)
		return r;
	refusal = is_duplicate ? NULL : store_refusal_of_age(store, append, who.tenant);
	if (refusal) {
		uint32_t tenant;
		r = store_tenant(store, who.tenant, &tenant);
		if (r < 0)
			return r;
		store_stage_counters(store, tenant)->batches_late++;
		group->is_worth_writing = true;
		store_answer(append, WIRE_REJECT, refusal);
		return 0;
	}
	if (is_duplicate) {
		store_stage_counters(store, store->streams[stream].tenant)->batches_duplicate++;
		group->is_worth_writing = true;
		store_answer(append, WIRE_DUP, "");
		return 0;
	}

	struct dict *dict = store->newest->dict;
	struct dict_mark before = dict_mark(dict);
	AUTO(batch) batch = batch_new(dict);
	struct translation translation = {
		.store = store,
		.tenant = who.tenant,
		.remap = append->remap,
		.labels.service = ID_NONE,
	};
	r = batch ? store_translate(&translation, append->batch, batch) : -ENOMEM;
	if (r == -ENOSPC) {
		/* One that is too large for any dict must not wear out this one. */
		dict_truncate(dict, before);
		dict_remap_truncate(append->remap, before);
		group->is_full = true;
		store_answer(append, WIRE_BUSY,
		        "the dictionary of the store is full: raise its limits or delete data");
		return 0;
	}
	if (r == -EINVAL) {
		store_answer(append, WIRE_REJECT, "it refers to what its dictionary lacks");
		return 0;
	}
	if (r == 0 && stream == ID_NONE)
		r = store_stream_add(store, &who, &stream);
	if (r == -ENOSPC) {
		store_answer(append, WIRE_BUSY, "the store knows as many streams as it can");
		return 0;
	}
	r = r < 0 ? r : store_stage_seq(store, stream, append->stream.seq);
	if (r < 0)
		return r;

	store->streams[stream].who.used_ns = store_used_ns(store, append->batch, who.used_ns);
	struct store_counters *counters = store_stage_counters(
	        store, store->streams[stream].tenant);
	store_count_batch(counters, append->batch, batch);
	section->batch = TAKE(batch);
	section->stream = stream;
	section->seq = append->stream.seq;
	group->is_worth_writing = true;
	group->is_worth_syncing = true;
	store_answer(append, WIRE_OK, "");
	return 0;
}

static int store_take_group(struct store *store, struct group *group)
{
	struct generation *newest = store->newest;
	int r = 0;
	for (uint32_t i = 0; i < group->count; i++)
		dict_remap_aim(group->appends[i].remap, newest->dict);
	for (uint32_t i = 0; i < group->count && r == 0; i++) {
		r = store_take_section(store, group, i);
		if (r == 0 && group->is_full && group->may_renew)
			r = -EAGAIN;
	}
	return r < 0 ? r : label_index_extend(newest->index, newest->dict);
}

static int store_put_batches(struct store *store, const struct group *group, struct kv_batch *write)
{
	AUTO_BUF scratch = { 0 };
	AUTO_BUF value = { 0 };
	for (uint32_t i = 0; i < group->count; i++) {
		struct section *section = &group->sections[i];
		uint8_t key_bytes[KEYS_BATCH_BYTES];
		struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
		if (!section->batch)
			continue;
		int r = batch_settle(section->batch);
		if (r < 0)
			return r;
		keys_put_batch((struct key_batch){ section->batch->start_ns, section->stream,
		                       section->seq },
		        key_bytes);
		buf_reset(&value);
		record_put_batch(section->batch, store->newest->id, key, &scratch, &value);
		if (value.failed)
			return -ENOMEM;
		kv_put(store->kv, write, KV_BATCH, key, store_bytes(&value));
		r = store_put_format_of(store, section->batch, write);
		if (r < 0)
			return r;
		section->bytes = key.count + value.count;
	}
	return 0;
}

static int store_put_dict(struct store *store, struct kv_batch *write)
{
	struct generation *newest = store->newest;
	struct dict_mark mark = dict_mark(newest->dict);
	if (memcmp(&mark, &newest->kept, sizeof(mark)) == 0)
		return 0;
	return store_put_additions(store, newest, newest->chunks_count, newest->kept, write);
}

/* Every stream of the group; one that occurs twice is put twice, alike. */
static int store_put_streams(struct store *store, const struct group *group, struct kv_batch *write)
{
	AUTO_BUF value = { 0 };
	uint32_t before = ID_NONE;
	for (uint32_t i = 0; i < group->count; i++) {
		const struct section *section = &group->sections[i];
		uint8_t key_bytes[KEYS_STREAM_BYTES];
		struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
		if (!section->batch || section->stream == before)
			continue;
		before = section->stream;
		const struct stream *stream = &store->streams[section->stream];
		keys_put_stream(section->stream, key_bytes);
		buf_reset(&value);
		record_put_stream(&stream->who, &stream->staged, key, &value);
		if (value.failed)
			return -ENOMEM;
		kv_put(store->kv, write, KV_STREAM, key, store_bytes(&value));
	}
	return 0;
}

static int store_put_counters(struct store *store, struct kv_batch *write)
{
	AUTO_BUF value = { 0 };
	for (uint32_t i = 0; i < store->tenants_count; i++) {
		const struct tenant *tenant = &store->tenants[i];
		struct kv_bytes key = { tenant->name, strlen(tenant->name) };
		if (!tenant->is_staged)
			continue;
		buf_reset(&value);
		record_put_counters(&tenant->staged, key, &value);
		if (value.failed)
			return -ENOMEM;
		kv_put(store->kv, write, KV_COUNTERS, key, store_bytes(&value));
	}
	return 0;
}

static int store_write_group(struct store *store, const struct group *group)
{
	AUTO(kv_batch) write = kv_batch_new();
	int r = write ? store_put_batches(store, group, write) : -ENOMEM;
	r = r < 0 ? r : store_put_dict(store, write);
	r = r < 0 ? r : store_put_streams(store, group, write);
	r = r < 0 ? r : store_put_counters(store, write);
	if (r < 0)
		return r;
	/* Nobody waits for a count of duplicates to be on the disk. */
	return store_write(
	        store, write, group->is_worth_syncing ? KV_SYNC : KV_UNSYNCED, "keeping a group");
}

static void store_swap_seqs(struct stream *stream)
{
	struct seq_set seqs = stream->seqs;
	stream->seqs = stream->staged;
	stream->staged = seqs; /* its memory is for the next group */
}

/* Ends the staging of the group; what was staged is the truth when it was written. */
static void store_unstage(struct store *store, const struct group *group, bool is_written)
{
	for (uint32_t i = 0; i < group->count; i++) {
		const struct section *section = &group->sections[i];
		if (!section->batch || section->stream >= store->streams_count)
			continue;
		struct stream *stream = &store->streams[section->stream];
		if (stream->is_staged && is_written)
			store_swap_seqs(stream);
		stream->is_staged = false;
	}
	pthread_mutex_lock(&store->stats);
	for (uint32_t i = 0; i < store->tenants_count; i++) {
		struct tenant *tenant = &store->tenants[i];
		if (tenant->is_staged && is_written)
			tenant->counters = tenant->staged;
		tenant->is_staged = false;
	}
	pthread_mutex_unlock(&store->stats);
}

static void store_group_is_kept(struct store *store, const struct group *group)
{
	struct generation *newest = store->newest;
	struct dict_mark mark = dict_mark(newest->dict);
	if (memcmp(&mark, &newest->kept, sizeof(mark)) != 0) {
		newest->chunks_count++;
		store_note_additions(store, newest);
	}
	newest->kept = mark;
	newest->series_published = mark.series;
	store_unstage(store, group, true);
	head_sums_begin_notes(&store->head_sums);
	for (uint32_t i = 0; i < group->count; i++) {
		const struct section *section = &group->sections[i];
		if (!section->batch)
			continue;
		uint64_t start_ns = section->batch->start_ns;
		if (record_batch_is_packed(section->batch))
			store_note_format(store, STORE_FORMAT_VALUES);
		store_note_late(
		        store, (struct key_batch){ start_ns, section->stream, section->seq });
		head_sums_note(&store->head_sums,
		        (struct key_batch){ start_ns, section->stream, section->seq },
		        section->bytes);
		head_sizes_add(&store->heads,
		        (struct head_size){
		                .from_ns = start_ns - start_ns % store->options.window_ns,
		                .bytes = section->bytes,
		                .batches = 1,
		        });
	}
	head_sums_end_notes(&store->head_sums);

	pthread_mutex_lock(&store->stats);
	for (uint32_t i = 0; i < group->count; i++) {
		if (!group->sections[i].batch)
			continue;
		uint64_t start_ns = group->sections[i].batch->start_ns;
		generation_note_open(newest, start_ns);
		if (!store->has_batches || start_ns < store->first_ns)
			store->first_ns = start_ns;
		if (!store->has_batches || start_ns > store->last_ns)
			store->last_ns = start_ns;
		store->has_batches = true;
	}
	pthread_mutex_unlock(&store->stats);
}

static void store_group_failed(struct store *store, const struct group *group)
{
	gate_lock(&store->gate);
	store_unstage(store, group, false);
	/* A section that fails half way has a staged stream but no batch. */
	for (uint32_t i = 0; i < store->streams_count; i++)
		store->streams[i].is_staged = false;
	store_take_back(store, group->slots_before);
	for (uint32_t i = 0; i < group->count; i++)
		dict_remap_truncate(group->appends[i].remap, store->newest->kept);
	gate_unlock(&store->gate);
}

static int store_append_group(struct store *store, struct group *group)
{
	gate_lock(&store->gate);
	if (symbols_cache_needs_sweep(store->symbols))
		symbols_cache_sweep(store->symbols);
	int r = store_take_group(store, group);
	gate_unlock(&store->gate);

	if (r == 0 && group->is_worth_writing)
		r = store_write_group(store, group);
	if (r < 0) {
		if (r == -ENOMEM)
			store_set_error(store, "keeping a group: out of memory");
		store_group_failed(store, group);
	} else if (group->is_worth_writing) {
		store_group_is_kept(store, group);
	}
	return r;
}

static void group_reset(struct group *group)
{
	for (uint32_t i = 0; i < group->count; i++)
		batch_free(group->sections[i].batch);
	memset(group->sections, 0, group->count * sizeof(*group->sections));
	group->is_worth_syncing = false;
	group->is_worth_writing = false;
	group->is_full = false;
}

/* Into the newest generation, or when it is full into the next. */
static int store_append_renewing(struct store *store, struct group *group)
{
	int r = store_renew_dict(store);
	if (r < 0)
		return r;
	group->may_renew = dict_is_past(store->newest->dict, STORE_WORN_PART);
	r = store_append_group(store, group);
	if (r != -EAGAIN)
		return r;
	group_reset(group);
	group->may_renew = false;
	r = store_begin_generation(store);
	return r < 0 ? r : store_append_group(store, group);
}

int store_append(struct store *store, struct store_append *appends, uint32_t count)
{
	autofree struct section *sections = calloc((size_t)count + 1, sizeof(*sections));
	struct group group = { .appends = appends, .sections = sections, .count = count };

	pthread_mutex_lock(&store->writer);
	int r = sections ? store_make_writable(store) : -ENOMEM;
	group.slots_before = id_map_count(store->stream_ids);
	if (r == 0)
		r = store_append_renewing(store, &group);
	pthread_mutex_unlock(&store->writer);
	for (uint32_t i = 0; sections && i < count; i++)
		batch_free(sections[i].batch);
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

/* ---- agents, counters, size ---- */

int store_agent_put(struct store *store, const struct store_agent *agent)
{
	uint8_t key_bytes[KEYS_AGENT_BYTES_MAX];
	AUTO(kv_batch) write = kv_batch_new();
	AUTO_BUF value = { 0 };
	if (!write)
		return -ENOMEM;
	if (strnlen(agent->tenant, sizeof(agent->tenant)) > KEYS_TENANT_BYTES_MAX)
		return -EINVAL;
	struct kv_bytes key = { key_bytes, keys_put_agent(&agent->uuid, agent->tenant, key_bytes) };

	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	if (r == 0) {
		struct store_agent first = *agent, known;
		AUTO_BUF before = { 0 };
		/* What cannot be read is written anew: nothing but this moment is lost by it. */
		if (kv_get(store->kv, KV_AGENT, key, &before) == 0 &&
		        record_get_agent(key, store_bytes(&before), &known) == 0 &&
		        known.first_seen_ns < first.first_seen_ns)
			first.first_seen_ns = known.first_seen_ns;
		record_put_agent(&first, key, &value);
		r = value.failed ? -ENOMEM : 0;
	}
	if (r == 0) {
		kv_put(store->kv, write, KV_AGENT, key, store_bytes(&value));
		r = store_write(store, write, KV_UNSYNCED, "keeping what an agent said");
		if (r == 0)
			quarantine_lift(
			        store->quarantine, (struct quarantine_key){ KV_AGENT, key });
	}
	pthread_mutex_unlock(&store->writer);
	return r;
}

int store_agents(struct store *store, int (*visit)(void *owner, const struct store_agent *agent),
        void *owner)
{
	int r = 0;
	gate_enter(&store->gate);
	struct kv_iterator *it = kv_iterator_new(
	        store->kv, KV_AGENT, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	for (; it && r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct store_agent agent;
		struct wire_uuid uuid;
		char tenant[KEYS_TENANT_BYTES_MAX + 1];
		if (keys_get_agent(key.bytes, key.count, &uuid, tenant) < 0 ||
		        record_get_agent(key, kv_iterator_value(it), &agent) < 0) {
			store->corrupt++; /* he will speak again */
			store_note_unreadable(store, KV_AGENT, key, -EBADMSG);
			continue;
		}
		agent.uuid = uuid;
		snprintf(agent.tenant, sizeof(agent.tenant), "%s", tenant);
		r = visit(owner, &agent);
	}
	if (r == 0)
		r = it ? kv_iterator_result(it) : -ENOMEM;
	kv_iterator_free(it);
	store_read_unlock(store);
	return r;
}

int store_counters(struct store *store, const char *tenant, struct store_counters *ret_counters)
{
	struct store_counters counters = { 0 }; /* of a tenant that nobody has heard of */
	pthread_mutex_lock(&store->stats);
	for (uint32_t i = 0; i < store->tenants_count; i++)
		if (strcmp(store->tenants[i].name, tenant) == 0)
			counters = store->tenants[i].counters;
	pthread_mutex_unlock(&store->stats);
	*ret_counters = counters;
	return 0;
}

static void store_size_generation(const struct generation *generation, struct store_size *size)
{
	if (generation->dict) {
		size->bytes_memory += dict_memory(generation->dict) +
		                      label_index_memory(generation->index);
		size->generations_loaded++;
	}
	size->generations++;
	size->generations_compact += generation_is_compact(generation);
	struct dict_mark mark = dict_mark_of_generation(generation);
	size->dict.strings += mark.strings;
	size->dict.modules += mark.modules;
	size->dict.frames += mark.frames;
	size->dict.nodes += mark.nodes;
	size->nodes += mark.nodes;
	size->dict.series += mark.series;
}

void store_size_head_sums(const struct store *store, struct store_size *size)
{
	size->head_sums_memory = store->head_sums.memory;
	size->head_sums_rows = store->head_sums.rows;
	size->head_sums_built = store->head_sums.built;
	size->head_sums_dropped = store->head_sums.dropped;
	size->head_sums_refused = store->head_sums.refused;
	size->head_sums_used = store->head_sums.used;
}

int store_size(struct store *store, struct store_size *ret_size)
{
	struct store_size size = { 0 };
	gate_enter(&store->gate);
	size.bytes_disk = kv_disk_bytes(store->kv);
	size.bytes_memory = kv_memory_bytes(store->kv) + symbols_cache_memory(store->symbols) +
	                    store->streams_capacity * (sizeof(*store->streams) + 96);
	for (uint32_t i = 0; i < store->generations_count; i++)
		store_size_generation(store->generations[i], &size);
	size.streams = store->streams_count - store->streams_gone;
	size.windows = store->windows.count;
	size.rollups = (uint64_t)store->rollups[0].count + store->rollups[1].count;
	for (uint32_t i = 0; i < store->rollups[1].count; i++)
		size.collapsed += store->rollups[1].entries[i].is_collapsed;
	store_read_unlock(store);

	pthread_mutex_lock(&store->stats);
	size.first_ns = store->first_ns;
	size.last_ns = store->last_ns;
	pthread_mutex_unlock(&store->stats);
	size.names_memory = store->names_memory;
	size.names_loaded = store->names_loaded;
	size.names_put_away = store->names_put_away;
	size.windows_moved = store->moved;
	size.windows_unmovable = store->unmovable;
	store_size_head_sums(store, &size);
	size.corrupt = store->corrupt;
	size.unreadable = quarantine_count(store->quarantine);
	size.unreadable_overflow = quarantine_overflow(store->quarantine);
	*ret_size = size;
	return 0;
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
