/*
 * Random programs against a model that is written for clarity (oracle_model.h). The store has to
 * agree exactly: what it says of each section that it is given; every value per group and function,
 * at every resolution, and every number of the completeness; which windows and units there are and
 * what of them is hidden. Over groups with duplicates and late batches; windows sealed while some
 * of theirs still come; rollups made anew; policies, holds, hiding, erasing, undoing, parting;
 * deletion by range and on request; generations of the dictionary that come and go; want of memory
 * and disk; restarts with other windows.
 *
 * Virtual time moves on and policies take what is old, so that a program of many steps stays as
 * small as one of few. A failure prints how to run its seed alone.
 */

#include <inttypes.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/storage/oracle_program.h"

/* Few and short under sanitizers; unit.storage.store_oracle_long has many and long ones. */
#ifndef ORACLE_SEEDS
#define ORACLE_SEEDS    4
#define ORACLE_STEPS    300
#define ORACLE_STEPS_CI ORACLE_STEPS
#endif

#define WORKERS_MAX  2
#define ENOUGH_SEEDS 12 /* for everything to have happened */

struct shared {
	uint64_t next;
	struct position workers[WORKERS_MAX];
};

/*
 * Which seeds are run: all by several workers, or every so many of them by one. A part of the seeds
 * is a test of its own, so that who runs many tests can run others beside it.
 */
static struct {
	uint64_t part;
	uint64_t parts;
	uint32_t workers;
} share = { 1, 1, WORKERS_MAX };

/* ---- steps ---- */

static void do_append(struct program *program)
{
	program_append(program, FAIL_NOT);
}

static void do_append_without_memory(struct program *program)
{
	program_append(program, FAIL_MEMORY);
}

static void do_append_without_disk(struct program *program)
{
	program_append(program, FAIL_DISK);
}

static void do_erase(struct program *program)
{
	struct model_run *run = program_pick_run(program);
	if (run)
		program_erase(program, run);
}

static void do_undo(struct program *program)
{
	struct model_run *run = program_pick_run(program);
	if (run)
		program_undo(program, run);
}

static void do_policy(struct program *program)
{
	program_make_policy(program, (uint32_t)rng_below(&program->rng, POLICIES));
}

/* Of a thousand. */
static const struct {
	const char *name;
	void (*run)(struct program *program);
	uint32_t often;
} steps[] = {
	{ "append", do_append, 330 },
	{ "append, no memory", do_append_without_memory, 25 },
	{ "append, no disk", do_append_without_disk, 3 },
	{ "seal", program_seal, 25 },
	{ "roll", program_roll, 25 },
	{ "retain", program_retain, 20 },
	{ "hide", program_hide_some, 12 },
	{ "erase", do_erase, 25 },
	{ "undo", do_undo, 8 },
	{ "hold", program_hold, 6 },
	{ "policy", do_policy, 3 },
	{ "part", program_part, 10 },
	{ "delete", program_delete, 6 },
	{ "forget", program_forget, 5 },
	{ "collect", program_collect, 8 },
	{ "flush", program_flush, 3 },
	{ "restart", program_restart, 6 },
	{ "totals", program_check_totals, 15 },
	{ "windows", program_check_windows, 7 },
	{ "sum heads", program_sum_heads, 80 },
	{ "query", program_query, 378 },
};

/* Room for another group of sections. */
static void program_make_room(struct program *program)
{
	struct model *model = program->model;
	uint32_t free_places = 0;
	for (uint32_t i = 0; i < MODEL_SECTIONS_MAX; i++)
		free_places += !model->sections[i].is_there;
	if (free_places >= GROUP_MAX)
		return;
	model_forget_sections(model, program_now(program) - 2 * LATE_MAX_S * SECOND);
	for (uint32_t i = free_places = 0; i < MODEL_SECTIONS_MAX; i++)
		free_places += !model->sections[i].is_there;
	if (free_places >= MODEL_SECTIONS_MAX / 8)
		return;
	program_delete_range(program, 0, UINT64_MAX);
	model_forget_sections(model, UINT64_MAX);
}

