/*
 * Processes by what is observed of them, and by a /proc that the test writes: a child is what its
 * parent was, an exec is another life, a pid that is used again is another process, and hostile
 * texts are only texts.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/process_table.h"
#include "core/clock.h"

#define SECOND UINT64_C(1000000000)

struct fixture {
	struct test_dir proc;
	struct symbol_files *files;
	struct process_table *table;
	uint64_t now_ns;
};

static void fixture_init(struct fixture *fixture, struct process_table_options options)
{
	fixture->proc = test_dir_new();
	fixture->files = symbol_files_new(
	        (struct symbol_files_options){ .proc_path = fixture->proc.path });
	options.files = fixture->files;
	options.proc_path = fixture->proc.path;
	fixture->table = process_table_new(options);
	fixture->now_ns = clock_monotonic_ns(clock_real());
	assert_non_null(fixture->table);
}

static void fixture_fini(struct fixture *fixture)
{
	process_table_free(fixture->table);
	symbol_files_free(fixture->files);
	test_dir_remove(&fixture->proc);
}

#define FIXTURE(name, ...)                                                                         \
	__attribute__((cleanup(fixture_fini))) struct fixture name;                                \
	fixture_init(&name, (struct process_table_options){ __VA_ARGS__ })

static void proc_write(struct fixture *fixture, int32_t pid, const char *name, const char *text)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%d", fixture->proc.path, pid);
	(void)mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/%d/%s", fixture->proc.path, pid, name);
	test_file_write(path, text, strlen(text));
}

static void proc_stat(
        struct fixture *fixture, int32_t pid, const char *comm, int32_t group, uint64_t start_ticks)
{
	char text[400];

	snprintf(text, sizeof(text),
	        "%d (%s) S 1 %d 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 %llu 0 0\n", pid, comm,
	        group, (unsigned long long)start_ticks);
	proc_write(fixture, pid, "stat", text);
}

static void tell_fork(struct fixture *fixture, int32_t pid, int32_t parent)
{
	struct observation observation = { .kind = OBSERVED_FORK,
		.pid = pid,
		.tid = pid,
		.time_ns = fixture->now_ns++,
		.fork_parent = parent };
	process_table_observe(fixture->table, &observation);
}

static void tell_comm(
        struct fixture *fixture, enum observation_kind kind, int32_t pid, const char *comm)
{
	struct observation observation = {
		.kind = kind, .pid = pid, .tid = pid, .time_ns = fixture->now_ns++
	};
	snprintf(observation.comm, sizeof(observation.comm), "%s", comm);
	process_table_observe(fixture->table, &observation);
}

static void tell_map(struct fixture *fixture, int32_t pid, uint64_t start, const char *path)
{
	struct observation observation = { .kind = OBSERVED_MAP,
		.pid = pid,
		.tid = pid,
		.time_ns = fixture->now_ns++,
		.map = { .start = start,
		        .bytes = 0x1000,
		        .offset = 0x2000,
		        .path = path,
		        .build_id = { 0xaa, 0xbb },
		        .build_id_bytes = 2 } };
	process_table_observe(fixture->table, &observation);
}

static void tell_exit(struct fixture *fixture, int32_t pid)
{
	struct observation observation = {
		.kind = OBSERVED_EXIT, .pid = pid, .tid = pid, .time_ns = fixture->now_ns++
	};
	process_table_observe(fixture->table, &observation);
}

static void tell_origin(struct fixture *fixture, int32_t pid, struct observed_origin origin)
{
	struct observation observation = { .kind = OBSERVED_ORIGIN,
		.pid = pid,
		.tid = pid,
		.time_ns = fixture->now_ns++,
		.origin = origin };
	process_table_observe(fixture->table, &observation);
}

static void tell_cgroup(struct fixture *fixture, uint64_t id, const char *path)
{
	struct observation observation = { .kind = OBSERVED_CGROUP,
		.time_ns = fixture->now_ns++,
		.cgroup = { .id = id, .path = path } };
	process_table_observe(fixture->table, &observation);
}

static struct process *sample(struct fixture *fixture, int32_t pid, struct observed_sample sample)
{
	struct observation observation = { .kind = OBSERVED_SAMPLE,
		.pid = pid,
		.tid = pid,
		.time_ns = fixture->now_ns++,
		.sample = sample };
	return process_table_sampled(fixture->table, &observation);
}

static void a_child_is_what_its_parent_was_until_it_execs(void **state)
{
	FIXTURE(f, 0);
	struct code_place place;

	proc_stat(&f, 10, "shell", 10, 500);
	proc_write(&f, 10, "maps", "401000-402000 r-xp 00001000 08:01 77 /bin/shell\n");
	proc_write(&f, 10, "cgroup", "0::/user.slice\n");
	tell_fork(&f, 20, 10);
	struct process *child = sample(
	        &f, 20, (struct observed_sample){ .start_ns = 600 * SECOND / 100 });
	assert_string_equal(child->comm, "shell");
	assert_int_equal(child->parent, 10);
	assert_int_equal(child->group, 10);
	assert_int_equal(child->start_ticks, 600);
	assert_int_equal(child->group_start_ticks, 500);
	assert_true(process_table_place(f.table, child, 0x401500, true, &place));
	assert_string_equal(symbol_file_name(place.file), "shell");
	assert_int_equal(place.offset, 0x1500);

	tell_comm(&f, OBSERVED_EXEC, 20, "sleep");
	tell_map(&f, 20, 0x500000, "/bin/sleep");
	tell_map(&f, 20, 0x700000, "/lib/ld.so");
	struct process *after = sample(
	        &f, 20, (struct observed_sample){ .start_ns = 600 * SECOND / 100 });
	assert_ptr_not_equal(after, child);
	assert_true(child->end_ns > 0);
	assert_string_equal(after->comm, "sleep");
	assert_string_equal(after->exe, "/bin/sleep");
	assert_int_equal(after->start_ticks, 600);
	assert_false(process_table_place(f.table, after, 0x401500, true, &place));
	assert_true(process_table_place(f.table, after, 0x500010, true, &place));
	assert_int_equal(place.offset, 0x2010);
	assert_string_equal(symbol_file_build_id(f.files, place.file), "aabb");
	/* The parent is untouched. */
	assert_string_equal(process_table_find(f.table, 10, 0)->comm, "shell");
}

