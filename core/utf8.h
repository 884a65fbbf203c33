#pragma once

/*
 * utf8 walks text that nobody vouches for: names of symbols, processes and labels come as bytes,
 * and end on terminals, in JSON and in HTML.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What stands for bytes that are no text: U+FFFD. */
#define UTF8_REPLACEMENT "\xef\xbf\xbd"

/*
 * The length (1 to 4) of the character at `bytes`, with its code point; 0 when the bytes are not
 * UTF-8 (truncated, overlong, a surrogate, past U+10FFFF): then one byte is to be skipped.
 * `count` is at least 1.
 */
size_t utf8_decode(const uint8_t *bytes, size_t count, uint32_t *ret_code);

/*
 * Shows itself and does nothing else to a terminal or a line of text: no C0 or C1 control, no line
 * or paragraph separator, no change of writing direction, no byte order mark.
 */
bool utf8_is_harmless(uint32_t code);

/* How many characters; a broken byte counts as one. */
size_t utf8_count(const char *bytes, size_t count);
