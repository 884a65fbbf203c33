/*
 * How a node is foretold (docs/formats/dict.md has every step).
 *
 *	parent   mostly the node before; otherwise how far back
 *	frame    what was below the same two functions the last time   (callees)
 *	         and if that was of another build: what it became here  (twins)
 *	         else a frame that no node has yet, or one of its module, by rank
 *
 * A frame is written where a node has it for the first time, when it is known what it may be like.
 * So frames are learned from nodes alone, and a packer can go over the nodes of a dict (LEARN) and
 * be where one is that wrote or read them: the same code does all three. Frames that are written
 * before a node has them are written plainly and teach nothing.
 *
 * A rank is a place in the list of a module's frames, in which a frame moves half way to the front
 * each time it is asked for, so that small ranks are frequent.
 *
 * Tables are of fixed size and forget: a slot has what came last.
 */

#include "profile/dict_packer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bits.h"
#include "core/range_code.h"
#include "profile/dict_private.h"

#define PACKER_CALLEES_BITS 20
#define PACKER_TWINS_BITS   17
#define PACKER_PAST         27 /* three nodes, each of which was foretold, not, or had no hint */
#define PACKER_MODULE_BITS  8
#define PACKER_MODULE_OTHER ((1u << PACKER_MODULE_BITS) - 1)
#define PACKER_WIDTHS       128 /* of numbers of up to 64 bits: a tree of 7 bits */
#define PACKER_WIDTH_BITS   7
#define PACKER_RANK_BITS    5
#define PACKER_FETCH_FAR    12 /* nodes */
#define PACKER_FETCH_NEAR   6
#define PACKER_FETCH_NEXT   2
/* That a frame is not the next one happens to nobody who adds stacks one after the other. */
#define PACKER_CHANCE_NEXT 65280

#define PACKER_KEY_PARENT      UINT64_C(0x9e3779b97f4a7c15)
#define PACKER_KEY_GRANDPARENT UINT64_C(0xc2b2ae3d27d4eb4f)
#define PACKER_KEY_MODULE      UINT64_C(0x165667b19e3779f9)

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
	range_chance width[PACKER_WIDTHS];
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
	range_chance follows[PACKER_PAST][NEWESTS];
	range_chance is_foretold[2][PACKER_PAST];
	range_chance is_new[PACKER_PAST][NEWESTS];
	range_chance is_twin;
	range_chance has_function;
	range_chance has_kin;
	range_chance is_module_of_parent[PACKER_PAST];
	range_chance module[1u << PACKER_MODULE_BITS];
	range_chance rank[33][1u << PACKER_RANK_BITS];
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

struct packer_module {
	struct ranks frames;
	bool has_twins;   /* below its frames something became another */
	uint64_t address; /* of the newest frame */
	uint64_t shift;   /* of the newest frame that was like one of another build */
};

struct twin {
	uint32_t frame; /* plus 1 */
	uint32_t became;
};

struct dict_packer {
	uint32_t seen; /* nodes */
	bool failed;   /* no memory: all that is known is thrown away with the next use */

