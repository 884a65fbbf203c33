/*
 * A hand-written parser, because the message about a mistake is half of what a selector is for.
 * Patterns are made POSIX by selector_pattern.c and matched by regcomp().
 */

#include "profile/selector.h"

#include <assert.h>
#include <errno.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "profile/selector_private.h"

struct matcher {
	char *name;
	char *value;
	size_t value_count;
	enum matcher_op op;
	regex_t regex;
	bool has_regex;
};

struct selector {
	char *type; /* NULL: any */
	uint32_t count;
	struct matcher matchers[SELECTOR_MATCHERS_MAX];
};

static const char *const matcher_op_text[] = {
	[MATCHER_EQUAL] = "=",
	[MATCHER_NOT_EQUAL] = "!=",
	[MATCHER_REGEX] = "=~",
	[MATCHER_NOT_REGEX] = "!~",
};

void selector_free(struct selector *selector)
{
	if (!selector)
		return;
	for (uint32_t i = 0; i < selector->count; i++) {
		struct matcher *matcher = &selector->matchers[i];

		if (matcher->has_regex)
			regfree(&matcher->regex);
		free(matcher->name);
		free(matcher->value);
	}
	free(selector->type);
	free(selector);
}

struct selector_parser {
	const char *text;
	size_t count;
	size_t at;
	char *error;
	size_t error_bytes;
	int result; /* sticky */
};

__attribute__((format(printf, 3, 4))) static int selector_fail(
        struct selector_parser *parser, size_t at, const char *format, ...)
{
	va_list values;

	if (parser->result < 0)
		return parser->result;
	parser->result = -EINVAL;
	int length = snprintf(parser->error, parser->error_bytes, "at %zu: ", at);
	if (length >= 0 && (size_t)length < parser->error_bytes) {
		va_start(values, format);
		(void)vsnprintf(parser->error + length, parser->error_bytes - (size_t)length,
		        format, values);
		va_end(values);
	}
	return parser->result;
}

static int selector_peek(struct selector_parser *parser)
{
	while (parser->at < parser->count && is_blank(parser->text[parser->at]))
		parser->at++;
	return parser->at < parser->count ? (unsigned char)parser->text[parser->at] : -1;
}

static bool name_byte_is_bare(int byte, bool is_first)
{
	return is_letter(byte) || byte == '_' || (!is_first && (is_digit(byte) || byte == '.'));
}

static bool name_is_bare(const char *name)
{
	if (!*name)
		return false;
	for (const char *at = name; *at; at++)
		if (!name_byte_is_bare((unsigned char)*at, at == name))
			return false;
	return true;
}

static void buf_put_utf8(struct buf *to, uint32_t code)
{
	if (code < 0x80) {
		buf_put_u8(to, (uint8_t)code);
	} else if (code < 0x800) {
		buf_put_u8(to, (uint8_t)(0xc0 | (code >> 6)));
		buf_put_u8(to, (uint8_t)(0x80 | (code & 0x3f)));
	} else if (code < 0x10000) {
		buf_put_u8(to, (uint8_t)(0xe0 | (code >> 12)));
		buf_put_u8(to, (uint8_t)(0x80 | ((code >> 6) & 0x3f)));
		buf_put_u8(to, (uint8_t)(0x80 | (code & 0x3f)));
	} else {
		buf_put_u8(to, (uint8_t)(0xf0 | (code >> 18)));
		buf_put_u8(to, (uint8_t)(0x80 | ((code >> 12) & 0x3f)));
		buf_put_u8(to, (uint8_t)(0x80 | ((code >> 6) & 0x3f)));
		buf_put_u8(to, (uint8_t)(0x80 | (code & 0x3f)));
	}
}

/* `digits` digits of base 8 or 16 from `at`, or -1. */
static int64_t selector_digits(
        const struct selector_parser *parser, size_t at, uint32_t digits, int base)
{
	int64_t value = 0;

	for (uint32_t i = 0; i < digits; i++) {
		int digit = at + i < parser->count ? hex_digit((unsigned char)parser->text[at + i])
		                                   : -1;
		if (digit < 0 || digit >= base)
			return -1;
		value = value * base + digit;
	}
	return value;
}

