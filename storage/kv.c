/*
 * The only user of RocksDB.
 *
 * How it is set up, and why:
 *
 * Batches and blocks are packed and checksummed before they come here, so those families are not
 * compressed again. Their keys lead with time, so files of them hardly overlap: most are moved down
 * the levels, not rewritten. Small memtables bound memory; a bounded log bounds how long an open
 * takes, and how much room a reopening needs.
 *
 * The log is read up to the first record that is torn (point in time): a write that was not synced
 * may be missing after a crash, but never one before it. A damaged byte in the middle of the log
 * looks just like such an end, though, and everything behind it would be gone without a word. So
 * the number of the last synced write is kept beside the database, in a file of its own that is
 * written after each sync and never synced itself: it may say too little, never too much. A log
 * that ends before that write is damaged, and is refused and left as it is.
 *
 * Sealed blocks do not go that way: they are files made here and taken in (kv_files). Their keys
 * lead with time, so no file lies between them, they land in the lowest level and are never
 * rewritten; and deleting a range of them is unlinking files. Merging a few files by hand
 * (kv_reclaim) is for keys that share a file with others. Left to itself, RocksDB would merge
 * everything between the first and the last deletion.
 *
 * RocksDB reports failure as malloc'd text of the form "IO error: No space left on device: While
 * appending to file: ...". kv_failure makes it a code by its words; there is nothing else to go by
 * in the C API. Its own recovery from a full disk has no handle in C either, hence kv_reopen().
 *
 * Two of its mistakes on a full disk are kept from happening here:
 *
 * Giving back files is the one change of the manifest whose failure it does not note. With the
 * next change it begins a new manifest, and when that fails as well, takes it for the one in use;
 * whatever looks for files to remove then removes the one that is, and nothing can ever be opened
 * again. So after the first such failure nothing more is given back, or written, or removed, until
 * the database is opened again (kv->hurt), and only one thread gives back files at a time.
 *
 * A merge of which nothing is left (of keys below a deleted range) begins a table all the same. If
 * that fails while it is written all is well, but if it fails when it is synced, an assertion ends
 * the process; and all of it is a few hundred bytes, which wait in a buffer for the sync. So the
 * buffer is one page, and its properties are made longer than that (kv_lengthen_properties), as
 * what is longer than the buffer is written at once.
 */

#include "storage/kv.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <rocksdb/c.h>

#include "storage/kv_acked.h"
#include "storage/kv_failure.h"
#include "storage/kv_folder.h"
#include "storage/kv_made.h"
#include "storage/kv_order.h"
#include "storage/log_files.h"
#include "storage/log_tail.h"

#define KV_ERROR_BYTES         512
#define KV_FAMILIES_MAX        64
#define KV_LOG_BYTES_MAX       (64u << 20)
#define KV_REOPEN_MARGIN_BYTES (4u << 20)
#define KV_MERGE_MARGIN_BYTES  (16u << 20) /* what merging a few files may take for a while */
#define KV_RECOVERY_POINT      2           /* rocksdb_point_in_time_recovery has no name in C */
#define KV_INFO_LEVEL_NONE     6           /* one above the highest, which are headers */
#define KV_BUFFER_BYTES        4096
#define KV_BLOOM_BITS          10
#define KV_DICT_BLOCK_BYTES    (256u << 10)
#define KV_DICT_ZSTD_LEVEL     12
#define KV_ZSTD_WINDOW_DEFAULT (-14) /* for zlib, and of no effect on zstd */
#define KV_PAGE_BYTES          4096
#define KV_BATCH_HEAD_BYTES    12 /* writes of several threads may have one in the log */
/*
 * The level that keeps the text log silent has no name, so RocksDB cannot write down its options
 * and leaves a short temporary file each time it is opened. Nobody reads options from there; the
 * files go.
 */
#define KV_OPTIONS_FIRST "OPTIONS-"
#define KV_OPTIONS_LAST  ".dbtmp"
#define KV_TAKE_TRIES    3 /* see kv_files_take() */
/* A folder that cannot be: RocksDB then goes on without its text log. */
#define KV_NO_LOG_FOLDER "/dev/null/none"
/* Never: between failures there is nothing to be found by going over the folder. */
#define KV_FULL_SCAN_PERIOD_US (100ULL * 365 * 24 * 3600 * 1000000)

/* Names are on the disk: they never change. RocksDB insists on one called default. */
static const char *const kv_family_names[KV_FAMILIES] = {
	[KV_META] = "default",
	[KV_BATCH] = "batch",
	[KV_DICT] = "dict",
	[KV_DICT_TEXT] = "dict_text",
	[KV_STREAM] = "stream",
	[KV_COUNTERS] = "counters",
	[KV_AGENT] = "agent",
	[KV_SYMBOLS] = "symbols",
	[KV_WINDOW] = "window",
	[KV_SUMS] = "sums",
	[KV_DETAIL] = "detail",
	[KV_SUMS_HOUR] = "sums_hour",
	[KV_SUMS_DAY] = "sums_day",
	[KV_EXPIRY] = "expiry",
	[KV_ADMIN] = "admin",
};

