#pragma once

/*
 * command is one verb of profleet: a table of options that is its parser, help, man page and
 * completion, and a function. main.c lists them; each lives in the file called after it.
 *
 * What verbs have in common on their command lines stands here too, as rows for their tables.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/options.h"
#include "query/exit_code.h"

struct command {
	const char *name;
	const struct option_table *table; /* its program is "profleet NAME" */
	size_t args_size; /* of the struct that the table's offsets are of; starts with struct
	                     shared_args */
	int (*run)(void *args, const struct option_args *words); /* an exit code */
	/*
	 * Of a noun with verbs of its own ("retention plan"): they, ending with NULL, and no run().
	 * The noun's table has the options of profleet alone and `verbs` set.
	 */
	const struct command *const *verbs;
};

/* How it is called on the line: "top", "retention plan". */
const char *command_path(const struct command *command);

/* Options of profleet itself: before the verb or after it. */
struct shared_args {
	char *server;
	uint64_t timeout_ns;
	uint32_t color; /* enum output_color */
	bool no_pager;
};

extern const char *const shared_colors[];

#define SERVER_DEFAULT "tcp://127.0.0.1:7470"

#define SHARED_OPTIONS(args)                                                                       \
	{ .name = "server",                                                                        \
		.kind = OPTION_TEXT,                                                               \
		.offset = offsetof(struct args, shared.server),                                    \
		.value_name = "ADDRESS",                                                           \
		.help = "the aggregator to ask; else $PROFLEET_SERVER, else " SERVER_DEFAULT },    \
	        { .name = "timeout",                                                               \
		        .kind = OPTION_DURATION,                                                   \
		        .offset = offsetof(struct args, shared.timeout_ns),                        \
		        .fallback = "60s",                                                         \
		        .min = 1000000,                                                            \
		        .max = UINT64_C(86400000000000),                                           \
		        .value_name = "DURATION",                                                  \
		        .help = "how long to wait for one reply of the aggregator" },              \
	        { .name = "color",                                                                 \
		        .kind = OPTION_ENUM,                                                       \
		        .offset = offsetof(struct args, shared.color),                             \
		        .fallback = "auto",                                                        \
		        .choices = shared_colors,                                                  \
		        .help = "colour: auto is on a terminal unless NO_COLOR is set" },          \
	{                                                                                          \
		.name = "no-pager", .kind = OPTION_FLAG,                                           \
		.offset = offsetof(struct args, shared.no_pager),                                  \
		.help = "never start $PAGER, which is used on a terminal for what is taller"       \
	}

/* Which moments a question is about. */
struct range_args {
	uint64_t since_ns; /* 0: not given */
	struct option_time from;
	struct option_time to;
};

#define RANGE_OPTIONS(args)                                                                        \
	{ .name = "since",                                                                         \
		.kind = OPTION_DURATION,                                                           \
		.offset = offsetof(struct args, range.since_ns),                                   \
		.min = 1,                                                                          \
		.max = UINT64_C(36525) * 86400 * 1000000000,                                       \
		.value_name = "DURATION",                                                          \
		.help = "how far to look back from --to, instead of --from; else 1h" },            \
	        { .name = "from",                                                                  \
		        .kind = OPTION_TIME,                                                       \
		        .offset = offsetof(struct args, range.from),                               \
		        .value_name = "TIME",                                                      \
		        .help = "first moment: now-1h, 2025-03-01T10:00:00Z, or unix seconds" },   \
	{                                                                                          \
		.name = "to", .kind = OPTION_TIME, .offset = offsetof(struct args, range.to),      \
		.value_name = "TIME", .help = "moment after the last; now where not given"         \
	}

/* 0 with the range, or an exit code after complaining. `from` and `to` may stand in for the range's
 * own. */
int range_resolve(const struct range_args *range, const struct option_time *from,
        const struct option_time *to, uint64_t *ret_from_ns, uint64_t *ret_to_ns);

/* Of the verbs that pick one profile type. */
#define TYPE_OPTION(args)                                                                          \
	{                                                                                          \
		.name = "type", .kind = OPTION_TEXT, .offset = offsetof(struct args, type),        \
		.value_name = "TYPE",                                                              \
		.help = "the profile type, where the selector or file has several"                 \
	}

#define LIMIT_OPTION(args, number, what)                                                           \
	{                                                                                          \
		.name = "limit", .short_name = 'n', .kind = OPTION_U32,                            \
		.offset = offsetof(struct args, limit), .fallback = number, .value_name = "N",     \
		.help = what "; 0 shows all. The last line says what was cut"                      \
	}

#define BY_OPTION(args)                                                                            \
	{                                                                                          \
		.name = "by", .kind = OPTION_TEXT, .offset = offsetof(struct args, by),            \
		.value_name = "LABEL[,LABEL]",                                                     \
		.help = "a part for each value of these labels, the greatest first"                \
	}

#define GROUPS_OPTION(args)                                                                        \
	{                                                                                          \
		.name = "groups", .kind = OPTION_U32, .offset = offsetof(struct args, groups),     \
		.fallback = "10", .value_name = "N",                                               \
		.help = "how many values of --by; 0 shows all. The last line says what was cut"    \
	}

#define FORMAT_OPTION(args, formats)                                                               \
	{                                                                                          \
		.name = "output", .short_name = 'o', .kind = OPTION_ENUM,                          \
		.offset = offsetof(struct args, format), .fallback = "table", .choices = formats,  \
		.help = "the form of the answer"                                                   \
	}

#define OUT_OPTION(args)                                                                           \
	{                                                                                          \
		.name = "out", .kind = OPTION_TEXT, .offset = offsetof(struct args, out),          \
		.value_name = "FILE",                                                              \
		.help = "write the answer to this file instead of standard output"                 \
	}

/* All commands, in the order of the help; ends with NULL. Set by command_line_run(). */
const struct command *const *command_list(void);
const struct command *command_find(const char *name); /* or NULL */

/* Complains about a word that is no verb, with the nearest one. EXIT_CODE_USAGE. */
int command_unknown(const char *word);

/* The verb that `words` name, one or two of them: 0, or an exit code after complaining. */
int command_find_words(const struct option_args *words, const struct command **ret_command);

/* The --help of a verb, or of a noun with the list of its verbs. */
int command_print_help(const struct command *command);

/* Finds the verb, parses, runs. What main() returns. */
int command_line_run(const struct command *const *commands, int argc, char **argv);

/* The options of profleet itself. */
extern const struct option_table command_line_table;
