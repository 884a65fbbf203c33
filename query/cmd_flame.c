/* flame: the merged call tree as a page for the browser, in one file that needs no network. */

#include <stddef.h>

#include "profile/naming.h"
#include "query/cmd_list.h"
#include "query/flame_page.h"
#include "query/group_frames.h"
#include "query/output.h"
#include "query/rows.h"
#include "query/source.h"

/* A function under each of its raw names is a node on the way, and one node of the page. */
#define FLAME_NODES_EACH 2

struct flame_args {
	struct shared_args shared;
	struct range_args range;
	char *type;
	uint32_t limit;
	char *by;
	uint32_t format;
	char *out;
};

static const char *const flame_formats[] = { "html", "folded", "pprof", NULL };

static const struct option_spec flame_options[] = {
	RANGE_OPTIONS(flame_args),
	TYPE_OPTION(flame_args),
	LIMIT_OPTION(flame_args, "500000", "how many nodes, the greatest first"),
	BY_OPTION(flame_args),
	{ .name = "output",
	        .short_name = 'o',
	        .kind = OPTION_ENUM,
	        .offset = offsetof(struct flame_args, format),
	        .fallback = "html",
	        .choices = flame_formats,
	        .help = "the form of the answer; folded and pprof are for other tools" },
	{ .name = "out",
	        .kind = OPTION_TEXT,
	        .offset = offsetof(struct flame_args, out),
	        .value_name = "FILE",
	        .help = "write here; - is standard output. Else profleet-flame-TIME.html in this "
	                "folder" },
	SHARED_OPTIONS(flame_args),
	{ 0 },
};

static const struct option_table flame_table = {
	.program = "profleet flame",
	.summary = "write a flame graph as one HTML file",
	.usage = "SELECTOR [--out FILE] [options]",
	.description = "Draws the merged call tree of the selected series as a page that needs no "
	               "network: "
	               "search, zoom, keyboard, a table of functions, and how complete the answer "
	               "is. The path "
	               "of the file is printed.\n\n"
	               "With --by the values of the labels are the outermost frames: one graph for "
	               "each, side by side.\n\n"
	               "For two sides in one graph see `profleet diff -o html`.",
	.examples = "profleet flame 'cpu{service=\"cart\"}' --since 10m --out cart.html\n"
	            "profleet flame cpu --by region,version\n"
	            "profleet flame profile.pb.gz --type cpu\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = flame_options,
	.args_min = 1,
	.args_max = 1,
};

static int cmd_flame_run(void *opaque, const struct option_args *words)
{
	const struct flame_args *args = opaque;
	struct source_request request = {
		.words = { words->items[0] },
		.sides_count = 1,
		.type = args->type,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_TYPE,
	};
	AUTO(source) source = NULL;
	enum output_format format = output_format_of(flame_formats[args->format]);
	/* A page draws the greatest nodes: the others need not be sent to be summed up here. */
	if (format == FORMAT_HTML) {
		request.question = WIRE_ASK_TREE;
		request.nodes_max = args->limit <= UINT32_MAX / FLAME_NODES_EACH
		                            ? args->limit * FLAME_NODES_EACH
		                            : 0;
	}

	int code = group_frames_load(args->by, &args->range, &args->shared, &request, &source);
	if (code)
		return code;
	if (format == FORMAT_HTML)
		return flame_page_deliver(source, &args->shared, args->out, "flame", args->limit);
	struct output output = output_of(&args->shared, args->out);
	return rows_deliver(&source->sides[0], format, names_frame_name, 0, &output);
}

const struct command cmd_flame = {
	.name = "flame",
	.table = &flame_table,
	.args_size = sizeof(struct flame_args),
	.run = cmd_flame_run,
};
