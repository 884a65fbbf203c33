#pragma once

/*
 * sealed reads the blocks of one sealed window: gets them, checks them and what they refer to, and
 * keeps their memory until the next of the same kind.
 *
 * Errors: -EBADMSG and -EPROTONOSUPPORT are a block that cannot be used or is missing: it is left
 * out and counted, sealed_is_corrupt() tells it from a database that cannot be read, which ends
 * what is being done. Blocks of an open window that are in memory (head_sums.h) are read alike. All
 * calls are inside the gate, one thread's.
 */

#include "storage/detail_chunk.h"
#include "storage/store_private.h"
#include "storage/sum_block.h"
#include "storage/window.h"

/* A chunk that was read and is still in memory, with what was decoded of it. */
struct sealed_chunk {
	bool is_held;
	bool has_heads;
	struct key_block key;
	struct detail_chunk chunk;
	struct detail_heads heads;
};

/* Likewise the sums of a unit, whose nodes are in sealed->nodes. */
struct sealed_sums {
	bool is_held;
	bool has_values;
	struct key_block key;
	struct sum_block block;
	const struct sum_group *groups; /* NULL: not decoded so far */
	const uint32_t *order;
};

/* Kinds of blocks that are in memory at the same time. */
enum sealed_kind {
	SEALED_WATCHERS,
	SEALED_MEMBERS,
	SEALED_SUMS,
	SEALED_VALUES,
	SEALED_DETAIL,
	SEALED_BLOCKS,
};

struct sealed {
	struct store *store;
	struct key_window key;
	struct window window;
	struct generation *generation;      /* what the window's ids are of */
	struct generation *pinned;          /* what sealed_load_dict() keeps in memory */
	const struct head_segment *segment; /* blocks are these; NULL: the store's */
	int failed;                         /* of the database, or -E2BIG */
	/*
	 * What blocks and what is decoded of them may take together; 0: whatever they need. A block
	 * that needs more is -E2BIG, before it is decoded.
	 */
	uint64_t memory_max;
	uint64_t memory[SEALED_BLOCKS]; /* of each kind, the most so far */
	struct key_block tried; /* what was read last: named where it cannot be; unit NONE and part
	                           0: the record */
	bool sees_hidden;       /* set after sealed_init() by who is to see what readers do not */
	/*
	 * Likewise by questions: what is known to be unreadable is not read again. Whoever changes
	 * the store looks for himself.
	 */
	bool passes_over;
	/*
	 * Likewise by who asks for the same blocks of an open window several times, and not for
	 * what changes meanwhile: what is in memory is not read again.
	 */
	bool holds;
	bool is_passed_over; /* of what was tried last: it was not read */
	bool is_doubted;     /* it could not be read an hour ago */
	bool is_noted;       /* it is among what cannot be read */

	struct buf watchers_bytes;
	struct buf members_bytes;
	struct buf sums_bytes;
	struct buf values_bytes;
	struct buf detail_bytes;
	struct detail_memory *watchers_memory;
	struct detail_memory *members_memory;
	struct detail_memory *detail_memory;
	struct sum_memory *sums_memory;

	struct sealed_chunk watchers, members, detail;
	struct sealed_sums sums;

	/* Of the unit whose sums were got last: its dictionary. */
	struct buf nodes; /* array of u32 */
};

/* For reading any number of windows, one after the other. -ENOMEM. */
int sealed_init(struct sealed *sealed, struct store *store);
void sealed_fini(struct sealed *sealed);
#define AUTO_SEALED __attribute__((cleanup(sealed_fini))) struct sealed

/* What is hidden is as if it were gone: units say so, and a window that is has no watchers. */
int sealed_open(struct sealed *sealed, const struct window_entry *entry);

/* Likewise of a window that is open, as far as its sums are in memory: nothing of it is hidden. */
int sealed_open_segment(struct sealed *sealed, const struct head_segment *segment);

/* What was read last is not what it should be, although it could be opened: notes that. */
void sealed_note_unreadable(struct sealed *sealed);

/* Is it a block that is to be left out and counted? */
bool sealed_is_corrupt(const struct sealed *sealed, int result);

/* Who was watching, and losses that are nobody's. */
int sealed_get_watchers(struct sealed *sealed, uint32_t chunk, struct detail_chunk *ret_chunk,
        struct detail_heads *ret_heads);

/*
 * What a unit has of each series: a report for (series, stream) with rows or coverage, which is
 * summed up, and losses, likewise. The intervals are the streams. A unit of a rollup may have
 * several chunks; a series is in one of them.
 */
uint32_t sealed_members_count(const struct sealed *sealed, uint32_t unit);
int sealed_get_members(struct sealed *sealed, uint32_t unit, uint32_t chunk,
        struct detail_chunk *ret_chunk, struct detail_heads *ret_heads);
/* Has the unit its rows, or only sums? */
bool sealed_has_detail(const struct sealed *sealed, uint32_t unit);

/* With its dictionary in sealed->nodes. */
int sealed_get_sums(struct sealed *sealed, uint32_t unit, struct sum_block *ret_block);

/* What sum_block_get_groups() and sum_block_get_order() give of the sums that were got last. */
int sealed_get_groups(
        struct sealed *sealed, const struct sum_block *block, const struct sum_group **ret_groups);
int sealed_get_order(
        struct sealed *sealed, const struct sum_block *block, const uint32_t **ret_order);

/*
 * The values of their groups, into sealed->sums_memory; after sealed_get_groups(). Reads nothing
 * where the block has them itself.
 */
int sealed_get_values(struct sealed *sealed, uint32_t unit, const struct sum_block *block);

/* Over the dictionary of the sums that were got last; nothing but the directory is decoded. */
int sealed_open_detail(struct sealed *sealed, uint32_t unit, uint32_t chunk,
        const struct sum_block *block, struct detail_chunk *ret_chunk);
int sealed_get_detail_heads(
        struct sealed *sealed, const struct detail_chunk *chunk, struct detail_heads *ret_heads);

/*
 * The names of the window that was opened last, in memory until another one's are. -EBADMSG,
 * -EPROTONOSUPPORT: they cannot be read, for anybody. -ENOMEM, -EIO.
 */
int sealed_load_dict(struct sealed *sealed);

/*
 * What the ids of the window that was opened last are of; NULL when it could not be, or when nobody
 * has its names in memory: after sealed_load_dict(), or for a question, they are.
 */
static inline const struct dict *sealed_dict(const struct sealed *sealed)
{
	return sealed->generation ? sealed->generation->dict : NULL;
}

static inline const uint32_t *sealed_nodes(const struct sealed *sealed)
{
	return (const uint32_t *)(const void *)sealed->nodes.bytes;
}
