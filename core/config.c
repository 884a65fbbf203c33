/*
 * Builds the tree from libyaml's events, which come one by one: every limit is checked before the
 * next event is asked for, so that a hostile file costs no more than its own size.
 */

#include "core/config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <yaml.h>

#include "core/hash.h"

#define CONFIG_FILE_BYTES_MAX (1u << 20)
#define CONFIG_DEPTH_MAX      32
#define CONFIG_NODES_MAX      10000

struct config_pair {
	char *key; /* NULL in a list */
	uint64_t key_hash;
	struct config_node *node;
};

struct config_node {
	enum config_kind kind;
	uint32_t line;
	char *text;
	struct config_pair *pairs;
	uint32_t count;
	uint32_t capacity;
};

struct config {
	struct config_node *root;
};

/* What is needed while a text is read, and no longer. */
struct config_reading {
	const char *name;
	const char *text;
	size_t text_bytes;
	yaml_parser_t parser;
	uint32_t nodes_count;
	char *error;
	size_t error_bytes;
};

static void config_node_free(struct config_node *node)
{
	if (!node)
		return;
	for (uint32_t i = 0; i < node->count; i++) {
		free(node->pairs[i].key);
		config_node_free(node->pairs[i].node); /* no deeper than CONFIG_DEPTH_MAX */
	}
	free(node->pairs);
	free(node->text);
	free(node);
}
DEFINE_AUTO(config_node);

void config_free(struct config *config)
{
	if (!config)
		return;
	config_node_free(config->root);
	free(config);
}

static int config_refuse(struct config_reading *reading, size_t line, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Says "NAME:LINE: ..." and is -EINVAL. */
static int config_refuse(struct config_reading *reading, size_t line, const char *format, ...)
{
	char words[256];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	snprintf(reading->error, reading->error_bytes, "%s:%zu: %s", reading->name, line, words);
	return -EINVAL;
}

/* libyaml knows the line of a wrong token, but of a wrong byte only the offset. */
static size_t config_line_of_problem(const struct config_reading *reading)
{
	const yaml_parser_t *parser = &reading->parser;
	if (parser->error != YAML_READER_ERROR)
		return parser->problem_mark.line + 1;

	size_t line = 1;
	for (size_t i = 0; i < parser->problem_offset && i < reading->text_bytes; i++)
		line += reading->text[i] == '\n';
	return line;
}

static int config_next(struct config_reading *reading, yaml_event_t *ret_event)
{
	if (yaml_parser_parse(&reading->parser, ret_event))
		return 0;
	if (reading->parser.error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	return config_refuse(reading, config_line_of_problem(reading), "not YAML: %s",
	        reading->parser.problem ? reading->parser.problem : "unreadable");
}

static int config_scalar_text(
        struct config_reading *reading, const yaml_event_t *event, char **ret_text)
{
	const char *value = (const char *)event->data.scalar.value;
	size_t length = event->data.scalar.length;
	if (memchr(value, 0, length))
		return config_refuse(reading, event->start_mark.line + 1, "text with a zero byte");
	char *text = strndup(value, length);
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}

/* A tag asks the reader to make something else of a value (!!binary, !secret): nothing here would.
 */
static bool config_is_tagged(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.tag;
	default:
		return false;
	}
}

/* What YAML takes for no value. Quoted it is text. */
static bool config_is_null(const yaml_event_t *event)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL" };
	const char *value = (const char *)event->data.scalar.value;
	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (strcmp(value, words[i]) == 0)
			return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	return false;
}

/* Adds a child; owns key and node when it succeeds. */
static int config_node_append(struct config_node *parent, char *key, struct config_node *node)
{
	if (parent->count == parent->capacity) {
		uint32_t capacity = parent->capacity ? parent->capacity * 2 : 8;
		struct config_pair *pairs = realloc(parent->pairs, capacity * sizeof(*pairs));
		if (!pairs)
			return -ENOMEM;
		parent->pairs = pairs;
		parent->capacity = capacity;
	}
	parent->pairs[parent->count++] = (struct config_pair){
		.key = key,
		.key_hash = key ? hash64_bytes(key, strlen(key)) : 0,
		.node = node,
	};
	return 0;
}

