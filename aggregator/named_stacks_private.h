#pragma once

/*
 * What the files of named_stacks share: named_stacks.c keeps the names of generations,
 * named_stacks_gather.c the dict of functions with what is gathered on it, named_stacks_layout.c
 * where its nodes lie, and named_stacks_functions.c and named_stacks_tree.c make answers of that.
 *
 * Nodes of the dict of functions have places, by which there are:
 *
 *	nodes    [ r a a b b ]    parent (a place) and frame
 *	traits   [ . o . o o ]    outermost of its name on its stack, without a name, ..., its depth
 *	self     [ 0 7 0 3 0 ]    by side: what ends here; zero between questions
 *	total    [ 0 0 0 0 9 ]    by side: what behind the laid part ends below; likewise
 *	touched  [ 1 0 ]          by side: which blocks of 64 places have anything in them
 *
 * The first `laid_count` places are laid out: a node is followed by all that is below it, and a
 * service lies together. A pass from the last of them to the first has met all that is below a node
 * when it comes to the node, and everything that still waits for a caller waits for one on the way
 * from there to the root: one number for each depth (`below`), of which a node takes what waits at
 * the depth behind its own, and adds what it comes to at its own. So a pass reads what was gathered
 * and how deep it lies, one behind the other, and nothing else.
 *
 * What came since is behind them, each node at the place of its number, which is greater than that
 * of its parent: there each is added to its caller, whose place is looked up. That is also the way
 * of what is too deep to be laid out. When it is so much that it is worth it, all are laid out
 * anew as a question ends.
 */

#include "aggregator/named_stacks.h"

#include <pthread.h>
#include <string.h>

#include "core/fetch.h"
#include "core/id_map.h"
#include "profile/names.h"

#define GENERATIONS_MAX 64
#define BLOCK_BITS      6
#define BLOCK_NODES     (1u << BLOCK_BITS)

/* What one function is: names that a reader sees, or canonical ones. */
enum join { JOIN_READABLE, JOIN_CANONICAL, JOINS };

enum node_trait {
	NODE_OUTERMOST = 1, /* << join: of its name on its stack */
	NODE_IS_UNKNOWN = 1 << JOINS,
	NODE_IS_TRUNCATION = 2 << JOINS,
};

/* In the bits beyond: the depth of what is laid out; the root's is 0. */
#define NODE_DEPTH_SHIFT (JOINS + 2)
#define NODE_DEPTH_MAX   (UINT16_MAX >> NODE_DEPTH_SHIFT)

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
	uint32_t *places; /* by node of the dict, where rows had it, or ID_NONE */
	uint32_t places_count;
};

/* By name, for one side: what is seldom needed stands apart from what every node adds to. */
struct name_flats {
	uint64_t flat;
	uint64_t flat_unknown; /* of frames without a name */
	uint64_t flat_truncated;
	uint64_t cum_truncated;
};

/* By name: the node that it has in the answer of this number. */
struct name_put {
	uint64_t answer;
	uint32_t node;
};

/* What nodes of one depth come to that wait for their caller. */
struct below {
	uint64_t value;
	uint64_t callees; /* that come to anything */
};

/* Of a block of places, for a side. */
enum touched {
	TOUCHED_SELF = 1,
	TOUCHED_TOTAL = 2,
};

/* What is gathered for a side. Arrays by node are NULL until somebody asks for that side. */
struct gathered {
	uint64_t *self, *total;
	uint8_t *touched;
	struct below *below; /* by depth; zero between questions */
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
	uint16_t *traits; /* enum node_trait, and the depth */
	uint32_t laid_count;
	uint32_t laid_of; /* nodes that there were then, too deep ones included */
	struct gathered gathered[ANSWER_SIDES_MAX];
	/*
	 * By block: which of its nodes stay in a tree, none between questions; and how many do in
	 * the blocks before, where any of its own does.
	 */
	uint64_t *kept;
	uint32_t *kept_before;
	uint32_t nodes_count, nodes_capacity;
	/* A bit for each name with a cum of any side: others are zero. */
	uint64_t *names_met;
	struct name_put *name_puts;
	uint32_t names_capacity;
	uint64_t answer_number; /* of the answer at hand; numbers are not used again */

	pthread_mutex_t news_lock;
	struct id_map *build_ids; /* that were looked up: only their symbols are news */
	bool has_news;
	struct named_stacks_state state;
};

static inline uint32_t named_stacks_rows_node(const struct named_stacks_rows *rows, uint32_t i)
{
	return rows->rows ? rows->rows[i].node : rows->nodes[i];
}

/* Makes what is not there yet. -ENOMEM. */
int named_stacks_start(struct named_stacks *stacks);

/* The generation's names; the longest unused one makes room. NULL when out of memory. */
struct generation_names *named_stacks_generation(
        struct named_stacks *stacks, uint32_t number, const struct dict *dict);

