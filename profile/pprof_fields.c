/*
 * The outermost fields of a profile, walked without unpacking all of it: the first pass keeps where
 * strings, mappings and locations lie, takes functions, and counts samples.
 */

#include "profile/pprof_parser_private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Strings, functions, mappings, locations: each. */
#define PPROF_ENTRIES_MAX (16u << 20)

int pprof_fail(struct pprof_parser *parser, int result, uint64_t place, const char *format, ...)
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

int pprof_fail_memory(struct pprof_parser *parser)
{
	return pprof_fail(parser, -ENOMEM, 0, "out of memory");
}

int pprof_fail_dict(struct pprof_parser *parser, int result, const char *what, uint64_t place)
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

bool pprof_next(struct pprof_parser *parser, struct reader *from, struct pprof_field *field)
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

bool pprof_grow(struct pprof_parser *parser, void *list, uint32_t count, uint32_t *capacity,
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

void pprof_check_whole(struct pprof_parser *parser, const ProtobufCMessage *message,
        const char *what, uint64_t place)
{
	if (!message) {
		pprof_fail(parser, -EBADMSG, place, "%s %" PRIu64 " is broken", what, place);
		return;
	}
	if (message->n_unknown_fields > 0)
		pprof_fail(parser, -EBADMSG, place,
		        "%s %" PRIu64
		        ": field %u of a %s is not known here, so it could not be kept",
		        what, place, message->unknown_fields[0].tag,
		        message->descriptor->short_name);
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

void pprof_take_field(struct pprof_parser *parser, const struct pprof_field *field)
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
