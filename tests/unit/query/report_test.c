/*
 * What an answer says of the windows it was added up from.
 */

#include "tests/lib/test.h"

#include <string.h>

#include "query/report.h"

#define HOUR UINT64_C(3600000000000)

/* What stands from `resolution: ` on. */
static void expect(const struct completeness *completeness, const char *expected)
{
	struct source source = { .sides_count = 1 };
	source.sides[0].completeness = *completeness;
	AUTO_BUF text = { 0 };
	report_put_completeness(&source, 0, "", &text);
	buf_put(&text, "", 1);
	assert_false(text.failed);
	const char *line = strstr((const char *)text.bytes, "resolution: ");
	assert_non_null(line);
	assert_string_equal(line, expected);
}

static void a_range_that_cuts_windows_says_so(void **state)
{
	struct completeness all = { .resolution_finest_ns = HOUR, .resolution_coarsest_ns = HOUR };
	expect(&all, "resolution: sums of 60.0 min\n");
	all.cut_end_ns = HOUR;
	expect(&all, "resolution: sums of 60.0 min\n"
	             "the range ends within a window of 60.0 min of which nothing finer is left: "
	             "all of it is counted\n");
	/* Also where rows are left elsewhere. */
	all.resolution_finest_ns = 0;
	all.cut_begin_ns = 24 * HOUR;
	expect(&all, "resolution: rows, and sums of up to 60.0 min\n"
	             "the range begins within a window of 24.0 h of which nothing finer is left: "
	             "it is left out\n"
	             "the range ends within a window of 60.0 min of which nothing finer is left: "
	             "all of it is counted\n");
	all.cut_end_ns = 0;
	expect(&all, "resolution: rows, and sums of up to 60.0 min\n"
	             "the range begins within a window of 24.0 h of which nothing finer is left: "
	             "it is left out\n");
}

static void days_that_were_collapsed_are_named(void **state)
{
	struct completeness all = { .resolution_finest_ns = 24 * HOUR,
		.resolution_coarsest_ns = 24 * HOUR,
		.windows_collapsed = 2,
		.collapsed_from_ns = 24 * HOUR,
		.collapsed_to_ns = 72 * HOUR };
	expect(&all,
	        "resolution: sums of 24.0 h\n"
	        "2 windows of sums, 1970-01-02T00:00:00Z .. 1970-01-04T00:00:00Z: old enough to "
	        "tell functions apart alone, not addresses and lines\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_that_cuts_windows_says_so),
		cmocka_unit_test(days_that_were_collapsed_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
