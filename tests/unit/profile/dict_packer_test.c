/*
 * Packed deltas of a dict: they come back whatever was written plainly between them, are the same
 * from a packer that saw all and from one that goes over the dict first, and nothing else is taken.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "profile/dict_packer.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/golden_hex.h"
#include "tests/unit/profile/random_profile.h"

#define SEEDS  5
#define DELTAS 12

static int unpack(struct dict_packer *packer, struct dict *dict, const struct buf *packed)
{
	struct reader from = reader_of(packed->bytes, packed->count);
	return dict_decode_packed(packer, dict, &from, &from);
}

static void check_equal(const struct dict *a, const struct dict *b)
{
	AUTO_BUF of_a = { 0 };
	AUTO_BUF of_b = { 0 };
	dict_encode(a, (struct dict_mark){ 0 }, &of_a);
	dict_encode(b, (struct dict_mark){ 0 }, &of_b);
	assert_int_equal(of_a.count, of_b.count);
	assert_memory_equal(of_a.bytes, of_b.bytes, of_a.count);
}

/*
 * A frame of a build: the function and its file are those of the other builds, the addresses are
 * not.
 */
static uint32_t built_frame(struct dict *dict, uint32_t build, uint32_t number)
{
	struct module module = { .name = random_string(dict, "program", 0) };
	struct frame frame = { .kind = FRAME_NATIVE, .line = (int64_t)number * 3 };
	uint32_t id;
	module.build_id = random_string(dict, "build", build);
	CHECK_OK(dict_module(dict, &module, &frame.module));
	frame.function = random_string(dict, "called", number / 3);
	frame.file = random_string(dict, "source", number / 30);
	frame.address = UINT64_C(0x1000) * build + number * (16 + build);
	frame.start_line = frame.line - number % 3;
	CHECK_OK(dict_frame(dict, &frame, &id));
	return id;
}

/* Paths of one build, each a way through a tree that all builds have. */
static void add_paths(struct dict *dict, struct random *random, uint32_t build, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t node = DICT_NODE_ROOT;
		uint32_t place = 1;
		for (uint32_t depth = 4 + random_below(random, 20); depth > 0; depth--) {
			uint32_t call = random_below(random, 8) ? 0 : random_below(random, 3);
			place = (place * 2654435761u + call) % 5000;
			CHECK_OK(dict_node(dict, node, built_frame(dict, build, place), &node));
		}
	}
}

/* Frames of every kind, some of them in no node or in one that comes later. */
static void add_any(struct dict *dict, struct random *random, uint64_t seed)
{
	uint32_t nodes = dict_mark(dict).nodes;
	for (uint32_t i = 0; i < 60; i++) {
		uint32_t frame = random_frame(dict, seed, random_below(random, 200));
		uint32_t node = random_below(random, nodes);
		if (random_below(random, 5) == 0)
			frame = random_below(random, frame + 1);
		if (random_below(random, 3))
			CHECK_OK(dict_node(dict, node, frame, &node));
	}
	(void)random_series(dict, seed, random_below(random, 30));
}

static void add_some(struct dict *dict, struct random *random, uint64_t seed)
{
	if (random_below(random, 3) == 0)
		add_any(dict, random, seed);
	else
		add_paths(dict, random, random_below(random, 3), random_below(random, 60));
}

static void deltas_come_back_among_plain_ones(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct random random = { seed };
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(dict) back = dict_new(dict_limits_default);
		AUTO(dict_packer) writer = dict_packer_new();
		AUTO(dict_packer) reader = dict_packer_new();
		for (uint32_t i = 0; i < DELTAS; i++) {
			struct dict_mark from = dict_mark(dict);
			AUTO_BUF delta = { 0 };
			add_some(dict, &random, seed);
			if (random_below(&random, 4) == 0) {
				dict_encode(dict, from, &delta);
				struct reader plain = reader_of(delta.bytes, delta.count);
				CHECK_OK(dict_decode(back, &plain));
			} else {
				dict_encode_packed(writer, dict, from, &delta, &delta);
				CHECK(!delta.failed);
				CHECK_OK(unpack(reader, back, &delta));
			}
			check_equal(dict, back);
		}
	}
}

/* One that saw all, one that is new, one that saw what was taken back. */
static void a_packer_depends_on_nothing_but_the_nodes(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct random random = { seed };
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(dict_packer) old = dict_packer_new();
		AUTO(dict_packer) misled = dict_packer_new();
		for (uint32_t i = 0; i < DELTAS; i++) {
			struct dict_mark from = dict_mark(dict);
			AUTO_BUF by_old = { 0 };
			AUTO_BUF by_new = { 0 };
			AUTO_BUF by_misled = { 0 };
			AUTO_BUF lost = { 0 };
			add_some(dict, &random, seed + 1);
			dict_encode_packed(misled, dict, from, &lost, &lost);
			dict_truncate(dict, from);

			add_some(dict, &random, seed);
			AUTO(dict_packer) anew = dict_packer_new();
			assert_int_equal(dict_packer_unseen(anew, from), from.nodes);
			assert_int_equal(dict_packer_unseen(old, from), i ? 0 : from.nodes);
			dict_encode_packed(old, dict, from, &by_old, &by_old);
			dict_encode_packed(anew, dict, from, &by_new, &by_new);
			dict_encode_packed(misled, dict, from, &by_misled, &by_misled);
			CHECK(!by_old.failed && !by_new.failed && !by_misled.failed);
			assert_int_equal(by_old.count, by_new.count);
			assert_memory_equal(by_old.bytes, by_new.bytes, by_old.count);
			assert_int_equal(by_old.count, by_misled.count);
			assert_memory_equal(by_old.bytes, by_misled.bytes, by_old.count);
		}
	}
}

