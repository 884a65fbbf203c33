/*
 * The table in print: --help for a terminal of any width, and a man(7) page. Both say the same from
 * the same words, so that neither can be behind.
 *
 * A description is paragraphs with an empty line between; a line that begins with a space or a tab
 * is an example and stays as it is.
 */

#include "core/options.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/buf.h"
#include "core/options_private.h"
#include "core/utf8.h"
#include "core/version.h"

#define OPTIONS_WIDTH_DEFAULT 80
#define OPTIONS_WIDTH_MIN     40
#define OPTIONS_WIDTH_MAX     100 /* longer lines are hard to read */
#define OPTIONS_HELP_COLUMN   26

#define OPTIONS_NOTE_TIME                                                                          \
	"TIME is now, now-1h30m, 2026-11-25T10:00:00Z or with an offset (+01:00), a day "          \
	"(2026-11-25, from its start in UTC), or unix seconds."
#define OPTIONS_NOTE_DURATION                                                                      \
	"DURATION is numbers with units, the greatest first: w, d, h, m, s, ms, us, ns (1h30m, "   \
	"10s, 250ms)."
#define OPTIONS_NOTE_BYTES                                                                         \
	"BYTES is a number with KiB, MiB, GiB, TiB (K, M, G, T are the same; steps of 1024) or "   \
	"kB, MB, GB, TB (steps of 1000)."
#define OPTIONS_NOTE_FILE                                                                          \
	"Options that are not marked otherwise are also keys of the YAML file given by --config: " \
	"`hz: 99` for --hz 99, `true` for a flag, a list of `- value` lines for what may be "      \
	"repeated. The command line wins over the file."

/* The options that every program has. */
static const struct option_spec options_always_shown[] = {
	{ .name = "help",
	        .short_name = 'h',
	        .kind = OPTION_FLAG,
	        .line_only = true,
	        .help = "show this text" },
	{ .name = "help-man",
	        .kind = OPTION_FLAG,
	        .line_only = true,
	        .help = "print the manual page, for `man -l -`" },
	{ .name = "version", .kind = OPTION_FLAG, .line_only = true, .help = "show the version" },
	{ 0 },
};

static size_t options_width(void)
{
	struct winsize window;
	const char *columns = getenv("COLUMNS");
	unsigned long width = columns ? strtoul(columns, NULL, 10) : 0;

	if (width == 0 && isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0)
		width = window.ws_col;
	if (width == 0)
		return OPTIONS_WIDTH_DEFAULT;
	return width < OPTIONS_WIDTH_MIN   ? OPTIONS_WIDTH_MIN
	       : width > OPTIONS_WIDTH_MAX ? OPTIONS_WIDTH_MAX
	                                   : width;
}

static void options_indent(struct buf *out, size_t columns)
{
	while (columns-- > 0)
		buf_put_u8(out, ' ');
}

/*
 * Words of `text` up to `end` from `column` on, folded into lines that start at `indent`; ends its
 * last line.
 */
static void options_fold(
        struct buf *out, const char *text, const char *end, size_t column, size_t indent)
{
	size_t width = options_width();
	bool first = true;

	while (text < end) {
		while (text < end && isspace((unsigned char)*text))
			text++;
		const char *word = text;
		while (text < end && !isspace((unsigned char)*text))
			text++;
		if (word == text)
			break;

		size_t length = utf8_count(word, (size_t)(text - word));
		if (!first && column + 1 + length > width) {
			buf_put_u8(out, '\n');
			options_indent(out, indent);
			column = indent;
		} else if (!first) {
			buf_put_u8(out, ' ');
			column++;
		}
		buf_put(out, word, (size_t)(text - word));
		column += length;
		first = false;
	}
	buf_put_u8(out, '\n');
}

static void options_fold_text(struct buf *out, const char *text, size_t column, size_t indent)
{
	options_fold(out, text, text + strlen(text), column, indent);
}

/* The end of the paragraph at `text`: an empty line, or a change between words and example. */
static const char *options_paragraph_end(const char *text, bool example)
{
	for (const char *line = text; *line;) {
		bool blank = *line == ' ' || *line == '\t';
		if (*line == '\n' || blank != example)
			return line;
		line += strcspn(line, "\n");
		if (!*line)
			return line;
		line++;
	}
	return text + strlen(text);
}

/* Lines as they stand, moved to `indent` by what the first one is indented: a continuation stays
 * one. */
