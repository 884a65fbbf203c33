/*
 * Text is read character by character: what is no UTF-8, cannot be seen or reorders is written out,
 * and everything else is measured as the terminal will show it.
 */

#include "query/text.h"

#include <assert.h>
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "core/auto.h"
#include "core/utf8.h"

/* wcwidth() knows only the characters of the locale. UTF-8 is what names are, whatever LANG says.
 */
static pthread_once_t text_locale_once = PTHREAD_ONCE_INIT;

static void text_locale(void)
{
	(void)setlocale(LC_CTYPE, "C.UTF-8"); /* Without it every character counts as one column. */
}

/* A byte that is no text counts as a character of its own, shown or to be shown as \xNN. */
static size_t text_next(const char *bytes, size_t count, uint32_t *ret_code)
{
	size_t used = utf8_decode((const uint8_t *)bytes, count, ret_code);
	if (used == 0) {
		*ret_code = UINT32_MAX;
		return 1;
	}
	return used;
}

/* What utf8_is_harmless() lets pass and still cannot be seen: two names that look the same would be
 * two. */
static bool text_is_invisible(uint32_t code)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {
		{ 0xad, 0xad },       /* soft hyphen */
		{ 0x34f, 0x34f },     /* combining grapheme joiner */
		{ 0x115f, 0x1160 },   /* Hangul fillers */
		{ 0x180b, 0x180f },   /* Mongolian selectors */
		{ 0x200b, 0x200d },   /* zero width */
		{ 0x2060, 0x206f },   /* word joiner, deprecated formats */
		{ 0x3164, 0x3164 },   /* Hangul filler */
		{ 0xfe00, 0xfe0f },   /* variation selectors */
		{ 0xffa0, 0xffa0 },   /* half-width filler */
		{ 0xfff0, 0xfffb },   /* interlinear annotation */
		{ 0xe0000, 0xe0fff }, /* tags */
	};

	for (size_t i = 0; i < COUNT_OF(ranges); i++)
		if (code >= ranges[i].first && code <= ranges[i].last)
			return true;
	return false;
}

void text_put_safe_bytes(struct buf *to, const char *bytes, size_t count)
{
	while (count > 0) {
		uint32_t code;
		size_t used = text_next(bytes, count, &code);
		if (code == UINT32_MAX || (code < 0x80 && !utf8_is_harmless(code)))
			buf_printf(to, "\\x%02x", (unsigned int)(unsigned char)*bytes);
		else if (!utf8_is_harmless(code) || text_is_invisible(code))
			buf_printf(to, "\\u{%x}", code);
		else
			buf_put(to, bytes, used);
		bytes += used;
		count -= used;
	}
}

void text_put_safe(struct buf *to, const char *text)
{
	text_put_safe_bytes(to, text, strlen(text));
}

static uint32_t text_character_width(uint32_t code)
{
	int width = code == UINT32_MAX ? 1 : wcwidth((wchar_t)code);
	return width < 0 ? 1 : (uint32_t)width;
}

uint32_t text_width(const char *text, size_t count)
{
	pthread_once(&text_locale_once, text_locale);
	uint32_t width = 0;
	while (count > 0) {
		uint32_t code;
		size_t used = text_next(text, count, &code);
		width += text_character_width(code);
		text += used;
		count -= used;
	}
	return width;
}

/* How many bytes from the start fit in `columns`. */
static size_t text_fit(const char *text, size_t count, uint32_t columns)
{
	uint32_t width = 0;
	size_t at = 0;
	while (at < count) {
		uint32_t code;
		size_t used = text_next(text + at, count - at, &code);
		width += text_character_width(code);
		if (width > columns)
			break;
		at += used;
	}
	return at;
}

void text_put_cut(struct buf *to, const char *text, size_t count, uint32_t columns)
{
	uint32_t width = text_width(text, count);
	if (width <= columns) {
		buf_put(to, text, count);
		return;
	}
	if (columns < 5) {
		buf_put(to, text, text_fit(text, count, columns));
		return;
	}

	uint32_t tail = (columns - 3) / 2;
	uint32_t head = columns - 3 - tail;
	buf_put(to, text, text_fit(text, count, head));
	buf_put(to, "...", 3);
	size_t skip = text_fit(text, count, width - tail);
	buf_put(to, text + skip, count - skip);
}

void text_put_csv(struct buf *to, const char *text)
{
	AUTO_BUF safe = { 0 };
	text_put_safe(&safe, text);
	buf_put_u8(&safe, '\0');
	if (safe.failed) {
		to->failed = true;
		return;
	}

	const char *at = (const char *)safe.bytes;
	bool number = at[strspn(at, "+-.0123456789e")] == '\0';
	bool formula = !number && strchr("=+-@", *at);
	bool quoted = formula || strpbrk(at, ",\"");
	if (quoted)
		buf_put_u8(to, '"');
	if (formula)
		buf_put_u8(to, '\'');
	for (; *at; at++) {
		if (*at == '"')
			buf_put_u8(to, '"');
		buf_put_u8(to, (uint8_t)*at);
	}
	if (quoted)
		buf_put_u8(to, '"');
}
