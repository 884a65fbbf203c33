/* retention forget: deletion on request, of a tenant, a service or whatever a selector names. */

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

struct retention_forget_args {
	struct shared_args shared;
	char *tenant;
	struct option_time from;
	struct option_time to;
	bool yes;
	bool now;
	char *confirm;
	uint32_t format;
	char *out;
};

static const char *const forget_formats[] = { "table", "json", NULL };

static const struct option_spec forget_options[] = {
	{ .name = "tenant",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct retention_forget_args, tenant),
	        .value_name = "TENANT",
	        .help = "of this tenant alone; without a selector all it has" },
	{ .name = "from",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct retention_forget_args, from),
	        .value_name = "TIME",
	        .help = "only windows from then on; else from the beginning" },
	{ .name = "to",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct retention_forget_args, to),
	        .value_name = "TIME",
	        .help = "only windows that end before; else to the end" },
	{ .name = "yes",
	        .kind = OPTION_FLAG,
	        .offset = offsetof(struct retention_forget_args, yes),
	        .help = "do it; without it only say what would go" },
	{ .name = "now",
	        .kind = OPTION_FLAG,
	        .offset = offsetof(struct retention_forget_args, now),
	        .help = "erase at once: there is no undo" },
	{ .name = "confirm",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct retention_forget_args, confirm),
	        .value_name = "N",
	        .help = "the number of rows: a second word where a safety stop asks for one" },
	FORMAT_OPTION(retention_forget_args, forget_formats),
	OUT_OPTION(retention_forget_args),
	SHARED_OPTIONS(retention_forget_args),
	{ 0 },
};

static const struct option_table forget_table = {
	.program = "profleet retention forget",
	.summary = "delete a service, a tenant, or what a selector names, on request",
	.usage = "SELECTOR|--tenant TENANT [--from TIME] [--to TIME] [--yes] [options]",
	.description =
	        "Says what would go, by level, and with --yes deletes it: sealed windows are "
	        "hidden and erased after the delay, until which `profleet retention undo` brings "
	        "them back; with --now they are erased at once. Rows that are not sealed yet go at "
	        "once in either case.\n\n"
	        "{tenant=\"acme\",service=\"cart\"} names a service of one tenant: a matcher of "
	        "tenant is about the tenant, which is no label.\n\n"
	        "What a hold protects is refused, also where it is not sealed yet. Sums that also "
	        "have other series, and no detail "
	        "left to be made anew of, stay and are counted: see `units mixed`. Names stay in "
	        "the dictionary until the generation they are in has no data any more, and backups "
	        "are not touched: both are said. Every deletion is in the audit log, with the "
	        "selector.",
	.examples = "profleet retention forget '{service=\"cart\"}'\n"
	            "profleet retention forget '{service=\"cart\"}' --yes\n"
	            "profleet retention forget --tenant acme --yes --now --confirm 120000\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = forget_options,
	.args_max = 1,
};

/* What has some of it and is not touched. */
static void forget_put_left(const json_t *root, struct buf *to)
{
	const json_t *backups = json_object_get(root, "backups");
	uint64_t generations = json_reply_u64(root, "generations");
	const char *gap = "";
	size_t i;
	json_t *name;
	if (generations > 0)
		buf_printf(to,
		        "its names stay in %s generation%s of the dictionary until the last of "
		        "their data is gone, "
		        "what agents last said of themselves until they may send nothing of that "
		        "time any more, "
		        "this request in the audit log, and of a tenant its totals\n",
		        units_count(generations).text, generations == 1 ? "" : "s");
	if (json_array_size(backups) == 0)
		return;
	buf_printf(to, "backups are not touched and may have it: ");
	json_array_foreach(backups, i, name)
	{
		buf_printf(to, "%s", gap);
		text_put_safe(to, json_string_value(name));
		gap = ", ";
	}
	buf_put_u8(to, '\n');
}

/* Does anything of the answer go, hidden or at once? */
static bool forget_has(const json_t *root, const char *const keys[])
{
	bool has = false;
	for (size_t i = 0; keys[i]; i++)
		has |= json_reply_u64(root, keys[i]) > 0;
	return has;
}

