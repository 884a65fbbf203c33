/*
 * What a dict promises: equal content has one id here and one content id everywhere, limits and
 * refusals leave it as it was, an encoding brings exactly what is new, and hostile bytes bring
 * nothing.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "profile/dict.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/random_profile.h"

#define SEEDS 20

static uint32_t string(struct dict *dict, const char *text)
{
	uint32_t id;
	CHECK_OK(dict_cstring(dict, text, &id));
	return id;
}

static uint32_t function(struct dict *dict, const char *name)
{
	struct frame frame = { .kind = FRAME_MANAGED, .function = string(dict, name) };
	uint32_t id;
	CHECK_OK(dict_frame(dict, &frame, &id));
	return id;
}

static bool marks_equal(struct dict_mark a, struct dict_mark b)
{
	return memcmp(&a, &b, sizeof(a)) == 0;
}

/* Same ids, same content, same content ids. */
static void check_dicts_equal(const struct dict *a, const struct dict *b)
{
	struct dict_mark mark = dict_mark(a);
	AUTO_BUF a_bytes = { 0 };
	AUTO_BUF b_bytes = { 0 };

	CHECK(marks_equal(mark, dict_mark(b)));
	dict_encode(a, (struct dict_mark){ 0 }, &a_bytes);
	dict_encode(b, (struct dict_mark){ 0 }, &b_bytes);
	assert_int_equal(a_bytes.count, b_bytes.count);
	assert_memory_equal(a_bytes.bytes, b_bytes.bytes, a_bytes.count);
	for (uint32_t i = 0; i < mark.frames; i++)
		CHECK(hash128_equal(dict_frame_hash(a, i), dict_frame_hash(b, i)));
	for (uint32_t i = 0; i < mark.nodes; i++)
		CHECK(hash128_equal(dict_node_hash(a, i), dict_node_hash(b, i)));
	for (uint32_t i = 0; i < mark.series; i++)
		CHECK(hash128_equal(dict_series_hash(a, i), dict_series_hash(b, i)));
}

static void a_new_dict_holds_the_empty_string_no_module_and_the_root(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	size_t count = 99;

	CHECK(marks_equal(dict_mark(dict), (struct dict_mark){ 1, 1, 0, 1, 0 }));
	assert_string_equal(dict_get_string(dict, 0, &count), "");
	assert_int_equal(count, 0);
	assert_int_equal(dict_get_module(dict, 0)->name, 0);
	assert_int_equal(dict_get_node(dict, DICT_NODE_ROOT).parent, DICT_NODE_ROOT);
	assert_int_equal(dict_get_node(dict, DICT_NODE_ROOT).frame, ID_NONE);

	uint32_t id = 99;
	CHECK_OK(dict_string(dict, NULL, 0, &id));
	assert_int_equal(id, 0);
	CHECK_OK(dict_module(dict, &(struct module){ 0 }, &id));
	assert_int_equal(id, 0);
	CHECK_OK(dict_stack(dict, NULL, 0, &id));
	assert_int_equal(id, DICT_NODE_ROOT);
}

static void equal_things_get_one_id(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint32_t main_frame = function(dict, "main");
	uint32_t work = function(dict, "work");
	uint32_t frames[] = { work, work, main_frame };
	uint32_t first, second;

	assert_int_equal(string(dict, "main"), string(dict, "main"));
	assert_int_equal(function(dict, "main"), main_frame);
	CHECK_OK(dict_stack(dict, frames, 3, &first));
	CHECK_OK(dict_stack(dict, frames, 3, &second));
	assert_int_equal(first, second);
	assert_int_equal(dict_mark(dict).nodes, 4);

	/* Leaf first: walking to the root reads the frames as they were given. */
	uint32_t node = first;
	for (size_t i = 0; i < COUNT_OF(frames); i++) {
		assert_int_equal(dict_get_node(dict, node).frame, frames[i]);
		CHECK(dict_get_node(dict, node).parent < node);
		node = dict_get_node(dict, node).parent;
	}
	assert_int_equal(node, DICT_NODE_ROOT);
}

static void a_stack_of_any_depth_is_its_nodes_one_by_one(void **state)
{
	static const uint32_t depths[] = { 1, 2, 255, 256, 257, 512, 513, 3000 };
	static uint32_t frames[3000];
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(dict) other = dict_new(dict_limits_default);
	uint32_t ids[3] = { function(dict, "a"), function(dict, "b"), function(dict, "c") };
	struct random random = { 1 };
	function(other, "a");
	function(other, "b");
	function(other, "c");
	for (size_t i = 0; i < COUNT_OF(frames); i++)
		frames[i] = ids[random_below(&random, 3)];

	/* Deeper and deeper ones share the frames next to the root. */
	for (size_t d = 0; d < COUNT_OF(depths); d++) {
		const uint32_t *stack = frames + COUNT_OF(frames) - depths[d];
		uint32_t node, again, step = DICT_NODE_ROOT;
		CHECK_OK(dict_stack(dict, stack, depths[d], &node));
		for (uint32_t i = depths[d]; i > 0; i--)
			CHECK_OK(dict_node(other, step, stack[i - 1], &step));
		assert_int_equal(node, step);
		assert_int_equal(dict_mark(dict).nodes, 1 + depths[d]);
		CHECK_OK(dict_stack(dict, stack, depths[d], &again));
		assert_int_equal(again, node);
	}
	check_dicts_equal(dict, other);

	/* A new frame next to the root, so that all nodes would be new, and one that does not
	 * exist. */
	uint32_t *root = &frames[COUNT_OF(frames) - 1];
	*root = ids[(*root + 1) % 3];
	for (size_t i = 0; i < COUNT_OF(frames); i += 500) {
		uint32_t node = 1234, frame = frames[i];
		frames[i] = 3;
		CHECK(dict_stack(dict, frames, COUNT_OF(frames), &node) == -EINVAL);
		frames[i] = frame;
		assert_int_equal(node, 1234);
		check_dicts_equal(dict, other);
	}
}

