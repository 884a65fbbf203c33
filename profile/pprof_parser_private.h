#pragma once

/*
 * pprof_parser is one file while it is read. A first pass over its fields fills tables
 * (pprof_fields.c), which then become frames of the dict (pprof_tables.c); a second one makes rows
 * of samples (pprof.c). The first failure stays, and every step after it does nothing.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/reader.h"
#include "profile/pprof.h"
#include "profile/pprof_arena_private.h"
#include "profile/pprof_private.h"
#include "profile/profile.pb-c.h"

/* Frames of one sample, inlined ones included. Go's runtime stops at 128 by default. */
#define PPROF_DEPTH_MAX 16384

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

struct pprof_field {
	uint64_t at; /* byte offset in the message */
	uint32_t number;
	uint32_t wire;
	uint64_t value;
	const uint8_t *bytes;
	uint32_t count;
};

/* The first failure stays: returns it. `place` is where in the file, counted as the text says. */
int pprof_fail(struct pprof_parser *parser, int result, uint64_t place, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
int pprof_fail_memory(struct pprof_parser *parser);
/* The dict's refusal in words of the file. */
int pprof_fail_dict(struct pprof_parser *parser, int result, const char *what, uint64_t place);
/* Fails for what protobuf-c did not understand: either all of it or one field. */
void pprof_check_whole(struct pprof_parser *parser, const ProtobufCMessage *message,
        const char *what, uint64_t place);
static inline bool pprof_is_whole(struct pprof_parser *parser, const ProtobufCMessage *message,
        const char *what, uint64_t place)
{
	pprof_check_whole(parser, message, what, place);
	return message && parser->result == 0;
}

/* The next field of the outermost message. False at its end, and when it is refused. */
bool pprof_next(struct pprof_parser *parser, struct reader *from, struct pprof_field *field);
/* What the first pass does with it. */
void pprof_take_field(struct pprof_parser *parser, const struct pprof_field *field);

/* Room for one more in a list that may have so many at most. */
bool pprof_grow(struct pprof_parser *parser, void *list, uint32_t count, uint32_t *capacity,
        size_t bytes_each, const char *what);

/* The bytes of a string of the table, or failed. Place 0 is the empty one even without a table. */
const char *pprof_text(struct pprof_parser *parser, int64_t place, const char *what, uint64_t owner,
        uint32_t *ret_count);
/* The same as a string of the dict; 0 when failed. */
uint32_t pprof_string(struct pprof_parser *parser, int64_t place, const char *what, uint64_t owner);

/* Tables of ids, after the first pass has seen every string. */
void pprof_make_tables(struct pprof_parser *parser);
/* The place of an id, or ID_NONE. */
uint32_t pprof_index_find(const struct pprof_index *index, uint32_t count, uint64_t id);
