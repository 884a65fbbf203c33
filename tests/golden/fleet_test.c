/*
 * The synthetic fleet of the measurements (bench/fleet.h): the same seed gives the same rows on
 * every machine and whatever is asked in whatever order, and a fleet has the properties that its
 * measurements stand on, within bounds that are stated here.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/fleet.h"
#include "bench/fleet_files.h"
#include "bench/fleet_number.h"
#include "bench/fleet_stats.h"
#include "profile/folded.h"
#include "profile/pprof.h"
#include "profile/symbols.h"
#include "tests/lib/test.h"

#define MINUTE_NS (UINT64_C(60) * 1000000000)

/* Small enough for a sanitized build; large enough for ratios: 4,800 reports. */
static const struct fleet_options small_fleet = {
	.seed = 7,
	.services = 2,
	.instances = 20,
	.rows = 60,
	.duration_ns = 40 * MINUTE_NS,
	.life_ns = 60 * MINUTE_NS,
	.changed_percent = 50,
	.fresh_permille = 20,
	.pool_draws = 20000,
};

static struct fleet_figures figures_of(struct fleet_options options, bool is_slot_major)
{
	AUTO(fleet) fleet = fleet_new(options);
	CHECK(fleet != NULL);
	AUTO(fleet_stats) stats = fleet_stats_new(fleet);
	CHECK(stats != NULL);
	uint64_t count = fleet_ticks(fleet) * fleet_slots(fleet);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t tick = is_slot_major ? i % fleet_ticks(fleet) : i / fleet_slots(fleet);
		uint64_t slot = is_slot_major ? i / fleet_ticks(fleet) : i % fleet_slots(fleet);
		struct fleet_report report;
		CHECK_OK(fleet_report(fleet, tick, (uint32_t)slot, &report));
		CHECK_OK(fleet_stats_add(stats, &report));
	}
	return fleet_stats_figures(stats);
}

static void rows_of_a_seed_are_these_on_every_machine(void **state)
{
	(void)state;
	struct fleet_options options = small_fleet;
	options.duration_ns = 10 * MINUTE_NS;
	struct fleet_figures figures = figures_of(options, false);
	assert_int_equal(figures.reports, 1200);
	assert_int_equal(figures.rows_hash, UINT64_C(0x7ef26c317e6a458c));
}

static void order_of_asking_changes_nothing(void **state)
{
	(void)state;
	struct fleet_options options = small_fleet;
	options.duration_ns = 10 * MINUTE_NS;
	struct fleet_figures by_tick = figures_of(options, false);
	struct fleet_figures by_slot = figures_of(options, true);
	assert_int_equal(by_tick.rows_hash, by_slot.rows_hash);
	assert_int_equal(by_tick.stacks, by_slot.stacks);
	assert_int_equal(by_tick.instances, by_slot.instances);
}

static void another_seed_is_another_fleet(void **state)
{
	(void)state;
	struct fleet_options options = small_fleet;
	options.duration_ns = 2 * MINUTE_NS;
	struct fleet_figures one = figures_of(options, false);
	options.seed++;
	CHECK(one.rows_hash != figures_of(options, false).rows_hash);
}

static void fleet_has_the_properties_its_measurements_stand_on(void **state)
{
	(void)state;
	struct fleet_figures figures = figures_of(small_fleet, false);
	double rows = (double)figures.rows;
	double per_report = rows / (double)figures.reports;
	double depth = (double)figures.depths / rows;

	CHECK(per_report > 45 && per_report < 75);
	CHECK(depth > 30 && depth < 45);
	/* Some twenty slots, each replaced by the rollout, and one in two besides by churn. */
	CHECK(figures.instances > 40 && figures.instances < 80);
	CHECK((double)figures.rows_of_one / rows > 0.85);
	CHECK((double)figures.rows_shared / rows > 0.9);
	CHECK(figures.stacks_shared < figures.stacks);
	CHECK(figures.version_reports[0] > figures.reports / 2);
	CHECK(figures.version_reports[1] > figures.reports / 4);
}

static void changed_function_is_slower_by_what_was_asked_for(void **state)
{
	(void)state;
	struct fleet_figures figures = figures_of(small_fleet, false);
	double share[FLEET_VERSIONS];
	for (int i = 0; i < FLEET_VERSIONS; i++)
		share[i] = (double)figures.version_changed[i] / (double)figures.version_samples[i];

	/* 4 % of the pools' draws become 6 % of 102 %; fresh draws have none of it. */
	CHECK(share[0] > 0.036 && share[0] < 0.042);
	CHECK(share[1] / share[0] > 1.42 && share[1] / share[0] < 1.52);
}

