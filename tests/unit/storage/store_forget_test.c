/*
 * Deletion on request beside what is held, of tenants by a matcher, and what is said of it: what
 * is not sealed yet is held as well, whatever came between the look and the deed.
 */

#include "storage/store_expire.h"
#include "tests/unit/storage/raw_files.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_NS (600 * SECOND)
#define FIRST_NS  (UINT64_C(1700000400) * SECOND) /* a whole ten minutes */
#define ROWS      20

struct world {
	struct test_dir dir;
	struct store *store;
	uint64_t seq;
};

static struct world world_new(void)
{
	struct world world = { .dir = test_dir_new() };
	world.store = store_fixture_open(world.dir.path);
	return world;
}

static void world_free(struct world *world)
{
	store_free(world->store);
	test_dir_remove(&world->dir);
}

/* One batch of a tenant in the window of this number: a series of cart and one of web. */
static void put(struct world *world, const char *tenant, uint32_t window)
{
	struct source source = source_new(world->store, *tenant ? 2 : 1);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	uint32_t web = source_series(&source, "web", "b", 1);
	source.stream.tenant = tenant;
	source_begin(&source, FIRST_NS + window * WINDOW_NS, 10 * SECOND);
	for (uint32_t i = 0; i < ROWS; i++) {
		char function[32];
		snprintf(function, sizeof(function), "f%u", i);
		uint32_t node = source_stack(&source, function);
		CHECK_OK(batch_add_row(source.batch, cart, node, 1));
		CHECK_OK(batch_add_row(source.batch, web, node, 1));
	}
	CHECK_OK(batch_add_coverage(source.batch, cart, 10 * SECOND));
	assert_int_equal(source_append(&source, world->store, ++world->seq), WIRE_OK);
	source_free(&source);
}

static uint64_t total(struct world *world, const char *selector)
{
	return store_fixture_total(world->store, selector, 0, UINT64_MAX);
}

/* A hold of one service over the windows that overlap a time. */
struct held {
	const char *service;
	uint64_t from_ns, to_ns;
};

static bool is_held(void *owner, const char *tenant, const struct dict *dict, uint32_t series,
        uint64_t from_ns, uint64_t to_ns)
{
	const struct held *held = owner;
	uint32_t name = dict_find_string(dict, "service", 7);
	(void)tenant;
	return from_ns < held->to_ns && held->from_ns < to_ns &&
	       strcmp(dict_text(dict, dict_label_value(dict, series, name)), held->service) == 0;
}

static struct store_forgotten forget(
        struct world *world, const char *text, struct held *held, bool is_dry_run)
{
	AUTO(selector) selector = NULL;
	char error[256];
	struct store_forgotten forgotten = { 0 };
	CHECK_OK(selector_parse(text, &selector, error, sizeof(error)));
	struct store_forget_options options = { .selector = selector,
		.to_ns = UINT64_MAX,
		.is_held = held ? is_held : NULL,
		.held_owner = held,
		.is_dry_run = is_dry_run };
	CHECK_OK(store_forget(world->store, &options, &forgotten));
	return forgotten;
}

static void what_is_open_and_held_stays_and_is_counted(void **state)
{
	struct world world = world_new();
	struct held held = { "cart", FIRST_NS + WINDOW_NS, FIRST_NS + 2 * WINDOW_NS };
	put(&world, "", 0);
	put(&world, "", 1);

	struct store_forgotten would = forget(&world, "{service=~\".+\"}", &held, true);
	assert_int_equal(would.open_rows, 3 * ROWS);
	assert_int_equal(would.open_rows_held, ROWS);
	assert_int_equal(would.generations, 1);
	assert_int_equal(total(&world, "{}"), 4 * ROWS);

	struct store_forgotten gone = forget(&world, "{service=~\".+\"}", &held, false);
	assert_int_equal(gone.open_rows, 3 * ROWS);
	assert_int_equal(gone.open_rows_held, ROWS);
	assert_int_equal(total(&world, "{service=\"cart\"}"), ROWS);
	assert_int_equal(total(&world, "{service=\"web\"}"), 0);
	world_free(&world);
}

