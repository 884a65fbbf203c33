/*
 * Samples are written as they are met, and what they refer to (strings, functions, locations) is
 * written once into buffers of its own that follow at the end.
 */

#include "profile/pprof.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/gzip.h"
#include "core/hash.h"
#include "core/id_map.h"
#include "profile/pprof_label_private.h"
#include "profile/pprof_private.h"
#include "profile/profile.pb-c.h"

/* The fastest: packing is a good part of the time an export takes. */
#define PPROF_GZIP_LEVEL 1

struct pprof_row {
	uint32_t node;
	uint32_t labels; /* a set of sample labels */
	uint32_t type;
	uint64_t value;
};

/* What a series says about its rows' samples. */
struct pprof_series {
	uint32_t type;
	uint32_t labels;
};

struct pprof_writer {
	const struct batch *batch;
	const struct dict *dict;
	frame_name name;
	int result; /* sticky */

	struct pprof_type types[PPROF_TYPES_MAX];
	uint32_t types_count;
	struct pprof_series *series; /* by series id */
	uint32_t *labels_series;     /* set of labels -> a series that has it */

	struct id_map *label_sets;
	struct id_map *strings;
	struct id_map *functions;
	struct id_map *locations;
	struct buf string_bytes; /* fields of the message, ready to be appended */
	struct buf function_bytes;
	struct buf location_bytes;
	bool *modules_used;

	uint64_t *stack; /* location ids, leaf first */
	uint32_t stack_capacity;
	uint32_t *path; /* frames of one location */
	uint32_t path_capacity;
	struct buf scratch, text;
	struct buf to; /* the message */
};

static void pprof_writer_fini(struct pprof_writer *writer)
{
	free(writer->series);
	free(writer->labels_series);
	id_map_free(writer->label_sets);
	id_map_free(writer->strings);
	id_map_free(writer->functions);
	id_map_free(writer->locations);
	buf_fini(&writer->string_bytes);
	buf_fini(&writer->function_bytes);
	buf_fini(&writer->location_bytes);
	free(writer->modules_used);
	free(writer->stack);
	free(writer->path);
	buf_fini(&writer->scratch);
	buf_fini(&writer->text);
	buf_fini(&writer->to);
}

static void pprof_put_message(
        struct buf *to, enum pprof_field_number number, const ProtobufCMessage *message)
{
	size_t count = protobuf_c_message_get_packed_size(message);

	buf_put_varint(to, (uint64_t)number << 3 | PPROF_BYTES);
	buf_put_varint(to, count);
	uint8_t *room = buf_reserve(to, count ? count : 1);
	if (room)
		to->count += protobuf_c_message_pack(message, room);
}

static void pprof_put_number(struct buf *to, enum pprof_field_number number, uint64_t value)
{
	if (value == 0)
		return;
	buf_put_varint(to, (uint64_t)number << 3 | PPROF_VARINT);
	buf_put_varint(to, value);
}

/* Finds or adds in one of the writer's maps. */
static uint32_t pprof_intern(struct pprof_writer *writer, struct id_map *map, const void *bytes,
        size_t count, bool *ret_added)
{
	uint32_t id = 0;
	int result = writer->result;

	*ret_added = false;
	if (result == 0)
		result = id_map_intern(map, hash128_bytes(bytes, count), &id, ret_added);
	if (result < 0)
		writer->result = result;
	return id;
}

/* The place of a text in the string table. */
static int64_t pprof_put_text(struct pprof_writer *writer, const char *text, size_t count)
{
	bool is_new;
	uint32_t place = pprof_intern(writer, writer->strings, text, count, &is_new);

	if (is_new) {
		buf_put_varint(&writer->string_bytes, PPROF_STRING << 3 | PPROF_BYTES);
		buf_put_string(&writer->string_bytes, text, count);
	}
	return place;
}

static int64_t pprof_put_string(struct pprof_writer *writer, uint32_t id)
{
	size_t count;
	const char *text = dict_get_string(writer->dict, id, &count);

	return pprof_put_text(writer, text, count);
}

