/*
 * What agents say of themselves: one record an agent and tenant, written anew with each word.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "storage/store_private.h"

int store_agent_put(struct store *store, const struct store_agent *agent)
{
	uint8_t key_bytes[KEYS_AGENT_BYTES_MAX];
	AUTO(kv_batch) write = kv_batch_new();
	AUTO_BUF value = { 0 };
	if (!write)
		return -ENOMEM;
	if (strnlen(agent->tenant, sizeof(agent->tenant)) > KEYS_TENANT_BYTES_MAX)
		return -EINVAL;
	struct kv_bytes key = { key_bytes, keys_put_agent(&agent->uuid, agent->tenant, key_bytes) };

	pthread_mutex_lock(&store->writer);
	int r = store_make_writable(store);
	if (r == 0) {
		struct store_agent first = *agent, known;
		AUTO_BUF before = { 0 };
		/* What cannot be read is written anew: nothing but this moment is lost by it. */
		if (kv_get(store->kv, KV_AGENT, key, &before) == 0 &&
		        record_get_agent(key, store_bytes(&before), &known) == 0 &&
		        known.first_seen_ns < first.first_seen_ns)
			first.first_seen_ns = known.first_seen_ns;
		record_put_agent(&first, key, &value);
		r = value.failed ? -ENOMEM : 0;
	}
	if (r == 0) {
		kv_put(store->kv, write, KV_AGENT, key, store_bytes(&value));
		r = store_write(store, write, KV_UNSYNCED, "keeping what an agent said");
		if (r == 0)
			quarantine_lift(
			        store->quarantine, (struct quarantine_key){ KV_AGENT, key });
	}
	pthread_mutex_unlock(&store->writer);
	return r;
}

int store_agents(struct store *store, int (*visit)(void *owner, const struct store_agent *agent),
        void *owner)
{
	int r = 0;
	gate_enter(&store->gate);
	struct kv_iterator *it = kv_iterator_new(
	        store->kv, KV_AGENT, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	for (; it && r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct store_agent agent;
		struct wire_uuid uuid;
		char tenant[KEYS_TENANT_BYTES_MAX + 1];
		if (keys_get_agent(key.bytes, key.count, &uuid, tenant) < 0 ||
		        record_get_agent(key, kv_iterator_value(it), &agent) < 0) {
			store->corrupt++; /* he will speak again */
			store_note_unreadable(store, KV_AGENT, key, -EBADMSG);
			continue;
		}
		agent.uuid = uuid;
		snprintf(agent.tenant, sizeof(agent.tenant), "%s", tenant);
		r = visit(owner, &agent);
	}
	if (r == 0)
		r = it ? kv_iterator_result(it) : -ENOMEM;
	kv_iterator_free(it);
	store_read_unlock(store);
	return r;
}
