/*
 * The threads and the table of methods. A method goes to one of three lanes, each with a queue of
 * its own: who asks waits for no deed and no backup, and a hold can be made while a backup runs.
 * What changes something goes one after the other under the keeper's lock, so that no turn of
 * retention comes in between; the others copy what they need of the keeper (keeper_copy_take).
 */

#include "aggregator/admin.h"

#include <assert.h>
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

#define ADMIN_ASKING  2 /* threads; each may hold what it learns of a whole inventory */
#define ADMIN_THREADS (ADMIN_ASKING + 2)

enum admin_lane {
	ADMIN_ASK,    /* reads; as many at once as there are threads */
	ADMIN_CHANGE, /* under the keeper's lock */
	ADMIN_COPY,   /* takes as long as the bytes do; has nothing to do with the keeper */
	ADMIN_LANES,
};

/* Whom it serves, and that it runs. */
struct admin_worker {
	struct admin *admin;
	enum admin_lane lane;
	uint32_t place; /* in admin.running */
	pthread_t thread;
	bool is_started;
};

struct admin {
	struct admin_options options;
	struct admin_running *running;
	struct job_queue *queues[ADMIN_LANES];
	struct admin_worker workers[ADMIN_THREADS];
};

static_assert(ADMIN_THREADS <= ADMIN_RUNNING_MAX, "a place for each thread");

static int admin_progress(struct admin_call *call);

static const struct admin_entry {
	const char *name;
	admin_method run;
	enum admin_lane lane;
} admin_methods[] = {
	{ "retention.list", admin_retention_list, ADMIN_ASK },
	{ "retention.get", admin_retention_get, ADMIN_ASK },
	{ "retention.set", admin_retention_set, ADMIN_CHANGE },
	{ "retention.delete", admin_retention_delete, ADMIN_CHANGE },
	{ "retention.explain", admin_retention_explain, ADMIN_ASK },
	{ "retention.plan", admin_retention_plan, ADMIN_ASK },
	{ "retention.apply", admin_retention_apply, ADMIN_CHANGE },
	{ "retention.status", admin_retention_status, ADMIN_ASK },
	{ "retention.undo", admin_retention_undo, ADMIN_CHANGE },
	{ "retention.forget", admin_retention_forget, ADMIN_CHANGE },
	{ "hold.create", admin_hold_create, ADMIN_CHANGE },
	{ "hold.list", admin_hold_list, ADMIN_ASK },
	{ "hold.release", admin_hold_release, ADMIN_CHANGE },
	{ "usage", admin_usage, ADMIN_ASK },
	{ "audit.list", admin_audit_list, ADMIN_ASK },
	{ "audit.verify", admin_audit_verify, ADMIN_ASK },
	{ "backup.create", admin_backup_create, ADMIN_COPY },
	{ "backup.list", admin_backup_list, ADMIN_ASK },
	{ "backup.restore", admin_backup_restore, ADMIN_COPY },
	{ "backup.verify", admin_backup_verify, ADMIN_COPY },
	{ "backup.delete", admin_backup_delete, ADMIN_COPY },
	{ "admin.progress", admin_progress, ADMIN_ASK },
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
	if (r == -ENOSPC && !*text)
		snprintf(text, sizeof(text), "make room on the disk of the store");
	snprintf(call->error, sizeof(call->error), "%s: %s%s%s", doing, strerror(-r),
	        *text ? ": " : "", text);
	call->status = r == -EBUSY ? WIRE_BUSY : WIRE_FAILED;
	return r;
}

static void admin_pass_at(void *owner, uint64_t windows_done, uint64_t windows_total)
{
	const struct admin_call *call = owner;
	uint64_t passes = call->passes > call->passes_begun ? call->passes : call->passes_begun;
	admin_running_at(call->running, call->place,
	        (call->passes_begun - 1) * windows_total + windows_done, passes * windows_total);
}

struct store_pass admin_pass(struct admin_call *call)
{
	call->passes_begun++;
	return (struct store_pass){ call->running ? admin_pass_at : NULL, call };
}

static const struct admin_entry *admin_find(struct wire_text name)
{
	for (size_t i = 0; i < COUNT_OF(admin_methods); i++)
		if (name.bytes && strlen(admin_methods[i].name) == name.count &&
		        memcmp(admin_methods[i].name, name.bytes, name.count) == 0)
			return &admin_methods[i];
	return NULL;
}

