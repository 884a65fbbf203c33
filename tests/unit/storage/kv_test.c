/*
 * What the store cannot show of its database: which files go when a range of keys is given back,
 * and what a full disk leaves of it.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/fault.h"
#include "tests/unit/storage/kv_fixture.h"

/* A file of its own in the lowest level, where files are dropped unread. */
static void put_file(struct kv *kv, const char *key)
{
	AUTO(kv_files) files = kv_files_new(kv, KV_DICT);
	CHECK_OK(kv_files_put(files, key_of(key), key_of("value")));
	CHECK_OK(kv_files_take(files));
}

static void delete_range(struct kv *kv, struct kv_bytes from, struct kv_bytes to)
{
	AUTO(kv_batch) write = kv_batch_new();
	kv_delete_range(kv, write, KV_DICT, from, to);
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	CHECK_OK(kv_delete_files(kv, KV_DICT, from, to));
}

static bool has(struct kv *kv, struct kv_bytes key)
{
	AUTO_BUF value = { 0 };
	int r = kv_get(kv, KV_DICT, key, &value);
	CHECK(r == 0 || r == -ENOENT);
	return r == 0;
}

/* RocksDB's own call takes it: a dictionary lost its first names to the one before it. */
static void the_end_of_a_range_stays_when_its_files_go(void **state)
{
	TEST_DIR(dir);
	AUTO(kv) kv = kv_fixture_open(dir.path);
	put_file(kv, "a");
	put_file(kv, "b");
	put_file(kv, "c");
	delete_range(kv, key_of("a"), key_of("b"));
	CHECK(!has(kv, key_of("a")));
	CHECK(has(kv, key_of("b")));
	delete_range(kv, key_of("b"), (struct kv_bytes){ "c\0", 2 });
	CHECK(!has(kv, key_of("c")));
}

static void an_end_with_zeroes_stays_as_well(void **state)
{
	static const uint8_t bytes[] = { 0, 0, 2, 0, 0, 0, 0, 0 };
	struct kv_bytes end = { bytes, sizeof(bytes) };
	TEST_DIR(dir);
	AUTO(kv) kv = kv_fixture_open(dir.path);
	AUTO(kv_files) files = kv_files_new(kv, KV_DICT);
	CHECK_OK(kv_files_put(files, end, key_of("value")));
	CHECK_OK(kv_files_take(files));
	delete_range(kv, (struct kv_bytes){ bytes, 2 }, end);
	CHECK(has(kv, end));
}

/* Unread, and not at some later time: the room is there at once. */
static void files_within_a_range_go_at_once(void **state)
{
	TEST_DIR(dir);
	AUTO(kv) kv = kv_fixture_open(dir.path);
	put_file(kv, "a");
	put_file(kv, "b");
	CHECK(kv_files_disk_bytes(kv, KV_DICT) > 0);
	delete_range(kv, key_of("a"), key_of("c"));
	assert_int_equal(kv_files_disk_bytes(kv, KV_DICT), 0);
}

/*
 * RocksDB takes the manifest that it could not begin for the one that is in use, and whatever
 * looks for files to remove then removes the one that is: nothing could be opened any more.
 */
static void a_disk_that_is_full_when_files_go_does_not_take_the_manifest(void **state)
{
	TEST_DIR(dir);
	char copy[300];
	AUTO(kv) kv = kv_fixture_open(dir.path);
	put_file(kv, "a");
	put_file(kv, "b");
	put_file(kv, "c");
	fault_limit_files(0);
	CHECK(kv_delete_files(kv, KV_DICT, key_of("a"), key_of("b")) < 0);
	CHECK(kv_delete_files(kv, KV_DICT, key_of("b"), key_of("c")) < 0);
	fault_limit_files(FAULT_FILES_ANY);
	snprintf(copy, sizeof(copy), "%s/copy", dir.path);
	(void)kv_checkpoint(kv, copy); /* which looks for files to remove at its end */
	CHECK_OK(kv_reopen(kv));
	CHECK(has(kv, key_of("c")));
}

static void put_key(struct kv *kv, const char *key)
{
	AUTO(kv_batch) write = kv_batch_new();
	kv_put(kv, write, KV_BATCH, key_of(key), key_of("value"));
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	CHECK_OK(kv_flush(kv));
}

/*
 * A merge of which nothing is left begins a file all the same. Where that file fails only at its
 * end, an assertion of RocksDB ends the process.
 */
