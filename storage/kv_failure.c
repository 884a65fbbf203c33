/* The first words that are found decide: an error of the file system names its cause behind it. */

#include "storage/kv_failure.h"

#include <errno.h>
#include <string.h>

#include "core/auto.h"

int kv_failure_code(const char *text)
{
	static const struct {
		const char *words;
		int code;
	} codes[] = {
		{ "No space left", -ENOSPC }, { "NoSpace", -ENOSPC }, { "Space limit", -ENOSPC },
		{ "Disk quota exceeded", -ENOSPC }, { "/LOCK: ", -EBUSY },
		{ "lock hold by current process", -EBUSY }, { "Permission denied", -EACCES },
		{ "Read-only file system", -EROFS }, { "Corruption", -EBADMSG },
		{ "Invalid argument", -EINVAL }, { "Operation failed. Try again.", -EAGAIN },
		{ "Not implemented", -EROFS }, /* "... in read only mode" */
	};

	for (size_t i = 0; i < COUNT_OF(codes); i++)
		if (strstr(text, codes[i].words))
			return codes[i].code;
	return -EIO;
}
