/*
 * profleet-aggregator: opens the store, listens, and lets six things run until a signal: ingest
 * (one thread, appends to the store), the sealer (one thread, makes what is old compact), queries
 * (a few threads, read), the keeper (one thread, lets the store forget), administration (a
 * few threads), HTTP (health and metrics).
 *
 * Start: store, workers, doors; then "ready". Stop: doors, workers, store: whatever was accepted is
 * answered before the store closes.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "aggregator/admin.h"
#include "aggregator/config.h"
#include "aggregator/heap.h"
#include "aggregator/ingest.h"
#include "aggregator/keeper.h"
#include "aggregator/memory_budget.h"
#include "aggregator/metrics.h"
#include "aggregator/query_pool.h"
#include "aggregator/refusal.h"
#include "aggregator/restore.h"
#include "aggregator/sealer.h"
#include "aggregator/verify.h"
#include "core/clock.h"
#include "core/http.h"
#include "core/log.h"
#include "core/net.h"
#include "core/service.h"
#include "core/version.h"
#include "profile/wire.h"
#include "storage/store_backup.h"

#define EXIT_USAGE      2
#define EXIT_DISK       71
#define EXIT_DATA       73
#define EXIT_ADDRESS    75
#define BUSY_RETRY_MS   500
#define STOP_TIMEOUT_MS 30000
#define FILES_WANTED    65536
/* An agent's interval, its sending, and a little for clocks that are not quite alike. */
#define SEAL_GRACE_NS  (30 * NS_PER_S)
#define HEADS_EVERY_MS 1000
#define SEAL_LATE_NS   (600 * NS_PER_S)
/* About what one costs in memory, to divide a budget: a node with its part of frames and names, a
 * row that is being sealed, a stack that is being rolled up. */
#define DICT_NODE_BYTES      32
#define SEAL_ROW_BYTES       40
#define ROLL_STACK_BYTES     64
#define GENERATION_NODES_MIN (1u << 20)

#define PROGRAM "profleet-aggregator " PROFLEET_VERSION

struct aggregator {
	struct aggregator_config config;
	struct memory_budget budget;
	struct store *store;
	struct ingest *ingest;
	struct query_pool *queries;
	struct sealer *sealer;
	struct keeper *keeper;
	struct admin *admin;
	char backups[4096]; /* the folder of backups */
	struct retention_limits limits;
	struct net_server *server;
	struct http_server *http;
	struct metrics_source metrics;
	bool disk_failed; /* set by ingest's thread: nothing more may be acknowledged */
};

static void aggregator_on_request(
        void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	struct aggregator *aggregator = owner;
	uint16_t kind = wire_peek_kind(bytes, count);
	bool is_question = kind == WIRE_QUERY || kind == WIRE_FETCH;

	int r = is_question          ? query_pool_submit(aggregator->queries, request, bytes, count)
	        : kind == WIRE_ADMIN ? admin_submit(aggregator->admin, request, bytes, count)
	                             : ingest_submit(aggregator->ingest, request, bytes, count);
	if (r < 0)
		refusal_reply(request, WIRE_BUSY, BUSY_RETRY_MS,
		        r == -ENOMEM ? "the aggregator is out of memory"
		                     : "the aggregator has more requests than it can take");
}

static void aggregator_on_failure(void *owner)
{
	struct aggregator *aggregator = owner;
	__atomic_store_n(&aggregator->disk_failed, true, __ATOMIC_RELAXED);
	/* The signal wakes the main thread, which stops as if it had been asked to. */
	(void)kill(getpid(), SIGTERM);
}

static void aggregator_on_symbols(void *owner, const char *build_id)
{
	struct aggregator *aggregator = owner;
	query_pool_symbols(aggregator->queries, build_id);
}

static void aggregator_status(void *owner, struct buf *to)
{
	metrics_write_json(&((struct aggregator *)owner)->metrics, to);
}

static void answer_metrics(
        void *owner, const uint8_t *body, size_t count, struct http_answer *answer)
{
	(void)body;
	(void)count;
	answer->content_type = "text/plain; version=0.0.4";
	metrics_write_text(&((struct aggregator *)owner)->metrics, &answer->body);
}

static void answer_health(
        void *owner, const uint8_t *body, size_t count, struct http_answer *answer)
{
	(void)body;
	(void)count;
	char unhealthy[METRICS_HEALTH_BYTES];
	bool is_healthy = metrics_is_healthy(
	        &((struct aggregator *)owner)->metrics, unhealthy, sizeof(unhealthy));
	answer->content_type = "text/plain";
	answer->status = is_healthy ? 200 : 503;
	if (!is_healthy) {
		buf_printf(&answer->body, "%s\n", unhealthy);
		return;
	}
	/* Damage of the past is no reason to send new data elsewhere. */
	char remark[METRICS_REMARK_BYTES];
	metrics_remark(&((struct aggregator *)owner)->metrics, remark);
	buf_printf(&answer->body, "ok%s\n", remark);
}

