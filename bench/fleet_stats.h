#pragma once

/*
 * fleet_stats counts what a fleet consists of, in the terms of the design's data sets: rows, how
 * deep and how distinct their stacks are, how many are shared between instances, and what the
 * changed function costs under each version.
 *
 * One thread owns them; memory is about 12 bytes for each node of the fleet's tree.
 */

#include <stdint.h>

#include "bench/fleet.h"

struct fleet_stats;

/* Borrows the fleet. NULL when out of memory. */
struct fleet_stats *fleet_stats_new(const struct fleet *fleet);
void fleet_stats_free(struct fleet_stats *stats);
DEFINE_AUTO(fleet_stats);

/* 0 or -ENOMEM. */
int fleet_stats_add(struct fleet_stats *stats, const struct fleet_report *report);

struct fleet_figures {
	uint64_t reports;
	uint64_t samples;
	uint64_t rows;
	uint64_t rows_of_one; /* whose value is 1 */
	uint64_t rows_shared; /* whose stack two or more instances have */
	uint64_t depths;      /* summed over the rows */
	uint32_t stacks;      /* distinct */
	uint32_t stacks_shared;
	uint32_t instances;
	uint64_t version_reports[FLEET_VERSIONS];
	uint64_t version_samples[FLEET_VERSIONS];
	uint64_t version_changed[FLEET_VERSIONS]; /* samples with the changed function as leaf */
	uint64_t rows_hash; /* over (time, instance, stack, value) of all rows in any order */
};

struct fleet_figures fleet_stats_figures(const struct fleet_stats *stats);
