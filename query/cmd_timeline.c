/*
 * timeline: how much there was in each step of a range, of everything a selector means or of the
 * stacks that one function is on. Steps are the aggregator's: where only wide windows are left,
 * they are wider than asked for, and marked.
 */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/clock.h"
#include "profile/naming.h"
#include "profile/selector.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/json_missing.h"
#include "query/json_reply.h"
#include "query/output.h"
#include "query/rows.h"
#include "query/source.h"
#include "query/text.h"
#include "query/units.h"

/* As many steps as a terminal has lines, about, where none was asked for. */
#define TIMELINE_STEPS    60
#define TIMELINE_STEP_MIN (10 * NS_PER_S)

struct timeline_args {
	struct shared_args shared;
	struct range_args range;
	char *type;
	char *function;
	uint64_t step_ns; /* 0: chosen */
	uint32_t format;
	char *out;
};

static const char *const timeline_formats[] = { "table", "wide", "json", "csv", NULL };

static const struct option_spec timeline_options[] = {
	RANGE_OPTIONS(timeline_args),
	TYPE_OPTION(timeline_args),
	{ .name = "function",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct timeline_args, function),
	        .value_name = "NAME",
	        .help = "only what this function is on the stack of, by its name as top shows it" },
	{ .name = "step",
	        .kind = OPTION_DURATION,
	        .offset = offsetof(struct timeline_args, step_ns),
	        .min = 1000000,
	        .max = UINT64_C(366) * 86400 * 1000000000,
	        .value_name = "DURATION",
	        .help = "how long a step is; else about a sixtieth of the range" },
	FORMAT_OPTION(timeline_args, timeline_formats),
	OUT_OPTION(timeline_args),
	SHARED_OPTIONS(timeline_args),
	{ 0 },
};

static const struct option_table timeline_table = {
	.program = "profleet timeline",
	.summary = "show how much there was when",
	.usage = "SELECTOR [--function NAME] [--step DURATION] [options]",
	.description =
	        "One row for each step of the range: the value, for CPU time the cores it comes "
	        "to, "
	        "and how long was watched, over all series. With --function a second value is that "
	        "of all stacks the function is on, and its share.\n\n"
	        "Steps begin at multiples of their length. Where finer data has expired a step is "
	        "as "
	        "long as what is left allows, and its row says so; and where steps would cut what "
	        "is left, shorter ones are taken, which is said.",
	.examples = "profleet timeline 'cpu{service=\"cart\"}' --since 6h\n"
	            "profleet timeline cpu --function parse_json --step 1m --since 30m\n"
	            "profleet timeline cpu --since 7d --step 1h -o csv\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = timeline_options,
	.args_min = 1,
	.args_max = 1,
};

/* The next of 10 s, 1 min, 5 min, 10 min, 1 h, 1 d, or days, that makes few enough steps. */
static uint64_t timeline_step(uint64_t range_ns)
{
	static const uint64_t seconds[] = { 10, 30, 60, 300, 600, 3600, 21600, 86400 };
	uint64_t step_ns = TIMELINE_STEP_MIN;
	for (size_t i = 0; i < COUNT_OF(seconds) && range_ns / step_ns >= TIMELINE_STEPS; i++)
		step_ns = seconds[i] * NS_PER_S;
	while (range_ns / step_ns >= TIMELINE_STEPS)
		step_ns *= 2;
	return step_ns;
}

struct timeline {
	const struct timeline_args *args;
	const char *selector;
	const json_t *steps;
	uint64_t step_ns; /* as asked for, or shorter */
	const char *unit;
	bool is_cpu;
	uint64_t value, function; /* of all steps */
	bool is_past;             /* what they come to does not fit, and is not said */
};

static uint64_t timeline_span(const json_t *step)
{
	return json_reply_u64(step, "to_ns") - json_reply_u64(step, "from_ns");
}

/* What is drawn of a step: its rate, as steps may differ in length. */
static double timeline_rate(const struct timeline *timeline, const json_t *step)
{
	uint64_t span_ns = timeline_span(step);
	const char *key = timeline->args->function ? "function" : "value";
	return span_ns ? (double)json_reply_u64(step, key) / (double)span_ns : 0;
}

