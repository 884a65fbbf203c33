/*
 * Planning a stretch of a sum: which windows answer for it.
 *
 * Windows that overlap, of whatever level, are read together. The widest level is tried first: a
 * rollup is used when all of it is wanted and its sums tell apart what the question does; then
 * whatever it was made of is left out, and what is not in its list of sources is read beside it. If
 * no rollup of a level can be used, the next finer level is tried, whose stretches are shorter, so
 * that no more is read at a time than necessary; but where sides of a question are planned together
 * (store_sum_pass.c), all of them take the widest level that one of them does, so that their
 * stretches are the same. Open batches are in no rollup; sums of them that are in memory
 * (head_sums.h) are read beside whatever else there is.
 *
 * Finer levels may be gone. Where all that a rollup was made of is gone, it belongs to the range by
 * its start; where some of it is, what is there is read, and what is not is counted. A rollup that
 * cannot tell apart what is asked for is used nevertheless when there is nothing finer: for the
 * units where it can, and counted for the others.
 *
 * Between two stretches windows may come and go. A stretch begins where the last one ended, and
 * what begins before it was read or is not wanted: so nothing is read twice.
 */

#include <errno.h>
#include <string.h>

#include "storage/store_sum_private.h"

void plan_fini(struct plan *plan)
{
	buf_fini(&plan->windows);
	buf_fini(&plan->used);
	buf_fini(&plan->gone);
	buf_fini(&plan->heads);
	buf_fini(&plan->fresh);
}

/* ---- windows that overlap ---- */

struct plan_part {
	uint64_t from_ns;
	uint64_t to_ns;
};

/* The first windows that overlap, of levels up to `level`, from the walk's position on. */
static bool plan_find_part(const struct walk *walk, uint32_t level, struct plan_part *ret_part)
{
	const struct head_window *head = head_sums_next(
	        &walk->store->head_sums, walk->at.start_ns, walk->to_ns);
	bool is_found = head;
	if (head)
		*ret_part = (struct plan_part){ head->from_ns, head->to_ns };
	for (uint32_t i = 0; i <= level; i++) {
		struct window_span span;
		if (!window_list_span(
		            store_windows(walk->store, i), walk->at.start_ns, walk->to_ns, &span))
			continue;
		if (!is_found || span.from_ns < ret_part->from_ns)
			*ret_part = (struct plan_part){ span.from_ns, span.to_ns };
		is_found = true;
	}
	return is_found;
}

/* As far as open windows reach that overlap it. */
static bool plan_grow_to_heads(const struct walk *walk, struct plan_part *part)
{
	const struct head_sums *heads = &walk->store->head_sums;
	const struct head_window *head;
	bool has_grown = false;
	uint64_t at_ns = part->from_ns;
	while ((head = head_sums_next(heads, at_ns, part->to_ns))) {
		has_grown |= head->from_ns < part->from_ns || head->to_ns > part->to_ns;
		if (head->from_ns < part->from_ns)
			part->from_ns = head->from_ns;
		if (head->to_ns > part->to_ns)
			part->to_ns = head->to_ns;
		at_ns = head->to_ns;
	}
	return has_grown;
}

/* As far as windows of those levels reach that overlap it. */
static void plan_grow_part(const struct walk *walk, uint32_t level, struct plan_part *part)
{
	bool has_grown;
	do {
		has_grown = false;
		for (uint32_t i = 0; i <= level; i++) {
			const struct window_list *list = store_windows(walk->store, i);
			struct window_span span;
			uint64_t at_ns = part->from_ns;
			while (window_list_span(list, at_ns, part->to_ns, &span)) {
				has_grown |= span.from_ns < part->from_ns ||
				             span.to_ns > part->to_ns;
				if (span.from_ns < part->from_ns)
					part->from_ns = span.from_ns;
				if (span.to_ns > part->to_ns)
					part->to_ns = span.to_ns;
				at_ns = span.to_ns;
			}
		}
		has_grown |= plan_grow_to_heads(walk, part);
	} while (has_grown);
}

/* ---- what is there of a rollup ---- */

/*
 * Is the window there, with all units of it that are wanted? Units go apart, each when its policy
 * says. What cannot be read is not there.
 */
