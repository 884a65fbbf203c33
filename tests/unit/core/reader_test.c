/*
 * Every primitive over every truncation of its input: nothing is read past the end (the input lies
 * at the end of its own heap block, where ASan sees one byte too many), and failure sticks.
 */

#include "core/reader.h"

#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/rng.h"
#include "tests/lib/test.h"

static uint64_t read_u8(struct reader *reader)
{
	return reader_u8(reader);
}

static uint64_t read_u16(struct reader *reader)
{
	return reader_u16(reader);
}

static uint64_t read_u32(struct reader *reader)
{
	return reader_u32(reader);
}

static uint64_t read_zigzag(struct reader *reader)
{
	return (uint64_t)reader_zigzag(reader);
}

static uint64_t read_below_1000(struct reader *reader)
{
	return reader_varint_max(reader, 1000);
}

static uint64_t read_count_of_4(struct reader *reader)
{
	return reader_count(reader, 4);
}

static uint64_t read_string(struct reader *reader)
{
	size_t count = 99;
	const char *text = reader_string(reader, 5, &count);
	return text && count ? (uint64_t)count << 8 | (uint8_t)text[0] : count;
}

static const struct {
	const char *bytes;
	size_t count;
	uint64_t (*read)(struct reader *reader);
	uint64_t value;
	size_t used; /* 0: refused even when it is all there */
} cases[] = {
	{ "\x81", 1, read_u8, 0x81, 1 },
	{ "\x01\x82", 2, read_u16, 0x8201, 2 },
	{ "\x01\x02\x03\x84", 4, read_u32, 0x84030201, 4 },
	{ "\1\2\3\4\5\6\7\x88", 8, reader_u64, UINT64_C(0x8807060504030201), 8 },
	{ "\0", 1, reader_varint, 0, 1 },
	{ "\x7f", 1, reader_varint, 127, 1 },
	{ "\xac\x02", 2, reader_varint, 300, 2 },
	{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, reader_varint, UINT64_MAX, 10 },
	{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, reader_varint, 0, 0 },
	{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11, reader_varint, 0, 0 },
	{ "\x01", 1, read_zigzag, (uint64_t)-1, 1 },
	{ "\x02", 1, read_zigzag, 1, 1 },
	{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, read_zigzag, (uint64_t)INT64_MIN, 10 },
	{ "\xe8\x07", 2, read_below_1000, 1000, 2 },
	{ "\xe9\x07", 2, read_below_1000, 0, 0 },
	{ "\x02"
	  "abcdefgh",
	        9, read_count_of_4, 2, 1 },
	{ "\x02"
	  "abcdefg",
	        8, read_count_of_4, 0, 0 },
	{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, read_count_of_4, 0, 0 },
	{ "\x03"
	  "abc",
	        4, read_string, 3 << 8 | 'a', 4 },
	{ "\x06"
	  "abcdef",
	        7, read_string, 0, 0 },
	{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, read_string, 0, 0 },
};

/* The first `count` bytes in a block that ends with them. */
static uint8_t *block_of(const char *bytes, size_t count)
{
	uint8_t *block = malloc(count ? count : 1);
	assert_non_null(block);
	memcpy(block, bytes, count);
	return block;
}

static void values_are_read_and_the_rest_is_left(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		autofree uint8_t *block = block_of(cases[i].bytes, cases[i].count);
		struct reader reader = reader_of(block, cases[i].count);
		assert_int_equal(cases[i].read(&reader), cases[i].value);
		assert_int_equal(reader.failed, cases[i].used == 0);
		assert_int_equal(
		        reader_left(&reader), cases[i].used ? cases[i].count - cases[i].used : 0);
	}
}

static void every_truncation_fails_and_stays_failed(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		for (size_t count = 0; count < cases[i].used; count++) {
			autofree uint8_t *block = block_of(cases[i].bytes, count);
			struct reader reader = reader_of(block, count);
			assert_int_equal(cases[i].read(&reader), 0);
			CHECK(reader.failed);
			assert_int_equal(reader_left(&reader), 0);
			assert_int_equal(reader_u8(&reader), 0);
			assert_null(reader_bytes(&reader, 0));
		}
	}
}

static void string_is_borrowed_and_may_be_empty(void **state)
{
	static const uint8_t bytes[] = { 0, 2, 'h', 'i' };
	struct reader reader = reader_of(bytes, sizeof(bytes));
	size_t count = 99;
	CHECK(reader_string(&reader, 0, &count) == (const char *)bytes + 1);
	assert_int_equal(count, 0);
	CHECK(reader_string(&reader, 2, &count) == (const char *)bytes + 2);
	assert_int_equal(count, 2);
	CHECK(!reader.failed);
}

static void nothing_at_all_can_be_walked(void **state)
{
	struct reader reader = reader_of(NULL, 0);
	assert_int_equal(reader_left(&reader), 0);
	CHECK(!reader.failed);
	assert_int_equal(reader_u64(&reader), 0);
	CHECK(reader.failed);
}

static void random_walks_over_random_bytes_stay_inside(void **state)
{
	struct rng rng;
	rng_init(&rng, 5);
	for (int round = 0; round < 20000; round++) {
		char bytes[24];
		size_t count = rng_below(&rng, sizeof(bytes) + 1);
		for (size_t i = 0; i < count; i++)
			bytes[i] = (char)(rng_below(&rng, 3) ? rng_u64(&rng) : rng_below(&rng, 4));
		autofree uint8_t *block = block_of(bytes, count);
		struct reader reader = reader_of(block, count);
		size_t left = count;
		while (!reader.failed && left > 0) {
			(void)cases[rng_below(&rng, COUNT_OF(cases))].read(&reader);
			CHECK(reader_left(&reader) <= left);
			left = reader_left(&reader);
			CHECK(reader.at + left == reader.end || reader.failed);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_read_and_the_rest_is_left),
		cmocka_unit_test(every_truncation_fails_and_stays_failed),
		cmocka_unit_test(string_is_borrowed_and_may_be_empty),
		cmocka_unit_test(nothing_at_all_can_be_walked),
		cmocka_unit_test(random_walks_over_random_bytes_stay_inside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
