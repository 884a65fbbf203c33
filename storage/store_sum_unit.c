/*
 * A unit of a sealed window, for all sides of a question: each side judges how it reads it, by the
 * sums where they can answer, else by its detail; what is decoded is added to every side that takes
 * it.
 */

#include <errno.h>
#include <stdlib.h>

#include "storage/store_sum_sealed_private.h"

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
	else
		summing_note_cut(side->summing, unit->sealed->key, unit->sealed->window.last_ns);
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
	if (!sealed->segment)
		summing_note_cut(summing, sealed->key, sealed->window.last_ns);
	if (!sealed->segment && sealed->window.is_collapsed)
		summing_note_collapsed(summing, sealed->key);
	if (!sealed->segment && summing->steps)
		steps_note_window(summing, sealed);
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
