/*
 * bench.store measures what the store promises, on generated rows, beside DuckDB on the identical
 * rows in the same process: bench/run store gathers its lines and prints the table.
 *
 *	bench.store SET FOLDER RUNS [LIBDUCKDB]
 *
 *	hour     set A: 12 services, 298 instances, an hour
 *	day      set B: 3 services, 15 instances, 24 hours
 *	month    30 days of set B, each instance reporting once an hour what is 20 times as much
 *
 * with -quick and -tiny for smaller ones of the same shape. Service 0, the largest, is asked for.
 * Every answer is compared with a plain sum of the rows, and with the peer's, before it is timed.
 * bench/store.md says what each figure is.
 *
 * With BENCH_STORE_PROFILE_S in the environment each question is repeated for so many seconds after
 * it was timed, for whoever samples this process meanwhile.
 */

#include <errno.h>
#include <malloc.h>
#include <sys/stat.h>

#include "bench/store/ask.h"
#include "bench/store/duck.h"
#include "bench/store/load.h"
#include "storage/kv.h"
#include "storage/store_expire.h"

#define WINDOW_NS       LOAD_WINDOW_NS
#define BLOCK_CACHE     (UINT64_C(1) << 30)
#define BLOCK_CACHE_NOT (UINT64_C(64) << 10) /* what was read comes from the files again */
#define NAMES_BYTES     (UINT64_C(4) << 30)
#define ERROR_BYTES     512

enum shape { HOUR, DAY, MONTH };

struct set {
	const char *name;
	enum shape shape;
	const char *fleet; /* the named set that it stands on */
	uint32_t services, instances, rows, pool_draws;
	uint64_t duration_ns; /* of the fleet's ticks of 10 s */
	uint64_t tick_ns;     /* what a tick is here */
	uint32_t rollup_s;    /* the peer's windows */
	double pace_s;        /* how long questions are asked beside appends */
};

#define S UINT64_C(1000000000)
static const struct set sets[] = {
	{ "hour", HOUR, "A", 0, 0, 0, 0, 0, 10 * S, 600, 5 },
	{ "hour-quick", HOUR, "A", 4, 26, 0, 0, 0, 10 * S, 600, 2 },
	{ "hour-tiny", HOUR, "A", 2, 4, 30, 300, 0, 10 * S, 600, 0.05 },
	{ "day", DAY, "B", 0, 0, 0, 0, 0, 10 * S, 3600, 0 },
	{ "day-quick", DAY, "B", 2, 4, 0, 0, 8640 * S, 100 * S, 3600, 0 },
	{ "day-tiny", DAY, "B", 2, 2, 30, 300, 1440 * S, 600 * S, 3600, 0 },
	{ "month", MONTH, "B", 0, 0, 5700, 0, 7200 * S, 3600 * S, 86400, 0 },
	{ "month-quick", MONTH, "B", 2, 4, 1000, 0, 7200 * S, 3600 * S, 86400, 0 },
	{ "month-tiny", MONTH, "B", 2, 2, 30, 300, 1200 * S, 21600 * S, 86400, 0 },
};

struct bench {
	const struct set *set;
	uint32_t runs;
	char folder[4000];
	char service[32];   /* the one that is asked for */
	char selector[128]; /* of it */
	struct rows *rows;
	struct store *store;
	struct named_stacks *stacks; /* what the aggregator would remember of it */
	struct duck *duck;
	uint32_t differing; /* answers that were not the peer's */
	double profile_s;   /* how long a question is repeated for a profile */
};

static void bench_close(struct bench *bench)
{
	store_free(bench->store);
	named_stacks_free(bench->stacks);
	bench->store = NULL;
	bench->stacks = NULL;
}

/* After closing what was open. */
static void bench_open(struct bench *bench, const char *folder, uint64_t block_cache_bytes)
{
	bench_close(bench);
	bench->store = load_open(folder, block_cache_bytes);
	bench->stacks = named_stacks_new(NAMES_BYTES);
	SAY_OR_DIE(bench->stacks ? 0 : -ENOMEM);
}

static void bench_path(const struct bench *bench, const char *name, char path[static 4096])
{
	snprintf(path, 4096, "%s/%s", bench->folder, name);
	(void)mkdir(path, 0700);
}

