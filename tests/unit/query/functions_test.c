/*
 * The function table and the tree: recursion counts once, sides of different dicts meet by name,
 * orders are total, sums past 64 bits are refused.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/folded.h"
#include "query/functions.h"
#include "query/tree_view.h"

struct side {
	struct dict *dict;
	struct batch *batch;
	uint32_t series;
};

static struct side side_of(const char *folded)
{
	struct side side = { .dict = dict_new(dict_limits_default) };
	struct series series = { .period = 1 };
	struct parse_error error;
	uint64_t skipped;
	side.batch = batch_new(side.dict);
	assert_non_null(side.batch);
	CHECK_OK(dict_cstring(side.dict, "cpu", &series.type));
	CHECK_OK(dict_cstring(side.dict, "count", &series.unit));
	CHECK_OK(dict_series(side.dict, &series, NULL, 0, &side.series));
	CHECK_OK(folded_parse(folded, strlen(folded), side.batch, side.series, &skipped, &error));
	CHECK_OK(batch_settle(side.batch));
	return side;
}

static void side_fini(struct side *side)
{
	batch_free(side->batch);
	dict_free(side->dict);
}

#define SIDE(name, folded) __attribute__((cleanup(side_fini))) struct side name = side_of(folded)

static const struct function *find(
        const struct functions *functions, const struct names *names, const char *name)
{
	for (uint32_t i = 0; i < functions_count(functions); i++)
		if (strcmp(names_function(names, functions_get(functions, i)->name), name) == 0)
			return functions_get(functions, i);
	fail_msg("no function %s", name);
	return NULL;
}

static void recursion_counts_once_in_cum(void **state)
{
	SIDE(side, "main;fib;fib;fib 7\nmain;fib;other;fib 2\nmain;a;b;a;b 5\n");
	AUTO(names) names = names_new();
	AUTO(functions) functions = functions_new(names);
	CHECK_OK(functions_add(functions, 0, side.batch, NULL));

	static const struct {
		const char *name;
		uint64_t flat, cum;
	} expected[] = {
		{ "main", 0, 14 },
		{ "fib", 9, 9 },
		{ "other", 0, 2 },
		{ "a", 0, 5 },
		{ "b", 5, 5 },
	};
	assert_int_equal(functions_count(functions), COUNT_OF(expected));
	assert_int_equal(functions_total(functions, 0), 14);
	for (size_t i = 0; i < COUNT_OF(expected); i++) {
		const struct function *function = find(functions, names, expected[i].name);
		assert_int_equal(function->flat[0], expected[i].flat);
		assert_int_equal(function->cum[0], expected[i].cum);
	}
}

static void flat_adds_up_to_the_whole(void **state)
{
	SIDE(side, "a;b 1\na;c 2\na 4\nd;a;a 8\nd 16\n");
	AUTO(names) names = names_new();
	AUTO(functions) functions = functions_new(names);
	CHECK_OK(functions_add(functions, 0, side.batch, NULL));
	uint64_t flat = 0;
	for (uint32_t i = 0; i < functions_count(functions); i++)
		flat += functions_get(functions, i)->flat[0];
	assert_int_equal(flat, 31);
	assert_int_equal(functions_total(functions, 0), 31);
}

static void sides_of_two_dicts_meet_by_name(void **state)
{
	SIDE(a, "main;gone 3\nmain;same 5\n");
	SIDE(b, "main;fresh 1\nmain;same 6\nother 2\n");
	AUTO(names) names = names_new();
	AUTO(functions) functions = functions_new(names);
	CHECK_OK(functions_add(functions, 0, a.batch, NULL));
	CHECK_OK(functions_add(functions, 1, b.batch, NULL));

	assert_int_equal(functions_count(functions), 5);
	const struct function *same = find(functions, names, "same");
	assert_int_equal(same->flat[0], 5);
	assert_int_equal(same->flat[1], 6);
	assert_int_equal(find(functions, names, "gone")->cum[1], 0);
	assert_int_equal(find(functions, names, "fresh")->cum[0], 0);
	assert_int_equal(find(functions, names, "main")->cum[1], 7);
}

static void order_is_total_and_greatest_first(void **state)
{
	SIDE(side, "m;z 5\nm;a 5\nm;big 9\nm;b;small 1\n");
	AUTO(names) names = names_new();
	AUTO(functions) functions = functions_new(names);
	CHECK_OK(functions_add(functions, 0, side.batch, NULL));

	static const char *const by_flat[] = { "big", "a", "z", "small", "m", "b" };
	functions_sort(functions, FUNCTIONS_BY_FLAT, (struct functions_scale){ 0 });
	for (uint32_t i = 0; i < COUNT_OF(by_flat); i++)
		assert_string_equal(
		        names_function(names, functions_get(functions, i)->name), by_flat[i]);
	static const char *const by_cum[] = { "m", "big", "a", "z", "small", "b" };
	functions_sort(functions, FUNCTIONS_BY_CUM, (struct functions_scale){ 0 });
	for (uint32_t i = 0; i < COUNT_OF(by_cum); i++)
		assert_string_equal(
		        names_function(names, functions_get(functions, i)->name), by_cum[i]);
}

static void check_near(double value, double expected)
{
	assert_true(value - expected < 1e-12 && expected - value < 1e-12);
}

static void change_is_of_shares_not_of_values(void **state)
{
	/* B is twice as long: the same shares are no change. */
	SIDE(a, "steady 50\ngrown 10\nshrunk 40\n");
	SIDE(b, "steady 100\ngrown 60\nshrunk 40\n");
	AUTO(names) names = names_new();
	AUTO(functions) functions = functions_new(names);
	CHECK_OK(functions_add(functions, 0, a.batch, NULL));
	CHECK_OK(functions_add(functions, 1, b.batch, NULL));
	struct functions_scale scale = { .whole = { 100, 200 } };
	functions_sort(functions, FUNCTIONS_BY_CHANGE, scale);

	check_near(functions_change(find(functions, names, "steady"), scale), 0);
	check_near(functions_change(find(functions, names, "grown"), scale), 0.2);
	check_near(functions_change(find(functions, names, "shrunk"), scale), -0.2);
	assert_string_equal(names_function(names, functions_get(functions, 2)->name), "steady");
}

