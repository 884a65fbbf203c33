#pragma once

/*
 * fleet_number is arithmetic that gives the same result on every machine: hashes, and the few
 * functions that chance needs in fixed point, 1 being 65536. The C library's exp() and log() differ
 * in their last bits from release to release, and a compiler may fuse a multiplication and an
 * addition: either would make another fleet of the same seed.
 */

#include <stdint.h>

#include "core/rng.h"

#define FLEET_ONE 65536

/* splitmix64's last step: scatters a number over 64 bits. */
static inline uint64_t fleet_scatter(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static inline uint64_t fleet_mix(uint64_t hash, uint64_t part)
{
	return fleet_scatter(hash * UINT64_C(0x9e3779b97f4a7c15) + part + 1);
}

/* 2^x within 0.3 %, for x from -16 to 30. */
static inline uint64_t fleet_exp2(int64_t x)
{
	int64_t whole = x >> 16;
	uint64_t part = (uint64_t)x & 0xffff;
	/* 1 + 0.6565 f + 0.3435 f^2 meets 2^f at both ends. */
	uint64_t power = 65536 + ((part * (43024 + ((part * 22512) >> 16))) >> 16);
	return whole >= 0 ? power << whole : power >> -whole;
}

/* log2 of a positive integer within 0.01. */
static inline int64_t fleet_log2(uint64_t x)
{
	int top = 63 - __builtin_clzll(x);
	uint64_t part = (top >= 16 ? x >> (top - 16) : x << (16 - top)) & 0xffff;
	/* 1.3435 f - 0.3435 f^2 meets log2(1 + f) at both ends. */
	return ((int64_t)top << 16) + (int64_t)((part * (88048 - ((part * 22512) >> 16))) >> 16);
}

/* Nearly normal with deviation 1: the sum of twelve draws, less their mean. */
static inline int64_t fleet_normal(struct rng *rng)
{
	int64_t sum = -6 * FLEET_ONE;
	for (int i = 0; i < 3; i++) {
		uint64_t bits = rng_u64(rng);
		for (int part = 0; part < 64; part += 16)
			sum += (int64_t)((bits >> part) & 0xffff);
	}
	return sum;
}

/* Log-normal with median 1; `sigma` of its logarithm to base e. */
static inline uint64_t fleet_log_normal(struct rng *rng, int64_t sigma)
{
	/* 94548 is log2(e). */
	return fleet_exp2(((fleet_normal(rng) * sigma) >> 16) * 94548 / 65536);
}

/* Exponential with that mean. */
static inline uint64_t fleet_exponential(struct rng *rng, uint64_t mean)
{
	uint64_t draw = (rng_u64(rng) >> 32) + 1;
	/* -ln(draw / 2^32); 45426 is ln(2). */
	uint64_t minus_log = (uint64_t)((((int64_t)32 << 16) - fleet_log2(draw)) * 45426 / 65536);
	return (mean * minus_log) >> 16;
}

/* From 0 to bound - 1 by one multiplication; the bias is below bound / 2^32. */
static inline uint32_t fleet_below(uint32_t draw, uint32_t bound)
{
	return (uint32_t)(((uint64_t)draw * bound) >> 32);
}
