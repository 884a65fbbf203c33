/*
 * The series are matched once, for the whole range, which is then summed in one pass by steps.
 * Steps begin at multiples of their length, so that windows can answer whole ones; the first and
 * the last are cut by the range. Where windows are left alone that a step would cut, what they hold
 * is in no step for certain: then shorter steps are taken, which begin and end with windows.
 *
 * Stacks are marked before by whether the function is on them, as far as their names are remembered
 * from other questions. The pass tells of rows on others, which are named and added behind it.
 * Where those are too many, the stacks of the range are found by a plain sum of it, and it begins
 * anew.
 */

#include "aggregator/answer_timeline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/answer_sum.h"
#include "core/json.h"
#include "profile/answer_json.h"

/* Rows of stacks without a mark that are named one by one; with more the stacks are found first. */
#define TIMELINE_UNKNOWN_MAX 1024

struct step {
	uint64_t from_ns, to_ns;
	uint64_t resolution_ns; /* of the widest window in it */
	uint64_t cut_ns;        /* of the widest that may have something of other steps */
};

struct timeline {
	struct naming_source source;
	struct store *store;
	struct named_stacks *stacks;
	const struct wire_query *query;
	const struct answer_build_options *options;
	char function[WIRE_TEXT_BYTES_MAX + 1];
	struct dict *dict; /* of the groups' series */
	struct answer_sum sum;
	uint64_t step_ns; /* as asked for, or shorter */
	struct step *steps;
	uint32_t steps_count;
	struct store_steps values; /* by step and group */
	uint32_t groups;
	struct store_marks *marks; /* of each part; NULL: nobody asks for a function */
	uint64_t marks_bytes;
	size_t stacks_before;
};

static void timeline_fini(struct timeline *timeline)
{
	for (uint32_t i = 0; timeline->marks && i < timeline->sum.match->parts_count; i++)
		free((void *)timeline->marks[i].by_node);
	free(timeline->marks);
	answer_sum_fini(&timeline->sum);
	dict_free(timeline->dict);
	free(timeline->steps);
	store_steps_fini(&timeline->values);
}

static const struct symbols *timeline_find(struct naming_source *source, const char *build_id)
{
	return store_symbols_find(((struct timeline *)source)->store, build_id);
}

static int timeline_pause(struct naming_source *source)
{
	struct timeline *timeline = (struct timeline *)source;
	size_t stacks = named_stacks_memory(timeline->stacks);
	return answer_pause(timeline->store, timeline->options,
	        answer_sum_bytes(&timeline->sum) + timeline->marks_bytes +
	                (stacks > timeline->stacks_before ? stacks - timeline->stacks_before : 0));
}

static int timeline_cut(struct timeline *timeline, char *ret_error, size_t error_bytes)
{
	const struct wire_query_side *side = &timeline->query->sides[0];
	uint64_t step_ns = timeline->step_ns;
	uint64_t count = (side->to_ns - 1) / step_ns - side->from_ns / step_ns + 1;
	if (count > ANSWER_TIMELINE_STEPS_MAX) {
		snprintf(ret_error, error_bytes,
		        "the range has %llu steps, and a timeline at most %d: take longer steps",
		        (unsigned long long)count, ANSWER_TIMELINE_STEPS_MAX);
		return -EINVAL;
	}
	free(timeline->steps);
	timeline->steps = calloc(count, sizeof(*timeline->steps));
	if (!timeline->steps)
		return -ENOMEM;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t from_ns = (side->from_ns / step_ns + i) * step_ns;
		uint64_t to_ns = from_ns + step_ns;
		timeline->steps[i] = (struct step){
			.from_ns = from_ns > side->from_ns ? from_ns : side->from_ns,
			.to_ns = to_ns < side->to_ns && to_ns > from_ns ? to_ns : side->to_ns,
		};
	}
	timeline->steps_count = (uint32_t)count;
	return 0;
}

/* ---- which stacks the function is on ---- */

/* Room for what the part's dict has come to hold; what is new is unknown. */
static int timeline_grow_marks(struct timeline *timeline, uint32_t part)
{
	struct store_marks *marks = &timeline->marks[part];
	uint32_t count = dict_mark(timeline->sum.match->parts[part].dict).nodes;
	if (count <= marks->count)
		return 0;
	if (timeline->marks_bytes + count > timeline->options->memory_max)
		return -E2BIG;
	uint8_t *grown = realloc((void *)marks->by_node, count);
	if (!grown)
		return -ENOMEM;
	memset(grown + marks->count, STORE_MARK_UNKNOWN, count - marks->count);
	timeline->marks_bytes += count - marks->count;
	*marks = (struct store_marks){ grown, count };
	return 0;
}

