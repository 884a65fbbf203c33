/*
 * A record of the audit log from the disk: as it is, and with its checksum put right, so that what
 * lies behind it is reached. What is accepted is written again and says the same.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/hash.h"
#include "storage/audit.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void try_record(const uint8_t *bytes, size_t count)
{
	uint8_t key_bytes[AUDIT_KEY_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	struct audit_record record;
	AUTO_BUF again = { 0 };
	audit_put_key(7, key_bytes);
	if (audit_get(key, (struct kv_bytes){ bytes, count }, &record) < 0)
		return;
	int r = audit_put(&record, key, &again);
	assert(r == 0 && again.count <= count); /* a number may be written longer than need be */
	struct audit_record same;
	r = audit_get(key, (struct kv_bytes){ again.bytes, again.count }, &same);
	assert(r == 0 && same.unix_ns == record.unix_ns && same.bytes == record.bytes);
	assert(same.actor.count == record.actor.count &&
	        same.details.count == record.details.count);
}

/* Checksum and hash as they should be for what is between them. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	try_record(bytes, count);
	if (count < 9 + SHA256_BYTES)
		return 0;
	uint8_t key[AUDIT_KEY_BYTES];
	autofree uint8_t *repaired = malloc(count);
	struct sha256 hash;
	assert(repaired);
	memcpy(repaired, bytes, count);
	int r = sha256_bytes(repaired + 9, count - 9 - SHA256_BYTES, &hash);
	assert(r == 0);
	memcpy(repaired + count - SHA256_BYTES, hash.bytes, SHA256_BYTES);
	audit_put_key(7, key);
	uint64_t checksum = hash64_bytes(repaired + 8, count - 8) ^ hash64_bytes(key, sizeof(key));
	for (int i = 0; i < 8; i++)
		repaired[i] = (uint8_t)(checksum >> (8 * i));
	try_record(repaired, count);
	return 0;
}