/* Behind a backslash in quotes: what Go's quoted strings have. */
static void selector_string_escape(struct selector_parser *parser, char quote, struct buf *to)
{
	size_t start = parser->at - 1;
	char byte = parser->at < parser->count ? parser->text[parser->at] : 0;
	static const char letters[] = "abfnrtv\\";
	static const char meanings[] = "\a\b\f\n\r\t\v\\";
	const char *letter = byte ? strchr(letters, byte) : NULL;
	int64_t code = -1;
	uint32_t digits = 0;

	if (letter) {
		buf_put_u8(to, (uint8_t)meanings[letter - letters]);
		parser->at++;
		return;
	}
	if (byte == quote) {
		buf_put_u8(to, (uint8_t)byte);
		parser->at++;
		return;
	}
	if (byte == 'x' || byte == 'u' || byte == 'U') {
		digits = byte == 'x' ? 2 : byte == 'u' ? 4 : 8;
		code = selector_digits(parser, parser->at + 1, digits, 16);
		digits++;
	} else if (is_digit(byte)) {
		digits = 3;
		code = selector_digits(parser, parser->at, digits, 8);
	} else {
		selector_fail(parser, start,
		        "unknown escape in quotes; write \\\\ for one backslash (a pattern's \\. "
		        "is "
		        "\"\\\\.\", or `\\.` in backticks)");
		return;
	}
	if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
	        (digits == 3 && code > 255)) {
		selector_fail(
		        parser, start, "broken escape; they are \\ooo \\xHH \\uHHHH \\UHHHHHHHH");
		return;
	}
	if (code == 0) {
		selector_fail(parser, start, "a zero byte cannot be asked for");
		return;
	}
	if (digits == 3)
		buf_put_u8(to, (uint8_t)code);
	else
		buf_put_utf8(to, (uint32_t)code);
	parser->at += digits;
}

/* A quoted string; `what` it is, for the message. NULL and failed. */
static char *selector_string(struct selector_parser *parser, const char *what, size_t *ret_count)
{
	AUTO_BUF to = { 0 };
	size_t start = parser->at;
	char quote = parser->text[parser->at++];

	while (parser->result == 0) {
		if (parser->at >= parser->count) {
			selector_fail(parser, start, "%s is not ended; expected a closing %c", what,
			        quote);
			break;
		}
		char byte = parser->text[parser->at++];
		if (byte == quote) {
			size_t count;

			buf_put_u8(&to, 0);
			char *text = (char *)buf_take(&to, &count);
			if (!text) {
				parser->result = -ENOMEM;
				break;
			}
			*ret_count = count - 1;
			return text;
		}
		if (byte == '\n' && quote != '`')
			selector_fail(
			        parser, parser->at - 1, "a line break inside quotes; write \\n");
		else if (byte == '\\' && quote != '`')
			selector_string_escape(parser, quote, &to);
		else
			buf_put_u8(&to, (uint8_t)byte);
	}
	return NULL;
}

static bool is_quote(int byte)
{
	return byte == '"' || byte == '\'' || byte == '`';
}

/* A bare name that starts here. */
static char *selector_bare(struct selector_parser *parser)
{
	size_t start = parser->at;

	while (parser->at < parser->count &&
	        name_byte_is_bare((unsigned char)parser->text[parser->at], parser->at == start))
		parser->at++;
	char *name = strndup(parser->text + start, parser->at - start);
	if (!name)
		parser->result = -ENOMEM;
	return name;
}

static int selector_operator(
        struct selector_parser *parser, const char *name, enum matcher_op *ret_op)
{
	int first = selector_peek(parser);
	int second = parser->at + 1 < parser->count ? parser->text[parser->at + 1] : -1;

	if (first == '=' && second == '~')
		*ret_op = MATCHER_REGEX;
	else if (first == '!' && second == '~')
		*ret_op = MATCHER_NOT_REGEX;
	else if (first == '!' && second == '=')
		*ret_op = MATCHER_NOT_EQUAL;
	else if (first == '=' && second != '=')
		*ret_op = MATCHER_EQUAL;
	else
		return selector_fail(
		        parser, parser->at, "expected one of = != =~ !~ after \"%.64s\"", name);
	parser->at += *ret_op == MATCHER_EQUAL ? 1 : 2;
	return 0;
}