static void bench_make_rows(struct bench *bench)
{
	const struct set *set = bench->set;
	struct rows_options options = { .tick_ns = set->tick_ns };
	SAY_OR_DIE(fleet_options_named(set->fleet, &options.fleet));
	options.fleet.services = set->services ? set->services : options.fleet.services;
	options.fleet.instances = set->instances ? set->instances : options.fleet.instances;
	options.fleet.rows = set->rows ? set->rows : options.fleet.rows;
	options.fleet.pool_draws = set->pool_draws;
	if (set->duration_ns) {
		/* Fewer ticks of the fleet: all that goes by its time goes so much faster. */
		options.fleet.life_ns = options.fleet.life_ns / (set->tick_ns / (10 * S));
		options.fleet.duration_ns = set->duration_ns;
	}
	bench->rows = rows_make(options);
	say("rows", (double)bench->rows->rows_count);
	say("stacks", rows_stacks(bench->rows));
	say("series", bench->rows->series_count);
}

static struct question bench_question(const struct bench *bench)
{
	return (struct question){
		.selectors = { bench->selector, bench->selector },
		.from_ns = { bench->rows->start_ns, bench->rows->start_ns },
		.to_ns = { rows_end_ns(bench->rows), rows_end_ns(bench->rows) },
		.sides = 1,
	};
}

/* ---- loading ---- */

