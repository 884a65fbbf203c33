/*
 * A stream with so many gaps that its set no longer knows all seqs asks the windows what was kept.
 * They also know when they are hidden, as what is hidden can be undone; and where they cannot be
 * read a section is taken for one that was kept: it must not be counted twice.
 */

#include "storage/store_expire.h"
#include "tests/unit/storage/store_damage.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_S 60
#define SECTIONS 400 /* more ranges than a stream remembers */
#define WINDOWS  7

static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	return store_fixture_open_with(options);
}

static uint32_t append(struct store *store, struct source *source, uint32_t number)
{
	source_begin(source, number * SECOND, SECOND);
	CHECK_OK(batch_add_row(source->batch, source_series(source, "cart", "a", 1),
	        source_stack(source, "work"), 1));
	return source_append(source, store, 1 + 2 * number);
}

static void fill(struct store *store, struct source *source)
{
	for (uint32_t i = 0; i < SECTIONS; i++)
		assert_int_equal(append(store, source, i), WIRE_OK);
	CHECK_OK(store_seal(store, UINT64_MAX));
}

static void expect_known(struct store *store, struct source *source)
{
	for (uint32_t i = 0; i < SECTIONS; i += 7)
		assert_int_equal(append(store, source, i), WIRE_DUP);
}

static void what_is_hidden_was_kept(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_expire_item items[WINDOWS];
	struct store_run run = { .id = 1 };
	struct store_expired expired;
	fill(store, &source);
	for (uint32_t i = 0; i < WINDOWS; i++)
		items[i] = (struct store_expire_item){
			.window = { 0, 0, i * WINDOW_S * SECOND, (i + 1) * WINDOW_S * SECOND },
			.unit = STORE_UNIT_NONE,
			.parts = STORE_PART_ALL,
		};
	CHECK_OK(store_hide(store, &run, items, WINDOWS, &expired));
	assert_int_equal(expired.windows[0], WINDOWS);
	expect_known(store, &source);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 0);
	CHECK_OK(store_undo(store, 1, &expired));
	expect_known(store, &source);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), SECTIONS);
	source_free(&source);
	store_free(store);
}

static void what_cannot_be_read_may_have_been_kept(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	fill(store, &source);
	store_free(store);
	assert_int_equal(store_damage(dir.path, KV_SUMS, KEYS_BLOCK_WATCHERS, true), WINDOWS);
	store = open_store(dir.path);
	expect_known(store, &source);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), SECTIONS);
	source_free(&source);
	store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_hidden_was_kept),
		cmocka_unit_test(what_cannot_be_read_may_have_been_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
