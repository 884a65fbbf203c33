#pragma once

/*
 * whole_file reads all that a descriptor gives, up to a bound. Its size is not asked for: pipes and
 * the files of /proc are files too.
 */

#include "core/buf.h"

/*
 * Appends to `to`. -EFBIG: there is more than `bytes_max`, of which some may be in `to`. -ENOMEM,
 * or what read() says; then likewise.
 */
int whole_file_read(int fd, size_t bytes_max, struct buf *to);

/* Appends to `to` no more than `bytes_max`; what is beyond stays where it is. -ENOMEM, or what
 * read() says. */
int whole_file_read_some(int fd, size_t bytes_max, struct buf *to);
