/*
 * Where the sums of a rollup are damaged, what it was made of answers for the unit: exactly, and
 * named. Where that is gone, the unit is left out, and named as well.
 */

#include <errno.h>

#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_damage.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW (60 * SECOND)
#define HOUR   (3 * WINDOW) /* of these tests */
#define DAY    (2 * HOUR)

static struct store *open_rolling(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW;
	options.roll_ns[0] = HOUR;
	options.roll_ns[1] = DAY;
	return store_fixture_open_with(options);
}

static void put(struct source *source, const char *service, const char *version,
        const char *function, uint64_t value)
{
	struct series series = {
		.type = source_string(source, "cpu"),
		.unit = source_string(source, "nanoseconds"),
		.period = 7,
	};
	struct label labels[] = {
		{ source_string(source, "service"), source_string(source, service) },
		{ source_string(source, "instance"), source_string(source, version) },
		{ source_string(source, "version"), source_string(source, version) },
	};
	uint32_t id;
	CHECK_OK(dict_series(source->dict, &series, labels, COUNT_OF(labels), &id));
	CHECK_OK(batch_add_row(source->batch, id, source_stack(source, function), value));
	CHECK_OK(batch_add_coverage(source->batch, id, 9 * SECOND));
	CHECK_OK(batch_add_loss(source->batch, id, LOSS_RING_FULL, 2));
}

/* Two services of two versions in every window of a day, sealed and rolled up. */
static void fill(const char *path, store_classify classify)
{
	struct store *store = open_rolling(path);
	store_set_classify(store, classify, NULL);
	struct source source = source_new(store, 1);
	for (uint64_t at = 0; at < DAY; at += WINDOW) {
		source_begin(&source, at, 10 * SECOND);
		for (int i = 0; i < 8; i++) {
			char function[8];
			snprintf(function, sizeof(function), "f%d", i);
			put(&source, i % 2 ? "cart" : "shop", i / 2 % 2 ? "1" : "2", function,
			        at / WINDOW + (uint64_t)i + 1);
		}
		assert_int_equal(source_append(&source, store, at / WINDOW + 1), WIRE_OK);
	}
	CHECK_OK(store_seal(store, UINT64_MAX));
	CHECK_OK(store_roll(store, DAY));
	source_free(&source);
	store_free(store);
}

/* By version, so that the values of groups are needed. */
static struct store_sum ask(struct store *store, const char *selector)
{
	AUTO(store_match) match = store_fixture_find(store, selector, 0, DAY);
	const struct store_match_part *part = &match->parts[0];
	autofree uint32_t *groups = calloc((size_t)match->series_count + 1, sizeof(*groups));
	assert_int_equal(match->parts_count, 1);
	for (uint32_t i = 0; i < part->series_count; i++)
		groups[i] = dict_label_value(
		        part->dict, part->series[i], dict_find_string(part->dict, "version", 7));
	return store_fixture_sum_by(store, match, groups, 0, DAY);
}

/* Rows and all that completeness says but for damage and resolution. */
static void expect_exact(const struct store_sum *whole, const struct store_sum *sum)
{
	struct completeness a = whole->completeness;
	struct completeness b = sum->completeness;
	assert_int_equal(whole->parts[0].rows_count, sum->parts[0].rows_count);
	assert_memory_equal(whole->parts[0].rows, sum->parts[0].rows,
	        sum->parts[0].rows_count * sizeof(*sum->parts[0].rows));
	b.corrupt = 0;
	b.corrupt_replaced = 0;
	b.resolution_finest_ns = a.resolution_finest_ns;
	b.resolution_coarsest_ns = a.resolution_coarsest_ns;
	assert_memory_equal(&a, &b, offsetof(struct completeness, unreadable_count));
}

