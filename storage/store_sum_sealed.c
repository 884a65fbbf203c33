/*
 * What all ways to read a sealed window come to: sums over a dictionary, members and reports that
 * say who was there and how long, and what nothing that is left can say.
 */

#include <errno.h>
#include <stdlib.h>

#include "storage/store_sum_sealed_private.h"

/* Zeroes over a dictionary. */
struct stack_sums *summing_stacks(struct summing *summing, uint32_t count)
{
	if (summing->stacks && stack_sums_count(summing->stacks) == count) {
		stack_sums_reset(summing->stacks);
	} else {
		stack_sums_free(summing->stacks);
		summing->stacks = stack_sums_new(count);
	}
	return summing->stacks;
}

/* What is in summing->stacks, of one period, to a group; `samples` is what it adds up to. */
int summing_add_stacks(struct summing *summing, uint32_t group, uint64_t period,
        const uint32_t *nodes, const uint32_t *order, uint64_t samples)
{
	const uint64_t *values;
	uint64_t value = 0;
	if (summing->steps)
		return steps_add_stacks(summing, group, period, nodes, order, samples);
	int r = stack_sums_get(summing->stacks, &values);
	r = r < 0 ? r
	          : sums_add_all(summing->part->sums, group, nodes, order, values,
	                    stack_sums_count(summing->stacks), period);
	if (r == 0 && __builtin_mul_overflow(samples, period, &value))
		r = -EOVERFLOW;
	r = r < 0 ? r : sum_add(&summing->completeness.value, value);
	return r < 0 ? r : sum_add(&summing->completeness.samples, samples);
}

static int summing_match_stream(struct summing *summing, uint32_t stream)
{
	struct observer *observer;
	int r = summing_observer(summing, stream, &observer);
	if (r == 0)
		observer->is_matched = true;
	return r;
}

/* Who was watching, how long, and what was lost: of the reports and losses that are wanted. */
int summing_add_heads(struct summing *summing, const struct walk *walk, bool is_whole,
        const struct detail_chunk *chunk, const struct detail_heads *heads)
{
	int r = 0;
	for (uint32_t i = 0; i < chunk->reports_count && r == 0; i++) {
		const struct detail_report *report = &heads->reports[i];
		const struct detail_interval *interval = &heads->intervals[report->interval];
		struct summed_series *series = summing_find(summing, report->series);
		if (!series || (!is_whole && !walk_has(walk, interval_key(interval))))
			continue;
		summing_meet(summing, series);
		r = summing_match_stream(summing, interval->stream);
		if (r == 0 && summing->steps)
			r = is_whole ? steps_add_coverage(
			                       summing, series->group, report->coverage_ns)
			             : steps_add_coverage_at(summing, series->group,
			                       interval->start_ns, report->coverage_ns);
		r = r < 0 ? r : sum_add(&series->coverage_ns, report->coverage_ns);
		r = r < 0 ? r : sum_add(&summing->completeness.coverage_ns, report->coverage_ns);
	}
	for (uint32_t i = 0; i < chunk->losses_count && r == 0; i++) {
		const struct detail_loss *loss = &heads->losses[i];
		const struct detail_interval *interval = &heads->intervals[loss->interval];
		const struct summed_series *series = summing_find(summing, loss->series);
		if (!series || (!is_whole && !walk_has(walk, interval_key(interval))))
			continue;
		r = summing_match_stream(summing, interval->stream);
		r = r < 0 ? r
		          : summing_add_loss(summing, series->period, loss->reason, loss->count);
	}
	return r;
}

bool summing_wants_heads(
        struct summing *summing, const struct detail_chunk *chunk, const struct detail_heads *heads)
{
	for (uint32_t i = 0; i < chunk->reports_count; i++)
		if (summing_find(summing, heads->reports[i].series))
			return true;
	for (uint32_t i = 0; i < chunk->losses_count; i++)
		if (summing_find(summing, heads->losses[i].series))
			return true;
	return false;
}

int summing_add_members(struct summing *summing, struct walk *walk, uint32_t unit)
{
	struct sealed *sealed = walk->sealed;
	int r = 0;
	for (uint32_t i = 0; i < sealed_members_count(sealed, unit) && r == 0; i++) {
		struct detail_chunk members;
		struct detail_heads heads;
		r = sealed_get_members(sealed, unit, i, &members, &heads);
		r = r < 0 ? r : summing_add_heads(summing, walk, true, &members, &heads);
	}
	return r;
}

/*
 * Nothing that is left of the window says how much of it is wanted. Once for a window, however many
 * of its units.
 */
void summing_miss(struct summing *summing, const struct key_window *window)
{
	struct completeness *to = &summing->completeness;
	if (summing->is_missed)
		return;
	summing->is_missed = true;
	to->windows_unanswerable++;
	if (__builtin_add_overflow(
	            to->unanswerable_ns, window->to_ns - window->from_ns, &to->unanswerable_ns))
		to->unanswerable_ns = UINT64_MAX;
}

/* Rows that windows of this length added up: 0 for rows themselves. */
void summing_note_resolution(struct summing *summing, uint64_t resolution_ns)
{
	struct completeness *to = &summing->completeness;
	if (summing->steps)
		steps_note_resolution(summing, resolution_ns);
	if (!summing->has_resolution || resolution_ns < to->resolution_finest_ns)
		to->resolution_finest_ns = resolution_ns;
	if (resolution_ns > to->resolution_coarsest_ns)
		to->resolution_coarsest_ns = resolution_ns;
	summing->has_resolution = true;
}

void summing_note_cut(struct summing *summing, struct key_window key, uint64_t last_ns)
{
	struct completeness *to = &summing->completeness;
	struct summing_range range = { summing->options->from_ns, summing->options->to_ns };
	uint64_t wide_ns = key.to_ns - key.from_ns;
	if (summing->steps)
		range = steps_range(summing);
	if (key.from_ns < range.from_ns && last_ns >= range.from_ns && wide_ns > to->cut_begin_ns)
		to->cut_begin_ns = wide_ns;
	if (key.from_ns >= range.from_ns && key.from_ns < range.to_ns && key.to_ns > range.to_ns &&
	        last_ns >= range.to_ns && wide_ns > to->cut_end_ns)
		to->cut_end_ns = wide_ns;
}

/* Its sums are read: stacks in them are functions alone. Once for a window. */
void summing_note_collapsed(struct summing *summing, struct key_window key)
{
	struct completeness *to = &summing->completeness;
	if (summing->is_collapse_noted)
		return;
	summing->is_collapse_noted = true;
	if (to->windows_collapsed++ == 0 || key.from_ns < to->collapsed_from_ns)
		to->collapsed_from_ns = key.from_ns;
	if (key.to_ns > to->collapsed_to_ns)
		to->collapsed_to_ns = key.to_ns;
}

void summing_miss_gone(struct summing *summing)
{
	const struct key_window *gone = ARRAY(struct key_window, summing->plan.gone);
	for (size_t i = 0; i < ARRAY_COUNT(struct key_window, summing->plan.gone); i++) {
		summing->is_missed = false;
		summing_miss(summing, &gone[i]);
	}
}
