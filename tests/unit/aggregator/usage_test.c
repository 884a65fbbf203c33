/*
 * usage against what then comes: a store that has what it keeps and lives on for as long as was
 * looked ahead ends where the forecast said. And what it counts by a label is all there is.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/admin_call.h"
#include "aggregator/usage_forecast.h"
#include "tests/unit/storage/store_fixture.h"

#define MINUTE (60 * SECOND)
#define DAY    (1440 * MINUTE)
#define NOW    (UINT64_C(1700006400) * SECOND) /* a whole day */

struct world {
	struct test_dir dir;
	struct clock_virtual clock;
	struct store *store;
	struct keeper *keeper;
	uint64_t seq;
};

static struct world *world_new(uint64_t now_ns)
{
	struct world *world = calloc(1, sizeof(*world));
	char error[512] = "";
	assert_non_null(world);
	world->dir = test_dir_new();
	clock_virtual_init(&world->clock, now_ns);
	struct store_options options = store_fixture_options(world->dir.path);
	options.clock = &world->clock.clock;
	world->store = store_fixture_open_with(options);
	CHECK_OK(keeper_new((struct keeper_options){ .store = world->store,
	                            .clock = &world->clock.clock,
	                            .data = world->dir.path,
	                            .limits = retention_limits_none,
	                            .every_ns = 10 * MINUTE },
	        &world->keeper, error, sizeof(error)));
	return world;
}

static void world_free(struct world *world)
{
	keeper_free(world->keeper);
	store_free(world->store);
	test_dir_remove(&world->dir);
	free(world);
}

/* A day goes by: four windows of two services, sealed and rolled up, and what expired goes. */
static void live_a_day(struct world *world)
{
	uint64_t start_ns = clock_unix_ns(&world->clock.clock);
	for (uint32_t window = 0; window < 4; window++) {
		struct source source = source_new(world->store, 1);
		uint32_t series[] = { source_series(&source, "cart", "a", 1),
			source_series(&source, "web", "b", 1),
			source_series(&source, "web", "c", 1) };
		source_begin(&source, start_ns + window * 6 * 60 * MINUTE, 10 * SECOND);
		for (uint32_t i = 0; i < 150; i++) {
			char function[32];
			snprintf(function, sizeof(function), "f%u", i);
			uint32_t node = source_stack(&source, function);
			for (size_t j = 0; j < COUNT_OF(series); j++)
				CHECK_OK(batch_add_row(source.batch, series[j], node, i + 1));
		}
		assert_int_equal(source_append(&source, world->store, ++world->seq), WIRE_OK);
		source_free(&source);
	}
	clock_virtual_advance(&world->clock, DAY);
	uint64_t now_ns = clock_unix_ns(&world->clock.clock);
	CHECK_OK(store_seal(world->store, now_ns));
	CHECK_OK(store_roll(world->store, now_ns));
	int r = keeper_turn(world->keeper);
	assert_true(r == 0);
}

struct asked {
	struct buf text;
	struct config *config;
	enum wire_status status;
	int result;
};

static const struct config_node *ask(struct world *world, const char *body, struct asked *asked)
{
	AUTO(config) parsed = NULL;
	char error[256];
	*asked = (struct asked){ 0 };
	CHECK_OK(config_parse("body", body, strlen(body), &parsed, error, sizeof(error)));
	struct json_writer json = json_writer_of(&asked->text, false);
	struct admin_call call = { .store = world->store,
		.keeper = world->keeper,
		.body = config_root(parsed),
		.json = &json };
	json_object_begin(&json);
	asked->result = admin_usage(&call);
	json_object_end(&json);
	asked->status = call.status;
	if (asked->result < 0)
		return NULL;
	CHECK_OK(config_parse("reply", (const char *)asked->text.bytes, asked->text.count,
	        &asked->config, error, sizeof(error)));
	return config_root(asked->config);
}

static void asked_fini(struct asked *asked)
{
	config_free(asked->config);
	buf_fini(&asked->text);
}

