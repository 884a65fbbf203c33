/*
 * The store through its interface: what is kept comes back exactly, nothing counts twice, what
 * fails leaves nothing behind, and whatever is wrong with the folder is said in one clear line.
 */

#include "storage/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/quarantine.h"
#include "storage/record.h"
#include "tests/lib/fault.h"
#include "tests/unit/storage/store_fixture.h"

/* An interval with one row of `value` periods on `function`, and its coverage. */
static void fill(struct source *source, uint32_t series, const char *function, uint64_t start_ns,
        uint64_t value)
{
	source_begin(source, start_ns, 10 * SECOND);
	CHECK_OK(batch_add_row(source->batch, series, source_stack(source, function), value));
	CHECK_OK(batch_add_coverage(source->batch, series, 10 * SECOND));
}

/* Collects what a scan tells. */
struct seen {
	uint32_t batches;
	uint64_t rows;
	uint64_t samples;
	uint64_t lost;
	uint64_t last_start_ns;
	uint64_t seqs[16];
};

static int see(void *owner, const struct store_stream *stream, const struct batch *batch)
{
	struct seen *seen = owner;
	CHECK(batch->start_ns >= seen->last_start_ns);
	seen->last_start_ns = batch->start_ns;
	if (seen->batches < COUNT_OF(seen->seqs))
		seen->seqs[seen->batches] = stream->seq;
	seen->batches++;
	seen->rows += batch->rows_count;
	seen->samples += batch_samples(batch);
	seen->lost += batch_lost(batch);
	return 0;
}

static void what_was_appended_is_read_back_in_order_of_time(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 10);
	static const uint64_t starts[] = { 30, 10, 20 };
	struct seen seen = { 0 };

	for (uint32_t i = 0; i < COUNT_OF(starts); i++) {
		fill(&source, cart, "work", starts[i] * SECOND, i + 1);
		assert_int_equal(source_append(&source, store, i + 1), WIRE_OK);
	}
	CHECK_OK(store_scan(store, 0, UINT64_MAX, NULL, see, &seen));
	assert_int_equal(seen.batches, 3);
	assert_int_equal(seen.samples, 6);
	assert_int_equal(seen.seqs[0], 2);
	assert_int_equal(seen.seqs[1], 3);
	assert_int_equal(seen.seqs[2], 1);

	/* [from, to) by the start of the interval. */
	seen = (struct seen){ 0 };
	CHECK_OK(store_scan(store, 10 * SECOND, 30 * SECOND, NULL, see, &seen));
	assert_int_equal(seen.samples, 5);
	seen = (struct seen){ 0 };
	CHECK_OK(store_scan(store, 10 * SECOND + 1, 20 * SECOND, NULL, see, &seen));
	assert_int_equal(seen.batches, 0);
	CHECK_OK(store_scan(store, 30, 10, NULL, see, &seen));
	assert_int_equal(seen.batches, 0);
	source_free(&source);
}

static void a_scan_limited_to_series_still_tells_who_was_watching(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	uint32_t shop = source_series(&source, "shop", "b", 1);
	struct seen seen = { 0 };

	fill(&source, cart, "work", 10 * SECOND, 3);
	CHECK_OK(batch_add_row(source.batch, shop, source_stack(&source, "sell"), 5));
	CHECK_OK(batch_add_loss(source.batch, shop, LOSS_RING_FULL, 7));
	CHECK_OK(batch_add_loss(source.batch, SERIES_NONE, LOSS_RING_FULL, 1));
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	fill(&source, cart, "work", 20 * SECOND, 4);
	assert_int_equal(source_append(&source, store, 2), WIRE_OK);

	struct store_match *match = store_fixture_find(
	        store, "cpu{service=\"shop\"}", 0, UINT64_MAX);
	CHECK_OK(store_scan(store, 0, UINT64_MAX, match, see, &seen));
	store_match_free(match);
	assert_int_equal(seen.batches, 2);
	assert_int_equal(seen.samples, 5);
	assert_int_equal(seen.lost, 8);
	seen = (struct seen){ 0 };
	match = store_fixture_find(store, "cpu{service=\"nobody\"}", 0, UINT64_MAX);
	CHECK_OK(store_scan(store, 0, UINT64_MAX, match, see, &seen));
	store_match_free(match);
	assert_int_equal(seen.batches, 2);
	assert_int_equal(seen.rows, 0);
	struct store_match_part part = { .series = (uint32_t[]){ 1, 0 }, .series_count = 2 };
	struct store_match wrong = { .parts = &part, .parts_count = 1, .series_count = 2 };
	CHECK(store_scan(store, 0, UINT64_MAX, &wrong, see, &seen) == -EINVAL);
	source_free(&source);
}

static int stop_with_seven(
        void *owner, const struct store_stream *stream, const struct batch *batch)
{
	++*(int *)owner;
	return 7;
}

