#pragma once

/*
 * sha256 is the hash for what somebody may want to forge: the chain of the audit log, and what it
 * says was changed. (core/hash.h is faster, and no defence.) The one door to OpenSSL's libcrypto.
 */

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES     32
#define SHA256_HEX_BYTES (2 * SHA256_BYTES + 1)

struct sha256 {
	uint8_t bytes[SHA256_BYTES];
};

/* -ENOMEM. */
int sha256_bytes(const void *bytes, size_t count, struct sha256 *ret_hash);

void sha256_hex(const struct sha256 *hash, char ret_hex[SHA256_HEX_BYTES]);

/* As sha256_hex() wrote it; capitals as well. -EINVAL: anything else, also if there is more text.
 */
int sha256_of_hex(const char *hex, struct sha256 *ret_hash);
