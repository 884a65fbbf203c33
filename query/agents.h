#pragma once

/* agents is what `profleet agents` and `profleet doctor` both read out of the aggregator's list. */

#include <jansson.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/clock.h"

/* Six intervals of the default length: a shorter silence may be a lost connection. */
#define AGENTS_SILENT_NS (60 * NS_PER_S)

/* Samples lost by all reasons; with `reasons`, "ring_full 12, spool_full 3" is appended to it. */
uint64_t agents_lost(const json_t *agent, struct buf *reasons);
