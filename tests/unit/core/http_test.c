/* Requests as bytes over loopback, so that also those can be sent that no client library would. */

#include "core/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/test.h"

static void handle_hello(void *owner, const uint8_t *body, size_t count, struct http_answer *answer)
{
	buf_printf(&answer->body, "hello %s\n", (const char *)owner);
}

static void handle_length(
        void *owner, const uint8_t *body, size_t count, struct http_answer *answer)
{
	size_t sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += body[i];
	answer->status = 201;
	answer->content_type = "application/json";
	buf_printf(&answer->body, "{\"bytes\":%zu,\"sum\":%zu}", count, sum);
}

static void handle_nothing(
        void *owner, const uint8_t *body, size_t count, struct http_answer *answer)
{
	answer->status = 204;
}

static void handle_too_much(
        void *owner, const uint8_t *body, size_t count, struct http_answer *answer)
{
	answer->body.limit = 4;
	buf_printf(&answer->body, "more than that");
}

static const struct http_route routes[] = {
	{ "GET", "/hello", handle_hello },
	{ "POST", "/length", handle_length },
	{ "PUT", "/length", handle_length },
	{ "GET", "/nothing", handle_nothing },
	{ "GET", "/too-much", handle_too_much },
	{ 0 },
};

static struct http_server *open_server(void)
{
	struct http_server *server = NULL;
	CHECK_OK(http_server_open("127.0.0.1:0", routes, (void *)"world", &server));
	return server;
}

