/* elf_symbols: which symbols of a small file become names, and which do not. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/symbolizer.h"
#include "core/auto.h"
#include "profile/symbols.h"
#include "tests/lib/test.h"

/*
 * Both files have, from offset 128 on: main and __alias (16 bytes), helper (8, local), nothing,
 * weak (8 at 160), sizeless (at 176), variable (no function), and `outside`, which lies in no
 * segment.
 */
static const char *const files[] = { "tests/fuzz/corpus/elf_symbols/two_functions_64_bit.elf",
	"tests/fuzz/corpus/elf_symbols/two_functions_32_bit.elf" };

static const struct {
	uint64_t offset;
	const char *name;
} names[] = {
	{ 127, NULL },
	{ 128, "main" },
	{ 143, "main" },
	{ 144, "helper" },
	{ 151, "helper" },
	{ 152, NULL },
	{ 160, "weak" },
	{ 168, NULL },
	{ 176, NULL },
	{ 178, NULL },
};

static void functions_are_named_by_their_offset_in_the_file(void **state)
{
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		AUTO_BUF table = { 0 };
		AUTO(symbols) symbols = NULL;
		size_t count;
		autofree char *image = test_file_read(files[i], &count);

		CHECK_OK(elf_symbols_extract(image, count, &table));
		CHECK_OK(symbols_open(table.bytes, table.count, &symbols));
		assert_int_equal(symbols_count(symbols), 3);
		for (size_t j = 0; j < COUNT_OF(names); j++) {
			uint64_t start;
			const char *name = symbols_find(symbols, names[j].offset, &start);

			if (!names[j].name)
				assert_null(name);
			else
				assert_string_equal(name, names[j].name);
		}
	}
}

static void an_image_at_any_address_is_read(void **state)
{
	size_t count;
	autofree char *image = test_file_read(files[0], &count);
	autofree char *shifted = malloc(count + 8);

	assert_non_null(shifted);
	for (size_t shift = 0; shift < 8; shift++) {
		AUTO_BUF table = { 0 };

		memcpy(shifted + shift, image, count);
		CHECK_OK(elf_symbols_extract(shifted + shift, count, &table));
	}
}

static void an_image_without_functions_has_no_table(void **state)
{
	AUTO_BUF table = { 0 };
	size_t count;
	autofree char *image = test_file_read(
	        "tests/fuzz/corpus/elf_symbols/no_symbols.elf", &count);

	assert_int_equal(elf_symbols_extract(image, count, &table), -ENODATA);
	assert_int_equal(elf_symbols_extract("hello", 5, &table), -ENOEXEC);
	assert_int_equal(elf_symbols_extract("!<arch>\n", 8, &table), -ENOEXEC);
	assert_int_equal(table.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(functions_are_named_by_their_offset_in_the_file),
		cmocka_unit_test(an_image_at_any_address_is_read),
		cmocka_unit_test(an_image_without_functions_has_no_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
