/*
 * Appending. How a group goes its way:
 *
 *	gate locked     each section: seq seen before? DUP. Else its ids become ids of the store's
 *	                dict, which grows by what is new; its stream and counters get a staged copy
 *	gate open       columns packed; dict delta, batches, streams, counters into one synced write
 *	done            staged copies become the truth, new series are published
 *	or failed       gate locked: dict, index, streams, remaps go back to where they were
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "storage/store_private.h"

#define STORE_WORN_PART 4 /* of a limit: a dict that is full gives way from there on */

/* What becomes of one section of the group. */
struct section {
	struct batch *batch; /* over the store's dict; NULL unless it is to be kept */
	uint32_t stream;
	uint64_t seq;
	uint64_t bytes; /* of its record */
};

struct group {
	struct store_append *appends;
	struct section *sections;
	uint32_t count;
	uint32_t slots_before;
	bool may_renew;        /* a full dict is a reason to begin another */
	bool is_full;          /* and it was */
	bool is_worth_syncing; /* holds more than counted duplicates */
	bool is_worth_writing;
};

/* Does it say of each series no more to be folded than there is? Both ascend by series. */
static bool store_is_folded_right(const struct batch *batch)
{
	uint32_t at = 0;
	uint32_t before = 0;
	for (uint32_t i = 0; i < batch->losses_count; i++) {
		const struct loss *loss = &batch->losses[i];
		uint64_t samples = 0;
		if (loss_is_lost(loss->reason, loss->series != SERIES_NONE))
			continue;
		if (loss->series < before)
			return false;
		before = loss->series + 1;
		while (at < batch->rows_count && batch->rows[at].series < loss->series)
			at++;
		for (; at < batch->rows_count && batch->rows[at].series == loss->series; at++)
			samples += batch->rows[at].value; /* was seen to fit */
		if (loss->count > samples)
			return false;
	}
	return true;
}

/* Why a section can never be kept, or NULL. */
static const char *store_refusal(const struct store_append *append)
{
	const struct batch *batch = append->batch;
	struct dict_mark mark = dict_mark(batch->dict);
	uint64_t end, samples = 0, value = 0;

	if (append->stream.seq == 0)
		return "sections are numbered from 1";
	if (append->stream.tenant &&
	        strnlen(append->stream.tenant, KEYS_TENANT_BYTES_MAX + 1) > KEYS_TENANT_BYTES_MAX)
		return "the name of the tenant is longer than 63 bytes";
	if (__builtin_add_overflow(batch->start_ns, batch->duration_ns, &end) || end == UINT64_MAX)
		return "the interval lies beyond the end of time";
	if (batch->rows_count > RECORD_BATCH_ROWS_MAX)
		return "more than 8 million rows in one interval";

	uint32_t series = SERIES_NONE;
	uint64_t period = 0;
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		uint64_t in_unit;
		if (row->series >= mark.series || row->node >= mark.nodes)
			return "a row refers to what its dictionary lacks";
		if (row->series != series) {
			series = row->series;
			period = dict_get_series(batch->dict, series)->period;
		}
		if (__builtin_mul_overflow(row->value, period, &in_unit) ||
		        __builtin_add_overflow(value, in_unit, &value) ||
		        __builtin_add_overflow(samples, row->value, &samples))
			return "its values add up to more than 64 bits hold";
	}
	if (!store_is_folded_right(batch))
		return "it says more samples to be folded than there are";
	return NULL;
}

