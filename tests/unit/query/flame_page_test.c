/*
 * The page: its profile bytes read back to the same values, whatever was cut; no name of a function
 * can leave the data it stands in.
 */

#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/reader.h"
#include "profile/naming.h"
#include "query/flame_page.h"

/* What the reader of docs/formats/flame.md makes of the bytes: one line per node. */
static void read_profile(const struct buf *bytes, struct buf *to, uint64_t sums[2])
{
	struct reader reader = reader_of(bytes->bytes, bytes->count);
	struct {
		const char *bytes;
		size_t count;
	} strings[256] = { 0 };
	uint64_t frames[256][3], depths[256], frame_ids[256], self[2][256];

	assert_memory_equal(reader_bytes(&reader, 4), "PFG1", 4);
	uint64_t strings_count = reader_varint_max(&reader, 256);
	for (uint64_t i = 0; i < strings_count; i++)
		strings[i].bytes = reader_string(&reader, 1000, &strings[i].count);
	assert_int_equal(strings[0].count, 0);
	uint64_t frames_count = reader_varint_max(&reader, 256);
	for (uint64_t i = 0; i < frames_count; i++)
		for (int field = 0; field < 3; field++)
			frames[i][field] = reader_varint(&reader);
	uint64_t sides = reader_varint_max(&reader, 2);
	uint64_t nodes = reader_varint_max(&reader, 256);
	uint64_t depth = 0;
	for (uint64_t i = 0; i < nodes; i++) {
		depth += (uint64_t)reader_zigzag(&reader);
		assert_true(i == 0 ? depth == 0 : depth > 0 && depth <= depths[i - 1] + 1);
		depths[i] = depth;
	}
	for (uint64_t i = 0; i < nodes; i++)
		frame_ids[i] = reader_varint_max(&reader, frames_count - 1);
	for (uint64_t side = 0; side < sides; side++)
		for (uint64_t i = 0; i < nodes; i++) {
			self[side][i] = reader_varint(&reader);
			sums[side] += self[side][i];
		}
	assert_false(reader.failed);
	assert_int_equal(reader_left(&reader), 0);

	for (uint64_t i = 0; i < nodes; i++) {
		uint64_t name = frames[frame_ids[i]][0];
		buf_printf(to, "%d %.*s", (int)depths[i], (int)strings[name].count,
		        strings[name].bytes);
		for (uint64_t side = 0; side < sides; side++)
			buf_printf(to, " %d", (int)self[side][i]);
		buf_put_u8(to, '\n');
	}
	buf_put_u8(to, '\0');
}

struct drawn {
	struct source *source;
	struct names *names;
	struct tree_view *tree;
};

static struct drawn draw(const char *a, const char *b, const char *folder)
{
	struct drawn drawn = { 0 };
	char paths[2][300];
	const char *texts[2] = { a, b };
	struct source_request request = { .sides_count = b ? 2 : 1, .level = NAMING_FUNCTION };
	struct shared_args shared = { 0 };
	for (int i = 0; i < (b ? 2 : 1); i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/%d.folded", folder, i);
		test_file_write(paths[i], texts[i], strlen(texts[i]));
		request.words[i] = paths[i];
	}
	assert_int_equal(source_load(&shared, &request, &drawn.source), 0);
	drawn.names = names_new();
	drawn.tree = tree_view_new(drawn.names);
	for (uint32_t i = 0; i < request.sides_count; i++)
		CHECK_OK(tree_view_add(drawn.tree, i, drawn.source->sides[i].batch, NULL));
	CHECK_OK(tree_view_sort(drawn.tree));
	return drawn;
}

static void drawn_fini(struct drawn *drawn)
{
	tree_view_free(drawn->tree);
	names_free(drawn->names);
	source_free(drawn->source);
}

#define DRAW(name, ...) __attribute__((cleanup(drawn_fini))) struct drawn name = draw(__VA_ARGS__)