static int timeline_mark(
        struct timeline *timeline, uint32_t part, const struct store_sum_row *rows, uint32_t count)
{
	const struct store_match_part *of = &timeline->sum.match->parts[part];
	struct named_stacks_rows stacks = {
		.generation = of->generation, .dict = of->dict, .rows = rows, .count = count
	};
	int r = timeline_grow_marks(timeline, part);
	const struct store_marks *marks = &timeline->marks[part];
	return r < 0 ? r
	             : named_stacks_mark(timeline->stacks, &timeline->source, timeline->function,
	                       stacks, (uint8_t *)marks->by_node, marks->count);
}

static void timeline_enter(struct timeline *timeline)
{
	named_stacks_enter(timeline->stacks);
	timeline->stacks_before = named_stacks_memory(timeline->stacks);
	store_read_lock(timeline->store);
}

static void timeline_leave(struct timeline *timeline)
{
	store_read_unlock(timeline->store);
	named_stacks_leave(timeline->stacks);
}

static struct store_sum_options timeline_sum_options(const struct timeline *timeline)
{
	return (struct store_sum_options){
		.match = timeline->sum.match,
		.memory_max = timeline->options->memory_max,
		.cancelled = timeline->options->cancelled,
	};
}

/* The stacks of the range, of all groups together. */
static int timeline_sum_stacks(struct timeline *timeline)
{
	const struct store_match *match = timeline->sum.match;
	autofree uint32_t *groups = calloc(match->series_count + UINT64_C(1), sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	struct store_sum_options options = timeline_sum_options(timeline);
	options.from_ns = timeline->query->sides[0].from_ns;
	options.to_ns = timeline->query->sides[0].to_ns;
	options.groups = groups;
	return store_sum(timeline->store, &options, &timeline->sum.sum);
}

/* What is remembered; with a sum, also its stacks. */
static int timeline_mark_parts(struct timeline *timeline)
{
	const struct store_match *match = timeline->sum.match;
	const struct store_sum *sum = &timeline->sum.sum;
	int r = 0;
	timeline_enter(timeline);
	for (uint32_t part = 0; part < match->parts_count && r == 0; part++) {
		bool has_rows = part < sum->parts_count;
		if (match->parts[part].series_count)
			r = timeline_mark(timeline, part, has_rows ? sum->parts[part].rows : NULL,
			        has_rows ? sum->parts[part].rows_count : 0);
	}
	timeline_leave(timeline);
	return r;
}

static int timeline_mark_known(struct timeline *timeline)
{
	timeline->marks = calloc(
	        timeline->sum.match->parts_count + UINT64_C(1), sizeof(*timeline->marks));
	return timeline->marks ? timeline_mark_parts(timeline) : -ENOMEM;
}

static int timeline_mark_all(struct timeline *timeline)
{
	int r = timeline_sum_stacks(timeline);
	if (r == 0)
		r = timeline_mark_parts(timeline);
	store_sum_fini(&timeline->sum.sum);
	return r;
}

/* ---- the steps ---- */

/* The stacks of a part that the pass did not know, in the order in which it met them. */
static int timeline_mark_unknown(struct timeline *timeline, uint32_t part)
{
	const struct store_steps *from = &timeline->values;
	uint32_t count = 0;
	autofree struct store_sum_row *rows = calloc(from->unknown_count, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	for (uint32_t i = 0; i < from->unknown_count; i++)
		if (from->unknown[i].part == part)
			rows[count++].node = from->unknown[i].node;
	return count ? timeline_mark(timeline, part, rows, count) : 0;
}

static int timeline_add_unknown(struct timeline *timeline)
{
	const struct store_steps *from = &timeline->values;
	int r = 0;
	if (from->unknown_count == 0)
		return 0;
	timeline_enter(timeline);
	for (uint32_t part = 0; part < timeline->sum.match->parts_count && r == 0; part++)
		r = timeline_mark_unknown(timeline, part);
	timeline_leave(timeline);
	for (uint32_t i = 0; i < from->unknown_count && r == 0; i++) {
		const struct store_step_row *row = &from->unknown[i];
		const struct store_marks *marks = &timeline->marks[row->part];
		/* It is part of the step's value, which fits. */
		if (marks->by_node[row->node] == STORE_MARK_YES)
			from->values[(size_t)row->step * timeline->groups + row->group].marked +=
			        row->value;
	}
	return r;
}

/* Of the second pass: what has come since it was marked. */
static uint32_t timeline_rows_max(const struct timeline *timeline)
{
	uint64_t rows = timeline->options->memory_max / sizeof(struct store_step_row);
	return rows < UINT32_MAX ? (uint32_t)rows : UINT32_MAX;
}

static int timeline_sum(struct timeline *timeline)
{
	autofree uint64_t *bounds = calloc(timeline->steps_count + UINT64_C(1), sizeof(*bounds));
	if (!bounds)
		return -ENOMEM;
	for (uint32_t i = 0; i < timeline->steps_count; i++)
		bounds[i] = timeline->steps[i].from_ns;
	bounds[timeline->steps_count] = timeline->query->sides[0].to_ns;
	struct store_steps_options options = {
		.sum = timeline_sum_options(timeline),
		.bounds_ns = bounds,
		.steps_count = timeline->steps_count,
		.groups_count = timeline->groups,
		.marks = timeline->marks,
		.unknown_max = TIMELINE_UNKNOWN_MAX,
	};
	options.sum.groups = timeline->sum.groups.of_series;
	options.sum.read_ns = timeline->options->read_ns;
	int r = store_sum_steps(timeline->store, &options, &timeline->values);
	if (r == -EAGAIN) {
		options.unknown_max = timeline_rows_max(timeline);
		r = timeline_mark_all(timeline);
		if (r == 0)
			r = store_sum_steps(timeline->store, &options, &timeline->values);
		r = r == -EAGAIN ? -E2BIG : r;
	}
	for (uint32_t i = 0; i < timeline->steps_count && r == 0; i++) {
		struct step *step = &timeline->steps[i];
		step->cut_ns = timeline->values.cut_ns[i];
		step->resolution_ns = timeline->values.resolution_ns[i];
		if (step->resolution_ns > timeline->step_ns) /* but all of it is here */
			step->resolution_ns = step->cut_ns;
	}
	return r < 0 ? r : timeline_add_unknown(timeline);
}

/*
 * The longest step, not longer than this one, that windows of this length are whole ones of, or
 * that is whole in them. Both begin at multiples of their length.
 */
static uint64_t timeline_fit(uint64_t step_ns, uint64_t wide_ns)
{
	if (step_ns >= wide_ns)
		return step_ns - step_ns % wide_ns;
	uint64_t parts = (wide_ns - 1) / step_ns + 1;
	while (wide_ns % parts)
		parts++;
	return wide_ns / parts;
}

/* As long as was asked for, or what no window that answered is cut by. */
static uint64_t timeline_fitting_step(const struct timeline *timeline)
{
	uint64_t step_ns = timeline->step_ns;
	for (uint32_t i = 0; i < timeline->steps_count; i++) {
		uint64_t wide_ns = timeline->steps[i].cut_ns;
		if (wide_ns && timeline_fit(step_ns, wide_ns) != step_ns)
			step_ns = timeline_fit(step_ns, wide_ns);
	}
	return step_ns;
}

/* In steps that cut no window. Each turn has shorter ones, and there are few lengths of windows. */
static int timeline_sum_fitting(struct timeline *timeline, char *ret_error, size_t error_bytes)
{
	const struct wire_query_side *side = &timeline->query->sides[0];
	uint64_t step_ns;
	int r = timeline_sum(timeline);
	while (r == 0 && (step_ns = timeline_fitting_step(timeline)) != timeline->step_ns) {
		timeline->step_ns = step_ns;
		store_steps_fini(&timeline->values);
		if (timeline->options->read_ns) /* the range is read once more */
			__atomic_sub_fetch(timeline->options->read_ns, side->to_ns - side->from_ns,
			        __ATOMIC_RELAXED);
		r = timeline_cut(timeline, ret_error, error_bytes);
		r = r < 0 ? r : timeline_sum(timeline);
	}
	return r;
}

/*
 * A window wider than a step counts where it begins, though what it holds is of all of it: the
 * steps behind that it reaches into become part of that step.
 */
static void timeline_widen(struct timeline *timeline)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < timeline->steps_count; kept++) {
		struct step step = timeline->steps[i];
		struct store_step_value *values = timeline->values.values;
		struct store_step_value *to = &values[(size_t)kept * timeline->groups];
		memmove(to, &values[(size_t)i * timeline->groups], timeline->groups * sizeof(*to));
		uint32_t next = i + 1;
		for (; next < timeline->steps_count; next++) {
			const struct step *other = &timeline->steps[next];
			uint64_t wide_ns = step.cut_ns;
			if (wide_ns <= timeline->step_ns ||
			        other->from_ns >= step.from_ns / wide_ns * wide_ns + wide_ns)
				break;
			const struct store_step_value *from =
			        &values[(size_t)next * timeline->groups];
			for (uint32_t group = 0; group < timeline->groups; group++) {
				to[group].value += from[group].value;
				to[group].marked += from[group].marked;
				to[group].coverage_ns += from[group].coverage_ns;
			}
			step.to_ns = other->to_ns;
			if (other->cut_ns > step.cut_ns)
				step.cut_ns = other->cut_ns;
			if (other->resolution_ns > step.resolution_ns)
				step.resolution_ns = other->resolution_ns;
		}
		timeline->steps[kept] = step;
		i = next;
	}
	timeline->steps_count = kept;
}

