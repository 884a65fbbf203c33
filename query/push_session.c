/*
 * After every failure, whatever it was, the session is given up and the section that was not
 * confirmed is encoded again into a new one: the one way back that is right after a lost reply, a
 * RESET, a BUSY and a restart of the aggregator alike. Every batch has an epoch of its own, so its
 * sections count from 1.
 */

#include "query/push_session.h"

#include <assert.h>
#include <errno.h>
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
	uint32_t nodes_max;
	uint32_t bytes_max;
	uint32_t shards;
	struct wire_section_status *statuses;
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

void push_session_free(struct push_session *session)
{
	if (!session)
		return;
	push_session_close(session);
	free(session->statuses);
	free(session);
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

static enum push_outcome push_session_reply(
        struct push_session *session, struct wire_message *reply, struct push_reason *reason)
{
	struct wire_push_reply push = { .sections = session->statuses };
	if (reply->kind != WIRE_PUSH_REPLY)
		return push_unexpected(reply, reason);
	if (wire_get_push_reply(&reply->payload, &push) < 0)
		return push_failed(-EPROTO, reason);

	struct wire_status_reply status = { push.status, push.retry_ms, push.reason };
	if (push.status == WIRE_OK && push.sections_count == 1) {
		const struct wire_section_status *section = &push.sections[0];
		status = (struct wire_status_reply){ section->status, section->retry_ms,
			section->reason };
	} else if (push.status == WIRE_OK) {
		return push_failed(-EPROTO, reason);
	}
	if (status.status == WIRE_OK || status.status == WIRE_DUP)
		return PUSH_DONE;
	return push_refused(&status, reason);
}

/*
 * Encodes the section into the session's dictionary. -ENOSPC: the dictionary is full; a new
 * session's is not, because the plan was made for one.
 */
static int push_session_encode(struct push_session *session, const struct batch *from,
        const struct push_section *section, struct buf *payload)
{
	AUTO(dict_remap) remap = dict_remap_new(from->dict, session->dict);
	AUTO(batch) batch = batch_new(session->dict);
	if (!remap || !batch)
		return -ENOMEM;
	int result = push_plan_copy(from, section, remap, batch);
	if (result < 0)
		return result;

	uint64_t samples = session->samples_sent + batch_samples(batch);
	struct wire_push push = {
		.session = session->id,
		.request = session->request + 1,
		.state = { .samples_taken = samples, .samples_sent = session->samples_sent },
		.sections_count = 1,
	};
	struct wire_section as = {
		.shard = section->shard,
		.uuid = session->uuid,
		.epoch = session->epoch,
		.seq = section->seq,
	};
	wire_put_push(&push, session->dict, session->known, payload);
	wire_put_section(&as, batch, payload);
	return payload->failed ? -ENOMEM : 0;
}

static enum push_outcome push_session_try(struct push_session *session, const struct batch *batch,
        const struct push_section *section, struct push_reason *reason)
{
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	int result = -ENOSPC;

	if (session->dict)
		result = push_session_encode(session, batch, section, &payload);
	if (result == -ENOSPC || (result == 0 && payload.count > session->bytes_max)) {
		push_session_close(session);
		enum push_outcome outcome = push_session_hello(session, reason);
		if (outcome != PUSH_DONE)
			return outcome;
		buf_reset(&payload);
		result = push_session_encode(session, batch, section, &payload);
	}
	if (result < 0)
		return push_failed(result, reason);

	struct wire_message reply;
	result = client_call(session->client, WIRE_PUSH, &payload, 0, &unpacked, &reply);
	if (result < 0)
		return push_failed(result, reason);
	enum push_outcome outcome = push_session_reply(session, &reply, reason);
	if (outcome == PUSH_DONE) {
		session->request++;
		session->known = dict_mark(session->dict);
	}
	return outcome;
}

static void push_pause(uint32_t ms)
{
	struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
	(void)nanosleep(&pause, NULL);
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

/* Until it is kept, refused for good, or patience ends. 0 or an exit code. */
static int push_session_section(struct push_session *session, const char *name,
        const struct batch *batch, const struct push_section *section)
{
	uint64_t until_ns = clock_monotonic_ns(clock_real()) + PUSH_PATIENCE_NS;
	uint32_t pause_ms = PUSH_PAUSE_MS_MIN;

	for (;;) {
		struct push_reason reason = { 0 };
		enum push_outcome outcome = push_session_try(session, batch, section, &reason);
		if (outcome == PUSH_DONE)
			return 0;
		push_session_close(session);
		if (outcome == PUSH_GIVE_UP || clock_monotonic_ns(clock_real()) >= until_ns)
			return push_explain(session, name, &reason);
		push_pause(reason.retry_ms > pause_ms ? reason.retry_ms : pause_ms);
		pause_ms = pause_ms * 2 < PUSH_PAUSE_MS_MAX ? pause_ms * 2 : PUSH_PAUSE_MS_MAX;
	}
}

int push_session_send(struct push_session *session, const char *name, const struct batch *batch,
        struct push_progress progress)
{
	/* A batch's stream is new: what was sent before under another epoch is done. */
	push_session_close(session);
	session->epoch++;
	struct push_reason reason = { 0 };
	if (push_session_hello(session, &reason) != PUSH_DONE)
		return push_explain(session, name, &reason);

	struct push_plan plan;
	struct push_plan_limits limits = {
		.bytes_max = session->bytes_max,
		.nodes_max = session->nodes_max,
		.shards = session->shards,
		.tenant = PUSH_TENANT,
	};
	int result = push_plan_make(batch, limits, &plan);
	if (result == -E2BIG)
		return complain(EXIT_CODE_FAILED,
		        "%s: a single stack is larger than the aggregator takes (%u bytes); "
		        "nothing of "
		        "this file was sent",
		        name, session->bytes_max);
	if (result < 0)
		return complain(EXIT_CODE_FAILED, "%s: out of memory", name);

	int code = 0;
	uint32_t done = 0;
	for (; done < plan.count && code == 0; done++) {
		if (progress.report)
			progress.report(progress.owner, done, plan.count);
		code = push_session_section(session, name, batch, &plan.sections[done]);
		for (uint32_t i = 0; i < plan.sections[done].rows_count && code == 0; i++)
			session->samples_sent +=
			        batch->rows[plan.sections[done].rows_first + i].value;
	}
	if (code && done > 1)
		remark("%s: %u of %u parts were kept before that; importing the file again would "
		       "count them twice",
		        name, done - 1, plan.count);
	push_plan_fini(&plan);
	return code;
}
