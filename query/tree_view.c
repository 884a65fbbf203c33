/*
 * The rows' own trie has a node per (caller, frame), and several frames may be one function. It is
 * summed first, from the last node to the root, so that parts without value are never copied; then
 * each node finds its place under the place of its parent, which always comes before it.
 */

#include "query/tree_view.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "profile/answer.h"

struct tree_view {
	struct names *names;
	struct id_map *children; /* (parent, name) -> number of the node - 1 */
	struct tree_view_node *nodes;
	uint32_t count;
	uint32_t capacity;
	uint64_t missing; /* nodes */
};

static int tree_view_append(struct tree_view *tree, uint32_t parent, uint32_t name)
{
	if (tree->count == ID_NONE)
		return -ENOSPC;
	if (tree->count == tree->capacity) {
		uint32_t capacity = tree->capacity ? tree->capacity + tree->capacity / 2 : 1024;
		struct tree_view_node *nodes = reallocarray(tree->nodes, capacity, sizeof(*nodes));
		if (!nodes)
			return -ENOMEM;
		tree->nodes = nodes;
		tree->capacity = capacity;
	}
	tree->nodes[tree->count++] = (struct tree_view_node){
		.parent = parent,
		.name = name,
		.first_child = ID_NONE,
		.next_sibling = ID_NONE,
		.depth = parent == ID_NONE ? 0 : tree->nodes[parent].depth + 1,
	};
	return 0;
}

struct tree_view *tree_view_new(struct names *names)
{
	AUTO(tree_view) tree = calloc(1, sizeof(*tree));
	if (!tree)
		return NULL;
	tree->names = names;
	tree->children = id_map_new(UINT32_MAX - 1);
	if (!tree->children || tree_view_append(tree, ID_NONE, ID_NONE) < 0)
		return NULL;
	return TAKE(tree);
}

void tree_view_free(struct tree_view *tree)
{
	if (!tree)
		return;
	id_map_free(tree->children);
	free(tree->nodes);
	free(tree);
}

static int tree_view_child(
        struct tree_view *tree, uint32_t parent, uint32_t name, uint32_t *ret_node)
{
	const uint32_t key[2] = { parent, name };
	uint32_t id;
	bool added;
	int result = id_map_intern(tree->children, hash128_bytes(key, sizeof(key)), &id, &added);
	if (result == 0 && added)
		result = tree_view_append(tree, parent, name);
	if (result == 0)
		*ret_node = id + 1;
	return result;
}

/* What a side has by node of its dict. */
struct tree_sums {
	uint64_t *self;
	uint64_t *total;    /* with everything below */
	uint64_t *missing;  /* NULL: nothing was cut */
	uint32_t *children; /* that are missing; likewise */
	uint32_t *place;    /* 0: root, or nowhere */
};

static void tree_sums_fini(struct tree_sums *sums)
{
	free(sums->self);
	free(sums->total);
	free(sums->missing);
	free(sums->children);
	free(sums->place);
}

static int tree_sums_init(struct tree_sums *sums, uint32_t count, bool is_cut)
{
	sums->self = calloc(count, sizeof(*sums->self));
	sums->total = calloc(count, sizeof(*sums->total));
	sums->place = calloc(count, sizeof(*sums->place));
	sums->missing = is_cut ? calloc(count, sizeof(*sums->missing)) : NULL;
	sums->children = is_cut ? calloc(count, sizeof(*sums->children)) : NULL;
	bool failed = !sums->self || !sums->total || !sums->place;
	return failed || (is_cut && (!sums->missing || !sums->children)) ? -ENOMEM : 0;
}

/* Rows of one kind onto their nodes; *all is what has been added so far. */
static int tree_sums_add(const struct batch *batch, const bool *chosen, uint64_t *all, uint64_t *to)
{
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		uint64_t value;
		if (chosen && !chosen[row->series])
			continue;
		if (__builtin_mul_overflow(row->value,
		            dict_get_series(batch->dict, row->series)->period, &value) ||
		        __builtin_add_overflow(*all, value, all))
			return -EOVERFLOW;
		to[row->node] += value;
	}
	return 0;
}

/* Own values, and with everything below. */
static int tree_view_sum(const struct batch *batch, const struct batch *const *parts,
        const bool *chosen, struct tree_sums *sums)
{
	uint64_t all = 0;
	uint32_t count = dict_mark(batch->dict).nodes;
	int result = tree_sums_add(batch, chosen, &all, sums->self);
	if (result == 0 && sums->missing)
		result = tree_sums_add(parts[ANSWER_CUT], chosen, &all, sums->missing);
	if (result < 0)
		return result;
	const struct batch *children = sums->missing ? parts[ANSWER_CUT_CHILDREN] : NULL;
	for (uint32_t i = 0; children && i < children->rows_count; i++)
		if (!chosen || chosen[children->rows[i].series])
			sums->children[children->rows[i].node] += (uint32_t)children->rows[i].value;

	memcpy(sums->total, sums->self, count * sizeof(*sums->total));
	for (uint32_t node = 0; node < count && sums->missing; node++)
		sums->total[node] += sums->missing[node];
	for (uint32_t node = count; node-- > 1;)
		sums->total[dict_get_node(batch->dict, node).parent] += sums->total[node];
	return 0;
}

