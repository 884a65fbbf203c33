#pragma once

/*
 * Golden bytes as text: hex digits, everything behind # is explanation. A file under tests/golden
 * has sections
 *
 *	[name]
 *	01 02      # what these are
 *
 * and a page under docs/formats the same between "```hex name" and "```", so that the worked
 * example of the documentation is checked like any golden file.
 */

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "tests/lib/test.h"

/* Is this line the start of the section? */
static inline bool golden_hex_opens(const char *line, size_t count, const char *name)
{
	char bracket[64], fence[64];
	snprintf(bracket, sizeof(bracket), "[%s]", name);
	snprintf(fence, sizeof(fence), "```hex %s", name);
	return (count == strlen(bracket) && memcmp(line, bracket, count) == 0) ||
	       (count == strlen(fence) && memcmp(line, fence, count) == 0);
}

static inline unsigned int golden_hex_digit(char c)
{
	return isdigit((unsigned char)c) ? (unsigned int)(c - '0')
	                                 : (unsigned int)(tolower((unsigned char)c) - 'a' + 10);
}

static inline void golden_hex_line(const char *line, const char *end, struct buf *to)
{
	while (line < end && *line != '#') {
		if (isspace((unsigned char)*line)) {
			line++;
			continue;
		}
		if (end - line < 2 || !isxdigit((unsigned char)line[0]) ||
		        !isxdigit((unsigned char)line[1]))
			fail_msg("no hex: %.*s", (int)(end - line), line);
		buf_put_u8(
		        to, (uint8_t)(golden_hex_digit(line[0]) << 4 | golden_hex_digit(line[1])));
		line += 2;
	}
}

/* Appends the bytes of one section, or fails the test. */
static inline void golden_hex_read(const char *path, const char *name, struct buf *to)
{
	size_t count;
	autofree char *text = test_file_read(path, &count);
	bool is_inside = false;
	bool was_found = false;

	for (char *line = text, *end; *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		size_t line_count = (size_t)(end - line);
		if (golden_hex_opens(line, line_count, name)) {
			is_inside = true;
			was_found = true;
		} else if (line[0] == '[' || line[0] == '`') {
			is_inside = false;
		} else if (is_inside) {
			golden_hex_line(line, end, to);
		}
	}
	if (!was_found)
		fail_msg("%s has no section %s", path, name);
}

/* The section holds exactly these bytes; on failure they are printed for comparison. */
static inline void golden_hex_check(const char *path, const char *name, const struct buf *actual)
{
	AUTO_BUF expected = { 0 };
	golden_hex_read(path, name, &expected);
	if (!actual->failed && expected.count == actual->count &&
	        (actual->count == 0 || memcmp(expected.bytes, actual->bytes, actual->count) == 0))
		return;

	print_error("[%s] of %s should be %zu bytes:", name, path, actual->count);
	for (size_t i = 0; i < actual->count; i++)
		print_error("%s%02x", i % 16 ? " " : "\n", actual->bytes[i]);
	print_error("\n");
	fail_msg("%s: [%s] differs", path, name);
}
