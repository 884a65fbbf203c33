/* Counts by the hash of tenant and service; each knows what it was when its last group began. */

#include "storage/service_stacks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/id_map.h"
#include "storage/keys.h"

#define SERVICE_STACKS_SERVICES_MAX (1u << 20)

struct service_count {
	uint32_t count;
	uint32_t before; /* that it was when `group` first asked for it */
	uint64_t group;
};

struct service_stacks {
	uint64_t window;
	uint32_t generation;
	uint64_t group; /* the one that is being taken in */
	struct id_map *ids;
	struct service_count *counts;
	uint32_t capacity;
};

struct service_stacks *service_stacks_new(void)
{
	struct service_stacks *services = calloc(1, sizeof(*services));
	if (!services)
		return NULL;
	services->ids = id_map_new(SERVICE_STACKS_SERVICES_MAX);
	if (services->ids)
		return services;
	free(services);
	return NULL;
}

void service_stacks_free(struct service_stacks *services)
{
	if (!services)
		return;
	id_map_free(services->ids);
	free(services->counts);
	free(services);
}

void service_stacks_begin(struct service_stacks *services)
{
	services->group++;
}

void service_stacks_take_back(struct service_stacks *services)
{
	for (uint32_t i = 0; i < id_map_count(services->ids); i++)
		if (services->counts[i].group == services->group)
			services->counts[i].count = services->counts[i].before;
}

int service_stacks_get(struct service_stacks *services, uint64_t window, uint32_t generation,
        const char *tenant, uint32_t service, uint32_t **ret_count)
{
	uint8_t key[KEYS_TENANT_BYTES_MAX + sizeof(service)];
	size_t tenant_count = strlen(tenant);
	uint32_t id;
	bool is_added;
	if (services->window != window || services->generation != generation) {
		id_map_reset(services->ids);
		services->window = window;
		services->generation = generation;
	}
	if (id_map_count(services->ids) == services->capacity) {
		uint32_t capacity = services->capacity ? services->capacity * 2 : 16;
		struct service_count *counts = realloc(
		        services->counts, capacity * sizeof(*counts));
		if (!counts)
			return -ENOMEM;
		services->counts = counts;
		services->capacity = capacity;
	}
	memcpy(key, &service, sizeof(service));
	/* A key has no zero at its end. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
	memcpy(key + sizeof(service), tenant, tenant_count);
	int r = id_map_intern(
	        services->ids, hash128_bytes(key, sizeof(service) + tenant_count), &id, &is_added);
	if (r < 0)
		return r;
	struct service_count *of = &services->counts[id];
	if (is_added)
		*of = (struct service_count){ 0 };
	if (of->group != services->group) {
		of->group = services->group;
		of->before = of->count;
	}
	*ret_count = &of->count;
	return 0;
}
