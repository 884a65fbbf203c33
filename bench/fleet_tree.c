/*
 * A path is walked from its root by hashes alone:
 *
 *	place ----c----> place(mix(path, c)) ----c'----> ... ----leaf j
 *
 * At each place the hash decides the function, how many call sites it has and how often it is the
 * leaf; chance decides which call site c, or which of the leaf's addresses j. A place is in a zone
 * (the service's code, its runtime, libraries, libc, the kernel), and a call may lead one zone
 * further from the service's code, never back. Only then the nodes of the path are looked up, the
 * leaf first: mostly it is known.
 *
 * The shape's hash does not know the version, a node's hash does. The frame of a caller is the
 * address of its call site, so the code of a node depends on which call was taken.
 */

#include "bench/fleet_tree.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "bench/fleet_number.h"

#define TREE_RUNTIMES       4
#define TREE_LIBRARIES      24
#define TREE_DEPTH_MAX      120
#define TREE_BRANCHES_MAX   8
#define TREE_WIDE_LOG2      10 /* call sites of a wide place: where any handler may be called */
#define TREE_SITE_FIRST     32
#define TREE_SITES          28 /* different call addresses of a function */
#define TREE_SITE_BYTES     16
#define TREE_LEAVES_LOG2    3
#define TREE_NODES_MAX      (UINT32_MAX / 4)
#define TREE_FIRST_CAPACITY 65536

enum tree_zone { ZONE_APP, ZONE_RUNTIME, ZONE_LIBRARY, ZONE_LIBC, ZONE_KERNEL, ZONES };

/*
 * Parts of 65536. Of the places of a zone half are never a leaf, the others are with twice `leaf`.
 * What leads to no later zone stays.
 */
static const struct tree_habits {
	uint32_t leaf;
	uint32_t unary; /* one call site */
	uint32_t wide;  /* so many call sites that each walk finds another */
	uint32_t to[ZONES];
} tree_habits[ZONES] = {
	[ZONE_APP] = { 310, 54000, 100,
	        { [ZONE_RUNTIME] = 900, [ZONE_LIBRARY] = 1500, [ZONE_LIBC] = 500 } },
	[ZONE_RUNTIME] = { 3500, 50000, 0, { [ZONE_LIBC] = 9000 } },
	[ZONE_LIBRARY] = { 2000, 50000, 300, { [ZONE_LIBC] = 5500 } },
	[ZONE_LIBC] = { 13000, 46000, 0, { [ZONE_KERNEL] = 20000 } },
	[ZONE_KERNEL] = { 7000, 44000, 0, { 0 } },
};

static const uint32_t zone_functions[ZONES] = { 4096, 1024, 2048, 768, 3072 };

struct tree_node {
	uint64_t hash;
	uint32_t parent;
	uint32_t module;
	uint16_t function;
	uint16_t offset;
	uint16_t depth;
};

/* One service under one version: the handlers' pools lie end to end. */
struct tree_pool {
	uint32_t *draws; /* NULL until asked for */
	uint32_t first[FLEET_HANDLERS + 1];
};

struct fleet_tree {
	struct fleet_tree_options options;
	uint32_t branch_ends[TREE_BRANCHES_MAX + 1][TREE_BRANCHES_MAX]; /* of 65536 */
	struct tree_pool *pools;
	struct tree_node *nodes;
	uint32_t nodes_count, nodes_capacity;
	uint32_t *slots; /* node, or 0 for empty: nobody looks for the root */
	uint32_t slots_mask;
};

static void tree_set_branches(struct fleet_tree *tree)
{
	for (uint32_t branches = 1; branches <= TREE_BRANCHES_MAX; branches++) {
		uint64_t sum = 0, end = 0;
		for (uint32_t i = 0; i < branches; i++)
			sum += 1000000 / ((i + 1) * (i + 1) * (i + 1));
		for (uint32_t i = 0; i < branches; i++) {
			end += 1000000 / ((i + 1) * (i + 1) * (i + 1));
			tree->branch_ends[branches][i] = (uint32_t)(end * 65536 / sum);
		}
	}
}

