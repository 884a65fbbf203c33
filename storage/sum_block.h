#pragma once

/*
 * sum_block is what one (window, service, profile type) adds up to: per stack and group of
 * instances a sum, and per group how long was watched, by how many, and what was lost.
 *
 * A group is what a comparison still needs when instances are gone: version, region, one of 16
 * buckets of instances, so that there is a spread; and the period, since values of different
 * periods do not add. The total over all groups is what most queries read; so it is apart from the
 * values of the groups, under a key of its own: the block has the dictionary, totals and all that
 * is known of the groups but their values, which are several times as large. The block names its
 * values by their checksum.
 *
 * The dictionary is the stacks of the window, ascending node ids of the store. Detail chunks of the
 * window speak of places in it, and so may a block whose dictionary is elsewhere: it names it by
 * count and hash. Sums are exact 64 bits; one that does not fit is -EOVERFLOW, never a wrong
 * number.
 *
 * Values lie dense, one per stack, zeroes included: at ten minutes and 16 buckets about every third
 * stack has a value in a group, and then bits beat places; and reading is adding vectors. Totals
 * are in the order of the dictionary. Groups are in an order of their own, in which stacks of about
 * the same total are neighbours (block_format.h); readers add groups up in that order and take the
 * nodes in it as well, so it costs them one pass per block.
 *
 * Blocks add up (sum_merge.c) into one over the union of their dictionaries: 10 minutes to an hour,
 * hours to a day, groups to fewer groups. Adding is associative; instances are kept as a set, since
 * counts of different windows do not add.
 *
 * Readers take bytes that nobody vouches for: -EBADMSG, -EPROTONOSUPPORT (newer than we are).
 * docs/formats/blocks.md has the bytes.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "storage/column_codec.h"
#include "storage/kv.h"
#include "storage/stack_sums.h"

enum sum_group_flags {
	SUM_GROUP_ALL = 1,      /* version, region and bucket are 0 and mean any: from a merge */
	SUM_GROUP_RECORDED = 2, /* of series that were labelled as recorded */
};

/* Strings are ids of the store's dict. Groups are in this order, from the first field on. */
struct sum_group_key {
	uint32_t flags;
	uint32_t version;
	uint32_t region;
	uint32_t bucket;
	uint64_t period;
};

/* Below 0, 0 or above, as memcmp(). */
int sum_group_key_compare(const struct sum_group_key *a, const struct sum_group_key *b);

struct sum_loss {
	uint32_t reason;
	uint64_t count; /* > 0 */
};

struct sum_group {
	struct sum_group_key key;
	uint64_t samples;          /* sum of the values, in periods */
	uint64_t folded;           /* of those, what was moved to an ancestor of its stack */
	uint64_t coverage_ns;      /* over all series of the group */
	const uint32_t *instances; /* ascending ids, whatever the writer calls an instance */
	uint32_t instances_count;
	const struct sum_loss *losses; /* ascending reasons */
	uint32_t losses_count;
};

struct sum_dictionary {
	const uint32_t *nodes; /* ascending */
	uint32_t count;
};

uint64_t sum_dictionary_hash(struct sum_dictionary dictionary);

/* ---- writing ---- */

struct sum_writer;

struct sum_writer_options {
	uint64_t from_ns, to_ns; /* the window */
	struct sum_dictionary dictionary;
	bool is_dictionary_elsewhere;
	const uint64_t *totals; /* what the groups will add up to, one per place */
	enum column_effort effort;
};

/* Borrows the dictionary and the totals. NULL when out of memory. */
struct sum_writer *sum_writer_new(struct sum_writer_options options);
void sum_writer_free(struct sum_writer *writer);
DEFINE_AUTO(sum_writer);

/*
 * Groups in ascending order of their keys; `values` one per place of the dictionary. `samples` of
 * the group is not read but summed up here. -EOVERFLOW (also over all groups), -E2BIG (more
 * instances or losses than a block holds), -ENOMEM.
 */
int sum_writer_put(
        struct sum_writer *writer, const struct sum_group *group, const uint64_t *values);

/* The keys of a block and of its values. */
struct sum_keys {
	struct kv_bytes block;
	struct kv_bytes values;
};

/*
 * Into empty bufs, after all groups, which add up to the totals. `values` stays empty where the
 * block says all: it has one group, or none. -ENOMEM.
 */
int sum_writer_finish(
        struct sum_writer *writer, struct sum_keys keys, struct buf *to, struct buf *values);

/* ---- reading ---- */

