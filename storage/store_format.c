/*
 * Which reader a folder needs. The record says the oldest version that reads all of it, and goes up
 * with the write that needs a newer one, never down.
 */

#include <errno.h>
#include <inttypes.h>

#include "storage/store_private.h"

#define STORE_FORMAT_VERSION STORE_FORMAT_NEWEST

static const struct kv_bytes store_format_key = { KEYS_META_FORMAT, sizeof(KEYS_META_FORMAT) - 1 };

int store_put_format(struct store *store, struct kv_batch *write, uint32_t version)
{
	AUTO_BUF value = { 0 };
	struct record_format format = { .version = version, .version_min = version };
	if (store->format_version_min >= version)
		return 0;
	record_put_format(format, store_format_key, &value);
	if (value.failed)
		return -ENOMEM;
	kv_put(store->kv, write, KV_META, store_format_key, store_bytes(&value));
	return 0;
}

int store_put_format_of(struct store *store, const struct batch *batch, struct kv_batch *write)
{
	return record_batch_is_coded(batch) ? store_put_format(store, write, STORE_FORMAT_CODED)
	                                    : 0;
}

void store_note_format(struct store *store, uint32_t version)
{
	if (store->format_version_min < version)
		store->format_version_min = version;
}

static int store_write_format(struct store *store)
{
	AUTO(kv_batch) batch = kv_batch_new();
	int r = batch ? store_put_format(store, batch, STORE_FORMAT_OPEN) : -ENOMEM;
	r = r < 0 ? r : store_write(store, batch, KV_SYNC, "beginning a store");
	if (r == 0)
		store_note_format(store, STORE_FORMAT_OPEN);
	return r;
}

static bool store_is_empty(struct store *store)
{
	for (int family = 0; family < KV_FAMILIES; family++) {
		AUTO(kv_iterator) it = kv_iterator_new(store->kv, (enum kv_family)family,
		        (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
		if (!it || kv_iterator_is_valid(it) || kv_iterator_result(it) < 0)
			return false;
	}
	return true;
}

int store_check_format(struct store *store)
{
	AUTO_BUF value = { 0 };
	struct record_format format;
	int r = kv_get(store->kv, KV_META, store_format_key, &value);
	if (r == -ENOENT) {
		if (store_is_empty(store))
			return store_write_format(store);
		store_set_error(store,
		        "%s: holds a database that is not a profleet store: name another folder",
		        store->path);
		return -EBADMSG;
	}
	r = r < 0 ? r : record_get_format(store_format_key, store_bytes(&value), &format);
	if (r == 0 && format.version_min > STORE_FORMAT_VERSION) {
		store_set_error(store,
		        "%s: was written by a newer profleet (format %" PRIu32
		        ", readable from %" PRIu32
		        " on; this one reads up to %d): install the newer one",
		        store->path, format.version, format.version_min, STORE_FORMAT_VERSION);
		return -EPROTONOSUPPORT;
	}
	if (r == -EPROTONOSUPPORT)
		store_set_error(store, "%s: was written by a newer profleet: install that one",
		        store->path);
	else if (r < 0)
		store_set_error(store,
		        "%s: the format record is damaged: restore a backup, or name another "
		        "folder",
		        store->path);
	else
		store->format_version_min = format.version_min;
	return r;
}
