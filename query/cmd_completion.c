/*
 * completion: what a shell needs to complete profleet's command line, written from the same tables
 * that parse it: verbs, their options, and the choices of each option.
 */

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/auto.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/completion.h"
#include "query/output.h"

struct completion_args {
	struct shared_args shared;
};

static const struct option_spec completion_options[] = {
	SHARED_OPTIONS(completion_args),
	{ 0 },
};

static const struct option_table completion_table = {
	.program = "profleet completion",
	.summary = "print the completion for bash, zsh or fish",
	.usage = "bash|zsh|fish",
	.description = "Prints a script that teaches the shell profleet's verbs, options and "
	               "choices. Packages "
	               "install it; otherwise, for the running shell:\n\n"
	               "\tbash: source <(profleet completion bash)\n"
	               "\tzsh:  source <(profleet completion zsh)\n"
	               "\tfish: profleet completion fish | source\n",
	.examples =
	        "profleet completion bash > ~/.local/share/bash-completion/completions/profleet\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = completion_options,
	.args_min = 1,
	.args_max = 1,
};

/* Options that every table has without saying so. */
static const struct option_spec completion_always[] = {
	{ .name = "help", .short_name = 'h', .kind = OPTION_FLAG, .help = "show this text" },
	{ .name = "version", .kind = OPTION_FLAG, .help = "show the version" },
	{ 0 },
};

typedef void (*completion_visit)(const struct option_spec *spec, struct buf *to);

static void completion_each(
        const struct option_table *table, completion_visit visit, struct buf *to)
{
	for (const struct option_spec *spec = table->options; spec->name; spec++)
		visit(spec, to);
	for (const struct option_spec *spec = completion_always; spec->name; spec++)
		visit(spec, to);
}

/* Every command, those of a noun behind it; ends with NULL. */
#define COMPLETION_COMMANDS_MAX 96

static void completion_flatten(const struct command *const *commands,
        const struct command *ret_flat[static COMPLETION_COMMANDS_MAX])
{
	size_t count = 0;
	for (const struct command *const *at = commands; *at; at++) {
		const struct command *const *verb = (*at)->verbs;
		if (count < COMPLETION_COMMANDS_MAX - 1)
			ret_flat[count++] = *at;
		for (; verb && *verb && count < COMPLETION_COMMANDS_MAX - 1; verb++)
			ret_flat[count++] = *verb;
	}
	ret_flat[count] = NULL;
}

/* What the one word of a verb may be, where it is not a selector: NULL for files and selectors. */
static bool completion_put_words(const struct command *command, struct buf *to)
{
	if (strcmp(command_path(command), "completion") == 0) {
		buf_printf(to, "bash zsh fish");
		return true;
	}
	bool is_help = strcmp(command_path(command), "help") == 0;
	if (!is_help && !command->verbs)
		return false;
	const char *gap = "";
	for (const struct command *const *at = is_help ? command_list() : command->verbs; *at;
	        at++, gap = " ")
		buf_printf(to, "%s%s", gap, (*at)->name);
	return true;
}

static bool completion_is_file(const struct option_spec *spec)
{
	return spec->value_name && strcmp(spec->value_name, "FILE") == 0;
}

/* ---- bash ---- */

static void completion_bash_name(const struct option_spec *spec, struct buf *to)
{
	buf_printf(to, " --%s", spec->name);
	if (spec->short_name)
		buf_printf(to, " -%c", spec->short_name);
}

