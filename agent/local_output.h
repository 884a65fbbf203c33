#pragma once

/*
 * local_output is `--duration 10s --output FILE`: the profile of this machine in one file,
 * without any aggregator. Native frames are named here, by the same extraction in a child
 * without rights that an aggregator would ask for.
 *
 *	.folded                root;caller;leaf value: the process's comm is the outermost frame
 *	.pprof .pb.gz          comm, exe, service, container ... are labels of the samples
 *
 * One thread; memory as much as the profile needs, up to the limits of a dict.
 */

#include <stddef.h>

#include "agent/symbol_files.h"
#include "core/auto.h"
#include "profile/batch.h"

struct local_output;

/* -EINVAL: an ending we do not know; -EACCES and others: the file cannot be made. With a message.
 */
int local_output_open(const char *path, struct symbol_files *files,
        struct local_output **ret_output, char *ret_error, size_t error_bytes);
void local_output_free(struct local_output *output); /* removes what was not finished */
DEFINE_AUTO(local_output);

/* Adds an interval. -ENOMEM, -ENOSPC, -EOVERFLOW. */
int local_output_add(struct local_output *output, const struct batch *batch);

/* Names everything and writes the file. The message says what went wrong. */
int local_output_finish(struct local_output *output, char *ret_error, size_t error_bytes);

/* What was added so far. */
const struct batch *local_output_batch(const struct local_output *output);
