#pragma once

/*
 * kernel declares the fields of kernel structures that our programs read, and no others. CO-RE
 * finds their real places in the running kernel's BTF when a program is loaded, so the order and
 * the gaps here mean nothing. A name with ___ is a flavour: the same structure as another kernel
 * version has it.
 */

#include <linux/types.h>

#define KERNEL_FIELDS __attribute__((preserve_access_index))

#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif

/* Tasks that never return to user space: their saved user registers are nobody's. */
#define KERNEL_PF_IO_WORKER   0x00000010
#define KERNEL_PF_USER_WORKER 0x00004000
#define KERNEL_PF_KTHREAD     0x00200000

/* kernfs since 4.x, and since 6.15, where the parent moved behind RCU. */
struct kernfs_node {
	const char *name;
	struct kernfs_node *parent;
	__u64 id;
} KERNEL_FIELDS;

struct kernfs_node___rcu {
	struct kernfs_node *__parent;
} KERNEL_FIELDS;

struct cgroup {
	int level;
	struct kernfs_node *kn;
} KERNEL_FIELDS;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
} KERNEL_FIELDS;

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
} KERNEL_FIELDS;

/* The numbers depend on the kernel's configuration: bpf_core_enum_value() looks them up. */
enum cgroup_subsys_id {
	cpu_cgrp_id = 1,
	memory_cgrp_id = 4,
	pids_cgrp_id = 11,
};

struct hlist_node {
	struct hlist_node *next;
} KERNEL_FIELDS;

struct hlist_head {
	struct hlist_node *first;
} KERNEL_FIELDS;

struct upid {
	int nr;
} KERNEL_FIELDS;

struct pid {
	struct hlist_head tasks[4];
	struct upid numbers[1];
} KERNEL_FIELDS;

#define KERNEL_PIDTYPE_PID  0
#define KERNEL_PIDTYPE_PGID 2

struct signal_struct {
	struct pid *pids[4];
} KERNEL_FIELDS;

struct mm_struct;

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	struct mm_struct *mm;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct signal_struct *signal;
	struct css_set *cgroups;
	__u64 start_boottime;
	struct hlist_node pid_links[4];
	char comm[16];
} KERNEL_FIELDS;

/* start_boottime was called so until 5.5. */
struct task_struct___old {
	__u64 real_start_time;
} KERNEL_FIELDS;

struct linux_binprm;
