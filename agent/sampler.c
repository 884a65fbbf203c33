/*
 * One implementation serves both tiers, because they differ only in where samples come from:
 *
 *	tier bpf     [ BPF ring buffer ]    samples, exec origins, cgroup names
 *	             [ side-band per CPU ]  fork, exec, mmap, exit
 *	tier perf    [ samples per CPU ]
 *	             [ side-band per CPU ]
 *
 * drain() copies whatever lies in the rings into `pending`, sorts by time, hands over what is
 * old enough, and moves the rest to the front. A record is decoded when it is handed over.
 *
 * CPUs come and go: once a second the list of those on line is compared with what is open. An
 * event of a CPU that went off line is drained a last time and closed.
 *
 * Losses are exact in sum. The per-CPU counter RING_FULL is the truth; the table of drops says
 * whose they were, and what it cannot say (or said too early) is nobody's. See
 * sampler_bpf_losses().
 */

#include "agent/sampler.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/bpf_object.h"
#include "agent/bpf_record.h"
#include "agent/cpus.h"
#include "agent/perf_ring.h"
#include "core/clock.h"
#include "core/log.h"

#define SAMPLER_RATE_PATH         "/proc/sys/kernel/perf_event_max_sample_rate"
#define SAMPLER_PENDING_BYTES_MAX (64u << 20)
#define SAMPLER_PID_NAMESPACE     0xeffffffcu /* inode of the first one: PROC_PID_INIT_INO */
#define SAMPLER_RESCAN_NS         NS_PER_S
#define SAMPLER_SIDE_BAND_PAGES   32
#define SAMPLER_SAMPLE_PAGES      64
#define SAMPLER_RING_BYTES_MIN    (1u << 20)
#define SAMPLER_RING_BYTES_MAX    (64u << 20)
#define SAMPLER_DROPS_MAX         1024 /* as many as the kernel's table */

enum pending_source { PENDING_BPF, PENDING_SIDE_BAND, PENDING_SAMPLES };

struct pending_record {
	uint64_t time_ns;
	uint64_t order; /* of arrival: decides between equal times */
	uint32_t offset;
	uint32_t bytes;
	enum pending_source source;
};

struct pending {
	uint8_t *bytes;
	uint32_t bytes_count;
	uint32_t bytes_capacity;
	struct pending_record *records;
	uint32_t records_count;
	uint32_t records_capacity;
	uint64_t order;
	enum pending_source source; /* of what is being read */
};

struct sampler_cpu {
	struct perf_ring *side_band;
	struct perf_ring *samples; /* bare where BPF runs at it */
	bool mute;                 /* hung up: not waited for */
};

struct drop_seen {
	struct event_drop_key key;
	uint64_t count;
	bool stale; /* unchanged since the last look */
};

struct sampler_kernel {
	struct sampler sampler;
	struct sampler_options options;
	struct sampler_state state;
	struct bpf_programs *programs; /* NULL in tier perf */
	struct sampler_cpu *cpus;      /* by number */
	uint32_t cpus_count;
	uint64_t rescan_ns;
	bool rescan_failed;    /* and said so */
	bool counts_lost;      /* the kernel counts lost records itself */
	uint64_t closed_lost;  /* of sample rings that are closed, or told by records */
	uint64_t samples_read; /* from rings, in tier perf */
	uint64_t exec_lost;    /* process events without room in the BPF ring */
	struct pending pending;
	struct pollfd *poll;
	struct drop_seen drops[SAMPLER_DROPS_MAX];
	uint32_t drops_count;
	uint64_t pending_lost[LOSS_REASON_MAX + 1]; /* found here, not reported yet */
	sampler_on_loss on_loss;
	void *on_loss_owner;
	uint64_t on_loss_left;
	bool started;
	bool stopped;
	struct bpf_record_path path; /* of the cgroup that is being handed over */
};

const char *sampler_tier_name(enum sampler_tier tier)
{
	static const char *const names[] = { "auto", "bpf", "perf" };

	assert(tier < COUNT_OF(names));
	return names[tier];
}

