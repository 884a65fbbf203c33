/* The vectors of FIPS 180-4, which say that it is SHA-256 and no other. */

#include "tests/lib/test.h"

#include <errno.h>

#include <string.h>

#include "core/sha256.h"

static void it_is_sha_256(void **state)
{
	static const struct {
		const char *text, *hex;
	} cases[] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct sha256 hash;
		char hex[SHA256_HEX_BYTES];
		CHECK_OK(sha256_bytes(cases[i].text, strlen(cases[i].text), &hash));
		sha256_hex(&hash, hex);
		assert_string_equal(hex, cases[i].hex);
	}
}

static void its_hex_is_read_again_and_nothing_else_is(void **state)
{
	static const char *const wrong[] = { "", "00",
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8555",
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85g",
		" 3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" };
	struct sha256 hash, again;
	char hex[SHA256_HEX_BYTES];
	CHECK_OK(sha256_bytes("x", 1, &hash));
	sha256_hex(&hash, hex);
	CHECK_OK(sha256_of_hex(hex, &again));
	assert_memory_equal(&hash, &again, sizeof(hash));
	CHECK_OK(sha256_of_hex(
	        "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", &again));
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		assert_int_equal(sha256_of_hex(wrong[i], &again), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(it_is_sha_256),
		cmocka_unit_test(its_hex_is_read_again_and_nothing_else_is) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
