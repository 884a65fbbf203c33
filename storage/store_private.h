#pragma once

/*
 * What the files of the store share. Who may touch what:
 *
 *	writer     a mutex around everything that changes the store: append, delete, seal, put. All
 *	           that follows is changed only by whoever holds it.
 *	gate       guards the dict, the label index, the streams array, and kv being closed and
 *	           opened again. The writer locks it while it adds to memory, not while it packs,
 *	           writes or syncs; readers are inside for one stretch of a scan at a time.
 *	stats      a mutex for the few numbers that are read without the gate.
 *
 * What a reader can see of a group that is not durable yet: entries of the dict that nothing refers
 * to. Batches are seen only after the write that also holds their entries; series are found only
 * below `series_published`, which moves after the write. When the write fails, the entries are
 * taken back, and nobody can have an id of theirs.
 *
 * Order: sealing before writer before reclaiming before gate before stats and pinning. Never wait
 * for the writer inside the gate.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "core/clock.h"
#include "core/id_map.h"
#include "storage/expiry.h"
#include "storage/gate.h"
#include "storage/head_sizes.h"
#include "storage/head_sums.h"
#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/label_index.h"
#include "storage/quarantine.h"
#include "storage/record.h"
#include "storage/service_stacks.h"
#include "storage/store.h"
#include "storage/symbols_cache.h"
#include "storage/turn_lock.h"
#include "storage/window.h"

#define STORE_ERROR_BYTES 512
#define STORE_STREAMS_MAX (16u << 20)

/*
 * A folder is of the first format until it has a sealed window, which older readers would miss; of
 * the second were those whose windows neither had levels nor said how large their units are. A
 * second generation of the dictionary makes it one of the third as well. What is sealed or rolled
 * up from the fourth on has the values of groups apart from the sums, which older readers cannot
 * read. From the fifth on deltas of the dictionary are packed, from the sixth on batches of more
 * than a few rows are coded, and from the seventh on the text of a delta is apart.
 */
enum {
	STORE_FORMAT_OPEN = 1,
	STORE_FORMAT_SEALED = 2,
	STORE_FORMAT_LEVELS = 3,
	STORE_FORMAT_VALUES = 4, /* and packed batches */
	STORE_FORMAT_DICT = 5,   /* packed deltas */
	STORE_FORMAT_CODED = 6,
	STORE_FORMAT_DICT_TEXT = 7,
	STORE_FORMAT_NEWEST = STORE_FORMAT_DICT_TEXT,
};

/* No open batch starts before the first or behind the last; none at all: first > last. */
struct open_range {
	uint64_t first_ns;
	uint64_t last_ns;
};

/* Which windows of a generation are left. The further, the less of its dictionary they speak of. */
enum generation_stage {
	GENERATION_AS_APPENDED, /* some of level 0, or none at all */
	GENERATION_HOURS,       /* hours are the finest */
	GENERATION_DAYS,        /* days alone */
	GENERATION_DAYS_COLLAPSED,
};

/*
 * A generation of the dictionary: strings, frames, stacks and series that are numbered together.
 * The newest one grows. Batches and windows say which one their ids are of. A compact one has what
 * the old windows of another one speak of, and nothing else (store_roll_move.c).
 */
struct generation {
	uint32_t id;
	uint32_t origin;             /* of a compact one: what its windows were appended to */
	enum generation_stage stage; /* likewise: what was left of it when it began */
	uint64_t rows;               /* likewise: of the windows that moved */
	bool is_closed;              /* on disk: it is not the newest */
	uint64_t began_ns;           /* unix */
	/* NULL: they are not in memory (store_names.c). Index before dict. */
	struct dict *_Atomic dict;
	struct label_index *_Atomic index;
	/* Of who adds to it, under writer; goes with the dict. NULL: nobody did. */
	struct dict_packer *packer;
	bool is_packed;           /* the last delta, when it was put */
	bool has_text;            /* likewise: apart */
	uint64_t memory;          /* under pinning: of all three, when it is in names_memory */
	_Atomic uint64_t used_at; /* by names_uses */
	struct dict_mark kept;    /* of the dict, on disk */
	uint64_t chunks_count;    /* deltas on disk */
	_Atomic uint32_t series_published;
	struct open_range open; /* under stats: of its batches; may say more than there is */
	uint64_t looked_at; /* under sealing: batches_taken when its open ones were looked for */
	uint32_t pins;      /* under pinning: readers that keep ids of it */
	bool is_dropped;    /* under pinning: not in the list any more */
};

