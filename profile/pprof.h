#pragma once

/*
 * pprof reads and writes Google's profile.proto (gzip or plain), through protobuf-c.
 * Source of the format: https://github.com/google/pprof/blob/main/proto/profile.proto
 *
 * One sample type becomes one series (type, unit); a sample's own labels become series labels
 * called "sample.<key>" (text) and "samplenum.<key>.<unit>" (number), and go back to sample labels
 * on export. A location's lines are frames, the inlined ones flagged. Addresses and mappings are
 * kept as they came. Values are kept exactly: the period is 1 unless every value of a type is a
 * multiple of the file's period for that type.
 */

#include <stdint.h>

#include "core/buf.h"
#include "profile/batch.h"
#include "profile/folded.h"

#define PPROF_UNPACKED_BYTES_MAX (2ull << 30)

struct pprof_options {
	const char *type; /* rename the only (or default) sample type; NULL keeps the file's names */
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
 * -EBADMSG with *ret_error: broken, or something that cannot be kept (a negative value, an unknown
 * field, an index out of range). Nothing is dropped in silence. -ENOMEM, -ENOSPC, -EOVERFLOW, -E2BIG.
 */
int pprof_parse(const void *bytes, size_t count, struct pprof_options options, struct batch *batch,
	struct pprof_report *ret_report, struct parse_error *ret_error);

/* All rows: a sample per (stack, sample labels), a sample type per (type, unit). Gzipped. */
int pprof_write(const struct batch *batch, frame_name name, struct buf *to);
