/*
 * Summing what is sealed: by the sums of a window where they can answer, else by its detail.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "storage/store_sum_private.h"

/* By so many bits of their start at a time, from the lowest on. */
#define PENDING_BITS  11
#define PENDING_RADIX (1u << PENDING_BITS)

/* One round from `from` into `to`, which keeps the order of what is equal in these bits. */
static void pending_sort_round(const struct pending *from, struct pending *to, size_t count,
        uint64_t first_ns, uint32_t shift)
{
	size_t at[PENDING_RADIX] = { 0 };
	size_t before = 0;
	for (size_t i = 0; i < count; i++)
		at[(from[i].start_ns - first_ns) >> shift & (PENDING_RADIX - 1)]++;
	for (uint32_t digit = 0; digit < PENDING_RADIX; digit++) {
		size_t digits = at[digit];
		at[digit] = before;
		before += digits;
	}
	for (size_t i = 0; i < count; i++)
		to[at[(from[i].start_ns - first_ns) >> shift & (PENDING_RADIX - 1)]++] = from[i];
}

/* By start. A stretch is short, so that few bits of it differ: cheaper than comparing. -ENOMEM. */
static int pending_sort(struct buf *pending)
{
	struct pending *from = ARRAY(struct pending, *pending);
	size_t count = ARRAY_COUNT(struct pending, *pending);
	uint64_t first_ns = UINT64_MAX;
	uint64_t last_ns = 0;
	autofree struct pending *other = malloc((count + 1) * sizeof(*other));
	if (!other)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		first_ns = from[i].start_ns < first_ns ? from[i].start_ns : first_ns;
		last_ns = from[i].start_ns > last_ns ? from[i].start_ns : last_ns;
	}
	struct pending *to = other;
	for (uint32_t shift = 0;
	        shift < 64 && last_ns > first_ns && (last_ns - first_ns) >> shift > 0;
	        shift += PENDING_BITS) {
		pending_sort_round(from, to, count, first_ns, shift);
		struct pending *sorted = to;
		to = from;
		from = sorted;
	}
	if (from == other)
		memcpy(pending->bytes, other, count * sizeof(*other));
	return 0;
}

/* Those of each observer are: that is enough, and mostly so. */
static bool pending_is_sorted(struct summing *summing)
{
	const struct pending *pending = ARRAY(struct pending, summing->pending);
	size_t count = ARRAY_COUNT(struct pending, summing->pending);
	bool is_sorted = true;
	summing->stretches++;
	for (size_t i = 0; i < count && is_sorted; i++) {
		struct observer *observer = &summing->observers[pending[i].observer];
		is_sorted = observer->pending_stretch != summing->stretches ||
		            observer->pending_ns <= pending[i].start_ns;
		observer->pending_stretch = summing->stretches;
		observer->pending_ns = pending[i].start_ns;
	}
	return is_sorted;
}

/*
 * Intervals of one stream mostly follow each other without a gap: they are one run, so that many
 * small ones, of however many observers, need little memory. A run says of gaps what its intervals
 * say one by one, also among those of other streams: no moment in it is far behind one of them.
 */
int summing_put_pending(struct summing *summing, const struct pending *pending)
{
	size_t count = ARRAY_COUNT(struct pending, summing->pending);
	struct pending *last = count ? ARRAY(struct pending, summing->pending) + count - 1 : NULL;
	if (!last || last->observer != pending->observer || pending->start_ns < last->start_ns ||
	        store_is_gap(last->start_ns + last->duration_ns, pending->start_ns)) {
		buf_put(&summing->pending, pending, sizeof(*pending));
		return summing->pending.failed ? -ENOMEM : 0;
	}
	uint64_t end_ns = pending->start_ns + pending->duration_ns; /* was seen to fit */
	if (end_ns > last->start_ns + last->duration_ns)
		last->duration_ns = end_ns - last->start_ns;
	return sum_add(&last->intervals, pending->intervals);
}

int summing_see_pending(struct summing *summing)
{
	int r = pending_is_sorted(summing) ? 0 : pending_sort(&summing->pending);
	const struct pending *pending = ARRAY(struct pending, summing->pending);
	size_t count = ARRAY_COUNT(struct pending, summing->pending);
	for (size_t i = 0; i < count && r == 0; i++)
		r = observer_see(&summing->observers[pending[i].observer], &pending[i]);
	buf_reset(&summing->pending);
	return r;
}

