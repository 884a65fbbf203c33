/* The threads, and the messages they answer: QUERY (recv_query) and FETCH (recv_fetch). */

#include "aggregator/query_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/answer_build.h"
#include "aggregator/answer_fold.h"
#include "aggregator/answer_timeline.h"
#include "aggregator/inspect.h"
#include "aggregator/job_queue.h"
#include "aggregator/refusal.h"
#include "aggregator/result_cache.h"
#include "core/log.h"
#include "core/options.h"
#include "profile/naming.h"

#define QUERY_JOBS_MAX      256
#define QUERY_JOB_BYTES_MAX (16u << 20)
#define QUERY_THREADS_MAX   64
/* Two selectors and a label; they are texts of at most 4 KiB each. */
#define QUERY_UNPACKED_BYTES_MAX (64u << 10)
#define QUERY_PAGE_BYTES         (2u << 20) /* incompressible and in its envelope still below the limit */
#define QUERY_PROGRESS_BYTES_MAX 256        /* of a question about a question */
#define QUERY_ERROR_BYTES        512
#define QUERY_BUSY_RETRY_MS      200

/* One that is being answered; on the stack of its thread. */
struct question {
	struct net_request *request;
	uint64_t ticket;
	uint64_t read_ns; /* atomic */
	uint64_t total_ns;
	const bool *cancelled;
};

struct query_pool {
	struct query_pool_options options;
	struct job_queue *queue;
	struct result_cache *results;
	struct named_stacks *stacks;
	pthread_t threads[QUERY_THREADS_MAX];
	uint32_t threads_count;
	pthread_mutex_t lock; /* of options' bounds and what follows */
	struct query_pool_state state;
	struct question *running[QUERY_THREADS_MAX]; /* the first state.running */
	bool stopping;
};

#define QUERY_COUNT(pool, member, n)                                                               \
	do {                                                                                       \
		(void)pthread_mutex_lock(&(pool)->lock);                                           \
		(pool)->state.member += (n);                                                       \
		(void)pthread_mutex_unlock(&(pool)->lock);                                         \
	} while (0)

static void query_refuse(struct query_pool *pool, struct net_request *request,
        enum wire_status status, const char *text)
{
	QUERY_COUNT(pool, refused, 1);
	refusal_reply(request, status, status == WIRE_BUSY ? QUERY_BUSY_RETRY_MS : 0, text);
}

/* Only at the end of the pool is somebody there to read this. */
static void query_drop(struct query_pool *pool, struct net_request *request)
{
	QUERY_COUNT(pool, cancelled, 1);
	refusal_reply(request, WIRE_BUSY, QUERY_BUSY_RETRY_MS, "the aggregator stops");
}

static bool query_is_cancelled(const struct net_request *request)
{
	return __atomic_load_n(net_request_cancelled(request), __ATOMIC_RELAXED);
}

/* From here to query_end() the end of the pool is the end of the question too. */
static void query_begin(struct query_pool *pool, struct question *question)
{
	(void)pthread_mutex_lock(&pool->lock);
	pool->running[pool->state.running++] = question;
	if (pool->stopping)
		net_request_cancel(question->request);
	(void)pthread_mutex_unlock(&pool->lock);
}

/* Before the reply: the request is somebody else's then. */
static void query_end(struct query_pool *pool, struct question *question, uint64_t spent_ns)
{
	(void)pthread_mutex_lock(&pool->lock);
	uint32_t i = 0;
	while (pool->running[i] != question)
		i++;
	pool->running[i] = pool->running[--pool->state.running];
	pool->state.query_ns += spent_ns;
	(void)pthread_mutex_unlock(&pool->lock);
}

