/*
 * What a seal writes: per unit a block of members, one of sums and chunks of detail; and who was
 * watching the window. In the order of their keys, into files beside the database.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "storage/stack_set.h"
#include "storage/store_seal_private.h"

#define SEAL_FILE_BYTES   (1u << 20) /* units share a file up to here */
#define SEAL_WATCHERS_MAX (32u << 10)
#define SEAL_REPORTS_MAX  (32u << 10) /* of a chunk */
#define SEAL_LOSSES_MAX   (32u << 10)

static int seal_compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* Sorts and leaves each once. */
static uint32_t seal_unique_u32(uint32_t *values, size_t count)
{
	uint32_t kept = 0;
	if (count > 1)
		qsort(values, count, sizeof(*values), seal_compare_u32);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || values[i] != values[i - 1])
			values[kept++] = values[i];
	return kept;
}

/* ---- putting blocks ---- */

/* Nothing of the database is broken by it: what was made beside it is removed. */
static int seal_put_failed(struct seal *seal, int result)
{
	pthread_mutex_lock(&seal->store->writer);
	store_note_failure(seal->store, "sealing a window");
	pthread_mutex_unlock(&seal->store->writer);
	return result;
}

/* Under writer. What fails half way may be in the database or not, and is read anew. */
static int seal_take_files(struct seal *seal)
{
	struct store *store = seal->store;
	int r = seal_may_write(seal) ? kv_files_take(seal->sums) : -EAGAIN;
	if (r == -EAGAIN)
		return r;
	r = r < 0 ? r : kv_files_take(seal->detail);
	if (r < 0)
		store_write_failed(store, "sealing a window");
	return r;
}

int seal_take_blocks(struct seal *seal)
{
	/* Before, so that appends do not wait for the sync of the last files. */
	int r = kv_files_cut(seal->sums);
	r = r < 0 ? r : kv_files_cut(seal->detail);
	if (r < 0)
		return seal_put_failed(seal, r);
	pthread_mutex_lock(&seal->store->writer);
	r = seal_take_files(seal);
	pthread_mutex_unlock(&seal->store->writer);
	return r;
}

static int seal_put_bytes(
        struct seal *seal, enum kv_family family, struct kv_bytes key, const struct buf *block)
{
	if (block->failed)
		return -ENOMEM;
	if (seal->segment) {
		seal->bytes_sums += key.count + block->count;
		return head_segment_put(seal->segment, key, store_bytes(block), seal->memory_max);
	}
	struct kv_files *files = family == KV_SUMS ? seal->sums : seal->detail;
	uint64_t *bytes = family == KV_SUMS ? &seal->bytes_sums : &seal->bytes_detail;
	*bytes += key.count + block->count;
	int r = kv_files_put(files, key, store_bytes(block));
	return r < 0 ? seal_put_failed(seal, r) : 0;
}

/* Puts seal->block. */
static int seal_put_block(struct seal *seal, enum kv_family family, struct kv_bytes key)
{
	return seal_put_bytes(seal, family, key, &seal->block);
}

/* What may be deleted without the units before lies in files of its own: another class does so
 * always, others where that is worth a file. */
static int seal_begin_unit(struct seal *seal, uint32_t number)
{
	const struct seal_unit *units = ARRAY(struct seal_unit, seal->units);
	const struct seal_member *members = ARRAY(struct seal_member, seal->members);
	int r = 0;
	if (seal->segment)
		return 0;
	bool is_new = number > 0 && members[units[number - 1].members_first].class !=
	                                    members[units[number].members_first].class;
	if (is_new || kv_files_bytes(seal->sums) >= SEAL_FILE_BYTES)
		r = kv_files_cut(seal->sums);
	if (r == 0 && (is_new || kv_files_bytes(seal->detail) >= SEAL_FILE_BYTES))
		r = kv_files_cut(seal->detail);
	return r < 0 ? seal_put_failed(seal, r) : 0;
}

static void seal_window_bounds(
        struct key_window key, uint8_t from[KEYS_BLOCK_BYTES], uint8_t to[KEYS_BLOCK_BYTES + 1])
{
	struct key_block first = { .window = key };
	struct key_block last = { key, UINT32_MAX, (enum keys_block_part)UINT8_MAX, UINT32_MAX };
	keys_put_block(first, from);
	keys_put_block(last, to);
	to[KEYS_BLOCK_BYTES] = 0;
}

