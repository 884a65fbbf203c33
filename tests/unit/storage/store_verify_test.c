/*
 * Verifying: a store as it should be has nothing to tell of; each record that is changed, removed
 * or put where it does not belong is told of by name; what nothing names is garbage; and nothing in
 * the folder changes by it.
 */

#include "storage/store_verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/rng.h"
#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/kv_folder.h"
#include "storage/record.h"
#include "storage/window.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_S 60

static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	return store_fixture_open_with(options);
}

/* Two services of some instances over three windows, two tenants; the third stays open. */
static void fill(const char *path)
{
	static const char *const services[] = { "cart", "shop" };
	struct store *store = open_store(path);
	struct source source = source_new(store, 1);
	struct rng rng;
	rng_init(&rng, 1);
	for (uint32_t seq = 1; seq <= 18; seq++) {
		source.stream.tenant = seq % 3 ? "" : "acme";
		source_begin(&source, (seq - 1) * 10 * SECOND, 10 * SECOND);
		for (uint32_t i = 0; i < 8; i++) {
			char name[16];
			snprintf(name, sizeof(name), "i%u", i);
			uint32_t series = source_series(&source, services[i % 2], name, 20408163);
			for (uint64_t rows = rng_below(&rng, 8); rows > 0; rows--) {
				snprintf(name, sizeof(name), "f%u",
				        (unsigned int)rng_below(&rng, 30));
				CHECK_OK(batch_add_row(source.batch, series,
				        source_stack(&source, name), 1 + rng_below(&rng, 9)));
			}
			CHECK_OK(batch_add_coverage(source.batch, series, 9 * SECOND + i));
			if (i % 3 == 0)
				CHECK_OK(batch_add_loss(
				        source.batch, series, LOSS_RING_FULL, 1 + i));
		}
		CHECK_OK(batch_add_loss(source.batch, SERIES_NONE, LOSS_PERF_LOST, seq));
		assert_int_equal(source_append(&source, store, seq), WIRE_OK);
	}
	CHECK_OK(store_seal(store, 120 * SECOND));
	struct store_agent agent = { .host = "host", .program = "agent" };
	CHECK_OK(store_agent_put(store, &agent));
	CHECK_OK(store_symbols_put(store, "c0ffee", "", 0));
	source_free(&source);
	store_free(store);
}

/* What was told of. */
struct told {
	struct store_verify_summary summary;
	char text[8192];
};

static int tell(void *owner, const struct store_finding *finding)
{
	struct told *told = owner;
	size_t count = strlen(told->text);
	CHECK(strlen(finding->key) > 0 && strlen(finding->reason) > 0);
	snprintf(told->text + count, sizeof(told->text) - count, "%s %s: %s: %s (%s)\n",
	        finding->kind == STORE_FINDING_DAMAGE ? "damage" : "garbage", finding->family,
	        finding->key, finding->reason, finding->missing);
	return 0;
}

static struct told verify(const char *path)
{
	struct told told = { 0 };
	char error[512] = "";
	struct store_verify_options options = { .path = path, .found = tell, .owner = &told };
	int r = store_verify(&options, &told.summary, error, sizeof(error));
	if (r < 0)
		fail_msg("%d: %s", r, error);
	return told;
}

static void expect_told(const char *path, const char *words)
{
	struct told told = verify(path);
	if (told.summary.damaged == 0 || !strstr(told.text, words))
		fail_msg("\"%s\" is not in: %s", words, told.text);
}

static struct kv *open_kv(const char *path)
{
	struct kv *kv;
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	char error[256];
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	return kv;
}

