/* A log of any bytes: looked at without reading behind its end. */

#include <assert.h>
#include <errno.h>

#include "storage/log_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	int r = log_file_check(bytes, count);
	assert(r == 0 || r == -EBADMSG);
	return 0;
}
