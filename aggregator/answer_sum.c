/* A group's number is that of its series in the answer's dict, so sides agree on them. */

#include "aggregator/answer_sum.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "storage/sum_groups.h"

static_assert(ANSWER_SIDES_MAX <= STORE_SUM_SIDES_MAX, "sides of a question are summed together");

void answer_sum_fini(struct answer_sum *work)
{
	selector_free(work->selector);
	store_match_free(work->match);
	free(work->groups.of_series);
	store_sum_fini(&work->sum);
}

/*
 * Between stretches of rows: the writer, who may be waiting for the gate, is let in before the
 * question goes on, unless it was cancelled or has grown past what one question may use.
 */
int answer_pause(struct store *store, const struct answer_build_options *options, size_t memory)
{
	if (__atomic_load_n(options->cancelled, __ATOMIC_RELAXED))
		return -ECANCELED;
	if (memory > options->memory_max)
		return -E2BIG;
	store_read_unlock(store);
	store_read_lock(store);
	return 0;
}

static int carry_string(const struct dict *from, uint32_t id, struct dict *to, uint32_t *ret_id)
{
	size_t count;
	const char *bytes = dict_get_string(from, id, &count);
	return dict_string(to, bytes, count, ret_id);
}

static bool group_is_by(const struct wire_query *query, const char *label)
{
	for (uint32_t i = 0; query->group == WIRE_GROUP_LABELS && i < query->by_count; i++)
		if (query->by[i].count == strlen(label) &&
		        memcmp(query->by[i].bytes, label, query->by[i].count) == 0)
			return true;
	return false;
}

/* The bucket of a series as if it were a label. */
static int group_put_bucket(const struct dict *from, const struct sum_labels *names, uint32_t id,
        struct dict *to, struct label *ret_label)
{
	char text[16];
	snprintf(text, sizeof(text), "%u", sum_labels_group(names, from, id).bucket);
	int r = dict_cstring(to, WIRE_BY_BUCKET, &ret_label->name);
	return r < 0 ? r : dict_cstring(to, text, &ret_label->value);
}

/* Does a label tell groups apart? */
static bool group_keeps(const struct wire_query *query, const char *label)
{
	if (query->group == WIRE_GROUP_SERIES)
		return true;
	if (query->group == WIRE_GROUP_INSTANCE)
		return strcmp(label, "instance") == 0;
	return group_is_by(query, label);
}

/*
 * The series that stands for a store series under the asked grouping. Its values are in units
 * (period 1); only where nothing is grouped does it keep its period, so that an export can say it.
 */
static int group_series(const struct dict *from, const struct sum_labels *names, uint32_t id,
        const struct wire_query *query, struct dict *to, uint32_t *ret_series)
{
	uint32_t group = query->group;
	const struct series *series = dict_get_series(from, id);
	const struct label *labels = dict_get_labels(from, id);
	struct series as = { .period = group == WIRE_GROUP_SERIES ? series->period : 1 };
	struct label kept[DICT_LABELS_MAX + 1];
	uint32_t kept_count = 0;

	int r = carry_string(from, series->type, to, &as.type);
	if (r == 0)
		r = carry_string(from, series->unit, to, &as.unit);
	for (uint32_t i = 0; r == 0 && group != WIRE_GROUP_TYPE && i < series->labels_count; i++) {
		if (!group_keeps(query, dict_text(from, labels[i].name)))
			continue;
		r = carry_string(from, labels[i].name, to, &kept[kept_count].name);
		if (r == 0)
			r = carry_string(from, labels[i].value, to, &kept[kept_count].value);
		kept_count++;
	}
	if (r == 0 && group_is_by(query, WIRE_BY_BUCKET))
		r = group_put_bucket(from, names, id, to, &kept[kept_count++]);
	return r < 0 ? r : dict_series(to, &as, kept, kept_count, ret_series);
}

