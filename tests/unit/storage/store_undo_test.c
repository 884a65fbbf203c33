/*
 * What is only in one place is not lost by hiding, erasing and undoing around it: units that a
 * rollup alone still has, coverage without rows. Each was found by store_oracle_test.c.
 */

#include <errno.h>

#include "core/clock.h"
#include "storage/store_expire.h"
#include "storage/store_verify.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_S 60
#define HOUR_S   (2 * WINDOW_S)

static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	options.roll_ns[0] = HOUR_S * SECOND;
	options.roll_ns[1] = 2 * HOUR_S * SECOND;
	return store_fixture_open_with(options);
}

/* A sample of cart and one of shop in each of two windows, and coverage of mail, which has none. */
static struct store *open_filled(const char *path)
{
	struct store *store = open_store(path);
	struct source of = source_new(store, 1);
	struct source *source = &of;
	for (uint32_t seq = 1; seq <= 2; seq++) {
		source_begin(source, (seq - 1) * WINDOW_S * SECOND, 10 * SECOND);
		CHECK_OK(batch_add_row(source->batch, source_series(source, "cart", "i0", 1),
		        source_stack(source, "work"), 10));
		CHECK_OK(batch_add_row(source->batch, source_series(source, "shop", "i0", 1),
		        source_stack(source, "sell"), 100));
		CHECK_OK(batch_add_coverage(
		        source->batch, source_series(source, "mail", "i0", 1), 9 * SECOND));
		assert_int_equal(source_append(source, store, seq), WIRE_OK);
	}
	CHECK_OK(store_seal(store, UINT64_MAX / 2));
	source_free(source);
	return store;
}

struct found {
	uint32_t level;
	const char *service;
	struct store_inventory_unit unit;
	uint32_t count;
};

static int find_first(void *owner, const struct store_inventory_unit *unit)
{
	struct found *found = owner;
	if (unit->window.level != found->level || strcmp(unit->service, found->service) != 0)
		return 0;
	if (found->count++ == 0)
		found->unit = *unit;
	return 0;
}

/* The first unit of a service in time. */
static struct found find(struct store *store, uint32_t level, const char *service)
{
	struct found found = { .level = level, .service = service };
	CHECK_OK(store_inventory(store, (struct store_inventory_options){ 0 }, find_first, &found));
	CHECK(found.count > 0);
	return found;
}

static void hide(struct store *store, uint64_t run_id, struct store_window_name window,
        uint32_t unit, uint32_t parts)
{
	struct store_run run = { .id = run_id, .hidden_ns = 1 };
	struct store_expire_item item = { window, unit, parts };
	struct store_expired expired;
	CHECK_OK(store_hide(store, &run, &item, 1, &expired));
	assert_int_equal(expired.missing, 0);
}

static void hide_first(struct store *store, uint64_t run_id, const char *service, uint32_t parts)
{
	struct found found = find(store, 0, service);
	hide(store, run_id, found.unit.window, found.unit.unit, parts);
}

static uint64_t total(struct store *store, const char *service)
{
	char text[64];
	snprintf(text, sizeof(text), "cpu{service=\"%s\"}", service);
	return store_fixture_total(store, text, 0, UINT64_MAX);
}

static void undoing_keeps_a_rollup_that_alone_has_another_unit(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_filled(dir.path);
	struct store_expired expired;
	hide_first(store, 1, "cart", STORE_PART_ALL);
	CHECK_OK(store_roll(store, UINT64_MAX / 2));
	hide_first(store, 2, "shop", STORE_PART_ALL);
	CHECK_OK(store_erase(store, 2, NULL, &expired));
	CHECK_OK(store_undo(store, 1, &expired));
	CHECK(expired.missing > 0); /* the rollup goes on without it */
	CHECK_OK(store_roll(store, UINT64_MAX / 2));
	assert_int_equal(total(store, "shop"), 200);
}

