/*
 * A server that is not there is found out by a short first call, so that nobody waits a minute to
 * learn that the address is wrong. BUSY is waited out within the timeout of the question.
 */

#include "query/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/net.h"
#include "core/rng.h"
#include "query/complain.h"
#include "query/progress.h"

#define CLIENT_REACH_MS    3000 /* for somebody to accept the connection */
#define CLIENT_PROGRESS_MS 1000 /* for how far a question is */
#define CLIENT_BUSY_MS_MIN 20
#define CLIENT_BUSY_MS_MAX 5000

struct client {
	struct net_client *net;
	char *address;
	uint32_t timeout_ms;
	bool reached;
	struct buf sealed;
	/* Of the thread that asks how far it is. A connection of its own: one that is silent is
	 * closed, and closing the other would cancel the question. */
	struct net_client *progress_net;
	uint64_t ticket;
};

const char *client_address(const struct client *client)
{
	return client->address;
}

int client_open(const struct shared_args *shared, struct client **ret_client)
{
	const char *address = shared->server;
	const char *named = "--server";
	if (!address || !*address) {
		address = getenv("PROFLEET_SERVER");
		named = "PROFLEET_SERVER";
	}
	if (!address || !*address)
		address = SERVER_DEFAULT;

	AUTO(client) client = calloc(1, sizeof(*client));
	if (!client || !(client->address = strdup(address)))
		return complain(EXIT_CODE_FAILED, "out of memory");
	uint64_t timeout_ms = shared->timeout_ns / NS_PER_MS;
	client->timeout_ms = timeout_ms ? (uint32_t)timeout_ms : 1;

	int result = net_client_open(address, &client->net);
	if (result == -EINVAL)
		return complain(EXIT_CODE_USAGE,
		        "%s %s: not an address; write tcp://HOST:PORT, such as " SERVER_DEFAULT,
		        named, address);
	if (result < 0)
		return complain(EXIT_CODE_FAILED, "%s: %s", address, strerrordesc_np(-result));
	*ret_client = TAKE(client);
	return 0;
}

void client_free(struct client *client)
{
	if (!client)
		return;
	net_client_free(client->progress_net);
	net_client_free(client->net);
	free(client->address);
	buf_fini(&client->sealed);
	free(client);
}

static int client_exchange(struct net_client *net, enum wire_kind kind, const struct buf *payload,
        uint32_t timeout_ms, struct buf *sealed, struct buf *unpacked,
        struct wire_message *ret_reply)
{
	buf_reset(sealed);
	wire_seal(kind, payload, sealed);
	if (payload->failed || sealed->failed)
		return -ENOMEM;

	autofree uint8_t *reply = NULL;
	size_t reply_count = 0;
	int result = net_call(net, sealed->bytes, sealed->count, timeout_ms, &reply, &reply_count);
	if (result < 0)
		return result;
	buf_reset(unpacked);
	return wire_open(reply, reply_count, unpacked, ret_reply);
}

int client_call_beside(struct net_client *net, enum wire_kind kind, const struct buf *payload,
        uint32_t timeout_ms, struct buf *unpacked, struct wire_message *ret_reply)
{
	AUTO_BUF sealed = { 0 };
	return client_exchange(net, kind, payload, timeout_ms, &sealed, unpacked, ret_reply);
}

/*
 * net tries to connect for as long as the call may take. The first call is a small question with a
 * short timeout; that nobody accepts is then known, and that somebody is slow is no failure.
 */
static int client_reach(struct client *client)
{
	if (client->reached)
		return 0;

	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	struct wire_message reply;
	wire_put_query(&(struct wire_query){ .question = WIRE_ASK_STATUS }, &payload);
	if (payload.failed)
		return -ENOMEM;
	uint32_t timeout_ms = client->timeout_ms < CLIENT_REACH_MS ? client->timeout_ms
	                                                           : CLIENT_REACH_MS;
	int result = client_exchange(
	        client->net, WIRE_QUERY, &payload, timeout_ms, &client->sealed, &unpacked, &reply);
	if (result == -ECONNREFUSED)
		return result;
	client->reached = true;
	return 0;
}