static void tree_view_put_node(
        struct tree_view_node *to, uint32_t side, const struct tree_sums *sums, uint32_t node)
{
	to->self[side] += sums->self[node];
	if (!sums->missing)
		return;
	to->missing[side] += sums->missing[node];
	if (sums->children[node] > to->missing_children)
		to->missing_children = sums->children[node];
}

int tree_view_add_cut(struct tree_view *tree, uint32_t side, const struct batch *batch,
        const struct batch *const *parts, const bool *chosen)
{
	assert(side < 2);

	const struct dict *dict = batch->dict;
	uint32_t count = dict_mark(dict).nodes;
	autofree uint32_t *name_of_frame = NULL;
	int result = names_of_dict(tree->names, dict, &name_of_frame);
	if (result < 0)
		return result;
	__attribute__((cleanup(tree_sums_fini))) struct tree_sums sums = { 0 };
	result = tree_sums_init(&sums, count, parts && parts[ANSWER_CUT]);
	if (result == 0)
		result = tree_view_sum(batch, parts, chosen, &sums);
	if (result < 0)
		return result;

	tree_view_put_node(&tree->nodes[0], side, &sums, 0);
	for (uint32_t node = 1; node < count; node++) {
		if (sums.total[node] == 0)
			continue;
		struct node step = dict_get_node(dict, node);
		result = tree_view_child(tree, sums.place[step.parent], name_of_frame[step.frame],
		        &sums.place[node]);
		if (result < 0)
			return result;
		tree_view_put_node(&tree->nodes[sums.place[node]], side, &sums, node);
	}
	uint64_t missing = 0;
	const struct batch *nodes = parts && sums.missing ? parts[ANSWER_CUT_NODES] : NULL;
	for (uint32_t i = 0; nodes && i < nodes->rows_count; i++)
		if (!chosen || chosen[nodes->rows[i].series])
			missing += nodes->rows[i].value;
	tree->missing = missing > tree->missing ? missing : tree->missing;
	return 0;
}

int tree_view_add(
        struct tree_view *tree, uint32_t side, const struct batch *batch, const bool *chosen)
{
	return tree_view_add_cut(tree, side, batch, NULL, chosen);
}

uint64_t tree_view_missing(const struct tree_view *tree)
{
	return tree->missing;
}

static int tree_view_compare(const void *left, const void *right, void *opaque)
{
	const struct tree_view *tree = opaque;
	const struct tree_view_node *a = &tree->nodes[*(const uint32_t *)left];
	const struct tree_view_node *b = &tree->nodes[*(const uint32_t *)right];
	if (a->parent != b->parent)
		return a->parent < b->parent ? -1 : 1;

	unsigned __int128 sum_a = (unsigned __int128)a->total[0] + a->total[1];
	unsigned __int128 sum_b = (unsigned __int128)b->total[0] + b->total[1];
	if (sum_a != sum_b)
		return sum_a > sum_b ? -1 : 1;
	return names_compare(tree->names, a->name, b->name);
}

int tree_view_sort(struct tree_view *tree)
{
	for (uint32_t i = 0; i < tree->count; i++) {
		for (int side = 0; side < 2; side++)
			tree->nodes[i].total[side] = tree->nodes[i].self[side] +
			                             tree->nodes[i].missing[side];
		tree->nodes[i].first_child = ID_NONE;
		tree->nodes[i].next_sibling = ID_NONE;
	}
	for (uint32_t i = tree->count; i-- > 1;)
		for (int side = 0; side < 2; side++)
			tree->nodes[tree->nodes[i].parent].total[side] +=
			        tree->nodes[i].total[side];

	assert(tree->count > 0); /* The root is always there. */
	autofree uint32_t *order = calloc(tree->count, sizeof(*order));
	if (!order)
		return -ENOMEM;
	for (uint32_t i = 1; i < tree->count; i++)
		order[i - 1] = i;
	if (tree->count > 2)
		qsort_r(order, tree->count - 1, sizeof(*order), tree_view_compare, tree);

	/* Sorted by (parent, place): pushed in front from the last on, each list comes out right.
	 */
	for (uint32_t i = tree->count - 1; i-- > 0;) {
		struct tree_view_node *node = &tree->nodes[order[i]];
		struct tree_view_node *parent = &tree->nodes[node->parent];
		node->next_sibling = parent->first_child;
		parent->first_child = order[i];
	}
	return 0;
}

uint32_t tree_view_count(const struct tree_view *tree)
{
	return tree->count;
}

const struct tree_view_node *tree_view_get(const struct tree_view *tree, uint32_t node)
{
	assert(node < tree->count);
	return &tree->nodes[node];
}

uint32_t tree_view_skip(const struct tree_view *tree, uint32_t node)
{
	while (node != ID_NONE && tree->nodes[node].next_sibling == ID_NONE)
		node = tree->nodes[node].parent;
	return node == ID_NONE ? ID_NONE : tree->nodes[node].next_sibling;
}

uint32_t tree_view_next(const struct tree_view *tree, uint32_t node)
{
	uint32_t child = tree->nodes[node].first_child;
	return child != ID_NONE ? child : tree_view_skip(tree, node);
}
