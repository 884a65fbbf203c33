/*
 * Answers about functions and trees, which are folded over remembered names, against the whole
 * answer counted as the command line does it: function by function and node by node the same,
 * whatever was asked before, also after symbols came and after everything was forgotten.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/answer_fold.h"
#include "aggregator/answer_timeline.h"
#include "query/functions.h"
#include "query/tree_view.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/random_profile.h"

#define BATCHES   6
#define ROWS_EACH 400

struct bench {
	struct test_dir dir;
	struct store *store;
	struct named_stacks *stacks;
	uint64_t seq;
};

static void bench_append(struct bench *bench, uint64_t seed)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	random_batch(batch, seed, seed, ROWS_EACH);
	AUTO(dict_remap) remap = dict_remap_new(dict, NULL);
	struct store_append append = {
		.stream = { .uuid = { { (uint8_t)seed } },
		        .epoch = 1,
		        .seq = ++bench->seq,
		        .tenant = "" },
		.batch = batch,
		.remap = remap,
	};
	CHECK_OK(store_append(bench->store, &append, 1));
	assert_int_equal(append.ret_status, WIRE_OK);
}

/* Functions over all addresses that random frames have, some of them mangled or numbered. */
static void bench_put_symbols(struct bench *bench, const char *build_id)
{
	static const char *const names[] = { "_ZN4cart5parseEv", "render.cold", "render", "main",
		"_ZN4cart5parseEv.constprop.0" };
	AUTO(symbols_builder) builder = symbols_builder_new();
	AUTO_BUF packed = { 0 };
	for (uint64_t i = 0; i < 60; i++)
		CHECK_OK(symbols_builder_add(builder, UINT64_C(1) << i, UINT64_C(1) << i,
		        names[i % COUNT_OF(names)], strlen(names[i % COUNT_OF(names)])));
	CHECK_OK(symbols_builder_finish(builder, &packed));
	CHECK_OK(store_symbols_put(bench->store, build_id, packed.bytes, packed.count));
	named_stacks_symbols(bench->stacks, build_id);
}

static void bench_open(struct bench *bench, uint64_t seed)
{
	char error[256] = "";
	*bench = (struct bench){ .dir = test_dir_new() };
	CHECK_OK(store_open(
	        (struct store_options){
	                .path = bench->dir.path,
	                .limits = dict_limits_default,
	                .block_cache_bytes = 8u << 20,
	                .symbols_cache_bytes = 8u << 20,
	                .generation_nodes = 500, /* several, so that they are joined */
	        },
	        &bench->store, error, sizeof(error)));
	bench->stacks = named_stacks_new(64u << 20);
	assert_non_null(bench->stacks);
	for (uint64_t i = 0; i < BATCHES; i++)
		bench_append(bench, seed * 100 + i % 3);
}

static void bench_close(struct bench *bench)
{
	named_stacks_free(bench->stacks);
	store_free(bench->store);
	test_dir_remove(&bench->dir);
}

static enum functions_order ask_order = FUNCTIONS_BY_FLAT;

static struct answer *ask(struct bench *bench, uint32_t question, bool is_canonical,
        uint32_t nodes_max, uint32_t sides)
{
	static const bool cancelled;
	static const char all[] = "{}";
	static const char some[] = "{\"label-3\"!=\"\"}";
	struct answer_build_options options = { .memory_max = 1u << 30, .cancelled = &cancelled };
	struct wire_query query = {
		.question = question,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
		.sides_count = sides,
		.sides = { { .selector = { all, sizeof(all) - 1 }, .to_ns = UINT64_MAX },
		        { .selector = { some, sizeof(some) - 1 }, .to_ns = UINT64_MAX } },
		.is_canonical = is_canonical,
		.nodes_max = nodes_max,
		.by_cum = ask_order == FUNCTIONS_BY_CUM,
		.by_change = ask_order == FUNCTIONS_BY_CHANGE,
	};
	struct answer *answer = NULL;
	char error[256] = "";
	CHECK_OK(question == WIRE_ASK_PROFILE ? answer_build(bench->store, &query, &options,
	                                                &answer, error, sizeof(error))
	                                      : answer_fold(bench->store, bench->stacks, &query,
	                                                &options, &answer, error, sizeof(error)));
	return answer;
}

