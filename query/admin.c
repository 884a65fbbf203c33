/* No retries: a change that may have been made must not be made twice. */

#include "query/admin.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/rng.h"
#include "query/client.h"
#include "query/complain.h"
#include "query/output.h"
#include "query/policy_file.h"
#include "query/progress.h"
#include "query/rows.h"
#include "query/units.h"

#define ADMIN_ACTOR_BYTES 256

static void admin_actor(char text[ADMIN_ACTOR_BYTES])
{
	char host[128] = "";
	const struct passwd *user = getpwuid(getuid());
	(void)gethostname(host, sizeof(host) - 1);
	if (user)
		snprintf(text, ADMIN_ACTOR_BYTES, "%.100s@%s", user->pw_name, host);
	else
		snprintf(text, ADMIN_ACTOR_BYTES, "uid-%u@%s", (unsigned)getuid(), host);
}

static struct wire_text admin_text(const char *text)
{
	return (struct wire_text){ text, (uint32_t)strlen(text) };
}

static int admin_call(struct client *client, const char *method, const struct buf *body,
        struct buf *unpacked, struct wire_admin_reply *ret_reply)
{
	char actor[ADMIN_ACTOR_BYTES], id[24];
	uint64_t number = 0;
	AUTO_BUF payload = { 0 };
	struct wire_message message;
	admin_actor(actor);
	(void)rng_os_bytes(&number, sizeof(number)); /* an id that is 0 is an id */
	snprintf(id, sizeof(id), "%016llx", (unsigned long long)number);
	if (body->failed)
		return client_explain(client, -ENOMEM);
	if (body->count > WIRE_ADMIN_BODY_BYTES_MAX)
		return complain(EXIT_CODE_USAGE, "the request is larger than %u KiB; split it",
		        WIRE_ADMIN_BODY_BYTES_MAX >> 10);
	wire_put_admin(&(struct wire_admin){ .method = admin_text(method),
	                       .actor = admin_text(actor),
	                       .request = admin_text(id),
	                       .body = (const char *)body->bytes,
	                       .body_count = (uint32_t)body->count },
	        &payload);
	int r = client_call(client, WIRE_ADMIN, &payload, 0, unpacked, &message);
	if (r < 0)
		return client_explain(client, r);
	struct wire_status_reply status;
	if (message.kind == WIRE_STATUS && wire_get_status(&message.payload, &status) == 0)
		return client_explain_status(client, &status);
	if (message.kind != WIRE_ADMIN_REPLY ||
	        wire_get_admin_reply(&message.payload, ret_reply) < 0)
		return client_explain(client, -EPROTO);
	return 0;
}

int admin_ask(const struct shared_args *shared, const char *method, const struct buf *body,
        struct json_reply *ret_reply)
{
	AUTO(client) client = NULL;
	AUTO_BUF unpacked = { 0 };
	struct wire_admin_reply wire = { 0 };
	char doing[160];
	int code = client_open(shared, &client);
	if (code)
		return code;
	snprintf(doing, sizeof(doing), "waiting for %s", client_address(client));
	progress_begin(doing);
	code = admin_call(client, method, body, &unpacked, &wire);
	progress_end();
	if (code)
		return code;
	struct json_reply reply = { 0 };
	buf_put(&reply.text, wire.body, wire.body_count);
	if (json_reply_parse(&reply) < 0) {
		json_reply_fini(&reply);
		return client_explain(client, -EPROTO);
	}
	*ret_reply = reply;
	return 0;
}

struct json_writer admin_body_begin(struct buf *body)
{
	struct json_writer json = json_writer_of(body, false);
	json_object_begin(&json);
	return json;
}

void admin_body_end(struct json_writer *json)
{
	json_object_end(json);
}

int admin_body_time(struct json_writer *json, const char *key, const char *option,
        const struct option_time *time)
{
	char error[256];
	uint64_t ns;
	if (!time->text)
		return 0;
	if (option_time_ns(time, clock_unix_ns(clock_real()), 0, &ns, error, sizeof(error)) < 0)
		return complain(EXIT_CODE_USAGE, "%s: %s", option, error);
	json_key_u64(json, key, ns);
	return 0;
}

int admin_body_file(struct json_writer *json, const char *path)
{
	AUTO_BUF text = { 0 };
	int code = policy_file_read(path, &text);
	if (code)
		return code;
	json_key(json, "text");
	json_bytes(json, (const char *)text.bytes, text.count);
	json_key_text(json, "file", strcmp(path, "-") == 0 ? "standard input" : path);
	return 0;
}

const char *admin_time(const json_t *object, const char *key, const char *none, char text[48])
{
	uint64_t ns = json_reply_u64(object, key);
	snprintf(text, 48, "%s", ns > 0 ? units_time(ns).text : none);
	return text;
}

int admin_deliver(struct json_reply *reply, bool as_json, const struct output *output,
        admin_put put, int code)
{
	AUTO_BUF text = { 0 };
	int r = as_json ? json_reply_print(reply, &text) : put(reply->root, output, &text);
	json_reply_fini(reply);
	if (r < 0)
		return rows_explain(r);
	return output_deliver(output, &text, code);
}
