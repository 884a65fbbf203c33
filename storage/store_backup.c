/*
 * The steps of making one, and what a kill leaves:
 *
 *	FOLDER/.NAME.partial/         made; what an earlier one left is removed first
 *	               .../store/     a checkpoint: links, and a copy of the log
 *	               .../manifest   from what the checkpoint itself says when it is opened, and
 *	                              the hash of every file as it lies there
 *	FOLDER/NAME                   the same folder under its name, once all of it is synced
 *
 * On another file system files have to be copied, and a checkpoint there would copy them in the
 * gate, with appends and then questions waiting. So it is made beside the store, of links, in
 * STORE/backup-checkpoint, copied from there without any lock, and removed.
 *
 * Restoring is the same the other way: TO.profleet-restore, then TO.
 */

#include "storage/store_backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/hash.h"
#include "storage/store_private.h"

#define BACKUP_PATH_BYTES      4096
#define BACKUP_FOLDER_MODE     0750
#define BACKUP_FILE_MODE       0640
#define BACKUP_PIECE_BYTES     (1u << 20)
#define BACKUP_MEMTABLES_BYTES (64u << 20)
#define BACKUP_CACHE_BYTES     (8u << 20)
#define BACKUP_STAGE           "backup-checkpoint"

/* One thing that is being done. */
struct backup {
	const struct store_backup_options *options;
	char path[BACKUP_PATH_BYTES];    /* FOLDER/NAME */
	char partial[BACKUP_PATH_BYTES]; /* FOLDER/.NAME.partial */
	struct backup_manifest manifest;
	struct hash64_stream *hash;
	uint8_t *piece;
	uint64_t bytes_done;
	uint64_t bytes_total;
	char *error;
	size_t error_bytes;
};

static int backup_fail(struct backup *backup, int result, const char *what, const char *path)
{
	const char *remedy = result == -ENOSPC   ? ": free some room"
	                     : result == -EACCES ? ": give it to the user of this process"
	                                         : "";
	snprintf(backup->error, backup->error_bytes, "%s: %s: %s%s", path, what, strerror(-result),
	        remedy);
	return result;
}

static void backup_fini(struct backup *backup)
{
	backup_manifest_fini(&backup->manifest);
	hash64_stream_free(backup->hash);
	free(backup->piece);
}

/* The paths, and the name's form. Nothing is looked at yet. */
static int backup_init(struct backup *backup, const struct store_backup_options *options,
        char *ret_error, size_t error_bytes)
{
	*backup = (struct backup){
		.options = options,
		.error = ret_error,
		.error_bytes = error_bytes,
	};
	if (!backup_name_is_valid(options->name, BACKUP_NAME_BYTES_MAX)) {
		snprintf(ret_error, error_bytes,
		        "a backup cannot have this name: letters, digits, '.', '_' and '-', at "
		        "most %d, beginning with a letter or digit",
		        BACKUP_NAME_BYTES_MAX);
		return -EINVAL;
	}
	int count = snprintf(
	        backup->path, sizeof(backup->path), "%s/%s", options->folder, options->name);
	(void)snprintf(backup->partial, sizeof(backup->partial), "%s/.%s.partial", options->folder,
	        options->name);
	if (count < 0 || (size_t)count + 64 + BACKUP_FILE_BYTES_MAX > BACKUP_PATH_BYTES) {
		snprintf(ret_error, error_bytes, "the path of the backups is too long");
		return -ENAMETOOLONG;
	}
	backup->hash = hash64_stream_new();
	backup->piece = malloc(BACKUP_PIECE_BYTES);
	if (backup->hash && backup->piece)
		return 0;
	snprintf(ret_error, error_bytes, "out of memory");
	return -ENOMEM;
}

/* Leaves the path as it was when it does not fit: init keeps room for every name. */
static void backup_join(char ret_path[BACKUP_PATH_BYTES], const char *folder, const char *name)
{
	int count = snprintf(ret_path, BACKUP_PATH_BYTES, "%s/%s", folder, name);
	if (count < 0 || count >= BACKUP_PATH_BYTES)
		ret_path[0] = 0;
}

