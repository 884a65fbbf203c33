/* Keys in their order, each with the one before it in between. */

#include "storage/kv_order.h"

#include <string.h>

#include "core/auto.h"
#include "tests/lib/test.h"

static const struct kv_bytes keys[] = { { "", 0 }, { "\0", 1 }, { "\0\0", 2 }, { "\0\1", 2 },
	{ "a", 1 }, { "a\0", 2 }, { "a\0\xff", 3 }, { "a\1", 2 }, { "ab", 2 }, { "b", 1 },
	{ "\xff", 1 }, { "\xff\xff", 2 } };

static void keys_compare_as_bytes_and_what_is_shorter_is_first(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		assert_int_equal(kv_order_compare(keys[i], keys[i]), 0);
		for (size_t j = 0; j < i; j++) {
			assert_true(kv_order_compare(keys[j], keys[i]) < 0);
			assert_true(kv_order_compare(keys[i], keys[j]) > 0);
		}
	}
}

static void what_is_before_a_key_is_behind_all_that_are_less(void **state)
{
	(void)state;
	for (size_t i = 1; i < COUNT_OF(keys); i++) {
		AUTO_BUF before = { 0 };
		kv_order_put_before(keys[i], &before);
		struct kv_bytes key = { before.bytes, before.count };
		assert_true(kv_order_compare(key, keys[i]) < 0);
		/* It may be the last of those that are less. */
		assert_true(kv_order_compare(keys[i - 1], key) <= 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_compare_as_bytes_and_what_is_shorter_is_first),
		cmocka_unit_test(what_is_before_a_key_is_behind_all_that_are_less),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