uint32_t sampler_rate(uint32_t hz, uint32_t kernel_max, uint64_t tick_ns)
{
	uint32_t ticks_hz = (uint32_t)(NS_PER_S / tick_ns);
	uint32_t per_tick = (kernel_max + ticks_hz - 1) / ticks_hz;

	if (kernel_max == 0)
		return hz;
	if (hz > kernel_max)
		hz = kernel_max;
	if (per_tick > 1) {
		/* An eighth less, so that a late sample does not meet the next one in its tick. */
		uint64_t most = (uint64_t)(per_tick - 1) * ticks_hz * 7 / 8;
		return hz < most ? hz : (uint32_t)most;
	}

	/* Every sample waits for the next tick: those that would be due just before one wait least.
	 */
	uint64_t ticks = (NS_PER_S / hz + tick_ns - 1) / tick_ns;
	uint32_t even = (uint32_t)(NS_PER_S / (ticks * tick_ns)) + 1;
	return even <= hz ? even : (uint32_t)(NS_PER_S / ((ticks + 1) * tick_ns)) + 1;
}

/* Of the kernel: the clock that only moves at ticks tells how long one is. */
static uint64_t sampler_tick_ns(void)
{
	struct timespec tick;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) < 0 || tick.tv_sec != 0 ||
	        tick.tv_nsec < (long)NS_PER_MS / 10)
		return NS_PER_S / 250;
	return (uint64_t)tick.tv_nsec;
}

static bool sampler_read_number(const char *path, uint64_t *ret_number)
{
	char text[32] = { 0 };
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *end;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return false;
	uint64_t number = strtoull(text, &end, 10);
	if (end == text)
		return false;
	*ret_number = number;
	return true;
}

static uint32_t sampler_kernel_rate(const struct sampler_kernel *kernel)
{
	uint64_t limit = 0;

	(void)sampler_read_number(kernel->options.rate_path, &limit);
	return sampler_rate(kernel->options.hz, limit > INT32_MAX ? INT32_MAX : (uint32_t)limit,
	        sampler_tick_ns());
}

/* Cycles per sample at the nominal frequency; where nobody tells it, at 2.5 GHz. */
static uint64_t sampler_cycles_period(uint32_t hz)
{
	uint64_t khz = 0;

	if (!sampler_read_number("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", &khz) ||
	        khz == 0)
		khz = 2500000;
	return khz * 1000 / hz;
}

static uint64_t sampler_period(enum sampler_event event, uint32_t hz)
{
	return event == SAMPLER_CYCLES ? sampler_cycles_period(hz) : NS_PER_S / hz;
}

static void sampler_cpu_close(struct sampler_cpu *cpu)
{
	perf_ring_free(TAKE(cpu->samples));
	perf_ring_free(TAKE(cpu->side_band));
	cpu->mute = false;
}

static int sampler_side_band_open(struct sampler_kernel *kernel, uint32_t number)
{
	uint32_t pages = kernel->options.pages;
	struct perf_ring_options options = {
		.kind = PERF_RING_SIDE_BAND,
		.cpu = number,
		.pages = pages ? pages : SAMPLER_SIDE_BAND_PAGES,
	};
	int result = perf_ring_open(options, &kernel->cpus[number].side_band);

	return result < 0 ? result : perf_ring_enable(kernel->cpus[number].side_band);
}

static int sampler_samples_open(struct sampler_kernel *kernel, uint32_t number)
{
	uint32_t pages = kernel->options.pages;
	struct perf_ring_options options = {
		.kind = kernel->programs ? PERF_RING_BARE : PERF_RING_SAMPLES,
		.event = kernel->options.event == SAMPLER_CYCLES ? PERF_RING_CYCLES
		                                                 : PERF_RING_CPU_CLOCK,
		.cpu = number,
		.period = kernel->state.period,
		.pages = pages ? pages : SAMPLER_SAMPLE_PAGES,
	};
	struct perf_ring **ring = &kernel->cpus[number].samples;
	int result = perf_ring_open(options, ring);

	if (result == 0 && kernel->programs)
		result = bpf_programs_attach(kernel->programs, perf_ring_fd(*ring));
	return result < 0 || !kernel->started ? result : perf_ring_enable(*ring);
}

/* Processes first: a sample must never be older than what explains it. */
static int sampler_cpu_open(struct sampler_kernel *kernel, uint32_t number)
{
	struct sampler_cpu *cpu = &kernel->cpus[number];
	int result = cpu->side_band ? 0 : sampler_side_band_open(kernel, number);

	if (result == 0 && !cpu->samples)
		result = sampler_samples_open(kernel, number);
	if (result < 0)
		sampler_cpu_close(cpu);
	return result;
}

