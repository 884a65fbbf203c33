# Run by profleet_embed() at build time: writes HEADER with the bytes of FILE as embed_SYMBOL.

file(READ ${FILE} bytes HEX)
file(SIZE ${FILE} count)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
# Lines of 16 bytes, so that a compiler's message about one of them can be read.
string(REGEX REPLACE "(................................................................................)"
	"\\1\n" bytes "${bytes}")
get_filename_component(name ${FILE} NAME)

# The SHA-256 as base64, for a Content-Security-Policy: three digits of hex are two of base64, and
# the last of 64 digits stands alone before one "=".
set(alphabet ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/)
file(SHA256 ${FILE} hex)
set(sha256)
foreach(at RANGE 0 60 3)
	string(SUBSTRING ${hex} ${at} 3 digits)
	math(EXPR high "0x${digits} >> 6")
	math(EXPR low "0x${digits} & 63")
	string(SUBSTRING ${alphabet} ${high} 1 high)
	string(SUBSTRING ${alphabet} ${low} 1 low)
	string(APPEND sha256 ${high}${low})
endforeach()
string(SUBSTRING ${hex} 63 1 digit)
math(EXPR last "0x${digit} << 2")
string(SUBSTRING ${alphabet} ${last} 1 last)
string(APPEND sha256 ${last}=)

file(WRITE ${HEADER}
"#pragma once

/* Made from ${name} by cmake/embed_file.cmake. */

#include <stddef.h>

__attribute__((unused)) static const unsigned char embed_${SYMBOL}[] = {
${bytes}
0x00 };
__attribute__((unused)) static const size_t embed_${SYMBOL}_bytes = ${count};
__attribute__((unused)) static const char embed_${SYMBOL}_sha256[] = \"${sha256}\"; /* base64 */
")
