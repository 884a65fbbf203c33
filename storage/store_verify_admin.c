/*
 * Verifying the family `admin`: documents by their checksums, and the audit log also by its chain
 * (storage/audit.h), of which only the first break is told: what follows it says nothing more.
 */

#include <inttypes.h>
#include <string.h>

#include "storage/audit.h"
#include "storage/store_verify_private.h"

struct verify_chain {
	uint64_t seq; /* of the last record */
	struct sha256 hash;
	bool is_broken;
};

static int verify_chain_break(struct verify *verify, struct verify_chain *chain,
        const struct verify_place *place, const char *reason)
{
	if (chain->is_broken)
		return 0;
	chain->is_broken = true;
	return verify_damage(
	        verify, place, "proof of who changed what, from there on", "%s", reason);
}

static int verify_audit(struct verify *verify, struct verify_chain *chain, uint64_t seq,
        struct kv_bytes key, struct kv_bytes value)
{
	struct verify_place place = { .family = "admin" };
	struct audit_record record;
	uint64_t expected = chain->seq + 1;
	verify_put(&place, "audit record %" PRIu64, seq);
	chain->seq = seq;
	int r = audit_get(key, value, &record);
	if (verify_is_damage(r))
		return verify_chain_break(verify, chain, &place, verify_reason(r));
	if (r < 0)
		return r;
	if (seq != expected)
		r = verify_chain_break(verify, chain, &place, "those before it are missing");
	else if (memcmp(record.previous.bytes, chain->hash.bytes, SHA256_BYTES) != 0)
		r = verify_chain_break(
		        verify, chain, &place, "it is not chained to the record before it");
	chain->hash = record.hash;
	return r;
}

static int verify_document(struct verify *verify, struct kv_bytes key, struct kv_bytes value)
{
	struct verify_place place = { .family = "admin" };
	struct reader payload;
	const char *name = key.bytes;
	int r = record_open(key, value, &payload);
	if (!verify_is_damage(r))
		return r;
	verify_put(&place, "document ");
	if (key.count > 1)
		verify_put_text(&place, name + 1, key.count - 1);
	return verify_damage(verify, &place,
	        "this document: without policies or holds nothing is removed", "%s",
	        verify_reason(r));
}

int verify_admin(struct verify *verify)
{
	struct verify_chain chain = { 0 };
	struct verify_scan scan;
	struct kv_bytes key = { 0 }, value = { 0 };
	int r = verify_scan_init(&scan, verify, KV_ADMIN, "admin");
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0) {
		uint64_t seq;
		if (audit_get_key(key, &seq) == 0)
			r = verify_audit(verify, &chain, seq, key, value);
		else
			r = verify_document(verify, key, value);
	}
	verify_scan_fini(&scan);
	return r;
}
