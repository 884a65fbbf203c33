#pragma once

/*
 * batch is what one observer saw in one interval: rows (series, stack, value), how long each series
 * was watched, and what was lost. All ids are of the batch's dict.
 *
 * The same shape is an agent's interval, an imported file, and one side of an answer. Sums are
 * associative: adding two batches adds equal rows, so any part can be merged anywhere.
 *
 * A batch owns its arrays and borrows its dict. One thread owns a batch.
 */

#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "core/reader.h"
#include "profile/dict.h"
#include "profile/loss.h"

#define SERIES_NONE ID_NONE

struct row {
	uint32_t series;
	uint32_t node;
	uint64_t value; /* in periods of the series; > 0 */
};

struct coverage {
	uint32_t series;
	uint64_t ns; /* really watched */
};

struct loss {
	uint32_t series; /* SERIES_NONE where nobody can say whose it was */
	uint32_t reason; /* enum loss_reason, LOSS_FOLDED, or a number we do not know yet */
	uint64_t count;  /* samples */
};

struct batch {
	struct dict *dict;
	uint64_t start_ns; /* unix */
	uint64_t duration_ns;
	struct row *rows;
	struct coverage *coverage;
	struct loss *losses;
	uint32_t rows_count, rows_capacity;
	uint32_t coverage_count, coverage_capacity;
	uint32_t losses_count, losses_capacity;
};

struct batch *batch_new(struct dict *dict);
void batch_free(struct batch *batch);
DEFINE_AUTO(batch);
void batch_reset(struct batch *batch);

/*
 * 0, -ENOMEM, -EOVERFLOW (a sum past 64 bits). Equal keys may be added repeatedly; see
 * batch_settle. A row or loss of 0 says nothing and is not kept. When the rows' memory is full they
 * are settled before more is taken, so a batch stays as small as its distinct rows, and an add may
 * move any row.
 */
int batch_add_row(struct batch *batch, uint32_t series, uint32_t node, uint64_t value);
int batch_add_coverage(struct batch *batch, uint32_t series, uint64_t ns);
int batch_add_loss(struct batch *batch, uint32_t series, uint32_t reason, uint64_t count);

/* Room for so many rows more, so that adding them neither fails nor settles. -ENOMEM. */
int batch_reserve_rows(struct batch *batch, uint32_t count);

/*
 * Sorts by (series, node), coverage by series, losses by (series, reason), and adds up equal keys.
 * What encoders and readers want. -EOVERFLOW: rows that cannot be added up are left apart.
 */
int batch_settle(struct batch *batch);

/*
 * Adds `from` (another batch, any dict) into `to`, and settles it: the interval becomes the span of
 * both, where 0 and 0 is no interval. -ENOMEM, -ENOSPC (of the dict), -EOVERFLOW.
 * On error `to` may hold a part: throw it away.
 */
int batch_merge(struct batch *to, const struct batch *from);

/* Sum of row values and of losses: what the accounting identity is made of. Saturates. */
uint64_t batch_samples(const struct batch *batch);
uint64_t batch_lost(const struct batch *batch);

/* The columns without the dict; the batch must be settled (docs/formats/batch.md). */
void batch_encode(const struct batch *batch, struct buf *to);

/*
 * Into an empty batch whose dict already holds every id; it stays empty on failure. Counts are
 * checked before memory is taken. Reads no further than the encoding: the caller knows whether
 * something may follow (reader_left()). -EBADMSG: not an encoding, or an id that the dict lacks.
 * -ENOMEM.
 */
int batch_decode(struct batch *batch, struct reader *from);

/*
 * The same columns as small as they get, for the store: less than half the bytes, at several times
 * the work. Without the interval, and to be read with the dict as it was or grown since. `scratch`
 * is any buf.
 */
void batch_encode_coded(const struct batch *batch, struct buf *scratch, struct buf *to);

/*
 * All that is left in `from`, into an empty batch whose interval is set; on failure it has no rows.
 * More rows than `rows_max` are refused before memory is taken. -EBADMSG, -ENOMEM.
 */
int batch_decode_coded(struct batch *batch, uint32_t rows_max, struct reader *from);

/* The form that stores had before, which nobody writes any more: likewise. */
int batch_decode_packed(
        struct batch *batch, uint32_t rows_max, struct buf *scratch, struct reader *from);

/* Dict and columns together, self-contained: the spool, files, tests. */
void batch_encode_whole(const struct batch *batch, struct buf *to);
/* batch->dict must be empty, and is again on failure. Bytes left over are -EBADMSG. Also -ENOSPC.
 */
int batch_decode_whole(struct batch *batch, struct reader *from);
