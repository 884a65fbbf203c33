/*
 * Samples of a service past its cap of new stacks are told by every answer that has them, exactly,
 * for as long as any part of them is kept: open, sealed, in sums of hours and days, without detail,
 * after a restart, and however else they are folded there.
 */

#include <errno.h>

#include "core/clock.h"
#include "storage/service_stacks.h"
#include "storage/store_expire.h"
#include "tests/lib/fault.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW (60 * SECOND)
#define HOUR   (2 * WINDOW) /* of these tests */
#define DAY    (2 * HOUR)
#define PERIOD 7

static struct store_options capped(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW;
	options.roll_ns[0] = HOUR;
	options.roll_ns[1] = DAY;
	options.fold_below[1] = 4;
	options.service_stacks_max = 2;
	return options;
}

static struct store *open_capped(const char *path)
{
	return store_fixture_open_with(capped(path));
}

/* A stack of one function below main, or below main and it, of a service's only instance. */
static void put(struct source *source, const char *service, const char *function, uint64_t value)
{
	uint32_t series = source_series(source, service, "a", PERIOD);
	CHECK_OK(batch_add_row(source->batch, series, source_stack(source, function), value));
}

/* 3 of 7 and 30 of 41 samples are past the cap in the first and third window. */
static void fill(struct source *source, struct store *store)
{
	source_begin(source, 0, 10 * SECOND);
	put(source, "wild", "f1", 1);
	put(source, "wild", "f2", 3);
	put(source, "wild", "f3", 1);
	put(source, "wild", "f4", 2);
	put(source, "calm", "f1", 5);
	assert_int_equal(source_append(source, store, 1), WIRE_OK);
	source_begin(source, 2 * WINDOW, 10 * SECOND);
	put(source, "wild", "f1", 1);
	put(source, "wild", "f2", 10);
	put(source, "wild", "f5", 30);
	assert_int_equal(source_append(source, store, 2), WIRE_OK);
}

static struct completeness ask(
        struct store *store, const char *selector, uint64_t from_ns, uint64_t to_ns)
{
	AUTO(store_match) match = store_fixture_find(store, selector, from_ns, to_ns);
	struct store_sum sum = store_fixture_sum_together(store, match, from_ns, to_ns);
	struct completeness completeness = sum.completeness;
	store_sum_fini(&sum);
	return completeness;
}

static void check_capped(struct store *store, const char *selector, uint64_t samples)
{
	struct completeness all = ask(store, selector, 0, DAY);
	assert_int_equal(all.samples_capped, samples);
	assert_int_equal(all.value_capped, samples * PERIOD);
	for (uint32_t reason = 0; reason <= LOSS_REASON_MAX; reason++)
		assert_int_equal(all.lost[reason], 0);
}

static void check_all(struct store *store)
{
	check_capped(store, "cpu{service=\"wild\"}", 33);
	check_capped(store, "cpu{service=\"calm\"}", 0);
	check_capped(store, "cpu", 33);
}

static void drop(
        struct store *store, uint64_t run_id, uint32_t level, uint64_t length_ns, uint32_t parts)
{
	struct store_expire_item items[4];
	struct store_expired expired;
	struct store_run run = { .id = run_id };
	uint32_t count = 0;
	for (uint64_t at = 0; at < DAY; at += length_ns)
		if (level > 0 || at % HOUR == 0)
			items[count++] = (struct store_expire_item){
				.window = { level, 0, at, at + length_ns },
				.unit = STORE_UNIT_NONE,
				.parts = parts,
			};
	CHECK_OK(store_hide(store, &run, items, count, &expired));
	assert_int_equal(expired.missing, 0);
	CHECK_OK(store_erase(store, run.id, NULL, &expired));
}

static struct store *again(struct store *store, const char *path)
{
	store_free(store);
	return open_capped(path);
}

