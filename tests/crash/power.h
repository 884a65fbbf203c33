#pragma once

/*
 * Power loss, played: what one process changes in a folder is written down call by call, and after
 * it was killed the folder is made anew as a disk would have it that keeps nothing but what was
 * synced.
 *
 *	struct power_disk *disk = power_disk_load(folder);      as it is, and safe
 *	... a process calls power_begin(journal) and works in the folder until it is killed ...
 *	power_disk_lose(disk, journal, &rng, &loss);            as it is after the loss
 *
 * The strictest disk that POSIX allows: the bytes of a file are safe when the file was synced, and
 * a name in a folder (made, linked, renamed, removed) when that folder was. Of what comes after the
 * last sync of each file and folder, nothing is kept, or all, or the first so many changes, or any
 * of them in whatever order a disk took them; each of itself, and some torn: the seed says.
 *
 * One exception: a manifest of RocksDB is there up to some point. RocksDB writes many records to it
 * between two syncs and takes a hole for its end, whatever is behind; we refuse it, since that is
 * also what damage looks like (storage/log_file.h), so that such a store would need hands. File
 * systems that write the size of a file behind what was appended to it make no such holes.
 *
 * It sees open, write, pwrite, ftruncate, fallocate, rename, link, unlink, unlinkat, mkdir, rmdir,
 * fsync and fdatasync, from our code and from libraries: the program's own definitions come first.
 * It does not see writes through mmap or stdio; RocksDB does neither, as configured.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/rng.h"

/* From here on, changes are written down. Writes to standard output are as well, without bytes. */
void power_begin(const char *journal);

struct power_disk;

/* Fails the test when the folder cannot be read. */
struct power_disk *power_disk_load(const char *folder);

struct power_loss {
	uint64_t said;      /* writes to standard output before the power went */
	uint64_t changes;   /* that were made and are gone */
	uint64_t torn;      /* of these, writes of which a part is there */
	uint64_t scattered; /* that were not synced and are there, though others before them may not
	                       be */
};

/*
 * The power goes at the end of the journal, or at some call before. Makes the folder anew, frees
 * the disk and removes the journal.
 */
void power_disk_lose(
        struct power_disk *disk, const char *journal, struct rng *rng, struct power_loss *ret_loss);

/* ---- between the two sides ---- */

enum power_kind {
	POWER_WRITE,  /* count bytes of the node at `at` */
	POWER_SIZE,   /* the node's size is `at` */
	POWER_NAME,   /* in the folder `node`, for `target`; bytes: the name and a zero */
	POWER_UNNAME, /* the same */
	POWER_RENAME, /* in the folder `node`; bytes: both names, each with a zero */
	POWER_SYNC,
	POWER_SAID,
};

struct power_record {
	uint32_t kind;
	bool is_new; /* the target was made just now */
	bool is_folder;
	uint64_t node; /* inode numbers */
	uint64_t target;
	uint64_t at;
	uint64_t count; /* of the bytes behind the record */
};