int client_call(struct client *client, enum wire_kind kind, const struct buf *payload,
        uint32_t timeout_ms, struct buf *unpacked, struct wire_message *ret_reply)
{
	if (payload->failed)
		return -ENOMEM;
	int result = client_reach(client);
	if (result < 0)
		return result;
	return client_exchange(client->net, kind, payload,
	        timeout_ms ? timeout_ms : client->timeout_ms, &client->sealed, unpacked, ret_reply);
}

int client_explain(const struct client *client, int result)
{
	const char *address = client->address;

	switch (-result) {
	case ECONNREFUSED:
		return complain(EXIT_CODE_FAILED,
		        "no aggregator at %s; start one with: profleet-aggregator --data DIR, or "
		        "name "
		        "another with --server or PROFLEET_SERVER",
		        address);
	case ETIMEDOUT:
		return complain(EXIT_CODE_FAILED,
		        "%s: no reply within %u ms; narrow the question, or wait longer with "
		        "--timeout",
		        address, client->timeout_ms);
	case ECONNRESET:
		return complain(EXIT_CODE_FAILED,
		        "%s: the connection broke before the reply came; see the aggregator's log",
		        address);
	case EPROTO:
	case EBADMSG:
		return complain(EXIT_CODE_FAILED,
		        "%s: the reply makes no sense; is this the address of a "
		        "profleet-aggregator?",
		        address);
	case EPROTONOSUPPORT:
		return complain(EXIT_CODE_FAILED,
		        "%s: the aggregator speaks a newer protocol; use the profleet of its "
		        "version",
		        address);
	case E2BIG:
	case EMSGSIZE:
		return complain(EXIT_CODE_FAILED,
		        "%s: a message past the size limit; narrow the question", address);
	case ENOMEM:
		return complain(EXIT_CODE_FAILED,
		        "out of memory; narrow the question by labels or a shorter range");
	default:
		return complain(EXIT_CODE_FAILED, "%s: %s", address, strerrordesc_np(-result));
	}
}

int client_explain_status(const struct client *client, const struct wire_status_reply *status)
{
	int count = (int)status->text.count;
	const char *text = count ? status->text.bytes : "no reason given";
	if (!count)
		count = (int)strlen(text);

	switch (status->status) {
	case WIRE_INVALID:
		return complain(EXIT_CODE_USAGE, "%.*s", count, text);
	case WIRE_NOT_FOUND:
		return complain(EXIT_CODE_NO_DATA, "%.*s", count, text);
	case WIRE_TOO_BIG:
		return complain(EXIT_CODE_FAILED,
		        "%s: %.*s, or narrow the question by labels or a shorter range",
		        client->address, count, text);
	case WIRE_BUSY:
		return complain(EXIT_CODE_FAILED, "%s: busy: %.*s; try again, or raise --timeout",
		        client->address, count, text);
	case WIRE_DENIED:
		return complain(EXIT_CODE_DENIED, "%s: %.*s", client->address, count, text);
	case WIRE_STOPPED:
		return complain(EXIT_CODE_STOPPED, "%.*s", count, text);
	case WIRE_TOO_NEW:
		return complain(EXIT_CODE_FAILED,
		        "%s: the aggregator is older than this profleet: %.*s; update it",
		        client->address, count, text);
	default:
		return complain(EXIT_CODE_FAILED, "%s: %s: %.*s", client->address,
		        wire_status_name(status->status), count, text);
	}
}

static void client_wait(uint32_t ms)
{
	if (ms < CLIENT_BUSY_MS_MIN)
		ms = CLIENT_BUSY_MS_MIN;
	if (ms > CLIENT_BUSY_MS_MAX)
		ms = CLIENT_BUSY_MS_MAX;
	struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
	(void)nanosleep(&pause, NULL);
}

