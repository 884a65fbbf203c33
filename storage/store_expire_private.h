#pragma once

/*
 * What the files of forgetting share: windows by name, what a unit weighs, whether a rollup can be
 * made again, and records as they are to be. Ranges of keys whose space is to come back are in
 * store_expire_ranges_private.h.
 */

#include "storage/sealed.h"
#include "storage/store_expire.h"
#include "storage/store_private.h"

struct store_window_name expire_name(struct key_window key);
/* -EINVAL: no such level or number. */
int expire_key(struct store_window_name name, struct key_window *ret_key);

/* Of a pass over every window, of whatever level. */
struct expire_pass {
	struct store_pass told;
	uint64_t done, total;
};
/* Counts the windows there are. */
struct expire_pass expire_pass_begin(struct store *store, struct store_pass told);
/* One more is behind it; there may be more by now than were counted. Without the store's locks. */
void expire_pass_step(struct expire_pass *pass);

/* For qsort and bsearch: struct key_window by level and then by time, struct expiry_item. */
int expire_compare_windows(const void *a, const void *b);
int expire_compare_items(const void *a, const void *b);

/* Which parts of a unit the disk has, hidden or not. `window` is as the record says. */
uint32_t expire_parts_there(const struct window *window, uint32_t unit);

/* What the items [first, end), all of one window, want of one of its units. */
uint32_t expire_wants(
        const struct expiry_item *first, const struct expiry_item *end, uint32_t unit);

/* Adds these parts of a unit to the sums of `expired`: rows, bytes and the unit itself. */
void expire_count(
        const struct window *window, uint32_t unit, uint32_t parts, struct store_expired *expired);

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

/*
 * What only the rollup tells of [from_ns, to_ns): marks each of its units that one of the windows
 * of the level below, which it was made of, does not tell of, because that is gone, hidden or
 * damaged. `sealed` is another than the one the rollup was opened with, and does not see what is
 * hidden. In the gate. -ENOMEM, -EIO.
 */
int expire_mark_untold(struct store *store, struct sealed *sealed,
        const struct window_entry *rollup, const struct window *window, uint64_t from_ns,
        uint64_t to_ns, bool *marks);

/* A record of a window as it is to be from now on, with the folder's format where it needs that. */
int expire_put_record(struct store *store, struct kv_batch *write, struct key_window key,
        const struct window *window);
void expire_delete_record(struct store *store, struct kv_batch *write, struct key_window key);

/* The record of a run. -ENOMEM. */
int expire_put_run(struct store *store, struct kv_batch *write, const struct expiry_run *run);
/* Writes `write`, synced, and with it that there is no such run. Under writer. */
int expire_remove_run(struct store *store, struct kv_batch *write, uint64_t run_id);

/* store_reseal() of a window of level 0 that was opened, seeing what is hidden, whose units it
 * changes as in the record. Under sealing. */
int expire_part(struct store *store, struct sealed *sealed, store_classify classify, void *owner,
        struct store_resealed *ret_resealed);

/*
 * store_hide(). Under sealing. `takes_hidden`: with what other runs hide already, which goes with
 * this one if that is erased before.
 */
int expire_hide(struct store *store, const struct store_run *run,
        const struct store_expire_item *items, uint32_t count, bool takes_hidden,
        struct store_expired *ret_expired);
