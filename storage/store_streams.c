/*
 * Streams: who appends (uuid, epoch, shard, tenant), and which of his seqs were kept. A stream has
 * a number, which rows and windows speak of.
 *
 *	stream_ids   hash of who -> slot        in order of being added
 *	stream_of    slot -> number
 *	streams      by number; a gap where one was forgotten
 *
 * Numbers of forgotten ones are given again: nothing speaks of them any more. So the array is as
 * long as the most streams that there were at a time. Forgetting makes the map of slots anew, which
 * is why it is done for many at once.
 *
 * A stream may be forgotten when nothing that it appended is left, and when what it may still send
 * again would be refused for its age. used_ns is not before the beginning of the generation of the
 * dictionary that its newest batch is of, and not before the end of that batch, so both can be
 * told from it.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/hash.h"
#include "storage/store_private.h"

static struct hash128 stream_hash(const struct record_stream *who)
{
	uint8_t bytes[16 + 8 + 2 + KEYS_TENANT_BYTES_MAX] = { 0 };
	size_t tenant_count = strlen(who->tenant);
	memcpy(bytes, who->uuid.bytes, 16);
	memcpy(bytes + 16, &who->epoch, 8);
	memcpy(bytes + 24, &who->shard, 2);
	memcpy(bytes + 26, who->tenant, tenant_count);
	return hash128_bytes(bytes, 26 + tenant_count);
}

uint32_t store_find_stream(const struct store *store, const struct record_stream *who)
{
	uint32_t slot = id_map_find(store->stream_ids, stream_hash(who));
	return slot == ID_NONE ? ID_NONE : store->stream_of[slot];
}

uint64_t store_used_ns(const struct store *store, const struct batch *batch, uint64_t now_ns)
{
	uint64_t end_ns = batch->start_ns +
	                  batch->duration_ns; /* store_refusal() saw that it fits */
	uint64_t used_ns = end_ns > now_ns ? end_ns : now_ns;
	return used_ns > store->newest->began_ns ? used_ns : store->newest->began_ns;
}

static int store_reserve_streams(struct store *store, uint32_t count)
{
	if (count <= store->streams_capacity)
		return 0;
	uint64_t capacity = store->streams_capacity ? 2 * (uint64_t)store->streams_capacity : 64;
	capacity = capacity < count ? count : capacity;
	struct stream *streams = realloc(store->streams, capacity * sizeof(*streams));
	if (!streams)
		return -ENOMEM;
	store->streams = streams;
	uint32_t *stream_of = realloc(store->stream_of, capacity * sizeof(*stream_of));
	if (!stream_of)
		return -ENOMEM;
	store->stream_of = stream_of;
	store->streams_capacity = (uint32_t)capacity;
	return 0;
}

/* Gaps up to this number. Capacity is there. */
static void store_extend_streams(struct store *store, uint32_t count)
{
	while (store->streams_count < count) {
		store->streams[store->streams_count++] = (struct stream){ .is_gone = true };
		store->streams_gone++;
	}
}

static void store_put_gap(struct store *store, uint32_t number)
{
	struct stream *stream = &store->streams[number];
	seq_set_fini(&stream->seqs);
	seq_set_fini(&stream->staged);
	*stream = (struct stream){ .is_gone = true };
	store->streams_gone++;
	if (number < store->stream_gap)
		store->stream_gap = number;
}

/* Into a gap. */
static int store_put_stream(struct store *store, const struct record_stream *who, uint32_t number)
{
	uint32_t tenant, slot;
	bool is_added;
	int r = store_tenant(store, who->tenant, &tenant);
	r = r < 0 ? r : id_map_intern(store->stream_ids, stream_hash(who), &slot, &is_added);
	if (r < 0)
		return r;
	assert(is_added && slot < store->streams_capacity && store->streams[number].is_gone);
	store->stream_of[slot] = number;
	store->streams[number] = (struct stream){ .who = *who, .tenant = tenant };
	store->streams_gone--;
	return 0;
}

int store_stream_add(struct store *store, const struct record_stream *who, uint32_t *ret_stream)
{
	uint32_t number = store->streams_count;
	if (store->streams_gone > 0) {
		number = store->stream_gap;
		while (!store->streams[number].is_gone)
			number++;
	}
	if (number == STORE_STREAMS_MAX)
		return -ENOSPC;
	int r = store_reserve_streams(store, number + 1);
	if (r < 0)
		return r;
	uint32_t count_before = store->streams_count;
	store_extend_streams(store, number + 1);
	r = store_put_stream(store, who, number);
	if (r < 0) {
		store->streams_gone -= store->streams_count - count_before;
		store->streams_count = count_before;
		return r;
	}
	if (number < count_before)
		store->stream_gap = number + 1;
	*ret_stream = number;
	return 0;
}

/* Gaps at the end are none. */
static void store_trim_streams(struct store *store)
{
	while (store->streams_count > 0 && store->streams[store->streams_count - 1].is_gone) {
		store->streams_count--;
		store->streams_gone--;
	}
	if (store->stream_gap > store->streams_count)
		store->stream_gap = store->streams_count;
}

void store_streams_truncate(struct store *store, uint32_t slots_count)
{
	for (uint32_t slot = id_map_count(store->stream_ids); slot > slots_count; slot--)
		store_put_gap(store, store->stream_of[slot - 1]);
	id_map_truncate(store->stream_ids, slots_count);
	store_trim_streams(store);
}

void store_free_streams(struct store *store)
{
	if (store->stream_ids)
		store_streams_truncate(store, 0);
	id_map_free(store->stream_ids);
	free(store->streams);
	free(store->stream_of);
}

/* ---- loading ---- */

