/*
 * The number and hash of the last record are read from the database for each new one: changes are
 * rare, and so nothing in memory can disagree with the disk.
 */

#include "storage/audit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "storage/record.h"
#include "storage/store_private.h"

enum { AUDIT_KEY_RECORD = 'a', AUDIT_KEY_DOCUMENT = 'd' };

#define AUDIT_KEY_DOCUMENT_BYTES_MAX (1 + AUDIT_NAME_BYTES_MAX)

/* ---- the codec ---- */

void audit_put_key(uint64_t seq, uint8_t ret_bytes[AUDIT_KEY_BYTES])
{
	ret_bytes[0] = AUDIT_KEY_RECORD;
	for (int i = 0; i < 8; i++)
		ret_bytes[1 + i] = (uint8_t)(seq >> (56 - 8 * i));
}

int audit_get_key(struct kv_bytes key, uint64_t *ret_seq)
{
	const uint8_t *bytes = key.bytes;
	uint64_t seq = 0;
	if (key.count != AUDIT_KEY_BYTES || bytes[0] != AUDIT_KEY_RECORD)
		return -EBADMSG;
	for (int i = 0; i < 8; i++)
		seq = seq << 8 | bytes[1 + i];
	if (seq == 0)
		return -EBADMSG;
	*ret_seq = seq;
	return 0;
}

static void audit_put_text(struct buf *to, struct audit_text text)
{
	buf_put_string(to, text.bytes, text.count);
}

static struct audit_text audit_get_text(struct reader *from, size_t max)
{
	size_t count;
	const char *bytes = reader_string(from, max, &count);
	return (struct audit_text){ bytes ? bytes : "", bytes ? (uint32_t)count : 0 };
}

int audit_put(const struct audit_record *record, struct kv_bytes key, struct buf *to)
{
	struct sha256 hash;
	record_begin(to);
	size_t start = to->count;
	buf_put_u64(to, record->seq);
	buf_put_u64(to, record->unix_ns);
	buf_put(to, record->previous.bytes, SHA256_BYTES);
	audit_put_text(to, record->actor);
	audit_put_text(to, record->origin);
	audit_put_text(to, record->request);
	audit_put_text(to, record->action);
	audit_put_text(to, record->before);
	audit_put_text(to, record->after);
	buf_put_varint(to, record->bytes);
	audit_put_text(to, record->details);
	int r = to->failed ? -ENOMEM : sha256_bytes(to->bytes + start, to->count - start, &hash);
	if (r < 0)
		return r;
	buf_put(to, hash.bytes, SHA256_BYTES);
	record_seal(to, key);
	return to->failed ? -ENOMEM : 0;
}

static void audit_get_hash(struct reader *from, struct sha256 *hash)
{
	const uint8_t *bytes = reader_bytes(from, SHA256_BYTES);
	if (bytes)
		memcpy(hash->bytes, bytes, SHA256_BYTES);
}

int audit_get(struct kv_bytes key, struct kv_bytes value, struct audit_record *ret_record)
{
	struct audit_record record = { 0 };
	struct reader from;
	struct sha256 hash;
	uint64_t seq;
	int r = audit_get_key(key, &seq);
	r = r < 0 ? r : record_open(key, value, &from);
	if (r < 0)
		return r;
	const uint8_t *start = from.at;
	record.seq = reader_u64(&from);
	record.unix_ns = reader_u64(&from);
	audit_get_hash(&from, &record.previous);
	record.actor = audit_get_text(&from, AUDIT_TEXT_BYTES_MAX);
	record.origin = audit_get_text(&from, AUDIT_TEXT_BYTES_MAX);
	record.request = audit_get_text(&from, AUDIT_TEXT_BYTES_MAX);
	record.action = audit_get_text(&from, AUDIT_TEXT_BYTES_MAX);
	record.before = audit_get_text(&from, AUDIT_TEXT_BYTES_MAX);
	record.after = audit_get_text(&from, AUDIT_TEXT_BYTES_MAX);
	record.bytes = reader_varint(&from);
	record.details = audit_get_text(&from, AUDIT_DETAILS_BYTES_MAX);
	const uint8_t *end = from.at;
	audit_get_hash(&from, &record.hash);
	if (from.failed || reader_left(&from) > 0 || record.seq != seq)
		return -EBADMSG;
	r = sha256_bytes(start, (size_t)(end - start), &hash);
	if (r == 0 && memcmp(hash.bytes, record.hash.bytes, SHA256_BYTES) != 0)
		r = -EBADMSG;
	if (r < 0)
		return r;
	*ret_record = record;
	return 0;
}

/* ---- writing ---- */

static struct audit_text audit_text_of(const char *text, size_t max)
{
	size_t count = text ? strnlen(text, max) : 0;
	return (struct audit_text){ count ? text : "", (uint32_t)count };
}

