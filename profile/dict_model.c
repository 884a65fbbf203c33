/*
 * What is known of a dict's nodes, and what that foretells (docs/formats/dict.md has every step;
 * the private header says how).
 *
 * A node is some 60 ns, most of which is memory that is waited for: what is looked at for each is
 * kept in few words (briefs), and asked for some nodes before.
 */

#include "profile/dict_model_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/fetch.h"
#include "profile/dict_private.h"

#define MODEL_CALLEES_BITS 20
#define MODEL_TWINS_BITS   17
#define MODEL_FETCH_PARENT 20 /* nodes */
#define MODEL_FETCH_FAR    12
#define MODEL_FETCH_NEAR   6
#define MODEL_FETCH_NEXT   2

#define MODEL_KEY_PARENT      UINT64_C(0x9e3779b97f4a7c15)
#define MODEL_KEY_GRANDPARENT UINT64_C(0xc2b2ae3d27d4eb4f)
#define MODEL_KEY_MODULE      UINT64_C(0x165667b19e3779f9)

void dict_model_fini(struct dict_model *model)
{
	for (uint32_t i = 0; i < model->modules_capacity; i++)
		free(model->modules[i].frames.all);
	free(model->modules);
	free(model->callees);
	free(model->twins);
	free(model->frames.all);
	free(model->briefs);
	free(model->kin.all);
	free(model->files.all);
	free(model->file_places.all);
}

void dict_model_reset(struct dict_model *model)
{
	dict_model_fini(model);
	*model = (struct dict_model){ 0 };
}

/* All are even in the beginning. They lie one behind the other, and are of one type. */
static void chances_reset(struct chances *chances)
{
	static_assert(sizeof(*chances) % sizeof(range_chance) == 0, "chances and nothing else");
	range_chance *all = (range_chance *)chances;
	for (size_t i = 0; i < sizeof(*chances) / sizeof(*all); i++)
		all[i] = RANGE_CHANCE_EVEN;
}

bool dict_model_begin(struct dict_model *model)
{
	if (model->callees)
		return true;
	model->callees = calloc(UINT64_C(1) << MODEL_CALLEES_BITS, sizeof(*model->callees));
	model->twins = calloc(UINT64_C(1) << MODEL_TWINS_BITS, sizeof(*model->twins));
	chances_reset(&model->chances);
	model->seen = 1; /* everybody has the root */
	model->failed |= !model->callees || !model->twins;
	return !model->failed;
}

/* Room for this id. */
static bool places_reach(struct places *places, uint32_t id)
{
	uint32_t before = places->capacity;
	if (id < before)
		return true;
	uint32_t *all = dict_grow(
	        places->all, &places->capacity, (uint64_t)id + 1, sizeof(*places->all));
	if (!all)
		return false;
	memset(all + before, 0, (places->capacity - before) * sizeof(*all));
	places->all = all;
	return true;
}

static bool ranks_add(struct ranks *ranks, struct places *places, uint32_t id)
{
	uint32_t *all = dict_grow(
	        ranks->all, &ranks->capacity, (uint64_t)ranks->count + 1, sizeof(*ranks->all));
	if (!all || !places_reach(places, id)) {
		ranks->all = all ? all : ranks->all;
		return false;
	}
	ranks->all = all;
	ranks->all[ranks->count++] = id;
	places->all[id] = ranks->count;
	return true;
}

void dict_ranks_raise(struct ranks *ranks, struct places *places, uint32_t rank)
{
	uint32_t to = rank / 2;
	uint32_t raised = ranks->all[rank];
	uint32_t lowered = ranks->all[to];
	ranks->all[to] = raised;
	ranks->all[rank] = lowered;
	places->all[lowered] = rank + 1;
	places->all[raised] = to + 1;
}

struct model_module *dict_model_module(struct dict_model *model, uint32_t module)
{
	uint32_t before = model->modules_capacity;
	if (module < before)
		return &model->modules[module];
	struct model_module *modules = dict_grow(
	        model->modules, &model->modules_capacity, (uint64_t)module + 1, sizeof(*modules));
	if (!modules)
		return NULL;
	memset(modules + before, 0, (model->modules_capacity - before) * sizeof(*modules));
	model->modules = modules;
	return &modules[module];
}

static bool model_add_brief(struct dict_model *model, const struct frame *frame, uint32_t id)
{
	struct brief *briefs = dict_grow(
	        model->briefs, &model->briefs_capacity, (uint64_t)id + 1, sizeof(*briefs));
	if (!briefs)
		return false;
	model->briefs = briefs;
	briefs[id] = (struct brief){ .function = frame->function, .module = frame->module };
	return true;
}

static bool model_add_kin(struct dict_model *model, uint32_t function, uint32_t id)
{
	if (function == 0)
		return true;
	if (!places_reach(&model->kin, function))
		return false;
	model->kin.all[function] = id + 1;
	return true;
}

