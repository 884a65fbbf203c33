#pragma once

/*
 * store keeps batches for ever, or until told otherwise, and never counts one twice.
 *
 * An append is durable before it is acknowledged: one synced write holds the batches of a group,
 * what they added to the dictionary, the streams' watermarks and the counters. A batch that a
 * watermark already covers is a DUP. Reads see every acknowledged batch.
 *
 * Time is the first part of every row key, so that a range is one scan and forgetting a range is
 * cheap. Batches belong to a range by their start: [from, to), so adjacent ranges never share one.
 *
 * One writer thread appends; any number of threads read while it does. The store's dict grows only
 * under the writer and is read under store_read_lock().
 *
 * Errors are negative errno with text on store_error() for the log: -ENOSPC (disk full: nothing of
 * the group was kept; try again when there is room), -EIO, -EBADMSG (a checksum or a reference is
 * wrong; the text names the key), -EBUSY (in use by another process), -EPROTONOSUPPORT (a newer
 * format).
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/clock.h"
#include "profile/answer.h"
#include "profile/batch.h"
#include "profile/selector.h"
#include "profile/symbols.h"
#include "profile/wire.h"

struct store;
struct quarantine_record;

struct store_options {
	const char *path;          /* a folder, made when it is not there */
	struct dict_limits limits; /* of the store's dict */
	uint64_t block_cache_bytes;
	uint64_t symbols_cache_bytes; /* open symbol tables */
	uint64_t names_memory_max;    /* dictionaries of older generations; 0: no bound */
	uint64_t write_buffers_bytes; /* of RocksDB; 0: 64 MiB */
	struct clock *clock;          /* NULL: the machine's */
	uint64_t window_ns;           /* what is sealed together; 0: 10 minutes */
	uint64_t late_ns; /* how long after a seal what came late waits for the next; 0: not */
	uint64_t seal_rows_max;  /* rows in memory while sealing; 0: 8 million */
	uint64_t head_bytes_max; /* an open window of that size is sealed before its end; 0: 256 MiB
	                          */
	uint64_t head_sums_bytes_max; /* sums of open windows in memory; 0: 64 MiB */
	uint64_t head_sums_min;       /* fewer bytes of batches are not worth any; 0: 256 KiB */
	uint64_t stretch_bytes;       /* of open batches in one visit of a question; 0: 4 MiB */
	uint64_t roll_ns[2];          /* what is rolled up together; 0: an hour, a day */
	uint64_t roll_stacks_max;     /* of one unit in memory while rolling up; 0: 4 million */
	/* Stacks seen less often in an hour, a day go to an ancestor, and are counted; 0: none. */
	uint64_t fold_below[2];
	/*
	 * How long after its end the stacks of a day are told apart by functions alone: addresses
	 * become those where their functions begin, as far as symbols are there; 0: never.
	 */
	uint64_t collapse_after_ns;
	/* When the dictionary begins a new generation: by age, or by nodes of stacks. */
	uint64_t generation_ns;    /* 0: 7 days */
	uint32_t generation_nodes; /* 0: 32 million, about 300 MB */
	/*
	 * New stacks that a service may bring in a window, 0: a million. Further ones are folded
	 * into their deepest ancestor that is known, and counted.
	 */
	uint32_t service_stacks_max;
	uint64_t late_max_ns; /* how old what `refuse_late` says may be; 0: 3 days */
};

/* On failure ret_error says what, where, and what to do. */
int store_open(struct store_options options, struct store **ret_store, char *ret_error,
        size_t error_bytes);
void store_free(struct store *store); /* flushes and closes */
DEFINE_AUTO(store);

const char *store_error(const struct store *store); /* of the writer thread's last failure */

/* Why a read failed with -EIO or -EBADMSG: the last failure of the database in any thread, copied.
 */
void store_read_error(struct store *store, char *ret_text, size_t text_bytes);

/* Who saw a batch, and which of his it is. */
struct store_stream {
	struct wire_uuid uuid;
	uint64_t epoch;
	uint16_t shard;
	uint64_t seq;
	const char *tenant;
};