static void two_sides_are_one_tree_in_preorder(void **state)
{
	TEST_DIR(dir);
	DRAW(drawn, "main;x;deep 1\nmain;y 5\n", "main;x;deep 9\nmain 2\n", dir.path);
	struct flame_page page = {
		.source = drawn.source, .names = drawn.names, .tree = drawn.tree
	};
	AUTO_BUF bytes = { 0 };
	AUTO_BUF text = { 0 };
	uint64_t sums[2] = { 0, 0 };
	CHECK_OK(flame_page_profile(&page, &bytes));
	read_profile(&bytes, &text, sums);
	assert_string_equal((const char *)text.bytes, "0 all 0 0\n"
	                                              "1 main 0 2\n"
	                                              "2 x 0 0\n"
	                                              "3 deep 1 9\n"
	                                              "2 y 5 0\n");
	assert_int_equal(sums[0], drawn.source->sides[0].value);
	assert_int_equal(sums[1], drawn.source->sides[1].value);
}

static void what_is_cut_is_summed_up_in_its_place(void **state)
{
	TEST_DIR(dir);
	DRAW(drawn, "main;x;deep 9\nmain;x;other 2\nmain;y 5\nz 1\n", NULL, dir.path);
	bool shown[7] = { false };
	shown[0] = true;
	for (uint32_t i = 1; i < tree_view_count(drawn.tree); i++)
		shown[i] = tree_view_get(drawn.tree, i)->total[0] >= 9;
	struct flame_page page = {
		.source = drawn.source,
		.names = drawn.names,
		.tree = drawn.tree,
		.shown = shown,
		.hidden_count = 3,
	};
	AUTO_BUF bytes = { 0 };
	AUTO_BUF text = { 0 };
	uint64_t sums[2] = { 0, 0 };
	CHECK_OK(flame_page_profile(&page, &bytes));
	read_profile(&bytes, &text, sums);
	assert_int_equal(sums[0], 17);
	assert_non_null(strstr((const char *)text.bytes, "1 [cut by --limit] 1\n"));
	assert_non_null(strstr((const char *)text.bytes, "2 [cut by --limit] 5\n"));
	assert_non_null(strstr((const char *)text.bytes, "3 [cut by --limit] 2\n"));
	assert_non_null(strstr((const char *)text.bytes, "3 deep 9\n"));
}

static size_t count_of(const struct buf *page, const char *word)
{
	size_t count = 0;
	const char *at = (const char *)page->bytes;
	while ((at = strstr(at, word))) {
		count++;
		at += strlen(word);
	}
	return count;
}

static void write_page(const char *folded, const char *folder, struct buf *to)
{
	DRAW(drawn, folded, NULL, folder);
	/* A selector is untrusted as well: it stands in the title and in the meta. */
	free(drawn.source->sides[0].words);
	drawn.source->sides[0].words = strdup(strchr(folded, '<')
	                                              ? "{x=\"</script><script>alert(1)</script>"
	                                                "<!--profleet:script-->\"}"
	                                              : "cpu{}");
	struct flame_page page = {
		.source = drawn.source, .names = drawn.names, .tree = drawn.tree
	};
	CHECK_OK(flame_page_write(&page, to));
	buf_put_u8(to, '\0');
}

static void no_name_leaves_its_data(void **state)
{
	TEST_DIR(dir);
	AUTO_BUF plain = { 0 };
	AUTO_BUF hostile = { 0 };
	write_page("main;f 5\n", dir.path, &plain);
	write_page("main;</script><script>alert(1)</script>;<!--profleet:meta--> 5\n", dir.path,
	        &hostile);

	static const char *const words[] = { "<script", "</script", "<!--", "-->", "alert(1)" };
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		size_t more = strcmp(words[i], "alert(1)") == 0 ? count_of(&hostile, words[i]) : 0;
		assert_int_equal(count_of(&hostile, words[i]) - more, count_of(&plain, words[i]));
	}
	assert_int_equal(count_of(&plain, "<!--profleet:"), 0);
	assert_null(strstr((const char *)plain.bytes, "http://"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_sides_are_one_tree_in_preorder),
		cmocka_unit_test(what_is_cut_is_summed_up_in_its_place),
		cmocka_unit_test(no_name_leaves_its_data),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
