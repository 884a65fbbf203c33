/*
 * Files, folders and readable failures for the tests in C. Everything here fails the running test
 * rather than returning an error: a test has nothing to say about its own scaffolding.
 */

#include "tests/lib/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

_Noreturn void test_check_failed(const char *condition, const char *file, int line)
{
	print_error("%s\n", condition);
	_fail(file, line);
	abort(); /* _fail() jumps out of the test, but does not say so. */
}

void test_check_ok(int result, const char *call, const char *file, int line)
{
	if (result == 0)
		return;
	print_error("%s returned %d (%s)\n", call, result,
	        result < 0 ? strerrorname_np(-result) : "not an errno");
	_fail(file, line);
}

/* ---- folders ---- */

#define DIRS_MAX     64
#define LEFT_AFTER_S 3600

static struct {
	char path[256];
	pid_t owner; /* 0: the place is free */
	int lock;    /* of the folder itself, shared with children: while it is held nobody takes it
	                for left */
} dirs[DIRS_MAX];

static int test_dir_remove_one(
        const char *path, const struct stat *stat, int type, struct FTW *position)
{
	return remove(path);
}

/* Children first, never through a symlink, nothing that is mounted. A leftover is no failure. */
static void test_dir_remove_path(const char *path)
{
	(void)nftw(path, test_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* A failed test jumps over the end of its functions. */
static void test_dirs_end(void)
{
	for (size_t i = 0; i < DIRS_MAX && !getenv("PROFLEET_KEEP"); i++)
		if (dirs[i].owner == getpid())
			test_dir_remove_path(dirs[i].path);
}

/* Of a process that was killed: it is old, ours, and no process holds it. */
static void test_dir_remove_left(const char *parent, const char *name)
{
	char path[512];
	struct stat status;
	snprintf(path, sizeof(path), "%s/%s", parent, name);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &status) == 0 && status.st_uid == geteuid() &&
	        status.st_mtime + LEFT_AFTER_S < time(NULL) && flock(fd, LOCK_EX | LOCK_NB) == 0)
		test_dir_remove_path(path);
	close(fd);
}

static void test_dirs_sweep(const char *parent)
{
	DIR *folder = opendir(parent);
	if (!folder)
		return;
	for (struct dirent *entry; (entry = readdir(folder));)
		if (strncmp(entry->d_name, "profleet-test-", 14) == 0 ||
		        strncmp(entry->d_name, "profleet-e2e-", 13) == 0)
			test_dir_remove_left(parent, entry->d_name);
	closedir(folder);
}

static void test_dir_note(const struct test_dir *dir)
{
	static bool is_noted;
	size_t i = 0;
	while (i < DIRS_MAX && dirs[i].owner == getpid())
		i++;
	if (i == DIRS_MAX)
		return; /* removed like the others, but not when the test fails */
	if (!is_noted)
		atexit(test_dirs_end);
	is_noted = true;
	snprintf(dirs[i].path, sizeof(dirs[i].path), "%s", dir->path);
	dirs[i].owner = getpid();
	dirs[i].lock = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirs[i].lock >= 0)
		(void)flock(dirs[i].lock, LOCK_SH | LOCK_NB);
}

struct test_dir test_dir_new_below(const char *parent)
{
	struct test_dir dir;

	test_dirs_sweep(parent);
	snprintf(dir.path, sizeof(dir.path), "%s/profleet-test-XXXXXX", parent);
	if (!mkdtemp(dir.path)) {
		perror(dir.path);
		abort();
	}
	test_dir_note(&dir);
	return dir;
}

struct test_dir test_dir_new(void)
{
	const char *parent = getenv("TMPDIR");
	return test_dir_new_below(parent ? parent : "/tmp");
}

void test_dir_remove(struct test_dir *dir)
{
	test_dir_remove_path(dir->path);
	for (size_t i = 0; i < DIRS_MAX; i++)
		if (dirs[i].owner == getpid() && strcmp(dirs[i].path, dir->path) == 0) {
			if (dirs[i].lock >= 0)
				close(dirs[i].lock);
			dirs[i].owner = 0;
		}
}

/* ---- files ---- */

char *test_file_read(const char *path, size_t *ret_bytes)
{
	FILE *file = fopen(path, "re");
	char *bytes = NULL;
	size_t count = 0;
	size_t room = 0;

	if (!file)
		fail_msg("%s: %s", path, strerror(errno));
	do {
		room += 65536;
		bytes = realloc(bytes, room + 1);
		assert_non_null(bytes);
		count += fread(bytes + count, 1, room - count, file);
	} while (count == room);
	assert_false(ferror(file));
	fclose(file);

	bytes[count] = 0;
	*ret_bytes = count;
	return bytes;
}

void test_file_write(const char *path, const void *bytes, size_t bytes_count)
{
	FILE *file = fopen(path, "we");

	if (!file)
		fail_msg("%s: %s", path, strerror(errno));
	assert_int_equal(fwrite(bytes, 1, bytes_count, file), bytes_count);
	assert_int_equal(fclose(file), 0);
}
