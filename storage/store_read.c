/*
 * Scanning and summing. A scan goes through the batches of a range in stretches of a few megabytes:
 * inside the gate for one stretch, out for a moment, in again with a new iterator behind the last
 * key. Keys are never changed, so nothing is read twice; what was acknowledged before the scan
 * began is read; of what arrives meanwhile, some.
 *
 * Each record is checked (checksum over key and value, then ids against the dict) before
 * a number of it is used. One that fails is left out and counted.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/hash.h"
#include "storage/store_private.h"
#include "storage/sums.h"

#define STORE_STRETCH_BYTES (4u << 20)
#define STORE_GAP_NS_MIN    (50 * NS_PER_MS) /* what an agent's timer may be late */

void store_read_lock(struct store *store)
{
	gate_enter(&store->gate);
}

void store_read_unlock(struct store *store)
{
	if (!gate_leave(&store->gate) || !symbols_cache_needs_sweep(store->symbols))
		return;
	/* Borrowed tables are given back; when others are still reading, the next one sweeps. */
	if (gate_try_lock(&store->gate)) {
		symbols_cache_sweep(store->symbols);
		gate_unlock(&store->gate);
	}
}

void store_read_error(struct store *store, char *ret_text, size_t text_bytes)
{
	kv_error(store->kv, ret_text, text_bytes);
}

struct dict *store_dict(struct store *store)
{
	return store->dict;
}

int store_find_series(struct store *store, const struct selector *selector, uint32_t **ret_series,
        uint32_t *ret_count)
{
	store_read_lock(store);
	int r = label_index_find(store->index, store->dict, selector, store->series_published,
	        ret_series, ret_count);
	store_read_unlock(store);
	return r;
}

/* ---- walking a range ---- */

struct walk {
	struct store *store;
	uint64_t from_ns;
	uint64_t to_ns;
	const bool *cancelled;
	/* Each record that opened; -EBADMSG makes it a corrupt one, other than 0 ends the walk. */
	int (*visit)(void *owner, struct key_batch key, const struct record_batch *record);
	void *owner;
	uint64_t corrupt;
};

static bool walk_is_cancelled(const struct walk *walk)
{
	return walk->cancelled && __atomic_load_n(walk->cancelled, __ATOMIC_RELAXED);
}

static int walk_record(struct walk *walk, struct kv_bytes key_bytes, struct kv_bytes value)
{
	struct key_batch key;
	struct record_batch record;
	int r = keys_get_batch(key_bytes.bytes, key_bytes.count, &key);
	r = r < 0 ? r : record_get_batch(key_bytes, value, &record);
	uint64_t end_ns;
	if (r == 0 && (key.stream >= walk->store->streams_count ||
	                      __builtin_add_overflow(key.start_ns, record.duration_ns, &end_ns)))
		r = -EBADMSG;
	r = r < 0 ? r : walk->visit(walk->owner, key, &record);
	if (r == -EBADMSG || r == -EPROTONOSUPPORT) {
		walk->corrupt++;
		walk->store->corrupt++;
		r = 0;
	}
	return r;
}

/*
 * Reads from `at` on, and leaves behind it where to go on. *ret_is_done: the range is read.
 * Inside the gate.
 */
static int walk_stretch(struct walk *walk, struct buf *at, bool *ret_is_done)
{
	uint8_t to[KEYS_TIME_BYTES];
	keys_put_time(walk->to_ns, to);
	AUTO(kv_iterator) it = kv_iterator_new(walk->store->kv, KV_BATCH,
	        (struct kv_bytes){ at->bytes, at->count }, (struct kv_bytes){ to, sizeof(to) });
	if (!it)
		return -ENOMEM;

	uint64_t bytes = 0;
	int r = 0;
	for (; r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct kv_bytes value = kv_iterator_value(it);
		if (walk_is_cancelled(walk))
			return -ECANCELED;
		r = walk_record(walk, key, value);
		bytes += key.count + value.count;
		/* There is no point in a break when the caller keeps the gate to himself. */
		if (bytes >= STORE_STRETCH_BYTES && gate_is_outermost(&walk->store->gate)) {
			/* The least key behind this one is this one and a zero byte. */
			buf_reset(at);
			buf_put(at, key.bytes, key.count);
			buf_put_u8(at, 0);
			return r ? r : at->failed ? -ENOMEM : 0;
		}
	}
	*ret_is_done = true;
	return r ? r : kv_iterator_result(it);
}

