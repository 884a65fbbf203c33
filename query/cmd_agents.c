/*
 * agents: who reports, at which rate, how far behind, and what was lost on the way. An agent that
 * has been silent for longer than a few intervals is marked.
 */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/clock.h"
#include "query/agents.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/json_reply.h"
#include "query/output.h"
#include "query/report.h"
#include "query/rows.h"
#include "query/text.h"
#include "query/units.h"

struct agents_args {
	struct shared_args shared;
	uint32_t limit;
	uint32_t format;
	char *out;
};

static const char *const agents_formats[] = { "table", "wide", "json", "csv", NULL };

static const struct option_spec agents_options[] = {
	LIMIT_OPTION(agents_args, "0", "how many agents"),
	FORMAT_OPTION(agents_args, agents_formats),
	OUT_OPTION(agents_args),
	SHARED_OPTIONS(agents_args),
	{ 0 },
};

static const struct option_table agents_table = {
	.program = "profleet agents",
	.summary = "show who reports, how fast, and what was lost",
	.usage = "[options]",
	.description = "A line per agent: its true sampling rate, how old its newest interval is "
	               "(lag), the "
	               "samples its kernel took, those made durable here, those waiting in its "
	               "spool and those "
	               "lost, with the reasons, and what the agent itself costs. An agent that has "
	               "been silent "
	               "for more than a minute is marked.",
	.examples = "profleet agents\nprofleet agents -o json\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = agents_options,
};

uint64_t agents_lost(const json_t *agent, struct buf *reasons)
{
	uint64_t sum = 0;
	const char *key, *gap = "";
	json_t *value;
	json_object_foreach(json_object_get(agent, "lost"), key, value)
	{
		json_int_t count = json_integer_value(value);
		if (count <= 0)
			continue;
		sum += (uint64_t)count;
		if (!reasons)
			continue;
		buf_printf(reasons, "%s%s %s", gap, key, units_count((uint64_t)count).text);
		gap = ", ";
	}
	return sum;
}

static int agents_put_table(
        const json_t *list, size_t shown, const struct output *output, bool wide, struct buf *to)
{
	static const struct text_column columns[] = {
		{ "host", TEXT_LEFT, 0, false },
		{ "hz", TEXT_RIGHT, 0, false },
		{ "lag", TEXT_RIGHT, 0, false },
		{ "", TEXT_LEFT, 0, false },
		{ "taken", TEXT_RIGHT, 0, false },
		{ "sent", TEXT_RIGHT, 0, false },
		{ "spool", TEXT_RIGHT, 0, false },
		{ "lost", TEXT_RIGHT, 0, false },
		{ "cpu", TEXT_RIGHT, 0, false },
		{ "rss", TEXT_RIGHT, 0, false },
		{ "program", TEXT_LEFT, 0, false },
		{ "reasons", TEXT_LEFT, 0, true },
		{ "uuid", TEXT_LEFT, 0, false },
	};
	/* Only `wide` has the uuid, which is the last. */
	AUTO(text_table) table = text_table_new(
	        columns, (uint32_t)COUNT_OF(columns) - (wide ? 0 : 1));
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < shown; i++) {
		const json_t *agent = json_array_get(list, i);
		AUTO_BUF reasons = { 0 };
		uint64_t lost = agents_lost(agent, &reasons);
		bool silent = json_reply_u64(agent, "lag_ns") > AGENTS_SILENT_NS;
		buf_put_u8(&reasons, '\0');
		text_table_put(table, json_reply_text(agent, "host"));
		text_table_printf(table, "%.1f", json_reply_double(agent, "hz"));
		text_table_put(table, units_duration(json_reply_u64(agent, "lag_ns")).text);
		text_table_put(table, silent ? "silent" : "");
		text_table_color(table, "31");
		text_table_put(table, units_count(json_reply_u64(agent, "samples_taken")).text);
		text_table_put(table, units_count(json_reply_u64(agent, "samples_sent")).text);
		text_table_put(table, units_count(json_reply_u64(agent, "spool_samples")).text);
		text_table_put(table, units_count(lost).text);
		text_table_put(table, units_duration(json_reply_u64(agent, "cpu_ns")).text);
		text_table_put(table, units_bytes(json_reply_u64(agent, "rss_bytes")).text);
		text_table_put(table, json_reply_text(agent, "program"));
		text_table_put(table, reasons.failed ? "" : (const char *)reasons.bytes);
		if (wide)
			text_table_put(table, json_reply_text(agent, "uuid"));
	}
	text_table_print(table, wide ? 0 : output->width, output->color, to);
	size_t count = json_array_size(list);
	report_put_shown(shown, count, count == 1 ? "agent" : "agents", to);
	return 0;
}

static void agents_put_csv(const json_t *list, size_t shown, struct buf *to)
{
	static const char *const texts[] = { "uuid", "host", "program", "tenant", "role" };
	static const char *const numbers[] = { "first_seen_ns", "last_seen_ns", "lag_ns",
		"samples_taken", "samples_sent", "spool_samples", "cpu_ns", "rss_bytes" };
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		buf_printf(to, "%s,", texts[i]);
	buf_printf(to, "hz");
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		buf_printf(to, ",%s", numbers[i]);
	buf_printf(to, ",lost\n");
	for (size_t row = 0; row < shown; row++) {
		const json_t *agent = json_array_get(list, row);
		for (size_t i = 0; i < COUNT_OF(texts); i++) {
			text_put_csv(to, json_reply_text(agent, texts[i]));
			buf_put_u8(to, ',');
		}
		buf_printf(to, "%.3f", json_reply_double(agent, "hz"));
		for (size_t i = 0; i < COUNT_OF(numbers); i++)
			buf_printf(
			        to, ",%llu", (unsigned long long)json_reply_u64(agent, numbers[i]));
		buf_printf(to, ",%llu\n", (unsigned long long)agents_lost(agent, NULL));
	}
}

static int cmd_agents_run(void *opaque, const struct option_args *words)
{
	(void)words;
	const struct agents_args *args = opaque;
	enum output_format format = output_format_of(agents_formats[args->format]);
	struct output output = output_of(&args->shared, args->out);
	AUTO(client) client = NULL;
	AUTO_BUF text = { 0 };
	struct json_reply reply;

	int code = client_open(&args->shared, &client);
	if (code == 0)
		code = json_reply_ask(
		        client, &(struct wire_query){ .question = WIRE_ASK_AGENTS }, &reply);
	if (code)
		return code;

	const json_t *list = json_object_get(reply.root, "agents");
	size_t count = json_array_size(list);
	size_t shown = args->limit && args->limit < count ? args->limit : count;
	int result = 0;
	if (format == FORMAT_JSON)
		result = json_reply_print(&reply, &text);
	else if (format == FORMAT_CSV)
		agents_put_csv(list, shown, &text);
	else
		result = agents_put_table(list, shown, &output, format == FORMAT_WIDE, &text);
	json_reply_fini(&reply);
	if (result < 0)
		return rows_explain(result);
	code = output_deliver(&output, &text, EXIT_CODE_OK);
	if (code == EXIT_CODE_OK && count == 0)
		return complain(EXIT_CODE_NO_DATA,
		        "no agent has reported to %s yet; start one with: profleet-agent "
		        "--aggregator %s",
		        client_address(client), client_address(client));
	return code;
}

const struct command cmd_agents = {
	.name = "agents",
	.table = &agents_table,
	.args_size = sizeof(struct agents_args),
	.run = cmd_agents_run,
};
