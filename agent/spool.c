/*
 * Entries stand in one array in the order in which they entered. Within a shard what was sent comes
 * before what was not, because numbers are given in that order; so a range of places that a merge
 * left behind never spans an entry that was sent, and after a crash a file whose range lies
 * within another's is the leftover of a merge.
 *
 * Every change of the folder is one rename. Between it and the unlinks that follow a crash leaves a
 * file too many, never one too few, and spool_open() knows which one:
 *
 *	merge     new range covers the old files      -> the covered are leftovers
 *	replace   new file names what it stands for   -> the new one is a leftover while that is
 *	number    rename new-... to sent-...          -> atomic
 *	reduce    rename over the same name           -> atomic
 */

#include "agent/spool.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/batch_split.h"
#include "agent/spool_file.h"
#include "core/log.h"

#define SPOOL_LOCK_NAME      "lock"
#define SPOOL_TMP_NAME       "entry.tmp"
#define SPOOL_BROKEN_MAX     16 /* further broken files are removed, not kept */
#define SPOOL_FILE_BYTES_MAX (64u << 20)

struct spool_item {
	uint64_t handle;
	struct spool_file_name name; /* also of an entry that is not in a file */
	struct wire_uuid uuid;
	uint64_t samples;
	uint64_t lost;
	uint64_t start_ns;
	uint64_t duration_ns;
	uint8_t *bytes; /* the batch; NULL while only the file has it */
	size_t count;
	bool in_file;
	bool alone; /* a merge with the next of its shard was tried in vain */
};

struct spool {
	struct spool_options options;
	char *tenant;
	char *path;
	int folder; /* -1: memory only */
	int lock;
	struct spool_item **items;
	uint32_t count;
	uint32_t capacity;
	uint32_t shards;
	uint64_t order_next;
	uint64_t handle_next;
	uint64_t *seqs; /* the last given, by shard, of this epoch */
	uint32_t broken_files;
	bool disk_fails; /* the last write was refused, and that was said */
	struct spool_state state;
};

static void spool_item_free(struct spool_item *item)
{
	if (!item)
		return;
	free(item->bytes);
	free(item);
}
DEFINE_AUTO(spool_item);

/* ---- the array ---- */

static void spool_count_in(struct spool *spool, const struct spool_item *item)
{
	spool->state.entries++;
	spool->state.bytes += item->count;
	spool->state.memory_bytes += item->in_file ? 0 : item->count;
	spool->state.memory_samples += item->in_file ? 0 : item->samples;
	spool->state.samples += item->samples;
	spool->state.lost += item->lost;
}

static void spool_count_out(struct spool *spool, const struct spool_item *item)
{
	spool->state.entries--;
	spool->state.bytes -= item->count;
	spool->state.memory_bytes -= item->in_file ? 0 : item->count;
	spool->state.memory_samples -= item->in_file ? 0 : item->samples;
	spool->state.samples -= item->samples;
	spool->state.lost -= item->lost;
}

static int spool_reserve(struct spool *spool, uint32_t more)
{
	if (spool->capacity - spool->count >= more)
		return 0;

	uint32_t capacity = spool->capacity ? spool->capacity : 64;
	while (capacity - spool->count < more)
		capacity *= 2;
	struct spool_item **items = reallocarray(
	        spool->items, capacity, sizeof(struct spool_item *));
	if (!items)
		return -ENOMEM;
	spool->items = items;
	spool->capacity = capacity;
	return 0;
}

/* There is room: spool_reserve(). */
static void spool_insert(struct spool *spool, uint32_t index, struct spool_item *item)
{
	assert(spool->count < spool->capacity);

	memmove(spool->items + index + 1, spool->items + index,
	        (spool->count - index) * sizeof(struct spool_item *));
	spool->items[index] = item;
	spool->count++;
	spool_count_in(spool, item);
}

/* The item is the caller's now. */
static struct spool_item *spool_remove(struct spool *spool, uint32_t index)
{
	struct spool_item *item = spool->items[index];

	spool_count_out(spool, item);
	spool->count--;
	memmove(spool->items + index, spool->items + index + 1,
	        (spool->count - index) * sizeof(struct spool_item *));
	return item;
}

