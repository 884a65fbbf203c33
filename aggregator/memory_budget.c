/*
 * Shares are of the sum of all. The least of each part is what it needs to work at all, slowly: a
 * budget that is smaller than all of them together is refused rather than exceeded.
 */

#include "aggregator/memory_budget.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB            (UINT64_C(1) << 20)
#define BUDGET_PARTS   13
#define CGROUP_MAX     "/sys/fs/cgroup/memory.max"
#define CGROUP_MAX_OLD "/sys/fs/cgroup/memory/memory.limit_in_bytes"

struct part {
	uint64_t *to;
	uint64_t named; /* 0: a share */
	uint32_t share; /* of what all have */
	uint64_t least;
	uint64_t most; /* of a share: more would be of no use */
	uint32_t count;
};

/* The limit of a cgroup as the kernel prints it; UINT64_MAX for "max" or no such file. */
static uint64_t read_limit(const char *path)
{
	FILE *file = fopen(path, "re");
	uint64_t limit = UINT64_MAX;
	if (!file)
		return limit;
	uint64_t value;
	if (fscanf(file, "%" SCNu64, &value) == 1)
		limit = value;
	(void)fclose(file);
	return limit;
}

uint64_t memory_budget_of_machine(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	long page_bytes = sysconf(_SC_PAGESIZE);
	uint64_t bytes = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes
	                                             : 4096 * MIB;
	uint64_t limit = read_limit(CGROUP_MAX);
	uint64_t limit_old = read_limit(CGROUP_MAX_OLD);
	bytes = limit < bytes ? limit : bytes;
	bytes = limit_old < bytes ? limit_old : bytes;
	return bytes / 2;
}

/* The least first, then its share of what is left when everybody has his least. */
static uint64_t part_share(const struct part *part, uint64_t left, uint32_t shares)
{
	uint64_t bytes = part->least + left / shares * part->share;
	return bytes > part->most ? part->most : bytes;
}

static int parts_divide(
        const struct part *parts, uint64_t total, char *ret_error, size_t error_bytes)
{
	uint64_t named = 0;
	uint64_t least = 0;
	uint32_t shares = 0;
	uint64_t sum = 0;
	for (size_t i = 0; i < BUDGET_PARTS; i++) {
		uint64_t all;
		if (__builtin_mul_overflow(parts[i].named, parts[i].count, &all) ||
		        __builtin_add_overflow(named, all, &named))
			named = UINT64_MAX;
		if (parts[i].named)
			continue;
		shares += parts[i].share;
		least += parts[i].least;
	}
	uint64_t left = named < total && least < total - named ? total - named - least : 0;
	for (size_t i = 0; i < BUDGET_PARTS; i++) {
		uint64_t bytes = parts[i].named ? parts[i].named * parts[i].count
		                                : part_share(&parts[i], left, shares);
		*parts[i].to = bytes / parts[i].count;
		sum += bytes;
	}
	if (named < total && sum <= total)
		return 0;
	if (named == 0)
		snprintf(ret_error, error_bytes,
		        "memory: %" PRIu64 " MiB are too few: the parts need %" PRIu64
		        " MiB to work at all, 4 MiB of it for each of query-threads: raise memory, "
		        "or take fewer query-threads",
		        total / MIB, sum / MIB);
	else
		snprintf(ret_error, error_bytes,
		        "memory: %" PRIu64 " MiB are too few: %" PRIu64
		        " MiB are given by name (ingest-queue-bytes, session-memory, "
		        "result-memory, name-memory, query-threads times query-memory, "
		        "block-cache, symbol-cache), and the other parts need %" PRIu64
		        " MiB to work at all: raise memory, or lower one of these",
		        total / MIB, named == UINT64_MAX ? named : named / MIB, least / MIB);
	return -EINVAL;
}

int memory_budget_divide(const struct aggregator_config *config, struct memory_budget *ret_budget,
        char *ret_error, size_t error_bytes)
{
	struct memory_budget budget = {
		.total = config->memory ? config->memory : memory_budget_of_machine(),
	};
	const struct part parts[BUDGET_PARTS] = {
		{ &budget.ingest_queue, config->ingest_queue_bytes, 2, 8 * MIB, 256 * MIB, 1 },
		{ &budget.sessions, config->session_memory, 6, 8 * MIB, UINT64_MAX, 1 },
		{ &budget.results, config->result_memory, 4, 4 * MIB, 1024 * MIB, 1 },
		{ &budget.names, config->name_memory, 4, 4 * MIB, 4096 * MIB, 1 },
		{ &budget.query, config->query_memory, 16, 4 * MIB * config->query_threads,
		        UINT64_MAX, config->query_threads },
		{ &budget.block_cache, config->block_cache, 4, 4 * MIB, UINT64_MAX, 1 },
		{ &budget.symbols, config->symbol_cache, 4, 4 * MIB, UINT64_MAX, 1 },
		{ &budget.dictionary, 0, 10, 8 * MIB, UINT64_MAX, 1 },
		{ &budget.old_dictionaries, 0, 6, 8 * MIB, UINT64_MAX, 1 },
		{ &budget.open_sums, 0, 2, 4 * MIB, 1024 * MIB, 1 },
		{ &budget.sealing, 0, 4, 8 * MIB, 512 * MIB, 1 },
		{ &budget.write_buffers, 0, 2, 8 * MIB, 64 * MIB, 1 },
		{ &budget.idle_heap, 0, 1, 1 * MIB, 4 * MIB, 1 },
	};
	int r = parts_divide(parts, budget.total, ret_error, error_bytes);
	if (r == 0)
		*ret_budget = budget;
	return r;
}
