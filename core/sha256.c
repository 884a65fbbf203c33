/* One call of OpenSSL's digest interface, which is the one that does not age. */

#include "core/sha256.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

int sha256_bytes(const void *bytes, size_t count, struct sha256 *ret_hash)
{
	struct sha256 hash;
	unsigned int length = 0;
	if (EVP_Digest(bytes, count, hash.bytes, &length, EVP_sha256(), NULL) != 1 ||
	        length != SHA256_BYTES)
		return -ENOMEM;
	*ret_hash = hash;
	return 0;
}

void sha256_hex(const struct sha256 *hash, char ret_hex[SHA256_HEX_BYTES])
{
	for (size_t i = 0; i < SHA256_BYTES; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", hash->bytes[i]);
}

static int sha256_of_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	return -EINVAL;
}

int sha256_of_hex(const char *hex, struct sha256 *ret_hash)
{
	struct sha256 hash;
	if (strlen(hex) != SHA256_HEX_BYTES - 1)
		return -EINVAL;
	for (size_t i = 0; i < SHA256_BYTES; i++) {
		int high = sha256_of_digit(hex[2 * i]), low = sha256_of_digit(hex[2 * i + 1]);
		if (high < 0 || low < 0)
			return -EINVAL;
		hash.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*ret_hash = hash;
	return 0;
}