static int backup_sync_folder(const char *path)
{
	autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

static int backup_step(struct backup *backup, uint64_t bytes)
{
	const struct store_backup_options *options = backup->options;
	backup->bytes_done += bytes;
	if (options->progress &&
	        options->progress(options->owner, backup->bytes_done, backup->bytes_total) != 0) {
		snprintf(backup->error, backup->error_bytes, "%s: was ended before it was done",
		        backup->path);
		return -ECANCELED;
	}
	return 0;
}

/* ---- removing ---- */

/* The files of a folder that has no folders. 0 when it is not there. */
static int backup_remove_flat(const char *path)
{
	DIR *folder = opendir(path);
	int r = 0;
	if (!folder)
		return errno == ENOENT ? 0 : -errno;
	for (struct dirent *entry; r == 0 && (entry = readdir(folder));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(folder), entry->d_name, 0) < 0 && errno != ENOENT)
			r = -errno;
	}
	closedir(folder);
	if (r == 0 && rmdir(path) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

/* RocksDB makes a checkpoint under this name first. */
#define BACKUP_CHECKPOINT_PARTIAL "store.tmp"

static int backup_remove(const char *path)
{
	char inner[BACKUP_PATH_BYTES];
	backup_join(inner, path, "store");
	int r = backup_remove_flat(inner);
	backup_join(inner, path, BACKUP_CHECKPOINT_PARTIAL);
	r = r < 0 ? r : backup_remove_flat(inner);
	return r < 0 ? r : backup_remove_flat(path);
}

/* ---- reading files ---- */

/* To its end, into the hash, and into `to` unless that is -1. */
static int backup_read_file(struct backup *backup, int from, int to, uint64_t *ret_bytes)
{
	uint64_t bytes = 0;
	hash64_stream_reset(backup->hash);
	for (;;) {
		ssize_t count = read(from, backup->piece, BACKUP_PIECE_BYTES);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count == 0)
			break;
		hash64_stream_put(backup->hash, backup->piece, (size_t)count);
		for (ssize_t at = 0; to >= 0 && at < count;) {
			ssize_t written = write(to, backup->piece + at, (size_t)(count - at));
			if (written < 0 && errno != EINTR)
				return -errno;
			at += written > 0 ? written : 0;
		}
		bytes += (uint64_t)count;
		int r = backup_step(backup, (uint64_t)count);
		if (r < 0)
			return r;
	}
	*ret_bytes = bytes;
	return 0;
}

static int backup_hash_file(struct backup *backup, const char *folder, const char *name)
{
	struct backup_file file = { .bytes = 0 };
	char path[BACKUP_PATH_BYTES];
	backup_join(path, folder, name);
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : backup_read_file(backup, fd, -1, &file.bytes);
	if (r == -ECANCELED)
		return r;
	if (r == 0 && !backup_name_is_valid(name, BACKUP_FILE_BYTES_MAX))
		r = -EINVAL;
	if (r < 0)
		return backup_fail(backup, r, "cannot be read", path);
	snprintf(file.name, sizeof(file.name), "%s", name);
	file.hash = hash64_stream_value(backup->hash);
	return backup_manifest_add(&backup->manifest, file);
}

