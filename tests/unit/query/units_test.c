/* Numbers for people: thresholds between units, three digits, nothing divided by nothing. */

#include <math.h>

#include "tests/lib/test.h"

#include "query/units.h"

static void counts_are_grouped_by_three(void **state)
{
	static const struct {
		uint64_t value;
		const char *text;
	} cases[] = {
		{ 0, "0" },
		{ 999, "999" },
		{ 1000, "1 000" },
		{ 2966400, "2 966 400" },
		{ UINT64_MAX, "18 446 744 073 709 551 615" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_string_equal(units_count(cases[i].value).text, cases[i].text);
}

static void durations_change_their_unit(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "0 s" },
		{ 1, "1 ns" },
		{ 1500, "1.50 us" },
		{ 12345678, "12.3 ms" },
		{ 1000000000, "1.00 s" },
		{ 599000000000, "599 s" },
		{ 600000000000, "10.0 min" },
		{ 7200000000000, "2.00 h" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_string_equal(units_duration(cases[i].ns).text, cases[i].text);
}

static void bytes_are_counted_in_steps_of_1024(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.00 KiB" },
		{ 3355443, "3.20 MiB" },
		{ UINT64_MAX, "16.0 EiB" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_string_equal(units_bytes(cases[i].bytes).text, cases[i].text);
}

static void changes_are_bounded(void **state)
{
	static const struct {
		double ratio;
		const char *text;
	} cases[] = {
		{ 0, "-100.0 %" },
		{ 0.9, "-10.0 %" },
		{ 1, "+0.0 %" },
		{ 1.234, "+23.4 %" },
		{ 99.99, "+9899.0 %" },
		{ 100, "100x" },
		{ 999.9, "1000x" },
		{ 1000.1, ">1000x" },
		{ 20802065.1, ">1000x" },
		{ INFINITY, ">1000x" },
		{ NAN, "-" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_string_equal(units_change(cases[i].ratio).text, cases[i].text);
}

static void values_follow_the_unit_of_their_type(void **state)
{
	assert_string_equal(units_value("nanoseconds", 2000000).text, "2.00 ms");
	assert_string_equal(units_value("bytes", 2048).text, "2.00 KiB");
	assert_string_equal(units_value("count", 2048).text, "2 048");
	assert_string_equal(units_value("samples", 2048).text, "2 048");
}

static void a_part_of_nothing_is_a_dash(void **state)
{
	assert_string_equal(units_percent(1, 0).text, "-");
	assert_string_equal(units_percent(1, 8).text, "12.50 %");
	assert_string_equal(units_cores(1, 0).text, "-");
	assert_string_equal(units_cores(41200, 1000).text, "41.2");
	assert_string_equal(units_millicores(343, 1000).text, "343");
	assert_string_equal(units_millicores(1, 1000).text, "1.00");
}

static void times_are_utc(void **state)
{
	assert_string_equal(units_time(0).text, "1970-01-01T00:00:00Z");
	assert_string_equal(units_time(UINT64_C(1740823200000000000)).text, "2025-03-01T10:00:00Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_are_grouped_by_three),
		cmocka_unit_test(durations_change_their_unit),
		cmocka_unit_test(bytes_are_counted_in_steps_of_1024),
		cmocka_unit_test(changes_are_bounded),
		cmocka_unit_test(values_follow_the_unit_of_their_type),
		cmocka_unit_test(a_part_of_nothing_is_a_dash),
		cmocka_unit_test(times_are_utc),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
