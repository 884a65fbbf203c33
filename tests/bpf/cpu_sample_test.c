/*
 * The sampler against the running kernel: programs load, samples carry the right process and the
 * right stack in the right shares, processes of a few milliseconds are all known, and no sample is
 * lost without being counted, in both tiers and without being root.
 *
 * Children burn a given CPU time and end; nothing waits for a time to pass. The binary starts
 * itself again under other names to have programs of its own.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <math.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/collector.h"
#include "agent/symbolizer.h"
#include "core/log.h"
#include "profile/naming.h"

#define HZ 997

static const char *test_reason; /* why nothing can be sampled here */

/* ---- what the children do ---- */

static volatile uint64_t burn_sink;

static uint64_t burn_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* About a tenth of a millisecond without a call, so that asking for the time costs nothing beside
 * it. */
#define BURN(name)                                                                                 \
	static __attribute__((noinline)) void name(uint64_t cpu_ns)                                \
	{                                                                                          \
		uint64_t end_ns = burn_cpu_ns() + cpu_ns;                                          \
		while (burn_cpu_ns() < end_ns) {                                                   \
			for (uint32_t at = 0; at < 100000; at++)                                   \
				burn_sink += at;                                                   \
		}                                                                                  \
	}
BURN(burn_half)
BURN(burn_third)
BURN(burn_fifth)

/* 50, 30 and 20 % in rounds whose length has nothing to do with the sampling period. */
static __attribute__((noinline)) void burn_rounds(uint32_t rounds)
{
	for (uint32_t round = 0; round < rounds; round++) {
		burn_half(8500000);
		burn_third(5100000);
		burn_fifth(3400000);
	}
}

static __attribute__((noinline)) void burn_below(uint32_t depth, uint32_t rounds)
{
	if (depth > 0)
		burn_below(depth - 1, rounds);
	else
		burn_rounds(rounds);
	burn_sink++; /* Not a tail call. */
}

/*
 * Burns below a frame pointer of zero, which is how the outermost function of a thread begins. The
 * C library of most machines has no frame pointers, so no other stack here ends like that.
 */
static __attribute__((noinline, used)) void burn_below_root(void)
{
	burn_half(400000000);
	burn_sink++;
}

static __attribute__((noinline)) void burn_from_root(void)
{
#if defined(__x86_64__)
	__asm__ volatile("mov %%rsp, %%rbx\n\t"
	                 "push %%rbp\n\t"
	                 "and $-16, %%rsp\n\t"
	                 "mov -8(%%rbx), %%r12\n\t"
	                 "xor %%ebp, %%ebp\n\t"
	                 "call burn_below_root\n\t"
	                 "mov %%r12, %%rbp\n\t"
	                 "mov %%rbx, %%rsp"
	                 :
	                 :
	                 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
	                 "r12", "xmm0", "xmm1", "memory", "cc");
#endif
}

/* ---- a whole agent without the network ---- */

struct rig {
	struct sampler *sampler;
	struct symbol_files *files;
	struct process_table *processes;
	struct labeler *labeler;
	struct collector *collector;
	struct batch *batch; /* of the interval that rig_finish() closed */
	struct sampler_state state;
};

static int rig_open(struct rig *rig, struct sampler_options options)
{
	char error[512] = "";
	int result = sampler_open(options, &rig->sampler, error, sizeof(error));

	if (result < 0) {
		print_message("%s\n", error);
		return result;
	}
	rig->files = symbol_files_new((struct symbol_files_options){ 0 });
	rig->processes = process_table_new((struct process_table_options){ .files = rig->files });
	assert_non_null(rig->processes);
	CHECK_OK(process_table_scan(rig->processes));
	CHECK_OK(sampler_start(rig->sampler));
	CHECK_OK(labeler_new(
	        (struct labeler_options){ .host = "test" }, &rig->labeler, error, sizeof(error)));
	CHECK_OK(collector_new(
	        (struct collector_options){
	                .sampler = rig->sampler,
	                .processes = rig->processes,
	                .files = rig->files,
	                .labeler = rig->labeler,
	        },
	        &rig->collector));
	return 0;
}

static void rig_close(struct rig *rig)
{
	collector_free(rig->collector);
	labeler_free(rig->labeler);
	process_table_free(rig->processes);
	symbol_files_free(rig->files);
	sampler_free(rig->sampler);
}

static void rig_drain(struct rig *rig)
{
	CHECK_OK(sampler_wait(rig->sampler, -1, 100));
	CHECK_OK(collector_drain(
	        rig->collector, clock_monotonic_ns(clock_real()) - SAMPLER_SETTLE_NS));
}

