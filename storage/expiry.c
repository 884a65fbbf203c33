/*
 * Items of all runs are merged into one array when a run is added, and filtered when one is
 * removed: hundreds of thousands of items are some milliseconds, a few times a day. A look-up is a
 * binary search.
 */

#include "storage/expiry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/reader.h"
#include "storage/record.h"

enum expiry_flags { EXPIRY_ERASING = 1 };

void expiry_run_fini(struct expiry_run *run)
{
	free(run->items);
	*run = (struct expiry_run){ 0 };
}

static int expiry_window_compare(struct key_window a, struct key_window b)
{
	if (a.from_ns != b.from_ns)
		return a.from_ns < b.from_ns ? -1 : 1;
	if (a.to_ns != b.to_ns)
		return a.to_ns < b.to_ns ? -1 : 1;
	return a.generation < b.generation ? -1 : a.generation > b.generation;
}

int expiry_item_compare(const struct expiry_item *a, const struct expiry_item *b)
{
	int order = expiry_window_compare(a->window, b->window);
	if (order != 0)
		return order;
	return a->unit < b->unit ? -1 : a->unit > b->unit;
}

/* ---- records ---- */

void expiry_put_key(uint64_t run_id, uint8_t ret_bytes[EXPIRY_KEY_BYTES])
{
	keys_put_time(run_id, ret_bytes);
}

int expiry_get_key(const void *bytes, size_t count, uint64_t *ret_run_id)
{
	uint64_t id = 0;
	if (count != EXPIRY_KEY_BYTES)
		return -EBADMSG;
	for (size_t i = 0; i < count; i++)
		id = id << 8 | ((const uint8_t *)bytes)[i];
	if (id == 0)
		return -EBADMSG;
	*ret_run_id = id;
	return 0;
}

static void expiry_put_hidden(const struct store_expired *hidden, struct buf *to)
{
	for (int i = 0; i < STORE_EXPIRE_LEVELS; i++) {
		buf_put_varint(to, hidden->windows[i]);
		buf_put_varint(to, hidden->units[i]);
	}
	buf_put_varint(to, hidden->rows);
	buf_put_varint(to, hidden->bytes_detail);
	buf_put_varint(to, hidden->bytes_sums);
	buf_put_varint(to, hidden->missing);
}

static void expiry_get_hidden(struct reader *from, struct store_expired *hidden)
{
	for (int i = 0; i < STORE_EXPIRE_LEVELS; i++) {
		hidden->windows[i] = reader_varint(from);
		hidden->units[i] = reader_varint(from);
	}
	hidden->rows = reader_varint(from);
	hidden->bytes_detail = reader_varint(from);
	hidden->bytes_sums = reader_varint(from);
	hidden->missing = reader_varint(from);
}

void expiry_put_run(const struct expiry_run *run, struct kv_bytes key, struct buf *to)
{
	uint64_t from_ns = 0;
	record_begin(to);
	buf_put_u8(to, run->is_erasing ? EXPIRY_ERASING : 0);
	buf_put_varint(to, run->run.hidden_ns);
	buf_put_varint(to, run->run.erase_ns);
	buf_put_string(to, run->run.note, strnlen(run->run.note, STORE_RUN_NOTE_MAX));
	expiry_put_hidden(&run->hidden, to);
	buf_put_varint(to, run->items_count);
	for (uint32_t i = 0; i < run->items_count; i++) {
		const struct expiry_item *item = &run->items[i];
		buf_put_varint(to, item->window.from_ns - from_ns);
		buf_put_varint(to, item->window.to_ns - item->window.from_ns);
		buf_put_varint(to, item->window.generation);
		buf_put_varint(to, (uint64_t)(uint32_t)(item->unit + 1)); /* 0: all of it */
		buf_put_u8(to, item->parts);
		from_ns = item->window.from_ns;
	}
	record_seal(to, key);
}