/* Sample types in order of the series; each series learns its own. */
static void pprof_write_types(struct pprof_writer *writer)
{
	uint32_t count = dict_mark(writer->dict).series;

	for (uint32_t i = 0; i < count; i++) {
		const struct series *series = dict_get_series(writer->dict, i);
		uint32_t type = 0;

		while (type < writer->types_count &&
		        (writer->types[type].type != series->type ||
		                writer->types[type].unit != series->unit))
			type++;
		if (type == PPROF_TYPES_MAX) {
			writer->result = -E2BIG;
			return;
		}
		if (type == writer->types_count) {
			writer->types[type] = (struct pprof_type){
				.type = series->type, .unit = series->unit, .period = series->period
			};
			writer->types_count++;
		}
		/* A type whose series differ has no period of its own. */
		if (writer->types[type].period != series->period)
			writer->types[type].period = 1;
		writer->series[i].type = type;
	}
	for (uint32_t i = 0; i < writer->types_count; i++) {
		Pprof__ValueType type = PPROF__VALUE_TYPE__INIT;

		type.type = pprof_put_string(writer, writer->types[i].type);
		type.unit = pprof_put_string(writer, writer->types[i].unit);
		pprof_put_message(&writer->to, PPROF_SAMPLE_TYPE, &type.base);
	}
}

static void pprof_find_label_sets(struct pprof_writer *writer)
{
	uint32_t count = dict_mark(writer->dict).series;

	for (uint32_t i = 0; i < count && writer->result == 0; i++) {
		const struct label *labels = dict_get_labels(writer->dict, i);
		struct label kept[DICT_LABELS_MAX];
		uint32_t kept_count = 0;
		bool is_new;

		for (uint32_t j = 0; j < dict_get_series(writer->dict, i)->labels_count; j++)
			if (pprof_label_is_of_sample(writer->dict, labels[j]))
				kept[kept_count++] = labels[j];
		uint32_t set = pprof_intern(
		        writer, writer->label_sets, kept, kept_count * sizeof(*kept), &is_new);
		writer->series[i].labels = set;
		if (is_new)
			writer->labels_series[set] = i;
	}
}

static int64_t pprof_put_unescaped_text(struct pprof_writer *writer, const char *text, size_t count)
{
	buf_reset(&writer->text);
	pprof_put_unescaped(&writer->text, text, count);
	if (writer->text.failed)
		writer->result = -ENOMEM;
	return count == 0 || writer->text.failed
	               ? 0
	               : pprof_put_text(
	                         writer, (const char *)writer->text.bytes, writer->text.count);
}

/* The labels of a set in order of their ranks, so that several values of a key keep theirs. */
static uint32_t pprof_make_sample_labels(
        struct pprof_writer *writer, uint32_t set, Pprof__Label labels[static DICT_LABELS_MAX])
{
	uint32_t series = writer->labels_series[set];
	const struct label *from = dict_get_labels(writer->dict, series);
	uint32_t from_count = dict_get_series(writer->dict, series)->labels_count;
	uint32_t ranks[DICT_LABELS_MAX];
	uint32_t count = 0;

	for (uint32_t i = 0; i < from_count && writer->result == 0; i++) {
		Pprof__Label label = PPROF__LABEL__INIT;

		if (!pprof_label_is_of_sample(writer->dict, from[i]))
			continue;
		struct pprof_decoded_label decoded = pprof_decode_label(writer->dict, from[i]);
		label.key = pprof_put_unescaped_text(writer, decoded.key, decoded.key_count);
		if (decoded.is_number) {
			label.num = decoded.number;
			label.num_unit = pprof_put_unescaped_text(
			        writer, decoded.unit, decoded.unit_count);
		} else {
			label.str = pprof_put_string(writer, from[i].value);
		}
		uint32_t place = count++;
		for (; place > 0 && ranks[place - 1] > decoded.rank; place--) {
			ranks[place] = ranks[place - 1];
			labels[place] = labels[place - 1];
		}
		ranks[place] = decoded.rank;
		labels[place] = label;
	}
	return count;
}

