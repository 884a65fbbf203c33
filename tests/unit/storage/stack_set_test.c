/* The set of stacks of a block, against the plain way: a byte per id. */

#include "storage/stack_set.h"

#include <errno.h>
#include <string.h>

#include "core/rng.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"

#define IDS 5000

static void places_count_the_smaller_ids(void **state)
{
	for (uint64_t seed = 0; seed < 30; seed++) {
		static uint8_t is_in[IDS];
		static uint32_t ids[IDS];
		struct rng rng;
		uint32_t adds = (uint32_t)(seed * seed * 10);
		AUTO(stack_set) set = stack_set_new(IDS);
		rng_init(&rng, seed);
		memset(is_in, 0, sizeof(is_in));
		for (uint32_t i = 0; i < adds; i++) {
			uint32_t id = (uint32_t)rng_below(&rng, IDS);
			is_in[id] = 1;
			stack_set_add(set, id);
		}
		uint32_t count = stack_set_rank(set);
		stack_set_list(set, ids);
		uint32_t place = 0;
		for (uint32_t id = 0; id < IDS; id++) {
			if (!is_in[id])
				continue;
			assert_int_equal(ids[place], id);
			assert_int_equal(stack_set_place(set, id), place++);
		}
		assert_int_equal(count, place);
	}
}

static void first_and_last_ids_have_places(void **state)
{
	static const uint32_t counts[] = { 1, 2, 63, 64, 65, 447, 448, 449, 896, 897 };
	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		AUTO(stack_set) set = stack_set_new(counts[i]);
		uint32_t distinct = counts[i] > 1 ? 2 : 1;
		stack_set_add(set, 0);
		stack_set_add(set, counts[i] - 1);
		assert_int_equal(stack_set_rank(set), distinct);
		assert_int_equal(stack_set_place(set, 0), 0);
		assert_int_equal(stack_set_place(set, counts[i] - 1), distinct - 1);
	}
}

static void out_of_memory_gives_no_set(void **state)
{
	for (uint32_t nth = 0; nth < 2; nth++) {
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		AUTO(stack_set) set = stack_set_new(IDS);
		CHECK(fault_disarm());
		assert_null(set);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_count_the_smaller_ids),
		cmocka_unit_test(first_and_last_ids_have_places),
		cmocka_unit_test(out_of_memory_gives_no_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
