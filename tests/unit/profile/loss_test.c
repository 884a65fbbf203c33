/*
 * The names of losses are in logs, metrics and JSON: this table is the promise that they stay.
 */

#include <string.h>

#include "profile/loss.h"
#include "tests/lib/test.h"

static void every_reason_has_the_name_it_always_had(void **state)
{
	static const struct {
		enum loss_reason reason;
		const char *name;
	} cases[] = {
		{ 1, "ring_full" },
		{ 2, "perf_lost" },
		{ 3, "agent_memory" },
		{ 4, "spool_full" },
		{ 5, "rejected" },
		{ 6, "throttled" },
		{ 7, "malformed" },
		{ 8, "late" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_string_equal(loss_reason_name(cases[i].reason), cases[i].name);
	for (uint32_t reason = 1; reason <= LOSS_REASON_MAX; reason++)
		CHECK(loss_reason_name(reason));
}

static void a_number_nobody_named_has_no_name(void **state)
{
	CHECK(!loss_reason_name(0));
	CHECK(!loss_reason_name(LOSS_REASON_MAX + 1));
	CHECK(!loss_reason_name(UINT32_MAX));
}

static void what_was_folded_is_a_row_and_not_lost(void **state)
{
	for (uint32_t reason = 0; reason <= LOSS_REASON_MAX; reason++)
		CHECK(loss_is_lost(reason, true) && loss_is_lost(reason, false));
	CHECK(!loss_is_lost(LOSS_FOLDED, true));
	CHECK(loss_is_lost(LOSS_FOLDED, false));
	CHECK(loss_is_lost(LOSS_FOLDED + 1, true));
	assert_int_equal(LOSS_FOLDED, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reason_has_the_name_it_always_had),
		cmocka_unit_test(a_number_nobody_named_has_no_name),
		cmocka_unit_test(what_was_folded_is_a_row_and_not_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
