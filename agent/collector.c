/*
 *	sample --ips--> frames --> stack (node of the interval's dict) --> tally (process, stack)
 *	interval's end: tallies, sorted --> series of each process --> rows; lives --> coverage
 *
 * The dict lives for one interval, which bounds it, and lets a batch be stored or sent alone.
 * To make the same frames again every interval costs a lookup each; most lookups within an
 * interval are answered by a direct-mapped cache of (mappings version, address) -> frame,
 * which needs no invalidation: versions are never repeated, and an entry of another interval
 * has another number.
 *
 * Tallies are appended and only added up when their array is full, or the interval ends: an
 * append costs nothing, and most stacks of an interval are new anyway.
 */

#include "agent/collector.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "agent/kallsyms.h"
#include "core/log.h"

#define COLLECTOR_TALLIES_MAX   (1u << 20)
#define COLLECTOR_PERIODS_MAX   8
#define COLLECTOR_FRAME_CACHE   32768 /* a power of two */
#define COLLECTOR_DEPTH_MAX     (2 * 127 + 2)
#define COLLECTOR_KALLSYMS_PATH "/proc/kallsyms"
/* Intervals between two readings because of an unknown address. */
#define COLLECTOR_KALLSYMS_PAUSE 6
#define COLLECTOR_KERNEL_VERSION 0 /* of no process's mappings */

struct tally {
	uint32_t process; /* index into seen */
	uint32_t node;
	uint32_t period; /* index into periods */
	uint32_t count;
};

/* A process that has tallies or losses in this interval. */
struct seen_process {
	struct process *process;
	uint32_t series[COLLECTOR_PERIODS_MAX]; /* SERIES_NONE: not made yet */
	uint32_t periods;                       /* bit per period that occurs */
};

struct named_loss {
	uint32_t process;
	uint32_t reason;
	uint64_t count;
};

struct frame_cached {
	uint64_t version;
	uint64_t address;
	uint32_t interval;
	uint32_t frame;
};

/* When a series' process was alive within the interval. */
struct span {
	uint32_t series;
	uint64_t begin_ns;
	uint64_t end_ns;
};

struct collector {
	struct collector_options options;
	struct kallsyms *kallsyms; /* NULL: unreadable */
	uint32_t kallsyms_pause;
	struct dict *dict;         /* of batch */
	struct batch *batch;       /* of this interval */
	struct batch *other_batch; /* of the last one, which the caller may still read */
	struct collector_state state;

	/* Of the interval. */
	uint32_t interval; /* from 1 */
	uint64_t begin_ns;
	uint64_t begin_unix_ns;
	struct tally *tallies;
	uint32_t tallies_count;
	struct seen_process *seen;
	uint32_t seen_count;
	uint32_t seen_capacity;
	struct named_loss *losses;
	uint32_t losses_count;
	uint32_t losses_capacity;
	uint64_t nobodys[LOSS_REASON_MAX + 1];
	uint64_t periods[COLLECTOR_PERIODS_MAX];
	uint32_t periods_count;
	uint64_t side_band_lost; /* at the end of the last interval */

	/* While an interval is being closed. */
	struct span *spans;
	uint32_t spans_count;
	uint32_t spans_capacity;
	uint64_t end_ns;
	struct sampler_state sampler_state;

	struct frame_cached cache[COLLECTOR_FRAME_CACHE];
	uint32_t frames[COLLECTOR_DEPTH_MAX];
};