static bool pending_grow(struct pending *pending, uint32_t bytes)
{
	if (pending->records_count == pending->records_capacity) {
		uint32_t capacity = pending->records_capacity ? 2 * pending->records_capacity
		                                              : 1024;
		void *records = realloc(pending->records, capacity * sizeof(*pending->records));
		if (!records)
			return false;
		pending->records = records;
		pending->records_capacity = capacity;
	}
	if (bytes > pending->bytes_capacity - pending->bytes_count) {
		uint32_t capacity = pending->bytes_capacity ? pending->bytes_capacity : 1u << 18;
		while (capacity - pending->bytes_count < bytes)
			capacity *= 2;
		if (capacity > SAMPLER_PENDING_BYTES_MAX)
			return false;
		void *larger = realloc(pending->bytes, capacity);
		if (!larger)
			return false;
		pending->bytes = larger;
		pending->bytes_capacity = capacity;
	}
	return true;
}

static bool pending_add(
        struct pending *pending, const void *record, uint32_t bytes, uint64_t time_ns)
{
	uint32_t room = (bytes + 7) & ~7u;

	if (!pending_grow(pending, room))
		return false;
	memcpy(pending->bytes + pending->bytes_count, record, bytes);
	pending->records[pending->records_count++] = (struct pending_record){
		.time_ns = time_ns,
		.order = pending->order++,
		.offset = pending->bytes_count,
		.bytes = bytes,
		.source = pending->source,
	};
	pending->bytes_count += room;
	return true;
}