static void completion_bash_value(
        const struct command *command, const struct option_spec *spec, struct buf *to)
{
	if (spec->kind == OPTION_FLAG)
		return;
	const char *path = command ? command_path(command) : "";
	buf_printf(to, "\t'%s:--%s'", path, spec->name);
	if (spec->short_name)
		buf_printf(to, "|'%s:-%c'", path, spec->short_name);
	buf_printf(to, ") ");
	if (spec->kind == OPTION_ENUM) {
		buf_printf(to, "mapfile -t COMPREPLY < <(compgen -W \"");
		for (size_t i = 0; spec->choices[i]; i++)
			buf_printf(to, "%s%s", i ? " " : "", spec->choices[i]);
		buf_printf(to, "\" -- \"$cur\"); ");
	} else if (completion_is_file(spec)) {
		buf_printf(to, "compopt -o default; ");
	}
	buf_printf(to, "return ;;\n");
}

static void completion_put_bash(const struct command *const *commands, struct buf *to)
{
	const struct command *flat[COMPLETION_COMMANDS_MAX];
	completion_flatten(commands, flat);
	buf_printf(to, "# bash completion for profleet, made by `profleet completion bash`\n"
	               "_profleet() {\n"
	               "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} "
	               "verb= i words=\n"
	               "\tCOMPREPLY=()\n"
	               "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	               "\t\tcase ${COMP_WORDS[i]} in\n"
	               "\t\t--server|--timeout|--color) ((i++)) ;;\n"
	               "\t\t-*|=) ;;\n"
	               "\t\t*) verb=${verb:+$verb }${COMP_WORDS[i]}; case $verb in '.'");
	for (const struct command *const *at = commands; *at; at++)
		if ((*at)->verbs)
			buf_printf(to, "|%s", (*at)->name);
	buf_printf(to, ") ;; *) break ;; esac ;;\n"
	               "\t\tesac\n"
	               "\tdone\n"
	               "\tcase $verb:$prev in\n");
	for (const struct option_spec *spec = command_line_table.options; spec->name; spec++)
		completion_bash_value(NULL, spec, to);
	for (const struct command *const *at = flat; *at; at++)
		for (const struct option_spec *spec = (*at)->table->options; spec->name; spec++)
			completion_bash_value(*at, spec, to);
	buf_printf(to, "\tesac\n\tcase $verb in\n\t'') words='");
	for (const struct command *const *at = commands; *at; at++)
		buf_printf(to, "%s ", (*at)->name);
	completion_each(&command_line_table, completion_bash_name, to);
	buf_printf(to, "' ;;\n");
	for (const struct command *const *at = flat; *at; at++) {
		buf_printf(to, "\t'%s') words='", command_path(*at));
		(void)completion_put_words(*at, to);
		completion_each((*at)->table, completion_bash_name, to);
		buf_printf(to, "' ;;\n");
	}
	buf_printf(to, "\tesac\n"
	               "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	               "\t[[ $cur == -* || -z $verb ]] || compopt -o default\n"
	               "}\n"
	               "complete -F _profleet profleet\n");
}

/* ---- zsh ---- */

/* Text inside '...' of an _arguments specification, where [ ] : and ' have a meaning. */
static void completion_zsh_text(const char *text, struct buf *to)
{
	for (; *text; text++) {
		if (*text == '\'')
			buf_printf(to, "'\\''");
		else if (strchr("[]:\\", *text))
			buf_printf(to, "\\%c", *text);
		else
			buf_put_u8(to, (uint8_t)*text);
	}
}

/* What follows the option: its name, and what zsh may offer for it. */
static void completion_zsh_value(const struct option_spec *spec, struct buf *to)
{
	if (spec->kind == OPTION_FLAG)
		return;
	buf_put_u8(to, ':');
	completion_zsh_text(spec->value_name ? spec->value_name : spec->name, to);
	buf_put_u8(to, ':');
	if (spec->kind == OPTION_ENUM) {
		buf_put_u8(to, '(');
		for (size_t i = 0; spec->choices[i]; i++)
			buf_printf(to, "%s%s", i ? " " : "", spec->choices[i]);
		buf_put_u8(to, ')');
	} else if (completion_is_file(spec)) {
		buf_printf(to, "_files");
	}
}

