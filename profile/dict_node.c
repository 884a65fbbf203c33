/*
 * How a node is found by (parent, frame). Most of a trie is chains: a stack that branches off
 * somewhere brings the rest of its path at once, so that its nodes lie one behind the other. A node
 * whose id follows its parent's is found by looking there; only the others, about one for each
 * stack, are in a table:
 *
 *	nodes  [ root  a<root  b<a  c<b | d<a  e<d | f<b ]     x<y: x's parent is y
 *	slots  [ . d . . f . . ]                               (parent, frame) -> id; 0 is empty
 *
 * So a new path is appended without touching the table but once, and walking a known one goes
 * through memory in order. A node's hash is not kept: whoever wants it pays for the way to the
 * root.
 *
 * Ids are chosen by whoever sends us stacks, and enough of them that end in one place would make
 * one long run of the table: each dict draws two odd numbers for itself that nobody knows
 * (core/id_map.c has the same).
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/fetch.h"
#include "core/rng.h"
#include "profile/dict_private.h"

#define NODE_SLOTS_FIRST_BITS   6
#define NODES_FETCHED           8 /* with one of them */
#define NODE_SECRET_WITHOUT_RNG UINT64_C(0x9e3779b97f4a7c15)

int dict_nodes_init(struct dict_nodes *nodes)
{
	nodes->secrets[0] = NODE_SECRET_WITHOUT_RNG;
	(void)rng_os_bytes(nodes->secrets, sizeof(nodes->secrets));
	nodes->secrets[0] |= 1;
	nodes->secrets[1] |= 1;
	nodes->slots_bits = NODE_SLOTS_FIRST_BITS;
	nodes->slots = calloc(UINT64_C(1) << nodes->slots_bits, sizeof(*nodes->slots));
	return nodes->slots ? 0 : -ENOMEM;
}

void dict_nodes_fini(struct dict_nodes *nodes)
{
	free(nodes->all);
	free(nodes->chains);
	free(nodes->firsts);
	free(nodes->slots);
}

void dict_nodes_reset(struct dict_nodes *nodes)
{
	memset(nodes->slots, 0, (UINT64_C(1) << nodes->slots_bits) * sizeof(*nodes->slots));
	nodes->slots_used = 0;
	nodes->count = 0;
}

size_t dict_nodes_memory(const struct dict_nodes *nodes)
{
	return nodes->capacity * sizeof(*nodes->all) +
	       nodes->chains_capacity * sizeof(*nodes->chains) +
	       nodes->firsts_capacity * sizeof(*nodes->firsts) +
	       (UINT64_C(1) << nodes->slots_bits) * sizeof(*nodes->slots);
}

static bool node_equal(struct node a, struct node b)
{
	return a.parent == b.parent && a.frame == b.frame;
}

/* Node 0 has no parent, and nobody looks for it. */
static bool node_is_in_table(const struct dict_nodes *nodes, uint32_t id)
{
	return id != DICT_NODE_ROOT && nodes->all[id].parent != id - 1;
}

/* Where its run begins. */
static inline uint64_t node_place(const struct dict_nodes *nodes, struct node node)
{
	uint64_t mixed = node.parent * nodes->secrets[0] + node.frame * nodes->secrets[1];
	return mixed >> (64 - nodes->slots_bits);
}

/* The slot that holds the node, or the empty one where it belongs. */
static uint32_t *node_slot(const struct dict_nodes *nodes, struct node node)
{
	uint64_t mask = (UINT64_C(1) << nodes->slots_bits) - 1;
	for (uint64_t i = node_place(nodes, node);; i++) {
		uint32_t *slot = &nodes->slots[i & mask];
		if (*slot == 0 || node_equal(nodes->all[*slot], node))
			return slot;
	}
}

/* Where one belongs that is not there: nobody need ask what the others in its run are. */
static uint32_t *node_empty_slot(const struct dict_nodes *nodes, struct node node)
{
	uint64_t mask = (UINT64_C(1) << nodes->slots_bits) - 1;
	uint64_t i = node_place(nodes, node);
	while (nodes->slots[i & mask] != 0)
		i++;
	return &nodes->slots[i & mask];
}

