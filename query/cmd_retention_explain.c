/* retention explain: which policy decides over some series, why the others do not, and what becomes
 * of them when. */

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

struct retention_explain_args {
	struct shared_args shared;
	struct option_time at;
	uint32_t format;
	char *out;
};

static const char *const explain_formats[] = { "table", "json", NULL };

static const struct option_spec explain_options[] = {
	{ .name = "at",
	        .kind = OPTION_TIME,
	        .offset = offsetof(struct retention_explain_args, at),
	        .value_name = "TIME",
	        .help = "what becomes of a window that ended then; now where not given" },
	FORMAT_OPTION(retention_explain_args, explain_formats),
	OUT_OPTION(retention_explain_args),
	SHARED_OPTIONS(retention_explain_args),
	{ 0 },
};

static const struct option_table explain_table = {
	.program = "profleet retention explain",
	.summary = "say which policy decides over series, why, and what goes when",
	.usage = "SELECTOR [--at TIME] [options]",
	.description =
	        "Groups the series of the selector by what becomes of them, and says for each "
	        "group: the tiers, whose they are, clamps of the server, which tier is left of a "
	        "window that ended at --at, when the next one goes and when everything is erased, "
	        "what holds it, and every policy with the reason why it won or lost. A selector "
	        "with = alone is explained even when no series has come yet.",
	.examples = "profleet retention explain 'cpu{service=\"cart\"}'\n"
	            "profleet retention explain 'cpu{service=\"cart\"}' --at now-8d\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = explain_options,
	.args_min = 1,
	.args_max = 1,
};

static void explain_put_tiers(const json_t *group, struct buf *to)
{
	size_t count = json_array_size(json_object_get(group, "tiers"));
	char time[48];
	/* The reply has the coarsest first. */
	for (size_t i = count; i-- > 0;) {
		const json_t *tier = json_array_get(json_object_get(group, "tiers"), i);
		const char *clamp = json_reply_text(tier, "clamp");
		buf_printf(to, "  %-6s  %-8s by %s%s%s%s, %s%s\n", json_reply_text(tier, "tier"),
		        json_reply_text(tier, "keep"), json_reply_text(tier, "policy"),
		        *clamp ? " (the server's " : "", clamp, *clamp ? ")" : "",
		        json_reply_u64(tier, "until_ns") ? "until " : "",
		        admin_time(tier, "until_ns", "for ever", time));
	}
}

static void explain_put_holds(const json_t *group, struct buf *to)
{
	size_t i;
	json_t *id;
	const json_t *holds = json_object_get(group, "holds");
	size_t count = json_array_size(holds);
	json_array_foreach(holds, i, id)
	        buf_printf(to, "%s%s", i ? ", " : "  held by ", json_string_value(id));
	if (count > 0)
		buf_printf(to, ": nothing goes until %s released\n",
		        count == 1 ? "it is" : "all of them are");
}

static void explain_put_group(const json_t *group, struct buf *to)
{
	size_t i;
	json_t *policy;
	char time[48], more[48];
	uint64_t series = json_reply_u64(group, "series");
	const char *tenant = json_reply_text(group, "tenant");
	text_put_safe(to, json_reply_text(group, "example"));
	if (*tenant) {
		buf_printf(to, "  tenant ");
		text_put_safe(to, tenant);
	}
	if (series == 0)
		buf_printf(to, "  (no such series yet)\n");
	else
		buf_printf(to, "  and alike: %s series, %s .. %s\n", units_count(series).text,
		        admin_time(group, "oldest_ns", "", time),
		        admin_time(group, "newest_ns", "", more));
	explain_put_tiers(group, to);
	buf_printf(to, "  left now: %s; next change %s; erased %s\n",
	        json_reply_text(group, "left"), admin_time(group, "next_ns", "never", time),
	        admin_time(group, "erased_ns", "never", more));
	explain_put_holds(group, to);
	if (json_is_true(json_object_get(group, "in_grace")))
		buf_printf(to, "  a shorter policy is not in force yet (grace): times above are "
		               "those in force\n");
	json_array_foreach(json_object_get(group, "policies"), i, policy)
	{
		buf_printf(to, "    %s: ", json_reply_text(policy, "name"));
		text_put_safe(to, json_reply_text(policy, "why"));
		buf_put_u8(to, '\n');
	}
}

static int put_explain(const json_t *root, const struct output *output, struct buf *to)
{
	size_t i;
	json_t *group;
	char time[48];
	uint64_t left_out = json_reply_u64(root, "series_left_out");
	(void)output;
	buf_printf(to, "of a window that ended at %s\n", admin_time(root, "at_ns", "now", time));
	json_array_foreach(json_object_get(root, "groups"), i, group)
	{
		buf_put_u8(to, '\n');
		explain_put_group(group, to);
	}
	if (left_out > 0)
		buf_printf(to, "\n%s series of further groups not shown; narrow the selector\n",
		        units_count(left_out).text);
	return 0;
}

static int cmd_retention_explain_run(void *opaque, const struct option_args *words)
{
	const struct retention_explain_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	AUTO_BUF body = { 0 };
	struct json_reply reply;
	struct json_writer json = admin_body_begin(&body);
	json_key_text(&json, "selector", words->items[0]);
	int code = admin_body_time(&json, "at_ns", "--at", &args->at);
	admin_body_end(&json);
	if (code == 0)
		code = admin_ask(&args->shared, "retention.explain", &body, &reply);
	if (code)
		return code;
	bool is_empty = json_array_size(json_object_get(reply.root, "groups")) == 0;
	code = admin_deliver(&reply, args->format == 1, &output, put_explain, EXIT_CODE_OK);
	if (code == EXIT_CODE_OK && is_empty)
		return complain(EXIT_CODE_NO_DATA, "%s: no sealed series matches", words->items[0]);
	return code;
}

const struct command cmd_retention_explain = {
	.name = "explain",
	.table = &explain_table,
	.args_size = sizeof(struct retention_explain_args),
	.run = cmd_retention_explain_run,
};
