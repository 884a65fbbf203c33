/*
 * One table, three sources: fallbacks, the file, the line. Each turns text into an option_value,
 * which is stored only when it is right, so that a target never holds half a value.
 */

#include "core/options.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/config.h"
#include "core/options_private.h"
#include "core/version.h"

#define OPTIONS_COUNT_MAX   128
#define OPTIONS_ERROR_BYTES 512

/* They exist in every table without standing in it. */
static const char *const options_always[] = { "help", "help-man", "version" };

/* What a walk over a line needs to know and to remember. */
struct options_line {
	const struct option_table *table;
	void *target;
	int argc;
	char **argv;
	int at; /* the argument that is looked at */
	bool reload_only;
	bool given[OPTIONS_COUNT_MAX]; /* so that the first item on the line replaces a list */
	char **options;                /* with their values and "--" */
	int options_count;
	char **positionals;
	int positionals_count;
};

static bool option_is_on_line(const struct option_spec *spec)
{
	return !spec->file_only && spec->kind != OPTION_CUSTOM;
}

static const struct option_spec *options_find(
        const struct option_table *table, const char *name, size_t length)
{
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		if (strlen(spec->name) == length && memcmp(spec->name, name, length) == 0)
			return spec;
	}
	return NULL;
}

static const struct option_spec *options_find_short(const struct option_table *table, char letter)
{
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		if (spec->short_name == letter && option_is_on_line(spec))
			return spec;
	}
	return NULL;
}

/* Is all there that a value of its kind needs? */
static void options_check_value(const struct option_spec *spec)
{
	assert(spec->kind >= OPTION_FLAG && spec->kind <= OPTION_CUSTOM);
	assert(spec->kind != OPTION_ENUM || (spec->choices && spec->choices[0]));
	assert(spec->kind != OPTION_CUSTOM || spec->parse_yaml);
}

/* Of an option that every program has. */
static bool options_is_always(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(options_always); i++)
		if (strcmp(name, options_always[i]) == 0)
			return true;
	return false;
}

/* What holds for any kind. */
static void options_check_spec(const struct option_spec *spec)
{
	assert(spec->help);
	assert(spec->max == 0 || spec->min <= spec->max);
	assert(!(spec->file_only && spec->line_only));
	assert(spec->short_name != 'h');
}

static void options_check_name(const struct option_table *table, const struct option_spec *spec)
{
	assert(options_find(table, spec->name, strlen(spec->name)) == spec);
	assert(!options_is_always(spec->name));
}

/* A table that contradicts itself is our mistake, and shows at the first start of the program. */
static void options_check_table(const struct option_table *table)
{
	size_t count = 0;
	for (const struct option_spec *spec = table->options; spec->name; spec++, count++) {
		options_check_value(spec);
		options_check_spec(spec);
		options_check_name(table, spec);
	}
	assert(count <= OPTIONS_COUNT_MAX);
	assert(table->args_min <= table->args_max);
}

static int options_store_fallback(const struct option_spec *spec, void *target)
{
	char error[OPTIONS_ERROR_BYTES];
	union option_value value = { 0 };

	if (spec->kind == OPTION_CUSTOM)
		return 0;
	int r = spec->fallback
	                ? option_value_parse(spec, spec->fallback, &value, error, sizeof(error))
	                : 0;
	assert(r != -EINVAL); /* a fallback that its own table refuses */
	if (r < 0)
		return r;
	option_value_store(spec, &value, target);
	return 0;
}

int options_init(const struct option_table *table, void *target)
{
	options_check_table(table);
	/* All of them first: options_fini() must find none that still holds what the memory held.
	 */
	for (const struct option_spec *spec = table->options; spec->name; spec++)
		option_member_clear(spec, target);
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		int r = options_store_fallback(spec, target);
		if (r < 0) {
			options_fini(table, target);
			return r;
		}
	}
	return 0;
}

