/*
 * Cells of a table are kept end to end in one buffer of safe text, and measured when it is printed.
 */

#include "query/text.h"

#include <assert.h>
#include <locale.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "core/auto.h"
#include "core/utf8.h"

#define TEXT_GAP          2 /* columns between columns */
#define TEXT_FLEXIBLE_MIN 20

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

struct text_cell {
	size_t at;
	uint32_t bytes;
	uint32_t width;
	const char *sgr;
};

struct text_table {
	const struct text_column *columns;
	uint32_t columns_count;
	struct buf text;
	struct text_cell *cells;
	size_t cells_count;
	size_t cells_capacity;
	bool failed;
};

struct text_table *text_table_new(const struct text_column *columns, uint32_t count)
{
	assert(count > 0);

	struct text_table *table = calloc(1, sizeof(*table));
	if (!table)
		return NULL;
	table->columns = columns;
	table->columns_count = count;
	return table;
}

void text_table_free(struct text_table *table)
{
	if (!table)
		return;
	buf_fini(&table->text);
	free(table->cells);
	free(table);
}

void text_table_put(struct text_table *table, const char *text)
{
	if (table->cells_count == table->cells_capacity) {
		size_t capacity = table->cells_capacity ? 2 * table->cells_capacity : 256;
		struct text_cell *cells = realloc(table->cells, capacity * sizeof(*cells));
		if (!cells) {
			table->failed = true;
			return;
		}
		table->cells = cells;
		table->cells_capacity = capacity;
	}

	size_t at = table->text.count;
	text_put_safe(&table->text, text);
	if (table->text.failed) {
		table->failed = true;
		return;
	}
	size_t bytes = table->text.count - at;
	const char *safe = bytes ? (const char *)table->text.bytes + at : "";
	table->cells[table->cells_count++] = (struct text_cell){
		.at = at,
		.bytes = (uint32_t)bytes,
		.width = text_width(safe, bytes),
	};
}

void text_table_printf(struct text_table *table, const char *format, ...)
{
	char cell[256];
	va_list values;
	va_start(values, format);
	(void)vsnprintf(cell, sizeof(cell), format, values);
	va_end(values);
	text_table_put(table, cell);
}

void text_table_color(struct text_table *table, const char *sgr)
{
	if (table->cells_count > 0)
		table->cells[table->cells_count - 1].sgr = sgr;
}

static void text_put_blanks(struct buf *to, uint32_t count)
{
	while (count-- > 0)
		buf_put_u8(to, ' ');
}

/* One cell, padded; `cut` where there is a screen to fit in. */
static void text_table_print_cell(const struct text_table *table, const char *text, size_t bytes,
        uint32_t columns, uint32_t column, uint32_t width, bool cut, const char *sgr,
        struct buf *to)
{
	const struct text_column *spec = &table->columns[column];
	cut = cut && spec->flexible && columns > width;
	uint32_t blanks = columns < width ? width - columns : 0;

	if (spec->align == TEXT_RIGHT)
		text_put_blanks(to, blanks);
	if (sgr)
		buf_printf(to, "\033[%sm", sgr);
	if (cut)
		text_put_cut(to, text, bytes, width);
	else
		buf_put(to, text, bytes);
	if (sgr)
		buf_put(to, "\033[0m", 4);
	if (column + 1 == table->columns_count)
		return;
	if (spec->align == TEXT_LEFT)
		text_put_blanks(to, blanks);
	text_put_blanks(to, TEXT_GAP);
}

/* Trailing blanks of empty last cells help nobody who compares files. */
static void text_end_line(struct buf *to, size_t line_start)
{
	while (!to->failed && to->count > line_start && to->bytes[to->count - 1] == ' ')
		to->count--;
	buf_put_u8(to, '\n');
}

/* Of each column, what its widest cell takes, as far as it may. Returns what all of it takes. */
static uint32_t text_table_measure(const struct text_table *table, uint32_t width, uint32_t *widths)
{
	uint32_t count = table->columns_count;

	for (uint32_t i = 0; i < count; i++)
		widths[i] = text_width(table->columns[i].title, strlen(table->columns[i].title));
	for (size_t i = 0; i < table->cells_count; i++)
		if (table->cells[i].width > widths[i % count])
			widths[i % count] = table->cells[i].width;

	uint32_t sum = TEXT_GAP * (count - 1);
	for (uint32_t i = 0; i < count; i++) {
		const struct text_column *spec = &table->columns[i];
		bool cut = width && spec->flexible;
		if (spec->width_max && widths[i] > spec->width_max && !cut)
			widths[i] = spec->width_max;
		sum += widths[i];
	}
	return sum;
}

/* Columns that may be cut give until the table fits, from the left, and none of them all it has. */
static void text_table_narrow(
        const struct text_table *table, uint32_t sum, uint32_t width, uint32_t *widths)
{
	for (uint32_t i = 0; i < table->columns_count && sum > width; i++) {
		if (!table->columns[i].flexible)
			continue;
		uint32_t others = sum - widths[i];
		uint32_t fits = width > others + TEXT_FLEXIBLE_MIN ? width - others
		                                                   : TEXT_FLEXIBLE_MIN;
		if (fits < widths[i]) {
			widths[i] = fits;
			sum = others + fits;
		}
	}
}

void text_table_print(const struct text_table *table, uint32_t width, bool color, struct buf *to)
{
	uint32_t count = table->columns_count;
	autofree uint32_t *widths = calloc(count, sizeof(*widths));
	if (table->failed || !widths) {
		to->failed = true;
		return;
	}
	assert(table->cells_count % count == 0);

	uint32_t sum = text_table_measure(table, width, widths);
	if (width)
		text_table_narrow(table, sum, width, widths);

	size_t start = to->count;
	for (uint32_t i = 0; i < count; i++) {
		const char *title = table->columns[i].title;
		text_table_print_cell(table, title, strlen(title), text_width(title, strlen(title)),
		        i, widths[i], width != 0, color ? "1" : NULL, to);
	}
	text_end_line(to, start);
	for (size_t i = 0; i < table->cells_count; i++) {
		const struct text_cell *cell = &table->cells[i];
		uint32_t column = (uint32_t)(i % count);
		if (column == 0)
			start = to->count;
		text_table_print_cell(table,
		        cell->bytes ? (const char *)table->text.bytes + cell->at : "", cell->bytes,
		        cell->width, column, widths[column], width != 0, color ? cell->sgr : NULL,
		        to);
		if (column + 1 == count)
			text_end_line(to, start);
	}
}
