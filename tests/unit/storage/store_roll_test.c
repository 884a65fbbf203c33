/*
 * Rollups: answers are the same from them as from what they were made of, what comes late is added,
 * what nothing finer is left of says so, and stacks that were rarely seen go to an ancestor.
 */

#include <errno.h>

#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW (60 * SECOND)
#define HOUR   (4 * WINDOW) /* of these tests */
#define DAY    (2 * HOUR)

struct rolling {
	struct store *store;
	struct source source;
	uint64_t seq;
	uint64_t runs;
};

static void rolling_begin(struct rolling *rolling, const char *path, uint64_t fold_day)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW;
	options.roll_ns[0] = HOUR;
	options.roll_ns[1] = DAY;
	options.fold_below[1] = fold_day;
	rolling->store = store_fixture_open_with(options);
	rolling->source = source_new(rolling->store, 1);
}

static void rolling_end(struct rolling *rolling)
{
	source_free(&rolling->source);
	store_free(rolling->store);
}

static void rolling_append(struct rolling *rolling, const char *instance, const char *function,
        uint64_t start_ns, uint64_t value)
{
	source_begin(&rolling->source, start_ns, 10 * SECOND);
	uint32_t series = source_series(&rolling->source, "cart", instance, 7);
	CHECK_OK(batch_add_row(
	        rolling->source.batch, series, source_stack(&rolling->source, function), value));
	CHECK_OK(batch_add_coverage(rolling->source.batch, series, 9 * SECOND));
	CHECK_OK(batch_add_loss(rolling->source.batch, series, LOSS_RING_FULL, 2));
	CHECK_OK(batch_add_loss(rolling->source.batch, SERIES_NONE, LOSS_PERF_LOST, 3));
	assert_int_equal(source_append(&rolling->source, rolling->store, ++rolling->seq), WIRE_OK);
}

/* Two batches of two instances in every window of a day, sealed. */
static void rolling_fill(struct rolling *rolling)
{
	for (uint64_t at = 0; at < DAY; at += WINDOW) {
		rolling_append(rolling, "a", "work", at, 5);
		rolling_append(rolling, "b", "rest", at + 20 * SECOND, 6);
	}
	CHECK_OK(store_seal(rolling->store, UINT64_MAX));
}

static uint64_t rolling_rollups(struct rolling *rolling)
{
	struct store_size size;
	CHECK_OK(store_size(rolling->store, &size));
	return size.rollups;
}

/* Windows of a level in [from, to) go, all of them or only their detail, for good. */
static void rolling_drop(
        struct rolling *rolling, uint32_t level, uint64_t from_ns, uint64_t to_ns, uint32_t parts)
{
	static const uint64_t lengths[] = { WINDOW, HOUR, DAY };
	struct store_expire_item items[16];
	struct store_expired expired;
	struct store_run run = { .id = ++rolling->runs };
	uint32_t count = 0;
	for (uint64_t at = from_ns; at < to_ns; at += lengths[level])
		items[count++] = (struct store_expire_item){
			.window = { level, 0, at, at + lengths[level] },
			.unit = STORE_UNIT_NONE,
			.parts = parts,
		};
	CHECK_OK(store_hide(rolling->store, &run, items, count, &expired));
	assert_int_equal(expired.missing, 0);
	CHECK_OK(store_erase(rolling->store, run.id, NULL, &expired));
}

/* All in one group, so that sums can answer. */
static struct store_sum rolling_sum(
        struct rolling *rolling, const char *selector, uint64_t from_ns, uint64_t to_ns)
{
	AUTO(store_match) match = store_fixture_find(rolling->store, selector, from_ns, to_ns);
	return store_fixture_sum_together(rolling->store, match, from_ns, to_ns);
}

static struct completeness rolling_ask(
        struct rolling *rolling, const char *selector, uint64_t from_ns, uint64_t to_ns)
{
	struct store_sum sum = rolling_sum(rolling, selector, from_ns, to_ns);
	struct completeness completeness = sum.completeness;
	store_sum_fini(&sum);
	return completeness;
}

static void check_same(const struct completeness *a, const struct completeness *b)
{
	assert_memory_equal(a, b, offsetof(struct completeness, resolution_finest_ns));
}

/* What an hour and a day hold, one instance told apart from the other by nothing in the sums. */
static const char *const all = "cpu{service=\"cart\"}";

