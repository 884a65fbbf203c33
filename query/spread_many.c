/*
 * For each function with ratios r of the sides, over m instances of which those without it are in
 * the sums of n n:
 *
 *	V   = V_A + V_B, or that of pairs        as spread.c has it
 *	V_0 = r (1 - r) (1 / N_A + 1 / N_B)      of pure sampling, in units of samples
 *	phi = V / V_0
 *
 * phi of a few instances says little, so it is compared with a trend over functions of like size:
 * ln phi is spread like the log of an F, whose moments (digamma, trigamma) tell how much of the
 * spread around the trend is chance, and so how many degrees of freedom the trend is worth. The
 * greatest of 1, phi and the trend is used. The shift starts as a median over functions and is
 * then, four times, that of the total of functions that show no change.
 */

#include "query/spread_many.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "core/auto.h"
#include "query/spread_private.h"

#define MANY_SHARE_MAX    0.999 /* of a side: there is no rest to compare with */
#define MANY_TREND_MIN    20    /* functions; fewer have no trend */
#define MANY_SHIFT_ROUNDS 4
#define MANY_UNCHANGED_P  0.1 /* above it, a function shows no change */
#define MANY_UNCHANGED    0.2 /* so much of both sides it takes to call it a shift */
#define MANY_CERTAIN      1e6 /* degrees of freedom of a trend without spread */
#define MANY_RECURRENCES  6   /* above it the series converge at once */

int spread_many_init(struct spread_many *many, uint32_t count, double period)
{
	*many = (struct spread_many){ .count = count, .period = period > 0 ? period : 1 };
	many->functions = calloc(count + UINT64_C(1), sizeof(*many->functions));
	return many->functions ? 0 : -ENOMEM;
}

void spread_many_fini(struct spread_many *many)
{
	free(many->functions);
	many->functions = NULL;
}

/* ---- what instances have ---- */

bool spread_many_takes(const struct spread_many *many, const double whole[2])
{
	return many->is_paired ? whole[0] > 0 && whole[1] > 0 : whole[0] > 0 || whole[1] > 0;
}

void spread_many_add_wholes(struct spread_many *many, const double (*wholes)[2], uint32_t count)
{
	struct spread_pairs pairs = { 0 };
	for (uint32_t i = 0; i < count; i++) {
		pairs.n[0] += wholes[i][0];
		pairs.n[1] += wholes[i][1];
		if (wholes[i][0] > 0 && wholes[i][1] > 0)
			spread_add_pair(&pairs, (double[2]){ 0, 0 }, wholes[i]);
	}
	many->is_paired = spread_is_paired(&pairs);
	for (uint32_t i = 0; i < count; i++) {
		if (!spread_many_takes(many, wholes[i]))
			continue;
		for (int side = 0; side < 2; side++) {
			many->n[side] += wholes[i][side];
			many->nn[side] += wholes[i][side] * wholes[i][side];
			many->instances[side] += wholes[i][side] > 0;
		}
		many->pair_nn += wholes[i][0] * wholes[i][1];
	}
}

void spread_many_add(struct spread_many *many, uint32_t function, const double x[2],
        const double flat[2], const double whole[2])
{
	struct spread_function *to = &many->functions[function];
	for (int side = 0; side < 2; side++) {
		to->x[side] += x[side];
		to->xx[side] += x[side] * x[side];
		to->xn[side] += x[side] * whole[side];
		to->flat[side] += flat[side];
	}
	to->pair_xx += x[0] * x[1];
	to->pair_xn += x[0] * whole[1];
	to->pair_nx += whole[0] * x[1];
}

/* ---- digamma and trigamma, by recurrence and their series ---- */

static double digamma(double x)
{
	double sum = 0;
	for (int i = 0; i < MANY_RECURRENCES; i++, x++)
		sum -= 1 / x;
	double f = 1 / (x * x);
	return sum + log(x) - 0.5 / x -
	       f * (1.0 / 12 - f * (1.0 / 120 - f * (1.0 / 252 - f * (1.0 / 240 - f / 132))));
}

