#pragma once

/*
 * window is what a seal wrote down of itself: one sealed window of one generation, which units it
 * has and how many blocks each. A block counts only when the window that names it is there, and
 * blocks and window come and go together.
 *
 * A window of level 0 is made of batches. One above it is a rollup: made of windows of the level
 * below that lie in it, and its record lists them and what they were made of, so that whatever is
 * read beside it is known to be in it or not.
 *
 * A unit is one (class, tenant, service, profile type), or a part of its series where it is too
 * large to be sealed at once. Units are in order of their class, and in no other that could be
 * relied on: those that were made later by parting one are behind all others. A unit that is gone
 * keeps its number, which no other gets. docs/formats/store.md has the bytes.
 *
 * Two forms: struct window is the record, read when it is needed; struct window_list is what the
 * store keeps of every window in memory, to know where to look. The list is changed by the writer
 * alone in the gate.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "storage/keys.h"
#include "storage/kv.h"

#define WINDOW_UNITS_MAX   (1u << 24)
#define WINDOW_SOURCES_MAX (1u << 16)
#define WINDOW_LEVELS      3 /* made of batches; an hour; a day */

/* The record has a second version, where level, dictionary, sources or sizes are not 0. */
enum { WINDOW_VERSION_PLAIN = 1, WINDOW_VERSION_LEVELS = 2 };

struct window_unit {
	uint32_t tenant;  /* index of window.tenants */
	uint32_t service; /* string id of the label's value, 0 for none */
	uint32_t type;    /* string id */
	uint32_t chunks;  /* of detail, 0 when that is gone; above level 0 of members */
	uint64_t rows;    /* also where detail is gone */
	/* The next are 0 in a window that has_sizes is false for. */
	uint32_t class;        /* what the classifier said when it was made (store_expire.h) */
	uint64_t bytes_detail; /* of keys and values of its blocks; 0 when that is gone */
	uint64_t bytes_sums;   /* likewise, with members */
	/*
	 * Nothing of it is there, or is to be seen: readers pass over it. In the record: erased or
	 * parted. In what sealed_open() read: hidden as well, and chunks are 0 where detail is.
	 */
	bool is_gone;
	/*
	 * And nothing is missing by that: it was parted, and is in units behind; or it was erased
	 * and no rollup has what it had.
	 */
	bool is_void;
};

/* What tells units of a window apart, and the order in which whoever makes one lists them. */
struct window_unit_name {
	uint32_t class;
	uint32_t tenant; /* a number of whoever makes the window */
	uint32_t service;
	uint32_t type;
};

static inline int window_unit_compare(struct window_unit_name a, struct window_unit_name b)
{
	if (a.class != b.class)
		return a.class < b.class ? -1 : 1;
	if (a.tenant != b.tenant)
		return a.tenant < b.tenant ? -1 : 1;
	if (a.service != b.service)
		return a.service < b.service ? -1 : 1;
	return a.type < b.type ? -1 : a.type > b.type;
}

struct window {
	uint8_t level;       /* that of the key. 0: made of batches; 1: an hour; 2: a day */
	bool is_collapsed;   /* addresses are those of their functions */
	uint32_t dictionary; /* generation of the dict that its blocks speak of */
	struct key_window
	        *sources; /* of every level that it was added up from; ascending, distinct */
	uint32_t sources_count;
	uint64_t first_ns; /* start of the oldest and the newest batch */
	uint64_t last_ns;
	uint64_t batches;
	uint64_t sealed_ns;       /* unix, when it was made */
	uint32_t watchers_chunks; /* blocks that say who was watching */
	bool has_sizes;           /* bytes, classes and what is gone; older windows do not say */
	uint64_t bytes_watchers;
	char (*tenants)[KEYS_TENANT_BYTES_MAX + 1];
	uint32_t tenants_count;
	struct window_unit *units;
	uint32_t units_count;
};

void window_fini(struct window *window);
#define AUTO_WINDOW __attribute__((cleanup(window_fini))) struct window

void window_put(
        const struct window *window, struct key_window of, struct kv_bytes key, struct buf *to);
/* Into a zeroed one. -EBADMSG, -EPROTONOSUPPORT, -ENOMEM. */
int window_get(
        struct kv_bytes key, struct kv_bytes value, struct key_window of, struct window *window);

/* Of units that are not gone; UINT64_MAX when that is past 64 bits. */
uint64_t window_rows(const struct window *window);

/* ---- all windows there are ---- */

struct window_entry {
	struct key_window key;
	uint64_t first_ns;
	uint64_t last_ns;
	uint64_t batches;
	uint64_t rows; /* of units that are not gone */
	uint64_t sealed_ns;
	uint32_t dictionary;
	bool is_corrupt; /* its record cannot be read: all that is known is the key */
	bool is_collapsed;
	struct key_window *sources; /* as in the record */
	uint32_t sources_count;
};

/*
 * What the list says of a window: from its record, whose sources it takes, or from its key alone
 * when it cannot be read (NULL).
 */
void window_describe(struct window *window, struct window_entry *entry);

/* Was it made of the window with this key? */
bool window_entry_has(const struct window_entry *entry, struct key_window source);

/* Sorted by the key. A zeroed one is empty. */
struct window_list {
	struct window_entry *entries;
	uint32_t count;
	uint32_t capacity;
	uint64_t longest_ns; /* no window is longer */
};

void window_list_fini(struct window_list *list);
/* -ENOMEM. */
int window_list_reserve(struct window_list *list);
/* After window_list_reserve(): cannot fail. Takes the sources. */
void window_list_add(struct window_list *list, struct window_entry entry);
void window_list_remove(struct window_list *list, struct key_window key);
/* NULL: there is none. Good until the list is changed. */
const struct window_entry *window_list_get(const struct window_list *list, struct key_window key);

/* Some of its units went. */
void window_list_set_rows(struct window_list *list, struct key_window key, uint64_t rows);

/* The first entry that begins at or behind from_ns, or the count. */
uint32_t window_list_behind(const struct window_list *list, uint64_t from_ns);

/* The first generation of a window of this level over [from_ns, to_ns) that is free. */
uint32_t window_list_generation(
        const struct window_list *list, uint32_t level, uint64_t from_ns, uint64_t to_ns);

/*
 * Windows that overlap in time, of whatever generation, are read together: a span.
 */
struct window_span {
	uint64_t from_ns;
	uint64_t to_ns;
	uint32_t first; /* entries of the list */
	uint32_t count;
};

/* The first span that ends behind from_ns and begins before to_ns. false: there is none. */
bool window_list_span(const struct window_list *list, uint64_t from_ns, uint64_t to_ns,
        struct window_span *ret_span);
