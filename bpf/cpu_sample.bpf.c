// SPDX-License-Identifier: GPL-2.0-only

/*
 * cpu_sample takes the CPU samples: one record with kernel and user stack per tick of a perf
 * event, and what the agent must know about a process that may be gone before anybody can look
 * in /proc.
 *
 *	perf_event      every CPU, idle excluded              -> EVENT_SAMPLE
 *	tp_btf exec     start, parent, process group, cgroup  -> EVENT_EXEC
 *	both            a cgroup not told yet                 -> EVENT_CGROUP, ahead of its use
 *
 * One ring buffer, drained on a timer: a wakeup per sample would cost 80 times the reader's
 * CPU, so records are put without one until the ring is half full. Nothing here allocates,
 * loops without a bound or takes a lock of ours. A sample that finds no room is counted, per
 * process where the table has room for it.
 *
 * The user stack is walked by frame pointers here and not by bpf_get_stack(), because only the
 * walk itself knows how it ended: at a zero frame pointer, which is the outermost function, or
 * at something unreadable.
 */

#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/events.h"
#include "bpf/kernel.h"

char LICENSE[] SEC("license") = "GPL";

#define SCRATCH_IPS    256 /* a power of two above both depths together */
#define CGROUPS_TOLD   4096
#define DROPS_MAX      1024
#define USER_CS_COMPAT 0x23 /* code segment of a 32-bit process on x86-64 */

struct scratch {
	struct event_sample sample;
	__u64 ips[SCRATCH_IPS];
};

/* The agent sets max_entries of the ring before it loads the program. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_COUNTER_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DROPS_MAX);
	__type(key, struct event_drop_key);
	__type(value, __u64);
} drops SEC(".maps");

/* Ids whose names the agent has. Evicting one only means that it is told again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CGROUPS_TOLD);
	__type(key, __u64);
	__type(value, __u32);
} cgroups_told SEC(".maps");

/* Data in the ring from which on the reader is woken; set before loading. */
const volatile __u64 wakeup_bytes = 512 * 1024;

static __always_inline void counter_add(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += 1;
}

static __always_inline __u64 ring_flags(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_bytes ? BPF_RB_FORCE_WAKEUP
	                                                                     : BPF_RB_NO_WAKEUP;
}

static __always_inline __u64 task_start_ns(struct task_struct *leader)
{
	if (bpf_core_field_exists(leader->start_boottime))
		return BPF_CORE_READ(leader, start_boottime);

	struct task_struct___old *old = (void *)leader;
	return BPF_CORE_READ(old, real_start_time);
}

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *kn)
{
	struct kernfs_node___rcu *rcu = (void *)kn;

	if (bpf_core_field_exists(rcu->__parent))
		return BPF_CORE_READ(rcu, __parent);
	return BPF_CORE_READ(kn, parent);
}

static __always_inline struct cgroup *css_set_cgroup(struct css_set *set, __u32 subsystem)
{
	struct cgroup_subsys_state *css = NULL;

	/* bpf_core_enum_value() is a constant only once the program is loaded: an address, not an
	 * index. */
	bpf_probe_read_kernel(&css, sizeof(css),
	        (void *)((__u64)set + bpf_core_field_offset(struct css_set, subsys) +
	                 (__u64)subsystem * sizeof(css)));
	return css ? BPF_CORE_READ(css, cgroup) : NULL;
}

#define CSS_SET_CGROUP(set, name)                                                                  \
	(bpf_core_enum_value_exists(enum cgroup_subsys_id, name)                                   \
	                ? css_set_cgroup(set, bpf_core_enum_value(enum cgroup_subsys_id, name))    \
	                : NULL)

static __always_inline struct kernfs_node *cgroup_below_root(struct cgroup *cgroup)
{
	if (!cgroup || BPF_CORE_READ(cgroup, level) <= 0)
		return NULL;
	return BPF_CORE_READ(cgroup, kn);
}

/*
 * The cgroup that says most about a task: version 2's, or, on hosts where everything is in its
 * root, the memory, cpu or pids hierarchy of version 1. The same order as agent/cgroup_path. NULL:
 * all in the root.
 */
static __always_inline struct kernfs_node *task_cgroup(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct kernfs_node *kn;

	kn = cgroup_below_root(BPF_CORE_READ(set, dfl_cgrp));
	if (!kn)
		kn = cgroup_below_root(CSS_SET_CGROUP(set, memory_cgrp_id));
	if (!kn)
		kn = cgroup_below_root(CSS_SET_CGROUP(set, cpu_cgrp_id));
	if (!kn)
		kn = cgroup_below_root(CSS_SET_CGROUP(set, pids_cgrp_id));
	return kn;
}