void options_fini(const struct option_table *table, void *target)
{
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		union option_value nothing = { 0 };
		if (spec->kind != OPTION_CUSTOM)
			option_value_store(spec, &nothing, target);
	}
}

/* ---- the command line ---- */

static enum options_outcome options_refuse(const struct option_table *table, const char *format,
        ...) __attribute__((format(printf, 2, 3)));

static enum options_outcome options_refuse(
        const struct option_table *table, const char *format, ...)
{
	char words[OPTIONS_ERROR_BYTES + 256];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	fprintf(stderr, "%s: %s\n", table->program, words);
	return OPTIONS_BAD;
}

static enum options_outcome options_refuse_unknown(
        const struct option_table *table, const char *argument, const char *name)
{
	const char *names[OPTIONS_COUNT_MAX + COUNT_OF(options_always) + 1];
	size_t count = 0;
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		if (option_is_on_line(spec))
			names[count++] = spec->name;
	}
	for (size_t i = 0; i < COUNT_OF(options_always); i++)
		names[count++] = options_always[i];
	names[count] = NULL;

	const char *nearest = option_nearest(name, names);
	if (nearest)
		return options_refuse(
		        table, "%.64s is no option; did you mean --%s?", argument, nearest);
	return options_refuse(
	        table, "%.64s is no option; `%s --help` lists them", argument, table->program);
}

static int options_take(struct options_line *line, const struct option_spec *spec,
        union option_value *value, char *error, size_t error_bytes)
{
	int r = spec->parse_yaml ? spec->parse_yaml(NULL, value, error, error_bytes) : 0;
	if (r == 0)
		option_value_store(spec, value, line->target);
	option_value_fini(spec, value);
	return r;
}

/* One option with its text; `shown` is how the user wrote it. */
static enum options_outcome options_take_text(struct options_line *line,
        const struct option_spec *spec, const char *shown, const char *text)
{
	char error[OPTIONS_ERROR_BYTES] = "";
	union option_value value = { 0 };
	bool *given = &line->given[spec - line->table->options];

	/* What another source gave to a list is replaced by the first item and joined by the next.
	 */
	if (spec->kind == OPTION_LIST && *given) {
		struct option_list *list = (void *)((uint8_t *)line->target + spec->offset);
		value.list = *list;
		*list = (struct option_list){ 0 };
	}
	int r = option_value_parse(spec, text, &value, error, sizeof(error));
	if (r == 0 && line->reload_only && !spec->reload)
		option_value_fini(spec, &value);
	else if (r == 0)
		r = options_take(line, spec, &value, error, sizeof(error));
	if (r < 0) {
		option_value_fini(spec, &value);
		return options_refuse(
		        line->table, "%s: %s", shown, r == -EINVAL ? error : strerrordesc_np(-r));
	}
	*given = true;
	return OPTIONS_OK;
}

static enum options_outcome options_take_next(
        struct options_line *line, const struct option_spec *spec, const char *shown)
{
	if (line->at + 1 >= line->argc) {
		char name[OPTION_VALUE_NAME_BYTES];
		return options_refuse(line->table, "%s needs a value; write %s %s", shown, shown,
		        option_value_name(spec, name, sizeof(name)));
	}
	return options_take_text(line, spec, shown, line->argv[++line->at]);
}

static enum options_outcome options_show_version(const struct option_table *table)
{
	/* "profleet diff" is of the version of "profleet". */
	fprintf(stdout, "%.*s %s\n", (int)strcspn(table->program, " "), table->program,
	        PROFLEET_VERSION);
	return OPTIONS_HELP;
}

static enum options_outcome options_show(const struct option_table *table, const char *name)
{
	if (strcmp(name, "version") == 0)
		return options_show_version(table);
	if (strcmp(name, "help-man") == 0)
		options_print_man(table);
	else
		options_print_help(table);
	return OPTIONS_HELP;
}

