#pragma once

/*
 * What a sum knows while it goes: for each side what is asked for, who was watching, and what was
 * added up so far; and what all sides share, which go through the store together.
 *
 * store_sum.c has the sums of a side, store_sum_pass.c the way through the store, store_sum_plan.c
 * what of it a side reads, store_sum_heads.c what is open, store_sum_unit.c and its neighbours
 * (store_sum_sealed_private.h) what is sealed, and store_sum_watchers.c who was watching.
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
	uint64_t pending_ns;      /* start of what is pending of his and was looked at last, */
	uint64_t pending_stretch; /* of that stretch */
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
	uint64_t intervals; /* more than one: a run */
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
	uint32_t level;     /* of the windows that the stretch is made of, at most */
	uint64_t to_ns;     /* where the stretch ends; it begins at walk->at */
	struct buf windows; /* struct plan_window: none: only open batches */
	struct buf used;    /* struct plan_window: rollups that others are in */
	struct buf gone;    /* struct key_window: of level 0, in nothing that can be read */
	struct buf heads;   /* struct plan_head, ascending: open windows whose sums are read */
	struct buf
	        fresh; /* struct key_batch: what of them is not in their sums; by head, ascending */
};

/* An open window whose segments are among those of the plan, and its other batches, by their keys.
 */
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

/* One side. */
struct summing {
	struct store *store;
	struct pass *pass; /* that it is part of */
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

	struct completeness completeness;

	/* For what is sealed. */
	bool is_pending;        /* intervals go to `pending` */
	bool is_missed;         /* the window that is being read was counted as not answerable */
	bool is_collapse_noted; /* it was counted as one that tells functions apart alone */
	bool has_resolution;
	struct buf pending;
	uint64_t stretches; /* that were pending so far */
	struct stack_sums *stacks;
	struct id_map *key_ids;
	struct buf keys;    /* struct sum_group_key, distinct */
	struct buf choices; /* i64 by key: which group of the question a group of a unit is */
	struct plan plan;
	struct buf damaged; /* units of the rollup that is read; see store_sum_finer.c */

	struct summing_steps *steps; /* where sums are by steps of the range; else NULL */
};

/* How much of a window, or of the batches of a stretch of time, a side reads. */
enum take { TAKE_NOTHING, TAKE_FRESH, TAKE_CUT, TAKE_WHOLE };

struct pass_side {
	struct summing summing;
	struct walk walk; /* where this side is */
};

/*
 * All sides of a question on their way through the store. Each side plans for itself what it reads
 * of a stretch; the union of that is read, and what is read is added to each side that takes it. So
 * a block that several sides need is read and decoded once. One thread owns it.
 */
struct pass {
	struct store *store;
	struct pass_side sides[STORE_SUM_SIDES_MAX];
	uint32_t sides_count;
	struct sealed sealed;    /* of all walks */
	struct sums_bound bound; /* of all sums */

	/* The open batch that is read. */
	struct batch *batch;
	uint32_t batch_generation;
	struct generation *pinned; /* of the batch */
	struct buf scratch;
};

/* With the sides' options and steps set and the rest zeroed. -EINVAL: a match is in no order.
 * -ENOMEM. Failed or not, pass_fini() ends it. */
int pass_init(struct pass *pass, struct store *store, uint32_t sides_count);
void pass_fini(struct pass *pass);
/* From where each walk is to where it ends. Errors as store_sum(). */
int pass_run(struct pass *pass);
/* A window with the part of it that each side reads. */
struct pass_window {
	struct key_window key;
	const struct head_segment *segment;
	enum take takes[STORE_SUM_SIDES_MAX];
};
int pass_window(struct pass *pass, const struct pass_window *window);
/* A unit of the window that is open, for all sides that take it. */
int pass_unit(struct pass *pass, uint32_t unit, const enum take takes[STORE_SUM_SIDES_MAX]);
/* What is open of the stretch, in which each side reads up to its plan's end. */
int pass_open(struct pass *pass, const bool takes_part[STORE_SUM_SIDES_MAX], bool may_break);

int summing_init(struct summing *summing);
void summing_fini(struct summing *summing);
/* All parts of all sides that can have rows share the memory. Once. */
int pass_init_sums(struct pass *pass);
/* What of an open batch is this side's; it is unpacked unless it has nothing of any side. */
int summing_add_record(struct summing *summing, struct key_batch key,
        const struct record_batch *record, bool is_met);

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
/* The sums of this window are all in the step that the walk is in: did all of it begin there? */
void steps_note_window(struct summing *summing, const struct sealed *sealed);
/* pass_window(), once for all steps that it reaches into. */
int steps_window(struct summing *summing, struct walk *walk, const struct pass_window *window);

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

/*
 * The sums of a unit of the rollup that is open, or its members, cannot be read; nothing of it was
 * added. It is counted, and read from finer windows if they are there, by summing_read_finer(),
 * which opens other windows.
 */
int summing_note_damaged(
        struct summing *summing, const struct sealed *sealed, uint32_t unit, bool has_members);
int summing_read_finer(struct summing *summing, struct walk *walk);
#define SUMMING_FINER_INSTEAD "finer windows were read"

/* Which of the pass's sides it is. */
static inline uint32_t summing_side(const struct summing *summing)
{
	uint32_t side = 0;
	while (&summing->pass->sides[side].summing != summing)
		side++;
	return side;
}

/* Who was watching, as a chunk of the window that is open says. */
int summing_watchers(struct summing *summing, struct walk *walk, bool is_whole, uint32_t chunk);
/* An interval of a stretch, or one more of the run that the last one is. -EOVERFLOW, -ENOMEM. */
int summing_put_pending(struct summing *summing, const struct pending *pending);
/* The intervals of a stretch, in order. */
int summing_see_pending(struct summing *summing);
/* What cannot be read of a stretch, and is not there: windows of the plan that are gone. */
void summing_miss_gone(struct summing *summing);

void summing_note_resolution(struct summing *summing, uint64_t resolution_ns);
/*
 * A window that is read as a whole, or not at all, because nothing finer of it is left: does the
 * range cut it? last_ns: where its newest batch starts.
 */
void summing_note_cut(struct summing *summing, struct key_window key, uint64_t last_ns);
/* The range of the whole question, whatever step of it the walk is in. */
struct summing_range {
	uint64_t from_ns, to_ns;
};
struct summing_range steps_range(const struct summing *summing);
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

/*
 * The next stretch, into summing->plan, of what overlaps at windows of `level_min` or a wider
 * level. In the gate.
 */
int plan_make(struct summing *summing, struct walk *walk, uint32_t level_min);
void plan_fini(struct plan *plan);

/*
 * Sums of open windows (store_sum_heads.c). Which of those that begin in [from_ns, to_ns) are read,
 * into summing->plan.
 */
int plan_heads(struct summing *summing, struct walk *walk, uint64_t from_ns, uint64_t to_ns);