/* The last record's number and hash; 0 and zeroes before the first. Under writer. */
static int audit_last(struct store *store, uint64_t *ret_seq, struct sha256 *ret_hash)
{
	uint8_t from = AUDIT_KEY_RECORD, to = AUDIT_KEY_RECORD + 1;
	*ret_seq = 0;
	*ret_hash = (struct sha256){ 0 };
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_ADMIN, (struct kv_bytes){ &from, 1 }, (struct kv_bytes){ &to, 1 });
	if (!it)
		return -ENOMEM;
	kv_iterator_last(it);
	int r = kv_iterator_result(it);
	if (r < 0 || !kv_iterator_is_valid(it))
		return r;
	struct kv_bytes key = kv_iterator_key(it);
	struct audit_record record;
	r = audit_get_key(key, ret_seq);
	if (r < 0)
		return r;
	/*
	 * A damaged last record does not end administration: the next one is chained to nothing,
	 * and verifying names the damage for ever.
	 */
	if (audit_get(key, kv_iterator_value(it), &record) == 0)
		*ret_hash = record.hash;
	return 0;
}

static int audit_stage(struct store *store, const struct audit_entry *entry, struct kv_batch *write,
        uint64_t *ret_seq)
{
	struct audit_record record = {
		.unix_ns = clock_unix_ns(store->clock),
		.actor = audit_text_of(entry->actor, AUDIT_TEXT_BYTES_MAX),
		.origin = audit_text_of(entry->origin, AUDIT_TEXT_BYTES_MAX),
		.request = audit_text_of(entry->request, AUDIT_TEXT_BYTES_MAX),
		.action = audit_text_of(entry->action, AUDIT_TEXT_BYTES_MAX),
		.before = audit_text_of(entry->before, AUDIT_TEXT_BYTES_MAX),
		.after = audit_text_of(entry->after, AUDIT_TEXT_BYTES_MAX),
		.details = audit_text_of(entry->details, AUDIT_DETAILS_BYTES_MAX),
		.bytes = entry->bytes,
	};
	uint8_t key_bytes[AUDIT_KEY_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	AUTO_BUF value = { 0 };
	int r = audit_last(store, &record.seq, &record.previous);
	if (r < 0)
		return r;
	record.seq++;
	audit_put_key(record.seq, key_bytes);
	r = audit_put(&record, key, &value);
	if (r < 0)
		return r;
	kv_put(store->kv, write, KV_ADMIN, key, store_bytes(&value));
	*ret_seq = record.seq;
	return 0;
}

/* -EINVAL: no name. */
static int audit_document_key(
        const char *name, uint8_t bytes[AUDIT_KEY_DOCUMENT_BYTES_MAX], struct kv_bytes *ret_key)
{
	size_t count = strnlen(name, AUDIT_NAME_BYTES_MAX + 1);
	if (count == 0 || count > AUDIT_NAME_BYTES_MAX)
		return -EINVAL;
	bytes[0] = AUDIT_KEY_DOCUMENT;
	memcpy(bytes + 1, name, count);
	*ret_key = (struct kv_bytes){ bytes, 1 + count };
	return 0;
}

static int audit_stage_document(
        struct store *store, const struct audit_document *document, struct kv_batch *write)
{
	/* One byte more: the least key behind this one. */
	uint8_t key_bytes[AUDIT_KEY_DOCUMENT_BYTES_MAX + 1] = { 0 };
	struct kv_bytes key;
	AUTO_BUF value = { 0 };
	int r = audit_document_key(document->name, key_bytes, &key);
	if (r < 0 || document->count > AUDIT_DOCUMENT_BYTES_MAX)
		return -EINVAL;
	if (!document->bytes) {
		kv_delete_range(store->kv, write, KV_ADMIN, key,
		        (struct kv_bytes){ key_bytes, key.count + 1 });
		return 0;
	}
	record_begin(&value);
	buf_put(&value, document->bytes, document->count);
	record_seal(&value, key);
	if (value.failed)
		return -ENOMEM;
	kv_put(store->kv, write, KV_ADMIN, key, store_bytes(&value));
	return 0;
}

int store_administer(struct store *store, const struct audit_document *documents, uint32_t count,
        const struct audit_entry *entry, uint64_t *ret_seq)
{
	AUTO(kv_batch) write = kv_batch_new();
	uint64_t seq = 0;
	if (!write)
		return -ENOMEM;
	if (count > AUDIT_DOCUMENTS_MAX)
		return -EINVAL;

	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = audit_stage_document(store, &documents[i], write);
	if (r == 0 && entry)
		r = audit_stage(store, entry, write, &seq);
	if (r == 0)
		r = store_write(store, write, KV_SYNC, "keeping what was administered");
	pthread_mutex_unlock(&store->writer);
	if (r == 0 && ret_seq)
		*ret_seq = seq;
	return r;
}

/* ---- reading ---- */

int store_document_get(struct store *store, const char *name, struct buf *to)
{
	uint8_t key_bytes[AUDIT_KEY_DOCUMENT_BYTES_MAX];
	struct kv_bytes key;
	struct reader payload;
	AUTO_BUF value = { 0 };
	int r = audit_document_key(name, key_bytes, &key);
	if (r < 0)
		return r;
	gate_enter(&store->gate);
	r = kv_get(store->kv, KV_ADMIN, key, &value);
	store_read_unlock(store);
	r = r < 0 ? r : record_open(key, store_bytes(&value), &payload);
	if (r < 0)
		return r;
	buf_put(to, payload.at, reader_left(&payload));
	return to->failed ? -ENOMEM : 0;
}

int store_documents(struct store *store, const char *prefix,
        int (*visit)(void *owner, const char *name), void *owner)
{
	char name[AUDIT_NAME_BYTES_MAX + 1];
	uint8_t from = AUDIT_KEY_DOCUMENT, to = AUDIT_KEY_DOCUMENT + 1;
	size_t prefix_count = strlen(prefix);
	int r = 0;
	gate_enter(&store->gate);
	struct kv_iterator *it = kv_iterator_new(
	        store->kv, KV_ADMIN, (struct kv_bytes){ &from, 1 }, (struct kv_bytes){ &to, 1 });
	for (; it && r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		if (key.count < 2 || key.count > AUDIT_KEY_DOCUMENT_BYTES_MAX)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)key.count - 1,
		        (const char *)key.bytes + 1);
		if (strncmp(name, prefix, prefix_count) == 0)
			r = visit(owner, name);
	}
	if (r == 0)
		r = it ? kv_iterator_result(it) : -ENOMEM;
	kv_iterator_free(it);
	store_read_unlock(store);
	return r;
}

