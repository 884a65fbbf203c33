/* One table through all its sources; what it prints is read back from a file in stdout's place. */

#include "core/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/version.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"

struct demo {
	char *config, *name;
	uint32_t hz, format, rules;
	uint64_t rows, bytes, interval_ns;
	bool verbose, pager;
	struct option_list label;
	struct option_time since;
};

static const char *const formats[] = { "table", "wide", "json", "folded", "pprof", "html", NULL };

/* The rules are worth as many as there are items, and more than three are refused. */
static int parse_rules(
        const struct config_node *node, void *member, char *ret_error, size_t error_bytes)
{
	if (config_node_kind(node) != CONFIG_LIST || config_node_count(node) > 3) {
		snprintf(ret_error, error_bytes, "write a list of at most three");
		return -EINVAL;
	}
	*(uint32_t *)member = config_node_count(node);
	return 0;
}

static int check_name(
        const struct config_node *node, void *member, char *ret_error, size_t error_bytes)
{
	if (strcmp(*(char **)member, "forbidden") != 0)
		return 0;
	snprintf(ret_error, error_bytes, "is forbidden; write another");
	return -EINVAL;
}

#define MEMBER(member) .offset = offsetof(struct demo, member)

static const struct option_spec demo_options[] = {
	{ .name = "config",
	        .short_name = 'c',
	        .kind = OPTION_TEXT,
	        MEMBER(config),
	        .value_name = "FILE",
	        .line_only = true,
	        .help = "read this YAML file first" },
	{ .name = "name",
	        .kind = OPTION_TEXT,
	        MEMBER(name),
	        .fallback = "anon",
	        .parse_yaml = check_name,
	        .help = "how it is called" },
	{ .name = "hz",
	        .kind = OPTION_U32,
	        MEMBER(hz),
	        .fallback = "49",
	        .min = 1,
	        .max = 10000,
	        .value_name = "HZ",
	        .reload = true,
	        .help = "samples per second and CPU" },
	{ .name = "rows",
	        .short_name = 'n',
	        .kind = OPTION_U64,
	        MEMBER(rows),
	        .help = "how many rows; 0 is all" },
	{ .name = "spool-bytes",
	        .kind = OPTION_BYTES,
	        MEMBER(bytes),
	        .fallback = "64MiB",
	        .min = 1 << 20,
	        .help = "memory for what is unsent" },
	{ .name = "interval",
	        .kind = OPTION_DURATION,
	        MEMBER(interval_ns),
	        .fallback = "10s",
	        .min = NS_PER_S,
	        .max = 600 * NS_PER_S,
	        .reload = true,
	        .help = "how often to send" },
	{ .name = "format",
	        .short_name = 'o',
	        .kind = OPTION_ENUM,
	        MEMBER(format),
	        .choices = formats,
	        .fallback = "table",
	        .help = "how to print" },
	{ .name = "label",
	        .kind = OPTION_LIST,
	        MEMBER(label),
	        .value_name = "NAME=VALUE",
	        .reload = true,
	        .help = "a label for everything" },
	{ .name = "verbose",
	        .short_name = 'v',
	        .kind = OPTION_FLAG,
	        MEMBER(verbose),
	        .help = "say more" },
	{ .name = "pager",
	        .kind = OPTION_FLAG,
	        MEMBER(pager),
	        .fallback = "true",
	        .help = "use a pager" },
	{ .name = "since", .kind = OPTION_TIME, MEMBER(since), .help = "from when" },
	{ .name = "rules",
	        .kind = OPTION_CUSTOM,
	        MEMBER(rules),
	        .reload = true,
	        .parse_yaml = parse_rules,
	        .help = "a table of rules" },
	{ 0 },
};

static const struct option_table demo_table = {
	.program = "profleet demo",
	.summary = "show what options do",
	.usage = "SELECTOR [options]",
	.description = "A first paragraph that is long enough to be folded at the end of a line of "
	               "eighty columns.\n\n\tprofleet demo 'cpu{}'\n\nA second one.",
	.examples = "profleet demo 'cpu{service=\"cart\"}' --since now-1h\nprofleet demo \\\n    "
	            "-o json",
	.exit_codes = "0  done\n2  usage",
	.options = demo_options,
	.args_max = 2,
};

/* ---- a line as words, and what came out of fd 1 and 2 ---- */