static void a_process_that_is_gone_before_proc_is_read_is_fully_known(void **state)
{
	FIXTURE(f, 0);

	proc_stat(&f, 10, "shell", 10, 500);
	tell_fork(&f, 20, 10);
	tell_cgroup(&f, 99, "/docker/abc");
	tell_comm(&f, OBSERVED_EXEC, 20, "true");
	tell_map(&f, 20, 0x500000, "/bin/true");
	tell_origin(&f, 20,
	        (struct observed_origin){ .start_ns = 7 * SECOND,
	                .cgroup_id = 99,
	                .group = 20,
	                .group_start_ns = 7 * SECOND,
	                .parent = 10 });
	struct process *process = sample(&f, 20,
	        (struct observed_sample){
	                .start_ns = 7 * SECOND, .cgroup_id = 99, .has_cgroup = true });
	tell_exit(&f, 20);
	struct process_facts facts = process_table_facts(f.table, process);
	assert_int_equal(facts.pid, 20);
	assert_int_equal(facts.start_ticks, 700);
	assert_int_equal(facts.group, 20);
	assert_int_equal(facts.group_start_ticks, 700);
	assert_string_equal(facts.comm, "true");
	assert_string_equal(facts.exe, "/bin/true");
	assert_string_equal(facts.cgroup, "/docker/abc");
	assert_null(facts.environ);
}

