#pragma once

/*
 * retention_plan is what policies mean for a store as it is: which parts of which windows would be
 * hidden now, what follows within a horizon, and whose they are. It changes nothing.
 *
 * A unit of a window has several series; where their policies differ, it is kept as long as the
 * longest of them says, and noted as mixed, to be parted where that is possible. Sums go only when
 * a coarser window has what they have, or when that has expired too. What cannot be read is kept.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "profile/retention.h"
#include "storage/store_expire.h"

struct plan_options {
	struct store *store;
	/* The first decides; while others are given, what they keep longer is kept. NULL is none.
	 */
	const struct retention_set *const *sets;
	uint32_t sets_count; /* at least 1 */
	const struct retention_holds *holds;
	const struct retention_limits *limits;
	uint64_t now_ns;
	uint64_t horizon_ns; /* from now */
	struct store_pass pass;
};

/* What of a tenant's service goes by one policy at one tier. */
struct plan_row {
	char *tenant;
	char *service;
	char policy[RETENTION_NAME_BYTES_MAX + 1]; /* "none" */
	enum retention_tier tier;
	uint64_t windows_now, rows_now, bytes_now;
	uint64_t windows_later, rows_later, bytes_later; /* further, within the horizon */
	uint64_t series;                                 /* different ones, of either */
	uint64_t oldest_ns;                              /* start of the oldest window of either */
	uint64_t newest_ns;                              /* end of the newest that goes now */
	uint64_t newest_later_ns;                        /* ... within the horizon */
	struct store_window_name last_window;            /* to count each once */
	bool has_window;
	bool is_last; /* nothing coarser is left of some of it */
};

/* What a policy of the first set decides over, whether it expires or not. */
struct plan_cover {
	uint64_t series; /* whose detail tier it is */
	uint64_t units;  /* of which it keeps the detail longest */
	uint64_t bytes;  /* of these, that are visible */
};

struct plan_tenant {
	char *name;
	uint64_t bytes; /* visible */
	uint64_t bytes_now;
};

struct retention_plan {
	struct plan_row *rows;
	uint32_t rows_count, rows_capacity;
	struct plan_tenant *tenants;
	uint32_t tenants_count, tenants_capacity;
	struct plan_cover covers[RETENTION_POLICIES_MAX + 1]; /* by policy; the last is nobody's */
	struct buf items; /* struct store_expire_item, in order of the inventory */
	struct buf mixed; /* struct store_window_name that are to be parted */
	uint64_t windows_now, rows_now, bytes_now;
	uint64_t bytes_later;
	uint64_t bytes_visible; /* all sealed detail, sums and windows */
	uint64_t bytes_hidden;  /* by runs before */
	uint64_t bytes_held;    /* by holds */
	uint64_t bytes_waiting; /* expired sums that no coarser window has yet */
	uint64_t bytes_mixed;   /* of units that are kept by one of their series alone */
	uint64_t units_unreadable;
};

/* Into a zeroed one. Errors of store_inventory(), -ENOMEM. */
int retention_plan_make(const struct plan_options *options, struct retention_plan *plan);
void retention_plan_fini(struct retention_plan *plan);
#define AUTO_RETENTION_PLAN __attribute__((cleanup(retention_plan_fini))) struct retention_plan

static inline const struct store_expire_item *retention_plan_items(
        const struct retention_plan *plan)
{
	return (const struct store_expire_item *)(const void *)plan->items.bytes;
}

static inline uint32_t retention_plan_items_count(const struct retention_plan *plan)
{
	return (uint32_t)(plan->items.count / sizeof(struct store_expire_item));
}

/* Of the policies that decide and of every item: 16 hex digits. -ENOMEM. */
#define PLAN_ID_BYTES 17
int retention_plan_id(const struct retention_plan *plan, const struct retention_set *set,
        char ret_id[PLAN_ID_BYTES]);

/* The series at this place of a unit's list. */
static inline struct retention_subject plan_subject(
        const struct store_inventory_unit *unit, uint32_t at)
{
	return (struct retention_subject){ unit->tenant, unit->dict, unit->series[at] };
}

/* What all series of a unit have in common. */
static inline struct selector_known plan_known(const struct store_inventory_unit *unit)
{
	return (struct selector_known){ unit->tenant, unit->type, unit->service, unit->dict };
}

/* What is to be told of a unit to somebody who has judged what all its series have in common. */
static inline enum store_inventory_need plan_need(enum selector_answer answer)
{
	static const enum store_inventory_need needs[] = { [SELECTOR_NONE] = STORE_NEED_NOTHING,
		[SELECTOR_ALL] = STORE_NEED_UNIT,
		[SELECTOR_DEPENDS] = STORE_NEED_SERIES };
	return needs[answer];
}

/* What one series' policies say, over all sets. */
struct retention_outcome retention_plan_outcome(
        const struct plan_options *options, struct retention_subject subject);
