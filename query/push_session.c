/*
 * Whoever brings a batch while nobody sends becomes the sender: he takes along what others have
 * brought meanwhile, as further sections of the same PUSH, and they wait for him. So the dictionary
 * is sent once for all files of a command, and the aggregator syncs once for many files.
 *
 * After every failure, whatever it was, the session is given up and the sections that were not
 * confirmed are encoded again into a new one: the one way back that is right after a lost reply, a
 * RESET, a BUSY and a restart of the aggregator alike. Sections of one shard are numbered on over
 * all batches, so that the whole import is one stream.
 */

#include "query/push_session.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/version.h"
#include "query/complain.h"
#include "query/push_plan.h"

#define PUSH_PAUSE_MS_MIN 50
#define PUSH_PAUSE_MS_MAX 5000
/* How long an aggregator may be away before the import gives up. */
#define PUSH_PATIENCE_NS (60 * NS_PER_S)
/* Room that the packed message needs beside its payload when nothing could be packed. */
#define PUSH_BYTES_MAX (WIRE_MESSAGE_BYTES_MAX - 65536u)
#define PUSH_TENANT    ""
/* Sections that go out together; what is more waits for the next PUSH. */
#define PUSH_TOGETHER_MAX 64
#define PUSH_CLOSE_MS     1000

/* A batch on its way. It lies with the caller of push_session_send(), who waits for it. */
struct push_item {
	const char *name;
	const struct batch *batch;
	struct push_progress progress;
	struct push_plan plan;
	uint32_t kept; /* sections that the aggregator has */
	int code;
	bool is_done;
	struct push_item *next;
};

/* One section of an item, as long as it is not confirmed. */
struct push_part {
	struct push_item *item;
	const struct push_section *section;
};

struct push_session {
	struct client *client;
	struct wire_uuid uuid;
	uint64_t epoch;
	uint64_t samples_sent;
	/* What the other end keeps too; dict is NULL when there is no session. */
	struct dict *dict;
	struct dict_mark known;
	uint64_t id;
	uint64_t request;
	bool is_met; /* there was a session once */
	uint32_t nodes_max;
	uint32_t bytes_max;
	uint32_t shards;
	struct wire_section_status *statuses;
	uint64_t seqs[WIRE_SHARDS_MAX]; /* given out, by shard */

	pthread_mutex_t lock; /* of what follows; the rest belongs to whoever sends */
	pthread_cond_t changed;
	struct push_item *waiting;
	bool is_sending;
};

static void push_session_close(struct push_session *session)
{
	dict_free(session->dict);
	session->dict = NULL;
}

int push_session_open(struct client *client, struct push_session **ret_session)
{
	AUTO(push_session) session = calloc(1, sizeof(*session));
	if (!session)
		return complain(EXIT_CODE_FAILED, "out of memory");
	(void)pthread_mutex_init(&session->lock, NULL);
	(void)pthread_cond_init(&session->changed, NULL);
	session->statuses = calloc(WIRE_SECTIONS_MAX, sizeof(*session->statuses));
	if (!session->statuses)
		return complain(EXIT_CODE_FAILED, "out of memory");
	session->client = client;
	uint8_t *uuid = session->uuid.bytes;
	if (getrandom(uuid, sizeof(session->uuid.bytes), 0) != sizeof(session->uuid.bytes))
		return complain(EXIT_CODE_FAILED, "getrandom: %s", strerrordesc_np(errno));
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* RFC 4122: version 4, random */
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	session->epoch = clock_unix_ns(clock_real());
	*ret_session = TAKE(session);
	return 0;
}

static struct wire_text push_text(const char *text)
{
	return (struct wire_text){ .bytes = text, .count = (uint32_t)strlen(text) };
}

/* What came back instead of what was asked for. */
enum push_outcome { PUSH_DONE, PUSH_AGAIN, PUSH_GIVE_UP };

struct push_reason {
	uint32_t retry_ms;
	int result; /* negative errno of the call, or 0 and then */
	uint32_t status;
	char text[400];
};