/* The group of sums that a series is in, remembered. */
static int summing_group_key(
        struct summing *summing, uint32_t series, const struct sum_group_key **ret_key)
{
	struct summing_part *part = summing->part;
	const struct dict *dict = summing->generation->dict;
	if (series >= part->keys_of_count) {
		uint32_t count = dict_mark(dict).series;
		uint32_t *grown = realloc(part->keys_of, count * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + part->keys_of_count, 0,
		        (count - part->keys_of_count) * sizeof(*grown));
		part->keys_of = grown;
		part->keys_of_count = count;
	}
	if (part->keys_of[series] == 0) {
		struct sum_labels labels = sum_labels_find(dict);
		struct sum_group_key key = sum_labels_group(&labels, dict, series);
		uint32_t id;
		bool is_added;
		int r = id_map_intern(
		        summing->key_ids, hash128_bytes(&key, sizeof(key)), &id, &is_added);
		if (r < 0)
			return r;
		if (is_added)
			buf_put(&summing->keys, &key, sizeof(key));
		if (summing->keys.failed)
			return -ENOMEM;
		part->keys_of[series] = id + 1;
	}
	*ret_key = &ARRAY(struct sum_group_key, summing->keys)[part->keys_of[series] - 1];
	return 0;
}

/* Zeroes over a dictionary. */
static struct stack_sums *summing_stacks(struct summing *summing, uint32_t count)
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
static int summing_add_stacks(struct summing *summing, uint32_t group, uint64_t period,
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

/* What is asked for of one group of a block of sums. */
enum {
	CHOICE_UNKNOWN = -2,
	CHOICE_NOTHING = -1
}; /* else the number of a group that is asked for */

static int summing_compare_group(const void *key, const void *group)
{
	return sum_group_key_compare(key, &((const struct sum_group *)group)->key);
}

/*
 * Which group asked for each group of the block belongs to. *ret_fits false: one holds series of
 * several.
 */
static int summing_choose(struct summing *summing, const struct sum_block *block,
        const struct sum_group *groups, const struct detail_chunk *members,
        const struct detail_heads *heads, int64_t *choices, bool *ret_fits)
{
	for (uint32_t i = 0; i < members->reports_count; i++) {
		uint32_t id = heads->reports[i].series;
		const struct summed_series *series = summing_find(summing, id);
		const struct sum_group_key *key;
		int r = summing_group_key(summing, id, &key);
		if (r < 0)
			return r;
		const struct sum_group *group = bsearch(
		        key, groups, block->groups_count, sizeof(*groups), summing_compare_group);
		if (!group)
			return -EBADMSG;
		int64_t choice = series ? (int64_t)series->group : CHOICE_NOTHING;
		int64_t *to = &choices[group - groups];
		if (*to != CHOICE_UNKNOWN && *to != choice)
			*ret_fits = false;
		*to = choice;
	}
	return 0;
}

/* All of the block is one group of the question, and of one period. */
static bool summing_is_total(
        const struct sum_block *block, const int64_t *choices, uint32_t *ret_group)
{
	int64_t only = CHOICE_UNKNOWN;
	for (uint32_t i = 0; i < block->groups_count; i++) {
		if (choices[i] == CHOICE_UNKNOWN)
			continue;
		if (only != CHOICE_UNKNOWN && choices[i] != only)
			return false;
		only = choices[i];
	}
	*ret_group = (uint32_t)only;
	return only >= 0 && block->period > 0;
}

/* The choices of a block's groups, from all members of its unit. */
static int summing_choose_all(struct summing *summing, struct sealed *sealed, uint32_t unit,
        const struct sum_block *block, const struct sum_group *groups, int64_t *choices,
        bool *ret_fits)
{
	int r = 0;
	*ret_fits = true;
	for (uint32_t i = 0; i < block->groups_count; i++)
		choices[i] = CHOICE_UNKNOWN;
	for (uint32_t i = 0; i < sealed_members_count(sealed, unit) && r == 0; i++) {
		struct detail_chunk members;
		struct detail_heads heads;
		r = sealed_get_members(sealed, unit, i, &members, &heads);
		r = r < 0 ? r
		          : summing_choose(
		                    summing, block, groups, &members, &heads, choices, ret_fits);
	}
	return r;
}

/* What of the groups that are wanted lies on an ancestor of its stack. */
static int summing_add_folded(struct summing *summing, const struct sum_block *block,
        const struct sum_group *groups, const int64_t *choices)
{
	int r = 0;
	for (uint32_t i = 0; i < block->groups_count && r == 0; i++) {
		uint64_t value;
		if (choices[i] < 0)
			continue;
		if (__builtin_mul_overflow(groups[i].folded, groups[i].key.period, &value))
			return -EOVERFLOW;
		r = sum_add(&summing->completeness.value_folded, value);
		r = r < 0 ? r : sum_add(&summing->completeness.samples_folded, groups[i].folded);
	}
	return r;
}

/* Are there any of the groups that are wanted? */
static bool summing_has_rows(
        const struct sum_block *block, const struct sum_group *groups, const int64_t *choices)
{
	for (uint32_t i = 0; i < block->groups_count; i++)
		if (choices[i] >= 0 && groups[i].samples > 0)
			return true;
	return false;
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
static int summing_add_heads(struct summing *summing, const struct walk *walk, bool is_whole,
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

static bool summing_wants_heads(
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

/* Detail of one unit, added up over its dictionary as long as group and period stay the same. */
struct detailing {
	struct summing *summing;
	struct walk *walk;
	const struct sum_block *block;
	const struct summed_series *of; /* any series of that group and period; NULL: nothing yet */
	struct buf wanted;              /* u8 per report */
};

static int detailing_flush(struct detailing *detailing)
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

static int detailing_chunk(struct detailing *detailing, uint32_t unit, uint32_t number)
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

/*
 * Nothing that is left of the window says how much of it is wanted. Once for a window, however many
 * of its units.
 */
static void summing_miss(struct summing *summing, const struct key_window *window)
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

/* The group of the question that each group of members belongs to; false: one has several. */
static int summing_fits_members(struct summing *summing, const struct detail_chunk *members,
        const struct detail_heads *heads, bool *ret_fits)
{
	for (uint32_t i = 0; i < members->reports_count && *ret_fits; i++) {
		uint32_t id = heads->reports[i].series;
		const struct summed_series *series = summing_find(summing, id);
		const struct sum_group_key *key;
		int r = summing_group_key(summing, id, &key);
		if (r < 0)
			return r;
		uint32_t number = summing->part->keys_of[id] - 1;
		int64_t unknown = CHOICE_UNKNOWN;
		while (ARRAY_COUNT(int64_t, summing->choices) <= number && !summing->choices.failed)
			buf_put(&summing->choices, &unknown, sizeof(unknown));
		if (summing->choices.failed)
			return -ENOMEM;
		int64_t choice = series ? (int64_t)series->group : CHOICE_NOTHING;
		int64_t *to = &ARRAY(int64_t, summing->choices)[number];
		*ret_fits = *to == CHOICE_UNKNOWN || *to == choice;
		*to = choice;
	}
	return 0;
}

/* Do the sums of the unit tell apart what is to be told apart? Is any of it wanted at all? */
static int summing_fits_unit(struct summing *summing, struct sealed *sealed, uint32_t unit,
        bool *ret_fits, bool *ret_wants)
{
	bool fits = true;
	int r = 0;
	*ret_wants = false;
	buf_reset(&summing->choices);
	for (uint32_t i = 0; i < sealed_members_count(sealed, unit) && r == 0; i++) {
		struct detail_chunk members;
		struct detail_heads heads;
		r = sealed_get_members(sealed, unit, i, &members, &heads);
		if (r < 0)
			break;
		*ret_wants |= summing_wants_heads(summing, &members, &heads);
		r = fits ? summing_fits_members(summing, &members, &heads, &fits) : 0;
	}
	*ret_fits = fits || !*ret_wants;
	return r;
}

/* Of what was opened, if it could be. */
static int summing_fits_opened(struct summing *summing, struct walk *walk, int r, bool *ret_fits)
{
	struct sealed *sealed = walk->sealed;
	bool fits = true;
	if (r == 0)
		summing_turn_to(summing, sealed->generation);
	for (uint32_t i = 0; r == 0 && fits && i < sealed->window.units_count; i++) {
		bool wants;
		if (!sealed->window.units[i].is_gone &&
		        summing_wants_unit(summing, &sealed->window.units[i]))
			r = summing_fits_unit(summing, sealed, i, &fits, &wants);
	}
	*ret_fits = fits;
	return r;
}

int summing_fits(struct summing *summing, struct walk *walk, const struct window_entry *window,
        bool *ret_fits)
{
	return summing_fits_opened(summing, walk, sealed_open(walk->sealed, window), ret_fits);
}

int summing_fits_segment(struct summing *summing, struct walk *walk,
        const struct head_segment *segment, bool *ret_fits)
{
	return summing_fits_opened(
	        summing, walk, sealed_open_segment(walk->sealed, segment), ret_fits);
}

static int summing_add_members(struct summing *summing, struct walk *walk, uint32_t unit)
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

/* Detail says the same as values and members, at more cost. */
#define SUMMING_DETAIL_INSTEAD "its rows were read"

/* The members of a unit of level 0 cannot be read. */
static void summing_count_members(struct walk *walk, uint32_t unit)
{
	if (sealed_has_detail(walk->sealed, unit))
		walk_count_replaced(walk, SUMMING_DETAIL_INSTEAD);
	else
		walk_count_corrupt(walk);
}

/* ---- a unit, for all sides ---- */

/* How a side reads the unit. */
enum unit_way { UNIT_NOTHING, UNIT_SUMS, UNIT_DETAIL };

struct unit_side {
	struct summing *summing;
	struct walk *walk;
	enum unit_way way;
	/* Of its sums. */
	int64_t *choices; /* by group of the block */
	bool is_total;
	uint32_t group;
	/* The groups that are added up together at the moment, or CHOICE_NOTHING. */
	int64_t adding;
	uint64_t samples;
};

struct unit {
	struct sealed *sealed;
	uint32_t number;
	struct sum_block block;
	const struct sum_group *groups;
	struct unit_side sides[STORE_SUM_SIDES_MAX];
	uint32_t sides_count;
};

static void unit_fini(struct unit *unit)
{
	for (uint32_t i = 0; i < unit->sides_count; i++)
		free(unit->sides[i].choices);
}

/*
 * How a side reads a unit that it wants as a whole: by sums, where they can answer, which the
 * members say; else by detail, where it is there.
 */
static int unit_judge_whole(struct unit *unit, struct unit_side *side)
{
	struct summing *summing = side->summing;
	struct sealed *sealed = unit->sealed;
	bool has_detail = sealed_has_detail(sealed, unit->number);
	bool fits = false;
	bool wants = true;
	int r = summing_fits_unit(summing, sealed, unit->number, &fits, &wants);
	bool has_members = r == 0;
	if (r < 0 && !sealed_is_corrupt(sealed, r))
		return r;
	if (has_members && !wants)
		return 0;
	if (!has_members && key_window_level(sealed->key) > 0)
		return summing_note_damaged(summing, sealed, unit->number, false);
	if (!has_members)
		summing_count_members(side->walk, unit->number);
	if (has_members && fits)
		side->way = UNIT_SUMS;
	else if (has_detail)
		side->way = UNIT_DETAIL;
	else if (has_members)
		summing_miss(summing, &sealed->key);
	return 0;
}

/* Of a window that the range cuts: without its rows it belongs to the range by its start. */
static int unit_judge(struct unit *unit, struct unit_side *side, enum take take)
{
	struct key_batch first = { .start_ns = unit->sealed->key.from_ns };
	if (take == TAKE_CUT && sealed_has_detail(unit->sealed, unit->number))
		side->way = UNIT_DETAIL;
	else if (take == TAKE_WHOLE || walk_has(side->walk, first))
		return unit_judge_whole(unit, side);
	return 0;
}

/* It cannot be read, and nothing of it was added. */
static int unit_fail(struct unit *unit, struct unit_side *side, int r)
{
	side->way = UNIT_NOTHING;
	if (key_window_level(unit->sealed->key) > 0 && sealed_is_corrupt(unit->sealed, r))
		return summing_note_damaged(side->summing, unit->sealed, unit->number, true);
	return walk_forgive(side->walk, r);
}

/* What is to be known before anything is added. *ret_lacks_values: but for the groups' values. */
static int unit_prepare_sums(struct unit *unit, struct unit_side *side, bool *ret_lacks_values)
{
	struct sealed *sealed = unit->sealed;
	const struct sum_block *block = &unit->block;
	bool fits;
	side->choices = malloc(((size_t)block->groups_count + 1) * sizeof(*side->choices));
	if (!side->choices)
		return -ENOMEM;
	int r = sealed_get_groups(sealed, block, &unit->groups);
	r = r < 0 ? r
	          : summing_choose_all(side->summing, sealed, unit->number, block, unit->groups,
	                    side->choices, &fits);
	if (r < 0 || !fits)
		return r < 0 ? r : -EBADMSG;
	side->is_total = summing_is_total(block, side->choices, &side->group);
	if (side->is_total)
		return 0;
	r = sealed_get_values(sealed, unit->number, block);
	*ret_lacks_values = sealed_is_corrupt(sealed, r);
	return r;
}

static int unit_prepare(struct unit *unit, struct unit_side *side)
{
	bool lacks_values = false;
	if (side->way == UNIT_NOTHING)
		return 0;
	int r = sealed_get_sums(unit->sealed, unit->number, &unit->block);
	if (r == 0 && side->way == UNIT_SUMS)
		r = unit_prepare_sums(unit, side, &lacks_values);
	if (lacks_values && sealed_has_detail(unit->sealed, unit->number)) {
		walk_count_replaced(side->walk, SUMMING_DETAIL_INSTEAD);
		side->way = UNIT_DETAIL;
		return 0;
	}
	return r < 0 ? unit_fail(unit, side, r) : 0;
}

/* The totals, decoded once for all sides that want them. */
static int unit_get_totals(struct unit *unit)
{
	struct stack_sums *to[STORE_SUM_SIDES_MAX];
	uint32_t to_count = 0;
	for (uint32_t i = 0; i < unit->sides_count; i++) {
		struct unit_side *side = &unit->sides[i];
		if (side->way != UNIT_SUMS || !side->is_total)
			continue;
		to[to_count] = summing_stacks(side->summing, unit->block.dictionary_count);
		if (!to[to_count++])
			return -ENOMEM;
	}
	if (to_count == 0)
		return 0;
	int failed = sum_block_add_total_each(
	        &unit->block, unit->sealed->sums_memory, to, to_count);
	int r = 0;
	for (uint32_t i = 0; i < unit->sides_count && failed < 0 && r == 0; i++)
		if (unit->sides[i].way == UNIT_SUMS && unit->sides[i].is_total)
			r = unit_fail(unit, &unit->sides[i], failed);
	return r;
}

/* From here on something is added: what goes wrong ends the sum. */
static int unit_add_total(struct unit *unit, struct unit_side *side)
{
	struct summing *summing = side->summing;
	const struct sealed *sealed = unit->sealed;
	if (!sealed->segment)
		summing_note_resolution(summing, sealed->key.to_ns - sealed->key.from_ns);
	else if (summing_has_rows(&unit->block, unit->groups, side->choices))
		summing_note_resolution(summing, 0); /* what is open is there row by row as well */
	int r = summing_add_folded(summing, &unit->block, unit->groups, side->choices);
	if (r < 0 || !side->is_total)
		return r;
	return summing_add_stacks(summing, side->group, unit->block.period, sealed_nodes(sealed),
	        NULL, unit->block.samples);
}

static bool unit_adds(
        const struct unit *unit, const struct unit_side *side, uint32_t first, uint32_t group)
{
	return side->adding >= 0 && side->choices[group] == side->adding &&
	       unit->groups[group].key.period == unit->groups[first].key.period;
}

/*
 * Which groups each side adds up together from `first` on: those of its choice there, or of the
 * first that another side adds up. *ret_has false: none.
 */
static int unit_begin_groups(struct unit *unit, uint32_t first, bool *ret_has)
{
	*ret_has = false;
	for (uint32_t i = 0; i < unit->sides_count; i++) {
		struct unit_side *side = &unit->sides[i];
		bool is_by_groups = side->way == UNIT_SUMS && !side->is_total;
		side->adding = is_by_groups ? side->choices[first] : CHOICE_NOTHING;
		*ret_has |= side->adding >= 0;
	}
	for (uint32_t i = 0; i < unit->sides_count && *ret_has; i++) {
		struct unit_side *side = &unit->sides[i];
		const struct unit_side *other = &unit->sides[unit->sides_count - 1 - i];
		if (side->way != UNIT_SUMS || side->is_total || side->adding >= 0)
			continue;
		for (uint32_t j = first + 1; j < unit->block.groups_count && side->adding < 0; j++)
			if (unit_adds(unit, other, first, j))
				side->adding = side->choices[j];
	}
	for (uint32_t i = 0; i < unit->sides_count; i++) {
		struct unit_side *side = &unit->sides[i];
		side->samples = 0;
		if (side->adding >= 0 &&
		        !summing_stacks(side->summing, unit->block.dictionary_count))
			return -ENOMEM;
	}
	return 0;
}

/* One group to the sides that want it. */
static int unit_add_group(struct unit *unit, uint32_t first, uint32_t group)
{
	struct stack_sums *to[STORE_SUM_SIDES_MAX];
	uint32_t to_count = 0;
	int r = 0;
	for (uint32_t i = 0; i < unit->sides_count && r == 0; i++) {
		struct unit_side *side = &unit->sides[i];
		if (!unit_adds(unit, side, first, group))
			continue;
		side->choices[group] = CHOICE_NOTHING;
		to[to_count++] = side->summing->stacks;
		r = sum_add(&side->samples, unit->groups[group].samples);
	}
	return r < 0 || to_count == 0 ? r
	                              : sum_block_add_group_each(&unit->block,
	                                        unit->sealed->sums_memory, group, to, to_count);
}

static int unit_add_groups_from(struct unit *unit, uint32_t first, const uint32_t *order)
{
	bool has_any = false;
	int r = unit_begin_groups(unit, first, &has_any);
	for (uint32_t i = first; i < unit->block.groups_count && has_any && r == 0; i++)
		r = unit_add_group(unit, first, i);
	for (uint32_t i = 0; i < unit->sides_count && r == 0; i++) {
		const struct unit_side *side = &unit->sides[i];
		if (side->adding >= 0)
			r = summing_add_stacks(side->summing, (uint32_t)side->adding,
			        unit->groups[first].key.period, sealed_nodes(unit->sealed), order,
			        side->samples);
	}
	return r;
}

static int unit_add_groups(struct unit *unit)
{
	const uint32_t *order;
	bool has_any = false;
	for (uint32_t i = 0; i < unit->sides_count; i++)
		has_any |= unit->sides[i].way == UNIT_SUMS && !unit->sides[i].is_total;
	if (!has_any)
		return 0;
	int r = sealed_get_order(unit->sealed, &unit->block, &order);
	for (uint32_t i = 0; i < unit->block.groups_count && r == 0; i++)
		r = unit_add_groups_from(unit, i, order);
	if (r == -EBADMSG)
		unit->sealed->failed = r; /* a part may be in the sums already */
	return r;
}

static int unit_add_sums(struct unit *unit)
{
	int r = unit_get_totals(unit);
	for (uint32_t i = 0; i < unit->sides_count && r == 0; i++)
		if (unit->sides[i].way == UNIT_SUMS)
			r = unit_add_total(unit, &unit->sides[i]);
	r = r < 0 ? r : unit_add_groups(unit);
	for (uint32_t i = 0; i < unit->sides_count && r == 0; i++) {
		struct unit_side *side = &unit->sides[i];
		if (side->way != UNIT_SUMS)
			continue;
		r = summing_add_members(side->summing, side->walk, unit->number);
		r = walk_forgive(side->walk, r);
	}
	return r;
}

/* Each chunk to all sides that read rows. */
static int unit_add_chunk(
        struct unit *unit, struct detailing detailings[STORE_SUM_SIDES_MAX], uint32_t chunk)
{
	int r = 0;
	for (uint32_t i = 0; i < unit->sides_count && r == 0; i++) {
		struct walk *walk = unit->sides[i].walk;
		if (unit->sides[i].way != UNIT_DETAIL)
			continue;
		r = walk_is_cancelled(walk) ? -ECANCELED
		                            : detailing_chunk(&detailings[i], unit->number, chunk);
		r = walk_forgive(walk, r);
	}
	return r;
}

static int unit_add_detail(struct unit *unit)
{
	struct detailing detailings[STORE_SUM_SIDES_MAX] = { 0 };
	uint32_t chunks = 0;
	int r = 0;
	for (uint32_t i = 0; i < unit->sides_count && r == 0; i++) {
		const struct unit_side *side = &unit->sides[i];
		if (side->way != UNIT_DETAIL)
			continue;
		chunks = unit->sealed->window.units[unit->number].chunks;
		detailings[i] = (struct detailing){
			.summing = side->summing, .walk = side->walk, .block = &unit->block
		};
		if (side->summing->steps)
			r = steps_begin_unit(side->summing, sealed_nodes(unit->sealed),
			        unit->block.dictionary_count);
	}
	for (uint32_t chunk = 0; chunk < chunks && r == 0; chunk++)
		r = unit_add_chunk(unit, detailings, chunk);
	for (uint32_t i = 0; i < unit->sides_count; i++) {
		if (r == 0 && unit->sides[i].way == UNIT_DETAIL)
			r = walk_forgive(unit->sides[i].walk, detailing_flush(&detailings[i]));
		buf_fini(&detailings[i].wanted);
	}
	return r;
}

int pass_unit(struct pass *pass, uint32_t number, const enum take takes[STORE_SUM_SIDES_MAX])
{
	__attribute__((cleanup(unit_fini))) struct unit unit = {
		.sealed = &pass->sealed, .number = number, .sides_count = pass->sides_count
	};
	const struct window_unit *of = &pass->sealed.window.units[number];
	bool is_wanted = false;
	int r = 0;
	for (uint32_t i = 0; i < pass->sides_count && r == 0; i++) {
		struct unit_side *side = &unit.sides[i];
		*side = (struct unit_side){ .summing = &pass->sides[i].summing,
			.walk = &pass->sides[i].walk };
		if (takes[i] == TAKE_NOTHING || of->is_gone ||
		        !summing_wants_unit(side->summing, of))
			continue;
		is_wanted = true;
		r = walk_is_cancelled(side->walk) ? -ECANCELED : unit_judge(&unit, side, takes[i]);
	}
	for (uint32_t i = 0; i < pass->sides_count && is_wanted && r == 0; i++)
		r = unit_prepare(&unit, &unit.sides[i]);
	if (is_wanted && r == 0)
		r = unit_add_sums(&unit);
	return r < 0 || !is_wanted ? r : unit_add_detail(&unit);
}

int summing_watchers(struct summing *summing, struct walk *walk, bool is_whole, uint32_t number)
{
	bool is_rollup = key_window_level(walk->sealed->key) > 0;
	struct detail_chunk chunk;
	struct detail_heads heads;
	struct observer *observer;
	int r = sealed_get_watchers(walk->sealed, number, &chunk, &heads);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < chunk.intervals_count && r == 0; i++) {
		const struct detail_interval *interval = &heads.intervals[i];
		if (!is_whole && !walk_has(walk, interval_key(interval)))
			continue;
		r = summing_observer(summing, interval->stream, &observer);
		if (r < 0)
			break;
		struct pending pending = { interval->start_ns, interval->duration_ns,
			is_rollup ? interval->seq : 1, (uint32_t)(observer - summing->observers) };
		r = summing_put_pending(summing, &pending);
	}
	for (uint32_t i = 0; i < chunk.losses_count && r == 0; i++) {
		const struct detail_loss *loss = &heads.losses[i];
		const struct detail_interval *interval = &heads.intervals[loss->interval];
		uint32_t reason = loss->reason <= LOSS_REASON_MAX ? loss->reason : 0;
		if (loss->series != SERIES_NONE ||
		        (!is_whole && !walk_has(walk, interval_key(interval))))
			continue;
		r = summing_observer(summing, interval->stream, &observer);
		r = r < 0 ? r : sum_add(&observer->lost[reason], loss->count);
	}
	return r;
}

bool summing_wants_unit(const struct summing *summing, const struct window_unit *unit)
{
	uint64_t key = (uint64_t)unit->service << 32 | unit->type;
	const struct summing_part *part = summing->part;
	return part->units_count > 0 &&
	       bsearch(&key, part->units, part->units_count, sizeof(key), summing_compare_units);
}

void summing_miss_gone(struct summing *summing)
{
	const struct key_window *gone = ARRAY(struct key_window, summing->plan.gone);
	for (size_t i = 0; i < ARRAY_COUNT(struct key_window, summing->plan.gone); i++) {
		summing->is_missed = false;
		summing_miss(summing, &gone[i]);
	}
}
