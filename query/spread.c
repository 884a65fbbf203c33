/*
 * A ratio estimator with the variance of clusters, r = X / N and
 *
 *	V = m / (m - 1) * (sum xx - 2 r sum xn + r r sum nn) / (N N)
 *
 * over m instances, of which those without a sample of it are in sum nn. The variance used is
 * the greater of V_A + V_B and of V_0, that of pure sampling. Instances of unequal weight are worth
 * fewer than they are (Kish), which makes the degrees of freedom (Welch and Satterthwaite) of a
 * Student t.
 */

#include "query/spread.h"

#include <math.h>
#include <stdlib.h>

#include "core/auto.h"
#include "query/spread_private.h"

#define BETA_STEPS_MAX 300

void spread_add(struct spread_sums *sums, double x, double n)
{
	sums->count++;
	sums->n += n;
	sums->nn += n * n;
	sums->x += x;
	sums->xx += x * x;
	sums->xn += x * n;
}

/* Never 0, so that it can be divided by. */
static double beta_floor(double value)
{
	return fabs(value) < 1e-300 ? 1e-300 : value;
}

/* The continued fraction of the incomplete beta, by Lentz. */
static double beta_fraction(double a, double b, double x)
{
	double c = 1;
	double d = 1 / beta_floor(1 - (a + b) * x / (a + 1));
	double fraction = d;
	for (int i = 1; i <= BETA_STEPS_MAX; i++) {
		double even = i * (b - i) * x / ((a + 2 * i - 1) * (a + 2 * i));
		double odd = -(a + i) * (a + b + i) * x / ((a + 2 * i) * (a + 2 * i + 1));
		d = 1 / beta_floor(1 + even * d);
		c = beta_floor(1 + even / c);
		fraction *= c * d;
		d = 1 / beta_floor(1 + odd * d);
		c = beta_floor(1 + odd / c);
		fraction *= c * d;
		if (fabs(c * d - 1) < 1e-15)
			break;
	}
	return fraction;
}