static int walk_run(struct walk *walk)
{
	AUTO_BUF at = { 0 };
	uint8_t from[KEYS_TIME_BYTES];
	bool is_done = false;
	int r = 0;

	if (walk->from_ns >= walk->to_ns)
		return 0;
	keys_put_time(walk->from_ns, from);
	buf_put(&at, from, sizeof(from));
	if (at.failed)
		return -ENOMEM;
	while (r == 0 && !is_done) {
		store_read_lock(walk->store);
		r = walk_stretch(walk, &at, &is_done);
		store_read_unlock(walk->store);
	}
	return r;
}

/* ---- which series are asked for ---- */

/* place[series] is its index in the array that was asked for, plus one. */
struct places {
	uint32_t *place;
	uint32_t count;
};

static int places_init(struct places *places, const uint32_t *series, uint32_t series_count)
{
	for (uint32_t i = 1; i < series_count; i++)
		if (series[i - 1] >= series[i])
			return -EINVAL;
	places->count = series_count ? series[series_count - 1] + 1 : 0;
	places->place = calloc((size_t)places->count + 1, sizeof(*places->place));
	if (!places->place)
		return -ENOMEM;
	for (uint32_t i = 0; i < series_count; i++)
		places->place[series[i]] = i + 1;
	return 0;
}

/* The index, or ID_NONE. */
static inline uint32_t places_find(const struct places *places, uint32_t series)
{
	return series < places->count ? places->place[series] - 1 : ID_NONE;
}

/* Does the record's directory name any of them? */
static bool places_meet(const struct places *places, const struct record_batch *record)
{
	struct reader reader = record->series;
	uint64_t series = 0;
	for (uint32_t i = 0; i < record->series_count; i++) {
		series += reader_varint(&reader);
		if (series >= places->count)
			return false;
		if (places->place[series])
			return true;
	}
	return false;
}

/* ---- scanning ---- */

struct scan {
	struct store *store;
	bool is_limited;
	struct places places;
	struct batch *batch;
	struct buf scratch;
	store_visit visit;
	void *owner;
};

static void scan_limit(const struct scan *scan, struct batch *batch)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < batch->rows_count; i++)
		if (places_find(&scan->places, batch->rows[i].series) != ID_NONE)
			batch->rows[kept++] = batch->rows[i];
	batch->rows_count = kept;

	kept = 0;
	for (uint32_t i = 0; i < batch->coverage_count; i++)
		if (places_find(&scan->places, batch->coverage[i].series) != ID_NONE)
			batch->coverage[kept++] = batch->coverage[i];
	batch->coverage_count = kept;

	kept = 0;
	for (uint32_t i = 0; i < batch->losses_count; i++)
		if (batch->losses[i].series == SERIES_NONE ||
		        places_find(&scan->places, batch->losses[i].series) != ID_NONE)
			batch->losses[kept++] = batch->losses[i];
	batch->losses_count = kept;
}

/* What a visitor returns ends the scan whatever it is: it must not be taken for a bad record. */
#define SCAN_STOPPED 1

struct scan_visit {
	struct scan scan;
	int result;
};

