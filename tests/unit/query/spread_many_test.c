/*
 * Fleets are simulated: instances of unequal size, each with factors of its own for every function,
 * and Poisson samples. What is called a change where there is none is counted, and what is found
 * where there is one. Seeds are fixed, so the numbers are always the same.
 */

#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "query/spread_many.h"
#include "tests/lib/test.h"

#define FUNCTIONS     120
#define INSTANCES_MAX 100

struct fleet {
	uint32_t instances[2];
	double samples;   /* of an instance, about */
	double sigma;     /* of a function's factor on an instance, as a log */
	bool is_paired;   /* the same instances before and after */
	double persists;  /* part of the variance of factors that pairs have in common */
	uint32_t changed; /* function; FUNCTIONS: none */
	double factor;    /* of it in B */
	double bad;       /* factor of function 3 on the first instance of B; 0: none */
};

static double uniform(struct rng *rng)
{
	return ((double)rng_below(rng, 1u << 30) + 0.5) / (1u << 30);
}

static double normal(struct rng *rng)
{
	return sqrt(-2 * log(uniform(rng))) * cos(2 * 3.14159265358979 * uniform(rng));
}

static double poisson(struct rng *rng, double mean)
{
	if (mean > 60)
		return fmax(0, floor(mean + sqrt(mean) * normal(rng) + 0.5));
	double product = uniform(rng);
	double least = exp(-mean);
	uint32_t count = 0;
	for (; product > least; count++)
		product *= uniform(rng);
	return count;
}

/* Shares as profiles have them: few large ones, many small. */
static double share(uint32_t function)
{
	double sum = 0;
	for (uint32_t i = 0; i < FUNCTIONS; i++)
		sum += 1.0 / (i + 3);
	return 1.0 / (function + 3) / sum;
}

static double (*simulate(const struct fleet *fleet, struct rng *rng))[INSTANCES_MAX][FUNCTIONS]
{
	static double counts[2][INSTANCES_MAX][FUNCTIONS];
	static double common[INSTANCES_MAX][FUNCTIONS];
	memset(counts, 0, sizeof(counts));
	for (uint32_t i = 0; i < INSTANCES_MAX; i++)
		for (uint32_t f = 0; f < FUNCTIONS; f++)
			common[i][f] = fleet->is_paired ? normal(rng) : 0;
	for (int side = 0; side < 2; side++) {
		for (uint32_t i = 0; i < fleet->instances[side]; i++) {
			double size = fleet->samples * exp(0.6 * normal(rng));
			for (uint32_t f = 0; f < FUNCTIONS; f++) {
				double own = fleet->sigma *
				             (sqrt(fleet->persists) * common[i][f] +
				                     sqrt(1 - fleet->persists) * normal(rng));
				double mean = size * share(f) * exp(own);
				if (side == 1 && f == fleet->changed)
					mean *= fleet->factor;
				if (side == 1 && i == 0 && f == 3 && fleet->bad > 0)
					mean *= fleet->bad;
				counts[side][i][f] = poisson(rng, mean);
			}
		}
	}
	return counts;
}

/* Samples of what is at `at`: pairs share a place, else B's instances stand behind A's. */
static void samples_at(const struct fleet *fleet, double (*counts)[INSTANCES_MAX][FUNCTIONS],
        uint32_t at, uint32_t function, double ret_x[2])
{
	const double *own = &counts[0][at % INSTANCES_MAX][function];
	const double *other = &counts[1][at % INSTANCES_MAX][function];
	ret_x[0] = fleet->is_paired || at < INSTANCES_MAX ? *own : 0;
	ret_x[1] = fleet->is_paired || at >= INSTANCES_MAX ? *other : 0;
}

static void swap_sides(double x[2])
{
	double a = x[0];
	x[0] = x[1];
	x[1] = a;
}

static void fill(struct spread_many *many, const struct fleet *fleet,
        double (*counts)[INSTANCES_MAX][FUNCTIONS], bool is_swapped)
{
	static double wholes[2 * INSTANCES_MAX][2];
	static double samples[2 * INSTANCES_MAX][FUNCTIONS][2];
	uint32_t instances = fleet->is_paired ? INSTANCES_MAX : 2 * INSTANCES_MAX;
	CHECK_OK(spread_many_init(many, FUNCTIONS, 1));
	memset(wholes, 0, sizeof(wholes));
	for (uint32_t at = 0; at < instances; at++)
		for (uint32_t f = 0; f < FUNCTIONS; f++) {
			samples_at(fleet, counts, at, f, samples[at][f]);
			if (is_swapped)
				swap_sides(samples[at][f]);
			for (int side = 0; side < 2; side++)
				wholes[at][side] += samples[at][f][side];
		}
	spread_many_add_wholes(many, wholes, instances);
	assert_int_equal(many->is_paired, fleet->is_paired);
	for (uint32_t at = 0; at < instances; at++)
		for (uint32_t f = 0; f < FUNCTIONS && spread_many_takes(many, wholes[at]); f++)
			spread_many_add(many, f, samples[at][f], samples[at][f], wholes[at]);
	CHECK_OK(spread_many_run(many));
}

