/* Generations of the dictionary: when one begins, what is of which, and what goes with the data. */

#include <errno.h>

#include "storage/kv.h"
#include "tests/unit/storage/kv_fixture.h"
#include "tests/unit/storage/store_fixture.h"

#define DAY      (86400 * SECOND)
#define BEGIN_NS (1700000000 * SECOND)

struct place {
	struct test_dir *dir;
	struct store *store;
	struct clock_virtual clock;
	struct store_options options;
};

static void place_open(struct place *place, struct test_dir *dir)
{
	*place = (struct place){ .dir = dir, .options = store_fixture_options(dir->path) };
	clock_virtual_init(&place->clock, BEGIN_NS);
	place->options.clock = &place->clock.clock;
	place->options.window_ns = 600 * SECOND;
	place->store = store_fixture_open_with(place->options);
}

static void place_reopen(struct place *place)
{
	store_free(place->store);
	place->store = store_fixture_open_with(place->options);
}

static uint64_t now_of(struct place *place)
{
	return clock_unix_ns(&place->clock.clock);
}

/* One function of one service, now. */
static uint32_t append(struct place *place, struct source *source, const char *service,
        const char *function, uint64_t seq, uint64_t value)
{
	uint32_t series = source_series(source, service, "a", 1);
	source_begin(source, now_of(place), 10 * SECOND);
	CHECK_OK(batch_add_row(source->batch, series, source_stack(source, function), value));
	CHECK_OK(batch_add_coverage(source->batch, series, 9 * SECOND));
	return source_append(source, place->store, seq);
}

static struct store_size size_of(struct place *place)
{
	struct store_size size;
	CHECK_OK(store_size(place->store, &size));
	return size;
}

/* Keys of a family; the store is closed meanwhile. */
static uint32_t count_keys(struct place *place, enum kv_family family)
{
	store_free(place->store);
	uint32_t count = kv_fixture_count(place->dir->path, family);
	place->store = store_fixture_open_with(place->options);
	return count;
}

static void forget_all_before(struct place *place, uint64_t to_ns)
{
	uint64_t batches;
	CHECK_OK(store_delete_range(place->store, 0, to_ns, &batches));
}

static uint64_t value_of(struct place *place, const char *text)
{
	return store_fixture_value(place->store, text, 0, UINT64_MAX);
}

static void a_dictionary_of_some_days_gives_way_also_over_restarts(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_open(&place, &dir);
	struct source source = source_new(place.store, 1);
	for (uint64_t day = 0; day < 16; day++) {
		char function[16];
		snprintf(function, sizeof(function), "f%u", (unsigned)day);
		assert_int_equal(append(&place, &source, "cart", function, day + 1, 1), WIRE_OK);
		CHECK_OK(store_collect(place.store));
		assert_int_equal(size_of(&place).generations, 1 + day / 7);
		clock_virtual_advance(&place.clock, DAY);
		place_reopen(&place);
	}
	/* The same series and instance in each of them is one. */
	struct store_sum sum = store_fixture_sum(place.store, "cpu", 0, UINT64_MAX);
	assert_int_equal(sum.parts_count, 3);
	assert_int_equal(sum.completeness.series, 1);
	assert_int_equal(sum.completeness.instances, 1);
	assert_int_equal(sum.completeness.observers, 1);
	assert_int_equal(sum.completeness.intervals, 16);
	assert_int_equal(sum.completeness.value, 16);
	assert_int_equal(sum.completeness.coverage_ns, 16 * 9 * SECOND);
	store_sum_fini(&sum);

	/* Two days of one generation need no other. */
	struct store_match *match = store_fixture_find(
	        place.store, "cpu", BEGIN_NS + 7 * DAY, BEGIN_NS + 9 * DAY);
	assert_int_equal(match->parts_count, 1);
	assert_int_equal(match->parts[0].generation, 1);
	store_match_free(match);
	source_free(&source);
	store_free(place.store);
}

