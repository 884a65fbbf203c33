/* The record of a window in both versions, and the list of windows with what they were made of. */

#include "storage/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/record.h"
#include "tests/lib/test.h"

#define HOUR_LEVEL (1u << KEYS_LEVEL_SHIFT)

static const struct key_window hour = { 3600, 7200, HOUR_LEVEL };
static struct key_window sources[] = { { 3600, 4200, 0 }, { 3600, 4200, 1 }, { 6000, 7200, 0 } };

static struct kv_bytes window_key(struct key_window of, uint8_t bytes[KEYS_WINDOW_BYTES])
{
	keys_put_window(of, bytes);
	return (struct kv_bytes){ bytes, KEYS_WINDOW_BYTES };
}

static int window_read(const struct buf *record, struct key_window of, struct window *window)
{
	uint8_t bytes[KEYS_WINDOW_BYTES];
	struct kv_bytes value = { record->bytes, record->count };
	return window_get(window_key(of, bytes), value, of, window);
}

static void window_write(const struct window *window, struct key_window of, struct buf *to)
{
	uint8_t bytes[KEYS_WINDOW_BYTES];
	buf_reset(to);
	window_put(window, of, window_key(of, bytes), to);
	assert_false(to->failed);
}

static void record_of_a_rollup_comes_back_with_its_sources(void **state)
{
	AUTO_BUF record = { 0 };
	AUTO_WINDOW back = { 0 };
	struct window_unit unit = { .service = 7, .type = 8, .chunks = 1, .rows = 9 };
	char tenant[1][KEYS_TENANT_BYTES_MAX + 1] = { "blue" };
	struct window window = {
		.level = 1,
		.is_collapsed = true,
		.dictionary = 3,
		.sources = sources,
		.sources_count = COUNT_OF(sources),
		.first_ns = 3601,
		.last_ns = 7000,
		.batches = 5,
		.sealed_ns = 9000,
		.watchers_chunks = 1,
		.tenants = tenant,
		.tenants_count = 1,
		.units = &unit,
		.units_count = 1,
	};
	window_write(&window, hour, &record);
	CHECK_OK(window_read(&record, hour, &back));
	assert_int_equal(back.level, 1);
	assert_true(back.is_collapsed);
	assert_int_equal(back.dictionary, 3);
	assert_int_equal(back.sources_count, COUNT_OF(sources));
	assert_memory_equal(back.sources, sources, sizeof(sources));
	assert_int_equal(back.last_ns, 7000);
	assert_string_equal(back.tenants[0], "blue");
	assert_int_equal(back.units[0].rows, 9);
}

static void record_with_sizes_says_what_is_gone(void **state)
{
	AUTO_BUF record = { 0 };
	AUTO_WINDOW back = { 0 };
	struct key_window of = { 600, 1200, 2 };
	struct window_unit units[] = { { .type = 8,
		                               .chunks = 1,
		                               .rows = 9,
		                               .class = 4,
		                               .bytes_detail = 1000,
		                               .bytes_sums = 300 },
		{ .type = 9, .rows = 5, .is_gone = true } };
	char tenant[1][KEYS_TENANT_BYTES_MAX + 1] = { "" };
	struct window window = {
		.first_ns = 600,
		.last_ns = 600,
		.has_sizes = true,
		.bytes_watchers = 77,
		.tenants = tenant,
		.tenants_count = 1,
		.units = units,
		.units_count = 2,
	};
	window_write(&window, of, &record);
	assert_int_equal(record.bytes[8], WINDOW_VERSION_LEVELS);
	CHECK_OK(window_read(&record, of, &back));
	assert_true(back.has_sizes);
	assert_int_equal(back.bytes_watchers, 77);
	assert_int_equal(back.units[0].class, 4);
	assert_int_equal(back.units[0].bytes_detail, 1000);
	assert_int_equal(back.units[0].bytes_sums, 300);
	assert_false(back.units[0].is_gone);
	assert_true(back.units[1].is_gone);
}

