#pragma once

/*
 * table_file looks at the one part of RocksDB's table files that RocksDB reads without checking.
 *
 * Every block of a file has a checksum, and RocksDB verifies it before it reads the block; but the
 * one with the file's properties it reads first (because files that were taken in have a number
 * written into it later), and an assertion in Debian's build ends the process when one byte of it
 * is wrong. So it is checked here, before RocksDB sees the file.
 *
 * The form is that of RocksDB's tables of versions 2 to 5 with XXH3, which is what we write; a file
 * of another form is left to RocksDB.
 */

#include <stdint.h>

/* Where in the file; 0 and 0: nobody can say. */
struct table_place {
	uint64_t from, to;
};

/*
 * 0 also for what is left to RocksDB. -EBADMSG: the properties, at that place, are not what was
 * written. -errno.
 */
int table_file_check(int folder_fd, const char *name, struct table_place *ret_place);
