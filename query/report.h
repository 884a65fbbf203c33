#pragma once

/*
 * report writes what every answer carries beside its numbers: whose profile it is, of when, and how
 * complete. The same facts as text under a table, and in JSON.
 */

#include "core/buf.h"
#include "core/json.h"
#include "query/source.h"

/* "2025-03-01T10:00:00Z .. 2025-03-01T11:00:00Z", or what a file says of itself. */
void report_put_range(const struct source_side *side, struct buf *to);

/* Of one side: "120 instances  41.2 cores  343 mcores/instance  2 966 400 samples". */
void report_put_size(const struct source *source, uint32_t side, struct buf *to);

/* False where nobody knows how many samples the values were: imported ones, and files. */
bool report_knows_samples(const struct source_side *side);

/* False where some instance has several series, each with seconds of its own. */
bool report_is_per_instance(const struct source_side *side);

/* Does every side know how long it was watched, so that rates can be compared? */
bool report_has_rate(const struct source *source);

/* What the seconds watched are counted for: "instance", or "series". */
const char *report_watched(const struct source *source);

/* Of two sides: what makes them unlike beyond what is compared, one line each. */
void report_put_warnings(const struct source *source, struct buf *to);

/* The head above a table: one line per side; `name` is "A", "B" or "". */
void report_put_head(const struct source *source, uint32_t side, const char *name, struct buf *to);

/* Completeness, one fact per line, each after `indent`. Nothing that is zero and good is left out
 * silently. */
void report_put_completeness(
        const struct source *source, uint32_t side, const char *indent, struct buf *to);

/* Of that, what could not be read, what the range cuts and what was collapsed; nothing where
 * nothing was. */
void report_put_missing(const struct completeness *all, struct buf *to);

/* The same on stderr, a line per side: of answers whose form has no place for it. Files have none.
 */
void report_remark(const struct source *source);

/* True where rows of a shipped, recorded fleet are among the answer's. */
bool report_has_recorded(const struct source *source);
#define REPORT_RECORDED "recorded data: a fleet that ships with profleet, not this one"

/* Into the object that a verb answers with: what it is an answer to, and in which unit. */
void report_json_head(const struct source *source, const char *verb, struct json_writer *json);

/* An object with selector, range, value, cores and completeness of a side. */
void report_json_side(const struct source *source, uint32_t side, struct json_writer *json);

/* `part / whole`, or null of nothing. */
void report_json_share(
        struct json_writer *json, const char *key, uint64_t part, uint64_t whole, double scale);

/* How many of a list are above: "all 3 series shown", or that --limit cut it. */
void report_put_shown(size_t shown, size_t count, const char *what, struct buf *to);