int seal_sweep(struct seal *seal)
{
	uint8_t from_bytes[KEYS_BLOCK_BYTES];
	uint8_t to_bytes[KEYS_BLOCK_BYTES + 1];
	struct kv_bytes from = { from_bytes, sizeof(from_bytes) };
	struct kv_bytes to = { to_bytes, sizeof(to_bytes) };
	seal_window_bounds(seal->key, from_bytes, to_bytes);
	gate_enter(&seal->store->gate);
	int r = kv_reclaim(seal->store->kv, KV_SUMS, from, to);
	r = r < 0 ? r : kv_reclaim(seal->store->kv, KV_DETAIL, from, to);
	gate_leave(&seal->store->gate);
	return r < 0 ? seal_put_failed(seal, r) : 0;
}

/* ---- detail ---- */

static void seal_chunk_begin(struct seal_chunk *chunk)
{
	buf_reset(&chunk->ranks);
	buf_reset(&chunk->intervals);
	buf_reset(&chunk->reports);
	buf_reset(&chunk->losses);
	buf_reset(&chunk->places);
	buf_reset(&chunk->values);
}

static bool seal_chunk_has_failed(const struct seal_chunk *chunk)
{
	return chunk->ranks.failed || chunk->intervals.failed || chunk->reports.failed ||
	       chunk->losses.failed || chunk->places.failed || chunk->values.failed;
}

/* Ranks become the intervals that the chunk has, and places among them. */
static void seal_chunk_place_intervals(struct seal_chunk *chunk, const struct seal_interval *ranked)
{
	uint32_t *ranks = ARRAY(uint32_t, chunk->ranks);
	uint32_t count = seal_unique_u32(ranks, ARRAY_COUNT(uint32_t, chunk->ranks));
	struct detail_report *reports = ARRAY(struct detail_report, chunk->reports);
	struct detail_loss *losses = ARRAY(struct detail_loss, chunk->losses);
	for (uint32_t i = 0; i < count; i++) {
		const struct seal_interval *from = &ranked[ranks[i]];
		struct detail_interval interval = {
			.stream = from->key.stream,
			.seq = from->key.seq,
			.start_ns = from->key.start_ns,
			.duration_ns = from->duration_ns,
		};
		buf_put(&chunk->intervals, &interval, sizeof(interval));
	}
	for (size_t i = 0; i < ARRAY_COUNT(struct detail_report, chunk->reports); i++) {
		const uint32_t *at = bsearch(
		        &reports[i].interval, ranks, count, sizeof(*ranks), seal_compare_u32);
		reports[i].interval = (uint32_t)(at - ranks);
	}
	for (size_t i = 0; i < ARRAY_COUNT(struct detail_loss, chunk->losses); i++) {
		const uint32_t *at = bsearch(
		        &losses[i].interval, ranks, count, sizeof(*ranks), seal_compare_u32);
		losses[i].interval = (uint32_t)(at - ranks);
	}
}

static int seal_encode_chunk(
        struct seal *seal, struct kv_bytes key, uint32_t dictionary_count, uint64_t dictionary_hash)
{
	struct seal_chunk *chunk = &seal->chunk;
	struct detail_contents contents = {
		.dictionary_count = dictionary_count,
		.dictionary_hash = dictionary_hash,
		.intervals = ARRAY(struct detail_interval, chunk->intervals),
		.intervals_count = (uint32_t)ARRAY_COUNT(struct detail_interval, chunk->intervals),
		.reports = ARRAY(struct detail_report, chunk->reports),
		.reports_count = (uint32_t)ARRAY_COUNT(struct detail_report, chunk->reports),
		.places = ARRAY(uint32_t, chunk->places),
		.values = ARRAY(uint64_t, chunk->values),
		.rows_count = (uint32_t)ARRAY_COUNT(uint32_t, chunk->places),
		.losses = ARRAY(struct detail_loss, chunk->losses),
		.losses_count = (uint32_t)ARRAY_COUNT(struct detail_loss, chunk->losses),
	};
	if (seal_chunk_has_failed(chunk))
		return -ENOMEM;
	if (contents.intervals_count > DETAIL_INTERVALS_MAX ||
	        contents.reports_count > DETAIL_REPORTS_MAX ||
	        contents.losses_count > DETAIL_LOSSES_MAX)
		return -E2BIG;
	buf_reset(&seal->block);
	return detail_chunk_encode(&contents, key, COLUMN_FAST, &seal->columns, &seal->block);
}

