#pragma once

/*
 * named_stacks remembers what the store's stacks are called, so that a question need not name them
 * again: for each generation of the store's dictionary the way from its nodes to those of one dict
 * of functions, in which stacks of all generations meet. It grows with what is asked for.
 *
 * With it a question is adding up: the sums of a range are put on the leaves of the functions'
 * trie, and one pass from the last node to the first carries them to the callers.
 *
 *	named_stacks_enter()         nobody else folds until leave
 *	named_stacks_add() ...       one group of one side after the other: its rows
 *	named_stacks_functions()     what they come to by function, and everything is 0 again
 *	  or named_stacks_tree()     or by node
 *	named_stacks_leave()
 *
 * Names change when symbols arrive: who brings them says so by named_stacks_symbols(), from any
 * thread. Memory is bounded: what has grown past the bound is forgotten when the question ends, and
 * built again by those that follow.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/answer.h"
#include "profile/naming.h"
#include "storage/store.h"

struct named_stacks;

struct named_stacks *named_stacks_new(uint64_t memory_max);
void named_stacks_free(struct named_stacks *stacks);
DEFINE_AUTO(named_stacks);

/* A table of symbols was put or replaced. */
void named_stacks_symbols(struct named_stacks *stacks, const char *build_id);

void named_stacks_set_memory_max(struct named_stacks *stacks, uint64_t memory_max);

/* Waits for whoever folds. Not under the store's lock. */
void named_stacks_enter(struct named_stacks *stacks);
void named_stacks_leave(struct named_stacks *stacks);

/* Between enter and leave, in bytes. */
size_t named_stacks_memory(const struct named_stacks *stacks);

/* Rows of one generation: as the store sorted them, or one of its runs. */
struct named_stacks_rows {
	uint32_t generation;
	const struct dict *dict; /* of the generation */
	const struct store_sum_row *rows;
	uint32_t count;
	/* Where `rows` is NULL. */
	const uint32_t *nodes;
	const uint64_t *values;
};

/*
 * Adds values to what is gathered for a side. Under the store's lock, which the source's pause may
 * let go for a moment. All that is added to one side must add up to less than 64 bits. After an
 * error named_stacks_clear() comes first. -ENOMEM, -ENOSPC, and what the pause returns.
 */
int named_stacks_add(struct named_stacks *stacks, struct naming_source *source, uint32_t side,
        struct named_stacks_rows rows);

void named_stacks_clear(struct named_stacks *stacks);

/* Where what is gathered goes to: the sides of an answer, under a series. */
struct named_stacks_target {
	struct answer *answer;
	uint32_t series;
};

/* Which functions stay where not all of them are asked for. */
struct named_stacks_ranking {
	bool is_canonical; /* what one function is */
	bool by_cum;
	bool by_change;                     /* of the share, and of the rate where there is one */
	uint32_t limit;                     /* 0: all */
	uint64_t whole[ANSWER_SIDES_MAX];   /* what shares are of */
	uint64_t watched[ANSWER_SIDES_MAX]; /* what rates are of; 0: there are none */
};

/*
 * What is gathered for all sides as functions. Clears. Between enter and leave, groups go to one
 * answer, and functions are told apart in one way. -ENOMEM, -ENOSPC.
 */
int named_stacks_functions(struct named_stacks *stacks, struct named_stacks_target target,
        const struct named_stacks_ranking *ranking);

/* How many frames of the functions since the last call have other canonical names. */
uint64_t named_stacks_rewritten(struct named_stacks *stacks);

/*
 * What is gathered for all sides of the answer as one tree: the nodes_max nodes of greatest value
 * (both sides together; all of them when 0), and what was cut. Clears. -ENOMEM, -ENOSPC.
 */
int named_stacks_tree(
        struct named_stacks *stacks, struct named_stacks_target target, uint32_t nodes_max);

/*
 * Names the stacks of the rows, of which there may be none, and marks all stacks of the generation
 * whose names are remembered by whether a function, called by its readable name, is on them: enum
 * store_mark by node of the dict, of so many; others stay as they are. Nothing is gathered. Errors
 * as named_stacks_add().
 */
int named_stacks_mark(struct named_stacks *stacks, struct naming_source *source,
        const char *function, struct named_stacks_rows rows, uint8_t *marks, uint32_t count);

struct named_stacks_state {
	uint64_t memory;
	uint64_t stacks;  /* nodes of the trie of functions */
	uint64_t dropped; /* times that everything was forgotten for memory */
	uint64_t renamed; /* times that names were made anew because symbols came */
};

struct named_stacks_state named_stacks_state(struct named_stacks *stacks);
