#pragma once

/*
 * source is where the numbers of top, tree, flame, export and diff come from: for each side a
 * selector that an aggregator answers, or a file in folded or pprof form that is read here. What
 * comes out is the same: rows over a dict, completeness, and the one profile type that was meant.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/answer.h"
#include "profile/wire.h"
#include "query/command.h"
#include "query/profile_file.h"

#define SOURCE_SIDES_MAX 2

struct source_request {
	const char *words[SOURCE_SIDES_MAX]; /* selectors or files */
	uint32_t sides_count;
	uint64_t from_ns[SOURCE_SIDES_MAX];
	uint64_t to_ns[SOURCE_SIDES_MAX];
	const char *type; /* --type, or NULL */
	bool all_types;   /* export: no type needs to be chosen */
	uint32_t level;   /* enum naming_level */
	uint32_t group;   /* enum wire_group */
	/* enum wire_question: WIRE_ASK_PROFILE, or what is enough of it. 0 is PROFILE */
	uint32_t question;
	uint32_t nodes_max;               /* of WIRE_ASK_TREE and FUNCTIONS; 0: all */
	struct wire_text by[WIRE_BY_MAX]; /* labels of WIRE_GROUP_LABELS; borrowed */
	uint32_t by_count;
	bool by_cum, by_change; /* which of the functions come first */
	bool is_canonical;      /* of WIRE_ASK_FUNCTIONS */
	/* Of WIRE_GROUP_SERIES: where the sums left of old windows cannot tell series apart, take
	 * their types. Source says so. */
	bool may_join;
};

struct source_side {
	struct answer *answer;    /* of an aggregator; owned by the source */
	struct profile_file file; /* or of a file; likewise */
	const struct batch *batch;
	/* Where not all stacks were asked for: enum answer_part; NULL what is not there. */
	const struct batch *parts[ANSWER_PARTS];
	struct completeness completeness;
	bool *chosen; /* by series: is of the type. Owned by the source */
	char *words;  /* the selector in its normal form, or the file's name */
	bool is_file;
	uint64_t from_ns, to_ns; /* as asked; of a file: what it says of itself, or 0 */
	uint64_t span_ns; /* wall time between the first and the last interval with data; 0: unknown
	                   */
	uint64_t value_empty; /* of the chosen rows on stacks without a frame */
	uint64_t value;       /* of the chosen rows, in the unit of the type */
};

struct source {
	struct source_side sides[SOURCE_SIDES_MAX];
	uint32_t sides_count;
	char *type; /* "" where all_types */
	char *unit;
	bool is_canonical; /* functions are joined by their canonical names: profile/canon.h */
	bool is_joined;    /* series could not be told apart any more */
	uint64_t names_rewritten; /* by the aggregator, of sides about functions */
	bool is_cpu;              /* type cpu in nanoseconds: cores mean something */
};

/* Is this word the name of a file, and not a selector? */
bool source_is_file(const char *word);

/*
 * The selector in its normal form, with the type of --type (may be NULL) where it has none. 0 with
 * a text the caller frees, or an exit code after complaining.
 */
int source_selector(const char *word, const char *type, char **ret_text);

/*
 * Nothing was answered: complains that it cannot be read, or not be told apart any more. An exit
 * code, or 0 where nothing of that is known.
 */
int source_explain(const char *words, const struct completeness *all);
/* The same, and otherwise that no series matches; an exit code. */
int source_nothing(const char *words, const struct completeness *all);

/* 0, or an exit code after complaining: EXIT_CODE_NO_DATA when a side has no series at all. */
int source_load(const struct shared_args *shared, const struct source_request *request,
        struct source **ret_source);
void source_free(struct source *source);
DEFINE_AUTO(source);
