#pragma once

/*
 * perf_ring is one perf event of one CPU with the ring buffer it writes to, read without
 * libraries.
 *
 *	side-band   a software event that never fires, whose ring gets fork, exec, mmap (with
 *	            build-ids) and exit of every process that passes through the CPU
 *	samples     cpu-clock or cycles with call chains: the sampler where BPF is not allowed
 *	bare        the same event without a ring, for a BPF program to run at
 *
 * Needs CAP_PERFMON (or kernel.perf_event_paranoid <= 0). Everything in a ring is length-
 * checked: the kernel writes it, but names in it belong to whoever we profile.
 *
 * One thread owns a ring.
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/observation.h"
#include "core/auto.h"

#define PERF_RECORD_BYTES_MAX 65536 /* its size is 16 bits wide */

enum perf_ring_kind { PERF_RING_SIDE_BAND = 1, PERF_RING_SAMPLES, PERF_RING_BARE };
enum perf_ring_event { PERF_RING_CPU_CLOCK = 0, PERF_RING_CYCLES };

struct perf_ring_options {
	enum perf_ring_kind kind;
	enum perf_ring_event event; /* not for the side-band */
	uint32_t cpu;
	uint64_t period; /* ns of cpu-clock, or cycles */
	uint32_t pages;  /* of data, a power of two; not for bare ones */
};

struct perf_ring;

/*
 * Opens the event, stopped. -EACCES, -EPERM: not allowed. -ENOENT, -EOPNOTSUPP: no such hardware.
 * -ENODEV: the CPU is off line. -ENOMEM.
 */
int perf_ring_open(struct perf_ring_options options, struct perf_ring **ret_ring);
void perf_ring_free(struct perf_ring *ring);
DEFINE_AUTO(perf_ring);

int perf_ring_enable(struct perf_ring *ring);
void perf_ring_disable(struct perf_ring *ring);

int perf_ring_fd(const struct perf_ring *ring);
uint32_t perf_ring_cpu(const struct perf_ring *ring);

/*
 * Hands over each record that is in the ring, whole and aligned to 8 bytes, valid during the call.
 * -EBADMSG: the ring made no sense, and what was left in it was thrown away.
 */
int perf_ring_drain(struct perf_ring *ring,
        void (*on_record)(void *owner, const void *record, size_t bytes), void *owner);

/* Records the kernel could not write since open; -EOPNOTSUPP before Linux 6.0. */
int perf_ring_lost(const struct perf_ring *ring, uint64_t *ret_lost);

/*
 * What a record says; its pointers go into the record, which is aligned to 8 bytes. 0, or -ENOMSG
 * for one that says nothing we use, or -EBADMSG for one that makes no sense.
 */
int perf_record_decode(const void *record, size_t bytes, struct observation *ret_observation);

/* The time of any record of ours, without decoding the rest; 0 when it is too short. */
uint64_t perf_record_time_ns(const void *record, size_t bytes);
