/*
 * Sums are taken for all sides first, together, without holding anything of others; then the
 * folding of all groups is one stretch for which other questions wait. Naming stacks that are new
 * lets the writer in between.
 */

#include "aggregator/answer_fold.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/answer_sum.h"

struct fold {
	struct naming_source source;
	struct store *store;
	struct named_stacks *stacks;
	const struct wire_query *query;
	const struct answer_build_options *options;
	struct answer *answer;
	struct answer_sum sums[ANSWER_SIDES_MAX];
	struct named_stacks_ranking ranking;
	size_t stacks_before; /* memory that was there before the question */
};

static void fold_fini(struct fold *fold)
{
	for (uint32_t i = 0; i < ANSWER_SIDES_MAX; i++)
		answer_sum_fini(&fold->sums[i]);
	answer_free(fold->answer);
}

static const struct symbols *fold_find(struct naming_source *source, const char *build_id)
{
	return store_symbols_find(((struct fold *)source)->store, build_id);
}

/* What the question has, and has added to what is remembered. */
static size_t fold_memory(const struct fold *fold)
{
	size_t memory = dict_memory(fold->answer->dict);
	size_t stacks = named_stacks_memory(fold->stacks);
	memory += stacks > fold->stacks_before ? stacks - fold->stacks_before : 0;
	for (uint32_t i = 0; i < fold->query->sides_count; i++)
		memory += answer_sum_bytes(&fold->sums[i]);
	return memory;
}

static int fold_pause(struct naming_source *source)
{
	struct fold *fold = (struct fold *)source;
	return answer_pause(fold->store, fold->options, fold_memory(fold));
}

/* Where it has grown without a pause. */
static int fold_check(const struct fold *fold)
{
	return fold_memory(fold) > fold->options->memory_max ? -E2BIG : 0;
}

/* Rows are sorted by group: those of one are in a row. */
static struct named_stacks_rows fold_rows(
        const struct answer_sum *sum, uint32_t part, uint32_t group)
{
	const struct store_sum_part *from = &sum->sum.parts[part];
	uint32_t low = 0, high = from->rows_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (from->rows[middle].group < group)
			low = middle + 1;
		else
			high = middle;
	}
	uint32_t end = low;
	while (end < from->rows_count && from->rows[end].group == group)
		end++;
	return (struct named_stacks_rows){ .generation = sum->match->parts[part].generation,
		.dict = sum->match->parts[part].dict,
		.rows = from->rows + low,
		.count = end - low };
}

static int fold_add(struct fold *fold, uint32_t side, struct named_stacks_rows rows)
{
	uint64_t *whole = &fold->ranking.whole[side];
	bool is_overflown = false;
	for (uint32_t i = 0; i < rows.count; i++)
		is_overflown |= __builtin_add_overflow(
		        *whole, rows.rows ? rows.rows[i].value : rows.values[i], whole);
	if (is_overflown)
		return -EOVERFLOW;
	if (rows.count == 0)
		return 0;
	int r = named_stacks_add(fold->stacks, &fold->source, side, rows);
	return r < 0 ? r : fold_check(fold);
}

/* A part of a side, in whatever way its rows came. */
static int fold_part(struct fold *fold, uint32_t side, uint32_t part, uint32_t group)
{
	const struct answer_sum *sum = &fold->sums[side];
	const struct store_sum_part *of = &sum->sum.parts[part];
	int r = fold_add(fold, side, fold_rows(sum, part, group));
	for (uint32_t i = 0; i < of->runs_count && of->runs_group == group && r == 0; i++)
		r = fold_add(fold, side,
		        (struct named_stacks_rows){
		                .generation = sum->match->parts[part].generation,
		                .dict = sum->match->parts[part].dict,
		                .nodes = of->runs[i].nodes,
		                .values = of->runs[i].values,
		                .count = of->runs[i].count,
		        });
	return r;
}

/* One group of one side is gathered. */
static int fold_side(struct fold *fold, uint32_t side, uint32_t group)
{
	const struct answer_sum *sum = &fold->sums[side];
	int r = 0;
	assert(sum->match);
	for (uint32_t part = 0; part < sum->sum.parts_count && r == 0; part++)
		r = fold_part(fold, side, part, group);
	for (uint32_t i = 0; i < sum->match->series_count; i++)
		if (sum->groups.of_series[i] == group)
			fold->ranking.watched[side] += sum->sum.coverage_ns[i];
	return r;
}

static int fold_group(struct fold *fold, uint32_t group)
{
	struct named_stacks_target target = { fold->answer, group };
	int r = 0;
	memset(fold->ranking.whole, 0, sizeof(fold->ranking.whole));
	memset(fold->ranking.watched, 0, sizeof(fold->ranking.watched));
	for (uint32_t side = 0; side < fold->query->sides_count && r == 0; side++)
		r = fold_side(fold, side, group);
	if (r < 0)
		return r;
	if (fold->query->question == WIRE_ASK_TREE)
		r = named_stacks_tree(fold->stacks, target, fold->query->nodes_max);
	else
		r = named_stacks_functions(fold->stacks, target, &fold->ranking);
	return r < 0 ? r : fold_check(fold);
}

