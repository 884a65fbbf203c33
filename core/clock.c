/* The machine's clock through clock_gettime(2), and one for tests that stands until it is told to
 * move. */

#include "core/clock.h"

#include <time.h>

static uint64_t clock_read_ns(clockid_t id)
{
	struct timespec now;
	(void)clock_gettime(id, &now); /* Cannot fail for these two clocks. */
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t clock_real_unix_ns(struct clock *clock)
{
	(void)clock;
	return clock_read_ns(CLOCK_REALTIME);
}

static uint64_t clock_real_monotonic_ns(struct clock *clock)
{
	(void)clock;
	return clock_read_ns(CLOCK_MONOTONIC);
}

struct clock *clock_real(void)
{
	static struct clock real = {
		.unix_ns = clock_real_unix_ns,
		.monotonic_ns = clock_real_monotonic_ns,
	};
	return &real;
}

static uint64_t clock_virtual_unix_ns(struct clock *clock)
{
	return ((struct clock_virtual *)clock)->now_unix_ns;
}

static uint64_t clock_virtual_monotonic_ns(struct clock *clock)
{
	return ((struct clock_virtual *)clock)->now_monotonic_ns;
}

void clock_virtual_init(struct clock_virtual *clock, uint64_t unix_ns)
{
	*clock = (struct clock_virtual){
		.clock = {
			.unix_ns = clock_virtual_unix_ns,
			.monotonic_ns = clock_virtual_monotonic_ns,
		},
		.now_unix_ns = unix_ns,
		.now_monotonic_ns = NS_PER_S,
	};
}

void clock_virtual_advance(struct clock_virtual *clock, uint64_t ns)
{
	clock->now_unix_ns += ns;
	clock->now_monotonic_ns += ns;
}
