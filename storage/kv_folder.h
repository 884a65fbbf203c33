#pragma once

/*
 * kv_folder is the folder of a database as anybody sees it, without RocksDB: what is looked at
 * before it is opened, swept afterwards, and measured meanwhile. kv.c is the one that opens it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is one there, whole or not? */
bool kv_folder_has_database(const char *path);
/* Does another process have it open? */
bool kv_folder_is_in_use(const char *path);

/*
 * What RocksDB would not see, or not survive. Before each opening. -EBADMSG, and ret_text says
 * which file it is: the one that names the manifest is missing, and others are there; the manifest
 * is damaged before its end; the properties of a table that it names are. -ENOMEM. What else may be
 * wrong is left to RocksDB.
 */
int kv_folder_check(const char *path, char *ret_text, size_t text_bytes);

/* The greatest number of a table, whether anybody knows it or not; 0: there is none. */
uint64_t kv_folder_newest_table(const char *path);

/* What its files hold, or only those whose name ends in `suffix`. */
uint64_t kv_folder_bytes(const char *path, const char *suffix);
/* What the file system has for us. */
uint64_t kv_folder_free_bytes(const char *path);

/* Removes files by their names. */
void kv_folder_sweep(const char *path, const char *prefix, const char *suffix);

/*
 * Cuts off the write that failed from the newest log. RocksDB would leave it out as well, but
 * begins the next log with a write of its own then, for which it reserves tens of megabytes, and
 * where there are fewer it takes all there are and fails with what it writes next.
 */
void kv_folder_cut_log(const char *path);
