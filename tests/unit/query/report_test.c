/*
 * What an answer says of the windows it was added up from.
 */

#include "tests/lib/test.h"

#include <string.h>

#include "query/report.h"

#define HOUR UINT64_C(3600000000000)

static void expect_of(uint64_t from_ns, uint64_t to_ns, uint64_t finest_ns, uint64_t coarsest_ns,
        const char *expected)
{
	struct source source = { .sides_count = 1 };
	source.sides[0].from_ns = from_ns;
	source.sides[0].to_ns = to_ns;
	source.sides[0].completeness.resolution_finest_ns = finest_ns;
	source.sides[0].completeness.resolution_coarsest_ns = coarsest_ns;
	AUTO_BUF text = { 0 };
	report_put_completeness(&source, 0, "", &text);
	buf_put(&text, "", 1);
	assert_false(text.failed);
	const char *line = strstr((const char *)text.bytes, "resolution: ");
	assert_non_null(line);
	assert_string_equal(line, expected);
}

static void expect(uint64_t from_ns, uint64_t to_ns, uint64_t finest_ns, const char *expected)
{
	expect_of(from_ns, to_ns, finest_ns, HOUR, expected);
}

static void a_range_that_cuts_windows_says_so(void **state)
{
	expect(HOUR, 2 * HOUR, HOUR, "resolution: sums of 60.0 min\n");
	expect(HOUR, 2 * HOUR + 1, HOUR,
	        "resolution: sums of 60.0 min; the range cuts such, and each counts as a whole "
	        "where it "
	        "begins\n");
	expect(HOUR - 1, 2 * HOUR, HOUR,
	        "resolution: sums of 60.0 min; the range cuts such, and each counts as a whole "
	        "where it "
	        "begins\n");
	/* Where rows are left, the edges may be exact. */
	expect(HOUR + 1, 2 * HOUR, 0, "resolution: rows, and sums of up to 60.0 min\n");
}

/* Hours at one end do not say that the day at the other has any. */
static void a_range_that_may_cut_days_says_so(void **state)
{
	static const char *const hours =
	        "resolution: sums of 60.0 min to 24.0 h; a day of which "
	        "nothing finer is left counts as a whole where it begins\n";
	static const char *const rows =
	        "resolution: rows, and sums of up to 24.0 h; a day of which "
	        "nothing finer is left counts as a whole where it begins\n";
	expect_of(HOUR, 72 * HOUR, HOUR, 24 * HOUR, hours);
	expect_of(24 * HOUR, 73 * HOUR, HOUR, 24 * HOUR, hours);
	expect_of(HOUR + 1, 72 * HOUR, 0, 24 * HOUR, rows);
	expect_of(
	        24 * HOUR, 72 * HOUR, HOUR, 24 * HOUR, "resolution: sums of 60.0 min to 24.0 h\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_that_cuts_windows_says_so),
		cmocka_unit_test(a_range_that_may_cut_days_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