struct outcome {
	double any;     /* part of the comparisons that report something that did not change */
	double found;   /* ... that find the function that did */
	double reports; /* of what did not change, in each */
	double p_below; /* part of tests of what did not change with p < 0.05 */
	double shift;
	double would; /* median-like: mean smallest change of the changed function */
};

static struct outcome outcome_of(const struct fleet *fleet, uint32_t runs)
{
	struct outcome outcome = { 0 };
	struct rng rng;
	double tests = 0;
	rng_init(&rng, 11);
	for (uint32_t run = 0; run < runs; run++) {
		AUTO_SPREAD_MANY many = { 0 };
		uint32_t reports = 0;
		fill(&many, fleet, simulate(fleet, &rng), false);
		assert_null(many.untested);
		for (uint32_t f = 0; f < FUNCTIONS; f++) {
			const struct spread_test *test = &many.functions[f].test;
			if (test->untested)
				continue;
			if (f == fleet->changed) {
				outcome.found += test->q < SPREAD_FDR && test->effect > 0;
				outcome.would += test->smallest / runs;
				continue;
			}
			reports += test->q < SPREAD_FDR;
			outcome.p_below += test->p < 0.05;
			tests++;
		}
		outcome.any += reports > 0;
		outcome.reports += reports;
		outcome.shift += many.shift / runs;
	}
	outcome.any /= runs;
	outcome.found /= runs;
	outcome.reports /= runs;
	outcome.p_below /= tests;
	print_message(
	        "%u, %u instances: any %.3f, reports %.3f, p < 0.05 %.3f, found %.2f, shift %.3f, "
	        "smallest %.2f\n",
	        fleet->instances[0], fleet->instances[1], outcome.any, outcome.reports,
	        outcome.p_below, outcome.found, outcome.shift, outcome.would);
	return outcome;
}

static void nothing_that_did_not_change_is_called_a_change(void **state)
{
	static const struct fleet fleets[] = {
		{ { 2, 2 }, 3000, 0.3, .changed = FUNCTIONS },
		{ { 3, 3 }, 3000, 0.3, .changed = FUNCTIONS },
		{ { 5, 5 }, 3000, 0.1, .changed = FUNCTIONS },
		{ { 10, 10 }, 3000, 0.3, .changed = FUNCTIONS },
		{ { 10, 10 }, 3000, 0.0, .changed = FUNCTIONS },
		{ { 30, 30 }, 3000, 0.6, .changed = FUNCTIONS },
		{ { 3, 50 }, 3000, 0.3, .changed = FUNCTIONS },
		{ { 10, 100 }, 3000, 0.3, .changed = FUNCTIONS },
		{ { 10, 10 }, 3000, 0.3, .is_paired = true, .persists = 0.8, .changed = FUNCTIONS },
		{ { 4, 4 }, 3000, 0.3, .is_paired = true, .persists = 0.95, .changed = FUNCTIONS },
	};
	for (size_t i = 0; i < COUNT_OF(fleets); i++) {
		struct outcome outcome = outcome_of(&fleets[i], 150);
		CHECK(outcome.any <= 0.06 && outcome.p_below <= 0.06);
	}
}

static void what_changed_is_found_as_often_as_is_said(void **state)
{
	/* Function 1 is 7 % of the samples. */
	static const struct fleet clear = { { 10, 10 }, 3000, 0.1, .changed = 1, .factor = 1.5 };
	static const struct fleet twice = { { 5, 5 }, 3000, 0.1, .changed = 1, .factor = 2 };
	static const struct fleet pairs = { { 10, 10 }, 3000, 0.3, .is_paired = true,
		.persists = 0.8, .changed = 1, .factor = 1.5 };
	static const struct fleet apart = { { 10, 10 }, 3000, 0.3, .changed = 1, .factor = 1.5 };
	CHECK(outcome_of(&clear, 60).found >= 0.95);
	CHECK(outcome_of(&twice, 60).found >= 0.9);
	CHECK(outcome_of(&pairs, 60).found > outcome_of(&apart, 60).found);
	/* At the effect that is said to be found four times of five. */
	struct fleet at = { { 20, 20 }, 3000, 0.2, .changed = 1, .factor = 1.2 };
	for (int i = 0; i < 2; i++)
		at.factor = exp(outcome_of(&at, 60).would);
	double found = outcome_of(&at, 150).found;
	CHECK(found >= 0.65 && found <= 0.95);
}

