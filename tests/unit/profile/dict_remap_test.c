/*
 * Many nodes that are carried from one dict to another together are what they are one by one: the
 * same ids, the same dict, wherever it grows, fills up or is taken back meanwhile.
 */

#include <errno.h>
#include <string.h>

#include "profile/dict.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/random_profile.h"

#define SEEDS    20
#define IDS_MAX  700
#define LEAVES   3000
#define LEAF_SUB 3
#define SOUGHT   6000 /* a few times what is looked for at once */

/* Same ids, same content. */
static void check_equal(const struct dict *a, const struct dict *b)
{
	AUTO_BUF of_a = { 0 };
	AUTO_BUF of_b = { 0 };
	dict_encode(a, (struct dict_mark){ 0 }, &of_a);
	dict_encode(b, (struct dict_mark){ 0 }, &of_b);
	assert_int_equal(of_a.count, of_b.count);
	assert_memory_equal(of_a.bytes, of_b.bytes, of_a.count);
}

/* All of `from`, which are there or are found by it. */
static void check_known(struct dict_remap *remap, const struct dict *from, const struct dict *to)
{
	uint32_t count;
	const uint32_t *known = dict_remap_known_nodes(remap, &count);
	for (uint32_t i = 0; i < count && i < dict_mark(from).nodes; i++) {
		if (known[i] == ID_NONE)
			continue;
		assert_true(known[i] < dict_mark(to).nodes);
		CHECK(hash128_equal(dict_node_hash(from, i), dict_node_hash(to, known[i])));
	}
}

static int one_by_one(struct dict_remap *remap, const uint32_t *ids, uint32_t count)
{
	int r = 0;
	uint32_t id;
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = dict_remap_node(remap, ids[i], &id);
	return r;
}

/* Some ids of `from`, in any order, some of them several times. */
static uint32_t choose(const struct dict *from, struct random *random, uint32_t ids[IDS_MAX])
{
	uint32_t count = random_below(random, random_below(random, 4) ? 30 : IDS_MAX);
	for (uint32_t i = 0; i < count; i++)
		ids[i] = random_below(random, dict_mark(from).nodes);
	return count;
}

/* Two dicts that are alike, and a remap into each from the same one. */
struct pair {
	struct dict *from;
	struct dict *to[2];
	struct dict_remap *remaps[2];
};

static struct pair pair_new(struct dict *from, struct dict_limits limits)
{
	struct pair pair = { .from = from };
	for (int i = 0; i < 2; i++) {
		pair.to[i] = dict_new(limits);
		pair.remaps[i] = dict_remap_new(from, pair.to[i]);
		assert_non_null(pair.to[i]);
		assert_non_null(pair.remaps[i]);
	}
	return pair;
}

static void pair_free(struct pair *pair)
{
	for (int i = 0; i < 2; i++) {
		dict_remap_free(pair->remaps[i]);
		dict_free(pair->to[i]);
	}
}

static void pair_truncate(struct pair *pair, struct dict_mark mark, bool is_told)
{
	for (int i = 0; i < 2; i++) {
		dict_truncate(pair->to[i], mark);
		if (is_told)
			dict_remap_truncate(pair->remaps[i], mark);
	}
}

static void pair_carry(struct pair *pair, const uint32_t *ids, uint32_t count)
{
	CHECK_OK(one_by_one(pair->remaps[0], ids, count));
	CHECK_OK(dict_remap_nodes(pair->remaps[1], ids, count));
	uint32_t known_count;
	const uint32_t *known = dict_remap_known_nodes(pair->remaps[1], &known_count);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t id;
		CHECK_OK(dict_remap_node(pair->remaps[0], ids[i], &id));
		assert_true(ids[i] < known_count);
		assert_int_equal(known[ids[i]], id);
	}
	struct dict_mark marks[] = { dict_mark(pair->to[0]), dict_mark(pair->to[1]) };
	assert_memory_equal(&marks[0], &marks[1], sizeof(marks[0]));
}

/* What somebody else brings, some of which is the same. */
static void pair_add(struct pair *pair, uint64_t seed, uint32_t number)
{
	uint32_t a = random_stack(pair->to[0], seed, number);
	uint32_t b = random_stack(pair->to[1], seed, number);
	assert_int_equal(a, b);
}

