/*
 * One table of numbers feeds both forms. A snapshot of every part is taken first, so that the
 * numbers of one page belong together.
 */

#include "aggregator/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "core/json.h"
#include "profile/loss.h"

struct metrics_snapshot {
	struct ingest_state ingest;
	struct query_pool_state queries;
	struct sealer_state sealer;
	struct admin_state admin;
	struct store_counters counters;
	struct store_size size;
	uint64_t uptime_ns;
	uint64_t disk_free_bytes;
	uint64_t disk_total_bytes;
};

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_SECONDS_COUNTER };

struct metric {
	const char *name; /* "profleet_" stands before it in Prometheus' form */
	enum metric_type type;
	size_t offset; /* of a uint64_t in the snapshot */
	const char *help;
};

#define AT(member) offsetof(struct metrics_snapshot, member)

static const struct metric metrics[] = {
	{ "uptime_seconds", METRIC_SECONDS_COUNTER, AT(uptime_ns),
	        "Time since the aggregator started." },
	{ "requests_total", METRIC_COUNTER, AT(ingest.requests),
	        "HELLO, PUSH and SYMBOLS answered." },
	{ "messages_refused_total", METRIC_COUNTER, AT(ingest.malformed),
	        "Messages that made no sense: broken, truncated, or not ours." },
	{ "messages_too_new_total", METRIC_COUNTER, AT(ingest.too_new),
	        "Messages of a newer version." },
	{ "sections_stored_total", METRIC_COUNTER, AT(ingest.sections_ok),
	        "Sections made durable." },
	{ "sections_duplicate_total", METRIC_COUNTER, AT(ingest.sections_duplicate),
	        "Sections that were durable already." },
	{ "sections_rejected_total", METRIC_COUNTER, AT(ingest.sections_rejected),
	        "Sections that can never be accepted; their senders count them as lost." },
	{ "sections_busy_total", METRIC_COUNTER, AT(ingest.sections_busy),
	        "Sections not taken now; their senders try again." },
	{ "rows_stored_total", METRIC_COUNTER, AT(ingest.rows),
	        "Rows made durable since the start." },
	{ "group_commits_total", METRIC_COUNTER, AT(ingest.groups), "Synced writes." },
	{ "group_commit_failures_total", METRIC_COUNTER, AT(ingest.groups_failed),
	        "Of them those that failed: nothing of them was kept, senders try again." },
	{ "seal_failures_total", METRIC_COUNTER, AT(sealer.seal_failures),
	        "Turns in which windows could not be sealed; they are tried again." },
	{ "roll_failures_total", METRIC_COUNTER, AT(sealer.roll_failures),
	        "Turns in which windows could not be rolled up; they are tried again." },
	{ "collect_failures_total", METRIC_COUNTER, AT(sealer.collect_failures),
	        "Turns in which names without data could not be forgotten; it is tried again." },
	{ "admin_waiting", METRIC_GAUGE, AT(admin.waiting),
	        "Requests of administration that wait for others." },
	{ "admin_refused_total", METRIC_COUNTER, AT(admin.refused),
	        "Requests of administration told BUSY because as many waited as may." },
	{ "group_commit_seconds_total", METRIC_SECONDS_COUNTER, AT(ingest.commit_ns),
	        "Time spent in synced writes." },
	{ "ingest_queue_bytes", METRIC_GAUGE, AT(ingest.queue_bytes), "Messages that wait." },
	{ "ingest_queue_refused_total", METRIC_COUNTER, AT(ingest.queue_refused),
	        "Messages told BUSY because the queue was full." },
	{ "sessions", METRIC_GAUGE, AT(ingest.sessions), "Senders with a dictionary here." },
	{ "session_memory_bytes", METRIC_GAUGE, AT(ingest.session_memory),
	        "Memory of the senders' dictionaries." },
	{ "sessions_dropped_total", METRIC_COUNTER, AT(ingest.sessions_dropped),
	        "Idle sessions dropped to keep the memory bound." },
	{ "session_resets_total", METRIC_COUNTER, AT(ingest.resets),
	        "Pushes of sessions we do not know (any more)." },
	{ "symbol_tables_total", METRIC_COUNTER, AT(ingest.symbol_tables), "Symbol tables kept." },
	{ "symbol_tables_refused_total", METRIC_COUNTER, AT(ingest.symbols_refused),
	        "Symbol tables that could not be read." },
	{ "clock_clamped_total", METRIC_COUNTER, AT(ingest.clock_clamped),
	        "Intervals from hosts whose clock is ahead, kept under our time." },
	{ "queries_answered_total", METRIC_COUNTER, AT(queries.answered),
	        "Pages of answers sent." },
	{ "queries_refused_total", METRIC_COUNTER, AT(queries.refused),
	        "Questions that could not be asked or answered." },
	{ "queries_cancelled_total", METRIC_COUNTER, AT(queries.cancelled),
	        "Questions given up because whoever asked had left." },
	{ "queries_running", METRIC_GAUGE, AT(queries.running), "Questions that are worked at." },
	{ "queries_waiting", METRIC_GAUGE, AT(queries.waiting),
	        "Questions that wait for a thread." },
	{ "query_seconds_total", METRIC_SECONDS_COUNTER, AT(queries.query_ns),
	        "Time spent on questions." },
	{ "results_bytes", METRIC_GAUGE, AT(queries.result_bytes),
	        "Answers that wait to be fetched." },
	{ "results_dropped_total", METRIC_COUNTER, AT(queries.results_dropped),
	        "Answers dropped before they were fetched whole." },
	{ "names_bytes", METRIC_GAUGE, AT(queries.name_bytes),
	        "What stacks are called, remembered between questions." },
	{ "names_stacks", METRIC_GAUGE, AT(queries.name_stacks),
	        "Stack nodes whose names are remembered." },
	{ "names_dropped_total", METRIC_COUNTER, AT(queries.names_dropped),
	        "Times all names were forgotten because they had grown past name-memory." },
	{ "names_renewed_total", METRIC_COUNTER, AT(queries.names_renewed),
	        "Times stacks were named anew because symbols came." },
	{ "store_batches", METRIC_GAUGE, AT(counters.batches), "Batches ever kept." },
	{ "store_samples", METRIC_GAUGE, AT(counters.samples), "Samples ever kept." },
	{ "store_batches_late", METRIC_GAUGE, AT(counters.batches_late),
	        "Batches ever refused because they were older than late-max, or than policies "
	        "keep any of them." },
	{ "store_samples_folded", METRIC_GAUGE, AT(counters.samples_folded),
	        "Samples ever kept under a caller, because their service had too many new "
	        "stacks." },
	{ "store_generations", METRIC_GAUGE, AT(size.generations),
	        "Generations of the dictionary that data is left of, and the newest." },
	{ "store_generations_compact", METRIC_GAUGE, AT(size.generations_compact),
	        "Of them those that have only what old windows speak of." },
	{ "store_generations_loaded", METRIC_GAUGE, AT(size.generations_loaded),
	        "Of them those whose names are in memory." },
	{ "store_names_memory_bytes", METRIC_GAUGE, AT(size.names_memory),
	        "Memory of older generations of the dictionary." },
	{ "store_names_loaded_total", METRIC_COUNTER, AT(size.names_loaded),
	        "Times that an older generation was read from the disk." },
	{ "store_names_put_away_total", METRIC_COUNTER, AT(size.names_put_away),
	        "Times that one was put away to make room." },
	{ "store_open_sums_bytes", METRIC_GAUGE, AT(size.head_sums_memory),
	        "Memory of sums of open windows." },
	{ "store_open_sums_rows", METRIC_GAUGE, AT(size.head_sums_rows),
	        "Rows of open windows that are in sums: questions decode the others." },
	{ "store_open_sums_built_total", METRIC_COUNTER, AT(size.head_sums_built),
	        "Times that sums of an open window were made." },
	{ "store_open_sums_dropped_total", METRIC_COUNTER, AT(size.head_sums_dropped),
	        "Open windows whose sums were dropped: sealed, deleted from, or out of memory." },
	{ "store_open_sums_refused_total", METRIC_COUNTER, AT(size.head_sums_refused),
	        "Times that sums of an open window did not fit or could not be made." },
	{ "store_open_sums_used_total", METRIC_COUNTER, AT(size.head_sums_used),
	        "Times that a question read the sums of an open window." },
	{ "store_windows_unsealable", METRIC_GAUGE, AT(size.windows_unsealable),
	        "Windows that stay open, as what they add up to is past 64 bits." },
	{ "store_windows_unrollable", METRIC_GAUGE, AT(size.windows_unrollable),
	        "Windows in no hour or day, as they are damaged or past 64 bits in one." },
	{ "store_windows_moved_total", METRIC_COUNTER, AT(size.windows_moved),
	        "Hours and days that moved to a compact generation." },
	{ "store_windows_unmovable_total", METRIC_COUNTER, AT(size.windows_unmovable),
	        "Times that one waited because a question was reading its generation." },
	{ "store_stacks", METRIC_GAUGE, AT(size.nodes), "Stack nodes of all generations." },
	{ "store_streams", METRIC_GAUGE, AT(size.streams),
	        "Starts of agents and importers that are remembered." },
	{ "store_disk_bytes", METRIC_GAUGE, AT(size.bytes_disk), "Size of the store on disk." },
	{ "store_memory_bytes", METRIC_GAUGE, AT(size.bytes_memory), "Memory of the store." },
	{ "quarantined_blocks", METRIC_GAUGE, AT(size.unreadable),
	        "Blocks and records of the store that could not be read and are left out." },
	{ "quarantine_overflow_total", METRIC_COUNTER, AT(size.unreadable_overflow),
	        "Times one was met that there was no room to remember." },
	{ "disk_free_bytes", METRIC_GAUGE, AT(disk_free_bytes), "Room left where the data is." },
	{ "disk_size_bytes", METRIC_GAUGE, AT(disk_total_bytes),
	        "Size of the disk the data is on." },
};

