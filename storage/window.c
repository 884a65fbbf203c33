/*
 * The list is an array: a year of windows is some fifty thousand entries, and windows are added
 * at its end. A span is found by looking back as far as the longest window reaches.
 */

#include "storage/window.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/reader.h"
#include "storage/record.h"

/* Beside the level. */
#define WINDOW_COLLAPSED 0x10
#define WINDOW_SIZED     0x20
#define WINDOW_FLAGS     (WINDOW_COLLAPSED | WINDOW_SIZED)

enum window_unit_flags { WINDOW_UNIT_GONE = 1, WINDOW_UNIT_VOID = 2 };

void window_fini(struct window *window)
{
	free(window->sources);
	free(window->tenants);
	free(window->units);
	*window = (struct window){ 0 };
}

static void window_put_levels(const struct window *window, struct key_window of, struct buf *to)
{
	buf_put_u8(to, (uint8_t)(window->level | (window->is_collapsed ? WINDOW_COLLAPSED : 0) |
	                         (window->has_sizes ? WINDOW_SIZED : 0)));
	buf_put_varint(to, window->dictionary);
	buf_put_varint(to, window->sources_count);
	for (uint32_t i = 0; i < window->sources_count; i++) {
		struct key_window source = window->sources[i];
		buf_put_varint(to, source.from_ns - of.from_ns);
		buf_put_varint(to, source.to_ns - source.from_ns);
		buf_put_varint(to, source.generation);
	}
}

void window_put(
        const struct window *window, struct key_window of, struct kv_bytes key, struct buf *to)
{
	bool is_plain = window->level == 0 && window->dictionary == 0 &&
	                window->sources_count == 0 && !window->is_collapsed && !window->has_sizes;
	record_begin_version(is_plain ? WINDOW_VERSION_PLAIN : WINDOW_VERSION_LEVELS, to);
	if (!is_plain)
		window_put_levels(window, of, to);
	buf_put_varint(to, window->first_ns - of.from_ns);
	buf_put_varint(to, window->last_ns - window->first_ns);
	buf_put_varint(to, window->batches);
	buf_put_varint(to, window->sealed_ns);
	buf_put_varint(to, window->watchers_chunks);
	buf_put_varint(to, window->tenants_count);
	for (uint32_t i = 0; i < window->tenants_count; i++)
		buf_put_string(to, window->tenants[i], strlen(window->tenants[i]));
	buf_put_varint(to, window->units_count);
	for (uint32_t i = 0; i < window->units_count; i++) {
		const struct window_unit *unit = &window->units[i];
		buf_put_varint(to, unit->tenant);
		buf_put_varint(to, unit->service);
		buf_put_varint(to, unit->type);
		buf_put_varint(to, unit->chunks);
		buf_put_varint(to, unit->rows);
		if (window->has_sizes) {
			buf_put_varint(to, unit->class);
			buf_put_varint(to, unit->bytes_detail);
			buf_put_varint(to, unit->bytes_sums);
			buf_put_u8(to, (uint8_t)((unit->is_gone ? WINDOW_UNIT_GONE : 0) |
			                         (unit->is_void ? WINDOW_UNIT_VOID : 0)));
		}
	}
	if (window->has_sizes)
		buf_put_varint(to, window->bytes_watchers);
	record_seal(to, key);
}

static int window_get_tenants(struct reader *from, struct window *window)
{
	size_t count = reader_count(from, 1);
	if (count > WINDOW_UNITS_MAX)
		return -EBADMSG;
	window->tenants = calloc(count + 1, sizeof(*window->tenants));
	if (!window->tenants)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		size_t text_count;
		const char *text = reader_string(from, KEYS_TENANT_BYTES_MAX, &text_count);
		if (!text || memchr(text, 0, text_count))
			return -EBADMSG;
		memcpy(window->tenants[i], text, text_count);
	}
	window->tenants_count = (uint32_t)count;
	return 0;
}

/* Sources lie in the window, in order, none twice. */
static int window_get_sources(struct reader *from, struct key_window of, struct window *window)
{
	size_t count = reader_count(from, 3);
	if (count > WINDOW_SOURCES_MAX)
		return -EBADMSG;
	window->sources = calloc(count + 1, sizeof(*window->sources));
	if (!window->sources)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct key_window *source = &window->sources[i];
		source->from_ns = of.from_ns + reader_varint_max(from, of.to_ns - 1 - of.from_ns);
		source->to_ns = source->from_ns +
		                reader_varint_max(from, of.to_ns - source->from_ns);
		source->generation = (uint32_t)reader_varint_max(from, UINT32_MAX);
		if (source->to_ns == source->from_ns ||
		        (i > 0 && key_window_compare(source[-1], *source) >= 0))
			reader_fail(from);
	}
	window->sources_count = (uint32_t)count;
	return 0;
}