static void a_visitor_can_stop_the_scan(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	int told = 0;

	for (uint32_t i = 1; i <= 3; i++) {
		fill(&source, cart, "work", i * SECOND, 1);
		source_append(&source, store, i);
	}
	assert_int_equal(store_scan(store, 0, UINT64_MAX, NULL, stop_with_seven, &told), 7);
	assert_int_equal(told, 1);
	source_free(&source);
}

static void a_section_counts_once_however_often_it_comes(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	struct store_counters counters;

	fill(&source, cart, "work", 10 * SECOND, 5);
	struct store_append twice[] = { source_section(&source, 1), source_section(&source, 1) };
	CHECK_OK(store_append(store, twice, 2));
	assert_int_equal(twice[0].ret_status, WIRE_OK);
	assert_int_equal(twice[1].ret_status, WIRE_DUP);
	assert_int_equal(source_append(&source, store, 1), WIRE_DUP);

	/* Another epoch, shard, agent or tenant is another stream. */
	source.stream.epoch = 2;
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	source.stream.shard = 3;
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	source.stream.uuid.bytes[0] = 9;
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	source.stream.tenant = "acme";
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	assert_int_equal(source_append(&source, store, 1), WIRE_DUP);

	CHECK_OK(store_counters(store, "", &counters));
	assert_int_equal(counters.batches, 4);
	assert_int_equal(counters.batches_duplicate, 2);
	assert_int_equal(counters.samples, 20);
	CHECK_OK(store_counters(store, "acme", &counters));
	assert_int_equal(counters.batches, 1);
	assert_int_equal(counters.batches_duplicate, 1);
	CHECK_OK(store_counters(store, "nobody", &counters));
	assert_int_equal(counters.batches, 0);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 25);
	source_free(&source);
}

static void seqs_may_come_in_any_order_and_from_far_ahead(void **state)
{
	static const uint64_t seqs[] = { 3, 1, 1000000, 2, 4, UINT64_MAX, 999999 };
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);

	for (uint32_t i = 0; i < COUNT_OF(seqs); i++) {
		fill(&source, cart, "work", (i + 1) * SECOND, 1);
		assert_int_equal(source_append(&source, store, seqs[i]), WIRE_OK);
	}
	store_free(store);
	store = store_fixture_open(dir.path);
	for (uint32_t i = 0; i < COUNT_OF(seqs); i++) {
		fill(&source, cart, "work", (i + 1) * SECOND, 1);
		assert_int_equal(source_append(&source, store, seqs[i]), WIRE_DUP);
	}
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), COUNT_OF(seqs));
	source_free(&source);
	store_free(store);
}

static void a_stream_full_of_gaps_still_counts_each_section_once(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	uint32_t count = SEQ_SET_RANGES_MAX + 20;

	for (uint32_t i = 1; i <= count; i++) {
		fill(&source, cart, "work", i * SECOND, 1);
		assert_int_equal(source_append(&source, store, 2 * i), WIRE_OK);
	}
	/* The set has forgotten the lowest: the rows know. */
	fill(&source, cart, "work", 1 * SECOND, 1);
	assert_int_equal(source_append(&source, store, 2), WIRE_DUP);
	/* One that never came is new, once, also within a group. */
	fill(&source, cart, "work", 1 * SECOND, 1);
	struct store_append twice[] = { source_section(&source, 3), source_section(&source, 3) };
	CHECK_OK(store_append(store, twice, 2));
	assert_int_equal(twice[0].ret_status, WIRE_OK);
	assert_int_equal(twice[1].ret_status, WIRE_DUP);
	assert_int_equal(source_append(&source, store, 3), WIRE_DUP);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), count + 1);
	source_free(&source);
}

static void what_can_never_be_kept_is_refused_alone(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	struct source far = source_new(store, 2);
	struct source huge = source_new(store, 3);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	char tenant[65];

	memset(tenant, 't', 64);
	tenant[64] = 0;
	fill(&source, cart, "work", 10 * SECOND, 1);
	fill(&far, source_series(&far, "cart", "a", 1), "work", UINT64_MAX - 5, 1);
	fill(&huge, source_series(&huge, "cart", "a", UINT64_MAX), "work", SECOND, 2);
	struct store_append appends[] = {
		source_section(&source, 0),
		source_section(&far, 1),
		source_section(&huge, 1),
		source_section(&source, 7),
		source_section(&source, 8),
	};
	appends[4].stream.tenant = tenant;
	CHECK_OK(store_append(store, appends, COUNT_OF(appends)));
	for (uint32_t i = 0; i < COUNT_OF(appends); i++) {
		assert_int_equal(appends[i].ret_status, i == 3 ? WIRE_OK : WIRE_REJECT);
		CHECK(i == 3 || strlen(appends[i].ret_reason) > 10);
	}
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 1);
	source_free(&source);
	source_free(&far);
	source_free(&huge);
}

static uint64_t generations_of(struct store *store)
{
	struct store_size size;
	CHECK_OK(store_size(store, &size));
	return size.generations;
}

