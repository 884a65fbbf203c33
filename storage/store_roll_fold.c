/*
 * Tail folding: a stack that was seen less often than a bound in the whole window moves to its
 * deepest ancestor that was seen as often, itself and what was moved to it together.
 *
 * Nodes are gone through from the largest number down: a node's parent has a smaller one, so
 * whatever moves to a node is there before the node's turn comes. Nothing moves to the root, which
 * is no frame. What moved is counted per group by sum_merge().
 *
 *	visited   descending: every node that had something, and where that went: itself or its
 *	          parent
 *	heap      parents that something moved to and whose turn has not come
 */

#include <assert.h>
#include <errno.h>

#include "storage/store_roll_private.h"

#define FOLD_GATE_STEPS 4096 /* nodes in one visit to the gate */

struct fold_item {
	uint32_t node;
	uint64_t samples;
};

struct roll_fold {
	struct buf visited; /* u32: nodes, descending */
	struct buf to;      /* u32: where what each had is */
	struct buf heap;    /* struct fold_item, the largest node first */
};

void roll_fold_free(struct roll_fold *fold)
{
	if (!fold)
		return;
	buf_fini(&fold->visited);
	buf_fini(&fold->to);
	buf_fini(&fold->heap);
	free(fold);
}

static void fold_swap(struct fold_item *a, struct fold_item *b)
{
	struct fold_item kept = *a;
	*a = *b;
	*b = kept;
}

static void fold_push(struct roll_fold *fold, struct fold_item item)
{
	buf_put(&fold->heap, &item, sizeof(item));
	if (fold->heap.failed)
		return;
	struct fold_item *items = ARRAY(struct fold_item, fold->heap);
	for (size_t at = ARRAY_COUNT(struct fold_item, fold->heap) - 1; at > 0;) {
		size_t above = (at - 1) / 2;
		if (items[above].node >= items[at].node)
			break;
		fold_swap(&items[above], &items[at]);
		at = above;
	}
}

static void fold_pop(struct roll_fold *fold)
{
	struct fold_item *items = ARRAY(struct fold_item, fold->heap);
	size_t count = ARRAY_COUNT(struct fold_item, fold->heap) - 1;
	items[0] = items[count];
	fold->heap.count = count * sizeof(*items);
	for (size_t at = 0;;) {
		size_t largest = at;
		for (size_t below = 2 * at + 1; below <= 2 * at + 2 && below < count; below++)
			if (items[below].node > items[largest].node)
				largest = below;
		if (largest == at)
			break;
		fold_swap(&items[largest], &items[at]);
		at = largest;
	}
}

/* Where the going through stands. */
struct fold_at {
	const uint32_t *nodes;
	const uint64_t *totals;
	uint32_t left; /* of the dictionary, from its end */
	uint64_t below;
};

static bool fold_has_more(const struct roll_fold *fold, const struct fold_at *at)
{
	return at->left > 0 || fold->heap.count > 0;
}

/* The largest node that is left, and all that it has. In the gate. */
static void fold_step(struct roll_fold *fold, const struct dict *dict, struct fold_at *at)
{
	const struct fold_item *items = ARRAY(struct fold_item, fold->heap);
	uint32_t node = at->left > 0 ? at->nodes[at->left - 1] : 0;
	uint64_t samples = 0;
	if (fold->heap.count > 0 && items[0].node > node)
		node = items[0].node;
	if (at->left > 0 && at->nodes[at->left - 1] == node)
		samples += at->totals[--at->left];
	while (fold->heap.count > 0 && items[0].node == node) {
		samples += items[0].samples; /* a part of all samples, which fit */
		fold_pop(fold);
	}
	uint32_t parent = node == DICT_NODE_ROOT ? node : dict_get_node(dict, node).parent;
	uint32_t to = samples < at->below && parent != DICT_NODE_ROOT ? parent : node;
	buf_put(&fold->visited, &node, sizeof(node));
	buf_put(&fold->to, &to, sizeof(to));
	if (to != node)
		fold_push(fold, (struct fold_item){ to, samples });
}

/* Where a visited node lies. */
static size_t fold_find(const struct roll_fold *fold, uint32_t node)
{
	const uint32_t *visited = ARRAY(uint32_t, fold->visited);
	size_t first = 0;
	size_t end = ARRAY_COUNT(uint32_t, fold->visited);
	while (first < end) {
		size_t middle = first + (end - first) / 2;
		if (visited[middle] > node)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

/* From the smallest node on, whose own place is known: where what moved has come to rest. */
static void fold_settle(struct roll_fold *fold)
{
	const uint32_t *visited = ARRAY(uint32_t, fold->visited);
	uint32_t *to = ARRAY(uint32_t, fold->to);
	for (size_t i = ARRAY_COUNT(uint32_t, fold->visited); i > 0; i--)
		if (to[i - 1] != visited[i - 1])
			to[i - 1] = to[fold_find(fold, to[i - 1])];
}

int roll_fold_new(struct roll *roll, const uint32_t *nodes, const uint64_t *totals, uint32_t count,
        uint64_t below, struct roll_fold **ret_fold)
{
	struct fold_at at = { nodes, totals, count, below };
	struct roll_fold *fold = calloc(1, sizeof(*fold));
	if (!fold)
		return -ENOMEM;
	int r = 0;
	while (r == 0 && fold_has_more(fold, &at)) {
		gate_enter(&roll->store->gate);
		const struct generation *generation = store_generation(
		        roll->store, roll->dictionary);
		assert(generation); /* its windows are there: the caller has `sealing` */
		for (int i = 0; i < FOLD_GATE_STEPS && fold_has_more(fold, &at); i++) {
			fold_step(fold, generation->dict, &at);
			if (fold->heap.failed || fold->visited.failed || fold->to.failed) {
				r = -ENOMEM;
				break;
			}
		}
		gate_leave(&roll->store->gate);
	}
	if (r < 0) {
		roll_fold_free(fold);
		return r;
	}
	fold_settle(fold);
	*ret_fold = fold;
	return 0;
}

uint32_t roll_fold_node(void *owner, uint32_t node)
{
	const struct roll_fold *fold = owner;
	size_t at = fold_find(fold, node);
	return ARRAY(uint32_t, fold->to)[at];
}