static uint64_t pprof_put_function(struct pprof_writer *writer, uint32_t frame_id)
{
	struct frame frame = dict_get_frame(writer->dict, frame_id);
	Pprof__Function function = PPROF__FUNCTION__INIT;
	size_t raw_count;
	const char *raw = dict_get_string(writer->dict, frame.function, &raw_count);
	const char *name = writer->name(writer->dict, frame_id, &writer->scratch);

	if (!name) {
		writer->result = -ENOMEM;
		return 0;
	}
	function.name = pprof_put_text(writer, name, writer->scratch.count);
	function.system_name = pprof_put_string(writer, frame.system_name);
	/* Where the name was made readable, the one that the linker knows stays beside it. */
	if (frame.system_name == 0 && raw_count > 0 &&
	        (raw_count != writer->scratch.count || memcmp(raw, name, raw_count) != 0))
		function.system_name = pprof_put_text(writer, raw, raw_count);
	function.filename = pprof_put_string(writer, frame.file);
	function.start_line = frame.start_line;

	int64_t key[] = { function.name, function.system_name, function.filename,
		function.start_line };
	bool is_new;
	function.id = pprof_intern(writer, writer->functions, key, sizeof(key), &is_new) +
	              UINT64_C(1);
	if (is_new)
		pprof_put_message(&writer->function_bytes, PPROF_FUNCTION, &function.base);
	return function.id;
}

/* A native frame that nobody named is a location without lines, as it was when it came. */
static bool pprof_frame_has_line(const struct frame *frame)
{
	return frame->kind != FRAME_NATIVE || frame->function != 0;
}

/* One location of so many frames, of which all but the last were inlined. */
static uint64_t pprof_put_location(
        struct pprof_writer *writer, const uint32_t *frames, uint32_t count)
{
	bool is_new;
	uint64_t id = pprof_intern(
	                      writer, writer->locations, frames, count * sizeof(*frames), &is_new) +
	              UINT64_C(1);
	struct frame last = dict_get_frame(writer->dict, frames[count - 1]);

	if (!is_new)
		return id;
	Pprof__Location location = PPROF__LOCATION__INIT;
	autofree Pprof__Line *lines = calloc(count, sizeof(*lines));
	autofree Pprof__Line **pointers = calloc(count, sizeof(Pprof__Line *));
	if (!lines || !pointers) {
		writer->result = -ENOMEM;
		return id;
	}
	location.id = id;
	location.mapping_id = last.module;
	location.address = last.address;
	location.is_folded = last.flags & FRAME_FOLDED ? 1 : 0;
	writer->modules_used[last.module] = true;
	for (uint32_t i = 0; i < count; i++) {
		struct frame frame = dict_get_frame(writer->dict, frames[i]);

		if (!pprof_frame_has_line(&frame))
			continue;
		pprof__line__init(&lines[i]);
		lines[i].function_id = pprof_put_function(writer, frames[i]);
		lines[i].line = frame.line;
		lines[i].column = frame.column;
		pointers[location.n_line++] = &lines[i];
	}
	location.line = pointers;
	pprof_put_message(&writer->location_bytes, PPROF_LOCATION, &location.base);
	return id;
}

/* Whether the frame is a line of the same location as the next one towards the root. */
static bool pprof_frame_joins(const struct dict *dict, uint32_t frame_id, uint32_t next_id)
{
	struct frame frame = dict_get_frame(dict, frame_id);
	struct frame next = dict_get_frame(dict, next_id);

	return frame.flags & FRAME_INLINED && frame.module == next.module &&
	       frame.address == next.address && pprof_frame_has_line(&frame) &&
	       pprof_frame_has_line(&next) && ((frame.flags ^ next.flags) & FRAME_FOLDED) == 0;
}

static bool pprof_writer_room(struct pprof_writer *writer, void *list, uint32_t count,
        uint32_t *capacity, size_t bytes_each)
{
	void **array = list;

	if (count < *capacity)
		return true;
	uint32_t grown = *capacity ? *capacity * 2 : 256;
	void *moved = reallocarray(*array, grown, bytes_each);
	if (!moved) {
		writer->result = -ENOMEM;
		return false;
	}
	*array = moved;
	*capacity = grown;
	return true;
}

