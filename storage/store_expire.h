#pragma once

/*
 * store_expire is how a store forgets: what there is, what is to go, and giving back the space.
 *
 * The store decides nothing. Its caller takes the inventory, decides by policies, and names what
 * goes. What is named is first hidden: no answer has it any more, and it comes back when the
 * caller undoes it. Later it is erased, and that is for good. In between lies a run: a number
 * the caller chose, the list of what it hides, and when it is due. Runs survive a restart.
 *
 * What can be named is a part of a unit of a sealed window, of whatever level:
 *
 *	window   10 minutes (level 0), an hour (1), a day (2), and which of several (number)
 *	unit     one (tenant, service, profile type), or a part of its series
 *	part     STORE_PART_DETAIL  every row; only windows of level 0 have it
 *	         STORE_PART_SUMS    sums per stack, and who was there. Detail cannot be read
 *	                            without: to name the sums is to name the detail
 *
 * A window of which nothing is left goes as a whole, with its files. Batches that are not sealed
 * yet have no unit, and are only in the inventory.
 *
 * All of this is safe to be killed in at any moment, and safe to be done twice. Any thread may call
 * any of these, and may not from inside a callback. Those that change something wait for each
 * other and for a seal that is under way. Errors are those of store.h; text is on store_error().
 */

#include <stdbool.h>
#include <stdint.h>

#include "profile/dict.h"
#include "profile/selector.h"
#include "storage/store.h"

#define STORE_EXPIRE_LEVELS   3
#define STORE_UNIT_NONE       UINT32_MAX /* of a window that has no unit: nobody had a row in it */
#define STORE_RUN_NOTE_MAX    255        /* bytes of text with a run */
#define STORE_RUN_ITEMS_MAX   (1u << 20)
#define STORE_RUNS_MAX        4096 /* hidden and not erased at a time */
#define STORE_CLASS_COUNT_MAX 256

enum store_part {
	STORE_PART_DETAIL = 1,
	STORE_PART_SUMS = 2,
	STORE_PART_ALL = 3,
};

/* Which sealed window. Numbers tell apart windows of the same time: what came late has its own. */
struct store_window_name {
	uint32_t level;
	uint32_t number;
	uint64_t from_ns;
	uint64_t to_ns;
};

/* ---- what there is ---- */

/*
 * One unit of one window, or the open batches of one (window, tenant, service, type).
 *
 * Of a sealed unit bytes are those of its keys and values as they are on the disk; what RocksDB
 * adds (about one in a thousand) is not in them. Of open batches they are an estimate: a batch has
 * rows of several services, and each is told its share by rows. What is hidden is still on the
 * disk: parts and bytes have it, and `hidden` says so. What was erased is in none of them.
 */
struct store_inventory_unit {
	struct store_window_name window;
	uint32_t unit; /* STORE_UNIT_NONE: not one that can be named, unless the window has none */
	bool is_open;  /* batches that are not sealed yet; level 0 */
	/*
	 * Units of one window and class lie together on the disk, and go by dropping files when
	 * they go together. 0 without a classifier.
	 */
	uint32_t class;

	/* Text: good until the visitor returns. Service "" means that the series have no such
	 * label. */
	const char *tenant;
	const char *service;
	const char *type;

	uint64_t rows;     /* of detail when it was sealed: also where detail is gone */
	uint64_t batches;  /* of the window, not of the unit */
	uint64_t first_ns; /* start of the oldest and the newest batch of the window */
	uint64_t last_ns;

	uint32_t parts;  /* of enum store_part: on the disk */
	uint32_t hidden; /* those of them that no answer has */
	uint64_t bytes_detail;
	uint64_t bytes_sums;
	/*
	 * What is of the window and not of a unit (its record, who was watching): told with its
	 * first unit, 0 with the others, so that a sum over all is the whole.
	 */
	uint64_t bytes_window;

	/* There is a window of the next level that has what this one has, visible. */
	bool is_rolled_up;

	/*
	 * Ascending ids of `dict`, which has labels and type of each; NULL unless asked for. Good
	 * until the visitor returns. Series of open batches are not told: count 0.
	 */
	const struct dict *dict;
	uint32_t dict_generation; /* ids of one generation are the same series everywhere */
	const uint32_t *series;
	uint32_t series_count;
	/* Its members could not be read: nobody knows which series it has. Told without any. */
	bool is_corrupt;
};

/* Nonzero stops, and is returned. Runs in the gate: what is borrowed from the dict may be used. */
typedef int (*store_visit_unit)(void *owner, const struct store_inventory_unit *unit);

/*
 * Told how far a pass over windows is, one after the other, by the thread that called and with none
 * of the store's locks. NULL: nobody asks.
 */
struct store_pass {
	void (*at)(void *owner, uint64_t windows_done, uint64_t windows_total);
	void *owner;
};

/* What is told of a unit. Members of each that are read cost more than all else. */
enum store_inventory_need {
	STORE_NEED_NOTHING, /* it is passed over */
	STORE_NEED_UNIT,    /* without its series */
	STORE_NEED_SERIES,
};