static void a_window_of_two_generations_is_sealed_as_two(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_open(&place, &dir);
	place.options.generation_nodes = 3;
	place_reopen(&place);
	struct source source = source_new(place.store, 1);
	for (uint64_t seq = 1; seq <= 4; seq++) {
		char function[16];
		snprintf(function, sizeof(function), "f%u", (unsigned)seq);
		assert_int_equal(append(&place, &source, "cart", function, seq, seq), WIRE_OK);
		clock_virtual_advance(&place.clock, 10 * SECOND);
	}
	uint64_t generations = size_of(&place).generations;
	assert_true(generations > 1);
	struct store_sum open = store_fixture_sum(place.store, "cpu", 0, UINT64_MAX);
	CHECK_OK(store_seal(place.store, UINT64_MAX));
	assert_int_equal(size_of(&place).windows, generations);
	struct store_sum sealed = store_fixture_sum(place.store, "cpu", 0, UINT64_MAX);
	assert_int_equal(sealed.completeness.value, open.completeness.value);
	assert_int_equal(sealed.completeness.coverage_ns, open.completeness.coverage_ns);
	assert_int_equal(sealed.completeness.missing_ns, open.completeness.missing_ns);
	assert_int_equal(sealed.completeness.series, open.completeness.series);
	assert_int_equal(sealed.completeness.value, 1 + 2 + 3 + 4);
	assert_int_equal(sealed.completeness.intervals, 4);
	store_sum_fini(&open);
	store_sum_fini(&sealed);

	/* What is sealed of any of them is not kept again. */
	assert_int_equal(append(&place, &source, "cart", "f1", 1, 1), WIRE_DUP);
	place_reopen(&place);
	assert_int_equal(value_of(&place, "cpu"), 10);
	source_free(&source);
	store_free(place.store);
}

static void a_generation_goes_with_the_last_of_its_data(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_open(&place, &dir);
	struct source source = source_new(place.store, 1);
	uint32_t unused;
	assert_int_equal(append(&place, &source, "old", "gone", 1, 5), WIRE_OK);
	struct source with_module = source_new(place.store, 2);
	struct module module = { .name = source_string(&with_module, "libold.so"),
		.build_id = source_string(&with_module, "0123") };
	CHECK_OK(dict_module(with_module.dict, &module, &unused));
	struct frame frame = { .kind = FRAME_NATIVE, .module = unused, .address = 16 };
	CHECK_OK(dict_frame(with_module.dict, &frame, &unused));
	uint32_t node;
	CHECK_OK(dict_stack(with_module.dict, &unused, 1, &node));
	source_begin(&with_module, now_of(&place), 10 * SECOND);
	CHECK_OK(batch_add_row(
	        with_module.batch, source_series(&with_module, "old", "b", 1), node, 1));
	assert_int_equal(source_append(&with_module, place.store, 1), WIRE_OK);
	CHECK_OK(store_symbols_put(place.store, "0123", NULL, 0));
	CHECK_OK(store_seal(place.store, UINT64_MAX));

	clock_virtual_advance(&place.clock, 8 * DAY);
	assert_int_equal(append(&place, &source, "new", "stays", 2, 7), WIRE_OK);
	CHECK_OK(store_collect(place.store));
	assert_int_equal(size_of(&place).generations, 2);
	assert_int_equal(value_of(&place, "cpu"), 13);

	/* A question that was asked before still knows what it found. */
	struct store_match *match = store_fixture_find(
	        place.store, "cpu{service=\"old\"}", 0, UINT64_MAX);
	forget_all_before(&place, BEGIN_NS + DAY);
	CHECK_OK(store_collect(place.store));
	assert_int_equal(size_of(&place).generations, 1);
	assert_int_equal(match->parts[0].series_count, 2);
	uint32_t name = dict_find_string(match->parts[0].dict, "service", 7);
	assert_string_equal(
	        dict_text(match->parts[0].dict,
	                dict_label_value(match->parts[0].dict, match->parts[0].series[0], name)),
	        "old");
	store_match_free(match);

	assert_int_equal(store_symbols_has(place.store, "0123"), -1);
	assert_int_equal(value_of(&place, "cpu"), 7);
	assert_int_equal(count_keys(&place, KV_DICT), 1);
	assert_int_equal(count_keys(&place, KV_SYMBOLS), 0);
	assert_int_equal(size_of(&place).generations, 1);
	assert_int_equal(value_of(&place, "cpu{service=\"new\"}"), 7);
	assert_int_equal(append(&place, &source, "new", "gone", 3, 1), WIRE_OK);
	assert_int_equal(value_of(&place, "cpu"), 8);
	source_free(&source);
	source_free(&with_module);
	store_free(place.store);
}