const char *kv_family_name(enum kv_family family)
{
	return kv_family_names[family];
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KV_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define KV_TSAN 1
#endif

#ifdef KV_TSAN
/*
 * Debian's RocksDB is not built for ThreadSanitizer: what it orders by atomics of its own looks
 * like a race between its threads (called_from_lib), and where a reader looks at a value in the
 * memory of RocksDB that a writer had it make (record_...). Everything else of ours stays watched.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "called_from_lib:librocksdb.so\n"
	       "called_from_lib:libstdc++.so\n"
	       "race:record_open\n"
	       "race:record_get_batch\n"
	       "race:record_unpack_batch\n";
}
#endif

struct kv {
	char *path;
	rocksdb_t *db; /* NULL when not even reading works */
	bool writable;
	bool is_reader; /* kv_open_reader(): nothing in the folder may change */
	struct kv_acked acked;
	rocksdb_column_family_handle_t *families[KV_FAMILIES];
	/* Families a newer version made and we do not know: RocksDB wants all of them opened. */
	rocksdb_column_family_handle_t *strangers[KV_FAMILIES_MAX];
	size_t strangers_count;

	rocksdb_options_t *options;
	rocksdb_options_t *family_options[KV_FAMILIES];
	rocksdb_options_t *made_options[KV_FAMILIES]; /* of files made beside the database */
	rocksdb_block_based_table_options_t *table;
	rocksdb_block_based_table_options_t *table_large;
	rocksdb_block_based_table_options_t *table_dict;
	rocksdb_cache_t *cache;
	rocksdb_readoptions_t *read;
	rocksdb_writeoptions_t *write[2]; /* by enum kv_durability */

	_Atomic uint64_t made; /* files beside the database, for their names */
	struct log_tail tail;  /* of who writes synced */
	struct log_files log;  /* of db */

	_Atomic bool is_torn; /* a write failed: the log may end with a part of it */

	pthread_mutex_t deleting; /* whoever gives back files: one at a time */
	_Atomic int hurt;         /* 0, or how giving back failed since the last opening */

	pthread_mutex_t error_mutex;
	char error[KV_ERROR_BYTES];
	char hurt_text[KV_ERROR_BYTES];
};

struct kv_files {
	struct kv *kv;
	enum kv_family family;
	rocksdb_envoptions_t *env;
	rocksdb_sstfilewriter_t *writer; /* of the last name; NULL: between two files */
	struct kv_made made;
	uint64_t bytes;
	bool is_taken;
};

struct kv_batch {
	rocksdb_writebatch_t *batch;
};

struct kv_iterator {
	struct kv *kv;
	enum kv_family family;
	rocksdb_readoptions_t *options;
	rocksdb_iterator_t *iterator;
	/* RocksDB borrows the bounds for as long as the iterator lives. */
	char *from;
	char *to;
	int failed; /* could not be made */
};

static void kv_set_error(struct kv *kv, const char *doing, const char *text)
{
	const char *remedy = kv_failure_code(text) == -ENOSPC ? ": make room there" : "";
	pthread_mutex_lock(&kv->error_mutex);
	snprintf(kv->error, sizeof(kv->error), "%s %s: %s%s", doing, kv->path, text, remedy);
	pthread_mutex_unlock(&kv->error_mutex);
}

/* Takes the text. */
static int kv_result(struct kv *kv, const char *doing, char *text)
{
	if (!text)
		return 0;
	int r = kv_failure_code(text);
	kv_set_error(kv, doing, text);
	rocksdb_free(text);
	return r;
}

void kv_error(struct kv *kv, char *ret_text, size_t text_bytes)
{
	pthread_mutex_lock(&kv->error_mutex);
	snprintf(ret_text, text_bytes, "%s", kv->error);
	pthread_mutex_unlock(&kv->error_mutex);
}

/* Open only for reading, or not at all: said in the same words as a full disk. */
static int kv_refuse(struct kv *kv, const char *doing)
{
	kv_set_error(kv, doing, "not open; it could not be opened again after an earlier failure");
	return -EIO;
}

/* Giving back files failed since the last opening: with its code, and in its words. */
static int kv_refuse_hurt(struct kv *kv)
{
	pthread_mutex_lock(&kv->error_mutex);
	snprintf(kv->error, sizeof(kv->error), "%s", kv->hurt_text);
	pthread_mutex_unlock(&kv->error_mutex);
	return kv->hurt;
}

/* RocksDB may no longer know which of its files are in use: none goes until it is opened again. */
static void kv_set_hurt(struct kv *kv, int failure)
{
	char *text = NULL;
	rocksdb_disable_file_deletions(kv->db, &text);
	free(text); /* it never fails */
	pthread_mutex_lock(&kv->error_mutex);
	snprintf(kv->hurt_text, sizeof(kv->hurt_text), "%s", kv->error);
	pthread_mutex_unlock(&kv->error_mutex);
	kv->hurt = failure;
}

static void kv_end_no_merge(void *state)
{
	(void)state;
}

static char *kv_full_merge(void *state, const char *key, size_t key_bytes, const char *before,
        size_t before_bytes, const char *const *operands, const size_t *operands_bytes,
        int operands_count, unsigned char *ret_success, size_t *ret_bytes)
{
	*ret_success = 0;
	*ret_bytes = 0;
	return NULL;
}

static char *kv_partial_merge(void *state, const char *key, size_t key_bytes,
        const char *const *operands, const size_t *operands_bytes, int operands_count,
        unsigned char *ret_success, size_t *ret_bytes)
{
	*ret_success = 0;
	*ret_bytes = 0;
	return NULL;
}

static const char *kv_long_name(void *state)
{
	static const char name[KV_BUFFER_BYTES + 1] = { [0 ... KV_BUFFER_BYTES - 1] = '-' };
	return name;
}

/*
 * The one text of a table's properties that is ours to choose and means nothing to anybody is the
 * name of a merge operator. Nothing is ever merged by it.
 */
static void kv_lengthen_properties(rocksdb_options_t *options)
{
	rocksdb_options_set_merge_operator(
	        options, rocksdb_mergeoperator_create(NULL, kv_end_no_merge, kv_full_merge,
	                         kv_partial_merge, NULL, kv_long_name));
}

