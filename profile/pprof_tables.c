/*
 * Strings, functions, mappings and locations, found by their ids, and as strings, modules and runs
 * of frames of the dict: made once each, however many samples use them.
 */

#include "profile/pprof_parser_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *pprof_text(struct pprof_parser *parser, int64_t place, const char *what, uint64_t owner,
        uint32_t *ret_count)
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

uint32_t pprof_string(struct pprof_parser *parser, int64_t place, const char *what, uint64_t owner)
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

uint32_t pprof_index_find(const struct pprof_index *index, uint32_t count, uint64_t id)
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

void pprof_make_tables(struct pprof_parser *parser)
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
