/*
 * Summing by steps. Steps are walked one after the other, each as a range of its own, so that each
 * is planned and answered as it would be alone; what is asked for is set up once. A window that
 * several steps cut is what would make that dear: it is read when the first of them comes to it,
 * each of its rows goes to the step of its interval, and the others leave it out.
 *
 * A walk may let the writer in between two steps. What he seals meanwhile was read as open batches
 * up to where the walk is: a window is read from there on, also by the steps behind. A window that
 * was read and goes meanwhile is not missed: all that it was part of begins in a step that is done.
 */

#include <errno.h>
#include <string.h>

#include "storage/store_sum_private.h"

/* What a place of a dictionary is: bits, so that those of many rows can be joined. */
enum place_mark { PLACE_IS_MARKED = 1, PLACE_IS_UNKNOWN = 2 };

struct summing_steps {
	const struct store_steps_options *options;
	struct store_steps *to;
	uint32_t at;        /* the step that the walk is in */
	struct buf read;    /* struct key_window: cut, and read for all steps */
	struct buf places;  /* u8, enum place_mark: of the dictionary of a unit */
	struct buf unknown; /* struct store_step_row */
};

static uint32_t steps_find(const struct summing_steps *steps, uint64_t start_ns)
{
	const uint64_t *bounds_ns = steps->options->bounds_ns;
	uint32_t low = steps->at;
	uint32_t high = steps->options->steps_count;
	/* The last one that begins at or before it. */
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (bounds_ns[middle] <= start_ns)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* `group` is an index into the distinct groups. */
static struct store_step_value *steps_value(
        const struct summing *summing, uint32_t step, uint32_t group)
{
	const struct summing_steps *steps = summing->steps;
	return &steps->to->values[(size_t)step * steps->options->groups_count +
	                          summing->groups[group]];
}

static uint8_t steps_mark(const struct summing *summing, uint32_t node)
{
	const struct store_marks *marks =
	        &summing->steps->options->marks[summing->part - summing->parts];
	uint8_t mark = node < marks->count ? marks->by_node[node] : STORE_MARK_UNKNOWN;
	if (mark == STORE_MARK_UNKNOWN)
		return PLACE_IS_UNKNOWN;
	return mark == STORE_MARK_YES ? PLACE_IS_MARKED : 0;
}

static int steps_put_unknown(
        struct summing *summing, uint32_t step, uint32_t group, uint32_t node, uint64_t value)
{
	struct summing_steps *steps = summing->steps;
	struct store_step_row row = {
		.step = step,
		.group = summing->groups[group],
		.part = (uint32_t)(summing->part - summing->parts),
		.node = node,
		.value = value,
	};
	if (steps->unknown.count / sizeof(row) >= steps->options->unknown_max)
		return -EAGAIN;
	buf_put(&steps->unknown, &row, sizeof(row));
	return steps->unknown.failed ? -ENOMEM : 0;
}

int steps_add_row(struct summing *summing, uint32_t group, uint32_t node, uint64_t value)
{
	uint32_t step = summing->steps->at;
	struct store_step_value *to = steps_value(summing, step, group);
	int r = sum_add(&to->value, value);
	if (r < 0 || !summing->steps->options->marks || value == 0)
		return r;
	uint8_t mark = steps_mark(summing, node);
	if (mark == PLACE_IS_MARKED)
		r = sum_add(&to->marked, value);
	else if (mark == PLACE_IS_UNKNOWN)
		r = steps_put_unknown(summing, step, group, node, value);
	return r;
}

int steps_add_coverage(struct summing *summing, uint32_t group, uint64_t ns)
{
	return sum_add(&steps_value(summing, summing->steps->at, group)->coverage_ns, ns);
}

int steps_add_coverage_at(struct summing *summing, uint32_t group, uint64_t start_ns, uint64_t ns)
{
	uint32_t step = steps_find(summing->steps, start_ns);
	return sum_add(&steps_value(summing, step, group)->coverage_ns, ns);
}

static int steps_add_marked(struct summing *summing, uint32_t group, uint64_t period,
        const uint32_t *nodes, const uint32_t *order)
{
	struct store_step_value *to = steps_value(summing, summing->steps->at, group);
	const uint64_t *values;
	int r = stack_sums_get(summing->stacks, &values);
	uint32_t count = stack_sums_count(summing->stacks);
	for (uint32_t i = 0; i < count && r == 0; i++) {
		uint32_t node = nodes[order ? order[i] : i];
		uint8_t mark = values[i] ? steps_mark(summing, node) : 0;
		uint64_t value;
		if (mark == 0)
			continue;
		if (__builtin_mul_overflow(values[i], period, &value))
			return -EOVERFLOW;
		r = mark & PLACE_IS_UNKNOWN
		            ? steps_put_unknown(summing, summing->steps->at, group, node, value)
		            : sum_add(&to->marked, value);
	}
	return r;
}

int steps_add_stacks(struct summing *summing, uint32_t group, uint64_t period,
        const uint32_t *nodes, const uint32_t *order, uint64_t samples)
{
	struct store_step_value *to = steps_value(summing, summing->steps->at, group);
	uint64_t value;
	if (__builtin_mul_overflow(samples, period, &value))
		return -EOVERFLOW;
	int r = sum_add(&to->value, value);
	if (r == 0 && summing->steps->options->marks)
		r = steps_add_marked(summing, group, period, nodes, order);
	return r;
}

int steps_begin_unit(struct summing *summing, const uint32_t *nodes, uint32_t count)
{
	struct buf *places = &summing->steps->places;
	buf_reset(places);
	if (!summing->steps->options->marks)
		return 0;
	uint8_t *to = buf_reserve(places, (size_t)count + 1);
	if (!to)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		to[i] = steps_mark(summing, nodes[i]);
	return 0;
}

/* Rows of one report: all of them, and those on places that are marked. */
struct report_sums {
	uint64_t all;
	uint64_t marked;
	uint8_t marks; /* of any */
};

/* A chunk has too few rows for sums of 32 bits to pass 64. */
static struct report_sums report_sum(
        const struct detail_report *report, const struct detail_rows *rows, const uint8_t *marks)
{
	struct report_sums sums = { .all = report->rows_count };
	const uint32_t *values = rows->less_one + report->rows_first;
	const uint32_t *places = rows->places + report->rows_first;
	for (uint32_t i = 0; i < report->rows_count; i++)
		sums.all += values[i];
	for (uint32_t i = 0; marks && i < report->rows_count; i++) {
		uint8_t mark = marks[places[i]];
		sums.marked += (mark & PLACE_IS_MARKED) ? values[i] + UINT64_C(1) : 0;
		sums.marks |= mark;
	}
	return sums;
}

static int report_sum_wide(const struct detail_report *report, const struct detail_rows *rows,
        const uint8_t *marks, struct report_sums *ret_sums)
{
	struct report_sums sums = { 0 };
	int r = 0;
	for (uint32_t i = 0; i < report->rows_count && r == 0; i++) {
		uint32_t at = report->rows_first + i;
		uint8_t mark = marks ? marks[rows->places[at]] : 0;
		uint64_t value = detail_rows_value(rows, at);
		r = sum_add(&sums.all, value);
		sums.marked += mark & PLACE_IS_MARKED ? value : 0;
		sums.marks |= mark;
	}
	*ret_sums = sums;
	return r;
}

static int steps_put_report(struct summing *summing, uint32_t step,
        const struct summed_series *series, const uint32_t *nodes,
        const struct detail_report *report, const struct detail_rows *rows)
{
	const uint8_t *marks = summing->steps->places.bytes;
	int r = 0;
	for (uint32_t i = 0; i < report->rows_count && r == 0; i++) {
		uint32_t at = report->rows_first + i;
		uint32_t place = rows->places[at];
		if (marks[place] & PLACE_IS_UNKNOWN)
			r = steps_put_unknown(summing, step, series->group, nodes[place],
			        detail_rows_value(rows, at) * series->period);
	}
	return r;
}

static int steps_add_report(struct summing *summing, uint32_t step, const uint32_t *nodes,
        const struct detail_report *report, const struct detail_rows *rows)
{
	const struct summed_series *series = summing_find(summing, report->series);
	const uint8_t *marks = summing->steps->options->marks ? summing->steps->places.bytes : NULL;
	struct store_step_value *to = steps_value(summing, step, series->group);
	struct report_sums sums = { 0 };
	uint64_t all = 0;
	int r = 0;
	if (rows->wide)
		r = report_sum_wide(report, rows, marks, &sums);
	else
		sums = report_sum(report, rows, marks);
	if (r == 0 && __builtin_mul_overflow(sums.all, series->period, &all))
		r = -EOVERFLOW;
	r = r < 0 ? r : sum_add(&to->value, all);
	r = r < 0 ? r : sum_add(&to->marked, sums.marked * series->period);
	if (r == 0 && sums.marks & PLACE_IS_UNKNOWN)
		r = steps_put_report(summing, step, series, nodes, report, rows);
	return r;
}

int steps_add_chunk(struct summing *summing, struct sealed *sealed,
        const struct detail_chunk *chunk, const struct detail_heads *heads, const uint8_t *wanted)
{
	struct detail_rows rows;
	int r = detail_chunk_get_rows(chunk, sealed->detail_memory, &rows);
	for (uint32_t i = 0; i < chunk->reports_count && r == 0; i++) {
		const struct detail_report *report = &heads->reports[i];
		uint64_t start_ns = heads->intervals[report->interval].start_ns;
		if (wanted[i])
			r = steps_add_report(summing, steps_find(summing->steps, start_ns),
			        sealed_nodes(sealed), report, &rows);
	}
	return r;
}

struct summing_range steps_range(const struct summing *summing)
{
	const struct store_steps_options *options = summing->steps->options;
	return (struct summing_range){ options->bounds_ns[0],
		options->bounds_ns[options->steps_count] };
}

void steps_note_resolution(struct summing *summing, uint64_t resolution_ns)
{
	uint64_t *to = &summing->steps->to->resolution_ns[summing->steps->at];
	*to = resolution_ns > *to ? resolution_ns : *to;
}

void steps_note_window(struct summing *summing, const struct sealed *sealed)
{
	const struct summing_steps *steps = summing->steps;
	const struct window *window = &sealed->window;
	uint64_t *to = &steps->to->cut_ns[steps->at];
	uint64_t wide_ns = sealed->key.to_ns - sealed->key.from_ns;
	bool has_all = window->first_ns >= steps->options->bounds_ns[steps->at] &&
	               window->last_ns < steps->options->bounds_ns[steps->at + 1];
	if (!has_all && wide_ns > *to)
		*to = wide_ns;
}

int steps_window(struct summing *summing, struct walk *walk, const struct pass_window *window)
{
	struct summing_steps *steps = summing->steps;
	const struct key_window *read = ARRAY(struct key_window, steps->read);
	if (window->takes[0] == TAKE_WHOLE)
		return pass_window(summing->pass, window);
	for (size_t i = ARRAY_COUNT(struct key_window, steps->read); i-- > 0;)
		if (key_window_compare(read[i], window->key) == 0)
			return 0;
	buf_put(&steps->read, &window->key, sizeof(window->key));
	if (steps->read.failed)
		return -ENOMEM;
	uint64_t to_ns = walk->to_ns;
	walk->to_ns = steps->options->bounds_ns[steps->options->steps_count];
	int r = pass_window(summing->pass, window);
	walk->to_ns = to_ns;
	return r;
}

static int steps_walk(struct summing_steps *steps, struct pass *pass)
{
	const struct store_steps_options *options = steps->options;
	struct walk *walk = &pass->sides[0].walk;
	int r = 0;
	for (uint32_t i = 0; i < options->steps_count && r == 0; i++) {
		steps->at = i;
		walk->from_ns = options->bounds_ns[i];
		walk->to_ns = options->bounds_ns[i + 1];
		walk->at = (struct key_batch){ .start_ns = walk->from_ns };
		r = pass_run(pass);
	}
	return r;
}

/* What steps come to is in `to`, which is given away when all went well. */
static int steps_make(struct summing_steps *steps, struct store *store, struct pass *pass)
{
	const struct store_steps_options *options = steps->options;
	struct store_steps *to = steps->to;
	uint64_t values = (uint64_t)options->steps_count * options->groups_count;
	if (values > options->sum.memory_max / sizeof(*to->values))
		return -E2BIG;
	to->values = calloc(values + 1, sizeof(*to->values));
	to->resolution_ns = calloc(options->steps_count + UINT64_C(1), sizeof(uint64_t));
	to->cut_ns = calloc(options->steps_count + UINT64_C(1), sizeof(uint64_t));
	if (!to->values || !to->resolution_ns || !to->cut_ns)
		return -ENOMEM;
	int r = pass_init(pass, store, 1);
	r = r < 0 ? r : steps_walk(steps, pass);
	if (r < 0)
		return r;
	const struct walk *walk = &pass->sides[0].walk;
	to->missing.corrupt = walk->corrupt;
	to->missing.corrupt_replaced = walk->replaced;
	to->missing.unreadable_count = walk->unreadable_count;
	memcpy(to->missing.unreadable, walk->unreadable, sizeof(walk->unreadable));
	const struct completeness *all = &pass->sides[0].summing.completeness;
	to->missing.cut_begin_ns = all->cut_begin_ns;
	to->missing.cut_end_ns = all->cut_end_ns;
	to->missing.windows_collapsed = all->windows_collapsed;
	to->missing.collapsed_from_ns = all->collapsed_from_ns;
	to->missing.collapsed_to_ns = all->collapsed_to_ns;
	to->unknown_count = (uint32_t)ARRAY_COUNT(struct store_step_row, steps->unknown);
	to->unknown = (void *)steps->unknown.bytes;
	steps->unknown = (struct buf){ 0 };
	return 0;
}

int store_sum_steps(struct store *store, const struct store_steps_options *options,
        struct store_steps *ret_steps)
{
	struct store_steps to = { 0 };
	struct summing_steps steps = { .options = options, .to = &to };
	struct pass pass = { .store = store };
	pass.sides[0].summing.options = &options->sum;
	pass.sides[0].summing.steps = &steps;
	pass.sides[0].walk.read_ns = options->sum.read_ns;
	int r = steps_make(&steps, store, &pass);
	if (r == 0)
		*ret_steps = to;
	else
		store_steps_fini(&to);
	pass_fini(&pass);
	buf_fini(&steps.read);
	buf_fini(&steps.places);
	buf_fini(&steps.unknown);
	return r;
}

void store_steps_fini(struct store_steps *steps)
{
	free(steps->values);
	free(steps->resolution_ns);
	free(steps->cut_ns);
	free(steps->unknown);
	*steps = (struct store_steps){ 0 };
}