/* For whoever waits: its own request may be at work, or wait for another. */
static int admin_progress(struct admin_call *call)
{
	const char *name = json_body_text(call->body, "method");
	const struct admin_entry *method = admin_find(
	        (struct wire_text){ name, (uint32_t)strlen(name) });
	if (!method)
		return admin_refuse(call, WIRE_INVALID, "\"%.64s\": no such method", name);
	admin_running_put(call->running, call->place, method->lane,
	        json_body_text(call->body, "request"), call->json);
	return 0;
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
static int admin_run(struct admin *admin, const struct wire_admin *request,
        const struct admin_entry *method, struct admin_call *call, struct buf *to)
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
	if (method->lane != ADMIN_CHANGE) {
		r = method->run(call);
	} else {
		(void)pthread_mutex_lock(&admin->options.keeper->lock);
		r = method->run(call);
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

static void admin_answer(const struct admin_worker *worker, struct net_request *request,
        const struct wire_admin *asked)
{
	struct admin *admin = worker->admin;
	const char *peer = net_request_peer(request);
	const struct admin_entry *method = admin_find(asked->method);
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
		.running = admin->running,
		.place = worker->place,
		.by = { actor, origin, id },
		.status = WIRE_FAILED,
	};
	admin_running_begin(admin->running, worker->place, method->lane, method->name, actor, id);
	int r = admin_run(admin, asked, method, &call, &body);
	admin_running_end(admin->running, worker->place);
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

/* -EBADMSG, -EPROTONOSUPPORT: not an encoding that is known. */
static int admin_open(
        const uint8_t *bytes, size_t count, struct buf *unpacked, struct wire_admin *ret_asked)
{
	struct wire_message message;
	int r = wire_open(bytes, count, unpacked, &message);
	if (r < 0)
		return r;
	return message.kind == WIRE_ADMIN ? wire_get_admin(&message.payload, ret_asked) : -EBADMSG;
}

static void admin_receive(const struct admin_worker *worker, const struct job *job)
{
	AUTO_BUF unpacked = { .limit = ADMIN_UNPACKED_MAX };
	struct wire_admin asked = { 0 };
	int r = admin_open(job->bytes, job->count, &unpacked, &asked);
	if (r < 0) {
		refusal_reply(job->request, r == -EPROTONOSUPPORT ? WIRE_TOO_NEW : WIRE_MALFORMED,
		        0, "ADMIN: not an encoding this aggregator knows");
		return;
	}
	admin_answer(worker, job->request, &asked);
}

static void *admin_thread(void *owner)
{
	const struct admin_worker *worker = owner;
	struct job job;
	while (job_queue_take(worker->admin->queues[worker->lane], &job, 1) > 0) {
		admin_receive(worker, &job);
		free(job.bytes);
	}
	return NULL;
}

static int admin_start(struct admin *admin)
{
	static const char *const names[] = { "admin-ask", "admin-change", "admin-copy" };
	for (uint32_t i = 0; i < ADMIN_THREADS; i++) {
		struct admin_worker *worker = &admin->workers[i];
		worker->admin = admin;
		worker->place = i;
		worker->lane = i < ADMIN_ASKING ? ADMIN_ASK : ADMIN_CHANGE + i - ADMIN_ASKING;
		int r = pthread_create(&worker->thread, NULL, admin_thread, worker);
		if (r != 0)
			return -r;
		worker->is_started = true;
		(void)pthread_setname_np(worker->thread, names[worker->lane]);
	}
	return 0;
}

int admin_new(struct admin_options options, struct admin **ret_admin)
{
	AUTO(admin) admin = calloc(1, sizeof(*admin));
	if (!admin)
		return -ENOMEM;
	admin->options = options;
	admin->running = admin_running_new();
	if (!admin->running)
		return -ENOMEM;
	for (int lane = 0; lane < ADMIN_LANES; lane++) {
		admin->queues[lane] = job_queue_new(ADMIN_JOB_BYTES_MAX, ADMIN_JOBS_MAX);
		if (!admin->queues[lane])
			return -ENOMEM;
	}
	int r = admin_start(admin);
	if (r < 0)
		return r;
	*ret_admin = TAKE(admin);
	return 0;
}

void admin_stop(struct admin *admin)
{
	for (int lane = 0; lane < ADMIN_LANES; lane++)
		if (admin->queues[lane])
			job_queue_close(admin->queues[lane]);
	for (uint32_t i = 0; i < ADMIN_THREADS; i++) {
		struct admin_worker *worker = &admin->workers[i];
		if (worker->is_started)
			(void)pthread_join(worker->thread, NULL);
		worker->is_started = false;
	}
}

void admin_free(struct admin *admin)
{
	if (!admin)
		return;
	admin_stop(admin);
	for (int lane = 0; lane < ADMIN_LANES; lane++)
		job_queue_free(admin->queues[lane]);
	admin_running_free(admin->running);
	free(admin);
}

/* What cannot be read is refused by whoever has time for it. */
static enum admin_lane admin_lane_of(const uint8_t *bytes, size_t count)
{
	AUTO_BUF unpacked = { .limit = ADMIN_UNPACKED_MAX };
	struct wire_admin asked = { 0 };
	const struct admin_entry *method = NULL;
	if (admin_open(bytes, count, &unpacked, &asked) == 0)
		method = admin_find(asked.method);
	return method ? method->lane : ADMIN_ASK;
}

int admin_submit(
        struct admin *admin, struct net_request *request, const uint8_t *bytes, size_t count)
{
	return job_queue_add(admin->queues[admin_lane_of(bytes, count)], request, bytes, count);
}

struct admin_state admin_state(struct admin *admin)
{
	struct admin_state state = { 0 };
	for (int lane = 0; lane < ADMIN_LANES; lane++) {
		struct job_queue_state queue = job_queue_state(admin->queues[lane]);
		state.waiting += queue.jobs;
		state.refused += queue.refused;
	}
	return state;
}
