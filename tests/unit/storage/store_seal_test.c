/*
 * What sealing leaves behind, and what it must not: the same answers from other bytes. Random
 * programs over all of it are in store_oracle_test.c.
 */

#include <errno.h>
#include <inttypes.h>

#include "core/clock.h"
#include "core/rng.h"
#include "storage/kv.h"
#include "storage/quarantine.h"
#include "tests/unit/storage/kv_fixture.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_S 60

static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	return store_fixture_open_with(options);
}

static uint32_t labelled(struct source *source, const char *service, const char *version,
        const char *region, const char *instance)
{
	struct series series = {
		.type = source_string(source, "cpu"),
		.unit = source_string(source, "nanoseconds"),
		.period = 20408163,
	};
	struct label labels[] = {
		{ source_string(source, "service"), source_string(source, service) },
		{ source_string(source, "version"), source_string(source, version) },
		{ source_string(source, "region"), source_string(source, region) },
		{ source_string(source, "instance"), source_string(source, instance) },
	};
	uint32_t id;
	CHECK_OK(dict_series(source->dict, &series, labels, COUNT_OF(labels), &id));
	return id;
}

/* Two services, two versions, two regions, some thirty instances, over three windows. */
static void fill_fleet(struct store *store, struct source *source)
{
	static const char *const services[] = { "cart", "shop" };
	static const char *const versions[] = { "1", "2" };
	static const char *const regions[] = { "eu", "us" };
	struct rng rng;
	rng_init(&rng, 1);
	for (uint32_t seq = 1; seq <= 18; seq++) {
		source_begin(source, seq * 10 * SECOND - 10 * SECOND, 10 * SECOND);
		for (uint32_t i = 0; i < 32; i++) {
			char instance[16];
			snprintf(instance, sizeof(instance), "i%u", i);
			uint32_t series = labelled(source, services[i % 2], versions[i / 2 % 2],
			        regions[i / 4 % 2], instance);
			for (uint64_t rows = rng_below(&rng, 8); rows > 0; rows--) {
				char function[16];
				snprintf(function, sizeof(function), "f%u",
				        (unsigned int)rng_below(&rng, 100));
				CHECK_OK(batch_add_row(source->batch, series,
				        source_stack(source, function), 1 + rng_below(&rng, 9)));
			}
			CHECK_OK(batch_add_coverage(source->batch, series, 9 * SECOND + i));
			if (i % 5 == 0)
				CHECK_OK(batch_add_loss(
				        source->batch, series, LOSS_RING_FULL, 1 + i));
		}
		CHECK_OK(batch_add_loss(source->batch, SERIES_NONE, LOSS_PERF_LOST, seq));
		assert_int_equal(source_append(source, store, seq), WIRE_OK);
	}
}

static void expect_equal(const struct store_sum *a, const struct store_sum *b)
{
	assert_int_equal(a->parts_count, 1);
	assert_int_equal(b->parts_count, 1);
	const struct store_sum_part *x = &a->parts[0];
	const struct store_sum_part *y = &b->parts[0];
	assert_int_equal(x->rows_count, y->rows_count);
	for (uint32_t i = 0; i < x->rows_count; i++)
		CHECK(x->rows[i].group == y->rows[i].group && x->rows[i].node == y->rows[i].node &&
		        x->rows[i].value == y->rows[i].value);
	assert_int_equal(a->completeness.series, b->completeness.series);
	assert_memory_equal(
	        a->coverage_ns, b->coverage_ns, a->completeness.series * sizeof(*a->coverage_ns));
	/* But for the resolution: the answer is the same, whatever it was added up from. */
	assert_memory_equal(&a->completeness, &b->completeness,
	        offsetof(struct completeness, resolution_finest_ns));
}

