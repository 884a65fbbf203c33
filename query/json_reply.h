#pragma once

/*
 * json_reply is an answer that an aggregator gives as JSON text (series, labels, agents, status),
 * parsed. Members that are missing or of another kind read as nothing: an older or newer aggregator
 * costs a blank in a table, never a crash.
 */

#include <jansson.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "query/client.h"

struct json_reply {
	bool is_rounded; /* some number is past 2^63, so all are doubles */
	json_t *root;
	struct buf text;
};

/* 0, or an exit code after complaining. */
int json_reply_ask(
        struct client *client, const struct wire_query *query, struct json_reply *ret_reply);
/* Parses reply->text into the rest. -EPROTO: not a JSON object. */
int json_reply_parse(struct json_reply *reply);
void json_reply_fini(struct json_reply *reply);

const char *json_reply_text(const json_t *object, const char *key); /* "" when it is not there */
uint64_t json_reply_u64(const json_t *object, const char *key);     /* 0 likewise */
/* Of this member of all objects in a list. -EOVERFLOW. */
int json_reply_sum(const json_t *list, const char *key, uint64_t *ret_sum);
double json_reply_double(const json_t *object, const char *key);

/* The reply's own text, as it came, in a form for people to read. */
int json_reply_print(const struct json_reply *reply, struct buf *to);