	uint32_t *callees;  /* frames plus 1, by hash of two functions */
	struct twin *twins; /* by hash of frame and module */
	struct packer_module *modules;
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

struct dict_packer *dict_packer_new(void)
{
	return calloc(1, sizeof(struct dict_packer));
}

static void packer_fini(struct dict_packer *packer)
{
	for (uint32_t i = 0; i < packer->modules_capacity; i++)
		free(packer->modules[i].frames.all);
	free(packer->modules);
	free(packer->callees);
	free(packer->twins);
	free(packer->frames.all);
	free(packer->briefs);
	free(packer->kin.all);
	free(packer->files.all);
	free(packer->file_places.all);
}

void dict_packer_free(struct dict_packer *packer)
{
	if (!packer)
		return;
	packer_fini(packer);
	free(packer);
}

static void packer_reset(struct dict_packer *packer)
{
	packer_fini(packer);
	*packer = (struct dict_packer){ 0 };
}

void dict_packer_forget(struct dict_packer *packer, struct dict_mark mark)
{
	if (packer->failed || packer->seen > mark.nodes)
		packer_reset(packer);
}

uint32_t dict_packer_unseen(const struct dict_packer *packer, struct dict_mark mark)
{
	bool is_anew = packer->failed || packer->seen > mark.nodes;
	return mark.nodes - (is_anew ? 0 : packer->seen);
}

size_t dict_packer_memory(const struct dict_packer *packer)
{
	size_t bytes = sizeof(*packer);
	if (!packer->callees)
		return bytes;
	bytes += (UINT64_C(1) << PACKER_CALLEES_BITS) * sizeof(*packer->callees);
	bytes += (UINT64_C(1) << PACKER_TWINS_BITS) * sizeof(*packer->twins);
	bytes += packer->modules_capacity * sizeof(*packer->modules);
	for (uint32_t i = 0; i < packer->modules_capacity; i++)
		bytes += packer->modules[i].frames.capacity * sizeof(uint32_t);
	bytes += packer->briefs_capacity * sizeof(*packer->briefs);
	return bytes + ((size_t)packer->frames.capacity + packer->kin.capacity +
	                       packer->files.capacity + packer->file_places.capacity) *
	                       sizeof(uint32_t);
}

/* All are even in the beginning. They lie one behind the other, and are of one type. */
static void chances_reset(struct chances *chances)
{
	static_assert(sizeof(*chances) % sizeof(range_chance) == 0, "chances and nothing else");
	range_chance *all = (range_chance *)chances;
	for (size_t i = 0; i < sizeof(*chances) / sizeof(*all); i++)
		all[i] = RANGE_CHANCE_EVEN;
}

static bool packer_begin(struct dict_packer *packer)
{
	if (packer->callees)
		return true;
	packer->callees = calloc(UINT64_C(1) << PACKER_CALLEES_BITS, sizeof(*packer->callees));
	packer->twins = calloc(UINT64_C(1) << PACKER_TWINS_BITS, sizeof(*packer->twins));
	chances_reset(&packer->chances);
	packer->seen = 1; /* everybody has the root */
	packer->failed |= !packer->callees || !packer->twins;
	return !packer->failed;
}

/* ---- one coder for writing, reading and learning ---- */

enum coder_mode { CODER_WRITE, CODER_READ, CODER_LEARN };

struct coder {
	enum coder_mode mode;
	struct dict_packer *packer;
	const struct dict *dict;
	struct dict *into; /* the same, where it is read */
	uint32_t frames_next;
	uint32_t frames_end;
	struct range_writer writer;
	struct range_reader reader;
	int result; /* of what was read: negative once something was wrong */
};

static void coder_refuse(struct coder *coder, int result)
{
	if (coder->result == 0)
		coder->result = result;
}

/* In each: the value is what was given, or what was read. */
static inline unsigned int coder_bit(struct coder *coder, range_chance *chance, unsigned int bit)
{
	if (coder->mode == CODER_READ)
		bit = range_get(&coder->reader, *chance);
	else if (coder->mode == CODER_WRITE)
		range_put(&coder->writer, *chance, bit);
	range_learn(chance, bit);
	return bit;
}

static inline uint32_t coder_bits(struct coder *coder, uint32_t value, unsigned int count)
{
	if (coder->mode == CODER_READ)
		return range_get_bits(&coder->reader, count);
	if (coder->mode == CODER_WRITE)
		range_put_bits(&coder->writer, value, count);
	return value;
}

static uint64_t coder_long(struct coder *coder, uint64_t value, unsigned int count)
{
	uint64_t read = 0;
	while (count > 0) {
		unsigned int part = count > RANGE_BITS_MAX ? RANGE_BITS_MAX : count;
		count -= part;
		uint32_t bits = (uint32_t)(value >> count) & ((1u << part) - 1);
		read = read << part | coder_bits(coder, bits, part);
	}
	return read;
}

/* A number of so many bits, each with a chance by those above it. */
static inline uint32_t coder_tree(
        struct coder *coder, range_chance *chances, uint32_t value, unsigned int count)
{
	uint32_t at = 1;
	for (unsigned int i = count; i-- > 0;)
		at = at << 1 | coder_bit(coder, &chances[at], value >> i & 1);
	return at - (1u << count);
}

/* By its width; the highest bit is known by that. */
static uint64_t coder_number(struct coder *coder, struct number_chances *chances, uint64_t value)
{
	unsigned int width = bits_width(value);
	width = coder_tree(coder, chances->width, width, PACKER_WIDTH_BITS);
	if (width > 64) {
		coder_refuse(coder, -EBADMSG);
		return 0;
	}
	if (width <= 1)
		return width;
	uint64_t top = UINT64_C(1) << (width - 2);
	uint64_t second = coder_bit(coder, &chances->second[width], (value & top) != 0);
	uint64_t below = coder_long(coder, value & (top - 1), width - 2);
	return (2 | second) << (width - 2) | below;
}

static int64_t coder_signed(struct coder *coder, struct number_chances *chances, int64_t value)
{
	uint64_t zigzag = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
	zigzag = coder_number(coder, chances, zigzag);
	return (int64_t)(zigzag >> 1 ^ -(zigzag & 1));
}

/* ---- ranks ---- */

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

static inline uint32_t places_get(const struct places *places, uint32_t id)
{
	return id < places->capacity ? places->all[id] : 0;
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

/* Half way to the front, in exchange with what is there. */
static void ranks_raise(struct ranks *ranks, struct places *places, uint32_t rank)
{
	uint32_t to = rank / 2;
	uint32_t raised = ranks->all[rank];
	uint32_t lowered = ranks->all[to];
	ranks->all[to] = raised;
	ranks->all[rank] = lowered;
	places->all[lowered] = rank + 1;
	places->all[raised] = to + 1;
}

/* One of what is ranked: ID_NONE where there is none of that rank. */
static uint32_t coder_ranked(
        struct coder *coder, struct ranks *ranks, struct places *places, uint32_t id)
{
	uint32_t rank = coder->mode == CODER_READ ? 0 : places_get(places, id) - 1;
	range_chance *chances = coder->packer->chances.rank[bits_width(ranks->count)];
	unsigned int width = coder_tree(coder, chances, bits_width(rank), PACKER_RANK_BITS);
	if (width > 1 && width < 32)
		rank = (uint32_t)(UINT64_C(1) << (width - 1) |
		                  coder_long(coder, rank & ((UINT64_C(1) << (width - 1)) - 1),
		                          width - 1));
	else
		rank = width;
	if (rank >= ranks->count) {
		coder_refuse(coder, -EBADMSG);
		return ID_NONE;
	}
	id = ranks->all[rank];
	ranks_raise(ranks, places, rank);
	return id;
}

/* ---- frames ---- */

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

/* A build's code has other addresses, and the same functions. */
static inline uint64_t packer_name(const struct dict_packer *packer, uint32_t frame)
{
	uint32_t function = packer->briefs[frame].function;
	return function ? function : UINT64_C(1) << 32 | frame;
}

/* What is below an address that nobody named is not looked up: it costs more than it tells. */
static inline bool packer_is_function(uint64_t name)
{
	return name <= UINT32_MAX;
}

static struct packer_module *packer_module_of(struct dict_packer *packer, uint32_t module)
{
	uint32_t before = packer->modules_capacity;
	if (module < before)
		return &packer->modules[module];
	struct packer_module *modules = dict_grow(
	        packer->modules, &packer->modules_capacity, (uint64_t)module + 1, sizeof(*modules));
	if (!modules)
		return NULL;
	memset(modules + before, 0, (packer->modules_capacity - before) * sizeof(*modules));
	packer->modules = modules;
	return &modules[module];
}

static uint32_t coder_module(struct coder *coder, uint32_t module)
{
	uint32_t small = module < PACKER_MODULE_OTHER ? module : PACKER_MODULE_OTHER;
	small = coder_tree(coder, coder->packer->chances.module, small, PACKER_MODULE_BITS);
	return small < PACKER_MODULE_OTHER ? small : (uint32_t)coder_long(coder, module, 32);
}

/* A frame that some node has. */
static uint32_t coder_known_frame(
        struct coder *coder, const struct surroundings *around, uint32_t frame)
{
	struct dict_packer *packer = coder->packer;
	bool is_reading = coder->mode == CODER_READ;
	uint32_t module = is_reading ? 0 : packer->briefs[frame].module;
	if (coder_bit(coder, &packer->chances.is_module_of_parent[packer->past],
	            module == around->parent_module))
		module = around->parent_module;
	else
		module = coder_module(coder, module);
	if (module >= packer->modules_capacity) {
		coder_refuse(coder, -EBADMSG);
		return ID_NONE;
	}
	return coder_ranked(coder, &packer->modules[module].frames, &packer->frames, frame);
}

/* An id that need not exist: whoever adds what has it will see. */
static uint32_t coder_string(struct coder *coder, struct number_chances *chances, uint32_t string)
{
	struct dict_packer *packer = coder->packer;
	int64_t distance = coder_signed(
	        coder, chances, (int64_t)string - (int64_t)packer->string_next);
	uint64_t id = (uint64_t)packer->string_next + (uint64_t)distance;
	if (id >= ID_NONE) {
		coder_refuse(coder, -EBADMSG);
		return 0;
	}
	if (id >= packer->string_next)
		packer->string_next = (uint32_t)id + 1;
	return (uint32_t)id;
}

static uint32_t coder_file(
        struct coder *coder, struct frame_chances *chances, uint32_t expected, uint32_t file)
{
	struct dict_packer *packer = coder->packer;
	if (coder_bit(coder, &chances->file, file == expected))
		return expected;
	bool is_old = coder->mode != CODER_READ && places_get(&packer->file_places, file) > 0;
	if (coder_bit(coder, &chances->file_is_old, is_old))
		return coder_ranked(coder, &packer->files, &packer->file_places, file);
	return coder_string(coder, &packer->chances.file, file);
}

/* Which frame a new one is like: of its function, if there is one. */
static enum likeness coder_likeness(struct coder *coder, const struct surroundings *around,
        struct frame *frame, uint32_t *ret_like)
{
	struct dict_packer *packer = coder->packer;
	struct chances *chances = &packer->chances;
	uint32_t function = around->function;
	if (function) {
		if (coder_bit(coder, &chances->is_twin, frame->function == function)) {
			frame->function = function;
			*ret_like = around->callee;
			return LIKE_TWIN;
		}
	}
	if (!coder_bit(coder, &chances->has_function, frame->function != 0)) {
		frame->function = 0;
		return LIKE_NOTHING;
	}
	uint32_t kin = coder->mode == CODER_READ ? 0 : places_get(&packer->kin, frame->function);
	if (!coder_bit(coder, &chances->has_kin, kin > 0)) {
		frame->function = coder_string(coder, &chances->function, frame->function);
		return LIKE_NOTHING;
	}
	*ret_like = coder_known_frame(coder, around, kin - 1);
	if (*ret_like == ID_NONE)
		return LIKE_NOTHING;
	frame->function = packer->briefs[*ret_like].function;
	return LIKE_KIN;
}

static void coder_kind(struct coder *coder, struct frame_chances *chances,
        const struct frame *expected, struct frame *frame)
{
	uint8_t kind = (uint8_t)(frame->kind | frame->flags << 3);
	uint8_t kind_expected = (uint8_t)(expected->kind | expected->flags << 3);
	if (coder_bit(coder, &chances->is_alike, kind == kind_expected))
		kind = kind_expected;
	else
		kind = (uint8_t)coder_tree(coder, chances->kind, kind, 8);
	frame->kind = kind & 7;
	frame->flags = kind >> 3;
}

static void coder_frame_names(struct coder *coder, struct frame_chances *chances,
        const struct frame *expected, struct frame *frame)
{
	frame->file = coder_file(coder, chances, expected->file, frame->file);
	if (coder_bit(coder, &chances->system_name, frame->system_name == expected->system_name)) {
		frame->system_name = expected->system_name;
		return;
	}
	uint64_t name = frame->function +
	                (uint64_t)coder_signed(coder, &chances->system_name_number,
	                        (int64_t)frame->system_name - (int64_t)frame->function);
	if (name >= ID_NONE)
		coder_refuse(coder, -EBADMSG);
	frame->system_name = (uint32_t)name;
}

/* Differences go around: any bytes are a number. */
static int64_t coder_near(
        struct coder *coder, struct number_chances *chances, int64_t near, int64_t value)
{
	uint64_t difference = (uint64_t)value - (uint64_t)near;
	return (int64_t)((uint64_t)near +
	                 (uint64_t)coder_signed(coder, chances, (int64_t)difference));
}

static void coder_frame_lines(struct coder *coder, struct frame_chances *chances,
        const struct frame *expected, bool is_like_nothing, struct frame *frame)
{
	frame->line = coder_near(coder, &chances->line, expected->line, frame->line);
	int64_t start = is_like_nothing && expected->start_line ? frame->line
	                                                        : expected->start_line;
	frame->start_line = coder_near(coder, &chances->start_line, start, frame->start_line);
	frame->column = coder_near(coder, &chances->column, 0, frame->column);
}

static void coder_frame_address(struct coder *coder, enum likeness likeness,
        const struct frame *expected, struct frame *frame)
{
	struct dict_packer *packer = coder->packer;
	struct frame_chances *chances = &packer->chances.frame[likeness];
	struct packer_module *module = packer_module_of(packer, frame->module);
	if (!module) {
		packer->failed = true;
		return;
	}
	bool is_other_build = likeness != LIKE_NOTHING && expected->module != frame->module;
	uint64_t near = likeness == LIKE_NOTHING ? module->address : expected->address;
	if (is_other_build)
		near += module->shift;
	frame->address = (uint64_t)coder_near(
	        coder, &chances->address, (int64_t)near, (int64_t)frame->address);
	module->address = frame->address;
	if (is_other_build)
		module->shift = frame->address - expected->address;
}

/* Everything of a frame that no node has yet. `frame` is zeroed where it is read. */
static void coder_frame(struct coder *coder, const struct surroundings *around, struct frame *frame)
{
	struct dict_packer *packer = coder->packer;
	uint32_t like = ID_NONE;
	enum likeness likeness = coder_likeness(coder, around, frame, &like);
	struct frame_chances *chances = &packer->chances.frame[likeness];
	bool is_like_nothing = likeness == LIKE_NOTHING;
	struct frame expected = is_like_nothing ? packer->before : coder->dict->frames[like];
	if (is_like_nothing && expected.file)
		expected.file = around->parent_frame == ID_NONE
		                        ? 0
		                        : coder->dict->frames[around->parent_frame].file;

	coder_kind(coder, chances, &expected, frame);
	uint32_t module = likeness == LIKE_KIN ? expected.module : around->parent_module;
	if (coder_bit(coder, &chances->module, frame->module == module))
		frame->module = module;
	else
		frame->module = coder_module(coder, frame->module);
	if (frame->module >= coder->dict->count.modules) {
		coder_refuse(coder, -EBADMSG);
		frame->module = 0;
	}
	coder_frame_names(coder, chances, &expected, frame);
	coder_frame_lines(coder, chances, &expected, is_like_nothing, frame);
	coder_frame_address(coder, likeness, &expected, frame);
	if (is_like_nothing)
		packer->before = *frame;
}

static bool packer_add_brief(struct dict_packer *packer, const struct frame *frame, uint32_t id)
{
	struct brief *briefs = dict_grow(
	        packer->briefs, &packer->briefs_capacity, (uint64_t)id + 1, sizeof(*briefs));
	if (!briefs)
		return false;
	packer->briefs = briefs;
	briefs[id] = (struct brief){ .function = frame->function, .module = frame->module };
	return true;
}

static bool packer_add_kin(struct dict_packer *packer, uint32_t function, uint32_t id)
{
	if (function == 0)
		return true;
	if (!places_reach(&packer->kin, function))
		return false;
	packer->kin.all[function] = id + 1;
	return true;
}

/* A node has it for the first time. It is in the dict. */
static void packer_add_frame(struct dict_packer *packer, const struct frame *frame, uint32_t id)
{
	struct packer_module *module = packer_module_of(packer, frame->module);
	bool is_new_file = places_get(&packer->file_places, frame->file) == 0;
	if (!module || !ranks_add(&module->frames, &packer->frames, id) ||
	        !packer_add_brief(packer, frame, id) ||
	        !packer_add_kin(packer, frame->function, id) ||
	        (is_new_file && !ranks_add(&packer->files, &packer->file_places, frame->file)))
		packer->failed = true;
}

static void coder_define(struct coder *coder, const struct frame *frame)
{
	uint32_t id;
	if (coder->result == 0 && coder->reader.failed)
		coder_refuse(coder, -EBADMSG);
	if (coder->mode != CODER_READ || coder->result < 0)
		return;
	int r = dict_frame(coder->into, frame, &id);
	if (r == 0 && id != coder->frames_next)
		r = -EBADMSG;
	coder_refuse(coder, r);
}

/* Every field in its bits. */
static void coder_plain_frame(struct coder *coder)
{
	struct frame frame = { 0 };
	if (coder->mode == CODER_WRITE)
		frame = coder->dict->frames[coder->frames_next];
	frame.kind = (uint8_t)coder_bits(coder, frame.kind, 8);
	frame.flags = (uint8_t)coder_bits(coder, frame.flags, 8);
	frame.module = (uint32_t)coder_long(coder, frame.module, 32);
	frame.function = (uint32_t)coder_long(coder, frame.function, 32);
	frame.system_name = (uint32_t)coder_long(coder, frame.system_name, 32);
	frame.file = (uint32_t)coder_long(coder, frame.file, 32);
	frame.address = coder_long(coder, frame.address, 64);
	frame.line = (int64_t)coder_long(coder, (uint64_t)frame.line, 64);
	frame.column = (int64_t)coder_long(coder, (uint64_t)frame.column, 64);
	frame.start_line = (int64_t)coder_long(coder, (uint64_t)frame.start_line, 64);
	coder_define(coder, &frame);
	coder->frames_next++;
}

/* One that is not the next is said plainly, with those before it that were not said yet. */
static uint32_t coder_other_frame(struct coder *coder, uint32_t id)
{
	id = (uint32_t)coder_long(coder, id, 32);
	if (id >= coder->frames_end || places_get(&coder->packer->frames, id) > 0)
		coder_refuse(coder, -EBADMSG);
	while (coder->result == 0 && coder->frames_next <= id)
		coder_plain_frame(coder);
	return id;
}

/* A frame that no node has, of a node. */
static uint32_t coder_new_frame(struct coder *coder, const struct surroundings *around, uint32_t id)
{
	struct dict_packer *packer = coder->packer;
	enum coder_mode mode = coder->mode;
	struct frame frame = { 0 };
	unsigned int is_other = id != coder->frames_next;
	if (mode == CODER_WRITE)
		range_put(&coder->writer, PACKER_CHANCE_NEXT, is_other);
	else if (mode == CODER_READ)
		is_other = range_get(&coder->reader, PACKER_CHANCE_NEXT);
	if (is_other && mode != CODER_LEARN) {
		id = coder_other_frame(coder, id);
		coder->mode = CODER_LEARN;
	} else if (mode == CODER_READ) {
		id = coder->frames_next;
		if (id >= coder->frames_end)
			coder_refuse(coder, -EBADMSG);
	}
	if (coder->result == 0) {
		if (coder->mode != CODER_READ)
			frame = coder->dict->frames[id];
		coder_frame(coder, around, &frame);
		if (!is_other)
			coder_define(coder, &frame);
	}
	if (!is_other && mode != CODER_LEARN)
		coder->frames_next++;
	coder->mode = mode;
	if (coder->result < 0)
		return ID_NONE;
	packer_add_frame(packer, &coder->dict->frames[id], id);
	return id;
}

/* ---- nodes ---- */

static inline uint64_t packer_key(uint64_t parent_name, uint64_t grandparent_name)
{
	return (parent_name * PACKER_KEY_PARENT + grandparent_name * PACKER_KEY_GRANDPARENT) >>
	       (64 - PACKER_CALLEES_BITS);
}

static struct surroundings packer_surroundings(
        const struct dict_packer *packer, const struct dict *dict, uint32_t parent)
{
	struct surroundings around = {
		.parent_frame = ID_NONE, .callee = ID_NONE, .foretold = ID_NONE
	};
	uint64_t grandparent_name = 0;
	if (parent != DICT_NODE_ROOT && parent + 1 == packer->seen) {
		around.parent_frame = packer->newest.frame;
		around.parent_module = packer->newest.module;
		around.parent_name = packer->newest.name;
		grandparent_name = packer->newest.parent_name;
	} else if (parent != DICT_NODE_ROOT) {
		struct node node = dict->nodes.all[parent];
		around.parent_frame = node.frame;
		around.parent_module = packer->briefs[node.frame].module;
		around.parent_name = packer_name(packer, node.frame);
		if (node.parent != DICT_NODE_ROOT)
			grandparent_name = packer_name(packer, dict->nodes.all[node.parent].frame);
	}
	if (!packer_is_function(around.parent_name))
		return around;
	around.key = packer_key(around.parent_name, grandparent_name);
	around.callee = packer->callees[around.key] - 1;
	if (around.callee != ID_NONE)
		around.function = packer->briefs[around.callee].function;
	return around;
}

static struct twin *packer_twin(struct dict_packer *packer, uint32_t frame, uint32_t module)
{
	uint64_t key = (frame * PACKER_KEY_PARENT + module * PACKER_KEY_MODULE) >>
	               (64 - PACKER_TWINS_BITS);
	return &packer->twins[key];
}

static void packer_foretell(struct dict_packer *packer, struct surroundings *around)
{
	around->foretold = around->callee;
	/* Without a function nothing is known to be the same. */
	if (around->function == 0 || around->parent_module >= packer->modules_capacity ||
	        !packer->modules[around->parent_module].has_twins)
		return;
	const struct twin *twin = packer_twin(packer, around->callee, around->parent_module);
	around->has_become = twin->frame == around->callee + 1;
	if (around->has_become)
		around->foretold = twin->became;
}

static void packer_learn_callee(
        struct dict_packer *packer, const struct surroundings *around, uint32_t frame)
{
	uint32_t function = packer->briefs[frame].function;
	if (!packer_is_function(around->parent_name))
		return;
	packer->callees[around->key] = frame + 1;
	if (function == 0 || function != around->function || frame == around->foretold)
		return;
	struct packer_module *module = packer_module_of(packer, around->parent_module);
	if (!module) {
		packer->failed = true;
		return;
	}
	module->has_twins = true;
	*packer_twin(packer, around->callee, around->parent_module) =
	        (struct twin){ .frame = around->callee + 1, .became = frame };
}

static void packer_learn(
        struct dict_packer *packer, const struct surroundings *around, uint32_t frame, bool is_new)
{
	if (around->parent_frame != ID_NONE)
		packer->briefs[around->parent_frame].is_caller = 1;
	packer->newest.was = is_new                            ? NEWEST_NEW
	                     : packer->briefs[frame].is_caller ? NEWEST_CALLER
	                                                       : NEWEST_NOT_CALLER;
	packer_learn_callee(packer, around, frame);
	packer->newest.name = packer_name(packer, frame);
	packer->newest.parent_name = around->parent_name;
	packer->newest.module = packer->briefs[frame].module;
	packer->newest.frame = frame;
	/* Mostly what comes next is below it. */
	if (packer_is_function(packer->newest.name))
		__builtin_prefetch(
		        &packer->callees[packer_key(packer->newest.name, around->parent_name)]);
}

/* ID_NONE: it is of none that there is. */
static uint32_t coder_parent(struct coder *coder, uint32_t id, uint32_t parent)
{
	struct chances *chances = &coder->packer->chances;
	if (coder_bit(coder, &chances->follows[coder->packer->past][coder->packer->newest.was],
	            parent + 1 == id))
		return id - 1;
	uint64_t distance = coder_number(coder, &chances->distance, (uint64_t)id - 2 - parent);
	if (id < 2 || distance > id - 2) {
		coder_refuse(coder, -EBADMSG);
		return ID_NONE;
	}
	return id - 2 - (uint32_t)distance;
}

/* The node's frame, and what is learned from it. */
static uint32_t coder_node_frame(struct coder *coder, uint32_t parent, uint32_t frame)
{
	struct dict_packer *packer = coder->packer;
	struct chances *chances = &packer->chances;
	struct surroundings around = packer_surroundings(packer, coder->dict, parent);
	packer_foretell(packer, &around);
	bool is_hinted = around.foretold != ID_NONE;
	bool is_new = false;
	bool is_foretold = is_hinted &&
	                   coder_bit(coder, &chances->is_foretold[around.has_become][packer->past],
	                           frame == around.foretold);
	if (is_foretold) {
		frame = around.foretold;
	} else {
		is_new = coder->mode != CODER_READ && places_get(&packer->frames, frame) == 0;
		is_new = coder_bit(
		        coder, &chances->is_new[packer->past][packer->newest.was], is_new);
		frame = is_new ? coder_new_frame(coder, &around, frame)
		               : coder_known_frame(coder, &around, frame);
	}
	if (coder->result < 0 || packer->failed)
		return ID_NONE;
	packer_learn(packer, &around, frame, is_new);
	packer->past = packer->past * 3 % PACKER_PAST + (is_foretold ? 2 : is_hinted);
	return frame;
}

/* Where the callee of a node further on lies. NULL: below the root or what is new, or no function.
 */
static inline const uint32_t *coder_callee_ahead(
        const struct coder *coder, uint32_t node, uint32_t *ret_frame)
{
	const struct dict_packer *packer = coder->packer;
	const struct node *all = coder->dict->nodes.all;
	struct node parent = all[all[node].parent];
	struct node grandparent = all[parent.parent];
	if (parent.frame >= packer->briefs_capacity || grandparent.frame >= packer->briefs_capacity)
		return NULL;
	uint64_t name = packer_name(packer, parent.frame);
	if (!packer_is_function(name))
		return NULL;
	*ret_frame = parent.frame;
	return &packer->callees[packer_key(name, packer_name(packer, grandparent.frame))];
}

/*
 * What nodes further on will look at is anywhere in memory: it is asked for before it is needed. A
 * frame that is new by then has no place yet.
 */
static inline void coder_fetch_ahead(const struct coder *coder, uint32_t nodes)
{
	struct dict_packer *packer = coder->packer;
	uint32_t far = packer->seen + PACKER_FETCH_FAR;
	if (far >= nodes)
		return;
	uint32_t frame = coder->dict->nodes.all[far].frame;
	if (frame < packer->briefs_capacity && frame < packer->frames.capacity) {
		__builtin_prefetch(&packer->briefs[frame]);
		__builtin_prefetch(&packer->frames.all[frame]);
	}
	const uint32_t *callee = coder_callee_ahead(
	        coder, packer->seen + PACKER_FETCH_NEAR, &frame);
	if (callee)
		__builtin_prefetch(callee);
	callee = coder_callee_ahead(coder, packer->seen + PACKER_FETCH_NEXT, &frame);
	if (!callee || *callee == 0)
		return;
	__builtin_prefetch(&packer->briefs[*callee - 1]);
	uint32_t module = packer->briefs[frame].module;
	if (module < packer->modules_capacity && packer->modules[module].has_twins)
		__builtin_prefetch(packer_twin(packer, *callee - 1, module));
}

/* Up to so many nodes, which the dict has. */
static void coder_nodes(struct coder *coder, uint32_t nodes)
{
	struct dict_packer *packer = coder->packer;
	for (; packer->seen < nodes && !packer->failed; packer->seen++) {
		struct node node = coder->dict->nodes.all[packer->seen];
		coder_fetch_ahead(coder, nodes);
		(void)coder_parent(coder, packer->seen, node.parent);
		(void)coder_node_frame(coder, node.parent, node.frame);
	}
}

/* Goes over what was not seen. */
static bool packer_follow(struct dict_packer *packer, const struct dict *dict, uint32_t nodes)
{
	dict_packer_forget(packer, (struct dict_mark){ .nodes = nodes });
	if (!packer_begin(packer))
		return false;
	struct coder coder = { .mode = CODER_LEARN, .packer = packer, .dict = dict };
	coder_nodes(&coder, nodes);
	return !packer->failed;
}

void dict_encode_packed(
        struct dict_packer *packer, const struct dict *dict, struct dict_mark from, struct buf *to)
{
	from = dict_mark_from_first(from);
	assert(dict_mark_is_within(from, dict->count));
	dict_encode_head(dict, from, to);
	dict_encode_names(dict, from, to);
	dict_encode_series(dict, from, to);
	if (!packer_follow(packer, dict, from.nodes)) {
		to->failed = true;
		return;
	}
	struct coder coder = {
		.mode = CODER_WRITE,
		.packer = packer,
		.dict = dict,
		.frames_next = from.frames,
		.frames_end = dict->count.frames,
		.writer = range_writer_of(to),
	};
	coder_nodes(&coder, dict->count.nodes);
	while (coder.frames_next < dict->count.frames)
		coder_plain_frame(&coder);
	range_end(&coder.writer);
	to->failed |= packer->failed;
}

/* Nodes, and with them the frames that they are the first to have. */
static int coder_read_nodes(struct coder *coder, uint32_t count)
{
	struct dict_packer *packer = coder->packer;
	for (uint32_t i = 0; i < count && coder->result == 0; i++) {
		uint32_t id;
		uint32_t parent = coder_parent(coder, packer->seen, 0);
		if (parent == ID_NONE)
			break;
		uint32_t frame = coder_node_frame(coder, parent, 0);
		if (packer->failed)
			return -ENOMEM;
		if (coder->reader.failed)
			coder_refuse(coder, -EBADMSG);
		if (coder->result < 0)
			break;
		int r = dict_node(coder->into, parent, frame, &id);
		coder_refuse(coder, r == 0 && id != packer->seen ? -EBADMSG : r);
		packer->seen++;
	}
	return coder->result;
}

static int dict_decode_packed_all(
        struct dict_packer *packer, struct dict *dict, struct reader *from)
{
	struct dict_mark added;
	int r = dict_decode_head(dict, (struct dict_least){ 0 }, from, &added);
	r = r < 0 ? r : dict_decode_names(dict, added, from);
	r = r < 0 ? r : dict_decode_series(dict, added.series, from);
	if (r < 0)
		return r;
	if (!packer_follow(packer, dict, dict->count.nodes))
		return -ENOMEM;
	struct coder coder = {
		.mode = CODER_READ,
		.packer = packer,
		.dict = dict,
		.into = dict,
		.frames_next = dict->count.frames,
		.frames_end = dict->count.frames + added.frames,
		.reader = range_reader_of(from),
	};
	r = coder_read_nodes(&coder, added.nodes);
	while (r == 0 && coder.frames_next < coder.frames_end) {
		coder_plain_frame(&coder);
		r = coder.result;
	}
	from->at = from->end;
	return r == 0 && !range_is_at_end(&coder.reader) ? -EBADMSG : r;
}

int dict_decode_packed(struct dict_packer *packer, struct dict *dict, struct reader *from)
{
	struct dict_mark before = dict->count;
	int r = dict_decode_packed_all(packer, dict, from);
	if (r < 0) {
		dict_truncate(dict, before);
		packer_reset(packer);
	}
	return r == -EINVAL ? -EBADMSG : r;
}
