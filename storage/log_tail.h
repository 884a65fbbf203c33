#pragma once

/*
 * log_tail says how much to write behind a large synced write so that it ends where a page of the
 * log does.
 *
 * The kernel writes pages. A write that ends inside one has that page written, and once more with
 * the next write behind it: 4 KiB for each group of a hundred reports, which takes 25. What fills
 * the page costs half of that, and nothing is written twice.
 *
 * It only ever guesses where the log ends, from the size of the file with the highest number. When
 * that was wrong, as after a flush, the one write is not aligned, and the file is looked for again.
 */

#include <stdbool.h>
#include <stdint.h>

/* Zeroed is: not looked for yet. */
struct log_tail {
	char name[64]; /* of the file; empty: to be looked for */
	uint64_t end;  /* of it, if the write that is announced goes there */
};

/*
 * How many bytes more a record of so many is to have, so that it ends with a page; 0: none. Always
 * to be followed by log_tail_check().
 */
uint64_t log_tail_fill(struct log_tail *tail, const char *folder, uint64_t record_bytes);
/* After the write: did it go there? */
void log_tail_check(struct log_tail *tail, const char *folder);

/* Where a record ends that begins to be written at `at`, in the form of log_file.c. */
uint64_t log_record_end(uint64_t at, uint64_t bytes);