/* The locations of a stack, leaf first. */
static uint32_t pprof_make_locations(struct pprof_writer *writer, uint32_t node_id)
{
	uint32_t depth = 0;
	uint32_t pending = 0;

	while (node_id != DICT_NODE_ROOT && writer->result == 0) {
		struct node node = dict_get_node(writer->dict, node_id);

		if (!pprof_writer_room(writer, &writer->path, pending, &writer->path_capacity,
		            sizeof(*writer->path)) ||
		        !pprof_writer_room(writer, &writer->stack, depth, &writer->stack_capacity,
		                sizeof(*writer->stack)))
			break;
		writer->path[pending++] = node.frame;
		node_id = node.parent;
		if (node_id != DICT_NODE_ROOT &&
		        pprof_frame_joins(writer->dict, node.frame,
		                dict_get_node(writer->dict, node_id).frame))
			continue;
		writer->stack[depth++] = pprof_put_location(writer, writer->path, pending);
		pending = 0;
	}
	return depth;
}

static int pprof_compare_rows(const void *left, const void *right)
{
	const struct pprof_row *a = left;
	const struct pprof_row *b = right;

	if (a->node != b->node)
		return a->node < b->node ? -1 : 1;
	if (a->labels != b->labels)
		return a->labels < b->labels ? -1 : 1;
	return a->type < b->type ? -1 : a->type > b->type;
}

static void pprof_make_sorted_rows(struct pprof_writer *writer, struct pprof_row *rows)
{
	for (uint32_t i = 0; i < writer->batch->rows_count; i++) {
		const struct row *row = &writer->batch->rows[i];
		uint64_t period = dict_get_series(writer->dict, row->series)->period;

		rows[i].node = row->node;
		rows[i].labels = writer->series[row->series].labels;
		rows[i].type = writer->series[row->series].type;
		if (__builtin_mul_overflow(row->value, period, &rows[i].value))
			writer->result = -EOVERFLOW;
	}
	qsort(rows, writer->batch->rows_count, sizeof(*rows), pprof_compare_rows);
}

/* Rows of one stack and one set of labels: a sample. */
static void pprof_write_sample(
        struct pprof_writer *writer, const struct pprof_row *rows, uint32_t count)
{
	Pprof__Sample sample = PPROF__SAMPLE__INIT;
	Pprof__Label labels[DICT_LABELS_MAX];
	Pprof__Label *pointers[DICT_LABELS_MAX];
	int64_t values[PPROF_TYPES_MAX] = { 0 };

	for (uint32_t i = 0; i < count; i++) {
		int64_t *value = &values[rows[i].type];
		if (rows[i].value > INT64_MAX ||
		        __builtin_add_overflow(*value, (int64_t)rows[i].value, value))
			writer->result = -EOVERFLOW;
	}
	sample.n_location_id = pprof_make_locations(writer, rows[0].node);
	sample.location_id = writer->stack;
	sample.n_value = writer->types_count;
	sample.value = values;
	sample.n_label = pprof_make_sample_labels(writer, rows[0].labels, labels);
	for (size_t i = 0; i < sample.n_label; i++)
		pointers[i] = &labels[i];
	sample.label = pointers;
	if (writer->result == 0)
		pprof_put_message(&writer->to, PPROF_SAMPLE, &sample.base);
}

static void pprof_write_samples(struct pprof_writer *writer)
{
	uint32_t count = writer->batch->rows_count;
	autofree struct pprof_row *rows = calloc(count + UINT64_C(1), sizeof(*rows));

	if (!rows) {
		writer->result = -ENOMEM;
		return;
	}
	pprof_make_sorted_rows(writer, rows);
	for (uint32_t i = 0, end; i < count && writer->result == 0; i = end) {
		end = i + 1;
		while (end < count && rows[end].node == rows[i].node &&
		        rows[end].labels == rows[i].labels)
			end++;
		pprof_write_sample(writer, rows + i, end - i);
	}
}

