/*
 * The folder of a database by its names alone: which file is the newest, what may be begun anew and
 * what may not, and that nothing is cut that somebody else has open.
 */

#include "storage/kv_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/storage/kv_fixture.h"

static void put(const struct test_dir *dir, const char *name, const void *bytes, size_t count)
{
	char path[512];
	(void)snprintf(path, sizeof(path), "%s/%s", dir->path, name);
	test_file_write(path, bytes, count);
}

static bool is_there(const struct test_dir *dir, const char *name)
{
	char path[512];
	(void)snprintf(path, sizeof(path), "%s/%s", dir->path, name);
	return access(path, F_OK) == 0;
}

static void the_newest_table_is_the_greatest_number_that_is_one(void **state)
{
	TEST_DIR(dir);
	(void)state;
	assert_int_equal(kv_folder_newest_table(dir.path), 0);
	put(&dir, "000200.log", "", 0);
	put(&dir, "000300.sst.copy", "", 0);
	put(&dir, "MANIFEST-000400", "", 0);
	put(&dir, "table.sst", "", 0);
	assert_int_equal(kv_folder_newest_table(dir.path), 0);
	put(&dir, "000099.sst", "", 0);
	put(&dir, "1000000.sst", "", 0);
	put(&dir, "000100.sst", "", 0);
	assert_int_equal(kv_folder_newest_table(dir.path), 1000000);
}

static void what_is_measured_and_swept_goes_by_both_ends_of_a_name(void **state)
{
	TEST_DIR(dir);
	(void)state;
	put(&dir, "OPTIONS-000001.dbtmp", "12345", 5);
	put(&dir, "OPTIONS-000001", "1234", 4);
	put(&dir, "CURRENT.dbtmp", "123", 3);
	assert_int_equal(kv_folder_bytes(dir.path, ".dbtmp"), 8);
	assert_int_equal(kv_folder_bytes(dir.path, ""), 12);
	kv_folder_sweep(dir.path, "OPTIONS-", ".dbtmp");
	assert_false(is_there(&dir, "OPTIONS-000001.dbtmp"));
	assert_int_equal(kv_folder_bytes(dir.path, ""), 7);
}

/* What each file is missing for is said; what has never held anything is not refused. */
static void without_current_only_what_holds_nothing_is_begun_anew(void **state)
{
	static const struct {
		const char *names[3];
		int result;
		const char *words;
	} cases[] = {
		{ { NULL }, 0, NULL },
		{ { "MANIFEST-000001" }, 0, NULL },
		{ { "000004.log" }, 0, NULL },
		{ { "MANIFEST-000001", "000004.log" }, -EBADMSG, "the line MANIFEST-000001" },
		{ { "000007.sst" }, -EBADMSG, "restore a backup" },
		{ { "MANIFEST-000001", "MANIFEST-000009", "000007.sst" }, -EBADMSG,
		        "the line MANIFEST-000009" },
		{ { "CURRENT", "000007.sst" }, 0, NULL },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		TEST_DIR(dir);
		char text[256] = "";
		for (size_t j = 0; j < COUNT_OF(cases[i].names) && cases[i].names[j]; j++)
			put(&dir, cases[i].names[j], "", 0);
		assert_int_equal(kv_folder_check(dir.path, text, sizeof(text)), cases[i].result);
		if (cases[i].words && !strstr(text, cases[i].words))
			fail_msg("%s", text);
	}
}

/* A process that has LOCK as RocksDB has it, until it is let go. */
struct holder {
	pid_t pid;
	int until;
};

static struct holder hold(const struct test_dir *dir)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int began[2], until[2];
	char path[512], byte = 0;
	(void)snprintf(path, sizeof(path), "%s/LOCK", dir->path);
	CHECK(pipe(began) == 0 && pipe(until) == 0);
	struct holder holder = { fork(), until[1] };
	if (holder.pid == 0) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		(void)close(until[1]);
		if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0 || write(began[1], &byte, 1) != 1)
			_exit(1);
		(void)!read(until[0], &byte, 1); /* ends when the other side does */
		_exit(0);
	}
	(void)close(began[1]);
	(void)close(until[0]);
	CHECK(holder.pid > 0 && read(began[0], &byte, 1) == 1);
	(void)close(began[0]);
	return holder;
}

static void let_go(struct holder holder)
{
	int status;
	(void)close(holder.until);
	CHECK(waitpid(holder.pid, &status, 0) == holder.pid && status == 0);
}

static void a_folder_is_in_use_while_another_process_has_it_locked(void **state)
{
	TEST_DIR(dir);
	(void)state;
	assert_false(kv_folder_is_in_use(dir.path));
	struct holder holder = hold(&dir);
	assert_true(kv_folder_is_in_use(dir.path));
	let_go(holder);
	assert_false(kv_folder_is_in_use(dir.path));
}

static void write_key(struct kv *kv)
{
	AUTO(kv_batch) write = kv_batch_new();
	kv_put(kv, write, KV_META, key_of("key"), key_of("value"));
	CHECK_OK(kv_write(kv, write, KV_SYNC));
}

