#pragma once

/*
 * gzip is the one door to zlib: what other tools' files (pprof) and browsers (the flame graph page)
 * understand. Where both ends are ours, core/compress is smaller and faster.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

bool gzip_is_gzip(const void *bytes, size_t count);

/* Appends one gzip member. `level` 1 (fast) to 9 (small). -E2BIG past 2 GiB, -ENOMEM. */
int gzip_pack(const void *bytes, size_t count, int level, struct buf *to);

/*
 * Appends what all members of the file unpack to; zeroes behind the last are padding.
 * -EBADMSG: broken, or it ends early. -E2BIG: more than unpacked_max. -ENOMEM.
 */
int gzip_unpack(const void *bytes, size_t count, size_t unpacked_max, struct buf *to);
