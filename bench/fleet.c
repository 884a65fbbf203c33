/*
 * bench.fleet makes a synthetic fleet (bench/fleet.h) and gives it to whoever is to be measured: as
 * agents on the wire to an aggregator, as files for other systems, or as figures about itself.
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/fleet.h"
#include "bench/fleet_files.h"
#include "bench/fleet_stats.h"
#include "bench/fleet_store.h"
#include "bench/fleet_wire.h"
#include "core/clock.h"
#include "core/options.h"

/* 2100: what is later overflows nanoseconds sooner or later. */
#define START_S_MAX UINT64_C(4102444800)
#define DAY_NS      (UINT64_C(86400) * NS_PER_S)

struct fleet_args {
	uint32_t set;
	uint32_t services, instances, rows, changed_percent, fresh_permille, pool_draws;
	uint64_t duration_ns, life_ns, seed, start_s, limit, patience_ns;
	bool heavy_tail, stats, speed;
	char *aggregator, *tenant, *store, *pprof, *folded;
	uint32_t agents, threads, per;
};

static const char *const set_names[] = { "A", "B", "H", NULL };
static const char *const per_names[] = { "report", "instance", NULL };

#define AT(member) offsetof(struct fleet_args, member)
/* Zero where it is not given: then it is the set's. */
#define NUMBER(long_name, field, least, greatest, what)                                            \
	{                                                                                          \
		.name = long_name, .kind = OPTION_U32, .offset = AT(field), .min = least,          \
		.max = greatest, .value_name = "N", .help = what                                   \
	}

static const struct option_spec fleet_option_specs[] = {
	{ .name = "set",
	        .kind = OPTION_ENUM,
	        .offset = AT(set),
	        .fallback = "A",
	        .choices = set_names,
	        .help = "A: 12 services, 298 instances, 1 h. B: 3 services, 15 instances, 24 h. H: "
	                "6 services, 100 instances, 1 h, many stacks that are met once. What is "
	                "given by the options below overrides the set's." },
	NUMBER("services", services, 1, 10000, "how many services"),
	NUMBER("instances", instances, 1, 1000000,
	        "how many instances are alive at a time: at least one of each service; where they "
	        "are fewer than the set's services, there are as many services"),
	NUMBER("rows", rows, 1, 50000, "rows of one report, about"),
	{ .name = "changed",
	        .kind = OPTION_U32,
	        .offset = AT(changed_percent),
	        .fallback = "25",
	        .max = 1000,
	        .value_name = "N",
	        .help = "by how many percent version 2 of each service's changed function is "
	                "slower; 0: nothing differs but the addresses" },
	NUMBER("fresh", fresh_permille, 1, 1000, "samples of a thousand whose stack is mostly new"),
	NUMBER("pool", pool_draws, 24, 1u << 24,
	        "draws of a service and version that all but the fresh samples are from: fewer are "
	        "fewer distinct stacks"),
	{ .name = "heavy-tail",
	        .kind = OPTION_FLAG,
	        .offset = AT(heavy_tail),
	        .help = "as --fresh 120" },
	{ .name = "duration",
	        .kind = OPTION_DURATION,
	        .offset = AT(duration_ns),
	        .min = FLEET_REPORT_NS,
	        .max = 366 * DAY_NS,
	        .value_name = "DURATION",
	        .help = "how long the fleet is watched: 1h, 20m" },
	{ .name = "life",
	        .kind = OPTION_DURATION,
	        .offset = AT(life_ns),
	        .min = FLEET_REPORT_NS,
	        .max = 366 * DAY_NS,
	        .value_name = "DURATION",
	        .help = "an instance's mean life" },
	{ .name = "seed",
	        .kind = OPTION_U64,
	        .offset = AT(seed),
	        .min = 1,
	        .max = UINT64_MAX,
	        .value_name = "N",
	        .help = "another number, another fleet" },
	{ .name = "start",
	        .kind = OPTION_U64,
	        .offset = AT(start_s),
	        .min = 1,
	        .max = START_S_MAX,
	        .value_name = "SECONDS",
	        .help = "unix time of the first report; where not given a day in 2023, or, with "
	                "--aggregator and --store, so that the last report is now" },
	{ .name = "limit",
	        .kind = OPTION_U64,
	        .offset = AT(limit),
	        .min = 1,
	        .max = UINT64_MAX,
	        .value_name = "N",
	        .help = "stop after so many reports (files, with --pprof or --folded)" },
	{ .name = "stats",
	        .kind = OPTION_FLAG,
	        .offset = AT(stats),
	        .help = "print what the fleet consists of; the default" },
	{ .name = "speed",
	        .kind = OPTION_FLAG,
	        .offset = AT(speed),
	        .help = "print how fast batches are made on one core, to nowhere" },
	{ .name = "aggregator",
	        .kind = OPTION_TEXT,
	        .offset = AT(aggregator),
	        .value_name = "ADDRESS",
	        .help = "send everything to tcp://HOST:PORT, each agent waiting for its "
	                "acknowledgement before it sends again" },
	{ .name = "tenant",
	        .kind = OPTION_TEXT,
	        .offset = AT(tenant),
	        .fallback = "",
	        .value_name = "NAME",
	        .help = "with --aggregator: whose agents they say they are" },
	{ .name = "agents",
	        .kind = OPTION_U32,
	        .offset = AT(agents),
	        .fallback = "16",
	        .min = 1,
	        .max = 100000,
	        .value_name = "N",
	        .help = "how many agents the instances are shared out to" },
	{ .name = "threads",
	        .kind = OPTION_U32,
	        .offset = AT(threads),
	        .fallback = "8",
	        .min = 1,
	        .max = 64,
	        .value_name = "N",
	        .help = "how many agents send at once" },
	{ .name = "patience",
	        .kind = OPTION_DURATION,
	        .offset = AT(patience_ns),
	        .fallback = "30s",
	        .min = NS_PER_S,
	        .max = DAY_NS,
	        .value_name = "DURATION",
	        .help = "how long an aggregator that is away is waited for" },
	{ .name = "store",
	        .kind = OPTION_TEXT,
	        .offset = AT(store),
	        .value_name = "DIR",
	        .help = "append everything to a store in this folder, without an aggregator, "
	                "sealed and rolled up: profleet-aggregator --data DIR then answers" },
	{ .name = "pprof",
	        .kind = OPTION_TEXT,
	        .offset = AT(pprof),
	        .value_name = "DIR",
	        .help = "write gzipped pprof files and index.tsv into this folder" },
	{ .name = "folded",
	        .kind = OPTION_TEXT,
	        .offset = AT(folded),
	        .value_name = "DIR",
	        .help = "write folded files and index.tsv into this folder" },
	{ .name = "per",
	        .kind = OPTION_ENUM,
	        .offset = AT(per),
	        .fallback = "report",
	        .choices = per_names,
	        .help = "what a file holds: one report, or all of an instance" },
	{ 0 },
};