static uint64_t rolling_unrollable(struct rolling *rolling)
{
	struct store_size size;
	CHECK_OK(store_size(rolling->store, &size));
	return size.windows_unrollable;
}

static void an_hour_past_64_bits_is_told_and_tried_again(void **state)
{
	TEST_DIR(dir);
	struct rolling rolling = { 0 };
	const uint64_t much = UINT64_MAX - 1;
	const uint64_t starts[] = { 0, WINDOW, DAY };
	rolling_begin(&rolling, dir.path, 0);
	for (uint32_t i = 0; i < 3; i++) {
		source_begin(&rolling.source, starts[i], 10 * SECOND);
		CHECK_OK(batch_add_row(rolling.source.batch,
		        source_series(&rolling.source, "cart", "a", 1),
		        source_stack(&rolling.source, "work"), much));
		assert_int_equal(source_append(&rolling.source, rolling.store, i + 1), WIRE_OK);
	}
	CHECK_OK(store_seal(rolling.store, UINT64_MAX));
	for (int round = 0; round < 2; round++) {
		CHECK_OK(store_roll(rolling.store, DAY + HOUR));
		assert_int_equal(rolling_unrollable(&rolling), 2);
		assert_int_equal(rolling_rollups(&rolling), 1); /* of another day */
		assert_int_equal(rolling_ask(&rolling, all, 0, WINDOW).value, much);
	}

	rolling_drop(&rolling, 0, WINDOW, 2 * WINDOW, STORE_PART_ALL);
	assert_int_equal(rolling_unrollable(&rolling), 0);
	CHECK_OK(store_roll(rolling.store, DAY + HOUR));
	assert_int_equal(rolling_unrollable(&rolling), 0);
	assert_int_equal(rolling_rollups(&rolling), 3); /* the hour, and its day */
	assert_int_equal(rolling_ask(&rolling, all, 0, HOUR).value, much);
	rolling_end(&rolling);
}

static void answers_are_the_same_at_every_resolution(void **state)
{
	TEST_DIR(dir);
	struct rolling rolling = { 0 };
	rolling_begin(&rolling, dir.path, 0);
	rolling_fill(&rolling);
	struct completeness before = rolling_ask(&rolling, all, 0, DAY);
	assert_int_equal(before.value, 7 * (5 + 6) * 8);
	assert_int_equal(before.resolution_coarsest_ns, WINDOW);

	CHECK_OK(store_roll(rolling.store, DAY - 1));
	assert_int_equal(rolling_rollups(&rolling), 1); /* the first hour alone has ended */
	CHECK_OK(store_roll(rolling.store, DAY));
	assert_int_equal(rolling_rollups(&rolling), 3);
	struct completeness day = rolling_ask(&rolling, all, 0, DAY);
	check_same(&before, &day);
	assert_int_equal(day.resolution_finest_ns, DAY);

	rolling_drop(&rolling, 0, 0, DAY, STORE_PART_DETAIL);
	rolling_drop(&rolling, 0, 0, DAY, STORE_PART_ALL);
	day = rolling_ask(&rolling, all, 0, DAY);
	check_same(&before, &day);
	struct completeness hour = rolling_ask(&rolling, all, 0, HOUR);
	assert_int_equal(hour.value, before.value / 2);
	assert_int_equal(hour.resolution_finest_ns, HOUR);
	rolling_drop(&rolling, 2, 0, DAY, STORE_PART_ALL);
	struct completeness hours = rolling_ask(&rolling, all, 0, DAY);
	check_same(&before, &hours);
	assert_int_equal(hours.resolution_coarsest_ns, HOUR);
	rolling_end(&rolling);
}

