/*
 * retention undo: bringing back what is only hidden, all of a run or some of it, and saying
 * beforehand what would come.
 */

#include <errno.h>
#include <limits.h>
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

struct retention_undo_args {
	struct shared_args shared;
	char *only;
	struct option_time from;
	struct option_time to;
	bool dry_run;
	uint32_t format;
	char *out;
};

static const char *const undo_formats[] = { "table", "json", NULL };

static const struct option_spec undo_options[] = {
	{ .name = "only",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct retention_undo_args, only),
	        .value_name = "SELECTOR",
	        .help = "bring back only units that have a series of it" },
	{ .name = "from",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct retention_undo_args, from),
	        .value_name = "TIME",
	        .help = "only windows that end after it" },
	{ .name = "to",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct retention_undo_args, to),
	        .value_name = "TIME",
	        .help = "only windows that begin before it" },
	{ .name = "dry-run",
	        .kind = OPTION_FLAG,
	        .offset = offsetof(struct retention_undo_args, dry_run),
	        .help = "say what would come back, and change nothing" },
	FORMAT_OPTION(retention_undo_args, undo_formats),
	OUT_OPTION(retention_undo_args),
	SHARED_OPTIONS(retention_undo_args),
	{ 0 },
};

static const struct option_table undo_table = {
	.program = "profleet retention undo",
	.summary = "bring back what a run hides, or some of it",
	.usage = "RUN... [--only SELECTOR] [--from TIME] [--to TIME] [--dry-run] [options]",
	.description =
	        "Makes visible again what runs of retention, an apply or a forget have hidden and "
	        "not yet erased, and says what is gone already: what was erased cannot come back, "
	        "but from a backup. For a grace (the aggregator's "
	        "--retention-grace) nothing is hidden by policies after it, so that they can be "
	        "put right.\n\n"
	        "With --only, --from or --to some of it comes back, at every tier that the runs "
	        "hide, and the rest is erased when it was due. A unit of a window comes back whole "
	        "when one of its series matches, and a window when it overlaps the range. "
	        "--dry-run shows it by service and tier beforehand.",
	.examples = "profleet retention status\n"
	            "profleet retention undo 1767225600000 --dry-run\n"
	            "profleet retention undo 1767225600000 --only '{service=\"cart\"}' "
	            "--from now-30d\n"
	            "profleet retention undo 1767225600000\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = undo_options,
	.args_min = 1,
	.args_max = 64,
};

static const struct text_column undo_columns[] = {
	{ "service", TEXT_LEFT, 0, true },
	{ "tier", TEXT_LEFT, 0, false },
	{ "windows", TEXT_RIGHT, 0, false },
	{ "rows", TEXT_RIGHT, 0, false },
	{ "bytes", TEXT_RIGHT, 0, false },
	{ "oldest", TEXT_LEFT, 0, false },
	{ "newest", TEXT_LEFT, 0, false },
};

static int undo_put_rows(const json_t *root, const struct output *output, struct buf *to)
{
	const json_t *rows = json_object_get(root, "rows_back");
	uint64_t count = json_reply_u64(root, "rows_back_count");
	size_t shown = json_array_size(rows);
	char time[48];
	AUTO(text_table) table = text_table_new(undo_columns, COUNT_OF(undo_columns));
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < shown; i++) {
		const json_t *row = json_array_get(rows, i);
		retention_put_service(row, table);
		text_table_put(table, json_reply_text(row, "tier"));
		text_table_put(table, units_count(json_reply_u64(row, "windows")).text);
		text_table_put(table, units_count(json_reply_u64(row, "rows")).text);
		text_table_put(table, units_bytes(json_reply_u64(row, "bytes")).text);
		text_table_put(table, admin_time(row, "oldest_ns", "", time));
		text_table_put(table, admin_time(row, "newest_ns", "", time));
	}
	text_table_print(table, output->width, output->color, to);
	if (shown < count)
		buf_printf(to, "%s of %s rows shown, the greatest; narrow it with --only\n",
		        units_count(shown).text, units_count(count).text);
	buf_put_u8(to, '\n');
	return 0;
}

static void undo_put_totals(const json_t *root, bool is_of_some, struct buf *to)
{
	const json_t *done = json_object_get(root, "done");
	uint64_t missing = json_reply_u64(root, "missing");
	uint64_t left = json_reply_u64(root, "bytes_left");
	char time[48];
	size_t i;
	json_t *gone;
	buf_printf(to, "%s: ", json_is_false(done) ? "would come back" : "back");
	retention_put_expired(root, to);
	if (is_of_some)
		buf_printf(to, "\n%s stay hidden, to be erased as they were%s\n",
		        units_bytes(left).text, json_is_false(done) ? "; nothing was changed" : "");
	else
		buf_printf(to, "\n%s\n",
		        missing > 0 ? "some of it is gone already:" : "nothing of it was gone yet");
	if (missing > 0)
		buf_printf(to, "  %s parts of windows were erased before\n",
		        units_count(missing).text);
	json_array_foreach(json_object_get(root, "gone"), i, gone)
	        buf_printf(to, "%s\n", json_reply_text(gone, "why"));
	if (json_reply_u64(root, "paused_until_ns") > 0)
		buf_printf(to, "nothing is hidden by policies until %s\n",
		        admin_time(root, "paused_until_ns", "", time));
}

static int put_undo(const json_t *root, const struct output *output, struct buf *to)
{
	bool is_of_some = json_object_get(root, "rows_back");
	int r = is_of_some ? undo_put_rows(root, output, to) : 0;
	if (r == 0)
		undo_put_totals(root, is_of_some, to);
	return r;
}

/* The runs by their numbers. An exit code. */
static int undo_put_runs(const struct option_args *words, struct json_writer *json)
{
	json_key(json, "runs");
	json_array_begin(json);
	for (uint32_t i = 0; i < words->count; i++) {
		const char *run = words->items[i];
		errno = 0;
		if (!*run || strspn(run, "0123456789") != strlen(run) ||
		        (strtoull(run, NULL, 10) == ULLONG_MAX && errno == ERANGE))
			return complain(EXIT_CODE_USAGE,
			        "%.64s: not a run; `profleet retention status` shows their numbers",
			        run);
		json_text(json, run);
	}
	json_array_end(json);
	return 0;
}

static int undo_put_body(
        const struct retention_undo_args *args, const struct option_args *words, struct buf *body)
{
	struct json_writer json = admin_body_begin(body);
	int code = undo_put_runs(words, &json);
	if (code == 0 && args->only)
		json_key_text(&json, "selector", args->only);
	if (code == 0)
		code = admin_body_time(&json, "from_ns", "--from", &args->from);
	if (code == 0)
		code = admin_body_time(&json, "to_ns", "--to", &args->to);
	if (args->dry_run)
		json_key_bool(&json, "dry_run", true);
	admin_body_end(&json);
	return code;
}

static int cmd_retention_undo_run(void *opaque, const struct option_args *words)
{
	const struct retention_undo_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	int code = undo_put_body(args, words, &body);
	if (code == 0)
		code = admin_ask(&args->shared, "retention.undo", &body, &reply);
	if (code)
		return code;
	bool has_gone = json_array_size(json_object_get(reply.root, "gone")) > 0;
	return admin_deliver(&reply, args->format == 1, &output, put_undo,
	        has_gone ? EXIT_CODE_NO_DATA : EXIT_CODE_OK);
}

const struct command cmd_retention_undo = {
	.name = "undo",
	.table = &undo_table,
	.args_size = sizeof(struct retention_undo_args),
	.run = cmd_retention_undo_run,
};