static rocksdb_options_t *kv_make_options_of(
        const struct kv *kv, enum kv_family i, uint64_t memtables_bytes)
{
	rocksdb_options_t *options = rocksdb_options_create();
	bool is_dict = i == KV_DICT || i == KV_DICT_TEXT;
	bool is_bulk = i == KV_BATCH || i == KV_SYMBOLS || i == KV_SUMS || i == KV_DETAIL ||
	               i == KV_SUMS_HOUR || i == KV_SUMS_DAY;

	rocksdb_options_set_block_based_table_factory(options, is_bulk   ? kv->table_large
	                                                       : is_dict ? kv->table_dict
	                                                                 : kv->table);
	rocksdb_options_set_write_buffer_size(
	        options, is_bulk ? memtables_bytes / 2 : memtables_bytes / 8);
	rocksdb_options_set_target_file_size_base(options, 32u << 20);
	rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
	/* Batches and symbols come packed; dictionary deltas are the ones that gain. */
	/*
	 * A dictionary is written once and stays where its first flush put it, above the
	 * lowest level, so it is packed well from the beginning; it is only ever read from
	 * end to end, so in large pieces, in which a name finds those that are like it. In
	 * pieces of 1 MiB it would be 0.7 % smaller, and zstd's tables 9 MB larger.
	 */
	int packing = is_bulk   ? rocksdb_no_compression
	              : is_dict ? rocksdb_zstd_compression
	                        : rocksdb_lz4_compression;
	rocksdb_options_set_compression(options, packing);
	rocksdb_options_set_bottommost_compression(options, packing);
	if (is_dict)
		rocksdb_options_set_compression_options(
		        options, KV_ZSTD_WINDOW_DEFAULT, KV_DICT_ZSTD_LEVEL, 0, 0);
	return options;
}

static void kv_make_family_options(struct kv *kv, uint64_t memtables_bytes)
{
	for (int i = 0; i < KV_FAMILIES; i++) {
		kv->made_options[i] = kv_make_options_of(kv, (enum kv_family)i, memtables_bytes);
		kv->family_options[i] = kv_make_options_of(kv, (enum kv_family)i, memtables_bytes);
		kv_lengthen_properties(kv->family_options[i]);
	}
}

static void kv_make_options(struct kv *kv, struct kv_options options)
{
	kv->options = rocksdb_options_create();
	rocksdb_options_set_create_if_missing(kv->options, 1);
	rocksdb_options_set_create_missing_column_families(kv->options, 1);
	rocksdb_options_set_paranoid_checks(kv->options, 1);
	rocksdb_options_set_wal_recovery_mode(kv->options, KV_RECOVERY_POINT);
	rocksdb_options_set_max_total_wal_size(kv->options, KV_LOG_BYTES_MAX);
	rocksdb_options_set_db_write_buffer_size(kv->options, options.memtables_bytes);
	/* Spreads write-back, so that a flush of files does not delay a sync of the log. */
	rocksdb_options_set_bytes_per_sync(kv->options, 1u << 20);
	rocksdb_options_set_max_background_jobs(kv->options, 2);
	rocksdb_options_set_max_open_files(kv->options, 512);
	/* Otherwise an open makes fifteen threads for each family that has files, few as they are.
	 */
	rocksdb_options_set_max_file_opening_threads(kv->options, 1);
	/*
	 * Debian's RocksDB has its assertions on, and one of them ends the process when a file is
	 * written to after a write to it failed, which its text log does on every full disk.
	 */
	rocksdb_options_set_info_log_level(kv->options, KV_INFO_LEVEL_NONE);
	rocksdb_options_set_keep_log_file_num(kv->options, 1);
	rocksdb_options_set_max_manifest_file_size(kv->options, 16u << 20);
	/* An open writes a new one of a few kilobytes: no room of 4 MiB has to be found for it. */
	rocksdb_options_set_manifest_preallocation_size(kv->options, 64u << 10);
	/* A table must not fail for want of room only when it is synced: see above. */
	rocksdb_options_set_writable_file_max_buffer_size(kv->options, KV_BUFFER_BYTES);
	rocksdb_options_set_delete_obsolete_files_period_micros(
	        kv->options, KV_FULL_SCAN_PERIOD_US);
	rocksdb_options_set_stats_dump_period_sec(kv->options, 0);
	rocksdb_options_set_stats_persist_period_sec(kv->options, 0);

	kv->cache = rocksdb_cache_create_lru(options.block_cache_bytes);
	kv->table = rocksdb_block_based_options_create();
	rocksdb_block_based_options_set_block_cache(kv->table, kv->cache);
	rocksdb_block_based_options_set_block_size(kv->table, 16u << 10);
	rocksdb_block_based_options_set_filter_policy(
	        kv->table, rocksdb_filterpolicy_create_bloom_full(KV_BLOOM_BITS));
	kv->table_large = rocksdb_block_based_options_create();
	rocksdb_block_based_options_set_block_cache(kv->table_large, kv->cache);
	rocksdb_block_based_options_set_block_size(kv->table_large, 64u << 10);
	kv->table_dict = rocksdb_block_based_options_create();
	rocksdb_block_based_options_set_block_cache(kv->table_dict, kv->cache);
	rocksdb_block_based_options_set_block_size(kv->table_dict, KV_DICT_BLOCK_BYTES);
	kv_make_family_options(kv, options.memtables_bytes);

	kv->read = rocksdb_readoptions_create();
	rocksdb_readoptions_set_verify_checksums(kv->read, 1);
	kv->write[KV_UNSYNCED] = rocksdb_writeoptions_create();
	kv->write[KV_SYNC] = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(kv->write[KV_SYNC], 1);
}

static int kv_family_find(const char *name)
{
	for (int i = 0; i < KV_FAMILIES; i++)
		if (strcmp(name, kv_family_names[i]) == 0)
			return i;
	return -1;
}

