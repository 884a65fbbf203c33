/*
 * profleet [options] VERB [options] words: options of profleet itself may stand on either side of
 * the verb, so those before it are moved behind and the verb's own table, which has them too, reads
 * all.
 */

#include "query/command.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/log.h"
#include "query/complain.h"

const char *const shared_colors[] = { "auto", "always", "never", NULL };

struct command_line_args {
	struct shared_args shared;
};

static const struct option_spec command_line_options[] = {
	SHARED_OPTIONS(command_line_args),
	{ 0 },
};

const struct option_table command_line_table = {
	.program = "profleet",
	.summary = "ask what costs, what changed, and how sure we are",
	.usage = "[options] VERB [options] [words]",
	.description =
	        "Asks an aggregator for the profiles of a fleet and shows them: as a table, a "
	        "tree, a "
	        "flame graph, or in a form for other tools. `profleet help` lists the verbs and "
	        "`profleet VERB --help` teaches one.\n\n"
	        "A question names its series by a selector, a profile type and label matchers as "
	        "in "
	        "PromQL: cpu{service=\"cart\",version=~\"1\\\\.9.*\"}. Where a selector is asked "
	        "for, a "
	        "file may stand too: profiles in folded or pprof form are read without an "
	        "aggregator.",
	.examples = "profleet top cpu --since 10m\n"
	            "profleet diff 'cpu{version=\"1.8\"}' 'cpu{version=\"1.9\"}'\n"
	            "profleet flame 'cpu{service=\"cart\"}' --out cart.html\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = command_line_options,
	.args_max = UINT32_MAX,
	.verbs = true,
};

static const struct command *const *command_line_commands;

const struct command *const *command_list(void)
{
	static const struct command *const none[] = { NULL };
	return command_line_commands ? command_line_commands : none;
}

static const struct command *command_find_in(
        const struct command *const *commands, const char *name)
{
	for (const struct command *const *at = commands; *at; at++)
		if (strcmp((*at)->name, name) == 0)
			return *at;
	return NULL;
}

const struct command *command_find(const char *name)
{
	return command_find_in(command_list(), name);
}

const char *command_path(const struct command *command)
{
	return command->table->program + strlen("profleet ");
}

/* `of` is "profleet", or such as "profleet retention". */
static int command_unknown_in(
        const struct command *const *commands, const char *of, const char *word)
{
	const char *names[64];
	size_t count = 0;
	for (const struct command *const *at = commands; *at && count < COUNT_OF(names) - 1; at++)
		names[count++] = (*at)->name;
	names[count] = NULL;

	const char *nearest = option_nearest(word, names);
	if (nearest)
		return complain(EXIT_CODE_USAGE, "%.64s is no verb; did you mean `%s %s`?", word,
		        of, nearest);
	return complain(EXIT_CODE_USAGE, "%.64s is no verb; `profleet help%s` lists them", word,
	        of + strlen("profleet"));
}

int command_unknown(const char *word)
{
	return command_unknown_in(command_list(), "profleet", word);
}

int command_find_words(const struct option_args *words, const struct command **ret_command)
{
	const struct command *command = command_find(words->items[0]);
	if (!command)
		return command_unknown(words->items[0]);
	if (words->count > 1) {
		const struct command *noun = command;
		command = noun->verbs ? command_find_in(noun->verbs, words->items[1]) : NULL;
		if (!command && !noun->verbs)
			return complain(EXIT_CODE_USAGE,
			        "%s has no verbs of its own; write "
			        "`profleet help %s`",
			        noun->name, noun->name);
		if (!command)
			return command_unknown_in(
			        noun->verbs, noun->table->program, words->items[1]);
	}
	*ret_command = command;
	return 0;
}

/* A table with its verbs, which only the list knows, written below its description. */
static int command_line_describe(const struct option_table *table,
        const struct command *const *commands, struct buf *text, struct option_table *ret_table)
{
	buf_printf(text, "%s\n\nVerbs:\n\n", table->description);
	for (const struct command *const *at = commands; *at; at++)
		buf_printf(text, "\t%-12s%s\n", (*at)->name, (*at)->table->summary);
	buf_put_u8(text, '\0');
	if (text->failed)
		return -ENOMEM;
	*ret_table = *table;
	ret_table->description = (const char *)text->bytes;
	return 0;
}

int command_print_help(const struct command *command)
{
	struct option_table table = *command->table;
	AUTO_BUF text = { 0 };
	if (command->verbs &&
	        command_line_describe(command->table, command->verbs, &text, &table) < 0)
		return complain(EXIT_CODE_FAILED, "out of memory");
	options_print_help(&table);
	return EXIT_CODE_OK;
}

static int command_line_outcome(enum options_outcome outcome)
{
	return outcome == OPTIONS_HELP ? EXIT_CODE_OK : EXIT_CODE_USAGE;
}