/* "--name", "--name=value", "--no-flag" */
static enum options_outcome options_take_long(struct options_line *line)
{
	const char *argument = line->argv[line->at];
	const char *name = argument + 2;
	const char *equals = strchr(name, '=');
	size_t length = equals ? (size_t)(equals - name) : strlen(name);
	char shown[72], bare[68];

	snprintf(bare, sizeof(bare), "%.*s", (int)(length < 64 ? length : 64), name);
	snprintf(shown, sizeof(shown), "--%s", bare);
	for (size_t i = 0; i < COUNT_OF(options_always); i++) {
		if (!equals && strcmp(name, options_always[i]) == 0)
			return options_show(line->table, name);
	}

	const struct option_spec *spec = options_find(line->table, name, length);
	if (!spec && length > 3 && memcmp(name, "no-", 3) == 0) {
		spec = options_find(line->table, name + 3, length - 3);
		if (spec && spec->kind == OPTION_FLAG && option_is_on_line(spec)) {
			if (equals)
				return options_refuse(
				        line->table, "%s takes no value; write it alone", shown);
			return options_take_text(line, spec, shown, "false");
		}
		spec = NULL;
	}
	if (!spec)
		return options_refuse_unknown(line->table, shown, bare);
	if (!option_is_on_line(spec))
		return options_refuse(line->table,
		        "%s stands in the configuration file only; write it there as `%s:`", shown,
		        spec->name);
	if (equals)
		return options_take_text(line, spec, shown, equals + 1);
	if (spec->kind == OPTION_FLAG)
		return options_take_text(line, spec, shown, "true");
	return options_take_next(line, spec, shown);
}

/* "-n 9", "-n9", "-n=9", "-vq" */
static enum options_outcome options_take_short(struct options_line *line)
{
	for (const char *at = line->argv[line->at] + 1; *at; at++) {
		char shown[3] = { '-', *at, 0 };
		const struct option_spec *spec = options_find_short(line->table, *at);
		if (!spec && *at == 'h')
			return options_show(line->table, "help");
		if (!spec)
			return options_refuse_unknown(
			        line->table, line->argv[line->at], line->argv[line->at] + 1);
		if (spec->kind != OPTION_FLAG && at[1])
			return options_take_text(line, spec, shown, at + 1 + (at[1] == '='));

		enum options_outcome outcome = spec->kind == OPTION_FLAG
		                                       ? options_take_text(
		                                                 line, spec, shown, "true")
		                                       : options_take_next(line, spec, shown);
		if (outcome != OPTIONS_OK || spec->kind != OPTION_FLAG)
			return outcome;
	}
	return OPTIONS_OK;
}

static enum options_outcome options_walk(struct options_line *line)
{
	for (line->at = 1; line->at < line->argc; line->at++) {
		int first = line->at;
		char *argument = line->argv[first];
		enum options_outcome outcome = OPTIONS_OK;
		bool separates = strcmp(argument, "--") == 0;
		bool option = argument[0] == '-' && argument[1] && !separates;

		if (option && argument[1] == '-')
			outcome = options_take_long(line);
		else if (option)
			outcome = options_take_short(line);
		if (outcome != OPTIONS_OK)
			return outcome;

		bool rest = separates || (!option && line->table->verbs);
		for (int i = first; (option || separates) && i <= line->at; i++)
			line->options[line->options_count++] = line->argv[i];
		for (int i = first + separates; !option && i < line->argc; i++) {
			line->positionals[line->positionals_count++] = line->argv[i];
			if (!rest)
				break;
		}
		if (rest)
			break;
	}
	return OPTIONS_OK;
}

/*
 * Moves the positionals behind the options, as getopt does, and behind "--" where there is one, so
 * that the same argv can be read again.
 */
static void options_permute(struct options_line *line)
{
	char **to = line->argv + 1;
	for (int i = 0; i < line->options_count; i++)
		*to++ = line->options[i];
	for (int i = 0; i < line->positionals_count; i++)
		*to++ = line->positionals[i];
}

