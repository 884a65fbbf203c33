/*
 * The ring is the kernel's: one page of control, then the data, a power of two long.
 *
 *	data_tail (ours) ... data_head (theirs, read with acquire)
 *
 * A record that wraps around the end is copied into one piece; others are handed out where
 * they lie, and data_tail moves only after the call, so that the kernel cannot write over them
 * meanwhile.
 *
 * Every record of ours ends with the same three words (sample_id_all): pid and tid, time, cpu.
 * A sample has them in front, because its other fields are of variable length.
 */

#include "agent/perf_ring.h"

#include <assert.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#ifndef PERF_RECORD_MISC_MMAP_BUILD_ID
#define PERF_RECORD_MISC_MMAP_BUILD_ID (1 << 14)
#endif

struct perf_ring {
	struct perf_ring_options options;
	int fd;
	struct perf_event_mmap_page *control; /* NULL for bare ones */
	uint8_t *data;
	uint64_t data_bytes;
	uint64_t mapped_bytes;
	bool tells_lost;
	uint64_t record[PERF_RECORD_BYTES_MAX / sizeof(uint64_t)]; /* one that wrapped */
};

/* What sample_id_all appends to every record but samples. */
struct perf_record_trailer {
	uint32_t pid;
	uint32_t tid;
	uint64_t time_ns;
	uint32_t cpu;
	uint32_t reserved;
};

struct perf_record_task {
	struct perf_event_header header;
	uint32_t pid;
	uint32_t parent_pid;
	uint32_t tid;
	uint32_t parent_tid;
	uint64_t time_ns;
};

struct perf_record_comm {
	struct perf_event_header header;
	uint32_t pid;
	uint32_t tid;
	char comm[];
};

struct perf_record_mmap2 {
	struct perf_event_header header;
	uint32_t pid;
	uint32_t tid;
	uint64_t start;
	uint64_t bytes;
	uint64_t offset;
	union {
		struct {
			uint32_t major;
			uint32_t minor;
			uint64_t inode;
			uint64_t inode_generation;
		};
		struct {
			uint8_t build_id_bytes;
			uint8_t reserved[3];
			uint8_t build_id[OBSERVATION_BUILD_ID_BYTES];
		};
	};
	uint32_t protection;
	uint32_t flags;
	char path[];
};

struct perf_record_lost {
	struct perf_event_header header;
	uint64_t id;
	uint64_t lost;
};

struct perf_record_sample {
	struct perf_event_header header;
	uint32_t pid;
	uint32_t tid;
	uint64_t time_ns;
	uint32_t cpu;
	uint32_t reserved;
	uint64_t period;
	uint64_t chain_count;
	uint64_t chain[];
};

static_assert(sizeof(struct perf_record_trailer) == 24, "kernel layout");
static_assert(sizeof(struct perf_record_task) == 32, "kernel layout");
static_assert(sizeof(struct perf_record_mmap2) == 72, "kernel layout");
static_assert(sizeof(struct perf_record_lost) == 24, "kernel layout");
static_assert(sizeof(struct perf_record_sample) == 48, "kernel layout");

