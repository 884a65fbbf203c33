/*
 * diff: two sides, function by function. Each side has its own selector and range, or is a file.
 * What is compared is a rate, so that a longer range or a larger fleet is no difference: CPU time
 * per second watched of an instance where both sides know how long they were watched, else the
 * share of the side.
 *
 * These are point estimates. Whether a difference is more than chance cmd_diff_evidence.c says.
 */

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/canon.h"
#include "profile/naming.h"
#include "query/cmd_diff_private.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/flame_page.h"
#include "query/functions.h"
#include "query/output.h"
#include "query/report.h"
#include "query/rows.h"
#include "query/source.h"
#include "query/text.h"
#include "query/units.h"

#define DIFF_COLUMNS_MAX 16

static const char *const diff_formats[] = { "table", "wide", "json", "csv", "folded", "html",
	NULL };
static const char *const diff_canons[] = { "on", "off", NULL };
static const char *const diff_switches[] = { "on", "off", NULL };
static const char *const diff_sorts[] = { "flat", "cum", NULL };

static const struct option_spec diff_options[] = {
	RANGE_OPTIONS(diff_args),
	{ .name = "a-from",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct diff_args, a_from),
	        .value_name = "TIME",
	        .help = "--from of side A alone" },
	{ .name = "a-to",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct diff_args, a_to),
	        .value_name = "TIME",
	        .help = "--to of side A alone" },
	{ .name = "b-from",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct diff_args, b_from),
	        .value_name = "TIME",
	        .help = "--from of side B alone" },
	{ .name = "b-to",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct diff_args, b_to),
	        .value_name = "TIME",
	        .help = "--to of side B alone" },
	TYPE_OPTION(diff_args),
	LIMIT_OPTION(diff_args, "20", "how many functions"),
	{ .name = "sort",
	        .kind = OPTION_ENUM,
	        .offset = offsetof(struct diff_args, sort),
	        .fallback = "flat",
	        .choices = diff_sorts,
	        .help = "compare what ends in a function, or all it is on the stack of" },
	{ .name = "by",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct diff_args, by),
	        .value_name = "LABEL[,LABEL]",
	        .help = "a diff for each value of these labels, what contributes most to the "
	                "change first" },
	GROUPS_OPTION(diff_args),
	{ .name = "canon",
	        .kind = OPTION_ENUM,
	        .offset = offsetof(struct diff_args, canon),
	        .fallback = "on",
	        .choices = diff_canons,
	        .help = "join functions by names without what compilers append, hash or count" },
	{ .name = "significance",
	        .kind = OPTION_ENUM,
	        .offset = offsetof(struct diff_args, significance),
	        .fallback = "on",
	        .choices = diff_switches,
	        .help = "test over instances which functions changed more than chance, by a second "
	                "question" },
	FORMAT_OPTION(diff_args, diff_formats),
	OUT_OPTION(diff_args),
	SHARED_OPTIONS(diff_args),
	{ 0 },
};

static const struct option_table diff_table = {
	.program = "profleet diff",
	.summary = "show what changed between two sides",
	.usage = "A B [options]",
	.description =
	        "Compares two sides function by function: A is before, B is after. Each is a "
	        "selector "
	        "with its own range, or a file in folded or pprof form. Functions are joined by "
	        "name "
	        "and module, never by address, and a function that is on one side only is called "
	        "new "
	        "or removed. Names are compared without what compilers and runtimes append, hash "
	        "or count anew (.cold, .llvm.123, ::h0123456789abcdef, $$Lambda$7): see "
	        "--canon.\n\n"
	        "share is the part of its side. mcores is CPU time per second watched of an "
	        "instance, "
	        "in thousandths of a core, so that sides of unequal length or size can be "
	        "compared; "
	        "change is B against A by it. Where a side does not know how long it was watched, "
	        "and "
	        "for types other than cpu, the values stand there and change is that of the share. "
	        "The greatest change stands first.\n\n"
	        "evidence says whether the function's share changed by more than instances of one "
	        "side differ anyway: more or less where that is so (at most 5 % of what is called "
	        "so "
	        "may be chance), unchanged where a change of 10 % would have been found, unknown "
	        "where it would not, untested of less than 20 samples. What all that did not "
	        "change "
	        "lost or won together, because something else did, is taken out of it. It takes "
	        "two "
	        "instances of each side at least; files have none. -o wide has q and the smallest "
	        "change that would have been found four times of five.\n\n"
	        "With --by each value of the labels is compared by itself. adds is its part of the "
	        "change of the whole: these add up. Whether a group has changed is tested over its "
	        "instances, not over samples: evidence is more or less where that is more than "
	        "chance (at most 5 % of what is called so may be none), unchanged where a change "
	        "of "
	        "10 % would have been found, else unknown with the smallest change that would "
	        "have. "
	        "Below stand the functions of each group.\n\n"
	        "folded writes `stack A B` for each stack; html is the flame graph of both.",
	.examples =
	        "profleet diff 'cpu{service=\"cart\",version=\"1.8\"}' \\\n"
	        "    'cpu{service=\"cart\",version=\"1.9\"}' --since 1h\n"
	        "profleet diff cpu cpu --a-from now-25h --a-to now-24h --b-from now-1h\n"
	        "profleet diff 'cpu{version=\"1.8\"}' 'cpu{version=\"1.9\"}' --by service,region "
	        "--limit 5\n"
	        "profleet diff before.folded after.folded --limit 0\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = diff_options,
	.args_min = 2,
	.args_max = 2,
};

