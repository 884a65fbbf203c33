/* retention list, get, set and delete: the policies themselves. */

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

static const char *const retention_tiers[] = { "detail", "10m", "1h", "1d" };

/* ---- showing them ---- */

struct retention_list_args {
	struct shared_args shared;
	uint32_t format;
	char *out;
};

static const char *const list_formats[] = { "table", "json", "yaml", NULL };

static const struct option_spec list_options[] = {
	FORMAT_OPTION(retention_list_args, list_formats),
	OUT_OPTION(retention_list_args),
	SHARED_OPTIONS(retention_list_args),
	{ 0 },
};

static const struct option_table list_table = {
	.program = "profleet retention list",
	.summary = "show the policies, and how much each decides over",
	.usage = "[options]",
	.description =
	        "A line per policy, the highest priority first: how long each tier is kept after "
	        "the end of a window, and the series and bytes whose detail it decides over; a "
	        "policy with 0 series matches nothing that is stored. -o yaml is what "
	        "`profleet retention set -f` reads.",
	.examples = "profleet retention list\nprofleet retention list -o yaml > policies.yaml\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = list_options,
};

static uint64_t list_covers(const json_t *root, const char *policy, const char *key)
{
	size_t i;
	json_t *one;
	json_array_foreach(json_object_get(root, "covers"), i, one)
	{
		if (strcmp(json_reply_text(one, "policy"), policy) == 0)
			return json_reply_u64(one, key);
	}
	return 0;
}

/* Text as YAML and JSON both read it. */
static void yaml_put(const char *indent, const char *key, const char *text, struct buf *to)
{
	buf_printf(to, "%s%s: ", indent, key);
	json_put_string(to, text, strlen(text));
	buf_put_u8(to, '\n');
}

static void yaml_put_policy(const json_t *policy, struct buf *to)
{
	const json_t *tiers = json_object_get(policy, "tiers");
	yaml_put("  - ", "name", json_reply_text(policy, "name"), to);
	yaml_put("    ", "selector", json_reply_text(policy, "selector"), to);
	buf_printf(
	        to, "    priority: %llu\n", (unsigned long long)json_reply_u64(policy, "priority"));
	buf_printf(to, "    tiers: {");
	for (size_t i = 0; i < COUNT_OF(retention_tiers); i++)
		buf_printf(to, "%s %s: %s", i ? "," : "", retention_tiers[i],
		        json_reply_text(tiers, retention_tiers[i]));
	buf_printf(to, " }\n");
	if (*json_reply_text(policy, "reason"))
		yaml_put("    ", "reason", json_reply_text(policy, "reason"), to);
}

static int put_yaml(const json_t *root, const struct output *output, struct buf *to)
{
	size_t i;
	json_t *policy;
	(void)output;
	buf_printf(to, "policies:%s\n",
	        json_array_size(json_object_get(root, "policies")) ? "" : " []");
	json_array_foreach(json_object_get(root, "policies"), i, policy)
	        yaml_put_policy(policy, to);
	return 0;
}

static const struct text_column list_columns[] = {
	{ "policy", TEXT_LEFT, 0, false },
	{ "priority", TEXT_RIGHT, 0, false },
	{ "detail", TEXT_RIGHT, 0, false },
	{ "10m", TEXT_RIGHT, 0, false },
	{ "1h", TEXT_RIGHT, 0, false },
	{ "1d", TEXT_RIGHT, 0, false },
	{ "series", TEXT_RIGHT, 0, false },
	{ "bytes", TEXT_RIGHT, 0, false },
	{ "selector", TEXT_LEFT, 0, true },
	{ "reason", TEXT_LEFT, 0, true },
};

static void list_put_row(const json_t *root, const json_t *policy, struct text_table *table)
{
	const json_t *tiers = json_object_get(policy, "tiers");
	const char *name = json_reply_text(policy, "name");
	text_table_put(table, name);
	text_table_printf(table, "%llu", (unsigned long long)json_reply_u64(policy, "priority"));
	for (size_t i = 0; i < COUNT_OF(retention_tiers); i++)
		text_table_put(table, json_reply_text(tiers, retention_tiers[i]));
	text_table_put(table, units_count(list_covers(root, name, "series")).text);
	text_table_put(table, units_bytes(list_covers(root, name, "bytes")).text);
	text_table_put(table, json_reply_text(policy, "selector"));
	text_table_put(table, json_reply_text(policy, "reason"));
}

