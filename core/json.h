#pragma once

/*
 * json writes JSON text straight into a buf, for logs, answers and pages with a million nodes.
 * (Parsing is done with jansson, where a whole tree is wanted.)
 *
 *	struct json_writer json = json_writer_of(&buf, false);
 *	json_object_begin(&json);
 *	json_key(&json, "schema_version");
 *	json_u64(&json, 1);
 *	json_object_end(&json);
 *
 * Commas and indentation come by themselves. Text is untrusted: control characters are escaped,
 * bytes that are not UTF-8 become U+FFFD, and '<', '>' and '&' are escaped too, so that the text
 * may stand in a page. Errors stick to the buf; nesting deeper than JSON_DEPTH_MAX is one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

#define JSON_DEPTH_MAX 2048 /* a tree of the deepest stack: an object and an array per frame */

struct json_writer {
	struct buf *to;
	bool pretty;
	uint32_t depth;
	bool after_key;
	bool has_items[JSON_DEPTH_MAX]; /* of the object or array at each depth */
};

struct json_writer json_writer_of(struct buf *to, bool pretty);

void json_object_begin(struct json_writer *json);
void json_object_end(struct json_writer *json);
void json_array_begin(struct json_writer *json);
void json_array_end(struct json_writer *json);

void json_key(struct json_writer *json, const char *key);

void json_text(struct json_writer *json, const char *text);
void json_bytes(struct json_writer *json, const char *bytes, size_t count);
void json_u64(struct json_writer *json, uint64_t value);
/* With at most 15 significant digits. What is not finite becomes null: JSON has no word for it. */
void json_double(struct json_writer *json, double value);
void json_bool(struct json_writer *json, bool value);
/* (Not json_null: that is one of jansson, and the linker would take ours for it.) */
void json_write_null(struct json_writer *json);
/* A value that is JSON already, as it is. */
void json_raw(struct json_writer *json, const char *bytes, size_t count);

/* A key with its value. */
void json_key_text(struct json_writer *json, const char *key, const char *text);
void json_key_u64(struct json_writer *json, const char *key, uint64_t value);
void json_key_double(struct json_writer *json, const char *key, double value);
void json_key_bool(struct json_writer *json, const char *key, bool value);

/* A quoted and escaped string on its own. */
void json_put_string(struct buf *to, const char *bytes, size_t count);