/* One sample in a file of that build-id, now. */
static void append_native(struct place *place, struct source *source, const char *build_id)
{
	uint32_t frame_id, node;
	struct module module = { .name = source_string(source, build_id),
		.build_id = source_string(source, build_id) };
	struct frame frame = { .kind = FRAME_NATIVE, .address = 16 };
	CHECK_OK(dict_module(source->dict, &module, &frame.module));
	CHECK_OK(dict_frame(source->dict, &frame, &frame_id));
	CHECK_OK(dict_stack(source->dict, &frame_id, 1, &node));
	source_begin(source, now_of(place), 10 * SECOND);
	CHECK_OK(batch_add_row(source->batch, source_series(source, "cart", "a", 1), node, 1));
	assert_int_equal(source_append(source, place->store, ++source->stream.seq), WIRE_OK);
	CHECK_OK(store_symbols_put(place->store, build_id, NULL, 0));
}

/* Of three generations, of which the one in the middle is asked by nobody else. */
static void symbols_stay_while_any_generation_speaks_of_them(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_open(&place, &dir);
	struct source source = source_new(place.store, 1);
	append_native(&place, &source, "aaaa");
	append_native(&place, &source, "bbbb");
	append_native(&place, &source, "cccc");
	clock_virtual_advance(&place.clock, 8 * DAY);
	append_native(&place, &source, "bbbb");
	clock_virtual_advance(&place.clock, 8 * DAY);
	append_native(&place, &source, "cccc");
	CHECK_OK(store_seal(place.store, UINT64_MAX));
	assert_int_equal(size_of(&place).generations, 3);

	forget_all_before(&place, BEGIN_NS + DAY);
	CHECK_OK(store_collect(place.store));
	assert_int_equal(size_of(&place).generations, 2);
	assert_int_equal(store_symbols_has(place.store, "aaaa"), -1);
	assert_int_equal(store_symbols_has(place.store, "bbbb"), 0);
	assert_int_equal(store_symbols_has(place.store, "cccc"), 0);

	forget_all_before(&place, BEGIN_NS + 9 * DAY);
	CHECK_OK(store_collect(place.store));
	assert_int_equal(store_symbols_has(place.store, "bbbb"), -1);
	assert_int_equal(store_symbols_has(place.store, "cccc"), 0);
	assert_int_equal(count_keys(&place, KV_SYMBOLS), 1);
	source_free(&source);
	store_free(place.store);
}

static void what_is_open_keeps_its_generation(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_open(&place, &dir);
	struct source source = source_new(place.store, 1);
	assert_int_equal(append(&place, &source, "old", "f", 1, 5), WIRE_OK);
	clock_virtual_advance(&place.clock, 8 * DAY);
	assert_int_equal(append(&place, &source, "new", "f", 2, 7), WIRE_OK);
	for (int i = 0; i < 3; i++) {
		CHECK_OK(store_collect(place.store));
		assert_int_equal(size_of(&place).generations, 2);
		assert_int_equal(value_of(&place, "cpu"), 12);
		if (i == 1)
			place_reopen(&place);
	}
	forget_all_before(&place, BEGIN_NS + DAY);
	CHECK_OK(store_collect(place.store));
	assert_int_equal(size_of(&place).generations, 1);
	source_free(&source);
	store_free(place.store);
}

static int count_agents(void *owner, const struct store_agent *agent)
{
	++*(uint32_t *)owner;
	return 0;
}

