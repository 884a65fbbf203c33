#pragma once

/*
 * functions is the table behind `top` and `diff`: per function and side, the value of the rows that
 * end in it (flat) and of those that it is anywhere on (cum). A function that is on a stack twice
 * counts once in cum, so recursion does not inflate it.
 *
 * The rows of one side may come from any dict; sides meet by (readable name, module). One thread
 * owns the table.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/batch.h"
#include "profile/names.h"

struct function {
	uint32_t name;    /* of the names */
	uint64_t flat[2]; /* by side, in the unit of the type */
	uint64_t cum[2];
};

struct functions;

/* Borrows the names. NULL: out of memory. */
struct functions *functions_new(struct names *names);
void functions_free(struct functions *functions);
DEFINE_AUTO(functions);

/*
 * Adds the rows of those series for which `chosen` holds, or of all where it is NULL.
 * -ENOMEM. -EOVERFLOW: a sum past 64 bits.
 */
int functions_add(
        struct functions *functions, uint32_t side, const struct batch *batch, const bool *chosen);

/*
 * The same where an aggregator has done it: rows of `flat` and `cum` are functions, which are
 * called by their readable names already (ANSWER_CUM of profile/answer.h).
 */
int functions_add_sums(struct functions *functions, uint32_t side, const struct batch *flat,
        const struct batch *cum, const bool *chosen);

/* What a diff compares: values divided by what they are a share of, side by side. */
struct functions_scale {
	uint64_t whole[2]; /* 0: that side has nothing to be compared with, and counts as 0 */
	bool by_cum;
};

enum functions_order { FUNCTIONS_BY_FLAT, FUNCTIONS_BY_CUM, FUNCTIONS_BY_CHANGE };

/* Greatest first; equals by the other value, then by name. `scale` is for BY_CHANGE. Both sides
 * count. */
void functions_sort(
        struct functions *functions, enum functions_order order, struct functions_scale scale);

uint32_t functions_count(const struct functions *functions);

/* Functions that an aggregator knows of and left out: they are counted, not listed. */
void functions_leave_out(struct functions *functions, uint32_t count);
uint32_t functions_count_all(const struct functions *functions);
const struct function *functions_get(const struct functions *functions, uint32_t index);
uint64_t functions_total(const struct functions *functions, uint32_t side);

/* The value that sorting by change compares: share B - share A. */
double functions_change(const struct function *function, struct functions_scale scale);
