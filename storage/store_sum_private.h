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
	uint64_t intervals; /* more than one: a run of a rollup */
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

/*
 * What a stretch of the walk reads: the widest windows that answer, and what is in none of them.
 * See store_sum_plan.c.
 */
struct plan {
	uint64_t to_ns;     /* where the stretch ends; it begins at walk->at */
	struct buf windows; /* struct plan_window: none: only open batches */
	struct buf used;    /* struct plan_window: rollups that others are in */
	struct buf gone;    /* struct key_window: of level 0, in nothing that can be read */
	struct buf heads;   /* struct plan_head, ascending: open windows whose sums are read */
	struct buf fresh;   /* struct key_batch: what of them is not in their sums */
};

/* An open window whose segments are among those of the plan, and its other batches. */
struct plan_head {
	uint64_t from_ns, to_ns;
	size_t fresh_first, fresh_end;
};

struct plan_window {
	struct key_window key;
	/* All of it is wanted, also what the range cuts: finer it is not there. */
	bool is_whole;
	const struct head_segment *segment; /* or NULL: of the store */
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
	struct generation *pinned; /* of the batch */
	struct buf scratch;
	struct completeness completeness;

	/* For what is sealed. */
	bool is_pending; /* intervals go to `pending` */
	bool is_missed;  /* the window that is being read was counted as not answerable */
	bool has_resolution;
	struct buf pending;
	struct stack_sums *stacks;
	struct id_map *key_ids;
	struct buf keys;    /* struct sum_group_key, distinct */
	struct buf choices; /* i64 by key: which group of the question a group of a unit is */
	struct plan plan;
	struct buf damaged; /* units of the rollup that is read; see store_sum_finer.c */

	struct summing_steps *steps; /* where sums are by steps of the range; else NULL */
};

/* With `options` set and the rest zeroed. -EINVAL: the match is in no order. -ENOMEM. Failed or
 * not, summing_fini() ends it. */
int summing_init(struct summing *summing);
void summing_fini(struct summing *summing);
/* An open batch: visit of the walk. */
int summing_record(void *owner, struct key_batch key, const struct record_batch *record,
        struct generation *generation);
int summing_window(struct summing *summing, struct walk *walk, const struct plan_window *window);

/*
 * Steps of a range (store_sum_steps.c). What is read as a whole, and open batches, belong to the
 * step that the walk is in; rows of sealed windows to whichever their interval starts in.
 */
int steps_add_row(struct summing *summing, uint32_t group, uint32_t node, uint64_t value);
int steps_add_coverage(struct summing *summing, uint32_t group, uint64_t ns);
int steps_add_coverage_at(struct summing *summing, uint32_t group, uint64_t start_ns, uint64_t ns);
/* Places of a dictionary, as sums_add_all(), which come to `samples`. */
int steps_add_stacks(struct summing *summing, uint32_t group, uint64_t period,
        const uint32_t *nodes, const uint32_t *order, uint64_t samples);
/* Before the chunks of a unit: its dictionary. -ENOMEM. */
int steps_begin_unit(struct summing *summing, const uint32_t *nodes, uint32_t count);
/* The rows of the reports that are wanted. */
int steps_add_chunk(struct summing *summing, struct sealed *sealed,
        const struct detail_chunk *chunk, const struct detail_heads *heads, const uint8_t *wanted);
void steps_note_resolution(struct summing *summing, uint64_t resolution_ns);
/* summing_window(), once for all steps that it reaches into. */
int steps_window(struct summing *summing, struct walk *walk, const struct plan_window *window);

/* The series' place among those asked for has it, or NULL. */
static inline struct summed_series *summing_find(struct summing *summing, uint32_t series)
{
	uint32_t place = places_find(&summing->part->places, series);
	return place == ID_NONE ? NULL : &summing->series[place];
}

/* Adds, or says that the sum is past 64 bits. */
static inline int sum_add(uint64_t *sum, uint64_t value)
{
	return __builtin_add_overflow(*sum, value, sum) ? -EOVERFLOW : 0;
}

/* A loss of a series that is asked for, or what of it was folded. */
int summing_add_loss(struct summing *summing, uint64_t period, uint32_t reason, uint64_t count);
/* Which observer a stream belongs to, made when he is new. */
int summing_observer(struct summing *summing, uint32_t stream, struct observer **ret_observer);
/* Batches of one observer come in order of their start, several of the same start included. */
int observer_see(struct observer *observer, const struct pending *pending);
/* What is read next is of this generation. */
void summing_turn_to(struct summing *summing, struct generation *generation);
/* Ascending, of the units of a part. */
int summing_compare_units(const void *a, const void *b);
void summing_meet(struct summing *summing, struct summed_series *series);

/* A unit of the window that is open, which is wanted as a whole. */
int summing_whole_unit(struct summing *summing, struct walk *walk, uint32_t unit);

/*
 * The sums of a unit of the rollup that is open, or its members, cannot be read; nothing of it was
 * added. It is counted, and read from finer windows if they are there, by summing_read_finer(),
 * which opens other windows.
 */
int summing_note_damaged(
        struct summing *summing, const struct sealed *sealed, uint32_t unit, bool has_members);
int summing_read_finer(struct summing *summing, struct walk *walk);
#define SUMMING_FINER_INSTEAD "finer windows were read"

/* Sealed windows and what is open in their time: visit_stretch of the walk. */
int summing_stretch(void *owner, struct walk *walk, bool may_break);

void summing_note_resolution(struct summing *summing, uint64_t resolution_ns);
/* Has any series that is asked for this service and type? */
bool summing_wants_unit(const struct summing *summing, const struct window_unit *unit);
/*
 * Can the sums of the window answer for all of its units that are wanted? By its members. Opens it
 * in walk->sealed. -EBADMSG and the like: it cannot be read.
 */
int summing_fits(struct summing *summing, struct walk *walk, const struct window_entry *window,
        bool *ret_fits);
int summing_fits_segment(struct summing *summing, struct walk *walk,
        const struct head_segment *segment, bool *ret_fits);

/* The next stretch, into summing->plan. In the gate. */
int plan_make(struct summing *summing, struct walk *walk);
void plan_fini(struct plan *plan);

/*
 * Sums of open windows (store_sum_heads.c). Which of those that begin in [from_ns, to_ns) are read,
 * into summing->plan.
 */
int plan_heads(struct summing *summing, struct walk *walk, uint64_t from_ns, uint64_t to_ns);
/* What of the open batches from walk->at on to to_ns is in no sums of the plan. */
int summing_open_batches(struct summing *summing, struct walk *walk, uint64_t to_ns);
