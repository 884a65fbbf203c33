#pragma once

/*
 * json_missing says of an aggregator's JSON answer, in the words of report.h, what is not in it:
 * `completeness` of timeline, series and labels.
 */

#include "core/buf.h"
#include "query/json_reply.h"

/* One fact per line below a table, after an empty one; nothing where nothing is missing. */
void json_missing_put_below(const json_t *root, struct buf *to);
/* The same on stderr, of answers whose form has no place for it. */
void json_missing_remark(const json_t *root);

/*
 * Of an answer without anything: says why, as far as that is known, and returns an exit code; else
 * 0.
 */
int json_missing_explain(const json_t *root, const char *selector);
/* The same, and otherwise that no series matches; an exit code. */
int json_missing_nothing(const json_t *root, const char *selector);
