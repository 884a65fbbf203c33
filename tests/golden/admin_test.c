/*
 * What administration prints on screens of 40, 60, 80 and 132 columns, word for word: a server of a
 * few lines gives the replies of tests/golden/admin_replies.json, and each verb runs on a terminal
 * of that width. Each file tests/golden/admin_*.txt has all the pictures of one verb.
 *
 * PROFLEET_GOLDEN_WRITE=1 writes the files instead of comparing: look at the difference before it
 * is committed.
 */

#include "tests/lib/test.h"

#include <fcntl.h>
#include <jansson.h>
#include <pty.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/buf.h"
#include "core/net.h"
#include "profile/wire.h"
#include "query/text.h"

#define WORDS_MAX 6

static const uint16_t widths[] = { 40, 60, 80, 132 };

static const struct {
	const char *golden;
	int code;
	const char *words[WORDS_MAX];
} verbs[] = {
	{ "list", 0, { "retention", "list" } },
	{ "plan", 0, { "retention", "plan" } },
	{ "explain", 0, { "retention", "explain", "{}" } },
	{ "status", 3, { "retention", "status" } },
	{ "usage", 0, { "usage", "--forecast", "90d" } },
	{ "audit", 0, { "audit" } },
	{ "audit_verify", 0, { "audit", "--verify" } },
	{ "hold_list", 0, { "hold", "list" } },
	{ "backup_list", 0, { "backup", "list" } },
};

/* ---- the server ---- */

struct server {
	struct net_server *net;
	json_t *replies;
	char address[NET_ADDRESS_BYTES_MAX + 32];
};

static void serve(void *owner, struct net_request *request, const uint8_t *bytes, size_t count)
{
	const struct server *server = owner;
	AUTO_BUF unpacked = { 0 };
	AUTO_BUF payload = { 0 };
	AUTO_BUF sealed = { 0 };
	struct wire_message message;
	struct wire_admin admin;
	if (wire_open(bytes, count, &unpacked, &message) < 0 || message.kind != WIRE_ADMIN ||
	        wire_get_admin(&message.payload, &admin) < 0) {
		wire_put_status(&(struct wire_status_reply){ .status = WIRE_NOT_FOUND }, &payload);
		wire_seal(WIRE_STATUS, &payload, &sealed);
		net_reply(request, sealed.bytes, sealed.count);
		return;
	}
	json_t *reply = json_object_getn(server->replies, admin.method.bytes, admin.method.count);
	autofree char *body = json_dumps(reply, JSON_COMPACT | JSON_ENSURE_ASCII);
	wire_put_admin_reply(
	        &(struct wire_admin_reply){ body, body ? (uint32_t)strlen(body) : 0 }, &payload);
	wire_seal(WIRE_ADMIN_REPLY, &payload, &sealed);
	net_reply(request, sealed.bytes, sealed.count);
}

static void server_open(struct server *server)
{
	struct net_server_options options = {
		.listen = "tcp://127.0.0.1:0",
		.on_request = serve,
		.owner = server,
	};
	server->replies = json_load_file("tests/golden/admin_replies.json", 0, NULL);
	assert_non_null(server->replies);
	CHECK_OK(net_server_open(options, &server->net));
	snprintf(server->address, sizeof(server->address), "PROFLEET_SERVER=%s",
	        net_server_address(server->net));
}

static void server_close(struct server *server)
{
	net_server_close(server->net);
	net_server_free(server->net, 1000);
	json_decref(server->replies);
}

/* ---- the terminal ---- */

enum { PLAIN, COLOUR };

/* What the verb prints on a terminal of that width, into `to`. Its exit code. */
static int on_terminal(const struct server *server, const char *const words[WORDS_MAX],
        const char *format, uint16_t width, int colour, struct buf *to)
{
	/* As high as what is printed can be: no pager. */
	struct winsize size = { .ws_row = 10000, .ws_col = width };
	struct termios raw = { 0 };
	int leader, follower, status;
	cfmakeraw(&raw);
	assert_int_equal(openpty(&leader, &follower, NULL, &raw, &size), 0);

	char program[512], *argv[WORDS_MAX + 4] = { program };
	const char *bin = getenv("PROFLEET_BIN");
	assert_non_null(bin);
	snprintf(program, sizeof(program), "%s/profleet", bin);
	size_t count = 1;
	for (size_t i = 0; i < WORDS_MAX && words[i]; i++)
		argv[count++] = (char *)(uintptr_t)words[i];
	argv[count++] = (char[]){ "-o" };
	argv[count++] = (char *)(uintptr_t)format;
	char *const environment[] = { (char[]){ "PATH=/usr/bin:/bin" }, (char[]){ "TERM=xterm" },
		(char *)(uintptr_t)server->address, (char[]){ "ASAN_OPTIONS=detect_leaks=1" },
		colour == PLAIN ? (char[]){ "NO_COLOR=1" } : NULL, NULL };
	posix_spawn_file_actions_t files;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, follower, STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&files, follower);
	posix_spawn_file_actions_addclose(&files, leader);
	pid_t child;
	assert_int_equal(posix_spawn(&child, program, &files, NULL, argv, environment), 0);
	posix_spawn_file_actions_destroy(&files);
	close(follower);

	/* The end of a terminal is an EIO. */
	uint8_t bytes[4096];
	for (ssize_t got; (got = read(leader, bytes, sizeof(bytes))) > 0;)
		buf_put(to, bytes, (size_t)got);
	close(leader);
	buf_put_u8(to, 0);
	assert_false(to->failed);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* ---- tests ---- */

