/*
 * kv_files_take: RocksDB may find what it was given too early and ask to be tried again, which it
 * does too seldom to wait for. Here it says so as often as it is told to, without doing anything,
 * in its own words.
 *
 * wraps: rocksdb_ingest_external_file_cf
 */

#include <errno.h>

#include "storage/kv.h"
#include "tests/unit/storage/store_fixture.h"

#define TRY_AGAIN "Operation failed. Try again.: Flush not visible yet"

/* What the next takings come to. */
static struct {
	int refusals;
	const char *words;
	int asked;
} takings;

/* As in RocksDB's header, which only kv.c may see. */
void __real_rocksdb_ingest_external_file_cf(void *db, void *family, const char *const *names,
        size_t count, const void *options, char **ret_text);
void __wrap_rocksdb_ingest_external_file_cf(void *db, void *family, const char *const *names,
        size_t count, const void *options, char **ret_text);
void __wrap_rocksdb_ingest_external_file_cf(void *db, void *family, const char *const *names,
        size_t count, const void *options, char **ret_text)
{
	takings.asked++;
	if (takings.refusals == 0) {
		__real_rocksdb_ingest_external_file_cf(db, family, names, count, options, ret_text);
		return;
	}
	takings.refusals--;
	*ret_text = strdup(takings.words);
}

static void refuse(int refusals, const char *words)
{
	takings.refusals = refusals;
	takings.words = words;
	takings.asked = 0;
}

static struct kv_bytes text(const char *bytes)
{
	return (struct kv_bytes){ bytes, strlen(bytes) };
}

static struct kv *open_kv(const char *path)
{
	struct kv *kv = NULL;
	char error[512] = "";
	struct kv_options options = { .path = path, .memtables_bytes = 4 << 20 };
	int r = kv_open(options, &kv, error, sizeof(error));
	if (r < 0)
		fail_msg("%s: %s", path, error);
	return kv;
}

static int take(struct kv *kv, const char *key)
{
	AUTO(kv_files) files = kv_files_new(kv, KV_SUMS);
	assert_non_null(files);
	CHECK_OK(kv_files_put(files, text(key), text("value")));
	return kv_files_take(files);
}

static bool has(struct kv *kv, const char *key)
{
	AUTO_BUF value = { 0 };
	int r = kv_get(kv, KV_SUMS, text(key), &value);
	CHECK(r == 0 || r == -ENOENT);
	return r == 0 && value.count == 5;
}

static void it_is_tried_three_times(void **state)
{
	TEST_DIR(dir);
	AUTO(kv) kv = open_kv(dir.path);
	for (int refusals = 0; refusals < 3; refusals++) {
		char key[2] = { (char)('a' + refusals) };
		refuse(refusals, TRY_AGAIN);
		CHECK_OK(take(kv, key));
		assert_int_equal(takings.asked, refusals + 1);
		CHECK(has(kv, key));
	}
}

static void after_that_it_is_told_in_words_and_nothing_is_there(void **state)
{
	TEST_DIR(dir);
	AUTO(kv) kv = open_kv(dir.path);
	char error[512] = "";
	refuse(3, TRY_AGAIN);
	assert_int_equal(take(kv, "a"), -EIO);
	assert_int_equal(takings.asked, 3);
	CHECK(!has(kv, "a"));
	kv_error(kv, error, sizeof(error));
	CHECK(strstr(error, "adding files to") && strstr(error, dir.path) &&
	        strstr(error, TRY_AGAIN));
	/* It is whole: the same is taken the next time, and there after a restart. */
	CHECK(kv_is_writable(kv) && !kv_is_hurt(kv));
	CHECK_OK(take(kv, "a"));
	CHECK_OK(kv_reopen(kv));
	CHECK(has(kv, "a"));
}

static void what_would_fail_again_is_not_tried_again(void **state)
{
	TEST_DIR(dir);
	AUTO(kv) kv = open_kv(dir.path);
	char error[512] = "";
	refuse(1, "IO error: No space left on device: While appending to file");
	assert_int_equal(take(kv, "a"), -ENOSPC);
	assert_int_equal(takings.asked, 1);
	CHECK(!has(kv, "a"));
	kv_error(kv, error, sizeof(error));
	CHECK(strstr(error, "No space left on device") && strstr(error, "make room there"));
}

/* A seal takes in two families of files: it does not matter which of them is refused. */
static void a_seal_that_was_refused_loses_and_doubles_nothing(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint64_t all = 0;
	for (uint64_t seq = 1; seq <= 4; seq++) {
		uint32_t series = source_series(&source, "cart", "i", 1);
		source_begin(&source, seq * SECOND, SECOND);
		CHECK_OK(batch_add_row(source.batch, series, source_stack(&source, "main"), seq));
		assert_int_equal(source_append(&source, store, seq), WIRE_OK);
		all += seq;

		refuse(seq == 4 ? 2 : 3, TRY_AGAIN);
		int r = store_seal(store, UINT64_MAX);
		assert_int_equal(r, seq == 4 ? 0 : -EIO);
		CHECK(r == 0 || strstr(store_error(store), TRY_AGAIN));
		assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), all);
		if (seq == 2) {
			store_free(store);
			store = store_fixture_open(dir.path);
			assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), all);
		}
	}
	source_free(&source);
	store_free(store);
	store = store_fixture_open(dir.path);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), all);
	store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_tried_three_times),
		cmocka_unit_test(after_that_it_is_told_in_words_and_nothing_is_there),
		cmocka_unit_test(what_would_fail_again_is_not_tried_again),
		cmocka_unit_test(a_seal_that_was_refused_loses_and_doubles_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
