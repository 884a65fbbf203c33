/*
 * A chained hash table of files, keyed by the strongest identity that a sighting has:
 *
 *	the kernel told a build-id      (build-id, base name)
 *	it told an inode generation     (device, inode, generation, path)
 *	only /proc/PID/maps is known    (device, inode, size, mtime, path), by opening it: inode
 *	                                numbers are used again, and a rebuilt program has its path
 *	nothing of the kind             (path)
 *
 * One file may so be known twice, which is harmless: frames carry its build-id, and that is
 * the same.
 *
 * Opening never follows a link out of the process's root (openat2 with RESOLVE_IN_ROOT) and
 * never opens what could block: the name is first looked up without opening (O_PATH), and only
 * a regular file that no FUSE server stands behind is then opened for reading.
 */

#include "agent/symbol_files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "core/hash.h"

#define SYMBOL_FILES_MAX       16384
#define SYMBOL_FILES_OPEN_MAX  256
#define SYMBOL_FILE_BUCKETS    8192 /* a power of two */
#define SYMBOL_FILE_NAME_BYTES 128
#define SYMBOL_FILE_PATH_BYTES 4096
#define SYMBOL_FILE_DELETED    " (deleted)"
#define SYMBOL_FILES_HASH_MAX  (UINT64_C(128) << 20)
#define SYMBOL_FILES_HASH_S    (UINT64_C(8) << 20)
/* Of a full table, as many new files are refused before it is swept again. */
#define SYMBOL_FILES_SWEEP_SHARE 16

struct symbol_file {
	struct symbol_file *next;
	uint64_t key;
	uint64_t opened; /* order of opening: the oldest is closed first */
	int fd;          /* -1: not open */
	int32_t pid;     /* last seen in */
	uint32_t uses;
	bool build_id_known; /* "" then means that nobody could read one */
	char build_id[BUILD_ID_TEXT_MAX];
	char name[SYMBOL_FILE_NAME_BYTES];
	char path[]; /* without " (deleted)" */
};

struct symbol_files {
	struct symbol_files_options options;
	pthread_mutex_t lock; /* over everything below */
	struct symbol_file *buckets[SYMBOL_FILE_BUCKETS];
	uint32_t count;
	uint32_t open_count;
	uint64_t opened;
	uint32_t sweep_pause; /* files to refuse before the full table is swept again */
	int64_t hash_bytes;   /* that may be hashed now; the last file may have overdrawn it */
	uint64_t hash_ns;     /* when that was counted */
};

struct symbol_files *symbol_files_new(struct symbol_files_options options)
{
	AUTO(symbol_files) files = calloc(1, sizeof(*files));

	if (!files)
		return NULL;
	files->options = options;
	if (!files->options.files_max)
		files->options.files_max = SYMBOL_FILES_MAX;
	if (!files->options.open_max)
		files->options.open_max = SYMBOL_FILES_OPEN_MAX;
	if (!files->options.proc_path)
		files->options.proc_path = "/proc";
	if (!files->options.hash_bytes_max)
		files->options.hash_bytes_max = SYMBOL_FILES_HASH_MAX;
	if (!files->options.hash_bytes_s)
		files->options.hash_bytes_s = SYMBOL_FILES_HASH_S;
	if (!files->options.clock)
		files->options.clock = clock_real();
	files->hash_bytes = (int64_t)files->options.hash_bytes_max;
	files->hash_ns = clock_monotonic_ns(files->options.clock);
	if (pthread_mutex_init(&files->lock, NULL) != 0)
		return NULL;
	return TAKE(files);
}

static void symbol_file_close(struct symbol_files *files, struct symbol_file *file)
{
	if (file->fd < 0)
		return;
	(void)close(file->fd);
	file->fd = -1;
	files->open_count--;
}

void symbol_files_free(struct symbol_files *files)
{
	if (!files)
		return;
	for (uint32_t bucket = 0; bucket < SYMBOL_FILE_BUCKETS; bucket++) {
		while (files->buckets[bucket]) {
			struct symbol_file *file = files->buckets[bucket];
			files->buckets[bucket] = file->next;
			symbol_file_close(files, file);
			free(file);
		}
	}
	(void)pthread_mutex_destroy(&files->lock);
	free(files);
}

/* Reopens what was found by name, for reading: -1 for anything but a regular file of a local
 * server. */
