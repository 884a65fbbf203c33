#pragma once

/* policy_file reads the small texts of `profleet retention`: policies and cases, from a file or
 * standard input. */

#include "core/buf.h"

#define POLICY_FILE_BYTES_MAX (960u << 10) /* with its frame it fits into a request */

/* "-" is standard input. 0, or an exit code after complaining. */
int policy_file_read(const char *path, struct buf *to);