static void many_together_are_what_they_are_one_by_one(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct random random = { seed };
		AUTO(dict) from = dict_new(dict_limits_default);
		struct pair pair = pair_new(from, dict_limits_default);
		struct dict_mark mark = { 0 };
		for (uint32_t step = 0; step < 60; step++) {
			uint32_t ids[IDS_MAX];
			uint32_t turn = random_below(&random, 10);
			uint32_t number = random_below(&random, 300);
			if (turn < 3)
				(void)random_stack(from, seed, number);
			else if (turn < 5)
				pair_add(&pair, seed, number);
			else if (turn == 5)
				mark = dict_mark(pair.to[0]);
			else if (turn == 6 && random_below(&random, 3) == 0)
				pair_truncate(&pair, mark, number % 2);
			else if (turn == 7)
				CHECK_OK(dict_remap_seek(pair.remaps[1]));
			else
				pair_carry(&pair, ids, choose(from, &random, ids));
		}
		check_known(pair.remaps[1], from, pair.to[1]);
		check_equal(pair.to[0], pair.to[1]);
		pair_free(&pair);
	}
}

/* Each leaf begins a chain, so that the tables double again and again, also within one part. */
static void tables_grow_in_the_midst_of_many(void **state)
{
	AUTO(dict) from = dict_new(dict_limits_default);
	struct pair pair = pair_new(from, dict_limits_default);
	uint32_t frames[LEAVES];
	uint32_t ids[LEAVES * LEAF_SUB];
	uint32_t count = 0;
	uint32_t trunk = random_stack(from, 1, 1);
	for (uint32_t i = 0; i < LEAVES; i++) {
		struct frame frame = { .kind = FRAME_NATIVE, .address = i };
		CHECK_OK(dict_frame(from, &frame, &frames[i]));
		CHECK_OK(dict_node(from, trunk, frames[i], &ids[count++]));
		for (uint32_t n = 1; n < LEAF_SUB; n++, count++)
			CHECK_OK(
			        dict_node(from, ids[i * LEAF_SUB], frames[i - i % n], &ids[count]));
	}
	pair_carry(&pair, ids, LEAVES / 3);
	pair_carry(&pair, ids, count);
	check_known(pair.remaps[1], from, pair.to[1]);
	check_equal(pair.to[0], pair.to[1]);
	/* All of it is found again where it lies. */
	AUTO(dict_remap) again = dict_remap_new(from, pair.to[1]);
	struct dict_mark mark = dict_mark(pair.to[1]);
	CHECK_OK(dict_remap_nodes(again, ids, count));
	assert_int_equal(dict_mark(pair.to[1]).nodes, mark.nodes);
	check_known(again, from, pair.to[1]);
	pair_free(&pair);
}

/* Stacks of `from`. Returns how much they bring to a dict that has nothing yet. */
static struct dict_mark random_stacks(
        struct dict *from, uint64_t seed, uint32_t *ret_ids, uint32_t count)
{
	AUTO(dict) whole = dict_new(dict_limits_default);
	AUTO(dict_remap) measure = dict_remap_new(from, whole);
	for (uint32_t i = 0; i < count; i++)
		ret_ids[i] = random_stack(from, seed, i);
	CHECK_OK(dict_remap_nodes(measure, ret_ids, count));
	return dict_mark(whole);
}

