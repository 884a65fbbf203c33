/*
 * The sums of a side. A sum takes the sums of a window that it wants as a whole, where their groups
 * tell apart what it wants told apart; otherwise detail. Whatever says who was there and how long
 * (members, watchers) is kept apart from the rows, and exact in both cases.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/hash.h"
#include "storage/store_sum_private.h"

static void summing_part_fini(struct summing_part *part)
{
	free(part->places.place);
	free(part->units);
	free(part->keys_of);
	sums_free(part->sums);
}

void summing_fini(struct summing *summing)
{
	for (uint32_t i = 0; summing->parts && i < summing->options->match->parts_count; i++)
		summing_part_fini(&summing->parts[i]);
	free(summing->parts);
	free(summing->series);
	free(summing->groups);
	id_map_free(summing->identities);
	id_map_free(summing->observer_ids);
	free(summing->observers);
	free(summing->observer_of);
	buf_fini(&summing->pending);
	stack_sums_free(summing->stacks);
	id_map_free(summing->key_ids);
	buf_fini(&summing->keys);
	buf_fini(&summing->choices);
	buf_fini(&summing->damaged);
	plan_fini(&summing->plan);
}

void summing_turn_to(struct summing *summing, struct generation *generation)
{
	const struct store_match *match = summing->options->match;
	summing->generation = generation;
	summing->part = &summing->nothing;
	for (uint32_t i = 0; i < match->parts_count; i++)
		if (match->parts[i].generation == generation->id)
			summing->part = &summing->parts[i];
}

static int summing_compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

int summing_compare_units(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static int summing_init_groups(struct summing *summing)
{
	const struct store_sum_options *options = summing->options;
	uint32_t count = options->match->series_count;
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

/*
 * A number for what is the same in every part; without parts to be joined, ids say it. Numbers of
 * series and of instances are taken from the same map: only equality counts.
 */
static int summing_identify(struct summing *summing, struct hash128 hash, uint32_t *ret_number)
{
	bool is_added;
	return id_map_intern(summing->identities, hash, ret_number, &is_added);
}

static int summing_identify_instance(
        struct summing *summing, const struct dict *dict, uint32_t value, uint32_t *ret_number)
{
	size_t count;
	if (!summing->identities || value == 0) {
		*ret_number = value;
		return 0;
	}
	const char *bytes = dict_get_string(dict, value, &count);
	int r = summing_identify(summing, hash128_bytes(bytes, count), ret_number);
	if (r == 0)
		++*ret_number; /* 0 is none */
	return r;
}

/* The labels that are asked for each series of a part. */
struct summing_labels {
	uint32_t instance;
	uint32_t recorded;
	uint32_t yes;
	struct sum_labels units;
};

static int summing_init_one(struct summing *summing, const struct summing_labels *labels,
        const struct dict *dict, uint32_t id, uint32_t place)
{
	struct summed_series *series = &summing->series[place];
	const uint32_t *group = bsearch(&summing->options->groups[place], summing->groups,
	        summing->groups_count, sizeof(*summing->groups), summing_compare_ids);
	uint32_t instance = 0;
	int r = 0;
	series->group = (uint32_t)(group - summing->groups);
	series->period = dict_get_series(dict, id)->period;
	series->same = place;
	if (labels->instance != ID_NONE)
		instance = dict_label_value(dict, id, labels->instance);
	if (labels->recorded != ID_NONE && labels->yes != ID_NONE)
		series->is_recorded = dict_label_value(dict, id, labels->recorded) == labels->yes;
	if (summing->identities)
		r = summing_identify(summing, dict_series_hash(dict, id), &series->same);
	return r < 0 ? r : summing_identify_instance(summing, dict, instance, &series->instance);
}

/* What the dict says of each series, so that the walk need not ask it per row. In the gate. */
static int summing_init_series(struct summing *summing, struct summing_part *part)
{
	const struct store_match_part *of = part->places.part;
	const struct dict *dict = of->dict;
	struct summing_labels labels = {
		.instance = dict_find_string(dict, "instance", 8),
		.recorded = dict_find_string(dict, "recorded", 8),
		.yes = dict_find_string(dict, "true", 4),
		.units = sum_labels_find(dict),
	};
	uint32_t known = dict_mark(dict).series;
	int r = 0;
	for (uint32_t i = 0; i < of->series_count && r == 0; i++) {
		uint32_t id = of->series[i];
		if (id >= known)
			return -EINVAL;
		r = summing_init_one(summing, &labels, dict, id, of->first + i);
		part->units[i] = (uint64_t)sum_labels_service(&labels.units, dict, id) << 32 |
		                 dict_get_series(dict, id)->type;
	}
	if (r < 0)
		return r;

	qsort(part->units, of->series_count, sizeof(*part->units), summing_compare_units);
	for (uint32_t i = 0; i < of->series_count; i++)
		if (i == 0 || part->units[i] != part->units[part->units_count - 1])
			part->units[part->units_count++] = part->units[i];
	return 0;
}