static void query_reply_page(
        struct query_pool *pool, struct net_request *request, const struct wire_page *page)
{
	AUTO_BUF payload = { 0 };
	AUTO_BUF sealed = { 0 };
	wire_put_page(page, &payload);
	wire_seal(WIRE_PAGE, &payload, &sealed);
	if (payload.failed || sealed.failed) {
		query_refuse(pool, request, WIRE_FAILED, "out of memory");
		return;
	}
	QUERY_COUNT(pool, answered, 1);
	/* wire_seal() keeps below the limit that net_reply() refuses at. */
	(void)net_reply(request, sealed.bytes, sealed.count);
}

static enum wire_status status_of_error(int r)
{
	switch (r) {
	case -EINVAL:
		return WIRE_INVALID;
	case -E2BIG:
	case -ENOBUFS:
	case -ENOSPC:
		return WIRE_TOO_BIG;
	default:
		return WIRE_FAILED;
	}
}

static int ask_profile(struct query_pool *pool, const struct wire_query *query,
        struct question *question, struct buf *to, char *ret_error)
{
	(void)pthread_mutex_lock(&pool->lock);
	struct answer_build_options options = {
		.memory_max = pool->options.query_memory,
		.cancelled = question->cancelled,
		.read_ns = &question->read_ns,
	};
	(void)pthread_mutex_unlock(&pool->lock);

	if (query->question == WIRE_ASK_TIMELINE)
		return answer_timeline(pool->options.store, pool->stacks, query, &options, to,
		        ret_error, QUERY_ERROR_BYTES);
	AUTO(answer) answer = NULL;
	int r = query->question == WIRE_ASK_PROFILE
	                ? answer_build(pool->options.store, query, &options, &answer, ret_error,
	                          QUERY_ERROR_BYTES)
	                : answer_fold(pool->options.store, pool->stacks, query, &options, &answer,
	                          ret_error, QUERY_ERROR_BYTES);
	if (r == 0) {
		to->limit = options.memory_max;
		answer_encode(answer, to);
		if (to->failed)
			r = -E2BIG;
	}
	if (r == -E2BIG || r == -ENOSPC) {
		char bound[OPTION_NUMBER_BYTES_MAX];
		snprintf(ret_error, QUERY_ERROR_BYTES,
		        "the question needs more memory than the aggregator's query-memory (%s): "
		        "raise it",
		        option_format_bytes(options.memory_max, bound));
	}
	return r;
}

static bool query_reads_profiles(const struct wire_query *query)
{
	return query->question == WIRE_ASK_PROFILE || query->question == WIRE_ASK_FUNCTIONS ||
	       query->question == WIRE_ASK_TREE || query->question == WIRE_ASK_TIMELINE;
}

/* Everything the text of a question can get wrong is said here, before any work. */
static int query_check(const struct wire_query *query, char *ret_error)
{
	bool about_profiles = query_reads_profiles(query);
	if (about_profiles && (query->level < NAMING_FUNCTION || query->level > NAMING_ADDRESS)) {
		snprintf(ret_error, QUERY_ERROR_BYTES, "level %u: 1 (function) or 2 (address)",
		        query->level);
		return -EINVAL;
	}
	if (about_profiles &&
	        (query->group < WIRE_GROUP_TYPE || query->group > WIRE_GROUP_LABELS)) {
		snprintf(ret_error, QUERY_ERROR_BYTES,
		        "group %u: 1 (type), 2 (series), 3 (instance) or 4 (labels)", query->group);
		return -EINVAL;
	}
	/* Whoever wants every series apart wants whole stacks. */
	if (about_profiles && query->question != WIRE_ASK_PROFILE &&
	        (query->group == WIRE_GROUP_SERIES || query->level != NAMING_FUNCTION)) {
		snprintf(ret_error, QUERY_ERROR_BYTES,
		        "question %u is answered at level 1, and not by series", query->question);
		return -EINVAL;
	}
	if (query->question == WIRE_ASK_TIMELINE && query->step_ns == 0) {
		snprintf(ret_error, QUERY_ERROR_BYTES, "a timeline without a step");
		return -EINVAL;
	}
	bool has_sides = query->question <= WIRE_ASK_LABELS || about_profiles;
	if (has_sides && query->sides_count == 0) {
		snprintf(ret_error, QUERY_ERROR_BYTES, "a question about no side: give a selector");
		return -EINVAL;
	}
	for (uint32_t i = 0; has_sides && i < query->sides_count; i++) {
		if (query->sides[i].from_ns >= query->sides[i].to_ns) {
			snprintf(ret_error, QUERY_ERROR_BYTES,
			        "the time range is empty: --from must lie before --to");
			return -EINVAL;
		}
	}
	return 0;
}

