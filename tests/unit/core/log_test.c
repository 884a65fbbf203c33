/* What reaches standard error, read back through a pipe put in its place. */

#include "core/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "tests/lib/test.h"

/* Standard error of this process goes to a file between begin and end. */
struct capture {
	int saved;
	FILE *file;
};

static void capture_begin(struct capture *capture)
{
	capture->file = tmpfile();
	assert_non_null(capture->file);
	fflush(stderr);
	capture->saved = dup(STDERR_FILENO);
	CHECK(dup2(fileno(capture->file), STDERR_FILENO) == STDERR_FILENO);
}

static char *capture_end(struct capture *capture)
{
	CHECK(dup2(capture->saved, STDERR_FILENO) == STDERR_FILENO);
	close(capture->saved);
	long size = (fseek(capture->file, 0, SEEK_END), ftell(capture->file));
	rewind(capture->file);
	char *text = calloc(1, (size_t)size + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)size, capture->file), size);
	fclose(capture->file);
	return text;
}

static void text_line_has_time_program_level_event_and_text(void **state)
{
	struct capture capture;
	log_setup("profleet-agent", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture_begin(&capture);
	log_warn("shard-unreachable", "%s: %d", "10.0.0.1", 7);
	char *text = capture_end(&capture);

	int year, month, day, hour, minute, second, ms, rest = 0;
	assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour,
	                         &minute, &second, &ms, &rest),
	        7);
	CHECK(year >= 2020);
	assert_string_equal(text + rest, "profleet-agent warn shard-unreachable 10.0.0.1: 7\n");
	free(text);
}

static void levels_below_the_least_are_silent(void **state)
{
	struct capture capture;
	log_setup("p", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	capture_begin(&capture);
	log_debug("a", "a");
	log_info("b", "b");
	log_warn("c", "c");
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("d", "d");
	log_error("e", "e");
	char *text = capture_end(&capture);

	CHECK(!strstr(text, " a ") && !strstr(text, " b ") && !strstr(text, " d "));
	CHECK(strstr(text, " p warn c c\n") && strstr(text, " p error e e\n"));
	free(text);
}

static void hostile_text_stays_on_its_line(void **state)
{
	static const struct {
		const char *given, *text, *json;
	} cases[] = {
		{ "a\nb", "a\\nb", "a\\nb" },
		{ "\x1b[31mred", "\\x1b[31mred", "\\u001b[31mred" },
		{ "\t\r\x7f", "\\t\\r\\x7f", "\\t\\r\\u007f" },
		{ "back\\slash \"q\"", "back\\\\slash \"q\"", "back\\\\slash \\\"q\\\"" },
		{ "caf\xc3\xa9", "caf\xc3\xa9", "caf\xc3\xa9" },
		{ "\xff\xc3", "\\xff\\xc3", "\\ufffd\\ufffd" },
		{ "csi \xc2\x9b", "csi \\u009b", "csi \\u009b" },
		{ "bidi \xe2\x80\xae", "bidi \\u202e", "bidi \\u202e" },
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80", "\\ufffd\\ufffd\\ufffd" },
		{ "", "", "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct capture capture;
		char expected[256];

		log_setup("p", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
		capture_begin(&capture);
		log_info("x", "%s", cases[i].given);
		char *text = capture_end(&capture);
		snprintf(expected, sizeof(expected), "Z p info x %s\n", cases[i].text);
		assert_string_equal(strchr(text, 'Z'), expected);
		free(text);

		log_setup("p", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
		capture_begin(&capture);
		log_info("x", "%s", cases[i].given);
		text = capture_end(&capture);
		snprintf(expected, sizeof(expected),
		        "Z\",\"level\":\"info\",\"program\":\"p\",\"event\":\"x\",\"text\":\"%s\"}"
		        "\n",
		        cases[i].json);
		assert_string_equal(strchr(text, 'Z'), expected);
		json_t *object = json_loads(text, 0, NULL);
		assert_non_null(object);
		assert_int_equal(json_object_size(object), 5);
		json_decref(object);
		free(text);
	}
}

static void long_text_is_cut_to_one_whole_line(void **state)
{
	static const enum log_format formats[] = { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
	/* One byte, an escape of six, a character of four: none may be cut in its middle. */
	static const char *const fillers[] = { "a", "\x01", "\xf0\x9f\x94\xa5" };

	for (size_t i = 0; i < COUNT_OF(formats) * COUNT_OF(fillers); i++) {
		const char *filler = fillers[i / COUNT_OF(formats)];
		char *given = calloc(1, 20001);
		for (size_t n = 0; n < 20000; n++)
			given[n] = filler[n % strlen(filler)];

		struct capture capture;
		log_setup("p", LOG_LEVEL_INFO, formats[i % COUNT_OF(formats)]);
		capture_begin(&capture);
		log_info("x", "%s", given);
		char *text = capture_end(&capture);

		CHECK(strlen(text) <= 4096 && strlen(text) > 4000);
		CHECK(strchr(text, '\n') == text + strlen(text) - 1);
		CHECK(strstr(text, "..."));
		if (formats[i % COUNT_OF(formats)] == LOG_FORMAT_JSON) {
			json_t *object = json_loads(text, 0, NULL);
			assert_non_null(object);
			json_decref(object);
		}
		free(text);
		free(given);
	}
}

static void *log_hundred(void *letter)
{
	for (int i = 0; i < 100; i++)
		log_info("x", "%.*s", 64, (const char *)letter);
	return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
	struct capture capture;
	char letters[4][65] = { { 0 } };
	pthread_t threads[4];

	log_setup("p", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture_begin(&capture);
	for (int i = 0; i < 4; i++) {
		memset(letters[i], 'a' + i, 64);
		assert_int_equal(pthread_create(&threads[i], NULL, log_hundred, letters[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	char *text = capture_end(&capture);

	int lines = 0;
	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n")) && *line; lines++) {
		char *last = strrchr(line, ' ');
		assert_non_null(last);
		assert_int_equal(strlen(last + 1), 64);
		assert_int_equal(strspn(last + 1, (char[]){ last[1], 0 }), 64);
	}
	assert_int_equal(lines, 400);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_line_has_time_program_level_event_and_text),
		cmocka_unit_test(levels_below_the_least_are_silent),
		cmocka_unit_test(hostile_text_stays_on_its_line),
		cmocka_unit_test(long_text_is_cut_to_one_whole_line),
		cmocka_unit_test(lines_of_several_threads_do_not_mix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
