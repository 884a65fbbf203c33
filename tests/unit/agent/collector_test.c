/*
 * From observations to a batch, with a sampler of the test's own: frames, marks of unfinished
 * stacks, coverage, losses, and that no sample disappears whatever is full.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/collector.h"

#define PERIOD      20408163
#define SECOND      NS_PER_S
#define FAKE_MAX    4096
#define START_TICKS 700

/* ---- a sampler that hands over what the test put in ---- */

struct fake_loss {
	int32_t pid;
	uint64_t start_ns;
	enum loss_reason reason;
	uint64_t count;
};

struct fake_sampler {
	struct sampler sampler;
	struct observation items[FAKE_MAX];
	uint32_t count;
	struct fake_loss losses[8];
	uint32_t losses_count;
	struct sampler_state state;
};

static int fake_drain(struct sampler *sampler, uint64_t until_ns,
        sampler_on_observation on_observation, void *owner)
{
	struct fake_sampler *fake = (struct fake_sampler *)sampler;
	uint32_t done = 0;

	while (done < fake->count && fake->items[done].time_ns <= until_ns)
		on_observation(owner, &fake->items[done++]);
	memmove(fake->items, fake->items + done, (fake->count - done) * sizeof(fake->items[0]));
	fake->count -= done;
	return 0;
}

static void fake_losses(struct sampler *sampler, sampler_on_loss on_loss, void *owner)
{
	struct fake_sampler *fake = (struct fake_sampler *)sampler;

	for (uint32_t at = 0; at < fake->losses_count; at++) {
		const struct fake_loss *loss = &fake->losses[at];
		on_loss(owner, loss->pid, loss->start_ns, loss->reason, loss->count);
		fake->state.taken += loss->count;
	}
	fake->losses_count = 0;
}

static struct sampler_state fake_state(struct sampler *sampler)
{
	return ((struct fake_sampler *)sampler)->state;
}

static const struct sampler_functions fake_functions = {
	.drain = fake_drain,
	.losses = fake_losses,
	.state = fake_state,
};

/* ---- a collector with everything around it ---- */

struct fixture {
	struct fake_sampler fake;
	struct clock_virtual clock;
	struct test_dir proc;
	struct symbol_files *files;
	struct process_table *processes;
	struct labeler *labeler;
	struct collector *collector;
};

static const char kallsyms[] = "ffffffff81000000 T kernel_outer\n"
                               "ffffffff81000100 T kernel_inner\n"
                               "ffffffff81000200 T kernel_last\n"
                               "ffffffffc0000000 t driver_read\t[driver]\n"
                               "ffffffffc0000100 t driver_end\t[driver]\n";

static struct fixture *fixture_new(struct collector_options options)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	char path[300];
	char error[200];

	assert_non_null(fixture);
	fixture->fake.sampler.functions = &fake_functions;
	fixture->fake.state =
	        (struct sampler_state){ .tier = SAMPLER_TIER_BPF, .hz = 49, .period = PERIOD };
	clock_virtual_init(&fixture->clock, 1700000000 * SECOND);
	fixture->proc = test_dir_new();
	snprintf(path, sizeof(path), "%s/kallsyms", fixture->proc.path);
	test_file_write(path, kallsyms, strlen(kallsyms));
	fixture->files = symbol_files_new(
	        (struct symbol_files_options){ .proc_path = fixture->proc.path });
	fixture->processes = process_table_new((struct process_table_options){
	        .proc_path = fixture->proc.path, .files = fixture->files });
	CHECK_OK(labeler_new(
	        (struct labeler_options){ .host = "h" }, &fixture->labeler, error, sizeof(error)));
	options.sampler = &fixture->fake.sampler;
	options.processes = fixture->processes;
	options.files = fixture->files;
	options.labeler = fixture->labeler;
	options.clock = &fixture->clock.clock;
	options.kallsyms_path = path;
	CHECK_OK(collector_new(options, &fixture->collector));
	return fixture;
}

static void fixture_free(struct fixture *fixture)
{
	collector_free(fixture->collector);
	labeler_free(fixture->labeler);
	process_table_free(fixture->processes);
	symbol_files_free(fixture->files);
	test_dir_remove(&fixture->proc);
	free(fixture);
}
DEFINE_AUTO(fixture);

static uint64_t now(const struct fixture *fixture)
{
	return fixture->clock.now_monotonic_ns;
}

static struct observation *tell(struct fixture *fixture, enum observation_kind kind, int32_t pid)
{
	assert_true(fixture->fake.count < FAKE_MAX);
	struct observation *observation = &fixture->fake.items[fixture->fake.count++];

