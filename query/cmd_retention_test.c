/*
 * retention test: checks policies against examples, without a server, so that a repository with
 * policies can have a pipeline.
 */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/options.h"
#include "profile/retention_cases.h"
#include "query/complain.h"
#include "query/output.h"
#include "query/policy_file.h"
#include "query/retention_verbs.h"
#include "query/text.h"

struct retention_test_args {
	struct shared_args shared;
	char *file;
	char *policies;
	uint32_t format;
	char *out;
};

static const char *const retention_test_formats[] = { "table", "json", NULL };

static const struct option_spec retention_test_options[] = {
	{ .name = "file",
	        .short_name = 'f',
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct retention_test_args, file),
	        .value_name = "FILE",
	        .help = "the cases; - is standard input" },
	{ .name = "policies",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct retention_test_args, policies),
	        .value_name = "FILE",
	        .help = "the policies, instead of those that the cases name" },
	FORMAT_OPTION(retention_test_args, retention_test_formats),
	OUT_OPTION(retention_test_args),
	SHARED_OPTIONS(retention_test_args),
	{ 0 },
};

static const struct option_table retention_test_table = {
	.program = "profleet retention test",
	.summary = "check policies against examples, without a server",
	.usage = "CASES [--policies FILE] [options]",
	.description =
	        "Reads a file of cases and says for each whether the policies do what it expects: "
	        "which tier is left of a series after some time, which policy decides, which hold "
	        "protects. It asks no server: for policies that live in a repository.\n\n"
	        "\tpolicies_file: policies.yaml     # beside this file; or policies: [...] here\n"
	        "\tnow: 2026-01-01T00:00:00Z        # optional, for holds\n"
	        "\tfloor: detail=1d                 # optional, as the aggregator has it\n"
	        "\tceiling: \"400d; acme: 800d\"    # of one tenant, too\n"
	        "\tholds:                           # optional, as `hold list -o json` has them\n"
	        "\t  - { id: incident-7, selector: '{service=\"cart\"}', reason: incident }\n"
	        "\tcases:\n"
	        "\t  - name: a week of detail for cart\n"
	        "\t    labels: { service: cart, version: \"1.8\" }\n"
	        "\t    type: cpu                    # the default\n"
	        "\t    tenant: acme                 # optional\n"
	        "\t    age: 8d                      # since the window ended\n"
	        "\t    expect: 10m                  # detail, 10m, 1h, 1d or gone\n"
	        "\t    policy: cart                 # optional: which decides; or none\n"
	        "\t    hold: incident-7             # optional: what protects it; or none\n"
	        "\t    keep: { detail: 7d }         # optional: tiers after all clamps\n",
	.examples = "profleet retention test policies_test.yaml\n"
	            "profleet retention test policies_test.yaml --policies new.yaml -o json\n",
	.exit_codes = RETENTION_EXIT_CODES_TEXT,
	.options = retention_test_options,
	.args_max = 1,
};

/* FILE of policies_file is looked for beside the cases. */
static int retention_test_path(const char *cases, const char *named, char path[4096])
{
	const char *slash = strrchr(cases, '/');
	bool is_beside = *named != '/' && slash;
	int length = snprintf(
	        path, 4096, "%.*s%s", is_beside ? (int)(slash - cases) + 1 : 0, cases, named);
	if (length < 0 || length >= 4096)
		return complain(EXIT_CODE_USAGE, "%s: the name of the file is too long", named);
	return 0;
}

static int retention_test_load(
        const char *file, const char *policies, struct retention_cases **ret_cases)
{
	AUTO(retention_cases) cases = NULL;
	AUTO(retention_set) set = NULL;
	AUTO_BUF text = { 0 };
	AUTO_BUF policies_text = { 0 };
	char error[1024] = "", path[4096];
	int code = policy_file_read(file, &text);
	if (code)
		return code;
	int r = retention_cases_parse(
	        file, (const char *)text.bytes, text.count, &cases, error, sizeof(error));
	if (r < 0)
		return complain(EXIT_CODE_USAGE, "%s", *error ? error : strerrordesc_np(-r));

	const char *named = retention_cases_policies_file(cases);
	if (policies)
		snprintf(path, sizeof(path), "%s", policies);
	else if (named)
		code = retention_test_path(file, named, path);
	if (code == 0 && (policies || named))
		code = policy_file_read(path, &policies_text);
	if (code)
		return code;
	if (policies || named) {
		r = retention_parse(path, (const char *)policies_text.bytes, policies_text.count,
		        &set, error, sizeof(error));
		if (r < 0)
			return complain(
			        EXIT_CODE_USAGE, "%s", *error ? error : strerrordesc_np(-r));
		retention_cases_set(cases, TAKE(set));
	}
	*ret_cases = TAKE(cases);
	return 0;
}

