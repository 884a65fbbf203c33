/*
 * Names of labels that hold a sample's labels: the two directions are beside each other, since one
 * has to undo the other.
 */

#include "profile/pprof_label_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void pprof_put_escaped(struct buf *to, const char *text, size_t count, bool is_unit)
{
	for (size_t i = 0; i < count; i++) {
		if (text[i] == '%' || text[i] == '#' || (is_unit && text[i] == '.'))
			buf_printf(to, "%%%02X", (unsigned char)text[i]);
		else
			buf_put_u8(to, (uint8_t)text[i]);
	}
}

void pprof_put_unescaped(struct buf *to, const char *text, size_t count)
{
	static const char escaped[][4] = { "%25", "%23", "%2E" };
	static const char meant[] = { '%', '#', '.' };

	for (size_t i = 0; i < count; i++) {
		size_t which = COUNT_OF(escaped);

		if (count - i >= 3)
			for (which = 0; which < COUNT_OF(escaped); which++)
				if (memcmp(text + i, escaped[which], 3) == 0)
					break;
		if (which == COUNT_OF(escaped)) {
			buf_put_u8(to, (uint8_t)text[i]);
			continue;
		}
		buf_put_u8(to, (uint8_t)meant[which]);
		i += 2;
	}
}

bool pprof_label_is_of_sample(const struct dict *dict, struct label label)
{
	size_t count;
	const char *name = dict_get_string(dict, label.name, &count);

	return (count >= strlen(PPROF_TEXT_LABEL) &&
	               memcmp(name, PPROF_TEXT_LABEL, strlen(PPROF_TEXT_LABEL)) == 0) ||
	       (count >= strlen(PPROF_NUMBER_LABEL) &&
	               memcmp(name, PPROF_NUMBER_LABEL, strlen(PPROF_NUMBER_LABEL)) == 0);
}

/* A whole decimal int64 and nothing else. */
static bool pprof_decode_number(const char *text, size_t count, int64_t *ret_number)
{
	char digits[24];
	char *end;

	if (count == 0 || count >= sizeof(digits) || text[0] == ' ' || text[0] == '+')
		return false;
	memcpy(digits, text, count);
	digits[count] = 0;
	errno = 0;
	*ret_number = strtoll(digits, &end, 10);
	return errno == 0 && *end == 0 && end == digits + count;
}

struct pprof_decoded_label pprof_decode_label(const struct dict *dict, struct label label)
{
	struct pprof_decoded_label decoded = { .rank = 1 };
	size_t count, value_count;
	const char *name = dict_get_string(dict, label.name, &count);
	const char *value = dict_get_string(dict, label.value, &value_count);
	const char *hash = memrchr(name, '#', count);

	decoded.key = name;
	decoded.key_count = count;
	if (hash && hash + 1 < name + count && name + count - hash < 8) {
		int64_t rank;
		if (pprof_decode_number(hash + 1, (size_t)(name + count - hash - 1), &rank) &&
		        rank > 1) {
			decoded.rank = (uint32_t)rank;
			count = (size_t)(hash - name);
		}
	}
	size_t text_prefix = strlen(PPROF_TEXT_LABEL);
	size_t number_prefix = strlen(PPROF_NUMBER_LABEL);
	if (memcmp(name, PPROF_TEXT_LABEL, text_prefix) == 0) {
		decoded.key = name + text_prefix;
		decoded.key_count = count - text_prefix;
		return decoded;
	}
	const char *dot = count > number_prefix
	                          ? memrchr(name + number_prefix, '.', count - number_prefix)
	                          : NULL;
	if (dot && pprof_decode_number(value, value_count, &decoded.number)) {
		decoded.is_number = true;
		decoded.key = name + number_prefix;
		decoded.key_count = (size_t)(dot - decoded.key);
		decoded.unit = dot + 1;
		decoded.unit_count = (size_t)(name + count - decoded.unit);
	} else {
		decoded.rank = 1;
	}
	return decoded;
}