static void window_of_level_0_is_a_record_of_the_first_version(void **state)
{
	AUTO_BUF record = { 0 };
	AUTO_WINDOW back = { 0 };
	struct key_window of = { 600, 1200, 2 };
	struct window window = { .first_ns = 600, .last_ns = 700, .batches = 1 };
	window_write(&window, of, &record);
	assert_int_equal(record.bytes[8], WINDOW_VERSION_PLAIN);
	CHECK_OK(window_read(&record, of, &back));
	assert_int_equal(back.level, 0);
	assert_int_equal(back.sources_count, 0);
}

static void record_of_another_level_than_its_key_is_refused(void **state)
{
	AUTO_BUF record = { 0 };
	struct window back = { 0 };
	struct window window = { .level = 2, .first_ns = 3600, .last_ns = 3600 };
	window_write(&window, hour, &record);
	assert_int_equal(window_read(&record, hour, &back), -EBADMSG);
	window = (struct window){ .first_ns = 3600, .last_ns = 3600 };
	window_write(&window, hour, &record);
	assert_int_equal(window_read(&record, hour, &back), -EBADMSG);
}

static void sources_out_of_order_or_of_the_window_are_refused(void **state)
{
	struct key_window bad[][2] = {
		{ { 4000, 5000, 0 }, { 3600, 4000, 0 } },
		{ { 3600, 4000, 0 }, { 3600, 4000, 0 } },
		{ { 3600, 4000, 0 }, { 4000, 7201, 0 } },
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		AUTO_BUF record = { 0 };
		struct window back = { 0 };
		struct window window = { .level = 1,
			.sources = bad[i],
			.sources_count = 2,
			.first_ns = 3600,
			.last_ns = 3600 };
		window_write(&window, hour, &record);
		assert_int_equal(window_read(&record, hour, &back), -EBADMSG);
	}
}

static void list_knows_what_a_window_was_made_of(void **state)
{
	struct window_list list = { 0 };
	struct window window = { .level = 1, .sources_count = COUNT_OF(sources) };
	struct window_entry entry = { .key = hour };
	window.sources = malloc(sizeof(sources));
	memcpy(window.sources, sources, sizeof(sources));
	window_describe(&window, &entry);
	assert_null(window.sources);
	CHECK_OK(window_list_reserve(&list));
	window_list_add(&list, entry);

	const struct window_entry *got = window_list_get(&list, hour);
	assert_non_null(got);
	for (size_t i = 0; i < COUNT_OF(sources); i++)
		assert_true(window_entry_has(got, sources[i]));
	assert_false(window_entry_has(got, (struct key_window){ 3600, 4200, 2 }));
	assert_null(window_list_get(&list, sources[0]));
	window_list_remove(&list, hour);
	assert_int_equal(list.count, 0);
	window_list_fini(&list);
}

static void free_generation_is_of_the_level_that_is_asked_for(void **state)
{
	struct window_list list = { 0 };
	for (uint32_t i = 0; i < 2; i++) {
		struct window_entry entry = { .key = { 3600, 7200, i } };
		CHECK_OK(window_list_reserve(&list));
		window_list_add(&list, entry);
	}
	assert_int_equal(window_list_generation(&list, 0, 3600, 7200), 2);
	assert_int_equal(window_list_generation(&list, 1, 3600, 7200), HOUR_LEVEL);
	assert_int_equal(window_list_generation(&list, 0, 0, 3600), 0);
	window_list_fini(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_of_a_rollup_comes_back_with_its_sources),
		cmocka_unit_test(record_with_sizes_says_what_is_gone),
		cmocka_unit_test(window_of_level_0_is_a_record_of_the_first_version),
		cmocka_unit_test(record_of_another_level_than_its_key_is_refused),
		cmocka_unit_test(sources_out_of_order_or_of_the_window_are_refused),
		cmocka_unit_test(list_knows_what_a_window_was_made_of),
		cmocka_unit_test(free_generation_is_of_the_level_that_is_asked_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
