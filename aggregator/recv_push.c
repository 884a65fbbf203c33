/*
 * PUSH brings what is new in the session's dictionary, and sections whose batches speak of it.
 *
 * A message is taken whole or not at all as far as the dictionary goes: after a malformed one the
 * two ends may disagree, so the session is dropped and the sender starts a new one. Each section
 * then has its own status, because each has its own watermark.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/ingest_private.h"
#include "core/log.h"

#define RETRY_DISK_FULL_MS 1000
#define RETRY_MEMORY_MS    500
/* A clock this far ahead of ours is wrong; a little ahead is drift. */
#define CLOCK_AHEAD_MAX_NS (60 * NS_PER_S)

void push_job_fini(struct push_job *job)
{
	for (uint32_t i = 0; job->batches && i < job->sections_count; i++)
		batch_free(job->batches[i]);
	free(job->batches);
	free(job->appends);
	*job = (struct push_job){ 0 };
}

size_t push_job_memory(const struct push_job *job)
{
	/* What the session's dict grew by is accounted for when the push is answered. */
	size_t memory = dict_memory(job->session->dict) - job->session->memory;
	for (uint32_t i = 0; i < job->sections_count; i++) {
		const struct batch *batch = job->batches[i];
		memory += sizeof(*batch) + sizeof(job->appends[i]) +
		          batch->rows_capacity * sizeof(*batch->rows) +
		          batch->coverage_capacity * sizeof(*batch->coverage) +
		          batch->losses_capacity * sizeof(*batch->losses);
	}
	return memory;
}

/*
 * An interval that starts in our future would be invisible to every query until then. It is kept
 * under our own time, and said so.
 */
static void clamp_to_now(struct ingest *ingest, const struct session *session, struct batch *batch)
{
	uint64_t now_ns = clock_unix_ns(ingest->options.clock);
	if (session->role != WIRE_ROLE_AGENT || batch->start_ns <= now_ns + CLOCK_AHEAD_MAX_NS)
		return;
	batch->start_ns = now_ns > batch->duration_ns ? now_ns - batch->duration_ns : 0;
	INGEST_COUNT(ingest, clock_clamped, 1);
	log_warn("clock-ahead",
	        "%s: its clock is more than 60 s ahead of ours; the interval is kept "
	        "under our time: check the clock of that host",
	        session->host);
}

static int recv_push_section(struct ingest *ingest, struct session *session, struct reader *payload,
        struct push_job *job, uint32_t index)
{
	struct wire_section section;
	int r = wire_get_section(payload, &section);
	if (r < 0)
		return r;

	job->batches[index] = batch_new(session->dict);
	if (!job->batches[index])
		return -ENOMEM;
	job->sections_count = index + 1;
	r = batch_decode(job->batches[index], &section.batch);
	if (r < 0)
		return r;
	if (reader_left(&section.batch) > 0)
		return -EBADMSG;
	clamp_to_now(ingest, session, job->batches[index]);

	job->appends[index] = (struct store_append){
		.stream = {
			.uuid = section.uuid,
			.epoch = section.epoch,
			.shard = section.shard,
			.seq = section.seq,
			.tenant = session->tenant,
		},
		.batch = job->batches[index],
		.remap = session->remap,
		.refuse_late = session->role == WIRE_ROLE_AGENT,
	};
	return 0;
}

static int recv_push_decode(struct ingest *ingest, struct session *session, struct reader *payload,
        struct reader *delta, struct push_job *job)
{
	int r = dict_decode(session->dict, delta);
	if (r < 0)
		return r;
	if (reader_left(delta) > 0)
		return -EBADMSG;

	uint32_t count = job->push.sections_count;
	job->appends = calloc(count ? count : 1, sizeof(*job->appends));
	job->batches = calloc(count ? count : 1, sizeof(struct batch *));
	if (!job->appends || !job->batches)
		return -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < count; i++)
		r = recv_push_section(ingest, session, payload, job, i);
	if (r == 0 && reader_left(payload) > 0)
		r = -EBADMSG;
	return r;
}