static void rig_finish(struct rig *rig)
{
	sampler_stop(rig->sampler);
	CHECK_OK(collector_drain(rig->collector, UINT64_MAX));
	rig->batch = collector_close_interval(rig->collector, clock_monotonic_ns(clock_real()));
	assert_non_null(rig->batch);
	rig->state = sampler_state(rig->sampler);
}

/* Drains until the child has ended, then finishes. Returns the CPU time of the child and its
 * children. */
static uint64_t rig_watch(struct rig *rig, pid_t child)
{
	struct rusage usage;
	int status;

	while (wait4(child, &status, WNOHANG, &usage) == 0)
		rig_drain(rig);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	rig_finish(rig);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/* taken = rows + losses: what everything else stands on. */
static void rig_check_identity(const struct rig *rig)
{
	assert_int_equal(rig->state.taken, batch_samples(rig->batch) + batch_lost(rig->batch));
	assert_true(rig->state.taken > 0);
}

static const char *rig_label(const struct batch *batch, uint32_t series, const char *name)
{
	uint32_t id = dict_find_string(batch->dict, name, strlen(name));

	return id == ID_NONE ? ""
	                     : dict_text(batch->dict, dict_label_value(batch->dict, series, id));
}

static uint64_t rig_samples_of(const struct batch *batch, const char *label, const char *value)
{
	uint64_t sum = 0;

	for (uint32_t at = 0; at < batch->rows_count; at++) {
		if (strcmp(rig_label(batch, batch->rows[at].series, label), value) == 0)
			sum += batch->rows[at].value;
	}
	return sum;
}

/* ---- naming, as the aggregator would do it ---- */

struct test_source {
	struct naming_source source;
	struct symbol_files *files;
	char build_ids[64][BUILD_ID_TEXT_MAX];
	struct symbols *symbols[64];
	uint32_t count;
};

static const struct symbols *test_source_find(struct naming_source *source, const char *build_id)
{
	struct test_source *test = (struct test_source *)source;
	AUTO_BUF packed = { 0 };

	for (uint32_t at = 0; at < test->count; at++) {
		if (strcmp(test->build_ids[at], build_id) == 0)
			return test->symbols[at];
	}
	if (test->count == COUNT_OF(test->symbols))
		return NULL;
	snprintf(test->build_ids[test->count], BUILD_ID_TEXT_MAX, "%s", build_id);
	autoclose int fd = symbol_files_open(test->files, build_id);
	struct symbolizer_limits limits = { UINT64_C(1) << 40, 10, 64u << 20 };
	if (fd >= 0 && symbolizer_extract(fd, limits, &packed) == 0)
		(void)symbols_open(packed.bytes, packed.count, &test->symbols[test->count]);
	return test->symbols[test->count++];
}

static void test_source_fini(struct test_source *test)
{
	for (uint32_t at = 0; at < test->count; at++)
		symbols_free(test->symbols[at]);
}

static const char *named_function(const struct batch *batch, uint32_t node)
{
	struct frame frame = dict_get_frame(batch->dict, dict_get_node(batch->dict, node).frame);

	return dict_text(batch->dict, frame.function);
}

/* Is the function anywhere on the stack? */
static bool named_has(const struct batch *batch, uint32_t node, const char *function)
{
	for (; node != DICT_NODE_ROOT; node = dict_get_node(batch->dict, node).parent) {
		if (strcmp(named_function(batch, node), function) == 0)
			return true;
	}
	return false;
}

/* Of the child alone: another program of the machine may well have functions of these names. */
static uint64_t named_samples_with(
        const struct batch *batch, const char *label, const char *value, const char *function)
{
	uint64_t sum = 0;

	for (uint32_t at = 0; at < batch->rows_count; at++) {
		if (strcmp(rig_label(batch, batch->rows[at].series, label), value) == 0 &&
		        named_has(batch, batch->rows[at].node, function))
			sum += batch->rows[at].value;
	}
	return sum;
}

static void check_share(uint64_t part, uint64_t all, double share)
{
	double expected = (double)all * share;
	/* Five standard deviations of a binomial: one wrong alarm in two million. */
	double allowed = 5 * sqrt((double)all * share * (1 - share)) + 1;

	if (fabs((double)part - expected) > allowed)
		fail_msg("%llu of %llu samples, expected %.0f +- %.0f", (unsigned long long)part,
		        (unsigned long long)all, expected, allowed);
}

/* ---- tests ---- */

/*
 * The whole machine is sampled, on which this test may run a second time: a child's name has the
 * process in it that waits for it. The text stays until the next one is asked for.
 */
static const char *own_name(const char *name)
{
	static char text[32];
	int count = snprintf(text, sizeof(text), "%s%d", name, getpid());

	assert_true(count <= 15); /* what the kernel keeps of a comm */
	return text;
}

static pid_t child_burn(const char *comm, uint32_t rounds)
{
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_NAME, comm);
		burn_below(9, rounds);
		_exit(0);
	}
	assert_true(child > 0);
	return child;
}

