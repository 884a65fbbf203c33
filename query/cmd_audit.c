/* audit: who changed what in how the store is administered, and whether the log is whole. */

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

struct audit_args {
	struct shared_args shared;
	uint64_t since_ns;
	char *actor;
	char *action;
	bool verify;
	uint32_t limit;
	uint32_t format;
	char *out;
};

enum { AUDIT_TABLE, AUDIT_JSON, AUDIT_JSONL };
static const char *const audit_formats[] = { "table", "json", "jsonl", NULL };

static const struct option_spec audit_options[] = {
	{ .name = "since",
	        .kind = OPTION_DURATION,
	        .offset = offsetof(struct audit_args, since_ns),
	        .value_name = "DURATION",
	        .help = "only what happened within it" },
	{ .name = "actor",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct audit_args, actor),
	        .value_name = "TEXT",
	        .help = "only by whom has this in user@host" },
	{ .name = "action",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct audit_args, action),
	        .value_name = "TEXT",
	        .help = "only actions that begin so: retention, hold.create" },
	{ .name = "verify",
	        .kind = OPTION_FLAG,
	        .offset = offsetof(struct audit_args, verify),
	        .help = "read the whole chain and say whether it is whole; else which record is "
	                "the first that is not" },
	LIMIT_OPTION(audit_args, "100", "how many records, the newest"),
	FORMAT_OPTION(audit_args, audit_formats),
	OUT_OPTION(audit_args),
	SHARED_OPTIONS(audit_args),
	{ 0 },
};

static const struct option_table audit_table = {
	.program = "profleet audit",
	.summary = "show who changed policies and holds and what was deleted, and verify the log",
	.usage = "[--since DURATION] [--actor TEXT] [--action TEXT] [--verify] [options]",
	.description =
	        "Every change of policies and holds, every plan that was applied, every undo and "
	        "every erasure is a record: who, from where, when, the digests before and after, "
	        "and the bytes. Records are chained by SHA-256, so that one which was changed or "
	        "taken out is found by --verify, which also prints the last number and hash: noted "
	        "elsewhere, they show when somebody made the whole chain anew.\n\n"
	        "There is no authentication yet: the actor is what the command line said.",
	.examples = "profleet audit --since 7d\nprofleet audit --action hold -o jsonl\n"
	            "profleet audit --verify\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = audit_options,
};

static const struct text_column audit_columns[] = {
	{ "seq", TEXT_RIGHT, 0, false },
	{ "time", TEXT_LEFT, 0, false },
	{ "actor", TEXT_LEFT, 0, false },
	{ "from", TEXT_LEFT, 0, false },
	{ "action", TEXT_LEFT, 0, false },
	{ "bytes", TEXT_RIGHT, 0, false },
	{ "details", TEXT_LEFT, 0, true },
};

static int put_audit(const json_t *root, const struct output *output, struct buf *to)
{
	const json_t *records = json_object_get(root, "records");
	uint64_t matching = json_reply_u64(root, "matching");
	uint64_t damaged = json_reply_u64(root, "damaged");
	char time[48];
	size_t i;
	json_t *record;
	AUTO(text_table) table = text_table_new(audit_columns, COUNT_OF(audit_columns));
	if (!table)
		return -ENOMEM;
	json_array_foreach(records, i, record)
	{
		text_table_printf(table, "%llu", (unsigned long long)json_reply_u64(record, "seq"));
		text_table_put(table, admin_time(record, "unix_ns", "", time));
		text_table_put(table, json_reply_text(record, "actor"));
		text_table_put(table, json_reply_text(record, "origin"));
		text_table_put(table, json_reply_text(record, "action"));
		text_table_put(table, units_bytes(json_reply_u64(record, "bytes")).text);
		text_table_put(table, json_reply_text(record, "details"));
	}
	if (json_array_size(records) > 0)
		text_table_print(table, output->width, output->color, to);
	buf_printf(to, "\n%s of %s records shown%s\n", units_count(json_array_size(records)).text,
	        units_count(matching).text,
	        json_array_size(records) < matching ? "; --limit 0 shows all" : "");
	if (damaged > 0)
		buf_printf(to, "%s records cannot be read: profleet audit --verify\n",
		        units_count(damaged).text);
	return 0;
}

static int put_jsonl(const json_t *root, const struct output *output, struct buf *to)
{
	size_t i;
	json_t *record;
	(void)output;
	json_array_foreach(json_object_get(root, "records"), i, record)
	{
		autofree char *line = json_dumps(record, JSON_COMPACT | JSON_ENSURE_ASCII);
		if (!line)
			return -ENOMEM;
		buf_printf(to, "%s\n", line);
	}
	return 0;
}

static int put_verified(const json_t *root, const struct output *output, struct buf *to)
{
	(void)output;
	if (*json_reply_text(root, "why"))
		buf_printf(to, "BROKEN: %s; the %s records before it are whole\n",
		        json_reply_text(root, "why"),
		        units_count(json_reply_u64(root, "records")).text);
	else
		buf_printf(to, "whole: %s records\n",
		        units_count(json_reply_u64(root, "records")).text);
	buf_printf(to, "last whole record %llu, hash %s\n",
	        (unsigned long long)json_reply_u64(root, "last_seq"),
	        json_reply_text(root, "last_hash"));
	return 0;
}

static int audit_verify(const struct audit_args *args, const struct output *output)
{
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	struct json_writer json = admin_body_begin(&body);
	admin_body_end(&json);
	int code = admin_ask(&args->shared, "audit.verify", &body, &reply);
	if (code)
		return code;
	bool is_broken = *json_reply_text(reply.root, "why");
	return admin_deliver(&reply, args->format != AUDIT_TABLE, output, put_verified,
	        is_broken ? EXIT_CODE_GATE : EXIT_CODE_OK);
}

static int cmd_audit_run(void *opaque, const struct option_args *words)
{
	const struct audit_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	(void)words;
	if (args->verify)
		return audit_verify(args, &output);
	uint64_t now_ns = clock_unix_ns(clock_real());
	struct json_writer json = admin_body_begin(&body);
	if (args->since_ns > 0)
		json_key_u64(
		        &json, "since_ns", now_ns > args->since_ns ? now_ns - args->since_ns : 0);
	json_key_u64(&json, "limit", args->limit);
	json_key_text(&json, "actor", args->actor ? args->actor : "");
	json_key_text(&json, "action", args->action ? args->action : "");
	admin_body_end(&json);
	if (args->format != AUDIT_TABLE)
		output.width = 0;
	int code = admin_ask(&args->shared, "audit.list", &body, &reply);
	return code ? code
	            : admin_deliver(&reply, args->format == AUDIT_JSON, &output,
	                      args->format == AUDIT_JSONL ? put_jsonl : put_audit, EXIT_CODE_OK);
}

const struct command cmd_audit = {
	.name = "audit",
	.table = &audit_table,
	.args_size = sizeof(struct audit_args),
	.run = cmd_audit_run,
};
