/*
 * libiberty prints through a callback here, which counts; the callback cannot stop it, so what
 * bounds the time is the bound on the input and libiberty's own limits on recursion and on
 * expansion.
 */

#include "profile/demangle.h"

#include <libiberty/demangle.h>
#include <string.h>

struct demangle_sink {
	char text[DEMANGLE_OUTPUT_BYTES_MAX];
	size_t count;
	bool overflow;
};

static void demangle_write(const char *text, size_t count, void *opaque)
{
	struct demangle_sink *sink = opaque;
	/* An empty piece may come as NULL, which memcpy() may not be given. */
	if (count == 0)
		return;
	if (sink->overflow || count > sizeof(sink->text) - sink->count) {
		sink->overflow = true;
		return;
	}
	memcpy(sink->text + sink->count, text, count);
	sink->count += count;
}

/* _ZN ... 17h<16 hex digits>E: the hash says which build, not which function. */
static size_t demangle_without_rust_hash(const char *text, size_t count)
{
	if (count < 19 || memcmp(text + count - 19, "::h", 3) != 0)
		return count;
	for (size_t i = count - 16; i < count; i++)
		if (!strchr("0123456789abcdef", text[i]))
			return count;
	return count - 19;
}

bool demangle(const char *mangled, struct buf *to)
{
	bool itanium = strncmp(mangled, "_Z", 2) == 0 || strncmp(mangled, "__Z", 3) == 0;
	bool rust = strncmp(mangled, "_R", 2) == 0;
	if ((!itanium && !rust) ||
	        strnlen(mangled, DEMANGLE_INPUT_BYTES_MAX + 1) > DEMANGLE_INPUT_BYTES_MAX)
		return false;

	struct demangle_sink sink = { .count = 0 };
	/* A Rust name of the old form is also a C++ one, only uglier: Rust first. */
	if (rust_demangle_callback(mangled, DMGL_PARAMS, demangle_write, &sink) && !sink.overflow &&
	        sink.count > 0) {
		sink.count = demangle_without_rust_hash(sink.text, sink.count);
	} else {
		sink.count = 0;
		sink.overflow = false;
		if (!itanium || !cplus_demangle_v3_callback(
		                        mangled, DMGL_PARAMS | DMGL_ANSI, demangle_write, &sink))
			return false;
	}
	if (sink.overflow || sink.count == 0)
		return false;
	buf_put(to, sink.text, sink.count);
	return true;
}