/* What is known of the unit that is being written. */
struct seal_work {
	struct seal *seal;
	uint32_t number;
	struct seal_unit *unit;
	struct seal_item *items;
	size_t items_count;
	uint32_t *dictionary;
	uint32_t dictionary_count;
	uint64_t dictionary_hash;
};

static int seal_chunk_write(struct seal_work *work)
{
	struct seal *seal = work->seal;
	struct seal_chunk *chunk = &seal->chunk;
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	if (seal_chunk_has_failed(chunk))
		return -ENOMEM;
	if (chunk->ranks.count == 0)
		return 0;
	struct kv_bytes key = store_block_key(
	        seal->key, work->number, KEYS_BLOCK_DETAIL, chunk->number, key_bytes);
	seal_chunk_place_intervals(chunk, ARRAY(struct seal_interval, seal->ranked));
	int r = seal_encode_chunk(seal, key, work->dictionary_count, work->dictionary_hash);
	r = r < 0 ? r : seal_put_block(seal, KV_DETAIL, key);
	seal_chunk_begin(chunk);
	chunk->number++;
	return r;
}

static size_t seal_chunk_room(const struct seal_chunk *chunk)
{
	size_t rows = ARRAY_COUNT(uint32_t, chunk->places);
	return rows < DETAIL_ROWS_AIM ? DETAIL_ROWS_AIM - rows : 0;
}

static void seal_chunk_put_values(
        struct seal_chunk *chunk, struct seal_values *values, uint32_t count)
{
	uint64_t *to = (void *)buf_reserve(&chunk->values, count * sizeof(*to));
	if (!to)
		return;
	for (uint32_t i = 0; i < count; i++)
		to[i] = seal_values_take(values);
	chunk->values.count += count * sizeof(*to);
}

static int seal_chunk_put_rows(
        struct seal_work *work, const struct seal_item *item, uint32_t series)
{
	struct seal_chunk *chunk = &work->seal->chunk;
	const uint32_t *places = ARRAY(uint32_t, work->seal->nodes) + item->rows_first;
	struct seal_values values = seal_values_of(work->seal, item);
	uint32_t at = 0;
	do {
		uint32_t left = item->rows_count - at;
		size_t room = seal_chunk_room(chunk);
		uint32_t count = left < room ? left : (uint32_t)room;
		struct detail_report report = {
			.series = series,
			.interval = item->interval,
			.rows_first = (uint32_t)ARRAY_COUNT(uint32_t, chunk->places),
			.rows_count = count,
			.has_coverage = at == 0 && item->has_coverage,
			.coverage_ns = at == 0 ? item->coverage_ns : 0,
		};
		buf_put(&chunk->reports, &report, sizeof(report));
		buf_put(&chunk->ranks, &item->interval, sizeof(item->interval));
		if (count > 0) {
			buf_put(&chunk->places, places + at, count * sizeof(*places));
			seal_chunk_put_values(chunk, &values, count);
		}
		at += count;
		if (seal_chunk_room(chunk) == 0 ||
		        ARRAY_COUNT(struct detail_report, chunk->reports) >= SEAL_REPORTS_MAX) {
			int r = seal_chunk_write(work);
			if (r < 0)
				return r;
		}
	} while (at < item->rows_count);
	return 0;
}

