/* YAML to a tree, and each refusal with its line. */

#include "core/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/test.h"

static int parse(const char *text, size_t count, struct config **ret_config, char *error)
{
	error[0] = 0;
	return config_parse("f.yaml", text, count, ret_config, error, 256);
}

static void tree_has_the_shape_of_the_text(void **state)
{
	static const char text[] = "# a comment\n"
	                           "hz: 99\n"
	                           "label:\n"
	                           "  - region=eu\n"
	                           "  - \"quoted # text\"\n"
	                           "relabel:\n"
	                           "  - {from: comm, to: service, deep: [1, [2]]}\n"
	                           "folded: >\n"
	                           "  two\n"
	                           "  lines\n"
	                           "empty:\n";
	AUTO(config) config = NULL;
	char error[256];
	CHECK_OK(parse(text, strlen(text), &config, error));

	const struct config_node *root = config_root(config);
	assert_int_equal(config_node_kind(root), CONFIG_MAP);
	assert_int_equal(config_node_count(root), 5);
	assert_string_equal(config_node_key(root, 0), "hz");
	assert_string_equal(config_node_text(config_node_item(root, 0)), "99");
	assert_int_equal(config_node_line(config_node_item(root, 0)), 2);

	const struct config_node *label = config_node_find(root, "label");
	assert_int_equal(config_node_kind(label), CONFIG_LIST);
	assert_int_equal(config_node_count(label), 2);
	assert_null(config_node_key(label, 0));
	assert_null(config_node_text(label));
	assert_string_equal(config_node_text(config_node_item(label, 1)), "quoted # text");

	const struct config_node *rule = config_node_item(config_node_find(root, "relabel"), 0);
	const struct config_node *deep = config_node_find(rule, "deep");
	assert_string_equal(config_node_text(config_node_item(config_node_item(deep, 1), 0)), "2");
	assert_int_equal(config_node_line(deep), 7);
	assert_string_equal(config_node_text(config_node_find(root, "folded")), "two lines\n");
	assert_int_equal(config_node_kind(config_node_find(root, "empty")), CONFIG_NULL);
	assert_null(config_node_find(root, "nothing"));
	assert_null(config_node_find(label, "region=eu"));
}

static void empty_text_has_no_root(void **state)
{
	static const char *const texts[] = { "", "\n\n", "# only a comment\n", "---\n",
		"---\n...\n" };
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		AUTO(config) config = NULL;
		char error[256];
		CHECK_OK(parse(texts[i], strlen(texts[i]), &config, error));
		assert_null(config_root(config));
	}
}

static void null_is_no_text_unless_it_is_quoted(void **state)
{
	static const char text[] =
	        "a: ~\nb:\nc: null\nd: [Null, NULL]\ne: \"~\"\nf: ''\ng: nullo\n";
	AUTO(config) config = NULL;
	char error[256];
	CHECK_OK(parse(text, strlen(text), &config, error));
	const struct config_node *root = config_root(config);
	for (const char *key = "abc"; *key; key++) {
		const char name[] = { *key, '\0' };
		const struct config_node *node = config_node_find(root, name);
		assert_int_equal(config_node_kind(node), CONFIG_NULL);
		assert_null(config_node_text(node));
	}
	const struct config_node *list = config_node_find(root, "d");
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(config_node_kind(config_node_item(list, i)), CONFIG_NULL);
	assert_string_equal(config_node_text(config_node_find(root, "e")), "~");
	assert_string_equal(config_node_text(config_node_find(root, "f")), "");
	assert_string_equal(config_node_text(config_node_find(root, "g")), "nullo");
}