static void collector_read_kallsyms(struct collector *collector)
{
	struct kallsyms *fresh;
	int result = kallsyms_load(collector->options.kallsyms_path, &fresh);

	collector->kallsyms_pause = COLLECTOR_KALLSYMS_PAUSE;
	if (result < 0) {
		if (!collector->kallsyms)
			log_warn("kernel-names-missing",
			        "%s: %s; kernel frames are called [kernel]",
			        collector->options.kallsyms_path, strerror(-result));
		return;
	}
	if (!collector->kallsyms && !kallsyms_has_addresses(fresh))
		log_warn("kernel-names-hidden",
		        "the kernel hides its addresses, so kernel frames are called [kernel]; "
		        "grant CAP_SYSLOG, or set kernel.kptr_restrict to 0 and "
		        "kernel.perf_event_paranoid to 1");
	kallsyms_free(collector->kallsyms);
	collector->kallsyms = fresh;
}

/* A batch with a dict of its own. */
static struct batch *collector_batch_new(struct dict_limits limits)
{
	AUTO(dict) dict = dict_new(limits);

	if (!dict)
		return NULL;
	struct batch *batch = batch_new(dict);
	if (batch)
		(void)TAKE(dict);
	return batch;
}

static void collector_batch_free(struct batch *batch)
{
	if (!batch)
		return;
	struct dict *dict = batch->dict;
	batch_free(batch);
	dict_free(dict);
}

int collector_new(struct collector_options options, struct collector **ret_collector)
{
	AUTO(collector) collector = calloc(1, sizeof(*collector));

	if (!collector)
		return -ENOMEM;
	if (!options.tallies_max)
		options.tallies_max = COLLECTOR_TALLIES_MAX;
	if (!options.kallsyms_path)
		options.kallsyms_path = COLLECTOR_KALLSYMS_PATH;
	if (!options.clock)
		options.clock = clock_real();
	if (!options.dict.strings)
		options.dict = dict_limits_default;
	collector->options = options;
	collector->interval = 1;
	collector->tallies = malloc(options.tallies_max * sizeof(*collector->tallies));
	collector->batch = collector_batch_new(options.dict);
	collector->other_batch = collector_batch_new(options.dict);
	if (!collector->tallies || !collector->batch || !collector->other_batch)
		return -ENOMEM;
	collector->dict = collector->batch->dict;
	collector_read_kallsyms(collector);
	uint64_t now_ns = clock_monotonic_ns(options.clock);
	collector->begin_ns = options.begin_ns ? options.begin_ns : now_ns;
	collector->begin_unix_ns = clock_unix_ns(options.clock) - (now_ns - collector->begin_ns);
	*ret_collector = TAKE(collector);
	return 0;
}

void collector_free(struct collector *collector)
{
	if (!collector)
		return;
	collector_batch_free(collector->batch);
	collector_batch_free(collector->other_batch);
	kallsyms_free(collector->kallsyms);
	free(collector->tallies);
	free(collector->seen);
	free(collector->losses);
	free(collector->spans);
	free(collector);
}

/* Room for one more in a growing array; false when memory ran out. */
static bool collector_grow(void **items, uint32_t count, uint32_t *capacity, size_t item_bytes)
{
	if (count < *capacity)
		return true;
	uint32_t larger = *capacity ? 2 * *capacity : 256;
	void *moved = realloc(*items, larger * item_bytes);
	if (!moved)
		return false;
	*items = moved;
	*capacity = larger;
	return true;
}

static int collector_module(
        struct collector *collector, const char *name, const char *build_id, uint32_t *ret_module)
{
	struct module module = { 0 };
	int result = dict_cstring(collector->dict, name, &module.name);

	if (result == 0 && build_id[0])
		result = dict_cstring(collector->dict, build_id, &module.build_id);
	if (result == 0)
		result = dict_module(collector->dict, &module, ret_module);
	return result;
}

/* A frame that has nothing but the name of where it lies. */
static int collector_place_frame(
        struct collector *collector, const char *module, uint32_t *ret_frame)
{
	struct frame frame = { .kind = FRAME_NATIVE };
	int result = collector_module(collector, module, "", &frame.module);

	return result < 0 ? result : dict_frame(collector->dict, &frame, ret_frame);
}

