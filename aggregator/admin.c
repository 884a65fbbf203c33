/*
 * The thread and the table of methods. A method that changes something runs under the keeper's
 * lock, so that no turn of retention comes in between. One that only reads, or that has nothing to
 * do with the keeper, takes the lock itself for what it needs of it: what takes long holds up
 * no turn, and waits for none.
 */

#include "aggregator/admin.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/admin_call.h"
#include "aggregator/job_queue.h"
#include "aggregator/refusal.h"
#include "core/log.h"

#define ADMIN_JOBS_MAX      64
#define ADMIN_JOB_BYTES_MAX (16u << 20)
#define ADMIN_UNPACKED_MAX  (2u << 20)

struct admin {
	struct admin_options options;
	struct job_queue *queue;
	pthread_t thread;
	bool is_started;
};

static const struct {
	const char *name;
	admin_method run;
	bool is_free; /* of the keeper's lock */
} admin_methods[] = {
	{ "retention.list", admin_retention_list, true },
	{ "retention.get", admin_retention_get, true },
	{ "retention.set", admin_retention_set, false },
	{ "retention.delete", admin_retention_delete, false },
	{ "retention.explain", admin_retention_explain, true },
	{ "retention.plan", admin_retention_plan, true },
	{ "retention.apply", admin_retention_apply, false },
	{ "retention.status", admin_retention_status, true },
	{ "retention.undo", admin_retention_undo, false },
	{ "retention.forget", admin_retention_forget, false },
	{ "hold.create", admin_hold_create, false },
	{ "hold.list", admin_hold_list, true },
	{ "hold.release", admin_hold_release, false },
	{ "usage", admin_usage, true },
	{ "audit.list", admin_audit_list, true },
	{ "audit.verify", admin_audit_verify, true },
	{ "backup.create", admin_backup_create, true },
	{ "backup.list", admin_backup_list, true },
	{ "backup.restore", admin_backup_restore, true },
	{ "backup.verify", admin_backup_verify, true },
	{ "backup.delete", admin_backup_delete, true },
};

int admin_refuse(struct admin_call *call, enum wire_status status, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(call->error, sizeof(call->error), format, arguments);
	va_end(arguments);
	call->status = status;
	return -EINVAL;
}

int admin_failed(struct admin_call *call, const char *doing, int r)
{
	char text[512] = "";
	store_read_error(call->store, text, sizeof(text));
	snprintf(call->error, sizeof(call->error), "%s: %s%s%s", doing, strerror(-r),
	        *text ? ": " : "", text);
	call->status = r == -EBUSY ? WIRE_BUSY : WIRE_FAILED;
	return r;
}

static admin_method admin_find(struct wire_text name)
{
	for (size_t i = 0; i < COUNT_OF(admin_methods); i++)
		if (name.bytes && strlen(admin_methods[i].name) == name.count &&
		        memcmp(admin_methods[i].name, name.bytes, name.count) == 0)
			return admin_methods[i].run;
	return NULL;
}

static bool admin_is_free(admin_method method)
{
	for (size_t i = 0; i < COUNT_OF(admin_methods); i++)
		if (admin_methods[i].run == method)
			return admin_methods[i].is_free;
	return false;
}

/* Names of loopback as nng prints them; where the peer is unknown it is nobody's. */
static bool admin_is_allowed(const struct admin *admin, const char *peer)
{
	if (admin->options.from != ADMIN_FROM_LOOPBACK)
		return admin->options.from == ADMIN_FROM_ANYWHERE;
	return strncmp(peer, "127.", 4) == 0 || strncmp(peer, "[::1]:", 6) == 0 ||
	       strncmp(peer, "[::ffff:127.", 12) == 0;
}

/* Parses the body and runs the method: 0 with the reply in `to`. */
static int admin_run(struct admin *admin, const struct wire_admin *request, admin_method method,
        struct admin_call *call, struct buf *to)
{
	AUTO(config) body = NULL;
	int r = config_parse("request", request->body, request->body_count, &body, call->error,
	        sizeof(call->error));
	if (r < 0) {
		call->status = r == -ENOMEM ? WIRE_FAILED : WIRE_INVALID;
		return r;
	}
	struct json_writer json = json_writer_of(to, false);
	call->body = config_root(body);
	call->json = &json;
	json_object_begin(&json);
	json_key_u64(&json, "schema_version", 1);
	if (admin_is_free(method)) {
		r = method(call);
	} else {
		(void)pthread_mutex_lock(&admin->options.keeper->lock);
		r = method(call);
		keeper_publish(admin->options.keeper);
		(void)pthread_mutex_unlock(&admin->options.keeper->lock);
	}
	json_object_end(&json);
	return r;
}