static void check_known_shares(enum sampler_tier tier)
{
	struct rig rig = { 0 };
	struct test_source source = { .source.find = test_source_find };

	if (test_reason)
		skip();
	CHECK_OK(rig_open(&rig, (struct sampler_options){ .tier = tier, .hz = HZ }));
	assert_int_equal(rig.state.tier, 0);
	const char *comm = own_name("burner");
	uint64_t cpu_ns = rig_watch(&rig, child_burn(comm, 100));
	rig_check_identity(&rig);
	assert_int_equal(rig.state.tier, tier);

	/* All of its CPU time is there, under its name: the sampling error of a clock is below 2 %.
	 */
	uint64_t samples = rig_samples_of(rig.batch, "comm", comm);
	double expected = (double)cpu_ns / (double)rig.state.period;
	print_message("%s: %llu samples of %.0f expected\n", sampler_tier_name(tier),
	        (unsigned long long)samples, expected);
	assert_true(fabs((double)samples - expected) < 0.1 * expected);

	source.files = rig.files;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) named = batch_new(dict);
	CHECK_OK(naming_apply(rig.batch, &source.source, NAMING_FUNCTION, named));
	uint64_t in_rounds = named_samples_with(named, "comm", comm, "burn_rounds");
	assert_true(in_rounds > samples * 95 / 100);
	assert_true(named_samples_with(named, "comm", comm, "burn_below") >= in_rounds);
	check_share(named_samples_with(named, "comm", comm, "burn_half"), in_rounds, 0.5);
	check_share(named_samples_with(named, "comm", comm, "burn_third"), in_rounds, 0.3);
	check_share(named_samples_with(named, "comm", comm, "burn_fifth"), in_rounds, 0.2);
	test_source_fini(&source);
	rig_close(&rig);
}

static void bpf_samples_show_known_shares_under_the_right_name(void **state)
{
	check_known_shares(SAMPLER_TIER_BPF);
}

static void perf_ring_samples_show_the_same_shares(void **state)
{
	check_known_shares(SAMPLER_TIER_PERF);
}

/* A program of our own: a copy of this one under another name. */
static void program_copy(const struct test_dir *dir, const char *name, char *ret_path, size_t bytes)
{
	size_t count;
	autofree char *content = test_file_read("/proc/self/exe", &count);

	snprintf(ret_path, bytes, "%s/%s", dir->path, name);
	test_file_write(ret_path, content, count);
	assert_int_equal(chmod(ret_path, 0755), 0);
}

/* Starts the program so often, one after the other. Spawning copies no page tables, unlike fork().
 */
static void churn(char *path, uint32_t count, char *cpu_us)
{
	char option[] = "--burn-us";
	char *arguments[] = { path, option, cpu_us, NULL };

	for (uint32_t at = 0; at < count; at++) {
		pid_t child;
		int status;
		if (posix_spawn(&child, path, NULL, NULL, arguments, environ) != 0 ||
		        waitpid(child, &status, 0) != child || status != 0)
			_exit(1);
	}
}

static void check_short_lives(enum sampler_tier tier)
{
	TEST_DIR(dir);
	struct rig rig = { 0 };
	char path[300];

	if (test_reason)
		skip();
	char churner[16];
	snprintf(churner, sizeof(churner), "%s", own_name("churner"));
	const char *comm = own_name("ten-ms");
	program_copy(&dir, comm, path, sizeof(path));
	CHECK_OK(rig_open(&rig, (struct sampler_options){ .tier = tier, .hz = HZ }));
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_NAME, churner);
		char cpu_us[] = "10000";
		churn(path, 60, cpu_us);
		_exit(0);
	}
	uint64_t cpu_ns = rig_watch(&rig, child);
	rig_check_identity(&rig);

	/* Between fork and exec a child still is its parent. */
	uint64_t named = rig_samples_of(rig.batch, "comm", comm);
	uint64_t forking = rig_samples_of(rig.batch, "comm", churner);
	double expected = (double)cpu_ns / (double)rig.state.period;
	print_message("%s: %llu + %llu samples of %.0f expected\n", sampler_tier_name(tier),
	        (unsigned long long)named, (unsigned long long)forking, expected);
	assert_true(
	        fabs((double)(named + forking) - expected) < 5 * sqrt(expected) + 0.05 * expected);
	assert_true(named * 10 > (named + forking) * 7);
	assert_int_equal(rig_samples_of(rig.batch, "exe", path), named);
	/* Perf has no pid for the last steps of a thread's exit, of which the machine has some. */
	uint64_t gone = rig_samples_of(rig.batch, "comm", "[gone]");
	assert_true(tier == SAMPLER_TIER_BPF ? gone == 0 : gone * 100 <= rig.state.taken);
	rig_close(&rig);
}

