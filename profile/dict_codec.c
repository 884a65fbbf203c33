/*
 * The encoding of a frame: docs/formats/dict.md. A head says which fields are not what they
 * mostly are, and neighbours predict each other: an address the last one of its module, a function
 * and a file those of the frame before.
 */

#include "profile/dict.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "profile/dict_private.h"

enum {
	HEAD_KIND = 7,        /* mask */
	HEAD_MODULE = 1 << 3, /* another module than the frame before */
	HEAD_ADDRESS = 1 << 4,
	HEAD_FUNCTION = 1 << 5,
	HEAD_FILE = 1 << 6,
	HEAD_LINE = 1 << 7,
	HEAD_SYSTEM_NAME = 1 << 8,
	HEAD_COLUMN = 1 << 9,
	HEAD_START_LINE = 1 << 10,
	HEAD_FLAGS_SHIFT = 11,
	HEAD_MAX = (1 << 13) - 1,
};

/* Modules share these places by their low bits: a clash costs bytes, never correctness. */
#define FRAME_ADDRESSES 64

struct frame_neighbours {
	uint64_t addresses[FRAME_ADDRESSES];
	uint32_t module;
	uint32_t function;
	uint32_t file;
};

static void dict_encode_frame(
        const struct frame *frame, struct frame_neighbours *before, struct buf *to)
{
	uint32_t head = frame->kind | (uint32_t)frame->flags << HEAD_FLAGS_SHIFT;
	head |= frame->module != before->module ? HEAD_MODULE : 0;
	head |= frame->address ? HEAD_ADDRESS : 0;
	head |= frame->function ? HEAD_FUNCTION : 0;
	head |= frame->file ? HEAD_FILE : 0;
	head |= frame->line ? HEAD_LINE : 0;
	head |= frame->system_name ? HEAD_SYSTEM_NAME : 0;
	head |= frame->column ? HEAD_COLUMN : 0;
	head |= frame->start_line ? HEAD_START_LINE : 0;
	buf_put_varint(to, head);

	if (head & HEAD_MODULE) {
		buf_put_varint(to, frame->module);
		before->module = frame->module;
	}
	if (head & HEAD_ADDRESS) {
		uint64_t *last = &before->addresses[frame->module % FRAME_ADDRESSES];
		buf_put_zigzag(to, (int64_t)(frame->address - *last));
		*last = frame->address;
	}
	if (head & HEAD_FUNCTION) {
		buf_put_zigzag(to, (int64_t)frame->function - (int64_t)before->function);
		before->function = frame->function;
	}
	if (head & HEAD_FILE) {
		buf_put_zigzag(to, (int64_t)frame->file - (int64_t)before->file);
		before->file = frame->file;
	}
	if (head & HEAD_LINE)
		buf_put_zigzag(to, frame->line);
	if (head & HEAD_SYSTEM_NAME)
		buf_put_zigzag(to, (int64_t)frame->system_name - (int64_t)frame->function);
	if (head & HEAD_COLUMN)
		buf_put_zigzag(to, frame->column);
	if (head & HEAD_START_LINE)
		buf_put_zigzag(to, frame->start_line);
}

void dict_encode_head(const struct dict *dict, struct dict_mark from, struct buf *to)
{
	buf_put_varint(to, from.strings);
	buf_put_varint(to, from.modules);
	buf_put_varint(to, from.frames);
	buf_put_varint(to, from.nodes);
	buf_put_varint(to, from.series);
	buf_put_varint(to, dict->count.strings - from.strings);
	buf_put_varint(to, dict->count.modules - from.modules);
	buf_put_varint(to, dict->count.frames - from.frames);
	buf_put_varint(to, dict->count.nodes - from.nodes);
	buf_put_varint(to, dict->count.series - from.series);
}

void dict_encode_names(const struct dict *dict, struct dict_mark from, struct buf *to)
{
	for (uint32_t i = from.strings; i < dict->count.strings; i++)
		buf_put_varint(to, dict->strings[i].count);
	for (uint32_t i = from.strings; i < dict->count.strings; i++)
		buf_put(to, dict->bytes + dict->strings[i].offset, dict->strings[i].count);

	for (uint32_t i = from.modules; i < dict->count.modules; i++) {
		const struct module *module = &dict->modules[i];
		buf_put_varint(to, module->name);
		buf_put_varint(to, module->build_id);
		buf_put_varint(to, module->start);
		buf_put_varint(to, module->limit);
		buf_put_varint(to, module->offset);
		buf_put_varint(to, module->flags);
	}
}

size_t dict_text_bytes(const struct dict *dict, struct dict_mark from)
{
	from = dict_mark_from_first(from);
	return from.strings == dict->count.strings
	               ? 0
	               : dict->bytes_count - dict->strings[from.strings].offset;
}

