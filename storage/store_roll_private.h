#pragma once

/*
 * What a roll of one window knows while it works: the windows it is made from, their units by
 * (tenant, service, type), and the files that grow. store_roll.c says how it goes,
 * store_roll_write.c makes blocks. One thread, for one window.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "storage/sealed.h"
#include "storage/store_private.h"

/*
 * The windows of one slot that go into a rollup: those of its own level, which it replaces, first.
 */
struct roll_choice {
	uint32_t level;
	uint64_t from_ns;
	uint64_t to_ns;
	uint32_t dictionary;
	uint32_t generation;
	struct buf keys; /* struct key_window */
	uint32_t replaced;
	uint32_t fresh; /* of the level below */
	bool is_collapsed;
	/* It is one window, and goes to the compact generation `target`; ID_NONE: a new one. */
	bool is_moved;
	uint32_t target;
	enum generation_stage stage; /* of what is left of the dictionary */
};

/* A window that is taken up, open for reading. */
struct roll_input {
	struct key_window key;
	struct sealed sealed;
};

/* One unit of one input. */
struct roll_part {
	uint32_t class;
	uint32_t tenant; /* index of the roll's tenants */
	uint32_t service;
	uint32_t type;
	uint32_t input;
	uint32_t unit;
};

struct roll {
	struct store *store;
	struct key_window key;     /* of what is made */
	uint32_t dictionary;       /* generation of the dict that all of it speaks of */
	uint32_t nodes_count;      /* of that dict */
	struct generation *pinned; /* which is in memory meanwhile */
	uint32_t reopens;
	bool is_collapsed; /* addresses become those of their functions, or could not */
	bool is_only_to_collapse;
	bool is_made_anew;      /* one window of itself: it is as old as it was */
	struct roll_move *move; /* NULL: ids stay what they are */

	struct roll_input *inputs;
	uint32_t inputs_count;
	uint32_t replaced; /* so many of them, from the first on, are of its own level, and go */
	/* What an input was that could not be read: it is to be left out. */
	struct key_window damaged;
	bool is_damaged;

	char (*tenants)[KEYS_TENANT_BYTES_MAX + 1];
	uint32_t tenants_count;
	struct buf parts; /* struct roll_part, in order */
	struct buf units; /* struct window_unit */
	uint32_t watchers_chunks;
	uint64_t bytes_watchers;
	uint64_t put_bytes; /* of all blocks so far */

	struct buf block;
	struct buf group_values; /* of the sums that are in `block` */
	struct column_scratch columns;
	struct kv_files *files;
};

/* The index of a tenant of the roll, made when it is new. -ENOMEM. */
int roll_tenant(struct roll *roll, const char *name, uint32_t *ret_tenant);

/* What is wrong with an input is noted, so that it can be left out. */
int roll_blame(struct roll *roll, const struct roll_input *input, int result);

/*
 * Where each stack of a dictionary goes that was seen less than `below` times: to an ancestor, or
 * it stays. Takes the gate. -ENOMEM.
 */
struct roll_fold;
int roll_fold_new(struct roll *roll, const uint32_t *nodes, const uint64_t *totals, uint32_t count,
        uint64_t below, struct roll_fold **ret_fold);
void roll_fold_free(struct roll_fold *fold);
DEFINE_AUTO(roll_fold);
/* Of a node of that dictionary: for sum_merge(). */
uint32_t roll_fold_node(void *owner, uint32_t node);

/*
 * What each stack of a dictionary is when every address in it is that of its function; what that
 * needs is added to the generation, synced. NULL: nothing changes. Takes the writer and the gate;
 * roll->nodes_count grows. -E2BIG: the dict has no room for it, or symbols cannot be read now;
 * -EAGAIN; -ENOMEM; as store_write().
 */
struct roll_collapse;
int roll_collapse_new(struct roll *roll, const uint32_t *nodes, uint32_t count,
        struct roll_collapse **ret_collapse);
void roll_collapse_free(struct roll_collapse *collapse);
DEFINE_AUTO(roll_collapse);
/* Of a node of that dictionary: for sum_merge(). */
uint32_t roll_collapse_node(void *owner, uint32_t node);

#define ROLL_SOURCES_MAX 64 /* blocks in memory at once */

/* Blocks of one unit that wait to be added up, and what those before them came to. */
struct roll_sums {
	struct buf bytes[ROLL_SOURCES_MAX];
	struct buf values[ROLL_SOURCES_MAX];
	uint8_t values_keys[ROLL_SOURCES_MAX][KEYS_BLOCK_BYTES];
	struct sum_block blocks[ROLL_SOURCES_MAX];
	uint32_t count;
	uint64_t stacks; /* of all dictionaries */
	struct buf sum;
	struct buf sum_values;
	struct sum_block sum_block; /* of `sum`, when it is not empty */
};

void roll_sums_fini(struct roll_sums *sums);
/* For the next unit. */
void roll_sums_reset(struct roll_sums *sums);
/* Loads what is to be added up next. What is wrong with its window is noted. */
int roll_sums_load(struct roll *roll, const struct roll_part *part, struct roll_sums *sums);
/* The next are given the keys that the sums are to have. */
int roll_sums_add_up(struct roll *roll, struct sum_keys keys, struct roll_sums *sums);
/*
 * Of a unit that is complete: collapses and folds. What a move finds was collapsed and folded when
 * it was made: it gets other ids.
 */
int roll_sums_finish(struct roll *roll, struct sum_keys keys, struct roll_sums *sums);

/* Is it one that no rollup can be made of? In the gate, or under sealing. */
bool roll_is_skipped(const struct store *store, struct key_window key);

/* The next window that is to move to a compact generation. In the gate. -ENOMEM. */
int roll_choose_moved(struct store *store, struct roll_choice *choice, bool *ret_is_found);

/*
 * Moves the roll's one window. Under writer. -EBUSY: somebody holds the generation that it is of.
 * -EAGAIN, -ENOMEM, and as store_write().
 */
struct roll_move;
int roll_move_new(struct roll *roll, const struct roll_choice *choice, struct roll_move **ret_move);
void roll_move_free(struct roll_move *move);
/* The number of the generation that it goes to. */
uint32_t roll_move_dictionary(const struct roll_move *move);

/*
 * In place, ids of the old generation to those of the new one, which gets what it lacks, synced.
 * Take the writer and the gate. -EBADMSG: the window speaks of what there is not. -E2BIG: the dict
 * has no room for it. -EAGAIN, -ENOMEM, and as store_write().
 */
int roll_move_series(struct roll_move *move, uint32_t *ids, size_t count);
int roll_move_strings(struct roll_move *move, uint32_t *ids, size_t count);
/* All that a block speaks of: then the next three may be asked for it, by sum_merge(). */
int roll_move_sums(struct roll_move *move, const struct sum_block *block);
uint32_t roll_move_node(void *owner, uint32_t node);
uint32_t roll_move_string(void *owner, uint32_t string);
struct sum_group_key roll_move_group(void *owner, struct sum_group_key key);

/*
 * Under writer: what is written together with the moved window; whether nobody reads what is
 * deleted (with the gate locked); and what the write changed in memory (likewise, after it).
 */
int roll_move_put(struct roll_move *move, const struct window *window, struct kv_batch *write);
bool roll_move_may_commit(struct roll_move *move);
void roll_move_done(struct roll_move *move);

/* Blocks of all units, then who was watching, into roll->files. */
int roll_write(struct roll *roll);
