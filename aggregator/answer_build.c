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

static int store_symbols_source_pause(struct naming_source *source)
{
	struct store_symbols_source *from = (struct store_symbols_source *)source;
	return answer_pause(
	        from->store, from->options, batch_memory(from->middle) + batch_memory(from->named));
}

static int middle_fill_part(struct store *store, const struct answer_sum *work, uint32_t part,
        const struct answer_build_options *options, struct batch *middle)
{
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
			r = answer_pause(
			        store, options, answer_sum_bytes(work) + batch_memory(middle));
		if (r == 0)
			r = dict_remap_node(remap, row->node, &node);
		if (r == 0)
			r = batch_add_row(middle, series, node, row->value / period);
	}
	return r;
}

/* Rows of all parts: what is equal is added up when the batch is settled. */
static int middle_fill(struct store *store, const struct answer_sum *work,
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

static int side_build(struct store *store, const struct wire_query *query, uint32_t index,
        const struct answer_build_options *options, struct answer *answer, char *ret_error,
        size_t error_bytes)
{
	const struct wire_query_side *side = &query->sides[index];
	struct answer_side *to = &answer->sides[index];
	AUTO_ANSWER_SUM work = { 0 };

	int r = answer_sum_selector(&side->selector, &work.selector, ret_error, error_bytes);
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
	r = answer_sum_take(store, query, side, options, dict, &work);
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
		r = answer_note_flaws(to->batch, &to->completeness);
	}
	if (r < 0)
		snprintf(ret_error, error_bytes, "%s", answer_failure_text(r));
	return r;
}

int answer_build(struct store *store, const struct wire_query *query,
        const struct answer_build_options *options, struct answer **ret_answer, char *ret_error,
        size_t error_bytes)
{
	AUTO(answer) answer = answer_new(query->sides_count);
	if (!answer) {
		snprintf(ret_error, error_bytes, "%s", answer_failure_text(-ENOMEM));
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
