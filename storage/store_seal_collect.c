/*
 * What a seal reads: the batches of its window, taken apart into items (what one series had in one
 * interval), and the order of units, members and intervals that they are written in.
 */

#include <errno.h>
#include <string.h>

#include "storage/store_seal_private.h"

#define SEAL_STRETCH_BYTES    (256u << 10) /* an append waits for so much to be read */
#define SEAL_UNIT_MEMBERS_MAX (64u << 10)

static uint32_t seal_find_member(const struct seal *seal, uint32_t tenant, uint32_t series)
{
	uint32_t key[2] = { tenant, series };
	return id_map_find(seal->member_ids, hash128_bytes(key, sizeof(key)));
}

/* In the gate. */
static uint32_t seal_class(
        const struct seal *seal, uint32_t tenant, const struct dict *dict, uint32_t series)
{
	const struct store *store = seal->store;
	store_classify classify = seal->classifies_as_store ? store->classify : seal->classify;
	void *owner = seal->classifies_as_store ? store->classify_owner : seal->classify_owner;
	if (!classify)
		return 0;
	uint32_t class = classify(owner, store->tenants[tenant].name, dict, series);
	return class < STORE_CLASS_COUNT_MAX ? class : STORE_CLASS_COUNT_MAX - 1;
}

int seal_intern_member(struct seal *seal, uint32_t tenant, uint32_t series, uint32_t *ret_member)
{
	uint32_t key[2] = { tenant, series };
	bool is_added;
	int r = id_map_intern(
	        seal->member_ids, hash128_bytes(key, sizeof(key)), ret_member, &is_added);
	if (r < 0 || !is_added)
		return r;
	const struct dict *dict = store_generation(seal->store, seal->dictionary)->dict;
	struct seal_member member = {
		.id = *ret_member,
		.tenant = tenant,
		.service = sum_labels_service(&seal->labels, dict, series),
		.type = dict_get_series(dict, series)->type,
		.series = series,
		.instance = sum_labels_instance(&seal->labels, dict, series),
		.group = sum_labels_group(&seal->labels, dict, series),
	};
	member.class = seal_class(seal, tenant, dict, series);
	buf_put(&seal->members, &member, sizeof(member));
	return seal->members.failed ? -ENOMEM : 0;
}

/* Is the member's unit of this round? */
static bool seal_is_wanted(const struct seal *seal, uint32_t member)
{
	if (seal->is_first)
		return true;
	uint32_t place = ARRAY(uint32_t, seal->places)[member];
	uint32_t unit = ARRAY(struct seal_member, seal->members)[place].unit;
	return unit >= seal->units_first && unit < seal->units_end;
}

/* Where the three columns of a batch stand: at the same series, the least there is left. */
struct seal_at {
	uint32_t row, coverage, loss;
};

static uint32_t seal_next_series(const struct batch *batch, const struct seal_at *at)
{
	uint32_t series = SERIES_NONE;
	if (at->row < batch->rows_count)
		series = batch->rows[at->row].series;
	if (at->coverage < batch->coverage_count && batch->coverage[at->coverage].series < series)
		series = batch->coverage[at->coverage].series;
	if (at->loss < batch->losses_count && batch->losses[at->loss].series < series)
		series = batch->losses[at->loss].series;
	return series;
}

static void seal_put_rows(struct seal *seal, const struct row *rows, uint32_t count)
{
	uint32_t *nodes = (void *)buf_reserve(&seal->nodes, count * sizeof(*nodes));
	uint8_t *values = buf_reserve(&seal->values, count);
	if (!nodes || !values)
		return;
	for (uint32_t i = 0; i < count; i++) {
		nodes[i] = rows[i].node;
		values[i] = seal_note_value(seal, rows[i].value);
	}
	seal->nodes.count += count * sizeof(*nodes);
	seal->values.count += count;
}

