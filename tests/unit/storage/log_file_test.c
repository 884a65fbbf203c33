/*
 * Logs in RocksDB's form: a manifest of its own is good, torn anywhere it still is, and any change
 * before its last record is damage.
 */

#include "storage/log_file.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/storage/kv_fixture.h"
#include "tests/unit/storage/store_fixture.h"

/* The one that is not empty whose name has this in it. */
static void find_file(const char *folder_path, const char *part, char ret_path[static 600])
{
	DIR *folder = opendir(folder_path);
	struct stat status;
	assert_non_null(folder);
	for (struct dirent *entry; (entry = readdir(folder));)
		if (strstr(entry->d_name, part) &&
		        fstatat(dirfd(folder), entry->d_name, &status, 0) == 0 &&
		        status.st_size > 0)
			snprintf(ret_path, 600, "%s/%s", folder_path, entry->d_name);
	closedir(folder);
}

/* The manifest of a store that was opened and flushed a few times. */
static uint8_t *make_manifest(size_t *ret_count)
{
	TEST_DIR(dir);
	char path[600] = "";
	struct store *store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	for (uint32_t seq = 1; seq <= 3; seq++) {
		source_begin(&source, seq * SECOND, SECOND);
		assert_int_equal(source_append(&source, store, seq), WIRE_OK);
		CHECK_OK(store_flush(store));
	}
	source_free(&source);
	store_free(store);
	find_file(dir.path, "MANIFEST-", path);
	return (uint8_t *)test_file_read(path, ret_count);
}

/* Where the last record begins: before it, everything that is cut off is a good log. */
static size_t last_record(const uint8_t *bytes, size_t count)
{
	size_t at = 0;
	size_t last = 0;
	while (at + 7 <= count) {
		last = at;
		at += 7 + bytes[at + 4] + 256u * bytes[at + 5];
	}
	assert_int_equal(at, count);
	return last;
}

static void a_torn_log_is_good_and_a_changed_one_is_not(void **state)
{
	size_t count;
	autofree uint8_t *bytes = make_manifest(&count);
	size_t last = last_record(bytes, count);
	CHECK(last > 500 && count < 32768);
	CHECK_OK(log_file_check(bytes, count));
	CHECK_OK(log_file_check(NULL, 0));
	for (size_t cut = 0; cut < count; cut++)
		CHECK_OK(log_file_check(bytes, cut));
	for (size_t at = 0; at < count; at++) {
		for (uint32_t bit = 0; bit < 8; bit++) {
			bytes[at] ^= (uint8_t)(1u << bit);
			int r = log_file_check(bytes, count);
			/* The last record may as well be torn. */
			assert_int_equal(r, at < last ? -EBADMSG : 0);
			bytes[at] ^= (uint8_t)(1u << bit);
		}
	}
}

static void room_that_was_reserved_behind_it_is_no_damage(void **state)
{
	size_t count;
	autofree uint8_t *bytes = make_manifest(&count);
	autofree uint8_t *larger = calloc(1, count + 100000);
	memcpy(larger, bytes, count);
	CHECK_OK(log_file_check(larger, count + 100000));
	larger[20] ^= 1;
	assert_int_equal(log_file_check(larger, count + 100000), -EBADMSG);
}

/* Wherever it is torn, its end is where a write ends, and all of that is good. */
static void a_torn_log_ends_with_its_last_whole_write(void **state)
{
	size_t count;
	size_t end = 0;
	autofree uint8_t *bytes = make_manifest(&count);
	size_t last = last_record(bytes, count);
	CHECK_OK(log_file_end(bytes, count, &end));
	assert_int_equal(end, count);
	for (size_t cut = last; cut < count; cut++) {
		CHECK_OK(log_file_end(bytes, cut, &end));
		assert_int_equal(end, last);
	}
	bytes[20] ^= 1;
	assert_int_equal(log_file_end(bytes, count, &end), -EBADMSG);
	CHECK_OK(log_file_end(NULL, 0, &end));
	assert_int_equal(end, 0);
}

struct writes {
	uint32_t count;
	uint32_t until; /* answers the visit of this one */
	size_t bytes;
	size_t longest;
};

static int note_write(void *owner, const uint8_t *write, size_t write_bytes)
{
	struct writes *writes = owner;
	/* The value of the large write: it lies as it was written. */
	for (size_t i = 1000; write_bytes > 90000 && i < 90000; i++)
		assert_int_equal((uint8_t)(write[i - 1] + 1), write[i]);
	writes->bytes += write_bytes;
	if (write_bytes > writes->longest)
		writes->longest = write_bytes;
	return ++writes->count == writes->until ? 7 : 0;
}

static void a_write_over_several_blocks_is_visited_whole_and_a_torn_one_not(void **state)
{
	TEST_DIR(dir);
	struct kv *kv = kv_fixture_open(dir.path);
	AUTO(kv_batch) write = kv_batch_new();
	static uint8_t value[100000];
	char path[600] = "";
	size_t count;
	for (size_t i = 0; i < sizeof(value); i++)
		value[i] = (uint8_t)i;
	kv_put(kv, write, KV_META, key_of("small"), key_of("value"));
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	kv_batch_reset(write);
	kv_put(kv, write, KV_META, key_of("large"), (struct kv_bytes){ value, sizeof(value) });
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	kv_free(kv);
	find_file(dir.path, ".log", path);
	autofree uint8_t *bytes = (uint8_t *)test_file_read(path, &count);

	struct writes writes = { 0 };
	CHECK_OK(log_file_visit(bytes, count, note_write, &writes));
	assert_int_equal(writes.count, 2);
	CHECK(writes.longest > sizeof(value) && writes.bytes < count);
	writes = (struct writes){ .until = 1 };
	assert_int_equal(log_file_visit(bytes, count, note_write, &writes), 7);
	assert_int_equal(writes.count, 1);
	writes = (struct writes){ 0 };
	CHECK_OK(log_file_visit(bytes, count - 1, note_write, &writes));
	assert_int_equal(writes.count, 1);
	writes = (struct writes){ 0 };
	CHECK_OK(log_file_visit(NULL, 0, note_write, &writes));
	assert_int_equal(writes.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_torn_log_is_good_and_a_changed_one_is_not),
		cmocka_unit_test(a_torn_log_ends_with_its_last_whole_write),
		cmocka_unit_test(a_write_over_several_blocks_is_visited_whole_and_a_torn_one_not),
		cmocka_unit_test(room_that_was_reserved_behind_it_is_no_damage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