static const uint64_t *diff_values(const struct diff *diff, const struct function *function)
{
	return diff->rate.by_cum ? function->cum : function->flat;
}

static const char *diff_mark(const struct function *function)
{
	if (function->cum[0] == 0 && function->cum[1] > 0)
		return "new";
	if (function->cum[1] == 0 && function->cum[0] > 0)
		return "removed";
	return "";
}

bool diff_ratio(const uint64_t value[2], const uint64_t whole[2], double *ret_ratio)
{
	if (value[0] == 0 || whole[0] == 0 || whole[1] == 0)
		return false;
	double a = (double)value[0] / (double)whole[0];
	double b = (double)value[1] / (double)whole[1];
	*ret_ratio = b / a;
	return true;
}

void diff_put_change(struct text_table *table, const uint64_t value[2], const uint64_t whole[2])
{
	double ratio;
	text_table_put(table, diff_ratio(value, whole, &ratio) ? units_change(ratio).text : "-");
}

static const char *diff_color(double change)
{
	return change > 0 ? "33" : change < 0 ? "34" : NULL; /* more orange, less blue */
}

static bool diff_has_evidence(const struct diff *diff)
{
	return diff->evidence && !diff->evidence->untested;
}

static void diff_put_evidence(const struct diff *diff, const struct function *function, bool wide,
        struct text_table *table)
{
	if (!diff_has_evidence(diff))
		return;
	const struct spread_test *test = diff_evidence_of(diff->evidence, function->name);
	const char *verdict = diff_verdict(test);
	text_table_put(table, verdict);
	text_table_color(table, strcmp(verdict, "more") == 0   ? "33"
	                        : strcmp(verdict, "less") == 0 ? "34"
	                                                       : NULL);
	if (!wide)
		return;
	if (test->untested) {
		text_table_put(table, "-");
		text_table_put(table, "-");
		return;
	}
	text_table_printf(table, "%.2g", test->q);
	text_table_put(table, units_change(exp(test->smallest)).text);
}

static void diff_put_row(const struct diff *diff, const struct function *function, bool wide,
        struct text_table *table)
{
	const char *unit = diff->source->unit;
	const uint64_t *value = diff_values(diff, function);
	double change = functions_change(function, diff->share);

	text_table_put(table, units_percent(value[0], diff->share.whole[0]).text);
	text_table_put(table, units_percent(value[1], diff->share.whole[1]).text);
	text_table_printf(table, "%+.2f pp", 100.0 * change);
	text_table_color(table, diff_color(change));
	for (int side = 0; side < 2; side++) {
		if (diff->has_rate)
			text_table_put(
			        table, units_millicores(value[side], diff->rate.whole[side]).text);
		else
			text_table_put(table, units_value(unit, value[side]).text);
	}
	diff_put_change(table, value, diff->rate.whole);
	text_table_color(table, diff_color(functions_change(function, diff->rate)));
	text_table_put(table, diff_mark(function));
	diff_put_evidence(diff, function, wide, table);
	if (wide) {
		for (int side = 0; side < 2; side++)
			text_table_put(table, units_value(unit, function->flat[side]).text);
		for (int side = 0; side < 2; side++)
			text_table_put(table, units_value(unit, function->cum[side]).text);
	}
	text_table_put(table, names_function(diff->names, function->name));
	text_table_put(table, names_module(diff->names, function->name));
}

