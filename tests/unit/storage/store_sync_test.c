/*
 * An acknowledgement means synced: this program's own fdatasync() and fsync() stand between RocksDB
 * and the kernel, count, and fail when told to.
 */

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/clock.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

static _Atomic uint32_t log_syncs; /* of RocksDB's log files */
static _Atomic bool syncs_fail;

static int sync_or_fail(int fd, long call)
{
	char link[64];
	char path[512];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t count = readlink(link, path, sizeof(path) - 1);
	bool is_log = count > 4 && memcmp(path + count - 4, ".log", 4) == 0;
	if (is_log && syncs_fail) {
		errno = EIO;
		return -1;
	}
	log_syncs += is_log;
	return (int)syscall(call, fd);
}

int fdatasync(int fd)
{
	return sync_or_fail(fd, SYS_fdatasync);
}

int fsync(int fd)
{
	return sync_or_fail(fd, SYS_fsync);
}

static struct store_append section(struct source *source, uint32_t seq, uint64_t value)
{
	char name[32];
	snprintf(name, sizeof(name), "service%u", seq);
	source_begin(source, seq * SECOND, SECOND);
	CHECK_OK(batch_add_row(source->batch, source_series(source, name, "a", 1),
	        source_stack(source, name), value));
	return source_section(source, seq);
}

static void a_group_is_synced_once_before_it_is_acknowledged(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	struct source other = source_new(store, 2);

	for (uint32_t seq = 1; seq <= 5; seq++) {
		uint32_t before = log_syncs;
		struct store_append appends[] = { section(&source, seq, 1),
			section(&other, seq, 1) };
		CHECK_OK(store_append(store, appends, COUNT_OF(appends)));
		assert_int_equal(appends[0].ret_status, WIRE_OK);
		assert_int_equal(log_syncs, before + 1);
	}
	/* Duplicates have nothing to be synced. */
	uint32_t before = log_syncs;
	struct store_append again = section(&source, 5, 1);
	CHECK_OK(store_append(store, &again, 1));
	assert_int_equal(again.ret_status, WIRE_DUP);
	assert_int_equal(log_syncs, before);
	source_free(&source);
	source_free(&other);
}

static void a_group_whose_sync_failed_is_not_acknowledged_and_counts_once_in_the_end(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	struct source source = source_new(store, 1);
	struct source other = source_new(store, 2);
	struct store_counters counters;

	struct store_append first = section(&source, 1, 1);
	CHECK_OK(store_append(store, &first, 1));
	struct dict_mark before = dict_mark(store_dict(store));

	syncs_fail = true;
	struct store_append failed = section(&source, 2, 10);
	assert_int_equal(store_append(store, &failed, 1), -EIO);
	struct dict_mark after = dict_mark(store_dict(store));
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 1);

	/* Opening again brings back what was in the log, and into a synced file; new syncs still
	 * fail. */
	struct store_append foreign = section(&other, 1, 100);
	assert_int_equal(store_append(store, &foreign, 1), -EIO);
	assert_int_equal(store_fixture_value(store, "cpu{service=\"service1\"}", 0, UINT64_MAX), 1);
	syncs_fail = false;

	/* Whoever comes first opens the store again; each counts once, kept before or now. */
	CHECK_OK(store_append(store, &foreign, 1));
	CHECK(foreign.ret_status == WIRE_OK || foreign.ret_status == WIRE_DUP);
	CHECK_OK(store_append(store, &failed, 1));
	CHECK(failed.ret_status == WIRE_OK || failed.ret_status == WIRE_DUP);

	for (int restarts = 0; restarts < 2; restarts++) {
		assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 111);
		assert_int_equal(
		        store_fixture_value(store, "cpu{service=\"service2\"}", 0, UINT64_MAX), 10);
		CHECK_OK(store_counters(store, "", &counters));
		assert_int_equal(counters.samples, 111);
		assert_int_equal(counters.batches, 3);
		store_free(store);
		store = store_fixture_open(dir.path);
	}
	CHECK(dict_mark(store_dict(store)).series == before.series + 1);
	source_free(&source);
	source_free(&other);
	store_free(store);
}

/* How often the log was synced since the last time. */
static uint32_t synced(void)
{
	static uint32_t before;
	uint32_t count = log_syncs - before;
	before = log_syncs;
	return count;
}

/* What removes files, or is undone or told, is on the disk before: as often as it is written. */
static void what_forgets_is_synced_at_every_step(void **state)
{
	TEST_DIR(dir);
	struct clock_virtual clock;
	struct store_options options = store_fixture_options(dir.path);
	clock_virtual_init(&clock, 1000 * SECOND);
	options.clock = &clock.clock;
	options.window_ns = 10 * SECOND;
	options.generation_ns = 100 * SECOND;
	struct store *store = store_fixture_open_with(options);
	struct source source = source_new(store, 1);
	struct store_window_name window = { 0, 0, 0, 10 * SECOND };
	struct store_expire_item item = { window, STORE_UNIT_NONE, STORE_PART_ALL };
	struct store_run run = { .id = 1 };
	struct store_expired expired;
	struct store_size size;
	uint64_t batches;
	for (uint32_t seq = 1; seq <= 30; seq++) {
		struct store_append append = section(&source, seq, 1);
		CHECK_OK(store_append(store, &append, 1));
	}
	(void)synced();
	CHECK_OK(store_seal(store, UINT64_MAX));
	CHECK(synced() >= 4); /* a window each */
	CHECK_OK(store_hide(store, &run, &item, 1, &expired));
	CHECK(synced() >= 1);
	CHECK_OK(store_undo(store, 1, &expired));
	CHECK(synced() >= 1);
	CHECK_OK(store_hide(store, &run, &item, 1, &expired));
	(void)synced();
	CHECK_OK(store_erase(store, 1, NULL, &expired));
	CHECK(synced() >= 3); /* that it begins, what goes, the end of the run */
	CHECK_OK(store_delete_range(store, 0, UINT64_MAX, &batches));
	CHECK(batches > 0 && synced() >= 1);
	/* A generation that nothing is left of. */
	clock_virtual_advance(&clock, 1000 * SECOND);
	struct store_append append = section(&source, 31, 1);
	CHECK_OK(store_append(store, &append, 1));
	(void)synced();
	CHECK_OK(store_collect(store));
	CHECK(synced() >= 1);
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.generations, 1);
	source_free(&source);
	store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_group_is_synced_once_before_it_is_acknowledged),
		cmocka_unit_test(
		        a_group_whose_sync_failed_is_not_acknowledged_and_counts_once_in_the_end),
		cmocka_unit_test(what_forgets_is_synced_at_every_step),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
