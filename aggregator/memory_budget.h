#pragma once

/*
 * memory_budget divides what the aggregator may use among its parts: one number bounds them all.
 *
 *	memory = queue + sessions + results + names + questions at once * one question
 *	         + block cache + symbols + dictionary + older dictionaries
 *	         + sums of open windows + sealing + write buffers + what is freed and kept
 *
 * A part that the operator named keeps what he said; the others share what is left in fixed
 * proportions. Bounds, not reservations: a part may use less, never more.
 */

#include <stddef.h>
#include <stdint.h>

#include "aggregator/config.h"

struct memory_budget {
	uint64_t total;
	uint64_t ingest_queue;
	uint64_t sessions;
	uint64_t results;
	uint64_t names; /* what stacks are called, from one question to the next */
	uint64_t query; /* of one question; query_threads of them run at once */
	uint64_t block_cache;
	uint64_t symbols;
	uint64_t dictionary;       /* its newest generation */
	uint64_t old_dictionaries; /* older generations that questions read */
	uint64_t open_sums;        /* sums of windows that are open */
	uint64_t sealing;
	uint64_t write_buffers;
	uint64_t idle_heap; /* freed, and not given back yet */
};

/* Half of what this machine, or the limit of our cgroup, has. */
uint64_t memory_budget_of_machine(void);

/*
 * `config` with 0 for what its operator did not name. -EINVAL with text that names what is too
 * much, or too little to work with, and what to change.
 */
int memory_budget_divide(const struct aggregator_config *config, struct memory_budget *ret_budget,
        char *ret_error, size_t error_bytes);
