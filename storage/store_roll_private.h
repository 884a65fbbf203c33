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
	struct key_window key; /* of what is made */
	uint32_t dictionary;   /* generation of the dict that all of it speaks of */
	uint32_t nodes_count;  /* of that dict */
	uint32_t reopens;
	bool is_collapsed; /* addresses become those of their functions, or could not */
	bool is_only_to_collapse;

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
/* Of a unit that is complete: stacks that differ by addresses in the same functions become one. */
int roll_sums_collapse(struct roll *roll, struct sum_keys keys, struct roll_sums *sums);
/* Of a unit that is complete: rarely seen stacks to their ancestors. */
int roll_sums_fold(struct roll *roll, struct sum_keys keys, struct roll_sums *sums);

/* Blocks of all units, then who was watching, into roll->files. */
int roll_write(struct roll *roll);