static int groups_make_part(struct answer_groups *groups, const struct store_match_part *part,
        const struct wire_query *query)
{
	struct sum_labels names = sum_labels_find(part->dict);
	for (uint32_t i = 0; i < part->series_count; i++) {
		uint32_t series;
		int r = group_series(
		        part->dict, &names, part->series[i], query, groups->dict, &series);
		if (r < 0)
			return r;
		groups->of_series[part->first + i] = series;
		if (series >= groups->count)
			groups->count = series + 1;
	}
	return 0;
}

static int groups_make(struct answer_groups *groups, const struct store_match *match,
        const struct wire_query *query)
{
	groups->of_series = calloc(match->series_count + UINT64_C(1), sizeof(*groups->of_series));
	if (!groups->of_series)
		return -ENOMEM;

	int r = 0;
	for (uint32_t i = 0; i < match->parts_count && r == 0; i++)
		r = groups_make_part(groups, &match->parts[i], query);
	return r;
}

size_t answer_sum_bytes(const struct answer_sum *work)
{
	size_t bytes = work->match->series_count * sizeof(*work->sum.coverage_ns);
	for (uint32_t i = 0; i < work->sum.parts_count; i++)
		bytes += store_sum_part_bytes(&work->sum.parts[i]);
	return bytes;
}

int answer_sum_selector(const struct wire_text *text, struct selector **ret_selector,
        char *ret_error, size_t error_bytes)
{
	char copy[SELECTOR_BYTES_MAX + 1];
	if (text->count > SELECTOR_BYTES_MAX) {
		snprintf(ret_error, error_bytes, "selector: longer than %d bytes",
		        SELECTOR_BYTES_MAX);
		return -EINVAL;
	}
	if (text->count)
		memcpy(copy, text->bytes, text->count);
	copy[text->count] = 0;
	return selector_parse(copy, ret_selector, ret_error, error_bytes);
}

int answer_sum_match(struct store *store, const struct wire_query *query,
        const struct wire_query_side *side, struct dict *dict, struct answer_sum *work)
{
	int r = store_find_series(store, work->selector, side->from_ns, side->to_ns, &work->match);
	if (r < 0)
		return r;
	work->groups.dict = dict;
	store_read_lock(store);
	r = groups_make(&work->groups, work->match, query);
	store_read_unlock(store);
	return r;
}

int answer_sum_take(struct store *store, const struct wire_query *query,
        const struct answer_build_options *options, struct dict *const *dicts,
        struct answer_sum *works, char *ret_error, size_t error_bytes)
{
	struct store_sum_options sides[ANSWER_SIDES_MAX] = { 0 };
	struct store_sum sums[ANSWER_SIDES_MAX];
	uint32_t count = query->sides_count;
	int r = 0;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		const struct wire_query_side *side = &query->sides[i];
		r = answer_sum_selector(
		        &side->selector, &works[i].selector, ret_error, error_bytes);
		r = r < 0 ? r : answer_sum_match(store, query, side, dicts[i], &works[i]);
		sides[i] = (struct store_sum_options){
			.from_ns = side->from_ns,
			.to_ns = side->to_ns,
			.match = works[i].match,
			.groups = works[i].groups.of_series,
			.memory_max = options->memory_max,
			.cancelled = options->cancelled,
			.read_ns = options->read_ns,
			.takes_runs = works[i].takes_runs,
		};
	}
	r = r < 0 ? r : store_sum_sides(store, sides, count, sums);
	for (uint32_t i = 0; i < count && r == 0; i++)
		works[i].sum = sums[i];
	return r;
}

const char *answer_failure_text(int r)
{
	switch (r) {
	case -E2BIG:
	case -ENOSPC:
		return "the answer needs more memory than one question may use: raise the "
		       "aggregator's query-memory";
	case -ENOBUFS:
		return "the names of this time range need more memory than the aggregator has for "
		       "older generations of the dictionary: ask for a shorter range, or again "
		       "when fewer questions run, or raise its memory";
	case -ECANCELED:
		return "the aggregator is stopping";
	case -EOVERFLOW:
		return "a sum is past 64 bits: narrow the time range, or the series by labels";
	case -ENOMEM:
		return "the aggregator is out of memory: narrow the question and try again";
	default:
		return "the store could not be read: see the aggregator's log";
	}
}