static void a_full_dictionary_gives_way_to_another_unless_that_is_too_small_as_well(void **state)
{
	TEST_DIR(dir);
	struct store_options options = { .path = dir.path, .limits = dict_limits_default };
	struct store *store;
	char error[256];
	options.limits.nodes = 4; /* the root, main, and two functions */
	CHECK_OK(store_open(options, &store, error, sizeof(error)));
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);

	fill(&source, cart, "one", 1 * SECOND, 1);
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	fill(&source, cart, "two", 2 * SECOND, 1);
	assert_int_equal(source_append(&source, store, 2), WIRE_OK);
	fill(&source, cart, "three", 3 * SECOND, 1);
	assert_int_equal(generations_of(store), 1);
	assert_int_equal(source_append(&source, store, 3), WIRE_OK);
	assert_int_equal(generations_of(store), 2);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 3);

	/* However often what fits into none comes again, it uses up at most one. */
	for (uint32_t i = 0; i < 5; i++) {
		fill(&source, cart, "four", 4 * SECOND, 1);
		CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, "five"), 1));
		CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, "six"), 1));
		assert_int_equal(source_append(&source, store, 4), WIRE_BUSY);
		CHECK(generations_of(store) <= 3);
	}
	fill(&source, cart, "two", 5 * SECOND, 1);
	assert_int_equal(source_append(&source, store, 5), WIRE_OK);
	assert_int_equal(generations_of(store), 3);
	store_free(store);

	/* With more room it is not a duplicate: nothing of it was kept. */
	options.limits.nodes = 100;
	CHECK_OK(store_open(options, &store, error, sizeof(error)));
	assert_int_equal(generations_of(store), 3);
	fill(&source, cart, "three", 4 * SECOND, 1);
	assert_int_equal(source_append(&source, store, 4), WIRE_OK);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 5);
	store_free(store);

	/* With less room than it needs it says so. */
	options.limits.nodes = 3;
	CHECK(store_open(options, &store, error, sizeof(error)) == -ENOSPC);
	CHECK(strstr(error, "raise"));
	source_free(&source);
}

static void a_sum_is_per_group_in_units_with_its_completeness(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	struct source other = source_new(store, 2);
	uint32_t cart_a = source_series(&source, "cart", "a", 10);
	uint32_t cart_b = source_series(&source, "cart", "b", 1000);
	uint32_t shop = source_series(&source, "shop", "c", 10);
	uint32_t work = source_stack(&source, "work");
	uint32_t rest = source_stack(&source, "rest");

	source_begin(&source, 100 * SECOND, 10 * SECOND);
	CHECK_OK(batch_add_row(source.batch, cart_a, work, 3));
	CHECK_OK(batch_add_row(source.batch, cart_a, rest, 1));
	CHECK_OK(batch_add_row(source.batch, cart_b, work, 2));
	CHECK_OK(batch_add_row(source.batch, shop, work, 50));
	CHECK_OK(batch_add_coverage(source.batch, cart_a, 9 * SECOND));
	CHECK_OK(batch_add_coverage(source.batch, cart_b, 8 * SECOND));
	CHECK_OK(batch_add_loss(source.batch, cart_a, LOSS_RING_FULL, 4));
	CHECK_OK(batch_add_loss(source.batch, shop, LOSS_RING_FULL, 100));
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);

	/* Nobody's losses count with whoever had the series, in any of his shards. */
	source.stream.shard = 1;
	source_begin(&source, 110 * SECOND, 10 * SECOND);
	CHECK_OK(batch_add_loss(source.batch, SERIES_NONE, LOSS_PERF_LOST, 6));
	CHECK_OK(batch_add_loss(source.batch, SERIES_NONE, 4242, 1));
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);

	/* 20 s later by 30 s than it should: then one that begins 50 ms late, which is no gap. */
	source.stream.shard = 0;
	source_begin(&source, 150 * SECOND, 10 * SECOND);
	CHECK_OK(batch_add_row(source.batch, cart_a, work, 7));
	assert_int_equal(source_append(&source, store, 2), WIRE_OK);
	source_begin(&source, 160 * SECOND + 50000000, 10 * SECOND);
	CHECK_OK(batch_add_coverage(source.batch, cart_a, SECOND));
	assert_int_equal(source_append(&source, store, 3), WIRE_OK);

	/* Somebody else, who has nothing of it, with gaps and losses of his own. */
	for (uint32_t i = 1; i <= 2; i++) {
		fill(&other, source_series(&other, "shop", "z", 10), "work", i * 100 * SECOND, 1);
		CHECK_OK(batch_add_loss(other.batch, SERIES_NONE, LOSS_PERF_LOST, 1000));
		assert_int_equal(source_append(&other, store, i), WIRE_OK);
	}

	struct store_sum sum = store_fixture_sum(store, "cpu{service=\"cart\"}", 0, UINT64_MAX);
	static const struct store_sum_row rows[] = { { 0, 2, 100 }, { 0, 3, 10 }, { 1, 2, 2000 } };
	assert_int_equal(sum.parts[0].rows_count, COUNT_OF(rows));
	for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(sum.parts[0].rows[i].group, rows[i].group);
		assert_int_equal(sum.parts[0].rows[i].value, rows[i].value);
	}
	assert_int_equal(sum.parts[0].rows[0].node, sum.parts[0].rows[2].node);
	assert_int_equal(sum.coverage_ns[0], 10 * SECOND);
	assert_int_equal(sum.coverage_ns[1], 8 * SECOND);
	const struct completeness *got = &sum.completeness;
	assert_int_equal(got->value, 2110);
	assert_int_equal(got->samples, 13);
	assert_int_equal(got->lost[LOSS_RING_FULL], 4);
	assert_int_equal(got->lost[LOSS_PERF_LOST], 6);
	assert_int_equal(got->lost[0], 1);
	assert_int_equal(got->intervals, 4);
	assert_int_equal(got->missing_ns, 30 * SECOND);
	assert_int_equal(got->coverage_ns, 18 * SECOND);
	assert_int_equal(got->instances, 2);
	assert_int_equal(got->series, 2);
	assert_int_equal(got->observers, 1);
	assert_int_equal(got->has_recorded, 0);
	assert_int_equal(got->first_ns, 100 * SECOND);
	assert_int_equal(got->last_ns, 170 * SECOND + 50000000);
	assert_int_equal(got->period_min, 10);
	assert_int_equal(got->period_max, 1000);
	assert_int_equal(got->corrupt, 0);
	store_sum_fini(&sum);

	source_free(&source);
	source_free(&other);
}

