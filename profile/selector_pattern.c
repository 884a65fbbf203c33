/*
 * Regular expressions arrive in the dialect people know from PromQL (RE2) and are matched by POSIX
 * regcomp(). The two agree on the core; a recursive descent over the pattern writes the rest in
 * POSIX words (\d, (?:...), a+?, escapes), refuses by name what has none, and adds up how far
 * counted repeats would unfold, so that a short pattern cannot become a large automaton.
 *
 * Classes are written out byte by byte and no range is left to the locale. In a program without a
 * locale (all of ours) `.` and [^...] stand for one byte of UTF-8, literals for whole characters.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/auto.h"
#include "profile/selector_private.h"

#define PATTERN_NESTING_MAX 64
#define PATTERN_REPEAT_MAX  1000
/* Atoms after counted repeats were unfolded. glibc needs up to the square of it in memory. */
#define PATTERN_ATOMS_MAX 4096

struct pattern {
	const char *bytes;
	size_t count;
	size_t at;
	bool ignores_case;
	struct buf *to;
	char error[SELECTOR_PATTERN_ERROR_BYTES]; /* empty while all is well; the first one stays */
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

static bool class_holds_word(int byte)
{
	return class_holds_by_name('w', byte);
}

static bool class_holds_space(int byte)
{
	return class_holds_by_name('s', byte) || byte == '\v';
}

static bool class_holds_alnum(int byte)
{
	return is_letter(byte) || is_digit(byte);
}

static bool class_holds_upper(int byte)
{
	return byte >= 'A' && byte <= 'Z';
}

static bool class_holds_lower(int byte)
{
	return byte >= 'a' && byte <= 'z';
}

static bool class_holds_punct(int byte)
{
	return is_printable(byte) && !class_holds_alnum(byte);
}

static bool class_holds_xdigit(int byte)
{
	return hex_digit(byte) >= 0;
}

static const struct named_class {
	const char *rest; /* behind "[:" or "[:^" */
	bool (*holds)(int byte);
} named_classes[] = {
	{ "digit:]", is_digit },
	{ "word:]", class_holds_word },
	{ "space:]", class_holds_space },
	{ "alpha:]", is_letter },
	{ "alnum:]", class_holds_alnum },
	{ "upper:]", class_holds_upper },
	{ "lower:]", class_holds_lower },
	{ "punct:]", class_holds_punct },
	{ "xdigit:]", class_holds_xdigit },
};

/* [:alpha:] and the like, whose name starts here. */
static void pattern_named_class(struct pattern *pattern, struct pattern_class *class)
{
	bool is_other = pattern_skip(pattern, "^");
	const struct named_class *named = NULL;

	for (size_t i = 0; !named && i < COUNT_OF(named_classes); i++)
		if (pattern_skip(pattern, named_classes[i].rest))
			named = &named_classes[i];
	if (!named) {
		pattern_fail(pattern,
		        "unknown class name; known are [:digit:] [:word:] [:space:] "
		        "[:alpha:] [:alnum:] [:upper:] [:lower:] [:punct:] [:xdigit:]");
		return;
	}
	for (int byte = 0; byte < 128; byte++)
		if (named->holds(byte) != is_other)
			class->holds[byte] = true;
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

int selector_pattern(const char *bytes, size_t count, struct buf *to, bool *ret_ignores_case,
        char *ret_error, size_t error_bytes)
{
	struct pattern pattern = { .bytes = bytes, .count = count, .to = to };

	pattern.ignores_case = pattern_skip(&pattern, "(?i)");
	buf_put(to, "^(", 2);
	(void)pattern_alternatives(&pattern, 0);
	if (!pattern.error[0] && pattern_peek(&pattern, 0) == ')')
		pattern_fail(&pattern, ") without its (; write \\) for the character");
	buf_put(to, ")$", 3); /* with the closing zero */
	if (pattern.error[0]) {
		snprintf(ret_error, error_bytes, "%s", pattern.error);
		return -EINVAL;
	}
	if (to->failed)
		return -ENOMEM;
	*ret_ignores_case = pattern.ignores_case;
	return 0;
}
