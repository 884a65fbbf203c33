/* log_tail: where a record ends, which file it is in, and that the log of RocksDB is like that. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/rng.h"
#include "storage/kv.h"
#include "storage/log_tail.h"
#include "tests/lib/test.h"

#define PAGE     4096
#define FLUSH_AT 50 /* there are two files for a while then */

static void a_record_has_a_head_in_each_block_that_it_touches(void **state)
{
	static const struct {
		uint64_t at, bytes, end;
	} records[] = {
		{ 0, 0, 7 },
		{ 0, 100, 107 },
		{ 32768 - 7, 0, 32768 },
		{ 32768 - 7, 1, 32768 + 8 }, /* a head alone, and the rest behind it */
		{ 32768 - 6, 1, 32768 + 8 }, /* no room for a head: zeroes */
		{ 0, 32768 - 7, 32768 },
		{ 0, 32768 - 6, 32768 + 8 },
		{ 5000, 100000, 105000 + 4 * 7 },
	};
	for (size_t i = 0; i < COUNT_OF(records); i++)
		assert_int_equal(log_record_end(records[i].at, records[i].bytes), records[i].end);
}

static void put_file(const char *folder, const char *name, size_t bytes)
{
	char path[512];
	autofree char *text = calloc(bytes + 1, 1);
	CHECK(text);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	test_file_write(path, text, bytes);
}

static void the_file_with_the_highest_number_is_filled_to_a_page(void **state)
{
	TEST_DIR(dir);
	struct log_tail tail = { 0 };
	assert_int_equal(log_tail_fill(&tail, dir.path, 20000), 0);
	put_file(dir.path, "000009.log", 5000);
	put_file(dir.path, "000010.log", 100);
	put_file(dir.path, "000011.sst", 200);
	assert_int_equal(log_tail_fill(&tail, dir.path, 20000), 5 * PAGE - 100 - 7 - 20000);
	put_file(dir.path, "000010.log", 5 * PAGE);
	log_tail_check(&tail, dir.path);
	assert_int_equal(log_tail_fill(&tail, dir.path, 5 * PAGE - 2 * 7), 0);
	/* It went elsewhere, so it is looked for, and what is short is left as it is. */
	put_file(dir.path, "1000000.log", 0);
	put_file(dir.path, "999999.log", 300); /* as text it would be the last */
	log_tail_check(&tail, dir.path);
	assert_int_equal(log_tail_fill(&tail, dir.path, 20000), 5 * PAGE - 7 - 20000);
	assert_int_equal(log_tail_fill(&tail, dir.path, PAGE), 0);
}

static void large_synced_writes_end_with_a_page_of_the_log(void **state)
{
	TEST_DIR(dir);
	static uint8_t value[60000];
	struct kv_options options = { .path = dir.path, .memtables_bytes = 8 << 20 };
	char error[256];
	struct kv *kv;
	struct rng rng;
	uint32_t aligned = 0;
	rng_init(&rng, 3);
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	for (uint32_t i = 0; i < 100; i++) {
		AUTO(kv_batch) batch = kv_batch_new();
		size_t count = 20000 + rng_below(&rng, sizeof(value) - 20000);
		kv_put(kv, batch, KV_BATCH, (struct kv_bytes){ &i, sizeof(i) },
		        (struct kv_bytes){ value, i % 7 ? count : 50 });
		CHECK_OK(kv_write(kv, batch, i % 5 ? KV_SYNC : KV_UNSYNCED));
		aligned += i < FLUSH_AT && i % 7 && i % 5 && kv_log_bytes(kv) % PAGE == 0;
		if (i == FLUSH_AT)
			CHECK_OK(kv_flush(kv));
	}
	/* Of 34 that were large and synced; a fill of one byte, or of 130, cannot be had. */
	CHECK(aligned >= 31);
	kv_free(kv);
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	for (uint32_t i = 0; i < 100; i++) {
		AUTO_BUF back = { 0 };
		CHECK_OK(kv_get(kv, KV_BATCH, (struct kv_bytes){ &i, sizeof(i) }, &back));
	}
	kv_free(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_has_a_head_in_each_block_that_it_touches),
		cmocka_unit_test(the_file_with_the_highest_number_is_filled_to_a_page),
		cmocka_unit_test(large_synced_writes_end_with_a_page_of_the_log),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
