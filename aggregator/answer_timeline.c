/*
 * The series are matched once, for the whole range; then one sum for each step. Steps begin at
 * multiples of their length, so that windows can answer whole ones; the first and the last are cut
 * by the range.
 */

#include "aggregator/answer_timeline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/answer_sum.h"
#include "core/json.h"

/* What a group came to in a step. */
struct step_value {
	uint64_t value;
	uint64_t function;
	uint64_t coverage_ns;
};

struct step {
	uint64_t from_ns, to_ns;
	uint64_t resolution_ns; /* of the widest window in it */
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
	struct step *steps;
	uint32_t steps_count;
	struct step_value *values; /* by step and group */
	uint32_t groups;
	size_t stacks_before;
};

static void timeline_fini(struct timeline *timeline)
{
	answer_sum_fini(&timeline->sum);
	dict_free(timeline->dict);
	free(timeline->steps);
	free(timeline->values);
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
	        answer_sum_bytes(&timeline->sum) +
	                (stacks > timeline->stacks_before ? stacks - timeline->stacks_before : 0));
}

static int timeline_cut(struct timeline *timeline, char *ret_error, size_t error_bytes)
{
	const struct wire_query_side *side = &timeline->query->sides[0];
	uint64_t step_ns = timeline->query->step_ns;
	uint64_t count = (side->to_ns - 1) / step_ns - side->from_ns / step_ns + 1;
	if (count > ANSWER_TIMELINE_STEPS_MAX) {
		snprintf(ret_error, error_bytes,
		        "the range has %llu steps, and a timeline at most %d: take longer steps",
		        (unsigned long long)count, ANSWER_TIMELINE_STEPS_MAX);
		return -EINVAL;
	}
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

/* The values of one part's rows by group; those on stacks of the function need names. */
static int timeline_add_part(struct timeline *timeline, uint32_t part, struct step_value *values)
{
	const struct store_sum_part *from = &timeline->sum.sum.parts[part];
	const struct store_match_part *of = &timeline->sum.match->parts[part];
	int r = 0;
	for (uint32_t first = 0, end; first < from->rows_count && r == 0; first = end) {
		uint32_t group = from->rows[first].group;
		uint64_t all = 0;
		for (end = first; end < from->rows_count && from->rows[end].group == group; end++)
			all += from->rows[end].value;
		values[group].value += all;
		if (!*timeline->function)
			continue;
		struct named_stacks_value value;
		struct named_stacks_rows rows = { of->generation, of->dict, from->rows + first,
			end - first };
		r = named_stacks_add(timeline->stacks, &timeline->source, 0, rows);
		if (r == 0)
			r = named_stacks_value_of(timeline->stacks, timeline->function, &value);
		if (r == 0)
			values[group].function += value.function;
	}
	return r;
}

static int timeline_fold(struct timeline *timeline, struct step_value *values)
{
	int r = 0;
	if (*timeline->function) {
		named_stacks_enter(timeline->stacks);
		timeline->stacks_before = named_stacks_memory(timeline->stacks);
	}
	store_read_lock(timeline->store);
	for (uint32_t part = 0; part < timeline->sum.sum.parts_count && r == 0; part++)
		r = timeline_add_part(timeline, part, values);
	store_read_unlock(timeline->store);
	if (*timeline->function) {
		if (r < 0)
			named_stacks_clear(timeline->stacks);
		named_stacks_leave(timeline->stacks);
	}
	return r;
}

static int timeline_step(struct timeline *timeline, uint32_t index)
{
	struct step *step = &timeline->steps[index];
	struct step_value *values = &timeline->values[(size_t)index * timeline->groups];
	struct store_sum_options options = {
		.from_ns = step->from_ns,
		.to_ns = step->to_ns,
		.match = timeline->sum.match,
		.groups = timeline->sum.groups.of_series,
		.memory_max = timeline->options->memory_max,
		.cancelled = timeline->options->cancelled,
		.read_ns = timeline->options->read_ns,
	};
	store_sum_fini(&timeline->sum.sum);
	timeline->sum.sum = (struct store_sum){ 0 };
	int r = store_sum(timeline->store, &options, &timeline->sum.sum);
	if (r == 0)
		r = timeline_fold(timeline, values);
	if (r < 0)
		return r;
	step->resolution_ns = timeline->sum.sum.completeness.resolution_coarsest_ns;
	for (uint32_t i = 0; i < timeline->sum.match->series_count; i++)
		values[timeline->sum.groups.of_series[i]].coverage_ns +=
		        timeline->sum.sum.coverage_ns[i];
	return 0;
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
		struct step_value *to = &timeline->values[(size_t)kept * timeline->groups];
		memmove(to, &timeline->values[(size_t)i * timeline->groups],
		        timeline->groups * sizeof(*to));
		uint32_t next = i + 1;
		for (; next < timeline->steps_count; next++) {
			const struct step *other = &timeline->steps[next];
			uint64_t wide_ns = step.resolution_ns;
			if (wide_ns <= timeline->query->step_ns ||
			        other->from_ns >= step.from_ns / wide_ns * wide_ns + wide_ns)
				break;
			const struct step_value *from =
			        &timeline->values[(size_t)next * timeline->groups];
			for (uint32_t group = 0; group < timeline->groups; group++) {
				to[group].value += from[group].value;
				to[group].function += from[group].function;
				to[group].coverage_ns += from[group].coverage_ns;
			}
			step.to_ns = other->to_ns;
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
		const struct step_value *value =
		        &timeline->values[(size_t)i * timeline->groups + group];
		json_object_begin(json);
		json_key_u64(json, "from_ns", step->from_ns);
		json_key_u64(json, "to_ns", step->to_ns);
		json_key_u64(json, "value", value->value);
		if (*timeline->function)
			json_key_u64(json, "function", value->function);
		json_key_u64(json, "coverage_ns", value->coverage_ns);
		json_key_u64(json, "resolution_ns", step->resolution_ns);
		json_object_end(json);
	}
	json_array_end(json);
	json_object_end(json);
}

static void timeline_put(const struct timeline *timeline, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key_u64(&json, "schema_version", 1);
	json_key_u64(&json, "step_ns", timeline->query->step_ns);
	if (*timeline->function)
		json_key_text(&json, "function", timeline->function);
	json_key(&json, "series");
	json_array_begin(&json);
	for (uint32_t group = 0; group < timeline->groups; group++)
		timeline_put_group(timeline, group, &json);
	json_array_end(&json);
	json_object_end(&json);
}

static int timeline_match(struct timeline *timeline, char *ret_error, size_t error_bytes)
{
	const struct wire_query_side *side = &timeline->query->sides[0];
	/* The first sum is of the first step; it brings the match and the groups for all. */
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
	uint64_t bytes = (uint64_t)timeline->steps_count * timeline->groups *
	                 sizeof(*timeline->values);
	if (bytes > timeline->options->memory_max)
		return -E2BIG;
	timeline->values = calloc(1, bytes + 1);
	return timeline->values ? 0 : -ENOMEM;
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
		.dict = dict_new(dict_limits_default),
	};
	if (query->function.count)
		memcpy(timeline.function, query->function.bytes, query->function.count);
	int r = timeline.dict ? timeline_match(&timeline, ret_error, error_bytes) : -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < timeline.steps_count; i++)
		r = timeline_step(&timeline, i);
	if (r < 0) {
		if (!*ret_error)
			snprintf(ret_error, error_bytes, "%s", answer_failure_text(r));
		return r;
	}
	timeline_widen(&timeline);
	timeline_put(&timeline, to);
	return 0;
}
