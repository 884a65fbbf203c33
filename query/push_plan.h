#pragma once

/*
 * push_plan cuts a batch of any size into sections that each fit one PUSH, even into a session that
 * knows nothing yet: so a section can be sent again, under the same id and with the same content,
 * after its session was lost. A section holds rows of one shard only.
 *
 * Pure: decides, sends nothing.
 */

#include <stdint.h>

#include "core/auto.h"
#include "profile/batch.h"

struct push_plan_limits {
	uint64_t bytes_max; /* of a PUSH that carries one section and its whole dictionary */
	uint32_t nodes_max; /* of a session */
	uint32_t shards;
	const char *tenant;
};

/* Rows [rows_first, rows_first + rows_count) of the batch, and likewise coverage. */
struct push_section {
	uint32_t rows_first;
	uint32_t rows_count;
	uint32_t coverage_first;
	uint32_t coverage_count;
	uint16_t shard;
	uint64_t seq; /* from 1 per shard */
};

struct push_plan {
	struct push_section *sections;
	uint32_t count;
};

/* The batch must be settled. -E2BIG: a single stack is larger than a PUSH may be. -ENOMEM. */
int push_plan_make(
        const struct batch *batch, struct push_plan_limits limits, struct push_plan *ret_plan);
void push_plan_fini(struct push_plan *plan);

/* Copies one section into an empty batch of another dict. As dict_remap_node(). */
int push_plan_copy(const struct batch *from, const struct push_section *section,
        struct dict_remap *remap, struct batch *to);
