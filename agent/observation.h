#pragma once

/*
 * observation is one thing that a source saw happen at one moment: a sample, or something about a
 * process that samples need to be understood. Sources are the BPF programs, perf's side-band and
 * the fakes of tests; whoever consumes observations need not know which.
 *
 * Times are CLOCK_MONOTONIC, and a sampler hands observations over in their order. Pointers are
 * borrowed for the duration of the call.
 */

#include <stdbool.h>
#include <stdint.h>

#define OBSERVATION_COMM_BYTES     16
#define OBSERVATION_BUILD_ID_BYTES 20

enum observation_kind {
	OBSERVED_SAMPLE = 1,
	OBSERVED_FORK,   /* a new process, not a thread */
	OBSERVED_EXEC,   /* from here on other code runs: comm.text is its name */
	OBSERVED_COMM,   /* the process renamed itself */
	OBSERVED_MAP,    /* code became executable in its memory */
	OBSERVED_EXIT,   /* its first thread ended: mostly the process with it */
	OBSERVED_ORIGIN, /* who started it and where: follows an OBSERVED_EXEC */
	OBSERVED_CGROUP, /* the names behind a cgroup id, ahead of its first use */
	OBSERVED_LOST,   /* records of this source that are gone */
};

enum observed_sample_flags {
	OBSERVED_KERNEL_CUT = 1, /* the walk of the kernel stack did not reach its end */
	OBSERVED_USER_CUT = 2,   /* the walk of the user stack did not reach its end */
	OBSERVED_USER_ROOT = 4,  /* it did, and the source knows */
	OBSERVED_NO_USER = 8, /* there is no user stack: a kernel thread, or memory already gone */
};

struct observed_sample {
	uint64_t start_ns; /* of the process, CLOCK_BOOTTIME; 0 where the source does not know */
	uint64_t period;
	uint64_t cgroup_id;         /* where has_cgroup; 0 is the root */
	const uint64_t *kernel_ips; /* leaf first */
	const uint64_t *user_ips;
	uint16_t kernel_depth;
	uint16_t user_depth;
	uint32_t flags; /* enum observed_sample_flags */
	bool has_cgroup;
};

struct observed_map {
	uint64_t start;
	uint64_t bytes;
	uint64_t offset; /* in the file */
	uint64_t inode;  /* 0 where build_id_bytes says who it is */
	uint64_t inode_generation;
	uint32_t device_major;
	uint32_t device_minor;
	uint32_t build_id_bytes; /* 0: the kernel found none */
	uint8_t build_id[OBSERVATION_BUILD_ID_BYTES];
	const char *path; /* as the process sees it; "//anon", "[vdso]" */
};

struct observed_origin {
	uint64_t start_ns; /* CLOCK_BOOTTIME */
	uint64_t cgroup_id;
	uint64_t group_start_ns; /* 0: the group's leader is gone */
	int32_t parent;
	int32_t group;
};

struct observation {
	enum observation_kind kind;
	uint32_t cpu;
	int32_t pid;
	int32_t tid;
	uint64_t time_ns;
	union {
		struct observed_sample sample;
		int32_t fork_parent;
		char comm[OBSERVATION_COMM_BYTES]; /* zero-terminated; EXEC and COMM */
		struct observed_map map;
		struct observed_origin origin;
		struct {
			uint64_t id;
			const char *path; /* "/system.slice/nginx.service" */
		} cgroup;
		uint64_t lost;
	};
};