static void what_matches_nothing_is_an_empty_answer(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	fill(&source, source_series(&source, "cart", "a", 10), "work", 100 * SECOND, 1);
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);

	struct store_sum sum = store_fixture_sum(store, "cpu{service=\"nobody\"}", 0, UINT64_MAX);
	assert_int_equal(sum.parts[0].rows_count, 0);
	assert_int_equal(sum.completeness.observers, 0);
	assert_int_equal(sum.completeness.intervals, 0);
	store_sum_fini(&sum);
	source_free(&source);
}

static void a_recorded_fleet_is_known_by_its_label(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	struct series series = { .type = source_string(&source, "cpu"), .period = 1 };
	struct label label = { source_string(&source, "recorded"), source_string(&source, "true") };
	uint32_t id;

	CHECK_OK(dict_series(source.dict, &series, &label, 1, &id));
	fill(&source, id, "work", SECOND, 1);
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	struct store_sum sum = store_fixture_sum(store, "cpu", 0, UINT64_MAX);
	assert_int_equal(sum.completeness.has_recorded, 1);
	store_sum_fini(&sum);
	source_free(&source);
}

static void a_sum_knows_its_bounds(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t big = source_series(&source, "big", "a", UINT64_MAX / 3);
	uint32_t many = source_series(&source, "many", "a", 1);
	bool cancelled = true;
	struct store_sum sum;

	for (uint32_t i = 1; i <= 2; i++) {
		fill(&source, big, "work", i * SECOND, 2);
		assert_int_equal(source_append(&source, store, i), WIRE_OK);
	}
	source_begin(&source, 3 * SECOND, SECOND);
	for (uint32_t i = 0; i < 2000; i++) {
		char function[32];
		snprintf(function, sizeof(function), "f%u", i);
		CHECK_OK(batch_add_row(source.batch, many, source_stack(&source, function), 1));
	}
	assert_int_equal(source_append(&source, store, 3), WIRE_OK);

	struct store_match_part part = {
		.dict = store_dict(store), .series = (uint32_t[]){ 0 }, .series_count = 1
	};
	struct store_match match = { .parts = &part, .parts_count = 1, .series_count = 1 };
	struct store_sum_options options = {
		.to_ns = UINT64_MAX,
		.match = &match,
		.groups = (uint32_t[]){ 5 },
		.memory_max = 1 << 20,
	};
	CHECK(store_sum(store, &options, &sum) == -EOVERFLOW);
	part.series = (uint32_t[]){ 1 };
	uint64_t read_ns = 7;
	options.read_ns = &read_ns;
	options.to_ns = 3600 * SECOND;
	CHECK_OK(store_sum(store, &options, &sum));
	assert_int_equal(read_ns, 7 + 3600 * SECOND);
	options.read_ns = NULL;
	assert_int_equal(sum.parts[0].rows_count, 2000);
	assert_int_equal(sum.parts[0].rows[1999].group, 5);
	store_sum_fini(&sum);
	options.memory_max = 20000;
	CHECK(store_sum(store, &options, &sum) == -E2BIG);
	options.memory_max = 1 << 20;
	options.cancelled = &cancelled;
	CHECK(store_sum(store, &options, &sum) == -ECANCELED);
	cancelled = false;
	part.series = (uint32_t[]){ 77 };
	CHECK(store_sum(store, &options, &sum) == -EINVAL);
	source_free(&source);
}

