/* Parting units by class follows. */

#include <errno.h>

#include "storage/store_expire_private.h"

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