struct store_inventory_options {
	uint64_t from_ns; /* windows that overlap [from, to); both 0: all */
	uint64_t to_ns;
	bool wants_series; /* costs reading the members of each unit */
	bool wants_open;   /* costs reading every open batch */
	/*
	 * Only units whose sums are seen and whose detail is not; and of a rollup only those that
	 * some of the windows it was made of, in the range, do not tell of any more.
	 */
	bool sums_alone;
	bool hidden_alone; /* only units of which something is hidden; of other windows nothing is
	                      read */
	/*
	 * Asked of each unit of a sealed window before its series are read, with the visitor's
	 * owner and as the visitor is called, but that its series are not there. NULL:
	 * STORE_NEED_SERIES where wants_series.
	 */
	enum store_inventory_need (*need)(void *owner, const struct store_inventory_unit *unit);
	struct store_pass pass;
};

/*
 * Tells of every unit, by level and in order of time within a level, open batches last. What is
 * sealed, hidden or erased meanwhile may be told of or not. A window whose record cannot be read
 * is told of with unit STORE_UNIT_NONE and is_corrupt.
 */
int store_inventory(struct store *store, struct store_inventory_options options,
        store_visit_unit visit, void *owner);

/*
 * What the folder holds by what it is for. The first four are bytes of keys and values, exactly;
 * open, dict, symbols and rest as RocksDB estimates them from its files; disk what the file system
 * says.
 */
struct store_inventory_bytes {
	uint64_t detail; /* of sealed windows; likewise the next three */
	uint64_t sums[STORE_EXPIRE_LEVELS];
	uint64_t windows; /* records and watchers */
	uint64_t hidden;  /* of detail, sums and windows: what runs have hidden */
	uint64_t open;    /* batches */
	uint64_t dict;    /* all generations: strings, frames, stacks, series */
	uint64_t symbols;
	uint64_t rest; /* streams, agents, counters, runs */
	uint64_t disk; /* files of the folder, the log included */
};

/* Reads every window's record, as store_inventory() does. -ENOMEM, -EIO. */
int store_inventory_totals(struct store *store, struct store_inventory_bytes *ret_bytes);

/* ---- hiding and erasing ---- */

struct store_expire_item {
	struct store_window_name window;
	uint32_t unit;  /* STORE_UNIT_NONE: every unit the window has */
	uint32_t parts; /* of enum store_part */
};

/* What was found of a list of items, or what happened to it. */
struct store_expired {
	uint64_t windows[STORE_EXPIRE_LEVELS]; /* of which nothing visible is left */
	uint64_t units[STORE_EXPIRE_LEVELS];   /* of which a part is named */
	uint64_t rows;                         /* of detail */
	uint64_t bytes_detail;
	uint64_t bytes_sums;
	uint64_t missing; /* items that name what is not there (any more), or is in another run */
};

struct store_run {
	uint64_t id; /* the caller's, not 0 */
	uint64_t hidden_ns;
	uint64_t erase_ns;                 /* when it is due; nothing here looks at the clock */
	char note[STORE_RUN_NOTE_MAX + 1]; /* text of the caller, kept and given back */
};

/*
 * Hides everything that the items name, in one synced write: all or nothing. Items may be in any
 * order; those that name what is not there are counted as missing and are no error. ret_expired
 * says what is hidden by this run and was visible before. With nothing to hide there is no run,
 * and 0 is returned.
 *
 * -EEXIST: a run with that id. -E2BIG: too many items, or runs. -EINVAL.
 */
int store_hide(struct store *store, const struct store_run *run,
        const struct store_expire_item *items, uint32_t count, struct store_expired *ret_expired);

/*
 * Removes for good what a run hides, then the run. Whole windows go by their files; of windows
 * that stay, units go by key, and those of a class by files of their own where they were sealed
 * with a classifier. Killed in between, or failed, the run is still there and is to be erased
 * again; store_undo() then brings back what is left. It works window by window and lets appends
 * and readers in between.
 *
 * -ENOENT: no such run. `cancelled` may be NULL; -ECANCELED leaves the run as a kill does.
 */
int store_erase(struct store *store, uint64_t run_id, const bool *cancelled,
        struct store_expired *ret_expired);

/*
 * Makes visible again what a run hides and is still there, and removes the run; ret_back says what
 * came back, `missing` in it what had been erased already. Rollups that were made while it was
 * hidden are removed, so that the next ones have it again. -ENOENT.
 */
int store_undo(struct store *store, uint64_t run_id, struct store_expired *ret_back);

/*
 * Likewise of some of what a run hides: units that are named, whichever of their parts it hides, or
 * whole windows (STORE_UNIT_NONE). Items that it does not hide are passed over. The run goes on to
 * hide the rest, and is to be erased when it was; without a rest it is no more. ret_back says what
 * comes back, ret_left what stays hidden. A dry run changes nothing.
 */
struct store_undo_options {
	const struct store_expire_item *items;
	uint32_t count;
	bool is_dry_run;
};
int store_undo_some(struct store *store, uint64_t run_id, struct store_undo_options options,
        struct store_expired *ret_back, struct store_expired *ret_left);

