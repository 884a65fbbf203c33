/* retention plan and apply: what would go, and letting exactly that go. */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile/retention.h"
#include "query/admin.h"
#include "query/complain.h"
#include "query/output.h"
#include "query/retention_verbs.h"
#include "query/rows.h"
#include "query/text.h"
#include "query/units.h"

struct retention_plan_args {
	struct shared_args shared;
	char *file;
	uint64_t horizon_ns;
	bool exit_code;
	uint32_t limit;
	uint32_t format;
	char *out;
};

static const char *const plan_formats[] = { "table", "json", NULL };

static const struct option_spec plan_options[] = {
	{ .name = "file",
	        .short_name = 'f',
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct retention_plan_args, file),
	        .value_name = "FILE",
	        .help = "as if the policies of this file were set; - is standard input" },
	{ .name = "horizon",
	        .kind = OPTION_DURATION,
	        .offset = offsetof(struct retention_plan_args, horizon_ns),
	        .fallback = "30d",
	        .value_name = "DURATION",
	        .help = "how far to look ahead" },
	{ .name = "exit-code",
	        .kind = OPTION_FLAG,
	        .offset = offsetof(struct retention_plan_args, exit_code),
	        .help = "exit with 1 when something would go now" },
	LIMIT_OPTION(retention_plan_args, "50", "how many rows"),
	FORMAT_OPTION(retention_plan_args, plan_formats),
	OUT_OPTION(retention_plan_args),
	SHARED_OPTIONS(retention_plan_args),
	{ 0 },
};

static const struct option_table plan_table = {
	.program = "profleet retention plan",
	.summary = "show what policies would remove, in bytes and in what cannot be asked any more",
	.usage = "[-f FILE] [--horizon DURATION] [options]",
	.description =
	        "Evaluates the policies, or those of a file over them, for everything the store "
	        "holds, and changes nothing. A row per policy, service and tier: windows, rows and "
	        "bytes that go now, what follows within the horizon, the series, and the oldest "
	        "and newest moment of both. Below it, service by service, what comparisons can no "
	        "longer say, "
	        "and from when on back.\n\n"
	        "Sums go only when a coarser window has what they have; until then they are "
	        "counted as waiting for their rollup.\n\n"
	        "The plan has an id, a digest of the policies and of every part it names. "
	        "`profleet retention apply --plan ID --yes` does exactly that, and refuses when "
	        "policies or data have changed. A plan is good for an hour.",
	.examples = "profleet retention plan\n"
	            "profleet retention plan -f policies.yaml --horizon 90d\n"
	            "profleet retention plan --exit-code -o json > plan.json\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = plan_options,
};

static const struct text_column plan_columns[] = {
	{ "policy", TEXT_LEFT, 0, false },
	{ "service", TEXT_LEFT, 0, true },
	{ "tier", TEXT_LEFT, 0, false },
	{ "windows", TEXT_RIGHT, 0, false },
	{ "series", TEXT_RIGHT, 0, false },
	{ "rows", TEXT_RIGHT, 0, false },
	{ "bytes now", TEXT_RIGHT, 0, false },
	{ "bytes later", TEXT_RIGHT, 0, false },
	{ "oldest", TEXT_LEFT, 0, false },
	{ "newest", TEXT_LEFT, 0, false },
};

void retention_put_service(const json_t *row, struct text_table *table)
{
	const char *tenant = json_reply_text(row, "tenant");
	const char *service = json_reply_text(row, "service");
	text_table_printf(
	        table, "%s%s%s", tenant, *tenant ? "/" : "", *service ? service : "(none)");
}

static int plan_put_rows(const json_t *root, const struct output *output, struct buf *to)
{
	const json_t *rows = json_object_get(root, "rows");
	size_t shown = json_array_size(rows);
	uint64_t count = json_reply_u64(root, "rows_count");
	char time[48];
	AUTO(text_table) table = text_table_new(plan_columns, COUNT_OF(plan_columns));
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < shown; i++) {
		const json_t *row = json_array_get(rows, i);
		text_table_put(table, json_reply_text(row, "policy"));
		retention_put_service(row, table);
		text_table_put(table, json_reply_text(row, "tier"));
		text_table_put(table, units_count(json_reply_u64(row, "windows_now")).text);
		text_table_put(table, units_count(json_reply_u64(row, "series")).text);
		text_table_put(table, units_count(json_reply_u64(row, "rows_now")).text);
		text_table_put(table, units_bytes(json_reply_u64(row, "bytes_now")).text);
		text_table_put(table, units_bytes(json_reply_u64(row, "bytes_later")).text);
		text_table_put(table, admin_time(row, "oldest_ns", "", time));
		text_table_put(table, admin_time(row, "newest_ns", "", time));
	}
	if (shown > 0)
		text_table_print(table, output->width, output->color, to);
	if (shown < count)
		buf_printf(to,
		        "%s of %s rows shown, the greatest, and what of them can no longer be "
		        "compared; --limit N shows more\n",
		        units_count(shown).text, units_count(count).text);
	return 0;
}

