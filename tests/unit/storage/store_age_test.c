/*
 * How old an interval may be when it comes, to the nanosecond: what ended longer ago than late-max
 * is refused of those whose data is always of now, and counted; and so is what all of has expired
 * by policy, but not before its window has ended.
 */

#include "core/clock.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

#define LATE_MAX_NS (1000 * SECOND)
#define WINDOW_NS   (60 * SECOND)

static struct store *open_store(const char *path, struct clock_virtual *clock)
{
	struct store_options options = store_fixture_options(path);
	clock_virtual_init(clock, 100000 * SECOND);
	options.clock = &clock->clock;
	options.window_ns = WINDOW_NS;
	options.late_max_ns = LATE_MAX_NS;
	return store_fixture_open_with(options);
}

static uint32_t append(struct store *store, struct source *source, uint64_t start_ns,
        uint64_t duration_ns, bool refuse_late)
{
	source_begin(source, start_ns, duration_ns);
	CHECK_OK(batch_add_row(source->batch, source_series(source, "cart", "a", 1),
	        source_stack(source, "work"), 1));
	struct store_append append = source_section(source, ++source->stream.seq);
	append.refuse_late = refuse_late;
	CHECK_OK(store_append(store, &append, 1));
	return append.ret_status;
}

static void expect_late(struct store *store, uint64_t kept, uint64_t late)
{
	struct store_counters counters;
	CHECK_OK(store_counters(store, "", &counters));
	assert_int_equal(counters.batches, kept);
	assert_int_equal(counters.batches_late, late);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), kept);
}

static void what_ended_longer_ago_than_late_max_is_refused_and_counted(void **state)
{
	TEST_DIR(dir);
	struct clock_virtual clock;
	struct store *store = open_store(dir.path, &clock);
	struct source source = source_new(store, 1);
	uint64_t oldest_ns = clock_unix_ns(&clock.clock) - LATE_MAX_NS;
	/* It is the end that counts, however long ago it began. */
	assert_int_equal(append(store, &source, oldest_ns - 7, 7, true), WIRE_OK);
	assert_int_equal(append(store, &source, 0, oldest_ns, true), WIRE_OK);
	assert_int_equal(append(store, &source, oldest_ns - 8, 7, true), WIRE_REJECT);
	assert_int_equal(append(store, &source, 0, oldest_ns - 1, true), WIRE_REJECT);
	expect_late(store, 2, 2);
	/* An importer brings what is as old as it is. */
	assert_int_equal(append(store, &source, 0, 1, false), WIRE_OK);
	/* What is of times to come is not old. */
	assert_int_equal(append(store, &source, 900000 * SECOND, 1, true), WIRE_OK);
	expect_late(store, 4, 2);
	clock_virtual_advance(&clock, 1);
	assert_int_equal(append(store, &source, oldest_ns - 7, 7, true), WIRE_REJECT);
	expect_late(store, 4, 3);
	source_free(&source);
	store_free(store);
	/* The count is as durable as what it was written with. */
	store = open_store(dir.path, &clock);
	expect_late(store, 4, 3);
	store_free(store);
}

/* Everything that is asked about has expired. */
static bool all_has(void *owner, const char *tenant, const struct batch *batch, uint64_t to_ns)
{
	CHECK(batch->start_ns < to_ns && to_ns - batch->start_ns <= WINDOW_NS);
	*(uint64_t *)owner = to_ns;
	return true;
}

static void what_policies_would_forget_at_once_is_refused_when_its_window_has_ended(void **state)
{
	TEST_DIR(dir);
	struct clock_virtual clock;
	struct store *store = open_store(dir.path, &clock);
	struct source source = source_new(store, 1);
	uint64_t asked_ns = 0;
	uint64_t now_ns = clock_unix_ns(&clock.clock);
	uint64_t end_ns = now_ns - now_ns % WINDOW_NS + WINDOW_NS;
	store_set_has_expired(store, all_has, &asked_ns);
	assert_int_equal(append(store, &source, end_ns - 1, 1, false), WIRE_OK);
	clock_virtual_advance(&clock, end_ns - now_ns - 1);
	assert_int_equal(append(store, &source, end_ns - WINDOW_NS, 1, false), WIRE_OK);
	assert_int_equal(asked_ns, 0);
	clock_virtual_advance(&clock, 1);
	assert_int_equal(append(store, &source, end_ns - WINDOW_NS, 1, false), WIRE_REJECT);
	assert_int_equal(append(store, &source, end_ns - 1, 1, false), WIRE_REJECT);
	assert_int_equal(asked_ns, end_ns);
	assert_int_equal(append(store, &source, end_ns, 1, false), WIRE_OK);
	expect_late(store, 3, 2);
	/* One that is kept already is known, not refused. */
	source_begin(&source, end_ns - 1, 1);
	CHECK_OK(batch_add_row(source.batch, source_series(&source, "cart", "a", 1),
	        source_stack(&source, "work"), 1));
	assert_int_equal(source_append(&source, store, 1), WIRE_DUP);
	expect_late(store, 3, 2);
	source_free(&source);
	store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_ended_longer_ago_than_late_max_is_refused_and_counted),
		cmocka_unit_test(
		        what_policies_would_forget_at_once_is_refused_when_its_window_has_ended),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
