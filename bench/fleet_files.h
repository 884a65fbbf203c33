#pragma once

/*
 * fleet_files writes a fleet as files that any system can read: gzipped pprof and folded stacks,
 * with names, and an index.tsv with each file's time and labels, since neither form has a place for
 * them. Files are numbered in the order of slots, and within a slot of time: 000123.pb.gz is
 * 000123.folded.
 */

#include <stdbool.h>
#include <stdint.h>

#include "bench/fleet.h"

struct fleet_files_options {
	const char *pprof;    /* folder, or NULL */
	const char *folded;   /* folder, or NULL */
	bool whole_instances; /* a file for each instance instead of each report */
	uint64_t files_max;
};

struct fleet_files_figures {
	uint64_t files;
	uint64_t rows;
	uint64_t samples;
};

/* 0, or negative errno after saying on stderr what went wrong. */
int fleet_files_write(struct fleet *fleet, struct fleet_files_options options,
        struct fleet_files_figures *ret_figures);
