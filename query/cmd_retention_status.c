/* retention status: how it stands, what waits, and what can be undone. */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "query/admin.h"
#include "query/complain.h"
#include "query/output.h"
#include "query/retention_verbs.h"
#include "query/text.h"
#include "query/units.h"

struct retention_status_args {
	struct shared_args shared;
	uint32_t format;
	char *out;
};

static const char *const status_formats[] = { "table", "json", NULL };

static const struct option_spec status_options[] = {
	FORMAT_OPTION(retention_status_args, status_formats),
	OUT_OPTION(retention_status_args),
	SHARED_OPTIONS(retention_status_args),
	{ 0 },
};

static const struct option_table status_table = {
	.program = "profleet retention status",
	.summary = "show when policies were enforced, what waits, and what can be undone",
	.usage = "[options]",
	.description =
	        "When policies were last enforced, what has expired and is still there, by policy, "
	        "a safety "
	        "stop and why, changes that are in their grace, holds that end within a week, the "
	        "runs that hide something until it is erased, and the bytes that each policy has "
	        "deleted. Exits with 3 while a safety stop holds.",
	.examples = "profleet retention status\nprofleet retention status -o json\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = status_options,
};

static const struct text_column status_columns[] = {
	{ "run", TEXT_LEFT, 0, false },
	{ "by", TEXT_LEFT, 0, true },
	{ "what", TEXT_LEFT, 0, false },
	{ "hidden", TEXT_LEFT, 0, false },
	{ "erased after", TEXT_LEFT, 0, false },
	{ "bytes", TEXT_RIGHT, 0, false },
	{ "rows", TEXT_RIGHT, 0, false },
};

static int status_put_runs(const json_t *root, const struct output *output, struct buf *to)
{
	size_t i;
	json_t *run;
	char time[48];
	AUTO(text_table) table = text_table_new(status_columns, COUNT_OF(status_columns));
	if (!table)
		return -ENOMEM;
	json_array_foreach(json_object_get(root, "runs"), i, run)
	{
		text_table_printf(table, "%llu", (unsigned long long)json_reply_u64(run, "run"));
		text_table_put(table, json_reply_text(run, "actor"));
		text_table_printf(table, "%s%s", json_reply_text(run, "kind"),
		        json_is_true(json_object_get(run, "is_erasing")) ? " (erasing)" : "");
		text_table_put(table, admin_time(run, "hidden_ns", "", time));
		text_table_put(table, admin_time(run, "erase_ns", "", time));
		text_table_put(table, units_bytes(json_reply_u64(run, "bytes")).text);
		text_table_put(table, units_count(json_reply_u64(run, "rows")).text);
	}
	if (json_array_size(json_object_get(root, "runs")) > 0) {
		buf_printf(to, "\nhidden, and brought back by `profleet retention undo RUN`:\n");
		text_table_print(table, output->width, output->color, to);
	}
	return 0;
}

static void status_put_lists(const json_t *root, struct buf *to)
{
	const char *policy;
	json_t *value;
	size_t i;
	char time[48];
	json_array_foreach(json_object_get(root, "changes_in_grace"), i, value)
	        buf_printf(to, "a change in its grace   in force from %s on\n",
	                units_time((uint64_t)json_integer_value(value)).text);
	json_array_foreach(json_object_get(root, "holds_ending"), i, value)
	        buf_printf(to, "hold ends               %s at %s\n", json_reply_text(value, "id"),
	                admin_time(value, "until_ns", "", time));
	json_object_foreach(json_object_get(root, "overdue"), policy, value)
	        buf_printf(to, "overdue by %-12s %s\n", policy,
	                units_bytes((uint64_t)json_integer_value(value)).text);
	json_object_foreach(json_object_get(root, "deleted_bytes"), policy, value)
	        buf_printf(to, "deleted by %-12s %s\n", policy,
	                units_bytes((uint64_t)json_integer_value(value)).text);
}

static int put_status(const json_t *root, const struct output *output, struct buf *to)
{
	const char *stop = json_reply_text(root, "stop");
	const char *error = json_reply_text(root, "last_error");
	char time[48];
	buf_printf(to, "policies                %llu, holds %llu\n",
	        (unsigned long long)json_reply_u64(root, "policies"),
	        (unsigned long long)json_reply_u64(root, "holds"));
	buf_printf(to, "last enforced           %s%s\n",
	        admin_time(root, "last_success_ns", "never", time),
	        json_is_true(json_object_get(root, "is_late")) ? "  LATE" : "");
	if (*error)
		buf_printf(to, "last failure            %s\n", error);
	if (*stop)
		buf_printf(to,
		        "SAFETY STOP             since %s: %s; nothing is removed: see `profleet "
		        "retention plan`\n",
		        admin_time(root, "stop_since_ns", "", time), stop);
	if (json_reply_u64(root, "paused_until_ns") > 0)
		buf_printf(to, "paused by an undo       until %s\n",
		        admin_time(root, "paused_until_ns", "", time));
	buf_printf(to, "expired and still there %s\n",
	        units_bytes(json_reply_u64(root, "overdue_bytes")).text);
	buf_printf(to, "protected by holds      %s\n",
	        units_bytes(json_reply_u64(root, "hold_bytes")).text);
	status_put_lists(root, to);
	return status_put_runs(root, output, to);
}

static int cmd_retention_status_run(void *opaque, const struct option_args *words)
{
	const struct retention_status_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	(void)words;
	struct json_writer json = admin_body_begin(&body);
	admin_body_end(&json);
	int code = admin_ask(&args->shared, "retention.status", &body, &reply);
	if (code)
		return code;
	bool is_stopped = *json_reply_text(reply.root, "stop");
	return admin_deliver(&reply, args->format == 1, &output, put_status,
	        is_stopped ? EXIT_CODE_STOPPED : EXIT_CODE_OK);
}

const struct command cmd_retention_status = {
	.name = "status",
	.table = &status_table,
	.args_size = sizeof(struct retention_status_args),
	.run = cmd_retention_status_run,
};
