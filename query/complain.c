/* Errors and remarks of the CLI: one safe line on stderr, after the progress line was wiped. */

#include "query/complain.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/buf.h"
#include "query/progress.h"
#include "query/text.h"

static char *complain_held;
static size_t complain_held_bytes;

void complain_hold(char *text, size_t bytes)
{
	complain_held = text;
	complain_held_bytes = bytes;
}

void complain_release(void)
{
	complain_held = NULL;
}

__attribute__((format(printf, 1, 0))) static void complain_print(const char *format, va_list values)
{
	char line[4096];
	(void)vsnprintf(line, sizeof(line), format, values); /* A longer one is cut. */

	AUTO_BUF safe = { 0 };
	text_put_safe(&safe, line);
	buf_put_u8(&safe, '\0');
	progress_wipe();
	fprintf(stderr, "profleet: %s\n", safe.failed ? "out of memory" : (const char *)safe.bytes);
}

int complain(enum exit_code code, const char *format, ...)
{
	va_list values;
	va_start(values, format);
	if (complain_held)
		(void)vsnprintf(complain_held, complain_held_bytes, format, values);
	else
		complain_print(format, values);
	va_end(values);
	return (int)code;
}

void remark(const char *format, ...)
{
	va_list values;
	va_start(values, format);
	complain_print(format, values);
	va_end(values);
}