static void strings_may_hold_any_byte_and_end_with_a_zero(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint32_t with_zero, without;
	size_t count;

	CHECK_OK(dict_string(dict, "a\0b", 3, &with_zero));
	CHECK_OK(dict_string(dict, "a", 1, &without));
	CHECK(with_zero != without);
	assert_memory_equal(dict_get_string(dict, with_zero, &count), "a\0b", 4);
	assert_int_equal(count, 3);
	assert_int_equal(dict_find_string(dict, "a\0b", 3), with_zero);
	assert_int_equal(dict_find_string(dict, "a\0c", 3), ID_NONE);
	assert_int_equal(dict_mark(dict).strings, 3);
}

static void a_borrowed_string_may_be_handed_back_in_part(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	char text[1000];
	memset(text, 'x', sizeof(text));
	uint32_t id;
	CHECK_OK(dict_string(dict, text, sizeof(text), &id));

	/* Each is new, and sooner or later moves the memory that it lies in. */
	for (size_t count = 999; count > 900; count--) {
		uint32_t part;
		size_t part_count;
		CHECK_OK(dict_string(dict, dict_text(dict, id), count, &part));
		assert_memory_equal(dict_get_string(dict, part, &part_count), text, count);
		assert_int_equal(part_count, count);
	}
}

static void content_ids_do_not_depend_on_numbering(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		AUTO(dict) a = dict_new(dict_limits_default);
		AUTO(dict) b = dict_new(dict_limits_default);
		struct hash128 nodes[50], series[10];

		for (uint32_t i = 0; i < COUNT_OF(nodes); i++)
			nodes[i] = dict_node_hash(a, random_stack(a, seed, i));
		for (uint32_t i = 0; i < COUNT_OF(series); i++)
			series[i] = dict_series_hash(a, random_series(a, seed, i));

		for (uint32_t i = COUNT_OF(series); i-- > 0;)
			CHECK(hash128_equal(
			        dict_series_hash(b, random_series(b, seed, i)), series[i]));
		for (uint32_t i = COUNT_OF(nodes); i-- > 0;)
			CHECK(hash128_equal(dict_node_hash(b, random_stack(b, seed, i)), nodes[i]));
		CHECK(marks_equal(dict_mark(a), dict_mark(b)));
	}
}

static void every_field_is_part_of_the_content_id(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint32_t s = string(dict, "s");
	uint32_t t = string(dict, "t");
	uint32_t module;
	CHECK_OK(dict_module(dict, &(struct module){ .name = s }, &module));

	const struct module modules[] = {
		{ .name = t },
		{ .build_id = s },
		{ .name = s, .build_id = s },
		{ .name = s, .start = 1 },
		{ .name = s, .limit = 1 },
		{ .name = s, .offset = 1 },
		{ .name = s, .flags = 1 },
	};
	for (uint32_t i = 0; i < COUNT_OF(modules); i++) {
		uint32_t id;
		CHECK_OK(dict_module(dict, &modules[i], &id));
		assert_int_equal(id, 2 + i);
		assert_memory_equal(dict_get_module(dict, id), &modules[i], sizeof(modules[i]));
	}

	const struct frame frames[] = {
		{ .kind = FRAME_MANAGED },
		{ .kind = FRAME_NATIVE },
		{ .kind = FRAME_MANAGED, .flags = FRAME_INLINED },
		{ .kind = FRAME_MANAGED, .flags = FRAME_FOLDED },
		{ .kind = FRAME_MANAGED, .module = module },
		{ .kind = FRAME_MANAGED, .function = s },
		{ .kind = FRAME_MANAGED, .system_name = s },
		{ .kind = FRAME_MANAGED, .file = s },
		{ .kind = FRAME_MANAGED, .address = 1 },
		{ .kind = FRAME_MANAGED, .line = 1 },
		{ .kind = FRAME_MANAGED, .line = -1 },
		{ .kind = FRAME_MANAGED, .column = 1 },
		{ .kind = FRAME_MANAGED, .start_line = 1 },
	};
	for (uint32_t i = 0; i < COUNT_OF(frames); i++) {
		uint32_t id;
		CHECK_OK(dict_frame(dict, &frames[i], &id));
		assert_int_equal(id, i);
	}

	const struct label one[] = { { s, t } };
	const struct label two[] = { { t, t }, { s, t } };
	const struct {
		struct series series;
		const struct label *labels;
		uint32_t labels_count;
	} series[] = {
		{ { .type = s, .unit = t, .period = 1 }, NULL, 0 },
		{ { .type = t, .unit = t, .period = 1 }, NULL, 0 },
		{ { .type = s, .unit = s, .period = 1 }, NULL, 0 },
		{ { .type = s, .unit = t, .period = 2 }, NULL, 0 },
		{ { .type = s, .unit = t, .period = 1 }, one, 1 },
		{ { .type = s, .unit = t, .period = 1 }, two, 1 },
		{ { .type = s, .unit = t, .period = 1 }, two, 2 },
	};
	for (uint32_t i = 0; i < COUNT_OF(series); i++) {
		uint32_t id;
		CHECK_OK(dict_series(
		        dict, &series[i].series, series[i].labels, series[i].labels_count, &id));
		assert_int_equal(id, i);
	}
}