struct outcome {
	enum options_outcome outcome;
	struct demo demo;
	struct option_args args;
	char *argv[24];
	int argc;
	char said[8192];
};

static int captured_fd(FILE **ret_file, int fd)
{
	*ret_file = tmpfile();
	assert_non_null(*ret_file);
	fflush(fd == 1 ? stdout : stderr);
	int saved = dup(fd);
	CHECK(dup2(fileno(*ret_file), fd) == fd);
	return saved;
}

static void release_fd(FILE *file, int saved, int fd, char *text, size_t text_bytes)
{
	fflush(fd == 1 ? stdout : stderr);
	CHECK(dup2(saved, fd) == fd);
	close(saved);
	rewind(file);
	text[fread(text, 1, text_bytes - 1, file)] = 0;
	fclose(file);
}

/* `words` are separated by single spaces and cut up in place. */
static void load(struct outcome *result, char *words)
{
	FILE *out, *error;
	char said_out[8192], said_error[2048];
	*result = (struct outcome){ .argv = { (char *)"demo" }, .argc = 1 };
	for (char *word; words && (word = strsep(&words, " "));)
		result->argv[result->argc++] = word;

	int saved_out = captured_fd(&out, 1);
	int saved_error = captured_fd(&error, 2);
	result->outcome = options_load(
	        &demo_table, result->argc, result->argv, &result->demo, &result->args);
	release_fd(error, saved_error, 2, said_error, sizeof(said_error));
	release_fd(out, saved_out, 1, said_out, sizeof(said_out));
	snprintf(result->said, sizeof(result->said), "%s%s", said_out, said_error);
}

static void done(struct outcome *result)
{
	if (result->outcome == OPTIONS_OK)
		options_fini(&demo_table, &result->demo);
}

#define LOAD(result, literal)                                                                      \
	char words_[] = literal;                                                                   \
	load(result, words_)

static void fallbacks_hold_without_anything(void **state)
{
	struct outcome r;
	load(&r, NULL);
	assert_int_equal(r.outcome, OPTIONS_OK);
	assert_string_equal(r.said, "");
	assert_null(r.demo.config);
	assert_string_equal(r.demo.name, "anon");
	assert_int_equal(r.demo.hz, 49);
	assert_int_equal(r.demo.rows, 0);
	assert_int_equal(r.demo.bytes, 64 << 20);
	assert_int_equal(r.demo.interval_ns, 10 * NS_PER_S);
	assert_int_equal(r.demo.format, 0);
	assert_int_equal(r.demo.label.count, 0);
	CHECK(!r.demo.verbose && r.demo.pager);
	assert_null(r.demo.since.text);
	assert_int_equal(r.args.count, 0);
	done(&r);
}

static void every_way_to_write_an_option_is_read(void **state)
{
	struct outcome r;
	LOAD(&r, "A --name=x --hz 99 -n9 -o wide --spool-bytes 1GB --interval=1m30s -v --no-pager "
	         "--label a=b --label=c=d --since now-1h B");
	assert_int_equal(r.outcome, OPTIONS_OK);
	assert_string_equal(r.demo.name, "x");
	assert_int_equal(r.demo.hz, 99);
	assert_int_equal(r.demo.rows, 9);
	assert_int_equal(r.demo.format, 1);
	assert_int_equal(r.demo.bytes, 1000000000);
	assert_int_equal(r.demo.interval_ns, 90 * NS_PER_S);
	CHECK(r.demo.verbose && !r.demo.pager);
	assert_int_equal(r.demo.label.count, 2);
	assert_string_equal(r.demo.label.items[1], "c=d");
	assert_string_equal(r.demo.since.text, "now-1h");
	assert_int_equal(r.args.count, 2);
	assert_string_equal(r.args.items[0], "A");
	assert_string_equal(r.args.items[1], "B");
	done(&r);
}

static void short_flags_cluster_and_the_last_takes_a_value(void **state)
{
	static const char *const lines[] = { "-vojson", "-vo json", "-v -o=json", "-ojson -v" };
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		struct outcome r;
		char words[64];
		snprintf(words, sizeof(words), "%s", lines[i]);
		load(&r, words);
		assert_int_equal(r.outcome, OPTIONS_OK);
		assert_int_equal(r.demo.format, 2);
		CHECK(r.demo.verbose);
		done(&r);
	}
}

