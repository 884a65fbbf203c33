#pragma once

/*
 * audit is who changed what in how the store is administered, and the documents that such changes
 * are: policies, holds, what is under way. A document and the record of its change are one synced
 * write, so that neither is there without the other. docs/formats/audit.md has the bytes.
 *
 * Records are numbered from 1 and chained: each has the SHA-256 of the one before it in what its
 * own is taken over, so that whoever changes, removes or inserts one has to make all later ones
 * anew. Whoever can write the folder can do that: the last hash, noted elsewhere, is what shows it.
 * Nothing is ever removed from the log here.
 *
 *	admin     'a', seq u64       one record of the log
 *	          'd', name          a document
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/sha256.h"
#include "storage/kv.h"
#include "storage/store.h"

#define AUDIT_TEXT_BYTES_MAX     1024
#define AUDIT_DETAILS_BYTES_MAX  (64u << 10)
#define AUDIT_NAME_BYTES_MAX     127
#define AUDIT_DOCUMENT_BYTES_MAX (16u << 20)
#define AUDIT_DOCUMENTS_MAX      8 /* in one change */

/* What is to be recorded. Texts are cut at their limits; NULL is "". */
struct audit_entry {
	const char *actor;   /* user@host as the CLI says it; "profleet-aggregator" itself */
	const char *origin;  /* the peer's address; "" from inside */
	const char *request; /* id that the CLI chose */
	const char *action;  /* "retention.set" */
	const char *before;  /* digest of what was changed, in hex; "" for none */
	const char *after;
	const char *details; /* JSON */
	uint64_t bytes;      /* that the change makes go, or come back */
};

struct audit_text {
	const char *bytes; /* borrowed, not zero-terminated */
	uint32_t count;
};

struct audit_record {
	uint64_t seq;
	uint64_t unix_ns;
	struct sha256 previous;
	struct audit_text actor, origin, request, action, before, after, details;
	uint64_t bytes;
	struct sha256 hash; /* of everything above */
};

/* The codec of one record; the key is that of its seq. put computes the hash. -ENOMEM. */
int audit_put(const struct audit_record *record, struct kv_bytes key, struct buf *to);
/* Checks the hash too: -EBADMSG, -EPROTONOSUPPORT, -ENOMEM. Texts are borrowed from `value`. */
int audit_get(struct kv_bytes key, struct kv_bytes value, struct audit_record *ret_record);

#define AUDIT_KEY_BYTES 9
void audit_put_key(uint64_t seq, uint8_t ret_bytes[AUDIT_KEY_BYTES]);
/* -EBADMSG: not the key of a record. */
int audit_get_key(struct kv_bytes key, uint64_t *ret_seq);

struct audit_document {
	const char *name;  /* "policies", "run/17" */
	const void *bytes; /* NULL: the document goes */
	size_t count;
};

/*
 * The documents and the record in one synced write. `entry` NULL records nothing: for what is no
 * change of anybody's (the clock that was last seen). ret_seq may be NULL. Errors as
 * store_append(); -EINVAL for names and sizes past the limits.
 */
int store_administer(struct store *store, const struct audit_document *documents, uint32_t count,
        const struct audit_entry *entry, uint64_t *ret_seq);

/* Appends it to `to`. -ENOENT; -EBADMSG: damaged. */
int store_document_get(struct store *store, const char *name, struct buf *to);

/* Names that begin with `prefix`, in order. Nonzero stops and is returned. */
int store_documents(struct store *store, const char *prefix,
        int (*visit)(void *owner, const char *name), void *owner);

/*
 * Records from `seq` on. What is damaged is told of as `record` NULL with its number. Nonzero stops
 * and is returned. The visitor must not call the store.
 */
int store_audit(struct store *store, uint64_t seq,
        int (*visit)(void *owner, uint64_t seq, const struct audit_record *record), void *owner);

/* The whole chain, read again. */
struct audit_verified {
	uint64_t records;    /* that were read and are right */
	uint64_t broken_seq; /* the first that is not, or 0 */
	char why[160];
	uint64_t last_seq; /* of the last right one */
	struct sha256 last_hash;
	/* What was noted is among the right ones, as this one; without a note false. */
	bool has_noted;
	uint64_t noted_seq;
};

/*
 * `noted` is the hash of some earlier last record, kept where nobody can change it: it is not in
 * the chain any more where the log was cut before it or made anew. NULL: none. Damage, and that it
 * is not found, are in ret_verified and no failure. -ENOMEM.
 */
int store_audit_verify(
        struct store *store, const struct sha256 *noted, struct audit_verified *ret_verified);
