#pragma once

/*
 * detail_chunk is about 32 k rows of one (window, service, profile type) in columns: everything the
 * batches said, with nothing lost, at about 1.5 bytes a row.
 *
 *	interval   one batch of one stream: who saw it, which of his it is, when exactly
 *	report     what one series had in one interval: its rows, and how long it was watched
 *	row        a stack and a value; the stack is a place in the dictionary of the window's sum
 *	           block (sum_block.h), which is named by its count and hash
 *	loss       samples of a series, or of nobody, that were lost in an interval, by reason
 *
 * Reports are in the order (series, interval) and intervals in (stream, start, seq), so one
 * instance is one run of rows and time goes up inside it. A report with more rows than a chunk
 * should have goes on in the next chunk, in a second report without coverage. An interval that
 * touches several chunks is in each of them: count intervals by (stream, seq).
 *
 * A chunk without reports is good: it says who was watching when there was nothing to see, and what
 * was lost that was nobody's. A window has one such chunk over all of its batches.
 *
 * Opening checks the checksum and reads the directory, which is enough to leave the chunk out.
 * Readers take bytes that nobody vouches for: -EBADMSG, -EPROTONOSUPPORT (newer than we are).
 * docs/formats/blocks.md has the bytes.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "storage/column_codec.h"
#include "storage/kv.h"
#include "storage/stack_sums.h"

/* Writers begin a new chunk when it has this many. */
#define DETAIL_ROWS_AIM (32u << 10)

struct detail_interval {
	uint32_t stream; /* ordinal of the store */
	uint64_t seq;
	uint64_t start_ns; /* unix; start + duration fits 64 bits */
	uint64_t duration_ns;
};

struct detail_report {
	uint32_t series;
	uint32_t interval; /* index into the chunk's intervals */
	uint32_t rows_first;
	uint32_t rows_count;
	bool has_coverage;
	uint64_t coverage_ns; /* 0 without */
};

struct detail_loss {
	uint32_t series; /* or SERIES_NONE, which sorts last */
	uint32_t interval;
	uint32_t reason;
	uint64_t count; /* > 0 */
};

/* ---- writing ---- */

/* Sorted as above, losses by (series, interval, reason), rows of a report by place; none twice. */
struct detail_contents {
	uint32_t dictionary_count;
	uint64_t dictionary_hash;
	const struct detail_interval *intervals;
	uint32_t intervals_count;
	const struct detail_report *reports;
	uint32_t reports_count;
	const uint32_t *places; /* of all reports, end to end; below dictionary_count */
	const uint64_t *values; /* > 0 */
	uint32_t rows_count;
	const struct detail_loss *losses;
	uint32_t losses_count;
};

/* Into an empty buf. -EOVERFLOW: samples or losses past 64 bits. -ENOMEM. */
int detail_chunk_encode(const struct detail_contents *contents, struct kv_bytes key,
        enum column_effort effort, struct column_scratch *scratch, struct buf *to);

/* ---- reading ---- */

/* Opened, nothing decoded. Borrows the value. */
struct detail_chunk {
	uint32_t dictionary_count;
	uint64_t dictionary_hash;
	uint32_t intervals_count;
	uint32_t reports_count;
	uint32_t rows_count;
	uint32_t losses_count;
	uint64_t first_ns; /* of the earliest interval */
	uint64_t last_ns;  /* the latest end; both 0 without intervals */
	uint32_t series_first;
	uint32_t series_last; /* of reports; losses are not in it */
	uint64_t samples;     /* sum of all values; believed only after the rows were read */
	uint64_t lost;        /* sum of all losses; likewise */

	struct {
		struct column stream;
		struct column_wide seq;
		struct column_wide start;
		struct column_wide duration;
	} interval;
	struct {
		struct column series;
		struct column interval;
		struct column rows;
		struct column has_coverage;
		struct column_wide coverage;
	} report;
	struct {
		struct column series;
		struct column interval;
		struct column reason;
		struct column_wide count;
	} loss;
	struct {
		struct column place;
		struct column_wide value;
	} row;
};

/* Borrows the value. The key is part of the checksum. */
int detail_chunk_open(struct kv_bytes key, struct kv_bytes value, struct detail_chunk *ret_chunk);

/* Memory of one thread's reading, reused from chunk to chunk. NULL when out of memory. */
struct detail_memory;

struct detail_memory *detail_memory_new(void);
void detail_memory_free(struct detail_memory *memory);
DEFINE_AUTO(detail_memory);

/* Borrowed from the memory until its next chunk. */
struct detail_heads {
	const struct detail_interval *intervals;
	const struct detail_report *reports;
	const struct detail_loss *losses;
};

/* Everything but the rows. -EBADMSG, -ENOMEM. */
int detail_chunk_get_heads(const struct detail_chunk *chunk, struct detail_memory *memory,
        struct detail_heads *ret_heads);

/* Values are in `wide` when one of them is past 32 bits; else wide is NULL and they are less_one[i]
 * + 1. */
struct detail_rows {
	const uint32_t *places;
	const uint32_t *less_one;
	const uint64_t *wide;
};

static inline uint64_t detail_rows_value(const struct detail_rows *rows, uint32_t row)
{
	return rows->wide ? rows->wide[row] : (uint64_t)rows->less_one[row] + 1;
}

/* All rows, in the order of the reports. After detail_chunk_get_heads() on the same memory.
 * Decoded once, whether by this or by detail_chunk_sum(). */
int detail_chunk_get_rows(const struct detail_chunk *chunk, struct detail_memory *memory,
        struct detail_rows *ret_rows);

/*
 * Adds the rows of the reports that are wanted (a byte per report, not 0; NULL: of all) into sums
 * over the dictionary. After detail_chunk_get_heads() on the same memory. -EOVERFLOW: a sum past
 * 64 bits. -EBADMSG also when the sums are over a dictionary of another count; in both cases sums
 * may hold a part: throw them away.
 */
int detail_chunk_sum(const struct detail_chunk *chunk, struct detail_memory *memory,
        const uint8_t *wanted, struct stack_sums *sums);
