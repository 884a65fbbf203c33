/* Names are numbers: what the database begins last is the highest. */

#include "storage/log_tail.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LOG_TAIL_PAGE_BYTES 4096
/* Less is a page or two anyway, and would make the log much longer than it has to be. */
#define LOG_TAIL_RECORD_BYTES_MIN (4 * LOG_TAIL_PAGE_BYTES)
#define LOG_TAIL_BLOCK_BYTES      32768
#define LOG_TAIL_HEAD_BYTES       7
#define LOG_TAIL_SUFFIX           ".log"

uint64_t log_record_end(uint64_t at, uint64_t bytes)
{
	do {
		uint64_t left = LOG_TAIL_BLOCK_BYTES - at % LOG_TAIL_BLOCK_BYTES;
		if (left < LOG_TAIL_HEAD_BYTES) {
			at += left;
			left = LOG_TAIL_BLOCK_BYTES;
		}
		uint64_t room = left - LOG_TAIL_HEAD_BYTES;
		uint64_t fragment = bytes < room ? bytes : room;
		at += LOG_TAIL_HEAD_BYTES + fragment;
		bytes -= fragment;
	} while (bytes > 0);
	return at;
}

static bool log_tail_is_log(const char *name)
{
	size_t count = strlen(name);
	size_t suffix = sizeof(LOG_TAIL_SUFFIX) - 1;
	return count > suffix && strcmp(name + count - suffix, LOG_TAIL_SUFFIX) == 0;
}

/* Numbers have leading zeroes, and no fewer digits as they grow. */
static bool log_tail_is_newer(const char *name, const char *than)
{
	size_t count = strlen(name);
	size_t than_count = strlen(than);
	return count != than_count ? count > than_count : strcmp(name, than) > 0;
}

static void log_tail_find(struct log_tail *tail, const char *folder)
{
	DIR *files = opendir(folder);
	if (!files)
		return;
	for (struct dirent *entry; (entry = readdir(files));)
		if (strlen(entry->d_name) < sizeof(tail->name) && log_tail_is_log(entry->d_name) &&
		        log_tail_is_newer(entry->d_name, tail->name))
			snprintf(tail->name, sizeof(tail->name), "%s", entry->d_name);
	closedir(files);
}

static bool log_tail_size(const struct log_tail *tail, const char *folder, uint64_t *ret_bytes)
{
	char path[4096];
	struct stat status;
	snprintf(path, sizeof(path), "%s/%s", folder, tail->name);
	if (!tail->name[0] || stat(path, &status) < 0)
		return false;
	*ret_bytes = (uint64_t)status.st_size;
	return true;
}

uint64_t log_tail_fill(struct log_tail *tail, const char *folder, uint64_t record_bytes)
{
	uint64_t at;
	tail->end = 0;
	if (record_bytes < LOG_TAIL_RECORD_BYTES_MIN)
		return 0;
	if (!tail->name[0])
		log_tail_find(tail, folder);
	if (!log_tail_size(tail, folder, &at)) {
		tail->name[0] = 0;
		return 0;
	}
	uint64_t end = log_record_end(at, record_bytes);
	tail->end = (end + LOG_TAIL_PAGE_BYTES - 1) / LOG_TAIL_PAGE_BYTES * LOG_TAIL_PAGE_BYTES;
	return tail->end - end;
}

void log_tail_check(struct log_tail *tail, const char *folder)
{
	uint64_t bytes;
	if (tail->end > 0 && (!log_tail_size(tail, folder, &bytes) || bytes != tail->end))
		tail->name[0] = 0;
}