/* Calls for each file of a folder of a database. */
static int backup_each_file(struct backup *backup, const char *path,
        int (*visit)(struct backup *backup, const char *folder, const char *name))
{
	DIR *folder = opendir(path);
	int r = 0;
	if (!folder)
		return backup_fail(backup, -errno, "cannot be read", path);
	for (struct dirent *entry; r == 0 && (entry = readdir(folder));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = visit(backup, path, entry->d_name);
	closedir(folder);
	return r;
}

static int backup_add_size(struct backup *backup, const char *folder, const char *name)
{
	char path[BACKUP_PATH_BYTES];
	struct stat status;
	backup_join(path, folder, name);
	if (stat(path, &status) < 0)
		return backup_fail(backup, -errno, "cannot be looked at", path);
	backup->bytes_total += (uint64_t)status.st_size;
	return 0;
}

/* ---- the manifest ---- */

static uint64_t backup_add(uint64_t a, uint64_t b)
{
	uint64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* What the copy says of itself: so it is sure that it opens, and its numbers are its own. */
static int backup_describe_kv(struct backup_contents *contents, struct kv *kv)
{
	static const struct kv_bytes format_key = { KEYS_META_FORMAT,
		sizeof(KEYS_META_FORMAT) - 1 };
	struct record_format format;
	AUTO_BUF value = { 0 };
	int r = kv_get(kv, KV_META, format_key, &value);
	r = r < 0 ? r : record_get_format(format_key, store_bytes(&value), &format);
	if (r < 0)
		return r;
	contents->format = format.version;
	contents->format_min = format.version_min;

	AUTO(kv_iterator) counted = kv_iterator_new(
	        kv, KV_COUNTERS, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	for (; counted && kv_iterator_is_valid(counted); kv_iterator_next(counted)) {
		struct store_counters counters;
		r = record_get_counters(
		        kv_iterator_key(counted), kv_iterator_value(counted), &counters);
		if (r < 0)
			return r;
		contents->batches = backup_add(contents->batches, counters.batches);
		contents->rows = backup_add(contents->rows, counters.rows);
		contents->samples = backup_add(contents->samples, counters.samples);
	}
	r = counted ? kv_iterator_result(counted) : -ENOMEM;
	if (r < 0)
		return r;
	AUTO(kv_iterator) windows = kv_iterator_new(
	        kv, KV_WINDOW, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	for (; windows && kv_iterator_is_valid(windows); kv_iterator_next(windows))
		contents->windows++;
	return windows ? kv_iterator_result(windows) : -ENOMEM;
}

static int backup_describe(struct backup *backup, const char *path)
{
	struct kv_options options = {
		.path = path,
		.block_cache_bytes = BACKUP_CACHE_BYTES,
		.memtables_bytes = BACKUP_MEMTABLES_BYTES,
	};
	char text[512] = "";
	bool is_whole;
	AUTO(kv) kv = NULL;
	int r = kv_open_reader(options, &kv, &is_whole, text, sizeof(text));
	r = r < 0 ? r : backup_describe_kv(&backup->manifest.contents, kv);
	if (r < 0)
		return backup_fail(backup, r, text[0] ? text : "the copy cannot be read", path);
	return 0;
}

/* A file of its own with these bytes, on the disk. */
static int backup_write_file(const char *path, const struct buf *bytes)
{
	autoclose int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, BACKUP_FILE_MODE);
	if (fd < 0)
		return -errno;
	for (size_t at = 0; at < bytes->count;) {
		ssize_t written = write(fd, bytes->bytes + at, bytes->count - at);
		if (written < 0 && errno != EINTR)
			return -errno;
		at += written > 0 ? (size_t)written : 0;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int backup_write_manifest(struct backup *backup)
{
	char path[BACKUP_PATH_BYTES];
	AUTO_BUF text = { 0 };
	backup_join(path, backup->partial, "manifest");
	backup_manifest_put(&backup->manifest, &text);
	int r = text.failed ? -ENOMEM : backup_write_file(path, &text);
	return r < 0 ? backup_fail(backup, r, "cannot be written", path) : 0;
}

static int backup_read_manifest(const char *folder, struct backup_manifest *manifest)
{
	char path[BACKUP_PATH_BYTES];
	struct stat status;
	backup_join(path, folder, "manifest");
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* of anything else */
	if (fd < 0)
		return errno == ENOENT ? -EBADMSG : -errno;
	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) || status.st_size > BACKUP_MANIFEST_BYTES_MAX)
		return -EBADMSG;
	size_t count = (size_t)status.st_size;
	autofree uint8_t *bytes = malloc(count + 1);
	if (!bytes)
		return -ENOMEM;
	for (size_t at = 0; at < count;) {
		ssize_t got = read(fd, bytes + at, count - at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EBADMSG;
		at += (size_t)got;
	}
	return backup_manifest_get(bytes, count, manifest);
}

/* ---- checking files ---- */

/* What stands where a file should: nothing, a link, or something that may never end. */
static int backup_open_file(
        struct backup *backup, const struct backup_file *file, const char *path, int *ret_fd)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat status;
	if (fd < 0 && errno == ENOENT) {
		snprintf(backup->error, backup->error_bytes, "backup %s: the file %s is missing",
		        backup->options->name, file->name);
		return -EBADMSG;
	}
	if (fd < 0 && errno != ELOOP && errno != ENXIO)
		return backup_fail(backup, -errno, "cannot be read", path);
	if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		snprintf(backup->error, backup->error_bytes, "backup %s: %s is no file",
		        backup->options->name, file->name);
		return -EBADMSG;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Reads one file as the manifest has it, and copies it unless `to` is NULL. */
static int backup_check_file(
        struct backup *backup, const struct backup_file *file, const char *folder, const char *to)
{
	char path[BACKUP_PATH_BYTES];
	char copy[BACKUP_PATH_BYTES];
	uint64_t bytes = 0;
	autoclose int from = -1;
	backup_join(path, folder, file->name);
	int r = backup_open_file(backup, file, path, &from);
	if (r < 0)
		return r;
	autoclose int into = -1;
	if (to) {
		backup_join(copy, to, file->name);
		into = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, BACKUP_FILE_MODE);
		if (into < 0)
			return backup_fail(backup, -errno, "cannot be made", copy);
	}
	r = backup_read_file(backup, from, into, &bytes);
	if (r == 0 && into >= 0 && fsync(into) < 0)
		r = -errno;
	if (r == -ECANCELED)
		return r;
	if (r < 0)
		return backup_fail(backup, r, "cannot be copied", to ? copy : path);
	if (bytes == file->bytes && hash64_stream_value(backup->hash) == file->hash)
		return 0;
	snprintf(backup->error, backup->error_bytes,
	        "backup %s: the file %s is not what was backed up", backup->options->name,
	        file->name);
	return -EBADMSG;
}

/* All of them, from the folder that they lie in. */
static int backup_check_files(struct backup *backup, const char *folder, const char *to)
{
	int r = 0;
	for (uint32_t i = 0; i < backup->manifest.files_count && r == 0; i++)
		r = backup_check_file(backup, &backup->manifest.files[i], folder, to);
	return r;
}

/* ---- creating ---- */

static int backup_exists(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0;
}

/* Inside the gate, so that the database is not opened again meanwhile. */
static int backup_checkpoint(struct backup *backup, struct store *store, const char *path)
{
	gate_enter(&store->gate);
	int r = kv_checkpoint(store->kv, path);
	store_read_unlock(store);
	if (r < 0) {
		char text[STORE_ERROR_BYTES];
		store_read_error(store, text, sizeof(text));
		snprintf(backup->error, backup->error_bytes, "%s", text);
	}
	return r;
}

/*
 * The folder of the backups. When it was just made, its own name must be on the disk before a
 * backup in it is told of. One that was there may be of a process that died before it synced; but
 * what is above it may also be closed to us, and then somebody else made it.
 */
static int backup_make_folder(struct backup *backup)
{
	const char *folder = backup->options->folder;
	char parent[BACKUP_PATH_BYTES];
	bool is_new = mkdir(folder, BACKUP_FOLDER_MODE) == 0;
	if (!is_new && errno != EEXIST)
		return backup_fail(backup, -errno, "cannot be made", folder);
	backup_join(parent, folder, "..");
	int r = backup_sync_folder(parent);
	if (r == 0 || !is_new)
		return 0;
	(void)rmdir(folder); /* so that the next one syncs as well */
	return backup_fail(backup, r, "cannot be synced", parent);
}

static int backup_begin(struct backup *backup)
{
	int r = backup_make_folder(backup);
	if (r < 0)
		return r;
	if (backup_exists(backup->path)) {
		snprintf(backup->error, backup->error_bytes,
		        "there is a backup %s: name another, or delete that one",
		        backup->options->name);
		return -EEXIST;
	}
	r = backup_remove(backup->partial);
	if (r < 0)
		return backup_fail(backup, r, "cannot be removed", backup->partial);
	if (mkdir(backup->partial, BACKUP_FOLDER_MODE) < 0)
		return backup_fail(backup, -errno, "cannot be made", backup->partial);
	return 0;
}

static int backup_finish(struct backup *backup, const char *store_path)
{
	int r = backup_sync_folder(store_path);
	r = r < 0 ? r : backup_sync_folder(backup->partial);
	if (r == 0 && rename(backup->partial, backup->path) < 0)
		r = -errno;
	r = r < 0 ? r : backup_sync_folder(backup->options->folder);
	return r < 0 ? backup_fail(backup, r, "cannot be synced or renamed", backup->partial) : 0;
}

/* What an earlier one left, or this one. RocksDB makes a checkpoint under another name first. */
static int backup_remove_stage(const char *stage)
{
	char partial[BACKUP_PATH_BYTES + 8];
	(void)snprintf(partial, sizeof(partial), "%s.tmp", stage);
	int r = backup_remove_flat(stage);
	return r < 0 ? r : backup_remove_flat(partial);
}

/* Can files of the store be linked into the folder of the backup? */
static bool backup_is_beside(const struct backup *backup, const struct store *store)
{
	struct stat there, here;
	return stat(backup->partial, &there) == 0 && stat(store->path, &here) == 0 &&
	       there.st_dev == here.st_dev;
}

/* The checkpoint at `path`, its manifest in memory. */
static int backup_take(struct backup *backup, struct store *store, const char *path)
{
	int r = backup_checkpoint(backup, store, path);
	r = r < 0 ? r : backup_describe(backup, path);
	r = r < 0 ? r : backup_each_file(backup, path, backup_add_size);
	return r;
}

/* By way of a folder of the store, as files have to be copied. */
static int backup_take_apart(struct backup *backup, struct store *store, const char *path)
{
	char stage[BACKUP_PATH_BYTES];
	backup_join(stage, store->path, BACKUP_STAGE);
	int r = backup_remove_stage(stage);
	if (r < 0)
		return backup_fail(backup, r, "cannot be removed", stage);
	if (mkdir(path, BACKUP_FOLDER_MODE) < 0)
		return backup_fail(backup, -errno, "cannot be made", path);
	r = backup_take(backup, store, stage);
	backup->bytes_total *= 2; /* each is read twice */
	r = r < 0 ? r : backup_each_file(backup, stage, backup_hash_file);
	r = r < 0 ? r : backup_check_files(backup, stage, path);
	(void)backup_remove_stage(stage); /* or by the next one */
	return r;
}

static int backup_create(struct backup *backup, struct store *store)
{
	char path[BACKUP_PATH_BYTES];
	int r = backup_begin(backup);
	if (r < 0)
		return r;
	backup_join(path, backup->partial, "store");
	backup->manifest.contents.created_ns = clock_unix_ns(store->clock);
	snprintf(backup->manifest.name, sizeof(backup->manifest.name), "%s", backup->options->name);
	if (backup_is_beside(backup, store)) {
		r = backup_take(backup, store, path);
		r = r < 0 ? r : backup_each_file(backup, path, backup_hash_file);
	} else {
		r = backup_take_apart(backup, store, path);
	}
	r = r < 0 ? r : backup_write_manifest(backup);
	r = r < 0 ? r : backup_finish(backup, path);
	if (r < 0)
		(void)backup_remove(backup->partial); /* or by the next one of that name */
	return r;
}

int store_backup_create(struct store *store, struct store_backup_options options,
        struct backup_manifest *ret_manifest, char *ret_error, size_t error_bytes)
{
	struct backup backup;
	int r = backup_init(&backup, &options, ret_error, error_bytes);
	r = r < 0 ? r : backup_create(&backup, store);
	if (r == 0) {
		*ret_manifest = backup.manifest;
		backup.manifest = (struct backup_manifest){ .files = NULL };
	}
	backup_fini(&backup);
	return r;
}

/* ---- listing ---- */

static int backup_compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int backup_list_names(const char *path, char ***ret_names, size_t *ret_count)
{
	char **names = NULL;
	size_t count = 0;
	int r = 0;
	DIR *folder = opendir(path);
	if (!folder)
		return -errno;
	for (struct dirent *entry; r == 0 && (entry = readdir(folder));) {
		if (!backup_name_is_valid(entry->d_name, BACKUP_NAME_BYTES_MAX))
			continue;
		char **more = realloc(names, (count + 1) * sizeof(*names));
		names = more ? more : names;
		char *name = more ? strdup(entry->d_name) : NULL;
		if (name)
			names[count++] = name;
		else
			r = -ENOMEM;
	}
	closedir(folder);
	if (count > 1)
		qsort(names, count, sizeof(*names), backup_compare_names);
	*ret_names = names;
	*ret_count = count;
	return r;
}

static int backup_visit(const char *folder, const char *name,
        int (*visit)(void *owner, const struct backup_manifest *manifest, int result), void *owner)
{
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	char path[BACKUP_PATH_BYTES];
	backup_join(path, folder, name);
	int result = backup_read_manifest(path, &manifest);
	if (result == -ENOMEM)
		return result;
	if (result < 0)
		backup_manifest_fini(&manifest);
	/* A copy may be called otherwise than it was made: it goes by its folder everywhere. */
	snprintf(manifest.name, sizeof(manifest.name), "%s", name);
	return visit(owner, &manifest, result);
}

int store_backup_list(const char *folder,
        int (*visit)(void *owner, const struct backup_manifest *manifest, int result), void *owner)
{
	char **names = NULL;
	size_t count = 0;
	int r = backup_list_names(folder, &names, &count);
	for (size_t i = 0; i < count; i++) {
		if (r == 0)
			r = backup_visit(folder, names[i], visit, owner);
		free(names[i]);
	}
	free(names);
	return r;
}

/* ---- verifying and restoring ---- */

/* Why there is no manifest that can be read: it is damaged, or the folder is something else. */
static int backup_refuse_manifest(struct backup *backup)
{
	char manifest[BACKUP_PATH_BYTES], store[BACKUP_PATH_BYTES], current[BACKUP_PATH_BYTES];
	backup_join(manifest, backup->path, "manifest");
	backup_join(store, backup->path, "store");
	backup_join(current, backup->path, "CURRENT");
	if (access(manifest, F_OK) == 0 || access(store, F_OK) == 0)
		snprintf(backup->error, backup->error_bytes,
		        "backup %s: its manifest is missing or damaged: use another backup",
		        backup->options->name);
	else if (access(current, F_OK) == 0)
		snprintf(backup->error, backup->error_bytes,
		        "%s is the folder of a store and no backup of one: start "
		        "profleet-aggregator with --data on it, or name a backup",
		        backup->path);
	else
		snprintf(backup->error, backup->error_bytes,
		        "%s is no backup: it has neither a file manifest nor a folder store; name "
		        "one that `profleet backup create` made",
		        backup->path);
	return -EBADMSG;
}

static int backup_open(struct backup *backup)
{
	if (!backup_exists(backup->path)) {
		snprintf(backup->error, backup->error_bytes,
		        "there is no backup %s in %s; `profleet backup list` shows those there are",
		        backup->options->name, backup->options->folder);
		return -ENOENT;
	}
	int r = backup_read_manifest(backup->path, &backup->manifest);
	if (r == -EPROTONOSUPPORT)
		snprintf(backup->error, backup->error_bytes,
		        "backup %s was made by a newer profleet: use that one",
		        backup->options->name);
	else if (r == -EBADMSG)
		return backup_refuse_manifest(backup);
	else if (r < 0)
		return backup_fail(backup, r, "its manifest cannot be read", backup->path);
	backup->bytes_total = backup_manifest_bytes(&backup->manifest);
	return r;
}

int store_backup_verify(struct store_backup_options options, char *ret_error, size_t error_bytes)
{
	struct backup backup;
	char store[BACKUP_PATH_BYTES];
	int r = backup_init(&backup, &options, ret_error, error_bytes);
	r = r < 0 ? r : backup_open(&backup);
	if (r == 0) {
		backup_join(store, backup.path, "store");
		r = backup_check_files(&backup, store, NULL);
	}
	backup_fini(&backup);
	return r;
}

/* It may be there, as a folder without anything in it. */
static int backup_check_target(struct backup *backup, const char *to)
{
	DIR *folder = opendir(to);
	bool is_empty = true;
	if (!folder && errno == ENOENT)
		return 0;
	if (!folder)
		return backup_fail(backup, -errno, "cannot be used", to);
	for (struct dirent *entry; (entry = readdir(folder));)
		is_empty &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(folder);
	if (is_empty)
		return 0;
	snprintf(backup->error, backup->error_bytes,
	        "%s: is not empty: restore to a folder that is empty or not there", to);
	return -ENOTEMPTY;
}

static int backup_restore(struct backup *backup, const char *to)
{
	char partial[BACKUP_PATH_BYTES];
	char parent[BACKUP_PATH_BYTES];
	char store[BACKUP_PATH_BYTES];
	size_t count = strlen(to);
	while (count > 1 && to[count - 1] == '/')
		count--;
	if (count == 0 || count + 64 + BACKUP_FILE_BYTES_MAX > BACKUP_PATH_BYTES) {
		snprintf(backup->error, backup->error_bytes, "no folder to restore to was named");
		return -EINVAL;
	}
	(void)snprintf(partial, sizeof(partial), "%.*s.profleet-restore", (int)count, to);
	(void)snprintf(parent, sizeof(parent), "%.*s/..", (int)count, to);
	int r = backup_check_target(backup, to);
	r = r < 0 ? r : backup_remove_flat(partial);
	if (r < 0)
		return r == -ENOTEMPTY ? r : backup_fail(backup, r, "cannot be removed", partial);
	if (mkdir(partial, BACKUP_FOLDER_MODE) < 0) {
		if (errno != ENOENT && errno != ENOTDIR)
			return backup_fail(backup, -errno, "cannot be made", partial);
		snprintf(backup->error, backup->error_bytes,
		        "%s: the folder above it is not there: make that first", to);
		return -EINVAL; /* -ENOENT is said of backups */
	}
	backup_join(store, backup->path, "store");
	r = backup_check_files(backup, store, partial);
	if (r == 0) {
		r = backup_sync_folder(partial);
		/* An empty folder that is there is replaced. */
		if (r == 0 && rename(partial, to) < 0)
			r = -errno;
		r = r < 0 ? r : backup_sync_folder(parent);
		if (r < 0)
			(void)backup_fail(backup, r, "cannot be synced or renamed", partial);
	}
	if (r < 0)
		(void)backup_remove_flat(partial); /* the first failure is the one to tell of */
	return r;
}

int store_backup_restore(
        struct store_backup_options options, const char *to, char *ret_error, size_t error_bytes)
{
	struct backup backup;
	int r = backup_init(&backup, &options, ret_error, error_bytes);
	r = r < 0 ? r : backup_open(&backup);
	r = r < 0 ? r : backup_restore(&backup, to);
	backup_fini(&backup);
	return r;
}

/* ---- what is no place for a store ---- */

static bool backup_has_manifest(const char *folder)
{
	static const char head[] = "profleet-backup ";
	char path[BACKUP_PATH_BYTES], text[sizeof(head)] = "";
	int count = snprintf(path, sizeof(path), "%s/manifest", folder);
	if (count < 0 || (size_t)count >= sizeof(path))
		return false;
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd >= 0 && read(fd, text, sizeof(head) - 1) == (ssize_t)sizeof(head) - 1 &&
	       memcmp(text, head, sizeof(head) - 1) == 0;
}

bool store_backup_is_in(const char *path)
{
	char above[BACKUP_PATH_BYTES];
	autofree char *whole = realpath(path, NULL);
	const char *last = whole ? strrchr(whole, '/') : NULL;
	if (!whole)
		return false;
	if (backup_has_manifest(whole))
		return true;
	(void)snprintf(above, sizeof(above), "%.*s", (int)(last - whole), whole);
	return strcmp(last, "/store") == 0 && backup_has_manifest(above);
}

/* ---- deleting ---- */

int store_backup_delete(struct store_backup_options options, char *ret_error, size_t error_bytes)
{
	struct backup backup;
	int r = backup_init(&backup, &options, ret_error, error_bytes);
	if (r == 0 && !backup_exists(backup.path)) {
		snprintf(ret_error, error_bytes,
		        "there is no backup %s in %s; `profleet backup list` shows those there are",
		        options.name, options.folder);
		r = -ENOENT;
	}
	/*
	 * Under the other name first, and that on the disk: what a kill or a power loss leaves is
	 * no backup that looks whole.
	 */
	if (r == 0 && ((r = backup_remove(backup.partial)) < 0 ||
	                      (rename(backup.path, backup.partial) < 0 && (r = -errno)) ||
	                      (r = backup_sync_folder(options.folder)) < 0 ||
	                      (r = backup_remove(backup.partial)) < 0))
		r = backup_fail(&backup, r, "cannot be removed", backup.path);
	backup_fini(&backup);
	return r;
}
