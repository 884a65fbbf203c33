/* build_id: any bytes as a file, and as notes. */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/build_id.h"
#include "core/auto.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	char text[BUILD_ID_TEXT_MAX];
	autoclose int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || write(fd, bytes, count) != (ssize_t)count)
		abort();
	if (build_id_of_fd(fd, text) == 0 && (strlen(text) == 0 || strlen(text) >= sizeof(text)))
		abort();
	if (build_id_of_notes(bytes, count, text) == 0 && strlen(text) >= sizeof(text))
		abort();
	build_id_of_raw(bytes, count, text);
	return 0;
}
