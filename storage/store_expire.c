/*
 * What is hidden, undone and erased: see the header. The body follows its interface.
 */

#include "storage/store_expire.h"

#include <errno.h>

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
	(void)store, (void)classify, (void)owner;
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