static int seal_chunk_put_losses(
        struct seal_work *work, const struct seal_item *item, uint32_t series)
{
	struct seal_chunk *chunk = &work->seal->chunk;
	const struct sum_loss *losses = ARRAY(struct sum_loss, work->seal->losses);
	for (uint32_t i = 0; i < item->losses_count; i++) {
		const struct sum_loss *from = &losses[item->losses_first + i];
		struct detail_loss loss = { series, item->interval, from->reason, from->count };
		buf_put(&chunk->losses, &loss, sizeof(loss));
		buf_put(&chunk->ranks, &item->interval, sizeof(item->interval));
		if (ARRAY_COUNT(struct detail_loss, chunk->losses) >= SEAL_LOSSES_MAX) {
			int r = seal_chunk_write(work);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int seal_write_detail(struct seal_work *work)
{
	const struct seal_member *members = ARRAY(struct seal_member, work->seal->members);
	struct seal_chunk *chunk = &work->seal->chunk;
	int r = 0;
	seal_chunk_begin(chunk);
	chunk->number = 0;
	for (size_t i = 0; i < work->items_count && r == 0; i++) {
		const struct seal_item *item = &work->items[i];
		uint32_t series = members[item->member].series;
		if (item->rows_count > 0 || item->has_coverage)
			r = seal_chunk_put_rows(work, item, series);
		r = r < 0 ? r : seal_chunk_put_losses(work, item, series);
	}
	r = r < 0 ? r : seal_chunk_write(work);
	work->unit->chunks = chunk->number;
	return r;
}

/* ---- members ---- */

static int seal_compare_losses(const void *a, const void *b)
{
	const struct sum_loss *x = a;
	const struct sum_loss *y = b;
	return x->reason < y->reason ? -1 : x->reason > y->reason;
}

/* Adds up equal reasons. -EOVERFLOW. */
static int seal_add_up_losses(struct sum_loss *losses, size_t count, uint32_t *ret_count)
{
	uint32_t kept = 0;
	if (count > 1)
		qsort(losses, count, sizeof(*losses), seal_compare_losses);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || losses[kept - 1].reason != losses[i].reason)
			losses[kept++] = losses[i];
		else if (__builtin_add_overflow(
		                 losses[kept - 1].count, losses[i].count, &losses[kept - 1].count))
			return -EOVERFLOW;
	}
	*ret_count = kept;
	return 0;
}

/* The items [first, end) are one series seen by one stream. */
static int seal_put_member(
        struct seal_work *work, size_t first, size_t end, uint32_t series, uint32_t stream)
{
	struct seal_chunk *chunk = &work->seal->chunk;
	struct detail_report report = { .series = series, .interval = stream };
	bool has_report = false;
	AUTO_BUF all = { 0 };
	for (size_t i = first; i < end; i++) {
		const struct seal_item *item = &work->items[i];
		has_report |= item->rows_count > 0 || item->has_coverage;
		report.has_coverage |= item->has_coverage;
		if (__builtin_add_overflow(
		            report.coverage_ns, item->coverage_ns, &report.coverage_ns))
			return -EOVERFLOW;
		if (item->losses_count)
			buf_put(&all,
			        ARRAY(struct sum_loss, work->seal->losses) + item->losses_first,
			        item->losses_count * sizeof(struct sum_loss));
	}
	if (all.failed)
		return -ENOMEM;
	uint32_t count;
	struct sum_loss *losses = ARRAY(struct sum_loss, all);
	int r = seal_add_up_losses(losses, ARRAY_COUNT(struct sum_loss, all), &count);
	if (r < 0)
		return r;
	if (has_report)
		buf_put(&chunk->reports, &report, sizeof(report));
	for (uint32_t i = 0; i < count; i++) {
		struct detail_loss loss = { series, stream, losses[i].reason, losses[i].count };
		buf_put(&chunk->losses, &loss, sizeof(loss));
	}
	return 0;
}

/* The streams of all items, as intervals without time, and in ranks as numbers. */
static int seal_put_member_streams(struct seal_work *work)
{
	struct seal_chunk *chunk = &work->seal->chunk;
	const struct seal_interval *ranked = ARRAY(struct seal_interval, work->seal->ranked);
	for (size_t i = 0; i < work->items_count; i++) {
		uint32_t stream = ranked[work->items[i].interval].key.stream;
		buf_put(&chunk->ranks, &stream, sizeof(stream));
	}
	if (chunk->ranks.failed)
		return -ENOMEM;
	uint32_t *streams = ARRAY(uint32_t, chunk->ranks);
	uint32_t count = seal_unique_u32(streams, work->items_count);
	chunk->ranks.count = count * sizeof(*streams);
	for (uint32_t i = 0; i < count; i++) {
		struct detail_interval interval = {
			.stream = streams[i],
			.start_ns = work->seal->key.from_ns,
		};
		buf_put(&chunk->intervals, &interval, sizeof(interval));
	}
	return 0;
}

static int seal_write_members(struct seal_work *work)
{
	struct seal *seal = work->seal;
	struct seal_chunk *chunk = &seal->chunk;
	const struct seal_member *members = ARRAY(struct seal_member, seal->members);
	const struct seal_interval *ranked = ARRAY(struct seal_interval, seal->ranked);
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	struct kv_bytes key = store_block_key(
	        seal->key, work->number, KEYS_BLOCK_MEMBERS, 0, key_bytes);

	seal_chunk_begin(chunk);
	int r = seal_put_member_streams(work);
	for (size_t first = 0, end; first < work->items_count && r == 0; first = end) {
		const struct seal_item *item = &work->items[first];
		uint32_t stream = ranked[item->interval].key.stream;
		for (end = first + 1; end < work->items_count; end++)
			if (work->items[end].member != item->member ||
			        ranked[work->items[end].interval].key.stream != stream)
				break;
		const uint32_t *streams = ARRAY(uint32_t, chunk->ranks);
		const uint32_t *at = bsearch(&stream, streams, ARRAY_COUNT(uint32_t, chunk->ranks),
		        sizeof(*streams), seal_compare_u32);
		r = seal_put_member(
		        work, first, end, members[item->member].series, (uint32_t)(at - streams));
	}
	r = r < 0 ? r : seal_encode_chunk(seal, key, 0, 0);
	return r < 0 ? r : seal_put_block(seal, KV_SUMS, key);
}

/* ---- sums ---- */

static int seal_compare_groups(const void *a, const void *b)
{
	return sum_group_key_compare(a, b);
}

/* Nodes become places of the unit's dictionary. */
static int seal_make_dictionary(struct seal_work *work, struct buf *dictionary)
{
	struct seal *seal = work->seal;
	uint32_t *nodes = ARRAY(uint32_t, seal->nodes);
	AUTO(stack_set) set = stack_set_new(seal->nodes_count);
	if (!set)
		return -ENOMEM;
	for (size_t i = 0; i < work->items_count; i++)
		for (uint32_t j = 0; j < work->items[i].rows_count; j++)
			stack_set_add(set, nodes[work->items[i].rows_first + j]);
	work->dictionary_count = stack_set_rank(set);
	if (work->dictionary_count > SUMS_DICTIONARY_MAX)
		return -E2BIG;
	work->dictionary = (void *)buf_reserve(
	        dictionary, ((size_t)work->dictionary_count + 1) * sizeof(uint32_t));
	if (!work->dictionary)
		return -ENOMEM;
	stack_set_list(set, work->dictionary);
	work->dictionary_hash = sum_dictionary_hash(
	        (struct sum_dictionary){ work->dictionary, work->dictionary_count });
	for (size_t i = 0; i < work->items_count; i++) {
		uint32_t *of = nodes + work->items[i].rows_first;
		for (uint32_t j = 0; j < work->items[i].rows_count; j++)
			of[j] = stack_set_place(set, of[j]);
	}
	return 0;
}

static int seal_add_rows(const struct seal_work *work, const struct seal_item *item, uint64_t *to)
{
	const uint32_t *places = ARRAY(uint32_t, work->seal->nodes) + item->rows_first;
	struct seal_values values = seal_values_of(work->seal, item);
	bool is_overflown = false;
	for (uint32_t i = 0; i < item->rows_count; i++)
		is_overflown |= __builtin_add_overflow(
		        to[places[i]], seal_values_take(&values), &to[places[i]]);
	return is_overflown ? -EOVERFLOW : 0;
}

/* One group: its members' rows in `values`, and its facts. */
static int seal_put_group(struct seal_work *work, const struct sum_group_key *key, uint64_t *values,
        struct sum_writer *writer)
{
	const struct seal_member *members = ARRAY(struct seal_member, work->seal->members);
	struct sum_group group = { .key = *key };
	AUTO_BUF losses = { 0 };
	AUTO_BUF instances = { 0 };
	int r = 0;
	memset(values, 0, work->dictionary_count * sizeof(*values));
	for (size_t i = 0; i < work->items_count && r == 0; i++) {
		const struct seal_item *item = &work->items[i];
		const struct seal_member *member = &members[item->member];
		if (sum_group_key_compare(&member->group, key) != 0)
			continue;
		r = seal_add_rows(work, item, values);
		if (__builtin_add_overflow(
		            group.coverage_ns, item->coverage_ns, &group.coverage_ns))
			r = -EOVERFLOW;
		if (item->losses_count)
			buf_put(&losses,
			        ARRAY(struct sum_loss, work->seal->losses) + item->losses_first,
			        item->losses_count * sizeof(struct sum_loss));
		if (member->instance)
			buf_put(&instances, &member->instance, sizeof(member->instance));
	}
	if (losses.failed || instances.failed)
		r = -ENOMEM;
	r = r < 0 ? r
	          : seal_add_up_losses(ARRAY(struct sum_loss, losses),
	                    ARRAY_COUNT(struct sum_loss, losses), &group.losses_count);
	if (r < 0)
		return r;
	group.losses = ARRAY(struct sum_loss, losses);
	group.instances_count = seal_unique_u32(
	        ARRAY(uint32_t, instances), ARRAY_COUNT(uint32_t, instances));
	group.instances = ARRAY(uint32_t, instances);
	return sum_writer_put(writer, &group, values);
}

static int seal_put_groups(struct seal_work *work, uint64_t *values, struct sum_writer *writer)
{
	const struct seal_member *members = ARRAY(struct seal_member, work->seal->members);
	uint32_t count = work->unit->members_end - work->unit->members_first;
	autofree struct sum_group_key *keys = malloc((size_t)count * sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		keys[i] = members[work->unit->members_first + i].group;
	qsort(keys, count, sizeof(*keys), seal_compare_groups);
	int r = 0;
	uint32_t groups = 0;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		if (i > 0 && sum_group_key_compare(&keys[i - 1], &keys[i]) == 0)
			continue;
		r = groups++ < SUMS_GROUPS_MAX ? seal_put_group(work, &keys[i], values, writer)
		                               : -E2BIG;
	}
	return r;
}

static int seal_write_sums(struct seal_work *work)
{
	struct seal *seal = work->seal;
	uint8_t key_bytes[KEYS_BLOCK_BYTES];
	uint8_t values_key_bytes[KEYS_BLOCK_BYTES];
	const struct sum_keys keys = {
		store_block_key(seal->key, work->number, KEYS_BLOCK_SUMS, 0, key_bytes),
		store_block_key(seal->key, work->number, KEYS_BLOCK_VALUES, 0, values_key_bytes),
	};
	size_t count = (size_t)work->dictionary_count + 1;
	autofree uint64_t *totals = calloc(count, sizeof(*totals));
	autofree uint64_t *values = calloc(count, sizeof(*values));
	int r = totals && values ? 0 : -ENOMEM;
	for (size_t i = 0; i < work->items_count && r == 0; i++)
		r = seal_add_rows(work, &work->items[i], totals);
	if (r < 0)
		return r;

	AUTO(sum_writer) writer = sum_writer_new((struct sum_writer_options){
	        .from_ns = seal->key.from_ns,
	        .to_ns = seal->key.to_ns,
	        .dictionary = { work->dictionary, work->dictionary_count },
	        .totals = totals,
	        .effort = COLUMN_FAST,
	});
	if (!writer)
		return -ENOMEM;
	r = seal_put_groups(work, values, writer);
	buf_reset(&seal->block);
	buf_reset(&seal->group_values);
	r = r < 0 ? r : sum_writer_finish(writer, keys, &seal->block, &seal->group_values);
	r = r < 0 ? r : seal_put_block(seal, KV_SUMS, keys.block);
	if (r == 0 && seal->group_values.count > 0)
		r = seal_put_bytes(seal, KV_SUMS, keys.values, &seal->group_values);
	return r;
}

/* ---- a round ---- */

static int seal_write_unit(struct seal *seal, uint32_t number, size_t *at)
{
	struct seal_unit *unit = &ARRAY(struct seal_unit, seal->units)[number];
	struct seal_item *items = ARRAY(struct seal_item, seal->items);
	size_t count = ARRAY_COUNT(struct seal_item, seal->items);
	size_t first = *at;
	while (*at < count && items[*at].member < unit->members_end)
		(*at)++;

	AUTO_BUF dictionary = { 0 };
	struct seal_work work = {
		.seal = seal,
		.number = seal->unit_base + number,
		.unit = unit,
		.items = items + first,
		.items_count = *at - first,
	};
	assert(work.items_count > 0);
	unit->bytes_sums = seal->bytes_sums;
	unit->bytes_detail = seal->bytes_detail;
	int r = seal_begin_unit(seal, number);
	r = r < 0 ? r : seal_write_members(&work);
	r = r < 0 ? r : seal_make_dictionary(&work, &dictionary);
	r = r < 0 ? r : seal_write_sums(&work);
	if (!seal->segment)
		r = r < 0 ? r : seal_write_detail(&work);
	unit->bytes_sums = seal->bytes_sums - unit->bytes_sums;
	unit->bytes_detail = seal->bytes_detail - unit->bytes_detail;
	return r;
}

static int seal_write_round(struct seal *seal)
{
	size_t at = 0;
	int r = 0;
	seal_sort_items(seal);
	for (uint32_t i = seal->units_first; i < seal->units_end && r == 0; i++)
		r = seal_write_unit(seal, i, &at);
	return r;
}

int seal_write_rounds(struct seal *seal)
{
	const struct seal_unit *units = ARRAY(struct seal_unit, seal->units);
	uint32_t count = (uint32_t)ARRAY_COUNT(struct seal_unit, seal->units);
	int r = 0;
	if (!seal->is_counting) {
		seal->units_end = count;
		return seal_write_round(seal);
	}
	seal->is_first = false;
	seal->is_counting = false;
	while (seal->units_end < count && r == 0) {
		uint64_t rows = 0;
		seal->units_first = seal->units_end;
		do {
			rows += units[seal->units_end++].rows;
		} while (seal->units_end < count &&
		         rows + units[seal->units_end].rows <= seal->rows_max);
		r = seal_collect(seal);
		r = r < 0 ? r : seal_write_round(seal);
	}
	return r;
}

/* ---- who was watching ---- */

static int seal_compare_nobodys(const void *a, const void *b)
{
	const struct seal_loss *x = a;
	const struct seal_loss *y = b;
	if (x->interval != y->interval)
		return x->interval < y->interval ? -1 : 1;
	return seal_compare_losses(&x->loss, &y->loss);
}

int seal_write_watchers(struct seal *seal, uint32_t *ret_chunks)
{
	const struct seal_interval *ranked = ARRAY(struct seal_interval, seal->ranked);
	const uint32_t *ranks = ARRAY(uint32_t, seal->ranks);
	struct seal_loss *nobodys = ARRAY(struct seal_loss, seal->nobodys);
	size_t count = ARRAY_COUNT(struct seal_interval, seal->ranked);
	size_t losses_count = ARRAY_COUNT(struct seal_loss, seal->nobodys);
	uint32_t chunks = 0;
	size_t loss = 0;
	uint64_t bytes_before = seal->bytes_sums;
	int r = 0;

	for (size_t i = 0; i < losses_count; i++)
		nobodys[i].interval = ranks[nobodys[i].interval];
	if (losses_count > 1)
		qsort(nobodys, losses_count, sizeof(*nobodys), seal_compare_nobodys);
	for (uint32_t first = 0; first < count && r == 0; first += SEAL_WATCHERS_MAX) {
		uint32_t end = count - first > SEAL_WATCHERS_MAX ? first + SEAL_WATCHERS_MAX
		                                                 : (uint32_t)count;
		uint8_t key_bytes[KEYS_BLOCK_BYTES];
		struct kv_bytes key = store_block_key(
		        seal->key, KEYS_UNIT_NONE, KEYS_BLOCK_WATCHERS, chunks++, key_bytes);
		seal_chunk_begin(&seal->chunk);
		for (uint32_t i = first; i < end; i++)
			buf_put(&seal->chunk.ranks, &i, sizeof(i));
		for (; loss < losses_count && nobodys[loss].interval < end; loss++) {
			struct detail_loss nobodys_loss = { SERIES_NONE, nobodys[loss].interval,
				nobodys[loss].loss.reason, nobodys[loss].loss.count };
			buf_put(&seal->chunk.losses, &nobodys_loss, sizeof(nobodys_loss));
		}
		if (seal_chunk_has_failed(&seal->chunk))
			return -ENOMEM;
		seal_chunk_place_intervals(&seal->chunk, ranked);
		r = seal_encode_chunk(seal, key, 0, 0);
		r = r < 0 ? r : seal_put_block(seal, KV_SUMS, key);
	}
	seal->bytes_watchers = seal->bytes_sums - bytes_before;
	*ret_chunks = chunks;
	return r;
}
