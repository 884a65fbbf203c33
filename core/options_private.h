#pragma once

/*
 * options_private is what the files of core/options share: values apart from where they come from,
 * and the words about a value that help, man page and errors have in common.
 */

#include "core/options.h"

/* One value before it is put into its member. Owns its text and its list. */
union option_value {
	bool flag;
	uint32_t u32;
	uint64_t u64;
	char *text;
	struct option_list list;
	struct option_time time;
};

/* Reads `text` as `spec` wants it; a list gets it as one more item. -EINVAL with a message.
 * -ENOMEM. */
int option_value_parse(const struct option_spec *spec, const char *text, union option_value *value,
        char *ret_error, size_t error_bytes);
void option_value_fini(const struct option_spec *spec, union option_value *value);

/* Puts the value where it belongs, frees what was there and takes what the value owned. */
void option_value_store(const struct option_spec *spec, union option_value *value, void *target);

/* Zeroes the member without freeing what may be in it. */
void option_member_clear(const struct option_spec *spec, void *target);

/* Not NULL, empty or zero. */
bool option_member_is_given(const struct option_spec *spec, const void *target);

/* One size for all callers: choices that do not fit beside the name are listed behind the help. */
#define OPTION_VALUE_NAME_BYTES 64

/* "HZ"; of an enum its choices, "table|json"; never NULL, but "" for a flag. */
const char *option_value_name(const struct option_spec *spec, char *text, size_t text_bytes);

/* "1 to 10000", "at least 1s", or "" when any value will do. */
const char *option_range(const struct option_spec *spec, char *text, size_t text_bytes);
