/* Decisions come back in the bits that they are worth, and bytes that are cut are told of. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/range_code.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"

#define DECISIONS 20000

/* One in so many is a 1, and every seventh is a number of bits. */
static uint32_t decision(uint32_t i, uint32_t one_in)
{
	uint64_t mixed = (i + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
	return i % 7 == 6 ? (uint32_t)(mixed >> 48) : (mixed >> 33) % one_in == 0;
}

static void put_all_or_fail(uint32_t one_in, uint32_t count, struct buf *to)
{
	struct range_writer writer = range_writer_of(to);
	range_chance chance = RANGE_CHANCE_EVEN;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t value = decision(i, one_in);
		if (i % 7 == 6) {
			range_put_bits(&writer, value, RANGE_BITS_MAX);
			continue;
		}
		range_put(&writer, chance, value);
		range_learn(&chance, value);
	}
	range_end(&writer);
}

static void put_all(uint32_t one_in, uint32_t count, struct buf *to)
{
	put_all_or_fail(one_in, count, to);
	CHECK(!to->failed);
}

/* As put_all_or_fail(), so many at once. */
static void note_all_or_fail(uint32_t one_in, uint32_t count, uint32_t at_once, struct buf *to)
{
	struct range_writer writer = range_writer_of(to);
	range_chance chance = RANGE_CHANCE_EVEN;
	autofree struct range_step *steps = calloc((size_t)at_once, sizeof(*steps));
	uint32_t noted = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t value = decision(i, one_in);
		if (i % 7 == 6) {
			steps[noted++] = range_step_of_bits(value, RANGE_BITS_MAX);
		} else {
			steps[noted++] = range_step_of(chance, value);
			range_learn(&chance, value);
		}
		if (noted < at_once)
			continue;
		range_put_steps(&writer, steps, noted);
		noted = 0;
	}
	range_put_steps(&writer, steps, noted);
	range_end(&writer);
}

static uint32_t get_all(struct range_reader *reader, uint32_t one_in, uint32_t count)
{
	range_chance chance = RANGE_CHANCE_EVEN;
	uint32_t equal = 0;
	for (uint32_t i = 0; i < count && !reader->failed; i++) {
		uint32_t value;
		if (i % 7 == 6) {
			value = range_get_bits(reader, RANGE_BITS_MAX);
		} else {
			value = range_get(reader, chance);
			range_learn(&chance, value);
		}
		equal += value == decision(i, one_in);
	}
	return equal;
}

static void decisions_come_back_whatever_is_before_them(void **state)
{
	for (uint32_t one_in = 1; one_in < 300; one_in += one_in) {
		for (uint32_t count = 0; count < 200; count++) {
			AUTO_BUF bytes = { 0 };
			/* A carry must not go into these. */
			buf_put_u32(&bytes, UINT32_MAX);
			put_all(one_in, count, &bytes);
			CHECK(memcmp(bytes.bytes, "\xff\xff\xff\xff", 4) == 0);
			autofree uint8_t *exact = malloc(bytes.count);
			memcpy(exact, bytes.bytes, bytes.count);
			struct reader from = reader_of(exact + 4, bytes.count - 4);
			struct range_reader reader = range_reader_of(&from);
			assert_int_equal(get_all(&reader, one_in, count), count);
			CHECK(range_is_at_end(&reader));
		}
	}
}

static void noted_decisions_are_the_same_bytes(void **state)
{
	static const uint32_t at_once[] = { 1, 2, 63, 512, DECISIONS };
	for (uint32_t i = 0; i < sizeof(at_once) / sizeof(*at_once); i++) {
		for (uint32_t one_in = 1; one_in < 300; one_in += one_in) {
			AUTO_BUF one_by_one = { 0 };
			AUTO_BUF noted = { 0 };
			/* A carry must not go into these. */
			buf_put_u32(&noted, UINT32_MAX);
			put_all(one_in, DECISIONS - i, &one_by_one);
			note_all_or_fail(one_in, DECISIONS - i, at_once[i], &noted);
			CHECK(!noted.failed);
			assert_int_equal(noted.count - 4, one_by_one.count);
			CHECK(memcmp(noted.bytes, "\xff\xff\xff\xff", 4) == 0);
			CHECK(memcmp(noted.bytes + 4, one_by_one.bytes, one_by_one.count) == 0);
		}
	}
}

