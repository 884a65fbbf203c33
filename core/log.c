/*
 * A line is built in a fixed buffer on the caller's stack and leaves in one write(2): no lock, no
 * allocation, and lines of several threads or processes never mix, for a line is no longer than
 * what a pipe takes at once (PIPE_BUF). A text that does not fit is cut and ends in "...".
 *
 * The format is described for operators in docs/operating/logs.md.
 */

#include "core/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/clock.h"
#include "core/utf8.h"

#define LOG_LINE_BYTES_MAX    PIPE_BUF
#define LOG_PROGRAM_BYTES_MAX 64
#define LOG_ID_BYTES_MAX      64
#define LOG_CUT               "..."

static const char *const log_level_names[] = {
	[LOG_LEVEL_DEBUG] = "debug",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_ERROR] = "error",
};

static char log_program[LOG_PROGRAM_BYTES_MAX] = "profleet";
static enum log_format log_format_chosen = LOG_FORMAT_TEXT;
static _Atomic int log_level_least = LOG_LEVEL_INFO;

struct log_line {
	char bytes[LOG_LINE_BYTES_MAX];
	size_t count;
	size_t limit; /* what texts may fill: less than the buffer, so that the closing fits */
	enum log_format format;
};

void log_setup(const char *program, enum log_level level, enum log_format format)
{
	snprintf(log_program, sizeof(log_program), "%s", program);
	log_format_chosen = format;
	log_set_level(level);
}

void log_set_level(enum log_level level)
{
	assert(level >= LOG_LEVEL_DEBUG && level <= LOG_LEVEL_ERROR);
	atomic_store_explicit(&log_level_least, (int)level, memory_order_relaxed);
}

static bool log_line_put(struct log_line *line, const char *text, size_t count)
{
	if (count > line->limit - line->count)
		return false;
	memcpy(line->bytes + line->count, text, count);
	line->count += count;
	return true;
}

static void log_line_words(struct log_line *line, const char *text)
{
	(void)log_line_put(line, text, strlen(text));
}

/* How a character that must not stand as it is gets written; 0 when it may. */
static int log_escape(
        enum log_format format, uint32_t code, size_t length, uint8_t byte, char escaped[static 16])
{
	if (length == 0) {
		return format == LOG_FORMAT_JSON ? snprintf(escaped, 16, "\\ufffd")
		                                 : snprintf(escaped, 16, "\\x%02x", byte);
	}
	if (code == '\\' || (code == '"' && format == LOG_FORMAT_JSON))
		return snprintf(escaped, 16, "\\%c", (char)code);
	if (utf8_is_harmless(code))
		return 0;

	const char *short_form = code < 0x20 ? strchr("\nn\tt\rr", (int)code) : NULL;
	if (code != 0 && short_form)
		return snprintf(escaped, 16, "\\%c", short_form[1]);
	if (code < 0x80 && format == LOG_FORMAT_TEXT)
		return snprintf(escaped, 16, "\\x%02x", code);
	return snprintf(escaped, 16, "\\u%04x", code);
}

/* Appends `text` with everything escaped that could end the line or speak to a terminal. */
static void log_line_text(struct log_line *line, const char *text)
{
	const uint8_t *at = (const uint8_t *)text;
	size_t left = strlen(text);
	bool fits = true;

	line->limit -= strlen(LOG_CUT);
	while (left > 0 && fits) {
		uint32_t code = 0;
		char escaped[16];
		size_t length = utf8_decode(at, left, &code);
		int escaped_count = log_escape(line->format, code, length, *at, escaped);

		length += length == 0;
		fits = escaped_count > 0 ? log_line_put(line, escaped, (size_t)escaped_count)
		                         : log_line_put(line, (const char *)at, length);
		at += length;
		left -= length;
	}
	line->limit += strlen(LOG_CUT);
	if (!fits)
		log_line_words(line, LOG_CUT);
}

static void log_line_time(struct log_line *line)
{
	uint64_t now_ns = clock_unix_ns(clock_real());
	time_t now_s = (time_t)(now_ns / NS_PER_S);
	unsigned int ms = (unsigned int)(now_ns % NS_PER_S / NS_PER_MS);
	struct tm parts;
	char day[32], stamp[48];

	(void)gmtime_r(&now_s, &parts);
	(void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(stamp, sizeof(stamp), "%s.%03uZ", day, ms);
	log_line_words(line, stamp);
}

/* Nobody is left to be told when standard error does not take it. */
static void log_line_write(const struct log_line *line)
{
	size_t written = 0;
	while (written < line->count) {
		ssize_t n = write(STDERR_FILENO, line->bytes + written, line->count - written);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		written += (size_t)n;
	}
}

void log_event(enum log_level level, const char *id, const char *format, ...)
{
	if ((int)level < atomic_load_explicit(&log_level_least, memory_order_relaxed))
		return;
	assert(level >= LOG_LEVEL_DEBUG && level <= LOG_LEVEL_ERROR);
	assert(strlen(id) < LOG_ID_BYTES_MAX);

	int errno_before = errno;
	char text[LOG_LINE_BYTES_MAX];
	va_list arguments;
	va_start(arguments, format);
	if (vsnprintf(text, sizeof(text), format, arguments) < 0)
		snprintf(text, sizeof(text), "(text could not be formatted)");
	va_end(arguments);

	struct log_line line = { .format = log_format_chosen };
	line.limit = sizeof(line.bytes) - strlen("\"}\n");
	bool json = line.format == LOG_FORMAT_JSON;

	log_line_words(&line, json ? "{\"ts\":\"" : "");
	log_line_time(&line);
	log_line_words(&line, json ? "\",\"level\":\"" : " ");
	log_line_words(&line, json ? log_level_names[level] : log_program);
	log_line_words(&line, json ? "\",\"program\":\"" : " ");
	log_line_words(&line, json ? log_program : log_level_names[level]);
	log_line_words(&line, json ? "\",\"event\":\"" : " ");
	log_line_words(&line, id);
	log_line_words(&line, json ? "\",\"text\":\"" : " ");
	log_line_text(&line, text);

	line.limit = sizeof(line.bytes);
	log_line_words(&line, json ? "\"}\n" : "\n");
	log_line_write(&line);
	errno = errno_before;
}