static int config_read_node(struct config_reading *reading, const yaml_event_t *event,
        uint32_t depth, struct config_node **ret_node);

/* The key that the event is; it becomes the event of the value. On failure it is gone. */
static int config_read_key(struct config_reading *reading, const struct config_node *parent,
        yaml_event_t *event, char **ret_key)
{
	autofree char *key = NULL;
	size_t line = event->start_mark.line + 1;
	int r = event->type == YAML_SCALAR_EVENT
	                ? config_scalar_text(reading, event, &key)
	                : config_refuse(reading, line, "a key must be plain text");
	if (key && config_node_find(parent, key))
		r = config_refuse(reading, line, "%.64s: this key stands here twice", key);
	yaml_event_delete(event);
	r = r < 0 ? r : config_next(reading, event);
	if (r == 0)
		*ret_key = TAKE(key);
	return r;
}

static int config_read_children(
        struct config_reading *reading, uint32_t depth, struct config_node *parent)
{
	for (;;) {
		autofree char *key = NULL;
		AUTO(config_node) child = NULL;
		yaml_event_t event;

		int r = config_next(reading, &event);
		if (r < 0)
			return r;
		bool ended = event.type == YAML_SEQUENCE_END_EVENT ||
		             event.type == YAML_MAPPING_END_EVENT;
		if (!ended && parent->kind == CONFIG_MAP)
			r = config_read_key(reading, parent, &event, &key);
		if (r < 0)
			return r;
		if (!ended)
			r = config_read_node(reading, &event, depth + 1, &child);
		yaml_event_delete(&event);
		if (ended || r < 0)
			return r;

		r = config_node_append(parent, key, child);
		if (r < 0)
			return r;
		(void)TAKE(key);
		(void)TAKE(child);
	}
}

static int config_read_node(struct config_reading *reading, const yaml_event_t *event,
        uint32_t depth, struct config_node **ret_node)
{
	size_t line = event->start_mark.line + 1;
	if (event->type == YAML_ALIAS_EVENT)
		return config_refuse(reading, line, "aliases are not taken: write the value again");
	if (config_is_tagged(event))
		return config_refuse(reading, line, "tags are not taken: write the plain value");
	if (depth > CONFIG_DEPTH_MAX)
		return config_refuse(reading, line, "nested deeper than %d", CONFIG_DEPTH_MAX);
	if (++reading->nodes_count > CONFIG_NODES_MAX)
		return config_refuse(reading, line, "more than %d values", CONFIG_NODES_MAX);

	AUTO(config_node) node = calloc(1, sizeof(*node));
	if (!node)
		return -ENOMEM;
	node->line = (uint32_t)line;

	int r;
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		node->kind = config_is_null(event) ? CONFIG_NULL : CONFIG_SCALAR;
		r = node->kind == CONFIG_NULL ? 0 : config_scalar_text(reading, event, &node->text);
		break;
	case YAML_SEQUENCE_START_EVENT:
		node->kind = CONFIG_LIST;
		r = config_read_children(reading, depth, node);
		break;
	case YAML_MAPPING_START_EVENT:
		node->kind = CONFIG_MAP;
		r = config_read_children(reading, depth, node);
		break;
	default:
		r = config_refuse(reading, line, "a value is missing");
	}
	if (r < 0)
		return r;
	*ret_node = TAKE(node);
	return 0;
}

/* At most one document, between the events that open and close a stream. */
static int config_read(struct config_reading *reading, struct config *config)
{
	for (bool ended = false; !ended;) {
		yaml_event_t event;
		int r = config_next(reading, &event);
		if (r < 0)
			return r;
		switch (event.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_STREAM_END_EVENT:
		case YAML_NO_EVENT:
			ended = true;
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (config->root)
				r = config_refuse(reading, event.start_mark.line + 1,
				        "a second document: one is taken");
			break;
		default:
			r = config_read_node(reading, &event, 0, &config->root);
		}
		yaml_event_delete(&event);
		if (r < 0)
			return r;
	}
	return 0;
}

