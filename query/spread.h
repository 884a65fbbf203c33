#pragma once

/*
 * spread tells a change from chance: it compares a ratio of two sums (CPU time per second watched,
 * or the share of a whole) between two sides whose parts are instances.
 *
 * Instances differ from each other, whatever version they run; samples of one instance say little
 * about the next. So the variance of a ratio is estimated over instances, and is never taken to be
 * less than what sampling alone makes of it. Deterministic: no random numbers.
 */

#include <stdbool.h>
#include <stdint.h>

/* What instances of one side come to: x is part of n, or happened while n was watched. */
struct spread_sums {
	uint64_t count;
	double n, nn; /* sums of n and of n * n */
	double x, xx, xn;
};

void spread_add(struct spread_sums *sums, double x, double n);

/*
 * Instances that are on both sides, before and after: what they have in common in both is no
 * difference.
 */
struct spread_pairs {
	struct spread_sums sides[2]; /* of these instances alone */
	double xx, xn, nx, nn;       /* sums of A's times B's */
	double n[2];                 /* of all instances of the sides */
};

void spread_add_pair(struct spread_pairs *pairs, const double x[2], const double n[2]);
/* Do they make up so much of both sides (four fifths) that the others can be left out? */
bool spread_is_paired(const struct spread_pairs *pairs);

/* Fewer samples than this on both sides together are not tested. */
#define SPREAD_SAMPLES_MIN 20.0
/* So many tests are made at most: beyond it the spread would have to be shared between them. */
#define SPREAD_TESTS_MAX 20
/* The part of what is called a change that may be none. */
#define SPREAD_FDR 0.05

struct spread_test {
	const char *untested; /* why there is no p; NULL: there is one */
	double p, q;          /* q: after spread_correct() */
	double degrees;
	/* ln(ratio B / ratio A), and half of its 95 % interval. */
	double effect, effect_error;
	double error; /* of the effect: its standard error */
	/* The smallest effect that would have been found four times of five; after correct. */
	double smallest;
};

/*
 * `period` is what one sample counts for in x (and in n where x is part of it), 0 where nobody
 * knows: then sampling has no say in the variance. is_share: x is part of n.
 */
struct spread_test spread_compare(const struct spread_sums sides[2], double period, bool is_share);
/* The same over pairs alone. */
struct spread_test spread_compare_pairs(
        const struct spread_pairs *pairs, double period, bool is_share);

/* q values of all that were tested (Benjamini and Hochberg), and what could have been seen. */
void spread_correct(struct spread_test *tests, uint32_t count);
