/* labels: which labels the selected series have, or which values one of them takes. */

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

struct labels_args {
	struct shared_args shared;
	struct range_args range;
	char *selector;
	uint32_t limit;
	uint32_t format;
	char *out;
};

static const char *const labels_formats[] = { "table", "wide", "json", "csv", NULL };

static const struct option_spec labels_options[] = {
	{ .name = "of",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct labels_args, selector),
	        .fallback = "{}",
	        .value_name = "SELECTOR",
	        .help = "only series that this selector matches" },
	RANGE_OPTIONS(labels_args),
	LIMIT_OPTION(labels_args, "100", "how many labels or values"),
	FORMAT_OPTION(labels_args, labels_formats),
	OUT_OPTION(labels_args),
	SHARED_OPTIONS(labels_args),
	{ 0 },
};

static const struct option_table labels_table = {
	.program = "profleet labels",
	.summary = "list labels, or the values of one label",
	.usage = "[LABEL] [--of SELECTOR] [options]",
	.description = "Without a word, lists the label names of the series with data in the range "
	               "and how many "
	               "values each has. With one, lists that label's values and how many series "
	               "have them.",
	.examples = "profleet labels\nprofleet labels service\n"
	            "profleet labels version --of 'cpu{service=\"cart\"}' --since 7d\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = labels_options,
	.args_max = 1,
};

/* The two columns of either list. */
struct labels_view {
	const json_t *list;
	const char *name_key, *name_title;
	const char *count_key, *count_title;
	const char *what;
	size_t shown;
	bool has_recorded; /* some of the series are of a fleet that ships with profleet */
};

static void labels_put_csv(const struct labels_view *view, struct buf *to)
{
	buf_printf(to, "%s,%s\n", view->name_key, view->count_key);
	for (size_t i = 0; i < view->shown; i++) {
		const json_t *item = json_array_get(view->list, i);
		text_put_csv(to, json_reply_text(item, view->name_key));
		buf_printf(
		        to, ",%llu\n", (unsigned long long)json_reply_u64(item, view->count_key));
	}
}

static int labels_put_table(
        const struct labels_view *view, const struct output *output, struct buf *to)
{
	const struct text_column columns[] = {
		{ view->count_title, TEXT_RIGHT, 0, false },
		{ view->name_title, TEXT_LEFT, 0, true },
	};
	AUTO(text_table) table = text_table_new(columns, COUNT_OF(columns));
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < view->shown; i++) {
		const json_t *item = json_array_get(view->list, i);
		text_table_put(table, units_count(json_reply_u64(item, view->count_key)).text);
		text_table_put(table, json_reply_text(item, view->name_key));
	}
	text_table_print(table, output->width, output->color, to);
	size_t count = json_array_size(view->list);
	if (view->has_recorded)
		buf_printf(to, "\n" REPORT_RECORDED);
	report_put_shown(view->shown, count, view->what, to);
	return 0;
}

/* The same question for the label by which a shipped fleet is known. */
static int labels_ask_recorded(
        struct client *client, struct wire_query query, bool *ret_has_recorded)
{
	struct json_reply reply;
	query.label = (struct wire_text){ "recorded", (uint32_t)strlen("recorded") };
	int code = json_reply_ask(client, &query, &reply);
	if (code)
		return code;
	const json_t *list = json_object_get(reply.root, "values");
	for (size_t i = 0; i < json_array_size(list); i++)
		if (strcmp(json_reply_text(json_array_get(list, i), "value"), "true") == 0)
			*ret_has_recorded = true;
	json_reply_fini(&reply);
	return 0;
}

/* In one of the forms. */
static int labels_put(const struct labels_view *view, const struct json_reply *reply,
        enum output_format format, struct output *output, struct buf *to)
{
	if (format == FORMAT_JSON)
		return json_reply_print(reply, to);
	if (format == FORMAT_CSV) {
		if (view->has_recorded)
			remark(REPORT_RECORDED);
		json_missing_remark(reply->root);
		labels_put_csv(view, to);
		return 0;
	}
	output->width = format == FORMAT_WIDE ? 0 : output->width;
	int result = labels_put_table(view, output, to);
	json_missing_put_below(reply->root, to);
	return result;
}

static int cmd_labels_run(void *opaque, const struct option_args *words)
{
	const struct labels_args *args = opaque;
	enum output_format format = output_format_of(labels_formats[args->format]);
	struct output output = output_of(&args->shared, args->out);
	const char *label = words->count ? words->items[0] : "";
	struct wire_query query = {
		.question = WIRE_ASK_LABELS,
		.sides_count = 1,
		.sides = { { .selector = { args->selector, (uint32_t)strlen(args->selector) } } },
		.label = { label, (uint32_t)strlen(label) },
	};
	AUTO(client) client = NULL;
	AUTO_BUF text = { 0 };
	struct json_reply reply;

	int code = range_resolve(
	        &args->range, NULL, NULL, &query.sides[0].from_ns, &query.sides[0].to_ns);
	if (code == 0)
		code = client_open(&args->shared, &client);
	bool has_recorded = false;
	if (code == 0)
		code = labels_ask_recorded(client, query, &has_recorded);
	if (code == 0)
		code = json_reply_ask(client, &query, &reply);
	if (code)
		return code;

	bool values = words->count > 0;
	struct labels_view view = {
		.list = json_object_get(reply.root, values ? "values" : "labels"),
		.name_key = values ? "value" : "name",
		.name_title = values ? label : "label",
		.count_key = values ? "series" : "values_count",
		.count_title = values ? "series" : "values",
		.what = values ? "values" : "labels",
		.has_recorded = has_recorded,
	};
	size_t count = json_array_size(view.list);
	view.shown = args->limit && args->limit < count ? args->limit : count;
	int result = labels_put(&view, &reply, format, &output, &text);
	code = result < 0 ? rows_explain(result) : output_deliver(&output, &text, EXIT_CODE_OK);
	if (code == EXIT_CODE_OK && count == 0)
		code = json_missing_explain(reply.root, args->selector);
	json_reply_fini(&reply);
	if (code == EXIT_CODE_OK && count == 0)
		return complain(EXIT_CODE_NO_DATA, "%s: no series with data in this range has %s",
		        args->selector, values ? label : "labels");
	return code;
}

const struct command cmd_labels = {
	.name = "labels",
	.table = &labels_table,
	.args_size = sizeof(struct labels_args),
	.run = cmd_labels_run,
};
