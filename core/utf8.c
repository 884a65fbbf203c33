/* Decodes by the table of well-formed sequences in the Unicode standard, chapter 3.9 (table 3-7).
 */

#include "core/utf8.h"

#include <string.h>

size_t utf8_decode(const uint8_t *bytes, size_t count, uint32_t *ret_code)
{
	uint8_t first = bytes[0];
	if (first < 0x80) {
		*ret_code = first;
		return 1;
	}
	if (first < 0xc2 || first > 0xf4)
		return 0;

	size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	if (length > count)
		return 0;

	uint32_t code = first & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (bytes[i] & 0x3fu);
	}

	bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
	bool surrogate = code >= 0xd800 && code <= 0xdfff;
	if (overlong || surrogate || code > 0x10ffff)
		return 0;
	*ret_code = code;
	return length;
}

bool utf8_is_harmless(uint32_t code)
{
	if (code < 0x20 || (code >= 0x7f && code <= 0x9f))
		return false;
	bool separates = code == 0x2028 || code == 0x2029;
	bool turns = code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
	             (code >= 0x2066 && code <= 0x2069) || code == 0x061c;
	return !separates && !turns && code != 0xfeff;
}

size_t utf8_count(const char *bytes, size_t count)
{
	const uint8_t *at = (const uint8_t *)bytes;
	size_t characters = 0;
	uint32_t code;
	while (count > 0) {
		size_t length = utf8_decode(at, count, &code);
		length += length == 0;
		at += length;
		count -= length;
		characters++;
	}
	return characters;
}
