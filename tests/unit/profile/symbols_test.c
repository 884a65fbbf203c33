/*
 * A function table keeps every name and every boundary through its encoding, answers unknown where
 * no function is, and refuses bytes that are no table.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/compress.h"
#include "core/hash.h"
#include "profile/symbols.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/golden_hex.h"

struct function {
	uint64_t offset;
	uint64_t bytes;
	const char *name;
};

static void pack(const struct function *functions, size_t count, struct buf *to)
{
	AUTO(symbols_builder) builder = symbols_builder_new();

	for (size_t i = 0; i < count; i++)
		CHECK_OK(symbols_builder_add(builder, functions[i].offset, functions[i].bytes,
		        functions[i].name, strlen(functions[i].name)));
	CHECK_OK(symbols_builder_finish(builder, to));
}

static void an_address_has_the_name_of_the_function_that_holds_it_or_none(void **state)
{
	static const struct function functions[] = {
		{ 0x2000, 0x40, "beta" }, { 0x1000, 0x80, "alpha" }, /* out of order */
		{ 0x2000, 0x80, "beta_alias" }, /* same offset: the first one wins */
		{ 0x1080, 0x20, "alphabet" },   /* directly behind alpha */
		{ 0x3000, 0x1000, "outer" },    /* reaches into inner: cut */
		{ 0x3100, 0x10, "inner" }, { 0x5000, 0, "label_without_size" },
		{ 0x6000, 0x10, "" },
		{ UINT64_MAX - 0x10, 0x100,
		        "the_end" }, /* past the end of the address space: cut */
	};
	static const struct {
		uint64_t offset;
		const char *name;
		uint64_t start;
	} lookups[] = {
		{ 0, NULL, 0 },
		{ 0xfff, NULL, 0 },
		{ 0x1000, "alpha", 0x1000 },
		{ 0x107f, "alpha", 0x1000 },
		{ 0x1080, "alphabet", 0x1080 },
		{ 0x109f, "alphabet", 0x1080 },
		{ 0x10a0, NULL, 0 },
		{ 0x2000, "beta", 0x2000 },
		{ 0x203f, "beta", 0x2000 },
		{ 0x2040, NULL, 0 },
		{ 0x30ff, "outer", 0x3000 },
		{ 0x3100, "inner", 0x3100 },
		{ 0x3110, NULL, 0 }, /* outer was cut at inner: never the nearest name */
		{ 0x5000, NULL, 0 },
		{ 0x6000, NULL, 0 },
		{ UINT64_MAX - 0x10, "the_end", UINT64_MAX - 0x10 },
		{ UINT64_MAX - 1, "the_end", UINT64_MAX - 0x10 },
		{ UINT64_MAX, NULL, 0 },
	};
	AUTO_BUF packed = { 0 };
	AUTO(symbols) symbols = NULL;

	pack(functions, COUNT_OF(functions), &packed);
	CHECK_OK(symbols_open(packed.bytes, packed.count, &symbols));
	assert_int_equal(symbols_count(symbols), 6);
	CHECK(symbols_memory(symbols) > 6 * 16);

	for (size_t i = 0; i < COUNT_OF(lookups); i++) {
		uint64_t start = 42;
		const char *name = symbols_find(symbols, lookups[i].offset, &start);

		print_message("0x%lx\n", lookups[i].offset);
		if (!lookups[i].name) {
			assert_null(name);
			assert_int_equal(start, 42);
			continue;
		}
		assert_string_equal(name, lookups[i].name);
		assert_int_equal(start, lookups[i].start);
	}
}

static void an_empty_table_is_a_table(void **state)
{
	AUTO_BUF packed = { 0 };
	AUTO(symbols) symbols = NULL;
	uint64_t start;

	pack(NULL, 0, &packed);
	CHECK_OK(symbols_open(packed.bytes, packed.count, &symbols));
	assert_int_equal(symbols_count(symbols), 0);
	assert_null(symbols_find(symbols, 0, &start));
	assert_null(symbols_find(symbols, UINT64_MAX, &start));
}

static void odd_names_come_back_as_they_were_and_long_ones_are_cut(void **state)
{
	char *longest = malloc(SYMBOLS_NAME_BYTES_MAX + 11);
	assert_non_null(longest);
	memset(longest, 'x', SYMBOLS_NAME_BYTES_MAX + 10);
	longest[SYMBOLS_NAME_BYTES_MAX + 10] = 0;
	const struct function functions[] = {
		{ 1, 1, "_ZNSt6vectorIiSaIiEE9push_backEOi" },
		{ 2, 1, "_ZNSt6vectorIiSaIiEE9push_backERKi" },
		{ 3, 1, "\xff\xfe not utf-8 \x1b[31m" },
		{ 4, 1, longest },
		{ 5, 1, longest + 10 },
		{ 6, 1, "x" },
	};
	AUTO_BUF packed = { 0 };
	AUTO(symbols) symbols = NULL;
	uint64_t start;

	pack(functions, COUNT_OF(functions), &packed);
	CHECK_OK(symbols_open(packed.bytes, packed.count, &symbols));
	for (size_t i = 0; i < COUNT_OF(functions); i++) {
		const char *wanted = i == 3 ? longest + 10 : functions[i].name;
		assert_string_equal(symbols_find(symbols, functions[i].offset, &start), wanted);
	}
	free(longest);
}

