/*
 * The power goes at any moment of whatever a store does (store_life.h): what store_world.h says of
 * kill -9 holds as well when everything is gone that was not synced, names in folders included, or
 * when some of it is there and some is torn (power.h).
 */

#include "tests/crash/power.h"
#include "tests/crash/store_world.h"

#define STORES 8
#define CYCLES 25 /* of each: 200 losses */

/* Beside the folder, which knows nothing of it. */
static void journal_path(char ret_path[300], const char *folder)
{
	snprintf(ret_path, 300, "%s.power", folder);
}

struct powered {
	struct power_disk *disk;
	uint64_t changes;
	uint64_t torn;
	uint64_t scattered;
};

static void before_life(struct world *world)
{
	struct powered *powered = world->owner;
	powered->disk = power_disk_load(world->dir->path);
}

static void lose_power(struct world *world)
{
	struct powered *powered = world->owner;
	struct power_loss loss;
	char journal[300];
	journal_path(journal, world->dir->path);
	power_disk_lose(powered->disk, journal, &world->rng, &loss);
	powered->disk = NULL;
	powered->changes += loss.changes;
	powered->torn += loss.torn;
	powered->scattered += loss.scattered;
	/* It may have said more, of what was after the loss. */
	if (world->acks_count > loss.said)
		world->acks_count = (uint32_t)loss.said;
}

static void nothing_acknowledged_is_lost_or_doubled_by_power_loss(void **state)
{
	static const struct world_events events = {
		.before_life = before_life,
		.after_kill = lose_power,
	};
	struct powered powered = { .disk = NULL };
	struct world_sums sums = { 0 };
	for (uint64_t seed = 1; seed <= STORES; seed++)
		world_live(&events, &powered, seed, CYCLES, &sums);
	phases_print(&sums, "losses");
	print_message("%" PRIu64 " changes lost, %" PRIu64 " writes torn, %" PRIu64
	              " there though they were not synced\n",
	        powered.changes, powered.torn, powered.scattered);
	/* A loss is anywhere in what was written, and not every phase writes. */
	static const enum life_phase written[] = { LIFE_APPEND, LIFE_SEAL, LIFE_ROLL, LIFE_HIDE,
		LIFE_ERASE, LIFE_BACKUP };
	for (size_t i = 0; i < COUNT_OF(written); i++)
		if (sums.phases.kills[written[i]] == 0)
			fail_msg("no loss in: %s", life_phase_names[written[i]]);
	CHECK(sums.kills == 200 && sums.backups > 0 && sums.rollups > 0);
	CHECK(powered.changes > 0 && powered.torn > 0 && powered.scattered > 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_acknowledged_is_lost_or_doubled_by_power_loss),
	};
	if (life_is_asked(argc)) {
		char journal[300];
		journal_path(journal, argv[1]);
		power_begin(journal);
		return live_until_killed(argv);
	}
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