static void every_sample_of_short_lived_programs_has_comm_and_exe(void **state)
{
	check_short_lives(SAMPLER_TIER_BPF);
}

static void so_it_is_with_plain_perf_rings(void **state)
{
	check_short_lives(SAMPLER_TIER_PERF);
}

static void a_deleted_program_is_still_symbolized(void **state)
{
	TEST_DIR(dir);
	struct rig rig = { 0 };
	struct test_source source = { .source.find = test_source_find };
	char path[300];

	if (test_reason)
		skip();
	const char *comm = own_name("deleted");
	program_copy(&dir, comm, path, sizeof(path));
	CHECK_OK(rig_open(&rig, (struct sampler_options){ .tier = SAMPLER_TIER_BPF, .hz = HZ }));
	int gate[2];
	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	pid_t child = fork();
	if (child == 0) {
		dup2(gate[0], 0);
		execl(path, path, "--burn-after-stdin", "400000", (char *)NULL);
		_exit(127);
	}
	close(gate[0]);
	/* Its mapping is drained while the file is there; it burns only once it is deleted. */
	while (!process_table_find(rig.processes, child, 0) ||
	        strcmp(process_table_find(rig.processes, child, 0)->comm, comm) != 0)
		rig_drain(&rig);
	rig_drain(&rig);
	assert_int_equal(unlink(path), 0);
	close(gate[1]);
	rig_watch(&rig, child);
	rig_check_identity(&rig);

	source.files = rig.files;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) named = batch_new(dict);
	CHECK_OK(naming_apply(rig.batch, &source.source, NAMING_FUNCTION, named));
	uint64_t samples = rig_samples_of(rig.batch, "comm", comm);
	assert_true(samples > 100);
	assert_true(named_samples_with(named, "comm", comm, "burn_half") > samples / 2);
	test_source_fini(&source);
	rig_close(&rig);
}

static void kernel_frames_are_named_and_idle_is_not_sampled(void **state)
{
	struct rig rig = { 0 };

	if (test_reason)
		skip();
	CHECK_OK(rig_open(&rig, (struct sampler_options){ .tier = SAMPLER_TIER_BPF, .hz = HZ }));
	const char *comm = own_name("reader");
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_NAME, comm);
		uint64_t end_ns = burn_cpu_ns() + 500 * NS_PER_MS;
		int fd = open("/dev/zero", O_RDONLY);
		autofree char *bytes = malloc(1 << 20);
		while (burn_cpu_ns() < end_ns) {
			if (read(fd, bytes, 1 << 20) <= 0)
				_exit(1);
		}
		_exit(0);
	}
	rig_watch(&rig, child);
	rig_check_identity(&rig);
	uint64_t samples = rig_samples_of(rig.batch, "comm", comm);
	uint64_t in_read = named_samples_with(rig.batch, "comm", comm, "read_iter_zero") +
	                   named_samples_with(rig.batch, "comm", comm, "read_zero");
	print_message("%llu of %llu samples in the kernel's read\n", (unsigned long long)in_read,
	        (unsigned long long)samples);
	assert_true(samples > 200);
	if (in_read == 0)
		in_read = named_samples_with(rig.batch, "comm", comm, "vfs_read");
	assert_true(in_read > samples / 2);
	assert_int_equal(rig_samples_of(rig.batch, "comm", "swapper/0"), 0);
	rig_close(&rig);
}

static uint64_t rig_losses_of(const struct batch *batch, const char *comm)
{
	uint64_t sum = 0;

	for (uint32_t at = 0; at < batch->losses_count; at++) {
		const struct loss *loss = &batch->losses[at];
		assert_int_equal(loss->reason, LOSS_RING_FULL);
		if (loss->series != SERIES_NONE &&
		        strcmp(rig_label(batch, loss->series, "comm"), comm) == 0)
			sum += loss->count;
	}
	return sum;
}

static bool named_is_truncated(const struct batch *batch, uint32_t node)
{
	for (; node != DICT_NODE_ROOT; node = dict_get_node(batch->dict, node).parent) {
		if (dict_get_frame(batch->dict, dict_get_node(batch->dict, node).frame).kind ==
		        FRAME_TRUNCATED)
			return true;
	}
	return false;
}

