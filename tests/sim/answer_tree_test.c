/*
 * Trees that are cut to size, against all stacks of the same question added up here: each node that
 * stays has what it has there, what is missing below it is what does not stay, and nothing greater
 * is left out. Also where stacks are deeper than nodes are laid out, where many nodes are alike,
 * and where some of them came after the others were laid out.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/answer_fold.h"
#include "core/id_map.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/random_profile.h"

#define START_NS UINT64_C(1700000000000000000)
#define DEPTH    4300 /* more than there are bits for */

struct bench {
	struct test_dir dir;
	struct store *store;
	struct named_stacks *stacks;
	uint64_t seq;
	struct dict *dict;
	struct batch *batch;
	uint32_t series[2];
	struct random random;
};

static void bench_open(struct bench *bench, uint64_t seed)
{
	char error[256] = "";
	*bench = (struct bench){ .dir = test_dir_new(), .random = { seed } };
	CHECK_OK(store_open((struct store_options){ .path = bench->dir.path,
	                            .limits = dict_limits_default,
	                            .block_cache_bytes = 8u << 20,
	                            .symbols_cache_bytes = 1u << 20 },
	        &bench->store, error, sizeof(error)));
	bench->stacks = named_stacks_new(64u << 20);
	bench->dict = dict_new(dict_limits_default);
	bench->batch = batch_new(bench->dict);
	assert_non_null(bench->stacks);
	assert_non_null(bench->batch);
	for (uint32_t i = 0; i < 2; i++) {
		struct series series = { .period = 1 };
		struct label label;
		CHECK_OK(dict_cstring(bench->dict, "cpu", &series.type));
		CHECK_OK(dict_cstring(bench->dict, "nanoseconds", &series.unit));
		CHECK_OK(dict_cstring(bench->dict, "version", &label.name));
		CHECK_OK(dict_cstring(bench->dict, i ? "v2" : "v1", &label.value));
		CHECK_OK(dict_series(bench->dict, &series, &label, 1, &bench->series[i]));
	}
}

static void bench_close(struct bench *bench)
{
	batch_free(bench->batch);
	dict_free(bench->dict);
	named_stacks_free(bench->stacks);
	store_free(bench->store);
	test_dir_remove(&bench->dir);
}

static uint32_t bench_node(struct bench *bench, uint32_t parent, uint32_t function)
{
	struct frame frame = { .kind = FRAME_MANAGED };
	uint32_t id, node;
	frame.function = random_string(bench->dict, "function", function);
	CHECK_OK(dict_frame(bench->dict, &frame, &id));
	CHECK_OK(dict_node(bench->dict, parent, id, &node));
	return node;
}

static void bench_row(struct bench *bench, uint32_t node, uint64_t v1, uint64_t v2)
{
	CHECK_OK(batch_add_row(bench->batch, bench->series[0], node, v1));
	CHECK_OK(batch_add_row(bench->batch, bench->series[1], node, v2));
}

/* The rows so far are appended. */
static void bench_append(struct bench *bench)
{
	AUTO(dict_remap) remap = dict_remap_new(bench->dict, NULL);
	bench->batch->start_ns = START_NS + bench->seq;
	bench->batch->duration_ns = 1;
	CHECK_OK(batch_settle(bench->batch));
	struct store_append append = {
		.stream = { .uuid = { { 1 } }, .epoch = 1, .seq = ++bench->seq, .tenant = "" },
		.batch = bench->batch,
		.remap = remap,
	};
	CHECK_OK(store_append(bench->store, &append, 1));
	assert_int_equal(append.ret_status, WIRE_OK);
	batch_reset(bench->batch);
}

static struct answer *ask(
        struct bench *bench, uint32_t question, uint32_t nodes_max, uint32_t sides)
{
	static const bool cancelled;
	static const char *const selectors[2][2] = { { "{version=\"v1\"}", "{version=\"v2\"}" },
		{ "{}", "" } };
	struct answer_build_options options = { .memory_max = 1u << 30, .cancelled = &cancelled };
	struct wire_query query = {
		.question = question,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
		.sides_count = sides,
		.nodes_max = nodes_max,
	};
	struct answer *answer = NULL;
	char error[256] = "";
	for (uint32_t i = 0; i < sides; i++) {
		const char *selector = selectors[sides == 1][i];
		query.sides[i] = (struct wire_query_side){
			.selector = { selector, (uint32_t)strlen(selector) }, .to_ns = UINT64_MAX
		};
	}
	CHECK_OK(question == WIRE_ASK_PROFILE ? answer_build(bench->store, &query, &options,
	                                                &answer, error, sizeof(error))
	                                      : answer_fold(bench->store, bench->stacks, &query,
	                                                &options, &answer, error, sizeof(error)));
	return answer;
}

