#pragma once

/*
 * output is where an answer goes: a file that appears whole or not at all, standard output, or a
 * pager when a terminal is too small. It also decides on colour and width.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "query/command.h"

enum output_color { OUTPUT_COLOR_AUTO, OUTPUT_COLOR_ALWAYS, OUTPUT_COLOR_NEVER };

enum output_format {
	FORMAT_TABLE,
	FORMAT_WIDE,
	FORMAT_JSON,
	FORMAT_CSV,
	FORMAT_FOLDED,
	FORMAT_PPROF,
	FORMAT_HTML,
};

/* The format of a choice of a verb's own list. */
enum output_format output_format_of(const char *choice);

struct output {
	const struct shared_args *shared;
	const char *path; /* --out; NULL or "-": standard output */
	bool terminal;
	bool color;
	uint32_t width; /* columns of the terminal; 0: no limit */
	uint32_t height;
};

struct output output_of(const struct shared_args *shared, const char *path);

/*
 * Delivers everything at once. An exit code; complains itself. `code` is what to return when the
 * delivery succeeded, so that a verb ends with it.
 */
int output_deliver(const struct output *output, const struct buf *text, int code);

/* The same for bytes that are no text: never to a terminal. */
int output_deliver_bytes(const struct output *output, const struct buf *bytes, int code);