static inline bool generation_is_compact(const struct generation *generation)
{
	return generation->id >= KEYS_GENERATION_COMPACT;
}

/* How much there is of it, also when it is not in memory. */
static inline struct dict_mark dict_mark_of_generation(const struct generation *generation)
{
	const struct dict *dict = generation->dict;
	return dict ? dict_mark(dict) : generation->kept;
}

/* The generation that what is of this one was appended to. */
static inline uint32_t generation_root(const struct generation *generation)
{
	return generation_is_compact(generation) ? generation->origin : generation->id;
}

#define STORE_GAP_NS_MIN (50 * NS_PER_MS) /* what an agent's timer may be late */

/* Was nobody watching from the end of what came before to the start of what comes next? */
static inline bool store_is_gap(uint64_t end_ns, uint64_t start_ns)
{
	return start_ns > end_ns && start_ns - end_ns > STORE_GAP_NS_MIN;
}

struct stream {
	struct record_stream who;
	uint32_t tenant;       /* index of store->tenants */
	struct seq_set seqs;   /* as on disk */
	struct seq_set staged; /* with the group that is being written */
	bool is_staged;
	bool is_gone; /* a gap: its number is free */
	bool is_read; /* while loading: the disk has it */
};

struct tenant {
	char name[KEYS_TENANT_BYTES_MAX + 1];
	struct store_counters counters; /* as on disk; under stats */
	struct store_counters staged;
	bool is_staged;
};

struct store {
	struct store_options options;
	struct clock *clock;
	char *path;
	struct kv *kv;
	bool is_broken; /* a write failed: kv must be opened again before the next */
	char error[STORE_ERROR_BYTES];

	pthread_mutex_t writer;
	struct gate gate;
	pthread_mutex_t stats;
	pthread_mutex_t pinning;

	struct generation **generations; /* by id; the list changes with the gate locked */
	uint32_t generations_count;
	uint32_t generations_capacity;
	struct generation *newest;
	uint32_t compact_next; /* what the next compact one is numbered at least; under writer */
	_Atomic uint64_t names_memory; /* of the older ones that are in memory */
	_Atomic uint64_t names_uses;
	_Atomic uint64_t names_loaded;   /* times that one was read */
	_Atomic uint64_t names_put_away; /* times that one made room */
	_Atomic uint64_t moved;          /* windows that went to a compact generation */
	_Atomic uint64_t unmovable; /* times that one could not, as a question was reading it */
	bool has_generation_record; /* the disk knows when the newest began */

	struct id_map *stream_ids; /* hash of who -> slot */
	uint32_t *stream_of;       /* slot -> number */
	struct stream *streams;    /* by number, some of them gaps */
	uint32_t streams_count;    /* with gaps */
	uint32_t streams_gone;     /* gaps */
	uint32_t stream_gap;       /* none is before it */
	uint32_t streams_capacity;

	struct tenant *tenants;
	uint32_t tenants_count;
	uint32_t tenants_capacity;

	/* Starts of the oldest and the newest batch; under stats. */
	bool has_batches;
	uint64_t first_ns;
	uint64_t last_ns;
	_Atomic uint64_t corrupt;      /* records met that could not be read */
	struct quarantine *quarantine; /* and which */

	struct symbols_cache *symbols;

