/* usage: what takes the space in the store, how fast it grows, and when the disk is full. */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "query/admin.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/output.h"
#include "query/retention_verbs.h"
#include "query/text.h"
#include "query/units.h"

struct usage_args {
	struct shared_args shared;
	char *by;
	uint32_t top;
	uint64_t forecast_ns;
	uint32_t format;
	char *out;
};

static const char *const usage_formats[] = { "table", "json", NULL };

static const struct option_spec usage_options[] = {
	{ .name = "by",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct usage_args, by),
	        .fallback = "service,tier",
	        .value_name = "LIST",
	        .help = "some of tenant, service, type, tier, state (kept, hidden, open) and "
	                "labels" },
	{ .name = "top",
	        .kind = OPTION_U32,
	        .offset = offsetof(struct usage_args, top),
	        .fallback = "20",
	        .value_name = "N",
	        .help = "how many rows, the greatest first; 0 shows all" },
	{ .name = "forecast",
	        .kind = OPTION_DURATION,
	        .offset = offsetof(struct usage_args, forecast_ns),
	        .value_name = "DURATION",
	        .help = "how large the store will be then, if it goes on as in the last days" },
	FORMAT_OPTION(usage_args, usage_formats),
	OUT_OPTION(usage_args),
	SHARED_OPTIONS(usage_args),
	{ 0 },
};

static const struct option_table usage_table = {
	.program = "profleet usage",
	.summary = "show what takes the space, how fast it grows, and when the disk is full",
	.usage = "[--by LIST] [--top N] [--forecast DURATION] [options]",
	.description =
	        "Bytes, rows and series by what --by names, the greatest first, with how many "
	        "bytes a day came in the last week. Below it what the folder holds beside them, "
	        "and the days until the file system is full if it goes on so, policies and what "
	        "they will take away included.\n\n"
	        "Bytes by a label are a unit's in equal shares of its series, and those of batches "
	        "that are not sealed yet are an estimate; whose series these are is not known yet.",
	.examples = "profleet usage\nprofleet usage --by tenant,service --top 10\n"
	            "profleet usage --by tier --forecast 90d\n"
	            "profleet usage --by service,version\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = usage_options,
};

#define USAGE_NUMBERS        6 /* columns behind the dimensions */
#define USAGE_DIMENSIONS_MAX 5

static int usage_put_rows(const json_t *root, const struct output *output, struct buf *to)
{
	static const struct text_column numbers[USAGE_NUMBERS] = {
		{ "bytes", TEXT_RIGHT, 0, false },
		{ "rows", TEXT_RIGHT, 0, false },
		{ "series", TEXT_RIGHT, 0, false },
		{ "per day", TEXT_RIGHT, 0, false },
		{ "oldest", TEXT_LEFT, 0, false },
		{ "newest", TEXT_LEFT, 0, false },
	};
	struct text_column columns[USAGE_DIMENSIONS_MAX + USAGE_NUMBERS];
	const json_t *by = json_object_get(root, "by");
	const json_t *rows = json_object_get(root, "rows");
	const json_t *first = json_array_get(rows, 0);
	uint32_t count = 0, dimensions;
	char time[48];
	size_t i;
	json_t *row;
	for (size_t j = 0; j < json_array_size(by) && count < USAGE_DIMENSIONS_MAX; j++)
		columns[count++] = (struct text_column){ json_string_value(json_array_get(by, j)),
			TEXT_LEFT, 0, true };
	dimensions = count;
	for (size_t j = 0; j < USAGE_NUMBERS; j++)
		columns[count++] = numbers[j];
	AUTO(text_table) table = text_table_new(columns, count);
	if (!table)
		return -ENOMEM;
	json_array_foreach(rows, i, row)
	{
		for (uint32_t j = 0; j < dimensions; j++) {
			const char *value = json_reply_text(row, columns[j].title);
			text_table_put(table, *value ? value : "(none)");
		}
		text_table_put(table, units_bytes(json_reply_u64(row, "bytes")).text);
		text_table_put(table, units_count(json_reply_u64(row, "rows")).text);
		text_table_put(table, units_count(json_reply_u64(row, "series")).text);
		text_table_put(table, units_bytes(json_reply_u64(row, "bytes_per_day")).text);
		text_table_put(table, admin_time(row, "oldest_ns", "", time));
		text_table_put(table, admin_time(row, "newest_ns", "", time));
	}
	if (first)
		text_table_print(table, output->width, output->color, to);
	uint64_t all = json_reply_u64(root, "rows_count");
	if (json_array_size(rows) < all)
		buf_printf(to, "%s of %s rows shown; --top 0 shows all\n",
		        units_count(json_array_size(rows)).text, units_count(all).text);
	return 0;
}

