/*
 * Sums of open windows: a question gets the same answer with and without them, whatever comes late,
 * goes, is sealed or lies outside of its range; and each of these is seen to use them, or not to.
 */

#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"
#include "tests/unit/storage/store_sides.h"

#define WINDOW   (600 * SECOND)
#define SERVICES 3
#define STACKS   40

/* Two stores that are given the same; only the first has sums of what is open. */
struct pair {
	struct test_dir *dirs;
	struct clock_virtual clock;
	struct store *stores[2];
	struct source sources[2];
	uint64_t seq;
};

static void pair_open(struct pair *pair, uint64_t bytes_max)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct store_options options = store_fixture_options(pair->dirs[i].path);
		options.window_ns = WINDOW;
		options.clock = &pair->clock.clock;
		options.head_sums_min = 1;
		options.head_sums_bytes_max = bytes_max;
		pair->stores[i] = store_fixture_open_with(options);
	}
}

static void pair_begin(struct pair *pair, struct test_dir dirs[2], uint64_t bytes_max)
{
	*pair = (struct pair){ .dirs = dirs };
	clock_virtual_init(&pair->clock, 0);
	clock_virtual_advance(&pair->clock, 100 * WINDOW);
	pair_open(pair, bytes_max);
	for (uint32_t i = 0; i < 2; i++)
		pair->sources[i] = source_new(pair->stores[i], 1);
}

static void pair_end(struct pair *pair)
{
	for (uint32_t i = 0; i < 2; i++) {
		source_free(&pair->sources[i]);
		store_free(pair->stores[i]);
	}
}

/* A batch of that second: a few rows of each service, by what the second is. */
static void pair_append(struct pair *pair, uint64_t at_s)
{
	pair->seq++;
	for (uint32_t i = 0; i < 2; i++) {
		struct source *source = &pair->sources[i];
		source_begin(source, at_s * SECOND, SECOND);
		for (uint32_t j = 0; j < 12; j++) {
			char service[16], instance[16], function[16];
			snprintf(service, sizeof(service), "s%u", j % SERVICES);
			snprintf(instance, sizeof(instance), "i%u", (uint32_t)(at_s + j) % 5);
			snprintf(function, sizeof(function), "f%u",
			        (uint32_t)(at_s * 7 + j) % STACKS);
			uint32_t series = source_series(source, service, instance, 10);
			CHECK_OK(batch_add_row(source->batch, series,
			        source_stack(source, function), 1 + (at_s + j) % 9));
			if (j < SERVICES)
				CHECK_OK(batch_add_coverage(source->batch, series, SECOND / 2));
		}
		CHECK_OK(batch_add_loss(source->batch, SERIES_NONE, LOSS_RING_FULL, 1));
		assert_int_equal(source_append(source, pair->stores[i], pair->seq), WIRE_OK);
	}
}

static void pair_append_range(struct pair *pair, uint64_t from_s, uint64_t to_s, uint64_t step_s)
{
	for (uint64_t at_s = from_s; at_s < to_s; at_s += step_s)
		pair_append(pair, at_s);
}

static struct store_size pair_size(const struct pair *pair)
{
	struct store_size size;
	CHECK_OK(store_size(pair->stores[0], &size));
	return size;
}

static struct store_sum ask(struct store *store, const char *text, uint64_t from_s, uint64_t to_s)
{
	AUTO(store_match) match = store_fixture_find(store, text, from_s * SECOND, to_s * SECOND);
	autofree uint32_t *groups = calloc((size_t)match->series_count + 1, sizeof(*groups));
	struct store_sum sum;
	struct store_sum_options options = {
		.from_ns = from_s * SECOND,
		.to_ns = to_s * SECOND,
		.match = match,
		.groups = groups,
		.memory_max = 64 << 20,
	};
	CHECK_OK(store_sum(store, &options, &sum));
	return sum;
}

/* Both answer alike. Returns whether sums of what is open were used. */
static bool pair_ask(struct pair *pair, const char *text, uint64_t from_s, uint64_t to_s)
{
	uint64_t before = pair_size(pair).head_sums_used;
	struct store_sum with = ask(pair->stores[0], text, from_s, to_s);
	struct store_sum without = ask(pair->stores[1], text, from_s, to_s);
	store_sums_equal(&with, &without);
	store_sum_fini(&with);
	store_sum_fini(&without);
	return pair_size(pair).head_sums_used > before;
}