static void a_forecast_is_where_the_store_then_is(void **state)
{
	static const char policies[] =
	        "policies:\n"
	        "- {name: all, selector: '{}', tiers: {detail: 5d, 10m: 10d, 1h: 400d}}\n"
	        "- {name: cart, selector: '{service=\"cart\"}', priority: 1, tiers: {detail: 36h, "
	        "10m: 2d, 1h: 3d, 1d: 4d}}\n";
	struct world *world = world_new(NOW);
	struct retention_set *set = NULL;
	char error[256];
	struct asked asked;
	CHECK_OK(retention_parse("p", policies, strlen(policies), &set, error, sizeof(error)));
	CHECK_OK(keeper_set_policies(world->keeper, set, false, &keeper_itself, "x", 0, "{}"));
	for (uint32_t day = 0; day < 14; day++)
		live_a_day(world);

	const struct config_node *reply = ask(world, "{\"forecast_ns\":1209600000000000}", &asked);
	const struct config_node *forecast = json_body_find(reply, "forecast");
	const struct config_node *store = json_body_find(reply, "store");
	uint64_t now = json_body_u64(reply, "bytes", 0);
	double names = 1 + (double)(json_body_u64(store, "dictionary", 0) +
	                            json_body_u64(store, "symbols", 0)) /
	                           (double)now;
	double then = (double)now + (double)json_body_u64(forecast, "bytes_come", 0) / names -
	              (double)json_body_u64(forecast, "bytes_go", 0);
	assert_true(json_body_u64(forecast, "bytes_go", 0) > 0);
	asked_fini(&asked);

	for (uint32_t day = 0; day < 14; day++)
		live_a_day(world);
	reply = ask(world, "{}", &asked);
	double is = (double)json_body_u64(reply, "bytes", 0);
	print_message("%.0f bytes, %.0f forecast, %.0f came\n", (double)now, then, is);
	assert_true(is > (double)now); /* hours and days are kept */
	assert_true(then > is * 0.85 && then < is * 1.15);
	asked_fini(&asked);
	world_free(world);
}

static void by_a_label_it_is_all_there_is(void **state)
{
	struct world *world = world_new(NOW);
	struct asked asked;
	live_a_day(world);
	const struct config_node *reply = ask(world, "{\"by\":\"instance,tier\"}", &asked);
	const struct config_node *rows = json_body_find(reply, "rows");
	uint64_t bytes = 0, detail_rows = 0, instances = 0;
	for (uint32_t i = 0; i < json_body_count(rows); i++) {
		const struct config_node *row = config_node_item(rows, i);
		bytes += json_body_u64(row, "bytes", 0);
		detail_rows += json_body_u64(row, "rows", 0);
		assert_int_equal(json_body_u64(row, "series", 0), 1);
		instances += strcmp(json_body_text(row, "tier"), "detail") == 0;
	}
	assert_int_equal(bytes, json_body_u64(reply, "bytes", 0));
	assert_int_equal(detail_rows, 4 * 3 * 150);
	assert_int_equal(instances, 3);
	asked_fini(&asked);

	assert_null(ask(world, "{\"by\":\"nobody-has-it\"}", &asked));
	assert_int_equal(asked.status, WIRE_INVALID);
	asked_fini(&asked);
	world_free(world);
}

static void what_is_kept_for_ever_fills_the_disk_and_what_is_not_may_not(void **state)
{
	static struct usage_forecast forecast;
	struct usage_growth growth = {
		.bytes = 700, .from_ns = NOW - 2 * DAY, .to_ns = NOW - DAY, .keep_ns = UINT64_MAX
	};
	usage_forecast_init(&forecast, NOW, 7 * DAY);
	usage_forecast_add(&forecast, &growth);
	assert_int_equal(usage_forecast_full(&forecast, 1, 1000), 11);
	struct usage_change change = usage_forecast_change(&forecast, 1, 10);
	assert_true(change.comes > 999 && change.comes < 1001 && change.goes == 0);

	growth.keep_ns = 2 * DAY; /* 700 bytes in two days, and as much is there all the time */
	usage_forecast_init(&forecast, NOW, 7 * DAY);
	usage_forecast_add(&forecast, &growth);
	assert_int_equal(usage_forecast_full(&forecast, 1, 1000), 0);
	change = usage_forecast_change(&forecast, 1, 10);
	assert_true(change.comes > 699 && change.comes < 701 && change.goes == 700);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forecast_is_where_the_store_then_is),
		cmocka_unit_test(by_a_label_it_is_all_there_is),
		cmocka_unit_test(what_is_kept_for_ever_fills_the_disk_and_what_is_not_may_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