	clock_virtual_advance(&fixture->clock, 1);
	*observation = (struct observation){
		.kind = kind, .pid = pid, .tid = pid, .time_ns = now(fixture)
	};
	return observation;
}

/* A program with one page of code at 0x400000 that lies at 0x2000 in its file. */
static void tell_program(struct fixture *fixture, int32_t pid, int32_t group, const char *comm)
{
	tell(fixture, OBSERVED_FORK, pid)->fork_parent = 1;
	snprintf(tell(fixture, OBSERVED_EXEC, pid)->comm, OBSERVATION_COMM_BYTES, "%s", comm);
	tell(fixture, OBSERVED_MAP, pid)->map = (struct observed_map){ .start = 0x400000,
		.bytes = 0x1000,
		.offset = 0x2000,
		.build_id = { 0xab },
		.build_id_bytes = 1,
		.path = "/bin/app" };
	tell(fixture, OBSERVED_MAP, pid)->map =
	        (struct observed_map){ .start = 0x500000, .bytes = 0x1000, .path = "//anon" };
	tell(fixture, OBSERVED_ORIGIN, pid)->origin =
	        (struct observed_origin){ .start_ns = START_TICKS * SECOND / 100,
		        .group = group,
		        .group_start_ns = START_TICKS * SECOND / 100,
		        .parent = 1 };
}

static void tell_sample(struct fixture *fixture, int32_t pid, struct observed_sample sample)
{
	sample.start_ns = START_TICKS * SECOND / 100;
	sample.has_cgroup = true;
	if (!sample.period)
		sample.period = PERIOD;
	tell(fixture, OBSERVED_SAMPLE, pid)->sample = sample;
	fixture->fake.state.taken++;
}

static const uint64_t main_ips[] = { 0x400010, 0x400101 };

static const struct observed_sample plain = {
	.user_ips = main_ips, .user_depth = 2, .flags = OBSERVED_USER_ROOT
};

static struct batch *close_interval(struct fixture *fixture)
{
	CHECK_OK(collector_drain(fixture->collector, now(fixture)));
	struct batch *batch = collector_close_interval(fixture->collector, now(fixture));
	assert_non_null(batch);
	return batch;
}

/* Everything taken is a row or a loss. */
static void check_identity(struct fixture *fixture)
{
	struct collector_state state = collector_state(fixture->collector);
	uint64_t lost = 0;

	for (uint32_t reason = 0; reason <= LOSS_REASON_MAX; reason++)
		lost += state.lost[reason];
	assert_int_equal(fixture->fake.state.taken, state.samples + lost);
}

static const char *label(const struct batch *batch, uint32_t series, const char *name)
{
	uint32_t id = dict_find_string(batch->dict, name, strlen(name));

	return id == ID_NONE ? ""
	                     : dict_text(batch->dict, dict_label_value(batch->dict, series, id));
}

/* "kernel:name app+10 [truncated]", leaf first. */
static void describe(const struct batch *batch, uint32_t node, struct buf *to)
{
	buf_reset(to);
	for (; node != DICT_NODE_ROOT; node = dict_get_node(batch->dict, node).parent) {
		struct frame frame = dict_get_frame(
		        batch->dict, dict_get_node(batch->dict, node).frame);
		const struct module *module = dict_get_module(batch->dict, frame.module);
		const char *name = dict_text(batch->dict, module->name);
		if (to->count)
			buf_put_u8(to, ' ');
		if (frame.kind == FRAME_TRUNCATED)
			buf_printf(to, "[truncated]");
		else if (frame.kind == FRAME_KERNEL)
			buf_printf(to, "%s:%s", name, dict_text(batch->dict, frame.function));
		else if (module->build_id)
			buf_printf(to, "%s:%s+%llx", name, dict_text(batch->dict, module->build_id),
			        (unsigned long long)frame.address);
		else
			buf_printf(to, "%s", name);
	}
	buf_put_u8(to, 0);
}

