/*
 * Three passes, each a table: a mark of a JIT in front is skipped, marks at the end are dropped
 * until none is left, and what remains is copied with numbers inside it replaced by a star.
 *
 *	*parse.llvm.1234 .constprop.0        parse
 *	Foo$$Lambda$14/0x7f00.run            Foo$$Lambda*.run
 *
 * A rule that would leave nothing of a name does not apply.
 */

#include "profile/canon.h"

#include <string.h>

#include "core/auto.h"

enum canon_number {
	CANON_NONE,     /* nothing behind the mark */
	CANON_OPTIONAL, /* ".3", or nothing */
	CANON_DIGITS,   /* digits, one at least */
};

/* ".constprop.0" and its kind: LLVM's, then GCC's. */
static const struct {
	const char *mark;
	enum canon_number number;
} canon_ends[] = {
	{ ".llvm.", CANON_DIGITS },
	{ ".__uniq.", CANON_DIGITS },
	{ ".cfi", CANON_NONE },
	{ ".cfi_jt", CANON_NONE },
	{ ".isra.", CANON_DIGITS },
	{ ".constprop.", CANON_DIGITS },
	{ ".part.", CANON_DIGITS },
	{ ".cold", CANON_OPTIONAL },
	{ ".lto_priv.", CANON_DIGITS },
	{ ".clone.", CANON_DIGITS },
	/* How Java's perf maps are written: inlined, interpreted, compiled, kernel. */
	{ "_[j]", CANON_NONE },
	{ "_[i]", CANON_NONE },
	{ "_[k]", CANON_NONE },
	{ "_[0]", CANON_NONE },
	{ "_[1]", CANON_NONE },
};

/* V8 and SpiderMonkey say by which compiler a function was made. */
static const char *const canon_fronts[] = { "*", "~", "^", "Baseline:", "Ion:" };

/* Behind these stands a number, with or without an address, that another run counts anew. */
static const struct {
	const char *mark;
	const char *as;
} canon_insides[] = {
	{ "$$Lambda", "$$Lambda*" },
	{ "GeneratedMethodAccessor", "GeneratedMethodAccessor*" },
	{ "GeneratedConstructorAccessor", "GeneratedConstructorAccessor*" },
	{ "$Proxy", "$Proxy*" },
};

static bool canon_starts(const char *at, size_t count, const char *mark)
{
	size_t mark_count = strlen(mark);
	return count >= mark_count && memcmp(at, mark, mark_count) == 0;
}

