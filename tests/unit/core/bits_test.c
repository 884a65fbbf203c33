/* Numbers come back from their bits, and bits that are cut are told of. */

#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/bits.h"
#include "tests/lib/test.h"

#define NUMBERS 4000

/* Of every width, in no order. */
static uint64_t number(uint32_t i)
{
	uint64_t mixed = (i + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
	return mixed >> (mixed >> 7) % 64;
}

static size_t put_all(uint8_t *bytes)
{
	struct bits_writer writer = { .at = bytes };
	for (uint32_t i = 0; i < NUMBERS; i++) {
		uint64_t n = number(i);
		bits_put(&writer, n & 1, 1);
		bits_put_below_top(&writer, (uint32_t)n);
		if (n > 0)
			bits_put_number(&writer, n);
		bits_put(&writer, n & ((UINT64_C(1) << BITS_AT_ONCE_MAX) - 1), BITS_AT_ONCE_MAX);
	}
	bits_end(&writer);
	return (size_t)(writer.at - bytes);
}

static void numbers_of_every_width_come_back(void **state)
{
	autofree uint8_t *bytes = malloc((size_t)NUMBERS * 32);
	size_t count = put_all(bytes);
	autofree uint8_t *exact = malloc(count);
	memcpy(exact, bytes, count);
	struct bits_reader reader = bits_reader_of(exact, count);
	for (uint32_t i = 0; i < NUMBERS; i++) {
		uint64_t n = number(i);
		CHECK(bits_get(&reader, 1) == (n & 1));
		CHECK(bits_get_below_top(&reader, bits_width((uint32_t)n)) == (uint32_t)n);
		CHECK(n == 0 || bits_get_number(&reader) == n);
		CHECK(bits_get(&reader, BITS_AT_ONCE_MAX) ==
		        (n & ((UINT64_C(1) << BITS_AT_ONCE_MAX) - 1)));
	}
	CHECK(bits_is_at_end(&reader));
	CHECK(!reader.failed);
}

/* Every number below a limit, in as many bits as its logarithm rounded down or up. */
static void numbers_below_a_limit_take_a_bit_less_where_they_can(void **state)
{
	static uint8_t bytes[1024];
	for (uint64_t limit = 1; limit < 70; limit++) {
		struct bits_writer writer = { .at = bytes };
		for (uint64_t n = 0; n < limit; n++)
			bits_put_below(&writer, n, limit);
		bits_end(&writer);
		size_t count = (size_t)(writer.at - bytes);
		CHECK(count <= (limit * bits_width(limit - 1) + 7) / 8);
		struct bits_reader reader = bits_reader_of(bytes, count);
		for (uint64_t n = 0; n < limit; n++)
			assert_int_equal(bits_get_below(&reader, limit), n);
		CHECK(bits_is_at_end(&reader));
	}
	struct bits_writer writer = { .at = bytes };
	bits_put_below(&writer, UINT32_MAX, UINT64_C(1) << 32);
	bits_put_below(&writer, UINT32_MAX - 1, UINT32_MAX);
	bits_end(&writer);
	assert_int_equal(writer.at - bytes, 8);
	struct bits_reader reader = bits_reader_of(bytes, 8);
	assert_int_equal(bits_get_below(&reader, UINT64_C(1) << 32), UINT32_MAX);
	assert_int_equal(bits_get_below(&reader, UINT32_MAX), UINT32_MAX - 1);
}

static void the_largest_number_takes_what_is_said(void **state)
{
	uint8_t bytes[BITS_NUMBER_BYTES_MAX + BITS_ROOM];
	struct bits_writer writer = { .at = bytes };
	bits_put_number(&writer, UINT64_MAX);
	bits_end(&writer);
	assert_int_equal(writer.at - bytes, BITS_NUMBER_BYTES_MAX);
	struct bits_reader reader = bits_reader_of(bytes, BITS_NUMBER_BYTES_MAX);
	CHECK(bits_get_number(&reader) == UINT64_MAX);
}

static void reading_past_the_end_fails_and_stays_failed(void **state)
{
	const uint8_t bytes[] = { 0xff, 0x01 };
	struct bits_reader reader = bits_reader_of(bytes, sizeof(bytes));
	CHECK(bits_get(&reader, 9) == 0x1ff);
	CHECK(bits_is_at_end(&reader));
	CHECK(bits_get(&reader, 8) == 0);
	CHECK(reader.failed && !bits_is_at_end(&reader));

	reader = bits_reader_of(NULL, 0);
	CHECK(bits_is_at_end(&reader));
	CHECK(bits_get_number(&reader) == 0);
	CHECK(reader.failed);
}

static void what_is_no_number_and_no_filling_is_refused(void **state)
{
	const uint8_t zeroes[8] = { 0 };
	struct bits_reader reader = bits_reader_of(zeroes, sizeof(zeroes));
	CHECK(bits_get_number(&reader) == 0);
	CHECK(reader.failed);

	/* The width 127: six zeroes, a one, and six ones. */
	const uint8_t wide[16] = { 0xc0, 0x1f };
	reader = bits_reader_of(wide, sizeof(wide));
	CHECK(bits_get_number(&reader) == 0);
	CHECK(reader.failed);

	const uint8_t filled[] = { 0x03 };
	reader = bits_reader_of(filled, sizeof(filled));
	CHECK(bits_get(&reader, 1) == 1);
	CHECK(!bits_is_at_end(&reader));
	reader = bits_reader_of(zeroes, 2);
	CHECK(bits_get(&reader, 1) == 0);
	CHECK(!bits_is_at_end(&reader));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_of_every_width_come_back),
		cmocka_unit_test(numbers_below_a_limit_take_a_bit_less_where_they_can),
		cmocka_unit_test(the_largest_number_takes_what_is_said),
		cmocka_unit_test(reading_past_the_end_fails_and_stays_failed),
		cmocka_unit_test(what_is_no_number_and_no_filling_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