/* Sums of a selector over a range, all of it in one group, or grouped by the label version. */
static struct store_sum sum_grouped(
        struct store *store, const char *text, uint64_t from_s, uint64_t to_s, bool is_by_version)
{
	uint64_t from_ns = from_s * SECOND;
	uint64_t to_ns = to_s * SECOND;
	AUTO(store_match) match = store_fixture_find(store, text, from_ns, to_ns);
	const struct store_match_part *part = &match->parts[0];
	autofree uint32_t *groups = calloc(match->series_count + 1, sizeof(*groups));
	assert_int_equal(match->parts_count, 1);
	for (uint32_t i = 0; i < part->series_count && is_by_version; i++)
		groups[i] = dict_label_value(
		        part->dict, part->series[i], dict_find_string(part->dict, "version", 7));
	return store_fixture_sum_by(store, match, groups, from_ns, to_ns);
}

/* A batch belongs to a range by its start: no row of the last window is behind the range. */
static void a_range_that_ends_behind_the_newest_batch_needs_no_detail(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	fill_fleet(store, &source);
	CHECK_OK(store_seal(store, UINT64_MAX));
	struct store_sum whole = sum_grouped(store, "cpu", 0, 180, false);
	struct store_sum behind = sum_grouped(store, "cpu", 0, 171, false);
	struct store_sum cut = sum_grouped(store, "cpu", 0, 170, false);
	expect_equal(&whole, &behind);
	assert_int_equal(
	        behind.completeness.resolution_finest_ns, whole.completeness.resolution_finest_ns);
	CHECK(whole.completeness.resolution_finest_ns > 0);
	assert_int_equal(cut.completeness.resolution_finest_ns, 0);
	assert_int_equal(cut.completeness.intervals, 17);
	store_sum_fini(&whole);
	store_sum_fini(&behind);
	store_sum_fini(&cut);
	source_free(&source);
	store_free(store);
}

static void sealed_windows_answer_as_open_ones_whatever_is_asked(void **state)
{
	static const struct {
		const char *selector;
		uint64_t from_s, to_s;
		bool is_by_version;
	} questions[] = {
		{ "cpu", 0, 180, false },
		{ "cpu", 0, 180, true },
		{ "cpu{service=\"cart\"}", 0, 180, false },
		{ "cpu{service=\"cart\",version=\"1\"}", 0, 120, false },
		{ "cpu{region=\"us\"}", 60, 120, true },
		{ "cpu{version!=\"1\",region=\"eu\"}", 0, 1000, false },
		{ "cpu{instance=\"i3\"}", 0, 180, false },
		{ "cpu{instance=~\"i[12].\"}", 0, 180, true },
		{ "cpu{service=\"cart\"}", 10, 170, false },
		{ "cpu{service=\"cart\"}", 65, 75, true },
		{ "cpu{service=\"nobody\"}", 0, 180, false },
	};
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_sum open[COUNT_OF(questions)];
	struct store_size size;
	fill_fleet(store, &source);
	for (size_t i = 0; i < COUNT_OF(questions); i++)
		open[i] = sum_grouped(store, questions[i].selector, questions[i].from_s,
		        questions[i].to_s, questions[i].is_by_version);

	CHECK_OK(store_seal(store, 179 * SECOND)); /* the third has not ended */
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.windows, 2);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT_OF(questions); i++) {
			struct store_sum sealed = sum_grouped(store, questions[i].selector,
			        questions[i].from_s, questions[i].to_s, questions[i].is_by_version);
			expect_equal(&open[i], &sealed);
			store_sum_fini(&sealed);
		}
		if (round == 0)
			CHECK_OK(store_seal(store, UINT64_MAX));
		store_free(store);
		store = open_store(dir.path);
	}
	for (size_t i = 0; i < COUNT_OF(questions); i++)
		store_sum_fini(&open[i]);
	source_free(&source);
	store_free(store);
	assert_int_equal(kv_fixture_count(dir.path, KV_BATCH), 0);
	assert_int_equal(kv_fixture_count(dir.path, KV_WINDOW), 3);
	assert_int_equal(kv_fixture_count(dir.path, KV_DETAIL), 6);
}