static void expiry_get_item(struct reader *from, uint64_t from_ns, struct expiry_item *item)
{
	item->window.from_ns = from_ns + reader_varint_max(from, UINT64_MAX - from_ns);
	item->window.to_ns = item->window.from_ns +
	                     reader_varint_max(from, UINT64_MAX - item->window.from_ns);
	item->window.generation = (uint32_t)reader_varint_max(from, UINT32_MAX);
	item->unit = (uint32_t)reader_varint_max(from, UINT32_MAX) - 1;
	item->parts = reader_u8(from);
	bool is_whole = item->unit == KEYS_UNIT_NONE;
	if (item->window.to_ns == item->window.from_ns ||
	        item->window.generation >> 24 >= STORE_EXPIRE_LEVELS ||
	        (item->parts != STORE_PART_ALL && (is_whole || item->parts != STORE_PART_DETAIL)))
		reader_fail(from);
}

static int expiry_get_items(struct reader *from, struct expiry_run *run)
{
	size_t count = reader_count(from, 5);
	if (count > STORE_RUN_ITEMS_MAX)
		return -EBADMSG;
	run->items = calloc(count + 1, sizeof(*run->items));
	if (!run->items)
		return -ENOMEM;
	for (size_t i = 0; i < count && !from->failed; i++) {
		uint64_t before_ns = i > 0 ? run->items[i - 1].window.from_ns : 0;
		expiry_get_item(from, before_ns, &run->items[i]);
		if (i > 0 && expiry_item_compare(&run->items[i - 1], &run->items[i]) >= 0)
			reader_fail(from);
	}
	run->items_count = (uint32_t)count;
	return 0;
}

int expiry_get_run(struct kv_bytes key, struct kv_bytes value, struct expiry_run *run)
{
	struct reader from;
	size_t note_count = 0;
	int r = record_open(key, value, &from);
	if (r < 0)
		return r;
	uint8_t flags = reader_u8(&from);
	run->is_erasing = flags & EXPIRY_ERASING;
	run->run.hidden_ns = reader_varint(&from);
	run->run.erase_ns = reader_varint(&from);
	const char *note = reader_string(&from, STORE_RUN_NOTE_MAX, &note_count);
	if (flags > EXPIRY_ERASING || !note || memchr(note, 0, note_count))
		reader_fail(&from);
	else
		memcpy(run->run.note, note, note_count);
	expiry_get_hidden(&from, &run->hidden);
	r = from.failed ? -EBADMSG : expiry_get_items(&from, run);
	if (r == 0 && (from.failed || reader_left(&from) > 0))
		r = -EBADMSG;
	if (r < 0)
		expiry_run_fini(run);
	return r;
}

/* ---- all runs there are ---- */

void expiry_fini(struct expiry *expiry)
{
	for (uint32_t i = 0; i < expiry->runs_count; i++)
		expiry_run_fini(&expiry->runs[i]);
	free(expiry->runs);
	free(expiry->items);
	*expiry = (struct expiry){ 0 };
}

int expiry_reserve(struct expiry *expiry, uint32_t items_count)
{
	if (expiry->runs_count == expiry->runs_capacity) {
		uint32_t capacity = expiry->runs_capacity ? expiry->runs_capacity * 2 : 8;
		struct expiry_run *runs = realloc(expiry->runs, capacity * sizeof(*runs));
		if (!runs)
			return -ENOMEM;
		expiry->runs = runs;
		expiry->runs_capacity = capacity;
	}
	size_t needed = (size_t)expiry->items_count + items_count;
	if (needed > UINT32_MAX)
		return -ENOMEM;
	if (needed > expiry->items_capacity) {
		struct expiry_item *items = realloc(expiry->items, needed * sizeof(*items));
		if (!items)
			return -ENOMEM;
		expiry->items = items;
		expiry->items_capacity = (uint32_t)needed;
	}
	return 0;
}

/* From the end, so that nothing is overwritten before it was moved. */
static void expiry_merge(struct expiry *expiry, const struct expiry_item *items, uint32_t count)
{
	uint32_t old = expiry->items_count;
	uint32_t to = old + count;
	expiry->items_count = to;
	while (count > 0) {
		bool is_old = old > 0 &&
		              expiry_item_compare(&expiry->items[old - 1], &items[count - 1]) > 0;
		expiry->items[--to] = is_old ? expiry->items[--old] : items[--count];
	}
}