static void pprof_write_mappings(struct pprof_writer *writer)
{
	uint32_t count = dict_mark(writer->dict).modules;

	for (uint32_t i = 1; i < count; i++) {
		const struct module *module = dict_get_module(writer->dict, i);
		Pprof__Mapping mapping = PPROF__MAPPING__INIT;

		if (!writer->modules_used[i])
			continue;
		mapping.id = i;
		mapping.memory_start = module->start;
		mapping.memory_limit = module->limit;
		mapping.file_offset = module->offset;
		mapping.filename = pprof_put_string(writer, module->name);
		mapping.build_id = pprof_put_string(writer, module->build_id);
		mapping.has_functions = module->flags & 1 ? 1 : 0;
		mapping.has_filenames = module->flags & 2 ? 1 : 0;
		mapping.has_line_numbers = module->flags & 4 ? 1 : 0;
		mapping.has_inline_frames = module->flags & 8 ? 1 : 0;
		pprof_put_message(&writer->to, PPROF_MAPPING, &mapping.base);
	}
}

static void pprof_write_period(struct pprof_writer *writer)
{
	for (uint32_t i = 0; i < writer->types_count; i++) {
		Pprof__ValueType type = PPROF__VALUE_TYPE__INIT;

		if (writer->types[i].period <= 1 || writer->types[i].period > INT64_MAX)
			continue;
		type.type = pprof_put_string(writer, writer->types[i].type);
		type.unit = pprof_put_string(writer, writer->types[i].unit);
		pprof_put_message(&writer->to, PPROF_PERIOD_TYPE, &type.base);
		pprof_put_number(&writer->to, PPROF_PERIOD, writer->types[i].period);
		return;
	}
}

static int pprof_write_message(struct pprof_writer *writer)
{
	struct buf *to = &writer->to;

	(void)pprof_put_text(writer, "", 0); /* Place 0 is the empty text. */
	pprof_write_types(writer);
	pprof_find_label_sets(writer);
	pprof_write_samples(writer);
	if (writer->result < 0)
		return writer->result;

	pprof_write_mappings(writer);
	buf_put(to, writer->location_bytes.bytes, writer->location_bytes.count);
	buf_put(to, writer->function_bytes.bytes, writer->function_bytes.count);
	/* Its strings must be in the table before the table is written. */
	pprof_write_period(writer);
	buf_put(to, writer->string_bytes.bytes, writer->string_bytes.count);
	if (writer->batch->start_ns > INT64_MAX || writer->batch->duration_ns > INT64_MAX)
		return -EOVERFLOW;
	pprof_put_number(to, PPROF_TIME, writer->batch->start_ns);
	pprof_put_number(to, PPROF_DURATION, writer->batch->duration_ns);
	bool has_failed = to->failed || writer->string_bytes.failed ||
	                  writer->function_bytes.failed || writer->location_bytes.failed;
	return writer->result < 0 ? writer->result : has_failed ? -ENOMEM : 0;
}

int pprof_write(const struct batch *batch, frame_name name, struct buf *to)
{
	struct dict_mark mark = dict_mark(batch->dict);
	struct pprof_writer writer = {
		.batch = batch,
		.dict = batch->dict,
		.name = name,
		.series = calloc(mark.series + UINT64_C(1), sizeof(*writer.series)),
		.labels_series = calloc(mark.series + UINT64_C(1), sizeof(*writer.labels_series)),
		.modules_used = calloc(mark.modules + UINT64_C(1), sizeof(*writer.modules_used)),
		.label_sets = id_map_new(UINT32_MAX - 1),
		.strings = id_map_new(UINT32_MAX - 1),
		.functions = id_map_new(UINT32_MAX - 1),
		.locations = id_map_new(UINT32_MAX - 1),
	};
	int result = -ENOMEM;

	if (writer.series && writer.labels_series && writer.modules_used && writer.label_sets &&
	        writer.strings && writer.functions && writer.locations)
		result = pprof_write_message(&writer);
	if (result == 0)
		result = gzip_pack(writer.to.bytes, writer.to.count, PPROF_GZIP_LEVEL, to);
	pprof_writer_fini(&writer);
	return result;
}