/* No line is wider than the screen, but for a command to be copied and a word that is. */
static void check_lines(const char *text, uint16_t width)
{
	for (const char *at = text; *at; at += strcspn(at, "\n") + 1) {
		size_t count = strcspn(at, "\n");
		size_t indent = strspn(at, " ");
		bool is_command = indent > 0 && strncmp(at + indent, "profleet ", 9) == 0;
		bool is_word = memchr(at + indent, ' ', count - indent) == NULL;
		if (text_width(at, count) > width && !is_command && !is_word)
			fail_msg("wider than %u columns: %.*s", width, (int)count, at);
	}
}

static void tables_fit_their_screen(void **state)
{
	const struct server *server = *state;
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		char path[128];
		AUTO_BUF pictures = { 0 };
		snprintf(path, sizeof(path), "tests/golden/admin_%s.txt", verbs[i].golden);
		for (size_t j = 0; j < COUNT_OF(widths); j++) {
			AUTO_BUF shown = { 0 };
			int code = on_terminal(
			        server, verbs[i].words, "table", widths[j], PLAIN, &shown);
			assert_int_equal(code, verbs[i].code);
			check_lines((const char *)shown.bytes, widths[j]);
			buf_printf(&pictures, "%s==== %u columns\n%s", j ? "\n" : "", widths[j],
			        (const char *)shown.bytes);
		}
		assert_false(pictures.failed);
		if (getenv("PROFLEET_GOLDEN_WRITE")) {
			test_file_write(path, pictures.bytes, pictures.count);
			continue;
		}
		size_t bytes;
		autofree char *expected = test_file_read(path, &bytes);
		buf_put_u8(&pictures, 0);
		if (strcmp((const char *)pictures.bytes, expected) != 0)
			print_error(
			        "%s differs. Printed:\n%s\n", path, (const char *)pictures.bytes);
		assert_string_equal((const char *)pictures.bytes, expected);
	}
}

/* Without what stands between an escape and its 'm'. */
static void strip_colour(char *text)
{
	char *to = text;
	for (const char *at = text; *at; at++) {
		if (*at == '\033')
			at += strcspn(at, "m");
		else
			*to++ = *at;
	}
	*to = 0;
}

static void colour_moves_nothing(void **state)
{
	const struct server *server = *state;
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		AUTO_BUF plain = { 0 };
		AUTO_BUF coloured = { 0 };
		(void)on_terminal(server, verbs[i].words, "table", 40, PLAIN, &plain);
		(void)on_terminal(server, verbs[i].words, "table", 40, COLOUR, &coloured);
		assert_null(strchr((const char *)plain.bytes, '\033'));
		strip_colour((char *)coloured.bytes);
		assert_string_equal((const char *)coloured.bytes, (const char *)plain.bytes);
	}
}

/* Json is what the server said, on any screen; so are the other forms that machines read. */
static void what_machines_read_knows_no_screen(void **state)
{
	const struct server *server = *state;
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		AUTO_BUF narrow = { 0 };
		AUTO_BUF wide = { 0 };
		(void)on_terminal(server, verbs[i].words, "json", 40, COLOUR, &narrow);
		(void)on_terminal(server, verbs[i].words, "json", 132, COLOUR, &wide);
		json_t *read = json_loads((const char *)narrow.bytes, 0, NULL);
		assert_non_null(read);
		json_decref(read);
		assert_string_equal((const char *)narrow.bytes, (const char *)wide.bytes);
	}
	AUTO_BUF yaml = { 0 };
	(void)on_terminal(server, verbs[0].words, "yaml", 40, COLOUR, &yaml);
	assert_non_null(strstr((const char *)yaml.bytes,
	        "    tiers: { detail: 7d, 10m: 30d, 1h: 400d, 1d: forever }\n"));
}

static int open_server(void **state)
{
	static struct server server;
	server_open(&server);
	*state = &server;
	return 0;
}

static int close_server(void **state)
{
	server_close(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_fit_their_screen),
		cmocka_unit_test(colour_moves_nothing),
		cmocka_unit_test(what_machines_read_knows_no_screen),
	};
	return cmocka_run_group_tests(tests, open_server, close_server);
}