static void a_pid_that_is_used_again_is_another_process(void **state)
{
	FIXTURE(f, 0);

	proc_stat(&f, 10, "shell", 10, 500);
	tell_fork(&f, 20, 10);
	struct process *first = sample(&f, 20, (struct observed_sample){ .start_ns = 6 * SECOND });
	tell_exit(&f, 20);
	tell_fork(&f, 20, 10);
	struct process *second = sample(&f, 20, (struct observed_sample){ .start_ns = 8 * SECOND });
	assert_ptr_not_equal(first, second);
	assert_int_equal(first->start_ticks, 600);
	assert_int_equal(second->start_ticks, 800);
	assert_ptr_equal(process_table_find(f.table, 20, 6 * SECOND), first);
	assert_ptr_equal(process_table_find(f.table, 20, 8 * SECOND), second);
	assert_ptr_equal(process_table_find(f.table, 20, 0), second);

	/* And when neither exit nor fork was told, its start says so. */
	struct process *third = sample(&f, 20, (struct observed_sample){ .start_ns = 9 * SECOND });
	assert_ptr_not_equal(third, second);
	assert_true(second->end_ns > 0);
	assert_string_equal(third->comm, "[gone]");
}

static void another_name_or_cgroup_is_another_life_with_the_same_code(void **state)
{
	FIXTURE(f, 0);
	struct code_place place;

	proc_stat(&f, 10, "app", 10, 500);
	proc_write(&f, 10, "maps", "401000-402000 r-xp 0 08:01 77 /bin/app\n");
	struct observed_sample in_one = {
		.start_ns = 5 * SECOND, .cgroup_id = 1, .has_cgroup = true
	};
	struct observed_sample in_two = {
		.start_ns = 5 * SECOND, .cgroup_id = 2, .has_cgroup = true
	};
	struct process *first = sample(&f, 10, in_one);
	assert_ptr_equal(sample(&f, 10, in_one), first);
	tell_comm(&f, OBSERVED_COMM, 10, "app");
	assert_ptr_equal(sample(&f, 10, in_one), first);

	tell_comm(&f, OBSERVED_COMM, 10, "worker");
	struct process *renamed = sample(&f, 10, in_one);
	assert_ptr_not_equal(renamed, first);
	assert_string_equal(first->comm, "app");
	assert_string_equal(renamed->comm, "worker");

	struct process *moved = sample(&f, 10, in_two);
	assert_ptr_not_equal(moved, renamed);
	assert_int_equal(renamed->cgroup_id, 1);
	assert_int_equal(moved->cgroup_id, 2);
	assert_int_equal(renamed->end_ns, moved->begin_ns);
	assert_true(process_table_place(f.table, moved, 0x401000, true, &place));
}

static void ended_lives_stay_until_their_interval_is_closed(void **state)
{
	FIXTURE(f, 0);

	proc_stat(&f, 10, "shell", 10, 500);
	tell_fork(&f, 20, 10);
	tell_comm(&f, OBSERVED_EXEC, 20, "true");
	assert_non_null(sample(&f, 20, (struct observed_sample){ .start_ns = 6 * SECOND }));
	tell_exit(&f, 20);
	assert_int_equal(process_table_count(f.table), 3);
	process_table_close_interval(f.table, f.now_ns - 10, false);
	assert_int_equal(process_table_count(f.table), 3);
	process_table_close_interval(f.table, f.now_ns + 5 * SECOND, false);
	assert_int_equal(process_table_count(f.table), 1);
	assert_null(process_table_find(f.table, 20, 0));
}

static void a_process_whose_first_thread_ended_lives_on_with_the_others(void **state)
{
	FIXTURE(f, 0);

	proc_write(&f, 10, "stat",
	        "10 (server) Z 1 10 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 4 0 500 0 0\n");
	assert_non_null(sample(&f, 10, (struct observed_sample){ .start_ns = 5 * SECOND }));
	tell_exit(&f, 10);
	process_table_close_interval(f.table, f.now_ns + 5 * SECOND, false);
	struct process *process = process_table_find(f.table, 10, 0);
	assert_non_null(process);
	assert_int_equal(process->end_ns, 0);
}