void expiry_add(struct expiry *expiry, struct expiry_run *run)
{
	uint32_t at = expiry->runs_count;
	assert(expiry->runs_count < expiry->runs_capacity);
	assert(expiry->items_capacity - expiry->items_count >= run->items_count);
	while (at > 0 && expiry->runs[at - 1].run.id > run->run.id)
		at--;
	memmove(&expiry->runs[at + 1], &expiry->runs[at],
	        (expiry->runs_count - at) * sizeof(*expiry->runs));
	expiry->runs[at] = *run;
	expiry->runs_count++;
	expiry_merge(expiry, run->items, run->items_count);
	*run = (struct expiry_run){ 0 };
}

struct expiry_run *expiry_find(const struct expiry *expiry, uint64_t run_id)
{
	for (uint32_t i = 0; i < expiry->runs_count; i++)
		if (expiry->runs[i].run.id == run_id)
			return &expiry->runs[i];
	return NULL;
}

/* The first item that is not before this one. */
static uint32_t expiry_seek(const struct expiry *expiry, struct key_window window, uint32_t unit)
{
	struct expiry_item wanted = { .window = window, .unit = unit };
	uint32_t first = 0;
	uint32_t end = expiry->items_count;
	while (first < end) {
		uint32_t middle = first + (end - first) / 2;
		if (expiry_item_compare(&expiry->items[middle], &wanted) < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

/* Takes one item of these parts out of the array. */
static void expiry_take_item(struct expiry *expiry, const struct expiry_item *item)
{
	uint32_t at = expiry_seek(expiry, item->window, item->unit);
	while (at < expiry->items_count && expiry->items[at].parts != item->parts)
		at++;
	assert(at < expiry->items_count && expiry_item_compare(&expiry->items[at], item) == 0);
	expiry->items[at].parts = 0;
}

void expiry_remove(struct expiry *expiry, uint64_t run_id)
{
	struct expiry_run *run = expiry_find(expiry, run_id);
	uint32_t kept = 0;
	if (!run)
		return;
	for (uint32_t i = 0; i < run->items_count; i++)
		expiry_take_item(expiry, &run->items[i]);
	for (uint32_t i = 0; i < expiry->items_count; i++)
		if (expiry->items[i].parts)
			expiry->items[kept++] = expiry->items[i];
	expiry->items_count = kept;
	expiry_run_fini(run);
	size_t at = (size_t)(run - expiry->runs);
	expiry->runs_count--;
	memmove(run, run + 1, (expiry->runs_count - at) * sizeof(*run));
}

static uint32_t expiry_parts_of(
        const struct expiry *expiry, struct key_window window, uint32_t unit)
{
	uint32_t parts = 0;
	uint32_t at = expiry_seek(expiry, window, unit);
	for (; at < expiry->items_count && expiry->items[at].unit == unit &&
	        expiry_window_compare(expiry->items[at].window, window) == 0;
	        at++)
		parts |= expiry->items[at].parts;
	return parts;
}

bool expiry_touches(const struct expiry *expiry, struct key_window window)
{
	uint32_t at = expiry_seek(expiry, window, 0);
	return at < expiry->items_count &&
	       expiry_window_compare(expiry->items[at].window, window) == 0;
}

bool expiry_has_window(const struct expiry *expiry, struct key_window window)
{
	return expiry->items_count > 0 && expiry_parts_of(expiry, window, KEYS_UNIT_NONE);
}

uint32_t expiry_parts(const struct expiry *expiry, struct key_window window, uint32_t unit)
{
	if (expiry->items_count == 0)
		return 0;
	return expiry_parts_of(expiry, window, unit) |
	       expiry_parts_of(expiry, window, KEYS_UNIT_NONE);
}

uint32_t expiry_free_number(const struct expiry *expiry, struct key_window window)
{
	uint32_t at = expiry_seek(expiry, window, 0);
	for (; at < expiry->items_count; at++) {
		struct key_window taken = expiry->items[at].window;
		if (taken.from_ns != window.from_ns || taken.to_ns != window.to_ns)
			break;
		if (taken.generation == window.generation)
			window.generation++;
		else if (taken.generation > window.generation)
			break;
	}
	return window.generation;
}