static const struct text_column retention_test_columns[] = {
	{ "", TEXT_LEFT, 0, false },
	{ "case", TEXT_LEFT, 40, false },
	{ "series", TEXT_LEFT, 0, true },
	{ "age", TEXT_RIGHT, 0, false },
	{ "expected", TEXT_LEFT, 0, false },
	{ "left", TEXT_LEFT, 0, false },
	{ "policy", TEXT_LEFT, 0, false },
	{ "why", TEXT_LEFT, 0, false },
};

static void retention_test_put_row(
        const struct retention_case_result *result, struct text_table *table)
{
	char age[OPTION_NUMBER_BYTES_MAX];
	text_table_put(table, result->passed ? "ok" : "FAILED");
	text_table_color(table, result->passed ? "32" : "31");
	text_table_put(table, result->name);
	text_table_put(table, result->series);
	text_table_put(table, option_format_duration(result->age_ns, age));
	text_table_put(table, result->expected);
	text_table_put(table, result->got);
	text_table_put(table, result->policy);
	text_table_put(table, result->why);
}

static void retention_test_put_json(
        const struct retention_case_result *result, struct json_writer *json)
{
	json_object_begin(json);
	json_key_text(json, "name", result->name);
	json_key_text(json, "series", result->series);
	json_key_u64(json, "age_ns", result->age_ns);
	json_key_text(json, "expected", result->expected);
	json_key_text(json, "left", result->got);
	json_key_text(json, "policy", result->policy);
	json_key_bool(json, "passed", result->passed);
	if (!result->passed)
		json_key_text(json, "why", result->why);
	json_object_end(json);
}

static int retention_test_report(const struct retention_cases *cases, bool as_json,
        const struct output *output, struct buf *text, uint32_t *ret_failed)
{
	AUTO(text_table) table = text_table_new(
	        retention_test_columns, COUNT_OF(retention_test_columns));
	struct json_writer json = json_writer_of(text, true);
	uint32_t count = retention_cases_count(cases);
	if (!table)
		return -ENOMEM;
	if (as_json) {
		json_object_begin(&json);
		json_key_u64(&json, "schema_version", 1);
		json_key(&json, "cases");
		json_array_begin(&json);
	}
	for (uint32_t i = 0; i < count; i++) {
		struct retention_case_result result;
		int r = retention_cases_run(cases, i, &result);
		if (r < 0)
			return r;
		*ret_failed += !result.passed;
		if (as_json)
			retention_test_put_json(&result, &json);
		else
			retention_test_put_row(&result, table);
	}
	if (as_json) {
		json_array_end(&json);
		json_key_u64(&json, "failed", *ret_failed);
		json_object_end(&json);
		buf_put_u8(text, '\n');
		return 0;
	}
	text_table_print(table, output->width, output->color, text);
	if (*ret_failed > 0)
		buf_printf(text, "\n%u of %u cases failed\n", *ret_failed, count);
	else
		buf_printf(text, "\nall %u cases passed\n", count);
	return 0;
}

static int cmd_retention_test_run(void *opaque, const struct option_args *words)
{
	const struct retention_test_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	const char *file = args->file ? args->file : words->count ? words->items[0] : NULL;
	AUTO(retention_cases) cases = NULL;
	AUTO_BUF text = { 0 };
	uint32_t failed = 0;

	if (!file || (args->file && words->count))
		return complain(EXIT_CODE_USAGE, "%s",
		        file ? "two files of cases; write one, as -f CASES"
		             : "which cases? write -f CASES");
	int code = retention_test_load(file, args->policies, &cases);
	if (code)
		return code;
	bool as_json = strcmp(retention_test_formats[args->format], "json") == 0;
	int r = retention_test_report(cases, as_json, &output, &text, &failed);
	if (r < 0)
		return complain(EXIT_CODE_FAILED, "%s", strerrordesc_np(-r));
	return output_deliver(&output, &text, failed ? EXIT_CODE_GATE : EXIT_CODE_OK);
}

const struct command cmd_retention_test = {
	.name = "test",
	.table = &retention_test_table,
	.args_size = sizeof(struct retention_test_args),
	.run = cmd_retention_test_run,
};
