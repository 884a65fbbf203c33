/*
 * Two steps, because readers cannot add to the store's dictionary: rows are first carried into a
 * dictionary of their own together with the series of their groups, then named into the answer's.
 *
 *	store rows (series, node) -> sum (group, node) -> middle batch -> naming -> side of the
 *answer
 */

#include "aggregator/answer_build.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "profile/naming.h"
#include "profile/selector.h"

/* What a matched series' rows are kept under, and how that is called. */
struct groups {
	struct dict *dict;   /* of the middle batch */
	uint32_t *of_series; /* for each matched series its group's number */
	uint32_t *series;    /* for each group its series in `dict` */
	uint32_t count;
};

struct side_work {
	struct selector *selector;
	struct store_match *match;
	struct groups groups;
	struct store_sum sum;
};

static void side_work_fini(struct side_work *work)
{
	selector_free(work->selector);
	store_match_free(work->match);
	free(work->groups.of_series);
	free(work->groups.series);
	store_sum_fini(&work->sum);
}

#define AUTO_SIDE_WORK __attribute__((cleanup(side_work_fini))) struct side_work

struct store_symbols_source {
	struct naming_source source;
	struct store *store;
	const struct answer_build_options *options;
	const struct batch *middle;
	const struct batch *named;
};

static const struct symbols *store_symbols_source_find(
        struct naming_source *source, const char *build_id)
{
	return store_symbols_find(((struct store_symbols_source *)source)->store, build_id);
}

static size_t batch_memory(const struct batch *batch)
{
	return dict_memory(batch->dict) + batch->rows_capacity * sizeof(*batch->rows) +
	       batch->coverage_capacity * sizeof(*batch->coverage);
}

/*
 * Between stretches of rows: the writer, who may be waiting for the gate, is let in before the
 * question goes on, unless it was cancelled or has grown past what one question may use.
 */
static int answer_pause(
        struct store *store, const struct answer_build_options *options, size_t memory)
{
	if (__atomic_load_n(options->cancelled, __ATOMIC_RELAXED))
		return -ECANCELED;
	if (memory > options->memory_max)
		return -E2BIG;
	store_read_unlock(store);
	store_read_lock(store);
	return 0;
}

static int store_symbols_source_pause(struct naming_source *source)
{
	struct store_symbols_source *from = (struct store_symbols_source *)source;
	return answer_pause(
	        from->store, from->options, batch_memory(from->middle) + batch_memory(from->named));
}

static int carry_string(const struct dict *from, uint32_t id, struct dict *to, uint32_t *ret_id)
{
	size_t count;
	const char *bytes = dict_get_string(from, id, &count);
	return dict_string(to, bytes, count, ret_id);
}

/*
 * The series that stands for a store series under the asked grouping. Its values are in units
 * (period 1); only where nothing is grouped does it keep its period, so that an export can say it.
 */
static int group_series(
        const struct dict *from, uint32_t id, uint32_t group, struct dict *to, uint32_t *ret_series)
{
	const struct series *series = dict_get_series(from, id);
	const struct label *labels = dict_get_labels(from, id);
	struct series as = { .period = group == WIRE_GROUP_SERIES ? series->period : 1 };
	struct label kept[DICT_LABELS_MAX];
	uint32_t kept_count = 0;

	int r = carry_string(from, series->type, to, &as.type);
	if (r == 0)
		r = carry_string(from, series->unit, to, &as.unit);
	for (uint32_t i = 0; r == 0 && group != WIRE_GROUP_TYPE && i < series->labels_count; i++) {
		if (group == WIRE_GROUP_INSTANCE &&
		        strcmp(dict_text(from, labels[i].name), "instance") != 0)
			continue;
		r = carry_string(from, labels[i].name, to, &kept[kept_count].name);
		if (r == 0)
			r = carry_string(from, labels[i].value, to, &kept[kept_count].value);
		kept_count++;
	}
	return r < 0 ? r : dict_series(to, &as, kept, kept_count, ret_series);
}