static void another_build_of_a_program_takes_little(void **state)
{
	struct random random = { 7 };
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(dict_packer) packer = dict_packer_new();
	AUTO_BUF first = { 0 };
	AUTO_BUF second = { 0 };
	AUTO_BUF plain = { 0 };
	add_paths(dict, &random, 0, 2000);
	dict_encode_packed(packer, dict, (struct dict_mark){ 0 }, &first, &first);
	struct dict_mark from = dict_mark(dict);
	random.state = 7;
	add_paths(dict, &random, 1, 2000);
	dict_encode_packed(packer, dict, from, &second, &second);
	dict_encode(dict, from, &plain);
	CHECK(first.count > 0 && plain.count > 0);
	CHECK(second.count * 2 < first.count);
	CHECK(second.count * 3 < plain.count);
}

static void add_delta(struct dict *dict, struct dict_packer *packer, uint64_t seed, struct buf *to)
{
	struct random random = { seed };
	struct dict_mark from = dict_mark(dict);
	add_any(dict, &random, seed);
	add_paths(dict, &random, 1, 10);
	dict_encode_packed(packer, dict, from, to, to);
	CHECK(!to->failed);
}

/* A flip may be another delta, but never more than the limits, nor a dict that is broken. */
static void a_delta_that_is_refused_leaves_nothing(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(dict_packer) writer = dict_packer_new();
	AUTO_BUF delta = { 0 };
	add_delta(dict, writer, 3, &delta);
	struct dict_limits limits = { 1000, 100, 1000, 1000, 100, 100000 };
	for (size_t i = 0; i < delta.count * 8; i += 37) {
		AUTO(dict) back = dict_new(limits);
		AUTO(dict_packer) reader = dict_packer_new();
		struct dict_mark before = dict_mark(back);
		delta.bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		int r = unpack(reader, back, &delta);
		delta.bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		struct dict_mark after = dict_mark(back);
		if (r == 0)
			continue;
		CHECK(r == -EBADMSG || r == -ENOSPC);
		assert_memory_equal(&before, &after, sizeof(before));
		if (i % 5 == 0) {
			CHECK_OK(unpack(reader, back, &delta));
			check_equal(dict, back);
		}
	}
}

static void a_delta_that_is_cut_or_not_the_next_is_refused(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(dict_packer) writer = dict_packer_new();
	AUTO(dict_packer) reader = dict_packer_new();
	AUTO(dict) back = dict_new(dict_limits_default);
	AUTO_BUF delta = { 0 };
	AUTO_BUF second = { 0 };
	add_delta(dict, writer, 5, &delta);
	add_delta(dict, writer, 6, &second);
	assert_int_equal(unpack(reader, back, &second), -EBADMSG);
	/* As many bytes as the end has zeroes may be missing. */
	for (size_t count = 0; count + 4 < delta.count; count += 1 + count / 20) {
		struct reader from = reader_of(delta.bytes, count);
		assert_int_equal(dict_decode_packed(reader, back, &from, &from), -EBADMSG);
	}
	CHECK_OK(unpack(reader, back, &delta));
	assert_int_equal(unpack(reader, back, &delta), -EBADMSG);
	CHECK_OK(unpack(reader, back, &second));
	check_equal(dict, back);
}

static void no_memory_is_told_of_and_gets_over(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(dict) back = dict_new(dict_limits_default);
	AUTO(dict_packer) writer = dict_packer_new();
	AUTO(dict_packer) reader = dict_packer_new();
	AUTO_BUF delta = { 0 };
	add_delta(dict, writer, 8, &delta);
	uint32_t failures = 0;
	for (;; failures++) {
		fault_arm(FAULT_ALLOC, failures, ENOMEM);
		int r = unpack(reader, back, &delta);
		if (!fault_disarm()) {
			CHECK_OK(r);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(dict_mark(back).nodes, 1);
	}
	CHECK(failures > 5);
	check_equal(dict, back);
}

/* The worked example of the documentation. */
static void the_documented_bytes_are_written_and_read(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(dict) back = dict_new(dict_limits_default);
	AUTO(dict_packer) writer = dict_packer_new();
	AUTO(dict_packer) reader = dict_packer_new();
	AUTO_BUF plain = { 0 };
	AUTO_BUF golden = { 0 };
	AUTO_BUF packed = { 0 };
	golden_hex_read("docs/formats/dict.md", "example", &plain);
	struct reader from = reader_of(plain.bytes, plain.count);
	CHECK_OK(dict_decode(dict, &from));
	dict_encode_packed(writer, dict, (struct dict_mark){ 0 }, &packed, &packed);
	golden_hex_check("docs/formats/dict.md", "packed", &packed);
	golden_hex_read("docs/formats/dict.md", "packed", &golden);
	CHECK_OK(unpack(reader, back, &golden));
	check_equal(dict, back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deltas_come_back_among_plain_ones),
		cmocka_unit_test(a_packer_depends_on_nothing_but_the_nodes),
		cmocka_unit_test(another_build_of_a_program_takes_little),
		cmocka_unit_test(a_delta_that_is_refused_leaves_nothing),
		cmocka_unit_test(a_delta_that_is_cut_or_not_the_next_is_refused),
		cmocka_unit_test(no_memory_is_told_of_and_gets_over),
		cmocka_unit_test(the_documented_bytes_are_written_and_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
