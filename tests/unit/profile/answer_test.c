/*
 * An answer survives its encoding whatever its size, an older or newer list of fields is read for
 * what it has, and what is no answer is refused.
 */

#include <errno.h>

#include "profile/answer.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/golden_hex.h"
#include "tests/unit/profile/random_profile.h"

static uint32_t example_text(struct dict *dict, const char *text)
{
	uint32_t id;

	CHECK_OK(dict_cstring(dict, text, &id));
	return id;
}

/* What docs/formats/answer.md and tests/golden/answer_v1_levels.hex describe. */
static struct answer *example_answer(void)
{
	struct answer *answer = answer_new(2);
	struct dict *dict = answer->dict;
	struct series series = { .period = 1 };
	struct frame frame = { .kind = FRAME_MANAGED };
	uint32_t series_id, frame_id, node;

	series.type = example_text(dict, "cpu");
	series.unit = example_text(dict, "count");
	frame.function = example_text(dict, "main");
	CHECK_OK(dict_series(dict, &series, NULL, 0, &series_id));
	CHECK_OK(dict_frame(dict, &frame, &frame_id));
	CHECK_OK(dict_node(dict, DICT_NODE_ROOT, frame_id, &node));
	for (uint32_t side = 0; side < 2; side++) {
		struct batch *batch = answer->sides[side].batch;

		batch->start_ns = 1000 + side;
		batch->duration_ns = 100;
		CHECK_OK(batch_add_row(batch, series_id, node, 41 + side));
		CHECK_OK(batch_settle(batch));
	}
	answer->sides[0].completeness = (struct completeness){
		.value = 41,
		.value_truncated = 2,
		.value_unknown_leaf = 3,
		.samples = 41,
		.lost = { 0, 5, 0, 0, 0, 0, 0, 0, 6 },
		.intervals = 7,
		.missing_ns = 8,
		.coverage_ns = 9,
		.instances = 10,
		.series = 11,
		.observers = 12,
		.has_recorded = 1,
		.first_ns = 1000,
		.last_ns = 1100,
		.period_min = 13,
		.period_max = 14,
		.corrupt = 15,
		.value_folded = 16,
		.windows_unanswerable = 17,
		.unanswerable_ns = 18,
		.resolution_finest_ns = 19,
		.resolution_coarsest_ns = 20,
	};
	answer->sides[1].completeness = (struct completeness){ .value = 42 };
	return answer;
}

static void check_equal(const struct answer *a, const struct answer *b)
{
	assert_int_equal(a->sides_count, b->sides_count);
	for (uint32_t i = 0; i < a->sides_count; i++) {
		CHECK(random_batches_equal(a->sides[i].batch, b->sides[i].batch));
		assert_memory_equal(&a->sides[i].completeness, &b->sides[i].completeness,
		        sizeof(struct completeness));
	}
}

static void random_answers_come_back_as_they_were(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		AUTO(answer) answer = answer_new(1 + seed % 2);
		AUTO(answer) decoded = NULL;
		AUTO_BUF bytes = { 0 };
		struct random random = { seed };

		print_message("seed %lu\n", seed);
		for (uint32_t side = 0; side < answer->sides_count; side++) {
			struct completeness *completeness = &answer->sides[side].completeness;

			random_batch(answer->sides[side].batch, seed + side * 100, seed,
			        (uint32_t)seed * 17 - 17);
			for (size_t i = 0; i < COUNT_OF(completeness->lost); i++)
				completeness->lost[i] = random_number(&random);
			completeness->value = random_number(&random);
			completeness->samples = random_number(&random);
			completeness->last_ns = UINT64_MAX;
			completeness->observers = UINT32_MAX;
			completeness->period_max = random_number(&random);
			completeness->corrupt = random_number(&random);
		}
		answer_encode(answer, &bytes);
		CHECK(!bytes.failed);
		struct reader from = reader_of(bytes.bytes, bytes.count);
		CHECK_OK(answer_decode(&from, &decoded));
		check_equal(answer, decoded);
	}
}

/* What tests/golden/answer_v2.hex describes: the same functions, and what was left out. */
static struct answer *example_parts(void)
{
	struct answer *answer = example_answer();
	for (uint32_t side = 0; side < 2; side++) {
		for (int part = 0; part < ANSWER_PARTS; part++) {
			struct answer_side *to = &answer->sides[side];
			if (side == 1 && part == ANSWER_CUT_CHILDREN)
				continue;
			CHECK_OK(answer_add_part(answer, side, (enum answer_part)part));
			CHECK_OK(batch_add_row(
			        to->parts[part], 0, part % 2, 50 + (uint64_t)part + side));
			CHECK_OK(batch_settle(to->parts[part]));
		}
	}
	answer->names_rewritten = 77;
	return answer;
}

