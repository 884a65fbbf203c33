/*
 * Files that are known are looked at by their names; one that is gone was flushed and holds
 * nothing. More of them than there is room for are gone over each time.
 */

#include "storage/log_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LOG_FILES_SUFFIX     ".log"
#define LOG_FILES_PATH_BYTES 4096

void log_files_init(struct log_files *files)
{
	*files = (struct log_files){ 0 };
	pthread_mutex_init(&files->mutex, NULL);
}

void log_files_fini(struct log_files *files)
{
	pthread_mutex_destroy(&files->mutex);
}

void log_files_wrote(struct log_files *files, uint64_t bytes)
{
	files->written += bytes;
}

void log_files_forget(struct log_files *files)
{
	pthread_mutex_lock(&files->mutex);
	files->is_known = false;
	pthread_mutex_unlock(&files->mutex);
}

static bool log_files_size(int folder_fd, const char *name, uint64_t *ret_bytes)
{
	struct stat status;
	if (fstatat(folder_fd, name, &status, 0) < 0 || !S_ISREG(status.st_mode))
		return false;
	*ret_bytes = (uint64_t)status.st_size;
	return true;
}

/* RocksDB writes numbers with six digits at the least. */
static bool log_files_is_log(const char *name, uint64_t *ret_number)
{
	char *end;
	if (name[0] < '0' || name[0] > '9')
		return false;
	*ret_number = strtoull(name, &end, 10);
	return strcmp(end, LOG_FILES_SUFFIX) == 0;
}

static uint64_t log_files_walk(struct log_files *files, const char *folder)
{
	uint64_t bytes = 0;
	files->count = 0;
	files->newest = 0;
	files->is_known = false;
	files->walks++;
	DIR *names = opendir(folder);
	if (!names)
		return 0;
	files->is_known = true;
	for (struct dirent *entry; (entry = readdir(names));) {
		struct log_file_size file;
		if (!log_files_is_log(entry->d_name, &file.number) ||
		        !log_files_size(dirfd(names), entry->d_name, &file.bytes))
			continue;
		bytes += file.bytes;
		files->newest = file.number > files->newest ? file.number : files->newest;
		if (files->count < LOG_FILES_MAX)
			files->all[files->count++] = file;
		else
			files->is_known = false;
	}
	closedir(names);
	return bytes;
}

/* By how much the newest has grown. False: it is gone, or is another. */
static bool log_files_look(
        struct log_files *files, const char *folder, uint64_t *ret_bytes, uint64_t *ret_grown)
{
	uint64_t bytes = 0;
	uint32_t count = 0;
	uint64_t grown = 0;
	bool is_there = false;
	for (uint32_t i = 0; i < files->count; i++) {
		char path[LOG_FILES_PATH_BYTES];
		struct log_file_size file = files->all[i];
		snprintf(path, sizeof(path), "%s/%06" PRIu64 LOG_FILES_SUFFIX, folder, file.number);
		if (!log_files_size(AT_FDCWD, path, &file.bytes))
			continue;
		if (file.number == files->newest) {
			is_there = file.bytes >= files->all[i].bytes;
			grown = file.bytes - files->all[i].bytes;
		}
		bytes += file.bytes;
		files->all[count++] = file;
	}
	files->count = count;
	*ret_bytes = bytes;
	*ret_grown = grown;
	return is_there;
}

uint64_t log_files_bytes(struct log_files *files, const char *folder)
{
	uint64_t bytes;
	uint64_t grown;
	pthread_mutex_lock(&files->mutex);
	/* Before the files are looked at: what is written meanwhile counts the next time. */
	uint64_t written = files->written;
	if (!files->is_known || !log_files_look(files, folder, &bytes, &grown) ||
	        grown < written - files->written_before)
		bytes = log_files_walk(files, folder);
	files->written_before = written;
	pthread_mutex_unlock(&files->mutex);
	return bytes;
}
