/*
 * Two memos make naming cost one look-up per distinct frame and one step per distinct node, however
 * many rows there are: frame id -> named frame, node id -> named node. A stack is walked towards
 * the root only until a node that is known, and then named on the way back.
 */

#include "profile/naming.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"

struct naming {
	const struct dict *from;
	struct dict *to;
	struct dict_remap *remap;
	struct naming_source *source;
	enum naming_level level;
	uint32_t *frames; /* id in `from` -> id in `to`, or ID_NONE */
	uint32_t *nodes;
	uint32_t frames_capacity, nodes_capacity;
	uint32_t *path;
	uint32_t path_capacity;
};

bool naming_is_unknown(const struct frame *frame)
{
	return frame->function == 0 && frame->kind != FRAME_TRUNCATED;
}

/*
 * Our agents' addresses are offsets in the file. Those of an imported file are whatever its
 * mapping says, and the mapping leads back to the offset.
 */
uint64_t naming_file_offset(const struct module *module, uint64_t address)
{
	if (address >= module->start && address < module->limit)
		return address - module->start + module->offset;
	return address;
}

/* The function that the source knows at this frame, or the empty string. */
static int naming_function(struct naming *naming, const struct frame *frame, uint32_t *ret_function)
{
	const struct module *module = dict_get_module(naming->from, frame->module);
	const struct symbols *symbols = NULL;
	const char *name = NULL;
	uint64_t start;

	if (module->build_id != 0 && naming->source)
		symbols = naming->source->find(
		        naming->source, dict_text(naming->from, module->build_id));
	if (symbols)
		name = symbols_find(symbols, naming_file_offset(module, frame->address), &start);
	if (!name) {
		*ret_function = 0;
		return 0;
	}
	return dict_cstring(naming->to, name, ret_function);
}

/*
 * At function level a module is the base name of its file: two builds of one program, or one file
 * seen through two mappings, have the same functions.
 */
static int naming_module(struct naming *naming, uint32_t id, uint32_t *ret_id)
{
	struct module named = { 0 };
	size_t count;
	const struct module *module = dict_get_module(naming->from, id);
	const char *name = dict_get_string(naming->from, module->name, &count);
	const char *slash = memrchr(name, '/', count);

	if (slash && slash + 1 < name + count) {
		count -= (size_t)(slash + 1 - name);
		name = slash + 1;
	}
	if (count == 0) {
		*ret_id = 0;
		return 0;
	}
	int result = dict_string(naming->to, name, count, &named.name);
	return result < 0 ? result : dict_module(naming->to, &named, ret_id);
}

static int naming_frame_at_function(
        struct naming *naming, const struct frame *frame, uint32_t *ret_id)
{
	struct frame named = { .kind = frame->kind };
	int result = 0;

	if (frame->function != 0)
		result = dict_remap_string(naming->remap, frame->function, &named.function);
	else if (frame->kind == FRAME_NATIVE)
		result = naming_function(naming, frame, &named.function);
	if (result == 0)
		result = naming_module(naming, frame->module, &named.module);
	return result < 0 ? result : dict_frame(naming->to, &named, ret_id);
}

static int naming_frame_at_address(struct naming *naming, uint32_t id, uint32_t *ret_id)
{
	struct frame named = dict_get_frame(naming->from, id);
	struct module module = *dict_get_module(naming->from, named.module);

	if (named.kind != FRAME_NATIVE || named.function != 0)
		return dict_remap_frame(naming->remap, id, ret_id);
	int result = naming_function(naming, &named, &named.function);
	if (result < 0)
		return result;
	if (named.function == 0)
		return dict_remap_frame(naming->remap, id, ret_id);

	result = dict_remap_string(naming->remap, module.name, &module.name);
	if (result == 0)
		result = dict_remap_string(naming->remap, module.build_id, &module.build_id);
	if (result == 0)
		result = dict_module(naming->to, &module, &named.module);
	if (result == 0)
		result = dict_remap_string(naming->remap, named.system_name, &named.system_name);
	if (result == 0)
		result = dict_remap_string(naming->remap, named.file, &named.file);
	return result < 0 ? result : dict_frame(naming->to, &named, ret_id);
}

