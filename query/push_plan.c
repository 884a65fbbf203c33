/*
 * The size of a section is bounded from above by what each of its parts can take at most when it is
 * encoded; a part counts once per section, which stamps of the current section's number remember.
 *
 * Rows are sorted by series, so shards change only where the series does.
 */

#include "query/push_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "profile/wire.h"

/* At most this many bytes each, varints at their longest. */
#define COST_MESSAGE 4096 /* header, counts, state */
#define COST_STRING  5
#define COST_MODULE  50
#define COST_FRAME   80
#define COST_NODE    10
#define COST_SERIES  32
#define COST_LABEL   10
#define COST_ROW     20
#define COST_COVERED 20

#define PUSH_STACKS_AT_ONCE 256

struct push_costs {
	const struct dict *dict;
	uint32_t section; /* stamp of the current one, from 1 */
	uint32_t *strings;
	uint32_t *modules;
	uint32_t *frames;
	uint32_t *nodes;
	uint32_t *series;
	uint64_t bytes; /* of the current section */
	uint32_t nodes_count;
};

static void push_costs_fini(struct push_costs *costs)
{
	free(costs->strings);
	free(costs->modules);
	free(costs->frames);
	free(costs->nodes);
	free(costs->series);
}

static int push_costs_init(struct push_costs *costs, const struct dict *dict)
{
	struct dict_mark mark = dict_mark(dict);
	*costs = (struct push_costs){
		.dict = dict,
		.strings = calloc((size_t)mark.strings + 1, sizeof(uint32_t)),
		.modules = calloc((size_t)mark.modules + 1, sizeof(uint32_t)),
		.frames = calloc((size_t)mark.frames + 1, sizeof(uint32_t)),
		.nodes = calloc((size_t)mark.nodes + 1, sizeof(uint32_t)),
		.series = calloc((size_t)mark.series + 1, sizeof(uint32_t)),
	};
	if (costs->strings && costs->modules && costs->frames && costs->nodes && costs->series)
		return 0;
	push_costs_fini(costs);
	return -ENOMEM;
}

static bool push_costs_is_new(const struct push_costs *costs, uint32_t *stamps, uint32_t id)
{
	if (stamps[id] == costs->section)
		return false;
	stamps[id] = costs->section;
	return true;
}

static void push_costs_string(struct push_costs *costs, uint32_t id)
{
	size_t count;
	if (!push_costs_is_new(costs, costs->strings, id))
		return;
	(void)dict_get_string(costs->dict, id, &count);
	costs->bytes += COST_STRING + count;
}

static void push_costs_frame(struct push_costs *costs, uint32_t id)
{
	if (!push_costs_is_new(costs, costs->frames, id))
		return;
	struct frame frame = dict_get_frame(costs->dict, id);
	costs->bytes += COST_FRAME;
	push_costs_string(costs, frame.function);
	push_costs_string(costs, frame.system_name);
	push_costs_string(costs, frame.file);
	if (push_costs_is_new(costs, costs->modules, frame.module)) {
		const struct module *module = dict_get_module(costs->dict, frame.module);
		costs->bytes += COST_MODULE;
		push_costs_string(costs, module->name);
		push_costs_string(costs, module->build_id);
	}
}

static void push_costs_series(struct push_costs *costs, uint32_t id)
{
	if (!push_costs_is_new(costs, costs->series, id))
		return;
	const struct series *series = dict_get_series(costs->dict, id);
	const struct label *labels = dict_get_labels(costs->dict, id);
	costs->bytes += COST_SERIES + COST_COVERED;
	push_costs_string(costs, series->type);
	push_costs_string(costs, series->unit);
	for (uint32_t i = 0; i < series->labels_count; i++) {
		costs->bytes += COST_LABEL;
		push_costs_string(costs, labels[i].name);
		push_costs_string(costs, labels[i].value);
	}
}

static void push_costs_row(struct push_costs *costs, const struct row *row)
{
	costs->bytes += COST_ROW;
	push_costs_series(costs, row->series);
	for (uint32_t node = row->node; node != DICT_NODE_ROOT;) {
		if (!push_costs_is_new(costs, costs->nodes, node))
			break;
		struct node step = dict_get_node(costs->dict, node);
		costs->bytes += COST_NODE;
		costs->nodes_count++;
		push_costs_frame(costs, step.frame);
		node = step.parent;
	}
}

static void push_costs_begin(struct push_costs *costs)
{
	costs->section++;
	costs->bytes = COST_MESSAGE;
	costs->nodes_count = 1;
}

static uint16_t push_plan_shard(
        const struct dict *dict, uint32_t series, const struct push_plan_limits *limits)
{
	uint32_t service = dict_find_string(dict, "service", strlen("service"));
	uint32_t value = service == ID_NONE ? 0 : dict_label_value(dict, series, service);
	return wire_shard(limits->tenant, dict_text(dict, value), limits->shards);
}

static int push_plan_append(struct push_plan *plan, struct push_section section)
{
	struct push_section *sections = reallocarray(
	        plan->sections, (size_t)plan->count + 1, sizeof(*sections));
	if (!sections)
		return -ENOMEM;
	plan->sections = sections;
	section.seq = 1;
	for (uint32_t i = plan->count; i-- > 0;)
		if (sections[i].shard == section.shard) {
			section.seq = sections[i].seq + 1;
			break;
		}
	sections[plan->count++] = section;
	return 0;
}