/* The line without this word of it: everything else stays. NULL when out of memory. */
static char **command_line_without(int argc, char **argv, const char *word, int *ret_argc)
{
	char **line = calloc((size_t)argc + 1, sizeof(*line));
	int count = 0;
	for (int i = 0; line && i < argc; i++)
		if (argv[i] != word)
			line[count++] = argv[i];
	*ret_argc = count;
	return line;
}

static int command_line_run_verb(const struct command *command, int argc, char **argv);

/* A noun: the options before its verb go to the verb's own table, as those of profleet do. */
static int command_line_run_noun(const struct command *noun, int argc, char **argv)
{
	struct command_line_args args = { 0 };
	struct option_args words = { 0 };
	struct option_table table;
	AUTO_BUF description = { 0 };
	if (command_line_describe(noun->table, noun->verbs, &description, &table) < 0 ||
	        options_init(&table, &args) < 0)
		return complain(EXIT_CODE_FAILED, "out of memory");
	enum options_outcome outcome = options_parse_line(&table, argc, argv, &args, &words);
	options_fini(&table, &args);
	if (outcome != OPTIONS_OK)
		return command_line_outcome(outcome);
	if (words.count == 0)
		return complain(EXIT_CODE_USAGE, "%s: which verb? `profleet help %s` lists them",
		        noun->name, noun->name);

	const struct command *verb = command_find_in(noun->verbs, words.items[0]);
	if (!verb)
		return command_unknown_in(noun->verbs, noun->table->program, words.items[0]);
	int count;
	autofree char **line = command_line_without(argc, argv, words.items[0], &count);
	if (!line)
		return complain(EXIT_CODE_FAILED, "out of memory");
	return command_line_run_verb(verb, count, line);
}

static int command_line_run_verb(const struct command *command, int argc, char **argv)
{
	if (command->verbs)
		return command_line_run_noun(command, argc, argv);
	autofree void *args = calloc(1, command->args_size);
	if (!args || options_init(command->table, args) < 0)
		return complain(EXIT_CODE_FAILED, "out of memory");

	struct option_args words;
	enum options_outcome outcome = options_parse_line(command->table, argc, argv, args, &words);
	int code = outcome == OPTIONS_OK ? command->run(args, &words)
	                                 : command_line_outcome(outcome);
	options_fini(command->table, args);
	return code;
}

int command_line_run(const struct command *const *commands, int argc, char **argv)
{
	command_line_commands = commands;
	log_setup("profleet", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);

	struct command_line_args args = { 0 };
	struct option_args words = { 0 };
	struct option_table table;
	AUTO_BUF description = { 0 };
	if (command_line_describe(&command_line_table, command_list(), &description, &table) < 0 ||
	        options_init(&table, &args) < 0)
		return complain(EXIT_CODE_FAILED, "out of memory");
	enum options_outcome outcome = options_parse_line(&table, argc, argv, &args, &words);
	options_fini(&table, &args);
	if (outcome != OPTIONS_OK)
		return command_line_outcome(outcome);

	const char *verb = words.count ? words.items[0] : "help";
	const struct command *command = command_find(verb);
	if (!command)
		return command_unknown(verb);

	/* argv is [program, options..., VERB, rest...] now: the verb goes, everything else stays.
	 */
	int count;
	autofree char **line = command_line_without(
	        argc, argv, words.count ? words.items[0] : NULL, &count);
	if (!line)
		return complain(EXIT_CODE_FAILED, "out of memory");
	return command_line_run_verb(command, count, line);
}

#define RANGE_SINCE_NS (3600 * NS_PER_S)

static int range_time(const char *name, const struct option_time *time, uint64_t now_ns,
        uint64_t fallback_ns, uint64_t *ret_ns)
{
	char error[256];
	if (option_time_ns(time, now_ns, fallback_ns, ret_ns, error, sizeof(error)) < 0)
		return complain(EXIT_CODE_USAGE, "%s: %s", name, error);
	return 0;
}

int range_resolve(const struct range_args *range, const struct option_time *from,
        const struct option_time *to, uint64_t *ret_from_ns, uint64_t *ret_to_ns)
{
	uint64_t now_ns = clock_unix_ns(clock_real());
	uint64_t from_ns, to_ns;

	if (range->since_ns && range->from.text)
		return complain(EXIT_CODE_USAGE, "--since and --from both say where the range "
		                                 "begins; leave one of them out");
	uint64_t since_ns = range->since_ns ? range->since_ns : RANGE_SINCE_NS;
	if (!from || !from->text)
		from = &range->from;
	if (!to || !to->text)
		to = &range->to;
	int code = range_time("--to", to, now_ns, now_ns, &to_ns);
	if (code == 0)
		code = range_time(
		        "--from", from, now_ns, to_ns > since_ns ? to_ns - since_ns : 0, &from_ns);
	if (code)
		return code;
	if (from_ns >= to_ns)
		return complain(EXIT_CODE_USAGE, "the range is empty: it starts at or after its "
		                                 "end; write --from before --to");
	*ret_from_ns = from_ns;
	*ret_to_ns = to_ns;
	return 0;
}