struct store_append {
	struct store_stream stream;
	const struct batch *batch; /* settled */
	struct dict_remap *remap;  /* from the batch's dict; store_append() aims it */
	/*
	 * WIRE_REJECT when it ended longer ago than late_max_ns: the sender is one whose data is
	 * always of now, so what is so old was sent before, or is of no use any more. Streams may
	 * be forgotten because nothing older comes. Importers say false.
	 */
	bool refuse_late;
	/*
	 * WIRE_OK; WIRE_DUP; WIRE_REJECT: it can never be kept; WIRE_BUSY: not even a new dict has
	 * room for it, nothing of it was kept, later it may be. The reason is static text for all
	 * but OK, DUP.
	 */
	uint32_t ret_status;
	const char *ret_reason;
};

/*
 * All of the group in one synced write. 0: each has its status. Negative: nothing of the group was
 * kept, the dict is as before, and remaps were truncated by store_append itself.
 *
 * A seq may come in any order and from however far ahead; what decides is whether this (uuid,
 * epoch, shard, seq) was kept before, earlier in the same group included. After a failed sync a
 * group may turn out to be on the disk nevertheless: then sending it again gives DUP.
 *
 * When the disk was full, the next append after there is room again opens the database again by
 * itself; readers wait for that moment.
 */
int store_append(struct store *store, struct store_append *appends, uint32_t count);

/*
 * Makes every window that ends at or before `until_ns` compact: its batches become columns and sums
 * in one synced write, without holding up appends while it works. What comes later for a window
 * stays open and is sealed beside it the next time. Answers are the same before and after. A
 * window that cannot be sealed (its sums are past 64 bits) stays open, and is counted, until it is
 * deleted from or the store is opened again: then it is tried once more.
 *
 * A window of head_bytes_max is sealed before its end, and what comes for it afterwards beside it.
 *
 * Any thread but never two at the same time work: the second waits. Returns as store_append(); what
 * was sealed before a failure stays so.
 */
int store_seal(struct store *store, uint64_t until_ns);

/*
 * Keeps sums of open windows in memory, so that questions need not decode their batches: of those
 * that have grown enough since the last call, or did not grow any more. Cheap when there is nothing
 * to do: to be called every second or so. A window without them is read batch by batch; answers are
 * the same. Waits for a seal.
 */
void store_sum_heads(struct store *store);

/*
 * Makes rollups of every hour that ends at or before `until_ns` from the sealed windows in it, and
 * of every day from its hours: sums per stack and group, who had what and who was watching, without
 * detail. Nothing below goes; questions take what is widest. A window that comes later is read
 * beside, and the rollup is made anew with it the next time, also when what it was made of is gone.
 * Windows that do not lie in one hour stay as they are: window_ns should divide it. Otherwise as
 * store_seal(). A day that has come to collapse_after_ns is made anew, one in each call.
 */
int store_roll(struct store *store, uint64_t until_ns);

/*
 * Forgets what nothing speaks of any more: generations of the dictionary that have no data, with
 * the symbols that only they needed; streams and agents whose data is gone and of which nothing can
 * come any more. Cheap when there is nothing to do: to be called every few seconds. Waits for a
 * seal; returns as store_append().
 */
int store_collect(struct store *store);

/* Moves what is only in memory and log into files; appends wait for it. */
int store_flush(struct store *store);

/*
 * For who asked that something be forgotten: afterwards no log and no file has batches that were
 * sealed or deleted, which otherwise stay in both until enough has come together to be worth a
 * merge. A flush, and then what is open is written once more beside everything else. -ENOSPC: too
 * little room for that.
 */
int store_settle(struct store *store);

/*
 * Removes every batch that starts in [from, to). Counts what went. -EBADMSG: the range cuts a
 * sealed window that is damaged, so that nobody can say what is to stay: choose one that does not
 * cut it. -ENODATA: likewise a window, or a rollup, of which nothing finer is left; the text says
 * how long it is.
 */
int store_delete_range(
        struct store *store, uint64_t from_ns, uint64_t to_ns, uint64_t *ret_batches);

/*
 * Readers: hold while using a dict of the store, and what is borrowed from it. May be held more
 * than once by a thread. The writer waits for whoever holds it, so hold it briefly:
 * store_find_series(), store_scan() and store_sum() take it themselves, and a long scan lets the
 * writer in between, unless its caller holds it. Never append or put while holding it.
 */