static int dial(const struct http_server *server)
{
	const char *address = http_server_address(server);
	struct timeval limit = { .tv_sec = 20 };
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* Sends all of it, if the peer wants it, and returns everything that comes back. Freed by the
 * caller. */
static char *ask_bytes(const struct http_server *server, const void *request, size_t count)
{
	int fd = dial(server);
	size_t sent = 0;
	while (sent < count) {
		ssize_t n = send(fd, (const char *)request + sent, count - sent, MSG_NOSIGNAL);
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	struct buf answer = { 0 };
	uint8_t *room;
	ssize_t n;
	while ((room = buf_reserve(&answer, 4096)) && (n = recv(fd, room, 4096, 0)) > 0)
		answer.count += (size_t)n;
	close(fd);
	buf_put_u8(&answer, 0);
	CHECK(!answer.failed);
	return (char *)buf_take(&answer, &count);
}

static char *ask(const struct http_server *server, const char *request)
{
	return ask_bytes(server, request, strlen(request));
}

static void requests_get_the_answer_of_their_route(void **state)
{
	static const struct {
		const char *request;
		const char *status;
		const char *holds; /* header or body */
	} cases[] = {
		{ "GET /hello HTTP/1.0\r\n\r\n", "200", "\r\n\r\nhello world\n" },
		{ "GET /hello?x=1 HTTP/1.0\r\n\r\n", "200", "hello world" },
		{ "GET /hello HTTP/1.0\r\n\r\n", "200",
		        "Content-Type: text/plain; charset=utf-8\r\n" },
		{ "HEAD /hello HTTP/1.0\r\n\r\n", "200", "Content-Length: 12\r\n" },
		{ "POST /length HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "201",
		        "{\"bytes\":3,\"sum\":294}" },
		{ "PUT /length HTTP/1.0\r\nContent-Length: 0\r\n\r\n", "201",
		        "{\"bytes\":0,\"sum\":0}" },
		{ "POST /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		  "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
		        "201", "{\"bytes\":5,\"sum\":495}" },
		{ "GET /nothing HTTP/1.0\r\n\r\n", "204", "" },
		{ "GET /too-much HTTP/1.0\r\n\r\n", "500", "500 out of memory\n" },
		{ "GET / HTTP/1.0\r\n\r\n", "404", "404 there is nothing here\n" },
		{ "GET /hello/ HTTP/1.0\r\n\r\n", "404", "" },
		{ "GET /../hello HTTP/1.0\r\n\r\n", "404", "" },
		{ "DELETE /hello HTTP/1.0\r\n\r\n", "405", "Allow: GET\r\n" },
		{ "GET /length HTTP/1.0\r\n\r\n", "405", "Allow: POST, PUT\r\n" },
		{ "POST /length HTTP/1.0\r\nContent-Length: 33554433\r\n\r\n", "413", "32 MiB" },
		{ "POST /length HTTP/1.0\r\nContent-Length: 18446744073709551615\r\n\r\n", "413",
		        "" },
		{ "POST /length HTTP/1.0\r\nHost: localhost:1\r\nOrigin: http://evil.example\r\n"
		  "Content-Length: 1\r\n\r\nx",
		        "403", "another origin" },
		{ "POST /length HTTP/1.0\r\nHost: localhost:1\r\nOrigin: http://localhost:1\r\n"
		  "Content-Length: 1\r\n\r\nx",
		        "201", "\"bytes\":1" },
		{ "POST /length HTTP/1.0\r\nOrigin: null\r\nContent-Length: 1\r\n\r\nx", "403",
		        "" },
	};
	struct http_server *server = open_server();
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *answer = ask(server, cases[i].request);
		print_message("%.40s\n", cases[i].request);
		CHECK(strlen(answer) > 12);
		answer[12] = 0;
		assert_string_equal(strrchr(answer, ' ') + 1, cases[i].status);
		answer[12] = ' ';
		CHECK(strstr(answer, cases[i].holds));
		free(answer);
	}
	http_server_free(server);
}

static void body_as_long_as_the_limit_is_taken_whole(void **state)
{
	struct http_server *server = open_server();
	const size_t body = (size_t)32 << 20;
	char *request = malloc(body + 200);
	assert_non_null(request);
	int head = snprintf(
	        request, 200, "POST /length HTTP/1.0\r\nContent-Length: %zu\r\n\r\n", body);
	memset(request + head, 1, body);
	char *answer = ask_bytes(server, request, (size_t)head + body);
	CHECK(strstr(answer, "{\"bytes\":33554432,\"sum\":33554432}"));
	free(answer);

	/* Chunked, one byte more: its length is known only when it is there. */
	head = snprintf(request, 200,
	        "POST /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
	        "Transfer-Encoding: chunked\r\n\r\n%zx\r\n",
	        body + 1);
	memset(request + head, 1, body + 1);
	int tail = snprintf(request + head + body + 1, 20, "\r\n0\r\n\r\n");
	answer = ask_bytes(server, request, (size_t)head + body + 1 + (size_t)tail);
	CHECK(strstr(answer, " 413 "));
	free(answer);
	free(request);
	http_server_free(server);
}

static void broken_requests_leave_it_serving(void **state)
{
	static const char *const broken[] = {
		"",
		"\r\n\r\n",
		"GET",
		"GET /hello",
		"\x16\x03\x01\x02",
		"GET /hello HTTP/9.9\r\n\r\n",
		"POST /length HTTP/1.0\r\nContent-Length: -1\r\n\r\n",
		"POST /length HTTP/1.0\r\nContent-Length: 10\r\n\r\nshort",
		"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	struct http_server *server = open_server();
	for (size_t i = 0; i < COUNT_OF(broken); i++) {
		int fd = dial(server);
		assert_int_equal(
		        send(fd, broken[i], strlen(broken[i]), MSG_NOSIGNAL), strlen(broken[i]));
		close(fd);
		char *answer = ask(server, "GET /hello HTTP/1.0\r\n\r\n");
		CHECK(strstr(answer, "hello world"));
		free(answer);
	}
	http_server_free(server);
}

static void connections_beyond_the_limit_wait_for_their_turn(void **state)
{
	struct http_server *server = open_server();
	int held[80];
	for (size_t i = 0; i < COUNT_OF(held); i++)
		held[i] = dial(server);
	int waiting = dial(server);
	assert_int_equal(send(waiting, "GET /hello HTTP/1.0\r\n\r\n", 23, MSG_NOSIGNAL), 23);
	for (size_t i = 0; i < COUNT_OF(held); i++)
		close(held[i]);

	char answer[512] = "";
	CHECK(recv(waiting, answer, sizeof(answer) - 1, 0) > 0);
	CHECK(strstr(answer, " 200 "));
	close(waiting);
	http_server_free(server);
}

static void addresses_are_checked_and_bound(void **state)
{
	static const struct {
		const char *address;
		int result;
	} cases[] = {
		{ "127.0.0.1:0", 0 },
		{ "localhost:0", 0 },
		{ "127.0.0.1", -EINVAL },
		{ "127.0.0.1:", -EINVAL },
		{ ":80", -EINVAL },
		{ "::1:80", -EINVAL },
		{ "127.0.0.1:65536", -EINVAL },
		{ "127.0.0.1:x", -EINVAL },
		{ "127.0.0.1:+1", -EINVAL },
		{ "192.0.2.1:0", -EADDRNOTAVAIL },
		{ "", -EINVAL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct http_server *server = NULL;
		print_message("%s\n", cases[i].address);
		assert_int_equal(
		        http_server_open(cases[i].address, routes, NULL, &server), cases[i].result);
		assert_int_equal(
		        http_address_is_valid(cases[i].address), cases[i].result != -EINVAL);
		if (server) {
			const char *bound = http_server_address(server);
			CHECK(strcmp(strrchr(bound, ':'), ":0") != 0);
		}
		http_server_free(server);
	}

	struct http_server *server = open_server();
	struct http_server *second = NULL;
	assert_int_equal(
	        http_server_open(http_server_address(server), routes, NULL, &second), -EADDRINUSE);
	http_server_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_get_the_answer_of_their_route),
		cmocka_unit_test(body_as_long_as_the_limit_is_taken_whole),
		cmocka_unit_test(broken_requests_leave_it_serving),
		cmocka_unit_test(connections_beyond_the_limit_wait_for_their_turn),
		cmocka_unit_test(addresses_are_checked_and_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
