/* row_model: what is written comes back, however often the chances have learned. */

#include "core/rng.h"
#include "profile/row_model.h"
#include "tests/lib/test.h"

#define ROWS 20000

struct seen {
	unsigned int width, place, value;
	uint32_t chain;
	uint32_t nodes;
};

static struct seen seen_draw(struct rng *rng)
{
	return (struct seen){
		.width = (unsigned int)(rng_below(rng, 3) ? rng_below(rng, 4)
		                                          : rng_below(rng, ROW_WIDTHS)),
		.place = rng_below(rng, 9) == 0,
		.value = rng_below(rng, 30) == 0,
		.chain = (uint32_t)((UINT64_C(1) << rng_below(rng, ROW_WIDTHS)) - 1),
		.nodes = 2 + (uint32_t)rng_below(rng, 5),
	};
}

static void put(struct row_model *model, struct range_writer *to, const struct seen *row)
{
	row_width_put(model, to, row->chain, row->width);
	row_chance_put(row_model_place(model, bits_width(row->chain), row->nodes), to, row->place);
	row_chance_put(row_model_value(model, bits_width(row->chain)), to, row->value);
	model->has_place = row->place;
	model->has_value = row->value;
}

static void check_get(struct row_model *model, struct range_reader *from, const struct seen *row)
{
	assert_int_equal(row_width_get(model, from, row->chain), row->width);
	assert_int_equal(
	        row_chance_get(row_model_place(model, bits_width(row->chain), row->nodes), from),
	        row->place);
	assert_int_equal(
	        row_chance_get(row_model_value(model, bits_width(row->chain)), from), row->value);
	model->has_place = row->place;
	model->has_value = row->value;
}

static void what_is_written_comes_back(void **state)
{
	static struct seen rows[ROWS];
	struct row_model model;
	struct rng rng;
	AUTO_BUF bytes = { 0 };
	rng_init(&rng, 7);
	row_model_init(&model);
	struct range_writer writer = range_writer_of(&bytes);
	for (uint32_t i = 0; i < ROWS; i++) {
		rows[i] = seen_draw(&rng);
		put(&model, &writer, &rows[i]);
	}
	range_end(&writer);
	CHECK(!bytes.failed);

	row_model_init(&model);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	struct range_reader reader = range_reader_of(&from);
	for (uint32_t i = 0; i < ROWS; i++)
		check_get(&model, &reader, &rows[i]);
	CHECK(range_is_at_end(&reader));
}

/* However sure it is, the other way stays possible. */
static void a_chance_never_becomes_certain(void **state)
{
	for (unsigned int bit = 0; bit < 2; bit++) {
		struct row_chance chance = { .chance = RANGE_CHANCE_EVEN };
		for (uint32_t i = 0; i < 1000; i++)
			row_chance_learn(&chance, bit);
		CHECK(chance.chance > 0);
		CHECK(bit ? chance.chance < 64 : chance.chance > UINT16_MAX - 64);
		AUTO_BUF bytes = { 0 };
		struct range_writer writer = range_writer_of(&bytes);
		range_put(&writer, chance.chance, !bit);
		range_end(&writer);
		struct reader from = reader_of(bytes.bytes, bytes.count);
		struct range_reader reader = range_reader_of(&from);
		assert_int_equal(range_get(&reader, chance.chance), !bit);
	}
}

/* Whatever came how often: each part keeps a place, and what always comes takes nearly all. */
static void no_part_becomes_empty(void **state)
{
	for (unsigned int always = 0; always < ROW_PARTS; always++) {
		struct row_model model;
		row_model_init(&model);
		for (uint32_t i = 0; i < 10000; i++)
			row_parts_learn(&model.far, i < 5000 ? i * 7 % ROW_PARTS : always);
		for (unsigned int part = 0; part < ROW_PARTS; part++) {
			unsigned int begin = model.far.begins[part];
			unsigned int end = row_parts_end(&model.far, part);
			CHECK(begin < end);
			assert_int_equal(row_parts_find(&model.far, begin), part);
			assert_int_equal(row_parts_find(&model.far, end - 1), part);
			CHECK((end - begin > 30000) == (part == always));
		}
		assert_int_equal(model.far.begins[0], 0);
	}
}

static void each_chain_is_of_a_kind(void **state)
{
	static struct row_model model;
	struct row_parts *last = &model.widths[ROW_KINDS - 1][0];
	CHECK(row_model_width(&model, 0) == &model.widths[0][0]);
	CHECK(row_model_width(&model, 1) == row_model_width(&model, 15));
	CHECK(row_model_width(&model, 4095) < row_model_width(&model, 4096));
	CHECK(row_model_width(&model, 4096) < row_model_width(&model, 5120));
	CHECK(row_model_width(&model, UINT32_MAX) == last);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_comes_back),
		cmocka_unit_test(a_chance_never_becomes_certain),
		cmocka_unit_test(no_part_becomes_empty),
		cmocka_unit_test(each_chain_is_of_a_kind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