static void a_walk_is_complete_only_where_the_frame_pointers_end(void **state)
{
	struct rig rig = { 0 };
	struct test_source source = { .source.find = test_source_find };
	uint64_t complete = 0;
	uint64_t samples = 0;

	if (test_reason)
		skip();
#if !defined(__x86_64__)
	print_message("written for x86-64 only\n");
	skip();
#endif
	CHECK_OK(rig_open(&rig, (struct sampler_options){ .tier = SAMPLER_TIER_BPF, .hz = HZ }));
	const char *comm = own_name("rooted");
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_NAME, comm);
		burn_from_root();
		_exit(0);
	}
	rig_watch(&rig, child);
	source.files = rig.files;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) named = batch_new(dict);
	CHECK_OK(naming_apply(rig.batch, &source.source, NAMING_FUNCTION, named));
	for (uint32_t at = 0; at < named->rows_count; at++) {
		const struct row *row = &named->rows[at];
		if (strcmp(rig_label(named, row->series, "comm"), comm) != 0 ||
		        !named_has(named, row->node, "burn_below_root"))
			continue;
		samples += row->value;
		complete += named_is_truncated(named, row->node) ? 0 : row->value;
	}
	assert_true(samples > 300);
	assert_true(complete * 100 > samples * 95);
	test_source_fini(&source);
	rig_close(&rig);
}

/* A cgroup that disappears with the test. */
static bool cgroup_make(const char *root, char *ret_path, size_t path_bytes)
{
	snprintf(ret_path, path_bytes, "%s/profleet-test-%d", root, getpid());
	if (mkdir(ret_path, 0755) == 0)
		return true;
	print_message("%s: %s\n", ret_path, strerror(errno));
	return false;
}

/* A program of 20 ms that starts in a cgroup: nobody could read its /proc/PID/cgroup in time. */
static void check_cgroup(const char *root)
{
	TEST_DIR(dir);
	struct rig rig = { 0 };
	char path[300];
	char cgroup[300];
	char procs[320];

	if (test_reason)
		skip();
	if (!cgroup_make(root, cgroup, sizeof(cgroup)))
		skip();
	const char *comm = own_name("grouped");
	program_copy(&dir, comm, path, sizeof(path));
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup);
	CHECK_OK(rig_open(&rig, (struct sampler_options){ .tier = SAMPLER_TIER_BPF, .hz = HZ }));
	pid_t child = fork();
	if (child == 0) {
		test_file_write(procs, "0", 1);
		execl(path, path, "--burn-us", "20000", (char *)NULL);
		_exit(127);
	}
	rig_watch(&rig, child);
	rig_check_identity(&rig);
	assert_int_equal(rmdir(cgroup), 0);

	uint64_t samples = rig_samples_of(rig.batch, "comm", comm);
	assert_true(samples > 10);
	for (uint32_t at = 0; at < rig.batch->rows_count; at++) {
		uint32_t series = rig.batch->rows[at].series;
		if (strcmp(rig_label(rig.batch, series, "comm"), comm) == 0)
			assert_string_equal(
			        rig_label(rig.batch, series, "cgroup"), strrchr(cgroup, '/') + 1);
	}
	rig_close(&rig);
}

static void a_short_life_in_a_cgroup_of_version_1_carries_its_name(void **state)
{
	check_cgroup("/sys/fs/cgroup/memory");
}

static void a_short_life_in_a_cgroup_of_version_2_carries_its_name(void **state)
{
	struct stat unified;

	check_cgroup(stat("/sys/fs/cgroup/unified", &unified) == 0 ? "/sys/fs/cgroup/unified"
	                                                           : "/sys/fs/cgroup");
}

static void a_program_of_another_mount_namespace_is_symbolized(void **state)
{
	TEST_DIR(dir);
	struct rig rig = { 0 };
	struct test_source source = { .source.find = test_source_find };
	char path[300];
	int status;

	if (test_reason)
		skip();
	CHECK_OK(rig_open(&rig, (struct sampler_options){ .tier = SAMPLER_TIER_BPF, .hz = HZ }));
	pid_t child = fork();
	if (child == 0) {
		/* The program exists in this namespace alone. */
		if (unshare(CLONE_NEWNS) < 0 ||
		        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		        mount("tmpfs", dir.path, "tmpfs", 0, NULL) < 0)
			_exit(77);
		program_copy(&dir, "elsewhere", path, sizeof(path));
		execl(path, path, "--burn-us", "600000", (char *)NULL);
		_exit(127);
	}
	while (waitpid(child, &status, WNOHANG) == 0)
		rig_drain(&rig);
	rig_finish(&rig);
	rig_check_identity(&rig);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		rig_close(&rig);
		print_message("mount namespaces need CAP_SYS_ADMIN\n");
		skip();
	}
	snprintf(path, sizeof(path), "%s/elsewhere", dir.path);
	assert_int_not_equal(access(path, F_OK), 0);

	source.files = rig.files;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) named = batch_new(dict);
	CHECK_OK(naming_apply(rig.batch, &source.source, NAMING_FUNCTION, named));
	uint64_t samples = rig_samples_of(rig.batch, "exe", path);
	assert_true(samples > 100);
	assert_true(named_samples_with(named, "exe", path, "burn_half") > samples / 2);
	test_source_fini(&source);
	rig_close(&rig);
}