static struct text_table *diff_table_new(
        const struct diff *diff, bool wide, struct text_column columns[DIFF_COLUMNS_MAX])
{
	const char *const narrow[] = { "share A", "share B", "delta share",
		diff->has_rate ? "mcores A" : "value A", diff->has_rate ? "mcores B" : "value B",
		"change", "" };
	const char *const more[] = { "flat A", "flat B", "cum A", "cum B" };
	uint32_t count = 0;
	for (size_t i = 0; i < COUNT_OF(narrow); i++)
		columns[count++] = (struct text_column){ .title = narrow[i], .align = TEXT_RIGHT };
	columns[count - 1].align = TEXT_LEFT;
	if (diff_has_evidence(diff))
		columns[count++] = (struct text_column){ .title = "evidence", .align = TEXT_LEFT };
	if (diff_has_evidence(diff) && wide) {
		columns[count++] = (struct text_column){ .title = "q", .align = TEXT_RIGHT };
		columns[count++] = (struct text_column){ .title = "would show",
			.align = TEXT_RIGHT };
	}
	for (size_t i = 0; i < COUNT_OF(more) && wide; i++)
		columns[count++] = (struct text_column){ .title = more[i], .align = TEXT_RIGHT };
	columns[count++] = (struct text_column){
		.title = "function", .align = TEXT_LEFT, .width_max = 48, .flexible = true
	};
	columns[count++] = (struct text_column){ .title = "module", .align = TEXT_LEFT };
	return text_table_new(columns, count);
}

