#pragma once

/*
 * What column_codec.c, column_pfor.c, column_sparse.c and column_svb.c share: each packing by
 * itself, without the head of a column.
 */

#include "storage/column_codec.h"

/* True where the AVX2 form may and should run. */
bool column_path_is_avx2(void);
bool column_path_is_ssse3(void);

/*
 * Each codec: put appends the values to `to`, whose error is sticky; get decodes `count` values
 * into `to`, which has room for them, from all of the bytes: -EBADMSG where they are not that, or a
 * value is above `max`.
 */

/*
 * `is_for_zstd`: exceptions are avoided, since their positions do not get smaller by entropy
 * coding while sparse words do.
 */
void pfor_put(const uint32_t *values, uint32_t count, bool is_for_zstd, struct buf *to);
int pfor_get(const uint8_t *bytes, size_t bytes_count, uint32_t max, uint32_t *to, uint32_t count);

/* Appends to `to`; the other two are memory. */
void sparse_put(const uint32_t *values, uint32_t count, struct buf *packed, struct buf *bits,
        struct buf *to);
int sparse_get(
        const uint8_t *bytes, size_t bytes_count, uint32_t max, uint32_t *to, uint32_t count);

/* What svb_put() would append. */
size_t svb_bytes(const uint32_t *values, uint32_t count);
void svb_put(const uint32_t *values, uint32_t count, struct buf *to);
int svb_get(const uint8_t *bytes, size_t bytes_count, uint32_t max, uint32_t *to, uint32_t count);
