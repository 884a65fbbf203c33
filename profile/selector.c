/*
 * A hand-written parser, because the message about a mistake is half of what a selector is for.
 *
 * Regular expressions arrive in the dialect people know from PromQL (RE2) and are matched by POSIX
 * regcomp(). The two agree on the core; a recursive descent over the pattern writes the rest in
 * POSIX words (\d, (?:...), a+?, escapes), refuses by name what has none, and adds up how far
 * counted repeats would unfold, so that a short pattern cannot become a large automaton.
 *
 * Classes are written out byte by byte and no range is left to the locale. In a program without a
 * locale (all of ours) `.` and [^...] stand for one byte of UTF-8, literals for whole characters.
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

#define PATTERN_NESTING_MAX 64
#define PATTERN_REPEAT_MAX  1000
/* Atoms after counted repeats were unfolded. glibc needs up to the square of it in memory. */
#define PATTERN_ATOMS_MAX 4096

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

/* ---- Patterns: RE2 as PromQL users write it, into POSIX extended ---- */

struct pattern {
	const char *bytes;
	size_t count;
	size_t at;
	bool ignores_case;
	struct buf *to;
	char error[160]; /* empty while all is well; the first one stays */
};

/* The characters of ASCII that a class holds, and whether it holds all the others. */
struct pattern_class {
	bool holds[128];
	bool beyond;
};

__attribute__((format(printf, 2, 3))) static void pattern_fail(
        struct pattern *pattern, const char *format, ...)
{
	va_list values;

	if (pattern->error[0])
		return;
	int length = snprintf(
	        pattern->error, sizeof(pattern->error), "character %zu: ", pattern->at);
	va_start(values, format);
	(void)vsnprintf(
	        pattern->error + length, sizeof(pattern->error) - (size_t)length, format, values);
	va_end(values);
	pattern->at = pattern->count;
}

/* The byte `ahead` places further, or -1 behind the end. */
static int pattern_peek(const struct pattern *pattern, size_t ahead)
{
	size_t at = pattern->at + ahead;

	return at < pattern->count ? (unsigned char)pattern->bytes[at] : -1;
}

static bool pattern_skip(struct pattern *pattern, const char *text)
{
	size_t count = strlen(text);

	if (count > pattern->count - pattern->at ||
	        memcmp(pattern->bytes + pattern->at, text, count) != 0)
		return false;
	pattern->at += count;
	return true;
}

static bool is_digit(int byte)
{
	return byte >= '0' && byte <= '9';
}