static void perf_ring_describe(
        const struct perf_ring_options *options, struct perf_event_attr *attr)
{
	*attr = (struct perf_event_attr){
		.size = sizeof(*attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY,
		.disabled = 1,
		.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU,
		.sample_id_all = 1,
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC,
		.read_format = PERF_FORMAT_LOST,
	};
	if (options->kind == PERF_RING_SIDE_BAND) {
		attr->mmap = 1;
		attr->mmap2 = 1;
		attr->build_id = 1;
		attr->comm = 1;
		attr->comm_exec = 1;
		attr->task = 1;
		/* Wakes the reader when a burst of processes fills half of the ring. */
		attr->watermark = 1;
		attr->wakeup_watermark = options->pages * (uint32_t)sysconf(_SC_PAGESIZE) / 2;
		return;
	}

	attr->sample_period = options->period;
	attr->exclude_idle = 1;
	if (options->event == PERF_RING_CYCLES) {
		attr->type = PERF_TYPE_HARDWARE;
		attr->config = PERF_COUNT_HW_CPU_CYCLES;
	} else {
		attr->config = PERF_COUNT_SW_CPU_CLOCK;
	}
	if (options->kind == PERF_RING_SAMPLES) {
		attr->sample_type |= PERF_SAMPLE_PERIOD | PERF_SAMPLE_CALLCHAIN;
		attr->watermark = 1;
		attr->wakeup_watermark = options->pages * (uint32_t)sysconf(_SC_PAGESIZE) / 2;
	}
}

static int perf_ring_open_event(struct perf_ring *ring)
{
	struct perf_event_attr attr;

	perf_ring_describe(&ring->options, &attr);
	for (;;) {
		ring->fd = (int)syscall(SYS_perf_event_open, &attr, -1, (int)ring->options.cpu, -1,
		        PERF_FLAG_FD_CLOEXEC);
		if (ring->fd >= 0)
			break;
		/* What older kernels do not know, newest first: counts of lost records, build-ids.
		 */
		if (errno == EINVAL && attr.read_format)
			attr.read_format = 0;
		else if (errno == EINVAL && attr.build_id)
			attr.build_id = 0;
		else
			return -errno;
	}
	ring->tells_lost = attr.read_format != 0;
	return 0;
}

static int perf_ring_map(struct perf_ring *ring)
{
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);

	ring->data_bytes = ring->options.pages * page_bytes;
	ring->mapped_bytes = ring->data_bytes + page_bytes;
	void *memory = mmap(
	        NULL, ring->mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	ring->control = memory;
	ring->data = (uint8_t *)memory + page_bytes;
	return 0;
}

int perf_ring_open(struct perf_ring_options options, struct perf_ring **ret_ring)
{
	AUTO(perf_ring) ring = calloc(1, sizeof(*ring));

	if (!ring)
		return -ENOMEM;
	ring->options = options;
	ring->fd = -1;

	int result = perf_ring_open_event(ring);
	if (result < 0)
		return result;
	if (options.kind != PERF_RING_BARE) {
		assert(options.pages > 0 && (options.pages & (options.pages - 1)) == 0);
		result = perf_ring_map(ring);
		if (result < 0)
			return result;
	}
	*ret_ring = TAKE(ring);
	return 0;
}

void perf_ring_free(struct perf_ring *ring)
{
	if (!ring)
		return;
	if (ring->control)
		(void)munmap(ring->control, ring->mapped_bytes);
	if (ring->fd >= 0)
		(void)close(ring->fd);
	free(ring);
}

int perf_ring_enable(struct perf_ring *ring)
{
	return ioctl(ring->fd, PERF_EVENT_IOC_ENABLE, 0) < 0 ? -errno : 0;
}

void perf_ring_disable(struct perf_ring *ring)
{
	/* Fails only for a CPU that is off line, where nothing runs any more. */
	(void)ioctl(ring->fd, PERF_EVENT_IOC_DISABLE, 0);
}

int perf_ring_fd(const struct perf_ring *ring)
{
	return ring->fd;
}

uint32_t perf_ring_cpu(const struct perf_ring *ring)
{
	return ring->options.cpu;
}

/* The `count` bytes at a position that only ever grows, in one piece. */
static const void *perf_ring_piece(struct perf_ring *ring, uint64_t position, uint64_t count)
{
	uint64_t at = position & (ring->data_bytes - 1);
	uint64_t first = ring->data_bytes - at;

	if (count <= first)
		return ring->data + at;
	memcpy(ring->record, ring->data + at, first);
	memcpy((uint8_t *)ring->record + first, ring->data, count - first);
	return ring->record;
}

int perf_ring_drain(struct perf_ring *ring,
        void (*on_record)(void *owner, const void *record, size_t bytes), void *owner)
{
	uint64_t head = __atomic_load_n(&ring->control->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = ring->control->data_tail;
	int result = head - tail > ring->data_bytes ? -EBADMSG : 0;

	while (result == 0 && tail != head) {
		struct perf_event_header header;

		/* Records are multiples of 8 bytes long, so a header never wraps. */
		memcpy(&header, ring->data + (tail & (ring->data_bytes - 1)), sizeof(header));
		if (header.size < sizeof(header) || header.size % 8 != 0 ||
		        header.size > head - tail) {
			result = -EBADMSG;
			break;
		}
		on_record(owner, perf_ring_piece(ring, tail, header.size), header.size);
		tail += header.size;
	}
	__atomic_store_n(&ring->control->data_tail, head, __ATOMIC_RELEASE);
	return result;
}

int perf_ring_lost(const struct perf_ring *ring, uint64_t *ret_lost)
{
	uint64_t values[2]; /* the count of the event, then that of lost records */

	if (!ring->tells_lost)
		return -EOPNOTSUPP;
	ssize_t count = read(ring->fd, values, sizeof(values));
	if (count != (ssize_t)sizeof(values))
		return count < 0 ? -errno : -EIO;
	*ret_lost = values[1];
	return 0;
}

static int perf_record_decode_sample(
        const struct perf_record_sample *record, size_t bytes, struct observation *observation)
{
	if (bytes < sizeof(*record) ||
	        record->chain_count > (bytes - sizeof(*record)) / sizeof(uint64_t))
		return -EBADMSG;

	observation->kind = OBSERVED_SAMPLE;
	observation->cpu = record->cpu;
	observation->pid = (int32_t)record->pid;
	observation->tid = (int32_t)record->tid;
	observation->time_ns = record->time_ns;
	struct observed_sample *sample = &observation->sample;
	sample->period = record->period;

	/* Marks in the chain say whose frames follow. A second mark of a kind begins that stack
	 * anew. */
	uint64_t context = 0;
	for (uint64_t at = 0; at < record->chain_count; at++) {
		uint64_t ip = record->chain[at];
		if (ip == (uint64_t)PERF_CONTEXT_KERNEL) {
			sample->kernel_ips = record->chain + at + 1;
			sample->kernel_depth = 0;
		} else if (ip == (uint64_t)PERF_CONTEXT_USER) {
			sample->user_ips = record->chain + at + 1;
			sample->user_depth = 0;
		}
		if (ip >= (uint64_t)PERF_CONTEXT_MAX)
			context = ip;
		else if (context == (uint64_t)PERF_CONTEXT_KERNEL)
			sample->kernel_depth++;
		else if (context == (uint64_t)PERF_CONTEXT_USER)
			sample->user_depth++;
	}

	/* The kernel does not say how its walk ended, only by its length when it was cut. */
	if (sample->kernel_depth + sample->user_depth >= PERF_MAX_STACK_DEPTH)
		sample->flags |= sample->user_depth ? OBSERVED_USER_CUT : OBSERVED_KERNEL_CUT;
	bool in_kernel = (record->header.misc & PERF_RECORD_MISC_CPUMODE_MASK) ==
	                 PERF_RECORD_MISC_KERNEL;
	if (sample->user_depth == 0)
		sample->flags |= in_kernel ? OBSERVED_NO_USER : OBSERVED_USER_CUT;
	return 0;
}

/* The text that ends at the trailer, if it is one: zero-terminated within its room. */
static const char *perf_record_text(const void *record, size_t offset, size_t end)
{
	const char *text = (const char *)record + offset;

	return offset < end && memchr(text, 0, end - offset) ? text : NULL;
}

static int perf_record_decode_comm(
        const struct perf_record_comm *record, size_t end, struct observation *observation)
{
	const char *comm = perf_record_text(record, sizeof(*record), end);

	if (!comm)
		return -EBADMSG;
	/* A thread's name is its own affair, unless the thread became the process. */
	bool exec = record->header.misc & PERF_RECORD_MISC_COMM_EXEC;
	if (!exec && record->pid != record->tid)
		return -ENOMSG;
	observation->kind = exec ? OBSERVED_EXEC : OBSERVED_COMM;
	observation->pid = (int32_t)record->pid;
	observation->tid = (int32_t)record->tid;
	memccpy(observation->comm, comm, 0, OBSERVATION_COMM_BYTES - 1);
	return 0;
}

static int perf_record_decode_map(
        const struct perf_record_mmap2 *record, size_t end, struct observation *observation)
{
	const char *path = perf_record_text(record, sizeof(*record), end);

	if (!path || record->bytes == 0 || record->start + record->bytes < record->start)
		return -EBADMSG;

	observation->kind = OBSERVED_MAP;
	observation->pid = (int32_t)record->pid;
	observation->tid = (int32_t)record->tid;
	struct observed_map *map = &observation->map;
	map->start = record->start;
	map->bytes = record->bytes;
	map->offset = record->offset;
	map->path = path;
	if (!(record->header.misc & PERF_RECORD_MISC_MMAP_BUILD_ID)) {
		map->device_major = record->major;
		map->device_minor = record->minor;
		map->inode = record->inode;
		map->inode_generation = record->inode_generation;
	} else if (record->build_id_bytes <= OBSERVATION_BUILD_ID_BYTES) {
		map->build_id_bytes = record->build_id_bytes;
		memcpy(map->build_id, record->build_id, record->build_id_bytes);
	} else {
		return -EBADMSG;
	}
	return 0;
}

static int perf_record_decode_task(
        const struct perf_record_task *record, size_t end, struct observation *observation)
{
	if (end < sizeof(*record))
		return -EBADMSG;

	observation->pid = (int32_t)record->pid;
	observation->tid = (int32_t)record->tid;
	if (record->pid != record->tid)
		return -ENOMSG; /* Threads come and go within a process. */
	if (record->header.type == PERF_RECORD_EXIT) {
		observation->kind = OBSERVED_EXIT;
	} else {
		observation->kind = OBSERVED_FORK;
		observation->fork_parent = (int32_t)record->parent_pid;
	}
	return 0;
}

int perf_record_decode(const void *record, size_t bytes, struct observation *ret_observation)
{
	struct perf_event_header header;
	struct perf_record_trailer trailer;
	struct observation observation = { 0 };
	int result;

	if (bytes < sizeof(header))
		return -EBADMSG;
	memcpy(&header, record, sizeof(header));
	if (header.size != bytes)
		return -EBADMSG;

	if (header.type == PERF_RECORD_SAMPLE) {
		result = perf_record_decode_sample(record, bytes, &observation);
		if (result == 0)
			*ret_observation = observation;
		return result;
	}

	if (bytes < sizeof(header) + sizeof(trailer))
		return -EBADMSG;
	size_t end = bytes - sizeof(trailer);
	memcpy(&trailer, (const uint8_t *)record + end, sizeof(trailer));
	observation.time_ns = trailer.time_ns;
	observation.cpu = trailer.cpu;

	switch (header.type) {
	case PERF_RECORD_COMM:
		result = perf_record_decode_comm(record, end, &observation);
		break;
	case PERF_RECORD_MMAP2:
		result = perf_record_decode_map(record, end, &observation);
		break;
	case PERF_RECORD_FORK:
	case PERF_RECORD_EXIT:
		result = perf_record_decode_task(record, end, &observation);
		break;
	case PERF_RECORD_LOST:
		if (end < sizeof(struct perf_record_lost))
			return -EBADMSG;
		observation.kind = OBSERVED_LOST;
		observation.lost = ((const struct perf_record_lost *)record)->lost;
		result = 0;
		break;
	default:
		return -ENOMSG;
	}
	if (result == 0)
		*ret_observation = observation;
	return result;
}

uint64_t perf_record_time_ns(const void *record, size_t bytes)
{
	struct perf_event_header header;
	struct perf_record_trailer trailer;

	if (bytes < sizeof(header) + sizeof(trailer))
		return 0;
	memcpy(&header, record, sizeof(header));
	size_t offset = header.type == PERF_RECORD_SAMPLE ? sizeof(header)
	                                                  : bytes - sizeof(trailer);
	memcpy(&trailer, (const uint8_t *)record + offset, sizeof(trailer));
	return trailer.time_ns;
}