static void two_dashes_end_the_options_and_one_is_an_argument(void **state)
{
	struct outcome r;
	LOAD(&r, "- -v -- --name");
	assert_int_equal(r.outcome, OPTIONS_OK);
	assert_int_equal(r.args.count, 2);
	assert_string_equal(r.args.items[0], "-");
	assert_string_equal(r.args.items[1], "--name");
	CHECK(r.demo.verbose);
	done(&r);
}

static void same_argv_can_be_parsed_again(void **state)
{
	struct outcome r;
	struct option_args again;
	LOAD(&r, "A -n 5 -- -B");
	assert_int_equal(r.outcome, OPTIONS_OK);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(options_parse_line(&demo_table, r.argc, r.argv, &r.demo, &again),
		        OPTIONS_OK);
		assert_int_equal(again.count, 2);
		assert_string_equal(again.items[0], "A");
		assert_string_equal(again.items[1], "-B");
		assert_int_equal(r.demo.rows, 5);
	}
	done(&r);
}

static void verb_and_what_follows_it_are_left_alone(void **state)
{
	struct option_table table = demo_table;
	table.verbs = true;
	table.args_max = UINT32_MAX;
	struct demo demo;
	struct option_args args;
	char *argv[] = { (char *)"profleet", (char *)"--name", (char *)"x", (char *)"top",
		(char *)"--unknown", (char *)"-v" };
	CHECK_OK(options_init(&table, &demo));
	assert_int_equal(options_parse_line(&table, 6, argv, &demo, &args), OPTIONS_OK);
	assert_int_equal(args.count, 3);
	assert_string_equal(args.items[0], "top");
	assert_string_equal(args.items[2], "-v");
	CHECK(!demo.verbose);
	assert_string_equal(demo.name, "x");
	options_fini(&table, &demo);
}

