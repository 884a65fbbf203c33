/* Keeps, for each open object or array, whether a comma is due. */

#include "core/json.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/utf8.h"

struct json_writer json_writer_of(struct buf *to, bool pretty)
{
	return (struct json_writer){ .to = to, .pretty = pretty };
}

static void json_newline(struct json_writer *json)
{
	if (!json->pretty)
		return;
	buf_put_u8(json->to, '\n');
	for (uint32_t i = 0; i < json->depth; i++)
		buf_put(json->to, "  ", 2);
}

/* What stands before a value or a key: a comma where one is due. */
static void json_separate(struct json_writer *json)
{
	if (json->after_key) {
		json->after_key = false;
		return;
	}
	if (json->depth == 0 || json->depth > JSON_DEPTH_MAX)
		return;
	if (json->has_items[json->depth - 1])
		buf_put_u8(json->to, ',');
	json->has_items[json->depth - 1] = true;
	json_newline(json);
}

static void json_begin(struct json_writer *json, char bracket)
{
	json_separate(json);
	if (json->depth >= JSON_DEPTH_MAX) {
		/* How deep a tree is nested is data. Counted on, so that the ends still match. */
		json->to->failed = true;
		json->depth++;
		return;
	}
	buf_put_u8(json->to, (uint8_t)bracket);
	json->has_items[json->depth++] = false;
}

static void json_end(struct json_writer *json, char bracket)
{
	assert(json->depth > 0 && !json->after_key);
	if (--json->depth >= JSON_DEPTH_MAX)
		return;
	bool has_items = json->has_items[json->depth];
	if (has_items)
		json_newline(json);
	buf_put_u8(json->to, (uint8_t)bracket);
}

void json_object_begin(struct json_writer *json)
{
	json_begin(json, '{');
}

void json_object_end(struct json_writer *json)
{
	json_end(json, '}');
}

void json_array_begin(struct json_writer *json)
{
	json_begin(json, '[');
}

void json_array_end(struct json_writer *json)
{
	json_end(json, ']');
}

/* Writes one character that cannot stand as it is; true when it did. */
static bool json_put_escaped(struct buf *to, uint32_t code)
{
	switch (code) {
	case '"':
		buf_put(to, "\\\"", 2);
		return true;
	case '\\':
		buf_put(to, "\\\\", 2);
		return true;
	case '\n':
		buf_put(to, "\\n", 2);
		return true;
	case '\t':
		buf_put(to, "\\t", 2);
		return true;
	default:
		break;
	}
	/* Controls speak to terminals, U+2028 and U+2029 end a line in JavaScript, and the three
	 * marks have a meaning in HTML. All that is not harmless has four digits. */
	if (!utf8_is_harmless(code) || code == '<' || code == '>' || code == '&') {
		buf_printf(to, "\\u%04x", code);
		return true;
	}
	return false;
}

void json_put_string(struct buf *to, const char *bytes, size_t count)
{
	const uint8_t *at = (const uint8_t *)bytes;
	buf_put_u8(to, '"');
	while (count > 0) {
		uint32_t code;
		size_t length = utf8_decode(at, count, &code);
		if (length == 0) {
			buf_put(to, UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT));
			length = 1;
		} else if (!json_put_escaped(to, code)) {
			buf_put(to, at, length);
		}
		at += length;
		count -= length;
	}
	buf_put_u8(to, '"');
}

void json_key(struct json_writer *json, const char *key)
{
	assert(json->depth > 0 && !json->after_key);
	json_separate(json);
	json_put_string(json->to, key, strlen(key));
	buf_put(json->to, ": ", json->pretty ? 2 : 1);
	json->after_key = true;
}

void json_raw(struct json_writer *json, const char *bytes, size_t count)
{
	json_separate(json);
	buf_put(json->to, bytes, count);
}

void json_bytes(struct json_writer *json, const char *bytes, size_t count)
{
	json_separate(json);
	json_put_string(json->to, bytes, count);
}

void json_text(struct json_writer *json, const char *text)
{
	json_bytes(json, text, strlen(text));
}

void json_u64(struct json_writer *json, uint64_t value)
{
	json_separate(json);
	buf_printf(json->to, "%lu", (unsigned long)value);
}

void json_double(struct json_writer *json, double value)
{
	if (!isfinite(value)) {
		json_write_null(json);
		return;
	}
	json_separate(json);
	buf_printf(json->to, "%.15g", value);
}

void json_bool(struct json_writer *json, bool value)
{
	json_separate(json);
	buf_printf(json->to, "%s", value ? "true" : "false");
}

void json_write_null(struct json_writer *json)
{
	json_separate(json);
	buf_put(json->to, "null", 4);
}

void json_key_text(struct json_writer *json, const char *key, const char *text)
{
	json_key(json, key);
	json_text(json, text);
}

void json_key_u64(struct json_writer *json, const char *key, uint64_t value)
{
	json_key(json, key);
	json_u64(json, value);
}

void json_key_double(struct json_writer *json, const char *key, double value)
{
	json_key(json, key);
	json_double(json, value);
}

void json_key_bool(struct json_writer *json, const char *key, bool value)
{
	json_key(json, key);
	json_bool(json, value);
}