int config_parse(const char *name, const char *text, size_t count, struct config **ret_config,
        char *ret_error, size_t error_bytes)
{
	struct config_reading reading = {
		.name = name,
		.text = text,
		.text_bytes = count,
		.error = ret_error,
		.error_bytes = error_bytes,
	};
	if (count > CONFIG_FILE_BYTES_MAX) {
		snprintf(ret_error, error_bytes, "%s: larger than %u bytes", name,
		        CONFIG_FILE_BYTES_MAX);
		return -EFBIG;
	}

	AUTO(config) config = calloc(1, sizeof(*config));
	if (!config || !yaml_parser_initialize(&reading.parser)) {
		snprintf(ret_error, error_bytes, "%s: out of memory", name);
		return -ENOMEM;
	}
	yaml_parser_set_input_string(&reading.parser, (const unsigned char *)text, count);
	yaml_parser_set_encoding(&reading.parser, YAML_UTF8_ENCODING);
	int r = config_read(&reading, config);
	yaml_parser_delete(&reading.parser);
	if (r == -ENOMEM)
		snprintf(ret_error, error_bytes, "%s: out of memory", name);
	if (r < 0)
		return r;

	/* An empty document is one value that is none: the same as an empty file. */
	if (config->root && config->root->kind == CONFIG_NULL) {
		config_node_free(config->root);
		config->root = NULL;
	}
	*ret_config = TAKE(config);
	return 0;
}

static int config_read_file(const char *path, char **ret_text, size_t *ret_count)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	struct stat status;
	if (fstat(fd, &status) < 0)
		return -errno;
	if (S_ISDIR(status.st_mode))
		return -EISDIR;

	/* Its size is not asked for: /dev/stdin and pipes are files too. */
	autofree char *text = malloc(CONFIG_FILE_BYTES_MAX + 1);
	if (!text)
		return -ENOMEM;
	size_t count = 0;
	while (count <= CONFIG_FILE_BYTES_MAX) {
		ssize_t n = read(fd, text + count, CONFIG_FILE_BYTES_MAX + 1 - count);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		count += (size_t)n;
	}
	*ret_text = TAKE(text);
	*ret_count = count;
	return 0;
}

int config_load(const char *path, struct config **ret_config, char *ret_error, size_t error_bytes)
{
	autofree char *text = NULL;
	size_t count = 0;
	int r = config_read_file(path, &text, &count);
	if (r < 0) {
		snprintf(ret_error, error_bytes, "%s: %s", path, strerrordesc_np(-r));
		return r;
	}
	return config_parse(path, text, count, ret_config, ret_error, error_bytes);
}

const struct config_node *config_root(const struct config *config)
{
	return config->root;
}

enum config_kind config_node_kind(const struct config_node *node)
{
	return node->kind;
}

uint32_t config_node_line(const struct config_node *node)
{
	return node->line;
}

const char *config_node_text(const struct config_node *node)
{
	return node->text;
}

uint32_t config_node_count(const struct config_node *node)
{
	return node->count;
}

const struct config_node *config_node_item(const struct config_node *node, uint32_t index)
{
	assert(index < node->count);
	return node->pairs[index].node;
}

const char *config_node_key(const struct config_node *node, uint32_t index)
{
	assert(index < node->count);
	return node->pairs[index].key;
}

const struct config_node *config_node_find(const struct config_node *node, const char *key)
{
	uint64_t hash = hash64_bytes(key, strlen(key));
	for (uint32_t i = 0; node->kind == CONFIG_MAP && i < node->count; i++) {
		if (node->pairs[i].key_hash == hash && strcmp(node->pairs[i].key, key) == 0)
			return node->pairs[i].node;
	}
	return NULL;
}
