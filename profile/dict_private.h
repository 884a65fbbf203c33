#pragma once

/*
 * What the files of dict share: dict.c keeps the things (frame_table.c the frames, dict_node.c the
 * trie), dict_codec.c writes and reads them, dict_packer.c in fewer bytes (dict_model.c foretells
 * them), dict_remap.c carries them from one dict to another.
 */

#include "profile/dict.h"
#include "profile/frame_table.h"

struct string_entry {
	uint64_t offset : 48;
	uint64_t count : 16;
};

/*
 * Which of 64 nodes begin a chain: do not follow their parent. Chains are numbered in order, so
 * that a node's chain is found by counting from here.
 */
struct dict_chains {
	uint64_t firsts;
	uint32_t before; /* chains that begin before these nodes */
};

#define DICT_CHAINS_NODES 64

/* The trie: nodes by id, and where to look for those that do not follow their parent (dict_node.c).
 */
struct dict_nodes {
	struct node *all;
	struct dict_chains *chains; /* of 64 nodes each */
	uint32_t *firsts;           /* the first node of each chain */
	uint32_t count, capacity, chains_capacity, firsts_capacity;
	uint32_t *slots;
	uint32_t slots_used;
	unsigned int slots_bits;
	uint64_t secrets[2]; /* odd, for the two halves of a node */
};

struct dict {
	struct dict_limits limits;
	struct dict_mark count;
	uint64_t serial;      /* of no other dict of this process */
	uint64_t truncations; /* how often ids were taken back: a remap must not trust older ones */

	struct id_map *string_ids;
	struct id_map *module_ids;
	struct id_map *frame_ids;
	struct id_map *series_ids;

	char *bytes; /* every string with a zero behind it */
	size_t bytes_count, bytes_capacity;
	struct string_entry *strings;
	struct module *modules;
	struct frame_table frames;
	struct dict_nodes nodes;
	struct series *series;
	struct label *labels;
	uint32_t strings_capacity;
	uint32_t modules_capacity;
	uint32_t series_capacity;
	uint32_t labels_count, labels_capacity;
};

/* The array with room for `needed`, or NULL and the old one is still good. */
void *dict_grow(void *array, uint32_t *capacity, uint64_t needed, size_t each);

/* In each _add the hash must be the content's: it is what finds the thing from now on. */
int dict_string_add(
        struct dict *dict, struct hash128 hash, const char *bytes, size_t count, uint32_t *ret_id);
int dict_module_add(struct dict *dict, struct hash128 hash, struct module module, uint32_t *ret_id);
int dict_frame_add(struct dict *dict, struct hash128 hash, struct frame frame, uint32_t *ret_id);
/* Adds up to so many, each of which must be new: -EBADMSG. -EINVAL, -ENOSPC, -ENOMEM. */
#define DICT_FRAMES_AT_ONCE 32
int dict_frames_add(struct dict *dict, const struct frame *frames, uint32_t count);
/* `labels` must not lie in the dict: they are copied after its arrays may have moved. */
int dict_series_add(struct dict *dict, struct hash128 hash, struct series series,
        const struct label *labels, uint32_t labels_count, uint32_t *ret_id);

/* Finds or adds; parent and frame exist. -ENOSPC, -ENOMEM. */
int dict_node_add(struct dict *dict, struct node node, uint32_t *ret_id);

int dict_nodes_init(struct dict_nodes *nodes);
void dict_nodes_fini(struct dict_nodes *nodes);
void dict_nodes_reset(struct dict_nodes *nodes);
size_t dict_nodes_memory(const struct dict_nodes *nodes);
uint32_t dict_nodes_find_in_table(const struct dict_nodes *nodes, struct node node);
/* ID_NONE: it is not there. Most nodes follow their parent, and are found without a call. */
static inline uint32_t dict_nodes_find(const struct dict_nodes *nodes, struct node node)
{
	uint32_t next = node.parent + 1;
	if (next >= nodes->count)
		return ID_NONE;
	if (nodes->all[next].parent == node.parent && nodes->all[next].frame == node.frame)
		return next;
	return dict_nodes_find_in_table(nodes, node);
}
int dict_nodes_add(struct dict_nodes *nodes, struct node node, uint32_t limit, uint32_t *ret_id);
/* One that is known not to be there, as its parent was added a moment ago. */
int dict_nodes_add_new(
        struct dict_nodes *nodes, struct node node, uint32_t limit, uint32_t *ret_id);
void dict_nodes_truncate(struct dict_nodes *nodes, uint32_t count);
int dict_nodes_reserve(struct dict_nodes *nodes, uint32_t count);
/* Will be looked for; will be looked for soon, and was fetched. */
void dict_nodes_fetch(const struct dict_nodes *nodes, struct node node);
void dict_nodes_fetch_found(const struct dict_nodes *nodes, struct node node);
/* The first node of the chain that a node is of. */
static inline uint32_t dict_nodes_first(const struct dict_nodes *nodes, uint32_t id)
{
	const struct dict_chains *chains = &nodes->chains[id / DICT_CHAINS_NODES];
	uint64_t firsts = chains->firsts &
	                  (~UINT64_C(0) >> (DICT_CHAINS_NODES - 1 - id % DICT_CHAINS_NODES));
	return nodes->firsts[chains->before + (uint32_t)__builtin_popcountll(firsts) - 1];
}
/* How many chains there are; the root begins the first. */
uint32_t dict_nodes_chains(const struct dict_nodes *nodes);

/* Labels as they must be stored. */
int dict_series_sorted(struct dict *dict, const struct series *series, const struct label *labels,
        uint32_t labels_count, uint32_t *ret_id);

/*
 * Parts of an encoding (dict_codec.c): which range it is of; strings and modules; series. The least
 * bytes that a frame and a node take are the caller's, as they are written in more than one way.
 */
struct dict_least {
	uint64_t frame, node;
};
void dict_encode_head(const struct dict *dict, struct dict_mark from, struct buf *to);
void dict_encode_names(const struct dict *dict, struct dict_mark from, struct buf *to);
void dict_encode_series(const struct dict *dict, struct dict_mark from, struct buf *to);
/* `text`: who holds what is checked against the counts, `from` itself where that is all of it. */
int dict_decode_head(const struct dict *dict, struct dict_least least, struct reader *from,
        const struct reader *text, struct dict_mark *ret_added);
int dict_decode_names(struct dict *dict, struct dict_mark added, struct reader *from);
int dict_decode_series(struct dict *dict, uint32_t count, struct reader *from);

/* A zeroed mark means the beginning, where the first entries already are. */
struct dict_mark dict_mark_from_first(struct dict_mark mark);
bool dict_mark_is_within(struct dict_mark mark, struct dict_mark count);
bool dict_mark_equal(struct dict_mark a, struct dict_mark b);