static bool collector_find_kernel(
        struct collector *collector, uint64_t address, struct kernel_symbol *ret_symbol)
{
	if (!collector->kallsyms || !kallsyms_has_addresses(collector->kallsyms))
		return false;
	if (kallsyms_find(collector->kallsyms, address, ret_symbol))
		return true;
	/* A module or BPF program that came later. Reading takes 0.1 s: not too often. */
	if (collector->kallsyms_pause > 0)
		return false;
	collector_read_kallsyms(collector);
	return kallsyms_find(collector->kallsyms, address, ret_symbol);
}

static int collector_kernel_frame(
        struct collector *collector, uint64_t address, uint32_t *ret_frame)
{
	struct kernel_symbol symbol = { .name = "[kernel]", .module = "vmlinux" };
	struct frame frame = { .kind = FRAME_KERNEL };

	if (!collector_find_kernel(collector, address, &symbol))
		symbol = (struct kernel_symbol){ .name = "[kernel]", .module = "vmlinux" };
	int result = dict_cstring(collector->dict, symbol.name, &frame.function);
	if (result == 0)
		result = collector_module(collector, symbol.module, "", &frame.module);
	return result < 0 ? result : dict_frame(collector->dict, &frame, ret_frame);
}

static int collector_file_frame(
        struct collector *collector, const struct code_place *place, uint32_t *ret_frame)
{
	struct frame frame = { .kind = FRAME_NATIVE, .address = place->offset };
	const char *build_id = symbol_file_build_id(collector->options.files, place->file);
	int result = collector_module(
	        collector, symbol_file_name(place->file), build_id, &frame.module);

	return result < 0 ? result : dict_frame(collector->dict, &frame, ret_frame);
}

static int collector_user_frame(
        struct collector *collector, const struct code_place *place, uint32_t *ret_frame)
{
	if (place->is_vsyscall)
		return collector_place_frame(collector, "[vsyscall]", ret_frame);
	if (!place->file)
		return collector_place_frame(collector, "[jit]", ret_frame);
	return collector_file_frame(collector, place, ret_frame);
}

static struct frame_cached *collector_cached(
        struct collector *collector, uint64_t version, uint64_t address)
{
	uint64_t hash = (address ^ version << 40) * UINT64_C(0x9e3779b97f4a7c15);

	return &collector->cache[hash >> 49 & (COLLECTOR_FRAME_CACHE - 1)];
}

static bool collector_cache_has(const struct collector *collector,
        const struct frame_cached *cached, uint64_t version, uint64_t address)
{
	return cached->interval == collector->interval && cached->version == version &&
	       cached->address == address;
}

/* Appends the kernel's frames. Callers are looked up one byte before their return address. */
static int collector_add_kernel(
        struct collector *collector, const struct observed_sample *sample, uint32_t *depth)
{
	for (uint32_t at = 0; at < sample->kernel_depth && *depth < COLLECTOR_DEPTH_MAX - 1; at++) {
		uint64_t address = sample->kernel_ips[at] - (at > 0);
		struct frame_cached *cached = collector_cached(
		        collector, COLLECTOR_KERNEL_VERSION, address);
		uint32_t frame;

		if (collector_cache_has(collector, cached, COLLECTOR_KERNEL_VERSION, address)) {
			collector->frames[(*depth)++] = cached->frame;
			continue;
		}
		int result = collector_kernel_frame(collector, address, &frame);
		if (result < 0)
			return result;
		*cached = (struct frame_cached){ COLLECTOR_KERNEL_VERSION, address,
			collector->interval, frame };
		collector->frames[(*depth)++] = frame;
	}
	return 0;
}

/*
 * The frame of a user address. -ESRCH: no mapping holds it. The place is looked up before the cache
 * is asked, where the mappings may have to be read again: that gives them another version.
 */
