#pragma once

/*
 * Random but repeatable contents of a detail chunk: a seed makes streams, intervals, reports, rows
 * and losses with every odd shape (overlapping intervals, seqs that jump, coverage beyond the
 * interval, values of any size). Failing tests print the seed.
 */

#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "profile/batch.h"
#include "storage/detail_chunk.h"
#include "tests/lib/test.h"

struct random_detail {
	struct detail_contents contents;
	struct detail_interval *intervals;
	struct detail_report *reports;
	struct detail_loss *losses;
	uint32_t *places;
	uint64_t *values;
};

static inline void random_detail_free(struct random_detail *detail)
{
	free(detail->intervals);
	free(detail->reports);
	free(detail->losses);
	free(detail->places);
	free(detail->values);
	free(detail);
}
DEFINE_AUTO(random_detail);

/* Mostly small, sometimes of up to `bits`. */
static inline uint64_t random_detail_number(struct rng *rng, uint32_t bits)
{
	return rng_u64(rng) >> (64 - 1 - rng_below(rng, bits));
}

static inline void random_detail_intervals(struct random_detail *detail, struct rng *rng)
{
	uint32_t count = 0;
	uint32_t streams = (uint32_t)rng_below(rng, 5);
	for (uint32_t s = 0; s < streams; s++) {
		uint64_t start_ns = UINT64_C(1700000000000000000) + rng_below(rng, 1000000000);
		uint64_t seq = random_detail_number(rng, 64);
		uint32_t batches = (uint32_t)rng_below(rng, 20);
		for (uint32_t i = 0; i < batches; i++) {
			uint64_t length_ns = rng_below(rng, 8) ? UINT64_C(10000000000)
			                                       : random_detail_number(rng, 40);
			detail->intervals[count++] = (struct detail_interval){
				.stream = s * 7,
				.seq = seq,
				.start_ns = start_ns,
				.duration_ns = length_ns,
			};
			seq += rng_below(rng, 10) ? 1 : random_detail_number(rng, 63);
			start_ns += rng_below(rng, 6) ? length_ns : 1 + rng_below(rng, 50000);
			/* Of the same start, only a larger seq is in order. */
			start_ns += length_ns == 0;
		}
	}
	detail->contents.intervals_count = count;
}

static inline void random_detail_rows(struct random_detail *detail, struct rng *rng,
        uint32_t rows_max, uint32_t value_bits, struct detail_report *report)
{
	struct detail_contents *contents = &detail->contents;
	uint32_t step = 1 + (uint32_t)rng_below(rng, 9);
	uint32_t wanted = (uint32_t)rng_below(rng, rows_max + 1);
	uint64_t place = rng_below(rng, 5);
	report->rows_first = contents->rows_count;
	for (uint32_t i = 0; i < wanted && place < contents->dictionary_count; i++) {
		detail->places[contents->rows_count] = (uint32_t)place;
		detail->values[contents->rows_count++] =
		        rng_below(rng, 10) ? 1 : 1 + random_detail_number(rng, value_bits);
		place += 1 + rng_below(rng, step * (rng_below(rng, 10) ? 1 : 20));
	}
	report->rows_count = contents->rows_count - report->rows_first;
}

static inline struct random_detail *random_detail_new(uint64_t seed, uint32_t rows_max)
{
	struct random_detail *detail = calloc(1, sizeof(*detail));
	struct detail_contents *contents = &detail->contents;
	struct rng rng;
	rng_init(&rng, seed);
	detail->intervals = calloc(200, sizeof(*detail->intervals));
	detail->reports = calloc(1000, sizeof(*detail->reports));
	detail->losses = calloc(1000, sizeof(*detail->losses));
	detail->places = calloc((size_t)1000 * rows_max + 1, sizeof(*detail->places));
	detail->values = calloc((size_t)1000 * rows_max + 1, sizeof(*detail->values));
	CHECK(detail->intervals && detail->reports && detail->losses);
	CHECK(detail->places && detail->values);

	uint32_t value_bits = seed % 4 == 0 ? 50 : seed % 4 == 1 ? 32 : 8;
	contents->dictionary_count = 1 + (uint32_t)rng_below(&rng, 3000);
	contents->dictionary_hash = rng_u64(&rng);
	random_detail_intervals(detail, &rng);
	for (uint32_t series = 0; series < 6; series++) {
		for (uint32_t i = 0; i < contents->intervals_count; i++) {
			if (rng_below(&rng, 3) == 0)
				continue;
			struct detail_report *report = &detail->reports[contents->reports_count++];
			report->series = 90 + series * (1 + (uint32_t)(seed % 3) * 100000);
			report->interval = i;
			report->has_coverage = rng_below(&rng, 5) > 0;
			if (report->has_coverage)
				report->coverage_ns = rng_below(&rng, 4)
				                              ? detail->intervals[i].duration_ns
				                              : random_detail_number(&rng, 64);
			random_detail_rows(detail, &rng, rows_max, value_bits, report);
		}
	}
	for (uint32_t series = 0; series < 4; series++) {
		for (uint32_t i = 0; i < contents->intervals_count; i++) {
			if (rng_below(&rng, 9))
				continue;
			detail->losses[contents->losses_count++] = (struct detail_loss){
				.series = series == 3 ? SERIES_NONE : 90 + series,
				.interval = i,
				.reason = 1 + (uint32_t)rng_below(&rng, 40),
				.count = 1 + random_detail_number(&rng, 20),
			};
		}
	}
	contents->intervals = detail->intervals;
	contents->reports = detail->reports;
	contents->losses = detail->losses;
	contents->places = detail->places;
	contents->values = detail->values;
	return detail;
}