	/* One seal or deletion at a time, each longer than it may have the writer. Whoever has many
	 * windows to do lets others in between two of them. */
	struct turn_lock sealing;
	struct window_list windows; /* changed by the writer in the gate, with what is on disk */
	struct window_list rollups[WINDOW_LEVELS - 1]; /* likewise; hours, days */
	struct expiry expiry;                          /* what is hidden; likewise */
	/* Called in the gate, and changed with the gate locked. */
	store_has_expired has_expired;
	void *has_expired_owner;
	store_classify classify;
	void *classify_owner;
	/*
	 * Held by whoever gives back space without holding the writer or the gate, and by whoever
	 * opens kv again. Behind the writer, before the gate.
	 */
	pthread_mutex_t reclaiming;
	uint32_t format_version_min; /* the oldest reader of the folder */
	uint32_t reopens;            /* how often kv was opened again */
	uint64_t batches_taken;  /* how often open batches were sealed or deleted; under sealing */
	uint64_t agents_over_ns; /* agents without data were looked for with this; under writer */
	struct head_sizes heads; /* what is open, by window; under writer */
	struct head_sums head_sums;      /* sums of what is open */
	struct service_stacks *services; /* new stacks of the window, by service; under writer */
	/* What came into the window that is being sealed, since that began. */
	struct {
		bool is_active;
		bool is_incomplete; /* there was no memory to note one */
		uint64_t from_ns;
		uint64_t to_ns;
		struct key_batch *keys;
		uint32_t count;
		uint32_t capacity;
	} late;
	uint32_t deletions_in_memory; /* of batches, since a flush; under writer */
	uint64_t *unsealable;      /* windows that are left open, by their from_ns; under sealing */
	uint32_t unsealable_count; /* atomic, as it is told to anybody */
	struct key_window *unrollable; /* windows that no rollup can be made of; under sealing */
	uint32_t unrollable_count;     /* atomic, as it is told to anybody */
};