static void options_lines(struct buf *out, const char *text, const char *end, size_t indent)
{
	size_t own_indent = strspn(text, " \t");

	while (text < end) {
		const char *line_end = memchr(text, '\n', (size_t)(end - text));
		line_end = line_end ? line_end : end;
		for (size_t i = 0;
		        i < own_indent && text < line_end && (*text == '\t' || *text == ' '); i++)
			text++;
		if (text < line_end)
			options_indent(out, indent);
		buf_put(out, text, (size_t)(line_end - text));
		buf_put_u8(out, '\n');
		text = line_end + 1;
	}
}

static void options_paragraphs(struct buf *out, const char *text)
{
	while (*text) {
		bool example = *text == ' ' || *text == '\t';
		const char *end = options_paragraph_end(text, example);
		if (end == text) { /* the empty line between two */
			buf_put_u8(out, '\n');
			text++;
			continue;
		}
		if (example)
			options_lines(out, text, end, 4);
		else
			options_fold(out, text, end, 0, 0);
		text = end;
	}
}

/* "(default 49; 1 to 10000; may be repeated; SIGHUP changes it)", or nothing. */
static void options_facts(struct buf *out, const struct option_spec *spec, bool has_file)
{
	char range[160], name[OPTION_VALUE_NAME_BYTES];
	const char *separator = " (";
	const char *shown = option_value_name(spec, name, sizeof(name));
	bool plain_flag = spec->kind == OPTION_FLAG &&
	                  (!spec->fallback || strcmp(spec->fallback, "false") == 0);

	/* Choices that did not fit beside the name. */
	if (spec->kind == OPTION_ENUM && !strchr(shown, '|') && spec->choices[1]) {
		for (const char *const *choice = spec->choices; *choice; choice++) {
			buf_printf(out, "%s%s", separator, *choice);
			separator = ", ";
		}
		separator = "; ";
	}
	if (spec->fallback && *spec->fallback && !plain_flag) {
		buf_printf(out, "%sdefault %s", separator,
		        spec->kind != OPTION_FLAG ? spec->fallback : "on");
		separator = "; ";
	}
	if (*option_range(spec, range, sizeof(range)) && spec->kind != OPTION_ENUM) {
		buf_printf(out, "%s%s", separator, range);
		separator = "; ";
	}
	const struct {
		bool holds;
		const char *words;
	} facts[] = {
		{ spec->required, "required" },
		{ spec->kind == OPTION_LIST, "may be repeated" },
		{ has_file && spec->line_only, "not in the file" },
		{ spec->reload, "SIGHUP changes it" },
	};
	for (size_t i = 0; i < COUNT_OF(facts); i++) {
		if (!facts[i].holds)
			continue;
		buf_printf(out, "%s%s", separator, facts[i].words);
		separator = "; ";
	}
	if (strcmp(separator, " (") != 0)
		buf_put_u8(out, ')');
}

static bool options_has_kind(const struct option_table *table, enum option_kind kind)
{
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		if (spec->kind == kind)
			return true;
	}
	return false;
}

static bool options_has_file(const struct option_table *table)
{
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		if (strcmp(spec->name, "config") == 0)
			return true;
	}
	return false;
}

static bool options_stands_in_file_only(const struct option_spec *spec)
{
	return spec->file_only || spec->kind == OPTION_CUSTOM;
}

static bool options_has_file_only(const struct option_table *table)
{
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		if (options_stands_in_file_only(spec))
			return true;
	}
	return false;
}

/* What --help and the man page explain once below the options. */
static size_t options_notes(const struct option_table *table, const char *notes[static 4])
{
	size_t count = 0;
	if (options_has_kind(table, OPTION_TIME))
		notes[count++] = OPTIONS_NOTE_TIME;
	if (options_has_kind(table, OPTION_DURATION))
		notes[count++] = OPTIONS_NOTE_DURATION;
	if (options_has_kind(table, OPTION_BYTES))
		notes[count++] = OPTIONS_NOTE_BYTES;
	if (options_has_file(table))
		notes[count++] = OPTIONS_NOTE_FILE;
	return count;
}

static void options_write(struct buf *out)
{
	fflush(stdout);
	if (out->failed)
		fputs("out of memory\n", stderr);
	else
		fwrite(out->bytes, 1, out->count, stdout);
	fflush(stdout);
}

/* ---- --help ---- */

