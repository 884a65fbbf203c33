/*
 * What runs hide, in memory and as records.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/rng.h"
#include "storage/expiry.h"
#include "tests/lib/test.h"

static const struct key_window hour = { 3600, 7200, 1u << 24 };

static struct expiry_run run_of(uint64_t id, const struct expiry_item *items, uint32_t count)
{
	struct expiry_run run = { .run = { .id = id, .hidden_ns = 10 * id, .erase_ns = 20 * id },
		.items_count = count };
	run.items = calloc(count + 1, sizeof(*items));
	for (uint32_t i = 0; i < count; i++)
		run.items[i] = items[i];
	snprintf(run.run.note, sizeof(run.run.note), "run %d", (int)id);
	return run;
}

static void add(struct expiry *expiry, struct expiry_run run)
{
	CHECK_OK(expiry_reserve(expiry, run.items_count));
	expiry_add(expiry, &run);
}

static void parts_of_all_runs_are_joined_and_go_with_their_run(void **state)
{
	struct expiry expiry = { 0 };
	struct expiry_item detail[] = { { { 0, 600, 0 }, 3, STORE_PART_DETAIL },
		{ { 0, 600, 0 }, 4, STORE_PART_DETAIL } };
	struct expiry_item sums[] = { { { 0, 600, 0 }, 3, STORE_PART_ALL },
		{ hour, KEYS_UNIT_NONE, STORE_PART_ALL } };
	add(&expiry, run_of(7, detail, 2));
	add(&expiry, run_of(5, sums, 2));

	assert_int_equal(
	        expiry_parts(&expiry, (struct key_window){ 0, 600, 0 }, 3), STORE_PART_ALL);
	assert_int_equal(
	        expiry_parts(&expiry, (struct key_window){ 0, 600, 0 }, 4), STORE_PART_DETAIL);
	assert_int_equal(expiry_parts(&expiry, (struct key_window){ 0, 600, 0 }, 5), 0);
	assert_int_equal(expiry_parts(&expiry, (struct key_window){ 0, 600, 1 }, 3), 0);
	assert_int_equal(expiry_parts(&expiry, hour, 99), STORE_PART_ALL);
	assert_true(expiry_has_window(&expiry, hour));
	assert_false(expiry_has_window(&expiry, (struct key_window){ 0, 600, 0 }));
	assert_int_equal(expiry.runs[0].run.id, 5);

	expiry_remove(&expiry, 5);
	assert_int_equal(
	        expiry_parts(&expiry, (struct key_window){ 0, 600, 0 }, 3), STORE_PART_DETAIL);
	assert_false(expiry_has_window(&expiry, hour));
	expiry_remove(&expiry, 7);
	assert_int_equal(expiry.items_count, 0);
	assert_null(expiry_find(&expiry, 7));
	expiry_fini(&expiry);
}

static void numbers_that_a_run_speaks_of_are_not_given_anew(void **state)
{
	struct expiry expiry = { 0 };
	struct expiry_item items[] = { { { 0, 600, 0 }, KEYS_UNIT_NONE, STORE_PART_ALL },
		{ { 0, 600, 1 }, 2, STORE_PART_DETAIL }, { { 0, 600, 3 }, 2, STORE_PART_DETAIL } };
	add(&expiry, run_of(1, items, 3));
	assert_int_equal(expiry_free_number(&expiry, (struct key_window){ 0, 600, 0 }), 2);
	assert_int_equal(expiry_free_number(&expiry, (struct key_window){ 0, 600, 3 }), 4);
	assert_int_equal(expiry_free_number(&expiry, (struct key_window){ 0, 601, 0 }), 0);
	expiry_fini(&expiry);
}

static void many_runs_hide_what_a_plain_table_says(void **state)
{
	enum { WINDOWS = 20, UNITS = 6, RUNS = 12 };
	uint8_t table[RUNS][WINDOWS][UNITS] = { 0 };
	struct expiry expiry = { 0 };
	struct rng rng;
	rng_init(&rng, 4);
	for (uint64_t step = 0; step < 400; step++) {
		uint32_t run = rng_below(&rng, RUNS);
		if (expiry_find(&expiry, run + 1)) {
			expiry_remove(&expiry, run + 1);
			memset(table[run], 0, sizeof(table[run]));
		} else {
			struct expiry_item items[WINDOWS * UNITS];
			uint32_t count = 0;
			for (uint32_t i = 0; i < WINDOWS * UNITS; i++) {
				if (rng_below(&rng, 3) > 0)
					continue;
				uint8_t parts = rng_below(&rng, 2) ? STORE_PART_ALL
				                                   : STORE_PART_DETAIL;
				table[run][i / UNITS][i % UNITS] = parts;
				items[count++] = (struct expiry_item){
					{ i / UNITS * 600, i / UNITS * 600 + 600, 0 }, i % UNITS,
					parts
				};
			}
			add(&expiry, run_of(run + 1, items, count));
		}
		for (uint32_t i = 0; i < WINDOWS * UNITS; i++) {
			uint32_t wanted = 0;
			for (uint32_t j = 0; j < RUNS; j++)
				wanted |= table[j][i / UNITS][i % UNITS];
			struct key_window window = { i / UNITS * 600, i / UNITS * 600 + 600, 0 };
			assert_int_equal(expiry_parts(&expiry, window, i % UNITS), wanted);
		}
	}
	expiry_fini(&expiry);
}

static void a_run_is_read_as_it_was_written_and_no_flipped_bit_is(void **state)
{
	struct expiry_item items[] = { { { 0, 600, 0 }, 3, STORE_PART_DETAIL },
		{ { 0, 600, 0 }, KEYS_UNIT_NONE, STORE_PART_ALL }, { hour, 0, STORE_PART_ALL } };
	AUTO_EXPIRY_RUN run = run_of(9, items, 3);
	AUTO_BUF value = { 0 };
	uint8_t key_bytes[EXPIRY_KEY_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	uint64_t id;
	run.is_erasing = true;
	run.hidden = (struct store_expired){ { 1, 0, 2 }, { 3, 4, 5 }, 6, 7, 8, 9 };
	expiry_put_key(9, key_bytes);
	CHECK_OK(expiry_get_key(key_bytes, sizeof(key_bytes), &id));
	assert_int_equal(id, 9);
	expiry_put_run(&run, key, &value);

	AUTO_EXPIRY_RUN read = { 0 };
	CHECK_OK(expiry_get_run(key, (struct kv_bytes){ value.bytes, value.count }, &read));
	assert_int_equal(read.items_count, 3);
	assert_true(read.is_erasing);
	assert_memory_equal(&read.hidden, &run.hidden, sizeof(run.hidden));
	assert_string_equal(read.run.note, "run 9");
	assert_int_equal(read.run.erase_ns, 180);
	for (int i = 0; i < 3; i++)
		assert_int_equal(expiry_item_compare(&read.items[i], &items[i]), 0);

	for (size_t bit = 0; bit < 8 * value.count; bit++) {
		AUTO_EXPIRY_RUN wrong = { 0 };
		value.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CHECK(expiry_get_run(key, (struct kv_bytes){ value.bytes, value.count }, &wrong) <
		        0);
		value.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(expiry_get_key(key_bytes, 7, &id), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_of_all_runs_are_joined_and_go_with_their_run),
		cmocka_unit_test(numbers_that_a_run_speaks_of_are_not_given_anew),
		cmocka_unit_test(many_runs_hide_what_a_plain_table_says),
		cmocka_unit_test(a_run_is_read_as_it_was_written_and_no_flipped_bit_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