void dict_encode_series(const struct dict *dict, struct dict_mark from, struct buf *to)
{
	for (uint32_t i = from.series; i < dict->count.series; i++) {
		const struct series *series = &dict->series[i];
		buf_put_varint(to, series->type);
		buf_put_varint(to, series->unit);
		buf_put_varint(to, series->period);
		buf_put_varint(to, series->labels_count);
		for (uint32_t j = 0; j < series->labels_count; j++) {
			buf_put_varint(to, dict->labels[series->labels_first + j].name);
			buf_put_varint(to, dict->labels[series->labels_first + j].value);
		}
	}
}

void dict_encode(const struct dict *dict, struct dict_mark from, struct buf *to)
{
	from = dict_mark_from_first(from);
	assert(dict_mark_is_within(from, dict->count));
	dict_encode_head(dict, from, to);
	dict_encode_names(dict, from, to);

	struct frame_neighbours before = { 0 };
	for (uint32_t i = from.frames; i < dict->count.frames; i++) {
		struct frame next = frame_table_get(&dict->frames, i);
		dict_encode_frame(&next, &before, to);
	}

	uint32_t frame = 0;
	for (uint32_t i = from.nodes; i < dict->count.nodes; i++) {
		buf_put_varint(to, i - dict->nodes.all[i].parent);
		buf_put_zigzag(to, (int64_t)dict->nodes.all[i].frame - (int64_t)frame);
		frame = dict->nodes.all[i].frame;
	}
	dict_encode_series(dict, from, to);
}

static uint32_t dict_decode_id(struct reader *from)
{
	return (uint32_t)reader_varint_max(from, UINT32_MAX - 1);
}

/* An id written as its distance from another; what no id can be fails the reader. */
static uint32_t dict_decode_id_after(struct reader *from, uint32_t before)
{
	uint64_t id = before + (uint64_t)reader_zigzag(from);
	if (id >= ID_NONE) {
		reader_fail(from);
		return 0;
	}
	return (uint32_t)id;
}

/*
 * In each step: what the bytes say is added like anything else, which checks every id in it, and
 * must get the next id: an entry that is there already is no encoding of ours.
 */
static int dict_decode_strings(struct dict *dict, uint32_t count, struct reader *from)
{
	struct reader lengths = *from;
	for (uint32_t i = 0; i < count; i++)
		(void)reader_varint_max(from, DICT_STRING_BYTES_MAX);

	for (uint32_t i = 0; i < count; i++) {
		size_t length = (size_t)reader_varint_max(&lengths, DICT_STRING_BYTES_MAX);
		const uint8_t *bytes = reader_bytes(from, length);
		uint32_t expected = dict->count.strings;
		uint32_t id;
		if (!bytes || lengths.failed)
			return -EBADMSG;
		int r = dict_string(dict, (const char *)bytes, length, &id);
		if (r < 0)
			return r;
		if (id != expected)
			return -EBADMSG;
	}
	return 0;
}

static int dict_decode_modules(struct dict *dict, uint32_t count, struct reader *from)
{
	for (uint32_t i = 0; i < count; i++) {
		struct module module = { 0 };
		module.name = dict_decode_id(from);
		module.build_id = dict_decode_id(from);
		module.start = reader_varint(from);
		module.limit = reader_varint(from);
		module.offset = reader_varint(from);
		module.flags = (uint32_t)reader_varint_max(from, UINT32_MAX);
		uint32_t expected = dict->count.modules;
		uint32_t id;
		if (from->failed)
			return -EBADMSG;
		int r = dict_module(dict, &module, &id);
		if (r < 0)
			return r;
		if (id != expected)
			return -EBADMSG;
	}
	return 0;
}

static struct frame dict_decode_frame(struct reader *from, struct frame_neighbours *before)
{
	uint32_t head = (uint32_t)reader_varint_max(from, HEAD_MAX);
	struct frame frame = {
		.kind = head & HEAD_KIND,
		.flags = (uint8_t)(head >> HEAD_FLAGS_SHIFT),
	};

	if (head & HEAD_MODULE)
		before->module = dict_decode_id(from);
	frame.module = before->module;
	if (head & HEAD_ADDRESS) {
		uint64_t *last = &before->addresses[frame.module % FRAME_ADDRESSES];
		*last += (uint64_t)reader_zigzag(from);
		frame.address = *last;
	}
	if (head & HEAD_FUNCTION) {
		before->function = dict_decode_id_after(from, before->function);
		frame.function = before->function;
	}
	if (head & HEAD_FILE) {
		before->file = dict_decode_id_after(from, before->file);
		frame.file = before->file;
	}
	if (head & HEAD_LINE)
		frame.line = reader_zigzag(from);
	if (head & HEAD_SYSTEM_NAME)
		frame.system_name = dict_decode_id_after(from, frame.function);
	if (head & HEAD_COLUMN)
		frame.column = reader_zigzag(from);
	if (head & HEAD_START_LINE)
		frame.start_line = reader_zigzag(from);
	return frame;
}

