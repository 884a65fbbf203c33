#pragma once

/*
 * log_files says how large the log of a database is, at the cost of a stat() for each of its few
 * files: going over a folder of thousands takes milliseconds, and it is asked at each seal, under
 * the writer's lock.
 *
 * RocksDB does not say when it begins a file of the log. But whoever writes tells how much, and as
 * long as the newest file that is known has grown by as much, everything went there: what may have
 * begun meanwhile is empty. Otherwise, mostly after a flush, the folder is gone over.
 *
 * Any thread may call anything.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define LOG_FILES_MAX 64

struct log_file_size {
	uint64_t number; /* in its name */
	uint64_t bytes;
};

struct log_files {
	_Atomic uint64_t written; /* to the log, since the beginning */

	pthread_mutex_t mutex; /* for all below */
	bool is_known;         /* which files there are */
	struct log_file_size all[LOG_FILES_MAX];
	uint32_t count;
	uint64_t newest;         /* number */
	uint64_t written_before; /* when they were looked at the last time */
	uint64_t walks;          /* how often the folder was gone over */
};

void log_files_init(struct log_files *files);
void log_files_fini(struct log_files *files);

/* After a write of at least so many bytes. */
void log_files_wrote(struct log_files *files, uint64_t bytes);
/* The files may be others. */
void log_files_forget(struct log_files *files);

/* What they hold; what is being written may be missing. */
uint64_t log_files_bytes(struct log_files *files, const char *folder);