static int scan_record(void *owner, struct key_batch key, const struct record_batch *record)
{
	struct scan_visit *visit = owner;
	struct scan *scan = &visit->scan;

	batch_reset(scan->batch);
	if (scan->is_limited && !record->has_loss_of_none && !places_meet(&scan->places, record)) {
		scan->batch->start_ns = key.start_ns;
		scan->batch->duration_ns = record->duration_ns;
	} else {
		int r = record_unpack_batch(record, key.start_ns, &scan->scratch, scan->batch);
		if (r < 0)
			return r;
		if (scan->is_limited)
			scan_limit(scan, scan->batch);
	}

	const struct record_stream *who = &scan->store->streams[key.stream].who;
	struct store_stream stream = {
		.uuid = who->uuid,
		.epoch = who->epoch,
		.shard = who->shard,
		.seq = key.seq,
		.tenant = who->tenant,
	};
	visit->result = scan->visit(scan->owner, &stream, scan->batch);
	return visit->result ? SCAN_STOPPED : 0;
}

int store_scan(struct store *store, uint64_t from_ns, uint64_t to_ns, const uint32_t *series,
        uint32_t series_count, store_visit visit, void *owner)
{
	struct scan_visit scan = {
		.scan = { .store = store, .is_limited = series, .visit = visit, .owner = owner },
	};
	struct walk walk = {
		.store = store,
		.from_ns = from_ns,
		.to_ns = to_ns,
		.visit = scan_record,
		.owner = &scan,
	};

	int r = series ? places_init(&scan.scan.places, series, series_count) : 0;
	scan.scan.batch = batch_new(store->dict);
	if (r == 0 && !scan.scan.batch)
		r = -ENOMEM;
	r = r < 0 ? r : walk_run(&walk);
	batch_free(scan.scan.batch);
	buf_fini(&scan.scan.scratch);
	free(scan.scan.places.place);
	return r == SCAN_STOPPED ? scan.result : r;
}

/* ---- summing ---- */

/* One who watches: all streams of a uuid and tenant. */
struct observer {
	bool is_matched;
	bool is_seen;
	uint64_t intervals;
	uint64_t covered_until_ns;
	uint64_t missing_ns;
	uint64_t first_ns;
	uint64_t last_ns;
	uint64_t lost[LOSS_REASON_MAX + 1]; /* nobody's */
};

/* What is known of one of the series asked for. */
struct summed_series {
	uint64_t period;
	uint32_t group;    /* index into the distinct groups */
	uint32_t instance; /* string id of the label's value, 0 for none */
	bool is_recorded;
	bool is_met;
	uint64_t coverage_ns;
};

struct summing {
	struct store *store;
	const struct store_sum_options *options;
	struct places places;
	struct summed_series *series;
	uint32_t *groups; /* distinct, ascending */
	uint32_t groups_count;
	struct sums *sums;

	struct id_map *observer_ids;
	struct observer *observers;
	uint32_t observers_capacity;
	uint32_t *observer_of; /* by stream: its observer plus one */
	uint32_t observer_of_count;

	struct batch *batch;
	struct buf scratch;
	struct completeness completeness;
};

static void summing_fini(struct summing *summing)
{
	free(summing->places.place);
	free(summing->series);
	free(summing->groups);
	sums_free(summing->sums);
	id_map_free(summing->observer_ids);
	free(summing->observers);
	free(summing->observer_of);
	batch_free(summing->batch);
	buf_fini(&summing->scratch);
}

/* Adds, or says that the sum is past 64 bits. */
static int sum_add(uint64_t *sum, uint64_t value)
{
	return __builtin_add_overflow(*sum, value, sum) ? -EOVERFLOW : 0;
}

static int summing_compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int summing_init_groups(struct summing *summing)
{
	const struct store_sum_options *options = summing->options;
	uint32_t count = options->series_count;
	summing->groups = malloc(((size_t)count + 1) * sizeof(*summing->groups));
	if (!summing->groups)
		return -ENOMEM;
	if (count)
		memcpy(summing->groups, options->groups, count * sizeof(*summing->groups));
	qsort(summing->groups, count, sizeof(*summing->groups), summing_compare_ids);
	for (uint32_t i = 0; i < count; i++)
		if (i == 0 || summing->groups[i] != summing->groups[summing->groups_count - 1])
			summing->groups[summing->groups_count++] = summing->groups[i];
	return 0;
}