static void timeline_put_group(
        const struct timeline *timeline, uint32_t group, struct json_writer *json)
{
	const struct series *series = dict_get_series(timeline->dict, group);
	const struct label *labels = dict_get_labels(timeline->dict, group);
	json_object_begin(json);
	json_key_text(json, "type", dict_text(timeline->dict, series->type));
	json_key_text(json, "unit", dict_text(timeline->dict, series->unit));
	json_key(json, "labels");
	json_object_begin(json);
	for (uint32_t i = 0; i < series->labels_count; i++)
		json_key_text(json, dict_text(timeline->dict, labels[i].name),
		        dict_text(timeline->dict, labels[i].value));
	json_object_end(json);
	json_key(json, "steps");
	json_array_begin(json);
	for (uint32_t i = 0; i < timeline->steps_count; i++) {
		const struct step *step = &timeline->steps[i];
		const struct store_step_value *value =
		        &timeline->values.values[(size_t)i * timeline->groups + group];
		json_object_begin(json);
		json_key_u64(json, "from_ns", step->from_ns);
		json_key_u64(json, "to_ns", step->to_ns);
		json_key_u64(json, "value", value->value);
		if (*timeline->function)
			json_key_u64(json, "function", value->marked);
		json_key_u64(json, "coverage_ns", value->coverage_ns);
		json_key_u64(json, "resolution_ns", step->resolution_ns);
		json_object_end(json);
	}
	json_array_end(json);
	json_object_end(json);
}

