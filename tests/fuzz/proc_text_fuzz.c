/*
 * proc_text: any bytes as /proc/PID/stat and as /proc/PID/maps. A name ends, a mapping has a place,
 * its path lies in the line that it was read from, and mappings come in the order of their lines.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/proc_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void check_stat(const char *text)
{
	struct proc_stat stat;

	memset(&stat, 0xff, sizeof(stat));
	if (proc_text_stat(text, &stat) < 0) {
		/* Untouched. */
		if (stat.start_ticks != UINT64_MAX || (unsigned char)stat.comm[0] != 0xff)
			abort();
		return;
	}
	if (!memchr(stat.comm, 0, sizeof(stat.comm)) || stat.state == 0)
		abort();
}

static void check_maps(char *text, size_t count)
{
	char *next = text;
	struct proc_map map;

	for (const char *before = next; proc_text_next_map(&next, &map); before = next) {
		size_t path_bytes = strlen(map.path);

		/* At least "0-1--x 0 0:0 0" stands before it. */
		if (map.start >= map.end || map.path < before + 14 ||
		        map.path + path_bytes > next || next > text + count)
			abort();
		if (memchr(map.path, '\n', path_bytes))
			abort();
	}
	if (*next)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	/* Exactly as long as the input and its zero. */
	char *text = malloc(count + 1);

	if (!text)
		return 0;
	memcpy(text, bytes, count);
	text[count] = 0;
	check_stat(text);
	check_maps(text, count);
	free(text);
	return 0;
}
