/*
 * Each record is checked (checksum over key and value, then ids against the dict) before a number
 * of it is used. One that fails is left out and counted.
 */

#include "storage/store_walk_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool walk_is_cancelled(const struct walk *walk)
{
	return walk->cancelled && __atomic_load_n(walk->cancelled, __ATOMIC_RELAXED);
}

/* Counts it, and keeps its name if there is room and it is not there yet. */
static void walk_note_unreadable(struct walk *walk, const struct unreadable *one)
{
	walk->corrupt++;
	walk->store->corrupt++;
	for (uint32_t i = 0; i < walk->unreadable_count; i++)
		if (memcmp(&walk->unreadable[i], one, sizeof(*one)) == 0)
			return;
	if (walk->unreadable_count < ANSWER_UNREADABLE_MAX)
		walk->unreadable[walk->unreadable_count++] = *one;
}

static void walk_copy_text(char to[ANSWER_TEXT_BYTES], const struct dict *dict, uint32_t string)
{
	if (!dict || string >= dict_mark(dict).strings)
		return;
	size_t count = strnlen(dict_text(dict, string), ANSWER_TEXT_BYTES - 1);
	memcpy(to, dict_text(dict, string), count);
}

static void walk_name_block(struct unreadable *one, const struct key_block *block)
{
	switch (block->part) {
	case KEYS_BLOCK_DETAIL:
		snprintf(one->what, sizeof(one->what), "detail chunk %" PRIu32, block->chunk);
		break;
	case KEYS_BLOCK_MEMBERS:
		snprintf(one->what, sizeof(one->what), "members");
		break;
	case KEYS_BLOCK_SUMS:
		snprintf(one->what, sizeof(one->what), "sums");
		break;
	case KEYS_BLOCK_VALUES:
		snprintf(one->what, sizeof(one->what), "values of groups");
		break;
	case KEYS_BLOCK_WATCHERS:
		snprintf(one->what, sizeof(one->what), "watchers chunk %" PRIu32, block->chunk);
		break;
	default:
		snprintf(one->what, sizeof(one->what), "window");
	}
}

static void walk_count_block(struct walk *walk, const char *instead)
{
	const struct sealed *sealed = walk->sealed;
	const struct key_block *block = &sealed->tried;
	struct unreadable one;
	sealed_note_unreadable(walk->sealed);
	memset(&one, 0, sizeof(one));
	one.from_ns = block->window.from_ns;
	one.to_ns = block->window.to_ns;
	walk_name_block(&one, block);
	size_t count = strlen(one.what);
	if (*instead)
		snprintf(one.what + count, sizeof(one.what) - count, "; %s", instead);
	if (block->unit < sealed->window.units_count) {
		const struct window_unit *unit = &sealed->window.units[block->unit];
		walk_copy_text(one.service, sealed_dict(sealed), unit->service);
		walk_copy_text(one.type, sealed_dict(sealed), unit->type);
	}
	walk_note_unreadable(walk, &one);
}

void walk_count_corrupt(struct walk *walk)
{
	walk_count_block(walk, "");
}

void walk_count_replaced(struct walk *walk, const char *instead)
{
	walk->replaced++;
	walk_count_block(walk, instead);
}

void walk_count_corrupt_window(struct walk *walk, struct key_window key)
{
	struct unreadable one;
	memset(&one, 0, sizeof(one));
	one.from_ns = key.from_ns;
	one.to_ns = key.to_ns;
	snprintf(one.what, sizeof(one.what), "window");
	uint8_t bytes[KEYS_WINDOW_BYTES];
	keys_put_window(key, bytes);
	store_note_unreadable(
	        walk->store, KV_WINDOW, (struct kv_bytes){ bytes, sizeof(bytes) }, -EBADMSG);
	walk_note_unreadable(walk, &one);
}

void walk_count_corrupt_batch(struct walk *walk, struct key_batch key)
{
	struct unreadable one;
	memset(&one, 0, sizeof(one));
	one.from_ns = key.start_ns;
	one.to_ns = key.start_ns;
	snprintf(one.what, sizeof(one.what), "batch of stream %" PRIu32, key.stream);
	walk_note_unreadable(walk, &one);
}

int walk_open_record(struct walk *walk, struct kv_bytes key_bytes, struct kv_bytes value,
        struct key_batch *ret_key, struct record_batch *ret_record,
        struct generation **ret_generation)
{
	struct key_batch key = { 0 };
	int r = keys_get_batch(key_bytes.bytes, key_bytes.count, &key);
	*ret_key = key;
	r = r < 0 ? r : record_get_batch(key_bytes, value, ret_record);
	uint64_t end_ns;
	if (r == 0 &&
	        (!store_has_stream(walk->store, key.stream) ||
	                __builtin_add_overflow(key.start_ns, ret_record->duration_ns, &end_ns)))
		r = -EBADMSG;
	r = r < 0 ? r : store_use_generation(walk->store, ret_record->generation, ret_generation);
	return r == -ENOENT ? -EBADMSG : r;
}