static int matcher_compile(struct matcher *matcher, struct selector_parser *parser, size_t at)
{
	AUTO_BUF posix = { 0 };
	bool ignores_case = false;
	char error[SELECTOR_PATTERN_ERROR_BYTES];

	int r = selector_pattern(
	        matcher->value, matcher->value_count, &posix, &ignores_case, error, sizeof(error));
	if (r == -EINVAL)
		return selector_fail(parser, at, "pattern of \"%.64s\", %s", matcher->name, error);
	if (r < 0)
		return parser->result = r;

	int flags = REG_EXTENDED | REG_NOSUB | (ignores_case ? REG_ICASE : 0);
	int result = regcomp(&matcher->regex, (const char *)posix.bytes, flags);
	if (result == REG_ESPACE)
		return parser->result = -ENOMEM;
	if (result != 0) {
		char text[120];

		(void)regerror(result, &matcher->regex, text, sizeof(text));
		return selector_fail(parser, at, "pattern of \"%.64s\": %s", matcher->name, text);
	}
	matcher->has_regex = true;
	return 0;
}

/* name op "value", or a quoted type alone. */
static void selector_matcher(struct selector_parser *parser, struct selector *selector)
{
	int byte = selector_peek(parser);
	size_t start = parser->at;
	bool is_quoted = is_quote(byte);
	autofree char *name = NULL;
	size_t count;

	if (is_quoted)
		name = selector_string(parser, "a name", &count);
	else if (name_byte_is_bare(byte, true))
		name = selector_bare(parser);
	else
		selector_fail(parser, parser->at,
		        "expected a label name such as service, or } that ends the selector");
	if (!name)
		return;

	byte = selector_peek(parser);
	if (is_quoted && (byte == ',' || byte == '}')) {
		if (selector->type)
			selector_fail(parser, start, "the type is named twice");
		else if (!*name)
			selector_fail(parser, start, "a type has a name");
		else
			selector->type = TAKE(name);
		return;
	}
	if (!*name) {
		selector_fail(parser, start, "a label has a name");
		return;
	}
	if (!is_quoted && strcmp(name, "__name__") == 0) {
		selector_fail(
		        parser, start, "__name__ is no label here; write the type before the {");
		return;
	}
	if (selector->count == SELECTOR_MATCHERS_MAX) {
		selector_fail(parser, start, "more than %d matchers; ask with fewer",
		        SELECTOR_MATCHERS_MAX);
		return;
	}

	enum matcher_op op = MATCHER_EQUAL;
	if (selector_operator(parser, name, &op) < 0)
		return;
	byte = selector_peek(parser);
	size_t value_at = parser->at;
	if (!is_quote(byte)) {
		selector_fail(parser, value_at, "expected a value in quotes after \"%.64s%s\"",
		        name, matcher_op_text[op]);
		return;
	}
	char *value = selector_string(parser, "a value", &count);
	if (!value)
		return;

	struct matcher *matcher = &selector->matchers[selector->count++];
	matcher->name = TAKE(name);
	matcher->value = value;
	matcher->value_count = count;
	matcher->op = op;
	if (op == MATCHER_REGEX || op == MATCHER_NOT_REGEX)
		(void)matcher_compile(matcher, parser, value_at);
}

static void selector_braces(struct selector_parser *parser, struct selector *selector)
{
	parser->at++;
	for (;;) {
		int byte = selector_peek(parser);

		if (byte == '}')
			break;
		selector_matcher(parser, selector);
		if (parser->result < 0)
			return;
		byte = selector_peek(parser);
		if (byte == '}')
			break;
		if (byte != ',') {
			selector_fail(parser, parser->at, "expected , or } after a matcher");
			return;
		}
		parser->at++;
	}
	parser->at++;
}

int selector_parse(
        const char *text, struct selector **ret_selector, char *ret_error, size_t error_bytes)
{
	struct selector_parser parser = {
		.text = text, .count = strlen(text), .error = ret_error, .error_bytes = error_bytes
	};

	if (error_bytes)
		ret_error[0] = 0;
	if (parser.count > SELECTOR_BYTES_MAX)
		return selector_fail(&parser, SELECTOR_BYTES_MAX,
		        "longer than %d bytes; ask with fewer or shorter matchers",
		        SELECTOR_BYTES_MAX);

	AUTO(selector) selector = calloc(1, sizeof(*selector));
	if (!selector)
		return -ENOMEM;

	int byte = selector_peek(&parser);
	if (name_byte_is_bare(byte, true)) {
		selector->type = selector_bare(&parser);
		byte = selector_peek(&parser);
	} else if (byte != '{') {
		selector_fail(&parser, parser.at,
		        "expected a profile type such as cpu, or { that begins the matchers");
	}
	if (parser.result == 0 && byte == '{') {
		selector_braces(&parser, selector);
		byte = selector_peek(&parser);
	}
	if (parser.result == 0 && byte >= 0)
		selector_fail(&parser, parser.at,
		        selector->count || parser.text[parser.at - 1] == '}'
		                ? "expected nothing behind the }"
		                : "expected { that begins the matchers, or nothing, after the "
		                  "type");
	if (parser.result < 0)
		return parser.result;

	*ret_selector = TAKE(selector);
	return 0;
}

