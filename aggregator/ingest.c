/*
 * The thread takes up to a group of jobs at once. HELLO and SYMBOLS are answered on the way; pushes
 * are decoded, appended together, and answered when the write is synced. While one group syncs the
 * next one gathers in the queue, so the busier the disk the bigger the groups.
 */

#include "aggregator/ingest.h"

#include <errno.h>
#include <string.h>

#include "aggregator/ingest_private.h"
#include "aggregator/refusal.h"
#include "core/log.h"
#include "core/service.h"

#define INGEST_JOBS_MAX 4096
/* What a message may unpack to at least, however little senders are asked to keep to. */
#define INGEST_UNPACKED_BYTES_MIN (8u << 20)

void ingest_reply(struct ingest *ingest, struct net_request *request, enum wire_kind kind)
{
	buf_reset(&ingest->sealed);
	wire_seal(kind, &ingest->payload, &ingest->sealed);
	if (ingest->payload.failed || ingest->sealed.failed) {
		refusal_reply(request, WIRE_FAILED, 1000, "out of memory");
		return;
	}
	/* wire_seal() keeps below the limit that net_reply() refuses at. */
	(void)net_reply(request, ingest->sealed.bytes, ingest->sealed.count);
}

void ingest_refuse(struct ingest *ingest, struct net_request *request, enum wire_status status,
        uint32_t retry_ms, const char *text)
{
	if (status == WIRE_MALFORMED)
		INGEST_COUNT(ingest, malformed, 1);
	else if (status == WIRE_TOO_NEW)
		INGEST_COUNT(ingest, too_new, 1);
	else if (status == WIRE_RESET)
		INGEST_COUNT(ingest, resets, 1);
	refusal_reply(request, status, retry_ms, text);
}

/* True when the job joined the group. */
static bool ingest_receive(struct ingest *ingest, const struct job *job, struct push_job *ret_push)
{
	struct wire_message message;
	buf_reset(&ingest->unpacked);
	int r = wire_open(job->bytes, job->count, &ingest->unpacked, &message);
	if (r == -EPROTONOSUPPORT) {
		ingest_refuse(ingest, job->request, WIRE_TOO_NEW, 0,
		        "the message has a newer version: update profleet-aggregator first");
		return false;
	}
	if (r == -ENOMEM) {
		ingest_refuse(ingest, job->request, WIRE_BUSY, 1000, "out of memory");
		return false;
	}
	if (r == -E2BIG) {
		log_warn("message-too-large", "%s: its message would unpack to more than %zu bytes",
		        net_request_peer(job->request), ingest->unpacked.limit);
		ingest_refuse(ingest, job->request, WIRE_MALFORMED, 0,
		        "the message is larger than push-bytes allows");
		return false;
	}
	if (r < 0) {
		log_warn("message-malformed", "%s: not a message of ours, or broken on the way",
		        net_request_peer(job->request));
		ingest_refuse(
		        ingest, job->request, WIRE_MALFORMED, 0, "not a message, or a broken one");
		return false;
	}

	switch (message.kind) {
	case WIRE_HELLO:
		recv_hello(ingest, job->request, &message.payload);
		return false;
	case WIRE_SYMBOLS:
		recv_symbols(ingest, job->request, &message.payload);
		return false;
	case WIRE_PUSH:
		return recv_push(ingest, job->request, &message.payload, ret_push);
	default:
		ingest_refuse(ingest, job->request, WIRE_MALFORMED, 0, "not a request");
		return false;
	}
}

/* The sections of a group that go to the store, and where their statuses go back to. */
struct group {
	struct store_append *appends;
	struct store_append **origins;
	uint32_t count;
};

static void group_fini(struct group *group)
{
	free(group->appends);
	free(group->origins);
}

/* Sections of shards that live elsewhere are answered here and never reach the store. */
static int group_gather(
        struct ingest *ingest, struct push_job *pushes, uint32_t count, struct group *group)
{
	uint32_t room = 0;
	for (uint32_t i = 0; i < count; i++)
		room += pushes[i].sections_count;
	group->appends = calloc(room ? room : 1, sizeof(*group->appends));
	group->origins = calloc(room ? room : 1, sizeof(struct store_append *));
	if (!group->appends || !group->origins)
		return -ENOMEM;

	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t j = 0; j < pushes[i].sections_count; j++) {
			struct store_append *append = &pushes[i].appends[j];
			if (append->stream.shard >= ingest->options.shards) {
				append->ret_status = WIRE_NOT_OWNER;
				append->ret_reason =
				        "not a shard of this aggregator: say HELLO again";
				continue;
			}
			group->appends[group->count] = *append;
			group->origins[group->count++] = append;
		}
	}
	return 0;
}

