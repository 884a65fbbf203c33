/* No retries: a change that may have been made must not be made twice. */

#include "query/admin.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/net.h"
#include "core/rng.h"
#include "query/client.h"
#include "query/complain.h"
#include "query/output.h"
#include "query/policy_file.h"
#include "query/progress.h"
#include "query/rows.h"
#include "query/text.h"
#include "query/units.h"

#define ADMIN_ACTOR_BYTES 256
#define ADMIN_PROGRESS_MS 1000 /* for how far a request is */

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

/* A request, and what is asked about it while it is waited for. */
struct admin_asking {
	const char *method;
	char id[24];
	char actor[ADMIN_ACTOR_BYTES];
	const char *address;
	struct net_client *net; /* of the questions how far it is; opened by the first */
	bool is_unknown;        /* the aggregator is older than that */
};

static void admin_asking_put(const struct admin_asking *asking, const char *method,
        const struct buf *body, struct buf *payload)
{
	wire_put_admin(&(struct wire_admin){ .method = admin_text(method),
	                       .actor = admin_text(asking->actor),
	                       .request = admin_text(asking->id),
	                       .body = (const char *)body->bytes,
	                       .body_count = (uint32_t)body->count },
	        payload);
}

static int admin_call(struct client *client, const struct admin_asking *asking,
        const struct buf *body, struct buf *unpacked, struct wire_admin_reply *ret_reply)
{
	AUTO_BUF payload = { 0 };
	struct wire_message message;
	if (body->failed)
		return client_explain(client, -ENOMEM);
	if (body->count > WIRE_ADMIN_BODY_BYTES_MAX)
		return complain(EXIT_CODE_USAGE, "the request is larger than %u KiB; split it",
		        WIRE_ADMIN_BODY_BYTES_MAX >> 10);
	admin_asking_put(asking, asking->method, body, &payload);
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

/* A reply to "how far is it": false where there is none that says so. */
static bool admin_ask_reply(struct admin_asking *asking, struct json_reply *ret_reply)
{
	AUTO_BUF body = { 0 };
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { .limit = NET_MESSAGE_BYTES_MAX };
	struct wire_message message;
	struct wire_admin_reply wire;
	struct json_writer json = admin_body_begin(&body);
	json_key_text(&json, "method", asking->method);
	json_key_text(&json, "request", asking->id);
	admin_body_end(&json);
	admin_asking_put(asking, "admin.progress", &body, &payload);
	if (body.failed || client_call_beside(asking->net, WIRE_ADMIN, &payload, ADMIN_PROGRESS_MS,
	                           &unpacked, &message) < 0)
		return false;
	asking->is_unknown = message.kind != WIRE_ADMIN_REPLY ||
	                     wire_get_admin_reply(&message.payload, &wire) < 0;
	if (asking->is_unknown)
		return false;
	buf_put(&ret_reply->text, wire.body, wire.body_count);
	return json_reply_parse(ret_reply) == 0;
}

/* Says what it waits for, and how far it is itself. */
static bool admin_ask_progress(void *owner, uint64_t *ret_done, uint64_t *ret_total)
{
	struct admin_asking *asking = owner;
	struct json_reply reply = { 0 };
	char doing[480];
	if (asking->is_unknown ||
	        (!asking->net && net_client_open(asking->address, &asking->net) < 0))
		return false;
	bool is_known = admin_ask_reply(asking, &reply);
	const json_t *before = is_known ? json_object_get(reply.root, "before") : NULL;
	if (before)
		snprintf(doing, sizeof(doing), "%s waits for %s of %s, at work for %s",
		        asking->method, json_reply_text(before, "method"),
		        json_reply_text(before, "actor"),
		        units_duration(json_reply_u64(before, "for_ns")).text);
	else
		snprintf(doing, sizeof(doing), "waiting for %s", asking->address);
	if (is_known) {
		progress_say(doing);
		*ret_done = json_reply_u64(reply.root, "done");
		*ret_total = json_reply_u64(reply.root, "total");
	}
	json_reply_fini(&reply);
	return is_known;
}

int admin_ask(const struct shared_args *shared, const char *method, const struct buf *body,
        struct json_reply *ret_reply)
{
	AUTO(client) client = NULL;
	AUTO_BUF unpacked = { 0 };
	struct wire_admin_reply wire = { 0 };
	struct admin_asking asking = { .method = method };
	uint64_t number = 0;
	char doing[160];
	int code = client_open(shared, &client);
	if (code)
		return code;
	asking.address = client_address(client);
	admin_actor(asking.actor);
	(void)rng_os_bytes(&number, sizeof(number)); /* an id that is 0 is an id */
	snprintf(asking.id, sizeof(asking.id), "%016llx", (unsigned long long)number);
	snprintf(doing, sizeof(doing), "waiting for %s", asking.address);
	progress_begin(doing);
	progress_ask(admin_ask_progress, &asking);
	code = admin_call(client, &asking, body, &unpacked, &wire);
	progress_end();
	net_client_free(asking.net);
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
	AUTO_BUF lines = { 0 };
	int r = as_json ? json_reply_print(reply, &text) : put(reply->root, output, &text);
	json_reply_fini(reply);
	if (r < 0)
		return rows_explain(r);
	text_wrap(&text, as_json ? 0 : output->width, &lines);
	return output_deliver(output, &lines, code);
}
