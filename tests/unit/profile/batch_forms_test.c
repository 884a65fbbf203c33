/*
 * The two forms of a batch's columns that the log has had, packed and coded: each comes back, also
 * later, and nothing else is taken. All tests but the last run for both: *state is the form.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "profile/batch.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/golden_hex.h"
#include "tests/unit/profile/packed_writer.h"
#include "tests/unit/profile/random_profile.h"

#define SEEDS 20
#define ROWS  100000
#define FORM_TEST(function, form)                                                                  \
	{                                                                                          \
		.name = #function " " #form, .test_func = (function),                              \
		.initial_state = (void *)&(form)                                                   \
	}

struct form {
	const char *name; /* of its example in docs/formats/batch.md */
	void (*encode)(const struct batch *batch, struct buf *scratch, struct buf *to);
	int (*decode)(struct batch *batch, uint32_t rows_max, struct reader *from);
	uint32_t allocations; /* of reading a few thousand rows, at least */
};

static int decode_packed(struct batch *batch, uint32_t rows_max, struct reader *from)
{
	AUTO_BUF scratch = { 0 };
	return batch_decode_packed(batch, rows_max, &scratch, from);
}

static const struct form packed = { "packed", packed_write, decode_packed, 4 };
static const struct form coded = { "coded", batch_encode_coded, batch_decode_coded, 3 };

static void write_form(const struct form *form, const struct batch *batch, struct buf *to)
{
	AUTO_BUF scratch = { 0 };
	form->encode(batch, &scratch, to);
	CHECK(!to->failed);
}

static int read_form(const struct form *form, const uint8_t *bytes, size_t count, uint32_t rows_max,
        struct batch *to)
{
	struct reader from = reader_of(bytes, count);
	return form->decode(to, rows_max, &from);
}

/* The interval is in neither form. */
static struct batch *batch_beside(const struct batch *batch)
{
	struct batch *beside = batch_new(batch->dict);
	CHECK(beside);
	beside->start_ns = batch->start_ns;
	beside->duration_ns = batch->duration_ns;
	return beside;
}

static void check_comes_back(
        const struct form *form, const struct batch *batch, const struct buf *bytes)
{
	AUTO(batch) back = batch_beside(batch);
	CHECK_OK(read_form(form, bytes->bytes, bytes->count, ROWS, back));
	assert_int_equal(back->rows_count, batch->rows_count);
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		CHECK(back->rows[i].series == batch->rows[i].series);
		CHECK(back->rows[i].node == batch->rows[i].node);
		CHECK(back->rows[i].value == batch->rows[i].value);
	}
	CHECK(random_batches_equal(batch, back));
}

static void a_batch_comes_back_also_when_the_dict_has_grown(void **state)
{
	const struct form *form = *state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		random_batch(batch, seed, seed, (uint32_t)seed * 40 - 40);
		AUTO_BUF bytes = { 0 };
		write_form(form, batch, &bytes);
		check_comes_back(form, batch, &bytes);

		/* The newest chain goes on, then others begin. */
		uint32_t node = dict_mark(dict).nodes - 1;
		uint32_t frame = random_frame(dict, seed, 100000);
		CHECK_OK(dict_node(dict, node, frame, &node));
		check_comes_back(form, batch, &bytes);
		AUTO(batch) more = batch_new(dict);
		random_batch(more, seed + SEEDS, seed, 300);
		check_comes_back(form, batch, &bytes);
	}
}

/* Every node of a dict whose chains are of one node, of some, and the newest. */
static void every_node_has_its_place(void **state)
{
	const struct form *form = *state;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	uint32_t series = random_series(dict, 1, 1);
	for (uint32_t i = 0; i < 300; i++) {
		uint32_t node = i % 7 ? i / 2 : DICT_NODE_ROOT;
		for (uint32_t j = 0; j <= i % 13; j++)
			CHECK_OK(dict_node(dict, node, random_frame(dict, 1, i), &node));
	}
	for (uint32_t nodes = dict_mark(dict).nodes, node = 0; node < nodes; node++)
		CHECK_OK(
		        batch_add_row(batch, series, node, node % 5 ? 1 : UINT64_MAX >> node % 60));
	CHECK_OK(batch_settle(batch));
	AUTO_BUF bytes = { 0 };
	write_form(form, batch, &bytes);
	check_comes_back(form, batch, &bytes);

	/* And where the dict had them taken back and given again. */
	struct dict_mark before = dict_mark(dict);
	uint32_t id, second;
	CHECK_OK(dict_node(dict, 3, random_frame(dict, 2, 5), &id));
	CHECK_OK(dict_node(dict, id, random_frame(dict, 2, 6), &id));
	dict_truncate(dict, before);
	check_comes_back(form, batch, &bytes);
	CHECK_OK(dict_node(dict, before.nodes - 1, random_frame(dict, 2, 7), &id));
	CHECK_OK(dict_node(dict, 5, random_frame(dict, 2, 8), &second));
	CHECK_OK(batch_add_row(batch, series, id, 1));
	CHECK_OK(batch_add_row(batch, series, second, 1));
	CHECK_OK(batch_settle(batch));
	buf_reset(&bytes);
	write_form(form, batch, &bytes);
	check_comes_back(form, batch, &bytes);
}

