#pragma once

/*
 * Ranges of keys whose space is to come back, collected while it is decided what goes, and given
 * back after the write that took the names away.
 */

#include "storage/store_private.h"

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