bool recv_push(struct ingest *ingest, struct net_request *request, struct reader *payload,
        struct push_job *ret_job)
{
	struct push_job job = { .request = request };
	struct reader delta;
	int r = wire_get_push(payload, &job.push, &delta);
	if (r == -EPROTONOSUPPORT) {
		ingest_refuse(ingest, request, WIRE_TOO_NEW, 0,
		        "PUSH has a field that must be understood and is not: update "
		        "profleet-aggregator first");
		return false;
	}
	if (r < 0) {
		ingest_refuse(ingest, request, WIRE_MALFORMED, 0, "PUSH: not an encoding");
		return false;
	}

	struct session *session = session_table_find(ingest->sessions, job.push.session);
	if (!session || session->in_group || job.push.request != session->request_next) {
		ingest_refuse(ingest, request, WIRE_RESET, 0, "unknown session: say HELLO again");
		return false;
	}

	r = recv_push_decode(ingest, session, payload, &delta, &job);
	if (r < 0) {
		if (r != -ENOMEM)
			log_warn("push-malformed",
			        "%s (%s): the session is dropped, its sender starts "
			        "a new one",
			        session->host, net_request_peer(request));
		push_job_fini(&job);
		session_table_drop(ingest->sessions, session);
		if (r == -ENOMEM || r == -ENOSPC)
			ingest_refuse(ingest, request, WIRE_RESET, RETRY_MEMORY_MS,
			        "the session's dictionary is full: open a new one");
		else
			ingest_refuse(ingest, request, WIRE_MALFORMED, 0,
			        "PUSH: an entry or a row that cannot be: open a new session");
		return false;
	}

	session->request_next++;
	session->in_group = true;
	job.session = session;
	*ret_job = job;
	return true;
}

/* Files that came up in this session and whose symbols nobody has brought yet. */
static void session_note_modules(struct session *session)
{
	uint32_t modules = dict_mark(session->dict).modules;
	for (; session->modules_seen < modules; session->modules_seen++) {
		const struct module *module = dict_get_module(session->dict, session->modules_seen);
		if (module->build_id == 0)
			continue;
		if (session->unresolved_count == session->unresolved_capacity) {
			uint32_t capacity = session->unresolved_capacity
			                            ? session->unresolved_capacity * 2
			                            : 64;
			uint32_t *grown = realloc(
			        session->unresolved, capacity * sizeof(*session->unresolved));
			if (!grown)
				return; /* The rest is looked at with the next push. */
			session->unresolved = grown;
			session->unresolved_capacity = capacity;
		}
		session->unresolved[session->unresolved_count++] = session->modules_seen;
	}
}

static void recv_push_wanted(
        struct ingest *ingest, struct session *session, struct wire_push_reply *reply)
{
	session_note_modules(session);

	uint64_t now_ns = clock_monotonic_ns(ingest->options.clock);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < session->unresolved_count; i++) {
		const struct module *module = dict_get_module(
		        session->dict, session->unresolved[i]);
		size_t count;
		const char *build_id = dict_get_string(session->dict, module->build_id, &count);
		if (strlen(build_id) != count ||
		        store_symbols_has(ingest->options.store, build_id) >= 0)
			continue;
		session->unresolved[kept++] = session->unresolved[i];
		if (reply->wanted_count < WIRE_WANTED_MAX &&
		        symbol_inbox_ask(ingest->inbox, build_id, now_ns))
			reply->wanted[reply->wanted_count++] =
			        (struct wire_text){ .bytes = build_id, .count = (uint32_t)count };
	}
	session->unresolved_count = kept;
}