static const struct option_table fleet_table = {
	.program = "bench.fleet",
	.summary = "a synthetic fleet for measurements",
	.usage = "[options]",
	.description = "Makes a fleet by a seed and sends it, writes it or describes it. The same "
	               "options give the same rows on every machine.",
	.examples = "bench.fleet --set A --stats\n"
	            "bench.fleet --set A --aggregator tcp://127.0.0.1:7470 --agents 64\n"
	            "bench.fleet --set A --store /tmp/store\n"
	            "bench.fleet --services 4 --instances 40 --duration 20m --pprof /tmp/fleet\n",
	.exit_codes = "0  done\n1  failed\n2  usage\n",
	.options = fleet_option_specs,
};

static uint32_t given(uint32_t value, uint32_t otherwise)
{
	return value ? value : otherwise;
}

static void fleet_options_start(const struct fleet_args *args, struct fleet_options *options)
{
	if (args->start_s)
		options->start_ns = args->start_s * NS_PER_S;
	else if (args->aggregator || args->store)
		options->start_ns = clock_unix_ns(clock_real()) / FLEET_REPORT_NS *
		                            FLEET_REPORT_NS -
		                    options->duration_ns;
}

static int fleet_options_of(const struct fleet_args *args, struct fleet_options *ret_options)
{
	int r = fleet_options_named(set_names[args->set], ret_options);
	if (r < 0)
		return r;
	struct fleet_options *options = ret_options;
	options->instances = given(args->instances, options->instances);
	options->services = given(args->services,
	        options->services < options->instances ? options->services : options->instances);
	/* A set has as many instances as its services; what is asked for has to be enough. */
	if (!args->instances && options->instances < options->services)
		options->instances = options->services;
	options->rows = given(args->rows, options->rows);
	options->changed_percent = args->changed_percent;
	options->fresh_permille = given(
	        args->fresh_permille, args->heavy_tail ? 120 : options->fresh_permille);
	options->pool_draws = args->pool_draws;
	options->duration_ns = args->duration_ns ? args->duration_ns : options->duration_ns;
	options->life_ns = args->life_ns ? args->life_ns : options->life_ns;
	options->seed = args->seed ? args->seed : options->seed;
	fleet_options_start(args, options);
	return 0;
}

