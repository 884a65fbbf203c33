/*
 * Reading goes line by line, root first, so that a stack is walked down the trie as it is read.
 * Files are mostly sorted: what a line shares with the one before is found by comparing bytes, and
 * only the rest is looked up.
 *
 *	main;serve;parse 5        main;serve; is known, its node is remembered,
 *	main;serve;write 2        so only `write` is looked up
 *
 * Writing adds up by node first, makes the text of each stack once, adds up equal texts, and sorts.
 */

#include "profile/folded.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"

/* How many frames of the line before are remembered. Deeper ones are looked up again. */
#define FOLDED_REMEMBERED 1024

struct folded_parser {
	struct batch *batch;
	uint32_t series;
	uint64_t period;
	uint64_t line;
	uint64_t skipped;
	struct parse_error *error;
	/* The stack of the line before: where each frame ends in it (behind its ';'), and its node.
	 */
	const char *before;
	uint32_t before_depth;
	uint32_t before_ends[FOLDED_REMEMBERED];
	uint32_t before_nodes[FOLDED_REMEMBERED];
};

__attribute__((format(printf, 3, 4))) static int folded_fail(
        struct folded_parser *parser, int result, const char *format, ...)
{
	struct parse_error *error = parser->error;
	va_list values;

	error->line = parser->line;
	int length = snprintf(error->text, sizeof(error->text), "line %" PRIu64 ": ", parser->line);
	va_start(values, format);
	(void)vsnprintf(error->text + length, sizeof(error->text) - (size_t)length, format, values);
	va_end(values);
	return result;
}

/* The dict's refusal in words of the file. */
static int folded_fail_dict(struct folded_parser *parser, int result)
{
	switch (result) {
	case -EINVAL:
		return folded_fail(
		        parser, -EBADMSG, "a name is longer than %d bytes", DICT_STRING_BYTES_MAX);
	case -ENOSPC:
		return folded_fail(parser, result,
		        "more distinct names or stacks than fit into one "
		        "import; split the file");
	case -EOVERFLOW:
		return folded_fail(parser, result, "the values add up to more than 64 bits");
	default:
		return folded_fail(parser, result, "out of memory");
	}
}

static int folded_parse_value(
        struct folded_parser *parser, const char *text, size_t count, uint64_t *ret_value)
{
	uint64_t value = 0;
	int shown = count > 40 ? 40 : (int)count;

	if (text[0] == '-' && count > 1)
		return folded_fail(parser, -EBADMSG,
		        "the value %.*s is negative; only counts can be kept", shown, text);
	for (size_t i = 0; i < count; i++) {
		if ((text[i] == '.' || text[i] == ',') && i > 0)
			return folded_fail(parser, -EBADMSG,
			        "the value %.*s is no whole number; use a smaller unit", shown,
			        text);
		if (text[i] < '0' || text[i] > '9')
			return folded_fail(parser, -EBADMSG,
			        "expected a stack, a blank and a whole number; the last word is no "
			        "number");
		if (__builtin_mul_overflow(value, 10, &value) ||
		        __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
			return folded_fail(parser, -EBADMSG,
			        "the value %.*s does not fit into 64 bits", shown, text);
	}
	if (value % parser->period != 0)
		return folded_fail(parser, -EBADMSG,
		        "the value %.*s is no multiple of the period %" PRIu64, shown, text,
		        parser->period);
	*ret_value = value / parser->period;
	return 0;
}

/* How many frames, and thereby bytes, this stack shares with the one before. */
static uint32_t folded_shared(const struct folded_parser *parser, const char *stack, size_t count)
{
	uint32_t depth = 0;
	uint32_t at = 0;

	while (depth < parser->before_depth) {
		uint32_t end = parser->before_ends[depth];
		if (end > count || memcmp(parser->before + at, stack + at, end - at) != 0)
			break;
		at = end;
		depth++;
	}
	return depth;
}

static int folded_parse_stack(
        struct folded_parser *parser, const char *stack, size_t count, uint32_t *ret_node)
{
	struct dict *dict = parser->batch->dict;
	uint32_t depth = folded_shared(parser, stack, count);
	uint32_t node = depth ? parser->before_nodes[depth - 1] : DICT_NODE_ROOT;
	size_t at = depth ? parser->before_ends[depth - 1] : 0;
	bool is_remembered = true;