static void an_edge_takes_what_is_finer_and_without_it_a_window_belongs_to_its_start(void **state)
{
	TEST_DIR(dir);
	struct rolling rolling = { 0 };
	rolling_begin(&rolling, dir.path, 0);
	rolling_fill(&rolling);
	CHECK_OK(store_roll(rolling.store, DAY));
	struct completeness cut = rolling_ask(&rolling, all, 10 * SECOND, DAY);
	assert_int_equal(cut.value, 7 * ((5 + 6) * 8 - 5));
	assert_int_equal(cut.resolution_finest_ns, 0);
	assert_int_equal(cut.resolution_coarsest_ns, HOUR);

	/* Without detail the first window is before the range, and so is not in it. */
	rolling_drop(&rolling, 0, 0, DAY, STORE_PART_DETAIL);
	cut = rolling_ask(&rolling, all, 10 * SECOND, DAY);
	assert_int_equal(cut.value, 7 * (5 + 6) * 7);
	assert_int_equal(cut.resolution_finest_ns, WINDOW);
	/* Without windows of level 0 the first hour is not, and the other is cut but begins in it.
	 */
	rolling_drop(&rolling, 0, 0, DAY, STORE_PART_ALL);
	cut = rolling_ask(&rolling, all, 10 * SECOND, DAY - 10 * SECOND);
	assert_int_equal(cut.value, 7 * (5 + 6) * 4);
	assert_int_equal(cut.resolution_finest_ns, HOUR);
	assert_int_equal(cut.windows_unanswerable, 0);
	rolling_end(&rolling);
}

static void a_label_that_sums_lack_is_asked_of_detail_and_counted_without_it(void **state)
{
	static const char *const one = "cpu{instance=\"a\"}";
	TEST_DIR(dir);
	struct rolling rolling = { 0 };
	rolling_begin(&rolling, dir.path, 0);
	/* Many instances, so that buckets have several. */
	char names[40][8];
	for (uint32_t i = 0; i < COUNT_OF(names); i++) {
		snprintf(names[i], sizeof(names[i]), "i%u", i);
		rolling_append(&rolling, names[i], "work", 0, 5);
	}
	rolling_append(&rolling, "a", "work", 0, 5);
	rolling_append(&rolling, "a", "work", HOUR, 5);
	rolling_append(&rolling, "i0", "work", HOUR, 5);
	CHECK_OK(store_seal(rolling.store, UINT64_MAX));
	CHECK_OK(store_roll(rolling.store, DAY));
	struct completeness asked = rolling_ask(&rolling, one, 0, DAY);
	assert_int_equal(asked.value, 7 * 10);
	assert_int_equal(asked.windows_unanswerable, 0);

	rolling_drop(&rolling, 0, 0, WINDOW, STORE_PART_DETAIL);
	asked = rolling_ask(&rolling, one, 0, DAY);
	assert_int_equal(asked.value, 7 * 5);
	assert_int_equal(asked.windows_unanswerable, 1);
	assert_int_equal(asked.unanswerable_ns, WINDOW);
	assert_int_equal(rolling_ask(&rolling, all, 0, DAY).windows_unanswerable, 0);
	rolling_drop(&rolling, 0, 0, WINDOW, STORE_PART_ALL);
	asked = rolling_ask(&rolling, one, 0, DAY);
	assert_int_equal(asked.value, 7 * 5);
	assert_int_equal(asked.windows_unanswerable, 1);
	assert_int_equal(asked.unanswerable_ns, HOUR);
	rolling_end(&rolling);
}

static void what_comes_late_is_read_beside_and_added_whether_or_not_sources_are_left(void **state)
{
	for (uint32_t drops = 0; drops < 3; drops++) {
		TEST_DIR(dir);
		struct rolling rolling = { 0 };
		rolling_begin(&rolling, dir.path, 0);
		rolling_fill(&rolling);
		CHECK_OK(store_roll(rolling.store, drops == 2 ? HOUR : DAY));
		if (drops > 0)
			rolling_drop(&rolling, 0, 0, HOUR, STORE_PART_ALL);
		rolling_append(&rolling, "c", "late", 30 * SECOND, 100);
		rolling_append(&rolling, "c", "late", HOUR - WINDOW, 100);
		struct completeness before = rolling_ask(&rolling, all, 0, DAY);
		assert_int_equal(before.value, 7 * ((5 + 6) * 8 + 200));
		CHECK_OK(store_seal(rolling.store, UINT64_MAX));
		struct completeness beside = rolling_ask(&rolling, all, 0, DAY);
		check_same(&before, &beside);
		for (int i = 0; i < 2; i++) {
			CHECK_OK(store_roll(rolling.store, DAY));
			struct completeness rolled = rolling_ask(&rolling, all, 0, DAY);
			check_same(&before, &rolled);
			assert_int_equal(rolled.resolution_finest_ns, DAY);
		}
		/* The hour a day was made of stays, and what is late has one of its own. */
		assert_int_equal(rolling_rollups(&rolling), drops == 2 ? 3 : 4);
		rolling_end(&rolling);
	}
}

