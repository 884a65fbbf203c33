#pragma once

/*
 * options is one table per program or verb that is command-line parser, configuration file parser,
 * validator, --help, man page and shell completion at once.
 *
 *	static const struct option_spec agent_options[] = {
 *		{ .name = "hz", .kind = OPTION_U32, .offset = offsetof(struct agent_config, hz),
 *		  .fallback = "49", .min = 1, .max = 10000, .value_name = "HZ", .reload = false,
 *		  .help = "samples per second and CPU" },
 *		{ 0 },
 *	};
 *
 * The same names are keys of the YAML file given by --config (read through core/config). The
 * command line wins over the file, the file over the fallback. Text values are owned by the
 * options' target and freed by options_fini().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
	OPTION_FLAG = 1, /* bool: --verbose */
	OPTION_TEXT,     /* char * */
	OPTION_U32,
	OPTION_U64,
	OPTION_BYTES,    /* uint64_t: 64MiB, 1GB, 4096 */
	OPTION_DURATION, /* uint64_t nanoseconds: 250ms, 10s, 5m, 1h, 7d */
	OPTION_ENUM,     /* uint32_t: index into `choices` */
	OPTION_LIST,     /* struct option_list: may be given several times; a YAML sequence */
	OPTION_TIME,     /* struct option_time: now-1h, now, RFC 3339, unix seconds; resolved by
	                    option_time_ns */
	OPTION_CUSTOM,   /* only in the file: `parse_yaml` reads the node (tables such as relabel
	                    rules) */
};

struct option_list {
	char **items;
	uint32_t count;
};

struct option_time {
	char *text; /* NULL: not given */
};

struct config_node; /* core/config.h */

struct option_spec {
	const char *name; /* "spool-bytes"; the key in the file is the same */
	char short_name;  /* 0: none */
	enum option_kind kind;
	size_t offset;         /* of the member in the target struct */
	const char *fallback;  /* as the user would type it; NULL: zero */
	uint64_t min, max;     /* of numbers, durations and bytes; both 0: any */
	const char *range_why; /* why min and max are what they are, for who meets them; NULL */
	const char *const *choices; /* OPTION_ENUM, NULL-terminated */
	const char *value_name;     /* "HZ" in --help */
	const char *help;           /* one sentence, or several: wrapped by --help */
	bool reload;                /* SIGHUP may change it */
	bool file_only;             /* no command-line form */
	bool line_only;             /* no key in the file */
	bool required;
	/*
	 * OPTION_CUSTOM: reads the node into the member, which it replaces (its owner frees it),
	 * and leaves it alone when it fails. Of other kinds: a further check of the value in
	 * `member`; `node` is NULL for a value from the command line. 0, -ENOMEM, or -EINVAL with a
	 * message.
	 */
	int (*parse_yaml)(
	        const struct config_node *node, void *member, char *ret_error, size_t error_bytes);
};

struct option_table {
	const char *program; /* "profleet-agent", "profleet diff" */
	const char *summary; /* one line for lists: "show what changed between two sides" */
	const char *usage;   /* "SELECTOR [options]": stands after the program's name */
	const char
	        *description; /* paragraphs for --help and the man page: teaches, with an example */
	const char *examples; /* lines of shell */
	const char *exit_codes;            /* lines "0  done" */
	const struct option_spec *options; /* ends with a zeroed entry */
	uint32_t args_min, args_max;       /* positional arguments; UINT32_MAX: any number */
	bool verbs; /* the first positional ends the options: it is a verb with a table of its own
	             */
};

/* Positional arguments: a part of argv, in which the options were moved to the front. */
struct option_args {
	const char **items;
	uint32_t count;
};

/* Sets every member to its fallback. */
int options_init(const struct option_table *table, void *target);
void options_fini(const struct option_table *table, void *target);

enum options_outcome {
	OPTIONS_OK = 0,
	OPTIONS_HELP = 1, /* --help, --help-man or --version was asked and printed to stdout */
	OPTIONS_BAD = 2,  /* said why on stderr, naming the option, the value and the remedy */
};

/*
 * Parses argv[1..] over what is in target. --help, --help-man and --version exist always.
 * Unknown options are answered with the nearest known one. Values are `--hz=99`, `--hz 99`, `-n9`
 * or
 * `-n 9`; a flag is also `--no-FLAG`, or `--FLAG=false`; `--` ends the options. Parsing the same
 * argv once more gives the same.
 */
enum options_outcome options_parse_line(const struct option_table *table, int argc, char **argv,
        void *target, struct option_args *ret_args);

/*
 * Everything a program with a configuration file does at its start: fallbacks, the file that the
 * OPTION_TEXT `config` of the table names on the line, and the line again, which wins. `target`
 * needs options_fini() after OPTIONS_OK only.
 */
enum options_outcome options_load(const struct option_table *table, int argc, char **argv,
        void *target, struct option_args *ret_args);

/*
 * The same again at SIGHUP, for options with `reload` alone: those that left the file go back to
 * their fallback, and what the line says still wins. Every other key is checked and left as it is.
 * On failure nothing but OPTION_CUSTOM members has changed. Other threads must not read `target`
 * meanwhile: texts and lists are replaced.
 */
int options_reload(const struct option_table *table, const char *path, int argc, char **argv,
        void *target, char *ret_error, size_t error_bytes);

/*
 * Reads a YAML file over what is in target; unknown keys, wrong kinds and values out of range are
 * errors "FILE:LINE: key: what is wrong; what to write". Only keys with reload when `reloading`.
 * -EINVAL, -ENOENT, -EACCES, -EFBIG, -ENOMEM.
 */
int options_parse_file(const struct option_table *table, const char *path, void *target,
        bool reloading, char *ret_error, size_t error_bytes);

/* The table in print: for --help, man (troff), and docs/operating (markdown). */
void options_print_help(const struct option_table *table);
void options_print_man(const struct option_table *table);

/* A moment in unix nanoseconds. "now" is `now_ns`. -EINVAL with a message. Not given:
 * `fallback_ns`. */
int option_time_ns(const struct option_time *time, uint64_t now_ns, uint64_t fallback_ns,
        uint64_t *ret_ns, char *ret_error, size_t error_bytes);

/*
 * 0 or -EINVAL. Durations are numbers with units from weeks to nanoseconds, the greatest first:
 * "1h30m", "1.5s", "0". Bytes are a number with B, kB (1000), KiB or K (1024) and so on to T.
 */
int option_parse_duration(const char *text, uint64_t *ret_ns);
int option_parse_bytes(const char *text, uint64_t *ret_bytes);
int option_parse_time(const char *text, uint64_t now_ns, uint64_t *ret_ns);

/* The shortest exact way to write it so that it can be read again: "1h30m", "64MiB". */
#define OPTION_NUMBER_BYTES_MAX 64
const char *option_format_duration(uint64_t ns, char text[static OPTION_NUMBER_BYTES_MAX]);
const char *option_format_bytes(uint64_t bytes, char text[static OPTION_NUMBER_BYTES_MAX]);

/* The one of `names` (NULL-terminated) that `text` was probably meant to be, or NULL: for errors.
 */
const char *option_nearest(const char *text, const char *const *names);