#define WITH_PAIR(pair, bytes_max)                                                                 \
	TEST_DIR(dir_a);                                                                           \
	TEST_DIR(dir_b);                                                                           \
	struct test_dir dirs[2] = { dir_a, dir_b };                                                \
	struct pair pair;                                                                          \
	pair_begin(&(pair), dirs, bytes_max)

static void answers_are_those_of_the_batches(void **state)
{
	WITH_PAIR(pair, 0);
	pair_append_range(&pair, 60000, 60300, 10);
	assert_false(pair_ask(&pair, "cpu", 0, 100000));
	store_sum_heads(pair.stores[0]);
	assert_int_equal(pair_size(&pair).head_sums_rows, 30 * 12);
	CHECK(pair_size(&pair).head_sums_memory > 0);
	assert_true(pair_ask(&pair, "cpu", 0, 100000));
	assert_true(pair_ask(&pair, "cpu{service=\"s1\"}", 59999, 60300));
	assert_true(pair_ask(&pair, "cpu{service=\"nobody\"}", 0, 100000));
	/* Instances share a bucket or not: sums tell them apart or not. */
	for (uint32_t i = 0; i < 5; i++) {
		char text[64];
		snprintf(text, sizeof(text), "cpu{instance=\"i%u\"}", i);
		(void)pair_ask(&pair, text, 0, 100000);
	}
	pair_end(&pair);
}

static void what_comes_later_or_in_between_is_read_beside(void **state)
{
	WITH_PAIR(pair, 0);
	pair_append_range(&pair, 60005, 60300, 10);
	store_sum_heads(pair.stores[0]);
	pair_append(&pair, 60100); /* between */
	pair_append(&pair, 60001); /* before all */
	pair_append(&pair, 60590); /* behind */
	pair_append(&pair, 61000); /* in a window without sums */
	assert_true(pair_ask(&pair, "cpu", 0, 100000));
	for (uint32_t i = 0; i < 40; i++) {
		pair_append(&pair, 60010 + 13 * i);
		store_sum_heads(pair.stores[0]);
		assert_true(pair_ask(&pair, "cpu", 60000, 60600));
	}
	/* Segments of any sizes, none of which has a row twice. */
	store_sum_heads(pair.stores[0]);
	assert_int_equal(pair_size(&pair).head_sums_rows, (30 + 4 + 40) * 12);
	pair_end(&pair);
}

static void a_range_that_cuts_what_is_added_up_reads_batches(void **state)
{
	WITH_PAIR(pair, 0);
	pair_append_range(&pair, 60100, 60300, 10);
	store_sum_heads(pair.stores[0]);
	assert_true(pair_ask(&pair, "cpu", 60100, 60291));
	assert_false(pair_ask(&pair, "cpu", 60100, 60290));
	assert_false(pair_ask(&pair, "cpu", 60101, 60600));
	assert_false(pair_ask(&pair, "cpu", 60150, 60160));
	pair_append(&pair, 60050);
	assert_true(pair_ask(&pair, "cpu", 60060, 60600)); /* without the fresh one */
	pair_end(&pair);
}

static void a_seal_takes_their_place(void **state)
{
	WITH_PAIR(pair, 0);
	pair_append_range(&pair, 60000, 60300, 10);
	store_sum_heads(pair.stores[0]);
	for (uint32_t i = 0; i < 2; i++)
		CHECK_OK(store_seal(pair.stores[i], 60600 * SECOND));
	assert_int_equal(pair_size(&pair).head_sums_memory, 0);
	assert_int_equal(pair_size(&pair).head_sums_dropped, 1);
	assert_false(pair_ask(&pair, "cpu", 0, 100000));
	/* What comes late has sums beside those that are sealed. */
	pair_append_range(&pair, 60005, 60200, 10);
	store_sum_heads(pair.stores[0]);
	assert_true(pair_ask(&pair, "cpu", 0, 100000));
	for (uint32_t i = 0; i < 2; i++) {
		CHECK_OK(store_seal(pair.stores[i], 60600 * SECOND));
		CHECK_OK(store_roll(pair.stores[i], 100000 * SECOND));
	}
	pair_append(&pair, 60007); /* beside an hour */
	store_sum_heads(pair.stores[0]);
	assert_true(pair_ask(&pair, "cpu", 0, 100000));
	assert_true(pair_ask(&pair, "cpu{service!=\"s1\"}", 0, 100000));
	pair_end(&pair);
}

