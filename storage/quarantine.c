/*
 * records lie side by side in the order they came in, found through slots:
 *
 *	slots    [ . 2 . . 1 . 3 . ]    hash -> index of records + 1; 0 is empty
 *
 * slots has at least twice as many places as there can be records, so probing always meets an empty
 * one. What is lifted leaves no hole: records move up, and slots are filled anew. That is work for
 * the few moments when a window goes, so that meeting, which every block does, stays one probe.
 */

#include "storage/quarantine.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/hash.h"

#define QUARANTINE_CAPACITY_FIRST 16u

struct record {
	enum kv_family family;
	uint8_t key[KEYS_SYMBOLS_BYTES_MAX];
	size_t key_count;
	uint64_t hash;
	int reason;
	bool is_shut;
	bool is_taken;
	uint64_t first_ns;
	uint64_t last_ns;
	uint64_t looked_ns; /* when it was read last, in vain */
	uint64_t times;
};

struct quarantine {
	pthread_mutex_t mutex;
	uint32_t records_max;
	_Atomic uint32_t count; /* changed under mutex, read without */
	_Atomic uint64_t overflow;
	/* Under mutex. */
	struct record *records;
	uint32_t capacity;
	uint32_t *slots;
	uint32_t slots_mask;
};

struct quarantine *quarantine_new(uint32_t records_max)
{
	assert(records_max > 0 && records_max <= UINT32_MAX / 4);
	struct quarantine *quarantine = calloc(1, sizeof(*quarantine));
	uint32_t slots_count = 2;
	if (!quarantine)
		return NULL;
	while (slots_count < 2 * records_max)
		slots_count *= 2;
	quarantine->records_max = records_max;
	quarantine->slots_mask = slots_count - 1;
	quarantine->slots = calloc(slots_count, sizeof(*quarantine->slots));
	if (!quarantine->slots) {
		free(quarantine);
		return NULL;
	}
	pthread_mutex_init(&quarantine->mutex, NULL);
	return quarantine;
}

void quarantine_free(struct quarantine *quarantine)
{
	if (!quarantine)
		return;
	pthread_mutex_destroy(&quarantine->mutex);
	free(quarantine->records);
	free(quarantine->slots);
	free(quarantine);
}

static uint64_t quarantine_hash(struct quarantine_key key)
{
	return hash64_bytes(key.bytes.bytes, key.bytes.count) + (uint64_t)key.family;
}

static bool record_is(const struct record *record, struct quarantine_key key, uint64_t hash)
{
	return record->hash == hash && record->family == key.family &&
	       record->key_count == key.bytes.count &&
	       (key.bytes.count == 0 || memcmp(record->key, key.bytes.bytes, key.bytes.count) == 0);
}

/* Its slot, or the empty one where it would be. */
static uint32_t *quarantine_slot(
        struct quarantine *quarantine, struct quarantine_key key, uint64_t hash)
{
	uint32_t at = (uint32_t)hash & quarantine->slots_mask;
	while (quarantine->slots[at] != 0 &&
	        !record_is(&quarantine->records[quarantine->slots[at] - 1], key, hash))
		at = (at + 1) & quarantine->slots_mask;
	return &quarantine->slots[at];
}

/* NULL: no room, which is counted. */
static struct record *quarantine_add(
        struct quarantine *quarantine, struct quarantine_key key, uint64_t hash)
{
	uint32_t count = quarantine->count;
	if (count == quarantine->records_max || key.bytes.count > KEYS_SYMBOLS_BYTES_MAX) {
		quarantine->overflow++;
		return NULL;
	}
	if (count == quarantine->capacity) {
		uint32_t capacity = count ? 2 * count : QUARANTINE_CAPACITY_FIRST;
		struct record *records = realloc(
		        quarantine->records, capacity * sizeof(*quarantine->records));
		if (!records) {
			quarantine->overflow++;
			return NULL;
		}
		quarantine->records = records;
		quarantine->capacity = capacity;
	}
	*quarantine_slot(quarantine, key, hash) = count + 1;
	struct record *record = &quarantine->records[count];
	*record = (struct record){
		.family = key.family,
		.key_count = key.bytes.count,
		.hash = hash,
	};
	if (key.bytes.count > 0)
		memcpy(record->key, key.bytes.bytes, key.bytes.count);
	quarantine->count = count + 1;
	return record;
}

