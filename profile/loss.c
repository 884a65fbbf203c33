/*
 * The names are in logs, metrics, JSON and on screens: a name stays what it is. A reason without a
 * row here does not compile.
 */

#include "profile/loss.h"

#include <assert.h>
#include <stddef.h>

#include "core/auto.h"

static const char *const loss_reason_names[] = {
	[LOSS_RING_FULL] = "ring_full",
	[LOSS_PERF_LOST] = "perf_lost",
	[LOSS_AGENT_MEMORY] = "agent_memory",
	[LOSS_SPOOL_FULL] = "spool_full",
	[LOSS_REJECTED] = "rejected",
	[LOSS_THROTTLED] = "throttled",
	[LOSS_MALFORMED] = "malformed",
	[LOSS_LATE] = "late",
};

static_assert(COUNT_OF(loss_reason_names) == LOSS_REASON_MAX + 1, "every reason has a name");
static_assert(LOSS_FOLDED > LOSS_REASON_MAX, "what is not lost has no place among what is");

const char *loss_reason_name(uint32_t reason)
{
	return reason < COUNT_OF(loss_reason_names) ? loss_reason_names[reason] : NULL;
}

bool loss_is_lost(uint32_t reason, bool has_series)
{
	/* What is nobody's has no row that could be meant. */
	return reason != LOSS_FOLDED || !has_series;
}
