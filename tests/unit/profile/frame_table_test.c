/* frame_table: whatever a frame holds comes back, and what is taken back leaves the others. */

#include "core/rng.h"
#include "profile/frame_table.h"
#include "tests/lib/test.h"

#define FRAMES 2000

/* What the agent or a file sends most. */
static const struct frame usual = {
	.kind = FRAME_MANAGED,
	.flags = FRAME_INLINED,
	.module = 7,
	.function = 11,
	.system_name = 11,
	.file = 13,
	.address = 0x7fffdeadbeef,
	.line = 120,
	.column = 9,
	.start_line = 100,
};

static void check_equal(struct frame a, struct frame b)
{
	assert_int_equal(a.kind, b.kind);
	assert_int_equal(a.flags, b.flags);
	assert_int_equal(a.module, b.module);
	assert_int_equal(a.function, b.function);
	assert_int_equal(a.system_name, b.system_name);
	assert_int_equal(a.file, b.file);
	assert_int_equal(a.address, b.address);
	assert_int_equal(a.line, b.line);
	assert_int_equal(a.column, b.column);
	assert_int_equal(a.start_line, b.start_line);
}

static bool is_wide(struct frame frame)
{
	struct frame_table table = { 0 };
	assert_int_equal(frame_table_put(&table, 0, &frame), 0);
	check_equal(frame_table_get(&table, 0), frame);
	bool is = table.wide_count == 1;
	frame_table_fini(&table);
	return is;
}

static void every_field_has_a_last_value_that_fits(void **state)
{
	struct frame frame = usual;
	assert_false(is_wide(frame));
	frame.address = (UINT64_C(1) << 48) - 1;
	assert_false(is_wide(frame));
	frame.address++;
	assert_true(is_wide(frame));
	frame = usual;
	frame.module = (1u << 20) - 1;
	assert_false(is_wide(frame));
	frame.module++;
	assert_true(is_wide(frame));
	frame = usual;
	frame.column = (1 << 14) - 1;
	assert_false(is_wide(frame));
	frame.column++;
	assert_true(is_wide(frame));
	frame = usual;
	frame.line = (1 << 24) - 1;
	frame.start_line = frame.line - (FRAME_NO_START_LINE - 1);
	assert_false(is_wide(frame));
	frame.start_line--;
	assert_true(is_wide(frame));
	frame.start_line = frame.line + 1;
	assert_true(is_wide(frame));
	frame.line++;
	assert_true(is_wide(frame));
	frame = usual;
	frame.function = frame.system_name = frame.file = UINT32_MAX - 1;
	assert_false(is_wide(frame));
	frame.system_name--;
	assert_true(is_wide(frame));
}

static void an_absent_name_or_line_is_not_one(void **state)
{
	struct frame frame = { .kind = FRAME_NATIVE, .address = 0x1040 };
	assert_false(is_wide(frame));
	frame.line = frame.start_line = 1;
	assert_false(is_wide(frame));
	frame = (struct frame){ .kind = FRAME_TRUNCATED };
	assert_false(is_wide(frame));
	frame.system_name = 3; /* of no function */
	assert_true(is_wide(frame));
	frame = (struct frame){ .kind = FRAME_KERNEL, .line = 70000, .function = 4 };
	assert_false(is_wide(frame));
	frame.start_line = 1;
	assert_true(is_wide(frame));
	frame.line = frame.start_line = -1;
	assert_true(is_wide(frame));
	frame.line = INT64_MIN;
	frame.start_line = INT64_MAX;
	frame.column = INT64_MIN;
	assert_true(is_wide(frame));
}

/* Every third is out of the ordinary in one way or another. */
static struct frame frame_draw(struct rng *rng)
{
	struct frame frame = usual;
	frame.kind = (uint8_t)(FRAME_NATIVE + rng_below(rng, 4));
	frame.flags = (uint8_t)rng_below(rng, 4);
	frame.function = (uint32_t)rng_below(rng, 1000);
	frame.system_name = rng_below(rng, 2) ? frame.function : 0;
	frame.line = (int64_t)rng_below(rng, 1u << 24);
	frame.start_line = frame.line - (int64_t)rng_below(rng, 1000);
	switch (rng_below(rng, 12)) {
	case 0:
		frame.address = rng_u64(rng);
		break;
	case 1:
		frame.line = (int64_t)rng_u64(rng);
		break;
	case 2:
		frame.start_line = (int64_t)rng_u64(rng);
		break;
	case 3:
		frame.system_name = (uint32_t)rng_u64(rng);
		break;
	default:
		break;
	}
	return frame;
}

static void what_is_taken_back_leaves_the_others(void **state)
{
	static struct frame frames[FRAMES];
	struct frame_table table = { 0 };
	struct rng rng;
	uint32_t count = 0;
	rng_init(&rng, 5);
	for (int round = 0; round < 40; round++) {
		while (count < FRAMES && rng_below(&rng, 200) > 0) {
			frames[count] = frame_draw(&rng);
			assert_int_equal(frame_table_put(&table, count, &frames[count]), 0);
			count++;
		}
		uint32_t left = (uint32_t)rng_below(&rng, count + 1);
		frame_table_truncate(&table, count, left);
		count = left;
		uint32_t wide = 0;
		for (uint32_t i = 0; i < count; i++) {
			check_equal(frame_table_get(&table, i), frames[i]);
			wide += is_wide(frames[i]);
		}
		assert_int_equal(table.wide_count, wide);
	}
	assert_true(frame_table_memory(&table) >= table.capacity * sizeof(struct packed_frame));
	frame_table_fini(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_has_a_last_value_that_fits),
		cmocka_unit_test(an_absent_name_or_line_is_not_one),
		cmocka_unit_test(what_is_taken_back_leaves_the_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