static int plan_can_read(struct summing *summing, struct walk *walk, uint32_t level,
        struct key_window key, bool *ret_can)
{
	const struct window_entry *entry = window_list_get(store_windows(walk->store, level), key);
	struct sealed *sealed = walk->sealed;
	*ret_can = false;
	if (!entry || entry->is_corrupt || expiry_has_window(&walk->store->expiry, key))
		return 0;
	int r = sealed_open(sealed, entry);
	if (r < 0)
		return sealed_is_corrupt(sealed, r) ? 0 : r;
	*ret_can = true;
	summing_turn_to(summing, sealed->generation);
	for (uint32_t i = 0; i < sealed->window.units_count; i++)
		if (sealed->window.units[i].is_gone && !sealed->window.units[i].is_void &&
		        summing_wants_unit(summing, &sealed->window.units[i]))
			*ret_can = false;
	return 0;
}

/* Can what a rollup has of this window of level 0 be read from finer ones? */
static int plan_is_there(struct summing *summing, struct walk *walk,
        const struct window_entry *rollup, struct key_window source, bool *ret_is_there)
{
	int r = plan_can_read(summing, walk, 0, source, ret_is_there);
	for (uint32_t level = 1; level < key_window_level(rollup->key); level++) {
		const struct window_list *list = store_windows(walk->store, level);
		uint64_t earliest = source.from_ns > list->longest_ns
		                            ? source.from_ns - list->longest_ns
		                            : 0;
		for (uint32_t i = window_list_behind(list, earliest);
		        r == 0 && !*ret_is_there && i < list->count &&
		        list->entries[i].key.from_ns <= source.from_ns;
		        i++)
			if (window_entry_has(rollup, list->entries[i].key) &&
			        window_entry_has(&list->entries[i], source))
				r = plan_can_read(
				        summing, walk, level, list->entries[i].key, ret_is_there);
	}
	return r;
}

/* Is one of its sources of level 0 there, or (wanted false) not there? */
static int plan_has_source(struct summing *summing, struct walk *walk,
        const struct window_entry *rollup, bool wanted, bool *ret_has)
{
	int r = 0;
	*ret_has = false;
	for (uint32_t i = 0; i < rollup->sources_count && r == 0 && !*ret_has; i++) {
		bool is_there = !wanted;
		if (key_window_level(rollup->sources[i]) == 0)
			r = plan_is_there(summing, walk, rollup, rollup->sources[i], &is_there);
		*ret_has = is_there == wanted;
	}
	return r;
}

/* ---- deciding ---- */

static bool plan_begins_behind(const struct walk *walk, const struct window_entry *window)
{
	struct key_batch first = { .start_ns = window->key.from_ns };
	return key_batch_compare(walk->at, first) <= 0;
}

/*
 * Does it have something behind the range? A batch belongs to a range by its start: what was begun
 * before the range ends is in it, wherever the window ends.
 */
static bool plan_is_cut(const struct walk *walk, const struct window_entry *window)
{
	return window->key.to_ns > walk->to_ns &&
	       (window->is_corrupt || window->last_ns >= walk->to_ns);
}

/* A rollup that is not read because a block of it cannot be: named, and nothing is missing. */
static int plan_count_damaged(
        struct walk *walk, const struct window_entry *rollup, struct key_block damaged)
{
	struct sealed *sealed = walk->sealed;
	int r = sealed_open(sealed, rollup);
	if (r < 0)
		return sealed_is_corrupt(sealed, r) ? 0 : r;
	sealed->tried = damaged;
	sealed->is_noted = true; /* when it was read */
	walk_count_replaced(walk, SUMMING_FINER_INSTEAD);
	return 0;
}

/* Of this rollup, is it read, or what it was made of? */
static int plan_uses(struct summing *summing, struct walk *walk, const struct window_entry *rollup,
        bool *ret_uses)
{
	bool is_cut = plan_is_cut(walk, rollup);
	struct sealed *sealed = walk->sealed;
	bool fits = false;
	bool has_finer = false;
	bool lacks_finer = false;
	*ret_uses = false;
	if (rollup->is_corrupt || !plan_begins_behind(walk, rollup) ||
	        rollup->key.from_ns >= walk->to_ns ||
	        expiry_has_window(&walk->store->expiry, rollup->key))
		return 0;
	int r = is_cut ? 0 : summing_fits(summing, walk, rollup, &fits);
	if (r < 0 && !sealed_is_corrupt(sealed, r))
		return r;
	bool is_readable = r == 0 && !is_cut;
	struct key_block damaged = { 0 };
	if (r < 0)
		damaged = sealed->tried;
	bool is_whole = true; /* of what is wanted of it, nothing is gone */
	r = plan_can_read(summing, walk, key_window_level(rollup->key), rollup->key, &is_whole);
	if (r < 0)
		return r;
	*ret_uses = is_readable && fits && is_whole;
	if (*ret_uses)
		return 0;
	/*
	 * Cut, or without units that are wanted: whatever is finer is better. Otherwise only all of
	 * it, as the rollup answers for some units at least.
	 */
	r = plan_has_source(summing, walk, rollup, true, &has_finer);
	if (r == 0 && !is_cut && is_whole)
		r = plan_has_source(summing, walk, rollup, false, &lacks_finer);
	*ret_uses = is_cut || !is_whole ? !has_finer : lacks_finer;
	if (r == 0 && damaged.part && !*ret_uses)
		r = plan_count_damaged(walk, rollup, damaged);
	return r;
}