static enum options_outcome options_check_count(const struct options_line *line)
{
	const struct option_table *table = line->table;
	uint32_t count = (uint32_t)line->positionals_count;
	if (count < table->args_min)
		return options_refuse(table, "%s; usage: %s %s",
		        count == 0 ? "arguments are missing" : "an argument is missing",
		        table->program, table->usage ? table->usage : "");
	if (count > table->args_max)
		return options_refuse(table, "\"%.64s\" is one argument too many; usage: %s %s",
		        line->positionals[table->args_max], table->program,
		        table->usage ? table->usage : "");
	return OPTIONS_OK;
}

static enum options_outcome options_check_required(
        const struct option_table *table, const void *target)
{
	for (const struct option_spec *spec = table->options; spec->name; spec++) {
		char name[OPTION_VALUE_NAME_BYTES];
		if (!spec->required || spec->kind == OPTION_CUSTOM ||
		        option_member_is_given(spec, target))
			continue;
		if (!option_is_on_line(spec))
			return options_refuse(table,
			        "%s is required; write `%s: ...` in the configuration file",
			        spec->name, spec->name);
		return options_refuse(table, "--%s is required; write --%s %s", spec->name,
		        spec->name, option_value_name(spec, name, sizeof(name)));
	}
	return OPTIONS_OK;
}

static enum options_outcome options_parse_some(const struct option_table *table, int argc,
        char **argv, void *target, bool reload_only, struct option_args *ret_args)
{
	autofree char **arguments = calloc((size_t)argc + 1, 2 * sizeof(*arguments));
	if (!arguments)
		return options_refuse(table, "out of memory");
	struct options_line line = {
		.table = table,
		.target = target,
		.argc = argc,
		.argv = argv,
		.reload_only = reload_only,
		.options = arguments,
		.positionals = arguments + argc + 1,
	};
	enum options_outcome outcome = options_walk(&line);
	if (outcome == OPTIONS_OK)
		outcome = options_check_count(&line);
	if (outcome != OPTIONS_OK)
		return outcome;

	options_permute(&line);
	*ret_args = (struct option_args){
		.items = (const char **)(argv + argc - line.positionals_count),
		.count = (uint32_t)line.positionals_count,
	};
	return OPTIONS_OK;
}

enum options_outcome options_parse_line(const struct option_table *table, int argc, char **argv,
        void *target, struct option_args *ret_args)
{
	enum options_outcome outcome = options_parse_some(
	        table, argc, argv, target, false, ret_args);
	return outcome == OPTIONS_OK ? options_check_required(table, target) : outcome;
}

/* ---- the file ---- */

/* What one key of the file becomes, before any is stored. */
struct options_key {
	const struct option_spec *spec;
	const struct config_node *node;
	union option_value value;
};

struct options_file {
	const struct option_table *table;
	const char *path;
	struct options_key keys[OPTIONS_COUNT_MAX];
	uint32_t keys_count;
	char *error;
	size_t error_bytes;
};

static int options_refuse_key(struct options_file *file, const struct config_node *node,
        const char *key, const char *words)
{
	snprintf(file->error, file->error_bytes, "%s:%u: %.64s: %s", file->path,
	        config_node_line(node), key, words);
	return -EINVAL;
}

static int options_refuse_unknown_key(
        struct options_file *file, const struct config_node *node, const char *key)
{
	const char *names[OPTIONS_COUNT_MAX + 1];
	size_t count = 0;
	char words[128];
	for (const struct option_spec *spec = file->table->options; spec->name; spec++) {
		if (!spec->line_only)
			names[count++] = spec->name;
	}
	names[count] = NULL;

	const char *nearest = option_nearest(key, names);
	if (nearest)
		snprintf(words, sizeof(words), "unknown key; did you mean %s?", nearest);
	else
		snprintf(words, sizeof(words), "unknown key; `%s --help` lists them",
		        file->table->program);
	return options_refuse_key(file, node, key, words);
}

