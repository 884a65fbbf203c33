#pragma once

/*
 * kv is an ordered map of bytes on disk, in a few families: the one door to RocksDB.
 *
 * Keys compare as bytes. A kv_write is atomic over all families; with KV_SYNC it is also on the
 * disk when the call returns. Text of a failure stays here (kv_error), the code travels:
 *
 *	-ENOSPC           no room, or past a quota: free some, then kv_reopen()
 *	-EIO              the disk or the file system refused
 *	-EBADMSG          bytes on the disk are not what was written
 *	-EBUSY            another process has the folder open
 *	-EACCES -ENOTDIR -ENOENT -ENOMEM -EINVAL
 *
 * After a failed write RocksDB takes no further ones until it is opened again: kv_reopen() does
 * that once there is room, and falls back to reading only, so that what is there can be read.
 *
 * Any thread may call anything, except that kv_reopen() and kv_free() need to be alone: no other
 * call running, no iterator alive.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"

struct kv;
struct kv_batch; /* writes that happen together */
struct kv_iterator;

/* The order is of no importance to the disk: families are known there by name (kv.c). */
enum kv_family {
	KV_META,
	KV_BATCH,
	KV_DICT,
	KV_DICT_TEXT,
	KV_STREAM,
	KV_COUNTERS,
	KV_AGENT,
	KV_SYMBOLS,
	KV_WINDOW,
	KV_SUMS,
	KV_DETAIL,
	KV_SUMS_HOUR,
	KV_SUMS_DAY,
	KV_EXPIRY,
	KV_ADMIN,
	KV_FAMILIES,
};

/* As it is called on the disk, and where a record is named: "default", "batch", ... */
const char *kv_family_name(enum kv_family family);

struct kv_bytes {
	const void *bytes;
	size_t count;
};

struct kv_options {
	const char *path; /* a folder that exists */
	uint64_t block_cache_bytes;
	uint64_t memtables_bytes; /* over all families */
};

int kv_open(struct kv_options options, struct kv **ret_kv, char *ret_error, size_t error_bytes);
void kv_free(struct kv *kv);
DEFINE_AUTO(kv);

/*
 * For looking at a folder that no process has open (-EBUSY), damaged ones included: nothing in it
 * changes, not even a lock. Keys in files that cannot be read are missing, and only they.
 * *ret_is_whole: the log reaches as far as was ever acknowledged; if not, ret_error says so.
 * -ENOENT: there is no database.
 */
int kv_open_reader(struct kv_options options, struct kv **ret_kv, bool *ret_is_whole,
        char *ret_error, size_t error_bytes);

/*
 * Closes and opens again, as after a crash: what was synced is there, and so may be a write that
 * was reported as failed. Negative: opened for reading only (kv_is_writable() says so); try again.
 */
int kv_reopen(struct kv *kv);
bool kv_is_writable(const struct kv *kv);
/* Giving back files failed, so nothing is written before kv_reopen(). */
bool kv_is_hurt(const struct kv *kv);

/* How much room kv_reopen() should find: it rewrites what is only in the log so far. */
uint64_t kv_reopen_bytes(struct kv *kv);

/* Bytes the file system has for us. */
uint64_t kv_free_bytes(const struct kv *kv);

/* The text of the last failure of any thread, copied. */
void kv_error(struct kv *kv, char *ret_text, size_t text_bytes);

/* NULL when out of memory. One thread owns a batch. */
struct kv_batch *kv_batch_new(void);
void kv_batch_free(struct kv_batch *batch);
DEFINE_AUTO(kv_batch);
void kv_batch_reset(struct kv_batch *batch);
size_t kv_batch_bytes(const struct kv_batch *batch);

/* RocksDB aborts the process when a put runs out of memory: values are bounded by the caller. */
void kv_put(struct kv *kv, struct kv_batch *batch, enum kv_family family, struct kv_bytes key,
        struct kv_bytes value);
/* Every key in [from, to). */
void kv_delete_range(struct kv *kv, struct kv_batch *batch, enum kv_family family,
        struct kv_bytes from, struct kv_bytes to);

enum kv_durability {
	KV_UNSYNCED, /* survives this process, not the machine */
	KV_SYNC,
};

int kv_write(struct kv *kv, struct kv_batch *batch, enum kv_durability durability);

/* Appends the value to `to`. -ENOENT: no such key (not an error: kv_error() stays). */
int kv_get(struct kv *kv, enum kv_family family, struct kv_bytes key, struct buf *to);