static int summing_init_part(
        struct summing *summing, struct summing_part *part, const struct store_match_part *of)
{
	int r = places_init(&part->places, of);
	part->units = malloc(((size_t)of->series_count + 1) * sizeof(*part->units));
	if (r == 0 && !part->units)
		r = -ENOMEM;
	store_read_lock(summing->store);
	r = r < 0 ? r : summing_init_series(summing, part);
	store_read_unlock(summing->store);
	return r;
}

/* What a side needs before it has any sums. */
static uint64_t summing_fixed_bytes(const struct summing *summing)
{
	const struct store_match *match = summing->options->match;
	uint64_t bytes = match->series_count * (sizeof(*summing->series) + 16);
	for (uint32_t i = 0; i < match->parts_count; i++)
		bytes += (uint64_t)summing->parts[i].places.count * sizeof(uint32_t);
	return bytes;
}

static int summing_init_sums(struct summing *summing)
{
	const struct store_match *match = summing->options->match;
	for (uint32_t i = 0; i < match->parts_count; i++) {
		const struct store_match_part *of = &match->parts[i];
		store_read_lock(summing->store);
		uint32_t nodes_count = dict_mark(of->dict).nodes;
		store_read_unlock(summing->store);
		if (of->series_count == 0)
			continue;
		summing->parts[i].sums = sums_new(
		        summing->groups, summing->groups_count, nodes_count, &summing->pass->bound);
		if (!summing->parts[i].sums)
			return -ENOMEM;
	}
	return 0;
}

int pass_init_sums(struct pass *pass)
{
	struct sums_bound *bound = &pass->bound;
	int r = 0;
	for (uint32_t i = 0; i < pass->sides_count; i++)
		bound->memory += summing_fixed_bytes(&pass->sides[i].summing);
	if (bound->memory > bound->memory_max)
		return -E2BIG;
	for (uint32_t i = 0; i < pass->sides_count && r == 0; i++)
		r = summing_init_sums(&pass->sides[i].summing);
	return r;
}

int summing_init(struct summing *summing)
{
	const struct store_match *match = summing->options->match;
	int r = summing_init_groups(summing);
	if (r < 0)
		return r;
	summing->parts = calloc((size_t)match->parts_count + 1, sizeof(*summing->parts));
	summing->series = calloc((size_t)match->series_count + 1, sizeof(*summing->series));
	summing->observer_ids = id_map_new(UINT32_MAX - 1);
	summing->key_ids = id_map_new(UINT32_MAX - 1);
	if (!summing->parts || !summing->series || !summing->observer_ids || !summing->key_ids)
		return -ENOMEM;
	if (match->parts_count > 1) {
		summing->identities = id_map_new(UINT32_MAX - 1);
		if (!summing->identities)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < match->parts_count && r == 0; i++)
		r = summing_init_part(summing, &summing->parts[i], &match->parts[i]);
	return r;
}

int summing_observer(struct summing *summing, uint32_t stream, struct observer **ret_observer)
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

int observer_see(struct observer *observer, const struct pending *pending)
{
	uint64_t start_ns = pending->start_ns;
	uint64_t end_ns = start_ns + pending->duration_ns; /* was seen to fit */
	if (!observer->is_seen) {
		observer->is_seen = true;
		observer->first_ns = start_ns;
		observer->covered_until_ns = start_ns;
	}
	if (store_is_gap(observer->covered_until_ns, start_ns))
		observer->missing_ns += start_ns - observer->covered_until_ns;
	if (end_ns > observer->covered_until_ns)
		observer->covered_until_ns = end_ns;
	if (end_ns > observer->last_ns)
		observer->last_ns = end_ns;
	return sum_add(&observer->intervals, pending->intervals);
}

void summing_meet(struct summing *summing, struct summed_series *series)
{
	struct completeness *to = &summing->completeness;
	if (series->is_met)
		return;
	series->is_met = true;
	to->has_recorded |= series->is_recorded;
	if (to->period_min == 0 || series->period < to->period_min)
		to->period_min = series->period;
	if (series->period > to->period_max)
		to->period_max = series->period;
}

static int summing_add_series(struct summing *summing, const struct summed_series *series,
        const struct row *rows, uint32_t count)
{
	int r = 0;
	if (!summing->steps)
		return sums_add_rows(
		        summing->part->sums, series->group, rows, count, series->period);
	for (uint32_t i = 0; i < count && r == 0; i++) {
		uint64_t value;
		if (__builtin_mul_overflow(rows[i].value, series->period, &value))
			return -EOVERFLOW;
		r = steps_add_row(summing, series->group, rows[i].node, value);
	}
	return r;
}