static int collector_user_address(struct collector *collector, struct process *process,
        uint64_t address, bool must, uint32_t *ret_frame)
{
	uint64_t version = mappings_version(process->mappings);
	struct frame_cached *cached = collector_cached(collector, version, address);
	struct code_place place;

	if (collector_cache_has(collector, cached, version, address)) {
		*ret_frame = cached->frame;
		return 0;
	}
	if (!process_table_place(collector->options.processes, process, address, must, &place))
		return -ESRCH;
	int result = collector_user_frame(collector, &place, ret_frame);
	if (result < 0)
		return result;
	version = mappings_version(process->mappings);
	cached = collector_cached(collector, version, address);
	*cached = (struct frame_cached){ version, address, collector->interval, *ret_frame };
	return 0;
}

/*
 * Appends the process's frames. An address without a mapping is an unknown frame when others follow
 * it, or when it is what the CPU really executed; at the outer end it is no frame at all. (In the
 * middle of an exec the registers a process entered the kernel with are those of a program that is
 * gone.)
 */
static int collector_add_user(struct collector *collector, struct process *process,
        const struct observed_sample *sample, uint32_t *depth, bool *truncated)
{
	uint32_t known = *depth; /* behind the outermost address that lies in a mapping */
	uint32_t unknown = ID_NONE;

	for (uint32_t at = 0; at < sample->user_depth && *depth < COLLECTOR_DEPTH_MAX - 1; at++) {
		uint64_t address = sample->user_ips[at] - (at > 0);
		uint32_t frame;
		int result = collector_user_address(collector, process, address, at == 0, &frame);

		if (result == -ESRCH) {
			if (unknown == ID_NONE)
				result = collector_place_frame(collector, "[unmapped]", &unknown);
			else
				result = 0;
			frame = unknown;
			if (at == 0 && sample->kernel_depth == 0)
				known = *depth + 1;
		} else {
			known = *depth + 1;
		}
		if (result < 0)
			return result;
		collector->frames[(*depth)++] = frame;
	}
	if (known < *depth) {
		*depth = known;
		*truncated = true;
	}
	return 0;
}

static int collector_stack(struct collector *collector, struct process *process,
        const struct observed_sample *sample, uint32_t *ret_node, bool *ret_truncated)
{
	uint32_t depth = 0;
	bool truncated = sample->flags & (OBSERVED_KERNEL_CUT | OBSERVED_USER_CUT);
	int result = collector_add_kernel(collector, sample, &depth);

	if (result == 0)
		result = collector_add_user(collector, process, sample, &depth, &truncated);
	if (result < 0)
		return result;
	if (depth == 0 || (sample->user_depth == 0 && !(sample->flags & OBSERVED_NO_USER)))
		truncated = true;
	if (truncated) {
		struct frame frame = { .kind = FRAME_TRUNCATED };
		result = dict_frame(collector->dict, &frame, &collector->frames[depth++]);
		if (result < 0)
			return result;
	}
	*ret_truncated = truncated;
	return dict_stack(collector->dict, collector->frames, depth, ret_node);
}

/* Its number within this interval. */
static int collector_see(struct collector *collector, struct process *process, uint32_t *ret_index)
{
	if (process->tally_interval != collector->interval) {
		if (!collector_grow((void **)&collector->seen, collector->seen_count,
		            &collector->seen_capacity, sizeof(*collector->seen)))
			return -ENOMEM;
		struct seen_process *seen = &collector->seen[collector->seen_count];
		*seen = (struct seen_process){ .process = process };
		memset(seen->series, 0xff, sizeof(seen->series));
		process->tally_interval = collector->interval;
		process->tally_index = collector->seen_count++;
	}
	*ret_index = process->tally_index;
	return 0;
}

static int collector_period(struct collector *collector, uint64_t period, uint32_t *ret_index)
{
	for (uint32_t at = 0; at < collector->periods_count; at++) {
		if (collector->periods[at] == period) {
			*ret_index = at;
			return 0;
		}
	}
	if (period == 0 || collector->periods_count == COLLECTOR_PERIODS_MAX)
		return -ENOSPC;
	collector->periods[collector->periods_count] = period;
	*ret_index = collector->periods_count++;
	return 0;
}