static const struct http_route aggregator_routes[] = {
	{ .method = "GET", .path = "/metrics", .handle = answer_metrics },
	{ .method = "GET", .path = "/healthz", .handle = answer_health },
	{ .method = "GET", .path = "/readyz", .handle = answer_health },
	{ 0 },
};

/* A connection per agent and CLI: the usual 1024 files are too few for a fleet. */
static void raise_files_limit(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max < FILES_WANTED ? files.rlim_max : FILES_WANTED;
	(void)setrlimit(
	        RLIMIT_NOFILE, &files); /* Fewer connections are then possible, nothing else. */
}

/*
 * What the newest generation may take. One that is too small for what is alive at a time costs more
 * than it saves: the next learns everything again while the older is still needed.
 */
static uint32_t generation_nodes(
        const struct aggregator_config *config, const struct memory_budget *budget)
{
	uint64_t nodes = budget->dictionary / DICT_NODE_BYTES;
	nodes = nodes > config->generation_stacks ? config->generation_stacks : nodes;
	return (uint32_t)(nodes < GENERATION_NODES_MIN ? GENERATION_NODES_MIN : nodes);
}

static int aggregator_open_store(struct aggregator *aggregator)
{
	const struct aggregator_config *config = &aggregator->config;
	const struct memory_budget *budget = &aggregator->budget;
	struct store_options options = {
		.path = config->data,
		.limits = config_dict_limits(config),
		.block_cache_bytes = budget->block_cache,
		.symbols_cache_bytes = budget->symbols,
		.names_memory_max = budget->old_dictionaries,
		.write_buffers_bytes = budget->write_buffers,
		.seal_rows_max = budget->sealing / SEAL_ROW_BYTES,
		.roll_stacks_max = budget->sealing / ROLL_STACK_BYTES,
		.head_bytes_max = config->seal_size,
		.head_sums_bytes_max = budget->open_sums,
		.late_ns = SEAL_LATE_NS,
		.fold_below = { config->fold_hour, config->fold_day },
		.collapse_after_ns = config->collapse_after_ns,
		.generation_ns = config->generation_age,
		.generation_nodes = generation_nodes(config, budget),
		.service_stacks_max = config->service_stacks,
		.late_max_ns = config->late_max,
	};
	char error[512] = "";
	if (store_backup_is_in(config->data)) {
		log_error("store-unusable",
		        "%s belongs to a backup, which would not be what was backed up any more: "
		        "make a store of it with --restore BACKUP --data DIR, and start that",
		        config->data);
		return -EINVAL;
	}
	int r = store_open(options, &aggregator->store, error, sizeof(error));
	if (r < 0)
		log_error("store-unusable", "%s", error);
	return r;
}

/* Retention, and the door to it. */
static int aggregator_open_keeper(struct aggregator *aggregator)
{
	const struct aggregator_config *config = &aggregator->config;
	char error[512] = "";
	int r = keeper_new(
	        (struct keeper_options){
	                .store = aggregator->store,
	                .clock = clock_real(),
	                .data = config->data,
	                .limits = aggregator->limits,
	                .every_ns = config->retention_every_ns,
	                .grace_ns = config->retention_grace_ns,
	                .delay_ns = config->retention_delay_ns,
	        },
	        &aggregator->keeper, error, sizeof(error));
	if (r < 0) {
		log_error("retention-unusable", "%s", error);
		return r;
	}
	if (config->backup_path)
		snprintf(aggregator->backups, sizeof(aggregator->backups), "%s",
		        config->backup_path);
	else
		snprintf(aggregator->backups, sizeof(aggregator->backups), "%s/backups",
		        config->data);
	r = keeper_start(aggregator->keeper);
	if (r == 0)
		r = admin_new(
		        (struct admin_options){
		                .store = aggregator->store,
		                .keeper = aggregator->keeper,
		                .from = (enum admin_from)config->admin,
		                .backups = aggregator->backups,
		                .limits = config_dict_limits(config),
		        },
		        &aggregator->admin);
	return r;
}