static void a_deleted_range_is_gone_and_stays_so(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	uint64_t batches;
	struct store_size size;

	for (uint32_t i = 1; i <= 10; i++) {
		fill(&source, cart, "work", i * SECOND, 1);
		assert_int_equal(source_append(&source, store, i), WIRE_OK);
		if (i % 3 == 0)
			CHECK_OK(store_flush(store));
	}
	CHECK_OK(store_delete_range(store, 3 * SECOND, 8 * SECOND, &batches));
	assert_int_equal(batches, 5);
	CHECK_OK(store_delete_range(store, 3 * SECOND, 8 * SECOND, &batches));
	assert_int_equal(batches, 0);
	CHECK_OK(store_delete_range(store, 8, 3, &batches));
	assert_int_equal(batches, 0);
	CHECK_OK(store_flush(store));
	CHECK_OK(store_delete_range(store, 0, 3 * SECOND, &batches));
	assert_int_equal(batches, 2);
	for (int restarts = 0; restarts < 2; restarts++) {
		assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 3);
		CHECK_OK(store_size(store, &size));
		assert_int_equal(size.first_ns, 8 * SECOND);
		assert_int_equal(size.last_ns, 10 * SECOND);
		store_free(store);
		store = store_fixture_open(dir.path);
	}
	/* What was deleted does not come back by being sent again. */
	fill(&source, cart, "work", 5 * SECOND, 1);
	assert_int_equal(source_append(&source, store, 5), WIRE_DUP);
	source_free(&source);
	store_free(store);
}

static void an_empty_store_has_no_ends(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct store_size size;
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.first_ns, 0);
	assert_int_equal(size.last_ns, 0);
	CHECK(size.bytes_disk > 0 && size.bytes_memory > 0);
	assert_int_equal(size.dict.series, 0);
}

static void symbols_are_unknown_none_or_there_and_survive(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	AUTO(symbols_builder) builder = symbols_builder_new();
	AUTO_BUF table = { 0 };
	char long_id[300];

	CHECK_OK(symbols_builder_add(builder, 0x1000, 16, "work", 4));
	CHECK_OK(symbols_builder_finish(builder, &table));
	memset(long_id, 'a', sizeof(long_id) - 1);
	long_id[sizeof(long_id) - 1] = 0;

	assert_int_equal(store_symbols_has(store, "abc"), -1);
	CHECK_OK(store_symbols_put(store, "abc", table.bytes, table.count));
	CHECK_OK(store_symbols_put(store, "none", NULL, 0));
	CHECK_OK(store_symbols_put(store, "broken", "no table", 8));
	CHECK(store_symbols_put(store, "", table.bytes, table.count) == -EINVAL);
	CHECK(store_symbols_put(store, long_id, table.bytes, table.count) == -EINVAL);
	for (int restarts = 0; restarts < 2; restarts++) {
		assert_int_equal(store_symbols_has(store, "abc"), 1);
		assert_int_equal(store_symbols_has(store, "none"), 0);
		assert_int_equal(store_symbols_has(store, "other"), -1);
		store_read_lock(store);
		const struct symbols *symbols = store_symbols_find(store, "abc");
		assert_non_null(symbols);
		assert_string_equal(symbols_find(symbols, 0x1008, &(uint64_t){ 0 }), "work");
		CHECK(symbols == store_symbols_find(store, "abc"));
		assert_null(store_symbols_find(store, "none"));
		assert_null(store_symbols_find(store, "other"));
		assert_null(store_symbols_find(store, "broken"));
		store_read_unlock(store);
		store_free(store);
		store = store_fixture_open(dir.path);
	}
	/* None was known: a table that comes later counts. */
	CHECK_OK(store_symbols_put(store, "none", table.bytes, table.count));
	store_read_lock(store);
	assert_non_null(store_symbols_find(store, "none"));
	store_read_unlock(store);
	store_free(store);
}

static void borrowed_symbols_outlive_their_place_in_the_cache(void **state)
{
	TEST_DIR(dir);
	struct store_options options = { .path = dir.path, .symbols_cache_bytes = 1 };
	AUTO_BUF table = { 0 };
	struct symbols_builder *builder = symbols_builder_new();
	struct store *store;
	char error[256];

	CHECK_OK(symbols_builder_add(builder, 0x1000, 16, "work", 4));
	CHECK_OK(symbols_builder_finish(builder, &table));
	symbols_builder_free(builder);
	CHECK_OK(store_open(options, &store, error, sizeof(error)));
	for (int id = 'a'; id < 'f'; id++)
		CHECK_OK(store_symbols_put(
		        store, (char[]){ (char)id, 0 }, table.bytes, table.count));

	store_read_lock(store);
	const struct symbols *first = store_symbols_find(store, "a");
	for (int id = 'b'; id < 'f'; id++)
		assert_non_null(store_symbols_find(store, (char[]){ (char)id, 0 }));
	assert_string_equal(
	        symbols_find(first, 0x1000, &(uint64_t){ 0 }), "work"); /* ASan would see */
	store_read_unlock(store);
	store_free(store);
}