static void addresses_become_frames_and_unfinished_stacks_are_marked(void **state)
{
	static const uint64_t kernel[] = { 0xffffffff81000110, 0xffffffff81000101,
		0xffffffffc0000080 };
	static const uint64_t hidden[] = { 0xffffffff00000000 };
	static const uint64_t garbage[] = { 0x400010, 0xdead0000, 0x400020, 0xdead0000,
		0xdead1000 };
	static const uint64_t lost_leaf[] = { 0xdead0000 };
	static const uint64_t jit[] = { 0x500800, 0x400020 };
	static const uint64_t at_end[] = { 0x400010, 0x401000 };
	static const struct {
		struct observed_sample sample;
		const char *stack;
	} cases[] = {
		/* The leaf is where it is; a caller is where the call was. */
		{ { .user_ips = main_ips, .user_depth = 2, .flags = OBSERVED_USER_ROOT },
		        "app:ab+2010 app:ab+2100" },
		/* A call at the very end of a mapping returns behind it. */
		{ { .user_ips = at_end, .user_depth = 2, .flags = OBSERVED_USER_ROOT },
		        "app:ab+2010 app:ab+2fff" },
		{ { .kernel_ips = kernel,
		          .kernel_depth = 3,
		          .user_ips = main_ips,
		          .user_depth = 2,
		          .flags = OBSERVED_USER_ROOT },
		        "vmlinux:kernel_inner vmlinux:kernel_inner driver:driver_read app:ab+2010 "
		        "app:ab+2100" },
		{ { .kernel_ips = kernel, .kernel_depth = 1, .flags = OBSERVED_NO_USER },
		        "vmlinux:kernel_inner" },
		{ { .kernel_ips = hidden, .kernel_depth = 1, .flags = OBSERVED_NO_USER },
		        "vmlinux:[kernel]" },
		{ { .user_ips = jit, .user_depth = 2, .flags = OBSERVED_USER_ROOT },
		        "[jit] app:ab+201f" },
		/* Unfinished: cut by the source. */
		{ { .user_ips = main_ips, .user_depth = 2, .flags = OBSERVED_USER_CUT },
		        "app:ab+2010 app:ab+2100 [truncated]" },
		{ { .kernel_ips = kernel,
		          .kernel_depth = 1,
		          .flags = OBSERVED_NO_USER | OBSERVED_KERNEL_CUT },
		        "vmlinux:kernel_inner [truncated]" },
		/* Unfinished: the outer end is no code. In between it may be. */
		{ { .user_ips = garbage, .user_depth = 5, .flags = OBSERVED_USER_ROOT },
		        "app:ab+2010 [unmapped] app:ab+201f [truncated]" },
		/* Where the CPU really was is kept, whatever it was. */
		{ { .user_ips = lost_leaf, .user_depth = 1 }, "[unmapped]" },
		/* In the middle of an exec the user registers are of a program that is gone. */
		{ { .kernel_ips = kernel,
		          .kernel_depth = 1,
		          .user_ips = lost_leaf,
		          .user_depth = 1 },
		        "vmlinux:kernel_inner [truncated]" },
		/* Unfinished: a process without a user stack, and no stack at all. */
		{ { .kernel_ips = kernel, .kernel_depth = 1 }, "vmlinux:kernel_inner [truncated]" },
		{ { .flags = OBSERVED_NO_USER }, "[truncated]" },
	};

	for (size_t at = 0; at < COUNT_OF(cases); at++) {
		AUTO(fixture) f = fixture_new((struct collector_options){ 0 });
		AUTO_BUF stack = { 0 };

		tell_program(f, 20, 20, "app");
		tell_sample(f, 20, cases[at].sample);
		struct batch *batch = close_interval(f);
		assert_int_equal(batch->rows_count, 1);
		describe(batch, batch->rows[0].node, &stack);
		assert_string_equal((const char *)stack.bytes, cases[at].stack);
		assert_int_equal(collector_state(f->collector).truncated,
		        strstr(cases[at].stack, "[truncated]") != NULL);
		check_identity(f);
	}
}

static void equal_stacks_of_one_process_are_one_row(void **state)
{
	AUTO(fixture) f = fixture_new((struct collector_options){ 0 });

	tell_program(f, 20, 20, "app");
	for (uint32_t at = 0; at < 1000; at++)
		tell_sample(f, 20, plain);
	struct batch *batch = close_interval(f);
	assert_int_equal(batch->rows_count, 1);
	assert_int_equal(batch->rows[0].value, 1000);
	const struct series *series = dict_get_series(batch->dict, batch->rows[0].series);
	assert_string_equal(dict_text(batch->dict, series->type), "cpu");
	assert_string_equal(dict_text(batch->dict, series->unit), "nanoseconds");
	assert_int_equal(series->period, PERIOD);
	assert_string_equal(label(batch, batch->rows[0].series, "comm"), "app");
	assert_string_equal(label(batch, batch->rows[0].series, "exe"), "/bin/app");
	assert_int_equal(batch->start_ns, 1700000000 * SECOND);
	check_identity(f);

	/* The next interval begins where this one ended. */
	uint64_t end_ns = batch->start_ns + batch->duration_ns;
	tell_sample(f, 20, plain);
	struct batch *next = close_interval(f);
	assert_int_equal(next->start_ns, end_ns);
	assert_int_equal(batch_samples(next), 1);
	check_identity(f);
}

