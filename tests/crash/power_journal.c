/*
 * The side that dies: calls that change files, each carried out and written down as one step, so
 * that the journal has them in an order in which they happened. A sync is only written down: the
 * journal is what the other side goes by.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/crash/power.h"

#define POWER_PATH_BYTES 4096

static pthread_mutex_t power_mutex = PTHREAD_MUTEX_INITIALIZER;
static int power_journal = -1;

void power_begin(const char *journal)
{
	power_journal = (int)syscall(
	        SYS_openat, AT_FDCWD, journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (power_journal < 0)
		abort();
}

static bool power_enter(void)
{
	if (power_journal < 0)
		return false;
	pthread_mutex_lock(&power_mutex);
	return true;
}

static void power_leave(bool is_in)
{
	int error = errno;
	if (is_in)
		pthread_mutex_unlock(&power_mutex);
	errno = error;
}

static void power_note(struct power_record record, const void *bytes)
{
	static const uint8_t zeroes[8];
	struct iovec parts[3] = {
		{ .iov_base = &record, .iov_len = sizeof(record) },
		{ .iov_base = (void *)bytes, .iov_len = record.count },
		{ .iov_base = (void *)zeroes, .iov_len = (8 - record.count % 8) % 8 },
	};
	int error = errno;
	long count = syscall(SYS_writev, power_journal, parts, 3);
	if (count != (long)(sizeof(record) + record.count + parts[2].iov_len))
		abort();
	errno = error;
}

/* The inode of a folder and the name in it. False: of no folder that is there. */
static bool power_split(const char *path, uint64_t *ret_folder, const char **ret_name)
{
	char folder[POWER_PATH_BYTES];
	struct stat status;
	const char *slash = strrchr(path, '/');
	size_t count = slash ? (size_t)(slash - path) : 0;
	if (!slash || count == 0 || count >= sizeof(folder))
		return false;
	memcpy(folder, path, count);
	folder[count] = 0;
	if (stat(folder, &status) < 0)
		return false;
	*ret_folder = status.st_ino;
	*ret_name = slash + 1;
	return true;
}

static void power_note_name(enum power_kind kind, const char *path, bool is_new)
{
	struct power_record record = { .kind = (uint32_t)kind, .is_new = is_new };
	struct stat status;
	const char *name;
	if (!power_split(path, &record.node, &name))
		return;
	if (kind == POWER_NAME) {
		if (lstat(path, &status) < 0)
			abort();
		record.target = status.st_ino;
		record.is_folder = S_ISDIR(status.st_mode);
	}
	record.count = strlen(name) + 1;
	power_note(record, name);
}

/* Files alone: not pipes and sockets. */
static bool power_file(int fd, uint64_t *ret_node)
{
	struct stat status;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		return false;
	*ret_node = status.st_ino;
	return true;
}

/* ---- the calls ---- */

int open(const char *path, int flags, ...)
{
	struct stat status;
	mode_t mode = 0;
	if (flags & O_CREAT) {
		va_list arguments;
		va_start(arguments, flags);
		mode = va_arg(arguments, mode_t);
		va_end(arguments);
	}
	if (!(flags & (O_CREAT | O_TRUNC)))
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	bool is_in = power_enter();
	bool was_there = is_in && stat(path, &status) == 0;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	if (is_in && fd >= 0 && !was_there)
		power_note_name(POWER_NAME, path, true);
	if (is_in && fd >= 0 && was_there && flags & O_TRUNC)
		power_note(
		        (struct power_record){ .kind = POWER_SIZE, .node = status.st_ino }, NULL);
	power_leave(is_in);
	return fd;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
	struct power_record record = { .kind = POWER_WRITE };
	bool is_in = power_enter();
	if (is_in && fd == STDOUT_FILENO)
		power_note((struct power_record){ .kind = POWER_SAID }, NULL);
	ssize_t written = (ssize_t)syscall(SYS_write, fd, bytes, count);
	if (is_in && written > 0 && power_file(fd, &record.node)) {
		record.at = (uint64_t)lseek(fd, 0, SEEK_CUR) - (uint64_t)written;
		record.count = (uint64_t)written;
		power_note(record, bytes);
	}
	power_leave(is_in);
	return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
	struct power_record record = { .kind = POWER_WRITE, .at = (uint64_t)at };
	bool is_in = power_enter();
	ssize_t written = (ssize_t)syscall(SYS_pwrite64, fd, bytes, count, at);
	if (is_in && written > 0 && power_file(fd, &record.node)) {
		record.count = (uint64_t)written;
		power_note(record, bytes);
	}
	power_leave(is_in);
	return written;
}

