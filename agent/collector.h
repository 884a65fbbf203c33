#pragma once

/*
 * collector turns the sampler's stream into one batch per interval: who used the CPU, in which
 * stack, how long each was watched, and what was lost.
 *
 * Addresses become frames as soon as a sample is drained: the kernel's by kallsyms, a
 * process's by its mappings at that moment, as module with build-id and offset in the file.
 * Labels are decided when the interval ends, when everything about even the shortest process
 * has arrived.
 *
 * A stack is marked unfinished (FRAME_TRUNCATED outermost) when
 *
 *	- the walk was cut: at the greatest depth, at unreadable memory, or, where the source knows
 *	  (BPF), anywhere but at a zero frame pointer;
 *	- the sample is of a process, but the walk gave nothing;
 *	- its outermost addresses lie in no mapping: they are left out, as they are no code.
 *
 * The perf tier's walks end where the kernel ended them, and it does not say whether that was
 * the root.
 *
 * Code that was made at run time is a frame in the module "[jit]", an address that nothing
 * maps one in "[unmapped]", each without an address.
 *
 * Every sample handed over becomes a row or a loss: rows + losses = taken, exactly, whenever
 * the sampler's buffers are empty. Memory is bounded; what finds none is LOSS_AGENT_MEMORY.
 * One thread.
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/labeler.h"
#include "agent/process_table.h"
#include "agent/sampler.h"
#include "agent/symbol_files.h"
#include "core/auto.h"
#include "core/clock.h"
#include "profile/batch.h"

struct collector;

struct collector_options {
	struct sampler *sampler; /* borrowed, as all of these */
	struct process_table *processes;
	struct symbol_files *files;
	struct labeler *labeler;
	struct clock *clock;       /* NULL: the machine's */
	const char *kallsyms_path; /* NULL: /proc/kallsyms */
	uint32_t tallies_max;      /* distinct (process, stack) per interval; 0: 1 Mi */
	struct dict_limits dict;   /* zeroed: dict_limits_default */
	uint64_t begin_ns;         /* of the first interval; 0: now */
};

/* -ENOMEM. What cannot be named is said in the log. */
int collector_new(struct collector_options options, struct collector **ret_collector);
void collector_free(struct collector *collector);
DEFINE_AUTO(collector);

/* Counts everything up to `until_ns` (see sampler_drain). */
int collector_drain(struct collector *collector, uint64_t until_ns);

/* Other rules for labels, from the interval that is under way on. Borrowed like the first ones. */
void collector_set_labeler(struct collector *collector, struct labeler *labeler);

/*
 * Ends the interval at `until_ns`, to which it was drained, and returns its batch, settled,
 * borrowed until the next call. NULL: out of memory; the samples stay for the next interval.
 */
struct batch *collector_close_interval(struct collector *collector, uint64_t until_ns);

struct collector_state {
	uint64_t samples;                   /* in rows, all intervals */
	uint64_t lost[LOSS_REASON_MAX + 1]; /* in losses of batches */
	uint64_t truncated;                 /* of the samples: on unfinished stacks */
	uint64_t intervals;
};

struct collector_state collector_state(const struct collector *collector);
