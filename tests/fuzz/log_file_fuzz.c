/* A log of any bytes: looked at without reading behind its end. */

#include <assert.h>
#include <errno.h>

#include "storage/log_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static int note_write(void *owner, const uint8_t *write, size_t write_bytes)
{
	size_t *written = owner;
	(void)write;
	*written += write_bytes;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	int r = log_file_check(bytes, count);
	assert(r == 0 || r == -EBADMSG);
	size_t written = 0;
	assert(log_file_visit(bytes, count, note_write, &written) == 0 && written <= count);
	return 0;
}
