/*
 * What somebody changes: policies with their grace, holds, a second word. Each change is one synced
 * write of its documents and its line of the audit log, and comes into force after that.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/keeper_work.h"

#define KEEPER_DOCUMENT_BYTES_MAX (1u << 20)

/* The new set's canonical text, and digests of both. */
static int keeper_describe(const struct retention_set *before, const struct retention_set *after,
        char digest_before[RETENTION_DIGEST_BYTES], char digest_after[RETENTION_DIGEST_BYTES],
        struct buf *text)
{
	struct json_writer json = json_writer_of(text, false);
	retention_put_json(after, &json);
	int r = retention_digest(before, digest_before);
	r = r < 0 ? r : retention_digest(after, digest_after);
	return r < 0 ? r : text->failed ? -ENOMEM : 0;
}

void keeper_drop_all_pending(struct keeper *keeper)
{
	for (uint32_t i = 0; i < keeper->pending_count; i++)
		retention_set_free(keeper->pending[i].set);
	keeper->pending_count = 0;
}

void keeper_lock_words(struct keeper *keeper)
{
	(void)pthread_mutex_lock(&keeper->words_lock);
}

void keeper_unlock_words(struct keeper *keeper)
{
	(void)pthread_mutex_unlock(&keeper->words_lock);
}

static int keeper_make_pending(struct keeper *keeper, const struct retention_set *before,
        struct keeper_pending *ret_pending)
{
	struct keeper_pending pending = { .until_ns = keeper_now(keeper) +
		                                      keeper->options.grace_ns };
	if (keeper->pending_count == KEEPER_PENDING_MAX)
		return -E2BIG;
	int r = retention_merge(before, NULL, &pending.set);
	if (r == 0)
		*ret_pending = pending;
	return r;
}

/* Everything of one change in one synced write. */
static int keeper_commit_policies(struct keeper *keeper, const struct retention_set *set,
        const struct keeper_pending *pending, uint32_t pending_count, const struct keeper_actor *by,
        const char *action, uint64_t bytes, const char *details)
{
	char before[RETENTION_DIGEST_BYTES], after[RETENTION_DIGEST_BYTES];
	AUTO_BUF policies = { 0 };
	AUTO_BUF text = { 0 };
	int r = keeper_describe(keeper->set, set, before, after, &policies);
	keeper_put_pending(pending, pending_count, &text);
	if (r < 0 || text.failed)
		return r < 0 ? r : -ENOMEM;
	if (policies.count > KEEPER_DOCUMENT_BYTES_MAX || text.count > KEEPER_DOCUMENT_BYTES_MAX)
		return -EFBIG; /* it could not be read again */
	struct audit_document documents[] = {
		{ "policies", policies.bytes, policies.count },
		{ "pending", text.bytes, text.count },
	};
	struct audit_entry entry = { .actor = by->actor,
		.origin = by->origin,
		.request = by->request,
		.action = action,
		.before = before,
		.after = after,
		.bytes = bytes,
		.details = details };
	return store_administer(keeper->options.store, documents, 2, &entry, NULL);
}

/* What is kept beside the new set: with a grace all of before, and the set that it replaces. */
static int keeper_list_pending(struct keeper *keeper, bool grace,
        struct keeper_pending ret_pending[KEEPER_PENDING_MAX], uint32_t *ret_count)
{
	uint32_t count = grace ? keeper->pending_count : 0;
	if (count > 0)
		memcpy(ret_pending, keeper->pending, count * sizeof(*ret_pending));
	if (grace && keeper->options.grace_ns > 0) {
		int r = keeper_make_pending(keeper, keeper->set, ret_pending + count);
		if (r < 0)
			return r;
		count++;
	}
	*ret_count = count;
	return 0;
}

int keeper_set_policies(struct keeper *keeper, struct retention_set *set, bool grace,
        const struct keeper_actor *by, const char *action, uint64_t bytes, const char *details)
{
	struct keeper_pending pending[KEEPER_PENDING_MAX] = { 0 };
	uint32_t count = 0, before = keeper->pending_count;
	int r = keeper_list_pending(keeper, grace, pending, &count);
	if (r < 0)
		return r;
	r = keeper_commit_policies(keeper, set, pending, count, by, action, bytes, details);
	if (r < 0) {
		if (count > before)
			retention_set_free(pending[before].set);
		return r;
	}
	keeper_lock_words(keeper);
	if (!grace)
		keeper_drop_all_pending(keeper);
	memcpy(keeper->pending, pending, count * sizeof(*pending));
	keeper->pending_count = count;
	retention_set_free(keeper->set);
	keeper->set = set;
	keeper->confirmed = (struct keeper_confirmed){ 0 };
	keeper_unlock_words(keeper);
	keeper->changes++;
	return keeper_set_classes(keeper);
}

int keeper_set_holds(struct keeper *keeper, struct retention_holds *holds,
        const struct keeper_actor *by, const char *action, const char *details)
{
	AUTO_BUF text = { 0 };
	struct json_writer json = json_writer_of(&text, false);
	retention_holds_put_json(holds, &json);
	if (text.failed)
		return -ENOMEM;
	if (text.count > KEEPER_DOCUMENT_BYTES_MAX)
		return -EFBIG; /* it could not be read again */
	struct audit_document document = { "holds", text.bytes, text.count };
	int r = keeper_write(keeper, &document, 1, by, action, 0, details);
	if (r < 0)
		return r;
	keeper_lock_words(keeper);
	retention_holds_free(keeper->holds);
	keeper->holds = holds;
	keeper_unlock_words(keeper);
	keeper->changes++;
	keeper_set_decides(keeper);
	return 0;
}

int keeper_confirm(struct keeper *keeper, const struct keeper_actor *by)
{
	if (!*keeper->stop)
		return 0;
	char before[KEEPER_ERROR_BYTES];
	AUTO_BUF details = { 0 };
	struct json_writer json = json_writer_of(&details, false);
	snprintf(before, sizeof(before), "%s", keeper->stop);
	json_object_begin(&json);
	json_key_text(&json, "stop", before);
	json_object_end(&json);
	buf_put_u8(&details, 0);
	keeper->stop[0] = 0;
	int r = details.failed ? -ENOMEM
	                       : keeper_write(keeper, NULL, 0, by, "retention.confirm", 0,
	                                 (const char *)details.bytes);
	if (r < 0)
		memcpy(keeper->stop, before, sizeof(before));
	return r;
}

void keeper_set_confirmed(struct keeper *keeper, struct keeper_confirmed confirmed)
{
	keeper_lock_words(keeper);
	keeper->confirmed = confirmed;
	keeper_unlock_words(keeper);
}

int keeper_confirm_set(
        struct keeper *keeper, struct keeper_confirmed confirmed, const struct keeper_actor *by)
{
	AUTO_BUF details = { 0 };
	struct json_writer json = json_writer_of(&details, false);
	json_object_begin(&json);
	json_key_u64(&json, "windows", confirmed.windows);
	json_object_end(&json);
	buf_put_u8(&details, 0);
	if (details.failed)
		return -ENOMEM;
	if (!keeper->stop_stays)
		keeper->stop[0] = 0;
	keeper_set_confirmed(keeper, confirmed);
	int r = keeper_write(keeper, NULL, 0, by, "retention.confirm", confirmed.bytes,
	        (const char *)details.bytes);
	if (r < 0)
		keeper_set_confirmed(keeper, (struct keeper_confirmed){ 0 });
	return r;
}