void dict_model_add_frame(struct dict_model *model, const struct frame *frame, uint32_t id)
{
	struct model_module *module = dict_model_module(model, frame->module);
	bool is_new_file = dict_places_get(&model->file_places, frame->file) == 0;
	if (!module || !ranks_add(&module->frames, &model->frames, id) ||
	        !model_add_brief(model, frame, id) || !model_add_kin(model, frame->function, id) ||
	        (is_new_file && !ranks_add(&model->files, &model->file_places, frame->file)))
		model->failed = true;
}

/* A build's code has other addresses, and the same functions. */
static inline uint64_t model_name(const struct dict_model *model, uint32_t frame)
{
	uint32_t function = model->briefs[frame].function;
	return function ? function : UINT64_C(1) << 32 | frame;
}

/* What is below an address that nobody named is not looked up: it costs more than it tells. */
static inline bool model_is_function(uint64_t name)
{
	return name <= UINT32_MAX;
}

static inline uint64_t model_key(uint64_t parent_name, uint64_t grandparent_name)
{
	return (parent_name * MODEL_KEY_PARENT + grandparent_name * MODEL_KEY_GRANDPARENT) >>
	       (64 - MODEL_CALLEES_BITS);
}

static struct surroundings model_surroundings(
        const struct dict_model *model, const struct dict *dict, uint32_t parent)
{
	struct surroundings around = {
		.parent_frame = ID_NONE, .callee = ID_NONE, .foretold = ID_NONE
	};
	uint64_t grandparent_name = 0;
	if (parent != DICT_NODE_ROOT && parent + 1 == model->seen) {
		around.parent_frame = model->newest.frame;
		around.parent_module = model->newest.module;
		around.parent_name = model->newest.name;
		grandparent_name = model->newest.parent_name;
	} else if (parent != DICT_NODE_ROOT) {
		struct node node = dict->nodes.all[parent];
		around.parent_frame = node.frame;
		around.parent_module = model->briefs[node.frame].module;
		around.parent_name = model_name(model, node.frame);
		if (node.parent != DICT_NODE_ROOT)
			grandparent_name = model_name(model, dict->nodes.all[node.parent].frame);
	}
	if (!model_is_function(around.parent_name))
		return around;
	around.key = model_key(around.parent_name, grandparent_name);
	around.callee = model->callees[around.key] - 1;
	if (around.callee != ID_NONE)
		around.function = model->briefs[around.callee].function;
	return around;
}

static struct twin *model_twin(const struct dict_model *model, uint32_t frame, uint32_t module)
{
	uint64_t key = (frame * MODEL_KEY_PARENT + module * MODEL_KEY_MODULE) >>
	               (64 - MODEL_TWINS_BITS);
	return &model->twins[key];
}

static void model_ask_twins(const struct dict_model *model, struct surroundings *around)
{
	around->foretold = around->callee;
	/* Without a function nothing is known to be the same. */
	if (around->function == 0 || around->parent_module >= model->modules_capacity ||
	        !model->modules[around->parent_module].has_twins)
		return;
	const struct twin *twin = model_twin(model, around->callee, around->parent_module);
	around->has_become = twin->frame == around->callee + 1;
	if (around->has_become)
		around->foretold = twin->became;
}

struct surroundings dict_model_foretell(
        const struct dict_model *model, const struct dict *dict, uint32_t parent)
{
	struct surroundings around = model_surroundings(model, dict, parent);
	model_ask_twins(model, &around);
	return around;
}

static void model_learn_callee(
        struct dict_model *model, const struct surroundings *around, uint32_t frame)
{
	uint32_t function = model->briefs[frame].function;
	if (!model_is_function(around->parent_name))
		return;
	model->callees[around->key] = frame + 1;
	if (function == 0 || function != around->function || frame == around->foretold)
		return;
	struct model_module *module = dict_model_module(model, around->parent_module);
	if (!module) {
		model->failed = true;
		return;
	}
	module->has_twins = true;
	*model_twin(model, around->callee, around->parent_module) =
	        (struct twin){ .frame = around->callee + 1, .became = frame };
}

void dict_model_learn(
        struct dict_model *model, const struct surroundings *around, uint32_t frame, bool is_new)
{
	if (around->parent_frame != ID_NONE)
		model->briefs[around->parent_frame].is_caller = 1;
	model->newest.was = is_new                           ? NEWEST_NEW
	                    : model->briefs[frame].is_caller ? NEWEST_CALLER
	                                                     : NEWEST_NOT_CALLER;
	model_learn_callee(model, around, frame);
	model->newest.name = model_name(model, frame);
	model->newest.parent_name = around->parent_name;
	model->newest.module = model->briefs[frame].module;
	model->newest.frame = frame;
	/* Mostly what comes next is below it. */
	if (model_is_function(model->newest.name))
		fetch(&model->callees[model_key(model->newest.name, around->parent_name)]);
}

