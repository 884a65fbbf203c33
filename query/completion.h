#pragma once

/* completion writes the script of one shell from tables of commands: separate from the verb for
 * tests. */

#include <stdbool.h>

#include "core/buf.h"
#include "query/command.h"

/* `commands` ends with NULL. False for a shell that we do not know, and nothing is written. */
bool completion_put(const char *shell, const struct command *const *commands, struct buf *to);
