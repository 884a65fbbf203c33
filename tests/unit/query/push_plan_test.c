/*
 * Cutting a batch into sections: every row and every second watched is in exactly one, each section
 * fits a PUSH even into an empty session, sections of a shard count from 1, and what cannot fit is
 * refused.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/wire.h"
#include "query/push_plan.h"

static uint32_t series_of(struct dict *dict, const char *service, int number)
{
	struct series series = { .period = 1 };
	struct label labels[2];
	uint32_t id;
	char text[32];
	snprintf(text, sizeof(text), "%d", number);
	CHECK_OK(dict_cstring(dict, "cpu", &series.type));
	CHECK_OK(dict_cstring(dict, "nanoseconds", &series.unit));
	CHECK_OK(dict_cstring(dict, "service", &labels[0].name));
	CHECK_OK(dict_cstring(dict, service, &labels[0].value));
	CHECK_OK(dict_cstring(dict, "number", &labels[1].name));
	CHECK_OK(dict_cstring(dict, text, &labels[1].value));
	CHECK_OK(dict_series(dict, &series, labels, 2, &id));
	return id;
}

/* A stack of `depth` frames that shares its first half with every other. */
static uint32_t stack_of(struct dict *dict, int number, int depth)
{
	uint32_t node = DICT_NODE_ROOT;
	for (int i = 0; i < depth; i++) {
		struct frame frame = { .kind = FRAME_MANAGED };
		char name[64];
		uint32_t id;
		snprintf(name, sizeof(name), "function_%d_%d", i, i < depth / 2 ? 0 : number);
		CHECK_OK(dict_cstring(dict, name, &frame.function));
		CHECK_OK(dict_frame(dict, &frame, &id));
		CHECK_OK(dict_node(dict, node, id, &node));
	}
	return node;
}

struct fixture {
	struct dict *dict;
	struct batch *batch;
};

static struct fixture a_batch(int series_count, int stacks, int depth)
{
	static const char *const services[] = { "cart", "checkout", "search", "mail" };
	struct fixture fixture = { .dict = dict_new(dict_limits_default) };
	fixture.batch = batch_new(fixture.dict);
	fixture.batch->start_ns = 7000;
	fixture.batch->duration_ns = 10;
	for (int s = 0; s < series_count; s++) {
		uint32_t series = series_of(fixture.dict, services[s % 4], s);
		CHECK_OK(batch_add_coverage(fixture.batch, series, 10));
		/* Every fifth was watched and never seen. */
		for (int i = 0; i < stacks && s % 5 != 4; i++)
			CHECK_OK(batch_add_row(fixture.batch, series,
			        stack_of(fixture.dict, i, depth), (uint64_t)(s * 1000 + i + 1)));
	}
	CHECK_OK(batch_settle(fixture.batch));
	return fixture;
}

static void fixture_fini(struct fixture *fixture)
{
	batch_free(fixture->batch);
	dict_free(fixture->dict);
}

#define FIXTURE(name, ...)                                                                         \
	__attribute__((cleanup(fixture_fini))) struct fixture name = a_batch(__VA_ARGS__)

static void check_sections(
        const struct batch *batch, const struct push_plan *plan, struct push_plan_limits limits)
{
	uint32_t rows = 0, coverage = 0;
	uint64_t next_seq[64] = { 0 };
	AUTO(dict) all_dict = dict_new(dict_limits_default);
	AUTO(batch) all = batch_new(all_dict);

	for (uint32_t i = 0; i < plan->count; i++) {
		const struct push_section *section = &plan->sections[i];
		assert_true(section->rows_count + section->coverage_count > 0);
		if (section->rows_count)
			assert_int_equal(section->rows_first, rows);
		if (section->coverage_count)
			assert_int_equal(section->coverage_first, coverage);
		rows += section->rows_count;
		coverage += section->coverage_count;
		assert_true(section->shard < 64);
		assert_int_equal(section->seq, ++next_seq[section->shard]);

		/* Into a session that knows nothing: what a PUSH of it really takes. */
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(dict_remap) remap = dict_remap_new(batch->dict, dict);
		AUTO(batch) part = batch_new(dict);
		AUTO_BUF payload = { 0 };
		struct dict_mark none = dict_mark(dict);
		CHECK_OK(push_plan_copy(batch, section, remap, part));
		struct wire_push push = {
			.session = UINT64_MAX, .request = UINT64_MAX, .sections_count = 1
		};
		struct wire_section as = {
			.shard = section->shard, .epoch = UINT64_MAX, .seq = section->seq
		};
		wire_put_push(&push, dict, none, &payload);
		wire_put_section(&as, part, &payload);
		assert_false(payload.failed);
		assert_true(payload.count <= limits.bytes_max);
		assert_true(dict_mark(dict).nodes <= limits.nodes_max);
		assert_int_equal(part->start_ns, batch->start_ns);
		uint32_t service;
		CHECK_OK(dict_cstring(dict, "service", &service));
		for (uint32_t row = 0; row < part->rows_count; row++)
			assert_int_equal(section->shard,
			        wire_shard(limits.tenant,
			                dict_text(dict, dict_label_value(dict,
			                                        part->rows[row].series, service)),
			                limits.shards));
		CHECK_OK(batch_merge(all, part));
	}
	assert_int_equal(rows, batch->rows_count);
	assert_int_equal(coverage, batch->coverage_count);
	CHECK_OK(batch_settle(all));
	assert_int_equal(batch_samples(all), batch_samples(batch));
	assert_int_equal(all->rows_count, batch->rows_count);
	assert_int_equal(all->coverage_count, batch->coverage_count);
}