static bool is_letter(int byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

static bool is_blank(int byte)
{
	return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static bool is_printable(int byte)
{
	return byte > ' ' && byte < 0x7f;
}

static int hex_digit(int byte)
{
	if (is_digit(byte))
		return byte - '0';
	if (byte >= 'a' && byte <= 'f')
		return byte - 'a' + 10;
	if (byte >= 'A' && byte <= 'F')
		return byte - 'A' + 10;
	return -1;
}

static bool class_holds_by_name(char name, int byte)
{
	switch (name) {
	case 'd':
		return is_digit(byte);
	case 'w':
		return is_digit(byte) || is_letter(byte) || byte == '_';
	default: /* s */
		return is_blank(byte) || byte == '\f';
	}
}

/* Adds \d, \w, \s or, as capitals, everything else. */
static void class_add_shorthand(struct pattern_class *class, char name)
{
	bool others = name < 'a';

	for (int byte = 0; byte < 128; byte++)
		if (class_holds_by_name((char)(name | 0x20), byte) != others)
			class->holds[byte] = true;
	if (others)
		class->beyond = true;
}

static void pattern_put_literal(struct pattern *pattern, int byte)
{
	if (strchr(".[]{}()*+?^$|\\", byte))
		buf_put_u8(pattern->to, '\\');
	buf_put_u8(pattern->to, (uint8_t)byte);
}

/*
 * POSIX brackets have no escapes; the order says what is literal: ']' first, '-' last, '^' never
 * first, and '[' before nothing that makes a class name.
 */
static void pattern_put_class(struct pattern *pattern, const struct pattern_class *class)
{
	uint32_t count = 0;
	int only = 0;

	for (int byte = 1; byte < 128; byte++) {
		if (class->holds[byte] != class->beyond) {
			count++;
			only = byte;
		}
	}
	if (count == 0 && class->beyond) {
		buf_put_u8(pattern->to, '.');
		return;
	}
	if (count == 0) {
		pattern_fail(pattern, "this class holds nothing, so it can never match");
		return;
	}
	if (count == 1 && !class->beyond) {
		pattern_put_literal(pattern, only);
		return;
	}

	buf_put_u8(pattern->to, '[');
	if (class->beyond)
		buf_put_u8(pattern->to, '^');
	if (class->holds[']'] != class->beyond)
		buf_put_u8(pattern->to, ']');
	for (int byte = 1; byte < 128; byte++)
		if (class->holds[byte] != class->beyond && !strchr("][^-", byte))
			buf_put_u8(pattern->to, (uint8_t)byte);
	/* With two or more members '^' cannot come first here, except before '-' alone. */
	if (class->holds['['] != class->beyond)
		buf_put_u8(pattern->to, '[');
	bool has_caret = class->holds['^'] != class->beyond;
	bool has_dash = class->holds['-'] != class->beyond;
	if (has_caret && has_dash && count == 2 && !class->beyond) {
		buf_put(pattern->to, "-^", 2);
	} else {
		if (has_caret)
			buf_put_u8(pattern->to, '^');
		if (has_dash)
			buf_put_u8(pattern->to, '-');
	}
	buf_put_u8(pattern->to, ']');
}

/* After a backslash: the one character that it stands for, or -1 and failed. */
static int pattern_escape(struct pattern *pattern)
{
	static const char letters[] = "afnrtv";
	static const char meanings[] = "\a\f\n\r\t\v";
	int byte = pattern_peek(pattern, 0);
	const char *letter = byte > 0 ? strchr(letters, byte) : NULL;

	if (letter) {
		pattern->at++;
		return meanings[letter - letters];
	}
	switch (byte) {
	case -1:
		pattern_fail(pattern, "a backslash at the end; write \\\\ for a backslash");
		return -1;
	case 'x': {
		int high = hex_digit(pattern_peek(pattern, 1));
		int low = high < 0 ? -1 : hex_digit(pattern_peek(pattern, 2));
		if (low < 0 || high > 7 || (high == 0 && low == 0)) {
			pattern_fail(pattern, "\\x takes two digits from 01 to 7f");
			return -1;
		}
		pattern->at += 3;
		return high * 16 + low;
	}
	default:
		if (is_digit(byte) || is_letter(byte) || !is_printable(byte)) {
			if (is_printable(byte))
				pattern_fail(pattern,
				        "\\%c is not understood; known are \\d \\w \\s "
				        "\\D \\W \\S \\n \\t \\xHH and escaped "
				        "punctuation",
				        byte);
			else
				pattern_fail(pattern, "a backslash before a character that needs "
				                      "none");
			return -1;
		}
		pattern->at++;
		return byte;
	}
}

/* [:alpha:] and the like, whose name starts here. */
static void pattern_named_class(struct pattern *pattern, struct pattern_class *class)
{
	bool is_other = pattern_skip(pattern, "^");
	char name = 0;

	if (pattern_skip(pattern, "digit:]"))
		name = 'd';
	else if (pattern_skip(pattern, "word:]"))
		name = 'w';
	else if (pattern_skip(pattern, "space:]"))
		name = 's';
	else if (pattern_skip(pattern, "alpha:]"))
		name = 'a';
	else if (pattern_skip(pattern, "alnum:]"))
		name = 'n';
	else if (pattern_skip(pattern, "upper:]"))
		name = 'u';
	else if (pattern_skip(pattern, "lower:]"))
		name = 'l';
	else if (pattern_skip(pattern, "punct:]"))
		name = 'p';
	else if (pattern_skip(pattern, "xdigit:]"))
		name = 'x';
	if (!name) {
		pattern_fail(pattern,
		        "unknown class name; known are [:digit:] [:word:] [:space:] "
		        "[:alpha:] [:alnum:] [:upper:] [:lower:] [:punct:] [:xdigit:]");
		return;
	}
	for (int byte = 0; byte < 128; byte++) {
		bool is_upper = byte >= 'A' && byte <= 'Z';
		bool is_in = name == 'a'   ? is_letter(byte)
		             : name == 'n' ? is_letter(byte) || is_digit(byte)
		             : name == 'u' ? is_upper
		             : name == 'l' ? is_letter(byte) && !is_upper
		             : name == 'p'
		                     ? is_printable(byte) && !is_letter(byte) && !is_digit(byte)
		             : name == 'x' ? hex_digit(byte) >= 0
		             : name == 's' ? class_holds_by_name('s', byte) || byte == '\v'
		                           : class_holds_by_name(name, byte);
		if (is_in != is_other)
			class->holds[byte] = true;
	}
	if (is_other)
		class->beyond = true;
}

/* One end of a range, or a lone member: a character, or -1 when a whole class was added. */
static int pattern_class_member(struct pattern *pattern, struct pattern_class *class)
{
	if (pattern_skip(pattern, "[:")) {
		pattern_named_class(pattern, class);
		return -1;
	}
	int byte = pattern_peek(pattern, 0);
	if (byte >= 0x80) {
		pattern_fail(pattern, "only ASCII inside [...]; write (a|b) for other characters");
		return -1;
	}
	pattern->at++;
	if (byte != '\\')
		return byte;
	int name = pattern_peek(pattern, 0);
	if (name > 0 && strchr("dwsDWS", name)) {
		pattern->at++;
		class_add_shorthand(class, (char)name);
		return -1;
	}
	return pattern_escape(pattern);
}

/* Behind the opening bracket. */
static void pattern_class(struct pattern *pattern)
{
	struct pattern_class class = { 0 };
	bool is_negated = pattern_skip(pattern, "^");
	bool is_first = true;

	while (!pattern->error[0] && (is_first || pattern_peek(pattern, 0) != ']')) {
		is_first = false;
		if (pattern_peek(pattern, 0) < 0) {
			pattern_fail(pattern, "expected ] that ends the class");
			return;
		}
		int from = pattern_class_member(pattern, &class);
		if (from < 0)
			continue;
		int to = from;
		if (pattern_peek(pattern, 0) == '-' && pattern_peek(pattern, 1) != ']' &&
		        pattern_peek(pattern, 1) >= 0) {
			pattern->at++;
			to = pattern_class_member(pattern, &class);
			if (to < from)
				pattern_fail(pattern, "this range ends before it begins");
		}
		for (int byte = from; byte <= to; byte++)
			class.holds[byte] = true;
	}
	if (pattern->error[0])
		return;
	pattern->at++;

	if (pattern->ignores_case) {
		for (int byte = 'a'; byte <= 'z'; byte++) {
			bool holds = class.holds[byte] || class.holds[byte - 32];
			class.holds[byte] = class.holds[byte - 32] = holds;
		}
	}
	if (is_negated) {
		for (int byte = 0; byte < 128; byte++)
			class.holds[byte] = !class.holds[byte];
		class.beyond = !class.beyond;
	}
	pattern_put_class(pattern, &class);
}

/* A literal beyond ASCII is kept together, because a repeat behind it means all of its bytes. */
static void pattern_character(struct pattern *pattern)
{
	buf_put_u8(pattern->to, '(');
	do {
		buf_put_u8(pattern->to, (uint8_t)pattern->bytes[pattern->at++]);
	} while (pattern_peek(pattern, 0) >= 0x80 && pattern_peek(pattern, 0) < 0xc0);
	buf_put_u8(pattern->to, ')');
}

static uint32_t pattern_alternatives(struct pattern *pattern, uint32_t nesting);

static uint32_t pattern_group(struct pattern *pattern, uint32_t nesting)
{
	if (nesting >= PATTERN_NESTING_MAX) {
		pattern_fail(pattern, "more than %d groups inside each other", PATTERN_NESTING_MAX);
		return 0;
	}
	if (pattern_skip(pattern, "?P<") ||
	        (pattern_peek(pattern, 0) == '?' && pattern_peek(pattern, 1) == '<' &&
	                pattern_peek(pattern, 2) != '=' && pattern_peek(pattern, 2) != '!')) {
		/* Nobody reads what a group caught, so its name means nothing here. */
		while (pattern_peek(pattern, 0) >= 0 && pattern_peek(pattern, 0) != '>')
			pattern->at++;
		if (!pattern_skip(pattern, ">"))
			pattern_fail(pattern, "expected > that ends the name of the group");
	} else if (!pattern_skip(pattern, "?:") && pattern_peek(pattern, 0) == '?') {
		pattern_fail(pattern, "of the (?...) forms only (?:...), (?P<name>...) and, as the "
		                      "first thing, (?i) are understood");
	}

	buf_put_u8(pattern->to, '(');
	uint32_t atoms = pattern_alternatives(pattern, nesting + 1);
	buf_put_u8(pattern->to, ')');
	if (!pattern_skip(pattern, ")"))
		pattern_fail(pattern, "expected ) that ends the group");
	return atoms + 1;
}

/* {n}, {n,} or {n,m} here? Anything else in braces is literal, as RE2 has it. */
static bool pattern_counts(const struct pattern *pattern, uint32_t *ret_min, uint32_t *ret_max,
        bool *ret_open, size_t *ret_bytes)
{
	uint64_t numbers[2] = { 0, 0 };
	size_t at = 1;

	for (int i = 0; i < 2; i++) {
		size_t digits = 0;
		for (int byte; is_digit(byte = pattern_peek(pattern, at)); at++, digits++)
			if (numbers[i] <= PATTERN_REPEAT_MAX)
				numbers[i] = numbers[i] * 10 + (uint64_t)(byte - '0');
		if (i == 0) {
			if (digits == 0)
				return false;
			numbers[1] = numbers[0];
			*ret_open = false;
			if (pattern_peek(pattern, at) != ',')
				break;
			at++;
			*ret_open = pattern_peek(pattern, at) == '}';
			if (*ret_open)
				break;
			numbers[1] = 0;
		} else if (digits == 0) {
			return false;
		}
	}
	if (pattern_peek(pattern, at) != '}')
		return false;
	*ret_min = (uint32_t)numbers[0];
	*ret_max = (uint32_t)numbers[1];
	*ret_bytes = at + 1;
	return true;
}

/* What follows an atom: * + ? {n,m}, each perhaps with a ? for "lazy", which anchoring makes void.
 */
static uint32_t pattern_repeat(struct pattern *pattern, uint32_t atoms)
{
	int byte = pattern_peek(pattern, 0);
	uint32_t min, max;
	bool is_open;
	size_t bytes;

	if (byte == '*' || byte == '+' || byte == '?') {
		pattern->at++;
		buf_put_u8(pattern->to, (uint8_t)byte);
		atoms++;
	} else if (byte == '{' && pattern_counts(pattern, &min, &max, &is_open, &bytes)) {
		if (min > PATTERN_REPEAT_MAX || max > PATTERN_REPEAT_MAX) {
			pattern_fail(pattern, "more than %d repeats", PATTERN_REPEAT_MAX);
			return 0;
		}
		if (max < min) {
			pattern_fail(pattern, "{%u,%u} has its ends the wrong way round", min, max);
			return 0;
		}
		buf_put(pattern->to, pattern->bytes + pattern->at, bytes);
		pattern->at += bytes;
		atoms = atoms * (max ? max : 1) + 1;
	} else {
		return atoms;
	}
	(void)pattern_skip(pattern, "?");

	byte = pattern_peek(pattern, 0);
	if (byte == '*' || byte == '+' || byte == '?' ||
	        (byte == '{' && pattern_counts(pattern, &min, &max, &is_open, &bytes)))
		pattern_fail(pattern, "a repeat of a repeat; put the inner one into (...)");
	return atoms;
}

static uint32_t pattern_branch(struct pattern *pattern, uint32_t nesting)
{
	uint32_t sum = 0;

	for (;;) {
		int byte = pattern_peek(pattern, 0);
		uint32_t atoms = 1;

		if (byte < 0 || byte == '|' || byte == ')')
			return sum;
		switch (byte) {
		case '(':
			pattern->at++;
			atoms = pattern_group(pattern, nesting);
			break;
		case '[':
			pattern->at++;
			pattern_class(pattern);
			break;
		case '*':
		case '+':
		case '?':
			pattern_fail(
			        pattern, "nothing to repeat; write \\%c for the character", byte);
			break;
		case '.':
			pattern->at++;
			buf_put_u8(pattern->to, '.');
			break;
		case '^':
		case '$':
			pattern->at++;
			buf_put_u8(pattern->to, (uint8_t)byte);
			/* An anchor repeated is an anchor to RE2 and a riddle to POSIX. */
			byte = pattern_peek(pattern, 0);
			if (byte > 0 && strchr("*+?", byte))
				pattern_fail(pattern, "an anchor cannot be repeated");
			break;
		case '\\': {
			pattern->at++;
			int name = pattern_peek(pattern, 0);
			if (name > 0 && strchr("dwsDWS", name)) {
				struct pattern_class class = { 0 };
				class_add_shorthand(&class, (char)name);
				pattern->at++;
				pattern_put_class(pattern, &class);
				break;
			}
			byte = pattern_escape(pattern);
			if (byte > 0)
				pattern_put_literal(pattern, byte);
			break;
		}
		default:
			if (byte >= 0x80) {
				pattern_character(pattern);
				break;
			}
			pattern->at++;
			pattern_put_literal(pattern, byte);
		}
		sum += pattern_repeat(pattern, atoms);
		if (sum > PATTERN_ATOMS_MAX)
			pattern_fail(pattern, "the repeats unfold to more than %d parts",
			        PATTERN_ATOMS_MAX);
		if (pattern->error[0])
			return 0;
	}
}

static uint32_t pattern_alternatives(struct pattern *pattern, uint32_t nesting)
{
	uint32_t atoms = pattern_branch(pattern, nesting);

	while (!pattern->error[0] && pattern_skip(pattern, "|")) {
		buf_put_u8(pattern->to, '|');
		atoms += pattern_branch(pattern, nesting) + 1;
	}
	return atoms;
}

/* Anchored at both ends, as PromQL has it. */
static void pattern_translate(struct pattern *pattern)
{
	pattern->ignores_case = pattern_skip(pattern, "(?i)");
	buf_put(pattern->to, "^(", 2);
	(void)pattern_alternatives(pattern, 0);
	if (!pattern->error[0] && pattern_peek(pattern, 0) == ')')
		pattern_fail(pattern, ") without its (; write \\) for the character");
	buf_put(pattern->to, ")$", 3); /* with the closing zero */
}

/* ---- The selector ---- */

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
	struct pattern pattern = {
		.bytes = matcher->value, .count = matcher->value_count, .to = &posix
	};

	pattern_translate(&pattern);
	if (pattern.error[0])
		return selector_fail(
		        parser, at, "pattern of \"%.64s\", %s", matcher->name, pattern.error);
	if (posix.failed)
		return parser->result = -ENOMEM;

	int flags = REG_EXTENDED | REG_NOSUB | (pattern.ignores_case ? REG_ICASE : 0);
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

bool selector_matches(const struct selector *selector, const struct dict *dict, uint32_t series)
{
	if (selector->type &&
	        strcmp(selector->type, dict_text(dict, dict_get_series(dict, series)->type)) != 0)
		return false;

	for (uint32_t i = 0; i < selector->count; i++) {
		const struct matcher *matcher = &selector->matchers[i];
		uint32_t name = dict_find_string(dict, matcher->name, strlen(matcher->name));
		/* String 0 is "": a label nobody has is an empty one. */
		uint32_t value = name == ID_NONE ? 0 : dict_label_value(dict, series, name);
		size_t count;
		const char *bytes = dict_get_string(dict, value, &count);

		if (!matcher_accepts(matcher, bytes, count))
			return false;
	}
	return true;
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
