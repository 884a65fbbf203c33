/*
 * A host is a sender: a dictionary, and what the store knows of it. Its reports of one interval are
 * a batch for each service. The store lives by the fleet's time, so that a day of reports is a day
 * to it however fast it is written.
 */

#include "bench/fleet_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "storage/store.h"

#define HOST_SLOTS          6
#define GROUP_SECTIONS      64
#define SEAL_GRACE_NS       (30 * NS_PER_S)
#define HOUR_NS             (3600 * NS_PER_S)
#define STORE_ERROR_BYTES   512
#define STORE_WINDOW_NS     (600 * NS_PER_S)
#define STORE_BLOCK_CACHE   (UINT64_C(256) << 20)
#define STORE_SYMBOLS_CACHE (UINT64_C(64) << 20)

struct host {
	struct dict *dict;
	struct fleet_observer *observer;
	struct dict_remap *remap;
	struct batch *batches[HOST_SLOTS]; /* one for each service among its slots */
	uint64_t seqs[HOST_SLOTS];
	uint32_t services[HOST_SLOTS];
	uint32_t services_count;
};

struct fleet_store {
	struct fleet *fleet;
	const char *folder;
	struct clock_virtual clock;
	struct store *store;
	struct host *hosts;
	uint32_t hosts_count;
	struct store_append appends[GROUP_SECTIONS + HOST_SLOTS];
	uint32_t appends_count;
	uint64_t epoch; /* of all senders: when their first report begins */
	uint64_t sealed_ns;
	uint64_t rows, samples, reports;
};

static int writer_complain(const struct fleet_store *writer, const char *what, int result)
{
	const char *said = writer->store ? store_error(writer->store) : "";
	fprintf(stderr, "bench.fleet: %s: %s: %s%s%s\n", writer->folder, what, strerror(-result),
	        said[0] ? ": " : "", said);
	return result;
}

static void host_close(struct host *host)
{
	for (uint32_t i = 0; i < HOST_SLOTS; i++)
		batch_free(host->batches[i]);
	fleet_observer_free(host->observer);
	dict_remap_free(host->remap);
	dict_free(host->dict);
	memset(host->batches, 0, sizeof(host->batches));
	host->observer = NULL;
	host->remap = NULL;
	host->dict = NULL;
}

static int host_open(struct host *host, struct fleet *fleet)
{
	host->dict = dict_new(dict_limits_default);
	host->observer = host->dict ? fleet_observer_new(fleet, host->dict, FLEET_ADDRESSES) : NULL;
	host->remap = host->dict ? dict_remap_new(host->dict, NULL) : NULL;
	bool is_complete = host->observer && host->remap;
	for (uint32_t i = 0; i < HOST_SLOTS && is_complete; i++) {
		host->batches[i] = batch_new(host->dict);
		is_complete = host->batches[i] != NULL;
	}
	return is_complete ? 0 : -ENOMEM;
}

static uint32_t host_service(struct host *host, uint32_t service)
{
	uint32_t i = 0;
	while (i < host->services_count && host->services[i] != service)
		i++;
	if (i == host->services_count)
		host->services[host->services_count++] = service;
	return i;
}

/* What a host has to say of an interval. */
static int host_fill(struct host *host, struct fleet_store *writer, uint64_t tick)
{
	uint32_t number = (uint32_t)(host - writer->hosts);
	uint32_t end = (number + 1) * HOST_SLOTS;
	if (end > fleet_slots(writer->fleet))
		end = fleet_slots(writer->fleet);
	int r = host->dict ? 0 : host_open(host, writer->fleet);
	for (uint32_t i = 0; i < HOST_SLOTS && r == 0; i++)
		batch_reset(host->batches[i]);
	for (uint32_t slot = number * HOST_SLOTS; slot < end && r == 0; slot++) {
		struct fleet_report report;
		r = fleet_report(writer->fleet, tick, slot, &report);
		if (r < 0)
			return r;
		uint32_t service = host_service(host, report.instance.service);
		r = fleet_observer_put(host->observer, &report, host->batches[service]);
	}
	for (uint32_t i = 0; i < host->services_count && r == 0; i++)
		r = batch_settle(host->batches[i]);
	return r;
}

static const char *writer_refusal(const struct store_append *append)
{
	if (append->ret_status == WIRE_DUP)
		return "it has these reports already: another --start or folder is needed";
	return append->ret_reason && *append->ret_reason ? append->ret_reason : "for no reason";
}

static int writer_append(struct fleet_store *writer)
{
	if (writer->appends_count == 0)
		return 0;
	int r = store_append(writer->store, writer->appends, writer->appends_count);
	if (r < 0)
		return writer_complain(writer, "append", r);
	for (uint32_t i = 0; i < writer->appends_count; i++) {
		const struct store_append *append = &writer->appends[i];
		if (append->ret_status != WIRE_OK) {
			fprintf(stderr, "bench.fleet: %s: refused: %s\n", writer->folder,
			        writer_refusal(append));
			return -EINVAL;
		}
		writer->rows += append->batch->rows_count;
		writer->samples += batch_samples(append->batch);
		writer->reports++;
	}
	writer->appends_count = 0;
	return 0;
}

