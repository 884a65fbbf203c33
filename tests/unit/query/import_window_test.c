/*
 * Readers that take a while for a file, an aggregator so far away that takes one file after the
 * other, and a clock that is a number: whatever of them is the slowest stays busy, and no more
 * wait for it than helps.
 */

#include "query/import_window.h"

#include <string.h>

#include "core/clock.h"
#include "tests/lib/test.h"

#define READERS 2
#define JOBS    16
#define NEVER   UINT64_MAX

/* What is measured, over the last half of the files. */
struct seen {
	double files_per_s;
	double wait_ms;
	uint32_t size;
};

struct world {
	struct import_window window;
	uint64_t now_ns;
	uint64_t read_ns, serve_ns, away_ns;
	uint64_t reading_until_ns[READERS];
	uint64_t serving_until_ns;
	/* Files that were handed over, in order, as they are acknowledged. */
	struct {
		uint64_t handed_ns, acked_ns;
	} sent[JOBS];
	uint32_t first, sent_count;
	uint32_t under_way;
};

static struct world world_of(uint64_t read_ns, uint64_t serve_ns, uint64_t away_ns)
{
	struct world world = {
		.read_ns = read_ns,
		.serve_ns = serve_ns,
		.away_ns = away_ns,
		.window = import_window_of(READERS + 1, JOBS, 0),
	};
	for (uint32_t i = 0; i < READERS; i++)
		world.reading_until_ns[i] = NEVER;
	return world;
}

static void world_begin_files(struct world *world)
{
	for (uint32_t i = 0; i < READERS; i++) {
		if (world->reading_until_ns[i] != NEVER)
			continue;
		if (world->under_way >= world->window.size) {
			import_window_holds(&world->window);
			continue;
		}
		world->under_way++;
		world->reading_until_ns[i] = world->now_ns + world->read_ns;
	}
}

static void world_hand_over(struct world *world, uint32_t reader)
{
	uint64_t free_ns = world->serving_until_ns > world->now_ns ? world->serving_until_ns
	                                                           : world->now_ns;
	uint32_t last = (world->first + world->sent_count++) % JOBS;
	world->reading_until_ns[reader] = NEVER;
	world->serving_until_ns = free_ns + world->serve_ns;
	world->sent[last].handed_ns = world->now_ns;
	world->sent[last].acked_ns = world->serving_until_ns + world->away_ns;
}

/* The wait of the next file that is acknowledged. */
static uint64_t world_next_ack(struct world *world)
{
	for (;;) {
		world_begin_files(world);
		uint64_t next_ns = world->sent_count ? world->sent[world->first].acked_ns : NEVER;
		uint32_t reader = READERS;
		for (uint32_t i = 0; i < READERS; i++) {
			if (world->reading_until_ns[i] >= next_ns)
				continue;
			next_ns = world->reading_until_ns[i];
			reader = i;
		}
		assert_true(next_ns != NEVER); /* Nobody waits for a window that never opens. */
		world->now_ns = next_ns;
		if (reader < READERS) {
			world_hand_over(world, reader);
			continue;
		}
		uint64_t waited_ns = next_ns - world->sent[world->first].handed_ns;
		world->first = (world->first + 1) % JOBS;
		world->sent_count--;
		world->under_way--;
		import_window_acked(&world->window, next_ns, waited_ns);
		assert_in_range(world->window.size, 1, world->window.max);
		return waited_ns;
	}
}

static struct seen world_run(struct world *world, uint32_t files)
{
	struct seen seen = { 0 };
	uint64_t waited_ns = 0, half_ns = 0;
	for (uint32_t i = 0; i < files; i++) {
		uint64_t one_ns = world_next_ack(world);
		if (i == files / 2)
			half_ns = world->now_ns;
		if (i > files / 2)
			waited_ns += one_ns;
	}
	uint32_t counted = files - files / 2 - 1;
	seen.files_per_s = counted * 1e9 / (double)(world->now_ns - half_ns);
	seen.wait_ms = (double)waited_ns / counted / 1e6;
	seen.size = world->window.size_before ? world->window.size_before : world->window.size;
	return seen;
}

static void far_away_as_many_as_may_be_are_under_way(void **state)
{
	struct world world = world_of(2 * NS_PER_MS, NS_PER_MS / 10, 100 * NS_PER_MS);
	struct seen seen = world_run(&world, 20000);
	assert_int_equal(seen.size, JOBS);
	assert_true(seen.files_per_s > 0.95 * JOBS / 0.1021);
}

static void where_the_aggregator_is_the_slowest_only_a_few_wait_for_it(void **state)
{
	struct world world = world_of(2 * NS_PER_MS, 5 * NS_PER_MS, NS_PER_MS);
	/* However long it goes on: nobody takes for the shortest wait what is the wait of many. */
	struct seen seen = world_run(&world, 20000);
	assert_true(seen.files_per_s > 0.99 * 200);
	/* All sixteen would wait for 5 ms each, 76 ms with what is being read. */
	assert_true(seen.wait_ms < 6 * 5);
}

static void where_reading_is_the_slowest_nobody_waits(void **state)
{
	struct world world = world_of(20 * NS_PER_MS, NS_PER_MS, NS_PER_MS);
	struct seen seen = world_run(&world, 1000);
	assert_true(seen.files_per_s > 0.99 * READERS / 0.020);
	assert_true(seen.wait_ms < 4);
	/* It is hardly ever the window that holds a reader, so that did not grow. */
	assert_true(seen.size <= READERS + 2);
}

static void an_aggregator_that_moves_away_is_found_out(void **state)
{
	struct world world = world_of(2 * NS_PER_MS, NS_PER_MS, NS_PER_MS);
	struct seen near = world_run(&world, 1000);
	world.away_ns = 60 * NS_PER_MS;
	struct seen far = world_run(&world, 8000);
	assert_true(near.wait_ms < 8);
	assert_int_equal(far.size, JOBS);
	assert_true(far.files_per_s > 0.9 * JOBS / 0.063);
}

static void one_that_becomes_slow_is_given_less(void **state)
{
	struct world world = world_of(2 * NS_PER_MS, NS_PER_MS / 10, 60 * NS_PER_MS);
	(void)world_run(&world, 1000);
	assert_int_equal(world.window.size, JOBS);
	world.serve_ns = 20 * NS_PER_MS;
	struct seen slow = world_run(&world, 8000);
	assert_true(slow.files_per_s > 0.98 * 50);
	assert_true(slow.size < JOBS);
	assert_true(slow.wait_ms < 60 + 6 * 20);
}

static void odd_clocks_change_nothing(void **state)
{
	struct import_window window = import_window_of(1, 4, 1000);
	for (uint32_t i = 0; i < 2000; i++) {
		import_window_holds(&window);
		import_window_acked(&window, 1000 - i % 3, i % 2 ? UINT64_MAX : 0);
		assert_in_range(window.size, 1, 4);
	}
	struct import_window only = import_window_of(3, 3, 0);
	for (uint32_t i = 1; i < 2000; i++) {
		import_window_holds(&only);
		import_window_acked(&only, i * NS_PER_MS, i % 7 * NS_PER_S);
		assert_in_range(only.size, 1, 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(far_away_as_many_as_may_be_are_under_way),
		cmocka_unit_test(where_the_aggregator_is_the_slowest_only_a_few_wait_for_it),
		cmocka_unit_test(where_reading_is_the_slowest_nobody_waits),
		cmocka_unit_test(an_aggregator_that_moves_away_is_found_out),
		cmocka_unit_test(one_that_becomes_slow_is_given_less),
		cmocka_unit_test(odd_clocks_change_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