static int query_answer(struct query_pool *pool, const struct wire_query *query,
        struct question *question, struct buf *to, char *ret_error)
{
	struct store *store = pool->options.store;
	int r = query_check(query, ret_error);
	if (r < 0)
		return r;

	switch (query->question) {
	case WIRE_ASK_PROFILE:
	case WIRE_ASK_FUNCTIONS:
	case WIRE_ASK_TREE:
	case WIRE_ASK_TIMELINE:
		return ask_profile(pool, query, question, to, ret_error);
	case WIRE_ASK_SERIES:
		return inspect_series(
		        store, query, question->cancelled, to, ret_error, QUERY_ERROR_BYTES);
	case WIRE_ASK_LABELS:
		return inspect_labels(
		        store, query, question->cancelled, to, ret_error, QUERY_ERROR_BYTES);
	case WIRE_ASK_AGENTS:
		return inspect_agents(store, pool->options.clock, to, ret_error, QUERY_ERROR_BYTES);
	case WIRE_ASK_STATUS:
		pool->options.status(pool->options.owner, to);
		return 0;
	default:
		snprintf(ret_error, QUERY_ERROR_BYTES, "question %u: update profleet-aggregator",
		        query->question);
		return -EINVAL;
	}
}

/* The first page goes out at once; the rest waits to be fetched. */
static void query_reply_first(
        struct query_pool *pool, struct net_request *request, struct buf *answer)
{
	struct wire_page page = {
		.total_bytes = answer->count,
		.bytes = answer->bytes,
		.count = (uint32_t)answer->count,
	};
	if (answer->count <= QUERY_PAGE_BYTES) {
		query_reply_page(pool, request, &page);
		return;
	}

	AUTO_BUF first = { 0 };
	buf_put(&first, answer->bytes, QUERY_PAGE_BYTES);
	int r = first.failed ? -ENOMEM : result_cache_add(pool->results, answer, &page.query);
	if (r < 0) {
		query_refuse(pool, request, r == -E2BIG ? WIRE_TOO_BIG : WIRE_FAILED,
		        r == -E2BIG ? "the answer is larger than result-memory: narrow the question"
		                    : "out of memory");
		return;
	}
	page.bytes = first.bytes;
	page.count = (uint32_t)first.count;
	query_reply_page(pool, request, &page);
}

/* Of the questions that read ranges, and say how much of them they have read. */
static uint64_t query_total_ns(const struct wire_query *query)
{
	uint64_t total_ns = 0;
	if (!query_reads_profiles(query))
		return 0;
	for (uint32_t i = 0; i < query->sides_count; i++) {
		const struct wire_query_side *side = &query->sides[i];
		if (side->from_ns < side->to_ns &&
		        __builtin_add_overflow(total_ns, side->to_ns - side->from_ns, &total_ns))
			return UINT64_MAX;
	}
	return total_ns;
}

static struct wire_progress query_progress(struct query_pool *pool, uint64_t ticket)
{
	struct wire_progress progress = { 0 };
	(void)pthread_mutex_lock(&pool->lock);
	for (uint32_t i = 0; i < pool->state.running; i++) {
		const struct question *question = pool->running[i];
		if (ticket == 0 || question->ticket != ticket)
			continue;
		progress.total_ns = question->total_ns;
		progress.done_ns = __atomic_load_n(&question->read_ns, __ATOMIC_RELAXED);
		if (progress.done_ns > progress.total_ns)
			progress.done_ns = progress.total_ns;
	}
	(void)pthread_mutex_unlock(&pool->lock);
	return progress;
}

