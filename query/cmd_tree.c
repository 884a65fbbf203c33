/*
 * tree: who calls what, root first, as indented text. Paths of equal value are long and say little,
 * so a chain of only children stays at one depth of indentation. Nodes are shown by value until the
 * limit or the smallest share is reached; what was cut below a node is said in its place.
 */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/naming.h"
#include "query/all_stacks.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/group_frames.h"
#include "query/output.h"
#include "query/report.h"
#include "query/rows.h"
#include "query/source.h"
#include "query/text.h"
#include "query/tree_view.h"
#include "query/units.h"

#define TREE_NODES_EACH 8
#define TREE_NODES_MIN  4096
#define TREE_INDENT_MAX 60 /* levels that are drawn; deeper ones say their depth */

struct tree_args {
	struct shared_args shared;
	struct range_args range;
	char *type;
	uint32_t limit;
	char *by;
	uint32_t format;
	char *out;
};

static const char *const tree_formats[] = { "table", "wide", "json", "csv", "folded", "pprof",
	"html", NULL };

static const struct option_spec tree_options[] = {
	RANGE_OPTIONS(tree_args),
	TYPE_OPTION(tree_args),
	LIMIT_OPTION(tree_args, "60", "how many nodes, the greatest first"),
	BY_OPTION(tree_args),
	FORMAT_OPTION(tree_args, tree_formats),
	OUT_OPTION(tree_args),
	SHARED_OPTIONS(tree_args),
	{ 0 },
};

static const struct option_table tree_table = {
	.program = "profleet tree",
	.summary = "show who calls what, and what that costs",
	.usage = "SELECTOR [options]",
	.description =
	        "The merged call tree of the selected series, callers above callees. total "
	        "is the value "
	        "of everything below and including a node, self what ends there; the "
	        "percentages are "
	        "of the whole value. The greatest nodes are shown, in the order of the "
	        "tree; a line in "
	        "[brackets] says what was cut at its place. > marks the only callee of the "
	        "line above.\n\n"
	        "folded and pprof write all stacks, not the tree, and html is a flame graph "
	        "of them; --limit does not cut them.\n\n"
	        "With --by every stack begins with the values of the labels, as if they were "
	        "its outermost caller: the tree parts there first.",
	.examples = "profleet tree 'cpu{service=\"cart\"}' --since 10m\n"
	            "profleet tree cpu --by region,version\n"
	            "profleet tree stacks.folded --limit 0\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = tree_options,
	.args_min = 1,
	.args_max = 1,
};

struct tree {
	const struct source *source;
	const struct names *names;
	const struct tree_view *view;
	bool *shown; /* by node */
	uint32_t shown_count;
	uint64_t count; /* without the root, with those that are missing */
	uint64_t value;
	uint64_t self_hidden;
};

static int tree_compare_totals(const void *left, const void *right, void *opaque)
{
	const struct tree_view *view = opaque;
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	uint64_t total_a = tree_view_get(view, a)->total[0];
	uint64_t total_b = tree_view_get(view, b)->total[0];
	if (total_a != total_b)
		return total_a > total_b ? -1 : 1;
	/* A parent has no smaller total than its child and the smaller number: it comes first. */
	return (a > b) - (a < b);
}

/* Marks the `limit` greatest nodes: with each its callers, which are at least as great. */
static int tree_mark(struct tree *tree, uint32_t limit)
{
	uint32_t nodes = tree_view_count(tree->view);
	autofree uint32_t *order = calloc(nodes, sizeof(*order));
	tree->shown = calloc(nodes, sizeof(*tree->shown));
	if (!order || !tree->shown)
		return -ENOMEM;
	uint32_t count = nodes - 1;
	tree->count = count + tree_view_missing(tree->view);
	for (uint32_t i = 1; i < nodes; i++)
		order[i - 1] = i;
	if (count > 1)
		qsort_r(order, count, sizeof(*order), tree_compare_totals,
		        (void *)(uintptr_t)tree->view);
	tree->shown_count = limit && limit < count ? limit : count;
	for (uint32_t i = 0; i < tree->shown_count; i++)
		tree->shown[order[i]] = true;
	for (uint32_t i = tree->shown_count; i < count; i++)
		tree->self_hidden += tree_view_get(tree->view, order[i])->self[0];
	for (uint32_t i = 0; i < nodes; i++)
		tree->self_hidden += tree_view_get(tree->view, i)->missing[0];
	return 0;
}

/* The only callee of the line above it is not moved to the right, but marked by ">". */
static bool tree_is_chained(const struct tree *tree, uint32_t id)
{
	const struct tree_view_node *node = tree_view_get(tree->view, id);
	if (node->parent == 0)
		return false;
	const struct tree_view_node *parent = tree_view_get(tree->view, node->parent);
	return parent->first_child == id && node->next_sibling == ID_NONE && parent->self[0] == 0 &&
	       parent->missing[0] == 0;
}

