/*
 * What the columnar blocks of storage/ cost: bytes per row and rows per second, on a generated
 * service like set A of the design's measurements: 87 instances, a report of about 330 rows every
 * ten seconds, stacks drawn by Zipf's law from 83,000, nine of ten values 1. Prints one table and
 * judges nothing. Rates are medians of several runs in CPU time of one thread; the first lines say
 * what copying memory does meanwhile.
 *
 *	cmake --build build/release --target bench.columns && build/release/bin/bench.columns
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/rng.h"
#include "storage/detail_chunk.h"
#include "storage/stack_set.h"
#include "storage/sum_block.h"

enum {
	INSTANCES = 87,
	INTERVALS = 60, /* of ten seconds, in a window */
	WINDOWS = 6,
	STACKS = 83000,
	HANDLERS = 24,
	REPORT_ROWS = 330,
	REGIONS = 4,
	BUCKETS = 16,
	NODES_PER_STACK = 8,
	RUNS = 9,
	WINDOW_ROWS_MAX = INSTANCES * INTERVALS * (REPORT_ROWS + 1),
};

#define ZIPF_EXPONENT   0.8
#define HANDLER_SPREAD  0.7
#define INTERVAL_NS     UINT64_C(10000000000)
#define FIRST_NS        UINT64_C(1700000000000000000)
#define CPU_PERIOD      20408163
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct kv_bytes bench_key = { "bench", 5 };
static const struct sum_keys bench_keys = { { "bench", 5 }, { "values", 6 } };

static double bench_seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void bench_must(int result, const char *what)
{
	if (result == 0)
		return;
	fprintf(stderr, "bench.columns: %s: %s\n", what, strerror(-result));
	exit(1);
}

static void *bench_alloc(size_t count, size_t bytes_each)
{
	void *memory = calloc(count, bytes_each);
	if (!memory)
		bench_must(-ENOMEM, "memory");
	return memory;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;
	return x < y ? -1 : x > y;
}

/* Runs `step` several times and returns the median of its seconds. */
static double bench_median(void (*step)(void *owner), void *owner)
{
	double seconds[RUNS];
	for (int i = 0; i < RUNS; i++) {
		double start = bench_seconds();
		step(owner);
		seconds[i] = bench_seconds() - start;
	}
	qsort(seconds, RUNS, sizeof(*seconds), compare_doubles);
	return seconds[RUNS / 2];
}

static void say(const char *what, double value, const char *unit)
{
	printf("%-58s %10.3f %s\n", what, value, unit);
}

/* ---- the service ---- */

struct fleet {
	struct rng rng;
	double *weights[HANDLERS]; /* running sums over the handler's stacks */
	uint32_t counts[HANDLERS];
	double mix[INSTANCES][HANDLERS]; /* running sums */
	uint32_t *node_of;               /* by stack; 0: not met yet */
	uint32_t nodes_count;
};

