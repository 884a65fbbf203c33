#pragma once

/*
 * sampler is where samples and process events come from, merged into one stream in the order
 * of time.
 *
 * Tiers, each tried when the one above is not granted, and each lack said once with its
 * remedy:
 *
 *	bpf     samples by BPF with exact drop counts and cgroups; processes from perf's side-band
 *	perf    samples and processes from plain perf rings: no cgroup for processes that are gone
 *	        before /proc was read, drops known only in total
 *
 * A sample is handed out only once the side-band was read up to its time, so that it meets its
 * process as it was at that moment. One thread owns a sampler. All buffers are bounded; what
 * does not fit is counted.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/observation.h"
#include "core/auto.h"
#include "profile/loss.h"

enum sampler_tier { SAMPLER_TIER_AUTO = 0, SAMPLER_TIER_BPF, SAMPLER_TIER_PERF };
enum sampler_event { SAMPLER_CPU_CLOCK = 0, SAMPLER_CYCLES };

/*
 * How long after its time an event may still be on its way into its ring: never drain to a moment
 * younger than this.
 */
#define SAMPLER_SETTLE_NS UINT64_C(5000000)

struct sampler_state {
	enum sampler_tier tier;
	enum sampler_event event;
	uint32_t hz;     /* as it is, after clamping */
	uint64_t period; /* ns of cpu-clock, or cycles */
	uint32_t cpus;
	uint64_t taken; /* samples in the kernel, since open: handed over + lost + still in a buffer
	                 */
	uint64_t handed_over;
	uint64_t lost[LOSS_REASON_MAX + 1]; /* reported by sampler_losses() */
	uint64_t side_band_lost;            /* process events that found no room */
};

typedef void (*sampler_on_observation)(void *owner, const struct observation *observation);

/* pid 0: nobody can say whose samples they were. */
typedef void (*sampler_on_loss)(
        void *owner, int32_t pid, uint64_t start_ns, enum loss_reason reason, uint64_t count);

struct sampler;

struct sampler_functions {
	int (*start)(struct sampler *sampler);
	int (*drain)(struct sampler *sampler, uint64_t until_ns,
	        sampler_on_observation on_observation, void *owner);
	int (*wait)(struct sampler *sampler, int stop_fd, int timeout_ms);
	void (*losses)(struct sampler *sampler, sampler_on_loss on_loss, void *owner);
	struct sampler_state (*state)(struct sampler *sampler);
	void (*stop)(struct sampler *sampler);
	void (*free)(struct sampler *sampler);
};

/* What an implementation embeds as its first member. */
struct sampler {
	const struct sampler_functions *functions;
};

struct sampler_options {
	enum sampler_tier tier;
	enum sampler_event event;
	uint32_t hz;
	uint32_t ring_bytes;   /* of the BPF ring buffer; 0: by hz and CPUs */
	uint32_t pages;        /* of each perf ring; 0: 32 for processes, 64 for samples */
	const char *cpus_path; /* NULL: the machine's */
	const char *rate_path; /* NULL: kernel.perf_event_max_sample_rate */
};

/*
 * Opens: processes are told from now on, samples after sampler_start(). -EACCES: no tier is
 * granted; -ENODEV: no such event on this machine; -ENOMEM; the message names what to grant.
 */
int sampler_open(struct sampler_options options, struct sampler **ret_sampler, char *ret_error,
        size_t error_bytes);

/*
 * Samples from now on. Whoever has read /proc between open and start knows every process that can
 * be sampled: it was there, or its fork is told. 0, -errno.
 */
static inline int sampler_start(struct sampler *sampler)
{
	return sampler->functions->start(sampler);
}

/*
 * Hands over everything up to `until_ns` (CLOCK_MONOTONIC, at least SAMPLER_SETTLE_NS ago), in
 * order. UINT64_MAX after sampler_stop(): whatever there is. 0, or -errno when a source broke.
 */
static inline int sampler_drain(struct sampler *sampler, uint64_t until_ns,
        sampler_on_observation on_observation, void *owner)
{
	return sampler->functions->drain(sampler, until_ns, on_observation, owner);
}

/* Waits until a ring is half full, stop_fd is readable, or the timeout. 0, or -errno. */
static inline int sampler_wait(struct sampler *sampler, int stop_fd, int timeout_ms)
{
	return sampler->functions->wait(sampler, stop_fd, timeout_ms);
}

/* Reports losses since the last call, each sample once. */
static inline void sampler_losses(struct sampler *sampler, sampler_on_loss on_loss, void *owner)
{
	sampler->functions->losses(sampler, on_loss, owner);
}

static inline struct sampler_state sampler_state(struct sampler *sampler)
{
	return sampler->functions->state(sampler);
}

/* No more samples are taken. What is in the buffers can still be drained. */
static inline void sampler_stop(struct sampler *sampler)
{
	sampler->functions->stop(sampler);
}

static inline void sampler_free(struct sampler *sampler)
{
	if (sampler)
		sampler->functions->free(sampler);
}
DEFINE_AUTO(sampler);

/* "bpf", "perf". */
const char *sampler_tier_name(enum sampler_tier tier);

/*
 * The rate that kernel.perf_event_max_sample_rate (0: not known) leaves of the one that was asked
 * for. The kernel allows max / HZ samples in a tick, rounded up, and suspends an event that reaches
 * that until the next tick: samples would be fewer than the period says. So this stays below, and
 * where one a tick is allowed, every sample reaches it: periods then end just before a tick, and
 * are true to a few per cent.
 */
uint32_t sampler_rate(uint32_t hz, uint32_t kernel_max, uint64_t tick_ns);