/* It is now_s; what comes late waits 100 seconds. */
static struct store *open_with_clock(
        const char *path, struct clock_virtual *clock, uint64_t now_s, uint64_t head_bytes_max)
{
	struct store_options options = store_fixture_options(path);
	clock_virtual_init(clock, now_s * SECOND);
	options.window_ns = WINDOW_S * SECOND;
	options.clock = &clock->clock;
	options.late_ns = 100 * SECOND;
	options.head_bytes_max = head_bytes_max;
	return store_fixture_open_with(options);
}

static void what_comes_late_waits_and_becomes_another_generation(void **state)
{
	TEST_DIR(dir);
	struct clock_virtual clock;
	struct store *store = open_with_clock(dir.path, &clock, 1000, 0);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	struct store_size size;
	/* Advanced before each seal, and how many windows there must be then. */
	static const struct {
		uint64_t advance_s;
		uint64_t windows;
	} steps[] = { { 0, 1 }, { 50, 1 }, { 49, 1 }, { 1, 2 }, { 99, 2 }, { 1, 3 } };

	for (uint32_t i = 0; i < COUNT_OF(steps); i++) {
		source_begin(&source, (1 + i) * SECOND, SECOND);
		CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, "work"), 1));
		assert_int_equal(source_append(&source, store, i + 1), WIRE_OK);
		clock_virtual_advance(&clock, steps[i].advance_s * SECOND);
		CHECK_OK(store_seal(store, UINT64_MAX));
		CHECK_OK(store_size(store, &size));
		assert_int_equal(size.windows, steps[i].windows);
		assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), i + 1);
		assert_int_equal(store_fixture_value(store, "cpu", 0, WINDOW_S * SECOND), i + 1);
	}
	source_free(&source);
	store_free(store);
}

/*
 * Ten times as much as was sealed, an hour after: an import that is still going on when the sealer
 * comes by. Each turn that finds a third of it all open takes it, any other waits.
 */
static void much_of_what_comes_late_does_not_wait(void **state)
{
	TEST_DIR(dir);
	struct clock_virtual clock;
	struct store *store = open_with_clock(dir.path, &clock, 3600, 0);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	uint32_t seq = 0;
	uint64_t windows[] = { 1, 1, 2, 2, 3 };
	uint32_t batches[] = { 50, 1, 99, 10, 100 };

	for (uint32_t turn = 0; turn < COUNT_OF(windows); turn++) {
		for (uint32_t i = 0; i < batches[turn]; i++) {
			source_begin(&source, ++seq * SECOND / 10, SECOND);
			for (uint32_t row = 0; row < 500; row++) {
				char function[16];
				snprintf(function, sizeof(function), "f%u", (seq + row * 7) % 1000);
				CHECK_OK(batch_add_row(source.batch, cart,
				        source_stack(&source, function), 1 + row * 10000));
			}
			assert_int_equal(source_append(&source, store, seq), WIRE_OK);
		}
		CHECK_OK(store_seal(store, UINT64_MAX));
		struct store_size size;
		CHECK_OK(store_size(store, &size));
		assert_int_equal(size.windows, windows[turn]);
	}
	source_free(&source);
	store_free(store);
}

/* One row of the window [0, WINDOW_S), and a turn of sealing that no window ends in. */
static void append_and_turn(struct store *store, struct source *source, uint32_t seq)
{
	uint32_t cart = source_series(source, "cart", "a", 1);
	source_begin(source, seq * SECOND, SECOND);
	CHECK_OK(batch_add_row(source->batch, cart, source_stack(source, "work"), 1));
	assert_int_equal(source_append(source, store, seq), WIRE_OK);
	CHECK_OK(store_seal(store, 0));
}

static uint64_t count_windows(struct store *store)
{
	struct store_size size;
	CHECK_OK(store_size(store, &size));
	return size.windows;
}

