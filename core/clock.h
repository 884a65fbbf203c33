#pragma once

/*
 * clock is where time comes from, so that tests and the simulator can bring their own.
 *
 * unix_ns is for stamps that people and other machines read and may jump; monotonic_ns is
 * CLOCK_MONOTONIC, the clock of the kernel's samples, and is for every duration and deadline.
 */

#include <stdint.h>

struct clock {
	uint64_t (*unix_ns)(struct clock *clock);
	uint64_t (*monotonic_ns)(struct clock *clock);
};

/* The clock of the machine. */
struct clock *clock_real(void);

/* A clock that moves only when it is told to. */
struct clock_virtual {
	struct clock clock;
	uint64_t now_unix_ns;
	uint64_t now_monotonic_ns;
};

void clock_virtual_init(struct clock_virtual *clock, uint64_t unix_ns);
void clock_virtual_advance(struct clock_virtual *clock, uint64_t ns);

static inline uint64_t clock_unix_ns(struct clock *clock)
{
	return clock->unix_ns(clock);
}

static inline uint64_t clock_monotonic_ns(struct clock *clock)
{
	return clock->monotonic_ns(clock);
}

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