static void streams_and_agents_go_and_what_they_may_send_again_is_refused(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_open(&place, &dir);
	struct source old = source_new(place.store, 1);
	struct source new = source_new(place.store, 2);
	struct store_agent agent = { .uuid = { .bytes = { 1 } } };
	uint32_t agents = 0;
	agent.first_seen_ns = agent.last_seen_ns = now_of(&place);
	CHECK_OK(store_agent_put(place.store, &agent));
	assert_int_equal(append(&place, &old, "old", "f", 1, 5), WIRE_OK);
	assert_int_equal(append(&place, &new, "new", "f", 1, 5), WIRE_OK);
	assert_int_equal(count_keys(&place, KV_STREAM), 2);

	clock_virtual_advance(&place.clock, 8 * DAY);
	agent.uuid.bytes[0] = 2;
	agent.first_seen_ns = agent.last_seen_ns = now_of(&place);
	CHECK_OK(store_agent_put(place.store, &agent));
	assert_int_equal(append(&place, &new, "new", "f", 2, 7), WIRE_OK);
	forget_all_before(&place, BEGIN_NS + DAY);
	CHECK_OK(store_collect(place.store));
	assert_int_equal(count_keys(&place, KV_STREAM), 1);
	CHECK_OK(store_agents(place.store, count_agents, &agents));
	assert_int_equal(agents, 1);

	/* The batch of then comes again: from an agent it is refused, an importer may mean it. */
	uint32_t series = source_series(&old, "old", "a", 1);
	source_begin(&old, BEGIN_NS, 10 * SECOND);
	CHECK_OK(batch_add_row(old.batch, series, source_stack(&old, "f"), 5));
	struct store_append again = source_section(&old, 1);
	struct store_counters counters;
	again.refuse_late = true;
	CHECK_OK(store_append(place.store, &again, 1));
	assert_int_equal(again.ret_status, WIRE_REJECT);
	assert_non_null(strstr(again.ret_reason, "late-max"));
	place_reopen(&place);
	CHECK_OK(store_counters(place.store, "", &counters));
	assert_int_equal(counters.batches_late, 1);
	assert_int_equal(counters.batches, 3);
	assert_int_equal(value_of(&place, "cpu"), 7);
	again.refuse_late = false;
	CHECK_OK(store_append(place.store, &again, 1));
	assert_int_equal(again.ret_status, WIRE_OK);
	CHECK_OK(store_append(place.store, &again, 1));
	assert_int_equal(again.ret_status, WIRE_DUP);
	assert_int_equal(value_of(&place, "cpu"), 12);

	/* Its number was free, and is its own again: each is still told from the other. */
	assert_int_equal(count_keys(&place, KV_STREAM), 2);
	assert_int_equal(append(&place, &new, "new", "f", 2, 7), WIRE_DUP);
	struct store_sum sum = store_fixture_sum(place.store, "cpu", 0, UINT64_MAX);
	assert_int_equal(sum.completeness.observers, 2);
	assert_int_equal(sum.completeness.corrupt, 0);
	store_sum_fini(&sum);
	source_free(&old);
	source_free(&new);
	store_free(place.store);
}

/* What it sent in the beginning comes again, as after a reply that was lost. */
static uint32_t again(struct place *place, struct source *source)
{
	source_begin(source, BEGIN_NS, 10 * SECOND);
	CHECK_OK(batch_add_row(
	        source->batch, source_series(source, "old", "a", 1), source_stack(source, "f"), 5));
	struct store_append append = source_section(source, 1);
	append.refuse_late = true;
	CHECK_OK(store_append(place->store, &append, 1));
	return append.ret_status;
}

static uint32_t agents_of(struct place *place)
{
	uint32_t agents = 0;
	CHECK_OK(store_agents(place->store, count_agents, &agents));
	return agents;
}

/* Although its data is gone, and the generation of it; and so is who sent it. */
static void a_stream_is_known_for_as_long_as_it_may_send_again(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_open(&place, &dir);
	place.options.generation_ns = DAY;
	place.options.late_max_ns = 3 * DAY;
	place_reopen(&place);
	struct source old = source_new(place.store, 1);
	struct source new = source_new(place.store, 2);
	struct store_agent agent = { .uuid = { .bytes = { 1 } }, .tenant = "" };
	agent.first_seen_ns = agent.last_seen_ns = now_of(&place);
	CHECK_OK(store_agent_put(place.store, &agent));
	assert_int_equal(append(&place, &old, "old", "f", 1, 5), WIRE_OK);
	clock_virtual_advance(&place.clock, 2 * DAY);
	assert_int_equal(append(&place, &new, "new", "f", 1, 7), WIRE_OK);
	forget_all_before(&place, BEGIN_NS + DAY);
	for (int moment = 0; moment < 2; moment++) {
		CHECK_OK(store_collect(place.store));
		assert_int_equal(size_of(&place).generations, 1);
		assert_int_equal(size_of(&place).streams, 2);
		assert_int_equal(agents_of(&place), 1);
		assert_int_equal(again(&place, &old), WIRE_DUP);
		/* The last moment: late-max behind its end. */
		if (moment == 0)
			clock_virtual_advance(&place.clock, DAY + 10 * SECOND);
	}
	clock_virtual_advance(&place.clock, 1);
	CHECK_OK(store_collect(place.store));
	assert_int_equal(size_of(&place).streams, 1);
	assert_int_equal(agents_of(&place), 0);
	assert_int_equal(again(&place, &old), WIRE_REJECT);
	assert_int_equal(value_of(&place, "cpu"), 7);
	source_free(&old);
	source_free(&new);
	store_free(place.store);
}