static __always_inline void header_fill(struct event_header *header, __u32 kind, __u64 time_ns)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	header->kind = kind;
	header->cpu = bpf_get_smp_processor_id();
	header->tgid = (__s32)(pid_tgid >> 32);
	header->tid = (__s32)pid_tgid;
	header->time_ns = time_ns;
}

/* Sends the names of a cgroup, unless the agent has them. */
static __noinline int cgroup_tell(__u64 kn_address, __u64 id, __u64 time_ns)
{
	struct kernfs_node *kn = (void *)kn_address;
	__u32 one = 1;

	if (bpf_map_lookup_elem(&cgroups_told, &id))
		return 0;

	struct event_cgroup *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		counter_add(EVENT_COUNTER_EXEC_LOST);
		return 0; /* Told with the next one. */
	}

	header_fill(&event->header, EVENT_CGROUP, time_ns);
	event->cgroup_id = id;
	event->cut = 0;

	__u32 count = 0;
	for (; count < EVENT_CGROUP_NAMES; count++) {
		struct kernfs_node *parent = kernfs_parent(kn);
		if (!parent)
			break; /* The root has no parent, and a name that says nothing. */
		bpf_probe_read_kernel_str(
		        event->names[count], EVENT_CGROUP_NAME_BYTES, BPF_CORE_READ(kn, name));
		kn = parent;
	}
	if (count == EVENT_CGROUP_NAMES && kernfs_parent(kn))
		event->cut = 1;
	event->names_count = count;
	bpf_ringbuf_submit(event, ring_flags());

	bpf_map_update_elem(&cgroups_told, &id, &one, BPF_ANY);
	return 0;
}

/* The id, after its names were sent. 0: the root. */
static __always_inline __u64 task_cgroup_id(struct task_struct *task, __u64 time_ns)
{
	struct kernfs_node *kn = task_cgroup(task);

	if (!kn)
		return 0;
	__u64 id = BPF_CORE_READ(kn, id);
	cgroup_tell((__u64)kn, id, time_ns);
	return id;
}

static __always_inline void drop_count(struct event_sample *sample)
{
	struct event_drop_key key = {
		.tgid = sample->header.tgid,
		.reason = EVENT_COUNTER_RING_FULL,
		.start_ns = sample->start_ns,
	};
	__u64 zero = 0;

	counter_add(EVENT_COUNTER_RING_FULL);
	__u64 *value = bpf_map_lookup_elem(&drops, &key);
	if (!value) {
		bpf_map_update_elem(&drops, &key, &zero, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&drops, &key);
	}
	if (value)
		__sync_fetch_and_add(value, 1);
	else
		counter_add(EVENT_COUNTER_RING_FULL_UNNAMED);
}

struct frame_link {
	__u64 next;
	__u64 return_address;
};

/* The caller's frame and the return address into it. */
static __always_inline int frame_read(__u64 fp, int compat, struct frame_link *ret_link)
{
	if (compat) {
		struct {
			__u32 next;
			__u32 return_address;
		} narrow;
		if (bpf_probe_read_user(&narrow, sizeof(narrow), (void *)fp))
			return -1;
		ret_link->next = narrow.next;
		ret_link->return_address = narrow.return_address;
		return 0;
	}
	return bpf_probe_read_user(ret_link, sizeof(*ret_link), (void *)fp) ? -1 : 0;
}

/*
 * Walks up the frame pointers from (ip, sp, fp) and fills in user_depth and the flags. A frame lies
 * at or above the stack pointer and above its callee's; else the register did not hold a frame
 * pointer.
 */
static __noinline int user_walk(__u64 ip, __u64 sp, __u64 fp, __u32 compat)
{
	__u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);

	if (!scratch)
		return 0;

	__u32 at = scratch->sample.kernel_depth;
	__u32 flags = scratch->sample.flags;
	__u32 depth = 1;

	scratch->ips[at & (SCRATCH_IPS - 1)] = ip;
	if (fp != 0 && fp < sp)
		fp = 1; /* Unaligned: ends the walk below. */
	for (; depth < EVENT_DEPTH_MAX; depth++) {
		struct frame_link link = { 0 };

		if (fp == 0) {
			/* In the first frame a zero may as well be a number in a register. */
			if (depth > 1)
				flags |= EVENT_SAMPLE_USER_ROOT;
			break;
		}
		if (fp & (compat ? 3 : 7) || frame_read(fp, compat, &link))
			break;
		if (link.return_address == 0) {
			if (link.next == 0)
				flags |= EVENT_SAMPLE_USER_ROOT;
			break;
		}
		scratch->ips[(at + depth) & (SCRATCH_IPS - 1)] = link.return_address;
		if (link.next != 0 && link.next <= fp) {
			depth++;
			break;
		}
		fp = link.next;
	}
	if (depth == EVENT_DEPTH_MAX && fp != 0)
		flags |= EVENT_SAMPLE_USER_CUT;
	scratch->sample.user_depth = (__u16)depth;
	scratch->sample.flags = flags;
	return 0;
}