static void metrics_take(const struct metrics_source *source, struct metrics_snapshot *ret_snapshot)
{
	struct metrics_snapshot snapshot = {
		.ingest = ingest_state(source->ingest),
		.queries = query_pool_state(source->queries),
		.sealer = sealer_state(source->sealer),
		.admin = admin_state(source->admin),
		.uptime_ns = clock_monotonic_ns(source->clock) - source->started_ns,
	};
	/* What cannot be had now is shown as zero: health says why. */
	(void)store_counters(source->store, "", &snapshot.counters);
	(void)store_size(source->store, &snapshot.size);

	struct statvfs disk;
	if (statvfs(source->data, &disk) == 0) {
		snapshot.disk_free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
		snapshot.disk_total_bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
	}
	*ret_snapshot = snapshot;
}

static uint64_t metric_value(const struct metric *metric, const struct metrics_snapshot *snapshot)
{
	uint64_t value;
	memcpy(&value, (const char *)snapshot + metric->offset, sizeof(value));
	return value;
}

static void metrics_write_gauge(struct buf *to, const char *name, const char *help, uint64_t value)
{
	buf_printf(to, "# HELP profleet_%s %s\n# TYPE profleet_%s gauge\nprofleet_%s %lu\n", name,
	        help, name, name, (unsigned long)value);
}

