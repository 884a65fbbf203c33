/*
 * What a start finds in the folder. A crash leaves a file too many, never one too few: what a range
 * covers, or what names a file that is still there, is a leftover. Files that cannot be read become
 * items without a batch, whose counters are those of their names.
 */

#include "agent/spool_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int spool_compare(const void *a, const void *b)
{
	const struct spool_item *left = *(struct spool_item *const *)a;
	const struct spool_item *right = *(struct spool_item *const *)b;

	if (left->name.first != right->name.first)
		return left->name.first < right->name.first ? -1 : 1;
	/* Ranges that begin alike: the wider first, so that what it covers follows. */
	if (left->name.last != right->name.last)
		return left->name.last > right->name.last ? -1 : 1;
	return (int)right->name.sent - (int)left->name.sent;
}

/* One file of the folder becomes an item; a leftover is removed. Broken ones become an item with no
 * batch. */
static int spool_open_file(struct spool *spool, const char *text)
{
	AUTO(spool_item) item = NULL;
	AUTO_BUF bytes = { 0 };
	struct spool_file file = { 0 };
	struct spool_file_name name;
	char replaces[SPOOL_FILE_NAME_BYTES];

	if (spool_file_parse(text, &name) < 0)
		return 0;
	int result = spool_read_file(spool, text, &bytes);
	if (result == 0)
		result = spool_file_decode(bytes.bytes, bytes.count, &file);
	/* The counter of a broken file is that of its name alone. */
	if (result == 0 && file.samples + file.lost != name.samples)
		result = -EBADMSG;
	if (result == -ENOMEM)
		return result;
	if (result < 0)
		file = (struct spool_file){ .samples = name.samples };
	if (file.replaces_count > 0) {
		snprintf(replaces, sizeof(replaces), "%.*s", (int)file.replaces_count,
		        file.replaces);
		if (faccessat(spool->folder, replaces, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return unlinkat(spool->folder, text, 0) < 0 ? -errno : 0;
	}

	if (spool_reserve(spool, 1) < 0)
		return -ENOMEM;
	item = calloc(1, sizeof(*item));
	if (!item)
		return -ENOMEM;
	item->handle = spool->handle_next++;
	item->name = name;
	item->uuid = file.uuid;
	item->samples = file.samples;
	item->lost = file.lost;
	item->start_ns = file.start_ns;
	item->duration_ns = file.duration_ns;
	item->count = file.count;
	item->in_file = true;
	spool_insert(spool, spool->count, TAKE(item));
	return 0;
}

static int spool_scan(struct spool *spool)
{
	int copy = openat(spool->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = copy < 0 ? NULL : fdopendir(copy);
	int result = 0;

	if (!folder) {
		result = -errno;
		if (copy >= 0)
			(void)close(copy);
		return result;
	}
	while (result == 0) {
		errno = 0;
		struct dirent *file = readdir(folder);
		if (!file) {
			result = -errno;
			break;
		}
		size_t count = strlen(file->d_name);
		if (count > strlen(".broken") &&
		        !strcmp(file->d_name + count - strlen(".broken"), ".broken"))
			spool->broken_files++;
		result = spool_open_file(spool, file->d_name);
	}
	(void)closedir(folder);
	return result;
}

/* Sorted, so that what a range covers stands behind it. */
static int spool_remove_leftovers(struct spool *spool)
{
	for (uint32_t i = 0; i < spool->count; i++) {
		for (uint32_t j = i + 1; j < spool->count;) {
			const struct spool_item *wide = spool->items[i];
			const struct spool_item *item = spool->items[j];

			if (item->name.first > wide->name.last)
				break;
			if (!spool_are_of_one_shard(wide, item) ||
			        item->name.last > wide->name.last) {
				j++;
				continue;
			}
			int result = spool_unlink(spool, item);
			if (result < 0)
				return result;
			spool_item_free(spool_remove(spool, j));
		}
	}
	return 0;
}

/* What another agent left unsent is ours now: numbers are given without gaps within one uuid. */
static int spool_adopt(struct spool *spool, struct spool_item *item)
{
	struct wire_uuid before = item->uuid;

	if (item->name.sent || item->count == 0 ||
	        !memcmp(&item->uuid, &spool->options.uuid, sizeof(item->uuid)))
		return 0;
	int result = spool_load(spool, item);
	if (result < 0)
		return result;
	item->uuid = spool->options.uuid;
	result = spool_write(spool, item, "");
	if (result < 0) {
		item->uuid = before;
		item->in_file = true;
	}
	spool_unload(item);
	return result;
}

int spool_recover(struct spool *spool)
{
	(void)unlinkat(spool->folder, SPOOL_TMP_NAME, 0);
	int result = spool_scan(spool);
	if (result < 0)
		return result;
	if (spool->count > 0)
		qsort(spool->items, spool->count, sizeof(struct spool_item *), spool_compare);
	result = spool_remove_leftovers(spool);
	if (result < 0)
		return result;

	uint32_t known = spool->count;
	for (uint32_t i = 0; i < known; i++) {
		if (spool->items[i]->name.last >= spool->order_next)
			spool->order_next = spool->items[i]->name.last + 1;
		if (spool->items[i]->name.shards > spool->shards && !spool->items[i]->name.sent)
			spool->shards = spool->items[i]->name.shards;
		result = spool_adopt(spool, spool->items[i]);
		if (result < 0)
			return result;
	}
	for (uint32_t i = 0; i < known;) {
		/* No bytes, though a batch has always some: spool_open_file() could not read it. */
		if (spool->items[i]->count > 0) {
			i++;
			continue;
		}
		spool_set_broken(spool, i);
		known--;
	}
	return 0;
}
