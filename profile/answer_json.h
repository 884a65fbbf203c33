#pragma once

/*
 * What JSON says of an answer's completeness wherever it does: names are in docs/formats/json.md.
 */

#include "core/json.h"
#include "profile/answer.h"

/* Members of the object that is open: which windows the range cuts; and how many batches could not
 * be read, and which. */
void answer_json_edges(const struct completeness *completeness, struct json_writer *json);
/* What of it tells stacks apart by functions alone. */
void answer_json_collapsed(const struct completeness *completeness, struct json_writer *json);
void answer_json_unreadable(const struct completeness *completeness, struct json_writer *json);