struct fleet_tree *fleet_tree_new(struct fleet_tree_options options)
{
	assert(options.services > 0 && options.services < 100000 && options.pool_draws > 0);
	AUTO(fleet_tree) tree = calloc(1, sizeof(*tree));
	if (!tree)
		return NULL;
	tree->options = options;
	tree->pools = calloc((size_t)options.services * FLEET_VERSIONS, sizeof(*tree->pools));
	tree->nodes = malloc(TREE_FIRST_CAPACITY * sizeof(*tree->nodes));
	tree->slots = calloc((size_t)TREE_FIRST_CAPACITY * 2, sizeof(*tree->slots));
	if (!tree->pools || !tree->nodes || !tree->slots)
		return NULL;
	tree->nodes_capacity = TREE_FIRST_CAPACITY;
	tree->slots_mask = TREE_FIRST_CAPACITY * 2 - 1;
	tree->nodes[0] = (struct tree_node){ 0 };
	tree->nodes_count = 1;
	tree_set_branches(tree);
	return TAKE(tree);
}

void fleet_tree_free(struct fleet_tree *tree)
{
	if (!tree)
		return;
	for (uint32_t i = 0; tree->pools && i < tree->options.services * FLEET_VERSIONS; i++)
		free(tree->pools[i].draws);
	free(tree->pools);
	free(tree->nodes);
	free(tree->slots);
	free(tree);
}

/* The place of a hash among the slots: its node's, or the empty one where it belongs. */
static uint32_t *tree_slot(const struct fleet_tree *tree, uint64_t hash)
{
	uint32_t at = (uint32_t)hash & tree->slots_mask;
	while (tree->slots[at] && tree->nodes[tree->slots[at]].hash != hash)
		at = (at + 1) & tree->slots_mask;
	return &tree->slots[at];
}