int ftruncate(int fd, off_t size)
{
	struct power_record record = { .kind = POWER_SIZE, .at = (uint64_t)size };
	bool is_in = power_enter();
	int r = (int)syscall(SYS_ftruncate, fd, size);
	if (is_in && r == 0 && power_file(fd, &record.node))
		power_note(record, NULL);
	power_leave(is_in);
	return r;
}

/* Room that is reserved is no change; a size that grows by it is. */
int fallocate(int fd, int mode, off_t at, off_t count)
{
	struct power_record record = { .kind = POWER_SIZE };
	struct stat before;
	struct stat after;
	bool is_in = power_enter();
	bool is_known = is_in && fstat(fd, &before) == 0;
	int r = (int)syscall(SYS_fallocate, fd, mode, at, count);
	if (is_known && r == 0 && power_file(fd, &record.node) && fstat(fd, &after) == 0 &&
	        after.st_size != before.st_size) {
		record.at = (uint64_t)after.st_size;
		power_note(record, NULL);
	}
	power_leave(is_in);
	return r;
}

int posix_fallocate(int fd, off_t at, off_t count)
{
	return fallocate(fd, 0, at, count) == 0 ? 0 : errno;
}

/* Within one folder it is one change, of which all is there or nothing. */
int rename(const char *from, const char *to)
{
	struct power_record record = { .kind = POWER_RENAME };
	char names[2 * POWER_PATH_BYTES];
	const char *from_name;
	const char *to_name;
	uint64_t to_folder;
	bool is_in = power_enter();
	int r = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
	if (is_in && r == 0 && power_split(from, &record.node, &from_name) &&
	        power_split(to, &to_folder, &to_name)) {
		if (record.node != to_folder)
			abort(); /* nobody does */
		size_t from_count = strlen(from_name) + 1;
		size_t to_count = strlen(to_name) + 1;
		memcpy(names, from_name, from_count);
		memcpy(names + from_count, to_name, to_count);
		record.count = from_count + to_count;
		power_note(record, names);
	}
	power_leave(is_in);
	return r;
}

int link(const char *from, const char *to)
{
	bool is_in = power_enter();
	int r = (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
	if (is_in && r == 0)
		power_note_name(POWER_NAME, to, false);
	power_leave(is_in);
	return r;
}

int unlink(const char *path)
{
	bool is_in = power_enter();
	int r = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
	if (is_in && r == 0)
		power_note_name(POWER_UNNAME, path, false);
	power_leave(is_in);
	return r;
}

int unlinkat(int folder, const char *name, int flags)
{
	struct power_record record = { .kind = POWER_UNNAME, .count = strlen(name) + 1 };
	struct stat status;
	bool is_in = power_enter();
	int r = (int)syscall(SYS_unlinkat, folder, name, flags);
	if (is_in && r == 0 && fstat(folder, &status) == 0) {
		record.node = status.st_ino;
		power_note(record, name);
	}
	power_leave(is_in);
	return r;
}

int mkdir(const char *path, mode_t mode)
{
	bool is_in = power_enter();
	int r = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
	if (is_in && r == 0)
		power_note_name(POWER_NAME, path, true);
	power_leave(is_in);
	return r;
}

int rmdir(const char *path)
{
	bool is_in = power_enter();
	int r = (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
	if (is_in && r == 0)
		power_note_name(POWER_UNNAME, path, false);
	power_leave(is_in);
	return r;
}

static int power_sync(int fd)
{
	struct power_record record = { .kind = POWER_SYNC };
	struct stat status;
	bool is_in = power_enter();
	int r = fstat(fd, &status);
	record.node = r == 0 ? status.st_ino : 0;
	if (is_in && r == 0)
		power_note(record, NULL);
	power_leave(is_in);
	return r;
}

int fsync(int fd)
{
	return power_sync(fd);
}

int fdatasync(int fd)
{
	return power_sync(fd);
}