/* How it ends, and how it is taken back. */
static void forget_put_end(const json_t *root, bool is_done, struct buf *to)
{
	static const char *const sealed[] = { "units_10m", "units_1h", "units_1d", NULL };
	static const char *const open[] = { "open_rows", "open_batches", NULL };
	static const char *const kept[] = { "units_held", "open_rows_held", "units_mixed",
		"units_hidden", "windows_cut", NULL };
	char time[48];
	bool has_sealed = forget_has(root, sealed), has_open = forget_has(root, open);
	if (!has_sealed && !has_open && !forget_has(root, kept))
		buf_printf(to, "nothing that is stored matches: `profleet series` and `profleet "
		               "usage --by tenant,service` list what there is\n");
	else if (is_done && json_reply_u64(root, "run") > 0 && has_sealed)
		buf_printf(to,
		        "erased after %s; until then%s it comes back by:\n"
		        "  profleet retention undo %llu\n",
		        admin_time(root, "erase_ns", "", time),
		        has_open ? ", but for what was not sealed," : "",
		        (unsigned long long)json_reply_u64(root, "run"));
	else if (is_done)
		buf_printf(to, "it is gone: there is no undo\n");
	if (!is_done)
		buf_printf(to, "nothing was done; --yes does it\n");
}

static int put_forget(const json_t *root, const struct output *output, struct buf *to)
{
	static const struct {
		const char *key, *words;
	} notes[] = {
		{ "windows_cut", "windows reach over the edge of the range and stay" },
		{ "units_mixed", "units mixed with other series have no detail left and stay" },
		{ "units_parted", "units were parted from series that stay" },
		{ "rollups_made_anew", "rollups are made anew from what stays" },
		{ "units_held", "units have series that a hold protects, which stay" },
		{ "units_hidden",
		        "units are hidden by earlier runs already, which erase them when they are "
		        "due, or bring them back: see `profleet retention status`; --now erases "
		        "those that nobody else has a part of" },
		{ "open_rows_held",
		        "rows that are not sealed yet are protected by a hold and stay" },
	};
	bool is_done = json_is_true(json_object_get(root, "done"));
	(void)output;
	buf_printf(to, is_done ? "forgotten: " : "would go: ");
	retention_put_expired(root, to);
	buf_printf(to, "\nnot sealed yet: %s rows in %s batches\n",
	        units_count(json_reply_u64(root, "open_rows")).text,
	        units_count(json_reply_u64(root, "open_batches")).text);
	for (size_t i = 0; i < COUNT_OF(notes); i++)
		if (json_reply_u64(root, notes[i].key) > 0)
			buf_printf(to, "%s %s\n",
			        units_count(json_reply_u64(root, notes[i].key)).text,
			        notes[i].words);
	forget_put_left(root, to);
	if (*json_reply_text(root, "held_by"))
		buf_printf(to,
		        "hold %s protects some of it: it is refused until that is released\n",
		        json_reply_text(root, "held_by"));
	forget_put_end(root, is_done, to);
	return 0;
}

static int cmd_retention_forget_run(void *opaque, const struct option_args *words)
{
	const struct retention_forget_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	if (!args->tenant && words->count == 0)
		return complain(EXIT_CODE_USAGE,
		        "forget what? write a selector such as '{service=\"cart\"}', or --tenant "
		        "TENANT");
	struct json_writer json = admin_body_begin(&body);
	if (words->count > 0)
		json_key_text(&json, "selector", words->items[0]);
	if (args->tenant)
		json_key_text(&json, "tenant", args->tenant);
	json_key_bool(&json, "yes", args->yes);
	json_key_bool(&json, "now", args->now);
	if (args->confirm)
		json_key_text(&json, "confirm", args->confirm);
	int code = admin_body_time(&json, "from_ns", "--from", &args->from);
	if (code == 0)
		code = admin_body_time(&json, "to_ns", "--to", &args->to);
	admin_body_end(&json);
	if (code == 0)
		code = admin_ask(&args->shared, "retention.forget", &body, &reply);
	return code ? code
	            : admin_deliver(&reply, args->format == 1, &output, put_forget, EXIT_CODE_OK);
}

const struct command cmd_retention_forget = {
	.name = "forget",
	.table = &forget_table,
	.args_size = sizeof(struct retention_forget_args),
	.run = cmd_retention_forget_run,
};