static void wrong_lines_are_told_with_the_remedy(void **state)
{
	static const struct {
		const char *line;
		const char *said; /* behind "profleet demo: " */
	} cases[] = {
		{ "--hz 0", "--hz: 0 is out of range; write 1 to 10000\n" },
		{ "--hz=10001", "--hz: 10001 is out of range; write 1 to 10000\n" },
		{ "--hz 99999999999999999999",
		        "--hz: 99999999999999999999 is out of range; write 1 to "
		        "10000\n" },
		{ "--hz -1", "--hz: \"-1\" is not a whole number; write digits alone\n" },
		{ "--hz 4.9", "--hz: \"4.9\" is not a whole number; write digits alone\n" },
		{ "--hz 49x", "--hz: \"49x\" is not a whole number; write digits alone\n" },
		{ "--hz=", "--hz: \"\" is not a whole number; write digits alone\n" },
		{ "--hz", "--hz needs a value; write --hz HZ\n" },
		{ "-n", "-n needs a value; write -n N\n" },
		{ "--spool-bytes 5", "--spool-bytes: 5 is out of range; write 1MiB to "
		                     "18446744073709551615\n" },
		{ "--spool-bytes 5XB",
		        "--spool-bytes: \"5XB\" is not a number of bytes; write 4096, "
		        "64MiB or 1GB\n" },
		{ "--interval 30", "--interval: \"30\" has no unit; write for example 30s\n" },
		{ "--interval 11m", "--interval: 11m is out of range; write 1s to 10m\n" },
		{ "--interval soon",
		        "--interval: \"soon\" is not a duration; write number and unit: 250ms, "
		        "1h30m, 7d\n" },
		{ "-o jsn", "-o: \"jsn\" is unknown; write table, wide, json, folded, pprof or "
		            "html\n" },
		{ "--since yesterday", "--since: \"yesterday\" is not a time; write now-1h30m, "
		                       "2026-11-25T10:00:00Z (or +01:00), 2026-11-25 or unix "
		                       "seconds\n" },
		{ "--verbose=perhaps",
		        "--verbose: \"perhaps\" is neither yes nor no; write true or "
		        "false\n" },
		{ "--no-verbose=true", "--no-verbose takes no value; write it alone\n" },
		{ "--intervl 3s", "--intervl is no option; did you mean --interval?\n" },
		{ "--spool 3", "--spool is no option; did you mean --spool-bytes?\n" },
		{ "--halp", "--halp is no option; did you mean --help?\n" },
		{ "--zzzzzzzz", "--zzzzzzzz is no option; `profleet demo --help` lists them\n" },
		{ "--no-hz", "--no-hz is no option; `profleet demo --help` lists them\n" },
		{ "-x", "-x is no option; `profleet demo --help` lists them\n" },
		{ "--rules a", "--rules stands in the configuration file only; write it there as "
		               "`rules:`\n" },
		{ "--name forbidden", "--name: is forbidden; write another\n" },
		{ "a b c", "\"c\" is one argument too many; usage: profleet demo SELECTOR "
		           "[options]\n" },
		{ "--config /nowhere/x.yaml", "/nowhere/x.yaml: No such file or directory\n" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct outcome r;
		char words[64], said[512];
		snprintf(words, sizeof(words), "%s", cases[i].line);
		load(&r, words);
		snprintf(said, sizeof(said), "profleet demo: %s", cases[i].said);
		assert_string_equal(r.said, said);
		assert_int_equal(r.outcome, OPTIONS_BAD);
	}
}

static void missing_arguments_and_required_options_are_told(void **state)
{
	struct option_spec options[] = {
		{ .name = "data",
		        .kind = OPTION_TEXT,
		        MEMBER(name),
		        .value_name = "DIR",
		        .required = true,
		        .help = "where" },
		{ 0 },
	};
	struct option_table table = {
		.program = "p", .usage = "FILE", .options = options, .args_min = 1, .args_max = 1
	};
	struct demo demo;
	struct option_args args;
	FILE *file;
	char said[256];
	char *argv[] = { (char *)"p", (char *)"f", NULL };

	int saved = captured_fd(&file, 2);
	assert_int_equal(options_load(&table, 1, argv, &demo, &args), OPTIONS_BAD);
	assert_int_equal(options_load(&table, 2, argv, &demo, &args), OPTIONS_BAD);
	release_fd(file, saved, 2, said, sizeof(said));
	assert_string_equal(said, "p: arguments are missing; usage: p FILE\n"
	                          "p: --data is required; write --data DIR\n");
}

/* ---- the file ---- */

struct file_case {
	struct test_dir dir;
	char path[300];
	char error[512];
};

static void write_config(struct file_case *file, const char *text)
{
	snprintf(file->path, sizeof(file->path), "%s/c.yaml", file->dir.path);
	test_file_write(file->path, text, strlen(text));
}

static void line_wins_over_file_and_file_over_fallback(void **state)
{
	struct file_case file = { .dir = test_dir_new() };
	struct outcome r;
	char words[400];
	write_config(&file, "hz: 77\nname: filed\nlabel: [a=1, b=2]\nverbose: true\npager: no\n"
	                    "rules: [x, y]\ninterval: 1m\nsince: 2026-11-25\n");
	snprintf(words, sizeof(words), "--hz=88 --config %s --label z=9", file.path);
	load(&r, words);
	assert_string_equal(r.said, "");
	assert_int_equal(r.outcome, OPTIONS_OK);
	assert_int_equal(r.demo.hz, 88);
	assert_string_equal(r.demo.name, "filed");
	assert_int_equal(r.demo.label.count, 1);
	assert_string_equal(r.demo.label.items[0], "z=9");
	CHECK(r.demo.verbose && !r.demo.pager);
	assert_int_equal(r.demo.rules, 2);
	assert_int_equal(r.demo.interval_ns, 60 * NS_PER_S);
	assert_int_equal(r.demo.bytes, 64 << 20);
	assert_string_equal(r.demo.since.text, "2026-11-25");
	done(&r);
	test_dir_remove(&file.dir);
}

static void wrong_files_are_told_with_line_and_remedy(void **state)
{
	static const struct {
		const char *text;
		const char *error; /* behind "PATH:" */
	} cases[] = {
		{ "hz: 0\n", "1: hz: 0 is out of range; write 1 to 10000" },
		{ "\nhz: x\n", "2: hz: \"x\" is not a whole number; write digits alone" },
		{ "hertz: 3\n", "1: hertz: unknown key; `profleet demo --help` lists them" },
		{ "hz: 7\nname: ~\n",
		        "2: name: has no value (nothing, ~ and null are none to YAML); write one, "
		        "or take the line out" },
		{ "name:\n", "1: name: has no value (nothing, ~ and null are none to YAML); write "
		             "one, or take the line out" },
		{ "hz: null\n", "1: hz: has no value (nothing, ~ and null are none to YAML); "
		                "write one, or take the line out" },
		{ "label:\n- a=1\n- NULL\n",
		        "3: label: has no value (nothing, ~ and null are none to YAML); write one, "
		        "or take the line out" },
		{ "lable: [a]\n", "1: lable: unknown key; did you mean label?" },
		{ "config: x\n",
		        "1: config: belongs on the command line; take it out of the file" },
		{ "hz: [1, 2]\n", "1: hz: takes one value; write it behind the colon" },
		{ "hz: {a: 1}\n", "1: hz: takes one value; write it behind the colon" },
		{ "label: {a: 1}\n", "1: label: is a map; write a list of `- value` lines" },
		{ "label:\n- a\n- [b]\n",
		        "3: label: an item is no plain text; write `- value` lines" },
		{ "format: csv\n", "1: format: \"csv\" is unknown; write table, wide, json, "
		                   "folded, pprof or html" },
		{ "name: forbidden\n", "1: name: is forbidden; write another" },
		{ "rules: [1, 2, 3, 4]\n", "1: rules: write a list of at most three" },
		{ "- hz\n", "1: is no map; write `key: value` lines" },
		{ "hz\n", "1: is no map; write `key: value` lines" },
		{ "hz: 1\nhz: 2\n", "2: hz: this key stands here twice" },
	};
	struct file_case file = { .dir = test_dir_new() };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct demo demo;
		char expected[600];
		CHECK_OK(options_init(&demo_table, &demo));
		write_config(&file, cases[i].text);
		assert_int_equal(options_parse_file(&demo_table, file.path, &demo, false,
		                         file.error, sizeof(file.error)),
		        -EINVAL);
		snprintf(expected, sizeof(expected), "%s:%s", file.path, cases[i].error);
		assert_string_equal(file.error, expected);
		assert_int_equal(demo.hz, 49);
		options_fini(&demo_table, &demo);
	}
	test_dir_remove(&file.dir);
}

