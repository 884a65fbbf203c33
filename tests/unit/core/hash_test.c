/*
 * Wire and storage keep these numbers: a change of library or byte order would make every stored id
 * another one.
 */

#include "core/hash.h"

#include <string.h>

#include "tests/lib/test.h"

static void hashes_are_those_of_the_specification(void **state)
{
	/* XXH3 with seed 0 of nothing, from the tests of xxHash 0.8. */
	struct hash128 nothing = hash128_bytes("", 0);
	assert_int_equal(nothing.low, UINT64_C(0x6001c324468d497f));
	assert_int_equal(nothing.high, UINT64_C(0x99aa06d3014798d8));
	assert_int_equal(hash64_bytes("", 0), UINT64_C(0x2d06800538d394c2));
}

static void each_byte_and_length_matters(void **state)
{
	char bytes[300] = { 0 };
	for (size_t i = 0; i < sizeof(bytes); i++) {
		struct hash128 before = hash128_bytes(bytes, sizeof(bytes));
		uint64_t before64 = hash64_bytes(bytes, sizeof(bytes));
		bytes[i] = 1;
		CHECK(!hash128_equal(before, hash128_bytes(bytes, sizeof(bytes))));
		CHECK(before64 != hash64_bytes(bytes, sizeof(bytes)));
		bytes[i] = 0;
		CHECK(hash128_equal(before, hash128_bytes(bytes, sizeof(bytes))));
		CHECK(!hash128_equal(hash128_bytes(bytes, i), hash128_bytes(bytes, i + 1)));
	}
}

static void pieces_have_the_hash_of_the_whole(void **state)
{
	uint8_t bytes[5000];
	AUTO(hash64_stream) stream = hash64_stream_new();
	assert_non_null(stream);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t piece = 1; piece < sizeof(bytes); piece = piece * 3 + 1) {
		hash64_stream_reset(stream);
		assert_int_equal(hash64_stream_value(stream), hash64_bytes("", 0));
		for (size_t at = 0; at < sizeof(bytes); at += piece) {
			size_t left = sizeof(bytes) - at;
			hash64_stream_put(stream, bytes + at, left < piece ? left : piece);
		}
		assert_int_equal(hash64_stream_value(stream), hash64_bytes(bytes, sizeof(bytes)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_are_those_of_the_specification),
		cmocka_unit_test(each_byte_and_length_matters),
		cmocka_unit_test(pieces_have_the_hash_of_the_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