/* What the dict says of each series, so that the walk need not ask it per row. In the gate. */
static int summing_init_series(struct summing *summing)
{
	const struct store_sum_options *options = summing->options;
	const struct dict *dict = summing->store->dict;
	uint32_t instance = dict_find_string(dict, "instance", 8);
	uint32_t recorded = dict_find_string(dict, "recorded", 8);
	uint32_t yes = dict_find_string(dict, "true", 4);
	uint32_t known = dict_mark(dict).series;

	for (uint32_t i = 0; i < options->series_count; i++) {
		uint32_t id = options->series[i];
		struct summed_series *series = &summing->series[i];
		if (id >= known)
			return -EINVAL;
		const uint32_t *group = bsearch(&options->groups[i], summing->groups,
		        summing->groups_count, sizeof(*summing->groups), summing_compare_ids);
		series->group = (uint32_t)(group - summing->groups);
		series->period = dict_get_series(dict, id)->period;
		if (instance != ID_NONE)
			series->instance = dict_label_value(dict, id, instance);
		if (recorded != ID_NONE && yes != ID_NONE)
			series->is_recorded = dict_label_value(dict, id, recorded) == yes;
	}
	return 0;
}

static int summing_init(struct summing *summing)
{
	const struct store_sum_options *options = summing->options;
	struct store *store = summing->store;
	int r = places_init(&summing->places, options->series, options->series_count);
	r = r < 0 ? r : summing_init_groups(summing);
	if (r < 0)
		return r;
	summing->series = calloc((size_t)options->series_count + 1, sizeof(*summing->series));
	summing->observer_ids = id_map_new(UINT32_MAX - 1);
	summing->batch = batch_new(store->dict);
	if (!summing->series || !summing->observer_ids || !summing->batch)
		return -ENOMEM;

	store_read_lock(store);
	uint32_t nodes_count = dict_mark(store->dict).nodes;
	r = summing_init_series(summing);
	store_read_unlock(store);
	if (r < 0)
		return r;

	uint64_t fixed = options->series_count * (sizeof(*summing->series) + 8) +
	                 (uint64_t)summing->places.count * sizeof(*summing->places.place);
	if (fixed > options->memory_max)
		return -E2BIG;
	summing->sums = sums_new(
	        summing->groups, summing->groups_count, nodes_count, options->memory_max - fixed);
	return summing->sums ? 0 : -ENOMEM;
}

/* Which observer a stream belongs to, made when he is new. */
static int summing_observer(
        struct summing *summing, uint32_t stream, struct observer **ret_observer)
{
	if (stream >= summing->observer_of_count) {
		uint32_t count = summing->store->streams_count;
		uint32_t *grown = realloc(summing->observer_of, count * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + summing->observer_of_count, 0,
		        (count - summing->observer_of_count) * sizeof(*grown));
		summing->observer_of = grown;
		summing->observer_of_count = count;
	}
	if (summing->observer_of[stream]) {
		*ret_observer = &summing->observers[summing->observer_of[stream] - 1];
		return 0;
	}

	const struct record_stream *who = &summing->store->streams[stream].who;
	uint8_t key[KEYS_AGENT_BYTES_MAX];
	size_t key_count = keys_put_agent(&who->uuid, who->tenant, key);
	uint32_t count = id_map_count(summing->observer_ids);
	if (count == summing->observers_capacity) {
		uint32_t capacity = count ? count * 2 : 16;
		struct observer *observers = realloc(
		        summing->observers, capacity * sizeof(*observers));
		if (!observers)
			return -ENOMEM;
		summing->observers = observers;
		summing->observers_capacity = capacity;
	}
	uint32_t id;
	bool added;
	int r = id_map_intern(summing->observer_ids, hash128_bytes(key, key_count), &id, &added);
	if (r < 0)
		return r;
	if (added)
		summing->observers[id] = (struct observer){ 0 };
	summing->observer_of[stream] = id + 1;
	*ret_observer = &summing->observers[id];
	return 0;
}