static int window_get_levels(struct reader *from, struct key_window of, struct window *window)
{
	uint8_t level = reader_u8(from);
	window->level = level & (WINDOW_COLLAPSED - 1);
	window->is_collapsed = level & WINDOW_COLLAPSED;
	window->has_sizes = level & WINDOW_SIZED;
	window->dictionary = (uint32_t)reader_varint_max(from, KEYS_GENERATION_MAX);
	if (level & ~(WINDOW_FLAGS | (WINDOW_COLLAPSED - 1)) || window->level >= WINDOW_LEVELS)
		reader_fail(from);
	int r = window_get_sources(from, of, window);
	/* A record has one form. */
	if (level == 0 && window->dictionary == 0 && window->sources_count == 0)
		reader_fail(from);
	return r;
}

static void window_get_sizes(struct reader *from, struct window_unit *unit)
{
	unit->class = (uint32_t)reader_varint_max(from, UINT32_MAX);
	unit->bytes_detail = reader_varint(from);
	unit->bytes_sums = reader_varint(from);
	uint8_t flags = reader_u8(from);
	unit->is_gone = flags & WINDOW_UNIT_GONE;
	unit->is_void = flags & WINDOW_UNIT_VOID;
	if (flags > (WINDOW_UNIT_GONE | WINDOW_UNIT_VOID) || (unit->is_void && !unit->is_gone))
		reader_fail(from);
}

static int window_get_units(struct reader *from, struct window *window)
{
	size_t count = reader_count(from, window->has_sizes ? 9 : 5);
	if (count > WINDOW_UNITS_MAX)
		return -EBADMSG;
	window->units = calloc(count + 1, sizeof(*window->units));
	if (!window->units)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct window_unit *unit = &window->units[i];
		unit->tenant = (uint32_t)reader_varint_max(from, UINT32_MAX);
		unit->service = (uint32_t)reader_varint_max(from, UINT32_MAX);
		unit->type = (uint32_t)reader_varint_max(from, UINT32_MAX);
		unit->chunks = (uint32_t)reader_varint_max(from, UINT32_MAX);
		unit->rows = reader_varint(from);
		if (window->has_sizes)
			window_get_sizes(from, unit);
		if (unit->tenant >= window->tenants_count)
			reader_fail(from);
	}
	if (window->has_sizes)
		window->bytes_watchers = reader_varint(from);
	window->units_count = (uint32_t)count;
	return 0;
}

int window_get(
        struct kv_bytes key, struct kv_bytes value, struct key_window of, struct window *window)
{
	struct reader from;
	uint8_t version;
	int r = record_open_version(key, value, WINDOW_VERSION_LEVELS, &version, &from);
	if (r == 0 && version == WINDOW_VERSION_LEVELS)
		r = window_get_levels(&from, of, window);
	if (r == 0 && window->level != key_window_level(of))
		r = -EBADMSG;
	if (r < 0) {
		window_fini(window);
		return r;
	}
	window->first_ns = of.from_ns + reader_varint_max(&from, of.to_ns - 1 - of.from_ns);
	window->last_ns = window->first_ns +
	                  reader_varint_max(&from, of.to_ns - 1 - window->first_ns);
	window->batches = reader_varint(&from);
	window->sealed_ns = reader_varint(&from);
	window->watchers_chunks = (uint32_t)reader_varint_max(&from, UINT32_MAX);
	r = window_get_tenants(&from, window);
	r = r < 0 ? r : window_get_units(&from, window);
	if (r == 0 && (from.failed || reader_left(&from) > 0))
		r = -EBADMSG;
	if (r < 0)
		window_fini(window);
	return r;
}

/* ---- all windows there are ---- */

uint64_t window_rows(const struct window *window)
{
	uint64_t rows = 0;
	for (uint32_t i = 0; i < window->units_count; i++)
		if (!window->units[i].is_gone &&
		        __builtin_add_overflow(rows, window->units[i].rows, &rows))
			rows = UINT64_MAX;
	return rows;
}

void window_describe(struct window *window, struct window_entry *entry)
{
	struct key_window key = entry->key;
	*entry = (struct window_entry){ .key = key };
	if (!window) {
		entry->is_corrupt = true;
		entry->first_ns = key.from_ns;
		entry->last_ns = key.from_ns;
		return;
	}
	entry->first_ns = window->first_ns;
	entry->last_ns = window->last_ns;
	entry->batches = window->batches;
	entry->rows = window_rows(window);
	entry->sealed_ns = window->sealed_ns;
	entry->dictionary = window->dictionary;
	entry->is_collapsed = window->is_collapsed;
	entry->sources = window->sources;
	entry->sources_count = window->sources_count;
	window->sources = NULL;
	window->sources_count = 0;
}

