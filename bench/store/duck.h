#pragma once

/*
 * duck is the peer: DuckDB with the identical rows in tables of its own, one thread, loaded at run
 * time from its shared library.
 *
 *	rows     service, series, stack, t, value     sorted by (service, series, stack, t)
 *	series   series, service, version, region, instance
 *	rollup   service, w, stack, value             sums of a window, sorted by service, stack, w;
 *	                                              by hours or days where the rows are thin
 *
 * `t` counts seconds from the rows' beginning, `w` windows of ten minutes.
 */

#include <stdbool.h>

#include "bench/store/rows.h"
#include "bench/store/say.h"

struct duck;

/* NULL: the library cannot be loaded; says why. */
struct duck *duck_open(const char *library, const char *folder);
void duck_free(struct duck *duck);
const char *duck_version(const struct duck *duck);

struct duck_load {
	double append_cpu_s; /* committed every 64 reports */
	double sort_cpu_s;
	uint64_t rows_bytes;   /* the file with `rows` alone */
	uint64_t rollup_bytes; /* the file with `rollup` */
	uint64_t written;      /* write_bytes over all of it */
};
/* `rollup_s`: how long a window of the rollup is. */
struct duck_load duck_load(struct duck *duck, const struct rows *rows, uint32_t rollup_s);

struct duck_result {
	double ms;
	struct rows_sum sum;
};

/*
 * Rows of (stack, value) or (stack, value, value): both values are added and mixed, for a diff.
 */
struct duck_result duck_ask(struct duck *duck, const char *sql);
/* A statement without a result: its milliseconds. */
double duck_do(struct duck *duck, const char *sql);
/* Closes, puts the files out of the page cache, opens again. */
void duck_make_cold(struct duck *duck);
