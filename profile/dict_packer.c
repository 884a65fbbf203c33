/*
 * The coder: what dict_model foretells, and the truth, become bits under a range code and back
 * (docs/formats/dict.md has every step).
 *
 * A frame is written where a node has it for the first time, when it is known what it may be like.
 * So frames are learned from nodes alone, and a packer can go over the nodes of a dict (LEARN) and
 * be where one is that wrote or read them: the same code does all three. Frames that are written
 * before a node has them are written plainly and teach nothing.
 */

#include "profile/dict_packer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/bits.h"
#include "core/range_code.h"
#include "profile/dict_model_private.h"
#include "profile/dict_private.h"

/* That a frame is not the next one happens to nobody who adds stacks one after the other. */
#define PACKER_CHANCE_NEXT 65280

struct dict_packer {
	struct dict_model model;
};

struct dict_packer *dict_packer_new(void)
{
	return calloc(1, sizeof(struct dict_packer));
}

void dict_packer_free(struct dict_packer *packer)
{
	if (!packer)
		return;
	dict_model_fini(&packer->model);
	free(packer);
}

static bool packer_is_to_begin_anew(const struct dict_packer *packer, struct dict_mark mark)
{
	return packer->model.failed || packer->model.seen > mark.nodes;
}

void dict_packer_forget(struct dict_packer *packer, struct dict_mark mark)
{
	if (packer_is_to_begin_anew(packer, mark))
		dict_model_reset(&packer->model);
}

uint32_t dict_packer_unseen(const struct dict_packer *packer, struct dict_mark mark)
{
	return mark.nodes - (packer_is_to_begin_anew(packer, mark) ? 0 : packer->model.seen);
}

size_t dict_packer_memory(const struct dict_packer *packer)
{
	return dict_model_memory(&packer->model);
}

/* ---- one coder for writing, reading and learning ---- */

enum coder_mode { CODER_WRITE, CODER_READ, CODER_LEARN };

/* So many decisions are noted before they are written, see struct range_step. */
#define CODER_STEPS 512

struct coder {
	enum coder_mode mode;
	struct dict_model *model;
	const struct dict *dict;
	struct dict *into; /* the same, where it is read */
	uint32_t frames_next;
	uint32_t frames_end;
	struct range_writer writer;
	struct range_reader reader;
	int result; /* of what was read: negative once something was wrong */
	uint32_t steps_count;
	struct range_step steps[CODER_STEPS];
};

static void coder_put_steps(struct coder *coder)
{
	range_put_steps(&coder->writer, coder->steps, coder->steps_count);
	coder->steps_count = 0;
}

static inline void coder_note(struct coder *coder, struct range_step step)
{
	if (coder->steps_count == CODER_STEPS)
		coder_put_steps(coder);
	coder->steps[coder->steps_count++] = step;
}

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
		coder_note(coder, range_step_of(*chance, bit));
	range_learn(chance, bit);
	return bit;
}

