/*
 * Erasing that ends in the middle, wherever it is: what comes late for a window that is gone
 * already, while its run still speaks of it, is another window. It is neither hidden by the run nor
 * erased when that is erased again.
 */

#include <errno.h>

#include "storage/store_expire.h"
#include "tests/lib/fault.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_S 60
#define WINDOWS  4
#define END_NS   (WINDOWS * WINDOW_S * SECOND)

static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	return store_fixture_open_with(options);
}

static void append(struct store *store, struct source *source, uint32_t window, uint64_t seq)
{
	source_begin(source, window * WINDOW_S * SECOND, SECOND);
	CHECK_OK(batch_add_row(source->batch, source_series(source, "cart", "a", 1),
	        source_stack(source, "work"), 1));
	assert_int_equal(source_append(source, store, seq), WIRE_OK);
}

static void hide_all(struct store *store)
{
	struct store_expire_item items[WINDOWS];
	struct store_run run = { .id = 1 };
	struct store_expired expired;
	for (uint32_t i = 0; i < WINDOWS; i++)
		items[i] = (struct store_expire_item){
			.window = { 0, 0, i * WINDOW_S * SECOND, (i + 1) * WINDOW_S * SECOND },
			.unit = STORE_UNIT_NONE,
			.parts = STORE_PART_ALL,
		};
	CHECK_OK(store_hide(store, &run, items, WINDOWS, &expired));
	assert_int_equal(expired.windows[0], WINDOWS);
}

static int count_run(void *owner, const struct store_run_state *state)
{
	CHECK(state->is_erasing);
	++*(uint32_t *)owner;
	return 0;
}

static int count_unit(void *owner, const struct store_inventory_unit *unit)
{
	++*(uint32_t *)owner;
	return 0;
}

/* Is the run there, and nothing that it speaks of? */
static bool is_nearly_erased(struct store *store)
{
	uint32_t units = 0;
	uint32_t runs = 0;
	CHECK_OK(store_inventory(store, (struct store_inventory_options){ 0 }, count_unit, &units));
	if (units == 0)
		CHECK_OK(store_runs(store, count_run, &runs));
	return runs == 1;
}

static void what_comes_late_while_it_is_erased_stays(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_expired expired;
	uint64_t seq = 0;
	uint64_t late = 0;
	for (uint32_t i = 0; i < WINDOWS; i++)
		append(store, &source, i, ++seq);
	CHECK_OK(store_seal(store, END_NS));
	hide_all(store);
	for (uint32_t nth = 0;; nth++) {
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		int r = store_erase(store, 1, NULL, &expired);
		bool has_failed = fault_disarm();
		if (!has_failed)
			CHECK_OK(r);
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
		/* The number of what is gone is free but for the run. */
		if (late == 0 && !is_nearly_erased(store))
			continue;
		append(store, &source, 0, ++seq);
		CHECK_OK(store_seal(store, END_NS));
		assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), ++late);
	}
	CHECK(late > 1);
	for (int restart = 0; restart < 2; restart++) {
		assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), late);
		store_free(store);
		store = open_store(dir.path);
	}
	source_free(&source);
	store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_late_while_it_is_erased_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