/* The record number `index` of a family. */
static void read_record(
        struct kv *kv, enum kv_family family, uint64_t index, struct buf *key, struct buf *value)
{
	struct kv_iterator *it = kv_iterator_new(
	        kv, family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	while (index-- > 0 && kv_iterator_is_valid(it))
		kv_iterator_next(it);
	buf_reset(key);
	buf_reset(value);
	if (kv_iterator_is_valid(it)) {
		struct kv_bytes bytes = kv_iterator_key(it);
		buf_put(key, bytes.bytes, bytes.count);
		bytes = kv_iterator_value(it);
		buf_put(value, bytes.bytes, bytes.count);
	}
	CHECK_OK(kv_iterator_result(it));
	kv_iterator_free(it);
}

static void write_record(
        struct kv *kv, enum kv_family family, const struct buf *key, const struct buf *value)
{
	AUTO(kv_batch) batch = kv_batch_new();
	struct kv_bytes at = { key->bytes, key->count };
	kv_put(kv, batch, family, at, (struct kv_bytes){ value->bytes, value->count });
	CHECK_OK(kv_write(kv, batch, KV_SYNC));
}

static void remove_record(struct kv *kv, enum kv_family family, const struct buf *key)
{
	AUTO(kv_batch) batch = kv_batch_new();
	AUTO_BUF end = { 0 };
	buf_put(&end, key->bytes, key->count);
	buf_put_u8(&end, 0);
	kv_delete_range(kv, batch, family, (struct kv_bytes){ key->bytes, key->count },
	        (struct kv_bytes){ end.bytes, end.count });
	CHECK_OK(kv_write(kv, batch, KV_SYNC));
}

/* Of every file: name, size, time of change. What lies beside the folder is nobody's of us. */
static uint64_t hash_folder(const char *path)
{
	uint64_t hash = 0;
	DIR *folder = opendir(path);
	assert_non_null(folder);
	for (struct dirent *entry; (entry = readdir(folder));) {
		struct stat status;
		if (strcmp(entry->d_name, "..") == 0)
			continue;
		CHECK_OK(fstatat(dirfd(folder), entry->d_name, &status, 0));
		hash ^= hash64_bytes(entry->d_name, strlen(entry->d_name)) +
		        (uint64_t)status.st_size + (uint64_t)status.st_mtim.tv_nsec +
		        (uint64_t)status.st_mtim.tv_sec;
	}
	closedir(folder);
	return hash;
}

static void a_store_as_it_should_be_has_nothing_to_tell_and_is_not_touched(void **state)
{
	TEST_DIR(dir);
	fill(dir.path);
	uint64_t before = hash_folder(dir.path);
	struct told told = verify(dir.path);
	if (told.text[0])
		fail_msg("%s", told.text);
	assert_int_equal(told.summary.damaged, 0);
	assert_int_equal(told.summary.garbage, 0);
	assert_int_equal(told.summary.windows, 2);
	assert_int_equal(told.summary.batches, 18);
	assert_int_equal(told.summary.format, 6);
	CHECK(told.summary.rows > 100 && told.summary.records > 20);
	CHECK(hash_folder(dir.path) == before);
}

static void every_record_that_is_changed_removed_or_moved_is_told_of(void **state)
{
	/* What removing one leaves no trace of: the last delta and stream, agents, symbols. */
	static const struct {
		enum kv_family family;
		const char *name;
		bool is_missed;
	} families[] = {
		{ KV_META, "default", true },
		{ KV_BATCH, "batch", false },
		{ KV_DICT, "dict", true },
		{ KV_DICT_TEXT, "dict_text", true },
		{ KV_STREAM, "stream", true },
		{ KV_COUNTERS, "counters", true },
		{ KV_AGENT, "agent", false },
		{ KV_WINDOW, "window", false },
		{ KV_SUMS, "sums", true },
		{ KV_DETAIL, "detail", true },
	};
	TEST_DIR(dir);
	struct rng rng;
	uint64_t records = 0;
	rng_init(&rng, 7);
	fill(dir.path);
	for (size_t f = 0; f < COUNT_OF(families); f++) {
		enum kv_family family = families[f].family;
		AUTO_BUF key = { 0 };
		AUTO_BUF value = { 0 };
		AUTO_BUF next_key = { 0 };
		AUTO_BUF next = { 0 };
		for (uint64_t index = 0;; index++) {
			struct kv *kv = open_kv(dir.path);
			read_record(kv, family, index, &key, &value);
			read_record(kv, family, index + 1, &next_key, &next);
			if (key.count == 0 && value.count == 0) {
				kv_free(kv);
				break;
			}
			records++;
			uint64_t at = rng_below(&rng, value.count);
			uint8_t bit = (uint8_t)(1u << rng_below(&rng, 8));
			value.bytes[at] ^= bit;
			write_record(kv, family, &key, &value);
			kv_free(kv);
			expect_told(dir.path, families[f].name);

			value.bytes[at] ^= bit;
			kv = open_kv(dir.path);
			write_record(kv, family, &key, next.count ? &next : &value);
			kv_free(kv);
			if (next.count)
				expect_told(dir.path, families[f].name);

			kv = open_kv(dir.path);
			remove_record(kv, family, &key);
			kv_free(kv);
			if (families[f].is_missed)
				expect_told(dir.path, "damage");

			kv = open_kv(dir.path);
			write_record(kv, family, &key, &value);
			kv_free(kv);
		}
	}
	CHECK(records > 25);
	assert_int_equal(verify(dir.path).summary.damaged, 0);
}

static void what_nothing_names_is_garbage_and_no_damage(void **state)
{
	TEST_DIR(dir);
	AUTO_BUF key = { 0 };
	AUTO_BUF value = { 0 };
	fill(dir.path);
	struct kv *kv = open_kv(dir.path);
	for (uint64_t index = 0; index < 2; index++) {
		read_record(kv, KV_DETAIL, index, &key, &value);
		key.bytes[KEYS_WINDOW_BYTES - 1] = 9; /* of generation 9 */
		write_record(kv, KV_DETAIL, &key, &value);
	}
	read_record(kv, KV_SUMS, 0, &key, &value);
	key.bytes[KEYS_BLOCK_BYTES - 1] = 7; /* chunk 7 of what has one */
	write_record(kv, KV_SUMS, &key, &value);
	kv_free(kv);
	struct told told = verify(dir.path);
	assert_int_equal(told.summary.damaged, 0);
	assert_int_equal(told.summary.garbage, 2);
	CHECK(strstr(told.text, "generation 9: 2 blocks"));
}

/* The first block of sums that is of this part. */
static void read_part(
        struct kv *kv, enum keys_block_part part, struct buf *ret_key, struct buf *ret_value)
{
	struct key_block key;
	uint64_t index = 0;
	do {
		read_record(kv, KV_SUMS, index++, ret_key, ret_value);
		CHECK_OK(keys_get_block(ret_key->bytes, ret_key->count, &key));
	} while (key.part != part);
}

static void values_of_groups_that_are_missing_or_too_many_are_told_of(void **state)
{
	TEST_DIR(dir);
	AUTO_BUF key = { 0 };
	AUTO_BUF value = { 0 };
	fill(dir.path);
	struct kv *kv = open_kv(dir.path);
	read_part(kv, KEYS_BLOCK_VALUES, &key, &value);
	remove_record(kv, KV_SUMS, &key);
	kv_free(kv);
	struct told told = verify(dir.path);
	assert_int_equal(told.summary.damaged, 1);
	CHECK(strstr(told.text, "values of groups: it is missing"));

	/* One instance is one group: the total says all, and no values are named. */
	TEST_DIR(small);
	struct store *store = open_store(small.path);
	struct source source = source_new(store, 1);
	uint32_t series = source_series(&source, "cart", "a", 20408163);
	source_begin(&source, 0, 10 * SECOND);
	CHECK_OK(batch_add_row(source.batch, series, source_stack(&source, "work"), 1));
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	CHECK_OK(store_seal(store, 120 * SECOND));
	source_free(&source);
	store_free(store);
	kv = open_kv(small.path);
	read_part(kv, KEYS_BLOCK_SUMS, &key, &value);
	key.bytes[KEYS_WINDOW_BYTES + 4] = KEYS_BLOCK_VALUES;
	write_record(kv, KV_SUMS, &key, &value);
	kv_free(kv);
	told = verify(small.path);
	assert_int_equal(told.summary.damaged, 0);
	assert_int_equal(told.summary.garbage, 1);
}

static void a_batch_that_is_open_and_sealed_is_told_of(void **state)
{
	TEST_DIR(dir);
	AUTO_BUF key = { 0 };
	AUTO_BUF value = { 0 };
	AUTO_BUF record = { 0 };
	fill(dir.path);
	struct kv *kv = open_kv(dir.path);
	read_record(kv, KV_BATCH, 0, &key, &value);
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	AUTO_BUF scratch = { 0 };
	/* Stream 0 and seq 1 are of the first window. */
	uint8_t bytes[KEYS_BATCH_BYTES];
	struct kv_bytes at = { bytes, sizeof(bytes) };
	keys_put_batch((struct key_batch){ 0, 0, 1 }, bytes);
	batch->duration_ns = 10 * SECOND;
	CHECK_OK(batch_settle(batch));
	record_put_batch(batch, 0, at, &scratch, &record);
	buf_reset(&key);
	buf_put(&key, bytes, sizeof(bytes));
	write_record(kv, KV_BATCH, &key, &record);
	kv_free(kv);
	expect_told(dir.path, "is open and sealed");
	expect_told(dir.path, "is kept twice");
}

static void a_window_whose_record_says_other_things_is_told_of(void **state)
{
	static const char *const words[] = { "batches", "another number of rows",
		"another service or type", "it is missing" };
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		TEST_DIR(dir);
		AUTO_BUF key = { 0 };
		AUTO_BUF value = { 0 };
		AUTO_WINDOW window = { 0 };
		struct key_window of;
		fill(dir.path);
		struct kv *kv = open_kv(dir.path);
		read_record(kv, KV_WINDOW, 0, &key, &value);
		struct kv_bytes at = { key.bytes, key.count };
		CHECK_OK(keys_get_window(key.bytes, key.count, &of));
		CHECK_OK(
		        window_get(at, (struct kv_bytes){ value.bytes, value.count }, of, &window));
		window.batches += i == 0;
		window.units[0].rows += i == 1;
		if (i == 2)
			window.units[0].service = window.units[1].service;
		window.units[0].chunks += i == 3;
		buf_reset(&value);
		window_put(&window, of, at, &value);
		write_record(kv, KV_WINDOW, &key, &value);
		kv_free(kv);
		expect_told(dir.path, words[i]);
	}
}