/* What contradicts itself; NULL: nothing does. */
static const char *fleet_args_wrong(const struct fleet_args *args)
{
	uint32_t uses = !!args->aggregator + !!args->store + (args->pprof || args->folded) +
	                args->stats + args->speed;
	if (uses > 1)
		return "one thing at a time: --aggregator, --store, files (--pprof, --folded), "
		       "--stats or --speed";
	if (args->limit && (args->aggregator || args->store))
		return "--limit is for files and figures: --duration makes a fleet shorter";
	if (args->instances && args->services > args->instances)
		return "--instances: each service needs one; write as many as --services or more";
	return NULL;
}

static int fleet_failed(const char *what, int result)
{
	fprintf(stderr, "bench.fleet: %s: %s\n", what, strerror(-result));
	return 1;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void figures_print(const struct fleet_figures *figures)
{
	double reports = (double)figures->reports;
	double rows = (double)figures->rows;
	printf("reports %llu\n", (unsigned long long)figures->reports);
	printf("instances %u\n", figures->instances);
	printf("rows %llu\n", (unsigned long long)figures->rows);
	printf("samples %llu\n", (unsigned long long)figures->samples);
	printf("rows_per_report %.1f\n", rows / reports);
	printf("stacks %u\n", figures->stacks);
	printf("depth %.1f\n", (double)figures->depths / rows);
	printf("value_is_one %.1f %%\n", percent(figures->rows_of_one, figures->rows));
	printf("rows_whose_stack_is_shared %.2f %%\n",
	        percent(figures->rows_shared, figures->rows));
	printf("stacks_shared %.1f %%\n", percent(figures->stacks_shared, figures->stacks));
	for (uint32_t i = 0; i < FLEET_VERSIONS; i++)
		printf("changed_function_v%u %.3f %% of samples, %.2f samples per report\n", i + 1,
		        percent(figures->version_changed[i], figures->version_samples[i]),
		        figures->version_reports[i] ? (double)figures->version_changed[i] /
		                                              (double)figures->version_reports[i]
		                                    : 0);
	printf("rows_hash %016llx\n", (unsigned long long)figures->rows_hash);
}

static int run_stats(struct fleet *fleet, uint64_t limit)
{
	AUTO(fleet_stats) stats = fleet_stats_new(fleet);
	int r = stats ? 0 : -ENOMEM;
	uint64_t count = 0;
	for (uint64_t tick = 0; tick < fleet_ticks(fleet); tick++) {
		for (uint32_t slot = 0; slot < fleet_slots(fleet) && count < limit; slot++) {
			struct fleet_report report;
			if (r == 0)
				r = fleet_report(fleet, tick, slot, &report);
			if (r == 0)
				r = fleet_stats_add(stats, &report);
			if (r < 0)
				return fleet_failed("stats", r);
			count++;
		}
	}
	struct fleet_figures figures = fleet_stats_figures(stats);
	figures_print(&figures);
	return 0;
}

static uint64_t cpu_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* CPU time of making reports, of giving them ids, and of giving them ids that are known already. */
struct speed {
	uint64_t rows, report_ns, first_ns, again_ns;
};

static int speed_add(struct fleet *fleet, struct fleet_observer *observer, struct batch *batch,
        uint64_t number, struct speed *speed)
{
	struct fleet_report report;
	uint64_t before_ns = cpu_ns();
	int r = fleet_report(fleet, number / fleet_slots(fleet),
	        (uint32_t)(number % fleet_slots(fleet)), &report);
	if (r < 0)
		return r;
	uint64_t after_ns = cpu_ns();
	speed->report_ns += after_ns - before_ns;
	for (int again = 0; again < 2 && r == 0; again++) {
		before_ns = after_ns;
		batch_reset(batch);
		r = fleet_observer_put(observer, &report, batch);
		if (r == 0)
			r = batch_settle(batch);
		after_ns = cpu_ns();
		*(again ? &speed->again_ns : &speed->first_ns) += after_ns - before_ns;
	}
	speed->rows += batch->rows_count;
	return r;
}

static double mrows(uint64_t rows, uint64_t ns)
{
	return (double)rows * 1e3 / (double)ns;
}

static int run_speed(struct fleet *fleet, uint64_t limit)
{
	struct dict_limits limits = dict_limits_default;
	limits.nodes = limits.frames = limits.strings = UINT32_C(1) << 27;
	limits.string_bytes = UINT64_C(1) << 32;
	AUTO(dict) dict = dict_new(limits);
	AUTO(fleet_observer) observer = dict ? fleet_observer_new(fleet, dict, FLEET_ADDRESSES)
	                                     : NULL;
	AUTO(batch) batch = dict ? batch_new(dict) : NULL;
	if (!observer || !batch)
		return fleet_failed("speed", -ENOMEM);
	uint64_t all = fleet_ticks(fleet) * fleet_slots(fleet);
	uint64_t count = limit < all ? limit : all;
	struct speed speed = { 0 };
	struct fleet_report first;
	int r = 0;
	uint64_t before_ns = cpu_ns();
	for (uint32_t slot = 0; slot < fleet_slots(fleet) && r == 0; slot++)
		r = fleet_report(fleet, 0, slot, &first);
	uint64_t pools_ns = cpu_ns() - before_ns;
	for (uint64_t i = 0; i < count && r == 0; i++)
		r = speed_add(fleet, observer, batch, i, &speed);
	if (r < 0)
		return fleet_failed("speed", r);
	printf("rows %llu\nstart_s %.2f\n", (unsigned long long)speed.rows, (double)pools_ns / 1e9);
	printf("Mrow/s_of_reports %.2f\nMrow/s_with_ids_that_are_known %.2f\n"
	       "Mrow/s_with_new_stacks %.2f\nnodes %u\n",
	        mrows(speed.rows, speed.report_ns),
	        mrows(speed.rows, speed.report_ns + speed.again_ns),
	        mrows(speed.rows, speed.report_ns + speed.first_ns), dict_mark(dict).nodes);
	return 0;
}

static int run_files(struct fleet *fleet, const struct fleet_args *args, uint64_t limit)
{
	struct fleet_files_figures figures;
	struct fleet_files_options options = {
		.pprof = args->pprof,
		.folded = args->folded,
		.whole_instances = args->per == 1,
		.files_max = limit,
	};
	if (fleet_files_write(fleet, options, &figures) < 0)
		return 1;
	printf("files %llu\nrows %llu\nsamples %llu\n", (unsigned long long)figures.files,
	        (unsigned long long)figures.rows, (unsigned long long)figures.samples);
	return 0;
}

static int fleet_run(const struct fleet_args *args)
{
	struct fleet_options options;
	const char *wrong = fleet_args_wrong(args);
	if (wrong) {
		fprintf(stderr, "bench.fleet: %s\n", wrong);
		return 2;
	}
	int r = fleet_options_of(args, &options);
	if (r < 0)
		return fleet_failed("--set", r);
	AUTO(fleet) fleet = fleet_new(options);
	if (!fleet)
		return fleet_failed("fleet", -ENOMEM);
	uint64_t limit = args->limit ? args->limit : UINT64_MAX;
	if (args->aggregator)
		return fleet_wire_run(fleet, (struct fleet_wire_options){
		                                     .address = args->aggregator,
		                                     .tenant = args->tenant,
		                                     .agents = args->agents,
		                                     .threads = args->threads,
		                                     .patience_ns = args->patience_ns,
		                             });
	if (args->store)
		return fleet_store_run(fleet, args->store);
	if (args->pprof || args->folded)
		return run_files(fleet, args, limit);
	return args->speed ? run_speed(fleet, limit) : run_stats(fleet, limit);
}

int main(int argc, char **argv)
{
	struct fleet_args args;
	struct option_args words;
	switch (options_load(&fleet_table, argc, argv, &args, &words)) {
	case OPTIONS_HELP:
		return 0;
	case OPTIONS_BAD:
		return 2;
	default:
		break;
	}
	int code = fleet_run(&args);
	options_fini(&fleet_table, &args);
	return code;
}