static int dict_decode_frames(struct dict *dict, uint32_t count, struct reader *from)
{
	struct frame_neighbours before = { 0 };
	struct frame frames[DICT_FRAMES_AT_ONCE];
	int r = 0;
	while (count > 0 && r == 0) {
		uint32_t part = count < DICT_FRAMES_AT_ONCE ? count : DICT_FRAMES_AT_ONCE;
		for (uint32_t i = 0; i < part; i++)
			frames[i] = dict_decode_frame(from, &before);
		r = from->failed ? -EBADMSG : dict_frames_add(dict, frames, part);
		count -= part;
	}
	return r;
}

static int dict_decode_nodes(struct dict *dict, uint32_t count, struct reader *from)
{
	uint32_t frame = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t expected = dict->count.nodes;
		uint32_t distance = (uint32_t)reader_varint_max(from, expected);
		frame = dict_decode_id_after(from, frame);
		uint32_t id;
		if (from->failed || distance == 0)
			return -EBADMSG;
		int r = dict_node(dict, expected - distance, frame, &id);
		if (r < 0)
			return r;
		if (id != expected)
			return -EBADMSG;
	}
	return 0;
}

int dict_decode_series(struct dict *dict, uint32_t count, struct reader *from)
{
	for (uint32_t i = 0; i < count; i++) {
		struct series series = { 0 };
		struct label labels[DICT_LABELS_MAX];
		series.type = dict_decode_id(from);
		series.unit = dict_decode_id(from);
		series.period = reader_varint(from);
		uint32_t labels_count = (uint32_t)reader_varint_max(from, DICT_LABELS_MAX);
		for (uint32_t j = 0; j < labels_count; j++) {
			labels[j].name = dict_decode_id(from);
			labels[j].value = dict_decode_id(from);
		}
		uint32_t expected = dict->count.series;
		uint32_t id;
		if (from->failed)
			return -EBADMSG;
		int r = dict_series_sorted(dict, &series, labels, labels_count, &id);
		if (r < 0)
			return r;
		if (id != expected)
			return -EBADMSG;
	}
	return 0;
}

int dict_decode_names(struct dict *dict, struct dict_mark added, struct reader *from)
{
	int r = dict_decode_strings(dict, added.strings, from);
	return r < 0 ? r : dict_decode_modules(dict, added.modules, from);
}

int dict_decode_head(const struct dict *dict, struct dict_least least, struct reader *from,
        const struct reader *text, struct dict_mark *ret_added)
{
	struct dict_mark mark = {
		.strings = dict_decode_id(from),
		.modules = dict_decode_id(from),
		.frames = dict_decode_id(from),
		.nodes = dict_decode_id(from),
		.series = dict_decode_id(from),
	};
	struct dict_mark added = {
		.strings = dict_decode_id(from),
		.modules = dict_decode_id(from),
		.frames = dict_decode_id(from),
		.nodes = dict_decode_id(from),
		.series = dict_decode_id(from),
	};
	/* The least that so many entries can take: a count beyond it is refused before any work. */
	uint64_t bytes_min = (uint64_t)added.strings + 6 * (uint64_t)added.modules +
	                     least.frame * added.frames + least.node * added.nodes +
	                     4 * (uint64_t)added.series;
	if (from->failed || !dict_mark_equal(mark, dict->count) || bytes_min > reader_left(text))
		return -EBADMSG;
	if (added.strings > dict->limits.strings - mark.strings ||
	        added.modules > dict->limits.modules - mark.modules ||
	        added.frames > dict->limits.frames - mark.frames ||
	        added.nodes > dict->limits.nodes - mark.nodes ||
	        added.series > dict->limits.series - mark.series)
		return -ENOSPC;
	*ret_added = added;
	return 0;
}

static int dict_decode_all(struct dict *dict, struct reader *from)
{
	struct dict_mark added;
	int r = dict_decode_head(
	        dict, (struct dict_least){ .frame = 1, .node = 2 }, from, from, &added);
	r = r < 0 ? r : dict_decode_names(dict, added, from);
	r = r < 0 ? r : dict_decode_frames(dict, added.frames, from);
	r = r < 0 ? r : dict_decode_nodes(dict, added.nodes, from);
	return r < 0 ? r : dict_decode_series(dict, added.series, from);
}

int dict_decode(struct dict *dict, struct reader *from)
{
	struct dict_mark before = dict->count;
	int r = dict_decode_all(dict, from);
	if (r < 0)
		dict_truncate(dict, before);
	return r == -EINVAL ? -EBADMSG : r;
}