static void what_is_past_the_cap_is_told_for_as_long_as_it_is_kept(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_capped(dir.path);
	struct source source = source_new(store, 1);
	fill(&source, store);
	check_all(store);
	assert_int_equal(ask(store, "cpu", 0, WINDOW).samples_capped, 3);
	store = again(store, dir.path);
	check_all(store);

	CHECK_OK(store_seal(store, UINT64_MAX));
	check_all(store);
	assert_int_equal(ask(store, "cpu", 0, WINDOW).resolution_coarsest_ns, WINDOW);
	assert_int_equal(ask(store, "cpu", 1, DAY).samples_capped, 30); /* by its start */
	drop(store, 1, 0, WINDOW, STORE_PART_DETAIL);
	check_all(store);

	CHECK_OK(store_roll(store, DAY));
	check_all(store);
	struct completeness day = ask(store, "cpu", 0, DAY);
	assert_int_equal(day.resolution_finest_ns, DAY);
	/* And what is rare in the day goes to main as well, which is not counted for the cap. */
	assert_int_equal(day.samples_folded, 2);
	assert_int_equal(day.value_folded, 2 * PERIOD);
	drop(store, 2, 0, WINDOW, STORE_PART_ALL);
	drop(store, 3, 1, HOUR, STORE_PART_ALL);
	store = again(store, dir.path);
	check_all(store);
	source_free(&source);
	store_free(store);
}

static void more_folded_than_there_is_is_refused(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_capped(dir.path);
	struct source source = source_new(store, 1);
	struct store_counters counters;
	for (uint64_t said = 5; said <= 6; said++) {
		source_begin(&source, 0, 10 * SECOND);
		put(&source, "other", "f1", 9);
		put(&source, "wild", "f1", 5);
		CHECK_OK(batch_add_loss(source.batch, source_series(&source, "wild", "a", PERIOD),
		        LOSS_FOLDED, said));
		assert_int_equal(
		        source_append(&source, store, said), said == 5 ? WIRE_OK : WIRE_REJECT);
	}
	/* Nobody's is an unknown loss. */
	source_begin(&source, 1, 10 * SECOND);
	put(&source, "wild", "f1", 5);
	CHECK_OK(batch_add_loss(source.batch, SERIES_NONE, LOSS_FOLDED, 100));
	assert_int_equal(source_append(&source, store, 7), WIRE_OK);
	CHECK_OK(store_counters(store, "", &counters));
	assert_int_equal(counters.samples_folded, 5);
	assert_int_equal(counters.lost[0], 100);
	struct completeness all = ask(store, "cpu", 0, DAY);
	assert_int_equal(all.samples_capped, 5);
	assert_int_equal(all.lost[0], 100);
	source_free(&source);
	store_free(store);
}

/* Sent again and again while there is no room, and at last taken: it has only come once. */
static void what_was_not_kept_does_not_count_for_the_cap(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_capped(dir.path);
	struct source source = source_new(store, 1);
	struct store_counters counters;
	source_begin(&source, 0, 10 * SECOND);
	put(&source, "wild", "f1", 1);
	put(&source, "wild", "f2", 1);
	struct store_append append = source_section(&source, 1);
	for (uint32_t nth = 0;; nth++) {
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		int r = store_append(store, &append, 1);
		if (!fault_disarm()) {
			CHECK_OK(r);
			break;
		}
		CHECK(r == -ENOMEM);
	}
	assert_int_equal(append.ret_status, WIRE_OK);
	CHECK_OK(store_counters(store, "", &counters));
	assert_int_equal(counters.samples_folded, 0);
	/* And the next one is past it. */
	source_begin(&source, SECOND, 10 * SECOND);
	put(&source, "wild", "f3", 5);
	assert_int_equal(source_append(&source, store, 2), WIRE_OK);
	CHECK_OK(store_counters(store, "", &counters));
	assert_int_equal(counters.samples_folded, 5);
	source_free(&source);
	store_free(store);
}

/* A sample of so many stacks that nobody has brought yet; how many of them are past a cap. */
static uint64_t bring_new(struct store *store, struct source *source, const char *tenant,
        const char *service, uint32_t count)
{
	static uint32_t brought;
	struct store_counters before, after;
	CHECK_OK(store_counters(store, tenant, &before));
	source->stream.tenant = tenant;
	source_begin(source, brought * SECOND, SECOND);
	for (uint32_t i = 0; i < count; i++) {
		char function[16];
		snprintf(function, sizeof(function), "n%u", brought++);
		put(source, service, function, 1);
	}
	assert_int_equal(source_append(source, store, ++source->stream.seq), WIRE_OK);
	CHECK_OK(store_counters(store, tenant, &after));
	return after.samples_folded - before.samples_folded;
}