static int list_compare(const void *a, const void *b)
{
	const json_t *left = *(json_t *const *)a, *right = *(json_t *const *)b;
	uint64_t of_left = json_reply_u64(left, "priority"),
	         of_right = json_reply_u64(right, "priority");
	if (of_left != of_right)
		return of_left < of_right ? 1 : -1;
	return strcmp(json_reply_text(left, "name"), json_reply_text(right, "name"));
}

/* Floors and ceilings of an object; `of` says whose, or "". */
static void list_put_limits(const json_t *object, const char *of, struct buf *to)
{
	static const char *const limits[] = { "floor", "ceiling" };
	for (size_t i = 0; i < COUNT_OF(limits); i++) {
		const char *key;
		json_t *value;
		json_object_foreach(json_object_get(object, limits[i]), key, value)
		{
			buf_printf(to, "the server's %s of %s is %s", limits[i], key,
			        json_string_value(value));
			if (*of) {
				buf_printf(to, " for tenant ");
				text_put_safe(to, of);
			}
			buf_put_u8(to, '\n');
		}
	}
}

static void list_put_notes(const json_t *root, size_t count, struct buf *to)
{
	size_t i;
	json_t *tenant;
	char time[48];
	uint64_t nobodys = list_covers(root, "none", "bytes");
	if (count == 0)
		buf_printf(to, "no policies: everything is kept for ever\n");
	else if (nobodys > 0)
		buf_printf(to, "\n%s match no policy and are kept for ever\n",
		        units_bytes(nobodys).text);
	list_put_limits(root, "", to);
	json_array_foreach(json_object_get(root, "tenant_limits"), i, tenant)
	        list_put_limits(tenant, json_reply_text(tenant, "tenant"), to);
	if (json_reply_u64(root, "in_force_ns") > 0)
		buf_printf(to,
		        "what was made shorter lately is in force from %s on (grace); what it "
		        "was before still keeps\n",
		        admin_time(root, "in_force_ns", "", time));
}

static int put_list(const json_t *root, const struct output *output, struct buf *to)
{
	const json_t *policies = json_object_get(root, "policies");
	size_t count = json_array_size(policies);
	AUTO(text_table) table = text_table_new(list_columns, COUNT_OF(list_columns));
	autofree const json_t **sorted = calloc(count ? count : 1, sizeof(json_t *));
	if (!table || !sorted)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		sorted[i] = json_array_get(policies, i);
	qsort(sorted, count, sizeof(json_t *), list_compare);
	for (size_t i = 0; i < count; i++)
		list_put_row(root, sorted[i], table);
	if (count > 0)
		text_table_print(table, output->width, output->color, to);
	list_put_notes(root, count, to);
	return 0;
}

static int cmd_retention_list_run(void *opaque, const struct option_args *words)
{
	const struct retention_list_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	const char *format = list_formats[args->format];
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	(void)words;
	struct json_writer json = admin_body_begin(&body);
	admin_body_end(&json);
	if (strcmp(format, "table") != 0)
		output.width = 0;
	int code = admin_ask(&args->shared, "retention.list", &body, &reply);
	return code ? code
	            : admin_deliver(&reply, strcmp(format, "json") == 0, &output,
	                      strcmp(format, "yaml") == 0 ? put_yaml : put_list, EXIT_CODE_OK);
}

const struct command cmd_retention_list = {
	.name = "list",
	.table = &list_table,
	.args_size = sizeof(struct retention_list_args),
	.run = cmd_retention_list_run,
};

static const char *const get_formats[] = { "yaml", "json", NULL };

static const struct option_spec get_options[] = {
	{ .name = "output",
	        .short_name = 'o',
	        .kind = OPTION_ENUM,
	        .offset = offsetof(struct retention_list_args, format),
	        .fallback = "yaml",
	        .choices = get_formats,
	        .help = "the form of the answer" },
	OUT_OPTION(retention_list_args),
	SHARED_OPTIONS(retention_list_args),
	{ 0 },
};