static int aggregator_open_workers(struct aggregator *aggregator)
{
	const struct aggregator_config *config = &aggregator->config;
	int r = ingest_new(
	        (struct ingest_options){
	                .store = aggregator->store,
	                .clock = clock_real(),
	                .program = PROGRAM,
	                .queue_bytes = aggregator->budget.ingest_queue,
	                .session_memory = aggregator->budget.sessions,
	                .session_nodes = config->session_nodes,
	                .push_bytes = config->push_bytes,
	                .shards = config->shards,
	                .on_failure = aggregator_on_failure,
	                .on_symbols = aggregator_on_symbols,
	                .owner = aggregator,
	        },
	        &aggregator->ingest);
	if (r == 0)
		r = query_pool_new(
		        (struct query_pool_options){
		                .store = aggregator->store,
		                .clock = clock_real(),
		                .threads = config->query_threads,
		                .query_memory = aggregator->budget.query,
		                .result_memory = aggregator->budget.results,
		                .name_memory = aggregator->budget.names,
		                .status = aggregator_status,
		                .owner = aggregator,
		        },
		        &aggregator->queries);
	if (r == 0)
		r = sealer_new(
		        (struct sealer_options){
		                .store = aggregator->store,
		                .clock = clock_real(),
		                .grace_ns = SEAL_GRACE_NS,
		                .roll_grace_ns = config->roll_grace_ns,
		                .every_ms = (uint32_t)(config->seal_every_ns / NS_PER_MS),
		                .heads_every_ms = HEADS_EVERY_MS,
		                .idle_bytes_max = aggregator->budget.idle_heap,
		        },
		        &aggregator->sealer);
	if (r == 0)
		r = aggregator_open_keeper(aggregator);
	if (r < 0)
		log_error("workers-failed", "%s: give the process more memory or threads",
		        strerror(-r));

	aggregator->metrics = (struct metrics_source){
		.store = aggregator->store,
		.ingest = aggregator->ingest,
		.queries = aggregator->queries,
		.keeper = aggregator->keeper,
		.admin = aggregator->admin,
		.sealer = aggregator->sealer,
		.clock = clock_real(),
		.started_ns = clock_monotonic_ns(clock_real()),
		.program = PROGRAM,
		.data = config->data,
	};
	return r;
}

static void log_listen_failure(const char *option, const char *address, int r)
{
	log_error("listen-failed", "--%s %s: %s%s", option, address, strerror(-r),
	        r == -EADDRINUSE
	                ? ": another process listens there; choose another port, or 0 for a "
	                  "free one"
	                : "");
}

static int aggregator_open_doors(struct aggregator *aggregator)
{
	const struct aggregator_config *config = &aggregator->config;
	if (strcmp(config->http, "off") != 0) {
		int r = http_server_open(
		        config->http, aggregator_routes, aggregator, &aggregator->http);
		if (r < 0) {
			log_listen_failure("http", config->http, r);
			return r;
		}
	}
	/* The threads of the network only hand over what others do, before and behind them. */
	bool is_preferred = service_prefer_thread() == 0;
	int r = net_server_open(
	        (struct net_server_options){
	                .listen = config->listen,
	                .on_request = aggregator_on_request,
	                .owner = aggregator,
	        },
	        &aggregator->server);
	if (is_preferred)
		service_prefer_thread_no_more();
	if (r < 0)
		log_listen_failure("listen", config->listen, r);
	return r;
}

static void aggregator_close(struct aggregator *aggregator)
{
	if (aggregator->server)
		net_server_close(aggregator->server);
	if (aggregator->ingest)
		ingest_stop(aggregator->ingest);
	if (aggregator->queries)
		query_pool_stop(aggregator->queries);
	if (aggregator->admin)
		admin_stop(aggregator->admin);
	if (aggregator->server)
		net_server_free(aggregator->server, STOP_TIMEOUT_MS);
	http_server_free(aggregator->http);
	query_pool_free(aggregator->queries);
	ingest_free(aggregator->ingest);
	admin_free(aggregator->admin);
	sealer_free(aggregator->sealer);
	keeper_free(aggregator->keeper);
	store_free(aggregator->store);
	retention_limits_fini(&aggregator->limits);
}

/* SIGHUP: what the file says now, for the options that may change; the command line still wins. */
static void aggregator_reload(struct aggregator *aggregator, int argc, char **argv)
{
	struct aggregator_config *config = &aggregator->config;
	struct memory_budget budget;
	if (!config->config) {
		log_info("reload-nothing", "no --config was given: nothing to read again");
		return;
	}
	char error[512] = "";
	if (options_reload(&aggregator_option_table, config->config, argc, argv, config, error,
	            sizeof(error)) < 0) {
		log_error("reload-failed", "%s: everything stays as it was", error);
		return;
	}
	log_set_level((enum log_level)config->log_level);
	/* What is not reloadable keeps its part until the restart. */
	if (memory_budget_divide(config, &budget, error, sizeof(error)) < 0) {
		log_error("reload-memory", "%s: bounds of memory stay as they were", error);
		budget = aggregator->budget;
	}
	aggregator->budget = budget;
	ingest_set_bounds(aggregator->ingest, budget.ingest_queue, budget.sessions);
	query_pool_set_bounds(aggregator->queries, budget.query, budget.results);
	query_pool_set_name_memory(aggregator->queries, budget.names);
	log_info("reloaded", "%s", config->config);
}