static void completion_zsh_begin(const struct option_spec *spec, struct buf *to)
{
	buf_printf(to, " \\\n\t\t'%s", spec->kind == OPTION_LIST ? "*" : "");
}

static void completion_zsh_rest(const struct option_spec *spec, struct buf *to)
{
	buf_put_u8(to, '[');
	completion_zsh_text(spec->help, to);
	buf_put_u8(to, ']');
	completion_zsh_value(spec, to);
	buf_put_u8(to, '\'');
}

static void completion_zsh_option(const struct option_spec *spec, struct buf *to)
{
	completion_zsh_begin(spec, to);
	buf_printf(to, "--%s%s", spec->name, spec->kind == OPTION_FLAG ? "" : "=");
	completion_zsh_rest(spec, to);
	if (!spec->short_name)
		return;
	completion_zsh_begin(spec, to);
	buf_printf(to, "-%c", spec->short_name);
	completion_zsh_rest(spec, to);
}

static void completion_zsh_command(const struct command *command, struct buf *to)
{
	AUTO_BUF words = { 0 };
	buf_printf(to, "\t%s) ", command->name);
	if (command->verbs) {
		(void)completion_put_words(command, &words);
		buf_printf(to,
		        "if (( CURRENT == 2 )); then compadd %.*s; return; fi\n"
		        "\t\tshift words; (( CURRENT-- ))\n\t\tcase $words[1] in\n",
		        (int)words.count, (const char *)words.bytes);
		/* One level: no noun has nouns. */
		for (const struct command *const *at = command->verbs; *at; at++) {
			buf_printf(to, "\t%s) _arguments", (*at)->name);
			completion_each((*at)->table, completion_zsh_option, to);
			buf_printf(to, " \\\n\t\t'*:file:_files' ;;\n");
		}
		buf_printf(to, "\t\tesac ;;\n");
		return;
	}
	buf_printf(to, "_arguments");
	completion_each(command->table, completion_zsh_option, to);
	if (completion_put_words(command, &words))
		buf_printf(to, " \\\n\t\t'1:word:(%.*s)'", (int)words.count,
		        (const char *)words.bytes);
	else
		buf_printf(to, " \\\n\t\t'*:file:_files'");
	buf_printf(to, " ;;\n");
}

static void completion_put_zsh(const struct command *const *commands, struct buf *to)
{
	buf_printf(to, "#compdef profleet\n"
	               "# zsh completion for profleet, made by `profleet completion zsh`\n"
	               "_profleet() {\n"
	               "\tlocal context state state_descr line\n"
	               "\ttypeset -A opt_args\n"
	               "\tlocal -a verbs\n"
	               "\tverbs=(");
	for (const struct command *const *at = commands; *at; at++) {
		buf_printf(to, "\n\t\t'%s:", (*at)->name);
		completion_zsh_text((*at)->table->summary, to);
		buf_put_u8(to, '\'');
	}
	buf_printf(to, "\n\t)\n\t_arguments -C");
	completion_each(&command_line_table, completion_zsh_option, to);
	buf_printf(to, " \\\n\t\t'1: :->verb' '*:: :->rest'\n"
	               "\tcase $state in\n"
	               "\tverb) _describe verb verbs ;;\n"
	               "\trest) case $line[1] in\n");
	for (const struct command *const *at = commands; *at; at++)
		completion_zsh_command(*at, to);
	buf_printf(to, "\tesac ;;\n"
	               "\tesac\n"
	               "}\n"
	               "if [ \"$funcstack[1]\" = _profleet ]; then _profleet \"$@\"; else compdef "
	               "_profleet "
	               "profleet; fi\n");
}

/* ---- fish ---- */

static void completion_fish_text(const char *text, struct buf *to)
{
	buf_put_u8(to, '\'');
	for (; *text; text++) {
		if (*text == '\'' || *text == '\\')
			buf_put_u8(to, '\\');
		buf_put_u8(to, (uint8_t)*text);
	}
	buf_put_u8(to, '\'');
}