static void undoing_makes_a_rollup_anew_where_nothing_is_lost(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_filled(dir.path);
	struct store_expired expired;
	hide_first(store, 1, "cart", STORE_PART_ALL);
	CHECK_OK(store_roll(store, UINT64_MAX / 2));
	CHECK_OK(store_undo(store, 1, &expired));
	CHECK_OK(store_roll(store, UINT64_MAX / 2));
	assert_int_equal(total(store, "cart"), 20);
	assert_int_equal(total(store, "shop"), 200);
}

/* A clock may stand still, or be set back. */
static void check_clock(uint64_t rolled_ns)
{
	TEST_DIR(dir);
	struct clock_virtual clock;
	store_free(open_filled(dir.path));
	struct store_options options = store_fixture_options(dir.path);
	clock_virtual_init(&clock, rolled_ns);
	options.clock = &clock.clock;
	options.window_ns = WINDOW_S * SECOND;
	options.roll_ns[0] = HOUR_S * SECOND;
	options.roll_ns[1] = 2 * HOUR_S * SECOND;
	AUTO(store) store = store_fixture_open_with(options);
	struct store_expired expired;
	hide_first(store, 1, "cart", STORE_PART_ALL); /* at 1 */
	CHECK_OK(store_roll(store, UINT64_MAX / 2));
	CHECK_OK(store_undo(store, 1, &expired));
	CHECK_OK(store_roll(store, UINT64_MAX / 2));
	assert_int_equal(total(store, "cart"), 20);
	assert_int_equal(total(store, "shop"), 200);
}

static void a_rollup_of_the_moment_of_hiding_is_made_anew(void **state)
{
	check_clock(1);
}

static void a_rollup_is_made_anew_although_the_clock_was_set_back(void **state)
{
	check_clock(0);
}

static void a_rollup_takes_no_number_that_a_run_speaks_of(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_filled(dir.path);
	struct store_expired expired;
	hide_first(store, 1, "cart", STORE_PART_ALL);
	CHECK_OK(store_roll(store, HOUR_S * SECOND));
	hide(store, 2, find(store, 1, "shop").unit.window, STORE_UNIT_NONE, STORE_PART_ALL);
	/* It was made while run 1 hid something: it goes, and is made anew. */
	CHECK_OK(store_undo(store, 1, &expired));
	CHECK_OK(store_roll(store, HOUR_S * SECOND));
	assert_int_equal(find(store, 1, "shop").unit.hidden, 0);
}

/* Of mail's unit the detail is gone: coverage, as it has no rows. */
static void erase_detail_of_mail(struct store *store)
{
	struct store_expired expired;
	hide_first(store, 1, "mail", STORE_PART_DETAIL);
	CHECK_OK(store_erase(store, 1, NULL, &expired));
}

static int find_nothing(void *owner, const struct store_finding *finding)
{
	fail_msg("%s: %s", finding->key, finding->reason);
	return 0;
}

static void erased_detail_without_rows_is_no_damage(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_filled(dir.path);
	struct store_verify_options options = { .path = dir.path, .found = find_nothing };
	struct store_verify_summary summary;
	char error[256] = "";
	erase_detail_of_mail(store);
	store_free(store);
	CHECK_OK(store_verify(&options, &summary, error, sizeof(error)));
	assert_int_equal(summary.damaged, 0);
}

static void a_window_is_not_cut_where_only_sums_have_its_coverage(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_filled(dir.path);
	uint64_t batches;
	erase_detail_of_mail(store);
	assert_int_equal(store_delete_range(store, 30 * SECOND, 40 * SECOND, &batches), -ENODATA);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(undoing_keeps_a_rollup_that_alone_has_another_unit),
		cmocka_unit_test(undoing_makes_a_rollup_anew_where_nothing_is_lost),
		cmocka_unit_test(a_rollup_of_the_moment_of_hiding_is_made_anew),
		cmocka_unit_test(a_rollup_is_made_anew_although_the_clock_was_set_back),
		cmocka_unit_test(a_rollup_takes_no_number_that_a_run_speaks_of),
		cmocka_unit_test(erased_detail_without_rows_is_no_damage),
		cmocka_unit_test(a_window_is_not_cut_where_only_sums_have_its_coverage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
