#pragma once

/*
 * log_file looks at a file in the form of RocksDB's logs for damage before its end.
 *
 * RocksDB reads a log up to the first record that is torn, because that is how a power loss leaves
 * it. For its manifest, which says what files there are, that is not good enough: one wrong byte in
 * the length of a record looks like such an end, and everything behind it would be gone without a
 * word, whole windows with it. A record that is torn has nothing behind it; so if there is a good
 * one behind the end, the end is damage.
 */

#include <stddef.h>
#include <stdint.h>

/* 0, also for an end that is torn. -EBADMSG: good records lie behind one that is not. */
int log_file_check(const uint8_t *bytes, size_t count);

/* The same, and where the last write ends that is there as a whole: behind it nothing is good. */
int log_file_end(const uint8_t *bytes, size_t count, size_t *ret_end);

/*
 * Visits every write that is there as a whole, up to the first record that is not good, until one
 * of them is answered by anything but 0, which is returned. -ENOMEM.
 */
int log_file_visit(const uint8_t *bytes, size_t count,
        int (*visit)(void *owner, const uint8_t *write, size_t write_bytes), void *owner);
