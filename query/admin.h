#pragma once

/*
 * admin asks an aggregator to administer itself: one method, one JSON body, one JSON reply
 * (docs/formats/admin.md). Who asks is said with it, for the audit log.
 */

#include "core/buf.h"
#include "core/json.h"
#include "query/command.h"
#include "query/json_reply.h"
#include "query/output.h"

/* `body` is a JSON object. 0, or an exit code after complaining. */
int admin_ask(const struct shared_args *shared, const char *method, const struct buf *body,
        struct json_reply *ret_reply);

/* A body begun: admin_body_end() closes it. */
struct json_writer admin_body_begin(struct buf *body);
void admin_body_end(struct json_writer *json);

/* A time option into a key, left out when it was not given. An exit code. */
int admin_body_time(struct json_writer *json, const char *key, const char *option,
        const struct option_time *time);

/* The content of a file into `text`, and its name into `file`. An exit code. */
int admin_body_file(struct json_writer *json, const char *path);

/* Of a reply: a moment, or `none` where it is 0 or missing. */
const char *admin_time(const json_t *object, const char *key, const char *none, char text[48]);

/*
 * The whole reply as JSON, or what `put` makes of it, its lines broken where the screen ends
 * (output->width: 0 for what machines read). An exit code.
 */
typedef int (*admin_put)(const json_t *root, const struct output *output, struct buf *to);
int admin_deliver(struct json_reply *reply, bool as_json, const struct output *output,
        admin_put put, int code);