static void rare_stacks_of_a_day_are_counted_at_their_ancestor(void **state)
{
	TEST_DIR(dir);
	struct rolling rolling = { 0 };
	rolling_begin(&rolling, dir.path, 10);
	rolling_fill(&rolling);
	rolling_append(&rolling, "a", "rare", 0, 4);
	rolling_append(&rolling, "b", "rarer", HOUR, 5);
	/* Seen just often enough, over the day, and once less. */
	rolling_append(&rolling, "a", "enough", 0, 4);
	rolling_append(&rolling, "b", "enough", HOUR, 6);
	rolling_append(&rolling, "b", "hardly", HOUR, 9);
	CHECK_OK(store_seal(rolling.store, UINT64_MAX));
	struct completeness before = rolling_ask(&rolling, all, 0, DAY);
	CHECK_OK(store_roll(rolling.store, DAY));
	assert_int_equal(rolling_ask(&rolling, all, 0, HOUR).value_folded, 0);

	struct store_sum sum = rolling_sum(&rolling, all, 0, DAY);
	assert_int_equal(sum.completeness.value, before.value);
	assert_int_equal(sum.completeness.value_folded, 7 * (4 + 5 + 9));
	const struct dict *dict = store_dict(rolling.store);
	uint64_t at_main = 0;
	for (uint32_t i = 0; i < sum.parts[0].rows_count; i++) {
		const struct store_sum_row *row = &sum.parts[0].rows[i];
		if (dict_get_node(dict, row->node).parent == DICT_NODE_ROOT)
			at_main += row->value;
	}
	assert_int_equal(at_main, 7 * (4 + 5 + 9));
	store_sum_fini(&sum);
	rolling_end(&rolling);
}

static void a_deletion_that_cuts_a_rollup_makes_it_anew_or_is_refused(void **state)
{
	TEST_DIR(dir);
	struct rolling rolling = { 0 };
	uint64_t batches;
	rolling_begin(&rolling, dir.path, 0);
	rolling_fill(&rolling);
	CHECK_OK(store_roll(rolling.store, DAY));
	CHECK_OK(store_delete_range(rolling.store, 0, 10 * SECOND, &batches));
	assert_int_equal(batches, 1);
	assert_int_equal(rolling_rollups(&rolling), 1); /* the hour that was not touched */
	CHECK_OK(store_seal(rolling.store, UINT64_MAX));
	CHECK_OK(store_roll(rolling.store, DAY));
	struct completeness asked = rolling_ask(&rolling, all, 0, DAY);
	assert_int_equal(asked.value, 7 * ((5 + 6) * 8 - 5));
	assert_int_equal(asked.resolution_finest_ns, DAY);

	rolling_drop(&rolling, 0, WINDOW, HOUR, STORE_PART_ALL);
	assert_int_equal(store_delete_range(rolling.store, WINDOW, 2 * WINDOW, &batches), -ENODATA);
	CHECK(strstr(store_error(rolling.store), "240 s"));
	struct completeness after = rolling_ask(&rolling, all, 0, DAY);
	check_same(&asked, &after);
	CHECK_OK(store_delete_range(rolling.store, 0, DAY, &batches));
	assert_int_equal(rolling_ask(&rolling, all, 0, UINT64_MAX).value, 0);
	assert_int_equal(rolling_rollups(&rolling), 0);
	rolling_end(&rolling);
}

static void blocks_of_a_question_are_within_its_memory(void **state)
{
	TEST_DIR(dir);
	struct rolling rolling = { 0 };
	rolling_begin(&rolling, dir.path, 0);
	rolling_fill(&rolling);
	CHECK_OK(store_roll(rolling.store, DAY));
	struct store_match *match = store_fixture_find(rolling.store, all, 0, DAY);
	uint32_t groups[2] = { 0 };
	int last = 0;
	assert_int_equal(match->series_count, 2);
	for (uint64_t memory_max = 1; memory_max < 1 << 20; memory_max *= 2) {
		struct store_sum sum;
		struct store_sum_options options = {
			.to_ns = DAY,
			.match = match,
			.groups = groups,
			.memory_max = memory_max,
		};
		int r = store_sum(rolling.store, &options, &sum);
		CHECK(r == -E2BIG || (r == 0 && sum.completeness.value == 7 * (5 + 6) * 8));
		CHECK(r == 0 || last <= 0);
		last = r == 0;
		if (r == 0)
			store_sum_fini(&sum);
	}
	assert_int_equal(last, 1);
	store_match_free(match);
	rolling_end(&rolling);
}

