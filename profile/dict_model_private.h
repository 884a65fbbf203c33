#pragma once

/*
 * dict_model foretells the nodes of a dict and their frames from all nodes before them. It knows
 * no bytes: dict_packer.c codes what is as foretold in next to nothing, and has it learn each node
 * afterwards.
 *
 *	parent   mostly the node before; otherwise how far back
 *	frame    what was below the same two functions the last time   (callees)
 *	         and if that was of another build: what it became here  (twins)
 *	         else a frame that no node has yet, or one of its module, by rank
 *
 * A rank is a place in the list of a module's frames, in which a frame moves half way to the front
 * each time it is asked for, so that small ranks are frequent.
 *
 * Tables are of fixed size and forget: a slot has what came last. All that is learned follows from
 * the nodes alone. A zeroed model knows nothing; dict_model_begin() takes its first memory. A model
 * without memory for something new has failed and is to be reset.
 */

#include "core/range_code.h"
#include "profile/dict.h"

#define MODEL_PAST         27 /* three nodes, each of which was foretold, not, or had no hint */
#define MODEL_MODULE_BITS  8
#define MODEL_MODULE_OTHER ((1u << MODEL_MODULE_BITS) - 1)
#define MODEL_WIDTHS       128 /* of numbers of up to 64 bits: a tree of 7 bits */
#define MODEL_WIDTH_BITS   7
#define MODEL_RANK_BITS    5

/* What the frame of the newest node was before that. */
enum newest {
	NEWEST_CALLER,     /* some node was below one that has it */
	NEWEST_NOT_CALLER, /* none was */
	NEWEST_NEW,
	NEWESTS,
};

/* What a new frame is like. */
enum likeness {
	LIKE_TWIN, /* what was called here before: the same function of another build */
	LIKE_KIN,  /* a frame of the same function */
	LIKE_NOTHING,
	LIKENESSES,
};

struct number_chances {
	range_chance width[MODEL_WIDTHS];
	range_chance second[65]; /* the bit below the highest one, by width */
};

struct frame_chances {
	range_chance is_alike; /* kind and flags */
	range_chance kind[256];
	range_chance module; /* is as expected */
	range_chance file;   /* likewise */
	range_chance file_is_old;
	range_chance system_name; /* likewise */
	struct number_chances address;
	struct number_chances line;
	struct number_chances start_line;
	struct number_chances column;
	struct number_chances system_name_number;
};

struct chances {
	range_chance follows[MODEL_PAST][NEWESTS];
	range_chance is_foretold[2][MODEL_PAST];
	range_chance is_new[MODEL_PAST][NEWESTS];
	range_chance is_twin;
	range_chance has_function;
	range_chance has_kin;
	range_chance is_module_of_parent[MODEL_PAST];
	range_chance module[1u << MODEL_MODULE_BITS];
	range_chance rank[33][1u << MODEL_RANK_BITS];
	struct number_chances distance;
	struct number_chances function;
	struct number_chances file;
	struct frame_chances frame[LIKENESSES];
};

/* Things by how often they are asked for, as near as moving them half way to the front comes. */
struct ranks {
	uint32_t *all;
	uint32_t count, capacity;
};

/* Where things are in their ranks, plus 1; 0 for none. By id. */
struct places {
	uint32_t *all;
	uint32_t capacity;
};

/* Of a frame that some node has: what is looked at for each node, close together. */
struct brief {
	uint32_t function;
	uint32_t module : 31;
	uint32_t is_caller : 1; /* some node is below one that has it */
};

struct model_module {
	struct ranks frames;
	bool has_twins;   /* below its frames something became another */
	uint64_t address; /* of the newest frame */
	uint64_t shift;   /* of the newest frame that was like one of another build */
};

struct twin {
	uint32_t frame; /* plus 1 */
	uint32_t became;
};

struct dict_model {
	uint32_t seen; /* nodes */
	bool failed;   /* no memory: all that is known is thrown away with the next use */

	uint32_t *callees;  /* frames plus 1, by hash of two functions */
	struct twin *twins; /* by hash of frame and module */
	struct model_module *modules;
	uint32_t modules_capacity;
	struct places frames; /* in their module's ranks */
	struct brief *briefs; /* by frame */
	uint32_t briefs_capacity;
	struct places kin; /* by string: the newest frame of this function, plus 1 */
	struct ranks files;
	struct places file_places;
	uint32_t string_next; /* behind all that were a function or a file */
	struct frame before;  /* the newest that was like nothing */
	unsigned int past;
	/* The newest node: mostly it is the parent of the next. */
	struct {
		uint64_t name;
		uint64_t parent_name;
		uint32_t module;
		uint32_t frame;
		enum newest was;
	} newest;
	struct chances chances;
};

/* Where in the tree a node is to be. */
struct surroundings {
	uint32_t parent_frame; /* ID_NONE below the root */
	uint32_t parent_module;
	uint64_t parent_name;
	uint64_t key;      /* of callees */
	uint32_t callee;   /* what was here before, or ID_NONE */
	uint32_t function; /* its, or 0 */
	uint32_t foretold; /* what that is here, or ID_NONE */
	bool has_become;   /* they are not the same */
};

void dict_model_fini(struct dict_model *model);
/* Knows nothing any more. */
void dict_model_reset(struct dict_model *model);
size_t dict_model_memory(const struct dict_model *model);
/* False: there is no memory, and it has failed. */
bool dict_model_begin(struct dict_model *model);

static inline uint32_t dict_places_get(const struct places *places, uint32_t id)
{
	return id < places->capacity ? places->all[id] : 0;
}

/* Half way to the front, in exchange with what is there. */
void dict_ranks_raise(struct ranks *ranks, struct places *places, uint32_t rank);

/* NULL: out of memory. Borrowed until another module is asked for. */
struct model_module *dict_model_module(struct dict_model *model, uint32_t module);
/* A node has it for the first time. It is in the dict. */
void dict_model_add_frame(struct dict_model *model, const struct frame *frame, uint32_t id);

/* What is around a node below this parent, and which frame is foretold there. */
struct surroundings dict_model_foretell(
        const struct dict_model *model, const struct dict *dict, uint32_t parent);
/* The frame that the node has in truth, which some node had before or dict_model_add_frame() was
 * told. */
void dict_model_learn(
        struct dict_model *model, const struct surroundings *around, uint32_t frame, bool is_new);

/*
 * What nodes further on will look at is anywhere in memory: it is asked for before it is needed.
 * The dict has so many nodes.
 */
void dict_model_fetch_ahead(
        const struct dict_model *model, const struct dict *dict, uint32_t nodes);