static void a_thousand_functions_survive_in_any_order(void **state)
{
	AUTO(symbols_builder) builder = symbols_builder_new();
	AUTO(symbols) symbols = NULL;
	AUTO_BUF packed = { 0 };
	char name[32];

	/* 389 is coprime to 1000: every index once, well mixed. */
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t index = i * 389 % 1000;
		snprintf(name, sizeof(name), "function_%u", index);
		CHECK_OK(symbols_builder_add(
		        builder, 0x400000 + index * 64ull, 48 + index % 32, name, strlen(name)));
	}
	buf_put(&packed, "before", 6); /* appends behind what is there */
	CHECK_OK(symbols_builder_finish(builder, &packed));
	CHECK_OK(symbols_open(packed.bytes + 6, packed.count - 6, &symbols));
	for (uint32_t index = 0; index < 1000; index++) {
		uint64_t start = 0;
		uint64_t bytes = 48 + index % 32 > 64 ? 64 : 48 + index % 32;
		uint64_t first = 0x400000 + index * 64ull;

		snprintf(name, sizeof(name), "function_%u", index);
		if (index == 999)
			bytes = 48 + index % 32;
		assert_string_equal(symbols_find(symbols, first, &start), name);
		assert_string_equal(symbols_find(symbols, first + bytes - 1, &start), name);
		assert_int_equal(start, first);
		if (bytes < 64)
			assert_null(symbols_find(symbols, first + bytes, &start));
	}
}

/* A well-formed envelope around any columns. */
static void seal(uint32_t count, uint32_t unpacked, const struct buf *columns, struct buf *to)
{
	AUTO_BUF packed = { 0 };

	CHECK_OK(compress_append(COMPRESS_ZSTD, columns->bytes, columns->count, &packed));
	buf_put_u32(to, 0x79736670);
	buf_put_u16(to, 1);
	buf_put_u16(to, COMPRESS_ZSTD);
	buf_put_u32(to, count);
	buf_put_u32(to, unpacked);
	buf_put_u32(to, (uint32_t)packed.count);
	buf_put(to, packed.bytes, packed.count);
	buf_put_u64(to, hash64_bytes(to->bytes, to->count));
}

static void columns_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		const char *what;
		uint32_t count;
		uint8_t columns[24];
		uint32_t columns_count;
		int result;
	} cases[] = {
		{ "one function", 1, { 5, 2, 0, 1, 'a' }, 5, 0 },
		{ "two, one prefix", 2, { 5, 0, 2, 2, 0, 1, 1, 1, 'a', 'b' }, 10, 0 },
		{ "fewer than said", 2, { 5, 2, 0, 1, 'a', 0, 0, 0 }, 8, -EBADMSG },
		{ "size zero", 1, { 5, 0, 0, 1, 'a' }, 5, -EBADMSG },
		{ "prefix of nothing", 1, { 5, 2, 1, 1, 'a' }, 5, -EBADMSG },
		{ "prefix longer than the name before", 2, { 5, 0, 2, 2, 0, 2, 1, 0, 'a' }, 9,
		        -EBADMSG },
		{ "empty name", 1, { 5, 2, 0, 0 }, 4, -EBADMSG },
		{ "zero byte in a name", 1, { 5, 2, 0, 1, 0 }, 5, -EBADMSG },
		{ "text too short", 1, { 5, 2, 0, 2, 'a' }, 5, -EBADMSG },
		{ "text too long", 1, { 5, 2, 0, 1, 'a', 'b' }, 6, -EBADMSG },
		{ "past the address space", 1,
		        { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 0, 1, 'a' },
		        14, -EBADMSG },
		{ "size of more than 32 bits", 1, { 5, 0xff, 0xff, 0xff, 0xff, 0x1f, 0, 1, 'a' }, 9,
		        -EBADMSG },
		{ "count that the bytes cannot hold", 7, { 5, 2, 0, 1, 'a' }, 5, -EBADMSG },
		{ "count past the limit", SYMBOLS_COUNT_MAX + 1, { 5, 2, 0, 1, 'a' }, 5, -E2BIG },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf columns = { .bytes = (uint8_t *)(uintptr_t)cases[i].columns,
			.count = cases[i].columns_count };
		AUTO_BUF sealed = { 0 };
		AUTO(symbols) symbols = NULL;

		print_message("%s\n", cases[i].what);
		seal(cases[i].count, cases[i].columns_count, &columns, &sealed);
		assert_int_equal(
		        symbols_open(sealed.bytes, sealed.count, &symbols), cases[i].result);
	}
}