/* Takes one series' part of the batch, and moves behind it. */
static int seal_put_item(struct seal *seal, const struct batch *batch, uint32_t tenant,
        uint32_t series, uint32_t interval, struct seal_at *at)
{
	struct seal_at from = *at;
	struct seal_item item = { .interval = interval };
	while (at->row < batch->rows_count && batch->rows[at->row].series == series)
		at->row++;
	while (at->coverage < batch->coverage_count &&
	        batch->coverage[at->coverage].series == series)
		item.coverage_ns = batch->coverage[at->coverage++].ns;
	while (at->loss < batch->losses_count && batch->losses[at->loss].series == series)
		at->loss++;

	if (seal->is_first) {
		int r = seal_intern_member(seal, tenant, series, &item.member);
		if (r < 0)
			return r;
		ARRAY(struct seal_member, seal->members)[item.member].rows += at->row - from.row;
	} else {
		item.member = seal_find_member(seal, tenant, series);
	}
	if (seal->is_counting || item.member == ID_NONE || !seal_is_wanted(seal, item.member))
		return 0;

	item.has_coverage = at->coverage > from.coverage;
	item.rows_count = at->row - from.row;
	item.rows_first = ARRAY_COUNT(uint32_t, seal->nodes);
	item.large_first = ARRAY_COUNT(uint64_t, seal->large);
	item.losses_count = at->loss - from.loss;
	item.losses_first = ARRAY_COUNT(struct sum_loss, seal->losses);
	seal_put_rows(seal, batch->rows + from.row, item.rows_count);
	for (uint32_t i = from.loss; i < at->loss; i++) {
		struct sum_loss loss = { batch->losses[i].reason, batch->losses[i].count };
		buf_put(&seal->losses, &loss, sizeof(loss));
	}
	buf_put(&seal->items, &item, sizeof(item));
	bool has_failed = seal->nodes.failed || seal->values.failed || seal->large.failed ||
	                  seal->losses.failed || seal->items.failed;
	return has_failed ? -ENOMEM : 0;
}

static int seal_put_batch(
        struct seal *seal, const struct batch *batch, uint32_t tenant, uint32_t interval)
{
	struct seal_at at = { 0 };
	for (;;) {
		uint32_t series = seal_next_series(batch, &at);
		if (series == SERIES_NONE)
			break;
		int r = seal_put_item(seal, batch, tenant, series, interval, &at);
		if (r < 0)
			return r;
	}
	for (; seal->is_first && at.loss < batch->losses_count; at.loss++) {
		struct seal_loss loss = {
			.interval = interval,
			.loss = { batch->losses[at.loss].reason, batch->losses[at.loss].count },
		};
		buf_put(&seal->nobodys, &loss, sizeof(loss));
	}
	/* Items cost as much as a few rows. */
	if (seal->is_first && !seal->is_counting &&
	        ARRAY_COUNT(uint32_t, seal->nodes) +
	                        4 * ARRAY_COUNT(struct seal_item, seal->items) >
	                seal->rows_max) {
		seal->is_counting = true;
		buf_fini(&seal->items);
		buf_fini(&seal->nodes);
		buf_fini(&seal->values);
		buf_fini(&seal->large);
		buf_fini(&seal->losses);
	}
	return seal->nobodys.failed ? -ENOMEM : 0;
}

/* Which interval a batch is that was seen in the first round, or ID_NONE: it came later. */
static uint32_t seal_find_interval(struct seal *seal, struct key_batch key)
{
	const struct seal_interval *intervals = ARRAY(struct seal_interval, seal->intervals);
	size_t count = ARRAY_COUNT(struct seal_interval, seal->intervals);
	while (seal->next_interval < count &&
	        key_batch_compare(intervals[seal->next_interval].key, key) < 0)
		seal->next_interval++;
	if (seal->next_interval == count ||
	        key_batch_compare(intervals[seal->next_interval].key, key) != 0)
		return ID_NONE;
	return seal->next_interval;
}

static bool seal_record_is_wanted(
        const struct seal *seal, uint32_t tenant, const struct record_batch *record)
{
	struct reader reader = record->series;
	uint64_t series = 0;
	if (seal->is_first)
		return true;
	for (uint32_t i = 0; i < record->series_count; i++) {
		series += reader_varint(&reader);
		uint32_t member = seal_find_member(seal, tenant, (uint32_t)series);
		if (member != ID_NONE && seal_is_wanted(seal, member))
			return true;
	}
	return false;
}

/* An empty batch for the record, unless it is of another generation than those before. */
static int seal_begin_batch(
        struct seal *seal, const struct record_batch *record, bool *ret_is_other)
{
	struct generation *generation;
	int r = store_use_generation(seal->store, record->generation, &generation);
	*ret_is_other = false;
	if (r < 0)
		return r == -ENOENT ? -EBADMSG : r;
	/* The first one that can be read decides. */
	if (!seal->has_dictionary || (seal->is_first && seal->intervals.count == 0)) {
		batch_free(seal->batch);
		seal->batch = batch_new(generation->dict);
		if (!seal->batch)
			return -ENOMEM;
		seal->has_dictionary = true;
		seal->dictionary = record->generation;
		store_repin(seal->store, &seal->pinned, generation);
		seal->labels = sum_labels_find(generation->dict);
	}
	*ret_is_other = record->generation != seal->dictionary;
	batch_reset(seal->batch);
	return 0;
}