static uint64_t store_add(uint64_t a, uint64_t b)
{
	uint64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* The counters that the group will write. */
static struct store_counters *store_stage_counters(struct store *store, uint32_t tenant)
{
	struct tenant *to = &store->tenants[tenant];
	if (!to->is_staged) {
		to->staged = to->counters;
		to->is_staged = true;
	}
	return &to->staged;
}

static int store_stage_seq(struct store *store, uint32_t id, uint64_t seq)
{
	struct stream *stream = &store->streams[id];
	if (!stream->is_staged) {
		int r = seq_set_copy(&stream->staged, &stream->seqs);
		if (r < 0)
			return r;
		stream->is_staged = true;
	}
	return seq_set_add(&stream->staged, seq);
}

/*
 * The stream is so full of gaps that its set no longer knows: then the rows do, whose key is made
 * of what a section that is sent again has in common with the first.
 */
static int store_is_kept(struct store *store, const struct group *group, uint32_t index,
        uint32_t stream, bool *ret_is_kept)
{
	const struct store_append *append = &group->appends[index];
	for (uint32_t i = 0; i < index; i++) {
		const struct section *section = &group->sections[i];
		if (section->batch && section->stream == stream &&
		        section->seq == append->stream.seq) {
			*ret_is_kept = true;
			return 0;
		}
	}

	uint8_t key[KEYS_BATCH_BYTES];
	AUTO_BUF value = { 0 };
	struct key_batch of = { append->batch->start_ns, stream, append->stream.seq };
	keys_put_batch(of, key);
	int r = kv_get(store->kv, KV_BATCH, (struct kv_bytes){ key, sizeof(key) }, &value);
	if (r == 0)
		*ret_is_kept = true;
	else if (r == -ENOENT)
		r = store_is_sealed(store, of, ret_is_kept);
	if (r < 0)
		kv_error(store->kv, store->error, sizeof(store->error));
	return r;
}

/* Is this seq of this stream kept already? `stream` ID_NONE: nothing of it is. */
static int store_is_duplicate(struct store *store, const struct group *group, uint32_t index,
        uint32_t stream, bool *ret_is_duplicate)
{
	*ret_is_duplicate = false;
	if (stream == ID_NONE)
		return 0;
	const struct stream *of = &store->streams[stream];
	const struct seq_set *seqs = of->is_staged ? &of->staged : &of->seqs;
	switch (seq_set_state(seqs, group->appends[index].stream.seq)) {
	case SEQ_NEW:
		return 0;
	case SEQ_KEPT:
		*ret_is_duplicate = true;
		return 0;
	case SEQ_UNSURE:
		break;
	}
	return store_is_kept(store, group, index, stream, ret_is_duplicate);
}

/* What came, and of what it is kept as (which says what was folded) the losses. */
static void store_count_batch(
        struct store_counters *counters, const struct batch *batch, const struct batch *kept)
{
	counters->batches++;
	counters->rows = store_add(counters->rows, batch->rows_count);
	counters->samples = store_add(counters->samples, batch_samples(batch));
	for (uint32_t i = 0; i < kept->losses_count; i++) {
		const struct loss *loss = &kept->losses[i];
		bool is_lost = loss_is_lost(loss->reason, loss->series != SERIES_NONE);
		uint32_t reason = loss->reason <= LOSS_REASON_MAX ? loss->reason : 0;
		uint64_t *count = is_lost ? &counters->lost[reason] : &counters->samples_folded;
		*count = store_add(*count, loss->count);
	}
}

static void store_answer(struct store_append *append, uint32_t status, const char *reason)
{
	append->ret_status = status;
	append->ret_reason = reason;
}

static bool store_is_late(const struct store *store, const struct batch *batch)
{
	uint64_t now_ns = clock_unix_ns(store->clock);
	uint64_t end_ns = batch->start_ns + batch->duration_ns;
	return end_ns < now_ns && now_ns - end_ns > store->options.late_max_ns;
}

/* Would what it says be forgotten as soon as it is sealed? */
static bool store_is_expired(
        const struct store *store, const char *tenant, const struct batch *batch)
{
	uint64_t window_ns = store->options.window_ns;
	uint64_t to_ns = batch->start_ns - batch->start_ns % window_ns;
	if (!store->has_expired || __builtin_add_overflow(to_ns, window_ns, &to_ns) ||
	        to_ns > clock_unix_ns(store->clock))
		return false;
	return store->has_expired(store->has_expired_owner, tenant, batch, to_ns);
}

/* Why a section is not taken for its age, or NULL. */
static const char *store_refusal_of_age(
        const struct store *store, const struct store_append *append, const char *tenant)
{
	if (append->refuse_late && store_is_late(store, append->batch))
		return "it is older than what the aggregator still takes (late-max)";
	if (store_is_expired(store, tenant, append->batch))
		return "it is older than the policies of retention keep it";
	return NULL;
}

/* A section that is kept already, or too old to be: answered and counted. With the gate locked. */
static int store_answer_unwanted(struct store *store, struct group *group, uint32_t index,
        const char *tenant_name, uint32_t stream, bool *ret_is_answered)
{
	struct store_append *append = &group->appends[index];
	bool is_duplicate;
	uint32_t tenant;
	int r = store_is_duplicate(store, group, index, stream, &is_duplicate);
	if (r < 0)
		return r;
	const char *refusal = is_duplicate ? NULL
	                                   : store_refusal_of_age(store, append, tenant_name);
	*ret_is_answered = is_duplicate || refusal;
	if (is_duplicate) {
		store_stage_counters(store, store->streams[stream].tenant)->batches_duplicate++;
		store_answer(append, WIRE_DUP, "");
	} else if (refusal) {
		r = store_tenant(store, tenant_name, &tenant);
		if (r < 0)
			return r;
		store_stage_counters(store, tenant)->batches_late++;
		store_answer(append, WIRE_REJECT, refusal);
	}
	group->is_worth_writing |= *ret_is_answered;
	return 0;
}

/* What comes of it is in `to`, or it is answered: the dict has no room, or lacks what it names. */
static int store_translate_section(struct store *store, struct group *group, uint32_t index,
        const char *tenant, struct batch *to, bool *ret_is_answered)
{
	struct store_append *append = &group->appends[index];
	struct dict *dict = store->newest->dict;
	struct dict_mark before = dict_mark(dict);
	int r = store_translate(store, tenant, append->remap, append->batch, to);
	*ret_is_answered = r == -ENOSPC || r == -EINVAL;
	if (r == -ENOSPC) {
		/* One that is too large for any dict must not wear out this one. */
		dict_truncate(dict, before);
		dict_remap_truncate(append->remap, before);
		group->is_full = true;
		store_answer(append, WIRE_BUSY,
		        "the dictionary of the store is full: raise its limits or delete data");
	} else if (r == -EINVAL) {
		store_answer(append, WIRE_REJECT, "it refers to what its dictionary lacks");
	}
	return *ret_is_answered ? 0 : r;
}

/* It is to be written with its group, which then makes true what is staged here. Takes the batch.
 */
static void store_keep_section(struct store *store, struct group *group, uint32_t index,
        uint32_t stream, struct batch *batch, uint64_t now_ns)
{
	struct store_append *append = &group->appends[index];
	struct stream *of = &store->streams[stream];
	of->who.used_ns = store_used_ns(store, append->batch, now_ns);
	store_count_batch(store_stage_counters(store, of->tenant), append->batch, batch);
	group->sections[index].batch = batch;
	group->sections[index].stream = stream;
	group->sections[index].seq = append->stream.seq;
	group->is_worth_writing = true;
	group->is_worth_syncing = true;
	store_answer(append, WIRE_OK, "");
}

/* Decides one section and takes it into memory. With the gate locked. Negative: the group fails. */
static int store_take_section(struct store *store, struct group *group, uint32_t index)
{
	struct store_append *append = &group->appends[index];
	struct record_stream who = {
		.uuid = append->stream.uuid,
		.epoch = append->stream.epoch,
		.shard = append->stream.shard,
		.used_ns = clock_unix_ns(store->clock),
	};

	const char *refusal = store_refusal(append);
	if (refusal) {
		store_answer(append, WIRE_REJECT, refusal);
		return 0;
	}
	snprintf(who.tenant, sizeof(who.tenant), "%s",
	        append->stream.tenant ? append->stream.tenant : "");

	uint32_t stream = store_find_stream(store, &who);
	bool is_answered;
	int r = store_answer_unwanted(store, group, index, who.tenant, stream, &is_answered);
	if (r < 0 || is_answered)
		return r;
	AUTO(batch) batch = batch_new(store->newest->dict);
	r = batch ? store_translate_section(store, group, index, who.tenant, batch, &is_answered)
	          : -ENOMEM;
	if (r < 0 || is_answered)
		return r;
	if (stream == ID_NONE)
		r = store_stream_add(store, &who, &stream);
	if (r == -ENOSPC) {
		store_answer(append, WIRE_BUSY, "the store knows as many streams as it can");
		return 0;
	}
	r = r < 0 ? r : store_stage_seq(store, stream, append->stream.seq);
	if (r == 0)
		store_keep_section(store, group, index, stream, TAKE(batch), who.used_ns);
	return r;
}

static int store_take_group(struct store *store, struct group *group)
{
	struct generation *newest = store->newest;
	int r = 0;
	service_stacks_begin(store->services);
	for (uint32_t i = 0; i < group->count; i++)
		dict_remap_aim(group->appends[i].remap, newest->dict);
	for (uint32_t i = 0; i < group->count && r == 0; i++) {
		r = store_take_section(store, group, i);
		if (r == 0 && group->is_full && group->may_renew)
			r = -EAGAIN;
	}
	return r < 0 ? r : label_index_extend(newest->index, newest->dict);
}

static int store_put_batches(struct store *store, const struct group *group, struct kv_batch *write)
{
	AUTO_BUF scratch = { 0 };
	AUTO_BUF value = { 0 };
	for (uint32_t i = 0; i < group->count; i++) {
		struct section *section = &group->sections[i];
		uint8_t key_bytes[KEYS_BATCH_BYTES];
		struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
		if (!section->batch)
			continue;
		int r = batch_settle(section->batch);
		if (r < 0)
			return r;
		keys_put_batch((struct key_batch){ section->batch->start_ns, section->stream,
		                       section->seq },
		        key_bytes);
		buf_reset(&value);
		record_put_batch(section->batch, store->newest->id, key, &scratch, &value);
		if (value.failed)
			return -ENOMEM;
		kv_put(store->kv, write, KV_BATCH, key, store_bytes(&value));
		r = store_put_format_of(store, section->batch, write);
		if (r < 0)
			return r;
		section->bytes = key.count + value.count;
	}
	return 0;
}

static int store_put_dict(struct store *store, struct kv_batch *write)
{
	struct generation *newest = store->newest;
	struct dict_mark mark = dict_mark(newest->dict);
	if (memcmp(&mark, &newest->kept, sizeof(mark)) == 0)
		return 0;
	return store_put_additions(store, newest, newest->chunks_count, newest->kept, write);
}

/* Every stream of the group; one that occurs twice is put twice, alike. */
static int store_put_streams(struct store *store, const struct group *group, struct kv_batch *write)
{
	AUTO_BUF value = { 0 };
	uint32_t before = ID_NONE;
	for (uint32_t i = 0; i < group->count; i++) {
		const struct section *section = &group->sections[i];
		uint8_t key_bytes[KEYS_STREAM_BYTES];
		struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
		if (!section->batch || section->stream == before)
			continue;
		before = section->stream;
		const struct stream *stream = &store->streams[section->stream];
		keys_put_stream(section->stream, key_bytes);
		buf_reset(&value);
		record_put_stream(&stream->who, &stream->staged, key, &value);
		if (value.failed)
			return -ENOMEM;
		kv_put(store->kv, write, KV_STREAM, key, store_bytes(&value));
	}
	return 0;
}

static int store_put_counters(struct store *store, struct kv_batch *write)
{
	AUTO_BUF value = { 0 };
	for (uint32_t i = 0; i < store->tenants_count; i++) {
		const struct tenant *tenant = &store->tenants[i];
		struct kv_bytes key = { tenant->name, strlen(tenant->name) };
		if (!tenant->is_staged)
			continue;
		buf_reset(&value);
		record_put_counters(&tenant->staged, key, &value);
		if (value.failed)
			return -ENOMEM;
		kv_put(store->kv, write, KV_COUNTERS, key, store_bytes(&value));
	}
	return 0;
}

static int store_write_group(struct store *store, const struct group *group)
{
	AUTO(kv_batch) write = kv_batch_new();
	int r = write ? store_put_batches(store, group, write) : -ENOMEM;
	r = r < 0 ? r : store_put_dict(store, write);
	r = r < 0 ? r : store_put_streams(store, group, write);
	r = r < 0 ? r : store_put_counters(store, write);
	if (r < 0)
		return r;
	/* Nobody waits for a count of duplicates to be on the disk. */
	return store_write(
	        store, write, group->is_worth_syncing ? KV_SYNC : KV_UNSYNCED, "keeping a group");
}

static void store_swap_seqs(struct stream *stream)
{
	struct seq_set seqs = stream->seqs;
	stream->seqs = stream->staged;
	stream->staged = seqs; /* its memory is for the next group */
}

/* Ends the staging of the group; what was staged is the truth when it was written. */
static void store_unstage(struct store *store, const struct group *group, bool is_written)
{
	for (uint32_t i = 0; i < group->count; i++) {
		const struct section *section = &group->sections[i];
		if (!section->batch || section->stream >= store->streams_count)
			continue;
		struct stream *stream = &store->streams[section->stream];
		if (stream->is_staged && is_written)
			store_swap_seqs(stream);
		stream->is_staged = false;
	}
	pthread_mutex_lock(&store->stats);
	for (uint32_t i = 0; i < store->tenants_count; i++) {
		struct tenant *tenant = &store->tenants[i];
		if (tenant->is_staged && is_written)
			tenant->counters = tenant->staged;
		tenant->is_staged = false;
	}
	pthread_mutex_unlock(&store->stats);
}

static void store_group_is_kept(struct store *store, const struct group *group)
{
	struct generation *newest = store->newest;
	struct dict_mark mark = dict_mark(newest->dict);
	if (memcmp(&mark, &newest->kept, sizeof(mark)) != 0) {
		newest->chunks_count++;
		store_note_additions(store, newest);
	}
	newest->kept = mark;
	newest->series_published = mark.series;
	store_unstage(store, group, true);
	head_sums_begin_notes(&store->head_sums);
	for (uint32_t i = 0; i < group->count; i++) {
		const struct section *section = &group->sections[i];
		if (!section->batch)
			continue;
		uint64_t start_ns = section->batch->start_ns;
		if (record_batch_is_coded(section->batch))
			store_note_format(store, STORE_FORMAT_CODED);
		store_note_late(
		        store, (struct key_batch){ start_ns, section->stream, section->seq });
		head_sums_note(&store->head_sums,
		        (struct key_batch){ start_ns, section->stream, section->seq },
		        section->bytes);
		head_sizes_add(&store->heads,
		        (struct head_size){
		                .from_ns = start_ns - start_ns % store->options.window_ns,
		                .bytes = section->bytes,
		                .batches = 1,
		        });
	}
	head_sums_end_notes(&store->head_sums);

	pthread_mutex_lock(&store->stats);
	for (uint32_t i = 0; i < group->count; i++) {
		if (!group->sections[i].batch)
			continue;
		uint64_t start_ns = group->sections[i].batch->start_ns;
		generation_note_open(newest, start_ns);
		if (!store->has_batches || start_ns < store->first_ns)
			store->first_ns = start_ns;
		if (!store->has_batches || start_ns > store->last_ns)
			store->last_ns = start_ns;
		store->has_batches = true;
	}
	pthread_mutex_unlock(&store->stats);
}

static void store_group_failed(struct store *store, const struct group *group)
{
	gate_lock(&store->gate);
	store_unstage(store, group, false);
	/* A section that fails half way has a staged stream but no batch. */
	for (uint32_t i = 0; i < store->streams_count; i++)
		store->streams[i].is_staged = false;
	store_take_back(store, group->slots_before);
	service_stacks_take_back(store->services);
	for (uint32_t i = 0; i < group->count; i++)
		dict_remap_truncate(group->appends[i].remap, store->newest->kept);
	gate_unlock(&store->gate);
}

static int store_append_group(struct store *store, struct group *group)
{
	gate_lock(&store->gate);
	if (symbols_cache_needs_sweep(store->symbols))
		symbols_cache_sweep(store->symbols);
	int r = store_take_group(store, group);
	gate_unlock(&store->gate);

	if (r == 0 && group->is_worth_writing)
		r = store_write_group(store, group);
	if (r < 0) {
		if (r == -ENOMEM)
			store_set_error(store, "keeping a group: out of memory");
		store_group_failed(store, group);
	} else if (group->is_worth_writing) {
		store_group_is_kept(store, group);
	}
	return r;
}

static void group_reset(struct group *group)
{
	for (uint32_t i = 0; i < group->count; i++)
		batch_free(group->sections[i].batch);
	memset(group->sections, 0, group->count * sizeof(*group->sections));
	group->is_worth_syncing = false;
	group->is_worth_writing = false;
	group->is_full = false;
}

/* Into the newest generation, or when it is full into the next. */
static int store_append_renewing(struct store *store, struct group *group)
{
	int r = store_renew_dict(store);
	if (r < 0)
		return r;
	group->may_renew = dict_is_past(store->newest->dict, STORE_WORN_PART);
	r = store_append_group(store, group);
	if (r != -EAGAIN)
		return r;
	group_reset(group);
	group->may_renew = false;
	r = store_begin_generation(store);
	return r < 0 ? r : store_append_group(store, group);
}

int store_append(struct store *store, struct store_append *appends, uint32_t count)
{
	autofree struct section *sections = calloc((size_t)count + 1, sizeof(*sections));
	struct group group = { .appends = appends, .sections = sections, .count = count };

	pthread_mutex_lock(&store->writer);
	int r = sections ? store_make_writable(store) : -ENOMEM;
	group.slots_before = id_map_count(store->stream_ids);
	if (r == 0)
		r = store_append_renewing(store, &group);
	pthread_mutex_unlock(&store->writer);
	for (uint32_t i = 0; sections && i < count; i++)
		batch_free(sections[i].batch);
	return r;
}