static const struct option_table get_table = {
	.program = "profleet retention get",
	.summary = "print one policy, ready to be edited and set",
	.usage = "NAME [options]",
	.description = "Prints a policy as `profleet retention set -f` reads it.",
	.examples = "profleet retention get cart > cart.yaml\n"
	            "profleet retention set -f cart.yaml\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = get_options,
	.args_min = 1,
	.args_max = 1,
};

static int cmd_retention_get_run(void *opaque, const struct option_args *words)
{
	const struct retention_list_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	struct json_writer json = admin_body_begin(&body);
	json_key_text(&json, "name", words->items[0]);
	admin_body_end(&json);
	output.width = 0; /* YAML is for files */
	int code = admin_ask(&args->shared, "retention.get", &body, &reply);
	return code ? code
	            : admin_deliver(&reply, args->format == 1, &output, put_yaml, EXIT_CODE_OK);
}

const struct command cmd_retention_get = {
	.name = "get",
	.table = &get_table,
	.args_size = sizeof(struct retention_list_args),
	.run = cmd_retention_get_run,
};

/* ---- changing them ---- */

struct retention_set_args {
	struct shared_args shared;
	char *file;
	bool yes;
	bool now;
	char *confirm;
	uint32_t format;
	char *out;
};

static const char *const set_formats[] = { "table", "json", NULL };

#define SET_OPTIONS                                                                                \
	{ .name = "yes",                                                                           \
		.kind = OPTION_FLAG,                                                               \
		.offset = offsetof(struct retention_set_args, yes),                                \
		.help = "do it although bytes will be lost by it" },                               \
	        { .name = "now",                                                                   \
		        .kind = OPTION_FLAG,                                                       \
		        .offset = offsetof(struct retention_set_args, now),                        \
		        .help = "in force at once, without the grace; needs --yes, and --confirm " \
		                "where something goes by it" },                                    \
	        { .name = "confirm",                                                               \
		        .kind = OPTION_TEXT,                                                       \
		        .offset = offsetof(struct retention_set_args, confirm),                    \
		        .value_name = "N",                                                         \
		        .help = "with --now: the number of windows that go, as it was said" },     \
	        FORMAT_OPTION(retention_set_args, set_formats), OUT_OPTION(retention_set_args),    \
	        SHARED_OPTIONS(retention_set_args),                                                \
	{                                                                                          \
		0                                                                                  \
	}

static const struct option_spec set_options[] = {
	{ .name = "file",
	        .short_name = 'f',
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct retention_set_args, file),
	        .value_name = "FILE",
	        .required = true,
	        .help = "policies in YAML or JSON; - is standard input" },
	SET_OPTIONS,
};

static const struct option_table set_table = {
	.program = "profleet retention set",
	.summary = "put policies into force, by a file",
	.usage = "-f FILE [--yes] [options]",
	.description =
	        "Checks every policy of the file, shows what changes, and puts them in place of "
	        "their namesakes; others stay. Where bytes would be lost within 30 days by it, "
	        "nothing is changed without --yes: look at `profleet retention plan -f FILE` "
	        "first.\n\n"
	        "What becomes longer is in force at once, what becomes shorter after a grace (the "
	        "aggregator's --retention-grace, a day unless set otherwise), unless --now says "
	        "so.",
	.examples = "profleet retention set -f policies.yaml\n"
	            "profleet retention set -f policies.yaml --yes\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = set_options,
};

static void set_put_side(const char *mark, const json_t *policy, struct buf *to)
{
	const json_t *tiers = json_object_get(policy, "tiers");
	buf_printf(to, "  %s ", mark);
	text_put_safe(to, json_reply_text(policy, "selector"));
	buf_printf(to, "  priority %llu ", (unsigned long long)json_reply_u64(policy, "priority"));
	for (size_t i = 0; i < COUNT_OF(retention_tiers); i++)
		buf_printf(to, " %s %s", retention_tiers[i],
		        json_reply_text(tiers, retention_tiers[i]));
	buf_put_u8(to, '\n');
}

