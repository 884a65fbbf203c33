/*
 * A disk that takes what is written and then fails its sync, while files are merged. Where
 * something is left of the merge the next write says so, and all is well once the database is
 * opened again. Where nothing is left an assertion of Debian's RocksDB may end the process, which
 * this one then does not: the next one finds all that was synced, and goes on.
 *
 * The program's own fsync() and fdatasync() come before those of the C library, for RocksDB too.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/storage/kv_fixture.h"

static _Atomic bool tables_fail;

static bool is_table(int fd)
{
	char link[64], path[512];
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t count = readlink(link, path, sizeof(path) - 1);
	path[count > 0 ? count : 0] = 0;
	return strstr(path, ".sst") != NULL;
}

static int sync_by(const char *name, int fd)
{
	int (*sync)(int);
	*(void **)&sync = dlsym(RTLD_NEXT, name);
	if (!tables_fail || !is_table(fd))
		return sync(fd);
	errno = EIO;
	return -1;
}

int fsync(int fd)
{
	return sync_by("fsync", fd);
}

int fdatasync(int fd)
{
	return sync_by("fdatasync", fd);
}

static int put_key(struct kv *kv, enum kv_family family, const char *key)
{
	AUTO(kv_batch) write = kv_batch_new();
	kv_put(kv, write, family, key_of(key), key_of("value"));
	return kv_write(kv, write, KV_SYNC);
}

static bool has(struct kv *kv, enum kv_family family, const char *key)
{
	AUTO_BUF value = { 0 };
	int r = kv_get(kv, family, key_of(key), &value);
	CHECK(r == 0 || r == -ENOENT);
	return r == 0;
}

/* Two files, of which the second deletes [a, b) of the first. */
static void fill(struct kv *kv, const char *stays)
{
	CHECK_OK(put_key(kv, KV_META, "other"));
	CHECK_OK(put_key(kv, KV_BATCH, "a"));
	if (stays)
		CHECK_OK(put_key(kv, KV_BATCH, stays));
	CHECK_OK(kv_flush(kv));
	AUTO(kv_batch) write = kv_batch_new();
	kv_delete_range(kv, write, KV_BATCH, key_of("a"), key_of("b"));
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	CHECK_OK(kv_flush(kv));
}

static void merge_with_a_failing_sync(struct kv *kv)
{
	tables_fail = true;
	(void)kv_settle(kv, KV_BATCH, key_of("a"), key_of("z"));
	tables_fail = false;
}

static void a_merge_that_is_not_synced_is_told_by_the_next_write(void **state)
{
	TEST_DIR(dir);
	char error[512] = "";
	(void)state;
	AUTO(kv) kv = kv_fixture_open(dir.path);
	fill(kv, "c");
	merge_with_a_failing_sync(kv);
	assert_true(has(kv, KV_BATCH, "c"));
	assert_int_equal(put_key(kv, KV_BATCH, "d"), -EIO);
	kv_error(kv, error, sizeof(error));
	if (!strstr(error, "sync") || !strstr(error, ".sst"))
		fail_msg("%s", error);
	CHECK_OK(kv_reopen(kv));
	assert_true(has(kv, KV_BATCH, "c"));
	assert_false(has(kv, KV_BATCH, "a"));
	CHECK_OK(put_key(kv, KV_BATCH, "d"));
	CHECK_OK(kv_settle(kv, KV_BATCH, key_of("a"), key_of("z")));
	assert_true(has(kv, KV_BATCH, "d"));
}

/* Before anything here has a thread. Never comes back. */
static void merge_nothing_in_a_child(const struct test_dir *dir)
{
	struct rlimit none = { 0, 0 };
	int silent = open("/dev/null", O_WRONLY | O_CLOEXEC);
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)sigaction(SIGABRT, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	if (silent >= 0)
		(void)dup2(silent, STDERR_FILENO); /* what the assertion says */
	struct kv *kv = kv_fixture_open(dir->path);
	fill(kv, NULL);
	merge_with_a_failing_sync(kv);
	_exit(put_key(kv, KV_BATCH, "d") == -EIO ? 0 : 1);
}

static void a_merge_of_nothing_that_is_not_synced_loses_nothing(void **state)
{
	TEST_DIR(dir);
	int status;
	(void)state;
	pid_t child = fork();
	if (child == 0)
		merge_nothing_in_a_child(&dir);
	CHECK(waitpid(child, &status, 0) == child);
	/* Where RocksDB has no assertions it says so instead, as it does of any other merge. */
	CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGABRT : status == 0);
	AUTO(kv) kv = kv_fixture_open(dir.path);
	assert_true(has(kv, KV_META, "other"));
	assert_false(has(kv, KV_BATCH, "a"));
	CHECK_OK(put_key(kv, KV_BATCH, "d"));
	CHECK_OK(kv_settle(kv, KV_BATCH, key_of("a"), key_of("b")));
	assert_true(has(kv, KV_BATCH, "d"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_merge_of_nothing_that_is_not_synced_loses_nothing),
		cmocka_unit_test(a_merge_that_is_not_synced_is_told_by_the_next_write),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
