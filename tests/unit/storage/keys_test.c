/* Keys: their bytes, that they sort as their numbers do, and that anything else is refused. */

#include "storage/keys.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/test.h"

static void batch_keys_have_their_documented_bytes(void **state)
{
	static const uint8_t expected[KEYS_BATCH_BYTES] = {
		1,
		2,
		3,
		4,
		5,
		6,
		7,
		8,
		0,
		0,
		0,
		9,
		0,
		0,
		0,
		0,
		0,
		0,
		1,
		0,
	};
	uint8_t bytes[KEYS_BATCH_BYTES];
	struct key_batch key;

	keys_put_batch((struct key_batch){ UINT64_C(0x0102030405060708), 9, 256 }, bytes);
	assert_memory_equal(bytes, expected, sizeof(expected));
	CHECK_OK(keys_get_batch(bytes, sizeof(bytes), &key));
	CHECK(key.start_ns == UINT64_C(0x0102030405060708) && key.stream == 9 && key.seq == 256);
}

static void batch_keys_sort_by_start_then_stream_then_seq(void **state)
{
	static const struct key_batch ascending[] = {
		{ 0, 0, 1 },
		{ 0, 0, 256 },
		{ 0, 1, 1 },
		{ 0, 256, 0 },
		{ 1, 0, 0 },
		{ 255, UINT32_MAX, UINT64_MAX },
		{ 256, 0, 0 },
		{ UINT64_MAX - 1, 0, 0 },
		{ UINT64_MAX, UINT32_MAX, UINT64_MAX },
	};
	uint8_t before[KEYS_BATCH_BYTES];
	uint8_t after[KEYS_BATCH_BYTES];
	uint8_t bound[KEYS_TIME_BYTES];

	for (size_t i = 1; i < COUNT_OF(ascending); i++) {
		keys_put_batch(ascending[i - 1], before);
		keys_put_batch(ascending[i], after);
		CHECK(memcmp(before, after, sizeof(before)) < 0);
		/* The bound of a time is not above any key of that time. */
		keys_put_time(ascending[i].start_ns, bound);
		CHECK(memcmp(bound, after, sizeof(bound)) <= 0);
	}
}

static void keys_of_a_wrong_length_are_refused(void **state)
{
	static const uint8_t bytes[KEYS_SYMBOLS_BYTES_MAX + 1] = { 'h' };
	struct key_batch batch;
	struct key_dict dict;
	uint32_t stream;
	struct wire_uuid uuid;
	char tenant[KEYS_TENANT_BYTES_MAX + 1];

	for (size_t count = 0; count < sizeof(bytes); count++) {
		CHECK(keys_get_batch(bytes, count, &batch) ==
		        (count == KEYS_BATCH_BYTES ? 0 : -EBADMSG));
		CHECK(keys_get_dict(bytes, count, &dict) ==
		        (count == KEYS_DICT_BYTES ? 0 : -EBADMSG));
		CHECK(keys_get_stream(bytes, count, &stream) ==
		        (count == KEYS_STREAM_BYTES ? 0 : -EBADMSG));
		/* The tenant is zero bytes, which are no text. */
		CHECK(keys_get_agent(bytes, count, &uuid, tenant) == (count == 16 ? 0 : -EBADMSG));
	}
}

static void agent_keys_keep_uuid_and_tenant(void **state)
{
	struct wire_uuid uuid = { .bytes = { 1, 2, 3 } };
	struct wire_uuid uuid_read;
	uint8_t bytes[KEYS_AGENT_BYTES_MAX];
	char tenant[KEYS_TENANT_BYTES_MAX + 1];

	assert_int_equal(keys_put_agent(&uuid, "acme", bytes), 20);
	CHECK_OK(keys_get_agent(bytes, 20, &uuid_read, tenant));
	assert_memory_equal(&uuid, &uuid_read, sizeof(uuid));
	assert_string_equal(tenant, "acme");
	assert_int_equal(keys_put_agent(&uuid, "", bytes), 16);
	CHECK_OK(keys_get_agent(bytes, 16, &uuid_read, tenant));
	assert_string_equal(tenant, "");
}

static void symbol_keys_have_a_part_and_a_build_id(void **state)
{
	uint8_t bytes[KEYS_SYMBOLS_BYTES_MAX];
	enum keys_symbols_part part;
	char build_id[KEYS_BUILD_ID_BYTES_MAX + 1];

	size_t count = keys_put_symbols(KEYS_SYMBOLS_HEAD, "c0ffee", bytes);
	assert_int_equal(count, 7);
	CHECK_OK(keys_get_symbols(bytes, count, &part, build_id));
	assert_int_equal(part, KEYS_SYMBOLS_HEAD);
	assert_string_equal(build_id, "c0ffee");
	CHECK(keys_get_symbols("h", 1, &part, build_id) == -EBADMSG);
	CHECK(keys_get_symbols("xc0ffee", 7, &part, build_id) == -EBADMSG);
	CHECK(keys_get_symbols("hc0\0fee", 7, &part, build_id) == -EBADMSG);
}

static void window_and_block_keys_have_their_documented_bytes(void **state)
{
	static const uint8_t expected[KEYS_BLOCK_BYTES] = { 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
		0, 2, 1, 0, 0, 0, 3, 0, 0, 0, 4, 'd', 0, 0, 0, 5 };
	static const struct key_block key = { { 256, 513, 3 }, 4, KEYS_BLOCK_DETAIL, 5 };
	uint8_t bytes[KEYS_BLOCK_BYTES];
	struct key_block read;
	struct key_window window;
	keys_put_block(key, bytes);
	assert_memory_equal(bytes, expected, sizeof(expected));
	CHECK_OK(keys_get_block(bytes, sizeof(bytes), &read));
	CHECK(read.window.generation == 3 && read.unit == 4 && read.part == KEYS_BLOCK_DETAIL &&
	        read.chunk == 5);
	CHECK_OK(keys_get_window(bytes, KEYS_WINDOW_BYTES, &window));
	CHECK(window.from_ns == 256 && window.to_ns == 513 && window.generation == 3);

	CHECK(keys_get_block(bytes, sizeof(bytes) - 1, &read) == -EBADMSG);
	bytes[24] = 'x'; /* no part */
	CHECK(keys_get_block(bytes, sizeof(bytes), &read) == -EBADMSG);
	bytes[24] = 'd';
	bytes[0] = 1; /* ends before it begins */
	CHECK(keys_get_block(bytes, sizeof(bytes), &read) == -EBADMSG);
	CHECK(keys_get_window(bytes, KEYS_WINDOW_BYTES, &window) == -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batch_keys_have_their_documented_bytes),
		cmocka_unit_test(batch_keys_sort_by_start_then_stream_then_seq),
		cmocka_unit_test(keys_of_a_wrong_length_are_refused),
		cmocka_unit_test(window_and_block_keys_have_their_documented_bytes),
		cmocka_unit_test(agent_keys_keep_uuid_and_tenant),
		cmocka_unit_test(symbol_keys_have_a_part_and_a_build_id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