static bool plan_is_of(const json_t *one, const json_t *other, const char *key)
{
	return strcmp(json_reply_text(one, key), json_reply_text(other, key)) == 0;
}

/* Does another policy decide over other series of the service? Then a line says whose it is. */
static bool plan_has_others(const json_t *list, const json_t *one)
{
	size_t i;
	json_t *other;
	json_array_foreach(list, i, other) if (plan_is_of(one, other, "service") &&
	                                       plan_is_of(one, other, "tenant") &&
	                                       !plan_is_of(one, other, "policy")) return true;
	return false;
}

static void plan_put_comparisons(const json_t *root, struct buf *to)
{
	size_t i;
	json_t *one;
	char time[48];
	const json_t *list = json_object_get(root, "comparisons");
	if (json_array_size(list) > 0)
		buf_printf(to, "\nwhat can no longer be compared:\n");
	json_array_foreach(list, i, one)
	{
		bool is_now = json_reply_u64(one, "before_ns") > 0;
		const char *service = json_reply_text(one, "service");
		const char *tenant = json_reply_text(one, "tenant");
		buf_printf(to, "  ");
		text_put_safe(to, tenant);
		buf_printf(to, "%s", *tenant ? "/" : "");
		text_put_safe(to, *service ? service : "(none)");
		if (plan_has_others(list, one))
			buf_printf(to, ", what policy %s decides over,",
			        json_reply_text(one, "policy"));
		buf_printf(to, " before %s%s: %s\n",
		        admin_time(one, is_now ? "before_ns" : "before_later_ns", "", time),
		        is_now ? "" : " (within the horizon)", json_reply_text(one, "loss"));
	}
}

static void plan_put_totals(const json_t *root, struct buf *to)
{
	static const struct {
		const char *key, *words;
	} notes[] = {
		{ "bytes_held", "protected by holds" },
		{ "bytes_waiting_for_rollup", "expired sums that wait for their rollup" },
		{ "bytes_mixed", "detail that several policies share, until it is parted" },
		{ "bytes_hidden", "hidden already, to be erased" },
	};
	uint64_t now = json_reply_u64(root, "bytes_now");
	uint64_t visible = json_reply_u64(root, "bytes_visible");
	AUTO_BUF horizon = { 0 };
	retention_put_keep(&horizon, json_reply_u64(root, "horizon_ns"));
	buf_printf(to,
	        "\n%s of %s sealed (%s) would go now, in %s windows and %s rows; %s more within "
	        "%.*s\n",
	        units_bytes(now).text, units_bytes(visible).text, units_percent(now, visible).text,
	        units_count(json_reply_u64(root, "windows_now")).text,
	        units_count(json_reply_u64(root, "rows_now")).text,
	        units_bytes(json_reply_u64(root, "bytes_later")).text, (int)horizon.count,
	        (const char *)horizon.bytes);
	for (size_t i = 0; i < COUNT_OF(notes); i++)
		if (json_reply_u64(root, notes[i].key) > 0)
			buf_printf(to, "%s %s\n",
			        units_bytes(json_reply_u64(root, notes[i].key)).text,
			        notes[i].words);
	if (json_reply_u64(root, "units_unreadable") > 0)
		buf_printf(to, "%s units cannot be read and are kept\n",
		        units_count(json_reply_u64(root, "units_unreadable")).text);
}

static int plan_put(const json_t *root, const struct output *output, struct buf *to)
{
	const char *why = json_reply_text(root, "needs_confirm");
	int r = plan_put_rows(root, output, to);
	if (r < 0)
		return r;
	plan_put_comparisons(root, to);
	plan_put_totals(root, to);
	if (*why)
		buf_printf(to, "safety stop: %s\n", why);
	buf_printf(to, "\nplan %s; to do it:\n  profleet retention apply --plan %s --yes",
	        json_reply_text(root, "plan"), json_reply_text(root, "plan"));
	if (*why)
		buf_printf(to, " --confirm %llu",
		        (unsigned long long)json_reply_u64(root, "windows_now"));
	buf_put_u8(to, '\n');
	return 0;
}