static void a_window_that_grows_too_large_is_sealed_before_its_end(void **state)
{
	TEST_DIR(dir);
	struct clock_virtual clock;
	struct store *store = open_with_clock(dir.path, &clock, 30, 300);
	struct source source = source_new(store, 1);
	uint32_t seq = 0;

	/* By size alone, and again and again. */
	for (uint64_t windows = 0; windows < 3; windows++) {
		uint32_t before = seq;
		while (count_windows(store) == windows && seq < before + 50)
			append_and_turn(store, &source, ++seq);
		assert_int_equal(count_windows(store), windows + 1);
		assert_in_range(seq - before, 2, 49);
		assert_int_equal(store_fixture_value(store, "cpu", 0, WINDOW_S * SECOND), seq);
	}

	/* What is left at the end of the window is not late: it is sealed without a wait. */
	append_and_turn(store, &source, ++seq);
	assert_int_equal(count_windows(store), 3);
	clock_virtual_advance(&clock, 60 * SECOND);
	CHECK_OK(store_seal(store, WINDOW_S * SECOND));
	assert_int_equal(count_windows(store), 4);
	assert_int_equal(store_fixture_value(store, "cpu", 0, WINDOW_S * SECOND), seq);

	/* And what comes then is. */
	append_and_turn(store, &source, ++seq);
	CHECK_OK(store_seal(store, WINDOW_S * SECOND));
	assert_int_equal(count_windows(store), 4);
	clock_virtual_advance(&clock, 100 * SECOND);
	CHECK_OK(store_seal(store, WINDOW_S * SECOND));
	assert_int_equal(count_windows(store), 5);
	CHECK_OK(store_roll(store, UINT64_MAX));
	assert_int_equal(store_fixture_value(store, "cpu", 0, WINDOW_S * SECOND), seq);
	source_free(&source);
	store_free(store);
}

static void a_sealed_section_that_comes_again_is_known(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	/* So many gaps that the stream forgets the lowest, and only the windows know. */
	for (uint32_t i = 0; i < 400; i++) {
		source_begin(&source, i * SECOND, SECOND);
		CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, "work"), 1));
		assert_int_equal(source_append(&source, store, 1 + 2 * i), WIRE_OK);
	}
	CHECK_OK(store_seal(store, UINT64_MAX));
	for (uint32_t i = 0; i < 400; i += 7) {
		source_begin(&source, i * SECOND, SECOND);
		CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, "work"), 1));
		assert_int_equal(source_append(&source, store, 1 + 2 * i), WIRE_DUP);
	}
	source_begin(&source, 3 * SECOND, SECOND);
	CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, "work"), 1));
	assert_int_equal(source_append(&source, store, 2), WIRE_OK);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 401);
	source_free(&source);
	store_free(store);
}

static void a_window_past_64_bits_stays_open(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	struct store_size size;
	for (uint32_t i = 0; i < 4; i++) {
		source_begin(&source, (1 + 30 * i) * SECOND, SECOND);
		CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, "work"),
		        i < 2 ? UINT64_MAX - 1 : 1));
		assert_int_equal(source_append(&source, store, i + 1), WIRE_OK);
	}
	for (int round = 0; round < 2; round++) {
		CHECK_OK(store_seal(store, UINT64_MAX));
		CHECK_OK(store_size(store, &size));
		assert_int_equal(size.windows, 1);
		assert_int_equal(size.windows_unsealable, 1);
		assert_int_equal(store_fixture_value(store, "cpu", 0, 30 * SECOND), UINT64_MAX - 1);
		assert_int_equal(store_fixture_value(store, "cpu", 60 * SECOND, UINT64_MAX), 2);
	}
	store_free(store);
	assert_int_equal(kv_fixture_count(dir.path, KV_BATCH), 2);
	assert_int_equal(kv_fixture_count(dir.path, KV_DETAIL), 1);

	/* Until what was too much is gone. */
	uint64_t batches;
	store = open_store(dir.path);
	CHECK_OK(store_seal(store, UINT64_MAX));
	assert_int_equal(store_unsealable_count(store), 1);
	CHECK_OK(store_delete_range(store, 0, 30 * SECOND, &batches));
	assert_int_equal(batches, 1);
	CHECK_OK(store_seal(store, UINT64_MAX));
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.windows, 2);
	assert_int_equal(size.windows_unsealable, 0);
	assert_int_equal(
	        store_fixture_value(store, "cpu", 30 * SECOND, 60 * SECOND), UINT64_MAX - 1);
	source_free(&source);
	store_free(store);
}

