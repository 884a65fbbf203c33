/* audit.list and audit.verify: what is in the log, and whether it is whole. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/admin_call.h"

struct audit_filter {
	struct json_writer *json;
	uint64_t since_ns;
	const char *actor;  /* "" any; otherwise a part of it */
	const char *action; /* "" any; otherwise how it begins */
	uint64_t matching;
	uint64_t skip; /* the oldest of those that match */
	uint64_t damaged;
};

static bool audit_text_has(struct audit_text text, const char *part)
{
	return !*part || (text.count > 0 && memmem(text.bytes, text.count, part, strlen(part)));
}

static bool audit_matches(const struct audit_filter *filter, const struct audit_record *record)
{
	size_t count = strlen(filter->action);
	return record->unix_ns >= filter->since_ns &&
	       audit_text_has(record->actor, filter->actor) &&
	       (count == 0 || (record->action.count >= count &&
	                              memcmp(record->action.bytes, filter->action, count) == 0));
}

static int audit_count(void *owner, uint64_t seq, const struct audit_record *record)
{
	struct audit_filter *filter = owner;
	(void)seq;
	filter->damaged += !record;
	filter->matching += record && audit_matches(filter, record);
	return 0;
}

static void audit_put_text_key(struct json_writer *json, const char *key, struct audit_text text)
{
	json_key(json, key);
	json_bytes(json, text.bytes, text.count);
}

static int audit_show(void *owner, uint64_t seq, const struct audit_record *record)
{
	struct audit_filter *filter = owner;
	struct json_writer *json = filter->json;
	char hex[SHA256_HEX_BYTES];
	if (!record || !audit_matches(filter, record))
		return 0;
	if (filter->skip > 0) {
		filter->skip--;
		return 0;
	}
	json_object_begin(json);
	json_key_u64(json, "seq", seq);
	json_key_u64(json, "unix_ns", record->unix_ns);
	audit_put_text_key(json, "actor", record->actor);
	audit_put_text_key(json, "origin", record->origin);
	audit_put_text_key(json, "request", record->request);
	audit_put_text_key(json, "action", record->action);
	json_key_u64(json, "bytes", record->bytes);
	audit_put_text_key(json, "before", record->before);
	audit_put_text_key(json, "after", record->after);
	audit_put_text_key(json, "details", record->details);
	sha256_hex(&record->hash, hex);
	json_key_text(json, "hash", hex);
	json_object_end(json);
	return json->to->failed ? -E2BIG : 0;
}

int admin_audit_list(struct admin_call *call)
{
	uint64_t limit = json_body_u64(call->body, "limit", 100);
	struct audit_filter filter = {
		.json = call->json,
		.since_ns = json_body_u64(call->body, "since_ns", 0),
		.actor = json_body_text(call->body, "actor"),
		.action = json_body_text(call->body, "action"),
	};
	int r = store_audit(call->store, 1, audit_count, &filter);
	if (r < 0)
		return admin_failed(call, "reading the audit log", r);
	filter.skip = limit > 0 && filter.matching > limit ? filter.matching - limit : 0;
	json_key_u64(call->json, "matching", filter.matching);
	json_key_u64(call->json, "damaged", filter.damaged);
	json_key(call->json, "records");
	json_array_begin(call->json);
	r = store_audit(call->store, 1, audit_show, &filter);
	json_array_end(call->json);
	if (r == -E2BIG)
		return admin_refuse(call, WIRE_TOO_BIG,
		        "more than fits into one answer: write --limit, --since or --action");
	return r < 0 ? admin_failed(call, "reading the audit log", r) : 0;
}

/* Is what was noted in the chain? If not, what became of it. `seq` 0: its number was not noted. */
static void audit_put_noted(
        const struct audit_verified *verified, uint64_t seq, struct json_writer *json)
{
	const char *why = "";
	if (!verified->has_noted && verified->broken_seq > 0 &&
	        (seq == 0 || seq >= verified->broken_seq))
		why = "it is not before what is broken, and what is behind that proves nothing";
	else if (!verified->has_noted && seq > verified->last_seq)
		why = "the log ends before it: its end was cut off";
	else if (!verified->has_noted && seq > 0)
		why = "the record of that number has another hash: the chain was made anew";
	else if (!verified->has_noted)
		why = "no record has that hash: the log was cut off, or made anew";
	json_key(json, "noted");
	json_object_begin(json);
	json_key_bool(json, "is_there", verified->has_noted);
	json_key_u64(json, "seq", verified->has_noted ? verified->noted_seq : seq);
	json_key_text(json, "why", why);
	json_object_end(json);
}

int admin_audit_verify(struct admin_call *call)
{
	const char *noted = json_body_text(call->body, "noted_hash");
	struct audit_verified verified;
	struct sha256 hash;
	char hex[SHA256_HEX_BYTES];
	if (*noted && sha256_of_hex(noted, &hash) < 0)
		return admin_refuse(call, WIRE_INVALID,
		        "noted_hash: a SHA-256 is 64 digits of hex, as --verify prints it");
	int r = store_audit_verify(call->store, *noted ? &hash : NULL, &verified);
	if (r < 0)
		return admin_failed(call, "reading the audit log", r);
	if (*noted)
		audit_put_noted(&verified, json_body_u64(call->body, "noted_seq", 0), call->json);
	sha256_hex(&verified.last_hash, hex);
	json_key_u64(call->json, "records", verified.records);
	json_key_u64(call->json, "broken_seq", verified.broken_seq);
	json_key_text(call->json, "why", verified.why);
	json_key_u64(call->json, "last_seq", verified.last_seq);
	json_key_text(call->json, "last_hash", hex);
	return 0;
}
