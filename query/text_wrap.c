/*
 * A line is taken as words and the blanks before each. A blank behind a digit is none to break at:
 * "3 windows", "1 204 000" and "3.20 MiB" stay together. Several blanks are a gap between columns,
 * which may always end a line.
 */

#include "query/text.h"

#include <string.h>

#define WRAP_INDENT     2 /* of what was broken off, behind the indent of its line */
#define WRAP_INDENT_MAX 8

/* Of colours, "\033[1;31m", and nothing else: all other text is safe. 0: none begins here. */
static size_t wrap_escape(const char *text, size_t count)
{
	if (count < 3 || text[0] != '\033' || text[1] != '[')
		return 0;
	for (size_t i = 2; i < count; i++) {
		if (text[i] == 'm')
			return i + 1;
		if (!strchr("0123456789;", text[i]))
			return 0;
	}
	return 0;
}

static uint32_t wrap_width(const char *text, size_t count)
{
	uint32_t width = 0;
	size_t plain = 0;
	for (size_t i = 0; i < count;) {
		size_t escape = wrap_escape(text + i, count - i);
		if (escape == 0) {
			i++;
			continue;
		}
		width += text_width(text + plain, i - plain);
		i += escape;
		plain = i;
	}
	return width + text_width(text + plain, count - plain);
}

/* The end of the word that begins at `at`. */
static size_t wrap_word_end(const char *line, size_t at, size_t count)
{
	for (; at < count; at++) {
		if (line[at] != ' ')
			continue;
		bool is_gap = at + 1 < count && line[at + 1] == ' ';
		bool is_glued = at > 0 && line[at - 1] >= '0' && line[at - 1] <= '9';
		if (is_gap || !is_glued)
			break;
	}
	return at;
}

static bool wrap_is_command(const char *line, size_t indent, size_t count)
{
	static const char name[] = "profleet ";
	return indent > 0 && count - indent >= strlen(name) &&
	       memcmp(line + indent, name, strlen(name)) == 0;
}

static void wrap_line(const char *line, size_t count, uint32_t width, struct buf *to)
{
	size_t indent = 0;
	while (indent < count && line[indent] == ' ')
		indent++;
	if (wrap_width(line, count) <= width || wrap_is_command(line, indent, count)) {
		buf_put(to, line, count);
		return;
	}
	uint32_t used = 0;
	for (size_t at = 0; at < count;) {
		size_t begin = at;
		while (begin < count && line[begin] == ' ')
			begin++;
		size_t end = wrap_word_end(line, begin, count);
		uint32_t word = wrap_width(line + begin, end - begin);
		uint32_t gap = (uint32_t)(begin - at);
		if (at > 0 && word > 0 && used + gap + word > width) {
			gap = (uint32_t)(indent < WRAP_INDENT_MAX ? indent : WRAP_INDENT_MAX) +
			      WRAP_INDENT;
			buf_put_u8(to, '\n');
			used = 0;
		}
		for (uint32_t i = 0; i < gap && word > 0; i++)
			buf_put_u8(to, ' ');
		buf_put(to, line + begin, end - begin);
		used += gap + word;
		at = end;
	}
}

void text_wrap(const struct buf *text, uint32_t width, struct buf *to)
{
	const char *bytes = (const char *)text->bytes;
	if (text->failed || width == 0) {
		buf_put(to, text->bytes, text->count);
		to->failed |= text->failed;
		return;
	}
	for (size_t at = 0; at < text->count;) {
		const char *end = memchr(bytes + at, '\n', text->count - at);
		size_t count = end ? (size_t)(end - bytes) - at : text->count - at;
		wrap_line(bytes + at, count, width, to);
		if (end)
			buf_put_u8(to, '\n');
		at += count + 1;
	}
}
