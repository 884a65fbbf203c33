/* hold: what no policy and no deletion may touch, until it is released. The noun and its verbs. */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "query/admin.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/output.h"
#include "query/retention_verbs.h"
#include "query/text.h"
#include "query/units.h"

struct hold_args {
	struct shared_args shared;
	struct option_time from;
	struct option_time to;
	struct option_time until;
	char *reason;
	char *id;
	uint32_t format;
	char *out;
};

static const char *const hold_formats[] = { "table", "json", NULL };

static const struct text_column hold_columns[] = {
	{ "hold", TEXT_LEFT, 0, false },
	{ "from", TEXT_LEFT, 0, false },
	{ "to", TEXT_LEFT, 0, false },
	{ "until", TEXT_LEFT, 0, false },
	{ "bytes", TEXT_RIGHT, 0, false },
	{ "selector", TEXT_LEFT, 0, true },
	{ "by", TEXT_LEFT, 0, false },
	{ "reason", TEXT_LEFT, 0, true },
};

static void hold_put_row(const json_t *item, struct text_table *table)
{
	const json_t *hold = json_object_get(item, "hold");
	char time[48];
	text_table_put(table, json_reply_text(hold, "id"));
	text_table_put(table, admin_time(hold, "from_ns", "the beginning", time));
	text_table_put(table, admin_time(hold, "to_ns", "the end", time));
	text_table_printf(table, "%s%s", admin_time(hold, "until_ns", "released", time),
	        json_is_true(json_object_get(item, "has_ended")) ? " (ended)" : "");
	text_table_put(table, units_bytes(json_reply_u64(item, "bytes")).text);
	text_table_put(table, json_reply_text(hold, "selector"));
	text_table_put(table, json_reply_text(hold, "created_by"));
	text_table_put(table, json_reply_text(hold, "reason"));
}

static int put_holds(const json_t *root, const struct output *output, struct buf *to)
{
	size_t i;
	json_t *item;
	const json_t *list = json_object_get(root, "holds");
	AUTO(text_table) table = text_table_new(hold_columns, COUNT_OF(hold_columns));
	if (!table)
		return -ENOMEM;
	json_array_foreach(list, i, item) hold_put_row(item, table);
	if (json_array_size(list) > 0)
		text_table_print(table, output->width, output->color, to);
	else
		buf_printf(to, "no holds\n");
	return 0;
}

static int put_created(const json_t *root, const struct output *output, struct buf *to)
{
	const json_t *item = json_object_get(root, "created");
	uint64_t undone = json_reply_u64(root, "runs_undone");
	(void)output;
	buf_printf(to, "%s holds %s in %s units of windows\n",
	        json_reply_text(json_object_get(item, "hold"), "id"),
	        units_bytes(json_reply_u64(item, "bytes")).text,
	        units_count(json_reply_u64(item, "units")).text);
	if (json_reply_u64(item, "units") == 0)
		buf_printf(to,
		        "nothing that is sealed matches it yet: `profleet series` lists what there "
		        "is; what comes is held\n");
	if (undone > 0)
		buf_printf(to, "%s runs that had hidden some of it were undone\n",
		        units_count(undone).text);
	return 0;
}

static int put_released(const json_t *root, const struct output *output, struct buf *to)
{
	(void)output;
	buf_printf(
	        to, "%s is released: policies decide again\n", json_reply_text(root, "released"));
	return 0;
}

static int hold_ask(
        const struct hold_args *args, const char *method, const struct buf *body, admin_put put)
{
	struct output output = output_of(&args->shared, args->out);
	struct json_reply reply;
	int code = admin_ask(&args->shared, method, body, &reply);
	return code ? code : admin_deliver(&reply, args->format == 1, &output, put, EXIT_CODE_OK);
}

/* ---- create ---- */

#define REASON_OPTION(words)                                                                       \
	{                                                                                          \
		.name = "reason", .kind = OPTION_TEXT,                                             \
		.offset = offsetof(struct hold_args, reason), .value_name = "TEXT",                \
		.required = true, .help = words                                                    \
	}

static const struct option_spec create_options[] = {
	REASON_OPTION("why: whoever finds the hold in a year wants to know"),
	{ .name = "from",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct hold_args, from),
	        .value_name = "TIME",
	        .help = "windows from then on; else from the beginning" },
	{ .name = "to",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct hold_args, to),
	        .value_name = "TIME",
	        .help = "windows that begin before; else all that will come, too" },
	{ .name = "until",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct hold_args, until),
	        .value_name = "TIME",
	        .help = "when the hold ends by itself; else it lasts until it is released" },
	{ .name = "id",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct hold_args, id),
	        .value_name = "NAME",
	        .help = "what to call it; else it gets a number" },
	FORMAT_OPTION(hold_args, hold_formats),
	OUT_OPTION(hold_args),
	SHARED_OPTIONS(hold_args),
	{ 0 },
};

