/*
 * Folded stacks: what is read and written again is the same, and what cannot be kept is refused
 * with its line.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile/folded.h"
#include "tests/lib/test.h"

static uint32_t add_series(struct dict *dict, uint64_t period)
{
	struct series series = { .period = period };
	uint32_t id;

	CHECK_OK(dict_cstring(dict, "cpu", &series.type));
	CHECK_OK(dict_cstring(dict, "count", &series.unit));
	CHECK_OK(dict_series(dict, &series, NULL, 0, &id));
	return id;
}

/* Reads `in`, writes it again. The text is the caller's. */
static char *there_and_back(
        const char *in, size_t count, uint64_t *ret_skipped, uint64_t *ret_replaced)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	AUTO_BUF out = { 0 };
	struct parse_error error = { 0 };
	uint32_t series = add_series(dict, 1);

	int result = folded_parse(in, count, batch, series, ret_skipped, &error);
	if (result < 0)
		fail_msg("%d: %s", result, error.text);
	CHECK_OK(folded_write(batch, frame_name_plain, &out, ret_replaced));
	buf_put_u8(&out, 0);
	return (char *)buf_take(&out, &count);
}

static void reading_and_writing_again_is_the_identity(void **state)
{
	static const struct {
		const char *what;
		const char *in;
		const char *out; /* NULL: the same */
		uint64_t skipped;
	} cases[] = {
		{ "nothing", "", NULL, 0 },
		{ "one line", "main;serve;parse 5\n", NULL, 0 },
		{ "no newline at the end", "main 5", "main 5\n", 0 },
		{ "recursion", "a;a;a;b;a 3\na;a;b;a 2\n", NULL, 0 },
		{ "names with blanks", "std::map<int, int>::find (x);b c 5\n", NULL, 0 },
		{ "several blanks belong to the name", "a;b   5\n", NULL, 0 },
		{ "a tab splits too, and is written as a blank", "a;b\t5\n", "a;b 5\n", 0 },
		{ "blanks in front", "  a;b 5\n", NULL, 0 },
		{ "UTF-8", "größe;日本語;😀 5\n", NULL, 0 },
		{ "bytes that are no UTF-8", "\xff\xfe;\x80 5\n", NULL, 0 },
		{ "terminal escapes and HTML", "\x1b[31mred\x07;<script>alert(1)</script>&amp; 5\n",
		        NULL, 0 },
		{ "a carriage return inside a name", "a\rb;c 5\n", NULL, 0 },
		{ "empty names", ";a 1\na; 2\na;;b 3\n", NULL, 0 },
		{ "only empty names", "; 5\n", NULL, 0 },
		{ "an empty stack", " 5\n", NULL, 0 },
		{ "a value alone", "5\n", " 5\n", 0 },
		{ "the largest value", "a 18446744073709551615\n", NULL, 0 },
		{ "leading zeros", "a 007\n", "a 7\n", 0 },
		{ "values inside names", "a 1;b 2 3\n", NULL, 0 },
		{ "CRLF", "a;b 5\r\na;c 6\r\n", "a;b 5\na;c 6\n", 0 },
		{ "blanks behind the value", "a;b 5  \n", "a;b 5\n", 0 },
		{ "comments and empty lines", "# a comment 5\n\na 1\n   \n#\n#\ttab 2\n", "a 1\n",
		        5 },
		{ "a name that begins with #", "#private;b 5\n", NULL, 0 },
		{ "zero values are nothing", "a 0\nb 1\n", "b 1\n", 1 },
		{ "equal stacks add up", "a;b 5\nc 1\na;b 7\n", "a;b 12\nc 1\n", 0 },
		{ "lines sort by bytes", "b 1\na;z 1\na 1\na;b 1\n", "a 1\na;b 1\na;z 1\nb 1\n",
		        0 },
		{ "as whole lines, blanks in names or not", "a 5\na (x) 1\na 41 1\na 6 1\n",
		        "a (x) 1\na 41 1\na 5\na 6 1\n", 0 },
		{ "a prefix is no frame", "abc;d 1\nab;cd 2\nabc 3\n", "ab;cd 2\nabc 3\nabc;d 1\n",
		        0 },
		{ "shared prefixes, up and down", "a;b;c 1\na;b 2\na;b;c;d 3\na;bc 4\nb 5\n",
		        "a;b 2\na;b;c 1\na;b;c;d 3\na;bc 4\nb 5\n", 0 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t skipped = 99, replaced = 99;

		print_message("%s\n", cases[i].what);
		char *out = there_and_back(cases[i].in, strlen(cases[i].in), &skipped, &replaced);
		assert_string_equal(out, cases[i].out ? cases[i].out : cases[i].in);
		assert_int_equal(skipped, cases[i].skipped);
		assert_int_equal(replaced, 0);
		free(out);
	}
}

static void what_cannot_be_kept_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *in;
		size_t count; /* 0: strlen */
		int result;
		const char *error;
	} cases[] = {
		{ "a 1\nb -5\n", 0, -EBADMSG,
		        "line 2: the value -5 is negative; only counts can be kept" },
		{ "a 1.5\n", 0, -EBADMSG,
		        "line 1: the value 1.5 is no whole number; use a smaller unit" },
		{ "a;b\n", 0, -EBADMSG,
		        "line 1: expected a stack, a blank and a whole number; the last word is no "
		        "number" },
		{ "\n\na b\n", 0, -EBADMSG,
		        "line 3: expected a stack, a blank and a whole number; the last word is no "
		        "number" },
		{ "a 0x10\n", 0, -EBADMSG,
		        "line 1: expected a stack, a blank and a whole number; the last word is no "
		        "number" },
		{ "a +5\n", 0, -EBADMSG,
		        "line 1: expected a stack, a blank and a whole number; the last word is no "
		        "number" },
		{ "a -\n", 0, -EBADMSG,
		        "line 1: expected a stack, a blank and a whole number; the last word is no "
		        "number" },
		{ "a 18446744073709551616\n", 0, -EBADMSG,
		        "line 1: the value 18446744073709551616 does not fit into 64 bits" },
		{ "a\0b 5\n", 6, -EBADMSG, "line 1: a zero byte inside a name" },
		{ "a 5\0\n", 5, -EBADMSG,
		        "line 1: expected a stack, a blank and a whole number; the last word is no "
		        "number" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		struct parse_error error = { 0 };
		uint64_t skipped = 42;
		size_t count = cases[i].count ? cases[i].count : strlen(cases[i].in);

		int result = folded_parse(
		        cases[i].in, count, batch, add_series(dict, 1), &skipped, &error);
		assert_string_equal(error.text, cases[i].error);
		assert_int_equal(result, cases[i].result);
		assert_int_equal(skipped, 42);
		assert_int_equal(strncmp(error.text, "line ", 5), 0);
		assert_int_equal(error.line, strtoull(error.text + 5, NULL, 10));
	}
}

