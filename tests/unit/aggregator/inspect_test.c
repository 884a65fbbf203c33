/*
 * series over a store that is sealed and rolled up: who had something in the range and nobody else,
 * from the finest windows that are there; and everybody of an hour where only the hour is.
 */

#include "tests/lib/test.h"

#include <string.h>

#include "aggregator/inspect.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_S 60
#define WINDOWS  4

static const char *const services[] = { "cart", "shop" };

/* Every window has instances of its own, one of each service. */
static struct store *store_of_an_hour(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	struct store *store = store_fixture_open_with(options);
	struct source source = source_new(store, 1);
	for (uint32_t window = 0; window < WINDOWS; window++) {
		char instance[8];
		snprintf(instance, sizeof(instance), "i%u", window);
		source_begin(&source, (window * WINDOW_S + 10) * SECOND, 10 * SECOND);
		for (size_t i = 0; i < COUNT_OF(services); i++)
			CHECK_OK(batch_add_row(source.batch,
			        source_series(&source, services[i], instance, 1),
			        source_stack(&source, "work"), 1));
		assert_int_equal(source_append(&source, store, window + 1), WIRE_OK);
	}
	source_free(&source);
	CHECK_OK(store_seal(store, UINT64_C(86400) * SECOND));
	CHECK_OK(store_roll(store, UINT64_C(86400) * SECOND));
	return store;
}

/* How many series of the service the answer for [from_s, to_s) has, and whether this one. */
static uint32_t series_of(struct store *store, const char *service, uint64_t from_s, uint64_t to_s,
        const char *instance, bool *ret_has)
{
	char selector[64], label[64], error[256] = "";
	bool cancelled = false;
	uint32_t count = 0;
	snprintf(selector, sizeof(selector), "cpu{service=\"%s\"}", service);
	snprintf(label, sizeof(label), "\"instance\":\"%s\"", instance);
	struct wire_query query = { .question = WIRE_ASK_SERIES, .sides_count = 1 };
	query.sides[0] = (struct wire_query_side){
		.selector = { .bytes = selector, .count = (uint32_t)strlen(selector) },
		.from_ns = from_s * SECOND,
		.to_ns = to_s * SECOND,
	};
	AUTO_BUF json = { 0 };
	if (inspect_series(store, &query, &cancelled, &json, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	buf_put(&json, "", 1);
	assert_false(json.failed);
	const char *text = (const char *)json.bytes;
	*ret_has = strstr(text, label);
	while ((text = strstr(text, "\"first_ns\""))) {
		text++;
		count++;
	}
	return count;
}

static void expect(struct store *store, const char *service, uint64_t from_s, uint64_t to_s,
        uint32_t count, const char *instance)
{
	bool has;
	uint32_t got = series_of(store, service, from_s, to_s, instance, &has);
	if (got != count || has != (count > 0))
		fail_msg("%s in [%d, %d): %u series, not %u; %s is %sthere", service, (int)from_s,
		        (int)to_s, got, count, instance, has ? "" : "not ");
}

struct wanted {
	const char *service;
	uint32_t level;
	uint64_t from_ns;
	struct store_expire_item item;
};

static int find_unit(void *owner, const struct store_inventory_unit *unit)
{
	struct wanted *wanted = owner;
	if (unit->window.level == wanted->level && unit->window.from_ns == wanted->from_ns &&
	        strcmp(unit->service, wanted->service) == 0)
		wanted->item = (struct store_expire_item){ unit->window, unit->unit,
			STORE_PART_ALL };
	return 0;
}

/* Hides parts of what a service has in a window. */
static void hide(struct store *store, uint64_t run_id, const char *service, uint32_t level,
        uint32_t window, uint32_t parts)
{
	struct wanted wanted = { service, level, window * WINDOW_S * SECOND, { .parts = 0 } };
	struct store_run run = { .id = run_id, .hidden_ns = 5, .erase_ns = 6, .note = "a test" };
	struct store_expired expired;
	CHECK_OK(store_inventory(store, (struct store_inventory_options){ 0 }, find_unit, &wanted));
	assert_int_not_equal(wanted.item.parts, 0);
	wanted.item.parts = parts;
	CHECK_OK(store_hide(store, &run, &wanted.item, 1, &expired));
}

static void a_short_range_has_only_who_was_there(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_of_an_hour(dir.path);
	expect(store, "cart", 0, 86400, WINDOWS, "i3");
	expect(store, "cart", 60, 120, 1, "i1");
	expect(store, "cart", 70, 71, 1, "i1");
	expect(store, "cart", 90, 100, 0, "i1"); /* nothing began then */
	expect(store, "cart", 300, 600, 0, "i3");
}

static void what_is_left_tells_as_well_as_it_can(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_of_an_hour(dir.path);

	/* Its rows are gone: all of the window, and of no other. */
	hide(store, 1, "cart", 0, 1, STORE_PART_DETAIL);
	expect(store, "cart", 90, 100, 1, "i1");
	expect(store, "cart", 120, 180, 1, "i2");
	expect(store, "shop", 90, 100, 0, "i1");

	/* The window is gone for one service: the hour knows who was in it, not when. */
	hide(store, 2, "cart", 0, 2, STORE_PART_ALL);
	expect(store, "cart", 120, 180, WINDOWS, "i2");
	expect(store, "cart", 60, 120, 1, "i1");
	expect(store, "shop", 120, 180, 1, "i2");

	/* And once the window is back, who was in that. */
	struct store_expired expired;
	CHECK_OK(store_undo(store, 2, &expired));
	CHECK_OK(store_roll(store, UINT64_C(86400) * SECOND));
	expect(store, "cart", 120, 180, 1, "i2");
	expect(store, "cart", 0, 86400, WINDOWS, "i0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_short_range_has_only_who_was_there),
		cmocka_unit_test(what_is_left_tells_as_well_as_it_can),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
