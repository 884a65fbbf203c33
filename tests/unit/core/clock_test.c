/* The machine's clock goes on, the virtual one only when it is told to. */

#include "core/clock.h"

#include "tests/lib/test.h"

static void real_clock_goes_forward(void **state)
{
	struct clock *clock = clock_real();
	uint64_t before = clock_monotonic_ns(clock);
	CHECK(clock_unix_ns(clock) > UINT64_C(1700000000) * NS_PER_S);
	for (int i = 0; i < 1000; i++) {
		uint64_t now = clock_monotonic_ns(clock);
		CHECK(now >= before);
		before = now;
	}
}

static void virtual_clock_stands_until_it_is_advanced(void **state)
{
	struct clock_virtual clock;
	clock_virtual_init(&clock, 1000 * NS_PER_S);
	uint64_t monotonic = clock_monotonic_ns(&clock.clock);
	CHECK(monotonic > 0);
	assert_int_equal(clock_unix_ns(&clock.clock), 1000 * NS_PER_S);
	assert_int_equal(clock_unix_ns(&clock.clock), 1000 * NS_PER_S);

	clock_virtual_advance(&clock, 5 * NS_PER_MS);
	assert_int_equal(clock_unix_ns(&clock.clock), 1000 * NS_PER_S + 5 * NS_PER_MS);
	assert_int_equal(clock_monotonic_ns(&clock.clock), monotonic + 5 * NS_PER_MS);

	/* A clock that jumps does so for the stamps alone. */
	clock.now_unix_ns -= 500 * NS_PER_S;
	assert_int_equal(clock_monotonic_ns(&clock.clock), monotonic + 5 * NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_clock_goes_forward),
		cmocka_unit_test(virtual_clock_stands_until_it_is_advanced),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