/* Flips one bit of the value number `index` of a family. false: there is none. */
static bool flip(const char *path, enum kv_family family, uint64_t index, struct rng *rng)
{
	struct kv *kv;
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	char error[256];
	AUTO(kv_batch) batch = kv_batch_new();
	AUTO_BUF key = { 0 };
	AUTO_BUF value = { 0 };
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	struct kv_iterator *it = kv_iterator_new(
	        kv, family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	while (index-- > 0 && kv_iterator_is_valid(it))
		kv_iterator_next(it);
	bool is_there = kv_iterator_is_valid(it);
	if (is_there) {
		struct kv_bytes bytes = kv_iterator_key(it);
		buf_put(&key, bytes.bytes, bytes.count);
		bytes = kv_iterator_value(it);
		buf_put(&value, bytes.bytes, bytes.count);
		value.bytes[rng_below(rng, value.count)] ^= (uint8_t)(1u << rng_below(rng, 8));
	}
	kv_iterator_free(it);
	if (is_there) {
		kv_put(kv, batch, family, (struct kv_bytes){ key.bytes, key.count },
		        (struct kv_bytes){ value.bytes, value.count });
		CHECK_OK(kv_write(kv, batch, KV_SYNC));
	}
	kv_free(kv);
	return is_there;
}

/* What an answer misses is named: when it was, and what it is. */
static void expect_named(const struct completeness *all)
{
	CHECK((all->corrupt > 0) == (all->unreadable_count > 0));
	for (uint32_t i = 0; i < all->unreadable_count; i++) {
		const struct unreadable *one = &all->unreadable[i];
		bool is_of_a_unit = strstr(one->what, "detail") || strstr(one->what, "sums") ||
		                    strstr(one->what, "members") || strstr(one->what, "values");
		CHECK(one->to_ns <= 180 * SECOND && one->what[0]);
		CHECK(!is_of_a_unit || strcmp(one->type, "cpu") == 0);
		CHECK(!is_of_a_unit || strcmp(one->service, "cart") == 0 ||
		        strcmp(one->service, "shop") == 0);
		CHECK(one->from_ns < one->to_ns || strstr(one->what, "batch of stream"));
	}
}

/* What is passed over is counted and named as if it had been read. */
static void expect_same_again(struct store *store, uint64_t from_ns, uint64_t to_ns)
{
	struct store_sum first = store_fixture_sum(store, "cpu", from_ns, to_ns);
	struct store_sum again = store_fixture_sum(store, "cpu", from_ns, to_ns);
	const struct completeness *a = &first.completeness;
	const struct completeness *b = &again.completeness;
	assert_int_equal(a->value, b->value);
	assert_int_equal(a->corrupt, b->corrupt);
	assert_int_equal(a->intervals, b->intervals);
	assert_int_equal(a->coverage_ns, b->coverage_ns);
	assert_int_equal(a->unreadable_count, b->unreadable_count);
	assert_memory_equal(a->unreadable, b->unreadable, sizeof(a->unreadable));
	assert_int_equal(first.parts_count, again.parts_count);
	for (uint32_t i = 0; i < first.parts_count; i++) {
		assert_int_equal(first.parts[i].rows_count, again.parts[i].rows_count);
		for (uint32_t j = 0; j < first.parts[i].rows_count; j++) {
			assert_int_equal(first.parts[i].rows[j].node, again.parts[i].rows[j].node);
			assert_int_equal(
			        first.parts[i].rows[j].value, again.parts[i].rows[j].value);
		}
	}
	store_sum_fini(&first);
	store_sum_fini(&again);
}

/* Steps of time that miss something say so, and name it. */
static void expect_steps(struct store *store, uint64_t from_ns, uint64_t to_ns, uint64_t whole)
{
	AUTO(store_match) match = store_fixture_find(store, "cpu", from_ns, to_ns);
	autofree uint32_t *groups = store_fixture_groups(match);
	uint64_t bounds_ns[] = { from_ns, to_ns }, value = 0;
	struct store_steps steps;
	struct store_steps_options options = {
		.sum = { .match = match, .groups = groups, .memory_max = 64 << 20 },
		.bounds_ns = bounds_ns,
		.steps_count = 1,
		.groups_count = match->series_count + 1,
	};
	CHECK_OK(store_sum_steps(store, &options, &steps));
	for (uint32_t i = 0; i < options.groups_count; i++)
		value += steps.values[i].value;
	CHECK(value == whole || (value < whole && steps.missing.corrupt > 0));
	expect_named(&steps.missing);
	store_steps_fini(&steps);
}

/*
 * What tells groups apart is damaged, and nothing else: it is named where it is asked for, and
 * detail answers. *ret_is_seen: it is damaged.
 */
static void expect_versions(struct store *store, const struct store_sum *whole, bool *ret_is_seen)
{
	struct store_sum sum = sum_grouped(store, "cpu", 0, 180, true);
	const struct completeness *all = &sum.completeness;
	bool is_of_values = all->unreadable_count == 1 &&
	                    strcmp(all->unreadable[0].what,
	                            "values of groups; its rows were read") == 0;
	*ret_is_seen |= all->corrupt > 0;
	expect_named(all);
	CHECK(all->value <= whole->completeness.value);
	if (all->corrupt == 0) {
		expect_equal(whole, &sum);
	} else if (is_of_values) {
		assert_int_equal(all->corrupt, 1);
		assert_int_equal(all->corrupt_replaced, 1);
		assert_int_equal(all->value, whole->completeness.value);
		assert_int_equal(sum.parts[0].rows_count, whole->parts[0].rows_count);
		struct store_sum total = sum_grouped(store, "cpu", 0, 180, false);
		assert_int_equal(total.completeness.corrupt, 0);
		assert_int_equal(total.completeness.value, whole->completeness.value);
		store_sum_fini(&total);
	}
	store_sum_fini(&sum);
}

/* Exactly one is damaged: it is remembered once, whatever met it, and named once. */
static void expect_one_unreadable(struct store *store)
{
	struct quarantine_record records[4];
	struct store_size size;
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.unreadable, 1);
	assert_int_equal(size.unreadable_overflow, 0);
	assert_int_equal(store_take_unreadable(store, records, 4), 1);
	CHECK(records[0].family[0] && records[0].key[0] && records[0].times > 1);
	CHECK(records[0].reason == -EBADMSG || records[0].reason == -EPROTONOSUPPORT);
	assert_int_equal(store_take_unreadable(store, records, 4), 0);
}