static int cmd_retention_plan_run(void *opaque, const struct option_args *words)
{
	const struct retention_plan_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	(void)words;
	struct json_writer json = admin_body_begin(&body);
	json_key_u64(&json, "horizon_ns", args->horizon_ns);
	if (args->format == 0)
		json_key_u64(&json, "limit", args->limit);
	int code = args->file ? admin_body_file(&json, args->file) : 0;
	admin_body_end(&json);
	if (code == 0)
		code = admin_ask(&args->shared, "retention.plan", &body, &reply);
	if (code)
		return code;
	bool deletes = json_reply_u64(reply.root, "bytes_now") > 0;
	return admin_deliver(&reply, args->format == 1, &output, plan_put,
	        args->exit_code && deletes ? EXIT_CODE_GATE : EXIT_CODE_OK);
}

const struct command cmd_retention_plan = {
	.name = "plan",
	.table = &plan_table,
	.args_size = sizeof(struct retention_plan_args),
	.run = cmd_retention_plan_run,
};

/* ---- apply ---- */

struct retention_apply_args {
	struct shared_args shared;
	char *plan;
	bool yes;
	char *confirm;
	uint32_t format;
	char *out;
};

static const struct option_spec apply_options[] = {
	{ .name = "plan",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct retention_apply_args, plan),
	        .value_name = "ID",
	        .required = true,
	        .help = "the plan, as `profleet retention plan` printed it" },
	{ .name = "yes",
	        .kind = OPTION_FLAG,
	        .offset = offsetof(struct retention_apply_args, yes),
	        .help = "do it" },
	{ .name = "confirm",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct retention_apply_args, confirm),
	        .value_name = "N",
	        .help = "the number of windows in the plan: a second word where a safety stop asks "
	                "for one" },
	FORMAT_OPTION(retention_apply_args, plan_formats),
	OUT_OPTION(retention_apply_args),
	SHARED_OPTIONS(retention_apply_args),
	{ 0 },
};

static const struct option_table apply_table = {
	.program = "profleet retention apply",
	.summary = "do what a plan says",
	.usage = "--plan ID --yes [--confirm N] [options]",
	.description =
	        "Puts the plan's policies into force, if it was made of a file, and hides what it "
	        "names, at once and without the grace. It is erased after a delay (the "
	        "aggregator's --retention-delay), until which `profleet retention undo` brings it "
	        "back.\n\n"
	        "Refuses when the policies or what the plan names have changed since. A plan that "
	        "would remove more than a fifth of the bytes or half of a tenant's, or that "
	        "follows a clock that jumped by more than an hour, stops with 3 unless --confirm "
	        "has the number of its windows.",
	.examples = "profleet retention apply --plan 3f1c9a0b77e2d415 --yes\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = apply_options,
};

void retention_put_expired(const json_t *root, struct buf *to)
{
	/* A unit is one service and type of one window. */
	buf_printf(to,
	        "%s in %s rows; units of windows: %s of 10 minutes, %s of an hour, %s of a day",
	        units_bytes(json_reply_u64(root, "bytes")).text,
	        units_count(json_reply_u64(root, "rows")).text,
	        units_count(json_reply_u64(root, "units_10m")).text,
	        units_count(json_reply_u64(root, "units_1h")).text,
	        units_count(json_reply_u64(root, "units_1d")).text);
}

static int put_apply(const json_t *root, const struct output *output, struct buf *to)
{
	size_t i;
	json_t *run;
	char time[48];
	(void)output;
	if (json_array_size(json_object_get(root, "runs")) == 0) {
		buf_printf(to, "nothing to hide; the policies of the plan are in force\n");
		return 0;
	}
	buf_printf(to, "hidden: ");
	retention_put_expired(root, to);
	buf_printf(to, "\nerased after %s; until then it comes back by:\n",
	        admin_time(root, "erase_ns", "", time));
	json_array_foreach(json_object_get(root, "runs"), i, run) buf_printf(
	        to, "  profleet retention undo %lld\n", (long long)json_integer_value(run));
	return 0;
}

static int cmd_retention_apply_run(void *opaque, const struct option_args *words)
{
	const struct retention_apply_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	(void)words;
	if (!args->yes)
		return complain(EXIT_CODE_USAGE, "apply removes what the plan says; add --yes");
	struct json_writer json = admin_body_begin(&body);
	json_key_text(&json, "plan", args->plan);
	if (args->confirm)
		json_key_text(&json, "confirm", args->confirm);
	admin_body_end(&json);
	int code = admin_ask(&args->shared, "retention.apply", &body, &reply);
	return code ? code
	            : admin_deliver(&reply, args->format == 1, &output, put_apply, EXIT_CODE_OK);
}

const struct command cmd_retention_apply = {
	.name = "apply",
	.table = &apply_table,
	.args_size = sizeof(struct retention_apply_args),
	.run = cmd_retention_apply_run,
};
