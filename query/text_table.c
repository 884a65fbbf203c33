/*
 * Cells are kept end to end in one buffer of safe text, and measured when the table is printed.
 * What does not fit a screen is tried in this order:
 *
 *	cut         columns that may be cut give, each down to 20
 *	two lines   the columns are parted: the header has two lines, and so has each row
 *	a list      each row is a paragraph of "title cell", as many to a line as fit
 *
 * The first takes something away, and the last does of a cell that is wider than the screen.
 */

#include "query/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"

#define TEXT_GAP          2 /* columns between columns, and before what belongs to a line above */
#define TEXT_FLEXIBLE_MIN 20
#define TEXT_LINES_MAX    2 /* of a row, before it becomes a paragraph */

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
	bool is_kept; /* a row is a line, whatever the screen */
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

void text_table_keep_lines(struct text_table *table)
{
	table->is_kept = true;
}

/* ---- how wide ---- */

/* Of each column, what its widest cell takes, as far as it may. */
static void text_table_measure(const struct text_table *table, uint32_t width, uint32_t *widths)
{
	uint32_t count = table->columns_count;

	for (uint32_t i = 0; i < count; i++)
		widths[i] = text_width(table->columns[i].title, strlen(table->columns[i].title));
	for (size_t i = 0; i < table->cells_count; i++)
		if (table->cells[i].width > widths[i % count])
			widths[i % count] = table->cells[i].width;
	for (uint32_t i = 0; i < count; i++) {
		const struct text_column *spec = &table->columns[i];
		bool cut = width && spec->flexible;
		if (spec->width_max && widths[i] > spec->width_max && !cut)
			widths[i] = spec->width_max;
	}
}

/* Some columns, one line of each row. */
struct text_line {
	uint32_t from, to;
};