void store_read_lock(struct store *store);
void store_read_unlock(struct store *store);

/*
 * The dictionary has generations: appends are named by the newest, and what was appended before
 * keeps the ids of its own. Ids of two generations say nothing of each other: what a question finds
 * in several is joined by content (dict_remap, hashes).
 *
 * The newest one; only under the lock, as the next append may begin another.
 */
struct dict *store_dict(struct store *store);

/* What a selector means in one generation. */
struct store_match_part {
	uint32_t generation;
	struct dict *dict;      /* to be read under the lock */
	const uint32_t *series; /* ascending */
	uint32_t series_count;
	uint32_t first; /* place of series[0] among the series of all parts, one after the other */
	struct generation *pinned; /* the store's */
};

/*
 * Which series a selector means, in every generation that something in [from, to) may be of; parts
 * in order of generations, those without any series included. Dicts of parts stay, and ids in them
 * mean what they mean, until it is freed: free it soon.
 */
struct store_match {
	struct store_match_part *parts;
	uint32_t parts_count;
	uint32_t series_count; /* of all parts */
	struct store *store;
};

/*
 * Uses the inverted label index. -ENOBUFS: the names of all of the range do not fit in
 * names_memory_max beside those that other questions use.
 */
int store_find_series(struct store *store, const struct selector *selector, uint64_t from_ns,
        uint64_t to_ns, struct store_match **ret_match);
void store_match_free(struct store_match *match);
DEFINE_AUTO(store_match);
/* The part whose dict it is, or NULL: what came after the question was asked. */
const struct store_match_part *store_match_find(
        const struct store_match *match, const struct dict *dict);

/* Told of each batch in the range, in order of time; ids are of batch->dict. Nonzero stops and is
 * returned. */
typedef int (*store_visit)(
        void *owner, const struct store_stream *stream, const struct batch *batch);

/*
 * Reads a range. `match` limits rows, coverage and losses to its series; NULL does not limit.
 * Batches without any are still told of, empty, since they show who was watching. Losses that are
 * nobody's (SERIES_NONE) are told of always. The visitor runs under the read lock.
 *
 * A record whose checksum or references are wrong is left out and counted (store_size.corrupt).
 */
int store_scan(struct store *store, uint64_t from_ns, uint64_t to_ns,
        const struct store_match *match, store_visit visit, void *owner);
/* The same, and names what could not be read, of whatever service: corrupt and unreadable of
 * `missing`. */
int store_scan_noting(struct store *store, uint64_t from_ns, uint64_t to_ns,
        const struct store_match *match, store_visit visit, void *owner,
        struct completeness *missing);

/*
 * Sums a range by (group, stack), in units (value times period), for each part of the match apart.
 * A group is whatever the caller numbers the matched series by; the same number in several parts is
 * the same group. Memory is bounded by memory_max: -E2BIG.
 *
 * Completeness is about the observers (uuid, of any epoch and shard) that had a row, coverage or
 * loss of one of the series in the range:
 *	intervals    all batches of theirs, also those without such a row
 *	lost         losses of the series, and theirs that are nobody's (SERIES_NONE)
 *	missing_ns   time between one interval of an observer and his next, from 50 ms on
 *	corrupt      records in the range that could not be read, of whomever
 */
struct store_sum_options {
	uint64_t from_ns, to_ns;
	const struct store_match *match;
	const uint32_t *groups; /* for each series of the match the number to keep its rows under */
	uint64_t memory_max;
	const bool *cancelled; /* polled; -ECANCELED */
	uint64_t *read_ns;     /* NULL, or added to atomically: how much of the range was read */
	/*
	 * Whoever adds rows up anyway takes them as they were read (store_sum_run), where that is
	 * cheaper: they are not sorted, and a stack may be in several of them.
	 */
	bool takes_runs;
};

struct store_sum_row {
	uint32_t group;
	uint32_t node;
	uint64_t value; /* in the unit of the type */
};

/* Rows of one group in any order. */
struct store_sum_run {
	uint32_t *nodes;
	uint64_t *values; /* not 0, in the unit of the type */
	uint32_t count;
};