static int count_agent(void *owner, const struct store_agent *agent)
{
	struct store_agent *seen = owner;
	if (agent->epoch == 0)
		return 5;
	*seen = *agent;
	return 0;
}

static void what_an_agent_said_survives(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	struct store_agent agent = {
		.uuid = { .bytes = { 7 } },
		.epoch = 3,
		.host = "web-1",
		.program = "profleet-agent 0.1.0",
		.tenant = "acme",
		.role = WIRE_ROLE_AGENT,
		.first_seen_ns = 1,
		.last_seen_ns = 2,
		.last_interval_end_ns = UINT64_MAX,
		.state = { .hz_milli = 49000, .lost = { [LOSS_THROTTLED] = 12 } },
	};
	struct store_agent seen = { 0 };

	CHECK_OK(store_agent_put(store, &agent));
	agent.last_seen_ns = 20;
	agent.first_seen_ns = 15; /* who says so knows only of this push */
	CHECK_OK(store_agent_put(store, &agent));
	agent.first_seen_ns = 1;
	store_free(store);
	store = store_fixture_open(dir.path);
	CHECK_OK(store_agents(store, count_agent, &seen));
	assert_memory_equal(&seen, &agent, sizeof(agent));
	agent.epoch = 0;
	CHECK_OK(store_agent_put(store, &agent));
	assert_int_equal(store_agents(store, count_agent, &seen), 5);
	store_free(store);
}

/* ---- failures ---- */

static void a_group_that_fails_for_want_of_memory_leaves_nothing(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t kept = 0;

	for (uint32_t nth = 0; nth < 2000; nth++) {
		char name[32];
		struct dict_mark before = dict_mark(store_dict(store));
		snprintf(name, sizeof(name), "s%u", nth);
		uint32_t series = source_series(&source, name, "a", 1);
		source.stream.shard = (uint16_t)nth;
		fill(&source, series, name, (nth + 1) * SECOND, 1);
		struct store_append append = source_section(&source, 1);

		fault_arm(FAULT_ALLOC, nth % 100, ENOMEM);
		int r = store_append(store, &append, 1);
		bool happened = fault_disarm();
		if (r < 0) {
			struct dict_mark after = dict_mark(store_dict(store));
			CHECK(r == -ENOMEM && happened);
			assert_memory_equal(&before, &after, sizeof(before));
		} else {
			kept++;
			assert_int_equal(append.ret_status, WIRE_OK);
			if (!happened && nth >= 100)
				break;
		}
		assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), kept);
	}
	CHECK(kept > 1);
	source_free(&source);
}

static void after_a_failed_write_reading_goes_on_and_writing_comes_back_by_itself(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	struct store_counters counters;
	struct store_agent agent = { .epoch = 1 };

	fill(&source, cart, "work", 1 * SECOND, 1);
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);

	struct dict_mark before = dict_mark(store_dict(store));
	uint32_t shop = source_series(&source, "shop", "b", 1);
	fill(&source, shop, "sell", 2 * SECOND, 10);
	struct store_append append = source_section(&source, 2);
	fault_limit_files(0);
	for (int tries = 0; tries < 3; tries++) {
		CHECK(store_append(store, &append, 1) < 0);
		CHECK(strlen(store_error(store)) > 0);
		struct dict_mark after = dict_mark(store_dict(store));
		assert_memory_equal(&before, &after, sizeof(before));
		assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 1);
		CHECK(store_agent_put(store, &agent) < 0);
	}
	fault_limit_files(FAULT_FILES_ANY);

	CHECK_OK(store_append(store, &append, 1));
	CHECK(append.ret_status == WIRE_OK || append.ret_status == WIRE_DUP);
	assert_int_equal(source_append(&source, store, 2), WIRE_DUP);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 11);
	assert_int_equal(store_fixture_value(store, "cpu{service=\"shop\"}", 0, UINT64_MAX), 10);
	CHECK_OK(store_agent_put(store, &agent));
	CHECK_OK(store_counters(store, "", &counters));
	assert_int_equal(counters.samples, 11);
	assert_int_equal(counters.batches, 2);
	store_free(store);

	store = store_fixture_open(dir.path);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 11);
	source_free(&source);
	store_free(store);
}

