#pragma once

/*
 * What a seal of one window knows while it works: what was collected from its batches, the order it
 * is written in, and the block that grows. store_seal.c says how it goes, store_seal_collect.c
 * reads, store_seal_write.c makes blocks. One thread, for one window.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/hash.h"
#include "storage/detail_chunk.h"
#include "storage/head_sums.h"
#include "storage/store_private.h"
#include "storage/sum_block.h"
#include "storage/sum_groups.h"

struct seal_interval {
	struct key_batch key;
	uint64_t duration_ns;
	uint32_t index; /* in the order of keys */
};

/* A series of one tenant. */
struct seal_member {
	uint32_t id; /* in order of being met */
	uint32_t tenant;
	uint32_t service;
	uint32_t type;
	uint32_t series;
	uint32_t instance;
	uint32_t class;
	uint32_t unit;
	uint64_t rows;
	struct sum_group_key group;
};

struct seal_unit {
	uint32_t members_first; /* in the order of members */
	uint32_t members_end;
	uint64_t rows;
	uint32_t chunks;
	uint64_t bytes_detail;
	uint64_t bytes_sums;
};

/* What one series had in one interval. */
struct seal_item {
	uint32_t member;   /* its id; later its place in the order of members */
	uint32_t interval; /* index in the order of keys; later its rank in that of streams */
	uint64_t rows_first;
	uint64_t large_first;
	uint32_t rows_count;
	uint32_t losses_count;
	uint64_t losses_first;
	uint64_t coverage_ns;
	bool has_coverage;
};

struct seal_loss {
	uint32_t interval;
	struct sum_loss loss;
};

/* One chunk of detail as it grows. Intervals are ranks until it is written. */
struct seal_chunk {
	struct buf ranks; /* u32, of all reports and losses */
	struct buf intervals;
	struct buf reports;
	struct buf losses;
	struct buf places; /* u32 */
	struct buf values; /* u64 */
	uint32_t number;
};

struct seal {
	struct store *store;
	struct key_window key;
	uint32_t reopens;
	bool has_dictionary;       /* a batch was met */
	uint32_t dictionary;       /* generation of the dict that the batches are of */
	struct generation *pinned; /* which is in memory meanwhile */
	bool has_others;           /* and batches of another */
	bool classifies_as_store;  /* by the store's, which may change meanwhile */
	store_classify classify;   /* NULL: all series are of one class */
	void *classify_owner;
	uint32_t unit_base; /* number of the first unit that is written */
	uint64_t rows_max;  /* in memory; of a unit */
	/*
	 * Where the blocks stay in memory: they go there, as far as its own are below memory_max,
	 * and there is no detail (store_head.c). NULL: into files.
	 */
	struct head_segment *segment;
	uint64_t memory_max;
	/* Only these batches are read, ascending; else all there are. */
	bool is_listed;
	const struct key_batch *listed;
	size_t listed_count;
	uint64_t bytes_batches; /* of the records that were collected */

	/* Of the window. */
	struct buf intervals; /* struct seal_interval, by key */
	struct buf ranked;    /* the same, by (stream, start, seq) */
	struct buf ranks;     /* u32: index -> rank */
	struct buf corrupt;   /* struct key_batch: what cannot be read, and what is of others */
	struct buf nobodys;   /* struct seal_loss */
	struct id_map *member_ids;
	struct buf members; /* struct seal_member, by id, then in order */
	struct buf places;  /* u32: id -> place in that order */
	struct buf units;   /* struct seal_unit */
	struct buf tenants; /* u32: tenants of the store, in order of the units */
	struct sum_labels labels;
	uint32_t nodes_count;

	/* Of a round: items of units [units_first, units_end), or of all while there are none yet.
	 */
	bool is_first;
	bool is_counting; /* rows are more than fit: only counted */
	uint32_t units_first;
	uint32_t units_end;
	uint32_t next_interval;
	struct buf items;
	struct buf nodes;  /* u32: node, later its place in the dictionary of the unit */
	struct buf values; /* u8: nearly all are small; SEAL_LARGE: it is the next of `large` */
	struct buf large;  /* u64 */
	struct buf losses; /* struct sum_loss */

	struct batch *batch;
	struct buf scratch;
	struct column_scratch columns;
	struct seal_chunk chunk;
	struct buf block;
	struct buf group_values; /* of the sums that are in `block` */
	struct kv_files *sums;   /* blocks that are written and not taken in yet */
	struct kv_files *detail;
	uint64_t bytes_sums; /* of keys and values that were put so far */
	uint64_t bytes_detail;
	uint64_t bytes_watchers;
};

#define SEAL_LARGE UINT8_MAX

/* What stands in `values` for the value of the next row. */
static inline uint8_t seal_note_value(struct seal *seal, uint64_t value)
{
	if (value < SEAL_LARGE)
		return (uint8_t)value;
	buf_put(&seal->large, &value, sizeof(value));
	return SEAL_LARGE;
}

/* The values of an item, from its first row on. */
struct seal_values {
	const uint8_t *next;
	const uint64_t *next_large;
};

static inline struct seal_values seal_values_of(
        const struct seal *seal, const struct seal_item *item)
{
	return (struct seal_values){
		.next = seal->values.bytes + item->rows_first,
		.next_large = (const uint64_t *)(const void *)seal->large.bytes + item->large_first,
	};
}

static inline uint64_t seal_values_take(struct seal_values *values)
{
	uint8_t value = *values->next++;
	return value == SEAL_LARGE ? *values->next_large++ : value;
}

void seal_fini(struct seal *seal);
/* Members, and files where blocks go there. -ENOMEM. */
int seal_init(struct seal *seal);

/* The member of a (tenant, series) that there is, or a new one. In the gate. */
int seal_intern_member(struct seal *seal, uint32_t tenant, uint32_t series, uint32_t *ret_member);

/* Under writer. What was read is not what is there any more when kv was opened again. */
bool seal_may_write(const struct seal *seal);

/* Reads the window's batches: all of them, or those of the units of this round. Of those that are
 * `listed`.
 */
int seal_collect(struct seal *seal);
int seal_rank_intervals(struct seal *seal);
/* Members in order, and which unit each belongs to. */
int seal_make_units(struct seal *seal);
void seal_sort_items(struct seal *seal);

/* Removes what an earlier attempt at this generation left. */
int seal_sweep(struct seal *seal);
/*
 * Makes what was written part of the database, still under keys that no record names. -EAGAIN: the
 * store was opened again meanwhile, and everything has to be read anew.
 */
int seal_take_blocks(struct seal *seal);
int seal_write_rounds(struct seal *seal);
int seal_write_watchers(struct seal *seal, uint32_t *ret_chunks);
/* The window's record, from what was written. */
int seal_describe(struct seal *seal, struct window *window);
