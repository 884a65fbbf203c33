/* The vectors of FIPS 180-4, which say that it is SHA-256 and no other. */

#include "tests/lib/test.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(it_is_sha_256) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