/* The name of the one log, and its bytes. */
static char *make_log(const struct test_dir *dir, char path[static 512], size_t *ret_count)
{
	struct kv *kv = kv_fixture_open(dir->path);
	write_key(kv);
	kv_free(kv);
	for (uint32_t number = 1; number < 1000; number++) {
		char name[32];
		struct stat status;
		(void)snprintf(name, sizeof(name), "%06u.log", number);
		(void)snprintf(path, 512, "%s/%s", dir->path, name);
		if (stat(path, &status) == 0 && status.st_size > 0)
			return test_file_read(path, ret_count);
	}
	fail_msg("no log");
	return NULL;
}

static size_t file_bytes(const char *path)
{
	struct stat status;
	CHECK_OK(stat(path, &status));
	return (size_t)status.st_size;
}

static void a_torn_end_is_cut_off_the_newest_log_unless_it_is_open_elsewhere(void **state)
{
	TEST_DIR(dir);
	char path[512];
	size_t count;
	(void)state;
	autofree char *log = make_log(&dir, path, &count);
	kv_folder_cut_log(dir.path);
	assert_int_equal(file_bytes(path), count);

	/* The first bytes of another write. */
	autofree char *torn = malloc(count + 10);
	assert_non_null(torn);
	memcpy(torn, log, count);
	memcpy(torn + count, log, 10);
	test_file_write(path, torn, count + 10);
	struct holder holder = hold(&dir);
	kv_folder_cut_log(dir.path);
	assert_int_equal(file_bytes(path), count + 10);
	let_go(holder);
	kv_folder_cut_log(dir.path);
	assert_int_equal(file_bytes(path), count);
}

/* RocksDB reads them without looking at their checksum, and one wrong byte ends the process. */
static void a_table_whose_properties_are_damaged_is_named(void **state)
{
	TEST_DIR(dir);
	char path[512], name[32], text[256] = "";
	size_t count;
	(void)state;
	struct kv *kv = kv_fixture_open(dir.path);
	write_key(kv);
	CHECK_OK(kv_flush(kv));
	kv_free(kv);
	(void)snprintf(name, sizeof(name), "%06u.sst", (unsigned)kv_folder_newest_table(dir.path));
	(void)snprintf(path, sizeof(path), "%s/%s", dir.path, name);
	autofree char *table = test_file_read(path, &count);
	CHECK_OK(kv_folder_check(dir.path, text, sizeof(text)));
	static const char property[] = "BytewiseComparator";
	char *at = memmem(table, count, property, strlen(property));
	assert_non_null(at);
	*at ^= 1;
	test_file_write(path, table, count);
	assert_int_equal(kv_folder_check(dir.path, text, sizeof(text)), -EBADMSG);
	unsigned long long from = 0, to = 0;
	const char *place = strstr(text, "(bytes ");
	if (!strstr(text, "the properties in the file") || !strstr(text, name) || !place ||
	        sscanf(place, "(bytes %llu to %llu)", &from, &to) != 2)
		fail_msg("%s", text);
	CHECK(from <= (size_t)(at - table) && (size_t)(at - table) < to && to < count);
}

/* Of a flush that nobody was told of yet a power loss may leave any part. RocksDB removes it. */
static void a_damaged_table_that_the_manifest_does_not_name_is_no_damage(void **state)
{
	static const char *const strangers[] = { "000999.sst", "1000000.sst" };
	TEST_DIR(dir);
	char path[512], text[256] = "";
	size_t count;
	(void)state;
	struct kv *kv = kv_fixture_open(dir.path);
	/* The table that is looked for is said in an edit behind many others. */
	for (uint32_t i = 0; i < 300; i++) {
		write_key(kv);
		CHECK_OK(kv_flush(kv));
	}
	kv_free(kv);
	(void)snprintf(path, sizeof(path), "%s/%06u.sst", dir.path,
	        (unsigned)kv_folder_newest_table(dir.path));
	autofree char *table = test_file_read(path, &count);
	char *at = memmem(table, count, "BytewiseComparator", 18);
	assert_non_null(at);
	*at ^= 1;
	for (size_t i = 0; i < COUNT_OF(strangers); i++)
		put(&dir, strangers[i], table, count);
	CHECK_OK(kv_folder_check(dir.path, text, sizeof(text)));
	kv_free(kv_fixture_open(dir.path));
	for (size_t i = 0; i < COUNT_OF(strangers); i++)
		assert_false(is_there(&dir, strangers[i]));

	(void)snprintf(path, sizeof(path), "%s/%06u.sst", dir.path,
	        (unsigned)kv_folder_newest_table(dir.path));
	test_file_write(path, table, count);
	assert_int_equal(kv_folder_check(dir.path, text, sizeof(text)), -EBADMSG);
	/* Where nobody can tell, it is taken to be one that is needed. */
	put(&dir, "CURRENT", "MANIFEST-none", 13);
	assert_int_equal(kv_folder_check(dir.path, text, sizeof(text)), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_damaged_table_that_the_manifest_does_not_name_is_no_damage),
		cmocka_unit_test(the_newest_table_is_the_greatest_number_that_is_one),
		cmocka_unit_test(what_is_measured_and_swept_goes_by_both_ends_of_a_name),
		cmocka_unit_test(without_current_only_what_holds_nothing_is_begun_anew),
		cmocka_unit_test(a_table_whose_properties_are_damaged_is_named),
		cmocka_unit_test(a_folder_is_in_use_while_another_process_has_it_locked),
		cmocka_unit_test(a_torn_end_is_cut_off_the_newest_log_unless_it_is_open_elsewhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