/* Opened, nothing decoded. Borrows the value. */
struct sum_block {
	bool has_values_apart; /* they are to be read by sum_block_open_values() */
	uint64_t values_checksum;
	uint64_t from_ns, to_ns;
	bool is_dictionary_elsewhere;
	uint32_t dictionary_count;
	uint64_t dictionary_hash;
	uint32_t groups_count;
	uint32_t instances_count; /* over all groups */
	uint32_t losses_count;
	uint64_t period;  /* of all groups, or 0: they differ, and the total is of no use */
	uint64_t samples; /* over all groups */
	struct column dictionary;
	struct column_wide totals;
	struct reader groups; /* from the groups' columns on */
};

/* Reads the head and no sums. The key is part of the checksum. */
int sum_block_open(struct kv_bytes key, struct kv_bytes value, struct sum_block *ret_block);

/* Memory of one thread's reading of one block at a time. NULL when out of memory. */
struct sum_memory;

struct sum_memory *sum_memory_new(void);
void sum_memory_free(struct sum_memory *memory);
DEFINE_AUTO(sum_memory);

/* Ascending, into room for dictionary_count. -EBADMSG also when it is elsewhere. */
int sum_block_get_dictionary(
        const struct sum_block *block, struct sum_memory *memory, uint32_t *ret_nodes);

/* All groups, without their values; borrowed from the memory until its next block. */
int sum_block_get_groups(const struct sum_block *block, struct sum_memory *memory,
        const struct sum_group **ret_groups);

/*
 * Adds the totals, decoded once, into each of so many sums over the dictionary. -EOVERFLOW;
 * -EBADMSG also when sums are over another count.
 */
int sum_block_add_total_each(const struct sum_block *block, struct sum_memory *memory,
        struct stack_sums *const *sums, uint32_t sums_count);

static inline int sum_block_add_total(
        const struct sum_block *block, struct sum_memory *memory, struct stack_sums *sums)
{
	return sum_block_add_total_each(block, memory, &sums, 1);
}

/*
 * The values of the groups, which are borrowed; after sum_block_get_groups() on the same memory.
 * `value` is not read where the block has them itself. -EBADMSG also when they are another block's.
 */
int sum_block_open_values(const struct sum_block *block, struct sum_memory *memory,
        struct kv_bytes key, struct kv_bytes value);

/*
 * The order of the groups: value i of a group is of the stack at place order[i]. Borrowed from the
 * memory until its next block. -EBADMSG, -ENOMEM.
 */
int sum_block_get_order(
        const struct sum_block *block, struct sum_memory *memory, const uint32_t **ret_order);

/*
 * Likewise the values of one group into sums that are in the order of the groups. After
 * sum_block_open_values() on the same memory. -EOVERFLOW; -EBADMSG as above.
 */
int sum_block_add_group_each(const struct sum_block *block, struct sum_memory *memory,
        uint32_t group, struct stack_sums *const *sums, uint32_t sums_count);

static inline int sum_block_add_group(const struct sum_block *block, struct sum_memory *memory,
        uint32_t group, struct stack_sums *sums)
{
	return sum_block_add_group_each(block, memory, group, &sums, 1);
}

/* ---- adding up ---- */

struct sum_source {
	const struct sum_block *block;
	struct kv_bytes values_key; /* where the block has its values apart */
	struct kv_bytes values;
	/* Where the block's own is elsewhere: the one it names. Otherwise not read. */
	struct sum_dictionary dictionary;
};

struct sum_merge_options {
	uint32_t nodes_count;         /* of the store: ids from here on do not exist */
	bool is_dictionary_elsewhere; /* of the result */
	enum column_effort effort;
	/* What a group becomes; those that become the same are one. NULL: as they are. */
	struct sum_group_key (*regroup)(void *owner, struct sum_group_key key);
	/* What a stack becomes: itself or an ancestor, which is counted. NULL: as they are. */
	uint32_t (*fold)(void *owner, uint32_t node);
	/* It becomes the same stack in other words, anywhere below nodes_count: not counted. */
	bool is_fold_silent;
	/* What an instance becomes; different ones stay different. NULL: as they are. */
	uint32_t (*instance)(void *owner, uint32_t instance);
	void *owner;
};

/*
 * Adds blocks into one, in empty bufs, which may not be any of theirs. The window is the span of
 * all. The same sources give the same union, so that two results can share one dictionary.
 * -EOVERFLOW, -EBADMSG (a source; also a dictionary that is not the one it names), -E2BIG (more
 * stacks or groups than a block holds), -ENOMEM.
 */
int sum_merge(const struct sum_source *sources, uint32_t count, struct sum_merge_options options,
        struct sum_keys keys, struct buf *to, struct buf *values);
