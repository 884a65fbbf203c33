/*
 * A profile is one protobuf message whose size is that of the file, so it is never unpacked as a
 * whole (protobuf-c would need several times the file). The outermost fields are walked here, each
 * inner message is unpacked by protobuf-c into an arena that the next one reuses:
 *
 *	first pass     strings, functions, mappings: into tables    locations, samples: counted
 *	locations      become runs of frames, once
 *	second pass    each sample becomes a node of the dict and a row per value that is not 0
 *
 * Writing goes the other way: samples are written as they are met, and what they refer to (strings,
 * functions, locations) is written once into buffers of its own that follow at the end.
 *
 * Nothing is dropped in silence: protobuf-c keeps fields it does not know, and we refuse them; what
 * is understood but not kept ends in a note.
 */

#include "profile/pprof.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/gzip.h"
#include "core/hash.h"
#include "core/id_map.h"
#include "core/reader.h"
#include "profile/profile.pb-c.h"

/* Frames of one sample, inlined ones included. Go's runtime stops at 128 by default. */
#define PPROF_DEPTH_MAX 16384
#define PPROF_TYPES_MAX 64
/* The fastest: packing is a good part of the time an export takes. */
#define PPROF_GZIP_LEVEL 1
/* Strings, functions, mappings, locations: each. */
#define PPROF_ENTRIES_MAX (16u << 20)

#define PPROF_TEXT_LABEL   "sample."
#define PPROF_NUMBER_LABEL "samplenum."

/* Numbers of the outermost fields, as in profile.proto. */
enum pprof_field_number {
	PPROF_SAMPLE_TYPE = 1,
	PPROF_SAMPLE = 2,
	PPROF_MAPPING = 3,
	PPROF_LOCATION = 4,
	PPROF_FUNCTION = 5,
	PPROF_STRING = 6,
	PPROF_DROP_FRAMES = 7,
	PPROF_KEEP_FRAMES = 8,
	PPROF_TIME = 9,
	PPROF_DURATION = 10,
	PPROF_PERIOD_TYPE = 11,
	PPROF_PERIOD = 12,
	PPROF_COMMENT = 13,
	PPROF_DEFAULT_TYPE = 14,
	PPROF_DOC_URL = 15,
};

enum pprof_wire { PPROF_VARINT = 0, PPROF_BYTES = 2 };

/* ---- An arena for one unpacked message at a time ---- */

struct pprof_chunk {
	struct pprof_chunk *next;
	size_t capacity;
	size_t used;
	_Alignas(16) uint8_t bytes[];
};

struct pprof_arena {
	ProtobufCAllocator allocator;
	struct pprof_chunk *chunks; /* newest, which is the largest, first */
};

static void *pprof_arena_alloc(void *owner, size_t count)
{
	struct pprof_arena *arena = owner;
	struct pprof_chunk *chunk = arena->chunks;

	if (count > SIZE_MAX / 4)
		return NULL;
	count = (count + 15) & ~(size_t)15;
	if (!chunk || chunk->capacity - chunk->used < count) {
		size_t capacity = chunk ? chunk->capacity * 2 : 65536;
		while (capacity < count)
			capacity *= 2;
		chunk = malloc(sizeof(*chunk) + capacity);
		if (!chunk)
			return NULL;
		chunk->next = arena->chunks;
		chunk->capacity = capacity;
		chunk->used = 0;
		arena->chunks = chunk;
	}
	void *at = chunk->bytes + chunk->used;
	chunk->used += count;
	return at;
}

static void pprof_arena_free_one(void *owner, void *at)
{
	/* All at once, by the next reset. */
}

static void pprof_arena_init(struct pprof_arena *arena)
{
	arena->allocator = (ProtobufCAllocator){
		.alloc = pprof_arena_alloc, .free = pprof_arena_free_one, .allocator_data = arena
	};
	arena->chunks = NULL;
}

static void pprof_arena_reset(struct pprof_arena *arena)
{
	struct pprof_chunk *kept = arena->chunks;

	if (!kept)
		return;
	for (struct pprof_chunk *chunk = kept->next; chunk;) {
		struct pprof_chunk *next = chunk->next;
		free(chunk);
		chunk = next;
	}
	kept->next = NULL;
	kept->used = 0;
}

static void pprof_arena_fini(struct pprof_arena *arena)
{
	pprof_arena_reset(arena);
	free(arena->chunks);
}

/* ---- Names of labels that hold a sample's labels ---- */

/*
 * sample.KEY, samplenum.KEY.UNIT, and #2, #3 ... behind them for further values of one key. So that
 * each name reads one way only, '%' and '#' in a key or unit and '.' in a unit are written %25 ...
 */
static void pprof_put_escaped(struct buf *to, const char *text, size_t count, bool is_unit)
{
	for (size_t i = 0; i < count; i++) {
		if (text[i] == '%' || text[i] == '#' || (is_unit && text[i] == '.'))
			buf_printf(to, "%%%02X", (unsigned char)text[i]);
		else
			buf_put_u8(to, (uint8_t)text[i]);
	}
}

static void pprof_put_unescaped(struct buf *to, const char *text, size_t count)
{
	static const char escaped[][4] = { "%25", "%23", "%2E" };
	static const char meant[] = { '%', '#', '.' };

	for (size_t i = 0; i < count; i++) {
		size_t which = COUNT_OF(escaped);

		if (count - i >= 3)
			for (which = 0; which < COUNT_OF(escaped); which++)
				if (memcmp(text + i, escaped[which], 3) == 0)
					break;
		if (which == COUNT_OF(escaped)) {
			buf_put_u8(to, (uint8_t)text[i]);
			continue;
		}
		buf_put_u8(to, (uint8_t)meant[which]);
		i += 2;
	}
}

/* ---- Reading ---- */

struct pprof_span {
	size_t at;
	uint32_t count;
};

struct pprof_function {
	uint64_t id;
	int64_t name;
	int64_t system_name;
	int64_t file;
	int64_t start_line;
	bool is_used;
};

struct pprof_mapping {
	uint64_t id;
	uint32_t module;
	bool is_used;
};

struct pprof_location {
	uint64_t id;
	uint32_t frames_first; /* in `frames`, leaf first */
	uint32_t frames_count;
	bool is_used;
};