static void each_service_of_each_tenant_has_a_cap_of_its_own_in_each_window(void **state)
{
	TEST_DIR(dir);
	struct clock_virtual clock;
	struct store_options options = capped(dir.path);
	clock_virtual_init(&clock, 100 * WINDOW);
	options.clock = &clock.clock;
	struct store *store = store_fixture_open_with(options);
	struct source source = source_new(store, 1);
	for (int window = 0; window < 3; window++) {
		assert_int_equal(bring_new(store, &source, "a", "wild", 1), 0);
		clock_virtual_advance(&clock, WINDOW - 1); /* its last moment */
		assert_int_equal(bring_new(store, &source, "a", "wild", 2), 1);
		assert_int_equal(bring_new(store, &source, "b", "wild", 3), 1);
		assert_int_equal(bring_new(store, &source, "a", "calm", 2), 0);
		assert_int_equal(bring_new(store, &source, "a", "wild", 5), 5);
		clock_virtual_advance(&clock, 1);
	}
	source_free(&source);
	store_free(store);
}

/* Two senders of one group whose stacks are the same: they are new once, and counted once. */
static void stacks_that_two_sections_of_a_group_bring_are_new_once(void **state)
{
	enum { SENDERS = 2, STACKS = 70 };
	TEST_DIR(dir);
	struct store_options options = store_fixture_options(dir.path);
	options.service_stacks_max = STACKS + 1;
	struct store *store = store_fixture_open_with(options);
	struct source sources[SENDERS] = { source_new(store, 1), source_new(store, 2) };
	struct store_append appends[SENDERS];
	char function[16];
	for (uint32_t s = 0; s < SENDERS; s++) {
		source_begin(&sources[s], 0, 10 * SECOND);
		for (uint32_t i = 0; i < STACKS; i++) {
			/* The other one has them the other way around. */
			snprintf(function, sizeof(function), "f%u", s ? STACKS - 1 - i : i);
			put(&sources[s], "service", function, 1);
		}
		appends[s] = source_section(&sources[s], 1);
	}
	CHECK_OK(store_append(store, appends, SENDERS));
	struct dict_mark mark = dict_mark(store_dict(store));
	assert_int_equal(mark.nodes, 2 + STACKS); /* the root and main */
	assert_int_equal(mark.frames, 1 + STACKS);
	check_capped(store, "cpu", 0);

	/* There is room for one more of this service; what is known is so as well past the cap. */
	source_begin(&sources[1], 0, 10 * SECOND);
	for (uint32_t i = 0; i < 3; i++) {
		snprintf(function, sizeof(function), "g%u", i);
		put(&sources[1], "service", function, 10);
		put(&sources[1], "other", function, 1);
	}
	put(&sources[1], "service", "f3", 100);
	assert_int_equal(source_append(&sources[1], store, 2), WIRE_OK);
	check_capped(store, "cpu", 20);
	for (uint32_t s = 0; s < SENDERS; s++)
		source_free(&sources[s]);
	store_free(store);
}

static uint32_t *count_of(struct service_stacks *services, uint32_t service)
{
	uint32_t *count = NULL;
	CHECK_OK(service_stacks_get(services, 1, 1, "", service, &count));
	return count;
}

/* Of several groups only the last, whoever was in it. */
static void what_is_taken_back_is_what_the_last_group_brought(void **state)
{
	struct service_stacks *services = service_stacks_new();
	(void)state;
	assert_non_null(services);
	service_stacks_begin(services);
	*count_of(services, 1) += 5;
	*count_of(services, 2) += 7;
	service_stacks_begin(services);
	*count_of(services, 1) += 3;
	*count_of(services, 1) += 4; /* as it was before the first of both */
	*count_of(services, 3) += 9;
	service_stacks_take_back(services);
	service_stacks_begin(services);
	assert_int_equal(*count_of(services, 1), 5);
	assert_int_equal(*count_of(services, 2), 7);
	assert_int_equal(*count_of(services, 3), 0);
	service_stacks_free(services);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_taken_back_is_what_the_last_group_brought),
		cmocka_unit_test(what_is_past_the_cap_is_told_for_as_long_as_it_is_kept),
		cmocka_unit_test(more_folded_than_there_is_is_refused),
		cmocka_unit_test(each_service_of_each_tenant_has_a_cap_of_its_own_in_each_window),
		cmocka_unit_test(what_was_not_kept_does_not_count_for_the_cap),
		cmocka_unit_test(stacks_that_two_sections_of_a_group_bring_are_new_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
