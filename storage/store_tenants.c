/*
 * Tenants, and what is counted for each. A tenant is there with the first word of him, and stays;
 * his counters are on the disk with the group that changed them.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "storage/store_private.h"

int store_tenant(struct store *store, const char *name, uint32_t *ret_tenant)
{
	for (uint32_t i = 0; i < store->tenants_count; i++) {
		if (strcmp(store->tenants[i].name, name) == 0) {
			*ret_tenant = i;
			return 0;
		}
	}

	if (store->tenants_count == store->tenants_capacity) {
		uint32_t capacity = store->tenants_capacity ? store->tenants_capacity * 2 : 4;
		/* Readers of counters look at the array. */
		pthread_mutex_lock(&store->stats);
		struct tenant *tenants = realloc(store->tenants, capacity * sizeof(*tenants));
		if (tenants)
			store->tenants = tenants;
		pthread_mutex_unlock(&store->stats);
		if (!tenants)
			return -ENOMEM;
		store->tenants_capacity = capacity;
	}
	struct tenant *tenant = &store->tenants[store->tenants_count];
	*tenant = (struct tenant){ 0 };
	snprintf(tenant->name, sizeof(tenant->name), "%s", name);
	pthread_mutex_lock(&store->stats);
	*ret_tenant = store->tenants_count++;
	pthread_mutex_unlock(&store->stats);
	return 0;
}

int store_load_counters(struct store *store)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_COUNTERS, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	if (!it)
		return -ENOMEM;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		char name[KEYS_TENANT_BYTES_MAX + 1] = "";
		uint32_t tenant;
		struct store_counters counters;
		int r = keys_get_tenant(key.bytes, key.count, name);
		r = r < 0 ? r : record_get_counters(key, kv_iterator_value(it), &counters);
		if (r < 0)
			store_set_error(
			        store, "%s: counters of tenant \"%s\": damaged", store->path, name);
		r = r < 0 ? r : store_tenant(store, name, &tenant);
		if (r < 0)
			return r;
		pthread_mutex_lock(&store->stats);
		store->tenants[tenant].counters = counters;
		pthread_mutex_unlock(&store->stats);
	}
	return kv_iterator_result(it);
}

int store_counters(struct store *store, const char *tenant, struct store_counters *ret_counters)
{
	struct store_counters counters = { 0 }; /* of a tenant that nobody has heard of */
	pthread_mutex_lock(&store->stats);
	for (uint32_t i = 0; i < store->tenants_count; i++)
		if (strcmp(store->tenants[i].name, tenant) == 0)
			counters = store->tenants[i].counters;
	pthread_mutex_unlock(&store->stats);
	*ret_counters = counters;
	return 0;
}
