#pragma once

/*
 * pprof reads and writes Google's profile.proto (gzip or plain), through protobuf-c
 * (docs/formats/pprof.md). Source of the format:
 * https://github.com/google/pprof/blob/main/proto/profile.proto
 *
 * One sample type becomes one series (type, unit); a sample's own labels become series labels
 * called "sample.<key>" (text) and "samplenum.<key>.<unit>" (number), further values of one key
 * with #2, #3 ... behind, and go back to sample labels on export. A location's lines are frames,
 * the inlined ones flagged; a location without lines is a native frame. Addresses and mappings are
 * kept as they came. Values are kept exactly: the period is 1 unless every value of a type is a
 * multiple of the file's period for that type.
 */

#include <stdint.h>

#include "core/buf.h"
#include "profile/batch.h"
#include "profile/folded.h"

#define PPROF_UNPACKED_BYTES_MAX (2ull << 30)

struct pprof_options {
	const char *type; /* rename the only (or default, or last) sample type; NULL keeps the
	                     file's names */
	const struct label *labels; /* attached to every series; ids of the batch's dict */
	uint32_t labels_count;
};

/* What the file said about itself and what could not be kept, each once, as text for the user. */
struct pprof_report {
	uint64_t time_unix_ns; /* 0: the file does not say */
	uint64_t duration_ns;
	uint64_t samples;
	char notes[8][160];
	uint32_t notes_count;
};

/*
 * Adds the rows; the interval of the batch is the caller's to set, from the report or otherwise.
 * The rows are not settled.
 *
 * -EBADMSG with *ret_error: broken, or something that cannot be kept (a negative value, an unknown
 * field, an id that is nowhere). What is understood but has no place in a batch is in the report's
 * notes: nothing is dropped in silence. -E2BIG: past a limit. -ENOMEM, -ENOSPC, -EOVERFLOW. On
 * error the batch holds a part: throw it away.
 */
int pprof_parse(const void *bytes, size_t count, struct pprof_options options, struct batch *batch,
        struct pprof_report *ret_report, struct parse_error *ret_error);

/*
 * All rows: a sample per (stack, sample labels), a sample type per (type, unit), in the order of
 * the dict's series; time and duration are the batch's. Labels of series other than the sample's
 * own are not in the file, so rows of different services add up. Gzipped. -EOVERFLOW: past 63 bits.
 * -E2BIG: more than 64 types, or 2 GiB. -ENOMEM.
 */
int pprof_write(const struct batch *batch, frame_name name, struct buf *to);
