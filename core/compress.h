#pragma once

/*
 * compress packs byte runs with LZ4 (hot path) or zstd (once per build-id or block), and unpacks
 * runs that nobody vouches for: the unpacked size is stored by the caller, checked against a limit
 * before memory is taken, and must come out exactly.
 */

#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

/* ZSTD_FAST unpacks like ZSTD; it packs at the fastest level, for what better levels do not help.
 */
enum compress_codec { COMPRESS_LZ4 = 1, COMPRESS_ZSTD = 2, COMPRESS_ZSTD_FAST = 3 };

/* Appends the packed bytes to `to`. -ENOMEM, or -E2BIG when `count` is past 1 GiB. */
int compress_append(enum compress_codec codec, const void *bytes, size_t count, struct buf *to);

/*
 * Appends exactly `unpacked` bytes to `to`.
 * -E2BIG: unpacked > unpacked_max (nothing was allocated). -EBADMSG: not that. -ENOMEM.
 */
int compress_unpack(enum compress_codec codec, const void *bytes, size_t count, size_t unpacked,
        size_t unpacked_max, struct buf *to);
