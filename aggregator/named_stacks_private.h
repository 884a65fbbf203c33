#pragma once

/*
 * What the files of named_stacks share: named_stacks.c keeps the names of generations,
 * named_stacks_gather.c the dict of functions with what is gathered on it, and
 * named_stacks_functions.c and named_stacks_tree.c make answers of that.
 *
 * Nodes of the dict of functions have places, by which there are:
 *
 *	nodes    [ r a a b b ]    parent (a place) and frame
 *	flags    [ . o . o o ]    outermost of its name on its stack, without a name, ...
 *	self     [ 0 7 0 3 0 ]    by side: what ends here; zero between questions
 *	total    [ 0 9 0 3 0 ]    by side: what ends below, and after the pass here too; likewise
 *	touched  [ 1 0 ]          by side: which blocks of 64 places have anything in them
 *
 * The parent of a node has the smaller place, so a pass from the last block to the first sees every
 * node after all that it is a caller of. The first `laid_count` places are laid out: a node is
 * followed by all that is below it, so that its callers are at hand when it is added to them, and
 * a service lies together. What came since is behind them, each node at the place of its number,
 * until it is so much that all are laid out anew when a question ends.
 */

#include "aggregator/named_stacks.h"

#include <pthread.h>
#include <string.h>

#include "core/id_map.h"
#include "profile/names.h"

#define GENERATIONS_MAX 64
#define BLOCK_BITS      6
#define BLOCK_NODES     (1u << BLOCK_BITS)

/* What one function is: names that a reader sees, or canonical ones. */
enum join { JOIN_READABLE, JOIN_CANONICAL, JOINS };

enum node_flag {
	NODE_OUTERMOST = 1, /* << join: of its name on its stack */
	NODE_IS_UNKNOWN = 1 << JOINS,
	NODE_IS_TRUNCATION = 2 << JOINS,
	NODE_IS_REWRITTEN = 4 << JOINS, /* of another canonical name */
};

enum frame_flag {
	FRAME_IS_REWRITTEN = 1, /* has another canonical name */
	FRAME_IS_UNKNOWN = 2,
	FRAME_IS_TRUNCATION = 4,
	FRAME_IS_MET = 8, /* rewritten, and in the question at hand */
};

/* By frame, for one side: what the pass adds to; zero between questions. */
struct frame_sums {
	uint64_t cum; /* of nodes that are the outermost of their name */
	uint64_t self;
};

struct generation_names {
	struct naming *naming; /* NULL: a free place */
	const struct dict *dict;
	uint32_t number;
	uint64_t used_at;
};

/* By name, for one side: what is seldom needed stands apart from what every node adds to. */
struct name_flats {
	uint64_t flat;
	uint64_t flat_unknown; /* of frames without a name */
	uint64_t flat_truncated;
	uint64_t cum_truncated;
};

/* What is gathered for a side. Arrays by node are NULL until somebody asks for that side. */
struct gathered {
	uint64_t *self, *total;
	uint8_t *touched;
	struct frame_sums *frames;
	uint64_t *cums; /* by name, as `flats` */
	struct name_flats *flats;
};

struct named_stacks {
	pthread_mutex_t lock; /* of all but what follows news_lock */
	uint64_t memory_max;
	struct dict *dict;
	struct generation_names generations[GENERATIONS_MAX];
	uint64_t uses;
	struct names *names[JOINS];
	/* By frame of the dict of functions. */
	uint32_t *frame_names[JOINS];
	uint8_t *frame_flags;
	uint64_t *frames_met; /* a bit for each with a sum of any side */
	uint32_t frames_count, frames_capacity;
	uint32_t *place_of; /* by node */
	/* By place. */
	struct node *nodes;
	uint8_t *flags;
	uint32_t laid_count;
	struct gathered gathered[ANSWER_SIDES_MAX];
	/* By block: which of its nodes stay in a tree, and how many do in the blocks before. */
	uint64_t *kept;
	uint32_t *kept_before;
	uint32_t nodes_count, nodes_capacity;
	/* A bit for each name with a cum of any side: others are zero. */
	uint64_t *names_met;
	uint32_t names_capacity;

	pthread_mutex_t news_lock;
	struct id_map *build_ids; /* that were looked up: only their symbols are news */
	bool has_news;
	struct named_stacks_state state;
};