static void tree_put_name(const char *text, uint32_t level, bool chained, struct buf *to)
{
	uint32_t drawn = level < TREE_INDENT_MAX ? level : TREE_INDENT_MAX;
	for (uint32_t i = 0; i < drawn; i++)
		buf_put(to, "  ", 2);
	if (drawn < level)
		buf_printf(to, "(+%u) ", level - drawn);
	if (chained)
		buf_put(to, "> ", 2);
	buf_put(to, text, strlen(text));
	buf_put_u8(to, '\0');
}

/* What of the children of a shown node is not shown, as a line of its own. */
static void tree_put_cut_children(
        const struct tree *tree, uint32_t id, uint32_t level, struct text_table *table)
{
	uint64_t value = tree_view_get(tree->view, id)->missing[0];
	uint32_t count = tree_view_get(tree->view, id)->missing_children;
	for (uint32_t child = tree_view_get(tree->view, id)->first_child; child != ID_NONE;
	        child = tree_view_get(tree->view, child)->next_sibling) {
		if (tree->shown[child])
			continue;
		value += tree_view_get(tree->view, child)->total[0];
		count++;
	}
	if (count == 0)
		return;

	AUTO_BUF name = { 0 };
	char text[64];
	snprintf(text, sizeof(text), "[%s more below]", units_count(count).text);
	tree_put_name(text, level, false, &name);
	text_table_put(table, units_value(tree->source->unit, value).text);
	text_table_put(table, units_percent(value, tree->value).text);
	text_table_put(table, "");
	text_table_put(table, "");
	text_table_put(table, name.failed ? "" : (const char *)name.bytes);
	text_table_color(table, "2");
	text_table_put(table, "");
}

static void tree_put_node(
        const struct tree *tree, uint32_t id, uint32_t level, struct text_table *table)
{
	const struct tree_view_node *node = tree_view_get(tree->view, id);
	const char *unit = tree->source->unit;
	AUTO_BUF name = { 0 };
	tree_put_name(
	        names_function(tree->names, node->name), level, tree_is_chained(tree, id), &name);
	text_table_put(table, units_value(unit, node->total[0]).text);
	text_table_put(table, units_percent(node->total[0], tree->value).text);
	text_table_put(table, units_value(unit, node->self[0]).text);
	text_table_put(table, units_percent(node->self[0], tree->value).text);
	text_table_put(table, name.failed ? "" : (const char *)name.bytes);
	text_table_put(table, names_module(tree->names, node->name));
}

/* Says what was cut below each node that ends between one shown node and the next. */
static void tree_leave(const struct tree *tree, uint32_t from, uint32_t to, const uint32_t *levels,
        struct text_table *table)
{
	uint32_t until = to == ID_NONE ? ID_NONE : tree_view_get(tree->view, to)->parent;
	for (; from != until; from = tree_view_get(tree->view, from)->parent)
		tree_put_cut_children(tree, from, from ? levels[from] + 1 : 0, table);
}

static int tree_put_table(
        const struct tree *tree, bool wide, const struct output *output, struct buf *to)
{
	static const struct text_column columns[] = {
		{ "total", TEXT_RIGHT, 0, false },
		{ "total%", TEXT_RIGHT, 0, false },
		{ "self", TEXT_RIGHT, 0, false },
		{ "self%", TEXT_RIGHT, 0, false },
		{ "function", TEXT_LEFT, 64, true },
		{ "module", TEXT_LEFT, 0, false },
	};
	AUTO(text_table) table = text_table_new(columns, COUNT_OF(columns));
	autofree uint32_t *levels = calloc(tree_view_count(tree->view), sizeof(*levels));
	if (!table || !levels)
		return -ENOMEM;

	uint32_t before = 0;
	for (uint32_t id = tree_view_next(tree->view, 0); id != ID_NONE;) {
		if (!tree->shown[id]) {
			id = tree_view_skip(tree->view, id);
			continue;
		}
		tree_leave(tree, before, id, levels, table);
		uint32_t parent = tree_view_get(tree->view, id)->parent;
		/* The root has no line, so its children start at 0. */
		levels[id] = parent == 0 ? 0 : levels[parent] + !tree_is_chained(tree, id);
		tree_put_node(tree, id, levels[id], table);
		before = id;
		id = tree_view_next(tree->view, id);
	}
	tree_leave(tree, before, ID_NONE, levels, table);

	report_put_head(tree->source, 0, "", to);
	buf_put_u8(to, '\n');
	text_table_keep_lines(table);
	text_table_print(table, wide ? 0 : output->width, output->color, to);
	buf_put_u8(to, '\n');
	report_put_completeness(tree->source, 0, "", to);
	rows_put_cut("node", tree->shown_count, tree->count, tree->self_hidden, tree->value, to);
	return 0;
}

