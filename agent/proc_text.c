/* Both are lists separated by blanks; names, which may hold blanks, are found by what is around
 * them. */

#include "agent/proc_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROC_STAT_FIELDS 22 /* the first is 1, as in proc(5) */

/* The next number of a list separated by blanks. */
static bool proc_text_number(const char **text, uint64_t *ret_number)
{
	char *end;
	unsigned long long number = strtoull(*text, &end, 10);

	if (end == *text)
		return false;
	*text = end;
	*ret_number = number;
	return true;
}

/* A name may hold anything, parentheses too: it ends at the last one. */
int proc_text_stat(const char *text, struct proc_stat *ret_stat)
{
	struct proc_stat stat = { 0 };
	const char *open = strchr(text, '(');
	const char *close = strrchr(text, ')');
	uint64_t fields[PROC_STAT_FIELDS + 1] = { 0 };

	if (!open || !close || close < open || close[1] != ' ' || !close[2])
		return -EBADMSG;
	size_t count = (size_t)(close - open - 1);
	memcpy(stat.comm, open + 1, count < sizeof(stat.comm) ? count : sizeof(stat.comm) - 1);
	stat.state = close[2];
	const char *at = close + 3;
	for (uint32_t field = 4; field <= PROC_STAT_FIELDS; field++) {
		if (!proc_text_number(&at, &fields[field]))
			return -EBADMSG;
	}
	stat.parent = (int32_t)fields[4];
	stat.group = (int32_t)fields[5];
	stat.flags = fields[9];
	stat.threads = fields[20];
	stat.start_ticks = fields[22];
	*ret_stat = stat;
	return 0;
}

/* "start-end perms offset major:minor inode   path" */
static bool proc_text_map_line(const char *line, struct proc_map *ret_map)
{
	unsigned long long start, end, offset, inode;
	unsigned major, minor;
	char permissions[5] = ""; /* A shorter word than the kernel's leaves the rest empty. */
	int path_at = 0;

	if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end, permissions, &offset,
	            &major, &minor, &inode, &path_at) < 7 ||
	        permissions[2] != 'x' || start >= end)
		return false;
	*ret_map = (struct proc_map){
		.start = start,
		.end = end,
		.offset = offset,
		.inode = inode,
		.device_major = major,
		.device_minor = minor,
		.path = line + path_at,
	};
	return true;
}

bool proc_text_next_map(char **text, struct proc_map *ret_map)
{
	while (**text) {
		char *line = *text;
		char *end = line + strcspn(line, "\n");

		*text = *end ? end + 1 : end;
		*end = 0;
		if (proc_text_map_line(line, ret_map))
			return true;
	}
	return false;
}
