/*
 * kill -9 at any instruction of whatever a store does (store_life.h); what must hold then is in
 * store_world.h. Somebody dies in every phase. What was written stays, synced or not: losing that
 * too is store_power_loss_test.c.
 */

#include "tests/crash/store_world.h"

#define STORES 8
#define CYCLES 25 /* of each: 200 kills */

static void nothing_acknowledged_is_lost_or_doubled_by_kill_9(void **state)
{
	static const struct world_events events = { .before_life = NULL };
	struct world_sums sums = { 0 };
	for (uint64_t seed = 1; seed <= STORES; seed++)
		world_live(&events, NULL, seed, CYCLES, &sums);
	phases_print(&sums, "kills");
	for (int phase = LIFE_NONE + 1; phase < LIFE_PHASES; phase++)
		if (sums.phases.kills[phase] == 0)
			fail_msg("nobody died in: %s", life_phase_names[phase]);
	CHECK(sums.kills == 200 && sums.backups > 0 && sums.restored > 0 && sums.rollups > 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_acknowledged_is_lost_or_doubled_by_kill_9),
	};
	if (life_is_asked(argc))
		return live_until_killed(argv);
	/* A kill leaves what was written, synced or not: memory is as good as a disk, and faster.
	 */
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
