#pragma once

/* The verbs of the noun retention, and what their exit codes mean. */

#include "query/command.h"

#define RETENTION_EXIT_CODES_TEXT                                                                  \
	"0  done, or nothing to do\n"                                                              \
	"1  plan: it would delete, and --exit-code was given; test: a case failed;\n"              \
	"   audit: the chain is broken\n"                                                          \
	"2  usage: unknown option, bad selector, a policy that is wrong, no --yes\n"               \
	"3  safety stop: nothing was done; read what it says and confirm\n"                        \
	"4  refused: administration is not allowed from here\n"                                    \
	"5  server, network or storage failed\n"                                                   \
	"6  no such policy, hold, plan or run\n"

extern const struct command cmd_retention_test;
