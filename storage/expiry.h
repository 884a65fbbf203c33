#pragma once

/*
 * expiry is what is hidden: the runs of store_expire.h in memory, and their records.
 *
 * Readers ask for every window and unit they come across, so what all runs hide lies in one sorted
 * array beside them. It is changed by the writer in the gate, together with what is on the disk.
 * docs/formats/store.md has the bytes of a record.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/store_expire.h"

#define EXPIRY_KEY_BYTES 8

/* The whole window, or parts of a unit. */
struct expiry_item {
	struct key_window window;
	uint32_t unit; /* KEYS_UNIT_NONE: the whole window, and then all parts */
	uint8_t parts; /* of enum store_part; sums never without detail */
};

struct expiry_run {
	struct store_run run;
	bool is_erasing;
	struct store_expired hidden;
	struct expiry_item *items; /* ascending, none twice */
	uint32_t items_count;
};

void expiry_run_fini(struct expiry_run *run);
#define AUTO_EXPIRY_RUN __attribute__((cleanup(expiry_run_fini))) struct expiry_run

/* By window and unit: the order of items. */
int expiry_item_compare(const struct expiry_item *a, const struct expiry_item *b);

void expiry_put_key(uint64_t run_id, uint8_t ret_bytes[EXPIRY_KEY_BYTES]);
/* -EBADMSG: it is none. */
int expiry_get_key(const void *bytes, size_t count, uint64_t *ret_run_id);
void expiry_put_run(const struct expiry_run *run, struct kv_bytes key, struct buf *to);
/* Into a zeroed one, all but its id. -EBADMSG, -EPROTONOSUPPORT, -ENOMEM. */
int expiry_get_run(struct kv_bytes key, struct kv_bytes value, struct expiry_run *run);

/* ---- all runs there are ---- */

/* Zeroed: empty. */
struct expiry {
	struct expiry_run *runs; /* by id */
	uint32_t runs_count;
	uint32_t runs_capacity;
	struct expiry_item
	        *items; /* of all runs, ascending; parts of equal ones are to be joined */
	uint32_t items_count;
	uint32_t items_capacity;
};

void expiry_fini(struct expiry *expiry);
/* Room for one more run of so many items: -ENOMEM. Then expiry_add() cannot fail. */
int expiry_reserve(struct expiry *expiry, uint32_t items_count);
/* Takes the run, whose id is new. */
void expiry_add(struct expiry *expiry, struct expiry_run *run);
void expiry_remove(struct expiry *expiry, uint64_t run_id);
/* NULL: none. Good until one is added or removed. */
struct expiry_run *expiry_find(const struct expiry *expiry, uint64_t run_id);

/* Which parts of a unit are hidden. */
uint32_t expiry_parts(const struct expiry *expiry, struct key_window window, uint32_t unit);
/* Is anything of the window hidden? */
bool expiry_touches(const struct expiry *expiry, struct key_window window);
/* Is the window hidden as a whole? */
bool expiry_has_window(const struct expiry *expiry, struct key_window window);
/* The first number from that of `window` on that no run speaks of: keys of erased windows must not
 * be given anew while somebody may still erase them. */
uint32_t expiry_free_number(const struct expiry *expiry, struct key_window window);
