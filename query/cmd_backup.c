/* backup: copies of a running store, and stores made of them. The noun and its verbs. */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "query/admin.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/output.h"
#include "query/text.h"
#include "query/units.h"

#define BACKUP_EXIT_CODES_TEXT                                                                     \
	"0  done\n"                                                                                \
	"1  verify: something in the backup is damaged\n"                                          \
	"2  usage: unknown option, a name or a target that is refused\n"                           \
	"4  refused: administration is not allowed from here\n"                                    \
	"5  server, network or storage failed, or the backup is damaged\n"                         \
	"6  no such backup\n"

struct backup_args {
	struct shared_args shared;
	char *to;
	uint32_t format;
	char *out;
};

static const char *const backup_formats[] = { "table", "json", NULL };

static const struct text_column backup_columns[] = {
	{ "backup", TEXT_LEFT, 0, false },
	{ "made", TEXT_LEFT, 0, false },
	{ "bytes", TEXT_RIGHT, 0, false },
	{ "files", TEXT_RIGHT, 0, false },
	{ "batches", TEXT_RIGHT, 0, false },
	{ "rows", TEXT_RIGHT, 0, false },
	{ "windows", TEXT_RIGHT, 0, false },
	{ "format", TEXT_RIGHT, 0, false },
};

static bool backup_is_damaged(const json_t *item)
{
	return json_is_true(json_object_get(item, "is_damaged"));
}

static void backup_put_row(const json_t *item, struct text_table *table)
{
	static const char *const counts[] = { "files", "batches", "rows", "windows" };
	char time[48];
	text_table_put(table, json_reply_text(item, "name"));
	if (backup_is_damaged(item)) {
		text_table_put(table, "damaged");
		for (size_t i = 0; i < COUNT_OF(counts) + 2; i++)
			text_table_put(table, "");
		return;
	}
	text_table_put(table, admin_time(item, "created_ns", "", time));
	text_table_put(table, units_bytes(json_reply_u64(item, "bytes")).text);
	for (size_t i = 0; i < COUNT_OF(counts); i++)
		text_table_put(table, units_count(json_reply_u64(item, counts[i])).text);
	text_table_put(table, units_count(json_reply_u64(item, "format")).text);
}

static int put_backups(const json_t *root, const struct output *output, struct buf *to)
{
	size_t i;
	json_t *item;
	const json_t *list = json_object_get(root, "backups");
	AUTO(text_table) table = text_table_new(backup_columns, COUNT_OF(backup_columns));
	if (!table)
		return -ENOMEM;
	json_array_foreach(list, i, item) backup_put_row(item, table);
	if (json_array_size(list) > 0)
		text_table_print(table, output->width, output->color, to);
	else
		buf_printf(to, "no backups in %s\n", json_reply_text(root, "folder"));
	return 0;
}

static int put_created(const json_t *root, const struct output *output, struct buf *to)
{
	const json_t *item = json_object_get(root, "created");
	(void)output;
	buf_printf(to,
	        "%s: %s in %s files, of %s batches with %s rows that "
	        "came since the store began; in %s/%s\n",
	        json_reply_text(item, "name"), units_bytes(json_reply_u64(item, "bytes")).text,
	        units_count(json_reply_u64(item, "files")).text,
	        units_count(json_reply_u64(item, "batches")).text,
	        units_count(json_reply_u64(item, "rows")).text, json_reply_text(root, "folder"),
	        json_reply_text(item, "name"));
	return 0;
}

static int put_restored(const json_t *root, const struct output *output, struct buf *to)
{
	(void)output;
	buf_printf(to,
	        "%s is restored to %s: start an aggregator there with --data, or move it in place "
	        "of a stopped one's\n",
	        json_reply_text(root, "restored"), json_reply_text(root, "to"));
	return 0;
}

