#pragma once

/*
 * bpf_record reads what the BPF programs put into their ring: bpf/events.h as observations. Pure.
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/observation.h"
#include "bpf/events.h"

/* The longest of them is that of a cgroup, or a sample with two full stacks. */
#define BPF_RECORD_SAMPLE_BYTES_MAX                                                                \
	(sizeof(struct event_sample) + 2 * EVENT_DEPTH_MAX * sizeof(uint64_t))
#define BPF_RECORD_BYTES_MAX                                                                       \
	(sizeof(struct event_cgroup) > BPF_RECORD_SAMPLE_BYTES_MAX ? sizeof(struct event_cgroup)   \
	                                                           : BPF_RECORD_SAMPLE_BYTES_MAX)

/* Room for the path of a cgroup, whose names come one by one. */
struct bpf_record_path {
	char text[EVENT_CGROUP_NAMES * (EVENT_CGROUP_NAME_BYTES + 1) + 2];
};

/*
 * `record` is aligned to 8 bytes; the observation points into it, or into `path`. -EBADMSG: not one
 * of ours, or shorter than it says.
 */
int bpf_record_decode(const void *record, size_t bytes, struct bpf_record_path *path,
        struct observation *ret_observation);
