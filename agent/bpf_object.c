/*
 * libbpf's dialect stops here. Its objects are opened through the skeleton that bpftool makes, the
 * sampler is attached to perf events with the ioctl that does it, and libbpf's messages go to the
 * log at debug: the last of them is usually the one that says what the kernel minded, so it is
 * repeated on failure.
 */

#include "agent/bpf_object.h"

#include <assert.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/cpu_sample.skel.h"
#include "core/log.h"

struct bpf_programs {
	struct cpu_sample *skeleton;
	struct ring_buffer *ring;
	struct bpf_link *exec; /* NULL where the tracepoint could not be attached */
	uint64_t *per_cpu;     /* one counter of every possible CPU */
	int cpus;
	void (*on_record)(void *owner, const void *record, size_t bytes);
	void *owner;
};

/* libbpf prints through one function without a context. Only one thread opens programs. */
static char bpf_object_last_warning[200];

static int __attribute__((format(printf, 2, 0)))
bpf_object_print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char line[512];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), format, arguments);
	line[strcspn(line, "\n")] = 0;
	if (level == LIBBPF_WARN)
		snprintf(bpf_object_last_warning, sizeof(bpf_object_last_warning), "%s", line);
	log_debug("libbpf", "%s", line);
	return 0;
}

static const char *bpf_object_remedy(int error)
{
	switch (error) {
	case -EPERM:
	case -EACCES:
		return "grant CAP_BPF and CAP_PERFMON";
	case -ENOENT:
	case -ESRCH:
		return "the kernel has no BTF (/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF)";
	case -EINVAL:
		return "the kernel is older than 5.15 or refuses the program";
	default:
		return "see --log-level debug";
	}
}

static int bpf_object_failed(int error, const char *doing, char *ret_error, size_t error_bytes)
{
	snprintf(ret_error, error_bytes, "%s: %s; %s", doing, strerror(-error),
	        bpf_object_remedy(error));
	if (bpf_object_last_warning[0])
		log_debug("bpf-refused", "%s", bpf_object_last_warning);
	return error;
}

static int bpf_programs_on_record(void *owner, void *record, size_t bytes)
{
	struct bpf_programs *programs = owner;

	programs->on_record(programs->owner, record, bytes);
	return 0;
}

int bpf_programs_open(struct bpf_programs_options options, struct bpf_programs **ret_programs,
        char *ret_error, size_t error_bytes)
{
	assert(options.ring_bytes > 0 && (options.ring_bytes & (options.ring_bytes - 1)) == 0);

	AUTO(bpf_programs) programs = calloc(1, sizeof(*programs));
	if (!programs)
		return -ENOMEM;

	libbpf_set_print(bpf_object_print);
	bpf_object_last_warning[0] = 0;

	programs->skeleton = cpu_sample__open();
	if (!programs->skeleton)
		return bpf_object_failed(
		        -errno, "opening the BPF programs", ret_error, error_bytes);

	struct cpu_sample *skeleton = programs->skeleton;
	skeleton->rodata->wakeup_bytes = options.ring_bytes / 2;
	int result = bpf_map__set_max_entries(skeleton->maps.events, options.ring_bytes);
	if (result < 0)
		return bpf_object_failed(result, "sizing the ring buffer", ret_error, error_bytes);

	result = cpu_sample__load(skeleton);
	if (result < 0)
		return bpf_object_failed(
		        result, "loading the BPF programs", ret_error, error_bytes);

	programs->ring = ring_buffer__new(
	        bpf_map__fd(skeleton->maps.events), bpf_programs_on_record, programs, NULL);
	if (!programs->ring)
		return bpf_object_failed(-errno, "mapping the ring buffer", ret_error, error_bytes);

	programs->cpus = libbpf_num_possible_cpus();
	if (programs->cpus <= 0)
		return bpf_object_failed(-EIO, "counting the CPUs", ret_error, error_bytes);
	programs->per_cpu = calloc((size_t)programs->cpus, sizeof(*programs->per_cpu));
	if (!programs->per_cpu)
		return -ENOMEM;

	/* An upgrade: without it short-lived processes lack their cgroup, but not their name. */
	programs->exec = bpf_program__attach(skeleton->progs.process_exec);
	if (!programs->exec)
		log_warn("exec-events-missing", "cannot attach to sched_process_exec: %s",
		        strerror(errno));

	*ret_programs = TAKE(programs);
	return 0;
}

void bpf_programs_free(struct bpf_programs *programs)
{
	if (!programs)
		return;
	bpf_link__destroy(programs->exec);
	ring_buffer__free(programs->ring);
	cpu_sample__destroy(programs->skeleton);
	free(programs->per_cpu);
	free(programs);
}

int bpf_programs_attach(struct bpf_programs *programs, int perf_fd)
{
	int program_fd = bpf_program__fd(programs->skeleton->progs.cpu_sample);

	return ioctl(perf_fd, PERF_EVENT_IOC_SET_BPF, program_fd) < 0 ? -errno : 0;
}

int bpf_programs_poll_fd(const struct bpf_programs *programs)
{
	return ring_buffer__epoll_fd(programs->ring);
}

int bpf_programs_drain(struct bpf_programs *programs,
        void (*on_record)(void *owner, const void *record, size_t bytes), void *owner)
{
	programs->on_record = on_record;
	programs->owner = owner;
	int result = ring_buffer__consume(programs->ring);
	return result < 0 ? result : 0;
}

int bpf_programs_counters(struct bpf_programs *programs, uint64_t ret_counters[EVENT_COUNTER_COUNT])
{
	uint64_t sums[EVENT_COUNTER_COUNT] = { 0 };
	int map = bpf_map__fd(programs->skeleton->maps.counters);

	for (uint32_t counter = 0; counter < EVENT_COUNTER_COUNT; counter++) {
		int result = bpf_map_lookup_elem(map, &counter, programs->per_cpu);
		if (result < 0)
			return result;
		for (int cpu = 0; cpu < programs->cpus; cpu++)
			sums[counter] += programs->per_cpu[cpu];
	}
	memcpy(ret_counters, sums, sizeof(sums));
	return 0;
}

int bpf_programs_drops(struct bpf_programs *programs,
        void (*on_drop)(void *owner, const struct event_drop_key *key, uint64_t count), void *owner)
{
	struct event_drop_key key;
	struct event_drop_key *previous = NULL;
	struct event_drop_key next;
	uint64_t value;
	int map = bpf_map__fd(programs->skeleton->maps.drops);

	/* A key that is removed under our feet makes the kernel begin again: hence the bound. */
	uint32_t left = 2 * bpf_map__max_entries(programs->skeleton->maps.drops);
	while (left-- > 0 && bpf_map_get_next_key(map, previous, &next) == 0) {
		key = next;
		previous = &key;
		if (bpf_map_lookup_elem(map, &key, &value) == 0)
			on_drop(owner, &key, value);
	}
	return 0;
}

void bpf_programs_forget_drop(struct bpf_programs *programs, const struct event_drop_key *key)
{
	/* Gone already is as good. */
	(void)bpf_map_delete_elem(bpf_map__fd(programs->skeleton->maps.drops), key);
}
