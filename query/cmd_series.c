/* series: which label sets of which types have data in the range, and from when to when. */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/json_missing.h"
#include "query/json_reply.h"
#include "query/output.h"
#include "query/report.h"
#include "query/rows.h"
#include "query/text.h"
#include "query/units.h"

struct series_args {
	struct shared_args shared;
	struct range_args range;
	uint32_t limit;
	uint32_t format;
	char *out;
};

static const char *const series_formats[] = { "table", "wide", "json", "csv", NULL };

static const struct option_spec series_options[] = {
	RANGE_OPTIONS(series_args),
	LIMIT_OPTION(series_args, "100", "how many series"),
	FORMAT_OPTION(series_args, series_formats),
	OUT_OPTION(series_args),
	SHARED_OPTIONS(series_args),
	{ 0 },
};

static const struct option_table series_table = {
	.program = "profleet series",
	.summary = "list the series that have data",
	.usage = "[SELECTOR] [options]",
	.description =
	        "Lists every label set of every profile type with data in the range, with its "
	        "first "
	        "and last moment; below them what of the range could not be read, and the windows "
	        "it cuts. Each line's selector can be given to top, tree, flame, diff and "
	        "export as it stands.",
	.examples =
	        "profleet series\nprofleet series 'cpu{service=\"cart\"}' --since 7d --limit 0\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = series_options,
	.args_max = 1,
};

/* type{name="value",...} with what a selector must have escaped. */
static void series_put_selector(const json_t *series, struct buf *to)
{
	const char *type = json_reply_text(series, "type");
	buf_put(to, type, strlen(type));
	buf_put_u8(to, '{');
	const char *key, *gap = "";
	json_t *value;
	json_object_foreach(json_object_get(series, "labels"), key, value)
	{
		bool bare = key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
		                            "0123456789.")] == '\0' &&
		            !strchr("0123456789.", *key);
		buf_printf(to, bare ? "%s%s=\"" : "%s\"%s\"=\"", gap, key);
		const char *text = json_string_value(value);
		for (; text && *text; text++) {
			if (*text == '"' || *text == '\\')
				buf_put_u8(to, '\\');
			if (*text == '\n')
				buf_printf(to, "\\n");
			else
				buf_put_u8(to, (uint8_t)*text);
		}
		buf_put_u8(to, '"');
		gap = ",";
	}
	buf_put_u8(to, '}');
	buf_put_u8(to, '\0');
}

static void series_put_csv(const json_t *list, size_t shown, struct buf *to)
{
	buf_printf(to, "selector,type,unit,period,first_ns,last_ns\n");
	for (size_t i = 0; i < shown; i++) {
		const json_t *series = json_array_get(list, i);
		AUTO_BUF selector = { 0 };
		series_put_selector(series, &selector);
		text_put_csv(to, selector.failed ? "" : (const char *)selector.bytes);
		buf_put_u8(to, ',');
		text_put_csv(to, json_reply_text(series, "type"));
		buf_put_u8(to, ',');
		text_put_csv(to, json_reply_text(series, "unit"));
		buf_printf(to, ",%llu,%llu,%llu\n",
		        (unsigned long long)json_reply_u64(series, "period"),
		        (unsigned long long)json_reply_u64(series, "first_ns"),
		        (unsigned long long)json_reply_u64(series, "last_ns"));
	}
}

/* Whether some of the listed series are of a fleet that ships with profleet. */
static bool series_has_recorded(const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *labels = json_object_get(json_array_get(list, i), "labels");
		if (strcmp(json_reply_text(labels, "recorded"), "true") == 0)
			return true;
	}
	return false;
}

static int series_put_table(
        const json_t *list, size_t shown, const struct output *output, bool wide, struct buf *to)
{
	static const struct text_column columns[] = {
		{ "first", TEXT_LEFT, 0, false },
		{ "last", TEXT_LEFT, 0, false },
		{ "unit", TEXT_LEFT, 0, false },
		{ "period", TEXT_RIGHT, 0, false },
		{ "series", TEXT_LEFT, 0, true },
	};
	AUTO(text_table) table = text_table_new(columns, COUNT_OF(columns));
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < shown; i++) {
		const json_t *series = json_array_get(list, i);
		const char *unit = json_reply_text(series, "unit");
		AUTO_BUF selector = { 0 };
		series_put_selector(series, &selector);
		text_table_put(table, units_time(json_reply_u64(series, "first_ns")).text);
		text_table_put(table, units_time(json_reply_u64(series, "last_ns")).text);
		text_table_put(table, unit);
		text_table_put(table, units_value(unit, json_reply_u64(series, "period")).text);
		text_table_put(table, selector.failed ? "" : (const char *)selector.bytes);
	}
	text_table_print(table, wide ? 0 : output->width, output->color, to);
	size_t count = json_array_size(list);
	if (series_has_recorded(list))
		buf_printf(to, "\n" REPORT_RECORDED);
	report_put_shown(shown, count, "series", to);
	return 0;
}

static int cmd_series_run(void *opaque, const struct option_args *words)
{
	const struct series_args *args = opaque;
	enum output_format format = output_format_of(series_formats[args->format]);
	struct output output = output_of(&args->shared, args->out);
	const char *selector = words->count ? words->items[0] : "{}";
	struct wire_query query = {
		.question = WIRE_ASK_SERIES,
		.sides_count = 1,
		.sides = { { .selector = { selector, (uint32_t)strlen(selector) } } },
	};
	AUTO(client) client = NULL;
	AUTO_BUF text = { 0 };
	struct json_reply reply;

	int code = range_resolve(
	        &args->range, NULL, NULL, &query.sides[0].from_ns, &query.sides[0].to_ns);
	if (code == 0)
		code = client_open(&args->shared, &client);
	if (code == 0)
		code = json_reply_ask(client, &query, &reply);
	if (code)
		return code;

	const json_t *list = json_object_get(reply.root, "series");
	size_t count = json_array_size(list);
	size_t shown = args->limit && args->limit < count ? args->limit : count;
	int result = 0;
	if (format == FORMAT_JSON) {
		result = json_reply_print(&reply, &text);
	} else if (format == FORMAT_CSV) {
		if (series_has_recorded(list))
			remark(REPORT_RECORDED);
		json_missing_remark(reply.root);
		series_put_csv(list, shown, &text);
	} else {
		result = series_put_table(list, shown, &output, format == FORMAT_WIDE, &text);
		json_missing_put_below(reply.root, &text);
	}
	code = result < 0 ? rows_explain(result) : output_deliver(&output, &text, EXIT_CODE_OK);
	if (code == EXIT_CODE_OK && count == 0)
		code = json_missing_explain(reply.root, selector);
	json_reply_fini(&reply);
	if (code == EXIT_CODE_OK && count == 0)
		return complain(EXIT_CODE_NO_DATA,
		        "%s: no series has data in this range; --since looks further back",
		        selector);
	return code;
}

const struct command cmd_series = {
	.name = "series",
	.table = &series_table,
	.args_size = sizeof(struct series_args),
	.run = cmd_series_run,
};