static int naming_frame(struct naming *naming, uint32_t id, uint32_t *ret_id)
{
	if (naming->frames[id] == ID_NONE) {
		struct frame frame = dict_get_frame(naming->from, id);
		uint32_t named = ID_NONE;
		int result;

		if (naming->level == NAMING_ADDRESS)
			result = naming_frame_at_address(naming, id, &named);
		else
			result = naming_frame_at_function(naming, &frame, &named);
		if (result < 0)
			return result;
		naming->frames[id] = named;
	}
	*ret_id = naming->frames[id];
	return 0;
}

/* The C library, as far as its start code goes: glibc's and musl's file names. */
static bool naming_is_libc(const struct dict *dict, const struct frame *frame)
{
	const char *name = dict_text(dict, dict_get_module(dict, frame->module)->name);
	const char *slash = strrchr(name, '/');

	name = slash ? slash + 1 : name;
	return strncmp(name, "libc.so", 7) == 0 || strncmp(name, "libc-", 5) == 0 ||
	       strncmp(name, "ld-musl-", 8) == 0;
}

static bool naming_is_truncation(const struct dict *dict, uint32_t node)
{
	if (node == DICT_NODE_ROOT)
		return false;
	struct node at = dict_get_node(dict, node);
	return at.parent == DICT_NODE_ROOT &&
	       dict_get_frame(dict, at.frame).kind == FRAME_TRUNCATED;
}

/*
 * A walk by frame pointers always ends in the C library's start code, which keeps none, and the
 * agent cannot tell that from a walk that went wrong. Here the frames have names: main() has no
 * caller but start code, so a walk that reached it, with at most one frame of the C library beyond,
 * is finished, and `named`, the node of main's caller, goes without the mark.
 */
static int naming_finish(struct naming *naming, uint32_t frame, uint32_t *named)
{
	struct frame callee = dict_get_frame(naming->to, frame);

	if (*named == DICT_NODE_ROOT || callee.kind != FRAME_NATIVE ||
	        strcmp(dict_text(naming->to, callee.function), "main") != 0)
		return 0;
	if (naming_is_truncation(naming->to, *named)) {
		*named = DICT_NODE_ROOT;
		return 0;
	}
	struct node caller = dict_get_node(naming->to, *named);
	struct frame its = dict_get_frame(naming->to, caller.frame);
	if (!naming_is_truncation(naming->to, caller.parent) || !naming_is_libc(naming->to, &its))
		return 0;
	return dict_node(naming->to, DICT_NODE_ROOT, caller.frame, named);
}

static int naming_node(struct naming *naming, uint32_t id, uint32_t *ret_id)
{
	uint32_t depth = 0;

	while (naming->nodes[id] == ID_NONE) {
		if (depth == naming->path_capacity) {
			uint32_t capacity = depth ? depth * 2 : 256;
			uint32_t *path = reallocarray(naming->path, capacity, sizeof(uint32_t));
			if (!path)
				return -ENOMEM;
			naming->path = path;
			naming->path_capacity = capacity;
		}
		naming->path[depth++] = id;
		id = dict_get_node(naming->from, id).parent;
	}

	uint32_t named = naming->nodes[id];
	while (depth > 0) {
		uint32_t frame = 0;
		id = naming->path[--depth];
		int result = naming_frame(naming, dict_get_node(naming->from, id).frame, &frame);
		if (result == 0)
			result = naming_finish(naming, frame, &named);
		if (result == 0)
			result = dict_node(naming->to, named, frame, &named);
		if (result < 0)
			return result;
		naming->nodes[id] = named;
	}
	*ret_id = named;
	return 0;
}

/* Room for what `from` has come to hold. Memos grow by half, as a dict that grows is asked again.
 */