static int tree_grow(struct fleet_tree *tree)
{
	if (tree->nodes_count < tree->nodes_capacity)
		return 0;
	if (tree->nodes_capacity >= TREE_NODES_MAX)
		return -ENOMEM;
	uint32_t capacity = tree->nodes_capacity * 2;
	struct tree_node *nodes = realloc(tree->nodes, capacity * sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	tree->nodes = nodes;
	uint32_t *slots = calloc((size_t)capacity * 2, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(tree->slots);
	tree->slots = slots;
	tree->slots_mask = capacity * 2 - 1;
	tree->nodes_capacity = capacity;
	for (uint32_t i = 1; i < tree->nodes_count; i++)
		*tree_slot(tree, nodes[i].hash) = i;
	return 0;
}

/* The way from the root to a leaf, root first. */
struct tree_walk {
	uint64_t path; /* of the shape */
	uint64_t node; /* of the nodes: knows the version */
	uint32_t service, version;
	enum tree_zone zone;
	uint32_t module, function;
	uint32_t depth;
	struct tree_node steps[TREE_DEPTH_MAX + 1];
};

static uint32_t tree_module_of(const struct fleet_tree *tree, const struct tree_walk *walk)
{
	uint32_t shared = tree->options.services * FLEET_VERSIONS;
	switch (walk->zone) {
	case ZONE_APP:
		return walk->service * FLEET_VERSIONS + walk->version;
	case ZONE_RUNTIME:
		return shared + walk->service % TREE_RUNTIMES;
	case ZONE_LIBRARY: {
		/* A few libraries are called by everybody. */
		uint32_t draw = (uint32_t)(walk->path >> 40) & 0xffff;
		return shared + TREE_RUNTIMES + ((draw * draw >> 16) * TREE_LIBRARIES >> 16);
	}
	case ZONE_LIBC:
		return shared + TREE_RUNTIMES + TREE_LIBRARIES;
	default:
		return shared + TREE_RUNTIMES + TREE_LIBRARIES + 1;
	}
}

/* Some functions are called from everywhere, most from one place. Number 0 is nobody's. */
static uint32_t tree_function_of(const struct tree_walk *walk)
{
	uint64_t draw = (walk->path >> 8) & 0xffff;
	return 1 + (uint32_t)((draw * draw >> 16) * (zone_functions[walk->zone] - 1) >> 16);
}

static void walk_put(struct tree_walk *walk, uint64_t choice, uint32_t offset)
{
	walk->node = fleet_mix(walk->node, choice);
	walk->steps[walk->depth++] = (struct tree_node){
		.hash = walk->node,
		.module = walk->module,
		.function = (uint16_t)walk->function,
		.offset = (uint16_t)offset,
	};
}

static void walk_call(struct tree_walk *walk, uint32_t site)
{
	walk_put(walk, site, TREE_SITE_FIRST + site % TREE_SITES * TREE_SITE_BYTES);
	walk->path = fleet_mix(walk->path, site);
}

static void walk_leaf(struct tree_walk *walk, uint32_t draw)
{
	/* Few instructions of a function are hot. */
	uint32_t skewed = (draw & 0xffff) * (draw & 0xffff) >> 16;
	uint32_t leaf = (uint32_t)(fleet_exp2((int64_t)skewed * TREE_LEAVES_LOG2) >> 16) - 1;
	walk_put(walk, UINT64_C(1) << 32 | leaf, leaf * TREE_SITE_BYTES + 8);
}

/* Arrives at the place that the path's hash describes. */
static void walk_arrive(const struct fleet_tree *tree, struct tree_walk *walk)
{
	const struct tree_habits *habits = &tree_habits[walk->zone];
	uint32_t draw = (uint32_t)(walk->path >> 24) & 0xffff;
	for (uint32_t zone = walk->zone + 1; zone < ZONES; zone++) {
		if (draw < habits->to[zone]) {
			walk->zone = zone;
			break;
		}
		draw -= habits->to[zone];
	}
	walk->module = tree_module_of(tree, walk);
	walk->function = tree_function_of(walk);
}

static uint32_t walk_choose(
        const struct fleet_tree *tree, const struct tree_walk *walk, uint32_t draw)
{
	const struct tree_habits *habits = &tree_habits[walk->zone];
	uint64_t hash = fleet_scatter(walk->path);
	uint32_t kind = (uint32_t)hash & 0xffff;
	if (kind < habits->unary)
		return 0;
	if (kind >= 65536 - habits->wide)
		return (uint32_t)(fleet_exp2((int64_t)draw * TREE_WIDE_LOG2) >> 16) - 1;
	uint32_t branches = 2 + (uint32_t)(hash >> 16) % (TREE_BRANCHES_MAX - 1);
	const uint32_t *ends = tree->branch_ends[branches];
	uint32_t site = 0;
	while (site + 1 < branches && draw >= ends[site])
		site++;
	return site;
}

/* From a thread's start to the handler: the same few frames in every stack. */
static void walk_begin(const struct fleet_tree *tree, struct tree_walk *walk, uint32_t service,
        uint32_t version, uint32_t handler)
{
	static const enum tree_zone trunk[] = { ZONE_LIBC, ZONE_LIBC, ZONE_RUNTIME, ZONE_RUNTIME,
		ZONE_APP, ZONE_APP };
	walk->service = service;
	walk->version = version;
	walk->depth = 0;
	walk->path = fleet_mix(tree->options.seed, service);
	walk->node = fleet_mix(walk->path, version);
	for (uint32_t i = 0; i < COUNT_OF(trunk); i++) {
		walk->zone = trunk[i];
		walk->module = tree_module_of(tree, walk);
		walk->function = tree_function_of(walk);
		walk_call(walk, i + 1 == COUNT_OF(trunk) ? handler : 0);
	}
	walk->module = tree_module_of(tree, walk);
	walk->function = 1 + handler; /* in the lists: handlers are the first functions */
}

static void walk_on(const struct fleet_tree *tree, struct tree_walk *walk, struct rng *rng)
{
	while (walk->depth < TREE_DEPTH_MAX) {
		uint64_t draws = rng_u64(rng);
		bool can_be_leaf = walk->path & 1;
		if (can_be_leaf && (draws & 0xffff) < 2 * tree_habits[walk->zone].leaf)
			break;
		walk_call(walk, walk_choose(tree, walk, (uint32_t)(draws >> 16) & 0xffff));
		walk_arrive(tree, walk);
	}
	walk_leaf(walk, (uint32_t)rng_u64(rng));
}

/* By one of four ways from the handler to the function that version 2 changes. */
static void walk_to_changed(const struct fleet_tree *tree, struct tree_walk *walk, struct rng *rng)
{
	uint64_t draws = rng_u64(rng);
	walk_call(walk, TREE_SITES - 1 - (uint32_t)(draws >> 62));
	for (uint32_t i = 0; i < 4; i++) {
		walk->module = tree_module_of(tree, walk);
		walk->function = tree_function_of(walk);
		walk_call(walk, 0);
	}
	walk->module = tree_module_of(tree, walk);
	walk->function = FLEET_CHANGED_FUNCTION;
	walk_leaf(walk, (uint32_t)draws);
}

/* 0 with the leaf's node, or -ENOMEM. */
static int tree_keep(struct fleet_tree *tree, const struct tree_walk *walk, uint32_t *ret_node)
{
	uint32_t known = walk->depth;
	uint32_t node = 0;
	for (; known > 0 && !node; known--)
		node = *tree_slot(tree, walk->steps[known - 1].hash);
	if (node)
		known++;
	for (uint32_t i = known; i < walk->depth; i++) {
		if (tree_grow(tree) < 0)
			return -ENOMEM;
		struct tree_node step = walk->steps[i];
		step.parent = node;
		step.depth = (uint16_t)(i + 1);
		node = tree->nodes_count++;
		tree->nodes[node] = step;
		*tree_slot(tree, step.hash) = node;
	}
	*ret_node = node;
	return 0;
}

/* How many of a service's draws are of each handler: by Zipf's law. */
static uint32_t tree_handler_draws(const struct fleet_tree *tree, uint32_t handler)
{
	/* 3776 is the sum of 1000 / (i + 1) over the handlers. */
	uint32_t draws = (uint32_t)((uint64_t)tree->options.pool_draws * 1000 / 3776 /
	                            (handler + 1));
	return draws ? draws : 1;
}

static int tree_pool_fill(
        struct fleet_tree *tree, struct tree_pool *pool, uint32_t service, uint32_t version)
{
	uint32_t total = 0;
	uint32_t changed[FLEET_HANDLERS];
	for (uint32_t handler = 0; handler < FLEET_HANDLERS; handler++) {
		uint32_t draws = tree_handler_draws(tree, handler);
		uint32_t first = draws * FLEET_CHANGED_PERMILLE / 1000;
		changed[handler] = first;
		if (version > 0)
			changed[handler] += (uint32_t)((uint64_t)first *
			                               tree->options.changed_percent / 100);
		pool->first[handler] = total;
		total += draws - first + changed[handler];
	}
	pool->first[FLEET_HANDLERS] = total;

	autofree uint32_t *draws = calloc(total, sizeof(*draws));
	if (!draws)
		return -ENOMEM;
	for (uint32_t handler = 0; handler < FLEET_HANDLERS; handler++) {
		struct rng rng;
		uint32_t end = pool->first[handler + 1];
		uint32_t changed_first = end - changed[handler];
		rng_init(&rng, fleet_mix(fleet_mix(tree->options.seed ^ 1, service), handler));
		for (uint32_t i = pool->first[handler]; i < end; i++) {
			struct tree_walk walk;
			walk_begin(tree, &walk, service, version, handler);
			if (i < changed_first)
				walk_on(tree, &walk, &rng);
			else
				walk_to_changed(tree, &walk, &rng);
			if (tree_keep(tree, &walk, &draws[i]) < 0)
				return -ENOMEM;
		}
	}
	pool->draws = TAKE(draws);
	return 0;
}

int fleet_tree_pool(struct fleet_tree *tree, uint32_t service, uint32_t version, uint32_t handler,
        struct fleet_pool *ret_pool)
{
	assert(service < tree->options.services && version < FLEET_VERSIONS);
	assert(handler < FLEET_HANDLERS);
	struct tree_pool *pool = &tree->pools[service * FLEET_VERSIONS + version];
	if (!pool->draws && tree_pool_fill(tree, pool, service, version) < 0)
		return -ENOMEM;
	*ret_pool = (struct fleet_pool){
		.nodes = pool->draws + pool->first[handler],
		.count = pool->first[handler + 1] - pool->first[handler],
	};
	return 0;
}

int fleet_tree_fresh(struct fleet_tree *tree, uint32_t service, uint32_t version, uint32_t handler,
        struct rng *rng, uint32_t *ret_node)
{
	assert(service < tree->options.services && version < FLEET_VERSIONS);
	struct tree_walk walk;
	walk_begin(tree, &walk, service, version, handler);
	walk_on(tree, &walk, rng);
	return tree_keep(tree, &walk, ret_node);
}

uint32_t fleet_tree_cost(struct fleet_tree *tree, uint32_t version)
{
	if (version == 0)
		return 65536;
	return 65536 + (uint32_t)((uint64_t)65536 * FLEET_CHANGED_PERMILLE *
	                          tree->options.changed_percent / 100000);
}

struct fleet_node fleet_tree_node(const struct fleet_tree *tree, uint32_t node)
{
	assert(node < tree->nodes_count);
	const struct tree_node *its = &tree->nodes[node];
	return (struct fleet_node){
		.parent = its->parent,
		.depth = its->depth,
		.hash = its->hash,
		.code = { its->module, its->function, its->offset },
	};
}

uint32_t fleet_tree_nodes(const struct fleet_tree *tree)
{
	return tree->nodes_count;
}

static const char *const service_names[] = { "cart", "checkout", "search", "catalog", "payment",
	"shipping", "login", "recommend", "inventory", "pricing", "gateway", "mail", "review",
	"session", "image", "billing" };
static const char *const library_names[] = { "libssl.so.3", "libcrypto.so.3", "libstdc++.so.6",
	"libprotobuf.so.32", "libgrpc.so.29", "libz.so.1", "libzstd.so.1", "libpq.so.5" };
static const char *const runtime_names[] = { "libjvm.so", "libcoreclr.so", "libnode.so.108",
	"libpython3.11.so.1.0" };
static const char *const nouns[] = { "order", "price", "basket", "customer", "address", "ticket",
	"stock", "offer", "route", "token", "query", "index", "buffer", "record", "session",
	"message" };
static const char *const verbs[] = { "load", "store", "update", "validate", "merge", "encode",
	"decode", "resolve", "compute", "find", "apply", "flush", "reserve", "notify", "parse",
	"release" };

void fleet_service_name(uint32_t service, char name[static 32])
{
	if (service < COUNT_OF(service_names))
		snprintf(name, 32, "%s", service_names[service]);
	else
		snprintf(name, 32, "%s-%u", service_names[service % COUNT_OF(service_names)],
		        service);
}

uint32_t fleet_tree_modules(const struct fleet_tree *tree)
{
	return tree->options.services * FLEET_VERSIONS + TREE_RUNTIMES + TREE_LIBRARIES + 2;
}

static enum tree_zone module_zone(const struct fleet_tree *tree, uint32_t module)
{
	uint32_t shared = tree->options.services * FLEET_VERSIONS;
	if (module < shared)
		return ZONE_APP;
	module -= shared;
	return module < TREE_RUNTIMES                        ? ZONE_RUNTIME
	       : module < TREE_RUNTIMES + TREE_LIBRARIES     ? ZONE_LIBRARY
	       : module < TREE_RUNTIMES + TREE_LIBRARIES + 1 ? ZONE_LIBC
	                                                     : ZONE_KERNEL;
}

static void module_name(const struct fleet_tree *tree, uint32_t module, char name[static 64])
{
	uint32_t shared = tree->options.services * FLEET_VERSIONS;
	uint32_t library = module - shared - TREE_RUNTIMES;
	switch (module_zone(tree, module)) {
	case ZONE_APP:
		fleet_service_name(module / FLEET_VERSIONS, name);
		break;
	case ZONE_RUNTIME:
		snprintf(name, 64, "%s", runtime_names[module - shared]);
		break;
	case ZONE_LIBRARY:
		if (library < COUNT_OF(library_names))
			snprintf(name, 64, "%s", library_names[library]);
		else
			snprintf(name, 64, "lib%s-%s.so.%u", verbs[library % COUNT_OF(verbs)],
			        nouns[library * 7 % COUNT_OF(nouns)], library % 5);
		break;
	case ZONE_LIBC:
		snprintf(name, 64, "libc.so.6");
		break;
	default:
		snprintf(name, 64, "vmlinux");
	}
}

struct fleet_module fleet_tree_module(const struct fleet_tree *tree, uint32_t module)
{
	assert(module < fleet_tree_modules(tree));
	enum tree_zone zone = module_zone(tree, module);
	struct fleet_module of = { .functions = zone_functions[zone] };
	module_name(tree, module, of.name);
	uint64_t id = fleet_mix(tree->options.seed, module);
	/* The kernel's functions come by name; another build of a file has another layout. */
	if (zone != ZONE_KERNEL)
		snprintf(of.build_id, sizeof(of.build_id), "%016llx%016llx%08x",
		        (unsigned long long)id, (unsigned long long)fleet_scatter(id),
		        (uint32_t)fleet_scatter(~id));
	of.base = 0x1000 + (id & 0xff) * 0x40;
	if (zone == ZONE_KERNEL)
		snprintf(of.source, sizeof(of.source), "kernel");
	else
		snprintf(of.source, sizeof(of.source), "/src/%.40s", of.name);
	return of;
}

void fleet_tree_function_name(const struct fleet_tree *tree, uint32_t module, uint32_t function,
        char name[static FLEET_NAME_BYTES_MAX])
{
	/* Versions of one service have functions of the same names. */
	enum tree_zone zone = module_zone(tree, module);
	uint32_t origin = zone == ZONE_APP ? module - module % FLEET_VERSIONS : module;
	uint64_t hash = fleet_mix(origin, function);
	const char *verb = verbs[hash % COUNT_OF(verbs)];
	const char *noun = nouns[(hash >> 8) % COUNT_OF(nouns)];
	char service[32];
	fleet_service_name(module / FLEET_VERSIONS, service);
	switch (zone) {
	case ZONE_APP:
		if (function == FLEET_CHANGED_FUNCTION)
			snprintf(name, FLEET_NAME_BYTES_MAX, "%s::ledger::recompute_totals",
			        service);
		else
			snprintf(name, FLEET_NAME_BYTES_MAX, "%s::%s::%s_%u", service, noun, verb,
			        function);
		break;
	case ZONE_RUNTIME:
		snprintf(name, FLEET_NAME_BYTES_MAX, "rt_%s_%s_%u", verb, noun, function);
		break;
	case ZONE_LIBRARY:
		snprintf(name, FLEET_NAME_BYTES_MAX, "%.20s::%s_%s_%u",
		        fleet_tree_module(tree, module).name, verb, noun, function);
		break;
	case ZONE_LIBC:
		snprintf(name, FLEET_NAME_BYTES_MAX, "__%s_%u", verb, function);
		break;
	default:
		snprintf(name, FLEET_NAME_BYTES_MAX, "__x64_%s_%s_%u", verb, noun, function);
	}
}

void fleet_tree_file_name(const struct fleet_tree *tree, uint32_t module, uint32_t function,
        char name[static FLEET_NAME_BYTES_MAX])
{
	struct fleet_module of = fleet_tree_module(tree, module);
	uint64_t hash = fleet_mix(module / FLEET_VERSIONS, function / FLEET_FILE_FUNCTIONS);
	snprintf(name, FLEET_NAME_BYTES_MAX, "%s/%s/%s_%u.cc", of.source,
	        nouns[hash % COUNT_OF(nouns)], nouns[(hash >> 8) % COUNT_OF(nouns)],
	        function / FLEET_FILE_FUNCTIONS);
}