static void cycles_are_sampled_where_there_is_a_counter_and_refused_clearly_elsewhere(void **state)
{
	struct sampler *sampler = NULL;
	char error[512] = "";

	if (test_reason)
		skip();
	int result = sampler_open(
	        (struct sampler_options){
	                .tier = SAMPLER_TIER_BPF, .event = SAMPLER_CYCLES, .hz = 99 },
	        &sampler, error, sizeof(error));
	if (result < 0) {
		assert_int_equal(result, -ENODEV);
		assert_non_null(strstr(error, "--event cpu-clock"));
		print_message("%s\n", error);
		skip();
	}
	sampler_free(sampler);
	struct rig rig = { 0 };
	CHECK_OK(rig_open(
	        &rig, (struct sampler_options){
	                      .tier = SAMPLER_TIER_BPF, .event = SAMPLER_CYCLES, .hz = 99 }));
	const char *comm = own_name("cycler");
	rig_watch(&rig, child_burn(comm, 30));
	rig_check_identity(&rig);
	assert_true(rig_samples_of(rig.batch, "comm", comm) > 10);
	rig_close(&rig);
}

static double timeval_seconds(struct timeval of)
{
	return (double)of.tv_sec + (double)of.tv_usec / 1e6;
}

static void a_stalled_reader_loses_nothing_uncounted(void **state)
{
	struct rig rig = { 0 };
	struct rusage usage;
	int status;

	if (test_reason)
		skip();
	/* 4 KiB hold about ten samples; nobody reads them until the child has ended. */
	CHECK_OK(rig_open(&rig, (struct sampler_options){
	                                .tier = SAMPLER_TIER_BPF, .hz = HZ, .ring_bytes = 4096 }));
	const char *comm = own_name("unread");
	pid_t child = child_burn(comm, 30);
	assert_int_equal(wait4(child, &status, 0, &usage), child);
	rig_finish(&rig);
	rig_check_identity(&rig);
	uint64_t named = rig_losses_of(rig.batch, comm);
	assert_true(named > 100);

	/*
	 * And the loss is known to be the child's: what is there and what is not is its CPU time.
	 * In the kernel it was before it had its name, too.
	 */
	uint64_t seen = rig_samples_of(rig.batch, "comm", comm);
	double user = timeval_seconds(usage.ru_utime) * HZ;
	double kernel = timeval_seconds(usage.ru_stime) * HZ;
	print_message("%llu lost, %llu of them the child's, of which %.0f samples are expected, "
	              "and up to %.0f in the kernel\n",
	        (unsigned long long)rig.state.lost[LOSS_RING_FULL], (unsigned long long)named, user,
	        kernel);
	assert_true((double)(named + seen) > 0.9 * user);
	assert_true((double)(named + seen) < 1.1 * (user + kernel));
	rig_close(&rig);
}

static void a_stalled_reader_of_perf_rings_likewise(void **state)
{
	struct rig rig = { 0 };
	int status;

	if (test_reason)
		skip();
	CHECK_OK(rig_open(
	        &rig, (struct sampler_options){ .tier = SAMPLER_TIER_PERF, .hz = HZ, .pages = 1 }));
	pid_t child = child_burn("unread", 30);
	assert_int_equal(waitpid(child, &status, 0), child);
	rig_finish(&rig);
	rig_check_identity(&rig);
	assert_true(rig.state.lost[LOSS_PERF_LOST] > 100);
	rig_close(&rig);
}

static void cpus_that_come_and_go_are_followed(void **state)
{
	TEST_DIR(dir);
	struct rig rig = { 0 };
	char path[300];

	if (test_reason)
		skip();
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		print_message("one CPU only\n");
		skip();
	}
	snprintf(path, sizeof(path), "%s/online", dir.path);
	test_file_write(path, "0\n", 2);
	CHECK_OK(rig_open(&rig,
	        (struct sampler_options){ .tier = SAMPLER_TIER_BPF, .hz = HZ, .cpus_path = path }));
	assert_int_equal(sampler_state(rig.sampler).cpus, 1);
	test_file_write(path, "0-1\n", 4);
	while (sampler_state(rig.sampler).cpus != 2)
		rig_drain(&rig);
	test_file_write(path, "1\n", 2);
	while (sampler_state(rig.sampler).cpus != 1)
		rig_drain(&rig);
	rig_watch(&rig, child_burn("mover", 10));
	rig_check_identity(&rig);
	rig_close(&rig);
}