static void versions_have_functions_of_one_name_in_files_of_two_builds(void **state)
{
	(void)state;
	AUTO(fleet) fleet = fleet_new(small_fleet);
	CHECK(fleet != NULL);
	const struct fleet_tree *tree = fleet_tree_of(fleet);
	char before[FLEET_NAME_BYTES_MAX];
	char after[FLEET_NAME_BYTES_MAX];
	for (uint32_t function = 0; function < 100; function++) {
		fleet_tree_function_name(tree, 0, function, before);
		fleet_tree_function_name(tree, 1, function, after);
		assert_string_equal(before, after);
	}
	CHECK(strcmp(fleet_tree_module(tree, 0).build_id, fleet_tree_module(tree, 1).build_id) !=
	        0);
	fleet_tree_function_name(tree, 0, FLEET_CHANGED_FUNCTION, before);
	assert_string_equal(before, "cart::ledger::recompute_totals");
}

static void uploaded_symbols_name_every_native_frame(void **state)
{
	(void)state;
	AUTO(fleet) fleet = fleet_new(small_fleet);
	AUTO(dict) dict = dict_new(dict_limits_default);
	CHECK(fleet && dict);
	AUTO(fleet_observer) observer = fleet_observer_new(fleet, dict, FLEET_ADDRESSES);
	AUTO(batch) batch = batch_new(dict);
	CHECK(observer && batch);
	assert_int_equal(fleet_next_report(fleet, observer, batch), 1);
	uint32_t natives = 0;
	for (uint32_t i = 0; i < dict_mark(dict).modules; i++) {
		const char *build_id = dict_text(dict, dict_get_module(dict, i)->build_id);
		if (!build_id[0])
			continue;
		AUTO_BUF table = { 0 };
		CHECK_OK(fleet_symbols(fleet, build_id, strlen(build_id), &table));
		AUTO(symbols) symbols = NULL;
		CHECK_OK(symbols_open(table.bytes, table.count, &symbols));
		for (uint32_t id = 0; id < dict_mark(dict).frames; id++) {
			struct frame frame = dict_get_frame(dict, id);
			uint64_t start;
			if (frame.kind != FRAME_NATIVE || frame.module != i)
				continue;
			natives++;
			assert_non_null(symbols_find(symbols, frame.address, &start));
		}
	}
	CHECK(natives > 100);
	AUTO_BUF none = { 0 };
	assert_int_equal(fleet_symbols(fleet, "00", 2, &none), -ENOENT);
}

/* What a report sums to does not depend on how its frames are written. */
static void batches_hold_every_sample_with_addresses_and_with_names(void **state)
{
	(void)state;
	static const enum fleet_frames forms[] = { FLEET_ADDRESSES, FLEET_NAMES };
	for (uint32_t form = 0; form < COUNT_OF(forms); form++) {
		AUTO(fleet) fleet = fleet_new(small_fleet);
		AUTO(dict) dict = dict_new(dict_limits_default);
		CHECK(fleet && dict);
		AUTO(fleet_observer) observer = fleet_observer_new(fleet, dict, forms[form]);
		AUTO(batch) batch = batch_new(dict);
		CHECK(observer && batch);
		for (uint32_t slot = 0; slot < 5; slot++) {
			struct fleet_report report;
			batch_reset(batch);
			CHECK_OK(fleet_report(fleet, 0, slot, &report));
			CHECK_OK(fleet_observer_put(observer, &report, batch));
			assert_int_equal(batch_samples(batch), report.samples_count);
			assert_int_equal(batch->duration_ns, FLEET_REPORT_NS);
			for (uint32_t i = 1; i < batch->rows_count; i++)
				CHECK(batch->rows[i - 1].node < batch->rows[i].node);
		}
	}
}

static uint64_t samples_of_file(const char *folder, const char *name, bool is_pprof)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	AUTO(dict) dict = dict_new(dict_limits_default);
	CHECK(dict != NULL);
	AUTO(batch) batch = batch_new(dict);
	CHECK(batch != NULL);
	size_t count;
	autofree char *bytes = test_file_read(path, &count);
	struct parse_error error;
	struct pprof_report report;
	uint64_t skipped;
	struct series series = { .period = FLEET_PERIOD_NS };
	uint32_t id = 0;
	CHECK_OK(dict_cstring(dict, "cpu", &series.type));
	CHECK_OK(dict_cstring(dict, "nanoseconds", &series.unit));
	if (is_pprof) {
		struct pprof_options none = { 0 };
		CHECK_OK(pprof_parse(bytes, count, none, batch, &report, &error));
		assert_int_equal(report.time_unix_ns, FLEET_START_NS);
		assert_int_equal(report.duration_ns, FLEET_REPORT_NS);
	} else {
		CHECK_OK(dict_series(dict, &series, NULL, 0, &id));
		CHECK_OK(folded_parse(bytes, count, batch, id, &skipped, &error));
		assert_int_equal(skipped, 0);
	}
	uint64_t sum = 0;
	for (uint32_t i = 0; i < batch->rows_count; i++)
		sum += batch->rows[i].value * dict_get_series(dict, batch->rows[i].series)->period /
		       FLEET_PERIOD_NS;
	return sum;
}

