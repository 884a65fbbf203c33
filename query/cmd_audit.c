/* audit: who changed what in how the store is administered, and whether the log is whole. */

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/sha256.h"
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
	char *noted;
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
	{ .name = "noted",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct audit_args, noted),
	        .value_name = "N:HASH",
	        .help = "verify, and say whether the record that --verify once told to note is "
	                "still in the chain; HASH alone will do" },
	LIMIT_OPTION(audit_args, "100", "how many records, the newest"),
	FORMAT_OPTION(audit_args, audit_formats),
	OUT_OPTION(audit_args),
	SHARED_OPTIONS(audit_args),
	{ 0 },
};

static const struct option_table audit_table = {
	.program = "profleet audit",
	.summary = "show who changed policies and holds and what was deleted, and verify the log",
	.usage = "[--since DURATION] [--actor TEXT] [--action TEXT] [--verify] [--noted N:HASH] "
	         "[options]",
	.description =
	        "Every change of policies and holds, every plan that was applied, every undo and "
	        "every erasure is a record: who, from where, when, the digests before and after, "
	        "and the bytes. Records are chained by SHA-256, so that one which was changed or "
	        "taken out is found by --verify. It cannot see that the end was cut off, or that "
	        "the whole chain was made anew; so it prints the last number and hash. Note them "
	        "elsewhere, and give them to --noted later: it exits with 1 when that record is no "
	        "longer in the chain.\n\n"
	        "There is no authentication yet: the actor is what the command line said.",
	.examples = "profleet audit --since 7d\nprofleet audit --action hold -o jsonl\n"
	            "profleet audit --verify\n"
	            "profleet audit --noted 118:9f86d081884c7d659a2feaa0c55ad015"
	            "a3bf4f1b2b0b822cd15d6c15b0f00a08\n",
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

static void audit_put_noted(const json_t *root, struct buf *to)
{
	const json_t *noted = json_object_get(root, "noted");
	uint64_t seq = json_reply_u64(noted, "seq");
	if (json_is_true(json_object_get(noted, "is_there"))) {
		buf_printf(to, "the noted record %llu is in the chain; %s came after it\n",
		        (unsigned long long)seq,
		        units_count(json_reply_u64(root, "last_seq") - seq).text);
		return;
	}
	buf_printf(to, "MISSING: the noted record");
	if (seq > 0)
		buf_printf(to, " %llu", (unsigned long long)seq);
	buf_printf(to, " is not in the chain: %s\n", json_reply_text(noted, "why"));
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
	if (json_object_get(root, "noted"))
		audit_put_noted(root, to);
	if (json_reply_u64(root, "records") > 0)
		buf_printf(to, "%s:\n  %llu:%s\n",
		        *json_reply_text(root, "why") ? "the last whole record"
		                                      : "to note elsewhere, for --noted",
		        (unsigned long long)json_reply_u64(root, "last_seq"),
		        json_reply_text(root, "last_hash"));
	return 0;
}

/* "N:HASH" or "HASH" as keys of the body. An exit code. */
static int audit_body_noted(const char *text, struct json_writer *json)
{
	const char *colon = strchr(text, ':');
	const char *hash = colon ? colon + 1 : text;
	struct sha256 parsed;
	char *end = NULL;
	errno = 0;
	unsigned long long seq = colon ? strtoull(text, &end, 10) : 0;
	if (sha256_of_hex(hash, &parsed) < 0 ||
	        (colon && (errno || end != colon || !isdigit((unsigned char)*text) || seq == 0)))
		return complain(EXIT_CODE_USAGE,
		        "--noted %s: write the number of a record and its hash as --verify prints "
		        "them, N:HASH, or its 64 digits of hash alone",
		        text);
	if (colon)
		json_key_u64(json, "noted_seq", seq);
	json_key_text(json, "noted_hash", hash);
	return 0;
}

static int audit_verify(const struct audit_args *args, const struct output *output)
{
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	struct json_writer json = admin_body_begin(&body);
	int code = args->noted ? audit_body_noted(args->noted, &json) : 0;
	admin_body_end(&json);
	if (code == 0)
		code = admin_ask(&args->shared, "audit.verify", &body, &reply);
	if (code)
		return code;
	const json_t *noted = json_object_get(reply.root, "noted");
	if (args->noted && !noted) {
		json_reply_fini(&reply);
		return complain(EXIT_CODE_FAILED,
		        "the aggregator is older than --noted and did not look for it");
	}
	bool is_wrong = *json_reply_text(reply.root, "why") ||
	                (noted && !json_is_true(json_object_get(noted, "is_there")));
	return admin_deliver(&reply, args->format != AUDIT_TABLE, output, put_verified,
	        is_wrong ? EXIT_CODE_GATE : EXIT_CODE_OK);
}

static int cmd_audit_run(void *opaque, const struct option_args *words)
{
	const struct audit_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	(void)words;
	if (args->verify || args->noted)
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