static int groups_make_part(
        struct groups *groups, const struct store_match_part *part, uint32_t group)
{
	for (uint32_t i = 0; i < part->series_count; i++) {
		uint32_t series;
		int r = group_series(part->dict, part->series[i], group, groups->dict, &series);
		if (r < 0)
			return r;
		groups->of_series[part->first + i] = series;
		groups->series[series] = series;
		if (series >= groups->count)
			groups->count = series + 1;
	}
	return 0;
}

/* Groups get numbers in order of their series in `to`, which count up from 0 in a fresh dict. */
static int groups_make(struct groups *groups, const struct side_work *work, uint32_t group)
{
	size_t room = work->match->series_count ? work->match->series_count : 1;
	groups->of_series = calloc(room, sizeof(*groups->of_series));
	groups->series = calloc(room, sizeof(*groups->series));
	if (!groups->of_series || !groups->series)
		return -ENOMEM;

	int r = 0;
	for (uint32_t i = 0; i < work->match->parts_count && r == 0; i++)
		r = groups_make_part(groups, &work->match->parts[i], group);
	return r;
}

static size_t side_work_sum_bytes(const struct side_work *work)
{
	size_t bytes = work->match->series_count * sizeof(*work->sum.coverage_ns);
	for (uint32_t i = 0; i < work->sum.parts_count; i++)
		bytes += work->sum.parts[i].rows_count * sizeof(*work->sum.parts[i].rows);
	return bytes;
}

static int middle_fill_part(struct store *store, const struct side_work *work, uint32_t part,
        const struct answer_build_options *options, struct batch *middle)
{
	AUTO(dict_remap) remap = dict_remap_new(work->match->parts[part].dict, middle->dict);
	if (!remap)
		return -ENOMEM;

	int r = 0;
	for (uint32_t i = 0; r == 0 && i < work->sum.parts[part].rows_count; i++) {
		const struct store_sum_row *row = &work->sum.parts[part].rows[i];
		uint32_t series = work->groups.series[row->group];
		/* The sum is in units, of one period alone: nothing is cut off. */
		uint64_t period = dict_get_series(middle->dict, series)->period;
		uint32_t node;
		if (i % NAMING_ROWS_EACH == 0)
			r = answer_pause(
			        store, options, side_work_sum_bytes(work) + batch_memory(middle));
		if (r == 0)
			r = dict_remap_node(remap, row->node, &node);
		if (r == 0)
			r = batch_add_row(middle, series, node, row->value / period);
	}
	return r;
}

/* Rows of all parts: what is equal is added up when the batch is settled. */
static int middle_fill(struct store *store, const struct side_work *work,
        const struct answer_build_options *options, struct batch *middle)
{
	int r = 0;
	for (uint32_t i = 0; i < work->sum.parts_count && r == 0; i++)
		r = middle_fill_part(store, work, i, options, middle);
	for (uint32_t i = 0; r == 0 && i < work->match->series_count; i++)
		if (work->sum.coverage_ns[i])
			r = batch_add_coverage(
			        middle, work->groups.of_series[i], work->sum.coverage_ns[i]);
	return r < 0 ? r : batch_settle(middle);
}

/* What can only be said once frames have names. */
static int completeness_of_names(const struct batch *batch, struct completeness *completeness)
{
	const struct dict *dict = batch->dict;
	uint32_t nodes = dict_mark(dict).nodes;
	autofree bool *truncated = calloc(nodes ? nodes : 1, sizeof(*truncated));
	if (!truncated)
		return -ENOMEM;

	for (uint32_t node = 1; node < nodes; node++) {
		struct node at = dict_get_node(dict, node);
		truncated[node] = at.parent == DICT_NODE_ROOT
		                          ? dict_get_frame(dict, at.frame)->kind == FRAME_TRUNCATED
		                          : truncated[at.parent];
	}
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		/* Parts of completeness->value, which was added up without overflow. */
		uint64_t value = row->value * dict_get_series(dict, row->series)->period;
		if (truncated[row->node])
			completeness->value_truncated += value;
		if (row->node != DICT_NODE_ROOT && naming_is_unknown(dict_get_frame(dict,
		                                           dict_get_node(dict, row->node).frame)))
			completeness->value_unknown_leaf += value;
	}
	return 0;
}

