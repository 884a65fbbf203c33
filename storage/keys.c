/*
 * Fixed layouts, written out by hand: each key has one length or one range of lengths, and that is
 * all a decoder has to check.
 */

#include "storage/keys.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static void keys_put_big(uint64_t value, uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(value >> (8 * (count - 1 - i)));
}

static uint64_t keys_get_big(const uint8_t *bytes, size_t count)
{
	uint64_t value = 0;
	for (size_t i = 0; i < count; i++)
		value = value << 8 | bytes[i];
	return value;
}

void keys_put_batch(struct key_batch key, uint8_t ret_bytes[KEYS_BATCH_BYTES])
{
	keys_put_big(key.start_ns, ret_bytes, 8);
	keys_put_big(key.stream, ret_bytes + 8, 4);
	keys_put_big(key.seq, ret_bytes + 12, 8);
}

int keys_get_batch(const void *bytes, size_t count, struct key_batch *ret_key)
{
	const uint8_t *at = bytes;
	if (count != KEYS_BATCH_BYTES)
		return -EBADMSG;
	ret_key->start_ns = keys_get_big(at, 8);
	ret_key->stream = (uint32_t)keys_get_big(at + 8, 4);
	ret_key->seq = keys_get_big(at + 12, 8);
	return 0;
}

int key_batch_compare(struct key_batch a, struct key_batch b)
{
	if (a.start_ns != b.start_ns)
		return a.start_ns < b.start_ns ? -1 : 1;
	if (a.stream != b.stream)
		return a.stream < b.stream ? -1 : 1;
	return a.seq < b.seq ? -1 : a.seq > b.seq;
}

struct key_batch key_batch_next(struct key_batch key)
{
	if (++key.seq > 0)
		return key;
	if (++key.stream > 0)
		return key;
	key.start_ns++;
	return key;
}

void keys_put_time(uint64_t start_ns, uint8_t ret_bytes[KEYS_TIME_BYTES])
{
	keys_put_big(start_ns, ret_bytes, 8);
}

void keys_put_window(struct key_window key, uint8_t ret_bytes[KEYS_WINDOW_BYTES])
{
	keys_put_big(key.from_ns, ret_bytes, 8);
	keys_put_big(key.to_ns, ret_bytes + 8, 8);
	keys_put_big(key.generation, ret_bytes + 16, 4);
}

int keys_get_window(const void *bytes, size_t count, struct key_window *ret_key)
{
	const uint8_t *at = bytes;
	if (count != KEYS_WINDOW_BYTES)
		return -EBADMSG;
	struct key_window key = {
		.from_ns = keys_get_big(at, 8),
		.to_ns = keys_get_big(at + 8, 8),
		.generation = (uint32_t)keys_get_big(at + 16, 4),
	};
	if (key.from_ns >= key.to_ns)
		return -EBADMSG;
	*ret_key = key;
	return 0;
}

int key_window_compare(struct key_window a, struct key_window b)
{
	if (a.from_ns != b.from_ns)
		return a.from_ns < b.from_ns ? -1 : 1;
	if (a.to_ns != b.to_ns)
		return a.to_ns < b.to_ns ? -1 : 1;
	return a.generation < b.generation ? -1 : a.generation > b.generation;
}

void keys_put_block(struct key_block key, uint8_t ret_bytes[KEYS_BLOCK_BYTES])
{
	keys_put_window(key.window, ret_bytes);
	keys_put_big(key.unit, ret_bytes + KEYS_WINDOW_BYTES, 4);
	ret_bytes[KEYS_WINDOW_BYTES + 4] = (uint8_t)key.part;
	keys_put_big(key.chunk, ret_bytes + KEYS_WINDOW_BYTES + 5, 4);
}

int keys_get_block(const void *bytes, size_t count, struct key_block *ret_key)
{
	const uint8_t *at = bytes;
	struct key_block key = { .chunk = 0 };
	if (count != KEYS_BLOCK_BYTES || keys_get_window(at, KEYS_WINDOW_BYTES, &key.window) < 0)
		return -EBADMSG;
	at += KEYS_WINDOW_BYTES;
	if (at[4] != KEYS_BLOCK_DETAIL && at[4] != KEYS_BLOCK_MEMBERS && at[4] != KEYS_BLOCK_SUMS &&
	        at[4] != KEYS_BLOCK_VALUES && at[4] != KEYS_BLOCK_WATCHERS)
		return -EBADMSG;
	key.unit = (uint32_t)keys_get_big(at, 4);
	key.part = (enum keys_block_part)at[4];
	key.chunk = (uint32_t)keys_get_big(at + 5, 4);
	*ret_key = key;
	return 0;
}

void keys_put_dict(struct key_dict key, uint8_t ret_bytes[KEYS_DICT_BYTES])
{
	assert(key.generation <= KEYS_GENERATION_MAX && key.ordinal <= KEYS_DICT_ORDINAL_MAX);
	keys_put_big(key.generation, ret_bytes, 3);
	keys_put_big(key.ordinal, ret_bytes + 3, 5);
}