/* Whatever is full: what was there before is there after it was taken back, and fits again. */
static void a_dict_that_is_full_in_the_midst_is_taken_back(void **state)
{
	AUTO(dict) from = dict_new(dict_limits_default);
	uint32_t ids[60];
	struct dict_mark all = random_stacks(from, 3, ids, COUNT_OF(ids));
	for (uint32_t left = 1; left < all.nodes; left += 1 + left / 9) {
		struct dict_limits limits = dict_limits_default;
		limits.nodes = all.nodes - left;
		if (left % 3 == 0)
			limits.frames = all.frames - 1 - left % all.frames;
		if (left % 3 == 1)
			limits.strings = all.strings - 1 - left % (all.strings - 1);
		struct pair pair = pair_new(from, limits);
		if (one_by_one(pair.remaps[0], ids, 1) == 0)
			pair_carry(&pair, ids, 1);
		else
			pair_truncate(&pair, (struct dict_mark){ 0 }, true);
		struct dict_mark mark = dict_mark(pair.to[1]);
		CHECK(one_by_one(pair.remaps[0], ids, COUNT_OF(ids)) == -ENOSPC);
		CHECK(dict_remap_nodes(pair.remaps[1], ids, COUNT_OF(ids)) == -ENOSPC);
		check_known(pair.remaps[1], from, pair.to[1]);
		pair_truncate(&pair, mark, left % 2);
		check_known(pair.remaps[1], from, pair.to[1]);
		/* As far as it goes, one after the other. */
		uint32_t fit = 0;
		while (one_by_one(pair.remaps[0], &ids[fit], 1) == 0)
			fit++;
		pair_truncate(&pair, mark, true);
		pair_carry(&pair, ids, fit);
		check_equal(pair.to[0], pair.to[1]);
		pair_free(&pair);
	}
}

/*
 * What is sought is found where it is there, and nothing is added. `from` is given the remap's
 * answers one by one afterwards, and what was not found must be new or below what was new.
 */
static void check_sought(struct dict_remap *remap, const struct dict *from, struct dict *to)
{
	struct dict_mark before = dict_mark(to);
	CHECK_OK(dict_remap_seek(remap));
	struct dict_mark after = dict_mark(to);
	assert_memory_equal(&after, &before, sizeof(before));
	check_known(remap, from, to);
	for (uint32_t i = 1; i < dict_mark(from).nodes; i++) {
		uint32_t count, id;
		uint32_t nodes = dict_mark(to).nodes;
		const uint32_t *known = dict_remap_known_nodes(remap, &count);
		assert_true(i < count);
		uint32_t found = known[i];
		CHECK_OK(dict_remap_node(remap, i, &id));
		assert_int_equal(id, found == ID_NONE ? nodes : found);
	}
}

static void what_is_sought_is_all_that_is_there(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		AUTO(dict) from = dict_new(dict_limits_default);
		AUTO(dict) to = dict_new(dict_limits_default);
		AUTO(dict_remap) remap = dict_remap_new(from, to);
		CHECK_OK(dict_remap_seek(remap));
		for (uint32_t i = 100; i-- > 50;)
			(void)random_stack(to, seed, i);
		for (uint32_t step = 0; step < 3; step++) {
			/* Parents are of the delta before as well as of this one. */
			for (uint32_t i = 0; i < 40; i++)
				(void)random_stack(from, seed, step * 40 + i);
			check_sought(remap, from, to);
			check_sought(remap, from, to);
		}
	}
}

static uint32_t add_leaf(struct dict *dict, uint32_t number)
{
	struct frame frame = { .kind = FRAME_NATIVE, .address = number };
	uint32_t frame_id, id;
	uint32_t trunk = random_stack(dict, 1, 1);
	CHECK_OK(dict_frame(dict, &frame, &frame_id));
	CHECK_OK(dict_node(dict, trunk, frame_id, &id));
	return id;
}

/* Seeking is for what is there: it goes on as long as that is found, and what it left goes over. */
static void seeking_ends_where_little_is_found(void **state)
{
	for (uint32_t is_known_first = 0; is_known_first < 2; is_known_first++) {
		AUTO(dict) from = dict_new(dict_limits_default);
		AUTO(dict) to = dict_new(dict_limits_default);
		AUTO(dict_remap) remap = dict_remap_new(from, to);
		static uint32_t ids[SOUGHT];
		uint32_t known_first = is_known_first ? 0 : SOUGHT / 2;
		uint32_t count;
		for (uint32_t i = 0; i < SOUGHT; i++)
			ids[i] = add_leaf(from, i);
		for (uint32_t i = SOUGHT / 2; i-- > 0;)
			(void)add_leaf(to, known_first + i);
		struct dict_mark mark = dict_mark(to);
		CHECK_OK(dict_remap_seek(remap));
		const uint32_t *known = dict_remap_known_nodes(remap, &count);
		for (uint32_t i = 0; i < SOUGHT / 2; i++)
			assert_int_equal(known[ids[known_first + i]] != ID_NONE, is_known_first);
		CHECK_OK(dict_remap_nodes(remap, ids, SOUGHT));
		struct dict_mark after = dict_mark(to);
		assert_int_equal(after.nodes, mark.nodes + SOUGHT / 2);
		check_known(remap, from, to);
	}
}