/* Who asks for one of many has to read who they all are. */
static void a_block_too_large_for_a_small_question_is_refused(void **state)
{
	TEST_DIR(dir);
	struct rolling rolling = { 0 };
	rolling_begin(&rolling, dir.path, 0);
	struct source *source = &rolling.source;
	uint32_t stack = source_stack(source, "work");
	source_begin(source, 0, SECOND);
	for (uint32_t i = 0; i < 20000; i++) {
		char instance[16];
		snprintf(instance, sizeof(instance), "i%u", i);
		CHECK_OK(batch_add_row(
		        source->batch, source_series(source, "cart", instance, 1), stack, 1));
	}
	assert_int_equal(source_append(source, rolling.store, 1), WIRE_OK);
	struct store_sum sum;
	struct store_match *everybody = store_fixture_find(rolling.store, "cpu", 0, DAY);
	autofree uint32_t *groups = calloc(everybody->series_count, sizeof(*groups));
	struct store_sum_options of_all = {
		.to_ns = DAY,
		.match = everybody,
		.groups = groups,
		.memory_max = 256 << 10,
	};
	/* Nor is there room for all of them at once, however little they add up to. */
	assert_int_equal(store_sum(rolling.store, &of_all, &sum), -E2BIG);
	/* Also where there is nothing to add up, and before anything is read. */
	uint64_t read_ns = 0;
	of_all.read_ns = &read_ns;
	of_all.from_ns = 2 * DAY;
	of_all.to_ns = 3 * DAY;
	assert_int_equal(store_sum(rolling.store, &of_all, &sum), -E2BIG);
	assert_int_equal(read_ns, 0);
	of_all.memory_max = 16 << 20;
	CHECK_OK(store_sum(rolling.store, &of_all, &sum));
	assert_int_equal(sum.completeness.value, 0);
	assert_int_equal(read_ns, DAY);
	store_sum_fini(&sum);
	store_match_free(everybody);
	CHECK_OK(store_seal(rolling.store, UINT64_MAX));
	struct store_match *match = store_fixture_find(
	        rolling.store, "cpu{instance=\"i7\"}", 0, DAY);
	uint32_t group = 0;
	struct store_sum_options options = { .to_ns = DAY, .match = match, .groups = &group };
	options.memory_max = 256 << 10;
	assert_int_equal(store_sum(rolling.store, &options, &sum), -E2BIG);
	options.memory_max = 16 << 20;
	CHECK_OK(store_sum(rolling.store, &options, &sum));
	assert_int_equal(sum.completeness.value, 1);
	store_sum_fini(&sum);
	store_match_free(match);
	rolling_end(&rolling);
}

static void rollups_are_there_after_a_restart(void **state)
{
	TEST_DIR(dir);
	struct rolling rolling = { 0 };
	rolling_begin(&rolling, dir.path, 0);
	rolling_fill(&rolling);
	CHECK_OK(store_roll(rolling.store, DAY));
	rolling_drop(&rolling, 0, 0, DAY, STORE_PART_ALL);
	struct completeness before = rolling_ask(&rolling, all, 0, DAY);
	rolling_end(&rolling);
	rolling_begin(&rolling, dir.path, 0);
	struct completeness after = rolling_ask(&rolling, all, 0, DAY);
	check_same(&before, &after);
	assert_int_equal(after.resolution_finest_ns, DAY);
	rolling_end(&rolling);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_the_same_at_every_resolution),
		cmocka_unit_test(
		        an_edge_takes_what_is_finer_and_without_it_a_window_belongs_to_its_start),
		cmocka_unit_test(a_label_that_sums_lack_is_asked_of_detail_and_counted_without_it),
		cmocka_unit_test(
		        what_comes_late_is_read_beside_and_added_whether_or_not_sources_are_left),
		cmocka_unit_test(rare_stacks_of_a_day_are_counted_at_their_ancestor),
		cmocka_unit_test(a_deletion_that_cuts_a_rollup_makes_it_anew_or_is_refused),
		cmocka_unit_test(blocks_of_a_question_are_within_its_memory),
		cmocka_unit_test(a_block_too_large_for_a_small_question_is_refused),
		cmocka_unit_test(rollups_are_there_after_a_restart),
		cmocka_unit_test(an_hour_past_64_bits_is_told_and_tried_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
