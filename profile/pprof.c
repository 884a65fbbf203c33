/*
 * A profile is one protobuf message whose size is that of the file, so it is never unpacked as a
 * whole (protobuf-c would need several times the file). The outermost fields are walked here, each
 * inner message is unpacked by protobuf-c into an arena that the next one reuses:
 *
 *	first pass     strings, functions, mappings: into tables    locations, samples: counted
 *	locations      become runs of frames, once
 *	second pass    each sample becomes a node of the dict and a row per value that is not 0
 *
 * Writing goes the other way (pprof_write.c).
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
#include "profile/pprof_label_private.h"
#include "profile/pprof_parser_private.h"

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
