/*
 * A unit of a rollup whose sums cannot be read, from the windows that it was added up from.
 *
 * Such units are noted while the rollup is read, and seen to behind all others of it. Every window
 * of batches that the rollup was made of is looked for, the widest rollup that has it first. All of
 * them must be there, and say the same of who is in the unit: policies may have parted it
 * elsewhere. Then they are read in the place of the unit, members included; if one of them cannot
 * be read either, what it was made of is tried in turn. Where something finer is gone, the unit is
 * left out as a whole. Either way it is named, and counted among what could not be read.
 *
 * Generations of the dictionary may differ between a rollup and what it was made of: units are the
 * same by their names, and series by their hashes.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/store_sum_private.h"

/* What was noted. */
struct damaged_unit {
	struct key_window window;
	struct key_block tried; /* what of it could not be read */
	uint32_t unit;
	bool is_noted; /* in the quarantine */
	bool has_members;
};

struct finer {
	struct summing *summing;
	struct walk *walk;
	struct hash128 name; /* of tenant, service and type */
	bool has_all;        /* nobody can say which, but it is not parted: all of that name */
	struct buf series;   /* struct hash128 of those that are asked for, ascending */
	struct buf windows;  /* struct key_window: what is read */
};

static void finer_fini(struct finer *finer)
{
	buf_fini(&finer->series);
	buf_fini(&finer->windows);
}

int summing_note_damaged(
        struct summing *summing, const struct sealed *sealed, uint32_t unit, bool has_members)
{
	struct damaged_unit damaged = {
		.window = sealed->key,
		.tried = sealed->tried,
		.unit = unit,
		.is_noted = sealed->is_noted,
		.has_members = has_members,
	};
	buf_put(&summing->damaged, &damaged, sizeof(damaged));
	return summing->damaged.failed ? -ENOMEM : 0;
}

/* ---- who is in the unit ---- */

static struct hash128 finer_text(const struct sealed *sealed, uint32_t string)
{
	size_t count;
	const char *bytes = dict_get_string(sealed_dict(sealed), string, &count);
	return hash128_bytes(bytes, count);
}

static struct hash128 finer_name(const struct sealed *sealed, const struct window_unit *unit)
{
	const char *tenant = sealed->window.tenants[unit->tenant];
	struct hash128 texts[] = {
		hash128_bytes(tenant, strlen(tenant)),
		finer_text(sealed, unit->service),
		finer_text(sealed, unit->type),
	};
	return hash128_bytes(texts, sizeof(texts));
}

static int finer_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct hash128));
}

/* Is anybody else of the unit's name in the window that is open? */
static bool finer_is_parted(const struct sealed *sealed, uint32_t unit)
{
	const struct window_unit *units = sealed->window.units;
	for (uint32_t i = 0; i < sealed->window.units_count; i++)
		if (i != unit && units[i].tenant == units[unit].tenant &&
		        units[i].service == units[unit].service &&
		        units[i].type == units[unit].type)
			return true;
	return false;
}

/* Of members, the series that are asked for: by number of those that report or lost something. */
static bool finer_member(struct finer *finer, const struct detail_chunk *members,
        const struct detail_heads *heads, uint32_t number, struct hash128 *ret_series)
{
	uint32_t series = number < members->reports_count
	                          ? heads->reports[number].series
	                          : heads->losses[number - members->reports_count].series;
	if (!summing_find(finer->summing, series))
		return false;
	*ret_series = dict_series_hash(finer->summing->generation->dict, series);
	return true;
}

/* Of a unit: how many of its members are among the series, or are not. */
struct finer_shares {
	uint64_t own;
	uint64_t others;
};

static void finer_take_member(struct finer *finer, struct hash128 series)
{
	buf_put(&finer->series, &series, sizeof(series));
}

static void finer_count_member(
        const struct finer *finer, struct hash128 series, struct finer_shares *shares)
{
	bool is_own = finer->series.count > 0 && bsearch(&series, finer->series.bytes,
	                                                 ARRAY_COUNT(struct hash128, finer->series),
	                                                 sizeof(series), finer_compare);
	shares->own += is_own;
	shares->others += !is_own;
}