static bool spool_find(const struct spool *spool, uint64_t handle, uint32_t *ret_index)
{
	for (uint32_t i = 0; i < spool->count; i++) {
		if (spool->items[i]->handle == handle) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

/* ---- files ---- */

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

/* Says once that the disk refuses, and once that it takes again. */
static void spool_note_disk(struct spool *spool, int result)
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

/* Writes the item under its name, over what has that name. It keeps its bytes. */
static int spool_write(struct spool *spool, struct spool_item *item, const char *replaces)
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

/* What the file has need not be in memory, too. */
static void spool_unload(struct spool_item *item)
{
	if (!item->in_file)
		return;
	free(item->bytes);
	item->bytes = NULL;
}

static int spool_unlink(struct spool *spool, const struct spool_item *item)
{
	char name[SPOOL_FILE_NAME_BYTES];

	if (!item->in_file)
		return 0;
	spool_file_format(&item->name, name);
	return unlinkat(spool->folder, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int spool_read_file(const struct spool *spool, const char *name, struct buf *to)
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

/* Brings the batch into memory. -ENOMEM; anything else means that the file is broken. */
static int spool_load(const struct spool *spool, struct spool_item *item)
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

/* ---- batches ---- */

struct spool_batch {
	struct dict *dict;
	struct batch *batch;
};

static void spool_batch_fini(struct spool_batch *decoded)
{
	batch_free(decoded->batch);
	dict_free(decoded->dict);
}

#define AUTO_SPOOL_BATCH __attribute__((cleanup(spool_batch_fini))) struct spool_batch

static int spool_batch_init(struct spool_batch *decoded)
{
	decoded->dict = dict_new(dict_limits_default);
	decoded->batch = decoded->dict ? batch_new(decoded->dict) : NULL;
	return decoded->batch ? 0 : -ENOMEM;
}

static int spool_batch_decode(struct spool_batch *decoded, const uint8_t *bytes, size_t count)
{
	struct reader reader = reader_of(bytes, count);
	int result = spool_batch_init(decoded);

	return result < 0 ? result : batch_decode_whole(decoded->batch, &reader);
}

/* An entry of this batch, encoded or to be encoded, at no place yet. */
static int spool_item_new(struct spool *spool, const struct batch *batch, const struct buf *encoded,
        struct spool_item **ret_item)
{
	AUTO(spool_item) item = calloc(1, sizeof(*item));
	AUTO_BUF own = { 0 };

	if (!item)
		return -ENOMEM;
	if (!encoded) {
		batch_encode_whole(batch, &own);
		encoded = &own;
	}
	if (encoded->failed)
		return -ENOMEM;
	item->bytes = malloc(encoded->count ? encoded->count : 1);
	if (!item->bytes)
		return -ENOMEM;
	memcpy(item->bytes, encoded->bytes, encoded->count);
	item->count = encoded->count;
	item->handle = spool->handle_next++;
	item->uuid = spool->options.uuid;
	item->samples = batch_samples(batch);
	item->lost = batch_lost(batch);
	item->start_ns = batch->start_ns;
	item->duration_ns = batch->duration_ns;
	item->name.samples = item->samples + item->lost;
	item->name.shards = spool->shards;
	*ret_item = TAKE(item);
	return 0;
}

/* Only what was lost in the batch, of nobody's series, and `count` more for a reason. */
static int spool_losses_of(
        const struct batch *from, enum loss_reason reason, uint64_t count, struct batch *to)
{
	int result = batch_add_loss(to, SERIES_NONE, reason, count);

	for (uint32_t i = 0; result == 0 && from && i < from->losses_count; i++)
		result = batch_add_loss(
		        to, SERIES_NONE, from->losses[i].reason, from->losses[i].count);
	return result == 0 ? batch_settle(to) : result;
}

/*
 * An entry of the losses that an item becomes when its samples are given up. An item that cannot be
 * read has only its count left.
 */
static int spool_item_losses(struct spool *spool, struct spool_item *item, enum loss_reason reason,
        struct spool_item **ret_item)
{
	AUTO_SPOOL_BATCH from = { 0 };
	AUTO_SPOOL_BATCH to = { 0 };
	uint64_t count = item->samples;
	int result = spool_load(spool, item);

	if (result == 0)
		result = spool_batch_decode(&from, item->bytes, item->count);
	if (result == -ENOMEM)
		return result;
	if (result < 0) {
		reason = LOSS_MALFORMED;
		count = item->name.samples;
	}
	const struct batch *known = result < 0 ? NULL : from.batch;
	result = spool_batch_init(&to);
	if (result < 0)
		return result;
	to.batch->start_ns = item->start_ns;
	to.batch->duration_ns = item->duration_ns;
	result = spool_losses_of(known, reason, count, to.batch);
	if (result < 0)
		return result;
	if (reason == LOSS_MALFORMED)
		spool->state.broken_samples += count;
	if (reason == LOSS_SPOOL_FULL)
		spool->state.dropped_samples += count;
	return spool_item_new(spool, to.batch, NULL, ret_item);
}

/* ---- room ---- */

static bool spool_is_over_memory(const struct spool *spool)
{
	return spool->folder >= 0 && spool->state.memory_bytes > spool->options.memory_bytes_max;
}

static bool spool_is_over(const struct spool *spool)
{
	return spool->state.bytes > spool->options.bytes_max ||
	       spool->count > spool->options.entries_max || spool_is_over_memory(spool);
}

/* May it be merged or dropped, and would that help? */
static bool spool_is_spare(const struct spool *spool, const struct spool_item *item)
{
	return !item->name.sent && (!spool_is_over_memory(spool) || !item->in_file);
}

static bool spool_are_of_one_shard(const struct spool_item *a, const struct spool_item *b)
{
	return a->name.shards == b->name.shards && a->name.shard == b->name.shard &&
	       !memcmp(&a->uuid, &b->uuid, sizeof(a->uuid));
}

static uint64_t spool_joint_ns(const struct spool_item *a, const struct spool_item *b)
{
	uint64_t start = a->start_ns < b->start_ns ? a->start_ns : b->start_ns;
	uint64_t end_a = a->start_ns + a->duration_ns;
	uint64_t end_b = b->start_ns + b->duration_ns;

	return (end_a > end_b ? end_a : end_b) - start;
}

/* The next entry of the same shard, or false. */
static bool spool_next_of_shard(const struct spool *spool, uint32_t index, uint32_t *ret_next)
{
	for (uint32_t i = index + 1; i < spool->count; i++) {
		if (spool_are_of_one_shard(spool->items[index], spool->items[i])) {
			*ret_next = i;
			return true;
		}
	}
	return false;
}

static bool spool_find_pair(const struct spool *spool, uint32_t *ret_first, uint32_t *ret_second)
{
	uint64_t best_ns = UINT64_MAX;
	bool found = false;

	for (uint32_t i = 0; i < spool->count; i++) {
		const struct spool_item *item = spool->items[i];
		uint32_t next;

		if (item->alone || !spool_is_spare(spool, item) ||
		        !spool_next_of_shard(spool, i, &next))
			continue;
		if (!spool_is_spare(spool, spool->items[next]))
			continue;
		uint64_t joint_ns = spool_joint_ns(item, spool->items[next]);
		if (joint_ns < best_ns) {
			best_ns = joint_ns;
			*ret_first = i;
			*ret_second = next;
			found = true;
		}
	}
	return found;
}

static int spool_merge_batches(struct spool *spool, struct spool_item *a, struct spool_item *b,
        struct spool_item **ret_merged)
{
	AUTO_SPOOL_BATCH to = { 0 };
	AUTO_SPOOL_BATCH from = { 0 };
	int result = spool_load(spool, a);

	if (result == 0)
		result = spool_load(spool, b);
	if (result == 0)
		result = spool_batch_decode(&to, a->bytes, a->count);
	if (result == 0)
		result = spool_batch_decode(&from, b->bytes, b->count);
	if (result == 0)
		result = batch_merge(to.batch, from.batch);
	if (result == 0)
		result = spool_item_new(spool, to.batch, NULL, ret_merged);
	return result;
}

/* Puts the merged entry in the place of both. Negative: both are as before. */
static int spool_merge(struct spool *spool, uint32_t first, uint32_t second)
{
	struct spool_item *a = spool->items[first];
	struct spool_item *b = spool->items[second];
	AUTO(spool_item) merged = NULL;
	int result = spool_merge_batches(spool, a, b, &merged);

	if (result == 0 && (merged->count > spool->options.entry_bytes_max ||
	                           merged->count >= a->count + b->count))
		result = -E2BIG;
	if (result == 0) {
		merged->uuid = a->uuid;
		merged->name.first = a->name.first;
		merged->name.last = b->name.last;
		merged->name.shards = a->name.shards;
		merged->name.shard = a->name.shard;
		/* Files must not give way to memory; what is in memory anyway loses nothing. */
		if (spool_write(spool, merged, "") < 0 && (a->in_file || b->in_file))
			result = -EIO;
	}
	if (result != 0) {
		spool_unload(a);
		spool_unload(b);
		return result;
	}

	/* One that stays is covered by the new range, and so a leftover after a restart. */
	(void)spool_unlink(spool, a);
	(void)spool_unlink(spool, b);
	spool_item_free(spool_remove(spool, second));
	spool_item_free(spool_remove(spool, first));
	spool_unload(merged);
	spool_insert(spool, first, TAKE(merged));
	spool->state.merged++;
	/* What stands before it in its shard has a new neighbour. */
	for (uint32_t i = first; i-- > 0;) {
		if (spool_are_of_one_shard(spool->items[i], spool->items[first])) {
			spool->items[i]->alone = false;
			break;
		}
	}
	return 0;
}

/* The samples of an entry become losses in its place. */
static int spool_reduce(struct spool *spool, uint32_t index, enum loss_reason reason)
{
	struct spool_item *item = spool->items[index];
	AUTO(spool_item) losses = NULL;
	int result = spool_item_losses(spool, item, reason, &losses);

	if (result < 0)
		return result;
	losses->uuid = item->uuid;
	losses->name = item->name;
	if (spool_write(spool, losses, "") < 0)
		(void)spool_unlink(spool, item);
	spool_unload(losses);
	spool_item_free(spool_remove(spool, index));
	spool_insert(spool, index, TAKE(losses));
	return 0;
}

static bool spool_drop_oldest(struct spool *spool)
{
	for (uint32_t i = 0; i < spool->count; i++) {
		if (!spool_is_spare(spool, spool->items[i]) || spool->items[i]->samples == 0)
			continue;
		if (spool_reduce(spool, i, LOSS_SPOOL_FULL) < 0)
			return false;
		/* Losses of one shard add up to next to nothing, so they need not stand alone. */
		for (uint32_t j = i; j-- > 0;) {
			if (!spool_are_of_one_shard(spool->items[i], spool->items[j]))
				continue;
			if (spool_is_spare(spool, spool->items[j]) && spool->items[j]->samples == 0)
				(void)spool_merge(spool, j, i);
			break;
		}
		return true;
	}
	return false;
}

static void spool_make_room(struct spool *spool)
{
	uint32_t first;
	uint32_t second;

	while (spool_is_over(spool)) {
		if (spool_find_pair(spool, &first, &second)) {
			if (spool_merge(spool, first, second) < 0)
				spool->items[first]->alone = true;
		} else if (!spool_drop_oldest(spool)) {
			break; /* What is left was sent, or is losses alone. */
		}
	}
}

/* ---- entering ---- */

struct spool_parts {
	struct spool *spool;
	struct spool_item **items;
	uint32_t count;
};

static void spool_parts_fini(struct spool_parts *parts)
{
	for (uint32_t i = 0; i < parts->count; i++)
		spool_item_free(parts->items[i]);
	free(parts->items);
}

static int spool_parts_add(
        void *owner, uint16_t shard, const struct batch *part, const struct buf *encoded)
{
	struct spool_parts *parts = owner;
	struct spool_item **items = reallocarray(
	        parts->items, parts->count + 1, sizeof(struct spool_item *));

	if (!items)
		return -ENOMEM;
	parts->items = items;
	int result = spool_item_new(parts->spool, part, encoded, &items[parts->count]);
	if (result == 0)
		items[parts->count++]->name.shard = shard;
	return result;
}

/* Divides, and gives places behind all others. `replaces` is the name of a file, or "". */
static int spool_enter(struct spool *spool, const struct batch *batch, const char *replaces)
{
	__attribute__((cleanup(spool_parts_fini))) struct spool_parts parts = { .spool = spool };
	struct batch_split_options options = {
		.tenant = spool->tenant,
		.shards = spool->shards,
		.bytes_max = spool->options.entry_bytes_max,
	};
	int result = batch_split(batch, options, spool_parts_add, &parts);

	if (result == 0)
		result = spool_reserve(spool, parts.count);
	if (result < 0)
		return result;
	for (uint32_t i = 0; i < parts.count; i++) {
		struct spool_item *item = parts.items[i];

		item->name.first = item->name.last = spool->order_next++;
		(void)spool_write(spool, item,
		        replaces); /* Refused: it stays in memory, and that was said. */
		spool_unload(item);
		spool_insert(spool, spool->count, item);
	}
	parts.count = 0;
	return 0;
}

/* Entries that a full disk had kept in memory, now that it may take them. */
static void spool_write_again(struct spool *spool)
{
	if (spool->folder < 0 || spool->disk_fails)
		return;
	for (uint32_t i = 0; i < spool->count; i++) {
		struct spool_item *item = spool->items[i];

		if (item->in_file)
			continue;
		spool_count_out(spool, item);
		int result = spool_write(spool, item, "");
		spool_count_in(spool, item);
		if (result < 0)
			return;
		spool_unload(item);
	}
}

int spool_add(struct spool *spool, const struct batch *batch)
{
	int result;

	if (batch->rows_count + batch->coverage_count + batch->losses_count == 0)
		return 0;
	result = spool_enter(spool, batch, "");
	if (result < 0)
		return result;
	spool_write_again(spool);
	spool_make_room(spool);
	return 0;
}

int spool_add_encoded(struct spool *spool, const uint8_t *bytes, size_t count)
{
	AUTO_SPOOL_BATCH decoded = { 0 };
	int result = spool_batch_decode(&decoded, bytes, count);

	return result < 0 ? result : spool_add(spool, decoded.batch);
}

int spool_add_losses(struct spool *spool, uint64_t start_ns, uint64_t duration_ns,
        const uint64_t lost[LOSS_REASON_MAX + 1])
{
	AUTO_SPOOL_BATCH losses = { 0 };
	int result = spool_batch_init(&losses);

	for (uint32_t i = 1; result == 0 && i <= LOSS_REASON_MAX; i++)
		result = batch_add_loss(losses.batch, SERIES_NONE, i, lost[i]);
	if (result < 0 || losses.batch->losses_count == 0)
		return result;
	losses.batch->start_ns = start_ns;
	losses.batch->duration_ns = duration_ns;
	return spool_add(spool, losses.batch);
}

static void spool_set_broken(struct spool *spool, uint32_t index);

int spool_fit(struct spool *spool, uint32_t shards, uint64_t entry_bytes_max)
{
	uint32_t index = 0;
	/* New entries come behind the old, and are not looked at again. */
	uint32_t known = spool->count;

	assert(shards > 0 && shards <= WIRE_SHARDS_MAX);

	spool->shards = shards;
	if (spool->options.entry_bytes_max > entry_bytes_max)
		spool->options.entry_bytes_max = (uint32_t)entry_bytes_max;
	while (index < known) {
		struct spool_item *item = spool->items[index];
		char name[SPOOL_FILE_NAME_BYTES] = "";
		AUTO_SPOOL_BATCH decoded = { 0 };

		if (item->name.sent || (item->name.shards == shards &&
		                               item->count <= spool->options.entry_bytes_max)) {
			index++;
			continue;
		}
		known--;
		int result = spool_load(spool, item);
		if (result == 0)
			result = spool_batch_decode(&decoded, item->bytes, item->count);
		if (item->in_file)
			spool_file_format(&item->name, name);
		if (result == 0) {
			result = spool_enter(spool, decoded.batch, name);
		} else if (result != -ENOMEM) {
			spool_set_broken(spool, index);
			continue;
		}
		if (result < 0)
			return result;
		(void)spool_unlink(
		        spool, item); /* Still there: its parts are leftovers after a restart. */
		spool_item_free(spool_remove(spool, index));
	}
	spool_make_room(spool);
	return 0;
}

/* ---- leaving ---- */

/* The id of an entry, first in the folder, then here. The folder's sync is the caller's. */
static int spool_number(struct spool *spool, struct spool_item *item)
{
	struct spool_file_name name = item->name;
	char from[SPOOL_FILE_NAME_BYTES];
	char to[SPOOL_FILE_NAME_BYTES];

	name.sent = true;
	name.epoch = spool->options.epoch;
	name.seq = spool->seqs[name.shard] + 1;
	if (item->in_file) {
		spool_file_format(&item->name, from);
		spool_file_format(&name, to);
		if (renameat(spool->folder, from, spool->folder, to) < 0)
			return -errno;
	}
	item->name = name;
	spool->seqs[name.shard]++;
	return 0;
}

static struct spool_entry spool_entry_of(const struct spool_item *item)
{
	return (struct spool_entry){
		.handle = item->handle,
		.uuid = item->uuid,
		.epoch = item->name.epoch,
		.seq = item->name.seq,
		.shard = item->name.shard,
		.samples = item->samples,
		.lost = item->lost,
		.bytes = item->bytes,
		.count = item->count,
	};
}

int spool_take(
        struct spool *spool, struct spool_entry *ret_entries, uint32_t count, uint64_t bytes_max)
{
	uint8_t waiting[WIRE_SHARDS_MAX / 8] = { 0 };
	uint32_t taken = 0;
	uint64_t bytes = 0;
	bool numbered = false;
	int result = 0;

	for (uint32_t i = 0; i < spool->count; i++) {
		const struct spool_file_name *name = &spool->items[i]->name;

		spool_unload(spool->items[i]);
		if (name->sent)
			waiting[name->shard / 8] |= (uint8_t)(1u << name->shard % 8);
	}
	for (uint32_t i = 0; i < spool->count && taken < count;) {
		struct spool_item *item = spool->items[i];
		bool waits = waiting[item->name.shard / 8] & 1u << item->name.shard % 8;

		if (!item->name.sent && (waits || item->name.shards != spool->shards)) {
			i++;
			continue;
		}
		if (taken > 0 && bytes + item->count > bytes_max)
			break;
		result = spool_load(spool, item);
		if (result == -ENOMEM)
			break;
		if (result < 0) {
			spool_set_broken(spool, i);
			continue;
		}
		if (!item->name.sent) {
			result = spool_number(spool, item);
			if (result < 0)
				break;
			numbered |= item->in_file;
		}
		ret_entries[taken++] = spool_entry_of(item);
		bytes += item->count;
		i++;
	}
	if (numbered && fsync(spool->folder) < 0)
		result = -errno;
	/* A number that may be forgotten must not be used; the entries keep it and wait. */
	if (result < 0 && (numbered || taken == 0)) {
		spool_note_disk(spool, result);
		return result;
	}
	return (int)taken;
}

void spool_done(struct spool *spool, uint64_t handle)
{
	uint32_t index;

	if (!spool_find(spool, handle, &index))
		return;
	AUTO(spool_item) item = spool_remove(spool, index);
	/* A file that stays is sent again after a restart, and is a DUP then. */
	(void)spool_unlink(spool, item);
}

/* What is lost with an entry enters as a new one. The entry stays, and is the caller's to remove.
 */
static void spool_enter_losses(
        struct spool *spool, struct spool_item *item, enum loss_reason reason)
{
	AUTO(spool_item) losses = NULL;
	char name[SPOOL_FILE_NAME_BYTES] = "";

	if (spool_reserve(spool, 1) < 0 || spool_item_losses(spool, item, reason, &losses) < 0) {
		log_error("spool-memory",
		        "%llu samples are lost, and there is no memory to count them",
		        (unsigned long long)item->name.samples);
		return;
	}
	if (item->in_file)
		spool_file_format(&item->name, name);
	losses->name.shard = item->name.shard < spool->shards ? item->name.shard : 0;
	losses->name.first = losses->name.last = spool->order_next++;
	(void)spool_write(
	        spool, losses, name); /* Refused: it stays in memory, and that was said. */
	spool_unload(losses);
	spool_insert(spool, spool->count, TAKE(losses));
}

void spool_reject(struct spool *spool, uint64_t handle, enum loss_reason reason)
{
	uint32_t index;

	if (!spool_find(spool, handle, &index))
		return;
	spool_enter_losses(spool, spool->items[index], reason);
	AUTO(spool_item) item = spool_remove(spool, index);
	(void)spool_unlink(spool, item);
}

/* Keeps a file that cannot be read for whoever wants to know why, and counts what it held. */
static void spool_set_broken_file(struct spool *spool, const char *name)
{
	char broken[SPOOL_FILE_NAME_BYTES + 8];

	if (spool->broken_files >= SPOOL_BROKEN_MAX) {
		(void)unlinkat(spool->folder, name, 0);
		return;
	}
	snprintf(broken, sizeof(broken), "%s.broken", name);
	if (renameat(spool->folder, name, spool->folder, broken) == 0)
		spool->broken_files++;
}

static void spool_set_broken(struct spool *spool, uint32_t index)
{
	struct spool_item *item = spool->items[index];
	char name[SPOOL_FILE_NAME_BYTES];

	spool_file_format(&item->name, name);
	log_warn("spool-file-broken",
	        "%s/%s: not readable as an entry: its %llu samples are counted as lost",
	        spool->path, name, (unsigned long long)item->name.samples);
	spool_enter_losses(spool, item, LOSS_MALFORMED);
	spool_item_free(spool_remove(spool, index));
	spool_set_broken_file(spool, name);
}

struct spool_state spool_state(const struct spool *spool)
{
	return spool->state;
}

/* ---- opening ---- */

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

static int spool_recover(struct spool *spool)
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

static int spool_open_folder(struct spool *spool, char *ret_error, size_t error_bytes)
{
	int result = 0;

	if (mkdir(spool->path, 0700) < 0 && errno != EEXIST)
		result = -errno;
	if (result == 0) {
		spool->folder = open(spool->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		result = spool->folder < 0 ? -errno : 0;
	}
	if (result == 0) {
		spool->lock = openat(spool->folder, SPOOL_LOCK_NAME,
		        O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		result = spool->lock < 0 ? -errno : 0;
	}
	if (result == 0 && flock(spool->lock, LOCK_EX | LOCK_NB) < 0) {
		result = errno == EWOULDBLOCK ? -EBUSY : -errno;
		if (result == -EBUSY) {
			snprintf(ret_error, error_bytes,
			        "%s: another agent has this spool: give each its own", spool->path);
			return result;
		}
	}
	if (result == 0)
		result = spool_recover(spool);
	if (result < 0)
		snprintf(ret_error, error_bytes, "%s: %s", spool->path, strerror(-result));
	return result;
}

int spool_open(
        struct spool_options options, struct spool **ret_spool, char *ret_error, size_t error_bytes)
{
	AUTO(spool) spool = calloc(1, sizeof(*spool));

	assert(options.epoch != 0);
	assert(options.entry_bytes_max <= SPOOL_FILE_BYTES_MAX / 2);

	snprintf(ret_error, error_bytes, "out of memory");
	if (!spool)
		return -ENOMEM;
	spool->options = options;
	spool->folder = -1;
	spool->lock = -1;
	spool->shards = 1;
	spool->order_next = 1;
	spool->handle_next = 1;
	if (!options.memory_bytes_max)
		spool->options.memory_bytes_max = options.bytes_max;
	if (!options.entry_bytes_max)
		spool->options.entry_bytes_max = SPOOL_ENTRY_BYTES_MAX;
	if (!options.entries_max)
		spool->options.entries_max = SPOOL_ENTRIES_MAX;
	spool->tenant = strdup(options.tenant ? options.tenant : "");
	spool->seqs = calloc(WIRE_SHARDS_MAX, sizeof(*spool->seqs));
	spool->path = options.path ? strdup(options.path) : NULL;
	if (!spool->tenant || !spool->seqs || (options.path && !spool->path))
		return -ENOMEM;
	if (spool->path) {
		int result = spool_open_folder(spool, ret_error, error_bytes);
		if (result < 0)
			return result;
	}

	*ret_spool = TAKE(spool);
	return 0;
}

void spool_free(struct spool *spool)
{
	if (!spool)
		return;
	spool->disk_fails = false;
	spool_write_again(spool);
	for (uint32_t i = 0; i < spool->count; i++)
		spool_item_free(spool->items[i]);
	free(spool->items);
	if (spool->folder >= 0)
		(void)close(spool->folder);
	if (spool->lock >= 0)
		(void)close(spool->lock);
	free(spool->seqs);
	free(spool->tenant);
	free(spool->path);
	free(spool);
}