static int pending_compare(const void *left, const void *right)
{
	const struct pending_record *a = left;
	const struct pending_record *b = right;

	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

static int pending_compare_order(const void *left, const void *right)
{
	const struct pending_record *a = left;
	const struct pending_record *b = right;

	return a->order < b->order ? -1 : a->order > b->order;
}

/* Keeps records[done..] and their bytes, moved to the front. They are few: the last milliseconds.
 */
static void pending_keep(struct pending *pending, uint32_t done)
{
	uint32_t left = pending->records_count - done;
	uint32_t to = 0;

	if (left == 0) {
		pending->records_count = 0;
		pending->bytes_count = 0;
		return;
	}
	/* Bytes lie in the order of arrival, so moving them in that order never overwrites one. */
	memmove(pending->records, pending->records + done, left * sizeof(*pending->records));
	qsort(pending->records, left, sizeof(*pending->records), pending_compare_order);
	for (uint32_t at = 0; at < left; at++) {
		struct pending_record *record = &pending->records[at];
		memmove(pending->bytes + to, pending->bytes + record->offset, record->bytes);
		record->offset = to;
		to += (record->bytes + 7) & ~7u;
	}
	pending->records_count = left;
	pending->bytes_count = to;
}

static void sampler_on_bpf_record(void *owner, const void *record, size_t bytes)
{
	struct sampler_kernel *kernel = owner;
	struct event_header header;

	if (bytes < sizeof(header) || bytes > BPF_RECORD_BYTES_MAX) {
		kernel->pending_lost[LOSS_MALFORMED]++;
		return;
	}
	memcpy(&header, record, sizeof(header));
	if (!pending_add(&kernel->pending, record, (uint32_t)bytes, header.time_ns) &&
	        header.kind == EVENT_SAMPLE)
		kernel->pending_lost[LOSS_AGENT_MEMORY]++;
}

static void sampler_on_perf_record(void *owner, const void *record, size_t bytes)
{
	struct sampler_kernel *kernel = owner;
	bool sample = kernel->pending.source == PENDING_SAMPLES;
	struct observation lost;

	/* Losses are counted where they are found: their time means nothing. */
	if (perf_record_decode(record, bytes, &lost) == 0 && lost.kind == OBSERVED_LOST) {
		if (!sample)
			kernel->state.side_band_lost += lost.lost;
		else if (!kernel->counts_lost)
			kernel->closed_lost += lost.lost;
		return;
	}
	if (sample)
		kernel->samples_read++;
	if (pending_add(
	            &kernel->pending, record, (uint32_t)bytes, perf_record_time_ns(record, bytes)))
		return;
	if (sample)
		kernel->pending_lost[LOSS_AGENT_MEMORY]++;
	else
		kernel->state.side_band_lost++;
}

static void sampler_read_ring(
        struct sampler_kernel *kernel, struct perf_ring *ring, enum pending_source source)
{
	kernel->pending.source = source;
	if (ring && perf_ring_drain(ring, sampler_on_perf_record, kernel) < 0)
		log_warn("perf-ring-broken", "ring of CPU %u made no sense and was emptied",
		        perf_ring_cpu(ring));
}

/* Samples first: whatever explains them has been written when the side-band is read after them. */
static int sampler_read_all(struct sampler_kernel *kernel)
{
	int result = 0;

	if (kernel->programs) {
		kernel->pending.source = PENDING_BPF;
		result = bpf_programs_drain(kernel->programs, sampler_on_bpf_record, kernel);
	} else {
		for (uint32_t cpu = 0; cpu < kernel->cpus_count; cpu++)
			sampler_read_ring(kernel, kernel->cpus[cpu].samples, PENDING_SAMPLES);
	}
	for (uint32_t cpu = 0; cpu < kernel->cpus_count; cpu++)
		sampler_read_ring(kernel, kernel->cpus[cpu].side_band, PENDING_SIDE_BAND);
	return result;
}

static uint64_t sampler_ring_lost(const struct sampler_kernel *kernel)
{
	uint64_t sum = kernel->closed_lost;

	for (uint32_t cpu = 0; kernel->counts_lost && cpu < kernel->cpus_count; cpu++) {
		uint64_t lost = 0;
		if (kernel->cpus[cpu].samples &&
		        perf_ring_lost(kernel->cpus[cpu].samples, &lost) == 0)
			sum += lost;
	}
	return sum;
}

/* Reads what is left of a CPU's samples, and keeps the count of those that were lost. */
static void sampler_samples_close(struct sampler_kernel *kernel, struct sampler_cpu *cpu)
{
	uint64_t lost = 0;

	perf_ring_disable(cpu->samples);
	if (!kernel->programs) {
		sampler_read_ring(kernel, cpu->samples, PENDING_SAMPLES);
		if (kernel->counts_lost && perf_ring_lost(cpu->samples, &lost) == 0)
			kernel->closed_lost += lost;
	}
	perf_ring_free(TAKE(cpu->samples));
}

static void sampler_cpu_gone(struct sampler_kernel *kernel, uint32_t number)
{
	struct sampler_cpu *cpu = &kernel->cpus[number];

	sampler_samples_close(kernel, cpu);
	sampler_read_ring(kernel, cpu->side_band, PENDING_SIDE_BAND);
	sampler_cpu_close(cpu);
	kernel->state.cpus--;
	log_info("cpu-offline", "CPU %u is off line: its sampler is closed", number);
}

static bool sampler_cpus_reserve(struct sampler_kernel *kernel, uint32_t count)
{
	if (count <= kernel->cpus_count)
		return true;
	struct sampler_cpu *cpus = realloc(kernel->cpus, count * sizeof(*cpus));
	if (!cpus)
		return false;
	memset(cpus + kernel->cpus_count, 0, (count - kernel->cpus_count) * sizeof(*cpus));
	kernel->cpus = cpus;
	struct pollfd *polled = realloc(kernel->poll, (2 * (size_t)count + 2) * sizeof(*polled));
	if (!polled)
		return false;
	kernel->poll = polled;
	kernel->cpus_count = count;
	return true;
}

/* Opens what came and closes what went. The first error of a CPU that is really there. */
static int sampler_rescan(struct sampler_kernel *kernel)
{
	struct cpus online;
	int result = cpus_read(kernel->options.cpus_path, &online);

	if (result < 0)
		return result;
	uint32_t count = 0;
	for (uint32_t cpu = 0; cpu < CPUS_MAX; cpu++) {
		if (cpus_has(&online, cpu))
			count = cpu + 1;
	}
	if (!sampler_cpus_reserve(kernel, count))
		return -ENOMEM;

	for (uint32_t cpu = 0; cpu < kernel->cpus_count; cpu++) {
		bool open = kernel->cpus[cpu].side_band != NULL;
		if (open && !cpus_has(&online, cpu)) {
			sampler_cpu_gone(kernel, cpu);
		} else if (!open && cpus_has(&online, cpu)) {
			int opened = sampler_cpu_open(kernel, cpu);
			if (opened == 0)
				kernel->state.cpus++;
			else if (opened != -ENODEV && result == 0)
				result = opened; /* -ENODEV: it went again meanwhile. */
		}
	}
	return result;
}

/*
 * The kernel lowers its limit by itself when interrupts take long. The events are opened again,
 * because one whose period is changed goes on telling the old one with each sample.
 */
static void sampler_follow_rate(struct sampler_kernel *kernel)
{
	uint32_t hz = sampler_kernel_rate(kernel);

	if (hz == kernel->state.hz)
		return;
	log_warn("rate-changed", "kernel.perf_event_max_sample_rate now allows %u Hz of %u", hz,
	        kernel->options.hz);
	kernel->state.hz = hz;
	kernel->state.period = sampler_period(kernel->options.event, hz);
	for (uint32_t number = 0; number < kernel->cpus_count; number++) {
		struct sampler_cpu *cpu = &kernel->cpus[number];
		if (!cpu->samples)
			continue;
		sampler_samples_close(kernel, cpu);
		int result = sampler_cpu_open(kernel, number);
		if (result < 0)
			kernel->state.cpus--; /* Gone, or tried again by the next rescan. */
	}
}

static void sampler_keep_up(struct sampler_kernel *kernel)
{
	uint64_t now_ns = clock_monotonic_ns(clock_real());

	if (kernel->stopped || now_ns - kernel->rescan_ns < SAMPLER_RESCAN_NS)
		return;
	kernel->rescan_ns = now_ns;
	sampler_follow_rate(kernel);
	int result = sampler_rescan(kernel);
	if (result < 0 && !kernel->rescan_failed)
		log_warn("cpu-not-sampled", "opening events of a new CPU: %s", strerror(-result));
	kernel->rescan_failed = result < 0;
}

/* Whether a record that makes no sense was a sample, by the little that every record has. */
static bool pending_is_sample(const struct pending_record *record, const void *bytes)
{
	struct event_header header;

	if (record->source != PENDING_BPF)
		return record->source == PENDING_SAMPLES;
	memcpy(&header, bytes, sizeof(header));
	return header.kind == EVENT_SAMPLE;
}

static void sampler_hand_over(struct sampler_kernel *kernel, const struct pending_record *record,
        sampler_on_observation on_observation, void *owner)
{
	const void *bytes = kernel->pending.bytes + record->offset;
	struct observation observation;
	int result = record->source == PENDING_BPF
	                     ? bpf_record_decode(bytes, record->bytes, &kernel->path, &observation)
	                     : perf_record_decode(bytes, record->bytes, &observation);

	if (result == -EBADMSG && pending_is_sample(record, bytes))
		kernel->pending_lost[LOSS_MALFORMED]++;
	if (result != 0) {
		/* Throttling and the like in a ring of samples are records, but no samples. */
		if (result == -ENOMSG && record->source == PENDING_SAMPLES)
			kernel->samples_read--;
		return;
	}
	if (observation.kind == OBSERVED_SAMPLE)
		kernel->state.handed_over++;
	on_observation(owner, &observation);
}

static int sampler_kernel_drain(struct sampler *sampler, uint64_t until_ns,
        sampler_on_observation on_observation, void *owner)
{
	struct sampler_kernel *kernel = (struct sampler_kernel *)sampler;
	struct pending *pending = &kernel->pending;

	sampler_keep_up(kernel);
	int result = sampler_read_all(kernel);
	if (pending->records_count == 0)
		return result;
	qsort(pending->records, pending->records_count, sizeof(*pending->records), pending_compare);

	uint32_t done = 0;
	while (done < pending->records_count && pending->records[done].time_ns <= until_ns)
		sampler_hand_over(kernel, &pending->records[done++], on_observation, owner);
	pending_keep(pending, done);
	return result;
}

static int sampler_kernel_wait(struct sampler *sampler, int stop_fd, int timeout_ms)
{
	struct sampler_kernel *kernel = (struct sampler_kernel *)sampler;
	uint32_t count = 0;

	kernel->poll[count++] = (struct pollfd){ .fd = stop_fd, .events = POLLIN };
	if (kernel->programs)
		kernel->poll[count++] = (struct pollfd){
			.fd = bpf_programs_poll_fd(kernel->programs), .events = POLLIN
		};
	for (uint32_t cpu = 0; cpu < kernel->cpus_count; cpu++) {
		const struct sampler_cpu *at = &kernel->cpus[cpu];
		if (!at->side_band || at->mute)
			continue;
		kernel->poll[count++] = (struct pollfd){ .fd = perf_ring_fd(at->side_band),
			.events = POLLIN };
		if (!kernel->programs)
			kernel->poll[count++] = (struct pollfd){ .fd = perf_ring_fd(at->samples),
				.events = POLLIN };
	}
	if (poll(kernel->poll, count, timeout_ms) < 0 && errno != EINTR)
		return -errno;

	/* An event that hangs up would end every later wait at once: look what became of its CPU.
	 */
	for (uint32_t at = 0; at < count; at++) {
		if (!(kernel->poll[at].revents & (POLLHUP | POLLERR)))
			continue;
		for (uint32_t cpu = 0; cpu < kernel->cpus_count; cpu++) {
			struct sampler_cpu *hung = &kernel->cpus[cpu];
			if (hung->side_band && perf_ring_fd(hung->side_band) == kernel->poll[at].fd)
				hung->mute = true;
			if (hung->samples && perf_ring_fd(hung->samples) == kernel->poll[at].fd)
				hung->mute = true;
		}
		kernel->rescan_ns = 0;
	}
	return 0;
}

static struct drop_seen *sampler_drop_seen(
        struct sampler_kernel *kernel, const struct event_drop_key *key)
{
	for (uint32_t at = 0; at < kernel->drops_count; at++) {
		if (memcmp(&kernel->drops[at].key, key, sizeof(*key)) == 0)
			return &kernel->drops[at];
	}
	if (kernel->drops_count == SAMPLER_DROPS_MAX)
		return NULL;
	struct drop_seen *seen = &kernel->drops[kernel->drops_count++];
	*seen = (struct drop_seen){ .key = *key };
	return seen;
}

static void sampler_report(struct sampler_kernel *kernel, int32_t pid, uint64_t start_ns,
        enum loss_reason reason, uint64_t count)
{
	if (count == 0)
		return;
	kernel->state.lost[reason] += count;
	kernel->on_loss(kernel->on_loss_owner, pid, start_ns, reason, count);
}

static void sampler_on_drop(void *owner, const struct event_drop_key *key, uint64_t count)
{
	struct sampler_kernel *kernel = owner;
	struct drop_seen *seen = sampler_drop_seen(kernel, key);

	if (!seen)
		return;
	uint64_t more = count > seen->count ? count - seen->count : 0;
	seen->stale = more == 0;
	seen->count = count;
	if (more > kernel->on_loss_left)
		more = kernel->on_loss_left;
	kernel->on_loss_left -= more;
	sampler_report(kernel, key->tgid, key->start_ns, LOSS_RING_FULL, more);
}

/*
 * The counter says how many there are to report, the table whose they were. The two are read one
 * after the other, so the table is believed only up to the counter, and what it lacks is reported
 * as nobody's. Entries that did not grow between two calls make room; should one grow at that very
 * moment, only the name of that loss is lost, not its count.
 */
static void sampler_bpf_losses(struct sampler_kernel *kernel)
{
	uint64_t counters[EVENT_COUNTER_COUNT];

	if (bpf_programs_counters(kernel->programs, counters) < 0)
		return;
	uint64_t reported = kernel->state.lost[LOSS_RING_FULL];
	uint64_t all = counters[EVENT_COUNTER_RING_FULL];
	if (all > reported) {
		kernel->on_loss_left = all - reported;
		(void)bpf_programs_drops(kernel->programs, sampler_on_drop, kernel);
		sampler_report(kernel, 0, 0, LOSS_RING_FULL, kernel->on_loss_left);
		return;
	}
	for (uint32_t at = 0; at < kernel->drops_count;) {
		struct drop_seen *seen = &kernel->drops[at];
		if (seen->stale) {
			bpf_programs_forget_drop(kernel->programs, &seen->key);
			*seen = kernel->drops[--kernel->drops_count];
		} else {
			seen->stale = true;
			at++;
		}
	}
}

static void sampler_kernel_losses(struct sampler *sampler, sampler_on_loss on_loss, void *owner)
{
	struct sampler_kernel *kernel = (struct sampler_kernel *)sampler;

	kernel->on_loss = on_loss;
	kernel->on_loss_owner = owner;
	if (kernel->programs) {
		sampler_bpf_losses(kernel);
	} else {
		uint64_t all = sampler_ring_lost(kernel);
		uint64_t reported = kernel->state.lost[LOSS_PERF_LOST];
		sampler_report(kernel, 0, 0, LOSS_PERF_LOST, all > reported ? all - reported : 0);
	}
	for (uint32_t reason = 0; reason <= LOSS_REASON_MAX; reason++) {
		sampler_report(kernel, 0, 0, reason, kernel->pending_lost[reason]);
		kernel->pending_lost[reason] = 0;
	}
}

static struct sampler_state sampler_kernel_state(struct sampler *sampler)
{
	struct sampler_kernel *kernel = (struct sampler_kernel *)sampler;
	uint64_t counters[EVENT_COUNTER_COUNT];

	if (!kernel->programs) {
		kernel->state.taken = kernel->samples_read + sampler_ring_lost(kernel);
	} else if (bpf_programs_counters(kernel->programs, counters) == 0) {
		kernel->state.taken = counters[EVENT_COUNTER_TAKEN];
		kernel->exec_lost = counters[EVENT_COUNTER_EXEC_LOST];
	}
	struct sampler_state state = kernel->state;
	state.side_band_lost += kernel->exec_lost;
	return state;
}

static int sampler_kernel_start(struct sampler *sampler)
{
	struct sampler_kernel *kernel = (struct sampler_kernel *)sampler;

	kernel->started = true;
	for (uint32_t cpu = 0; cpu < kernel->cpus_count; cpu++) {
		int result = kernel->cpus[cpu].samples ? perf_ring_enable(kernel->cpus[cpu].samples)
		                                       : 0;
		if (result < 0)
			return result;
	}
	return 0;
}

static void sampler_kernel_stop(struct sampler *sampler)
{
	struct sampler_kernel *kernel = (struct sampler_kernel *)sampler;

	kernel->stopped = true;
	for (uint32_t cpu = 0; cpu < kernel->cpus_count; cpu++) {
		if (kernel->cpus[cpu].samples)
			perf_ring_disable(kernel->cpus[cpu].samples);
	}
}

static void sampler_kernel_free(struct sampler *sampler)
{
	struct sampler_kernel *kernel = (struct sampler_kernel *)sampler;

	for (uint32_t cpu = 0; cpu < kernel->cpus_count; cpu++)
		sampler_cpu_close(&kernel->cpus[cpu]);
	bpf_programs_free(kernel->programs);
	free(kernel->cpus);
	free(kernel->poll);
	free(kernel->pending.bytes);
	free(kernel->pending.records);
	free(kernel);
}

static const struct sampler_functions sampler_kernel_functions = {
	.start = sampler_kernel_start,
	.drain = sampler_kernel_drain,
	.wait = sampler_kernel_wait,
	.losses = sampler_kernel_losses,
	.state = sampler_kernel_state,
	.stop = sampler_kernel_stop,
	.free = sampler_kernel_free,
};

/* A second of samples at 1 KiB each, which is four times what they usually take. */
static uint32_t sampler_ring_bytes(const struct sampler_options *options, uint32_t cpus)
{
	uint64_t wanted = (uint64_t)options->hz * cpus * 1024;
	uint32_t bytes = SAMPLER_RING_BYTES_MIN;

	if (options->ring_bytes)
		return options->ring_bytes;
	while (bytes < wanted && bytes < SAMPLER_RING_BYTES_MAX)
		bytes *= 2;
	return bytes;
}

static int sampler_explain(
        struct sampler_kernel *kernel, int error, char *ret_error, size_t error_bytes)
{
	if (error == -EACCES || error == -EPERM) {
		snprintf(ret_error, error_bytes,
		        "perf events of other processes: %s; grant CAP_PERFMON, or set "
		        "kernel.perf_event_paranoid to 0 or less",
		        strerror(-error));
		return -EACCES;
	}
	if (kernel->options.event == SAMPLER_CYCLES &&
	        (error == -ENOENT || error == -EOPNOTSUPP || error == -EINVAL ||
	                error == -ENODEV)) {
		snprintf(ret_error, error_bytes,
		        "this machine has no hardware cycle counter (virtual machines often lack "
		        "it); use --event cpu-clock");
		return -ENODEV;
	}
	snprintf(ret_error, error_bytes, "opening perf events: %s", strerror(-error));
	return error;
}

/* Opens every CPU, at a lower rate while the kernel finds the rate too high. */
static int sampler_open_cpus(struct sampler_kernel *kernel, char *ret_error, size_t error_bytes)
{
	int result;

	kernel->state.hz = sampler_kernel_rate(kernel);
	for (;;) {
		kernel->state.period = sampler_period(kernel->options.event, kernel->state.hz);
		result = sampler_rescan(kernel);
		if (result != -EINVAL || kernel->state.hz < 2 || kernel->state.cpus > 0)
			break;
		kernel->state.hz /= 2;
	}
	if (result == 0 && kernel->state.cpus == 0)
		result = -ENODEV;
	if (result < 0)
		return sampler_explain(kernel, result, ret_error, error_bytes);
	if (kernel->state.hz != kernel->options.hz)
		log_warn("rate-clamped",
		        "sampling at %u Hz: kernel.perf_event_max_sample_rate forbids %u",
		        kernel->state.hz, kernel->options.hz);
	return 0;
}

/*
 * BPF tells processes by their number in the first pid namespace. In another one these numbers are
 * of other processes, or of none.
 */
static bool sampler_sees_all_pids(void)
{
	struct stat stat_own;

	return stat("/proc/self/ns/pid", &stat_own) < 0 || stat_own.st_ino == SAMPLER_PID_NAMESPACE;
}

static int sampler_open_tier(struct sampler_options options, enum sampler_tier tier,
        struct sampler **ret_sampler, char *ret_error, size_t error_bytes)
{
	struct cpus online;
	struct sampler_kernel *kernel = calloc(1, sizeof(*kernel));

	if (!kernel)
		return -ENOMEM;
	AUTO(sampler) sampler = &kernel->sampler;
	sampler->functions = &sampler_kernel_functions;
	kernel->options = options;
	kernel->counts_lost = true;
	kernel->state.tier = tier;
	kernel->state.event = options.event;

	int result = cpus_read(options.cpus_path, &online);
	if (result < 0) {
		snprintf(ret_error, error_bytes, "%s: %s", options.cpus_path, strerror(-result));
		return result;
	}
	if (tier == SAMPLER_TIER_BPF && !sampler_sees_all_pids()) {
		snprintf(ret_error, error_bytes,
		        "the agent is in a pid namespace of its own and sees no other processes; "
		        "run it "
		        "in the host's (--pid=host, hostPID: true)");
		return -EACCES;
	}
	if (tier == SAMPLER_TIER_BPF) {
		struct bpf_programs_options programs = {
			.ring_bytes = sampler_ring_bytes(&options, online.count),
		};
		result = bpf_programs_open(programs, &kernel->programs, ret_error, error_bytes);
		if (result < 0)
			return result == -EPERM ? -EACCES : result;
	}
	result = sampler_open_cpus(kernel, ret_error, error_bytes);
	if (result < 0)
		return result;
	for (uint32_t cpu = 0; tier == SAMPLER_TIER_PERF && cpu < kernel->cpus_count; cpu++) {
		uint64_t lost;
		if (kernel->cpus[cpu].samples &&
		        perf_ring_lost(kernel->cpus[cpu].samples, &lost) < 0)
			kernel->counts_lost = false;
	}
	kernel->rescan_ns = clock_monotonic_ns(clock_real());
	*ret_sampler = TAKE(sampler);
	return 0;
}

int sampler_open(struct sampler_options options, struct sampler **ret_sampler, char *ret_error,
        size_t error_bytes)
{
	assert(options.hz > 0);

	if (!options.cpus_path)
		options.cpus_path = CPUS_ONLINE_PATH;
	if (!options.rate_path)
		options.rate_path = SAMPLER_RATE_PATH;
	if (options.tier != SAMPLER_TIER_AUTO)
		return sampler_open_tier(
		        options, options.tier, ret_sampler, ret_error, error_bytes);

	int result = sampler_open_tier(
	        options, SAMPLER_TIER_BPF, ret_sampler, ret_error, error_bytes);
	if (result == 0 || result == -ENOMEM || result == -ENODEV)
		return result;
	log_warn("tier-bpf-missing", "%s. Next: plain perf rings", ret_error);
	return sampler_open_tier(options, SAMPLER_TIER_PERF, ret_sampler, ret_error, error_bytes);
}