static void what_is_sealed_and_held_stays_and_is_counted(void **state)
{
	struct world world = world_new();
	struct held held = { "cart", FIRST_NS + WINDOW_NS, FIRST_NS + 2 * WINDOW_NS };
	put(&world, "", 0);
	put(&world, "", 1);
	CHECK_OK(store_seal(world.store, FIRST_NS + 9 * WINDOW_NS));
	struct store_forgotten gone = forget(&world, "{service=\"cart\"}", &held, false);
	assert_int_equal(gone.units_held, 1);
	assert_int_equal(gone.sealed.units[0], 1);
	assert_int_equal(gone.sealed.rows, ROWS);
	assert_int_equal(total(&world, "{service=\"cart\"}"), ROWS);
	assert_int_equal(total(&world, "{service=\"web\"}"), 2 * ROWS);
	world_free(&world);
}

static int add_open_bytes(void *owner, const struct store_inventory_unit *unit)
{
	*(uint64_t *)owner += unit->is_open ? unit->bytes_detail : 0;
	return 0;
}

static uint64_t open_bytes(const struct world *world)
{
	uint64_t bytes = 0;
	CHECK_OK(store_inventory(world->store,
	        (struct store_inventory_options){ .wants_open = true }, add_open_bytes, &bytes));
	return bytes;
}

/* All that a tenant has would go by its keys; what is held of it must not. */
static void a_whole_tenant_goes_but_for_what_is_held(void **state)
{
	struct world world = world_new();
	struct held held = { "cart", 0, UINT64_MAX };
	put(&world, "acme", 0);
	struct store_forget_options options = {
		.tenant = "acme", .to_ns = UINT64_MAX, .is_held = is_held, .held_owner = &held
	};
	struct store_forgotten gone = { 0 };
	CHECK_OK(store_forget(world.store, &options, &gone));
	assert_int_equal(gone.open_rows, ROWS);
	assert_int_equal(total(&world, "{}"), ROWS);
	options.is_held = NULL;
	uint64_t left = open_bytes(&world);
	CHECK(left > 0);
	CHECK_OK(store_forget(world.store, &options, &gone));
	assert_int_equal(gone.open_bytes, left);
	assert_int_equal(open_bytes(&world), 0);
	assert_int_equal(total(&world, "{}"), 0);
	world_free(&world);
}

static void a_matcher_of_the_tenant_tells_tenants_apart(void **state)
{
	struct world world = world_new();
	put(&world, "", 0);
	put(&world, "acme", 0);
	put(&world, "acme", 1);
	CHECK_OK(store_seal(world.store, FIRST_NS + WINDOW_NS));
	struct store_forgotten gone = forget(
	        &world, "{tenant=\"acme\",service=\"cart\"}", NULL, false);
	assert_int_equal(gone.sealed.rows, ROWS);
	assert_int_equal(gone.open_rows, ROWS);
	assert_int_equal(total(&world, "{service=\"cart\"}"), ROWS);
	assert_int_equal(total(&world, "{service=\"web\"}"), 3 * ROWS);
	world_free(&world);
}

static int hide_detail_of_cart(void *owner, const struct store_inventory_unit *unit)
{
	struct store_expire_item *item = owner;
	if (unit->window.from_ns == FIRST_NS && strcmp(unit->service, "cart") == 0)
		*item = (struct store_expire_item){ unit->window, unit->unit, STORE_PART_DETAIL };
	return 0;
}