static void admin_reply(struct net_request *request, const struct buf *body)
{
	AUTO_BUF payload = { 0 };
	AUTO_BUF sealed = { 0 };
	if (body->count > WIRE_ADMIN_REPLY_BYTES_MAX) {
		refusal_reply(request, WIRE_TOO_BIG, 0,
		        "the answer is past 3 MiB: narrow it by a selector, or ask for fewer");
		return;
	}
	wire_put_admin_reply(
	        &(struct wire_admin_reply){ (const char *)body->bytes, (uint32_t)body->count },
	        &payload);
	wire_seal(WIRE_ADMIN_REPLY, &payload, &sealed);
	if (body->failed || payload.failed || sealed.failed) {
		refusal_reply(request, WIRE_FAILED, 0, "out of memory");
		return;
	}
	(void)net_reply(request, sealed.bytes, sealed.count); /* sealed to fit */
}

static void admin_answer(
        struct admin *admin, struct net_request *request, const struct wire_admin *asked)
{
	const char *peer = net_request_peer(request);
	admin_method method = admin_find(asked->method);
	if (!admin_is_allowed(admin, peer)) {
		log_warn("admin-denied", "%s: %.*s", peer, (int)asked->method.count,
		        asked->method.bytes);
		refusal_reply(request, WIRE_DENIED, 0,
		        "administration is not allowed from here; ask on the aggregator's host, or "
		        "see its option --admin");
		return;
	}
	if (!method) {
		refusal_reply(
		        request, WIRE_INVALID, 0, "no such method: update profleet-aggregator");
		return;
	}

	AUTO_BUF body = { .limit = WIRE_ADMIN_REPLY_BYTES_MAX + 1 };
	char actor[256], id[128], origin[NET_ADDRESS_BYTES_MAX];
	snprintf(actor, sizeof(actor), "%.*s", (int)asked->actor.count, asked->actor.bytes);
	snprintf(id, sizeof(id), "%.*s", (int)asked->request.count, asked->request.bytes);
	snprintf(origin, sizeof(origin), "%s", peer);
	struct admin_call call = {
		.store = admin->options.store,
		.keeper = admin->options.keeper,
		.backups = admin->options.backups,
		.limits = admin->options.limits,
		.by = { actor, origin, id },
		.status = WIRE_FAILED,
	};
	int r = admin_run(admin, asked, method, &call, &body);
	if (r == 0) {
		admin_reply(request, &body);
		return;
	}
	if (!*call.error)
		snprintf(call.error, sizeof(call.error), "%s", strerror(-r));
	if (call.status == WIRE_FAILED)
		log_error("admin-failed", "%.*s: %s", (int)asked->method.count, asked->method.bytes,
		        call.error);
	refusal_reply(request, call.status, call.status == WIRE_BUSY ? 500 : 0, call.error);
}

static void admin_receive(struct admin *admin, const struct job *job)
{
	AUTO_BUF unpacked = { .limit = ADMIN_UNPACKED_MAX };
	struct wire_message message;
	struct wire_admin asked = { 0 };
	int r = wire_open(job->bytes, job->count, &unpacked, &message);
	if (r == 0)
		r = message.kind == WIRE_ADMIN ? wire_get_admin(&message.payload, &asked)
		                               : -EBADMSG;
	if (r < 0) {
		refusal_reply(job->request, r == -EPROTONOSUPPORT ? WIRE_TOO_NEW : WIRE_MALFORMED,
		        0, "ADMIN: not an encoding this aggregator knows");
		return;
	}
	admin_answer(admin, job->request, &asked);
}

static void *admin_thread(void *owner)
{
	struct admin *admin = owner;
	struct job job;
	while (job_queue_take(admin->queue, &job, 1) > 0) {
		admin_receive(admin, &job);
		free(job.bytes);
	}
	return NULL;
}

int admin_new(struct admin_options options, struct admin **ret_admin)
{
	AUTO(admin) admin = calloc(1, sizeof(*admin));
	if (!admin)
		return -ENOMEM;
	admin->options = options;
	admin->queue = job_queue_new(ADMIN_JOB_BYTES_MAX, ADMIN_JOBS_MAX);
	if (!admin->queue)
		return -ENOMEM;
	int r = pthread_create(&admin->thread, NULL, admin_thread, admin);
	if (r != 0)
		return -r;
	admin->is_started = true;
	*ret_admin = TAKE(admin);
	return 0;
}

void admin_stop(struct admin *admin)
{
	job_queue_close(admin->queue);
	if (admin->is_started)
		(void)pthread_join(admin->thread, NULL);
	admin->is_started = false;
}

void admin_free(struct admin *admin)
{
	if (!admin)
		return;
	if (admin->queue)
		admin_stop(admin);
	job_queue_free(admin->queue);
	free(admin);
}

int admin_submit(
        struct admin *admin, struct net_request *request, const uint8_t *bytes, size_t count)
{
	return job_queue_add(admin->queue, request, bytes, count);
}
