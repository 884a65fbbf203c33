/*
 * Which group of the question the groups of a window's sums are, by the members of its units: one
 * that has series of several, or of some that are asked for and of some that are not, cannot
 * answer.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "storage/store_sum_sealed_private.h"

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
bool summing_is_total(const struct sum_block *block, const int64_t *choices, uint32_t *ret_group)
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
int summing_choose_all(struct summing *summing, struct sealed *sealed, uint32_t unit,
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
int summing_fits_unit(struct summing *summing, struct sealed *sealed, uint32_t unit, bool *ret_fits,
        bool *ret_wants)
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

bool summing_wants_unit(const struct summing *summing, const struct window_unit *unit)
{
	uint64_t key = (uint64_t)unit->service << 32 | unit->type;
	const struct summing_part *part = summing->part;
	return part->units_count > 0 &&
	       bsearch(&key, part->units, part->units_count, sizeof(key), summing_compare_units);
}