static void options_help_option(struct buf *out, const struct option_spec *spec, bool has_file)
{
	char name[OPTION_VALUE_NAME_BYTES], head[128];
	const char *value = option_value_name(spec, name, sizeof(name));
	int length;

	if (options_stands_in_file_only(spec))
		length = snprintf(head, sizeof(head), "  %s:", spec->name);
	else
		length = snprintf(head, sizeof(head), "  %c%c%c --%s%s%s",
		        spec->short_name ? '-' : ' ', spec->short_name ? spec->short_name : ' ',
		        spec->short_name ? ',' : ' ', spec->name, *value ? " " : "", value);
	buf_put(out, head, strlen(head));

	size_t column = (size_t)length;
	if (column + 2 > OPTIONS_HELP_COLUMN) {
		buf_put_u8(out, '\n');
		column = 0;
	}
	options_indent(out, OPTIONS_HELP_COLUMN - column);

	AUTO_BUF words = { 0 };
	buf_put(&words, spec->help, strlen(spec->help));
	options_facts(&words, spec, has_file);
	if (words.failed)
		out->failed = true;
	else
		options_fold(out, (const char *)words.bytes,
		        (const char *)words.bytes + words.count, OPTIONS_HELP_COLUMN,
		        OPTIONS_HELP_COLUMN);
}

static void options_help_options(struct buf *out, const struct option_table *table)
{
	bool has_file = options_has_file(table);

	buf_printf(out, "\nOptions:\n");
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		if (!options_stands_in_file_only(spec))
			options_help_option(out, spec, has_file);
	}
	for (const struct option_spec *spec = options_always_shown; spec->name; spec++)
		options_help_option(out, spec, false);

	if (options_has_file_only(table))
		buf_printf(out, "\nKeys of the configuration file without an option:\n");
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		if (options_stands_in_file_only(spec))
			options_help_option(out, spec, false);
	}

	const char *notes[4];
	size_t notes_count = options_notes(table, notes);
	for (size_t i = 0; i < notes_count; i++) {
		buf_put_u8(out, '\n');
		options_fold_text(out, notes[i], 0, 0);
	}
}

void options_print_help(const struct option_table *table)
{
	AUTO_BUF out = { 0 };
	AUTO_BUF usage = { 0 };

	buf_printf(&usage, "%s %s", table->program, table->usage ? table->usage : "[options]");
	buf_printf(&out, "Usage: ");
	if (!usage.failed)
		options_fold(&out, (const char *)usage.bytes,
		        (const char *)usage.bytes + usage.count, strlen("Usage: "),
		        strlen("Usage: ") + 4);
	if (table->summary) {
		buf_put_u8(&out, '\n');
		options_fold_text(&out, table->summary, 0, 0);
	}
	if (table->description) {
		buf_put_u8(&out, '\n');
		options_paragraphs(&out, table->description);
	}
	options_help_options(&out, table);
	if (table->examples) {
		buf_printf(&out, "\nExamples:\n");
		options_lines(&out, table->examples, table->examples + strlen(table->examples), 2);
	}
	if (table->exit_codes) {
		buf_printf(&out, "\nExit codes:\n");
		options_lines(
		        &out, table->exit_codes, table->exit_codes + strlen(table->exit_codes), 2);
	}
	options_write(&out);
}

/* ---- man ---- */

/* Text for troff: a backslash, a hyphen, and a dot or quote that would open a line are its own. */
static void options_man_text(struct buf *out, const char *text, const char *end)
{
	bool line_start = true;
	for (; text < end; text++) {
		if (line_start && (*text == '.' || *text == '\''))
			buf_printf(out, "\\&");
		if (*text == '\\')
			buf_printf(out, "\\e");
		else if (*text == '-')
			buf_printf(out, "\\-");
		else
			buf_put_u8(out, (uint8_t)*text);
		line_start = *text == '\n';
	}
}

static void options_man_words(struct buf *out, const char *text)
{
	options_man_text(out, text, text + strlen(text));
}

static void options_man_lines(struct buf *out, const char *text, const char *end)
{
	AUTO_BUF lines = { 0 };
	options_lines(&lines, text, end, 0);
	buf_printf(out, ".PP\n.RS 4\n.EX\n");
	if (lines.failed)
		out->failed = true;
	else
		options_man_text(
		        out, (const char *)lines.bytes, (const char *)lines.bytes + lines.count);
	buf_printf(out, ".EE\n.RE\n");
}

static void options_man_paragraphs(struct buf *out, const char *text)
{
	while (*text) {
		bool example = *text == ' ' || *text == '\t';
		const char *end = options_paragraph_end(text, example);
		if (end == text) {
			text++;
			continue;
		}
		if (example) {
			options_man_lines(out, text, end);
		} else {
			buf_printf(out, ".PP\n");
			options_man_text(out, text, end);
			if (end[-1] != '\n')
				buf_put_u8(out, '\n');
		}
		text = end;
	}
}

