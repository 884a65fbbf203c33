/*
 * kill -9 while the store appends, begins dictionaries, seals, rolls up, hides, erases, is backed
 * up, flushes and opens; what it does and what must hold then is in store_life.h. What was written
 * stays, synced or not: losing that too is store_power_loss_test.c.
 */

#include "tests/crash/store_life.h"

#define STORES 8
#define CYCLES 25 /* of each: 200 kills */

static void nothing_acknowledged_is_lost_or_doubled_by_kill_9(void **state)
{
	static const struct world_events events = { .before_life = NULL };
	struct world_sums sums = { 0 };
	for (uint64_t seed = 1; seed <= STORES; seed++)
		world_live(&events, NULL, seed, CYCLES, &sums);
	CHECK(sums.backups > 0 && sums.rollups > 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_acknowledged_is_lost_or_doubled_by_kill_9),
	};
	if (life_is_asked(argc))
		return append_until_killed(argv);
	/* A kill leaves what was written, synced or not: memory is as good as a disk, and faster.
	 */
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