/* "retention plan" is two words that were seen. */
static void completion_fish_seen(const char *path, struct buf *to)
{
	const char *verb = strchr(path, ' ');
	buf_printf(to, " -n '__fish_seen_subcommand_from %.*s", (int)strcspn(path, " "), path);
	if (verb)
		buf_printf(to, "; and __fish_seen_subcommand_from%s", verb);
	buf_printf(to, "'");
}

static void completion_fish_option(const char *verb, const struct option_spec *spec, struct buf *to)
{
	buf_printf(to, "complete -c profleet");
	if (verb)
		completion_fish_seen(verb, to);
	else
		buf_printf(to, " -n __fish_use_subcommand");
	buf_printf(to, " -l %s", spec->name);
	if (spec->short_name)
		buf_printf(to, " -s %c", spec->short_name);
	if (spec->kind == OPTION_ENUM) {
		buf_printf(to, " -x -a '");
		for (size_t i = 0; spec->choices[i]; i++)
			buf_printf(to, "%s%s", i ? " " : "", spec->choices[i]);
		buf_put_u8(to, '\'');
	} else if (completion_is_file(spec)) {
		buf_printf(to, " -r -F");
	} else if (spec->kind != OPTION_FLAG) {
		buf_printf(to, " -x");
	}
	buf_printf(to, " -d ");
	completion_fish_text(spec->help, to);
	buf_put_u8(to, '\n');
}

static void completion_fish_table(
        const char *verb, const struct option_table *table, struct buf *to)
{
	for (const struct option_spec *spec = table->options; spec->name; spec++)
		completion_fish_option(verb, spec, to);
	for (const struct option_spec *spec = completion_always; spec->name; spec++)
		completion_fish_option(verb, spec, to);
}

static void completion_put_fish(const struct command *const *commands, struct buf *to)
{
	buf_printf(to, "# fish completion for profleet, made by `profleet completion fish`\n");
	completion_fish_table(NULL, &command_line_table, to);
	for (const struct command *const *at = commands; *at; at++) {
		buf_printf(to, "complete -c profleet -n __fish_use_subcommand -f -a %s -d ",
		        (*at)->name);
		completion_fish_text((*at)->table->summary, to);
		buf_put_u8(to, '\n');
		AUTO_BUF words = { 0 };
		if (completion_put_words(*at, &words))
			buf_printf(to,
			        "complete -c profleet -n '__fish_seen_subcommand_from %s' -f -a "
			        "'%.*s'\n",
			        (*at)->name, (int)words.count, (const char *)words.bytes);
		completion_fish_table(command_path(*at), (*at)->table, to);
		for (const struct command *const *verb = (*at)->verbs; verb && *verb; verb++)
			completion_fish_table(command_path(*verb), (*verb)->table, to);
	}
}

bool completion_put(const char *shell, const struct command *const *commands, struct buf *to)
{
	if (strcmp(shell, "bash") == 0)
		completion_put_bash(commands, to);
	else if (strcmp(shell, "zsh") == 0)
		completion_put_zsh(commands, to);
	else if (strcmp(shell, "fish") == 0)
		completion_put_fish(commands, to);
	else
		return false;
	return true;
}

static int cmd_completion_run(void *opaque, const struct option_args *words)
{
	const struct completion_args *args = opaque;
	struct output output = output_of(&args->shared, NULL);
	AUTO_BUF text = { 0 };
	if (!completion_put(words->items[0], command_list(), &text))
		return complain(EXIT_CODE_USAGE,
		        "%.64s: no completion for that shell; write bash, zsh or fish",
		        words->items[0]);
	return output_deliver(&output, &text, EXIT_CODE_OK);
}

const struct command cmd_completion = {
	.name = "completion",
	.table = &completion_table,
	.args_size = sizeof(struct completion_args),
	.run = cmd_completion_run,
};