static enum push_outcome push_refused(
        const struct wire_status_reply *status, struct push_reason *reason)
{
	reason->result = 0;
	reason->status = status->status;
	reason->retry_ms = status->retry_ms;
	snprintf(reason->text, sizeof(reason->text), "%.*s", (int)status->text.count,
	        status->text.count ? status->text.bytes : "");
	switch (status->status) {
	case WIRE_BUSY:
	case WIRE_RESET:
	case WIRE_NOT_OWNER:
		return PUSH_AGAIN;
	default:
		return PUSH_GIVE_UP;
	}
}

static enum push_outcome push_failed(int result, struct push_reason *reason)
{
	*reason = (struct push_reason){ .result = result };
	switch (result) {
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -ETIMEDOUT:
	case -EPROTO: /* A broken reply: what was meant is asked for again. */
		return PUSH_AGAIN;
	default:
		return PUSH_GIVE_UP;
	}
}

/* A refusal in the place of a reply, or something that makes no sense. */
static enum push_outcome push_unexpected(struct wire_message *reply, struct push_reason *reason)
{
	struct wire_status_reply status;
	if (reply->kind == WIRE_STATUS && wire_get_status(&reply->payload, &status) == 0)
		return push_refused(&status, reason);
	return push_failed(-EPROTO, reason);
}

static enum push_outcome push_session_hello(
        struct push_session *session, struct push_reason *reason)
{
	char host[128] = "";
	(void)gethostname(host, sizeof(host) - 1);
	struct wire_hello hello = {
		.version_min = WIRE_VERSION,
		.version_max = WIRE_VERSION,
		.role = WIRE_ROLE_IMPORT,
		.uuid = session->uuid,
		.epoch = session->epoch,
		.host = push_text(host),
		.program = push_text("profleet " PROFLEET_VERSION),
		.tenant = push_text(PUSH_TENANT),
	};
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	struct wire_message reply;
	struct wire_hello_reply hello_reply;
	wire_put_hello(&hello, &payload);
	int result = client_call(session->client, WIRE_HELLO, &payload, 0, &unpacked, &reply);
	if (result < 0)
		return push_failed(result, reason);
	if (reply.kind != WIRE_HELLO_REPLY)
		return push_unexpected(&reply, reason);
	if (wire_get_hello_reply(&reply.payload, &hello_reply) < 0 || hello_reply.session == 0 ||
	        hello_reply.nodes_max < 2 || hello_reply.shards == 0)
		return push_failed(-EPROTO, reason);

	session->id = hello_reply.session;
	session->request = 0;
	session->nodes_max = hello_reply.nodes_max;
	session->shards = hello_reply.shards;
	session->bytes_max = hello_reply.push_bytes_max < PUSH_BYTES_MAX
	                             ? hello_reply.push_bytes_max
	                             : PUSH_BYTES_MAX;
	struct dict_limits limits = dict_limits_default;
	if (limits.nodes > session->nodes_max)
		limits.nodes = session->nodes_max;
	session->dict = dict_new(limits);
	if (!session->dict)
		return push_failed(-ENOMEM, reason);
	session->known = dict_mark(session->dict);
	return PUSH_DONE;
}

/* A part that the aggregator has: its samples count, and its owner hears of it. */
static void push_session_keep(struct push_session *session, struct push_part *part)
{
	struct push_item *item = part->item;
	for (uint32_t i = 0; i < part->section->rows_count; i++)
		session->samples_sent += item->batch->rows[part->section->rows_first + i].value;
	item->kept++;
	if (item->progress.report)
		item->progress.report(item->progress.owner, item->kept, item->plan.count);
	part->section = NULL;
}

static int push_explain(
        const struct push_session *session, const char *name, const struct push_reason *reason)
{
	char text[sizeof(reason->text) + 200];
	snprintf(text, sizeof(text), "%.190s: %s", name, reason->text);
	struct wire_status_reply status = {
		.status = reason->status,
		.text = push_text(text),
	};
	return reason->result < 0 ? client_explain(session->client, reason->result)
	                          : client_explain_status(session->client, &status);
}

static void push_item_fail(const struct push_session *session, struct push_item *item,
        const struct push_reason *reason)
{
	assert(item);
	if (item->code == 0)
		item->code = push_explain(session, item->name, reason);
}

/*
 * OK and DUP are confirmed; what is refused for good ends its item, and says so by itself; anything
 * else is for another try, whose reason is the last one met.
 */