/* Nodes are of the dict of the part. */
struct store_sum_part {
	struct store_sum_row *rows; /* sorted by (group, node), none twice */
	uint32_t rows_count;
	struct store_sum_run *runs; /* beside them; none where nobody takes runs */
	uint32_t runs_count;
	uint32_t runs_group;
};

struct store_sum {
	struct store_sum_part *parts; /* of the match */
	uint32_t parts_count;
	uint64_t *coverage_ns;            /* for each series of the match */
	struct completeness completeness; /* without value_truncated and value_unknown_leaf */
};

/* -EOVERFLOW: a sum past 64 bits. */
int store_sum(
        struct store *store, const struct store_sum_options *options, struct store_sum *ret_sum);

/*
 * As many sums in one pass over the union of their ranges: what several of them need is read and
 * decoded once. Each says what store_sum() would say of it alone. They share one memory_max, which
 * is that of the first, as `cancelled` is; and they fail together.
 */
#define STORE_SUM_SIDES_MAX 2
int store_sum_sides(struct store *store, const struct store_sum_options *options, uint32_t count,
        struct store_sum *ret_sums);
void store_sum_fini(struct store_sum *sum);
void store_sum_part_fini(struct store_sum_part *part);
/* Of all rows, runs included. */
uint64_t store_sum_part_bytes(const struct store_sum_part *part);

/*
 * Sums the steps of a range in one pass over it, by group, and apart from that what of it is on
 * stacks that are marked. Each step says what store_sum() would say of it: a batch belongs to the
 * step that it starts in; what windows add up that are not read by their rows belongs to the step
 * in which the window begins.
 */
enum store_mark { STORE_MARK_UNKNOWN, STORE_MARK_NO, STORE_MARK_YES };

struct store_marks {
	const uint8_t *by_node; /* enum store_mark; what is past them is unknown */
	uint32_t count;
};

struct store_steps_options {
	struct store_sum_options sum; /* but for from_ns and to_ns */
	const uint64_t *bounds_ns;    /* ascending: step i is [bounds_ns[i], bounds_ns[i + 1]) */
	uint32_t steps_count;
	uint32_t groups_count;           /* the numbers of groups are below */
	const struct store_marks *marks; /* for each part of the match; NULL: none are asked for */
	uint32_t unknown_max;            /* rows of store_steps that are unknown */
};

struct store_step_value {
	uint64_t value; /* in the unit of the type, as `marked` */
	uint64_t marked;
	uint64_t coverage_ns;
};

/* Of a stack whose mark is unknown, since nobody had asked for it; equal keys may be repeated. */
struct store_step_row {
	uint32_t step, group;
	uint32_t part; /* of the match */
	uint32_t node;
	uint64_t value; /* is in the step's, but not in its `marked` */
};

struct store_steps {
	struct store_step_value *values; /* step * groups_count + group */
	uint64_t *resolution_ns;         /* of each step: of the widest window in it */
	/* Likewise, of windows that have, or may have, something that did not begin in the step. */
	uint64_t *cut_ns;
	struct store_step_row *unknown; /* where there are marks */
	uint32_t unknown_count;
	/* What is in no step: corrupt, corrupt_replaced, unreadable; the rest is not said. */
	struct completeness missing;
};

/* Errors as store_sum(). -EAGAIN: past unknown_max; mark more stacks first. */
int store_sum_steps(struct store *store, const struct store_steps_options *options,
        struct store_steps *ret_steps);
void store_steps_fini(struct store_steps *steps);

/*
 * Symbols by build-id (1 to 255 bytes of text: -EINVAL). has: -1 unknown, 0 known to have none, 1
 * there. A put of no bytes says that there is no table; a later put replaces. Not synced: what is
 * lost with the machine is asked for again.
 */
int store_symbols_has(struct store *store, const char *build_id);
int store_symbols_put(struct store *store, const char *build_id, const void *bytes, size_t count);
/*
 * Borrowed from a cache: good until the calling thread's outermost store_read_unlock(), also when
 * another reader makes the cache put it out or a put replaces it. Call under the read lock. NULL:
 * none, or not readable.
 */
const struct symbols *store_symbols_find(struct store *store, const char *build_id);