/* What was not there when it was sought, and came by somebody else meanwhile, is not added again.
 */
static void what_came_after_it_was_sought_is_found(void **state)
{
	AUTO(dict) from = dict_new(dict_limits_default);
	AUTO(dict) to = dict_new(dict_limits_default);
	AUTO(dict_remap) remap = dict_remap_new(from, to);
	AUTO(dict_remap) other = dict_remap_new(from, to);
	uint32_t ids[60];
	for (uint32_t i = 0; i < COUNT_OF(ids); i++)
		ids[i] = random_stack(from, 4, i);
	CHECK_OK(dict_remap_seek(remap));
	CHECK_OK(dict_remap_nodes(other, ids, COUNT_OF(ids)));
	struct dict_mark mark = dict_mark(to);
	CHECK_OK(dict_remap_seek(remap));
	CHECK_OK(dict_remap_nodes(remap, ids, COUNT_OF(ids)));
	struct dict_mark after = dict_mark(to);
	assert_memory_equal(&after, &mark, sizeof(mark));
	check_known(remap, from, to);
}

/* Into another dict, or when what was found is taken back: nothing of the time before is believed.
 */
static void what_was_sought_is_forgotten_with_its_dict(void **state)
{
	AUTO(dict) from = dict_new(dict_limits_default);
	AUTO(dict) first = dict_new(dict_limits_default);
	AUTO(dict) second = dict_new(dict_limits_default);
	AUTO(dict_remap) remap = dict_remap_new(from, first);
	for (uint32_t i = 0; i < 60; i++)
		(void)random_stack(from, 6, i);
	for (uint32_t i = 60; i-- > 20;)
		(void)random_stack(first, 6, i);
	struct dict_mark mark = dict_mark(first);
	for (uint32_t i = 20; i-- > 0;)
		(void)random_stack(first, 6, i);
	CHECK_OK(dict_remap_seek(remap));
	dict_truncate(first, mark);
	check_sought(remap, from, first);
	for (uint32_t i = 60; i-- > 20;)
		(void)random_stack(second, 6, i);
	dict_remap_aim(remap, second);
	check_sought(remap, from, second);
}

static void running_out_of_memory_while_seeking_can_be_tried_again(void **state)
{
	uint32_t failures = 0;
	AUTO(dict) from = dict_new(dict_limits_default);
	for (uint32_t i = 0; i < 100; i++)
		(void)random_stack(from, 5, i);
	for (;; failures++) {
		AUTO(dict) to = dict_new(dict_limits_default);
		AUTO(dict_remap) remap = dict_remap_new(from, to);
		for (uint32_t i = 100; i-- > 50;)
			(void)random_stack(to, 5, i);
		fault_arm(FAULT_ALLOC, failures, ENOMEM);
		int r = dict_remap_seek(remap);
		if (!fault_disarm())
			break;
		CHECK(r == -ENOMEM);
		check_sought(remap, from, to);
	}
	CHECK(failures == 2);
}

static void an_id_that_there_is_not_is_refused_before_anything_is_added(void **state)
{
	AUTO(dict) from = dict_new(dict_limits_default);
	AUTO(dict) to = dict_new(dict_limits_default);
	AUTO(dict_remap) remap = dict_remap_new(from, to);
	CHECK_OK(dict_remap_nodes(remap, NULL, 0));
	uint32_t ids[] = { DICT_NODE_ROOT, random_stack(from, 1, 1), dict_mark(from).nodes };
	CHECK(dict_remap_nodes(remap, ids, COUNT_OF(ids)) == -EINVAL);
	assert_int_equal(dict_mark(to).frames, 0);
	assert_int_equal(dict_mark(to).nodes, 1);
	CHECK_OK(dict_remap_nodes(remap, ids, 2));
	check_known(remap, from, to);
	assert_int_equal(dict_mark(to).nodes, dict_mark(from).nodes);
}