/* Whether these bytes were a question about another question, which is answered then. */
static bool recv_progress(
        struct query_pool *pool, struct net_request *request, const uint8_t *bytes, size_t count)
{
	AUTO_BUF unpacked = { .limit = QUERY_PROGRESS_BYTES_MAX };
	AUTO_BUF answer = { 0 };
	struct wire_message message;
	struct wire_query query;
	if (count > QUERY_PROGRESS_BYTES_MAX || wire_open(bytes, count, &unpacked, &message) < 0 ||
	        message.kind != WIRE_QUERY || wire_get_query(&message.payload, &query) < 0 ||
	        query.question != WIRE_ASK_PROGRESS)
		return false;
	wire_put_progress(query_progress(pool, query.ticket), &answer);
	query_reply_first(pool, request, &answer);
	return true;
}

static void recv_query(struct query_pool *pool, struct net_request *request, struct reader *payload)
{
	struct wire_query query;
	int r = wire_get_query(payload, &query);
	if (r < 0) {
		query_refuse(pool, request, r == -EPROTONOSUPPORT ? WIRE_TOO_NEW : WIRE_MALFORMED,
		        "QUERY: not an encoding this aggregator knows");
		return;
	}

	char error[QUERY_ERROR_BYTES] = "";
	AUTO_BUF answer = { 0 };
	uint64_t before_ns = clock_monotonic_ns(pool->options.clock);
	struct question question = {
		.request = request,
		.ticket = query.ticket,
		.total_ns = query_total_ns(&query),
		.cancelled = net_request_cancelled(request),
	};
	query_begin(pool, &question);
	r = query_answer(pool, &query, &question, &answer, error);
	query_end(pool, &question, clock_monotonic_ns(pool->options.clock) - before_ns);
	/* An answer that came all the same is not kept for somebody who will not fetch it. */
	if (query_is_cancelled(request)) {
		query_drop(pool, request);
		return;
	}
	if (r == 0 && answer.failed) {
		r = -ENOMEM;
		snprintf(error, sizeof(error), "out of memory: narrow the question");
	}
	if (r < 0) {
		if (status_of_error(r) == WIRE_FAILED)
			log_error("query-failed", "%s", error);
		query_refuse(pool, request, status_of_error(r), error);
		return;
	}
	query_reply_first(pool, request, &answer);
}

static void recv_fetch(struct query_pool *pool, struct net_request *request, struct reader *payload)
{
	struct wire_fetch fetch;
	if (wire_get_fetch(payload, &fetch) < 0) {
		query_refuse(pool, request, WIRE_MALFORMED, "FETCH: not an encoding");
		return;
	}

	AUTO_BUF bytes = { 0 };
	struct wire_page page = { .query = fetch.query, .offset = fetch.offset };
	int r = result_cache_read(pool->results, fetch.query, fetch.offset, QUERY_PAGE_BYTES,
	        &bytes, &page.total_bytes);
	if (r < 0) {
		query_refuse(pool, request, r == -ENOMEM ? WIRE_FAILED : WIRE_NOT_FOUND,
		        r == -ENOMEM ? "out of memory" : "this answer is gone: ask again");
		return;
	}
	page.bytes = bytes.bytes;
	page.count = (uint32_t)bytes.count;
	query_reply_page(pool, request, &page);
}