/* Finds the place of an id. Files number from 1 without gaps, most of the time. */
struct pprof_index {
	struct pprof_key {
		uint64_t id;
		uint32_t place;
	} * keys; /* sorted by id; NULL while every id is its place + 1 */
};

struct pprof_type {
	uint32_t type; /* strings of the dict */
	uint32_t unit;
	uint64_t period;
	uint32_t series; /* without sample labels */
	bool has_values;
};

struct pprof_parser {
	const uint8_t *bytes;
	size_t count;
	struct pprof_options options;
	struct batch *batch;
	struct dict *dict;
	struct pprof_report report;
	struct parse_error *error;
	int result; /* sticky */
	struct pprof_arena arena;

	struct pprof_span *strings;
	uint32_t *string_ids; /* place -> string of the dict, ID_NONE until asked for */
	uint32_t strings_count, strings_capacity;
	struct pprof_function *functions;
	uint32_t functions_count, functions_capacity;
	struct pprof_span *mapping_spans;
	uint32_t mapping_spans_count, mapping_spans_capacity;
	struct pprof_mapping *mappings;
	uint32_t mappings_count;
	struct pprof_span *location_spans;
	uint32_t location_spans_count, location_spans_capacity;
	struct pprof_location *locations;
	uint32_t locations_count;
	struct pprof_index function_index, mapping_index, location_index;
	uint32_t *frames;
	uint32_t frames_count, frames_capacity;

	Pprof__ValueType types_raw[PPROF_TYPES_MAX];
	struct pprof_type types[PPROF_TYPES_MAX];
	uint32_t types_count;

	int64_t drop_frames, keep_frames, doc_url, default_type, time, duration, period;
	Pprof__ValueType period_type;
	bool has_period_type;
	uint64_t comments;
	uint64_t zero_samples;
	uint64_t empty_labels;

	uint32_t *stack; /* frames of one sample */
	struct buf scratch;
};

static void pprof_parser_fini(struct pprof_parser *parser)
{
	free(parser->strings);
	free(parser->string_ids);
	free(parser->functions);
	free(parser->mapping_spans);
	free(parser->mappings);
	free(parser->location_spans);
	free(parser->locations);
	free(parser->function_index.keys);
	free(parser->mapping_index.keys);
	free(parser->location_index.keys);
	free(parser->frames);
	free(parser->stack);
	buf_fini(&parser->scratch);
	pprof_arena_fini(&parser->arena);
}

/* The first failure stays. */
__attribute__((format(printf, 4, 5))) static int pprof_fail(
        struct pprof_parser *parser, int result, uint64_t place, const char *format, ...)
{
	va_list values;

	if (parser->result < 0)
		return parser->result;
	parser->result = result;
	parser->error->line = place;
	va_start(values, format);
	(void)vsnprintf(parser->error->text, sizeof(parser->error->text), format, values);
	va_end(values);
	return result;
}

static int pprof_fail_memory(struct pprof_parser *parser)
{
	return pprof_fail(parser, -ENOMEM, 0, "out of memory");
}

/* The dict's refusal in words of the file. */
static int pprof_fail_dict(
        struct pprof_parser *parser, int result, const char *what, uint64_t place)
{
	switch (result) {
	case -EINVAL:
		return pprof_fail(parser, -EBADMSG, place,
		        "%s %" PRIu64 ": a text is longer than %d bytes, or a label is there twice",
		        what, place, DICT_STRING_BYTES_MAX);
	case -ENOSPC:
		return pprof_fail(parser, result, place,
		        "%s %" PRIu64 ": more distinct names or stacks than fit into one import",
		        what, place);
	case -EOVERFLOW:
		return pprof_fail(parser, result, place,
		        "%s %" PRIu64 ": the values add up to more than 64 bits", what, place);
	default:
		return pprof_fail_memory(parser);
	}
}

__attribute__((format(printf, 2, 3))) static void pprof_note(
        struct pprof_parser *parser, const char *format, ...)
{
	struct pprof_report *report = &parser->report;
	va_list values;

	assert(report->notes_count < COUNT_OF(report->notes));
	va_start(values, format);
	(void)vsnprintf(
	        report->notes[report->notes_count++], sizeof(report->notes[0]), format, values);
	va_end(values);
}

struct pprof_field {
	uint64_t at; /* byte offset in the message */
	uint32_t number;
	uint32_t wire;
	uint64_t value;
	const uint8_t *bytes;
	uint32_t count;
};

static bool pprof_field_is_known(const struct pprof_field *field)
{
	switch (field->number) {
	case PPROF_SAMPLE_TYPE:
	case PPROF_SAMPLE:
	case PPROF_MAPPING:
	case PPROF_LOCATION:
	case PPROF_FUNCTION:
	case PPROF_STRING:
	case PPROF_PERIOD_TYPE:
		return field->wire == PPROF_BYTES;
	case PPROF_COMMENT:
		return field->wire == PPROF_BYTES || field->wire == PPROF_VARINT;
	default:
		return field->number >= PPROF_DROP_FRAMES && field->number <= PPROF_DOC_URL &&
		       field->wire == PPROF_VARINT;
	}
}

/* The next field of the outermost message. False at its end, and when it is refused. */
static bool pprof_next(struct pprof_parser *parser, struct reader *from, struct pprof_field *field)
{
	if (parser->result < 0 || reader_left(from) == 0)
		return false;
	*field = (struct pprof_field){ .at = (uint64_t)(from->at - parser->bytes) };

	uint64_t tag = reader_varint_max(from, UINT32_MAX);
	field->number = (uint32_t)(tag >> 3);
	field->wire = tag & 7;
	if (!from->failed && !pprof_field_is_known(field)) {
		bool is_new = field->number > PPROF_DOC_URL && field->wire <= 5;
		pprof_fail(parser, -EBADMSG, field->at,
		        is_new ? "byte %" PRIu64
		                 ": field %u of the profile is not known here, so it "
		                 "could not be kept"
		               : "byte %" PRIu64
		                 ": field %u has the wrong kind; this is no pprof file",
		        field->at, field->number);
		return false;
	}
	if (field->wire == PPROF_VARINT) {
		field->value = reader_varint(from);
	} else {
		field->count = (uint32_t)reader_varint_max(from, PPROF_UNPACKED_BYTES_MAX);
		field->bytes = reader_bytes(from, field->count);
	}
	if (from->failed) {
		pprof_fail(parser, -EBADMSG, field->at,
		        "byte %" PRIu64 ": the profile ends inside a field", field->at);
		return false;
	}
	return true;
}

