/*
 * The way of all sides of a question through the store, a visit to the gate for each stretch:
 *
 *	side A   [ 0 0 | ..... ]           windows of ten minutes, then open batches
 *	side B         [ .......... | 0 ]
 *	read       0 0   .......... ,  0
 *
 * The side that is furthest behind plans first; those that begin within its stretch plan theirs in
 * the same visit, of windows as wide. What a side reads depends on its own range and series: so
 * plans differ, and each window is in the union once, with the part of it that each side takes.
 *
 * A side that is alone, as that of every question but a diff, goes the same way.
 */

#include <errno.h>
#include <string.h>

#include "storage/store_sum_private.h"

int pass_init(struct pass *pass, struct store *store, uint32_t sides_count)
{
	pass->store = store;
	pass->sides_count = sides_count;
	pass->bound.memory_max = pass->sides[0].summing.options->memory_max;
	for (uint32_t i = 0; i < sides_count; i++) {
		struct pass_side *side = &pass->sides[i];
		side->summing.store = store;
		side->summing.pass = pass;
		side->walk.store = store;
		side->walk.cancelled = pass->sides[0].summing.options->cancelled;
		side->walk.sealed = &pass->sealed;
	}
	int r = sealed_init(&pass->sealed, store);
	pass->sealed.passes_over = true;
	pass->sealed.holds = true;
	for (uint32_t i = 0; i < sides_count && r == 0; i++)
		r = summing_init(&pass->sides[i].summing);
	return r;
}

void pass_fini(struct pass *pass)
{
	if (pass->sides_count == 0)
		return;
	for (uint32_t i = 0; i < pass->sides_count; i++)
		summing_fini(&pass->sides[i].summing);
	sealed_fini(&pass->sealed);
	batch_free(pass->batch);
	store_repin(pass->store, &pass->pinned, NULL);
	buf_fini(&pass->scratch);
}

/* ---- planning ---- */

static bool pass_has_more(const struct pass_side *side)
{
	return side->walk.at.start_ns < side->walk.to_ns;
}

/* The side that is furthest behind, or sides_count: all have come to their ends. */
static uint32_t pass_leader(const struct pass *pass)
{
	uint32_t leader = pass->sides_count;
	for (uint32_t i = 0; i < pass->sides_count; i++)
		if (pass_has_more(&pass->sides[i]) &&
		        (leader == pass->sides_count || key_batch_compare(pass->sides[i].walk.at,
		                                                pass->sides[leader].walk.at) < 0))
			leader = i;
	return leader;
}

/* Blocks have what the sums leave of the question's memory, who may soon need what one of them
 * does. */
static void pass_bound(struct pass *pass)
{
	uint64_t taken = pass->bound.memory;
	uint64_t next = 0;
	for (uint32_t side = 0; side < pass->sides_count; side++) {
		const struct summing *summing = &pass->sides[side].summing;
		for (uint32_t i = 0; i < summing->options->match->parts_count; i++) {
			/* Without series there are none. */
			const struct sums *sums = summing->parts[i].sums;
			if (sums && sums_memory_next(sums) > next)
				next = sums_memory_next(sums);
		}
	}
	taken += next;
	pass->sealed.memory_max = taken < pass->bound.memory_max ? pass->bound.memory_max - taken
	                                                         : 1;
}

static int pass_plan_side(struct pass_side *side, uint32_t level_min)
{
	return plan_make(&side->summing, &side->walk, level_min);
}

/* Once more, of wider windows: what the first plan has counted is counted again. */
static int pass_plan_again(struct pass_side *side, uint32_t level_min, const struct walk *before)
{
	side->walk.store->corrupt -= side->walk.corrupt - before->corrupt;
	side->walk = *before;
	return pass_plan_side(side, level_min);
}

/* The next stretch, of all sides that have something in it. */
static int pass_plan(struct pass *pass, uint32_t leader, bool ret_takes_part[STORE_SUM_SIDES_MAX])
{
	struct pass_side *first = &pass->sides[leader];
	struct walk before = first->walk;
	uint32_t level = 0;
	int r = pass_plan_side(first, 0);
	ret_takes_part[leader] = true;
	for (uint32_t i = 0; i < pass->sides_count && r == 0; i++) {
		struct pass_side *side = &pass->sides[i];
		if (i == leader || !pass_has_more(side) ||
		        side->walk.at.start_ns >= first->summing.plan.to_ns)
			continue;
		ret_takes_part[i] = true;
		r = pass_plan_side(side, first->summing.plan.level);
		level = side->summing.plan.level;
	}
	if (r == 0 && level > first->summing.plan.level)
		r = pass_plan_again(first, level, &before);
	return r;
}

/* Nothing but batches: they can be read in several visits. */
static bool pass_is_open(const struct pass *pass, const bool takes_part[STORE_SUM_SIDES_MAX])
{
	for (uint32_t i = 0; i < pass->sides_count; i++) {
		const struct plan *plan = &pass->sides[i].summing.plan;
		if (takes_part[i] && (plan->windows.count > 0 || plan->gone.count > 0))
			return false;
	}
	return true;
}

/* ---- reading ---- */

/* What was opened is what the sides that take it go on with; or it could not be. */
static int pass_open_window(struct pass *pass, const struct pass_window *window, bool *ret_is_open)
{
	struct sealed *sealed = &pass->sealed;
	struct window_entry entry = { .key = window->key };
	int opened = window->segment ? sealed_open_segment(sealed, window->segment)
	                             : sealed_open(sealed, &entry);
	int r = 0;
	*ret_is_open = opened == 0;
	for (uint32_t i = 0; i < pass->sides_count && r == 0; i++) {
		struct summing *summing = &pass->sides[i].summing;
		if (window->takes[i] == TAKE_NOTHING)
			continue;
		r = walk_forgive(&pass->sides[i].walk, opened);
		if (opened == 0)
			summing_turn_to(summing, sealed->generation);
		summing->is_missed = false;
		summing->is_collapse_noted = false;
	}
	return r;
}

