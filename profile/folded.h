#pragma once

/*
 * folded reads and writes one stack per line: root;caller;leaf value.
 *
 * Frames of a file become FRAME_MANAGED with only a function. The last run of blanks splits the
 * value, so names may hold spaces; a name may hold any bytes but newline and, in a file, semicolon.
 */

#include <stdint.h>

#include "core/buf.h"
#include "profile/batch.h"

/* What went wrong where, for a message that names the place. */
struct parse_error {
	uint64_t line; /* folded: line from 1; pprof: byte offset or sample index, as the text says */
	char text[240];
};

/*
 * Adds every line to `batch` under `series`. Empty lines and lines starting with '#' are skipped and
 * counted in *ret_skipped. -EBADMSG: a line without a value, a negative, fractional or too large value
 * (nothing is dropped in silence: the file is refused). -ENOMEM, -ENOSPC, -EOVERFLOW.
 */
int folded_parse(const char *bytes, size_t count, struct batch *batch, uint32_t series,
	uint64_t *ret_skipped, struct parse_error *ret_error);

/* How a frame is called in a line of text. `scratch` is reset and holds the name, zero-terminated. */
typedef const char *(*frame_name)(const struct dict *dict, uint32_t frame, struct buf *scratch);

/* The name as it came; "[unknown] module" for a frame without one, "[truncated]". */
const char *frame_name_plain(const struct dict *dict, uint32_t frame, struct buf *scratch);

/*
 * All rows of the batch, equal lines added up, sorted by bytes, values in the unit of the type.
 * A semicolon or a control character inside a name is written as ':' or '?' and counted in
 * *ret_replaced: folded text cannot hold it. -ENOMEM, -EOVERFLOW.
 */
int folded_write(const struct batch *batch, frame_name name, struct buf *to, uint64_t *ret_replaced);
