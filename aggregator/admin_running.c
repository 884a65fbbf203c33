/* One lock for all places: they are copied to and from, and nobody waits while it is held. */

#include "aggregator/admin_running.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

struct running_place {
	bool is_taken;
	uint32_t lane;
	uint64_t began_ns; /* monotonic */
	uint64_t done, total;
	char method[64], actor[256], request[128];
};

struct admin_running {
	pthread_mutex_t lock;
	struct running_place places[ADMIN_RUNNING_MAX];
};

struct admin_running *admin_running_new(void)
{
	struct admin_running *running = calloc(1, sizeof(*running));
	if (running)
		pthread_mutex_init(&running->lock, NULL);
	return running;
}

void admin_running_free(struct admin_running *running)
{
	if (running)
		pthread_mutex_destroy(&running->lock);
	free(running);
}

static struct running_place *running_lock(struct admin_running *running, uint32_t place)
{
	assert(place < ADMIN_RUNNING_MAX);
	pthread_mutex_lock(&running->lock);
	return &running->places[place];
}

void admin_running_begin(struct admin_running *running, uint32_t place, uint32_t lane,
        const char *method, const char *actor, const char *request)
{
	struct running_place *at = running_lock(running, place);
	*at = (struct running_place){
		.is_taken = true, .lane = lane, .began_ns = clock_monotonic_ns(clock_real())
	};
	snprintf(at->method, sizeof(at->method), "%s", method);
	snprintf(at->actor, sizeof(at->actor), "%s", actor);
	snprintf(at->request, sizeof(at->request), "%s", request);
	pthread_mutex_unlock(&running->lock);
}

void admin_running_at(struct admin_running *running, uint32_t place, uint64_t done, uint64_t total)
{
	struct running_place *at = running_lock(running, place);
	at->done = done;
	at->total = total;
	pthread_mutex_unlock(&running->lock);
}

void admin_running_end(struct admin_running *running, uint32_t place)
{
	struct running_place *at = running_lock(running, place);
	at->is_taken = false;
	pthread_mutex_unlock(&running->lock);
}

void admin_running_put(struct admin_running *running, uint32_t place, uint32_t lane,
        const char *request, struct json_writer *json)
{
	struct running_place own = { 0 }, before = { 0 };
	pthread_mutex_lock(&running->lock);
	for (uint32_t i = 0; i < ADMIN_RUNNING_MAX; i++) {
		const struct running_place *at = &running->places[i];
		if (i == place)
			continue;
		if (at->is_taken && strcmp(at->request, request) == 0)
			own = *at;
		else if (at->is_taken && at->lane == lane && lane > 0)
			before = *at;
	}
	pthread_mutex_unlock(&running->lock);
	json_key_bool(json, "is_running", own.is_taken);
	json_key_u64(json, "done", own.done);
	json_key_u64(json, "total", own.total);
	if (own.is_taken || !before.is_taken)
		return;
	json_key(json, "before");
	json_object_begin(json);
	json_key_text(json, "method", before.method);
	json_key_text(json, "actor", before.actor);
	json_key_u64(json, "for_ns", clock_monotonic_ns(clock_real()) - before.began_ns);
	json_object_end(json);
}
