/*
 * top: the functions that cost most. Flat is what ends in a function, cum what it is anywhere on
 * the stack of. All functions are counted before the table is cut, and what was cut is said.
 */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/auto.h"
#include "profile/folded.h"
#include "profile/naming.h"
#include "profile/pprof.h"
#include "query/all_stacks.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/functions.h"
#include "query/groups.h"
#include "query/output.h"
#include "query/report.h"
#include "query/rows.h"
#include "query/source.h"
#include "query/text.h"
#include "query/units.h"

struct top_args {
	struct shared_args shared;
	struct range_args range;
	char *type;
	uint32_t limit;
	uint32_t sort; /* index into top_sorts */
	char *by;
	uint32_t groups;
	uint32_t format;
	char *out;
};

static const char *const top_formats[] = { "table", "wide", "json", "csv", "folded", "pprof",
	"html", NULL };
static const char *const top_sorts[] = { "flat", "cum", NULL };

static const struct option_spec top_options[] = {
	RANGE_OPTIONS(top_args),
	TYPE_OPTION(top_args),
	LIMIT_OPTION(top_args, "20", "how many functions"),
	{ .name = "sort",
	        .kind = OPTION_ENUM,
	        .offset = offsetof(struct top_args, sort),
	        .fallback = "flat",
	        .choices = top_sorts,
	        .help = "which column decides the order" },
	BY_OPTION(top_args),
	GROUPS_OPTION(top_args),
	FORMAT_OPTION(top_args, top_formats),
	OUT_OPTION(top_args),
	SHARED_OPTIONS(top_args),
	{ 0 },
};

static const struct option_table top_table = {
	.program = "profleet top",
	.summary = "show the functions that cost most",
	.usage = "SELECTOR [options]",
	.description =
	        "Adds up all stacks of the selected series by function. flat is the value of "
	        "stacks "
	        "that end in the function; cum that of all stacks it is on, however often: "
	        "recursion "
	        "counts once. The percentages are of the whole value that was selected.\n\n"
	        "SELECTOR is a profile type with label matchers, such as cpu{service=\"cart\"}, or "
	        "a "
	        "file in folded or pprof form. Below the table stands how complete the answer "
	        "is.\n\n"
	        "folded and pprof write all stacks, not the table, and html is a flame graph of "
	        "them; --limit does not cut them.",
	.examples = "profleet top cpu\n"
	            "profleet top 'cpu{service=\"cart\",version=~\"1\\\\.9.*\"}' --since 10m "
	            "--limit 50\n"
	            "profleet top cpu --from now-2h --to now-1h -o json\n"
	            "profleet top cpu --by region,version --limit 5\n"
	            "profleet top stacks.folded --sort cum\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = top_options,
	.args_min = 1,
	.args_max = 1,
};

struct top {
	const struct top_args *args;
	const struct source *source;
	const struct names *names;
	const struct functions *functions;
	uint32_t shown;
	uint64_t value;       /* of all functions */
	uint64_t value_shown; /* flat of those shown */
};

