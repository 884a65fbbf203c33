#pragma once

/*
 * What the files of diff share: cmd_diff.c compares functions, cmd_diff_evidence.c says which of
 * them changed more than chance, and cmd_diff_groups.c compares the values of labels, and in each
 * the functions again.
 */

#include "core/clock.h"
#include "core/json.h"
#include "query/command.h"
#include "query/functions.h"
#include "query/output.h"
#include "query/source.h"
#include "query/spread_many.h"
#include "query/text.h"

/* What is worth being called a change, as a part of A. */
#define DIFF_EFFECT_MIN 0.10
/* Over longer ranges instances are told apart by the hash groups that sums keep, at less cost. */
#define DIFF_INSTANCES_NS (2 * 3600 * NS_PER_S)

/* Which functions changed more than chance. */
struct diff_evidence {
	const char *untested; /* why none was; NULL */
	char failed[256];     /* that the question failed, and why */
	const char *cluster;  /* what the spread is over: a label, or WIRE_BY_BUCKET */
	bool by_cum;
	double period;           /* what a sample counts for, 0: nobody knows */
	struct spread_many many; /* by name */
	bool has_whole;
	struct spread_test whole; /* of all, by time watched */
};

struct diff_args {
	struct shared_args shared;
	struct range_args range;
	struct option_time a_from, a_to, b_from, b_to;
	char *type;
	uint32_t limit;
	uint32_t sort; /* index into diff_sorts */
	char *by;
	uint32_t groups;
	uint32_t canon;        /* index into diff_canons */
	uint32_t significance; /* index into diff_switches */
	uint32_t format;
	char *out;
};

struct diff {
	const struct diff_args *args;
	const struct source *source;
	const struct names *names;
	const struct functions *functions;
	const struct diff_evidence *evidence; /* NULL: nobody asked */
	struct functions_scale share;         /* by the side's value */
	struct functions_scale rate; /* by seconds watched; share where these are unknown */
	bool has_rate;
	uint32_t shown;
	uint64_t hidden[2];       /* value of the rows that were cut */
	double hidden_change_max; /* of the share */
};

/* Of the source's chosen rows. 0, or an exit code after complaining. */
int diff_count(struct diff *diff, struct names *names, struct functions *functions);
void diff_put_rows(const struct diff *diff, bool wide, const struct output *output, struct buf *to);
/* Rate, or share, of B to that of A; false where A, or a whole, is nothing. */
bool diff_ratio(const uint64_t value[2], const uint64_t whole[2], double *ret_ratio);
/* The same as a cell. */
void diff_put_change(struct text_table *table, const uint64_t value[2], const uint64_t whole[2]);
/* part / whole, 0 of nothing. */
double diff_part(uint64_t part, uint64_t whole);

/* Keys of the document: who is compared; how; and the functions with what was cut. */
void diff_json_head(const struct diff *diff, struct json_writer *json);
void diff_json_how(const struct diff *diff, struct json_writer *json);
void diff_json_functions(const struct diff *diff, struct json_writer *json);

/* --by into the request. 0, or an exit code after complaining. */
int diff_groups_request(const struct diff_args *args, bool has_file, enum output_format format,
        struct source_request *request);
/* A diff for each group. 0, or an exit code after complaining. */
int diff_groups_put(const struct diff *diff, const struct source_request *request,
        enum output_format format, const struct output *output, struct buf *to);

/* What a sample of either side counts for at most; 0 where nobody knows. */
double diff_period(const struct source *source);

/*
 * Asks for it, with the names that functions have in the diff. Where that fails evidence->untested
 * says why; negative errno for want of memory here.
 */
int diff_evidence_take(const struct diff *diff, const struct source_request *request,
        struct names *names, struct diff_evidence *evidence);
void diff_evidence_fini(struct diff_evidence *evidence);
/* Of a function; `evidence` may be NULL. */
const struct spread_test *diff_evidence_of(const struct diff_evidence *evidence, uint32_t name);
/* Whether the whole changed; and how many functions did, for below the table. */
void diff_evidence_put_whole(const struct diff_evidence *evidence, struct buf *to);
void diff_evidence_put(const struct diff_evidence *evidence, struct buf *to);
void diff_evidence_json(const struct diff_evidence *evidence, struct json_writer *json);

/* more, less, unchanged, unknown or untested. */
const char *diff_verdict(const struct spread_test *test);
/* `significance` and `untested`. */
void diff_json_test(const struct spread_test *test, struct json_writer *json);