/* Nodes of an answer, with what ends in each and below it, by side. */
struct drawn {
	const struct dict *dict;
	uint32_t count;
	uint64_t *self[2], *total[2];
	struct id_map *ids; /* by content of the stack: the node */
};

static void drawn_fini(struct drawn *drawn)
{
	for (int side = 0; side < 2; side++) {
		free(drawn->self[side]);
		free(drawn->total[side]);
	}
	id_map_free(drawn->ids);
}

static struct drawn draw(const struct answer *answer)
{
	struct drawn drawn = { .dict = answer->dict,
		.count = dict_mark(answer->dict).nodes,
		.ids = id_map_new(1u << 20) };
	for (uint32_t side = 0; side < 2; side++) {
		drawn.self[side] = calloc(drawn.count, sizeof(uint64_t));
		drawn.total[side] = calloc(drawn.count, sizeof(uint64_t));
	}
	for (uint32_t side = 0; side < answer->sides_count; side++) {
		const struct batch *batch = answer->sides[side].batch;
		for (uint32_t i = 0; i < batch->rows_count; i++)
			drawn.self[side][batch->rows[i].node] += batch->rows[i].value;
		for (uint32_t node = drawn.count; node-- > 0;) {
			uint32_t parent = dict_get_node(answer->dict, node).parent;
			drawn.total[side][node] += drawn.self[side][node];
			if (node > 0)
				drawn.total[side][parent] += drawn.total[side][node];
		}
	}
	/* From the root down, as the chained hash of a deep stack is long. */
	autofree struct hash128 *hashes = calloc(drawn.count, sizeof(*hashes));
	for (uint32_t node = 0; node < drawn.count; node++) {
		struct node at = dict_get_node(answer->dict, node);
		struct hash128 parts[2] = { hashes[at.parent] };
		uint32_t id;
		bool is_added;
		if (node > 0)
			parts[1] = dict_frame_hash(answer->dict, at.frame);
		hashes[node] = hash128_bytes(parts, sizeof(parts));
		CHECK_OK(id_map_intern(drawn.ids, hashes[node], &id, &is_added));
		CHECK(is_added && id == node);
	}
	return drawn;
}

static uint64_t value_of(const struct drawn *drawn, uint32_t node)
{
	return drawn->total[0][node] + drawn->total[1][node];
}

/* Which nodes of all are in the cut tree, by node of `all`: its node there plus one, or 0. */
static uint32_t *twins_of(const struct drawn *all, const struct drawn *cut)
{
	uint32_t *twins = calloc(all->count, sizeof(*twins));
	for (uint32_t node = 0; node < cut->count; node++) {
		uint32_t twin = id_map_find(all->ids, id_map_hash(cut->ids, node));
		CHECK(twin != ID_NONE);
		twins[twin] = node + 1;
	}
	return twins;
}

static void part_by_node(const struct batch *part, uint64_t *values)
{
	for (uint32_t i = 0; part && i < part->rows_count; i++)
		values[part->rows[i].node] += part->rows[i].value;
}

static void check_side(const struct drawn *all, const uint32_t *twins, const struct answer *answer,
        const struct drawn *cut, uint32_t side)
{
	const struct answer_side *from = &answer->sides[side];
	autofree uint64_t *value = calloc(cut->count, sizeof(*value));
	autofree uint64_t *children = calloc(cut->count, sizeof(*children));
	uint64_t nodes = 0;
	part_by_node(from->parts[ANSWER_CUT], value);
	part_by_node(from->parts[ANSWER_CUT_CHILDREN], children);
	for (uint32_t node = 0; node < all->count; node++) {
		uint32_t parent = twins[dict_get_node(all->dict, node).parent];
		if (twins[node]) {
			assert_int_equal(all->self[side][node], cut->self[side][twins[node] - 1]);
			continue;
		}
		nodes += all->total[side][node] != 0;
		if (!parent)
			continue;
		value[parent - 1] -= all->total[side][node];
		children[parent - 1] -= all->total[side][node] != 0;
	}
	for (uint32_t node = 0; node < cut->count; node++) {
		assert_int_equal(value[node], 0);
		assert_int_equal(children[node], 0);
	}
	const struct batch *cut_nodes = from->parts[ANSWER_CUT_NODES];
	uint64_t said = cut_nodes && cut_nodes->rows_count ? cut_nodes->rows[0].value : 0;
	assert_int_equal(nodes, said);
}

