/*
 * The numbers were made by another program: the t distribution by numeric integration, residuals
 * one by one.
 */

#include <math.h>
#include <string.h>

#include "query/spread.h"
#include "tests/lib/test.h"

struct instance {
	double x, n;
};

static const struct instance before[] = { { 90, 1000 }, { 110, 1100 }, { 100, 900 }, { 95, 1000 } };
static const struct instance after[] = { { 160, 1000 }, { 150, 1000 }, { 170, 1200 } };

static struct spread_sums sums_of(const struct instance *instances, size_t count)
{
	struct spread_sums sums = { 0 };
	for (size_t i = 0; i < count; i++)
		spread_add(&sums, instances[i].x, instances[i].n);
	return sums;
}

static void check_near(double value, double expected)
{
	if (fabs(value - expected) > 1e-8 * fabs(expected))
		fail_msg("%.17g is not %.17g", value, expected);
}

static void the_numbers_are_those_of_the_formulas(void **state)
{
	static const struct {
		double period;
		bool is_share;
		double p, error;
	} cases[] = {
		{ 0, false, 0.0010799833541970116, 0.056604146383061923 },
		{ 0, true, 0.0010799833541970116, 0.056604146383061923 },
		{ 4, true, 0.024980144507313118, 0.12753150871171295 },
	};
	struct spread_sums sides[2] = { sums_of(before, COUNT_OF(before)),
		sums_of(after, COUNT_OF(after)) };
	struct spread_sums swapped[2] = { sides[1], sides[0] };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct spread_test test = spread_compare(sides, cases[i].period, cases[i].is_share);
		struct spread_test back = spread_compare(
		        swapped, cases[i].period, cases[i].is_share);
		assert_null(test.untested);
		check_near(test.degrees, 4.4960017878849);
		check_near(test.effect, 0.4180438903150244);
		check_near(test.error, cases[i].error);
		check_near(test.p, cases[i].p);
		check_near(back.p, test.p);
		check_near(back.effect, -test.effect);
	}
}

static void the_same_instances_are_compared_with_themselves(void **state)
{
	static const struct instance again[] = { { 99, 1000 }, { 118, 1050 }, { 115, 950 },
		{ 104, 1000 } };
	struct spread_pairs pairs = { .n = { 4000, 4000 } };
	for (size_t i = 0; i < COUNT_OF(again); i++)
		spread_add_pair(&pairs, (double[2]){ before[i].x, again[i].x },
		        (double[2]){ before[i].n, again[i].n });
	assert_true(spread_is_paired(&pairs));
	struct spread_test test = spread_compare_pairs(&pairs, 0, false);
	assert_null(test.untested);
	check_near(test.degrees, 2.9887815518853222);
	check_near(test.p, 0.0011020626400214395);
	check_near(test.error, 0.00784131627323461);
	/* Together they say less: instances differ more from each other than from before. */
	assert_true(spread_compare(pairs.sides, 0, false).p > test.p);
	pairs.n[0] = 5100;
	assert_false(spread_is_paired(&pairs));
}

static void what_cannot_be_told_has_no_p(void **state)
{
	struct spread_sums both = sums_of(before, COUNT_OF(before));
	struct spread_sums one = sums_of(after, 1);
	struct spread_sums none = { 0 };
	struct spread_sums few[2] = { both, both };
	const struct {
		struct spread_sums sides[2];
		const char *says;
	} cases[] = {
		{ { both, one }, "one instance" },
		{ { none, both }, "one side only" },
		{ { both, none }, "one side only" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct spread_test test = spread_compare(cases[i].sides, 0, false);
		assert_non_null(test.untested);
		assert_non_null(strstr(test.untested, cases[i].says));
	}
	assert_non_null(spread_compare(few, 100, false).untested); /* 790 / 100 samples */
	assert_null(spread_compare(few, 10, false).untested);
	/* Shares of what is all of it: nothing to be told. */
	struct spread_sums all = { 0 };
	spread_add(&all, 10, 10);
	spread_add(&all, 20, 20);
	struct spread_sums wholes[2] = { all, all };
	assert_non_null(spread_compare(wholes, 1, true).untested);
}

static void many_tests_make_each_of_them_harder(void **state)
{
	static const double p[] = { 0.04, 0.001, 0.5, 0.02 };
	static const double q[] = { 0.16 / 3, 0.004, 0.5, 0.04 };
	struct spread_test tests[COUNT_OF(p) + 1] = { { .untested = "too few samples" } };
	for (size_t i = 0; i < COUNT_OF(p); i++)
		tests[i + 1] = (struct spread_test){ .p = p[i], .degrees = 10, .error = 0.1 };
	spread_correct(tests, COUNT_OF(tests));
	for (size_t i = 0; i < COUNT_OF(p); i++)
		check_near(tests[i + 1].q, q[i]);
	/* t of 0.0125 two-sided and 10 degrees is 3.0382; 0.8416 for the power. */
	assert_true(fabs(tests[1].smallest - 0.38798) < 1e-4);
	assert_string_equal(tests[0].untested, "too few samples");

	struct spread_test alone = { .p = 0.04, .degrees = 1e6, .error = 1 };
	spread_correct(&alone, 1);
	check_near(alone.q, 0.04);
	assert_true(fabs(alone.smallest - (1.959966 + 0.841621)) < 1e-4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_numbers_are_those_of_the_formulas),
		cmocka_unit_test(the_same_instances_are_compared_with_themselves),
		cmocka_unit_test(what_cannot_be_told_has_no_p),
		cmocka_unit_test(many_tests_make_each_of_them_harder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