static void wrong_text_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *text;
		const char *error;
	} cases[] = {
		{ "a: 1\nb: [1\nc: 2\n", "f.yaml:3: not YAML: " },
		{ "a: 1\n\tb: 2\n", "f.yaml:2: not YAML: " },
		{ "a: 1\na: 2\n", "f.yaml:2: a: this key stands here twice" },
		{ "a: {b: 1, b: 2}\n", "f.yaml:1: b: this key stands here twice" },
		{ "a: &x 1\nb: *x\n", "f.yaml:2: aliases are not taken: write the value again" },
		{ "a: !secret 1\n", "f.yaml:1: tags are not taken: write the plain value" },
		{ "a: !!set {b}\n", "f.yaml:1: tags are not taken: write the plain value" },
		{ "[1, 2]: 3\n", "f.yaml:1: a key must be plain text" },
		{ "? {a: 1}\n: 3\n", "f.yaml:1: a key must be plain text" },
		{ "a: 1\n---\nb: 2\n", "f.yaml:2: a second document: one is taken" },
		{ "a: \"x\\0y\"\n", "f.yaml:1: text with a zero byte" },
		{ "a: 1\nb: \xff\n", "f.yaml:2: not YAML: " },
		{ "a: \x01\n", "f.yaml:1: not YAML: " },
		{ "a: 'open\n", "f.yaml:2: not YAML: " },
		{ "%YAML 9.9\n---\na: 1\n", "f.yaml:1: not YAML: " },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(config) config = NULL;
		char error[256];
		int r = parse(cases[i].text, strlen(cases[i].text), &config, error);
		print_message("%s -> %s\n", cases[i].text, error);
		assert_int_equal(r, -EINVAL);
		assert_null(config);
		assert_memory_equal(error, cases[i].error, strlen(cases[i].error));
	}
}

/* `before` + `count` times `middle`, as a parser of a hostile file would meet it. */
static char *repeated(const char *before, const char *middle, size_t count)
{
	size_t bytes = strlen(before) + count * strlen(middle) + 1;
	char *text = malloc(bytes);
	assert_non_null(text);
	char *at = text + snprintf(text, bytes, "%s", before);
	for (size_t i = 0; i < count; i++, at += strlen(middle))
		memcpy(at, middle, strlen(middle));
	*at = 0;
	return text;
}

static void size_depth_and_count_are_bounded(void **state)
{
	static const struct {
		const char *before, *middle;
		size_t count;
		int result;
	} cases[] = {
		{ "", "[", 100000, -EINVAL },
		{ "", "{a: ", 100000, -EINVAL },
		{ "", "- ", 100000, -EINVAL },
		{ "a: ", "[", 33, -EINVAL },
		{ "", "- 1\n", 9999, 0 },
		{ "", "- 1\n", 10000, -EINVAL },
		{ "a: ", "x", (1 << 20) - 3, 0 },
		{ "a: ", "x", (1 << 20) - 2, -EFBIG },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(config) config = NULL;
		char error[256];
		autofree char *text = repeated(cases[i].before, cases[i].middle, cases[i].count);
		assert_int_equal(parse(text, strlen(text), &config, error), cases[i].result);
		assert_int_equal(config == NULL, cases[i].result != 0);
	}
}

static void file_errors_name_the_file(void **state)
{
	TEST_DIR(dir);
	AUTO(config) config = NULL;
	char path[300], error[400], expected[400];

	snprintf(path, sizeof(path), "%s/none.yaml", dir.path);
	assert_int_equal(config_load(path, &config, error, sizeof(error)), -ENOENT);
	snprintf(expected, sizeof(expected), "%s: No such file or directory", path);
	assert_string_equal(error, expected);
	assert_int_equal(config_load(dir.path, &config, error, sizeof(error)), -EISDIR);

	test_file_write(path, "a: 1\nb: [\n", 10);
	assert_int_equal(config_load(path, &config, error, sizeof(error)), -EINVAL);
	assert_memory_equal(error, path, strlen(path));
	test_file_write(path, "a: 1\n", 5);
	CHECK_OK(config_load(path, &config, error, sizeof(error)));
	assert_string_equal(config_node_text(config_node_find(config_root(config), "a")), "1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tree_has_the_shape_of_the_text),
		cmocka_unit_test(empty_text_has_no_root),
		cmocka_unit_test(null_is_no_text_unless_it_is_quoted),
		cmocka_unit_test(wrong_text_is_refused_with_its_line),
		cmocka_unit_test(size_depth_and_count_are_bounded),
		cmocka_unit_test(file_errors_name_the_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
