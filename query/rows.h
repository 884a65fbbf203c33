#pragma once

/*
 * rows writes all rows of one side for other tools, as folded text or pprof, and says what a verb
 * says when rows cannot be added up or were cut.
 */

#include "profile/folded.h"
#include "query/functions.h"
#include "query/output.h"
#include "query/source.h"

/* FORMAT_FOLDED or FORMAT_PPROF of the chosen rows, or the `limit` greatest. An exit code. */
int rows_deliver(const struct source_side *side, enum output_format format, frame_name name,
        uint32_t limit, const struct output *output);

/* Two sides as `stack A B` per line, what difference flame graphs are drawn from. An exit code. */
int rows_deliver_both(const struct source *source, frame_name name, const struct output *output);

/* The last columns of a line of CSV, with its end: unit, function and module. */
void rows_put_csv_function(
        const struct names *names, uint32_t name, const char *unit, struct buf *to);

/* Adds a side's functions, whatever form its rows are in. As functions_add(). */
int rows_add_functions(struct functions *functions, const struct source *source, uint32_t side);

/* What a negative errno of adding up means to the user: complains, returns the exit code. */
int rows_explain(int result);

/* The last line of every table: "17 of 1 204 functions shown, 3.1 % of the value not shown; ...".
 */
void rows_put_cut(const char *what, uint64_t shown, uint64_t count, uint64_t value_hidden,
        uint64_t value, struct buf *to);