/* The greatest number of a table that the manifest names. */
static uint64_t kv_newest_live_table(struct kv *kv)
{
	uint64_t newest = 0;
	const rocksdb_livefiles_t *files = rocksdb_livefiles(kv->db);
	for (int i = 0; i < rocksdb_livefiles_count(files); i++) {
		const char *name = rocksdb_livefiles_name(files, i);
		uint64_t number = strtoull(name + strspn(name, "/"), NULL, 10);
		newest = number > newest ? number : newest;
	}
	rocksdb_livefiles_destroy(files);
	return newest;
}

/*
 * Is everything there that was ever acknowledged? -ENODATA: no. A manifest that is cut off looks
 * like one that a power loss left, but there is a table then that it does not know yet.
 */
static int kv_check_acked(struct kv *kv, uint64_t acked)
{
	uint64_t found = rocksdb_get_latest_sequence_number(kv->db);
	uint64_t table = kv_folder_newest_table(kv->path);
	char text[384];
	if (found >= acked)
		return 0;
	int count = snprintf(text, sizeof(text),
	        "it ends at write %" PRIu64 ", and write %" PRIu64 " was acknowledged: ", found,
	        acked);
	if (table > kv_newest_live_table(kv))
		snprintf(text + count, sizeof(text) - (size_t)count,
		        "the file MANIFEST-... that CURRENT names is cut short, for it does not "
		        "know the file %06" PRIu64 ".sst: restore a backup",
		        table);
	else
		snprintf(text + count, sizeof(text) - (size_t)count,
		        "a file that ends in .log is damaged or missing; to go on without what is "
		        "behind, remove the file %s",
		        KV_ACKED_NAME);
	kv_set_error(kv, "opening", text);
	return -ENODATA;
}

static int kv_note_acked(struct kv *kv)
{
	int r = kv_acked_write(&kv->acked, rocksdb_get_latest_sequence_number(kv->db));
	if (r == 0)
		return 0;
	kv_set_error(kv, "writing to", "the folder was removed while it was in use");
	return -EIO;
}

static void kv_disconnect(struct kv *kv)
{
	if (!kv->db)
		return;
	for (int i = 0; i < KV_FAMILIES; i++)
		if (kv->families[i])
			rocksdb_column_family_handle_destroy(kv->families[i]);
	memset(kv->families, 0, sizeof(kv->families));
	for (size_t i = 0; i < kv->strangers_count; i++)
		rocksdb_column_family_handle_destroy(kv->strangers[i]);
	rocksdb_close(kv->db);
	if (kv->is_torn)
		kv_folder_cut_log(kv->path);
	log_files_forget(&kv->log);
	kv->db = NULL;
	kv->writable = false;
	kv->hurt = 0;
	kv->is_torn = false;
	kv->strangers_count = 0;
}

/* What kv_connect() opens: our families in their order, then those we do not know. */
struct kv_opening {
	const char *names[KV_FAMILIES_MAX];
	const rocksdb_options_t *options[KV_FAMILIES_MAX];
	rocksdb_column_family_handle_t *handles[KV_FAMILIES_MAX];
	enum kv_family ours[KV_FAMILIES];
	size_t ours_count;
	size_t count;
};

