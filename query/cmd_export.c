/*
 * export: every stack with its value, for other tools. Names go out as they came in, addresses and
 * the sample labels of imported pprof files too, so that what was imported comes out again.
 */

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "profile/naming.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/report.h"
#include "query/rows.h"
#include "query/source.h"
#include "query/units.h"

struct export_args {
	struct shared_args shared;
	struct range_args range;
	char *type;
	uint32_t limit;
	uint32_t format;
	char *out;
};

static const char *const export_formats[] = { "auto", "folded", "pprof", NULL };

static const struct option_spec export_options[] = {
	RANGE_OPTIONS(export_args),
	TYPE_OPTION(export_args),
	LIMIT_OPTION(export_args, "0", "how many stacks, the greatest first"),
	{ .name = "output",
	        .short_name = 'o',
	        .kind = OPTION_ENUM,
	        .offset = offsetof(struct export_args, format),
	        .fallback = "auto",
	        .choices = export_formats,
	        .help = "the form; auto goes by the ending of --out (.folded, .txt, .pprof, "
	                ".pb.gz), "
	                "else folded" },
	OUT_OPTION(export_args),
	SHARED_OPTIONS(export_args),
	{ 0 },
};

static const struct option_table export_table = {
	.program = "profleet export",
	.summary = "write all stacks as pprof or folded text",
	.usage = "SELECTOR [-o folded|pprof] [--out FILE] [options]",
	.description =
	        "Writes every stack of the selected series with its value, in the unit of the "
	        "type: "
	        "nothing is cut and nothing is rounded, so two exports can be compared by their "
	        "sums. "
	        "Names are as they came, mangled ones too.\n\n"
	        "folded is a line per stack, root first: main;serve;parse 1200. pprof keeps "
	        "addresses, "
	        "files, lines, several types at once, and the labels of series: of windows whose "
	        "detail has expired only where their sums still tell series apart, else none, and "
	        "that is said.\n\n"
	        "A line on stderr says how complete the answer is.",
	.examples = "profleet export 'cpu{service=\"cart\"}' --out cart.pb.gz\n"
	            "profleet export cpu --since 10m -o folded | flamegraph.pl > cpu.svg\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = export_options,
	.args_min = 1,
	.args_max = 1,
};

static enum output_format export_format(const struct export_args *args)
{
	const char *choice = export_formats[args->format];
	if (strcmp(choice, "auto") != 0)
		return output_format_of(choice);
	return args->out && profile_file_form_of(args->out) == PROFILE_FILE_PPROF ? FORMAT_PPROF
	                                                                          : FORMAT_FOLDED;
}

static int cmd_export_run(void *opaque, const struct option_args *words)
{
	const struct export_args *args = opaque;
	enum output_format format = export_format(args);
	struct output output = output_of(&args->shared, args->out);
	struct source_request request = {
		.words = { words->items[0] },
		.sides_count = 1,
		.type = args->type,
		.all_types = format == FORMAT_PPROF && !args->type,
		.level = NAMING_ADDRESS,
		/* A line of folded text has no place for labels; sums answer it however old they
		   are. */
		.group = format == FORMAT_PPROF ? WIRE_GROUP_SERIES : WIRE_GROUP_TYPE,
		.may_join = true,
	};
	AUTO(source) source = NULL;

	if (format == FORMAT_PPROF && output.terminal)
		return complain(EXIT_CODE_USAGE,
		        "pprof is not for a terminal; write --out FILE, or send it through a pipe");
	int code = range_resolve(&args->range, NULL, NULL, &request.from_ns[0], &request.to_ns[0]);
	if (code == 0)
		code = source_load(&args->shared, &request, &source);
	if (code)
		return code;
	if (source->is_joined)
		fprintf(stderr,
		        "profleet: what is left of old windows are sums that tell no single series "
		        "apart: the labels of series are left out\n");
	report_remark(source);
	return rows_deliver(&source->sides[0], format, frame_name_plain, args->limit, &output);
}

const struct command cmd_export = {
	.name = "export",
	.table = &export_table,
	.args_size = sizeof(struct export_args),
	.run = cmd_export_run,
};