/* Batches of one observer come in order of their start, several of the same start included. */
static void observer_see(struct observer *observer, uint64_t start_ns, uint64_t duration_ns)
{
	uint64_t end_ns = start_ns + duration_ns; /* walk_record() saw that it fits */
	observer->intervals++;
	if (!observer->is_seen) {
		observer->is_seen = true;
		observer->first_ns = start_ns;
		observer->covered_until_ns = start_ns;
	}
	if (start_ns > observer->covered_until_ns &&
	        start_ns - observer->covered_until_ns > STORE_GAP_NS_MIN)
		observer->missing_ns += start_ns - observer->covered_until_ns;
	if (end_ns > observer->covered_until_ns)
		observer->covered_until_ns = end_ns;
	if (end_ns > observer->last_ns)
		observer->last_ns = end_ns;
}

static void summing_meet(struct summing *summing, struct summed_series *series)
{
	struct completeness *to = &summing->completeness;
	if (series->is_met)
		return;
	series->is_met = true;
	to->series++;
	to->has_recorded |= series->is_recorded;
	if (to->period_min == 0 || series->period < to->period_min)
		to->period_min = series->period;
	if (series->period > to->period_max)
		to->period_max = series->period;
}

static int summing_add_rows(struct summing *summing, bool *is_matched)
{
	const struct batch *batch = summing->batch;
	uint32_t id = SERIES_NONE;
	struct summed_series *series = NULL;
	uint64_t value = 0;
	uint64_t samples = 0;

	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		uint64_t in_unit;
		if (row->series != id) {
			id = row->series;
			uint32_t place = places_find(&summing->places, id);
			series = place == ID_NONE ? NULL : &summing->series[place];
			if (series) {
				summing_meet(summing, series);
				*is_matched = true;
			}
		}
		if (!series)
			continue;
		if (__builtin_mul_overflow(row->value, series->period, &in_unit) ||
		        __builtin_add_overflow(value, in_unit, &value) ||
		        __builtin_add_overflow(samples, row->value, &samples))
			return -EOVERFLOW;
		int r = sums_add(summing->sums, series->group, row->node, in_unit);
		if (r < 0)
			return r;
	}
	int r = sum_add(&summing->completeness.value, value);
	return r < 0 ? r : sum_add(&summing->completeness.samples, samples);
}

static int summing_add_coverage(struct summing *summing, bool *is_matched)
{
	const struct batch *batch = summing->batch;
	int r = 0;
	for (uint32_t i = 0; i < batch->coverage_count && r == 0; i++) {
		uint32_t place = places_find(&summing->places, batch->coverage[i].series);
		if (place == ID_NONE)
			continue;
		struct summed_series *series = &summing->series[place];
		summing_meet(summing, series);
		*is_matched = true;
		r = sum_add(&series->coverage_ns, batch->coverage[i].ns);
		r = r < 0 ? r : sum_add(&summing->completeness.coverage_ns, batch->coverage[i].ns);
	}
	return r;
}

static int summing_add_losses(struct summing *summing, struct observer *observer, bool *is_matched)
{
	const struct batch *batch = summing->batch;
	int r = 0;
	for (uint32_t i = 0; i < batch->losses_count && r == 0; i++) {
		const struct loss *loss = &batch->losses[i];
		uint32_t reason = loss->reason <= LOSS_REASON_MAX ? loss->reason : 0;
		if (loss->series == SERIES_NONE) {
			r = sum_add(&observer->lost[reason], loss->count);
		} else if (places_find(&summing->places, loss->series) != ID_NONE) {
			*is_matched = true;
			r = sum_add(&summing->completeness.lost[reason], loss->count);
		}
	}
	return r;
}