static void recv_push_remember(struct ingest *ingest, const struct push_job *job)
{
	const struct session *session = job->session;
	if (session->role != WIRE_ROLE_AGENT)
		return;

	uint64_t now_ns = clock_unix_ns(ingest->options.clock);
	struct store_agent agent = {
		.uuid = session->uuid,
		.epoch = session->epoch,
		.role = session->role,
		.first_seen_ns = now_ns,
		.last_seen_ns = now_ns,
		.state = job->push.state,
	};
	memcpy(agent.host, session->host, sizeof(agent.host));
	memcpy(agent.program, session->program, sizeof(agent.program));
	memcpy(agent.tenant, session->tenant, sizeof(agent.tenant));
	for (uint32_t i = 0; i < job->sections_count; i++) {
		uint64_t end_ns = job->batches[i]->start_ns + job->batches[i]->duration_ns;
		if (end_ns > agent.last_interval_end_ns)
			agent.last_interval_end_ns = end_ns;
	}
	/* Only what `profleet agents` shows is at stake, and the next push says it again. */
	if (store_agent_put(ingest->options.store, &agent) < 0)
		log_debug("agent-not-kept", "%s: %s", session->host,
		        store_error(ingest->options.store));
}

static struct wire_section_status section_status(const struct store_append *append, int r)
{
	struct wire_section_status status = {
		.shard = append->stream.shard,
		.seq = append->stream.seq,
		.status = r < 0 && append->ret_status != WIRE_NOT_OWNER ? WIRE_BUSY
		                                                        : append->ret_status,
	};
	const char *reason = append->ret_reason;
	if (status.status == WIRE_BUSY) {
		status.retry_ms = r == -ENOMEM ? RETRY_MEMORY_MS : RETRY_DISK_FULL_MS;
		if (r < 0)
			reason = r == -ENOSPC ? "the aggregator's disk is full"
			                      : "the aggregator could not write";
	}
	if (reason)
		status.reason = (struct wire_text){ .bytes = reason,
			.count = (uint32_t)strlen(reason) };
	return status;
}

static void recv_push_count(struct ingest *ingest, const struct push_job *job,
        const struct wire_section_status *statuses)
{
	(void)pthread_mutex_lock(&ingest->lock);
	for (uint32_t i = 0; i < job->sections_count; i++) {
		switch (statuses[i].status) {
		case WIRE_OK:
			ingest->state.sections_ok++;
			ingest->state.rows += job->batches[i]->rows_count;
			break;
		case WIRE_DUP:
			ingest->state.sections_duplicate++;
			break;
		case WIRE_BUSY:
		case WIRE_NOT_OWNER: /* kept by its sender, for whoever owns the shard */
			ingest->state.sections_busy++;
			break;
		default:
			ingest->state.sections_rejected++;
			break;
		}
	}
	(void)pthread_mutex_unlock(&ingest->lock);
}

void recv_push_answer(struct ingest *ingest, struct push_job *job, int r)
{
	struct session *session = job->session;
	session->in_group = false;
	uint32_t count = job->sections_count;
	autofree struct wire_section_status *statuses = calloc(
	        count ? count : 1, sizeof(*statuses));
	if (!statuses) {
		/* What was kept is a DUP when it comes again. */
		session_table_drop(ingest->sessions, session);
		ingest_refuse(ingest, job->request, WIRE_RESET, RETRY_MEMORY_MS, "out of memory");
		push_job_fini(job);
		return;
	}

	struct wire_push_reply reply = {
		.status = WIRE_OK, .sections_count = count, .sections = statuses
	};
	for (uint32_t i = 0; i < count; i++) {
		statuses[i] = section_status(&job->appends[i], r);
		if (statuses[i].status == WIRE_REJECT)
			log_warn("section-rejected", "%s: shard %u seq %lu: %s", session->host,
			        statuses[i].shard, (unsigned long)statuses[i].seq,
			        job->appends[i].ret_reason ? job->appends[i].ret_reason : "");
	}
	recv_push_count(ingest, job, statuses);
	if (r == 0) {
		recv_push_remember(ingest, job);
		if (session->role == WIRE_ROLE_AGENT)
			recv_push_wanted(ingest, session, &reply);
	}

	buf_reset(&ingest->payload);
	wire_put_push_reply(&reply, &ingest->payload);
	ingest_reply(ingest, job->request, WIRE_PUSH_REPLY);
	if (job->push.is_last)
		session_table_drop(ingest->sessions, session);
	else
		session_table_settle(ingest->sessions, session);
	push_job_fini(job);
}
