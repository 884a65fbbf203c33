#pragma once

/*
 * metrics writes what the aggregator counts, for Prometheus and for `profleet doctor`. Every
 * counter stands in one table, so that none is in one place and not in the other.
 */

#include "aggregator/admin.h"
#include "aggregator/ingest.h"
#include "aggregator/keeper.h"
#include "aggregator/query_pool.h"
#include "aggregator/sealer.h"
#include "core/buf.h"
#include "storage/store.h"

struct metrics_source {
	struct store *store;
	struct ingest *ingest;
	struct query_pool *queries;
	struct keeper *keeper;
	struct admin *admin;
	struct sealer *sealer;
	struct clock *clock;
	uint64_t started_ns; /* monotonic */
	const char *program;
	const char *data;
};

/* Prometheus text format 0.0.4. */
void metrics_write_text(const struct metrics_source *source, struct buf *to);

/* {"schema_version":1,"status":{...}} (docs/formats/json.md). */
void metrics_write_json(const struct metrics_source *source, struct buf *to);

/*
 * What is to be looked at although all goes on, as text behind "ok": ": 3 blocks unreadable ...".
 * Empty when there is nothing.
 */
#define METRICS_REMARK_BYTES 128
void metrics_remark(const struct metrics_source *source, char ret_text[METRICS_REMARK_BYTES]);

/* If not, one sentence says what is wrong, where, and what happens meanwhile. */
#define METRICS_HEALTH_BYTES 4352
bool metrics_is_healthy(
        const struct metrics_source *source, char *ret_unhealthy, size_t unhealthy_bytes);