/* What one function takes all others lose, and none of them has changed. */
static void what_one_function_takes_is_no_change_of_the_others(void **state)
{
	static const struct fleet less = { { 30, 30 }, 3000, 0.1, .changed = 0, .factor = 3 };
	static const struct fleet more = { { 30, 30 }, 3000, 0.1, .changed = 0, .factor = 0.3 };
	struct outcome outcome = outcome_of(&less, 30);
	CHECK(outcome.found == 1 && outcome.reports <= 2.4 && outcome.shift < -0.1);
	outcome = outcome_of(&more, 30);
	CHECK(outcome.reports <= 2.4 && outcome.shift > 0.03);
}

static void one_bad_instance_is_no_change_of_the_version(void **state)
{
	static const struct fleet bad = { { 10, 10 }, 3000, 0.1, .changed = FUNCTIONS, .bad = 9 };
	CHECK(outcome_of(&bad, 60).any <= 0.06);
}

static void swapping_the_sides_swaps_nothing_but_signs(void **state)
{
	static const struct fleet fleets[] = {
		{ { 6, 9 }, 3000, 0.2, .changed = 2, .factor = 1.7 },
		{ { 8, 8 }, 3000, 0.2, .is_paired = true, .persists = 0.5, .changed = 2,
		        .factor = 1.7 },
	};
	struct rng rng;
	rng_init(&rng, 3);
	for (size_t i = 0; i < COUNT_OF(fleets); i++) {
		double(*counts)[INSTANCES_MAX][FUNCTIONS] = simulate(&fleets[i], &rng);
		AUTO_SPREAD_MANY there = { 0 };
		AUTO_SPREAD_MANY back = { 0 };
		fill(&there, &fleets[i], counts, false);
		fill(&back, &fleets[i], counts, true);
		CHECK(fabs(there.shift + back.shift) < 1e-9);
		for (uint32_t f = 0; f < FUNCTIONS; f++) {
			const struct spread_test *a = &there.functions[f].test;
			const struct spread_test *b = &back.functions[f].test;
			assert_int_equal(a->untested == NULL, b->untested == NULL);
			if (a->untested)
				continue;
			CHECK(fabs(a->p - b->p) < 1e-9 && fabs(a->q - b->q) < 1e-9);
			CHECK(fabs(a->effect + b->effect) < 1e-9);
		}
	}
}

static void what_is_on_one_side_only_is_tested_as_well(void **state)
{
	static const struct fleet fleet = { { 10, 10 }, 3000, 0.1, .changed = 1, .factor = 0 };
	struct rng rng;
	rng_init(&rng, 5);
	AUTO_SPREAD_MANY many = { 0 };
	fill(&many, &fleet, simulate(&fleet, &rng), false);
	const struct spread_test *test = &many.functions[1].test;
	assert_null(test->untested);
	CHECK(test->q < 0.001 && isinf(test->effect) && test->effect < 0);
}

static void one_instance_on_a_side_tells_nothing(void **state)
{
	static const struct fleet fleet = { { 1, 10 }, 3000, 0.1, .changed = FUNCTIONS };
	struct rng rng;
	rng_init(&rng, 6);
	AUTO_SPREAD_MANY many = { 0 };
	fill(&many, &fleet, simulate(&fleet, &rng), false);
	assert_non_null(strstr(many.untested, "one instance"));
	assert_int_equal(many.tested, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_that_did_not_change_is_called_a_change),
		cmocka_unit_test(what_changed_is_found_as_often_as_is_said),
		cmocka_unit_test(what_one_function_takes_is_no_change_of_the_others),
		cmocka_unit_test(one_bad_instance_is_no_change_of_the_version),
		cmocka_unit_test(swapping_the_sides_swaps_nothing_but_signs),
		cmocka_unit_test(what_is_on_one_side_only_is_tested_as_well),
		cmocka_unit_test(one_instance_on_a_side_tells_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
