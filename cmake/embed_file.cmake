# Run by profleet_embed() at build time: writes HEADER with the bytes of FILE as embed_SYMBOL.

file(READ ${FILE} bytes HEX)
file(SIZE ${FILE} count)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
# Lines of 16 bytes, so that a compiler's message about one of them can be read.
string(REGEX REPLACE "(................................................................................)"
	"\\1\n" bytes "${bytes}")
get_filename_component(name ${FILE} NAME)
file(WRITE ${HEADER}
"#pragma once

/* Made from ${name} by cmake/embed_file.cmake. */

#include <stddef.h>

__attribute__((unused)) static const unsigned char embed_${SYMBOL}[] = {
${bytes}
0x00 };
__attribute__((unused)) static const size_t embed_${SYMBOL}_bytes = ${count};
")