static void many_streams_come_and_go_and_numbers_do_not_grow(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_open(&place, &dir);
	place.options.generation_ns = DAY;
	place.options.late_max_ns = DAY / 2;
	place_reopen(&place);
	struct source stays = source_new(place.store, 200);
	uint64_t bytes = 0;
	for (uint64_t day = 0; day < 12; day++) {
		for (uint8_t i = 0; i < 20; i++) {
			struct source source = source_new(place.store, (uint8_t)(day * 20 + i));
			source.stream.epoch = 10 + day;
			assert_int_equal(append(&place, &source, "s", "f", 1, 1), WIRE_OK);
			source_free(&source);
		}
		assert_int_equal(append(&place, &stays, "s", "f", day + 1, 1), WIRE_OK);
		CHECK_OK(store_seal(place.store, UINT64_MAX));
		forget_all_before(&place, now_of(&place));
		CHECK_OK(store_collect(place.store));
		assert_true(size_of(&place).generations <= 2);
		assert_int_equal(value_of(&place, "cpu"), 21);
		if (day == 6)
			bytes = count_keys(&place, KV_STREAM);
		clock_virtual_advance(&place.clock, DAY + 3600 * SECOND);
	}
	assert_int_equal(count_keys(&place, KV_STREAM), bytes);
	assert_true(bytes <= 3 * 20 + 1);
	assert_int_equal(append(&place, &stays, "s", "f", 1, 1), WIRE_DUP);
	source_free(&stays);
	store_free(place.store);
}

static void a_service_past_its_cap_of_new_stacks_is_folded_and_loses_nothing(void **state)
{
	TEST_DIR(dir);
	struct place place;
	struct store_counters counters;
	place_open(&place, &dir);
	place.options.service_stacks_max = 3;
	place_reopen(&place);
	struct source source = source_new(place.store, 1);
	for (uint64_t i = 1; i <= 10; i++) {
		char function[16];
		snprintf(function, sizeof(function), "f%u", (unsigned)i);
		assert_int_equal(append(&place, &source, "wild", function, i, 1), WIRE_OK);
	}
	assert_int_equal(append(&place, &source, "calm", "f5", 11, 1), WIRE_OK);
	/* Known ones are themselves. */
	assert_int_equal(append(&place, &source, "wild", "f2", 12, 100), WIRE_OK);
	struct store_sum sum = store_fixture_sum(
	        place.store, "cpu{service=\"wild\"}", 0, UINT64_MAX);
	assert_int_equal(sum.completeness.value, 110);
	/* f1 to f3, and main for the other seven. */
	assert_int_equal(sum.parts[0].rows_count, 4);
	store_sum_fini(&sum);
	CHECK_OK(store_counters(place.store, "", &counters));
	assert_int_equal(counters.samples_folded, 7);
	assert_int_equal(counters.samples, 111);

	/* In the next window it may say something new again. */
	clock_virtual_advance(&place.clock, 600 * SECOND);
	assert_int_equal(append(&place, &source, "wild", "f9", 13, 1), WIRE_OK);
	place_reopen(&place);
	CHECK_OK(store_counters(place.store, "", &counters));
	assert_int_equal(counters.samples_folded, 7);
	sum = store_fixture_sum(place.store, "cpu{service=\"wild\"}", 0, UINT64_MAX);
	assert_int_equal(sum.parts[0].rows_count, 5);
	store_sum_fini(&sum);
	source_free(&source);
	store_free(place.store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dictionary_of_some_days_gives_way_also_over_restarts),
		cmocka_unit_test(a_window_of_two_generations_is_sealed_as_two),
		cmocka_unit_test(a_generation_goes_with_the_last_of_its_data),
		cmocka_unit_test(symbols_stay_while_any_generation_speaks_of_them),
		cmocka_unit_test(what_is_open_keeps_its_generation),
		cmocka_unit_test(streams_and_agents_go_and_what_they_may_send_again_is_refused),
		cmocka_unit_test(a_stream_is_known_for_as_long_as_it_may_send_again),
		cmocka_unit_test(many_streams_come_and_go_and_numbers_do_not_grow),
		cmocka_unit_test(a_service_past_its_cap_of_new_stacks_is_folded_and_loses_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
