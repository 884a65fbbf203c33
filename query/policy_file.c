/* Read whole: a policy is checked as a whole or not at all. */

#include "query/policy_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/auto.h"
#include "query/complain.h"

#define POLICY_FILE_STEP_BYTES (64u << 10)

int policy_file_read(const char *path, struct buf *to)
{
	bool is_stdin = strcmp(path, "-") == 0;
	autoclose int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain(EXIT_CODE_USAGE, "%s: %s", path, strerrordesc_np(errno));

	struct stat now;
	if (fstat(fd, &now) == 0 && S_ISDIR(now.st_mode))
		return complain(EXIT_CODE_USAGE, "%s: a folder; name a file", path);
	to->limit = POLICY_FILE_BYTES_MAX;
	for (;;) {
		uint8_t *room = buf_reserve(to, POLICY_FILE_STEP_BYTES);
		if (!room)
			return complain(EXIT_CODE_USAGE, "%s: larger than policies may be (%u KiB)",
			        path, (POLICY_FILE_BYTES_MAX - POLICY_FILE_STEP_BYTES) >> 10);
		ssize_t count = read(fd, room, POLICY_FILE_STEP_BYTES);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return complain(EXIT_CODE_FAILED, "%s: %s", path, strerrordesc_np(errno));
		if (count == 0)
			return 0;
		if (memchr(room, 0, (size_t)count))
			return complain(EXIT_CODE_USAGE,
			        "%s: has a zero byte, so it is no YAML or JSON; is it the right "
			        "file?",
			        path);
		to->count += (size_t)count;
	}
}