static void program_step(struct program *program)
{
	uint32_t dice = (uint32_t)rng_below(&program->rng, 1000);
	size_t step = 0;
	while (step + 1 < COUNT_OF(steps) && dice >= steps[step].often)
		dice -= steps[step++].often;
	clock_virtual_advance(&program->clock, (1 + rng_below(&program->rng, 12)) * SECOND);
	snprintf(program->at->doing, sizeof(program->at->doing), "%s", steps[step].name);
	program_make_room(program);
	steps[step].run(program);
	program->at->step++;
}

/* A build server takes the time for the whole length, which nobody has who waits. */
static uint64_t steps_count(void)
{
	const char *text = getenv("PROFLEET_STEPS");
	if (text)
		return strtoull(text, NULL, 10);
	return getenv("CI") ? ORACLE_STEPS_CI : ORACLE_STEPS;
}

static void program_init(struct program *program, uint64_t seed)
{
	oracle_name_instances(seed);
	rng_init(&program->rng, seed);
	clock_virtual_init(&program->clock, 1700000000 * SECOND);
	program->folds = rng_below(&program->rng, 4) == 0;
	program->model = model_new();
	program_open(program);
	program->all = source_new(program->store, 0);
	for (uint32_t s = 0; s < MODEL_SERIES; s++) {
		program->all_series[s] = oracle_make_series(&program->all, s);
		program->model->group_of_sums[s] =
		        ((oracle_version_of(s) * 2 + oracle_region_of(s)) * 16 +
		                oracle_bucket_of(s)) *
		                MODEL_PERIODS +
		        s % MODEL_PERIODS;
	}
	for (uint32_t i = 0; i < POLICIES; i++)
		program_make_policy(program, i);
}

static void program_run(uint64_t seed, struct position *at, struct reached *reached)
{
	TEST_DIR(dir);
	struct program *program = calloc(1, sizeof(*program));
	assert_non_null(program);
	*at = (struct position){ .seed = seed };
	program->dir = &dir;
	program->at = at;
	program->reached = reached;
	program_init(program, seed);
	while (at->step < steps_count())
		program_step(program);
	program_check_totals(program);
	program_check_windows(program);
	program_note_heads(program);
	source_free(&program->all);
	for (uint32_t i = 0; i < GROUP_MAX; i++)
		source_free(&program->sources[i]);
	store_free(program->store);
	model_free(program->model);
	free(program);
}

/* ---- workers ---- */

static void check_reached(const struct reached *reached)
{
	print_message("%" PRIu64 " windows, %" PRIu64 " rollups, coarsest answer %" PRIu64
	              " s, %" PRIu64 " generations at once; hidden %" PRIu64 " %" PRIu64 " %" PRIu64
	              ", erased %" PRIu64 " %" PRIu64 " %" PRIu64 " windows; %" PRIu64
	              " undone, %" PRIu64 " parted, %" PRIu64 " forgotten, %" PRIu64
	              " held, %" PRIu64 " moved; %" PRIu64 " answers with folded, %" PRIu64
	              " windows unanswerable\n",
	        reached->windows, reached->rollups, reached->coarsest_ns / SECOND,
	        reached->generations, reached->hidden[0], reached->hidden[1], reached->hidden[2],
	        reached->erased[0], reached->erased[1], reached->erased[2], reached->undone,
	        reached->parted, reached->forgotten, reached->held, reached->moved, reached->folded,
	        reached->unanswerable);
	CHECK(reached->windows > 0 && reached->rollups > 0 && reached->coarsest_ns > 60 * SECOND);
	CHECK(reached->generations > 3 && reached->undone > 0 && reached->parted > 0);
	print_message("sums of open windows: %" PRIu64 " made, %" PRIu64 " times used, %" PRIu64
	              " refused\n",
	        reached->heads_built, reached->heads_used, reached->heads_refused);
	CHECK(reached->heads_built > 0 && reached->heads_used > 0 && reached->heads_refused > 0);
	CHECK(reached->held > 0 && reached->folded > 0 && reached->unanswerable > 0);
	for (uint32_t level = 0; level < STORE_EXPIRE_LEVELS; level++)
		CHECK(reached->hidden[level] > 0 && reached->erased[level] > 0);
}