int store_audit(struct store *store, uint64_t seq,
        int (*visit)(void *owner, uint64_t seq, const struct audit_record *record), void *owner)
{
	uint8_t from[AUDIT_KEY_BYTES], to = AUDIT_KEY_RECORD + 1;
	int r = 0;
	audit_put_key(seq, from);
	gate_enter(&store->gate);
	struct kv_iterator *it = kv_iterator_new(store->kv, KV_ADMIN,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ &to, 1 });
	for (; it && r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct audit_record record;
		uint64_t at;
		if (audit_get_key(key, &at) < 0)
			continue;
		int read = audit_get(key, kv_iterator_value(it), &record);
		r = visit(owner, at, read < 0 ? NULL : &record);
	}
	if (r == 0)
		r = it ? kv_iterator_result(it) : -ENOMEM;
	kv_iterator_free(it);
	store_read_unlock(store);
	return r;
}

struct audit_verify {
	const struct sha256 *noted; /* or NULL */
	struct audit_verified verified;
};

/* Says what is wrong with one record as the one behind those before it, and stops there. */
static int audit_verify_one(void *owner, uint64_t seq, const struct audit_record *record)
{
	struct audit_verify *verify = owner;
	struct audit_verified *verified = &verify->verified;
	const char *why = NULL;
	if (seq != verified->last_seq + 1)
		why = "is missing";
	else if (!record)
		why = "cannot be read, or is not what its own hash was taken of";
	else if (memcmp(record->previous.bytes, verified->last_hash.bytes, SHA256_BYTES) != 0)
		why = "is not chained to the record before it";
	if (why) {
		verified->broken_seq = verified->last_seq + 1;
		snprintf(verified->why, sizeof(verified->why), "record %" PRIu64 " %s",
		        verified->broken_seq, why);
		return 1;
	}
	verified->records++;
	verified->last_seq = seq;
	verified->last_hash = record->hash;
	if (verify->noted && memcmp(&record->hash, verify->noted, sizeof(record->hash)) == 0) {
		verified->has_noted = true;
		verified->noted_seq = seq;
	}
	return 0;
}

int store_audit_verify(
        struct store *store, const struct sha256 *noted, struct audit_verified *ret_verified)
{
	struct audit_verify verify = { .noted = noted };
	struct audit_verified *verified = &verify.verified;
	int r = store_audit(store, 1, audit_verify_one, &verify);
	/* Damage below the records: the database knows it by its own checksums. */
	if (r == -EBADMSG || r == -EIO) {
		verified->broken_seq = verified->last_seq + 1;
		snprintf(verified->why, sizeof(verified->why),
		        "record %" PRIu64 " cannot be read from the disk", verified->broken_seq);
		r = 0;
	}
	if (r < 0)
		return r;
	*ret_verified = *verified;
	return 0;
}