static double trigamma(double x)
{
	double sum = 0;
	for (int i = 0; i < MANY_RECURRENCES; i++, x++)
		sum += 1 / (x * x);
	double f = 1 / (x * x);
	return sum + 1 / x + f / 2 + f / x * (1.0 / 6 - f * (1.0 / 30 - f * (1.0 / 42 - f / 30)));
}

/* It falls from infinity to 0. */
static double trigamma_inverse(double value)
{
	double low = 1e-6;
	double high = MANY_CERTAIN;
	for (int i = 0; i < 100; i++) {
		double middle = sqrt(low * high);
		if (trigamma(middle) > value)
			low = middle;
		else
			high = middle;
	}
	return high;
}

/* ---- one test after the other ---- */

static double many_side_variance(
        const struct spread_many *many, const struct spread_function *function, int side)
{
	double n = many->n[side];
	double m = (double)many->instances[side];
	double r = function->ratio[side];
	double residuals = function->xx[side] - 2 * r * function->xn[side] + r * r * many->nn[side];
	return residuals > 0 ? m / (m - 1) * residuals / (n * n) : 0;
}

static double many_variance(const struct spread_many *many, const struct spread_function *function)
{
	double variance = many_side_variance(many, function, 0) +
	                  many_side_variance(many, function, 1);
	if (!many->is_paired)
		return variance;
	double m = (double)many->instances[0];
	double a = function->ratio[0];
	double b = function->ratio[1];
	double common = function->pair_xx - b * function->pair_xn - a * function->pair_nx +
	                a * b * many->pair_nn;
	variance -= 2 * m / (m - 1) * common / (many->n[0] * many->n[1]);
	return variance > 0 ? variance : 0;
}

/* Of the comparison: instances of unequal weight are worth fewer than they are. */
static double many_degrees(const struct spread_many *many)
{
	double degrees;
	if (many->is_paired) {
		double weights = many->nn[0] / (many->n[0] * many->n[0]) +
		                 many->nn[1] / (many->n[1] * many->n[1]) +
		                 2 * many->pair_nn / (many->n[0] * many->n[1]);
		degrees = 4 / weights - 1;
	} else {
		double above = 0;
		double below = 0;
		for (int side = 0; side < 2; side++) {
			double part = 1 / many->n[side];
			double weight = many->n[side] * many->n[side] / many->nn[side] - 1;
			above += part;
			below += part * part / (weight > 0.5 ? weight : 0.5);
		}
		degrees = above * above / below;
	}
	return degrees > 1 ? degrees : 1;
}

static const char *many_untested(
        const struct spread_many *many, const struct spread_function *function)
{
	double pooled = (function->x[0] + function->x[1]) / (many->n[0] + many->n[1]);
	if ((function->x[0] + function->x[1]) / many->period < SPREAD_SAMPLES_MIN)
		return "too few samples";
	if (pooled > MANY_SHARE_MAX)
		return "all of the side";
	return NULL;
}

/* What does not depend on the shift. Those that are tested into `order`; how many. */
static uint32_t many_prepare(struct spread_many *many, uint32_t *order)
{
	double scale = many->period * (1 / many->n[0] + 1 / many->n[1]);
	uint32_t tested = 0;
	for (uint32_t i = 0; i < many->count; i++) {
		struct spread_function *function = &many->functions[i];
		double pooled = (function->x[0] + function->x[1]) / (many->n[0] + many->n[1]);
		function->test.untested = many_untested(many, function);
		if (function->test.untested)
			continue;
		for (int side = 0; side < 2; side++)
			function->ratio[side] = function->x[side] / many->n[side];
		function->sampling = pooled * (1 - pooled) * scale;
		function->spread = many_variance(many, function) / function->sampling;
		order[tested++] = i;
	}
	return tested;
}