/* By series of an answer: is it of the first type? The caller frees. */
static bool *of_one_type(const struct answer *answer)
{
	uint32_t count = dict_mark(answer->dict).series;
	bool *chosen = calloc(count + 1, sizeof(*chosen));
	for (uint32_t i = 0; i < count; i++) {
		const struct series *series = dict_get_series(answer->dict, i);
		chosen[i] = strcmp(dict_text(answer->dict, series->type), "type-0") == 0 &&
		            strcmp(dict_text(answer->dict, series->unit), "unit-0") == 0;
	}
	return chosen;
}

static uint64_t rows_sum(const struct batch *batch, const bool *chosen)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; batch && i < batch->rows_count; i++)
		if (!chosen || chosen[batch->rows[i].series])
			sum += batch->rows[i].value;
	return sum;
}

static struct functions *count(const struct answer *answer, struct names *names, const bool *chosen)
{
	struct functions *functions = functions_new(names);
	struct functions_scale scale = { 0 };
	for (uint32_t side = 0; side < answer->sides_count; side++) {
		const struct answer_side *from = &answer->sides[side];
		if (from->parts[ANSWER_CUM])
			CHECK_OK(functions_add_sums(
			        functions, side, from->batch, from->parts[ANSWER_CUM], chosen));
		else
			CHECK_OK(functions_add(functions, side, from->batch, chosen));
		scale.whole[side] = functions_total(functions, side) +
		                    rows_sum(from->parts[ANSWER_CUT], chosen);
	}
	functions_sort(functions, ask_order, scale);
	return functions;
}

static void check_functions(struct bench *bench, bool is_canonical)
{
	AUTO(answer) whole = ask(bench, WIRE_ASK_PROFILE, false, 0, 2);
	AUTO(answer) folded = ask(bench, WIRE_ASK_FUNCTIONS, is_canonical, 0, 2);
	AUTO(names) whole_names = names_new();
	AUTO(names) folded_names = names_new();
	if (is_canonical)
		names_use_canon(whole_names);
	AUTO(functions) a = count(whole, whole_names, NULL);
	AUTO(functions) b = count(folded, folded_names, NULL);

	assert_int_equal(functions_count(a), functions_count(b));
	for (uint32_t i = 0; i < functions_count(a); i++) {
		const struct function *x = functions_get(a, i), *y = functions_get(b, i);
		assert_string_equal(names_function(whole_names, x->name),
		        names_function(folded_names, y->name));
		assert_string_equal(
		        names_module(whole_names, x->name), names_module(folded_names, y->name));
		assert_memory_equal(x->flat, y->flat, sizeof(x->flat));
		assert_memory_equal(x->cum, y->cum, sizeof(x->cum));
	}
	for (uint32_t side = 0; side < 2; side++) {
		assert_memory_equal(&whole->sides[side].completeness,
		        &folded->sides[side].completeness, sizeof(struct completeness));
		assert_int_equal(functions_total(a, side), functions_total(b, side));
	}
	/* Sides of the whole answer share a dict, whose frames were counted for each of them. */
	if (is_canonical)
		assert_int_equal(names_rewritten(whole_names), 2 * folded->names_rewritten);
}

/* The first few of one type are those of all, in each order. */
static void check_first_functions(struct bench *bench, uint32_t limit)
{
	static const enum functions_order orders[] = { FUNCTIONS_BY_FLAT, FUNCTIONS_BY_CUM,
		FUNCTIONS_BY_CHANGE };
	for (size_t i = 0; i < COUNT_OF(orders); i++) {
		ask_order = orders[i];
		AUTO(answer) whole = ask(bench, WIRE_ASK_FUNCTIONS, false, 0, 2);
		AUTO(answer) first = ask(bench, WIRE_ASK_FUNCTIONS, false, limit, 2);
		AUTO(names) whole_names = names_new();
		AUTO(names) first_names = names_new();
		autofree bool *whole_chosen = of_one_type(whole);
		autofree bool *first_chosen = of_one_type(first);
		AUTO(functions) a = count(whole, whole_names, whole_chosen);
		AUTO(functions) b = count(first, first_names, first_chosen);
		CHECK(functions_count(b) >= limit && functions_count(b) < functions_count(a));
		for (uint32_t n = 0; n < limit; n++) {
			const struct function *x = functions_get(a, n), *y = functions_get(b, n);
			assert_string_equal(names_function(whole_names, x->name),
			        names_function(first_names, y->name));
			assert_memory_equal(x->flat, y->flat, sizeof(x->flat));
			assert_memory_equal(x->cum, y->cum, sizeof(x->cum));
		}
		for (uint32_t side = 0; side < 2; side++) {
			const struct answer_side *from = &first->sides[side];
			uint64_t missing = rows_sum(from->parts[ANSWER_CUT], first_chosen);
			assert_int_equal(
			        functions_total(a, side), functions_total(b, side) + missing);
			assert_memory_equal(&whole->sides[side].completeness, &from->completeness,
			        sizeof(struct completeness));
		}
	}
	ask_order = FUNCTIONS_BY_FLAT;
}