int walk_record(struct walk *walk, struct kv_bytes key_bytes, struct kv_bytes value)
{
	struct key_batch key;
	struct record_batch record;
	struct generation *generation = NULL;
	int r = walk_open_record(walk, key_bytes, value, &key, &record, &generation);
	r = r < 0 ? r : walk->visit(walk->owner, key, &record, generation);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT) {
		store_note_unreadable(walk->store, KV_BATCH, key_bytes, r);
		walk_count_corrupt_batch(walk, key);
		r = 0;
	}
	return r;
}

struct kv_iterator *walk_iterator(const struct walk *walk, uint64_t to_ns)
{
	uint8_t from[KEYS_BATCH_BYTES];
	uint8_t to[KEYS_TIME_BYTES];
	keys_put_batch(walk->at, from);
	keys_put_time(to_ns, to);
	return kv_iterator_new(walk->store->kv, KV_BATCH, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
}

int walk_batches(struct walk *walk, uint64_t to_ns, bool may_break)
{
	AUTO(kv_iterator) it = walk_iterator(walk, to_ns);
	if (!it)
		return -ENOMEM;

	uint64_t bytes = 0;
	int r = 0;
	for (; r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct kv_bytes value = kv_iterator_value(it);
		struct key_batch read;
		if (walk_is_cancelled(walk))
			return -ECANCELED;
		r = walk_record(walk, key, value);
		bytes += key.count + value.count;
		/* There is no point in a break when the caller keeps the gate to himself. */
		if (may_break && bytes >= walk->store->options.stretch_bytes &&
		        keys_get_batch(key.bytes, key.count, &read) == 0) {
			walk->at = key_batch_next(read);
			return r;
		}
	}
	if (may_break)
		walk->at = (struct key_batch){ .start_ns = to_ns };
	return r ? r : kv_iterator_result(it);
}

/* Inside the gate. */
static int walk_stretch(struct walk *walk)
{
	bool may_break = gate_is_outermost(&walk->store->gate);
	struct window_span span;
	uint64_t to_ns = walk->to_ns;
	bool has_span = window_list_span(&walk->store->windows, walk->at.start_ns, to_ns, &span);
	if (has_span && walk->at.start_ns >= span.from_ns) {
		if (walk_is_cancelled(walk))
			return -ECANCELED;
		return walk->visit_span(walk->owner, walk, &span);
	}
	if (has_span)
		to_ns = span.from_ns;
	if (may_break)
		return walk_batches(walk, to_ns, true);
	int r = walk_batches(walk, to_ns, false);
	walk->at = (struct key_batch){ .start_ns = to_ns };
	return r;
}

/* The last stretch may end behind the range. */
void walk_tell(const struct walk *walk, uint64_t before_ns)
{
	uint64_t at_ns = walk->at.start_ns < walk->to_ns ? walk->at.start_ns : walk->to_ns;
	if (walk->read_ns && at_ns > before_ns)
		(void)__atomic_fetch_add(walk->read_ns, at_ns - before_ns, __ATOMIC_RELAXED);
}

static int walk_range(struct walk *walk)
{
	int r = 0;
	while (r == 0 && walk->at.start_ns < walk->to_ns) {
		uint64_t before_ns = walk->at.start_ns;
		store_read_lock(walk->store);
		r = walk_stretch(walk);
		store_read_unlock(walk->store);
		walk_tell(walk, before_ns);
	}
	return r;
}

int walk_run(struct walk *walk)
{
	struct sealed sealed;
	int r = sealed_init(&sealed, walk->store);
	sealed.passes_over = true;
	walk->sealed = &sealed;
	walk->at = (struct key_batch){ .start_ns = walk->from_ns };
	r = r < 0 ? r : walk_range(walk);
	walk->sealed = NULL;
	sealed_fini(&sealed);
	return r;
}

bool walk_has(const struct walk *walk, struct key_batch key)
{
	return key_batch_compare(walk->at, key) <= 0 && key.start_ns < walk->to_ns;
}

int walk_forgive(struct walk *walk, int result)
{
	if (!sealed_is_corrupt(walk->sealed, result))
		return result;
	walk_count_corrupt(walk);
	return 0;
}

/* ---- which series are asked for ---- */

int places_init(struct places *places, const struct store_match_part *part)
{
	const uint32_t *series = part->series;
	for (uint32_t i = 1; i < part->series_count; i++)
		if (series[i - 1] >= series[i])
			return -EINVAL;
	places->part = part;
	places->count = part->series_count ? series[part->series_count - 1] + 1 : 0;
	places->place = calloc((size_t)places->count + 1, sizeof(*places->place));
	if (!places->place)
		return -ENOMEM;
	for (uint32_t i = 0; i < part->series_count; i++)
		places->place[series[i]] = part->first + i + 1;
	return 0;
}

bool places_meet(const struct places *places, const struct record_batch *record)
{
	struct reader reader = record->series;
	uint64_t series = 0;
	for (uint32_t i = 0; i < record->series_count; i++) {
		series += reader_varint(&reader);
		if (series >= places->count)
			return false;
		if (places->place[series])
			return true;
	}
	return false;
}

bool places_meet_range(const struct places *places, uint32_t first, uint32_t last)
{
	const uint32_t *series = places->part ? places->part->series : NULL;
	uint32_t series_count = places->part ? places->part->series_count : 0;
	uint32_t low = 0;
	uint32_t high = series_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (series[middle] < first)
			low = middle + 1;
		else
			high = middle;
	}
	return low < series_count && series[low] <= last;
}