static void what_cannot_be_is_refused_and_changes_nothing(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint32_t s = string(dict, "s");
	uint32_t frame = function(dict, "s");
	static const char long_text[DICT_STRING_BYTES_MAX + 1];
	struct label many[DICT_LABELS_MAX + 1];
	for (uint32_t i = 0; i < COUNT_OF(many); i++)
		many[i] = (struct label){ random_string(dict, "label", i), s };
	struct dict_mark before = dict_mark(dict);
	uint32_t none = before.strings;
	struct series series = { .type = s, .unit = s, .period = 1 };
	uint32_t id = 1234;

	CHECK(dict_string(dict, long_text, sizeof(long_text), &id) == -EINVAL);
	CHECK(dict_module(dict, &(struct module){ .name = none }, &id) == -EINVAL);
	CHECK(dict_module(dict, &(struct module){ .build_id = none }, &id) == -EINVAL);

	const struct frame frames[] = {
		{ .kind = 0 },
		{ .kind = 5 },
		{ .kind = FRAME_MANAGED, .flags = 4 },
		{ .kind = FRAME_MANAGED, .module = 1 },
		{ .kind = FRAME_MANAGED, .function = none },
		{ .kind = FRAME_MANAGED, .system_name = none },
		{ .kind = FRAME_MANAGED, .file = UINT32_MAX },
	};
	for (size_t i = 0; i < COUNT_OF(frames); i++)
		CHECK(dict_frame(dict, &frames[i], &id) == -EINVAL);

	CHECK(dict_node(dict, before.nodes, frame, &id) == -EINVAL);
	CHECK(dict_node(dict, 0, before.frames, &id) == -EINVAL);
	CHECK(dict_stack(dict, (uint32_t[]){ before.frames, frame }, 2, &id) == -EINVAL);

	CHECK(dict_series(dict, &(struct series){ .type = s, .unit = s }, NULL, 0, &id) == -EINVAL);
	CHECK(dict_series(dict, &(struct series){ none, s, 1, 0, 0 }, NULL, 0, &id) == -EINVAL);
	CHECK(dict_series(dict, &(struct series){ s, none, 1, 0, 0 }, NULL, 0, &id) == -EINVAL);
	CHECK(dict_series(dict, &series, many, COUNT_OF(many), &id) == -EINVAL);
	CHECK(dict_series(dict, &series, (struct label[]){ { s, s }, { s, s } }, 2, &id) ==
	        -EINVAL);
	CHECK(dict_series(dict, &series, (struct label[]){ { 0, s } }, 1, &id) == -EINVAL);
	CHECK(dict_series(dict, &series, (struct label[]){ { 0, 0 } }, 1, &id) == -EINVAL);
	CHECK(dict_series(dict, &series, (struct label[]){ { none, s } }, 1, &id) == -EINVAL);
	CHECK(dict_series(dict, &series, (struct label[]){ { s, none } }, 1, &id) == -EINVAL);

	assert_int_equal(id, 1234);
	CHECK(marks_equal(dict_mark(dict), before));
}

static void labels_are_sorted_by_name_and_empty_ones_left_out(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint32_t z = string(dict, "z"), a = string(dict, "a"), ab = string(dict, "ab");
	uint32_t value = string(dict, "value");
	struct series series = { .type = z, .unit = a, .period = 7 };
	struct label given[] = { { z, value }, { ab, 0 }, { ab, a }, { a, z } };
	uint32_t id, again;

	/* A name twice, once empty: the empty one says nothing. */
	CHECK_OK(dict_series(dict, &series, given, 4, &id));
	assert_int_equal(dict_get_series(dict, id)->labels_count, 3);
	const struct label *labels = dict_get_labels(dict, id);
	assert_int_equal(labels[0].name, a);
	assert_int_equal(labels[1].name, ab);
	assert_int_equal(labels[2].name, z);
	assert_int_equal(dict_label_value(dict, id, ab), a);
	assert_int_equal(dict_label_value(dict, id, value), 0);

	/* What a getter lends may be handed in again. */
	CHECK_OK(dict_series(dict, dict_get_series(dict, id), labels, 3, &again));
	assert_int_equal(again, id);
}