/*
 * Goes over [from, to) in order; empty bounds are open. What it sees is fixed when it is made.
 *
 *	for (; kv_iterator_is_valid(it); kv_iterator_next(it))
 *		...
 *	r = kv_iterator_result(it);
 */
struct kv_iterator *kv_iterator_new(
        struct kv *kv, enum kv_family family, struct kv_bytes from, struct kv_bytes to);
void kv_iterator_free(struct kv_iterator *iterator);
DEFINE_AUTO(kv_iterator);
bool kv_iterator_is_valid(const struct kv_iterator *iterator);
void kv_iterator_next(struct kv_iterator *iterator);
/* To the last key of the range. */
void kv_iterator_last(struct kv_iterator *iterator);
/* Borrowed until the next move. */
struct kv_bytes kv_iterator_key(const struct kv_iterator *iterator);
struct kv_bytes kv_iterator_value(const struct kv_iterator *iterator);
int kv_iterator_result(struct kv_iterator *iterator);
/*
 * After a failure to read: goes on at the next bound of a file behind the key, which is the last
 * one that was read (empty: none was). What lies between is lost. false: there is nothing behind
 * it that can be read.
 */
bool kv_iterator_skip(struct kv_iterator *iterator, struct kv_bytes behind);

/*
 * Gives back the files that hold nothing but [from, to), at once and without reading them. `to` is
 * not empty. Only after a written kv_delete_range() of the same range, and before any other write.
 * After a failure nothing is written or given back any more before kv_reopen(): kv_is_hurt().
 */
int kv_delete_files(struct kv *kv, enum kv_family family, struct kv_bytes from, struct kv_bytes to);

/*
 * Gives back the room of [from, to), of whose keys nothing is needed any more: files that hold
 * nothing else go at once, unread. What then is left of the range lies in files with other keys, in
 * memory, or above other files: it is deleted, and those few files are written anew without it.
 * Takes as long as that; anybody may read and write meanwhile. 0 when nothing is left.
 */
int kv_reclaim(struct kv *kv, enum kv_family family, struct kv_bytes from, struct kv_bytes to);

/*
 * Takes what was deleted of [from, to) out of its files: those that hold any of the range are
 * written anew without it. For where kv_delete_files() cannot: files of the highest level.
 * -ENOSPC: not tried, there is too little room for it. kv_reclaim() as well, after what it could.
 */
int kv_settle(struct kv *kv, enum kv_family family, struct kv_bytes from, struct kv_bytes to);

/* On disk, of the files of one family. */
uint64_t kv_files_disk_bytes(struct kv *kv, enum kv_family family);

/*
 * Many values for keys that are not there yet, as files that are made beside the database and then
 * become part of it: they go neither through the log nor through memory, and are never written
 * again, as long as no other file has keys between theirs. Nothing of them is there
 * before kv_files_take(); from then on all of it is on the disk.
 *
 * One thread owns them. Making them does not touch the database, and kv_reopen() may happen.
 */
struct kv_files;

/* NULL when out of memory. */
struct kv_files *kv_files_new(struct kv *kv, enum kv_family family);
/* What was not taken in is removed. */
void kv_files_free(struct kv_files *files);
DEFINE_AUTO(kv_files);
/* Keys ascend. -EINVAL when they do not. */
int kv_files_put(struct kv_files *files, struct kv_bytes key, struct kv_bytes value);
/* The next key begins a new file: what may be deleted alone lies apart. */
int kv_files_cut(struct kv_files *files);
/* Of the file that grows. */
uint64_t kv_files_bytes(const struct kv_files *files);
/* Ends them and makes all of them part of the database, or none. Not to be used again. */
int kv_files_take(struct kv_files *files);

/* Moves what is only in memory and log into files. */
int kv_flush(struct kv *kv);
/* The same, in the background. Only for the space: a failure shows with the next write. */
void kv_flush_begin(struct kv *kv);

/* On disk, of the log alone: what an open reads again, and what a flush gives back. */
uint64_t kv_log_bytes(struct kv *kv);

/*
 * Makes a folder at `path`, which must not exist, with all that was written until now: a database
 * to open. Its files are hard links where they never change, so it must be on the same file system;
 * elsewhere they are copied.
 */
int kv_checkpoint(struct kv *kv, const char *path);

/* What the keys and values of a family weigh, about: as RocksDB estimates it from its files, with
 * what is in memory. */
uint64_t kv_family_bytes(struct kv *kv, enum kv_family family);

/* On disk: files of this folder. In memory: what RocksDB holds. */
uint64_t kv_disk_bytes(const struct kv *kv);
uint64_t kv_memory_bytes(struct kv *kv);
