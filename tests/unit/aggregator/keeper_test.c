/*
 * The keeper over a real store and a clock that stands: what expired is hidden after the grace and
 * erased after the delay, holds beat all of it, and what is too much or follows a clock that jumped
 * waits for a second word. Everything survives a restart.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/keeper_work.h"
#include "tests/unit/storage/store_fixture.h"

#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define NOW    (UINT64_C(1700000400) * SECOND) /* a whole ten minutes */

struct world {
	struct test_dir dir;
	struct clock_virtual clock;
	struct store *store;
	struct keeper *keeper;
	uint64_t seq;
};

static void world_open_with(struct world *world, struct retention_limits limits)
{
	struct store_options options = store_fixture_options(world->dir.path);
	char error[512] = "";
	options.clock = &world->clock.clock;
	world->store = store_fixture_open_with(options);
	int r = keeper_new((struct keeper_options){ .store = world->store,
	                           .clock = &world->clock.clock,
	                           .data = world->dir.path,
	                           .limits = limits,
	                           .every_ns = 10 * MINUTE,
	                           .grace_ns = DAY,
	                           .delay_ns = 2 * DAY },
	        &world->keeper, error, sizeof(error));
	if (r < 0)
		fail_msg("%s", error);
}

static void world_open(struct world *world)
{
	world_open_with(world, retention_limits_none);
}

static void world_close(struct world *world)
{
	keeper_free(world->keeper);
	store_free(world->store);
}

/* Sealed windows of two services, `ages` days old: cart's are a tenth of web's. */
static void world_fill(struct world *world, const uint32_t *ages, size_t count)
{
	struct source source = source_new(world->store, 1);
	for (size_t i = 0; i < count; i++) {
		uint64_t start_ns = NOW - ages[i] * DAY;
		uint32_t cart = source_series(&source, "cart", "a", 1);
		uint32_t web = source_series(&source, "web", "b", 1);
		source_begin(&source, start_ns, 10 * SECOND);
		for (uint32_t j = 0; j < 200; j++) {
			char function[32];
			snprintf(function, sizeof(function), "f%u", j);
			uint32_t node = source_stack(&source, function);
			CHECK_OK(batch_add_row(source.batch, web, node, j + 1));
			if (j < 2)
				CHECK_OK(batch_add_row(source.batch, cart, node, 1));
		}
		assert_int_equal(source_append(&source, world->store, ++world->seq), WIRE_OK);
	}
	source_free(&source);
	CHECK_OK(store_seal(world->store, NOW));
}

/* On the heap: store and keeper hold on to its clock. */
static struct world *world_new(const uint32_t *ages, size_t count)
{
	struct world *world = calloc(1, sizeof(*world));
	assert_non_null(world);
	world->dir = test_dir_new();
	clock_virtual_init(&world->clock, NOW);
	world_open(world);
	world_fill(world, ages, count);
	return world;
}

static void world_free(struct world *world)
{
	world_close(world);
	test_dir_remove(&world->dir);
	free(world);
}

static const struct keeper_actor me = { "me@here", "127.0.0.1:1", "r1" };

