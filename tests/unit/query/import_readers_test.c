/*
 * Files are read for threads that want them, and no more are under way than may be: one that is
 * neither acknowledged nor dropped keeps the next one waiting, one that cannot be read does not.
 */

#include "query/import_readers.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/lib/test.h"

#define FILES   40
#define THREADS 8
/* What another thread gets to begin what it must not. */
#define YIELDS 2000

struct reading {
	struct import_readers *readers;
	const char *path;
	uint32_t next;
	uint32_t under_way;
	uint32_t most;
	bool may_begin;
	uint64_t rows;
};

static const struct profile_file_options options = { .form = PROFILE_FILE_FOLDED };

static char *folded_file(char path[static 64])
{
	snprintf(path, 64, "/tmp/profleet-readers-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "a;b 1\na;c 2\n", 12), 12);
	close(fd);
	return path;
}

static void *read_many(void *argument)
{
	struct reading *reading = argument;
	while (__atomic_fetch_add(&reading->next, 1, __ATOMIC_RELAXED) < FILES) {
		struct profile_file file;
		assert_int_equal(
		        import_readers_read(reading->readers, reading->path, &options, &file), 0);
		uint32_t under_way = __atomic_add_fetch(&reading->under_way, 1, __ATOMIC_SEQ_CST);
		if (under_way > __atomic_load_n(&reading->most, __ATOMIC_SEQ_CST))
			__atomic_store_n(&reading->most, under_way, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&reading->rows, file.batch->rows_count, __ATOMIC_SEQ_CST);
		profile_file_fini(&file);
		__atomic_sub_fetch(&reading->under_way, 1, __ATOMIC_SEQ_CST);
		import_readers_acked(reading->readers, NS_PER_MS);
	}
	return NULL;
}

static void every_file_is_read_and_no_more_than_may_be_at_once(void **state)
{
	char path[64];
	struct reading reading = { .path = folded_file(path) };
	pthread_t threads[THREADS];
	assert_int_equal(import_readers_new(3, &reading.readers), 0);
	for (uint32_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_many, &reading), 0);
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(reading.rows, 2 * FILES);
	assert_in_range(reading.most, 1, 3);
	import_readers_free(reading.readers);
	unlink(path);
}

static void *read_second(void *argument)
{
	struct reading *reading = argument;
	struct profile_file file;
	assert_int_equal(import_readers_read(reading->readers, reading->path, &options, &file), 0);
	assert_true(__atomic_load_n(&reading->may_begin, __ATOMIC_SEQ_CST));
	profile_file_fini(&file);
	import_readers_dropped(reading->readers);
	return NULL;
}

/* `end` of the first is what lets the second begin. */
static void check_held(void (*end)(struct import_readers *))
{
	char path[64];
	struct reading reading = { .path = folded_file(path) };
	struct profile_file file;
	pthread_t thread;
	assert_int_equal(import_readers_new(1, &reading.readers), 0);
	assert_int_equal(import_readers_read(reading.readers, path, &options, &file), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_second, &reading), 0);
	for (uint32_t i = 0; i < YIELDS; i++)
		sched_yield();
	__atomic_store_n(&reading.may_begin, true, __ATOMIC_SEQ_CST);
	end(reading.readers);
	pthread_join(thread, NULL);
	profile_file_fini(&file);
	import_readers_free(reading.readers);
	unlink(path);
}

static void acknowledge(struct import_readers *readers)
{
	import_readers_acked(readers, NS_PER_MS);
}

static void one_under_way_keeps_the_next_waiting(void **state)
{
	check_held(acknowledge);
	check_held(import_readers_dropped);
}

static void one_that_cannot_be_read_keeps_nobody_waiting(void **state)
{
	struct import_readers *readers = NULL;
	struct profile_file file;
	assert_int_equal(import_readers_new(1, &readers), 0);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_not_equal(
		        import_readers_read(readers, "/nowhere/at/all", &options, &file), 0);
	import_readers_free(readers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_file_is_read_and_no_more_than_may_be_at_once),
		cmocka_unit_test(one_under_way_keeps_the_next_waiting),
		cmocka_unit_test(one_that_cannot_be_read_keeps_nobody_waiting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