static struct tree_view *draw(const struct answer *answer, struct names *names)
{
	struct tree_view *tree = tree_view_new(names);
	for (uint32_t side = 0; side < answer->sides_count; side++)
		CHECK_OK(tree_view_add(tree, side, answer->sides[side].batch, NULL));
	CHECK_OK(tree_view_sort(tree));
	return tree;
}

/* Nothing cut: rows by stack are those of the whole answer. */
static void check_tree(struct bench *bench)
{
	AUTO(answer) whole = ask(bench, WIRE_ASK_PROFILE, false, 0, 2);
	AUTO(answer) tree = ask(bench, WIRE_ASK_TREE, false, 0, 2);
	for (uint32_t side = 0; side < 2; side++) {
		assert_null(tree->sides[side].parts[ANSWER_CUT]);
		assert_int_equal(
		        whole->sides[side].batch->rows_count, tree->sides[side].batch->rows_count);
		assert_memory_equal(&whole->sides[side].completeness,
		        &tree->sides[side].completeness, sizeof(struct completeness));
	}
	AUTO(names) names = names_new();
	AUTO(tree_view) a = draw(whole, names);
	AUTO(tree_view) b = draw(tree, names);
	assert_int_equal(tree_view_count(a), tree_view_count(b));
	for (uint32_t x = 0, y = 0; x != ID_NONE;
	        x = tree_view_next(a, x), y = tree_view_next(b, y)) {
		const struct tree_view_node *one = tree_view_get(a, x);
		const struct tree_view_node *other = tree_view_get(b, y);
		assert_int_equal(one->name, other->name);
		assert_memory_equal(one->self, other->self, sizeof(one->self));
		assert_memory_equal(one->total, other->total, sizeof(one->total));
	}
}

/* Whatever is cut: nothing of the value is gone, and the greatest nodes are as they were. */
static void check_cut_tree(struct bench *bench, uint32_t nodes_max)
{
	AUTO(answer) whole = ask(bench, WIRE_ASK_TREE, false, 0, 1);
	AUTO(answer) cut = ask(bench, WIRE_ASK_TREE, false, nodes_max, 1);
	const struct answer_side *side = &cut->sides[0];
	assert_non_null(side->parts[ANSWER_CUT]);
	assert_memory_equal(
	        &whole->sides[0].completeness, &side->completeness, sizeof(struct completeness));
	assert_int_equal(rows_sum(whole->sides[0].batch, NULL),
	        rows_sum(side->batch, NULL) + rows_sum(side->parts[ANSWER_CUT], NULL));
	CHECK(rows_sum(side->parts[ANSWER_CUT_NODES], NULL) >=
	        rows_sum(side->parts[ANSWER_CUT_CHILDREN], NULL));
}

/* The place of a child of one name, or ID_NONE. */
static uint32_t child_of(const struct tree_view *tree, uint32_t node, uint32_t name)
{
	uint32_t child = tree_view_get(tree, node)->first_child;
	while (child != ID_NONE && tree_view_get(tree, child)->name != name)
		child = tree_view_get(tree, child)->next_sibling;
	return child;
}