static void metrics_write_deleted(void *owner, const char *policy, uint64_t bytes)
{
	buf_printf(owner, "profleet_retention_deleted_bytes_total{policy=\"%s\"} %lu\n", policy,
	        (unsigned long)bytes);
}

static void metrics_write_retention(struct keeper *keeper, struct buf *to)
{
	struct keeper_state state = keeper_state(keeper);
	buf_printf(to,
	        "# HELP profleet_retention_last_success_timestamp_seconds When policies were last "
	        "enforced; 0: never.\n"
	        "# TYPE profleet_retention_last_success_timestamp_seconds gauge\n"
	        "profleet_retention_last_success_timestamp_seconds %.3f\n",
	        (double)state.last_success_ns / 1e9);
	metrics_write_gauge(to, "retention_overdue_bytes",
	        "Expired by a policy in force, and still there.", state.overdue_bytes);
	metrics_write_gauge(to, "retention_hold_bytes", "Protected by a hold.", state.hold_bytes);
	metrics_write_gauge(to, "retention_hidden_bytes",
	        "Hidden, and to be erased when the delay is over.", state.hidden_bytes);
	metrics_write_gauge(to, "retention_safety_stop",
	        "1 while nothing is removed until somebody confirms.", state.is_stopped);
	buf_printf(to, "# HELP profleet_retention_deleted_bytes_total Erased, by the policy that "
	               "said so.\n"
	               "# TYPE profleet_retention_deleted_bytes_total counter\n");
	keeper_deleted(keeper, metrics_write_deleted, to);
}