/* What comes next: coverage of a series stands before its rows. */
struct push_step {
	const struct coverage *coverage; /* or NULL, and then */
	const struct row *row;
	uint32_t series;
};

static struct push_step push_step_at(const struct batch *batch, uint32_t row, uint32_t coverage)
{
	bool rows_left = row < batch->rows_count;
	if (coverage < batch->coverage_count &&
	        (!rows_left || batch->coverage[coverage].series <= batch->rows[row].series))
		return (struct push_step){
			.coverage = &batch->coverage[coverage],
			.series = batch->coverage[coverage].series,
		};
	return (struct push_step){ .row = &batch->rows[row], .series = batch->rows[row].series };
}

/* False when the section is past a limit now. */
static bool push_costs_step(struct push_costs *costs, const struct push_step *step,
        const struct push_plan_limits *limits)
{
	if (step->row)
		push_costs_row(costs, step->row);
	else
		push_costs_series(costs, step->series);
	return costs->bytes <= limits->bytes_max && costs->nodes_count <= limits->nodes_max;
}

/* Puts the row or the coverage that is next into the section. */
static void push_section_take(struct push_section *section, const struct push_step *step,
        uint32_t *row, uint32_t *coverage)
{
	if (step->row) {
		if (section->rows_count++ == 0)
			section->rows_first = *row;
		(*row)++;
	} else {
		if (section->coverage_count++ == 0)
			section->coverage_first = *coverage;
		(*coverage)++;
	}
}

static bool push_section_is_empty(const struct push_section *section)
{
	return section->rows_count == 0 && section->coverage_count == 0;
}

static int push_plan_walk(const struct batch *batch, const struct push_plan_limits *limits,
        struct push_costs *costs, struct push_plan *plan)
{
	struct push_section section = { 0 };
	uint32_t row = 0, coverage = 0, series = SERIES_NONE;
	uint16_t shard = 0;

	push_costs_begin(costs);
	while (row < batch->rows_count || coverage < batch->coverage_count) {
		struct push_step step = push_step_at(batch, row, coverage);
		bool empty = push_section_is_empty(&section);
		if (step.series != series)
			shard = push_plan_shard(batch->dict, step.series, limits);
		series = step.series;

		bool fits = empty || shard == section.shard;
		fits = fits && push_costs_step(costs, &step, limits);
		if (!fits && !empty) {
			if (push_plan_append(plan, section) < 0)
				return -ENOMEM;
			section = (struct push_section){ 0 };
			push_costs_begin(costs);
			fits = push_costs_step(costs, &step, limits);
		}
		if (!fits)
			return -E2BIG;

		section.shard = shard;
		push_section_take(&section, &step, &row, &coverage);
	}
	return push_section_is_empty(&section) ? 0 : push_plan_append(plan, section);
}

int push_plan_make(
        const struct batch *batch, struct push_plan_limits limits, struct push_plan *ret_plan)
{
	struct push_costs costs;
	int result = push_costs_init(&costs, batch->dict);
	if (result < 0)
		return result;

	struct push_plan plan = { 0 };
	result = push_plan_walk(batch, &limits, &costs, &plan);
	push_costs_fini(&costs);
	if (result < 0) {
		push_plan_fini(&plan);
		return result;
	}
	*ret_plan = plan;
	return 0;
}

void push_plan_fini(struct push_plan *plan)
{
	free(plan->sections);
	*plan = (struct push_plan){ 0 };
}

/* All stacks of the section, which are fewer than its rows; together they are soon carried over. */
static int push_plan_copy_stacks(
        const struct batch *from, const struct push_section *section, struct dict_remap *remap)
{
	uint32_t nodes[PUSH_STACKS_AT_ONCE];
	uint32_t count = 0;
	int result = 0;
	for (uint32_t i = 0; i < section->rows_count && result == 0; i++) {
		nodes[count++] = from->rows[section->rows_first + i].node;
		if (count < PUSH_STACKS_AT_ONCE)
			continue;
		result = dict_remap_nodes(remap, nodes, count);
		count = 0;
	}
	return result < 0 ? result : dict_remap_nodes(remap, nodes, count);
}

int push_plan_copy(const struct batch *from, const struct push_section *section,
        struct dict_remap *remap, struct batch *to)
{
	uint32_t series = SERIES_NONE, node;
	int result = push_plan_copy_stacks(from, section, remap);

	to->start_ns = from->start_ns;
	to->duration_ns = from->duration_ns;
	for (uint32_t i = 0; i < section->rows_count && result == 0; i++) {
		const struct row *row = &from->rows[section->rows_first + i];
		result = dict_remap_series(remap, row->series, &series);
		if (result == 0)
			result = dict_remap_node(remap, row->node, &node);
		if (result == 0)
			result = batch_add_row(to, series, node, row->value);
	}
	for (uint32_t i = 0; i < section->coverage_count && result == 0; i++) {
		const struct coverage *coverage = &from->coverage[section->coverage_first + i];
		result = dict_remap_series(remap, coverage->series, &series);
		if (result == 0)
			result = batch_add_coverage(to, series, coverage->ns);
	}
	return result == 0 ? batch_settle(to) : result;
}
