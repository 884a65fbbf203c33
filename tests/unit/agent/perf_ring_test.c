/*
 * Records of perf rings, as the kernel writes them and as nobody should: the corpus of the fuzzer
 * is read as examples, one file per row of the table. Then a ring of this very process.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/perf_ring.h"
#include "core/auto.h"

static int decode_example(const char *name, struct observation *ret_observation, char **ret_bytes)
{
	char path[200];
	size_t count;

	snprintf(path, sizeof(path), "tests/fuzz/corpus/perf_record/%s", name);
	*ret_bytes = test_file_read(path, &count);
	return perf_record_decode(*ret_bytes, count, ret_observation);
}

static void every_example_is_what_its_name_says(void **state)
{
	static const struct {
		const char *name;
		int result;
		enum observation_kind kind;
		int32_t pid;
		int32_t tid;
	} cases[] = {
		{ "comm_exec", 0, OBSERVED_EXEC, 10, 10 },
		{ "comm_of_thread", -ENOMSG, 0, 0, 0 },
		{ "comm_without_end", -EBADMSG, 0, 0, 0 },
		{ "fork", 0, OBSERVED_FORK, 20, 20 },
		{ "fork_of_thread", -ENOMSG, 0, 0, 0 },
		{ "exit", 0, OBSERVED_EXIT, 20, 20 },
		{ "mmap_with_build_id", 0, OBSERVED_MAP, 10, 10 },
		{ "mmap_with_inode", 0, OBSERVED_MAP, 10, 10 },
		{ "mmap_with_huge_build_id", -EBADMSG, 0, 0, 0 },
		{ "mmap_that_wraps", -EBADMSG, 0, 0, 0 },
		{ "lost", 0, OBSERVED_LOST, 0, 0 },
		{ "sample_user", 0, OBSERVED_SAMPLE, 10, 11 },
		{ "sample_kernel_and_user", 0, OBSERVED_SAMPLE, 10, 11 },
		{ "sample_with_huge_count", -EBADMSG, 0, 0, 0 },
		{ "too_short", -EBADMSG, 0, 0, 0 },
		{ "unknown_type", -ENOMSG, 0, 0, 0 },
	};

	for (size_t at = 0; at < COUNT_OF(cases); at++) {
		struct observation observation = { 0 };
		autofree char *bytes = NULL;
		int result = decode_example(cases[at].name, &observation, &bytes);

		if (result != cases[at].result)
			fail_msg("%s: %d", cases[at].name, result);
		assert_int_equal(observation.kind, cases[at].kind);
		assert_int_equal(observation.pid, cases[at].pid);
		assert_int_equal(observation.tid, cases[at].tid);
		if (result == 0) {
			assert_int_equal(observation.time_ns, 5000000);
			assert_int_equal(observation.cpu, 1);
		}
	}
}

static void what_records_say_is_kept(void **state)
{
	struct observation observation;
	autofree char *exec = NULL;
	autofree char *with_id = NULL;
	autofree char *with_inode = NULL;
	autofree char *fork_bytes = NULL;
	autofree char *lost = NULL;

	CHECK_OK(decode_example("comm_exec", &observation, &exec));
	assert_string_equal(observation.comm, "sleep");
	CHECK_OK(decode_example("fork", &observation, &fork_bytes));
	assert_int_equal(observation.fork_parent, 10);
	CHECK_OK(decode_example("lost", &observation, &lost));
	assert_int_equal(observation.lost, 77);

	CHECK_OK(decode_example("mmap_with_build_id", &observation, &with_id));
	assert_int_equal(observation.map.start, 0x400000);
	assert_int_equal(observation.map.bytes, 0x1000);
	assert_int_equal(observation.map.offset, 0x2000);
	assert_int_equal(observation.map.build_id_bytes, 20);
	assert_int_equal(observation.map.build_id[19], 19);
	assert_int_equal(observation.map.inode, 0);
	assert_string_equal(observation.map.path, "/usr/bin/sleep");

	CHECK_OK(decode_example("mmap_with_inode", &observation, &with_inode));
	assert_int_equal(observation.map.build_id_bytes, 0);
	assert_int_equal(observation.map.inode, 1234);
	assert_int_equal(observation.map.device_major, 8);
}

static void call_chains_are_split_into_kernel_and_user(void **state)
{
	struct observation observation;
	autofree char *user = NULL;
	autofree char *both = NULL;

	CHECK_OK(decode_example("sample_user", &observation, &user));
	assert_int_equal(observation.sample.period, 20408163);
	assert_int_equal(observation.sample.kernel_depth, 0);
	assert_int_equal(observation.sample.user_depth, 2);
	assert_int_equal(observation.sample.user_ips[1], 0x402000);

	CHECK_OK(decode_example("sample_kernel_and_user", &observation, &both));
	assert_int_equal(observation.sample.kernel_depth, 2);
	assert_int_equal(observation.sample.kernel_ips[1], 0xffffffff81000100);
	assert_int_equal(observation.sample.user_depth, 1);
	assert_int_equal(observation.sample.user_ips[0], 0x401000);
	assert_int_equal(observation.sample.flags, 0);
}

static void no_prefix_of_an_example_is_read_beyond_its_end(void **state)
{
	static const char *const names[] = { "comm_exec", "fork", "mmap_with_build_id", "lost",
		"sample_kernel_and_user" };

	for (size_t at = 0; at < COUNT_OF(names); at++) {
		char path[200];
		size_t count;
		snprintf(path, sizeof(path), "tests/fuzz/corpus/perf_record/%s", names[at]);
		autofree char *bytes = test_file_read(path, &count);
		for (size_t cut = 0; cut < count; cut++) {
			struct observation observation;
			/* A copy of its own, so that the sanitizer sees a byte too many. */
			autofree char *record = malloc(cut ? cut : 1);
			memcpy(record, bytes, cut);
			assert_int_not_equal(perf_record_decode(record, cut, &observation), 0);
		}
	}
}