static void check_cut(struct bench *bench, uint32_t nodes_max, uint32_t sides)
{
	AUTO(answer) whole = ask(bench, WIRE_ASK_PROFILE, 0, sides);
	AUTO(answer) tree = ask(bench, WIRE_ASK_TREE, nodes_max, sides);
	__attribute__((cleanup(drawn_fini))) struct drawn all = draw(whole);
	__attribute__((cleanup(drawn_fini))) struct drawn cut = draw(tree);
	autofree uint32_t *twins = twins_of(&all, &cut);
	uint64_t least = UINT64_MAX, greatest = 0;
	bool is_cut = nodes_max > 0 && all.count > nodes_max;
	assert_int_equal(cut.count, is_cut ? nodes_max : all.count);
	for (uint32_t side = 0; side < sides; side++)
		check_side(&all, twins, tree, &cut, side);
	for (uint32_t node = 0; node < all.count; node++) {
		uint64_t value = value_of(&all, node);
		if (twins[node])
			least = value < least ? value : least;
		else
			greatest = value > greatest ? value : greatest;
	}
	/* Values within a sixteenth are alike. */
	CHECK(!is_cut || greatest <= least + least / 16);
}

static void check_cuts(struct bench *bench)
{
	static const uint32_t maxima[] = { 0, 1, 2, 5, 64, 333, 1000, 1u << 30 };
	for (size_t i = 0; i < COUNT_OF(maxima); i++) {
		check_cut(bench, maxima[i], 1);
		check_cut(bench, maxima[i], 2);
	}
}

/* A stack as deep as that, with branches all along its way. */
static void put_deep(struct bench *bench, uint32_t functions_first, uint32_t depth)
{
	uint32_t node = DICT_NODE_ROOT;
	for (uint32_t i = 0; i < depth; i++) {
		node = bench_node(bench, node, functions_first + i % 3);
		if (i % 97 != 0 && (i < 4080 || i > 4110))
			continue;
		uint32_t leaf = bench_node(bench, node, functions_first + 3 + i % 5);
		bench_row(bench, leaf, random_below(&bench->random, 1000),
		        random_below(&bench->random, 1000));
		bench_row(bench, bench_node(bench, leaf, 1), random_below(&bench->random, 3), 1);
	}
	bench_row(bench, node, 12345, 0);
}

/* Bushes of a few levels; half of the values are `alike`. */
static void put_bushes(
        struct bench *bench, uint32_t functions_first, uint32_t count, uint64_t alike)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t node = DICT_NODE_ROOT;
		uint32_t depth = 1 + random_below(&bench->random, 6);
		for (uint32_t j = 0; j < depth; j++)
			node = bench_node(bench, node,
			        functions_first + random_below(&bench->random, 4 + j * 9));
		uint64_t value = i % 2 ? alike : random_below(&bench->random, 100000);
		bench_row(bench, node, random_below(&bench->random, 3) ? value : 0, value % 7);
	}
}

static void a_cut_tree_is_of_the_greatest_nodes_and_says_what_is_missing(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct bench bench;
		print_message("seed %lu\n", seed);
		bench_open(&bench, seed);
		put_bushes(&bench, 0, 600, 3);
		bench_append(&bench);
		check_cuts(&bench); /* laid out behind the first */
		put_bushes(&bench, 0, 100, 3);
		put_bushes(&bench, 50, 40, 1);
		bench_append(&bench);
		check_cuts(&bench); /* some are behind what is laid out */
		put_bushes(&bench, 500, 1500, 2);
		bench_append(&bench);
		check_cuts(&bench);
		bench_close(&bench);
	}
}

/* Far more nodes than may stay have one value, and come before and behind greater ones. */
static void of_nodes_that_are_alike_the_first_stay(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, 7);
	uint32_t top = bench_node(&bench, DICT_NODE_ROOT, 0);
	for (uint32_t i = 0; i < 3000; i++)
		bench_row(&bench, bench_node(&bench, top, 1 + i), 5, i % 100 == 0 ? 1000 + i : 0);
	bench_append(&bench);
	check_cuts(&bench);
	check_cuts(&bench);
	bench_close(&bench);
}

static void stacks_deeper_than_what_is_laid_out_are_in_the_tree(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, 11);
	put_deep(&bench, 10, DEPTH);
	put_bushes(&bench, 0, 300, 4);
	bench_append(&bench);
	check_cuts(&bench);
	put_deep(&bench, 20, DEPTH / 4);
	put_bushes(&bench, 0, 30, 4);
	bench_append(&bench);
	check_cuts(&bench);
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_tree_is_of_the_greatest_nodes_and_says_what_is_missing),
		cmocka_unit_test(of_nodes_that_are_alike_the_first_stay),
		cmocka_unit_test(stacks_deeper_than_what_is_laid_out_are_in_the_tree),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