static int many_compare_size(const void *left, const void *right, void *opaque)
{
	const struct spread_function *functions = opaque;
	const struct spread_function *a = &functions[*(const uint32_t *)left];
	const struct spread_function *b = &functions[*(const uint32_t *)right];
	double of_a = a->x[0] + a->x[1];
	double of_b = b->x[0] + b->x[1];
	if (of_a != of_b)
		return of_a > of_b ? -1 : 1;
	/* Whichever the caller's number is first: the result does not depend on the sides. */
	return a->spread < b->spread ? -1 : a->spread > b->spread;
}

/* The mean of those around each, in order of size; the spread around it. */
static double many_trend(const double *e, uint32_t count, double *ret_trend)
{
	uint32_t reach = count / 8 > 15 ? count / 8 : 15;
	double sum = 0;
	double residuals = 0;
	uint32_t first = 0, end = 0;
	for (uint32_t i = 0; i < count; i++) {
		for (; end < count && end <= i + reach; end++)
			sum += e[end];
		for (; first + reach < i; first++)
			sum -= e[first];
		ret_trend[i] = sum / (end - first);
		residuals += (e[i] - ret_trend[i]) * (e[i] - ret_trend[i]);
	}
	return residuals / (count - 1);
}

/* Variances no less than the trend over functions has them. Its degrees of freedom. -ENOMEM. */
static int many_shrink(
        struct spread_many *many, uint32_t *order, uint32_t count, double degrees, double *ret_more)
{
	*ret_more = 0;
	for (uint32_t i = 0; i < count; i++)
		many->functions[order[i]].test.error = fmax(1, many->functions[order[i]].spread);
	if (count <= MANY_TREND_MIN)
		return 0;
	autofree double *e = malloc(count * sizeof(*e));
	autofree double *trend = malloc(count * sizeof(*trend));
	if (!e || !trend)
		return -ENOMEM;
	qsort_r(order, count, sizeof(*order), many_compare_size, many->functions);
	for (uint32_t i = 0; i < count; i++)
		e[i] = log(fmax(many->functions[order[i]].spread, 1e-3)) - digamma(degrees / 2) +
		       log(degrees / 2);
	double left = many_trend(e, count, trend) - trigamma(degrees / 2);
	double worth = left > 0 ? 2 * trigamma_inverse(left) : MANY_CERTAIN;
	for (uint32_t i = 0; i < count; i++) {
		double usual = exp(trend[i] + digamma(worth / 2) - log(worth / 2));
		struct spread_test *test = &many->functions[order[i]].test;
		test->error = fmax(test->error, usual);
	}
	*ret_more = fmin(worth, 2 * degrees);
	return 0;
}

/* From the factor of its variance, which is in test.error, to that of its effect. */
static void many_finish_errors(
        struct spread_many *many, const uint32_t *order, uint32_t count, double degrees)
{
	for (uint32_t i = 0; i < count; i++) {
		struct spread_function *function = &many->functions[order[i]];
		double pooled = (function->x[0] + function->x[1]) / (many->n[0] + many->n[1]);
		function->test.error = sqrt(function->test.error * function->sampling) / pooled;
		function->test.degrees = degrees;
	}
}

static void many_test(struct spread_many *many, const uint32_t *order, uint32_t count, double shift)
{
	for (uint32_t i = 0; i < count; i++) {
		struct spread_function *function = &many->functions[order[i]];
		double pooled = (function->x[0] + function->x[1]) / (many->n[0] + many->n[1]);
		/* Half of it to each side, so that swapping them swaps nothing but signs. */
		double difference = function->ratio[1] * exp(-shift / 2) -
		                    function->ratio[0] * exp(shift / 2);
		function->test.p = student_p(
		        difference / (function->test.error * pooled), function->test.degrees);
	}
}

/* ---- the shift ---- */