/* Where the process was in its own code: now, or when it entered the kernel. */
static __always_inline void user_sample(struct bpf_perf_event_data *ctx, struct task_struct *task)
{
	struct pt_regs regs;
	int compat = 0;

	if (bpf_probe_read_kernel(&regs, sizeof(regs), (void *)bpf_task_pt_regs(task)))
		return;
#if defined(__TARGET_ARCH_x86)
	compat = (regs.cs & 0xffff) == USER_CS_COMPAT;
#endif
	user_walk(PT_REGS_IP(&regs), PT_REGS_SP(&regs), PT_REGS_FP(&regs), compat);
}

SEC("perf_event")
int cpu_sample(struct bpf_perf_event_data *ctx)
{
	__u64 time_ns = bpf_ktime_get_ns();
	__u64 period = ctx->sample_period;
	__u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);
	struct task_struct *task = bpf_get_current_task_btf();

	/* The idle task has pid 0: where hardware events know no exclude_idle. */
	if (!scratch || task->tgid == 0)
		return 0;
	counter_add(EVENT_COUNTER_TAKEN);

	struct event_sample *sample = &scratch->sample;
	__u32 task_flags = task->flags;
	header_fill(&sample->header, EVENT_SAMPLE, time_ns);
	sample->start_ns = task_start_ns(BPF_CORE_READ(task, group_leader));
	sample->period = period;
	sample->cgroup_id = task_cgroup_id(task, time_ns);
	sample->flags = 0;
	sample->kernel_depth = 0;
	sample->user_depth = 0;

	long bytes = bpf_get_stack(ctx, scratch->ips, EVENT_DEPTH_MAX * sizeof(__u64), 0);
	if (bytes > 0) {
		sample->kernel_depth = (__u16)((__u64)bytes >> 3);
		if (bytes == EVENT_DEPTH_MAX * sizeof(__u64))
			sample->flags |= EVENT_SAMPLE_KERNEL_CUT;
	}

	if (!BPF_CORE_READ(task, mm) ||
	        task_flags & (KERNEL_PF_KTHREAD | KERNEL_PF_IO_WORKER | KERNEL_PF_USER_WORKER))
		sample->flags |= EVENT_SAMPLE_NO_USER;
	else
		user_sample(ctx, task);

	__u64 size = sizeof(*sample) +
	             ((__u64)sample->kernel_depth + sample->user_depth) * sizeof(__u64);
	if (size > sizeof(*scratch))
		size = sizeof(*scratch);
	if (bpf_ringbuf_output(&events, scratch, size, ring_flags()) == 0)
		counter_add(EVENT_COUNTER_SUBMITTED);
	else
		drop_count(sample);
	return 0;
}

/* The start of the process group's leader; 0 when it has gone before its group. */
static __always_inline __u64 group_start_ns(struct pid *group)
{
	struct hlist_node *link = BPF_CORE_READ(group, tasks[KERNEL_PIDTYPE_PID].first);

	if (!link)
		return 0;
	/* The first place of pid_links is that of KERNEL_PIDTYPE_PID. */
	struct task_struct *leader = (void *)((__u64)link -
	                                      bpf_core_field_offset(struct task_struct, pid_links));
	return task_start_ns(leader);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u64 time_ns = bpf_ktime_get_ns();
	__u64 cgroup_id = task_cgroup_id(task, time_ns);
	struct event_exec *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		counter_add(EVENT_COUNTER_EXEC_LOST);
		return 0;
	}
	header_fill(&event->header, EVENT_EXEC, time_ns);
	event->start_ns = task_start_ns(BPF_CORE_READ(task, group_leader));
	event->cgroup_id = cgroup_id;
	event->parent = BPF_CORE_READ(task, real_parent, tgid);

	struct pid *group = BPF_CORE_READ(task, signal, pids[KERNEL_PIDTYPE_PGID]);
	event->group = BPF_CORE_READ(group, numbers[0].nr);
	event->group_start_ns = group_start_ns(group);
	bpf_probe_read_kernel_str(event->comm, sizeof(event->comm), task->comm);
	bpf_ringbuf_submit(event, ring_flags());
	return 0;
}
