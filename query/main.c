/*
 * profleet, the CLI: nothing but the list of its verbs, in the order of the help. Each is a table
 * of options and a function in the file called after it; query/command_line.c finds and runs them.
 */

#include <stddef.h>

#include "query/cmd_list.h"

static const struct command *const commands[] = {
	&cmd_top,
	&cmd_tree,
	&cmd_flame,
	&cmd_diff,
	&cmd_timeline,
	&cmd_export,
	&cmd_import,
	&cmd_series,
	&cmd_labels,
	&cmd_agents,
	&cmd_doctor,
	&cmd_retention,
	&cmd_hold,
	&cmd_usage,
	&cmd_audit,
	&cmd_backup,
	&cmd_completion,
	&cmd_help,
	NULL,
};

int main(int argc, char **argv)
{
	return command_line_run(commands, argc, argv);
}