static void a_damaged_block_is_never_a_wrong_number(void **state)
{
	static const enum kv_family families[] = { KV_WINDOW, KV_SUMS, KV_DETAIL, KV_BATCH };
	struct rng rng;
	rng_init(&rng, 1);
	for (size_t f = 0; f < COUNT_OF(families); f++) {
		for (uint64_t index = 0;; index++) {
			TEST_DIR(dir);
			struct store *store = open_store(dir.path);
			struct source source = source_new(store, 1);
			uint64_t batches;
			fill_fleet(store, &source);
			CHECK_OK(store_seal(store, 120 * SECOND));
			uint64_t whole = store_fixture_value(store, "cpu", 0, 180 * SECOND);
			uint64_t cut = store_fixture_value(store, "cpu", 10 * SECOND, 170 * SECOND);
			struct store_sum versions = sum_grouped(store, "cpu", 0, 180, true);
			source_free(&source);
			store_free(store);
			if (!flip(dir.path, families[f], index, &rng)) {
				store_sum_fini(&versions);
				break;
			}

			store = open_store(dir.path);
			bool is_seen = false;
			expect_versions(store, &versions, &is_seen);
			expect_versions(store, &versions, &is_seen);
			store_sum_fini(&versions);
			expect_same_again(store, 0, 180 * SECOND);
			expect_same_again(store, 10 * SECOND, 170 * SECOND);
			expect_steps(store, 10 * SECOND, 170 * SECOND, cut);
			expect_one_unreadable(store);
			for (int round = 0; round < 2; round++) {
				struct store_sum sum = store_fixture_sum(
				        store, "cpu", 0, 180 * SECOND);
				CHECK(sum.completeness.value == whole ||
				        sum.completeness.corrupt > 0);
				CHECK(sum.completeness.value <= whole);
				expect_named(&sum.completeness);
				is_seen |= sum.completeness.corrupt > 0;
				store_sum_fini(&sum);
				sum = store_fixture_sum(store, "cpu", 10 * SECOND, 170 * SECOND);
				CHECK(sum.completeness.value == cut ||
				        sum.completeness.corrupt > 0);
				is_seen |= sum.completeness.corrupt > 0;
				store_sum_fini(&sum);
				/* Somebody has to notice, and sealing the rest hides nothing. */
				CHECK(is_seen);
				CHECK_OK(store_seal(store, UINT64_MAX));
			}
			/* A cut through the damaged window is refused, the window can go. */
			int r = store_delete_range(store, 0, 10 * SECOND, &batches);
			CHECK(r == 0 || r == -EBADMSG);
			CHECK_OK(store_delete_range(store, 0, 180 * SECOND, &batches));
			struct store_sum sum = store_fixture_sum(store, "cpu", 0, UINT64_MAX);
			assert_int_equal(sum.completeness.value, 0);
			assert_int_equal(sum.completeness.corrupt, 0);
			store_sum_fini(&sum);
			assert_int_equal(store_unreadable_count(store), 0);
			store_free(store);
		}
	}
}