static void reload_changes_only_what_may_change(void **state)
{
	struct file_case file = { .dir = test_dir_new() };
	struct outcome r;
	char words[400];
	write_config(&file, "hz: 77\nname: first\nlabel: [a=1]\ninterval: 20s\n");
	snprintf(words, sizeof(words), "-c %s --interval 30s A", file.path);
	load(&r, words);
	assert_int_equal(r.outcome, OPTIONS_OK);

	/* hz leaves the file, name may not change, the line still has interval. */
	write_config(&file, "name: second\nlabel: [b=2, c=3]\ninterval: 40s\nrules: [x]\n");
	CHECK_OK(options_reload(
	        &demo_table, file.path, r.argc, r.argv, &r.demo, file.error, sizeof(file.error)));
	assert_int_equal(r.demo.hz, 49);
	assert_string_equal(r.demo.name, "first");
	assert_int_equal(r.demo.label.count, 2);
	assert_int_equal(r.demo.interval_ns, 30 * NS_PER_S);
	assert_int_equal(r.demo.rules, 1);

	/* A wrong file changes nothing, also where the wrong key could not have changed. */
	write_config(&file, "hz: 1\nrows: many\n");
	assert_int_equal(options_reload(&demo_table, file.path, r.argc, r.argv, &r.demo, file.error,
	                         sizeof(file.error)),
	        -EINVAL);
	assert_int_equal(r.demo.hz, 49);
	assert_int_equal(r.demo.label.count, 2);
	CHECK(strstr(file.error, ":2: rows: "));
	done(&r);
	test_dir_remove(&file.dir);
}

/* Every allocation of our own fails once; libyaml's do not. ASan watches for what is left behind.
 */
static void missing_memory_is_an_error_everywhere(void **state)
{
	struct file_case file = { .dir = test_dir_new() };
	uint32_t nth = 0;
	for (bool failed = true; failed; nth++) {
		struct outcome r = { .argv = { (char *)"demo", (char *)"-c", file.path, (char *)"A",
			                     (char *)"--label=x", (char *)"--name=y" },
			.argc = 6 };
		FILE *error;
		char said[2048];
		write_config(&file, "name: filed\nlabel: [a=1, b=2]\nsince: now\nrules: [x, y]\n");

		int saved = captured_fd(&error, 2);
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		r.outcome = options_load(&demo_table, r.argc, r.argv, &r.demo, &r.args);
		failed = fault_disarm();
		release_fd(error, saved, 2, said, sizeof(said));

		assert_int_equal(r.outcome, failed ? OPTIONS_BAD : OPTIONS_OK);
		if (failed)
			CHECK(strstr(said, "memory"));
		else
			assert_int_equal(r.demo.rules, 2);
		done(&r);
	}
	CHECK(nth > 30);
	test_dir_remove(&file.dir);
}