/* Changes one value of a closed store behind its back. */
static void damage(const char *path, enum kv_family family)
{
	struct kv *kv;
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	char error[256];
	AUTO(kv_batch) batch = kv_batch_new();
	AUTO_BUF value = { 0 };
	AUTO_BUF key = { 0 };

	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	struct kv_iterator *it = kv_iterator_new(
	        kv, family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	CHECK(kv_iterator_is_valid(it));
	struct kv_bytes bytes = kv_iterator_key(it);
	buf_put(&key, bytes.bytes, bytes.count);
	bytes = kv_iterator_value(it);
	buf_put(&value, bytes.bytes, bytes.count);
	kv_iterator_free(it);
	value.bytes[value.count - 1] ^= 1;
	kv_put(kv, batch, family, (struct kv_bytes){ key.bytes, key.count },
	        (struct kv_bytes){ value.bytes, value.count });
	CHECK_OK(kv_write(kv, batch, KV_SYNC));
	kv_free(kv);
}

static void a_damaged_batch_is_left_out_and_named(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	struct seen seen = { 0 };
	struct store_size size;

	for (uint32_t i = 1; i <= 3; i++) {
		fill(&source, cart, "work", i * SECOND, i);
		assert_int_equal(source_append(&source, store, i), WIRE_OK);
	}
	store_free(store);
	damage(dir.path, KV_BATCH);
	store = store_fixture_open(dir.path);
	struct store_sum sum = store_fixture_sum(store, "cpu", 0, UINT64_MAX);
	assert_int_equal(sum.completeness.value, 5);
	assert_int_equal(sum.completeness.intervals, 2);
	assert_int_equal(sum.completeness.corrupt, 1);
	assert_int_equal(sum.completeness.unreadable_count, 1);
	assert_string_equal(sum.completeness.unreadable[0].what, "batch of stream 0");
	assert_int_equal(sum.completeness.unreadable[0].from_ns, SECOND);
	store_sum_fini(&sum);
	/* And for the log, once. */
	struct quarantine_record named;
	assert_int_equal(store_unreadable_count(store), 1);
	assert_int_equal(store_take_unreadable(store, &named, 1), 1);
	assert_string_equal(named.family, "batch");
	CHECK(strstr(named.key, "stream 0"));
	assert_int_equal(named.reason, -EBADMSG);
	CHECK_OK(store_scan(store, 0, UINT64_MAX, NULL, see, &seen));
	assert_int_equal(store_take_unreadable(store, &named, 1), 0);
	assert_int_equal(seen.samples, 5);
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.corrupt, 2);

	/* Whoever meets it first. */
	seen = (struct seen){ 0 };
	store_free(store);
	store = store_fixture_open(dir.path);
	assert_int_equal(store_take_unreadable(store, &named, 1), 0);
	CHECK_OK(store_scan(store, 0, UINT64_MAX, NULL, see, &seen));
	assert_int_equal(store_take_unreadable(store, &named, 1), 1);
	assert_string_equal(named.family, "batch");
	source_free(&source);
	store_free(store);
}

static void damage_that_would_make_wrong_numbers_refuses_the_open(void **state)
{
	static const enum kv_family families[] = { KV_DICT, KV_STREAM, KV_COUNTERS, KV_META };
	for (size_t i = 0; i < COUNT_OF(families); i++) {
		TEST_DIR(dir);
		struct store *store = store_fixture_open(dir.path);
		struct source source = source_new(store, 1);
		struct store_options options = { .path = dir.path };
		char error[512] = "";

		fill(&source, source_series(&source, "cart", "a", 1), "work", SECOND, 1);
		assert_int_equal(source_append(&source, store, 1), WIRE_OK);
		source_free(&source);
		store_free(store);
		damage(dir.path, families[i]);
		CHECK(store_open(options, &store, error, sizeof(error)) == -EBADMSG);
		CHECK(strstr(error, dir.path) && strstr(error, "damaged"));
	}
}

static void expect_refusal(const char *path, int expected, const char *word)
{
	struct store_options options = { .path = path };
	struct store *store = NULL;
	char error[512] = "";
	int r = store_open(options, &store, error, sizeof(error));
	if (r != expected || !strstr(error, word))
		fail_msg("%s: %d, \"%s\"; expected %d with \"%s\"", path, r, error, expected, word);
	assert_null(store);
}

static void a_folder_that_cannot_be_used_is_refused_with_a_remedy(void **state)
{
	TEST_DIR(dir);
	char path[512];

	expect_refusal("", -EINVAL, "--data");
	expect_refusal(NULL, -EINVAL, "--data");
	snprintf(path, sizeof(path), "%s/file", dir.path);
	test_file_write(path, "x", 1);
	expect_refusal(path, -ENOTDIR, "name another");
	snprintf(path, sizeof(path), "%s/file/below", dir.path);
	expect_refusal(path, -ENOTDIR, "is a file");
	snprintf(path, sizeof(path), "%s/no/parent", dir.path);
	expect_refusal(path, -ENOENT, "parent");
}

static void a_new_folder_is_for_its_owner_and_group_only(void **state)
{
	TEST_DIR(dir);
	char path[512];
	struct stat status;
	mode_t mask = umask(0);
	snprintf(path, sizeof(path), "%s/data", dir.path);
	store_free(store_fixture_open(path));
	umask(mask);
	CHECK_OK(stat(path, &status));
	assert_int_equal(status.st_mode & 07777, 0750);
}

static void opening_again_and_again_leaves_no_litter(void **state)
{
	TEST_DIR(dir);
	for (int i = 0; i < 3; i++)
		store_free(store_fixture_open(dir.path));
	DIR *folder = opendir(dir.path);
	assert_non_null(folder);
	for (struct dirent *entry; (entry = readdir(folder));)
		if (strstr(entry->d_name, ".dbtmp"))
			fail_msg("%s is left", entry->d_name);
	closedir(folder);
}