static void query_receive(struct query_pool *pool, const struct job *job)
{
	if (query_is_cancelled(job->request)) {
		query_drop(pool, job->request);
		return;
	}
	AUTO_BUF unpacked = { .limit = QUERY_UNPACKED_BYTES_MAX };
	struct wire_message message;
	int r = wire_open(job->bytes, job->count, &unpacked, &message);
	if (r < 0)
		query_refuse(pool, job->request,
		        r == -EPROTONOSUPPORT ? WIRE_TOO_NEW : WIRE_MALFORMED,
		        "not a message this aggregator understands");
	else if (message.kind == WIRE_QUERY)
		recv_query(pool, job->request, &message.payload);
	else if (message.kind == WIRE_FETCH)
		recv_fetch(pool, job->request, &message.payload);
	else
		query_refuse(pool, job->request, WIRE_MALFORMED, "not a question");
}

static void *query_run(void *argument)
{
	struct query_pool *pool = argument;
	struct job job;
	while (job_queue_take(pool->queue, &job, 1) > 0) {
		query_receive(pool, &job);
		free(job.bytes);
	}
	return NULL;
}

int query_pool_new(struct query_pool_options options, struct query_pool **ret_pool)
{
	AUTO(query_pool) pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pool->options = options;
	(void)pthread_mutex_init(&pool->lock, NULL);
	pool->queue = job_queue_new(QUERY_JOB_BYTES_MAX, QUERY_JOBS_MAX);
	pool->results = result_cache_new(options.result_memory);
	pool->stacks = named_stacks_new(options.name_memory);
	if (!pool->queue || !pool->results || !pool->stacks)
		return -ENOMEM;

	while (pool->threads_count < options.threads && pool->threads_count < QUERY_THREADS_MAX) {
		int r = pthread_create(&pool->threads[pool->threads_count], NULL, query_run, pool);
		if (r != 0)
			return -r;
		pool->threads_count++;
	}
	*ret_pool = TAKE(pool);
	return 0;
}

void query_pool_stop(struct query_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	for (uint32_t i = 0; i < pool->state.running; i++)
		net_request_cancel(pool->running[i]->request);
	(void)pthread_mutex_unlock(&pool->lock);
	job_queue_close(pool->queue);
	while (pool->threads_count > 0)
		(void)pthread_join(pool->threads[--pool->threads_count], NULL);
}

void query_pool_free(struct query_pool *pool)
{
	if (!pool)
		return;
	if (pool->queue)
		query_pool_stop(pool);
	job_queue_free(pool->queue);
	result_cache_free(pool->results);
	named_stacks_free(pool->stacks);
	(void)pthread_mutex_destroy(&pool->lock);
	free(pool);
}

int query_pool_submit(
        struct query_pool *pool, struct net_request *request, const uint8_t *bytes, size_t count)
{
	if (recv_progress(pool, request, bytes, count))
		return 0;
	return job_queue_add(pool->queue, request, bytes, count);
}

void query_pool_set_bounds(struct query_pool *pool, uint64_t query_memory, uint64_t result_memory)
{
	(void)pthread_mutex_lock(&pool->lock);
	pool->options.query_memory = query_memory;
	(void)pthread_mutex_unlock(&pool->lock);
	result_cache_set_bytes_max(pool->results, result_memory);
}

void query_pool_set_name_memory(struct query_pool *pool, uint64_t name_memory)
{
	named_stacks_set_memory_max(pool->stacks, name_memory);
}

void query_pool_symbols(struct query_pool *pool, const char *build_id)
{
	named_stacks_symbols(pool->stacks, build_id);
}

struct query_pool_state query_pool_state(struct query_pool *pool)
{
	struct result_cache_state results = result_cache_state(pool->results);
	(void)pthread_mutex_lock(&pool->lock);
	struct query_pool_state state = pool->state;
	(void)pthread_mutex_unlock(&pool->lock);
	struct named_stacks_state names = named_stacks_state(pool->stacks);
	state.results = results.results;
	state.name_bytes = names.memory;
	state.name_stacks = names.stacks;
	state.names_dropped = names.dropped;
	state.names_renewed = names.renamed;
	state.result_bytes = results.bytes;
	state.results_dropped = results.dropped;
	state.waiting = job_queue_state(pool->queue).jobs;
	return state;
}
