#pragma once

/* All files of a folder as bytes, and how often some others are in them. */

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "core/buf.h"
#include "tests/lib/test.h"

/* One behind the other. Files that are gone meanwhile are left out. */
static inline void raw_files_read(const char *folder, struct buf *to)
{
	DIR *dir = opendir(folder);
	assert_non_null(dir);
	for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
		char path[4096], bytes[16384];
		size_t count;
		if (*entry->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		FILE *file = fopen(path, "rb");
		while (file && (count = fread(bytes, 1, sizeof(bytes), file)) > 0)
			buf_put(to, bytes, count);
		if (file)
			(void)fclose(file);
	}
	(void)closedir(dir);
	assert_false(to->failed);
}

static inline uint32_t raw_files_count(
        const struct buf *files, const void *bytes, size_t bytes_count)
{
	uint32_t count = 0;
	const uint8_t *at = files->bytes;
	const uint8_t *end = at + files->count;
	while ((at = memmem(at, (size_t)(end - at), bytes, bytes_count))) {
		count++;
		at++;
	}
	return count;
}
