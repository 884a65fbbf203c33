#pragma once

/*
 * rng is randomness that a test can repeat: xoshiro256** seeded by splitmix64, both by David
 * Blackman and Sebastiano Vigna (https://prng.di.unimi.it, public domain). Not for secrets.
 *
 * One thread owns a rng. rng_os_bytes() is the kernel's randomness, for ids and seeds.
 */

#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t state[4];
};

/* The same seed gives the same numbers on every machine and release. */
void rng_init(struct rng *rng, uint64_t seed);

uint64_t rng_u64(struct rng *rng);

/* From 0 to `bound` - 1, each as likely as the other. `bound` is at least 1. */
uint64_t rng_below(struct rng *rng, uint64_t bound);

/* From 0 to just below 1, in steps of 2^-53. */
double rng_fraction(struct rng *rng);

/* 0, or the error of getrandom(2). Waits, once after boot, until the kernel has collected enough.
 */
int rng_os_bytes(void *ret_bytes, size_t count);