/* Where the callee of a node further on lies. NULL: below the root or what is new, or no function.
 */
static inline const uint32_t *model_callee_ahead(
        const struct dict_model *model, const struct dict *dict, uint32_t node, uint32_t *ret_frame)
{
	const struct node *all = dict->nodes.all;
	struct node parent = all[all[node].parent];
	struct node grandparent = all[parent.parent];
	if (parent.frame >= model->briefs_capacity || grandparent.frame >= model->briefs_capacity)
		return NULL;
	uint64_t name = model_name(model, parent.frame);
	if (!model_is_function(name))
		return NULL;
	*ret_frame = parent.frame;
	return &model->callees[model_key(name, model_name(model, grandparent.frame))];
}

/* Mostly it is not foretold, and raised in the ranks of its module. NULL: no node had it yet. */
static inline uint32_t *model_rank_ahead(
        const struct dict_model *model, uint32_t frame, uint32_t *ret_rank)
{
	if (frame >= model->briefs_capacity || frame >= model->frames.capacity)
		return NULL;
	uint32_t place = model->frames.all[frame];
	if (place == 0)
		return NULL;
	*ret_rank = place - 1;
	return model->modules[model->briefs[frame].module].frames.all;
}

static inline void model_fetch_ranks_ahead(const struct dict_model *model, const struct node *at)
{
	uint32_t rank;
	const uint32_t *all = model_rank_ahead(model, at[MODEL_FETCH_NEAR].frame, &rank);
	if (all) {
		fetch(&all[rank]);
		fetch(&all[rank / 2]);
	}
	all = model_rank_ahead(model, at[MODEL_FETCH_NEXT].frame, &rank);
	if (all)
		fetch(&model->frames.all[all[rank / 2]]);
}

/*
 * What is below nodes that are anywhere: they, and then what their frames are called. One that
 * follows its parent finds all of that near.
 */
static inline void model_fetch_parents_ahead(
        const struct dict_model *model, const struct dict *dict, uint32_t nodes)
{
	const struct node *all = dict->nodes.all;
	uint32_t node = model->seen + MODEL_FETCH_PARENT;
	if (node < nodes)
		fetch(&all[all[node].parent]);
	node = model->seen + MODEL_FETCH_FAR;
	struct node parent = all[all[node].parent];
	if (all[node].parent + 1 == node || parent.frame >= model->briefs_capacity)
		return;
	fetch(&model->briefs[parent.frame]);
	uint32_t grandparent_frame = all[parent.parent].frame;
	if (grandparent_frame < model->briefs_capacity)
		fetch(&model->briefs[grandparent_frame]);
}

/* A frame that is new by then has no place yet. */
void dict_model_fetch_ahead(const struct dict_model *model, const struct dict *dict, uint32_t nodes)
{
	uint32_t far = model->seen + MODEL_FETCH_FAR;
	if (far >= nodes)
		return;
	model_fetch_parents_ahead(model, dict, nodes);
	uint32_t frame = dict->nodes.all[far].frame;
	if (frame < model->briefs_capacity && frame < model->frames.capacity) {
		fetch(&model->briefs[frame]);
		fetch(&model->frames.all[frame]);
	}
	model_fetch_ranks_ahead(model, &dict->nodes.all[model->seen]);
	const uint32_t *callee = model_callee_ahead(
	        model, dict, model->seen + MODEL_FETCH_NEAR, &frame);
	if (callee)
		fetch(callee);
	callee = model_callee_ahead(model, dict, model->seen + MODEL_FETCH_NEXT, &frame);
	if (!callee || *callee == 0)
		return;
	fetch(&model->briefs[*callee - 1]);
	uint32_t module = model->briefs[frame].module;
	if (module < model->modules_capacity && model->modules[module].has_twins)
		fetch(model_twin(model, *callee - 1, module));
}

size_t dict_model_memory(const struct dict_model *model)
{
	size_t bytes = sizeof(*model);
	if (!model->callees)
		return bytes;
	bytes += (UINT64_C(1) << MODEL_CALLEES_BITS) * sizeof(*model->callees);
	bytes += (UINT64_C(1) << MODEL_TWINS_BITS) * sizeof(*model->twins);
	bytes += model->modules_capacity * sizeof(*model->modules);
	for (uint32_t i = 0; i < model->modules_capacity; i++)
		bytes += model->modules[i].frames.capacity * sizeof(uint32_t);
	bytes += model->briefs_capacity * sizeof(*model->briefs);
	return bytes + ((size_t)model->frames.capacity + model->kin.capacity +
	                       model->files.capacity + model->file_places.capacity) *
	                       sizeof(uint32_t);
}