static void ingest_commit(struct ingest *ingest, struct push_job *pushes, uint32_t count)
{
	__attribute__((cleanup(group_fini))) struct group group = { 0 };
	int r = group_gather(ingest, pushes, count, &group);
	if (r == 0 && group.count > 0) {
		uint64_t before_ns = clock_monotonic_ns(ingest->options.clock);
		r = store_append(ingest->options.store, group.appends, group.count);
		INGEST_COUNT(
		        ingest, commit_ns, clock_monotonic_ns(ingest->options.clock) - before_ns);
		INGEST_COUNT(ingest, groups, 1);
		for (uint32_t i = 0; i < group.count; i++)
			*group.origins[i] = group.appends[i];
	}

	(void)pthread_mutex_lock(&ingest->lock);
	int error_before = ingest->state.store_error;
	ingest->state.store_error = r;
	ingest->state.groups_failed += r < 0;
	(void)pthread_mutex_unlock(&ingest->lock);
	if (r < 0 && r != error_before)
		log_error("append-failed", "%s: nothing of this group was kept, senders try again",
		        r == -ENOMEM ? "out of memory" : store_error(ingest->options.store));
	if (r == 0 && error_before < 0)
		log_info("append-recovered", "the store takes data again");
	if (r == -EIO)
		ingest->options.on_failure(ingest->options.owner);

	for (uint32_t i = 0; i < count; i++)
		recv_push_answer(ingest, &pushes[i], r);
}

static void *ingest_run(void *argument)
{
	struct ingest *ingest = argument;
	struct job jobs[INGEST_GROUP_MAX];
	struct push_job pushes[INGEST_GROUP_MAX];
	uint32_t jobs_count;

	/* A group is a millisecond or two of work, and all its senders wait for it. */
	(void)service_prefer_thread();
	while ((jobs_count = job_queue_take(ingest->queue, jobs, INGEST_GROUP_MAX)) > 0) {
		uint32_t pushes_count = 0;
		size_t memory = 0;
		for (uint32_t i = 0; i < jobs_count; i++) {
			if (ingest_receive(ingest, &jobs[i], &pushes[pushes_count]))
				memory += push_job_memory(&pushes[pushes_count++]);
			free(jobs[i].bytes);
			if (memory > INGEST_GROUP_BYTES_MAX) {
				ingest_commit(ingest, pushes, pushes_count);
				pushes_count = 0;
				memory = 0;
			}
		}
		if (pushes_count > 0)
			ingest_commit(ingest, pushes, pushes_count);
		INGEST_COUNT(ingest, requests, jobs_count);
	}
	return NULL;
}

int ingest_new(struct ingest_options options, struct ingest **ret_ingest)
{
	AUTO(ingest) ingest = calloc(1, sizeof(*ingest));
	if (!ingest)
		return -ENOMEM;
	ingest->options = options;
	/*
	 * A section that alone is larger than was asked for is still taken, up to twice as much:
	 * after a restart with a smaller push_bytes it may be one that was tried before and has to
	 * come again as it was. More than that is a bomb, and is refused before it is unpacked.
	 */
	ingest->unpacked.limit = 2 * (size_t)options.push_bytes;
	if (ingest->unpacked.limit < INGEST_UNPACKED_BYTES_MIN)
		ingest->unpacked.limit = INGEST_UNPACKED_BYTES_MIN;
	(void)pthread_mutex_init(&ingest->lock, NULL);
	ingest->queue = job_queue_new(options.queue_bytes, INGEST_JOBS_MAX);
	ingest->inbox = symbol_inbox_new();
	ingest->sessions = session_table_new((struct session_table_options){
	        .memory_max = options.session_memory,
	        .nodes_max = options.session_nodes,
	});
	if (!ingest->queue || !ingest->inbox || !ingest->sessions)
		return -ENOMEM;

	int r = pthread_create(&ingest->thread, NULL, ingest_run, ingest);
	if (r != 0)
		return -r;
	ingest->started = true;
	*ret_ingest = TAKE(ingest);
	return 0;
}

void ingest_close(struct ingest *ingest)
{
	job_queue_close(ingest->queue);
}

void ingest_stop(struct ingest *ingest)
{
	ingest_close(ingest);
	if (ingest->started)
		(void)pthread_join(ingest->thread, NULL);
	ingest->started = false;
}

void ingest_free(struct ingest *ingest)
{
	if (!ingest)
		return;
	if (ingest->queue)
		ingest_stop(ingest);
	session_table_free(ingest->sessions);
	symbol_inbox_free(ingest->inbox);
	job_queue_free(ingest->queue);
	buf_fini(&ingest->unpacked);
	buf_fini(&ingest->payload);
	buf_fini(&ingest->sealed);
	(void)pthread_mutex_destroy(&ingest->lock);
	free(ingest);
}

int ingest_submit(
        struct ingest *ingest, struct net_request *request, const uint8_t *bytes, size_t count)
{
	return job_queue_add(ingest->queue, request, bytes, count);
}

void ingest_set_bounds(struct ingest *ingest, uint64_t queue_bytes, uint64_t session_memory)
{
	job_queue_set_bytes_max(ingest->queue, queue_bytes);
	session_table_set_memory_max(ingest->sessions, session_memory);
}

struct ingest_state ingest_state(struct ingest *ingest)
{
	struct job_queue_state queue = job_queue_state(ingest->queue);
	struct session_table_state sessions = session_table_state(ingest->sessions);

	(void)pthread_mutex_lock(&ingest->lock);
	struct ingest_state state = ingest->state;
	(void)pthread_mutex_unlock(&ingest->lock);
	state.queue_bytes = queue.bytes;
	state.queue_refused = queue.refused;
	state.sessions = sessions.sessions;
	state.session_memory = sessions.memory;
	state.sessions_dropped = sessions.dropped;
	return state;
}