static void a_merge_of_nothing_on_a_full_disk_is_survived(void **state)
{
	TEST_DIR(dir);
	AUTO(kv) kv = kv_fixture_open(dir.path);
	put_key(kv, "a");
	AUTO(kv_batch) write = kv_batch_new();
	kv_delete_range(kv, write, KV_BATCH, key_of("a"), key_of("b"));
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	CHECK_OK(kv_flush(kv));
	for (uint64_t bytes = 0; bytes <= 8192; bytes += 4096) {
		fault_limit_files(bytes);
		(void)kv_settle(kv, KV_BATCH, key_of("a"), key_of("b"));
		fault_limit_files(FAULT_FILES_ANY);
		CHECK_OK(kv_reopen(kv));
	}
	CHECK_OK(kv_settle(kv, KV_BATCH, key_of("a"), key_of("b")));
	assert_int_equal(kv_files_disk_bytes(kv, KV_BATCH), 0);
}

static void expect_refusal(const struct test_dir *dir, const char *words)
{
	struct kv *kv = NULL;
	bool is_whole = false;
	char error[512] = "";
	struct kv_options options = { dir->path, 1 << 20, 1 << 20 };
	assert_int_equal(kv_open(options, &kv, error, sizeof(error)), -EBADMSG);
	if (!strstr(error, words))
		fail_msg("%s", error);
	/* Whoever only looks is told the same. */
	memset(error, 0, sizeof(error));
	int r = kv_open_reader(options, &kv, &is_whole, error, sizeof(error));
	if ((r != -EBADMSG && (r != 0 || is_whole)) || !strstr(error, words))
		fail_msg("%d: %s", r, error);
	if (r == 0)
		kv_free(kv);
}

static void in_dir(const struct test_dir *dir, const char *name, char path[static 512])
{
	(void)snprintf(path, 512, "%s/%s", dir->path, name);
}

/* What CURRENT has: the name of the manifest. */
static void read_current(const struct test_dir *dir, char name[static 64])
{
	char path[512];
	memset(name, 0, 64);
	in_dir(dir, "CURRENT", path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, name, 63) > 0 && close(fd) == 0);
	name[strcspn(name, "\n")] = 0;
}

/* RocksDB would begin anew, and remove the files of which the new manifest knows nothing. */
static void a_database_without_current_is_refused_and_comes_back_with_it(void **state)
{
	TEST_DIR(dir);
	char name[64], path[512];
	struct kv *kv = kv_fixture_open(dir.path);
	put_file(kv, "a");
	kv_free(kv);
	read_current(&dir, name);
	in_dir(&dir, "CURRENT", path);
	CHECK_OK(unlink(path));
	expect_refusal(&dir, "CURRENT is missing");
	expect_refusal(&dir, name);

	/* The remedy that it names. */
	name[strlen(name)] = '\n';
	test_file_write(path, name, strlen(name));
	kv = kv_fixture_open(dir.path);
	CHECK(has(kv, key_of("a")));
	kv_free(kv);
}

/* As a process leaves it that is killed while it makes the first one. */
static void a_database_that_was_never_finished_is_begun_anew(void **state)
{
	TEST_DIR(dir);
	char path[512];
	in_dir(&dir, "MANIFEST-000001", path);
	test_file_write(path, "", 0);
	in_dir(&dir, "aggregator.log", path);
	test_file_write(path, "started\n", 8);
	kv_free(kv_fixture_open(dir.path));
}

static void tables_that_nobody_names_are_never_swept_away(void **state)
{
	TEST_DIR(dir);
	char name[64], path[512];
	struct kv *kv = kv_fixture_open(dir.path);
	put_file(kv, "a");
	kv_free(kv);
	read_current(&dir, name);
	in_dir(&dir, name, path);
	CHECK_OK(unlink(path));
	in_dir(&dir, "CURRENT", path);
	CHECK_OK(unlink(path));
	expect_refusal(&dir, "restore a backup");
}

static void a_manifest_that_is_cut_short_is_named(void **state)
{
	TEST_DIR(dir);
	char name[64], path[512];
	struct stat status;
	struct kv *kv = kv_fixture_open(dir.path);
	read_current(&dir, name);
	in_dir(&dir, name, path);
	CHECK_OK(stat(path, &status));
	AUTO(kv_batch) write = kv_batch_new();
	kv_put(kv, write, KV_DICT, key_of("a"), key_of("value"));
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	CHECK_OK(kv_flush(kv));
	kv_free(kv);
	CHECK_OK(truncate(path, status.st_size));
	expect_refusal(&dir, "MANIFEST");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_end_of_a_range_stays_when_its_files_go),
		cmocka_unit_test(an_end_with_zeroes_stays_as_well),
		cmocka_unit_test(files_within_a_range_go_at_once),
		cmocka_unit_test(a_disk_that_is_full_when_files_go_does_not_take_the_manifest),
		cmocka_unit_test(a_database_without_current_is_refused_and_comes_back_with_it),
		cmocka_unit_test(a_database_that_was_never_finished_is_begun_anew),
		cmocka_unit_test(tables_that_nobody_names_are_never_swept_away),
		cmocka_unit_test(a_manifest_that_is_cut_short_is_named),
		cmocka_unit_test(a_merge_of_nothing_on_a_full_disk_is_survived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