/* All windows of a level go for good. */
static void drop(const char *path, uint32_t level)
{
	static const uint64_t lengths[] = { WINDOW, HOUR, DAY };
	struct store *store = open_rolling(path);
	struct store_expire_item items[8];
	struct store_expired expired;
	struct store_run run = { .id = level + 1 };
	uint32_t count = 0;
	for (uint64_t at = 0; at < DAY; at += lengths[level])
		items[count++] = (struct store_expire_item){
			.window = { level, 0, at, at + lengths[level] },
			.unit = STORE_UNIT_NONE,
			.parts = STORE_PART_ALL,
		};
	CHECK_OK(store_hide(store, &run, items, count, &expired));
	assert_int_equal(expired.missing, 0);
	CHECK_OK(store_erase(store, run.id, NULL, &expired));
	store_free(store);
}

static void expect_named(const struct completeness *all, const char *what, uint64_t length_ns)
{
	for (uint32_t i = 0; i < all->unreadable_count; i++) {
		const struct unreadable *one = &all->unreadable[i];
		if (strcmp(one->what, what) == 0 && one->to_ns - one->from_ns == length_ns &&
		        (strcmp(one->service, "cart") == 0 || strcmp(one->service, "shop") == 0) &&
		        strcmp(one->type, "cpu") == 0)
			return;
	}
	fail_msg("\"%s\" is not named", what);
}

static void sums_of_a_day_are_read_from_what_it_was_made_of(void **state)
{
	static const struct {
		enum keys_block_part part;
		const char *what;
	} cases[] = {
		{ KEYS_BLOCK_SUMS, "sums; finer windows were read" },
		{ KEYS_BLOCK_VALUES, "values of groups; finer windows were read" },
		{ KEYS_BLOCK_MEMBERS, "members; finer windows were read" },
	};
	for (size_t i = 0; i < COUNT_OF(cases) * 2; i++) {
		TEST_DIR(dir);
		bool is_of_all = i % 2;
		fill(dir.path, NULL);
		struct store *store = open_rolling(dir.path);
		struct store_sum whole = ask(store, "cpu");
		assert_int_equal(whole.completeness.resolution_finest_ns, DAY);
		store_free(store);
		uint32_t damaged = store_damage(
		        dir.path, KV_SUMS_DAY, cases[i / 2].part, is_of_all);
		assert_int_equal(damaged, 1 + is_of_all);

		store = open_rolling(dir.path);
		for (int round = 0; round < 2; round++) {
			struct store_sum sum = ask(store, "cpu");
			expect_exact(&whole, &sum);
			assert_int_equal(
			        sum.completeness.corrupt, sum.completeness.corrupt_replaced);
			assert_true(sum.completeness.corrupt > 0);
			assert_int_equal(sum.completeness.resolution_finest_ns, HOUR);
			expect_named(&sum.completeness, cases[i / 2].what, DAY);
			store_sum_fini(&sum);
		}
		store_sum_fini(&whole);
		store_free(store);
	}
}

static void a_damaged_hour_of_a_damaged_day_is_read_from_its_windows(void **state)
{
	TEST_DIR(dir);
	fill(dir.path, NULL);
	struct store *store = open_rolling(dir.path);
	struct store_sum whole = ask(store, "cpu");
	store_free(store);
	assert_int_equal(store_damage(dir.path, KV_SUMS_DAY, KEYS_BLOCK_SUMS, true), 2);
	assert_int_equal(store_damage(dir.path, KV_SUMS_HOUR, KEYS_BLOCK_VALUES, false), 2);

	store = open_rolling(dir.path);
	struct store_sum sum = ask(store, "cpu");
	expect_exact(&whole, &sum);
	assert_int_equal(sum.completeness.corrupt, 4);
	assert_int_equal(sum.completeness.corrupt_replaced, 4);
	assert_int_equal(sum.completeness.resolution_finest_ns, WINDOW);
	assert_int_equal(sum.completeness.resolution_coarsest_ns, HOUR);
	expect_named(&sum.completeness, "sums; finer windows were read", DAY);
	expect_named(&sum.completeness, "values of groups; finer windows were read", HOUR);
	store_sum_fini(&sum);
	store_free(store);

	/* And with the hours alone, what is damaged in both is missing. */
	drop(dir.path, 0);
	store = open_rolling(dir.path);
	sum = ask(store, "cpu");
	assert_int_equal(sum.completeness.corrupt, 4);
	assert_int_equal(sum.completeness.corrupt_replaced, 2);
	assert_true(sum.completeness.value < whole.completeness.value);
	expect_named(&sum.completeness, "values of groups", HOUR);
	store_sum_fini(&sum);
	store_sum_fini(&whole);
	store_free(store);
}

