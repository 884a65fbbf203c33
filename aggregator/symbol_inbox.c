/*
 * A handful of uploads in an array, and a ring of the build-ids asked for last: an id that fell out
 * of the ring may be asked twice, which costs one upload and nothing else.
 */

#include "aggregator/symbol_inbox.h"

#include <errno.h>
#include <string.h>

#include "core/hash.h"

#define ASKED_MAX 4096

struct upload {
	uint64_t build_id; /* hash; 0 is a free place */
	uint32_t part_next;
	uint32_t parts;
	uint64_t total_bytes;
	uint64_t used_at;
	struct buf bytes;
};

struct asked {
	uint64_t build_id;
	uint64_t at_ns;
};

struct symbol_inbox {
	struct upload uploads[SYMBOL_INBOX_UPLOADS_MAX];
	struct asked asked[ASKED_MAX];
	uint32_t asked_next;
	uint64_t uses;
};

struct symbol_inbox *symbol_inbox_new(void)
{
	return calloc(1, sizeof(struct symbol_inbox));
}

void symbol_inbox_free(struct symbol_inbox *inbox)
{
	if (!inbox)
		return;
	for (uint32_t i = 0; i < SYMBOL_INBOX_UPLOADS_MAX; i++)
		buf_fini(&inbox->uploads[i].bytes);
	free(inbox);
}

bool symbol_inbox_ask(struct symbol_inbox *inbox, const char *build_id, uint64_t now_ns)
{
	uint64_t hash = hash64_bytes(build_id, strlen(build_id));
	for (uint32_t i = 0; i < ASKED_MAX; i++) {
		struct asked *asked = &inbox->asked[i];
		if (asked->build_id != hash || asked->at_ns == 0)
			continue;
		if (now_ns - asked->at_ns < SYMBOL_ASK_AGAIN_NS)
			return false;
		asked->at_ns = now_ns;
		return true;
	}
	inbox->asked[inbox->asked_next] = (struct asked){ .build_id = hash, .at_ns = now_ns };
	inbox->asked_next = (inbox->asked_next + 1) % ASKED_MAX;
	return true;
}

/* The upload of this build-id, or the free or longest idle place for it. */
static struct upload *symbol_inbox_place(struct symbol_inbox *inbox, uint64_t build_id)
{
	struct upload *oldest = &inbox->uploads[0];
	for (uint32_t i = 0; i < SYMBOL_INBOX_UPLOADS_MAX; i++) {
		struct upload *upload = &inbox->uploads[i];
		if (upload->build_id == build_id)
			return upload;
		if (upload->used_at < oldest->used_at)
			oldest = upload;
	}
	return oldest;
}

static void upload_drop(struct upload *upload)
{
	buf_fini(&upload->bytes);
	*upload = (struct upload){ 0 };
}

/* Room for `count` more bytes of `upload`: tables that were handed over go, then the idlest. */
static void symbol_inbox_make_room(
        struct symbol_inbox *inbox, const struct upload *upload, uint32_t count)
{
	for (;;) {
		struct upload *idlest = NULL;
		uint64_t bytes = count;
		for (uint32_t i = 0; i < SYMBOL_INBOX_UPLOADS_MAX; i++) {
			struct upload *other = &inbox->uploads[i];
			if (other != upload && other->build_id == 0)
				upload_drop(other);
			bytes += other->bytes.count;
			if (other != upload && other->bytes.count > 0 &&
			        (!idlest || other->used_at < idlest->used_at))
				idlest = other;
		}
		if (bytes <= SYMBOL_INBOX_TOTAL_MAX || !idlest)
			return;
		upload_drop(idlest);
	}
}

int symbol_inbox_add(
        struct symbol_inbox *inbox, const struct wire_symbols *part, const struct buf **ret_bytes)
{
	if (part->parts == 0 || part->part >= part->parts || part->count > part->total_bytes)
		return -EBADMSG;
	if (part->total_bytes > SYMBOL_INBOX_BYTES_MAX)
		return -E2BIG;

	uint64_t hash = hash64_bytes(part->build_id.bytes, part->build_id.count) | 1;
	struct upload *upload = symbol_inbox_place(inbox, hash);
	if (part->part == 0) {
		upload_drop(upload);
		upload->build_id = hash;
		upload->part_next = 0;
		upload->parts = part->parts;
		upload->total_bytes = part->total_bytes;
	}
	if (upload->build_id != hash || upload->part_next != part->part ||
	        upload->parts != part->parts || upload->total_bytes != part->total_bytes ||
	        part->count > upload->total_bytes - upload->bytes.count)
		return -EBADMSG;

	symbol_inbox_make_room(inbox, upload, part->count);
	buf_put(&upload->bytes, part->bytes, part->count);
	if (upload->bytes.failed)
		return -ENOMEM;
	upload->used_at = ++inbox->uses;
	upload->part_next++;
	if (upload->part_next < upload->parts)
		return 0;

	upload->build_id = 0;
	upload->used_at = 0;
	if (upload->bytes.count != upload->total_bytes)
		return -EBADMSG;
	*ret_bytes = &upload->bytes;
	return 1;
}
