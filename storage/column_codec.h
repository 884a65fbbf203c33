#pragma once

/*
 * column_codec writes a run of integers as few bytes that are fast to read: constant, bit-packed
 * with patches, StreamVByte, either of them under zstd, or raw (storage/block_format.h).
 *
 * The writer tries and takes the smallest, where the fast ones get a head start: FAST is for what
 * queries read all the time and never uses zstd; SMALL is for what is read seldom; ZEROES for long
 * columns most of whose values are 0.
 *
 * Readers take bytes that nobody vouches for: every value is at most the caller's `max`, counts
 * are the caller's and bounded by him, nothing is read behind the column. -EBADMSG: not a column
 * of that count, or a value past max; what was written to `to` is then worth nothing. -ENOMEM.
 *
 * How many values a column has is known to whoever keeps it, and is not in it.
 *
 * On x86 with AVX2 the same code runs compiled for it; bytes and results are identical.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/reader.h"
#include "storage/block_format.h"

enum column_effort { COLUMN_FAST, COLUMN_SMALL, COLUMN_ZEROES };

/* Memory that encoders and decoders use between calls. A zeroed one is good; one thread's. */
struct column_scratch {
	struct buf packed;
	struct buf other;
	struct buf sections;
	struct buf low;
	struct buf high;
};

void column_scratch_fini(struct column_scratch *scratch);
#define AUTO_COLUMN_SCRATCH __attribute__((cleanup(column_scratch_fini))) struct column_scratch

/* Opened, not decoded. Borrows its bytes. */
struct column {
	enum column_codec codec;
	uint32_t count;
	const uint8_t *bytes;
	size_t bytes_count;
};

struct column_wide {
	struct column low;
	struct column high;
};

/* The error is `to`'s. */
void column_put_u32(const uint32_t *values, uint32_t count, enum column_effort effort,
        struct column_scratch *scratch, struct buf *to);
void column_put_u64(const uint64_t *values, uint32_t count, enum column_effort effort,
        struct column_scratch *scratch, struct buf *to);

/* The error is `from`'s: an unknown codec, or a column that is longer than what is left. */
struct column column_open(struct reader *from, uint32_t count);
struct column_wide column_open_wide(struct reader *from, uint32_t count);

/*
 * Decodes column->count values into `to`, which has room for them. -EBADMSG: what the bytes say is
 * broken, or a value is above `max`. -ENOMEM.
 */
int column_get_u32(
        const struct column *column, uint32_t max, uint32_t *to, struct column_scratch *scratch);
int column_get_u64(const struct column_wide *column, uint64_t max, uint64_t *to,
        struct column_scratch *scratch);

/* All high halves are 0, so that `low` alone has the values. */
bool column_is_narrow(const struct column_wide *column);

/*
 * From distances to places, in place: each becomes the sum of all up to it, each plus 1, minus 1;
 * so ascending distinct numbers are the differences minus 1, the first as it is. Distances and
 * `limit` are at most COLUMN_COUNT_MAX. -EBADMSG: a place is not below `limit`.
 */
int column_places(uint32_t *distances, uint32_t count, uint32_t limit);

/* The same for ids of any size: -EBADMSG when they go past 32 bits. */
int column_ids(uint32_t *distances, uint32_t count);

uint64_t column_sum(const uint32_t *values, uint32_t count);

/* What runs: the fastest this machine has, or the plain form of any machine. For tests, benches. */
enum column_path { COLUMN_PATH_BEST, COLUMN_PATH_PLAIN };
void column_use_path(enum column_path path);