static void an_exit_that_nobody_told_is_found_when_looked_for(void **state)
{
	FIXTURE(f, 0);

	proc_stat(&f, 10, "shell", 10, 500);
	assert_non_null(sample(&f, 10, (struct observed_sample){ .start_ns = 5 * SECOND }));
	proc_stat(&f, 10, "other", 10, 900);
	process_table_close_interval(f.table, f.now_ns, false);
	assert_int_equal(process_table_find(f.table, 10, 0)->end_ns, 0);
	process_table_close_interval(f.table, f.now_ns, true);
	assert_true(process_table_find(f.table, 10, 0)->end_ns > 0);
	process_table_close_interval(f.table, f.now_ns + 5 * SECOND, false);
	assert_null(process_table_find(f.table, 10, 0));
}

static void a_missed_mapping_is_read_from_proc_once_per_interval(void **state)
{
	FIXTURE(f, 0);
	struct code_place place;

	proc_stat(&f, 10, "app", 10, 500);
	proc_write(&f, 10, "maps", "401000-402000 r-xp 0 08:01 77 /bin/app\n");
	struct process *process = sample(
	        &f, 10, (struct observed_sample){ .start_ns = 5 * SECOND });
	assert_true(process_table_place(f.table, process, 0x401000, true, &place));
	proc_write(&f, 10, "maps",
	        "401000-402000 r-xp 0 08:01 77 /bin/app\n"
	        "7f0000000000-7f0000001000 r-xp 00003000 08:01 78 /lib/new.so\n");
	assert_false(process_table_place(f.table, process, 0x7f0000000010, false, &place));
	assert_true(process_table_place(f.table, process, 0x7f0000000010, true, &place));
	assert_string_equal(symbol_file_name(place.file), "new.so");
	assert_int_equal(place.offset, 0x3010);

	proc_write(&f, 10, "maps", "501000-502000 r-xp 0 08:01 77 /bin/app\n");
	assert_false(process_table_place(f.table, process, 0x501000, true, &place));
	process_table_close_interval(f.table, f.now_ns, false);
	assert_true(process_table_place(f.table, process, 0x501000, true, &place));
}

static void maps_are_read_as_the_kernel_writes_them_and_as_nobody_should(void **state)
{
	FIXTURE(f, 0);
	struct code_place place;

	proc_stat(&f, 10, "app", 10, 500);
	proc_write(&f, 10, "maps",
	        "00400000-00401000 r--p 00000000 08:01 77                 /bin/app\n"
	        "00401000-00402000 r-xp 00001000 08:01 77                 /bin/app with blanks\n"
	        "00500000-00501000 rwxp 00000000 00:00 0 \n"
	        "00600000-00601000 r-xp 00000000 00:00 0                  [vdso]\n"
	        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n"
	        "00800000-00700000 r-xp 00000000 08:01 79                 /backwards\n"
	        "nonsense\n"
	        "\n"
	        "00900000-00901000 r-xp 0 08:01 80 /last/without/newline");
	struct process *process = sample(
	        &f, 10, (struct observed_sample){ .start_ns = 5 * SECOND });
	assert_false(process_table_place(f.table, process, 0x400000, true, &place));
	assert_true(process_table_place(f.table, process, 0x401234, true, &place));
	assert_string_equal(symbol_file_name(place.file), "app with blanks");
	assert_true(process_table_place(f.table, process, 0x500000, true, &place));
	assert_null(place.file);
	assert_true(process_table_place(f.table, process, 0x600000, true, &place));
	assert_string_equal(symbol_file_name(place.file), "[vdso]");
	assert_true(process_table_place(f.table, process, 0xffffffffff600400, true, &place));
	assert_true(place.is_vsyscall);
	assert_false(process_table_place(f.table, process, 0x750000, true, &place));
	assert_true(process_table_place(f.table, process, 0x900000, true, &place));
	assert_string_equal(symbol_file_name(place.file), "newline");
}

