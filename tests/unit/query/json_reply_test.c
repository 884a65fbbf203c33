/*
 * Numbers of a reply near what 64 bits hold: never a small one in place of a large one.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <string.h>

#include "query/json_reply.h"

static uint64_t last_of(const char *text, int expected, uint64_t *ret_sum)
{
	struct json_reply reply = { 0 };
	buf_put(&reply.text, text, strlen(text));
	CHECK_OK(json_reply_parse(&reply));
	const json_t *list = json_object_get(reply.root, "a");
	assert_int_equal(json_reply_sum(list, "v", ret_sum), expected);
	uint64_t last = json_reply_u64(json_array_get(list, json_array_size(list) - 1), "v");
	json_reply_fini(&reply);
	return last;
}

static void numbers_past_63_bits_stay_large(void **state)
{
	uint64_t sum = 7;
	assert_int_equal(last_of("{\"a\":[{\"v\":3},{},{\"v\":4611686018427387904}]}", 0, &sum),
	        UINT64_C(1) << 62);
	assert_int_equal(sum, (UINT64_C(1) << 62) + 3);
	sum = 7;
	/* Five of 2^62: it would wrap around to one of them. */
	last_of("{\"a\":[{\"v\":4611686018427387904},{\"v\":4611686018427387904},{\"v\":"
	        "4611686018427387904},"
	        "{\"v\":4611686018427387904},{\"v\":4611686018427387904}]}",
	        -EOVERFLOW, &sum);
	assert_int_equal(sum, 7);
	/* What no signed number holds is rounded, and not 0. */
	assert_int_equal(last_of("{\"a\":[{\"v\":18446744073709551615}]}", 0, &sum), UINT64_MAX);
	assert_true(last_of("{\"a\":[{\"v\":18100000000000000000}]}", 0, &sum) >
	            UINT64_C(18000000000000000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_past_63_bits_stay_large),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