static void a_full_dict_refuses_only_what_is_new(void **state)
{
	struct dict_limits limits = {
		.strings = 3, .modules = 2, .frames = 2, .nodes = 3, .series = 1, .string_bytes = 12
	};
	AUTO(dict) dict = dict_new(limits);
	uint32_t id;
	uint32_t a = string(dict, "abcd");

	/* "" and "abcd" with their zeroes take 6 of 12 bytes. */
	CHECK(dict_cstring(dict, "abcdef", &id) == -ENOSPC);
	uint32_t b = string(dict, "abcde");
	CHECK(dict_cstring(dict, "x", &id) == -ENOSPC);
	assert_int_equal(string(dict, "abcd"), a);

	CHECK_OK(dict_module(dict, &(struct module){ .name = a }, &id));
	CHECK(dict_module(dict, &(struct module){ .name = b }, &id) == -ENOSPC);

	uint32_t frames[] = { function(dict, "abcd"), function(dict, "abcde") };
	CHECK(dict_frame(dict, &(struct frame){ .kind = FRAME_NATIVE }, &id) == -ENOSPC);

	/* The third node of this stack is one too many, so none of the three is kept. */
	uint32_t deep[] = { frames[0], frames[1], frames[0] };
	CHECK(dict_stack(dict, deep, 3, &id) == -ENOSPC);
	assert_int_equal(dict_mark(dict).nodes, 1);
	CHECK_OK(dict_stack(dict, deep, 2, &id));

	struct series series = { .type = a, .unit = b, .period = 1 };
	CHECK_OK(dict_series(dict, &series, NULL, 0, &id));
	series.period = 2;
	CHECK(dict_series(dict, &series, NULL, 0, &id) == -ENOSPC);
	CHECK(marks_equal(dict_mark(dict), (struct dict_mark){ 3, 2, 2, 3, 1 }));
}

static void truncate_takes_back_exactly_what_was_added_since(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(dict) same = dict_new(dict_limits_default);
		for (uint32_t i = 0; i < 20; i++) {
			CHECK(random_stack(dict, seed, i) == random_stack(same, seed, i));
			CHECK(random_series(dict, seed, i) == random_series(same, seed, i));
		}
		struct dict_mark mark = dict_mark(dict);
		for (uint32_t i = 0; i < 300; i++) {
			random_stack(dict, seed + 1000, i);
			random_series(dict, seed + 1000, i);
		}
		dict_truncate(dict, mark);
		check_dicts_equal(dict, same);

		/* What comes now gets the ids it would have got. */
		for (uint32_t i = 0; i < 50; i++) {
			CHECK(random_series(dict, seed + 2000, i) ==
			        random_series(same, seed + 2000, i));
			CHECK(random_stack(dict, seed + 2000, i) ==
			        random_stack(same, seed + 2000, i));
		}
		check_dicts_equal(dict, same);

		dict_truncate(dict, (struct dict_mark){ 0 });
		AUTO(dict) empty = dict_new(dict_limits_default);
		check_dicts_equal(dict, empty);
		dict_reset(same);
		check_dicts_equal(same, empty);
		CHECK(random_stack(same, seed, 7) == random_stack(empty, seed, 7));
	}
}

#define NODES_MAX 5000

/* A node for each (parent, frame) by looking at all of them. */
static uint32_t node_plainly(const struct node *nodes, uint32_t count, struct node node)
{
	for (uint32_t id = 1; id < count; id++) {
		if (nodes[id].parent == node.parent && nodes[id].frame == node.frame)
			return id;
	}
	return count;
}

/* Chains and branches, found or new, with what was newest taken back now and then. */
static void nodes_are_found_wherever_they_lie(void **state)
{
	static struct node nodes[NODES_MAX];
	for (uint64_t seed = 1; seed <= 5; seed++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		struct rng rng;
		uint32_t frames[8];
		uint32_t count = 1;
		rng_init(&rng, seed);
		for (uint32_t i = 0; i < COUNT_OF(frames); i++) {
			char name[16];
			snprintf(name, sizeof(name), "f%u", i);
			frames[i] = function(dict, name);
		}
		for (uint32_t i = 0; i < 4000; i++) {
			if (rng_below(&rng, 200) == 0) {
				struct dict_mark mark = dict_mark(dict);
				count -= (uint32_t)rng_below(&rng, count < 100 ? count : 100);
				mark.nodes = count;
				dict_truncate(dict, mark);
			}
			uint32_t id;
			struct node node = {
				.parent = rng_below(&rng, 3) ? count - 1
				                             : (uint32_t)rng_below(&rng, count),
				.frame = frames[rng_below(&rng, COUNT_OF(frames))],
			};
			CHECK_OK(dict_node(dict, node.parent, node.frame, &id));
			assert_int_equal(id, node_plainly(nodes, count, node));
			nodes[id] = node;
			count = id == count ? count + 1 : count;
			assert_int_equal(dict_mark(dict).nodes, count);
		}
		CHECK(count > 500);
	}
}

static void memory_is_at_least_the_content_and_not_many_times_it(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	size_t before = dict_memory(dict);
	for (uint32_t i = 0; i < 500; i++)
		random_stack(dict, 1, i);

	struct dict_mark mark = dict_mark(dict);
	size_t content = mark.strings * (sizeof(struct hash128) + 16) +
	                 mark.frames * (sizeof(struct hash128) + sizeof(struct frame)) +
	                 mark.nodes * sizeof(struct node);
	CHECK(before > 0 && before < 65536);
	CHECK(dict_memory(dict) > before);
	CHECK(dict_memory(dict) >= content);
	CHECK(dict_memory(dict) <= 4 * content + 65536);

	/* Emptied, it keeps its memory for the next batch, and says so. */
	size_t full = dict_memory(dict);
	dict_reset(dict);
	assert_int_equal(dict_memory(dict), full);
}