static int put_verified(const json_t *root, const struct output *output, struct buf *to)
{
	size_t i;
	json_t *item;
	const char *name = json_reply_text(root, "verified");
	uint64_t damaged = json_reply_u64(root, "damaged");
	(void)output;
	if (!backup_is_damaged(root)) {
		buf_printf(to, "%s: %s records with %s rows, and every byte as it was\n", name,
		        units_count(json_reply_u64(root, "records")).text,
		        units_count(json_reply_u64(root, "rows")).text);
		return 0;
	}
	if (*json_reply_text(root, "why"))
		buf_printf(to, "%s\n", json_reply_text(root, "why"));
	json_array_foreach(json_object_get(root, "findings"), i, item)
	{
		buf_printf(to, "damaged  %s  %s: %s\n", json_reply_text(item, "family"),
		        json_reply_text(item, "key"), json_reply_text(item, "reason"));
		if (*json_reply_text(item, "missing"))
			buf_printf(to, "         missing: %s\n", json_reply_text(item, "missing"));
	}
	if (damaged > 0)
		buf_printf(to, "%s: %s records are damaged\n", name, units_count(damaged).text);
	return 0;
}

static int put_deleted(const json_t *root, const struct output *output, struct buf *to)
{
	(void)output;
	buf_printf(to, "%s is deleted\n", json_reply_text(root, "deleted"));
	return 0;
}

/* Asks about the backup `name` (NULL: of none). A damaged one has the exit code 1. */
static int backup_ask(
        const struct backup_args *args, const char *method, const char *name, admin_put put)
{
	struct output output = output_of(&args->shared, args->out);
	struct json_reply reply;
	AUTO_BUF body = { 0 };
	struct json_writer json = admin_body_begin(&body);
	if (name)
		json_key_text(&json, "name", name);
	if (args->to)
		json_key_text(&json, "to", args->to);
	admin_body_end(&json);
	int code = admin_ask(&args->shared, method, &body, &reply);
	if (code)
		return code;
	int done = backup_is_damaged(reply.root) ? EXIT_CODE_GATE : EXIT_CODE_OK;
	return admin_deliver(&reply, args->format == 1, &output, put, done);
}

static const struct option_spec backup_verb_options[] = {
	FORMAT_OPTION(backup_args, backup_formats),
	OUT_OPTION(backup_args),
	SHARED_OPTIONS(backup_args),
	{ 0 },
};

/* ---- create ---- */

static const struct option_table create_table = {
	.program = "profleet backup create",
	.summary = "copy the running store",
	.usage = "[NAME] [options]",
	.description =
	        "Everything that was acknowledged before is in it, at one moment; agents and "
	        "questions go on meanwhile. On the store's file system it shares files with the "
	        "store and costs little until the store forgets them; with the aggregator's option "
	        "--backup-path on another disk it is a copy that survives this one. It is there "
	        "whole, or not at all. Every byte of it is read once: say --timeout for a large "
	        "store; the aggregator goes on when nobody waits any more.\n\n"
	        "Without NAME it is called after the moment. Names have letters, digits, '.', '_' "
	        "and '-'.",
	.examples = "profleet backup create\n"
	            "profleet backup create before-upgrade --timeout 1h\n",
	.exit_codes = BACKUP_EXIT_CODES_TEXT,
	.options = backup_verb_options,
	.args_min = 0,
	.args_max = 1,
};

static int cmd_backup_create_run(void *opaque, const struct option_args *words)
{
	return backup_ask(
	        opaque, "backup.create", words->count ? words->items[0] : NULL, put_created);
}

static const struct command cmd_backup_create = {
	.name = "create",
	.table = &create_table,
	.args_size = sizeof(struct backup_args),
	.run = cmd_backup_create_run,
};

/* ---- list ---- */

static const struct option_table list_table = {
	.program = "profleet backup list",
	.summary = "show the backups there are",
	.usage = "[options]",
	.description =
	        "A line per backup: when it was made, how large it is, what had come until then "
	        "(batches and rows since the store began, those that retention removed among "
	        "them), and the sealed windows in it. Bytes that it shares with the store or with "
	        "other backups are counted in each. "
	        "One whose manifest cannot be read is listed as damaged.",
	.examples = "profleet backup list -o json\n",
	.exit_codes = BACKUP_EXIT_CODES_TEXT,
	.options = backup_verb_options,
};

static int cmd_backup_list_run(void *opaque, const struct option_args *words)
{
	(void)words;
	return backup_ask(opaque, "backup.list", NULL, put_backups);
}

static const struct command cmd_backup_list = {
	.name = "list",
	.table = &list_table,
	.args_size = sizeof(struct backup_args),
	.run = cmd_backup_list_run,
};

/* ---- restore ---- */