static void a_folder_in_use_is_refused(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	assert_non_null(store);
	expect_refusal(dir.path, -EBUSY, "in use");

	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		struct store_options options = { .path = dir.path };
		struct store *other;
		char error[512];
		_exit(store_open(options, &other, error, sizeof(error)) == -EBUSY ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_folder_of_somebody_else_is_refused(void **state)
{
	TEST_DIR(dir);
	struct store_options options = { .path = dir.path };
	struct store *store = NULL;
	char error[512] = "";
	if (geteuid() == 0) {
		CHECK_OK(chmod(dir.path, 0700));
		CHECK_OK(seteuid(65534));
	} else {
		CHECK_OK(chmod(dir.path, 0));
	}
	int r = store_open(options, &store, error, sizeof(error));
	if (getuid() == 0)
		CHECK_OK(seteuid(0));
	CHECK_OK(chmod(dir.path, 0700));
	assert_int_equal(r, -EACCES);
	CHECK(strstr(error, dir.path));
}

static void put_format(const char *path, struct record_format format, const char *key_text)
{
	struct kv *kv;
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	char error[256];
	AUTO(kv_batch) batch = kv_batch_new();
	AUTO_BUF value = { 0 };
	struct kv_bytes key = { key_text, strlen(key_text) };

	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	record_put_format(format, key, &value);
	kv_put(kv, batch, KV_META, key, (struct kv_bytes){ value.bytes, value.count });
	CHECK_OK(kv_write(kv, batch, KV_SYNC));
	kv_free(kv);
}

static void a_newer_format_is_refused_unless_it_says_we_can_read_it(void **state)
{
	TEST_DIR(dir);
	put_format(dir.path, (struct record_format){ 9, 9 }, KEYS_META_FORMAT);
	expect_refusal(dir.path, -EPROTONOSUPPORT, "newer profleet");
	put_format(dir.path, (struct record_format){ 9, 1 }, KEYS_META_FORMAT);
	store_free(store_fixture_open(dir.path));
}

static void a_database_of_something_else_is_refused(void **state)
{
	TEST_DIR(dir);
	put_format(dir.path, (struct record_format){ 1, 1 }, "other");
	expect_refusal(dir.path, -EBADMSG, "not a profleet store");
}

static void a_database_that_is_broken_is_refused(void **state)
{
	TEST_DIR(dir);
	char path[512];
	store_free(store_fixture_open(dir.path));
	snprintf(path, sizeof(path), "%s/CURRENT", dir.path);
	test_file_write(path, "nonsense", 8);
	expect_refusal(dir.path, -EBADMSG, "damaged");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_appended_is_read_back_in_order_of_time),
		cmocka_unit_test(a_scan_limited_to_series_still_tells_who_was_watching),
		cmocka_unit_test(a_visitor_can_stop_the_scan),
		cmocka_unit_test(a_section_counts_once_however_often_it_comes),
		cmocka_unit_test(seqs_may_come_in_any_order_and_from_far_ahead),
		cmocka_unit_test(a_stream_full_of_gaps_still_counts_each_section_once),
		cmocka_unit_test(what_can_never_be_kept_is_refused_alone),
		cmocka_unit_test(
		        a_full_dictionary_gives_way_to_another_unless_that_is_too_small_as_well),
		cmocka_unit_test(a_sum_is_per_group_in_units_with_its_completeness),
		cmocka_unit_test(what_matches_nothing_is_an_empty_answer),
		cmocka_unit_test(a_recorded_fleet_is_known_by_its_label),
		cmocka_unit_test(a_sum_knows_its_bounds),
		cmocka_unit_test(a_deleted_range_is_gone_and_stays_so),
		cmocka_unit_test(an_empty_store_has_no_ends),
		cmocka_unit_test(symbols_are_unknown_none_or_there_and_survive),
		cmocka_unit_test(borrowed_symbols_outlive_their_place_in_the_cache),
		cmocka_unit_test(what_an_agent_said_survives),
		cmocka_unit_test(a_group_that_fails_for_want_of_memory_leaves_nothing),
		cmocka_unit_test(
		        after_a_failed_write_reading_goes_on_and_writing_comes_back_by_itself),
		cmocka_unit_test(a_damaged_batch_is_left_out_and_named),
		cmocka_unit_test(damage_that_would_make_wrong_numbers_refuses_the_open),
		cmocka_unit_test(a_folder_that_cannot_be_used_is_refused_with_a_remedy),
		cmocka_unit_test(a_new_folder_is_for_its_owner_and_group_only),
		cmocka_unit_test(opening_again_and_again_leaves_no_litter),
		cmocka_unit_test(a_folder_in_use_is_refused),
		cmocka_unit_test(a_folder_of_somebody_else_is_refused),
		cmocka_unit_test(a_newer_format_is_refused_unless_it_says_we_can_read_it),
		cmocka_unit_test(a_database_of_something_else_is_refused),
		cmocka_unit_test(a_database_that_is_broken_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