static int seal_collect_record(struct seal *seal, struct kv_bytes key_bytes, struct kv_bytes value)
{
	struct key_batch key;
	struct record_batch record;
	uint64_t end_ns;
	int r = keys_get_batch(key_bytes.bytes, key_bytes.count, &key);
	if (r < 0)
		return 0; /* nothing that the range of deletions is made of; readers count it */
	r = record_get_batch(key_bytes, value, &record);
	if (r == 0 && (!store_has_stream(seal->store, key.stream) ||
	                      __builtin_add_overflow(key.start_ns, record.duration_ns, &end_ns)))
		r = -EBADMSG;
	uint32_t interval = (uint32_t)ARRAY_COUNT(struct seal_interval, seal->intervals);
	uint32_t tenant = r == 0 ? seal->store->streams[key.stream].tenant : 0;
	if (r == 0 && !seal->is_first)
		interval = seal_find_interval(seal, key);
	if (r == 0 && (interval == ID_NONE || !seal_record_is_wanted(seal, tenant, &record)))
		return 0;

	bool is_other = false;
	r = r < 0 ? r : seal_begin_batch(seal, &record, &is_other);
	if (r == 0 && !is_other)
		r = record_unpack_batch(&record, key.start_ns, &seal->scratch, seal->batch);
	seal->has_others |= is_other;
	if (is_other || r == -EBADMSG || r == -EPROTONOSUPPORT) {
		/* It stays where it is, for readers to count or for the next seal. */
		if (seal->is_first)
			buf_put(&seal->corrupt, &key, sizeof(key));
		return seal->corrupt.failed ? -ENOMEM : 0;
	}
	if (r < 0)
		return r;
	if (seal->is_first) {
		struct seal_interval new = { key, record.duration_ns, interval };
		buf_put(&seal->intervals, &new, sizeof(new));
		if (seal->intervals.failed)
			return -ENOMEM;
		seal->bytes_batches += key_bytes.count + value.count;
	}
	return seal_put_batch(seal, seal->batch, tenant, interval);
}

/* One visit to the gate. Leaves in `at` where to go on. */
static int seal_collect_stretch(struct seal *seal, struct key_batch *at, bool *ret_is_done)
{
	uint8_t from[KEYS_BATCH_BYTES];
	uint8_t to[KEYS_TIME_BYTES];
	uint64_t bytes = 0;
	int r = 0;
	keys_put_batch(*at, from);
	keys_put_time(seal->key.to_ns, to);
	AUTO(kv_iterator) it = kv_iterator_new(seal->store->kv, KV_BATCH,
	        (struct kv_bytes){ from, sizeof(from) }, (struct kv_bytes){ to, sizeof(to) });
	if (!it)
		return -ENOMEM;
	if (seal->has_dictionary)
		seal->labels = sum_labels_find(
		        store_generation(seal->store, seal->dictionary)->dict);
	for (; r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct kv_bytes value = kv_iterator_value(it);
		struct key_batch of;
		r = seal_collect_record(seal, key, value);
		bytes += key.count + value.count;
		if (r == 0 && bytes >= SEAL_STRETCH_BYTES &&
		        keys_get_batch(key.bytes, key.count, &of) == 0) {
			*at = key_batch_next(of);
			return 0;
		}
	}
	*ret_is_done = true;
	return r < 0 ? r : kv_iterator_result(it);
}

/* Likewise of those that are listed, from that place on. One that is not there went meanwhile. */
static int seal_collect_listed(struct seal *seal, size_t *at, bool *ret_is_done)
{
	uint64_t bytes = 0;
	int r = 0;
	AUTO_BUF value = { 0 };
	if (seal->has_dictionary)
		seal->labels = sum_labels_find(
		        store_generation(seal->store, seal->dictionary)->dict);
	for (; r == 0 && *at < seal->listed_count && bytes < SEAL_STRETCH_BYTES; ++*at) {
		uint8_t key_bytes[KEYS_BATCH_BYTES];
		struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
		keys_put_batch(seal->listed[*at], key_bytes);
		buf_reset(&value);
		r = kv_get(seal->store->kv, KV_BATCH, key, &value);
		if (r == 0)
			r = seal_collect_record(seal, key, store_bytes(&value));
		else if (r == -ENOENT)
			r = 0;
		bytes += key.count + value.count;
	}
	*ret_is_done = *at == seal->listed_count;
	return r;
}

int seal_collect(struct seal *seal)
{
	struct key_batch at = { .start_ns = seal->key.from_ns };
	size_t listed_at = 0;
	bool is_done = false;
	int r = 0;
	buf_reset(&seal->items);
	buf_reset(&seal->nodes);
	buf_reset(&seal->values);
	buf_reset(&seal->large);
	buf_reset(&seal->losses);
	seal->next_interval = 0;
	while (r == 0 && !is_done) {
		gate_enter(&seal->store->gate);
		r = seal->is_listed ? seal_collect_listed(seal, &listed_at, &is_done)
		                    : seal_collect_stretch(seal, &at, &is_done);
		if (seal->has_dictionary)
			seal->nodes_count = dict_mark(
			        store_generation(seal->store, seal->dictionary)->dict)
			                            .nodes;
		gate_leave(&seal->store->gate);
	}
	return r;
}

