#pragma once

/*
 * answer is what a question returns: one or two sides (A, B) over one dict of named frames, each
 * side with the rows, the seconds watched, and its completeness: what is missing and why.
 *
 * Values of an answer are in the unit of the type: every series has period 1, except that series
 * which were not grouped keep theirs, and their values count periods.
 */

#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "core/reader.h"
#include "profile/batch.h"

#define ANSWER_SIDES_MAX 2

#define ANSWER_UNREADABLE_MAX 16
#define ANSWER_TEXT_BYTES     64

/* What on the disk an answer misses. Texts are cut; "" where nobody can say. */
struct unreadable {
	uint64_t from_ns; /* of the window, or the start of the batch in both */
	uint64_t to_ns;
	char service[ANSWER_TEXT_BYTES];
	char type[ANSWER_TEXT_BYTES];
	char what[ANSWER_TEXT_BYTES]; /* "detail chunk 3" */
};

/* How much of the truth a side holds. Values in the unit of the type unless said. */
struct completeness {
	uint64_t value;              /* all rows */
	uint64_t value_truncated;    /* of it on unfinished stacks */
	uint64_t value_unknown_leaf; /* of it with a leaf frame without a name */
	uint64_t samples;            /* in samples: value / period, summed */
	uint64_t lost[LOSS_REASON_MAX +
	              1];    /* samples, by reason; [0] is reasons we have no name for */
	uint64_t intervals;  /* batches read */
	uint64_t missing_ns; /* observers' time inside the range in which nothing arrived, summed */
	uint64_t coverage_ns;  /* series' seconds, summed */
	uint32_t instances;    /* distinct values of the label instance */
	uint32_t series;       /* matched, with data in the range */
	uint32_t observers;    /* agents and importers with data of a matched series in the range */
	uint32_t has_recorded; /* some series carries recorded="true": a shipped fleet, not this one
	                        */
	uint64_t first_ns; /* start of the first and end of the last interval read; 0 when none */
	uint64_t last_ns;
	uint64_t period_min; /* the sampling periods met */
	uint64_t period_max;
	uint64_t corrupt; /* batches on disk whose checksum or references are wrong: in no number
	                     here */
	uint64_t value_folded;         /* of value on an ancestor of its stack: rarely seen */
	uint64_t windows_unanswerable; /* what is left of them cannot say: in no number here */
	uint64_t unanswerable_ns;      /* their length, summed */
	uint64_t samples_folded;       /* what value_folded is of, in samples */
	/* On an ancestor as well, because the service brought too many new stacks when they came.
	 */
	uint64_t value_capped;
	uint64_t samples_capped;
	/* Of `corrupt`, what something finer was read in place of: nothing of it is missing. */
	uint64_t corrupt_replaced;
	/* Length of the windows whose sums answered; 0: rows as they came. Finest and coarsest. */
	uint64_t resolution_finest_ns;
	uint64_t resolution_coarsest_ns;
	/*
	 * Length of the widest window of which nothing finer is left and that the range cuts, 0:
	 * none. At its begin: it is in no number here, as it began before. At its end: all of it
	 * is.
	 */
	uint64_t cut_begin_ns;
	uint64_t cut_end_ns;
	/* Windows whose stacks are told apart by functions alone, and from when to when they are.
	 */
	uint64_t windows_collapsed;
	uint64_t collapsed_from_ns;
	uint64_t collapsed_to_ns;
	/* The first of what `corrupt` counts, by name; none twice. */
	uint32_t unreadable_count;
	struct unreadable unreadable[ANSWER_UNREADABLE_MAX];
};

/*
 * What a side has beside its rows where not all stacks were asked for. Each is a batch of rows that
 * have nothing to do with those of the side.
 *
 * An answer about functions has a stack of one frame for each function, which is called by its
 * readable name as it is shown: the side's rows are what ends in it, and CUM is what it is anywhere
 * on the stack of. Where only the first were asked for, CUT (at the root) is the value of what ends
 * in others, and CUT_NODES how many others there are, over both sides.
 *
 * A tree that was cut has the nodes that were kept: CUT is the value of what is missing below each,
 * CUT_CHILDREN how many nodes next below it are missing, CUT_NODES (at the root) how many there are
 * of all.
 *
 * With CUM or CUT comes FLAWS, which the rows no longer show: what of the value is on stacks that
 * were cut short (at a frame of FRAME_TRUNCATED), and what ends in frames without a name (at a
 * frame without a function).
 */
enum answer_part {
	ANSWER_CUM,
	ANSWER_CUT,
	ANSWER_CUT_NODES,
	ANSWER_CUT_CHILDREN,
	ANSWER_FLAWS,
	ANSWER_PARTS
};

struct answer_side {
	struct batch *batch; /* rows by (group, node); start and duration are the asked range */
	struct batch *parts[ANSWER_PARTS]; /* NULL: not there */
	struct completeness completeness;
};

struct answer {
	struct dict *dict;
	uint32_t sides_count;
	struct answer_side sides[ANSWER_SIDES_MAX];
	/* About functions: how many were joined by their canonical names, which differ. */
	uint64_t names_rewritten;
};

/* Sides with empty batches over one empty dict. NULL when out of memory. */
struct answer *answer_new(uint32_t sides_count);
void answer_free(struct answer *answer);
DEFINE_AUTO(answer);

/* An empty part of a side. -ENOMEM. */
int answer_add_part(struct answer *answer, uint32_t side, enum answer_part part);

/* The batches must be settled. docs/formats/answer.md */
void answer_encode(const struct answer *answer, struct buf *to);

/* Takes all of what is left in `from`. -EBADMSG: not an encoding, or behind it more. -ENOMEM. */
int answer_decode(struct reader *from, struct answer **ret_answer);