static void files_of_both_forms_hold_what_the_report_holds(void **state)
{
	(void)state;
	TEST_DIR(dir);
	AUTO(fleet) fleet = fleet_new(small_fleet);
	AUTO(fleet) again = fleet_new(small_fleet);
	CHECK(fleet && again);
	struct fleet_files_options options = {
		.pprof = dir.path,
		.folded = dir.path,
		.files_max = 2,
	};
	struct fleet_files_figures figures;
	struct fleet_report report;
	CHECK_OK(fleet_files_write(fleet, options, &figures));
	assert_int_equal(figures.files, 2);
	CHECK_OK(fleet_report(again, 0, 0, &report));
	assert_int_equal(samples_of_file(dir.path, "000000.folded", false), report.samples_count);
	assert_int_equal(samples_of_file(dir.path, "000000.pb.gz", true), report.samples_count);
}

static void full_dict_is_told_and_the_same_report_comes_again(void **state)
{
	(void)state;
	struct dict_limits limits = dict_limits_default;
	limits.nodes = 4000;
	AUTO(fleet) fleet = fleet_new(small_fleet);
	AUTO(fleet) unbounded_fleet = fleet_new(small_fleet);
	AUTO(dict) dict = dict_new(limits);
	AUTO(dict) unbounded_dict = dict_new(dict_limits_default);
	CHECK(fleet && unbounded_fleet && dict && unbounded_dict);
	AUTO(fleet_observer) observer = fleet_observer_new(fleet, dict, FLEET_ADDRESSES);
	AUTO(fleet_observer) unbounded = fleet_observer_new(
	        unbounded_fleet, unbounded_dict, FLEET_ADDRESSES);
	AUTO(batch) batch = batch_new(dict);
	AUTO(batch) expected = batch_new(unbounded_dict);
	CHECK(observer && unbounded && batch && expected);
	uint32_t resets = 0;
	for (uint32_t i = 0; i < 100; i++) {
		int r = fleet_next_report(fleet, observer, batch);
		if (r == -ENOSPC) {
			resets++;
			dict_reset(dict);
			fleet_observer_reset(observer);
			r = fleet_next_report(fleet, observer, batch);
		}
		assert_int_equal(r, 1);
		assert_int_equal(fleet_next_report(unbounded_fleet, unbounded, expected), 1);
		assert_int_equal(batch->start_ns, expected->start_ns);
		assert_int_equal(batch->rows_count, expected->rows_count);
		assert_int_equal(batch_samples(batch), batch_samples(expected));
	}
	CHECK(resets > 0);
}

static void fixed_point_functions_are_near_what_they_stand_for(void **state)
{
	(void)state;
	static const struct {
		int64_t log2; /* in 1/65536 */
		uint64_t power;
	} cases[] = {
		{ 0, 65536 },
		{ 65536, 131072 },
		{ -65536, 32768 },
		{ 32768, 92682 }, /* the root of 2 */
		{ 10 * 65536, 67108864 },
	};
	for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
		double ratio = (double)fleet_exp2(cases[i].log2) / (double)cases[i].power;
		CHECK(ratio > 0.997 && ratio < 1.003);
		int64_t log2 = fleet_log2(cases[i].power) - ((int64_t)16 << 16);
		CHECK(llabs(log2 - cases[i].log2) < 700);
	}
	struct rng rng;
	rng_init(&rng, 1);
	int64_t sum = 0;
	uint64_t lives = 0;
	for (int i = 0; i < 10000; i++) {
		sum += fleet_normal(&rng);
		lives += fleet_exponential(&rng, 1000);
	}
	CHECK(llabs(sum / 10000) < 2000);
	CHECK(lives / 10000 > 960 && lives / 10000 < 1040);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_of_a_seed_are_these_on_every_machine),
		cmocka_unit_test(order_of_asking_changes_nothing),
		cmocka_unit_test(another_seed_is_another_fleet),
		cmocka_unit_test(fleet_has_the_properties_its_measurements_stand_on),
		cmocka_unit_test(changed_function_is_slower_by_what_was_asked_for),
		cmocka_unit_test(versions_have_functions_of_one_name_in_files_of_two_builds),
		cmocka_unit_test(uploaded_symbols_name_every_native_frame),
		cmocka_unit_test(batches_hold_every_sample_with_addresses_and_with_names),
		cmocka_unit_test(files_of_both_forms_hold_what_the_report_holds),
		cmocka_unit_test(full_dict_is_told_and_the_same_report_comes_again),
		cmocka_unit_test(fixed_point_functions_are_near_what_they_stand_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
