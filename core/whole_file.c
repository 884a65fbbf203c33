/*
 * Steps grow with what is there already, so that a large file takes few calls and a small one
 * little memory.
 */

#include "core/whole_file.h"

#include <errno.h>
#include <unistd.h>

#define WHOLE_FILE_STEP_MIN (64u << 10)
#define WHOLE_FILE_STEP_MAX (1u << 20)

static size_t whole_file_step(size_t count)
{
	if (count < WHOLE_FILE_STEP_MIN)
		return WHOLE_FILE_STEP_MIN;
	return count < WHOLE_FILE_STEP_MAX ? count : WHOLE_FILE_STEP_MAX;
}

int whole_file_read(int fd, size_t bytes_max, struct buf *to)
{
	size_t before = to->count;
	for (;;) {
		size_t step = whole_file_step(to->count - before);
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
		if (to->count - before > bytes_max)
			return -EFBIG;
	}
}