static const char *timeline_bar(double part)
{
	static const char *const bars[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	size_t at = part <= 0 ? 0 : 1 + (size_t)(part * 7.999);
	return bars[at < COUNT_OF(bars) ? at : COUNT_OF(bars) - 1];
}

static double timeline_greatest(const struct timeline *timeline)
{
	double greatest = 0;
	for (size_t i = 0; i < json_array_size(timeline->steps); i++) {
		double rate = timeline_rate(timeline, json_array_get(timeline->steps, i));
		greatest = rate > greatest ? rate : greatest;
	}
	return greatest;
}

static void timeline_put_line(const struct timeline *timeline, struct buf *to)
{
	double greatest = timeline_greatest(timeline);
	for (size_t i = 0; i < json_array_size(timeline->steps); i++) {
		double rate = timeline_rate(timeline, json_array_get(timeline->steps, i));
		const char *bar = timeline_bar(greatest > 0 ? rate / greatest : 0);
		buf_put(to, bar, strlen(bar));
	}
	buf_put_u8(to, '\n');
}

static void timeline_put_row(
        const struct timeline *timeline, const json_t *step, struct text_table *table)
{
	uint64_t value = json_reply_u64(step, "value");
	uint64_t span_ns = timeline_span(step);
	text_table_put(table, units_time(json_reply_u64(step, "from_ns")).text);
	text_table_put(table, units_duration(span_ns).text);
	text_table_put(table, units_value(timeline->unit, value).text);
	text_table_put(table, timeline->is_cpu ? units_cores(value, span_ns).text : "-");
	if (timeline->args->function) {
		uint64_t function = json_reply_u64(step, "function");
		text_table_put(table, units_value(timeline->unit, function).text);
		text_table_put(table, units_percent(function, value).text);
	}
	text_table_put(table, units_duration(json_reply_u64(step, "coverage_ns")).text);
	uint64_t resolution_ns = json_reply_u64(step, "resolution_ns");
	if (resolution_ns > timeline->step_ns)
		text_table_printf(table, "windows of %s", units_duration(resolution_ns).text);
	else
		text_table_put(table, "");
}

static void timeline_put_head(const struct timeline *timeline, struct buf *to)
{
	text_put_safe(to, timeline->selector);
	if (timeline->args->function) {
		buf_printf(to, "  function ");
		text_put_safe(to, timeline->args->function);
	}
	if (timeline->is_past) {
		buf_printf(to, "  total past 64 bits");
	} else if (timeline->args->function) {
		buf_printf(to, " %s", units_value(timeline->unit, timeline->function).text);
		buf_printf(to, " of %s", units_value(timeline->unit, timeline->value).text);
	} else {
		buf_printf(to, "  total %s", units_value(timeline->unit, timeline->value).text);
	}
	buf_printf(to, ", steps of %s\n", units_duration(timeline->step_ns).text);
}

static int timeline_put_table(
        const struct timeline *timeline, bool wide, const struct output *output, struct buf *to)
{
	struct text_column columns[8];
	uint32_t count = 0;
	columns[count++] = (struct text_column){ "from", TEXT_LEFT, 0, false };
	columns[count++] = (struct text_column){ "for", TEXT_RIGHT, 0, false };
	columns[count++] = (struct text_column){ "value", TEXT_RIGHT, 0, false };
	columns[count++] = (struct text_column){ "cores", TEXT_RIGHT, 0, false };
	if (timeline->args->function) {
		columns[count++] = (struct text_column){ "function", TEXT_RIGHT, 0, false };
		columns[count++] = (struct text_column){ "share", TEXT_RIGHT, 0, false };
	}
	columns[count++] = (struct text_column){ "watched", TEXT_RIGHT, 0, false };
	columns[count++] = (struct text_column){ "", TEXT_LEFT, 0, true };
	AUTO(text_table) table = text_table_new(columns, count);
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(timeline->steps); i++)
		timeline_put_row(timeline, json_array_get(timeline->steps, i), table);

	timeline_put_head(timeline, to);
	timeline_put_line(timeline, to);
	buf_put_u8(to, '\n');
	text_table_print(table, wide ? 0 : output->width, output->color, to);
	return 0;
}

static void timeline_put_csv(const struct timeline *timeline, struct buf *to)
{
	bool has_function = timeline->args->function;
	buf_printf(to, "from_ns,to_ns,value,%sunit,coverage_ns,resolution_ns\n",
	        has_function ? "function," : "");
	for (size_t i = 0; i < json_array_size(timeline->steps); i++) {
		const json_t *step = json_array_get(timeline->steps, i);
		buf_printf(to, "%llu,%llu,%llu,",
		        (unsigned long long)json_reply_u64(step, "from_ns"),
		        (unsigned long long)json_reply_u64(step, "to_ns"),
		        (unsigned long long)json_reply_u64(step, "value"));
		if (has_function)
			buf_printf(
			        to, "%llu,", (unsigned long long)json_reply_u64(step, "function"));
		text_put_csv(to, timeline->unit);
		buf_printf(to, ",%llu,%llu\n",
		        (unsigned long long)json_reply_u64(step, "coverage_ns"),
		        (unsigned long long)json_reply_u64(step, "resolution_ns"));
	}
}