bool window_entry_has(const struct window_entry *entry, struct key_window source)
{
	uint32_t first = 0;
	uint32_t end = entry->sources_count;
	while (first < end) {
		uint32_t middle = first + (end - first) / 2;
		int order = key_window_compare(entry->sources[middle], source);
		if (order == 0)
			return true;
		if (order < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return false;
}

void window_list_fini(struct window_list *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		free(list->entries[i].sources);
	free(list->entries);
	*list = (struct window_list){ 0 };
}

int window_list_reserve(struct window_list *list)
{
	if (list->count < list->capacity)
		return 0;
	uint32_t capacity = list->capacity ? list->capacity * 2 : 64;
	struct window_entry *entries = realloc(list->entries, capacity * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	list->entries = entries;
	list->capacity = capacity;
	return 0;
}

/* The first entry that is not before the key. */
static uint32_t window_list_find(const struct window_list *list, struct key_window key)
{
	uint32_t first = 0;
	uint32_t end = list->count;
	while (first < end) {
		uint32_t middle = first + (end - first) / 2;
		if (key_window_compare(list->entries[middle].key, key) < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

void window_list_add(struct window_list *list, struct window_entry entry)
{
	uint32_t at = window_list_find(list, entry.key);
	assert(list->count < list->capacity);
	memmove(&list->entries[at + 1], &list->entries[at],
	        (list->count - at) * sizeof(*list->entries));
	list->entries[at] = entry;
	list->count++;
	if (entry.key.to_ns - entry.key.from_ns > list->longest_ns)
		list->longest_ns = entry.key.to_ns - entry.key.from_ns;
}

void window_list_remove(struct window_list *list, struct key_window key)
{
	uint32_t at = window_list_find(list, key);
	if (at == list->count || key_window_compare(list->entries[at].key, key) != 0)
		return;
	free(list->entries[at].sources);
	list->count--;
	memmove(&list->entries[at], &list->entries[at + 1],
	        (list->count - at) * sizeof(*list->entries));
}

const struct window_entry *window_list_get(const struct window_list *list, struct key_window key)
{
	uint32_t at = window_list_find(list, key);
	if (at == list->count || key_window_compare(list->entries[at].key, key) != 0)
		return NULL;
	return &list->entries[at];
}

void window_list_set_rows(struct window_list *list, struct key_window key, uint64_t rows)
{
	const struct window_entry *entry = window_list_get(list, key);
	if (entry)
		list->entries[entry - list->entries].rows = rows;
}

uint32_t window_list_behind(const struct window_list *list, uint64_t from_ns)
{
	return window_list_find(list, (struct key_window){ .from_ns = from_ns });
}

uint32_t window_list_generation(
        const struct window_list *list, uint32_t level, uint64_t from_ns, uint64_t to_ns)
{
	uint32_t generation = level << KEYS_LEVEL_SHIFT;
	uint32_t at = window_list_find(list, (struct key_window){ from_ns, to_ns, generation });
	for (; at < list->count; at++) {
		struct key_window key = list->entries[at].key;
		if (key.from_ns != from_ns || key.to_ns != to_ns || key_window_level(key) != level)
			break;
		generation = key.generation + 1;
	}
	return generation;
}

bool window_list_span(const struct window_list *list, uint64_t from_ns, uint64_t to_ns,
        struct window_span *ret_span)
{
	uint64_t earliest = from_ns > list->longest_ns ? from_ns - list->longest_ns : 0;
	uint32_t at = window_list_find(list, (struct key_window){ .from_ns = earliest });
	while (at < list->count && list->entries[at].key.to_ns <= from_ns)
		at++;
	if (at == list->count || list->entries[at].key.from_ns >= to_ns)
		return false;

	/* Those before it that overlap it although they end too early belong to it as well. */
	struct window_span span = {
		.from_ns = list->entries[at].key.from_ns,
		.to_ns = list->entries[at].key.to_ns,
		.first = at,
	};
	for (uint32_t i = at; i > 0; i--) {
		const struct key_window *before = &list->entries[i - 1].key;
		if (span.from_ns - before->from_ns > list->longest_ns)
			break;
		if (before->to_ns > span.from_ns) {
			span.first = i - 1;
			span.from_ns = before->from_ns;
		}
	}
	for (; at < list->count && list->entries[at].key.from_ns < span.to_ns; at++)
		if (list->entries[at].key.to_ns > span.to_ns)
			span.to_ns = list->entries[at].key.to_ns;
	span.count = at - span.first;
	*ret_span = span;
	return true;
}