/* Where nothing may be added: whose frames are there, and who the nearest is that is there. */
static void an_ancestor_is_found_and_nothing_is_added(void **state)
{
	AUTO(dict) from = dict_new(dict_limits_default);
	AUTO(dict) to = dict_new(dict_limits_default);
	AUTO(dict_remap) remap = dict_remap_new(from, to);
	(void)state;
	uint32_t leaf = random_stack(from, 7, 1);
	uint32_t caller = dict_get_node(from, leaf).parent;
	uint32_t other = random_stack(from, 9, 2);
	uint32_t known, id, frame;
	bool is_itself;
	CHECK(caller != DICT_NODE_ROOT);
	CHECK_OK(dict_remap_node(remap, caller, &known));
	/* The frame alone is no stack. */
	CHECK_OK(dict_remap_frame(remap, dict_get_node(from, leaf).frame, &frame));
	struct dict_mark mark = dict_mark(to);
	AUTO(dict_remap) anew = dict_remap_new(from, to);
	struct dict_remap *const remaps[] = { remap, anew };
	for (size_t i = 0; i < COUNT_OF(remaps); i++) {
		CHECK_OK(dict_remap_ancestor(remaps[i], leaf, &id, &is_itself));
		CHECK(id == known && !is_itself);
		CHECK_OK(dict_remap_ancestor(remaps[i], caller, &id, &is_itself));
		CHECK(id == known && is_itself);
		CHECK_OK(dict_remap_ancestor(remaps[i], other, &id, &is_itself));
		CHECK(!is_itself && (id == DICT_NODE_ROOT || id <= known));
		CHECK(dict_remap_ancestor(remaps[i], dict_mark(from).nodes, &id, &is_itself) ==
		        -EINVAL);
	}
	struct dict_mark after = dict_mark(to);
	assert_memory_equal(&after, &mark, sizeof(mark));
	/* It would have the next place. */
	CHECK_OK(dict_remap_node(anew, leaf, &id));
	assert_int_equal(id, mark.nodes);
	check_known(anew, from, to);
}

static void running_out_of_memory_in_the_midst_can_be_tried_again(void **state)
{
	AUTO(dict) from = dict_new(dict_limits_default);
	uint32_t ids[100];
	struct dict_mark all = random_stacks(from, 5, ids, COUNT_OF(ids));
	uint32_t failures = 0;
	for (;; failures++) {
		AUTO(dict) to = dict_new(dict_limits_default);
		AUTO(dict_remap) remap = dict_remap_new(from, to);
		fault_arm(FAULT_ALLOC, failures, ENOMEM);
		int r = dict_remap_nodes(remap, ids, COUNT_OF(ids));
		if (!fault_disarm())
			break;
		CHECK(r == -ENOMEM);
		check_known(remap, from, to);
		CHECK_OK(dict_remap_nodes(remap, ids, COUNT_OF(ids)));
		check_known(remap, from, to);
		assert_int_equal(dict_mark(to).nodes, all.nodes);
	}
	CHECK(failures > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_together_are_what_they_are_one_by_one),
		cmocka_unit_test(tables_grow_in_the_midst_of_many),
		cmocka_unit_test(a_dict_that_is_full_in_the_midst_is_taken_back),
		cmocka_unit_test(what_is_sought_is_all_that_is_there),
		cmocka_unit_test(seeking_ends_where_little_is_found),
		cmocka_unit_test(what_came_after_it_was_sought_is_found),
		cmocka_unit_test(what_was_sought_is_forgotten_with_its_dict),
		cmocka_unit_test(running_out_of_memory_while_seeking_can_be_tried_again),
		cmocka_unit_test(an_id_that_there_is_not_is_refused_before_anything_is_added),
		cmocka_unit_test(an_ancestor_is_found_and_nothing_is_added),
		cmocka_unit_test(running_out_of_memory_in_the_midst_can_be_tried_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