/* Room for one more in a list that may have so many at most. */
static bool pprof_grow(struct pprof_parser *parser, void *list, uint32_t count, uint32_t *capacity,
        size_t bytes_each, const char *what)
{
	void **array = list;

	if (parser->result < 0)
		return false;
	if (count < *capacity)
		return true;
	if (count >= PPROF_ENTRIES_MAX) {
		pprof_fail(parser, -E2BIG, count, "more than %u %s", PPROF_ENTRIES_MAX, what);
		return false;
	}
	uint32_t grown = *capacity ? *capacity * 2 : 64;
	void *moved = reallocarray(*array, grown, bytes_each);
	if (!moved) {
		pprof_fail_memory(parser);
		return false;
	}
	*array = moved;
	*capacity = grown;
	return true;
}

/* Refuses what protobuf-c did not understand: either all of it or one field. */
static bool pprof_is_whole(struct pprof_parser *parser, const ProtobufCMessage *message,
        const char *what, uint64_t place)
{
	if (!message) {
		pprof_fail(parser, -EBADMSG, place, "%s %" PRIu64 " is broken", what, place);
		return false;
	}
	if (message->n_unknown_fields > 0)
		pprof_fail(parser, -EBADMSG, place,
		        "%s %" PRIu64
		        ": field %u of a %s is not known here, so it could not be kept",
		        what, place, message->unknown_fields[0].tag,
		        message->descriptor->short_name);
	return parser->result == 0;
}

static void pprof_take_value_type(
        struct pprof_parser *parser, const struct pprof_field *field, Pprof__ValueType *ret_type)
{
	pprof_arena_reset(&parser->arena);
	Pprof__ValueType *type = pprof__value_type__unpack(
	        &parser->arena.allocator, field->count, field->bytes);
	if (pprof_is_whole(parser, type ? &type->base : NULL, "value type at byte", field->at))
		*ret_type = *type;
}

static void pprof_take_function(struct pprof_parser *parser, const struct pprof_field *field)
{
	uint32_t place = parser->functions_count;

	pprof_arena_reset(&parser->arena);
	Pprof__Function *function = pprof__function__unpack(
	        &parser->arena.allocator, field->count, field->bytes);
	if (!pprof_is_whole(parser, function ? &function->base : NULL, "function", place) ||
	        !pprof_grow(parser, &parser->functions, place, &parser->functions_capacity,
	                sizeof(*parser->functions), "functions"))
		return;
	parser->functions[parser->functions_count++] = (struct pprof_function){
		.id = function->id,
		.name = function->name,
		.system_name = function->system_name,
		.file = function->filename,
		.start_line = function->start_line,
	};
}

static void pprof_take_span(struct pprof_parser *parser, const struct pprof_field *field,
        struct pprof_span **spans, uint32_t *count, uint32_t *capacity, const char *what)
{
	if (!pprof_grow(parser, spans, *count, capacity, sizeof(**spans), what))
		return;
	(*spans)[(*count)++] = (struct pprof_span){
		.at = (size_t)(field->bytes - parser->bytes),
		.count = field->count,
	};
}

static void pprof_take_comments(struct pprof_parser *parser, const struct pprof_field *field)
{
	struct reader packed = reader_of(field->bytes, field->count);

	if (field->wire == PPROF_VARINT) {
		parser->comments++;
		return;
	}
	for (; reader_left(&packed) > 0; parser->comments++)
		(void)reader_varint(&packed);
	if (packed.failed)
		pprof_fail(parser, -EBADMSG, field->at, "byte %" PRIu64 ": broken comments",
		        field->at);
}

static void pprof_take_field(struct pprof_parser *parser, const struct pprof_field *field)
{
	switch (field->number) {
	case PPROF_SAMPLE_TYPE:
		if (parser->types_count == PPROF_TYPES_MAX) {
			pprof_fail(parser, -E2BIG, field->at, "more than %d sample types",
			        PPROF_TYPES_MAX);
			break;
		}
		pprof_take_value_type(parser, field, &parser->types_raw[parser->types_count++]);
		break;
	case PPROF_SAMPLE:
		parser->report.samples++;
		break;
	case PPROF_MAPPING:
		pprof_take_span(parser, field, &parser->mapping_spans, &parser->mapping_spans_count,
		        &parser->mapping_spans_capacity, "mappings");
		break;
	case PPROF_LOCATION:
		pprof_take_span(parser, field, &parser->location_spans,
		        &parser->location_spans_count, &parser->location_spans_capacity,
		        "locations");
		break;
	case PPROF_FUNCTION:
		pprof_take_function(parser, field);
		break;
	case PPROF_STRING:
		pprof_take_span(parser, field, &parser->strings, &parser->strings_count,
		        &parser->strings_capacity, "strings");
		break;
	case PPROF_DROP_FRAMES:
		parser->drop_frames = (int64_t)field->value;
		break;
	case PPROF_KEEP_FRAMES:
		parser->keep_frames = (int64_t)field->value;
		break;
	case PPROF_TIME:
		parser->time = (int64_t)field->value;
		break;
	case PPROF_DURATION:
		parser->duration = (int64_t)field->value;
		break;
	case PPROF_PERIOD_TYPE:
		pprof_take_value_type(parser, field, &parser->period_type);
		parser->has_period_type = true;
		break;
	case PPROF_PERIOD:
		parser->period = (int64_t)field->value;
		break;
	case PPROF_COMMENT:
		pprof_take_comments(parser, field);
		break;
	case PPROF_DEFAULT_TYPE:
		parser->default_type = (int64_t)field->value;
		break;
	case PPROF_DOC_URL:
		parser->doc_url = (int64_t)field->value;
		break;
	default:
		assert(!"pprof_field_is_known() lets nothing else through");
	}
}