static enum push_outcome push_session_settle(struct push_session *session, struct push_part *parts,
        uint32_t count, struct push_reason *reason)
{
	enum push_outcome outcome = PUSH_DONE;
	for (uint32_t i = 0; i < count; i++) {
		const struct wire_section_status *section = &session->statuses[i];
		struct wire_status_reply status = { section->status, section->retry_ms,
			section->reason };
		if (status.status == WIRE_OK || status.status == WIRE_DUP) {
			push_session_keep(session, &parts[i]);
			continue;
		}
		struct push_reason why;
		if (push_refused(&status, &why) == PUSH_AGAIN) {
			outcome = PUSH_AGAIN;
			*reason = why;
		} else {
			push_item_fail(session, parts[i].item, &why);
		}
	}
	return outcome;
}

static enum push_outcome push_session_reply(struct push_session *session, struct push_part *parts,
        uint32_t count, struct wire_message *reply, struct push_reason *reason)
{
	struct wire_push_reply push = { .sections = session->statuses };
	if (reply->kind != WIRE_PUSH_REPLY)
		return push_unexpected(reply, reason);
	if (wire_get_push_reply(&reply->payload, &push) < 0)
		return push_failed(-EPROTO, reason);
	if (push.status != WIRE_OK) {
		struct wire_status_reply status = { push.status, push.retry_ms, push.reason };
		return push_refused(&status, reason);
	}
	if (push.sections_count != count)
		return push_failed(-EPROTO, reason);
	session->request++;
	session->known = dict_mark(session->dict);
	return push_session_settle(session, parts, count, reason);
}

/* Encodes one part into the session's dictionary. -ENOSPC: the dictionary is full. */
static int push_session_encode_part(
        struct push_session *session, const struct push_part *part, struct buf *sections)
{
	const struct batch *from = part->item->batch;
	AUTO(dict_remap) remap = dict_remap_new(from->dict, session->dict);
	AUTO(batch) batch = batch_new(session->dict);
	if (!remap || !batch)
		return -ENOMEM;
	int result = push_plan_copy(from, part->section, remap, batch);
	if (result < 0)
		return result;
	struct wire_section as = {
		.shard = part->section->shard,
		.uuid = session->uuid,
		.epoch = session->epoch,
		.seq = part->section->seq,
	};
	wire_put_section(&as, batch, sections);
	return sections->failed ? -ENOMEM : 0;
}

/* -ENOSPC: the dictionary would be too full, or the message too large. */
static int push_session_encode(struct push_session *session, const struct push_part *parts,
        uint32_t count, struct buf *payload)
{
	AUTO_BUF sections = { 0 };
	int result = session->dict ? 0 : -ENOSPC;
	for (uint32_t i = 0; i < count && result == 0; i++)
		result = push_session_encode_part(session, &parts[i], &sections);
	if (result < 0)
		return result;

	struct wire_push push = {
		.session = session->id,
		.request = session->request + 1,
		.state = { .samples_taken = session->samples_sent,
		        .samples_sent = session->samples_sent },
		.sections_count = count,
	};
	wire_put_push(&push, session->dict, session->known, payload);
	buf_put(payload, sections.bytes, sections.count);
	if (payload->failed)
		return -ENOMEM;
	return payload->count > session->bytes_max ? -ENOSPC : 0;
}

/*
 * As many of the parts as fit, `*count` at most, into the session that is open, else into a new
 * one. One part alone always fits a new one, because the plan was made for that.
 */
static enum push_outcome push_session_pack(struct push_session *session,
        const struct push_part *parts, uint32_t *count, struct buf *payload,
        struct push_reason *reason)
{
	bool is_fresh = false;
	for (;;) {
		buf_reset(payload);
		int result = push_session_encode(session, parts, *count, payload);
		if (result == 0 ||
		        (result == -ENOSPC && is_fresh && *count == 1 && payload->count > 0))
			return PUSH_DONE;
		if (result != -ENOSPC || (is_fresh && *count == 1))
			return push_failed(result, reason);
		if (session->dict && *count > 1) {
			dict_truncate(session->dict, session->known);
			*count /= 2;
			continue;
		}
		push_session_close(session);
		enum push_outcome outcome = push_session_hello(session, reason);
		if (outcome != PUSH_DONE)
			return outcome;
		is_fresh = true;
	}
}

