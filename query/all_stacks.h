#pragma once

/*
 * all_stacks is for verbs whose answer is a table and that write every stack all the same, where
 * another program or a picture is what it is for: folded text, pprof, and a page with a flame
 * graph.
 */

#include <stdbool.h>

#include "query/output.h"
#include "query/source.h"

/* Is it one of these formats? */
bool all_stacks_wants(enum output_format format);

/* The first side of a source. `out` as the user gave it; NULL: standard output. An exit code. */
int all_stacks_deliver(const struct source *source, enum output_format format,
        const struct shared_args *shared, const char *out, const struct output *output);