void quarantine_note(struct quarantine *quarantine, struct quarantine_key key, int reason,
        bool is_shut, uint64_t now_ns)
{
	uint64_t hash = quarantine_hash(key);
	pthread_mutex_lock(&quarantine->mutex);
	uint32_t slot = *quarantine_slot(quarantine, key, hash);
	struct record *record = slot ? &quarantine->records[slot - 1]
	                             : quarantine_add(quarantine, key, hash);
	if (record) {
		if (record->times == 0)
			record->first_ns = now_ns;
		record->reason = reason;
		record->is_shut |= is_shut;
		record->last_ns = now_ns;
		record->looked_ns = now_ns;
		record->times++;
	}
	pthread_mutex_unlock(&quarantine->mutex);
}

enum quarantine_verdict quarantine_meet(
        struct quarantine *quarantine, struct quarantine_key key, uint64_t now_ns, int *ret_reason)
{
	enum quarantine_verdict verdict = QUARANTINE_READ;
	if (quarantine->count == 0)
		return verdict;
	uint64_t hash = quarantine_hash(key);
	pthread_mutex_lock(&quarantine->mutex);
	uint32_t slot = *quarantine_slot(quarantine, key, hash);
	struct record *record = slot ? &quarantine->records[slot - 1] : NULL;
	if (record && record->is_shut) {
		/* A clock that went back is a long time as well. */
		if (now_ns - record->looked_ns >= QUARANTINE_LOOK_AGAIN_NS) {
			verdict = QUARANTINE_LOOK_AGAIN;
		} else {
			verdict = QUARANTINE_PASS_OVER;
			record->last_ns = now_ns;
			record->times++;
			*ret_reason = record->reason;
		}
	}
	pthread_mutex_unlock(&quarantine->mutex);
	return verdict;
}

/* ---- lifting ---- */

/* Which records go. */
struct lift {
	bool (*is_meant)(const struct record *record, const struct lift *lift);
	struct quarantine_key key; /* or the first of the range */
	struct kv_bytes to;
	uint64_t now_ns;
};

static void quarantine_lift_all(struct quarantine *quarantine, const struct lift *lift)
{
	if (quarantine->count == 0)
		return;
	pthread_mutex_lock(&quarantine->mutex);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < quarantine->count; i++) {
		if (lift->is_meant(&quarantine->records[i], lift))
			continue;
		if (kept != i)
			quarantine->records[kept] = quarantine->records[i];
		kept++;
	}
	if (kept != quarantine->count) {
		memset(quarantine->slots, 0,
		        ((size_t)quarantine->slots_mask + 1) * sizeof(*quarantine->slots));
		for (uint32_t i = 0; i < kept; i++) {
			uint32_t at = (uint32_t)quarantine->records[i].hash &
			              quarantine->slots_mask;
			while (quarantine->slots[at] != 0)
				at = (at + 1) & quarantine->slots_mask;
			quarantine->slots[at] = i + 1;
		}
		quarantine->count = kept;
	}
	pthread_mutex_unlock(&quarantine->mutex);
}

static bool lift_means_key(const struct record *record, const struct lift *lift)
{
	return record_is(record, lift->key, quarantine_hash(lift->key));
}

void quarantine_lift(struct quarantine *quarantine, struct quarantine_key key)
{
	struct lift lift = { .is_meant = lift_means_key, .key = key };
	quarantine_lift_all(quarantine, &lift);
}

static bool family_has_windows(enum kv_family family)
{
	return family == KV_WINDOW || family == KV_SUMS || family == KV_DETAIL ||
	       family == KV_SUMS_HOUR || family == KV_SUMS_DAY;
}

static bool lift_means_window(const struct record *record, const struct lift *lift)
{
	return family_has_windows(record->family) && record->key_count >= KEYS_WINDOW_BYTES &&
	       memcmp(record->key, lift->key.bytes.bytes, KEYS_WINDOW_BYTES) == 0;
}

void quarantine_lift_window(struct quarantine *quarantine, struct key_window key)
{
	uint8_t bytes[KEYS_WINDOW_BYTES];
	struct lift lift = {
		.is_meant = lift_means_window,
		.key = { KV_WINDOW, { bytes, sizeof(bytes) } },
	};
	keys_put_window(key, bytes);
	quarantine_lift_all(quarantine, &lift);
}

static int record_compare(const struct record *record, struct kv_bytes key)
{
	size_t count = record->key_count < key.count ? record->key_count : key.count;
	int order = count > 0 ? memcmp(record->key, key.bytes, count) : 0;
	return order ? order : (record->key_count > key.count) - (record->key_count < key.count);
}

static bool lift_means_range(const struct record *record, const struct lift *lift)
{
	return record->family == lift->key.family && record_compare(record, lift->key.bytes) >= 0 &&
	       record_compare(record, lift->to) < 0;
}

