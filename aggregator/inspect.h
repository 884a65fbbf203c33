#pragma once

/*
 * inspect answers the questions that are not about stacks, as JSON text (docs/formats/json.md):
 * which series, labels and agents there are.
 */

#include "core/buf.h"
#include "core/clock.h"
#include "profile/wire.h"
#include "storage/store.h"

/* Errors as of answer_build(), with text. */
int inspect_series(struct store *store, const struct wire_query *query, const bool *cancelled,
        struct buf *to, char *ret_error, size_t error_bytes);
int inspect_labels(struct store *store, const struct wire_query *query, const bool *cancelled,
        struct buf *to, char *ret_error, size_t error_bytes);
int inspect_agents(struct store *store, struct clock *clock, struct buf *to, char *ret_error,
        size_t error_bytes);