/* A scalar, or each item of a list. */
static int options_read_value(struct options_file *file, struct options_key *key)
{
	char words[OPTIONS_ERROR_BYTES] = "";
	bool list = key->spec->kind == OPTION_LIST;
	enum config_kind kind = config_node_kind(key->node);
	uint32_t count = kind == CONFIG_LIST ? config_node_count(key->node) : 1;

	if (kind == CONFIG_MAP || (kind == CONFIG_LIST && !list))
		return options_refuse_key(file, key->node, key->spec->name,
		        list ? "is a map; write a list of `- value` lines"
		             : "takes one value; write it behind the colon");
	for (uint32_t i = 0; i < count; i++) {
		const struct config_node *node = kind == CONFIG_LIST
		                                         ? config_node_item(key->node, i)
		                                         : key->node;
		const char *text = config_node_text(node);
		if (config_node_kind(node) == CONFIG_NULL)
			return options_refuse_key(file, node, key->spec->name,
			        "has no value (nothing, ~ and null are none to YAML); write one, "
			        "or take the line out");
		if (!text)
			return options_refuse_key(file, node, key->spec->name,
			        "an item is no plain text; write `- value` lines");
		int r = option_value_parse(key->spec, text, &key->value, words, sizeof(words));
		if (r == -EINVAL)
			return options_refuse_key(file, node, key->spec->name, words);
		if (r < 0)
			return r;
	}
	int r = key->spec->parse_yaml
	                ? key->spec->parse_yaml(key->node, &key->value, words, sizeof(words))
	                : 0;
	return r == -EINVAL ? options_refuse_key(file, key->node, key->spec->name, words) : r;
}

static int options_read_keys(struct options_file *file, const struct config_node *root)
{
	if (root && config_node_kind(root) != CONFIG_MAP) {
		snprintf(file->error, file->error_bytes,
		        "%s:%u: is no map; write `key: value` lines", file->path,
		        config_node_line(root));
		return -EINVAL;
	}
	for (uint32_t i = 0; root && i < config_node_count(root); i++) {
		const char *name = config_node_key(root, i);
		const struct config_node *node = config_node_item(root, i);
		const struct option_spec *spec = options_find(file->table, name, strlen(name));
		int r = 0;

		if (!spec)
			return options_refuse_unknown_key(file, node, name);
		if (spec->line_only)
			return options_refuse_key(file, node, name,
			        "belongs on the command line; take it out of the file");

		struct options_key *key = &file->keys[file->keys_count++];
		*key = (struct options_key){ .spec = spec, .node = node };
		if (spec->kind != OPTION_CUSTOM)
			r = options_read_value(file, key);
		if (r < 0)
			return r;
	}
	return 0;
}

static int options_store_keys(struct options_file *file, void *target, bool reloading)
{
	/* Tables first: they are the only ones that can still be refused. */
	for (uint32_t i = 0; i < file->keys_count; i++) {
		struct options_key *key = &file->keys[i];
		char words[OPTIONS_ERROR_BYTES] = "";
		if (key->spec->kind != OPTION_CUSTOM || (reloading && !key->spec->reload))
			continue;
		int r = key->spec->parse_yaml(
		        key->node, (uint8_t *)target + key->spec->offset, words, sizeof(words));
		if (r < 0)
			return r == -EINVAL
			               ? options_refuse_key(file, key->node, key->spec->name, words)
			               : r;
	}
	for (uint32_t i = 0; i < file->keys_count; i++) {
		struct options_key *key = &file->keys[i];
		if (key->spec->kind != OPTION_CUSTOM && (!reloading || key->spec->reload))
			option_value_store(key->spec, &key->value, target);
	}
	return 0;
}