static bool canon_is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static bool canon_is_hex(char byte)
{
	return canon_is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

static bool canon_is_word(char byte)
{
	return canon_is_digit(byte) || byte == '_' || (byte >= 'a' && byte <= 'z') ||
	       (byte >= 'A' && byte <= 'Z');
}

/* What is left of the name in front of its last mark of the table; `count` when there is none. */
static size_t canon_drop_mark(const char *name, size_t count)
{
	size_t digits = 0;
	while (digits < count && canon_is_digit(name[count - 1 - digits]))
		digits++;
	for (size_t i = 0; i < COUNT_OF(canon_ends); i++) {
		size_t mark_count = strlen(canon_ends[i].mark);
		size_t behind = canon_ends[i].number == CANON_DIGITS ? digits : 0;
		if (canon_ends[i].number == CANON_DIGITS && digits == 0)
			continue;
		for (int numbered = 0; numbered < 2; numbered++) {
			if (count > behind + mark_count &&
			        memcmp(name + count - behind - mark_count, canon_ends[i].mark,
			                mark_count) == 0)
				return count - behind - mark_count;
			if (canon_ends[i].number != CANON_OPTIONAL || digits == 0 ||
			        count < digits + 1 || name[count - digits - 1] != '.')
				break;
			behind = digits + 1;
		}
	}
	return count;
}

/* "::h0123456789abcdef", which Rust's older names end in. */
static size_t canon_drop_rust_hash(const char *name, size_t count)
{
	static const size_t hash_count = sizeof("::h0123456789abcdef") - 1;
	if (count <= hash_count || memcmp(name + count - hash_count, "::h", 3) != 0)
		return count;
	for (size_t i = count - hash_count + 3; i < count; i++)
		if (!canon_is_hex(name[i]))
			return count;
	return count - hash_count;
}

/* " [clone .isra.0]", as demanglers write what they do not understand. */
static size_t canon_drop_clone(const char *name, size_t count)
{
	static const char mark[] = " [clone ";
	if (count == 0 || name[count - 1] != ']')
		return count;
	for (size_t at = count - 1; at-- > 1;)
		if (canon_starts(name + at, count - at, mark))
			return at;
	return count;
}

static size_t canon_end(const char *name, size_t count)
{
	for (;;) {
		size_t left = canon_drop_clone(name, count);
		left = canon_drop_rust_hash(name, left);
		left = canon_drop_mark(name, left);
		if (left == count)
			return count;
		count = left;
	}
}

static size_t canon_front(const char *name, size_t count)
{
	for (size_t i = 0; i < COUNT_OF(canon_fronts); i++) {
		size_t mark_count = strlen(canon_fronts[i]);
		/* A word follows: `*` alone, or "* foo", is a name of its own. */
		if (count > mark_count && canon_starts(name, count, canon_fronts[i]) &&
		        (canon_is_word(name[mark_count]) || name[mark_count] == '$'))
			return mark_count;
	}
	return 0;
}

/* How many bytes "/0x7f01" or ".0x7f01" or "/123" are. */
static size_t canon_address(const char *at, size_t count)
{
	size_t used = 1;
	if (count < 2 || (*at != '/' && *at != '.'))
		return 0;
	if (count > 3 && at[1] == '0' && at[2] == 'x') {
		for (used = 3; used < count && canon_is_hex(at[used]);)
			used++;
		return used > 3 ? used : 0;
	}
	while (*at == '/' && used < count && canon_is_digit(at[used]))
		used++;
	return used > 1 ? used : 0;
}

/* The bytes of the number of a mark inside a name: "14", "$14/0x7f01", "/0x7f01". */
static size_t canon_inside(const char *at, size_t count)
{
	size_t used = count > 1 && *at == '$' && canon_is_digit(at[1]) ? 1 : 0;
	while (used < count && canon_is_digit(at[used]))
		used++;
	return used + canon_address(at + used, count - used);
}

/* "[0123456789abcdef]" behind a word: which of several crates of one name, in Rust's newer names.
 */
static size_t canon_crate(const char *name, size_t at, size_t count)
{
	size_t used = at + 1;
	if (at == 0 || name[at] != '[' || !canon_is_word(name[at - 1]))
		return 0;
	while (used < count && canon_is_hex(name[used]))
		used++;
	bool is_hash = used - at > 10 && used - at <= 17 && used < count && name[used] == ']';
	return is_hash ? used + 1 - at : 0;
}

static size_t canon_copy(const char *name, size_t at, size_t count, struct buf *to)
{
	size_t crate = canon_crate(name, at, count);
	if (crate)
		return crate;
	for (size_t i = 0; i < COUNT_OF(canon_insides); i++) {
		const char *mark = canon_insides[i].mark;
		if (!canon_starts(name + at, count - at, mark))
			continue;
		size_t behind = at + strlen(mark);
		size_t number = canon_inside(name + behind, count - behind);
		if (number == 0)
			break;
		buf_put(to, canon_insides[i].as, strlen(canon_insides[i].as));
		return strlen(mark) + number;
	}
	/* LambdaForm$DMH/0x7f01: the name of the form stays. */
	if (name[at] == '/' && at > 0 && canon_is_word(name[at - 1]) &&
	        memmem(name, at, "LambdaForm$", 11)) {
		size_t address = canon_address(name + at, count - at);
		if (address) {
			buf_put(to, "/*", 2);
			return address;
		}
	}
	buf_put_u8(to, (uint8_t)name[at]);
	return 1;
}

bool canon(const char *name, size_t count, struct buf *to)
{
	size_t start = to->count;
	size_t front = canon_front(name, count);
	size_t end = front + canon_end(name + front, count - front);
	for (size_t at = front; at < end;)
		at += canon_copy(name, at, end, to);
	if (to->failed)
		return false;
	return to->count - start != count ||
	       (count > 0 && memcmp(to->bytes + start, name, count) != 0);
}