static const struct option_table create_table = {
	.program = "profleet hold create",
	.summary = "protect series of some time from every policy and deletion",
	.usage = "SELECTOR --reason TEXT [--from TIME] [--to TIME] [--until TIME] [options]",
	.description =
	        "A matcher of tenant is about the tenant, which is no label. What a hold covers is "
	        "neither hidden nor erased, whatever policies say, and "
	        "`profleet retention forget` refuses it. Runs that had hidden some of it are "
	        "undone. A unit of a window with several series is kept whole when one of them is "
	        "held.",
	.examples =
	        "profleet hold create '{service=\"cart\"}' --from 2026-01-07 --to 2026-01-08 \\\n"
	        "    --reason 'incident 7' --id incident-7\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = create_options,
	.args_min = 1,
	.args_max = 1,
};

static int cmd_hold_create_run(void *opaque, const struct option_args *words)
{
	const struct hold_args *args = opaque;
	AUTO_BUF body = { 0 };
	struct json_writer json = admin_body_begin(&body);
	json_key_text(&json, "selector", words->items[0]);
	json_key_text(&json, "reason", args->reason);
	if (args->id)
		json_key_text(&json, "id", args->id);
	int code = admin_body_time(&json, "from_ns", "--from", &args->from);
	if (code == 0)
		code = admin_body_time(&json, "to_ns", "--to", &args->to);
	if (code == 0)
		code = admin_body_time(&json, "until_ns", "--until", &args->until);
	admin_body_end(&json);
	return code ? code : hold_ask(args, "hold.create", &body, put_created);
}

static const struct command cmd_hold_create = {
	.name = "create",
	.table = &create_table,
	.args_size = sizeof(struct hold_args),
	.run = cmd_hold_create_run,
};

/* ---- list and release ---- */

static const struct option_spec hold_list_options[] = {
	FORMAT_OPTION(hold_args, hold_formats),
	OUT_OPTION(hold_args),
	SHARED_OPTIONS(hold_args),
	{ 0 },
};

static const struct option_table hold_list_table = {
	.program = "profleet hold list",
	.summary = "show the holds, and how much each protects",
	.usage = "[options]",
	.description = "A line per hold: what it protects, until when, who asked for it and why.",
	.examples = "profleet hold list\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = hold_list_options,
};

static int cmd_hold_list_run(void *opaque, const struct option_args *words)
{
	AUTO_BUF body = { 0 };
	(void)words;
	struct json_writer json = admin_body_begin(&body);
	admin_body_end(&json);
	return hold_ask(opaque, "hold.list", &body, put_holds);
}

static const struct command cmd_hold_list = {
	.name = "list",
	.table = &hold_list_table,
	.args_size = sizeof(struct hold_args),
	.run = cmd_hold_list_run,
};

static const struct option_spec release_options[] = {
	REASON_OPTION("why it is no longer needed, for the audit log"),
	FORMAT_OPTION(hold_args, hold_formats),
	OUT_OPTION(hold_args),
	SHARED_OPTIONS(hold_args),
	{ 0 },
};

static const struct option_table release_table = {
	.program = "profleet hold release",
	.summary = "end a hold",
	.usage = "ID --reason TEXT [options]",
	.description =
	        "Ends a hold: what it protected is policies' again, from their next turn on.",
	.examples = "profleet hold release incident-7 --reason 'case closed'\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = release_options,
	.args_min = 1,
	.args_max = 1,
};

static int cmd_hold_release_run(void *opaque, const struct option_args *words)
{
	const struct hold_args *args = opaque;
	AUTO_BUF body = { 0 };
	struct json_writer json = admin_body_begin(&body);
	json_key_text(&json, "id", words->items[0]);
	json_key_text(&json, "reason", args->reason);
	admin_body_end(&json);
	return hold_ask(args, "hold.release", &body, put_released);
}

static const struct command cmd_hold_release = {
	.name = "release",
	.table = &release_table,
	.args_size = sizeof(struct hold_args),
	.run = cmd_hold_release_run,
};

/* ---- the noun ---- */

struct hold_noun_args {
	struct shared_args shared;
};

static const struct option_spec hold_options[] = {
	SHARED_OPTIONS(hold_noun_args),
	{ 0 },
};

static const struct option_table hold_table = {
	.program = "profleet hold",
	.summary = "protect data from every policy",
	.usage = "VERB [options]",
	.description = "A hold protects series of some time from every policy and every deletion, "
	               "until it is released or ends. See `profleet help retention`.",
	.examples = "profleet hold list\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = hold_options,
	.args_max = UINT32_MAX,
	.verbs = true,
};

static const struct command *const hold_verbs[] = {
	&cmd_hold_create,
	&cmd_hold_list,
	&cmd_hold_release,
	NULL,
};

const struct command cmd_hold = {
	.name = "hold",
	.table = &hold_table,
	.args_size = sizeof(struct hold_noun_args),
	.verbs = hold_verbs,
};