static int naming_grow(uint32_t **memo, uint32_t *capacity, uint32_t needed)
{
	if (needed <= *capacity)
		return 0;
	uint64_t room = (uint64_t)*capacity + *capacity / 2;
	if (room < needed)
		room = needed;
	uint32_t *grown = reallocarray(*memo, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + *capacity, 0xff, (room - *capacity) * sizeof(*grown)); /* ID_NONE */
	*memo = grown;
	*capacity = (uint32_t)room;
	return 0;
}

static int naming_follow(struct naming *naming)
{
	struct dict_mark count = dict_mark(naming->from);
	int result = naming_grow(&naming->frames, &naming->frames_capacity, count.frames + 1);
	if (result == 0)
		result = naming_grow(&naming->nodes, &naming->nodes_capacity, count.nodes + 1);
	assert(result < 0 || naming->nodes);
	if (result == 0)
		naming->nodes[DICT_NODE_ROOT] = DICT_NODE_ROOT;
	return result;
}

struct naming *naming_new(const struct dict *from, struct dict *to, enum naming_level level)
{
	AUTO(naming) naming = calloc(1, sizeof(*naming));
	if (!naming)
		return NULL;
	naming->from = from;
	naming->to = to;
	naming->level = level;
	naming->remap = dict_remap_new(from, to);
	if (!naming->remap || naming_follow(naming) < 0)
		return NULL;
	return TAKE(naming);
}

void naming_free(struct naming *naming)
{
	if (!naming)
		return;
	dict_remap_free(naming->remap);
	free(naming->frames);
	free(naming->nodes);
	free(naming->path);
	free(naming);
}

int naming_stack(
        struct naming *naming, struct naming_source *source, uint32_t node, uint32_t *ret_node)
{
	/* Each memo has slack of its own: a node may be within it whose frame is not. */
	if (node >= naming->nodes_capacity ||
	        dict_mark(naming->from).frames >= naming->frames_capacity) {
		int result = naming_follow(naming);
		if (result < 0)
			return result;
	}
	naming->source = source;
	return naming_node(naming, node, ret_node);
}

const uint32_t *naming_known(const struct naming *naming, uint32_t *ret_count)
{
	*ret_count = naming->nodes_capacity;
	return naming->nodes;
}

void naming_forget(struct naming *naming)
{
	memset(naming->frames, 0xff, naming->frames_capacity * sizeof(*naming->frames));
	memset(naming->nodes, 0xff, naming->nodes_capacity * sizeof(*naming->nodes));
	naming->nodes[DICT_NODE_ROOT] = DICT_NODE_ROOT;
}

size_t naming_memory(const struct naming *naming)
{
	return sizeof(*naming) +
	       (naming->frames_capacity + (size_t)naming->nodes_capacity) * sizeof(uint32_t);
}

static int naming_rows(struct naming *naming, const struct batch *from, struct batch *to)
{
	for (uint32_t i = 0; i < from->rows_count; i++) {
		const struct row *row = &from->rows[i];
		uint32_t series = 0;
		uint32_t node = 0;

		int result = 0;
		if (i % NAMING_ROWS_EACH == 0 && naming->source && naming->source->pause)
			result = naming->source->pause(naming->source);
		if (result == 0)
			result = dict_remap_series(naming->remap, row->series, &series);
		if (result == 0)
			result = naming_node(naming, row->node, &node);
		if (result == 0)
			result = batch_add_row(to, series, node, row->value);
		if (result < 0)
			return result;
	}
	return 0;
}

int naming_apply(const struct batch *from, struct naming_source *source, enum naming_level level,
        struct batch *to)
{
	AUTO(naming) naming = naming_new(from->dict, to->dict, level);
	if (!naming)
		return -ENOMEM;
	naming->source = source;
	int result = naming_rows(naming, from, to);
	/* Frames that were apart may be one now. */
	return result == 0 ? batch_settle(to) : result;
}
