/*
 * A table file of any bytes, in memory: what is looked at of it lies in it, and what is wrong with
 * its properties is refused. The checksum of the meta index is made right here, since nothing gets
 * past a wrong one. RocksDB reads what is accepted, but not here.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/hash.h"
#include "core/reader.h"
#include "storage/table_file.h"

#define FOOTER_BYTES   53
#define CHECKSUM_PRIME 0x6b9083d9u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void sign_meta_index(uint8_t *bytes, size_t count)
{
	if (count < FOOTER_BYTES)
		return;
	struct reader handle = reader_of(bytes + count - FOOTER_BYTES + 1, 40);
	uint64_t offset = reader_varint(&handle);
	uint64_t length = reader_varint(&handle);
	if (handle.failed || offset > count || length > count - offset ||
	        count - offset - length < 5)
		return;
	uint8_t *trailer = bytes + offset + length;
	uint32_t checksum = (uint32_t)hash64_bytes(bytes + offset, length) ^
	                    *trailer * CHECKSUM_PRIME;
	for (int i = 0; i < 4; i++)
		trailer[1 + i] = (uint8_t)(checksum >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	static int file = -1;
	char path[64];
	autofree uint8_t *copy = malloc(count + 1);
	if (!copy)
		abort();
	memcpy(copy, bytes, count);
	sign_meta_index(copy, count);
	if (file < 0)
		file = memfd_create("table", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, 0) < 0 || pwrite(file, copy, count, 0) != (ssize_t)count)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	struct table_place place = { 0 };
	int r = table_file_check(AT_FDCWD, path, &place);
	assert(r == 0 || r == -EBADMSG || r == -ENOMEM);
	return 0;
}