/* Columns that may be cut give until the line fits, from the left, and none of them all it has. */
static void text_table_narrow(
        const struct text_table *table, struct text_line line, uint32_t width, uint32_t *widths)
{
	uint32_t sum = TEXT_GAP * (line.to - line.from - 1);
	for (uint32_t i = line.from; i < line.to; i++)
		sum += widths[i];
	for (uint32_t i = line.from; i < line.to && sum > width; i++) {
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

/* The lines that a row takes at `width` when all that may be cut is; TEXT_LINES_MAX + 1: too many.
 */
static uint32_t text_table_part(const struct text_table *table, uint32_t width,
        const uint32_t *widths, struct text_line lines[TEXT_LINES_MAX])
{
	uint32_t count = 1, used = 0;
	lines[0] = (struct text_line){ 0, 0 };
	for (uint32_t i = 0; i < table->columns_count; i++) {
		uint32_t least = widths[i];
		if (table->columns[i].flexible && least > TEXT_FLEXIBLE_MIN)
			least = TEXT_FLEXIBLE_MIN;
		bool is_first = lines[count - 1].to == lines[count - 1].from;
		if (!is_first && used + TEXT_GAP + least > width) {
			if (count == TEXT_LINES_MAX)
				return TEXT_LINES_MAX + 1;
			lines[count++] = (struct text_line){ i, i };
			used = TEXT_GAP;
			is_first = true;
		}
		used += least + (is_first ? 0 : TEXT_GAP);
		if (used > width)
			return TEXT_LINES_MAX + 1;
		lines[count - 1].to = i + 1;
	}
	return count;
}

/* ---- printing ---- */

struct text_print {
	const struct text_table *table;
	uint32_t width; /* of the screen, or 0 */
	bool color;
	struct buf *to;
	uint32_t *widths;
	struct text_line lines[TEXT_LINES_MAX];
	uint32_t lines_count;
};

struct text_piece {
	const char *text;
	uint32_t bytes;
	uint32_t width;
	const char *sgr;
};

static struct text_piece text_print_title(const struct text_print *print, uint32_t column)
{
	const char *title = print->table->columns[column].title;
	uint32_t bytes = (uint32_t)strlen(title);
	return (struct text_piece){ title, bytes, text_width(title, bytes),
		print->color ? "1" : NULL };
}

static struct text_piece text_print_piece(const struct text_print *print, size_t index)
{
	const struct text_cell *cell = &print->table->cells[index];
	const char *text = cell->bytes ? (const char *)print->table->text.bytes + cell->at : "";
	return (struct text_piece){ text, cell->bytes, cell->width,
		print->color ? cell->sgr : NULL };
}

static void text_put_blanks(struct buf *to, uint32_t count)
{
	while (count-- > 0)
		buf_put_u8(to, ' ');
}

static void text_put_piece(struct buf *to, struct text_piece piece, uint32_t width_max)
{
	if (piece.sgr)
		buf_printf(to, "\033[%sm", piece.sgr);
	if (piece.width > width_max)
		text_put_cut(to, piece.text, piece.bytes, width_max);
	else
		buf_put(to, piece.text, piece.bytes);
	if (piece.sgr)
		buf_put(to, "\033[0m", 4);
}

/* One cell, padded; cut where there is a screen to fit in. */
static void text_print_cell(
        const struct text_print *print, struct text_piece piece, uint32_t column, bool is_last)
{
	const struct text_column *spec = &print->table->columns[column];
	uint32_t width = print->widths[column];
	bool cut = print->width && spec->flexible;
	uint32_t blanks = piece.width < width ? width - piece.width : 0;

	if (spec->align == TEXT_RIGHT)
		text_put_blanks(print->to, blanks);
	text_put_piece(print->to, piece, cut ? width : UINT32_MAX);
	if (is_last)
		return;
	if (spec->align == TEXT_LEFT)
		text_put_blanks(print->to, blanks);
	text_put_blanks(print->to, TEXT_GAP);
}

/* Trailing blanks of empty last cells help nobody who compares files. */
static void text_end_line(struct buf *to, size_t line_start)
{
	while (!to->failed && to->count > line_start && to->bytes[to->count - 1] == ' ')
		to->count--;
	buf_put_u8(to, '\n');
}

/* Is there anything but blanks behind `start`? If not, they go. */
static bool text_has_more(struct buf *to, size_t start)
{
	for (size_t i = start; i < to->count; i++)
		if (to->bytes[i] != ' ')
			return true;
	to->count = start;
	return false;
}

#define TEXT_TITLES SIZE_MAX /* instead of the number of a row's first cell */

static void text_print_row(const struct text_print *print, size_t first)
{
	for (uint32_t i = 0; i < print->lines_count; i++) {
		struct text_line line = print->lines[i];
		size_t start = print->to->count;
		text_put_blanks(print->to, i > 0 ? TEXT_GAP : 0);
		for (uint32_t j = line.from; j < line.to; j++)
			text_print_cell(print,
			        first == TEXT_TITLES ? text_print_title(print, j)
			                             : text_print_piece(print, first + j),
			        j, j + 1 == line.to);
		/* What a row says on its first line alone is not followed by an empty one. */
		if (i == 0 || text_has_more(print->to, start))
			text_end_line(print->to, start);
	}
}

/* A row as "title cell" after "title cell"; cells that are empty say nothing. */
static void text_print_paragraph(const struct text_print *print, size_t first)
{
	uint32_t at = 0; /* columns of this line that are taken */
	for (uint32_t i = 0; i < print->table->columns_count; i++) {
		struct text_piece piece = text_print_piece(print, first + i);
		struct text_piece title = text_print_title(print, i);
		uint32_t room = print->width > TEXT_GAP + title.width + 1
		                        ? print->width - TEXT_GAP - title.width - 1
		                        : 1;
		uint32_t shown = piece.width < room ? piece.width : room;
		if (i > 0 && piece.bytes == 0)
			continue;
		/* The first cell is what the others are of: it has the line for itself. */
		if (i > 0 && (at == 0 || at + TEXT_GAP + title.width + 1 + shown > print->width)) {
			buf_put_u8(print->to, '\n');
			at = 0;
		}
		text_put_blanks(print->to, i > 0 ? TEXT_GAP : 0);
		title.sgr = print->color && i == 0 ? "1" : NULL;
		text_put_piece(print->to, title, UINT32_MAX);
		text_put_blanks(print->to, title.width > 0);
		text_put_piece(print->to, piece, shown);
		at += i > 0 ? TEXT_GAP + title.width + 1 + shown : 0;
	}
	buf_put_u8(print->to, '\n');
}

/* How the rows lie on the screen; no lines: as paragraphs. */
static void text_print_arrange(struct text_print *print)
{
	const struct text_table *table = print->table;
	text_table_measure(table, print->width, print->widths);
	print->lines[0] = (struct text_line){ 0, table->columns_count };
	print->lines_count = 1;
	if (print->width == 0)
		return;
	if (!table->is_kept)
		print->lines_count = text_table_part(
		        table, print->width, print->widths, print->lines);
	if (print->lines_count > TEXT_LINES_MAX)
		print->lines_count = 0;
	for (uint32_t i = 0; i < print->lines_count; i++)
		text_table_narrow(table, print->lines[i], print->width - (i > 0 ? TEXT_GAP : 0),
		        print->widths);
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

	struct text_print print = { table, width, color, to, .widths = widths };
	text_print_arrange(&print);
	if (print.lines_count > 0)
		text_print_row(&print, TEXT_TITLES);
	for (size_t i = 0; i < table->cells_count; i += count) {
		if (print.lines_count > 0)
			text_print_row(&print, i);
		else
			text_print_paragraph(&print, i);
	}
}