static void what_is_likely_takes_few_bits(void **state)
{
	AUTO_BUF bytes = { 0 };
	put_all(1, DECISIONS, &bytes);
	uint32_t numbers = DECISIONS / 7;
	CHECK(bytes.count < numbers * 2 + 100);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	struct range_reader reader = range_reader_of(&from);
	assert_int_equal(get_all(&reader, 1, DECISIONS), DECISIONS);
}

static void what_is_cut_fails_or_is_not_at_its_end(void **state)
{
	AUTO_BUF bytes = { 0 };
	put_all(3, 1000, &bytes);
	for (size_t count = 0; count < bytes.count; count++) {
		struct reader from = reader_of(bytes.bytes, count);
		struct range_reader reader = range_reader_of(&from);
		uint32_t equal = get_all(&reader, 3, 1000);
		CHECK(reader.failed || equal < 1000 || count + RANGE_TAIL_BYTES >= bytes.count);
	}
}

static void any_bytes_are_some_decisions(void **state)
{
	uint8_t bytes[64];
	for (uint32_t seed = 0; seed < 1000; seed++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)decision(
			        (uint32_t)(seed * sizeof(bytes) + i) * 7 + 6, 1);
		if (seed % 3 == 0)
			memset(bytes, 0xff, 5);
		struct reader from = reader_of(bytes, sizeof(bytes));
		struct range_reader reader = range_reader_of(&from);
		(void)get_all(&reader, 5, DECISIONS);
		CHECK(reader.failed); /* there are not so many in it */
	}
}

#define PARTS (1u << RANGE_PARTS_BITS)

/* Parts of all widths, the last of all among them: the rest of the interval is nobody's. */
static uint32_t part_width(uint32_t i, uint32_t *ret_begin)
{
	uint64_t mixed = (i + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
	uint32_t width = 1 + (uint32_t)(mixed >> 49) % (PARTS >> i % (RANGE_PARTS_BITS + 1));
	*ret_begin = i % 3 == 0 ? PARTS - width : (uint32_t)(mixed >> 33) % (PARTS - width + 1);
	return width;
}

static void parts_come_back(void **state)
{
	AUTO_BUF bytes = { 0 };
	struct range_writer writer = range_writer_of(&bytes);
	uint32_t begin;
	for (uint32_t i = 0; i < DECISIONS; i++) {
		uint32_t width = part_width(i, &begin);
		range_put_part(&writer, begin, width);
	}
	range_end(&writer);
	CHECK(!bytes.failed);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	struct range_reader reader = range_reader_of(&from);
	for (uint32_t i = 0; i < DECISIONS; i++) {
		uint32_t width = part_width(i, &begin);
		uint32_t point = range_get_point(&reader);
		CHECK(point >= begin && point - begin < width);
		range_take_part(&reader, begin, width);
	}
	CHECK(range_is_at_end(&reader));
}

static void a_point_behind_all_parts_fails_the_reader(void **state)
{
	static const uint8_t bytes[] = { 0xff, 0xff, 0xff, 0xfe };
	struct reader from = reader_of(bytes, sizeof(bytes));
	struct range_reader reader = range_reader_of(&from);
	CHECK(!reader.failed);
	assert_int_equal(range_get_point(&reader), 0);
	CHECK(reader.failed);
	range_take_part(&reader, 0, 1);
	CHECK(!range_is_at_end(&reader));
}

static void without_memory_nothing_is_written(void **state)
{
	AUTO_BUF bytes = { 0 };
	fault_arm(FAULT_ALLOC, 0, ENOMEM);
	put_all_or_fail(2, DECISIONS, &bytes);
	CHECK(fault_disarm());
	CHECK(bytes.failed);
	AUTO_BUF noted = { 0 };
	/* The steps have theirs. */
	fault_arm(FAULT_ALLOC, 1, ENOMEM);
	note_all_or_fail(2, DECISIONS, 512, &noted);
	CHECK(fault_disarm());
	CHECK(noted.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decisions_come_back_whatever_is_before_them),
		cmocka_unit_test(noted_decisions_are_the_same_bytes),
		cmocka_unit_test(what_is_likely_takes_few_bits),
		cmocka_unit_test(what_is_cut_fails_or_is_not_at_its_end),
		cmocka_unit_test(any_bytes_are_some_decisions),
		cmocka_unit_test(parts_come_back),
		cmocka_unit_test(a_point_behind_all_parts_fails_the_reader),
		cmocka_unit_test(without_memory_nothing_is_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
