#pragma once

/* The verbs of the noun retention, and what their exit codes mean. */

#include <jansson.h>

#include "core/buf.h"
#include "query/command.h"
#include "query/text.h"

#define RETENTION_EXIT_CODES_TEXT                                                                  \
	"0  done, or nothing to do\n"                                                              \
	"1  plan: it would delete, and --exit-code was given; test: a case failed;\n"              \
	"   audit: the chain is broken, or what was noted is not in it\n"                          \
	"2  usage: unknown option, bad selector, a policy that is wrong, no --yes\n"               \
	"3  safety stop: nothing was done; read what it says and confirm\n"                        \
	"4  refused: administration is not allowed from here\n"                                    \
	"5  server, network or storage failed\n"                                                   \
	"6  no such policy, hold, plan or run\n"

/* What a reply says of what went or came back, on one line without its end. */
void retention_put_expired(const json_t *root, struct buf *to);

/* "tenant/service" of a row; the default tenant is not said. */
void retention_put_service(const json_t *row, struct text_table *table);

extern const struct command cmd_retention_list;
extern const struct command cmd_retention_get;
extern const struct command cmd_retention_set;
extern const struct command cmd_retention_delete;
extern const struct command cmd_retention_explain;
extern const struct command cmd_retention_plan;
extern const struct command cmd_retention_apply;
extern const struct command cmd_retention_status;
extern const struct command cmd_retention_undo;
extern const struct command cmd_retention_forget;
extern const struct command cmd_retention_test;