static void a_store_in_use_none_and_a_newer_one_are_refused(void **state)
{
	TEST_DIR(dir);
	char error[512] = "";
	struct told told = { 0 };
	struct store_verify_options options = { .path = dir.path, .found = tell, .owner = &told };
	assert_int_equal(store_verify(&options, &told.summary, error, sizeof(error)), -ENOENT);
	CHECK(strstr(error, dir.path) && strstr(error, "holds no store"));

	fill(dir.path);
	struct kv *kv = open_kv(dir.path);
	AUTO_BUF key = { 0 };
	AUTO_BUF value = { 0 };
	buf_put(&key, KEYS_META_FORMAT, strlen(KEYS_META_FORMAT));
	struct kv_bytes at = { key.bytes, key.count };
	record_put_format((struct record_format){ 1000, 1000 }, at, &value);
	write_record(kv, KV_META, &key, &value);
	kv_free(kv);
	assert_int_equal(
	        store_verify(&options, &told.summary, error, sizeof(error)), -EPROTONOSUPPORT);
	CHECK(strstr(error, "newer profleet"));
}

static int stop(void *owner, const struct store_finding *finding)
{
	return -ECANCELED;
}

/* The file, the place in it, and what to do; the database does not open with it. */
static void a_table_whose_properties_are_damaged_is_named(void **state)
{
	TEST_DIR(dir);
	char path[512];
	size_t count;
	fill(dir.path);
	(void)snprintf(path, sizeof(path), "%s/%06u.sst", dir.path,
	        (unsigned)kv_folder_newest_table(dir.path));
	autofree char *table = test_file_read(path, &count);
	char *at = memmem(table, count, "BytewiseComparator", strlen("BytewiseComparator"));
	assert_non_null(at);
	*at ^= 1;
	test_file_write(path, table, count);
	expect_told(dir.path, strrchr(path, '/') + 1);
	expect_told(dir.path, "(bytes ");
	expect_told(dir.path, "--restore BACKUP --data NEW");
}

