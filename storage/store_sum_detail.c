/*
 * Rows of a unit, chunk by chunk: those of one group and period are added up over the unit's
 * dictionary before they are added to the sums, others one by one.
 */

#include <errno.h>
#include <stdlib.h>

#include "storage/store_sum_sealed_private.h"

int detailing_flush(struct detailing *detailing)
{
	const struct summed_series *of = detailing->of;
	struct summing *summing = detailing->summing;
	uint64_t samples = 0;
	const uint64_t *values;
	detailing->of = NULL;
	int r = of ? stack_sums_get(summing->stacks, &values) : 0;
	if (!of || r < 0)
		return r;
	for (uint32_t i = 0; i < stack_sums_count(summing->stacks) && r == 0; i++)
		r = sum_add(&samples, values[i]);
	return r < 0 ? r
	             : summing_add_stacks(summing, of->group, of->period,
	                       sealed_nodes(detailing->walk->sealed), NULL, samples);
}

/* Rows of several groups or periods, one by one. */
static int detailing_add_mixed(struct detailing *detailing, const struct detail_chunk *chunk,
        const struct detail_heads *heads)
{
	struct summing *summing = detailing->summing;
	struct sealed *sealed = detailing->walk->sealed;
	const uint8_t *wanted = detailing->wanted.bytes;
	const uint32_t *nodes = sealed_nodes(sealed);
	struct detail_rows rows;
	int r = detail_chunk_get_rows(chunk, sealed->detail_memory, &rows);
	for (uint32_t i = 0; i < chunk->reports_count && r == 0; i++) {
		const struct detail_report *report = &heads->reports[i];
		if (!wanted[i])
			continue;
		const struct summed_series *series = summing_find(summing, report->series);
		for (uint32_t j = 0; j < report->rows_count && r == 0; j++) {
			uint32_t at = report->rows_first + j;
			uint64_t value = detail_rows_value(&rows, at);
			uint64_t in_unit;
			if (__builtin_mul_overflow(value, series->period, &in_unit))
				return -EOVERFLOW;
			r = sums_add(summing->part->sums, series->group, nodes[rows.places[at]],
			        in_unit);
			r = r < 0 ? r : sum_add(&summing->completeness.value, in_unit);
			r = r < 0 ? r : sum_add(&summing->completeness.samples, value);
		}
	}
	return r;
}

/* Rows of one group and period. */
static int detailing_add_alike(struct detailing *detailing, const struct detail_chunk *chunk,
        const struct summed_series *of, bool is_all)
{
	struct summing *summing = detailing->summing;
	struct sealed *sealed = detailing->walk->sealed;
	int r = 0;
	if (detailing->of &&
	        (detailing->of->group != of->group || detailing->of->period != of->period))
		r = detailing_flush(detailing);
	if (r == 0 && !detailing->of && !summing_stacks(summing, chunk->dictionary_count))
		r = -ENOMEM;
	if (r < 0)
		return r;
	detailing->of = of;
	r = detail_chunk_sum(chunk, sealed->detail_memory, is_all ? NULL : detailing->wanted.bytes,
	        summing->stacks);
	if (r == -EBADMSG)
		sealed->failed = r; /* a part may be in the sums already */
	return r;
}

static int detailing_add_chunk(struct detailing *detailing, const struct detail_chunk *chunk,
        const struct detail_heads *heads)
{
	struct summing *summing = detailing->summing;
	const struct summed_series *of = NULL;
	bool is_all = true;
	bool is_mixed = false;
	buf_reset(&detailing->wanted);
	for (uint32_t i = 0; i < chunk->reports_count; i++) {
		const struct detail_report *report = &heads->reports[i];
		const struct summed_series *series = summing_find(summing, report->series);
		bool is_wanted = series && report->rows_count > 0 &&
		                 walk_has(detailing->walk,
		                         interval_key(&heads->intervals[report->interval]));
		buf_put_u8(&detailing->wanted, is_wanted);
		is_all &= is_wanted || report->rows_count == 0;
		if (!is_wanted)
			continue;
		is_mixed |= of && (of->group != series->group || of->period != series->period);
		of = series;
	}
	if (detailing->wanted.failed)
		return -ENOMEM;
	if (!of)
		return 0;
	summing_note_resolution(summing, 0);
	if (summing->steps)
		return steps_add_chunk(
		        summing, detailing->walk->sealed, chunk, heads, detailing->wanted.bytes);
	return is_mixed ? detailing_add_mixed(detailing, chunk, heads)
	                : detailing_add_alike(detailing, chunk, of, is_all);
}

int detailing_chunk(struct detailing *detailing, uint32_t unit, uint32_t number)
{
	struct summing *summing = detailing->summing;
	struct walk *walk = detailing->walk;
	struct detail_chunk chunk;
	struct detail_heads heads;
	int r = sealed_open_detail(walk->sealed, unit, number, detailing->block, &chunk);
	if (r < 0)
		return r;
	if (chunk.first_ns >= walk->to_ns || chunk.last_ns < walk->at.start_ns)
		return 0;
	if (chunk.losses_count == 0 &&
	        !places_meet_range(&summing->part->places, chunk.series_first, chunk.series_last))
		return 0;
	r = sealed_get_detail_heads(walk->sealed, &chunk, &heads);
	if (r < 0 || !summing_wants_heads(summing, &chunk, &heads))
		return r;
	r = detailing_add_chunk(detailing, &chunk, &heads);
	return r < 0 ? r : summing_add_heads(summing, walk, false, &chunk, &heads);
}
