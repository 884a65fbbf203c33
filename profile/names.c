/*
 * Names lie end to end in one buffer, "function\0module\0"; an entry is where it starts, and an
 * id_map finds the entry by the hash of those bytes.
 */

#include "profile/names.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "profile/canon.h"
#include "profile/demangle.h"
#include "profile/folded.h"
#include "profile/naming.h"

#define NAMES_UNKNOWN   "[unknown]"
#define NAMES_TRUNCATED "[truncated]"

struct names_entry {
	size_t function; /* offset in bytes */
	size_t module;
	bool unknown;
	uint8_t kind;
};

struct names {
	struct id_map *map;
	struct buf bytes;
	struct names_entry *entries;
	uint32_t capacity;
	bool is_canonical;
	uint64_t rewritten;
	struct buf symbol;  /* scratch, of one name */
	struct buf scratch; /* and of a name with its module */
};

struct names *names_new(void)
{
	AUTO(names) names = calloc(1, sizeof(*names));
	if (!names)
		return NULL;
	names->map = id_map_new(UINT32_MAX - 1);
	if (!names->map)
		return NULL;
	return TAKE(names);
}

void names_free(struct names *names)
{
	if (!names)
		return;
	id_map_free(names->map);
	buf_fini(&names->bytes);
	buf_fini(&names->symbol);
	buf_fini(&names->scratch);
	free(names->entries);
	free(names);
}

/* A zero would end a name before its end. */
static void names_put_text(const char *text, size_t count, struct buf *to)
{
	for (size_t i = 0; i < count; i++) {
		if (text[i])
			buf_put_u8(to, (uint8_t)text[i]);
		else
			buf_put(to, "\\x00", 4);
	}
}

/* What stands for a frame without a function; false when it has one. */
static bool names_put_nameless(const struct frame *frame, struct buf *to)
{
	if (frame->kind == FRAME_TRUNCATED)
		buf_put(to, NAMES_TRUNCATED, sizeof(NAMES_TRUNCATED));
	else if (frame->function == 0)
		buf_put(to, NAMES_UNKNOWN, sizeof(NAMES_UNKNOWN));
	return frame->kind == FRAME_TRUNCATED || frame->function == 0;
}

/* As it is: somebody has made it readable. */
static void names_put_plain(const struct dict *dict, const struct frame *frame, struct buf *to)
{
	if (names_put_nameless(frame, to))
		return;
	size_t count;
	const char *function = dict_get_string(dict, frame->function, &count);
	names_put_text(function, count, to);
	buf_put_u8(to, '\0');
}

/* The readable function of a frame into `to`, zero-terminated. */
static void names_put_function(const struct dict *dict, const struct frame *frame, struct buf *to)
{
	if (names_put_nameless(frame, to))
		return;

	size_t count;
	const char *function = dict_get_string(dict, frame->function, &count);
	if (frame->kind != FRAME_NATIVE || !demangle(function, to))
		names_put_text(function, count, to);
	buf_put_u8(to, '\0');
}

void names_use_canon(struct names *names)
{
	assert(names_count(names) == 0);
	names->is_canonical = true;
}

uint64_t names_rewritten(const struct names *names)
{
	return names->rewritten;
}

/*
 * Like names_put_function(), in canonical form. What a compiler appended goes before demangling,
 * which would not understand it, and what a readable name still has of the kind goes after it.
 */
static void names_put_canonical(
        struct names *names, const struct dict *dict, const struct frame *frame, struct buf *to)
{
	if (frame->kind == FRAME_TRUNCATED || frame->function == 0) {
		names_put_function(dict, frame, to);
		return;
	}

	size_t count;
	const char *function = dict_get_string(dict, frame->function, &count);
	struct buf *symbol = &names->symbol;
	buf_reset(symbol);
	bool is_other = canon(function, count, symbol);
	buf_put_u8(symbol, '\0');
	if (symbol->failed) {
		to->failed = true;
		return;
	}
	const char *plain = (const char *)symbol->bytes;
	AUTO_BUF readable = { 0 };
	if (frame->kind != FRAME_NATIVE || !demangle(plain, &readable))
		names_put_text(plain, symbol->count - 1, &readable);
	if (readable.failed) {
		to->failed = true;
		return;
	}
	is_other |= canon((const char *)readable.bytes, readable.count, to);
	buf_put_u8(to, '\0');
	names->rewritten += is_other;
}

static const char *names_frame_module(const struct dict *dict, const struct frame *frame)
{
	if (frame->kind == FRAME_TRUNCATED || frame->module == 0)
		return "";
	const char *name = dict_text(dict, dict_get_module(dict, frame->module)->name);
	const char *slash = strrchr(
	        name, '/'); /* Files bring whole paths; the base name is the key. */
	return slash && slash[1] ? slash + 1 : name;
}