/* Rows of one series, which come one behind the other. */
static int summing_add_run(struct summing *summing, struct summed_series *series,
        const struct row *rows, uint32_t count)
{
	struct completeness *to = &summing->completeness;
	uint64_t samples = 0;
	uint64_t value;
	int r = 0;
	summing_meet(summing, series);
	summing_note_resolution(summing, 0);
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = sum_add(&samples, rows[i].value);
	if (r == 0 && __builtin_mul_overflow(samples, series->period, &value))
		r = -EOVERFLOW;
	r = r < 0 ? r : sum_add(&to->value, value);
	r = r < 0 ? r : sum_add(&to->samples, samples);
	return r < 0 ? r : summing_add_series(summing, series, rows, count);
}

static int summing_add_rows(struct summing *summing, bool *is_matched)
{
	const struct batch *batch = summing->pass->batch;
	int r = 0;
	for (uint32_t first = 0, end; first < batch->rows_count && r == 0; first = end) {
		uint32_t id = batch->rows[first].series;
		struct summed_series *series = summing_find(summing, id);
		for (end = first + 1; end < batch->rows_count && batch->rows[end].series == id;)
			end++;
		if (!series)
			continue;
		*is_matched = true;
		r = summing_add_run(summing, series, batch->rows + first, end - first);
	}
	return r;
}

static int summing_add_coverage(struct summing *summing, bool *is_matched)
{
	const struct batch *batch = summing->pass->batch;
	int r = 0;
	for (uint32_t i = 0; i < batch->coverage_count && r == 0; i++) {
		uint32_t place = places_find(&summing->part->places, batch->coverage[i].series);
		if (place == ID_NONE)
			continue;
		struct summed_series *series = &summing->series[place];
		summing_meet(summing, series);
		*is_matched = true;
		if (summing->steps)
			r = steps_add_coverage(summing, series->group, batch->coverage[i].ns);
		r = r < 0 ? r : sum_add(&series->coverage_ns, batch->coverage[i].ns);
		r = r < 0 ? r : sum_add(&summing->completeness.coverage_ns, batch->coverage[i].ns);
	}
	return r;
}

int summing_add_loss(struct summing *summing, uint64_t period, uint32_t reason, uint64_t count)
{
	struct completeness *to = &summing->completeness;
	uint64_t value;
	if (loss_is_lost(reason, true))
		return sum_add(&to->lost[reason <= LOSS_REASON_MAX ? reason : 0], count);
	if (__builtin_mul_overflow(count, period, &value))
		return -EOVERFLOW;
	int r = sum_add(&to->value_capped, value);
	return r < 0 ? r : sum_add(&to->samples_capped, count);
}

static int summing_add_losses(struct summing *summing, struct observer *observer, bool *is_matched)
{
	const struct batch *batch = summing->pass->batch;
	int r = 0;
	for (uint32_t i = 0; i < batch->losses_count && r == 0; i++) {
		const struct loss *loss = &batch->losses[i];
		uint32_t reason = loss->reason <= LOSS_REASON_MAX ? loss->reason : 0;
		const struct summed_series *series = NULL;
		if (loss->series == SERIES_NONE)
			r = sum_add(&observer->lost[reason], loss->count);
		else
			series = summing_find(summing, loss->series);
		if (!series)
			continue;
		*is_matched = true;
		r = summing_add_loss(summing, series->period, loss->reason, loss->count);
	}
	return r;
}

int summing_add_record(struct summing *summing, struct key_batch key,
        const struct record_batch *record, bool is_met)
{
	bool is_matched = false;
	struct observer *observer;
	int r = summing_observer(summing, key.stream, &observer);
	if (r < 0)
		return r;
	struct pending pending = { key.start_ns, record->duration_ns, 1,
		(uint32_t)(observer - summing->observers) };
	r = summing->is_pending ? summing_put_pending(summing, &pending)
	                        : observer_see(observer, &pending);
	r = r < 0 ? r : summing_add_losses(summing, observer, &is_matched);
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
	bool is_seen = false;
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
		if (observer->is_seen && (!is_seen || observer->first_ns < to->first_ns))
			to->first_ns = observer->first_ns;
		if (observer->last_ns > to->last_ns)
			to->last_ns = observer->last_ns;
		is_seen |= observer->is_seen;
	}
	return r;
}

/* How many distinct numbers there are. */
static uint32_t summing_count_distinct(uint32_t *numbers, uint32_t count)
{
	uint32_t distinct = 0;
	qsort(numbers, count, sizeof(*numbers), summing_compare_ids);
	for (uint32_t i = 0; i < count; i++)
		distinct += i == 0 || numbers[i] != numbers[i - 1];
	return distinct;
}

