#pragma once

/*
 * What tests of the store stand on: a source that has a dict and a stream of its own, as a session
 * of an agent has, and short ways to open, append and sum.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/store.h"
#include "tests/lib/test.h"

#define SECOND UINT64_C(1000000000)

static inline struct store_options store_fixture_options(const char *path)
{
	return (struct store_options){
		.path = path,
		.limits = dict_limits_default,
		.block_cache_bytes = 8 << 20,
		.symbols_cache_bytes = 1 << 20,
	};
}

static inline struct store *store_fixture_open_with(struct store_options options)
{
	struct store *store = NULL;
	char error[512] = "";
	int r = store_open(options, &store, error, sizeof(error));
	if (r < 0)
		fail_msg("%s: %s", options.path, error);
	return store;
}

static inline struct store *store_fixture_open(const char *path)
{
	return store_fixture_open_with(store_fixture_options(path));
}

struct source {
	struct dict *dict;
	struct dict_remap *remap;
	struct batch *batch;
	struct store_stream stream; /* seq is the last one given */
};

static inline struct source source_new(struct store *store, uint8_t uuid)
{
	(void)store;
	struct source source = {
		.dict = dict_new(dict_limits_default),
		.stream = { .uuid = { .bytes = { uuid } }, .epoch = 1, .tenant = "" },
	};
	assert_non_null(source.dict);
	source.batch = batch_new(source.dict);
	source.remap = dict_remap_new(source.dict, NULL); /* store_append() aims it */
	assert_non_null(source.batch);
	assert_non_null(source.remap);
	return source;
}

static inline void source_free(struct source *source)
{
	dict_remap_free(source->remap);
	batch_free(source->batch);
	dict_free(source->dict);
}

static inline uint32_t source_string(struct source *source, const char *text)
{
	uint32_t id;
	CHECK_OK(dict_cstring(source->dict, text, &id));
	return id;
}

static inline uint32_t source_series(
        struct source *source, const char *service, const char *instance, uint64_t period)
{
	struct series series = {
		.type = source_string(source, "cpu"),
		.unit = source_string(source, "nanoseconds"),
		.period = period,
	};
	struct label labels[] = {
		{ source_string(source, "service"), source_string(source, service) },
		{ source_string(source, "instance"), source_string(source, instance) },
	};
	uint32_t id;
	CHECK_OK(dict_series(source->dict, &series, labels, COUNT_OF(labels), &id));
	return id;
}

/* A stack of one function below main. */
static inline uint32_t source_stack(struct source *source, const char *function)
{
	uint32_t frames[2];
	uint32_t node;
	struct frame leaf = { .kind = FRAME_MANAGED, .function = source_string(source, function) };
	struct frame root = { .kind = FRAME_MANAGED, .function = source_string(source, "main") };
	CHECK_OK(dict_frame(source->dict, &leaf, &frames[0]));
	CHECK_OK(dict_frame(source->dict, &root, &frames[1]));
	CHECK_OK(dict_stack(source->dict, frames, COUNT_OF(frames), &node));
	return node;
}

/* Begins an interval in source->batch. */
static inline void source_begin(struct source *source, uint64_t start_ns, uint64_t duration_ns)
{
	batch_reset(source->batch);
	source->batch->start_ns = start_ns;
	source->batch->duration_ns = duration_ns;
}

static inline struct store_append source_section(struct source *source, uint64_t seq)
{
	CHECK_OK(batch_settle(source->batch));
	struct store_append append = {
		.stream = source->stream,
		.batch = source->batch,
		.remap = source->remap,
		.ret_status = UINT32_MAX,
	};
	append.stream.seq = seq;
	return append;
}

/* Appends source->batch as the given seq and returns its status. */
static inline uint32_t source_append(struct source *source, struct store *store, uint64_t seq)
{
	struct store_append append = source_section(source, seq);
	int r = store_append(store, &append, 1);
	if (r < 0)
		fail_msg("store_append returned %d: %s", r, store_error(store));
	return append.ret_status;
}

static inline struct store_match *store_fixture_find(
        struct store *store, const char *text, uint64_t from_ns, uint64_t to_ns)
{
	char error[256] = "";
	struct selector *selector;
	struct store_match *match;
	if (selector_parse(text, &selector, error, sizeof(error)) < 0)
		fail_msg("%s: %s", text, error);
	CHECK_OK(store_find_series(store, selector, from_ns, to_ns, &match));
	selector_free(selector);
	return match;
}

/* For each series of a match its id, as the number of its group. The caller frees. */
static inline uint32_t *store_fixture_groups(const struct store_match *match)
{
	uint32_t *groups = calloc(match->series_count + 1, sizeof(*groups));
	assert_non_null(groups);
	for (uint32_t i = 0; i < match->parts_count; i++)
		for (uint32_t j = 0; j < match->parts[i].series_count; j++)
			groups[match->parts[i].first + j] = match->parts[i].series[j];
	return groups;
}

/* The sum of a match over a range, with a group for each of its series. The caller ends it. */
static inline struct store_sum store_fixture_sum_by(struct store *store,
        const struct store_match *match, const uint32_t *groups, uint64_t from_ns, uint64_t to_ns)
{
	struct store_sum sum;
	uint64_t read_ns = 0;
	struct store_sum_options options = {
		.from_ns = from_ns,
		.to_ns = to_ns,
		.match = match,
		.groups = groups,
		.memory_max = 64 << 20,
		.read_ns = &read_ns,
	};
	CHECK_OK(store_sum(store, &options, &sum));
	CHECK(read_ns == (from_ns < to_ns ? to_ns - from_ns : 0));
	return sum;
}

/* Every series, each a group of its own number, of a selector over a range. The caller ends it. */
static inline struct store_sum store_fixture_sum(
        struct store *store, const char *text, uint64_t from_ns, uint64_t to_ns)
{
	AUTO(store_match) match = store_fixture_find(store, text, from_ns, to_ns);
	autofree uint32_t *groups = store_fixture_groups(match);
	return store_fixture_sum_by(store, match, groups, from_ns, to_ns);
}

/* All of a match in one group, which sums can answer without detail. The caller ends it. */
static inline struct store_sum store_fixture_sum_together(
        struct store *store, const struct store_match *match, uint64_t from_ns, uint64_t to_ns)
{
	autofree uint32_t *groups = calloc((size_t)match->series_count + 1, sizeof(*groups));
	assert_non_null(groups);
	return store_fixture_sum_by(store, match, groups, from_ns, to_ns);
}

static inline uint64_t store_fixture_value(
        struct store *store, const char *text, uint64_t from_ns, uint64_t to_ns)
{
	struct store_sum sum = store_fixture_sum(store, text, from_ns, to_ns);
	uint64_t value = 0;
	for (uint32_t i = 0; i < sum.parts_count; i++)
		for (uint32_t j = 0; j < sum.parts[i].rows_count; j++)
			value += sum.parts[i].rows[j].value;
	assert_int_equal(value, sum.completeness.value);
	store_sum_fini(&sum);
	return value;
}

/* The same in one group. */
static inline uint64_t store_fixture_total(
        struct store *store, const char *text, uint64_t from_ns, uint64_t to_ns)
{
	AUTO(store_match) match = store_fixture_find(store, text, from_ns, to_ns);
	struct store_sum sum = store_fixture_sum_together(store, match, from_ns, to_ns);
	uint64_t value = sum.completeness.value;
	store_sum_fini(&sum);
	return value;
}