static void top_put_rows(
        const struct top *top, bool wide, const struct output *output, struct buf *to)
{
	static const struct text_column columns[] = {
		{ "flat", TEXT_RIGHT, 0, false },
		{ "flat%", TEXT_RIGHT, 0, false },
		{ "cum", TEXT_RIGHT, 0, false },
		{ "cum%", TEXT_RIGHT, 0, false },
		{ "flat cores", TEXT_RIGHT, 0, false },
		{ "cum cores", TEXT_RIGHT, 0, false },
		{ "function", TEXT_LEFT, 48, true },
		{ "module", TEXT_LEFT, 0, false },
	};
	/* Without the cores, which only `wide` shows. */
	struct text_column narrow[COUNT_OF(columns) - 2];
	memcpy(narrow, columns, 4 * sizeof(*columns));
	memcpy(narrow + 4, columns + 6, 2 * sizeof(*columns));

	const struct source_side *side = &top->source->sides[0];
	const char *unit = top->source->unit;
	AUTO(text_table) table = text_table_new(
	        wide ? columns : narrow, (uint32_t)(wide ? COUNT_OF(columns) : COUNT_OF(narrow)));
	if (!table) {
		to->failed = true;
		return;
	}
	for (uint32_t i = 0; i < top->shown; i++) {
		const struct function *function = functions_get(top->functions, i);
		text_table_put(table, units_value(unit, function->flat[0]).text);
		text_table_put(table, units_percent(function->flat[0], top->value).text);
		text_table_put(table, units_value(unit, function->cum[0]).text);
		text_table_put(table, units_percent(function->cum[0], top->value).text);
		if (wide) {
			uint64_t span_ns = top->source->is_cpu ? side->span_ns : 0;
			text_table_put(table, units_cores(function->flat[0], span_ns).text);
			text_table_put(table, units_cores(function->cum[0], span_ns).text);
		}
		text_table_put(table, names_function(top->names, function->name));
		text_table_put(table, names_module(top->names, function->name));
	}

	text_table_print(table, wide ? 0 : output->width, output->color, to);
}

static void top_put_table(
        const struct top *top, bool wide, const struct output *output, struct buf *to)
{
	report_put_head(top->source, 0, "", to);
	buf_put_u8(to, '\n');
	top_put_rows(top, wide, output, to);
	buf_put_u8(to, '\n');
	report_put_completeness(top->source, 0, "", to);
	rows_put_cut("function", top->shown, functions_count_all(top->functions),
	        top->value - top->value_shown, top->value, to);
}

static void top_put_csv(const struct top *top, struct buf *to)
{
	buf_printf(to, "flat,flat_share,cum,cum_share,unit,function,module\n");
	for (uint32_t i = 0; i < top->shown; i++) {
		const struct function *function = functions_get(top->functions, i);
		double whole = top->value ? (double)top->value : 1;
		buf_printf(to, "%llu,%.9f,%llu,%.9f,", (unsigned long long)function->flat[0],
		        (double)function->flat[0] / whole, (unsigned long long)function->cum[0],
		        (double)function->cum[0] / whole);
		rows_put_csv_function(top->names, function->name, top->source->unit, to);
	}
}

static void top_json_functions(const struct top *top, struct json_writer *json)
{
	json_key(json, "functions");
	json_array_begin(json);
	for (uint32_t i = 0; i < top->shown; i++) {
		const struct function *function = functions_get(top->functions, i);
		json_object_begin(json);
		json_key_text(json, "function", names_function(top->names, function->name));
		json_key_text(json, "module", names_module(top->names, function->name));
		json_key_u64(json, "flat", function->flat[0]);
		report_json_share(json, "flat_share", function->flat[0], top->value, 1);
		json_key_u64(json, "cum", function->cum[0]);
		report_json_share(json, "cum_share", function->cum[0], top->value, 1);
		json_object_end(json);
	}
	json_array_end(json);
	json_key(json, "cut");
	json_object_begin(json);
	json_key_u64(json, "shown", top->shown);
	json_key_u64(json, "of", functions_count_all(top->functions));
	json_key_u64(json, "flat_not_shown", top->value - top->value_shown);
	json_object_end(json);
}

static void top_json_head(const struct top *top, struct json_writer *json)
{
	json_object_begin(json);
	report_json_head(top->source, "top", json);
	json_key(json, "side");
	report_json_side(top->source, 0, json);
	json_key_text(json, "sorted_by", top_sorts[top->args->sort]);
}

static void top_put_json(const struct top *top, struct buf *to)
{
	struct json_writer json = json_writer_of(to, true);
	top_json_head(top, &json);
	top_json_functions(top, &json);
	json_object_end(&json);
	buf_put_u8(to, '\n');
}