const char *selector_type(const struct selector *selector)
{
	return selector->type;
}

uint32_t selector_matchers_count(const struct selector *selector)
{
	return selector->count;
}

const char *selector_matcher_name(const struct selector *selector, uint32_t index)
{
	assert(index < selector->count);
	return selector->matchers[index].name;
}

enum matcher_op selector_matcher_op(const struct selector *selector, uint32_t index)
{
	assert(index < selector->count);
	return selector->matchers[index].op;
}

const char *selector_matcher_value(const struct selector *selector, uint32_t index)
{
	assert(index < selector->count);
	return selector->matchers[index].value;
}

/* Values may hold zero bytes, so both comparisons go by length. */
static bool matcher_accepts(const struct matcher *matcher, const char *value, size_t count)
{
	bool is_equal;

	if (matcher->has_regex) {
		regmatch_t range = { .rm_so = 0, .rm_eo = (regoff_t)count };
		is_equal = regexec(&matcher->regex, value, 0, &range, REG_STARTEND) == 0;
	} else {
		is_equal = count == matcher->value_count &&
		           memcmp(value, matcher->value, count) == 0;
	}
	return is_equal == (matcher->op == MATCHER_EQUAL || matcher->op == MATCHER_REGEX);
}

bool selector_matcher_accepts(const struct selector *selector, uint32_t index, const char *value)
{
	assert(index < selector->count);
	return matcher_accepts(&selector->matchers[index], value, strlen(value));
}

static bool matcher_accepts_label(
        const struct matcher *matcher, const struct dict *dict, uint32_t series)
{
	uint32_t name = dict_find_string(dict, matcher->name, strlen(matcher->name));
	/* String 0 is "": a label nobody has is an empty one. */
	uint32_t value = name == ID_NONE ? 0 : dict_label_value(dict, series, name);
	size_t count;
	const char *bytes = dict_get_string(dict, value, &count);
	return matcher_accepts(matcher, bytes, count);
}

/* `tenant` NULL: none is at hand, and its name is that of a label as any other. */
uint32_t selector_mismatch_of(const struct selector *selector, const char *tenant,
        const struct dict *dict, uint32_t series)
{
	if (selector->type &&
	        strcmp(selector->type, dict_text(dict, dict_get_series(dict, series)->type)) != 0)
		return SELECTOR_WRONG_TYPE;

	for (uint32_t i = 0; i < selector->count; i++) {
		const struct matcher *matcher = &selector->matchers[i];
		bool is_of_tenant = tenant && strcmp(matcher->name, SELECTOR_TENANT) == 0;
		if (is_of_tenant ? !matcher_accepts(matcher, tenant, strlen(tenant))
		                 : !matcher_accepts_label(matcher, dict, series))
			return i;
	}
	return SELECTOR_MATCHES;
}

uint32_t selector_mismatch(
        const struct selector *selector, const struct dict *dict, uint32_t series)
{
	return selector_mismatch_of(selector, NULL, dict, series);
}

bool selector_matches_of(const struct selector *selector, const char *tenant,
        const struct dict *dict, uint32_t series)
{
	return selector_mismatch_of(selector, tenant, dict, series) == SELECTOR_MATCHES;
}

bool selector_matches(const struct selector *selector, const struct dict *dict, uint32_t series)
{
	return selector_mismatch(selector, dict, series) == SELECTOR_MATCHES;
}

/* A value that is not even in the dictionary is no label's. String 0 is "", which all have. */
static bool matcher_is_unknown(const struct matcher *matcher, const struct dict *dict)
{
	return dict && matcher->op == MATCHER_EQUAL &&
	       dict_find_string(dict, matcher->value, matcher->value_count) == ID_NONE;
}