/* ---- print ---- */

static void help_has_everything_within_the_width(void **state)
{
	static const char *const holds[] = {
		"Usage: profleet demo SELECTOR [options]\n",
		"show what options do\n",
		"folded at the end of a line of\neighty columns.\n",
		"\n    profleet demo 'cpu{}'\n",
		"  -c, --config FILE       read this YAML file first (not in the file)\n",
		"      --hz HZ             samples per second and CPU (default 49; 1 to 10000;\n",
		"                          SIGHUP changes it)\n",
		"unsent (default 64MiB; at least",
		"(default 10s; 1s to 10m; SIGHUP\n",
		"  -o, --format table|wide|json|folded|pprof|html\n",
		"a label for everything (may be repeated; SIGHUP",
		"use a pager (default on)\n",
		"  -h, --help              show this text\n",
		"  rules:                  a table of rules",
		"TIME is now",
		"\n  profleet demo \\\n      -o json\n",
		"\nExamples:\n  profleet demo 'cpu{service=\"cart\"}' --since now-1h\n",
		"\nExit codes:\n  0  done\n  2  usage\n",
	};
	static const char *const widths[] = { "80", "40", "200", "1", "x" };
	for (size_t w = 0; w < COUNT_OF(widths); w++) {
		struct outcome r;
		setenv("COLUMNS", widths[w], 1);
		LOAD(&r, "--help");
		assert_int_equal(r.outcome, OPTIONS_HELP);
		size_t width = w == 0 ? 80 : w == 2 ? 100 : 80;
		size_t words_alone = 30; /* an indented word is not broken */
		char *rest = r.said;
		for (char *line; (line = strsep(&rest, "\n")) && w != 1 && w != 3;)
			CHECK(strlen(line) <= width + (strchr(line, '\'') ? words_alone : 0));
	}
	setenv("COLUMNS", "80", 1);
	struct outcome r;
	LOAD(&r, "-h");
	for (size_t i = 0; i < COUNT_OF(holds); i++) {
		if (!strstr(r.said, holds[i]))
			print_error("missing: %s in\n%s", holds[i], r.said);
		CHECK(strstr(r.said, holds[i]));
	}
}

static void man_page_has_the_same_in_troff(void **state)
{
	static const char *const holds[] = {
		".TH \"PROFLEET-DEMO\" 1 \"\" \"profleet ",
		".SH NAME\nprofleet\\-demo \\- show what options do\n",
		".SH SYNOPSIS\n",
		".SH DESCRIPTION\n.PP\nA first paragraph",
		".EX\nprofleet demo 'cpu{}'\n.EE\n",
		".TP\n\\fB\\-n\\fR, \\fB\\-\\-rows\\fR \\fIN\\fR\nhow many rows; 0 is all\n",
		".TP\n\\fB\\-\\-hz\\fR \\fIHZ\\fR\nsamples per second",
		".SH \"CONFIGURATION FILE\"\n",
		"\\fBrules:\\fR\n",
		".SH EXAMPLES\n",
		".SH \"EXIT STATUS\"\n",
	};
	struct outcome r;
	LOAD(&r, "--help-man");
	assert_int_equal(r.outcome, OPTIONS_HELP);
	for (size_t i = 0; i < COUNT_OF(holds); i++) {
		if (!strstr(r.said, holds[i]))
			print_error("missing: %s in\n%s", holds[i], r.said);
		CHECK(strstr(r.said, holds[i]));
	}
}

static void version_is_that_of_the_project(void **state)
{
	struct outcome r;
	LOAD(&r, "--version");
	assert_int_equal(r.outcome, OPTIONS_HELP);
	assert_string_equal(r.said, "profleet " PROFLEET_VERSION "\n");

	size_t count;
	autofree char *cmake = test_file_read("CMakeLists.txt", &count);
	CHECK(strstr(cmake, "VERSION " PROFLEET_VERSION " "));
}