/* What an observer last said of itself; kept so that `profleet agents` survives a restart. */
struct store_agent {
	struct wire_uuid uuid;
	uint64_t epoch;
	char host[128];
	char program[64];
	char tenant[64];
	uint32_t role;
	uint64_t first_seen_ns;
	uint64_t last_seen_ns;
	uint64_t last_interval_end_ns;
	struct wire_agent_state state;
};

/*
 * Replaces what is known of (uuid, tenant), but for first_seen_ns when it was seen earlier. Not
 * synced: it will speak again. -EINVAL: the tenant's name is too long. -ENOMEM, -EIO.
 */
int store_agent_put(struct store *store, const struct store_agent *agent);
/* Each of them; those that cannot be read are counted as corrupt. Nonzero stops and is returned. */
int store_agents(struct store *store, int (*visit)(void *owner, const struct store_agent *agent),
        void *owner);

/* Totals since the store was made, kept in the same write as the rows: one side of the accounting
 * identity. */
struct store_counters {
	uint64_t batches;
	uint64_t batches_duplicate;
	uint64_t rows;
	uint64_t samples; /* sum of row values in periods */
	uint64_t lost[LOSS_REASON_MAX + 1];
	uint64_t batches_late;   /* refused for their age */
	uint64_t samples_folded; /* of stacks past service_stacks_max, kept with their ancestors */
};

/* All 0 for a tenant that nobody has heard of. Any thread; never fails. */
int store_counters(struct store *store, const char *tenant, struct store_counters *ret_counters);

struct store_size {
	uint64_t bytes_disk;
	uint64_t bytes_memory;
	struct dict_mark dict; /* of all generations */
	uint64_t generations;
	uint64_t generations_compact; /* of them: what old windows moved to */
	uint64_t generations_loaded;  /* of them: those whose names are in memory */
	uint64_t names_memory;        /* bytes of those but the newest */
	uint64_t names_loaded;        /* times that one was read, since the open */
	uint64_t names_put_away;      /* times that one made room for another */
	uint64_t windows_moved;       /* to such, since the open */
	uint64_t windows_unmovable;   /* times that one waited for a question to end */
	uint64_t nodes;               /* of all generations, as dict.nodes */
	uint64_t streams;             /* that are remembered */
	uint64_t first_ns, last_ns;   /* start of the oldest and newest batch; 0 when empty */
	uint64_t windows;             /* sealed, of every generation */
	uint64_t windows_unsealable;  /* that stay open, as what they add up to is past 64 bits */
	uint64_t windows_unrollable;  /* in no rollup, as they are damaged or past 64 bits in one */
	uint64_t rollups;             /* hours and days */
	uint64_t collapsed;           /* of them days without addresses within functions */
	uint64_t corrupt; /* records met since the open that could not be read and were left out */
	uint64_t head_sums_memory;    /* bytes of sums of open windows */
	uint64_t head_sums_rows;      /* that are in them */
	uint64_t head_sums_built;     /* times that some were made, since the open */
	uint64_t head_sums_dropped;   /* windows whose sums went, mostly since they were sealed */
	uint64_t head_sums_refused;   /* times that some did not fit */
	uint64_t head_sums_used;      /* times that a question read those of a window */
	uint64_t unreadable;          /* different ones that are known now */
	uint64_t unreadable_overflow; /* how often one was met that there was no room to remember */
};

/* Any thread; never fails. */
int store_size(struct store *store, struct store_size *ret_size);
/* The head_sums_* of it alone. No file and no database is looked at: for whoever asks again and
 * again. */
void store_size_head_sums(const struct store *store, struct store_size *size);

/* The windows_unsealable and the windows_unrollable of it alone, likewise. */
uint64_t store_unsealable_count(const struct store *store);
uint64_t store_unrollable_count(const struct store *store);

/*
 * How much of the store is known to be unreadable; and names what was not named before, up to count
 * of it, for the log (storage/quarantine.h). Returns how many it named. Blocks of which nothing can
 * be used are passed over by questions, which count and name them as if they had read them, and are
 * looked at again after an hour.
 */
uint64_t store_unreadable_count(const struct store *store);
uint32_t store_take_unreadable(
        struct store *store, struct quarantine_record *ret_records, uint32_t count);
