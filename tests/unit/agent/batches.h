#pragma once

/*
 * Small batches for the tests of spool and shipper, made of text: what a host might have seen in an
 * interval, with names that a failure can be read from.
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/auto.h"
#include "core/clock.h"
#include "profile/batch.h"
#include "tests/lib/test.h"

/* A batch with a dict of its own. */
struct made_batch {
	struct dict *dict;
	struct batch *batch;
};

static inline void made_batch_fini(struct made_batch *made)
{
	batch_free(made->batch);
	dict_free(made->dict);
}

#define AUTO_BATCH __attribute__((cleanup(made_batch_fini))) struct made_batch

static inline struct made_batch made_batch_new(uint64_t interval)
{
	struct made_batch made = { .dict = dict_new(dict_limits_default) };

	assert_non_null(made.dict);
	made.batch = batch_new(made.dict);
	assert_non_null(made.batch);
	made.batch->start_ns = 1700000000 * NS_PER_S + interval * 10 * NS_PER_S;
	made.batch->duration_ns = 10 * NS_PER_S;
	return made;
}

static inline uint32_t made_series(struct made_batch *made, const char *service)
{
	struct series series = { .period = 1000 };
	struct label label;
	uint32_t id;

	CHECK_OK(dict_cstring(made->dict, "cpu", &series.type));
	CHECK_OK(dict_cstring(made->dict, "nanoseconds", &series.unit));
	CHECK_OK(dict_cstring(made->dict, "service", &label.name));
	CHECK_OK(dict_cstring(made->dict, service, &label.value));
	CHECK_OK(dict_series(made->dict, &series, &label, service[0] ? 1 : 0, &id));
	return id;
}

/* `count` samples of a stack of one function. */
static inline void made_row(
        struct made_batch *made, const char *service, const char *function, uint64_t count)
{
	struct frame frame = { .kind = FRAME_MANAGED };
	uint32_t frame_id;
	uint32_t node;

	CHECK_OK(dict_cstring(made->dict, function, &frame.function));
	CHECK_OK(dict_frame(made->dict, &frame, &frame_id));
	CHECK_OK(dict_stack(made->dict, &frame_id, 1, &node));
	CHECK_OK(batch_add_row(made->batch, made_series(made, service), node, count));
}

/* One service, one function, one loss if any. */
static inline struct made_batch made_simple(
        uint64_t interval, const char *service, uint64_t count, uint64_t lost)
{
	struct made_batch made = made_batch_new(interval);

	made_row(&made, service, "main", count);
	CHECK_OK(batch_add_coverage(made.batch, made_series(&made, service), 10 * NS_PER_S));
	CHECK_OK(batch_add_loss(made.batch, SERIES_NONE, LOSS_RING_FULL, lost));
	CHECK_OK(batch_settle(made.batch));
	return made;
}

static inline struct made_batch made_decode(const uint8_t *bytes, size_t count)
{
	struct made_batch made = made_batch_new(0);
	struct reader reader = reader_of(bytes, count);

	made.batch->start_ns = 0;
	made.batch->duration_ns = 0;
	CHECK_OK(batch_decode_whole(made.batch, &reader));
	return made;
}

/* Samples of one service, or of all for NULL. */
static inline uint64_t made_samples(const struct made_batch *made, const char *service)
{
	uint32_t name = dict_find_string(made->dict, "service", 7);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < made->batch->rows_count; i++) {
		const struct row *row = &made->batch->rows[i];
		uint32_t value = name == ID_NONE ? 0
		                                 : dict_label_value(made->dict, row->series, name);

		if (!service || !strcmp(dict_text(made->dict, value), service))
			sum += row->value;
	}
	return sum;
}

static inline uint64_t made_lost(const struct made_batch *made, uint32_t reason)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < made->batch->losses_count; i++)
		sum += made->batch->losses[i].reason == reason ? made->batch->losses[i].count : 0;
	return sum;
}
