/* help: the list of verbs, or what one of them does. What a bare `profleet` runs, too. */

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "query/cmd_list.h"
#include "query/complain.h"

struct help_args {
	struct shared_args shared;
};

static const struct option_spec help_options[] = {
	SHARED_OPTIONS(help_args),
	{ 0 },
};

static const struct option_table help_table = {
	.program = "profleet help",
	.summary = "list the verbs, or teach one",
	.usage = "[VERB [VERB]]",
	.description = "Without a word, lists the verbs. With one, prints what `profleet VERB "
	               "--help` prints; some verbs have verbs of their own.",
	.examples = "profleet help\nprofleet help diff\nprofleet help retention plan\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = help_options,
	.args_max = 2,
};

static void help_print_verbs(void)
{
	printf("profleet asks a fleet's profiles: what costs, what changed, and how sure are "
	       "we.\n\n"
	       "Usage: profleet [--server ADDRESS] VERB [options]\n\n");
	for (const struct command *const *at = command_list(); *at; at++)
		printf("  %-12s%s\n", (*at)->name, (*at)->table->summary);
	printf("\nStart with:\n\n"
	       "  profleet doctor\n"
	       "  profleet top cpu --since 10m\n"
	       "  profleet diff 'cpu{version=\"1.8\"}' 'cpu{version=\"1.9\"}'\n\n"
	       "`profleet VERB --help` teaches a verb; the server is --server, else "
	       "$PROFLEET_SERVER,\n"
	       "else " SERVER_DEFAULT ".\n");
}

static int cmd_help_run(void *args, const struct option_args *words)
{
	(void)args;
	if (words->count == 0) {
		help_print_verbs();
		return EXIT_CODE_OK;
	}
	const struct command *command = NULL;
	int code = command_find_words(words, &command);
	return code ? code : command_print_help(command);
}

const struct command cmd_help = {
	.name = "help",
	.table = &help_table,
	.args_size = sizeof(struct help_args),
	.run = cmd_help_run,
};
