/*
 * The spool's folder under kill -9: a child adds, sends, confirms, is refused and merges as fast as
 * it can, is killed at a moment nobody chose, and the next start must find every sample that was in
 * and none that was out.
 *
 * Child and test share a page in which the child says what it is about to do and what it has done,
 * so only the one operation under way may have happened or not.
 */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "agent/spool.h"
#include "core/log.h"
#include "core/rng.h"
#include "tests/unit/agent/batches.h"

#define ROUNDS 40

struct progress {
	_Atomic uint64_t steps;
	_Atomic uint64_t added;  /* samples and losses that are in */
	_Atomic uint64_t adding; /* that may be in */
	_Atomic uint64_t done;   /* that are out */
	_Atomic uint64_t doing;  /* that may be out */
};

static struct spool *open_spool(const char *path, uint64_t epoch)
{
	struct spool_options options = {
		.path = path,
		.bytes_max = 6000,
		.entry_bytes_max = 2000,
		.entries_max = 12,
		.uuid = { { 1 } },
		.epoch = epoch,
	};
	struct spool *spool = NULL;
	char error[256] = "";

	if (spool_open(options, &spool, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	return spool;
}

static void child_add(
        struct spool *spool, struct progress *progress, struct rng *rng, uint64_t interval)
{
	AUTO_BATCH made = made_batch_new(interval);
	char function[32];

	for (uint32_t i = 0; i < 20; i++) {
		snprintf(function, sizeof(function), "function-%u",
		        (unsigned int)rng_below(rng, 300));
		made_row(&made, "cart", function, 1 + rng_below(rng, 9));
	}
	CHECK_OK(batch_add_loss(made.batch, SERIES_NONE, LOSS_RING_FULL, rng_below(rng, 3)));
	CHECK_OK(batch_settle(made.batch));
	progress->adding = batch_samples(made.batch) + batch_lost(made.batch);
	CHECK_OK(spool_add(spool, made.batch));
	/* Between these two the test may see it twice, so the first is the one that is allowed for.
	 */
	progress->added += progress->adding;
	progress->adding = 0;
}

static void child_take(struct spool *spool, struct progress *progress, struct rng *rng)
{
	struct spool_entry entry;

	if (spool_take(spool, &entry, 1, UINT64_MAX) != 1)
		return;
	switch (rng_below(rng, 3)) {
	case 0:
		break;
	case 1:
		spool_reject(spool, entry.handle, LOSS_REJECTED);
		break;
	default:
		progress->doing = entry.samples + entry.lost;
		spool_done(spool, entry.handle);
		progress->done += progress->doing;
		progress->doing = 0;
	}
}

static _Noreturn void child(const char *path, struct progress *progress, uint64_t seed)
{
	struct spool *spool = open_spool(path, seed);
	struct rng rng;

	rng_init(&rng, seed);
	for (uint64_t step = 0;; step++) {
		if (rng_below(&rng, 3) < 2)
			child_add(spool, progress, &rng, step);
		else
			child_take(spool, progress, &rng);
		progress->steps++;
	}
}

static void a_kill_at_any_moment_costs_nothing(void **state)
{
	TEST_DIR(dir);
	struct progress *progress = mmap(
	        NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct rng rng;
	uint64_t before = 0; /* in the folder when the round began */

	assert_ptr_not_equal(progress, MAP_FAILED);
	rng_init(&rng, 4711);
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		uint64_t steps = 1 + rng_below(&rng, 40);
		uint64_t spins = rng_below(&rng, 200000);
		int status;

		memset(progress, 0, sizeof(*progress));
		pid_t pid = fork();
		if (pid == 0)
			child(dir.path, progress, round);
		while (progress->steps < steps && waitpid(pid, &status, WNOHANG) == 0)
			sched_yield();
		/* On into the next operation, no further than chance wants. */
		for (volatile uint64_t i = 0; i < spins; i++)
			;
		CHECK_OK(kill(pid, SIGKILL));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));

		struct spool *spool = open_spool(dir.path, round * 1000);
		struct spool_state found = spool_state(spool);
		uint64_t sure = before + progress->added - progress->done;
		uint64_t total = found.samples + found.lost;
		if (total != sure && total != sure + progress->adding &&
		        total != sure - progress->doing)
			fail_msg("round %llu: %llu found, %llu sure, %llu being added, %llu being "
			         "done",
			        (unsigned long long)round, (unsigned long long)total,
			        (unsigned long long)sure, (unsigned long long)progress->adding,
			        (unsigned long long)progress->doing);
		assert_int_equal(found.broken_samples, 0);
		before = total;
		spool_free(spool);
	}
	munmap(progress, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_kill_at_any_moment_costs_nothing),
	};
	log_setup("spool-kill-test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