static void an_exec_divides_the_samples_of_a_process(void **state)
{
	AUTO(fixture) f = fixture_new((struct collector_options){ 0 });

	tell_program(f, 20, 20, "shell");
	tell_sample(f, 20, plain);
	snprintf(tell(f, OBSERVED_EXEC, 20)->comm, OBSERVATION_COMM_BYTES, "true");
	tell_sample(f, 20, plain);
	tell_sample(f, 20, plain);
	struct batch *batch = close_interval(f);
	for (uint32_t at = 0; at < batch->rows_count; at++) {
		const struct row *row = &batch->rows[at];
		assert_int_equal(
		        row->value, strcmp(label(batch, row->series, "comm"), "true") == 0 ? 2 : 1);
	}
	assert_int_equal(batch->coverage_count, 2);
	check_identity(f);
}

static uint64_t coverage_of(const struct batch *batch, const char *comm)
{
	uint64_t sum = 0;

	for (uint32_t at = 0; at < batch->coverage_count; at++) {
		if (strcmp(label(batch, batch->coverage[at].series, "comm"), comm) == 0)
			sum += batch->coverage[at].ns;
	}
	return sum;
}

static void coverage_is_the_union_of_the_lives_of_a_series(void **state)
{
	AUTO(fixture) f = fixture_new((struct collector_options){ 0 });

	/* Two processes of one group: one lives from 1 s to 4 s, the other from 3 s to the end at
	 * 10 s. */
	clock_virtual_advance(&f->clock, SECOND - now(f) % SECOND);
	uint64_t zero_ns = now(f) - SECOND;
	tell_program(f, 20, 20, "app");
	tell_sample(f, 20, plain);
	clock_virtual_advance(&f->clock, zero_ns + 3 * SECOND - now(f));
	tell_program(f, 21, 20, "app");
	tell_sample(f, 21, plain);
	clock_virtual_advance(&f->clock, zero_ns + 4 * SECOND - now(f));
	tell(f, OBSERVED_EXIT, 20);
	clock_virtual_advance(&f->clock, zero_ns + 10 * SECOND - now(f));
	struct batch *batch = close_interval(f);
	assert_int_equal(batch->coverage_count, 1);
	assert_true(coverage_of(batch, "app") > 9 * SECOND - 1000);
	assert_true(coverage_of(batch, "app") <= 9 * SECOND);

	/* Whoever lives is watched also while it does nothing, until it ends. */
	clock_virtual_advance(&f->clock, 2 * SECOND);
	tell(f, OBSERVED_EXIT, 21);
	clock_virtual_advance(&f->clock, 8 * SECOND);
	batch = close_interval(f);
	assert_int_equal(batch->rows_count, 0);
	assert_int_equal(coverage_of(batch, "app"), 2 * SECOND + 1);
	clock_virtual_advance(&f->clock, 10 * SECOND);
	assert_int_equal(close_interval(f)->coverage_count, 0);
}

static void losses_are_whose_they_are_where_anybody_knows(void **state)
{
	AUTO(fixture) f = fixture_new((struct collector_options){ 0 });

	tell_program(f, 20, 20, "app");
	tell_sample(f, 20, plain);
	f->fake.losses[0] = (struct fake_loss){ 20, START_TICKS * SECOND / 100, LOSS_RING_FULL, 5 };
	f->fake.losses[1] = (struct fake_loss){ 99, SECOND, LOSS_RING_FULL, 7 };
	f->fake.losses[2] = (struct fake_loss){ 0, 0, LOSS_PERF_LOST, 11 };
	f->fake.losses_count = 3;
	struct batch *batch = close_interval(f);
	uint64_t of_app = 0;
	uint64_t nobodys = 0;
	for (uint32_t at = 0; at < batch->losses_count; at++) {
		const struct loss *loss = &batch->losses[at];
		if (loss->series == SERIES_NONE)
			nobodys += loss->count;
		else if (strcmp(label(batch, loss->series, "comm"), "app") == 0)
			of_app += loss->count;
	}
	assert_int_equal(of_app, 5);
	assert_int_equal(nobodys, 18);
	check_identity(f);
}