static void a_lower_limit_of_the_kernel_is_followed_and_recorded(void **state)
{
	TEST_DIR(dir);
	struct rig rig = { 0 };
	char path[300];

	if (test_reason)
		skip();
	snprintf(path, sizeof(path), "%s/rate", dir.path);
	test_file_write(path, "500\n", 4);
	CHECK_OK(rig_open(&rig,
	        (struct sampler_options){ .tier = SAMPLER_TIER_BPF, .hz = HZ, .rate_path = path }));
	/* How much less depends on the kernel's ticks: unit.agent.sampler knows. */
	uint32_t first_hz = sampler_state(rig.sampler).hz;
	assert_in_range(first_hz, 100, 500);
	test_file_write(path, "150\n", 4);
	while (sampler_state(rig.sampler).hz == first_hz)
		rig_drain(&rig);
	uint32_t hz = sampler_state(rig.sampler).hz;
	assert_in_range(hz, 50, 150);
	const char *comm = own_name("slow");
	uint64_t cpu_ns = rig_watch(&rig, child_burn(comm, 60));
	rig_check_identity(&rig);

	/* Values times their series' own period is the CPU time, whatever the rate was. */
	uint64_t ns = 0;
	for (uint32_t at = 0; at < rig.batch->rows_count; at++) {
		const struct row *row = &rig.batch->rows[at];
		const struct series *series = dict_get_series(rig.batch->dict, row->series);
		if (strcmp(rig_label(rig.batch, row->series, "comm"), comm) == 0) {
			ns += row->value * series->period;
			assert_int_equal(series->period, NS_PER_S / hz);
		}
	}
	/* A hundred samples, each of which may hit or miss where others run on the same processor.
	 */
	double expected = (double)cpu_ns / NS_PER_S * hz;
	double seen = (double)ns / NS_PER_S * hz;
	print_message("%.0f samples of %.0f expected\n", seen, expected);
	assert_true(fabs(seen - expected) < 0.1 * expected + 4 * sqrt(expected));
	rig_close(&rig);
}

/* Keeps two capabilities and becomes nobody. */
static int become_nobody_with(const cap_value_t *capabilities, int count)
{
	cap_t wanted = cap_init(); /* none */
	int result = -1;

	if (wanted && prctl(PR_SET_KEEPCAPS, 1) == 0 && setgroups(0, NULL) == 0 &&
	        setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0 &&
	        (count == 0 ||
	                (cap_set_flag(wanted, CAP_PERMITTED, count, capabilities, CAP_SET) == 0 &&
	                        cap_set_flag(wanted, CAP_EFFECTIVE, count, capabilities, CAP_SET) ==
	                                0)))
		result = cap_set_proc(wanted);
	cap_free(wanted);
	return result;
}

struct counted {
	pid_t child;
	uint64_t samples;
};

static void count_sample(void *owner, const struct observation *observation)
{
	struct counted *counted = owner;
	counted->samples += observation->kind == OBSERVED_SAMPLE &&
	                    observation->pid == counted->child;
}

/* In a child: 0 when a sampler of the tier could be opened and saw a burning process. */
static int sample_as_nobody(enum sampler_tier tier, const cap_value_t *capabilities, int count)
{
	char error[512] = "";
	struct rig rig = { 0 };
	int status;

	if (become_nobody_with(capabilities, count) < 0)
		return 100;
	int result = sampler_open((struct sampler_options){ .tier = tier, .hz = HZ }, &rig.sampler,
	        error, sizeof(error));
	if (result < 0) {
		print_message("%s\n", error);
		return result == -EACCES ? 101 : 102;
	}
	if (sampler_start(rig.sampler) < 0)
		return 104;
	struct counted counted = { .child = child_burn("burner", 10) };
	waitpid(counted.child, &status, 0);
	sampler_stop(rig.sampler);
	(void)sampler_drain(rig.sampler, UINT64_MAX, count_sample, &counted);
	sampler_free(rig.sampler);
	return counted.samples > 50 ? 0 : 103;
}

static void check_as_nobody(
        enum sampler_tier tier, const cap_value_t *capabilities, int count, int expected)
{
	int status;