/* What was cut is told where it was: every node that is left has the value that it has in whole. */
static void check_drawn_cut(struct bench *bench, uint32_t nodes_max)
{
	AUTO(answer) whole = ask(bench, WIRE_ASK_TREE, false, 0, 2);
	AUTO(answer) cut = ask(bench, WIRE_ASK_TREE, false, nodes_max, 2);
	AUTO(names) names = names_new();
	AUTO(tree_view) a = draw(whole, names);
	AUTO(tree_view) b = tree_view_new(names);
	for (uint32_t side = 0; side < 2; side++) {
		const struct batch *parts[ANSWER_PARTS];
		for (int part = 0; part < ANSWER_PARTS; part++)
			parts[part] = cut->sides[side].parts[part];
		CHECK_OK(tree_view_add_cut(b, side, cut->sides[side].batch, parts, NULL));
	}
	CHECK_OK(tree_view_sort(b));
	CHECK(tree_view_count(b) < tree_view_count(a));
	CHECK(tree_view_missing(b) > 0);
	uint32_t count = tree_view_count(b);
	autofree uint32_t *twins = calloc(count, sizeof(*twins));
	for (uint32_t x = 0; x != ID_NONE; x = tree_view_next(b, x)) {
		const struct tree_view_node *node = tree_view_get(b, x);
		if (x > 0)
			twins[x] = child_of(a, twins[node->parent], node->name);
		CHECK(twins[x] != ID_NONE);
		/* Where nodes of one name were joined, one of them may be in what is missing. */
		const struct tree_view_node *twin = tree_view_get(a, twins[x]);
		for (uint32_t side = 0; side < 2; side++)
			CHECK(x > 0 ? node->total[side] <= twin->total[side]
			            : node->total[side] == twin->total[side]);
	}
}

static void what_is_folded_is_what_is_counted(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct bench bench;
		print_message("seed %lu\n", seed);
		bench_open(&bench, seed);
		check_functions(&bench, false);
		check_functions(&bench, true);
		check_tree(&bench);
		check_cut_tree(&bench, 30);
		check_cut_tree(&bench, 1);
		check_drawn_cut(&bench, 40);
		check_first_functions(&bench, 5);

		bench_put_symbols(&bench, "build-id-1");
		bench_put_symbols(&bench, "build-id-3");
		check_functions(&bench, true);
		check_functions(&bench, false);
		check_tree(&bench);
		assert_int_equal(named_stacks_state(bench.stacks).renamed, 1);

		bench_append(&bench, seed * 1000);
		check_functions(&bench, true);
		named_stacks_set_memory_max(bench.stacks, 1);
		check_tree(&bench);
		check_functions(&bench, false);
		CHECK(named_stacks_state(bench.stacks).dropped >= 2);
		bench_close(&bench);
	}
}

/* ---- timelines ---- */

/*
 * What the steps add up to, of one key of the text. By length: functions for strings go to the end
 * of megabytes each time where sanitizers are strict.
 */
static uint64_t sum_of_key(const struct buf *json, const char *key)
{
	char pattern[32];
	uint64_t sum = 0;
	size_t count = (size_t)snprintf(pattern, sizeof(pattern), "\"%s\":", key);
	const char *end = (const char *)json->bytes + json->count;
	const char *at = (const char *)json->bytes;
	while ((at = memmem(at, (size_t)(end - at), pattern, count))) {
		uint64_t value = 0;
		for (at += count; at < end && *at >= '0' && *at <= '9'; at++)
			value = value * 10 + (uint64_t)(*at - '0');
		sum += value;
	}
	return sum;
}

/* The value of all rows, and of those on a stack that a function is on. */
static void count_stacks(
        struct bench *bench, const char *function, uint64_t *ret_all, uint64_t *ret_function)
{
	AUTO(answer) whole = ask(bench, WIRE_ASK_PROFILE, false, 0, 1);
	AUTO(names) names = names_new();
	autofree uint32_t *ids = NULL;
	const struct batch *batch = whole->sides[0].batch;
	CHECK_OK(names_of_dict(names, whole->dict, &ids));
	*ret_all = *ret_function = 0;
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		bool is_on = false;
		for (uint32_t node = batch->rows[i].node; node != DICT_NODE_ROOT;
		        node = dict_get_node(whole->dict, node).parent) {
			uint32_t frame = dict_get_node(whole->dict, node).frame;
			is_on |= strcmp(names_function(names, ids[frame]), function) == 0;
		}
		*ret_all += batch->rows[i].value;
		*ret_function += is_on ? batch->rows[i].value : 0;
	}
}

static void check_timeline(struct bench *bench, const char *function)
{
	static const bool cancelled;
	struct answer_build_options options = { .memory_max = 1u << 30, .cancelled = &cancelled };
	struct wire_query query = {
		.question = WIRE_ASK_TIMELINE,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
		.sides_count = 1,
		.sides = { { .selector = { "{}", 2 },
		        .from_ns = UINT64_C(1700000000000000000),
		        .to_ns = UINT64_C(1700000000000020000) } },
		.step_ns = 7,
		.function = { function, (uint32_t)strlen(function) },
	};
	AUTO_BUF json = { 0 };
	char error[256] = "";
	uint64_t all, with_function;
	CHECK_OK(answer_timeline(
	        bench->store, bench->stacks, &query, &options, &json, error, sizeof(error)));
	buf_put_u8(&json, 0);
	CHECK(!json.failed);
	count_stacks(bench, function, &all, &with_function);
	assert_int_equal(sum_of_key(&json, "value"), all);
	/* The name of the function is under the same key once, as text. */
	assert_int_equal(sum_of_key(&json, "function"), with_function);
	CHECK(with_function > 0);
}