static int symbol_file_readable(int found)
{
	char path[40];
	struct stat stat;
	struct statfs filesystem;

	if (fstat(found, &stat) < 0 || !S_ISREG(stat.st_mode) || fstatfs(found, &filesystem) < 0 ||
	        filesystem.f_type == FUSE_SUPER_MAGIC)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", found);
	return open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* O_PATH descriptor of `path` below the root of a process, or of our own where pid is 0. */
static int symbol_file_find_in_root(const struct symbol_files *files, int32_t pid, const char *path)
{
	char root_path[128] = "/";
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };

	if (pid != 0)
		snprintf(root_path, sizeof(root_path), "%s/%d/root", files->options.proc_path, pid);
	autoclose int root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -1;
	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

/* O_PATH descriptor of what a mapping maps, even when it has no name any more. */
static int symbol_file_find_mapped(
        const struct symbol_files *files, const struct symbol_file_sighting *sighting)
{
	char path[160];

	if (sighting->end == 0)
		return -1;
	snprintf(path, sizeof(path), "%s/%d/map_files/%llx-%llx", files->options.proc_path,
	        sighting->pid, (unsigned long long)sighting->start,
	        (unsigned long long)sighting->end);
	return open(path, O_PATH | O_CLOEXEC);
}

/* Whether a file found by name is the one that was seen; without a known inode only the id can
 * tell. */
static bool symbol_file_is_seen(int found, const struct symbol_file_sighting *sighting)
{
	struct stat stat;
	char build_id[BUILD_ID_TEXT_MAX];
	char seen[BUILD_ID_TEXT_MAX];

	if (sighting->inode != 0)
		return fstat(found, &stat) == 0 && stat.st_ino == sighting->inode;
	if (!sighting->build_id)
		return true;
	autoclose int fd = symbol_file_readable(found);
	if (fd < 0 || build_id_of_fd(fd, build_id) < 0)
		return false;
	build_id_of_raw(sighting->build_id, sighting->build_id_bytes, seen);
	return strcmp(build_id, seen) == 0;
}

/* O_PATH descriptor of the file of a sighting, by all ways there are; -1: gone. */
static int symbol_file_find(const struct symbol_files *files,
        const struct symbol_file_sighting *sighting, const char *path)
{
	int32_t roots[] = { sighting->pid, sighting->parent_pid, 0 };
	int mapped = symbol_file_find_mapped(files, sighting);

	if (mapped >= 0)
		return mapped;
	for (uint32_t root = 0; root < COUNT_OF(roots); root++) {
		if (roots[root] == 0 && root + 1 < COUNT_OF(roots))
			continue;
		autoclose int found = symbol_file_find_in_root(files, roots[root], path);
		if (found >= 0 && symbol_file_is_seen(found, sighting))
			return TAKE_FD(found);
	}
	return -1;
}

static uint64_t symbol_file_key(const struct symbol_file_sighting *sighting, const char *path,
        const char *name, const struct stat *stat)
{
	struct {
		uint64_t path;
		uint64_t words[5];
		uint8_t build_id[32];
	} key = { 0 };

	if (sighting->build_id) {
		key.path = hash64_bytes(name, strlen(name));
		memcpy(key.build_id, sighting->build_id,
		        sighting->build_id_bytes < sizeof(key.build_id) ? sighting->build_id_bytes
		                                                        : sizeof(key.build_id));
	} else {
		key.path = hash64_bytes(path, strlen(path));
		key.words[0] = sighting->device;
		key.words[1] = sighting->inode;
		key.words[2] = sighting->inode_generation;
	}
	if (stat) {
		key.words[3] = (uint64_t)stat->st_size;
		key.words[4] = (uint64_t)stat->st_mtim.tv_sec * 1000000000u +
		               (uint64_t)stat->st_mtim.tv_nsec;
	}
	return hash64_bytes(&key, sizeof(key));
}

/* Whether that much may be hashed now: something is left, if not enough. */
static bool symbol_files_may_hash(struct symbol_files *files, uint64_t bytes)
{
	uint64_t now_ns = clock_monotonic_ns(files->options.clock);
	uint64_t passed_ns = now_ns - files->hash_ns;
	int64_t max = (int64_t)files->options.hash_bytes_max;

	if (passed_ns > 3600 * NS_PER_S)
		passed_ns = 3600 * NS_PER_S;
	/* In milliseconds, so that no product of sane options can overflow. */
	files->hash_bytes += (int64_t)(files->options.hash_bytes_s / 1000 *
	                               (passed_ns / NS_PER_MS));
	files->hash_ns = now_ns - passed_ns % NS_PER_MS;
	if (files->hash_bytes > max)
		files->hash_bytes = max;
	if (files->hash_bytes <= 0)
		return false;
	files->hash_bytes -= (int64_t)bytes;
	return true;
}

static void symbol_file_learn_build_id(struct symbol_files *files, struct symbol_file *file)
{
	uint64_t hash_bytes;
	int result = -EBADF;

	if (file->build_id_known)
		return;
	if (file->fd >= 0) {
		result = build_id_of_fd_notes(file->fd, file->build_id, &hash_bytes);
		if (result == -ENOENT && !symbol_files_may_hash(files, hash_bytes)) {
			file->build_id[0] = 0;
			return; /* Later. */
		}
		if (result == -ENOENT)
			result = build_id_of_fd(file->fd, file->build_id);
	}
	file->build_id_known = true;
	if (result < 0)
		file->build_id[0] = 0;
}

/* Room for one more descriptor: the oldest of those whose build-id is known goes, or of all. */
static void symbol_files_close_oldest(struct symbol_files *files)
{
	struct symbol_file *oldest = NULL;

	for (uint32_t bucket = 0; bucket < SYMBOL_FILE_BUCKETS; bucket++) {
		for (struct symbol_file *file = files->buckets[bucket]; file; file = file->next) {
			if (file->fd < 0)
				continue;
			if (!oldest || file->build_id_known > oldest->build_id_known ||
			        (file->build_id_known == oldest->build_id_known &&
			                file->opened < oldest->opened))
				oldest = file;
		}
	}
	if (!oldest)
		return;
	symbol_file_learn_build_id(files, oldest);
	symbol_file_close(files, oldest);
}

/* The table is full: everything that nobody uses goes. */
static void symbol_files_sweep(struct symbol_files *files)
{
	for (uint32_t bucket = 0; bucket < SYMBOL_FILE_BUCKETS; bucket++) {
		struct symbol_file **link = &files->buckets[bucket];
		while (*link) {
			struct symbol_file *file = *link;
			if (file->uses > 0) {
				link = &file->next;
				continue;
			}
			*link = file->next;
			symbol_file_close(files, file);
			free(file);
			files->count--;
		}
	}
}

static struct symbol_file *symbol_files_add(struct symbol_files *files,
        const struct symbol_file_sighting *sighting, const char *path, const char *name,
        uint64_t key)
{
	if (files->count >= files->options.files_max && files->sweep_pause == 0) {
		symbol_files_sweep(files);
		files->sweep_pause = files->options.files_max / SYMBOL_FILES_SWEEP_SHARE;
	}
	if (files->count >= files->options.files_max) {
		if (files->sweep_pause > 0)
			files->sweep_pause--;
		return NULL;
	}
	files->sweep_pause = 0;

	size_t path_bytes = strlen(path) + 1;
	struct symbol_file *file = calloc(1, sizeof(*file) + path_bytes);
	if (!file)
		return NULL;
	memcpy(file->path, path, path_bytes);
	snprintf(file->name, sizeof(file->name), "%s", name);
	file->key = key;
	file->fd = -1;
	if (sighting->build_id) {
		build_id_of_raw(sighting->build_id, sighting->build_id_bytes, file->build_id);
		file->build_id_known = true;
	} else if (strcmp(name, "[vdso]") == 0) {
		const void *image;
		size_t bytes;
		file->build_id_known = true;
		if (build_id_of_vdso(file->build_id, &image, &bytes) < 0)
			file->build_id[0] = 0;
	}
	file->next = files->buckets[key % SYMBOL_FILE_BUCKETS];
	files->buckets[key % SYMBOL_FILE_BUCKETS] = file;
	files->count++;
	return file;
}

static struct symbol_file *symbol_files_find(struct symbol_files *files, uint64_t key)
{
	struct symbol_file *file = files->buckets[key % SYMBOL_FILE_BUCKETS];

	while (file && file->key != key)
		file = file->next;
	return file;
}

/* Splits a kernel path into the path without its mark of deletion, and the base name. */
static const char *symbol_file_split(const char *path, char *ret_path, size_t path_bytes)
{
	size_t count = strnlen(path, path_bytes - 1);
	size_t mark = sizeof(SYMBOL_FILE_DELETED) - 1;

	if (count > mark && memcmp(path + count - mark, SYMBOL_FILE_DELETED, mark) == 0)
		count -= mark;
	memcpy(ret_path, path, count);
	ret_path[count] = 0;
	const char *slash = path[0] == '/' ? strrchr(ret_path, '/') : NULL;
	return slash && slash[1] ? slash + 1 : ret_path;
}

struct symbol_file *symbol_files_see(
        struct symbol_files *files, const struct symbol_file_sighting *sighting)
{
	char path[SYMBOL_FILE_PATH_BYTES];
	const char *name = symbol_file_split(sighting->path, path, sizeof(path));
	bool on_disk = path[0] == '/' && path[1] != '/';
	bool weak = on_disk && !sighting->build_id && sighting->inode_generation == 0;
	struct stat stat;

	(void)pthread_mutex_lock(&files->lock);
	autoclose int found = weak ? symbol_file_find(files, sighting, path) : -1;
	bool has_stat = found >= 0 && fstat(found, &stat) == 0;
	uint64_t key = symbol_file_key(sighting, path, name, has_stat ? &stat : NULL);
	struct symbol_file *file = symbol_files_find(files, key);
	if (!file) {
		file = symbol_files_add(files, sighting, path, name, key);
		if (file && on_disk && found < 0)
			found = symbol_file_find(files, sighting, path);
		int fd = file && found >= 0 ? symbol_file_readable(found) : -1;
		if (fd >= 0) {
			if (files->open_count >= files->options.open_max)
				symbol_files_close_oldest(files);
			file->fd = fd;
			file->opened = files->opened++;
			files->open_count++;
		}
	}
	if (file) {
		file->pid = sighting->pid;
		file->uses++;
	}
	(void)pthread_mutex_unlock(&files->lock);
	return file;
}

void symbol_file_use(struct symbol_file *file)
{
	file->uses++;
}

void symbol_file_unuse(struct symbol_file *file)
{
	assert(file->uses > 0);
	file->uses--;
}

const char *symbol_file_name(const struct symbol_file *file)
{
	return file->name;
}

const char *symbol_file_build_id(struct symbol_files *files, struct symbol_file *file)
{
	(void)pthread_mutex_lock(&files->lock);
	symbol_file_learn_build_id(files, file);
	(void)pthread_mutex_unlock(&files->lock);
	return file->build_id;
}

/* The image as a file: whoever reads symbols wants a descriptor. */
static int symbol_files_open_vdso(const void *image, size_t bytes)
{
	autoclose int fd = memfd_create("vdso", MFD_CLOEXEC);
	size_t written = 0;

	if (fd < 0)
		return -errno;
	while (written < bytes) {
		ssize_t count = write(fd, (const char *)image + written, bytes - written);
		if (count < 0)
			return -errno;
		written += (size_t)count;
	}
	return TAKE_FD(fd);
}

/* By its path, where the file there still is the one with this id. */
static int symbol_files_reopen(
        const struct symbol_files *files, int32_t pid, const char *path, const char *build_id)
{
	char found_id[BUILD_ID_TEXT_MAX];
	autoclose int found = symbol_file_find_in_root(files, pid, path);

	if (found < 0)
		return -ENOENT;
	autoclose int fd = symbol_file_readable(found);
	if (fd < 0 || build_id_of_fd(fd, found_id) < 0 || strcmp(found_id, build_id) != 0)
		return -ENOENT;
	return TAKE_FD(fd);
}

/* A descriptor, or the path and process by which to look: -ENOENT, or -EAGAIN with ret_path. */
static int symbol_files_lookup(struct symbol_files *files, const char *build_id, uint32_t skip,
        char *ret_path, size_t path_bytes, int32_t *ret_pid)
{
	for (uint32_t bucket = 0; bucket < SYMBOL_FILE_BUCKETS; bucket++) {
		for (struct symbol_file *file = files->buckets[bucket]; file; file = file->next) {
			if (!file->build_id_known || strcmp(file->build_id, build_id) != 0)
				continue;
			if (file->fd >= 0) {
				int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
				if (fd >= 0)
					return fd;
			}
			if (skip-- > 0)
				continue;
			snprintf(ret_path, path_bytes, "%s", file->path);
			*ret_pid = file->pid;
			return -EAGAIN;
		}
	}
	return -ENOENT;
}

int symbol_files_open(struct symbol_files *files, const char *build_id)
{
	char vdso_id[BUILD_ID_TEXT_MAX];
	const void *image;
	size_t image_bytes;
	char path[SYMBOL_FILE_PATH_BYTES];

	if (build_id[0] == 0)
		return -ENOENT;
	if (build_id_of_vdso(vdso_id, &image, &image_bytes) == 0 && strcmp(vdso_id, build_id) == 0)
		return symbol_files_open_vdso(image, image_bytes);

	/* Hashing a file takes time that the collector must not wait for: not under the lock. */
	for (uint32_t skip = 0;; skip++) {
		int32_t pid;
		(void)pthread_mutex_lock(&files->lock);
		int fd = symbol_files_lookup(files, build_id, skip, path, sizeof(path), &pid);
		(void)pthread_mutex_unlock(&files->lock);
		if (fd != -EAGAIN)
			return fd;
		fd = symbol_files_reopen(files, pid, path, build_id);
		if (fd < 0)
			fd = symbol_files_reopen(files, 0, path, build_id);
		if (fd >= 0)
			return fd;
	}
}

uint32_t symbol_files_count(const struct symbol_files *files)
{
	return files->count;
}