/* I_x(a, b). */
static double beta_incomplete(double a, double b, double x)
{
	if (x <= 0 || x >= 1)
		return x <= 0 ? 0 : 1;
	int sign;
	double front = exp(lgamma_r(a + b, &sign) - lgamma_r(a, &sign) - lgamma_r(b, &sign) +
	                   a * log(x) + b * log1p(-x));
	if (x < (a + 1) / (a + b + 2))
		return front * beta_fraction(a, b, x) / a;
	return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double student_p(double t, double degrees)
{
	return beta_incomplete(degrees / 2, 0.5, degrees / (degrees + t * t));
}

double student_t(double p, double degrees)
{
	double low = 0;
	double high = 1;
	while (student_p(high, degrees) > p && high < 1e12)
		high *= 2;
	for (int i = 0; i < 100; i++) {
		double middle = (low + high) / 2;
		if (student_p(middle, degrees) > p)
			low = middle;
		else
			high = middle;
	}
	return high;
}

static double spread_variance(const struct spread_sums *side)
{
	double r = side->x / side->n;
	double m = (double)side->count;
	double residuals = side->xx - 2 * r * side->xn + r * r * side->nn;
	return residuals > 0 ? m / (m - 1) * residuals / (side->n * side->n) : 0;
}

static double spread_degrees(const struct spread_sums sides[2])
{
	double above = 0;
	double below = 0;
	for (int i = 0; i < 2; i++) {
		double part = 1 / sides[i].n;
		double weight = sides[i].n * sides[i].n / sides[i].nn - 1;
		above += part;
		below += part * part / (weight > 0.5 ? weight : 0.5);
	}
	double degrees = above * above / below;
	return degrees > 1 ? degrees : 1;
}

static const char *spread_untested(const struct spread_sums sides[2], double period)
{
	if (sides[0].count == 0 || sides[1].count == 0 || sides[0].n <= 0 || sides[1].n <= 0)
		return "on one side only";
	if (sides[0].x <= 0 || sides[1].x <= 0)
		return "on one side only";
	if (sides[0].count == 1 || sides[1].count == 1)
		return "one instance on a side";
	if (period > 0 && (sides[0].x + sides[1].x) / period < SPREAD_SAMPLES_MIN)
		return "too few samples";
	return NULL;
}

/* `variance` and degrees are those over instances. */
static struct spread_test spread_judge(const struct spread_sums sides[2], double period,
        bool is_share, double variance, double degrees)
{
	struct spread_test test = { .degrees = degrees };
	double a = sides[0].x / sides[0].n;
	double b = sides[1].x / sides[1].n;
	double pooled = (sides[0].x + sides[1].x) / (sides[0].n + sides[1].n);
	double sampling = pooled * (is_share ? 1 - pooled : 1) * period *
	                  (1 / sides[0].n + 1 / sides[1].n);
	variance = variance > sampling ? variance : sampling;
	if (!(variance > 0)) {
		/* All of the side, or instances that are as one to the last bit. */
		test.untested = "instances do not differ";
		return test;
	}
	test.p = student_p((b - a) / sqrt(variance), test.degrees);
	test.q = test.p;
	test.effect = log(b / a);
	test.error = sqrt(variance) / pooled;
	test.effect_error = student_t(0.05, test.degrees) * test.error;
	return test;
}

struct spread_test spread_compare(const struct spread_sums sides[2], double period, bool is_share)
{
	struct spread_test test = { .untested = spread_untested(sides, period) };
	return test.untested ? test
	                     : spread_judge(sides, period, is_share,
	                               spread_variance(&sides[0]) + spread_variance(&sides[1]),
	                               spread_degrees(sides));
}

void spread_add_pair(struct spread_pairs *pairs, const double x[2], const double n[2])
{
	for (int i = 0; i < 2; i++)
		spread_add(&pairs->sides[i], x[i], n[i]);
	pairs->xx += x[0] * x[1];
	pairs->xn += x[0] * n[1];
	pairs->nx += n[0] * x[1];
	pairs->nn += n[0] * n[1];
}

bool spread_is_paired(const struct spread_pairs *pairs)
{
	return pairs->sides[0].count > 1 && pairs->sides[0].n >= 0.8 * pairs->n[0] &&
	       pairs->sides[1].n >= 0.8 * pairs->n[1];
}

struct spread_test spread_compare_pairs(
        const struct spread_pairs *pairs, double period, bool is_share)
{
	const struct spread_sums *a = &pairs->sides[0], *b = &pairs->sides[1];
	struct spread_test test = { .untested = spread_untested(pairs->sides, period) };
	if (test.untested)
		return test;
	double m = (double)a->count;
	double of_a = a->x / a->n;
	double of_b = b->x / b->n;
	double common = m / (m - 1) / (a->n * b->n) *
	                (pairs->xx - of_b * pairs->xn - of_a * pairs->nx + of_a * of_b * pairs->nn);
	double variance = spread_variance(a) + spread_variance(b) - 2 * common;
	/* Weights n / N of both sides, which add up to 2. */
	double weights = a->nn / (a->n * a->n) + b->nn / (b->n * b->n) +
	                 2 * pairs->nn / (a->n * b->n);
	double degrees = 4 / weights - 1;
	return spread_judge(pairs->sides, period, is_share, variance > 0 ? variance : 0,
	        degrees > 1 ? degrees : 1);
}

static int spread_by_p(const void *left, const void *right)
{
	const struct spread_test *a = *(const struct spread_test *const *)left;
	const struct spread_test *b = *(const struct spread_test *const *)right;
	return (a->p > b->p) - (a->p < b->p);
}

void spread_correct(struct spread_test *tests, uint32_t count)
{
	struct spread_test *sorted[SPREAD_TESTS_MAX];
	uint32_t tested = 0;
	for (uint32_t i = 0; i < count && tested < SPREAD_TESTS_MAX; i++)
		if (!tests[i].untested)
			sorted[tested++] = &tests[i];
	if (tested == 0)
		return;
	/* Pointers are what is sorted. NOLINTNEXTLINE(bugprone-sizeof-expression) */
	qsort(sorted, tested, sizeof(*sorted), spread_by_p);
	double least = 1;
	for (uint32_t i = tested; i-- > 0;) {
		double q = sorted[i]->p * tested / (i + 1);
		least = q < least ? q : least;
		sorted[i]->q = least;
		/* Searching so many, the first must pass the bound divided by their number. */
		double t = student_t(SPREAD_FDR / tested, sorted[i]->degrees);
		sorted[i]->smallest = (t + SPREAD_POWER_80) * sorted[i]->error;
	}
}