void store_set_error(struct store *store, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* After a failed write: opens kv again when there is room. Under writer. 0 when writes may go. */
int store_make_writable(struct store *store);
/* A synced or unsynced write; on failure the store is broken and store_error() says why. */
int store_write(struct store *store, struct kv_batch *batch, enum kv_durability durability,
        const char *doing);

/* The database's last failure becomes store_error(). Under writer. */
void store_note_failure(struct store *store, const char *doing);
/* And it has to be opened again before the next write. Under writer. */
void store_write_failed(struct store *store, const char *doing);

static inline struct kv_bytes store_bytes(const struct buf *buf)
{
	return (struct kv_bytes){ buf->bytes, buf->count };
}

/* A record could not be read, and is left out. Any thread. */
void store_note_unreadable(
        struct store *store, enum kv_family family, struct kv_bytes key, int reason);

/* Windows of a level: 0 what seals made, then rollups. */
static inline struct window_list *store_windows(struct store *store, uint32_t level)
{
	return level == 0 ? &store->windows : &store->rollups[level - 1];
}

static inline const struct window_list *store_windows_const(
        const struct store *store, uint32_t level)
{
	return level == 0 ? &store->windows : &store->rollups[level - 1];
}

/*
 * Is the window in a rollup, of whatever level, hidden or not? An hour may be gone and the day that
 * has it not: then what the hour was made of is in the day, and must not be added to it again. In
 * the gate.
 */
bool store_is_rolled_up(struct store *store, struct key_window key);

/* It went: out of the list of its level, and nothing of it is unreadable any more. Gate locked. */
static inline void store_remove_window(struct store *store, struct key_window key)
{
	window_list_remove(store_windows(store, key_window_level(key)), key);
	quarantine_lift_window(store->quarantine, key);
}

/* The key of a block of a unit, in `bytes`. */
static inline struct kv_bytes store_block_key(struct key_window window, uint32_t unit,
        enum keys_block_part part, uint32_t chunk, uint8_t bytes[KEYS_BLOCK_BYTES])
{
	struct key_block key = { .window = window, .unit = unit, .part = part, .chunk = chunk };
	keys_put_block(key, bytes);
	return (struct kv_bytes){ bytes, KEYS_BLOCK_BYTES };
}

/* The record of a window, packed in `scratch`. -ENOMEM. */
int store_put_window(struct store *store, struct key_window key, const struct window *window,
        struct buf *scratch, struct kv_batch *write);

/* Where the blocks of a window are that are not detail. */
static inline enum kv_family store_sums_family(struct key_window key)
{
	static const enum kv_family families[] = { KV_SUMS, KV_SUMS_HOUR, KV_SUMS_DAY };
	return families[key_window_level(key)];
}

/*
 * What is written needs a reader of this version: adds the record that says so, unless the folder
 * has it. store_note_format() once it is written. -ENOMEM.
 */
int store_put_format(struct store *store, struct kv_batch *write, uint32_t version);
/* At open: the folder is of a format that can be read, or new; then it becomes one. */
int store_check_format(struct store *store);
void store_note_format(struct store *store, uint32_t version);
/* The same for a batch that is put; where it is not noted, the next one says it again. */
int store_put_format_of(struct store *store, const struct batch *batch, struct kv_batch *write);

/* What is hidden, from the disk. Gate locked, or at open. */
int store_load_expiry(struct store *store);
/* The list of sealed windows, from the disk. Gate locked, or at open. */
int store_load_windows(struct store *store);
/* Starts of the oldest and the newest batch, from the disk. */
int store_load_ends(struct store *store);
/*
 * The number of the next window of this level over [from_ns, to_ns), as a key has it: none that is
 * there has it, and no rollup was made of one with it. In the gate.
 */
uint32_t store_next_generation(
        const struct store *store, uint32_t level, uint64_t from_ns, uint64_t to_ns);
/* Is this batch in a sealed window? Under writer. */
int store_is_sealed(struct store *store, struct key_batch key, bool *ret_is_sealed);
/* An append that was written: the seal that is under way must leave it where it is. Under writer.
 */
void store_note_late(struct store *store, struct key_batch key);

/*
 * Tells of every batch that a sealed window holds, as it went in, in order of the keys. -EBADMSG,
 * -EPROTONOSUPPORT: something of it cannot be read; some may have been told of. Takes the gate, and
 * tells inside it.
 */
typedef int (*store_visit_sealed)(void *owner, struct key_batch key, const struct batch *batch);
int store_scan_sealed(struct store *store, const struct window_entry *window,
        store_visit_sealed visit, void *owner);

/* The index of a tenant, made when it is new. Under writer. -ENOMEM. */
int store_tenant(struct store *store, const char *name, uint32_t *ret_tenant);
/* Counters of all of them, from the disk. At open, or with the gate locked. */
int store_load_counters(struct store *store);

/*
 * `from` in ids of the newest generation, which gets what it lacks. Under writer, with the gate
 * locked. -ENOSPC: past a limit of the dict. -EINVAL: it refers to what its own dict lacks. After
 * any failure dict and remap are to be truncated.
 */
int store_translate(struct store *store, const char *tenant, struct dict_remap *remap,
        const struct batch *from, struct batch *to);
/* Forgets what is in memory and not on disk. Under writer, with the gate locked. */
void store_take_back(struct store *store, uint32_t slots_count);

/* Streams. Under writer, with the gate locked where something is added or taken away. */
int store_load_streams(struct store *store);
void store_free_streams(struct store *store);
/* ID_NONE: it is new, or was forgotten. */
uint32_t store_find_stream(const struct store *store, const struct record_stream *who);
/* One that is not there yet. -ENOSPC, -ENOMEM. */
int store_stream_add(struct store *store, const struct record_stream *who, uint32_t *ret_stream);
/* Takes back the newest until id_map_count(stream_ids) is this. */
void store_streams_truncate(struct store *store, uint32_t slots_count);
/* What an append now makes of a stream's used_ns. */
uint64_t store_used_ns(const struct store *store, const struct batch *batch, uint64_t now_ns);
/* Forgets those whose used_ns is before: nothing may speak of them. Takes the gate. */
int store_forget_streams(struct store *store, uint64_t before_ns, uint32_t *ret_count);

/* In the gate: may something speak of this number? */
static inline bool store_has_stream(const struct store *store, uint32_t number)
{
	return number < store->streams_count && !store->streams[number].is_gone;
}

/* From the disk; what is there of a dict stays. At open, or with the gate locked. */
int store_load_generations(struct store *store);
int store_load_open_ranges(struct store *store);
void store_free_generations(struct store *store);

/*
 * In the gate: with its names in memory, for this visit or as long as it is pinned. -ENOENT: there
 * is none. -EBADMSG, -EPROTONOSUPPORT: its deltas cannot be read. -ENOMEM, -EIO.
 */
int store_use_generation(struct store *store, uint32_t id, struct generation **ret_generation);
/* Likewise of one that is pinned, or in the gate. */
int store_load_names(struct store *store, struct generation *generation);
/* Likewise for a question, within names_memory_max: -ENOBUFS. Pinned, and outside the gate. */
int store_load_pinned(struct store *store, struct generation *generation);
/*
 * Puts away what nobody uses until so many bytes fit. false: they do not. Not in the gate, or
 * nothing is put away.
 */
bool store_make_names_room(struct store *store, uint64_t bytes);
/* Pins one and lets go of the one before; either may be NULL. */
void store_repin(struct store *store, struct generation **pinned, struct generation *generation);

/* NULL: there is none. Its names may not be in memory. In the gate. */
struct generation *store_generation(const struct store *store, uint32_t id);
/* Keeps its dict in memory, even when it is dropped. In the gate, and anywhere. */
void store_pin_generation(struct store *store, struct generation *generation);
void store_unpin_generation(struct store *store, struct generation *generation);
/* Out of the list; freed with its last pin. With the gate locked. */
void store_remove_generation(struct store *store, struct generation *generation);
/* Writes down when the first one began. Under writer. */
int store_keep_generation(struct store *store);
/*
 * What was added to its dict, in one synced write, also when it no longer grows by appends. On
 * failure that is taken back. Under writer, not in the gate.
 */
int store_keep_additions(struct store *store, struct generation *generation, const char *doing);
/*
 * What was added to it since `kept`, as the delta of this ordinal, with the format that it needs.
 * Under writer. store_note_additions() once it is written. -ENOMEM.
 */
int store_put_additions(struct store *store, struct generation *generation, uint64_t ordinal,
        struct dict_mark kept, struct kv_batch *write);
void store_note_additions(struct store *store, const struct generation *generation);
/* A batch of it was appended. Under stats. */
void generation_note_open(struct generation *generation, uint64_t start_ns);

/*
 * Under writer. A new generation, of which nothing is there, in one synced write. -ENOSPC: there
 * can be no more.
 */
int store_begin_generation(struct store *store);
/* Begins one when the newest is old or large enough. */
int store_renew_dict(struct store *store);
/* Likewise begins the one that windows of `origin` move to. */
int store_begin_compact(struct store *store, const struct generation *origin,
        enum generation_stage stage, struct generation **ret_generation);
/* The record of a generation, as it stands. -ENOMEM. */
int store_put_generation(
        struct store *store, struct kv_batch *write, const struct generation *generation);
/* Series of it that are on the disk can be found. Under writer. -ENOMEM. */
int store_publish_series(struct store *store, struct generation *generation);

/* Open batches went otherwise than by a seal. Under sealing. */
void store_note_deleted(struct store *store);
/* Windows or parts of them went or came back: what could not be rolled up may be. Under sealing. */
void store_note_erased(struct store *store);

/*
 * Gives back the room of batches before that moment that are sealed or deleted. Those that had
 * reached a file lie in files of the highest level, which cannot be dropped; merging them is
 * reading them once. Under sealing.
 */
void store_settle_batches(struct store *store, uint64_t until_ns);

/* Over the heads of all symbol tables. NULL when out of memory. In the gate. */
struct kv_iterator *store_symbol_heads(struct store *store);
/* The symbol heads into the cache: of store_open() and after opening again. */
int store_load_symbols(struct store *store);