/* The bytes of a string of the table, or failed. Place 0 is the empty one even without a table. */
static const char *pprof_text(struct pprof_parser *parser, int64_t place, const char *what,
        uint64_t owner, uint32_t *ret_count)
{
	if (place == 0 && parser->strings_count == 0) {
		*ret_count = 0;
		return "";
	}
	if (place < 0 || place >= (int64_t)parser->strings_count) {
		pprof_fail(parser, -EBADMSG, owner,
		        "%s %" PRIu64 ": string %" PRId64 " is not in the string table of %u", what,
		        owner, place, parser->strings_count);
		return NULL;
	}
	*ret_count = parser->strings[place].count;
	return (const char *)parser->bytes + parser->strings[place].at;
}

/* The same as a string of the dict; 0 when failed. */
static uint32_t pprof_string(
        struct pprof_parser *parser, int64_t place, const char *what, uint64_t owner)
{
	uint32_t count;
	const char *text = pprof_text(parser, place, what, owner, &count);

	if (!text || count == 0)
		return 0;
	if (parser->string_ids[place] == ID_NONE) {
		int result = dict_string(parser->dict, text, count, &parser->string_ids[place]);
		if (result < 0) {
			pprof_fail_dict(parser, result, "string", (uint64_t)place);
			return 0;
		}
	}
	return parser->string_ids[place];
}

static int pprof_compare_keys(const void *left, const void *right)
{
	const struct pprof_key *a = left;
	const struct pprof_key *b = right;

	return a->id < b->id ? -1 : a->id > b->id;
}

/* `first_id` is the id of the first entry of an array whose entries are `bytes_each` apart. */
static void pprof_index_make(struct pprof_parser *parser, struct pprof_index *index,
        const uint64_t *first_id, uint32_t count, size_t bytes_each, const char *what)
{
	bool is_dense = true;
	const char *at = (const char *)first_id;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t id = *(const uint64_t *)(const void *)(at + i * bytes_each);
		if (id == 0) {
			pprof_fail(parser, -EBADMSG, i, "%s %u has the id 0, which means none",
			        what, i);
			return;
		}
		is_dense = is_dense && id == i + UINT64_C(1);
	}
	if (is_dense || parser->result < 0)
		return;

	index->keys = calloc(count, sizeof(*index->keys));
	if (!index->keys) {
		pprof_fail_memory(parser);
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		index->keys[i].id = *(const uint64_t *)(const void *)(at + i * bytes_each);
		index->keys[i].place = i;
	}
	qsort(index->keys, count, sizeof(*index->keys), pprof_compare_keys);
	for (uint32_t i = 1; i < count; i++)
		if (index->keys[i].id == index->keys[i - 1].id)
			pprof_fail(parser, -EBADMSG, index->keys[i].place,
			        "two of the %ss have the id %" PRIu64, what, index->keys[i].id);
}

/* The place of an id, or ID_NONE. */
static uint32_t pprof_index_find(const struct pprof_index *index, uint32_t count, uint64_t id)
{
	struct pprof_key key = { .id = id };

	if (!index->keys)
		return id > 0 && id <= count ? (uint32_t)(id - 1) : ID_NONE;
	const struct pprof_key *found = bsearch(
	        &key, index->keys, count, sizeof(key), pprof_compare_keys);
	return found ? found->place : ID_NONE;
}

static void pprof_make_mapping(struct pprof_parser *parser, uint32_t place)
{
	const struct pprof_span *span = &parser->mapping_spans[place];

	pprof_arena_reset(&parser->arena);
	Pprof__Mapping *mapping = pprof__mapping__unpack(
	        &parser->arena.allocator, span->count, parser->bytes + span->at);
	if (!pprof_is_whole(parser, mapping ? &mapping->base : NULL, "mapping", place))
		return;

	struct module module = {
		.name = pprof_string(parser, mapping->filename, "mapping", place),
		.build_id = pprof_string(parser, mapping->build_id, "mapping", place),
		.start = mapping->memory_start,
		.limit = mapping->memory_limit,
		.offset = mapping->file_offset,
		.flags = (mapping->has_functions ? 1u : 0) | (mapping->has_filenames ? 2u : 0) |
		         (mapping->has_line_numbers ? 4u : 0) |
		         (mapping->has_inline_frames ? 8u : 0),
	};
	if (parser->result < 0)
		return;
	parser->mappings[place].id = mapping->id;
	int result = dict_module(parser->dict, &module, &parser->mappings[place].module);
	if (result < 0)
		pprof_fail_dict(parser, result, "mapping", place);
}

static void pprof_push_frame(
        struct pprof_parser *parser, const struct frame *frame, uint32_t location)
{
	uint32_t id;

	if (parser->result < 0)
		return;
	int result = dict_frame(parser->dict, frame, &id);
	if (result < 0)
		pprof_fail_dict(parser, result, "location", location);
	else if (pprof_grow(parser, &parser->frames, parser->frames_count, &parser->frames_capacity,
	                 sizeof(*parser->frames), "lines of locations"))
		parser->frames[parser->frames_count++] = id;
}

static void pprof_make_line(struct pprof_parser *parser, struct frame frame,
        const Pprof__Line *line, bool is_inlined, uint32_t place)
{
	if (!pprof_is_whole(parser, &line->base, "location", place))
		return;
	frame.kind = FRAME_MANAGED;
	frame.flags |= is_inlined ? FRAME_INLINED : 0;
	frame.line = line->line;
	frame.column = line->column;
	if (line->function_id != 0) {
		uint32_t found = pprof_index_find(
		        &parser->function_index, parser->functions_count, line->function_id);
		if (found == ID_NONE) {
			pprof_fail(parser, -EBADMSG, place,
			        "location %u: there is no function %" PRIu64, place,
			        line->function_id);
			return;
		}
		struct pprof_function *function = &parser->functions[found];
		function->is_used = true;
		frame.function = pprof_string(parser, function->name, "function", found);
		frame.system_name = pprof_string(parser, function->system_name, "function", found);
		frame.file = pprof_string(parser, function->file, "function", found);
		frame.start_line = function->start_line;
	}
	pprof_push_frame(parser, &frame, place);
}

