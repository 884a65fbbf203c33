/* Which seqs of a stream were kept: against a plain array of flags, at the edges, and on disk. */

#include "storage/seq_set.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/test.h"

struct step {
	uint64_t seq;
	uint32_t ranges; /* after it was added */
};

static void seqs_in_any_order_become_as_few_ranges_as_there_are(void **state)
{
	static const struct step steps[] = {
		{ 1, 1 },
		{ 2, 1 },
		{ 4, 2 },
		{ 3, 1 }, /* closes the gap */
		{ 1000, 2 },
		{ 999, 2 },
		{ 1001, 2 }, /* from both sides */
		{ 6, 3 },
		{ 5, 2 },
		{ 5, 2 }, /* again: nothing changes */
		{ UINT64_MAX, 3 },
		{ UINT64_MAX - 1, 3 },
	};
	struct seq_set set = { 0 };

	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		CHECK_OK(seq_set_add(&set, steps[i].seq));
		assert_int_equal(set.ranges_count, steps[i].ranges);
		assert_int_equal(seq_set_state(&set, steps[i].seq), SEQ_KEPT);
	}
	assert_int_equal(seq_set_state(&set, 7), SEQ_NEW);
	assert_int_equal(seq_set_state(&set, 998), SEQ_NEW);
	assert_int_equal(seq_set_state(&set, 1002), SEQ_NEW);
	seq_set_fini(&set);
}

static void a_set_agrees_with_an_array_of_flags(void **state)
{
	for (uint32_t seed = 1; seed <= 50; seed++) {
		bool kept[201] = { false };
		struct seq_set set = { 0 };
		uint32_t random = seed;
		for (int i = 0; i < 150; i++) {
			random = random * 1664525 + 1013904223;
			uint32_t seq = 1 + (random >> 8) % 200;
			CHECK(seq_set_state(&set, seq) == (kept[seq] ? SEQ_KEPT : SEQ_NEW));
			CHECK_OK(seq_set_add(&set, seq));
			kept[seq] = true;
		}
		for (uint32_t seq = 1; seq <= 200; seq++)
			CHECK(seq_set_state(&set, seq) == (kept[seq] ? SEQ_KEPT : SEQ_NEW));
		seq_set_fini(&set);
	}
}

static void past_the_bound_the_lowest_are_unsure_and_the_rest_still_known(void **state)
{
	struct seq_set set = { 0 };
	uint64_t last = 2 * (SEQ_SET_RANGES_MAX + 10);

	for (uint64_t seq = 2; seq <= last; seq += 2)
		CHECK_OK(seq_set_add(&set, seq));
	assert_int_equal(set.ranges_count, SEQ_SET_RANGES_MAX);
	assert_int_equal(set.floor, 20);
	assert_int_equal(seq_set_state(&set, 20), SEQ_UNSURE);
	assert_int_equal(seq_set_state(&set, 19), SEQ_UNSURE);
	assert_int_equal(seq_set_state(&set, 21), SEQ_NEW);
	assert_int_equal(seq_set_state(&set, 22), SEQ_KEPT);
	assert_int_equal(seq_set_state(&set, last), SEQ_KEPT);
	assert_int_equal(seq_set_state(&set, last + 1), SEQ_NEW);

	/* One that comes late below the floor has no place: it stays unsure, and nothing else
	 * moves. */
	CHECK_OK(seq_set_add(&set, 5));
	assert_int_equal(seq_set_state(&set, 5), SEQ_UNSURE);
	assert_int_equal(set.floor, 20);
	assert_int_equal(seq_set_state(&set, 22), SEQ_KEPT);
	seq_set_fini(&set);
}

static void a_set_survives_its_encoding(void **state)
{
	static const uint64_t seqs[] = { 1, 2, 3, 7, 100, 101, UINT64_MAX };
	struct seq_set set = { 0 };
	struct seq_set read = { 0 };
	AUTO_BUF buf = { 0 };

	for (size_t i = 0; i < COUNT_OF(seqs); i++)
		CHECK_OK(seq_set_add(&set, seqs[i]));
	seq_set_put(&set, &buf);
	struct reader reader = reader_of(buf.bytes, buf.count);
	CHECK_OK(seq_set_get(&read, &reader));
	assert_int_equal(reader_left(&reader), 0);
	assert_int_equal(read.ranges_count, set.ranges_count);
	assert_memory_equal(read.ranges, set.ranges, set.ranges_count * sizeof(*set.ranges));
	seq_set_fini(&read);

	for (size_t cut = 0; cut < buf.count; cut++) {
		reader = reader_of(buf.bytes, cut);
		CHECK(seq_set_get(&read, &reader) == -EBADMSG);
		seq_set_fini(&read);
	}
	seq_set_fini(&set);
}

static void encodings_that_no_set_has_are_refused(void **state)
{
	static const struct {
		const char *what;
		uint8_t bytes[12];
		size_t count;
	} cases[] = {
		{ "seq 0", { 0, 1, 0, 0 }, 4 },
		{ "ranges that touch", { 0, 2, 1, 0, 1, 0 }, 6 },
		{ "more ranges than the bound", { 0, 0x81, 0x02 }, 3 },
		{ "a range past 64 bits",
		        { 0, 1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, 12 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct seq_set set = { 0 };
		struct reader reader = reader_of(cases[i].bytes, cases[i].count);
		if (seq_set_get(&set, &reader) != -EBADMSG)
			fail_msg("accepted: %s", cases[i].what);
		seq_set_fini(&set);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seqs_in_any_order_become_as_few_ranges_as_there_are),
		cmocka_unit_test(a_set_agrees_with_an_array_of_flags),
		cmocka_unit_test(past_the_bound_the_lowest_are_unsure_and_the_rest_still_known),
		cmocka_unit_test(a_set_survives_its_encoding),
		cmocka_unit_test(encodings_that_no_set_has_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
