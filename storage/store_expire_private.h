#pragma once

/*
 * What the files of forgetting share: windows by name, what a unit weighs, and ranges of keys whose
 * space is to come back.
 */

#include "storage/sealed.h"
#include "storage/store_expire.h"
#include "storage/store_private.h"

struct store_window_name expire_name(struct key_window key);
/* -EINVAL: no such level or number. */
int expire_key(struct store_window_name name, struct key_window *ret_key);

/* Which parts of a unit the disk has, hidden or not. `window` is as the record says. */
uint32_t expire_parts_there(const struct window *window, uint32_t unit);

/*
 * Bytes of every unit of an older window that does not say so, from its keys and values; the
 * window has sizes then. In the gate.
 */
int expire_measure(struct store *store, struct key_window key, struct window *window);

/* Has a rollup that is not hidden as a whole what this window has? In the gate. */
bool expire_is_rolled_up(struct store *store, struct key_window key);
/*
 * Would the rollup, made again, have all that it has? When the windows of the level below that it
 * was made of are there, with all units of what it has; what `but` (or NULL) hides counts as there.
 * In the gate. -ENOMEM, -EIO.
 */
int expire_can_make_again(struct store *store, const struct window_entry *rollup,
        const struct expiry_run *but, bool *ret_can);

/* A range of keys of one family of which nothing is needed any more. */
struct expire_range {
	enum kv_family family;
	uint8_t from_bytes[KEYS_BLOCK_BYTES];
	uint8_t to_bytes[KEYS_BLOCK_BYTES];
	uint32_t from_count;
	uint32_t to_count;
};

/* Units [first, end) of a window in one family, onto an array of struct expire_range. */
void expire_put_units(struct buf *ranges, enum kv_family family, struct key_window window,
        uint32_t first, uint32_t end);
/* Blocks of windows that are in no list any more: `keys` ascending, of one level. Those with no
 * window between them are one range. In the gate. */
void expire_put_windows(struct buf *ranges, const struct window_list *list,
        const struct key_window *keys, uint32_t count);

/* The same for windows (struct key_window) of any level, each for itself. Enters the gate. */
void expire_put_apart(struct store *store, struct buf *ranges, const struct buf *windows);

/*
 * Gives back all of them. Under sealing, and without the writer or the gate: appends and readers go
 * on. Others may be written meanwhile, none in the ranges.
 */
int expire_reclaim(struct store *store, const struct buf *ranges);

/* A record of a window as it is to be from now on, with the folder's format where it needs that. */
int expire_put_record(struct store *store, struct kv_batch *write, struct key_window key,
        const struct window *window);
void expire_delete_record(struct store *store, struct kv_batch *write, struct key_window key);

/* store_reseal() of a window of level 0 that was opened, seeing what is hidden, whose units it
 * changes as in the record. Under sealing. */
int expire_part(struct store *store, struct sealed *sealed, store_classify classify, void *owner,
        struct store_resealed *ret_resealed);

/* store_hide(). Under sealing. */
int expire_hide(struct store *store, const struct store_run *run,
        const struct store_expire_item *items, uint32_t count, struct store_expired *ret_expired);
