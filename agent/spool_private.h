#pragma once

/*
 * What the files of the spool share. An item is an entry at its place: in memory, in a file, or
 * both. The array of them is spool_item.c, the folder is spool_disk.c, what gives way when it is
 * full is spool_room.c, what a start finds is spool_recover.c. One thread owns a spool.
 */

#include "agent/spool.h"
#include "agent/spool_file.h"
#include "core/auto.h"

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

void spool_item_free(struct spool_item *item);
DEFINE_AUTO(spool_item);

/* ---- the array ---- */

/* Into the sums of the state, and out of them: around whatever changes an item at its place. */
void spool_count_in(struct spool *spool, const struct spool_item *item);
void spool_count_out(struct spool *spool, const struct spool_item *item);

/* Room for so many more; then spool_insert() cannot fail. -ENOMEM. */
int spool_reserve(struct spool *spool, uint32_t more);
/* Takes the item. */
void spool_insert(struct spool *spool, uint32_t index, struct spool_item *item);
/* Gives it back to the caller. */
struct spool_item *spool_remove(struct spool *spool, uint32_t index);
bool spool_find(const struct spool *spool, uint64_t handle, uint32_t *ret_index);
bool spool_are_of_one_shard(const struct spool_item *a, const struct spool_item *b);

/* ---- what is in an item ---- */

struct spool_batch {
	struct dict *dict;
	struct batch *batch;
};

void spool_batch_fini(struct spool_batch *decoded);
#define AUTO_SPOOL_BATCH __attribute__((cleanup(spool_batch_fini))) struct spool_batch

int spool_batch_init(struct spool_batch *decoded);
/* -EBADMSG and the like: the bytes are broken. -ENOMEM. */
int spool_batch_decode(struct spool_batch *decoded, const uint8_t *bytes, size_t count);

/* An entry of this batch, encoded or to be encoded, at no place yet. */
int spool_item_new(struct spool *spool, const struct batch *batch, const struct buf *encoded,
        struct spool_item **ret_item);
/*
 * An entry of the losses that an item becomes when its samples are given up. An item that cannot be
 * read has only its count left.
 */
int spool_item_losses(struct spool *spool, struct spool_item *item, enum loss_reason reason,
        struct spool_item **ret_item);

/* ---- the folder ---- */

/* Says once that the disk refuses, and once that it takes again. */
void spool_note_disk(struct spool *spool, int result);
/* Writes the item under its name, over what has that name. It keeps its bytes. */
int spool_write(struct spool *spool, struct spool_item *item, const char *replaces);
/* What the file has need not be in memory, too. */
void spool_unload(struct spool_item *item);
int spool_unlink(struct spool *spool, const struct spool_item *item);
int spool_read_file(const struct spool *spool, const char *name, struct buf *to);
/* Brings the batch into memory. -ENOMEM; anything else means that the file is broken. */
int spool_load(const struct spool *spool, struct spool_item *item);

/* ---- the rest ---- */

/* Merges, then drops, until it is within its bounds: what was sent stays. */
void spool_make_room(struct spool *spool);

/* What is in the folder becomes items; leftovers of a crash go. -ENOMEM, -EIO and the like. */
int spool_recover(struct spool *spool);

/* An item that cannot be read: it goes, its file stays aside, and its samples are counted lost. */
void spool_set_broken(struct spool *spool, uint32_t index);
