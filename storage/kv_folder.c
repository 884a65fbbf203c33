/*
 * One pass over the folder for each question: it has few files, and nobody asks often.
 */

#include "storage/kv_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/buf.h"
#include "storage/log_file.h"
#include "storage/table_file.h"

#define KV_FOLDER_NAME_BYTES     256
#define KV_FOLDER_PATH_BYTES     4096
#define KV_FOLDER_MANIFEST       "MANIFEST-"
#define KV_FOLDER_MANIFEST_BYTES (256u << 20) /* of one that is looked at */
#define KV_FOLDER_NEW_FILE       103          /* in an edit of it: a table, its level, its number */
#define KV_FOLDER_LEVELS         7

bool kv_folder_has_database(const char *path)
{
	char current[KV_FOLDER_PATH_BYTES];
	snprintf(current, sizeof(current), "%s/CURRENT", path);
	return access(current, F_OK) == 0;
}

/* RocksDB holds a lock on a file of its own. */
bool kv_folder_is_in_use(const char *path)
{
	char name[KV_FOLDER_PATH_BYTES];
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	snprintf(name, sizeof(name), "%s/LOCK", path);
	autoclose int fd = open(name, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* ---- names ---- */

static bool kv_folder_ends(const char *name, const char *suffix)
{
	size_t name_count = strlen(name);
	size_t suffix_count = strlen(suffix);
	return name_count >= suffix_count && strcmp(name + name_count - suffix_count, suffix) == 0;
}

static bool kv_folder_begins(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* The greatest number between prefix and suffix, and whose name that is; 0: there is none. */
static uint64_t kv_folder_find_newest(const char *path, const char *prefix, const char *suffix,
        char ret_name[static KV_FOLDER_NAME_BYTES])
{
	uint64_t newest = 0;
	DIR *folder = opendir(path);
	if (!folder)
		return 0;
	for (struct dirent *entry; (entry = readdir(folder));) {
		char *end;
		if (!kv_folder_begins(entry->d_name, prefix))
			continue;
		uint64_t number = strtoull(entry->d_name + strlen(prefix), &end, 10);
		if (number <= newest || strcmp(end, suffix) != 0)
			continue;
		newest = number;
		snprintf(ret_name, KV_FOLDER_NAME_BYTES, "%s", entry->d_name);
	}
	closedir(folder);
	return newest;
}

uint64_t kv_folder_newest_table(const char *path)
{
	char name[KV_FOLDER_NAME_BYTES];
	return kv_folder_find_newest(path, "", ".sst", name);
}

/* ---- how much ---- */

uint64_t kv_folder_bytes(const char *path, const char *suffix)
{
	uint64_t bytes = 0;
	DIR *folder = opendir(path);
	if (!folder)
		return 0;
	for (struct dirent *entry; (entry = readdir(folder));) {
		struct stat status;
		/* A file may go while we look: then it holds nothing. */
		if (kv_folder_ends(entry->d_name, suffix) &&
		        fstatat(dirfd(folder), entry->d_name, &status, 0) == 0 &&
		        S_ISREG(status.st_mode))
			bytes += (uint64_t)status.st_size;
	}
	closedir(folder);
	return bytes;
}

uint64_t kv_folder_free_bytes(const char *path)
{
	struct statvfs status;
	if (statvfs(path, &status) < 0)
		return 0;
	return (uint64_t)status.f_bavail * status.f_frsize;
}

/* ---- sweeping ---- */

void kv_folder_sweep(const char *path, const char *prefix, const char *suffix)
{
	DIR *folder = opendir(path);
	if (!folder)
		return;
	for (struct dirent *entry; (entry = readdir(folder));)
		if (kv_folder_begins(entry->d_name, prefix) &&
		        kv_folder_ends(entry->d_name, suffix))
			(void)unlinkat(dirfd(folder), entry->d_name, 0); /* then the next time */
	closedir(folder);
}

/* ---- damage ---- */

/* All of a file; NULL when it cannot be had. */
static uint8_t *kv_folder_read(int folder_fd, const char *name, size_t *ret_count)
{
	struct stat status;
	autoclose int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0 || status.st_size > KV_FOLDER_MANIFEST_BYTES)
		return NULL;
	size_t count = (size_t)status.st_size;
	autofree uint8_t *bytes = malloc(count + 1);
	if (!bytes || pread(fd, bytes, count, 0) != (ssize_t)count)
		return NULL;
	bytes[count] = 0;
	*ret_count = count;
	return TAKE(bytes);
}

void kv_folder_cut_log(const char *path)
{
	char name[KV_FOLDER_NAME_BYTES];
	size_t count;
	size_t end;
	if (kv_folder_find_newest(path, "", ".log", name) == 0)
		return;
	autoclose int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autofree uint8_t *bytes = folder < 0 ? NULL : kv_folder_read(folder, name, &count);
	if (!bytes || log_file_end(bytes, count, &end) < 0 || end == count)
		return;
	/* As RocksDB does it; whoever has opened the folder meanwhile is left alone. */
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	autoclose int lock_fd = openat(folder, "LOCK", O_RDWR | O_CLOEXEC);
	autoclose int fd = openat(folder, name, O_WRONLY | O_CLOEXEC);
	if (lock_fd >= 0 && fd >= 0 && fcntl(lock_fd, F_SETLK, &lock) == 0)
		(void)!ftruncate(fd, (off_t)end); /* or RocksDB leaves it out */
}

/*
 * Without CURRENT RocksDB would begin anew, and remove what it then does not know. A process that
 * is killed while it makes its first database leaves a manifest without it, but neither a table nor
 * a log; and a log of somebody else's may be there without a manifest.
 */
static int kv_folder_check_current(const char *path, char *ret_text, size_t text_bytes)
{
	char name[KV_FOLDER_NAME_BYTES], log[KV_FOLDER_NAME_BYTES];
	if (kv_folder_has_database(path))
		return 0;
	bool has_manifest = kv_folder_find_newest(path, KV_FOLDER_MANIFEST, "", name) > 0;
	bool has_log = kv_folder_find_newest(path, "", ".log", log) > 0;
	if (kv_folder_newest_table(path) == 0 && !(has_manifest && has_log))
		return 0;
	if (has_manifest)
		snprintf(ret_text, text_bytes,
		        "the file CURRENT is missing, which has one line, the name of the "
		        "manifest: make it with the line %s",
		        name);
	else
		snprintf(ret_text, text_bytes,
		        "the files CURRENT and MANIFEST-... are missing, without which nobody "
		        "knows what the others are: restore a backup");
	return -EBADMSG;
}

/* The name that CURRENT has; NULL when it cannot be had. */
static uint8_t *kv_folder_current(int folder_fd)
{
	size_t count;
	uint8_t *name = kv_folder_read(folder_fd, "CURRENT", &count);
	if (name)
		name[strcspn((const char *)name, "\n")] = 0;
	return name;
}

/* What is behind a damaged place of the manifest would be forgotten. */
static int kv_folder_check_manifest(const char *path, char *ret_text, size_t text_bytes)
{
	size_t count;
	autoclose int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autofree uint8_t *name = folder < 0 ? NULL : kv_folder_current(folder);
	if (!name)
		return 0; /* RocksDB says why */
	autofree uint8_t *bytes = kv_folder_read(folder, (const char *)name, &count);
	int r = bytes ? log_file_check(bytes, count) : 0;
	if (r < 0)
		snprintf(ret_text, text_bytes, "the file %s is damaged", (const char *)name);
	return r;
}

/* `owner`: the number, as a varint. */
static int kv_folder_find_table(void *owner, const uint8_t *edit, size_t edit_bytes)
{
	const struct buf *number = owner;
	for (size_t at = 0; at + 2 + number->count <= edit_bytes; at++)
		if (edit[at] == KV_FOLDER_NEW_FILE && edit[at + 1] < KV_FOLDER_LEVELS &&
		        memcmp(edit + at + 2, number->bytes, number->count) == 0)
			return 1;
	return 0;
}

/*
 * Does the manifest name the table? A power loss may leave one that it was not told of yet, with
 * any part of it on the disk, which RocksDB removes unread. Edits are looked through for what would
 * be said of it, rather than read: so one may be taken to be named that is not, but not the other
 * way, and one of which nothing can be told is. -ENOMEM.
 */
static int kv_folder_names_table(int folder_fd, const char *name)
{
	size_t count;
	AUTO_BUF number = { 0 };
	autofree uint8_t *manifest = kv_folder_current(folder_fd);
	autofree uint8_t *bytes =
	        manifest ? kv_folder_read(folder_fd, (const char *)manifest, &count) : NULL;
	if (!bytes)
		return 1;
	buf_put_varint(&number, strtoull(name, NULL, 10));
	return number.failed ? -ENOMEM
	                     : log_file_visit(bytes, count, kv_folder_find_table, &number);
}

/* A file whose properties RocksDB would stumble over. */
static int kv_folder_check_tables(const char *path, char *ret_text, size_t text_bytes)
{
	int r = 0;
	DIR *folder = opendir(path);
	if (!folder)
		return 0; /* RocksDB says why */
	for (struct dirent *entry; r == 0 && (entry = readdir(folder));) {
		if (!kv_folder_ends(entry->d_name, ".sst"))
			continue;
		struct table_place place = { 0 };
		r = table_file_check(dirfd(folder), entry->d_name, &place);
		int named = r == -EBADMSG ? kv_folder_names_table(dirfd(folder), entry->d_name) : 1;
		if (named <= 0)
			r = named;
		if (r == -EBADMSG)
			snprintf(ret_text, text_bytes,
			        "the properties in the file %s (bytes %" PRIu64 " to %" PRIu64
			        ") are damaged",
			        entry->d_name, place.from, place.to);
	}
	closedir(folder);
	return r == -EBADMSG || r == -ENOMEM ? r : 0;
}

int kv_folder_check(const char *path, char *ret_text, size_t text_bytes)
{
	int r = kv_folder_check_tables(path, ret_text, text_bytes);
	r = r < 0 ? r : kv_folder_check_current(path, ret_text, text_bytes);
	return r < 0 ? r : kv_folder_check_manifest(path, ret_text, text_bytes);
}
