#pragma once

/*
 * fleet is a synthetic fleet for measurements and tests: services with call trees of their own,
 * instances that come and go, a rollout at half time, and every 10 s a report of each instance, as
 * an agent would have made it. The same options give the same rows on every machine, whatever is
 * asked in whatever order. bench/fleet.md says how it is built and how near it comes to the sets
 * that the design was measured with.
 *
 *	struct fleet *fleet = fleet_new(options);
 *	struct fleet_observer *observer = fleet_observer_new(fleet, dict, FLEET_ADDRESSES);
 *	while ((r = fleet_next_report(fleet, observer, batch)) > 0)
 *		...
 *
 * A fleet speaks of stacks by numbers of its own; an observer has the ids of one dict for them, as
 * each agent, session or file does. One thread uses a fleet and its observers at a time.
 */

#include <stdint.h>

#include "bench/fleet_tree.h"
#include "core/auto.h"
#include "core/buf.h"
#include "profile/batch.h"
#include "profile/dict.h"

#define FLEET_REPORT_NS UINT64_C(10000000000)
#define FLEET_PERIOD_NS 20408163                            /* 49 Hz */
#define FLEET_START_NS  (UINT64_C(1700006400) * 1000000000) /* the default: a full day's begin */

struct fleet;

struct fleet_options {
	uint64_t seed;
	uint32_t services;
	uint32_t instances; /* alive at a time; at least one for each service */
	uint32_t rows;      /* per report, on average and about */
	uint64_t duration_ns;
	uint64_t start_ns;
	uint64_t life_ns;         /* mean life of an instance */
	uint32_t changed_percent; /* by which version 2 of a service's changed function is slower */
	uint32_t fresh_permille;  /* of the samples have a stack that is mostly new */
	uint32_t pool_draws; /* of a service and version: what is not fresh is drawn from these */
};

/* The sets of the design by name: "A", "B", "H"; 0 or -ENOENT. */
int fleet_options_named(const char *set, struct fleet_options *ret_options);

/* NULL when out of memory. What is 0 in the options is that of set A, except the seed. */
struct fleet *fleet_new(struct fleet_options options);
void fleet_free(struct fleet *fleet);
DEFINE_AUTO(fleet);

const struct fleet_tree *fleet_tree_of(const struct fleet *fleet);
uint64_t fleet_ticks(const struct fleet *fleet);  /* reports of a slot */
uint32_t fleet_slots(const struct fleet *fleet);  /* instances alive at a time */
uint32_t fleet_series(const struct fleet *fleet); /* instances met until now */

/* One life of one instance. */
struct fleet_instance {
	uint32_t number; /* in its slot, from 0 */
	uint32_t slot;
	uint32_t service;
	uint32_t version; /* 0 or 1: "v1", "v2" */
	uint32_t region, zone, host;
	char name[64];
	uint64_t ends_tick;
};

/* An instance's labels as text, in the order of fleet_label_names. */
#define FLEET_LABELS 6
extern const char *const fleet_label_names[FLEET_LABELS];
struct fleet_labels {
	char values[FLEET_LABELS][64];
};
struct fleet_labels fleet_labels_of(const struct fleet_instance *instance);

struct fleet_report {
	uint64_t start_ns;
	struct fleet_instance instance;
	const uint32_t *samples; /* nodes of the tree, one for each sample; until the next report */
	uint32_t samples_count;
};

/*
 * What the instance in that slot reports at that tick. The ticks of a slot must not go backwards.
 * 0 or -ENOMEM.
 */
int fleet_report(
        struct fleet *fleet, uint64_t tick, uint32_t slot, struct fleet_report *ret_report);

enum fleet_frames {
	FLEET_ADDRESSES = 1, /* native frames with build-id and offset, as agents send */
	FLEET_NAMES = 2,     /* with function, file and line, as files of other tools have */
};

struct fleet_observer;

/* Borrows both. NULL when out of memory. */
struct fleet_observer *fleet_observer_new(
        struct fleet *fleet, struct dict *dict, enum fleet_frames frames);
void fleet_observer_free(struct fleet_observer *observer);
DEFINE_AUTO(fleet_observer);

/* After the dict was reset: begins anew. */
void fleet_observer_reset(struct fleet_observer *observer);

/*
 * Adds a report to a batch of the observer's dict: rows, coverage, and its interval where the batch
 * has none. 0, -ENOSPC (the dict is full), -ENOMEM. On failure the batch holds a part.
 */
int fleet_observer_put(
        struct fleet_observer *observer, const struct fleet_report *report, struct batch *batch);

/*
 * The next report of the whole fleet, slot by slot and then tick by tick, as a settled batch. 1,
 * or 0 after the last, or as fleet_observer_put(); after -ENOSPC, a reset of the dict and of the
 * observer the same report comes again.
 */
int fleet_next_report(struct fleet *fleet, struct fleet_observer *observer, struct batch *batch);

/* The function table of a build-id, for upload (symbols_builder_finish()). -ENOENT, -ENOMEM. */
int fleet_symbols(const struct fleet *fleet, const char *build_id, size_t count, struct buf *to);
