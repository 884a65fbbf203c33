/* log_files: always what the folder holds, and the folder is gone over only when it has to be. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/rng.h"
#include "storage/kv.h"
#include "storage/kv_folder.h"
#include "storage/log_files.h"
#include "tests/lib/test.h"

static void put_file(const char *folder, const char *name, size_t bytes)
{
	char path[512];
	autofree char *zeroes = calloc(bytes + 1, 1);
	CHECK(zeroes);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	test_file_write(path, zeroes, bytes);
}

static void remove_file(const char *folder, const char *name)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	CHECK_OK(unlink(path));
}

static void what_is_told_is_looked_for_in_the_newest_file_and_then_in_the_folder(void **state)
{
	TEST_DIR(dir);
	struct log_files files;
	log_files_init(&files);
	put_file(dir.path, "000007.log", 1000);
	put_file(dir.path, "000008.log", 20);
	put_file(dir.path, "000009.sst", 1 << 20);
	put_file(dir.path, "x.log", 5);
	assert_int_equal(log_files_bytes(&files, dir.path), 1020);

	put_file(dir.path, "000008.log", 150);
	log_files_wrote(&files, 130);
	assert_int_equal(log_files_bytes(&files, dir.path), 1150);
	remove_file(dir.path, "000007.log");
	assert_int_equal(log_files_bytes(&files, dir.path), 150);
	put_file(dir.path, "000010.log", 0); /* empty: nothing is missing */
	assert_int_equal(log_files_bytes(&files, dir.path), 150);
	assert_int_equal(files.walks, 1);

	put_file(dir.path, "000010.log", 70);
	log_files_wrote(&files, 70);
	assert_int_equal(log_files_bytes(&files, dir.path), 220);
	assert_int_equal(files.walks, 2);
	put_file(dir.path, "1000000.log", 1);
	remove_file(dir.path, "000010.log");
	assert_int_equal(log_files_bytes(&files, dir.path), 151);
	assert_int_equal(files.walks, 3);
	put_file(dir.path, "1000000.log", 0); /* cut, as after a failure */
	assert_int_equal(log_files_bytes(&files, dir.path), 150);
	assert_int_equal(files.walks, 4);

	log_files_forget(&files);
	assert_int_equal(log_files_bytes(&files, dir.path), 150);
	assert_int_equal(files.walks, 5);
	log_files_fini(&files);
}

static void more_files_than_there_is_room_for_are_all_counted(void **state)
{
	TEST_DIR(dir);
	struct log_files files;
	log_files_init(&files);
	for (unsigned int i = 0; i < LOG_FILES_MAX + 3; i++) {
		char name[32];
		snprintf(name, sizeof(name), "%06u.log", i);
		put_file(dir.path, name, 10);
	}
	for (uint64_t walks = 1; walks < 3; walks++) {
		assert_int_equal(log_files_bytes(&files, dir.path), 10 * (LOG_FILES_MAX + 3));
		assert_int_equal(files.walks, walks);
	}
	for (unsigned int i = 0; i < 4; i++) {
		char name[32];
		snprintf(name, sizeof(name), "%06u.log", i);
		remove_file(dir.path, name);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(log_files_bytes(&files, dir.path), 10 * (LOG_FILES_MAX - 1));
		assert_int_equal(files.walks, 3);
	}
	assert_int_equal(log_files_bytes(&files, "/nonexistent"), 0);
	log_files_fini(&files);
}

/* The database may remove a file meanwhile: then once more. */
static void check_both(struct kv *kv, struct log_files *beside, const char *folder)
{
	uint64_t before, after, of_kv, of_files;
	do {
		before = kv_folder_bytes(folder, ".log");
		of_kv = kv_log_bytes(kv);
		of_files = log_files_bytes(beside, folder);
		after = kv_folder_bytes(folder, ".log");
	} while (before != after);
	assert_int_equal(of_kv, after);
	assert_int_equal(of_files, after);
}

/* Flushed and opened again every now and then. */
static void of_a_database_it_is_what_the_folder_holds_after_each_write(void **state)
{
	TEST_DIR(dir);
	static uint8_t value[60000];
	struct kv_options options = { .path = dir.path, .memtables_bytes = 4 << 20 };
	char error[256];
	struct kv *kv;
	struct rng rng;
	struct log_files beside;
	uint64_t flushes = 0;
	rng_init(&rng, 5);
	log_files_init(&beside);
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	for (uint32_t i = 0; i < 400; i++) {
		AUTO(kv_batch) batch = kv_batch_new();
		kv_put(kv, batch, (enum kv_family)rng_below(&rng, KV_FAMILIES),
		        (struct kv_bytes){ &i, sizeof(i) },
		        (struct kv_bytes){ value, rng_below(&rng, sizeof(value)) });
		size_t bytes = kv_batch_bytes(batch);
		CHECK_OK(kv_write(kv, batch, KV_UNSYNCED));
		log_files_wrote(&beside, bytes);
		check_both(kv, &beside, dir.path);
		if (i % 50 == 20) {
			CHECK_OK(kv_flush(kv));
			check_both(kv, &beside, dir.path);
			flushes++;
		}
		if (i % 200 == 130) {
			CHECK_OK(kv_reopen(kv));
			log_files_forget(&beside);
		}
	}
	CHECK(kv_reopen_bytes(kv) >= 4 << 20);
	kv_free(kv);
	/* The database flushes by itself as well, most families at 512 KiB each. */
	CHECK(flushes == 8 && beside.walks < 100);
	log_files_fini(&beside);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		        what_is_told_is_looked_for_in_the_newest_file_and_then_in_the_folder),
		cmocka_unit_test(more_files_than_there_is_room_for_are_all_counted),
		cmocka_unit_test(of_a_database_it_is_what_the_folder_holds_after_each_write),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