/* What could not be read, as every answer names it. */
static void timeline_put_missing(const struct completeness *missing, struct json_writer *json)
{
	json_key(json, "completeness");
	json_object_begin(json);
	answer_json_unreadable(missing, json);
	answer_json_edges(missing, json);
	answer_json_collapsed(missing, json);
	json_object_end(json);
}

static void timeline_put(const struct timeline *timeline, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key_u64(&json, "schema_version", 1);
	json_key_u64(&json, "step_ns", timeline->step_ns);
	if (*timeline->function)
		json_key_text(&json, "function", timeline->function);
	json_key(&json, "series");
	json_array_begin(&json);
	for (uint32_t group = 0; group < timeline->groups; group++)
		timeline_put_group(timeline, group, &json);
	json_array_end(&json);
	timeline_put_missing(&timeline->values.missing, &json);
	json_object_end(&json);
}

static int timeline_match(struct timeline *timeline, char *ret_error, size_t error_bytes)
{
	const struct wire_query_side *side = &timeline->query->sides[0];
	int r = answer_sum_selector(
	        &side->selector, &timeline->sum.selector, ret_error, error_bytes);
	if (r == 0)
		r = timeline_cut(timeline, ret_error, error_bytes);
	if (r == 0)
		r = answer_sum_match(
		        timeline->store, timeline->query, side, timeline->dict, &timeline->sum);
	if (r < 0)
		return r;
	timeline->groups = dict_mark(timeline->dict).series;
	return 0;
}

int answer_timeline(struct store *store, struct named_stacks *stacks,
        const struct wire_query *query, const struct answer_build_options *options, struct buf *to,
        char *ret_error, size_t error_bytes)
{
	__attribute__((cleanup(timeline_fini))) struct timeline timeline = {
		.source = { .find = timeline_find, .pause = timeline_pause },
		.store = store,
		.stacks = stacks,
		.query = query,
		.options = options,
		.step_ns = query->step_ns,
		.dict = dict_new(dict_limits_default),
	};
	if (query->function.count)
		memcpy(timeline.function, query->function.bytes, query->function.count);
	int r = timeline.dict ? timeline_match(&timeline, ret_error, error_bytes) : -ENOMEM;
	if (r == 0 && *timeline.function)
		r = timeline_mark_known(&timeline);
	if (r == 0)
		r = timeline_sum_fitting(&timeline, ret_error, error_bytes);
	if (r < 0) {
		if (!*ret_error)
			snprintf(ret_error, error_bytes, "%s", answer_failure_text(r));
		return r;
	}
	timeline_widen(&timeline);
	timeline_put(&timeline, to);
	return 0;
}
