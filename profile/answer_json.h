#pragma once

/*
 * What JSON says of an answer's completeness wherever it does: names are in docs/formats/json.md.
 */

#include "core/json.h"
#include "profile/answer.h"

/* Members of the object that is open: how many batches could not be read, and which. */
void answer_json_unreadable(const struct completeness *completeness, struct json_writer *json);