/* Is it in a rollup that is used? */
static bool plan_has_taken(const struct walk *walk, const struct plan *plan, struct key_window key)
{
	const struct plan_window *used = ARRAY(struct plan_window, plan->used);
	for (size_t i = 0; i < ARRAY_COUNT(struct plan_window, plan->used); i++) {
		const struct window_entry *entry = window_list_get(
		        store_windows(walk->store, key_window_level(used[i].key)), used[i].key);
		if (entry && window_entry_has(entry, key))
			return true;
	}
	return false;
}

static int plan_put(struct buf *to, struct key_window key, bool is_whole)
{
	struct plan_window window = { .key = key, .is_whole = is_whole };
	buf_put(to, &window, sizeof(window));
	return to->failed ? -ENOMEM : 0;
}

/* The rollups of one level in the part that are read. */
static int plan_level(
        struct summing *summing, struct walk *walk, uint32_t level, struct plan_part part)
{
	const struct window_list *list = store_windows(walk->store, level);
	struct plan *plan = &summing->plan;
	AUTO_BUF used = { 0 };
	int r = 0;
	for (uint32_t i = window_list_behind(list, part.from_ns);
	        i < list->count && list->entries[i].key.from_ns < part.to_ns && r == 0; i++) {
		const struct window_entry *rollup = &list->entries[i];
		bool uses = false;
		if (plan_has_taken(walk, plan, rollup->key))
			continue;
		r = plan_uses(summing, walk, rollup, &uses);
		if (r == 0 && uses)
			r = plan_put(&used, rollup->key, true);
		if (r == 0 && rollup->is_corrupt && plan_begins_behind(walk, rollup))
			walk_count_corrupt_window(walk, rollup->key);
	}
	/* Those of one level are not made of each other. */
	if (r == 0 && used.count > 0) {
		buf_put(&plan->used, used.bytes, used.count);
		buf_put(&plan->windows, used.bytes, used.count);
	}
	return r == 0 && (plan->used.failed || plan->windows.failed) ? -ENOMEM : r;
}

/* Windows of level 0 in the part that are in nothing that is used. */
static int plan_sealed(struct summing *summing, struct walk *walk, struct plan_part part)
{
	const struct window_list *list = &walk->store->windows;
	struct plan *plan = &summing->plan;
	int r = 0;
	for (uint32_t i = window_list_behind(list, part.from_ns);
	        i < list->count && list->entries[i].key.from_ns < part.to_ns && r == 0; i++) {
		const struct window_entry *window = &list->entries[i];
		if (window->key.to_ns <= walk->at.start_ns || window->key.from_ns >= walk->to_ns ||
		        plan_has_taken(walk, plan, window->key))
			continue;
		r = plan_put(&plan->windows, window->key,
		        plan_begins_behind(walk, window) && !plan_is_cut(walk, window));
	}
	return r;
}

static int plan_compare_keys(const void *a, const void *b)
{
	return key_window_compare(*(const struct key_window *)a, *(const struct key_window *)b);
}

/* The range begins in this rollup, and nothing finer is left: has it some of what is wanted? */
static int plan_note_cut(
        struct summing *summing, struct walk *walk, const struct window_entry *rollup)
{
	struct sealed *sealed = walk->sealed;
	int r = sealed_open(sealed, rollup);
	if (r < 0)
		return sealed_is_corrupt(sealed, r) ? 0 : r;
	summing_turn_to(summing, sealed->generation);
	bool is_wanted = false;
	for (uint32_t i = 0; i < sealed->window.units_count; i++)
		is_wanted |= !sealed->window.units[i].is_gone &&
		             summing_wants_unit(summing, &sealed->window.units[i]);
	if (is_wanted)
		summing_note_cut(summing, rollup->key, rollup->last_ns);
	return 0;
}

