#pragma once

/*
 * events is the contract between the programs in bpf/ and the agent: what lies in the ring buffer,
 * and the counters and tables both sides read. Both sides compile this header; a layout that moved
 * would fail the static_asserts below. docs/formats/events.md explains it.
 *
 * A record starts with `struct event_header`. Times are CLOCK_MONOTONIC (bpf_ktime_get_ns, the
 * clock of perf's side-band too); a process's start is its group leader's CLOCK_BOOTTIME, whose
 * 1/100 s are field 22 of /proc/PID/stat. The kernel side fills records from its own memory, so the
 * agent trusts no length in them: every depth is checked against the record's size.
 */

#include <linux/types.h>

#ifdef __bpf__
#define EVENTS_ASSERT(condition) _Static_assert(condition, #condition)
#else
#include <assert.h>
#define EVENTS_ASSERT(condition) static_assert(condition, #condition)
#endif

enum event_kind {
	EVENT_SAMPLE = 1, /* struct event_sample */
	EVENT_EXEC = 2,   /* struct event_exec */
	EVENT_CGROUP = 3, /* struct event_cgroup */
};

struct event_header {
	__u32 kind; /* enum event_kind */
	__u32 cpu;
	__s32 tgid;
	__s32 tid;
	__u64 time_ns;
};

/* Frames a walk may have, kernel and user each: what the kernel itself walks by default. */
#define EVENT_DEPTH_MAX 127

enum event_sample_flags {
	EVENT_SAMPLE_KERNEL_CUT =
	        1, /* the kernel stack has EVENT_DEPTH_MAX frames, or could not be read */
	EVENT_SAMPLE_USER_CUT = 2,  /* the user stack has EVENT_DEPTH_MAX frames */
	EVENT_SAMPLE_USER_ROOT = 4, /* the frame pointers ended in a zero: the walk is complete */
	EVENT_SAMPLE_NO_USER =
	        8, /* a kernel thread, or a process that has already given up its memory */
};

struct event_sample {
	struct event_header header;
	__u64 start_ns;
	__u64 period; /* of the perf event when the sample was taken: ns of cpu-clock, or cycles */
	__u64 cgroup_id;
	__u16 kernel_depth;
	__u16 user_depth;
	__u32 flags; /* enum event_sample_flags */
	/* Then __u64 ips[]: kernel_depth of the kernel, user_depth of the process, each leaf first.
	 */
};

/* What perf's COMM and MMAP2 records of an exec lack. */
struct event_exec {
	struct event_header header;
	__u64 start_ns;
	__u64 cgroup_id;
	__u64 group_start_ns; /* of the process group's leader; 0 when it is gone */
	__s32 parent;
	__s32 group;
	char comm[16];
};

/* The names of a cgroup, told before the first sample or exec that carries its id. */
#define EVENT_CGROUP_NAMES      8
#define EVENT_CGROUP_NAME_BYTES 128

struct event_cgroup {
	struct event_header header;
	__u64 cgroup_id;
	__u32 names_count;
	__u32 cut;                                               /* 1: there were more ancestors */
	char names[EVENT_CGROUP_NAMES][EVENT_CGROUP_NAME_BYTES]; /* leaf first, without the root */
};

/*
 * Monotonic, one set per CPU. At any moment taken = submitted + ring_full, and
 * ring_full = the sum over the drops table + ring_full_unnamed.
 */
enum event_counter {
	EVENT_COUNTER_TAKEN,
	EVENT_COUNTER_SUBMITTED,
	EVENT_COUNTER_RING_FULL,
	EVENT_COUNTER_RING_FULL_UNNAMED, /* of it where the drops table was full as well */
	EVENT_COUNTER_EXEC_LOST,         /* process events that found no room; not samples */
	EVENT_COUNTER_COUNT,
};

/* Key and value of the drops table: samples of a process that found no room in the ring. */
struct event_drop_key {
	__s32 tgid;
	__u32 reason; /* enum event_counter: EVENT_COUNTER_RING_FULL */
	__u64 start_ns;
};

EVENTS_ASSERT(sizeof(struct event_header) == 24);
EVENTS_ASSERT(sizeof(struct event_sample) == 56);
EVENTS_ASSERT(sizeof(struct event_exec) == 72);
EVENTS_ASSERT(sizeof(struct event_cgroup) == 40 + EVENT_CGROUP_NAMES * EVENT_CGROUP_NAME_BYTES);
EVENTS_ASSERT(sizeof(struct event_drop_key) == 16);
