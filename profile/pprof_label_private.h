#pragma once

/*
 * How a sample's labels are named among those of its series:
 *
 *	sample.KEY               a text
 *	samplenum.KEY.UNIT       a number
 *	...#2, #3 ...            further values of one key
 *
 * So that each name reads one way only, '%' and '#' in a key or unit and '.' in a unit are written
 * %25 ...
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "profile/dict.h"

#define PPROF_TEXT_LABEL   "sample."
#define PPROF_NUMBER_LABEL "samplenum."

/* A key, or a unit, as it stands in a name; and back. */
void pprof_put_escaped(struct buf *to, const char *text, size_t count, bool is_unit);
void pprof_put_unescaped(struct buf *to, const char *text, size_t count);

bool pprof_label_is_of_sample(const struct dict *dict, struct label label);

/* Texts are borrowed from the dict, and escaped. */
struct pprof_decoded_label {
	const char *key, *unit;
	size_t key_count, unit_count;
	bool is_number;
	int64_t number;
	uint32_t rank;
};

/*
 * Takes the name of a series label apart. One that only looks like a sample's label (somebody's
 * own) is taken as a text label under its whole name: it is not lost.
 */
struct pprof_decoded_label pprof_decode_label(const struct dict *dict, struct label label);