static void stat_is_read_whatever_the_process_calls_itself(void **state)
{
	static const struct {
		const char *stat;
		const char *comm;
	} cases[] = {
		{ "10 (a) S 1 10 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 500 0\n", "a" },
		{ "10 () S 1 10 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 500 0\n", "" },
		{ "10 (a) R 9 (b) S 1 10 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 500 0\n", "a) R 9 (b" },
		{ "10 (much longer than sixteen bytes) S 1 10 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 "
		  "500\n",
		        "much longer tha" },
		{ "10 (kworker/0:1-events) I 2 0 0 0 -1 69238880 0 0 0 0 0 0 0 0 20 0 1 0 500 0\n",
		        "kworker/0:1" },
		{ "10 (cut off) S 1 10\n", "[gone]" },
		{ "no parentheses\n", "[gone]" },
		{ "10 )backwards( S 1 10\n", "[gone]" },
		{ "", "[gone]" },
	};

	for (size_t at = 0; at < COUNT_OF(cases); at++) {
		FIXTURE(f, 0);
		proc_write(&f, 10, "stat", cases[at].stat);
		struct process *process = sample(
		        &f, 10, (struct observed_sample){ .start_ns = 5 * SECOND });
		assert_string_equal(process->comm, cases[at].comm);
		assert_int_equal(process->start_ticks, 500);
	}
}

static void the_perf_tier_reads_start_group_and_cgroup_from_proc(void **state)
{
	FIXTURE(f, 0);

	proc_stat(&f, 10, "leader", 10, 500);
	proc_stat(&f, 20, "member", 10, 600);
	proc_write(&f, 20, "cgroup", "4:memory:/docker/abc\n0::/\n");
	struct process *process = sample(&f, 20, (struct observed_sample){ 0 });
	struct process_facts facts = process_table_facts(f.table, process);
	assert_int_equal(facts.start_ticks, 600);
	assert_int_equal(facts.group, 10);
	assert_int_equal(facts.group_start_ticks, 500);
	assert_string_equal(facts.cgroup, "/docker/abc");
}

static void a_forked_leader_of_its_own_group_is_known_as_one(void **state)
{
	FIXTURE(f, 0);

	proc_stat(&f, 10, "shell", 10, 500);
	tell_fork(&f, 20, 10);
	tell_fork(&f, 21, 20);
	proc_stat(&f, 20, "daemon", 20, 600);
	struct process *daemon = sample(&f, 20, (struct observed_sample){ .start_ns = 6 * SECOND });
	assert_int_equal(daemon->group, 20);
	assert_int_equal(daemon->group_start_ticks, 600);

	/* Of a child that is gone nobody knows better than that it was as its parent. */
	struct process *gone = sample(&f, 21, (struct observed_sample){ .start_ns = 6 * SECOND });
	assert_int_equal(gone->group, 10);
	assert_int_equal(gone->group_start_ticks, 500);
}

/* Tier perf tells every process of another pid namespace as 0: one must not name the others. */
static void who_has_no_pid_here_has_no_name_either(void **state)
{
	FIXTURE(f, 0);

	assert_string_equal(sample(&f, 0, (struct observed_sample){ 0 })->comm, "[hidden]");
	tell_comm(&f, OBSERVED_EXEC, 0, "other");
	tell_fork(&f, 0, 0);
	assert_string_equal(sample(&f, 0, (struct observed_sample){ 0 })->comm, "[hidden]");
}

static void the_last_steps_of_an_exit_belong_to_who_exits(void **state)
{
	FIXTURE(f, 0);

	proc_stat(&f, 10, "shell", 10, 500);
	tell_fork(&f, 20, 10);
	struct process *process = sample(&f, 20, (struct observed_sample){ 0 });
	tell_exit(&f, 20);
	assert_ptr_equal(sample(&f, -1, (struct observed_sample){ 0 }), process);

	/* But not for ever. */
	f.now_ns += SECOND;
	assert_string_equal(sample(&f, -1, (struct observed_sample){ 0 })->comm, "[gone]");
}

