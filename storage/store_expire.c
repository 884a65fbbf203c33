/*
 * What is hidden, undone and erased: see the header. The body follows its interface.
 */

#include "storage/store_expire.h"

#include <errno.h>

#include "storage/expiry.h"
#include "storage/store_private.h"

static int expire_load_run(struct store *store, struct kv_bytes key, struct kv_bytes value)
{
	AUTO_EXPIRY_RUN run = { 0 };
	uint64_t id;
	int r = expiry_get_key(key.bytes, key.count, &id);
	r = r < 0 ? r : expiry_get_run(key, value, &run);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT) {
		store->corrupt++; /* what it hid is to be seen again: nothing is lost by that */
		return 0;
	}
	run.run.id = id;
	r = r < 0 ? r : expiry_reserve(&store->expiry, run.items_count);
	if (r == 0)
		expiry_add(&store->expiry, &run);
	return r;
}

int store_load_expiry(struct store *store)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_EXPIRY, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	expiry_fini(&store->expiry);
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		int r = expire_load_run(store, kv_iterator_key(it), kv_iterator_value(it));
		if (r < 0)
			return r;
	}
	return kv_iterator_result(it);
}

int store_inventory(struct store *store, struct store_inventory_options options,
        store_visit_unit visit, void *owner)
{
	(void)store, (void)options, (void)visit, (void)owner;
	return -ENOSYS;
}

int store_inventory_totals(struct store *store, struct store_inventory_bytes *ret_bytes)
{
	(void)store, (void)ret_bytes;
	return -ENOSYS;
}

int store_hide(struct store *store, const struct store_run *run,
        const struct store_expire_item *items, uint32_t count, struct store_expired *ret_expired)
{
	(void)store, (void)run, (void)items, (void)count, (void)ret_expired;
	return -ENOSYS;
}

int store_erase(struct store *store, uint64_t run_id, const bool *cancelled,
        struct store_expired *ret_expired)
{
	(void)store, (void)run_id, (void)cancelled, (void)ret_expired;
	return -ENOSYS;
}

int store_undo(struct store *store, uint64_t run_id, struct store_expired *ret_back)
{
	(void)store, (void)run_id, (void)ret_back;
	return -ENOSYS;
}

int store_runs(struct store *store, int (*visit)(void *owner, const struct store_run_state *state),
        void *owner)
{
	(void)store, (void)visit, (void)owner;
	return -ENOSYS;
}

void store_set_classify(struct store *store, store_classify classify, void *owner)
{
	pthread_mutex_lock(&store->sealing);
	store->classify = classify;
	store->classify_owner = owner;
	pthread_mutex_unlock(&store->sealing);
}

int store_reseal(struct store *store, struct store_window_name window, store_classify classify,
        void *owner, struct store_resealed *ret_resealed)
{
	(void)store, (void)window, (void)classify, (void)owner, (void)ret_resealed;
	return -ENOSYS;
}

int store_forget(struct store *store, const struct store_forget_options *options,
        struct store_forgotten *ret_forgotten)
{
	(void)store, (void)options, (void)ret_forgotten;
	return -ENOSYS;
}
