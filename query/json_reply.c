/* The door to jansson for replies of an aggregator, which are checked like any other input. */

#include "query/json_reply.h"

#include <errno.h>
#include <string.h>

#include "query/complain.h"

int json_reply_parse(struct json_reply *reply)
{
	/* A NUL in a label is legal: \u0000 is refused by jansson unless it is allowed. */
	json_error_t error;
	size_t flags = JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES;
	const char *bytes = (const char *)reply->text.bytes;
	reply->root = json_loadb(bytes, reply->text.count, flags, &error);
	/* jansson's integers end at 2^63, counters of ours at 2^64: then they are read rounded. */
	reply->is_rounded = !reply->root && json_error_code(&error) == json_error_numeric_overflow;
	if (reply->is_rounded)
		reply->root = json_loadb(
		        bytes, reply->text.count, flags | JSON_DECODE_INT_AS_REAL, &error);
	return json_is_object(reply->root) ? 0 : -EPROTO;
}

int json_reply_ask(
        struct client *client, const struct wire_query *query, struct json_reply *ret_reply)
{
	struct json_reply reply = { 0 };
	int code = client_ask(client, query, &reply.text);
	if (code == 0 && json_reply_parse(&reply) < 0)
		code = client_explain(client, -EPROTO);
	if (code) {
		json_reply_fini(&reply);
		return code;
	}
	*ret_reply = reply;
	return 0;
}

void json_reply_fini(struct json_reply *reply)
{
	json_decref(reply->root);
	reply->root = NULL;
	buf_fini(&reply->text);
}

const char *json_reply_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

uint64_t json_reply_u64(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	if (json_is_real(value))
		/* What is nearest to 2^64 is past what fits. */
		return json_real_value(value) <= 0       ? 0
		       : json_real_value(value) < 0x1p64 ? (uint64_t)json_real_value(value)
		                                         : UINT64_MAX;
	json_int_t number = json_integer_value(value);
	return number > 0 ? (uint64_t)number : 0;
}

int json_reply_sum(const json_t *list, const char *key, uint64_t *ret_sum)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < json_array_size(list); i++)
		if (__builtin_add_overflow(sum, json_reply_u64(json_array_get(list, i), key), &sum))
			return -EOVERFLOW;
	*ret_sum = sum;
	return 0;
}

double json_reply_double(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static int json_reply_dump(const char *bytes, size_t count, void *to)
{
	buf_put(to, bytes, count);
	return ((struct buf *)to)->failed ? -1 : 0;
}

int json_reply_print(const struct json_reply *reply, struct buf *to)
{
	/* As it came: an integer of 64 bits must not leave as a rounded one. */
	if (reply->is_rounded) {
		buf_put(to, reply->text.bytes, reply->text.count);
		buf_put_u8(to, '\n');
		return 0;
	}
	if (json_dump_callback(
	            reply->root, json_reply_dump, to, JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0)
		return -ENOMEM;
	buf_put_u8(to, '\n');
	return 0;
}