static void deltas_decode_to_the_same_dict(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		AUTO(dict) sender = dict_new(dict_limits_default);
		AUTO(dict) receiver = dict_new(dict_limits_default);
		struct dict_mark known = { 0 };
		for (uint32_t step = 0; step < 5; step++) {
			for (uint32_t i = 0; i < step * 20; i++) {
				random_stack(sender, seed + step, i);
				random_series(sender, seed + step, i);
			}
			AUTO_BUF delta = { 0 };
			dict_encode(sender, known, &delta);
			buf_put(&delta, "next", 4);
			struct reader from = reader_of(delta.bytes, delta.count);
			CHECK_OK(dict_decode(receiver, &from));
			assert_int_equal(reader_left(&from), 4);
			check_dicts_equal(sender, receiver);
			known = dict_mark(sender);
		}
	}
}

static void a_delta_only_fits_where_it_continues(void **state)
{
	AUTO(dict) sender = dict_new(dict_limits_default);
	AUTO_BUF first = { 0 };
	AUTO_BUF second = { 0 };
	random_stack(sender, 1, 1);
	struct dict_mark known = dict_mark(sender);
	dict_encode(sender, (struct dict_mark){ 0 }, &first);
	random_stack(sender, 1, 2);
	dict_encode(sender, known, &second);

	AUTO(dict) receiver = dict_new(dict_limits_default);
	struct reader from = reader_of(second.bytes, second.count);
	CHECK(dict_decode(receiver, &from) == -EBADMSG);
	from = reader_of(first.bytes, first.count);
	CHECK_OK(dict_decode(receiver, &from));
	from = reader_of(first.bytes, first.count);
	CHECK(dict_decode(receiver, &from) == -EBADMSG);
	from = reader_of(second.bytes, second.count);
	CHECK_OK(dict_decode(receiver, &from));
	check_dicts_equal(sender, receiver);
}

static void a_delta_cut_anywhere_is_refused_and_leaves_nothing(void **state)
{
	AUTO(dict) sender = dict_new(dict_limits_default);
	for (uint32_t i = 0; i < 10; i++) {
		random_stack(sender, 3, i);
		random_series(sender, 3, i);
	}
	AUTO_BUF bytes = { 0 };
	dict_encode(sender, (struct dict_mark){ 0 }, &bytes);

	AUTO(dict) receiver = dict_new(dict_limits_default);
	AUTO(dict) empty = dict_new(dict_limits_default);
	for (size_t count = 0; count < bytes.count; count++) {
		/* A copy of that length, so that ASan sees a read past it. */
		autofree uint8_t *cut = malloc(count + 1);
		memcpy(cut, bytes.bytes, count);
		struct reader from = reader_of(cut, count);
		CHECK(dict_decode(receiver, &from) == -EBADMSG);
		CHECK(marks_equal(dict_mark(receiver), dict_mark(empty)));
	}
	check_dicts_equal(receiver, empty);
}