static int node_grow_slots(struct dict_nodes *nodes, unsigned int bits)
{
	uint32_t *slots = calloc(UINT64_C(1) << bits, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(nodes->slots);
	nodes->slots = slots;
	nodes->slots_bits = bits;
	for (uint32_t id = 0; id < nodes->count; id++) {
		if (node_is_in_table(nodes, id))
			*node_empty_slot(nodes, nodes->all[id]) = id;
	}
	return 0;
}

uint32_t dict_nodes_chains(const struct dict_nodes *nodes)
{
	return nodes->slots_used + (nodes->count > 0);
}

/* For so many more, each of which may begin a chain. */
static int node_make_room(struct dict_nodes *nodes, uint32_t count)
{
	uint64_t wanted = (uint64_t)nodes->count + count;
	uint64_t firsts_wanted = (uint64_t)dict_nodes_chains(nodes) + count;
	if (wanted <= nodes->capacity && firsts_wanted <= nodes->firsts_capacity &&
	        wanted / DICT_CHAINS_NODES < nodes->chains_capacity)
		return 0;
	struct node *all = dict_grow(nodes->all, &nodes->capacity, wanted, sizeof(*all));
	if (!all)
		return -ENOMEM;
	nodes->all = all;
	struct dict_chains *chains = dict_grow(nodes->chains, &nodes->chains_capacity,
	        wanted / DICT_CHAINS_NODES + 1, sizeof(*chains));
	if (!chains)
		return -ENOMEM;
	nodes->chains = chains;
	uint32_t *firsts = dict_grow(
	        nodes->firsts, &nodes->firsts_capacity, firsts_wanted, sizeof(*firsts));
	if (!firsts)
		return -ENOMEM;
	nodes->firsts = firsts;
	return 0;
}

/* As if none of them followed its parent. */
int dict_nodes_reserve(struct dict_nodes *nodes, uint32_t count)
{
	unsigned int bits = nodes->slots_bits;
	int r = node_make_room(nodes, count);
	while ((uint64_t)nodes->slots_used + count > UINT64_C(1) << (bits - 1))
		bits++;
	return r == 0 && bits > nodes->slots_bits ? node_grow_slots(nodes, bits) : r;
}

/* Of the next node, before it counts. One that has a slot is counted by it already. */
static void node_note_chain(struct dict_nodes *nodes, bool is_first)
{
	struct dict_chains *chains = &nodes->chains[nodes->count / DICT_CHAINS_NODES];
	uint32_t place = nodes->count % DICT_CHAINS_NODES;
	uint32_t before = dict_nodes_chains(nodes) - (is_first && nodes->count > 0);
	if (place == 0)
		*chains = (struct dict_chains){ .before = before };
	if (is_first) {
		chains->firsts |= UINT64_C(1) << place;
		nodes->firsts[before] = nodes->count;
	}
}

uint32_t dict_nodes_find_in_table(const struct dict_nodes *nodes, struct node node)
{
	uint32_t slot = *node_slot(nodes, node);
	return slot == 0 ? ID_NONE : slot;
}

void dict_nodes_fetch(const struct dict_nodes *nodes, struct node node)
{
	fetch(&nodes->all[node.parent] + 1);
	fetch(&nodes->slots[node_place(nodes, node)]);
}

void dict_nodes_fetch_found(const struct dict_nodes *nodes, struct node node)
{
	uint64_t mask = (UINT64_C(1) << nodes->slots_bits) - 1;
	uint64_t place = node_place(nodes, node);
	const struct node *found = &nodes->all[nodes->slots[place]];
	fetch(found);
	/* What is below it mostly follows it. */
	fetch(found + NODES_FETCHED);
	/* A run of two is frequent, one of three is not. */
	fetch(&nodes->all[nodes->slots[(place + 1) & mask]]);
}

/* `slot` is where it belongs, or NULL where it follows its parent. */
static int node_append(struct dict_nodes *nodes, struct node node, uint32_t *slot, uint32_t limit,
        uint32_t *ret_id)
{
	if (nodes->count >= limit)
		return -ENOSPC;
	int r = node_make_room(nodes, 1);
	if (r < 0)
		return r;
	if (slot && (uint64_t)nodes->slots_used + 1 > UINT64_C(1) << (nodes->slots_bits - 1)) {
		r = node_grow_slots(nodes, nodes->slots_bits + 1);
		if (r < 0)
			return r;
		slot = node_empty_slot(nodes, node);
	}
	if (slot) {
		*slot = nodes->count;
		nodes->slots_used++;
	}
	nodes->all[nodes->count] = node;
	node_note_chain(nodes, slot || nodes->count == 0);
	*ret_id = nodes->count++;
	return 0;
}

int dict_nodes_add(struct dict_nodes *nodes, struct node node, uint32_t limit, uint32_t *ret_id)
{
	uint32_t next = node.parent + 1;
	/* Of the newest node all children are to come. */
	if (next >= nodes->count)
		return node_append(nodes, node, NULL, limit, ret_id);
	if (node_equal(nodes->all[next], node)) {
		*ret_id = next;
		return 0;
	}
	uint32_t *slot = node_slot(nodes, node);
	if (*slot == 0)
		return node_append(nodes, node, slot, limit, ret_id);
	*ret_id = *slot;
	return 0;
}

int dict_nodes_add_new(struct dict_nodes *nodes, struct node node, uint32_t limit, uint32_t *ret_id)
{
	bool follows = node.parent + 1 >= nodes->count;
	uint32_t *slot = follows ? NULL : node_empty_slot(nodes, node);
	return node_append(nodes, node, slot, limit, ret_id);
}

/*
 * The newest entry was put into the first empty slot of its run, and everything before it already
 * had its place: emptying the slots in reverse order of insertion leaves every run as it was, also
 * where the table grew in between, since then it was filled in order of the ids too.
 */
void dict_nodes_truncate(struct dict_nodes *nodes, uint32_t count)
{
	assert(count <= nodes->count);
	while (nodes->count > count) {
		uint32_t id = nodes->count - 1;
		if (node_is_in_table(nodes, id)) {
			*node_slot(nodes, nodes->all[id]) = 0;
			nodes->slots_used--;
		}
		nodes->count--;
	}
	if (count % DICT_CHAINS_NODES > 0)
		nodes->chains[count / DICT_CHAINS_NODES].firsts &=
		        (UINT64_C(1) << count % DICT_CHAINS_NODES) - 1;
}