/* Names all stacks of the rows. */
int named_stacks_name(struct named_stacks *stacks, struct naming *naming,
        struct naming_source *source, struct named_stacks_rows rows);

/*
 * What comes before everything else that is done with rows: names all of their stacks, and catches
 * up with what that has added to the dict of functions. -ENOMEM, -ENOSPC, and what the pause
 * returns.
 */
int named_stacks_prepare(struct named_stacks *stacks, struct naming_source *source,
        struct named_stacks_rows rows, struct generation_names **ret_names);

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
 * One side of the places, in variables of the pass: bytes that are written could lie anywhere, for
 * all that the compiler knows, and what is pointed to would be looked up again each time.
 */
struct carry {
	uint64_t *self;
	uint64_t *total;
	uint8_t *touched;
	struct below *below;
};

static inline struct carry carry_of(const struct gathered *gathered)
{
	return (struct carry){ gathered->self, gathered->total, gathered->touched,
		gathered->below };
}

/* A node behind the laid part, with everything below it, is added to its caller. */
static inline uint64_t carry_node(struct carry carry, uint32_t node, uint32_t parent)
{
	uint64_t value = carry.total[node] + carry.self[node];
	if (value == 0)
		return 0;
	carry.total[node] = value;
	carry.total[parent] += value;
	carry.touched[parent >> BLOCK_BITS] |= TOUCHED_TOTAL;
	return value;
}

/* Callers of these lie anywhere: they are asked for so many nodes before they are needed. */
#define CARRY_AHEAD 32

static inline void carry_prefetch(struct carry carry, const struct node *nodes, uint32_t node)
{
	uint32_t ahead = node > CARRY_AHEAD ? node - CARRY_AHEAD : 0;
	fetch_to_write(&carry.total[nodes[ahead].parent]);
}

/* A node of the laid part, of its depth; `total` is what else ends below it. */
static inline uint64_t carry_laid(
        struct carry carry, uint32_t node, uint32_t depth, uint64_t total, uint64_t *ret_callees)
{
	struct below *below = &carry.below[depth + 1];
	uint64_t value = carry.self[node] + total + below->value;
	if (value == 0)
		return 0;
	*ret_callees = below->callees;
	*below = (struct below){ 0 };
	carry.below[depth].value += value;
	carry.below[depth].callees++;
	return value;
}

/*
 * The parts of a block: [first, laid) is laid out, [behind, end) is not. The root is in neither: it
 * has no caller.
 */
struct block_parts {
	uint32_t first, laid, behind, end;
};

static inline struct block_parts block_parts_of(const struct named_stacks *stacks, uint32_t block)
{
	uint32_t first = block * BLOCK_NODES;
	uint32_t end = first + BLOCK_NODES;
	end = end < stacks->nodes_count ? end : stacks->nodes_count;
	first = first ? first : 1;
	uint32_t middle = stacks->laid_count < first ? first : stacks->laid_count;
	middle = middle < end ? middle : end;
	return (struct block_parts){ first, middle, middle, end };
}

/* What of the block's laid part has more below it than lies behind it there: zeroes or totals. */
static inline const uint64_t *carry_totals(struct carry carry, uint32_t block)
{
	static const uint64_t zeroes[BLOCK_NODES];
	return carry.touched[block] & TOUCHED_TOTAL ? carry.total + (size_t)block * BLOCK_NODES
	                                            : zeroes;
}

/*
 * The laid part of a block is done for this side, and zero again. What waits in `below` waits for
 * callers of its first node: the block of the next one is looked at, whatever ends in it.
 */
static inline void carry_end_laid(
        struct carry carry, const struct node *nodes, uint32_t block, struct block_parts parts)
{
	if (parts.laid == parts.first)
		return;
	size_t bytes = (parts.laid - parts.first) * sizeof(uint64_t);
	memset(carry.self + parts.first, 0, bytes);
	if (carry.touched[block] & TOUCHED_TOTAL)
		memset(carry.total + parts.first, 0, bytes);
	carry.touched[nodes[parts.first].parent >> BLOCK_BITS] |= TOUCHED_SELF;
}

/* The root at last: it is zero again. What it comes to. */
static inline uint64_t carry_root(struct carry carry, uint64_t *ret_self, uint64_t *ret_callees)
{
	uint64_t value = carry.self[DICT_NODE_ROOT] + carry.total[DICT_NODE_ROOT] +
	                 carry.below[1].value;
	*ret_self = carry.self[DICT_NODE_ROOT];
	*ret_callees = carry.below[1].callees;
	carry.self[DICT_NODE_ROOT] = carry.total[DICT_NODE_ROOT] = 0;
	carry.below[1] = (struct below){ 0 };
	return value;
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
