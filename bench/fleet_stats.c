/*
 * Two arrays by the tree's node: how many rows it is the stack of, and which instance was the first
 * to have it, or that there were two.
 *
 * The hash of all rows is a sum of each row's, so that it says which rows there are and nothing of
 * their order; it stands on the hashes of paths, not on the numbers of nodes, which depend on what
 * was drawn first.
 */

#include "bench/fleet_stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/fleet_number.h"

#define STATS_SEVERAL UINT32_MAX

struct stats_stack {
	uint32_t rows;
	uint32_t owner; /* 0 none, an instance's place in the order of births + 1, or several */
};

struct fleet_stats {
	const struct fleet *fleet;
	struct fleet_figures figures;
	struct stats_stack *stacks;
	uint32_t stacks_capacity;
	uint32_t *owners;  /* by slot: the owner number of its instance */
	uint32_t *numbers; /* by slot: the instance's number + 1 */
	uint32_t *sorted;
	uint32_t sorted_capacity;
};

struct fleet_stats *fleet_stats_new(const struct fleet *fleet)
{
	AUTO(fleet_stats) stats = calloc(1, sizeof(*stats));
	if (!stats)
		return NULL;
	stats->fleet = fleet;
	stats->owners = calloc(fleet_slots(fleet), sizeof(*stats->owners));
	stats->numbers = calloc(fleet_slots(fleet), sizeof(*stats->numbers));
	if (!stats->owners || !stats->numbers)
		return NULL;
	return TAKE(stats);
}

void fleet_stats_free(struct fleet_stats *stats)
{
	if (!stats)
		return;
	free(stats->stacks);
	free(stats->owners);
	free(stats->numbers);
	free(stats->sorted);
	free(stats);
}

static int stats_make_room(struct fleet_stats *stats, uint32_t samples)
{
	uint32_t nodes = fleet_tree_nodes(fleet_tree_of(stats->fleet));
	if (nodes > stats->stacks_capacity) {
		uint32_t capacity = nodes + nodes / 2;
		struct stats_stack *stacks = realloc(stats->stacks, capacity * sizeof(*stacks));
		if (!stacks)
			return -ENOMEM;
		memset(stacks + stats->stacks_capacity, 0,
		        (capacity - stats->stacks_capacity) * sizeof(*stacks));
		stats->stacks = stacks;
		stats->stacks_capacity = capacity;
	}
	if (samples > stats->sorted_capacity) {
		uint32_t *sorted = realloc(stats->sorted, samples * sizeof(*sorted));
		if (!sorted)
			return -ENOMEM;
		stats->sorted = sorted;
		stats->sorted_capacity = samples;
	}
	return 0;
}

static int stats_compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a;
	uint32_t right = *(const uint32_t *)b;
	return (left > right) - (left < right);
}

static uint32_t stats_owner(struct fleet_stats *stats, const struct fleet_instance *instance)
{
	if (stats->numbers[instance->slot] != instance->number + 1) {
		stats->numbers[instance->slot] = instance->number + 1;
		stats->owners[instance->slot] = ++stats->figures.instances;
	}
	return stats->owners[instance->slot];
}

static void stats_add_row(struct fleet_stats *stats, const struct fleet_report *report,
        uint32_t owner, uint32_t stack, uint32_t value)
{
	struct fleet_figures *figures = &stats->figures;
	struct stats_stack *its = &stats->stacks[stack];
	struct fleet_node node = fleet_tree_node(fleet_tree_of(stats->fleet), stack);
	uint32_t version = report->instance.version;
	figures->rows++;
	figures->rows_of_one += value == 1;
	figures->depths += node.depth;
	figures->samples += value;
	figures->version_samples[version] += value;
	if (node.code.function == FLEET_CHANGED_FUNCTION)
		figures->version_changed[version] += value;
	uint64_t row = fleet_mix(fleet_mix(report->start_ns, report->instance.slot), node.hash);
	figures->rows_hash += fleet_mix(fleet_mix(row, report->instance.number), value);
	its->rows++;
	if (its->owner == 0)
		its->owner = owner;
	else if (its->owner != owner)
		its->owner = STATS_SEVERAL;
}

int fleet_stats_add(struct fleet_stats *stats, const struct fleet_report *report)
{
	uint32_t count = report->samples_count;
	int r = stats_make_room(stats, count);
	if (r < 0)
		return r;
	uint32_t owner = stats_owner(stats, &report->instance);
	stats->figures.reports++;
	stats->figures.version_reports[report->instance.version]++;
	memcpy(stats->sorted, report->samples, count * sizeof(*stats->sorted));
	qsort(stats->sorted, count, sizeof(*stats->sorted), stats_compare);
	for (uint32_t i = 0; i < count;) {
		uint32_t first = i;
		while (i < count && stats->sorted[i] == stats->sorted[first])
			i++;
		stats_add_row(stats, report, owner, stats->sorted[first], i - first);
	}
	return 0;
}

struct fleet_figures fleet_stats_figures(const struct fleet_stats *stats)
{
	struct fleet_figures figures = stats->figures;
	for (uint32_t i = 0; i < stats->stacks_capacity; i++) {
		const struct stats_stack *stack = &stats->stacks[i];
		figures.stacks += stack->rows > 0;
		if (stack->owner == STATS_SEVERAL) {
			figures.stacks_shared++;
			figures.rows_shared += stack->rows;
		}
	}
	return figures;
}