/* How names get from a frame to a reader. */
enum names_form { NAMES_MADE, NAMES_AS_THEY_ARE };

static int names_intern(struct names *names, const struct dict *dict, const struct frame *frame,
        enum names_form form, uint32_t *ret_id)
{
	struct buf *scratch = &names->scratch;
	buf_reset(scratch);
	if (form == NAMES_AS_THEY_ARE)
		names_put_plain(dict, frame, scratch);
	else if (names->is_canonical)
		names_put_canonical(names, dict, frame, scratch);
	else
		names_put_function(dict, frame, scratch);
	size_t function_bytes = scratch->count;
	const char *module = names_frame_module(dict, frame);
	buf_put(scratch, module, strlen(module) + 1);
	if (scratch->failed)
		return -ENOMEM;

	uint32_t id;
	bool added;
	int result = id_map_intern(
	        names->map, hash128_bytes(scratch->bytes, scratch->count), &id, &added);
	if (result < 0)
		return result;
	if (added) {
		if (id >= names->capacity) {
			uint32_t capacity = names->capacity ? 2 * names->capacity : 1024;
			struct names_entry *entries = reallocarray(
			        names->entries, capacity, sizeof(*entries));
			if (!entries)
				return -ENOMEM;
			names->entries = entries;
			names->capacity = capacity;
		}
		names->entries[id] = (struct names_entry){
			.function = names->bytes.count,
			.module = names->bytes.count + function_bytes,
			.unknown = frame->kind != FRAME_TRUNCATED && naming_is_unknown(frame),
			.kind = frame->kind,
		};
		buf_put(&names->bytes, scratch->bytes, scratch->count);
		if (names->bytes.failed)
			return -ENOMEM;
	}
	*ret_id = id;
	return 0;
}

static int names_of_frames(
        struct names *names, const struct dict *dict, enum names_form form, uint32_t **ret_ids)
{
	uint32_t count = dict_mark(dict).frames;
	autofree uint32_t *ids = calloc((size_t)count + 1, sizeof(*ids));
	if (!ids)
		return -ENOMEM;

	for (uint32_t i = 0; i < count; i++) {
		struct frame frame = dict_get_frame(dict, i);
		int result = names_intern(names, dict, &frame, form, &ids[i]);
		if (result < 0)
			return result;
	}
	*ret_ids = TAKE(ids);
	return 0;
}

int names_of_dict(struct names *names, const struct dict *dict, uint32_t **ret_ids)
{
	return names_of_frames(names, dict, NAMES_MADE, ret_ids);
}

int names_of_readable(struct names *names, const struct dict *dict, uint32_t **ret_ids)
{
	return names_of_frames(names, dict, NAMES_AS_THEY_ARE, ret_ids);
}

int names_of_frame(struct names *names, const struct dict *dict, uint32_t frame, uint32_t *ret_id)
{
	struct frame its = dict_get_frame(dict, frame);
	return names_intern(names, dict, &its, NAMES_MADE, ret_id);
}

size_t names_memory(const struct names *names)
{
	return sizeof(*names) + id_map_memory(names->map) + names->bytes.capacity +
	       names->capacity * sizeof(*names->entries);
}

uint32_t names_count(const struct names *names)
{
	return id_map_count(names->map);
}

const char *names_function(const struct names *names, uint32_t id)
{
	return (const char *)names->bytes.bytes + names->entries[id].function;
}

const char *names_module(const struct names *names, uint32_t id)
{
	return (const char *)names->bytes.bytes + names->entries[id].module;
}

bool names_is_unknown(const struct names *names, uint32_t id)
{
	return names->entries[id].unknown;
}

uint8_t names_kind(const struct names *names, uint32_t id)
{
	return names->entries[id].kind;
}

int names_compare(const struct names *names, uint32_t a, uint32_t b)
{
	int by_function = strcmp(names_function(names, a), names_function(names, b));
	return by_function ? by_function : strcmp(names_module(names, a), names_module(names, b));
}

void names_put(const struct names *names, uint32_t id, struct buf *to)
{
	buf_put(to, names_function(names, id), strlen(names_function(names, id)));
	const char *module = names_module(names, id);
	if (names_is_unknown(names, id) && *module)
		buf_printf(to, " %s", module);
}

const char *names_frame_name(const struct dict *dict, uint32_t id, struct buf *scratch)
{
	struct frame frame = dict_get_frame(dict, id);
	if (frame.kind != FRAME_NATIVE || frame.function == 0)
		return frame_name_plain(dict, id, scratch);
	buf_reset(scratch);
	names_put_function(dict, &frame, scratch);
	return scratch->failed ? "" : (const char *)scratch->bytes;
}
