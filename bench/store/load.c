/* A group is a number of sections that are one synced write, as the aggregator's ingest makes. */

#include "bench/store/load.h"

#include <errno.h>
#include <time.h>

#define LOAD_GROUP_REPORTS 64
#define LOAD_GRACE_NS      UINT64_C(30000000000)
#define LOAD_HOUR_NS       (6 * LOAD_WINDOW_NS)
#define LOAD_ERROR_BYTES   512

/* One for all stores of the process: the newest batch says what time it is. */
static struct clock_virtual load_clock;

static void load_tell_time(uint64_t unix_ns)
{
	if (!load_clock.clock.unix_ns)
		clock_virtual_init(&load_clock, unix_ns);
	if (unix_ns > load_clock.now_unix_ns)
		clock_virtual_advance(&load_clock, unix_ns - load_clock.now_unix_ns);
}

struct store *load_open(const char *folder, uint64_t block_cache_bytes)
{
	struct store *store;
	char error[LOAD_ERROR_BYTES];
	load_tell_time(FLEET_START_NS);
	struct store_options options = {
		.path = folder,
		.clock = &load_clock.clock,
		.limits = {
			.strings = 1u << 28,
			.modules = 1u << 20,
			.frames = 1u << 28,
			.nodes = 1u << 28,
			.series = 1u << 24,
			.string_bytes = UINT64_C(1) << 34,
		},
		.block_cache_bytes = block_cache_bytes,
		.symbols_cache_bytes = 256u << 20,
		.window_ns = LOAD_WINDOW_NS,
	};
	if (store_open(options, &store, error, sizeof(error)) < 0) {
		fprintf(stderr, "bench.store: %s\n", error);
		exit(1);
	}
	return store;
}

void load_begin_sessions(struct load *load)
{
	for (uint32_t i = 0; i < load->rows->sessions_count; i++) {
		dict_remap_free(load->remaps[i]);
		load->remaps[i] = dict_remap_new(load->rows->sessions[i].dict, NULL);
		SAY_OR_DIE(load->remaps[i] ? 0 : -ENOMEM);
	}
}

void load_init(struct load *load, const struct rows *rows, struct store *store)
{
	*load = (struct load){ .rows = rows, .store = store };
	for (uint32_t i = 0; i < rows->sections_count; i++)
		if (rows->sections[i].service >= load->services)
			load->services = rows->sections[i].service + 1;
	load->remaps = say_alloc(rows->sessions_count, sizeof(struct dict_remap *));
	load->batches = say_alloc(LOAD_GROUP_REPORTS, sizeof(struct batch *));
	load->seqs = say_alloc((size_t)rows->sessions_count * load->services, sizeof(uint64_t));
	for (uint32_t i = 0; i < rows->sessions_count; i++) {
		load->remaps[i] = dict_remap_new(rows->sessions[i].dict, NULL);
		SAY_OR_DIE(load->remaps[i] ? 0 : -ENOMEM);
	}
	for (uint32_t i = 0; i < LOAD_GROUP_REPORTS; i++) {
		load->batches[i] = batch_new(NULL);
		SAY_OR_DIE(load->batches[i] ? 0 : -ENOMEM);
	}
}

void load_fini(struct load *load)
{
	for (uint32_t i = 0; i < load->rows->sessions_count; i++)
		dict_remap_free(load->remaps[i]);
	for (uint32_t i = 0; i < LOAD_GROUP_REPORTS; i++)
		batch_free(load->batches[i]);
	free(load->remaps);
	free(load->batches);
	free(load->seqs);
}

/* The sections from `first` on that are one group: its end. None spans two ticks. */
static uint32_t load_group(struct load *load, uint32_t first, uint64_t shift_ns,
        struct store_append *appends, uint64_t *ret_rows)
{
	const struct rows *rows = load->rows;
	uint64_t tick = rows->sections[first].tick;
	uint64_t count = 0;
	uint32_t reports = 0;
	uint32_t i = first;
	for (; i < rows->sections_count && rows->sections[i].tick == tick; i++) {
		const struct rows_section *section = &rows->sections[i];
		if (i > first && reports + section->reports_count > LOAD_GROUP_REPORTS)
			break;
		reports += section->reports_count;
		struct batch *batch = load->batches[i - first];
		batch->dict = rows->sessions[section->session].dict;
		rows_fill(rows, section, shift_ns, batch);
		count += batch->rows_count;
		uint64_t *seq = &load->seqs[section->session * load->services + section->service];
		struct store_append *append = &appends[i - first];
		*append = (struct store_append){
			.stream = { .epoch = 1,
			        .shard = (uint16_t)section->service,
			        .seq = ++*seq,
			        .tenant = "" },
			.batch = batch,
			.remap = load->remaps[section->session],
		};
		uint32_t number = section->session + 1;
		memcpy(append->stream.uuid.bytes, &number, sizeof(number));
	}
	load_tell_time(rows->start_ns + tick * rows->tick_ns + shift_ns + FLEET_REPORT_NS);
	*ret_rows = count;
	return i;
}

static void load_append(struct load *load, struct store_append *appends, uint32_t count)
{
	if (store_append(load->store, appends, count) < 0) {
		fprintf(stderr, "bench.store: append: %s\n", store_error(load->store));
		exit(1);
	}
	for (uint32_t i = 0; i < count; i++) {
		if (appends[i].ret_status == WIRE_OK)
			continue;
		fprintf(stderr, "bench.store: append: %s\n", appends[i].ret_reason);
		exit(1);
	}
}

