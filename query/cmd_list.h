#pragma once

/*
 * cmd_list names the commands that main.c puts in order. Each is defined in the file called after
 * it.
 */

#include "query/command.h"

extern const struct command cmd_top;
extern const struct command cmd_tree;
extern const struct command cmd_flame;
extern const struct command cmd_diff;
extern const struct command cmd_timeline;
extern const struct command cmd_series;
extern const struct command cmd_labels;
extern const struct command cmd_agents;
extern const struct command cmd_doctor;
extern const struct command cmd_import;
extern const struct command cmd_export;
extern const struct command cmd_retention;
extern const struct command cmd_hold;
extern const struct command cmd_usage;
extern const struct command cmd_audit;
extern const struct command cmd_backup;
extern const struct command cmd_completion;
extern const struct command cmd_help;