static int side_sum(struct store *store, const struct wire_query *query,
        const struct wire_query_side *side, const struct answer_build_options *options,
        struct side_work *work, struct dict *middle_dict)
{
	int r = store_find_series(store, work->selector, side->from_ns, side->to_ns, &work->match);
	if (r < 0)
		return r;
	work->groups.dict = middle_dict;
	store_read_lock(store);
	r = groups_make(&work->groups, work, query->group);
	store_read_unlock(store);
	if (r < 0)
		return r;

	struct store_sum_options sum = {
		.from_ns = side->from_ns,
		.to_ns = side->to_ns,
		.match = work->match,
		.groups = work->groups.of_series,
		.memory_max = options->memory_max,
		.cancelled = options->cancelled,
	};
	return store_sum(store, &sum, &work->sum);
}

static const char *failure_text(int r)
{
	switch (r) {
	case -E2BIG:
	case -ENOSPC:
		return "the answer needs more memory than one question may use: narrow the "
		       "selector or "
		       "the time range, or raise query-memory";
	case -ECANCELED:
		return "the aggregator is stopping";
	case -EOVERFLOW:
		return "a sum is past 64 bits: narrow the time range";
	case -ENOMEM:
		return "the aggregator is out of memory: narrow the question and try again";
	default:
		return "the store could not be read: see the aggregator's log";
	}
}

static int side_build(struct store *store, const struct wire_query *query, uint32_t index,
        const struct answer_build_options *options, struct answer *answer, char *ret_error,
        size_t error_bytes)
{
	const struct wire_query_side *side = &query->sides[index];
	struct answer_side *to = &answer->sides[index];
	AUTO_SIDE_WORK work = { 0 };

	char text[SELECTOR_BYTES_MAX + 1];
	if (side->selector.count > SELECTOR_BYTES_MAX) {
		snprintf(ret_error, error_bytes, "selector: longer than %d bytes",
		        SELECTOR_BYTES_MAX);
		return -EINVAL;
	}
	if (side->selector.count)
		memcpy(text, side->selector.bytes, side->selector.count);
	text[side->selector.count] = 0;
	int r = selector_parse(text, &work.selector, ret_error, error_bytes);
	if (r < 0)
		return r;

	AUTO(dict) dict = dict_new(dict_limits_default);
	if (!dict)
		return -ENOMEM;
	AUTO(batch) middle = batch_new(dict);
	if (!middle)
		return -ENOMEM;

	struct store_symbols_source source = {
		.source = { .find = store_symbols_source_find,
		        .pause = store_symbols_source_pause },
		.store = store,
		.options = options,
		.middle = middle,
		.named = to->batch,
	};
	/*
	 * The lock is held for what is borrowed from the store: its dictionary while rows are
	 * carried over, its symbols while frames are named. All three steps let the writer in
	 * between.
	 */
	r = side_sum(store, query, side, options, &work, dict);
	store_read_lock(store);
	if (r == 0)
		r = middle_fill(store, &work, options, middle);
	for (uint32_t i = 0; i < work.sum.parts_count; i++) {
		free(work.sum.parts[i].rows);
		work.sum.parts[i].rows = NULL;
	}
	if (r == 0)
		r = naming_apply(
		        middle, &source.source, (enum naming_level)query->level, to->batch);
	store_read_unlock(store);

	if (r == 0)
		r = batch_settle(to->batch);
	if (r == 0) {
		to->batch->start_ns = side->from_ns;
		to->batch->duration_ns = side->to_ns > side->from_ns ? side->to_ns - side->from_ns
		                                                     : 0;
		to->completeness = work.sum.completeness;
		r = completeness_of_names(to->batch, &to->completeness);
	}
	if (r < 0)
		snprintf(ret_error, error_bytes, "%s", failure_text(r));
	return r;
}

int answer_build(struct store *store, const struct wire_query *query,
        const struct answer_build_options *options, struct answer **ret_answer, char *ret_error,
        size_t error_bytes)
{
	AUTO(answer) answer = answer_new(query->sides_count);
	if (!answer) {
		snprintf(ret_error, error_bytes, "%s", failure_text(-ENOMEM));
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < query->sides_count; i++) {
		int r = side_build(store, query, i, options, answer, ret_error, error_bytes);
		if (r < 0)
			return r;
	}
	*ret_answer = TAKE(answer);
	return 0;
}