static void check_equal_parts(const struct answer *a, const struct answer *b)
{
	check_equal(a, b);
	assert_int_equal(a->names_rewritten, b->names_rewritten);
	for (uint32_t side = 0; side < a->sides_count; side++) {
		for (int part = 0; part < ANSWER_PARTS; part++) {
			const struct batch *one = a->sides[side].parts[part];
			const struct batch *other = b->sides[side].parts[part];
			assert_int_equal(one != NULL, other != NULL);
			CHECK(!one || random_batches_equal(one, other));
		}
	}
}

static void the_bytes_of_version_2_stay_readable_for_ever(void **state)
{
	AUTO(answer) answer = example_parts();
	AUTO(answer) decoded = NULL;
	AUTO_BUF bytes = { 0 };
	AUTO_BUF golden = { 0 };

	answer_encode(answer, &bytes);
	golden_hex_check("tests/golden/answer_v2.hex", "answer", &bytes);
	golden_hex_read("tests/golden/answer_v2.hex", "answer", &golden);
	struct reader from = reader_of(golden.bytes, golden.count);
	CHECK_OK(answer_decode(&from, &decoded));
	check_equal_parts(answer, decoded);

	/* Cut anywhere, it is no answer. */
	for (size_t count = 0; count < golden.count; count++) {
		AUTO(answer) cut = NULL;
		from = reader_of(golden.bytes, count);
		CHECK(answer_decode(&from, &cut) == -EBADMSG);
	}
}

/* What tests/golden/answer_v1_folded.hex describes: fields that are written where they say
 * something. */
static void the_bytes_of_further_fields_stay_readable_for_ever(void **state)
{
	AUTO(answer) answer = example_answer();
	AUTO(answer) decoded = NULL;
	AUTO_BUF bytes = { 0 };
	answer->sides[0].completeness.samples_folded = 21;
	answer->sides[0].completeness.value_capped = 22;
	answer->sides[0].completeness.samples_capped = 23;
	answer->sides[0].completeness.corrupt_replaced = 24;
	answer->sides[1].completeness.value_capped = 25;
	answer_encode(answer, &bytes);
	golden_hex_check("tests/golden/answer_v1_folded.hex", "answer", &bytes);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	CHECK_OK(answer_decode(&from, &decoded));
	check_equal(answer, decoded);
}

static void the_bytes_of_version_1_stay_readable_for_ever(void **state)
{
	AUTO(answer) answer = example_answer();
	AUTO(answer) decoded = NULL;
	AUTO_BUF bytes = { 0 };
	AUTO_BUF golden = { 0 };

	answer_encode(answer, &bytes);
	golden_hex_check("tests/golden/answer_v1_levels.hex", "answer", &bytes);
	golden_hex_check("docs/formats/answer.md", "example", &bytes);

	golden_hex_read("tests/golden/answer_v1.hex", "answer", &golden);
	struct reader from = reader_of(golden.bytes, golden.count);
	CHECK_OK(answer_decode(&from, &decoded));
	/* That was written before there were rollups. */
	struct completeness *completeness = &answer->sides[0].completeness;
	completeness->value_folded = 0;
	completeness->windows_unanswerable = 0;
	completeness->unanswerable_ns = 0;
	completeness->resolution_finest_ns = 0;
	completeness->resolution_coarsest_ns = 0;
	check_equal(answer, decoded);
	assert_int_equal(decoded->sides[0].completeness.period_max, 14);
	assert_int_equal(decoded->sides[0].completeness.corrupt, 15);
	assert_int_equal(decoded->sides[0].completeness.lost[LOSS_LATE], 6);
}

/* An answer of one empty side, with a list of fields and of losses of the test's own. */
static void put_answer(const uint64_t *fields, uint64_t fields_count, const uint64_t *lost,
        uint64_t lost_count, struct buf *to)
{
	AUTO(answer) empty = answer_new(1);

	buf_put_varint(to, 1);
	buf_put_varint(to, 1);
	dict_encode(empty->dict, (struct dict_mark){ 0 }, to);
	buf_put_varint(to, fields_count);
	for (uint64_t i = 0; i < fields_count; i++)
		buf_put_varint(to, fields[i]);
	buf_put_varint(to, lost_count);
	for (uint64_t i = 0; i < lost_count; i++)
		buf_put_varint(to, lost[i]);
	batch_encode(empty->sides[0].batch, to);
}

static void the_bytes_of_version_3_stay_readable_for_ever(void **state)
{
	AUTO(answer) answer = example_answer();
	AUTO(answer) decoded = NULL;
	AUTO_BUF bytes = { 0 };
	struct completeness *b = &answer->sides[1].completeness;
	b->corrupt = 7;
	b->unreadable_count = 2;
	b->unreadable[0] = (struct unreadable){ 1000, 2000, "cart", "cpu", "detail chunk 3" };
	b->unreadable[1] = (struct unreadable){ 1500, 1500, "", "", "batch of stream 4" };
	answer_encode(answer, &bytes);
	golden_hex_check("tests/golden/answer_v3.hex", "answer", &bytes);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	CHECK_OK(answer_decode(&from, &decoded));
	const struct completeness *read = &decoded->sides[1].completeness;
	assert_int_equal(decoded->sides[0].completeness.unreadable_count, 0);
	assert_int_equal(read->unreadable_count, 2);
	assert_memory_equal(read->unreadable, b->unreadable, sizeof(b->unreadable));

	/* Cut anywhere, or with a zero in a text, it is no answer. */
	for (size_t count = 0; count < bytes.count; count++) {
		AUTO(answer) none = NULL;
		struct reader cut = reader_of(bytes.bytes, count);
		assert_int_equal(answer_decode(&cut, &none), -EBADMSG);
	}
	uint8_t *text = memmem(bytes.bytes, bytes.count, "detail", 6);
	assert_non_null(text);
	text[2] = 0;
	AUTO(answer) none = NULL;
	struct reader zero = reader_of(bytes.bytes, bytes.count);
	assert_int_equal(answer_decode(&zero, &none), -EBADMSG);
}