/* Nodes in preorder with their depth: deep trees would pass every reader's limit of nesting. */
static void tree_put_json(const struct tree *tree, struct buf *to)
{
	struct json_writer json = json_writer_of(to, true);
	json_object_begin(&json);
	report_json_head(tree->source, "tree", &json);
	json_key(&json, "side");
	report_json_side(tree->source, 0, &json);
	json_key(&json, "nodes");
	json_array_begin(&json);
	for (uint32_t id = tree_view_next(tree->view, 0); id != ID_NONE;) {
		if (!tree->shown[id]) {
			id = tree_view_skip(tree->view, id);
			continue;
		}
		const struct tree_view_node *node = tree_view_get(tree->view, id);
		json_object_begin(&json);
		json_key_u64(&json, "depth", node->depth);
		json_key_text(&json, "function", names_function(tree->names, node->name));
		json_key_text(&json, "module", names_module(tree->names, node->name));
		json_key_u64(&json, "total", node->total[0]);
		json_key_u64(&json, "self", node->self[0]);
		json_object_end(&json);
		id = tree_view_next(tree->view, id);
	}
	json_array_end(&json);
	json_key(&json, "cut");
	json_object_begin(&json);
	json_key_u64(&json, "shown", tree->shown_count);
	json_key_u64(&json, "of", tree->count);
	json_key_u64(&json, "self_not_shown", tree->self_hidden);
	json_object_end(&json);
	json_object_end(&json);
	buf_put_u8(to, '\n');
}

/* The same nodes for a spreadsheet. */
static void tree_put_csv(const struct tree *tree, struct buf *to)
{
	buf_printf(to, "depth,total,self,unit,function,module\n");
	for (uint32_t id = tree_view_next(tree->view, 0); id != ID_NONE;) {
		if (!tree->shown[id]) {
			id = tree_view_skip(tree->view, id);
			continue;
		}
		const struct tree_view_node *node = tree_view_get(tree->view, id);
		buf_printf(to, "%u,%llu,%llu,", node->depth, (unsigned long long)node->total[0],
		        (unsigned long long)node->self[0]);
		rows_put_csv_function(tree->names, node->name, tree->source->unit, to);
		id = tree_view_next(tree->view, id);
	}
}

/*
 * What is printed are the greatest nodes, so the aggregator need not send all. It counts a function
 * under each of its raw names, of which several may be one line here: some more are asked for.
 */
static void tree_request(
        const struct tree_args *args, enum output_format format, struct source_request *request)
{
	if (all_stacks_wants(format))
		return;
	request->question = WIRE_ASK_TREE;
	if (args->limit > 0 && args->limit < TREE_NODES_EACH * TREE_NODES_MIN)
		request->nodes_max = args->limit * TREE_NODES_EACH > TREE_NODES_MIN
		                             ? args->limit * TREE_NODES_EACH
		                             : TREE_NODES_MIN;
}

static int cmd_tree_run(void *opaque, const struct option_args *words)
{
	const struct tree_args *args = opaque;
	enum output_format format = output_format_of(tree_formats[args->format]);
	struct output output = output_of(&args->shared, args->out);
	struct source_request request = {
		.words = { words->items[0] },
		.sides_count = 1,
		.type = args->type,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
	};
	tree_request(args, format, &request);
	AUTO(source) source = NULL;
	AUTO_BUF text = { 0 };

	int code = group_frames_load(args->by, &args->range, &args->shared, &request, &source);
	if (code)
		return code;
	if (format == FORMAT_FOLDED || format == FORMAT_PPROF || format == FORMAT_CSV)
		report_remark(source);
	if (all_stacks_wants(format))
		return all_stacks_deliver(source, format, &args->shared, args->out, &output);

	AUTO(names) names = names_new();
	AUTO(tree_view) view = names ? tree_view_new(names) : NULL;
	const struct source_side *side = &source->sides[0];
	int result = view ? tree_view_add_cut(view, 0, side->batch, side->parts, side->chosen)
	                  : -ENOMEM;
	if (result == 0)
		result = tree_view_sort(view);
	struct tree tree = {
		.source = source,
		.names = names,
		.view = view,
		.value = source->sides[0].value,
	};
	if (result == 0)
		result = tree_mark(&tree, args->limit);
	autofree bool *shown = tree.shown;
	if (result == 0 && format == FORMAT_JSON)
		tree_put_json(&tree, &text);
	else if (result == 0 && format == FORMAT_CSV)
		tree_put_csv(&tree, &text);
	else if (result == 0)
		result = tree_put_table(&tree, format == FORMAT_WIDE, &output, &text);
	(void)shown;
	return result < 0 ? rows_explain(result) : output_deliver(&output, &text, EXIT_CODE_OK);
}

const struct command cmd_tree = {
	.name = "tree",
	.table = &tree_table,
	.args_size = sizeof(struct tree_args),
	.run = cmd_tree_run,
};