static void a_full_table_of_tallies_loses_samples_that_are_counted(void **state)
{
	AUTO(fixture) f = fixture_new((struct collector_options){ .tallies_max = 16 });

	tell_program(f, 20, 20, "app");
	for (uint64_t at = 0; at < 200; at++) {
		static uint64_t ips[200];
		ips[at] = 0x400000 + at % 50;
		tell_sample(
		        f, 20, (struct observed_sample){ .user_ips = &ips[at], .user_depth = 1 });
	}
	struct batch *batch = close_interval(f);
	assert_true(batch_samples(batch) >= 16);
	assert_true(collector_state(f->collector).lost[LOSS_AGENT_MEMORY] > 0);
	check_identity(f);
}

static void a_full_dict_loses_samples_that_are_counted(void **state)
{
	struct dict_limits limits = dict_limits_default;
	limits.nodes = 40;
	AUTO(fixture) f = fixture_new((struct collector_options){ .dict = limits });

	tell_program(f, 20, 20, "app");
	for (uint64_t at = 0; at < 200; at++) {
		static uint64_t ips[200];
		ips[at] = 0x400000 + at;
		tell_sample(
		        f, 20, (struct observed_sample){ .user_ips = &ips[at], .user_depth = 1 });
	}
	struct batch *batch = close_interval(f);
	assert_true(batch_samples(batch) > 0 && batch_samples(batch) < 40);
	check_identity(f);

	/* And without room for a single series. */
	limits = dict_limits_default;
	limits.series = 1;
	AUTO(fixture) g = fixture_new((struct collector_options){ .dict = limits });
	for (int32_t pid = 20; pid < 30; pid++) {
		tell_program(g, pid, pid, "app");
		tell_sample(g, pid, plain);
	}
	assert_true(batch_samples(close_interval(g)) <= 1);
	check_identity(g);
}

static void a_changed_rate_is_another_series(void **state)
{
	AUTO(fixture) f = fixture_new((struct collector_options){ 0 });
	struct observed_sample slower = plain;

	tell_program(f, 20, 20, "app");
	tell_sample(f, 20, plain);
	slower.period = 2 * PERIOD;
	tell_sample(f, 20, slower);
	tell_sample(f, 20, slower);
	struct batch *batch = close_interval(f);
	assert_int_equal(batch->rows_count, 2);
	for (uint32_t at = 0; at < batch->rows_count; at++) {
		const struct row *row = &batch->rows[at];
		uint64_t period = dict_get_series(batch->dict, row->series)->period;
		assert_int_equal(row->value, period / PERIOD);
	}
	check_identity(f);
}

static void many_short_lives_in_one_interval_are_all_counted(void **state)
{
	AUTO(fixture) f = fixture_new((struct collector_options){ 0 });
	char comm[16];

	for (int32_t round = 0; round < 300; round++) {
		/* The same few pids again and again. */
		int32_t pid = 20 + round % 3;
		snprintf(comm, sizeof(comm), "job%d", round % 5);
		tell_program(f, pid, pid, comm);
		tell_sample(f, pid, plain);
		tell(f, OBSERVED_EXIT, pid);
	}
	struct batch *batch = close_interval(f);
	uint64_t sums[5] = { 0 };
	for (uint32_t at = 0; at < batch->rows_count; at++)
		sums[label(batch, batch->rows[at].series, "comm")[3] - '0'] +=
		        batch->rows[at].value;
	for (uint32_t job = 0; job < 5; job++)
		assert_int_equal(sums[job], 60);
	check_identity(f);

	/* Nothing of them stays. */
	clock_virtual_advance(&f->clock, 10 * SECOND);
	(void)close_interval(f);
	assert_null(process_table_find(f->processes, 20, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_become_frames_and_unfinished_stacks_are_marked),
		cmocka_unit_test(equal_stacks_of_one_process_are_one_row),
		cmocka_unit_test(an_exec_divides_the_samples_of_a_process),
		cmocka_unit_test(coverage_is_the_union_of_the_lives_of_a_series),
		cmocka_unit_test(losses_are_whose_they_are_where_anybody_knows),
		cmocka_unit_test(a_full_table_of_tallies_loses_samples_that_are_counted),
		cmocka_unit_test(a_full_dict_loses_samples_that_are_counted),
		cmocka_unit_test(a_changed_rate_is_another_series),
		cmocka_unit_test(many_short_lives_in_one_interval_are_all_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
