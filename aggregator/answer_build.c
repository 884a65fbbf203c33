/*
 * Two steps, because readers cannot add to the store's dictionary: rows are first carried into a
 * dictionary of their own together with the series of their groups, then named into the answer's.
 *
 *	store rows (series, node) -> sum (group, node) -> middle batch -> naming -> side of answer
 */

#include "aggregator/answer_build.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/answer_sum.h"
#include "profile/naming.h"

/* One question. */
struct build {
	struct store *store;
	const struct wire_query *query;
	const struct answer_build_options *options;
	struct answer *answer;
	struct dict *dicts[ANSWER_SIDES_MAX]; /* in the middle */
	struct answer_sum sums[ANSWER_SIDES_MAX];
};

struct store_symbols_source {
	struct naming_source source;
	struct build *build;
	const struct batch *middle;
	const struct batch *named;
};

static void build_fini(struct build *build)
{
	for (uint32_t i = 0; i < ANSWER_SIDES_MAX; i++) {
		dict_free(build->dicts[i]);
		answer_sum_fini(&build->sums[i]);
	}
	answer_free(build->answer);
}

static const struct symbols *store_symbols_source_find(
        struct naming_source *source, const char *build_id)
{
	return store_symbols_find(((struct store_symbols_source *)source)->build->store, build_id);
}

static size_t batch_memory(const struct batch *batch)
{
	return dict_memory(batch->dict) + batch->rows_capacity * sizeof(*batch->rows) +
	       batch->coverage_capacity * sizeof(*batch->coverage);
}

/* With what is known of all sides. */
static int build_pause(const struct build *build, size_t memory)
{
	for (uint32_t i = 0; i < build->query->sides_count; i++)
		memory += answer_sum_bytes(&build->sums[i]);
	return answer_pause(build->store, build->options, memory);
}

static int store_symbols_source_pause(struct naming_source *source)
{
	struct store_symbols_source *from = (struct store_symbols_source *)source;
	return build_pause(from->build, batch_memory(from->middle) + batch_memory(from->named));
}

static int middle_fill_part(struct build *build, uint32_t side, uint32_t part, struct batch *middle)
{
	const struct answer_sum *work = &build->sums[side];
	AUTO(dict_remap) remap = dict_remap_new(work->match->parts[part].dict, middle->dict);
	if (!remap)
		return -ENOMEM;

	int r = 0;
	for (uint32_t i = 0; r == 0 && i < work->sum.parts[part].rows_count; i++) {
		const struct store_sum_row *row = &work->sum.parts[part].rows[i];
		uint32_t series = row->group;
		/* The sum is in units, of one period alone: nothing is cut off. */
		uint64_t period = dict_get_series(middle->dict, series)->period;
		uint32_t node;
		if (i % NAMING_ROWS_EACH == 0)
			r = build_pause(build, batch_memory(middle));
		if (r == 0)
			r = dict_remap_node(remap, row->node, &node);
		if (r == 0)
			r = batch_add_row(middle, series, node, row->value / period);
	}
	return r;
}

/* Rows of all parts: what is equal is added up when the batch is settled. */
static int middle_fill(struct build *build, uint32_t side, struct batch *middle)
{
	const struct answer_sum *work = &build->sums[side];
	int r = 0;
	for (uint32_t i = 0; i < work->sum.parts_count && r == 0; i++)
		r = middle_fill_part(build, side, i, middle);
	for (uint32_t i = 0; r == 0 && i < work->match->series_count; i++)
		if (work->sum.coverage_ns[i])
			r = batch_add_coverage(
			        middle, work->groups.of_series[i], work->sum.coverage_ns[i]);
	return r < 0 ? r : batch_settle(middle);
}

static bool flaws_is_unknown(const struct dict *dict, uint32_t node)
{
	if (node == DICT_NODE_ROOT)
		return false;
	struct frame leaf = dict_get_frame(dict, dict_get_node(dict, node).frame);
	return naming_is_unknown(&leaf);
}

int answer_note_flaws(const struct batch *batch, struct completeness *completeness)
{
	const struct dict *dict = batch->dict;
	uint32_t nodes = dict_mark(dict).nodes;
	autofree bool *truncated = calloc(nodes ? nodes : 1, sizeof(*truncated));
	if (!truncated)
		return -ENOMEM;

	for (uint32_t node = 1; node < nodes; node++) {
		struct node at = dict_get_node(dict, node);
		truncated[node] = at.parent == DICT_NODE_ROOT
		                          ? dict_get_frame(dict, at.frame).kind == FRAME_TRUNCATED
		                          : truncated[at.parent];
	}
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		/* Parts of completeness->value, which was added up without overflow. */
		uint64_t value = row->value * dict_get_series(dict, row->series)->period;
		if (truncated[row->node])
			completeness->value_truncated += value;
		if (flaws_is_unknown(dict, row->node))
			completeness->value_unknown_leaf += value;
	}
	return 0;
}

/* What is in the middle of a side, named into the answer. */
static int side_name(struct build *build, uint32_t index, struct batch *middle)
{
	struct answer_side *to = &build->answer->sides[index];
	struct answer_sum *work = &build->sums[index];
	struct store_symbols_source source = {
		.source = { .find = store_symbols_source_find,
		        .pause = store_symbols_source_pause },
		.build = build,
		.middle = middle,
		.named = to->batch,
	};
	/*
	 * The lock is held for what is borrowed from the store: its dictionary while rows are
	 * carried over, its symbols while frames are named. Both steps let the writer in between.
	 */
	store_read_lock(build->store);
	int r = middle_fill(build, index, middle);
	for (uint32_t i = 0; i < work->sum.parts_count; i++)
		store_sum_part_fini(&work->sum.parts[i]);
	if (r == 0)
		r = naming_apply(
		        middle, &source.source, (enum naming_level)build->query->level, to->batch);
	store_read_unlock(build->store);
	return r;
}

static int side_build(struct build *build, uint32_t index)
{
	const struct wire_query_side *side = &build->query->sides[index];
	struct answer_side *to = &build->answer->sides[index];
	AUTO(batch) middle = batch_new(build->dicts[index]);
	if (!middle)
		return -ENOMEM;
	int r = side_name(build, index, middle);
	if (r == 0)
		r = batch_settle(to->batch);
	if (r < 0)
		return r;
	to->batch->start_ns = side->from_ns;
	to->batch->duration_ns = side->to_ns > side->from_ns ? side->to_ns - side->from_ns : 0;
	to->completeness = build->sums[index].sum.completeness;
	return answer_note_flaws(to->batch, &to->completeness);
}

int answer_build(struct store *store, const struct wire_query *query,
        const struct answer_build_options *options, struct answer **ret_answer, char *ret_error,
        size_t error_bytes)
{
	*ret_error = 0;
	__attribute__((cleanup(build_fini))) struct build build = {
		.store = store,
		.query = query,
		.options = options,
		.answer = answer_new(query->sides_count),
	};
	int r = build.answer ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < query->sides_count && r == 0; i++) {
		build.dicts[i] = dict_new(dict_limits_default);
		r = build.dicts[i] ? 0 : -ENOMEM;
	}
	r = r < 0 ? r
	          : answer_sum_take(
	                    store, query, options, build.dicts, build.sums, ret_error, error_bytes);
	for (uint32_t i = 0; i < query->sides_count && r == 0; i++)
		r = side_build(&build, i);
	if (r < 0) {
		if (!*ret_error)
			snprintf(ret_error, error_bytes, "%s", answer_failure_text(r));
		return r;
	}
	*ret_answer = TAKE(build.answer);
	return 0;
}
