/*
 * Hiding where a window's record is damaged, or none is there: the window can be forgotten as a
 * whole and not by a part of it, which nobody can tell, and what is not hidden is counted as
 * missing.
 */

#include "storage/keys.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/kv_fixture.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW  (60 * SECOND)
#define WINDOWS 3 /* the first is damaged; behind the last there is none */

static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW;
	return store_fixture_open_with(options);
}

static void fill(const char *path)
{
	struct store *store = open_store(path);
	struct source source = source_new(store, 1);
	for (uint32_t i = 0; i < WINDOWS; i++) {
		source_begin(&source, i * WINDOW, SECOND);
		CHECK_OK(batch_add_row(source.batch, source_series(&source, "cart", "i", 1),
		        source_stack(&source, "main"), 1));
		CHECK_OK(batch_add_row(source.batch, source_series(&source, "web", "i", 1),
		        source_stack(&source, "main"), 2));
		assert_int_equal(source_append(&source, store, i + 1), WIRE_OK);
	}
	CHECK_OK(store_seal(store, WINDOWS * WINDOW));
	source_free(&source);
	store_free(store);
}

/* Of the first window. */
static void damage_record(const char *path)
{
	struct kv *kv = kv_fixture_open(path);
	AUTO(kv_batch) batch = kv_batch_new();
	AUTO_BUF bytes = { 0 };
	struct kv_iterator *it = kv_iterator_new(
	        kv, KV_WINDOW, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	CHECK(kv_iterator_is_valid(it));
	struct kv_bytes value = kv_iterator_value(it);
	buf_put(&bytes, value.bytes, value.count);
	bytes.bytes[bytes.count / 2] ^= 1;
	kv_put(kv, batch, KV_WINDOW, kv_iterator_key(it),
	        (struct kv_bytes){ bytes.bytes, bytes.count });
	CHECK_OK(kv_write(kv, batch, KV_SYNC));
	kv_iterator_free(it);
	kv_free(kv);
}

static struct store_expired hide(
        struct store *store, uint64_t run_id, uint32_t window, uint32_t unit, uint32_t parts)
{
	struct store_expire_item item = {
		.window = { 0, 0, window * WINDOW, (window + 1) * WINDOW },
		.unit = unit,
		.parts = parts,
	};
	struct store_run run = { .id = run_id };
	struct store_expired expired = { 0 };
	CHECK_OK(store_hide(store, &run, &item, 1, &expired));
	return expired;
}

static int count_run(void *owner, const struct store_run_state *state)
{
	(void)state;
	++*(uint32_t *)owner;
	return 0;
}

static uint32_t runs_of(struct store *store)
{
	uint32_t runs = 0;
	CHECK_OK(store_runs(store, count_run, &runs));
	return runs;
}

static void a_damaged_window_is_hidden_whole_or_not_at_all(void **state)
{
	TEST_DIR(dir);
	fill(dir.path);
	damage_record(dir.path);
	AUTO(store) store = open_store(dir.path);
	assert_int_equal(hide(store, 1, 0, 0, STORE_PART_ALL).missing, 1);
	assert_int_equal(hide(store, 1, 0, STORE_UNIT_NONE, STORE_PART_DETAIL).missing, 1);
	assert_int_equal(runs_of(store), 0);
	struct store_expired expired = hide(store, 1, 0, STORE_UNIT_NONE, STORE_PART_ALL);
	assert_int_equal(expired.windows[0], 1);
	assert_int_equal(expired.missing, 0);
	assert_int_equal(runs_of(store), 1);
	assert_int_equal(hide(store, 2, 0, STORE_UNIT_NONE, STORE_PART_ALL).missing, 1);
	assert_int_equal(runs_of(store), 1);
}

static void a_window_that_is_not_there_is_missing(void **state)
{
	TEST_DIR(dir);
	fill(dir.path);
	AUTO(store) store = open_store(dir.path);
	struct store_expired expired = hide(store, 1, WINDOWS, STORE_UNIT_NONE, STORE_PART_ALL);
	assert_int_equal(expired.windows[0], 0);
	assert_int_equal(expired.missing, 1);
	assert_int_equal(runs_of(store), 0);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), WINDOWS * 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_damaged_window_is_hidden_whole_or_not_at_all),
		cmocka_unit_test(a_window_that_is_not_there_is_missing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