	parser->before = stack;
	/* A stack that ends in ';' has an empty name behind it; an empty stack has no frame. */
	for (bool has_more = count > 0; has_more;) {
		const char *end = memchr(stack + at, ';', count - at);
		size_t name_count = (end ? (size_t)(end - stack) : count) - at;
		struct frame frame = { .kind = FRAME_MANAGED };
		uint32_t frame_id;

		int result = dict_string(dict, stack + at, name_count, &frame.function);
		if (result == 0)
			result = dict_frame(dict, &frame, &frame_id);
		if (result == 0)
			result = dict_node(dict, node, frame_id, &node);
		if (result < 0) {
			parser->before_depth = 0;
			return folded_fail_dict(parser, result);
		}
		at += name_count + 1;
		has_more = end != NULL;
		/* The last frame has no ';' behind it to compare, so it is not remembered. */
		is_remembered = is_remembered && has_more && depth < FOLDED_REMEMBERED &&
		                at <= UINT32_MAX;
		if (is_remembered) {
			parser->before_ends[depth] = (uint32_t)at;
			parser->before_nodes[depth] = node;
			depth++;
		}
	}
	parser->before_depth = depth;
	*ret_node = node;
	return 0;
}

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

static int folded_parse_line(struct folded_parser *parser, const char *line, size_t count)
{
	uint64_t value = 0;
	uint32_t node = DICT_NODE_ROOT;

	while (count > 0 && (is_blank(line[count - 1]) || line[count - 1] == '\r'))
		count--;
	if (count == 0 || (line[0] == '#' && (count == 1 || is_blank(line[1])))) {
		parser->skipped++;
		return 0;
	}

	size_t value_at = count;
	while (value_at > 0 && !is_blank(line[value_at - 1]))
		value_at--;
	int result = folded_parse_value(parser, line + value_at, count - value_at, &value);
	if (result < 0)
		return result;
	size_t stack_count = value_at ? value_at - 1 : 0;
	if (memchr(line, 0, stack_count))
		return folded_fail(parser, -EBADMSG, "a zero byte inside a name");

	result = folded_parse_stack(parser, line, stack_count, &node);
	if (result < 0)
		return result;
	/* A row is more than nothing. The caller says how many lines were none. */
	if (value == 0) {
		parser->skipped++;
		return 0;
	}
	result = batch_add_row(parser->batch, parser->series, node, value);
	return result < 0 ? folded_fail_dict(parser, result) : 0;
}

int folded_parse(const char *bytes, size_t count, struct batch *batch, uint32_t series,
        uint64_t *ret_skipped, struct parse_error *ret_error)
{
	autofree struct folded_parser *parser = calloc(1, sizeof(*parser));
	const char *end = count ? bytes + count : bytes;

	if (!parser) {
		*ret_error = (struct parse_error){ .text = "out of memory" };
		return -ENOMEM;
	}
	parser->batch = batch;
	parser->series = series;
	parser->period = dict_get_series(batch->dict, series)->period;
	parser->error = ret_error;

	for (const char *line = bytes; line < end;) {
		const char *line_end = memchr(line, '\n', (size_t)(end - line));
		if (!line_end)
			line_end = end;
		parser->line++;
		int result = folded_parse_line(parser, line, (size_t)(line_end - line));
		if (result < 0)
			return result;
		line = line_end + 1;
	}
	*ret_skipped = parser->skipped;
	return 0;
}

const char *frame_name_plain(const struct dict *dict, uint32_t id, struct buf *scratch)
{
	struct frame frame = dict_get_frame(dict, id);
	const char *module = dict_text(dict, dict_get_module(dict, frame.module)->name);

	buf_reset(scratch);
	if (frame.kind == FRAME_TRUNCATED) {
		buf_printf(scratch, "[truncated]");
	} else if (frame.function != 0 || frame.kind == FRAME_MANAGED) {
		size_t count;
		const char *name = dict_get_string(dict, frame.function, &count);
		buf_put(scratch, name, count);
	} else {
		buf_printf(scratch, module[0] ? "[unknown] %s" : "[unknown]", module);
	}
	buf_put_u8(scratch, 0);
	if (scratch->failed)
		return NULL;
	scratch->count--; /* The name is as long as the buf says; the zero stands behind it. */
	return (const char *)scratch->bytes;
}

/* What a node adds up to, then what a text adds up to. */
struct folded_sum {
	uint64_t value;
	union {
		size_t text_at;
		uint32_t node;
	};
	size_t text_count;
};

struct folded_span {
	size_t at;
	uint32_t count;
	bool is_known;
};

struct folded_writer {
	const struct dict *dict;
	frame_name name;
	struct buf scratch;
	struct buf names;           /* of each frame once, clean */
	struct folded_span *frames; /* frame id -> in names */
	uint64_t replaced;
	uint32_t *path; /* frames of the stack being written, leaf first */
	uint32_t path_capacity;
	struct buf texts;
};

static void folded_writer_fini(struct folded_writer *writer)
{
	buf_fini(&writer->scratch);
	buf_fini(&writer->names);
	buf_fini(&writer->texts);
	free(writer->frames);
	free(writer->path);
}

/* The name of a frame, without what a line cannot hold. */
static int folded_frame(struct folded_writer *writer, uint32_t id, struct folded_span *ret_span)
{
	struct folded_span *span = &writer->frames[id];

	if (!span->is_known) {
		const char *name = writer->name(writer->dict, id, &writer->scratch);
		if (!name)
			return -ENOMEM;
		size_t count = writer->scratch.count;
		/* A namer that leaves the zero inside its count would put it into the text. */
		if (count > 0 && name[count - 1] == 0)
			count--;
		size_t at = writer->names.count;
		buf_put(&writer->names, name, count);
		if (writer->names.failed)
			return -ENOMEM;
		bool is_replaced = false;
		for (uint8_t *byte = writer->names.bytes + at;
		        byte < writer->names.bytes + at + count; byte++) {
			if (*byte != ';' && *byte != '\n' && *byte != 0)
				continue;
			*byte = *byte == ';' ? ':' : '?';
			is_replaced = true;
		}
		writer->replaced += is_replaced;
		*span = (struct folded_span){ at, (uint32_t)count, true };
	}
	*ret_span = *span;
	return 0;
}

static int folded_stack(struct folded_writer *writer, uint32_t node_id)
{
	uint32_t depth = 0;

	while (node_id != DICT_NODE_ROOT) {
		struct node node = dict_get_node(writer->dict, node_id);

		if (depth == writer->path_capacity) {
			uint32_t capacity = depth ? depth * 2 : 256;
			uint32_t *path = reallocarray(writer->path, capacity, sizeof(uint32_t));
			if (!path)
				return -ENOMEM;
			writer->path = path;
			writer->path_capacity = capacity;
		}
		writer->path[depth++] = node.frame;
		node_id = node.parent;
	}

	size_t start = writer->texts.count;
	for (uint32_t i = depth; i-- > 0;) {
		struct folded_span span;
		int result = folded_frame(writer, writer->path[i], &span);

		if (result < 0)
			return result;
		buf_put(&writer->texts, writer->names.bytes + span.at, span.count);
		if (i > 0)
			buf_put_u8(&writer->texts, ';');
	}
	if (writer->texts.failed)
		return -ENOMEM;
	/* Read again, such a line would be taken for a comment. */
	size_t count = writer->texts.count - start;
	if (count == 0)
		return 0;
	uint8_t *text = writer->texts.bytes + start;
	if (text[0] == '#' && (count == 1 || is_blank((char)text[1]))) {
		text[0] = '?';
		writer->replaced++;
	}
	return 0;
}

static int folded_compare_nodes(const void *left, const void *right)
{
	const struct folded_sum *a = left;
	const struct folded_sum *b = right;

	return a->node < b->node ? -1 : a->node > b->node;
}

static int folded_compare_texts(const void *left, const void *right, void *texts)
{
	const struct folded_sum *a = left;
	const struct folded_sum *b = right;
	const uint8_t *bytes = texts;
	size_t count = a->text_count < b->text_count ? a->text_count : b->text_count;
	int order = memcmp(bytes + a->text_at, bytes + b->text_at, count);

	if (order != 0)
		return order;
	return a->text_count < b->text_count ? -1 : a->text_count > b->text_count;
}

/* The first bytes of a line from `at` on: enough to be told from a blank and a value. */
static void folded_line_tail(
        const struct folded_sum *sum, const uint8_t *texts, size_t at, char tail[static 48])
{
	size_t count = sum->text_count - at;

	if (count > 24)
		count = 24;
	snprintf(tail, 48, "%.*s %" PRIu64, (int)count, (const char *)texts + sum->text_at + at,
	        sum->value);
}

/* As whole lines compare. Differs from the order of texts where names hold blanks. */
static int folded_compare_lines(const void *left, const void *right, void *texts)
{
	const struct folded_sum *a = left;
	const struct folded_sum *b = right;
	const uint8_t *bytes = texts;
	size_t count = a->text_count < b->text_count ? a->text_count : b->text_count;
	int order = memcmp(bytes + a->text_at, bytes + b->text_at, count);
	char tails[2][48];

	if (order != 0)
		return order;
	folded_line_tail(a, bytes, count, tails[0]);
	folded_line_tail(b, bytes, count, tails[1]);
	return strcmp(tails[0], tails[1]);
}

/* Adds up neighbours that compare equal; the number that is left, or -EOVERFLOW. */
static int folded_merge(struct folded_sum *sums, uint32_t *count,
        int (*compare)(const void *, const void *, void *), void *texts)
{
	uint32_t kept = 0;

	for (uint32_t i = 1; i < *count; i++) {
		if (compare(&sums[i], &sums[kept], texts) != 0)
			sums[++kept] = sums[i];
		else if (__builtin_add_overflow(sums[kept].value, sums[i].value, &sums[kept].value))
			return -EOVERFLOW;
	}
	if (*count > 0)
		*count = kept + 1;
	return 0;
}

static int folded_compare_nodes_merging(const void *left, const void *right, void *unused)
{
	return folded_compare_nodes(left, right);
}

static int folded_sums(const struct batch *batch, struct folded_sum *sums)
{
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		uint64_t period = dict_get_series(batch->dict, row->series)->period;

		sums[i].node = row->node;
		if (__builtin_mul_overflow(row->value, period, &sums[i].value))
			return -EOVERFLOW;
	}
	return 0;
}

