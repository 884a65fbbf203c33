#pragma once

/*
 * process_table knows who every sample belongs to: the process as it was when the sample was taken.
 *
 * It is fed with observations in the order of time: fork (the child is what its parent was), exec
 * (other code, other name), map, exit. What was there before the agent is read from /proc, the
 * names at the start, the mappings when a sample or a child first needs them.
 *
 * A process's time is cut into lives: one ends where another name, program or cgroup begins,
 * because all samples of a life have the same labels. Ended lives stay until the interval in which
 * they ended is closed, so that a process of ten milliseconds is still known when its samples are
 * counted.
 *
 * Bounded: when full, new processes are refused, and whoever asked counts the sample as lost. /proc
 * belongs to the processes it describes: every read is bounded and every text checked. One thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/labeler.h"
#include "agent/mappings.h"
#include "agent/observation.h"
#include "agent/symbol_files.h"
#include "core/auto.h"

struct process_table;

/* One life of one process. */
struct process {
	int32_t pid;
	int32_t parent;
	int32_t group;
	uint64_t start_ticks;       /* 0: not known yet */
	uint64_t group_start_ticks; /* 0: not known */
	uint64_t begin_ns;          /* of this life, CLOCK_MONOTONIC */
	uint64_t end_ns;            /* 0: it lasts */
	uint64_t cgroup_id;         /* where has_cgroup */
	char comm[OBSERVATION_COMM_BYTES];
	char *exe;    /* NULL: not known */
	char *cgroup; /* path from /proc; NULL: not read */
	char *environ;
	uint32_t environ_bytes;
	bool has_cgroup;
	bool environ_read;
	bool sampled; /* it has been asked for: its coverage counts */
	bool mappings_known;
	bool exe_next;      /* the next file that is mapped is the program */
	bool is_kernel;     /* a thread of the kernel */
	bool is_running;    /* when /proc was read */
	bool origin_known;  /* parent, group and start are its own, not what it has from its parent
	                     */
	uint64_t refreshed; /* interval in which its mappings were read again */
	struct mappings *mappings; /* never NULL */

	/* The collector's, 0 in a new life. */
	uint64_t tally_interval;
	uint32_t tally_index;

	struct process *next; /* of the table */
};

struct process_table_options {
	uint32_t processes_max;     /* 0: 65536 */
	const char *proc_path;      /* NULL: /proc */
	struct symbol_files *files; /* borrowed */
	bool reads_environ;         /* a rule asks for it */
	uint64_t environ_bytes_max; /* over all processes; 0: 16 MiB */
};

struct process_table *process_table_new(struct process_table_options options);
void process_table_free(struct process_table *table);
DEFINE_AUTO(process_table);

/* Names everything that runs already. After the side-band was opened, so that no gap is left. 0,
 * -errno. */
int process_table_scan(struct process_table *table);

/* Anything but a sample. */
void process_table_observe(struct process_table *table, const struct observation *observation);

/*
 * The life that a sample was taken in, borrowed until process_table_close_interval(). NULL: the
 * table is full or memory ran out.
 */
struct process *process_table_sampled(
        struct process_table *table, const struct observation *observation);

/* The newest life of a pid that started then (0: whenever), or NULL. */
struct process *process_table_find(struct process_table *table, int32_t pid, uint64_t start_ns);

struct code_place {
	struct symbol_file *file; /* NULL: code made at run time */
	uint64_t offset;
	bool is_vsyscall; /* the kernel's page for ancient programs: no file, no offset */
};

/*
 * Where an address lies; false when nothing is known to be mapped there. With `must` the address is
 * known to have been executed, so that the mappings are read again (once per interval) when it is
 * missed.
 */
bool process_table_place(struct process_table *table, struct process *process, uint64_t address,
        bool must, struct code_place *ret_place);

/* What the labeler wants to know. Pointers are borrowed from the process and the table. */
struct process_facts process_table_facts(struct process_table *table, struct process *process);

/* Calls on_process for each life, in no order. */
void process_table_each(struct process_table *table,
        void (*on_process)(void *owner, struct process *process), void *owner);

/* Forgets lives that ended before `end_ns`; with `verify` also those whose end was missed. */
void process_table_close_interval(struct process_table *table, uint64_t end_ns, bool verify);

uint32_t process_table_count(const struct process_table *table);
