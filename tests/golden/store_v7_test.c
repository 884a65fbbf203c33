/*
 * The bytes of a folder whose dictionary has packed deltas with their text apart, and whose batches
 * are coded (docs/formats/store.md, dict.md and batch.md), fixed in tests/golden/store_v7.txt:
 * stacks of one build of a program, a few that are not worth packing, and the stacks of another
 * build; store_v6.txt, the same as a writer of format 6 left it, with text in its deltas; and
 * store_v5.txt, of format 5, with batches that are packed. PROFLEET_GOLDEN=write writes the first
 * anew, which is right only together with a new version number.
 */

#include "tests/golden/store_golden.h"

#define GOLDEN        "tests/golden/store_v7.txt"
#define GOLDEN_INLINE "tests/golden/store_v6.txt"
#define GOLDEN_PACKED "tests/golden/store_v5.txt"
#define STACKS        30

/* A frame whose function all builds have, somewhere else in each. */
static uint32_t built_frame(struct source *source, uint32_t build, uint32_t number)
{
	char text[32];
	uint32_t id;
	struct module module = { .name = source_string(source, "shop") };
	struct frame frame = { .kind = FRAME_NATIVE, .line = 10 * number };
	snprintf(text, sizeof(text), "b%u", build);
	module.build_id = source_string(source, text);
	CHECK_OK(dict_module(source->dict, &module, &frame.module));
	snprintf(text, sizeof(text), "function_%u", number);
	frame.function = source_string(source, text);
	frame.file = source_string(source, number % 2 ? "odd.c" : "even.c");
	frame.address = 0x1000 + 0x40 * number + build;
	CHECK_OK(dict_frame(source->dict, &frame, &id));
	return id;
}

static void append_stacks(
        struct source *source, struct store *store, uint64_t seq, uint32_t build, uint32_t stacks)
{
	uint32_t cart = source_series(source, "cart", "a", 20408163);
	source_begin(source, 600 * SECOND + seq * 10 * SECOND, 10 * SECOND);
	for (uint32_t i = 0; i < stacks; i++) {
		uint32_t node;
		uint32_t frames[] = { built_frame(source, build, 40 + i),
			built_frame(source, build, i % 7), built_frame(source, build, 30 + i % 3) };
		CHECK_OK(dict_stack(source->dict, frames, COUNT_OF(frames), &node));
		CHECK_OK(batch_add_row(source->batch, cart, node, i + 1));
	}
	CHECK_OK(batch_add_row(source->batch, cart, source_stack(source, "idle"), 1));
	assert_int_equal(source_append(source, store, seq), WIRE_OK);
}

static void fill_store(const char *path)
{
	struct filling filling;
	filling_init(&filling, path);
	filling_open(&filling);
	append_stacks(&filling.source, filling.store, 1, 1, STACKS * 2);
	append_stacks(&filling.source, filling.store, 2, 2, STACKS / 3);
	/* The next delta is the same from a store that was opened again. */
	store_free(filling.store);
	filling.store = store_fixture_open_with(filling.options);
	append_stacks(&filling.source, filling.store, 3, 2, STACKS * 2);
	filling_end(&filling);
}

static void a_store_writes_these_bytes(void **state)
{
	TEST_DIR(dir);
	fill_store(dir.path);
	check_dump(dir.path, GOLDEN);
}

static uint64_t stacks_value(uint64_t stacks)
{
	return (stacks * (stacks + 1) / 2 + 1) * UINT64_C(20408163);
}

static void check_store(const char *path)
{
	AUTO(store) store = store_fixture_open(path);
	assert_int_equal(store_fixture_total(store, "cpu", 0, UINT64_MAX),
	        2 * stacks_value(STACKS * 2) + stacks_value(STACKS / 3));
	struct store_sum sum = store_fixture_sum(store, "cpu", 0, UINT64_MAX);
	assert_int_equal(sum.completeness.corrupt, 0);
	/* Of two builds, and the one that is of none. */
	assert_int_equal(sum.parts[0].rows_count, 4 * STACKS + 1);
	store_sum_fini(&sum);
}

static void these_bytes_are_read_as_the_store_they_were(void **state)
{
	TEST_DIR(dir);
	restore(GOLDEN, dir.path);
	check_store(dir.path);
}

/* And goes on: what is added has its text apart. */
static void text_in_deltas_is_read_as_well(void **state)
{
	TEST_DIR(dir);
	restore(GOLDEN_INLINE, dir.path);
	check_store(dir.path);
	struct store *store = store_fixture_open(dir.path);
	struct source source = source_new(store, 2);
	append_stacks(&source, store, 1, 3, STACKS * 2);
	source_free(&source);
	store_free(store);
	store = store_fixture_open(dir.path);
	assert_int_equal(store_fixture_total(store, "cpu", 0, UINT64_MAX),
	        3 * stacks_value(STACKS * 2) + stacks_value(STACKS / 3));
	store_free(store);
}

static void packed_batches_are_read_and_sealed_as_well(void **state)
{
	TEST_DIR(dir);
	restore(GOLDEN_PACKED, dir.path);
	check_store(dir.path);
	struct store *store = store_fixture_open(dir.path);
	CHECK_OK(store_seal(store, UINT64_MAX));
	store_free(store);
	check_store(dir.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_store_writes_these_bytes),
		cmocka_unit_test(these_bytes_are_read_as_the_store_they_were),
		cmocka_unit_test(text_in_deltas_is_read_as_well),
		cmocka_unit_test(packed_batches_are_read_and_sealed_as_well),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
