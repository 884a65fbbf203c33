/* The boundaries of every well-formed sequence, and a neighbour beyond each. */

#include "core/utf8.h"

#include <string.h>

#include "tests/lib/test.h"

static void boundaries_decode_and_their_neighbours_do_not(void **state)
{
	static const struct {
		const char *bytes;
		size_t length; /* 0: refused */
		uint32_t code;
	} cases[] = {
		{ "\x01", 1, 1 },
		{ "\x7f", 1, 0x7f },
		{ "\xc2\x80", 2, 0x80 },
		{ "\xdf\xbf", 2, 0x7ff },
		{ "\xe0\xa0\x80", 3, 0x800 },
		{ "\xed\x9f\xbf", 3, 0xd7ff },
		{ "\xee\x80\x80", 3, 0xe000 },
		{ "\xef\xbf\xbf", 3, 0xffff },
		{ "\xf0\x90\x80\x80", 4, 0x10000 },
		{ "\xf4\x8f\xbf\xbf", 4, 0x10ffff },
		{ "\x80", 0, 0 },
		{ "\xbf", 0, 0 },
		{ "\xc0\x80", 0, 0 },
		{ "\xc1\xbf", 0, 0 },
		{ "\xc2\x7f", 0, 0 },
		{ "\xc2\xc0", 0, 0 },
		{ "\xe0\x9f\xbf", 0, 0 },
		{ "\xed\xa0\x80", 0, 0 },
		{ "\xed\xbf\xbf", 0, 0 },
		{ "\xf0\x8f\xbf\xbf", 0, 0 },
		{ "\xf4\x90\x80\x80", 0, 0 },
		{ "\xf5\x80\x80\x80", 0, 0 },
		{ "\xff", 0, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t count = strlen(cases[i].bytes);
		uint32_t code = 0;
		const uint8_t *bytes = (const uint8_t *)cases[i].bytes;
		assert_int_equal(utf8_decode(bytes, count, &code), cases[i].length);
		assert_int_equal(code, cases[i].code);
		for (size_t cut = 1; cut < cases[i].length; cut++)
			assert_int_equal(utf8_decode(bytes, cut, &code), 0);
	}
}

static void controls_and_direction_marks_are_not_harmless(void **state)
{
	static const uint32_t harmful[] = { 0, '\n', '\t', 0x1b, 0x7f, 0x80, 0x9b, 0x9f, 0x200e,
		0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2066, 0x2069, 0x61c, 0xfeff };
	static const uint32_t harmless[] = { ' ', 'a', '~', 0xa0, 0xe9, 0x2027, 0x202f, 0x20ac,
		0x4e2d, 0x1f525, 0xfffd };
	for (size_t i = 0; i < COUNT_OF(harmful); i++)
		CHECK(!utf8_is_harmless(harmful[i]));
	for (size_t i = 0; i < COUNT_OF(harmless); i++)
		CHECK(utf8_is_harmless(harmless[i]));
}

static void characters_are_counted_and_broken_bytes_are_one_each(void **state)
{
	assert_int_equal(utf8_count("", strlen("")), 0);
	assert_int_equal(utf8_count("abc", strlen("abc")), 3);
	assert_int_equal(
	        utf8_count("caf\xc3\xa9 \xf0\x9f\x94\xa5", strlen("caf\xc3\xa9 \xf0\x9f\x94\xa5")),
	        6);
	assert_int_equal(utf8_count("\xff\xc3", strlen("\xff\xc3")), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(boundaries_decode_and_their_neighbours_do_not),
		cmocka_unit_test(controls_and_direction_marks_are_not_harmless),
		cmocka_unit_test(characters_are_counted_and_broken_bytes_are_one_each),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