static int top_count(struct top *top, struct names *names, struct functions *functions)
{
	int result = rows_add_functions(functions, top->source, 0);
	if (result < 0)
		return rows_explain(result);
	functions_sort(functions, top->args->sort ? FUNCTIONS_BY_CUM : FUNCTIONS_BY_FLAT,
	        (struct functions_scale){ 0 });

	top->value_shown = 0;
	uint32_t count = functions_count(functions);
	uint32_t limit = top->args->limit;
	top->names = names;
	top->functions = functions;
	top->value = top->source->sides[0].value;
	top->shown = limit && limit < count ? limit : count;
	for (uint32_t i = 0; i < top->shown; i++)
		top->value_shown += functions_get(functions, i)->flat[0];
	return 0;
}

/* All groups, one after the other, in one of the forms. */
struct top_groups {
	const struct source_request *request;
	const struct source *source;
	struct groups *groups;
	uint32_t shown;
	enum output_format format;
	const struct output *output;
	struct json_writer json;
	struct buf *to;
};

static void top_put_group(const struct top_groups *all, const struct top *top, uint32_t index,
        struct json_writer *json)
{
	const struct group *group = &all->groups->items[index];
	uint64_t whole = all->source->sides[0].value;
	struct buf *to = all->to;
	if (all->format == FORMAT_JSON) {
		json_object_begin(json);
		json_key(json, "labels");
		groups_json_labels(all->request, all->source, group, json);
		json_key_u64(json, "value", group->value);
		report_json_share(json, "share", group->value, whole, 1);
		json_key_u64(json, "coverage_ns", group->coverage_ns);
		top_json_functions(top, json);
		json_object_end(json);
		return;
	}
	groups_put_name(all->request, all->source, group, to);
	buf_printf(to, "  total %s", units_value(all->source->unit, group->value).text);
	buf_printf(to, "  %s of all\n", units_percent(group->value, whole).text);
	top_put_rows(top, all->format == FORMAT_WIDE, all->output, to);
	rows_put_cut("function", top->shown, functions_count_all(top->functions),
	        top->value - top->value_shown, top->value, to);
	buf_put_u8(to, '\n');
}

static void top_csv_group(const struct top_groups *all, const struct top *top, uint32_t index)
{
	for (uint32_t i = 0; i < top->shown; i++) {
		const struct function *function = functions_get(top->functions, i);
		for (uint32_t label = 0; label < all->request->by_count; label++) {
			text_put_csv(all->to, groups_label(all->source, &all->groups->items[index],
			                              all->request->by[label]));
			buf_put_u8(all->to, ',');
		}
		buf_printf(all->to, "%llu,%llu,", (unsigned long long)function->flat[0],
		        (unsigned long long)function->cum[0]);
		rows_put_csv_function(top->names, function->name, top->source->unit, all->to);
	}
}

static int top_each_group(
        const struct top_groups *all, const struct top_args *args, struct json_writer *json)
{
	for (uint32_t i = 0; i < all->shown; i++) {
		struct source only = groups_only(all->source, all->groups, i);
		struct top top = { .args = args, .source = &only };
		AUTO(names) names = names_new();
		AUTO(functions) functions = names ? functions_new(names) : NULL;
		int code = functions ? top_count(&top, names, functions) : rows_explain(-ENOMEM);
		if (code)
			return code;
		if (all->format == FORMAT_CSV)
			top_csv_group(all, &top, i);
		else
			top_put_group(all, &top, i, json);
	}
	return 0;
}

static void top_csv_head(const struct top_groups *all)
{
	for (uint32_t i = 0; i < all->request->by_count; i++) {
		char name[WIRE_TEXT_BYTES_MAX + 1];
		memcpy(name, all->request->by[i].bytes, all->request->by[i].count);
		name[all->request->by[i].count] = '\0';
		text_put_csv(all->to, name);
		buf_put_u8(all->to, ',');
	}
	buf_printf(all->to, "flat,cum,unit,function,module\n");
}