static void a_size_past_the_limit_is_refused_before_memory_is_taken(void **state)
{
	struct buf columns = { .bytes = (uint8_t[]){ 5, 2, 0, 1, 'a' }, .count = 5 };
	AUTO_BUF sealed = { 0 };
	AUTO(symbols) symbols = NULL;

	seal(1, SYMBOLS_BYTES_MAX + 1, &columns, &sealed);
	assert_int_equal(symbols_open(sealed.bytes, sealed.count, &symbols), -E2BIG);
}

/* Names that all repeat one long prefix: a few bytes each in the file, 60 kB each in memory. */
static void a_small_file_cannot_unfold_without_bound(void **state)
{
	enum { count = 8192, prefix = 60000 };
	AUTO_BUF columns = { 0 };
	AUTO_BUF sealed = { 0 };
	AUTO(symbols) symbols = NULL;

	for (int i = 0; i < count; i++)
		buf_put_varint(&columns, 0);
	for (int i = 0; i < count; i++)
		buf_put_varint(&columns, 1);
	for (int i = 0; i < count; i++)
		buf_put_varint(&columns, i == 0 ? 0 : prefix);
	for (int i = 0; i < count; i++)
		buf_put_varint(&columns, i == 0 ? prefix : 0);
	for (int i = 0; i < prefix; i++)
		buf_put_u8(&columns, 'a');
	seal(count, (uint32_t)columns.count, &columns, &sealed);
	CHECK(sealed.count < 2000);
	assert_int_equal(symbols_open(sealed.bytes, sealed.count, &symbols), -E2BIG);
}

static void a_damaged_table_is_refused_wherever_the_damage_is(void **state)
{
	static const struct function functions[] = { { 16, 4, "one" }, { 32, 4, "two" } };
	AUTO_BUF packed = { 0 };
	AUTO(symbols) symbols = NULL;

	pack(functions, COUNT_OF(functions), &packed);
	for (size_t i = 0; i < packed.count; i++) {
		packed.bytes[i] ^= 0x10;
		assert_int_equal(symbols_open(packed.bytes, packed.count, &symbols), -EBADMSG);
		packed.bytes[i] ^= 0x10;
		assert_int_equal(symbols_open(packed.bytes, i, &symbols), -EBADMSG);
	}
	buf_put_u8(&packed, 0);
	assert_int_equal(symbols_open(packed.bytes, packed.count, &symbols), -EBADMSG);
	assert_null(symbols);
}

/* zstd may pack better one day, so what is golden is the columns, and that old tables open. */
static void the_bytes_of_version_1_stay_readable_for_ever(void **state)
{
	static const struct function functions[] = {
		{ 0x1000, 0x80, "alpha" },
		{ 0x1080, 0x20, "alphabet" },
	};
	AUTO_BUF packed = { 0 };
	AUTO_BUF columns = { 0 };
	AUTO_BUF golden = { 0 };
	AUTO(symbols) symbols = NULL;
	uint64_t start;

	pack(functions, COUNT_OF(functions), &packed);
	struct reader header = reader_of(packed.bytes + 12, 8);
	uint32_t unpacked_count = reader_u32(&header);
	uint32_t packed_count = reader_u32(&header);
	CHECK_OK(compress_unpack(COMPRESS_ZSTD, packed.bytes + 20, packed_count, unpacked_count,
	        SYMBOLS_BYTES_MAX, &columns));
	golden_hex_check("docs/formats/symbols.md", "columns", &columns);

	golden_hex_read("tests/golden/symbols_v1.hex", "table", &golden);
	CHECK_OK(symbols_open(golden.bytes, golden.count, &symbols));
	assert_int_equal(symbols_count(symbols), 2);
	assert_string_equal(symbols_find(symbols, 0x107f, &start), "alpha");
	assert_string_equal(symbols_find(symbols, 0x1080, &start), "alphabet");
	assert_null(symbols_find(symbols, 0x10a0, &start));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_has_the_name_of_the_function_that_holds_it_or_none),
		cmocka_unit_test(an_empty_table_is_a_table),
		cmocka_unit_test(odd_names_come_back_as_they_were_and_long_ones_are_cut),
		cmocka_unit_test(a_thousand_functions_survive_in_any_order),
		cmocka_unit_test(columns_that_make_no_sense_are_refused),
		cmocka_unit_test(a_size_past_the_limit_is_refused_before_memory_is_taken),
		cmocka_unit_test(a_small_file_cannot_unfold_without_bound),
		cmocka_unit_test(the_bytes_of_version_1_stay_readable_for_ever),
		cmocka_unit_test(a_damaged_table_is_refused_wherever_the_damage_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