static int tally_compare(const void *left, const void *right)
{
	const struct tally *a = left;
	const struct tally *b = right;

	if (a->process != b->process)
		return a->process < b->process ? -1 : 1;
	if (a->period != b->period)
		return a->period < b->period ? -1 : 1;
	return a->node < b->node ? -1 : a->node > b->node;
}

static bool tally_is_same(const struct tally *a, const struct tally *b)
{
	return a->process == b->process && a->period == b->period && a->node == b->node;
}

/* Adds up equal tallies. */
static void collector_add_up(struct collector *collector)
{
	uint32_t kept = 0;

	if (collector->tallies_count == 0)
		return;
	qsort(collector->tallies, collector->tallies_count, sizeof(*collector->tallies),
	        tally_compare);
	for (uint32_t at = 0; at < collector->tallies_count; at++) {
		struct tally *tally = &collector->tallies[at];
		if (kept > 0 && tally_is_same(&collector->tallies[kept - 1], tally))
			collector->tallies[kept - 1].count += tally->count;
		else
			collector->tallies[kept++] = *tally;
	}
	collector->tallies_count = kept;
}

static int collector_append(struct collector *collector, struct tally tally)
{
	if (collector->tallies_count == collector->options.tallies_max) {
		collector_add_up(collector);
		/* Not again for every sample: so full that it does not pay is full. */
		if (collector->tallies_count > collector->options.tallies_max / 4 * 3)
			return -ENOSPC;
	}
	collector->tallies[collector->tallies_count++] = tally;
	return 0;
}

static int collector_count(struct collector *collector, const struct observation *observation)
{
	struct tally tally = { .count = 1 };
	bool truncated = false;
	struct process *process = process_table_sampled(collector->options.processes, observation);

	if (!process)
		return -ENOMEM;
	int result = collector_see(collector, process, &tally.process);
	if (result == 0)
		result = collector_period(collector, observation->sample.period, &tally.period);
	if (result == 0)
		result = collector_stack(
		        collector, process, &observation->sample, &tally.node, &truncated);
	if (result == 0)
		result = collector_append(collector, tally);
	if (result < 0)
		return result;
	collector->seen[tally.process].periods |= 1u << tally.period;
	collector->state.truncated += truncated;
	return 0;
}

static void collector_on_observation(void *owner, const struct observation *observation)
{
	struct collector *collector = owner;

	if (observation->kind != OBSERVED_SAMPLE)
		process_table_observe(collector->options.processes, observation);
	else if (collector_count(collector, observation) < 0)
		collector->nobodys[LOSS_AGENT_MEMORY]++;
}

int collector_drain(struct collector *collector, uint64_t until_ns)
{
	return sampler_drain(
	        collector->options.sampler, until_ns, collector_on_observation, collector);
}

static void collector_on_loss(
        void *owner, int32_t pid, uint64_t start_ns, enum loss_reason reason, uint64_t count)
{
	struct collector *collector = owner;
	struct process *process =
	        pid != 0 ? process_table_find(collector->options.processes, pid, start_ns) : NULL;
	uint32_t index;

	if (!process || collector_see(collector, process, &index) < 0 ||
	        !collector_grow((void **)&collector->losses, collector->losses_count,
	                &collector->losses_capacity, sizeof(*collector->losses))) {
		collector->nobodys[reason] += count;
		return;
	}
	collector->losses[collector->losses_count++] =
	        (struct named_loss){ .process = index, .reason = reason, .count = count };
}