/* All members of a unit of the open window: taken (NULL), or counted. */
static int finer_each_member(struct finer *finer, uint32_t unit, struct finer_shares *shares)
{
	struct sealed *sealed = finer->walk->sealed;
	struct hash128 series;
	int r = 0;
	for (uint32_t i = 0; i < sealed_members_count(sealed, unit) && r == 0; i++) {
		struct detail_chunk members;
		struct detail_heads heads;
		r = sealed_get_members(sealed, unit, i, &members, &heads);
		uint32_t count = r < 0 ? 0 : members.reports_count + members.losses_count;
		for (uint32_t j = 0; j < count; j++) {
			if (!finer_member(finer, &members, &heads, j, &series))
				continue;
			if (shares)
				finer_count_member(finer, series, shares);
			else
				finer_take_member(finer, series);
		}
	}
	return r == 0 && finer->series.failed ? -ENOMEM : r;
}

static int finer_take_series(struct finer *finer, uint32_t unit)
{
	int r = finer_each_member(finer, unit, NULL);
	if (r == 0 && finer->series.count)
		qsort(finer->series.bytes, ARRAY_COUNT(struct hash128, finer->series),
		        sizeof(struct hash128), finer_compare);
	return r;
}

/* Can it be the unit, or a part of it, in the window that is open? */
static bool finer_is_meant(const struct finer *finer, uint32_t unit)
{
	const struct sealed *sealed = finer->walk->sealed;
	const struct window_unit *of = &sealed->window.units[unit];
	return summing_wants_unit(finer->summing, of) &&
	       hash128_equal(finer_name(sealed, of), finer->name);
}

/* ---- what is there of it ---- */

/* Has the unit of the open window something of ours, all of it and nothing else? */
static int finer_judge_unit(struct finer *finer, uint32_t unit, bool *ret_fits, bool *ret_is_own)
{
	const struct window_unit *of = &finer->walk->sealed->window.units[unit];
	struct finer_shares shares = { .own = finer->has_all };
	*ret_is_own = false;
	if (!finer_is_meant(finer, unit))
		return 0;
	if (of->is_gone) {
		*ret_fits &= of->is_void;
		return 0;
	}
	int r = finer->has_all ? 0 : finer_each_member(finer, unit, &shares);
	if (sealed_is_corrupt(finer->walk->sealed, r)) {
		*ret_fits = false;
		return 0;
	}
	*ret_fits &= shares.own == 0 || shares.others == 0;
	*ret_is_own = shares.own > 0;
	return r;
}

static int finer_open(struct finer *finer, struct key_window key, bool *ret_is_open)
{
	struct sealed *sealed = finer->walk->sealed;
	const struct window_entry *entry = window_list_get(
	        store_windows(finer->walk->store, key_window_level(key)), key);
	*ret_is_open = false;
	if (!entry || entry->is_corrupt || expiry_has_window(&finer->walk->store->expiry, key))
		return 0;
	int r = sealed_open(sealed, entry);
	if (r < 0)
		return sealed_is_corrupt(sealed, r) ? 0 : r;
	summing_turn_to(finer->summing, sealed->generation);
	*ret_is_open = finer->summing->part != &finer->summing->nothing;
	return 0;
}

static int finer_judge(struct finer *finer, struct key_window key, bool *ret_fits)
{
	int r = finer_open(finer, key, ret_fits);
	uint32_t count = *ret_fits ? finer->walk->sealed->window.units_count : 0;
	for (uint32_t i = 0; i < count && r == 0 && *ret_fits; i++) {
		bool is_own;
		r = finer_judge_unit(finer, i, ret_fits, &is_own);
	}
	return r;
}

/* A rollup of the level that has the source, or (level 0) the source itself. */
static int finer_choose_of_level(struct finer *finer, const struct window_entry *rollup,
        uint32_t level, struct key_window source, bool *ret_is_chosen)
{
	const struct window_list *list = store_windows(finer->walk->store, level);
	uint64_t earliest = source.from_ns > list->longest_ns ? source.from_ns - list->longest_ns
	                                                      : 0;
	int r = 0;
	for (uint32_t i = window_list_behind(list, earliest);
	        r == 0 && !*ret_is_chosen && i < list->count &&
	        list->entries[i].key.from_ns <= source.from_ns;
	        i++) {
		const struct window_entry *entry = &list->entries[i];
		bool is_it = level == 0 ? key_window_compare(entry->key, source) == 0
		                        : window_entry_has(rollup, entry->key) &&
		                                  window_entry_has(entry, source);
		if (!is_it)
			continue;
		r = finer_judge(finer, entry->key, ret_is_chosen);
		if (r == 0 && *ret_is_chosen)
			buf_put(&finer->windows, &entry->key, sizeof(entry->key));
	}
	return r == 0 && finer->windows.failed ? -ENOMEM : r;
}