static int summing_record(void *owner, struct key_batch key, const struct record_batch *record)
{
	struct summing *summing = owner;
	bool is_met = places_meet(&summing->places, record);
	bool is_matched = false;

	batch_reset(summing->batch);
	if (is_met || record->has_loss_of_none) {
		int r = record_unpack_batch(
		        record, key.start_ns, &summing->scratch, summing->batch);
		if (r < 0)
			return r;
	}
	/* From here on the record is good, and whatever goes wrong is not its fault. */
	struct observer *observer;
	int r = summing_observer(summing, key.stream, &observer);
	if (r < 0)
		return r;
	observer_see(observer, key.start_ns, record->duration_ns);
	r = summing_add_losses(summing, observer, &is_matched);
	if (r == 0 && is_met) {
		r = summing_add_rows(summing, &is_matched);
		r = r < 0 ? r : summing_add_coverage(summing, &is_matched);
	}
	observer->is_matched |= is_matched;
	return r;
}

static int summing_finish_observers(struct summing *summing)
{
	struct completeness *to = &summing->completeness;
	uint32_t count = id_map_count(summing->observer_ids);
	int r = 0;
	assert(count == 0 || summing->observers);
	for (uint32_t i = 0; i < count && r == 0; i++) {
		const struct observer *observer = &summing->observers[i];
		if (!observer->is_matched)
			continue;
		to->observers++;
		to->intervals += observer->intervals;
		r = sum_add(&to->missing_ns, observer->missing_ns);
		for (int j = 0; j <= LOSS_REASON_MAX && r == 0; j++)
			r = sum_add(&to->lost[j], observer->lost[j]);
		if (to->observers == 1 || observer->first_ns < to->first_ns)
			to->first_ns = observer->first_ns;
		if (observer->last_ns > to->last_ns)
			to->last_ns = observer->last_ns;
	}
	return r;
}

/* Distinct values of the label instance, of series that were met. */
static int summing_count_instances(struct summing *summing)
{
	uint32_t count = 0;
	uint32_t series_count = summing->options->series_count;
	autofree uint32_t *instances = malloc(((size_t)series_count + 1) * sizeof(*instances));
	if (!instances)
		return -ENOMEM;
	for (uint32_t i = 0; i < series_count; i++)
		if (summing->series[i].is_met && summing->series[i].instance)
			instances[count++] = summing->series[i].instance;
	qsort(instances, count, sizeof(*instances), summing_compare_ids);
	for (uint32_t i = 0; i < count; i++)
		summing->completeness.instances += i == 0 || instances[i] != instances[i - 1];
	return 0;
}

static int summing_take_coverage(struct summing *summing, struct store_sum *sum)
{
	uint32_t series_count = summing->options->series_count;
	sum->coverage = calloc((size_t)series_count + 1, sizeof(*sum->coverage));
	if (!sum->coverage)
		return -ENOMEM;
	for (uint32_t i = 0; i < series_count; i++)
		if (summing->series[i].coverage_ns)
			sum->coverage[sum->coverage_count++] = (struct coverage){
				.series = summing->options->series[i],
				.ns = summing->series[i].coverage_ns,
			};
	return 0;
}

int store_sum(
        struct store *store, const struct store_sum_options *options, struct store_sum *ret_sum)
{
	struct summing summing = { .store = store, .options = options };
	struct store_sum sum = { 0 };
	struct walk walk = {
		.store = store,
		.from_ns = options->from_ns,
		.to_ns = options->to_ns,
		.cancelled = options->cancelled,
		.visit = summing_record,
		.owner = &summing,
	};

	int r = summing_init(&summing);
	r = r < 0 ? r : walk_run(&walk);
	r = r < 0 ? r : summing_finish_observers(&summing);
	r = r < 0 ? r : summing_count_instances(&summing);
	r = r < 0 ? r : summing_take_coverage(&summing, &sum);
	r = r < 0 ? r : sums_take_rows(summing.sums, &sum.rows, &sum.rows_count);
	if (r == 0) {
		summing.completeness.corrupt = walk.corrupt;
		sum.completeness = summing.completeness;
		*ret_sum = sum;
	} else {
		store_sum_fini(&sum);
	}
	summing_fini(&summing);
	return r;
}

void store_sum_fini(struct store_sum *sum)
{
	free(sum->rows);
	free(sum->coverage);
	*sum = (struct store_sum){ 0 };
}
