#pragma once

/*
 * folded reads and writes one stack per line: root;caller;leaf value (docs/formats/folded.md).
 *
 * Frames of a file become FRAME_MANAGED with only a function. The last blank splits off the value,
 * so names may hold and even end in blanks; a name may hold any bytes but newline, zero and, in a
 * file, semicolon. What was read and is written again is the same, value for value.
 */

#include <stdint.h>

#include "core/buf.h"
#include "profile/batch.h"

/* What went wrong where, for a message that names the place. */
struct parse_error {
	uint64_t line; /* folded: line from 1; pprof: byte offset or sample index, as the text says
	                */
	char text[240];
};

/*
 * Adds every line to `batch` under `series`. A value alone is an empty stack: a row of the root.
 * Empty lines, comments ('#' alone or before a blank) and lines with value 0 are skipped and
 * counted in *ret_skipped. -EBADMSG: a line without a value, a negative, fractional or too large
 * value, one that is no multiple of the series' period, a zero byte (nothing is dropped in silence:
 * the file is refused). -ENOMEM, -ENOSPC, -EOVERFLOW. On error the batch holds a part: throw it
 * away.
 */
int folded_parse(const char *bytes, size_t count, struct batch *batch, uint32_t series,
        uint64_t *ret_skipped, struct parse_error *ret_error);

/*
 * How a frame is called in a line of text. `scratch` is reset, holds the name zero-terminated, and
 * its count is the name's length. NULL when out of memory.
 */
typedef const char *(*frame_name)(const struct dict *dict, uint32_t frame, struct buf *scratch);

/*
 * The name as it came; "[unknown] module" for a native or kernel frame without one, "[truncated]".
 * A managed frame without a name has an empty one: that is how its file wrote it.
 */
const char *frame_name_plain(const struct dict *dict, uint32_t frame, struct buf *scratch);

/*
 * All rows of the batch, equal stacks added up, lines sorted by bytes, values in the unit of the
 * type. Names are written as they are, control characters too: a file is not a terminal. Only what
 * a line cannot hold is replaced (';' by ':', newline and zero by '?', a '#' that would begin a
 * comment by
 * '?'); *ret_replaced counts the names that lost something. -ENOMEM, -EOVERFLOW.
 */
int folded_write(
        const struct batch *batch, frame_name name, struct buf *to, uint64_t *ret_replaced);
