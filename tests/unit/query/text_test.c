/*
 * What a terminal may be shown: hostile names written out visibly, columns by display width, cells
 * cut in their middle, CSV that no spreadsheet runs.
 */

#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "query/text.h"

static const char *text_of(struct buf *buf)
{
	buf_put_u8(buf, '\0');
	assert_false(buf->failed);
	return (const char *)buf->bytes;
}

static void what_acts_on_a_terminal_is_written_out(void **state)
{
	static const struct {
		const char *name;
		const char *shown;
	} cases[] = {
		{ "plain::name<int>", "plain::name<int>" },
		{ "\x1b]0;owned\x07", "\\x1b]0;owned\\x07" },
		{ "\x1b[2J", "\\x1b[2J" },
		{ "a\nb\tc\rd", "a\\x0ab\\x09c\\x0dd" },
		{ "\x7f", "\\x7f" },
		{ "\xc2\x9b"
		  "31m",
		        "\\u{9b}31m" }, /* C1: one-byte CSI */
		{ "abc\xe2\x80\xae"
		  "fed",
		        "abc\\u{202e}fed" },                            /* right-to-left override */
		{ "\xe2\x81\xa6x\xe2\x81\xa9", "\\u{2066}x\\u{2069}" }, /* isolates */
		{ "a\xe2\x80\x8b"
		  "b",
		        "a\\u{200b}b" }, /* zero width: two names that look the same */
		{ "\xef\xbb\xbf", "\\u{feff}" },
		{ "\xf3\xa0\x81\x81", "\\u{e0041}" }, /* a tag */
		{ "\xff\xfe", "\\xff\\xfe" },
		{ "\xc0\xaf", "\\xc0\\xaf" }, /* overlong */
		{ "\xe2\x82", "\\xe2\\x82" }, /* cut off */
		{ "na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac",
		        "na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac" },
		{ "C:\\dir", "C:\\dir" },
		{ "", "" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf shown = { 0 };
		text_put_safe(&shown, cases[i].name);
		assert_string_equal(text_of(&shown), cases[i].shown);
		buf_fini(&shown);
	}
}

static void no_byte_sequence_leaves_a_control_character(void **state)
{
	for (unsigned int first = 0; first < 256; first++) {
		for (unsigned int second = 0; second < 256; second++) {
			const char pair[2] = { (char)first, (char)second };
			struct buf shown = { 0 };
			text_put_safe_bytes(&shown, pair, sizeof(pair));
			assert_false(shown.failed);
			for (size_t i = 0; i < shown.count; i++) {
				assert_true(shown.bytes[i] >= ' ' && shown.bytes[i] != 0x7f);
				/* C1 in UTF-8 is c2 80 to c2 9f. */
				if (i > 0 && shown.bytes[i - 1] == 0xc2)
					assert_true(shown.bytes[i] >= 0xa0);
			}
			buf_fini(&shown);
		}
	}
}

static void width_is_counted_in_columns(void **state)
{
	static const struct {
		const char *text;
		uint32_t columns;
	} cases[] = {
		{ "", 0 }, { "abc", 3 }, { "na\xc3\xafve", 5 },
		{ "\xe6\x97\xa5\xe6\x9c\xac", 4 }, /* two wide characters */
		{ "e\xcc\x81", 1 },                /* e and a combining accent */
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(
		        text_width(cases[i].text, strlen(cases[i].text)), cases[i].columns);
}

static void cutting_keeps_both_ends(void **state)
{
	static const struct {
		const char *text;
		uint32_t columns;
		const char *cut;
	} cases[] = {
		{ "short", 10, "short" },
		{ "exactly10!", 10, "exactly10!" },
		{ "std::vector<int>::push_back", 13, "std::...pack" },
		{ "abcdefgh", 4, "abcd" },
		{ "abcdefgh", 0, "" },
		{ "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac", 7,
		        "\xe6\x97\xa5...\xe6\x9c\xac" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf cut = { 0 };
		text_put_cut(&cut, cases[i].text, strlen(cases[i].text), cases[i].columns);
		uint32_t width = text_width((const char *)cut.bytes, cut.count);
		assert_true(width <= cases[i].columns || cases[i].columns >= strlen(cases[i].text));
		buf_fini(&cut);
	}
	struct buf cut = { 0 };
	text_put_cut(&cut, "std::vector<int>::push_back", 27 - 1, 13);
	assert_memory_equal(cut.bytes, "std::", 5);
	assert_non_null(strstr(text_of(&cut), "..."));
	buf_fini(&cut);
}

static void csv_quotes_and_disarms(void **state)
{
	static const struct {
		const char *field;
		const char *csv;
	} cases[] = {
		{ "main", "main" },
		{ "f(int, char)", "\"f(int, char)\"" },
		{ "operator\"\" s", "\"operator\"\"\"\" s\"" },
		{ "=HYPERLINK(1)", "\"'=HYPERLINK(1)\"" },
		{ "@cmd", "\"'@cmd\"" },
		{ "+1", "+1" },
		{ "-2.5e3", "-2.5e3" },
		{ "-rm", "\"'-rm\"" },
		{ "two\nlines", "two\\x0alines" },
		{ "", "" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf csv = { 0 };
		text_put_csv(&csv, cases[i].field);
		assert_string_equal(text_of(&csv), cases[i].csv);
		buf_fini(&csv);
	}
}

static const struct text_column columns[] = {
	{ "n", TEXT_RIGHT, 0, false },
	{ "function", TEXT_LEFT, 12, true },
	{ "module", TEXT_LEFT, 0, false },
};

static struct text_table *a_table(void)
{
	struct text_table *table = text_table_new(columns, COUNT_OF(columns));
	assert_non_null(table);
	text_table_put(table, "1");
	text_table_put(table, "\xe6\x97\xa5\xe6\x9c\xac");
	text_table_put(table, "a.so");
	text_table_printf(table, "%d", 1234);
	text_table_put(table, "a_function_with_a_long_name\x1b[2J");
	text_table_put(table, "b.so");
	text_table_put(table, "7");
	text_table_put(table, "x");
	text_table_put(table, "");
	return table;
}

static void without_a_screen_nothing_is_cut_and_long_cells_push(void **state)
{
	AUTO(text_table) table = a_table();
	struct buf printed = { 0 };
	text_table_print(table, 0, false, &printed);
	assert_string_equal(text_of(&printed), "   n  function      module\n"
	                                       "   1  \xe6\x97\xa5\xe6\x9c\xac          a.so\n"
	                                       "1234  a_function_with_a_long_name\\x1b[2J  b.so\n"
	                                       "   7  x\n");
	buf_fini(&printed);
}

static void on_a_screen_the_flexible_column_is_cut_to_fit(void **state)
{
	AUTO(text_table) table = a_table();
	struct buf printed = { 0 };
	text_table_print(table, 40, false, &printed);
	char *rest = NULL;
	bool cut = false;
	char *text = (char *)(uintptr_t)text_of(&printed);
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		assert_true(text_width(line, strlen(line)) <= 40);
		cut = cut || strstr(line, "...");
	}
	assert_true(cut);
	buf_fini(&printed);
}

static void colour_comes_only_when_asked_for(void **state)
{
	AUTO(text_table) table = a_table();
	text_table_color(table, "31");
	struct buf plain = { 0 }, colored = { 0 };
	text_table_print(table, 0, false, &plain);
	text_table_print(table, 0, true, &colored);
	assert_null(memchr(plain.bytes, 0x1b, plain.count));
	assert_non_null(memchr(colored.bytes, 0x1b, colored.count));
	buf_fini(&plain);
	buf_fini(&colored);
}

/* No screen is too narrow for what the cells say, unless one of them alone is wider. */
static void a_narrow_screen_has_every_cell(void **state)
{
	for (uint32_t width = 20; width <= 80; width++) {
		AUTO(text_table) table = a_table();
		AUTO_BUF printed = { 0 };
		text_table_print(table, width, false, &printed);
		const char *text = text_of(&printed);
		for (const char *at = text; *at; at += strcspn(at, "\n") + 1)
			assert_true(text_width(at, strcspn(at, "\n")) <= width);
		assert_non_null(strstr(text, "1234"));
		assert_non_null(strstr(text, "b.so"));
		assert_non_null(strstr(text, "\xe6\x97\xa5\xe6\x9c\xac"));
	}
	AUTO(text_table) tree = a_table();
	AUTO_BUF printed = { 0 };
	text_table_keep_lines(tree);
	text_table_print(tree, 20, false, &printed);
	uint32_t lines = 0;
	for (size_t i = 0; i < printed.count; i++)
		lines += printed.bytes[i] == '\n';
	assert_int_equal(lines, 4);
}

static void long_lines_are_broken_at_blanks(void **state)
{
	static const struct {
		const char *text;
		uint32_t width;
		const char *wrapped;
	} cases[] = {
		{ "short\n", 20, "short\n" },
		{ "", 20, "" },
		{ "no end", 4, "no\n  end" },
		{ "one two three four\nfive\n", 10, "one two\n  three\n  four\nfive\n" },
		{ "one two three four\n", 0, "one two three four\n" },
		{ "  indented by two blanks\n", 16, "  indented by\n    two blanks\n" },
		/* Numbers keep their groups and units. */
		{ "bytes of it 1 204 000 B more\n", 18, "bytes of it\n  1 204 000 B more\n" },
		/* A gap between columns may always end a line, behind a digit too. */
		{ "hash 17    of the record\n", 12, "hash 17\n  of the\n  record\n" },
		{ "  profleet retention undo 17\n", 12, "  profleet retention undo 17\n" },
		{ "a wordthatislongerthanall b\n", 8, "a\n  wordthatislongerthanall\n  b\n" },
		{ "\033[1mbold one\033[0m two\n", 12, "\033[1mbold one\033[0m two\n" },
		{ "\xe6\x97\xa5\xe6\x9c\xac \xe6\x97\xa5\xe6\x9c\xac\n", 8,
		        "\xe6\x97\xa5\xe6\x9c\xac\n  \xe6\x97\xa5\xe6\x9c\xac\n" },
		{ "trailing blanks      \n", 15, "trailing blanks\n" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF text = { 0 };
		AUTO_BUF wrapped = { 0 };
		buf_put(&text, cases[i].text, strlen(cases[i].text));
		text_wrap(&text, cases[i].width, &wrapped);
		assert_string_equal(text_of(&wrapped), cases[i].wrapped);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_acts_on_a_terminal_is_written_out),
		cmocka_unit_test(no_byte_sequence_leaves_a_control_character),
		cmocka_unit_test(width_is_counted_in_columns),
		cmocka_unit_test(cutting_keeps_both_ends),
		cmocka_unit_test(csv_quotes_and_disarms),
		cmocka_unit_test(without_a_screen_nothing_is_cut_and_long_cells_push),
		cmocka_unit_test(on_a_screen_the_flexible_column_is_cut_to_fit),
		cmocka_unit_test(colour_comes_only_when_asked_for),
		cmocka_unit_test(a_narrow_screen_has_every_cell),
		cmocka_unit_test(long_lines_are_broken_at_blanks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