static void set_policies(struct world *world, const char *text, bool grace)
{
	struct retention_set *set = NULL;
	char error[512] = "";
	if (retention_parse("test", text, strlen(text), &set, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	CHECK_OK(keeper_set_policies(world->keeper, set, grace, &me, "retention.set", 0, "{}"));
}

static uint64_t value_of(struct world *world, const char *selector)
{
	return store_fixture_total(world->store, selector, 0, NOW + DAY);
}

static int count_run(void *owner, const struct store_run_state *state)
{
	*(uint64_t *)owner = state->run.id;
	return 0;
}

/* The last run, or 0. */
static uint64_t last_run(struct world *world)
{
	uint64_t id = 0;
	CHECK_OK(store_runs(world->store, count_run, &id));
	return id;
}

#define CART_GOES                                                                                  \
	"name: cart\nselector: '{service=\"cart\"}'\ntiers: {detail: 7d, 10m: 7d, 1h: 7d, 1d: "    \
	"7d}\n"

static void too_many_changes_within_the_grace_are_told_from_a_full_disk(void **state)
{
	static const uint32_t ages[] = { 1 };
	struct world *world = world_new(ages, 1);
	struct retention_set *set = NULL;
	for (uint32_t i = 0; i < KEEPER_PENDING_MAX; i++)
		set_policies(world, CART_GOES, true);
	CHECK_OK(retention_merge(world->keeper->set, NULL, &set));
	assert_int_equal(keeper_set_policies(world->keeper, set, true, &me, "x", 0, "{}"), -E2BIG);
	CHECK_OK(keeper_set_policies(world->keeper, set, false, &me, "x", 0, "{}"));
	world_free(world);
}

/* One cart row is worth 1, so its value counts its windows twice. */
static void what_expired_is_hidden_after_the_grace_and_erased_after_the_delay(void **state)
{
	static const uint32_t ages[] = { 1, 2, 3, 8, 9 };
	struct world *world = world_new(ages, COUNT_OF(ages));
	uint64_t web = value_of(world, "{service=\"web\"}");
	assert_int_equal(value_of(world, "{service=\"cart\"}"), 10);

	set_policies(world, CART_GOES, true);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(value_of(world, "{service=\"cart\"}"), 10); /* in its grace */
	clock_virtual_advance(&world->clock, DAY);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(value_of(world, "{service=\"cart\"}"), 6);
	assert_int_equal(keeper_state(world->keeper).overdue_bytes, 0);

	/* Undone, and again after the pause. */
	struct store_expired back = { 0 };
	CHECK_OK(keeper_undo(world->keeper, last_run(world), &me, &back));
	assert_int_equal(back.missing, 0);
	assert_int_equal(value_of(world, "{service=\"cart\"}"), 10);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(value_of(world, "{service=\"cart\"}"), 6);

	uint64_t run = last_run(world);
	clock_virtual_advance(&world->clock, DAY);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(last_run(world), run); /* the delay is not over */
	clock_virtual_advance(&world->clock, DAY);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(last_run(world), 0);
	assert_int_equal(value_of(world, "{service=\"cart\"}"), 6);
	assert_int_equal(value_of(world, "{service=\"web\"}"), web);
	struct keeper_run gone;
	assert_int_equal(keeper_run_get(world->keeper, run, &gone), -ENOENT);
	world_free(world);
}

static struct retention_holds *hold_of(const char *selector)
{
	struct retention_holds *holds = retention_holds_new();
	struct retention_hold hold = { .id = "h",
		.to_ns = RETENTION_FOREVER,
		.until_ns = RETENTION_FOREVER,
		.reason = (char[]){ "legal" } };
	char error[256];
	CHECK_OK(retention_hold_add(holds, &hold, selector, error, sizeof(error)));
	return holds;
}

static void check_hold(const char *held, const char *others)
{
	static const uint32_t ages[] = { 1, 2, 3, 8, 9 };
	struct world *world = world_new(ages, COUNT_OF(ages));
	set_policies(world, CART_GOES, false);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(value_of(world, "{service=\"cart\"}"), 6);

	/* A hold of somebody else's undoes nothing. */
	uint32_t rescued = 0;
	CHECK_OK(keeper_set_holds(world->keeper, hold_of(others), &me, "hold.create", "{}"));
	CHECK_OK(keeper_rescue(world->keeper, &me, &rescued));
	assert_int_equal(rescued, 0);
	CHECK_OK(keeper_set_holds(world->keeper, hold_of(held), &me, "hold.create", "{}"));
	/* Even when the delay is over before anybody looked. */
	clock_virtual_advance(&world->clock, 3 * DAY);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(last_run(world), 0);
	assert_int_equal(value_of(world, "{service=\"cart\"}"), 10);
	assert_true(keeper_state(world->keeper).hold_bytes > 0);

	CHECK_OK(keeper_set_holds(world->keeper, retention_holds_new(), &me, "hold.release", "{}"));
	CHECK_OK(keeper_turn(world->keeper));
	assert_true(value_of(world, "{service=\"cart\"}") < 10);
	world_free(world);
}

/* By what all series of a unit share, and by labels that they must be read for. */
static void a_hold_brings_back_what_is_hidden_and_keeps_it(void **state)
{
	check_hold("{service=\"cart\"}", "{service=\"web\"}");
	check_hold("cpu{service=~\"c.*\",nobody=\"\"}", "{service=\"cart\",nobody=\"x\"}");
	check_hold("{}", "{tenant=\"somebody\"}");
}

#define ALL_GOES "name: all\nselector: '{}'\ntiers: {detail: 7d, 10m: 7d, 1h: 7d, 1d: 7d}\n"

static void too_much_at_once_waits_for_a_second_word(void **state)
{
	static const uint32_t ages[] = { 1, 8, 9 };
	struct world *world = world_new(ages, COUNT_OF(ages));
	uint64_t before = value_of(world, "{}");
	set_policies(world, ALL_GOES, false);
	assert_int_equal(keeper_turn(world->keeper), -EAGAIN);
	assert_int_equal(value_of(world, "{}"), before);
	struct keeper_state now = keeper_state(world->keeper);
	assert_true(now.is_stopped);
	assert_true(now.overdue_bytes > 0);
	assert_false(now.is_late);

	/* Over a restart as well; and it is late some time, which is what health says. */
	world_close(world);
	world_open(world);
	assert_true(keeper_state(world->keeper).is_stopped);
	clock_virtual_advance(&world->clock, 30 * MINUTE);
	assert_int_equal(keeper_turn(world->keeper), -EAGAIN);
	assert_true(keeper_state(world->keeper).is_late);

	/* What is no longer too much ends it. */
	set_policies(world, CART_GOES, false);
	struct retention_set *fewer = NULL;
	CHECK_OK(retention_remove(world->keeper->set, "cart", &fewer));
	CHECK_OK(keeper_set_policies(world->keeper, fewer, false, &me, "x", 0, "{}"));
	CHECK_OK(keeper_turn(world->keeper));
	assert_false(keeper_state(world->keeper).is_stopped);
	world_free(world);
}

static void what_was_confirmed_with_the_policies_does_not_stop_again(void **state)
{
	static const uint32_t ages[] = { 1, 8, 9 };
	struct world *world = world_new(ages, COUNT_OF(ages));
	set_policies(world, ALL_GOES, false);
	assert_int_equal(keeper_turn(world->keeper), -EAGAIN);
	uint64_t bytes = keeper_state(world->keeper).overdue_bytes;
	assert_true(bytes > 0);

	/* Less than what goes was meant: it stops, and says that it is more. */
	CHECK_OK(keeper_confirm_set(
	        world->keeper, (struct keeper_confirmed){ 100, bytes - 1 }, &me));
	assert_int_equal(keeper_turn(world->keeper), -EAGAIN);
	assert_non_null(strstr(world->keeper->stop, "it has become more"));
	assert_int_equal(last_run(world), 0);

	/* Other policies are not those that were confirmed. */
	CHECK_OK(keeper_confirm_set(world->keeper, (struct keeper_confirmed){ 100, bytes }, &me));
	set_policies(world, ALL_GOES, false);
	assert_int_equal(keeper_turn(world->keeper), -EAGAIN);

	/* Over a restart; and once it was done the next time stops again. */
	CHECK_OK(keeper_confirm_set(world->keeper, (struct keeper_confirmed){ 100, bytes }, &me));
	assert_false(*world->keeper->stop);
	world_close(world);
	world_open(world);
	assert_int_equal(world->keeper->confirmed.bytes, bytes);
	CHECK_OK(keeper_turn(world->keeper));
	assert_true(last_run(world) > 0);
	assert_int_equal(world->keeper->confirmed.windows, 0);
	world_free(world);
}

static void a_clock_that_jumped_waits_for_a_second_word(void **state)
{
	static const uint32_t ages[] = { 1, 2, 3, 4, 5, 6, 6, 6 };
	struct world *world = world_new(ages, COUNT_OF(ages));
	set_policies(world, CART_GOES, false);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(last_run(world), 0);

	world->clock.now_unix_ns += 2 * DAY; /* the other clock stands */
	assert_int_equal(keeper_turn(world->keeper), -EAGAIN);
	assert_int_equal(last_run(world), 0);
	assert_non_null(strstr(world->keeper->stop, "forward"));
	/* It does not end by itself. */
	clock_virtual_advance(&world->clock, 10 * MINUTE);
	assert_int_equal(keeper_turn(world->keeper), -EAGAIN);
	CHECK_OK(keeper_confirm(world->keeper, &me));
	CHECK_OK(keeper_turn(world->keeper));
	assert_true(last_run(world) > 0);

	/* Back, over a restart of the program. */
	world_close(world);
	world->clock.now_unix_ns -= 2 * HOUR;
	world_open(world);
	(void)keeper_turn(world->keeper); /* with something to do or not */
	assert_non_null(strstr(world->keeper->stop, "back"));

	struct audit_verified verified;
	CHECK_OK(store_audit_verify(world->store, NULL, &verified));
	assert_int_equal(verified.broken_seq, 0);
	assert_true(verified.records >= 5);
	world_free(world);
}

static void policies_holds_and_graces_survive_a_restart(void **state)
{
	static const uint32_t ages[] = { 1, 2, 3, 8, 9 };
	struct world *world = world_new(ages, COUNT_OF(ages));
	set_policies(world, CART_GOES, true);
	CHECK_OK(keeper_set_holds(
	        world->keeper, hold_of("{service=\"pay\"}"), &me, "hold.create", "{}"));
	CHECK_OK(keeper_turn(world->keeper));
	char before[RETENTION_DIGEST_BYTES], after[RETENTION_DIGEST_BYTES];
	CHECK_OK(retention_digest(world->keeper->set, before));
	world_close(world);

	world_open(world);
	CHECK_OK(retention_digest(world->keeper->set, after));
	assert_string_equal(before, after);
	assert_int_equal(world->keeper->pending_count, 1);
	assert_int_equal(world->keeper->holds->count, 1);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(value_of(world, "{service=\"cart\"}"), 10); /* still in its grace */
	clock_virtual_advance(&world->clock, DAY);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(world->keeper->pending_count, 0);
	assert_int_equal(value_of(world, "{service=\"cart\"}"), 6);
	world_free(world);
}

/* Killed between the document of a run and the run, or between the erasure and its record. */
static void a_document_without_its_run_is_taken_away(void **state)
{
	static const uint32_t ages[] = { 1 };
	struct world *world = world_new(ages, COUNT_OF(ages));
	struct audit_document document = { "run/17", "{}", 2 };
	CHECK_OK(store_administer(world->store, &document, 1, NULL, NULL));
	CHECK_OK(keeper_turn(world->keeper));
	AUTO_BUF text = { 0 };
	assert_int_equal(store_document_get(world->store, "run/17", &text), -ENOENT);
	world_free(world);
}

/* A plan has an id of its own, which what it names changes. */
static void a_plan_is_bound_to_policies_and_data(void **state)
{
	static const uint32_t ages[] = { 1, 2, 3, 8, 9 };
	struct world *world = world_new(ages, COUNT_OF(ages));
	char first[PLAN_ID_BYTES], second[PLAN_ID_BYTES], third[PLAN_ID_BYTES];
	set_policies(world, CART_GOES, false);
	for (int i = 0; i < 3; i++) {
		struct plan_options options = keeper_plan_of(
		        world->keeper, &world->keeper->set, 10 * DAY);
		AUTO_RETENTION_PLAN plan = { 0 };
		if (i == 2)
			options.now_ns -= 2 * DAY; /* nothing has expired then */
		CHECK_OK(retention_plan_make(&options, &plan));
		CHECK_OK(retention_plan_id(&plan, world->keeper->set,
		        i == 0   ? first
		        : i == 1 ? second
		                 : third));
		assert_int_equal(retention_plan_items_count(&plan), i == 2 ? 0 : 2);
		assert_int_equal(plan.windows_now, i == 2 ? 0 : 2);
		assert_true(plan.bytes_later > 0); /* the younger ones follow */
		assert_int_equal(plan.units_unreadable, 0);
	}
	assert_string_equal(first, second);
	assert_string_not_equal(first, third);
	world_free(world);
}

/* One batch of that age with a row of each of the services; its status. */
static uint32_t append(struct world *world, uint32_t age_days, const char *one, const char *other)
{
	struct source source = source_new(world->store, 1);
	source_begin(&source, NOW - age_days * DAY, 10 * SECOND);
	uint32_t node = source_stack(&source, "late");
	CHECK_OK(batch_add_row(source.batch, source_series(&source, one, "a", 1), node, 1));
	if (other)
		CHECK_OK(batch_add_row(
		        source.batch, source_series(&source, other, "a", 1), node, 1));
	uint32_t status = source_append(&source, world->store, ++world->seq);
	source_free(&source);
	return status;
}

static void what_has_expired_when_it_comes_is_refused_and_counted(void **state)
{
	static const uint32_t ages[] = { 1 };
	struct world *world = world_new(ages, COUNT_OF(ages));
	struct store_counters counters;
	assert_int_equal(append(world, 9, "cart", NULL), WIRE_OK); /* no policy yet */
	set_policies(world, CART_GOES, true);
	assert_int_equal(append(world, 9, "cart", NULL), WIRE_OK); /* in the grace of one */
	set_policies(world, CART_GOES, false);
	assert_int_equal(append(world, 9, "cart", NULL), WIRE_REJECT);
	assert_int_equal(append(world, 6, "cart", NULL), WIRE_OK);
	assert_int_equal(append(world, 9, "web", NULL), WIRE_OK);
	assert_int_equal(append(world, 9, "cart", "web"), WIRE_OK);
	CHECK_OK(store_counters(world->store, "", &counters));
	assert_int_equal(counters.batches_late, 1);
	CHECK_OK(keeper_set_holds(
	        world->keeper, hold_of("{service=\"cart\"}"), &me, "hold.create", "{}"));
	assert_int_equal(append(world, 9, "cart", NULL), WIRE_OK);
	world_free(world);
}

static void a_ceiling_ends_what_no_policy_speaks_of(void **state)
{
	static const uint32_t ages[] = { 1, 2, 3, 4, 5, 6, 9 };
	struct world *world = world_new(ages, COUNT_OF(ages));
	struct retention_limits limits = { 0 };
	char error[256];
	CHECK_OK(retention_limits_parse(NULL, "7d", &limits, error, sizeof(error)));
	uint64_t before = value_of(world, "{}");
	world_close(world);
	world_open_with(world, limits);
	CHECK_OK(keeper_turn(world->keeper));
	assert_int_equal(value_of(world, "{}"), before / COUNT_OF(ages) * (COUNT_OF(ages) - 1));
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_expired_is_hidden_after_the_grace_and_erased_after_the_delay),
		cmocka_unit_test(too_many_changes_within_the_grace_are_told_from_a_full_disk),
		cmocka_unit_test(a_hold_brings_back_what_is_hidden_and_keeps_it),
		cmocka_unit_test(too_much_at_once_waits_for_a_second_word),
		cmocka_unit_test(what_was_confirmed_with_the_policies_does_not_stop_again),
		cmocka_unit_test(a_clock_that_jumped_waits_for_a_second_word),
		cmocka_unit_test(policies_holds_and_graces_survive_a_restart),
		cmocka_unit_test(a_document_without_its_run_is_taken_away),
		cmocka_unit_test(a_plan_is_bound_to_policies_and_data),
		cmocka_unit_test(what_has_expired_when_it_comes_is_refused_and_counted),
		cmocka_unit_test(a_ceiling_ends_what_no_policy_speaks_of),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