struct seen {
	pid_t child;
	bool fork;
	bool comm;
	bool exit;
	uint64_t records;
};

/* The rings are of the whole machine: what others do may fill them before they are read. */
static uint64_t lost_records;

static void on_record(void *owner, const void *record, size_t bytes)
{
	struct seen *seen = owner;
	struct observation observation;

	seen->records++;
	assert_int_equal((uintptr_t)record % 8, 0);
	if (perf_record_decode(record, bytes, &observation) < 0)
		return;
	assert_int_equal(perf_record_time_ns(record, bytes), observation.time_ns);
	lost_records += observation.kind == OBSERVED_LOST;
	if (observation.pid != seen->child)
		return;
	seen->fork |= observation.kind == OBSERVED_FORK;
	seen->comm |= observation.kind == OBSERVED_COMM && strcmp(observation.comm, "renamed") == 0;
	seen->exit |= observation.kind == OBSERVED_EXIT;
}

static void the_side_band_tells_fork_rename_and_exit(void **state)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct perf_ring *rings[256] = { 0 };
	struct seen seen = { 0 };

	assert_true(cpus > 0 && cpus <= (long)COUNT_OF(rings));
	for (uint32_t cpu = 0; cpu < cpus; cpu++) {
		struct perf_ring_options options = {
			.kind = PERF_RING_SIDE_BAND, .cpu = cpu, .pages = 8
		};
		int result = perf_ring_open(options, &rings[cpu]);
		if (result == -EACCES || result == -EPERM) {
			print_message("perf events are not granted: needs CAP_PERFMON\n");
			skip();
		}
		CHECK_OK(result);
		CHECK_OK(perf_ring_enable(rings[cpu]));
	}

	/*
	 * Enough of them that every ring wraps around at least once. A child that nothing was told
	 * of is one whose records found no room, which the kernel says with the next one that does.
	 */
	uint32_t whole = 0, rounds = 0;
	for (; whole < 300 && rounds < 30000; rounds++) {
		seen = (struct seen){ .child = fork() };
		if (seen.child == 0) {
			prctl(PR_SET_NAME, "renamed");
			_exit(0);
		}
		assert_int_equal(waitpid(seen.child, NULL, 0), seen.child);
		for (uint32_t cpu = 0; cpu < cpus; cpu++)
			CHECK_OK(perf_ring_drain(rings[cpu], on_record, &seen));
		whole += seen.fork && seen.comm && seen.exit;
	}
	assert_int_equal(whole, 300);
	CHECK(rounds == whole || lost_records > 0);
	for (uint32_t cpu = 0; cpu < cpus; cpu++)
		perf_ring_free(rings[cpu]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_example_is_what_its_name_says),
		cmocka_unit_test(what_records_say_is_kept),
		cmocka_unit_test(call_chains_are_split_into_kernel_and_user),
		cmocka_unit_test(no_prefix_of_an_example_is_read_beyond_its_end),
		cmocka_unit_test(the_side_band_tells_fork_rename_and_exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