static void environments_are_read_only_when_a_rule_asks_and_within_a_bound(void **state)
{
	FIXTURE(unasked, 0);
	proc_stat(&unasked, 10, "app", 10, 500);
	proc_write(&unasked, 10, "environ", "A=1");
	assert_null(
	        sample(&unasked, 10, (struct observed_sample){ .start_ns = 5 * SECOND })->environ);

	FIXTURE(asked, .reads_environ = true, .environ_bytes_max = 5);
	proc_stat(&asked, 10, "app", 10, 500);
	proc_write(&asked, 10, "environ", "A=1");
	struct process *process = sample(
	        &asked, 10, (struct observed_sample){ .start_ns = 5 * SECOND });
	assert_int_equal(process->environ_bytes, 3);
	assert_memory_equal(process->environ, "A=1", 3);
	proc_stat(&asked, 11, "app", 11, 500);
	proc_write(&asked, 11, "environ", "B=2");
	assert_null(
	        sample(&asked, 11, (struct observed_sample){ .start_ns = 5 * SECOND })->environ);
}

static void a_full_table_refuses_new_processes_and_keeps_the_known(void **state)
{
	FIXTURE(f, .processes_max = 2);

	proc_stat(&f, 10, "one", 10, 500);
	proc_stat(&f, 11, "two", 11, 500);
	proc_stat(&f, 12, "three", 12, 500);
	struct observed_sample any = { .start_ns = 5 * SECOND };
	assert_non_null(sample(&f, 10, any));
	assert_non_null(sample(&f, 11, any));
	assert_null(sample(&f, 12, any));
	assert_non_null(sample(&f, 10, any));
	tell_fork(&f, 13, 10);
	assert_int_equal(process_table_count(f.table), 2);
}

static void whoever_runs_at_the_start_is_known_with_its_mappings(void **state)
{
	FIXTURE(f, 0);
	struct code_place place;

	proc_write(&f, 10, "stat",
	        "10 (busy) R 1 10 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0\n");
	proc_write(&f, 10, "maps", "401000-402000 r-xp 0 08:01 77 /bin/busy\n");
	proc_stat(&f, 11, "idle", 11, 500);
	CHECK_OK(process_table_scan(f.table));
	assert_int_equal(process_table_count(f.table), 2);
	proc_write(&f, 10, "stat", "");
	proc_write(&f, 10, "maps", "");
	struct process *process = sample(
	        &f, 10, (struct observed_sample){ .start_ns = 5 * SECOND });
	assert_string_equal(process->comm, "busy");
	assert_true(process_table_place(f.table, process, 0x401000, true, &place));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_is_what_its_parent_was_until_it_execs),
		cmocka_unit_test(a_process_that_is_gone_before_proc_is_read_is_fully_known),
		cmocka_unit_test(a_pid_that_is_used_again_is_another_process),
		cmocka_unit_test(another_name_or_cgroup_is_another_life_with_the_same_code),
		cmocka_unit_test(ended_lives_stay_until_their_interval_is_closed),
		cmocka_unit_test(a_process_whose_first_thread_ended_lives_on_with_the_others),
		cmocka_unit_test(an_exit_that_nobody_told_is_found_when_looked_for),
		cmocka_unit_test(a_missed_mapping_is_read_from_proc_once_per_interval),
		cmocka_unit_test(maps_are_read_as_the_kernel_writes_them_and_as_nobody_should),
		cmocka_unit_test(stat_is_read_whatever_the_process_calls_itself),
		cmocka_unit_test(the_perf_tier_reads_start_group_and_cgroup_from_proc),
		cmocka_unit_test(a_forked_leader_of_its_own_group_is_known_as_one),
		cmocka_unit_test(who_has_no_pid_here_has_no_name_either),
		cmocka_unit_test(the_last_steps_of_an_exit_belong_to_who_exits),
		cmocka_unit_test(environments_are_read_only_when_a_rule_asks_and_within_a_bound),
		cmocka_unit_test(a_full_table_refuses_new_processes_and_keeps_the_known),
		cmocka_unit_test(whoever_runs_at_the_start_is_known_with_its_mappings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