void quarantine_lift_range(struct quarantine *quarantine, enum kv_family family,
        struct kv_bytes from, struct kv_bytes to)
{
	struct lift lift = { .is_meant = lift_means_range, .key = { family, from }, .to = to };
	quarantine_lift_all(quarantine, &lift);
}

static bool lift_means_all(const struct record *record, const struct lift *lift)
{
	(void)record;
	(void)lift;
	return true;
}

void quarantine_clear(struct quarantine *quarantine)
{
	struct lift lift = { .is_meant = lift_means_all };
	quarantine_lift_all(quarantine, &lift);
}

/* ---- telling ---- */

uint32_t quarantine_count(const struct quarantine *quarantine)
{
	return quarantine->count;
}

uint64_t quarantine_overflow(const struct quarantine *quarantine)
{
	return quarantine->overflow;
}

static void text_add(char text[QUARANTINE_KEY_TEXT], const char *format, ...)
        __attribute__((format(printf, 2, 3)));

static void text_add(char text[QUARANTINE_KEY_TEXT], const char *format, ...)
{
	size_t count = strlen(text);
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(text + count, QUARANTINE_KEY_TEXT - count, format, arguments);
	va_end(arguments);
}

static void text_add_time(char text[QUARANTINE_KEY_TEXT], uint64_t unix_ns)
{
	time_t seconds = (time_t)(unix_ns / NS_PER_S);
	struct tm utc;
	char day[32] = "?";
	if (gmtime_r(&seconds, &utc))
		(void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &utc);
	text_add(text, "%sZ", day);
}

static void text_add_window(char text[QUARANTINE_KEY_TEXT], struct key_window key)
{
	text_add_time(text, key.from_ns);
	text_add(text, " to ");
	text_add_time(text, key.to_ns);
	text_add(text, " level %" PRIu32 " number %" PRIu32, key_window_level(key),
	        key.generation & ((1u << KEYS_LEVEL_SHIFT) - 1));
}

static void text_add_block(char text[QUARANTINE_KEY_TEXT], const struct key_block *key)
{
	text_add_window(text, key->window);
	if (key->unit != KEYS_UNIT_NONE)
		text_add(text, " unit %" PRIu32, key->unit);
	text_add(text, " part %c chunk %" PRIu32, (char)key->part, key->chunk);
}

/* Bytes of the disk: letters as they are, the rest as hex digits. */
static void text_add_bytes(char text[QUARANTINE_KEY_TEXT], const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes[i] > ' ' && bytes[i] < 0x7f && bytes[i] != '\\')
			text_add(text, "%c", (char)bytes[i]);
		else
			text_add(text, "\\x%02x", bytes[i]);
	}
}

static void record_name(const struct record *record, char text[QUARANTINE_KEY_TEXT])
{
	struct key_window window;
	struct key_block block;
	struct key_batch batch;
	text[0] = '\0';
	if (record->family == KV_WINDOW &&
	        keys_get_window(record->key, record->key_count, &window) == 0) {
		text_add_window(text, window);
	} else if (family_has_windows(record->family) &&
	           keys_get_block(record->key, record->key_count, &block) == 0) {
		text_add_block(text, &block);
	} else if (record->family == KV_BATCH &&
	           keys_get_batch(record->key, record->key_count, &batch) == 0) {
		text_add_time(text, batch.start_ns);
		text_add(text, " stream %" PRIu32 " seq %" PRIu64, batch.stream, batch.seq);
	} else {
		text_add_bytes(text, record->key, record->key_count);
	}
}

static bool lift_means_old(const struct record *record, const struct lift *lift)
{
	return lift->now_ns > record->last_ns &&
	       lift->now_ns - record->last_ns >= QUARANTINE_FORGET_NS;
}

uint32_t quarantine_take(struct quarantine *quarantine, uint64_t now_ns,
        struct quarantine_record *ret_records, uint32_t count)
{
	struct lift lift = { .is_meant = lift_means_old, .now_ns = now_ns };
	uint32_t taken = 0;
	quarantine_lift_all(quarantine, &lift);
	pthread_mutex_lock(&quarantine->mutex);
	for (uint32_t i = 0; i < quarantine->count && taken < count; i++) {
		struct record *record = &quarantine->records[i];
		struct quarantine_record *to = &ret_records[taken];
		if (record->is_taken)
			continue;
		record->is_taken = true;
		*to = (struct quarantine_record){
			.reason = record->reason,
			.first_ns = record->first_ns,
			.last_ns = record->last_ns,
			.times = record->times,
		};
		snprintf(to->family, sizeof(to->family), "%s", kv_family_name(record->family));
		record_name(record, to->key);
		taken++;
	}
	pthread_mutex_unlock(&quarantine->mutex);
	return taken;
}
