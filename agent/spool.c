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
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/batch_split.h"
#include "agent/spool_private.h"
#include "core/log.h"

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

/* A bit for each shard that something sent earlier still waits for. */
struct spool_shards {
	uint8_t bits[WIRE_SHARDS_MAX / 8];
};

static struct spool_shards spool_waiting(const struct spool *spool)
{
	struct spool_shards waiting = { { 0 } };

	for (uint32_t i = 0; i < spool->count; i++) {
		const struct spool_file_name *name = &spool->items[i]->name;

		if (name->sent)
			waiting.bits[name->shard / 8] |= (uint8_t)(1u << name->shard % 8);
	}
	return waiting;
}

/* What was sent goes again; anything new only where nothing waits, and for the shards of now. */
static bool spool_may_go(const struct spool *spool, const struct spool_shards *waiting,
        const struct spool_item *item)
{
	const struct spool_file_name *name = &item->name;
	bool waits = waiting->bits[name->shard / 8] & 1u << name->shard % 8;

	return name->sent || (!waits && name->shards == spool->shards);
}

int spool_take(
        struct spool *spool, struct spool_entry *ret_entries, uint32_t count, uint64_t bytes_max)
{
	struct spool_shards waiting = spool_waiting(spool);
	uint32_t taken = 0;
	uint64_t bytes = 0;
	bool numbered = false;
	int result = 0;

	for (uint32_t i = 0; i < spool->count; i++)
		spool_unload(spool->items[i]);
	for (uint32_t i = 0; i < spool->count && taken < count;) {
		struct spool_item *item = spool->items[i];

		if (!spool_may_go(spool, &waiting, item)) {
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

void spool_set_broken(struct spool *spool, uint32_t index)
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