static uint32_t fleet_pick(const double *sums, uint32_t count, double fraction)
{
	double at = fraction * sums[count - 1];
	uint32_t low = 0, high = count - 1;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (sums[middle] > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static void fleet_init(struct fleet *fleet)
{
	rng_init(&fleet->rng, 1);
	fleet->node_of = bench_alloc(STACKS, sizeof(*fleet->node_of));
	fleet->nodes_count = 1;
	for (uint32_t h = 0; h < HANDLERS; h++) {
		fleet->weights[h] = bench_alloc(STACKS / HANDLERS + 1, sizeof(double));
		double sum = 0;
		for (uint32_t stack = h; stack < STACKS; stack += HANDLERS) {
			sum += pow(stack + 1, -ZIPF_EXPONENT);
			fleet->weights[h][fleet->counts[h]++] = sum;
		}
	}
	for (uint32_t i = 0; i < INSTANCES; i++) {
		double sum = 0;
		for (uint32_t h = 0; h < HANDLERS; h++) {
			double normal = -6; /* the sum of twelve evenly spread numbers */
			for (int n = 0; n < 12; n++)
				normal += rng_fraction(&fleet->rng);
			sum += exp(HANDLER_SPREAD * normal);
			fleet->mix[i][h] = sum;
		}
	}
}

static uint32_t fleet_draw(struct fleet *fleet, uint32_t instance)
{
	uint32_t h = fleet_pick(fleet->mix[instance], HANDLERS, rng_fraction(&fleet->rng));
	uint32_t n = fleet_pick(fleet->weights[h], fleet->counts[h], rng_fraction(&fleet->rng));
	uint32_t stack = n * HANDLERS + h;
	if (fleet->node_of[stack] == 0) {
		fleet->nodes_count += 1 + (uint32_t)rng_below(&fleet->rng, 2 * NODES_PER_STACK - 1);
		fleet->node_of[stack] = fleet->nodes_count - 1;
	}
	return fleet->node_of[stack];
}

/* ---- a window ---- */

struct window {
	uint64_t from_ns;
	struct {
		uint32_t first, count;
		struct detail_interval interval;
	} reports[INSTANCES][INTERVALS];
	uint32_t *nodes;
	uint32_t *places;
	uint64_t *values;
	uint32_t rows_count;
	uint32_t *dictionary;
	uint32_t dictionary_count;
	uint64_t dictionary_hash;
};

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* One report: draws until there are as many distinct stacks as a report has. */
static void window_report(
        struct window *window, struct fleet *fleet, uint32_t instance, uint32_t interval)
{
	uint32_t drawn[2 * REPORT_ROWS];
	uint32_t count = 355 + (uint32_t)rng_below(&fleet->rng, 40);
	for (uint32_t i = 0; i < count; i++)
		drawn[i] = fleet_draw(fleet, instance);
	qsort(drawn, count, sizeof(*drawn), compare_u32);

	uint32_t first = window->rows_count;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t row = window->rows_count;
		if (row > first && window->nodes[row - 1] == drawn[i]) {
			window->values[row - 1]++;
		} else if (row - first < REPORT_ROWS + 1) {
			window->nodes[row] = drawn[i];
			window->values[row] = 1;
			window->rows_count++;
		}
	}
	uint64_t start_ns = window->from_ns + interval * INTERVAL_NS + instance * 37000111;
	uint64_t length_ns = INTERVAL_NS + rng_below(&fleet->rng, 200000) - 100000;
	if (interval > 0) {
		const struct detail_interval *before =
		        &window->reports[instance][interval - 1].interval;
		start_ns = before->start_ns + before->duration_ns;
	}
	window->reports[instance][interval].first = first;
	window->reports[instance][interval].count = window->rows_count - first;
	window->reports[instance][interval].interval = (struct detail_interval){
		.stream = instance,
		.seq = window->from_ns / INTERVAL_NS + interval,
		.start_ns = start_ns,
		.duration_ns = length_ns,
	};
}

static double window_place_seconds;

/* The dictionary, and each row's place in it, as sealing does it. */
static void window_dictionary(struct window *window, uint32_t nodes_count)
{
	double start = bench_seconds();
	AUTO(stack_set) set = stack_set_new(nodes_count);
	if (!set)
		bench_must(-ENOMEM, "stack_set");
	for (uint32_t i = 0; i < window->rows_count; i++)
		stack_set_add(set, window->nodes[i]);
	window->dictionary_count = stack_set_rank(set);
	stack_set_list(set, window->dictionary);
	for (uint32_t i = 0; i < window->rows_count; i++)
		window->places[i] = stack_set_place(set, window->nodes[i]);
	window_place_seconds += bench_seconds() - start;
	window->dictionary_hash = sum_dictionary_hash(
	        (struct sum_dictionary){ window->dictionary, window->dictionary_count });
}

static void window_fill(struct window *window, struct fleet *fleet, uint32_t number)
{
	window->from_ns = FIRST_NS + number * INTERVALS * INTERVAL_NS;
	window->rows_count = 0;
	for (uint32_t t = 0; t < INTERVALS; t++)
		for (uint32_t i = 0; i < INSTANCES; i++)
			window_report(window, fleet, i, t);
	window_dictionary(window, fleet->nodes_count);
}

/* ---- detail ---- */

#define CHUNKS_MAX 128

struct detail {
	struct window *window;
	enum column_effort effort;
	struct column_scratch scratch;
	struct buf chunks[CHUNKS_MAX];
	uint32_t chunks_count;
	size_t bytes;
	struct stack_sums *sums;
	struct detail_memory *memory;
	bool is_filtered;
	uint8_t wanted[INSTANCES * INTERVALS];
	uint64_t rows_read;
};

static void detail_put_chunk(struct detail *detail, struct detail_contents *contents)
{
	struct buf *to = &detail->chunks[detail->chunks_count++];
	buf_reset(to);
	bench_must(detail_chunk_encode(contents, bench_key, detail->effort, &detail->scratch, to),
	        "detail_chunk_encode");
	detail->bytes += to->count;
}

static void detail_encode(void *owner)
{
	struct detail *detail = owner;
	struct window *window = detail->window;
	static struct detail_interval intervals[INSTANCES * INTERVALS];
	static struct detail_report reports[INSTANCES * INTERVALS];
	static uint64_t values[WINDOW_ROWS_MAX];
	static uint32_t places[WINDOW_ROWS_MAX];
	struct detail_contents contents = {
		.dictionary_count = window->dictionary_count,
		.dictionary_hash = window->dictionary_hash,
		.intervals = intervals,
		.reports = reports,
		.places = places,
		.values = values,
	};
	detail->chunks_count = 0;
	detail->bytes = 0;
	for (uint32_t i = 0; i < INSTANCES; i++) {
		for (uint32_t t = 0; t < INTERVALS; t++) {
			uint32_t first = window->reports[i][t].first;
			uint32_t count = window->reports[i][t].count;
			intervals[contents.intervals_count] = window->reports[i][t].interval;
			reports[contents.reports_count++] = (struct detail_report){
				.series = 1000 + i,
				.interval = contents.intervals_count++,
				.rows_first = contents.rows_count,
				.rows_count = count,
				.has_coverage = true,
				.coverage_ns = window->reports[i][t].interval.duration_ns,
			};
			memcpy(places + contents.rows_count, window->places + first,
			        count * sizeof(*places));
			memcpy(values + contents.rows_count, window->values + first,
			        count * sizeof(*values));
			contents.rows_count += count;
			bool is_last = i == INSTANCES - 1 && t == INTERVALS - 1;
			if (contents.rows_count < DETAIL_ROWS_AIM && !is_last)
				continue;
			detail_put_chunk(detail, &contents);
			contents.intervals_count = contents.reports_count = 0;
			contents.rows_count = 0;
		}
	}
}

static void detail_sum(void *owner)
{
	struct detail *detail = owner;
	stack_sums_reset(detail->sums);
	detail->rows_read = 0;
	for (uint32_t i = 0; i < detail->chunks_count; i++) {
		struct detail_chunk chunk;
		struct detail_heads heads;
		struct kv_bytes value = { detail->chunks[i].bytes, detail->chunks[i].count };
		bench_must(detail_chunk_open(bench_key, value, &chunk), "detail_chunk_open");
		bench_must(detail_chunk_get_heads(&chunk, detail->memory, &heads),
		        "detail_chunk_get_heads");
		for (uint32_t r = 0; detail->is_filtered && r < chunk.reports_count; r++)
			detail->wanted[r] = heads.reports[r].series % REGIONS == 0;
		bench_must(detail_chunk_sum(&chunk, detail->memory,
		                   detail->is_filtered ? detail->wanted : NULL, detail->sums),
		        "detail_chunk_sum");
		detail->rows_read += chunk.rows_count;
	}
}

static void bench_detail(struct window *window)
{
	static struct detail detail;
	detail.window = window;
	detail.sums = stack_sums_new(window->dictionary_count);
	detail.memory = detail_memory_new();
	double rows = window->rows_count;
	for (int effort = COLUMN_FAST; effort <= COLUMN_SMALL; effort++) {
		const char *name = effort == COLUMN_FAST ? "fast" : "small";
		char text[100];
		detail.effort = (enum column_effort)effort;
		double seconds = bench_median(detail_encode, &detail);
		snprintf(text, sizeof(text), "detail, %s: size", name);
		say(text, (double)detail.bytes / rows, "B/row");
		snprintf(text, sizeof(text), "detail, %s: encode", name);
		say(text, rows / seconds * 1e-6, "Mrow/s");
		detail.is_filtered = false;
		snprintf(text, sizeof(text), "detail, %s: open, decode, sum by stack", name);
		say(text, rows / bench_median(detail_sum, &detail) * 1e-6, "Mrow/s");
		column_use_path(COLUMN_PATH_PLAIN);
		snprintf(text, sizeof(text), "detail, %s: the same without AVX2", name);
		say(text, rows / bench_median(detail_sum, &detail) * 1e-6, "Mrow/s");
		column_use_path(COLUMN_PATH_BEST);
		detail.is_filtered = true;
		snprintf(
		        text, sizeof(text), "detail, %s: the same, a quarter of the reports", name);
		say(text, rows / bench_median(detail_sum, &detail) * 1e-6, "Mrow/s");
	}
	for (uint32_t i = 0; i < CHUNKS_MAX; i++)
		buf_fini(&detail.chunks[i]);
	column_scratch_fini(&detail.scratch);
	stack_sums_free(detail.sums);
	detail_memory_free(detail.memory);
}

/* ---- columns ---- */

struct columns {
	uint32_t *values;
	uint32_t *got;
	uint32_t count;
	enum column_effort effort;
	struct column_scratch scratch;
	struct buf bytes;
};

static void columns_encode(void *owner)
{
	struct columns *columns = owner;
	buf_reset(&columns->bytes);
	for (uint32_t at = 0; at < columns->count; at += DETAIL_ROWS_AIM) {
		uint32_t left = columns->count - at;
		column_put_u32(columns->values + at,
		        left < DETAIL_ROWS_AIM ? left : DETAIL_ROWS_AIM, columns->effort,
		        &columns->scratch, &columns->bytes);
	}
}

static void columns_decode(void *owner)
{
	struct columns *columns = owner;
	struct reader from = reader_of(columns->bytes.bytes, columns->bytes.count);
	for (uint32_t at = 0; at < columns->count; at += DETAIL_ROWS_AIM) {
		uint32_t left = columns->count - at;
		struct column column = column_open(
		        &from, left < DETAIL_ROWS_AIM ? left : DETAIL_ROWS_AIM);
		/* Into the same place each time, as a reader's memory is. */
		bench_must(column_get_u32(&column, STACKS, columns->got, &columns->scratch),
		        "column_get_u32");
	}
}

static void columns_places(void *owner)
{
	struct columns *columns = owner;
	for (uint32_t at = 0; at + REPORT_ROWS <= columns->count; at += REPORT_ROWS) {
		memset(columns->got, 0, REPORT_ROWS * sizeof(uint32_t));
		bench_must(column_places(columns->got, REPORT_ROWS, STACKS), "column_places");
	}
}

static void columns_copy(void *owner)
{
	struct columns *columns = owner;
	for (uint32_t at = 0; at + DETAIL_ROWS_AIM <= columns->count; at += DETAIL_ROWS_AIM) {
		memcpy(columns->got, columns->values + at, DETAIL_ROWS_AIM * sizeof(uint32_t));
		/* The compiler must not think that nobody looks. */
		__asm__ volatile("" : : "r"(columns->got) : "memory");
	}
}

static void bench_column(const char *name, struct columns *columns)
{
	char text[100];
	double count = columns->count;
	for (int effort = COLUMN_FAST; effort <= COLUMN_SMALL; effort++) {
		columns->effort = (enum column_effort)effort;
		const char *effort_name = effort == COLUMN_FAST ? "fast" : "small";
		double seconds = bench_median(columns_encode, columns);
		snprintf(text, sizeof(text), "column of %s, %s: size", name, effort_name);
		say(text, (double)columns->bytes.count / count, "B/value");
		snprintf(text, sizeof(text), "column of %s, %s: encode", name, effort_name);
		say(text, count / seconds * 1e-6, "Mvalue/s");
		snprintf(text, sizeof(text), "column of %s, %s: decode", name, effort_name);
		say(text, count / bench_median(columns_decode, columns) * 1e-6, "Mvalue/s");
		column_use_path(COLUMN_PATH_PLAIN);
		snprintf(text, sizeof(text), "column of %s, %s: decode without AVX2", name,
		        effort_name);
		say(text, count / bench_median(columns_decode, columns) * 1e-6, "Mvalue/s");
		column_use_path(COLUMN_PATH_BEST);
	}
}

static void bench_columns(const struct window *window)
{
	struct columns columns = { .count = window->rows_count };
	columns.values = bench_alloc(columns.count, sizeof(uint32_t));
	columns.got = bench_alloc(DETAIL_ROWS_AIM, sizeof(uint32_t));
	uint32_t ones = 0;
	for (uint32_t i = 0; i < columns.count; i++)
		ones += window->values[i] == 1;
	say("rows in the window", columns.count, "");
	say("rows per report", (double)columns.count / (INSTANCES * INTERVALS), "");
	say("stacks in the window", window->dictionary_count, "");
	say("values of 1", 100.0 * ones / columns.count, "%");

	for (uint32_t i = 0; i < INSTANCES; i++) {
		for (uint32_t t = 0; t < INTERVALS; t++) {
			uint32_t next = 0;
			for (uint32_t n = 0; n < window->reports[i][t].count; n++) {
				uint32_t row = window->reports[i][t].first + n;
				columns.values[row] = window->places[row] - next;
				next = window->places[row] + 1;
			}
		}
	}
	say("memcpy of u32, into the cache",
	        (double)columns.count / bench_median(columns_copy, &columns) * 1e-6, "Mvalue/s");
	bench_column("stacks", &columns);
	say("distances to places, reports of 330",
	        (double)columns.count / bench_median(columns_places, &columns) * 1e-6, "Mvalue/s");
	for (uint32_t i = 0; i < columns.count; i++)
		columns.values[i] = (uint32_t)window->values[i] - 1;
	bench_column("values", &columns);
	free(columns.values);
	free(columns.got);
	buf_fini(&columns.bytes);
	column_scratch_fini(&columns.scratch);
}

/* ---- sums ---- */

/* A block, and the values of its groups. */
struct sums_bytes {
	struct buf block;
	struct buf values;
};

static struct kv_bytes bytes_of(const struct buf *buf)
{
	return (struct kv_bytes){ buf->bytes, buf->count };
}

static uint32_t bucket_of(uint32_t instance)
{
	return instance * 2654435761u >> 28;
}

/* `regions` 1 or REGIONS; `buckets` 1 or BUCKETS. */
static size_t sums_encode(const struct window *window, uint32_t regions, uint32_t buckets,
        bool is_elsewhere, enum column_effort effort, struct sums_bytes *to)
{
	struct sum_writer_options options = {
		.from_ns = window->from_ns,
		.to_ns = window->from_ns + INTERVALS * INTERVAL_NS,
		.dictionary = { window->dictionary, window->dictionary_count },
		.is_dictionary_elsewhere = is_elsewhere,
		.effort = effort,
	};
	autofree uint64_t *totals = bench_alloc(window->dictionary_count + 1, sizeof(*totals));
	for (uint32_t row = 0; row < window->rows_count; row++)
		totals[window->places[row]] += window->values[row];
	options.totals = totals;
	AUTO(sum_writer) writer = sum_writer_new(options);
	autofree uint64_t *values = bench_alloc(window->dictionary_count + 1, sizeof(*values));
	for (uint32_t group = 0; group < regions * buckets; group++) {
		uint32_t instances[INSTANCES];
		struct sum_group facts = {
			.key = { .region = 10 + group / buckets,
			        .bucket = group % buckets,
			        .period = CPU_PERIOD },
			.instances = instances,
		};
		memset(values, 0, window->dictionary_count * sizeof(*values));
		for (uint32_t i = 0; i < INSTANCES; i++) {
			if (i % regions != group / buckets ||
			        (buckets > 1 && bucket_of(i) != group % buckets))
				continue;
			instances[facts.instances_count++] = 5000 + 3 * i;
			for (uint32_t t = 0; t < INTERVALS; t++) {
				uint32_t first = window->reports[i][t].first;
				facts.coverage_ns += window->reports[i][t].interval.duration_ns;
				for (uint32_t n = 0; n < window->reports[i][t].count; n++)
					values[window->places[first + n]] +=
					        window->values[first + n];
			}
		}
		if (facts.instances_count > 0)
			bench_must(sum_writer_put(writer, &facts, values), "sum_writer_put");
	}
	buf_reset(&to->block);
	buf_reset(&to->values);
	bench_must(sum_writer_finish(writer, bench_keys, &to->block, &to->values),
	        "sum_writer_finish");
	return to->block.count + to->values.count;
}

struct reading {
	const struct sums_bytes *bytes;
	struct sum_memory *memory;
	struct stack_sums *sums;
};

static void sums_read_total(void *owner)
{
	struct reading *reading = owner;
	struct sum_block block;
	struct kv_bytes value = bytes_of(&reading->bytes->block);
	bench_must(sum_block_open(bench_key, value, &block), "sum_block_open");
	if (!reading->sums)
		reading->sums = stack_sums_new(block.dictionary_count);
	stack_sums_reset(reading->sums);
	bench_must(
	        sum_block_add_total(&block, reading->memory, reading->sums), "sum_block_add_total");
}

static void sums_read(void *owner)
{
	struct reading *reading = owner;
	struct sum_block block;
	const struct sum_group *groups;
	struct kv_bytes value = bytes_of(&reading->bytes->block);
	bench_must(sum_block_open(bench_key, value, &block), "sum_block_open");
	bench_must(sum_block_get_groups(&block, reading->memory, &groups), "sum_block_get_groups");
	bench_must(sum_block_open_values(&block, reading->memory, bench_keys.values,
	                   bytes_of(&reading->bytes->values)),
	        "sum_block_open_values");
	if (!reading->sums)
		reading->sums = stack_sums_new(block.dictionary_count);
	stack_sums_reset(reading->sums);
	const uint32_t *order;
	bench_must(sum_block_get_order(&block, reading->memory, &order), "sum_block_get_order");
	for (uint32_t i = 0; i < block.groups_count; i++)
		bench_must(sum_block_add_group(&block, reading->memory, i, reading->sums),
		        "sum_block_add_group");
}

static double sums_read_ms(const struct sums_bytes *bytes, void (*read)(void *owner))
{
	struct reading reading = { .bytes = bytes, .memory = sum_memory_new() };
	double seconds = bench_median(read, &reading);
	sum_memory_free(reading.memory);
	stack_sums_free(reading.sums);
	return seconds * 1e3;
}

static const struct {
	const char *name;
	uint32_t regions, buckets;
	bool is_elsewhere;
	enum column_effort effort;
} forms[] = {
	{ "one group, fast", 1, 1, false, COLUMN_FAST },
	{ "16 buckets, fast", 1, BUCKETS, false, COLUMN_FAST },
	{ "16 buckets, small", 1, BUCKETS, false, COLUMN_SMALL },
	{ "4 regions x 16 buckets, fast", REGIONS, BUCKETS, false, COLUMN_FAST },
	{ "4 regions x 16 buckets, small", REGIONS, BUCKETS, false, COLUMN_SMALL },
};

struct hour {
	struct sums_bytes blocks[COUNT_OF(forms)][WINDOWS];
	uint32_t *dictionaries[WINDOWS];
	uint32_t counts[WINDOWS];
	double bytes[COUNT_OF(forms)];
	double rows;
};

static void hour_add(struct hour *hour, const struct window *window, uint32_t number)
{
	hour->rows += window->rows_count;
	hour->counts[number] = window->dictionary_count;
	hour->dictionaries[number] = bench_alloc(window->dictionary_count, sizeof(uint32_t));
	memcpy(hour->dictionaries[number], window->dictionary,
	        window->dictionary_count * sizeof(uint32_t));
	for (size_t form = 0; form < COUNT_OF(forms); form++)
		hour->bytes[form] += (double)sums_encode(window, forms[form].regions,
		        forms[form].buckets, forms[form].is_elsewhere, forms[form].effort,
		        &hour->blocks[form][number]);
}

static void hour_say(struct hour *hour, uint32_t nodes_count)
{
	char text[100];
	for (size_t form = 0; form < COUNT_OF(forms); form++) {
		struct sum_block blocks[WINDOWS];
		struct sum_source sources[WINDOWS];
		for (uint32_t w = 0; w < WINDOWS; w++) {
			const struct sums_bytes *bytes = &hour->blocks[form][w];
			bench_must(sum_block_open(bench_key, bytes_of(&bytes->block), &blocks[w]),
			        "sum_block_open");
			sources[w] = (struct sum_source){
				.block = &blocks[w],
				.values_key = bench_keys.values,
				.values = bytes_of(&bytes->values),
				.dictionary = { hour->dictionaries[w], hour->counts[w] },
			};
		}
		struct sum_merge_options options = {
			.nodes_count = nodes_count,
			.is_dictionary_elsewhere = forms[form].is_elsewhere,
			.effort = forms[form].effort,
		};
		struct sums_bytes merged = { 0 };
		double start = bench_seconds();
		bench_must(sum_merge(sources, WINDOWS, options, bench_keys, &merged.block,
		                   &merged.values),
		        "sum_merge");
		double seconds = bench_seconds() - start;

		snprintf(text, sizeof(text), "10 min, %s: size", forms[form].name);
		say(text, hour->bytes[form] / hour->rows, "B/row");
		snprintf(text, sizeof(text), "10 min, %s: read the total", forms[form].name);
		say(text, sums_read_ms(&hour->blocks[form][0], sums_read_total), "ms");
		snprintf(text, sizeof(text), "10 min, %s: read and add all groups",
		        forms[form].name);
		say(text, sums_read_ms(&hour->blocks[form][0], sums_read), "ms");
		snprintf(text, sizeof(text), "1 h, %s: size", forms[form].name);
		say(text, (double)(merged.block.count + merged.values.count) / hour->rows, "B/row");
		snprintf(text, sizeof(text), "1 h, %s: read the total", forms[form].name);
		say(text, sums_read_ms(&merged, sums_read_total), "ms");
		snprintf(text, sizeof(text), "1 h, %s: read and add all groups", forms[form].name);
		say(text, sums_read_ms(&merged, sums_read), "ms");
		snprintf(text, sizeof(text), "1 h, %s: merge of six", forms[form].name);
		say(text, seconds * 1e3, "ms");
		buf_fini(&merged.block);
		buf_fini(&merged.values);
	}
}

int main(void)
{
	static struct fleet fleet;
	static struct window window;
	static struct hour hour;
	fleet_init(&fleet);
	window.nodes = bench_alloc(WINDOW_ROWS_MAX, sizeof(uint32_t));
	window.places = bench_alloc(WINDOW_ROWS_MAX, sizeof(uint32_t));
	window.values = bench_alloc(WINDOW_ROWS_MAX, sizeof(uint64_t));
	window.dictionary = bench_alloc(STACKS, sizeof(uint32_t));

	for (uint32_t number = 0; number < WINDOWS; number++) {
		window_fill(&window, &fleet, number);
		hour_add(&hour, &window, number);
	}
	bench_columns(&window);
	say("stacks of all rows to places", hour.rows / window_place_seconds * 1e-6, "Mrow/s");
	bench_detail(&window);
	hour_say(&hour, fleet.nodes_count);
	return 0;
}
