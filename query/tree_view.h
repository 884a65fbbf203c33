#pragma once

/*
 * tree_view is the merged call tree of one or two sides, root first: what `tree` prints and the
 * flame graph draws. Frames of one function and module under one caller are one node.
 *
 * Node 0 is the root and has no name. Children stand in order of value, greatest first, after
 * tree_view_sort(). One thread owns a tree.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/batch.h"
#include "profile/names.h"

struct tree_view_node {
	uint32_t parent;      /* of the root: ID_NONE */
	uint32_t name;        /* of the names; of the root: ID_NONE */
	uint32_t first_child; /* ID_NONE: none */
	uint32_t next_sibling;
	uint32_t depth;      /* of the root: 0 */
	uint64_t self[2];    /* by side: value of rows that end here */
	uint64_t total[2];   /* with everything below, also what is missing */
	uint64_t missing[2]; /* of it what an aggregator left out below this node, and has told */
	uint32_t missing_children; /* nodes next below it of that, of the side that has more */
};

struct tree_view;

/* Borrows the names. NULL: out of memory. */
struct tree_view *tree_view_new(struct names *names);
void tree_view_free(struct tree_view *tree);
DEFINE_AUTO(tree_view);

/* As functions_add(). -ENOSPC: more nodes than 32 bits can number. */
int tree_view_add(
        struct tree_view *tree, uint32_t side, const struct batch *batch, const bool *chosen);

/* The same for a side of a tree that may have been cut: the parts are by enum answer_part. */
int tree_view_add_cut(struct tree_view *tree, uint32_t side, const struct batch *batch,
        const struct batch *const *parts, const bool *chosen);

/* How many nodes are missing, over both sides: of the side that lacks more. */
uint64_t tree_view_missing(const struct tree_view *tree);

/* After the last side was added: sums and sorts. -ENOMEM. */
int tree_view_sort(struct tree_view *tree);

uint32_t tree_view_count(const struct tree_view *tree);
const struct tree_view_node *tree_view_get(const struct tree_view *tree, uint32_t node);

/* The node after `node` in preorder, or ID_NONE. */
uint32_t tree_view_next(const struct tree_view *tree, uint32_t node);

/* The same, leaving out what is below `node`. */
uint32_t tree_view_skip(const struct tree_view *tree, uint32_t node);
