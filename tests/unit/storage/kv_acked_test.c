/*
 * The word of the last synced write: it comes back as it was written or not at all, so that a file
 * that is damaged never makes a good log look short; and a folder that is gone acknowledges
 * nothing.
 */

#include "storage/kv_acked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/storage/kv_fixture.h"

static uint64_t read_in(const char *folder)
{
	struct kv_acked acked = KV_ACKED_INIT;
	kv_acked_open(&acked, folder, true);
	uint64_t sequence = kv_acked_read(&acked);
	kv_acked_close(&acked);
	return sequence;
}

static void what_was_written_last_is_read_and_nothing_else(void **state)
{
	TEST_DIR(dir);
	char path[512];
	struct kv_acked acked = KV_ACKED_INIT;
	(void)state;
	(void)snprintf(path, sizeof(path), "%s/" KV_ACKED_NAME, dir.path);
	assert_int_equal(read_in(dir.path), 0);
	assert_int_equal(access(path, F_OK), -1); /* who only reads makes no file */
	CHECK_OK(kv_acked_write(&acked, 5));      /* not open: nobody wrote it down */
	kv_acked_open(&acked, dir.path, false);
	assert_int_equal(kv_acked_read(&acked), 0);
	CHECK_OK(kv_acked_write(&acked, 70000));
	CHECK_OK(kv_acked_write(&acked, 70001));
	assert_int_equal(kv_acked_read(&acked), 70001);
	kv_acked_close(&acked);
	assert_int_equal(read_in(dir.path), 70001);

	size_t count;
	autofree char *bytes = test_file_read(path, &count);
	assert_int_equal(count, 16);
	for (size_t at = 0; at < count; at++) {
		bytes[at] ^= 1;
		test_file_write(path, bytes, count);
		assert_int_equal(read_in(dir.path), 0);
		bytes[at] ^= 1;
	}
	for (size_t cut = 0; cut < count; cut++) {
		test_file_write(path, bytes, cut);
		assert_int_equal(read_in(dir.path), 0);
	}
}

static int write_synced(struct kv *kv, const char *key)
{
	AUTO(kv_batch) write = kv_batch_new();
	kv_put(kv, write, KV_META, key_of(key), key_of("v"));
	return kv_write(kv, write, KV_SYNC);
}

static void a_damaged_word_makes_no_good_log_look_short(void **state)
{
	TEST_DIR(dir);
	char path[512];
	size_t count;
	AUTO_BUF value = { 0 };
	(void)state;
	struct kv *kv = kv_fixture_open(dir.path);
	CHECK_OK(write_synced(kv, "key"));
	kv_free(kv);
	(void)snprintf(path, sizeof(path), "%s/" KV_ACKED_NAME, dir.path);
	autofree char *bytes = test_file_read(path, &count);
	bytes[6] ^= 1; /* a number that no store comes to */
	test_file_write(path, bytes, count);
	kv = kv_fixture_open(dir.path);
	CHECK_OK(kv_get(kv, KV_META, key_of("key"), &value));
	kv_free(kv);
}

static void what_is_written_to_a_folder_that_is_gone_is_not_acknowledged(void **state)
{
	TEST_DIR(dir);
	char below[400], error[512] = "";
	struct test_dir inner = test_dir_new_below(dir.path);
	(void)state;
	(void)snprintf(below, sizeof(below), "%s", inner.path);
	struct kv *kv = kv_fixture_open(below);
	CHECK_OK(write_synced(kv, "a"));
	test_dir_remove(&inner);
	assert_int_equal(write_synced(kv, "b"), -EIO);
	kv_error(kv, error, sizeof(error));
	CHECK(strstr(error, "the folder was removed while it was in use"));
	kv_free(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_last_is_read_and_nothing_else),
		cmocka_unit_test(a_damaged_word_makes_no_good_log_look_short),
		cmocka_unit_test(what_is_written_to_a_folder_that_is_gone_is_not_acknowledged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
