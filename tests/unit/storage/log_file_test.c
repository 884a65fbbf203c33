/*
 * Logs in RocksDB's form: a manifest of its own is good, torn anywhere it still is, and any change
 * before its last record is damage.
 */

#include "storage/log_file.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "tests/unit/storage/store_fixture.h"

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
	DIR *folder = opendir(dir.path);
	assert_non_null(folder);
	for (struct dirent *entry; (entry = readdir(folder));)
		if (strncmp(entry->d_name, "MANIFEST-", 9) == 0)
			snprintf(path, sizeof(path), "%s/%s", dir.path, entry->d_name);
	closedir(folder);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_torn_log_is_good_and_a_changed_one_is_not),
		cmocka_unit_test(a_torn_log_ends_with_its_last_whole_write),
		cmocka_unit_test(room_that_was_reserved_behind_it_is_no_damage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
