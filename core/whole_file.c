/*
 * Steps grow with what is there already, so that a large file takes few calls and a small one
 * little memory.
 */

#include "core/whole_file.h"

#include <errno.h>
#include <unistd.h>

#define WHOLE_FILE_STEP_MIN (64u << 10)
#define WHOLE_FILE_STEP_MAX (1u << 20)

static size_t whole_file_step(size_t count, size_t left)
{
	size_t step = count < WHOLE_FILE_STEP_MIN   ? WHOLE_FILE_STEP_MIN
	              : count < WHOLE_FILE_STEP_MAX ? count
	                                            : WHOLE_FILE_STEP_MAX;
	return step < left ? step : left;
}

int whole_file_read_some(int fd, size_t bytes_max, struct buf *to)
{
	for (size_t got = 0; got < bytes_max;) {
		size_t step = whole_file_step(got, bytes_max - got);
		uint8_t *room = buf_reserve(to, step);
		if (!room)
			return -ENOMEM;
		ssize_t count = read(fd, room, step);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count == 0)
			return 0;
		to->count += (size_t)count;
		got += (size_t)count;
	}
	return 0;
}

int whole_file_read(int fd, size_t bytes_max, struct buf *to)
{
	size_t before = to->count;
	int r = whole_file_read_some(fd, bytes_max < SIZE_MAX ? bytes_max + 1 : SIZE_MAX, to);
	return r == 0 && to->count - before > bytes_max ? -EFBIG : r;
}