void metrics_write_text(const struct metrics_source *source, struct buf *to)
{
	char unhealthy[METRICS_HEALTH_BYTES];
	struct metrics_snapshot snapshot;
	metrics_take(source, &snapshot);

	for (size_t i = 0; i < COUNT_OF(metrics); i++) {
		const struct metric *metric = &metrics[i];
		uint64_t value = metric_value(metric, &snapshot);
		buf_printf(to, "# HELP profleet_%s %s\n# TYPE profleet_%s %s\n", metric->name,
		        metric->help, metric->name,
		        metric->type == METRIC_GAUGE ? "gauge" : "counter");
		if (metric->type == METRIC_SECONDS_COUNTER)
			buf_printf(to, "profleet_%s %.9f\n", metric->name, (double)value / 1e9);
		else
			buf_printf(to, "profleet_%s %lu\n", metric->name, (unsigned long)value);
	}
	buf_printf(to,
	        "# HELP profleet_samples_lost_total Samples that agents reported as lost, by "
	        "reason.\n# TYPE profleet_samples_lost_total counter\n");
	for (uint32_t reason = 1; reason <= LOSS_REASON_MAX; reason++)
		buf_printf(to, "profleet_samples_lost_total{reason=\"%s\"} %lu\n",
		        loss_reason_name(reason), (unsigned long)snapshot.counters.lost[reason]);
	metrics_write_retention(source->keeper, to);
	buf_printf(to,
	        "# HELP profleet_healthy 1 when data is accepted.\n# TYPE profleet_healthy "
	        "gauge\nprofleet_healthy %d\n",
	        metrics_is_healthy(source, unhealthy, sizeof(unhealthy)));
}

/* What cannot be written, and what of it goes on. NULL: nothing is wrong. */
static const char *metrics_failure(const struct metrics_source *source, int *ret_error)
{
	*ret_error = ingest_state(source->ingest).store_error;
	if (*ret_error < 0)
		return "senders keep their data and try again, questions are answered";
	*ret_error = sealer_state(source->sealer).error;
	if (*ret_error < 0)
		return "windows are not sealed or rolled up in time, data is still taken and "
		       "questions are answered";
	return NULL;
}