static int fold_groups(struct fold *fold)
{
	uint32_t groups = dict_mark(fold->answer->dict).series;
	fold->ranking = (struct named_stacks_ranking){
		.is_canonical = fold->query->is_canonical,
		.by_cum = fold->query->by_cum,
		.by_change = fold->query->by_change,
		.limit = fold->query->nodes_max,
	};
	int r = 0;
	for (uint32_t group = 0; group < groups && r == 0; group++)
		r = fold_group(fold, group);
	if (r < 0)
		named_stacks_clear(fold->stacks);
	return r;
}

static int fold_take(struct fold *fold, char *ret_error, size_t error_bytes)
{
	struct dict *dicts[ANSWER_SIDES_MAX];
	for (uint32_t i = 0; i < ANSWER_SIDES_MAX; i++) {
		dicts[i] = fold->answer->dict;
		fold->sums[i].takes_runs = true;
	}
	int r = answer_sum_take(
	        fold->store, fold->query, fold->options, dicts, fold->sums, ret_error, error_bytes);
	/* What is not there at all has its parts all the same. */
	bool has_parts = fold->query->question == WIRE_ASK_FUNCTIONS;
	for (uint32_t i = 0; i < fold->query->sides_count && has_parts && r == 0; i++) {
		r = answer_add_part(fold->answer, i, ANSWER_CUM);
		r = r < 0 ? r : answer_add_part(fold->answer, i, ANSWER_FLAWS);
	}
	return r;
}

static void fold_note_flaws(struct answer_side *side, const struct dict *dict)
{
	const struct batch *flaws = side->parts[ANSWER_FLAWS];
	for (uint32_t i = 0; i < flaws->rows_count; i++) {
		struct node at = dict_get_node(dict, flaws->rows[i].node);
		if (dict_get_frame(dict, at.frame).kind == FRAME_TRUNCATED)
			side->completeness.value_truncated += flaws->rows[i].value;
		else
			side->completeness.value_unknown_leaf += flaws->rows[i].value;
	}
}

static int fold_finish_side(struct fold *fold, uint32_t index)
{
	const struct wire_query_side *side = &fold->query->sides[index];
	const struct answer_sum *sum = &fold->sums[index];
	struct answer_side *to = &fold->answer->sides[index];
	int r = 0;
	assert(sum->match);
	for (uint32_t i = 0; r == 0 && i < sum->match->series_count; i++)
		if (sum->sum.coverage_ns[i])
			r = batch_add_coverage(
			        to->batch, sum->groups.of_series[i], sum->sum.coverage_ns[i]);
	if (r == 0)
		r = batch_settle(to->batch);
	for (int part = 0; part < ANSWER_PARTS && r == 0; part++)
		if (to->parts[part])
			r = batch_settle(to->parts[part]);
	if (r < 0)
		return r;
	to->batch->start_ns = side->from_ns;
	to->batch->duration_ns = side->to_ns > side->from_ns ? side->to_ns - side->from_ns : 0;
	to->completeness = sum->sum.completeness;
	if (to->parts[ANSWER_FLAWS])
		fold_note_flaws(to, fold->answer->dict);
	else
		r = answer_note_flaws(to->batch, &to->completeness);
	return r;
}

int answer_fold(struct store *store, struct named_stacks *stacks, const struct wire_query *query,
        const struct answer_build_options *options, struct answer **ret_answer, char *ret_error,
        size_t error_bytes)
{
	__attribute__((cleanup(fold_fini))) struct fold fold = {
		.source = { .find = fold_find, .pause = fold_pause },
		.store = store,
		.stacks = stacks,
		.query = query,
		.options = options,
		.answer = answer_new(query->sides_count),
	};
	int r = fold.answer ? fold_take(&fold, ret_error, error_bytes) : -ENOMEM;

	if (r == 0) {
		named_stacks_enter(stacks);
		fold.stacks_before = named_stacks_memory(stacks);
		store_read_lock(store);
		r = fold_groups(&fold);
		store_read_unlock(store);
		uint64_t rewritten = named_stacks_rewritten(stacks);
		fold.answer->names_rewritten = query->is_canonical ? rewritten : 0;
		named_stacks_leave(stacks);
	}
	for (uint32_t i = 0; i < query->sides_count && r == 0; i++)
		r = fold_finish_side(&fold, i);
	if (r < 0) {
		if (!*ret_error)
			snprintf(ret_error, error_bytes, "%s", answer_failure_text(r));
		return r;
	}
	*ret_answer = TAKE(fold.answer);
	return 0;
}