static void pprof_make_location(struct pprof_parser *parser, uint32_t place)
{
	const struct pprof_span *span = &parser->location_spans[place];
	struct pprof_location *location = &parser->locations[place];

	pprof_arena_reset(&parser->arena);
	Pprof__Location *raw = pprof__location__unpack(
	        &parser->arena.allocator, span->count, parser->bytes + span->at);
	if (!pprof_is_whole(parser, raw ? &raw->base : NULL, "location", place))
		return;

	struct frame frame = {
		.kind = FRAME_NATIVE,
		.flags = raw->is_folded ? FRAME_FOLDED : 0,
		.address = raw->address,
	};
	if (raw->mapping_id != 0) {
		uint32_t found = pprof_index_find(
		        &parser->mapping_index, parser->mappings_count, raw->mapping_id);
		if (found == ID_NONE) {
			pprof_fail(parser, -EBADMSG, place,
			        "location %u: there is no mapping %" PRIu64, place,
			        raw->mapping_id);
			return;
		}
		parser->mappings[found].is_used = true;
		frame.module = parser->mappings[found].module;
	}
	location->id = raw->id;
	location->frames_first = parser->frames_count;
	for (size_t i = 0; i < raw->n_line; i++)
		pprof_make_line(parser, frame, raw->line[i], i + 1 < raw->n_line, place);
	if (raw->n_line == 0)
		pprof_push_frame(parser, &frame, place);
	location->frames_count = parser->frames_count - location->frames_first;
}

/* Tables of ids, after the first pass has seen every string. */
static void pprof_make_tables(struct pprof_parser *parser)
{
	uint32_t count;

	/* One more than needed, so that an empty table is no NULL. */
	parser->string_ids = malloc((parser->strings_count + UINT64_C(1)) * sizeof(uint32_t));
	parser->mappings = calloc(
	        parser->mapping_spans_count + UINT64_C(1), sizeof(*parser->mappings));
	parser->locations = calloc(
	        parser->location_spans_count + UINT64_C(1), sizeof(*parser->locations));
	parser->stack = calloc(PPROF_DEPTH_MAX, sizeof(*parser->stack));
	if (!parser->string_ids || !parser->mappings || !parser->locations || !parser->stack) {
		pprof_fail_memory(parser);
		return;
	}
	memset(parser->string_ids, 0xff, parser->strings_count * sizeof(uint32_t)); /* ID_NONE */
	if (pprof_text(parser, 0, "profile", 0, &count) && count != 0)
		pprof_fail(parser, -EBADMSG, 0, "string 0 is not empty, as it has to be");

	for (; parser->mappings_count < parser->mapping_spans_count && parser->result == 0;
	        parser->mappings_count++)
		pprof_make_mapping(parser, parser->mappings_count);
	pprof_index_make(parser, &parser->mapping_index, &parser->mappings->id,
	        parser->mappings_count, sizeof(*parser->mappings), "mapping");
	if (parser->functions)
		pprof_index_make(parser, &parser->function_index, &parser->functions->id,
		        parser->functions_count, sizeof(*parser->functions), "function");
	for (; parser->locations_count < parser->location_spans_count && parser->result == 0;
	        parser->locations_count++)
		pprof_make_location(parser, parser->locations_count);
	pprof_index_make(parser, &parser->location_index, &parser->locations->id,
	        parser->locations_count, sizeof(*parser->locations), "location");
}

/* Which type options.type renames: the only one, the file's default, or the last. */
static uint32_t pprof_default_type(struct pprof_parser *parser)
{
	uint32_t name = pprof_string(parser, parser->default_type, "default sample type", 0);

	for (uint32_t i = 0; i < parser->types_count && name != 0; i++)
		if (parser->types[i].type == name)
			return i;
	return parser->types_count - 1;
}

/* Whether every value of the type is so many times the period. */
static bool pprof_are_multiples(struct pprof_parser *parser, uint32_t type, uint64_t period)
{
	struct reader from = reader_of(parser->bytes, parser->count);
	struct pprof_field field;

	while (pprof_next(parser, &from, &field)) {
		if (field.number != PPROF_SAMPLE)
			continue;
		pprof_arena_reset(&parser->arena);
		Pprof__Sample *sample = pprof__sample__unpack(
		        &parser->arena.allocator, field.count, field.bytes);
		/* What is broken is told by the pass that reads it. */
		if (!sample || type >= sample->n_value || sample->value[type] < 0)
			return false;
		if ((uint64_t)sample->value[type] % period != 0)
			return false;
	}
	return true;
}

static void pprof_find_period(struct pprof_parser *parser)
{
	if (parser->period == 0)
		return;
	uint32_t type = pprof_string(parser, parser->period_type.type, "period type", 0);
	uint32_t unit = pprof_string(parser, parser->period_type.unit, "period type", 0);
	if (parser->period < 0) {
		pprof_fail(
		        parser, -EBADMSG, 0, "the period %" PRId64 " is negative", parser->period);
		return;
	}
	if (parser->period == 1)
		return;
	for (uint32_t i = 0; i < parser->types_count && parser->has_period_type; i++) {
		if (parser->types[i].type != type || parser->types[i].unit != unit)
			continue;
		if (!pprof_are_multiples(parser, i, (uint64_t)parser->period))
			break;
		parser->types[i].period = (uint64_t)parser->period;
		return;
	}
	if (parser->result == 0)
		pprof_note(parser,
		        "the period of %" PRId64 " is not kept: it is not what the values of "
		        "a sample type are multiples of",
		        parser->period);
}

static void pprof_make_types(struct pprof_parser *parser)
{
	for (uint32_t i = 0; i < parser->types_count; i++) {
		struct pprof_type *type = &parser->types[i];

		type->type = pprof_string(parser, parser->types_raw[i].type, "sample type", i);
		type->unit = pprof_string(parser, parser->types_raw[i].unit, "sample type", i);
		type->period = 1;
	}
	/* The file's own names decide, before one of them is replaced. */
	pprof_find_period(parser);
	if (parser->options.type && parser->types_count > 0 && parser->result == 0) {
		uint32_t renamed = pprof_default_type(parser);
		int result = dict_cstring(
		        parser->dict, parser->options.type, &parser->types[renamed].type);
		if (result < 0)
			pprof_fail_dict(parser, result, "sample type", renamed);
	}
	for (uint32_t i = 0; i < parser->types_count; i++)
		for (uint32_t j = 0; j < i; j++)
			if (parser->types[i].type == parser->types[j].type &&
			        parser->types[i].unit == parser->types[j].unit)
				pprof_fail(parser, -EBADMSG, i,
				        "sample types %u and %u are both called %s in %s", j, i,
				        dict_text(parser->dict, parser->types[i].type),
				        dict_text(parser->dict, parser->types[i].unit));
	/* In the order of the file, whichever type has the first value. */
	for (uint32_t i = 0; i < parser->types_count && parser->result == 0; i++) {
		struct pprof_type *type = &parser->types[i];
		struct series series = {
			.type = type->type, .unit = type->unit, .period = type->period
		};
		int result = dict_series(parser->dict, &series, parser->options.labels,
		        parser->options.labels_count, &type->series);
		if (result < 0)
			pprof_fail_dict(parser, result, "sample type", i);
	}
}