/* Each item of a run, ascending. Nonzero stops and is returned; -ENOENT. May not call the store. */
int store_run_items(struct store *store, uint64_t run_id,
        int (*visit)(void *owner, const struct store_expire_item *item), void *owner);

/* A run as it stands. */
struct store_run_state {
	struct store_run run;
	bool is_erasing; /* some of it is gone: erasing began */
	struct store_expired hidden;
};

/* Every run, by id. Nonzero stops and is returned. */
int store_runs(struct store *store, int (*visit)(void *owner, const struct store_run_state *state),
        void *owner);

/* ---- units by policy ---- */

/*
 * Says which class a series is of: what one policy covers. Classes are compared and ordered, no
 * more; fewer make better units. At most STORE_CLASS_COUNT_MAX, greater ones are taken for that.
 * Called in the gate by whoever seals or parts, once a window for each series, with the dict that
 * the id is of. It may read the dict, and must not call the store. A class may change
 * from window to window.
 */
typedef uint32_t (*store_classify)(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series);

/*
 * From now on windows are sealed with a unit for each (class, tenant, service, type). NULL: as
 * without. Afterwards nobody is in the old one. A seal that is under way is not waited for: it asks
 * the new one of the series that it has not seen yet.
 */
void store_set_classify(struct store *store, store_classify classify, void *owner);

/*
 * Has all of a batch expired, of which a window that ends at `to_ns` would be made? Then it would
 * be sealed to be forgotten: it is refused, and counted as late. Asked of each batch but repeated
 * ones whose window has ended, in the gate, by whoever appends; it may read the batch and its dict,
 * and must not call the store.
 */
typedef bool (*store_has_expired)(
        void *owner, const char *tenant, const struct batch *batch, uint64_t to_ns);

/* NULL: nothing has. */
void store_set_has_expired(struct store *store, store_has_expired has_expired, void *owner);

/* What store_reseal() did. */
struct store_resealed {
	uint32_t units_parted; /* units that were of several classes, and are no more */
	uint32_t units_made;   /* out of them */
	uint32_t units_kept; /* of several classes, and left so: no detail, or hidden, or damaged */
};

/*
 * Parts the units of one sealed window by class: each that has series of several becomes as many.
 * The others, and answers, are the same before and after; numbers of units stay what they were,
 * and are never given anew. Possible while a unit has its detail. One synced write per window.
 *
 * -ENOENT: no such window. -EINVAL: not of level 0.
 */
int store_reseal(struct store *store, struct store_window_name window, store_classify classify,
        void *owner, struct store_resealed *ret_resealed);

/* ---- deletion on request ---- */

struct store_forget_options {
	const char *tenant;              /* "" is one as any other. NULL: all, then name a service
	                                    or a selector */
	const char *service;             /* exactly this; NULL: all */
	const char *type;                /* NULL: all */
	const struct selector *selector; /* of those: NULL: all */
	uint64_t from_ns, to_ns;         /* windows that lie in it, batches that start in it */
	/*
	 * What this is true of stays, and is counted: a series in a window, or in a batch that will
	 * be of that window. Called under locks of the store; it may read the dict and must not
	 * call the store. NULL: nothing is held.
	 */
	bool (*is_held)(void *owner, const char *tenant, const struct dict *dict, uint32_t series,
	        uint64_t from_ns, uint64_t to_ns);
	void *held_owner;
	/*
	 * id 0: erase at once. Otherwise sealed windows are hidden by a run with this id, to be
	 * erased or undone as any other. Open batches cannot be hidden and lose their rows at once.
	 */
	struct store_run run;
	/* Only say what would go; of units that would be parted, the share of their series. */
	bool is_dry_run;
	const bool *cancelled;
	/* Of looking at every window, which is done in a dry run as well. */
	struct store_pass pass;
};

struct store_forgotten {
	struct store_expired sealed;
	uint64_t open_batches; /* that had any of it */
	uint64_t open_rows;
	uint64_t open_bytes;
	uint64_t units_parted; /* had other series as well, which stay */
	/* What stays although it has some of it, and why. */
	uint64_t windows_cut; /* the range has a part of them */
	uint64_t units_mixed; /* sums with other series in them, without detail to make them anew */
	uint64_t rollups_made; /* rollups dropped, to be made anew from what stays */
	uint64_t units_held;   /* of which is_held() kept some */
	/* By runs of before, which erase them when they are due; not those that went at once. */
	uint64_t units_hidden;
	uint64_t open_rows_held;
	/* Of the dictionary, which has names of it until the last of their data is gone. */
	uint32_t generations;
};

/*
 * Forgets everything of a tenant, or of its service, type or the series of a selector, at every
 * level. Windows of level 1 and 2 that also have other series are dropped where they can be made
 * again from what stays, and are otherwise left and counted in units_mixed: then say so.
 *
 * The streams of a tenant's agents are kept: without them what is sent again would be counted
 * again. Names stay in the dictionary until its generation is dropped.
 */
int store_forget(struct store *store, const struct store_forget_options *options,
        struct store_forgotten *ret_forgotten);
