/*
 * labeler: what a process says of itself (name, program, cgroup, environment, each ended by a zero)
 * becomes labels, which are text that may be shown, of a bounded length, or none.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/labeler.h"
#include "core/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static char *services[] = { (char *)"OTEL_SERVICE_NAME", (char *)"SERVICE" };
static char *versions[] = { (char *)"VERSION" };
static char *environ_labels[] = { (char *)"team=TEAM" };
static const struct relabel_rule rules[] = {
	{ (char *)"comm", (char *)"(.*)-(.*)", (char *)"pool", (char *)"\\2.\\1" },
	{ (char *)"team", (char *)"(a|b)*", (char *)"service", (char *)"\\\\\\1" },
	{ (char *)"exe", (char *)".*secret.*", (char *)"", (char *)"" },
};

static struct labeler *labeler_of_all(void)
{
	struct labeler_options options = {
		.host = "host-1",
		.environ_service = { services, 2 },
		.environ_version = { versions, 1 },
		.environ_labels = { environ_labels, 1 },
		.relabel = rules,
		.relabel_count = 3,
	};
	struct labeler *labeler = NULL;
	char error[256];

	if (labeler_new(options, &labeler, error, sizeof(error)) < 0)
		abort();
	return labeler;
}

/* The next text, which may be empty where nothing is left. */
static const char *next_text(char **at, const char *end)
{
	char *text = *at;

	*at = text < end ? text + strlen(text) + 1 : text;
	return text < end ? text : "";
}

static void check_labels(const struct dict *dict, uint32_t id)
{
	const struct series *series = dict_get_series(dict, id);
	const struct label *labels = dict_get_labels(dict, id);

	for (uint32_t i = 0; i < series->labels_count; i++) {
		size_t count;
		const char *text = dict_get_string(dict, labels[i].value, &count);

		if (count == 0 || count > LABEL_VALUE_BYTES_MAX || strlen(text) != count)
			abort();
		for (size_t at = 0; at < count;) {
			uint32_t code;
			size_t length = utf8_decode((const uint8_t *)text + at, count - at, &code);

			if (length == 0 || !utf8_is_harmless(code))
				abort();
			at += length;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO(labeler) labeler = labeler_of_all();
	AUTO(dict) dict = dict_new(dict_limits_default);
	autofree char *text = malloc(count + 1);
	uint32_t series;

	if (!dict || !text)
		return 0;
	memcpy(text, bytes, count);
	text[count] = 0;

	char *at = text;
	const char *end = text + count;
	struct process_facts facts = { .pid = 1, .start_ticks = 2, .group = 1 };
	facts.comm = next_text(&at, end);
	facts.exe = next_text(&at, end);
	facts.cgroup = next_text(&at, end);
	/* As read from /proc: exactly these bytes, with a zero behind the last or without. */
	size_t environ_bytes = at < end ? (size_t)(end - at) : 0;
	autofree char *environ_copy = environ_bytes ? malloc(environ_bytes) : NULL;
	if (environ_copy) {
		memcpy(environ_copy, at, environ_bytes);
		facts.environ = environ_copy;
		facts.environ_bytes = environ_bytes;
	}
	if (labeler_series(labeler, &facts, "cpu", "nanoseconds", 1, dict, &series) == 0)
		check_labels(dict, series);
	return 0;
}
