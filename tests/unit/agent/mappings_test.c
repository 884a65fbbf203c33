/*
 * Mappings against a plain model: one byte of memory per page, which says what lies there. Then
 * what a model cannot say: sharing after fork, and uses of files.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <string.h>

#include "agent/mappings.h"

#define PAGES 64

static struct symbol_file *see(struct symbol_files *files, const char *path)
{
	struct symbol_file_sighting sighting = { .path = path };

	return symbol_files_see(files, &sighting);
}

static void any_sequence_of_mappings_equals_the_model(void **state)
{
	uint32_t seed = 12345;

	for (uint32_t round = 0; round < 200; round++) {
		AUTO(mappings) mappings = mappings_new();
		uint64_t model[PAGES];
		memset(model, 0xff, sizeof(model));

		for (uint32_t step = 0; step < 40; step++) {
			seed = seed * 1664525 + 1013904223;
			uint64_t start = seed >> 8 & (PAGES - 1);
			uint64_t count = 1 + (seed >> 16 & 15);
			uint64_t end = start + count > PAGES ? PAGES : start + count;
			struct mapping mapping = {
				.start = start, .end = end, .offset = step * 100
			};
			CHECK_OK(mappings_add(&mappings, mapping));
			for (uint64_t page = start; page < end; page++)
				model[page] = step * 100 + page - start;
		}
		for (uint64_t page = 0; page < PAGES; page++) {
			const struct mapping *found = mappings_find(mappings, page);
			uint64_t offset = found ? found->offset + page - found->start : UINT64_MAX;
			assert_int_equal(offset, model[page]);
		}
		assert_true(mappings_count(mappings) <= PAGES);
	}
}

static void a_child_shares_until_one_of_both_changes(void **state)
{
	AUTO(mappings) parent = mappings_new();

	CHECK_OK(mappings_add(&parent, (struct mapping){ .start = 10, .end = 20 }));
	AUTO(mappings) child = mappings_use(parent);
	assert_int_equal(mappings_version(child), mappings_version(parent));

	CHECK_OK(mappings_add(&child, (struct mapping){ .start = 30, .end = 40 }));
	assert_ptr_not_equal(child, parent);
	assert_int_not_equal(mappings_version(child), mappings_version(parent));
	assert_non_null(mappings_find(child, 15));
	assert_non_null(mappings_find(child, 35));
	assert_null(mappings_find(parent, 35));
}

static void a_file_is_in_use_as_long_as_anything_maps_it(void **state)
{
	AUTO(symbol_files) files = symbol_files_new(
	        (struct symbol_files_options){ .files_max = 1 });
	AUTO(mappings) mappings = mappings_new();
	struct symbol_file *file = see(files, "/nonexistent/one");

	/* In two pieces, of which the second map takes one and a half. */
	CHECK_OK(mappings_add(&mappings, (struct mapping){ .start = 0, .end = 100, .file = file }));
	CHECK_OK(mappings_add(&mappings, (struct mapping){ .start = 40, .end = 60 }));
	assert_int_equal(mappings_count(mappings), 3);
	assert_null(see(files, "/nonexistent/two"));

	CHECK_OK(mappings_add(&mappings, (struct mapping){ .start = 0, .end = 100 }));
	assert_int_equal(mappings_count(mappings), 1);
	assert_non_null(see(files, "/nonexistent/two"));
}

static void a_process_with_too_many_mappings_is_bounded(void **state)
{
	AUTO(mappings) mappings = mappings_new();
	uint64_t at = 0;
	int result = 0;

	for (; result == 0; at++)
		result = mappings_add(&mappings,
		        (struct mapping){ .start = at * 10, .end = at * 10 + 5, .offset = 0 });
	assert_int_equal(result, -ENOSPC);
	assert_true(mappings_count(mappings) <= MAPPINGS_MAX);
	assert_non_null(mappings_find(mappings, 0));
}

static void paths_tell_files_from_memory(void **state)
{
	static const struct {
		const char *path;
		bool has_build_id;
		bool is_file;
	} cases[] = {
		{ "/usr/lib/libc.so.6", false, true },
		{ "/usr/bin/app (deleted)", false, true },
		{ "[vdso]", false, true },
		{ "//anon", false, false },
		{ "", false, false },
		{ "[heap]", false, false },
		{ "[stack]", false, false },
		{ "anon_inode:[io_uring]", false, false },
		{ "/dev/zero (deleted)", false, false },
		{ "/SYSV00000000 (deleted)", false, false },
		{ "/memfd:doublemapper (deleted)", false, false },
		{ "/memfd:runc_cloned:/proc/self/exe (deleted)", true, true },
	};

	for (size_t at = 0; at < COUNT_OF(cases); at++)
		assert_int_equal(mappings_path_is_file(cases[at].path, cases[at].has_build_id),
		        cases[at].is_file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_sequence_of_mappings_equals_the_model),
		cmocka_unit_test(a_child_shares_until_one_of_both_changes),
		cmocka_unit_test(a_file_is_in_use_as_long_as_anything_maps_it),
		cmocka_unit_test(a_process_with_too_many_mappings_is_bounded),
		cmocka_unit_test(paths_tell_files_from_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
