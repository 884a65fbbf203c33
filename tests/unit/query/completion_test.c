/*
 * The tables of all verbs: each teaches with an example and says its exit codes, and every option
 * and choice of every verb is in the completion of every shell.
 */

#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "query/cmd_list.h"
#include "query/completion.h"

static const struct command *const commands[] = {
	&cmd_top,
	&cmd_tree,
	&cmd_flame,
	&cmd_diff,
	&cmd_export,
	&cmd_import,
	&cmd_series,
	&cmd_labels,
	&cmd_agents,
	&cmd_doctor,
	&cmd_retention,
	&cmd_hold,
	&cmd_usage,
	&cmd_audit,
	&cmd_completion,
	&cmd_help,
	NULL,
};

/* The verbs of nouns too. */
static const struct command *const *all(void)
{
	static const struct command *flat[96];
	size_t count = 0;
	for (const struct command *const *at = commands; *at; at++) {
		flat[count++] = *at;
		for (const struct command *const *verb = (*at)->verbs; verb && *verb; verb++)
			flat[count++] = *verb;
	}
	flat[count] = NULL;
	return flat;
}

static void every_table_is_complete(void **state)
{
	for (const struct command *const *at = all(); *at; at++) {
		const struct option_table *table = (*at)->table;
		char program[64];
		snprintf(program, sizeof(program), "profleet %s", command_path(*at));
		assert_non_null(strstr(program, (*at)->name));
		assert_string_equal(table->program, program);
		assert_non_null(table->summary);
		assert_non_null(table->usage);
		assert_non_null(table->description);
		assert_non_null(strstr(table->examples, program));
		assert_non_null(table->exit_codes);
		assert_true(!(*at)->run == !!(*at)->verbs);
		assert_true((*at)->args_size >= sizeof(struct shared_args));

		void *args = calloc(1, (*at)->args_size);
		assert_non_null(args);
		CHECK_OK(options_init(table, args));
		/* Options are set where the table says, inside the struct. */
		for (const struct option_spec *spec = table->options; spec->name; spec++)
			assert_true(spec->offset < (*at)->args_size);
		options_fini(table, args);
		free(args);
	}
}

static void every_option_and_choice_is_in_every_shell(void **state)
{
	static const char *const shells[] = { "bash", "zsh", "fish" };
	for (size_t shell = 0; shell < COUNT_OF(shells); shell++) {
		struct buf text = { 0 };
		assert_true(completion_put(shells[shell], commands, &text));
		buf_put_u8(&text, '\0');
		assert_false(text.failed);
		const char *script = (const char *)text.bytes;
		for (const struct command *const *at = all(); *at; at++) {
			assert_non_null(strstr(script, (*at)->name));
			for (const struct option_spec *spec = (*at)->table->options; spec->name;
			        spec++) {
				char name[80];
				snprintf(name, sizeof(name), shell == 2 ? "-l %s " : "--%s",
				        spec->name);
				if (!strstr(script, name))
					fail_msg("%s: no %s", shells[shell], name);
				for (size_t i = 0; spec->choices && spec->choices[i]; i++)
					if (!strstr(script, spec->choices[i]))
						fail_msg("%s: no %s", shells[shell],
						        spec->choices[i]);
			}
		}
		buf_fini(&text);
	}
}

static void an_unknown_shell_is_refused(void **state)
{
	struct buf text = { 0 };
	assert_false(completion_put("tcsh", commands, &text));
	assert_int_equal(text.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_table_is_complete),
		cmocka_unit_test(every_option_and_choice_is_in_every_shell),
		cmocka_unit_test(an_unknown_shell_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
