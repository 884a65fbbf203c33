#pragma once

/*
 * label_index is the inverted index: which series have a label with a value.
 *
 * A question has a handful of matchers and a fleet has a million series, so each matcher is asked
 * once per distinct value, not once per series, and what it accepts is the union of sorted lists.
 * The type of a series is a label here as well, with the name "" that no label can have.
 *
 * Kept in memory and derived from a dict: nothing of it is on disk; it is made again when the store
 * is opened. One to two bytes per series and label (Roaring bitmaps), and 70 to 150 per distinct
 * pair of name and value.
 *
 * One thread extends or truncates while nobody reads; many may read.
 */

#include <stdint.h>

#include "core/auto.h"
#include "profile/dict.h"
#include "profile/selector.h"

struct label_index;

struct label_index *label_index_new(void);
void label_index_free(struct label_index *index);
DEFINE_AUTO(label_index);

/* Takes in every series of the dict that it does not have. -ENOMEM: as before. */
int label_index_extend(struct label_index *index, const struct dict *dict);

/* Forgets the series from `series_count` on; the dict still has them. */
void label_index_truncate(
        struct label_index *index, const struct dict *dict, uint32_t series_count);

/* The series below `series_count` that match: ascending, freed by the caller, never NULL. -ENOMEM.
 */
int label_index_find(const struct label_index *index, const struct dict *dict,
        const struct selector *selector, uint32_t series_count, uint32_t **ret_series,
        uint32_t *ret_count);

size_t label_index_memory(const struct label_index *index);
