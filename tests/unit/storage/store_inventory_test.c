/*
 * An inventory of a range has the windows that overlap it, sealed, rolled up or open, and of those
 * that only touch it at an end none.
 */

#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW  (60 * SECOND)
#define HOUR    (2 * WINDOW) /* of these tests */
#define FIRST   (4 * HOUR)
#define WINDOWS 6
#define SEALED  4 /* of these; the others are open */

struct seen {
	uint64_t from_ns;
	uint64_t to_ns;
	uint32_t count;
	uint32_t outside;
};

static int count_unit(void *owner, const struct store_inventory_unit *unit)
{
	struct seen *seen = owner;
	bool overlaps = unit->window.from_ns < seen->to_ns && unit->window.to_ns > seen->from_ns;
	seen->count++;
	seen->outside += !overlaps;
	return 0;
}

static uint32_t overlapping(uint64_t length_ns, uint32_t count, uint64_t from_ns, uint64_t to_ns)
{
	uint32_t found = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t at_ns = FIRST + i * length_ns;
		found += at_ns < to_ns && at_ns + length_ns > from_ns;
	}
	return found;
}

static void fill(struct store *store)
{
	struct source source = source_new(store, 1);
	for (uint32_t i = 0; i < WINDOWS; i++) {
		source_begin(&source, FIRST + i * WINDOW, SECOND);
		CHECK_OK(batch_add_row(source.batch, source_series(&source, "cart", "i", 1),
		        source_stack(&source, "main"), 1));
		assert_int_equal(source_append(&source, store, i + 1), WIRE_OK);
	}
	source_free(&source);
	CHECK_OK(store_seal(store, FIRST + SEALED * WINDOW));
	CHECK_OK(store_roll(store, FIRST + SEALED * WINDOW));
}

static void a_range_has_what_overlaps_it(void **state)
{
	TEST_DIR(dir);
	struct store_options options = store_fixture_options(dir.path);
	options.window_ns = WINDOW;
	options.roll_ns[0] = HOUR;
	options.roll_ns[1] = 64 * HOUR;
	AUTO(store) store = store_fixture_open_with(options);
	fill(store);
	for (uint64_t from = 0; from <= 2 * (WINDOWS + 1); from++) {
		for (uint64_t to = from + 1; to <= 2 * (WINDOWS + 1) + 1; to++) {
			struct seen seen = {
				.from_ns = FIRST - WINDOW / 2 + from * WINDOW / 2,
				.to_ns = FIRST - WINDOW / 2 + to * WINDOW / 2,
			};
			CHECK_OK(store_inventory(store,
			        (struct store_inventory_options){
			                .from_ns = seen.from_ns,
			                .to_ns = seen.to_ns,
			                .wants_open = true,
			        },
			        count_unit, &seen));
			assert_int_equal(seen.outside, 0);
			assert_int_equal(seen.count,
			        overlapping(WINDOW, WINDOWS, seen.from_ns, seen.to_ns) +
			                overlapping(HOUR, SEALED / 2, seen.from_ns, seen.to_ns));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_has_what_overlaps_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