/* Seeds are taken one by one, so that no worker waits for the other at the end. */
static void work(struct shared *shared, uint32_t worker, uint64_t seeds)
{
	struct reached reached = { 0 };
	uint64_t count = 0;
	uint64_t seed;
	while ((seed = share.part + share.parts * __atomic_fetch_add(&shared->next, 1,
	                                                  __ATOMIC_RELAXED)) <= seeds) {
		program_run(seed, &shared->workers[worker], &reached);
		count++;
	}
	if (count >= ENOUGH_SEEDS)
		check_reached(&reached);
}

static bool tell_end(const struct position *at, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	print_error("a worker %s %d in seed %" PRIu64 ", step %" PRIu64 ": %s\n"
	            "again: PROFLEET_SEED=%" PRIu64 " PROFLEET_STEPS=%" PRIu64 "\n",
	        WIFSIGNALED(status) ? "was ended by signal" : "ended with",
	        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), at->seed, at->step,
	        at->doing, at->seed, steps_count());
	return false;
}

/*
 * What a process has to say of its end goes through a pipe, and is said by the other: a file cannot
 * be written to while a full disk is played.
 */
static void tell_what_comes(int from)
{
	char text[4096];
	ssize_t count;
	while ((count = read(from, text, sizeof(text))) > 0)
		(void)fwrite(text, 1, (size_t)count, stderr);
	(void)fflush(stderr);
	close(from);
}

static void run_workers(struct shared *shared, uint64_t seeds)
{
	/* Those of the workers lie in it: it is removed whatever becomes of them. */
	TEST_DIR(dir);
	pid_t workers[WORKERS_MAX];
	int ends[2];
	bool is_well = true;
	CHECK_OK(setenv("TMPDIR", dir.path, 1));
	CHECK_OK(pipe(ends));
	for (uint32_t worker = 0; worker < share.workers; worker++) {
		(void)fflush(NULL);
		workers[worker] = fork();
		CHECK(workers[worker] >= 0);
		if (workers[worker] > 0)
			continue;
		close(ends[0]);
		CHECK(dup2(ends[1], STDERR_FILENO) >= 0 && dup2(ends[1], STDOUT_FILENO) >= 0);
		work(shared, worker, seeds);
		(void)fflush(NULL);
		_exit(0);
	}
	close(ends[1]);
	tell_what_comes(ends[0]);
	for (uint32_t worker = 0; worker < share.workers; worker++) {
		int status;
		assert_int_equal(waitpid(workers[worker], &status, 0), workers[worker]);
		is_well &= tell_end(&shared->workers[worker], status);
	}
	CHECK(is_well);
}

static void random_programs_agree_with_the_model(void **state)
{
	const char *one = getenv("PROFLEET_SEED");
	const char *count = getenv("PROFLEET_SEEDS");
	struct reached reached = { 0 };
	struct shared *shared = mmap(
	        NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	/* Nothing of the database has begun yet, so a child is a process like this one. */
	if (one)
		program_run(strtoull(one, NULL, 10), &shared->workers[0], &reached);
	else
		run_workers(shared, count ? strtoull(count, NULL, 10) : ORACLE_SEEDS);
	munmap(shared, sizeof(*shared));
}

/* Without arguments all seeds; with PART PARTS every PARTSth of them, from PART on. */
int main(int count, char **arguments)
{
	if (count == 3) {
		share.part = strtoull(arguments[1], NULL, 10);
		share.parts = strtoull(arguments[2], NULL, 10);
		share.workers = 1;
	}
	if (share.part == 0 || share.part > share.parts)
		return EXIT_FAILURE;
	/* Many small files and syncs: in memory where there is a file system there. */
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_programs_agree_with_the_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
