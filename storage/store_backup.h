#pragma once

/*
 * store_backup makes copies of a running store, and stores of copies.
 *
 * A backup is a folder in the folder of backups:
 *
 *	FOLDER/NAME/manifest    what it is and the hash of each file (backup_manifest.h)
 *	FOLDER/NAME/store/      a database that an aggregator starts from
 *
 * Everything that was acknowledged before store_backup_create() was called is in it, at one moment
 * for all families. Files of the database that never change are hard links where the folder is on
 * the store's file system, so a backup costs little until the store forgets what it keeps;
 * elsewhere they are copied. A backup is made under a name that begins with a dot and gets its own
 * when it is complete and on the disk: a kill leaves none, or all of it; the next one with that
 * name removes what was left.
 *
 * All but creating works without a store, on any machine. Texts on failure say what, where, and
 * what to do.
 */

#include "storage/backup_manifest.h"
#include "storage/store.h"

/* How far it is; nonzero ends it with -ECANCELED. */
typedef int (*store_backup_progress)(void *owner, uint64_t bytes_done, uint64_t bytes_total);

struct store_backup_options {
	const char *folder; /* made when it is not there */
	const char *name;
	store_backup_progress progress; /* NULL: nobody asks */
	void *owner;
};

/*
 * -EEXIST: there is one of that name. -EINVAL: no such name can be given. -ENOSPC; -EIO. Appends
 * and questions go on meanwhile. The caller ends the manifest.
 */
int store_backup_create(struct store *store, struct store_backup_options options,
        struct backup_manifest *ret_manifest, char *ret_error, size_t error_bytes);

/*
 * Each backup in order of its name, with its manifest; damaged ones with `result` below 0 and
 * nothing but the name. Nonzero of the visitor stops and is returned. -ENOENT: no folder.
 */
int store_backup_list(const char *folder,
        int (*visit)(void *owner, const struct backup_manifest *manifest, int result), void *owner);

/* Reads every byte of it. -EBADMSG: ret_error names the first file that is wrong. -ENOENT. */
int store_backup_verify(struct store_backup_options options, char *ret_error, size_t error_bytes);

/*
 * Copies it to the folder `to`, which is empty or not there, and checks it on the way: what is at
 * `to` when this returns 0 is what was backed up, and on the disk. -ENOTEMPTY, -EBADMSG, -ENOENT,
 * -ENOSPC; then nothing is at `to`.
 */
int store_backup_restore(
        struct store_backup_options options, const char *to, char *ret_error, size_t error_bytes);

/*
 * Is the folder a backup, or the store in one? An aggregator that started there would change files
 * of the backup, or begin a new store beside it.
 */
bool store_backup_is_in(const char *path);

/* -ENOENT: there is none of that name. -EIO and the like; then it is no backup any more. */
int store_backup_delete(struct store_backup_options options, char *ret_error, size_t error_bytes);
