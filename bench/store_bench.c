/*
 * What the store alone can do, without a network: synced appends of a seeded synthetic fleet with
 * known stacks, bytes per row on disk, and the time of sums over what was appended, while it is
 * open and when it is sealed: from sums, and from detail where the question cuts a window or a
 * group.
 *
 *	bench.store_bench [FOLDER [TICKS]]     a folder on the disk that is to be measured; 60 ticks
 *
 * The fleet: services with 20,000 stacks of depth 24 that share their beginnings, drawn with a skew
 * so that a report of 330 rows holds mostly hot ones and a tail. One line per figure: name, value,
 * unit. CPU is of the whole process (RocksDB's threads too) less what making the load cost.
 */

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/rng.h"
#include "storage/kv.h"
#include "storage/store.h"

#define SERVICES  12
#define INSTANCES 300
#define STACKS    20000
#define DEPTH     24
#define ROWS      330
#define GROUP     64 /* reports in one synced write */
#define TICK_NS   UINT64_C(10000000000)
#define QUERIES   5 /* the best of so many */

#define OR_DIE(call)                                                                               \
	do {                                                                                       \
		int r_ = (call);                                                                   \
		if (r_ < 0) {                                                                      \
			fprintf(stderr, "%s: %s\n", #call, strerror(-r_));                         \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static double seconds(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One connection: what an agent and its session have. */
struct instance {
	struct dict *dict;
	struct dict_remap *remap;
	struct batch *batch;
	uint32_t series;
	uint32_t *stacks; /* of its service, in its dict; ID_NONE until drawn first */
	uint32_t service;
	uint64_t seq;
};

/* A name that is a word and a number. */
static uint32_t text(struct dict *dict, const char *word, uint32_t number)
{
	char bytes[64];
	uint32_t id;
	snprintf(bytes, sizeof(bytes), "%s%u", word, number);
	OR_DIE(dict_cstring(dict, bytes, &id));
	return id;
}

static uint32_t word(struct dict *dict, const char *bytes)
{
	uint32_t id;
	OR_DIE(dict_cstring(dict, bytes, &id));
	return id;
}

/* Numbers that are alike in their high digits share callers: a tree that fans out at its end. */
static uint32_t stack(struct instance *instance, uint32_t number)
{
	uint32_t frames[DEPTH];
	uint32_t node;
	if (instance->stacks[number] != ID_NONE)
		return instance->stacks[number];
	for (uint32_t depth = 0; depth < DEPTH; depth++) {
		/* Leaf first: the leaf is of this stack alone, each caller of more and more. */
		uint32_t function = (number >> (depth < 15 ? depth : 15)) * DEPTH + depth;
		struct frame frame = {
			.kind = FRAME_MANAGED,
			.function = text(instance->dict, "function_with_a_name_",
			        function + instance->service * 1000003),
		};
		OR_DIE(dict_frame(instance->dict, &frame, &frames[depth]));
	}
	OR_DIE(dict_stack(instance->dict, frames, DEPTH, &node));
	return instance->stacks[number] = node;
}

static void instance_open(struct instance *instance, struct store *store, uint32_t number)
{
	instance->service = number % SERVICES;
	instance->dict = dict_new(dict_limits_default);
	instance->batch = batch_new(instance->dict);
	instance->remap = dict_remap_new(instance->dict, NULL);
	instance->stacks = malloc(STACKS * sizeof(*instance->stacks));
	if (!instance->dict || !instance->batch || !instance->remap || !instance->stacks)
		exit(1);
	memset(instance->stacks, 0xff, STACKS * sizeof(*instance->stacks));
	struct series series = {
		.type = word(instance->dict, "cpu"),
		.unit = word(instance->dict, "nanoseconds"),
		.period = 20408163,
	};
	struct label labels[] = {
		{ word(instance->dict, "service"),
		        text(instance->dict, "service", instance->service) },
		{ word(instance->dict, "instance"), text(instance->dict, "i", number) },
	};
	OR_DIE(dict_series(instance->dict, &series, labels, 2, &instance->series));
}

static void instance_report(struct instance *instance, struct rng *rng, uint64_t start_ns)
{
	batch_reset(instance->batch);
	instance->batch->start_ns = start_ns;
	instance->batch->duration_ns = TICK_NS;
	for (uint32_t i = 0; i < ROWS; i++) {
		double skewed = rng_fraction(rng);
		skewed *= skewed * skewed; /* half of the draws fall on an eighth of the stacks */
		uint32_t node = stack(instance, (uint32_t)(skewed * STACKS));
		uint64_t value = rng_below(rng, 10) ? 1 : 1 + rng_below(rng, 20);
		OR_DIE(batch_add_row(instance->batch, instance->series, node, value));
	}
	OR_DIE(batch_add_coverage(instance->batch, instance->series, TICK_NS));
	OR_DIE(batch_settle(instance->batch));
}

struct load {
	struct store *store;
	struct instance instances[INSTANCES];
	struct rng rng;
	uint64_t rows;
	double append_wall;
	double append_cpu; /* of the whole process while appending */
};

/* One interval of the whole fleet, in groups. */
static void load_tick(struct load *load, uint64_t tick)
{
	for (uint32_t first = 0; first < INSTANCES; first += GROUP) {
		struct store_append appends[GROUP];
		uint32_t count = INSTANCES - first < GROUP ? INSTANCES - first : GROUP;
		for (uint32_t i = 0; i < count; i++) {
			struct instance *instance = &load->instances[first + i];
			instance_report(instance, &load->rng, (tick + 1) * TICK_NS);
			appends[i] = (struct store_append){
				.stream = { .epoch = first + i,
				        .seq = ++instance->seq,
				        .tenant = "" },
				.batch = instance->batch,
				.remap = instance->remap,
			};
			uint32_t number = first + i + 1;
			memcpy(appends[i].stream.uuid.bytes, &number, sizeof(number));
			load->rows += instance->batch->rows_count;
		}
		double wall = seconds(CLOCK_MONOTONIC);
		double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
		OR_DIE(store_append(load->store, appends, count));
		load->append_wall += seconds(CLOCK_MONOTONIC) - wall;
		load->append_cpu += seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	}
}

static void say(const char *name, double value, const char *unit)
{
	printf("%-44s %12.2f %s\n", name, value, unit);
}

static void load_say(const struct load *load, const char *what)
{
	char name[64];
	snprintf(name, sizeof(name), "append, %s, wall", what);
	say(name, (double)load->rows / load->append_wall / 1e6, "Mrow/s");
	snprintf(name, sizeof(name), "append, %s, per core", what);
	say(name, (double)load->rows / load->append_cpu / 1e6, "Mrow/s");
}

static void query(struct store *store, const char *name, const char *text_of, uint64_t from_ns,
        uint64_t to_ns)
{
	char error[256];
	struct selector *selector;
	double best = 1e9;
	double rows_per_second = 0;
	uint64_t samples = 0;
	OR_DIE(selector_parse(text_of, &selector, error, sizeof(error)));
	for (int i = 0; i < QUERIES; i++) {
		struct store_match *match;
		struct store_sum sum;
		double begin = seconds(CLOCK_MONOTONIC);
		struct store_sum_options options = {
			.from_ns = from_ns, .to_ns = to_ns, .memory_max = 256 << 20
		};
		OR_DIE(store_find_series(store, selector, from_ns, to_ns, &match));
		uint32_t *groups = calloc(match->series_count + 1, sizeof(*groups));
		if (!groups)
			exit(1);
		options.match = match;
		options.groups = groups;
		OR_DIE(store_sum(store, &options, &sum));
		double took = seconds(CLOCK_MONOTONIC) - begin;
		if (took < best) {
			best = took;
			rows_per_second = (double)sum.completeness.intervals * ROWS / took;
		}
		samples = sum.completeness.samples;
		store_sum_fini(&sum);
		free(groups);
		store_match_free(match);
	}
	say(name, best * 1e3, "ms");
	if (samples)
		say("  at", rows_per_second / 1e6, "Mrow/s");
	selector_free(selector);
}

static struct store *open_store(const char *folder)
{
	struct store *store;
	char error[512];
	struct store_options options = { .path = folder, .block_cache_bytes = 256 << 20 };
	double begin = seconds(CLOCK_MONOTONIC);
	if (store_open(options, &store, error, sizeof(error)) < 0) {
		fprintf(stderr, "%s\n", error);
		exit(1);
	}
	say("open", (seconds(CLOCK_MONOTONIC) - begin) * 1e3, "ms");
	return store;
}

static void measure_new_stacks(struct load *load)
{
	struct dict_mark before = dict_mark(store_dict(load->store));
	load_tick(load, 0);
	load_tick(load, 1);
	struct dict_mark after = dict_mark(store_dict(load->store));
	say("append, first two intervals, per new node",
	        load->append_cpu * 1e6 / (after.nodes - before.nodes), "us");
}

/* Bytes of the values of one family; the store is closed meanwhile. */
static void say_family(const char *folder, struct store **store, const char *name,
        enum kv_family family, uint64_t rows)
{
	struct kv *kv;
	struct kv_options options = { .path = folder, .memtables_bytes = 64 << 20 };
	char error[512];
	uint64_t bytes = 0;
	store_free(*store);
	OR_DIE(kv_open(options, &kv, error, sizeof(error)));
	struct kv_iterator *it = kv_iterator_new(
	        kv, family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	for (; kv_iterator_is_valid(it); kv_iterator_next(it))
		bytes += kv_iterator_key(it).count + kv_iterator_value(it).count;
	OR_DIE(kv_iterator_result(it));
	kv_iterator_free(it);
	kv_free(kv);
	say(name, (double)bytes / (double)rows, "B/row");
	*store = open_store(folder);
}

static void queries(struct store *store, uint64_t tick)
{
	query(store, "sum of one service, all", "cpu{service=\"service0\"}", 0, UINT64_MAX);
	query(store, "sum of one instance, all", "cpu{instance=\"i0\"}", 0, UINT64_MAX);
	query(store, "sum of some instances, all", "cpu{service=\"service0\",instance=~\"i.*4\"}",
	        0, UINT64_MAX);
	query(store, "sum of everything", "cpu", 0, UINT64_MAX);
	query(store, "sum of one service, last 5 min", "cpu{service=\"service0\"}",
	        (tick - 29) * TICK_NS, UINT64_MAX);
	query(store, "sum of one service, all but one interval", "cpu{service=\"service0\"}",
	        2 * TICK_NS, UINT64_MAX);
}

int main(int argc, char **argv)
{
	static struct load load;
	char folder[300] = "/tmp/profleet-bench-XXXXXX";
	uint64_t ticks = argc > 2 ? strtoull(argv[2], NULL, 10) : 60;
	struct store_size size;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1)
		snprintf(folder, sizeof(folder), "%s", argv[1]);
	else if (!mkdtemp(folder))
		return 1;
	load.store = open_store(folder);
	rng_init(&load.rng, 1);
	for (uint32_t i = 0; i < INSTANCES; i++)
		instance_open(&load.instances[i], load.store, i);

	measure_new_stacks(&load);
	load.rows = 0;
	load.append_wall = load.append_cpu = 0;
	uint64_t tick = 2;
	for (; tick < 2 + ticks / 2; tick++)
		load_tick(&load, tick);
	load_say(&load, "some new stacks");
	load.rows = 0;
	load.append_wall = load.append_cpu = 0;
	for (; tick < 2 + ticks; tick++)
		load_tick(&load, tick);
	load_say(&load, "known stacks");

	uint64_t rows = (2 + ticks) * INSTANCES * ROWS; /* equal draws add up: a few less */
	struct store_counters counters;
	OR_DIE(store_counters(load.store, "", &counters));
	OR_DIE(store_size(load.store, &size));
	say("rows", (double)counters.rows / 1e6, "M");
	say("nodes in the dictionary", size.dict.nodes, "");
	say("memory, whole store", (double)size.bytes_memory / 1048576, "MiB");
	OR_DIE(store_flush(load.store));
	OR_DIE(store_size(load.store, &size));
	say("on disk after a flush", (double)size.bytes_disk / (double)counters.rows, "B/row");
	say("draws per row", (double)rows / (double)counters.rows, "");
	queries(load.store, tick);

	double wall = seconds(CLOCK_MONOTONIC);
	double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	OR_DIE(store_seal(load.store, UINT64_MAX));
	say("seal, wall", (double)counters.rows / (seconds(CLOCK_MONOTONIC) - wall) / 1e6,
	        "Mrow/s");
	say("seal, per core",
	        (double)counters.rows / (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e6, "Mrow/s");
	OR_DIE(store_flush(load.store));
	/* Opening again ends with what compaction and the log still had. */
	store_free(load.store);
	load.store = open_store(folder);
	OR_DIE(store_size(load.store, &size));
	say("sealed windows", (double)size.windows, "");
	say("on disk, sealed", (double)size.bytes_disk / (double)counters.rows, "B/row");
	say_family(folder, &load.store, "detail", KV_DETAIL, counters.rows);
	say_family(folder, &load.store, "sums, members, watchers", KV_SUMS, counters.rows);
	queries(load.store, tick);
	store_free(load.store);
	store_free(open_store(folder));
	return 0;
}