/* Steps do not say who was watching. */
static int pass_watchers(struct pass *pass, const struct pass_window *window)
{
	int r = 0;
	for (uint32_t chunk = 0; chunk < pass->sealed.window.watchers_chunks && r == 0; chunk++) {
		for (uint32_t i = 0; i < pass->sides_count && r == 0; i++) {
			struct pass_side *side = &pass->sides[i];
			if (window->takes[i] == TAKE_NOTHING || side->summing.steps)
				continue;
			r = summing_watchers(
			        &side->summing, &side->walk, window->takes[i] == TAKE_WHOLE, chunk);
			r = walk_forgive(&side->walk, r);
		}
	}
	return r;
}

int pass_window(struct pass *pass, const struct pass_window *window)
{
	bool is_open = false;
	int r = pass_open_window(pass, window, &is_open);
	if (r < 0 || !is_open)
		return r;
	r = pass_watchers(pass, window);
	uint32_t units = pass->sealed.window.units_count;
	for (uint32_t unit = 0; unit < units && r == 0; unit++)
		r = pass_unit(pass, unit, window->takes);
	/* Opens other windows. */
	for (uint32_t i = 0; i < pass->sides_count && r == 0; i++)
		if (window->takes[i] != TAKE_NOTHING)
			r = summing_read_finer(&pass->sides[i].summing, &pass->sides[i].walk);
	return r;
}

/* A side's part of a window, by its plan. */
static enum take pass_take(const struct summing *summing, const struct plan_window *of)
{
	const struct plan_window *windows = ARRAY(struct plan_window, summing->plan.windows);
	for (size_t i = 0; i < ARRAY_COUNT(struct plan_window, summing->plan.windows); i++)
		if (windows[i].segment == of->segment &&
		        key_window_compare(windows[i].key, of->key) == 0)
			return windows[i].is_whole ? TAKE_WHOLE : TAKE_CUT;
	return TAKE_NOTHING;
}

static int pass_windows_of(
        struct pass *pass, uint32_t side, const bool takes_part[STORE_SUM_SIDES_MAX])
{
	struct summing *summing = &pass->sides[side].summing;
	const struct plan_window *windows = ARRAY(struct plan_window, summing->plan.windows);
	size_t count = ARRAY_COUNT(struct plan_window, summing->plan.windows);
	int r = 0;
	for (size_t i = 0; i < count && r == 0; i++) {
		struct pass_window window = { .key = windows[i].key,
			.segment = windows[i].segment };
		bool is_read = false;
		for (uint32_t j = 0; j < pass->sides_count; j++) {
			if (takes_part[j])
				window.takes[j] = pass_take(&pass->sides[j].summing, &windows[i]);
			is_read |= j < side && window.takes[j] != TAKE_NOTHING;
		}
		if (is_read)
			continue;
		r = summing->steps ? steps_window(summing, &pass->sides[side].walk, &window)
		                   : pass_window(pass, &window);
	}
	return r;
}

static int pass_read(struct pass *pass, const bool takes_part[STORE_SUM_SIDES_MAX])
{
	int r = 0;
	for (uint32_t i = 0; i < pass->sides_count; i++)
		pass->sides[i].summing.is_pending = takes_part[i];
	r = pass_open(pass, takes_part, false);
	for (uint32_t i = 0; i < pass->sides_count && r == 0; i++)
		if (takes_part[i])
			r = pass_windows_of(pass, i, takes_part);
	for (uint32_t i = 0; i < pass->sides_count && r == 0; i++) {
		struct pass_side *side = &pass->sides[i];
		const struct plan *plan = &side->summing.plan;
		if (!takes_part[i])
			continue;
		r = summing_see_pending(&side->summing);
		side->walk.at = (struct key_batch){
			.start_ns = plan->to_ns < side->walk.to_ns ? plan->to_ns : side->walk.to_ns
		};
	}
	for (uint32_t i = 0; i < pass->sides_count; i++)
		pass->sides[i].summing.is_pending = false;
	return r;
}

/* Inside the gate. */
static int pass_stretch(struct pass *pass, uint32_t leader)
{
	bool takes_part[STORE_SUM_SIDES_MAX] = { false };
	bool may_break = gate_is_outermost(&pass->store->gate);
	if (walk_is_cancelled(&pass->sides[leader].walk))
		return -ECANCELED;
	pass_bound(pass);
	int r = pass_plan(pass, leader, takes_part);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < pass->sides_count; i++)
		if (takes_part[i])
			summing_miss_gone(&pass->sides[i].summing);
	return may_break && pass_is_open(pass, takes_part) ? pass_open(pass, takes_part, true)
	                                                   : pass_read(pass, takes_part);
}

int pass_run(struct pass *pass)
{
	uint32_t leader;
	int r = 0;
	while (r == 0 && (leader = pass_leader(pass)) < pass->sides_count) {
		uint64_t before_ns[STORE_SUM_SIDES_MAX] = { 0 };
		for (uint32_t i = 0; i < pass->sides_count; i++)
			before_ns[i] = pass->sides[i].walk.at.start_ns;
		store_read_lock(pass->store);
		r = pass_stretch(pass, leader);
		store_read_unlock(pass->store);
		for (uint32_t i = 0; i < pass->sides_count; i++)
			walk_tell(&pass->sides[i].walk, before_ns[i]);
	}
	return r;
}