/* SERIES_NONE: the dict is full. */
static uint32_t collector_series(struct collector *collector, uint32_t index, uint32_t period)
{
	struct seen_process *seen = &collector->seen[index];
	bool cycles = collector->sampler_state.event == SAMPLER_CYCLES;

	if (seen->series[period] != SERIES_NONE)
		return seen->series[period];
	struct process_facts facts = process_table_facts(
	        collector->options.processes, seen->process);
	uint32_t series;
	if (labeler_series(collector->options.labeler, &facts, cycles ? "cycles" : "cpu",
	            cycles ? "count" : "nanoseconds", collector->periods[period], collector->dict,
	            &series) < 0)
		return SERIES_NONE;
	seen->series[period] = series;
	return series;
}

static int collector_add_rows(struct collector *collector)
{
	collector_add_up(collector);
	for (uint32_t at = 0; at < collector->tallies_count; at++) {
		const struct tally *tally = &collector->tallies[at];
		uint32_t series = collector_series(collector, tally->process, tally->period);

		if (series == SERIES_NONE) {
			collector->nobodys[LOSS_AGENT_MEMORY] += tally->count;
			continue;
		}
		int result = batch_add_row(collector->batch, series, tally->node, tally->count);
		if (result < 0)
			return result;
	}
	return 0;
}

static int collector_add_losses(struct collector *collector, uint32_t period)
{
	for (uint32_t at = 0; at < collector->losses_count; at++) {
		const struct named_loss *loss = &collector->losses[at];
		uint32_t series = collector_series(collector, loss->process, period);
		int result = batch_add_loss(collector->batch, series, loss->reason, loss->count);

		if (result < 0)
			return result;
	}
	for (uint32_t reason = 0; reason <= LOSS_REASON_MAX; reason++) {
		if (collector->nobodys[reason] == 0)
			continue;
		int result = batch_add_loss(
		        collector->batch, SERIES_NONE, reason, collector->nobodys[reason]);
		if (result < 0)
			return result;
	}
	return 0;
}

static void collector_add_span(
        struct collector *collector, const struct process *process, uint32_t series)
{
	struct span span = {
		.series = series,
		.begin_ns = process->begin_ns,
		.end_ns = process->end_ns ? process->end_ns : collector->end_ns,
	};

	if (span.begin_ns < collector->begin_ns)
		span.begin_ns = collector->begin_ns;
	if (span.end_ns > collector->end_ns)
		span.end_ns = collector->end_ns;
	if (span.begin_ns >= span.end_ns || series == SERIES_NONE)
		return;
	/* Without memory a series looks less watched than it was; its samples are not touched. */
	if (collector_grow((void **)&collector->spans, collector->spans_count,
	            &collector->spans_capacity, sizeof(*collector->spans)))
		collector->spans[collector->spans_count++] = span;
}

/* Whoever was ever sampled is watched as long as it lives, also while it does nothing. */
static void collector_on_life(void *owner, struct process *process)
{
	struct collector *collector = owner;
	uint32_t index;

	if (!process->sampled || collector_see(collector, process, &index) < 0)
		return;
	uint32_t periods = collector->seen[index].periods;
	if (periods == 0)
		periods = 1u << collector->periods_count >> 1; /* The newest. */
	for (uint32_t period = 0; period < collector->periods_count; period++) {
		if (periods >> period & 1)
			collector_add_span(
			        collector, process, collector_series(collector, index, period));
	}
}

static int span_compare(const void *left, const void *right)
{
	const struct span *a = left;
	const struct span *b = right;

	if (a->series != b->series)
		return a->series < b->series ? -1 : 1;
	return a->begin_ns < b->begin_ns ? -1 : a->begin_ns > b->begin_ns;
}

