/* One number bounds all parts: what is named is kept, the rest is shared, and no sum passes it. */

#include "aggregator/memory_budget.h"

#include <errno.h>
#include <string.h>

#include "core/rng.h"
#include "tests/lib/test.h"

#define MIB (UINT64_C(1) << 20)

static uint64_t sum_of(const struct memory_budget *budget, uint32_t threads)
{
	return budget->ingest_queue + budget->sessions + budget->results + budget->names +
	       budget->query * threads + budget->block_cache + budget->symbols +
	       budget->dictionary + budget->old_dictionaries + budget->open_sums + budget->sealing +
	       budget->write_buffers + budget->idle_heap;
}

static void shares_of_any_total_are_within_it(void **state)
{
	(void)state;
	for (uint64_t total = 128 * MIB; total <= UINT64_C(1) << 44; total *= 2) {
		for (uint32_t threads = 1; threads <= 8; threads *= 2) {
			struct aggregator_config config = { .memory = total,
				.query_threads = threads };
			struct memory_budget budget;
			char error[512];
			CHECK_OK(memory_budget_divide(&config, &budget, error, sizeof(error)));
			assert_int_equal(budget.total, total);
			CHECK(sum_of(&budget, threads) <= total);
			CHECK(budget.query >= 4 * MIB && budget.sessions >= 8 * MIB);
			CHECK(budget.idle_heap >= 1 * MIB && budget.idle_heap <= 4 * MIB);
		}
	}
}

static void what_is_named_is_kept_and_the_others_share_the_rest(void **state)
{
	(void)state;
	struct rng rng;
	rng_init(&rng, 7);
	for (uint32_t i = 0; i < 1000; i++) {
		struct aggregator_config config = {
			.memory = 1024 * MIB,
			.query_threads = 2,
			.query_memory = (1 + rng_below(&rng, 200)) * MIB,
			.block_cache = (1 + rng_below(&rng, 200)) * MIB,
		};
		struct memory_budget budget;
		char error[512];
		CHECK_OK(memory_budget_divide(&config, &budget, error, sizeof(error)));
		assert_int_equal(budget.query, config.query_memory);
		assert_int_equal(budget.block_cache, config.block_cache);
		CHECK(sum_of(&budget, 2) <= config.memory);
	}
}

static void what_does_not_fit_is_refused_by_name(void **state)
{
	(void)state;
	static const struct aggregator_config configs[] = {
		{ .memory = 64 * MIB, .query_threads = 8 },
		{ .memory = 1024 * MIB, .query_threads = 2, .query_memory = 600 * MIB },
		{ .memory = 1024 * MIB, .query_threads = 1, .session_memory = 1020 * MIB },
		{ .memory = 1024 * MIB, .query_threads = 64, .query_memory = UINT64_MAX / 8 },
	};
	for (size_t i = 0; i < COUNT_OF(configs); i++) {
		struct memory_budget budget = { .total = 1 };
		char error[512] = "";
		assert_int_equal(
		        memory_budget_divide(&configs[i], &budget, error, sizeof(error)), -EINVAL);
		assert_int_equal(budget.total, 1);
		CHECK(strstr(error, "memory: ") && strstr(error, "raise memory"));
	}
}

/* The bound that the option is held to, and what the parts need, are one number. */
static void the_least_that_is_allowed_fits(void **state)
{
	(void)state;
	struct aggregator_config config;
	struct memory_budget budget;
	char error[512];
	const struct option_spec *spec = aggregator_option_table.options;
	while (strcmp(spec->name, "memory") != 0)
		spec++;
	CHECK_OK(options_init(&aggregator_option_table, &config));
	config.memory = spec->min;
	CHECK_OK(memory_budget_divide(&config, &budget, error, sizeof(error)));
	config.memory = spec->min - 1;
	assert_int_equal(memory_budget_divide(&config, &budget, error, sizeof(error)), -EINVAL);
	CHECK(strstr(error, "76 MiB are too few: the parts need 77 MiB"));
	config.memory = spec->min;
	config.query_threads = 4;
	assert_int_equal(memory_budget_divide(&config, &budget, error, sizeof(error)), -EINVAL);
	CHECK(strstr(error, "77 MiB are too few: the parts need 85 MiB") &&
	        strstr(error, "query-threads"));
	options_fini(&aggregator_option_table, &config);
}

static void without_a_number_it_is_half_of_what_there_is(void **state)
{
	(void)state;
	struct aggregator_config config = { .query_threads = 2 };
	struct memory_budget budget;
	char error[512];
	CHECK_OK(memory_budget_divide(&config, &budget, error, sizeof(error)));
	assert_int_equal(budget.total, memory_budget_of_machine());
	CHECK(budget.total >= 64 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_of_any_total_are_within_it),
		cmocka_unit_test(what_is_named_is_kept_and_the_others_share_the_rest),
		cmocka_unit_test(what_does_not_fit_is_refused_by_name),
		cmocka_unit_test(the_least_that_is_allowed_fits),
		cmocka_unit_test(without_a_number_it_is_half_of_what_there_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