int keys_get_dict(const void *bytes, size_t count, struct key_dict *ret_key)
{
	const uint8_t *at = bytes;
	if (count != KEYS_DICT_BYTES)
		return -EBADMSG;
	ret_key->generation = (uint32_t)keys_get_big(at, 3);
	ret_key->ordinal = keys_get_big(at + 3, 5);
	return 0;
}

void keys_put_generation(uint32_t generation, uint8_t ret_bytes[KEYS_GENERATION_BYTES])
{
	size_t name_bytes = KEYS_GENERATION_BYTES - 4;
	/* A key has no zero at its end. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
	memcpy(ret_bytes, KEYS_META_GENERATION, name_bytes);
	keys_put_big(generation, ret_bytes + name_bytes, 4);
}

int keys_get_generation(const void *bytes, size_t count, uint32_t *ret_generation)
{
	size_t name_bytes = KEYS_GENERATION_BYTES - 4;
	if (count != KEYS_GENERATION_BYTES || memcmp(bytes, KEYS_META_GENERATION, name_bytes) != 0)
		return -EBADMSG;
	uint32_t generation = (uint32_t)keys_get_big((const uint8_t *)bytes + name_bytes, 4);
	if (generation > KEYS_GENERATION_MAX)
		return -EBADMSG;
	*ret_generation = generation;
	return 0;
}

void keys_put_stream(uint32_t stream, uint8_t ret_bytes[KEYS_STREAM_BYTES])
{
	keys_put_big(stream, ret_bytes, 4);
}

int keys_get_stream(const void *bytes, size_t count, uint32_t *ret_stream)
{
	if (count != KEYS_STREAM_BYTES)
		return -EBADMSG;
	*ret_stream = (uint32_t)keys_get_big(bytes, 4);
	return 0;
}

/* Copies bounded text that must hold no zero byte, and ends it. */
static int keys_get_text(const uint8_t *bytes, size_t count, size_t count_max, char *ret_text)
{
	if (count > count_max || (count && memchr(bytes, 0, count)))
		return -EBADMSG;
	if (count)
		memcpy(ret_text, bytes, count);
	ret_text[count] = 0;
	return 0;
}

size_t keys_put_agent(
        const struct wire_uuid *uuid, const char *tenant, uint8_t ret_bytes[KEYS_AGENT_BYTES_MAX])
{
	size_t tenant_count = strlen(tenant);
	assert(tenant_count <= KEYS_TENANT_BYTES_MAX);
	memcpy(ret_bytes, uuid->bytes, sizeof(uuid->bytes));
	/* A key has no zero at its end. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
	memcpy(ret_bytes + sizeof(uuid->bytes), tenant, tenant_count);
	return sizeof(uuid->bytes) + tenant_count;
}

int keys_get_agent(const void *bytes, size_t count, struct wire_uuid *ret_uuid,
        char ret_tenant[KEYS_TENANT_BYTES_MAX + 1])
{
	const uint8_t *at = bytes;
	if (count < sizeof(ret_uuid->bytes))
		return -EBADMSG;
	size_t uuid_count = sizeof(ret_uuid->bytes);
	int r = keys_get_text(
	        at + uuid_count, count - uuid_count, KEYS_TENANT_BYTES_MAX, ret_tenant);
	if (r < 0)
		return r;
	memcpy(ret_uuid->bytes, at, uuid_count);
	return 0;
}

size_t keys_put_symbols(enum keys_symbols_part part, const char *build_id,
        uint8_t ret_bytes[KEYS_SYMBOLS_BYTES_MAX])
{
	size_t count = strlen(build_id);
	assert(count > 0 && count <= KEYS_BUILD_ID_BYTES_MAX);
	ret_bytes[0] = (uint8_t)part;
	/* A key has no zero at its end. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
	memcpy(ret_bytes + 1, build_id, count);
	return 1 + count;
}

int keys_get_symbols(const void *bytes, size_t count, enum keys_symbols_part *ret_part,
        char ret_build_id[KEYS_BUILD_ID_BYTES_MAX + 1])
{
	const uint8_t *at = bytes;
	if (count < 2 || (at[0] != KEYS_SYMBOLS_BODY && at[0] != KEYS_SYMBOLS_HEAD))
		return -EBADMSG;
	int r = keys_get_text(at + 1, count - 1, KEYS_BUILD_ID_BYTES_MAX, ret_build_id);
	if (r < 0)
		return r;
	*ret_part = (enum keys_symbols_part)at[0];
	return 0;
}

int keys_get_tenant(const void *bytes, size_t count, char ret_tenant[KEYS_TENANT_BYTES_MAX + 1])
{
	return keys_get_text(bytes, count, KEYS_TENANT_BYTES_MAX, ret_tenant);
}