static void what_is_deleted_is_not_added_up(void **state)
{
	WITH_PAIR(pair, 0);
	uint64_t batches;
	pair_append_range(&pair, 60000, 60300, 10);
	pair_append_range(&pair, 60600, 60900, 10);
	store_sum_heads(pair.stores[0]);
	for (uint32_t i = 0; i < 2; i++)
		CHECK_OK(store_delete_range(
		        pair.stores[i], 60100 * SECOND, 60200 * SECOND, &batches));
	assert_false(pair_ask(&pair, "cpu", 0, 100000));
	store_sum_heads(pair.stores[0]);
	assert_true(pair_ask(&pair, "cpu", 0, 100000));
	assert_int_equal(pair_size(&pair).head_sums_rows, 50 * 12);
	pair_end(&pair);
}

static void what_is_forgotten_on_request_is_not_added_up(void **state)
{
	WITH_PAIR(pair, 0);
	pair_append_range(&pair, 60000, 60300, 10);
	store_sum_heads(pair.stores[0]);
	for (uint32_t i = 0; i < 2; i++) {
		struct store_forget_options options = {
			.to_ns = 100000 * SECOND,
			.service = "s1",
		};
		struct store_forgotten forgotten = { 0 };
		CHECK_OK(store_forget(pair.stores[i], &options, &forgotten));
		CHECK(forgotten.open_rows > 0);
	}
	assert_false(pair_ask(&pair, "cpu", 0, 100000));
	store_sum_heads(pair.stores[0]);
	assert_true(pair_ask(&pair, "cpu", 0, 100000));
	assert_int_equal(
	        store_fixture_total(pair.stores[0], "cpu{service=\"s1\"}", 0, UINT64_MAX), 0);
	pair_end(&pair);
}

static void they_stay_within_their_memory_and_the_oldest_give_way(void **state)
{
	WITH_PAIR(pair, 7000);
	for (uint64_t i = 0; i < 10; i++) {
		pair_append_range(&pair, 60000 + 600 * i, 60300 + 600 * i, 10);
		store_sum_heads(pair.stores[0]);
		CHECK(pair_size(&pair).head_sums_memory < 7000 + 10 * 2048);
		assert_true(pair_ask(&pair, "cpu", 60000 + 600 * i, 60600 + 600 * i));
		(void)pair_ask(&pair, "cpu", 0, 100000);
	}
	assert_false(pair_ask(&pair, "cpu", 60000, 60600));
	CHECK(pair_size(&pair).head_sums_rows < 10 * 30 * 12);
	pair_end(&pair);
}

static void a_restart_begins_without(void **state)
{
	WITH_PAIR(pair, 0);
	pair_append_range(&pair, 60000, 60300, 10);
	store_sum_heads(pair.stores[0]);
	for (uint32_t i = 0; i < 2; i++)
		store_free(pair.stores[i]);
	pair_open(&pair, 0);
	assert_false(pair_ask(&pair, "cpu", 0, 100000));
	/* The next batch makes the window known, and all that is in it. */
	pair_append(&pair, 60400);
	store_sum_heads(pair.stores[0]);
	assert_int_equal(pair_size(&pair).head_sums_rows, 31 * 12);
	assert_true(pair_ask(&pair, "cpu", 0, 100000));
	pair_end(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_those_of_the_batches),
		cmocka_unit_test(what_comes_later_or_in_between_is_read_beside),
		cmocka_unit_test(a_range_that_cuts_what_is_added_up_reads_batches),
		cmocka_unit_test(a_seal_takes_their_place),
		cmocka_unit_test(what_is_deleted_is_not_added_up),
		cmocka_unit_test(what_is_forgotten_on_request_is_not_added_up),
		cmocka_unit_test(they_stay_within_their_memory_and_the_oldest_give_way),
		cmocka_unit_test(a_restart_begins_without),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
