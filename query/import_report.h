#pragma once

/*
 * import_report is what an import says of its files and of how long they waited to be acknowledged,
 * as text or as JSON.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "query/profile_file.h"

/* One file of an import. */
struct import_told {
	const char *path;
	bool is_imported;
	bool is_tried;
	uint64_t rows;
	uint64_t waited_ns; /* from when it was read until the aggregator had all of it */
	struct buf text;    /* what import_report_file() said; safe, owned by whoever has this */
};

/* Of a file that was imported: its rows, and its text or JSON object. */
void import_report_file(const struct profile_file *file, bool is_json, struct import_told *told);

/* Of all, in their order; sorts nothing of the caller's. -ENOMEM. */
int import_report_all(const struct import_told *told, uint32_t count, uint64_t elapsed_ns,
        bool is_json, struct buf *to);
