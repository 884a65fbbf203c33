#pragma once

/*
 * fleet_tree is the code that a synthetic fleet runs: for each service and version a call tree
 * without end, of which only what was drawn is kept in memory.
 *
 * Every property of a place in a tree (which function, how many call sites, how often it is the
 * leaf) is a hash of the path to it, so the tree needs no description and is the same for the same
 * seed on every machine. All arithmetic is on integers for that reason. The versions of a service
 * have trees of one shape; what differs is the build-id of the service's own module, and how much
 * of the time goes to one named function.
 *
 * Stacks are drawn from a pool per (service, version, handler), itself drawn once from the tree:
 * what is likely is in it often. A fresh draw walks the tree instead, and mostly ends at a stack
 * that nobody met before.
 *
 * One thread owns a tree.
 */

#include <stdint.h>

#include "core/auto.h"
#include "core/rng.h"

#define FLEET_HANDLERS         24
#define FLEET_VERSIONS         2
#define FLEET_FUNCTION_BYTES   512 /* what each function takes in its file */
#define FLEET_FILE_FUNCTIONS   64  /* how many functions a source file has */
#define FLEET_NAME_BYTES_MAX   160
#define FLEET_CHANGED_FUNCTION 0  /* number of the changed one in the module of its service */
#define FLEET_CHANGED_PERMILLE 40 /* of the samples of version 1 have it as their leaf */

struct fleet_tree;

struct fleet_tree_options {
	uint64_t seed;
	uint32_t services;
	uint32_t changed_percent; /* by which version 2 of the changed function is slower */
	uint32_t pool_draws;      /* per service and version */
};

/* NULL when out of memory. */
struct fleet_tree *fleet_tree_new(struct fleet_tree_options options);
void fleet_tree_free(struct fleet_tree *tree);
DEFINE_AUTO(fleet_tree);

/* The draws to choose from, as numbers of nodes, made at the first call. 0 or -ENOMEM. */
struct fleet_pool {
	const uint32_t *nodes;
	uint32_t count;
};
int fleet_tree_pool(struct fleet_tree *tree, uint32_t service, uint32_t version, uint32_t handler,
        struct fleet_pool *ret_pool);

/* Another draw, not from the pool. 0 or -ENOMEM. */
int fleet_tree_fresh(struct fleet_tree *tree, uint32_t service, uint32_t version, uint32_t handler,
        struct rng *rng, uint32_t *ret_node);

/* How much heavier a service's load is under a version than under the first, in 1/65536. */
uint32_t fleet_tree_cost(struct fleet_tree *tree, uint32_t version);

/* A place in a file. The last module is the kernel. */
struct fleet_code {
	uint32_t module;
	uint32_t function;
	uint32_t offset; /* of the call or of the leaf in its function */
};

/* Node 0 is the root and has no code; a parent's number is smaller. */
struct fleet_node {
	uint32_t parent;
	uint32_t depth;
	uint64_t hash; /* of the whole path: the same whatever was drawn before */
	struct fleet_code code;
};

struct fleet_node fleet_tree_node(const struct fleet_tree *tree, uint32_t node);
uint32_t fleet_tree_nodes(const struct fleet_tree *tree);

struct fleet_module {
	char name[64];
	char build_id[41]; /* "" for the kernel, which has names instead */
	char source[64];   /* folder of its files */
	uint32_t functions;
	uint64_t base; /* offset of function 0 in the file */
};

uint32_t fleet_tree_modules(const struct fleet_tree *tree);
struct fleet_module fleet_tree_module(const struct fleet_tree *tree, uint32_t module);
void fleet_tree_function_name(const struct fleet_tree *tree, uint32_t module, uint32_t function,
        char name[static FLEET_NAME_BYTES_MAX]);
void fleet_tree_file_name(const struct fleet_tree *tree, uint32_t module, uint32_t function,
        char name[static FLEET_NAME_BYTES_MAX]);
void fleet_service_name(uint32_t service, char name[static 32]);
