/*
 * Files, folders and readable failures for the tests in C. Everything here fails the running test
 * rather than returning an error: a test has nothing to say about its own scaffolding.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

struct test_dir test_dir_new(void)
{
	struct test_dir dir;
	const char *parent = getenv("TMPDIR");

	snprintf(dir.path, sizeof(dir.path), "%s/profleet-test-XXXXXX", parent ? parent : "/tmp");
	if (!mkdtemp(dir.path)) {
		perror(dir.path);
		abort();
	}
	return dir;
}

static int test_dir_remove_one(
        const char *path, const struct stat *stat, int type, struct FTW *position)
{
	return remove(path);
}

void test_dir_remove(struct test_dir *dir)
{
	/* Children first, and never through a symlink. A leftover in /tmp is no failure. */
	(void)nftw(dir->path, test_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

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