/* Is it in something that is read already? */
static bool finer_has(const struct finer *finer, struct key_window source)
{
	const struct key_window *windows = ARRAY(struct key_window, finer->windows);
	for (size_t i = 0; i < ARRAY_COUNT(struct key_window, finer->windows); i++) {
		const struct window_entry *entry = window_list_get(
		        store_windows(finer->walk->store, key_window_level(windows[i])),
		        windows[i]);
		if (entry && window_entry_has(entry, source))
			return true;
	}
	return false;
}

/* What the rollup was made of, into finer->windows. false: not all of it is there. */
static int finer_choose(struct finer *finer, const struct window_entry *rollup, bool *ret_is_there)
{
	int r = 0;
	*ret_is_there = rollup->sources_count > 0;
	for (uint32_t i = 0; i < rollup->sources_count && r == 0 && *ret_is_there; i++) {
		struct key_window source = rollup->sources[i];
		bool is_chosen = key_window_level(source) > 0 || finer_has(finer, source);
		for (uint32_t level = key_window_level(rollup->key);
		        level > 0 && r == 0 && !is_chosen; level--)
			r = finer_choose_of_level(finer, rollup, level - 1, source, &is_chosen);
		*ret_is_there = is_chosen;
	}
	return r;
}

/* ---- reading it ---- */

static int finer_read(struct finer *finer, struct key_window key)
{
	struct summing *summing = finer->summing;
	struct walk *walk = finer->walk;
	enum take takes[STORE_SUM_SIDES_MAX] = { TAKE_NOTHING };
	bool fits = true;
	bool is_open;
	takes[summing_side(summing)] = TAKE_WHOLE;
	int r = finer_open(finer, key, &is_open);
	uint32_t count = is_open ? walk->sealed->window.units_count : 0;
	summing->is_missed = false;
	summing->is_collapse_noted = false;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		bool is_own;
		r = finer_judge_unit(finer, i, &fits, &is_own);
		if (r == 0 && is_own)
			r = walk_is_cancelled(walk) ? -ECANCELED
			                            : pass_unit(summing->pass, i, takes);
	}
	return r;
}

static int finer_run(struct finer *finer, const struct damaged_unit *damaged)
{
	struct walk *walk = finer->walk;
	struct sealed *sealed = walk->sealed;
	const struct window_entry *rollup = window_list_get(
	        store_windows(walk->store, key_window_level(damaged->window)), damaged->window);
	bool is_there = false;
	bool is_open = false;
	int r = finer_open(finer, damaged->window, &is_open);
	if (r == 0 && is_open) {
		finer->name = finer_name(sealed, &sealed->window.units[damaged->unit]);
		finer->has_all = !damaged->has_members && !finer_is_parted(sealed, damaged->unit);
		if (damaged->has_members)
			r = finer_take_series(finer, damaged->unit);
		if (r == 0 && (finer->has_all || damaged->has_members))
			r = finer_choose(finer, rollup, &is_there);
		r = r < 0 ? r : finer_open(finer, damaged->window, &is_open);
	}
	if (r < 0)
		return r;
	/* The rollup is open, so that its unit is named. */
	sealed->tried = damaged->tried;
	sealed->is_noted = damaged->is_noted;
	if (is_there)
		walk_count_replaced(walk, SUMMING_FINER_INSTEAD);
	else
		walk_count_corrupt(walk);
	const struct key_window *windows = ARRAY(struct key_window, finer->windows);
	for (size_t i = 0; is_there && i < ARRAY_COUNT(struct key_window, finer->windows) && r == 0;
	        i++)
		r = finer_read(finer, windows[i]);
	return r;
}

int summing_read_finer(struct summing *summing, struct walk *walk)
{
	int r = 0;
	/* What is read may turn out to be damaged as well, and is put behind the others. */
	for (size_t i = 0; i < ARRAY_COUNT(struct damaged_unit, summing->damaged) && r == 0; i++) {
		struct damaged_unit damaged = ARRAY(struct damaged_unit, summing->damaged)[i];
		struct finer finer = { .summing = summing, .walk = walk };
		r = finer_run(&finer, &damaged);
		finer_fini(&finer);
	}
	buf_reset(&summing->damaged);
	return r;
}