static void what_is_cut_or_longer_is_refused_and_leaves_nothing(void **state)
{
	const struct form *form = *state;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	AUTO_BUF bytes = { 0 };
	random_batch(batch, 4, 4, 60);
	write_form(form, batch, &bytes);
	AUTO(batch) back = batch_beside(batch);
	for (size_t count = 0; count < bytes.count; count++) {
		autofree uint8_t *cut = malloc(count + 1);
		memcpy(cut, bytes.bytes, count);
		CHECK(read_form(form, cut, count, ROWS, back) == -EBADMSG);
		assert_int_equal(back->rows_count, 0);
	}
	CHECK(read_form(form, bytes.bytes, bytes.count, batch->rows_count - 1, back) == -EBADMSG);
	CHECK_OK(read_form(form, bytes.bytes, bytes.count, batch->rows_count, back));
	batch_reset(back);
	buf_put_u8(&bytes, 0);
	CHECK(read_form(form, bytes.bytes, bytes.count, ROWS, back) == -EBADMSG);
}

static void a_flipped_bit_gives_no_rows_that_cannot_be(void **state)
{
	const struct form *form = *state;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	AUTO_BUF bytes = { 0 };
	random_batch(batch, 5, 5, 60);
	write_form(form, batch, &bytes);
	struct dict_mark mark = dict_mark(dict);
	uint32_t refused = 0;
	for (size_t bit = 0; bit < bytes.count * 8; bit++) {
		AUTO(batch) back = batch_beside(batch);
		bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		int r = read_form(form, bytes.bytes, bytes.count, ROWS, back);
		bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CHECK(r == 0 || r == -EBADMSG);
		refused += r < 0;
		for (uint32_t i = 0; i < back->rows_count; i++) {
			const struct row *row = &back->rows[i];
			CHECK(row->node < mark.nodes && row->series < mark.series &&
			        row->value > 0);
			CHECK(i == 0 || row[-1].series < row->series ||
			        (row[-1].series == row->series && row[-1].node < row->node));
		}
	}
	CHECK(refused > 0);
}

static void running_out_of_memory_leaves_no_rows(void **state)
{
	const struct form *form = *state;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	AUTO_BUF bytes = { 0 };
	random_batch(batch, 8, 8, 2000);
	write_form(form, batch, &bytes);
	uint32_t failures = 0;
	for (;; failures++) {
		AUTO(batch) back = batch_beside(batch);
		fault_arm(FAULT_ALLOC, failures, ENOMEM);
		int r = read_form(form, bytes.bytes, bytes.count, ROWS, back);
		if (!fault_disarm())
			break;
		CHECK(r == -ENOMEM);
		assert_int_equal(back->rows_count, 0);
	}
	CHECK(failures >= form->allocations);
}

/* What repeats takes next to nothing: rows of ends of neighbouring chains, with the value 1. */
static void what_can_be_foretold_takes_a_fraction_of_a_bit(void **state)
{
	const struct form *form = &coded;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	uint32_t series = random_series(dict, 1, 1);
	for (uint32_t i = 0; i < 4000; i++) {
		char name[32];
		uint32_t id, node;
		snprintf(name, sizeof(name), "f%u", i);
		struct frame frame = { .kind = FRAME_MANAGED };
		CHECK_OK(dict_cstring(dict, name, &frame.function));
		CHECK_OK(dict_frame(dict, &frame, &id));
		CHECK_OK(dict_node(dict, DICT_NODE_ROOT, id, &node));
		CHECK_OK(batch_add_row(batch, series, node, 1));
	}
	CHECK_OK(batch_settle(batch));
	AUTO_BUF bytes = { 0 };
	write_form(form, batch, &bytes);
	CHECK(bytes.count < 100);
	check_comes_back(form, batch, &bytes);
}

/* Two paths and four rows: docs/formats/batch.md. */
static void the_documented_example_is_what_is_written_and_read(void **state)
{
	const struct form *form = *state;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	uint32_t series = random_series(dict, 1, 1);
	uint32_t nodes[4];
	uint32_t node = DICT_NODE_ROOT;
	for (uint32_t i = 0; i < 3; i++) {
		CHECK_OK(dict_node(dict, node, random_frame(dict, 1, i), &node));
		nodes[i] = node;
	}
	CHECK_OK(dict_node(dict, nodes[0], random_frame(dict, 1, 9), &nodes[3]));
	for (uint32_t i = 0; i < 4; i++)
		CHECK_OK(batch_add_row(batch, series, nodes[i], i == 1 ? 41 : 1));
	CHECK_OK(batch_settle(batch));
	AUTO_BUF bytes = { 0 };
	write_form(form, batch, &bytes);
	golden_hex_check("docs/formats/batch.md", form->name, &bytes);
	check_comes_back(form, batch, &bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FORM_TEST(a_batch_comes_back_also_when_the_dict_has_grown, packed),
		FORM_TEST(every_node_has_its_place, packed),
		FORM_TEST(what_is_cut_or_longer_is_refused_and_leaves_nothing, packed),
		FORM_TEST(a_flipped_bit_gives_no_rows_that_cannot_be, packed),
		FORM_TEST(running_out_of_memory_leaves_no_rows, packed),
		FORM_TEST(the_documented_example_is_what_is_written_and_read, packed),
		FORM_TEST(a_batch_comes_back_also_when_the_dict_has_grown, coded),
		FORM_TEST(every_node_has_its_place, coded),
		FORM_TEST(what_is_cut_or_longer_is_refused_and_leaves_nothing, coded),
		FORM_TEST(a_flipped_bit_gives_no_rows_that_cannot_be, coded),
		FORM_TEST(running_out_of_memory_leaves_no_rows, coded),
		FORM_TEST(the_documented_example_is_what_is_written_and_read, coded),
		cmocka_unit_test(what_can_be_foretold_takes_a_fraction_of_a_bit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