static void a_period_divides_or_refuses(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	AUTO_BUF out = { 0 };
	struct parse_error error = { 0 };
	uint64_t skipped, replaced;
	uint32_t series = add_series(dict, 10);

	CHECK_OK(folded_parse("a 30\n", 5, batch, series, &skipped, &error));
	assert_int_equal(batch->rows_count, 1);
	assert_int_equal(batch->rows[0].value, 3);
	CHECK_OK(folded_write(batch, frame_name_plain, &out, &replaced));
	buf_put_u8(&out, 0);
	assert_string_equal((char *)out.bytes, "a 30\n");

	assert_int_equal(folded_parse("a 31\n", 5, batch, series, &skipped, &error), -EBADMSG);
	assert_string_equal(error.text, "line 1: the value 31 is no multiple of the period 10");
}

static void sums_past_64_bits_are_an_error_when_written(void **state)
{
	static const struct {
		uint64_t period;
		uint64_t values[2];
		bool is_same_stack;
	} cases[] = {
		{ 2, { UINT64_MAX / 2 + 1, 1 }, false },
		{ 1, { UINT64_MAX, 1 }, true },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		AUTO_BUF out = { 0 };
		uint64_t replaced;
		uint32_t nodes[2] = { DICT_NODE_ROOT, DICT_NODE_ROOT };
		uint32_t frame;
		struct frame named = { .kind = FRAME_MANAGED };
		uint32_t series[2] = { add_series(dict, cases[i].period), add_series(dict, 3) };

		CHECK_OK(dict_cstring(dict, "a", &named.function));
		CHECK_OK(dict_frame(dict, &named, &frame));
		CHECK_OK(dict_node(dict, DICT_NODE_ROOT, frame, &nodes[0]));
		if (cases[i].is_same_stack)
			nodes[1] = nodes[0];
		CHECK_OK(batch_add_row(batch, series[0], nodes[0], cases[i].values[0]));
		CHECK_OK(batch_add_row(batch, series[1], nodes[1], cases[i].values[1]));
		assert_int_equal(
		        folded_write(batch, frame_name_plain, &out, &replaced), -EOVERFLOW);
	}
}