/* To the rest of the house a label with an empty value is no label, so it is not kept. */
static bool pprof_label_is_kept(
        struct pprof_parser *parser, const Pprof__Label *label, uint64_t owner)
{
	uint32_t count = 0;

	return label->str == 0 ||
	       (pprof_text(parser, label->str, "sample", owner, &count) && count > 0);
}

/*
 * The how-manieth of the kept labels with this key and of this kind it is. Keys are compared as
 * texts: one text may stand in several places of the string table.
 */
static uint32_t pprof_label_rank(
        struct pprof_parser *parser, const Pprof__Sample *sample, size_t place, uint64_t owner)
{
	const Pprof__Label *label = sample->label[place];
	uint32_t rank = 1;
	uint32_t count, other_count;
	const char *key = pprof_text(parser, label->key, "sample", owner, &count);

	for (size_t i = 0; key && i < place; i++) {
		const Pprof__Label *other = sample->label[i];
		const char *other_key = pprof_text(
		        parser, other->key, "sample", owner, &other_count);

		if (other_key && (other->str != 0) == (label->str != 0) && count == other_count &&
		        memcmp(key, other_key, count) == 0 &&
		        pprof_label_is_kept(parser, other, owner))
			rank++;
	}
	return rank;
}

/* A sample's label as a label of its series. False when it is not kept, or failed. */
static bool pprof_make_label(struct pprof_parser *parser, const Pprof__Sample *sample, size_t place,
        uint64_t owner, struct label *ret_label)
{
	const Pprof__Label *label = sample->label[place];
	struct buf *name = &parser->scratch;
	uint32_t key_count, unit_count;
	char digits[24];

	if (!pprof_is_whole(parser, &label->base, "sample", owner))
		return false;
	if (label->str != 0 && (label->num != 0 || label->num_unit != 0)) {
		pprof_fail(parser, -EBADMSG, owner,
		        "sample %" PRIu64 ": a label is both a text and a number", owner);
		return false;
	}
	if (!pprof_label_is_kept(parser, label, owner)) {
		parser->empty_labels++;
		return false;
	}
	const char *key = pprof_text(parser, label->key, "sample", owner, &key_count);
	const char *unit = pprof_text(parser, label->num_unit, "sample", owner, &unit_count);
	if (!key || !unit)
		return false;

	buf_reset(name);
	buf_printf(name, label->str ? PPROF_TEXT_LABEL : PPROF_NUMBER_LABEL);
	pprof_put_escaped(name, key, key_count, false);
	if (label->str == 0) {
		buf_put_u8(name, '.');
		pprof_put_escaped(name, unit, unit_count, true);
	}
	uint32_t rank = pprof_label_rank(parser, sample, place, owner);
	if (rank > 1)
		buf_printf(name, "#%u", rank);
	if (name->failed) {
		pprof_fail_memory(parser);
		return false;
	}
	int result = dict_string(
	        parser->dict, (const char *)name->bytes, name->count, &ret_label->name);
	if (result == 0 && label->str == 0) {
		snprintf(digits, sizeof(digits), "%" PRId64, label->num);
		result = dict_cstring(parser->dict, digits, &ret_label->value);
	} else if (result == 0) {
		ret_label->value = pprof_string(parser, label->str, "sample", owner);
	}
	if (result < 0)
		pprof_fail_dict(parser, result, "sample", owner);
	return parser->result == 0;
}

static uint32_t pprof_make_labels(struct pprof_parser *parser, const Pprof__Sample *sample,
        uint64_t owner, struct label labels[static DICT_LABELS_MAX])
{
	uint32_t count = parser->options.labels_count;

	if (sample->n_label > DICT_LABELS_MAX || count > DICT_LABELS_MAX - sample->n_label) {
		pprof_fail(parser, -EBADMSG, owner,
		        "sample %" PRIu64 " has %zu labels, and its series %u more: %d fit", owner,
		        sample->n_label, count, DICT_LABELS_MAX);
		return 0;
	}
	if (count > 0)
		memcpy(labels, parser->options.labels, count * sizeof(*labels));
	for (size_t i = 0; i < sample->n_label; i++)
		if (pprof_make_label(parser, sample, i, owner, &labels[count]))
			count++;
	return count;
}

static uint32_t pprof_make_stack(
        struct pprof_parser *parser, const Pprof__Sample *sample, uint64_t owner)
{
	uint32_t depth = 0;
	uint32_t node = DICT_NODE_ROOT;

	for (size_t i = 0; i < sample->n_location_id; i++) {
		uint32_t found = pprof_index_find(
		        &parser->location_index, parser->locations_count, sample->location_id[i]);
		if (found == ID_NONE) {
			pprof_fail(parser, -EBADMSG, owner,
			        "sample %" PRIu64 ": there is no location %" PRIu64, owner,
			        sample->location_id[i]);
			return node;
		}
		struct pprof_location *location = &parser->locations[found];
		if (location->frames_count > PPROF_DEPTH_MAX - depth) {
			pprof_fail(parser, -EBADMSG, owner,
			        "sample %" PRIu64 ": its stack is deeper than %d frames", owner,
			        PPROF_DEPTH_MAX);
			return node;
		}
		location->is_used = true;
		memcpy(parser->stack + depth, parser->frames + location->frames_first,
		        location->frames_count * sizeof(uint32_t));
		depth += location->frames_count;
	}
	int result = dict_stack(parser->dict, parser->stack, depth, &node);
	if (result < 0)
		pprof_fail_dict(parser, result, "sample", owner);
	return node;
}