static void options_man_option(struct buf *out, const struct option_spec *spec, bool has_file)
{
	char name[OPTION_VALUE_NAME_BYTES];
	const char *value = option_value_name(spec, name, sizeof(name));

	buf_printf(out, ".TP\n");
	if (options_stands_in_file_only(spec)) {
		buf_printf(out, "\\fB");
		options_man_words(out, spec->name);
		buf_printf(out, ":\\fR");
	} else {
		if (spec->short_name)
			buf_printf(out, "\\fB\\-%c\\fR, ", spec->short_name);
		buf_printf(out, "\\fB\\-\\-");
		options_man_words(out, spec->name);
		buf_printf(out, "\\fR");
		if (*value) {
			buf_printf(out, " \\fI");
			options_man_words(out, value);
			buf_printf(out, "\\fR");
		}
	}
	buf_put_u8(out, '\n');

	AUTO_BUF words = { 0 };
	buf_put(&words, spec->help, strlen(spec->help));
	options_facts(&words, spec, has_file);
	if (words.failed)
		out->failed = true;
	else
		options_man_text(
		        out, (const char *)words.bytes, (const char *)words.bytes + words.count);
	buf_put_u8(out, '\n');
}

static void options_man_name(struct buf *out, const struct option_table *table)
{
	buf_printf(out, ".SH NAME\n");
	for (const char *c = table->program; *c; c++)
		buf_printf(out, *c == ' ' || *c == '-' ? "\\-" : "%c", *c);
	buf_printf(out, " \\- ");
	options_man_words(out, table->summary ? table->summary : table->program);
	buf_put_u8(out, '\n');
}

/* What the program is called, what it is for, and how it is called. */
static void options_man_head(struct buf *out, const struct option_table *table)
{
	/* The page of "profleet diff" is profleet-diff(1). */
	buf_printf(out, ".TH \"");
	for (const char *c = table->program; *c; c++)
		buf_put_u8(out, *c == ' ' ? '-' : (uint8_t)toupper((unsigned char)*c));
	buf_printf(out, "\" 1 \"\" \"profleet %s\" \"profleet manual\"\n", PROFLEET_VERSION);

	options_man_name(out, table);
	buf_printf(out, ".SH SYNOPSIS\n.nh\n\\fB");
	options_man_words(out, table->program);
	buf_printf(out, "\\fR ");
	options_man_words(out, table->usage ? table->usage : "[options]");
	buf_printf(out, "\n.hy\n");
}

/* What stands on a command line. */
static void options_man_line(struct buf *out, const struct option_table *table)
{
	bool has_file = options_has_file(table);
	const char *notes[4];
	size_t notes_count = options_notes(table, notes);

	buf_printf(out, ".SH OPTIONS\n");
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		if (!options_stands_in_file_only(spec))
			options_man_option(out, spec, has_file);
	}
	for (const struct option_spec *spec = options_always_shown; spec->name; spec++)
		options_man_option(out, spec, false);
	for (size_t i = 0; i < notes_count; i++) {
		buf_printf(out, ".PP\n");
		options_man_words(out, notes[i]);
		buf_put_u8(out, '\n');
	}
}

/* What stands only in a file. */
static void options_man_file(struct buf *out, const struct option_table *table)
{
	if (options_has_file_only(table))
		buf_printf(out, ".SH \"CONFIGURATION FILE\"\nKeys without an option:\n");
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		if (options_stands_in_file_only(spec))
			options_man_option(out, spec, false);
	}
}

void options_print_man(const struct option_table *table)
{
	AUTO_BUF out = { 0 };

	options_man_head(&out, table);
	if (table->description) {
		buf_printf(&out, ".SH DESCRIPTION\n");
		options_man_paragraphs(&out, table->description);
	}
	options_man_line(&out, table);
	options_man_file(&out, table);
	if (table->examples) {
		buf_printf(&out, ".SH EXAMPLES\n");
		options_man_lines(&out, table->examples, table->examples + strlen(table->examples));
	}
	if (table->exit_codes) {
		buf_printf(&out, ".SH \"EXIT STATUS\"\n");
		options_man_lines(
		        &out, table->exit_codes, table->exit_codes + strlen(table->exit_codes));
	}
	options_write(&out);
}
