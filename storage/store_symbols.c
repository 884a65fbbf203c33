/*
 * Symbol tables by build-id. On disk a head says whether there is a table, the body is the table as
 * the agent packed it; in memory the cache knows every head and has the last used tables open.
 */

#include <errno.h>
#include <string.h>

#include "storage/store_private.h"

struct kv_iterator *store_symbol_heads(struct store *store)
{
	uint8_t from = KEYS_SYMBOLS_HEAD;
	uint8_t to = KEYS_SYMBOLS_HEAD + 1;
	return kv_iterator_new(
	        store->kv, KV_SYMBOLS, (struct kv_bytes){ &from, 1 }, (struct kv_bytes){ &to, 1 });
}

int store_load_symbols(struct store *store)
{
	AUTO(kv_iterator) it = store_symbol_heads(store);
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		enum keys_symbols_part part;
		char build_id[KEYS_BUILD_ID_BYTES_MAX + 1];
		uint64_t body_bytes;
		int r = keys_get_symbols(key.bytes, key.count, &part, build_id);
		r = r < 0 ? r : record_get_symbols_head(key, kv_iterator_value(it), &body_bytes);
		if (r < 0) {
			/* Not known any more, so it will be asked for again. */
			store->corrupt++;
			store_note_unreadable(store, KV_SYMBOLS, key, r);
			continue;
		}
		r = symbols_cache_set(store->symbols, build_id, body_bytes > 0);
		if (r < 0)
			return r;
	}
	return kv_iterator_result(it);
}

static bool store_build_id_is_valid(const char *build_id)
{
	size_t count = strnlen(build_id, KEYS_BUILD_ID_BYTES_MAX + 1);
	return count > 0 && count <= KEYS_BUILD_ID_BYTES_MAX;
}

int store_symbols_has(struct store *store, const char *build_id)
{
	return symbols_cache_has(store->symbols, build_id);
}

/* They came anew. */
static void store_lift_symbols(struct store *store, const char *build_id)
{
	uint8_t key[KEYS_SYMBOLS_BYTES_MAX];
	size_t count = keys_put_symbols(KEYS_SYMBOLS_HEAD, build_id, key);
	quarantine_lift(store->quarantine, (struct quarantine_key){ KV_SYMBOLS, { key, count } });
	count = keys_put_symbols(KEYS_SYMBOLS_BODY, build_id, key);
	quarantine_lift(store->quarantine, (struct quarantine_key){ KV_SYMBOLS, { key, count } });
}

static int store_symbols_write(
        struct store *store, const char *build_id, const void *bytes, size_t count)
{
	uint8_t key_bytes[KEYS_SYMBOLS_BYTES_MAX];
	AUTO(kv_batch) batch = kv_batch_new();
	AUTO_BUF head = { 0 };
	AUTO_BUF body = { 0 };
	if (!batch)
		return -ENOMEM;

	struct kv_bytes key = { key_bytes,
		keys_put_symbols(KEYS_SYMBOLS_HEAD, build_id, key_bytes) };
	record_put_symbols_head(count, key, &head);
	if (head.failed)
		return -ENOMEM;
	kv_put(store->kv, batch, KV_SYMBOLS, key, (struct kv_bytes){ head.bytes, head.count });
	if (count > 0) {
		key.count = keys_put_symbols(KEYS_SYMBOLS_BODY, build_id, key_bytes);
		record_put_symbols_body((struct kv_bytes){ bytes, count }, key, &body);
		if (body.failed)
			return -ENOMEM;
		kv_put(store->kv, batch, KV_SYMBOLS, key,
		        (struct kv_bytes){ body.bytes, body.count });
	}
	/* Lost with the machine they would only be asked for again, so nobody waits for a sync. */
	int r = store_write(store, batch, KV_UNSYNCED, "keeping symbols");
	if (r == 0)
		store_lift_symbols(store, build_id);
	return r;
}

int store_symbols_put(struct store *store, const char *build_id, const void *bytes, size_t count)
{
	if (!store_build_id_is_valid(build_id) || count > SYMBOLS_BYTES_MAX)
		return -EINVAL;

	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	r = r < 0 ? r : store_symbols_write(store, build_id, bytes, count);
	r = r < 0 ? r : symbols_cache_set(store->symbols, build_id, count > 0);
	pthread_mutex_unlock(&store->writer);
	return r;
}

static int store_symbols_load(
        struct store *store, const char *build_id, struct symbols **ret_symbols)
{
	uint8_t key_bytes[KEYS_SYMBOLS_BYTES_MAX];
	struct kv_bytes key = { key_bytes,
		keys_put_symbols(KEYS_SYMBOLS_BODY, build_id, key_bytes) };
	AUTO_BUF value = { 0 };
	struct kv_bytes body;

	int r = kv_get(store->kv, KV_SYMBOLS, key, &value);
	if (r < 0)
		return r;
	r = record_get_symbols_body(key, (struct kv_bytes){ value.bytes, value.count }, &body);
	return r < 0 ? r : symbols_open(body.bytes, body.count, ret_symbols);
}

const struct symbols *store_symbols_find(struct store *store, const char *build_id)
{
	bool load;
	if (!store_build_id_is_valid(build_id))
		return NULL;
	struct symbols *symbols = symbols_cache_find(store->symbols, build_id, &load);
	if (!load)
		return symbols;

	int r = store_symbols_load(store, build_id, &symbols);
	if (r == -ENOMEM || r == -EIO)
		return NULL; /* may work the next time */
	if (r < 0) {
		uint8_t key[KEYS_SYMBOLS_BYTES_MAX];
		size_t count = keys_put_symbols(KEYS_SYMBOLS_BODY, build_id, key);
		store->corrupt++;
		store_note_unreadable(store, KV_SYMBOLS, (struct kv_bytes){ key, count }, r);
	}
	return symbols_cache_add(store->symbols, build_id, r < 0 ? NULL : symbols);
}