/* One page; waits while the server is busy. 0, or an exit code after complaining. */
static int client_page(struct client *client, enum wire_kind kind, const struct buf *payload,
        struct buf *unpacked, struct wire_page *ret_page)
{
	uint64_t until_ns = clock_monotonic_ns(clock_real()) +
	                    (uint64_t)client->timeout_ms * NS_PER_MS;

	for (;;) {
		struct wire_message reply;
		int result = client_call(client, kind, payload, 0, unpacked, &reply);
		if (result < 0)
			return client_explain(client, result);
		if (reply.kind == WIRE_PAGE) {
			if (wire_get_page(&reply.payload, ret_page) < 0)
				return client_explain(client, -EPROTO);
			return 0;
		}
		struct wire_status_reply status;
		if (reply.kind != WIRE_STATUS || wire_get_status(&reply.payload, &status) < 0)
			return client_explain(client, -EPROTO);
		if (status.status != WIRE_BUSY || clock_monotonic_ns(clock_real()) >= until_ns)
			return client_explain_status(client, &status);
		client_wait(status.retry_ms);
	}
}

static int client_ask_pages(
        struct client *client, const struct wire_query *query, struct buf *answer)
{
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	struct wire_page page = { 0 };
	wire_put_query(query, &payload);
	int code = client_page(client, WIRE_QUERY, &payload, &unpacked, &page);
	if (code)
		return code;

	size_t start = answer->count;
	uint64_t total = page.total_bytes;
	uint64_t id = page.query;
	if (total > CLIENT_ANSWER_BYTES_MAX)
		return client_explain(client, -E2BIG);
	for (;;) {
		uint64_t have = answer->count - start;
		if (page.offset != have || page.total_bytes != total || page.count > total - have)
			return client_explain(client, -EPROTO);
		buf_put(answer, page.bytes, page.count);
		if (answer->failed)
			return client_explain(client, -ENOMEM);
		have += page.count;
		progress_at(have, total);
		if (have == total)
			return 0;
		if (page.count == 0 || id == 0)
			return client_explain(client, -EPROTO);

		buf_reset(&payload);
		wire_put_fetch(&(struct wire_fetch){ .query = id, .offset = have }, &payload);
		code = client_page(client, WIRE_FETCH, &payload, &unpacked, &page);
		if (code)
			return code;
	}
}

/* An aggregator that does not understand is not asked again. */
static bool client_ask_progress(void *owner, uint64_t *ret_done, uint64_t *ret_total)
{
	struct client *client = owner;
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { .limit = NET_MESSAGE_BYTES_MAX };
	struct wire_message message;
	struct wire_page page;
	struct wire_progress progress;
	if (client->ticket == 0 || (!client->progress_net && net_client_open(client->address,
	                                                             &client->progress_net) < 0))
		return false;
	wire_put_query(
	        &(struct wire_query){ .question = WIRE_ASK_PROGRESS, .ticket = client->ticket },
	        &payload);
	if (client_call_beside(client->progress_net, WIRE_QUERY, &payload, CLIENT_PROGRESS_MS,
	            &unpacked, &message) < 0)
		return false;
	if (message.kind != WIRE_PAGE || wire_get_page(&message.payload, &page) < 0) {
		client->ticket = 0;
		return false;
	}
	struct reader from = reader_of(page.bytes, page.count);
	if (wire_get_progress(&from, &progress) < 0 || progress.total_ns == 0)
		return false;
	*ret_done = progress.done_ns;
	*ret_total = progress.total_ns;
	return true;
}

int client_ask(struct client *client, const struct wire_query *query, struct buf *answer)
{
	char doing[160];
	snprintf(doing, sizeof(doing), "waiting for %s", client->address);
	struct wire_query ticketed = *query;
	/* Without a ticket nobody can tell how far it is, and nothing else is missing. */
	(void)rng_os_bytes(&ticketed.ticket, sizeof(ticketed.ticket));
	client->ticket = ticketed.ticket;
	progress_begin(doing);
	progress_ask(client_ask_progress, client);
	int code = client_ask_pages(client, &ticketed, answer);
	progress_end();
	return code;
}