/* One that is known keeps its place, so that readers can go on. */
static int store_load_stream(
        struct store *store, uint32_t number, struct kv_bytes key, struct kv_bytes value)
{
	struct record_stream who;
	struct seq_set seqs = { 0 };
	int r = record_get_stream(key, value, &who, &seqs);
	r = r < 0 ? r : store_reserve_streams(store, number + 1);
	if (r == 0) {
		uint32_t known = store_find_stream(store, &who);
		store_extend_streams(store, number + 1);
		if (known == ID_NONE && store->streams[number].is_gone)
			r = store_put_stream(store, &who, number);
		else if (known != number)
			r = -EBADMSG;
	}
	if (r < 0) {
		seq_set_fini(&seqs);
		return r;
	}
	seq_set_fini(&store->streams[number].seqs);
	store->streams[number].who = who;
	store->streams[number].seqs = seqs;
	store->streams[number].is_read = true;
	return 0;
}

/* What cannot be. */
static int store_refuse_stream(struct store *store, uint32_t number, int result)
{
	store_set_error(store, "%s: stream %" PRIu32 ": %s", store->path, number,
	        result == -ENOMEM ? "out of memory" : "missing or damaged");
	return result;
}

/* Makes gaps of those for which it holds. The map is made anew; on failure all is as it was. */
static int store_drop_streams(struct store *store,
        bool (*is_dropped)(const struct stream *stream, const void *owner), const void *owner)
{
	AUTO(id_map) ids = id_map_new(STORE_STREAMS_MAX);
	autofree uint32_t *stream_of = malloc(
	        ((size_t)store->streams_capacity + 1) * sizeof(*stream_of));
	if (!ids || !stream_of)
		return -ENOMEM;
	for (uint32_t i = 0; i < store->streams_count; i++) {
		const struct stream *stream = &store->streams[i];
		uint32_t slot;
		bool is_added;
		if (stream->is_gone || is_dropped(stream, owner))
			continue;
		int r = id_map_intern(ids, stream_hash(&stream->who), &slot, &is_added);
		if (r < 0)
			return r;
		stream_of[slot] = i;
	}
	for (uint32_t i = 0; i < store->streams_count; i++)
		if (!store->streams[i].is_gone && is_dropped(&store->streams[i], owner))
			store_put_gap(store, i);
	id_map_free(store->stream_ids);
	free(store->stream_of);
	store->stream_ids = TAKE(ids);
	store->stream_of = stream_of;
	stream_of = NULL;
	store_trim_streams(store);
	return 0;
}

static bool stream_was_not_read(const struct stream *stream, const void *owner)
{
	(void)owner;
	return !stream->is_read;
}

/*
 * A damaged watermark cannot be passed over: without it batches would be counted twice. Before the
 * first generation of the dictionary is gone no stream is forgotten, and none may be missing.
 */
int store_load_streams(struct store *store)
{
	AUTO(kv_iterator) it = kv_iterator_new(
	        store->kv, KV_STREAM, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	bool may_be_missing = store->generations[0]->id > 0;
	uint32_t expected = 0;
	bool is_all_read = true;
	if (!it)
		return -ENOMEM;
	for (uint32_t i = 0; i < store->streams_count; i++)
		store->streams[i].is_read = false;
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		uint32_t number;
		if (keys_get_stream(key.bytes, key.count, &number) < 0 ||
		        number >= STORE_STREAMS_MAX || (!may_be_missing && number != expected))
			return store_refuse_stream(store, expected, -EBADMSG);
		int r = store_load_stream(store, number, key, kv_iterator_value(it));
		if (r < 0)
			return store_refuse_stream(store, number, r);
		expected = number + 1;
	}
	int r = kv_iterator_result(it);
	for (uint32_t i = 0; i < store->streams_count; i++)
		is_all_read &= store->streams[i].is_gone || store->streams[i].is_read;
	return r < 0 || is_all_read ? r : store_drop_streams(store, stream_was_not_read, NULL);
}

/* ---- forgetting ---- */

static bool stream_is_over(const struct stream *stream, const void *owner)
{
	return stream->who.used_ns < *(const uint64_t *)owner;
}

/* Deletes the records of those that go, neighbours together. */
static uint32_t store_put_forgotten(struct store *store, uint64_t before_ns, struct kv_batch *write)
{
	uint8_t from[KEYS_STREAM_BYTES];
	uint8_t to[KEYS_STREAM_BYTES];
	uint32_t count = 0;
	for (uint32_t i = 0, end; i < store->streams_count; i = end + 1) {
		for (end = i; end < store->streams_count; end++)
			if (store->streams[end].is_gone ||
			        !stream_is_over(&store->streams[end], &before_ns))
				break;
		if (end == i)
			continue;
		keys_put_stream(i, from);
		keys_put_stream(end, to);
		kv_delete_range(store->kv, write, KV_STREAM,
		        (struct kv_bytes){ from, sizeof(from) },
		        (struct kv_bytes){ to, sizeof(to) });
		count += end - i;
	}
	return count;
}

int store_forget_streams(struct store *store, uint64_t before_ns, uint32_t *ret_count)
{
	AUTO(kv_batch) write = kv_batch_new();
	if (!write)
		return -ENOMEM;
	*ret_count = store_put_forgotten(store, before_ns, write);
	if (*ret_count == 0)
		return 0;
	gate_lock(&store->gate);
	int r = store_write(store, write, KV_SYNC, "forgetting streams");
	/* Without memory they are forgotten by the next start, or by the next attempt. */
	if (r == 0)
		r = store_drop_streams(store, stream_is_over, &before_ns);
	gate_unlock(&store->gate);
	return r;
}