/* Makes what is not there yet. -ENOMEM. */
int named_stacks_start(struct named_stacks *stacks);

/* The generation's naming; the longest unused one makes room. NULL when out of memory. */
struct naming *named_stacks_naming(
        struct named_stacks *stacks, uint32_t number, const struct dict *dict);

/* Names all stacks of the rows, which for most of them was done before. */
int named_stacks_name(struct named_stacks *stacks, struct naming *naming,
        struct naming_source *source, struct named_stacks_rows rows);

/*
 * What comes before everything else that is done with rows: names all of their stacks, and catches
 * up with what that has added to the dict of functions. -ENOMEM, -ENOSPC, and what the pause
 * returns.
 */
int named_stacks_prepare(struct named_stacks *stacks, struct naming_source *source,
        struct named_stacks_rows rows, struct naming **ret_naming);

/* Room for what is gathered for a side. -ENOMEM. */
int named_stacks_reserve_side(struct named_stacks *stacks, uint32_t side);

/* Room for names; met by none. -ENOMEM. */
int named_stacks_reserve_names(struct named_stacks *stacks, enum join join);

/*
 * Lays out all nodes, where enough of them came since that was done; between questions. Without
 * memory for it they stay as they are.
 */
void named_stacks_lay_out(struct named_stacks *stacks);

/* Everything that gathering has allocated. */
void named_stacks_drop_gathered(struct named_stacks *stacks);
size_t named_stacks_gathered_memory(const struct named_stacks *stacks);

/* Parts of an answer that are not there yet, by 1 << enum answer_part. -ENOMEM. */
int named_stacks_put_parts(struct answer *answer, uint32_t parts);

/* One of ANSWER_FLAWS. -ENOMEM, -ENOSPC. */
int named_stacks_put_flaw(const struct named_stacks_target *target, uint32_t side,
        enum frame_kind kind, uint64_t value);

static inline uint32_t named_stacks_blocks(const struct named_stacks *stacks)
{
	return (stacks->nodes_count + BLOCK_NODES - 1) / BLOCK_NODES;
}

/*
 * One side of the blocks, in variables of the pass: bytes that are written could lie anywhere, for
 * all that the compiler knows, and what is pointed to would be looked up again each time.
 */
struct carry {
	const uint64_t *self;
	uint64_t *total;
	uint8_t *touched;
};

static inline struct carry carry_of(const struct gathered *gathered)
{
	return (struct carry){ gathered->self, gathered->total, gathered->touched };
}

/* A node with everything below it is added to its caller. */
static inline uint64_t carry_node(struct carry carry, uint32_t node, uint32_t parent)
{
	uint64_t value = carry.total[node] + carry.self[node];
	if (value == 0)
		return 0;
	carry.total[node] = value;
	carry.total[parent] += value;
	carry.touched[parent >> BLOCK_BITS] = 1;
	return value;
}

/* Callers of other paths lie anywhere: they are asked for so many nodes before they are needed. */
#define CARRY_AHEAD 32

static inline void carry_prefetch(struct carry carry, const struct node *nodes, uint32_t node)
{
	uint32_t ahead = node > CARRY_AHEAD ? node - CARRY_AHEAD : 0;
	__builtin_prefetch(&carry.total[nodes[ahead].parent], 1);
}

static inline void named_stacks_clear_block(struct gathered *gathered, uint32_t block)
{
	size_t first = (size_t)block * BLOCK_NODES;
	gathered->touched[block] = 0;
	memset(gathered->self + first, 0, BLOCK_NODES * sizeof(uint64_t));
	memset(gathered->total + first, 0, BLOCK_NODES * sizeof(uint64_t));
}

static inline void named_stacks_meet(struct named_stacks *stacks, uint32_t name)
{
	stacks->names_met[name / 64] |= UINT64_C(1) << name % 64;
}

/* The first name from `name` on that was met, or ID_NONE. */
static inline uint32_t named_stacks_next_met(const struct named_stacks *stacks, uint32_t name)
{
	uint32_t words = stacks->names_capacity / 64;
	uint32_t word = name / 64;
	uint64_t bits = word < words ? stacks->names_met[word] >> name % 64 << name % 64 : 0;
	while (bits == 0 && ++word < words)
		bits = stacks->names_met[word];
	return bits ? word * 64 + (uint32_t)__builtin_ctzll(bits) : ID_NONE;
}