/* Marks 1 1 0 1 0, then the counts of strings, modules, frames, nodes, series, then entries. */
static const struct encoding_case {
	const char *what;
	uint8_t bytes[48];
	size_t count;
	int result;
} encoding_cases[] = {
	{ "nothing new", { 1, 1, 0, 1, 0, 0, 0, 0, 0, 0 }, 10, 0 },
	{ "another mark", { 2, 1, 0, 1, 0, 0, 0, 0, 0, 0 }, 10, -EBADMSG },
	{ "one string", { 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 1, 'a' }, 12, 0 },
	{ "the empty string again", { 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0 }, 11, -EBADMSG },
	{ "a string twice", { 1, 1, 0, 1, 0, 2, 0, 0, 0, 0, 1, 1, 'a', 'a' }, 14, -EBADMSG },
	{ "a string longer than the rest", { 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 9, 'a' }, 12, -EBADMSG },
	{ "a string longer than any", { 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0x80, 0x80, 4 }, 13,
	        -EBADMSG },
	{ "more strings than bytes", { 1, 1, 0, 1, 0, 9, 0, 0, 0, 0, 1, 'a' }, 12, -EBADMSG },
	{ "four billion nodes", { 1, 1, 0, 1, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 1, 1 },
	        16, -EBADMSG },
	{ "no module again", { 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 16, -EBADMSG },
	{ "a module", { 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 16, 0 },
	{ "a module of no name", { 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0 }, 16, -EBADMSG },
	{ "a frame", { 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 3 }, 11, 0 },
	{ "a frame of no kind", { 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0 }, 11, -EBADMSG },
	{ "a frame of kind 5", { 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 5 }, 11, -EBADMSG },
	{ "an unknown bit", { 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0x83, 0x80, 1 }, 13, -EBADMSG },
	{ "both flags", { 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0x83, 0x30 }, 12, 0 },
	{ "bit 13", { 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0x83, 0x40 }, 12, -EBADMSG },
	{ "a frame of no module", { 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0x0b, 1 }, 12, -EBADMSG },
	{ "a function that is not there", { 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0x23, 2 }, 12, -EBADMSG },
	{ "a function below 0", { 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0x23, 1 }, 12, -EBADMSG },
	{ "a frame twice", { 1, 1, 0, 1, 0, 0, 0, 2, 0, 0, 3, 3 }, 12, -EBADMSG },
	{ "a node", { 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 3, 1, 0 }, 13, 0 },
	{ "a node that is its parent", { 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 3, 0, 0 }, 13, -EBADMSG },
	{ "a node beyond the root", { 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 3, 2, 0 }, 13, -EBADMSG },
	{ "a node of no frame", { 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 3, 1, 2 }, 13, -EBADMSG },
	{ "a node twice", { 1, 1, 0, 1, 0, 0, 0, 1, 2, 0, 3, 1, 0, 2, 0 }, 15, -EBADMSG },
	{ "a series", { 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0 }, 14, 0 },
	{ "a series without a period", { 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0 }, 14, -EBADMSG },
	{ "a series of no type", { 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0 }, 14, -EBADMSG },
	{ "65 labels", { 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 65 }, 14, -EBADMSG },
	{ "two labels", { 1, 1, 0, 1, 0, 2, 0, 0, 0, 1, 1, 1, 'a', 'b', 0, 0, 1, 2, 1, 1, 2, 1 },
	        22, 0 },
	{ "labels out of order",
	        { 1, 1, 0, 1, 0, 2, 0, 0, 0, 1, 1, 1, 'a', 'b', 0, 0, 1, 2, 2, 1, 1, 1 }, 22,
	        -EBADMSG },
	{ "a label twice", { 1, 1, 0, 1, 0, 2, 0, 0, 0, 1, 1, 1, 'a', 'b', 0, 0, 1, 2, 1, 1, 1, 2 },
	        22, -EBADMSG },
	{ "a label without a value",
	        { 1, 1, 0, 1, 0, 2, 0, 0, 0, 1, 1, 1, 'a', 'b', 0, 0, 1, 1, 1, 0 }, 20, -EBADMSG },
	{ "a label without a name",
	        { 1, 1, 0, 1, 0, 2, 0, 0, 0, 1, 1, 1, 'a', 'b', 0, 0, 1, 1, 0, 1 }, 20, -EBADMSG },
};

static void bytes_that_are_no_encoding_are_refused(void **state)
{
	for (size_t i = 0; i < COUNT_OF(encoding_cases); i++) {
		const struct encoding_case *one = &encoding_cases[i];
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(dict) empty = dict_new(dict_limits_default);
		struct reader from = reader_of(one->bytes, one->count);
		int r = dict_decode(dict, &from);
		if (r != one->result)
			fail_msg("%s: %d, not %d", one->what, r, one->result);
		if (r < 0)
			check_dicts_equal(dict, empty);
		else
			assert_int_equal(reader_left(&from), 0);
	}
}

static void a_delta_past_a_limit_is_refused_and_leaves_nothing(void **state)
{
	AUTO(dict) sender = dict_new(dict_limits_default);
	for (uint32_t i = 0; i < 20; i++) {
		random_stack(sender, 5, i);
		random_series(sender, 5, i);
	}
	struct dict_mark mark = dict_mark(sender);
	AUTO_BUF bytes = { 0 };
	dict_encode(sender, (struct dict_mark){ 0 }, &bytes);

	struct dict_limits exact = { mark.strings, mark.modules, mark.frames, mark.nodes,
		mark.series, 1 << 20 };
	struct dict_limits cases[] = { exact, exact, exact, exact, exact, exact };
	cases[0].strings--;
	cases[1].modules--;
	cases[2].frames--;
	cases[3].nodes--;
	cases[4].series--;
	cases[5].string_bytes = 100;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(dict) receiver = dict_new(cases[i]);
		struct reader from = reader_of(bytes.bytes, bytes.count);
		CHECK(dict_decode(receiver, &from) == -ENOSPC);
		CHECK(marks_equal(dict_mark(receiver), (struct dict_mark){ 1, 1, 0, 1, 0 }));
	}
	AUTO(dict) receiver = dict_new(exact);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	CHECK_OK(dict_decode(receiver, &from));
}

static void remap_keeps_content_ids(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		AUTO(dict) from = dict_new(dict_limits_default);
		AUTO(dict) to = dict_new(dict_limits_default);
		AUTO(dict_remap) remap = dict_remap_new(from, to);

		/* `to` knows some of it already, under other ids. */
		for (uint32_t i = 100; i-- > 50;) {
			random_series(to, seed, i);
			random_stack(to, seed, i);
		}
		/* `from` grows while it is translated. */
		for (uint32_t step = 0; step < 3; step++) {
			for (uint32_t i = 0; i < 40; i++) {
				random_stack(from, seed, step * 40 + i);
				random_series(from, seed, step * 40 + i);
			}
			struct dict_mark mark = dict_mark(from);
			uint32_t id, again;
			for (uint32_t i = mark.nodes; i-- > 0;) {
				CHECK_OK(dict_remap_node(remap, i, &id));
				CHECK_OK(dict_remap_node(remap, i, &again));
				assert_int_equal(id, again);
				CHECK(hash128_equal(
				        dict_node_hash(from, i), dict_node_hash(to, id)));
			}
			for (uint32_t i = 0; i < mark.frames; i++) {
				CHECK_OK(dict_remap_frame(remap, i, &id));
				CHECK(hash128_equal(
				        dict_frame_hash(from, i), dict_frame_hash(to, id)));
			}
			for (uint32_t i = 0; i < mark.series; i++) {
				CHECK_OK(dict_remap_series(remap, i, &id));
				CHECK(hash128_equal(
				        dict_series_hash(from, i), dict_series_hash(to, id)));
			}
			for (uint32_t i = 0; i < mark.strings; i++) {
				CHECK_OK(dict_remap_string(remap, i, &id));
				assert_string_equal(dict_text(from, i), dict_text(to, id));
			}
		}

		/* What was copied is what a dict would have made of the same content. */
		AUTO(dict) fresh = dict_new(dict_limits_default);
		AUTO_BUF bytes = { 0 };
		dict_encode(to, (struct dict_mark){ 0 }, &bytes);
		struct reader reader = reader_of(bytes.bytes, bytes.count);
		CHECK_OK(dict_decode(fresh, &reader));
		check_dicts_equal(to, fresh);

		uint32_t id = 1234;
		struct dict_mark end = dict_mark(from);
		CHECK(dict_remap_string(remap, end.strings, &id) == -EINVAL);
		CHECK(dict_remap_frame(remap, end.frames, &id) == -EINVAL);
		CHECK(dict_remap_node(remap, end.nodes, &id) == -EINVAL);
		CHECK(dict_remap_series(remap, UINT32_MAX, &id) == -EINVAL);
		assert_int_equal(id, 1234);
	}
}

