/*
 * The table of options and docs/operating/aggregator.md say the same, and every key means the same
 * in the file as on the line.
 */

#include "aggregator/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "tests/lib/test.h"

#define PAGE "docs/operating/aggregator.md"

static char *read_page(void)
{
	FILE *file = fopen(PAGE, "r");
	assert_non_null(file);
	char *text = calloc(1, 1 << 20);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
	(void)fclose(file);
	return text;
}

static void every_option_has_its_row_in_the_page(void **state)
{
	(void)state;
	autofree char *page = read_page();
	for (const struct option_spec *option = aggregator_option_table.options; option->name;
	        option++) {
		char row[4096];
		char fallback[256] = "";
		if (option->fallback)
			snprintf(fallback, sizeof(fallback), "`%s`", option->fallback);
		snprintf(row, sizeof(row), "| `%s` | %s | %s | %s |\n", option->name,
		        option->required ? "required" : fallback,
		        option->line_only ? "line only"
		        : option->reload  ? "SIGHUP"
		                          : "restart",
		        option->help);
		if (!strstr(page, row))
			fail_msg("%s lacks the row: %s", PAGE, row);
	}
}

/* A value that is not the fallback. */
static const char *other_value(const struct option_spec *option, char text[static 64])
{
	switch (option->kind) {
	case OPTION_ENUM:
		return option->choices[strcmp(option->fallback, option->choices[1]) == 0 ? 0 : 1];
	case OPTION_TEXT:
		return strcmp(option->name, "listen") == 0 ? "tcp://127.0.0.1:1" : "elsewhere";
	case OPTION_DURATION:
		snprintf(text, 64, "%llums", (unsigned long long)(option->max / 1000000 - 1));
		return text;
	default:
		snprintf(text, 64, "%llu", (unsigned long long)(option->max - 1));
		return text;
	}
}

/* With `first` and `second` (or NULL) as the line. */
static void load(const char *first, const char *second, struct aggregator_config *config)
{
	struct option_args args;
	char texts[2][600];
	char program[] = "profleet-aggregator";
	char *argv[] = { program, texts[0], texts[1], NULL };
	snprintf(texts[0], sizeof(texts[0]), "%s", first);
	snprintf(texts[1], sizeof(texts[1]), "%s", second ? second : "");
	argv[second ? 3 : 2] = NULL;
	*config = (struct aggregator_config){ 0 };
	assert_int_equal(
	        options_load(&aggregator_option_table, second ? 3 : 2, argv, config, &args),
	        OPTIONS_OK);
}

static void check_same(const struct option_spec *option, const struct aggregator_config *a,
        const struct aggregator_config *b)
{
	const char *in_a = (const char *)a + option->offset;
	const char *in_b = (const char *)b + option->offset;
	if (option->kind == OPTION_TEXT) {
		assert_string_equal(
		        *(char *const *)(const void *)in_a, *(char *const *)(const void *)in_b);
		return;
	}
	bool is_wide = option->kind == OPTION_BYTES || option->kind == OPTION_DURATION;
	size_t count = is_wide ? sizeof(uint64_t) : sizeof(uint32_t);
	assert_memory_equal(in_a, in_b, count);
}

static void a_key_of_the_file_is_an_option_of_the_line(void **state)
{
	(void)state;
	struct test_dir dir = test_dir_new();
	char path[512], file_option[600], line[256], number[64];
	snprintf(path, sizeof(path), "%s/aggregator.yaml", dir.path);
	snprintf(file_option, sizeof(file_option), "--config=%s", path);

	for (const struct option_spec *option = aggregator_option_table.options; option->name;
	        option++) {
		if (option->line_only)
			continue;
		const char *value = other_value(option, number);
		bool is_data = strcmp(option->name, "data") == 0;
		FILE *file = fopen(path, "w");
		assert_non_null(file);
		fprintf(file, "%s%s: %s\n", is_data ? "" : "data: here\n", option->name, value);
		assert_int_equal(fclose(file), 0);
		snprintf(line, sizeof(line), "--%s=%s", option->name, value);

		struct aggregator_config of_file, of_line, of_none;
		load(file_option, NULL, &of_file);
		load(is_data ? "--shards=1" : "--data=here", line, &of_line);
		load("--data=here", NULL, &of_none);
		check_same(option, &of_file, &of_line);
		if (option->kind == OPTION_U32 || option->kind == OPTION_ENUM)
			assert_memory_not_equal((char *)&of_line + option->offset,
			        (char *)&of_none + option->offset, sizeof(uint32_t));
		options_fini(&aggregator_option_table, &of_file);
		options_fini(&aggregator_option_table, &of_line);
		options_fini(&aggregator_option_table, &of_none);
	}
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_option_has_its_row_in_the_page),
		cmocka_unit_test(a_key_of_the_file_is_an_option_of_the_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