static void a_deletion_that_cuts_a_window_leaves_the_rest_as_it_was(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	uint64_t batches;
	struct store_size size;
	fill_fleet(store, &source);
	struct store_sum before = sum_grouped(store, "cpu", 100, 130, true);
	CHECK_OK(store_seal(store, UINT64_MAX));
	CHECK_OK(store_delete_range(store, 10 * SECOND, 100 * SECOND, &batches));
	assert_int_equal(batches, 9);
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.windows, 1);
	assert_int_equal(size.first_ns, 0);
	assert_int_equal(size.last_ns, 170 * SECOND);
	for (int round = 0; round < 2; round++) {
		struct store_sum after = sum_grouped(store, "cpu", 100, 130, true);
		expect_equal(&before, &after);
		store_sum_fini(&after);
		struct store_sum gone = sum_grouped(store, "cpu", 10, 100, true);
		assert_int_equal(gone.completeness.value, 0);
		assert_int_equal(gone.completeness.intervals, 0);
		store_sum_fini(&gone);
		CHECK_OK(store_seal(store, UINT64_MAX));
	}
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.windows, 3);
	store_sum_fini(&before);
	source_free(&source);
	store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sealed_windows_answer_as_open_ones_whatever_is_asked),
		cmocka_unit_test(a_range_that_ends_behind_the_newest_batch_needs_no_detail),
		cmocka_unit_test(what_comes_late_waits_and_becomes_another_generation),
		cmocka_unit_test(much_of_what_comes_late_does_not_wait),
		cmocka_unit_test(a_window_that_grows_too_large_is_sealed_before_its_end),
		cmocka_unit_test(a_sealed_section_that_comes_again_is_known),
		cmocka_unit_test(a_window_past_64_bits_stays_open),
		cmocka_unit_test(a_damaged_block_is_never_a_wrong_number),
		cmocka_unit_test(a_deletion_that_cuts_a_window_leaves_the_rest_as_it_was),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