static int many_compare_doubles(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

static int many_median_shift(const struct spread_many *many, double *ret_shift)
{
	autofree double *logs = malloc((many->count + UINT64_C(1)) * sizeof(*logs));
	uint32_t count = 0;
	if (!logs)
		return -ENOMEM;
	for (uint32_t i = 0; i < many->count; i++) {
		const double *flat = many->functions[i].flat;
		if (flat[0] / many->period >= SPREAD_SAMPLES_MIN &&
		        flat[1] / many->period >= SPREAD_SAMPLES_MIN)
			logs[count++] = log(flat[1] / many->n[1]) - log(flat[0] / many->n[0]);
	}
	*ret_shift = 0;
	if (count == 0)
		return 0;
	qsort(logs, count, sizeof(*logs), many_compare_doubles);
	*ret_shift = (logs[(count - 1) / 2] + logs[count / 2]) / 2;
	return 0;
}

/* Of the total of those that show no change; 0 where that is too little of the sides. */
static void many_unchanged_shift(struct spread_many *many)
{
	double flat[2] = { 0, 0 };
	for (uint32_t i = 0; i < many->count; i++) {
		const struct spread_function *function = &many->functions[i];
		if (!function->test.untested && function->test.p <= MANY_UNCHANGED_P)
			continue;
		flat[0] += function->flat[0];
		flat[1] += function->flat[1];
	}
	many->unchanged = fmin(flat[0] / many->n[0], flat[1] / many->n[1]);
	if (many->unchanged > MANY_UNCHANGED)
		many->shift = log(flat[1] / many->n[1]) - log(flat[0] / many->n[0]);
}

/* ---- all of it ---- */

static int many_compare_p(const void *left, const void *right, void *opaque)
{
	const struct spread_function *functions = opaque;
	double a = functions[*(const uint32_t *)left].test.p;
	double b = functions[*(const uint32_t *)right].test.p;
	return (a > b) - (a < b);
}

/* Benjamini and Hochberg, and what each function could have shown. */
static void many_correct(struct spread_many *many, uint32_t *order, uint32_t count, double degrees)
{
	double least = 1;
	/* Searching so many, the first must pass the bound divided by their number. */
	double search = count ? student_t(SPREAD_FDR / count, degrees) : 0;
	double half = student_t(0.05, degrees);
	if (count > 1)
		qsort_r(order, count, sizeof(*order), many_compare_p, many->functions);
	for (uint32_t i = count; i-- > 0;) {
		struct spread_function *function = &many->functions[order[i]];
		struct spread_test *test = &function->test;
		least = fmin(least, test->p * count / (i + 1));
		test->q = least;
		test->effect = log(function->ratio[1] / function->ratio[0]) - many->shift;
		test->effect_error = half * test->error;
		test->smallest = (search + SPREAD_POWER_80) * test->error;
	}
}

int spread_many_run(struct spread_many *many)
{
	if (many->instances[0] < 2 || many->instances[1] < 2) {
		many->untested = "one instance on a side: what differs from run to run cannot be "
		                 "told from a change";
		return 0;
	}
	autofree uint32_t *order = malloc((many->count + UINT64_C(1)) * sizeof(*order));
	if (!order)
		return -ENOMEM;
	double degrees = many_degrees(many);
	double more = 0;
	many->tested = many_prepare(many, order);
	int r = many_shrink(many, order, many->tested, degrees, &more);
	r = r < 0 ? r : many_median_shift(many, &many->shift);
	if (r < 0)
		return r;
	many_finish_errors(many, order, many->tested, degrees + more);
	for (int i = 0; i < MANY_SHIFT_ROUNDS; i++) {
		many_test(many, order, many->tested, many->shift);
		many_unchanged_shift(many);
	}
	many_test(many, order, many->tested, many->shift);
	many_correct(many, order, many->tested, degrees + more);
	return 0;
}
