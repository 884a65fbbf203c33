/* Sums stay exact across the step from 32 to 64 bits, and say when they cannot. */

#include "storage/stack_sums.h"

#include <errno.h>

#include "tests/lib/fault.h"
#include "tests/lib/test.h"

static void narrow_and_wide_sums_are_one_sum(void **state)
{
	AUTO(stack_sums) sums = stack_sums_new(3);
	const uint64_t *got;
	for (uint32_t i = 0; i < 5; i++) {
		stack_sums_narrow(sums, UINT32_MAX)[1] += UINT32_MAX;
		CHECK_OK(stack_sums_add(sums, 2, UINT64_C(1) << 60));
	}
	stack_sums_narrow(sums, 7)[0] += 7;
	CHECK_OK(stack_sums_get(sums, &got));
	assert_int_equal(got[0], 7);
	assert_int_equal(got[1], UINT64_C(5) * UINT32_MAX);
	assert_int_equal(got[2], UINT64_C(5) << 60);
	/* Asking does not change them. */
	CHECK_OK(stack_sums_get(sums, &got));
	assert_int_equal(got[1], UINT64_C(5) * UINT32_MAX);
	stack_sums_reset(sums);
	CHECK_OK(stack_sums_get(sums, &got));
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(got[i], 0);
}

static void sum_past_64_bits_is_said_and_stays(void **state)
{
	AUTO(stack_sums) sums = stack_sums_new(1);
	const uint64_t *got;
	CHECK_OK(stack_sums_add(sums, 0, UINT64_MAX));
	assert_int_equal(stack_sums_add(sums, 0, 1), -EOVERFLOW);
	CHECK_OK(stack_sums_get(sums, &got));
	assert_int_equal(got[0], UINT64_MAX);
	stack_sums_narrow(sums, 1)[0]++;
	assert_int_equal(stack_sums_get(sums, &got), -EOVERFLOW);
}

static void out_of_memory_gives_no_sums(void **state)
{
	for (uint32_t nth = 0; nth < 3; nth++) {
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		AUTO(stack_sums) sums = stack_sums_new(5);
		CHECK(fault_disarm());
		assert_null(sums);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(narrow_and_wide_sums_are_one_sum),
		cmocka_unit_test(sum_past_64_bits_is_said_and_stays),
		cmocka_unit_test(out_of_memory_gives_no_sums),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