static int writer_put_host(struct fleet_store *writer, uint32_t number, uint64_t tick)
{
	struct host *host = &writer->hosts[number];
	int r = host_fill(host, writer, tick);
	if (r == -ENOSPC) {
		/* The session's dictionary is full: its successor's is not. Nothing refers to it.
		 */
		host_close(host);
		r = host_fill(host, writer, tick);
	}
	if (r < 0)
		return writer_complain(writer, "a report", r);
	for (uint32_t i = 0; i < host->services_count; i++) {
		struct store_append *append = &writer->appends[writer->appends_count];
		if (host->batches[i]->rows_count == 0)
			continue;
		*append = (struct store_append){
			.stream = { .epoch = writer->epoch,
			        .shard = (uint16_t)i,
			        .seq = ++host->seqs[i],
			        .tenant = "" },
			.batch = host->batches[i],
			.remap = host->remap,
		};
		uint64_t id = UINT64_C(1) + number;
		memcpy(append->stream.uuid.bytes, &id, sizeof(id));
		writer->appends_count++;
	}
	return writer->appends_count >= GROUP_SECTIONS ? writer_append(writer) : 0;
}

/* The windows that are over since a while. */
static int writer_seal(struct fleet_store *writer, uint64_t now_ns)
{
	uint64_t over_ns = (now_ns - SEAL_GRACE_NS) / STORE_WINDOW_NS * STORE_WINDOW_NS;
	if (over_ns <= writer->sealed_ns)
		return 0;
	writer->sealed_ns = over_ns;
	int r = store_seal(writer->store, over_ns);
	if (r == 0)
		r = store_roll(writer->store, over_ns / HOUR_NS * HOUR_NS);
	return r < 0 ? writer_complain(writer, "seal", r) : 0;
}

static int writer_symbols(struct fleet_store *writer)
{
	const struct fleet_tree *tree = fleet_tree_of(writer->fleet);
	int r = 0;
	for (uint32_t i = 0; i < fleet_tree_modules(tree) && r == 0; i++) {
		struct fleet_module module = fleet_tree_module(tree, i);
		AUTO_BUF table = { 0 };
		if (!module.build_id[0])
			continue;
		r = fleet_symbols(writer->fleet, module.build_id, strlen(module.build_id), &table);
		if (r == 0)
			r = store_symbols_put(
			        writer->store, module.build_id, table.bytes, table.count);
	}
	return r < 0 ? writer_complain(writer, "symbols", r) : 0;
}

static int writer_run(struct fleet_store *writer)
{
	int r = 0;
	for (uint64_t tick = 0; tick < fleet_ticks(writer->fleet) && r == 0; tick++) {
		for (uint32_t i = 0; i < writer->hosts_count && r == 0; i++)
			r = writer_put_host(writer, i, tick);
		if (r == 0)
			r = writer_append(writer);
		clock_virtual_advance(&writer->clock, FLEET_REPORT_NS);
		if (r == 0)
			r = writer_seal(writer, writer->clock.now_unix_ns);
	}
	if (r < 0)
		return r;
	r = writer_symbols(writer);
	if (r == 0 && (r = store_flush(writer->store)) < 0)
		(void)writer_complain(writer, "flush", r);
	return r;
}

static int writer_open(struct fleet_store *writer, uint64_t start_ns)
{
	char error[STORE_ERROR_BYTES];
	clock_virtual_init(&writer->clock, start_ns);
	struct store_options options = {
		.path = writer->folder,
		.clock = &writer->clock.clock,
		.limits = { .strings = 1u << 28,
		        .modules = 1u << 20,
		        .frames = 1u << 28,
		        .nodes = 1u << 28,
		        .series = 1u << 24,
		        .string_bytes = UINT64_C(1) << 34 },
		.block_cache_bytes = STORE_BLOCK_CACHE,
		.symbols_cache_bytes = STORE_SYMBOLS_CACHE,
		.window_ns = STORE_WINDOW_NS,
	};
	int r = store_open(options, &writer->store, error, sizeof(error));
	if (r < 0)
		fprintf(stderr, "bench.fleet: %s\n", error);
	return r;
}

int fleet_store_run(struct fleet *fleet, const char *folder)
{
	struct fleet_store writer = { .fleet = fleet, .folder = folder };
	struct fleet_report first = { 0 };
	writer.hosts_count = (fleet_slots(fleet) + HOST_SLOTS - 1) / HOST_SLOTS;
	writer.hosts = calloc(writer.hosts_count, sizeof(*writer.hosts));
	int r = writer.hosts ? fleet_report(fleet, 0, 0, &first) : -ENOMEM;
	writer.epoch = first.start_ns;
	uint64_t before_ns = clock_monotonic_ns(clock_real());
	if (r < 0)
		(void)writer_complain(&writer, "start", r);
	else
		r = writer_open(&writer, first.start_ns);
	if (r == 0)
		r = writer_run(&writer);
	for (uint32_t i = 0; writer.hosts && i < writer.hosts_count; i++)
		host_close(&writer.hosts[i]);
	free(writer.hosts);
	store_free(writer.store);
	if (r < 0)
		return 1;
	double seconds = (double)(clock_monotonic_ns(clock_real()) - before_ns) / 1e9;
	printf("rows %llu\nsamples %llu\nsections %llu\nseconds %.3f\nrows_per_s %.0f\n",
	        (unsigned long long)writer.rows, (unsigned long long)writer.samples,
	        (unsigned long long)writer.reports, seconds, (double)writer.rows / seconds);
	return 0;
}