/* One that some stack ends in. */
static void some_function(struct bench *bench, char name[static 64])
{
	AUTO(answer) whole = ask(bench, WIRE_ASK_PROFILE, false, 0, 1);
	AUTO(names) names = names_new();
	autofree uint32_t *ids = NULL;
	const struct batch *batch = whole->sides[0].batch;
	CHECK_OK(names_of_dict(names, whole->dict, &ids));
	struct node leaf = dict_get_node(whole->dict, batch->rows[batch->rows_count / 2].node);
	snprintf(name, 64, "%s", names_function(names, ids[leaf.frame]));
}

/* However much of its names is remembered: nothing, what was there before, all. */
static void steps_of_a_timeline_add_up_to_all_stacks_of_a_function(void **state)
{
	(void)state;
	struct bench bench;
	char function[64];
	bench_open(&bench, 1);
	some_function(&bench, function);
	check_timeline(&bench, function);
	bench_append(&bench, 1000);
	check_timeline(&bench, function);
	CHECK_OK(store_seal(bench.store, UINT64_MAX));
	check_timeline(&bench, function);
	bench_close(&bench);
}

static void a_question_that_needs_too_much_leaves_nothing_behind(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, 9);
	static const bool cancelled = true;
	struct answer_build_options options = { .memory_max = 1u << 30, .cancelled = &cancelled };
	struct wire_query query = {
		.question = WIRE_ASK_FUNCTIONS,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
		.sides_count = 1,
		.sides = { { .selector = { "{}", 2 }, .to_ns = UINT64_MAX } },
	};
	struct answer *answer = NULL;
	char error[256] = "";
	CHECK(answer_fold(bench.store, bench.stacks, &query, &options, &answer, error,
	              sizeof(error)) == -ECANCELED);
	CHECK(*error);
	assert_null(answer);
	check_functions(&bench, true);
	bench_close(&bench);
}

/* Nothing is remembered: what the question adds is all there is. -E2BIG, or 0. */
static int ask_within(struct bench *bench, uint32_t question, uint64_t memory_max)
{
	static const bool cancelled;
	struct answer_build_options options = { .memory_max = memory_max, .cancelled = &cancelled };
	struct wire_query query = {
		.question = question,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
		.sides_count = 2,
		.sides = { { .selector = { "{}", 2 }, .to_ns = UINT64_MAX },
		        { .selector = { "{}", 2 }, .to_ns = UINT64_MAX } },
	};
	AUTO(answer) answer = NULL;
	char error[256] = "";
	named_stacks_free(bench->stacks);
	bench->stacks = named_stacks_new(64u << 20);
	assert_non_null(bench->stacks);
	int r = answer_fold(
	        bench->store, bench->stacks, &query, &options, &answer, error, sizeof(error));
	if (r == 0)
		CHECK(named_stacks_state(bench->stacks).memory <= memory_max);
	else
		assert_non_null(strstr(error, "query-memory"));
	return r;
}

/* Also one that names too few stacks for a pause, and what it refused was not half an answer. */
static void what_a_question_adds_is_bounded(void **state)
{
	(void)state;
	static const uint32_t questions[] = { WIRE_ASK_FUNCTIONS, WIRE_ASK_TREE };
	struct bench bench;
	bench_open(&bench, 4);
	for (size_t i = 0; i < COUNT_OF(questions); i++) {
		uint64_t memory_max = 1u << 15;
		uint32_t refused = 0;
		for (; ask_within(&bench, questions[i], memory_max) == -E2BIG; refused++) {
			check_functions(&bench, false);
			memory_max += memory_max / 4;
			CHECK(memory_max < 1u << 30);
		}
		CHECK(refused > 2);
		check_tree(&bench);
		check_functions(&bench, true);
	}
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_folded_is_what_is_counted),
		cmocka_unit_test(steps_of_a_timeline_add_up_to_all_stacks_of_a_function),
		cmocka_unit_test(a_question_that_needs_too_much_leaves_nothing_behind),
		cmocka_unit_test(what_a_question_adds_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