static void pprof_make_rows(struct pprof_parser *parser, const Pprof__Sample *sample,
        uint64_t owner, uint32_t node, const struct label *labels, uint32_t labels_count)
{
	bool has_labels = labels_count > parser->options.labels_count;

	for (uint32_t i = 0; i < parser->types_count && parser->result == 0; i++) {
		struct pprof_type *type = &parser->types[i];
		uint32_t series_id = type->series;
		int result = 0;

		if (sample->value[i] == 0)
			continue;
		type->has_values = true;
		if (has_labels) {
			struct series series = {
				.type = type->type, .unit = type->unit, .period = type->period
			};
			result = dict_series(
			        parser->dict, &series, labels, labels_count, &series_id);
		}
		if (result == 0)
			result = batch_add_row(parser->batch, series_id, node,
			        (uint64_t)sample->value[i] / type->period);
		if (result < 0)
			pprof_fail_dict(parser, result, "sample", owner);
	}
}

static void pprof_make_sample(
        struct pprof_parser *parser, const struct pprof_field *field, uint64_t place)
{
	struct label labels[DICT_LABELS_MAX];
	bool is_zero = true;

	pprof_arena_reset(&parser->arena);
	Pprof__Sample *sample = pprof__sample__unpack(
	        &parser->arena.allocator, field->count, field->bytes);
	if (!pprof_is_whole(parser, sample ? &sample->base : NULL, "sample", place))
		return;
	if (sample->n_value != parser->types_count || parser->types_count == 0) {
		pprof_fail(parser, -EBADMSG, place,
		        "sample %" PRIu64 " has %zu values for %u sample types", place,
		        sample->n_value, parser->types_count);
		return;
	}
	for (uint32_t i = 0; i < parser->types_count; i++) {
		if (sample->value[i] < 0)
			pprof_fail(parser, -EBADMSG, place,
			        "sample %" PRIu64 ": the value %" PRId64
			        " of type %s is negative, and "
			        "only counts can be kept",
			        place, sample->value[i],
			        dict_text(parser->dict, parser->types[i].type));
		is_zero = is_zero && sample->value[i] == 0;
	}
	parser->zero_samples += is_zero;
	if (parser->result < 0)
		return;
	uint32_t node = pprof_make_stack(parser, sample, place);
	uint32_t labels_count = pprof_make_labels(parser, sample, place, labels);
	pprof_make_rows(parser, sample, place, node, labels, labels_count);
}

static void pprof_note_unused(struct pprof_parser *parser)
{
	uint32_t mappings = 0, locations = 0, functions = 0, empty = 0;

	for (uint32_t i = 0; i < parser->mappings_count; i++) {
		mappings += !parser->mappings[i].is_used;
		empty += parser->mappings[i].is_used && parser->mappings[i].module == 0;
	}
	for (uint32_t i = 0; i < parser->locations_count; i++)
		locations += !parser->locations[i].is_used;
	for (uint32_t i = 0; i < parser->functions_count; i++)
		functions += !parser->functions[i].is_used;
	if (empty)
		pprof_note(parser, "not kept, because they say nothing: %u mappings", empty);
	if (mappings || locations || functions)
		pprof_note(parser,
		        "not kept, because nothing uses them: %u mappings, %u locations, "
		        "%u functions",
		        mappings, locations, functions);
}

/* What was understood and has no place in a batch. */
static void pprof_note_fields(struct pprof_parser *parser)
{
	/* A period of 1 is that of every series without one. */
	bool has_idle_period = parser->period == 1 ||
	                       (parser->period == 0 && parser->has_period_type);
	if (parser->comments || parser->drop_frames || parser->keep_frames || parser->doc_url ||
	        parser->default_type || has_idle_period) {
		char comments[40] = "";

		if (parser->comments)
			snprintf(comments, sizeof(comments), " %" PRIu64 " comments",
			        parser->comments);
		pprof_note(parser, "not kept:%s%s%s%s%s%s", comments,
		        parser->drop_frames ? " drop_frames" : "",
		        parser->keep_frames ? " keep_frames" : "",
		        parser->doc_url ? " doc_url" : "",
		        parser->default_type ? " default_sample_type" : "",
		        parser->period == 1 ? " a period of 1"
		        : has_idle_period   ? " a period type without a period"
		                            : "");
	}
	if (parser->time < 0 || parser->duration < 0)
		pprof_note(parser, "a time before 1970 or a negative duration is not kept");
	if (parser->zero_samples)
		pprof_note(parser, "%" PRIu64 " samples have only zero values and are not kept",
		        parser->zero_samples);
	if (parser->empty_labels)
		pprof_note(parser, "%" PRIu64 " labels with an empty text are not kept",
		        parser->empty_labels);

	uint32_t empty_types = 0;
	for (uint32_t i = 0; i < parser->types_count; i++)
		empty_types += !parser->types[i].has_values;
	if (empty_types)
		pprof_note(parser, "%u sample types have no value but zero", empty_types);
	pprof_note_unused(parser);
}

static void pprof_parse_message(struct pprof_parser *parser)
{
	struct reader from = reader_of(parser->bytes, parser->count);
	struct pprof_field field;
	uint64_t sample = 0;

	while (pprof_next(parser, &from, &field))
		pprof_take_field(parser, &field);
	if (parser->result == 0)
		pprof_make_tables(parser);
	if (parser->result == 0)
		pprof_make_types(parser);

	from = reader_of(parser->bytes, parser->count);
	while (pprof_next(parser, &from, &field))
		if (field.number == PPROF_SAMPLE)
			pprof_make_sample(parser, &field, sample++);
	if (parser->result < 0)
		return;
	parser->report.time_unix_ns = parser->time > 0 ? (uint64_t)parser->time : 0;
	parser->report.duration_ns = parser->duration > 0 ? (uint64_t)parser->duration : 0;
	pprof_note_fields(parser);
}

int pprof_parse(const void *bytes, size_t count, struct pprof_options options, struct batch *batch,
        struct pprof_report *ret_report, struct parse_error *ret_error)
{
	AUTO_BUF unpacked = { 0 };
	autofree struct pprof_parser *parser = calloc(1, sizeof(*parser));

	if (!parser) {
		*ret_error = (struct parse_error){ .text = "out of memory" };
		return -ENOMEM;
	}
	parser->bytes = bytes;
	parser->count = count;
	parser->options = options;
	parser->batch = batch;
	parser->dict = batch->dict;
	parser->error = ret_error;
	pprof_arena_init(&parser->arena);