/* Frames in any order, some of them twice, and some of which are there already. */
static void remap_carries_many_frames_at_once_as_one_by_one(void **state)
{
	AUTO(dict) from = dict_new(dict_limits_default);
	AUTO(dict) to = dict_new(dict_limits_default);
	AUTO(dict_remap) remap = dict_remap_new(from, to);
	for (uint32_t i = 0; i < 60; i++) {
		random_stack(from, 1, i);
		if (i % 5 == 0)
			random_stack(to, 1, i);
	}
	uint32_t count = dict_mark(from).frames;
	autofree uint32_t *ids = calloc(2 * count, sizeof(*ids));
	for (uint32_t i = 0; i < 2 * count; i++)
		ids[i] = (uint32_t)((uint64_t)i * 7919 % count);
	CHECK_OK(dict_remap_frames(remap, ids, 2 * count));
	CHECK_OK(dict_remap_frames(remap, ids, 0));
	struct dict_mark mark = dict_mark(to);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t id;
		CHECK_OK(dict_remap_frame(remap, i, &id));
		CHECK(hash128_equal(dict_frame_hash(from, i), dict_frame_hash(to, id)));
	}
	CHECK(marks_equal(mark, dict_mark(to)));
	ids[count] = count;
	CHECK(dict_remap_frames(remap, ids, 2 * count) == -EINVAL);
	CHECK(marks_equal(mark, dict_mark(to)));
}

/* All of `from` together. */
static void carry_all(struct dict_remap *remap, const struct dict *from)
{
	uint32_t count = dict_mark(from).nodes;
	autofree uint32_t *ids = calloc(count, sizeof(*ids));
	CHECK(ids);
	for (uint32_t i = 0; i < count; i++)
		ids[i] = i;
	CHECK_OK(dict_remap_nodes(remap, ids, count));
}

static void remap_survives_truncation_of_either_side(void **state)
{
	enum { TELL, FORGET_TO_TELL, TWICE, RESET_TO, FROM, RESET_FROM, WAYS };

	for (int turn = 0; turn < 2 * WAYS; turn++) {
		int way = turn / 2;
		bool is_together = turn % 2;
		AUTO(dict) from = dict_new(dict_limits_default);
		AUTO(dict) to = dict_new(dict_limits_default);
		AUTO(dict_remap) remap = dict_remap_new(from, to);
		uint32_t id;

		struct dict_mark from_before = dict_mark(from);
		uint32_t kept = random_stack(from, 9, 0);
		CHECK_OK(dict_remap_node(remap, kept, &id));
		struct dict_mark to_mark = dict_mark(to);
		for (uint32_t i = 1; i < 20; i++) {
			CHECK_OK(dict_remap_node(remap, random_stack(from, 9, i), &id));
			CHECK_OK(dict_remap_series(remap, random_series(from, 9, i), &id));
		}
		if (is_together)
			carry_all(remap, from);

		if (way == TELL || way == FORGET_TO_TELL) {
			dict_truncate(to, to_mark);
		} else if (way == TWICE) {
			dict_truncate(to, (struct dict_mark){ 0 });
			random_stack(to, 77, 1);
			random_stack(to, 77, 2);
			dict_truncate(to, dict_mark(to));
			to_mark = dict_mark(to);
			random_stack(to, 77, 3);
			dict_truncate(to, to_mark);
		} else if (way == RESET_TO) {
			dict_reset(to);
		} else if (way == FROM) {
			dict_truncate(from, from_before);
		} else {
			dict_reset(from);
		}
		if (way == TELL || way == TWICE)
			dict_remap_truncate(remap, to_mark);

		/* Other things get the ids that were given back. */
		for (uint32_t i = 0; i < 30; i++) {
			random_stack(to, 50, i);
			random_stack(from, 60, i);
		}
		struct dict_mark end = dict_mark(from);
		if (is_together)
			carry_all(remap, from);
		for (uint32_t i = 0; i < end.nodes; i++) {
			CHECK_OK(dict_remap_node(remap, i, &id));
			CHECK(hash128_equal(dict_node_hash(from, i), dict_node_hash(to, id)));
		}
		for (uint32_t i = 0; i < end.series; i++) {
			CHECK_OK(dict_remap_series(remap, i, &id));
			CHECK(hash128_equal(dict_series_hash(from, i), dict_series_hash(to, id)));
		}
	}
}