static enum push_outcome push_session_try(struct push_session *session, struct push_part *parts,
        uint32_t *count, struct push_reason *reason)
{
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	enum push_outcome outcome = push_session_pack(session, parts, count, &payload, reason);
	if (outcome != PUSH_DONE)
		return outcome;

	struct wire_message reply;
	int result = client_call(session->client, WIRE_PUSH, &payload, 0, &unpacked, &reply);
	if (result < 0)
		return push_failed(result, reason);
	return push_session_reply(session, parts, *count, &reply, reason);
}

/* How long to wait before the next try, and when to give up. */
struct push_patience {
	uint64_t until_ns;
	uint32_t pause_ms;
};

static struct push_patience push_patience_new(void)
{
	return (struct push_patience){
		.until_ns = clock_monotonic_ns(clock_real()) + PUSH_PATIENCE_NS,
		.pause_ms = PUSH_PAUSE_MS_MIN,
	};
}

static bool push_patience_ends(const struct push_patience *patience)
{
	return clock_monotonic_ns(clock_real()) >= patience->until_ns;
}

static void push_patience_pause(struct push_patience *patience, uint32_t retry_ms)
{
	uint32_t ms = retry_ms > patience->pause_ms ? retry_ms : patience->pause_ms;
	struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
	(void)nanosleep(&pause, NULL);
	patience->pause_ms = patience->pause_ms * 2 < PUSH_PAUSE_MS_MAX ? patience->pause_ms * 2
	                                                                : PUSH_PAUSE_MS_MAX;
}

/* What is still to be sent moves to the front; the parts of items that failed are dropped. */
static uint32_t push_parts_left(struct push_part *parts, uint32_t count)
{
	uint32_t left = 0;
	for (uint32_t i = 0; i < count; i++)
		if (parts[i].section && parts[i].item->code == 0)
			parts[left++] = parts[i];
	return left;
}

/* Until each part is kept, or its item has failed, with the reason told. */
static void push_session_parts(
        struct push_session *session, struct push_part *parts, uint32_t parts_count)
{
	struct push_patience patience = push_patience_new();
	uint32_t together_max = PUSH_TOGETHER_MAX;

	while ((parts_count = push_parts_left(parts, parts_count)) > 0) {
		uint32_t count = parts_count < together_max ? parts_count : together_max;
		struct push_reason reason = { 0 };
		enum push_outcome outcome = push_session_try(session, parts, &count, &reason);
		if (outcome == PUSH_DONE) {
			patience = push_patience_new();
			continue;
		}
		push_session_close(session);
		if (outcome == PUSH_AGAIN && !push_patience_ends(&patience)) {
			push_patience_pause(&patience, reason.retry_ms);
			continue;
		}
		/* Of several that are refused together one may be the cause: each by itself. */
		if (outcome == PUSH_GIVE_UP && count > 1) {
			together_max = 1;
			continue;
		}
		for (uint32_t i = 0; i < count; i++)
			push_item_fail(session, parts[i].item, &reason);
	}
}

/*
 * The first word, with the patience of all others: an aggregator that restarts between two files
 * is waited for. Where none was ever met the address may be wrong, and that is said at once.
 */
static enum push_outcome push_session_greet(
        struct push_session *session, struct push_reason *reason)
{
	struct push_patience patience = push_patience_new();

	for (;;) {
		enum push_outcome outcome = session->dict ? PUSH_DONE
		                                          : push_session_hello(session, reason);
		if (outcome == PUSH_DONE) {
			session->is_met = true;
			return PUSH_DONE;
		}
		push_session_close(session);
		if (outcome == PUSH_GIVE_UP || push_patience_ends(&patience) ||
		        (reason->result == -ECONNREFUSED && !session->is_met))
			return PUSH_GIVE_UP;
		push_patience_pause(&patience, reason->retry_ms);
	}
}