/* Bytes of keys and values of one family, in a closed store. */
static uint64_t family_bytes(const char *folder, enum kv_family family)
{
	AUTO(kv) kv = NULL;
	struct kv_options options = { .path = folder, .memtables_bytes = 64 << 20 };
	char error[ERROR_BYTES];
	uint64_t bytes = 0;
	SAY_OR_DIE(kv_open(options, &kv, error, sizeof(error)));
	AUTO(kv_iterator) it = kv_iterator_new(
	        kv, family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	SAY_OR_DIE(it ? 0 : -ENOMEM);
	for (; kv_iterator_is_valid(it); kv_iterator_next(it))
		bytes += kv_iterator_key(it).count + kv_iterator_value(it).count;
	SAY_OR_DIE(kv_iterator_result(it));
	return bytes;
}

/* Of a store that has all rows so often; the dictionary is that of once. */
#define LOADS 3

static void bench_say_sizes(const struct bench *bench, const char *folder)
{
	double rows = (double)bench->rows->rows_count;
	uint64_t dict = family_bytes(folder, KV_DICT) + family_bytes(folder, KV_DICT_TEXT);
	say("detail_bytes_per_row", (double)family_bytes(folder, KV_DETAIL) / rows / LOADS);
	uint64_t hours = family_bytes(folder, KV_SUMS_HOUR) + family_bytes(folder, KV_SUMS_DAY);
	say("sums_bytes_per_row", (double)(family_bytes(folder, KV_SUMS) + hours) / rows / LOADS);
	say("rollups_bytes_per_row", (double)hours / rows / LOADS);
	say("dict_bytes_per_row", (double)dict / rows);
	say("dict_bytes_per_stack", (double)dict / rows_stacks(bench->rows));
	say("disk_bytes_per_row", ((double)say_folder_bytes(folder) - (double)dict) / rows / LOADS +
	                                  (double)dict / rows);
}

/* What a load costs more than another of the same rows, for each of so many stacks. */
static void bench_say_stacks(const char *what, const struct load_figures *more,
        const struct load_figures *less, uint64_t stacks)
{
	say(what, (more->append_cpu_s - less->append_cpu_s) / (double)stacks * 1e6);
}

static void bench_say_load(const struct load_figures *fresh, const struct load_figures *known)
{
	double rows = (double)known->rows;
	say("append_seal_mrows_per_core", rows / known->all_cpu_s / 1e6);
	say("append_mrows_per_core", rows / known->append_cpu_s / 1e6);
	say("append_mrows_wall", rows / known->append_wall_s / 1e6);
	say("seal_mrows_per_core", rows / known->seal_cpu_s / 1e6);
	say("roll_mrows_per_core", rows / known->roll_cpu_s / 1e6);
	say("append_seal_new_mrows_per_core", rows / fresh->all_cpu_s / 1e6);
	say("written_per_row", (double)known->written.disk / rows);
	say("written_calls_per_row", (double)known->written.calls / rows);
	say("written_new_per_row", (double)fresh->written.disk / rows);
}

/* Windows of a range, each once. */
struct window_names {
	struct store_expire_item *items;
	uint32_t count, capacity;
	uint64_t from_ns, to_ns;
	uint32_t level;
	uint32_t parts;
};

static int note_window(void *owner, const struct store_inventory_unit *unit)
{
	struct window_names *names = owner;
	const struct store_window_name *window = &unit->window;
	if (unit->is_open || window->level != names->level || window->from_ns < names->from_ns ||
	        window->to_ns > names->to_ns)
		return 0;
	for (uint32_t i = names->count; i-- > 0;) {
		if (memcmp(&names->items[i].window, window, sizeof(*window)) == 0)
			return 0;
	}
	names->items = say_grow(
	        names->items, &names->capacity, (uint64_t)names->count + 1, sizeof(*names->items));
	names->items[names->count++] = (struct store_expire_item){
		.window = *window, .unit = STORE_UNIT_NONE, .parts = names->parts
	};
	return 0;
}

/* Hides and erases what the windows of a level in the range have; how much it was. */
static struct store_expired bench_forget(struct store *store, struct window_names names)
{
	static uint64_t runs;
	struct store_inventory_options options = { .from_ns = names.from_ns, .to_ns = names.to_ns };
	struct store_run run = { .id = ++runs };
	struct store_expired hidden = { 0 }, erased;
	SAY_OR_DIE(store_inventory(store, options, note_window, &names));
	if (names.count > 0) {
		SAY_OR_DIE(store_hide(store, &run, names.items, names.count, &hidden));
		SAY_OR_DIE(store_erase(store, run.id, NULL, &erased));
	}
	free(names.items);
	return hidden;
}

/* Three windows go; what the database writes because of it, until it is quiet. */
static void bench_expire(const struct bench *bench, struct store *store)
{
	struct window_names names = {
		.from_ns = bench->rows->start_ns,
		.to_ns = bench->rows->start_ns + 3 * WINDOW_NS,
		.parts = STORE_PART_ALL,
	};
	struct say_written written = say_written();
	say_phase("expire");
	double before = say_wall_s();
	struct store_expired expired = bench_forget(store, names);
	say("expire_ms", (say_wall_s() - before) * 1e3);
	say_phase("-");
	double gone = (double)(expired.bytes_detail + expired.bytes_sums);
	say("expire_gone_mb", gone / 1e6);
	struct timespec pause = { .tv_nsec = 500000000 };
	uint64_t seen;
	do {
		seen = say_written().disk;
		(void)nanosleep(&pause, NULL);
	} while (say_written().disk != seen);
	say("expire_written_mb", (double)(seen - written.disk) / 1e6);
	say("expire_written_percent", 100.0 * (double)(seen - written.disk) / gone);
}

/*
 * One run: all rows into a fresh store; again an hour later, when every stack is known; and a third
 * time by senders that begin new sessions, to whom they are known by the store alone.
 */
static void bench_load_once(struct bench *bench, uint32_t run)
{
	char folder[4096];
	char name[32];
	struct load load;
	uint64_t span_ns = (bench->rows->ticks * bench->rows->tick_ns + WINDOW_NS - 1) / WINDOW_NS *
	                   WINDOW_NS;
	snprintf(name, sizeof(name), "store-%u", run);
	bench_path(bench, name, folder);
	bench_open(bench, folder, BLOCK_CACHE);
	load_init(&load, bench->rows, bench->store);
	say_phase("load_fresh");
	struct load_figures fresh = load_run(&load, 0);
	say_phase("load_known");
	struct load_figures known = load_run(&load, span_ns);
	say_phase("-");
	load_begin_sessions(&load);
	struct load_figures sessions = load_run(&load, 2 * span_ns);
	load_fini(&load);
	bench_close(bench);
	bench_say_load(&fresh, &known);
	bench_say_stacks("new_stack_us", &fresh, &sessions, rows_stacks(bench->rows));
	bench_say_stacks("new_node_us", &fresh, &sessions, fresh.nodes_new);
	bench_say_stacks(
	        "new_session_stack_us", &sessions, &known, rows_stacks_of_sessions(bench->rows));
	bench_say_sizes(bench, folder);
	bench_open(bench, folder, BLOCK_CACHE);
	if (run + 1 == bench->runs)
		return;
	bench_expire(bench, bench->store);
	bench_close(bench);
}

/* For what is only asked. */
static void bench_load_only(struct bench *bench)
{
	char folder[4096];
	struct load load;
	bench_path(bench, "store-0", folder);
	bench_open(bench, folder, BLOCK_CACHE);
	load_init(&load, bench->rows, bench->store);
	struct load_figures figures = load_run(&load, 0);
	load_fini(&load);
	say("roll_mrows_per_core", (double)figures.rows / figures.roll_cpu_s / 1e6);
	if (bench->set->shape != MONTH)
		return;
	/* What is a month old has neither detail nor anything finer than days. */
	struct window_names names = { .from_ns = bench->rows->start_ns,
		.to_ns = rows_end_ns(bench->rows),
		.parts = STORE_PART_ALL };
	for (; names.level < 2; names.level++)
		(void)bench_forget(bench->store, names);
}

static void bench_symbols(struct bench *bench)
{
	struct load load;
	load_init(&load, bench->rows, bench->store);
	load_symbols(&load);
	load_fini(&load);
}

/* ---- asking ---- */

static struct rows_sum sum_add(struct rows_sum a, struct rows_sum b)
{
	return (struct rows_sum){ a.stacks + b.stacks, a.value + b.value, a.mix + b.mix };
}

static void bench_compare(
        struct bench *bench, const char *what, struct rows_sum ours, struct rows_sum other)
{
	say("answers_compared", 1);
	if (memcmp(&ours, &other, sizeof(ours)) == 0)
		return;
	bench->differing++;
	fprintf(stderr,
	        "bench.store: %s: %llu stacks of %llu samples where there are %llu of %llu%s\n",
	        what, (unsigned long long)ours.stacks, (unsigned long long)ours.value,
	        (unsigned long long)other.stacks, (unsigned long long)other.value,
	        ours.mix == other.mix ? "" : ", and other ones");
}

/* The answer by address is what adding up the rows gives, and the peer's. */
static void bench_check(struct bench *bench, const char *what, const struct question *question,
        uint32_t but, const char *sql)
{
	struct rows_sum ours = ask_print(bench->store, bench->rows, question);
	struct rows_sum plain = { 0 };
	for (uint32_t i = 0; i < question->sides; i++)
		plain = sum_add(plain,
		        rows_expect(bench->rows, 0, but, question->from_ns[i], question->to_ns[i]));
	bench_compare(bench, what, ours, plain);
	if (bench->duck)
		bench_compare(bench, what, ours, duck_ask(bench->duck, sql).sum);
}

/* The peer answers every run too, first and last being alike. */
static void bench_duck(const struct bench *bench, const char *what, const char *sql)
{
	for (uint32_t i = 0; bench->duck && i < bench->runs; i++)
		say_of(what, "ms_duck", duck_ask(bench->duck, sql).ms);
}

/* For a profile: the same again and again, cold where there is a folder to be put out of the cache.
 */
static void bench_repeat(const struct bench *bench, const char *what, struct question question,
        const char *cold_folder)
{
	double end = say_wall_s() + bench->profile_s;
	if (bench->profile_s <= 0)
		return;
	say_phase(what);
	while (say_wall_s() < end) {
		for (uint32_t side = 0; side < question.sides; side++)
			question.to_ns[side]--;
		if (cold_folder)
			say_evict(cold_folder);
		(void)ask(bench->store, bench->stacks, &question);
	}
	say_phase("-");
}

/* Once to warm up, then every run; each ends a nanosecond earlier, so that none was asked before.
 */
static void bench_ask(const struct bench *bench, const char *what, struct question question)
{
	struct ask_result result = { 0 };
	for (uint32_t i = 0; i <= bench->runs; i++) {
		for (uint32_t side = 0; side < question.sides; side++)
			question.to_ns[side]--;
		result = ask(bench->store, bench->stacks, &question);
		say_of(what, i > 0 ? "ms" : "first_ms", result.ms);
		if (i > 0)
			say_of(what, "cpu_ms", result.cpu_ms);
	}
	say_of(what, "tree_nodes", result.nodes);
	say_of(what, "samples", (double)result.value);
	for (uint32_t i = 0; question.sides == 1 && i < bench->runs; i++) {
		struct ask_sum sum = ask_sum(bench->store, &question);
		say_of(what, "sum_ms", sum.ms);
		say_of(what, "sum_cpu_ms", sum.cpu_ms);
	}
	bench_repeat(bench, what, question, NULL);
}

/*
 * Cold is: the database open with no block cache, its files out of the page cache, the names of the
 * service's stacks known from a question before.
 */
static void bench_ask_cold(struct bench *bench, const char *what, struct question question)
{
	char folder[4096];
	char name[32];
	snprintf(name, sizeof(name), "store-%u", bench->set->shape == HOUR ? bench->runs - 1 : 0);
	bench_path(bench, name, folder);
	bench_open(bench, folder, BLOCK_CACHE_NOT);
	for (uint32_t i = 0; i <= bench->runs; i++) {
		question.to_ns[0]--;
		say_evict(folder);
		double ms = ask(bench->store, bench->stacks, &question).ms;
		if (i > 0)
			say_of(what, "cold_ms", ms);
	}
	snprintf(name, sizeof(name), "%s_cold", what);
	bench_repeat(bench, name, question, folder);
	bench_close(bench);
	say_evict(folder);
	bench_open(bench, folder, BLOCK_CACHE);
	say_of(what, "restarted_ms", ask(bench->store, bench->stacks, &question).ms);
}

static void bench_duck_cold(const struct bench *bench, const char *what, const char *sql)
{
	for (uint32_t i = 0; bench->duck && i < bench->runs; i++) {
		duck_make_cold(bench->duck);
		say_of(what, "cold_ms_duck", duck_ask(bench->duck, sql).ms);
	}
}

#define SQL_ROLLUP                                                                                 \
	"SELECT stack, sum(value)::UBIGINT FROM u.rollup WHERE service = 0 GROUP BY stack"
#define SQL_RAW "SELECT stack, sum(value)::UBIGINT FROM r.rows WHERE service = 0 GROUP BY stack"
#define SQL_DIFF                                                                                   \
	"SELECT stack, coalesce(sum(value) FILTER (w < 3), 0)::UBIGINT, "                          \
	"coalesce(sum(value) FILTER (w >= 3), 0)::UBIGINT FROM u.rollup WHERE service = 0 "        \
	"GROUP BY stack"

/* All of service 0 but one instance: sums do not keep the label, and nearly every row counts. */
static void bench_detail(struct bench *bench)
{
	struct question question = bench_question(bench);
	char selector[256];
	char sql[512];
	uint32_t but = 0;
	while (bench->rows->series[but].service != 0)
		but++;
	snprintf(selector, sizeof(selector), "cpu{service=\"%s\",instance!=\"%s\"}", bench->service,
	        bench->rows->series[but].name);
	snprintf(sql, sizeof(sql),
	        "SELECT stack, sum(value)::UBIGINT FROM r.rows WHERE service = 0 AND series <> %u "
	        "GROUP BY stack",
	        but);
	question.selectors[0] = selector;

	uint64_t rows = 0;
	for (uint32_t i = 0; i < bench->rows->sections_count; i++) {
		const struct rows_section *section = &bench->rows->sections[i];
		for (uint32_t n = 0; n < section->reports_count; n++) {
			const struct rows_report *report =
			        &bench->rows->reports[section->reports_first + n];
			if (section->service == 0 && report->number != but)
				rows += report->count;
		}
	}
	say("detail_rows", (double)rows);
	bench_check(bench, "from detail", &question, but, sql);
	bench_symbols(bench);
	bench_ask(bench, "detail", question);
	bench_duck(bench, "detail", sql);
}

static struct question bench_halves(const struct bench *bench)
{
	struct question question = bench_question(bench);
	uint64_t half_ns = bench->rows->start_ns + 3 * WINDOW_NS;
	question.sides = 2;
	question.to_ns[0] = half_ns;
	question.from_ns[1] = half_ns;
	return question;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void say_percentiles(const char *what, double *values, uint32_t count)
{
	if (count == 0)
		return;
	qsort(values, count, sizeof(*values), compare_doubles);
	say_of(what, "ms_p50", values[count / 2]);
	say_of(what, "ms_p99", values[(uint64_t)count * 99 / 100]);
	say_of(what, "ms_max", values[count - 1]);
}

/* Questions while rows are appended at that rate; 0: the same questions alone. */
static void bench_pace_once(
        const struct bench *bench, struct load *load, double rows_per_s, uint64_t *shift_ns)
{
	struct question question = bench_question(bench);
	struct load_pace pace = { .load = load, .shift_ns = *shift_ns, .rows_per_s = rows_per_s };
	double *ms = NULL;
	uint32_t count = 0, capacity = 0;
	double end = say_wall_s() + bench->set->pace_s;
	if (rows_per_s > 0)
		load_pace_start(&pace);
	while (say_wall_s() < end) {
		ms = say_grow(ms, &capacity, (uint64_t)count + 1, sizeof(*ms));
		question.to_ns[0] = rows_end_ns(bench->rows) - count % 3 * 2 * WINDOW_NS;
		ms[count++] = ask(bench->store, bench->stacks, &question).ms;
	}
	if (rows_per_s > 0) {
		load_pace_stop(&pace);
		*shift_ns = pace.shift_ns + bench->rows->ticks * bench->rows->tick_ns;
		say("pace_mrows", (double)pace.rows / pace.seconds / 1e6);
		say_percentiles("pace_append", pace.ms, pace.count);
		free(pace.ms);
	}
	say_percentiles(rows_per_s > 0 ? "pace_ask" : "pace_ask_alone", ms, count);
	free(ms);
}

/* How fast appends go when they may, then half of it with questions. */
static void bench_pace(const struct bench *bench)
{
	struct load load;
	load_init(&load, bench->rows, bench->store);
	for (uint32_t i = 0; i < load.rows->sessions_count * load.services; i++)
		load.seqs[i] = UINT64_C(2) << 32;
	uint64_t shift_ns = 4 * bench->rows->ticks * bench->rows->tick_ns;
	struct load_pace full = { .load = &load, .shift_ns = shift_ns, .rows_per_s = 1e12 };
	struct timespec pause = { .tv_sec = (time_t)bench->set->pace_s,
		.tv_nsec = (long)(bench->set->pace_s * 1e9) % 1000000000 };
	load_pace_start(&full);
	(void)nanosleep(&pause, NULL);
	load_pace_stop(&full);
	double rows_per_s = (double)full.rows / full.seconds;
	say("pace_max_mrows", rows_per_s / 1e6);
	free(full.ms);
	shift_ns = full.shift_ns + bench->rows->ticks * bench->rows->tick_ns;
	for (uint32_t i = 0; i < bench->runs; i++) {
		bench_pace_once(bench, &load, 0, &shift_ns);
		bench_pace_once(bench, &load, rows_per_s / 2, &shift_ns);
	}
	load_fini(&load);
}

/* ---- memory ---- */

static double bench_memory_open(struct bench *bench, const char *folder)
{
	bench_close(bench);
	(void)malloc_trim(0);
	uint64_t before = say_rss_bytes();
	bench_open(bench, folder, BLOCK_CACHE_NOT);
	/* What opening needed for a while and gave back is not held. */
	(void)malloc_trim(0);
	uint64_t after = say_rss_bytes();
	return after > before ? (double)(after - before) : 0;
}

/*
 * What an opened store holds for each distinct stack, beyond what an empty one holds, alone and
 * after a question. The empty one is opened after it, when the allocator may still have room: then
 * less is taken off, not more.
 */
static void bench_memory(struct bench *bench, const char *folder)
{
	struct question question = bench_question(bench);
	struct store_size size;
	char empty[4096];
	double stacks = rows_stacks(bench->rows);
	double opened = bench_memory_open(bench, folder);
	SAY_OR_DIE(store_size(bench->store, &size));
	say("memory_counted_per_stack", (double)size.bytes_memory / stacks);
	uint64_t before = say_rss_bytes();
	(void)ask(bench->store, bench->stacks, &question);
	(void)malloc_trim(0);
	double asked = (double)say_rss_bytes() - (double)before;
	bench_path(bench, "empty", empty);
	double fixed = bench_memory_open(bench, empty);
	say("memory_per_stack", (opened - fixed) / stacks);
	say("memory_all_per_stack", opened / stacks);
	say("memory_fixed_mb", fixed / 1e6);
	say("memory_asked_per_stack", (opened + asked - fixed) / stacks);
}

/* ---- the sets ---- */

static void bench_duck_begin(struct bench *bench, const char *library)
{
	char folder[4096];
	bench_path(bench, "duck", folder);
	bench->duck = duck_open(library, folder);
	if (!bench->duck)
		exit(1);
	fprintf(stderr, "bench.store: beside DuckDB %s\n", duck_version(bench->duck));
	struct duck_load load = duck_load(bench->duck, bench->rows, bench->set->rollup_s);
	double rows = (double)bench->rows->rows_count;
	say("append_mrows_per_core_duck", rows / load.append_cpu_s / 1e6);
	say("append_seal_mrows_per_core_duck", rows / (load.append_cpu_s + load.sort_cpu_s) / 1e6);
	say("detail_bytes_per_row_duck", (double)load.rows_bytes / rows);
	say("sums_bytes_per_row_duck", (double)load.rollup_bytes / rows);
	say("written_per_row_duck", (double)load.written / rows);
}

static void bench_duck_expire(const struct bench *bench)
{
	if (!bench->duck)
		return;
	double ms = duck_do(bench->duck, "DELETE FROM r.rows WHERE t < 1800");
	ms += duck_do(bench->duck, "DELETE FROM u.rollup WHERE w < 3");
	ms += duck_do(bench->duck, "CHECKPOINT r");
	ms += duck_do(bench->duck, "CHECKPOINT u");
	say("expire_ms_duck", ms);
}

static void bench_hour(struct bench *bench, const char *library)
{
	char folder[4096];
	char name[32];
	for (uint32_t i = 0; i < bench->runs; i++)
		bench_load_once(bench, i);
	if (library)
		bench_duck_begin(bench, library);
	struct question hour = bench_question(bench);
	struct question halves = bench_halves(bench);
	bench_check(bench, "merge of an hour", &hour, ID_NONE, SQL_ROLLUP);
	bench_check(bench, "diff of halves", &halves, ID_NONE, SQL_DIFF);
	bench_detail(bench);
	bench_ask(bench, "hour", hour);
	bench_duck(bench, "hour", SQL_ROLLUP);
	bench_duck(bench, "hour_raw", SQL_RAW);
	bench_ask(bench, "diff", halves);
	bench_duck(bench, "diff", SQL_DIFF);
	bench_ask_cold(bench, "hour", hour);
	bench_duck_cold(bench, "hour", SQL_ROLLUP);
	snprintf(name, sizeof(name), "store-%u", bench->runs - 1);
	bench_path(bench, name, folder);
	bench_memory(bench, folder);
	bench_open(bench, folder, BLOCK_CACHE);
	bench_pace(bench);
	bench_expire(bench, bench->store);
	bench_duck_expire(bench);
}

static void bench_long(struct bench *bench, const char *library, const char *what)
{
	bench_load_only(bench);
	if (library)
		bench_duck_begin(bench, library);
	struct question all = bench_question(bench);
	bench_check(bench, what, &all, ID_NONE, SQL_ROLLUP);
	bench_symbols(bench);
	bench_ask(bench, what, all);
	bench_duck(bench, what, SQL_ROLLUP);
	bench_duck(bench, "raw", SQL_RAW);
	bench_ask_cold(bench, what, all);
	bench_duck_cold(bench, what, SQL_ROLLUP);
}

static int bench_run(struct bench *bench, const char *library)
{
	bench_make_rows(bench);
	if (bench->set->shape == HOUR)
		bench_hour(bench, library);
	else
		bench_long(bench, library, bench->set->shape == DAY ? "day" : "month");
	bench_close(bench);
	duck_free(bench->duck);
	rows_free(bench->rows);
	say("answers_differing", bench->differing);
	return bench->differing ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct bench bench = { 0 };
	for (size_t i = 0; argc >= 4 && i < COUNT_OF(sets); i++)
		if (strcmp(sets[i].name, argv[1]) == 0)
			bench.set = &sets[i];
	const char *profile = getenv("BENCH_STORE_PROFILE_S");
	bench.profile_s = profile ? strtod(profile, NULL) : 0;
	bench.runs = argc >= 4 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
	if (!bench.set || bench.runs == 0 || argc > 5) {
		fprintf(stderr, "usage: bench.store SET FOLDER RUNS [LIBDUCKDB]\nSET:");
		for (size_t i = 0; i < COUNT_OF(sets); i++)
			fprintf(stderr, " %s", sets[i].name);
		fprintf(stderr, "\n");
		return 2;
	}
	snprintf(bench.folder, sizeof(bench.folder), "%s", argv[2]);
	fleet_service_name(0, bench.service);
	snprintf(bench.selector, sizeof(bench.selector), "cpu{service=\"%s\"}", bench.service);
	return bench_run(&bench, argc == 5 ? argv[4] : NULL);
}