static void a_shorter_list_of_fields_leaves_zeroes_and_a_longer_one_is_skipped(void **state)
{
	uint64_t fields[40];
	uint64_t lost[12];

	for (uint64_t i = 0; i < COUNT_OF(fields); i++)
		fields[i] = 100 + i;
	for (uint64_t i = 0; i < COUNT_OF(lost); i++)
		lost[i] = 1000 + i;
	static const struct {
		uint64_t fields, lost;
		uint64_t value, period_max, lost_unnamed, lost_late;
	} cases[] = {
		{ 0, 0, 0, 0, 0, 0 },
		{ 1, 1, 100, 0, 1000, 0 },
		{ 15, 9, 100, 114, 1000, 1008 },
		/* Three reasons of a later version are missing samples without a name. */
		{ 40, 12, 100, 114, 1000 + 1009 + 1010 + 1011, 1008 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF bytes = { 0 };
		AUTO(answer) decoded = NULL;

		put_answer(fields, cases[i].fields, lost, cases[i].lost, &bytes);
		struct reader from = reader_of(bytes.bytes, bytes.count);
		CHECK_OK(answer_decode(&from, &decoded));
		const struct completeness *completeness = &decoded->sides[0].completeness;
		assert_int_equal(completeness->value, cases[i].value);
		assert_int_equal(completeness->period_max, cases[i].period_max);
		assert_int_equal(completeness->lost[0], cases[i].lost_unnamed);
		assert_int_equal(completeness->lost[LOSS_LATE], cases[i].lost_late);
	}
}

static void losses_of_unknown_reasons_saturate(void **state)
{
	const uint64_t lost[11] = { [0] = 5, [10] = UINT64_MAX };
	AUTO_BUF bytes = { 0 };
	AUTO(answer) decoded = NULL;

	put_answer(NULL, 0, lost, COUNT_OF(lost), &bytes);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	CHECK_OK(answer_decode(&from, &decoded));
	assert_true(decoded->sides[0].completeness.lost[0] == UINT64_MAX);
}

static void what_is_no_answer_is_refused(void **state)
{
	AUTO(answer) answer = example_answer();
	AUTO(answer) decoded = NULL;
	AUTO_BUF bytes = { 0 };
	uint64_t wide[8] = { [7] = UINT64_C(1) << 32 }; /* instances: 32 bits */

	answer_encode(answer, &bytes);
	for (size_t count = 0; count < bytes.count; count++) {
		struct reader from = reader_of(bytes.bytes, count);
		assert_int_equal(answer_decode(&from, &decoded), -EBADMSG);
	}
	buf_put_u8(&bytes, 0);
	struct reader longer = reader_of(bytes.bytes, bytes.count);
	assert_int_equal(answer_decode(&longer, &decoded), -EBADMSG);

	static const uint8_t heads[][2] = { { 0, 1 }, { 2, 1 }, { 1, 0 }, { 1, 3 } };
	for (size_t i = 0; i < COUNT_OF(heads); i++) {
		struct reader from = reader_of(bytes.bytes, bytes.count - 1);
		bytes.bytes[0] = heads[i][0];
		bytes.bytes[1] = heads[i][1];
		assert_int_equal(answer_decode(&from, &decoded), -EBADMSG);
	}

	AUTO_BUF too_wide = { 0 };
	put_answer(wide, COUNT_OF(wide), NULL, 0, &too_wide);
	struct reader from = reader_of(too_wide.bytes, too_wide.count);
	assert_int_equal(answer_decode(&from, &decoded), -EBADMSG);
	assert_null(decoded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_answers_come_back_as_they_were),
		cmocka_unit_test(the_bytes_of_version_1_stay_readable_for_ever),
		cmocka_unit_test(the_bytes_of_further_fields_stay_readable_for_ever),
		cmocka_unit_test(the_bytes_of_version_2_stay_readable_for_ever),
		cmocka_unit_test(the_bytes_of_version_3_stay_readable_for_ever),
		cmocka_unit_test(
		        a_shorter_list_of_fields_leaves_zeroes_and_a_longer_one_is_skipped),
		cmocka_unit_test(losses_of_unknown_reasons_saturate),
		cmocka_unit_test(what_is_no_answer_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