static void series_that_are_not_chosen_are_left_out(void **state)
{
	SIDE(side, "a 1\nb 2\n");
	AUTO(names) names = names_new();
	AUTO(functions) functions = functions_new(names);
	const bool chosen[] = { false };
	CHECK_OK(functions_add(functions, 0, side.batch, chosen));
	assert_int_equal(functions_count(functions), 0);
	assert_int_equal(functions_total(functions, 0), 0);
}

static void sums_past_64_bits_are_refused(void **state)
{
	SIDE(side, "a 18446744073709551615\nb 1\n");
	AUTO(names) names = names_new();
	AUTO(functions) functions = functions_new(names);
	AUTO(tree_view) tree = tree_view_new(names);
	assert_int_equal(functions_add(functions, 0, side.batch, NULL), -EOVERFLOW);
	assert_int_equal(tree_view_add(tree, 0, side.batch, NULL), -EOVERFLOW);
}

/* The tree as text: "name total self" by depth. */
static void tree_print(const struct tree_view *tree, const struct names *names, struct buf *to)
{
	for (uint32_t id = tree_view_next(tree, 0); id != ID_NONE; id = tree_view_next(tree, id)) {
		const struct tree_view_node *node = tree_view_get(tree, id);
		for (uint32_t i = 1; i < node->depth; i++)
			buf_put_u8(to, ' ');
		buf_printf(to, "%s %d|%d %d|%d\n", names_function(names, node->name),
		        (int)node->total[0], (int)node->total[1], (int)node->self[0],
		        (int)node->self[1]);
	}
	buf_put_u8(to, '\0');
}

static void a_tree_is_the_union_sorted_by_value(void **state)
{
	SIDE(a, "main;x;deep 1\nmain;y 5\n");
	SIDE(b, "main;x;deep 9\nmain 2\nlone 1\n");
	AUTO(names) names = names_new();
	AUTO(tree_view) tree = tree_view_new(names);
	AUTO_BUF text = { 0 };
	CHECK_OK(tree_view_add(tree, 0, a.batch, NULL));
	CHECK_OK(tree_view_add(tree, 1, b.batch, NULL));
	CHECK_OK(tree_view_sort(tree));
	tree_print(tree, names, &text);
	assert_string_equal((const char *)text.bytes, "main 6|11 0|2\n"
	                                              " x 1|9 0|0\n"
	                                              "  deep 1|9 1|9\n"
	                                              " y 5|0 5|0\n"
	                                              "lone 0|1 0|1\n");
	assert_int_equal(tree_view_get(tree, 0)->total[0], 6);
	assert_int_equal(tree_view_get(tree, 0)->total[1], 12);
}

static void skipping_a_node_leaves_out_what_is_below(void **state)
{
	SIDE(a, "main;x;deep 9\nmain;y 5\nother 1\n");
	AUTO(names) names = names_new();
	AUTO(tree_view) tree = tree_view_new(names);
	CHECK_OK(tree_view_add(tree, 0, a.batch, NULL));
	CHECK_OK(tree_view_sort(tree));
	uint32_t main_node = tree_view_next(tree, 0);
	uint32_t x = tree_view_next(tree, main_node);
	assert_string_equal(
	        names_function(names, tree_view_get(tree, tree_view_skip(tree, x))->name), "y");
	uint32_t other = tree_view_skip(tree, main_node);
	assert_string_equal(names_function(names, tree_view_get(tree, other)->name), "other");
	assert_int_equal(tree_view_skip(tree, other), ID_NONE);
	assert_int_equal(tree_view_skip(tree, 0), ID_NONE);
}

static void five_hundred_frames_deep_is_nothing_special(void **state)
{
	AUTO_BUF line = { 0 };
	for (int i = 0; i < 500; i++)
		buf_printf(&line, "%sf%d", i ? ";" : "", i % 50);
	buf_printf(&line, " 3\n");
	buf_put_u8(&line, '\0');
	SIDE(side, (const char *)line.bytes);
	AUTO(names) names = names_new();
	AUTO(functions) functions = functions_new(names);
	AUTO(tree_view) tree = tree_view_new(names);
	CHECK_OK(functions_add(functions, 0, side.batch, NULL));
	assert_int_equal(functions_count(functions), 50);
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(functions_get(functions, i)->cum[0], 3);
	CHECK_OK(tree_view_add(tree, 0, side.batch, NULL));
	assert_int_equal(tree_view_count(tree), 501);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recursion_counts_once_in_cum),
		cmocka_unit_test(flat_adds_up_to_the_whole),
		cmocka_unit_test(sides_of_two_dicts_meet_by_name),
		cmocka_unit_test(order_is_total_and_greatest_first),
		cmocka_unit_test(change_is_of_shares_not_of_values),
		cmocka_unit_test(series_that_are_not_chosen_are_left_out),
		cmocka_unit_test(sums_past_64_bits_are_refused),
		cmocka_unit_test(a_tree_is_the_union_sorted_by_value),
		cmocka_unit_test(skipping_a_node_leaves_out_what_is_below),
		cmocka_unit_test(five_hundred_frames_deep_is_nothing_special),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
