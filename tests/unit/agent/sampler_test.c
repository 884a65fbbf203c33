/*
 * The rate at which samples are taken below a limit of the kernel: never one at which the kernel
 * suspends the event until the next tick and takes fewer samples than the period says.
 */

#include "tests/lib/test.h"

#include "agent/sampler.h"
#include "core/clock.h"

#define TICK_250 (NS_PER_S / 250)

static void the_rate_stays_below_what_suspends_the_sampler(void **state)
{
	static const struct {
		uint32_t hz;
		uint32_t max;
		uint64_t tick_ns;
		uint32_t rate;
	} cases[] = {
		{ 49, 100000, TICK_250, 49 },
		{ 10000, 100000, TICK_250, 10000 },
		{ 49, 0, TICK_250, 49 },
		/* Two in a tick suspend, so one a tick is the most, and an eighth less. */
		{ 99, 500, TICK_250, 99 },
		{ 490, 500, TICK_250, 218 },
		{ 490, 251, TICK_250, 218 },
		{ 997, 1000, TICK_250, 656 },
		{ 997, 2000, NS_PER_S / 1000, 875 },
		/* One suspends: 24, 12, 8 and 4 ms, less a little. */
		{ 49, 250, TICK_250, 42 },
		{ 99, 250, TICK_250, 84 },
		{ 997, 200, TICK_250, 126 },
		{ 997, 250, TICK_250, 126 },
		{ 49, 30, TICK_250, 28 },
		{ 99, 100, NS_PER_S / 100, 51 },
		{ 1, 1, TICK_250, 1 },
		{ 10000, 1, TICK_250, 1 },
	};

	for (size_t at = 0; at < COUNT_OF(cases); at++) {
		uint32_t rate = sampler_rate(cases[at].hz, cases[at].max, cases[at].tick_ns);

		if (rate != cases[at].rate)
			fail_msg("%u Hz below %u: %u, not %u", cases[at].hz, cases[at].max, rate,
			        cases[at].rate);
	}
}

static void no_rate_is_higher_than_asked_for_or_allowed(void **state)
{
	static const uint64_t ticks[] = { NS_PER_S / 100, TICK_250, NS_PER_S / 300,
		NS_PER_S / 1000 };

	for (size_t tick = 0; tick < COUNT_OF(ticks); tick++) {
		for (uint32_t hz = 1; hz <= 10000; hz += hz < 400 ? 1 : 97) {
			for (uint32_t max = 1; max < 3000; max += 7) {
				uint32_t rate = sampler_rate(hz, max, ticks[tick]);
				if (rate == 0 || rate > hz || rate > max)
					fail_msg("%u Hz below %u: %u", hz, max, rate);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rate_stays_below_what_suspends_the_sampler),
		cmocka_unit_test(no_rate_is_higher_than_asked_for_or_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
