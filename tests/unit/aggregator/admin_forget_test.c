/*
 * Forgetting as an operator asks for it: when it is done, at once or by the keeper after the delay,
 * what was forgotten is in none of the store's files, also where it was not sealed yet and lies in
 * the log and beside what stays.
 */

#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "aggregator/admin_call.h"
#include "aggregator/keeper_work.h"
#include "tests/unit/storage/store_fixture.h"
#include "tests/unit/storage/traces.h"

#define NOW      (UINT64_C(1700000400) * SECOND) /* a whole ten minutes */
#define DELAY_NS (3600 * SECOND)
#define ROWS     40

struct world {
	struct test_dir dir;
	char backups[4200];
	struct clock_virtual clock;
	struct store *store;
	struct keeper *keeper;
};

static void put_batch(struct world *world, struct source *source, const char *service,
        uint64_t start_ns, uint64_t seed)
{
	uint32_t series = source_series(source, service, "i", 1);
	source_begin(source, start_ns, SECOND);
	for (uint32_t i = 0; i < ROWS; i++) {
		char function[32];
		snprintf(function, sizeof(function), "f%u", i);
		CHECK_OK(batch_add_row(source->batch, series, source_stack(source, function),
		        1 + (seed + i) * 7919 % 100003));
	}
	assert_int_equal(source_append(source, world->store, ++source->stream.seq), WIRE_OK);
}

/* Both services in files and in the log; nothing of the last window is sealed. */
static void world_fill(struct world *world)
{
	struct source source = source_new(world->store, 1);
	put_batch(world, &source, "zebra", NOW - 1200 * SECOND, 1);
	put_batch(world, &source, "cart", NOW - 1199 * SECOND, 100);
	CHECK_OK(store_seal(world->store, NOW - 600 * SECOND));
	put_batch(world, &source, "zebra", NOW - 20 * SECOND, 200);
	put_batch(world, &source, "cart", NOW - 19 * SECOND, 300);
	CHECK_OK(store_flush(world->store));
	put_batch(world, &source, "zebra", NOW - 10 * SECOND, 400);
	put_batch(world, &source, "cart", NOW - 9 * SECOND, 500);
	source_free(&source);
}

/* On the heap: store and keeper hold on to its clock. */
static struct world *world_new(void)
{
	struct world *world = calloc(1, sizeof(*world));
	char error[512] = "";
	assert_non_null(world);
	world->dir = test_dir_new();
	snprintf(world->backups, sizeof(world->backups), "%s/none", world->dir.path);
	clock_virtual_init(&world->clock, NOW);
	struct store_options options = store_fixture_options(world->dir.path);
	options.clock = &world->clock.clock;
	world->store = store_fixture_open_with(options);
	struct keeper_options keeping = { .store = world->store,
		.clock = &world->clock.clock,
		.data = world->dir.path,
		.limits = retention_limits_none,
		.every_ns = 600 * SECOND,
		.delay_ns = DELAY_NS };
	if (keeper_new(keeping, &world->keeper, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	world_fill(world);
	return world;
}

static void world_free(struct world *world)
{
	keeper_free(world->keeper);
	store_free(world->store);
	test_dir_remove(&world->dir);
	free(world);
}

static void forget(struct world *world, const char *body)
{
	AUTO_BUF reply = { 0 };
	AUTO(config) config = NULL;
	struct json_writer json = json_writer_of(&reply, false);
	struct admin_call call = { .store = world->store,
		.keeper = world->keeper,
		.backups = world->backups,
		.limits = dict_limits_default,
		.by = { "me@here", "127.0.0.1:1", "r1" },
		.json = &json };
	CHECK_OK(config_parse(
	        "request", body, strlen(body), &config, call.error, sizeof(call.error)));
	call.body = config_root(config);
	json_object_begin(&json);
	(void)pthread_mutex_lock(&world->keeper->lock);
	int r = admin_retention_forget(&call);
	(void)pthread_mutex_unlock(&world->keeper->lock);
	json_object_end(&json);
	if (r < 0)
		fail_msg("%s", call.error);
}

static uint64_t value_of(struct world *world, const char *selector)
{
	return store_fixture_total(world->store, selector, 0, NOW + 600 * SECOND);
}

/* None of the values that there were and that no key has any more. */
static uint32_t left_of(struct world *world, struct traces *before)
{
	struct traces live = { 0 };
	uint32_t left = 0;
	traces_add(&live, world->dir.path);
	CHECK(before->count > live.count);
	for (size_t i = 0; i < COUNT_OF(traces_families); i++)
		left += traces_left(before, &live, traces_families[i], world->dir.path);
	traces_fini(&live);
	return left;
}

static void what_is_forgotten_now_is_in_no_file_when_it_is_answered(void **state)
{
	struct world *world = world_new();
	struct traces before = { 0 };
	(void)state;
	uint64_t cart = value_of(world, "{service=\"cart\"}");
	traces_add(&before, world->dir.path);

	forget(world, "{\"selector\":\"{service=\\\"zebra\\\"}\",\"yes\":true,\"now\":true,"
	              "\"confirm\":120}");
	assert_int_equal(left_of(world, &before), 0);
	assert_int_equal(value_of(world, "{service=\"zebra\"}"), 0);
	assert_int_equal(value_of(world, "{service=\"cart\"}"), cart);
	traces_fini(&before);
	world_free(world);
}

static void what_is_forgotten_after_the_delay_is_in_no_file_when_the_keeper_has_erased_it(
        void **state)
{
	struct world *world = world_new();
	struct traces before = { 0 };
	(void)state;
	uint64_t cart = value_of(world, "{service=\"cart\"}");
	traces_add(&before, world->dir.path);

	forget(world, "{\"selector\":\"{service=\\\"zebra\\\"}\",\"yes\":true,\"confirm\":120}");
	assert_int_equal(value_of(world, "{service=\"zebra\"}"), 0);
	traces_add(&before, world->dir.path); /* and what was hidden, as it is hidden */
	CHECK(left_of(world, &before) > 0);

	clock_virtual_advance(&world->clock, DELAY_NS);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(left_of(world, &before), 0);
	assert_int_equal(value_of(world, "{service=\"zebra\"}"), 0);
	assert_int_equal(value_of(world, "{service=\"cart\"}"), cart);
	traces_fini(&before);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_forgotten_now_is_in_no_file_when_it_is_answered),
		cmocka_unit_test(
		        what_is_forgotten_after_the_delay_is_in_no_file_when_the_keeper_has_erased_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