/* ---- values ---- */

static void durations_are_exact(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
		const char *shortest; /* NULL: the same */
	} cases[] = {
		{ "250ms", 250 * NS_PER_MS, NULL },
		{ "10s", 10 * NS_PER_S, NULL },
		{ "1h30m", 5400 * NS_PER_S, NULL },
		{ "7d", 7 * 86400 * NS_PER_S, NULL },
		{ "1w", 7 * 86400 * NS_PER_S, "7d" },
		{ "1.5s", 1500 * NS_PER_MS, "1s500ms" },
		{ "0.000000001s", 1, "1ns" },
		{ "90s", 90 * NS_PER_S, "1m30s" },
		{ "1d1h1m1s1ms1us1ns", UINT64_C(90061001001001), NULL },
		{ "0", 0, "0s" },
		{ "18446744073709551615ns", UINT64_MAX, "213503d23h34m33s709ms551us615ns" },
		{ "10S", 10 * NS_PER_S, "10s" },
	};
	static const char *const wrong[] = { "", "s", "10", "10x", "-1s", "+1s", "1s1s", "1s1h",
		"1 s", "1s ", "1.s", ".5s", "1.0000000001s", "18446744073709551616ns", "300000w",
		"18446744073s1000ms1000ms", "1e3s", "0x1s" };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t ns = 0;
		char text[OPTION_NUMBER_BYTES_MAX];
		CHECK_OK(option_parse_duration(cases[i].text, &ns));
		assert_int_equal(ns, cases[i].ns);
		assert_string_equal(option_format_duration(ns, text),
		        cases[i].shortest ? cases[i].shortest : cases[i].text);
	}
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		uint64_t ns = 42;
		print_message("%s\n", wrong[i]);
		assert_int_equal(option_parse_duration(wrong[i], &ns), -EINVAL);
		assert_int_equal(ns, 42);
	}
}

static void bytes_are_exact(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
		const char *shortest;
	} cases[] = {
		{ "0", 0, "0" },
		{ "4096", 4096, "4KiB" },
		{ "4097", 4097, "4097" },
		{ "64MiB", 64 << 20, "64MiB" },
		{ "64M", 64 << 20, "64MiB" },
		{ "1GB", 1000000000, "1GB" },
		{ "1kB", 1000, "1kB" },
		{ "1KB", 1000, "1kB" },
		{ "1.5GiB", UINT64_C(3) << 29, "1536MiB" },
		{ "12B", 12, "12" },
		{ "18446744073709551615", UINT64_MAX, "18446744073709551615" },
		{ "16777215TiB", UINT64_C(16777215) << 40, "16777215TiB" },
	};
	static const char *const wrong[] = { "", "B", "1.5", "1.5B", "-1", "1 MB", "1MiB2",
		"18446744073709551616", "16777216TiB", "1PiB", "1e6" };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t bytes = 42;
		char text[OPTION_NUMBER_BYTES_MAX];
		CHECK_OK(option_parse_bytes(cases[i].text, &bytes));
		assert_int_equal(bytes, cases[i].bytes);
		assert_string_equal(option_format_bytes(bytes, text), cases[i].shortest);
	}
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		uint64_t bytes = 42;
		print_message("%s\n", wrong[i]);
		assert_int_equal(option_parse_bytes(wrong[i], &bytes), -EINVAL);
		assert_int_equal(bytes, 42);
	}
}

