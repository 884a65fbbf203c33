/*
 * kill -9 while the store seals, hides, parts, undoes, erases and deletes on request: each of these
 * is done or not done, what was acknowledged is done, and what was not touched is what it was.
 * After that every run can be ended, nothing is left that is neither named nor gone, and --verify
 * finds nothing wrong.
 *
 * Each round has a window of its own, where the steps follow each other; a message tells of each
 * that was acknowledged. The parent kills after a number of messages that the seed gives.
 */

#include <unistd.h>

#include "core/rng.h"
#include "storage/store_expire.h"
#include "storage/store_verify.h"
#include "tests/crash/victim.h"
#include "tests/unit/storage/store_fixture.h"

#define CYCLES    40
#define ROUNDS    4096
#define SERVICES  3
#define WINDOW_S  60
#define BATCHES   3
#define STEPS_MAX 40 /* messages before a kill */

/* What was acknowledged of a round. */
enum step { STEP_NONE, STEP_SEALED, STEP_HIDDEN, STEP_PARTED, STEP_ENDED, STEP_FORGOTTEN, STEPS };

struct message {
	uint32_t round;
	uint32_t step;
};

static uint64_t value_of(uint32_t round, uint32_t service)
{
	return 1 + round * SERVICES + service;
}

/* What a service has of its window after a step: each of the others is all or nothing. */
static bool is_visible(uint32_t round, uint32_t service, enum step step)
{
	if (service == 0 && step >= STEP_HIDDEN)
		return step >= STEP_ENDED && round % 2 == 0; /* undone, or erased */
	return !(service == 2 && step >= STEP_FORGOTTEN);
}

static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	return store_fixture_open_with(options);
}

/* ---- the process that is killed ---- */

static void say(uint32_t round, enum step step)
{
	struct message message = { round, step };
	if (write(STDOUT_FILENO, &message, sizeof(message)) != sizeof(message))
		exit(1);
}

static uint32_t classify(void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	const char *text = dict_text(
	        dict, dict_label_value(dict, series, dict_find_string(dict, "instance", 8)));
	return (uint32_t)(text[0] - 'a');
}

static int append_round(struct store *store, struct source *source, uint32_t round)
{
	for (uint32_t i = 0; i < BATCHES; i++) {
		source_begin(source, (round * WINDOW_S + i * 10) * SECOND, 10 * SECOND);
		for (uint32_t service = 0; service < SERVICES; service++)
			for (uint32_t instance = 0; instance < 2; instance++) {
				char name[] = { (char)('0' + service), 0 };
				char of[] = { (char)('a' + instance), 0 };
				CHECK_OK(batch_add_row(source->batch,
				        source_series(source, name, of, 1),
				        source_stack(source, instance ? "f" : "g"),
				        value_of(round, service)));
			}
		struct store_append append = source_section(source, round * BATCHES + i + 1);
		if (store_append(store, &append, 1) < 0)
			return -1;
	}
	return store_seal(store, (round + 1) * WINDOW_S * SECOND);
}

struct found {
	struct store_expire_item items[SERVICES];
	uint64_t from_ns;
};

static int find_items(void *owner, const struct store_inventory_unit *unit)
{
	struct found *found = owner;
	if (unit->window.from_ns == found->from_ns)
		found->items[unit->service[0] - '0'] = (struct store_expire_item){ unit->window,
			unit->unit, unit->service[0] == '0' ? STORE_PART_ALL : STORE_PART_DETAIL };
	return 0;
}

/* Hides all of the first service, and the detail of the second. */
static int hide_round(struct store *store, uint32_t round)
{
	struct found found = { .from_ns = round * WINDOW_S * SECOND };
	struct store_inventory_options options = {
		.from_ns = found.from_ns,
		.to_ns = found.from_ns + 1,
	};
	struct store_run run = { .id = round + 1, .note = "round" };
	struct store_expired expired;
	int r = store_inventory(store, options, find_items, &found);
	return r < 0 ? r : store_hide(store, &run, found.items, 2, &expired);
}

static int run_round(struct store *store, struct source *source, uint32_t round)
{
	struct store_window_name window = { 0, 0, round * WINDOW_S * SECOND,
		(round + 1) * WINDOW_S * SECOND };
	struct store_resealed resealed;
	struct store_expired expired;
	struct store_forgotten forgotten;
	struct store_forget_options options = {
		.tenant = "", .service = "2", .from_ns = window.from_ns, .to_ns = window.to_ns
	};
	if (append_round(store, source, round) < 0)
		return -1;
	say(round, STEP_SEALED);
	if (hide_round(store, round) < 0)
		return -1;
	say(round, STEP_HIDDEN);
	if (store_reseal(store, window, classify, NULL, &resealed) < 0)
		return -1;
	say(round, STEP_PARTED);
	if ((round % 2 ? store_erase(store, round + 1, NULL, &expired)
	               : store_undo(store, round + 1, &expired)) < 0)
		return -1;
	say(round, STEP_ENDED);
	if (store_forget(store, &options, &forgotten) < 0)
		return -1;
	say(round, STEP_FORGOTTEN);
	return 0;
}