/* The one series, or an exit code: several types, or nothing at all. */
static int timeline_choose(struct timeline *timeline, const struct json_reply *reply)
{
	const json_t *list = json_object_get(reply->root, "series");
	if (json_array_size(list) == 0)
		return json_missing_nothing(reply->root, timeline->selector);
	const json_t *series = json_array_get(list, 0);
	if (json_array_size(list) > 1)
		return complain(EXIT_CODE_USAGE,
		        "%s: %zu types match, %s and %s among them; choose one with --type TYPE",
		        timeline->selector, json_array_size(list), json_reply_text(series, "type"),
		        json_reply_text(json_array_get(list, 1), "type"));
	timeline->steps = json_object_get(series, "steps");
	timeline->step_ns = json_reply_u64(reply->root, "step_ns");
	timeline->unit = json_reply_text(series, "unit");
	timeline->is_cpu = strcmp(json_reply_text(series, "type"), "cpu") == 0 &&
	                   strcmp(timeline->unit, "nanoseconds") == 0;
	timeline->is_past = json_reply_sum(timeline->steps, "value", &timeline->value) < 0 ||
	                    json_reply_sum(timeline->steps, "function", &timeline->function) < 0;
	if (timeline->step_ns != timeline->args->step_ns)
		remark("steps of %s, shorter than asked for: of some of the range only windows are "
		       "left, which longer ones would cut",
		        units_duration(timeline->step_ns).text);
	if (timeline->args->function && !timeline->is_past && timeline->function == 0 &&
	        timeline->value > 0)
		remark("no stack has a function %s in this range; top --limit 0 lists their names",
		        timeline->args->function);
	return 0;
}

static int timeline_ask(const struct timeline_args *args, const char *selector,
        const struct source_request *range, struct json_reply *ret_reply)
{
	const char *function = args->function ? args->function : "";
	if (strlen(function) > WIRE_TEXT_BYTES_MAX)
		return complain(EXIT_CODE_USAGE, "--function: a name of at most %d bytes",
		        WIRE_TEXT_BYTES_MAX);
	struct wire_query query = {
		.question = WIRE_ASK_TIMELINE,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
		.sides_count = 1,
		.sides = { { .selector = { selector, (uint32_t)strlen(selector) },
		        .from_ns = range->from_ns[0],
		        .to_ns = range->to_ns[0] } },
		.step_ns = args->step_ns,
		.function = { function, (uint32_t)strlen(function) },
	};
	AUTO(client) client = NULL;
	int code = client_open(&args->shared, &client);
	return code ? code : json_reply_ask(client, &query, ret_reply);
}

static int cmd_timeline_run(void *opaque, const struct option_args *words)
{
	struct timeline_args *args = opaque;
	enum output_format format = output_format_of(timeline_formats[args->format]);
	struct output output = output_of(&args->shared, args->out);
	struct source_request range = { 0 };
	AUTO_BUF text = { 0 };
	autofree char *selector = NULL;

	if (source_is_file(words->items[0]))
		return complain(EXIT_CODE_USAGE,
		        "%s: a file has no time; import it first, and give a selector",
		        words->items[0]);
	int code = source_selector(words->items[0], args->type, &selector);
	if (code == 0)
		code = range_resolve(&args->range, NULL, NULL, &range.from_ns[0], &range.to_ns[0]);
	if (code)
		return code;
	if (args->step_ns == 0)
		args->step_ns = timeline_step(range.to_ns[0] - range.from_ns[0]);

	struct json_reply reply = { 0 };
	code = timeline_ask(args, selector, &range, &reply);
	if (code)
		return code;
	struct timeline timeline = { .args = args, .selector = selector };
	code = timeline_choose(&timeline, &reply);
	int result = 0;
	if (code == 0 && format == FORMAT_JSON)
		result = json_reply_print(&reply, &text);
	else if (code == 0 && format == FORMAT_CSV)
		timeline_put_csv(&timeline, &text);
	else if (code == 0)
		result = timeline_put_table(&timeline, format == FORMAT_WIDE, &output, &text);
	if (code == 0 && format != FORMAT_JSON && format != FORMAT_CSV)
		json_missing_put_below(reply.root, &text);
	if (code == 0 && format == FORMAT_CSV)
		json_missing_remark(reply.root);
	json_reply_fini(&reply);
	if (code)
		return code;
	return result < 0 ? rows_explain(result) : output_deliver(&output, &text, EXIT_CODE_OK);
}

const struct command cmd_timeline = {
	.name = "timeline",
	.table = &timeline_table,
	.args_size = sizeof(struct timeline_args),
	.run = cmd_timeline_run,
};