int options_parse_file(const struct option_table *table, const char *path, void *target,
        bool reloading, char *ret_error, size_t error_bytes)
{
	AUTO(config) config = NULL;
	int r = config_load(path, &config, ret_error, error_bytes);
	if (r < 0)
		return r;

	struct options_file file = {
		.table = table,
		.path = path,
		.error = ret_error,
		.error_bytes = error_bytes,
	};
	r = options_read_keys(&file, config_root(config));
	if (r == 0)
		r = options_store_keys(&file, target, reloading);
	if (r == -ENOMEM)
		snprintf(ret_error, error_bytes, "%s: out of memory", path);
	for (uint32_t i = 0; i < file.keys_count; i++) {
		if (file.keys[i].spec->kind != OPTION_CUSTOM)
			option_value_fini(file.keys[i].spec, &file.keys[i].value);
	}
	return r;
}

/* ---- both ---- */

static const char *options_config_path(const struct option_table *table, const void *target)
{
	const struct option_spec *spec = options_find(table, "config", strlen("config"));
	if (!spec || spec->kind != OPTION_TEXT)
		return NULL;
	char *path;
	memcpy(&path, (const uint8_t *)target + spec->offset, sizeof(path));
	return path;
}

enum options_outcome options_load(const struct option_table *table, int argc, char **argv,
        void *target, struct option_args *ret_args)
{
	if (options_init(table, target) < 0)
		return options_refuse(table, "out of memory");

	/* The line is read twice: the first time for the file's name, which the file must not hide.
	 */
	enum options_outcome outcome = options_parse_some(
	        table, argc, argv, target, false, ret_args);
	const char *path = outcome == OPTIONS_OK ? options_config_path(table, target) : NULL;
	if (path && !*path)
		outcome = options_refuse(
		        table, "--config is empty; write --config FILE, or leave it out");
	if (outcome == OPTIONS_OK && path) {
		char error[OPTIONS_ERROR_BYTES];
		autofree char *name = strdup(path);
		if (!name)
			outcome = options_refuse(table, "out of memory");
		else if (options_parse_file(table, name, target, false, error, sizeof(error)) < 0)
			outcome = options_refuse(table, "%s", error);
		else
			outcome = options_parse_some(table, argc, argv, target, false, ret_args);
	}
	if (outcome == OPTIONS_OK)
		outcome = options_check_required(table, target);
	if (outcome != OPTIONS_OK)
		options_fini(table, target);
	return outcome;
}

int options_reload(const struct option_table *table, const char *path, int argc, char **argv,
        void *target, char *ret_error, size_t error_bytes)
{
	struct option_args args;
	char error[OPTIONS_ERROR_BYTES];
	AUTO(config) config = NULL;
	struct options_file file = {
		.table = table,
		.path = path,
		.error = error,
		.error_bytes = sizeof(error),
	};

	int r = config_load(path, &config, error, sizeof(error));
	if (r == 0)
		r = options_read_keys(&file, config_root(config));
	if (r == 0)
		r = options_store_keys(&file, target, true);
	for (const struct option_spec *spec = table->options; r == 0 && spec->name; spec++) {
		bool in_file = config && config_root(config) &&
		               config_node_find(config_root(config), spec->name);
		if (spec->reload && !in_file)
			r = options_store_fallback(spec, target);
	}
	for (uint32_t i = 0; i < file.keys_count; i++) {
		if (file.keys[i].spec->kind != OPTION_CUSTOM)
			option_value_fini(file.keys[i].spec, &file.keys[i].value);
	}
	/* The line was right when the program started, so only memory can fail it now. */
	if (r == 0 && options_parse_some(table, argc, argv, target, true, &args) != OPTIONS_OK)
		r = -ENOMEM;
	if (r == -ENOMEM)
		snprintf(error, sizeof(error), "%s: out of memory", path);
	if (r < 0)
		snprintf(ret_error, error_bytes, "%s", error);
	return r;
}