/* What is announced is what goes: rows that policies have hidden or erased are no longer there. */
static void rows_that_are_gone_are_not_announced(void **state)
{
	struct world world = world_new();
	struct store_expire_item item;
	struct store_run run = { .id = 1, .hidden_ns = 5, .erase_ns = 6, .note = "detail" };
	struct store_expired hidden;
	put(&world, "", 0);
	put(&world, "", 1);
	CHECK_OK(store_seal(world.store, FIRST_NS + 9 * WINDOW_NS));
	assert_int_equal(forget(&world, "{service=\"cart\"}", NULL, true).sealed.rows, 2 * ROWS);
	CHECK_OK(store_inventory(
	        world.store, (struct store_inventory_options){ 0 }, hide_detail_of_cart, &item));
	CHECK_OK(store_hide(world.store, &run, &item, 1, &hidden));
	assert_int_equal(hidden.rows, ROWS);

	struct store_forgotten would = forget(&world, "{service=\"cart\"}", NULL, true);
	assert_int_equal(would.sealed.rows, ROWS);
	CHECK_OK(store_erase(world.store, 1, NULL, &hidden));
	would = forget(&world, "{service=\"cart\"}", NULL, true);
	assert_int_equal(would.sealed.rows, ROWS);
	struct store_forgotten gone = forget(&world, "{service=\"cart\"}", NULL, false);
	assert_int_equal(gone.sealed.rows, would.sealed.rows);
	assert_int_equal(gone.sealed.units[0], would.sealed.units[0]);
	assert_int_equal(gone.sealed.bytes_detail, would.sealed.bytes_detail);
	world_free(&world);
}

static uint32_t count_raw(const char *folder, const char *word)
{
	AUTO_BUF files = { 0 };
	raw_files_read(folder, &files);
	return raw_files_count(&files, word, strlen(word));
}

static void put_zebra(struct store *store, uint64_t start_ns)
{
	struct source source = source_new(store, 7);
	uint32_t series = source_series(&source, "zebra-of-grevy", "zebra-1", 1);
	source_begin(&source, start_ns, 10 * SECOND);
	for (uint32_t i = 0; i < ROWS; i++) {
		char function[32];
		snprintf(function, sizeof(function), "zebra_runs_%u", i);
		CHECK_OK(batch_add_row(source.batch, series, source_stack(&source, function), 1));
	}
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	source_free(&source);
}

/*
 * Sealed, open and in the dictionary: when the generation that has the names has nothing else left,
 * not a byte of them is in any file.
 */
static void nothing_of_it_is_in_the_files_when_its_generation_is_gone(void **state)
{
	struct world world = { .dir = test_dir_new() };
	struct clock_virtual clock;
	clock_virtual_init(&clock, FIRST_NS);
	struct store_options options = store_fixture_options(world.dir.path);
	options.clock = &clock.clock;
	options.generation_ns = 2 * WINDOW_NS;
	world.store = store_fixture_open_with(options);
	put_zebra(world.store, FIRST_NS);
	clock_virtual_advance(&clock, 3 * WINDOW_NS);
	put(&world, "", 3); /* begins the next generation */
	CHECK_OK(store_seal(world.store, FIRST_NS + WINDOW_NS));
	assert_true(count_raw(world.dir.path, "zebra") > 0);
	assert_int_equal(total(&world, "{service=\"zebra-of-grevy\"}"), ROWS);

	struct store_forgotten gone = forget(&world, "{service=~\"zebra.*\"}", NULL, false);
	assert_int_equal(gone.sealed.rows, ROWS);
	assert_int_equal(gone.generations, 1);
	assert_int_equal(total(&world, "{service=\"zebra-of-grevy\"}"), 0);
	CHECK_OK(store_collect(world.store));
	CHECK_OK(store_flush(world.store));
	struct store_size size;
	CHECK_OK(store_size(world.store, &size));
	assert_int_equal(size.generations, 1);
	store_free(world.store);
	assert_int_equal(count_raw(world.dir.path, "zebra"), 0);
	world.store = store_fixture_open_with(options);
	assert_int_equal(total(&world, "{}"), 2 * ROWS);
	assert_int_equal(count_raw(world.dir.path, "zebra"), 0);
	world_free(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_open_and_held_stays_and_is_counted),
		cmocka_unit_test(what_is_sealed_and_held_stays_and_is_counted),
		cmocka_unit_test(a_whole_tenant_goes_but_for_what_is_held),
		cmocka_unit_test(a_matcher_of_the_tenant_tells_tenants_apart),
		cmocka_unit_test(rows_that_are_gone_are_not_announced),
		cmocka_unit_test(nothing_of_it_is_in_the_files_when_its_generation_is_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