static void times_are_exact(void **state)
{
	const uint64_t now = UINT64_C(1764064800) * NS_PER_S; /* 2025-11-25T10:00:00Z */
	static const struct {
		const char *text;
		uint64_t s, ns;
	} cases[] = {
		{ "now", 1764064800, 0 },
		{ "now-1h30m", 1764059400, 0 },
		{ "now+1s", 1764064801, 0 },
		{ "now-250ms", 1764064799, 750000000 },
		{ "2025-11-25T10:00:00Z", 1764064800, 0 },
		{ "2025-11-25t10:00:00z", 1764064800, 0 },
		{ "2025-11-25 10:00:00Z", 1764064800, 0 },
		{ "2025-11-25T10:00Z", 1764064800, 0 },
		{ "2025-11-25T11:00:00+01:00", 1764064800, 0 },
		{ "2025-11-25T02:30:00-07:30", 1764064800, 0 },
		{ "2025-11-25T10:00:00.123456789Z", 1764064800, 123456789 },
		{ "2025-11-25", 1764028800, 0 },
		{ "1970-01-01", 0, 0 },
		{ "2024-02-29T00:00:00Z", 1709164800, 0 },
		{ "2016-12-31T23:59:60Z", 1483228800, 0 },
		{ "1764064800", 1764064800, 0 },
		{ "1764064800.5", 1764064800, 500000000 },
		{ "0", 0, 0 },
	};
	static const char *const wrong[] = { "", "now-", "now1h", "now-1", "now - 1h", "noww",
		"now-300y", "yesterday", "2025-11-25T10:00:00", "2025-11-25T10:00:00+1:00",
		"2025-11-25T10:00:00+24:00", "2025-11-25T24:00:00Z", "2025-11-25T10:60:00Z",
		"2025-11-25T10:00:61Z", "2025-13-01", "2025-00-01", "2025-02-29", "2025-11-31",
		"2025-11-00", "2025-11-25T", "2025-11-25Z", "2025-1-1T00:00Z",
		"2025-11-25T10:00:000Z", "2025-11-25T10:00:00.Z", "2025-11-25T10:00:00Z ",
		"1969-12-31", "9999-01-01", "-5", "1764064800s", "17640648000000000000", "1.2.3" };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t ns = 0;
		print_message("%s\n", cases[i].text);
		CHECK_OK(option_parse_time(cases[i].text, now, &ns));
		assert_int_equal(ns, cases[i].s * NS_PER_S + cases[i].ns);
	}
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		uint64_t ns = 42;
		print_message("%s\n", wrong[i]);
		assert_int_equal(option_parse_time(wrong[i], now, &ns), -EINVAL);
		assert_int_equal(ns, 42);
	}

	uint64_t ns = 0;
	char error[256];
	CHECK_OK(option_time_ns(&(struct option_time){ 0 }, now, 7, &ns, error, sizeof(error)));
	assert_int_equal(ns, 7);
	CHECK_OK(option_time_ns(
	        &(struct option_time){ (char *)"now-1s" }, now, 7, &ns, error, sizeof(error)));
	assert_int_equal(ns, now - NS_PER_S);
}

static void nearest_name_is_the_one_that_was_meant(void **state)
{
	static const char *const names[] = { "interval", "label", "limit", "hz", "spool", "since",
		NULL };
	static const struct {
		const char *text, *nearest;
	} cases[] = {
		{ "intervall", "interval" },
		{ "itnerval", "interval" },
		{ "lable", "label" },
		{ "lim", "limit" },
		{ "zh", "hz" },
		{ "sicne", "since" },
		{ "x", NULL },
		{ "completely-different", NULL },
		{ "", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *nearest = option_nearest(cases[i].text, names);
		if (!cases[i].nearest)
			assert_null(nearest);
		else
			assert_string_equal(nearest, cases[i].nearest);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fallbacks_hold_without_anything),
		cmocka_unit_test(every_way_to_write_an_option_is_read),
		cmocka_unit_test(short_flags_cluster_and_the_last_takes_a_value),
		cmocka_unit_test(two_dashes_end_the_options_and_one_is_an_argument),
		cmocka_unit_test(same_argv_can_be_parsed_again),
		cmocka_unit_test(verb_and_what_follows_it_are_left_alone),
		cmocka_unit_test(wrong_lines_are_told_with_the_remedy),
		cmocka_unit_test(missing_arguments_and_required_options_are_told),
		cmocka_unit_test(line_wins_over_file_and_file_over_fallback),
		cmocka_unit_test(wrong_files_are_told_with_line_and_remedy),
		cmocka_unit_test(reload_changes_only_what_may_change),
		cmocka_unit_test(missing_memory_is_an_error_everywhere),
		cmocka_unit_test(help_has_everything_within_the_width),
		cmocka_unit_test(man_page_has_the_same_in_troff),
		cmocka_unit_test(version_is_that_of_the_project),
		cmocka_unit_test(durations_are_exact),
		cmocka_unit_test(bytes_are_exact),
		cmocka_unit_test(times_are_exact),
		cmocka_unit_test(nearest_name_is_the_one_that_was_meant),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
