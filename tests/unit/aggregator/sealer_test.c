/* sealer: what has ended is sealed and rolled up, by the clock that it is given, and no earlier. */

#include "aggregator/sealer.h"

#include "tests/unit/storage/store_fixture.h"

#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

struct sealing {
	struct test_dir *dir;
	struct clock_virtual clock;
	struct store *store;
	struct source source;
	struct sealer *sealer;
};

static void sealing_begin(struct sealing *sealing)
{
	struct store_options options = store_fixture_options(sealing->dir->path);
	clock_virtual_init(&sealing->clock, 0);
	options.clock = &sealing->clock.clock;
	sealing->store = store_fixture_open_with(options);
	sealing->source = source_new(sealing->store, 1);
	CHECK_OK(sealer_new(
	        (struct sealer_options){
	                .store = sealing->store,
	                .clock = &sealing->clock.clock,
	                .grace_ns = MINUTE,
	                .roll_grace_ns = 10 * MINUTE,
	                .every_ms = 3600000, /* only when it is told to */
	        },
	        &sealing->sealer));
}

static void sealing_end(struct sealing *sealing)
{
	sealer_free(sealing->sealer);
	source_free(&sealing->source);
	store_free(sealing->store);
}

static void sealing_append(struct sealing *sealing, uint64_t start_ns, uint64_t seq)
{
	source_begin(&sealing->source, start_ns, 10 * SECOND);
	CHECK_OK(batch_add_row(sealing->source.batch,
	        source_series(&sealing->source, "cart", "a", 1),
	        source_stack(&sealing->source, "work"), 5));
	assert_int_equal(source_append(&sealing->source, sealing->store, seq), WIRE_OK);
}

static struct store_size sealing_turn(struct sealing *sealing, uint64_t unix_ns)
{
	struct store_size size;
	clock_virtual_advance(&sealing->clock, unix_ns - clock_unix_ns(&sealing->clock.clock));
	sealer_turn_now(sealing->sealer);
	CHECK_OK(store_size(sealing->store, &size));
	return size;
}

static void windows_are_sealed_and_rolled_up_when_they_have_ended(void **state)
{
	TEST_DIR(dir);
	struct sealing sealing = { .dir = &dir };
	sealing_begin(&sealing);
	for (uint64_t i = 0; i < 6; i++)
		sealing_append(&sealing, 24 * HOUR + i * 10 * MINUTE, i + 1);

	struct store_size size = sealing_turn(&sealing, 24 * HOUR + 10 * MINUTE);
	assert_int_equal(size.windows, 0); /* the grace is not over */
	size = sealing_turn(&sealing, 24 * HOUR + 11 * MINUTE);
	assert_int_equal(size.windows, 1);
	size = sealing_turn(&sealing, 25 * HOUR + 9 * MINUTE);
	assert_int_equal(size.windows, 6);
	assert_int_equal(size.rollups, 0);
	size = sealing_turn(&sealing, 25 * HOUR + 10 * MINUTE);
	assert_int_equal(size.rollups, 1); /* the hour */
	size = sealing_turn(&sealing, 48 * HOUR + 10 * MINUTE);
	assert_int_equal(size.rollups, 2); /* and its day */
	assert_int_equal(store_fixture_value(sealing.store, "cpu", 24 * HOUR, 48 * HOUR), 30);
	sealing_end(&sealing);
}

static void a_clock_before_the_grace_does_nothing(void **state)
{
	TEST_DIR(dir);
	struct sealing sealing = { .dir = &dir };
	sealing_begin(&sealing);
	sealing_append(&sealing, 0, 1);
	assert_int_equal(sealing_turn(&sealing, 30 * SECOND).windows, 0);
	sealing_end(&sealing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(windows_are_sealed_and_rolled_up_when_they_have_ended),
		cmocka_unit_test(a_clock_before_the_grace_does_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