static void whoever_is_told_may_stop_it(void **state)
{
	TEST_DIR(dir);
	AUTO_BUF key = { 0 };
	AUTO_BUF value = { 0 };
	char error[512] = "";
	bool cancelled = false;
	struct store_verify_summary summary;
	struct store_verify_options options = {
		.path = dir.path,
		.found = stop,
		.cancelled = &cancelled,
	};
	fill(dir.path);
	CHECK_OK(store_verify(&options, &summary, error, sizeof(error)));
	cancelled = true;
	assert_int_equal(store_verify(&options, &summary, error, sizeof(error)), -ECANCELED);
	cancelled = false;
	struct kv *kv = open_kv(dir.path);
	read_record(kv, KV_STREAM, 0, &key, &value);
	value.bytes[0] ^= 1;
	write_record(kv, KV_STREAM, &key, &value);
	kv_free(kv);
	assert_int_equal(store_verify(&options, &summary, error, sizeof(error)), -ECANCELED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_store_as_it_should_be_has_nothing_to_tell_and_is_not_touched),
		cmocka_unit_test(every_record_that_is_changed_removed_or_moved_is_told_of),
		cmocka_unit_test(what_nothing_names_is_garbage_and_no_damage),
		cmocka_unit_test(values_of_groups_that_are_missing_or_too_many_are_told_of),
		cmocka_unit_test(a_batch_that_is_open_and_sealed_is_told_of),
		cmocka_unit_test(a_window_whose_record_says_other_things_is_told_of),
		cmocka_unit_test(a_store_in_use_none_and_a_newer_one_are_refused),
		cmocka_unit_test(a_table_whose_properties_are_damaged_is_named),
		cmocka_unit_test(whoever_is_told_may_stop_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