bool metrics_is_healthy(
        const struct metrics_source *source, char *ret_unhealthy, size_t unhealthy_bytes)
{
	int error;
	const char *meanwhile = metrics_failure(source, &error);
	if (!meanwhile && !keeper_state(source->keeper).is_late)
		return true;
	if (!meanwhile)
		snprintf(ret_unhealthy, unhealthy_bytes,
		        "retention was not enforced in time: see `profleet retention status`");
	else if (error == -ENOSPC)
		snprintf(ret_unhealthy, unhealthy_bytes,
		        "the disk is full at %s: %s; make room and it goes on by itself",
		        source->data, meanwhile);
	else if (error == -ENOMEM)
		snprintf(ret_unhealthy, unhealthy_bytes, "out of memory: %s", meanwhile);
	else
		snprintf(ret_unhealthy, unhealthy_bytes,
		        "the store at %s cannot be written: %s; see the log", source->data,
		        meanwhile);
	return false;
}

void metrics_remark(const struct metrics_source *source, char ret_text[METRICS_REMARK_BYTES])
{
	uint64_t unreadable = store_unreadable_count(source->store);
	ret_text[0] = '\0';
	if (unreadable > 0)
		snprintf(ret_text, METRICS_REMARK_BYTES,
		        ": %" PRIu64 " block%s unreadable: run --verify", unreadable,
		        unreadable == 1 ? "" : "s");
}

void metrics_write_json(const struct metrics_source *source, struct buf *to)
{
	struct metrics_snapshot snapshot;
	metrics_take(source, &snapshot);
	char unhealthy[METRICS_HEALTH_BYTES];
	bool is_healthy = metrics_is_healthy(source, unhealthy, sizeof(unhealthy));
	char remark[METRICS_REMARK_BYTES];
	char health[METRICS_REMARK_BYTES + 2];
	metrics_remark(source, remark);
	snprintf(health, sizeof(health), "ok%s", remark);

	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key_u64(&json, "schema_version", 1);
	json_key(&json, "status");
	json_object_begin(&json);
	json_key_text(&json, "program", source->program);
	json_key_u64(&json, "unix_ns", clock_unix_ns(source->clock));
	json_key_text(&json, "data", source->data);
	json_key_bool(&json, "healthy", is_healthy);
	json_key_text(&json, "health", is_healthy ? health : unhealthy);
	json_key_u64(&json, "uptime_ns", snapshot.uptime_ns);
	json_key(&json, "store");
	json_object_begin(&json);
	json_key_u64(&json, "bytes_disk", snapshot.size.bytes_disk);
	json_key_u64(&json, "bytes_memory", snapshot.size.bytes_memory);
	json_key_u64(&json, "first_ns", snapshot.size.first_ns);
	json_key_u64(&json, "last_ns", snapshot.size.last_ns);
	json_key_u64(&json, "stacks", snapshot.size.dict.nodes);
	json_key_u64(&json, "series", snapshot.size.dict.series);
	json_key_u64(&json, "disk_free_bytes", snapshot.disk_free_bytes);
	json_key_u64(&json, "disk_size_bytes", snapshot.disk_total_bytes);
	json_key_u64(&json, "unreadable", snapshot.size.unreadable);
	json_object_end(&json);
	json_key(&json, "counters");
	json_object_begin(&json);
	for (size_t i = 0; i < COUNT_OF(metrics); i++)
		if (metrics[i].type == METRIC_COUNTER)
			json_key_u64(&json, metrics[i].name, metric_value(&metrics[i], &snapshot));
	json_key_u64(&json, "store_batches", snapshot.counters.batches);
	json_key_u64(&json, "store_samples", snapshot.counters.samples);
	json_key_u64(&json, "store_samples_folded", snapshot.counters.samples_folded);
	json_object_end(&json);
	json_key(&json, "lost");
	json_object_begin(&json);
	for (uint32_t reason = 1; reason <= LOSS_REASON_MAX; reason++)
		if (snapshot.counters.lost[reason] > 0)
			json_key_u64(
			        &json, loss_reason_name(reason), snapshot.counters.lost[reason]);
	json_object_end(&json);
	json_object_end(&json);
	json_object_end(&json);
}