static void frames_without_a_name_say_what_they_are(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO_BUF scratch = { 0 };
	struct module module = { 0 };
	uint32_t module_id, function;

	CHECK_OK(dict_cstring(dict, "libc.so.6", &module.name));
	CHECK_OK(dict_module(dict, &module, &module_id));
	CHECK_OK(dict_cstring(dict, "write", &function));
	const struct {
		struct frame frame;
		const char *name;
	} cases[] = {
		{ { .kind = FRAME_NATIVE, .module = module_id, .address = 7 },
		        "[unknown] libc.so.6" },
		{ { .kind = FRAME_NATIVE, .address = 7 }, "[unknown]" },
		{ { .kind = FRAME_NATIVE, .module = module_id, .function = function }, "write" },
		{ { .kind = FRAME_KERNEL }, "[unknown]" },
		{ { .kind = FRAME_TRUNCATED }, "[truncated]" },
		{ { .kind = FRAME_MANAGED, .function = function }, "write" },
		{ { .kind = FRAME_MANAGED }, "" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint32_t id;

		CHECK_OK(dict_frame(dict, &cases[i].frame, &id));
		assert_string_equal(frame_name_plain(dict, id, &scratch), cases[i].name);
		assert_int_equal(scratch.count, strlen(cases[i].name));
	}
}

static void what_a_line_cannot_hold_is_replaced_and_counted(void **state)
{
	static const struct {
		const char *names[2]; /* root first */
		uint32_t bytes;       /* of the root's name */
		const char *line;
		uint64_t replaced;
	} cases[] = {
		{ { "a;b", "c" }, 3, "a:b;c 1\n", 1 },
		{ { "a\nb", "c\n;" }, 3, "a?b;c?: 1\n", 2 },
		{ { "a\0b", "c" }, 3, "a?b;c 1\n", 1 },
		{ { "# a", "b" }, 3, "? a;b 1\n", 1 },
		{ { "#", "b" }, 1, "#;b 1\n", 0 },
		{ { "a", "# b" }, 1, "a;# b 1\n", 0 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		AUTO_BUF out = { 0 };
		uint64_t replaced;
		uint32_t node = DICT_NODE_ROOT;

		for (int depth = 0; depth < 2; depth++) {
			struct frame frame = { .kind = FRAME_MANAGED };
			uint32_t id;
			size_t count = depth == 0 ? cases[i].bytes : strlen(cases[i].names[1]);
			CHECK_OK(dict_string(dict, cases[i].names[depth], count, &frame.function));
			CHECK_OK(dict_frame(dict, &frame, &id));
			CHECK_OK(dict_node(dict, node, id, &node));
		}
		CHECK_OK(batch_add_row(batch, add_series(dict, 1), node, 1));
		CHECK_OK(folded_write(batch, frame_name_plain, &out, &replaced));
		buf_put_u8(&out, 0);
		assert_string_equal((char *)out.bytes, cases[i].line);
		assert_int_equal(replaced, cases[i].replaced);
	}
}

static void a_lone_comment_sign_as_the_whole_stack_does_not_become_a_comment(void **state)
{
	uint64_t skipped, replaced;
	/* Read as a comment, as it must be: `# 5` cannot be told from one. */
	char *out = there_and_back("# 5\n#x 6\n", 9, &skipped, &replaced);

	assert_string_equal(out, "#x 6\n");
	assert_int_equal(skipped, 1);
	free(out);
}

static void stacks_of_five_hundred_and_five_thousand_frames_come_back(void **state)
{
	static const uint32_t depths[] = { 500, 1023, 1024, 1025, 5000 };

	for (size_t i = 0; i < COUNT_OF(depths); i++) {
		AUTO_BUF in = { 0 };
		uint64_t skipped, replaced;

		/* Three neighbours that share all but the leaf, past what is remembered and not. */
		for (uint32_t line = 0; line < 3; line++) {
			for (uint32_t depth = 0; depth + 1 < depths[i]; depth++)
				buf_printf(&in, "frame_%u;", depth % 7);
			buf_printf(&in, "leaf_%u %u\n", line, line + 1);
		}
		buf_put_u8(&in, 0);
		char *out = there_and_back((char *)in.bytes, in.count - 1, &skipped, &replaced);
		assert_string_equal(out, (char *)in.bytes);
		free(out);
	}
}

static void too_long_a_name_and_too_full_a_dict_are_refused(void **state)
{
	struct dict_limits limits = dict_limits_default;
	AUTO_BUF in = { 0 };
	struct parse_error error = { 0 };
	uint64_t skipped;

	AUTO(dict) dict = dict_new(limits);
	AUTO(batch) batch = batch_new(dict);
	for (int i = 0; i < DICT_STRING_BYTES_MAX + 1; i++)
		buf_put_u8(&in, 'x');
	buf_put(&in, " 1\n", 3);
	assert_int_equal(folded_parse((char *)in.bytes, in.count, batch, add_series(dict, 1),
	                         &skipped, &error),
	        -EBADMSG);
	assert_string_equal(error.text, "line 1: a name is longer than 65535 bytes");

	limits.nodes = 3;
	AUTO(dict) small = dict_new(limits);
	AUTO(batch) small_batch = batch_new(small);
	assert_int_equal(folded_parse("a 1\na;b 1\na;b;c 1\n", 18, small_batch,
	                         add_series(small, 1), &skipped, &error),
	        -ENOSPC);
	assert_string_equal(error.text,
	        "line 3: more distinct names or stacks than fit into one import; "
	        "split the file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading_and_writing_again_is_the_identity),
		cmocka_unit_test(what_cannot_be_kept_is_refused_with_its_line),
		cmocka_unit_test(a_period_divides_or_refuses),
		cmocka_unit_test(sums_past_64_bits_are_an_error_when_written),
		cmocka_unit_test(frames_without_a_name_say_what_they_are),
		cmocka_unit_test(what_a_line_cannot_hold_is_replaced_and_counted),
		cmocka_unit_test(a_lone_comment_sign_as_the_whole_stack_does_not_become_a_comment),
		cmocka_unit_test(stacks_of_five_hundred_and_five_thousand_frames_come_back),
		cmocka_unit_test(too_long_a_name_and_too_full_a_dict_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
