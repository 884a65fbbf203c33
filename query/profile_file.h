#pragma once

/*
 * profile_file reads a file in folded or pprof form into a batch: for import, and for verbs that
 * take a file where a selector may stand.
 */

#include <stdint.h>

#include "core/buf.h"
#include "profile/batch.h"
#include "profile/pprof.h"

#define PROFILE_FILE_BYTES_MAX (2ull << 30)

enum profile_file_form { PROFILE_FILE_GUESS, PROFILE_FILE_FOLDED, PROFILE_FILE_PPROF };

struct profile_file_options {
	enum profile_file_form form; /* GUESS: by the ending of the name, else by the first bytes */
	const char *type; /* of a folded file; renames the default type of a pprof file; NULL: see
	                     below */
	const char *folded_type; /* of a folded file without a type; NULL: "value" */
	const char *unit; /* of a folded file; NULL: nanoseconds for cpu and offcpu, else count */
	const char *const *labels; /* "name=value" */
	uint32_t labels_count;
};

struct profile_file {
	struct batch *batch; /* settled; owned with its dict */
	struct dict *dict;
	enum profile_file_form form;
	struct pprof_report report;
};

/*
 * A folded file without a type is of type "value". "-" is standard input.
 * 0, or an exit code after complaining with the file's name and the place.
 */
int profile_file_read(const char *path, const struct profile_file_options *options,
        struct profile_file *ret_file);
void profile_file_fini(struct profile_file *file);

/* "folded" or "pprof". */
const char *profile_file_form_name(enum profile_file_form form);

/* FOLDED or PPROF by the ending of a name, GUESS when it says nothing. */
enum profile_file_form profile_file_form_of(const char *path);

/* 0 or -EINVAL: "name=value" with a name that is not empty. */
int profile_file_split_label(const char *text, size_t *ret_name_count, const char **ret_value);
