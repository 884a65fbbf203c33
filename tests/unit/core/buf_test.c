/* Every put at every limit: what fits is there, what does not sets `failed` and leaves no half. */

#include "core/buf.h"

#include <stdlib.h>
#include <string.h>

#include "core/reader.h"
#include "tests/lib/test.h"

static void put_all(struct buf *buf)
{
	buf_put_u8(buf, 0x01);
	buf_put_u16(buf, 0x0302);
	buf_put_u32(buf, 0x07060504);
	buf_put_u64(buf, UINT64_C(0x0f0e0d0c0b0a0908));
	buf_put_varint(buf, 300);
	buf_put_zigzag(buf, -2);
	buf_put_string(buf, "abc", 3);
	buf_printf(buf, "%d-%s", 42, "x");
}

static const uint8_t all[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xac, 0x02, 3, 3,
	'a', 'b', 'c', '4', '2', '-', 'x' };

static void puts_are_little_endian_and_in_order(void **state)
{
	AUTO_BUF buf = { 0 };
	put_all(&buf);
	CHECK(!buf.failed);
	assert_int_equal(buf.count, sizeof(all));
	assert_memory_equal(buf.bytes, all, sizeof(all));
}

static void limit_is_never_passed_and_failure_sticks(void **state)
{
	for (size_t limit = 1; limit < sizeof(all); limit++) {
		AUTO_BUF buf = { .limit = limit };
		put_all(&buf);
		CHECK(buf.failed);
		CHECK(buf.count <= limit);
		assert_memory_equal(buf.bytes ? buf.bytes : all, all, buf.count);

		size_t count = buf.count;
		buf_put_u8(&buf, 9);
		assert_int_equal(buf.count, count);
		assert_null(buf_take(&buf, &count));

		buf_reset(&buf);
		buf_put_u8(&buf, 9);
		CHECK(!buf.failed && buf.count == 1 && buf.bytes[0] == 9);
	}
}

static void impossible_sizes_fail_without_being_tried(void **state)
{
	static const size_t counts[] = { SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX - 1 };
	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		AUTO_BUF buf = { 0 };
		buf_put_u8(&buf, 1);
		assert_null(buf_reserve(&buf, counts[i]));
		CHECK(buf.failed);
		assert_int_equal(buf.count, 1);
	}
}

static void varints_are_as_short_as_can_be_and_read_back(void **state)
{
	for (int bit = 0; bit < 64; bit++) {
		uint64_t values[] = { UINT64_C(1) << bit, (UINT64_C(1) << bit) - 1,
			~(UINT64_C(1) << bit) };
		for (size_t i = 0; i < COUNT_OF(values); i++) {
			AUTO_BUF buf = { 0 };
			buf_put_varint(&buf, values[i]);
			int bits = values[i] ? 64 - __builtin_clzll(values[i]) : 1;
			assert_int_equal(buf.count, (bits + 6) / 7);
			buf_put_zigzag(&buf, (int64_t)values[i]);

			struct reader reader = reader_of(buf.bytes, buf.count);
			assert_int_equal(reader_varint(&reader), values[i]);
			assert_int_equal(reader_zigzag(&reader), (int64_t)values[i]);
			CHECK(!reader.failed && reader_left(&reader) == 0);
		}
	}
}

static void taken_bytes_belong_to_the_taker(void **state)
{
	struct buf buf = { .limit = 100 };
	size_t count = 0;
	buf_put(&buf, "xyz", 3);
	uint8_t *bytes = buf_take(&buf, &count);
	assert_int_equal(count, 3);
	assert_memory_equal(bytes, "xyz", 3);
	CHECK(!buf.bytes && buf.count == 0 && buf.limit == 100);
	free(bytes);

	/* Nothing is also something that can be freed. */
	bytes = buf_take(&buf, &count);
	assert_non_null(bytes);
	assert_int_equal(count, 0);
	free(bytes);
}

static void putting_nothing_changes_nothing(void **state)
{
	AUTO_BUF buf = { 0 };
	buf_put(&buf, NULL, 0);
	buf_printf(&buf, "%s", "");
	CHECK(!buf.failed);
	assert_int_equal(buf.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(puts_are_little_endian_and_in_order),
		cmocka_unit_test(limit_is_never_passed_and_failure_sticks),
		cmocka_unit_test(impossible_sizes_fail_without_being_tried),
		cmocka_unit_test(varints_are_as_short_as_can_be_and_read_back),
		cmocka_unit_test(taken_bytes_belong_to_the_taker),
		cmocka_unit_test(putting_nothing_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