static int top_by(const struct top_args *args, const struct source_request *request,
        const struct source *source, enum output_format format, const struct output *output,
        struct buf *to)
{
	AUTO_GROUPS groups = { 0 };
	int code = groups_make(source, &groups);
	if (code)
		return code;
	struct top_groups all = { request, source, &groups, groups.count, format, output,
		json_writer_of(to, true), to };
	if (args->groups && args->groups < groups.count)
		all.shown = args->groups;
	uint64_t hidden = 0;
	for (uint32_t i = all.shown; i < groups.count; i++)
		hidden += groups.items[i].value;

	struct top top = { .args = args, .source = source };
	struct json_writer *json = &all.json;
	if (format == FORMAT_JSON) {
		top_json_head(&top, json);
		json_key(json, "groups");
		json_array_begin(json);
	} else if (format == FORMAT_CSV) {
		top_csv_head(&all);
	} else {
		report_put_head(source, 0, "", to);
		buf_put_u8(to, '\n');
	}
	code = top_each_group(&all, args, json);
	if (format == FORMAT_JSON) {
		json_array_end(json);
		json_key(json, "groups_cut");
		json_object_begin(json);
		json_key_u64(json, "shown", all.shown);
		json_key_u64(json, "of", groups.count);
		json_key_u64(json, "value_not_shown", hidden);
		json_object_end(json);
		json_object_end(json);
		buf_put_u8(to, '\n');
	} else if (format != FORMAT_CSV) {
		report_put_completeness(source, 0, "", to);
		groups_put_cut(&groups, all.shown, hidden, source, to);
	}
	return code;
}

static int cmd_top_run(void *opaque, const struct option_args *words)
{
	const struct top_args *args = opaque;
	enum output_format format = output_format_of(top_formats[args->format]);
	struct output output = output_of(&args->shared, args->out);
	struct source_request request = {
		.words = { words->items[0] },
		.sides_count = 1,
		.type = args->type,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
		.question = all_stacks_wants(format) ? WIRE_ASK_PROFILE : WIRE_ASK_FUNCTIONS,
		.nodes_max = args->limit,
		.by_cum = args->sort == 1,
	};
	AUTO(source) source = NULL;
	AUTO_BUF text = { 0 };

	int code = groups_request(args->by, source_is_file(words->items[0]), &request);
	if (code == 0 && args->by && request.question == WIRE_ASK_PROFILE)
		return complain(EXIT_CODE_USAGE,
		        "--by: only for tables, json and csv; give the label in the selector");
	if (code == 0)
		code = range_resolve(
		        &args->range, NULL, NULL, &request.from_ns[0], &request.to_ns[0]);
	if (code == 0)
		code = source_load(&args->shared, &request, &source);
	if (code)
		return code;
	if (format == FORMAT_FOLDED || format == FORMAT_PPROF || format == FORMAT_CSV)
		report_remark(source);
	if (all_stacks_wants(format))
		return all_stacks_deliver(source, format, &args->shared, args->out, &output);

	if (args->by) {
		code = top_by(args, &request, source, format, &output, &text);
		return code ? code : output_deliver(&output, &text, EXIT_CODE_OK);
	}
	struct top top = { .args = args, .source = source };
	AUTO(names) names = names_new();
	AUTO(functions) functions = names ? functions_new(names) : NULL;
	if (!functions)
		return rows_explain(-ENOMEM);
	code = top_count(&top, names, functions);
	if (code)
		return code;
	if (format == FORMAT_JSON)
		top_put_json(&top, &text);
	else if (format == FORMAT_CSV)
		top_put_csv(&top, &text);
	else
		top_put_table(&top, format == FORMAT_WIDE, &output, &text);
	return output_deliver(&output, &text, EXIT_CODE_OK);
}

const struct command cmd_top = {
	.name = "top",
	.table = &top_table,
	.args_size = sizeof(struct top_args),
	.run = cmd_top_run,
};