static void remap_into_a_full_dict_is_refused_and_goes_on_after_a_truncate(void **state)
{
	struct dict_limits limits = dict_limits_default;
	limits.nodes = 10;
	AUTO(dict) from = dict_new(dict_limits_default);
	AUTO(dict) to = dict_new(limits);
	AUTO(dict_remap) remap = dict_remap_new(from, to);
	uint32_t frame = function(from, "recursion");
	uint32_t deep, shallow, id;
	uint32_t frames[20];
	for (size_t i = 0; i < COUNT_OF(frames); i++)
		frames[i] = frame;
	CHECK_OK(dict_stack(from, frames, 5, &shallow));
	CHECK_OK(dict_stack(from, frames, 20, &deep));

	CHECK(dict_remap_node(remap, deep, &id) == -ENOSPC);
	dict_truncate(to, (struct dict_mark){ 0 });
	dict_remap_truncate(remap, (struct dict_mark){ 0 });
	CHECK_OK(dict_remap_node(remap, shallow, &id));
	CHECK(hash128_equal(dict_node_hash(from, shallow), dict_node_hash(to, id)));
}

static void running_out_of_memory_anywhere_leaves_the_dict_as_it_was(void **state)
{
	AUTO(dict) source = dict_new(dict_limits_default);
	for (uint32_t i = 0; i < 100; i++) {
		random_stack(source, 11, i);
		random_series(source, 11, i);
	}
	AUTO_BUF bytes = { 0 };
	dict_encode(source, (struct dict_mark){ 0 }, &bytes);

	uint32_t failures = 0;
	for (;; failures++) {
		fault_arm(FAULT_ALLOC, failures, ENOMEM);
		AUTO(dict) dict = dict_new(dict_limits_default);
		struct reader from = reader_of(bytes.bytes, bytes.count);
		int r = dict ? dict_decode(dict, &from) : -ENOMEM;
		if (!fault_disarm())
			break;
		CHECK(r == -ENOMEM);
		if (!dict)
			continue;
		CHECK(marks_equal(dict_mark(dict), (struct dict_mark){ 1, 1, 0, 1, 0 }));
		from = reader_of(bytes.bytes, bytes.count);
		CHECK_OK(dict_decode(dict, &from));
		check_dicts_equal(dict, source);
	}
	CHECK(failures > 20);

	for (failures = 0;; failures++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		fault_arm(FAULT_ALLOC, failures, ENOMEM);
		AUTO(dict_remap) remap = dict_remap_new(source, dict);
		int r = remap ? 0 : -ENOMEM;
		uint32_t id;
		for (uint32_t i = dict_mark(source).nodes; r == 0 && i-- > 0;)
			r = dict_remap_node(remap, i, &id);
		if (!fault_disarm())
			break;
		CHECK(r == -ENOMEM);
		for (uint32_t i = 0; remap && i < dict_mark(source).nodes; i++) {
			CHECK_OK(dict_remap_node(remap, i, &id));
			CHECK(hash128_equal(dict_node_hash(source, i), dict_node_hash(dict, id)));
		}
	}
	CHECK(failures > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_dict_holds_the_empty_string_no_module_and_the_root),
		cmocka_unit_test(equal_things_get_one_id),
		cmocka_unit_test(a_stack_of_any_depth_is_its_nodes_one_by_one),
		cmocka_unit_test(strings_may_hold_any_byte_and_end_with_a_zero),
		cmocka_unit_test(a_borrowed_string_may_be_handed_back_in_part),
		cmocka_unit_test(content_ids_do_not_depend_on_numbering),
		cmocka_unit_test(every_field_is_part_of_the_content_id),
		cmocka_unit_test(what_cannot_be_is_refused_and_changes_nothing),
		cmocka_unit_test(labels_are_sorted_by_name_and_empty_ones_left_out),
		cmocka_unit_test(a_full_dict_refuses_only_what_is_new),
		cmocka_unit_test(truncate_takes_back_exactly_what_was_added_since),
		cmocka_unit_test(nodes_are_found_wherever_they_lie),
		cmocka_unit_test(memory_is_at_least_the_content_and_not_many_times_it),
		cmocka_unit_test(deltas_decode_to_the_same_dict),
		cmocka_unit_test(a_delta_only_fits_where_it_continues),
		cmocka_unit_test(a_delta_cut_anywhere_is_refused_and_leaves_nothing),
		cmocka_unit_test(bytes_that_are_no_encoding_are_refused),
		cmocka_unit_test(a_delta_past_a_limit_is_refused_and_leaves_nothing),
		cmocka_unit_test(remap_keeps_content_ids),
		cmocka_unit_test(remap_carries_many_frames_at_once_as_one_by_one),
		cmocka_unit_test(remap_survives_truncation_of_either_side),
		cmocka_unit_test(remap_into_a_full_dict_is_refused_and_goes_on_after_a_truncate),
		cmocka_unit_test(running_out_of_memory_anywhere_leaves_the_dict_as_it_was),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
