/*
 * When additions to a dictionary are packed: many in a small one, a few in a large one, none where
 * the packer would have to go over too much first.
 */

#include "storage/record.h"

#include "tests/lib/test.h"

static void add_nodes(struct dict *dict, uint32_t count)
{
	while (count-- > 0) {
		uint32_t frame;
		uint32_t node;
		struct frame of = { .kind = FRAME_MANAGED, .line = dict_mark(dict).nodes };
		CHECK_OK(dict_frame(dict, &of, &frame));
		CHECK_OK(dict_node(dict, DICT_NODE_ROOT, frame, &node));
	}
}

/* Whether so many more are packed, in a dict that has `before`. */
static bool is_packed(uint32_t before, uint32_t added)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(dict_packer) packer = dict_packer_new();
	assert_true(dict && packer);
	add_nodes(dict, before);
	struct dict_mark from = dict_mark(dict);
	add_nodes(dict, added);
	return record_dict_is_packed(packer, dict, from);
}

static void a_small_dictionary_packs_many_nodes(void **state)
{
	assert_false(is_packed(0, 63));
	assert_true(is_packed(0, 64));
	assert_false(is_packed(4000, 63));
}

static void a_large_dictionary_packs_a_few(void **state)
{
	assert_false(is_packed(4096, 7));
	assert_true(is_packed(4096, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_dictionary_packs_many_nodes),
		cmocka_unit_test(a_large_dictionary_packs_a_few),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
