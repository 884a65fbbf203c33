#pragma once

/*
 * text makes what a terminal may be shown: names from profiled processes, files and servers are
 * untrusted, so every control character, escape sequence, byte that is no UTF-8 and character
 * that reorders or hides its neighbours is written out visibly: \x1b, \u{202e}.
 *
 * Columns are laid out by display width, not by bytes, and lines are broken where the screen ends.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"

void text_put_safe_bytes(struct buf *to, const char *bytes, size_t count);
void text_put_safe(struct buf *to, const char *text);

/* Columns of a terminal that safe text takes. */
uint32_t text_width(const char *text, size_t count);

/*
 * Cuts safe text to `columns` by taking out its middle ("std::vec...::push_back"): both ends of a
 * name say something. Shorter text is put as it is.
 */
void text_put_cut(struct buf *to, const char *text, size_t count, uint32_t columns);

/* One field of CSV by RFC 4180, safe; a formula of a spreadsheet is disarmed by a quote before it.
 */
void text_put_csv(struct buf *to, const char *text);

enum text_align { TEXT_LEFT, TEXT_RIGHT };

struct text_column {
	const char *title;
	enum text_align align;
	uint32_t width_max; /* pad to at most this; a longer cell pushes what follows. 0: none */
	bool flexible;      /* cut to make the table fit */
};

/*
 * Breaks lines that are wider than `width` at blanks, what follows indented below; 0: none. A line
 * that is an indented command to be copied, "  profleet ...", stays as it is, and so does a word
 * that is wider than the screen. Escapes that colour take no column.
 */
void text_wrap(const struct buf *text, uint32_t width, struct buf *to);

struct text_table;

/* `columns` is borrowed. */
struct text_table *text_table_new(const struct text_column *columns, uint32_t count);
void text_table_free(struct text_table *table);
DEFINE_AUTO(text_table);

/* The next cell, row by row; made safe here. */
void text_table_put(struct text_table *table, const char *text);
void text_table_printf(struct text_table *table, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* The colour of the cell put last: an SGR parameter such as "33", or NULL. Static text. */
void text_table_color(struct text_table *table, const char *sgr);

/* A row stays one line on any screen, because of what its indent says: for trees. */
void text_table_keep_lines(struct text_table *table);

/*
 * `width` is that of the screen, 0 for none. Where the screen is too narrow for the columns even
 * when they are cut, each row takes two lines, and after that each is a paragraph of "title cell",
 * so that no line is wider than the screen. A failure of memory ends in to->failed.
 */
void text_table_print(const struct text_table *table, uint32_t width, bool color, struct buf *to);