	if (test_reason)
		skip();
	if (geteuid() != 0) {
		print_message("not root: cannot give capabilities away\n");
		skip();
	}
	pid_t child = fork();
	if (child == 0)
		_exit(sample_as_nobody(tier, capabilities, count));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), expected);
}

static void nobody_with_cap_bpf_and_cap_perfmon_samples_by_bpf(void **state)
{
	const cap_value_t capabilities[] = { CAP_BPF, CAP_PERFMON };

	check_as_nobody(SAMPLER_TIER_BPF, capabilities, 2, 0);
}

static void nobody_with_cap_perfmon_falls_back_to_perf_rings(void **state)
{
	const cap_value_t capabilities[] = { CAP_PERFMON };

	check_as_nobody(SAMPLER_TIER_BPF, capabilities, 1, 101);
	check_as_nobody(SAMPLER_TIER_AUTO, capabilities, 1, 0);
}

static void nobody_without_capabilities_is_refused_with_a_remedy(void **state)
{
	check_as_nobody(SAMPLER_TIER_AUTO, NULL, 0, 101);
}

static void in_a_pid_namespace_of_its_own_bpf_is_refused_with_a_remedy(void **state)
{
	int status;

	if (test_reason)
		skip();
	pid_t child = fork();
	if (child == 0) {
		char error[512] = "";
		struct sampler *sampler;
		int inner_status;
		if (unshare(CLONE_NEWPID) < 0)
			_exit(77);
		pid_t inner = fork();
		if (inner == 0) {
			int result = sampler_open(
			        (struct sampler_options){ .tier = SAMPLER_TIER_BPF, .hz = 49 },
			        &sampler, error, sizeof(error));
			_exit(result == -EACCES && strstr(error, "--pid=host") ? 0 : 1);
		}
		_exit(waitpid(inner, &inner_status, 0) == inner ? WEXITSTATUS(inner_status) : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WEXITSTATUS(status) == 77) {
		print_message("pid namespaces need CAP_SYS_ADMIN\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- this program as a child ---- */

static int run_as_child(int argc, char **argv)
{
	uint64_t cpu_us = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	char byte;

	if (strcmp(argv[1], "--burn-after-stdin") == 0) {
		/* The gate's other end closes. */
		if (read(0, &byte, 1) != 0)
			return 1;
	}
	burn_half(cpu_us * 1000);
	_exit(0); /* No leak check: it costs more than what is measured. */
}

static const char *why_not(void)
{
	static char error[512];
	struct sampler *sampler;

	if (sampler_open((struct sampler_options){ .tier = SAMPLER_TIER_BPF, .hz = 49 }, &sampler,
	            error, sizeof(error)) < 0)
		return error;
	sampler_free(sampler);
	return NULL;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bpf_samples_show_known_shares_under_the_right_name),
		cmocka_unit_test(perf_ring_samples_show_the_same_shares),
		cmocka_unit_test(every_sample_of_short_lived_programs_has_comm_and_exe),
		cmocka_unit_test(so_it_is_with_plain_perf_rings),
		cmocka_unit_test(a_deleted_program_is_still_symbolized),
		cmocka_unit_test(a_program_of_another_mount_namespace_is_symbolized),
		cmocka_unit_test(a_walk_is_complete_only_where_the_frame_pointers_end),
		cmocka_unit_test(a_short_life_in_a_cgroup_of_version_1_carries_its_name),
		cmocka_unit_test(a_short_life_in_a_cgroup_of_version_2_carries_its_name),
		cmocka_unit_test(kernel_frames_are_named_and_idle_is_not_sampled),
		cmocka_unit_test(
		        cycles_are_sampled_where_there_is_a_counter_and_refused_clearly_elsewhere),
		cmocka_unit_test(a_stalled_reader_loses_nothing_uncounted),
		cmocka_unit_test(a_stalled_reader_of_perf_rings_likewise),
		cmocka_unit_test(cpus_that_come_and_go_are_followed),
		cmocka_unit_test(a_lower_limit_of_the_kernel_is_followed_and_recorded),
		cmocka_unit_test(nobody_with_cap_bpf_and_cap_perfmon_samples_by_bpf),
		cmocka_unit_test(nobody_with_cap_perfmon_falls_back_to_perf_rings),
		cmocka_unit_test(nobody_without_capabilities_is_refused_with_a_remedy),
		cmocka_unit_test(in_a_pid_namespace_of_its_own_bpf_is_refused_with_a_remedy),
	};

	if (argc > 1 && strncmp(argv[1], "--burn", 6) == 0)
		return run_as_child(argc, argv);
	test_reason = why_not();
	if (test_reason) {
		fprintf(stderr, "%zu tests skipped: %s\n", COUNT_OF(tests), test_reason);
		return TEST_SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
