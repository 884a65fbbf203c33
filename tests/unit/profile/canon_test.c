/* The rules of profile/canon.c, one line for each, and the names that no rule may touch. */

#include <string.h>

#include "core/auto.h"
#include "profile/canon.h"
#include "tests/lib/test.h"

struct pair {
	const char *name;
	const char *expected;
};

static void check_pairs(const struct pair *pairs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		AUTO_BUF to = { 0 };
		bool is_changed = canon(pairs[i].name, strlen(pairs[i].name), &to);
		buf_put_u8(&to, '\0');
		assert_false(to.failed);
		assert_string_equal((const char *)to.bytes, pairs[i].expected);
		assert_int_equal(is_changed, strcmp(pairs[i].name, pairs[i].expected) != 0);

		/* Once is enough, or two builds would meet only by the number of passes. */
		AUTO_BUF again = { 0 };
		assert_false(canon(pairs[i].expected, strlen(pairs[i].expected), &again));
	}
}

static void what_compilers_append_is_dropped(void **state)
{
	static const struct pair pairs[] = {
		{ "parse.llvm.1234567890", "parse" },
		{ "parse.__uniq.77", "parse" },
		{ "parse.cfi", "parse" },
		{ "parse.cfi_jt", "parse" },
		{ "parse.isra.0", "parse" },
		{ "parse.constprop.12", "parse" },
		{ "parse.part.3", "parse" },
		{ "parse.cold", "parse" },
		{ "parse.cold.4", "parse" },
		{ "parse.lto_priv.0", "parse" },
		{ "parse.clone.9", "parse" },
		{ "parse.isra.0.constprop.1.part.2.cold", "parse" },
		{ "_ZN1a1bEv.llvm.12", "_ZN1a1bEv" },
		{ "a::b(int) [clone .isra.0]", "a::b(int)" },
		{ "a::b(int) [clone .isra.0] [clone .cold]", "a::b(int)" },
	};
	check_pairs(pairs, COUNT_OF(pairs));
}

static void what_rust_hashes_is_dropped(void **state)
{
	static const struct pair pairs[] = {
		{ "core::fmt::write::h0123456789abcdef", "core::fmt::write" },
		{ "core::fmt::write::h0123456789abcdef.llvm.99", "core::fmt::write" },
		{ "cart[5f1d7e84719c1bd2]::main", "cart::main" },
		{ "<cart[5f1d7e84719c1bd2]::A as std[1122334455667788]::B>::c",
		        "<cart::A as std::B>::c" },
	};
	check_pairs(pairs, COUNT_OF(pairs));
}

static void what_runtimes_count_becomes_a_star(void **state)
{
	static const struct pair pairs[] = {
		{ "Cart$$Lambda$123/0x00007f1c.run", "Cart$$Lambda*.run" },
		{ "Cart$$Lambda/0x00007f1c.run", "Cart$$Lambda*.run" },
		{ "Cart$$Lambda$7.run", "Cart$$Lambda*.run" },
		{ "Cart$$Lambda$7.0x0000000800c0.run", "Cart$$Lambda*.run" },
		{ "Cart$$Lambda$7/12345.run", "Cart$$Lambda*.run" },
		{ "jdk.GeneratedMethodAccessor12.invoke", "jdk.GeneratedMethodAccessor*.invoke" },
		{ "jdk.GeneratedConstructorAccessor3.new",
		        "jdk.GeneratedConstructorAccessor*.new" },
		{ "com.sun.$Proxy14.get", "com.sun.$Proxy*.get" },
		{ "java.LambdaForm$DMH/0x00007f.invoke", "java.LambdaForm$DMH/*.invoke" },
		{ "*parse", "parse" },
		{ "~parse", "parse" },
		{ "Baseline:parse", "parse" },
		{ "Cart.total_[j]", "Cart.total" },
		{ "Cart.total_[0]", "Cart.total" },
	};
	check_pairs(pairs, COUNT_OF(pairs));
}

static void other_names_stay_as_they_are(void **state)
{
	static const char *const names[] = { "", "*", "~", "* parse", ".cold", ".isra.0", ".llvm.1",
		"main", "operator*", "Foo::~Foo()", "parse.cold.x", "parse.isra.", "parse.isra.x",
		"coldest", "a.cfi.b", "parse::h0123", "parse::h0123456789abcdeg", "main.func1.2",
		"gowrap1", "(anonymous namespace)::f<int [3]>", "[unknown]", "[unknown] libc.so.6",
		"arr[0]", "arr[12345678]", "$ProxyFactory.get", "GeneratedMethodAccessor",
		"$$Lambda", "a/0x12", "std::vector<T>::operator[]", "::h0123456789abcdef",
		" [clone .cold]", "_[j]", "関数.größe" };
	struct pair pairs[COUNT_OF(names)];
	for (size_t i = 0; i < COUNT_OF(names); i++)
		pairs[i] = (struct pair){ names[i], names[i] };
	check_pairs(pairs, COUNT_OF(pairs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_compilers_append_is_dropped),
		cmocka_unit_test(what_rust_hashes_is_dropped),
		cmocka_unit_test(what_runtimes_count_becomes_a_star),
		cmocka_unit_test(other_names_stay_as_they_are),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