/* The union of the spans of each series: two processes at once are one second a second. */
static int collector_add_coverage(struct collector *collector)
{
	collector->spans_count = 0;
	process_table_each(collector->options.processes, collector_on_life, collector);
	if (collector->spans_count == 0)
		return 0;
	qsort(collector->spans, collector->spans_count, sizeof(*collector->spans), span_compare);

	uint64_t covered_to_ns = 0;
	for (uint32_t at = 0; at < collector->spans_count; at++) {
		const struct span *span = &collector->spans[at];
		uint64_t from_ns = span->begin_ns;

		if (at == 0 || collector->spans[at - 1].series != span->series)
			covered_to_ns = 0;
		if (from_ns < covered_to_ns)
			from_ns = covered_to_ns;
		if (span->end_ns <= from_ns)
			continue;
		int result = batch_add_coverage(
		        collector->batch, span->series, span->end_ns - from_ns);
		if (result < 0)
			return result;
		covered_to_ns = span->end_ns;
	}
	return 0;
}

static int collector_fill_batch(struct collector *collector)
{
	uint32_t period;
	int result = collector_period(collector, collector->sampler_state.period, &period);

	if (result < 0)
		period = 0;
	result = collector_add_rows(collector);
	if (result == 0)
		result = collector_add_coverage(collector);
	if (result == 0)
		result = collector_add_losses(collector, period);
	return result < 0 ? result : batch_settle(collector->batch);
}

static void collector_account(struct collector *collector)
{
	const struct batch *batch = collector->batch;

	collector->state.samples += batch_samples(batch);
	for (uint32_t at = 0; at < batch->losses_count; at++)
		collector->state.lost[batch->losses[at].reason] += batch->losses[at].count;
	collector->state.intervals++;
}

static void collector_next_interval(struct collector *collector, uint64_t begin_unix_ns)
{
	bool verify = collector->sampler_state.side_band_lost != collector->side_band_lost;

	if (verify)
		log_warn("side-band-lost",
		        "%llu process events found no room in their ring; /proc is read again",
		        (unsigned long long)(collector->sampler_state.side_band_lost -
		                             collector->side_band_lost));
	collector->side_band_lost = collector->sampler_state.side_band_lost;
	process_table_close_interval(collector->options.processes, collector->end_ns, verify);
	collector->interval++;
	collector->begin_ns = collector->end_ns;
	collector->begin_unix_ns = begin_unix_ns;
	collector->tallies_count = 0;
	collector->seen_count = 0;
	collector->losses_count = 0;
	collector->periods_count = 0;
	memset(collector->nobodys, 0, sizeof(collector->nobodys));
	if (collector->kallsyms_pause > 0)
		collector->kallsyms_pause--;
}

void collector_set_labeler(struct collector *collector, struct labeler *labeler)
{
	collector->options.labeler = labeler;
}

struct batch *collector_close_interval(struct collector *collector, uint64_t until_ns)
{
	uint64_t now_ns = clock_monotonic_ns(collector->options.clock);
	uint64_t until_unix_ns = clock_unix_ns(collector->options.clock) - (now_ns - until_ns);
	struct batch *batch = collector->batch;
	uint64_t nobodys[LOSS_REASON_MAX + 1];

	assert(until_ns <= now_ns && until_ns >= collector->begin_ns);

	collector->end_ns = until_ns;
	sampler_losses(collector->options.sampler, collector_on_loss, collector);
	collector->sampler_state = sampler_state(collector->options.sampler);
	memcpy(nobodys, collector->nobodys, sizeof(nobodys));
	batch->start_ns = collector->begin_unix_ns;
	batch->duration_ns = until_ns - collector->begin_ns;
	if (collector_fill_batch(collector) < 0) {
		memcpy(collector->nobodys, nobodys, sizeof(nobodys));
		batch_reset(batch);
		return NULL;
	}
	collector_account(collector);

	/* The caller reads one pair while the next interval fills the other. */
	collector->batch = collector->other_batch;
	collector->other_batch = batch;
	batch_reset(collector->batch);
	dict_reset(collector->batch->dict);
	collector->dict = collector->batch->dict;
	collector_next_interval(collector, until_unix_ns);
	return batch;
}

struct collector_state collector_state(const struct collector *collector)
{
	return collector->state;
}