/* Cuts the item into sections, with the next free numbers of their shards. */
static void push_session_plan(struct push_session *session, struct push_item *item)
{
	struct push_plan_limits limits = {
		.bytes_max = session->bytes_max,
		.nodes_max = session->nodes_max,
		.shards = session->shards,
		.tenant = PUSH_TENANT,
	};
	int result = push_plan_make(item->batch, limits, &item->plan);
	if (result == -E2BIG)
		item->code = complain(EXIT_CODE_FAILED,
		        "%s: a single stack is larger than the aggregator takes (%u bytes); "
		        "nothing of "
		        "this file was sent",
		        item->name, session->bytes_max);
	else if (result < 0)
		item->code = complain(EXIT_CODE_FAILED, "%s: out of memory", item->name);
	if (result < 0)
		return;
	for (uint32_t i = 0; i < item->plan.count; i++) {
		struct push_section *section = &item->plan.sections[i];
		section->seq = ++session->seqs[section->shard];
	}
	if (item->progress.report)
		item->progress.report(item->progress.owner, 0, item->plan.count);
}

/* Sends all sections of a list of items. Their codes say how it went. */
static void push_session_items(struct push_session *session, struct push_item *items)
{
	struct push_reason reason = { 0 };
	bool is_there = push_session_greet(session, &reason) == PUSH_DONE;
	size_t room = 0;
	for (struct push_item *item = items; item; item = item->next) {
		if (is_there)
			push_session_plan(session, item);
		else
			push_item_fail(session, item, &reason);
		room += item->plan.count;
	}
	if (room == 0)
		return;

	autofree struct push_part *parts = calloc(room, sizeof(*parts));
	uint32_t count = 0;
	for (struct push_item *item = items; item; item = item->next) {
		if (!parts && item->code == 0)
			item->code = complain(EXIT_CODE_FAILED, "%s: out of memory", item->name);
		for (uint32_t i = 0; parts && i < item->plan.count; i++)
			parts[count++] = (struct push_part){ item, &item->plan.sections[i] };
	}
	push_session_parts(session, parts, count);
}

/* Takes all that wait, and sends them while others gather. Under the lock, which it lets go. */
static void push_session_lead(struct push_session *session)
{
	struct push_item *items = session->waiting;
	session->waiting = NULL;
	session->is_sending = true;
	(void)pthread_mutex_unlock(&session->lock);

	push_session_items(session, items);

	(void)pthread_mutex_lock(&session->lock);
	for (struct push_item *item = items, *next; item; item = next) {
		next = item->next;
		item->is_done = true; /* Its owner may be gone right after the lock. */
	}
	session->is_sending = false;
	(void)pthread_cond_broadcast(&session->changed);
}

int push_session_send(struct push_session *session, const char *name, const struct batch *batch,
        struct push_progress progress)
{
	struct push_item item = { .name = name, .batch = batch, .progress = progress };

	(void)pthread_mutex_lock(&session->lock);
	struct push_item **last = &session->waiting;
	while (*last)
		last = &(*last)->next;
	*last = &item;
	while (!item.is_done) {
		if (session->is_sending)
			(void)pthread_cond_wait(&session->changed, &session->lock);
		else
			push_session_lead(session);
	}
	(void)pthread_mutex_unlock(&session->lock);

	if (item.code && item.kept > 0)
		remark("%s: %u of %u parts were kept before that; importing the file again would "
		       "count them twice",
		        name, item.kept, item.plan.count);
	push_plan_fini(&item.plan);
	return item.code;
}

/* The aggregator may forget the dictionary; one that cannot be told keeps it until it needs room.
 */
static void push_session_say_goodbye(struct push_session *session)
{
	struct wire_push push = {
		.session = session->id,
		.request = session->request + 1,
		.state = { .samples_taken = session->samples_sent,
		        .samples_sent = session->samples_sent },
		.is_last = true,
	};
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	struct wire_message reply;
	wire_put_push(&push, session->dict, dict_mark(session->dict), &payload);
	(void)client_call(session->client, WIRE_PUSH, &payload, PUSH_CLOSE_MS, &unpacked, &reply);
}

void push_session_free(struct push_session *session)
{
	if (!session)
		return;
	if (session->dict)
		push_session_say_goodbye(session);
	push_session_close(session);
	(void)pthread_cond_destroy(&session->changed);
	(void)pthread_mutex_destroy(&session->lock);
	free(session->statuses);
	free(session);
}