/* Of series that were met: how many they are, and distinct values of the label instance. */
static int summing_count_met(struct summing *summing)
{
	uint32_t count = 0;
	uint32_t met = 0;
	uint32_t series_count = summing->options->match->series_count;
	autofree uint32_t *numbers = malloc(((size_t)series_count + 1) * sizeof(*numbers));
	if (!numbers)
		return -ENOMEM;
	for (uint32_t i = 0; i < series_count; i++)
		if (summing->series[i].is_met)
			numbers[met++] = summing->series[i].same;
	summing->completeness.series = summing_count_distinct(numbers, met);
	for (uint32_t i = 0; i < series_count; i++)
		if (summing->series[i].is_met && summing->series[i].instance)
			numbers[count++] = summing->series[i].instance;
	summing->completeness.instances = summing_count_distinct(numbers, count);
	return 0;
}

static int summing_take(struct summing *summing, struct store_sum *sum)
{
	const struct store_match *match = summing->options->match;
	sum->coverage_ns = calloc((size_t)match->series_count + 1, sizeof(*sum->coverage_ns));
	sum->parts = calloc((size_t)match->parts_count + 1, sizeof(*sum->parts));
	if (!sum->coverage_ns || !sum->parts)
		return -ENOMEM;
	for (uint32_t i = 0; i < match->series_count; i++)
		sum->coverage_ns[i] = summing->series[i].coverage_ns;
	sum->parts_count = match->parts_count;
	int r = 0;
	for (uint32_t i = 0; i < match->parts_count && r == 0; i++)
		if (summing->parts[i].sums)
			r = summing->options->takes_runs
			            ? sums_take_runs(summing->parts[i].sums, &sum->parts[i])
			            : sums_take_rows(summing->parts[i].sums, &sum->parts[i].rows,
			                      &sum->parts[i].rows_count);
	return r;
}

/* What the side comes to, when all was read. */
static int summing_finish(
        struct summing *summing, const struct walk *walk, struct store_sum *ret_sum)
{
	int r = summing_finish_observers(summing);
	r = r < 0 ? r : summing_count_met(summing);
	r = r < 0 ? r : summing_take(summing, ret_sum);
	if (r < 0)
		return r;
	summing->completeness.corrupt = walk->corrupt;
	summing->completeness.corrupt_replaced = walk->replaced;
	summing->completeness.unreadable_count = walk->unreadable_count;
	memcpy(summing->completeness.unreadable, walk->unreadable, sizeof(walk->unreadable));
	ret_sum->completeness = summing->completeness;
	return 0;
}

int store_sum_sides(struct store *store, const struct store_sum_options *options, uint32_t count,
        struct store_sum *ret_sums)
{
	struct store_sum sums[STORE_SUM_SIDES_MAX] = { 0 };
	struct pass pass = { 0 };
	assert(count > 0 && count <= STORE_SUM_SIDES_MAX);
	for (uint32_t i = 0; i < count; i++) {
		pass.sides[i].summing.options = &options[i];
		pass.sides[i].walk = (struct walk){
			.from_ns = options[i].from_ns,
			.to_ns = options[i].to_ns,
			.read_ns = options[i].read_ns,
			.at = { .start_ns = options[i].from_ns },
		};
	}
	int r = pass_init(&pass, store, count);
	r = r < 0 ? r : pass_init_sums(&pass);
	r = r < 0 ? r : pass_run(&pass);
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = summing_finish(&pass.sides[i].summing, &pass.sides[i].walk, &sums[i]);
	for (uint32_t i = 0; i < count; i++) {
		if (r == 0)
			ret_sums[i] = sums[i];
		else
			store_sum_fini(&sums[i]);
	}
	pass_fini(&pass);
	return r;
}

int store_sum(
        struct store *store, const struct store_sum_options *options, struct store_sum *ret_sum)
{
	return store_sum_sides(store, options, 1, ret_sum);
}

void store_sum_part_fini(struct store_sum_part *part)
{
	for (uint32_t i = 0; i < part->runs_count; i++) {
		free(part->runs[i].nodes);
		free(part->runs[i].values);
	}
	free(part->runs);
	free(part->rows);
	*part = (struct store_sum_part){ 0 };
}

uint64_t store_sum_part_bytes(const struct store_sum_part *part)
{
	uint64_t bytes = part->rows_count * sizeof(*part->rows);
	for (uint32_t i = 0; i < part->runs_count; i++)
		bytes += part->runs[i].count *
		         (sizeof(*part->runs[i].nodes) + sizeof(*part->runs[i].values));
	return bytes;
}

void store_sum_fini(struct store_sum *sum)
{
	for (uint32_t i = 0; i < sum->parts_count; i++)
		store_sum_part_fini(&sum->parts[i]);
	free(sum->parts);
	free(sum->coverage_ns);
	*sum = (struct store_sum){ 0 };
}