static const struct option_spec restore_options[] = {
	{ .name = "to",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct backup_args, to),
	        .value_name = "DIR",
	        .required = true,
	        .help = "folder on the aggregator's host, empty or not there, as a whole path" },
	FORMAT_OPTION(backup_args, backup_formats),
	OUT_OPTION(backup_args),
	SHARED_OPTIONS(backup_args),
	{ 0 },
};

static const struct option_table restore_table = {
	.program = "profleet backup restore",
	.summary = "make a folder that an aggregator starts from",
	.usage = "NAME --to DIR [options]",
	.description =
	        "Copies the backup to a folder of its own and checks every byte on the way; DIR is "
	        "there when all of it is right and on the disk, and not before. The running store "
	        "is left as it is. Where no aggregator runs, `profleet-aggregator --restore "
	        "BACKUP --data DIR` does the same.",
	.examples = "profleet backup restore before-upgrade --to /var/lib/profleet-old\n"
	            "profleet-aggregator --data /var/lib/profleet-old --listen "
	            "tcp://127.0.0.1:7480\n",
	.exit_codes = BACKUP_EXIT_CODES_TEXT,
	.options = restore_options,
	.args_min = 1,
	.args_max = 1,
};

static int cmd_backup_restore_run(void *opaque, const struct option_args *words)
{
	return backup_ask(opaque, "backup.restore", words->items[0], put_restored);
}

static const struct command cmd_backup_restore = {
	.name = "restore",
	.table = &restore_table,
	.args_size = sizeof(struct backup_args),
	.run = cmd_backup_restore_run,
};

/* ---- verify ---- */

static const struct option_table verify_table = {
	.program = "profleet backup verify",
	.summary = "read a backup whole and say what is wrong",
	.usage = "NAME [options]",
	.description =
	        "Compares every file with what was backed up, then reads every checksum and every "
	        "reference in it, as `profleet-aggregator --verify` does. Up to 16 findings are "
	        "shown.",
	.examples = "profleet backup verify before-upgrade && echo good\n",
	.exit_codes = BACKUP_EXIT_CODES_TEXT,
	.options = backup_verb_options,
	.args_min = 1,
	.args_max = 1,
};

static int cmd_backup_verify_run(void *opaque, const struct option_args *words)
{
	return backup_ask(opaque, "backup.verify", words->items[0], put_verified);
}

static const struct command cmd_backup_verify = {
	.name = "verify",
	.table = &verify_table,
	.args_size = sizeof(struct backup_args),
	.run = cmd_backup_verify_run,
};

/* ---- delete ---- */

static const struct option_table delete_table = {
	.program = "profleet backup delete",
	.summary = "remove a backup",
	.usage = "NAME [options]",
	.description = "The store and other backups keep the files that they share with it.",
	.examples = "profleet backup delete before-upgrade\n",
	.exit_codes = BACKUP_EXIT_CODES_TEXT,
	.options = backup_verb_options,
	.args_min = 1,
	.args_max = 1,
};

static int cmd_backup_delete_run(void *opaque, const struct option_args *words)
{
	return backup_ask(opaque, "backup.delete", words->items[0], put_deleted);
}

static const struct command cmd_backup_delete = {
	.name = "delete",
	.table = &delete_table,
	.args_size = sizeof(struct backup_args),
	.run = cmd_backup_delete_run,
};

/* ---- the noun ---- */

struct backup_noun_args {
	struct shared_args shared;
};

static const struct option_spec backup_options[] = {
	SHARED_OPTIONS(backup_noun_args),
	{ 0 },
};

static const struct option_table backup_table = {
	.program = "profleet backup",
	.summary = "copy the running store, and make stores of copies",
	.usage = "VERB [options]",
	.description = "Backups lie on the aggregator's host, in the folder that its option "
	               "--backup-path names.",
	.examples = "profleet backup create nightly\n",
	.exit_codes = BACKUP_EXIT_CODES_TEXT,
	.options = backup_options,
	.args_max = UINT32_MAX,
	.verbs = true,
};

static const struct command *const backup_verbs[] = {
	&cmd_backup_create,
	&cmd_backup_list,
	&cmd_backup_restore,
	&cmd_backup_verify,
	&cmd_backup_delete,
	NULL,
};

const struct command cmd_backup = {
	.name = "backup",
	.table = &backup_table,
	.args_size = sizeof(struct backup_noun_args),
	.verbs = backup_verbs,
};
