#pragma once

/*
 * bpf_object loads bpf/cpu_sample into the kernel and reads what it puts out. It is the one door to
 * libbpf: nothing of libbpf shows here (its own struct bpf_object is why ours is called
 * bpf_programs).
 *
 * Loading needs CAP_BPF and CAP_PERFMON, and the kernel's BTF. The sampler itself is attached to
 * perf events that somebody else opens, one per CPU.
 *
 * All memory is taken at open. One thread owns it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/events.h"
#include "core/auto.h"

struct bpf_programs;

struct bpf_programs_options {
	uint32_t ring_bytes; /* a power of two, and a multiple of the page size */
};

/* -EPERM, -ENOENT (no BTF), or what the kernel answered; the message says what would help. */
int bpf_programs_open(struct bpf_programs_options options, struct bpf_programs **ret_programs,
        char *ret_error, size_t error_bytes);
void bpf_programs_free(struct bpf_programs *programs);
DEFINE_AUTO(bpf_programs);

/* Lets the sampler run at each overflow of a perf event. It ends with the perf event's descriptor.
 */
int bpf_programs_attach(struct bpf_programs *programs, int perf_fd);

/* Readable when the ring is half full. */
int bpf_programs_poll_fd(const struct bpf_programs *programs);

/* Hands over every record that is in the ring. `record` is valid during the call. 0, or -errno. */
int bpf_programs_drain(struct bpf_programs *programs,
        void (*on_record)(void *owner, const void *record, size_t bytes), void *owner);

/* Sums over all CPUs since open, indexed by enum event_counter. */
int bpf_programs_counters(
        struct bpf_programs *programs, uint64_t ret_counters[EVENT_COUNTER_COUNT]);

/*
 * Calls on_drop for each process whose samples found no room, with the sum since open. To be
 * forgotten with bpf_programs_forget_drop() only once the process is gone.
 */
int bpf_programs_drops(struct bpf_programs *programs,
        void (*on_drop)(void *owner, const struct event_drop_key *key, uint64_t count),
        void *owner);
void bpf_programs_forget_drop(struct bpf_programs *programs, const struct event_drop_key *key);
