/* Known numbers of the reference implementations, bounds, and that seeds differ. */

#include "core/rng.h"

#include <string.h>

#include "tests/lib/test.h"

static void seed_gives_the_numbers_of_the_reference(void **state)
{
	/* splitmix64 from 1234567 as published with the reference code. */
	static const uint64_t splitmix[] = { UINT64_C(6457827717110365317),
		UINT64_C(3203168211198807973), UINT64_C(9817491932198370423),
		UINT64_C(4593380528125082431) };
	struct rng rng;
	rng_init(&rng, 1234567);
	assert_memory_equal(rng.state, splitmix, sizeof(splitmix));

	/* xoshiro256** from the state 1, 2, 3, 4. */
	static const uint64_t xoshiro[] = { 11520, 0, UINT64_C(1509978240),
		UINT64_C(1215971899390074240), UINT64_C(1216172134540287360) };
	rng = (struct rng){ { 1, 2, 3, 4 } };
	for (size_t i = 0; i < COUNT_OF(xoshiro); i++)
		assert_int_equal(rng_u64(&rng), xoshiro[i]);
}

static void below_stays_below_and_reaches_both_ends(void **state)
{
	static const uint64_t bounds[] = { 1, 2, 3, 10, UINT64_C(1) << 33, UINT64_MAX };
	struct rng rng;
	rng_init(&rng, 7);
	for (size_t i = 0; i < COUNT_OF(bounds); i++) {
		uint64_t seen = 0;
		for (int n = 0; n < 1000; n++) {
			uint64_t value = rng_below(&rng, bounds[i]);
			CHECK(value < bounds[i]);
			if (bounds[i] <= 10)
				seen |= UINT64_C(1) << value;
		}
		if (bounds[i] <= 10)
			assert_int_equal(seen, (UINT64_C(1) << bounds[i]) - 1);
	}
}

static void fraction_is_from_0_to_1_and_even(void **state)
{
	struct rng rng;
	double sum = 0;
	rng_init(&rng, 3);
	for (int i = 0; i < 10000; i++) {
		double value = rng_fraction(&rng);
		CHECK(value >= 0 && value < 1);
		sum += value;
	}
	CHECK(sum > 4900 && sum < 5100);
}

static void kernel_gives_other_bytes_each_time(void **state)
{
	uint8_t a[300] = { 0 }, b[300] = { 0 };
	CHECK_OK(rng_os_bytes(a, sizeof(a)));
	CHECK_OK(rng_os_bytes(b, sizeof(b)));
	CHECK_OK(rng_os_bytes(NULL, 0));
	assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seed_gives_the_numbers_of_the_reference),
		cmocka_unit_test(below_stays_below_and_reaches_both_ends),
		cmocka_unit_test(fraction_is_from_0_to_1_and_even),
		cmocka_unit_test(kernel_gives_other_bytes_each_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
