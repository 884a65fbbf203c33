#pragma once

/*
 * What a sum knows while it goes: what is asked for, who was watching, and what was added up so
 * far. store_sum.c has the open batches and the end, store_sum_sealed.c what is sealed.
 */

#include <stdbool.h>
#include <stdint.h>

#include "storage/store_walk_private.h"
#include "storage/sum_groups.h"
#include "storage/sums.h"

/* One who watches: all streams of a uuid and tenant. */
struct observer {
	bool is_matched;
	bool is_seen;
	uint64_t intervals;
	uint64_t covered_until_ns;
	uint64_t missing_ns;
	uint64_t first_ns;
	uint64_t last_ns;
	uint64_t lost[LOSS_REASON_MAX + 1]; /* nobody's */
};

/* What is known of one of the series asked for. */
struct summed_series {
	uint64_t period;
	uint32_t group;    /* index into the distinct groups */
	uint32_t same;     /* place of the first series that is the same, in whichever part */
	uint32_t instance; /* number of the label's value, 0 for none */
	bool is_recorded;
	bool is_met;
	uint64_t coverage_ns;
};

/* An interval of a span, kept until all of them are known: they are seen in order. */
struct pending {
	uint64_t start_ns;
	uint64_t duration_ns;
	uint32_t observer;
};

/* What is of one generation: ids, and sums by them. */
struct summing_part {
	struct places places;
	uint64_t *units; /* service and type of the series asked for: ascending, distinct */
	uint32_t units_count;
	uint32_t *keys_of; /* by series: its key plus one */
	uint32_t keys_of_count;
	struct sums *sums;
};

struct summing {
	struct store *store;
	const struct store_sum_options *options;
	struct summing_part *parts; /* of the match */
	struct summing_part *part;  /* of what is being read; or `nothing` */
	struct summing_part nothing;
	struct generation *generation;
	struct summed_series *series; /* of all parts */
	struct id_map *identities;    /* of series and instances, where there are several parts */
	uint32_t *groups;             /* distinct, ascending */
	uint32_t groups_count;

	struct id_map *observer_ids;
	struct observer *observers;
	uint32_t observers_capacity;
	uint32_t *observer_of; /* by stream: its observer plus one */
	uint32_t observer_of_count;

	struct batch *batch;
	uint32_t batch_generation;
	struct buf scratch;
	struct completeness completeness;

	/* For what is sealed. */
	bool is_pending; /* intervals go to `pending` */
	struct buf pending;
	struct stack_sums *stacks;
	struct buf keys; /* struct sum_group_key */
};

/* Adds, or says that the sum is past 64 bits. */
static inline int sum_add(uint64_t *sum, uint64_t value)
{
	return __builtin_add_overflow(*sum, value, sum) ? -EOVERFLOW : 0;
}

/* Which observer a stream belongs to, made when he is new. */
int summing_observer(struct summing *summing, uint32_t stream, struct observer **ret_observer);
/* Batches of one observer come in order of their start, several of the same start included. */
void observer_see(struct observer *observer, uint64_t start_ns, uint64_t duration_ns);
/* What is read next is of this generation. */
void summing_turn_to(struct summing *summing, struct generation *generation);
/* Ascending, of the units of a part. */
int summing_compare_units(const void *a, const void *b);
void summing_meet(struct summing *summing, struct summed_series *series);

/* Sealed windows of a span and what is open in them: visit_span of the walk. */
int summing_span(void *owner, struct walk *walk, const struct window_span *span);
