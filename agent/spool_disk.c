/*
 * The folder: an item's file is written beside the others and renamed into its place, so that each
 * change is one rename. What the disk refuses stays in memory, and that is said once.
 */

#include "agent/spool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"

static int spool_write_tmp(struct spool *spool, const struct buf *file)
{
	autoclose int fd = openat(spool->folder, SPOOL_TMP_NAME,
	        O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	size_t done = 0;

	if (fd < 0)
		return -errno;
	while (done < file->count) {
		ssize_t count = write(fd, file->bytes + done, file->count - done);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		done += (size_t)count;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

void spool_note_disk(struct spool *spool, int result)
{
	if (result < 0 && !spool->disk_fails)
		log_warn("spool-disk-failed",
		        "%s: %s: batches that cannot be delivered stay in memory, and are lost if "
		        "this "
		        "agent ends",
		        spool->path, strerror(-result));
	if (result == 0 && spool->disk_fails) {
		log_info("spool-disk-works", "%s: the spool is on disk again", spool->path);
		/* Merges that failed for want of room may work now. */
		for (uint32_t i = 0; i < spool->count; i++)
			spool->items[i]->alone = false;
	}
	spool->disk_fails = result < 0;
}

int spool_write(struct spool *spool, struct spool_item *item, const char *replaces)
{
	char name[SPOOL_FILE_NAME_BYTES];
	AUTO_BUF file = { 0 };
	struct spool_file content = {
		.uuid = item->uuid,
		.samples = item->samples,
		.lost = item->lost,
		.start_ns = item->start_ns,
		.duration_ns = item->duration_ns,
		.replaces = replaces,
		.replaces_count = strlen(replaces),
		.bytes = item->bytes,
		.count = item->count,
	};

	if (spool->folder < 0)
		return 0;
	spool_file_encode(&content, &file);
	spool_file_format(&item->name, name);
	int result = file.failed ? -ENOMEM : spool_write_tmp(spool, &file);
	if (result == 0 && renameat(spool->folder, SPOOL_TMP_NAME, spool->folder, name) < 0)
		result = -errno;
	if (result < 0)
		(void)unlinkat(spool->folder, SPOOL_TMP_NAME, 0);
	/* The name is what makes it count, so a name that may not last is no success. */
	if (result == 0 && fsync(spool->folder) < 0) {
		result = -errno;
		(void)unlinkat(spool->folder, name, 0);
	}
	spool_note_disk(spool, result);
	item->in_file = result == 0;
	return result;
}

void spool_unload(struct spool_item *item)
{
	if (!item->in_file)
		return;
	free(item->bytes);
	item->bytes = NULL;
}

int spool_unlink(struct spool *spool, const struct spool_item *item)
{
	char name[SPOOL_FILE_NAME_BYTES];

	if (!item->in_file)
		return 0;
	spool_file_format(&item->name, name);
	return unlinkat(spool->folder, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int spool_read_file(const struct spool *spool, const char *name, struct buf *to)
{
	autoclose int fd = openat(
	        spool->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) || status.st_size > SPOOL_FILE_BYTES_MAX)
		return -EBADMSG;
	for (;;) {
		uint8_t *room = buf_reserve(to, (size_t)status.st_size + 1 - to->count);
		if (!room)
			return -ENOMEM;

		ssize_t count = read(fd, room, (size_t)status.st_size + 1 - to->count);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		to->count += (size_t)count;
		if (count == 0)
			return 0;
		if (to->count > (size_t)status.st_size)
			return -EBADMSG;
	}
}

int spool_load(const struct spool *spool, struct spool_item *item)
{
	char name[SPOOL_FILE_NAME_BYTES];
	AUTO_BUF bytes = { 0 };
	struct spool_file file;

	if (item->bytes)
		return 0;
	spool_file_format(&item->name, name);
	int result = spool_read_file(spool, name, &bytes);
	if (result == 0)
		result = spool_file_decode(bytes.bytes, bytes.count, &file);
	if (result == 0 && (file.count != item->count || file.samples != item->samples ||
	                           file.lost != item->lost))
		result = -EBADMSG;
	if (result != 0)
		return result;

	item->bytes = malloc(file.count ? file.count : 1);
	if (!item->bytes)
		return -ENOMEM;
	memcpy(item->bytes, file.bytes, file.count);
	return 0;
}