static void where_finer_windows_are_gone_the_unit_is_left_out_and_named(void **state)
{
	TEST_DIR(dir);
	fill(dir.path, NULL);
	struct store *store = open_rolling(dir.path);
	struct store_sum whole = ask(store, "cpu");
	struct store_sum shop = ask(store, "cpu{service=\"shop\"}");
	store_free(store);
	assert_int_equal(store_damage(dir.path, KV_SUMS_DAY, KEYS_BLOCK_SUMS, false), 1);

	/* The hours are enough. */
	drop(dir.path, 0);
	store = open_rolling(dir.path);
	struct store_sum sum = ask(store, "cpu");
	expect_exact(&whole, &sum);
	assert_int_equal(sum.completeness.corrupt_replaced, 1);
	store_sum_fini(&sum);
	store_free(store);

	drop(dir.path, 1);
	store = open_rolling(dir.path);
	sum = ask(store, "cpu");
	assert_int_equal(sum.completeness.corrupt, 1);
	assert_int_equal(sum.completeness.corrupt_replaced, 0);
	assert_int_equal(sum.completeness.unreadable_count, 1);
	expect_named(&sum.completeness, "sums", DAY);
	/* The other unit is all there is. */
	bool is_of_shop = strcmp(sum.completeness.unreadable[0].service, "shop") == 0;
	assert_int_equal(sum.completeness.value,
	        is_of_shop ? whole.completeness.value - shop.completeness.value
	                   : shop.completeness.value);
	store_sum_fini(&sum);
	store_sum_fini(&shop);
	store_sum_fini(&whole);
	store_free(store);
}

static uint32_t class_of_version(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	uint32_t version = dict_label_value(dict, series, dict_find_string(dict, "version", 7));
	return strcmp(dict_text(dict, version), "1") == 0;
}

/* Units of a class each, in all levels, or (late) only where rows are. */
static void units_that_are_parted_are_read_by_their_series(void **state)
{
	for (int is_late = 0; is_late < 2; is_late++) {
		TEST_DIR(dir);
		fill(dir.path, is_late ? NULL : class_of_version);
		struct store *store = open_rolling(dir.path);
		struct store_sum whole = ask(store, "cpu");
		for (uint64_t at = 0; is_late && at < DAY; at += WINDOW) {
			struct store_window_name name = { 0, 0, at, at + WINDOW };
			struct store_resealed resealed;
			CHECK_OK(store_reseal(store, name, class_of_version, NULL, &resealed));
			assert_int_equal(resealed.units_made, 4);
		}
		store_free(store);
		drop(dir.path, 1);
		assert_int_equal(store_damage(dir.path, KV_SUMS_DAY, KEYS_BLOCK_SUMS, false), 1);
		store = open_rolling(dir.path);
		struct store_sum sum = ask(store, "cpu");
		expect_exact(&whole, &sum);
		assert_int_equal(sum.completeness.corrupt_replaced, 1);
		assert_int_equal(sum.completeness.resolution_finest_ns, WINDOW);
		store_sum_fini(&sum);
		store_free(store);

		/* With damaged members nobody can say whose they are: all of the day is read finer.
		 */
		assert_int_equal(store_damage(dir.path, KV_SUMS_DAY, KEYS_BLOCK_MEMBERS, false), 1);
		store = open_rolling(dir.path);
		sum = ask(store, "cpu");
		expect_exact(&whole, &sum);
		store_sum_fini(&sum);
		store_sum_fini(&whole);
		store_free(store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_of_a_day_are_read_from_what_it_was_made_of),
		cmocka_unit_test(a_damaged_hour_of_a_damaged_day_is_read_from_its_windows),
		cmocka_unit_test(units_that_are_parted_are_read_by_their_series),
		cmocka_unit_test(where_finer_windows_are_gone_the_unit_is_left_out_and_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
