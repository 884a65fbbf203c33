/* Names as people read them: demangled only where a symbol table gave them, joined by module's base
 * name. */

#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/demangle.h"
#include "profile/names.h"

static void mangled_names_become_readable(void **state)
{
	static const struct {
		const char *mangled;
		const char *readable; /* NULL: left alone */
	} cases[] = {
		{ "_Z3fooi", "foo(int)" },
		{ "_ZNSt6vectorIiSaIiEE9push_backEOi",
		        "std::vector<int, std::allocator<int> >::push_back(int&&)" },
		{ "_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write" },
		{ "_RNvCs15kBYyAo9fc_7mycrate7example", "mycrate::example" },
		{ "main", NULL },
		{ "_Z", NULL },
		{ "_ZN", NULL },
		{ "_R", NULL },
		{ "", NULL },
		{ "Java_com_example_f", NULL },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF text = { 0 };
		bool done = demangle(cases[i].mangled, &text);
		buf_put_u8(&text, '\0');
		assert_int_equal(done, cases[i].readable != NULL);
		assert_string_equal(
		        (const char *)text.bytes, cases[i].readable ? cases[i].readable : "");
	}
}

static void a_name_that_would_unfold_without_end_is_left_alone(void **state)
{
	/* Each S_ doubles what is printed. */
	AUTO_BUF bomb = { 0 };
	buf_printf(&bomb, "_Z1fI");
	for (int i = 0; i < 300; i++)
		buf_printf(&bomb, "1aIS_S%d_E", i % 10);
	buf_printf(&bomb, "Ev");
	buf_put_u8(&bomb, '\0');
	AUTO_BUF text = { 0 };
	(void)demangle((const char *)bomb.bytes, &text);
	assert_true(text.count <= DEMANGLE_OUTPUT_BYTES_MAX);

	AUTO_BUF longest = { 0 };
	buf_printf(&longest, "_Z3000");
	for (int i = 0; i < 3000; i++)
		buf_put_u8(&longest, 'a');
	buf_printf(&longest, "v");
	buf_put_u8(&longest, '\0');
	assert_false(demangle((const char *)longest.bytes, &text));
}

static uint32_t frame_of(struct dict *dict, uint8_t kind, const char *function, const char *module,
        const char *build_id, uint64_t address)
{
	struct frame frame = { .kind = kind, .address = address };
	struct module as = { 0 };
	uint32_t id;
	CHECK_OK(dict_cstring(dict, function, &frame.function));
	if (*module) {
		CHECK_OK(dict_cstring(dict, module, &as.name));
		CHECK_OK(dict_cstring(dict, build_id, &as.build_id));
		CHECK_OK(dict_module(dict, &as, &frame.module));
	}
	CHECK_OK(dict_frame(dict, &frame, &id));
	return id;
}

static void functions_are_joined_by_name_and_module_alone(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(names) names = names_new();
	autofree uint32_t *ids = NULL;
	uint32_t old_build = frame_of(dict, FRAME_NATIVE, "_Z3fooi", "libx.so.1", "aa", 0x10);
	uint32_t new_build = frame_of(dict, FRAME_NATIVE, "_Z3fooi", "libx.so.1", "bb", 0x99);
	uint32_t by_path = frame_of(
	        dict, FRAME_NATIVE, "_Z3fooi", "/usr/lib/libx.so.1", "bb", 0x99);
	uint32_t elsewhere = frame_of(dict, FRAME_NATIVE, "_Z3fooi", "liby.so", "cc", 0x10);
	uint32_t given = frame_of(dict, FRAME_MANAGED, "_Z3fooi", "", "", 0);
	uint32_t nameless = frame_of(dict, FRAME_NATIVE, "", "libx.so.1", "aa", 0x10);
	uint32_t nameless_too = frame_of(dict, FRAME_NATIVE, "", "libx.so.1", "bb", 0x77);
	uint32_t unfinished = frame_of(dict, FRAME_TRUNCATED, "", "", "", 0);
	CHECK_OK(names_of_dict(names, dict, &ids));

	assert_int_equal(ids[old_build], ids[new_build]);
	assert_int_equal(ids[old_build], ids[by_path]);
	assert_int_not_equal(ids[old_build], ids[elsewhere]);
	assert_string_equal(names_function(names, ids[old_build]), "foo(int)");
	assert_string_equal(names_module(names, ids[by_path]), "libx.so.1");
	/* What a file gave is shown as it came. */
	assert_string_equal(names_function(names, ids[given]), "_Z3fooi");
	assert_int_equal(ids[nameless], ids[nameless_too]);
	assert_true(names_is_unknown(names, ids[nameless]));
	assert_string_equal(names_function(names, ids[unfinished]), "[truncated]");
	assert_false(names_is_unknown(names, ids[unfinished]));

	AUTO_BUF text = { 0 };
	names_put(names, ids[nameless], &text);
	buf_put_u8(&text, '\0');
	assert_string_equal((const char *)text.bytes, "[unknown] libx.so.1");
}

static void canonical_names_join_what_compilers_told_apart(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(names) names = names_new();
	autofree uint32_t *ids = NULL;
	names_use_canon(names);
	uint32_t plain = frame_of(dict, FRAME_NATIVE, "_Z3fooi", "libx.so.1", "aa", 0x10);
	uint32_t cloned = frame_of(
	        dict, FRAME_NATIVE, "_Z3fooi.isra.0.cold", "libx.so.1", "bb", 0x99);
	uint32_t elsewhere = frame_of(dict, FRAME_NATIVE, "_Z3fooi.cold", "liby.so", "cc", 0x10);
	uint32_t given = frame_of(dict, FRAME_MANAGED, "a::b::h0123456789abcdef", "", "", 0);
	uint32_t nameless = frame_of(dict, FRAME_NATIVE, "", "libx.so.1", "aa", 0x10);
	CHECK_OK(names_of_dict(names, dict, &ids));

	assert_int_equal(ids[plain], ids[cloned]);
	assert_int_not_equal(ids[plain], ids[elsewhere]);
	assert_string_equal(names_function(names, ids[cloned]), "foo(int)");
	assert_string_equal(names_function(names, ids[given]), "a::b");
	assert_true(names_is_unknown(names, ids[nameless]));
	assert_int_equal(names_rewritten(names), 3);
}

static void a_zero_byte_does_not_end_a_name(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(names) names = names_new();
	autofree uint32_t *ids = NULL;
	struct frame frames[2] = { { .kind = FRAME_MANAGED }, { .kind = FRAME_MANAGED } };
	uint32_t at[2];
	CHECK_OK(dict_string(dict, "nul\0a", 5, &frames[0].function));
	CHECK_OK(dict_string(dict, "nul\0b", 5, &frames[1].function));
	for (int i = 0; i < 2; i++)
		CHECK_OK(dict_frame(dict, &frames[i], &at[i]));
	CHECK_OK(names_of_dict(names, dict, &ids));

	assert_int_not_equal(ids[at[0]], ids[at[1]]);
	assert_string_equal(names_function(names, ids[at[0]]), "nul\\x00a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mangled_names_become_readable),
		cmocka_unit_test(a_name_that_would_unfold_without_end_is_left_alone),
		cmocka_unit_test(functions_are_joined_by_name_and_module_alone),
		cmocka_unit_test(canonical_names_join_what_compilers_told_apart),
		cmocka_unit_test(a_zero_byte_does_not_end_a_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