double diff_part(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

static void diff_put_verdict(const struct diff *diff, struct buf *to)
{
	const uint64_t value[2] = { diff->source->sides[0].value, diff->source->sides[1].value };
	double ratio;
	if (diff->has_rate) {
		double a = 1e3 * diff_part(value[0], diff->rate.whole[0]);
		double b = 1e3 * diff_part(value[1], diff->rate.whole[1]);
		double change = b - a;
		if (change > -0.05 && change < 0.05)
			change = 0; /* never "-0.0" */
		buf_printf(to, "B - A: %+.1f mcores per %s", change, report_watched(diff->source));
		if (diff_ratio(value, diff->rate.whole, &ratio))
			buf_printf(to, " (%s)", units_change(ratio).text);
		buf_printf(to, "; ");
	}
	if (diff->evidence)
		diff_evidence_put_whole(diff->evidence, to);
	else
		buf_printf(to, "no significance: these are point estimates\n");
}

static void diff_put_cut(const struct diff *diff, struct buf *to)
{
	uint32_t count = functions_count_all(diff->functions);
	if (diff->shown == count) {
		buf_printf(to, "all %s function%s shown", units_count(count).text,
		        count == 1 ? "" : "s");
	} else {
		buf_printf(to, "%s of %s functions shown; the others hold %s of A and ",
		        units_count(diff->shown).text, units_count(count).text,
		        units_percent(diff->hidden[0], diff->share.whole[0]).text);
		buf_printf(to,
		        "%s of B (%s) and change by at most %.2f pp each; --limit 0 shows all",
		        units_percent(diff->hidden[1], diff->share.whole[1]).text,
		        diff->rate.by_cum ? "functions overlap" : "flat",
		        100 * diff->hidden_change_max);
	}
	uint64_t rewritten = names_rewritten(diff->names) + diff->source->names_rewritten;
	if (rewritten)
		buf_printf(to,
		        "\n%s name%s joined in canonical form (rules %d); --canon off takes them "
		        "as they are",
		        units_count(rewritten).text, rewritten == 1 ? "" : "s", CANON_VERSION);
	buf_printf(to, "\nsorted by the change of %s%s, %s\n",
	        diff->has_rate ? "mcores per " : "share",
	        diff->has_rate ? report_watched(diff->source) : "", diff_sorts[diff->args->sort]);
}

void diff_put_rows(const struct diff *diff, bool wide, const struct output *output, struct buf *to)
{
	struct text_column columns[DIFF_COLUMNS_MAX];
	AUTO(text_table) table = diff_table_new(diff, wide, columns);
	if (!table) {
		to->failed = true;
		return;
	}
	for (uint32_t i = 0; i < diff->shown; i++)
		diff_put_row(diff, functions_get(diff->functions, i), wide, table);
	text_table_print(table, wide ? 0 : output->width, output->color, to);
}

static void diff_put_table(
        const struct diff *diff, bool wide, const struct output *output, struct buf *to)
{
	report_put_head(diff->source, 0, "A", to);
	report_put_head(diff->source, 1, "B", to);
	diff_put_verdict(diff, to);
	report_put_warnings(diff->source, to);
	buf_put_u8(to, '\n');
	diff_put_rows(diff, wide, output, to);
	buf_put_u8(to, '\n');
	report_put_completeness(diff->source, 0, "A  ", to);
	report_put_completeness(diff->source, 1, "B  ", to);
	diff_put_cut(diff, to);
	if (diff->evidence)
		diff_evidence_put(diff->evidence, to);
}

static void diff_put_csv(const struct diff *diff, struct buf *to)
{
	buf_printf(to, "function,module,flat_a,flat_b,cum_a,cum_b,unit,share_a,share_b,delta_share,"
	               "mcores_a,mcores_b,change,mark,p,q,verdict\n");
	for (uint32_t i = 0; i < diff->shown; i++) {
		const struct function *function = functions_get(diff->functions, i);
		const uint64_t *value = diff_values(diff, function);
		double ratio;
		text_put_csv(to, names_function(diff->names, function->name));
		buf_put_u8(to, ',');
		text_put_csv(to, names_module(diff->names, function->name));
		buf_printf(to, ",%llu,%llu,%llu,%llu,", (unsigned long long)function->flat[0],
		        (unsigned long long)function->flat[1], (unsigned long long)function->cum[0],
		        (unsigned long long)function->cum[1]);
		text_put_csv(to, diff->source->unit);
		buf_printf(to, ",%.9f,%.9f,%.9f,", diff_part(value[0], diff->share.whole[0]),
		        diff_part(value[1], diff->share.whole[1]),
		        functions_change(function, diff->share));
		if (diff->has_rate)
			buf_printf(to, "%.6f,%.6f,", 1e3 * diff_part(value[0], diff->rate.whole[0]),
			        1e3 * diff_part(value[1], diff->rate.whole[1]));
		else
			buf_printf(to, ",,");
		if (diff_ratio(value, diff->rate.whole, &ratio))
			buf_printf(to, "%.6f", ratio - 1);
		buf_printf(to, ",%s,", diff_mark(function));
		const struct spread_test *test = diff_evidence_of(diff->evidence, function->name);
		if (!test->untested)
			buf_printf(to, "%.6g,%.6g,", test->p, test->q);
		else
			buf_printf(to, ",,");
		buf_printf(to, "%s\n", diff_verdict(test));
	}
}

static void diff_json_row(
        const struct diff *diff, const struct function *function, struct json_writer *json)
{
	static const char *const sides[] = { "a", "b" };
	const uint64_t *value = diff_values(diff, function);
	double ratio;

	json_object_begin(json);
	json_key_text(json, "function", names_function(diff->names, function->name));
	json_key_text(json, "module", names_module(diff->names, function->name));
	for (int side = 0; side < 2; side++) {
		json_key(json, sides[side]);
		json_object_begin(json);
		json_key_u64(json, "flat", function->flat[side]);
		json_key_u64(json, "cum", function->cum[side]);
		report_json_share(json, "share", value[side], diff->share.whole[side], 1);
		report_json_share(json, "mcores_per_instance", value[side],
		        diff->has_rate ? diff->rate.whole[side] : 0, 1000);
		json_object_end(json);
	}
	json_key_double(json, "delta_share", functions_change(function, diff->share));
	json_key(json, "delta_mcores_per_instance");
	if (diff->has_rate)
		json_double(json, 1000 * functions_change(function, diff->rate));
	else
		json_write_null(json);
	json_key(json, "change");
	if (diff_ratio(value, diff->rate.whole, &ratio))
		json_double(json, ratio - 1);
	else
		json_write_null(json);
	json_key_text(json, "mark", diff_mark(function));
	if (diff_has_evidence(diff)) {
		const struct spread_test *test = diff_evidence_of(diff->evidence, function->name);
		json_key_text(json, "verdict", diff_verdict(test));
		diff_json_test(test, json);
	}
	json_object_end(json);
}

/* The warnings of the table, one text each. */
static void diff_json_warnings(const struct diff *diff, struct json_writer *json)
{
	AUTO_BUF text = { 0 };
	report_put_warnings(diff->source, &text);
	json_key(json, "warnings");
	json_array_begin(json);
	const char *at = (const char *)text.bytes, *end = at + text.count;
	while (!text.failed && at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		json_bytes(json, at, (size_t)(line_end - at));
		at = line_end + 1;
	}
	json_array_end(json);
}

void diff_json_functions(const struct diff *diff, struct json_writer *json)
{
	json_key(json, "functions");
	json_array_begin(json);
	for (uint32_t i = 0; i < diff->shown; i++)
		diff_json_row(diff, functions_get(diff->functions, i), json);
	json_array_end(json);
	json_key(json, "cut");
	json_object_begin(json);
	json_key_u64(json, "shown", diff->shown);
	json_key_u64(json, "of", functions_count_all(diff->functions));
	json_key_u64(json, "flat_not_shown_a", diff->hidden[0]);
	json_key_u64(json, "flat_not_shown_b", diff->hidden[1]);
	json_key_double(json, "delta_share_not_shown_max", diff->hidden_change_max);
	json_object_end(json);
}

void diff_json_head(const struct diff *diff, struct json_writer *json)
{
	report_json_head(diff->source, "diff", json);
	json_key(json, "a");
	report_json_side(diff->source, 0, json);
	json_key(json, "b");
	report_json_side(diff->source, 1, json);
}

void diff_json_how(const struct diff *diff, struct json_writer *json)
{
	json_key_text(json, "by", diff_sorts[diff->args->sort]);
	json_key_text(
	        json, "sorted_by", diff->has_rate ? "delta_mcores_per_instance" : "delta_share");
	json_key(json, "canon");
	if (diff->source->is_canonical)
		json_u64(json, CANON_VERSION);
	else
		json_write_null(json);
	diff_json_warnings(diff, json);
}

static void diff_put_json(const struct diff *diff, struct buf *to)
{
	struct json_writer json = json_writer_of(to, true);
	json_object_begin(&json);
	diff_json_head(diff, &json);
	if (diff->evidence) {
		diff_evidence_json(diff->evidence, &json);
	} else {
		json_key(&json, "significance");
		json_write_null(&json);
	}
	diff_json_how(diff, &json);
	diff_json_functions(diff, &json);
	json_object_end(&json);
	buf_put_u8(to, '\n');
}

/* The flat value of functions that the aggregator left out, because others come first. */
static uint64_t diff_left_out(const struct source_side *side)
{
	const struct batch *cut = side->parts[ANSWER_CUT];
	uint64_t value = 0;
	for (uint32_t i = 0; cut && i < cut->rows_count; i++)
		if (!side->chosen || side->chosen[cut->rows[i].series])
			value += cut->rows[i].value; /* part of the side's value, which fits */
	return value;
}

int diff_count(struct diff *diff, struct names *names, struct functions *functions)
{
	const struct source *source = diff->source;
	for (uint32_t side = 0; side < 2; side++) {
		int result = rows_add_functions(functions, source, side);
		if (result < 0)
			return rows_explain(result);
	}

	diff->names = names;
	diff->functions = functions;
	diff->share.by_cum = diff->args->sort == 1;
	for (uint32_t side = 0; side < 2; side++)
		diff->share.whole[side] = source->sides[side].value;
	diff->rate = diff->share;
	diff->has_rate = report_has_rate(source);
	for (uint32_t side = 0; side < 2 && diff->has_rate; side++)
		diff->rate.whole[side] = source->sides[side].completeness.coverage_ns;
	functions_sort(functions, FUNCTIONS_BY_CHANGE, diff->rate);

	uint32_t count = functions_count(functions);
	uint32_t limit = diff->args->limit;
	diff->shown = limit && limit < count ? limit : count;
	for (uint32_t i = diff->shown; i < count; i++) {
		const struct function *function = functions_get(functions, i);
		double change = __builtin_fabs(functions_change(function, diff->share));
		if (change > diff->hidden_change_max)
			diff->hidden_change_max = change;
		/* Callers overlap in cum, so only flat can be added up. */
		diff->hidden[0] += function->flat[0];
		diff->hidden[1] += function->flat[1];
	}
	for (uint32_t side = 0; side < 2; side++)
		diff->hidden[side] += diff_left_out(&source->sides[side]);
	return 0;
}

static int diff_ranges(const struct diff_args *args, struct source_request *request)
{
	int code = range_resolve(
	        &args->range, &args->a_from, &args->a_to, &request->from_ns[0], &request->to_ns[0]);
	if (code == 0)
		code = range_resolve(&args->range, &args->b_from, &args->b_to, &request->from_ns[1],
		        &request->to_ns[1]);
	return code;
}

/* With a file on one side nobody but us sees both, so nobody else can tell what comes first. */
static bool diff_has_file(const struct option_args *words)
{
	return source_is_file(words->items[0]) || source_is_file(words->items[1]);
}

double diff_period(const struct source *source)
{
	uint64_t a = source->sides[0].completeness.period_max;
	uint64_t b = source->sides[1].completeness.period_max;
	if (!report_knows_samples(&source->sides[0]) || !report_knows_samples(&source->sides[1]))
		return 0;
	return (double)(a > b ? a : b);
}

/* The answer by function, in one of the forms that are made here. */
static int diff_answer_functions(struct diff *diff, const struct source_request *request,
        struct diff_evidence *evidence, enum output_format format, const struct output *output)
{
	AUTO_BUF text = { 0 };
	AUTO(names) names = names_new();
	if (names && diff->source->is_canonical)
		names_use_canon(names);
	AUTO(functions) functions = names ? functions_new(names) : NULL;
	if (!functions)
		return rows_explain(-ENOMEM);
	int code = diff_count(diff, names, functions);
	if (code == 0 && diff->args->significance == 0) {
		int result = diff_evidence_take(diff, request, names, evidence);
		diff->evidence = evidence;
		code = result < 0 ? rows_explain(result) : 0;
	}
	if (code)
		return code;
	if (format == FORMAT_JSON)
		diff_put_json(diff, &text);
	else if (format == FORMAT_CSV)
		diff_put_csv(diff, &text);
	else
		diff_put_table(diff, format == FORMAT_WIDE, output, &text);
	return output_deliver(output, &text, EXIT_CODE_OK);
}

static int cmd_diff_run(void *opaque, const struct option_args *words)
{
	const struct diff_args *args = opaque;
	enum output_format format = output_format_of(diff_formats[args->format]);
	struct output output = output_of(&args->shared, args->out);
	struct source_request request = {
		.words = { words->items[0], words->items[1] },
		.sides_count = 2,
		.type = args->type,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
		.question = format == FORMAT_FOLDED || format == FORMAT_HTML ? WIRE_ASK_PROFILE
		                                                             : WIRE_ASK_FUNCTIONS,
		/* One more than is shown: the greatest change that is not shown is said. */
		.nodes_max = diff_has_file(words) || args->limit == 0 ? 0 : args->limit + 1,
		.by_change = true,
		.by_cum = args->sort == 1,
		.is_canonical = args->canon == 0,
	};
	AUTO(source) source = NULL;
	AUTO_BUF text = { 0 };

	if (strcmp(words->items[0], "-") == 0 && strcmp(words->items[1], "-") == 0)
		return complain(EXIT_CODE_USAGE, "standard input can be one side only; name a "
		                                 "file for the other");
	int code = diff_ranges(args, &request);
	if (code == 0)
		code = diff_groups_request(args, diff_has_file(words), format, &request);
	if (code == 0)
		code = source_load(&args->shared, &request, &source);
	if (code)
		return code;
	source->is_canonical = args->canon == 0;
	if (format == FORMAT_FOLDED || format == FORMAT_CSV)
		report_remark(source);
	if (format == FORMAT_FOLDED)
		return rows_deliver_both(source, names_frame_name, &output);
	if (format == FORMAT_HTML)
		return flame_page_deliver(source, &args->shared,
		        args->out || output.terminal ? args->out : "-", "diff", 0);

	struct diff diff = { .args = args, .source = source };
	if (args->by) {
		code = diff_groups_put(&diff, &request, format, &output, &text);
		return code ? code : output_deliver(&output, &text, EXIT_CODE_OK);
	}
	struct diff_evidence evidence = { 0 };
	code = diff_answer_functions(&diff, &request, &evidence, format, &output);
	diff_evidence_fini(&evidence);
	return code;
}

const struct command cmd_diff = {
	.name = "diff",
	.table = &diff_table,
	.args_size = sizeof(struct diff_args),
	.run = cmd_diff_run,
};
