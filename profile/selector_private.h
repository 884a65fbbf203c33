#pragma once

/* What the two files of selector share: selector.c parses, selector_pattern.c translates. */

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"

#define SELECTOR_PATTERN_ERROR_BYTES 160

/*
 * RE2, as PromQL users write it, into POSIX extended with a closing zero, anchored at both ends as
 * PromQL has it. -EINVAL: *ret_error says at which character and what to write. -ENOMEM.
 */
int selector_pattern(const char *bytes, size_t count, struct buf *to, bool *ret_ignores_case,
        char *ret_error, size_t error_bytes);

/* Of ASCII, whatever the locale; -1, the end of a text, is none of them. */
static inline bool is_digit(int byte)
{
	return byte >= '0' && byte <= '9';
}

static inline bool is_letter(int byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

static inline bool is_blank(int byte)
{
	return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static inline bool is_printable(int byte)
{
	return byte > ' ' && byte < 0x7f;
}

static inline int hex_digit(int byte)
{
	if (is_digit(byte))
		return byte - '0';
	if (byte >= 'a' && byte <= 'f')
		return byte - 'a' + 10;
	if (byte >= 'A' && byte <= 'F')
		return byte - 'A' + 10;
	return -1;
}