static int folded_write_with(
        struct folded_writer *writer, struct folded_sum *sums, uint32_t count, struct buf *to)
{
	qsort(sums, count, sizeof(*sums), folded_compare_nodes);
	int result = folded_merge(sums, &count, folded_compare_nodes_merging, NULL);
	if (result < 0)
		return result;

	for (uint32_t i = 0; i < count; i++) {
		size_t at = writer->texts.count;

		result = folded_stack(writer, sums[i].node);
		if (result < 0)
			return result;
		sums[i].text_at = at;
		sums[i].text_count = writer->texts.count - at;
	}

	void *texts = writer->texts.bytes;
	qsort_r(sums, count, sizeof(*sums), folded_compare_texts, texts);
	result = folded_merge(sums, &count, folded_compare_texts, texts);
	if (result < 0)
		return result;
	qsort_r(sums, count, sizeof(*sums), folded_compare_lines, texts);

	for (uint32_t i = 0; i < count; i++) {
		buf_put(to, writer->texts.bytes + sums[i].text_at, sums[i].text_count);
		buf_printf(to, " %" PRIu64 "\n", sums[i].value);
	}
	return to->failed ? -ENOMEM : 0;
}

int folded_write(const struct batch *batch, frame_name name, struct buf *to, uint64_t *ret_replaced)
{
	autofree struct folded_sum *sums = calloc(batch->rows_count + UINT64_C(1), sizeof(*sums));
	struct folded_writer writer = { .dict = batch->dict, .name = name };

	writer.frames = calloc(dict_mark(batch->dict).frames + UINT64_C(1), sizeof(*writer.frames));
	/* Neither is ever NULL, so that empty texts need no thought. */
	(void)buf_reserve(&writer.names, 1);
	(void)buf_reserve(&writer.texts, 1);
	bool has_memory = sums && writer.frames && writer.names.bytes && writer.texts.bytes;
	int result = has_memory ? folded_sums(batch, sums) : -ENOMEM;
	if (result == 0)
		result = folded_write_with(&writer, sums, batch->rows_count, to);
	if (result == 0)
		*ret_replaced = writer.replaced;
	folded_writer_fini(&writer);
	return result;
}