/* ---- the order of things ---- */

static int seal_compare_ranked(const void *a, const void *b)
{
	const struct key_batch *x = &((const struct seal_interval *)a)->key;
	const struct key_batch *y = &((const struct seal_interval *)b)->key;
	if (x->stream != y->stream)
		return x->stream < y->stream ? -1 : 1;
	return key_batch_compare(*x, *y);
}

static int seal_compare_members(const void *a, const void *b)
{
	const struct seal_member *x = a;
	const struct seal_member *y = b;
	int order = window_unit_compare(
	        (struct window_unit_name){ x->class, x->tenant, x->service, x->type },
	        (struct window_unit_name){ y->class, y->tenant, y->service, y->type });
	if (order != 0)
		return order;
	return x->series < y->series ? -1 : x->series > y->series;
}

static int seal_compare_items(const void *a, const void *b)
{
	const struct seal_item *x = a;
	const struct seal_item *y = b;
	if (x->member != y->member)
		return x->member < y->member ? -1 : 1;
	return x->interval < y->interval ? -1 : x->interval > y->interval;
}

int seal_rank_intervals(struct seal *seal)
{
	size_t count = ARRAY_COUNT(struct seal_interval, seal->intervals);
	buf_put(&seal->ranked, seal->intervals.bytes, seal->intervals.count);
	uint32_t *ranks = (void *)buf_reserve(&seal->ranks, count * sizeof(*ranks));
	if (seal->ranked.failed || !ranks)
		return -ENOMEM;
	struct seal_interval *ranked = ARRAY(struct seal_interval, seal->ranked);
	qsort(ranked, count, sizeof(*ranked), seal_compare_ranked);
	for (size_t i = 0; i < count; i++)
		ranks[ranked[i].index] = (uint32_t)i;
	seal->ranks.count = count * sizeof(*ranks);
	return 0;
}

/* Tenants are few; with classes one comes by more than once. */
static void seal_add_tenant(struct seal *seal, uint32_t tenant)
{
	for (size_t i = 0; i < ARRAY_COUNT(uint32_t, seal->tenants); i++)
		if (ARRAY(uint32_t, seal->tenants)[i] == tenant)
			return;
	buf_put(&seal->tenants, &tenant, sizeof(tenant));
}

int seal_make_units(struct seal *seal)
{
	struct seal_member *members = ARRAY(struct seal_member, seal->members);
	size_t count = ARRAY_COUNT(struct seal_member, seal->members);
	uint32_t *places = (void *)buf_reserve(&seal->places, (count + 1) * sizeof(*places));
	if (!places)
		return -ENOMEM;
	seal->places.count = count * sizeof(*places);
	if (count > 1)
		qsort(members, count, sizeof(*members), seal_compare_members);

	struct seal_unit unit = { 0 };
	for (size_t i = 0; i < count; i++) {
		struct seal_member *member = &members[i];
		places[member->id] = (uint32_t)i;
		bool is_new = i > 0 && (members[i - 1].class != member->class ||
		                               members[i - 1].tenant != member->tenant ||
		                               members[i - 1].service != member->service ||
		                               members[i - 1].type != member->type);
		if (i > unit.members_first && (i - unit.members_first >= SEAL_UNIT_MEMBERS_MAX ||
		                                      unit.rows + member->rows > seal->rows_max))
			is_new = true;
		if (is_new) {
			unit.members_end = (uint32_t)i;
			buf_put(&seal->units, &unit, sizeof(unit));
			unit = (struct seal_unit){ .members_first = (uint32_t)i };
		}
		if (i == 0 || members[i - 1].tenant != member->tenant)
			seal_add_tenant(seal, member->tenant);
		unit.rows += member->rows;
		member->unit = (uint32_t)ARRAY_COUNT(struct seal_unit, seal->units);
	}
	unit.members_end = (uint32_t)count;
	if (count > 0)
		buf_put(&seal->units, &unit, sizeof(unit));
	return seal->units.failed || seal->tenants.failed ? -ENOMEM : 0;
}

void seal_sort_items(struct seal *seal)
{
	struct seal_item *items = ARRAY(struct seal_item, seal->items);
	size_t count = ARRAY_COUNT(struct seal_item, seal->items);
	const uint32_t *places = ARRAY(uint32_t, seal->places);
	const uint32_t *ranks = ARRAY(uint32_t, seal->ranks);
	for (size_t i = 0; i < count; i++) {
		items[i].member = places[items[i].member];
		items[i].interval = ranks[items[i].interval];
	}
	if (count > 1)
		qsort(items, count, sizeof(*items), seal_compare_items);
}
