/* The agent's settings: fallbacks, file, line, the relabel table, and what is refused with which
 * words. */

#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/config.h"
#include "core/auto.h"

/* Reads a configuration with stderr in a file; the text is the caller's to free. */
static int read_config(struct agent_config *config, const char *const *line, char **ret_said)
{
	TEST_DIR(dir);
	char path[300];
	char *argv[16] = { 0 };
	int argc = 0;
	size_t count;

	for (; line[argc]; argc++)
		argv[argc] = strdup(line[argc]);
	snprintf(path, sizeof(path), "%s/stderr", dir.path);
	int saved = dup(2);
	int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	dup2(file, 2);
	int status = agent_config_read(config, argc, argv);
	(void)fflush(stderr);
	dup2(saved, 2);
	close(saved);
	close(file);
	*ret_said = test_file_read(path, &count);
	while (argc > 0)
		free(argv[--argc]);
	return status;
}

static void without_options_everything_has_its_fallback(void **state)
{
	static const char *const line[] = { "profleet-agent", NULL };
	struct agent_config config;
	autofree char *said = NULL;

	assert_int_equal(read_config(&config, line, &said), 0);
	assert_string_equal(config.aggregator, "tcp://127.0.0.1:7470");
	assert_int_equal(config.hz, 49);
	assert_int_equal(config.interval_ns, 10000000000);
	assert_int_equal(config.duration_ns, 0);
	assert_null(config.output);
	assert_int_equal(config.relabel.count, 0);
	agent_config_fini(&config);
}

static void a_file_holds_everything_and_the_line_wins(void **state)
{
	static const char text[] = "hz: 99\n"
	                           "interval: 5s\n"
	                           "label: [region=eu, zone=a]\n"
	                           "environ-service: [OTEL_SERVICE_NAME, SERVICE]\n"
	                           "relabel:\n"
	                           "  - source: comm\n"
	                           "    match: \"(web)-.*\"\n"
	                           "    target: service\n"
	                           "    value: \"\\\\1\"\n"
	                           "  - { source: container_runtime, action: drop }\n";
	TEST_DIR(dir);
	char path[300];
	struct agent_config config;
	autofree char *said = NULL;

	snprintf(path, sizeof(path), "%s/agent.yaml", dir.path);
	test_file_write(path, text, strlen(text));
	const char *const line[] = { "profleet-agent", "--config", path, "--hz", "19", NULL };
	assert_int_equal(read_config(&config, line, &said), 0);
	assert_int_equal(config.hz, 19);
	assert_int_equal(config.interval_ns, 5000000000);
	assert_int_equal(config.labels.count, 2);
	assert_string_equal(config.labels.items[1], "zone=a");
	assert_string_equal(config.environ_service.items[0], "OTEL_SERVICE_NAME");
	assert_int_equal(config.relabel.count, 2);
	assert_string_equal(config.relabel.rules[0].match, "(web)-.*");
	assert_string_equal(config.relabel.rules[0].value, "\\1");
	assert_string_equal(config.relabel.rules[1].source, "container_runtime");
	assert_string_equal(config.relabel.rules[1].match, ".*");
	assert_string_equal(config.relabel.rules[1].target, "");
	agent_config_fini(&config);
}

static void what_is_wrong_is_named_with_what_to_write(void **state)
{
	static const struct {
		const char *file; /* NULL: none */
		const char *option[4];
		const char *word;
	} cases[] = {
		{ NULL, { "--hz", "0" }, "hz" },
		{ NULL, { "--tier", "magic" }, "bpf" },
		{ NULL, { "--aggregator", "udp://x" }, "tcp://" },
		{ NULL, { "--output", "x.folded" }, "--duration" },
		{ "relabel: 7\n", { 0 }, "list" },
		{ "relabel:\n - 7\n", { 0 }, "map" },
		{ "relabel:\n - { match: x, target: y }\n", { 0 }, "source" },
		{ "relabel:\n - { source: x }\n", { 0 }, "target" },
		{ "relabel:\n - { source: x, action: burn }\n", { 0 }, "drop" },
		{ "relabel:\n - { source: x, colour: red }\n", { 0 }, "colour" },
		{ "relabel:\n - { source: x, action: drop }\n - { source: y, match: \"(\", target: "
		  "z }\n",
		        { 0 }, "line 3, rule 2: match" },
		{ "relabel:\n - { source: x, target: not-a-name }\n", { 0 },
		        "target: 'not-a-name'" },
		{ "hz: 9\nlabel: [fine=1, none]\n", { 0 }, "agent.yaml:2: label: 'none'" },
		{ NULL, { "--label", "none" }, "name=value" },
		{ "hurz: 3\n", { 0 }, "hurz" },
	};

	for (size_t at = 0; at < COUNT_OF(cases); at++) {
		TEST_DIR(dir);
		char path[300];
		struct agent_config config;
		autofree char *said = NULL;
		const char *line[8] = { "profleet-agent", cases[at].option[0],
			cases[at].option[1] };

		if (cases[at].file) {
			snprintf(path, sizeof(path), "%s/agent.yaml", dir.path);
			test_file_write(path, cases[at].file, strlen(cases[at].file));
			line[1] = "--config";
			line[2] = path;
		}
		assert_int_equal(read_config(&config, line, &said), 2);
		if (!strstr(said, cases[at].word))
			fail_msg("'%s' does not name '%s'", said, cases[at].word);
		agent_config_fini(&config);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_options_everything_has_its_fallback),
		cmocka_unit_test(a_file_holds_everything_and_the_line_wins),
		cmocka_unit_test(what_is_wrong_is_named_with_what_to_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