static int put_set(const json_t *root, const struct output *output, struct buf *to)
{
	size_t i, changed = 0;
	json_t *change;
	char time[48];
	(void)output;
	json_array_foreach(json_object_get(root, "changes"), i, change)
	{
		const char *word = json_reply_text(change, "change");
		if (strcmp(word, "same") == 0)
			continue;
		changed++;
		text_put_safe(to, json_reply_text(change, "name"));
		buf_printf(to, ": %s\n", word);
		if (json_object_get(change, "before"))
			set_put_side("-", json_object_get(change, "before"), to);
		if (json_object_get(change, "after"))
			set_put_side("+", json_object_get(change, "after"), to);
	}
	if (changed == 0)
		buf_printf(to, "nothing changes\n");
	uint64_t lost = json_reply_u64(root, "bytes_lost_30d");
	if (lost > 0)
		buf_printf(to, "%s would go by it: %s now, the rest within 30 days\n",
		        units_bytes(lost).text,
		        units_bytes(json_reply_u64(root, "bytes_lost_now")).text);
	if (json_is_true(json_object_get(root, "applied")))
		buf_printf(to, "set; what became shorter is in force from %s on\n",
		        admin_time(root, "in_force_ns", "now", time));
	return 0;
}

static int set_finish(
        const struct retention_set_args *args, const char *method, const struct buf *body)
{
	struct output output = output_of(&args->shared, args->out);
	struct json_reply reply;
	int code = admin_ask(&args->shared, method, body, &reply);
	if (code)
		return code;
	bool needs_yes = json_is_true(json_object_get(reply.root, "needs_yes"));
	bool needs_confirm = json_is_true(json_object_get(reply.root, "needs_confirm"));
	uint64_t windows = json_reply_u64(reply.root, "windows_now");
	code = admin_deliver(&reply, args->format == 1, &output, put_set, EXIT_CODE_OK);
	if (code == EXIT_CODE_OK && needs_confirm)
		return complain(EXIT_CODE_USAGE,
		        "nothing was changed: parts of %llu windows would go at once; if that is "
		        "what is meant, add --yes --confirm %llu",
		        (unsigned long long)windows, (unsigned long long)windows);
	if (code == EXIT_CODE_OK && needs_yes)
		return complain(EXIT_CODE_USAGE,
		        "nothing was changed: add --yes if that is what is meant, or look at "
		        "`profleet retention plan`");
	return code;
}

static int cmd_retention_set_run(void *opaque, const struct option_args *words)
{
	const struct retention_set_args *args = opaque;
	AUTO_BUF body = { 0 };
	(void)words;
	struct json_writer json = admin_body_begin(&body);
	int code = admin_body_file(&json, args->file);
	if (code)
		return code;
	json_key_bool(&json, "yes", args->yes);
	json_key_bool(&json, "now", args->now);
	if (args->confirm)
		json_key_text(&json, "confirm", args->confirm);
	admin_body_end(&json);
	return set_finish(args, "retention.set", &body);
}

const struct command cmd_retention_set = {
	.name = "set",
	.table = &set_table,
	.args_size = sizeof(struct retention_set_args),
	.run = cmd_retention_set_run,
};

static const struct option_spec delete_options[] = { SET_OPTIONS };

static const struct option_table delete_table = {
	.program = "profleet retention delete",
	.summary = "remove a policy",
	.usage = "NAME [--yes] [options]",
	.description =
	        "Removes a policy: what it decided over falls to the next one that matches, or is "
	        "kept for ever where none does. Where bytes would be lost by it, nothing is "
	        "changed without --yes.",
	.examples = "profleet retention delete scratch\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = delete_options,
	.args_min = 1,
	.args_max = 1,
};

static int cmd_retention_delete_run(void *opaque, const struct option_args *words)
{
	const struct retention_set_args *args = opaque;
	AUTO_BUF body = { 0 };
	struct json_writer json = admin_body_begin(&body);
	json_key_text(&json, "name", words->items[0]);
	json_key_bool(&json, "yes", args->yes);
	json_key_bool(&json, "now", args->now);
	if (args->confirm)
		json_key_text(&json, "confirm", args->confirm);
	admin_body_end(&json);
	return set_finish(args, "retention.delete", &body);
}

const struct command cmd_retention_delete = {
	.name = "delete",
	.table = &delete_table,
	.args_size = sizeof(struct retention_set_args),
	.run = cmd_retention_delete_run,
};