static void load_seal(struct load *load, uint64_t until_ns, struct load_figures *figures)
{
	double wall = say_wall_s();
	double cpu = say_process_cpu_s();
	if (store_seal(load->store, until_ns) < 0) {
		fprintf(stderr, "bench.store: seal: %s\n", store_error(load->store));
		exit(1);
	}
	figures->seal_wall_s += say_wall_s() - wall;
	figures->seal_cpu_s += say_process_cpu_s() - cpu;
}

/* Every hour and day that is over; the last may be a few ticks short. */
static void load_roll(struct load *load, uint64_t shift_ns, struct load_figures *figures)
{
	uint64_t end_ns = rows_end_ns(load->rows) + shift_ns;
	double cpu = say_process_cpu_s();
	uint64_t until_ns = (end_ns + LOAD_HOUR_NS - 1) / LOAD_HOUR_NS * LOAD_HOUR_NS;
	if (store_roll(load->store, until_ns) < 0) {
		fprintf(stderr, "bench.store: roll: %s\n", store_error(load->store));
		exit(1);
	}
	figures->roll_cpu_s += say_process_cpu_s() - cpu;
}

struct load_figures load_run(struct load *load, uint64_t shift_ns)
{
	const struct rows *rows = load->rows;
	struct load_figures figures = { 0 };
	struct store_append appends[LOAD_GROUP_REPORTS];
	uint32_t nodes_before = dict_mark(store_dict(load->store)).nodes;
	struct say_written written = say_written();
	double cpu = say_process_cpu_s();
	double making = 0;
	uint64_t sealed_ns = 0;
	for (uint32_t i = 0, end; i < rows->sections_count; i = end) {
		double before = say_thread_cpu_s();
		uint64_t count;
		end = load_group(load, i, shift_ns, appends, &count);
		making += say_thread_cpu_s() - before;
		double wall = say_wall_s();
		load_append(load, appends, end - i);
		figures.append_wall_s += say_wall_s() - wall;
		figures.rows += count;

		uint64_t now_ns = appends[0].batch->start_ns;
		bool is_tick_over = end == rows->sections_count ||
		                    rows->sections[end].tick != rows->sections[i].tick;
		uint64_t over_ns = now_ns < LOAD_GRACE_NS ? 0
		                                          : (now_ns - LOAD_GRACE_NS) /
		                                                    LOAD_WINDOW_NS * LOAD_WINDOW_NS;
		if (is_tick_over && over_ns > sealed_ns) {
			load_seal(load, over_ns, &figures);
			sealed_ns = over_ns;
		}
	}
	load_seal(load, UINT64_MAX, &figures);
	load_roll(load, shift_ns, &figures);
	SAY_OR_DIE(store_flush(load->store));
	figures.all_cpu_s = say_process_cpu_s() - cpu - making - figures.roll_cpu_s;
	figures.append_cpu_s = figures.all_cpu_s - figures.seal_cpu_s;
	struct say_written after = say_written();
	figures.written.disk = after.disk - written.disk;
	figures.written.calls = after.calls - written.calls;
	figures.nodes_new = dict_mark(store_dict(load->store)).nodes - nodes_before;
	return figures;
}

void load_symbols(struct load *load)
{
	const struct fleet *fleet = load->rows->fleet;
	const struct fleet_tree *tree = fleet_tree_of(fleet);
	for (uint32_t i = 0; i < fleet_tree_modules(tree); i++) {
		struct fleet_module module = fleet_tree_module(tree, i);
		AUTO_BUF table = { 0 };
		if (!module.build_id[0])
			continue;
		SAY_OR_DIE(fleet_symbols(fleet, module.build_id, strlen(module.build_id), &table));
		SAY_OR_DIE(
		        store_symbols_put(load->store, module.build_id, table.bytes, table.count));
	}
}

/* ---- at a pace ---- */

static void load_wait_until(double at_s)
{
	double left = at_s - say_wall_s();
	if (left <= 0)
		return;
	struct timespec pause = { .tv_sec = (time_t)left,
		.tv_nsec = (long)((left - (double)(time_t)left) * 1e9) };
	(void)nanosleep(&pause, NULL);
}

static void *load_pace_run(void *argument)
{
	struct load_pace *pace = argument;
	struct load *load = pace->load;
	struct store_append appends[LOAD_GROUP_REPORTS];
	uint32_t at = 0;
	double begin = say_wall_s();
	while (!__atomic_load_n(&pace->is_stopping, __ATOMIC_RELAXED)) {
		uint64_t count;
		if (at == load->rows->sections_count) {
			at = 0;
			pace->shift_ns += load->rows->ticks * load->rows->tick_ns;
		}
		uint32_t end = load_group(load, at, pace->shift_ns, appends, &count);
		load_wait_until(begin + (double)pace->rows / pace->rows_per_s);
		double before = say_wall_s();
		load_append(load, appends, end - at);
		pace->ms = say_grow(
		        pace->ms, &pace->capacity, (uint64_t)pace->count + 1, sizeof(*pace->ms));
		pace->ms[pace->count++] = (say_wall_s() - before) * 1e3;
		pace->rows += count;
		at = end;
	}
	pace->seconds = say_wall_s() - begin;
	return NULL;
}

void load_pace_start(struct load_pace *pace)
{
	SAY_OR_DIE(-pthread_create(&pace->thread, NULL, load_pace_run, pace));
}

void load_pace_stop(struct load_pace *pace)
{
	__atomic_store_n(&pace->is_stopping, true, __ATOMIC_RELAXED);
	(void)pthread_join(pace->thread, NULL);
}
