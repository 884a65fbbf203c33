/*
 * One record of fixed size, written in place: for the machine that wrote it, so in its own order of
 * bytes, and with a checksum because a crash may tear it.
 */

#include "storage/kv_acked.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/hash.h"

struct kv_acked_record {
	uint64_t sequence;
	uint64_t checksum; /* of the number: anything else is no word of ours */
};

static_assert(sizeof(struct kv_acked_record) == 16, "written as it is, by and for one machine");

void kv_acked_open(struct kv_acked *acked, const char *folder, bool is_reader)
{
	char path[4096];
	if (acked->fd >= 0)
		return;
	snprintf(path, sizeof(path), "%s/%s", folder, KV_ACKED_NAME);
	acked->fd = is_reader ? open(path, O_RDONLY | O_CLOEXEC)
	                      : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
}

void kv_acked_close(struct kv_acked *acked)
{
	if (acked->fd >= 0)
		(void)close(acked->fd);
	acked->fd = -1;
}

uint64_t kv_acked_read(const struct kv_acked *acked)
{
	struct kv_acked_record record;
	if (acked->fd < 0 ||
	        pread(acked->fd, &record, sizeof(record), 0) != (ssize_t)sizeof(record) ||
	        record.checksum != hash64_bytes(&record.sequence, sizeof(record.sequence)))
		return 0;
	return record.sequence;
}

int kv_acked_write(struct kv_acked *acked, uint64_t sequence)
{
	struct kv_acked_record record = { .sequence = sequence };
	struct stat status;
	if (acked->fd < 0)
		return 0;
	/* A file without a name left is of a folder that was removed. */
	if (fstat(acked->fd, &status) == 0 && status.st_nlink == 0)
		return -ENOENT;
	/* The write itself is safe; what would be missed is damage to the log later. */
	record.checksum = hash64_bytes(&record.sequence, sizeof(record.sequence));
	(void)!pwrite(acked->fd, &record, sizeof(record), 0);
	return 0;
}
