#pragma once

/*
 * spread_many tells which of many functions changed between two sides, by their parts of each
 * instance: what spread.h does for a few groups, with what only many can say of each other.
 *
 * The variance of a function is never taken to be less than that of sampling, than its own over
 * instances, or than that of functions of like size. And as shares add up to one, what one function
 * takes all others lose: the shift that those have in common which show no change is taken out.
 */

#include <stdbool.h>
#include <stdint.h>

#include "query/spread.h"

/* One function. Sums are over instances. */
struct spread_function {
	double x[2], xx[2], xn[2];
	double pair_xx, pair_xn, pair_nx;  /* A's times B's, of the same instance */
	double flat[2];                    /* what of x is no other function's, for the shift */
	double ratio[2], sampling, spread; /* while it is tested */
	struct spread_test test;
};

struct spread_many {
	struct spread_function *functions; /* by the caller's number; owned */
	uint32_t count;
	double period;  /* what one sample counts for */
	bool is_paired; /* over instances of both sides alone */
	double n[2], nn[2], pair_nn;
	uint64_t instances[2];
	uint32_t tested;
	double shift; /* ln of what functions without a change have in common */
	/* The part of the sides that functions without a change are, the lesser: 0.2 and less say
	 * little. */
	double unchanged;
	const char *untested; /* why nothing is tested; NULL */
};

/* Room for so many functions. `period` 0: nobody knows. -ENOMEM. */
int spread_many_init(struct spread_many *many, uint32_t count, double period);
void spread_many_fini(struct spread_many *many);
#define AUTO_SPREAD_MANY __attribute__((cleanup(spread_many_fini))) struct spread_many

/* First what every instance has in all, of each side; 0 where it is not there. */
void spread_many_add_wholes(struct spread_many *many, const double (*wholes)[2], uint32_t count);
/* Then of each instance that it takes the functions. */
bool spread_many_takes(const struct spread_many *many, const double whole[2]);
void spread_many_add(struct spread_many *many, uint32_t function, const double x[2],
        const double flat[2], const double whole[2]);

/* Tests all that have enough samples. -ENOMEM. */
int spread_many_run(struct spread_many *many);