	if (gzip_is_gzip(bytes, count)) {
		int result = gzip_unpack(bytes, count, PPROF_UNPACKED_BYTES_MAX, &unpacked);
		if (result == -E2BIG)
			pprof_fail(parser, result, 0, "unpacks to more than %llu bytes",
			        PPROF_UNPACKED_BYTES_MAX);
		else if (result < 0)
			pprof_fail(parser, result, 0,
			        result == -EBADMSG ? "the gzip data is broken or ends early"
			                           : "out of memory");
		parser->bytes = unpacked.bytes;
		parser->count = unpacked.count;
	} else if (count > PPROF_UNPACKED_BYTES_MAX) {
		pprof_fail(parser, -E2BIG, 0, "larger than %llu bytes", PPROF_UNPACKED_BYTES_MAX);
	}
	if (parser->result == 0)
		pprof_parse_message(parser);

	int result = parser->result;
	if (result == 0)
		*ret_report = parser->report;
	pprof_parser_fini(parser);
	return result;
}

/* ---- Writing ---- */

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

static bool pprof_label_is_of_sample(const struct dict *dict, struct label label)
{
	size_t count;
	const char *name = dict_get_string(dict, label.name, &count);

	return (count >= strlen(PPROF_TEXT_LABEL) &&
	               memcmp(name, PPROF_TEXT_LABEL, strlen(PPROF_TEXT_LABEL)) == 0) ||
	       (count >= strlen(PPROF_NUMBER_LABEL) &&
	               memcmp(name, PPROF_NUMBER_LABEL, strlen(PPROF_NUMBER_LABEL)) == 0);
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

struct pprof_decoded_label {
	const char *key, *unit;
	size_t key_count, unit_count;
	bool is_number;
	int64_t number;
	uint32_t rank;
};

/* A whole decimal int64 and nothing else. */
static bool pprof_decode_number(const char *text, size_t count, int64_t *ret_number)
{
	char digits[24];
	char *end;

	if (count == 0 || count >= sizeof(digits) || text[0] == ' ' || text[0] == '+')
		return false;
	memcpy(digits, text, count);
	digits[count] = 0;
	errno = 0;
	*ret_number = strtoll(digits, &end, 10);
	return errno == 0 && *end == 0 && end == digits + count;
}

/*
 * Takes the name of a series label apart. One that only looks like a sample's label (somebody's
 * own) is taken as a text label under its whole name: it is not lost.
 */
static struct pprof_decoded_label pprof_decode_label(const struct dict *dict, struct label label)
{
	struct pprof_decoded_label decoded = { .rank = 1 };
	size_t count, value_count;
	const char *name = dict_get_string(dict, label.name, &count);
	const char *value = dict_get_string(dict, label.value, &value_count);
	const char *hash = memrchr(name, '#', count);

	decoded.key = name;
	decoded.key_count = count;
	if (hash && hash + 1 < name + count && name + count - hash < 8) {
		int64_t rank;
		if (pprof_decode_number(hash + 1, (size_t)(name + count - hash - 1), &rank) &&
		        rank > 1) {
			decoded.rank = (uint32_t)rank;
			count = (size_t)(hash - name);
		}
	}
	size_t text_prefix = strlen(PPROF_TEXT_LABEL);
	size_t number_prefix = strlen(PPROF_NUMBER_LABEL);
	if (memcmp(name, PPROF_TEXT_LABEL, text_prefix) == 0) {
		decoded.key = name + text_prefix;
		decoded.key_count = count - text_prefix;
		return decoded;
	}
	const char *dot = count > number_prefix
	                          ? memrchr(name + number_prefix, '.', count - number_prefix)
	                          : NULL;
	if (dot && pprof_decode_number(value, value_count, &decoded.number)) {
		decoded.is_number = true;
		decoded.key = name + number_prefix;
		decoded.key_count = (size_t)(dot - decoded.key);
		decoded.unit = dot + 1;
		decoded.unit_count = (size_t)(name + count - decoded.unit);
	} else {
		decoded.rank = 1;
	}
	return decoded;
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
	const struct frame *frame = dict_get_frame(writer->dict, frame_id);
	Pprof__Function function = PPROF__FUNCTION__INIT;
	size_t raw_count;
	const char *raw = dict_get_string(writer->dict, frame->function, &raw_count);
	const char *name = writer->name(writer->dict, frame_id, &writer->scratch);

	if (!name) {
		writer->result = -ENOMEM;
		return 0;
	}
	function.name = pprof_put_text(writer, name, writer->scratch.count);
	function.system_name = pprof_put_string(writer, frame->system_name);
	/* Where the name was made readable, the one that the linker knows stays beside it. */
	if (frame->system_name == 0 && raw_count > 0 &&
	        (raw_count != writer->scratch.count || memcmp(raw, name, raw_count) != 0))
		function.system_name = pprof_put_text(writer, raw, raw_count);
	function.filename = pprof_put_string(writer, frame->file);
	function.start_line = frame->start_line;

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
	const struct frame *last = dict_get_frame(writer->dict, frames[count - 1]);

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
	location.mapping_id = last->module;
	location.address = last->address;
	location.is_folded = last->flags & FRAME_FOLDED ? 1 : 0;
	writer->modules_used[last->module] = true;
	for (uint32_t i = 0; i < count; i++) {
		const struct frame *frame = dict_get_frame(writer->dict, frames[i]);

		if (!pprof_frame_has_line(frame))
			continue;
		pprof__line__init(&lines[i]);
		lines[i].function_id = pprof_put_function(writer, frames[i]);
		lines[i].line = frame->line;
		lines[i].column = frame->column;
		pointers[location.n_line++] = &lines[i];
	}
	location.line = pointers;
	pprof_put_message(&writer->location_bytes, PPROF_LOCATION, &location.base);
	return id;
}

/* Whether the frame is a line of the same location as the next one towards the root. */
static bool pprof_frame_joins(const struct dict *dict, uint32_t frame_id, uint32_t next_id)
{
	const struct frame *frame = dict_get_frame(dict, frame_id);
	const struct frame *next = dict_get_frame(dict, next_id);

	return frame->flags & FRAME_INLINED && frame->module == next->module &&
	       frame->address == next->address && pprof_frame_has_line(frame) &&
	       pprof_frame_has_line(next) && ((frame->flags ^ next->flags) & FRAME_FOLDED) == 0;
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