/* What rollups that are not used were made of, begins in the stretch and is not there. */
static int plan_miss(struct summing *summing, struct walk *walk, const struct window_entry *rollup)
{
	struct plan *plan = &summing->plan;
	bool has_finer = true;
	int r = 0;
	if (plan_has_taken(walk, plan, rollup->key) || rollup->is_corrupt ||
	        expiry_has_window(&walk->store->expiry, rollup->key))
		return 0;
	/* Without anything finer it belongs to where it began, whole: to another range. */
	if (rollup->key.from_ns < walk->from_ns)
		r = plan_has_source(summing, walk, rollup, true, &has_finer);
	if (r == 0 && !has_finer)
		return plan_note_cut(summing, walk, rollup);
	if (r < 0)
		return r;
	uint64_t to_ns = plan->to_ns < walk->to_ns ? plan->to_ns : walk->to_ns;
	for (uint32_t i = 0; i < rollup->sources_count && r == 0; i++) {
		struct key_window source = rollup->sources[i];
		bool is_there = false;
		if (key_window_level(source) > 0 || source.from_ns < walk->at.start_ns ||
		        source.from_ns >= to_ns || plan_has_taken(walk, plan, source))
			continue;
		r = plan_is_there(summing, walk, rollup, source, &is_there);
		if (r == 0 && !is_there)
			buf_put(&plan->gone, &source, sizeof(source));
	}
	return r == 0 && plan->gone.failed ? -ENOMEM : r;
}

static bool plan_is_used(const struct plan *plan, struct key_window key)
{
	const struct plan_window *used = ARRAY(struct plan_window, plan->used);
	for (size_t i = 0; i < ARRAY_COUNT(struct plan_window, plan->used); i++)
		if (key_window_compare(used[i].key, key) == 0)
			return true;
	return false;
}

static int plan_list_gone(struct summing *summing, struct walk *walk)
{
	struct plan *plan = &summing->plan;
	int r = 0;
	for (uint32_t level = 1; level < WINDOW_LEVELS; level++) {
		const struct window_list *list = store_windows(walk->store, level);
		uint64_t at_ns = walk->at.start_ns;
		uint64_t earliest = at_ns > list->longest_ns ? at_ns - list->longest_ns : 0;
		for (uint32_t i = window_list_behind(list, earliest);
		        i < list->count && list->entries[i].key.from_ns < plan->to_ns && r == 0;
		        i++)
			if (list->entries[i].key.to_ns > at_ns &&
			        !plan_is_used(plan, list->entries[i].key))
				r = plan_miss(summing, walk, &list->entries[i]);
	}
	/* An hour and its day may both have been made of it. */
	struct key_window *gone = ARRAY(struct key_window, plan->gone);
	size_t count = ARRAY_COUNT(struct key_window, plan->gone);
	size_t kept = 0;
	if (count > 1)
		qsort(gone, count, sizeof(*gone), plan_compare_keys);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || key_window_compare(gone[kept - 1], gone[i]) != 0)
			gone[kept++] = gone[i];
	plan->gone.count = kept * sizeof(*gone);
	return r;
}

/* Windows of levels up to `level` in the part, the widest first. */
static int plan_part(struct summing *summing, struct walk *walk, uint32_t level, uint32_t level_min,
        struct plan_part part, bool *ret_is_made)
{
	struct plan *plan = &summing->plan;
	int r = 0;
	buf_reset(&plan->windows);
	buf_reset(&plan->used);
	for (uint32_t i = level; i > 0 && r == 0; i--) {
		r = plan_level(summing, walk, i, part);
		/* A finer level may do with a shorter stretch. */
		if (r == 0 && i == level && plan->used.count == 0 && level > level_min)
			return 0;
	}
	*ret_is_made = true;
	plan->level = level;
	r = r < 0 ? r : plan_sealed(summing, walk, part);
	return r < 0 ? r : plan_heads(summing, walk, part.from_ns, part.to_ns);
}

int plan_make(struct summing *summing, struct walk *walk, uint32_t level_min)
{
	struct plan *plan = &summing->plan;
	bool is_made = false;
	int r = 0;
	buf_reset(&plan->gone);
	buf_reset(&plan->heads);
	buf_reset(&plan->fresh);
	plan->to_ns = walk->to_ns;
	plan->level = 0;
	for (uint32_t level = WINDOW_LEVELS; level > 0 && !is_made && r == 0; level--) {
		struct plan_part part;
		buf_reset(&plan->windows);
		buf_reset(&plan->used);
		if (!plan_find_part(walk, level - 1, &part))
			break;
		plan_grow_part(walk, level - 1, &part);
		/* Behind what overlaps at a wider level, that is to be tried again. */
		if (part.from_ns > walk->at.start_ns) {
			if (part.from_ns < plan->to_ns)
				plan->to_ns = part.from_ns;
			break;
		}
		plan->to_ns = part.to_ns;
		r = plan_part(summing, walk, level - 1, level_min, part, &is_made);
	}
	return r < 0 ? r : plan_list_gone(summing, walk);
}
