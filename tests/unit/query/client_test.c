/*
 * The client against a server of a few lines: pages are put together, BUSY is waited out, refusals
 * and nonsense become exit codes.
 */

#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/clock.h"
#include "core/net.h"
#include "query/client.h"

static const char answer[] = "an answer that takes several pages";

enum behaviour {
	WHOLE,
	PAGES,
	BUSY_TWICE,
	INVALID,
	NOT_FOUND,
	TOO_BIG,
	WRONG_OFFSET,
	NOT_A_MESSAGE
};

struct server {
	struct net_server *net;
	enum behaviour behaviour;
	int asked; /* questions of the test, without the client's first knock */
};

static void reply(struct net_request *request, enum wire_kind kind, const struct buf *payload)
{
	AUTO_BUF sealed = { 0 };
	wire_seal(kind, payload, &sealed);
	net_reply(request, sealed.bytes, sealed.count);
}

static void reply_status(struct net_request *request, uint32_t status)
{
	AUTO_BUF payload = { 0 };
	struct wire_status_reply as = { .status = status, .retry_ms = 20, .text = { "why", 3 } };
	wire_put_status(&as, &payload);
	reply(request, WIRE_STATUS, &payload);
}

static void reply_page(struct server *server, struct net_request *request, uint64_t offset)
{
	AUTO_BUF payload = { 0 };
	size_t total = strlen(answer);
	bool pages = server->behaviour == PAGES || server->behaviour == WRONG_OFFSET;
	struct wire_page page = {
		.query = pages ? 7 : 0,
		.total_bytes = total,
		.offset = offset,
		.bytes = (const uint8_t *)answer + offset,
		.count = (uint32_t)(total - offset),
	};
	if (pages && page.count > 5)
		page.count = 5;
	if (server->behaviour == WRONG_OFFSET && offset > 0)
		page.offset = 0;
	wire_put_page(&page, &payload);
	reply(request, WIRE_PAGE, &payload);
}

static void serve(void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	struct server *server = owner;
	AUTO_BUF unpacked = { 0 };
	struct wire_message message;
	struct wire_query query = { 0 };
	struct wire_fetch fetch = { 0 };
	if (wire_open(bytes, count, &unpacked, &message) < 0) {
		reply_status(request, WIRE_MALFORMED);
		return;
	}
	if (message.kind == WIRE_QUERY && wire_get_query(&message.payload, &query) == 0 &&
	        query.question == WIRE_ASK_STATUS) {
		reply_status(request, WIRE_NOT_FOUND);
		return;
	}
	if (message.kind == WIRE_FETCH && wire_get_fetch(&message.payload, &fetch) < 0) {
		reply_status(request, WIRE_MALFORMED);
		return;
	}
	server->asked++;
	switch (server->behaviour) {
	case BUSY_TWICE:
		if (server->asked <= 2) {
			reply_status(request, WIRE_BUSY);
			return;
		}
		break;
	case INVALID:
		reply_status(request, WIRE_INVALID);
		return;
	case NOT_FOUND:
		reply_status(request, WIRE_NOT_FOUND);
		return;
	case TOO_BIG:
		reply_status(request, WIRE_TOO_BIG);
		return;
	case NOT_A_MESSAGE:
		net_reply(request, (const uint8_t *)"HTTP/1.1 400", 12);
		return;
	default:
		break;
	}
	reply_page(server, request, fetch.offset);
}

static int ask(enum behaviour behaviour, struct buf *to, int *ret_asked)
{
	struct server server = { .behaviour = behaviour };
	struct net_server_options options = {
		.listen = "tcp://127.0.0.1:0",
		.on_request = serve,
		.owner = &server,
	};
	CHECK_OK(net_server_open(options, &server.net));
	char address[NET_ADDRESS_BYTES_MAX];
	snprintf(address, sizeof(address), "%s", net_server_address(server.net));

	struct shared_args shared = { .server = address, .timeout_ns = 10 * NS_PER_S };
	struct client *client;
	assert_int_equal(client_open(&shared, &client), 0);
	struct wire_query query = {
		.question = WIRE_ASK_SERIES,
		.sides_count = 1,
		.sides = { { .selector = { "{}", 2 }, .to_ns = 1 } },
	};
	int code = client_ask(client, &query, to);
	client_free(client);
	net_server_close(server.net);
	net_server_free(server.net, 1000);
	*ret_asked = server.asked;
	return code;
}

static void every_reply_has_its_outcome(void **state)
{
	static const struct {
		enum behaviour behaviour;
		int code;
		int asked;
	} cases[] = {
		{ WHOLE, EXIT_CODE_OK, 1 },
		{ PAGES, EXIT_CODE_OK, 7 }, /* 34 bytes by 5 */
		{ BUSY_TWICE, EXIT_CODE_OK, 3 },
		{ INVALID, EXIT_CODE_USAGE, 1 },
		{ NOT_FOUND, EXIT_CODE_NO_DATA, 1 },
		{ TOO_BIG, EXIT_CODE_FAILED, 1 },
		{ WRONG_OFFSET, EXIT_CODE_FAILED, 2 },
		{ NOT_A_MESSAGE, EXIT_CODE_FAILED, 1 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF text = { 0 };
		int asked;
		assert_int_equal(ask(cases[i].behaviour, &text, &asked), cases[i].code);
		assert_int_equal(asked, cases[i].asked);
		if (cases[i].code == EXIT_CODE_OK) {
			assert_int_equal(text.count, strlen(answer));
			assert_memory_equal(text.bytes, answer, text.count);
		}
	}
}

static void an_address_that_is_none_is_the_users_mistake(void **state)
{
	static const char *const addresses[] = { "localhost", "http://127.0.0.1:1", "tcp://",
		"ipc:///tmp/x" };
	for (size_t i = 0; i < COUNT_OF(addresses); i++) {
		char address[64];
		snprintf(address, sizeof(address), "%s", addresses[i]);
		struct shared_args shared = { .server = address, .timeout_ns = NS_PER_S };
		AUTO(client) client = NULL;
		assert_int_equal(client_open(&shared, &client), EXIT_CODE_USAGE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reply_has_its_outcome),
		cmocka_unit_test(an_address_that_is_none_is_the_users_mistake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