/* As people plan: in whole days from two on. */
static struct units_text usage_span(uint64_t ns)
{
	uint64_t day_ns = UINT64_C(86400) * NS_PER_S;
	struct units_text to = units_duration(ns);
	if (ns >= 2 * day_ns)
		snprintf(to.text, sizeof(to.text), "%llu days",
		        (unsigned long long)((ns + day_ns / 2) / day_ns));
	return to;
}

static void usage_put_forecast(const json_t *forecast, struct buf *to)
{
	uint64_t horizon_ns = json_reply_u64(forecast, "horizon_ns");
	buf_printf(to, "growth: %s a day, by what came in the last %s; room for %s more",
	        units_bytes(json_reply_u64(forecast, "bytes_per_day")).text,
	        usage_span(json_reply_u64(forecast, "from_the_last_ns")).text,
	        units_bytes(json_reply_u64(forecast, "room_bytes")).text);
	if (json_object_get(forecast, "days_to_full"))
		buf_printf(to, ", full in %s days\n",
		        units_count(json_reply_u64(forecast, "days_to_full")).text);
	else
		buf_printf(to, ", not full within ten years\n");
	if (horizon_ns > 0)
		buf_printf(to,
		        "in %s: %s on disk; %s will have come and stayed, %s gone by policies\n",
		        usage_span(horizon_ns).text,
		        units_bytes(json_reply_u64(forecast, "bytes_then")).text,
		        units_bytes(json_reply_u64(forecast, "bytes_come")).text,
		        units_bytes(json_reply_u64(forecast, "bytes_go")).text);
}

static int put_usage(const json_t *root, const struct output *output, struct buf *to)
{
	static const char *const parts[] = { "detail", "sums_10m", "sums_1h", "sums_1d", "windows",
		"open", "dictionary", "symbols", "rest" };
	const json_t *store = json_object_get(root, "store");
	const char *gap = "";
	int r = usage_put_rows(root, output, to);
	if (r < 0)
		return r;
	buf_printf(to, "\n%s on disk: ", units_bytes(json_reply_u64(store, "disk")).text);
	for (size_t i = 0; i < COUNT_OF(parts); i++, gap = ", ")
		buf_printf(to, "%s%s %s", gap, parts[i],
		        units_bytes(json_reply_u64(store, parts[i])).text);
	if (json_reply_u64(store, "hidden") > 0)
		buf_printf(
		        to, "; of it hidden %s", units_bytes(json_reply_u64(store, "hidden")).text);
	buf_printf(to, "\n%s series and %s stacks in %s generation%s of the dictionary\n",
	        units_count(json_reply_u64(store, "series")).text,
	        units_count(json_reply_u64(store, "stacks")).text,
	        units_count(json_reply_u64(store, "generations")).text,
	        json_reply_u64(store, "generations") == 1 ? "" : "s");
	usage_put_forecast(json_object_get(root, "forecast"), to);
	return 0;
}

static int cmd_usage_run(void *opaque, const struct option_args *words)
{
	const struct usage_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	(void)words;
	struct json_writer json = admin_body_begin(&body);
	json_key_text(&json, "by", args->by);
	json_key_u64(&json, "top", args->top);
	if (args->forecast_ns > 0)
		json_key_u64(&json, "forecast_ns", args->forecast_ns);
	admin_body_end(&json);
	int code = admin_ask(&args->shared, "usage", &body, &reply);
	return code ? code
	            : admin_deliver(&reply, args->format == 1, &output, put_usage, EXIT_CODE_OK);
}

const struct command cmd_usage = {
	.name = "usage",
	.table = &usage_table,
	.args_size = sizeof(struct usage_args),
	.run = cmd_usage_run,
};