static int aggregator_run(struct aggregator *aggregator, int argc, char **argv)
{
	heap_set_idle(aggregator->budget.idle_heap);
	if (aggregator_open_store(aggregator) < 0)
		return EXIT_DATA;
	if (aggregator_open_workers(aggregator) < 0)
		return EXIT_DISK;
	if (aggregator_open_doors(aggregator) < 0)
		return EXIT_ADDRESS;

	char status[256];
	snprintf(status, sizeof(status), "%s%s%s", net_server_address(aggregator->server),
	        aggregator->http ? " http://" : "",
	        aggregator->http ? http_server_address(aggregator->http) : "");
	log_info("listening", "%s, data in %s", status, aggregator->config.data);
	service_ready(
	        aggregator->config.ready_fd > 0 ? (int)aggregator->config.ready_fd : -1, status);

	enum service_event event;
	while ((event = service_wait(-1)) != SERVICE_STOP)
		if (event == SERVICE_RELOAD)
			aggregator_reload(aggregator, argc, argv);

	service_stopping();
	bool failed = __atomic_load_n(&aggregator->disk_failed, __ATOMIC_RELAXED);
	log_info("stopping", failed ? "the disk failed to sync: restart after it was looked at"
	                            : "answering what was accepted");
	return failed ? EXIT_DISK : 0;
}

static bool aggregator_read_limits(struct aggregator *aggregator)
{
	const struct aggregator_config *config = &aggregator->config;
	char error[256] = "";
	int r = retention_limits_parse(config->retention_floor, config->retention_ceiling,
	        &aggregator->limits, error, sizeof(error));
	if (r < 0)
		fprintf(stderr, "profleet-aggregator: --retention-%s\n",
		        r == -EINVAL ? error : "floor, ceiling: out of memory");
	return r == 0;
}

/* 0, an exit status, or -1 when everything asked for was printed already. */
static int aggregator_configure(struct aggregator *aggregator, int argc, char **argv)
{
	struct aggregator_config *config = &aggregator->config;
	char error[512];
	struct option_args args;
	switch (options_load(&aggregator_option_table, argc, argv, config, &args)) {
	case OPTIONS_HELP:
		return -1;
	case OPTIONS_BAD:
		return EXIT_USAGE;
	case OPTIONS_OK:
		break;
	}
	if (!*config->data) {
		fprintf(stderr, "profleet-aggregator: --data is empty; write --data DIR\n");
		return EXIT_USAGE;
	}
	if (!net_address_is_valid(config->listen)) {
		fprintf(stderr,
		        "profleet-aggregator: --listen %s: not an address; write "
		        "tcp://127.0.0.1:7470\n",
		        config->listen);
		return EXIT_USAGE;
	}
	if (strcmp(config->http, "off") != 0 && !http_address_is_valid(config->http)) {
		fprintf(stderr,
		        "profleet-aggregator: --http %s: not an address; write 127.0.0.1:7471, or "
		        "off\n",
		        config->http);
		return EXIT_USAGE;
	}
	if (!aggregator_read_limits(aggregator))
		return EXIT_USAGE;
	if (config->ready_fd > 0 && !service_fd_is_open((int)config->ready_fd)) {
		fprintf(stderr,
		        "profleet-aggregator: --ready-fd %u: not an open file descriptor; open it "
		        "for the aggregator, as in: profleet-aggregator --ready-fd 3 3>ready\n",
		        config->ready_fd);
		return EXIT_USAGE;
	}
	if (memory_budget_divide(config, &aggregator->budget, error, sizeof(error)) < 0) {
		fprintf(stderr, "profleet-aggregator: %s\n", error);
		return EXIT_USAGE;
	}
	if (config->check_config) {
		printf("configuration ok\n");
		return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct aggregator aggregator = { 0 };
	heap_begin();
	int status = aggregator_configure(&aggregator, argc, argv);
	if (status == 0 && (aggregator.config.verify || aggregator.config.restore)) {
		status = aggregator.config.verify ? verify_store(&aggregator.config)
		                                  : restore_store(&aggregator.config);
		options_fini(&aggregator_option_table, &aggregator.config);
		return status;
	}
	if (status == 0 && service_init() < 0)
		status = EXIT_DISK;
	if (status == 0) {
		log_setup("profleet-aggregator", (enum log_level)aggregator.config.log_level,
		        (enum log_format)aggregator.config.log_format);
		raise_files_limit();
		status = aggregator_run(&aggregator, argc, argv);
		aggregator_close(&aggregator);
		log_info("stopped", "exit status %d", status);
	}
	options_fini(&aggregator_option_table, &aggregator.config);
	return status < 0 ? 0 : status;
}