/* argv: program, folder, the first round. */
static int run_until_killed(char **argv)
{
	struct store *store = open_store(argv[1]);
	struct source source = source_new(store, 1);
	for (uint32_t round = (uint32_t)strtoul(argv[2], NULL, 10); round < ROUNDS; round++)
		if (run_round(store, &source, round) < 0)
			return 1;
	return 0;
}

/* ---- the one who kills and checks ---- */

struct world {
	struct test_dir *dir;
	struct rng rng;
	uint32_t next; /* round */
	enum step acked[ROUNDS];
	bool is_known[ROUNDS][SERVICES]; /* checked, and may not change any more */
	bool is_there[ROUNDS][SERVICES];
	uint32_t seen_after[STEPS]; /* kills by the last step of their round */
};

static struct victim world_spawn(const struct world *world)
{
	char first[16];
	const char *arguments[] = { world->dir->path, first, NULL };
	snprintf(first, sizeof(first), "%u", world->next);
	return victim_spawn(arguments);
}

static void world_note(struct world *world, const struct message *message)
{
	CHECK(message->round < ROUNDS && message->step < STEPS);
	world->acked[message->round] = (enum step)message->step;
}

static void world_kill_after(struct world *world, uint64_t messages)
{
	struct victim victim = world_spawn(world);
	struct message message;
	while (messages-- > 0 && read(victim.from, &message, sizeof(message)) == sizeof(message))
		world_note(world, &message);
	victim_kill(&victim);
	while (read(victim.from, &message, sizeof(message)) == sizeof(message))
		world_note(world, &message);
	close(victim.from);
}

static uint64_t value_in(struct store *store, uint32_t round, uint32_t service)
{
	char text[32];
	snprintf(text, sizeof(text), "cpu{service=\"%u\"}", service);
	return store_fixture_total(
	        store, text, round * WINDOW_S * SECOND, (round + 1) * WINDOW_S * SECOND);
}

/* Whole or nothing, and what the acknowledged step says, or the next one. */
static void world_check_round(struct world *world, struct store *store, uint32_t round)
{
	enum step step = world->acked[round];
	for (uint32_t service = 0; service < SERVICES; service++) {
		uint64_t value = value_in(store, round, service);
		uint64_t whole = 2 * BATCHES * value_of(round, service);
		bool is_there = value == whole;
		/* The first step is many appends: any number of them may be there. */
		if (step == STEP_NONE) {
			CHECK(value <= whole && value % (2 * value_of(round, service)) == 0);
			continue;
		}
		if (value != whole && value != 0)
			fail_msg("round %u service %u: %llu of %llu", round, service,
			        (unsigned long long)value, (unsigned long long)whole);
		enum step next = step + 1 < STEPS ? step + 1 : step;
		if (is_there != is_visible(round, service, step) &&
		        is_there != is_visible(round, service, next))
			fail_msg("round %u service %u after step %d: %d", round, service, step,
			        is_there);
		CHECK(!world->is_known[round][service] ||
		        world->is_there[round][service] == is_there);
		world->is_there[round][service] = is_there;
	}
}

static int list_run(void *owner, const struct store_run_state *state)
{
	*(uint64_t *)owner = state->run.id;
	return 1;
}

static void world_check(struct world *world)
{
	struct store *store = open_store(world->dir->path);
	struct store_expired expired;
	uint64_t run = 0;
	uint32_t last = world->next;
	while (last + 1 < ROUNDS && world->acked[last] == STEP_FORGOTTEN)
		last++;
	world->seen_after[world->acked[last]]++;
	for (uint32_t round = 0; round <= last; round++)
		world_check_round(world, store, round);
	/* What was begun is ended: a run may be erased as often as one likes. */
	while (store_runs(store, list_run, &run) > 0)
		CHECK_OK(store_erase(store, run, NULL, &expired));
	for (uint32_t round = world->next; round <= last; round++)
		for (uint32_t service = 0; service < SERVICES; service++) {
			world->is_there[round][service] = value_in(store, round, service) > 0;
			world->is_known[round][service] = world->acked[round] != STEP_NONE;
		}
	store_free(store);
	world->next = last + 1;
}

static int told(void *owner, const struct store_finding *finding)
{
	if (finding->kind == STORE_FINDING_DAMAGE)
		print_message("%s %s: %s\n", finding->family, finding->key, finding->reason);
	return 0;
}

static void every_step_of_forgetting_is_done_or_not_done_by_kill_9(void **state)
{
	TEST_DIR(dir);
	struct world *world = calloc(1, sizeof(*world));
	struct store_verify_summary summary = { 0 };
	char error[256] = "";
	assert_non_null(world);
	world->dir = &dir;
	rng_init(&world->rng, 1);
	for (uint32_t cycle = 0; cycle < CYCLES; cycle++) {
		world_kill_after(world, rng_below(&world->rng, STEPS_MAX));
		world_check(world);
	}
	for (int step = 0; step < STEPS; step++)
		print_message("killed after step %d: %u\n", step, world->seen_after[step]);
	CHECK(world->next > CYCLES);
	struct store_verify_options options = { .path = dir.path, .found = told };
	if (store_verify(&options, &summary, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(summary.damaged, 0);
	free(world);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_step_of_forgetting_is_done_or_not_done_by_kill_9),
	};
	if (argc == 3)
		return run_until_killed(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