enum selector_answer selector_judge(const struct selector *selector, struct selector_known known)
{
	enum selector_answer answer = SELECTOR_ALL;
	if (selector->type && strcmp(selector->type, known.type) != 0)
		return SELECTOR_NONE;
	for (uint32_t i = 0; i < selector->count; i++) {
		const struct matcher *matcher = &selector->matchers[i];
		const char *value = NULL;
		if (known.tenant && strcmp(matcher->name, SELECTOR_TENANT) == 0)
			value = known.tenant;
		else if (strcmp(matcher->name, "service") == 0)
			value = known.service;
		if (value ? !matcher_accepts(matcher, value, strlen(value))
		          : matcher_is_unknown(matcher, known.dict))
			return SELECTOR_NONE;
		if (!value)
			answer = SELECTOR_DEPENDS;
	}
	return answer;
}

/* The pattern that accepts every text, in the ways people write it. */
static bool matcher_refuses_everything(const struct matcher *matcher)
{
	return matcher->op == MATCHER_NOT_REGEX &&
	       (strcmp(matcher->value, ".*") == 0 || strcmp(matcher->value, "(.*)") == 0);
}

int selector_check_possible(const struct selector *selector, char *ret_error, size_t error_bytes)
{
	for (uint32_t i = 0; i < selector->count; i++) {
		const struct matcher *fixed = &selector->matchers[i];
		if (matcher_refuses_everything(fixed)) {
			snprintf(ret_error, error_bytes,
			        "%.64s!~\"%s\" refuses every value, so that nothing can match; "
			        "leave it out, or write %.64s=\"\" for series without it",
			        fixed->name, fixed->value, fixed->name);
			return -EINVAL;
		}
		for (uint32_t j = 0; fixed->op == MATCHER_EQUAL && j < selector->count; j++) {
			const struct matcher *other = &selector->matchers[j];
			if (strcmp(other->name, fixed->name) != 0 ||
			        matcher_accepts(other, fixed->value, fixed->value_count))
				continue;
			snprintf(ret_error, error_bytes,
			        "%.64s=\"%.64s\" and %.64s%s\"%.64s\" contradict each other, so "
			        "that nothing can match; leave one of them out",
			        fixed->name, fixed->value, other->name, matcher_op_text[other->op],
			        other->value);
			return -EINVAL;
		}
	}
	return 0;
}

/* How many bytes of valid UTF-8 (or ASCII) start here; 0 for none. */
static size_t utf8_length(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t length = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;

	if (at[0] >= 0x80 && (at[0] < 0xc2 || at[0] > 0xf4))
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

static void buf_put_quoted(struct buf *to, const char *text)
{
	buf_put_u8(to, '"');
	while (*text) {
		size_t length = utf8_length(text);

		if (*text == '"' || *text == '\\')
			buf_printf(to, "\\%c", *text);
		else if (*text == '\n')
			buf_put(to, "\\n", 2);
		else if (*text == '\t')
			buf_put(to, "\\t", 2);
		else if (length == 0)
			buf_printf(to, "\\%03o", (unsigned char)*text);
		else if (length == 1 && (*text < ' ' || *text == 0x7f))
			buf_printf(to, "\\x%02x", (unsigned char)*text);
		else
			buf_put(to, text, length);
		text += length ? length : 1;
	}
	buf_put_u8(to, '"');
}

void selector_print(const struct selector *selector, struct buf *to)
{
	bool is_bare = selector->type && name_is_bare(selector->type);
	const char *between = "";

	if (is_bare)
		buf_put(to, selector->type, strlen(selector->type));
	if (is_bare && selector->count == 0)
		return;
	buf_put_u8(to, '{');
	if (selector->type && !is_bare) {
		buf_put_quoted(to, selector->type);
		between = ",";
	}
	for (uint32_t i = 0; i < selector->count; i++) {
		const struct matcher *matcher = &selector->matchers[i];

		buf_printf(to, "%s", between);
		if (name_is_bare(matcher->name) && strcmp(matcher->name, "__name__") != 0)
			buf_put(to, matcher->name, strlen(matcher->name));
		else
			buf_put_quoted(to, matcher->name);
		buf_printf(to, "%s", matcher_op_text[matcher->op]);
		buf_put_quoted(to, matcher->value);
		between = ",";
	}
	buf_put_u8(to, '}');
}