static void every_row_is_in_one_section_that_fits(void **state)
{
	static const struct {
		int series, stacks, depth;
		uint64_t bytes_max;
		uint32_t nodes_max;
		bool one_per_shard; /* nothing had to be cut for size */
	} cases[] = {
		{ 1, 1, 1, 1 << 20, 1 << 20, true },
		{ 1, 300, 20, 1 << 20, 1 << 20, true },
		{ 1, 300, 20, 16 << 10, 1 << 20, false },
		{ 1, 300, 20, 1 << 20, 100, false },
		{ 11, 30, 5, 16 << 10, 1 << 20, false },
		{ 40, 7, 9, 8 << 10, 200, false },
		{ 5, 0, 1, 1 << 20, 1 << 20, true },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		FIXTURE(fixture, cases[i].series, cases[i].stacks, cases[i].depth);
		struct push_plan_limits limits = {
			.bytes_max = cases[i].bytes_max,
			.nodes_max = cases[i].nodes_max,
			.shards = 64,
			.tenant = "",
		};
		struct push_plan plan;
		CHECK_OK(push_plan_make(fixture.batch, limits, &plan));
		check_sections(fixture.batch, &plan, limits);
		if (cases[i].one_per_shard)
			assert_true(plan.count <= (uint32_t)cases[i].series);
		else
			assert_true(plan.count > 1);
		push_plan_fini(&plan);
	}
}

static void an_empty_batch_needs_no_section(void **state)
{
	FIXTURE(fixture, 0, 0, 0);
	struct push_plan_limits limits = {
		.bytes_max = 1 << 20, .nodes_max = 100, .shards = 1, .tenant = ""
	};
	struct push_plan plan;
	CHECK_OK(push_plan_make(fixture.batch, limits, &plan));
	assert_int_equal(plan.count, 0);
	push_plan_fini(&plan);
}

static void a_single_stack_past_a_limit_is_refused(void **state)
{
	static const struct push_plan_limits limits[] = {
		{ .bytes_max = 1 << 20, .nodes_max = 10, .shards = 4, .tenant = "" },
		{ .bytes_max = 5000, .nodes_max = 1 << 20, .shards = 4, .tenant = "" },
	};
	FIXTURE(fixture, 1, 3, 100);
	for (size_t i = 0; i < COUNT_OF(limits); i++) {
		struct push_plan plan;
		assert_int_equal(push_plan_make(fixture.batch, limits[i], &plan), -E2BIG);
	}
}

static void the_same_batch_is_always_cut_the_same_way(void **state)
{
	FIXTURE(fixture, 9, 40, 12);
	struct push_plan_limits limits = {
		.bytes_max = 16 << 10, .nodes_max = 1 << 16, .shards = 16, .tenant = ""
	};
	struct push_plan first, second;
	CHECK_OK(push_plan_make(fixture.batch, limits, &first));
	CHECK_OK(push_plan_make(fixture.batch, limits, &second));
	assert_int_equal(first.count, second.count);
	for (uint32_t i = 0; i < first.count; i++) {
		assert_int_equal(first.sections[i].rows_first, second.sections[i].rows_first);
		assert_int_equal(first.sections[i].rows_count, second.sections[i].rows_count);
		assert_int_equal(first.sections[i].seq, second.sections[i].seq);
		assert_int_equal(first.sections[i].shard, second.sections[i].shard);
	}
	push_plan_fini(&first);
	push_plan_fini(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_in_one_section_that_fits),
		cmocka_unit_test(an_empty_batch_needs_no_section),
		cmocka_unit_test(a_single_stack_past_a_limit_is_refused),
		cmocka_unit_test(the_same_batch_is_always_cut_the_same_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