static bool kv_is_listed(char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* Reading cannot make a family that an older version did not know: it is not there, and empty. */
static void kv_list_opening(struct kv *kv, char *const *found, size_t found_count,
        bool for_reading_only, struct kv_opening *opening)
{
	for (int i = 0; i < KV_FAMILIES; i++) {
		if (for_reading_only && !kv_is_listed(found, found_count, kv_family_names[i]))
			continue;
		opening->names[opening->count] = kv_family_names[i];
		opening->options[opening->count++] = kv->family_options[i];
		opening->ours[opening->ours_count++] = (enum kv_family)i;
	}
	for (size_t i = 0; i < found_count && opening->count < KV_FAMILIES_MAX; i++) {
		if (kv_family_find(found[i]) >= 0)
			continue;
		opening->names[opening->count] = found[i];
		opening->options[opening->count++] = kv->options;
	}
}

static void kv_take_handles(struct kv *kv, const struct kv_opening *opening)
{
	for (size_t i = 0; i < opening->ours_count; i++)
		kv->families[opening->ours[i]] = opening->handles[i];
	kv->strangers_count = opening->count - opening->ours_count;
	for (size_t i = 0; i < kv->strangers_count; i++)
		kv->strangers[i] = opening->handles[opening->ours_count + i];
}

static int kv_check_files(struct kv *kv)
{
	char text[KV_ERROR_BYTES / 2];
	int r = kv_folder_check(kv->path, text, sizeof(text));
	if (r == -EBADMSG)
		kv_set_error(kv, "opening", text);
	return r;
}

/* Opens every family there is on disk, and ours where they are missing. */
static int kv_connect(struct kv *kv, bool for_reading_only)
{
	struct kv_opening opening = { .count = 0 };
	char **found = NULL;
	size_t found_count = 0;
	char *text = NULL;

	assert(!kv->db);
	uint64_t acked = kv_acked_read(
	        &kv->acked); /* before: another process may be writing there */
	if (kv_folder_has_database(kv->path)) {
		found = rocksdb_list_column_families(kv->options, kv->path, &found_count, &text);
		if (text) {
			free(found); /* an empty list, also on failure */
			return kv_result(kv, "reading the families of", text);
		}
	}
	kv_list_opening(kv, found, found_count, for_reading_only, &opening);
	if (for_reading_only)
		kv->db = rocksdb_open_for_read_only_column_families(kv->options, kv->path,
		        (int)opening.count, opening.names, opening.options, opening.handles, 0,
		        &text);
	else
		kv->db = rocksdb_open_column_families(kv->options, kv->path, (int)opening.count,
		        opening.names, opening.options, opening.handles, &text);
	if (found)
		rocksdb_list_column_families_destroy(found, found_count);
	if (text) {
		kv->db = NULL;
		return kv_result(kv, "opening", text);
	}
	kv->writable = !for_reading_only;
	if (kv->writable)
		kv_folder_sweep(kv->path, KV_OPTIONS_FIRST, KV_OPTIONS_LAST);
	kv_take_handles(kv, &opening);
	int r = kv_check_acked(kv, acked);
	if (r < 0 && !kv->is_reader)
		kv_disconnect(kv);
	return r;
}

/* On failure there is nothing to free. */
static struct kv *kv_new(struct kv_options options)
{
	struct kv *kv = calloc(1, sizeof(*kv));
	char *path = strdup(options.path);
	if (!kv || !path) {
		free(kv);
		free(path);
		return NULL;
	}
	kv->path = path;
	kv->acked = (struct kv_acked)KV_ACKED_INIT;
	pthread_mutex_init(&kv->error_mutex, NULL);
	pthread_mutex_init(&kv->deleting, NULL);
	log_files_init(&kv->log);
	kv_make_options(kv, options);
	return kv;
}

int kv_open(struct kv_options options, struct kv **ret_kv, char *ret_error, size_t error_bytes)
{
	AUTO(kv) kv = kv_new(options);
	if (!kv) {
		snprintf(ret_error, error_bytes, "out of memory");
		return -ENOMEM;
	}

	/*
	 * To open for writing is to throw away what is behind the end of the log. So it is looked
	 * at first; what else may be wrong is left to the opening that counts.
	 */
	int r = kv_check_files(kv);
	if (r == 0 && kv_folder_has_database(kv->path)) {
		kv_acked_open(&kv->acked, kv->path, false);
		if (kv_acked_read(&kv->acked) > 0 && kv_connect(kv, true) == -ENODATA)
			r = -ENODATA;
		kv_disconnect(kv);
	}
	if (r == 0)
		r = kv_connect(kv, false);
	if (r < 0) {
		kv_error(kv, ret_error, error_bytes);
		return r == -ENODATA ? -EBADMSG : r;
	}
	kv_acked_open(&kv->acked, kv->path, false);
	kv_folder_sweep(kv->path, KV_MADE_FIRST, ""); /* of a killed process */
	*ret_kv = TAKE(kv);
	return 0;
}

int kv_open_reader(struct kv_options options, struct kv **ret_kv, bool *ret_is_whole,
        char *ret_error, size_t error_bytes)
{
	AUTO(kv) kv = kv_new(options);
	if (!kv) {
		snprintf(ret_error, error_bytes, "out of memory");
		return -ENOMEM;
	}
	kv->is_reader = true;
	rocksdb_options_set_db_log_dir(kv->options, KV_NO_LOG_FOLDER);
	/* A file that is damaged or missing takes its own keys with it and no others. */
	rocksdb_options_set_paranoid_checks(kv->options, 0);
	kv_acked_open(&kv->acked, kv->path, true);

	int r = kv_folder_is_in_use(kv->path) ? -EBUSY : kv_check_files(kv);
	if (r == 0 && !kv_folder_has_database(kv->path)) {
		kv_set_error(kv, "opening", "there is no database: the file CURRENT is missing");
		r = -ENOENT;
	}
	r = r < 0 ? r : kv_connect(kv, true);
	kv_error(kv, ret_error, error_bytes);
	if (r < 0 && r != -ENODATA)
		return r;
	*ret_is_whole = r == 0;
	*ret_kv = TAKE(kv);
	return 0;
}

void kv_free(struct kv *kv)
{
	if (!kv)
		return;
	kv_disconnect(kv);
	if (kv->options) {
		rocksdb_readoptions_destroy(kv->read);
		rocksdb_writeoptions_destroy(kv->write[KV_UNSYNCED]);
		rocksdb_writeoptions_destroy(kv->write[KV_SYNC]);
		for (int i = 0; i < KV_FAMILIES; i++) {
			rocksdb_options_destroy(kv->family_options[i]);
			rocksdb_options_destroy(kv->made_options[i]);
		}
		rocksdb_block_based_options_destroy(kv->table);
		rocksdb_block_based_options_destroy(kv->table_large);
		rocksdb_block_based_options_destroy(kv->table_dict);
		rocksdb_cache_destroy(kv->cache);
		rocksdb_options_destroy(kv->options);
	}
	if (kv->path) {
		kv_acked_close(&kv->acked);
		pthread_mutex_destroy(&kv->error_mutex);
		pthread_mutex_destroy(&kv->deleting);
		log_files_fini(&kv->log);
	}
	free(kv->path);
	free(kv);
}

int kv_reopen(struct kv *kv)
{
	kv_disconnect(kv);
	int r = kv_check_files(kv);
	if (r == -EBADMSG)
		return r;
	r = r < 0 ? r : kv_connect(kv, false);
	if (r < 0) {
		/* Reading needs no room; and the first reason is the one worth telling. */
		char reason[KV_ERROR_BYTES];
		kv_error(kv, reason, sizeof(reason));
		if (kv_connect(kv, true) == 0) {
			pthread_mutex_lock(&kv->error_mutex);
			snprintf(kv->error, sizeof(kv->error), "%s", reason);
			pthread_mutex_unlock(&kv->error_mutex);
		}
	}
	return r;
}

bool kv_is_writable(const struct kv *kv)
{
	return kv->writable;
}

bool kv_is_hurt(const struct kv *kv)
{
	return kv->hurt < 0;
}

uint64_t kv_reopen_bytes(struct kv *kv)
{
	return kv_log_bytes(kv) + KV_REOPEN_MARGIN_BYTES;
}

uint64_t kv_free_bytes(const struct kv *kv)
{
	return kv_folder_free_bytes(kv->path);
}

struct kv_batch *kv_batch_new(void)
{
	struct kv_batch *batch = calloc(1, sizeof(*batch));
	if (batch)
		batch->batch = rocksdb_writebatch_create();
	return batch;
}

void kv_batch_free(struct kv_batch *batch)
{
	if (!batch)
		return;
	rocksdb_writebatch_destroy(batch->batch);
	free(batch);
}

void kv_batch_reset(struct kv_batch *batch)
{
	rocksdb_writebatch_clear(batch->batch);
}

size_t kv_batch_bytes(const struct kv_batch *batch)
{
	size_t bytes;
	(void)rocksdb_writebatch_data(batch->batch, &bytes);
	return bytes;
}

void kv_put(struct kv *kv, struct kv_batch *batch, enum kv_family family, struct kv_bytes key,
        struct kv_bytes value)
{
	/* Without a database the write itself is refused: kv_write(). */
	if (kv->db)
		rocksdb_writebatch_put_cf(batch->batch, kv->families[family], key.bytes, key.count,
		        value.bytes, value.count);
}

void kv_delete_range(struct kv *kv, struct kv_batch *batch, enum kv_family family,
        struct kv_bytes from, struct kv_bytes to)
{
	if (kv->db)
		rocksdb_writebatch_delete_range_cf(batch->batch, kv->families[family], from.bytes,
		        from.count, to.bytes, to.count);
}

/*
 * What is only in the log, to fill a page of it: a byte that says so, the count of bytes as a
 * varint, and these. A count of 126 has one byte, of 128 two: there is no such entry of 130 bytes.
 */
static void kv_fill_page(struct kv *kv, struct kv_batch *batch)
{
	static const char zeroes[KV_PAGE_BYTES];
	uint64_t bytes = log_tail_fill(&kv->tail, kv->path, kv_batch_bytes(batch));
	if (bytes < 2)
		return;
	rocksdb_writebatch_put_log_data(batch->batch, zeroes, bytes < 130 ? bytes - 2 : bytes - 3);
}

int kv_write(struct kv *kv, struct kv_batch *batch, enum kv_durability durability)
{
	char *text = NULL;
	if (!kv->db || !kv->writable)
		return kv_refuse(kv, "writing to");
	if (kv->hurt)
		return kv_refuse_hurt(kv);
	if (durability == KV_SYNC)
		kv_fill_page(kv, batch);
	rocksdb_write(kv->db, kv->write[durability], batch->batch, &text);
	if (durability == KV_SYNC)
		log_tail_check(&kv->tail, kv->path);
	int r = kv_result(kv, "writing to", text);
	if (r < 0)
		kv->is_torn = true;
	else
		log_files_wrote(&kv->log, kv_batch_bytes(batch) - KV_BATCH_HEAD_BYTES);
	return r == 0 && durability == KV_SYNC ? kv_note_acked(kv) : r;
}

int kv_get(struct kv *kv, enum kv_family family, struct kv_bytes key, struct buf *to)
{
	char *text = NULL;
	if (!kv->db)
		return kv_refuse(kv, "reading from");
	if (!kv->families[family])
		return -ENOENT;
	rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(
	        kv->db, kv->read, kv->families[family], key.bytes, key.count, &text);
	if (text)
		return kv_result(kv, "reading from", text);
	if (!slice)
		return -ENOENT;
	size_t count;
	const char *bytes = rocksdb_pinnableslice_value(slice, &count);
	buf_put(to, bytes, count);
	rocksdb_pinnableslice_destroy(slice);
	return to->failed ? -ENOMEM : 0;
}

static char *kv_copy(struct kv_bytes bytes)
{
	char *copy = malloc(bytes.count);
	if (copy)
		memcpy(copy, bytes.bytes, bytes.count);
	return copy;
}

struct kv_iterator *kv_iterator_new(
        struct kv *kv, enum kv_family family, struct kv_bytes from, struct kv_bytes to)
{
	AUTO(kv_iterator) it = calloc(1, sizeof(*it));
	if (!it)
		return NULL;
	it->kv = kv;
	it->family = family;
	if (!kv->db) {
		it->failed = kv_refuse(kv, "reading from");
		return TAKE(it);
	}
	if (!kv->families[family])
		return TAKE(it); /* an empty one */
	it->options = rocksdb_readoptions_create();
	rocksdb_readoptions_set_verify_checksums(it->options, 1);
	if (from.count) {
		it->from = kv_copy(from);
		if (!it->from)
			return NULL;
		rocksdb_readoptions_set_iterate_lower_bound(it->options, it->from, from.count);
	}
	if (to.count) {
		it->to = kv_copy(to);
		if (!it->to)
			return NULL;
		rocksdb_readoptions_set_iterate_upper_bound(it->options, it->to, to.count);
	}
	it->iterator = rocksdb_create_iterator_cf(kv->db, it->options, kv->families[family]);
	rocksdb_iter_seek_to_first(it->iterator);
	return TAKE(it);
}

void kv_iterator_free(struct kv_iterator *iterator)
{
	if (!iterator)
		return;
	if (iterator->iterator)
		rocksdb_iter_destroy(iterator->iterator);
	if (iterator->options)
		rocksdb_readoptions_destroy(iterator->options);
	free(iterator->from);
	free(iterator->to);
	free(iterator);
}

bool kv_iterator_is_valid(const struct kv_iterator *iterator)
{
	return iterator->iterator && rocksdb_iter_valid(iterator->iterator);
}

void kv_iterator_next(struct kv_iterator *iterator)
{
	rocksdb_iter_next(iterator->iterator);
}

void kv_iterator_last(struct kv_iterator *iterator)
{
	if (iterator->iterator)
		rocksdb_iter_seek_to_last(iterator->iterator);
}

struct kv_bytes kv_iterator_key(const struct kv_iterator *iterator)
{
	struct kv_bytes key;
	key.bytes = rocksdb_iter_key(iterator->iterator, &key.count);
	return key;
}

struct kv_bytes kv_iterator_value(const struct kv_iterator *iterator)
{
	struct kv_bytes value;
	value.bytes = rocksdb_iter_value(iterator->iterator, &value.count);
	return value;
}

int kv_iterator_result(struct kv_iterator *iterator)
{
	char *text = NULL;
	if (!iterator->iterator)
		return iterator->failed;
	rocksdb_iter_get_error(iterator->iterator, &text);
	return kv_result(iterator->kv, "reading from", text);
}

/* The least bound of a file of the family that is behind the key. Borrowed from the list. */
static bool kv_find_bound(const rocksdb_livefiles_t *files, enum kv_family family,
        struct kv_bytes behind, struct kv_bytes *ret_bound)
{
	bool is_found = false;
	for (int i = 0; i < rocksdb_livefiles_count(files); i++) {
		struct kv_bytes bounds[2];
		if (strcmp(rocksdb_livefiles_column_family_name(files, i),
		            kv_family_names[family]) != 0)
			continue;
		bounds[0].bytes = rocksdb_livefiles_smallestkey(files, i, &bounds[0].count);
		bounds[1].bytes = rocksdb_livefiles_largestkey(files, i, &bounds[1].count);
		for (int j = 0; j < 2; j++) {
			if (kv_order_compare(bounds[j], behind) <= 0 ||
			        (is_found && kv_order_compare(bounds[j], *ret_bound) >= 0))
				continue;
			*ret_bound = bounds[j];
			is_found = true;
		}
	}
	return is_found;
}

bool kv_iterator_skip(struct kv_iterator *iterator, struct kv_bytes behind)
{
	struct kv *kv = iterator->kv;
	if (!iterator->iterator)
		return false;
	const rocksdb_livefiles_t *files = rocksdb_livefiles(kv->db);
	while (kv_find_bound(files, iterator->family, behind, &behind)) {
		rocksdb_iter_seek(iterator->iterator, behind.bytes, behind.count);
		if (rocksdb_iter_valid(iterator->iterator))
			break;
	}
	rocksdb_livefiles_destroy(files);
	return rocksdb_iter_valid(iterator->iterator);
}

int kv_checkpoint(struct kv *kv, const char *path)
{
	char *text = NULL;
	if (!kv->db || !kv->writable)
		return kv_refuse(kv, "copying");
	rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(kv->db, &text);
	if (text)
		return kv_result(kv, "copying", text);
	/* The log is copied as it is: a flush would take longer, and room beside it. */
	rocksdb_checkpoint_create(checkpoint, path, UINT64_MAX, &text);
	rocksdb_checkpoint_object_destroy(checkpoint);
	return kv_result(kv, "copying", text);
}

/* RocksDB takes the end with it, and C has no way to say otherwise. */
int kv_delete_files(struct kv *kv, enum kv_family family, struct kv_bytes from, struct kv_bytes to)
{
	char *text = NULL;
	AUTO_BUF before = { 0 };
	if (!kv->db || !kv->writable)
		return kv_refuse(kv, "deleting from");
	kv_order_put_before(to, &before);
	if (before.failed)
		return -ENOMEM;
	pthread_mutex_lock(&kv->deleting);
	int r = kv->hurt ? kv_refuse_hurt(kv) : 0;
	if (r == 0) {
		rocksdb_delete_file_in_range_cf(kv->db, kv->families[family], from.bytes,
		        from.count, (const char *)before.bytes, before.count, &text);
		r = kv_result(kv, "deleting from", text);
		if (r < 0)
			kv_set_hurt(kv, r);
	}
	pthread_mutex_unlock(&kv->deleting);
	return r;
}

/* Is there a key in [from, to)? */
static int kv_has_any(struct kv *kv, enum kv_family family, struct kv_bytes from,
        struct kv_bytes to, bool *ret_has_any)
{
	AUTO(kv_iterator) it = kv_iterator_new(kv, family, from, to);
	if (!it)
		return -ENOMEM;
	*ret_has_any = kv_iterator_is_valid(it);
	return kv_iterator_result(it);
}

/*
 * Files are merged only where a deletion lies above them, so it is put there: a flush of few bytes,
 * then RocksDB writes the files that overlap the range anew. It does so from the highest level to
 * the lowest in the calling thread.
 */
static int kv_merge_range(
        struct kv *kv, enum kv_family family, struct kv_bytes from, struct kv_bytes to)
{
	AUTO(kv_batch) batch = kv_batch_new();
	if (!batch)
		return -ENOMEM;
	kv_delete_range(kv, batch, family, from, to);
	int r = kv_write(kv, batch, KV_UNSYNCED);
	return r < 0 ? r : kv_settle(kv, family, from, to);
}

int kv_settle(struct kv *kv, enum kv_family family, struct kv_bytes from, struct kv_bytes to)
{
	if (!kv->db || !kv->writable)
		return kv_refuse(kv, "merging files of");
	if (kv_free_bytes(kv) < kv_reopen_bytes(kv) + KV_MERGE_MARGIN_BYTES) {
		/* A merge that fails half way would end writing. */
		kv_set_error(kv, "merging files of", "No space left for it");
		return -ENOSPC;
	}
	rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();
	rocksdb_compactoptions_set_exclusive_manual_compaction(options, 0);
	rocksdb_compact_range_cf_opt(
	        kv->db, kv->families[family], options, from.bytes, from.count, to.bytes, to.count);
	rocksdb_compactoptions_destroy(options);
	return 0;
}

int kv_reclaim(struct kv *kv, enum kv_family family, struct kv_bytes from, struct kv_bytes to)
{
	bool has_any;
	int r = kv_delete_files(kv, family, from, to);
	r = r < 0 ? r : kv_has_any(kv, family, from, to, &has_any);
	return r < 0 || !has_any ? r : kv_merge_range(kv, family, from, to);
}

/* ---- files made beside the database ---- */

struct kv_files *kv_files_new(struct kv *kv, enum kv_family family)
{
	struct kv_files *files = calloc(1, sizeof(*files));
	if (!files)
		return NULL;
	files->kv = kv;
	files->family = family;
	files->env = rocksdb_envoptions_create();
	return files;
}

void kv_files_free(struct kv_files *files)
{
	if (!files)
		return;
	if (files->writer)
		rocksdb_sstfilewriter_destroy(files->writer);
	if (!files->is_taken)
		kv_made_remove(&files->made);
	kv_made_fini(&files->made);
	rocksdb_envoptions_destroy(files->env);
	free(files);
}

static int kv_files_begin(struct kv_files *files)
{
	const char *name;
	char *text = NULL;
	int r = kv_made_add(&files->made, files->kv->path, ++files->kv->made, &name);
	if (r < 0)
		return r;
	files->writer = rocksdb_sstfilewriter_create(
	        files->env, files->kv->made_options[files->family]);
	rocksdb_sstfilewriter_open(files->writer, name, &text);
	files->bytes = 0;
	return kv_result(files->kv, "making a file for", text);
}

int kv_files_put(struct kv_files *files, struct kv_bytes key, struct kv_bytes value)
{
	char *text = NULL;
	int r = files->writer ? 0 : kv_files_begin(files);
	if (r < 0)
		return r;
	rocksdb_sstfilewriter_put(
	        files->writer, key.bytes, key.count, value.bytes, value.count, &text);
	files->bytes += key.count + value.count;
	return kv_result(files->kv, "making a file for", text);
}

int kv_files_cut(struct kv_files *files)
{
	char *text = NULL;
	if (!files->writer)
		return 0;
	rocksdb_sstfilewriter_finish(files->writer, &text); /* synced */
	rocksdb_sstfilewriter_destroy(files->writer);
	files->writer = NULL;
	files->bytes = 0;
	return kv_result(files->kv, "making a file for", text);
}

uint64_t kv_files_bytes(const struct kv_files *files)
{
	return files->bytes;
}

/*
 * RocksDB flushes first what the files are put over, and then looks whether it did. When another
 * change wrote the manifest for that flush it can look too early: nothing is taken, and it asks to
 * be tried again. The C API has no code for that, only its words.
 */
int kv_files_take(struct kv_files *files)
{
	struct kv *kv = files->kv;
	char *text = NULL;
	int r = kv_files_cut(files);
	if (r < 0 || files->made.count == 0)
		return r;
	if (!kv->db || !kv->writable)
		return kv_refuse(kv, "adding files to");
	rocksdb_ingestexternalfileoptions_t *options = rocksdb_ingestexternalfileoptions_create();
	rocksdb_ingestexternalfileoptions_set_move_files(options, 1);
	for (int tries = 0; tries < KV_TAKE_TRIES; tries++) {
		text = NULL;
		rocksdb_ingest_external_file_cf(kv->db, kv->families[files->family],
		        (const char *const *)files->made.names, files->made.count, options, &text);
		r = kv_result(kv, "adding files to", text);
		if (r != -EAGAIN)
			break;
	}
	rocksdb_ingestexternalfileoptions_destroy(options);
	r = r == -EAGAIN ? -EIO : r;
	files->is_taken = r == 0;
	return r;
}

static int kv_flush_families(struct kv *kv, bool must_wait)
{
	if (!kv->db || !kv->writable)
		return kv_refuse(kv, "flushing");
	rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
	rocksdb_flushoptions_set_wait(options, must_wait);
	int r = 0;
	for (int i = 0; i < KV_FAMILIES && r == 0; i++) {
		char *text = NULL;
		rocksdb_flush_cf(kv->db, options, kv->families[i], &text);
		r = kv_result(kv, "flushing", text);
	}
	rocksdb_flushoptions_destroy(options);
	return r;
}

int kv_flush(struct kv *kv)
{
	return kv_flush_families(kv, true);
}

void kv_flush_begin(struct kv *kv)
{
	if (kv_free_bytes(kv) < kv_reopen_bytes(kv))
		return;
	(void)kv_flush_families(kv, false);
}

uint64_t kv_log_bytes(struct kv *kv)
{
	return log_files_bytes(&kv->log, kv->path);
}

uint64_t kv_files_disk_bytes(struct kv *kv, enum kv_family family)
{
	uint64_t value = 0;
	if (!kv->db || rocksdb_property_int_cf(kv->db, kv->families[family],
	                       "rocksdb.live-sst-files-size", &value) != 0)
		return 0;
	return value;
}

uint64_t kv_family_bytes(struct kv *kv, enum kv_family family)
{
	static const char *const properties[] = {
		"rocksdb.estimate-live-data-size",
		"rocksdb.cur-size-all-mem-tables",
	};
	uint64_t bytes = 0;
	for (size_t i = 0; kv->db && i < COUNT_OF(properties); i++) {
		uint64_t value;
		if (rocksdb_property_int_cf(kv->db, kv->families[family], properties[i], &value) ==
		        0)
			bytes += value;
	}
	return bytes;
}

uint64_t kv_disk_bytes(const struct kv *kv)
{
	return kv_folder_bytes(kv->path, "");
}

uint64_t kv_memory_bytes(struct kv *kv)
{
	uint64_t bytes = kv->db ? rocksdb_cache_get_usage(kv->cache) : 0;
	static const char *const properties[] = {
		"rocksdb.cur-size-all-mem-tables",
		"rocksdb.estimate-table-readers-mem",
	};

	for (int i = 0; kv->db && i < KV_FAMILIES; i++) {
		for (size_t j = 0; j < COUNT_OF(properties); j++) {
			uint64_t value;
			if (rocksdb_property_int_cf(
			            kv->db, kv->families[i], properties[j], &value) == 0)
				bytes += value;
		}
	}
	return bytes;
}