static inline uint32_t coder_bits(struct coder *coder, uint32_t value, unsigned int count)
{
	if (coder->mode == CODER_READ)
		return range_get_bits(&coder->reader, count);
	if (coder->mode == CODER_WRITE)
		coder_note(coder, range_step_of_bits(value, count));
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
	width = coder_tree(coder, chances->width, width, MODEL_WIDTH_BITS);
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

/* One of what is ranked: ID_NONE where there is none of that rank. */
static uint32_t coder_ranked(
        struct coder *coder, struct ranks *ranks, struct places *places, uint32_t id)
{
	uint32_t rank = coder->mode == CODER_READ ? 0 : dict_places_get(places, id) - 1;
	range_chance *chances = coder->model->chances.rank[bits_width(ranks->count)];
	unsigned int width = coder_tree(coder, chances, bits_width(rank), MODEL_RANK_BITS);
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
	/* Whoever knows it does not wait for memory. */
	if (coder->mode == CODER_READ)
		id = ranks->all[rank];
	dict_ranks_raise(ranks, places, rank);
	return id;
}

/* ---- frames ---- */

static uint32_t coder_module(struct coder *coder, uint32_t module)
{
	uint32_t small = module < MODEL_MODULE_OTHER ? module : MODEL_MODULE_OTHER;
	small = coder_tree(coder, coder->model->chances.module, small, MODEL_MODULE_BITS);
	return small < MODEL_MODULE_OTHER ? small : (uint32_t)coder_long(coder, module, 32);
}

/* A frame that some node has. */
static uint32_t coder_known_frame(
        struct coder *coder, const struct surroundings *around, uint32_t frame)
{
	struct dict_model *model = coder->model;
	bool is_reading = coder->mode == CODER_READ;
	uint32_t module = is_reading ? 0 : model->briefs[frame].module;
	if (coder_bit(coder, &model->chances.is_module_of_parent[model->past],
	            module == around->parent_module))
		module = around->parent_module;
	else
		module = coder_module(coder, module);
	if (module >= model->modules_capacity) {
		coder_refuse(coder, -EBADMSG);
		return ID_NONE;
	}
	return coder_ranked(coder, &model->modules[module].frames, &model->frames, frame);
}

/* An id that need not exist: whoever adds what has it will see. */
static uint32_t coder_string(struct coder *coder, struct number_chances *chances, uint32_t string)
{
	struct dict_model *model = coder->model;
	int64_t distance = coder_signed(
	        coder, chances, (int64_t)string - (int64_t)model->string_next);
	uint64_t id = (uint64_t)model->string_next + (uint64_t)distance;
	if (id >= ID_NONE) {
		coder_refuse(coder, -EBADMSG);
		return 0;
	}
	if (id >= model->string_next)
		model->string_next = (uint32_t)id + 1;
	return (uint32_t)id;
}

static uint32_t coder_file(
        struct coder *coder, struct frame_chances *chances, uint32_t expected, uint32_t file)
{
	struct dict_model *model = coder->model;
	if (coder_bit(coder, &chances->file, file == expected))
		return expected;
	bool is_old = coder->mode != CODER_READ && dict_places_get(&model->file_places, file) > 0;
	if (coder_bit(coder, &chances->file_is_old, is_old))
		return coder_ranked(coder, &model->files, &model->file_places, file);
	return coder_string(coder, &model->chances.file, file);
}

/* Which frame a new one is like: of its function, if there is one. */
static enum likeness coder_likeness(struct coder *coder, const struct surroundings *around,
        struct frame *frame, uint32_t *ret_like)
{
	struct dict_model *model = coder->model;
	struct chances *chances = &model->chances;
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
	uint32_t kin = coder->mode == CODER_READ ? 0
	                                         : dict_places_get(&model->kin, frame->function);
	if (!coder_bit(coder, &chances->has_kin, kin > 0)) {
		frame->function = coder_string(coder, &chances->function, frame->function);
		return LIKE_NOTHING;
	}
	*ret_like = coder_known_frame(coder, around, kin - 1);
	if (*ret_like == ID_NONE)
		return LIKE_NOTHING;
	frame->function = model->briefs[*ret_like].function;
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
	struct dict_model *model = coder->model;
	struct frame_chances *chances = &model->chances.frame[likeness];
	struct model_module *module = dict_model_module(model, frame->module);
	if (!module) {
		model->failed = true;
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
	struct dict_model *model = coder->model;
	uint32_t like = ID_NONE;
	enum likeness likeness = coder_likeness(coder, around, frame, &like);
	struct frame_chances *chances = &model->chances.frame[likeness];
	bool is_like_nothing = likeness == LIKE_NOTHING;
	struct frame expected = is_like_nothing ? model->before : dict_get_frame(coder->dict, like);
	if (is_like_nothing && expected.file)
		expected.file = around->parent_frame == ID_NONE
		                        ? 0
		                        : dict_get_frame(coder->dict, around->parent_frame).file;

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
		model->before = *frame;
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
		frame = dict_get_frame(coder->dict, coder->frames_next);
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
	if (id >= coder->frames_end || dict_places_get(&coder->model->frames, id) > 0)
		coder_refuse(coder, -EBADMSG);
	while (coder->result == 0 && coder->frames_next <= id)
		coder_plain_frame(coder);
	return id;
}

/* A frame that no node has, of a node. */
static uint32_t coder_new_frame(struct coder *coder, const struct surroundings *around, uint32_t id)
{
	struct dict_model *model = coder->model;
	enum coder_mode mode = coder->mode;
	struct frame frame = { 0 };
	unsigned int is_other = id != coder->frames_next;
	if (mode == CODER_WRITE)
		coder_note(coder, range_step_of(PACKER_CHANCE_NEXT, is_other));
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
			frame = dict_get_frame(coder->dict, id);
		coder_frame(coder, around, &frame);
		if (!is_other)
			coder_define(coder, &frame);
	}
	if (!is_other && mode != CODER_LEARN)
		coder->frames_next++;
	coder->mode = mode;
	if (coder->result < 0)
		return ID_NONE;
	frame = dict_get_frame(coder->dict, id);
	dict_model_add_frame(model, &frame, id);
	return id;
}

/* ---- nodes ---- */

/* ID_NONE: it is of none that there is. */
static uint32_t coder_parent(struct coder *coder, uint32_t id, uint32_t parent)
{
	struct chances *chances = &coder->model->chances;
	if (coder_bit(coder, &chances->follows[coder->model->past][coder->model->newest.was],
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
	struct dict_model *model = coder->model;
	struct chances *chances = &model->chances;
	struct surroundings around = dict_model_foretell(model, coder->dict, parent);
	bool is_hinted = around.foretold != ID_NONE;
	bool is_new = false;
	bool is_foretold = is_hinted &&
	                   coder_bit(coder, &chances->is_foretold[around.has_become][model->past],
	                           frame == around.foretold);
	if (is_foretold) {
		frame = around.foretold;
	} else {
		is_new = coder->mode != CODER_READ && dict_places_get(&model->frames, frame) == 0;
		is_new = coder_bit(coder, &chances->is_new[model->past][model->newest.was], is_new);
		frame = is_new ? coder_new_frame(coder, &around, frame)
		               : coder_known_frame(coder, &around, frame);
	}
	if (coder->result < 0 || model->failed)
		return ID_NONE;
	dict_model_learn(model, &around, frame, is_new);
	model->past = model->past * 3 % MODEL_PAST + (is_foretold ? 2 : is_hinted);
	return frame;
}

/* Up to so many nodes, which the dict has. */
static void coder_nodes(struct coder *coder, uint32_t nodes)
{
	struct dict_model *model = coder->model;
	for (; model->seen < nodes && !model->failed; model->seen++) {
		struct node node = coder->dict->nodes.all[model->seen];
		dict_model_fetch_ahead(model, coder->dict, nodes);
		(void)coder_parent(coder, model->seen, node.parent);
		(void)coder_node_frame(coder, node.parent, node.frame);
	}
}

/* Goes over what was not seen. */
static bool packer_follow(struct dict_packer *packer, const struct dict *dict, uint32_t nodes)
{
	dict_packer_forget(packer, (struct dict_mark){ .nodes = nodes });
	if (!dict_model_begin(&packer->model))
		return false;
	struct coder coder = { .mode = CODER_LEARN, .model = &packer->model, .dict = dict };
	coder_nodes(&coder, nodes);
	return !packer->model.failed;
}

void dict_encode_packed(struct dict_packer *packer, const struct dict *dict, struct dict_mark from,
        struct buf *text, struct buf *to)
{
	from = dict_mark_from_first(from);
	assert(dict_mark_is_within(from, dict->count));
	dict_encode_head(dict, from, to);
	dict_encode_names(dict, from, text);
	dict_encode_series(dict, from, text);
	if (!packer_follow(packer, dict, from.nodes)) {
		to->failed = true;
		return;
	}
	struct coder coder = {
		.mode = CODER_WRITE,
		.model = &packer->model,
		.dict = dict,
		.frames_next = from.frames,
		.frames_end = dict->count.frames,
		.writer = range_writer_of(to),
	};
	coder_nodes(&coder, dict->count.nodes);
	while (coder.frames_next < dict->count.frames)
		coder_plain_frame(&coder);
	coder_put_steps(&coder);
	range_end(&coder.writer);
	to->failed |= packer->model.failed;
}

/* Nodes, and with them the frames that they are the first to have. */
static int coder_read_nodes(struct coder *coder, uint32_t count)
{
	struct dict_model *model = coder->model;
	for (uint32_t i = 0; i < count && coder->result == 0; i++) {
		uint32_t id;
		uint32_t parent = coder_parent(coder, model->seen, 0);
		if (parent == ID_NONE)
			break;
		uint32_t frame = coder_node_frame(coder, parent, 0);
		if (model->failed)
			return -ENOMEM;
		if (coder->reader.failed)
			coder_refuse(coder, -EBADMSG);
		if (coder->result < 0)
			break;
		int r = dict_node(coder->into, parent, frame, &id);
		coder_refuse(coder, r == 0 && id != model->seen ? -EBADMSG : r);
		model->seen++;
	}
	return coder->result;
}

static int dict_decode_packed_all(
        struct dict_packer *packer, struct dict *dict, struct reader *text, struct reader *from)
{
	struct dict_mark added;
	int r = dict_decode_head(dict, (struct dict_least){ 0 }, from, text, &added);
	r = r < 0 ? r : dict_decode_names(dict, added, text);
	r = r < 0 ? r : dict_decode_series(dict, added.series, text);
	if (r == 0 && text != from && reader_left(text) > 0)
		r = -EBADMSG;
	if (r < 0)
		return r;
	if (!packer_follow(packer, dict, dict->count.nodes))
		return -ENOMEM;
	struct coder coder = {
		.mode = CODER_READ,
		.model = &packer->model,
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

int dict_decode_packed(
        struct dict_packer *packer, struct dict *dict, struct reader *text, struct reader *from)
{
	struct dict_mark before = dict->count;
	int r = dict_decode_packed_all(packer, dict, text, from);
	if (r < 0) {
		dict_truncate(dict, before);
		dict_model_reset(&packer->model);
	}
	return r == -EINVAL ? -EBADMSG : r;
}
