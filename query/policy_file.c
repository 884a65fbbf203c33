/* Read whole: a policy is checked as a whole or not at all. */

#include "query/policy_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/whole_file.h"
#include "query/complain.h"

int policy_file_read(const char *path, struct buf *to)
{
	bool is_stdin = strcmp(path, "-") == 0;
	autoclose int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain(EXIT_CODE_USAGE, "%s: %s", path, strerrordesc_np(errno));

	struct stat now;
	if (fstat(fd, &now) == 0 && S_ISDIR(now.st_mode))
		return complain(EXIT_CODE_USAGE, "%s: a folder; name a file", path);
	int r = whole_file_read(fd, POLICY_FILE_BYTES_MAX, to);
	if (r == -EFBIG)
		return complain(EXIT_CODE_USAGE, "%s: larger than policies may be (%u KiB)", path,
		        POLICY_FILE_BYTES_MAX >> 10);
	if (r < 0)
		return complain(EXIT_CODE_FAILED, "%s: %s", path, strerrordesc_np(-r));
	if (to->count > 0 && memchr(to->bytes, 0, to->count))
		return complain(EXIT_CODE_USAGE,
		        "%s: has a zero byte, so it is no YAML or JSON; is it the right file?",
		        path);
	return 0;
}
